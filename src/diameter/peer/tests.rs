//! The state machine in virtual time, row by row.

use std::time::Duration;

use super::*;
use crate::diameter::avp::{Avps, Writer};
use crate::diameter::header::{self, flag};

const M: u8 = 0x40;
const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Bench {
    peer: Peer,
    we: Identity,
    random: Random,
    now: Instant,
    out: Vec<Output>,
}

impl Bench {
    fn new(security: Security) -> Self {
        let mut random = Random::new([5, 6]);
        let peer = Peer::new(Instant(0), "acct.test", security, Timing::default(), &mut random);
        Self { peer, we: Identity::new("gw.test", "test"), random, now: Instant(0), out: Vec::new() }
    }

    fn put(&mut self, input: Input<'_>) -> Vec<Output> {
        self.peer.handle(self.now, input, &self.we, &mut self.random, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// Lets the next deadline come.
    fn next(&mut self) -> Vec<Output> {
        self.now = self.peer.deadline().expect("a deadline");
        self.peer.tick(self.now, &self.we, &mut self.random, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn message(&mut self, octets: &[u8]) -> Vec<Output> {
        self.put(Input::Message(octets))
    }

    /// A connection whose capabilities are out.
    fn waiting(security: Security) -> Self {
        let mut bench = Self::new(security);
        assert_eq!(bench.next(), [Output::Connect]);
        let mut done = bench.put(Input::Connected { local: LOCAL });
        if security == Security::Tls {
            assert_eq!(done, [Output::Secure]);
            assert_eq!(bench.peer.state(), State::Handshake);
            done = bench.put(Input::Secured);
        }
        assert_eq!(sent(&done).command, command::CAPABILITIES_EXCHANGE);
        assert_eq!(bench.peer.state(), State::WaitCea);
        bench
    }

    /// A connection in use.
    fn open() -> Self {
        let mut bench = Self::waiting(Security::Plain);
        let mut done = bench.message(&cea(2001));
        for _ in 0..VALIDATIONS {
            assert_eq!(bench.peer.state(), State::Validating);
            let asked = sent(&done);
            assert_eq!(asked.command, command::DEVICE_WATCHDOG);
            done = bench.message(&answer_to(&asked));
        }
        assert_eq!((done, bench.peer.state()), (vec![], State::Validating), "the peer settles");
        assert_eq!(bench.next(), [Output::Usable]);
        assert_eq!(bench.peer.state(), State::Open);
        bench
    }
}

/// The header of the one message that is sent.
fn sent(outputs: &[Output]) -> Header {
    let mut found = outputs.iter().filter_map(|output| match output {
        Output::Send(octets) => Some(Header::read(octets).expect("a message")),
        _ => None,
    });
    let header = found.next().unwrap_or_else(|| panic!("nothing sent in {outputs:?}"));
    assert!(found.next().is_none(), "more than one message in {outputs:?}");
    header
}

fn build(header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    header::message(&mut octets, header, fill).expect("short");
    octets
}

fn answer_to(request: &Header) -> Vec<u8> {
    build(&request.answer(), |avps| avps.u32(code::RESULT_CODE, 0, M, 2001))
}

fn request(command: u32, application: u32) -> Vec<u8> {
    let header = Header { flags: flag::REQUEST, command, application, hop_by_hop: 77, end_to_end: 78, length: 0 };
    build(&header, |avps| avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test"))
}

fn cea_with(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    build(&Header { command: command::CAPABILITIES_EXCHANGE, ..Header::default() }, fill)
}

fn cea(result: u32) -> Vec<u8> {
    cea_with(|avps| {
        avps.u32(code::RESULT_CODE, 0, M, result);
        avps.avp(code::ORIGIN_HOST, 0, M, b"ACCT.test");
        avps.avp(code::ORIGIN_REALM, 0, M, b"test");
        avps.u32(code::ACCT_APPLICATION_ID, 0, M, 3);
    })
}

fn gone(outputs: &[Output]) -> Option<&Cause> {
    outputs.iter().find_map(|output| match output {
        Output::Gone(cause) => Some(cause),
        _ => None,
    })
}

#[test]
fn a_connection_is_validated_by_three_watchdogs_back_to_back() {
    let bench = Bench::open();
    assert_eq!(bench.now, Instant(0) + SETTLE, "without any wait between them, and a pause of 10 ms behind them");
}

#[test]
fn tls_comes_first_or_after_the_capabilities() {
    Bench::waiting(Security::Tls);
    let mut bench = Bench::waiting(Security::Inband);
    let agreed = cea_with(|avps| {
        avps.u32(code::RESULT_CODE, 0, M, 2001);
        avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test");
        avps.u32(code::INBAND_SECURITY_ID, 0, M, 1);
        avps.u32(code::AUTH_APPLICATION_ID, 0, M, application::RELAY);
    });
    assert_eq!(bench.message(&agreed), [Output::Secure]);
    assert_eq!(bench.peer.state(), State::Upgrading);
    let done = bench.put(Input::Secured);
    assert_eq!(sent(&done).command, command::DEVICE_WATCHDOG, "no second exchange of capabilities");
    let mut bench = Bench::waiting(Security::Inband);
    assert_eq!(gone(&bench.message(&cea(2001))), Some(&Cause::NoInbandTls), "a stripped offer is no agreement");
}

/// The table of spec 1.6, the rows that end a connection before it is used.
#[test]
fn what_ends_a_connection_before_it_is_used() {
    type Act = fn(&mut Bench) -> Vec<Output>;
    let wait: Act = Bench::next;
    let lost: Act = |bench| bench.put(Input::Lost);
    let garbage: Act = |bench| bench.put(Input::Garbage);
    let connecting = || {
        let mut bench = Bench::new(Security::Plain);
        bench.next();
        bench
    };
    let handshake = || {
        let mut bench = Bench::new(Security::Tls);
        bench.next();
        bench.put(Input::Connected { local: LOCAL });
        bench
    };
    let waiting = || Bench::waiting(Security::Plain);
    let refused = |code| Cause::Refused { code, text: String::new() };
    let wrong: Act = |bench| {
        bench.message(&cea_with(|avps| {
            avps.u32(code::RESULT_CODE, 0, M, 2001);
            avps.avp(code::ORIGIN_HOST, 0, M, b"other.test");
            avps.u32(code::ACCT_APPLICATION_ID, 0, M, 3);
        }))
    };
    let poor: Act = |bench| {
        bench.message(&cea_with(|avps| {
            avps.u32(code::RESULT_CODE, 0, M, 2001);
            avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test");
            avps.u32(code::AUTH_APPLICATION_ID, 0, M, 4);
        }))
    };
    let broken: Act = |bench| {
        let mut octets = cea(2001);
        octets[header::HEADER_OCTETS + 7] = 3;
        bench.message(&octets)
    };
    // (name, where, what, limit in s, cause, reset, refusal: the longest wait applies)
    type Row = (&'static str, Bench, Act, Option<u64>, Cause, bool, bool);
    let rows: [Row; 19] = [
        (
            "no transport",
            connecting(),
            |b| b.put(Input::Failed(Cause::NoTransport("x".into()))),
            None,
            Cause::NoTransport("x".into()),
            false,
            false,
        ),
        ("no transport in time", connecting(), wait, Some(5), Cause::ConnectTimeout, false, false),
        ("no handshake in time", handshake(), wait, Some(10), Cause::HandshakeTimeout, false, false),
        (
            "another name",
            handshake(),
            |b| b.put(Input::Failed(Cause::BadCertificate("x".into()))),
            None,
            Cause::BadCertificate("x".into()),
            false,
            true,
        ),
        ("no capabilities in time", waiting(), wait, Some(10), Cause::CapabilitiesTimeout, false, false),
        ("closed instead", waiting(), lost, None, Cause::ClosedEarly, false, false),
        ("3010", waiting(), |b| b.message(&cea(3010)), None, refused(3010), false, true),
        ("5010", waiting(), |b| b.message(&cea(5010)), None, refused(5010), false, true),
        ("5012", waiting(), |b| b.message(&cea(5012)), None, refused(5012), false, true),
        ("4003", waiting(), |b| b.message(&cea(4003)), None, refused(4003), false, true),
        (
            "5017",
            waiting(),
            |b| b.message(&cea(5017)),
            None,
            Cause::NoCommonSecurity { offered: Security::Plain, text: String::new() },
            false,
            true,
        ),
        ("another failure", waiting(), |b| b.message(&cea(5001)), None, refused(5001), false, false),
        ("no result", waiting(), |b| b.message(&cea_with(|_| {})), None, refused(0), false, false),
        ("another identity", waiting(), wrong, None, Cause::WrongIdentity { found: "other.test".into() }, false, true),
        ("no accounting", waiting(), poor, None, Cause::NoCommonApplication, false, true),
        (
            "a watchdog first",
            waiting(),
            |b| b.message(&request(command::DEVICE_WATCHDOG, 0)),
            None,
            Cause::Unexpected,
            false,
            false,
        ),
        ("an answer to nothing first", waiting(), |b| b.put(Input::Answered), None, Cause::Unexpected, false, false),
        ("broken capabilities", waiting(), broken, None, Cause::BrokenMessage, false, false),
        ("no Diameter", waiting(), garbage, None, Cause::Garbage, true, false),
    ];
    for (name, mut bench, act, limit, cause, reset, is_refusal) in rows {
        let begin = bench.now;
        let outputs = act(&mut bench);
        assert_eq!(gone(&outputs), Some(&cause), "{name}");
        assert!(outputs.contains(&Output::Close { reset }), "{name}: {outputs:?}");
        assert_eq!(bench.peer.state(), State::Closed, "{name}");
        if let Some(limit) = limit {
            assert_eq!(bench.now.since(begin), Duration::from_secs(limit), "{name}");
        }
        let wait = bench.peer.deadline().expect("it is tried again").since(bench.now);
        let (low, high) = if is_refusal { (24_000, 36_000) } else { (800, 1_200) };
        assert!((low..=high).contains(&wait.as_millis()), "{name}: {wait:?}");
        assert_eq!(bench.next(), [Output::Connect], "{name}");
    }
}

/// The rows of a connection in use.
#[test]
fn silence_leads_to_suspect_and_then_to_the_end() {
    let mut bench = Bench::open();
    let begin = bench.now;
    let asked = bench.next();
    assert_eq!(sent(&asked).command, command::DEVICE_WATCHDOG);
    assert!((28..=32).contains(&bench.now.since(begin).as_secs()));
    assert_eq!(bench.next(), [Output::FailOver], "a second Tw without an answer");
    assert_eq!(bench.peer.state(), State::Suspect);
    assert!(!bench.peer.is_usable());
    let mut other = bench;
    // Anything that comes leads back.
    assert_eq!(other.put(Input::Answered), [Output::Usable]);
    assert_eq!(other.peer.state(), State::Open);
    // The old watchdog is still pending, so silence is noticed after one Tw.
    assert_eq!(other.next(), [Output::FailOver]);
    let outputs = other.next();
    assert_eq!(gone(&outputs), Some(&Cause::Watchdog));
    assert!(!outputs.contains(&Output::FailOver), "that was done before");
    assert!((56..=64 * 2).contains(&other.now.since(begin).as_secs()));
}

#[test]
fn answers_keep_the_watchdog_quiet() {
    let mut bench = Bench::open();
    for _ in 0..100 {
        bench.now = bench.now + Duration::from_secs(20);
        bench.peer.tick(bench.now, &bench.we, &mut bench.random, &mut bench.out);
        assert!(bench.put(Input::Answered).is_empty());
    }
    let asked = bench.next();
    let answer = answer_to(&sent(&asked));
    assert!(bench.message(&answer).is_empty());
    assert_eq!(sent(&bench.next()).command, command::DEVICE_WATCHDOG, "the next one a Tw later");
}

#[test]
fn a_new_connection_whose_watchdogs_stay_unanswered_is_closed_after_two_of_them() {
    let mut bench = Bench::waiting(Security::Plain);
    bench.message(&cea(2001));
    assert!(bench.next().is_empty(), "one more Tw");
    assert_eq!(gone(&bench.next()), Some(&Cause::Watchdog));
}

#[test]
fn a_flood_of_watchdogs_does_not_hold_an_unvalidated_connection() {
    let mut bench = Bench::waiting(Security::Plain);
    bench.message(&cea(2001));
    let mut closed = false;
    for _ in 0..200 {
        bench.now = bench.now + Duration::from_secs(1);
        bench.peer.tick(bench.now, &bench.we, &mut bench.random, &mut bench.out);
        closed |= gone(&std::mem::take(&mut bench.out)).is_some();
        if closed {
            break;
        }
        assert_eq!(sent(&bench.message(&request(command::DEVICE_WATCHDOG, 0))).flags, 0, "each is answered");
    }
    assert!(closed);
}

#[test]
fn every_request_of_a_peer_is_answered() {
    for state in [State::Validating, State::Open, State::Suspect] {
        for (name, command, application, result, flags) in [
            ("a watchdog", command::DEVICE_WATCHDOG, 0, 2001, 0),
            ("capabilities again", command::CAPABILITIES_EXCHANGE, 0, 5012, 0),
            ("an abort", command::ABORT_SESSION, 3, 3001, flag::ERROR),
            ("a re-authorization", command::RE_AUTH, 1, 3001, flag::ERROR),
            ("something unheard of", 8_388_635, 16_777_236, 3001, flag::ERROR),
            ("accounting towards us", command::ACCOUNTING, 3, 3001, flag::ERROR),
        ] {
            let mut bench = Bench::open();
            bench.peer.state = state;
            let outputs = bench.message(&request(command, application));
            let Some(Output::Send(octets)) = outputs.first() else { panic!("{name}: {outputs:?}") };
            let (header, avps) = header::split(octets).expect("whole");
            assert_eq!((header.command, header.flags), (command, flags), "{name}");
            assert_eq!((header.hop_by_hop, header.end_to_end), (77, 78), "{name}");
            let found = Avps::new(avps).find(code::RESULT_CODE, 0).and_then(|avp| avp.u32());
            assert_eq!(found, Some(result), "{name}");
        }
    }
}

#[test]
fn a_peer_that_dismisses_us_gets_its_answer_and_a_second_for_its_own() {
    let dpr = |cause: u32| {
        let header = Header { flags: flag::REQUEST, command: command::DISCONNECT_PEER, ..Header::default() };
        build(&header, |avps| avps.u32(code::DISCONNECT_CAUSE, 0, M, cause))
    };
    for (cause, comes_back) in [(0, true), (1, false), (2, false)] {
        let mut bench = Bench::open();
        let outputs = bench.message(&dpr(cause));
        assert_eq!(sent(&outputs).command, command::DISCONNECT_PEER);
        assert_eq!(outputs.len(), 1, "what is outstanding may still be answered");
        assert!(!bench.peer.is_usable());
        let begin = bench.now;
        assert!(bench.put(Input::Answered).is_empty());
        assert_eq!(bench.next(), [Output::FailOver]);
        assert_eq!(bench.now.since(begin), GRACE);
        assert_eq!(bench.peer.state(), State::Closing);
        let outputs = if cause == 0 { bench.next() } else { bench.put(Input::Lost) };
        assert_eq!(gone(&outputs), Some(&Cause::Dismissed { cause }));
        assert_eq!(bench.peer.is_unwelcome(), !comes_back);
        if comes_back {
            assert_eq!(bench.next(), [Output::Connect]);
            continue;
        }
        assert_eq!(bench.peer.deadline(), None, "cause {cause}: not unasked");
        assert!(bench.put(Input::Wanted).is_empty());
        let wait = bench.peer.deadline().expect("asked").since(bench.now);
        assert_eq!(wait, UNWELCOME);
        assert_eq!(bench.next(), [Output::Connect]);
    }
    let mut bench = Bench::open();
    bench.message(&dpr(0));
    let outputs = bench.put(Input::Lost);
    assert_eq!(outputs[1], Output::FailOver, "a server that closes at once");
}

#[test]
fn our_goodbye_waits_for_its_answer() {
    for answered in [true, false] {
        let mut bench = Bench::open();
        let outputs = bench.put(Input::Leave);
        let asked = sent(&outputs);
        assert_eq!((asked.command, asked.flags), (command::DISCONNECT_PEER, flag::REQUEST));
        assert_eq!(bench.peer.state(), State::Closing);
        let begin = bench.now;
        let outputs = if answered { bench.message(&answer_to(&asked)) } else { bench.next() };
        assert_eq!(gone(&outputs), Some(&Cause::Left));
        assert_eq!(bench.now.since(begin).as_secs(), if answered { 0 } else { 5 });
        assert_eq!(bench.peer.deadline(), None, "no way back");
    }
    for bench in [Bench::new(Security::Plain), Bench::waiting(Security::Plain)] {
        let mut bench = bench;
        bench.put(Input::Leave);
        assert_eq!((bench.peer.state(), bench.peer.deadline()), (State::Closed, None));
    }
}

#[test]
fn garbage_resets_and_a_broken_connection_fails_over() {
    for (name, input, cause, reset) in [
        ("no Diameter", Input::Garbage, Cause::Garbage, true),
        ("a broken answer", Input::Broken, Cause::BrokenMessage, false),
        ("the end", Input::Lost, Cause::Lost, false),
    ] {
        let mut bench = Bench::open();
        let outputs = bench.put(input);
        assert_eq!(outputs, [Output::Close { reset }, Output::FailOver, Output::Gone(cause)], "{name}");
    }
}

#[test]
fn stray_messages_change_nothing() {
    let mut bench = Bench::open();
    let stray = Header { command: command::DEVICE_WATCHDOG, hop_by_hop: 1, ..Header::default() };
    assert_eq!(bench.message(&build(&stray, |_| {})), [Output::Ignored], "an answer to no watchdog of ours");
    let stray = Header { command: command::CAPABILITIES_EXCHANGE, ..Header::default() };
    assert_eq!(bench.message(&build(&stray, |_| {})), [Output::Ignored]);
    assert_eq!(bench.put(Input::Connected { local: LOCAL }), [Output::Ignored]);
    assert_eq!(bench.peer.state(), State::Open);
    let mut bench = Bench::new(Security::Plain);
    for input in [Input::Lost, Input::Garbage, Input::Answered, Input::Broken, Input::Wanted] {
        assert!(bench.put(input).is_empty());
    }
    assert_eq!(bench.peer.state(), State::Closed);
}
