//! What the accounting of a call hands over to be kept: records and changes to the calls in progress, durable together.

use std::time::Duration;

use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};

/// A record to be kept for the sinks that want it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its name for ever.
    pub id: RecordId,
    /// Hash of its Call-ID. What leaves in order follows from the body: the records of one session. Where that is no
    /// record, those with the same hash leave in order of their appending.
    pub call: CallHash,
    /// Which sinks want it; sinks the queue does not know are left out, and a record nobody wants is not stored.
    pub sinks: SinkMask,
    /// The encoded record, at most [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// The most octets of a record's body: 16 parts of 4 KiB.
pub const BODY_BYTES_MAX: usize = 16 * 4096;

/// The most octets of the name of a call in progress.
pub const CALL_KEY_BYTES_MAX: usize = 1024;

/// How long the note of an ended call is kept at least. It may come back later than that when nothing was committed.
pub const NOTES_KEPT: Duration = Duration::from_secs(64);

/// The most octets of the note of an ended call.
pub const NOTE_BYTES_MAX: usize = 256;

/// A change to the calls in progress, or to what sinks keep with their sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallChange {
    /// Keeps or replaces a call.
    Put {
        /// Name of the call, at most [`CALL_KEY_BYTES_MAX`] octets.
        key: Vec<u8>,
        /// What to give back after a restart, at most [`BODY_BYTES_MAX`] octets.
        value: Vec<u8>,
    },
    /// Forgets a call; nothing happens when it is unknown.
    Remove {
        /// Name of the call.
        key: Vec<u8>,
    },
    /// Forgets a call as [`CallChange::Remove`] does, and gives `note` back in its place for [`NOTES_KEPT`]: cheaper
    /// than a value of its own that is to be removed.
    End {
        /// Name of the call, at most [`CALL_KEY_BYTES_MAX`] octets.
        key: Vec<u8>,
        /// What to give back after a restart, at most [`NOTE_BYTES_MAX`] octets.
        note: Vec<u8>,
    },
    /// Keeps, replaces or, without a value, forgets the Class AVPs that a server gave for a session.
    Class {
        /// The sink of that server.
        sink: SinkNumber,
        /// The session as the sink numbers it.
        session: u64,
        /// What to give back after a restart, at most [`BODY_BYTES_MAX`] octets.
        value: Option<Vec<u8>>,
    },
}

/// What becomes durable together, whole or not at all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Commit {
    /// Records, in the order in which they are to be delivered.
    pub entries: Vec<Entry>,
    /// Changes to the calls in progress, in order.
    pub calls: Vec<CallChange>,
}
