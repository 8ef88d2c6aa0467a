//! Compares the ledger with what somebody else has: which records are missing there, are there twice or with another
//! duration, and which are there that the ledger does not know.
//!
//! A few octets are kept for each record, whatever its names are: those of what does not agree are read again at the end.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use foldhash::fast::FixedState;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Range;
use super::read::{ReadError, days, read_day};
use super::tally::{Names, Tally};
use crate::ids::RecordId;
use crate::ledger::block::Head;
use crate::ledger::row::{Fate, Made, Row, SESSION_OCTETS, made_at, session_text};
use crate::ledger::running::BlockSink;
use crate::record::Kind;

/// Durations that differ by less are the same: others keep whole seconds.
const SAME_MILLIS: u64 = 1000;

/// By what rows are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// By the record's id.
    Record,
    /// By the name of the session, or the Call-ID: one row for a Start and its Stop.
    Session,
}

/// A row of theirs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Theirs {
    /// What it is called.
    pub key: String,
    /// How long the call has lasted, milliseconds.
    pub duration_ms: Option<u64>,
    /// The number of its leg, if records come apart by legs: a row for each is no double.
    pub leg: Option<String>,
    /// Whether it is of the time that is asked about, where only they know that.
    pub is_of_range: bool,
}

/// A key in 128 bits: a record's id, a session's name of 32 digits, or what stands for another name.
type Name = [u64; 2];

/// No duration.
const UNKNOWN: u64 = u64::MAX;

/// What is known here of one of their keys.
#[derive(Clone, Copy, Debug)]
struct Ours {
    name: Name,
    duration_ms: u64,
    theirs: u64,
    fate: Fate,
    /// Rows there: of a record that comes apart by legs, those of the leg that was met first.
    seen: u8,
    leg: u16,
}

/// Something that does not agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// `missing`, `double`, `different`, `unknown` (there, and not in the ledger), or `early` (there, though the ledger says
    /// that it waits, is parked, was dropped or is lost).
    pub what: &'static str,
    /// The record's id, or the session.
    pub key: String,
    /// Its call; empty when it is not known here.
    pub call_id: String,
    /// More of it, in words.
    pub detail: String,
}

/// The outcome.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Comparison {
    /// Keys here that should be there.
    pub ours: u64,
    /// Rows there, of the time that was asked about.
    pub theirs: u64,
    /// How many do not agree, by what is wrong.
    pub counts: BTreeMap<&'static str, u64>,
    /// Those, or as many as are listed.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// How many do not agree.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|own| json!({ "what": own.what, "key": own.key, "call_id": own.call_id, "detail": own.detail }))
            .collect();
        json!({
            "ours": self.ours, "theirs": self.theirs, "agree": self.count() == 0, "counts": self.counts,
            "total": self.count(), "differences": differences,
        })
    }
}

/// The ledger's side of a comparison, for one sink.
#[derive(Debug)]
pub struct Side {
    folder: PathBuf,
    key: Key,
    /// The most differences to list.
    max: usize,
    range: Range,
    /// In the order of their names.
    ours: Vec<Ours>,
    unknown: Vec<Difference>,
    unknown_count: u64,
    theirs: u64,
}

impl Side {
    /// Reads what a sink should have; `max` is the most differences to list.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(
        folder: &Path,
        range: &Range,
        (tally, sink): (&Tally, &str),
        (key, max): (Key, usize),
    ) -> Result<Self, ReadError> {
        let (folder, range, none) = (folder.to_owned(), range.clone(), Vec::new());
        let mut side = Self { folder, key, max, range, ours: none, unknown: Vec::new(), unknown_count: 0, theirs: 0 };
        let Some(wanted) = tally.sinks().iter().position(|own| own == sink) else { return Ok(side) };
        let (mut all, mut names, mut ours) = (tally.sinks().to_vec(), Names::default(), Vec::new());
        side.each(&mut |head, sinks, made| {
            let numbers = names.of(&mut all, sinks).iter().enumerate();
            let mut own = numbers.filter(|(_, number)| usize::from(**number) == wanted);
            if own.any(|(place, _)| made.sinks & 1 << place != 0)
                && let Some(fate) = tally.state(head.about.era, made.seq, wanted)
            {
                ours.extend(ours_of(made, fate, key));
            }
        })?;
        ours.sort_unstable_by_key(|own| (own.name, own.fate as u8));
        ours.dedup_by(|next, own| own.name == next.name && own.join(next));
        side.ours = ours;
        Ok(side)
    }

    /// Goes through the records of the time.
    fn each(&self, take: &mut dyn FnMut(&Head, &[BlockSink<'_>], &Made<'_>)) -> Result<(), ReadError> {
        for day in days(&self.folder, &self.range)? {
            read_day(&self.folder, day, |_| true, &mut |head, sinks, row| match row {
                Row::Made(made) if self.range.has(made_at(made.id)) => take(head, sinks, made),
                _ => {}
            })?;
        }
        Ok(())
    }

    /// Takes a row of theirs.
    pub fn meet(&mut self, row: &Theirs) {
        // In files the number of the leg may stand behind the id.
        let (key, leg) = match row.key.split_once('.') {
            Some((key, leg)) if self.key == Key::Record => (key, Some(leg)),
            _ => (row.key.as_str(), row.leg.as_deref()),
        };
        let Some(name) = name_of(key, self.key) else { return };
        if let Ok(place) = self.ours.binary_search_by_key(&name, |own| own.name) {
            let own = &mut self.ours[place];
            // Which leg's rows are counted is all the same.
            let leg = leg.and_then(|leg| leg.parse().ok()).unwrap_or(0);
            if own.seen == 0 {
                own.leg = leg;
            }
            self.theirs += 1;
            own.seen = own.seen.saturating_add(u8::from(own.leg == leg));
            own.theirs = row.duration_ms.unwrap_or(own.theirs);
            return;
        }
        let is_ours = match self.key {
            Key::Record => self.range.has(made_at(RecordId(u128::from(name[0]) << 64 | u128::from(name[1])))),
            Key::Session => row.is_of_range,
        };
        if !is_ours {
            return;
        }
        (self.theirs, self.unknown_count) = (self.theirs + 1, self.unknown_count + 1);
        if self.unknown.len() < self.max {
            let (key, detail) = (row.key.clone(), "it is there, and not in the ledger for this sink".to_owned());
            self.unknown.push(Difference { what: "unknown", key, call_id: String::new(), detail });
        }
    }

    /// What has come of it.
    ///
    /// # Errors
    /// The names of what does not agree cannot be read.
    pub fn compare(mut self) -> Result<Comparison, ReadError> {
        let mut outcome = Comparison { theirs: self.theirs, ..Comparison::default() };
        let mut found: Vec<(&'static str, Name, String)> = Vec::new();
        for own in std::mem::take(&mut self.ours) {
            outcome.ours += u64::from(own.is_expected());
            for (what, detail) in [own.presence(), own.duration()].into_iter().flatten() {
                let count = outcome.counts.entry(what).or_default();
                *count += 1;
                // They come in the order of their names: of each kind the first ones are listed.
                if *count <= self.max as u64 {
                    found.push((what, own.name, detail));
                }
            }
        }
        found.sort_by_key(|(what, name, _)| (*what, *name));
        found.truncate(self.max);
        let words = self.words(found.iter().map(|(_, name, _)| *name))?;
        let named = found.into_iter().map(|(what, name, detail)| {
            let (key, call_id) = words.get(&name).cloned().unwrap_or_default();
            Difference { what, key, call_id, detail }
        });
        if self.unknown_count > 0 {
            outcome.counts.insert("unknown", self.unknown_count);
        }
        self.unknown.sort_by(|a, b| a.key.cmp(&b.key));
        outcome.differences = named.chain(std::mem::take(&mut self.unknown)).take(self.max).collect();
        Ok(outcome)
    }

    /// Key and Call-ID of each of these names.
    fn words(
        &self,
        names: impl Iterator<Item = Name>,
    ) -> Result<HashMap<Name, (String, String), FixedState>, ReadError> {
        let mut words: HashMap<Name, (String, String), FixedState> =
            names.map(|name| (name, <(String, String)>::default())).collect();
        if words.is_empty() {
            return Ok(words);
        }
        self.each(&mut |_, _, made| {
            if let Some(own) = made_name(made, self.key).and_then(|name| words.get_mut(&name)) {
                let key = if self.key == Key::Record { made.id.to_string() } else { session_text(made.session) };
                *own = (key, String::from_utf8_lossy(made.call_id).into_owned());
            }
        })?;
        Ok(words)
    }
}

impl Ours {
    const fn is_expected(&self) -> bool {
        matches!(self.fate, Fate::Delivered | Fate::HandedOver | Fate::Settled)
    }

    /// Takes in another record of the same name: a session is there as soon as one of its records is.
    const fn join(&mut self, other: &Self) -> bool {
        if !self.is_expected() && other.is_expected() {
            self.fate = other.fate;
        }
        if self.duration_ms == UNKNOWN {
            self.duration_ms = other.duration_ms;
        }
        true
    }

    /// What is wrong about whether it is there.
    fn presence(&self) -> Option<(&'static str, String)> {
        match (self.is_expected(), self.seen) {
            (true, 0) => Some(("missing", format!("the ledger says {}", self.fate.name()))),
            (_, u8::MAX) => Some(("double", format!("it is there {} times or more", u8::MAX))),
            (_, 2..) => Some(("double", format!("it is there {} times", self.seen))),
            (false, 1) if self.fate != Fate::Superseded => {
                Some(("early", format!("it is there, though the ledger says {}", self.fate.name())))
            }
            _ => None,
        }
    }

    /// What is wrong about how long it has lasted.
    fn duration(&self) -> Option<(&'static str, String)> {
        let (here, there) = (self.duration_ms, self.theirs);
        let is_other = here != UNKNOWN && there != UNKNOWN && here.abs_diff(there) >= SAME_MILLIS;
        is_other.then(|| ("different", format!("{here} ms here, {there} ms there")))
    }
}

/// What is to be there of a record; `None` where it has no row of its own.
fn ours_of(made: &Made<'_>, fate: Fate, key: Key) -> Option<Ours> {
    let name = made_name(made, key)?;
    let mut own = Ours { name, duration_ms: UNKNOWN, theirs: UNKNOWN, fate, seen: 0, leg: 0 };
    // A session's row has its duration when the Stop has come.
    if key == Key::Record || made.kind == Kind::Stop && own.is_expected() {
        own.duration_ms = made.duration_ms.unwrap_or(UNKNOWN);
    }
    Some(own)
}

fn made_name(made: &Made<'_>, key: Key) -> Option<Name> {
    match (key, made.kind) {
        (Key::Record, _) => Some(halves(made.id.0)),
        (Key::Session, Kind::Start | Kind::Interim | Kind::Stop) => Some(session_name(made.session)),
        (Key::Session, _) => None,
    }
}

/// The name that a text of theirs is; `None` if it is no record's id.
fn name_of(text: &str, key: Key) -> Option<Name> {
    match key {
        Key::Record => match text.parse::<RecordId>() {
            Ok(id) => Some(halves(id.0)),
            // As 16 octets, or as a UUID.
            Err(_) => {
                let digits = text.replace('-', "");
                u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2 * SESSION_OCTETS).map(halves)
            }
        },
        Key::Session => {
            let octets = data_encoding::HEXLOWER.decode(text.as_bytes());
            let octets = octets.ok().filter(|octets| octets.len() == SESSION_OCTETS);
            Some(session_name(octets.as_deref().unwrap_or(text.as_bytes())))
        }
    }
}

fn session_name(session: &[u8]) -> Name {
    if let Ok(octets) = <[u8; SESSION_OCTETS]>::try_from(session) {
        return halves(u128::from_be_bytes(octets));
    }
    // Of other names the digest stands for them: two meet by a chance of 2^-128.
    let digest = Sha256::digest(session);
    halves(u128::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

const fn halves(number: u128) -> Name {
    [(number >> 64) as u64, number as u64]
}
