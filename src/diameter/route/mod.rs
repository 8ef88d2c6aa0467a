//! A route to accounting servers as a machine: several peers, what is outstanding, failover, the meaning of answers
//! (RFC 6733 §5.5, §6, §7, §9.4).
//!
//! A record is handed in as its encoded messages; it ends in exactly one of [`Output::Delivered`], [`Output::Retry`] and
//! [`Output::Park`]. The queue is the retry mechanism: no record is dropped for lack of peers, and the queue keeps the
//! order within a call, so that at most one request of a session is outstanding.
//!
//! The flag T is set whenever an earlier transmission of the same End-to-End id has no answer, also one by an earlier
//! process; an answer that asks for another try later makes a new End-to-End id.

mod classes;
mod flight;
mod guard;
mod identifiers;
mod policy;
mod quarantine;
mod reason;
mod receiving;
mod redirect;
mod sending;
mod settings;
mod slot;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use self::classes::Classes;
use self::flight::{Flight, Pasts};
use self::guard::{Guard, Kinds};
use self::identifiers::Identifiers;
use self::quarantine::Quarantine;
use self::sending::Ending;
use self::slot::{Origin, Slot};
use super::peer::{self, Cause, State};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::Seq;
use crate::timers::Wheel;
use crate::timers::random::Random;

pub use self::guard::Kind;
pub use self::policy::{Disposition, Effect, Fallback, judge};
pub use self::reason::{Alarm, Complaint, Fault, Reason, Refusal};
pub use self::redirect::{allows, peer_of};
pub use self::settings::{
    CLASS_OCTETS_MAX, CLASS_SESSIONS_MAX, GHOSTS_MAX, PAST_MAX, PAUSE_FIRST, PAUSE_MAX, PEERS_MAX, PeerSettings,
    REDIRECTS_MAX, REST_FIRST, REST_MAX, Settings,
};
pub use self::slot::Counters;
pub use self::status::{PeerStatus, Status};
pub use identifiers::PARTS_MAX;

/// Number of a peer: its place in [`Settings::peers`], or behind them for those that redirects led to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerIndex(pub u8);

/// A record to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Names it in the outputs, and gives its End-to-End ids.
    pub key: Seq,
    /// Its Accounting-Requests, one after the other, the same octets at every attempt; identifiers and T are set here.
    pub messages: &'a [u8],
    /// Whether it lay in the queue when this process started: it may have been sent before.
    pub has_waited: bool,
    /// Earlier deliveries that failed in this process.
    pub attempts: u32,
    /// When it came into the queue.
    pub since: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// Names its session, for Class.
    pub session: u64,
    /// Whether no later record of the session is to be expected.
    pub ends_session: bool,
    /// Its Destination-Realm, for peers that serve some only.
    pub realm: Option<&'a str>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A record to deliver. Only as many as [`Client::capacity`] says; a further one comes back at once.
    Submit(Submission<'a>),
    /// The transport to a peer is there.
    Connected {
        /// The peer.
        peer: PeerIndex,
        /// The local address of its socket.
        local: IpAddr,
    },
    /// TLS is there, the name verified.
    Secured {
        /// The peer.
        peer: PeerIndex,
    },
    /// The transport or TLS cannot be had.
    Failed {
        /// The peer.
        peer: PeerIndex,
        /// Why.
        cause: Cause,
    },
    /// A whole message, as [`frame`](super::header::frame) cuts it.
    Received {
        /// The peer.
        peer: PeerIndex,
        /// The message.
        message: &'a [u8],
    },
    /// What came is no Diameter.
    Garbage {
        /// The peer.
        peer: PeerIndex,
    },
    /// The connection broke or was closed.
    Lost {
        /// The peer.
        peer: PeerIndex,
    },
    /// Stop: nothing new, wait for answers, say goodbye. [`Client::is_gone`] tells the end.
    Stop,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Make a transport to the peer; an older one is gone.
    Connect {
        /// The peer.
        peer: PeerIndex,
    },
    /// Make TLS on the transport and verify the peer's name.
    Secure {
        /// The peer.
        peer: PeerIndex,
    },
    /// Send a message.
    Transmit {
        /// The peer.
        peer: PeerIndex,
        /// The message.
        message: Bytes,
    },
    /// Close the transport.
    Close {
        /// The peer.
        peer: PeerIndex,
        /// Whether with a reset.
        reset: bool,
    },
    /// The record is stored by a server.
    Delivered {
        /// The record.
        key: Seq,
        /// The neighbour that brought the answer.
        peer: PeerIndex,
        /// Time to the answer, if there was one transmission only.
        round_trip: Option<Duration>,
    },
    /// Try the record again later.
    Retry {
        /// The record.
        key: Seq,
        /// After this time.
        after: Duration,
        /// Why it was not delivered.
        reason: Reason,
    },
    /// Set the record aside for the operator.
    Park {
        /// The record.
        key: Seq,
        /// Why.
        reason: Reason,
    },
    /// A peer changed its state.
    Peer {
        /// The peer.
        peer: PeerIndex,
        /// What it is now.
        state: State,
        /// Why its connection ended, if it did.
        cause: Option<Cause>,
    },
    /// A person should look. The same of one peer is not told twice in a row.
    Alarm {
        /// The peer.
        peer: PeerIndex,
        /// What is wrong.
        alarm: Alarm,
    },
    /// The server wants interim records of this record's session.
    Interim {
        /// The record.
        key: Seq,
        /// Every so many seconds; 0: none.
        seconds: u32,
    },
    /// Keep what a server wants repeated in the later records of a session, over a restart too.
    Class {
        /// The session, as in [`Submission::session`].
        session: u64,
        /// Its Class AVPs for [`Client::restore_class`]; `None`: they are needed no more.
        octets: Option<Box<[u8]>>,
    },
}

/// The client of one sink.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    slots: Vec<Slot>,
    flights: HashMap<Seq, Flight, FixedState>,
    pasts: Pasts,
    timers: Wheel<Seq>,
    expired: Vec<Seq>,
    identifiers: Identifiers,
    classes: Classes,
    guard: Guard,
    kinds: Kinds,
    quarantine: Quarantine,
    random: Random,
    /// Where a cached redirect leads, and until when.
    cached: Option<(usize, Instant)>,
    /// A record was waiting when no peer was usable.
    is_wanted: bool,
    /// A server demands that calls are refused while it cannot be reached.
    is_realtime: bool,
    /// Alarms told last, by peer.
    told: Vec<Option<Alarm>>,
    stopping_until: Option<Instant>,
    has_left: bool,
    deeds: Vec<peer::Output>,
    /// Hashes Session-Ids.
    sessions: FixedState,
}

impl Client {
    /// A client; peers after the 64th are left out. `seed` must not be known to others.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, seed: [u64; 2]) -> Self {
        let mut random = Random::new(seed);
        let peers = settings.peers.iter().take(PEERS_MAX).cloned();
        let slots: Vec<Slot> =
            peers.map(|peer| Slot::new(now, peer, Origin::Configured, &settings, &mut random)).collect();
        Self {
            told: vec![None; slots.len()],
            slots,
            flights: HashMap::default(),
            pasts: Pasts::default(),
            timers: Wheel::new(),
            expired: Vec::new(),
            identifiers: Identifiers::new(settings.salt),
            classes: Classes::new(settings.class_flags),
            guard: Guard::new(settings.pause_after),
            kinds: Kinds::default(),
            quarantine: Quarantine::default(),
            random,
            cached: None,
            is_wanted: false,
            is_realtime: false,
            stopping_until: None,
            has_left: false,
            deeds: Vec::new(),
            sessions: FixedState::default(),
            settings,
        }
    }

    /// Takes up Class AVPs that an earlier process kept. To be called before any record of the session is submitted.
    pub fn restore_class(&mut self, session: u64, octets: &[u8], out: &mut Vec<Output>) {
        self.classes.restore(session, octets, out);
    }

    /// The Class values kept for sessions, the oldest session first: what [`Self::restore_class`] takes.
    #[must_use]
    pub fn classes(&self) -> Vec<(u64, Vec<u8>)> {
        self.classes.all()
    }

    /// Lets the machine work on what happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Submit(submission) => self.submit(now, &submission, out),
            Input::Connected { peer, local } => self.tell(now, peer, peer::Input::Connected { local }, out),
            Input::Secured { peer } => self.tell(now, peer, peer::Input::Secured, out),
            Input::Failed { peer, cause } => self.tell(now, peer, peer::Input::Failed(cause), out),
            Input::Received { peer, message } => self.received(now, peer, message, out),
            Input::Garbage { peer } => self.tell(now, peer, peer::Input::Garbage, out),
            Input::Lost { peer } => self.tell(now, peer, peer::Input::Lost, out),
            Input::Stop => {
                self.stopping_until.get_or_insert(now.mono + self.settings.timing.drain);
                self.release_quarantine(now, &Reason::Stopping, out);
                self.tend_stop(now, out);
            }
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        for index in 0..self.slots.len() {
            if self.slots[index].peer.deadline().is_some_and(|due| due <= now.mono) {
                let mut deeds = std::mem::take(&mut self.deeds);
                self.slots[index].peer.tick(now.mono, &self.settings.identity, &mut self.random, &mut deeds);
                self.perform(now, index, &mut deeds, out);
                self.deeds = deeds;
            }
            self.tend_redirected(now, index, out);
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expire(now.mono, &mut expired);
        for key in expired.drain(..) {
            self.ran_out(now, key, out);
        }
        self.expired = expired;
        self.tend_quarantine(now, out);
        self.tend_stop(now, out);
    }

    /// When [`Self::tick`] is due next, or [`Self::capacity`] may have grown by time alone.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let peers = self.slots.iter().filter_map(|slot| slot.peer.deadline());
        let changes = self.slots.iter().filter_map(|slot| slot.next_change(now, self.settings.failback_hold));
        let route = [
            self.timers.deadline(),
            self.guard.closed_until(now),
            self.quarantine_deadline(now),
            self.stop_deadline(now),
        ];
        peers.chain(changes).chain(route.into_iter().flatten()).min()
    }

    /// When the goodbye is due: at once when every answer has come.
    fn stop_deadline(&self, now: Instant) -> Option<Instant> {
        let until = self.stopping_until.filter(|_| !self.has_left)?;
        Some(if self.flights.is_empty() { now } else { until })
    }

    /// Whether a server demands (Accounting-Realtime-Required 1) that no call is served now, and it is obeyed.
    #[must_use]
    pub fn refuses_calls(&self) -> bool {
        self.settings.honour_realtime && self.is_realtime && !self.slots.iter().any(|slot| slot.peer.is_usable())
    }

    /// Whether all connections are closed after [`Input::Stop`].
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.has_left && self.slots.iter().all(|slot| slot.peer.state() == State::Closed)
    }

    /// Records submitted that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Where a peer is to be connected.
    #[must_use]
    pub fn target(&self, peer: PeerIndex) -> Option<&PeerSettings> {
        self.slots.get(usize::from(peer.0)).map(|slot| &slot.settings)
    }

    /// Tells a peer's machine what happened and does what it wants.
    fn tell(&mut self, now: Now, peer: PeerIndex, input: peer::Input<'_>, out: &mut Vec<Output>) {
        let index = usize::from(peer.0);
        let ends = matches!(input, peer::Input::Lost | peer::Input::Garbage | peer::Input::Broken);
        if ends && index < self.slots.len() && self.waiting_at(index).len() == 1 {
            // More likely the record's doing than the peer's: the next try need not wait longer than the last one.
            self.slots[index].peer.excuse();
        }
        let Some(slot) = self.slots.get_mut(index) else { return };
        let mut deeds = std::mem::take(&mut self.deeds);
        slot.peer.handle(now.mono, input, &self.settings.identity, &mut self.random, &mut deeds);
        self.perform(now, index, &mut deeds, out);
        self.deeds = deeds;
    }

    fn perform(&mut self, now: Now, index: usize, deeds: &mut Vec<peer::Output>, out: &mut Vec<Output>) {
        let peer = number(index);
        for deed in deeds.drain(..) {
            let slot = &mut self.slots[index];
            match deed {
                peer::Output::Connect => out.push(Output::Connect { peer }),
                peer::Output::Secure => out.push(Output::Secure { peer }),
                peer::Output::Send(message) => out.push(Output::Transmit { peer, message: message.into() }),
                peer::Output::Close { reset } => out.push(Output::Close { peer, reset }),
                peer::Output::Ignored => slot.counters.broken += 1,
                peer::Output::FailOver => {
                    slot.became_unusable();
                    out.push(Output::Peer { peer, state: slot.peer.state(), cause: None });
                    let ending = if slot.peer.is_broken() { Ending::Break } else { Ending::Goodbye };
                    self.fail_over(now, index, ending, out);
                }
                peer::Output::Usable => {
                    slot.became_usable(now.mono);
                    self.is_wanted = false;
                    self.told[index] = None;
                    out.push(Output::Peer { peer, state: State::Open, cause: None });
                }
                peer::Output::Gone(cause) => {
                    slot.counters.losses += 1;
                    slot.became_unusable();
                    self.lost_ids(index);
                    out.push(Output::Peer { peer, state: State::Closed, cause: Some(cause) });
                }
            }
        }
        self.seek_unwelcome(now, out);
    }

    /// When records wait and no peer is usable, those that sent us away are tried too.
    fn seek_unwelcome(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.is_wanted || self.slots.iter().any(|slot| slot.peer.is_usable()) {
            return;
        }
        for index in 0..self.slots.len() {
            let peer = &self.slots[index].peer;
            if peer.is_unwelcome() && peer.state() == State::Closed && peer.deadline().is_none() {
                self.tell(now, number(index), peer::Input::Wanted, out);
            }
        }
    }

    /// A peer that a redirect led to leaves when its time is over.
    fn tend_redirected(&mut self, now: Now, index: usize, out: &mut Vec<Output>) {
        let slot = &self.slots[index];
        if let Origin::Redirected { until } = slot.origin
            && until <= now.mono
            && slot.outstanding == 0
            && !slot.peer.is_stopping()
        {
            self.tell(now, number(index), peer::Input::Leave, out);
        }
    }

    /// Says goodbye once everything is answered or the wait is over.
    fn tend_stop(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(until) = self.stopping_until else { return };
        if self.has_left || (!self.flights.is_empty() && now.mono < until) {
            return;
        }
        self.has_left = true;
        let mut keys: Vec<Seq> = self.flights.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.give_back(now, key, Duration::ZERO, Reason::Stopping, out);
        }
        for index in 0..self.slots.len() {
            self.tell(now, number(index), peer::Input::Leave, out);
        }
    }

    /// Tells an alarm unless it was the last one of the peer.
    fn alarm(&mut self, index: usize, alarm: Alarm, out: &mut Vec<Output>) {
        if self.told[index].as_ref() != Some(&alarm) {
            self.told[index] = Some(alarm.clone());
            out.push(Output::Alarm { peer: number(index), alarm });
        }
    }
}

fn number(index: usize) -> PeerIndex {
    PeerIndex(u8::try_from(index).unwrap_or(u8::MAX))
}
