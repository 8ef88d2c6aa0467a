//! Spans of real calls at a collector, which may refuse, be silent or away: no call waits for it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::start::Start as _;
use crate::support::webhook::Receiver;
use crate::support::{Gateway, free_ports, python, sipp, wait_for};

fn gateway(dir: &Path, endpoint: &str, callee: u16, listen: u16) -> Gateway {
    let [port] = free_ports();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"file\"]\n\
         [queue]\npath = \"queue\"\nfree_min_mib = 0\n\
         [admin]\nlisten = \"127.0.0.1:{listen}\"\nsocket = \"admin.sock\"\n\
         [sinks.file.cdrs]\npath = \"cdrs.json\"\nformat = \"json\"\n\
         [telemetry]\nendpoint = \"{endpoint}\"\ninstance = \"gw1\"\n"
    );
    fs::create_dir_all(dir).unwrap();
    Gateway::start_on(dir, port, &toml, 9)
}

fn calls(dir: &Path, gateway: &Gateway, count: u32) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

/// The package that `otlp.py` reads by, with what it needs.
const PEER: &str = "google/protobuf";

/// A span as `otlp.py` prints it.
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
}

/// What the collector has got, each request read by the messages of OpenTelemetry.
fn spans(dir: &Path, receiver: &Receiver) -> Vec<Span> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/otlp.py");
    let mut found = Vec::new();
    for request in receiver.seen() {
        let file = dir.join("request.json");
        fs::write(&file, request["json"].to_string()).unwrap();
        let output = python(PEER).unwrap().arg(&script).arg(&file).finish().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [trace, id, parent, name, ..] = words[..] else { panic!("{line}") };
            let [trace, id, parent, name] = [trace, id, parent, name].map(str::to_owned);
            found.push(Span { trace, id, parent, name });
        }
    }
    found
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|own| own.name == name).collect()
}

#[test]
fn each_call_is_a_trace_that_a_collector_reads_and_one_that_refuses_for_a_while_gets_all() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(receiver), Some(_)) = (Receiver::start(dir.path()), python(PEER)) else { return };
    receiver.rules(&json!([{ "status": 503, "times": 1 }, { "status": 200, "body": "{}" }]));
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let endpoint = format!("http://127.0.0.1:{}/v1/traces", receiver.port);
    let [listen] = free_ports();
    let gateway = gateway(&dir.path().join("gateway"), &endpoint, callee, listen);
    calls(dir.path(), &gateway, 10);
    // Of a Start and a Stop: the INVITE and the call, two commits, two deliveries. The refused request is there as well.
    let found = wait_for("the spans", || {
        let found = spans(dir.path(), &receiver);
        let ids: HashSet<&str> = found.iter().map(|own| own.id.as_str()).collect();
        (ids.len() >= 60).then_some(found)
    });
    let mut seen = HashSet::new();
    let found: Vec<Span> = found.into_iter().filter(|own| seen.insert(own.id.clone())).collect();
    assert_eq!(found.len(), 60);
    for (name, count) in [("INVITE", 10), ("call", 10), ("commit", 20), ("deliver_cdrs", 20)] {
        assert_eq!(named(&found, name).len(), count, "{name}");
    }
    let invites: HashSet<(&str, &str)> =
        named(&found, "INVITE").iter().map(|own| (own.trace.as_str(), own.id.as_str())).collect();
    assert!(named(&found, "INVITE").iter().all(|own| own.parent == "-"));
    for call in named(&found, "call") {
        assert!(invites.contains(&(call.trace.as_str(), call.parent.as_str())), "the call belongs to its INVITE");
    }
    let parents: HashSet<&str> = found.iter().map(|own| own.id.as_str()).collect();
    assert!(found.iter().all(|own| own.parent == "-" || parents.contains(own.parent.as_str())), "no parent is missing");
    let request: &Value = &receiver.seen()[0];
    assert_eq!(
        (&request["path"], &request["headers"]["content-type"]),
        (&json!("/v1/traces"), &json!("application/json"))
    );
    wait_for("what was sent is counted", || {
        Gateway::metric(listen, "tollgate_telemetry_spans_total").filter(|sent| *sent >= 60.0)
    });
}

#[test]
fn without_a_collector_calls_go_on_and_the_gateway_ends() {
    let dir = tempfile::tempdir().unwrap();
    let [callee, nobody, listen] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let endpoint = format!("http://127.0.0.1:{nobody}/v1/traces");
    let mut gateway = gateway(&dir.path().join("gateway"), &endpoint, callee, listen);
    calls(dir.path(), &gateway, 20);
    wait_for("it is told", || gateway.log().contains("the collector of spans does not take them").then_some(()));
    calls(dir.path(), &gateway, 20);
    wait_for("their records", || {
        let lines = fs::read_to_string(gateway.dir.join("cdrs.json")).unwrap_or_default();
        (lines.lines().count() >= 80).then_some(())
    });
    assert_eq!(gateway.log().matches("does not take them").count(), 1, "once a minute:\n{}", gateway.log());
    gateway.process.signal(libc::SIGTERM);
    assert!(gateway.process.wait("the gateway").success(), "{}", gateway.log());
}
