//! Receiving: answers find their records, and the policy says what becomes of them.

use std::hash::BuildHasher as _;

use smallvec::SmallVec;

use super::guard::Ruling;
use super::policy::{Disposition, Effect, Fallback, judge};
use super::redirect::{allows, cache_seconds, peer_of};
use super::sending::session_of;
use super::slot::{Entry, Origin, Slot};
use super::{
    Alarm, Client, Complaint, Fault, Kind, Output, PEERS_MAX, PeerIndex, REDIRECTS_MAX, Reason, Refusal, number,
};
use crate::clock::Now;
use crate::diameter::code::realtime_required;
use crate::diameter::header::{Header, command};
use crate::diameter::message::{Answer, Outcome};
use crate::diameter::peer;
use crate::ids::Seq;

/// Time a peer that a redirect led to stays connected at least.
const REDIRECTED_STAY: std::time::Duration = std::time::Duration::from_secs(60);

impl Client {
    /// A whole message came.
    pub(super) fn received(&mut self, now: Now, peer: PeerIndex, message: &[u8], out: &mut Vec<Output>) {
        let index = usize::from(peer.0);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Ok(header) = Header::read(message) else {
            return self.tell(now, peer, peer::Input::Garbage, out);
        };
        if header.is_request() {
            slot.counters.requests_in += 1;
            return self.tell(now, peer, peer::Input::Message(message), out);
        }
        if header.command != command::ACCOUNTING {
            return self.tell(now, peer, peer::Input::Message(message), out);
        }
        let Some(entry) = slot.entries.get(&header.hop_by_hop).copied() else {
            slot.counters.unknown += 1;
            return self.tell(now, peer, peer::Input::Answered, out);
        };
        let end_to_end = self.flights.get(&entry.key).and_then(|flight| {
            let octets = flight.parts.get(entry.part)?.get(16..20)?;
            Some(u32::from_be_bytes(octets.try_into().ok()?))
        });
        if end_to_end.is_some_and(|own| own != header.end_to_end) {
            // The right place with the wrong name: no acknowledgement of anything.
            self.slots[index].counters.unknown += 1;
            return self.tell(now, peer, peer::Input::Answered, out);
        }
        let session = session_of(message).map(|session| self.sessions.hash_one(session));
        if session.is_some_and(|session| session != entry.session) {
            // About something else than what was asked: nothing is known of the record.
            self.slots[index].counters.foreign += 1;
            return self.tell(now, peer, peer::Input::Answered, out);
        }
        match Answer::read(message) {
            Ok(answer) => {
                self.tell(now, peer, peer::Input::Answered, out);
                self.answered(now, index, header.hop_by_hop, entry, &answer, out);
            }
            Err(_) => {
                // As good as no answer; the connection fails over with T.
                self.slots[index].counters.broken += 1;
                self.tell(now, peer, peer::Input::Broken, out);
            }
        }
    }

    fn answered(&mut self, now: Now, index: usize, id: u32, entry: Entry, answer: &Answer<'_>, out: &mut Vec<Output>) {
        let Entry { key, part, .. } = entry;
        self.count(index, answer.outcome);
        self.heard(now, index, out);
        let is_success = matches!(judge(answer.outcome).0, Disposition::Delivered | Disposition::Limited);
        let Some(flight) = self.flights.get_mut(&key) else {
            // It went back to the queue meanwhile.
            self.slots[index].forget(id, true);
            self.slots[index].counters.late += 1;
            if is_success && let Some(past) = self.pasts.get_mut(key) {
                past.settle(part);
            }
            return;
        };
        let Some(place) = flight.copies.iter().position(|copy| copy.peer == index && copy.hop_by_hop == id) else {
            return self.slots[index].forget(id, true);
        };
        let copy = flight.copies.remove(place);
        self.slots[index].forget(id, copy.is_abandoned);
        self.slots[index].counters.late += u64::from(copy.is_abandoned);
        if part != flight.part {
            return;
        }
        self.clear_suspicion(now.mono, key);
        let Some(flight) = self.flights.get_mut(&key) else { return };
        if is_success {
            return self.accepted(now, index, key, answer, out);
        }
        if flight.pending() > 0 {
            // Another copy may still be accepted.
            return;
        }
        self.timers.set(&mut flight.timer, None, key);
        self.refused(now, index, key, answer, out);
    }

    /// The answer to a request came.
    fn heard(&mut self, now: Now, index: usize, out: &mut Vec<Output>) {
        if self.slots[index].answered(now.mono) {
            out.push(Output::Alarm { peer: number(index), alarm: Alarm::SilentOver });
        }
    }

    fn count(&mut self, index: usize, outcome: Outcome) {
        let counters = &mut self.slots[index].counters;
        let code = match outcome {
            Outcome::Result(code) | Outcome::Experimental { code, .. } => code,
            Outcome::Missing => 0,
        };
        match code / 1000 {
            2 => counters.accepted += 1,
            3 => counters.protocol_errors += 1,
            4 => counters.transient_failures += 1,
            _ => counters.permanent_failures += 1,
        }
    }

    /// A server has the record, or a part of it.
    fn accepted(&mut self, now: Now, index: usize, key: Seq, answer: &Answer<'_>, out: &mut Vec<Output>) {
        if self.guard.other(true) {
            self.alarm(index, Alarm::FloodOver, out);
        }
        self.slots[index].succeeded(self.settings.window);
        self.told[index] = self.told[index].take().filter(|told| *told == Alarm::RealtimeIgnored);
        self.obey(index, key, answer, out);
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let round_trip = (flight.transmissions == 1).then(|| now.mono.since(flight.sent));
        if let Some(time) = round_trip {
            self.slots[index].measured(time);
        }
        if flight.part + 1 < flight.parts.len() {
            let copies = std::mem::take(&mut flight.copies);
            flight.part += 1;
            flight.past.done = flight.part;
            (flight.tried, flight.transmissions, flight.redirects) = (0, 0, 0);
            flight.is_doubtful = flight.past.is_doubtful;
            flight.wait = self.settings.request_timeout;
            for copy in copies {
                self.slots[copy.peer].forget(copy.hop_by_hop, copy.is_abandoned);
            }
            return self.dispatch(now, key, None, out);
        }
        let kind = flight.kind;
        self.taken_again(index, kind, out);
        let Some(flight) = self.end(now, key) else { return };
        if flight.ends_session {
            self.classes.forget(flight.session, out);
        } else if !answer.classes.is_empty() {
            self.classes.keep(flight.session, &answer.classes, out);
        }
        out.push(Output::Delivered { key, peer: number(index), round_trip });
    }

    /// What a server asks for besides.
    fn obey(&mut self, index: usize, key: Seq, answer: &Answer<'_>, out: &mut Vec<Output>) {
        if let Some(seconds) = answer.interim {
            out.push(Output::Interim { key, seconds });
        }
        if let Some(required) = answer.realtime {
            self.is_realtime = required == realtime_required::DELIVER_AND_GRANT;
            if self.is_realtime && !self.settings.honour_realtime {
                self.alarm(index, Alarm::RealtimeIgnored, out);
            }
        }
    }

    /// The last copy of a record was refused.
    fn refused(&mut self, now: Now, index: usize, key: Seq, answer: &Answer<'_>, out: &mut Vec<Output>) {
        let refusal = refusal(answer);
        let code = refusal.code;
        let (disposition, effect) = judge(answer.outcome);
        match effect {
            Effect::None => {}
            Effect::Alarm => {
                let general = Refusal { failed: Vec::new(), ..refusal.clone() };
                self.alarm(index, Alarm::Answer(general), out);
            }
            Effect::RestPeer => self.slots[index].too_busy(now.mono),
            Effect::RestRoute => {
                self.guard.rest(now.mono);
            }
        }
        if !matches!(disposition, Disposition::Park | Disposition::Unable) && self.guard.other(false) {
            self.alarm(index, Alarm::FloodOver, out);
        }
        match disposition {
            Disposition::Elsewhere(fallback) => self.elsewhere(now, key, fallback, Reason::Refused(refusal), out),
            Disposition::Redirect => self.redirected(now, index, key, answer, refusal, out),
            Disposition::Later => {
                self.renew(now, key);
                self.back_off(now, key, Reason::Refused(refusal), out);
            }
            Disposition::Park | Disposition::Unable => match self.guard.refused(now.mono, Complaint::Result(code)) {
                Ruling::Park => self.give_up(now, index, key, disposition, refusal, out),
                ruling => {
                    if ruling == Ruling::Pause {
                        self.alarm(index, Alarm::Flood { by: Complaint::Result(code) }, out);
                    }
                    self.renew(now, key);
                    let after = self
                        .guard
                        .closed_until(now.mono)
                        .map_or(self.settings.retry_first, |until| until.since(now.mono));
                    self.give_back(now, key, after, Reason::Paused { by: Complaint::Result(code) }, out);
                }
            },
            // Handled as accepted.
            Disposition::Delivered | Disposition::Limited => {}
        }
    }

    /// Parked, after some tries if it is 5012.
    fn give_up(
        &mut self,
        now: Now,
        index: usize,
        key: Seq,
        disposition: Disposition,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.past.unable += u32::from(disposition == Disposition::Unable);
        if disposition == Disposition::Unable && flight.past.unable < self.settings.unable_max {
            self.renew(now, key);
            return self.back_off(now, key, Reason::Refused(refusal), out);
        }
        let kind = flight.kind;
        self.parked(index, kind, Complaint::Result(refusal.code), out);
        self.end(now, key);
        out.push(Output::Park { key, reason: Reason::Refused(refusal) });
    }

    /// It was alone at as many breaks as allowed: parked, unless every record meets with a break.
    pub(super) fn broke_always(&mut self, now: Now, key: Seq, times: u32, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.get(&key) else { return };
        let (kind, by) = (flight.kind, Complaint::Break);
        let index = flight.copies.first().map_or(0, |copy| copy.peer);
        match self.guard.refused(now.mono, by) {
            Ruling::Park => {
                self.parked(index, kind, by, out);
                self.end(now, key);
                out.push(Output::Park { key, reason: Reason::Breaks { times } });
            }
            ruling => {
                if ruling == Ruling::Pause {
                    self.alarm(index, Alarm::Flood { by }, out);
                }
                let until = self.guard.closed_until(now.mono);
                let after = until.map_or(self.settings.retry_first, |until| until.since(now.mono));
                self.give_back(now, key, after, Reason::Paused { by }, out);
            }
        }
    }

    /// One record of a kind was parked: with as many of the kind in a row as make a flood an operator is told, though
    /// others are taken.
    fn parked(&mut self, index: usize, kind: Kind, by: Complaint, out: &mut Vec<Output>) {
        if by.makes_flood() && self.kinds.parked(kind, by, self.settings.pause_after) {
            out.push(Output::Alarm { peer: number(index), alarm: Alarm::Kind { kind, by } });
        }
    }

    /// A record of a kind was taken.
    fn taken_again(&mut self, index: usize, kind: Kind, out: &mut Vec<Output>) {
        if self.kinds.taken(kind) {
            out.push(Output::Alarm { peer: number(index), alarm: Alarm::KindOver { kind } });
        }
    }

    /// To another peer now; without one as the fallback says.
    fn elsewhere(&mut self, now: Now, key: Seq, fallback: Fallback, reason: Reason, out: &mut Vec<Output>) {
        let Some(flight) = self.flights.remove(&key) else { return };
        let age = now.wall.since(flight.since);
        let other = if self.stopping_until.is_some() { None } else { self.choose(now.mono, &flight) };
        self.flights.insert(key, flight);
        if let Some(other) = other {
            return self.transmit(now, key, other, out);
        }
        let is_over = match fallback {
            Fallback::Later => false,
            Fallback::Aging => age >= self.settings.retry_config_errors,
            Fallback::Park => true,
        };
        if is_over {
            self.end(now, key);
            out.push(Output::Park { key, reason });
        } else {
            self.back_off(now, key, reason, out);
        }
    }

    /// A new End-to-End id for what is not done: a server repeats its first answer for one it knows.
    fn renew(&mut self, now: Now, key: Seq) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let ids: SmallVec<[u32; 1]> = flight.parts.iter().map(|_| self.identifiers.fresh(now.wall)).collect();
        flight.past.ids = ids;
        flight.is_doubtful = false;
        flight.past.is_doubtful = false;
        // Answers to the old one say nothing about the new one.
        let copies = std::mem::take(&mut flight.copies);
        for copy in copies {
            self.slots[copy.peer].forget(copy.hop_by_hop, copy.is_abandoned);
        }
    }

    /// 3006: to a host that is a peer or allowed; all else is as 3002.
    fn redirected(
        &mut self,
        now: Now,
        index: usize,
        key: Seq,
        answer: &Answer<'_>,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) {
        let redirect = answer.redirect();
        let hosts = redirect.hosts.join(", ");
        let mut fault = Fault::NotAllowed;
        let Some(flight) = self.flights.get(&key) else { return };
        let (tried, may_follow) = (flight.tried, flight.redirects < REDIRECTS_MAX);
        let cache = u64::from(cache_seconds(redirect.usage, redirect.seconds));
        let until = now.mono + std::time::Duration::from_secs(cache);
        let found = redirect.hosts.iter().filter_map(|uri| peer_of(uri)).find_map(|target| {
            let place = self.redirect_target(now, target, until)?;
            if tried & 1 << place != 0 || !may_follow {
                fault = Fault::Circle;
                return None;
            }
            let (host, own) = (&self.slots[place].settings.host, &self.slots[place].peer);
            if let Some(cause) = own.last_cause().filter(|_| own.state() == peer::State::Closed) {
                fault = Fault::Unreachable(format!("{host}: {cause}"));
                return None;
            }
            Some(place)
        });
        let Some(flight) = self.flights.get_mut(&key) else { return };
        let Some(place) = found else {
            (flight.pinned, flight.redirects) = (None, 0);
            self.alarm(index, Alarm::Redirect { hosts: hosts.clone(), fault: fault.clone() }, out);
            let reason = match fault {
                Fault::NotAllowed | Fault::Circle if refusal.code != 0 => Reason::Refused(refusal),
                fault => Reason::BadRedirect { hosts, fault },
            };
            return self.elsewhere(now, key, Fallback::Later, reason, out);
        };
        flight.pinned = Some(place);
        flight.redirects += 1;
        if cache > 0 {
            self.cached = Some((place, until));
        }
        let slot = &self.slots[place];
        if slot.is_ready(now.mono) && slot.room() > 0 {
            self.transmit(now, key, place, out);
        } else {
            let host = slot.settings.host.clone();
            self.give_back(now, key, self.settings.outage_retry, Reason::Redirected { host }, out);
        }
    }

    /// The place of the peer that a redirect names: one of the configured ones, or a new one that is allowed.
    fn redirect_target(
        &mut self,
        now: Now,
        target: super::PeerSettings,
        until: crate::clock::Instant,
    ) -> Option<usize> {
        let until = until.max(now.mono + REDIRECTED_STAY);
        let is_it = |slot: &Slot| slot.settings.identity.eq_ignore_ascii_case(&target.identity);
        if let Some(place) = self.slots.iter().position(|slot| is_it(slot) && !slot.peer.is_stopping()) {
            if let Origin::Redirected { until: old } = &mut self.slots[place].origin {
                *old = until.max(*old);
            }
            return Some(place);
        }
        if !allows(&self.settings.redirect_hosts, &target.host) {
            return None;
        }
        let slot = Slot::new(now.mono, target, Origin::Redirected { until }, &self.settings, &mut self.random);
        let is_free = |slot: &Slot| {
            slot.origin != Origin::Configured && slot.peer.is_stopping() && slot.peer.state() == peer::State::Closed
        };
        if let Some(place) = self.slots.iter().position(is_free) {
            self.slots[place] = slot;
            return Some(place);
        }
        if self.slots.len() >= PEERS_MAX {
            return None;
        }
        self.slots.push(slot);
        self.told.push(None);
        Some(self.slots.len() - 1)
    }
}

fn refusal(answer: &Answer<'_>) -> Refusal {
    let (code, vendor) = match answer.outcome {
        Outcome::Result(code) => (code, None),
        Outcome::Experimental { vendor, code } => (code, Some(vendor)),
        Outcome::Missing => (0, None),
    };
    Refusal { code, vendor, text: answer.text(), by: answer.by(), failed: answer.failed() }
}
