//! Generational slab: values under keys that are never mistaken for later ones, in memory that comes back.
//!
//! A key is a slot and the generation of what lies there. Taking a value out raises the slot's generation, so that a
//! key kept too long misses instead of finding a stranger. Slots come in chunks of [`CHUNK_SLOTS`]; the lowest free
//! slot is taken first, so that the chunks of a burst fall empty after it, and empty chunks beyond a small reserve go
//! back to the allocator. A chunk remembers its generations while it is away.

use std::num::NonZeroU32;

/// Slots of one chunk: one word shows which are taken.
pub const CHUNK_SLOTS: usize = 64;

/// Empty chunks kept for the next burst: one, and one for each this many chunks in memory.
const CHUNKS_PER_RESERVE: usize = 8;

/// Names one value of a slab for as long as it is there, and nothing afterwards.
///
/// The generation is never 0, so that `Option<Key>` takes 8 octets. It comes round after 2^32 − 1 uses of one slot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    slot: u32,
    generation: NonZeroU32,
}

impl Key {
    /// The key of `slot` and `generation`; `None` for generation 0, which no key has.
    #[must_use]
    pub fn new(slot: u32, generation: u32) -> Option<Self> {
        NonZeroU32::new(generation).map(|generation| Self { slot, generation })
    }

    /// Place in the slab; below `u32::MAX`, which is free to mean "none".
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// How often the place was given out, never 0.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation.get()
    }

    /// Slot in the high, generation in the low half.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.slot as u64) << 32 | self.generation.get() as u64
    }

    /// Reads what [`Self::to_u64`] gave; `None` when the low half is 0.
    #[must_use]
    pub fn from_u64(bits: u64) -> Option<Self> {
        Self::new((bits >> 32) as u32, bits as u32)
    }
}

/// Values under generational [`Key`]s. Each operation takes constant time, but for one allocation per
/// [`CHUNK_SLOTS`] values while the slab grows.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks in memory with a free slot.
    open: Bits,
    /// Chunks in memory without a value.
    empty: Bits,
    /// Chunks that were given back.
    away: Bits,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: Option<Box<[Slot<T>]>>,
    /// One bit for each slot that holds a value.
    taken: u64,
    /// Where the generations go on when the chunk comes back.
    generation: NonZeroU32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: NonZeroU32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    /// An empty slab; takes no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), open: Bits::new(), empty: Bits::new(), away: Bits::new(), len: 0 }
    }

    /// How many values there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// For how many values there is memory.
    #[must_use]
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        (self.chunks.len() - self.away.count) * CHUNK_SLOTS
    }

    /// Puts a value in.
    ///
    /// # Panics
    /// With 2^32 − 64 values in the slab, for which memory does not suffice.
    pub fn insert(&mut self, value: T) -> Key {
        let at = self.open.first().unwrap_or_else(|| self.open_chunk());
        let chunk = &mut self.chunks[at];
        let place = (!chunk.taken).trailing_zeros() as usize;
        let slots = chunk.slots.as_mut().expect("an open chunk is in memory");
        slots[place].value = Some(value);
        let generation = slots[place].generation;
        chunk.taken |= 1 << place;
        if chunk.taken == u64::MAX {
            self.open.clear(at);
        }
        self.empty.clear(at);
        self.len += 1;
        Key { slot: (at * CHUNK_SLOTS + place) as u32, generation }
    }

    /// The value of `key`, unless it was taken out.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let (at, place) = split(key.slot);
        let slot = self.chunks.get(at)?.slots.as_ref()?.get(place)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The value of `key`, unless it was taken out.
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (at, place) = split(key.slot);
        let slot = self.chunks.get_mut(at)?.slots.as_mut()?.get_mut(place)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Whether the value of `key` is still there.
    #[must_use]
    #[cfg(test)]
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Takes a value out; from now on `key` misses.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_slot(key.slot)
    }

    /// All values, lowest slot first.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            chunk.slots.iter().flat_map(|slots| slots.iter()).enumerate().filter_map(move |(place, slot)| {
                let key = Key { slot: (at * CHUNK_SLOTS + place) as u32, generation: slot.generation };
                slot.value.as_ref().map(|value| (key, value))
            })
        })
    }

    /// The value in a slot, whatever its generation.
    pub(super) fn slot_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (at, place) = split(slot);
        self.chunks.get_mut(at)?.slots.as_mut()?.get_mut(place)?.value.as_mut()
    }

    /// Takes out what is in a slot, whatever its generation.
    pub(super) fn remove_slot(&mut self, slot: u32) -> Option<T> {
        let (at, place) = split(slot);
        let chunk = self.chunks.get_mut(at)?;
        let slot = chunk.slots.as_mut()?.get_mut(place)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        chunk.taken &= !(1 << place);
        self.len -= 1;
        self.open.set(at);
        if chunk.taken == 0 {
            self.empty.set(at);
            self.give_back();
        }
        Some(value)
    }

    /// Brings a chunk into memory and returns its number.
    fn open_chunk(&mut self) -> usize {
        let at = self.away.first().unwrap_or_else(|| {
            assert!(self.chunks.len() < u32::MAX as usize / CHUNK_SLOTS, "slots are numbered with 32 bits");
            self.chunks.push(Chunk { slots: None, taken: 0, generation: NonZeroU32::MIN });
            self.chunks.len() - 1
        });
        let chunk = &mut self.chunks[at];
        let generation = chunk.generation;
        chunk.slots = Some((0..CHUNK_SLOTS).map(|_| Slot { generation, value: None }).collect());
        self.away.clear(at);
        self.open.set(at);
        self.empty.set(at);
        at
    }

    /// Frees the highest empty chunks, down to the reserve.
    fn give_back(&mut self) {
        while self.empty.count > 1 + (self.chunks.len() - self.away.count) / CHUNKS_PER_RESERVE {
            let Some(at) = self.empty.last() else { return };
            let chunk = &mut self.chunks[at];
            if let Some(slots) = chunk.slots.take() {
                chunk.generation = slots.iter().map(|slot| slot.generation).max().unwrap_or(NonZeroU32::MIN);
            }
            self.empty.clear(at);
            self.open.clear(at);
            self.away.set(at);
        }
    }
}

const fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS)
}

/// A set of small numbers.
#[derive(Debug)]
struct Bits {
    words: Vec<u64>,
    /// No word before this one has a bit.
    low: usize,
    /// How many numbers are in the set.
    count: usize,
}

impl Bits {
    const fn new() -> Self {
        Self { words: Vec::new(), low: 0, count: 0 }
    }

    fn set(&mut self, at: usize) {
        let (word, bit) = (at / 64, 1 << (at % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.count += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.low = self.low.min(word);
    }

    fn clear(&mut self, at: usize) {
        let bit = 1 << (at % 64);
        if let Some(word) = self.words.get_mut(at / 64) {
            self.count -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    fn first(&mut self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        let skipped = self.words[self.low..].iter().take_while(|word| **word == 0).count();
        self.low += skipped;
        self.words.get(self.low).map(|word| self.low * 64 + word.trailing_zeros() as usize)
    }

    fn last(&self) -> Option<usize> {
        let word = self.words.iter().rposition(|word| *word != 0)?;
        Some(word * 64 + 63 - self.words[word].leading_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_key_misses_though_its_slot_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.remove(first), None, "taken out once");
        let second = slab.insert("second");
        assert_eq!(first.slot(), second.slot(), "the lowest slot is taken first");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
    }

    #[test]
    fn keys_of_nothing_miss() {
        let mut slab = Slab::new();
        slab.insert(1);
        for (name, key) in [
            ("a slot never used", Key::new(1, 1)),
            ("a chunk never used", Key::new(u32::MAX, 1)),
            ("a generation to come", Key::new(0, 2)),
        ] {
            assert_eq!(key.and_then(|key| slab.get(key)), None, "{name}");
            assert_eq!(key.and_then(|key| slab.remove(key)), None, "{name}");
        }
        assert_eq!(Key::new(0, 0), None, "there is no generation 0");
    }

    #[test]
    fn memory_comes_back_after_a_burst_and_stale_keys_still_miss() {
        let mut slab = Slab::new();
        let lasting = slab.insert(0);
        let burst: Vec<Key> = (1..100_000).map(|number| slab.insert(number)).collect();
        assert!(slab.capacity() < 100_000 + 2 * CHUNK_SLOTS);
        for key in &burst {
            slab.remove(*key);
        }
        assert_eq!(slab.len(), 1);
        assert!(slab.capacity() <= 3 * CHUNK_SLOTS, "{} slots kept for one value", slab.capacity());
        let again: Vec<Key> = (1..100_000).map(|number| slab.insert(number)).collect();
        assert!(burst.iter().all(|key| slab.get(*key).is_none()), "a chunk remembers its generations");
        assert!(again.iter().all(|key| slab.contains(*key)));
        assert_eq!(slab.get(lasting), Some(&0));
    }

    #[test]
    fn coming_and_going_at_the_edge_of_a_chunk_allocates_nothing() {
        let mut slab = Slab::new();
        for number in 0..CHUNK_SLOTS {
            slab.insert(number);
        }
        let edge = slab.insert(0);
        slab.remove(edge);
        let capacity = slab.capacity();
        for _ in 0..1000 {
            let edge = slab.insert(0);
            assert_eq!(slab.capacity(), capacity);
            slab.remove(edge);
            assert_eq!(slab.capacity(), capacity);
        }
    }

    #[test]
    fn a_generation_comes_round_without_zero() {
        let mut slab = Slab::new();
        let key = slab.insert(());
        slab.chunks[0].slots.as_mut().expect("in memory")[0].generation = NonZeroU32::MAX;
        assert_eq!(slab.get(key), None);
        slab.remove(Key::new(0, u32::MAX).expect("not 0"));
        assert_eq!(slab.insert(()).generation(), 1);
    }

    #[test]
    fn a_key_is_one_word() {
        assert_eq!(size_of::<Option<Key>>(), 8);
        let key = Key::new(7, 9);
        assert_eq!(key.and_then(|key| Key::from_u64(key.to_u64())), key);
        assert_eq!(Key::from_u64(7 << 32), None);
    }

    proptest! {
        /// Against a map: what was put in is there, what was taken out never comes back.
        #[test]
        fn a_slab_is_a_map_with_keys_of_its_own(steps in proptest::collection::vec((0..4_u8, any::<u16>()), 0..600)) {
            let mut slab = Slab::new();
            let mut model = BTreeMap::new();
            let mut gone = Vec::new();
            for (number, (step, choice)) in steps.into_iter().enumerate() {
                // Long rows of either kind, so that chunks come and go.
                let adds = (number / 150 % 2 == 0) == (step != 0);
                let picked = model.keys().nth(usize::from(choice) % model.len().max(1)).copied();
                match picked {
                    Some(key) if !adds => {
                        prop_assert_eq!(slab.remove(key), model.remove(&key));
                        gone.push(key);
                    }
                    _ => {
                        let key = slab.insert(number);
                        prop_assert_eq!(model.insert(key, number), None, "a key is given once");
                    }
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert!(slab.capacity() >= slab.len());
            }
            prop_assert!(gone.iter().all(|key| !slab.contains(*key)));
            let found: BTreeMap<Key, usize> = slab.iter().map(|(key, value)| (key, *value)).collect();
            prop_assert_eq!(found, model);
        }
    }
}
