//! How the queue is: its counts, what is wrong with the disk, and the reserve that lets calls in progress end when the disk
//! is full.

use std::time::Duration;

use super::balance::{Loss, Stats};
use super::chain::Chain;
use super::error::StoreError;
use super::limits::{Load, Trouble, Troubles, judge, limits, reserve_wanted};
use super::notice::Notice;
use crate::causes::chain_text;
use crate::clock::Instant;

/// The counts, the alarm state, and when something was done last.
#[derive(Debug, Default)]
pub struct Health {
    stats: Stats,
    /// Places of acknowledged records that are gone, until somebody takes them.
    lost: Vec<(u64, u64)>,
    /// Limits that are near.
    near: Troubles,
    looked: Option<Instant>,
    committed: Option<Instant>,
    /// No spool took the last commit: none is tried before.
    stuck_until: Option<Instant>,
    /// Whether the reserve was given up and is not there again.
    reserve_spent: bool,
    /// No reserve is made before.
    reserve_pause: Option<Instant>,
}

impl Health {
    /// Takes up what is known from before.
    pub fn new(chain: &mut Chain) -> Self {
        let stats = Stats { losses: chain.place().losses(), ..Stats::default() };
        let health = Self { stats, ..Self::default() };
        // There from now on: a full disk lets a file be written over, but none be made.
        health.keep_losses(chain);
        health
    }

    /// The state of the queue as far as it is known here.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Reasons for the alarm state.
    pub fn troubles(&self) -> Troubles {
        self.stats.troubles
    }

    /// Octets of all bodies appended so far.
    pub fn appended_bytes(&self) -> u64 {
        self.stats.appended_bytes
    }

    /// Counts records as lost, for good: the count survives whatever the disk still takes.
    pub fn lose(&mut self, chain: &mut Chain, why: Loss, records: u64) {
        if records == 0 {
            return;
        }
        self.stats.losses.add(why, records);
        if why != Loss::Missing {
            chain.tell(Notice::Losing { why, records });
        }
        self.keep_losses(chain);
    }

    fn keep_losses(&self, chain: &mut Chain) {
        if let Err(error) = chain.place().keep_losses(&self.stats.losses) {
            chain.failed("write `lost`", &error);
        }
    }

    /// States that acknowledged records are gone.
    pub fn report_lost(&mut self, chain: &mut Chain, from: u64, to: u64) {
        chain.tell(Notice::Lost { from, to });
        if self.lost.len() < LOST_RANGES_MAX {
            self.lost.push((from, to));
        }
        self.lose(chain, Loss::Missing, to - from + 1);
    }

    /// The places that were reported lost since the last call.
    pub fn lost_ranges(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.lost)
    }

    /// A record was settled that was not lent.
    pub fn stray(&mut self) {
        self.stats.settlements_stray += 1;
    }

    /// A record came back from a damaged file.
    pub fn salvaged(&mut self) {
        self.stats.salvaged += 1;
    }

    /// A spool was found damaged.
    pub fn damaged(&mut self) {
        self.stats.damaged += 1;
    }

    /// So many are there.
    pub fn set_damaged(&mut self, spools: usize) {
        self.stats.damaged = spools as u64;
    }

    /// So many calls are in progress.
    pub fn calls(&mut self, calls: usize) {
        self.stats.calls = calls as u64;
    }

    /// Whether the last commit failed so lately that none is to be tried.
    pub fn is_stuck(&self, now: Instant) -> bool {
        self.stuck_until.is_some_and(|until| now < until)
    }

    /// Whether the last commit failed.
    pub fn has_failed(&self) -> bool {
        self.stuck_until.is_some()
    }

    /// Has the next commit be tried, however lately one failed.
    pub fn try_at_once(&mut self) {
        self.stuck_until = None;
    }

    /// A commit began and ended at these times.
    pub fn measure(&mut self, chain: &mut Chain, begin: Instant, end: Instant, result: &Result<(), StoreError>) {
        let took = end.since(begin);
        let Err(error) = result else {
            self.stats.commits += 1;
            self.stats.commit_last = took;
            self.stats.commit_sum += took;
            self.stats.commit_longest = self.stats.commit_longest.max(took);
            if took > chain.settings().commit_wait_max {
                chain.tell(Notice::SlowCommit { took });
            }
            let slow = took > chain.settings().refuse_after;
            self.set_trouble(chain, Trouble::Store, false);
            self.set_trouble(chain, Trouble::Slow, slow);
            self.stats.store_error.clear();
            (self.stuck_until, self.committed) = (None, Some(end));
            return;
        };
        self.stats.commits_failed += 1;
        self.set_trouble(chain, Trouble::Store, true);
        self.stuck_until = Some(end + STUCK_PAUSE);
        let why = chain_text(error);
        if self.stats.store_error != why {
            // Once for each reason: it is tried again every second.
            chain.tell(Notice::Stuck { why: why.clone() });
        }
        self.stats.store_error = why;
    }

    /// So many records of so many octets were appended.
    pub fn appended(&mut self, records: usize, bytes: u64) {
        self.stats.appended += records as u64;
        self.stats.appended_bytes += bytes;
    }

    /// Whether commits are slow: one that has something to write shows whether the disk is quick again.
    pub fn is_slow(&self) -> bool {
        self.stats.troubles.has(Trouble::Slow)
    }

    /// Whether such a commit is due because no other one came.
    pub fn probe_due(&self, now: Instant) -> bool {
        self.is_slow() && self.committed.is_none_or(|last| now >= last + PROBE_EVERY)
    }

    /// Whether it is time to look at the limits.
    pub fn look_due(&mut self, now: Instant) -> bool {
        let is_due = self.looked.is_none_or(|looked| now >= looked + LOOK_EVERY);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// When it is.
    pub fn deadline(&self, now: Instant) -> Instant {
        self.looked.map_or(now, |looked| looked + LOOK_EVERY)
    }

    /// Whether a failure is to be told at this instant: once.
    pub fn tells(&mut self, now: Instant) -> bool {
        self.looked.replace(now) != Some(now)
    }

    /// Holds the queue against its limits: for the sink with the most, so many records and octets wait, the oldest for so long.
    pub fn look(&mut self, chain: &mut Chain, now: Instant, (records, bytes, age): (u64, u64, Duration)) {
        self.stats.free_bytes = chain.place().free_bytes();
        self.stats.disk_bytes = chain.disk_bytes();
        let ((low, before), (next, total)) = (chain.low(), chain.end());
        self.stats.held = next - low;
        self.stats.held_bytes = total.saturating_sub(before);
        self.keep_reserve(chain, now);
        let load = Load {
            records,
            bytes,
            age,
            free: self.stats.free_bytes,
            reserve: chain.place().reserve_bytes(),
            spent: if self.reserve_spent { self.stats.reserve_wanted } else { 0 },
            calls: self.stats.calls,
        };
        let settings = chain.settings();
        let verdict = judge(settings, load);
        self.stats.load = load;
        self.stats.limits = limits(settings, load);
        self.stats.free_min = settings.free_min;
        self.stats.refuse_after = settings.refuse_after;
        self.stats.alarm_effect.clone_from(&settings.alarm_effect);
        for trouble in [Trouble::Records, Trouble::Bytes, Trouble::Age, Trouble::Disk] {
            self.set_trouble(chain, trouble, verdict.troubles.has(trouble));
        }
        if !verdict.near.is_empty() && verdict.near != self.near {
            chain.tell(Notice::Near { limits: verdict.near });
        }
        self.near = verdict.near;
    }

    /// Keeps the reserve as large as the ends of the calls in progress need. One that was spent is made anew only when
    /// the disk is well again: otherwise it would take from the ends what it is to keep for them.
    fn keep_reserve(&mut self, chain: &mut Chain, now: Instant) {
        let wanted = reserve_wanted(chain.settings(), self.stats.calls);
        self.stats.reserve_wanted = wanted;
        let missing = wanted.saturating_sub(chain.place().reserve_bytes());
        let besides = if self.reserve_spent { chain.settings().free_min.max(wanted) } else { RESERVE_BESIDES };
        let paused = self.reserve_pause.is_some_and(|until| now < until);
        if missing == 0 || paused || self.stats.free_bytes < missing.saturating_add(besides) {
            return;
        }
        match chain.place().keep_reserve(wanted) {
            Ok(()) => {
                self.stats.free_bytes = chain.place().free_bytes();
                if std::mem::take(&mut self.reserve_spent) {
                    chain.tell(Notice::ReserveKept { bytes: wanted });
                }
            }
            Err(error) => {
                self.reserve_pause = Some(now + RESERVE_PAUSE);
                chain.failed("keep the reserve", &error);
            }
        }
    }

    /// Gives the reserve up; whether there was one.
    pub fn spend_reserve(&mut self, chain: &mut Chain) -> bool {
        let bytes = chain.place().reserve_bytes();
        let given = chain.place().give_reserve();
        if given {
            self.reserve_spent = true;
            // New calls are refused from the next turn on.
            self.looked = None;
            chain.tell(Notice::ReserveSpent { bytes });
        }
        given
    }

    fn set_trouble(&mut self, chain: &mut Chain, trouble: Trouble, there: bool) {
        let before = self.stats.troubles;
        self.stats.troubles = if there { before.with(trouble) } else { before.without(trouble) };
        if self.stats.troubles != before {
            let reasons = self.stats.troubles.iter().map(|trouble| self.stats.reason(trouble)).collect();
            chain.tell(Notice::Alarm { reasons });
        }
    }
}

/// Ranges of lost places that are remembered; that there were more is in the counts.
const LOST_RANGES_MAX: usize = 4096;

/// How often limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause after a commit that no spool took.
const STUCK_PAUSE: Duration = Duration::from_secs(1);

/// Pause between commits that only show how quick the disk is.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Free space that a reserve leaves when it is made: what the active spool needs in order to go on.
const RESERVE_BESIDES: u64 = 4 << 20;

/// Pause after a reserve that could not be made though the file system said that there was room.
const RESERVE_PAUSE: Duration = Duration::from_secs(60);
