//! Webhooks against a receiver that errs, stalls, dies or sends us away: what the records then do.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::ids::CallHash;
use tollgate::record::Kind;
use tollgate::sinks::attempt::Board;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;
use tollgate::sinks::webhook::{Batch, Expect, Login, Settings};

use crate::support::radius::{Line, field, record};
use crate::support::wait_for;
use crate::support::webhook::{Receiver, ids, line};

const BOTH: [Batch; 2] = [Batch::Each, Batch::Array];

fn append(line: &mut Line<Board>, numbers: std::ops::Range<u64>) -> Vec<String> {
    let records = numbers.map(|number| {
        let record = record(Kind::Event, number, Vec::new());
        let call = CallHash::of(&record.call_id);
        (record, call)
    });
    line.append(records.collect()).iter().map(ToString::to_string).collect()
}

/// Waits until the sink says this of its receiver.
fn note(line: &Line<Board>, want: &str) -> String {
    wait_for(want, || line.board.views()[0].note.clone().filter(|note| note.contains(want)))
}

/// The ids of all events that were answered with 2xx.
fn taken(receiver: &Receiver) -> HashSet<String> {
    let is_good = |request: &Value| request["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
    receiver.seen().iter().filter(|request| is_good(request)).flat_map(ids).collect()
}

/// A key is the id of the event or the hash of the ids, and its attempts are counted.
fn keys_are_right(receiver: &Receiver, batch: Batch) {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for request in receiver.seen() {
        let headers = &request["headers"];
        let key = headers["idempotency-key"].as_str().unwrap().to_owned();
        let want =
            if batch == Batch::Each { ids(&request)[0].clone() } else { request["hash"].as_str().unwrap().into() };
        assert_eq!(key, want, "{request}");
        // What went back to the queue before it was sent may have been sent, as far as the sink knows.
        let count: u64 = headers["x-tollgate-attempt"].as_str().unwrap().parse().unwrap();
        let is_right = counts.insert(key, count).map_or(count <= 2, |before| count == before + 1);
        assert!(is_right, "{request}");
        let (kind, is_array) = match batch {
            Batch::Each => ("application/cloudevents+json", false),
            Batch::Array => ("application/cloudevents-batch+json", true),
        };
        assert_eq!((headers["content-type"].as_str(), request["json"].is_array()), (Some(kind), is_array));
    }
}

#[test]
fn what_is_no_acknowledgement_parks_the_record_at_fault_alone_and_the_others_flow_on() {
    let of = "call-13@";
    let page = json!({"Content-Type": "text/html; charset=utf-8"});
    for (rule, want) in [
        (json!({"status": 400, "body": "no such tenant"}), "it answered 400 Bad Request: no such tenant"),
        (json!({"status": 413}), "it answered 413 Payload Too Large"),
        (
            json!({"status": 200, "headers": page, "body": "<h1>Database\n error</h1>"}),
            "it answered 200 OK with text/html, which is a page for people, unless `expect_type` says otherwise: \
             <h1>Database error</h1>, 3 times behind this record alone",
        ),
        (
            json!({"status": 200, "headers": {"Content-Type": "application/json"}, "body": "{\"ok\": false}"}),
            "it answered 200 OK without `\"ok\": true` in its body: {\"ok\": false}, 3 times behind this record alone",
        ),
        (
            json!({"status": 500, "body": "division by zero"}),
            "it answered 500 Internal Server Error: division by zero, 3 times behind this record alone",
        ),
        (json!({"cut": true}), "no whole answer: connection closed before message completed, 3 times behind"),
        (json!({"hang": true}), "no answer within 0.3 s, 3 times behind this record alone"),
    ] {
        for batch in BOTH {
            let dir = tempfile::tempdir().unwrap();
            let Some(receiver) = Receiver::start(dir.path()) else { return };
            let mut settings = receiver.settings(batch);
            let mut rules = vec![json!({"has": of})];
            rules[0].as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
            if want.contains("ok") {
                settings.expect = Expect { media_type: None, text: Some("\"ok\": true".to_owned()) };
                rules.push(json!({"status": 200, "body": "{\"ok\": true}"}));
            }
            if rule["hang"] == true {
                settings.timeout = Duration::from_millis(300);
            }
            receiver.rules(&rules.into());
            let mut line = line(&settings);
            let mut sent = append(&mut line, 0..40);
            let bad = sent.remove(13);
            // Whether a record is to blame shows when others are delivered between its attempts.
            let parked = wait_for("the record is parked", || {
                if line.stats().parked_now == 0 {
                    let next = 100 + sent.len() as u64;
                    sent.extend(append(&mut line, next..next + 3));
                    line.delivered(sent.len() as u64 - 12);
                    return None;
                }
                Some(line.parked(1))
            });
            line.delivered(sent.len() as u64);
            assert_eq!(parked.len(), 1, "{rule} {batch:?}: {parked:?}");
            assert!(parked[0].0.to_string() == bad && parked[0].1.contains(want), "{rule} {batch:?}: {parked:?}");
            let taken = taken(&receiver);
            assert!(sent.iter().all(|id| taken.contains(id)), "{rule} {batch:?}");
            keys_are_right(&receiver, batch);
        }
    }
}

#[test]
fn what_a_receiver_repeats_of_our_secrets_is_not_shown() {
    let secret = |text: &str| Secret::new(text.to_owned());
    for (login, repeated, want) in [
        (
            Login::Bearer(secret("t0ken")),
            "Authorization: Bearer t0ken",
            "it answered 400 Bad Request: Authorization: Bearer [hidden]",
        ),
        (
            Login::Basic("gw".to_owned(), secret("open sesame")),
            "Z3c6b3BlbiBzZXNhbWU= is gw:open sesame",
            "it answered 400 Bad Request: [hidden] is gw:[hidden]",
        ),
        (Login::None, "no such page: /acc?k=s3cret", "it answered 400 Bad Request: no such page: /acc?[hidden]"),
        // What is cut off is cut off behind it.
        (
            Login::Bearer(secret(&"t".repeat(600))),
            &format!("{} {}", " ".repeat(400), "t".repeat(600)),
            "Request: [hidden]",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(receiver) = Receiver::start(dir.path()) else { return };
        receiver.rules(&json!([{"status": 400, "body": repeated}]));
        let mut settings = Settings { login, ..receiver.settings(Batch::Each) };
        settings.url.set_query(Some("k=s3cret"));
        let mut line = line(&settings);
        append(&mut line, 0..1);
        let parked = line.parked(1);
        assert!(parked[0].1.contains(want), "{repeated}: {parked:?}");
        assert!(["t0ken", "sesame", "s3cret", "tt"].iter().all(|part| !parked[0].1.contains(part)), "{parked:?}");
    }
}

#[test]
fn an_array_that_is_too_large_goes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    receiver.rules(&json!([{"longer": 4000, "status": 413}]));
    let mut settings = receiver.settings(Batch::Array);
    settings.body.fields = vec![("history".to_owned(), "history".to_owned())];
    let mut line = line(&settings);
    let large = line.append_one(record(Kind::Event, 77, vec![field("history", "x".repeat(8000))]));
    let sent = append(&mut line, 0..60);
    line.delivered(60);
    let parked = line.parked(1);
    assert_eq!(parked, [(large, "it answered 413 Payload Too Large".to_owned())]);
    let (seen, taken) = (receiver.seen(), taken(&receiver));
    assert!(sent.iter().all(|id| taken.contains(id)));
    assert!(seen.iter().any(|request| request["status"] == 413 && ids(request).len() > 1), "there was one too large");
    let fit = |request: &Value| request["octets"].as_u64().unwrap() <= 4000;
    assert!(seen.iter().filter(|request| request["status"] == 204).all(fit));
}

#[test]
fn what_a_person_must_mend_parks_nothing_and_says_what_it_is() {
    for (rule, want) in [
        (
            json!({"status": 301, "headers": {"Location": "https://new.example/acc?key=1"}}),
            "it answered 301 Moved Permanently and points to https://new.example/acc, which is not followed",
        ),
        (json!({"status": 307, "headers": {"Location": "/login"}}), "points to /login, which is not followed"),
        (json!({"status": 401, "body": "who are you?"}), "it answered 401 Unauthorized: who are you?"),
        (json!({"status": 405}), "it answered 405 Method Not Allowed"),
    ] {
        for batch in BOTH {
            let dir = tempfile::tempdir().unwrap();
            let Some(receiver) = Receiver::start(dir.path()) else { return };
            receiver.rules(&json!([rule]));
            let mut line = line(&receiver.settings(batch));
            let sent = append(&mut line, 0..30);
            let told = note(&line, want);
            assert!(!told.contains("key="), "{told}");
            assert_eq!(line.board.views()[0].state, "misfit");
            receiver.rules(&json!([]));
            line.delivered(30);
            assert_eq!(line.stats().parked_now, 0);
            assert_eq!(taken(&receiver), sent.into_iter().collect());
        }
    }
}

#[test]
fn a_receiver_is_left_alone_as_long_as_its_retry_after_says_and_no_longer_than_the_limit() {
    for (number, (status, header, limit)) in [
        (429, "1", 3600),
        (503, "1", 3600),
        (429, "in 1", 3600),
        (503, "in 1", 3600),
        (408, "1", 3600),
        (500, "1", 3600),
        (425, "86400", 1),
        (503, "in 86400", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let batch = BOTH[number / 2 % 2];
        let dir = tempfile::tempdir().unwrap();
        let Some(receiver) = Receiver::start(dir.path()) else { return };
        let times = if batch == Batch::Each { 4 } else { 1 };
        receiver.rules(&json!([{"status": status, "headers": {"Retry-After": header}, "times": times}]));
        let mut settings = receiver.settings(batch);
        settings.retry_after_max = Duration::from_secs(limit);
        settings.delivery.batch_max = times;
        let mut line = line(&settings);
        let sent = append(&mut line, 0..12);
        note(&line, &format!("it answered {status}"));
        line.delivered(12);
        let at: Vec<f64> = receiver.seen().iter().map(|request| request["at"].as_f64().unwrap()).collect();
        let gap = at[times] - at[times - 1];
        assert!(gap >= 0.999, "{status} {header} {batch:?}: {gap} s");
        assert_eq!((line.stats().parked_now, taken(&receiver)), (0, sent.into_iter().collect()));
        if batch == Batch::Each {
            keys_are_right(&receiver, batch);
        }
    }
}

#[test]
fn a_receiver_that_dies_or_stands_still_in_mid_run_gets_every_record_under_the_same_key() {
    for batch in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let Some(mut receiver) = Receiver::start(dir.path()) else { return };
        let mut settings = receiver.settings(batch);
        settings.timeout = Duration::from_millis(400);
        let mut line = line(&settings);
        let mut sent = Vec::new();
        for round in 0..4_u64 {
            let begin = round * 300;
            sent.extend(append(&mut line, begin..begin + 300));
            line.delivered(begin + 50);
            if round % 2 == 0 {
                receiver.kill();
                sent.extend(append(&mut line, 10_000 + begin..10_001 + begin));
                note(&line, "onnect");
                receiver.start_again();
            } else {
                receiver.signal(libc::SIGSTOP);
                sent.extend(append(&mut line, 10_000 + begin..10_001 + begin));
                note(&line, "no answer within 0.4 s");
                receiver.signal(libc::SIGCONT);
            }
            line.delivered(sent.len() as u64);
        }
        assert_eq!((line.stats().parked_now, taken(&receiver)), (0, sent.into_iter().collect()));
        for request in receiver.seen() {
            let key = request["headers"]["idempotency-key"].as_str().unwrap();
            let want = if batch == Batch::Each { &request["ids"][0] } else { &request["hash"] };
            assert_eq!(Some(key), want.as_str(), "{request}");
        }
    }
}

#[test]
fn connections_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    receiver.rules(&json!([{"status": 200, "body": "x".repeat(1000)}]));
    let mut line = line(&receiver.settings(Batch::Each));
    append(&mut line, 0..400);
    line.delivered(400);
    let connections = receiver.seen().last().unwrap()["connections"].as_u64().unwrap();
    assert!(connections <= 16, "{connections} connections for 400 requests, 8 at once");
}
