//! Calls that are up while the gateway is started again, through the real binary: with another key for Record-Route
//! values, on several threads, and by this release on the queue of the one before.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tollgate::queue;

use crate::support::ports::alone;
use crate::support::queue::unpack;
use crate::support::{Agent, Gateway, Side, Wire, free_ports, wait_for};

/// Where the caller and the callee are.
struct Ends {
    caller: Agent,
    callee: Agent,
}

/// Sides of a call that is up.
struct Call {
    id: String,
    caller: Side,
    callee: Side,
}

fn via(agent: &Agent, branch: &str) -> String {
    format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", agent.address)
}

impl Ends {
    fn new() -> Self {
        let agent = |host| Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)));
        Self { caller: agent(2), callee: agent(1) }
    }

    fn call(&mut self, to: SocketAddr, id: &str) -> Call {
        let invite = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.net>;tag=a\r\n\
             To: <sip:bob@example.org>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@{}>\r\n\
             Content-Length: 0\r\n\r\n",
            via(&self.caller, id),
            self.caller.address
        );
        self.caller.send(invite.as_bytes(), to);
        let arrived = self.callee.wait("the INVITE");
        let contact = format!("Contact: <sip:bob@{}>", self.callee.address).into_bytes();
        let ok = arrived.answer(b"200 OK", "b", &[contact], b"");
        self.callee.send(&ok.octets(), to);
        let answer = wait_for("the 200", || self.caller.take().filter(|wire| wire.code() == 200));
        let (caller, callee) = (Side::caller(&arrived, &answer), Side::callee(&arrived, &ok));
        self.caller.send(&caller.request("ACK", 1, &via(&self.caller, &format!("{id}ack"))).octets(), to);
        self.callee.wait("the ACK");
        Call { id: id.to_owned(), caller, callee }
    }

    /// The BYE of one side; what its sender gets for it. The other side answers 200, if it comes there.
    fn bye(&mut self, to: SocketAddr, call: &Call, by_caller: bool, cseq: u32) -> u16 {
        let (side, sender, receiver) = match by_caller {
            true => (&call.caller, &mut self.caller, &mut self.callee),
            false => (&call.callee, &mut self.callee, &mut self.caller),
        };
        let bye = side.request("BYE", cseq, &via(sender, &format!("{}bye{cseq}", call.id)));
        sender.send(&bye.octets(), to);
        wait_for("the end of the BYE", || {
            if let Some(arrived) = receiver.take().filter(|wire| wire.method() == "BYE") {
                receiver.send(&arrived.answer(b"200 OK", "", &[], b"").octets(), to);
            }
            sender.take().filter(|wire| wire.code() > 0 && wire.cseq() == cseq).map(|wire| wire.code())
        })
    }
}

/// Records of a kind, as the queue has them.
fn records(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let all = gateway.command(&["queue", "export"]);
    let records = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take());
    records.filter(|record| record["kind"] == kind).collect()
}

/// Makes the key of Record-Route values so old that it is replaced when the gateway starts.
fn age_the_key(queue: &Path) {
    let settings = queue::Settings { path: queue.to_owned(), free_min: 0, ..queue::Settings::default() };
    let started = queue::spawn(settings, &["test".to_owned()], &mut || {}).unwrap();
    let mut kept = started.handle.meta_bytes("route-keys").expect("the keys are kept with the queue");
    // Version, when the first and when the present one was made.
    kept[9..17].fill(0);
    started.handle.keep_meta_bytes("route-keys", &kept).unwrap();
    started.handle.stop();
    started.join.join().unwrap().unwrap();
}

#[test]
fn a_call_ends_by_its_bye_when_the_key_of_its_route_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = Ends::new();
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 1");
    let mut gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{}", ends.callee.address)], 9, "");
    let to = gateway.address();
    let calls = ["once", "twice"].map(|id| ends.call(to, id));
    for (call, stops) in calls.iter().zip([1, 2]) {
        gateway.process.kill();
        age_the_key(&gateway.dir.join("queue"));
        gateway.start_again();
        // By the key before; then by its session alone.
        assert_eq!(ends.bye(to, call, stops == 1, 7), 200, "{}", call.id);
        let found = records(&gateway, "stop");
        assert_eq!(found.len(), stops, "{}: {found:?}", call.id);
        assert!(found.iter().all(|stop| stop["cause"] == "bye"), "{found:?}");
    }
}

#[test]
fn calls_go_on_over_a_restart_on_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = Ends::new();
    let [port] = free_ports();
    let shards =
        |count: u8| format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = {count}");
    let target = format!("sip:{}", ends.callee.address);
    let mut gateway = Gateway::start_with(dir.path(), (port, &shards(4)), &[target], 9, "");
    let to = gateway.address();
    let calls: Vec<_> = (0..16).map(|number| ends.call(to, &format!("call{number}"))).collect();
    for (part, count) in [4, 3].into_iter().enumerate() {
        gateway.process.kill();
        let file = gateway.dir.join("tollgate.toml");
        let toml = fs::read_to_string(&file).unwrap().replace("shards = 4", &format!("shards = {count}"));
        fs::write(file, toml).unwrap();
        gateway.start_again();
        for (number, call) in calls.iter().enumerate().skip(part * 8).take(8) {
            assert_eq!(ends.bye(to, call, number % 2 == 0, 7), 200, "{}", call.id);
        }
        let stops = records(&gateway, "stop");
        assert_eq!(stops.len(), (part + 1) * 8, "with {count} threads: {stops:?}");
        assert!(stops.iter().all(|stop| stop["cause"] == "bye"), "{stops:?}");
    }
    let mut names: Vec<_> = records(&gateway, "stop").iter().map(|stop| stop["call_id"].to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 16, "one Stop each");
}

#[test]
fn calls_that_the_last_release_has_left_end_by_their_bye() {
    for (name, fixture) in [
        ("stopped", include_str!("../vectors/queue/stopped.txt")),
        ("killed", include_str!("../vectors/queue/killed.txt")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        unpack(fixture, &dir.path().join("gateway/queue"));
        let at = |host, port| Agent::bind(SocketAddr::from(([127, 0, 0, host], port)));
        // The calls of the fixture have their ends at these addresses.
        let _alone = alone("ends-of-the-last-release");
        let mut ends = Ends { caller: at(22, 27_480), callee: at(21, 27_470) };
        let [port] = free_ports();
        let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 2");
        let route = format!("[[route]]\nto = \"sip:{}\"", ends.callee.address);
        // However old the fixture is.
        let gateway = Gateway::start_accounted(dir.path(), (port, &sip), &route, 9, ("lifetime_s = 0", ""));
        assert_eq!(records(&gateway, "start").len(), 2, "{name}: {}", gateway.log());
        for (number, call) in ["kept-1", "kept-2"].into_iter().enumerate() {
            let route = fixture.lines().find_map(|line| line.strip_prefix(&format!("# {call} "))).unwrap();
            let wire = |contact: &SocketAddr| {
                let text = format!(
                    "X\r\nFrom: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>;tag=b\r\nCall-ID: {call}\r\n\
                     Record-Route: {route}\r\nContact: <sip:x@{contact}>\r\n\r\n"
                );
                Wire::read(
                    text.replace("sip:x@127.0.0.21", "sip:bob@127.0.0.21").replace("sip:x@", "sip:alice@").as_bytes(),
                )
            };
            let (invite, ok) = (wire(&ends.caller.address), wire(&ends.callee.address));
            let call =
                Call { id: call.to_owned(), caller: Side::caller(&invite, &ok), callee: Side::callee(&invite, &ok) };
            assert_eq!(ends.bye(gateway.address(), &call, number == 0, 7), 200, "{name}: {}", call.id);
            let stops = records(&gateway, "stop");
            let stop = stops.iter().find(|stop| stop["call_id"] == *call.id).unwrap_or_else(|| panic!("{stops:?}"));
            let by = if number == 0 { "caller" } else { "callee" };
            assert_eq!((&stop["cause"], &stop["ended_by"]), (&"bye".into(), &by.into()), "{name}: {stop}");
            let starts = records(&gateway, "start");
            let start = starts.iter().find(|start| start["call_id"] == *call.id).unwrap();
            assert_eq!(stop["session"], start["session"], "{name}");
            assert!(stop["duration_s"].is_number(), "{name}: {stop}");
        }
    }
}
