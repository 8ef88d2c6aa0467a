//! What systemd is told (`sd_notify(3)`): ready, reloading, stopping, and the watchdog.
//!
//! The watchdog is fed only while every loop turns: each shard, the queue thread and the delivery runtime leave a beat,
//! and one beat older than half the watchdog time starves it, so that systemd restarts a gateway that hangs.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::{self, Instant};

/// How often the watchdog is fed, as a share of its time: twice per period.
const FEEDS_PER_PERIOD: u32 = 2;

/// One loop the watchdog looks at.
pub struct Loop {
    /// Its name, for the log.
    pub name: String,
    /// When it last turned.
    pub beat: Box<dyn Fn() -> Instant + Send>,
}

/// Feeds the watchdog while all loops turn.
pub struct Watchdog {
    period: Duration,
    loops: Vec<Loop>,
    starving: bool,
}

impl Watchdog {
    /// A watchdog over these loops; without `WATCHDOG_USEC` in the environment it only watches and warns, with a period
    /// of 20 s.
    #[must_use]
    pub fn new(loops: Vec<Loop>) -> Self {
        let asked = sd_notify::watchdog_enabled();
        Self { period: asked.unwrap_or(Duration::from_secs(20)), loops, starving: false }
    }

    /// How often [`feed`](Self::feed) is to be called.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.period / FEEDS_PER_PERIOD
    }

    /// Feeds the watchdog, or says which loop hangs.
    pub fn feed(&mut self) {
        let limit = self.period / FEEDS_PER_PERIOD + Duration::from_secs(1);
        match hanging(&self.loops, clock::mono(), limit) {
            None => {
                self.starving = false;
                notify(&[NotifyState::Watchdog]);
            }
            Some(name) if !self.starving => {
                self.starving = true;
                tracing::error!(name, "a loop is stuck: the watchdog of systemd is no longer notified");
            }
            Some(_) => {}
        }
    }
}

fn hanging(loops: &[Loop], now: Instant, limit: Duration) -> Option<&str> {
    loops.iter().find(|one| now.since((one.beat)()) > limit).map(|one| one.name.as_str())
}

/// The service takes calls.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends this state.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(when) => notify(&[NotifyState::Reloading, when]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The service ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The start or the stop may take longer: `more` from now.
pub fn extend_timeout(more: Duration) {
    notify(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hanging_loop_starves_the_watchdog() {
        let at = |name: &str, beat| Loop { name: name.to_owned(), beat: Box::new(move || Instant(beat)) };
        let loops = [at("shard 0", 9_000_000), at("queue", 4_000_000)];
        for (name, now, want) in [
            ("both turned lately", 9_000_000, None),
            ("the queue stands still", 9_000_001, Some("queue")),
            ("the first that hangs is named", 99_000_000, Some("shard 0")),
        ] {
            assert_eq!(hanging(&loops, Instant(now), Duration::from_secs(5)), want, "{name}");
        }
    }
}
