//! Compares the ledger with what somebody else has: which records are missing there, are there twice or with another
//! duration, and which are there that the ledger does not know.

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::FixedState;
use serde_json::{Value, json};

use super::Range;
use super::read::{ReadError, days, read_day};
use super::tally::{Names, Tally};
use crate::ids::RecordId;
use crate::ledger::row::{Fate, Made, Row, made_at, session_text};
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Theirs {
    /// What it is called.
    pub key: String,
    /// How long the call has lasted, milliseconds.
    pub duration_ms: Option<u64>,
}

/// What is known here of one of their keys.
#[derive(Clone, Debug)]
struct Ours {
    call_id: Box<str>,
    duration_ms: Option<u64>,
    fate: Fate,
    seen: u32,
    theirs: Option<u64>,
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
    /// What does not agree.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|own| json!({ "what": own.what, "key": own.key, "call_id": own.call_id, "detail": own.detail }))
            .collect();
        json!({ "ours": self.ours, "theirs": self.theirs, "agree": self.differences.is_empty(), "differences": differences })
    }
}

/// The ledger's side of a comparison, for one sink.
#[derive(Debug)]
pub struct Side {
    key: Key,
    range: Range,
    ours: HashMap<String, Ours, FixedState>,
    differences: Vec<Difference>,
    theirs: u64,
}

impl Side {
    /// Reads what a sink should have.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(folder: &Path, range: &Range, (tally, sink): (&Tally, &str), key: Key) -> Result<Self, ReadError> {
        let mut side = Self { key, range: range.clone(), ours: HashMap::default(), differences: Vec::new(), theirs: 0 };
        let Some(wanted) = tally.sinks().iter().position(|own| own == sink) else { return Ok(side) };
        let mut all = tally.sinks().to_vec();
        for day in days(folder, range)? {
            let mut names = Names::default();
            read_day(folder, day, |_| true, &mut |head, sinks, row| {
                let Row::Made(made) = row else { return };
                let numbers = names.of(&mut all, sinks);
                let is_wanted = numbers
                    .iter()
                    .enumerate()
                    .any(|(place, number)| usize::from(*number) == wanted && made.sinks & 1 << place != 0);
                if is_wanted
                    && range.has(made_at(made.id))
                    && let Some(fate) = tally.state(head.about.era, made.seq, wanted)
                {
                    side.add(made, fate);
                }
            })?;
        }
        Ok(side)
    }

    fn add(&mut self, made: &Made<'_>, fate: Fate) {
        let key = match (self.key, made.kind) {
            (Key::Record, _) => made.id.to_string(),
            (Key::Session, Kind::Start | Kind::Interim | Kind::Stop) => session_text(made.session),
            (Key::Session, _) => return,
        };
        let is_end = made.kind == Kind::Stop || self.key == Key::Record;
        let call_id = String::from_utf8_lossy(made.call_id).into();
        let new = Ours { call_id, duration_ms: None, fate, seen: 0, theirs: None };
        let own = self.ours.entry(key).or_insert(new);
        if is_end {
            (own.duration_ms, own.fate) = (made.duration_ms, fate);
        }
    }

    /// Takes a row of theirs; `is_of_range` where only they know its time.
    pub fn meet(&mut self, row: &Theirs, is_of_range: bool) {
        // Records that come apart by legs have the number of the leg behind their id.
        let (key, leg) = row.key.split_once('.').unwrap_or((&row.key, "0"));
        let key = if self.key == Key::Record { key } else { &row.key };
        if let Some(own) = self.ours.get_mut(key) {
            self.theirs += 1;
            own.seen += u32::from(self.key == Key::Session || leg == "0" || own.seen == 0);
            own.theirs = row.duration_ms.or(own.theirs);
            return;
        }
        let is_ours = match self.key {
            Key::Record => key.parse::<RecordId>().is_ok_and(|id| self.range.has(made_at(id))),
            Key::Session => is_of_range,
        };
        if is_ours {
            self.theirs += 1;
            let (key, detail) = (row.key.clone(), "it is there, and not in the ledger for this sink".to_owned());
            self.differences.push(Difference { what: "unknown", key, call_id: String::new(), detail });
        }
    }

    /// What has come of it.
    #[must_use]
    pub fn compare(self) -> Comparison {
        let (mut differences, mut expected) = (self.differences, 0);
        for (key, own) in self.ours {
            let is_expected = matches!(own.fate, Fate::Delivered | Fate::HandedOver | Fate::Settled);
            expected += u64::from(is_expected);
            let mut add = |what, detail: String| {
                differences.push(Difference { what, key: key.clone(), call_id: own.call_id.to_string(), detail });
            };
            match (is_expected, own.seen) {
                (true, 0) => add("missing", format!("the ledger says {}", own.fate.name())),
                (_, 2..) => add("double", format!("it is there {} times", own.seen)),
                (false, 1) if own.fate != Fate::Superseded => {
                    add("early", format!("it is there, though the ledger says {}", own.fate.name()));
                }
                _ => {}
            }
            if let Some((here, there)) = own.duration_ms.zip(own.theirs)
                && here.abs_diff(there) >= SAME_MILLIS
            {
                add("different", format!("{here} ms here, {there} ms there"));
            }
        }
        differences.sort_by(|a, b| (a.what, &a.key).cmp(&(b.what, &b.key)));
        Comparison { ours: expected, theirs: self.theirs, differences }
    }
}
