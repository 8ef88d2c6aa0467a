//! Requests that were turned away: of sources outside `sip.allow`, and without a route. Each is counted; the log gets a
//! line for the first, and then one a minute at most with how many there were.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::clock::Instant;
use crate::timers::rationed::Rationed;

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// Its source is not in `sip.allow`.
    Stranger,
    /// No route matches.
    NoRoute,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Stranger => "its source is not in `sip.allow`",
            Self::NoRoute => "no `[[route]]` matches",
        }
    }
}

/// Peers that the log tells of at most.
const PEERS_TOLD_MAX: usize = 1024;

/// Peers whose responses lack our Record-Route value: a line for each, once in each shard.
#[derive(Debug, Default)]
pub(super) struct ToldOnce(HashSet<IpAddr>);

impl ToldOnce {
    /// Says so if it has not been said of this peer.
    pub fn note(&mut self, peer: IpAddr) {
        if self.0.len() < PEERS_TOLD_MAX && self.0.insert(peer) {
            tracing::warn!(%peer, "it drops Record-Route from its responses; the value was put back");
        }
    }
}

/// What was turned away for one reason.
#[derive(Debug)]
pub(super) struct TurnedAway {
    reason: Reason,
    requests: Rationed,
}

impl TurnedAway {
    /// Nothing yet.
    pub fn new(reason: Reason) -> Self {
        Self { reason, requests: Rationed::default() }
    }

    /// Counts one, and says so if the last line is old enough.
    pub fn note(&mut self, now: Instant, source: IpAddr) {
        if let Some(requests) = self.count(now) {
            tracing::warn!(%source, requests, "a request was turned away: {}", self.reason.text());
        }
    }

    /// How many there were since the last line, if one is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.requests.count();
        self.requests.tell(now)
    }
}

/// Datagrams of strangers that were dropped: one line of the log a minute.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    datagrams: Rationed,
    last: Option<SocketAddr>,
}

impl Dropped {
    /// Counts one.
    pub const fn note(&mut self, source: SocketAddr) {
        self.datagrams.count();
        self.last = Some(source);
    }

    /// Says how many there were, if the last line is old enough.
    pub fn tell(&mut self, now: Instant, shard: usize) {
        if let Some((source, datagrams)) = self.last.zip(self.datagrams.tell(now)) {
            tracing::warn!(shard, datagrams, %source, "datagrams from outside `sip.allow` were dropped; the last one's source is shown");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_makes_a_line_a_minute() {
        let mut turned_away = TurnedAway::new(Reason::Stranger);
        let start = Instant(5_000_000);
        for (what, after_ms, want) in [
            ("the first is told at once", 0, Some(1)),
            ("the next waits", 1, None),
            ("as long as a minute is not over", 59_999, None),
            ("then one line has them all", 60_000, Some(3)),
            ("and it begins anew", 60_001, None),
            ("after a quiet time too", 500_000, Some(2)),
        ] {
            assert_eq!(turned_away.count(start + Duration::from_millis(after_ms)), want, "{what}");
        }
    }
}
