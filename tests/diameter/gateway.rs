//! The real gateway with a real freeDiameter: calls placed by sipp are there as START and STOP, also after `kill -9`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::Command;

use crate::support::diameter::{Acr, FreeDiameter, gateway};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, wait_for};

fn types(requests: &[Acr]) -> Vec<String> {
    requests.iter().map(|acr| acr.value("Accounting-Record-Type")).collect()
}

/// Something once no record waits for the server.
fn is_settled(gateway: &Gateway) -> Option<()> {
    let status: serde_json::Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
    (status["waiting"] == 0).then_some(())
}

#[test]
fn a_call_is_start_and_stop_of_one_session() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "3", "-d", "1200"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let requests = server.wait_requests(6);
    let mut sessions: HashMap<String, Vec<String>> = HashMap::new();
    for acr in &requests {
        sessions.entry(acr.value("Session-Id")).or_default().push(acr.value("Accounting-Record-Type"));
        assert!(!acr.has_t());
    }
    assert_eq!(sessions.len(), 3);
    assert!(sessions.values().all(|types| types == &["2", "4"]), "START before STOP: {sessions:?}");
    assert!(
        requests
            .iter()
            .filter(|acr| acr.value("Accounting-Record-Type") == "4")
            .all(|acr| acr.value("Acct-Session-Time").parse::<u64>().is_ok_and(|secs| (1..30).contains(&secs)))
    );
    let status = gateway.command(&["status", "--json"]);
    assert!(status.contains("acct.test.example") && status.contains("open"), "{status}");
    // The running service holds the one connection that this identity may have: no use to wait.
    let sent = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["send", "--sink", "test", "--wait", "600", "--config"])
        .arg(gateway.dir.join("tollgate.toml"))
        .finish()
        .unwrap();
    let why = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(!sent.status.success() && why.contains("acct.test.example") && why.contains("5012"), "{why}");
}

#[test]
fn a_busy_target_then_an_answer_gives_legs_in_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("acct")).unwrap();
    fs::write(dir.path().join("acct/dictionary"), "Tollgate-Leg-Dst 22 32473 utf8\n").unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    let [busy, callee, caller] = free_ports();
    let Some(_busy) = sipp(dir.path(), "uas_busy.xml", busy, &[]) else { return };
    let _callee = sipp(dir.path(), "uas.xml", callee, &[]).unwrap();
    let targets = [format!("sip:b@127.0.0.1:{busy}"), format!("sip:c@127.0.0.1:{callee}")];
    let more =
        "[accounting.leg_fields]\ndst = \"$avp(dst)\"\n[sinks.diameter.test.leg_fields]\ndst = \"Tollgate-Leg-Dst\"\n";
    let gateway = gateway(dir.path(), &targets, server.port, more);
    let to = gateway.address().to_string();
    let mut call = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-d", "200"]).unwrap();
    assert!(call.wait("the caller").success(), "{}", call.complaints());
    let mut requests = server.wait_requests(3);
    // The EVENT is a session of its own: the server may have done with the START first.
    requests.sort_by_key(|acr| acr.value("Accounting-Record-Type").to_owned());
    assert_eq!(types(&requests), ["1", "2", "4"], "the busy target is an EVENT of its own");
    assert_ne!(requests[0].value("Session-Id"), requests[1].value("Session-Id"));
    assert_eq!(requests[1].value("Session-Id"), requests[2].value("Session-Id"));
    for acr in &requests[1..] {
        assert_eq!(acr.all("Tollgate-Leg-Dst"), targets, "{:#}", acr.0);
    }
}

#[test]
fn a_class_comes_back_after_kill_9_and_a_reload_and_is_forgotten_with_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    server.mode("class gold");
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let stored = |gateway: &Gateway| {
        let status = gateway.command(&["queue", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert!(status["calls"].is_u64(), "{status}");
        (status["waiting"] == 0).then(|| status["calls"].as_u64().unwrap())
    };
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "2", "-r", "2", "-d", "20000"]).unwrap();
    assert_eq!(types(&server.wait_requests(2)), ["2", "2"]);
    wait_for("the STARTs are settled, calls and values stored", || stored(&gateway).filter(|calls| *calls == 4));
    gateway.process.kill();
    server.mode("ok");
    gateway.start_again();
    // A sink with new settings takes them over as well.
    let file = gateway.dir.join("diameterclient.conf");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "window 100\n").unwrap();
    gateway.process.signal(libc::SIGHUP);
    let renewed = || gateway.process.printed().contains("delivery goes on with the new settings").then_some(());
    wait_for("the sink has its new settings", renewed);
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    // A START whose settlement was not yet on disk comes once more.
    let stops = wait_for("both STOPs", || {
        let mut all = server.requests();
        all.retain(|acr| acr.value("Accounting-Record-Type") == "4");
        (all.len() == 2).then_some(all)
    });
    for stop in stops {
        assert_eq!(stop.all("Class"), ["gold"], "{:#}", stop.0);
    }
    wait_for("nothing is kept of calls that are over", || stored(&gateway).filter(|calls| *calls == 0));
}

#[test]
fn a_repeat_after_kill_9_carries_t_and_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    server.mode("drop");
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "5", "-r", "5", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let before = server.wait_requests(5);
    assert_eq!(types(&before), ["2"; 5], "no STOP before its START is acknowledged");
    gateway.process.kill();
    server.mode("ok");
    gateway.start_again();
    let all = server.wait_requests(15);
    let after = &all[5..];
    let old: HashMap<_, _> = before.iter().map(|acr| (acr.key(), acr.end_to_end())).collect();
    let repeats: Vec<&Acr> = after.iter().filter(|acr| old.contains_key(&acr.key())).collect();
    assert_eq!(repeats.len(), 5);
    for acr in repeats {
        assert_eq!(old[&acr.key()], acr.end_to_end(), "the same End-to-End id");
        assert!(acr.has_t());
    }
    assert!(after.iter().all(Acr::has_t), "the STOPs lay in the queue too");
    let keys: HashSet<_> = all.iter().map(Acr::key).collect();
    assert_eq!(keys.len(), 10, "five START, five STOP");
    wait_for("all is settled", || is_settled(&gateway));
}

#[test]
fn kill_9_under_load_loses_no_record_and_repeats_carry_t_and_the_same_id() {
    const KILLS: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    // Slower than the calls come, so that requests are outstanding at each kill.
    server.mode("delay 30");
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let to = gateway.address().to_string();
    let log = dir.path().join("seen.log");
    let words = [&to, "-m", "400", "-r", "100", "-d", "300", "-trace_logs", "-log_file", log.to_str().unwrap()];
    let words = [&words[..], &["-recv_timeout", "20000", "-timeout", "60"]].concat();
    let mut calls = sipp(dir.path(), "uac_logged.xml", caller, &words).unwrap();
    for kill in 1..=KILLS {
        server.wait_requests(kill * 100);
        gateway.start_again();
    }
    // Some calls fail while the gateway is down; what counts is what was answered.
    calls.wait("the caller");
    let log = fs::read_to_string(&log).unwrap();
    let seen: HashSet<(&str, &str)> = log
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(what, call)| (if what == "answered" { "2" } else { "4" }, call.trim()))
        .collect();
    assert!(seen.len() > KILLS * 100, "only {} answers seen", seen.len());
    let fact = |acr: &Acr| {
        let session = acr.value("Session-Id");
        (acr.value("Accounting-Record-Type"), session.rsplit(';').next().unwrap().to_owned())
    };
    wait_for("every answer the caller saw is in the server", || {
        let stored: HashSet<(String, String)> = server.requests().iter().map(fact).collect();
        seen.iter().all(|(what, call)| stored.contains(&((*what).to_owned(), (*call).to_owned()))).then_some(())
    });
    wait_for("all is settled", || is_settled(&gateway));
    let mut first: HashMap<(String, String), Acr> = HashMap::new();
    let mut repeats = 0;
    for acr in server.requests() {
        let Some(before) = first.get(&acr.key()) else {
            if acr.value("Accounting-Record-Type") == "4" {
                let session = acr.value("Session-Id");
                assert!(first.contains_key(&(session, "0".to_owned())), "a STOP before its START: {:#}", acr.0);
            }
            first.insert(acr.key(), acr);
            continue;
        };
        assert_eq!(before.end_to_end(), acr.end_to_end(), "a repeat keeps its id: {:#}", acr.0);
        assert!(acr.has_t(), "a repeat says so: {:#}", acr.0);
        assert_eq!(before.value("Event-Timestamp"), acr.value("Event-Timestamp"));
        repeats += 1;
    }
    assert!(repeats > 0, "something was outstanding at a kill");
    // One fact, one key, however often it came.
    let facts: HashSet<_> = first.values().map(fact).collect();
    assert_eq!(facts.len(), first.len(), "two keys for one fact");
}

#[test]
fn a_reload_takes_what_waits_to_the_new_server_under_the_same_ids() {
    let dir = tempfile::tempdir().unwrap();
    let Some(first) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "b.test.example")];
    let second = FreeDiameter::start(dir.path(), "b", &environment).unwrap();
    first.mode("drop");
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], first.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "5", "-r", "5", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let before = first.wait_requests(5);
    // A file with a mistake changes nothing.
    let file = gateway.dir.join("diameterclient.conf");
    let old = fs::read_to_string(&file).unwrap();
    fs::write(&file, old.replace("watchdog 6", "watchdog 1")).unwrap();
    gateway.process.signal(libc::SIGHUP);
    wait_for("the reload is refused", || gateway.process.printed().contains("watchdog").then_some(()));
    let server = format!("b.test.example=127.0.0.1:{}", second.port);
    let new: Vec<&str> = old.lines().filter(|line| !line.starts_with("acctserver")).collect();
    fs::write(&file, format!("{}\nacctserver {server}\n", new.join("\n"))).unwrap();
    gateway.process.signal(libc::SIGHUP);
    let after = second.wait_requests(10);
    let ids: HashMap<_, _> = after.iter().map(|acr| (acr.key(), (acr.end_to_end(), acr.has_t()))).collect();
    assert_eq!(ids.len(), 10, "five START, five STOP");
    for acr in &before {
        assert_eq!(ids[&acr.key()], (acr.end_to_end(), true), "no answer came to it");
    }
    wait_for("all is settled", || is_settled(&gateway));
    wait_for("the old server is left with a goodbye", || (first.goodbyes() == 1).then_some(()));
}

#[test]
fn a_stop_of_the_service_waits_for_answers_and_says_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    server.mode("delay 1000");
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "30", "-d", "15000"]).unwrap();
    server.wait_requests(3);
    gateway.process.signal(libc::SIGTERM);
    assert!(gateway.process.wait("the gateway").success(), "{}", gateway.process.printed());
    assert_eq!(server.goodbyes(), 1);
    server.mode("ok");
    gateway.start_again();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let all = server.wait_requests(6);
    assert_eq!(types(&all), ["2", "2", "2", "4", "4", "4"], "what was answered did not come again");
    assert!(!all[..3].iter().any(Acr::has_t));
}
