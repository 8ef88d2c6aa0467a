//! The real gateway with Diameter servers of the test's own, which do on a real socket what servers have been seen to do.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "support/diameter.rs"]
mod diameter;
#[path = "support/scripted.rs"]
mod scripted;
mod support;

use std::collections::BTreeSet;

use diameter::gateway;
use scripted::{Reaction, Scripted};
use serde_json::Value;
use support::{Gateway, free_ports, sipp, wait_for};

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
