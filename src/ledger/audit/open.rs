//! The records that are not where they belong, with their calls.

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::FixedState;
use serde_json::{Value, json};

use super::Range;
use super::read::{ReadError, days, read_day};
use super::tally::{Names, Tally};
use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::ledger::row::session_text;
use crate::ledger::row::{Fate, Row, made_at};

/// A record that is not where it belongs, at one sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenRecord {
    /// Its name.
    pub id: RecordId,
    /// When it was made.
    pub made: Timestamp,
    /// Its kind.
    pub kind: &'static str,
    /// Of which call.
    pub call_id: String,
    /// Name of its session.
    pub session: String,
    /// Who called.
    pub caller: String,
    /// Whom.
    pub callee: String,
    /// At which sink.
    pub sink: String,
    /// What became of it there.
    pub fate: Fate,
    /// Since when, as far as something has become of it.
    pub since: Option<Timestamp>,
    /// Why, or who.
    pub reason: String,
}

impl OpenRecord {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "record": self.id.to_string(), "made": self.made.to_string(), "kind": self.kind, "call_id": self.call_id,
            "session": self.session, "caller": self.caller, "callee": self.callee, "sink": self.sink,
            "state": self.fate.name(), "since": self.since.map(|since| since.to_string()), "reason": self.reason,
        })
    }
}

/// Lists them, `max` at most, and tells how many there are.
///
/// # Errors
/// A file cannot be read.
pub fn open(
    folder: &Path,
    range: &Range,
    (tally, only): (&Tally, Option<&str>),
    max: usize,
) -> Result<(Vec<OpenRecord>, u64), ReadError> {
    let (mut found, mut count) = (Vec::<OpenRecord>::new(), 0);
    let mut places: HashMap<(u64, u64, usize), usize, FixedState> = HashMap::default();
    let mut seen: HashMap<(u128, usize), (), FixedState> = HashMap::default();
    let mut all: Vec<String> = tally.sinks().to_vec();
    for day in days(folder, range)? {
        let mut names = Names::default();
        read_day(folder, day, |_| true, &mut |head, sinks, row| {
            let numbers = names.of(&mut all, sinks);
            match row {
                Row::Made(made) if range.has(made_at(made.id)) => {
                    for (place, number) in numbers.iter().enumerate() {
                        let sink = usize::from(*number);
                        let name = &tally.sinks().get(sink).map_or("", String::as_str);
                        let is_wanted = made.sinks & 1 << place != 0 && only.is_none_or(|only| only == *name);
                        let state = tally.state(head.about.era, made.seq, sink).filter(|_| is_wanted);
                        let Some(fate) = state.filter(|fate| is_open(*fate)) else { continue };
                        if seen.insert((made.id.0, sink), ()).is_some() {
                            continue;
                        }
                        count += 1;
                        if found.len() < max {
                            places.insert((head.about.era, made.seq, sink), found.len());
                            found.push(OpenRecord {
                                id: made.id,
                                made: made_at(made.id),
                                kind: made.kind.name(),
                                call_id: text(made.call_id),
                                session: session_text(made.session),
                                caller: text(made.caller),
                                callee: text(made.callee),
                                sink: (*name).to_owned(),
                                fate,
                                since: None,
                                reason: String::new(),
                            });
                        }
                    }
                }
                Row::Again { seq, was, sinks: bits, .. } => {
                    for (place, number) in numbers.iter().enumerate().filter(|(place, _)| bits & 1 << place != 0) {
                        let _bit = place;
                        let sink = usize::from(*number);
                        if let Some(place) = places.get(&(head.about.era, *was, sink)).copied() {
                            places.insert((head.about.era, *seq, sink), place);
                        }
                    }
                }
                Row::Ended(ended) => {
                    let Some(number) = numbers.get(usize::from(ended.sink)) else { return };
                    let Some(place) = places.get(&(head.about.era, ended.seq, usize::from(*number))) else { return };
                    let own = &mut found[*place];
                    own.since = Some(ended.at);
                    let words = if ended.reason.is_empty() { ended.who } else { ended.reason };
                    own.reason = text(words);
                }
                _ => {}
            }
        })?;
    }
    found.sort_by_key(|own| own.id);
    Ok((found, count))
}

/// Whether somebody has to look after it.
const fn is_open(fate: Fate) -> bool {
    match fate {
        Fate::Waiting | Fate::Parked | Fate::Dropped | Fate::DroppedUnderWay | Fate::Lost | Fate::Retried => true,
        Fate::Delivered | Fate::HandedOver | Fate::Superseded | Fate::Settled => false,
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
