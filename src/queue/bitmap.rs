//! Which records of a spool each sink has settled.
//!
//! A set bit states that the sink is done with the record: it was delivered, parked, dropped, or never wanted. Bits of
//! places not yet taken are clear. Bits are only ever set, so that the union of two copies of a bitmap is the newer one.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{SinkMask, SinkNumber};

use super::layout::{CHUNK_RECORDS, chunk_of};

/// Bits of one chunk for one sink: bit n of word w is record 64 w + n.
pub type Bits = [u64; 16];

/// A sink and the first place it can want.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Since {
    /// Which sink.
    pub sink: SinkNumber,
    /// Records before this place were there before the sink was.
    pub seq: u64,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    /// Sum of body octets of all records before this chunk.
    total_before: u64,
    /// Pairs of a record and a sink that waits for it.
    open: u32,
    /// Sinks whose bits are not yet on disk.
    dirty: SinkMask,
    /// By sink number; a missing one is all clear.
    bits: Vec<Bits>,
    /// Whether the bodies were removed.
    emptied: bool,
}

/// The bitmaps of one spool.
#[derive(Clone, Debug)]
pub struct Bitmaps {
    first: u64,
    next: u64,
    base: u32,
    chunks: VecDeque<Chunk>,
    dirty: Vec<u32>,
    finished: VecDeque<u32>,
    open: u64,
}

/// Bitmaps read from disk, by sink and chunk.
pub type Stored = BTreeMap<(SinkNumber, u32), Bits>;

impl Bitmaps {
    /// Bitmaps of an empty spool that begins at `first`.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            next: first,
            base: chunk_of(first),
            chunks: VecDeque::new(),
            dirty: Vec::new(),
            finished: VecDeque::new(),
            open: 0,
        }
    }

    /// Bitmaps of a spool that holds places `first` to `next`, from what its file says; chunks before `low` are gone.
    pub fn restore(first: u64, next: u64, low: u32, sinks: &[Since], stored: &Stored) -> Self {
        let mut maps = Self::new(first);
        maps.next = next.max(first);
        maps.base = low.max(maps.base);
        if maps.next == first {
            return maps;
        }
        for number in maps.base..=chunk_of(maps.next - 1) {
            let mut chunk = Chunk::default();
            for since in sinks {
                if let Some(bits) = stored.get(&(since.sink, number)) {
                    *bits_mut(&mut chunk.bits, since.sink) = *bits;
                }
                chunk.open += count_open(&chunk, number, since.seq.max(first), maps.next, since.sink);
            }
            maps.open += u64::from(chunk.open);
            let complete = u64::from(number + 1) * CHUNK_RECORDS <= maps.next;
            maps.chunks.push_back(chunk);
            if complete && maps.chunks.back().is_some_and(|chunk| chunk.open == 0) {
                maps.finished.push_back(number);
            }
        }
        maps
    }

    /// First place of the spool.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The place after its last one.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// First chunk that is not gone.
    pub fn low(&self) -> u32 {
        self.base
    }

    /// Pairs of a record and a sink that waits for it.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Takes the next place for a record that `wanted` of the `known` sinks want.
    pub fn append(&mut self, total_before: u64, wanted: SinkMask, known: SinkMask) {
        let number = chunk_of(self.next);
        let fresh = self.chunk_mut(number).is_none();
        if fresh {
            self.chunks.push_back(Chunk { total_before, ..Chunk::default() });
        }
        let (word, bit) = place(self.next);
        self.next += 1;
        let open = wanted.0.count_ones();
        self.open += u64::from(open);
        let unwanted = SinkMask(known.0 & !wanted.0);
        let chunk = self.chunk_mut(number).expect("places are taken one after the other");
        chunk.open += open;
        for sink in unwanted.iter() {
            bits_mut(&mut chunk.bits, sink)[word] |= bit;
        }
        if !unwanted.is_empty() {
            self.touch(number, unwanted);
        }
    }

    /// Gives the last place back, with the arguments it was taken with.
    pub fn retract(&mut self, wanted: SinkMask, known: SinkMask) {
        self.next -= 1;
        let number = chunk_of(self.next);
        let (word, bit) = place(self.next);
        let open = wanted.0.count_ones();
        self.open -= u64::from(open);
        let Some(chunk) = self.chunk_mut(number) else { return };
        chunk.open -= open;
        for sink in SinkMask(known.0 & !wanted.0).iter() {
            bits_mut(&mut chunk.bits, sink)[word] &= !bit;
        }
    }

    /// Whether a sink waits for the record at `seq`, if it wanted that.
    pub fn waits(&self, since: Since, seq: u64) -> bool {
        seq >= since.seq && !self.is_done(since.sink, seq)
    }

    /// Whether `sink` is done with `seq`, or the place is outside.
    pub fn is_done(&self, sink: SinkNumber, seq: u64) -> bool {
        if seq < self.first || seq >= self.next {
            return true;
        }
        let number = chunk_of(seq);
        let Some(index) = number.checked_sub(self.base) else { return true };
        let (word, bit) = place(seq);
        self.chunks[index as usize].bits.get(usize::from(sink.0)).is_some_and(|bits| bits[word] & bit != 0)
    }

    /// States that `sink`, which waited for it, is done with `seq`; `false` when it already was.
    pub fn settle(&mut self, sink: SinkNumber, seq: u64) -> bool {
        if self.is_done(sink, seq) {
            return false;
        }
        let number = chunk_of(seq);
        let complete = u64::from(number + 1) * CHUNK_RECORDS <= self.next;
        let (word, bit) = place(seq);
        let chunk = self.chunk_mut(number).expect("the place is not done, so its chunk is here");
        bits_mut(&mut chunk.bits, sink)[word] |= bit;
        chunk.open = chunk.open.saturating_sub(1);
        if complete && chunk.open == 0 {
            self.finished.push_back(number);
        }
        self.open = self.open.saturating_sub(1);
        self.touch(number, SinkMask::NONE.with(sink));
        true
    }

    /// The first place from `seq` on that `sink` waits for.
    pub fn next_open(&self, since: Since, seq: u64) -> Option<u64> {
        let mut seq = seq.max(since.seq).max(self.first).max(u64::from(self.base) * CHUNK_RECORDS);
        while seq < self.next {
            let chunk = &self.chunks[(chunk_of(seq) - self.base) as usize];
            let (word, _) = place(seq);
            let bits = chunk.bits.get(usize::from(since.sink.0)).map_or(0, |bits| bits[word]);
            let clear = !bits >> (seq % 64);
            if clear != 0 {
                let found = seq + u64::from(clear.trailing_zeros());
                return (found < self.next).then_some(found);
            }
            seq = (seq / 64 + 1) * 64;
        }
        None
    }

    /// How many records wait for a sink.
    pub fn waiting(&self, since: Since) -> u64 {
        let from = since.seq.max(self.first);
        (self.base..)
            .zip(&self.chunks)
            .map(|(number, chunk)| u64::from(count_open(chunk, number, from, self.next, since.sink)))
            .sum()
    }

    /// Hands every bitmap that is not on disk to `store` and takes it as stored.
    pub fn store_dirty(&mut self, mut store: impl FnMut(SinkNumber, u32, &Bits)) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(chunk) = self.chunk_mut(number) else { continue };
            for sink in std::mem::take(&mut chunk.dirty).iter() {
                store(sink, number, bits_mut(&mut chunk.bits, sink));
            }
        }
    }

    /// Takes every bitmap as not on disk: after a write that failed.
    pub fn all_dirty(&mut self) {
        for number in (self.base..).take(self.chunks.len()) {
            let sinks = self.chunk_mut(number).map_or(0, |chunk| chunk.bits.len());
            let mask = if sinks >= 64 { u64::MAX } else { (1 << sinks) - 1 };
            self.touch(number, SinkMask(mask));
        }
    }

    /// Whether some bitmap is not on disk.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next full chunk that every sink is done with, whose bodies may go if none lies behind place `kept`; `None` when
    /// there is none.
    pub fn take_finished(&mut self, kept: u64) -> Option<u32> {
        self.finished.pop_front_if(|chunk| (u64::from(*chunk) + 1) * CHUNK_RECORDS - 1 <= kept)
    }

    /// States that the bodies of a chunk are gone. Gives the chunks whose bitmaps may now go too.
    pub fn emptied(&mut self, number: u32) -> std::ops::Range<u32> {
        if let Some(chunk) = self.chunk_mut(number) {
            chunk.emptied = true;
        }
        let before = self.base;
        while self.chunks.front().is_some_and(|chunk| chunk.emptied) {
            self.chunks.pop_front();
            self.base += 1;
        }
        before..self.base
    }

    /// Sum of body octets before the first chunk that is not gone; `None` when there is none.
    pub fn total_before(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.total_before)
    }

    /// Sets the sum of body octets before a chunk, found in the file.
    pub fn set_total_before(&mut self, number: u32, total: u64) {
        if let Some(chunk) = self.chunk_mut(number) {
            chunk.total_before = total;
        }
    }

    /// Chunks that are not gone.
    pub fn chunk_numbers(&self) -> std::ops::Range<u32> {
        self.base..self.base + u32::try_from(self.chunks.len()).unwrap_or(u32::MAX - self.base)
    }

    /// Ends the spool before place `end`: later ones are not its own.
    pub fn cap(&mut self, end: u64, sinks: &[Since]) {
        if end >= self.next {
            return;
        }
        self.next = end.max(self.first);
        self.open = 0;
        for index in 0..self.chunks.len() {
            let number = self.base + index as u32;
            let open = |since: &Since| {
                count_open(&self.chunks[index], number, since.seq.max(self.first), self.next, since.sink)
            };
            let open = sinks.iter().map(open).sum();
            self.chunks[index].open = open;
            self.open += u64::from(open);
        }
    }

    /// Octets of the bodies that wait for a sink, each record counted with the mean of its chunk.
    pub fn waiting_bytes(&self, since: Since, total: u64) -> u64 {
        let from = since.seq.max(self.first);
        let ends = self.chunks.iter().skip(1).map(|chunk| chunk.total_before).chain([total]);
        let sum = (self.base..).zip(self.chunks.iter().zip(ends)).map(|(number, (chunk, end))| {
            let begin = u64::from(number) * CHUNK_RECORDS;
            let records = (begin + CHUNK_RECORDS).min(self.next).saturating_sub(begin.max(self.first)).max(1);
            let open = u64::from(count_open(chunk, number, from, self.next, since.sink));
            end.saturating_sub(chunk.total_before) * open / records
        });
        sum.sum()
    }

    fn chunk_mut(&mut self, number: u32) -> Option<&mut Chunk> {
        self.chunks.get_mut(number.checked_sub(self.base)? as usize)
    }

    fn touch(&mut self, number: u32, sinks: SinkMask) {
        let Some(chunk) = self.chunk_mut(number) else { return };
        let clean = chunk.dirty.is_empty();
        chunk.dirty = chunk.dirty.or(sinks);
        if clean && !sinks.is_empty() {
            self.dirty.push(number);
        }
    }
}

fn place(seq: u64) -> (usize, u64) {
    ((seq % CHUNK_RECORDS / 64) as usize, 1 << (seq % 64))
}

fn bits_mut(bits: &mut Vec<Bits>, sink: SinkNumber) -> &mut Bits {
    let index = usize::from(sink.0);
    if bits.len() <= index {
        bits.resize(index + 1, [0; 16]);
    }
    &mut bits[index]
}

/// Clear bits of a chunk in places `from` to `to`.
fn count_open(chunk: &Chunk, number: u32, from: u64, to: u64, sink: SinkNumber) -> u32 {
    let begin = u64::from(number) * CHUNK_RECORDS;
    let from = from.clamp(begin, begin + CHUNK_RECORDS) - begin;
    let to = to.clamp(begin, begin + CHUNK_RECORDS) - begin;
    let bits = chunk.bits.get(usize::from(sink.0)).copied().unwrap_or([0; 16]);
    let mut open = 0;
    for (word, bits) in (0..).zip(bits) {
        open += (!bits & span(word * 64, from, to)).count_ones();
    }
    open
}

/// Bits of the word that begins at `begin` which stand for places `from` to `to`.
fn span(begin: u64, from: u64, to: u64) -> u64 {
    let below = |end: u64| match end.saturating_sub(begin) {
        count @ 0..64 => (1 << count) - 1,
        _ => u64::MAX,
    };
    below(to) & !below(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SinkNumber = SinkNumber(0);
    const B: SinkNumber = SinkNumber(1);
    const BOTH: SinkMask = SinkMask(3);

    fn filled(first: u64, count: u64) -> Bitmaps {
        let mut maps = Bitmaps::new(first);
        for _ in 0..count {
            maps.append(0, BOTH, BOTH);
        }
        maps
    }

    #[test]
    fn a_settled_record_is_done_for_its_sink_only() {
        let mut maps = filled(1000, 100);
        assert!(maps.settle(A, 1030));
        assert!(!maps.settle(A, 1030), "a second time changes nothing");
        assert!(maps.is_done(A, 1030) && !maps.is_done(B, 1030));
        assert!(maps.is_done(A, 999) && maps.is_done(A, 1100), "outside there is nothing to do");
        assert_eq!(maps.waiting(Since { sink: A, seq: 0 }), 99);
        assert_eq!(maps.waiting(Since { sink: A, seq: 1050 }), 50);
        assert_eq!(maps.open(), 199);
    }

    #[test]
    fn the_next_open_place_skips_what_is_done() {
        let mut maps = filled(60, 2000);
        for seq in 60..1100 {
            maps.settle(A, seq);
        }
        let a = Since { sink: A, seq: 0 };
        assert_eq!(maps.next_open(a, 0), Some(1100));
        assert_eq!(maps.next_open(a, 1500), Some(1500));
        assert_eq!(maps.next_open(Since { sink: A, seq: 1700 }, 0), Some(1700));
        assert_eq!(maps.next_open(Since { sink: B, seq: 0 }, 0), Some(60));
        assert_eq!(maps.next_open(a, 2060), None);
    }

    #[test]
    fn what_is_stored_restores_the_same_state() {
        let mut maps = filled(100, 3000);
        maps.append(0, SinkMask(1), BOTH);
        for seq in (100..2500).step_by(3) {
            maps.settle(B, seq);
        }
        let mut stored = Stored::new();
        maps.store_dirty(|sink, chunk, bits| {
            stored.insert((sink, chunk), *bits);
        });
        let sinks = [Since { sink: A, seq: 0 }, Since { sink: B, seq: 0 }];
        let again = Bitmaps::restore(100, maps.next(), 0, &sinks, &stored);
        assert_eq!(again.open(), maps.open());
        for since in sinks {
            assert_eq!(again.waiting(since), maps.waiting(since));
        }
        assert!(again.is_done(B, 3100), "an unwanted record waits for nobody after a restart");
    }

    #[test]
    fn a_full_chunk_that_all_have_settled_goes() {
        let mut maps = filled(0, 2100);
        for seq in 1024..2048 {
            maps.settle(A, seq);
            maps.settle(B, seq);
        }
        assert_eq!(maps.take_finished(2046), None, "somebody needs the last body");
        assert_eq!(maps.take_finished(2047), Some(1));
        assert_eq!(maps.emptied(1), 0..0, "an earlier one still waits");
        for seq in 0..1024 {
            maps.settle(A, seq);
            maps.settle(B, seq);
        }
        assert_eq!(maps.take_finished(u64::MAX), Some(0));
        assert_eq!(maps.emptied(0), 0..2);
        assert!(maps.is_done(A, 5), "what is gone is done");
        assert!(maps.take_finished(u64::MAX).is_none());
        assert_eq!(maps.open(), 2 * 52);
    }

    #[test]
    fn a_place_given_back_leaves_no_trace() {
        let mut maps = filled(1020, 3);
        let before = format!("{:?}", (maps.open(), maps.next(), maps.waiting(Since { sink: B, seq: 0 })));
        maps.append(0, SinkMask(1), BOTH);
        maps.append(0, SinkMask(1), BOTH);
        maps.retract(SinkMask(1), BOTH);
        maps.retract(SinkMask(1), BOTH);
        assert_eq!(format!("{:?}", (maps.open(), maps.next(), maps.waiting(Since { sink: B, seq: 0 }))), before);
        maps.append(0, BOTH, BOTH);
        assert!(!maps.is_done(B, 1023));
    }

    #[test]
    fn a_span_of_a_word_has_the_bits_between() {
        for (begin, from, to, want) in
            [(0, 0, 64, u64::MAX), (0, 0, 0, 0), (0, 1, 3, 6), (64, 0, 65, 1), (64, 66, 1000, !3), (128, 0, 100, 0)]
        {
            assert_eq!(span(begin, from, to), want, "{begin} {from} {to}");
        }
    }
}
