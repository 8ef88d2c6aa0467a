//! What a handler works on: the request, what was set for it so far, and what the handler decides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::counting::COUNTED;
use super::trace::Outcome;
use crate::clock::Now;
use crate::ids::SinkMask;
use crate::policy::{Manual, Marks, Targets, Values};
use crate::record::{Fields, Value};
use crate::sip::message::Message;
use crate::sip::stack::{Edits, RequestView};
use crate::vars::Avps;

/// The handlers a function may be called from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Places(u8);

impl Places {
    pub(super) const LOAD: Self = Self(1);
    pub(super) const REQUEST: Self = Self(2);
    pub(super) const BRANCH: Self = Self(4);
    pub(super) const REPLY: Self = Self(8);
    pub(super) const FAILURE: Self = Self(16);
    pub(super) const LOCAL: Self = Self(32);
    pub(super) const END: Self = Self(64);
    /// Wherever there is a request.
    pub(super) const ANY: Self = Self(2 | 4 | 8 | 16 | 32);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::LOAD, "the file itself"),
        (Self::REQUEST, "request_route"),
        (Self::BRANCH, "branch_route"),
        (Self::REPLY, "reply_route"),
        (Self::FAILURE, "failure_route"),
        (Self::LOCAL, "local_route"),
        (Self::END, "event_route"),
    ];

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, place: Self) -> bool {
        self.0 & place.0 != 0
    }

    /// Their names, as a script has them.
    pub(super) fn names(self) -> String {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(place, _)| self.has(*place)).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

/// What a script has set for one request, as long as that is in progress.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) marks: Marks,
    /// Bits of the flags that are set.
    pub(super) flags: u64,
    pub(super) avps: Avps,
    pub(super) fields: Fields,
    pub(super) legs: Vec<Fields>,
    /// What values, fields and legs take, in octets: they are no part of the memory of the machine.
    pub(super) held: usize,
    pub(super) table: Option<Box<str>>,
    pub(super) on_branch: Option<Box<str>>,
    pub(super) on_reply: Option<Box<str>>,
    pub(super) on_failure: Option<Box<str>>,
    /// The Request-URI that is to leave, where that is not the one received.
    pub(super) uri: Option<Bytes>,
    pub(super) edits: Edits,
    /// What its targets are to each other.
    pub(super) targets: Targets,
    /// Keys that the request counts for, and whether it still holds the count, or its call does.
    pub(super) counted: Vec<Vec<u8>>,
    pub(super) is_holding: bool,
}

impl State {
    /// What the records are made with; `None` when nothing was set.
    pub(super) fn values(&self) -> Option<Values> {
        let Self { avps, fields, legs, table, counted, .. } = self;
        values((avps.clone(), fields.clone(), legs.clone(), table.clone(), counted.clone()))
    }

    /// The same of one that nobody needs any more.
    pub(super) fn into_values(self) -> Option<Values> {
        values((self.avps, self.fields, self.legs, self.table, self.counted))
    }
}

type Parts = (Avps, Fields, Vec<Fields>, Option<Box<str>>, Vec<Vec<u8>>);

fn values((avps, mut fields, legs, table, counted): Parts) -> Option<Values> {
    if !counted.is_empty() {
        fields.push((COUNTED.to_owned(), Value::List(counted)));
    }
    let is_empty = avps.is_empty() && fields.is_empty() && legs.is_empty() && table.is_none();
    (!is_empty).then_some(Values { avps, fields, legs, table })
}

/// How a request goes on, as a handler has decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// To these targets: groups of parallel ones; none: to where it is meant for.
    Relay { groups: Vec<Vec<Bytes>>, terms: Terms },
    /// It is responded to here.
    Reply { code: u16, reason: Vec<u8>, contacts: Vec<Bytes> },
    /// Nothing becomes of it.
    Drop,
}

impl Choice {
    /// What becomes of a request whose handler has failed, where nobody else decides.
    pub(super) const fn failed() -> Self {
        Self::Reply { code: 500, reason: Vec::new(), contacts: Vec::new() }
    }

    /// What comes of it, in a trace.
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::Relay { .. } => Outcome::Relay,
            Self::Reply { code, .. } => Outcome::Reply(*code),
            Self::Drop => Outcome::Drop,
        }
    }
}

/// How targets are tried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) ring_timeout_s: Option<u64>,
    pub(super) next_on: Option<Vec<String>>,
    pub(super) follows_redirects: bool,
    pub(super) targets: Option<Targets>,
}

/// A response as a handler sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) reason: Vec<u8>,
    /// `None`: the gateway has made it.
    pub(super) message: Option<Message>,
}

/// A call that has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    pub(super) texts: BTreeMap<&'static str, Value>,
    pub(super) fields: Fields,
}

/// One run of one handler.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) place: Places,
    pub(super) now: Now,
    pub(super) view: Option<RequestView>,
    pub(super) reply: Option<Reply>,
    pub(super) ended: Option<Ended>,
    pub(super) state: Box<State>,
    /// Whether something that records depend on was set by this handler.
    pub(super) is_changed: bool,
    pub(super) choice: Option<Choice>,
    /// Targets of `append_branch`.
    pub(super) branches: Vec<Bytes>,
    pub(super) records: Vec<Manual>,
    /// Whether the branch that the handler is about is not to be tried.
    pub(super) is_dropped: bool,
    /// How long the handler has taken.
    pub(super) span: Duration,
}

impl Turn {
    /// Nothing runs: what is called then is called by the file itself.
    pub(super) fn idle(now: Now) -> Self {
        Self::new(Places::LOAD, now, Box::default())
    }

    /// A run that has decided nothing yet.
    pub(super) fn new(place: Places, now: Now, state: Box<State>) -> Self {
        Self {
            place,
            now,
            view: None,
            reply: None,
            ended: None,
            state,
            is_changed: false,
            choice: None,
            branches: Vec::new(),
            records: Vec::new(),
            is_dropped: false,
            span: Duration::ZERO,
        }
    }

    /// The Request-URI as it is to leave.
    pub(super) fn uri(&self) -> &[u8] {
        let received = self.view.as_ref().map_or(&b""[..], RequestView::request_uri);
        self.state.uri.as_deref().unwrap_or(received)
    }
}

/// What a flag marks when it is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagMeaning {
    /// Accounts the request: the sinks that record what happens.
    Accounting(SinkMask),
    /// Records failed attempts.
    Missed(SinkMask),
    /// Records final responses of 300 and more, of all sinks that account.
    Failed,
}

/// Bits of the flags that a script sets, by number or name.
pub(super) const FLAGS_MAX: usize = 64;
