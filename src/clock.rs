//! Time: the only module that reads a clock.
//!
//! Machines get a [`Now`] as input. Spans between two events come from the monotonic half, so that a wall clock that
//! is set does not change a duration; what is written down comes from the wall half.

#![allow(unsafe_code, reason = "the system call clock_gettime")]

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time in microseconds since the machine started, sleep included (`CLOCK_BOOTTIME`).
///
/// Comparable between processes of one boot; see [`boot_id`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(pub u64);

impl Instant {
    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Instant {
    /// The instant `span` earlier; the start of the machine when that is later.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Wall clock: microseconds since 1970-01-01T00:00:00Z, leap seconds left out.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with microseconds, such as `2026-11-20T21:45:00.000001Z`; the bare number outside years 0 to 9999.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// For spans and timers.
    pub mono: Instant,
    /// For what is written down.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks `span` later: virtual time for tests.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self { mono: self.mono + span, wall: Timestamp(self.wall.0.saturating_add(micros)) }
    }
}

/// Reads both clocks.
#[must_use]
pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}

/// Reads the monotonic clock.
#[must_use]
pub fn mono() -> Instant {
    let (secs, nanos) = read(libc::CLOCK_BOOTTIME);
    Instant(secs.unsigned_abs() * 1_000_000 + nanos.unsigned_abs() / 1_000)
}

/// Reads the wall clock.
#[must_use]
pub fn wall() -> Timestamp {
    let (secs, nanos) = read(libc::CLOCK_REALTIME);
    Timestamp(secs * 1_000_000 + nanos / 1_000)
}

fn read(clock: libc::clockid_t) -> (i64, i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec; both clocks exist since Linux 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec, time.tv_nsec)
}

/// Names this boot of the machine: [`Instant`]s of one boot compare across processes. Empty when the kernel tells none.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_gives_zero_not_a_wrap() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Instant(5).since(Instant(9)), Duration::ZERO);
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        for (micros, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_700_000_000_000_001, "2023-11-14T22:13:20.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(Timestamp(micros).to_string(), want);
        }
    }

    #[test]
    fn both_clocks_move_on() {
        let (first, second) = (now(), now());
        assert!(second.mono >= first.mono);
        assert!(first.wall.secs() > 1_600_000_000);
    }
}
