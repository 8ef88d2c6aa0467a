//! Events: what the systems put into them.
//!
//! The parameters of OpenSIPS are those of 4.0, in its order, but for what is a fault of it: where it knows no call it writes
//! `created` 0 and an epoch as `setuptime`; here stand the values. Its 2.2 sent texts of its own, for which there is no sink,
//! and the others sent none.

use super::{Form, Row, Val};
use crate::record::core::Core;
use crate::record::{Kind, Record};
use crate::sinks::event::Legs;
use crate::sinks::mapping::Round;

/// Events of a system.
#[derive(Debug, PartialEq)]
pub struct Events {
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
    /// How spans become whole seconds.
    pub round: Round,
}

/// How values lie in an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// As in the JSON of `queue show`: all values of the record, then `fields` and `legs`.
    Record,
    /// The values of the [`Sort`], with fields, and those of a leg, among them; what is absent is null, a list one text.
    Flat,
}

/// What an event of one sort says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sort {
    /// How OpenSIPS calls it, and the method in JSON-RPC.
    pub event: &'static str,
    /// Values before the fields.
    pub before: &'static [Row],
    /// Values behind fields and legs.
    pub behind: &'static [Row],
}

impl Events {
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

/// All that the record holds.
pub(super) const OWN: Events = Events {
    shape: Shape::Record,
    transaction: TRANSACTION,
    missed: MISSED,
    call: CALL,
    legs: Legs::Array,
    round: Round::HalfUp,
};

pub(super) const OPENSIPS: Events = Events { shape: Shape::Flat, legs: Legs::Events, round: Round::Up, ..OWN };

const TRANSACTION: Sort = Sort { event: "E_ACC_EVENT", before: HEAD, behind: &[] };

const MISSED: Sort = Sort {
    event: "E_ACC_MISSED_EVENT",
    before: HEAD,
    behind: &[("setuptime", Val::SETUP, Form::Secs), ("created", Val::CREATED, Form::Epoch)],
};

const CALL: Sort = Sort {
    event: "E_ACC_CDR",
    before: HEAD_OF_CALL,
    behind: &[
        ("duration", Val::DURATION, Form::Secs),
        ("ms_duration", Val::DURATION, Form::Millis),
        ("setuptime", Val::SETUP, Form::Secs),
        ("created", Val::CREATED, Form::Epoch),
    ],
};

const HEAD: &[Row] = &head(Core::Event);

/// The time of a whole call is that of its answer; there is none without.
const HEAD_OF_CALL: &[Row] = &head(Core::Answered);

const fn head(time: Core) -> [Row; 7] {
    [
        ("method", Val::METHOD, Form::Plain),
        ("from_tag", Val::FROM_TAG, Form::Plain),
        ("to_tag", Val::TO_TAG, Form::Plain),
        ("callid", Val::CALL_ID, Form::Plain),
        ("sip_code", Val::CODE, Form::Text),
        ("sip_reason", Val::REASON, Form::Plain),
        ("time", Val::Core(time), Form::Epoch),
    ]
}
