//! Messages of JetStream with a real nats-server: what it stores, and what becomes of records when it is away, full, or not
//! what the configuration takes it for.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::{Value as Json, json};
use tollgate::ids::{CallHash, RecordId};
use tollgate::net::tls::{ClientFiles, ClientTls, Identity, NameCheck, Roots};
use tollgate::record::{Kind, Record};
use tollgate::sinks::event::{Envelope, Legs};
use tollgate::sinks::jetstream::{Access, Login};
use tollgate::sinks::nats::Settings;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::nats::{Nats, Stored, body, config, line};
use crate::support::radius::{Line, field, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, wait_for};

/// So many Stops, each of a call of its own.
fn stops(numbers: std::ops::Range<u64>) -> Vec<(Record, CallHash)> {
    let stop = |number| record(Kind::Stop, number, vec![field("tenant", "acme")]);
    numbers
        .map(stop)
        .map(|record| (CallHash::of(&record.call_id), record))
        .map(|(call, record)| (record, call))
        .collect()
}

/// What is wrong with the sink, in its status.
fn note(line: &Line<tollgate::sinks::attempt::Board>) -> (&'static str, String) {
    let view = line.board.views().remove(0);
    (view.state, view.note.unwrap_or_default())
}

fn wait_note(line: &Line<tollgate::sinks::attempt::Board>, state: &str, part: &str) {
    let mut last = (note(line).0, String::new());
    let found = crate::support::try_wait_for(|| {
        last = note(line);
        (last.0 == state && last.1.contains(part)).then_some(())
    });
    assert!(found.is_some(), "no `{state}` with `{part}`, but {last:?}");
}

fn ids(stored: &[Stored]) -> HashSet<String> {
    stored.iter().map(|message| message.id.clone()).collect()
}

fn texts(ids: &[RecordId]) -> HashSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn a_record_is_a_message_with_all_its_values() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    nats.stream(config("ACC", &["acc.>"]));
    let mut own = record(Kind::Stop, 1, vec![field("tenant", "a.b c"), field("big", b"\xff".to_vec())]);
    own.legs = vec![vec![field("src", "alice")], vec![field("src", "bob")]];
    let mut expected = own.to_json();
    let settings = nats.settings("ACC", "acc.{kind}.{method}.{tenant}.{table}");
    let bodies = [
        body(Envelope::None),
        body(Envelope::CloudEvents),
        tollgate::sinks::event::Body { legs: Legs::Events, ..body(Envelope::JsonRpc) },
    ];
    for body in bodies {
        let mut line = line(&Settings { body, ..settings.clone() });
        let id = line.append_one(own.clone());
        line.delivered(1);
        let stored = nats.stored("ACC");
        let last = stored.last().unwrap();
        assert_eq!(last.subject, "acc.stop.BYE.a%2Eb%20c._");
        expected["id"] = id.to_string().into();
        match stored.len() {
            1 => {
                assert_eq!((&last.id, last.content_type.as_str()), (&id.to_string(), "application/json"));
                assert_eq!(last.body, expected);
                assert_eq!(last.body["not_utf8"], json!(["fields.big"]));
            }
            2 => {
                assert_eq!((&last.id, last.content_type.as_str()), (&id.to_string(), "application/cloudevents+json"));
                assert_eq!(last.body["data"], expected);
                let head = ["specversion", "id", "source", "type", "time", "subject"].map(|name| &last.body[name]);
                let want = [
                    "1.0",
                    &id.to_string(),
                    "/test",
                    "tollgate.record.stop",
                    "2023-11-14T22:14:25.000000Z",
                    "call-1@example.com",
                ];
                assert_eq!(head.map(|value| value.as_str().unwrap()), want);
            }
            _ => {
                let legs: Vec<_> =
                    stored[2..].iter().map(|own| (own.id.clone(), own.body["params"]["legs"].clone())).collect();
                let want =
                    [(format!("{id}-1"), json!([{ "src": "alice" }])), (format!("{id}-2"), json!([{ "src": "bob" }]))];
                assert_eq!(legs, want, "an event a leg, each with an id of its own");
                assert_eq!(last.body["method"], "E_ACC_EVENT");
            }
        }
        assert_eq!(
            note(&line),
            ("up", "stored by the stream's server, on its disk within its sync_interval".to_owned())
        );
    }
}

#[test]
fn a_server_that_is_killed_in_mid_run_loses_nothing_and_has_nothing_twice() {
    const RECORDS: u64 = 6_000;
    let dir = tempfile::tempdir().unwrap();
    let Some(mut nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    nats.stream(config("ACC", &["acc.*"]));
    let mut line = line(&nats.settings("ACC", "acc.{kind}"));
    let mut want = HashSet::new();
    for round in 0..6 {
        want.extend(texts(&line.append(stops(round * RECORDS / 6..(round + 1) * RECORDS / 6))));
        if round % 2 == 0 {
            wait_for("some are delivered", || (line.stats().balance.delivered > round * RECORDS / 6).then_some(()));
            nats.kill();
            wait_note(&line, "down", "");
            nats.start_again(None);
        }
    }
    line.delivered(RECORDS);
    let stored = nats.stored("ACC");
    assert_eq!(ids(&stored), want, "nothing is lost");
    assert_eq!(stored.len(), want.len(), "the stream knows repeats, over its restart too");
}

#[test]
fn a_server_that_stands_still_is_an_unknown_outcome_and_the_repeat_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    nats.stream(config("ACC", &["acc.*"]));
    let mut settings = nats.settings("ACC", "acc.{kind}");
    settings.access.timeout = Duration::from_millis(300);
    let mut line = line(&settings);
    line.append_one(stops(0..1).remove(0).0);
    line.delivered(1);
    nats.freeze();
    let ids_of = texts(&line.append(stops(1..301)));
    wait_note(&line, "down", "no acknowledgement within 0.3 s");
    nats.signal(libc::SIGCONT);
    line.delivered(301);
    let stored = nats.stored("ACC");
    assert_eq!((ids(&stored[1..]), stored.len()), (ids_of, 301));
}

#[test]
fn a_stream_that_is_missing_or_full_makes_records_wait() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    let mut line = line(&nats.settings("ACC", "acc.{kind}"));
    line.append(stops(0..10));
    wait_note(&line, "misfit", "there is no stream `ACC`: add it");
    let full = Config { max_messages: 4, discard: DiscardPolicy::New, ..config("ACC", &["acc.*"]) };
    nats.stream(full.clone());
    wait_note(&line, "down", "maximum messages exceeded");
    assert_eq!(nats.count("ACC"), 4);
    nats.stream(Config { max_messages: -1, ..full });
    line.delivered(10);
    assert_eq!((nats.count("ACC"), ids(&nats.stored("ACC")).len()), (10, 10));
    assert_eq!(line.stats().balance.parked, 0);
}

#[test]
fn a_subject_without_a_stream_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    nats.stream(config("ACC", &["acc.stop"]));
    nats.stream(config("OTHER", &["acc.event"]));
    let mut line = line(&nats.settings("ACC", "acc.{kind}"));
    let of = |kind, number| (record(kind, number, Vec::new()), CallHash::of(format!("{kind:?}").as_bytes()));
    line.append(vec![of(Kind::Missed, 1), of(Kind::Event, 2)]);
    wait_for("both were tried", || (line.stats().retries >= 2).then_some(()));
    line.append(stops(10..110));
    line.delivered(100);
    assert_eq!((nats.count("ACC"), nats.count("OTHER")), (100, 0), "none in another stream");
    wait_note(&line, "up", "the stream `ACC` does not take the subject `acc.missed`");
    // The stream of another gets none, though its server would take them.
    wait_for("it is told", || {
        let reasons = note(&line).1;
        reasons.contains("another stream has its subject: expected stream does not match").then_some(())
    });
    nats.with(async |context| {
        context.delete_stream("OTHER").await.unwrap();
    });
    nats.stream(config("ACC", &["acc.*"]));
    line.delivered(102);
    assert_eq!((nats.count("ACC"), line.stats().balance.parked), (102, 0));
}

#[test]
fn a_message_that_is_too_large_parks_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "max_payload: 4096\n", ConnectOptions::new) else { return };
    nats.stream(Config { max_message_size: 3_000, ..config("ACC", &["acc.*"]) });
    let mut line = line(&nats.settings("ACC", "acc.{kind}"));
    let sized = |number, octets: usize| {
        let record = record(Kind::Stop, number, vec![field("big", vec![b'x'; octets])]);
        let call = CallHash::of(&record.call_id);
        (record, call)
    };
    let mut records = stops(0..20);
    records.insert(5, sized(100, 5_000));
    records.insert(9, sized(101, 3_000));
    let ids_of = line.append(records);
    line.delivered(20);
    let parked = line.parked(2);
    assert_eq!(parked.iter().map(|(id, _)| *id).collect::<HashSet<_>>(), HashSet::from([ids_of[5], ids_of[9]]));
    let reasons = parked.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("\n");
    assert!(reasons.contains("max") && reasons.contains("message size exceeds maximum allowed"), "{reasons}");
    assert_eq!(nats.count("ACC"), 20);
}

/// A user who may do everything, one who may publish Stops alone, and an nkey; over TLS.
fn secured(dir: &Path) -> String {
    let tls = dir.join("tls").display().to_string();
    format!(
        "tls {{ cert_file: \"{tls}/server.pem\", key_file: \"{tls}/server.key\", ca_file: \"{tls}/ca.pem\", verify: true }}\n\
         authorization {{ users: [\n\
         {{ user: all, password: all }},\n\
         {{ user: gw, password: secret, permissions: {{ publish: [\"acc.stop\", \"$JS.API.STREAM.INFO.ACC\"], subscribe: \"_INBOX.>\" }} }},\n\
         {{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }}\n] }}\n"
    )
}

#[test]
fn servers_let_in_whom_they_know_and_tell_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
    let Ok(made) = Command::new(script).arg(dir.path().join("tls")).finish() else { return };
    assert!(made.status.success());
    let plain = "authorization { users: [ { user: all, password: all } ] }\n".to_owned();
    let all = || ConnectOptions::with_user_and_password("all".to_owned(), "all".to_owned());
    let Some(mut nats) = Nats::start(dir.path(), &plain, all) else { return };
    nats.stream(config("ACC", &["acc.*"]));
    nats.start_again(Some(&secured(dir.path())));
    let file = |name: &str| dir.path().join("tls").join(name);
    let load = |own: Option<Identity>| {
        let roots = Roots::File(file("ca.pem"));
        ClientTls::load(&ClientFiles { roots, own, name_check: NameCheck::On }).unwrap()
    };
    let own = Identity { certificate: file("client.pem"), key: file("client.key") };
    let secret = |text: &str| Secret::new(text.to_owned());
    let user = |password: &str| Login::User("gw".to_owned(), secret(password));
    let settings = nats.settings("ACC", "acc.{kind}");
    let good = Access {
        login: user("secret"),
        tls: Some(load(Some(own))).into(),
        servers: vec!["nats://127.0.0.1:9".to_owned(), format!("tls://localhost:{}", nats.port)],
        ..settings.access.clone()
    };
    let line = |access: &Access| line(&Settings { access: access.clone(), ..settings.clone() });
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    for (what, access) in [
        ("a user, and a server of several that is there", good.clone()),
        ("an nkey", Access { login: Login::Nkey(secret(seed)), ..good.clone() }),
    ] {
        let mut line = line(&access);
        line.append(stops(0..3));
        wait_for(what, || (note(&line).0 == "up").then_some(()));
        line.delivered(3);
    }
    for (what, access, state, part) in [
        (
            "a wrong password",
            Access { login: user("wr0ng"), ..good.clone() },
            "misfit",
            "the server does not let us in",
        ),
        ("nobody in particular", Access { login: Login::None, ..good.clone() }, "misfit", "does not let us in"),
        ("no certificate", Access { tls: Some(load(None)).into(), ..good.clone() }, "down", ""),
        (
            "another name than that of the certificate",
            Access { servers: vec![format!("tls://127.0.0.2:{}", nats.port)], ..good.clone() },
            "down",
            "",
        ),
    ] {
        let mut line = line(&access);
        line.append(stops(0..1));
        wait_note(&line, state, part);
        assert!(!note(&line).1.contains("wr0ng"), "{what}: {:?}", note(&line));
    }
    // What may not be published is told at once, and the others flow.
    let mut line = line(&Access { timeout: Duration::from_secs(60), ..good });
    line.append(vec![(record(Kind::Start, 7, Vec::new()), CallHash::of(b"7"))]);
    line.append(stops(50..60));
    line.delivered(10);
    wait_note(&line, "up", "Permissions Violation for Publish to \"acc.start\"");
}

/// A user who may do everything, and one who may publish to these subjects alone.
fn allowing(subjects: &str) -> String {
    format!(
        "authorization {{ users: [\n{{ user: all, password: all }},\n{{ user: gw, password: secret, permissions: {{ \
         publish: [{subjects}, \"$JS.API.STREAM.INFO.ACC\"], subscribe: \"_INBOX.>\" }} }}\n] }}\n"
    )
}

#[test]
fn subjects_that_are_forbidden_wait_until_they_are_allowed_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let all = || ConnectOptions::with_user_and_password("all".to_owned(), "all".to_owned());
    let Some(nats) = Nats::start(dir.path(), &allowing("\"acc.acme\""), all) else { return };
    nats.stream(config("ACC", &["acc.*"]));
    let mut settings = nats.settings("ACC", "acc.{tenant}");
    settings.access.login = Login::User("gw".to_owned(), Secret::new("secret".to_owned()));
    // No test waits as long: what is forbidden is told at once.
    settings.access.timeout = Duration::from_secs(120);
    settings.delivery.timeout = Duration::from_secs(180);
    let mut line = line(&settings);
    let others = (0..40_u64).map(|number| {
        let record = record(Kind::Stop, number, vec![field("tenant", format!("t{number}"))]);
        let call = CallHash::of(&record.call_id);
        (record, call)
    });
    line.append(others.collect());
    wait_for("all are told of", || (line.stats().retries >= 40).then_some(()));
    line.append(stops(100..200));
    line.delivered(100);
    wait_note(&line, "up", "Permissions Violation for Publish to \"acc.t");
    fs::write(dir.path().join("nats/more.conf"), allowing("\"acc.*\"")).unwrap();
    nats.signal(libc::SIGHUP);
    line.delivered(140);
    assert_eq!((nats.count("ACC"), line.stats().balance.parked), (140, 0));
}

fn gateway(dir: &Path, callee: u16, nats: &Nats) -> Gateway {
    let ([port], dir) = (free_ports(), dir.join("gateway"));
    fs::create_dir_all(&dir).unwrap();
    let (folder, url) = (dir.display(), nats.url());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"nats\"]\nfields = {{ ua = \"$ua\", tenant = \"acme\" }}\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.nats.acc]\nservers = [\"{url}\"]\nstream = \"ACC\"\nsubject = \"acc.{{tenant}}.{{kind}}\"\nretry_first_ms = 50\n\
         retry_max_s = 1\n"
    );
    Gateway::start_on(&dir, port, &toml, 9)
}

#[test]
fn calls_are_messages_and_a_kill_of_the_gateway_costs_none_and_doubles_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    nats.stream(config("ACC", &["acc.acme.*"]));
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), callee, &nats);
    let to = gateway.address().to_string();
    let mut answered = 0;
    for round in 0_u16..4 {
        let mut calls = sipp(
            dir.path(),
            "uac.xml",
            caller,
            &[&to, "-m", "40", "-r", "200", "-d", "50", "-cid_str", &format!("{round}-%u-%p@%s")],
        )
        .unwrap();
        assert!(calls.wait("the caller").success(), "{}", calls.complaints());
        answered += 40;
        // Some of them are under way to the server.
        gateway.start_again();
    }
    wait_for("all are delivered", || (nats.count("ACC") >= 2 * answered).then_some(()));
    wait_for("and settled", || {
        let status: Json = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
        (status["sinks"][0]["waiting"] == 0).then_some(())
    });
    let stored = nats.stored("ACC");
    assert_eq!((stored.len(), ids(&stored).len()), (320, 320));
    let data = &stored[0].body["data"];
    assert_eq!((&data["fields"]["ua"], &data["fields"]["tenant"]), (&json!("bench-uac/1.0"), &json!("acme")));
    let kinds = |kind: &str| stored.iter().filter(|own| own.subject == format!("acc.acme.{kind}")).count();
    assert_eq!((kinds("start"), kinds("stop")), (160, 160));

    let status = gateway.command(&["status"]);
    assert!(status.contains("stored by the stream's server"), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc", "tenant=acme"]);
    assert!(sent.contains("message to acc.acme.stop") && sent.contains("verdict    acknowledged"), "{sent}");
    assert_eq!(nats.count("ACC"), 321);
}

#[test]
fn deep_checks_ask_for_the_stream_and_judge_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    let deep = |more: &str| {
        let folder = dir.path().display();
        let [port] = free_ports();
        let toml = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\non = [\"nats\"]\n\
             [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
             [sinks.nats.acc]\nservers = [\"{}\"]\nstream = \"ACC\"\n{more}\n",
            nats.url()
        );
        let file = dir.path().join("tollgate.toml");
        fs::write(&file, toml).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = command.args(["check", "--deep", "--json", "--config"]).arg(file).finish().unwrap();
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        let trial = report["trials"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(trial["what"], format!("sink acc {} ACC", nats.url()));
        (output.status.success(), trial["why"].clone(), trial["warnings"].clone())
    };
    assert_eq!(deep(""), (false, json!("there is no stream `ACC`: add it"), Json::Null));
    let good = config("ACC", &["tollgate.*"]);
    nats.stream(good.clone());
    assert_eq!(deep(""), (true, Json::Null, Json::Null));
    let why = "the stream `ACC` does not take the subject `acc.*.*`: add it to the stream's subjects";
    assert_eq!(deep("subject = \"acc.{kind}.{method}\""), (false, json!(why), Json::Null));
    nats.with(async |context| {
        context.delete_stream("ACC").await.unwrap();
    });
    nats.stream(Config {
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::Memory,
        duplicate_window: Duration::from_secs(5),
        ..good
    });
    let (is_well, _, warnings) = deep("");
    let warnings: Vec<_> = warnings.as_array().unwrap().iter().map(|own| own.as_str().unwrap().to_owned()).collect();
    assert!(is_well && warnings.len() == 3, "{warnings:?}");
    assert!(warnings[0].starts_with("its retention is `workqueue`: when a server restarts it forgets"), "{warnings:?}");
    assert!(warnings[1].starts_with("it is kept in memory"), "{warnings:?}");
    assert!(warnings[2].starts_with("it knows repeats for 5 s only"), "{warnings:?}");
}
