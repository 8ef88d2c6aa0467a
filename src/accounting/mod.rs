//! Turns transaction and dialog events into records.
//!
//! [`Engine`] is a machine: what the SIP machine tells goes in as [`Input`], records and changes to the stored calls come
//! out as [`Outcome`], which is committed as one. One engine serves one shard.
//!
//! What makes which record:
//!
//! | what happened | record | for sinks marked |
//! |---|---|---|
//! | first 2xx to an initial INVITE, for each To tag | Start | accounting |
//! | provisional response with a body, if `early_media` | Start, then Interim | accounting |
//! | 2xx to a re-INVITE, the interim timer | Interim | accounting |
//! | a BYE that the other end has seen (see `finding`), session timer, lifetime, no ACK, an end that is gone, operator | Stop, Cdr | accounting |
//! | a round of branches of an initial INVITE failed, and its targets forward the call | Missed | missed |
//! | an initial INVITE whose targets are alternatives was refused | Missed | missed |
//! | an initial INVITE was refused without any branch | Missed | missed |
//! | final response of 300 or more to an INVITE | Failed | accounting and failed |
//! | final response to another method of `methods` | Event | accounting; from 300 on also failed |
//! | ACK to a 2xx, if `report_ack`; CANCEL, if `report_cancels` | Event | accounting |
//! | the policy asks for a record by hand | Event | of its own choice |
//!
//! Requests of a known call are recorded as its INVITE was marked, all others by their own marks.
//!
//! A call that was answered elsewhere, as the CANCEL says, is no missed call unless `missed_elsewhere` is set; nor is a
//! branch that lost to another one, unless `missed_branches` is. A BYE of the caller before the response is a CANCEL.
//!
//! Codes of `failed_filter` make neither Failed nor Missed. An attempt makes one Missed record, however often it is
//! marked, and an INVITE the caller cancels makes one record a sink: Missed where that is marked, else Failed. A failed
//! re-INVITE is no missed call.
//!
//! A session is one dialog: Call-ID, From tag, To tag. It is stored until it has ended and, as a mark without contents,
//! for a while longer, so that a second BYE or one sent again after a crash makes no second Stop. A BYE of an unknown
//! call makes a Stop without a session time, if it is marked; in a cluster when no gateway has the call (`stray`). Not so a BYE that comes while the call's INVITE has no
//! final response, for it ends an early dialog.
//!
//! A Stop that no BYE has made has the field `last_alive`: when the call was last known to go on, in RFC 3339. It was
//! answered then, or acknowledged, or one of its ends sent a request or answered an OPTIONS of ours.

mod adoption;
mod alarms;
mod calls;
mod doubt;
mod ending;
mod ends;
mod engine;
mod facts;
mod fields;
mod finding;
mod flags;
mod forwarding;
mod identity;
mod indialog;
mod invite;
mod maker;
mod manual;
mod notice;
mod outbox;
pub mod passport;
mod restore;
mod revival;
mod session;
mod settings;
mod stored;
mod stray;
#[cfg(test)]
mod tests;
mod transaction;
mod transactions;
mod watch;

use std::rc::Rc;
use std::sync::Arc;

use crate::ids::{CallHash, SinkMask};
use crate::policy::{Account, Manual, Marks, Values};
use crate::record::{CallChange, Commit, Entry, Party, Record, codec};
use crate::sip::stack::{Event, RequestView, ServerId};

pub use adoption::{has_ended, has_recorded_end};
pub use calls::{CallView, Parties};
pub use engine::Engine;
pub use notice::{Notice, Noticed};
pub use session::{Key, RestoreError};
pub use settings::{BilledTo, FieldSource, FieldSources, Revival, Settings, SinkMode};
pub use stray::Absence;
pub use watch::{Outgoing, Pings, Purpose, Sign};

/// What the engine is told: what the SIP machine saw, what the policy said, what a probe showed.
#[derive(Debug)]
pub enum Input<'a> {
    /// A request came in and is about to be forwarded or answered.
    Request {
        /// Its transaction.
        transaction: ServerId,
        /// The request.
        view: &'a RequestView,
        /// Which sinks record what of it.
        marks: Marks,
        /// How it is recorded; `None`: by the settings alone.
        account: Option<Arc<Account>>,
        /// What the policy has set for its records.
        values: Option<Rc<Values>>,
    },
    /// The policy marks a request otherwise from here on, also one that was not recorded so far, or sets other values for
    /// its records.
    Marked {
        /// Its transaction.
        transaction: ServerId,
        /// The request.
        view: &'a RequestView,
        /// Which sinks record what of it; `None`: as before.
        marks: Option<Marks>,
        /// What the policy has set for its records; `None`: as before.
        values: Option<Rc<Values>>,
    },
    /// The policy wants a record of one, made now.
    Manual {
        /// Its transaction.
        transaction: ServerId,
        /// The request.
        view: &'a RequestView,
        /// What it states, and to whom.
        manual: Manual,
        /// What the policy has set for the records of the request, where nothing else is recorded of it.
        values: Option<Rc<Values>>,
    },
    /// Something happened to one.
    Event(&'a Event),
    /// What became of a probe.
    Probed {
        /// The call whose end was asked.
        key: Key,
        /// Which end was asked.
        to: Party,
        /// Whether that end lives, and knows the call.
        sign: Sign,
    },
}

/// What the operator ends: calls in the records, and their dialogs as well if he wants that.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Closing {
    /// The Call-ID of calls, or the name of one session as in [`Record::session`].
    pub name: String,
    /// Reason phrase of the Stop. Default: that the operator has done it.
    pub reason: Option<String>,
    /// Whether both ends get a BYE.
    pub hangs_up: bool,
}

/// A record and who wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    /// Complete, with its id: the same for every sink.
    pub record: Record,
    /// Hash of its whole Call-ID.
    pub call: CallHash,
    /// The sinks; never empty.
    pub sinks: SinkMask,
}

/// What is to be committed together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Records, in the order of what happened.
    pub records: Vec<Made>,
    /// Changes to the stored calls, in order.
    pub calls: Vec<CallChange>,
}

impl Outcome {
    /// Whether there is nothing to commit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.calls.is_empty()
    }

    /// Records and changes together: grows whenever something is to be committed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len() + self.calls.len()
    }

    /// The same, encoded for the queue.
    #[must_use]
    pub fn into_commit(self) -> Commit {
        let entry = |made: Made| Entry {
            id: made.record.id,
            call: made.call,
            sinks: made.sinks,
            body: codec::encode(&made.record),
        };
        Commit { entries: self.records.into_iter().map(entry).collect(), calls: self.calls }
    }
}
