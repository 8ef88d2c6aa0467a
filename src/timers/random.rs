//! Random numbers for identifiers and jitter, from a seed, so that a machine is repeatable in tests and unpredictable in
//! service; and the doubling of waits that they go with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// Two numbers nobody can guess: the keys the standard library draws for its hash tables.
pub(crate) fn seed() -> [u64; 2] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish())
}

/// Octets nobody can guess, to sign what goes out and comes back.
///
/// # Errors
/// What the kernel says.
#[allow(unsafe_code, reason = "the system call getrandom")]
pub(crate) fn secret() -> io::Result<[u8; 16]> {
    let mut secret = [0_u8; 16];
    // SAFETY: the pointer and length describe `secret`.
    let got = unsafe { libc::getrandom(secret.as_mut_ptr().cast(), secret.len(), 0) };
    if got == 16 { Ok(secret) } else { Err(io::Error::last_os_error()) }
}

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

    /// From a key of 16 octets.
    pub(crate) fn keyed(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key), counter: 0 }
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

    /// Sixteen octets, such as an authenticator.
    pub(crate) fn octets(&mut self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.next().to_le_bytes());
        octets[8..].copy_from_slice(&self.next().to_le_bytes());
        octets
    }

    /// `span` ± a tenth: the RAND of RFC 5080 §2.2.1.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        self.vary(span, span / 10)
    }

    /// `span` shortened by up to one of so many `parts`, so that what failed together is not tried again together.
    pub(crate) fn shorten(&mut self, span: Duration, parts: u32) -> Duration {
        let most = u64::try_from((span / parts).as_micros()).unwrap_or(u64::MAX - 1);
        span - Duration::from_micros(self.below(most + 1))
    }

    /// `span` ± `around`, never below zero.
    pub(crate) fn vary(&mut self, span: Duration, around: Duration) -> Duration {
        let half = u64::try_from(around.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let shift = self.below(2 * half + 1);
        (span + Duration::from_micros(shift)).saturating_sub(Duration::from_micros(half))
    }
}

/// `first` doubled so many `times`, at most `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(31)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_varies_within_its_bounds_and_uses_all_of_them() {
        let mut random = Random::new([1, 2]);
        let two = Duration::from_secs(2);
        let spans: Vec<u128> = (0..1000).map(|_| random.vary(Duration::from_secs(30), two).as_millis()).collect();
        let (low, high) = (spans.iter().min().copied(), spans.iter().max().copied());
        assert!(low >= Some(28_000) && low < Some(28_100), "{low:?}");
        assert!(high <= Some(32_000) && high > Some(31_900), "{high:?}");
        assert_eq!(random.vary(Duration::ZERO, Duration::ZERO), Duration::ZERO);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_uses_all_of_it() {
        let mut random = Random::new([1, 2]);
        let spans: Vec<u128> = (0..1000).map(|_| random.jitter(Duration::from_secs(2)).as_millis()).collect();
        let (low, high) = (spans.iter().min().copied(), spans.iter().max().copied());
        assert!(low >= Some(1800) && low < Some(1820), "{low:?}");
        assert!(high <= Some(2200) && high > Some(2180), "{high:?}");
        assert_eq!(random.jitter(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_wait_is_shortened_by_no_more_than_its_part() {
        let mut random = Random::new([1, 2]);
        let spans: Vec<u128> = (0..1000).map(|_| random.shorten(Duration::from_secs(5), 5).as_millis()).collect();
        let (low, high) = (spans.iter().min().copied(), spans.iter().max().copied());
        assert!(low >= Some(4000) && low < Some(4010), "{low:?}");
        assert!(high <= Some(5000) && high > Some(4990), "{high:?}");
        assert_eq!(random.shorten(Duration::MAX, 1).as_secs() >> 63, 1, "the longest, too");
    }

    #[test]
    fn a_wait_doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        for (times, secs) in [(0, 1), (1, 2), (3, 8), (4, 10), (u32::MAX, 10)] {
            assert_eq!(doubled(first, times, longest), Duration::from_secs(secs), "{times} times");
        }
    }
}
