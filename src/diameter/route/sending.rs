//! Sending: choice of the peer, copies, timeouts, failover, and the way back to the queue.

use std::hash::BuildHasher as _;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::flight::{Copy, Flight, Past};
use super::settings::PROBE_ANSWER;
use super::slot::{Entry, Origin, Slot};
use super::{Alarm, Client, Output, PARTS_MAX, Reason, Submission, number};
use crate::clock::{Instant, Now};
use crate::diameter::avp::Avps;
use crate::diameter::code;
use crate::diameter::header::{self, Repeat};
use crate::ids::Seq;
use crate::timers::random::doubled;

/// The Session-Id of a message.
pub(super) fn session_of(message: &[u8]) -> Option<&[u8]> {
    let (_, avps) = header::split(message).ok()?;
    Avps::new(avps).find(code::SESSION_ID, 0).map(|avp| avp.value)
}

/// How the use of a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// By a break, or by silence of the peer.
    Break,
    /// By a goodbye.
    Goodbye,
}

impl Client {
    /// How many records may be submitted now.
    #[must_use]
    pub fn capacity(&self, now: Instant) -> usize {
        if self.stopping_until.is_some() || self.guard.closed_until(now).is_some() {
            return 0;
        }
        if self.guard.paused().is_some() {
            // One record finds out whether the server takes them again.
            return usize::from(self.flights.is_empty());
        }
        if self.quarantine.is_closed(now) {
            return 0;
        }
        let group = self.group(now, |_| true);
        if group.is_empty() && self.has_unwelcome() {
            // A record that waits is the reason to try a peer that sent us away.
            return usize::from(!self.is_wanted);
        }
        group.iter().map(|index| self.slots[*index].room()).sum()
    }

    pub(super) fn has_usable(&self) -> bool {
        self.slots.iter().any(|slot| slot.peer.is_usable())
    }

    fn has_unwelcome(&self) -> bool {
        !self.has_usable() && self.slots.iter().any(|slot| slot.peer.is_unwelcome())
    }

    /// The peers that are used now out of those that fit: where a cached redirect leads, else the best priority that is
    /// steady, else the best that works.
    fn group(&self, now: Instant, fits: impl Fn(usize) -> bool) -> SmallVec<[usize; 8]> {
        let works = |index: &usize| self.slots[*index].is_ready(now) && fits(*index);
        if let Some((index, until)) = self.cached
            && until > now
            && works(&index)
        {
            return SmallVec::from_slice(&[index]);
        }
        let priority = |index: usize| self.slots[index].settings.priority;
        let configured =
            || (0..self.slots.len()).filter(|index| self.slots[*index].origin == Origin::Configured).filter(works);
        let is_silent = |index: usize| self.slots[index].silent_since().is_some();
        let speaking = configured().filter(|index| !is_silent(*index)).map(priority).min();
        if let Some(best) = speaking
            && let Some(probed) =
                configured().find(|index| priority(*index) <= best && self.slots[*index].is_probe_due(now))
        {
            return SmallVec::from_slice(&[probed]);
        }
        let all = || configured().filter(|index| speaking.is_none() || !is_silent(*index));
        let steady = |index: &usize| self.slots[*index].is_steady(now, self.settings.failback_hold);
        let best = all().filter(steady).map(priority).min();
        match best {
            Some(best) => all().filter(steady).filter(|index| priority(*index) == best).collect(),
            None => {
                let best = all().map(priority).min();
                all().filter(|index| Some(priority(*index)) == best).collect()
            }
        }
    }

    /// The peer a request goes to next, by weight among equals.
    pub(super) fn choose(&mut self, now: Instant, flight: &Flight) -> Option<usize> {
        let fits = |index: usize| {
            let slot = &self.slots[index];
            flight.tried & 1 << index == 0 && slot.room() > 0 && slot.serves(flight.realm.as_deref())
        };
        if let Some(pinned) = flight.pinned
            && self.slots[pinned].is_ready(now)
            && fits(pinned)
        {
            return Some(pinned);
        }
        let group = self.group(now, fits);
        let weight = |index: &usize| u64::from(self.slots[*index].settings.weight.max(1));
        if group.len() < 2 {
            return group.first().copied();
        }
        let mut rest = self.random.below(group.iter().map(weight).sum());
        group.into_iter().find(|index| {
            let is_it = rest < weight(index);
            rest = rest.saturating_sub(weight(index));
            is_it
        })
    }

    pub(super) fn submit(&mut self, now: Now, submission: &Submission<'_>, out: &mut Vec<Output>) {
        let key = submission.key;
        let past = self.pasts.take(key);
        if past.as_ref().is_some_and(|past| past.is_delivered) {
            // The answer came while the record waited in the queue.
            return out.push(Output::Delivered { key, peer: number(0), round_trip: None });
        }
        // What is not remembered of a record that was tried counts as sent.
        let is_forgotten = past.is_none() && submission.attempts > 0 && self.pasts.has_forgotten(key);
        let past = past.unwrap_or_default();
        let parts = match self.parts(submission, &past) {
            Ok(parts) => parts,
            Err(reason) => return out.push(Output::Park { key, reason }),
        };
        let flight = Flight {
            part: past.done.min(parts.len() - 1),
            parts,
            since: submission.since,
            kind: submission.kind,
            session: submission.session,
            ends_session: submission.ends_session,
            realm: submission.realm.map(Box::from),
            tried: 0,
            copies: SmallVec::new(),
            is_doubtful: (submission.has_waited && past.ids.is_empty()) || past.is_doubtful || is_forgotten,
            transmissions: 0,
            redirects: past.redirects,
            pinned: past.pinned,
            sent: now.mono,
            taken: now.mono,
            wait: self.settings.request_timeout,
            timer: None,
            past,
        };
        self.flights.insert(key, flight);
        self.dispatch(now, key, None, out);
    }

    /// The messages of a record, each with its End-to-End id and the session's Class.
    fn parts(&self, submission: &Submission<'_>, past: &Past) -> Result<SmallVec<[Bytes; 1]>, Reason> {
        let max = self.settings.message_octets_max.min(header::MESSAGE_OCTETS_MAX);
        let mut ends = SmallVec::<[(usize, usize); 1]>::new();
        let mut start = 0;
        while start < submission.messages.len() && ends.len() < PARTS_MAX {
            let Ok(Some(octets)) = header::frame(&submission.messages[start..], header::MESSAGE_OCTETS_MAX) else {
                break;
            };
            ends.push((start, start + octets));
            start += octets;
        }
        if ends.is_empty() || start != submission.messages.len() {
            return Err(Reason::Empty);
        }
        let class = self.classes.of(submission.session);
        let mut parts = SmallVec::new();
        for (part, (start, end)) in ends.iter().copied().enumerate() {
            let octets = end - start + class.len();
            if octets > max {
                return Err(Reason::TooLong { octets, max });
            }
            let mut message = Vec::with_capacity(octets);
            message.extend_from_slice(&submission.messages[start..end]);
            message.extend_from_slice(class);
            if let Ok(octets) = u32::try_from(octets) {
                message[1..4].copy_from_slice(&octets.to_be_bytes()[1..]);
            }
            let first = || self.identifiers.first(submission.key, part, ends.len());
            header::set_end_to_end(&mut message, past.ids.get(part).copied().unwrap_or_else(first));
            parts.push(message.into());
        }
        Ok(parts)
    }

    /// Sends the part of a record that is due, or gives the record back. `reason` is what happened to it last.
    pub(super) fn dispatch(&mut self, now: Now, key: Seq, reason: Option<Reason>, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.remove(&key) else { return };
        let may_go = self.stopping_until.is_none() && !self.quarantine.is_alone_other(key);
        let is_held = may_go && flight.is_suspect() && self.has_usable() && !self.quarantine.is_alone(key);
        let chosen = if may_go && !is_held { self.choose(now.mono, &flight) } else { None };
        self.flights.insert(key, flight);
        if is_held {
            return self.hold(now, key);
        }
        if let Some(index) = chosen {
            self.transmit(now, key, index, out);
            return;
        }
        match reason {
            Some(reason @ Reason::Refused(_)) => self.back_off(now, key, reason, out),
            Some(reason) => self.give_back(now, key, self.settings.outage_retry, reason, out),
            None => {
                let is_up = self.has_usable();
                let reason = match self.guard.paused() {
                    Some(by) => Reason::Paused { by },
                    None if is_up => Reason::NoRoom,
                    None => Reason::NoPeer,
                };
                self.is_wanted |= !is_up;
                self.give_back(now, key, self.settings.outage_retry, reason, out);
                self.seek_unwelcome(now, out);
            }
        }
    }

    /// Sends a copy to a peer.
    pub(super) fn transmit(&mut self, now: Now, key: Seq, index: usize, out: &mut Vec<Output>) {
        let speaks = |slot: &Slot| slot.is_ready(now.mono) && slot.silent_since().is_none();
        let is_probe = self.slots[index].silent_since().is_some() && self.slots.iter().any(speaks);
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let slot = &mut self.slots[index];
        if is_probe {
            flight.wait = flight.wait.min(PROBE_ANSWER);
        }
        let hop_by_hop = slot.peer.next_hop_by_hop();
        let mut message = flight.parts[flight.part].to_vec();
        header::set_hop_by_hop(&mut message, hop_by_hop);
        let repeat = if flight.is_doubtful { Repeat::Perhaps } else { Repeat::No };
        header::set_repeat(&mut message, repeat);
        let session = session_of(&message).map_or(0, |session| self.sessions.hash_one(session));
        slot.enter(hop_by_hop, Entry { key, part: flight.part, session });
        match repeat {
            Repeat::No => slot.counters.requests += 1,
            Repeat::Perhaps => slot.counters.repeats += 1,
        }
        self.quarantine.yield_to(now.mono, key);
        flight.tried |= 1 << index;
        flight.copies.push(Copy { peer: index, hop_by_hop, is_abandoned: false });
        flight.transmissions += 1;
        flight.sent = now.mono;
        let due = now.mono + flight.wait;
        self.timers.set(&mut flight.timer, Some(due), key);
        out.push(Output::Transmit { peer: number(index), message: message.into() });
    }

    /// The answer did not come in time: a second copy to another peer, or to the same with twice the time.
    pub(super) fn ran_out(&mut self, now: Now, key: Seq, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.timer = None;
        let sent = flight.sent;
        let last = flight.copies.iter().rev().find(|copy| !copy.is_abandoned).map(|copy| copy.peer);
        if let Some(last) = last {
            self.slots[last].counters.timeouts += 1;
            if self.slots[last].ran_out(now.mono, sent) {
                out.push(Output::Alarm { peer: number(last), alarm: Alarm::Silent });
            }
        }
        self.abandon(key, None);
        let Some(flight) = self.flights.remove(&key) else { return };
        let transmissions = flight.transmissions;
        let other = self.choose(now.mono, &flight);
        self.flights.insert(key, flight);
        if self.stopping_until.is_some() {
            // What is unanswered when we leave goes back then.
            return;
        }
        if transmissions >= self.settings.transmissions {
            self.unanswered(now, key, out);
            return;
        }
        let same = last.filter(|index| self.slots[*index].is_ready(now.mono) && self.slots[*index].room() > 0);
        let Some(flight) = self.flights.get_mut(&key) else { return };
        match other.or(same) {
            Some(index) => {
                // A silent peer gets its single record again and again, so that its first answer comes soon.
                let doubles = other.is_none() && self.slots[index].silent_since().is_none();
                flight.wait = if doubles { flight.wait * 2 } else { self.settings.request_timeout };
                self.transmit(now, key, index, out);
            }
            None => self.unanswered(now, key, out),
        }
    }

    /// Back to the queue without an answer. Whether that says something about the record, the others tell.
    fn unanswered(&mut self, now: Now, key: Seq, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.get(&key) else { return };
        let (transmissions, taken) = (flight.transmissions, flight.taken);
        if self.slots.iter().any(|slot| slot.answered_at.is_some_and(|at| at > taken)) {
            self.back_off(now, key, Reason::NoAnswer { transmissions }, out);
        } else {
            self.give_back(now, key, self.settings.outage_retry, Reason::Silence { transmissions }, out);
        }
    }

    /// Gives up the copies of a record, of one peer or of all; their answers still count, and T is set from now on.
    fn abandon(&mut self, key: Seq, peer: Option<usize>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        for copy in &mut flight.copies {
            if !copy.is_abandoned && peer.is_none_or(|peer| peer == copy.peer) {
                copy.is_abandoned = true;
                flight.is_doubtful = true;
                self.slots[copy.peer].abandon(copy.hop_by_hop);
            }
        }
    }

    /// What is outstanding at a peer goes elsewhere, in the order of the queue. After a break each of these records may
    /// be the reason of it.
    pub(super) fn fail_over(&mut self, now: Now, index: usize, ending: Ending, out: &mut Vec<Output>) {
        let keys = self.waiting_at(index);
        let is_only_one = keys.len() == 1;
        for key in keys {
            self.abandon(key, Some(index));
            self.slots[index].counters.failed_over += 1;
            if ending == Ending::Break && self.suspect(now, key, is_only_one, out) {
                continue;
            }
            let Some(flight) = self.flights.get(&key) else { continue };
            if flight.pending() == 0 {
                let transmissions = flight.transmissions;
                self.dispatch(now, key, Some(Reason::Broke { transmissions }), out);
            }
        }
        if !self.has_usable() {
            self.release_quarantine(now, &Reason::NoPeer, out);
        }
    }

    /// Records whose answer is waited for from this peer, in the order of the queue.
    pub(super) fn waiting_at(&self, index: usize) -> SmallVec<[Seq; 32]> {
        let waits = |key: &Seq| {
            let flight = self.flights.get(key);
            flight.is_some_and(|flight| flight.copies.iter().any(|copy| copy.peer == index && !copy.is_abandoned))
        };
        let mut keys: SmallVec<[Seq; 32]> = self.slots[index].entries.values().map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| waits(key));
        keys
    }

    /// No answer will come to anything sent to a peer.
    pub(super) fn lost_ids(&mut self, index: usize) {
        let keys: SmallVec<[Seq; 32]> = self.slots[index].entries.values().map(|entry| entry.key).collect();
        for key in keys {
            if let Some(flight) = self.flights.get_mut(&key) {
                flight.copies.retain(|copy| copy.peer != index);
            }
        }
        self.slots[index].clear();
    }

    /// Back to the queue for a time that doubles with each refusal.
    pub(super) fn back_off(&mut self, now: Now, key: Seq, reason: Reason, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let wait = doubled(self.settings.retry_first, flight.past.refusals, self.settings.retry_max);
        flight.past.refusals += 1;
        let after = self.random.shorten(wait, 5);
        self.give_back(now, key, after, reason, out);
    }

    /// Back to the queue.
    pub(super) fn give_back(&mut self, now: Now, key: Seq, after: Duration, reason: Reason, out: &mut Vec<Output>) {
        self.abandon(key, None);
        self.quarantine.leave(now.mono, key);
        let Some(flight) = self.flights.remove(&key) else { return };
        if let Some(timer) = flight.timer {
            self.timers.cancel(timer);
        }
        let mut past = flight.past;
        past.is_doubtful = flight.is_doubtful;
        past.done = flight.part;
        past.pinned = flight.pinned;
        past.redirects = flight.redirects;
        if past != Past::default() {
            past.parts = flight.parts.len();
            self.pasts.keep(key, past);
        }
        out.push(Output::Retry { key, after, reason });
    }

    /// The record has ended: nothing more is expected of it.
    pub(super) fn end(&mut self, now: Now, key: Seq) -> Option<Flight> {
        self.quarantine.leave(now.mono, key);
        let flight = self.flights.remove(&key)?;
        if let Some(timer) = flight.timer {
            self.timers.cancel(timer);
        }
        for copy in &flight.copies {
            self.slots[copy.peer].forget(copy.hop_by_hop, copy.is_abandoned);
        }
        Some(flight)
    }
}
