//! When a call has ended, through the real binary: BYEs that somebody else answers, that are refused, challenged or met by
//! silence, and the true BYE afterwards; calls that nobody acknowledges; calls that go on after their Stop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Agent, Gateway, Side, Wire, free_ports, header_name, wait_for};

/// A caller, a callee and somebody else, all in `sip.allow`.
struct World {
    gateway: Gateway,
    metrics: u16,
    caller: Agent,
    callee: Agent,
    other: Agent,
    _dir: tempfile::TempDir,
}

/// A call that is up.
struct Call {
    id: String,
    caller: Side,
    callee: Side,
    begun: Instant,
}

fn agent(host: u8) -> Agent {
    Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)))
}

/// What follows a request line, as an end inside the call sends it.
fn via(agent: &Agent, branch: &str) -> String {
    format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", agent.address)
}

impl World {
    /// T1 is a tenth of a second, so that silence is over after 6.4 s.
    fn start(accounting: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (caller, callee, other) = (agent(2), agent(1), agent(3));
        let [port, metrics] = free_ports();
        let sip = format!(
            "listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 1\nt1_ms = 100\nt2_ms = 400"
        );
        let more = format!("listen = \"127.0.0.1:{metrics}\"\n");
        let route = format!("[[route]]\nto = \"sip:{}\"", callee.address);
        let gateway = Gateway::start_accounted(dir.path(), (port, &sip), &route, 9, (accounting, &more));
        Self { gateway, metrics, caller, callee, other, _dir: dir }
    }

    fn call(&mut self, id: &str) -> Call {
        let (invite, ok) = self.answered(id);
        let (caller, callee) = (Side::caller(&invite, &ok), Side::callee(&invite, &ok));
        let ack = caller.request("ACK", 1, &via(&self.caller, &format!("{id}ack")));
        self.caller.send(&ack.octets(), self.gateway.address());
        let callee_invite = self.callee.wait("the ACK");
        assert_eq!(callee_invite.method(), "ACK");
        Call { id: id.to_owned(), caller, callee, begun: Instant::now() }
    }

    /// An INVITE as sent, but for the Record-Route lines the callee saw, and its 200 as the caller got it.
    fn answered(&mut self, id: &str) -> (Wire, Wire) {
        let arrived = self.invite(id);
        let contact = format!("Contact: <sip:bob@{}>", self.callee.address).into_bytes();
        let ok = arrived.answer(b"200 OK", "b", &[contact], b"");
        self.callee.send(&ok.octets(), self.gateway.address());
        let answer = self.caller.wait("the 200");
        assert_eq!(answer.code(), 200);
        (arrived, answer)
    }

    /// An INVITE of the caller as the callee gets it.
    fn invite(&mut self, id: &str) -> Wire {
        let here = self.caller.address;
        let text = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n",
            via(&self.caller, id)
        );
        self.caller.send(text.as_bytes(), self.gateway.address());
        self.callee.wait("the INVITE")
    }

    /// The caller's request inside the call.
    fn send(&mut self, call: &Call, method: &str, cseq: u32) -> Wire {
        let request = call.caller.request(method, cseq, &via(&self.caller, &format!("{}{method}{cseq}", call.id)));
        self.caller.send(&request.octets(), self.gateway.address());
        request
    }

    /// What the callee gets next of this method; retransmissions of others are passed over.
    fn callee_gets(&mut self, method: &str) -> Wire {
        wait_for(method, || self.callee.take().filter(|wire| wire.method() == method))
    }

    /// The callee answers, and the caller gets it.
    fn answer(&mut self, request: &Wire, status: &str) {
        let answer = request.answer(status.as_bytes(), "b", &[b"Content-Length: 0".to_vec()], b"");
        self.callee.send(&answer.octets(), self.gateway.address());
        let code: u16 = status[..3].parse().unwrap();
        let number = request.cseq();
        wait_for(status, || self.caller.take().filter(|wire| wire.code() == code && wire.cseq() == number));
    }

    /// Records of a kind of one call, as the queue has them.
    fn records(&self, kind: &str, call: &str) -> Vec<Value> {
        let all = self.gateway.command(&["queue", "export"]);
        let records = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take());
        records.filter(|record| record["kind"] == kind && record["call_id"] == call).collect()
    }

    fn calls(&self) -> u64 {
        let found: Value = serde_json::from_str(&self.gateway.command(&["calls", "--json"])).unwrap();
        found["total"].as_u64().unwrap()
    }

    /// Nothing has ended the call, and its true BYE makes one Stop with the right time.
    fn ends_by_its_bye(&mut self, call: &Call, name: &str) {
        assert_eq!(self.records("stop", &call.id).len(), 0, "{name}: a Stop before its time");
        assert_eq!(self.calls(), 1, "{name}");
        // A session time that is told from none.
        wait_for("a second of the call", || (call.begun.elapsed() > Duration::from_millis(1_100)).then_some(()));
        let bye = call.callee.request("BYE", 1, &via(&self.callee, &format!("{}true", call.id)));
        self.callee.send(&bye.octets(), self.gateway.address());
        let lasted = call.begun.elapsed();
        let arrived = wait_for("the true BYE", || self.caller.take().filter(|wire| wire.method() == "BYE"));
        let ok = arrived.answer(b"200 OK", "a", &[b"Content-Length: 0".to_vec()], b"");
        self.caller.send(&ok.octets(), self.gateway.address());
        wait_for("its 200", || self.callee.take().filter(|wire| wire.code() == 200));
        let stops = self.records("stop", &call.id);
        assert_eq!(stops.len(), 1, "{name}: {stops:?}");
        let found = stops[0]["duration_s"].as_f64().unwrap();
        let told = lasted.as_secs_f64();
        assert!((told - found).abs() < 1.0, "{name}: {found} s, {told} s by the clock of the test");
        assert_eq!((&stops[0]["ended_by"], &stops[0]["cause"]), (&"callee".into(), &"bye".into()), "{name}");
        assert_eq!(self.calls(), 0, "{name}");
    }
}

/// The same request to another place.
fn redirected(mut request: Wire, target: &str) -> Wire {
    request.start = [b"BYE ", target.as_bytes(), b" SIP/2.0"].concat();
    request
}

#[test]
fn a_bye_that_the_other_end_did_not_see_ends_nothing() {
    let mut world = World::start("");
    let to = world.gateway.address();

    // Somebody else who knows the call's names, to the gateway's own address.
    let call = world.call("stranger");
    let mut bye = redirected(
        call.caller.request("BYE", 9, &via(&world.other, "stranger")),
        &format!("sip:nobody@127.0.0.9:{}", world.gateway.port),
    );
    bye.lines.retain(|line| !line.starts_with(b"Route"));
    world.other.send(&bye.octets(), to);
    assert!(world.other.wait("a refusal").code() >= 400);
    world.ends_by_its_bye(&call, "a BYE of somebody else");

    // The caller to himself, by the signed Route of the call.
    let call = world.call("himself");
    let own = format!("sip:alice@{}", world.caller.address);
    let bye = redirected(call.caller.request("BYE", 2, &via(&world.caller, "himself")), &own);
    world.caller.send(&bye.octets(), to);
    let got = wait_for("the BYE or a refusal", || world.caller.take());
    if got.method() == "BYE" {
        let ok = got.answer(b"200 OK", "b", &[b"Content-Length: 0".to_vec()], b"");
        world.caller.send(&ok.octets(), to);
        // It is a doubt: the callee is asked, and knows the call.
        let asked = world.callee_gets("OPTIONS");
        let ok = asked.answer(b"200 OK", "b", &[b"Content-Length: 0".to_vec()], b"");
        world.callee.send(&ok.octets(), to);
    } else {
        assert!(got.code() >= 400, "{}", got.text());
    }
    world.ends_by_its_bye(&call, "a BYE of the caller to himself");
}

#[test]
fn a_refused_bye_ends_nothing_unless_the_call_is_not_known() {
    let mut world = World::start("");
    for code in [
        "400", "403", "404", "405", "415", "420", "480", "482", "483", "486", "488", "491", "500", "503", "513", "600",
        "603",
    ] {
        let call = world.call(&format!("refused{code}"));
        world.send(&call, "BYE", 2);
        let bye = world.callee_gets("BYE");
        // The gateway gives a 503 to nobody but as 500 (RFC 3261 16.7).
        let answer = bye.answer(format!("{code} No").as_bytes(), "b", &[b"Content-Length: 0".to_vec()], b"");
        world.callee.send(&answer.octets(), world.gateway.address());
        wait_for(code, || world.caller.take().filter(|wire| wire.code() >= 400 && wire.cseq() == 2));
        world.ends_by_its_bye(&call, code);
        let events = world.records("event", &call.id);
        assert_eq!(events.len(), 1, "{code}: {events:?}");
    }
    for code in ["481", "410", "604", "200"] {
        let call = world.call(&format!("ended{code}"));
        world.send(&call, "BYE", 2);
        let bye = world.callee_gets("BYE");
        world.answer(&bye, &format!("{code} Yes"));
        let stops = world.records("stop", &call.id);
        assert_eq!((stops.len(), world.calls()), (1, 0), "{code}: {stops:?}");
        let cause = if code == "200" { "bye" } else { "failed-bye" };
        assert_eq!((&stops[0]["ended_by"], &stops[0]["cause"]), (&"caller".into(), &cause.into()), "{code}");
    }
}

#[test]
fn a_challenged_bye_ends_the_call_when_it_comes_again() {
    let mut world = World::start("");
    for code in ["401", "407"] {
        let call = world.call(&format!("challenged{code}"));
        world.send(&call, "BYE", 2);
        let bye = world.callee_gets("BYE");
        world.answer(&bye, &format!("{code} Who are you"));
        assert_eq!(world.records("stop", &call.id).len(), 0, "{code}");
        world.send(&call, "BYE", 3);
        let bye = world.callee_gets("BYE");
        world.answer(&bye, "200 OK");
        let stops = world.records("stop", &call.id);
        assert_eq!(stops.len(), 1, "{code}: {stops:?}");
        assert_eq!((&stops[0]["cause"], world.calls()), (&"bye".into(), 0), "{code}");
    }
    // Without credentials the end is asked.
    let call = world.call("left");
    world.send(&call, "BYE", 2);
    let bye = world.callee_gets("BYE");
    world.answer(&bye, "401 Who are you");
    let asked = world.callee_gets("OPTIONS");
    let gone = asked.answer(b"481 Gone", "b", &[b"Content-Length: 0".to_vec()], b"");
    world.callee.send(&gone.octets(), world.gateway.address());
    let stop = wait_for("its Stop", || world.records("stop", "left").pop());
    assert!(stop["duration_s"].as_f64().unwrap() < 2.0, "it ended when the BYE came: {stop}");
}

#[test]
fn silence_to_a_bye_is_settled_by_asking() {
    let mut world = World::start("");
    for (id, status, ends) in [("lives", "200 OK", false), ("dumb", "500 What", false), ("gone", "481 Gone", true)] {
        let call = world.call(id);
        world.send(&call, "BYE", 2);
        let asked = world.callee_gets("OPTIONS");
        assert_eq!(asked.cseq(), 2, "the caller's last number, which it cannot need any more");
        let answer = asked.answer(status.as_bytes(), "b", &[b"Content-Length: 0".to_vec()], b"");
        world.callee.send(&answer.octets(), world.gateway.address());
        if ends {
            let stop = wait_for("its Stop", || world.records("stop", id).pop());
            assert!(stop["duration_s"].as_f64().unwrap() < 2.0, "it ended when the BYE came: {stop}");
            assert_eq!(stop["cause"], "failed-bye");
        } else {
            wait_for("the Event", || world.records("event", id).pop());
            world.ends_by_its_bye(&call, id);
        }
    }
}

#[test]
fn byes_of_calls_that_never_were_make_no_records() {
    let mut world = World::start("");
    let call = world.call("real");
    for number in 0..5 {
        let mut bye = call.caller.request("BYE", 2, &via(&world.caller, &format!("invented{number}")));
        for line in bye.lines.iter_mut().filter(|line| line.starts_with(b"To")) {
            *line = format!("To: <sip:bob@example.org>;tag=invented{number}").into_bytes();
        }
        world.caller.send(&bye.octets(), world.gateway.address());
        let got = wait_for("the BYE or a refusal", || world.callee.take().or_else(|| world.caller.take()));
        if got.method() == "BYE" {
            let gone = got.answer(b"481 Gone", "b", &[b"Content-Length: 0".to_vec()], b"");
            world.callee.send(&gone.octets(), world.gateway.address());
            wait_for("the 481", || world.caller.take());
        }
    }
    assert_eq!(world.records("stop", "real").len(), 0);
    world.ends_by_its_bye(&call, "the real one");
}

#[test]
fn a_call_whose_callee_drops_record_route_ends_by_the_callers_bye() {
    let mut world = World::start("");
    for (id, warnings) in [("dropped", 1), ("again", 1)] {
        let arrived = world.invite(id);
        let contact = format!("Contact: <sip:bob@{}>", world.callee.address).into_bytes();
        let mut ok = arrived.answer(b"200 OK", "b", &[contact], b"");
        ok.lines.retain(|line| header_name(line) != "record-route");
        world.callee.send(&ok.octets(), world.gateway.address());
        let answer = world.caller.wait("the 200");
        assert_eq!(answer.all("record-route"), arrived.all("record-route"), "{id}");
        let (caller, callee) = (Side::caller(&arrived, &answer), Side::callee(&arrived, &ok));
        assert_eq!(caller.routes().len(), 1, "{id}");
        let call = Call { id: id.to_owned(), caller, callee, begun: Instant::now() };
        world.send(&call, "ACK", 1);
        world.callee_gets("ACK");
        wait_for("a second of the call", || (call.begun.elapsed() > Duration::from_millis(1_100)).then_some(()));
        world.send(&call, "BYE", 2);
        let lasted = call.begun.elapsed().as_secs_f64();
        let bye = world.callee_gets("BYE");
        world.answer(&bye, "200 OK");
        let stops = world.records("stop", id);
        assert_eq!(stops.len(), 1, "{id}: {stops:?}");
        assert_eq!((&stops[0]["ended_by"], &stops[0]["cause"]), (&"caller".into(), &"bye".into()), "{id}");
        assert!((stops[0]["duration_s"].as_f64().unwrap() - lasted).abs() < 1.0, "{id}: {stops:?}");
        assert_eq!(world.calls(), 0, "{id}");
        let told = world.gateway.process.printed().matches("drops Record-Route").count();
        assert_eq!(told, warnings, "{id}: {}", world.gateway.process.printed());
    }
    let counted = "tollgate_sip_messages_ignored_total{reason=\"route_missing\"}";
    assert_eq!(Gateway::metric(world.metrics, counted), Some(2.0));
}

#[test]
fn a_200_that_nobody_acknowledges_is_no_call() {
    let mut world = World::start("");
    world.answered("silent");
    let stop = wait_for("its Stop", || world.records("stop", "silent").pop());
    assert_eq!((&stop["cause"], &stop["duration_s"]), (&"no-ack".into(), &0.0.into()), "{stop}");
    let bye = world.callee_gets("BYE");
    assert!(bye.cseq() > 1, "{}", bye.text());
    assert_eq!(Gateway::metric(world.metrics, "tollgate_calls_unacknowledged_total"), Some(1.0));
    assert!(world.gateway.process.printed().contains("no ACK came"), "{}", world.gateway.process.printed());
}

#[test]
fn a_call_at_its_longest_time_is_ended_at_both_ends() {
    let mut world = World::start("lifetime_s = 2");
    world.call("long");
    let at_callee = world.callee_gets("BYE");
    let at_caller = wait_for("the caller's BYE", || world.caller.take().filter(|wire| wire.method() == "BYE"));
    assert!(at_callee.cseq() > 1 && at_callee.value("from").ends_with(b"tag=a"), "{}", at_callee.text());
    assert!(at_caller.value("from").ends_with(b"tag=b"), "{}", at_caller.text());
    for (agent, bye) in [(&world.callee, at_callee), (&world.caller, at_caller)] {
        agent.send(&bye.answer(b"200 OK", "", &[], b"").octets(), world.gateway.address());
    }
    let stop = wait_for("its Stop", || world.records("stop", "long").pop());
    assert_eq!(stop["cause"], "lifetime");
    assert!((stop["duration_s"].as_f64().unwrap() - 2.0).abs() < 1.0, "{stop}");
}

#[test]
fn a_call_that_goes_on_after_its_stop_is_told_and_recorded_if_set() {
    for (revive, starts) in [("alarm", 1), ("record", 2)] {
        let mut world = World::start(&format!("revive = \"{revive}\""));
        let call = world.call("undead");
        world.send(&call, "BYE", 2);
        let bye = world.callee_gets("BYE");
        world.answer(&bye, "481 Gone");
        for number in [3, 4] {
            world.send(&call, "INFO", number);
            let info = world.callee_gets("INFO");
            world.answer(&info, "200 OK");
        }
        assert_eq!(Gateway::metric(world.metrics, "tollgate_calls_revived_total"), Some(1.0), "{revive}");
        assert_eq!(world.records("start", "undead").len(), starts, "{revive}");
        assert_eq!(world.calls(), starts as u64 - 1, "{revive}");
        let printed = world.gateway.process.printed();
        assert_eq!(printed.matches("goes on after its end").count(), 1, "{revive}: {printed}");
    }
}

impl World {
    /// The caller's request as if the callee had sent it, to the caller's own Contact.
    fn send_as_callee(&mut self, call: &Call, method: &str, cseq: u32, more: &str) -> Wire {
        let own = via(&self.caller, &format!("{}as{method}{cseq}", call.id));
        let mut request = call.callee.request(method, cseq, &own);
        request.lines.extend(more.split_terminator("\r\n").map(|line| line.as_bytes().to_vec()));
        self.caller.send(&request.octets(), self.gateway.address());
        wait_for("it comes back", || self.caller.take().filter(|wire| wire.method() == method))
    }

    /// The caller answers a request and gets its own answer.
    fn answer_himself(&mut self, request: &Wire, status: &str, more: &str) {
        let mut lines = vec![b"Content-Length: 0".to_vec()];
        lines.extend(more.split_terminator("\r\n").map(|line| line.as_bytes().to_vec()));
        let answer = request.answer(status.as_bytes(), "a", &lines, b"");
        self.caller.send(&answer.octets(), self.gateway.address());
        let code: u16 = status[..3].parse().unwrap();
        wait_for(status, || self.caller.take().filter(|wire| wire.code() == code));
    }

    /// The callee is asked whether the call goes on, and says that it does.
    fn callee_says_that_it_lives(&mut self) {
        let asked = self.callee_gets("OPTIONS");
        let ok = asked.answer(b"200 OK", "b", &[b"Content-Length: 0".to_vec()], b"");
        self.callee.send(&ok.octets(), self.gateway.address());
    }
}

#[test]
fn a_party_that_speaks_for_the_other_one_ends_nothing() {
    let mut world = World::start("");
    for (id, status) in [("yes", "200 OK"), ("gone", "481 Gone")] {
        let call = world.call(id);
        let bye = world.send_as_callee(&call, "BYE", 1, "");
        world.answer_himself(&bye, status, "");
        world.callee_says_that_it_lives();
        world.ends_by_its_bye(&call, &format!("the caller's BYE as the callee, and {status} by himself"));
    }
    // By silence.
    let call = world.call("silent");
    world.send_as_callee(&call, "BYE", 1, "");
    world.callee_says_that_it_lives();
    world.ends_by_its_bye(&call, "the caller's BYE as the callee, met by silence");
    // The callee did send it, from elsewhere: it does not know the call any more.
    let call = world.call("moved");
    let bye = call.callee.request("BYE", 1, &via(&world.other, "moved"));
    world.other.send(&bye.octets(), world.gateway.address());
    let bye = wait_for("the BYE", || world.caller.take().filter(|wire| wire.method() == "BYE"));
    world.caller.send(&bye.answer(b"200 OK", "a", &[], b"").octets(), world.gateway.address());
    let asked = world.callee_gets("OPTIONS");
    world.callee.send(&asked.answer(b"481 Gone", "b", &[], b"").octets(), world.gateway.address());
    let stop = wait_for("its Stop", || world.records("stop", "moved").pop());
    assert_eq!((&stop["ended_by"], &stop["cause"]), (&"callee".into(), &"failed-bye".into()), "{stop}");
}

#[test]
fn a_party_that_speaks_for_the_other_one_changes_nothing() {
    let mut world = World::start("");
    let to = world.gateway.address();
    for (id, method, status, ours, theirs) in [
        ("moves", "UPDATE", "200 OK", true, ""),
        ("remakes", "INVITE", "200 OK", true, ""),
        ("hurries", "UPDATE", "200 OK", false, "Session-Expires: 1;refresher=uac\r\n"),
        ("denies", "UPDATE", "481 Gone", false, ""),
        ("forgets", "INVITE", "481 Gone", false, ""),
    ] {
        let call = world.call(id);
        let contact = format!("Contact: <sip:bob@{}>\r\n", world.caller.address);
        let change = world.send_as_callee(&call, method, 1, if ours { &contact } else { "" });
        world.answer_himself(&change, status, theirs);
        if ours {
            // Had it moved the callee, this would end the call.
            let own = format!("sip:bob@{}", world.caller.address);
            let bye = redirected(call.caller.request("BYE", 2, &via(&world.caller, &format!("{id}bye"))), &own);
            world.caller.send(&bye.octets(), to);
            let got = wait_for("a refusal", || world.caller.take().filter(|wire| wire.cseq() == 2));
            assert_eq!(got.code(), 403, "{id}: {}", got.text());
        }
        if !theirs.is_empty() {
            wait_for("the session timer would be over", || (call.begun.elapsed().as_secs() >= 4).then_some(()));
        }
        assert_eq!(world.records("interim", id).len(), 0, "{id}");
        world.ends_by_its_bye(&call, id);
    }
    // One that has truly moved is reached where it is, and ends there.
    let call = world.call("moved");
    let contact = format!("Contact: <sip:bob@{}>\r\n", world.other.address);
    let mut update = call.callee.request("UPDATE", 1, &via(&world.other, "moved"));
    update.lines.push(contact.trim().into());
    world.other.send(&update.octets(), to);
    let update = wait_for("the UPDATE", || world.caller.take().filter(|wire| wire.method() == "UPDATE"));
    world.caller.send(&update.answer(b"200 OK", "a", &[], b"").octets(), to);
    wait_for("its 200", || world.other.take().filter(|wire| wire.code() == 200));
    let bye = redirected(
        call.caller.request("BYE", 2, &via(&world.caller, "there")),
        &format!("sip:bob@{}", world.other.address),
    );
    world.caller.send(&bye.octets(), to);
    let bye = wait_for("the BYE where it moved", || world.other.take().filter(|wire| wire.method() == "BYE"));
    world.other.send(&bye.answer(b"200 OK", "b", &[], b"").octets(), to);
    // Nobody had vouched for the move: where it was is asked.
    let asked = world.callee_gets("OPTIONS");
    world.callee.send(&asked.answer(b"481 Gone", "b", &[], b"").octets(), to);
    let stop = wait_for("its Stop", || world.records("stop", "moved").pop());
    assert_eq!((&stop["ended_by"], &stop["cause"]), (&"caller".into(), &"failed-bye".into()), "{stop}");
}

#[test]
fn a_parameter_of_the_request_uri_leads_nobody_astray() {
    let mut world = World::start("");
    let to = world.gateway.address();
    for (id, more) in [("maddr", "maddr=127.0.0.2"), ("both", "transport=udp;maddr=127.0.0.2")] {
        let call = world.call(id);
        // The same port on his own host.
        let mut own = Agent::bind(SocketAddr::from(([127, 0, 0, 2], world.callee.address.port())));
        let uri = format!("sip:bob@{};{more}", world.callee.address);
        for method in ["BYE", "INFO"] {
            let mut request =
                redirected(call.caller.request(method, 2, &via(&world.caller, &format!("{id}{method}"))), &uri);
            request.start = [method.as_bytes(), b" ", uri.as_bytes(), b" SIP/2.0"].concat();
            world.caller.send(&request.octets(), to);
            let got = wait_for("an end of it", || {
                own.take()
                    .or_else(|| world.caller.take().filter(|wire| wire.value("cseq").ends_with(method.as_bytes())))
            });
            assert_eq!(got.code(), 403, "{id}: {}", got.text());
        }
        world.ends_by_its_bye(&call, id);
    }
}

#[test]
fn the_operator_ends_a_call_in_the_records_and_at_both_ends_if_he_wants() {
    for (words, has_bye) in [(&["--bye", "--reason", "unpaid"][..], true), (&[], false)] {
        let mut world = World::start("");
        let call = world.call("ended");
        let other = world.call("other");
        let told = world.gateway.command(&[&["calls", "end", "ended"], words].concat());
        assert!(told.contains("ended in the records"), "{told}");
        let stop = wait_for("its Stop", || world.records("stop", "ended").pop());
        let reason = if has_bye { "unpaid" } else { "Ended by the operator" };
        assert_eq!((&stop["ended_by"], &stop["cause"]), (&"gateway".into(), &"administrator".into()), "{stop}");
        assert_eq!(stop["reason"], reason, "{stop}");
        if has_bye {
            let bye = world.callee_gets("BYE");
            assert_eq!(bye.value("call-id"), b"ended");
            wait_for("the BYE to the caller", || world.caller.take().filter(|wire| wire.method() == "BYE"));
        }
        world.send(&call, "BYE", 2);
        let bye = wait_for("the caller's BYE", || {
            world.callee.take().filter(|wire| wire.method() == "BYE" && wire.cseq() == 2)
        });
        world.answer(&bye, "200 OK");
        world.send(&other, "BYE", 2);
        let bye = wait_for("the other call's BYE", || {
            world.callee.take().filter(|wire| wire.method() == "BYE" && wire.value("call-id") == b"other")
        });
        world.answer(&bye, "200 OK");
        wait_for("the other call's Stop", || world.records("stop", "other").pop());
        assert_eq!(world.records("stop", "ended").len(), 1, "one Stop for one call");
    }
}
