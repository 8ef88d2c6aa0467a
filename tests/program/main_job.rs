//! The main job with real peers: calls placed by sipp go through the real binary and are in a real FreeRADIUS.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::start::Start as _;
use crate::support::{Capture, FreeRadius, Gateway, free_ports, peer, sipp, try_wait_for, value, wait_for};

/// Attributes every record carries.
const ALWAYS: &[&str] = &[
    "Acct-Status-Type",
    "Service-Type",
    "Event-Timestamp",
    "Acct-Session-Id",
    "NAS-IP-Address",
    "NAS-Identifier",
    "Tollgate-Record-Id",
    "Tollgate-Call-Id",
    "Tollgate-From-Tag",
];

fn statuses(records: &[Vec<String>]) -> Vec<&str> {
    records.iter().map(|record| value(record, "Acct-Status-Type").unwrap_or("none")).collect()
}

fn has_always(records: &[Vec<String>]) {
    for record in records {
        for name in ALWAYS {
            assert!(value(record, name).is_some(), "{name} is missing in {record:#?}");
        }
    }
}

/// The records without repeats: what was under way at a kill may come twice, under the same id.
fn facts(mut records: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut seen = HashSet::new();
    records.retain(|record| value(record, "Tollgate-Record-Id").is_some_and(|id| seen.insert(id.to_owned())));
    records
}

#[test]
fn an_answered_call_is_in_freeradius_as_start_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "3", "-d", "1200"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());

    let records = radius.wait_records(6);
    has_always(&records);
    for status in ["Start", "Stop"] {
        let of_kind: Vec<_> = records.iter().filter(|r| value(r, "Acct-Status-Type") == Some(status)).collect();
        assert_eq!(of_kind.len(), 3, "{status} in {records:#?}");
    }
    let sessions: HashSet<_> = records.iter().filter_map(|record| value(record, "Acct-Session-Id")).collect();
    assert_eq!(sessions.len(), 3, "Start and Stop share their session");
    let ids: HashSet<_> = records.iter().filter_map(|record| value(record, "Tollgate-Record-Id")).collect();
    assert_eq!(ids.len(), 6, "each record has its own id");
    for stop in records.iter().filter(|record| value(record, "Acct-Status-Type") == Some("Stop")) {
        has_lasted(stop, 1);
        assert_eq!(value(stop, "Acct-Terminate-Cause"), Some("User-Request"), "{stop:#?}");
    }
    let balance = gateway.command(&["queue", "status", "--json"]);
    assert!(balance.contains("\"delivered\":6") || balance.contains("\"delivered\": 6"), "{balance}");
}

#[test]
fn a_busy_target_then_an_answer_gives_two_legs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [busy, callee, caller] = free_ports();
    let Some(_busy) = sipp(dir.path(), "uas_busy.xml", busy, &[]) else { return };
    let _callee = sipp(dir.path(), "uas.xml", callee, &[]).unwrap();
    let targets = [format!("sip:b@127.0.0.1:{busy}"), format!("sip:c@127.0.0.1:{callee}")];
    let more = "[accounting.leg_fields]\nsrc = \"$avp(src)\"\ndst = \"$avp(dst)\"\n\
                [sinks.radius.test.leg_fields]\nsrc = \"Tollgate-Leg-Src\"\ndst = \"Tollgate-Leg-Dst\"\n";
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
    let route = format!("[[route]]\nto = [\"{}\", \"{}\"]\ntargets = \"forward\"", targets[0], targets[1]);
    let gateway = Gateway::start_routes(dir.path(), (port, &sip), &route, radius.port, more);
    let to = gateway.address().to_string();
    let mut call = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-d", "200"]).unwrap();
    assert!(call.wait("the caller").success(), "{}", call.complaints());

    let records = radius.wait_records(3);
    has_always(&records);
    assert_eq!(statuses(&records), ["Failed", "Start", "Stop"], "{records:#?}");
    assert_eq!(value(&records[0], "Tollgate-Response-Code"), Some("486"));
    let legs = |record: &[String], name: &str| -> Vec<String> {
        let prefix = format!("{name} = ");
        record.iter().filter_map(|line| line.strip_prefix(&prefix)).map(|v| v.trim_matches('"').to_owned()).collect()
    };
    for record in &records[1..] {
        let (sources, targets_of_legs) = (legs(record, "Tollgate-Leg-Src"), legs(record, "Tollgate-Leg-Dst"));
        assert_eq!(targets_of_legs, targets, "{record:#?}");
        assert_eq!(sources, ["sip:alice@example.net".to_owned(), targets[0].clone()], "{record:#?}");
    }
}

#[test]
fn a_refused_and_a_cancelled_call_are_failed_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let mut before = 0;
    for (callee_file, caller_file, code, kinds) in [
        // The attempt, and what the caller got.
        ("uas_busy.xml", "uac_busy.xml", "486", &["Missed", "Failed"][..]),
        // The caller gave up: one record says so.
        ("uas_rings.xml", "uac_cancel.xml", "487", &["Missed"]),
    ] {
        let folder = dir.path().join(callee_file);
        fs::create_dir_all(&folder).unwrap();
        let [callee, caller] = free_ports();
        let Some(_callee) = sipp(&folder, callee_file, callee, &[]) else { return };
        let gateway = Gateway::start(&folder, &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
        let to = gateway.address().to_string();
        let mut call = sipp(&folder, caller_file, caller, &[&to, "-m", "1"]).unwrap();
        assert!(call.wait("the caller").success(), "{}", call.complaints());
        let records = radius.wait_records(before + kinds.len());
        let new = &records[before..];
        has_always(new);
        let kinds_found: Vec<_> = new.iter().filter_map(|record| value(record, "Tollgate-Record-Kind")).collect();
        assert_eq!(kinds_found, kinds, "{new:#?}");
        for record in new {
            assert_eq!(value(record, "Acct-Status-Type"), Some("Failed"), "{record:#?}");
            assert_eq!(value(record, "Tollgate-Response-Code"), Some(code), "{record:#?}");
        }
        before = records.len();
    }
}

/// A Stop states the time from the answer to the BYE, which the caller sends after so many seconds or somewhat later.
fn has_lasted(stop: &[String], at_least: u64) {
    let number = |name| value(stop, name).and_then(|text| text.parse::<u64>().ok());
    let (Some(secs), Some(millis)) = (number("Acct-Session-Time"), number("Tollgate-Duration-Ms")) else {
        panic!("no time in {stop:#?}")
    };
    assert!(secs >= at_least && millis >= at_least * 1000 && (secs * 1000).abs_diff(millis) < 1000, "{stop:#?}");
}

#[test]
fn a_bye_after_a_restart_gives_a_stop_with_the_whole_time() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
    let to = gateway.address().to_string();
    let mut call = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-d", "4000"]).unwrap();
    radius.wait_records(1);
    gateway.start_again();
    assert!(call.wait("the caller").success(), "{}", call.complaints());
    wait_for("the Stop", || statuses(&radius.records()).contains(&"Stop").then_some(()));
    let records = facts(radius.records());
    assert_eq!(statuses(&records), ["Start", "Stop"]);
    assert_eq!(value(&records[0], "Acct-Session-Id"), value(&records[1], "Acct-Session-Id"));
    has_lasted(&records[1], 4);
}

#[test]
fn a_stopped_freeradius_delays_no_call_and_loses_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
    let to = gateway.address().to_string();
    radius.process.freeze();
    // Every call is over while the server does not even blink.
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "60", "-r", "30", "-d", "300"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    assert_eq!(radius.records().len(), 0);
    radius.process.signal(libc::SIGCONT);
    let ids = wait_for("all records after the stall", || {
        let ids: HashSet<String> = radius
            .records()
            .iter()
            .filter_map(|record| Some(value(record, "Tollgate-Record-Id")?.to_owned()))
            .collect();
        (ids.len() >= 120).then_some(ids)
    });
    assert_eq!(ids.len(), 120);
    drop(gateway);
}

#[test]
fn kill_9_loses_no_record_whose_answer_was_seen() {
    const KILLS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], radius.port, "");
    let to = gateway.address().to_string();
    let log = dir.path().join("seen.log");
    let words = [&to, "-m", "500", "-r", "100", "-d", "300", "-trace_logs", "-log_file", log.to_str().unwrap()];
    let words = [&words[..], &["-recv_timeout", "20000", "-timeout", "60"]].concat();
    let mut calls = sipp(dir.path(), "uac_logged.xml", caller, &words).unwrap();
    for kill in 1..=KILLS {
        radius.wait_records(kill * 100);
        gateway.start_again();
    }
    // Some calls fail while the gateway is down; what counts is what was answered.
    calls.wait("the caller");
    let seen: HashSet<(String, String)> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(what, call)| (if what == "answered" { "Start" } else { "Stop" }.to_owned(), call.trim().to_owned()))
        .collect();
    assert!(seen.len() > KILLS * 100, "only {} answers seen", seen.len());
    let mut missing = Vec::new();
    let all = try_wait_for(|| {
        let stored: HashSet<(String, String)> = radius
            .records()
            .iter()
            .filter_map(|r| Some((value(r, "Acct-Status-Type")?.to_owned(), value(r, "Tollgate-Call-Id")?.to_owned())))
            .collect();
        missing = seen.difference(&stored).cloned().collect();
        missing.is_empty().then_some(())
    });
    assert!(all.is_some(), "not in FreeRADIUS: {missing:?}; {}", gateway.command(&["queue", "status"]));
    // One fact, one id, however often it came.
    let mut facts: HashSet<(String, String, String)> = HashSet::new();
    let mut pairs: HashSet<(String, String)> = HashSet::new();
    for record in radius.records() {
        let of = |name| value(&record, name).unwrap_or_default().to_owned();
        let (status, session, id) = (of("Acct-Status-Type"), of("Acct-Session-Id"), of("Tollgate-Record-Id"));
        if facts.insert((status.clone(), session.clone(), id)) && status != "Failed" {
            assert!(pairs.insert((status, session)), "two ids for one fact: {record:#?}");
        }
    }
}

/// Passes datagrams between the gateway and FreeRADIUS and keeps them for tshark.
struct Relay {
    port: u16,
    end: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u32>>,
}

impl Relay {
    fn start(server: u16, mut capture: Capture) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = front.local_addr().unwrap().port();
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        let end = Arc::new(AtomicBool::new(false));
        let stop = end.clone();
        let thread = thread::spawn(move || {
            let (mut buffer, mut client, mut count) = ([0; 65_535], None, 0);
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, source)) = front.recv_from(&mut buffer) {
                    client = Some(source);
                    count += 1;
                    capture.add(count, source.port(), server, &buffer[..length]);
                    back.send_to(&buffer[..length], SocketAddr::from(([127, 0, 0, 1], server))).unwrap();
                }
                if let (Ok((length, _)), Some(to)) = (back.recv_from(&mut buffer), client) {
                    count += 1;
                    capture.add(count, server, to.port(), &buffer[..length]);
                    front.send_to(&buffer[..length], to).unwrap();
                }
            }
            count
        });
        Self { port, end, thread: Some(thread) }
    }

    fn stop(&mut self) -> u32 {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn tshark_finds_no_fault_in_any_packet() {
    let Some(tshark) = peer("tshark") else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let file = dir.path().join("radius.pcap");
    let mut relay = Relay::start(radius.port, Capture::create(&file));
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], relay.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "5", "-r", "5", "-d", "300"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    radius.wait_records(10);
    drop(gateway);
    let packets = relay.stop();
    let output = Command::new(tshark)
        .arg("-r")
        .arg(&file)
        .args(["-d", &format!("udp.port=={},radius", radius.port)])
        .args(["-o", "radius.shared_secret:testing123", "-o", "radius.validate_authenticator:TRUE"])
        .args(["-T", "fields", "-e", "radius.code", "-e", "radius.authenticator.valid", "-e", "_ws.malformed"])
        .args(["-e", "radius.Acct_Status_Type"])
        .finish()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), usize::try_from(packets).unwrap(), "{text}");
    let of_code = |code: &str| rows.iter().filter(|row| row[0] == code).count();
    assert!(of_code("4") >= 10 && of_code("5") >= 10, "{text}");
    for row in &rows {
        assert_eq!(row[2], "", "malformed: {text}");
        match row[0] {
            // The request's authenticator is checked by FreeRADIUS, which drops a wrong one; tshark reads the answer's.
            "4" => assert!(["1", "2"].contains(&row[3]), "status of a request: {text}"),
            "5" => assert!(["1", "True"].contains(&row[1]), "authenticator of an answer: {text}"),
            other => panic!("code {other}: {text}"),
        }
    }
}
