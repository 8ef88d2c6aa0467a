//! The sinks: what each of them waits for, where it reads, and what became of its records.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use bytes::Bytes;

use super::balance::{Balance, SinkStats};
use super::bitmap::{Bitmaps, Since};
use super::building::Fresh;
use super::collapse::{Older, Sessions};
use super::settings::Settings;
use super::spool::StoredRecord;
use super::window::{Slot, Window, made};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, RecordId, SINKS_MAX, SinkMask, SinkNumber};

/// All sinks the queue knows.
#[derive(Debug)]
pub struct Sinks {
    all: Vec<Sink>,
    by_number: [Option<u8>; SINKS_MAX],
    known: SinkMask,
}

/// One sink of the queue.
#[derive(Debug)]
pub struct Sink {
    name: String,
    since: Since,
    configured: bool,
    /// What it reads of the queue.
    window: Window,
    balance: Balance,
    waiting_bytes: u64,
    /// Whether Interims collapse: only the newest of a session is worth delivering.
    collapses: bool,
    /// Sessions whose newest Interim is known.
    interims: Sessions,
    retries: u64,
    /// Age of its oldest waiting record when it was looked at last.
    oldest: Duration,
    /// When its oldest waiting record was made, as far as is known.
    oldest_made: Option<Timestamp>,
    /// Whether somebody leases; without that nothing is kept in memory for it.
    attached: bool,
}

impl Index<usize> for Sinks {
    type Output = Sink;

    fn index(&self, index: usize) -> &Sink {
        &self.all[index]
    }
}

impl IndexMut<usize> for Sinks {
    fn index_mut(&mut self, index: usize) -> &mut Sink {
        &mut self.all[index]
    }
}

impl Sinks {
    pub fn new() -> Self {
        Self { all: Vec::new(), by_number: [None; SINKS_MAX], known: SinkMask::NONE }
    }

    /// Adds a sink, in place of one that has its number.
    pub fn add(&mut self, name: String, since: Since, settings: &Settings) -> usize {
        self.all.retain(|other| other.since.sink != since.sink);
        self.all.push(Sink {
            name,
            since,
            configured: false,
            window: Window::new(0, settings.window_records, settings.window_bytes),
            balance: Balance::default(),
            waiting_bytes: 0,
            collapses: false,
            interims: Sessions::default(),
            retries: 0,
            oldest: Duration::ZERO,
            oldest_made: None,
            attached: false,
        });
        (self.by_number, self.known) = ([None; SINKS_MAX], SinkMask::NONE);
        for (index, sink) in (0..).zip(&self.all) {
            self.by_number[usize::from(sink.since.sink.0 & 63)] = Some(index);
            self.known = self.known.with(sink.since.sink);
        }
        self.all.len() - 1
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Sink> {
        self.all.iter()
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Sink> {
        self.all.iter_mut()
    }

    /// Those that somebody leases for.
    pub fn attached(&mut self) -> impl Iterator<Item = &mut Sink> {
        self.all.iter_mut().filter(|sink| sink.attached)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them, as a mask.
    pub fn known(&self) -> SinkMask {
        self.known
    }

    /// Which one has this number.
    pub fn index_of(&self, sink: SinkNumber) -> Option<usize> {
        self.by_number.get(usize::from(sink.0)).copied().flatten().map(usize::from)
    }

    /// The one with this number.
    pub fn by_number(&self, sink: SinkNumber) -> Option<&Sink> {
        Some(&self.all[self.index_of(sink)?])
    }

    /// Since when each of them is known.
    pub fn since(&self) -> Vec<Since> {
        self.all.iter().map(|sink| sink.since).collect()
    }

    /// Counts something of the sink with this number.
    pub fn count(&mut self, sink: SinkNumber, count: impl FnOnce(&mut Balance)) {
        if let Some(index) = self.index_of(sink) {
            count(&mut self.all[index].balance);
        }
    }

    /// Records that are on disk now, from place `first` on.
    pub fn appended(&mut self, first: u64, records: &[Fresh], now: Instant) {
        for (seq, record) in (first..).zip(records) {
            for sink in &mut self.all {
                sink.appended(seq, record, now);
            }
        }
    }

    /// Which of them wait for a record of a spool.
    pub fn waiting_for(&self, record: &StoredRecord, bits: &Bitmaps) -> SinkMask {
        let waits = |sink: &&Sink| record.sinks.has(sink.number()) && bits.waits(sink.since, record.seq);
        self.all.iter().filter(waits).fold(SinkMask::NONE, |mask, sink| mask.with(sink.number()))
    }

    /// Most records that wait for one of them, and most octets.
    pub fn most_waiting(&self) -> (u64, u64) {
        let records = self.all.iter().map(|sink| sink.balance.waiting).max().unwrap_or(0);
        (records, self.all.iter().map(|sink| sink.waiting_bytes).max().unwrap_or(0))
    }

    /// When a window has something to lend again. What was due in this turn and not lent is lent when somebody asks for it.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let attached = self.all.iter().filter(|sink| sink.attached);
        attached.filter_map(|sink| sink.window.deadline()).filter(|at| *at > now).min()
    }

    /// Where the first place is of which some sink does not know whose call it is.
    pub fn unknown_from(&self) -> Option<u64> {
        let attached = self.all.iter().filter(|sink| sink.attached);
        attached.filter_map(|sink| sink.window.unknown()).map(|unknown| unknown.start).min()
    }

    /// The calls of the places before `seq` are known.
    pub fn known_to(&mut self, seq: u64) {
        self.all.iter_mut().for_each(|sink| sink.window.known_to(seq));
    }

    /// The state of each; `parked` gives how many records of it are parked.
    pub fn stats(&self, parked: impl Fn(SinkNumber) -> u64) -> Vec<SinkStats> {
        let mut stats: Vec<_> = self.all.iter().map(|sink| sink.stats(parked(sink.number()))).collect();
        stats.sort_by_key(|sink| sink.sink);
        stats
    }
}

impl Sink {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn since(&self) -> Since {
        self.since
    }

    pub fn number(&self) -> SinkNumber {
        self.since.sink
    }

    pub fn window(&self) -> &Window {
        &self.window
    }

    pub fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// Whether Interims collapse.
    pub fn collapses(&self) -> bool {
        self.collapses
    }

    /// Whether the configuration has it.
    pub fn is_configured(&self) -> bool {
        self.configured
    }

    /// The configuration has it.
    pub fn configure(&mut self, settings: &Settings) {
        self.configured = true;
        self.collapses = settings.collapsing.contains(&self.name);
    }

    /// What an opened spool holds of it; spools are opened from the newest to the oldest. Later it may be closed.
    pub fn found_in(&mut self, bits: &Bitmaps, total: u64, first: Option<RecordId>) {
        self.waiting_bytes += bits.waiting_bytes(self.since, total);
        self.oldest_made = first.map(made).or(self.oldest_made);
    }

    /// So many records wait for it and are parked, and these are its totals on disk; it reads from `first` on. Whether that
    /// makes it an orphan: nobody is to take what waits.
    pub fn begin(&mut self, (waiting, parked): (u64, u64), totals: &[u64], first: u64) -> bool {
        self.balance = Balance { carried: waiting, waiting, parked, ..Balance::default() };
        self.balance.take_totals(totals);
        self.window.advance(first);
        waiting > 0 && !self.configured
    }

    /// Brings its totals and what is there together.
    pub fn reconcile(&mut self, was_damaged: bool) {
        self.balance.reconcile(was_damaged);
    }

    /// Somebody leases from now on; `next` is the next place.
    pub fn attach(&mut self, next: u64) {
        if !std::mem::replace(&mut self.attached, true) {
            self.window.begin(next);
        }
    }

    /// Nobody does any more: what was lent is taken back, and read from `first` on by the next.
    pub fn detach(&mut self, first: u64, settings: &Settings) {
        self.window = Window::new(first, settings.window_records, settings.window_bytes);
        self.attached = false;
    }

    /// Counts an appended record, and offers it to the window.
    fn appended(&mut self, seq: u64, record: &Fresh, now: Instant) {
        let wants = record.sinks.has(self.since.sink);
        if wants {
            self.balance.appended += u64::from(record.origin.is_counted());
            self.balance.waiting += 1;
            self.waiting_bytes += record.body.len() as u64;
        }
        if wants && self.attached {
            self.window.offer(seq, record.id, record.call, &record.body, now);
        } else if !wants && self.window.cursor() == seq {
            self.window.advance(seq + 1);
        }
    }

    /// A record of so many octets has left it for good.
    pub fn left(&mut self, bytes: usize, count: impl FnOnce(&mut Balance)) {
        count(&mut self.balance);
        self.balance.waiting = self.balance.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes as u64);
        if self.balance.waiting == 0 {
            self.waiting_bytes = 0;
        }
    }

    /// A record has another place from now on; it was put away here. If it is not waited for any more, it has ended meanwhile:
    /// then the copy is one more.
    pub fn moved(&mut self, seq: u64, is_waited_for: bool) {
        self.window.remove(seq);
        if is_waited_for {
            self.balance.waiting -= 1;
        } else {
            self.balance.appended += 1;
        }
    }

    /// A record it waited for is gone.
    pub fn lost(&mut self, seq: u64) {
        self.window.remove(seq);
        self.balance.waiting -= 1;
        self.balance.lost += 1;
    }

    /// A delivery is to be repeated.
    pub fn retries(&mut self) {
        self.retries += 1;
    }

    /// Whether the record at `seq` is an Interim of which a newer one is known.
    pub fn is_superseded(&self, seq: u64) -> bool {
        let newer = |slot: &Slot| slot.body.as_ref().is_some_and(|body| self.interims.has_newer(slot.id, body));
        self.collapses && self.window.slot(seq).is_some_and(newer)
    }

    /// Notes a record. Gives an Interim that it makes needless; one that is lent may be delivered
    /// at this moment, and is settled by whoever has it.
    pub fn supersedes(&mut self, seq: u64, id: RecordId, body: &[u8]) -> Option<Older> {
        self.interims.note(seq, id, body).filter(|older| older.seq != seq && !self.window.is_busy(older.seq))
    }

    /// Takes note of the calls of records read from a spool, where it did not know them. Behind those are records that were
    /// offered to the window.
    pub fn take_calls(&mut self, records: &[StoredRecord], bits: &Bitmaps) {
        let Some(unknown) = self.window.unknown() else { return };
        let is_unknown = |record: &&StoredRecord| unknown.contains(&record.seq) && record.sinks.has(self.since.sink);
        for record in records.iter().filter(is_unknown).filter(|record| bits.waits(self.since, record.seq)) {
            self.window.leave_unread(super::order::Order::of(record.call, &record.body), record.seq);
        }
    }

    /// Takes in records read from `from` to `next`; gives the places of those that should have been there. `false` when there
    /// was no room for all of them.
    pub fn take_in(&mut self, from: u64, records: Vec<StoredRecord>, next: u64, bits: &Bitmaps) -> Vec<u64> {
        let mut missing = Vec::new();
        let mut expected = bits.next_open(self.since, from);
        for record in records {
            while let Some(seq) = expected.filter(|seq| *seq < record.seq) {
                missing.push(seq);
                expected = bits.next_open(self.since, seq + 1);
            }
            if expected == Some(record.seq) {
                // A fresh one went ahead and is not settled yet.
                let is_here = self.window.slot(record.seq).is_some();
                if !is_here && !self.window.has_room() {
                    self.window.advance(record.seq);
                    return missing;
                }
                if !is_here {
                    self.window.push(record.seq, record.id, record.call, record.body);
                }
                expected = bits.next_open(self.since, record.seq + 1);
            }
        }
        while let Some(seq) = expected.filter(|seq| *seq < next) {
            missing.push(seq);
            expected = bits.next_open(self.since, seq + 1);
        }
        self.window.advance(next);
        missing
    }

    /// Name, call and octets of the record at `seq`, if they are in memory.
    pub fn record(&self, seq: u64) -> Option<(RecordId, CallHash, Bytes)> {
        let slot = self.window.slot(seq)?;
        Some((slot.id, slot.call, slot.body.clone()?))
    }

    /// Age of the oldest record that waits. `find` looks for one, and for its name; when only that cannot be told, what was
    /// found earlier holds on and grows.
    pub fn look(&mut self, now: Now, find: impl FnOnce(&Self) -> Option<Option<RecordId>>) -> Duration {
        self.oldest = Duration::ZERO;
        if self.balance.waiting == 0 {
            self.oldest_made = None;
        } else if let Some(id) = find(self) {
            self.oldest_made = id.map(made).or(self.oldest_made);
            self.oldest = self.oldest_made.map_or(Duration::ZERO, |oldest| now.wall.since(oldest));
        }
        self.oldest
    }

    fn stats(&self, parked: u64) -> SinkStats {
        SinkStats {
            name: self.name.clone(),
            sink: self.since.sink,
            configured: self.configured,
            balance: Balance { parked, ..self.balance },
            waiting_bytes: self.waiting_bytes,
            oldest: self.oldest,
            leased: self.window.out(),
            backing_off: self.window.backing_off(),
            parked_now: parked,
            retries: self.retries,
        }
    }
}
