//! The whole story of one call: its records, and what happened to each at each sink.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use super::Range;
use super::read::{ReadError, days, read_day};
use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::ledger::day::Day;
use crate::ledger::row::session_text;
use crate::ledger::row::{Fate, Made, Row, made_at};
use crate::ledger::running::BlockSink;

/// A record of the call, and what happened to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Its name.
    pub id: RecordId,
    /// Its places in the queue, the newest last.
    pub seqs: Vec<u64>,
    /// When what it states happened.
    pub event: Timestamp,
    /// Its kind.
    pub kind: &'static str,
    /// Status code, 0 for none.
    pub code: u16,
    /// Who ended it, and why.
    pub end: Option<(&'static str, &'static str)>,
    /// How long the call has lasted, milliseconds.
    pub duration_ms: Option<u64>,
    /// How many legs it names.
    pub legs: u64,
    /// Name of its session.
    pub session: String,
    /// Who called.
    pub caller: String,
    /// Whom.
    pub callee: String,
    /// The sinks that want it.
    pub sinks: Vec<String>,
    /// What happened, in order.
    pub happened: Vec<Happened>,
    era: u64,
}

/// Something that happened to a record at a sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// At which sink.
    pub sink: String,
    /// What.
    pub fate: Fate,
    /// At which try.
    pub attempts: u32,
    /// Who acknowledged or dropped it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// Result code of the backend, 0 for none.
    pub code: u32,
}

impl Told {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let happened: Vec<Value> = self
            .happened
            .iter()
            .map(|own| {
                json!({
                    "at": own.at.to_string(), "sink": own.sink, "what": own.fate.name(), "attempt": own.attempts,
                    "who": own.who, "reason": own.reason, "code": own.code,
                })
            })
            .collect();
        json!({
            "record": self.id.to_string(), "places": self.seqs, "event": self.event.to_string(), "kind": self.kind,
            "code": self.code, "ended_by": self.end.map(|(by, _)| by), "cause": self.end.map(|(_, cause)| cause),
            "duration_s": self.duration_ms.map(seconds), "legs": self.legs, "session": self.session,
            "caller": self.caller, "callee": self.callee, "sinks": self.sinks, "happened": happened,
        })
    }
}

/// Milliseconds as seconds.
#[must_use]
pub fn seconds(millis: u64) -> f64 {
    // A call of a hundred years has 42 bits of milliseconds.
    millis as f64 / 1000.0
}

/// The records of a call, in the order in which they were made.
///
/// # Errors
/// A file cannot be read.
pub fn story(folder: &Path, range: &Range, call_id: &str) -> Result<Vec<Told>, ReadError> {
    let mut told: Vec<Told> = Vec::new();
    for day in days(folder, range)? {
        told.extend(of_day(folder, day, range, call_id.as_bytes())?);
    }
    told.sort_by_key(|own| (own.event, own.id));
    Ok(told)
}

fn of_day(folder: &Path, day: Day, range: &Range, call_id: &[u8]) -> Result<Vec<Told>, ReadError> {
    let mut told: Vec<Told> = Vec::new();
    let finder = memchr::memmem::Finder::new(call_id);
    read_day(folder, day, |rows| finder.find(rows).is_some(), &mut |head, sinks, row| {
        if let Row::Made(made) = row
            && made.call_id == call_id
            && range.has(made_at(made.id))
        {
            match told.iter_mut().find(|own| own.id == made.id) {
                Some(own) => own.seqs.push(made.seq),
                None => told.push(new(head.about.era, sinks, made)),
            }
        }
    })?;
    if told.is_empty() {
        return Ok(told);
    }
    let mut wanted: HashSet<u64> = told.iter().flat_map(|own| own.seqs.iter().copied()).collect();
    read_day(folder, day, |_| true, &mut |head, sinks, row| {
        let (seq, happened) = match row {
            Row::Ended(ended) if wanted.contains(&ended.seq) => {
                let sink = sinks.get(usize::from(ended.sink)).map_or("", |sink| sink.name).to_owned();
                let (who, reason) = (text(ended.who), text(ended.reason));
                let (at, fate, attempts, code) = (ended.at, ended.fate, ended.attempts, ended.code);
                (ended.seq, vec![Happened { at, sink, fate, attempts, who, reason, code }])
            }
            Row::Again { seq, was, sinks: bits, at } if wanted.contains(was) => {
                wanted.insert(*seq);
                let is_of = |own: &&mut Told| own.era == head.about.era && own.seqs.contains(was);
                told.iter_mut().find(is_of).into_iter().for_each(|own| own.seqs.push(*seq));
                let named = sinks.iter().enumerate().filter(|(place, _)| bits & 1 << place != 0);
                (*seq, named.map(|(_, sink)| none(*at, sink.name, Fate::Waiting)).collect())
            }
            Row::Gone { from, to, at } => {
                for own in told.iter_mut().filter(|own| own.era == head.about.era) {
                    if own.seqs.last().is_some_and(|seq| (*from..=*to).contains(seq)) {
                        own.happened.push(none(*at, "", Fate::Lost));
                    }
                }
                return;
            }
            _ => return,
        };
        let is_of = |own: &&mut Told| own.era == head.about.era && own.seqs.contains(&seq);
        told.iter_mut().find(is_of).into_iter().for_each(|own| own.happened.extend(happened.iter().cloned()));
    })?;
    Ok(told)
}

fn new(era: u64, sinks: &[BlockSink<'_>], made: &Made<'_>) -> Told {
    let named = sinks.iter().enumerate().filter(|(place, _)| made.sinks & 1 << place != 0);
    Told {
        id: made.id,
        seqs: vec![made.seq],
        event: made.event,
        kind: made.kind.name(),
        code: made.code,
        end: made.end.map(|end| (end.by.name(), end.cause.name())),
        duration_ms: made.duration_ms,
        legs: made.legs,
        session: session_text(made.session),
        caller: text(made.caller),
        callee: text(made.callee),
        sinks: named.map(|(_, sink)| sink.name.to_owned()).collect(),
        happened: Vec::new(),
        era,
    }
}

fn none(at: Timestamp, sink: &str, fate: Fate) -> Happened {
    let (who, reason) = (String::new(), String::new());
    Happened { at, sink: sink.to_owned(), fate, attempts: 0, who, reason, code: 0 }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
