//! The records of a window as it keeps them.

use bytes::Bytes;

use super::super::order::Order;
use crate::clock::{Instant, Timestamp};
use crate::ids::{CallHash, RecordId};

/// What a record does in the window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// May be lent.
    Ready,
    /// An earlier record of its session is in front of it.
    Behind,
    /// Lent.
    Out,
    /// Waits for its time.
    BackOff,
    /// May be lent as soon as its octets are here again.
    Away,
    /// Is being parked.
    Parking,
}

/// A record in the window.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub id: RecordId,
    /// Its call.
    pub call: CallHash,
    /// The encoded record; `None` while it is put away.
    pub body: Option<Bytes>,
    /// Its octets.
    pub bytes: usize,
    /// How often it was lent.
    pub attempts: u32,
    /// When it was lent first.
    pub first_tried: Option<Timestamp>,
    /// Why its last delivery failed.
    pub reason: String,
    /// When it is lent again.
    pub due: Option<Instant>,
    pub(super) order: Order,
    pub(super) state: State,
    pub(super) turn: u32,
    pub(super) behind: Option<u64>,
    /// When it was appended, while it goes ahead of the backlog.
    pub(super) fresh: Option<Instant>,
    /// Whether it was put away and is here again.
    pub(super) again: bool,
}

/// The records of one session in the window, by their places.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What some of the records take of the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Share {
    pub(super) fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.records -= 1;
        self.bytes -= bytes;
    }
}
