//! What the queue does besides commits: parking, reading the backlog, switching, salvage, limits, closing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{Seq, SinkMask, SinkNumber};

use super::balance::{Loss, Stats};
use super::building::{After, Fresh, Origin};
use super::error::StoreError;
use super::limits::Troubles;
use super::notice::Notice;
use super::parked::shortened;
use super::salvage::Step;
use super::sinks::Sink;
use super::spool::StoredRecord;
use super::store::{Gone, Queue};
use super::totals;
use super::unread::look_through;
use super::witness::{Event, How};
use crate::causes::chain_text;

impl Queue {
    /// Does what is due: parks, stores settlements of sealed spools, switches, salvages, looks at the limits. A commit
    /// by [`Queue::finish`] is due afterwards when [`Queue::gathered`] is not 0.
    pub fn tick(&mut self, now: Now) {
        self.flush_parking(now);
        self.flush_overtaken(now);
        self.chain.tend(now.mono);
        if !self.health.has_failed() {
            let appended = self.health.appended_bytes();
            self.switch.step(&mut self.chain, appended, self.calls.marks_forgotten(), now.mono);
            if self.gathered() == 0 {
                self.step_salvage(now);
            }
        }
        self.step_unread(now);
        if self.health.look_due(now.mono) {
            self.look(now);
        }
    }

    /// When [`Queue::tick`], [`Queue::lease`] or a commit of settlements has something to do again.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Instant {
        if self.switch.is_copying() || self.parking.is_due() || self.has_unknown(now) {
            return now.mono;
        }
        let salvage = self.salvage.is_busy().then(|| now.mono + SALVAGE_EVERY);
        let parts = [salvage, self.chain.deadline(), self.sinks.deadline(now.mono)];
        parts.into_iter().flatten().fold(self.health.deadline(now.mono), Instant::min)
    }

    /// Whether a commit is due though nothing was added: settlements of the active spool have waited long enough, or
    /// the last commit was slow and no other one came to show that the disk is well again.
    #[must_use]
    pub fn commit_due(&self, now: Now) -> bool {
        self.chain.commit_due(now.mono) || self.health.probe_due(now.mono)
    }

    /// Makes the records that are to be parked durable there, then settles them.
    pub(super) fn flush_parking(&mut self, now: Now) {
        let (records, result) = self.parking.flush(&mut self.chain);
        for (place, record) in records.into_iter().enumerate() {
            let Some(index) = self.sinks.index_of(record.sink) else { continue };
            match &result {
                Ok(fresh) => {
                    let is_fresh = fresh.get(place).copied().unwrap_or(true);
                    let how = How::Parked { reason: record.reason, code: record.code };
                    let gone = Gone { seq: record.seq, id: Some(record.id), bytes: record.body.len() };
                    if self.leave(index, gone, now.mono, how) && !is_fresh {
                        // It was there twice, and is no more.
                        self.sinks.count(record.sink, |balance| {
                            balance.parked -= 1;
                            balance.appended -= 1;
                        });
                    }
                }
                Err(_) => self.sinks[index].window_mut().back_off(record.seq, now.mono, PARK_AGAIN, record.reason),
            }
        }
    }

    /// Writes down which parked records were overtaken since the last turn.
    pub(super) fn flush_overtaken(&mut self, now: Now) {
        for (sink, id, seq) in self.parking.flush_overtaken(&mut self.chain, now) {
            self.sinks.count(sink, |balance| balance.superseded += 1);
            self.witness.note(|| Event::Ended { sink, seq, id: Some(id), attempts: 0, how: How::Superseded });
        }
    }

    /// Whether [`Queue::step_unread`] has something to read.
    pub(super) fn has_unknown(&self, now: Now) -> bool {
        self.backlog.from(&self.sinks, now.mono).is_some()
    }

    /// Gets to know some of the backlog.
    pub(super) fn step_unread(&mut self, now: Now) {
        self.backlog.step(&mut self.sinks, &mut self.chain, now.mono);
    }

    /// Looks through the files for the calls whose records wait for `sinks`, before anything is served.
    pub(super) fn look_for_unread(&mut self, sinks: impl Iterator<Item = SinkNumber>, step: &mut dyn FnMut()) {
        sinks.for_each(|sink| self.attach(sink));
        look_through(&mut self.sinks, &mut self.chain, step);
    }

    /// Holds the queue against its limits.
    pub(super) fn look(&mut self, now: Now) {
        self.switch.measure_again();
        let mut age = Duration::ZERO;
        for sink in self.sinks.iter_mut() {
            age = age.max(sink.look(now, |sink| self.chain.oldest(sink)));
        }
        let (records, bytes) = self.sinks.most_waiting();
        self.health.look(&mut self.chain, now.mono, (records, bytes, age));
    }

    /// A sealed spool does not open. Whether reading may go on at once.
    pub(super) fn cannot_open(&mut self, index: usize, error: &StoreError, now: Now) -> bool {
        if error.is_damage() && index + 1 < self.chain.spools().len() {
            self.set_spool_aside(index, &chain_text(error), now.wall);
            return true;
        }
        if self.health.tells(now.mono) {
            let why = format!("{}: {}", self.chain.spool(index).path.display(), chain_text(error));
            self.chain.tell(Notice::Failed { action: "open a spool", why });
        }
        false
    }

    /// Has a sealed spool salvaged that is damaged.
    pub(super) fn set_spool_aside(&mut self, index: usize, why: &str, when: Timestamp) {
        self.salvage.spool(self.chain.set_aside(index, why, when));
        self.health.damaged();
    }

    /// One step of a salvage: appends what was found since.
    fn step_salvage(&mut self, now: Now) {
        match self.salvage.step(&mut self.chain) {
            Step::Nothing => {}
            Step::Found { records, moves } => {
                for (record, doubtful) in records {
                    if self.bring_back(record, moves) {
                        self.salvage.brought_back(doubtful);
                        self.health.salvaged();
                    }
                }
            }
            Step::Ended(ended) => {
                let lost = match ended.spool() {
                    Some((number, only)) => self.give_up_rest(number, only, now),
                    None => ended.gaps().to_vec(),
                };
                for (from, to) in lost {
                    self.health.report_lost(&mut self.chain, from, to);
                    self.witness.note(|| Event::Lost { from, to });
                }
                ended.finish(&mut self.chain);
            }
        }
    }

    /// Appends a salvaged record for those that want it; whether there are any. With `moves` it has a place still.
    fn bring_back(&mut self, record: StoredRecord, moves: bool) -> bool {
        let StoredRecord { seq, id, call, body, .. } = record;
        let mut sinks = record.sinks.and(self.sinks.known());
        if moves {
            // The memory knows better than the file, and what is in a window, not put away, needs no salvage.
            let open = sinks.iter().filter(|sink| self.waits_unread(*sink, seq));
            sinks = open.fold(SinkMask::NONE, SinkMask::with);
        }
        if sinks.is_empty() {
            return false;
        }
        let origin = if moves { Origin::Again { was: seq } } else { Origin::Back };
        self.building.push(Fresh { id, call, sinks, body, origin });
        if moves {
            self.building.then(After::Moved { seq, sinks });
        }
        true
    }

    fn waits_unread(&self, sink: SinkNumber, seq: u64) -> bool {
        let waits = |sink: &Sink| self.chain.waits(sink.since(), seq) && sink.record(seq).is_none();
        self.sinks.by_number(sink).is_some_and(waits)
    }

    /// Counts what still waits unread in a damaged spool as lost; gives the ranges.
    fn give_up_rest(&mut self, number: u32, only: Option<&BTreeSet<u64>>, now: Now) -> Vec<(u64, u64)> {
        let Some(spool) = self.chain.spools().iter().find(|spool| spool.number == number) else { return Vec::new() };
        let seqs: Vec<u64> = match only {
            Some(only) => only.iter().copied().collect(),
            None => (spool.bits.first()..spool.bits.next()).collect(),
        };
        let mut lost: Vec<(u64, u64)> = Vec::new();
        for seq in seqs {
            let sinks = self.sinks.known().iter().filter(|sink| self.waits_unread(*sink, seq));
            let sinks = sinks.fold(SinkMask::NONE, SinkMask::with);
            for sink in sinks.iter() {
                if let Some(index) = self.sinks.index_of(sink)
                    && self.chain.settle(sink, seq, now.mono)
                {
                    self.sinks[index].lost(seq);
                }
            }
            match lost.last_mut() {
                _ if sinks.is_empty() => {}
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => lost.push((seq, seq)),
            }
        }
        lost
    }

    /// The state of the queue.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.health.stats();
        stats.head = self.head().0;
        stats.unwritten = self.gathered() as u64;
        stats.spools = self.chain.spools().len() as u64;
        stats.salvaging = self.salvage.is_busy();
        stats.sinks = self.sinks.stats(|sink| self.parking.parked(sink));
        stats
    }

    /// Reasons for the alarm state.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        self.health.troubles()
    }

    /// All values kept by name.
    #[must_use]
    pub fn kept_metas(&self) -> BTreeMap<String, Vec<u8>> {
        let kept = |(name, value): (&Vec<u8>, &Vec<u8>)| {
            let name = name.strip_prefix(b"kept/")?;
            Some((String::from_utf8_lossy(name).into_owned(), value.clone()))
        };
        self.chain.metas().iter().filter_map(kept).collect()
    }

    /// What the operator should hear since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        self.chain.take_notices()
    }

    /// A value kept by name with the queue.
    #[must_use]
    pub fn meta_bytes(&self, name: &str) -> Option<&[u8]> {
        self.chain.metas().get(&kept_name(name))
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
        Seq(self.chain.next() - 1)
    }

    /// Has the next commit be tried, however lately one failed.
    pub fn try_at_once(&mut self) {
        self.health.try_at_once();
    }

    /// Commits what is left, stores all settlements and closes everything, so that the next start need not look
    /// closely.
    ///
    /// # Errors
    /// When something could not be written. The files are closed all the same.
    pub fn close(mut self, clock: fn() -> Now) -> Result<(), StoreError> {
        self.flush_parking(clock());
        self.flush_overtaken(clock());
        self.switch.abandon(&self.chain);
        let totals = totals::write(&self.sinks, self.building.records());
        let is_changed = self.chain.active().bits.is_dirty() || self.chain.metas().get(totals::NAME) != Some(&totals);
        self.try_at_once();
        let result = if is_changed || !self.building.is_empty() { self.finish(clock) } else { Ok(()) };
        if result.is_err() {
            self.lose(Loss::Unwritten, self.unwritten().len() as u64);
        }
        self.hand_over(clock().wall);
        self.chain.store_all_settled();
        self.parking.store().close();
        let whole = self.chain.close();
        if result.is_ok() && whole {
            self.chain.place().put_clean().map_err(StoreError::Io)?;
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

/// How often a salvage is asked for what it found.
const SALVAGE_EVERY: Duration = Duration::from_millis(5);

/// Pause before a record that could not be parked is delivered again.
const PARK_AGAIN: Duration = Duration::from_secs(10);
