//! Decides where a request goes and what is recorded of it.
//!
//! A [`Policy`] is asked by the shard it belongs to; a [`Recipe`] is what all shards build theirs from. The `[[route]]`
//! tables of the configuration, [`Routes`], are one; `src/shard/tests/policy.rs` shows one that uses every hook.

pub mod pattern;
pub mod routes;
#[cfg(test)]
mod routes_tests;
pub mod script;
pub mod target;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Now;
use crate::ids::{SinkMask, SinkNumber};
use crate::record::{Fields, Record};
use crate::sip::message::Message;
use crate::sip::stack::{NextOn, Onward, RequestView, Round, ServerId, Treatment};
use crate::vars::{Avps, Template};

pub use routes::{Route, Routes};

/// Decides about requests. Each shard has one of its own, used by its thread alone: it may keep state, and must not block.
///
/// A reload replaces it between two events, so that it may be asked about a request it has not seen come.
pub trait Policy {
    /// A request came in: asked once for each, however often it is sent.
    fn request(&mut self, asked: Asked<'_>) -> Decision;

    /// All its branches of one round have failed, and the records of that are made: how it goes on.
    fn round_failed(&mut self, _asked: Asked<'_>, _round: &Round) -> Next {
        Next::default()
    }

    /// A response of the other side passes: one of 101 to 199 that has been forwarded, or a final one before it is recorded.
    fn reply(&mut self, _asked: Asked<'_>, _response: &Message) -> Remarks {
        Remarks::default()
    }

    /// The gateway itself makes a final response, before that is recorded, or has sent a request of its own to an end of a
    /// call. No record is made of its requests by marks.
    fn local(&mut self, _asked: Asked<'_>, _made: Local<'_>) -> Remarks {
        Remarks::default()
    }

    /// A call was in progress when the service started.
    fn call_restored(&mut self, _fields: &Fields) {}

    /// A call is recorded from here on: its Start is made.
    fn call_started(&mut self, _start: &Record) {}

    /// A call that is recorded has ended: its Stop is made.
    fn call_ended(&mut self, _now: Now, _stop: &Record) {}

    /// Nothing more comes of a request: what is kept of it may go.
    fn ended(&mut self, _transaction: ServerId) {}

    /// Nobody waits for anything: what has been put off may be done.
    fn rest(&mut self) {}
}

/// What the shards build their policies from.
pub trait Recipe: fmt::Debug + Send + Sync {
    /// A policy for one shard, on its thread.
    fn build(self: Arc<Self>) -> Box<dyn Policy>;
}

/// What a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// When the event came that it is asked about.
    pub now: Now,
    /// Name of the request until nothing more comes of it; never used twice.
    pub transaction: ServerId,
    /// The request as it came, with where it came from and the dialog it belongs to.
    pub view: &'a RequestView,
}

/// What was decided about a request.
#[derive(Debug)]
pub struct Decision {
    /// Whether it is forwarded, and to which targets, or responded to here.
    pub treatment: Treatment,
    /// What is recorded of it.
    pub marks: Marks,
    /// How it is recorded. `None` inside a dialog and where the policy does not know the request: by the settings alone, and
    /// the latter is counted as without a route.
    pub account: Option<Arc<Account>>,
    /// What it has set for the records of the request, if anything.
    pub values: Option<Rc<Values>>,
    /// Records that are made now.
    pub records: Vec<Manual>,
}

/// How a request goes on after a round of its branches has failed.
#[derive(Debug, Default)]
pub struct Next {
    /// To the targets that are left, to none, or to others in their place.
    pub onward: Onward,
    /// What changes for the records of the request from this round on.
    pub remarks: Remarks,
}

/// What a policy wants recorded beside.
#[derive(Debug, Default)]
pub struct Remarks {
    /// What is recorded of the request from here on; `None`: what was. Whatever is said, requests of a known call are
    /// recorded as its INVITE was marked.
    pub marks: Option<Marks>,
    /// What it has set for the records of the request, in place of what it had set before; `None`: nothing new.
    pub values: Option<Rc<Values>>,
    /// Records that are made now.
    pub records: Vec<Manual>,
}

impl Remarks {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.marks.is_none() && self.values.is_none() && self.records.is_empty()
    }
}

/// What a policy has set for the records of one request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Values {
    /// Values for `$avp(name)`, in place of those of the route.
    pub avps: Avps,
    /// Fields of its own, above all others of the same name; later records of a call keep them.
    pub fields: Fields,
    /// Legs in the order of their creation, each with its own fields above those of the settings. As soon as there is one,
    /// or a value that [`crate::accounting::Settings::leg_fields`] read from `$avp(name)`, the records have these legs and
    /// none that the targets make.
    pub legs: Vec<Fields>,
    /// Table that takes the records instead of the SQL sink's own.
    pub table: Option<Box<str>>,
}

/// A record by hand, as `acc_log_request`, `acc_rad_request` and their brothers write it: an Event of the request, whatever
/// is marked.
#[derive(Clone, Debug, Default)]
pub struct Manual {
    /// The sinks that get it, whatever their mode.
    pub sinks: SinkMask,
    /// The status code it states; 0: none.
    pub code: u16,
    /// The reason phrase it states.
    pub reason: Vec<u8>,
    /// Fields of its own, above those that every record of the request has.
    pub fields: Fields,
    /// Table that takes it instead of that of the request.
    pub table: Option<String>,
}

/// What the gateway itself has made.
#[derive(Clone, Copy, Debug)]
pub enum Local<'a> {
    /// A request of its own: OPTIONS or BYE to an end of a call.
    Request,
    /// A final response to it.
    Response {
        /// Its status code, 200 to 699.
        code: u16,
        /// Its reason phrase as it will be sent.
        reason: &'a [u8],
    },
}

/// How a request is recorded: what a route says of all records of it.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Name of the route.
    pub name: String,
    /// What the targets are to each other.
    pub targets: Targets,
    /// Fields of its own; `None`: those of the settings.
    pub fields: Option<RouteFields>,
    /// Values for `$avp(name)`: evaluated on the request when it comes.
    pub avps: Vec<Avp>,
    /// Whether those who forwarded a call before it came here are legs of it; `None`: as the settings say.
    pub forwarding_legs: Option<bool>,
    /// Table that takes its records instead of the SQL sink's own.
    pub table: Option<Box<str>>,
}

/// What several targets of a route are to each other, and so what a failed one means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Targets {
    /// Ways to one callee: trunks, gateways, devices of one user. The caller calls each of them, and only what became of
    /// the whole is an answered or a missed call.
    #[default]
    Alternatives,
    /// One callee after the other: each target that fails has missed the call and sends it on to the next.
    Forward,
}

impl Targets {
    /// Which responses lead to the next target, unless the route or the target says: a busy callee is busy at every trunk,
    /// but forwards to whoever comes next.
    #[must_use]
    pub const fn next_on(self) -> NextOn {
        match self {
            Self::Alternatives => NextOn::FAILURES,
            Self::Forward => NextOn::REFUSALS,
        }
    }
}

/// Fields of a route's records, in place of those of the settings.
#[derive(Clone, Debug)]
pub struct RouteFields {
    /// Name and value: first the route's own, then those of `[accounting.fields]` that it does not replace.
    pub all: Arc<[(String, Template)]>,
    /// How many are the route's own. All records of a call have their values as they were at its start.
    pub own: u16,
}

impl RouteFields {
    /// `own` over `common`; `None` when the route has none of its own.
    #[must_use]
    pub fn new(own: Vec<(String, Template)>, common: &[(String, Template)]) -> Option<Self> {
        let count = u16::try_from(own.len()).ok().filter(|count| *count > 0)?;
        let is_new = |(name, _): &&(String, Template)| !own.iter().any(|(other, _)| other == name);
        let common: Vec<_> = common.iter().filter(is_new).cloned().collect();
        Some(Self { all: own.into_iter().chain(common).collect(), own: count })
    }
}

/// What a route gives to `$avp(name)`.
#[derive(Clone, Debug)]
pub struct Avp {
    /// What `$avp(name)` calls it.
    pub name: String,
    /// Its values, from the request. Of several each is that of one leg, the last one of the leg to the targets; `None`
    /// leaves a leg its own.
    pub values: Vec<Option<Template>>,
}

/// Which sinks get records of a request, and of what kind; for each sink on its own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Marks {
    /// Sinks that get the accounted transaction: a 2xx, and what follows from it (Start, Interim, Stop, Cdr, Event).
    pub accounting: SinkMask,
    /// Sinks that get a Missed record for each forking round of an INVITE that failed. Needs no `accounting` mark.
    pub missed: SinkMask,
    /// Sinks that also get final responses of 300 and more to what they account: works together with `accounting`.
    pub failed: SinkMask,
}

impl Marks {
    /// No sink gets anything.
    pub const NONE: Self = Self { accounting: SinkMask::NONE, missed: SinkMask::NONE, failed: SinkMask::NONE };

    /// Whether no sink gets anything.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.accounting.is_empty() && self.missed.is_empty()
    }

    /// The same with `numbers[n]` for the sink numbered `n`; sinks beyond the list are dropped.
    #[must_use]
    pub fn renumbered(self, numbers: &[SinkNumber]) -> Self {
        let mask = |mask: SinkMask| {
            let numbers = mask.iter().filter_map(|sink| numbers.get(usize::from(sink.0)));
            numbers.fold(SinkMask::NONE, |mask, number| mask.with(*number))
        };
        Self { accounting: mask(self.accounting), missed: mask(self.missed), failed: mask(self.failed) }
    }

    /// The same with the second of each pair for the sink numbered by the first; sinks without one are dropped.
    #[must_use]
    pub fn translated(self, numbers: &[(SinkNumber, SinkNumber)]) -> Self {
        let mask = |mask: SinkMask| {
            let own = numbers.iter().filter(|(theirs, _)| mask.has(*theirs)).map(|(_, own)| *own);
            own.fold(SinkMask::NONE, SinkMask::with)
        };
        Self { accounting: mask(self.accounting), missed: mask(self.missed), failed: mask(self.failed) }
    }

    /// What is marked in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            accounting: self.accounting.or(other.accounting),
            missed: self.missed.or(other.missed),
            failed: self.failed.or(other.failed),
        }
    }
}
