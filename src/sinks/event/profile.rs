//! What each system puts into an event, as tables of data: a further system is one more row of [`Profile::ALL`].
//!
//! The parameters of OpenSIPS are those of 4.0, in its order, but for what is a fault of it: where it knows no call it writes
//! `created` 0 and an epoch as `setuptime`; here stand the values.

use super::Legs;
use crate::record::core::Core;
use crate::record::{Kind, LegOrder, Record};
use crate::sinks::mapping::Round;

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As it is: a text or a number; a span in seconds with milliseconds, an instant by RFC 3339.
    Plain,
    /// As a text, whatever it is.
    Text,
    /// An instant in seconds since 1970.
    Epoch,
    /// A span in whole seconds, rounded as configured.
    Secs,
    /// A span in milliseconds.
    Millis,
}

/// A name, its value, and its form.
pub type Pair = (&'static str, Core, Form);

/// What an event of one sort says.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// How OpenSIPS calls it, and the method in JSON-RPC.
    pub event: &'static str,
    /// Values before the fields.
    pub before: &'static [Pair],
    /// Values behind fields and legs.
    pub behind: &'static [Pair],
}

/// How values lie in an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// As in the JSON of `queue show`: all values of the record, then `fields` and `legs`.
    Record,
    /// The values of the [`Sort`], with fields, and those of a leg, among them; what is absent is null, a list one text.
    Flat,
}

/// The events of one system.
#[derive(Debug)]
pub struct Profile {
    /// Its name in the configuration.
    pub name: &'static str,
    /// How values lie.
    pub shape: Shape,
    /// A transaction that was answered, or failed, and any other fact of a call.
    pub transaction: Sort,
    /// An attempt that failed, or a manual entry that says so.
    pub missed: Sort,
    /// A whole call.
    pub call: Sort,
    /// How several legs are written.
    pub legs: Legs,
    /// Order of the legs.
    pub leg_order: LegOrder,
    /// How spans become whole seconds.
    pub round: Round,
}

const HEAD: &[Pair] = &[
    ("method", Core::Method, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("callid", Core::CallId, Form::Plain),
    ("sip_code", Core::Code, Form::Text),
    ("sip_reason", Core::Reason, Form::Plain),
    ("time", Core::Event, Form::Epoch),
];

/// The time of a whole call is that of its answer.
const HEAD_OF_CALL: &[Pair] = &[
    ("method", Core::Method, Form::Plain),
    ("from_tag", Core::FromTag, Form::Plain),
    ("to_tag", Core::ToTag, Form::Plain),
    ("callid", Core::CallId, Form::Plain),
    ("sip_code", Core::Code, Form::Text),
    ("sip_reason", Core::Reason, Form::Plain),
    ("time", Core::Answered, Form::Epoch),
];

const TRANSACTION: Sort = Sort { event: "E_ACC_EVENT", before: HEAD, behind: &[] };

const MISSED: Sort = Sort {
    event: "E_ACC_MISSED_EVENT",
    before: HEAD,
    behind: &[("setuptime", Core::Setup, Form::Secs), ("created", Core::Created, Form::Epoch)],
};

const CALL: Sort = Sort {
    event: "E_ACC_CDR",
    before: HEAD_OF_CALL,
    behind: &[
        ("duration", Core::Duration, Form::Secs),
        ("ms_duration", Core::Duration, Form::Millis),
        ("setuptime", Core::Setup, Form::Secs),
        ("created", Core::Created, Form::Epoch),
    ],
};

impl Profile {
    /// All of them, the default first.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "own",
            shape: Shape::Record,
            transaction: TRANSACTION,
            missed: MISSED,
            call: CALL,
            legs: Legs::Array,
            leg_order: LegOrder::OldestFirst,
            round: Round::HalfUp,
        },
        Self {
            name: "opensips",
            shape: Shape::Flat,
            transaction: TRANSACTION,
            missed: MISSED,
            call: CALL,
            legs: Legs::Events,
            leg_order: LegOrder::OldestFirst,
            round: Round::Up,
        },
    ];

    /// What an event about that record says; a manual entry with the code of a failure is an attempt that failed.
    #[must_use]
    pub fn sort(&self, record: &Record) -> &Sort {
        match record.kind {
            Kind::Cdr => &self.call,
            Kind::Missed => &self.missed,
            Kind::Event if record.code >= 300 && record.is_manual() => &self.missed,
            _ => &self.transaction,
        }
    }
}
