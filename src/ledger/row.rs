//! Rows of the ledger: what was committed, and what became of it.

use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::record::{End, Kind};

/// What became of a record at a sink, by its number on disk: a new one goes to the end.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Fate {
    /// The backend has it for good, as far as its acknowledgement says.
    Delivered = 0,
    /// The backend, or the system, has taken it; that it was stored is not said.
    HandedOver = 1,
    /// It is set aside for the operator.
    Parked = 2,
    /// It was given up by the operator, and was not under way.
    Dropped = 3,
    /// It was given up by the operator while the backend had it: it may have been stored.
    DroppedUnderWay = 4,
    /// A later record of its session made it needless.
    Superseded = 5,
    /// The queue's disk did not give it back.
    Lost = 6,
    /// A delivery failed, and is to be repeated.
    Retried = 7,
    /// The queue had settled it when the process began, and how was not written down: delivered, or of an Interim perhaps
    /// superseded.
    Settled = 8,
    /// It waits.
    Waiting = 9,
}

impl Fate {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Delivered,
        Self::HandedOver,
        Self::Parked,
        Self::Dropped,
        Self::DroppedUnderWay,
        Self::Superseded,
        Self::Lost,
        Self::Retried,
        Self::Settled,
        Self::Waiting,
    ];

    /// In words, for people and for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::HandedOver => "handed-over",
            Self::Parked => "parked",
            Self::Dropped => "dropped",
            Self::DroppedUnderWay => "dropped-under-way",
            Self::Superseded => "superseded",
            Self::Lost => "lost",
            Self::Retried => "retried",
            Self::Settled => "settled",
            Self::Waiting => "waiting",
        }
    }
}

/// A record that was committed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made<'a> {
    /// Its place in the queue.
    pub seq: u64,
    /// Its name.
    pub id: RecordId,
    /// When what it states happened, to the millisecond.
    pub event: Timestamp,
    /// What it states.
    pub kind: Kind,
    /// Status code, 0 for none.
    pub code: u16,
    /// How it ended.
    pub end: Option<End>,
    /// How long the call has lasted, milliseconds.
    pub duration_ms: Option<u64>,
    /// How many legs it names.
    pub legs: u64,
    /// Who wants it: bits by the sink's number in the block.
    pub sinks: u64,
    /// Whether the ledger may have a row of it already: it was put back by the operator, or by a salvage.
    pub is_back: bool,
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// Name of its session, also as the octets that its digits stand for; empty for none.
    pub session: &'a [u8],
    /// User of the caller.
    pub caller: &'a [u8],
    /// Number or user that the call went to.
    pub callee: &'a [u8],
}

/// What became of a record at a sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended<'a> {
    /// Its place in the queue.
    pub seq: u64,
    /// Number of the sink in the block.
    pub sink: u8,
    /// What.
    pub fate: Fate,
    /// When.
    pub at: Timestamp,
    /// How often it had been tried.
    pub attempts: u32,
    /// Who acknowledged it, or who dropped it; empty when that is not known.
    pub who: &'a [u8],
    /// Why; empty for none.
    pub reason: &'a [u8],
    /// Result code of the backend, 0 for none.
    pub code: u32,
}

/// A row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Row<'a> {
    /// A record was committed.
    Made(Made<'a>),
    /// Something became of one.
    Ended(Ended<'a>),
    /// A record has another place from now on, and waits there.
    Again {
        /// The new place.
        seq: u64,
        /// The old one.
        was: u64,
        /// For which sinks, by their numbers in the block.
        sinks: u64,
        /// Since when.
        at: Timestamp,
    },
    /// The queue's disk did not give these places back: lost for each sink that waits for them.
    Gone {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// When that was found.
        at: Timestamp,
    },
    /// Rows are missing here that could not be written.
    Gap {
        /// Since when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// How many records have no row.
        records: u64,
        /// How many fates have none.
        fates: u64,
        /// Why.
        reason: &'a [u8],
    },
    /// A process began.
    Began {
        /// When.
        at: Timestamp,
        /// Whether the one before had ended in order.
        is_clean: bool,
        /// Its version.
        version: &'a [u8],
    },
    /// Something of the gateway was counted that is no record.
    Counted {
        /// When.
        at: Timestamp,
        /// What, by name.
        what: &'a [u8],
        /// How many.
        count: u64,
    },
}

/// The instant of a record's name, to the millisecond.
#[must_use]
pub const fn made_at(id: RecordId) -> Timestamp {
    // 48 bits of milliseconds: far from the bounds of the type.
    Timestamp((id.0 >> RANDOM_BITS) as i64 * 1000)
}

/// A session's name in words: 16 octets are hexadecimal digits.
#[must_use]
pub fn session_text(session: &[u8]) -> String {
    if session.len() == SESSION_OCTETS {
        data_encoding::HEXLOWER.encode(session)
    } else {
        String::from_utf8_lossy(session).into_owned()
    }
}

/// Bits of the random part of a record id.
pub(super) const RANDOM_BITS: u32 = 80;

/// Octets of a session's name that is written short.
pub(super) const SESSION_OCTETS: usize = 16;
