//! Sending: choice of the server, visits, retransmission, what happens after a failed visit.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::doubt::Answered;
use super::lane::{ABANDONED_HOLD, Release, Resting};
use super::server::Server;
use super::suspect::suspect;
use super::visit::{self, Task, Visit};
use super::{
    DelayTime, Delivery, LaneId, MessageAuthenticator, Output, Reason, Selection, Submission, Transport, Turn, index,
};
use crate::radius::packet::{self, Code};
use crate::radius::{authenticator, number};

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

impl Delivery {
    pub(super) fn submit(&mut self, turn: &mut Turn<'_>, submission: &Submission<'_>) {
        let task = Task::new(submission);
        match self.choose(turn.settings.selection, &task) {
            Some(server) => self.begin(turn, task, server, submission.attributes),
            None => {
                let reason = if self.servers.iter().any(Server::is_usable) { Reason::NoRoom } else { Reason::NoServer };
                turn.turn_away(task.key, reason);
            }
        }
    }

    /// The server a record goes to next: not tried before, alive if any is, with room.
    fn choose(&self, selection: Selection, task: &Task) -> Option<usize> {
        let count = self.servers.len();
        let first = match selection {
            Selection::ByCall if count > 0 => usize::try_from(task.call.0 % count as u64).unwrap_or(0),
            Selection::ByCall | Selection::Failover => 0,
        };
        let order = || (0..count).map(move |step| (first + step) % count);
        let fits = |server: &usize| task.tried & 1 << server == 0 && self.servers[*server].room() > 0;
        let preferred = order().find(|server| fits(server) && self.servers[*server].is_preferred());
        preferred.or_else(|| order().find(fits))
    }

    fn begin(&mut self, turn: &mut Turn<'_>, mut task: Task, server: usize, attributes: &[u8]) {
        task.tried |= 1 << server;
        let revive_at = turn.now.mono + turn.random.jitter(turn.settings.revival);
        self.servers[server].tries(turn.now.mono, turn.settings, revive_at);
        let wait = visit::first_wait(turn);
        let slot = self.visits.insert(Visit {
            task,
            server,
            identifiers: SmallVec::new(),
            datagram: Bytes::new(),
            attribute_octets: attributes.len(),
            started: turn.now.mono,
            wait,
            due: turn.now.mono + wait,
            transmissions: 1,
            waits: 1,
            is_resent: false,
            is_in_line: false,
        });
        if turn.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key) {
            self.stand_in_line(turn, slot, attributes);
            return;
        }
        match self.sign(turn, slot, attributes) {
            Ok(lane) => {
                let there = &mut self.servers[server];
                there.outstanding += 1;
                there.counters.requests += 1;
                there.transmitted(turn.now.mono);
                self.visits.arm(slot, turn.now.mono + wait);
                self.transmit(turn, slot, lane);
                self.ask_for_lane(turn, server);
            }
            Err(Reason::NoRoom) if self.servers[server].room() > 0 => {
                self.wait_for_lane(turn, slot, attributes);
            }
            Err(reason) => {
                self.visits.remove(slot);
                turn.turn_away(task.key, reason);
            }
        }
    }

    /// Builds and signs the visit's datagram under a fresh identifier.
    pub(super) fn sign(&mut self, turn: &mut Turn<'_>, slot: u32, attributes: &[u8]) -> Result<LaneId, Reason> {
        let visit = self.visits.get_mut(slot).ok_or(Reason::NoRoom)?;
        let server = &mut self.servers[visit.server];
        let lane_id = server.pick_lane().ok_or(Reason::NoRoom)?;
        let octets = &mut self.scratch;
        packet::begin(octets, Code::ACCOUNTING_REQUEST, 0);
        octets.extend_from_slice(attributes);
        if turn.settings.delay_time != DelayTime::Never {
            let delay = u32::try_from(turn.now.wall.since(visit.task.since).as_secs()).unwrap_or(u32::MAX);
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

    pub(super) fn transmit(&mut self, turn: &mut Turn<'_>, slot: u32, lane: LaneId) {
        let Some(visit) = self.visits.get(slot) else { return };
        let server = visit.server;
        turn.out.push(Output::Transmit { server: index(server), lane, datagram: visit.datagram.clone() });
        self.note_sent(turn, server, lane);
    }

    /// The timer of a visit ran out.
    pub(super) fn ran_out(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let (server, first, is_unsent) = (visit.server, visit.waits == 1, visit.is_unsent());
        let again = visit.waits < turn.settings.transmissions;
        // A connection loses nothing: silence there only raises suspicion (RFC 6613 §2.6.1).
        let is_sent_again = again && turn.settings.transport == Transport::Datagram;
        if again {
            visit.waits += 1;
            visit.transmissions += u32::from(is_sent_again);
            visit.wait = visit::next_wait(turn, visit.wait);
        }
        let (wait, attributes) = (visit.wait, visit.attributes());
        let last_lane = visit.identifiers.last().map(|(lane, _)| *lane);
        if !is_unsent {
            self.servers[server].ran_out(turn.now.mono, first, turn.settings);
            self.servers[server].counters.timeouts += u64::from(is_sent_again || !again);
        }
        if !again {
            self.finish_unanswered(turn, slot);
            return;
        }
        if !is_sent_again {
            self.visits.arm(slot, turn.now.mono + wait);
            return;
        }
        let fresh = match turn.settings.delay_time {
            // Other octets need another identifier; when there is none, the old ones go out once more.
            DelayTime::Always => self.sign(turn, slot, &attributes).ok(),
            DelayTime::Cycle | DelayTime::Never => None,
        };
        self.servers[server].counters.retransmissions += 1;
        self.servers[server].transmitted(turn.now.mono);
        self.visits.arm(slot, turn.now.mono + wait);
        if let Some(lane) = fresh.or(last_lane) {
            self.transmit(turn, slot, lane);
        }
    }

    /// Ends a visit and frees its identifiers; the one answered, if any, comes free at once.
    pub(super) fn end_visit(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        answered: Option<(LaneId, u8)>,
    ) -> Option<Visit> {
        let visit = self.visits.remove(slot)?;
        let server = &mut self.servers[visit.server];
        if visit.is_in_line {
            server.line.remove(slot);
            return Some(visit);
        }
        server.outstanding = server.outstanding.saturating_sub(1);
        server.line.ended(slot, turn.now.mono + turn.settings.response_window);
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
                lane.release(turn.now.mono, identifier, how);
                if answered.is_none() {
                    lane.rest(identifier, Resting { task: visit.task, sent: visit.started });
                }
            }
        }
        Some(visit)
    }

    /// A visit ended in silence: the next server, or back to the queue.
    pub(super) fn finish_unanswered(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(visit) = self.end_visit(turn, slot, None) else { return };
        let charged = if visit.is_unsent() { None } else { self.charge(turn, &visit) };
        let server = &mut self.servers[visit.server];
        if !visit.is_unsent() {
            server.window.visit_lost(charged.is_some(), turn.settings);
        }
        let (address, transmissions) = (server.address(), visit.transmissions);
        let never = server.last_authentic.is_none();
        let has_probe_answer = server.last_probe_answer.is_some_and(|at| at > visit.started);
        if visit.is_unsent() {
            let reason = Reason::NoConnection { server: address, why: server.why() };
            self.go_on(turn, &visit, Fault::Outage, reason);
        } else if let Some((other, charges)) = charged {
            let at = other.wall;
            let suspect = suspect(&visit.attributes());
            let reason = Reason::Ignored { server: address, transmissions, charges, at, suspect };
            self.go_on(turn, &visit, Fault::Record { charges }, reason);
        } else if self.servers[visit.server].acknowledged.has_any(&visit.task, visit.started) {
            self.go_on(turn, &visit, Fault::Unknown, Reason::NamelessOnly { server: address, transmissions });
        } else if has_probe_answer {
            self.go_on(turn, &visit, Fault::Unknown, Reason::ProbesOnly { server: address, transmissions });
        } else if never && turn.settings.transport == Transport::Stream {
            self.go_on(turn, &visit, Fault::Outage, Reason::Mute { server: address });
        } else if never {
            self.go_on(turn, &visit, Fault::Outage, Reason::NeverHeard { server: address, transmissions });
        } else {
            self.go_on(turn, &visit, Fault::Outage, Reason::Silent { server: address, transmissions });
        }
    }

    /// Whether another server lives that has room for the visit's record.
    pub(super) fn has_alternative(&self, turn: &Turn<'_>, task: &Task) -> Option<usize> {
        self.choose(turn.settings.selection, task).filter(|server| self.servers[*server].is_preferred())
    }

    /// To the next server if one has room, else back to the queue.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>, visit: &Visit, fault: Fault, reason: Reason) {
        let task = visit.task;
        if !visit.is_unsent() {
            self.doubts.note(turn.now.mono, &task, visit.started);
        }
        if let Some(server) = self.has_alternative(turn, &task) {
            if matches!(fault, Fault::Record { .. }) {
                self.doubts.blame(task.key, &reason);
            }
            self.begin(turn, task, server, &visit.attributes());
            return;
        }
        let (fault, reason) = self.verdict(visit, fault, reason);
        let old_enough = turn.now.wall.since(task.since) >= turn.settings.park_age_min;
        let after = match fault {
            Fault::Outage => turn.settings.outage_retry,
            Fault::Setup => turn.back_off(task.attempts),
            Fault::Suspect { breaks } => turn.back_off(breaks),
            Fault::Unknown => turn.back_off(task.attempts).min(UNKNOWN_RETRY_MAX),
            Fault::Record { charges } if charges >= turn.settings.attempts_max && old_enough => {
                if matches!(reason, Reason::Ignored { .. }) {
                    // As long as its identifier rests, its answer may come.
                    self.parking.push_back((turn.now.mono + turn.settings.last_answer_wait, task.key, reason));
                } else {
                    self.doubts.forget(task.key);
                    turn.out.push(Output::Park { key: task.key, reason });
                }
                return;
            }
            Fault::Record { charges } => turn.back_off(charges.saturating_sub(1)),
        };
        // As long as answers take: the one to this visit may still come.
        let after = after.max(self.patience(turn, visit.server));
        // Others go first: those that found no room when the connection broke are back by then.
        let is_suspect = turn.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key);
        let after = if is_suspect { after.max(2 * turn.settings.outage_retry) } else { after };
        turn.out.push(Output::Retry { key: task.key, after, reason });
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
    fn patience(&self, turn: &Turn<'_>, server: usize) -> Duration {
        let round_trip = self.servers[server].window.round_trip().unwrap_or_default();
        let is_slow = round_trip >= turn.settings.initial_timeout;
        if is_slow { (round_trip * PATIENCE_FACTOR).min(ABANDONED_HOLD) } else { Duration::ZERO }
    }

    /// Counts a failed visit against the record if another one was acknowledged by the same server since this one was first
    /// sent; gives that other one and how many visits count so far.
    pub(super) fn charge(&mut self, turn: &mut Turn<'_>, visit: &Visit) -> Option<(Answered, u32)> {
        let doubt = self.doubts.note(turn.now.mono, &visit.task, visit.started)?;
        let other = self.servers[visit.server].acknowledged.other_than(&visit.task, doubt.since)?;
        Some((other, doubt.charge(turn.now.mono)))
    }

    /// Whose fault an answer is that does not acknowledge the record: its own only if others are acknowledged.
    pub(super) fn fault(&mut self, turn: &mut Turn<'_>, visit: &Visit) -> Fault {
        self.charge(turn, visit).map_or(Fault::Setup, |(_, charges)| Fault::Record { charges })
    }
}
