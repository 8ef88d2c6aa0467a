//! States of a sink's peers, readable from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::diameter::route::{PeerStatus, Status};
use crate::sinks::view::ServerView;

/// States that a reader of [`Board::status`] sees are at most this old.
pub const STATUS_AGE_MAX: Duration = Duration::from_secs(1);

/// States of a sink's peers, readable from other threads.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<Status>,
    refuses_calls: AtomicBool,
}

impl Board {
    /// The route and its peers, at most [`STATUS_AGE_MAX`] old.
    #[must_use]
    pub fn status(&self) -> Status {
        // A poisoned lock holds plain data that is whole at every step.
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for every kind of sink.
    #[must_use]
    pub fn views(&self) -> Vec<ServerView> {
        let now = clock::mono();
        self.status().peers.iter().map(|peer| view(peer, now)).collect()
    }

    /// Whether a server demands, and the configuration obeys, that no new call is served now.
    #[must_use]
    pub fn refuses_calls(&self) -> bool {
        self.0.refuses_calls.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, status: Status, refuses_calls: bool) {
        *self.0.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.0.refuses_calls.store(refuses_calls, Ordering::Relaxed);
    }
}

fn view(peer: &PeerStatus, now: Instant) -> ServerView {
    let counters = &peer.counters;
    let counts = [
        ("requests", counters.requests),
        ("repeats", counters.repeats),
        ("timeouts", counters.timeouts),
        ("failed_over", counters.failed_over),
        ("accepted", counters.accepted),
        ("protocol_errors", counters.protocol_errors),
        ("transient_failures", counters.transient_failures),
        ("permanent_failures", counters.permanent_failures),
        ("late", counters.late),
        ("unknown", counters.unknown),
        ("broken", counters.broken),
        ("connections", counters.connections),
        ("losses", counters.losses),
        ("requests_in", counters.requests_in),
    ];
    let named = peer.target.split(':').next().is_some_and(|host| host == peer.name);
    ServerView {
        server: if named { peer.target.clone() } else { format!("{} ({})", peer.name, peer.target) },
        state: if peer.is_resting { "resting" } else { peer.state.name() },
        since: now.since(peer.since),
        in_flight: peer.outstanding,
        window: peer.window,
        connections: usize::from(peer.state.has_transport()),
        round_trip: peer.round_trip,
        counts: counts.to_vec(),
    }
}
