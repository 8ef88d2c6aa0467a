//! Lease and settle: what goes from the spools to the sinks and what comes back.
//!
//! # In which order records leave
//!
//! Each sink reads the queue at two places. The *reading* goes through the backlog from its oldest record on, at the
//! pace of the sink. *Fresh* records, just appended, go ahead of the backlog, as long as no earlier record of their
//! session is left in it (`unread`); a record whose session has one stays in the backlog and waits for it, so that the
//! order within a session holds (`order`). When both have records ready, three of four leases go to fresh ones and every fourth to the
//! backlog, which therefore always drains. A record is fresh for half a second (`window::FRESH_FOR`); what the
//! sink did not take by then belongs to the backlog.
//!
//! It follows that while a sink takes records, and new calls make less than three quarters of what it takes, a record
//! of a new call waits for its lease no longer than half a second, however long the backlog is. A call that began during
//! the outage waits for its own first record. After a restart the calls of the backlog are read through first, some
//! hundred thousand records a second, in the time in which commits gather; fresh records are held until that is done.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Instant, Now};
use crate::ids::{CallHash, RecordId, Seq, SinkNumber};

use super::barrier::hold_back;
use super::collapse::Older;
use super::notice::Notice;
use super::parked::{Parked, REASON_BYTES_MAX, shortened};
use super::parking::Overtaken;
use super::spool::read_records;
use super::store::{Gone, Queue};
use super::witness::{Event, How};
use super::{Lease, Settlement};

impl Queue {
    /// States that somebody leases for `sink` from now on.
    pub fn attach(&mut self, sink: SinkNumber) {
        if let Some(index) = self.sinks.index_of(sink) {
            self.sinks[index].attach(self.chain.next());
        }
    }

    /// Takes back everything lent to `sink`: nobody leases for it any more.
    pub fn detach(&mut self, sink: SinkNumber) {
        let Some(index) = self.sinks.index_of(sink) else { return };
        let first = self.chain.next_open(self.sinks[index].since(), 0).unwrap_or(self.chain.next());
        self.sinks[index].detach(first, self.chain.settings());
    }

    /// Lends `sink` up to `max` records, adding them to `out`; gives how many.
    pub fn lease(&mut self, sink: SinkNumber, max: usize, now: Now, out: &mut Vec<Lease>) -> usize {
        let Some(index) = self.sinks.index_of(sink) else { return 0 };
        self.sinks[index].attach(self.chain.next());
        if self.sinks[index].window().is_short() {
            // Otherwise fresh records alone could fill the leases, and the backlog would never get its turn.
            self.refill(index, now);
        }
        self.sinks[index].window_mut().wake(now.mono);
        self.read_wanted(index, now);
        let start = out.len();
        let mut count = self.sinks[index].window_mut().lease(max, now, out);
        while count < max && self.refill(index, now) {
            count += self.sinks[index].window_mut().lease(max - count, now, out);
        }
        let sink = &mut self.sinks[index];
        let since = sink.since();
        count - hold_back(sink.window_mut(), |from| self.chain.next_open(since, from), start, now.mono, out)
    }

    /// Reads the next records into a sink's window; whether there may be more.
    fn refill(&mut self, index: usize, now: Now) -> bool {
        let sink = &mut self.sinks[index];
        let (since, from) = (sink.since(), sink.window().cursor());
        if from >= self.chain.next() {
            return false;
        }
        if !sink.window().has_room() {
            sink.window_mut().make_room();
        }
        if !sink.window().has_room() {
            return false;
        }
        let Some(place) = self.chain.index_from(from) else { return false };
        let spool = self.chain.spool(place);
        let (end, open) = (spool.bits.next(), spool.bits.next_open(since, from));
        // What is left of one set aside comes back at the head, by the salvage.
        let Some(from) = open.filter(|_| !spool.is_set_aside()) else {
            sink.window_mut().advance(end);
            return true;
        };
        let mut batch = match self.chain.database(place) {
            Ok(database) => read_records(database, from, end, READ_RECORDS),
            Err(error) => return self.cannot_open(place, &error, now),
        };
        let spool = self.chain.spool(place);
        let number = spool.number;
        let read: Vec<_> = if sink.collapses() {
            let wanted = batch.records.iter().filter(|record| record.sinks.has(since.sink));
            wanted.map(|record| (record.seq, record.id, record.body.clone())).collect()
        } else {
            Vec::new()
        };
        let missing = sink.take_in(from, batch.records, batch.next, &spool.bits);
        self.salvage.missing(number, &missing);
        if let Some(why) = batch.unreadable.take() {
            self.chain.tell(Notice::Unreadable { spool: number, from, why });
        }
        for (seq, id, body) in read {
            self.collapse(index, seq, (id, &body), now.mono);
        }
        true
    }

    /// Notes a record of a sink where Interims collapse; the older one that it makes needless leaves.
    pub(super) fn collapse(&mut self, index: usize, seq: u64, (id, body): (RecordId, &[u8]), now: Instant) {
        if let Some(Older { seq, id, bytes }) = self.sinks[index].supersedes(seq, id, body) {
            self.leave(index, Gone { seq, id: Some(id), bytes }, now, How::Superseded);
        }
    }

    /// Reads the octets of records again that a window has put away and wants back.
    fn read_wanted(&mut self, index: usize, now: Now) {
        for _ in 0..READ_AGAIN {
            let Some(seq) = self.sinks[index].window_mut().next_wanted() else { return };
            let body = self.read_again(seq, now);
            let window = self.sinks[index].window_mut();
            match body {
                Some(body) => window.bring_back(seq, body),
                None => window.stays_away(seq, now.mono, READ_AGAIN_PAUSE),
            }
        }
    }

    /// The octets of a record that is stored; `None` when they cannot be read, now or any more.
    fn read_again(&mut self, seq: u64, now: Now) -> Option<Bytes> {
        // What is left of a spool set aside comes back at the head, by the salvage.
        let spool = self.chain.index_of(seq).filter(|spool| !self.chain.spool(*spool).is_set_aside())?;
        let mut batch = match self.chain.database(spool) {
            Ok(database) => read_records(database, seq, seq + 1, 1),
            Err(error) => {
                self.cannot_open(spool, &error, now);
                return None;
            }
        };
        let number = self.chain.spool(spool).number;
        if let Some(why) = batch.unreadable.take() {
            self.chain.tell(Notice::Unreadable { spool: number, from: seq, why });
        }
        let body = batch.records.pop().filter(|record| record.seq == seq).map(|record| record.body);
        if body.is_none() {
            self.salvage.missing(number, &[seq]);
        }
        body
    }

    /// Settles a lent record. One that waits for another try, or may be lent again, can still be found delivered.
    pub fn settle(&mut self, sink: SinkNumber, seq: Seq, settlement: Settlement, now: Now) {
        let Some(index) = self.sinks.index_of(sink) else { return };
        let window = self.sinks[index].window();
        let is_delivered = matches!(settlement, Settlement::Delivered | Settlement::DeliveredBy(_));
        let is_found = is_delivered && window.is_back(seq.0);
        if !window.is_out(seq.0) && !is_found {
            self.health.stray();
            return;
        }
        match settlement {
            Settlement::Delivered | Settlement::DeliveredBy(_) => {
                let by = match settlement {
                    Settlement::DeliveredBy(by) => Some(by),
                    _ => None,
                };
                let slot = self.sinks[index].window().slot(seq.0).map(|slot| (slot.id, slot.body.clone()));
                let read = slot.and_then(|(id, body)| Some((id, body.or_else(|| self.read_again(seq.0, now))?)));
                if let Some((id, body)) = read {
                    let at = (sink, self.sinks[index].collapses());
                    self.parking.overtake(at, (id, &body), Overtaken::ByDelivered);
                }
                self.leave(index, Gone::of(seq.0), now.mono, How::Delivered(by));
            }
            Settlement::Withdrawn => {
                self.leave(index, Gone::of(seq.0), now.mono, How::Superseded);
            }
            Settlement::Retry { after, reason } => self.wait_on(index, seq.0, (after, true), reason, now),
            Settlement::Defer { after, reason } => {
                self.sinks[index].window_mut().uncount(seq.0);
                self.wait_on(index, seq.0, (after, false), reason, now);
            }
            Settlement::Park { reason, code } => {
                if let Some(record) = self.sinks[index].record(seq.0) {
                    self.park(index, seq.0, record, (&reason, code), now);
                }
            }
        }
    }

    /// A lent record comes back: it waits for the time that is given, unless it was tried often enough or is too old; and
    /// whether the visit counts as a try of it.
    fn wait_on(&mut self, index: usize, seq: u64, (after, is_counted): (Duration, bool), reason: String, now: Now) {
        self.sinks[index].retries();
        if self.sinks[index].is_superseded(seq) && self.leave(index, Gone::of(seq), now.mono, How::Superseded) {
            return;
        }
        let settings = self.chain.settings();
        let Some(slot) = self.sinks[index].window().slot(seq) else { return };
        let tried = settings.attempts_max > 0 && slot.attempts >= settings.attempts_max;
        let age = now.wall.since(super::window::made(slot.id));
        let old = !settings.retry_age_max.is_zero() && age >= settings.retry_age_max;
        if let Some(record) = self.sinks[index].record(seq).filter(|_| tried || old) {
            self.park(index, seq, record, (&reason, 0), now);
        } else {
            let reason = shortened(&reason, REASON_BYTES_MAX).to_owned();
            let (id, attempts, sink) = (Some(slot.id), slot.attempts, self.sinks[index].number());
            // Of many tries in vain the ledger gets the first ones and every power of two.
            if self.witness.is_there() && is_counted && (attempts <= TRIES_TOLD || attempts.is_power_of_two()) {
                let how = How::Retried { reason: reason.clone() };
                self.witness.note(|| Event::Ended { sink, seq, id, attempts, how });
            }
            self.sinks[index].window_mut().back_off(seq, now.mono, after, reason);
        }
    }

    /// Sets a record aside, which is in the window of its sink perhaps; done by the next [`Queue::tick`].
    pub(super) fn park(
        &mut self,
        index: usize,
        seq: u64,
        (id, call, body): (RecordId, CallHash, Bytes),
        (reason, code): (&str, u32),
        now: Now,
    ) {
        let sink = &mut self.sinks[index];
        let slot = sink.window().slot(seq);
        self.parking.add(Parked {
            sink: sink.number(),
            id,
            seq,
            call,
            code,
            attempts: slot.map_or(0, |slot| slot.attempts),
            first_tried: slot.and_then(|slot| slot.first_tried),
            parked: now.wall,
            reason: shortened(reason, REASON_BYTES_MAX).to_owned(),
            body,
            overtaken: None,
        });
        sink.window_mut().hold(seq);
    }
}

/// Failed tries of a record that are told to the witness, each; of later ones only some.
const TRIES_TOLD: u32 = 8;

/// Records read at once into a window.
const READ_RECORDS: usize = 256;

/// Records read again in one turn: each is a read of its own.
const READ_AGAIN: usize = 64;

/// Pause after one that could not be read: the salvage has to find it, or count it as lost.
const READ_AGAIN_PAUSE: Duration = Duration::from_secs(1);
