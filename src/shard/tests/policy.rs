//! A policy that is no table of routes: it is asked when a round has failed, marks requests late, asks for records by hand
//! and keeps something of each request, through SIP machine, accounting and the disk.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bench::{ACCOUNTED, Bench, Setup, rules};
use crate::accounting;
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::target::{Destination, Terms};
use crate::policy::{Account, Asked, Decision, Local, Manual, Marks, Next, Policy, Recipe, Remarks, Targets};
use crate::record::Value;
use crate::sip::message::Message;
use crate::sip::stack::tests::script::address;
use crate::sip::stack::tests::storm::Rng;
use crate::sip::stack::{NextOn, Onward, Plan, Redirects, Round, ServerId, Treatment};

/// Another sink than that of the first marks.
const OTHER: SinkMask = SinkMask::NONE.with(SinkNumber(1));

/// What every mark says, of these sinks.
const fn all(sinks: SinkMask) -> Marks {
    Marks { accounting: sinks, missed: sinks, failed: sinks }
}

/// What is told, for the test to look at: each policy writes its lines here.
#[derive(Clone, Debug, Default)]
struct Script {
    log: Arc<Mutex<Vec<String>>>,
}

/// Every call goes to bob, whoever is called; what becomes of it then is by the called user:
/// `next` is sent on to carol after one failure, with all marks of another sink, and no further after two, which makes a
/// record by hand; `stay` goes no further than bob, who may redirect, `late` is marked only when bob has failed, and
/// `ringing` when he rings; `free` is answered at once, without any mark, with a record by hand; `noted` has one of what passes.
struct Scripted {
    log: Arc<Mutex<Vec<String>>>,
    /// Requests without an end.
    open: BTreeSet<ServerId>,
    failures: usize,
}

impl Recipe for Script {
    fn build(self: Arc<Self>) -> Box<dyn Policy> {
        Box::new(Scripted { log: Arc::clone(&self.log), open: BTreeSet::new(), failures: 0 })
    }
}

fn user(asked: Asked<'_>) -> String {
    let uri = String::from_utf8_lossy(asked.view.request_uri()).into_owned();
    uri.trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned()
}

fn plan(who: &str) -> Plan {
    let target = Destination::parse(&format!("sip:{who}@{}", address(who))).expect("a target");
    let terms = Terms { ring_timeout: None, next_on: NextOn::FAILURES };
    let redirects = Redirects::Follow { ring_timeout: None };
    Plan { groups: vec![vec![target.target(b"", terms)]], redirects }
}

fn by_hand(code: u16, reason: &str) -> Manual {
    let fields = vec![("why".to_owned(), Value::Text(reason.as_bytes().to_vec()))];
    Manual { sinks: ACCOUNTED.or(OTHER), code, reason: reason.as_bytes().to_vec(), fields, table: None }
}

impl Scripted {
    fn log(&self, line: String) {
        self.log.lock().expect("nobody panics").push(line);
    }
}

impl Policy for Scripted {
    fn request(&mut self, asked: Asked<'_>) -> Decision {
        self.log(format!("request {}", asked.view.message.method_text().escape_ascii()));
        self.open.insert(asked.transaction);
        let account = Some(Arc::new(Account { targets: Targets::Forward, ..Account::default() }));
        let to = |treatment, marks| Decision {
            treatment,
            marks,
            account: account.clone(),
            values: None,
            records: Vec::new(),
        };
        match user(asked).as_str() {
            _ if asked.view.in_dialog => to(Treatment::FollowRoute { edits: None }, Marks::NONE),
            "late" | "ringing" => to(Treatment::Forward(plan("bob")), Marks::NONE),
            "free" => {
                let (code, reason, contacts) = (403, "Destination not allowed".into(), Vec::new());
                let response = Treatment::Respond { code, reason, retry_after_s: None, contacts };
                Decision { records: vec![by_hand(403, "Destination not allowed")], ..to(response, Marks::NONE) }
            }
            _ => to(Treatment::Forward(plan("bob")), all(ACCOUNTED)),
        }
    }

    fn round_failed(&mut self, asked: Asked<'_>, round: &Round) -> Next {
        self.log(format!("round {}", round.attempts[round.best].code));
        self.failures += 1;
        let marked = |marks| Remarks { marks: Some(marks), ..Remarks::default() };
        match (user(asked).as_str(), self.failures) {
            ("next", 1) => Next { onward: Onward::To(plan("carol")), remarks: marked(all(OTHER)) },
            ("late", 1) => Next { onward: Onward::To(plan("carol")), remarks: marked(all(ACCOUNTED)) },
            ("next", _) => {
                let records = vec![by_hand(480, "Nobody is left")];
                Next { onward: Onward::Nowhere, remarks: Remarks { records, ..Remarks::default() } }
            }
            ("stay", _) => Next { onward: Onward::Nowhere, ..Next::default() },
            _ => Next::default(),
        }
    }

    fn reply(&mut self, asked: Asked<'_>, response: &Message) -> Remarks {
        self.log(format!("reply {}", response.code()));
        match (user(asked).as_str(), response.code()) {
            ("ringing", 180) => Remarks { marks: Some(all(OTHER)), ..Remarks::default() },
            ("noted", code) => Remarks { records: vec![by_hand(code, "It passed")], ..Remarks::default() },
            _ => Remarks::default(),
        }
    }

    fn local(&mut self, asked: Asked<'_>, made: Local<'_>) -> Remarks {
        self.log(match made {
            Local::Request => format!("local {}", asked.view.message.method_text().escape_ascii()),
            Local::Response { code, reason } => format!("local {code} {}", reason.escape_ascii()),
        });
        match made {
            Local::Request => {
                Remarks { marks: Some(all(ACCOUNTED)), records: vec![by_hand(0, "We hang up")], values: None }
            }
            Local::Response { .. } => Remarks::default(),
        }
    }

    fn ended(&mut self, transaction: ServerId) {
        if self.open.remove(&transaction) && self.open.is_empty() {
            self.log("all ended".to_owned());
        }
    }
}

/// The usual routes with whims: a call to `bob` may be sent on to carol and others no further than they are, marks are given
/// anew, and records by hand asked for.
#[derive(Debug, Default)]
pub struct Whims {
    /// How often one of them said something.
    pub said: Arc<AtomicU64>,
}

struct Whimsical {
    routes: Box<dyn Policy>,
    rng: Rng,
    said: Arc<AtomicU64>,
    /// Requests that were sent on.
    sent_on: BTreeSet<ServerId>,
}

impl Recipe for Whims {
    fn build(self: Arc<Self>) -> Box<dyn Policy> {
        let (said, seed) = (Arc::clone(&self.said), self.said.load(Ordering::Relaxed));
        Box::new(Whimsical { routes: rules("usual").build(), rng: Rng(seed), said, sent_on: BTreeSet::new() })
    }
}

impl Whimsical {
    fn remarks(&mut self) -> Remarks {
        if !self.rng.chance(20) {
            return Remarks::default();
        }
        self.said.fetch_add(1, Ordering::Relaxed);
        let records = if self.rng.chance(50) { vec![by_hand(0, "A whim")] } else { Vec::new() };
        Remarks { records, ..Remarks::default() }
    }
}

impl Policy for Whimsical {
    fn request(&mut self, asked: Asked<'_>) -> Decision {
        Decision { records: self.remarks().records, ..self.routes.request(asked) }
    }

    fn round_failed(&mut self, asked: Asked<'_>, _round: &Round) -> Next {
        let remarks = self.remarks();
        let onward = match user(asked).as_str() {
            "bob" if self.rng.chance(50) && self.sent_on.insert(asked.transaction) => Onward::To(plan("carol")),
            "hunt" | "fork" if self.rng.chance(30) => Onward::Nowhere,
            _ => Onward::AsPlanned,
        };
        Next { onward, remarks: Remarks { marks: Some(all(ACCOUNTED)).filter(|_| user(asked) != "free"), ..remarks } }
    }

    fn reply(&mut self, _asked: Asked<'_>, _response: &Message) -> Remarks {
        self.remarks()
    }

    fn local(&mut self, _asked: Asked<'_>, _made: Local<'_>) -> Remarks {
        self.remarks()
    }

    fn ended(&mut self, transaction: ServerId) {
        self.sent_on.remove(&transaction);
    }
}

/// Plays a flow; what the policy was told.
fn play(name: &str, flow: &str) -> String {
    let script = Script::default();
    let log = Arc::clone(&script.log);
    Bench::new(name, Setup { recipe: Some(Arc::new(script)), ..Setup::new() }).run(flow);
    let log = log.lock().expect("nobody panics");
    log.join(", ")
}

#[test]
fn a_failed_round_asks_for_other_targets_and_marks() {
    for (name, flow, told) in [
        (
            "the next target answers, and its call is that of another sink",
            "alice sends INVITE to next
             bob gets INVITE
             bob sends 503
             bob gets ACK
             recorded missed 503 bob callee unreachable
             carol gets INVITE
             alice gets nothing
             carol sends 200
             recorded start 200 carol [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1
             disk writes
             alice gets 200
             alice sends ACK
             carol gets ACK
             after 3 s
             alice sends BYE
             carol gets BYE
             carol sends 200
             recorded stop 200 carol caller bye 3s [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1
             disk writes
             alice gets 200",
            "request INVITE, round 503, reply 200, request BYE, reply 200, all ended",
        ),
        (
            "the next target fails too: it ends there",
            "alice sends INVITE to next
             bob gets INVITE
             bob sends 503
             bob gets ACK
             recorded missed 503 bob callee unreachable
             disk writes
             carol gets INVITE
             carol sends 503
             carol gets ACK
             recorded missed 503 carol callee unreachable [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1; event 480 [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 0 1; failed 500 own callee unreachable [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1
             alice gets nothing
             disk writes
             alice gets 500
             alice sends ACK hop",
            "request INVITE, round 503, round 503, local 500 Server Internal Error, all ended",
        ),
        (
            "after an answer that leads to no other target of the plan",
            "alice sends INVITE to next
             bob gets INVITE
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy
             carol gets INVITE
             carol sends 486
             carol gets ACK
             recorded missed 486 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1; event 480 [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 0 1; failed 486 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1
             disk writes
             alice gets 486
             alice sends ACK hop",
            "request INVITE, round 486, round 486, reply 486, all ended",
        ),
        (
            "a policy that came by a reload knows nothing of the call: it ends as planned",
            "alice sends INVITE to next
             bob gets INVITE
             rules usual
             bob sends 503
             bob gets ACK
             carol gets nothing
             recorded missed 503 bob callee unreachable; failed 500 own callee unreachable
             disk writes
             alice gets 500
             alice sends ACK hop",
            "request INVITE",
        ),
        (
            "but not after a 6xx, which ends the call at all targets",
            "alice sends INVITE to next
             bob gets INVITE
             bob sends 603
             bob gets ACK
             carol gets nothing
             recorded missed 603 bob callee refused; failed 603 bob callee refused for 1
             disk writes
             alice gets 603
             alice sends ACK hop",
            "request INVITE, round 603, reply 603, all ended",
        ),
        (
            "nor after a CANCEL",
            "alice sends INVITE to next
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             bob sends 200
             bob sends 487 to INVITE
             bob gets ACK
             carol gets nothing
             recorded missed 487 bob caller cancelled; failed 487 bob caller cancelled for 1
             disk writes
             alice gets 487
             alice sends ACK hop",
            "request INVITE, reply 180, round 487, reply 487, all ended",
        ),
    ] {
        assert_eq!(play(name, flow), told, "{name}");
    }
}

#[test]
fn a_redirection_that_the_policy_does_not_follow_is_the_answer() {
    let script = Script::default();
    let log = Arc::clone(&script.log);
    let mut bench = Bench::new("moved", Setup { recipe: Some(Arc::new(script)), ..Setup::new() });
    bench.play("alice sends INVITE to stay\n bob gets INVITE");
    bench.play_with_contact("bob sends 302", "<sip:carol@192.0.2.30:5060>");
    bench.run(
        "bob gets ACK
         carol gets nothing
         recorded missed 302 bob callee redirected; failed 302 bob callee redirected
         disk writes
         alice gets 302
         alice sends ACK hop",
    );
    assert_eq!(log.lock().expect("nobody panics").join(", "), "request INVITE, round 302, reply 302, all ended");
}

#[test]
fn marks_may_come_late() {
    for (name, flow, told) in [
        (
            "when a target has failed",
            "alice sends INVITE to late
             bob gets INVITE
             bob sends 486
             bob gets ACK
             recorded nothing
             carol gets INVITE
             carol sends 200
             recorded start 200 carol
             disk writes
             alice gets 200
             alice sends ACK
             carol gets ACK
             carol sends BYE
             alice gets BYE
             alice sends 200
             recorded stop 200 carol callee bye 0s
             disk writes
             carol gets 200",
            "request INVITE, round 486, reply 200, request BYE, reply 200, all ended",
        ),
        (
            "when it rings",
            "alice sends INVITE to ringing
             bob gets INVITE
             bob sends 180
             alice gets 180
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy for 1; failed 486 bob callee busy for 1
             disk writes
             alice gets 486
             alice sends ACK hop",
            "request INVITE, reply 180, round 486, reply 486, all ended",
        ),
    ] {
        assert_eq!(play(name, flow), told, "{name}");
    }
}

#[test]
fn a_record_by_hand_is_on_disk_before_the_response_leaves() {
    for (name, flow, told) in [
        (
            "of a call that the policy refuses; it comes once however often the INVITE does",
            "alice sends INVITE to free
             recorded event 403 for 0 1
             alice repeats INVITE
             recorded nothing
             alice gets nothing
             disk writes
             alice gets 403 containing SIP/2.0 403 Destination not allowed
             alice repeats INVITE
             alice gets 403
             alice sends ACK hop",
            "request INVITE, local 403 Destination not allowed, all ended",
        ),
        (
            "of responses that pass",
            "alice sends INVITE to noted
             bob gets INVITE
             bob sends 180
             alice gets 180
             recorded event 180 for 0 1
             bob repeats 180
             alice gets 180
             recorded event 180 for 0 1
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy; event 486 for 0 1; failed 486 bob callee busy
             alice gets nothing
             disk writes
             alice gets 486
             alice sends ACK hop",
            "request INVITE, reply 180, reply 180, round 486, reply 486, all ended",
        ),
    ] {
        assert_eq!(play(name, flow), told, "{name}");
    }
}

#[test]
fn requests_of_the_gateway_itself_are_shown() {
    let script = Script::default();
    let log = Arc::clone(&script.log);
    let engine = accounting::Settings {
        lifetime_max: Some(Duration::from_secs(60)),
        hang_up: vec![crate::record::Cause::Lifetime],
        ..Setup::new().engine
    };
    Bench::new("a BYE to both ends", Setup { engine, recipe: Some(Arc::new(script)), ..Setup::new() }).run(
        "alice sends INVITE to bob
         bob gets INVITE
         bob sends 200
         recorded start 200 bob
         disk writes
         alice gets 200
         alice sends ACK
         bob gets ACK
         after 60 s
         alice gets BYE
         alice sends 200
         bob gets BYE
         bob sends 200
         recorded stop 0 bob gateway lifetime 60s; event 0 alice1 for 0 1; event 0 bob for 0 1",
    );
    let log = log.lock().expect("nobody panics");
    assert_eq!(log.join(", "), "request INVITE, reply 200, all ended, local BYE, local BYE");
}

#[test]
fn each_shard_builds_a_policy_of_its_own() {
    let script = Arc::new(Script::default());
    let recipe: Arc<dyn Recipe> = script.clone();
    let setup = Setup { recipe: Some(recipe), ..Setup::new() };
    let failing = "
        alice sends INVITE to next
        bob gets INVITE
        bob sends 503
        bob gets ACK
        recorded missed 503 bob callee unreachable
        carol gets INVITE
        carol sends 404
        carol gets ACK
        recorded missed 404 carol callee refused [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1; event 480 [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 0 1; failed 404 carol callee refused [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060] for 1
        disk writes
        alice gets 404
        alice sends ACK hop";
    // With a state that both share the second one would have no first failure.
    Bench::new("one", setup.clone()).run(failing);
    Bench::new("other", setup).run(failing);
}
