//! The gateway's queue and RADIUS sink against a FreeRADIUS that misbehaves: what it drops, delays, refuses or cannot
//! store, and what becomes of the records behind.
//!
//! The faults are those of `tests/freeradius/run.sh`. Unlike `freeradius.rs`, whose sink is driven by the test,
//! here the real queue lends and the real worker delivers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tollgate::clock::Timestamp;
use tollgate::dictionary::{Builder, builtin};
use tollgate::ids::CallHash;
use tollgate::queue::AFTER_ALL;
use tollgate::radius::attribute::Oversize;
use tollgate::radius::client::DelayTime;
use tollgate::record::{Fields, Kind, Record, Times, Value};
use tollgate::sinks::profile::Profile;
use tollgate::sinks::radius::{Columns, FieldMapping, Legs, SessionId, Settings};

use crate::support::radius::{Line, field, of_user, record, settings};
use crate::support::start::Start as _;
use crate::support::{FreeRadius, peer, value, wait_for};

fn start(dir: &TempDir, environment: &[(&str, &str)]) -> Option<FreeRadius> {
    FreeRadius::start(dir.path(), environment)
}

/// Record ids in the server's detail file.
fn ids(server: &FreeRadius) -> BTreeSet<String> {
    server.records().iter().filter_map(|record| value(record, "Tollgate-Record-Id").map(str::to_owned)).collect()
}

/// Rows of an SQL query on the server's database.
fn rows(server: &FreeRadius, query: &str) -> Vec<String> {
    let output = Command::new("sqlite3").arg(server.dir.join("radacct.db")).arg(query).finish().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_record_the_database_cannot_store_ends_in_quarantine_while_others_flow_on() {
    if peer("sqlite3").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[("RADTEST_SQL", "1")]) else { return };
    let mut line = Line::start(settings(&[server.port]));
    let callee = format!("sip:{}", "1".repeat(47));
    assert_eq!(callee.len(), 51);
    let poison = line.append_one(record(Kind::Start, 1, vec![field("callee", callee)]));
    let mut good = 0;
    // Others are answered all the while.
    let parked = wait_for("the poison record is parked", || {
        good += 1;
        line.append_one(record(Kind::Start, 100 + good, vec![field("callee", "sip:12@example.org")]));
        line.delivered(good);
        (line.stats().parked_now == 1).then(|| line.parked(1))
    });
    assert_eq!(parked[0].0, poison);
    assert!(parked[0].1.contains("acknowledged other records, the last one "), "{}", parked[0].1);
    assert!(good >= 2, "{good} were delivered meanwhile");
    let health = line.board.servers()[0].health;
    assert_eq!(health, tollgate::radius::client::Health::Alive, "the server is not to blame");
    assert_eq!(rows(&server, "SELECT count(*) FROM radacct WHERE calledstationid LIKE 'sip:1111%'"), ["0"]);
    assert_eq!(rows(&server, "SELECT count(*) FROM radacct"), [good.to_string()]);
    drop(line);

    // With the widths of that database the same record is stored, cut and marked.
    let mut line = Line::start(Settings { columns: Columns::FreeradiusSql, ..settings(&[server.port]) });
    line.append_one(record(Kind::Start, 1, vec![field("callee", format!("sip:{}", "1".repeat(47)))]));
    line.delivered(1);
    assert_eq!(rows(&server, "SELECT count(*) FROM radacct WHERE calledstationid LIKE 'sip:1111%'"), ["1"]);
    let last = server.records().pop().unwrap();
    assert_eq!(value(&last, "Tollgate-Shortened"), Some("callee"));
}

#[test]
fn the_records_of_a_session_make_one_row_and_accounting_on_closes_the_open_ones() {
    if peer("sqlite3").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[("RADTEST_SQL", "1")]) else { return };
    let mut line = Line::start(Settings { legs: Legs::Apart, ..settings(&[server.port]) });
    for (kind, delivered) in [(Kind::Start, 1), (Kind::Interim, 2), (Kind::Stop, 3)] {
        line.append_one(of_user(kind, 1, "alice"));
        // A Stop would take the place of an Interim that waits.
        line.delivered(delivered);
    }
    for (kind, delivered) in [(Kind::Start, 4), (Kind::Stop, 5)] {
        let legs = vec![vec![field("src", "leg")]; 3];
        line.append_one(Record { legs, ..of_user(kind, 3, "carol") });
        line.delivered(delivered);
    }
    line.append_one(of_user(Kind::Start, 2, "bob"));
    let mut on = record(Kind::On, 0, Vec::new());
    (on.session, on.call_id, on.times) =
        (String::new(), Vec::new(), Times { event: Timestamp(1_700_001_000_000_000), ..Times::default() });
    line.append(vec![(on, AFTER_ALL)]);
    line.delivered(7);
    let all = rows(
        &server,
        "SELECT username, acctstarttime, acctstoptime, acctterminatecause FROM radacct ORDER BY username",
    );
    let want = [
        "alice|1700000004|1700000065|User-Request",
        "bob|1700000004|1700001000|NAS-Reboot",
        "carol|1700000004|1700000065|User-Request",
    ];
    assert_eq!(all, want, "also of one whose legs came apart");
    assert_eq!(server.records().last().and_then(|record| value(record, "Acct-Status-Type")), Some("Accounting-On"));
}

#[test]
fn faults_of_the_whole_server_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[("RADTEST_FAULTS", "1"), ("RADTEST_THREADS", "4")]) else { return };
    let mut settings = settings(&[server.port]);
    // Nothing is to be parked here: all of it is the server's fault.
    settings.client.park_age_min = Duration::from_secs(3600);
    let mut line = Line::start(settings);
    let mut sent = 0;
    for word in ["none", "drop50", "drop", "fail", "noack", "errcause", "badcode", "delay1"] {
        fs::write(server.dir.join("fault"), format!("{word}\n")).unwrap();
        let before = line.stats();
        for _ in 0..3 {
            sent += 1;
            line.append_one(of_user(Kind::Start, sent, "alice"));
        }
        let harmless = ["none", "drop50", "delay1"].contains(&word);
        if harmless {
            line.delivered(sent);
        } else {
            wait_for(&format!("a failed delivery under `{word}`"), || {
                (line.stats().retries > before.retries).then_some(())
            });
            assert_eq!(line.stats().balance.delivered, before.balance.delivered, "{word} acknowledges nothing");
            fs::write(server.dir.join("fault"), "none\n").unwrap();
            line.delivered(sent);
        }
        assert_eq!(line.stats().balance.parked, 0, "{word}");
    }
    assert_eq!(ids(&server).len() as u64, sent);
}

#[test]
fn a_refusal_for_good_is_parked_at_once_and_a_signed_answer_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[("RADTEST_FAULTS", "1")]) else { return };
    let mut line = Line::start(settings(&[server.port]));
    line.append_one(of_user(Kind::Start, 1, "alice"));
    line.delivered(1);
    fs::write(server.dir.join("fault"), "proterr\n").unwrap();
    line.append_one(of_user(Kind::Start, 2, "alice"));
    let parked = line.parked(1);
    assert!(parked[0].1.contains("Error-Cause 404 (Invalid-Request)"), "{}", parked[0].1);
    fs::write(server.dir.join("fault"), "ma\n").unwrap();
    line.append_one(of_user(Kind::Start, 3, "alice"));
    line.delivered(2);
}

#[test]
fn a_late_answer_acknowledges_and_stores_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[("RADTEST_THREADS", "4")]) else { return };
    for mode in [DelayTime::Cycle, DelayTime::Always] {
        let before = server.records().len();
        let mut settings = settings(&[server.port]);
        settings.client.delay_time = mode;
        settings.client.transmissions = 6;
        settings.client.max_timeout = Duration::from_secs(1);
        let mut line = Line::start(settings);
        line.append_one(of_user(Kind::Start, 1, "fault-delay3@x"));
        line.delivered(1);
        let status = line.board.servers()[0];
        assert!(status.counters.retransmissions >= 2 || mode == DelayTime::Always, "{status:?}");
        if mode == DelayTime::Cycle {
            // Retransmissions while the server works on a request are absorbed.
            assert_eq!(server.records().len(), before + 1);
        }
    }
}

#[test]
fn both_servers_down_then_up_again_get_everything_once_acknowledged() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(mut primary) = start(&dir, &[]) else { return };
    let Some(mut secondary) = start(&other, &[]) else { return };
    let mut line = Line::start(settings(&[primary.port, secondary.port]));
    line.append_one(of_user(Kind::Start, 1, "alice"));
    line.delivered(1);
    primary.process.kill();
    secondary.process.kill();
    let more: Vec<_> = (2..=300).map(|number| (of_user(Kind::Start, number, "alice"), CallHash(number))).collect();
    line.append(more);
    wait_for("both are given up", || {
        let servers = line.board.servers();
        servers.iter().all(|server| server.counters.unreachable > 0).then_some(())
    });
    assert_eq!(line.stats().balance.delivered, 1);
    secondary.restart();
    primary.restart();
    line.delivered(300);
    let mut all = ids(&primary);
    all.extend(ids(&secondary));
    assert_eq!(all.len(), 300);
}

#[test]
fn more_than_256_are_outstanding_on_several_sockets_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    let mut settings = settings(&[server.port]);
    settings.client.window = 1000;
    settings.client.response_window = Duration::from_secs(20);
    settings.client.initial_timeout = Duration::from_secs(10);
    settings.client.max_timeout = Duration::from_secs(10);
    let mut line = Line::start(settings);
    let mut number = 0;
    let mut more = |count: u64| -> Vec<_> {
        let records = (0..count).map(|_| {
            number += 1;
            (of_user(Kind::Start, number, "alice"), CallHash(number))
        });
        records.collect()
    };
    // Answers open the window, in a busy moment of the machine slowly.
    let mut count = 0;
    let opened = (0..40).any(|_| {
        line.append(more(1000));
        count += 1000;
        line.delivered(count);
        line.board.servers()[0].window > 320
    });
    assert!(opened, "{:?}", line.board.servers());
    server.process.freeze();
    line.append(more(900));
    wait_for("300 outstanding", || {
        let status = line.board.servers()[0];
        (status.outstanding > 300 && status.lanes >= 2).then_some(())
    });
    server.process.signal(libc::SIGCONT);
    line.delivered(count + 900);
    assert_eq!(ids(&server).len() as u64, count + 900);
}

#[test]
fn odd_records_are_stored_in_the_best_permitted_form_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    let mut settings = settings(&[server.port]);
    settings.fields = vec![
        FieldMapping::new("user", "User-Name"),
        FieldMapping { oversize: Oversize::Hash, ..FieldMapping::new("callee", "Called-Station-Id") },
        FieldMapping { oversize: Oversize::Split, ..FieldMapping::new("via", "Tollgate-Trunk") },
        FieldMapping { oversize: Oversize::Omit, ..FieldMapping::new("agent", "Tollgate-User-Agent") },
        FieldMapping::new("port", "Tollgate-Src-Port"),
    ];
    let mut line = Line::start(settings);
    let long = vec![b'x'; 10_000];
    let mut odd = record(
        Kind::Start,
        1,
        vec![
            field("user", b"a\0b\r\nInjected = 1\xff\xfe".to_vec()),
            field("callee", long.clone()),
            field("via", vec![b'v'; 600]),
            field("agent", long.clone()),
            field("port", "no number"),
            field("empty", ""),
            ("absent".to_owned(), Value::Absent),
        ],
    );
    odd.to_tag = Vec::new();
    odd.legs = (0..300).map(|leg| vec![field("src", format!("leg-{leg}"))]).collect();
    line.append_one(odd);
    line.delivered(1);
    let stored = server.wait_records(1).remove(0);
    for (name, want) in
        [("User-Name", "abInjected = 1\\377\\376"), ("Tollgate-Leg", "1 src=leg-0"), ("Tollgate-Record-Kind", "Start")]
    {
        assert_eq!(value(&stored, name), Some(want), "{name}");
    }
    let callee = value(&stored, "Called-Station-Id").unwrap();
    assert!(callee.starts_with("xxx") && callee.contains('#') && callee.len() <= 253, "{callee}");
    let count = |name: &str| stored.iter().filter(|line| line.starts_with(&format!("{name} = "))).count();
    assert_eq!((count("Tollgate-Trunk"), count("Tollgate-User-Agent"), count("Tollgate-Src-Port")), (3, 0, 0));
    assert!(count("Tollgate-Leg") >= 64, "the record keeps 64 legs: {}", count("Tollgate-Leg"));
    let marked = value(&stored, "Tollgate-Shortened").unwrap();
    for name in ["record", "user", "callee", "agent", "port"] {
        assert!(marked.split(',').any(|word| word == name), "{name} in {marked}");
    }
    assert!(!marked.contains("via") && !marked.contains("empty"), "what is whole is not marked: {marked}");
}

#[test]
fn each_odd_value_alone_is_stored_as_far_as_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    let mut line = Line::start(settings(&[server.port]));
    let long = "x".repeat(10_240);
    for (number, (name, sent, stored, marked)) in (1..).zip([
        (
            "a header of 10 kB is cut to what an attribute holds",
            long.as_bytes(),
            Some(&long[..253]),
            Some("record,user"),
        ),
        ("an empty value is left out", b"", None, None),
        ("NUL is taken out", b"al\0ice@x", Some("alice@x"), Some("user")),
        ("nothing but NUL is left out", b"\0\0", None, Some("user")),
        ("a line cannot be injected", b"a@x\r\nClass = 1", Some("a@xClass = 1"), Some("user")),
        ("octets that are no UTF-8 travel as they are", b"\xff\xc3(@x", Some("\\377\\303(@x"), None),
        ("UTF-8 stays", "jürgen@x".as_bytes(), Some("jürgen@x"), None),
        ("a cut leaves no half character", &"ü".repeat(200).into_bytes(), Some(&"ü".repeat(126)), Some("user")),
    ]) {
        line.append_one(record(Kind::Start, number, vec![field("user", sent)]));
        line.delivered(number);
        let found = server.wait_records(usize::try_from(number).unwrap()).pop().unwrap();
        let both = (value(&found, "User-Name"), value(&found, "Tollgate-Shortened"));
        assert_eq!(both, (stored, marked), "{name}");
    }
}

#[test]
fn legs_that_do_not_fit_into_a_request_come_apart_and_none_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    let mut line = Line::start(settings(&[server.port]));
    let mut forwarded = of_user(Kind::Start, 1, "alice");
    forwarded.legs = (1..=60).map(|leg| vec![field("src", format!("{leg}-{}", "s".repeat(200)))]).collect();
    let id = line.append_one(forwarded);
    line.append_one(of_user(Kind::Stop, 1, "alice"));
    line.delivered(2);
    let stored = server.wait_records(61);
    let last = stored.last().and_then(|record| value(record, "Acct-Status-Type"));
    assert_eq!((stored.len(), last), (61, Some("Stop")), "the end comes after the last leg");
    for (number, record) in (1..=60).zip(&stored) {
        for (name, want) in [
            ("Tollgate-Record-Id", format!("{id}.{number}")),
            ("Tollgate-Leg-Number", number.to_string()),
            ("Tollgate-Leg-Count", "60".to_owned()),
            ("Tollgate-Leg", format!("{number} src={number}-{}", "s".repeat(200))),
        ] {
            assert_eq!(value(record, name), Some(want.as_str()), "{name} of leg {number}");
        }
        assert_eq!(value(record, "Tollgate-Shortened"), None, "nothing is missing");
        for name in ["Acct-Session-Id", "Acct-Unique-Session-Id"] {
            assert_eq!(value(record, name), value(&stored[60], name), "one session: {name}");
        }
    }
}

#[test]
fn no_leg_is_lost_when_the_server_is_killed_between_two() {
    const CALLS: u64 = 100;
    const LEGS: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = start(&dir, &[]) else { return };
    let mut settings = settings(&[server.port]);
    settings.legs = Legs::Apart;
    settings.client.outage_retry = Duration::from_millis(50);
    let mut line = Line::start(settings);
    let of_call = |number: u64| {
        let legs = (1..=LEGS).map(|leg| vec![field("src", format!("{leg}"))]).collect();
        (Record { legs, ..of_user(Kind::Start, number, "alice") }, CallHash(number))
    };
    let calls = line.append((1..=CALLS).map(of_call).collect());
    wait_for("some legs at the server", || (server.records().len() > 20).then_some(()));
    server.process.kill();
    server.restart();
    line.delivered(CALLS);
    let all = ids(&server);
    let wanted = calls.iter().flat_map(|id| (1..=LEGS).map(move |leg| format!("{id}.{leg}"))).collect::<BTreeSet<_>>();
    assert_eq!(all, wanted);
    let doubled = server.records().len() - wanted.len();
    assert!(doubled <= usize::try_from(CALLS).unwrap(), "at most the legs under way came twice: {doubled}");
    assert_eq!(line.stats().balance.delivered, CALLS);
}

#[test]
fn a_leg_that_is_refused_parks_the_record_and_repeats_no_other_leg() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    let mut settings = settings(&[server.port]);
    settings.legs = Legs::Apart;
    settings.leg_fields = vec![FieldMapping::new("user", "User-Name")];
    let mut line = Line::start(settings);
    let mut forwarded = record(Kind::Start, 1, Fields::new());
    forwarded.legs = ["alice", "fault-errcause@x", "bob"].map(|user| vec![field("user", user)]).to_vec();
    let id = line.append_one(forwarded);
    // It counts against the record only while others are acknowledged.
    let mut others = 0;
    let (parked, reason) = wait_for("the record is parked", || {
        others += 1;
        line.append_one(of_user(Kind::Start, 1000 + others, "carol"));
        line.delivered(others);
        (line.stats().parked_now == 1).then(|| line.parked(1).remove(0))
    });
    assert_eq!(parked, id);
    assert!(reason.starts_with("leg 2 of 3: ") && reason.contains("406"), "{reason}");
    let seen = fs::read_to_string(server.dir.join("acct/seen.log")).unwrap_or_default().lines().count();
    assert!(seen > 3, "the leg was tried again: {seen}");
    let records = server.records();
    let of_leg = |leg: u32| {
        let id = format!("{id}.{leg}");
        records.iter().filter(|record| value(record, "Tollgate-Record-Id") == Some(id.as_str())).count()
    };
    assert_eq!((of_leg(1), of_leg(3)), (1, 0));
    assert_eq!(line.stats().balance.delivered, others);
}

#[test]
fn a_long_value_travels_whole_in_a_long_extended_attribute() {
    let dir = tempfile::tempdir().unwrap();
    let definition = "ATTRIBUTE\tTest-Long-Callee\t245.77\tstring\n";
    let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries/radius/dictionary.tollgate"));
    let file = dir.path().join("dictionary");
    fs::write(&file, format!("{}\n{definition}", own.unwrap())).unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[("RADTEST_DICT", file.to_str().unwrap())]) else { return };
    let mut settings = settings(&[server.port]);
    let mut builder = Builder::with_builtin();
    builder.text("test", definition.as_bytes());
    settings.dictionary = Arc::new(builder.finish().unwrap());
    settings.fields = vec![FieldMapping {
        long: Some("Test-Long-Callee".into()),
        ..FieldMapping::new("callee", "Called-Station-Id")
    }];
    let mut line = Line::start(settings);
    let long: String = (0..200).map(|number| format!("{number:04}")).collect();
    line.append_one(record(Kind::Start, 1, vec![field("callee", long.as_str())]));
    line.delivered(1);
    let stored = server.wait_records(1).remove(0);
    assert_eq!(value(&stored, "Called-Station-Id"), Some(&long[..253]));
    // The server joins the fragments, up to a length of its own, from which on it begins another value.
    let values = stored.iter().filter_map(|line| line.strip_prefix("Test-Long-Callee = "));
    let joined: String = values.map(|value| value.trim_matches('"')).collect();
    assert_eq!(joined, long, "{stored:#?}");
    assert_eq!(value(&stored, "Tollgate-Shortened"), None, "nothing is missing");
}

#[test]
fn a_dictionary_with_the_old_numbers_does_not_hide_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let legacy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/raddb/dictionary.sip-legacy");
    let environment = [("RADTEST_DICT", legacy.to_str().unwrap()), ("RADTEST_FAULTS", "1")];
    let Some(server) = FreeRadius::start(dir.path(), &environment) else { return };
    let mut builder = Builder::with_builtin();
    builder.text("profile", builtin::profile("openser").unwrap().as_bytes());
    let mut settings = Settings {
        client: settings(&[server.port]).client,
        ..Settings::of_profile(Profile::Openser, Arc::new(builder.finish().unwrap()))
    };
    settings.record_id_attribute.clear();
    settings.shortened_attribute.clear();
    settings.client.park_age_min = Duration::from_secs(3600);
    assert_eq!(settings.session_id, SessionId::CallId);
    let mut line = Line::start(settings);
    line.append_one(record(Kind::Start, 1, Vec::new()));
    line.delivered(1);
    let stored = server.wait_records(1).remove(0);
    for (name, want) in [("Sip-Method", "Invite"), ("Sip-Response-Code", "200"), ("Sip-From-Tag", "alice")] {
        assert_eq!(value(&stored, name), Some(want), "{name} in {stored:#?}");
    }
    // 101 in the answer is Error-Cause, whatever the file calls it.
    fs::write(server.dir.join("fault"), "errcause\n").unwrap();
    line.append_one(record(Kind::Stop, 1, Vec::new()));
    wait_for("the refusal", || (line.stats().retries > 0).then_some(()));
    assert_eq!(line.stats().balance.delivered, 1);
    fs::write(server.dir.join("fault"), "none\n").unwrap();
    line.delivered(2);
}

#[test]
fn an_outage_leaves_one_interim_of_each_session() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = start(&dir, &[]) else { return };
    server.process.freeze();
    let mut line = Line::start(settings(&[server.port]));
    let call = |number: u64| CallHash::of(format!("call-{number}").as_bytes());
    for generation in 0..10 {
        let records = (1..=20).map(|number| {
            let kind = if generation == 0 { Kind::Start } else { Kind::Interim };
            (of_user(kind, number, "alice"), call(number))
        });
        line.append(records.collect());
    }
    let stops = (1..=10).map(|number| (of_user(Kind::Stop, number, "alice"), call(number)));
    line.append(stops.collect());
    server.process.signal(libc::SIGCONT);
    // 20 Starts, 10 Stops, and the newest Interims of the calls that go on.
    line.delivered(40);
    let balance = line.stats().balance;
    assert_eq!((balance.appended, balance.delivered, balance.superseded, balance.waiting), (210, 40, 170, 0));
    assert_eq!(ids(&server).len(), 40);
}
