//! The ledger: beside the queue, one small row for each record and for what became of it at each sink, so that it can be
//! asked later whether every call was delivered everywhere, and what happened to one.
//!
//! [`row`], [`coding`] and [`block`] are the layout on disk, [`file`](mod@file) writes the file of a day, [`close`] packs it when the
//! day is over. [`keeper`] makes rows of what the queue tells ([`crate::queue::witness`]), [`thread`] runs it: neither a
//! call nor the queue ever waits for it. [`start`] finds what a process that was killed could not write any more.
//!
//! ```text
//! /var/lib/tollgate/queue-ledger/
//!   LOCK                flock by the process
//!   2026-11-20.ledger   blocks of rows of the records made that day, in UTC, and what became of them, whenever that was
//!   2026-11-20.new      the same, while it is being packed
//!   complete            days of which nothing waits
//! ```

pub mod audit;
pub mod block;
pub mod close;
pub mod coding;
pub mod complete;
pub mod day;
pub mod file;
pub mod keeper;
pub mod open;
pub mod row;
pub mod running;
pub mod start;
pub mod stats;
pub mod thread;

use std::path::PathBuf;

use serde::Deserialize;

pub use day::Day;
pub use keeper::{Keeper, LedgerError, Notice};
pub use stats::Stats;
pub use thread::{Handle, Listener, Opened};

/// Checked settings of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whether it is kept at all.
    pub is_kept: bool,
    /// Its folder. Default: that of the queue with `-ledger` behind its name.
    pub path: PathBuf,
    /// How many days are kept, today not counted. Default 40.
    pub days: u32,
    /// What becomes of new calls while it cannot be written. Default [`OnTrouble::Gap`].
    pub on_trouble: OnTrouble,
}

impl Settings {
    /// The folder, if anything is kept there.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        self.is_kept.then(|| self.path.clone())
    }
}

/// What becomes of new calls while the ledger cannot be written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnTrouble {
    /// They are served, and the ledger says later what it lacks.
    #[default]
    Gap,
    /// The queue's alarm state begins: `queue.on_trouble` says what that means.
    Refuse,
}

/// Name of a count: responses that left before their record was on disk.
pub const ANSWERS_UNSAFE: &str = "answers let go before commit";

/// How the names of the counts of records begin that never came onto the queue's disk; behind it stands why.
pub const LOST_PREFIX: &str = "lost, ";

/// How the names of the counts of refused calls begin; behind it stands why.
pub const REFUSED_PREFIX: &str = "refused, ";

/// Days that are kept unless the configuration says otherwise.
pub const DAYS: u32 = 40;
