//! Counts what became of the records of a range: a few octets of memory for each record, none for each fate.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use foldhash::fast::FixedState;

use super::Range;
use super::read::{Gap, ReadError, days, read_day};
use crate::clock::Timestamp;
use crate::ids::CallHash;
use crate::ledger::day::Day;
use crate::ledger::row::{Fate, Made, Row, made_at};
use crate::ledger::running::BlockSink;

/// A record of which no sink is known that wants it.
const NOT_WANTED: u8 = 0;

/// Sinks that have room in memory at first; with more of them each record takes eight octets more at a time.
const STRIDE: usize = 8;

/// Places that are looked up by their difference to the first one; others by a table.
const PLACES_MAX: u64 = 1 << 28;

/// What becomes of places: which record has them.
#[derive(Debug, Default)]
struct Places {
    first: Option<u64>,
    near: Vec<u32>,
    far: HashMap<u64, u32, FixedState>,
}

impl Places {
    fn put(&mut self, seq: u64, record: u32) {
        let first = *self.first.get_or_insert(seq);
        match seq.checked_sub(first).filter(|offset| *offset < PLACES_MAX) {
            // A place far ahead of the others would only cost memory.
            Some(offset) if offset < self.near.len() as u64 + FAR => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                if self.near.len() <= offset {
                    self.near.resize(offset + 1, 0);
                }
                self.near[offset] = record + 1;
            }
            _ => {
                self.far.insert(seq, record);
            }
        }
    }

    fn get(&self, seq: u64) -> Option<u32> {
        let near = self.first.and_then(|first| seq.checked_sub(first)).and_then(|offset| usize::try_from(offset).ok());
        let near = near.and_then(|offset| self.near.get(offset)?.checked_sub(1));
        near.or_else(|| self.far.get(&seq).copied())
    }

    /// Records whose places lie between two, both included.
    fn between(&self, from: u64, to: u64) -> Vec<u32> {
        let far = self.far.iter().filter(|(seq, _)| (from..=to).contains(*seq)).map(|(_, record)| *record);
        let first = self.first.unwrap_or(0);
        let near = self.near.iter().zip(first..).filter(|(_, seq)| (from..=to).contains(seq));
        near.filter_map(|(record, _)| record.checked_sub(1)).chain(far).collect()
    }
}

/// Places that one may lie ahead of the others to be looked up like them.
const FAR: u64 = 1 << 16;

/// Calls by the hour of their first record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hour {
    /// When it begins: hours are counted from the beginning of the range, and the last one may be shorter.
    pub from: Timestamp,
    /// Calls whose first record of the range was made in it.
    pub calls: u64,
    /// Of these, calls of which some record is not where it belongs now.
    pub incomplete: u64,
}

/// Hours of the longest day.
const HOURS_MAX: i64 = 25;

const HOUR_MICROS: i64 = 3_600_000_000;

/// Counts of a day's file that are no records.
pub type Counts = BTreeMap<String, u64>;

/// The records of a range.
#[derive(Debug)]
pub struct Tally {
    range: Range,
    sinks: Vec<String>,
    stride: usize,
    /// For each record and sink the fate, by its number and one more.
    states: Vec<u8>,
    places: HashMap<u64, Places, FixedState>,
    /// The number of each call.
    calls: HashMap<u64, u32, FixedState>,
    /// By that number the hour of the range in which its first record was made.
    hours: Vec<u8>,
    /// The call of each record.
    call_of: Vec<u32>,
    /// Records that were put back, by name: which record that is.
    back: HashMap<u128, u32, FixedState>,
    dropped_by: BTreeMap<(String, String), u64>,
    counts: Counts,
    unclean: u64,
    gaps: Vec<Gap>,
    days: Vec<Day>,
    numbers: BTreeMap<(Day, String), u64>,
}

impl Tally {
    /// Reads the ledger of a folder.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(folder: &Path, range: &Range) -> Result<Self, ReadError> {
        let mut tally = Self {
            range: range.clone(),
            sinks: Vec::new(),
            stride: STRIDE,
            states: Vec::new(),
            places: HashMap::default(),
            calls: HashMap::default(),
            hours: Vec::new(),
            call_of: Vec::new(),
            back: HashMap::default(),
            dropped_by: BTreeMap::new(),
            counts: Counts::new(),
            unclean: 0,
            gaps: Vec::new(),
            days: days(folder, range)?,
            numbers: BTreeMap::new(),
        };
        for day in tally.days.clone() {
            let mut names = Names::default();
            let (gaps, running) = read_day(folder, day, |_| true, &mut |head, sinks, row| {
                let numbers = names.of(&mut tally.sinks, sinks);
                tally.take(head.about.era, numbers, row);
            })?;
            tally.gaps.extend(gaps.into_iter().filter(|gap| gap.from < range.to));
            let numbers = tally.sinks.iter().map(|name| ((day, name.clone()), running.of(name)));
            tally.numbers.extend(numbers.filter(|(_, count)| *count > 0));
        }
        tally.bring_together(folder)?;
        Ok(tally)
    }

    fn take(&mut self, era: u64, sinks: &[u8], row: &Row<'_>) {
        self.widen();
        match row {
            Row::Made(made) if self.range.has(made_at(made.id)) => self.made(era, sinks, made),
            Row::Made(_) | Row::Gap { .. } => {}
            Row::Ended(ended) => {
                let Some(record) = self.places.get(&era).and_then(|places| places.get(ended.seq)) else { return };
                let Some(sink) = sinks.get(usize::from(ended.sink)) else { return };
                let place = record as usize * self.stride + usize::from(*sink);
                if ended.fate != Fate::Retried {
                    self.uncount(*sink, self.states[place]);
                    self.states[place] = ended.fate as u8 + 1;
                    if matches!(ended.fate, Fate::Dropped | Fate::DroppedUnderWay) {
                        let who = String::from_utf8_lossy(ended.who).into_owned();
                        *self.dropped_by.entry((self.sinks[usize::from(*sink)].clone(), who)).or_default() += 1;
                    }
                }
            }
            Row::Again { seq, was, sinks: bits, .. } => {
                let Some(places) = self.places.get_mut(&era) else { return };
                let Some(record) = places.get(*was) else { return };
                places.put(*seq, record);
                self.waits(record, sinks, *bits);
            }
            Row::Gone { from, to, .. } => {
                let records = self.places.get(&era).map(|places| places.between(*from, *to)).unwrap_or_default();
                for record in records {
                    let at = record as usize * self.stride;
                    let waiting =
                        self.states[at..at + self.stride].iter_mut().filter(|state| is(**state, Fate::Waiting));
                    waiting.for_each(|state| *state = Fate::Lost as u8 + 1);
                }
            }
            Row::Began { at, is_clean, .. } => self.unclean += u64::from(self.range.has(*at) && !is_clean),
            Row::Counted { at, what, count } if self.range.has(*at) => {
                *self.counts.entry(String::from_utf8_lossy(what).into_owned()).or_default() += count;
            }
            Row::Counted { .. } => {}
        }
    }

    fn made(&mut self, era: u64, sinks: &[u8], made: &Made<'_>) {
        let record = u32::try_from(self.states.len() / self.stride).unwrap_or(u32::MAX);
        self.states.resize(self.states.len() + self.stride, NOT_WANTED);
        self.places.entry(era).or_default().put(made.seq, record);
        self.waits(record, sinks, made.sinks);
        if made.is_back {
            self.back.insert(made.id.0, record);
        }
        let next = u32::try_from(self.hours.len()).unwrap_or(u32::MAX);
        let call = *self.calls.entry(CallHash::of(made.call_id).0).or_insert(next);
        if call == next {
            let hour = made_at(made.id).0.saturating_sub(self.range.from.0) / HOUR_MICROS;
            self.hours.push(u8::try_from(hour).unwrap_or(u8::MAX));
        }
        self.call_of.push(call);
    }

    fn waits(&mut self, record: u32, sinks: &[u8], bits: u64) {
        for sink in each(sinks, bits) {
            self.states[record as usize * self.stride + usize::from(sink)] = Fate::Waiting as u8 + 1;
        }
    }

    /// A drop that was taken back, by an import, is none.
    fn uncount(&mut self, sink: u8, state: u8) {
        if is(state, Fate::Dropped) || is(state, Fate::DroppedUnderWay) {
            let name = self.sinks[usize::from(sink)].clone();
            if let Some((_, count)) = self.dropped_by.iter_mut().find(|((own, _), count)| *own == name && **count > 0) {
                *count -= 1;
            }
        }
    }

    /// Makes room for the sinks that are known.
    fn widen(&mut self) {
        if self.sinks.len() <= self.stride {
            return;
        }
        let wider = self.sinks.len().next_multiple_of(STRIDE);
        let mut states = vec![NOT_WANTED; self.states.len() / self.stride * wider];
        for (old, new) in self.states.chunks(self.stride).zip(states.chunks_mut(wider)) {
            new[..old.len()].copy_from_slice(old);
        }
        (self.states, self.stride) = (states, wider);
    }

    /// Records that were put back are the same as those that they were before: the later word holds.
    fn bring_together(&mut self, folder: &Path) -> Result<(), ReadError> {
        if self.back.is_empty() {
            return Ok(());
        }
        for day in self.days.clone() {
            let mut pairs = Vec::new();
            read_day(folder, day, |_| true, &mut |head, _, row| {
                if let Row::Made(made) = row
                    && let Some(later) = self.back.get(&made.id.0)
                    && let Some(record) = self.places.get(&head.about.era).and_then(|places| places.get(made.seq))
                {
                    pairs.push((record, *later));
                }
            })?;
            for (earlier, later) in pairs.into_iter().filter(|(earlier, later)| earlier != later) {
                for sink in 0..self.stride {
                    let from = later as usize * self.stride + sink;
                    let to = earlier as usize * self.stride + sink;
                    if self.states[from] == NOT_WANTED {
                        self.states[from] = self.states[to];
                    } else {
                        self.uncount_dropped(sink, to);
                    }
                    self.states[to] = NOT_WANTED;
                }
            }
        }
        Ok(())
    }

    fn uncount_dropped(&mut self, sink: usize, place: usize) {
        if let Ok(sink) = u8::try_from(sink)
            && usize::from(sink) < self.sinks.len()
        {
            self.uncount(sink, self.states[place]);
        }
    }

    /// The names of the sinks, by their numbers here.
    #[must_use]
    pub fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// How many records have each fate at a sink, by [`Fate::ALL`].
    #[must_use]
    pub fn fates(&self, sink: usize) -> [u64; Fate::ALL.len()] {
        let mut counts = [0; Fate::ALL.len()];
        for states in self.states.chunks(self.stride) {
            if let Some(place) = usize::from(states[sink]).checked_sub(1) {
                counts[place] += 1;
            }
        }
        counts
    }

    /// How many calls a sink was to get something of.
    #[must_use]
    pub fn calls(&self, sink: usize) -> u64 {
        self.calls_with(|states| states[sink] != NOT_WANTED).into_iter().filter(|has| *has).count() as u64
    }

    /// For each call whether one of its records is in such states.
    fn calls_with(&self, fits: impl Fn(&[u8]) -> bool) -> Vec<bool> {
        let mut calls = vec![false; self.hours.len()];
        for (states, call) in self.states.chunks(self.stride).zip(&self.call_of) {
            if fits(states) {
                calls[*call as usize] = true;
            }
        }
        calls
    }

    /// The hours of a range that is a day, or shorter; of a longer one none.
    #[must_use]
    pub fn hours(&self) -> Vec<Hour> {
        let Range { from, to, .. } = self.range;
        let count = to.0.saturating_sub(from.0).saturating_add(HOUR_MICROS - 1) / HOUR_MICROS;
        if count > HOURS_MAX {
            return Vec::new();
        }
        let begin = |hour: i64| Timestamp(from.0 + hour * HOUR_MICROS);
        let mut hours: Vec<_> = (0..count).map(|hour| Hour { from: begin(hour), ..Hour::default() }).collect();
        let incomplete = self.calls_with(|states| states.iter().any(|state| is_wanting(*state)));
        for (hour, is_incomplete) in self.hours.iter().zip(incomplete) {
            if let Some(hour) = hours.get_mut(usize::from(*hour)) {
                hour.calls += 1;
                hour.incomplete += u64::from(is_incomplete);
            }
        }
        hours
    }

    /// How many calls there are.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.calls.len() as u64
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.states.chunks(self.stride).filter(|states| states.iter().any(|state| *state != NOT_WANTED)).count() as u64
    }

    /// Who dropped how many records of which sink.
    pub fn dropped_by(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let some = self.dropped_by.iter().filter(|(_, count)| **count > 0);
        some.map(|((sink, who), count)| (sink.as_str(), who.as_str(), *count))
    }

    /// What was counted beside records.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How often a process began behind one that had not ended in order.
    #[must_use]
    pub fn unclean(&self) -> u64 {
        self.unclean
    }

    /// What the ledger lacks.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The days whose files were read.
    #[must_use]
    pub fn days(&self) -> &[Day] {
        &self.days
    }

    /// The last running number of each day and sink.
    pub fn numbers(&self) -> impl Iterator<Item = (Day, &str, u64)> {
        self.numbers.iter().map(|((day, sink), number)| (*day, sink.as_str(), *number))
    }

    /// What became of the record of a place at a sink; `None` if it is none of the range, or not wanted there.
    #[must_use]
    pub fn state(&self, era: u64, seq: u64, sink: usize) -> Option<Fate> {
        let record = self.places.get(&era)?.get(seq)?;
        let state = self.states.get(record as usize * self.stride + sink)?;
        Fate::ALL.get(usize::from(*state).checked_sub(1)?).copied()
    }
}

fn is(state: u8, fate: Fate) -> bool {
    state == fate as u8 + 1
}

/// Whether a record is not where it belongs.
fn is_wanting(state: u8) -> bool {
    [Fate::Waiting, Fate::Parked, Fate::Dropped, Fate::DroppedUnderWay, Fate::Lost].iter().any(|own| is(state, *own))
}

/// Numbers here of the sinks that a row names.
fn each(sinks: &[u8], bits: u64) -> impl Iterator<Item = u8> {
    sinks.iter().enumerate().filter(move |(place, _)| bits & 1 << place != 0).map(|(_, sink)| *sink)
}

/// Numbers of a block's sinks, found anew only when it names others than the one before.
#[derive(Debug, Default)]
pub struct Names {
    block: Vec<String>,
    numbers: Vec<u8>,
}

impl Names {
    /// The numbers of the sinks of a block; new ones join `all`.
    pub fn of(&mut self, all: &mut Vec<String>, sinks: &[BlockSink<'_>]) -> &[u8] {
        let is_same =
            self.block.len() == sinks.len() && self.block.iter().zip(sinks).all(|(own, sink)| own == sink.name);
        if !is_same {
            self.block = sinks.iter().map(|sink| sink.name.to_owned()).collect();
            let number = |sink: &BlockSink<'_>| {
                let place = all.iter().position(|own| own == sink.name).unwrap_or_else(|| {
                    all.push(sink.name.to_owned());
                    all.len() - 1
                });
                u8::try_from(place).unwrap_or(u8::MAX)
            };
            self.numbers = sinks.iter().map(number).collect();
        }
        &self.numbers
    }
}
