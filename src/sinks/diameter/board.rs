//! States of a sink's peers, readable from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::meters::COUNTS;
use crate::clock::{self, Instant};
use crate::diameter::peer::State;
use crate::diameter::route::{PeerStatus, Status};
use crate::sinks::meters::counts;
use crate::sinks::view::{self, ServerView};

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

    pub(super) fn post(&self, status: Status, refuses_calls: bool) {
        *self.0.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.0.refuses_calls.store(refuses_calls, Ordering::Relaxed);
    }
}

impl view::Board for Board {
    fn views(&self) -> Vec<ServerView> {
        let now = clock::mono();
        let status = self.status();
        let mut views: Vec<_> = status.peers.iter().map(|peer| of_peer(peer, now)).collect();
        if let (Some(first), Some(note)) = (views.first_mut(), of_route(&status)) {
            first.note = Some(first.note.take().map_or_else(|| note.clone(), |own| format!("{own}; {note}")));
        }
        views
    }

    fn refuses_calls(&self) -> bool {
        self.0.refuses_calls.load(Ordering::Relaxed)
    }
}

/// What concerns all peers.
fn of_route(status: &Status) -> Option<String> {
    if let Some(by) = status.paused {
        return Some(format!("every record meets with {by}: one at a time is tried"));
    }
    let kinds: Vec<_> = status.refused_kinds.iter().map(|(kind, by)| format!("{} with {by}", kind.0)).collect();
    (!kinds.is_empty()).then(|| format!("parks every record of kind {}", kinds.join(", ")))
}

fn state(peer: &PeerStatus) -> &'static str {
    match peer.state {
        _ if peer.is_resting => "resting",
        State::Open if peer.silent_since.is_some() => "silent",
        State::Closed if peer.unwelcome.is_some() => "dismissed",
        state => state.name(),
    }
}

fn note(peer: &PeerStatus, now: Instant) -> Option<String> {
    if let Some((cause, until)) = peer.unwelcome {
        let why = if cause == 1 { "is busy" } else { "does not want to talk to us" };
        let wait = until.since(now).as_secs();
        let when = if wait == 0 { String::new() } else { format!(", not before {wait} s have passed") };
        return Some(format!(
            "said that it {why} (Disconnect-Cause {cause}): tried again when records wait and no other peer is usable{when}"
        ));
    }
    let silent = peer.silent_since.map(|since| now.since(since).as_secs());
    silent.map(|secs| format!("answers its watchdogs, but no request for {secs} s: gets single records"))
}

fn of_peer(peer: &PeerStatus, now: Instant) -> ServerView {
    let named = peer.target.split(':').next().is_some_and(|host| host == peer.name);
    ServerView {
        server: if named { peer.target.clone() } else { format!("{} ({})", peer.name, peer.target) },
        state: state(peer),
        since: now.since(peer.since),
        in_flight: peer.outstanding,
        window: peer.window,
        connections: usize::from(peer.state.has_transport()),
        round_trip: peer.round_trip,
        note: note(peer, now),
        counts: counts(&COUNTS, peer),
    }
}
