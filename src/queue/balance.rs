//! Counters: every record a sink wanted ends in exactly one count.

use std::time::Duration;

use crate::ids::SinkNumber;

use super::limits::{Limits, Load, Trouble, Troubles};

/// Why records are lost: each in words, so that nobody has to guess what a number means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The disk did not give them back.
    Missing,
    /// They are longer than the queue stores.
    TooLong,
    /// The service ended while the disk took nothing.
    Unwritten,
}

impl Loss {
    /// All of them, in the order of their counts on disk: a new one goes to the end.
    pub const ALL: [Self; 3] = [Self::Missing, Self::TooLong, Self::Unwritten];

    /// Short lower-case name, for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too-long",
            Self::Unwritten => "unwritten",
        }
    }

    /// The reason in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "acknowledged, but the disk did not give them back",
            Self::TooLong => "longer than the queue stores",
            Self::Unwritten => "never written: the service ended while the disk took nothing",
        }
    }
}

/// Records lost since the queue was made, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Losses(pub [u64; Loss::ALL.len()]);

impl Losses {
    /// Counts some more.
    pub fn add(&mut self, why: Loss, records: u64) {
        let count = &mut self.0[why as usize];
        *count = count.saturating_add(records);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason there is, and its count.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> {
        Loss::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// What became of the records one sink wanted, since it is known to the queue: each record counts once, however often it
/// is parked and put back, and over all restarts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// Of those appended, how many this process found waiting when it opened the queue.
    pub carried: u64,
    /// Appended.
    pub appended: u64,
    /// Settled as delivered.
    pub delivered: u64,
    /// Parked now.
    pub parked: u64,
    /// Dropped by the operator.
    pub dropped: u64,
    /// Interim records that a newer record of their session made needless before they were delivered.
    pub superseded: u64,
    /// Found to be missing or unreadable on disk, and not salvaged.
    pub lost: u64,
    /// Waiting now, lent ones included.
    pub waiting: u64,
}

impl Balance {
    /// Whether appended = delivered + parked + dropped + superseded + lost + waiting.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.appended == self.ended()
    }

    const fn ended(&self) -> u64 {
        self.delivered + self.parked + self.dropped + self.superseded + self.lost + self.waiting
    }

    /// Brings totals kept on disk and what was found waiting and parked at opening together. Each is as new as its own
    /// last write: after a kill the one may know of a delivery that the other does not.
    pub(super) fn reconcile(&mut self, was_damaged: bool) {
        let ended = self.ended();
        if ended < self.appended && was_damaged {
            // What a salvage brings back counts as appended again.
            self.appended = ended;
        } else if ended < self.appended {
            self.delivered += self.appended - ended;
        } else {
            // They come again, and count then.
            let again = self.delivered.min(ended - self.appended);
            self.delivered -= again;
            self.appended = ended - again;
        }
    }

    /// The totals that are kept on disk.
    pub(super) const fn totals(&self) -> [u64; 5] {
        [self.appended, self.delivered, self.dropped, self.superseded, self.lost]
    }

    /// Takes up totals from disk; those an earlier release did not write are 0.
    pub(super) fn take_totals(&mut self, totals: &[u64]) {
        let places = [&mut self.appended, &mut self.delivered, &mut self.dropped, &mut self.superseded, &mut self.lost];
        places.into_iter().zip(totals).for_each(|(place, total)| *place = *total);
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
    /// Records lost since the queue was made.
    pub losses: Losses,
    /// Records that wait in memory for the disk to take them.
    pub unwritten: u64,
    /// Why the last commit failed; empty when it did not.
    pub store_error: String,
    /// Where the alarm state begins as things stand.
    pub limits: Limits,
    /// `queue.free_min_mib` in octets.
    pub free_min: u64,
    /// The longest a commit may take before the alarm state begins.
    pub refuse_after: Duration,
    /// What the alarm state does to new calls, in words.
    pub alarm_effect: String,
    /// What the limits were held against last.
    pub load: Load,
    /// Octets the reserve file should have; with less than that a full disk soon takes nothing any more.
    pub reserve_wanted: u64,
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
    /// Whether a salvage runs.
    pub salvaging: bool,
}

impl Stats {
    /// What is wrong, in words with the figures: the load, the option it is held against, and what follows.
    #[must_use]
    pub fn reason(&self, trouble: Trouble) -> String {
        let text = self.cause(trouble);
        if self.alarm_effect.is_empty() { text } else { format!("{text}: {}", self.alarm_effect) }
    }

    fn cause(&self, trouble: Trouble) -> String {
        let Self { load, limits, .. } = self;
        let mib = |octets: u64| octets >> 20;
        match trouble {
            Trouble::Records => format!(
                "{} records wait, `queue.records_max` less the ends of {} calls is {}",
                load.records, load.calls, limits.records
            ),
            Trouble::Bytes => format!(
                "{} MiB of records wait, `queue.waiting_max_mib` less the ends of {} calls is {}",
                mib(load.bytes),
                load.calls,
                mib(limits.bytes)
            ),
            Trouble::Age => format!(
                "the oldest record waits for {} s, `queue.age_max_s` is {}",
                load.age.as_secs(),
                limits.age.as_secs()
            ),
            Trouble::Disk if load.spent > 0 => format!(
                "{} MiB free, the reserve of {} MiB is spent and not yet there again",
                mib(load.free),
                mib(load.spent)
            ),
            Trouble::Disk if limits.free > self.free_min => format!(
                "{} KiB free, the ends of {} calls in progress need {}",
                load.free >> 10,
                load.calls,
                limits.free >> 10
            ),
            Trouble::Disk => format!("{} MiB free, `queue.free_min_mib` is {}", mib(load.free), mib(limits.free)),
            Trouble::Slow => format!(
                "the last commit took {} ms, `queue.refuse_after_ms` is {}",
                self.commit_last.as_millis(),
                self.refuse_after.as_millis()
            ),
            Trouble::Store if self.store_error.is_empty() => "the last commit failed".to_owned(),
            Trouble::Store => {
                format!("nothing can be written ({}): {} records wait in memory", self.store_error, self.unwritten)
            }
            Trouble::Backlog => format!("more commits wait than the queue takes: {} records in memory", self.unwritten),
        }
    }

    /// Everything that is wrong, in words: why new calls may be refused, and a reserve that is not whole.
    #[must_use]
    pub fn alarm(&self) -> Vec<String> {
        self.troubles.iter().map(|trouble| self.reason(trouble)).chain(self.reserve_reason()).collect()
    }

    /// What is wrong with the reserve, in words; `None` when it is whole.
    #[must_use]
    pub fn reserve_reason(&self) -> Option<String> {
        (self.load.reserve < self.reserve_wanted).then(|| {
            format!(
                "the reserve holds {} MiB of {}: it is spent or finds no room",
                self.load.reserve >> 20,
                self.reserve_wanted >> 20
            )
        })
    }

    /// Whether the balance of every sink holds.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.sinks.iter().all(|sink| sink.balance.holds())
    }
}
