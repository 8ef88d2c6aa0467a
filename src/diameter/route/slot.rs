//! One peer's place in a route: its window, what is outstanding, its rest.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;

use super::settings::{GHOSTS_MAX, PROBE_FIRST, PROBE_MAX, PeerSettings, REST_FIRST, REST_MAX, Settings};
use crate::clock::Instant;
use crate::diameter::peer::Peer;
use crate::ids::Seq;
use crate::timers::random::Random;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Requests sent for the first time.
    pub requests: u64,
    /// Requests sent with the flag T.
    pub repeats: u64,
    /// Answers 2xxx.
    pub accepted: u64,
    /// Answers 3xxx, by protocol errors on the way.
    pub protocol_errors: u64,
    /// Answers 4xxx.
    pub transient_failures: u64,
    /// Answers of any other kind.
    pub permanent_failures: u64,
    /// Answers to copies that were given up.
    pub late: u64,
    /// Answers with an unknown hop-by-hop id, duplicates among them.
    pub unknown: u64,
    /// Answers about another session than their request: they acknowledge nothing.
    pub foreign: u64,
    /// Messages that were ignored or broken.
    pub broken: u64,
    /// Requests that ran out of time.
    pub timeouts: u64,
    /// Requests that were sent elsewhere because the connection failed.
    pub failed_over: u64,
    /// Connections that were usable.
    pub connections: u64,
    /// Connections that were not made, or ended.
    pub losses: u64,
    /// Requests of the peer that were answered.
    pub requests_in: u64,
}

/// What a hop-by-hop id stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub key: Seq,
    pub part: usize,
    /// Hash of the request's Session-Id, which the answer has to repeat.
    pub session: u64,
}

/// How a peer came into the route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    Configured,
    /// By a redirect; it leaves when its time is over and nothing is outstanding.
    Redirected {
        until: Instant,
    },
}

/// A peer that answers its watchdogs, but no request: it gets single records until it has answered one.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    /// When it is tried again although another peer works.
    probe_at: Instant,
    probe_wait: Duration,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub settings: PeerSettings,
    pub peer: Peer,
    pub origin: Origin,
    pub entries: HashMap<u32, Entry, FixedState>,
    /// Entries whose copy was given up, oldest first.
    ghosts: VecDeque<u32>,
    pub outstanding: usize,
    pub window: usize,
    successes: usize,
    pub rest_until: Option<Instant>,
    rest: Duration,
    usable_since: Option<Instant>,
    /// It was usable before: a return has to last for the hold-down.
    has_been_usable: bool,
    pub round_trip: Option<Duration>,
    /// When it answered a request last.
    pub answered_at: Option<Instant>,
    /// Set while it answers its watchdogs, but no request.
    silence: Option<Silence>,
    pub counters: Counters,
}

impl Slot {
    pub fn new(now: Instant, settings: PeerSettings, origin: Origin, route: &Settings, random: &mut Random) -> Self {
        let peer = Peer::new(now, &settings.identity, settings.security, route.timing, random);
        Self {
            settings,
            peer,
            origin,
            entries: HashMap::default(),
            ghosts: VecDeque::new(),
            outstanding: 0,
            window: route.window.max(1),
            successes: 0,
            rest_until: None,
            rest: REST_FIRST,
            usable_since: None,
            has_been_usable: false,
            round_trip: None,
            answered_at: None,
            silence: None,
            counters: Counters::default(),
        }
    }

    pub fn serves(&self, realm: Option<&str>) -> bool {
        let realms = &self.settings.realms;
        realms.is_empty() || realm.is_none_or(|realm| realms.iter().any(|own| own.eq_ignore_ascii_case(realm)))
    }

    /// Whether requests may go to it now, the window apart.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.peer.is_usable() && self.rest_until.is_none_or(|until| until <= now)
    }

    pub fn room(&self) -> usize {
        let window = if self.silence.is_some() { 1 } else { self.window };
        window.saturating_sub(self.outstanding)
    }

    /// Since when it has answered its watchdogs, but no request.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silence.map(|silence| silence.since)
    }

    /// Whether a single record is to find out now if it answers again.
    pub fn is_probe_due(&self, now: Instant) -> bool {
        self.outstanding == 0 && self.silence.is_some_and(|silence| silence.probe_at <= now)
    }

    /// A request of this instant ran out of time; whether it is silent from now on.
    pub fn ran_out(&mut self, now: Instant, sent: Instant) -> bool {
        if self.answered_at.is_some_and(|at| at >= sent) {
            return false;
        }
        let wait = self.silence.map_or(PROBE_FIRST, |silence| (silence.probe_wait * 2).min(PROBE_MAX));
        let since = self.silence.map_or(now, |silence| silence.since);
        let is_new = self.silence.is_none();
        self.silence = Some(Silence { since, probe_at: now + wait, probe_wait: wait });
        is_new
    }

    /// It answered a request; whether it had been silent.
    pub fn answered(&mut self, now: Instant) -> bool {
        self.answered_at = Some(now);
        self.silence.take().is_some()
    }

    /// Whether it is steady enough to be preferred to one that works.
    pub fn is_steady(&self, now: Instant, hold: Duration) -> bool {
        !self.has_been_usable || self.usable_since.is_some_and(|since| now.since(since) >= hold)
    }

    /// When it becomes steady or ends its rest, if that is still to come.
    pub fn next_change(&self, now: Instant, hold: Duration) -> Option<Instant> {
        let steady = self.usable_since.filter(|_| self.has_been_usable).map(|since| since + hold);
        let probe = self.silence.map(|silence| silence.probe_at);
        [steady, self.rest_until, probe].into_iter().flatten().filter(|due| *due > now).min()
    }

    pub fn became_usable(&mut self, now: Instant) {
        self.usable_since = Some(now);
        // A new connection is worth a try.
        if let Some(silence) = &mut self.silence {
            silence.probe_at = now;
        }
        self.counters.connections += 1;
    }

    pub fn became_unusable(&mut self) {
        if self.usable_since.take().is_some() {
            self.has_been_usable = true;
        }
    }

    pub fn enter(&mut self, hop_by_hop: u32, entry: Entry) {
        self.entries.insert(hop_by_hop, entry);
        self.outstanding += 1;
    }

    /// The copy of this id is given up; its answer still counts.
    pub fn abandon(&mut self, hop_by_hop: u32) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.ghosts.push_back(hop_by_hop);
        if self.ghosts.len() > GHOSTS_MAX
            && let Some(oldest) = self.ghosts.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Nothing more is to come for this id.
    pub fn forget(&mut self, hop_by_hop: u32, is_abandoned: bool) {
        if self.entries.remove(&hop_by_hop).is_some() && !is_abandoned {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }

    /// The connection is gone, and with it all its ids.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ghosts.clear();
        self.outstanding = 0;
    }

    /// A request was accepted: one more in the window for each window of successes.
    pub fn succeeded(&mut self, window_max: usize) {
        self.rest = REST_FIRST;
        self.successes += 1;
        if self.window < window_max && self.successes >= self.window {
            self.successes = 0;
            self.window += 1;
        }
    }

    /// It is too busy: half the window, and a rest that doubles. Answers that were under way count once.
    pub fn too_busy(&mut self, now: Instant) {
        if self.rest_until.is_some_and(|until| until > now) {
            return;
        }
        self.successes = 0;
        self.window = (self.window / 2).max(1);
        self.rest_until = Some(now + self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
    }

    pub fn measured(&mut self, time: Duration) {
        self.round_trip = Some(self.round_trip.map_or(time, |smooth| (smooth * 7 + time) / 8));
    }
}
