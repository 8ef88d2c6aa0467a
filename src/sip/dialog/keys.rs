//! The keys that sign Record-Route values, and their change.
//!
//! They are kept with the queue, beside the calls they protect: version, when the first and the present one were made,
//! the present one, and the one before if there is one.

/// Octets of a key.
type Key = [u8; 16];

/// The keys of one moment. Who knows one can send requests from anywhere.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct RouteKeys {
    /// Signs.
    pub current: Key,
    /// Has signed until it was replaced.
    pub previous: Option<Key>,
    /// Has signed here before the present ones were taken over from other gateways.
    pub before: Option<Key>,
    /// Has signed before there were hours.
    pub legacy: Option<Legacy>,
}

/// The key of releases that signed without an hour.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Legacy {
    /// The key.
    pub key: Key,
    /// Until when what it has signed is good, seconds of the wall clock.
    pub until_s: u64,
}

/// Keeps the keys out of every log.
impl std::fmt::Debug for RouteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteKeys")
    }
}

impl RouteKeys {
    /// The keys that a value may be signed with that has an hour, or has none.
    pub(super) fn checking(&self, has_hour: bool, now_s: u64) -> impl Iterator<Item = &Key> {
        let legacy = self.legacy.as_ref().filter(move |own| !has_hour && now_s < own.until_s).map(|own| &own.key);
        let current = Some(&self.current).filter(move |_| has_hour);
        let previous = self.previous.as_ref().filter(move |_| has_hour);
        let before = self.before.as_ref().filter(move |_| has_hour);
        current.into_iter().chain(previous).chain(before).chain(legacy)
    }

    /// All that are good.
    pub(super) fn all(&self, now_s: u64) -> impl Iterator<Item = &Key> {
        self.checking(true, now_s).chain(self.checking(false, now_s))
    }
}

/// The keys as they are kept.
#[derive(Clone, Eq, PartialEq)]
pub struct KeptKeys {
    /// When the first one was made, seconds of the wall clock.
    first_s: u64,
    /// When the present one was made.
    made_s: u64,
    current: Key,
    previous: Option<Key>,
}

/// Keeps the keys out of every log.
impl std::fmt::Debug for KeptKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptKeys made {}", self.made_s)
    }
}

/// Of what is kept.
const VERSION: u8 = 1;

impl KeptKeys {
    /// The first key.
    #[must_use]
    pub const fn first(key: Key, now_s: u64) -> Self {
        Self { first_s: now_s, made_s: now_s, current: key, previous: None }
    }

    /// As they were kept; `None` for what is no such thing.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let (version, rest) = octets.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (made, rest) = rest.split_first_chunk::<8>()?;
        let (current, rest) = rest.split_first_chunk::<16>()?;
        let previous = match rest {
            [] => None,
            rest => Some(*rest.first_chunk::<16>()?),
        };
        (*version == VERSION).then_some(Self {
            first_s: u64::from_be_bytes(*first),
            made_s: u64::from_be_bytes(*made),
            current: *current,
            previous,
        })
    }

    /// What is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let previous = self.previous.as_ref().map_or(&[][..], |key| key);
        let times = [self.first_s.to_be_bytes(), self.made_s.to_be_bytes()].concat();
        [&[VERSION][..], &times, &self.current, previous].concat()
    }

    /// The present key.
    #[must_use]
    pub const fn current(&self) -> [u8; 16] {
        self.current
    }

    /// Whether one of them is this one.
    #[must_use]
    pub fn has(&self, key: &[u8; 16]) -> bool {
        self.current == *key || self.previous.as_ref() == Some(key)
    }

    /// Whether the present key is that old. A clock that went back counts from now on.
    #[must_use]
    pub const fn is_due(&self, now_s: u64, age_s: u64) -> bool {
        now_s.saturating_sub(self.made_s) >= age_s
    }

    /// The same with a new key; the present one becomes the one before.
    #[must_use]
    pub const fn renewed(&self, key: Key, now_s: u64) -> Self {
        Self { first_s: self.first_s, made_s: now_s, current: key, previous: Some(self.current) }
    }

    /// For signing; `legacy` has signed before the first one and is good for `good_s` after that.
    #[must_use]
    pub fn keys(&self, legacy: Key, good_s: u64) -> RouteKeys {
        let legacy = Legacy { key: legacy, until_s: self.first_s.saturating_add(good_s) };
        RouteKeys { current: self.current, previous: self.previous, before: None, legacy: Some(legacy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_and_replaced_when_they_are_old() {
        let first = KeptKeys::first([1; 16], 1000);
        assert_eq!(KeptKeys::decode(&first.encode()).as_ref(), Some(&first));
        for (now_s, want) in [(999, false), (1000, false), (1099, false), (1100, true)] {
            assert_eq!(first.is_due(now_s, 100), want, "at {now_s}");
        }
        let second = first.renewed([2; 16], 1100);
        assert_eq!(KeptKeys::decode(&second.encode()).as_ref(), Some(&second));
        let keys = second.keys([9; 16], 50);
        let all = |now_s| keys.all(now_s).map(|key| key[0]).collect::<Vec<_>>();
        assert_eq!(all(1049), [2, 1, 9], "the key of releases before is good for a while after the first one");
        assert_eq!(all(1050), [2, 1]);
        assert_eq!(second.renewed([3; 16], 1200).keys([9; 16], 0).previous, Some([2; 16]));
        for broken in [&b""[..], b"\x01", &first.encode()[..32], &[2; 33]] {
            assert_eq!(KeptKeys::decode(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_kept_never_changes() {
        // A later release must read it.
        let kept = KeptKeys::first([0xab; 16], 1).renewed([0xcd; 16], 2);
        let want = [&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2][..], &[0xcd; 16], &[0xab; 16]].concat();
        assert_eq!(kept.encode(), want);
    }
}
