//! The synchronous core of the queue: append and commit. It directs the parts, each of which owns its state:
//!
//! * `chain`: the spools on disk, the places in them, the named values, and what the operator is told;
//! * `sinks`: what each sink waits for, where it reads, and its balance;
//! * `building`: what is to be committed next; `calls`: the calls in progress;
//! * `parking`: the records set aside;
//! * `backlog`, `switch`, `salvage`: what goes on between commits;
//! * `health`: counts, limits, the alarm state and the reserve.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{RecordId, SinkMask};
use crate::record::{BODY_BYTES_MAX, CALL_KEY_BYTES_MAX, CallChange, Commit, Entry, NOTE_BYTES_MAX};

use super::balance::Loss;
use super::batch::Batch;
use super::building::{After, Building, Fresh, Origin};
use super::calls::Calls;
use super::chain::Chain;
use super::echo::{Echo, Echoing};
use super::error::{AppendFailed, StoreError};
use super::health::Health;
use super::notice::Notice;
use super::parked::ParkedStore;
use super::parking::{Overtaken, Parking};
use super::salvage::Salvage;
use super::sinks::{Sink, Sinks};
use super::spool::Spool;
use super::switch::{self, Switch};
use super::totals;
use super::unread::Backlog;
use super::witness::{Event, How, Source, Witness};
use crate::causes::chain_text;

/// Longest wait for the ledger when records are given up: commits wait with it.
const WRITTEN_WAIT: Duration = Duration::from_millis(100);

/// The most records of one batch.
pub const BATCH_RECORDS_MAX: usize = 4096;

/// The queue, as one thread uses it.
///
/// Everything a method does to the disk it does before it returns; what must be durable is, or the method says no.
#[derive(Debug)]
pub struct Queue {
    pub(super) chain: Chain,
    pub(super) sinks: Sinks,
    pub(super) building: Building,
    pub(super) calls: Calls,
    pub(super) parking: Parking,
    pub(super) backlog: Backlog,
    pub(super) switch: Switch,
    pub(super) salvage: Salvage,
    pub(super) health: Health,
    pub(super) witness: Witness,
    pub(super) echo: Echoing,
}

/// A record that leaves a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    /// Its place.
    pub seq: u64,
    /// Its name, and the length of its body, if the window does not have it.
    pub id: Option<RecordId>,
    pub bytes: usize,
}

impl Gone {
    /// One that the window has.
    pub const fn of(seq: u64) -> Self {
        Self { seq, id: None, bytes: 0 }
    }
}

impl Queue {
    /// A queue of these parts, with nothing under way.
    pub(super) fn new(mut chain: Chain, sinks: Sinks, parked: ParkedStore) -> Self {
        Self {
            health: Health::new(&mut chain),
            chain,
            sinks,
            building: Building::default(),
            calls: Calls::default(),
            parking: Parking::new(parked),
            backlog: Backlog::default(),
            switch: Switch::default(),
            salvage: Salvage::default(),
            witness: Witness::default(),
            echo: Echoing::default(),
        }
    }

    /// Takes a commit into the next batch; it is on disk after [`Queue::finish`].
    ///
    /// No limit refuses it: a call that was accepted can be ended whatever is full.
    ///
    /// # Errors
    /// When something in it is longer than the queue stores. That alone is left out, and counted as lost.
    pub fn add(&mut self, commit: Commit) -> Result<(), AppendFailed> {
        self.take(commit, Origin::New)
    }

    /// As [`Queue::add`], with records that were in the queue before.
    ///
    /// # Errors
    /// As there.
    pub fn put_back(&mut self, entries: Vec<Entry>) -> Result<(), AppendFailed> {
        self.take(Commit { entries, calls: Vec::new() }, Origin::Back)
    }

    fn take(&mut self, commit: Commit, origin: Origin) -> Result<(), AppendFailed> {
        let mut too_long = 0;
        let mut result = Ok(());
        for entry in commit.entries {
            if entry.body.len() > BODY_BYTES_MAX {
                too_long += 1;
                continue;
            }
            let sinks = entry.sinks.and(self.sinks.known());
            if !sinks.is_empty() {
                self.building.push(Fresh {
                    id: entry.id,
                    call: entry.call,
                    sinks,
                    body: Bytes::from(entry.body),
                    origin,
                });
            }
        }
        for change in commit.calls {
            let change = match change {
                CallChange::Put { key, value } if key.len() > CALL_KEY_BYTES_MAX || value.len() > BODY_BYTES_MAX => {
                    result = Err(AppendFailed::TooLong);
                    continue;
                }
                CallChange::Class { value: Some(value), .. } if value.len() > BODY_BYTES_MAX => {
                    result = Err(AppendFailed::TooLong);
                    continue;
                }
                // The call has ended all the same.
                CallChange::End { key, note } if key.len() > CALL_KEY_BYTES_MAX || note.len() > NOTE_BYTES_MAX => {
                    result = Err(AppendFailed::TooLong);
                    CallChange::Remove { key }
                }
                change => change,
            };
            self.echo.note(&change);
            self.calls.take(change, self.chain.metas_mut().revision(), self.building.calls());
        }
        if too_long > 0 {
            self.lose(Loss::TooLong, too_long);
            result = Err(AppendFailed::TooLong);
        }
        result
    }

    /// Counts records as lost, for good: the count survives whatever the disk still takes.
    pub(super) fn lose(&mut self, why: Loss, records: u64) {
        self.health.lose(&mut self.chain, why, records);
        if records > 0 {
            self.witness.note(|| Event::Discarded { why, records });
        }
    }

    /// The new records of the next batch; those that the queue has at another place are no loss there.
    #[must_use]
    pub(super) fn unwritten(&self) -> Vec<Entry> {
        self.building.unwritten()
    }

    /// Records in the next batch.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.building.records().len()
    }

    /// Commits what was added, with the settlements so far: one batch, one flush. All of it is durable afterwards.
    ///
    /// `clock` is read before and after, to measure the commit.
    ///
    /// # Errors
    /// When neither the active spool nor a new one took it. What was added is kept: call again.
    pub fn finish(&mut self, clock: fn() -> Now) -> Result<(), StoreError> {
        let begin = clock();
        if self.health.is_stuck(begin.mono) {
            return Err(StoreError::Closed);
        }
        let result = self.write_active(begin.mono).or_else(|error| self.rescue(error, begin));
        let end = clock();
        self.health.measure(&mut self.chain, begin.mono, end.mono, &result);
        if result.is_ok() {
            self.committed(end);
        }
        result
    }

    /// One batch on the active spool, durable.
    fn write_active(&mut self, now: Instant) -> Result<(), StoreError> {
        let known = self.sinks.known();
        let mut batch = Batch::default();
        self.building.encode_records(self.chain.end(), &mut batch);
        self.chain.stage(self.building.records(), known);
        self.building.calls().number_notes(self.chain.metas_mut().revision());
        self.building.calls().encode(self.calls.marks_forgotten(), &mut batch);
        let expired = self.calls.encode_expired(now, &mut batch);
        self.chain.add_settled(&mut batch);
        let removed = self.chain.encode_removal(known, &mut batch);
        let totals = totals::write(&self.sinks, self.building.records());
        if self.chain.metas().get(totals::NAME) != Some(&totals) {
            self.chain.metas_mut().add(&mut batch, totals::NAME, &totals);
            // A new spool that has to take this batch gets it too.
            self.chain.metas_mut().share(totals::NAME, totals);
        }
        if self.health.is_slow() {
            // Something to write, so that a commit shows whether the disk is quick again.
            let next = self.chain.next();
            self.chain.metas_mut().add(&mut batch, b"probe", &next.to_be_bytes());
        }
        if let Err(error) = self.chain.write(&batch) {
            self.chain.unstage(self.building.records(), known);
            return Err(error);
        }
        if removed {
            self.chain.removed();
        }
        self.calls.forget_expired(expired);
        Ok(())
    }

    /// A write failed: the active spool gets no more writes, and a new one takes the batch.
    fn rescue(&mut self, error: StoreError, now: Now) -> Result<(), StoreError> {
        self.switch.abandon(&self.chain);
        let failed = self.chain.active().number;
        let new = self.new_spool_with_batch(failed).or_else(|second| match second {
            StoreError::NoSpace(_) if self.health.spend_reserve(&mut self.chain) => self.new_spool_with_batch(failed),
            second => Err(second),
        });
        let spool = match new {
            Ok(spool) => spool,
            // A spool that failed earlier only says that it did.
            Err(second) if matches!(error, StoreError::Closed) => return Err(second),
            // Without a new spool the first error says more than the second.
            Err(_) => return Err(error),
        };
        self.chain.tell(Notice::Rescued { failed, spool: spool.number, why: chain_text(&error) });
        self.chain.active().database = None;
        switch::take_over(&mut self.chain, spool);
        self.chain.stage(self.building.records(), self.sinks.known());
        self.calls.mark_forgotten(true);
        self.copy_old_calls(now.wall);
        Ok(())
    }

    fn new_spool_with_batch(&mut self, failed: u32) -> Result<Spool, StoreError> {
        let from = u64::from(failed).to_be_bytes().to_vec();
        let mut spool = self.chain.prepare(self.chain.next(), &[(b"calls_from", from)])?;
        let mut batch = Batch::default();
        self.building.encode_records(self.chain.end(), &mut batch);
        self.building.calls().encode(true, &mut batch);
        let written = spool.database.as_mut().ok_or(StoreError::Closed).and_then(|database| {
            database.apply(&batch)?;
            database.flush()
        });
        match written.and_then(|()| self.chain.finish_preparing(&spool)) {
            Ok(()) => Ok(spool),
            Err(error) => {
                self.chain.discard(spool);
                Err(error)
            }
        }
    }

    /// Copies the calls of the spools before the active one, as far as newer ones do not know better.
    pub(super) fn copy_old_calls(&mut self, when: Timestamp) {
        while let Err((index, error)) = switch::copy_old_calls(&mut self.chain) {
            self.chain.failed("copy the calls in progress", &error);
            if !error.is_damage() || index + 1 == self.chain.spools().len() {
                return;
            }
            // Without the damaged spool the next try ends further on: its calls are lost.
            self.set_spool_aside(index, &chain_text(&error), when);
        }
        self.calls.mark_forgotten(false);
    }

    /// What a durable commit changes in memory.
    fn committed(&mut self, now: Now) {
        let mut building = std::mem::take(&mut self.building);
        let (first, before) = self.chain.end();
        self.chain.committed(building.records());
        self.health.appended(building.records().len(), self.chain.end().1 - before);
        self.sinks.appended(first, building.records(), now.mono);
        self.tell_committed(first, building.records());
        self.collapse_appended(first, building.records(), now);
        self.health.calls(self.calls.len());
        self.switch.mirror(&mut self.chain, building.calls());
        self.calls.noted(now.mono, building.calls());
        self.echo.committed(self.chain.next() - 1);
        let mut unparked = Vec::new();
        for after in building.follow() {
            match after {
                After::Moved { seq, sinks } => self.moved(seq, sinks, now.mono),
                After::Unparked { sink, id } => unparked.push((sink, id)),
            }
        }
        if !unparked.is_empty()
            && let Err(error) = self.parking.store().remove(&unparked)
        {
            self.chain.failed("remove parked records", &error);
            // They are there twice from now on.
            for (sink, _) in unparked {
                self.sinks.count(sink, |balance| balance.appended += 1);
            }
        }
        building.clear();
        self.building = building;
    }

    /// Tells the witness of the records of a commit, from place `first` on.
    fn tell_committed(&mut self, first: u64, records: &[Fresh]) {
        for (seq, Fresh { id, sinks, body, origin, .. }) in (first..).zip(records) {
            let source = match origin {
                Origin::New => Source::New,
                Origin::Back => Source::Back,
                Origin::Again { was } => Source::Again(*was),
            };
            self.witness.note(|| Event::Committed { seq, id: *id, sinks: *sinks, body: body.clone(), source });
        }
    }

    /// What the records of a commit, from place `first` on, make needless where Interims collapse.
    fn collapse_appended(&mut self, first: u64, records: &[Fresh], now: Now) {
        for index in 0..self.sinks.len() {
            let sink = self.sinks[index].number();
            if !self.sinks[index].collapses() {
                continue;
            }
            for (seq, record) in (first..).zip(records).filter(|(_, record)| record.sinks.has(sink)) {
                self.parking.overtake((sink, true), (record.id, &record.body), Overtaken::ByAppended);
                self.collapse(index, seq, (record.id, &record.body), now.mono);
            }
        }
    }

    /// A salvaged record has a new place; at the old one it is not waited for any more.
    fn moved(&mut self, seq: u64, sinks: SinkMask, now: Instant) {
        for sink in sinks.iter() {
            let is_waited_for = self.chain.settle(sink, seq, now);
            if let Some(index) = self.sinks.index_of(sink) {
                self.sinks[index].moved(seq, is_waited_for);
            }
        }
    }

    /// A record leaves a sink for good. Whether it was waited for.
    pub(super) fn leave(&mut self, index: usize, Gone { seq, id, bytes }: Gone, now: Instant, how: How) -> bool {
        let sink = &mut self.sinks[index];
        let slot = sink.window_mut().remove(seq);
        let number = sink.number();
        let was_waited_for = self.chain.settle(number, seq, now);
        if was_waited_for {
            let (id, attempts) = slot.as_ref().map_or((id, 0), |slot| (Some(slot.id), slot.attempts));
            sink.left(slot.map_or(bytes, |slot| slot.bytes), |balance| match &how {
                How::Delivered(_) => balance.delivered += 1,
                How::Parked { .. } => balance.parked += 1,
                How::Dropped { .. } => balance.dropped += 1,
                How::Superseded => balance.superseded += 1,
                // It stays.
                How::Retried { .. } => balance.waiting += 1,
            });
            self.witness.note(|| Event::Ended { sink: number, seq, id, attempts, how });
        }
        was_waited_for
    }

    /// Tells somebody what becomes of records from now on.
    pub(super) fn tell(&mut self, witness: Witness) {
        self.chain.keep_bodies(&witness);
        self.witness = witness;
    }

    /// Tells somebody what becomes of the calls in progress from now on.
    pub(super) fn tell_calls(&mut self, echo: Echo) {
        self.echo.tell(echo);
    }

    /// Tells how far records have left for all configured sinks.
    pub(super) fn tell_safe(&self) {
        if self.echo.is_heard() {
            let first =
                |sink: &Sink| self.chain.spools().iter().find_map(|spool| spool.bits.next_open(sink.since(), 0));
            let open = self.sinks.iter().filter(|sink| sink.is_configured()).filter_map(first).min();
            self.echo.safe(open.unwrap_or(self.chain.next()) - 1);
        }
    }

    /// Hands over what was noted, and waits until it is written, [`WRITTEN_WAIT`] at most.
    pub(super) fn tell_and_wait(&mut self, at: Timestamp) {
        if let Some(written) = self.witness.fence(at) {
            // Whoever keeps the ledger says himself what it lacks.
            let _late = written.recv_timeout(WRITTEN_WAIT);
        }
    }

    /// Hands over what was noted since the last turn.
    pub(super) fn hand_over(&mut self, at: Timestamp) {
        self.witness.hand_over(at);
        self.chain.keep_bodies(&self.witness);
    }
}
