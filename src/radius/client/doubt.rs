//! Whether silence speaks against a record or against its server.
//!
//! RFC 2866 §4.1 has no negative answer: a server that cannot store a record says nothing, and so does one that is down. An
//! answer to Status-Server tells them not apart, for a proxy gives it by itself while what is behind it is down; some, such
//! as radsecproxy, also acknowledge by themselves whatever carries no User-Name. So a failed visit counts against a record
//! only if *another record* was acknowledged since this one was first sent, or since the last visit that counted; and that
//! other one carried a User-Name if this one does.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Reason;
use super::visit::{Task, Visit};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::Seq;

/// Most records whose failed visits are remembered; a further one is tried again uncounted.
const DOUBTS_MAX: usize = 65_536;
/// A record not seen for this long is forgotten when there is no room: it has left the queue by another way.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Time between two looks for those.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Connections that break while a record is under way before it goes alone.
const BREAKS_TO_SUSPECT: u32 = 2;

/// A record that a server has acknowledged, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answered {
    key: Seq,
    at: Instant,
    /// For the operator's eyes.
    wall: Timestamp,
}

impl Answered {
    /// When it was, by the wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        self.wall
    }
}

/// The last two records that a server has acknowledged, the newer one first: one of them is another than any given one.
#[derive(Clone, Copy, Debug, Default)]
struct LastTwo([Option<Answered>; 2]);

impl LastTwo {
    fn note(&mut self, new: Answered) {
        if self.0[0].is_some_and(|newest| newest.key != new.key) {
            self.0[1] = self.0[0];
        }
        self.0[0] = Some(new);
    }

    fn other_than(&self, key: Seq, since: Instant) -> Option<Answered> {
        self.0.iter().flatten().find(|answered| answered.key != key && answered.at > since).copied()
    }
}

/// What one server has acknowledged last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledged {
    any: LastTwo,
    named: LastTwo,
}

impl Acknowledged {
    /// A record was acknowledged.
    pub(super) fn note(&mut self, now: Now, task: &Task) {
        let answered = Answered { key: task.key, at: now.mono, wall: now.wall };
        self.any.note(answered);
        if task.is_named {
            self.named.note(answered);
        }
    }

    /// Another record, like this one, that was acknowledged after `since`.
    pub(super) fn other_than(&self, task: &Task, since: Instant) -> Option<Answered> {
        let alike = if task.is_named { &self.named } else { &self.any };
        alike.other_than(task.key, since)
    }

    /// Whether any other record was acknowledged after `since`, one without User-Name perhaps.
    pub(super) fn has_any(&self, task: &Task, since: Instant) -> bool {
        self.any.other_than(task.key, since).is_some()
    }
}

/// A record that was sent and is not acknowledged.
#[derive(Clone, Debug)]
struct Doubt {
    /// The request of it that was sent.
    part: u16,
    /// Evidence that is older does not count.
    since: Instant,
    /// Failed visits that count against it.
    charges: u32,
    /// Why the last of them did.
    why: Option<Reason>,
    /// Connections that broke while it was under way.
    breaks: u32,
    seen: Instant,
}

/// All such records whose visit has failed.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    records: HashMap<Seq, Doubt>,
    swept: Instant,
    /// Records to be parked as soon as no answer to them can come any more.
    condemned: VecDeque<(Instant, Seq, Reason)>,
}

impl Doubts {
    /// A visit has failed.
    pub(super) fn note(&mut self, now: Instant, visit: &Visit) {
        let _known = self.of(now, visit.task(), visit.started());
    }

    /// A visit has failed. Counts it against the record if another one was acknowledged by the same server since this one was
    /// first sent; gives that other one and how many visits count so far.
    pub(super) fn charge(
        &mut self,
        now: Instant,
        visit: &Visit,
        acknowledged: &Acknowledged,
    ) -> Option<(Answered, u32)> {
        let doubt = self.of(now, visit.task(), visit.started())?;
        let other = acknowledged.other_than(visit.task(), doubt.since)?;
        Some((other, doubt.charge(now)))
    }

    /// A connection broke while the visit was under way.
    pub(super) fn note_break(&mut self, now: Instant, visit: &Visit) {
        if let Some(doubt) = self.of(now, visit.task(), visit.started()) {
            doubt.breaks = doubt.breaks.saturating_add(1);
        }
    }

    /// How many connections broke above those that make a suspect.
    pub(super) fn breaks(&mut self, now: Instant, visit: &Visit) -> u32 {
        let breaks = self.of(now, visit.task(), visit.started()).map_or(0, |doubt| doubt.breaks);
        breaks.saturating_sub(BREAKS_TO_SUSPECT)
    }

    /// What is held against a record whose visit, begun at `started`, has failed. `None` when too many are remembered.
    fn of(&mut self, now: Instant, task: &Task, started: Instant) -> Option<&mut Doubt> {
        self.sweep(now);
        let Task { key, part, .. } = *task;
        if self.records.len() >= DOUBTS_MAX && !self.records.contains_key(&key) {
            return None;
        }
        let new = Doubt { part, since: started, charges: 0, why: None, breaks: 0, seen: now };
        let doubt = self.records.entry(key).or_insert_with(|| new.clone());
        if doubt.part != part {
            *doubt = new;
        }
        doubt.seen = now;
        Some(doubt)
    }

    /// Whether this request of a record was sent in vain and nothing has come of it since.
    pub(super) fn is_open(&self, task: &Task) -> bool {
        self.records.get(&task.key).is_some_and(|doubt| doubt.part == task.part)
    }

    /// Keeps why a visit counted.
    pub(super) fn blame(&mut self, key: Seq, why: &Reason) {
        if let Some(doubt) = self.records.get_mut(&key) {
            doubt.why = Some(why.clone());
        }
    }

    /// How many visits count against it, and why the last one does.
    pub(super) fn blamed(&self, key: Seq) -> Option<(u32, Reason)> {
        let doubt = self.records.get(&key)?;
        Some((doubt.charges, doubt.why.clone()?))
    }

    /// Whether it may be what breaks connections: so many broke while it was under way.
    pub(super) fn is_suspect(&self, key: Seq) -> bool {
        self.records.get(&key).is_some_and(|doubt| doubt.breaks >= BREAKS_TO_SUSPECT)
    }

    /// It has ended.
    pub(super) fn forget(&mut self, key: Seq) {
        if !self.records.is_empty() {
            self.records.remove(&key);
        }
    }

    /// It is to be parked when no answer to it can come any more.
    pub(super) fn condemn(&mut self, at: Instant, key: Seq, reason: Reason) {
        self.condemned.push_back((at, key, reason));
    }

    /// The next one of which that is so; it has ended.
    pub(super) fn next_condemned(&mut self, now: Instant) -> Option<(Seq, Reason)> {
        let (_, key, reason) = self.condemned.pop_front_if(|(due, ..)| *due <= now)?;
        self.forget(key);
        Some((key, reason))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn condemned(&self) -> usize {
        self.condemned.len()
    }

    /// An answer did come.
    pub(super) fn acquit(&mut self, key: Seq) {
        self.condemned.retain(|(_, condemned, _)| *condemned != key);
        self.forget(key);
    }

    /// When [`Self::next_condemned`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.condemned.front().map(|(due, ..)| *due)
    }

    fn sweep(&mut self, now: Instant) {
        if self.records.len() >= DOUBTS_MAX && now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.records.retain(|_, doubt| now.since(doubt.seen) < FORGOTTEN_AFTER);
        }
    }
}

impl Doubt {
    /// Counts a visit against the record; evidence up to now does not count a second time.
    fn charge(&mut self, now: Instant) -> u32 {
        self.since = now;
        self.charges = self.charges.saturating_add(1);
        self.charges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CallHash;

    fn task(key: u64, is_named: bool) -> Task {
        Task { key: Seq(key), part: 0, since: Timestamp(0), attempts: 0, call: CallHash(0), tried: 0, is_named }
    }

    fn at(secs: u64) -> Now {
        Now { mono: Instant(secs * 1_000_000), wall: Timestamp(0) }
    }

    #[test]
    fn only_another_record_of_its_kind_speaks_against_one() {
        for (name, acknowledged, about, since, want) in [
            ("nothing was acknowledged", vec![], task(1, true), 0, false),
            ("another was", vec![(2, true, 5)], task(1, true), 0, true),
            ("another was, but before", vec![(2, true, 5)], task(1, true), 5, false),
            ("a leg of the record itself", vec![(1, true, 5)], task(1, true), 0, false),
            ("another and then a leg of its own", vec![(2, true, 5), (1, true, 6)], task(1, true), 0, true),
            ("many legs of its own later", vec![(2, true, 5), (1, true, 6), (1, true, 7)], task(1, true), 0, true),
            ("one without a name is acknowledged by the proxy itself", vec![(2, false, 5)], task(1, true), 0, false),
            ("one without a name, and so is this", vec![(2, false, 5)], task(1, false), 0, true),
            ("one with a name", vec![(2, true, 5)], task(1, false), 0, true),
        ] {
            let mut server = Acknowledged::default();
            for (key, is_named, secs) in acknowledged {
                server.note(at(secs), &task(key, is_named));
            }
            assert_eq!(server.other_than(&about, at(since).mono).is_some(), want, "{name}");
        }
    }

    #[test]
    fn evidence_counts_once_and_memory_has_a_limit() {
        let mut doubts = Doubts::default();
        let doubt = doubts.of(at(9).mono, &task(1, true), at(1).mono).unwrap();
        assert_eq!((doubt.since, doubt.charge(at(9).mono), doubt.since), (at(1).mono, 1, at(9).mono));
        let doubt = doubts.of(at(20).mono, &task(1, true), at(12).mono).unwrap();
        assert_eq!((doubt.since, doubt.charge(at(20).mono)), (at(9).mono, 2), "its first visit is not forgotten");
        doubts.forget(Seq(1));
        assert_eq!(doubts.of(at(30).mono, &task(1, true), at(29).mono).map(|doubt| doubt.charges), Some(0));
        for key in 0..DOUBTS_MAX as u64 {
            assert!(doubts.of(at(100).mono, &task(key, true), at(99).mono).is_some());
        }
        assert!(doubts.of(at(100).mono, &task(1 << 40, true), at(99).mono).is_none());
        assert!(doubts.of(at(100).mono, &task(5, true), at(99).mono).is_some(), "one that is known goes on");
        assert!(doubts.of(at(4000).mono, &task(1 << 40, true), at(99).mono).is_some(), "those long gone make room");
    }
}
