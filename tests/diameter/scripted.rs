//! The real gateway with Diameter servers of the test's own, which do on a real socket what servers have been seen to do.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate::diameter::avp::Avps;

use crate::support::diameter::gateway;
use crate::support::scripted::{Reaction, Scripted};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, wait_for};

const EVENT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 4;
const SESSION_ID: u32 = 263;

/// What the queue says of its one sink.
fn queue(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap()
}

/// Calls of 100 ms through the gateway, all answered.
fn call(dir: &std::path::Path, gateway: &Gateway, count: usize) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "20", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

#[test]
fn a_server_that_closes_at_some_records_gets_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    // It closes at every second STOP it ever saw the session of.
    let poison = std::sync::Mutex::new((BTreeSet::new(), BTreeSet::new()));
    let server = Scripted::start(move |request| {
        let session = request.text(SESSION_ID);
        let mut known = poison.lock().unwrap();
        if request.record_type == STOP && known.0.insert(session.clone()) && known.0.len() % 2 == 1 {
            known.1.insert(session.clone());
        }
        let closes = request.record_type == STOP && known.1.contains(&session);
        if closes { Reaction::Close } else { Reaction::Answer(2001) }
    });
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    call(dir.path(), &gateway, 6);
    let settled = wait_for("all records have ended", || {
        let status = queue(&gateway);
        (status["waiting"] == 0 && status["parked"] == 3).then_some(status)
    });
    assert_eq!(settled["parked"], 3, "{settled}");
    let taken: BTreeSet<(u32, String)> =
        server.requests().iter().map(|request| (request.record_type, request.text(SESSION_ID))).collect();
    assert_eq!(taken.iter().filter(|(kind, _)| *kind == START).count(), 6);
    let parked = gateway.command(&["queue", "parked"]);
    assert_eq!(parked.matches("the connection breaks whenever").count(), 3, "{parked}");
}

#[test]
fn a_peer_that_answers_watchdogs_and_no_request_is_shown_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let server = Scripted::start(|_| Reaction::Silence);
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    call(dir.path(), &gateway, 5);
    let status = wait_for("the state is shown", || {
        let status = gateway.command(&["status"]);
        status.contains("silent").then_some(status)
    });
    assert!(status.contains("answers its watchdogs, but no request"), "{status}");
    let log = gateway.process.printed();
    assert_eq!(log.matches("it answers its watchdogs, but no request").count(), 1, "{log}");
}

#[test]
fn who_sent_us_away_is_shown_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let server = Scripted::start(|_| Reaction::Dismiss(1));
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    call(dir.path(), &gateway, 1);
    let status = wait_for("the state is shown", || {
        let status = gateway.command(&["status"]);
        status.contains("dismissed").then_some(status)
    });
    assert!(status.contains("said that it is busy (Disconnect-Cause 1)") && status.contains("not before"), "{status}");
}

#[test]
fn an_answer_about_another_session_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let server = Scripted::start(|_| Reaction::Foreign);
    let gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    call(dir.path(), &gateway, 1);
    let counts = wait_for("the answer is counted", || {
        let status: Value = serde_json::from_str(&gateway.command(&["status", "--json"])).unwrap();
        let counts = status["backends"][0]["servers"][0]["counts"].clone();
        (counts["foreign"] == 1).then_some(counts)
    });
    assert_eq!(counts["accepted"], 0, "{counts}");
    assert_eq!(queue(&gateway)["waiting"], 2, "START and STOP");
}

#[test]
fn send_says_at_once_that_the_service_holds_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    for code in [4003, 5012] {
        let server = Scripted::with(code, |_| Reaction::Answer(2001));
        let file = dir.path().join("tollgate.toml");
        let client = dir.path().join("diameterclient.conf");
        let toml = format!(
            "[queue]\npath = \"{}/queue\"\n[sinks.diameter.test]\nconfig = \"{}\"\n",
            dir.path().display(),
            client.display()
        );
        std::fs::write(&file, toml).unwrap();
        let text = format!(
            "identity gw.test.example\nrealm test.example\nacctserver acct.test.example=127.0.0.1:{}\n",
            server.port
        );
        std::fs::write(&client, text).unwrap();
        let sent = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["send", "--sink", "test", "--wait", "600", "--config"])
            .arg(&file)
            .finish()
            .unwrap();
        let why = String::from_utf8_lossy(&sent.stderr).into_owned();
        let is_told = why.contains(&code.to_string()) && why.contains("or that of the running service");
        assert!(!sent.status.success() && is_told, "{why}");
    }
}

/// Values of an AVP of 3GPP or of the base, groups looked into.
fn values(avps: Avps<'_>, code: u32, found: &mut Vec<String>) {
    const GROUPS: [u32; 6] = [443, 823, 833, 838, 873, 876];
    for avp in avps.flatten() {
        if avp.code == code {
            found.push(String::from_utf8_lossy(avp.value).into_owned());
        }
        if GROUPS.contains(&avp.code) {
            values(avp.grouped().unwrap(), code, found);
        }
    }
}

/// The same gateway with `application rf` and nothing else.
fn with_rf(gateway: &mut Gateway) {
    let file = gateway.dir.join("diameterclient.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "application rf\n").unwrap();
    gateway.start_again();
}

#[test]
fn rf_says_who_calls_whom_in_all_records_of_a_call_without_any_field() {
    let dir = tempfile::tempdir().unwrap();
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let server = Scripted::start(|_| Reaction::Answer(2001));
    // The user of the request at the host of the route.
    let called = format!("sip:service@127.0.0.1:{callee}");
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    with_rf(&mut gateway);
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac_ims.xml", caller, &[&to, "-m", "1", "-d", "200"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let requests = wait_for("START and STOP", || {
        let requests = server.requests();
        (requests.len() == 2).then_some(requests)
    });
    for request in requests {
        let all = |code| {
            let mut found = Vec::new();
            values(Avps::new(&request.avps), code, &mut found);
            found
        };
        let kind = request.record_type;
        assert_eq!(all(831), ["sip:+49301234@home1.example", "tel:+49301234"], "Calling-Party-Address in {kind}");
        assert_eq!(all(832), [called.as_str()], "Called-Party-Address in {kind}");
        assert_eq!(all(444), ["sip:+49301234@home1.example", "49301234"], "Subscription-Id-Data in {kind}");
        assert_eq!(all(841), ["icid-77"], "IMS-Charging-Identifier in {kind}");
        assert_eq!(all(839), ["home1.example"], "Originating-IOI in {kind}");
        assert_eq!(all(1263), ["3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=26201"], "Access-Network-Information in {kind}");
    }
}

#[test]
fn rf_sends_one_event_for_a_call_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let [busy, caller] = free_ports();
    let Some(_busy) = sipp(dir.path(), "uas_busy.xml", busy, &[]) else { return };
    let server = Scripted::start(|_| Reaction::Answer(2001));
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{busy}")], server.port, "");
    with_rf(&mut gateway);
    let to = gateway.address().to_string();
    let mut call = sipp(dir.path(), "uac_busy.xml", caller, &[&to, "-m", "1"]).unwrap();
    assert!(call.wait("the caller").success(), "{}", call.complaints());
    wait_for("all records have ended", || {
        let status = queue(&gateway);
        (status["waiting"] == 0 && !server.requests().is_empty()).then_some(())
    });
    let kinds: Vec<u32> = server.requests().iter().map(|request| request.record_type).collect();
    assert_eq!(kinds, [EVENT]);
}
