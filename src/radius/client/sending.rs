//! Sending: choice of the server, visits, retransmission, what happens after a failed visit.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::doubt::Answered;
use super::lane::{ABANDONED_HOLD, Release, Resting};
use super::server::Server;
use super::suspect::suspect;
use super::visit::{self, Task, Visit};
use super::{Client, DelayTime, LaneId, MessageAuthenticator, Output, Reason, Selection, Submission, Transport, index};
use crate::clock::{Instant, Now};
use crate::radius::packet::{self, Code};
use crate::radius::{authenticator, number};
use crate::timers::random::doubled;

/// Longest back-off of a record of which is not known why it is not answered: it must not wait long for a server that is
/// back.
const UNKNOWN_RETRY_MAX: Duration = Duration::from_secs(60);

/// The smoothed time of answers lags behind while a queue grows at a slow server.
const PATIENCE_FACTOR: u32 = 4;

/// Whose fault a failed visit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The server's or the network's: the record waits a moment.
    Outage,
    /// The record's: back-off, parked in the end.
    Record {
        /// Its failed visits so far.
        charges: u32,
    },
    /// Whose, cannot be told: a back-off by attempts that stays short, never parked.
    Unknown,
    /// The configuration's: back-off by attempts, never parked.
    Setup,
    /// Perhaps the record's: others go first.
    Suspect {
        /// Connections broken with it under way, above those that make it one.
        breaks: u32,
    },
}

impl Client {
    pub(super) fn submit(&mut self, now: Now, submission: &Submission<'_>, out: &mut Vec<Output>) {
        let task = Task::new(submission);
        match self.choose(&task) {
            Some(server) => self.begin(now, task, server, submission.attributes, out),
            None => {
                let reason = if self.servers.iter().any(Server::is_usable) { Reason::NoRoom } else { Reason::NoServer };
                out.push(Output::Retry { key: task.key, after: self.settings.outage_retry, reason });
            }
        }
    }

    /// The server a record goes to next: not tried before, alive if any is, with room.
    fn choose(&self, task: &Task) -> Option<usize> {
        let count = self.servers.len();
        let first = match self.settings.selection {
            Selection::ByCall if count > 0 => usize::try_from(task.call.0 % count as u64).unwrap_or(0),
            Selection::ByCall | Selection::Failover => 0,
        };
        let order = || (0..count).map(move |step| (first + step) % count);
        let fits = |server: &usize| task.tried & 1 << server == 0 && self.servers[*server].room() > 0;
        let preferred = order().find(|server| fits(server) && self.servers[*server].is_preferred());
        preferred.or_else(|| order().find(fits))
    }

    fn begin(&mut self, now: Now, mut task: Task, server: usize, attributes: &[u8], out: &mut Vec<Output>) {
        task.tried |= 1 << server;
        let revive_at = now.mono + self.random.jitter(self.settings.revival);
        self.servers[server].tries(now.mono, &self.settings, revive_at);
        let wait = visit::first_wait(&self.settings, &mut self.random);
        let slot = self.visits.insert(Visit {
            task,
            server,
            identifiers: SmallVec::new(),
            datagram: Bytes::new(),
            attribute_octets: attributes.len(),
            started: now.mono,
            wait,
            due: now.mono + wait,
            transmissions: 1,
            waits: 1,
            is_resent: false,
            is_in_line: false,
        });
        if self.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key) {
            self.stand_in_line(now, slot, attributes, out);
            return;
        }
        match self.sign(now, slot, attributes) {
            Ok(lane) => {
                let there = &mut self.servers[server];
                there.outstanding += 1;
                there.counters.requests += 1;
                there.transmitted(now.mono);
                self.visits.arm(slot, now.mono + wait);
                self.transmit(now.mono, slot, lane, out);
                self.ask_for_lane(server, out);
            }
            Err(Reason::NoRoom) if self.servers[server].room() > 0 => {
                self.wait_for_lane(now.mono, slot, attributes, out);
            }
            Err(reason) => {
                self.visits.remove(slot);
                out.push(match reason {
                    Reason::TooLong { .. } => Output::Park { key: task.key, reason },
                    _ => Output::Retry { key: task.key, after: self.settings.outage_retry, reason },
                });
            }
        }
    }

    /// Builds and signs the visit's datagram under a fresh identifier.
    pub(super) fn sign(&mut self, now: Now, slot: u32, attributes: &[u8]) -> Result<LaneId, Reason> {
        let visit = self.visits.get_mut(slot).ok_or(Reason::NoRoom)?;
        let server = &mut self.servers[visit.server];
        let lane_id = server.pick_lane().ok_or(Reason::NoRoom)?;
        let octets = &mut self.scratch;
        packet::begin(octets, Code::ACCOUNTING_REQUEST, 0);
        octets.extend_from_slice(attributes);
        if self.settings.delay_time != DelayTime::Never {
            let delay = u32::try_from(now.wall.since(visit.task.since).as_secs()).unwrap_or(u32::MAX);
            packet::push(octets, number::ACCT_DELAY_TIME, &delay.to_be_bytes());
        }
        let with_message = server.settings.message_authenticator == MessageAuthenticator::Send;
        if with_message {
            authenticator::push_message_authenticator(octets);
        }
        packet::finish(octets).map_err(|packet::TooLong { octets }| Reason::TooLong { octets })?;
        let identifier = server.lane(lane_id).and_then(|lane| lane.take(slot)).ok_or(Reason::NoRoom)?;
        octets[1] = identifier;
        let secret = &server.settings.secret;
        if with_message {
            authenticator::sign_message(octets, &[0; 16], secret);
        }
        let signature = authenticator::sign_request(octets, secret);
        if let Some(lane) = server.lane(lane_id) {
            lane.sent(identifier, signature);
        }
        visit.identifiers.push((lane_id, identifier));
        visit.datagram = Bytes::copy_from_slice(octets);
        Ok(lane_id)
    }

    pub(super) fn transmit(&mut self, now: Instant, slot: u32, lane: LaneId, out: &mut Vec<Output>) {
        let Some(visit) = self.visits.get(slot) else { return };
        let server = visit.server;
        out.push(Output::Transmit { server: index(server), lane, datagram: visit.datagram.clone() });
        self.note_sent(now, server, lane);
    }

    /// The timer of a visit ran out.
    pub(super) fn ran_out(&mut self, now: Now, slot: u32, out: &mut Vec<Output>) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let (server, first, is_unsent) = (visit.server, visit.waits == 1, visit.is_unsent());
        let again = visit.waits < self.settings.transmissions;
        // A connection loses nothing: silence there only raises suspicion (RFC 6613 §2.6.1).
        let is_sent_again = again && self.settings.transport == Transport::Datagram;
        if again {
            visit.waits += 1;
            visit.transmissions += u32::from(is_sent_again);
            visit.wait = visit::next_wait(&self.settings, visit.wait, &mut self.random);
        }
        let (wait, attributes) = (visit.wait, visit.attributes());
        let last_lane = visit.identifiers.last().map(|(lane, _)| *lane);
        if !is_unsent {
            self.servers[server].ran_out(now.mono, first, &self.settings);
            self.servers[server].counters.timeouts += u64::from(is_sent_again || !again);
        }
        if !again {
            self.finish_unanswered(now, slot, out);
            return;
        }
        if !is_sent_again {
            self.visits.arm(slot, now.mono + wait);
            return;
        }
        let fresh = match self.settings.delay_time {
            // Other octets need another identifier; when there is none, the old ones go out once more.
            DelayTime::Always => self.sign(now, slot, &attributes).ok(),
            DelayTime::Cycle | DelayTime::Never => None,
        };
        self.servers[server].counters.retransmissions += 1;
        self.servers[server].transmitted(now.mono);
        self.visits.arm(slot, now.mono + wait);
        if let Some(lane) = fresh.or(last_lane) {
            self.transmit(now.mono, slot, lane, out);
        }
    }

    /// Ends a visit and frees its identifiers; the one answered, if any, comes free at once.
    pub(super) fn end_visit(&mut self, now: Instant, slot: u32, answered: Option<(LaneId, u8)>) -> Option<Visit> {
        let visit = self.visits.remove(slot)?;
        let server = &mut self.servers[visit.server];
        if visit.is_in_line {
            server.line.remove(slot);
            return Some(visit);
        }
        server.outstanding = server.outstanding.saturating_sub(1);
        server.line.ended(slot, now + self.settings.response_window);
        if visit.is_unsent() {
            server.waiting.retain(|waiting| *waiting != slot);
        }
        for &(lane, identifier) in &visit.identifiers {
            let how = match answered {
                Some(there) if there != (lane, identifier) => Release::Abandoned,
                Some(_) if visit.transmissions > 1 => Release::Doubled,
                Some(_) => Release::Answered,
                None => Release::Abandoned,
            };
            if let Some(lane) = server.lane(lane) {
                lane.release(now, identifier, how);
                if answered.is_none() {
                    lane.rest(identifier, Resting { task: visit.task, sent: visit.started });
                }
            }
        }
        Some(visit)
    }

    /// A visit ended in silence: the next server, or back to the queue.
    pub(super) fn finish_unanswered(&mut self, now: Now, slot: u32, out: &mut Vec<Output>) {
        let Some(visit) = self.end_visit(now.mono, slot, None) else { return };
        let charged = if visit.is_unsent() { None } else { self.charge(now, &visit) };
        let server = &mut self.servers[visit.server];
        if !visit.is_unsent() {
            server.window.visit_lost(charged.is_some(), &self.settings);
        }
        let (address, transmissions) = (server.address(), visit.transmissions);
        let never = server.last_authentic.is_none();
        let has_probe_answer = server.last_probe_answer.is_some_and(|at| at > visit.started);
        if visit.is_unsent() {
            let reason = Reason::NoConnection { server: address, why: server.why() };
            self.go_on(now, &visit, Fault::Outage, reason, out);
        } else if let Some((other, charges)) = charged {
            let at = other.wall;
            let suspect = suspect(&visit.attributes());
            let reason = Reason::Ignored { server: address, transmissions, charges, at, suspect };
            self.go_on(now, &visit, Fault::Record { charges }, reason, out);
        } else if self.servers[visit.server].acknowledged.has_any(&visit.task, visit.started) {
            self.go_on(now, &visit, Fault::Unknown, Reason::NamelessOnly { server: address, transmissions }, out);
        } else if has_probe_answer {
            self.go_on(now, &visit, Fault::Unknown, Reason::ProbesOnly { server: address, transmissions }, out);
        } else if never && self.settings.transport == Transport::Stream {
            self.go_on(now, &visit, Fault::Outage, Reason::Mute { server: address }, out);
        } else if never {
            self.go_on(now, &visit, Fault::Outage, Reason::NeverHeard { server: address, transmissions }, out);
        } else {
            self.go_on(now, &visit, Fault::Outage, Reason::Silent { server: address, transmissions }, out);
        }
    }

    /// Whether another server lives that has room for the visit's record.
    pub(super) fn has_alternative(&self, task: &Task) -> Option<usize> {
        self.choose(task).filter(|server| self.servers[*server].is_preferred())
    }

    /// To the next server if one has room, else back to the queue.
    pub(super) fn go_on(&mut self, now: Now, visit: &Visit, fault: Fault, reason: Reason, out: &mut Vec<Output>) {
        let task = visit.task;
        if !visit.is_unsent() {
            self.doubts.note(now.mono, &task, visit.started);
        }
        if let Some(server) = self.has_alternative(&task) {
            if matches!(fault, Fault::Record { .. }) {
                self.doubts.blame(task.key, &reason);
            }
            self.begin(now, task, server, &visit.attributes(), out);
            return;
        }
        let (fault, reason) = self.verdict(visit, fault, reason);
        let old_enough = now.wall.since(task.since) >= self.settings.park_age_min;
        let after = match fault {
            Fault::Outage => self.settings.outage_retry,
            Fault::Setup => self.back_off(task.attempts),
            Fault::Suspect { breaks } => self.back_off(breaks),
            Fault::Unknown => self.back_off(task.attempts).min(UNKNOWN_RETRY_MAX),
            Fault::Record { charges } if charges >= self.settings.attempts_max && old_enough => {
                if matches!(reason, Reason::Ignored { .. }) {
                    // As long as its identifier rests, its answer may come.
                    self.parking.push_back((now.mono + self.settings.last_answer_wait, task.key, reason));
                } else {
                    self.doubts.forget(task.key);
                    out.push(Output::Park { key: task.key, reason });
                }
                return;
            }
            Fault::Record { charges } => self.back_off(charges.saturating_sub(1)),
        };
        // As long as answers take: the one to this visit may still come.
        let after = after.max(self.patience(visit.server));
        // Others go first: those that found no room when the connection broke are back by then.
        let is_suspect = self.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key);
        let after = if is_suspect { after.max(2 * self.settings.outage_retry) } else { after };
        out.push(Output::Retry { key: task.key, after, reason });
    }

    /// What is to be made of a record after its last server: one server may know that it is the record's fault while the
    /// next, which gets no other records, cannot tell.
    fn verdict(&mut self, visit: &Visit, fault: Fault, reason: Reason) -> (Fault, Reason) {
        let key = visit.task.key;
        match fault {
            Fault::Record { .. } => {
                self.doubts.blame(key, &reason);
                (fault, reason)
            }
            Fault::Outage | Fault::Unknown | Fault::Suspect { .. } if visit.transmissions > 0 => {
                match self.doubts.blamed(key) {
                    Some((charges, why)) => (Fault::Record { charges }, why),
                    None => (fault, reason),
                }
            }
            Fault::Outage | Fault::Unknown | Fault::Suspect { .. } | Fault::Setup => (fault, reason),
        }
    }

    /// How long answers of a server take that is slower than a visit.
    fn patience(&self, server: usize) -> Duration {
        let round_trip = self.servers[server].window.round_trip().unwrap_or_default();
        let is_slow = round_trip >= self.settings.initial_timeout;
        if is_slow { (round_trip * PATIENCE_FACTOR).min(ABANDONED_HOLD) } else { Duration::ZERO }
    }

    /// `retry_first` doubled `times`, at most `retry_max`, ± 10 %.
    pub(super) fn back_off(&mut self, times: u32) -> Duration {
        let settings = &self.settings;
        self.random.jitter(doubled(settings.retry_first, times, settings.retry_max))
    }

    /// Counts a failed visit against the record if another one was acknowledged by the same server since this one was first
    /// sent; gives that other one and how many visits count so far.
    pub(super) fn charge(&mut self, now: Now, visit: &Visit) -> Option<(Answered, u32)> {
        let doubt = self.doubts.note(now.mono, &visit.task, visit.started)?;
        let other = self.servers[visit.server].acknowledged.other_than(&visit.task, doubt.since)?;
        Some((other, doubt.charge(now.mono)))
    }

    /// Whose fault an answer is that does not acknowledge the record: its own only if others are acknowledged.
    pub(super) fn fault(&mut self, now: Now, visit: &Visit) -> Fault {
        self.charge(now, visit).map_or(Fault::Setup, |(_, charges)| Fault::Record { charges })
    }
}
