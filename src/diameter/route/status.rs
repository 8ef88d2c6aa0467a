//! What a status command shows of a route.

use std::time::Duration;

use super::slot::Counters;
use super::{Client, Complaint, Kind, Origin};
use crate::clock::Instant;
use crate::diameter::peer::{Cause, State};

/// One peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerStatus {
    /// Its identity, or its host when it may have any.
    pub name: String,
    /// Its host and port as configured.
    pub target: String,
    /// Its priority.
    pub priority: u16,
    /// Whether a redirect led to it.
    pub is_redirected: bool,
    /// Where its connection is.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why the last connection ended, or was not made.
    pub last_cause: Option<Cause>,
    /// Requests waiting for its answer.
    pub outstanding: usize,
    /// Requests that may wait for its answer.
    pub window: usize,
    /// Whether it rests after 3004.
    pub is_resting: bool,
    /// Since when it has answered its watchdogs, but no request.
    pub silent_since: Option<Instant>,
    /// It asked us to leave with this Disconnect-Cause, and is not tried again before that instant.
    pub unwelcome: Option<(u32, Instant)>,
    /// Smoothed time to an answer.
    pub round_trip: Option<Duration>,
    /// Counts since the start.
    pub counters: Counters,
}

/// A route.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Its peers in order.
    pub peers: Vec<PeerStatus>,
    /// What everything meets with, while the route pauses for it.
    pub paused: Option<Complaint>,
    /// Kinds of records that are parked every time, while others are taken.
    pub refused_kinds: Vec<(Kind, Complaint)>,
    /// Records that went back to the queue and are remembered.
    pub remembered: usize,
}

impl Client {
    /// The route and its peers.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let peers = self.slots.iter().map(|slot| {
            let settings = &slot.settings;
            let named = if settings.identity.is_empty() { &settings.host } else { &settings.identity };
            let host = if settings.host.contains(':') { format!("[{}]", settings.host) } else { settings.host.clone() };
            PeerStatus {
                name: named.clone(),
                target: format!("{host}:{}", settings.port),
                priority: settings.priority,
                is_redirected: slot.origin != Origin::Configured,
                state: slot.peer.state(),
                since: slot.peer.since(),
                last_cause: slot.peer.last_cause().cloned(),
                outstanding: slot.outstanding,
                window: slot.window,
                is_resting: slot.rest_until.is_some_and(|until| until > now),
                silent_since: slot.silent_since(),
                unwelcome: slot.peer.unwelcome_until(),
                round_trip: slot.round_trip,
                counters: slot.counters,
            }
        });
        Status {
            peers: peers.collect(),
            paused: self.guard.paused(),
            refused_kinds: self.kinds.told().collect(),
            remembered: self.pasts.len(),
        }
    }
}
