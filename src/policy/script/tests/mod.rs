//! Scripts, with requests made by hand.

mod alike;
mod escapes;
mod examples;
mod garbage;
mod limits;
mod marks;
mod named;
mod places;
mod routing;
mod trace;

mod values;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::Timestamp;
use crate::ids::SinkMask;
use crate::policy::{Asked, Decision, Local, Marks, Next, Route, Targets};
use crate::record::{self, Record};
use crate::sip::message::Message;
use crate::sip::stack::{
    Edits, FinalResponse, ListenerId, Onward, Peer, Plan, RequestView, Round, ServerId, Stages, Target, Transport,
    Treatment,
};

/// What a script has told.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pub(super) lines: Mutex<Vec<String>>,
    pub(super) failures: Mutex<Vec<String>>,
    pub(super) runs: AtomicU64,
}

impl Witness for Ear {
    fn said(&self, severity: Severity, text: &str, _call_id: Option<&[u8]>) {
        self.lines.lock().expect("nobody panics").push(format!("{severity:?} {text}"));
    }

    fn ran(&self, _handler: &'static str, _span: Duration) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, handler: &'static str, text: &str, is_limit: bool) {
        let limit = if is_limit { " (limit)" } else { "" };
        self.failures.lock().expect("nobody panics").push(format!("{handler}: {text}{limit}"));
    }
}

/// Sinks 0 to 4: syslog, SQL, SQL for CDRs, RADIUS, events.
pub(super) fn sinks() -> Vec<NamedSink> {
    let named = |name: &str, words, is_cdr| NamedSink { name: name.to_owned(), words, is_cdr };
    vec![
        named("lines", &["log"], false),
        named("rows", &["db"], false),
        named("cdrs", &["db"], true),
        named("billing", &["aaa", "rad"], false),
        named("bus", &["evi"], false),
    ]
}

pub(super) fn mask(numbers: &[u8]) -> SinkMask {
    numbers.iter().fold(SinkMask::NONE, |mask, number| mask.with(SinkNumber(*number)))
}

/// A clock that stands still: limits of time are tested with the real one.
fn still() -> Instant {
    now().mono
}

fn now() -> Now {
    Now { mono: Instant::default(), wall: Timestamp(1_700_000_000_000_000) }
}

pub(super) fn settings(text: &str) -> Settings {
    let local = "192.0.2.1:5060".parse().expect("an address");
    let flag = |name: &str, does, word| Flag { name: name.to_owned(), does, word };
    Settings {
        name: "route.lua".to_owned(),
        text: text.into(),
        folder: Default::default(),
        limits: Limits::default(),
        on_error: OnError::Routes,
        sinks: sinks(),
        flags: vec![
            flag("1", FlagDoes::Account, "log"),
            flag("2", FlagDoes::Missed, "log"),
            flag("3", FlagDoes::Failed, "log"),
            flag("ACC_DB", FlagDoes::Account, "db"),
            flag("5", FlagDoes::Cdr, "db"),
        ],
        listeners: vec![
            ("udp:192.0.2.1:5060".to_owned(), Listener { transport: Transport::Udp, local }),
            ("udp:192.0.2.1:5070".to_owned(), Listener { transport: Transport::Udp, local }),
        ],
        names: vec!["gw.example.com".to_owned()],
        tables: HashMap::from([(
            "rates".to_owned(),
            Arc::new(KeyTable::parse(b"43 0.05\n431 0.02\n").expect("a table")),
        )]),
        trace_turns: super::trace::TURNS_USUAL,
    }
}

/// A policy of a script, and what it tells.
pub(super) struct Stage {
    pub(super) policy: Box<dyn Policy>,
    pub(super) ear: Arc<Ear>,
    pub(super) traces: Arc<Traces>,
}

pub(super) fn load(settings: &Settings) -> Result<Stage, BadScript> {
    load_by(settings, still)
}

/// The same with a clock of its own.
pub(super) fn load_by(settings: &Settings, clock: fn() -> Instant) -> Result<Stage, BadScript> {
    load_with(settings, Vec::new(), clock)
}

/// The same with routes beside it.
pub(super) fn load_with(settings: &Settings, routes: Vec<Route>, clock: fn() -> Instant) -> Result<Stage, BadScript> {
    let numbers: Vec<SinkNumber> = (0..settings.sinks.len() as u8).map(SinkNumber).collect();
    let routes = Arc::new(Routes::new(routes, Marks::NONE));
    let (ear, traces) = (Arc::new(Ear::default()), Arc::<Traces>::default());
    traces.serve(Some(settings.trace_turns));
    let outside = Outside { witness: Arc::<Ear>::clone(&ear), traces: Arc::clone(&traces), ..Outside::default() };
    let script = Script::new(settings, &numbers, routes, outside, clock, now())?;
    Ok(Stage { policy: Arc::new(script).build(), ear, traces })
}

pub(super) fn stage(text: &str) -> Stage {
    load(&settings(text)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK0\r\n\
    From: \"Alice\" <sip:alice@atlanta.example.com>;tag=a1\r\n\
    To: <sip:bob@example.com>\r\n\
    Call-ID: call-1\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\n\
    X-Customer: 42\r\nContent-Length: 0\r\n\r\n";

pub(super) fn view(text: &str) -> RequestView {
    let message = Message::parse(text.as_bytes().to_vec()).unwrap_or_else(|_| panic!("no message: {text}"));
    let peer = Peer { listener: ListenerId(0), addr: "192.0.2.10:5062".parse().expect("an address") };
    RequestView::of(Rc::new(message), peer, now())
}

impl Stage {
    /// What becomes of the INVITE.
    pub(super) fn invite(&mut self) -> Decision {
        self.request(&view(INVITE))
    }

    pub(super) fn request(&mut self, view: &RequestView) -> Decision {
        self.policy.request(asked(view))
    }

    /// A round of one branch has failed.
    pub(super) fn fails(&mut self, code: u16) -> Next {
        let view = view(INVITE);
        let attempt = FinalResponse {
            uri: Bytes::from_static(b"sip:bob@192.0.2.20"),
            hop: None,
            code,
            reason: Bytes::from_static(b"Because"),
            message: None,
            stages: Stages::default(),
        };
        let round = Round { attempts: vec![attempt], best: 0, more: false, redirected: false };
        self.policy.round_failed(asked(&view), &round)
    }

    pub(super) fn lines(&self) -> String {
        self.ear.lines.lock().expect("nobody panics").join("; ")
    }

    pub(super) fn failures(&self) -> String {
        self.ear.failures.lock().expect("nobody panics").join("; ")
    }
}

pub(super) fn asked(view: &RequestView) -> Asked<'_> {
    Asked { now: now(), transaction: ServerId(1), view }
}

/// The targets of a decision, groups by `|`, those of one by a blank.
pub(super) fn targets(treatment: &Treatment) -> String {
    match treatment {
        Treatment::Forward(plan) => shown(plan),
        Treatment::FollowRoute { .. } => "by its Route".to_owned(),
        Treatment::Respond { code, reason, .. } => format!("{code} {reason}"),
        Treatment::Ignore => "nothing".to_owned(),
    }
}

pub(super) fn shown(plan: &Plan) -> String {
    let target = |target: &Target| format!("{} at {:?}", String::from_utf8_lossy(&target.uri), target.hop);
    let group = |group: &Vec<Target>| group.iter().map(target).collect::<Vec<_>>().join(" & ");
    plan.groups.iter().map(group).collect::<Vec<_>>().join(" | ")
}
