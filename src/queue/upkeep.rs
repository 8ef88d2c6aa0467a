//! What the queue does besides commits: settlements of sealed spools, parking, switching, salvage, limits, closing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Instant, Now};
use crate::ids::{Seq, SinkMask};

use super::balance::{Balance, Loss, SinkStats, Stats};
use super::database::Database;
use super::error::StoreError;
use super::layout::CHUNK_RECORDS;
use super::limits::{Load, Trouble, Troubles, judge, limits, reserve_wanted};
use super::notice::{Notice, chain_text};
use super::parked::shortened;
use super::spool::read_records;
use super::store::Queue;
use super::switch::Switch;
use super::totals;
use super::window::made;

impl Queue {
    /// Does what is due: parks, stores settlements of sealed spools, switches, salvages, looks at the limits. A commit
    /// by [`Queue::finish`] is due afterwards when [`Queue::gathered`] is not 0.
    pub fn tick(&mut self, now: Now) {
        self.flush_parking(now);
        self.flush_overtaken(now);
        let sealed_due = self.timing.sealed_dirty.is_some_and(|since| now.mono >= since + SETTLED_WAIT);
        if sealed_due || self.timing.settled_since >= SETTLED_MAX {
            self.timing.sealed_dirty = None;
            self.timing.settled_since = 0;
            for index in 0..self.chain.spools.len() - 1 {
                self.chain.store_settled(index);
            }
            self.chain.remove_finished();
        }
        if self.timing.stuck_until.is_none() {
            self.step_switch(now);
            if self.building.records.is_empty() {
                self.step_salvage(now);
            }
        }
        self.step_unread(now);
        if self.timing.looked.is_none_or(|looked| now.mono >= looked + LOOK_EVERY) {
            self.timing.looked = Some(now.mono);
            self.look(now);
        }
    }

    /// When [`Queue::tick`], [`Queue::lease`] or a commit of settlements has something to do again.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Instant {
        let soon = matches!(self.switch, Switch::Copying { .. }) || !self.parking.is_empty() || self.has_unknown(now);
        if soon {
            return now.mono;
        }
        let mut next = self.timing.looked.map_or(now.mono, |looked| looked + LOOK_EVERY);
        if self.salvage.is_busy() {
            next = next.min(now.mono + SALVAGE_EVERY);
        }
        for since in [self.timing.sealed_dirty, self.timing.active_dirty].into_iter().flatten() {
            next = next.min(since + SETTLED_WAIT);
        }
        let windows = self.sinks.iter().filter(|sink| sink.attached);
        // What was due in this turn and not lent is lent when somebody asks for it.
        let times = windows.filter_map(|sink| sink.window.deadline()).filter(|at| *at > now.mono);
        times.fold(next, Instant::min)
    }

    /// Whether a commit is due though nothing was added: settlements of the active spool have waited long enough, or
    /// the last commit was slow and no other one came to show that the disk is well again.
    #[must_use]
    pub fn commit_due(&self, now: Now) -> bool {
        let settled = self.timing.active_dirty.is_some_and(|since| now.mono >= since + SETTLED_WAIT);
        let probe = self.stats.troubles.has(Trouble::Slow)
            && self.timing.committed.is_none_or(|last| now.mono >= last + PROBE_EVERY);
        settled || probe
    }

    /// Makes the records that are to be parked durable there, then settles them.
    pub(super) fn flush_parking(&mut self, now: Now) {
        if self.parking.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.parking);
        let result = self.parked.put(&records);
        if let Err(error) = &result {
            self.chain.notices.push(Notice::ParkFailed { why: chain_text(error) });
        }
        for (place, record) in records.into_iter().enumerate() {
            let Some(index) = self.index(record.sink) else { continue };
            match &result {
                Ok(fresh) => {
                    let fresh = fresh.get(place).copied().unwrap_or(true);
                    self.leave(index, record.seq, record.body.len(), now.mono, |balance| {
                        if fresh {
                            balance.parked += 1;
                        } else {
                            // It was there twice, and is no more.
                            balance.appended -= 1;
                        }
                    });
                }
                Err(_) => self.sinks[index].window.back_off(record.seq, now.mono, PARK_AGAIN, record.reason),
            }
        }
    }

    /// Holds the queue against its limits.
    pub(super) fn look(&mut self, now: Now) {
        self.stats.free_bytes = self.chain.place.free_bytes();
        self.stats.disk_bytes = self.chain.disk_bytes();
        self.timing.sized_at = None;
        let (low, before) = self.low();
        self.stats.held = self.next - low;
        self.stats.held_bytes = self.total.saturating_sub(before);
        self.keep_reserve(now.mono);
        let load = Load {
            records: self.sinks.iter().map(|sink| sink.balance.waiting).max().unwrap_or(0),
            bytes: self.sinks.iter().map(|sink| sink.waiting_bytes).max().unwrap_or(0),
            age: self.age_of_oldest(now),
            free: self.stats.free_bytes,
            reserve: self.chain.place.reserve_bytes(),
            spent: if self.timing.reserve_spent { self.stats.reserve_wanted } else { 0 },
            calls: self.stats.calls,
        };
        let settings = &self.chain.settings;
        let verdict = judge(settings, load);
        self.stats.load = load;
        self.stats.limits = limits(settings, load);
        self.stats.free_min = settings.free_min;
        self.stats.commit_wait_max = settings.commit_wait_max;
        self.stats.alarm_effect.clone_from(&settings.alarm_effect);
        for trouble in [Trouble::Records, Trouble::Bytes, Trouble::Age, Trouble::Disk] {
            self.set_trouble(trouble, verdict.troubles.has(trouble));
        }
        if !verdict.near.is_empty() && verdict.near != self.verdict.near {
            self.chain.notices.push(Notice::Near { limits: verdict.near });
        }
        self.verdict = verdict;
    }

    /// Keeps the reserve as large as the ends of the calls in progress need. One that was spent is made anew only when
    /// the disk is well again: otherwise it would take from the ends what it is to keep for them.
    fn keep_reserve(&mut self, now: Instant) {
        let wanted = reserve_wanted(&self.chain.settings, self.stats.calls);
        self.stats.reserve_wanted = wanted;
        let missing = wanted.saturating_sub(self.chain.place.reserve_bytes());
        let spent = self.timing.reserve_spent;
        let besides = if spent { self.chain.settings.free_min.max(wanted) } else { RESERVE_BESIDES };
        let paused = self.timing.reserve_pause.is_some_and(|until| now < until);
        if missing == 0 || paused || self.stats.free_bytes < missing.saturating_add(besides) {
            return;
        }
        match self.chain.place.keep_reserve(wanted) {
            Ok(()) => {
                self.stats.free_bytes = self.chain.place.free_bytes();
                if std::mem::take(&mut self.timing.reserve_spent) {
                    self.chain.notices.push(Notice::ReserveKept { bytes: wanted });
                }
            }
            Err(error) => {
                self.timing.reserve_pause = Some(now + RESERVE_PAUSE);
                self.chain.notices.push(Notice::Failed { action: "keep the reserve", why: error.to_string() });
            }
        }
    }

    /// Gives the reserve up; whether there was one.
    pub(super) fn spend_reserve(&mut self) -> bool {
        let bytes = self.chain.place.reserve_bytes();
        let given = self.chain.place.give_reserve();
        if given {
            self.timing.reserve_spent = true;
            // New calls are refused from the next turn on.
            self.timing.looked = None;
            self.chain.notices.push(Notice::ReserveSpent { bytes });
        }
        given
    }

    /// First place that is waited for, at the most a chunk too low, and the sum of body octets before it.
    fn low(&self) -> (u64, u64) {
        let Some(spool) = self.chain.spools.iter().find(|spool| spool.bits.open() > 0) else {
            return (self.next, self.total);
        };
        let low = (u64::from(spool.bits.low()) * CHUNK_RECORDS).max(spool.bits.first());
        (low, spool.bits.total_before().unwrap_or(self.total))
    }

    fn age_of_oldest(&mut self, now: Now) -> Duration {
        let mut oldest = Duration::ZERO;
        for index in 0..self.sinks.len() {
            let age = self.age_of(index, now);
            self.sinks[index].oldest = age;
            oldest = oldest.max(age);
        }
        oldest
    }

    fn age_of(&mut self, index: usize, now: Now) -> Duration {
        let sink = &self.sinks[index];
        if sink.balance.waiting == 0 {
            self.sinks[index].oldest_made = None;
            return Duration::ZERO;
        }
        let open = |spool: &super::spool::Spool| spool.bits.next_open(sink.since, 0);
        let Some((place, seq)) = self.chain.spools.iter().enumerate().find_map(|(n, spool)| Some((n, open(spool)?)))
        else {
            return Duration::ZERO;
        };
        let from_disk = || {
            // A closed spool is not opened for this; what was found earlier holds on and grows.
            let database = self.chain.spools[place].database.as_ref()?;
            read_records(database, seq, seq + 1, 1).records.pop().map(|record| record.id)
        };
        let id = sink.window.slot(seq).map(|slot| slot.id).or_else(from_disk);
        let oldest = id.map(made).or(sink.oldest_made);
        self.sinks[index].oldest_made = oldest;
        oldest.map_or(Duration::ZERO, |oldest| now.wall.since(oldest))
    }

    pub(super) fn set_trouble(&mut self, trouble: Trouble, there: bool) {
        let before = self.stats.troubles;
        self.stats.troubles = if there { before.with(trouble) } else { before.without(trouble) };
        if self.stats.troubles != before {
            let reasons = self.stats.troubles.iter().map(|trouble| self.stats.reason(trouble)).collect();
            self.chain.notices.push(Notice::Alarm { reasons });
        }
    }

    /// The state of the queue.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.head = self.next - 1;
        stats.unwritten = self.building.records.len() as u64;
        stats.spools = self.chain.spools.len() as u64;
        stats.salvaging = self.salvage.is_busy();
        stats.sinks = self
            .sinks
            .iter()
            .map(|sink| SinkStats {
                name: sink.name.clone(),
                sink: sink.since.sink,
                configured: sink.configured,
                balance: Balance { parked: self.parked.parked(sink.since.sink), ..sink.balance },
                waiting_bytes: sink.waiting_bytes,
                oldest: sink.oldest,
                leased: sink.window.out(),
                backing_off: sink.window.backing_off(),
                parked_now: self.parked.parked(sink.since.sink),
                retries: sink.retries,
            })
            .collect();
        stats.sinks.sort_by_key(|sink| sink.sink);
        stats
    }

    /// Reasons for the alarm state.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        self.stats.troubles
    }

    /// Parks at once what was to be parked.
    pub fn flush_parking_now(&mut self, now: Now) {
        self.flush_parking(now);
    }

    /// All values kept by name.
    #[must_use]
    pub fn kept_metas(&self) -> BTreeMap<String, Vec<u8>> {
        let kept = |(name, value): (&Vec<u8>, &Vec<u8>)| {
            let name = name.strip_prefix(b"kept/")?;
            Some((String::from_utf8_lossy(name).into_owned(), value.clone()))
        };
        self.chain.metas.iter().filter_map(kept).collect()
    }

    /// What the operator should hear since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.chain.notices)
    }

    /// A value kept by name with the queue.
    #[must_use]
    pub fn meta_bytes(&self, name: &str) -> Option<&[u8]> {
        self.chain.metas.get(&kept_name(name)).map(Vec::as_slice)
    }

    /// Keeps a value by name with the queue, durably: at most 4,096 octets, a name of at most 64.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_meta_bytes(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let name = shortened(name, META_NAME_BYTES_MAX);
        self.chain.keep_meta(&kept_name(name), value[..value.len().min(META_BYTES_MAX)].to_vec())
    }

    /// Highest place taken; 0 when none was.
    #[must_use]
    pub fn head(&self) -> Seq {
        Seq(self.next - 1)
    }

    /// All sinks the queue knows.
    #[must_use]
    pub fn known(&self) -> SinkMask {
        self.known
    }

    /// Has the next commit be tried, however lately one failed.
    pub fn try_at_once(&mut self) {
        self.timing.stuck_until = None;
    }

    /// Commits what is left, stores all settlements and closes everything, so that the next start need not look
    /// closely.
    ///
    /// # Errors
    /// When something could not be written. The files are closed all the same.
    pub fn close(mut self, clock: fn() -> Now) -> Result<(), StoreError> {
        self.flush_parking(clock());
        self.flush_overtaken(clock());
        if let Switch::Copying { spool, .. } = std::mem::take(&mut self.switch) {
            self.chain.discard(*spool);
        }
        let active_dirty = self.chain.active().bits.is_dirty();
        let pending = !self.building.records.is_empty() || !self.building.calls.is_empty();
        self.try_at_once();
        let counted = self.chain.metas.get(totals::NAME) != Some(&self.totals());
        let result = if active_dirty || pending || counted { self.finish(clock) } else { Ok(()) };
        if result.is_err() {
            self.lose(Loss::Unwritten, self.unwritten().len() as u64);
        }
        for index in 0..self.chain.spools.len() - 1 {
            self.chain.store_settled(index);
        }
        self.chain.remove_finished();
        self.parked.close();
        let whole = self.chain.spools.iter().all(|spool| !spool.database.as_ref().is_some_and(Database::has_failed));
        self.chain.spools.clear();
        if result.is_ok() && whole {
            self.chain.place.put_clean().map_err(StoreError::Io)?;
        }
        result
    }
}

fn kept_name(name: &str) -> Vec<u8> {
    [b"kept/", name.as_bytes()].concat()
}

/// The longest name of a value kept, in octets.
const META_NAME_BYTES_MAX: usize = 64;

/// The longest value kept, in octets.
const META_BYTES_MAX: usize = 4096;

/// The longest wait of a settlement for a commit; losing one means a repeat, never a loss.
const SETTLED_WAIT: Duration = Duration::from_millis(200);

/// Settlements of sealed spools stored at the latest.
const SETTLED_MAX: u32 = 1000;

/// How often limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause between commits that only show how quick the disk is.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Free space that a reserve leaves when it is made: what the active spool needs in order to go on.
const RESERVE_BESIDES: u64 = 4 << 20;

/// Pause after a reserve that could not be made though the file system said that there was room.
const RESERVE_PAUSE: Duration = Duration::from_secs(60);

/// How often a salvage is asked for what it found.
const SALVAGE_EVERY: Duration = Duration::from_millis(5);

/// Pause before a record that could not be parked is delivered again.
const PARK_AGAIN: Duration = Duration::from_secs(10);
