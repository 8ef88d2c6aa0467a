//! When something is to be done about a call in progress.

use std::time::Duration;

use super::maker::Maker;
use super::session::Session;
use crate::clock::{Instant, Now};

/// When something is to be done about a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarms {
    /// It has lasted too long, or cannot go on.
    pub(super) lifetime: Option<Instant>,
    /// Its session timer has run out.
    pub(super) expiry: Option<Instant>,
    /// Its next interim record.
    pub(super) interim: Option<Instant>,
    /// Its stored state is to be brought up to date.
    pub(super) save: Option<Instant>,
    /// What an accounting server asked for in place of the configured interval; zero: no interim records.
    pub(super) interim_step: Option<Duration>,
    /// Its ends are to be asked.
    pub(super) ping: Option<Instant>,
    /// A doubt is to be settled.
    pub(super) settle: Option<Instant>,
}

impl Alarms {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.lifetime, self.expiry, self.interim, self.save, self.ping, self.settle].into_iter().flatten().min()
    }
}

impl Maker {
    /// How long a call is remembered whose BYE may come at any time.
    pub(super) fn long_kept(&self) -> Duration {
        self.settings().lifetime_max.map_or(LONG_KEPT_LEAST, |lifetime| lifetime.max(LONG_KEPT_LEAST))
    }

    pub(super) fn expiry(&self, now: Now, timer_s: u32) -> Option<Instant> {
        let runs = self.settings().session_timers && timer_s > 0;
        runs.then(|| now.mono + Duration::from_secs(timer_s.into()) + EXPIRY_GRACE)
    }

    /// Time between the interim records of a session: what a server asked for, else what is configured; the jitter of
    /// that comes of the session's name, so that it stays over a restart.
    pub(super) fn interim_interval(&self, session: &Session) -> Option<Duration> {
        if let Some(step) = session.alarms.interim_step {
            return Some(step).filter(|step| !step.is_zero());
        }
        let interval = self.settings().interim_interval.filter(|interval| !interval.is_zero())?;
        let jitter = u128::from(self.settings().interim_jitter_percent.min(50)) * 10;
        let permille = 1000 - jitter + session.name % (2 * jitter + 1);
        let micros = interval.as_micros() * permille / 1000;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX).max(1)))
    }

    /// When something is to be done about a session that goes on at `now`.
    pub(super) fn alarms(&self, now: Now, session: &Session) -> Alarms {
        let lasted = session.lasted(now, self.boot()).unwrap_or_default();
        let left = |span: Duration| now.mono + span.saturating_sub(lasted);
        let interim = self.interim_interval(session).map(|interval| {
            let next = lasted.as_micros() / interval.as_micros() + 1;
            left(Duration::from_micros(u64::try_from(next * interval.as_micros()).unwrap_or(u64::MAX)))
        });
        Alarms {
            lifetime: self.settings().lifetime_max.map(left),
            expiry: self.expiry(now, session.timer_s),
            interim: if session.is_early() { None } else { interim },
            save: None,
            interim_step: session.alarms.interim_step,
            ping: None,
            settle: None,
        }
    }
}

/// Least time a call is remembered whose BYE may come at any time.
const LONG_KEPT_LEAST: Duration = Duration::from_secs(12 * 3600);
/// Time a session timer may be overdue: a refresh may still be on its way (RFC 4028 §10).
const EXPIRY_GRACE: Duration = Duration::from_secs(32);
