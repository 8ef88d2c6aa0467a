//! Identifiers: newtypes that state their promise.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

/// Names a record for ever: the same for all sinks, all retries and after a restart.
///
/// 128 bits, time-ordered to the millisecond. As text: a ULID, 26 characters of Crockford base 32.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordId(pub u128);

impl RecordId {
    /// The id as 16 octets, most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from 16 octets, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ulid::ULID_LEN];
        f.write_str(Ulid(self.0).array_to_str(&mut text))
    }
}

/// The text is no ULID: 26 characters of Crockford base 32.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a record id has 26 characters out of 0-9 and A-Z without I, L, O, U")]
pub struct BadRecordId;

impl FromStr for RecordId {
    type Err = BadRecordId;

    fn from_str(text: &str) -> Result<Self, BadRecordId> {
        Ulid::from_string(text).map(|id| Self(id.0)).map_err(|_| BadRecordId)
    }
}

/// Makes record ids that rise strictly, also when the wall clock is set back by up to [`IDS_AHEAD_MAX_MS`]. A clock that
/// was further ahead was wrong: ids follow the right one again, still without meeting.
///
/// Two generators meet by a chance of 2^-80 in one millisecond.
#[derive(Debug)]
pub struct RecordIds {
    last: u128,
    random: u128,
}

impl RecordIds {
    /// `seed` sets the random part; every generator of a process gets its own.
    #[must_use]
    pub const fn new(seed: u128) -> Self {
        Self { last: 0, random: seed }
    }

    /// The next id for an instant of the wall clock, in milliseconds since 1970.
    pub fn next(&mut self, wall_ms: u64) -> RecordId {
        // Weyl step: visits every value of the 80 bits before it repeats one.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let fresh = Ulid::from_parts(wall_ms, self.random).0;
        let ahead_ms = Ulid(self.last).timestamp_ms().saturating_sub(wall_ms);
        self.last = if ahead_ms > IDS_AHEAD_MAX_MS { fresh } else { fresh.max(self.last.wrapping_add(1)) };
        RecordId(self.last)
    }
}

/// How far ids may be ahead of the wall clock, in milliseconds: what a clock is set back in good order.
pub const IDS_AHEAD_MAX_MS: u64 = 3_600_000;

/// Place of a record in the queue: rises by one, is never reused, survives a restart.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seq(pub u64);

/// Number of a sink in the queue, 0 to 63; the queue keeps names and numbers together on disk.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SinkNumber(pub u8);

/// The most sinks one gateway has: a record's wish list is one 64-bit word.
pub const SINKS_MAX: usize = 64;

/// A set of sinks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SinkMask(pub u64);

impl SinkMask {
    /// No sink.
    pub const NONE: Self = Self(0);

    /// The set with `sink` added.
    #[must_use]
    pub const fn with(self, sink: SinkNumber) -> Self {
        Self(self.0 | 1 << (sink.0 & 63))
    }

    /// The set with `sink` taken out.
    #[must_use]
    pub const fn without(self, sink: SinkNumber) -> Self {
        Self(self.0 & !(1 << (sink.0 & 63)))
    }

    /// Whether `sink` is in the set.
    #[must_use]
    pub const fn has(self, sink: SinkNumber) -> bool {
        self.0 & 1 << (sink.0 & 63) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The sinks in the set, lowest number first.
    pub fn iter(self) -> impl Iterator<Item = SinkNumber> {
        (0..64).map(SinkNumber).filter(move |sink| self.has(*sink))
    }
}

/// Hash of a Call-ID (SipHash-1-3, fixed key): records with the same one are delivered in order, and a call belongs to
/// the shard that it and a key name. The same in every process and release.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallHash(pub u64);

impl CallHash {
    /// The hash of a Call-ID's octets.
    #[must_use]
    pub fn of(call_id: &[u8]) -> Self {
        Self(siphasher::sip::SipHasher13::new_with_keys(0x746f_6c6c, 0x6761_7465).hash(call_id))
    }

    /// Which of `shards` owns the call; `shards` is at least 1. Nobody without the key can choose Call-IDs that all go to
    /// one of them.
    #[must_use]
    pub fn shard(self, key: &[u8; 16], shards: usize) -> usize {
        let keyed = siphasher::sip::SipHasher13::new_with_key(key).hash(&self.0.to_le_bytes());
        ((keyed >> 32) as usize) % shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_when_the_clock_goes_back() {
        let mut ids = RecordIds::new(7);
        let a = ids.next(1_000_000);
        let b = ids.next(999_000);
        let c = ids.next(999_000);
        assert!(a < b && b < c, "{a} {b} {c}");
    }

    #[test]
    fn ids_recover_after_a_clock_that_was_years_ahead() {
        let made = |id: RecordId| u64::try_from(id.0 >> 80).unwrap_or_default();
        let mut ids = RecordIds::new(7);
        let now = 1_700_000_000_000;
        let wrong = ids.next(now + 10 * 365 * 86_400_000);
        let again = ids.next(now);
        assert_eq!(made(again), now, "the time of the id is that of the record");
        assert!(again < wrong && ids.next(now) > again);
        let hour = ids.next(now + IDS_AHEAD_MAX_MS);
        assert!(ids.next(now) > hour, "a clock set back in good order changes nothing");
    }

    #[test]
    fn a_record_id_survives_its_text_form() {
        let id = RecordIds::new(99).next(1_700_000_000_000);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(RecordId::from_bytes(id.to_bytes()), id);
        assert_eq!("not an id".parse::<RecordId>(), Err(BadRecordId));
    }

    #[test]
    fn a_mask_holds_what_was_put_in() {
        let mask = SinkMask::NONE.with(SinkNumber(0)).with(SinkNumber(63));
        assert_eq!(mask.iter().collect::<Vec<_>>(), [SinkNumber(0), SinkNumber(63)]);
        assert!(mask.without(SinkNumber(0)).has(SinkNumber(63)));
    }

    #[test]
    fn the_key_decides_which_shard_owns_a_call() {
        let calls: Vec<CallHash> = (0..4_000_u32).map(|number| CallHash::of(&number.to_le_bytes())).collect();
        let ours = |key: u8, call: &CallHash| call.shard(&[key; 16], 4) == 0;
        // Calls that all go to one shard by one key go to all by another.
        let chosen: Vec<&CallHash> = calls.iter().filter(|call| ours(1, call)).collect();
        assert!((800..1200).contains(&chosen.len()), "{}", chosen.len());
        let still = chosen.iter().filter(|call| ours(2, call)).count();
        assert!((150..350).contains(&still), "{still}");
    }

    #[test]
    fn the_call_hash_never_changes() {
        // Stored on disk with every record: a change would break the order within calls over an upgrade.
        assert_eq!(CallHash::of(b"x").0, 5_676_706_455_567_955_154);
    }
}
