//! A lease in a key of the cluster's state: one holder at a time, taken over by time alone.
//!
//! | rule | why |
//! |---|---|
//! | held only until the instant at which the last acknowledged renewal was *sent*, and [`Timing::lease`] | a read may be old, and an acknowledgement late; time counts from before both |
//! | taken from another only when its revision has not changed for [`Timing::lease`] and [`Timing::margin`] of our own monotonic time, by an update that expects that revision | no two clocks are compared. When the revision was read, its writer had sent it before; whatever it wrote since makes our update fail |
//! | an update whose answer was lost, or that was refused as a conflict, is read back; owner and nonce decide, and the turn says which update it was | a server may refuse the repeat of what it has stored |
//! | after reads were not answered for a while, nothing is taken for [`Timing::patience`] | after an outage those that live renew first |
//! | a value that cannot be read is left alone | a later release wrote it |
//!
//! Both safety rules hold however old a read is: it is the update that decides, and the stream orders updates. The machine
//! is told of the key by [`Input::Seen`], from a scan each [`Timing::scan`] or from the reads that it asks for, and has one
//! update under way at a time. It has no state but what follows from what it knows: who wrote the last value it knows of,
//! whether we want the lease, and what is under way.

mod timing;
mod value;

pub use self::timing::Timing;
pub use self::value::{Owner, Unreadable, VALUE_BYTES_MAX, Value};

/// What became of an update.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Stored under this revision.
    Stored(u64),
    /// The key has another revision than was expected (10071).
    Conflict,
    /// Certainly not stored: no server for it, or not sent.
    Refused,
    /// Not known: it may be stored, or be stored yet.
    Lost,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input<'a> {
    /// A read said what the key holds; `revision` 0 and no value: it was never written.
    Seen {
        /// Its revision; that of the mark when it was removed.
        revision: u64,
        /// Its value; `None` when it was removed.
        value: Option<&'a [u8]>,
    },
    /// The read that was asked for gave nothing.
    Unread,
    /// An update was answered, or its answer will not come. An answer may also follow after that.
    Answered {
        /// Of [`Output::Update`].
        turn: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Take the lease as soon as it is free, and hold it.
    Want,
    /// Give it back, and take it no more.
    Yield,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Write the key if its revision is still `expected`; 0: if it was never written.
    Update {
        /// Number of the update, for its answer.
        turn: u64,
        /// The revision.
        expected: u64,
        /// The octets.
        value: Vec<u8>,
    },
    /// Read the key at the stream's leader.
    Read,
    /// The lease is ours until `Lease::held_until`, which moves on by itself as long as renewals are acknowledged.
    Acquired {
        /// Number of the tenure.
        epoch: u64,
    },
    /// The lease is no longer ours, or may not be; not told after [`Input::Yield`].
    Ended(End),
    /// What we gave back is free for others. Not told when there was nothing to give back: see `Lease::is_clear`.
    Released,
    /// Another process lives under our name; told once.
    Twin,
}

/// Why a lease has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// No renewal was acknowledged in time. It is taken again as soon as possible.
    RunOut,
    /// Another has written the key.
    Taken,
}

/// Who has the lease, as far as is known here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder<'l> {
    /// Nothing was read yet.
    Unknown,
    /// Never taken, or given back.
    Free,
    /// Somebody's, who may be ourselves; `lives` until it has run out for us.
    By {
        /// Who.
        owner: &'l Owner,
        /// Number of the tenure.
        epoch: u64,
        /// Whether it cannot be taken from it yet.
        lives: bool,
    },
    /// A value that cannot be read.
    Foreign,
}
