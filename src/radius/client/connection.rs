//! What one connection is about: whether it is trusted with records, and its watchdog (RFC 3539 §3.4.1).
//!
//! ```text
//! opened for the first time, or after an idle close --> Trusted
//! opened after it was lost, or to a dead server     --> Probation --(3 Status-Servers answered)--> Trusted
//! ```
//!
//! The watchdog is wound by whatever is sent and by every authentic answer, and rests while nothing is awaited. When
//! it runs out a Status-Server goes out under identifier 0; when it runs out again the connection is closed.

use std::time::Duration;

use super::probe::Probe;
use crate::clock::Instant;
use crate::timers::random::{Random, doubled};

/// Status-Servers a reopened connection has to answer before it carries records (RFC 3539 §3.4.1).
const PROBATION_PROBES: u32 = 3;
/// Wait for the answer of a server that has never answered a Status-Server; then one record finds out.
const PROBATION_PATIENCE: Duration = Duration::from_secs(5);
/// How long an open connection shows nothing wrong before its end counts as idleness: a server that refuses the
/// client's certificate ends a TLS 1.3 connection only after the client takes it for open.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Wait before a connection that had worked is opened again.
const REOPEN_FIRST: Duration = Duration::from_millis(250);
/// Wait after the first connection that failed, doubled each time.
const REOPEN_NEXT: Duration = Duration::from_secs(1);
/// Longest wait.
const REOPEN_MAX: Duration = Duration::from_secs(60);
/// Jitter of the watchdog at most (RFC 3539 §3.4.1).
const WATCHDOG_JITTER: Duration = Duration::from_secs(2);

/// Whether records may go out on a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Trusted,
    /// Not before it has answered probes.
    Probation { answered: u32 },
}

/// The connection of a lane; it outlives its sockets.
#[derive(Debug, Default)]
pub(super) struct Connection {
    stage: Stage,
    /// Woken from an idle close: records may already be accepted for it.
    is_promised: bool,
    /// The Status-Server under way, and when it went out.
    probe: Option<(Probe, Instant)>,
    /// When the watchdog runs out.
    watch_at: Option<Instant>,
    /// It has run out once.
    has_expired: bool,
    opened_at: Instant,
    has_sent: bool,
    /// An authentic answer has come since it was opened.
    is_proven: bool,
    /// Its last socket ended otherwise than by idleness.
    was_lost: bool,
    /// Connections in a row that failed or ended before the first answer.
    failures: u32,
}

/// What an expired watchdog asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bark {
    /// A Status-Server, unless one is under way.
    Ask,
    /// The connection is dead.
    Close,
}

impl Connection {
    pub(super) fn is_trusted(&self) -> bool {
        self.stage == Stage::Trusted
    }

    /// It carries records without proof.
    pub(super) fn trust(&mut self) {
        self.stage = Stage::Trusted;
    }

    /// It is being opened for requests that wait.
    pub(super) fn promise(&mut self) {
        self.is_promised = true;
    }

    pub(super) fn is_promised(&self) -> bool {
        self.is_promised
    }

    /// The Status-Server under way.
    pub(super) fn probe(&self) -> Option<Probe> {
        Some(self.probe?.0)
    }

    /// A Status-Server goes out.
    pub(super) fn probed(&mut self, now: Instant, probe: Probe) {
        self.probe = Some((probe, now));
    }

    /// Whether the Status-Server under way went out so long ago that it is given up, when a record sent later was answered.
    pub(super) fn gives_up_probe(&mut self, now: Instant) -> bool {
        self.probe.take_if(|(_, sent)| now >= *sent + PROBATION_PATIENCE).is_some()
    }

    /// When the watchdog runs out.
    pub(super) fn watched_until(&self) -> Option<Instant> {
        self.watch_at
    }

    /// The socket is there.
    pub(super) fn opened(&mut self, now: Instant, on_probation: bool) {
        *self = Self {
            stage: if on_probation { Stage::Probation { answered: 0 } } else { Stage::Trusted },
            opened_at: now,
            was_lost: self.was_lost,
            failures: self.failures,
            ..Self::default()
        };
    }

    /// Whether an authentic answer has come since it was opened.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Whether it has to prove itself when it is opened next.
    pub(super) fn was_lost(&self) -> bool {
        self.was_lost
    }

    /// Something was sent; an answer is awaited from now on.
    pub(super) fn sent(&mut self, now: Instant, period: Duration, random: &mut Random) {
        self.has_sent = true;
        self.wind(now, period, random);
    }

    /// Lets the watchdog run unless it does.
    pub(super) fn wind(&mut self, now: Instant, period: Duration, random: &mut Random) {
        if self.watch_at.is_none() {
            self.watch_at = Some(now + watchdog(period, random));
        }
    }

    /// Something authentic came; `is_awaited` is whether more is to come.
    pub(super) fn heard(&mut self, now: Instant, is_awaited: bool, period: Duration, random: &mut Random) {
        (self.is_proven, self.was_lost, self.has_expired, self.failures) = (true, false, false, 0);
        self.watch_at = is_awaited.then(|| now + watchdog(period, random));
    }

    /// Looks at the watchdog.
    pub(super) fn watch(&mut self, now: Instant, period: Duration, random: &mut Random) -> Option<Bark> {
        if self.watch_at.is_none_or(|at| at > now) {
            return None;
        }
        if std::mem::replace(&mut self.has_expired, true) {
            return Some(Bark::Close);
        }
        self.watch_at = Some(now + watchdog(period, random));
        Some(Bark::Ask)
    }

    /// A Status-Server was answered. Returns whether another is wanted.
    pub(super) fn probe_answered(&mut self) -> bool {
        self.probe = None;
        let Stage::Probation { answered } = self.stage else { return false };
        let answered = answered + 1;
        self.stage = if answered >= PROBATION_PROBES { Stage::Trusted } else { Stage::Probation { answered } };
        !self.is_trusted()
    }

    /// When the patience with a server that may not know Status-Server ends.
    pub(super) fn patience_until(&self) -> Option<Instant> {
        let (_, sent) = self.probe.as_ref().filter(|_| !self.is_trusted())?;
        Some(*sent + PROBATION_PATIENCE)
    }

    /// Whether its end, with nothing outstanding, is that of a connection nobody needed.
    pub(super) fn ends_idle(&self, now: Instant) -> bool {
        self.is_proven || (!self.has_sent && now >= self.opened_at + SETTLED_AFTER)
    }

    /// It ended because nobody needed it.
    pub(super) fn rest(&mut self) {
        *self = Self::default();
    }

    /// It failed or was lost. Returns the wait before it is opened again.
    pub(super) fn lost(&mut self, random: &mut Random) -> Duration {
        let (was_proven, failures) = (self.is_proven, self.failures);
        *self = Self {
            was_lost: true,
            failures: if was_proven { 0 } else { failures.saturating_add(1) },
            ..Self::default()
        };
        let span = match was_proven {
            true => REOPEN_FIRST,
            false => doubled(REOPEN_NEXT, failures, REOPEN_MAX),
        };
        random.jitter(span)
    }
}

fn watchdog(period: Duration, random: &mut Random) -> Duration {
    random.vary(period, WATCHDOG_JITTER.min(period / 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TW: Duration = Duration::from_secs(30);

    #[test]
    fn the_wait_before_a_connection_grows_until_one_answers() {
        let mut random = Random::new([3, 4]);
        let mut connection = Connection::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            connection.opened(Instant(0), false);
            waits.push(connection.lost(&mut random).as_secs_f64());
        }
        for (wait, want) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
            assert!((0.9 * want..=1.1 * want).contains(wait), "{waits:?}");
        }
        connection.opened(Instant(0), false);
        connection.heard(Instant(0), false, TW, &mut random);
        assert!(connection.lost(&mut random) < Duration::from_millis(300), "it had worked");
        assert!(connection.lost(&mut random) < Duration::from_millis(1101), "and begins anew");
    }

    #[test]
    fn an_end_is_idleness_when_nothing_speaks_against_it() {
        let mut random = Random::new([3, 4]);
        let late = Instant(0) + SETTLED_AFTER;
        for (name, sends, hears, at, want) in [
            ("unused and soon", false, false, Instant(1), false),
            ("unused for long", false, false, late, true),
            ("used and never answered", true, false, late, false),
            ("used and answered", true, true, Instant(1), true),
        ] {
            let mut connection = Connection::default();
            connection.opened(Instant(0), false);
            if sends {
                connection.sent(Instant(0), TW, &mut random);
            }
            if hears {
                connection.heard(Instant(0), false, TW, &mut random);
            }
            assert_eq!(connection.ends_idle(at), want, "{name}");
        }
    }

    #[test]
    fn the_watchdog_has_the_jitter_of_rfc_3539() {
        let mut random = Random::new([3, 4]);
        for (secs, least, most) in [(30, 28.0, 32.0), (6, 5.6, 6.4), (600, 598.0, 602.0)] {
            let waits = (0..500).map(|_| watchdog(Duration::from_secs(secs), &mut random).as_secs_f64());
            let (low, high) = waits.fold((f64::MAX, 0.0_f64), |(low, high), wait| (low.min(wait), high.max(wait)));
            let slack = (most - least) / 20.0;
            assert!(low >= least && low < least + slack && high <= most && high > most - slack, "{low} {high}");
        }
    }
}
