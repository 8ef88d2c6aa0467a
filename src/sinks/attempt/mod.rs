//! A sink for every backend to which delivery is one asynchronous attempt on a batch of records: a statement, lines on a
//! connection, a request.
//!
//! A kind of sink brings an [`Attempt`], which holds its connection, and a [`Render`], which makes an item of a record,
//! such as a row or a line. [`Attempts`] is the [`Sink`](super::Sink) around the two, and does the rest:
//!
//! * *Batches*: what waits goes out together, so many records and octets at most, one attempt at a time.
//! * *Order*: a batch has one record of a session at most, and a record waits as long as an earlier one of its session does.
//! * *Unknown outcomes*: when the connection breaks or the time is up behind a batch, each of its records may have been
//!   delivered. So may one that was lent before. The next attempt is told of each ([`Entry::may_be_there`]), so that it
//!   can make the repeat harmless.
//! * *A bad record in a batch* is found by halving, and parks alone: at once if it is refused for ever; if the connection
//!   breaks on it, only when other records were delivered between the breaks, for an outage says nothing about a record.
//! * *A backend that is away* gets a back-off, and then one record, before it gets a batch again. All records go back to the
//!   queue meanwhile, but those of which the outcome is unknown. The same for a backend that refuses every record alike.
//!
//! [`batches`] decides, without time or runtime; [`Attempts`] waits.

mod batches;
mod board;
mod driver;
#[cfg(test)]
mod tests;
pub mod trial;

use std::future::Future;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, Seq};
use crate::queue::{Lease, Worth};
use crate::record::Record;

pub use board::{Board, METRICS, SINK_BACKEND_UP, SINK_BATCH_SECONDS, SINK_BATCHES_TOTAL};
pub use driver::{Attempts, CLOSE_TIME_MAX};

use super::trial::Message;

/// A connection to a backend, made when an attempt needs it.
pub trait Attempt: 'static {
    /// Its kind as it stands in the configuration, such as `sql`.
    const KIND: &'static str;

    /// What a record becomes, once for all attempts on it.
    type Item: 'static;

    /// The backend's name or address, for status and log.
    fn backend(&self) -> String;

    /// What an acknowledgement of this backend is worth, for status and test sends; empty: it has the record for good.
    fn worth(&self) -> &'static str {
        ""
    }

    /// Whether an acknowledgement of this backend says that it has the record for good.
    fn stores(&self) -> Worth {
        Worth::Stored
    }

    /// Octets of an item, as far as they count for [`Settings::batch_octets_max`].
    fn octets(item: &Self::Item) -> usize;

    /// An item in words, for a test record.
    fn describe(item: &Self::Item) -> Message;

    /// Delivers a batch of at least one record, connecting first if need be.
    ///
    /// When it takes longer than [`Settings::timeout`] the future is dropped at an await, and [`Attempt::abandon`] follows.
    fn attempt(&mut self, batch: &[Entry<Self::Item>]) -> impl Future<Output = Answer>;

    /// The last attempt was given up in the middle: its connection is of no use any more.
    fn abandon(&mut self);

    /// Says goodbye to the backend.
    fn close(&mut self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// As [`Attempt::attempt`] with a test record, which is taken back where the backend can do that.
    fn rehearse(&mut self, batch: &[Entry<Self::Item>]) -> impl Future<Output = Answer> {
        self.attempt(batch)
    }

    /// Whether the backend is there and fits the configuration; why not.
    fn reach(&mut self) -> impl Future<Output = Result<(), String>>;

    /// What an operator should know of a backend that was reached.
    fn warnings(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Makes an item of a record; `None` when the backend wants none of such records. Parked is what it cannot make one of,
/// with the reason.
pub type Render<I> = Box<dyn FnMut(&Record) -> Result<Option<I>, String>>;

/// The same of a record as the queue lends it.
pub type Carry<I> = Box<dyn FnMut(&Lease, &Record) -> Result<Option<I>, String>>;

/// A record of a batch.
#[derive(Debug)]
pub struct Entry<I> {
    /// What the sink has made of the record, ready to be written.
    pub item: I,
    /// Its name, the same at every attempt.
    pub id: RecordId,
    /// Whether an earlier attempt may have delivered it, maybe one of an earlier process.
    pub may_be_there: bool,
    seq: Seq,
    /// The session in which it keeps its place; `None` for what waits for no other record.
    session: Option<CallHash>,
    /// Attempts before this one that said something about it.
    attempts: u32,
    /// When it was made.
    since: Timestamp,
    octets: usize,
    /// Breaks of the connection that are its own fault.
    breaks: u32,
}

/// What became of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// All of it is delivered.
    Delivered,
    /// The fate of each record, in their order; that of one which is not told of is unknown.
    Each(Vec<Fate>),
    /// None of it is delivered, for one record is refused for ever; which one is not known unless it is alone.
    Refused {
        /// What the backend or the system said, for the operator.
        reason: String,
        /// The backend's result code, 0 for none.
        code: u32,
    },
    /// The backend cannot be used now. None of the batch was sent, or it is known that nothing of it was kept.
    Down {
        /// What the backend or the system said, for the operator.
        reason: String,
        /// When to try again, if the backend has said so.
        after: Option<Duration>,
    },
    /// The backend does not fit the configuration: a table is missing, a password is wrong. None of the batch is
    /// delivered; a person must act.
    Misfit {
        /// What the backend or the system said, for the operator.
        reason: String,
    },
    /// The connection broke behind the batch: any of it may have been delivered.
    Unknown {
        /// What the backend or the system said, for the operator.
        reason: String,
    },
}

/// What became of one record of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The backend has it.
    Delivered,
    /// It is tried again later, and parked when that was of no use for long.
    Retry {
        /// What the backend or the system said, for the operator.
        reason: String,
    },
    /// It is refused for ever.
    Refused {
        /// What the backend or the system said, for the operator.
        reason: String,
        /// The backend's result code, 0 for none.
        code: u32,
    },
    /// The connection broke before it was acknowledged: it may have been delivered.
    Unknown {
        /// What the backend or the system said, for the operator.
        reason: String,
    },
    /// The backend went away before it was sent: it waits like all others.
    Unsent {
        /// Why.
        reason: String,
    },
}

/// How batches are made and repeated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Records of a batch at most, at least 1. Default 500.
    pub batch_max: usize,
    /// Octets of a batch at most, unless one record alone has more. Default 1 MiB.
    pub batch_octets_max: usize,
    /// Longest wait for the end of an attempt, a connection included. Default 10 s.
    pub timeout: Duration,
    /// First wait of a record that is to be tried later, and of a backend that is away; it doubles each time, ± 10 %.
    /// Default 1 s.
    pub retry_first: Duration,
    /// Longest such wait. Default 60 s.
    pub retry_max: Duration,
    /// Failed attempts on a record, with a backend that answers, after which it may be parked. Default 10.
    pub attempts_max: u32,
    /// Age a record has at least when it is parked for those. Default 1 h.
    pub park_age_min: Duration,
    /// Breaks of the connection behind one record alone, with others delivered in between, after which it is parked.
    /// Default 3.
    pub breaks_max: u32,
    /// Equal refusals in a row after which the backend rests instead of parking more. Default 20.
    pub pause_after: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_max: 500,
            batch_octets_max: 1 << 20,
            timeout: Duration::from_secs(10),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            attempts_max: 10,
            park_age_min: Duration::from_secs(3600),
            breaks_max: 3,
            pause_after: 20,
        }
    }
}
