//! Random numbers from one seed, so that a machine is repeatable in tests and unpredictable in service.

use std::time::Duration;

use siphasher::sip::SipHasher13;

/// A counter through SipHash with a secret key: numbers nobody can predict from earlier ones.
#[derive(Clone, Debug)]
pub(super) struct Random {
    hasher: SipHasher13,
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(seed[0], seed[1]), counter: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.hasher.hash(&self.counter.to_le_bytes())
    }

    pub(super) fn octets(&mut self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.next().to_le_bytes());
        octets[8..].copy_from_slice(&self.next().to_le_bytes());
        octets
    }

    /// `scale` × a number from −0.1 to +0.1, added to `base`: the RAND of RFC 5080 §2.2.1.
    pub(super) fn vary(&mut self, base: Duration, scale: Duration) -> Duration {
        let tenth = u64::try_from(scale.as_micros() / 10).unwrap_or(u64::MAX / 4);
        let shift = self.next() % (2 * tenth + 1);
        (base + Duration::from_micros(shift)).saturating_sub(Duration::from_micros(tenth))
    }

    /// `span` ± 10 %.
    pub(super) fn jitter(&mut self, span: Duration) -> Duration {
        self.vary(span, span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_uses_all_of_it() {
        let mut random = Random::new([1, 2]);
        let spans: Vec<u128> = (0..1000).map(|_| random.jitter(Duration::from_secs(2)).as_millis()).collect();
        let (low, high) = (spans.iter().min().copied(), spans.iter().max().copied());
        assert!(low >= Some(1800) && low < Some(1820), "{low:?}");
        assert!(high <= Some(2200) && high > Some(2180), "{high:?}");
        assert_eq!(random.jitter(Duration::ZERO), Duration::ZERO);
    }
}
