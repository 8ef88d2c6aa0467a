//! What can be asked of the gateway, and what of it is done on its queue.
//!
//! Requests come by `/api/v1`, see `travel`; those on the queue are done for a stopped service on its files too.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{page_json, stats_json, whole_json};
use super::perform::brief;
use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, Seq, SinkMask, SinkNumber};
use crate::ledger::audit::ReadError;
use crate::queue::{self, Action, Command, CommandError, Desk, Outcome, Pick, Position, Select, State, Stats};
use crate::record::{BODY_BYTES_MAX, Entry, Record, codec};

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// How the gateway is.
    Status {},
    /// Read the configuration again.
    Reload {},
    /// Calls in progress.
    Calls {
        /// The most calls of the answer, up to [`CALLS_MAX`].
        max: usize,
    },
    /// Ends calls.
    CallsEnd {
        /// A Call-ID, or the name of a session.
        call: String,
        /// Whether both ends get a BYE.
        bye: bool,
        /// Why: the reason phrase of the Stop.
        reason: Option<String>,
    },
    /// What handlers of the script have decided lately.
    ScriptTrace {
        /// For this Call-ID; with `*` at its end for all that begin so.
        call: Option<String>,
        /// For calls from or to this user part.
        number: Option<String>,
        /// The most turns of the answer, up to [`TURNS_MAX`].
        max: usize,
    },
    /// The messages of a call, while they are kept.
    Ladder {
        /// Its Call-ID.
        call: String,
    },
    /// Calls whose messages are kept, the newest first.
    Traced {
        /// The most calls of the answer, up to [`TRACED_MAX`].
        max: usize,
    },
    /// Has the ledger write what it was told so far.
    LedgerFlush {},
    /// The state of the queue.
    QueueStatus {},
    /// Some records.
    QueueList {
        /// Which.
        filter: Filter,
        /// Where an earlier answer ended; `None` for the beginning.
        from: Option<String>,
        /// The most records of the answer, up to [`PAGE_MAX`].
        max: usize,
    },
    /// Does something with records.
    QueueAct {
        /// What.
        action: Verb,
        /// With which.
        filter: Filter,
        /// Why; for `park` and `drop`.
        reason: Option<String>,
    },
    /// Puts records back.
    QueueImport {
        /// These; all of one request or none.
        records: Vec<Kept>,
    },
}

/// Which records; what is not named does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Only for the sink of this name.
    pub sink: Option<String>,
    /// Only the record of this place or id.
    pub record: Option<String>,
    /// Only in this state.
    pub state: Option<Standing>,
    /// Only what was there by then.
    pub until: Option<Until>,
    /// Whether a list gives the encoded records too.
    pub whole: bool,
}

/// Where the queue was when records were looked at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// Place of the last record.
    pub seq: u64,
    /// When, in microseconds since 1970.
    pub micros: i64,
}

/// A record that was kept outside of the queue.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Names of the sinks it goes to.
    pub sinks: Vec<String>,
    /// The encoded record in hexadecimal digits.
    pub body: String,
}

impl Kept {
    /// The record.
    ///
    /// # Errors
    /// In words, why it cannot be read.
    pub fn read(&self) -> Result<(Record, Vec<u8>), String> {
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| match *pair {
            [high, low] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let octets: Option<Vec<u8>> = self.body.as_bytes().chunks(2).map(pair).collect();
        let octets = octets.ok_or("its `body` is not made of pairs of hexadecimal digits")?;
        if octets.len() > BODY_BYTES_MAX {
            return Err(format!("its `body` is longer than {BODY_BYTES_MAX} octets"));
        }
        let record = codec::decode(&octets).map_err(|error| format!("its `body` cannot be read: {error}"))?;
        Ok((record, octets))
    }
}

/// In which state a record is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Waits for its delivery.
    Waiting,
    /// Set aside.
    Parked,
}

impl Standing {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Parked => "parked",
        }
    }
}

/// What is done with records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Parked ones wait again, waiting ones are tried at once.
    Retry,
    /// Waiting ones are set aside.
    Park,
    /// They are given up.
    Drop,
}

impl Verb {
    /// Its name in the log.
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Park => "park",
            Self::Drop => "drop",
        }
    }
}

/// A request was not done.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It asks for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// The queue failed.
    #[error("the queue cannot do it")]
    Queue(#[from] CommandError),
    /// The ledger failed.
    #[error("the ledger cannot tell it")]
    Ledger(#[from] ReadError),
    /// It is about the running service, and there is none.
    #[error("the service does not run")]
    NotRunning,
    /// It is about the running service, and that takes nothing more.
    #[error("the service is stopping")]
    Stopping,
}

/// Most records of one answer.
pub const PAGE_MAX: usize = 64;

/// Most calls of one answer.
pub const CALLS_MAX: usize = 10_000;

/// Most calls of one list of those whose messages are kept.
pub const TRACED_MAX: usize = 1_000;

/// Most turns of handlers of one answer.
pub const TURNS_MAX: usize = 10_000;

/// Longest reason of a parked record or an ended call, in octets; longer ones are refused rather than shortened.
pub(super) const REASON_OCTETS_MAX: usize = 255;

/// Who asks.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The name for the log.
    pub by: &'a str,
    /// Whether it is still there: what takes long is not gone on with for nobody.
    pub is_there: &'a dyn Fn() -> bool,
}

/// Does the requests that are about the queue; `None` for the others.
///
/// # Errors
/// When the request names an unknown sink or record, or the queue fails.
pub fn on_queue(request: &Request, desk: &mut dyn Desk, asker: &Asker<'_>) -> Option<Result<Value, RequestError>> {
    match request {
        Request::Status {}
        | Request::Reload {}
        | Request::Calls { .. }
        | Request::CallsEnd { .. }
        | Request::ScriptTrace { .. }
        | Request::Ladder { .. }
        | Request::Traced { .. }
        | Request::LedgerFlush {} => None,
        Request::QueueStatus {} => Some(desk.status().map(|stats| stats_json(&stats)).map_err(RequestError::Queue)),
        Request::QueueList { filter, from, max } => Some(list(desk, filter, from.as_deref(), *max)),
        Request::QueueImport { records } => Some(import(desk, records, asker.by)),
        Request::QueueAct { action, filter, reason } => Some(act(desk, (*action, asker), filter, reason.as_deref())),
    }
}

fn list(desk: &mut dyn Desk, filter: &Filter, from: Option<&str>, max: usize) -> Result<Value, RequestError> {
    let stats = desk.status()?;
    let select = filter.select(&stats)?;
    let from = from.map(position).transpose()?;
    let command = Command::List { select, from, max: max.clamp(1, PAGE_MAX) };
    match queue::ask(desk, command)? {
        Outcome::Page(page) if filter.whole => Ok(whole_json(&page, &stats, page.next.map(cursor))),
        Outcome::Page(page) => Ok(page_json(&page, &stats, page.next.map(cursor))),
        Outcome::Done { .. } => Err(RequestError::Queue(CommandError::NoAnswer)),
    }
}

fn act(
    desk: &mut dyn Desk,
    (verb, asker): (Verb, &Asker<'_>),
    filter: &Filter,
    reason: Option<&str>,
) -> Result<Value, RequestError> {
    let by = asker.by;
    let stats = desk.status()?;
    let select = filter.select(&stats)?;
    let action = match (verb, reason) {
        (Verb::Park, reason) => {
            let reason = reason.unwrap_or("parked by the operator");
            if reason.len() > REASON_OCTETS_MAX {
                return Err(RequestError::Usage(format!("the reason is longer than {REASON_OCTETS_MAX} octets")));
            }
            Action::Park { reason: reason.to_owned() }
        }
        (Verb::Retry, Some(_)) => return Err(RequestError::Usage("a retry has no reason".to_owned())),
        (Verb::Retry, None) => Action::Retry,
        (Verb::Drop, None) => Action::Drop { by: by.into() },
        (Verb::Drop, Some(reason)) => Action::Drop { by: format!("{by}: {reason}").into() },
    };
    match queue::ask_while(asker.is_there, desk, Command::Act { action, select })? {
        Outcome::Done { records, skipped, under_way, named, is_cut } => {
            let mut answer = json!({ "records": records });
            told(verb, records, &named, reason, by);
            if is_cut {
                let text = "whoever asked for that has gone before it was done: the other records are left as they are";
                tracing::warn!(by, action = verb.name(), records, "{text}");
                answer["interrupted"] = true.into();
            }
            if under_way > 0 {
                answer["under_way"] = under_way.into();
            }
            if skipped.records > 0 {
                answer["skipped"] = skipped.records.into();
                answer["reasons"] = skipped.reasons.into();
            }
            Ok(answer)
        }
        Outcome::Page(_) => Err(RequestError::Queue(CommandError::NoAnswer)),
    }
}

fn import(desk: &mut dyn Desk, records: &[Kept], by: &str) -> Result<Value, RequestError> {
    let stats = desk.status()?;
    let mut entries = Vec::new();
    for kept in records {
        let (record, body) = kept.read().map_err(RequestError::Usage)?;
        let mut sinks = SinkMask::NONE;
        for name in &kept.sinks {
            let sink = sink_number(name, &stats)?;
            if !stats.sinks.iter().any(|known| known.sink == sink && known.configured) {
                return Err(RequestError::Usage(format!("sink `{name}` is not configured any more")));
            }
            sinks = sinks.with(sink);
        }
        entries.push(Entry { id: record.id, call: CallHash::of(&record.call_id), sinks, body });
    }
    match queue::ask(desk, Command::Import(entries))? {
        Outcome::Done { records, skipped, named, .. } => {
            let ids: Vec<_> = named.iter().take(IDS_LOGGED_MAX).map(ToString::to_string).collect();
            if records > 0 {
                tracing::warn!(by, records, ids = ids.join(" "), "records were put back by the operator");
            }
            Ok(json!({ "records": records, "skipped": skipped.records }))
        }
        Outcome::Page(_) => Err(RequestError::Queue(CommandError::NoAnswer)),
    }
}

/// Says in the log what was done to records, by whom and why.
fn told(verb: Verb, records: u64, named: &[RecordId], reason: Option<&str>, by: &str) {
    let ids: Vec<_> = named.iter().take(IDS_LOGGED_MAX).map(ToString::to_string).collect();
    let (ids, reason) = (ids.join(" "), reason.unwrap_or("none given"));
    match verb {
        _ if records == 0 => {}
        Verb::Drop => tracing::warn!(by, records, ids, reason, "records were dropped by the operator"),
        Verb::Park => tracing::info!(by, records, ids, reason, "records were parked by the operator"),
        Verb::Retry => tracing::info!(by, records, ids, "records are tried again for the operator"),
    }
}

/// Record ids in one line of the log; the count says how many there are.
const IDS_LOGGED_MAX: usize = 100;

impl Filter {
    fn select(&self, stats: &Stats) -> Result<Select, RequestError> {
        let sink = self.sink.as_deref().map(|name| sink_number(name, stats)).transpose()?;
        let pick = self.record.as_deref().map(pick).transpose()?;
        let state = self.state.map(|state| match state {
            Standing::Waiting => State::Waiting,
            Standing::Parked => State::Parked,
        });
        let until = self.until.map(|until| (Seq(until.seq), Timestamp(until.micros)));
        Ok(Select { sink, pick, state, until })
    }
}

fn sink_number(name: &str, stats: &Stats) -> Result<SinkNumber, RequestError> {
    if let Some(found) = stats.sinks.iter().find(|sink| sink.name == name) {
        return Ok(found.sink);
    }
    let known: Vec<_> = stats.sinks.iter().map(|sink| format!("`{}`", sink.name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(RequestError::Usage(format!("the queue has no sink `{name}`; known are {known}")))
}

/// A record by its place, a number of up to 20 digits, or by its id, which has 26 characters.
fn pick(text: &str) -> Result<Pick, RequestError> {
    let wrong = || RequestError::Usage(format!("`{text}` is neither the place nor the id of a record"));
    if text.len() <= PLACE_DIGITS_MAX && text.bytes().all(|octet| octet.is_ascii_digit()) {
        return text.parse().map(|seq| Pick::Seq(Seq(seq))).map_err(|_| wrong());
    }
    text.parse::<RecordId>().map(Pick::Id).map_err(|_| wrong())
}

/// Digits of the greatest 64-bit number.
const PLACE_DIGITS_MAX: usize = 20;

/// A position as text for the client to give back.
fn cursor(position: Position) -> String {
    match position {
        Position::Waiting(seq) => format!("waiting:{}", seq.0),
        Position::Parked(None) => "parked".to_owned(),
        Position::Parked(Some((sink, id))) => format!("parked:{}:{id}", sink.0),
    }
}

fn position(text: &str) -> Result<Position, RequestError> {
    let mut parts = text.split(':');
    let read = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("waiting"), Some(seq), None, None) => seq.parse().ok().map(|seq| Position::Waiting(Seq(seq))),
        (Some("parked"), None, None, None) => Some(Position::Parked(None)),
        (Some("parked"), Some(sink), Some(id), None) => {
            sink.parse().ok().zip(id.parse().ok()).map(|(sink, id)| Position::Parked(Some((SinkNumber(sink), id))))
        }
        _ => None,
    };
    read.ok_or_else(|| {
        RequestError::Usage(format!("`from` is `{}`; it takes the `next` of an earlier answer", brief(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text_form() {
        for place in
            [Position::Waiting(Seq(7)), Position::Parked(None), Position::Parked(Some((SinkNumber(3), RecordId(99))))]
        {
            assert_eq!(position(&cursor(place)).expect("a position"), place);
        }
        for text in ["", "waiting", "waiting:x", "parked:1", "parked:256:01ARZ3NDEKTSV4RRFFQ69G5FAV", "waiting:1:2"] {
            assert!(position(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_is_picked_by_place_or_id() {
        assert_eq!(pick("12").expect("a place"), Pick::Seq(Seq(12)));
        assert_eq!(pick(&RecordId(5).to_string()).expect("an id"), Pick::Id(RecordId(5)));
        for text in ["", "x", "99999999999999999999", "-1"] {
            assert!(pick(text).is_err(), "{text}");
        }
    }
}
