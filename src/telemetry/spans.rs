//! What becomes of records, as spans.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use crate::queue::witness::{Event, How, Source, Turn};
use crate::record::{Kind, Record, codec, glance};

/// Records that wait for their deliveries at most; of older ones the deliveries have no span any more.
pub(super) const OPEN_MAX: usize = 16_384;

/// A span of OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// Why it counts as failed.
    pub(super) error: Option<String>,
}

/// `SpanKind`, by its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Attribute {
    Text(String),
    Number(i64),
}

/// Makes spans of what a queue tells.
#[derive(Debug)]
pub(super) struct Spans {
    /// Of so many calls one has a trace.
    one_in: u64,
    names: Vec<(SinkNumber, Arc<str>)>,
    /// Records that are under way, by their places.
    open: BTreeMap<u64, Open>,
}

/// A record that is under way.
#[derive(Debug)]
struct Open {
    id: RecordId,
    trace: [u8; 16],
    span: [u8; 8],
    left: SinkMask,
    committed: Timestamp,
    /// When the last try of a sink ended.
    tried: Vec<(SinkNumber, Timestamp)>,
}

impl Spans {
    /// For one of so many calls, of sinks with these names.
    pub(super) const fn new(one_in: u64, names: Vec<(SinkNumber, Arc<str>)>) -> Self {
        Self { one_in, names, open: BTreeMap::new() }
    }

    /// The spans that a turn of the queue has ended.
    pub(super) fn take(&mut self, turn: &Turn, out: &mut Vec<Span>) {
        for event in &turn.events {
            match event {
                Event::Committed { seq, sinks, body, source: Source::New, .. } if self.is_chosen(body) => {
                    if let Ok(record) = codec::decode(body) {
                        self.committed(turn.at, *seq, *sinks, &record, out);
                    }
                }
                Event::Ended { sink, seq, attempts, how, .. } => {
                    out.extend(self.ended(turn.at, (*seq, *sink), *attempts, how));
                }
                // What waits again, or was put back by the operator, has had its spans.
                Event::Committed { .. } | Event::Discarded { .. } | Event::Lost { .. } => {}
            }
        }
    }

    /// Whether the call of a record has a trace. All records of a Call-ID are of one mind, at every gateway; the others are not
    /// read whole.
    fn is_chosen(&self, body: &[u8]) -> bool {
        self.one_in <= 1 || glance(body).is_some_and(|own| CallHash::of(own.call_id).0.is_multiple_of(self.one_in))
    }

    fn committed(&mut self, at: Timestamp, seq: u64, sinks: SinkMask, record: &Record, out: &mut Vec<Span>) {
        let trace = trace_of(record);
        let Some(own) = span_of(record, trace) else { return };
        let made = Timestamp(i64::try_from(record.id.0 >> 80).unwrap_or(0).saturating_mul(1_000));
        let begun = record.times.event.max(made).min(at);
        let commit = Span {
            trace,
            id: name_of(record.id, "commit", 0),
            parent: Some(own.id),
            name: "commit".to_owned(),
            role: Role::Internal,
            from: begun,
            to: at,
            attributes: vec![("tollgate.record_id", Attribute::Text(record.id.to_string()))],
            error: None,
        };
        let open = Open { id: record.id, trace, span: own.id, left: sinks, committed: at, tried: Vec::new() };
        self.open.insert(seq, open);
        if self.open.len() > OPEN_MAX {
            self.open.pop_first();
        }
        out.extend([own, commit]);
    }

    fn ended(&mut self, at: Timestamp, (seq, sink): (u64, SinkNumber), attempts: u32, how: &How) -> Option<Span> {
        let open = self.open.get_mut(&seq)?;
        let (outcome, server, error) = match how {
            How::Delivered(by) => ("delivered", by.as_ref().map(|by| by.server.clone()), None),
            How::Parked { reason, .. } => ("parked", None, Some(reason.clone())),
            How::Dropped { by, .. } => ("dropped", None, Some(by.to_string())),
            How::Superseded => ("superseded", None, None),
            How::Retried { reason } => ("retried", None, Some(reason.clone())),
        };
        let tried = open.tried.iter().position(|(own, _)| *own == sink);
        let from = tried.map_or(open.committed, |place| open.tried[place].1);
        match tried {
            Some(place) => open.tried[place].1 = at,
            None => open.tried.push((sink, at)),
        }
        let name = self.names.iter().find(|(number, _)| *number == sink).map_or("", |(_, name)| name);
        let mut attributes = vec![
            ("tollgate.sink", Attribute::Text(name.to_owned())),
            ("tollgate.outcome", Attribute::Text(outcome.to_owned())),
            ("tollgate.attempts", Attribute::Number(attempts.into())),
        ];
        attributes.extend(server.map(|server| ("server.address", Attribute::Text(server))));
        let span = Span {
            trace: open.trace,
            id: name_of(open.id, name, attempts),
            parent: Some(open.span),
            name: format!("deliver {name}"),
            role: Role::Client,
            from: from.min(at),
            to: at,
            attributes,
            error,
        };
        if !matches!(how, How::Retried { .. }) {
            open.left = open.left.without(sink);
            if open.left.is_empty() {
                self.open.remove(&seq);
            }
        }
        Some(span)
    }
}

/// The call that a record belongs to: all sessions of one INVITE have one name, and others that of their Call-ID.
fn trace_of(record: &Record) -> [u8; 16] {
    u128::from_str_radix(&record.multi_session, 16).map_or_else(|_| digest(&[&record.call_id]), u128::to_be_bytes)
}

/// The span of what a record states; `None`: it states nothing of a call.
fn span_of(record: &Record, trace: [u8; 16]) -> Option<Span> {
    let times = &record.times;
    let session = record.session.get(..16).and_then(|half| u64::from_str_radix(half, 16).ok()).map(u64::to_be_bytes);
    let own = name_of(record.id, "record", 0);
    let method = String::from_utf8_lossy(&record.method).into_owned();
    let (name, id, parent, from, to) = match record.kind {
        Kind::Start => (method, session.unwrap_or(own), None, times.created, times.event),
        Kind::Failed | Kind::Event => (method, own, None, times.created, times.event),
        Kind::Missed => (method, own, None, times.event - times.setup.unwrap_or_default(), times.event),
        Kind::Interim => ("interim".to_owned(), own, session, times.event, times.event),
        Kind::Stop => {
            let begun = times.answered.unwrap_or(times.created);
            ("call".to_owned(), own, session, begun, times.ended.unwrap_or(times.event))
        }
        Kind::Cdr => ("call".to_owned(), own, None, times.created, times.ended.unwrap_or(times.event)),
        Kind::On | Kind::Off => return None,
    };
    let mut attributes = vec![
        ("sip.call_id", Attribute::Text(String::from_utf8_lossy(&record.call_id).into_owned())),
        ("tollgate.kind", Attribute::Text(record.kind.name().to_owned())),
    ];
    if record.code > 0 {
        attributes.push(("sip.response.code", Attribute::Number(record.code.into())));
    }
    if let Some(end) = record.end {
        attributes.push(("tollgate.ended_by", Attribute::Text(end.by.name().to_owned())));
        attributes.push(("tollgate.end_cause", Attribute::Text(end.cause.name().to_owned())));
    }
    // As for servers of other protocols: a refusal is no fault of who passes it on.
    let error = (record.code >= 500).then(|| String::from_utf8_lossy(&record.reason).into_owned());
    let (role, from) = (if name == "call" { Role::Internal } else { Role::Server }, from.min(to));
    Some(Span { trace, id, parent, name, role, from, to, attributes, error })
}

/// The name of one span of a record.
fn name_of(record: RecordId, what: &str, number: u32) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = digest(&[&record.to_bytes(), what.as_bytes(), &number.to_be_bytes()]);
    [a, b, c, d, e, f, g, h]
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let mut octets = [0; 16];
    octets.copy_from_slice(&hasher.finalize()[..16]);
    octets
}
