//! Counters: every record a sink wanted ends in exactly one count.

use std::time::Duration;

use crate::ids::SinkNumber;

use super::limits::Troubles;

/// What became of the records one sink wanted, since the queue was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// Found waiting at opening.
    pub carried: u64,
    /// Appended since; a parked record put back by the operator and a salvaged one count again.
    pub appended: u64,
    /// Settled as delivered.
    pub delivered: u64,
    /// Parked.
    pub parked: u64,
    /// Dropped by the operator.
    pub dropped: u64,
    /// Interim records that a newer record of their session made needless before they were delivered.
    pub superseded: u64,
    /// Found to be missing or unreadable on disk; salvaged ones are appended again.
    pub lost: u64,
    /// Waiting now, lent ones included.
    pub waiting: u64,
}

impl Balance {
    /// Whether carried + appended = delivered + parked + dropped + superseded + lost + waiting.
    #[must_use]
    pub const fn holds(&self) -> bool {
        let gone = self.delivered + self.parked + self.dropped + self.superseded + self.lost;
        self.carried + self.appended == gone + self.waiting
    }
}

/// One sink's state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkStats {
    /// Its name.
    pub name: String,
    /// Its number.
    pub sink: SinkNumber,
    /// Whether the configuration still has it; records of one that it has not wait until they are dropped.
    pub configured: bool,
    /// What became of its records.
    pub balance: Balance,
    /// Octets of the bodies that wait.
    pub waiting_bytes: u64,
    /// Age of the oldest record that waits; zero when none does.
    pub oldest: Duration,
    /// Records lent now.
    pub leased: u64,
    /// Records whose delivery failed and that wait for their next time.
    pub backing_off: u64,
    /// Records parked now, of earlier processes too.
    pub parked_now: u64,
    /// Deliveries that were to be repeated.
    pub retries: u64,
}

/// State of the queue.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// By sink number.
    pub sinks: Vec<SinkStats>,
    /// Reasons for the alarm state.
    pub troubles: Troubles,
    /// Records appended, each counted once however many sinks want it.
    pub appended: u64,
    /// Octets of their bodies.
    pub appended_bytes: u64,
    /// Records refused: too long, or the queue was full.
    pub refused: u64,
    /// Records waiting for at least one sink, at the most: a full chunk of 1,024 counts until all of it is settled.
    pub held: u64,
    /// Octets of their bodies.
    pub held_bytes: u64,
    /// Octets of the spools' files.
    pub disk_bytes: u64,
    /// Free octets of the file system.
    pub free_bytes: u64,
    /// Highest place taken, 0 when none was.
    pub head: u64,
    /// Spools.
    pub spools: u64,
    /// Calls in progress, as far as this process changed them, and those found at opening; values that sinks keep for them
    /// count too.
    pub calls: u64,
    /// Commits.
    pub commits: u64,
    /// Commits that failed.
    pub commits_failed: u64,
    /// Time of the last commit, from its first write to its end on disk.
    pub commit_last: Duration,
    /// The longest commit.
    pub commit_longest: Duration,
    /// Time in commits.
    pub commit_sum: Duration,
    /// Settlements for a record that was not lent.
    pub settlements_stray: u64,
    /// Damaged spools set aside that the operator has not removed.
    pub damaged: u64,
    /// Records brought back from damaged spools.
    pub salvaged: u64,
    /// Places of acknowledged records that were not found again.
    pub lost: u64,
    /// Whether a salvage runs.
    pub salvaging: bool,
}

impl Stats {
    /// Whether the balance of every sink holds.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.sinks.iter().all(|sink| sink.balance.holds())
    }
}
