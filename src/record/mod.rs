//! What a record is: one fact about a call or a transaction, as values, not renderings; each sink renders it.
//!
//! `codec` writes it in versioned bytes for the queue, `json` as JSON for people and collectors.

pub(crate) mod bytes;
pub mod codec;
mod commit;
pub(crate) mod core;
pub mod ending;
pub mod facts;
mod glance;
pub mod json;
mod value;

use std::time::Duration;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::ids::{RecordId, RecordIds};

pub use commit::{BODY_BYTES_MAX, CALL_KEY_BYTES_MAX, CallChange, Commit, Entry, NOTE_BYTES_MAX, NOTES_KEPT};
pub use facts::Facts;
pub use glance::{Glance, glance};
pub use value::{Fields, Value};

/// What kind of fact a record states.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A call was answered: first 2xx to an initial INVITE, one for each To tag.
    Start,
    /// A call goes on: 2xx to a re-INVITE, early media, or the interim timer.
    Interim,
    /// A call ended: by a BYE that its other end answered, or without one.
    Stop,
    /// What the caller of an INVITE got: a final answer of 300 or more.
    Failed,
    /// A forking round that ended without success: an attempt towards callees.
    Missed,
    /// Any other accounted transaction, an ACK, a CANCEL, or a manual entry.
    Event,
    /// A whole call in one record, written at its end.
    Cdr,
    /// Accounting begins anew, for calls in progress were lost: sessions before it are over.
    On,
    /// Accounting ends for good.
    Off,
}

impl Kind {
    /// All kinds, in the order of their numbers on disk.
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Interim,
        Self::Stop,
        Self::Failed,
        Self::Missed,
        Self::Event,
        Self::Cdr,
        Self::On,
        Self::Off,
    ];

    /// Name with a capital, as servers get it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Interim => "Interim",
            Self::Stop => "Stop",
            Self::Failed => "Failed",
            Self::Missed => "Missed",
            Self::Event => "Event",
            Self::Cdr => "Cdr",
            Self::On => "On",
            Self::Off => "Off",
        }
    }

    /// Lower-case name, as in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interim => "interim",
            Self::Stop => "stop",
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::Event => "event",
            Self::Cdr => "cdr",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Whether a field is one of ours, for sinks that know it by name: it travels in no list of all fields. The configuration
/// names no such field.
#[must_use]
pub fn is_internal(field: &str) -> bool {
    field.contains('.')
}

/// The order of the legs of a record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum LegOrder {
    /// As they were created.
    #[default]
    OldestFirst,
    /// The other way round, as the AVP stack of the proxies gives them.
    NewestFirst,
}

impl LegOrder {
    /// The place of the leg that comes in `step`, of `count`, both counted from 0.
    #[must_use]
    pub const fn place(self, step: usize, count: usize) -> usize {
        match self {
            Self::OldestFirst => step,
            Self::NewestFirst => count.saturating_sub(step + 1),
        }
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Party {
    /// The side that sent the initial INVITE.
    Caller,
    /// The side that answered it.
    Callee,
    /// Tollgate or its operator.
    Gateway,
}

impl Party {
    /// Lower-case name, as in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Gateway => "gateway",
        }
    }

    /// The other end of the call; of the gateway, which is none: the callee.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller | Self::Gateway => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// Why a call or an attempt ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// A BYE got a 2xx.
    Bye,
    /// A BYE got another final answer, or none.
    FailedBye,
    /// The session timer ran out (RFC 4028).
    SessionTimer,
    /// The longest time a call may last was over.
    Lifetime,
    /// The operator ended it.
    Administrator,
    /// Found in the queue after a restart with no way to go on.
    Restart,
    /// The caller gave up before an answer (CANCEL).
    Cancelled,
    /// No final answer in time.
    Timeout,
    /// A final answer of 300 or more that is none of the others.
    Refused,
    /// No target could be reached; of a call: one of its ends does not answer any more, or does not know it.
    Unreachable,
    /// It was answered elsewhere: another branch won, or the CANCEL says so (RFC 3326).
    Elsewhere,
    /// The 2xx that opened the call was never acknowledged.
    NoAck,
    /// The callee is in another call.
    Busy,
    /// It rang, and nobody has answered.
    NoAnswer,
    /// The callee is somewhere else: a final answer of 300 to 399 that nobody follows.
    Redirected,
    /// This caller may not call there.
    Forbidden,
    /// No phone of the callee is there.
    Offline,
}

impl Cause {
    /// Lower-case name, as in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::FailedBye => "failed-bye",
            Self::SessionTimer => "session-timer",
            Self::Lifetime => "lifetime",
            Self::Administrator => "administrator",
            Self::Restart => "restart",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NoAck => "no-ack",
            Self::Unreachable => "unreachable",
            Self::Elsewhere => "elsewhere",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Redirected => "redirected",
            Self::Forbidden => "forbidden",
            Self::Offline => "offline",
        }
    }
}

/// How a call or an attempt ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct End {
    /// The end whose message or silence ended it, or the gateway.
    pub by: Party,
    /// Which of the ends of a call it was; for an attempt why it came to nothing.
    pub cause: Cause,
}

/// The instants of a call, in UTC, and the spans between them from the monotonic clock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Times {
    /// When the fact happened: the answer of a Start, the end of a Stop.
    pub event: Timestamp,
    /// When the initial request arrived.
    pub created: Timestamp,
    /// When its first 2xx arrived.
    pub answered: Option<Timestamp>,
    /// When the ACK to that 2xx passed.
    pub acknowledged: Option<Timestamp>,
    /// When the call ended: arrival of the BYE, not of its answer.
    pub ended: Option<Timestamp>,
    /// From created to answered, or to the end of an attempt that failed.
    pub setup: Option<Duration>,
    /// From the first 2xx to now (Interim) or to the end (Stop, Cdr).
    pub duration: Option<Duration>,
}

/// One accounting record.
///
/// Texts are octets as they came: nothing promises UTF-8. The codec bounds them; see [`codec`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The same for all sinks and all retries.
    pub id: RecordId,
    /// Which fact it states: it decides which of the parts below are filled.
    pub kind: Kind,
    /// Method of the request, as it came.
    pub method: Vec<u8>,
    /// Tag of the From header of the initial request: the caller's.
    pub from_tag: Vec<u8>,
    /// Tag of the To header of the answer; empty when there is none.
    pub to_tag: Vec<u8>,
    /// The Call-ID as it came; a longer one than the codec takes is cut from its end.
    pub call_id: Vec<u8>,
    /// CSeq number of the request.
    pub cseq: u32,
    /// Status code, 100 to 699; 0 for a manual entry without one.
    pub code: u16,
    /// Reason phrase of the response as it came; for a call that the gateway ended, why.
    pub reason: Vec<u8>,
    /// Whether the request stood inside a dialog (had a To tag).
    pub in_dialog: bool,
    /// Short name of the session, the same in its Start, Interim and Stop: 32 lower-case hexadecimal digits.
    pub session: String,
    /// Short name of the whole call, shared by the sessions of a forked INVITE: 32 lower-case hexadecimal digits.
    pub multi_session: String,
    /// Place within its session: Start 0, then one more for each, the Stop the last. `None` where nothing was counted:
    /// in a record that belongs to no session, or whose call an earlier release took in.
    pub number: Option<u32>,
    /// When each step of the call was, in UTC, and the spans between them.
    pub times: Times,
    /// How it ended; for Stop, Cdr, Failed and Missed.
    pub end: Option<End>,
    /// Configured fields in the order of their configuration.
    pub fields: Fields,
    /// Legs in order of creation, each with the configured leg fields.
    pub legs: Vec<Fields>,
    /// Table that takes this record instead of the SQL sink's own.
    pub table: Option<String>,
    /// Values shortened by a limit of ours before the record was stored.
    pub shortened: bool,
    /// What else is known of the call and its end.
    pub facts: Facts,
}

/// The field of a manual entry that tells it from what a response has made.
pub const MANUAL: &str = "acc.manual";

impl Record {
    /// Whether it is a manual entry; of those that an earlier release has made only one without a code is known.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        let is_told = || self.fields.iter().any(|(name, _)| name == MANUAL);
        self.kind == Kind::Event && (is_told() || (self.code == 0 && self.method != b"ACK"))
    }

    /// A record that no call makes, with nothing in it but what it is and when; `seed` is random.
    #[must_use]
    pub fn of_no_call(kind: Kind, at: Timestamp, seed: u128) -> Self {
        Self {
            id: RecordIds::new(seed).next(u64::try_from(at.0 / 1000).unwrap_or(0)),
            kind,
            method: Vec::new(),
            from_tag: Vec::new(),
            to_tag: Vec::new(),
            call_id: Vec::new(),
            cseq: 0,
            code: 0,
            reason: Vec::new(),
            in_dialog: false,
            session: String::new(),
            multi_session: String::new(),
            number: None,
            times: Times { event: at, created: at, ..Times::default() },
            end: None,
            fields: Fields::new(),
            legs: Vec::new(),
            table: None,
            shortened: false,
            facts: Facts::new(),
        }
    }
}
