//! What routes do with several targets, and what is recorded of it, through the real binary: which answers lead on, whose
//! legs and missed calls they make, calls taken back, and what a Request-URI looks like behind the gateway.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Agent, Gateway, Side, Wire, free_ports, try_wait_for, wait_for};

/// A gateway with two targets on agents, and a caller.
struct Bench {
    _dir: tempfile::TempDir,
    gateway: Gateway,
    caller: Agent,
    targets: [Agent; 2],
    calls: u32,
}

/// `ROUTES` with the places of the targets for `ONE` and `TWO`.
fn start(routes: &str, more: &str) -> Bench {
    let agent = || Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (caller, targets) = (agent(), [agent(), agent()]);
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
    let [one, two] = [0, 1].map(|place: usize| targets[place].address.to_string());
    let routes = routes.replace("ONE", &one).replace("TWO", &two);
    let more = format!(
        "[accounting.leg_fields]\nsrc = \"$leg(src)\"\ndst = \"$leg(dst)\"\n\
         [accounting.fields]\ntried = \"$(attempt(cause)[*])\"\n{more}"
    );
    let dir = tempfile::tempdir().unwrap();
    // Nobody takes the records: they stay to be looked at.
    let gateway = Gateway::start_routes(dir.path(), (port, &sip), &routes, 9, &more);
    Bench { _dir: dir, gateway, caller, targets, calls: 0 }
}

impl Bench {
    /// The Request-URI of an INVITE, and what the caller has sent.
    fn invite(&mut self, uri: &str) -> Wire {
        self.calls += 1;
        let (here, id) = (self.caller.address, self.calls);
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=a{id}\r\nTo: <{uri}>\r\nCall-ID: call{id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
        );
        let wire = Wire::read(text.as_bytes());
        self.caller.send(&wire.octets(), self.gateway.address());
        wire
    }

    /// A request of the caller with the branch of its INVITE: ACK of a refusal, or CANCEL.
    fn like(&self, invite: &Wire, method: &str, more: &str) {
        let text = invite.text();
        let text = text.replacen("INVITE ", &format!("{method} "), 1);
        let text = text.replacen("1 INVITE", &format!("1 {method}\r\n{more}X-End: 1"), 1);
        self.caller.send(text.as_bytes(), self.gateway.address());
    }

    /// Waits at a target for a request.
    fn gets(&mut self, target: usize, method: &str) -> Wire {
        let agent = &mut self.targets[target];
        wait_for(&format!("{method} at target {target}"), || agent.take().filter(|wire| wire.method() == method))
    }

    fn answers(&self, target: usize, request: &Wire, status: &str) {
        let contact = format!("Contact: <sip:t@{}>", self.targets[target].address).into_bytes();
        let answer = request.answer(status.as_bytes(), &format!("t{target}"), &[contact], b"");
        self.targets[target].send(&answer.octets(), self.gateway.address());
    }

    /// Waits for an answer at the caller.
    fn answered(&mut self, code: u16) -> Wire {
        let agent = &mut self.caller;
        wait_for(&format!("{code} at the caller"), || agent.take().filter(|wire| wire.code() == code))
    }

    /// The records of the newest call, as `kind code cause [src dst] tried`.
    fn records(&self, count: usize) -> Vec<String> {
        let (call, addresses) =
            (format!("call{}", self.calls), [0, 1].map(|at: usize| self.targets[at].address.to_string()));
        let shown = |item: &Value| {
            let record = item.get("record").unwrap_or(item);
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let legs = record["legs"].as_array().into_iter().flatten();
            let legs: Vec<_> = legs.map(|leg| format!("[{} {}]", text(&leg["src"]), text(&leg["dst"]))).collect();
            let tried = record["fields"]["tried"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
            let (kind, code, cause) = (&record["kind"], &record["code"], &record["cause"]);
            let line = format!("{} {code} {} {} {}", text(kind), text(cause), legs.join(" "), tried.join(","));
            line.replace(&addresses[0], "ONE").replace(&addresses[1], "TWO").replace("sip:alice@example.net", "ALICE")
        };
        let read = || {
            let text = self.gateway.command(&["queue", "export"]);
            let items = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let own = items.filter(|item| item.to_string().contains(&format!("\"{call}\"")));
            own.map(|item| shown(&item).trim_end().to_owned()).collect::<Vec<_>>()
        };
        let found = try_wait_for(|| Some(read()).filter(|lines| lines.len() >= count));
        found.unwrap_or_else(|| panic!("{count} records, but {:#?}", read()))
    }
}

/// A whole call that target `winner` answers after the caller has sent `invite`.
fn ends_well(bench: &mut Bench, invite: &Wire, winner: usize) {
    let answer = bench.answered(200);
    let side = Side::caller(invite, &answer);
    let via = |what: &str| format!("SIP/2.0/UDP {};branch=z9hG4bK{}{what};rport", bench.caller.address, bench.calls);
    let (ack, bye) = (side.request("ACK", 1, &via("a")), side.request("BYE", 2, &via("b")));
    bench.caller.send(&ack.octets(), bench.gateway.address());
    bench.gets(winner, "ACK");
    bench.caller.send(&bye.octets(), bench.gateway.address());
    let arrived = bench.gets(winner, "BYE");
    bench.answers(winner, &arrived, "200 OK");
    bench.answered(200);
}

#[test]
fn alternatives_are_one_callee_and_forwarding_is_not() {
    let routes = "[[route]]\nmatch.user = \"forward\"\nto = [\"sip:b@ONE\", \"sip:c@TWO\"]\ntargets = \"forward\"\n\
                  [[route]]\nto = [\"sip:ONE\", \"sip:TWO\"]";
    let mut bench = start(routes, "");
    for (name, user, first, leads_on, want) in [
        (
            "a trunk that fails",
            "x",
            "503 Full",
            true,
            vec!["start 200 null [ALICE sip:x@TWO] unreachable", "stop 200 bye [ALICE sip:x@TWO] unreachable"],
        ),
        (
            "a busy callee",
            "x",
            "486 Busy",
            false,
            vec!["missed 486 busy [ALICE sip:x@ONE] busy", "failed 486 busy [ALICE sip:x@ONE] busy"],
        ),
        (
            "a busy callee that forwards",
            "forward",
            "486 Busy",
            true,
            vec![
                "missed 486 busy [ALICE sip:b@ONE]",
                "start 200 null [ALICE sip:b@ONE] [sip:b@ONE sip:c@TWO] busy",
                "stop 200 bye [ALICE sip:b@ONE] [sip:b@ONE sip:c@TWO] busy",
            ],
        ),
    ] {
        let invite = bench.invite(&format!("sip:{user}@example.org"));
        let arrived = bench.gets(0, "INVITE");
        bench.answers(0, &arrived, first);
        bench.gets(0, "ACK");
        if leads_on {
            let arrived = bench.gets(1, "INVITE");
            bench.answers(1, &arrived, "200 OK");
            ends_well(&mut bench, &invite, 1);
        } else {
            bench.answered(486);
            bench.like(&invite, "ACK", "");
        }
        assert_eq!(bench.records(want.len()), want, "{name}");
        if !leads_on {
            let other = bench.targets[1].take();
            assert!(other.is_none(), "{name}: the second trunk is asked: {}", other.unwrap().text());
        }
    }
}

#[test]
fn a_call_taken_back_is_told_by_its_own_cause() {
    let mut bench = start("[[route]]\nto = [\"sip:ONE\"]", "");
    for (name, reason, want) in [
        ("by the caller", "", "missed 487 cancelled [ALICE sip:x@ONE] cancelled"),
        (
            "answered elsewhere",
            "Reason: Q.850;cause=16;text=\"a, b\", sip ;CAUSE=200;text=\"Call completed elsewhere\"\r\n",
            "failed 487 elsewhere [ALICE sip:x@ONE] elsewhere",
        ),
    ] {
        let invite = bench.invite("sip:x@example.org");
        let arrived = bench.gets(0, "INVITE");
        bench.answers(0, &arrived, "180 Ringing");
        bench.answered(180);
        bench.like(&invite, "CANCEL", reason);
        let cancel = bench.gets(0, "CANCEL");
        assert!(reason.is_empty() || cancel.text().contains("CAUSE=200"), "{name}: the Reason goes on");
        bench.answers(0, &cancel, "200 OK");
        bench.answers(0, &arrived, "487 Request Terminated");
        bench.answered(487);
        bench.like(&invite, "ACK", "");
        assert_eq!(bench.records(1), [want], "{name}");
    }
    let invite = bench.invite("sip:x@example.org");
    let arrived = bench.gets(0, "INVITE");
    bench.answers(0, &arrived, "180 Ringing");
    let ringing = bench.answered(180);
    let via = format!("SIP/2.0/UDP {};branch=z9hG4bKearly;rport", bench.caller.address);
    let bye = Side::caller(&invite, &ringing).request("BYE", 2, &via);
    bench.caller.send(&bye.octets(), bench.gateway.address());
    let ended = bench.gets(0, "BYE");
    bench.answers(0, &ended, "200 OK");
    bench.answered(200);
    bench.answers(0, &arrived, "487 Request Terminated");
    bench.answered(487);
    bench.like(&invite, "ACK", "");
    assert_eq!(bench.records(1), ["missed 487 cancelled [ALICE sip:x@ONE] cancelled"], "a BYE before the answer");
}

#[test]
fn the_request_uri_keeps_what_it_says() {
    let routes = "[[route]]\nmatch.user = \"away\"\nanswer = { code = 302, contacts = [\"sip:TWO\", \"<sip:b@ONE>;q=0.5\"] }\n\
                  [[route]]\nmatch.user = \"all\"\nto = [\"sip:c@ONE\"]\n\
                  avps = { src = [\"$fu\", \"$ou\"], dst = [\"$ou\", \"\"] }\n[[route]]\nto = [\"sip:ONE\"]";
    let mut bench = start(routes, "");
    for (uri, sent, legs) in [
        ("tel:7042;phone-context=example.com", "sip:7042;phone-context=example.com@ONE;user=phone", ""),
        ("tel:+15550100;npdi;rn=+15550199", "sip:+15550100;npdi;rn=+15550199@ONE;user=phone", ""),
        ("urn:service:sos", "urn:service:sos", ""),
        ("urn:service:sos.ambulance", "urn:service:sos.ambulance", ""),
        ("sip:all@example.org", "sip:c@ONE", "[ALICE sip:all@example.org] [sip:all@example.org sip:c@ONE]"),
    ] {
        let invite = bench.invite(uri);
        let arrived = bench.gets(0, "INVITE");
        let one = bench.targets[0].address.to_string();
        let found = String::from_utf8_lossy(&arrived.start).replace(&one, "ONE");
        assert_eq!(found, format!("INVITE {sent} SIP/2.0"));
        bench.answers(0, &arrived, "404 Not Found");
        bench.gets(0, "ACK");
        bench.answered(404);
        bench.like(&invite, "ACK", "");
        let legs = if legs.is_empty() { format!("[ALICE {sent}]") } else { legs.to_owned() };
        let want = ["missed", "failed"].map(|kind| format!("{kind} 404 refused {legs} refused"));
        assert_eq!(bench.records(2), want, "{uri}");
    }
    let invite = bench.invite("sip:away@example.org");
    let answer = bench.answered(302);
    let contacts: Vec<_> =
        answer.all("contact").into_iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let [one, two] = [0, 1].map(|at: usize| bench.targets[at].address);
    let want = [format!("Contact: <sip:away@{two}>"), format!("Contact: <sip:b@{one}>;q=0.5")];
    assert_eq!(contacts, want);
    bench.like(&invite, "ACK", "");
    assert_eq!(bench.records(2), ["missed 302 redirected", "failed 302 redirected"], "no leg: nobody was called");
}

#[test]
fn a_call_whose_only_target_is_unreachable_says_so() {
    let [nobody] = free_ports();
    let mut bench = start(&format!("[[route]]\nto = [\"sip:127.0.0.1:{nobody}\"]"), "");
    let invite = bench.invite("sip:x@example.org");
    bench.answered(500);
    bench.like(&invite, "ACK", "");
    let leg = format!("[ALICE sip:x@127.0.0.1:{nobody}]");
    let want =
        [format!("missed 503 unreachable {leg} unreachable"), format!("failed 500 unreachable {leg} unreachable")];
    assert_eq!(bench.records(2), want);
}
