//! Timer wheel: very many timers, few of which ever fire, and the generational [`slab`] it stands on.
//!
//! Nine levels of 64 slots, each level 64 times as coarse as the one below; the finest counts ticks of [`TICK_US`]. A
//! timer lies on the level of the highest digit (base 64) in which its tick differs from the wheel's, and comes down
//! as the wheel turns. So arming and cancelling take constant time, and a timer is moved at most eight times, however
//! long it runs; the longest is as long as [`Instant`] counts.
//!
//! A timer never fires early, and at most one tick late when [`Wheel::expire`] is called at [`Wheel::deadline`].
//! Timers fire in the order of their ticks; those of one tick in the order in which they were armed. A cancelled timer
//! leaves at once and its memory comes back.

pub mod bucket;
pub mod pace;
pub(crate) mod random;
pub mod rationed;
pub mod slab;
pub mod spell;

use crate::clock::Instant;
use slab::{Key, Slab};

/// The grain of the wheel.
#[cfg(test)]
pub const TICK: std::time::Duration = std::time::Duration::from_micros(TICK_US);

/// The same in microseconds.
const TICK_US: u64 = 10_000;
/// Bits of one digit, and so slots of one level as a power of two.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 9 × 6 bits hold every tick that 64 bits of microseconds can name.
const LEVELS: usize = 9;
/// End of no list.
const NIL: u32 = u32::MAX;

/// Names an armed timer. After the timer fired or was cancelled it names nothing. `Option<Handle>` takes 8 octets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Handle(Key);

/// Timers, each with a key that says what it is for.
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Slab<Node<K>>,
    /// First node of each slot's ring.
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    /// One bit for each slot with a timer.
    taken: [u64; LEVELS],
    /// The last tick that was looked at; nothing armed is before it.
    tick: u64,
}

#[derive(Debug)]
struct Node<K> {
    tick: u64,
    next: u32,
    /// Of the ring's first node: the last one.
    prev: u32,
    key: K,
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy> Wheel<K> {
    /// A wheel without timers.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: Slab::new(), heads: Box::new([[NIL; SLOTS]; LEVELS]), taken: [0; LEVELS], tick: 0 }
    }

    /// How many timers run.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no timer runs.
    #[cfg(test)]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// For how many timers there is memory.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Starts a timer. One whose deadline has passed fires at the next [`Self::expire`].
    pub fn arm(&mut self, deadline: Instant, key: K) -> Handle {
        let tick = deadline.0.div_ceil(TICK_US).max(self.tick);
        let handle = self.nodes.insert(Node { tick, next: NIL, prev: NIL, key });
        self.link(handle.slot(), tick);
        Handle(handle)
    }

    /// Stops a timer and returns its key; `None` when it fired or was cancelled before.
    pub fn cancel(&mut self, handle: Handle) -> Option<K> {
        let tick = self.nodes.get(handle.0)?.tick;
        self.unlink(handle.0.slot(), tick);
        self.nodes.remove(handle.0).map(|node| node.key)
    }

    /// Makes the timer in `place` run to `deadline`, whatever it did before: starts, moves or stops it. One that stays
    /// within its tick is not touched.
    pub fn set(&mut self, place: &mut Option<Handle>, deadline: Option<Instant>, key: K) {
        if let (Some(handle), Some(deadline)) = (*place, deadline) {
            let tick = deadline.0.div_ceil(TICK_US).max(self.tick);
            if let Some(node) = self.nodes.get_mut(handle.0) {
                node.key = key;
                let was = std::mem::replace(&mut node.tick, tick);
                if was != tick {
                    self.unlink(handle.0.slot(), was);
                    self.link(handle.0.slot(), tick);
                }
                return;
            }
        }
        if let Some(handle) = place.take() {
            self.cancel(handle);
        }
        *place = deadline.map(|deadline| self.arm(deadline, key));
    }

    /// Whether the timer still runs.
    #[cfg(test)]
    pub fn is_armed(&self, handle: Handle) -> bool {
        self.nodes.contains(handle.0)
    }

    /// When to call [`Self::expire`] next; `None` without timers. For a far timer this may be earlier than it fires,
    /// since the wheel has to turn on the way: at most eight times a timer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next_slot().map(|(_, _, tick)| Instant(tick.saturating_mul(TICK_US)))
    }

    /// Appends the keys of all timers whose deadline is not after `now`; they run no more. A `now` before an earlier
    /// one counts as that one.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<K>) {
        let target = self.tick.max(now.0 / TICK_US);
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.tick = tick;
            self.taken[level] &= !(1 << slot);
            let first = std::mem::replace(&mut self.heads[level][slot], NIL);
            let mut at = first;
            while let Some(node) = self.nodes.slot_mut(at) {
                let (next, tick) = (node.next, node.tick);
                if level > 0 {
                    self.link(at, tick);
                } else if let Some(node) = self.nodes.remove_slot(at) {
                    out.push(node.key);
                }
                if next == first {
                    break;
                }
                at = next;
            }
        }
        self.tick = target;
    }

    /// The slot to be looked at next: level, slot and its first tick. All of a level comes before the level above.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.taken.iter().position(|taken| *taken != 0)?;
        let slot = self.taken[level].trailing_zeros();
        let shift = DIGIT_BITS * level as u32;
        let above = self.tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Where a timer of `tick` lies. It stays there until the wheel reaches the slot's first tick.
    fn place(&self, tick: u64) -> (usize, usize) {
        let differs = (self.tick ^ tick) | (SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differs.leading_zeros()) / DIGIT_BITS;
        ((level as usize).min(LEVELS - 1), (tick >> (level * DIGIT_BITS)) as usize % SLOTS)
    }

    /// Puts a node at the end of its slot's ring.
    fn link(&mut self, at: u32, tick: u64) {
        let (level, slot) = self.place(tick);
        let head = self.heads[level][slot];
        let (next, prev) = if head == NIL {
            self.heads[level][slot] = at;
            self.taken[level] |= 1 << slot;
            (at, at)
        } else {
            let last = self.nodes.slot_mut(head).map_or(head, |node| std::mem::replace(&mut node.prev, at));
            if let Some(node) = self.nodes.slot_mut(last) {
                node.next = at;
            }
            (head, last)
        };
        if let Some(node) = self.nodes.slot_mut(at) {
            (node.next, node.prev) = (next, prev);
        }
    }

    /// Takes a node out of its slot's ring.
    fn unlink(&mut self, at: u32, tick: u64) {
        let (level, slot) = self.place(tick);
        let Some(node) = self.nodes.slot_mut(at) else { return };
        let (next, prev) = (node.next, node.prev);
        if next == at {
            self.heads[level][slot] = NIL;
            self.taken[level] &= !(1 << slot);
            return;
        }
        if let Some(node) = self.nodes.slot_mut(prev) {
            node.next = next;
        }
        if let Some(node) = self.nodes.slot_mut(next) {
            node.prev = prev;
        }
        if self.heads[level][slot] == at {
            self.heads[level][slot] = next;
        }
    }
}

#[cfg(test)]
mod tests;
