//! A rate with a reserve: who asks too often is told so.

use crate::clock::Instant;

/// A rate with a reserve: `burst` events at once, `per_second` in the long run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenBucket {
    /// Events a second in the long run.
    pub per_second: u32,
    /// Events at once after a quiet time.
    pub burst: u32,
}

/// The running state of a [`TokenBucket`].
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: TokenBucket,
    /// Millionths of a token, so that no time is lost to rounding.
    level: u64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: TokenBucket) -> Self {
        Self { rate, level: u64::from(rate.burst) * 1_000_000, filled: Instant(0) }
    }

    /// Goes on with another rate; what was gained stays, as far as there is room for it.
    pub(crate) fn configure(&mut self, rate: TokenBucket) {
        self.level = self.level.min(u64::from(rate.burst) * 1_000_000);
        self.rate = rate;
    }

    /// Takes one token; `false` when there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let micros = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(u64::from(self.rate.per_second));
        self.level = self.level.saturating_add(gained).min(u64::from(self.rate.burst) * 1_000_000);
        self.filled = now;
        let Some(rest) = self.level.checked_sub(1_000_000) else { return false };
        self.level = rest;
        true
    }

    /// Whether it would be full by now, so that a new one is as good.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let mut later = Self { rate: self.rate, level: self.level, filled: self.filled };
        later.take(now) && later.level + 1_000_000 >= u64::from(self.rate.burst) * 1_000_000
    }
}
