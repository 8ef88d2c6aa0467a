//! The durable queue: records wait here, on disk, until every sink that wants them has taken them.
//!
//! * Appending is atomic and durable: the receipt comes after the commit is on disk (promise P1);
//! * leasing and settling deliver each record at least once to each sink, in order within a session (P2);
//! * calls in progress, and Class values of their sessions, are kept by the same commits as the records they cause;
//! * limits by count, octets, age and free disk raise the alarm state ([`Troubles`]), in which new calls are refused; no
//!   limit refuses a record: what the disk does not take waits in memory and is tried again.
//!
//! [`Queue`] is the synchronous core; [`thread`] runs it on the one thread that touches sled and gives out handles.
//! A commit is written to a journal first, and to sled behind it, which is flushed when the journal is full.
//! On disk the queue is a chain of spools, each a small sled database behind five guards: a flush that reaches the
//! disk (G1, `sync`), no half-written snapshot (G2), no asynchronous flush (G3), opening that cannot take the process
//! down (G4) and directories synced before anything is acknowledged (G5, all three in `database`).

mod balance;
mod barrier;
mod batch;
mod bitmap;
mod building;
mod calls;
mod chain;
mod collapse;
mod command;
mod database;
mod disk;
pub mod echo;
mod error;
mod frame;
mod handle;
mod health;
mod journal;
mod layout;
mod leasing;
mod limits;
mod metas;
mod notice;
mod offline;
mod opening;
mod order;
mod overlay;
mod parked;
mod parking;
mod registry;
mod repair;
mod salvage;
mod schedule;
mod settings;
mod sinks;
mod spool;
mod standing;
mod store;
mod switch;
mod sync;
#[cfg(test)]
mod tests;
pub mod thread;
mod totals;
mod unread;
mod upkeep;
mod waker;
mod window;
pub mod witness;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, Seq};

pub use balance::{Balance, Loss, Losses, SinkStats, Stats};
pub use barrier::AFTER_ALL;
pub use calls::Class;
pub use command::{
    Action, Command, CommandError, Desk, Item, LIST_MAX, NAMED_MAX, Outcome, Page, ParkedState, Pick, Position, Query,
    Select, Skipped, State, Waiting, ask, ask_while,
};
pub use disk::{OTHERS, free_bytes};
pub use error::{AppendFailed, OpenError, StoreError};
pub use handle::{Consumer, Full, Handle, Producer, Wake};
pub use limits::{Limits, Load, Trouble, Troubles};
pub use notice::{Level, Notice};
pub use offline::Offline;
pub use opening::{OpenReport, Opened};
pub use settings::{Gather, Settings};
pub use standing::{Aside, READ_AGAIN_MAX, Standing};
pub use store::Queue;
pub use thread::{Started, spawn, spawn_witnessed};

/// A record lent to a sink until it settles it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Its place, named when settling.
    pub seq: Seq,
    /// Its name, the same at every repeat.
    pub id: RecordId,
    /// Hash of its Call-ID.
    pub call: CallHash,
    /// How often it was lent before since the start of the process.
    pub attempts: u32,
    /// When it was lent for the first time since the start of the process; `None` at the first time.
    pub first_tried: Option<Timestamp>,
    /// When it was made, to the millisecond, as its id says.
    pub appended: Timestamp,
    /// The encoded record.
    pub body: Bytes,
}

/// Who acknowledges records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acknowledger {
    /// Its address or name.
    pub server: String,
    /// What its acknowledgement is worth.
    pub worth: Worth,
}

/// What an acknowledgement is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    /// Who gave it has the record for good.
    Stored,
    /// It has taken the record, and says nothing of what becomes of it.
    Taken,
}

/// What became of a lent record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The backend has it.
    Delivered,
    /// As [`Settlement::Delivered`], and who said so.
    DeliveredBy(Arc<Acknowledger>),
    /// It is lent again later; the later records of its session wait with it.
    Retry {
        /// Time until then.
        after: Duration,
        /// Why, for the operator; shortened to 255 octets.
        reason: String,
    },
    /// As [`Settlement::Retry`], but the visit says nothing about this record and counts as no try of it.
    Defer {
        /// Time until it is lent again.
        after: Duration,
        /// Why, for the operator; shortened to 255 octets.
        reason: String,
    },
    /// It is set aside for the operator.
    Park {
        /// Why; shortened to 255 octets.
        reason: String,
        /// The backend's result code, 0 for none.
        code: u32,
    },
    /// It was not tried: somebody else delivers it. Counted as superseded.
    Withdrawn,
}
