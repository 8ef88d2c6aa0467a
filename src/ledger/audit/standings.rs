//! What became of each record of a time, one by one: for an audit of many processes, which holds what they say against each
//! other.

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::FixedState;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Range;
use super::read::{Gap, ReadError, days, read_day};
use super::tally::Names;
use crate::ids::RecordId;
use crate::ledger::LOST_PREFIX;
use crate::ledger::row::{Fate, Made, Row, made_at, session_text};
use crate::record::Kind;

/// Records of one answer at most: of a time with more it says how many there are, and a part of it has to be asked for.
pub const STANDINGS_MAX: usize = 100_000;

/// Octets of their Call-IDs at most, as JSON has them: an answer holds 64 MiB, and what else there is of so many records
/// takes 20 of them.
pub const CALL_IDS_OCTETS_MAX: usize = 40 << 20;

/// What became of a record at a sink, by one letter; the better one first. Where a record came into a ledger several times, as
/// at deliverers that had it after each other, the best word holds.
pub const LETTERS: [(char, &str); 10] = [
    ('d', "delivered"),
    ('h', "handed over"),
    ('s', "settled"),
    ('x', "superseded"),
    ('p', "parked"),
    ('w', "waiting"),
    ('o', "withdrawn: another process has it"),
    ('u', "dropped, and may have been stored"),
    ('r', "dropped"),
    ('l', "lost"),
];

/// The sink does not want it.
const NOT_WANTED: u8 = u8::MAX;

/// Place in [`LETTERS`]. What is withdrawn is told by the queue as what a later record of its session has made needless, which
/// only interim records are.
fn rank(fate: Fate, kind: Kind) -> Option<u8> {
    let letter = match fate {
        Fate::Delivered => 'd',
        Fate::HandedOver => 'h',
        Fate::Settled => 's',
        Fate::Superseded if kind == Kind::Interim => 'x',
        Fate::Superseded => 'o',
        Fate::Parked => 'p',
        Fate::Waiting => 'w',
        Fate::DroppedUnderWay => 'u',
        Fate::Dropped => 'r',
        Fate::Lost => 'l',
        Fate::Retried => return None,
    };
    LETTERS.iter().position(|(own, _)| *own == letter).and_then(|place| u8::try_from(place).ok())
}

/// A record.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Standing {
    id: RecordId,
    kind: Kind,
    call_id: Vec<u8>,
    /// What ends a session is one thing, whoever has made the record: two gateways that both did have two of them, of which the
    /// stream keeps one.
    end: Option<u128>,
    /// By sink the place in [`LETTERS`].
    states: Vec<u8>,
}

/// The records of a time.
#[derive(Debug, Default)]
pub struct Standings {
    sinks: Vec<String>,
    records: Vec<Standing>,
    /// Rows of records, whether they are kept here or not.
    total: u64,
    max: usize,
    /// Octets of the Call-IDs, as JSON has them.
    octets: usize,
    by_id: HashMap<u128, u32, FixedState>,
    /// By era and place: which record that is, and what the last word on it is there.
    places: HashMap<(u64, u64), u32, FixedState>,
    stays: Vec<(u32, Vec<u8>)>,
    uncommitted: HashMap<String, u64>,
    gaps: Vec<Gap>,
    is_known: bool,
}

impl Standings {
    /// Reads the ledger of a folder, `max` records at most.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(folder: &Path, range: &Range, max: usize) -> Result<Self, ReadError> {
        let mut own = Self { max, ..Self::default() };
        for day in days(folder, range)? {
            own.is_known = true;
            let mut names = Names::default();
            let (gaps, _) = read_day(folder, day, |_| true, &mut |head, sinks, row| {
                let numbers = names.of(&mut own.sinks, sinks).to_vec();
                own.take(range, (head.about.era, &numbers), row);
            })?;
            own.gaps.extend(gaps.into_iter().filter(|gap| gap.from < range.to));
        }
        for (record, states) in std::mem::take(&mut own.stays) {
            let all = &mut own.records[record as usize].states;
            all.resize(all.len().max(states.len()), NOT_WANTED);
            all.iter_mut().zip(states).for_each(|(best, state)| *best = (*best).min(state));
        }
        Ok(own)
    }

    fn take(&mut self, range: &Range, (era, numbers): (u64, &[u8]), row: &Row<'_>) {
        match row {
            Row::Made(made) if range.has(made_at(made.id)) => self.made((era, numbers), made),
            Row::Ended(ended) => {
                let Some(stay) = self.places.get(&(era, ended.seq)) else { return };
                let Some(sink) = numbers.get(usize::from(ended.sink)) else { return };
                let (record, states) = &mut self.stays[*stay as usize];
                let kind = self.records[*record as usize].kind;
                if let Some((rank, state)) = rank(ended.fate, kind).zip(states.get_mut(usize::from(*sink))) {
                    *state = rank;
                }
            }
            Row::Again { seq, was, sinks, .. } => {
                let Some(stay) = self.places.get(&(era, *was)).copied() else { return };
                self.places.insert((era, *seq), stay);
                self.waits(stay, numbers, *sinks);
            }
            Row::Gone { from, to, .. } => {
                let lost = rank(Fate::Lost, Kind::Start).unwrap_or(NOT_WANTED);
                let waiting = rank(Fate::Waiting, Kind::Start).unwrap_or(NOT_WANTED);
                let gone = self.places.iter().filter(|((own, seq), _)| *own == era && (from..=to).contains(&seq));
                for stay in gone.map(|(_, stay)| *stay).collect::<Vec<_>>() {
                    let states = self.stays[stay as usize].1.iter_mut().filter(|state| **state == waiting);
                    states.for_each(|state| *state = lost);
                }
            }
            Row::Counted { at, what, count } if range.has(*at) => {
                let what = String::from_utf8_lossy(what);
                if let Some(why) = what.strip_prefix(LOST_PREFIX) {
                    *self.uncommitted.entry(why.to_owned()).or_default() += count;
                }
            }
            Row::Made(_) | Row::Gap { .. } | Row::Began { .. } | Row::Counted { .. } => {}
        }
    }

    fn made(&mut self, (era, numbers): (u64, &[u8]), made: &Made<'_>) {
        self.total += 1;
        self.octets += made.call_id.iter().map(|octet| octets_in_json(*octet)).sum::<usize>();
        if self.is_too_much() {
            (self.records, self.stays) = (Vec::new(), Vec::new());
            (self.by_id, self.places) = (HashMap::default(), HashMap::default());
            return;
        }
        let next = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let record = *self.by_id.entry(made.id.0).or_insert(next);
        if record == next {
            let (id, kind, call_id) = (made.id, made.kind, made.call_id.to_vec());
            self.records.push(Standing { id, kind, call_id, end: end(made), states: Vec::new() });
        }
        let stay = u32::try_from(self.stays.len()).unwrap_or(u32::MAX);
        self.stays.push((record, Vec::new()));
        self.places.insert((era, made.seq), stay);
        self.waits(stay, numbers, made.sinks);
    }

    /// Whether there are more than were asked for, or longer ones than an answer holds: then there are none here.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.total > self.max as u64 || self.octets > CALL_IDS_OCTETS_MAX
    }

    fn waits(&mut self, stay: u32, numbers: &[u8], bits: u64) {
        let waiting = rank(Fate::Waiting, Kind::Start).unwrap_or(NOT_WANTED);
        let states = &mut self.stays[stay as usize].1;
        states.resize(states.len().max(self.sinks.len()), NOT_WANTED);
        for (_, sink) in numbers.iter().enumerate().filter(|(place, _)| bits & 1 << place != 0) {
            states[usize::from(*sink)] = waiting;
        }
    }

    /// As JSON. Each record is a list: its id; the name of what ends its session, for those that do; its kind; its Call-ID; a
    /// letter for each sink.
    #[must_use]
    pub fn json(&self, range: &Range, unwritten: Option<String>) -> Value {
        let letter = |state: &u8| LETTERS.get(usize::from(*state)).map_or('-', |(letter, _)| *letter);
        let record = |own: &Standing| {
            let states: String = own.states.iter().map(letter).collect();
            let end = own.end.map(|end| format!("{end:032x}"));
            json!([own.id.to_string(), end, own.kind.name(), String::from_utf8_lossy(&own.call_id), states])
        };
        let uncommitted = self.uncommitted.iter().map(|(why, count)| json!({ "reason": why, "records": count }));
        json!({
            "from": range.from.to_string(), "to": range.to.to_string(), "total": self.total,
            "too_many": self.is_too_much(), "sinks": self.sinks, "records": self.records.iter().map(record).collect::<Vec<_>>(),
            "never_committed": uncommitted.collect::<Vec<_>>(), "gaps": self.gaps.iter().map(Gap::text).collect::<Vec<_>>(),
            "known": self.is_known, "unwritten": unwritten,
        })
    }
}

/// What an octet takes in a text of JSON at most: what is no UTF-8 becomes a mark of three octets.
const fn octets_in_json(octet: u8) -> usize {
    match octet {
        b'"' | b'\\' => 2,
        b' '..=b'~' => 1,
        0x80.. => 3,
        _ => "\\u0001".len(),
    }
}

/// Names what ends a session, whoever has made the record: see `cluster::names::message_id`.
fn end(made: &Made<'_>) -> Option<u128> {
    if !matches!(made.kind, Kind::Stop | Kind::Cdr) || made.session.is_empty() {
        return None;
    }
    let digest =
        Sha256::new().chain_update(made.kind.name()).chain_update(" ").chain_update(session_text(made.session));
    let digest = digest.finalize();
    Some(u128::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{SinkMask, SinkNumber};
    use crate::ledger::Day;
    use crate::ledger::keeper::Keeper;
    use crate::ledger::keeper::tests::{BEFORE_MIDNIGHT, committed, ended, id, open, turn};
    use crate::queue::witness::{Event, How, Source};
    use crate::queue::{Acknowledger, Worth};
    use crate::record::Record;
    use crate::record::codec::{self, CALL_ID_BYTES_MAX};

    fn at(secs: i64) -> Timestamp {
        Timestamp(BEFORE_MIDNIGHT.0 + secs * 1_000_000)
    }

    fn day() -> Range {
        let day = Day::of(BEFORE_MIDNIGHT);
        Range { from: day.begin(), to: day.end(), title: day.to_string() }
    }

    fn delivered() -> How {
        How::Delivered(Some(Arc::new(Acknowledger { server: "s:1".into(), worth: Worth::Stored })))
    }

    /// What each call's record has become at both sinks.
    fn words(folder: &Path, range: &Range) -> Vec<String> {
        let told = Standings::read(folder, range, 100).unwrap().json(range, None);
        let mut words: Vec<_> =
            told["records"].as_array().unwrap().iter().map(|own| format!("{} {}", own[3], own[4])).collect();
        words.sort();
        words.iter().map(|own| own.replace('"', "")).collect()
    }

    fn begin(keeper: &mut Keeper, era: u64) {
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        keeper.begin(era, names.iter().zip([SinkNumber(0), SinkNumber(1)]));
    }

    #[test]
    fn of_a_record_that_came_several_times_the_best_word_holds() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = open(folder.path());
        let of = |seq, how| ended(at(0), seq, 0, how);
        keeper.take(&turn(at(0), (1..=6).map(|seq| committed(at(0), seq, Source::New)).collect()));
        let by: Arc<str> = "ops".into();
        let events = vec![
            of(1, delivered()),
            of(2, How::Superseded),
            of(3, How::Superseded),
            of(4, How::Dropped { by, under_way: false }),
            of(5, How::Parked { reason: "odd".into(), code: 0 }),
            Event::Lost { from: 6, to: 6 },
        ];
        keeper.take(&turn(at(1), events));
        // The same process with another queue, as a deliverer has after each start: it gets some of them again.
        begin(&mut keeper, 8);
        keeper.take(&turn(at(2), (1..=2).map(|seq| committed(at(0), seq, Source::New)).collect()));
        keeper.take(&turn(at(3), vec![of(2, delivered())]));
        assert!(keeper.write(at(9)));
        let want = ["call-1@x dw", "call-2@x dw", "call-3@x ow", "call-4@x rw", "call-5@x pw", "call-6@x ll"];
        assert_eq!(words(folder.path(), &day()), want);
        let none = Range { from: at(5), ..day() };
        assert_eq!(words(folder.path(), &none), [""; 0]);
    }

    #[test]
    fn of_more_than_were_asked_for_there_is_the_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = open(folder.path());
        keeper.take(&turn(at(0), (1..=6).map(|seq| committed(at(0), seq, Source::New)).collect()));
        keeper.take(&turn(at(0), vec![ended(at(0), 1, 0, delivered())]));
        assert!(keeper.write(at(9)));
        let told = Standings::read(folder.path(), &day(), 5).unwrap().json(&day(), None);
        assert_eq!((&told["too_many"], &told["total"], &told["records"]), (&json!(true), &json!(6), &json!([])));
        assert_eq!(Standings::read(folder.path(), &day(), 6).unwrap().json(&day(), None)["too_many"], false);
    }

    #[test]
    fn records_that_no_answer_holds_are_too_many_however_few_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = open(folder.path());
        // Each of these octets is six in JSON.
        let record = |seq: u64| {
            let (id, call_id) = (id(at(0), seq), vec![1; CALL_ID_BYTES_MAX]);
            let record = Record { id, call_id, ..Record::of_no_call(Kind::Start, at(0), u128::from(seq)) };
            let (sinks, body) = (SinkMask(3), codec::encode(&record).into());
            Event::Committed { seq, id, sinks, body, source: Source::New }
        };
        let fits = (CALL_IDS_OCTETS_MAX / 6 / CALL_ID_BYTES_MAX) as u64;
        for (count, is_too_many) in [(fits, false), (fits + 1, true)] {
            let first = if is_too_many { fits + 1 } else { 1 };
            keeper.take(&turn(at(1), (first..=count).map(record).collect()));
            assert!(keeper.write(at(9)));
            let told = Standings::read(folder.path(), &day(), STANDINGS_MAX).unwrap().json(&day(), None);
            let told_of = told["records"].as_array().map_or(0, Vec::len) as u64;
            assert_eq!((&told["too_many"], &told["total"]), (&json!(is_too_many), &json!(count)));
            assert_eq!(told_of, if is_too_many { 0 } else { count });
            assert!(told.to_string().len() < 64 << 20, "{count}");
        }
    }
}
