//! Random numbers for identifiers and jitter, from a seed, so that a machine is repeatable in tests and unpredictable in
//! service.

use std::time::Duration;

use siphasher::sip::SipHasher13;

/// A counter through SipHash with a secret key: numbers nobody can predict from earlier ones.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    hasher: SipHasher13,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(seed[0], seed[1]), counter: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.hasher.hash(&self.counter.to_le_bytes())
    }

    /// Its high half: identifiers of messages.
    pub(crate) fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// `span` ± `around`, never below zero.
    pub(crate) fn vary(&mut self, span: Duration, around: Duration) -> Duration {
        let half = u64::try_from(around.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let shift = self.below(2 * half + 1);
        (span + Duration::from_micros(shift)).saturating_sub(Duration::from_micros(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_uses_all_of_them() {
        let mut random = Random::new([1, 2]);
        let two = Duration::from_secs(2);
        let spans: Vec<u128> = (0..1000).map(|_| random.vary(Duration::from_secs(30), two).as_millis()).collect();
        let (low, high) = (spans.iter().min().copied(), spans.iter().max().copied());
        assert!(low >= Some(28_000) && low < Some(28_100), "{low:?}");
        assert!(high <= Some(32_000) && high > Some(31_900), "{high:?}");
        assert_eq!(random.vary(Duration::ZERO, Duration::ZERO), Duration::ZERO);
        assert_eq!(random.below(0), 0);
    }
}
