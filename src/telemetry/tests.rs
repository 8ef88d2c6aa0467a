//! What becomes of records, as spans, and those as a collector gets them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::otlp::request;
use super::spans::{OPEN_MAX, Span, Spans};
use crate::clock::Timestamp;
use crate::ids::{RecordId, SinkMask, SinkNumber};
use crate::queue::witness::{Event, How, Source, Turn};
use crate::queue::{Acknowledger, Worth};
use crate::record::{Cause, End, Kind, Party, Record, codec};

const SECOND: i64 = 1_000_000;
/// When the INVITE came.
const BEGIN: i64 = 1_700_000_000 * SECOND;

fn at(secs: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
    let micros = (secs * 1e6) as i64;
    Timestamp(BEGIN + micros)
}

fn record(kind: Kind, number: u128, secs: f64) -> Record {
    let made = u128::try_from(at(secs).0 / 1_000).unwrap_or(0) << 80;
    let mut record = Record::of_no_call(kind, at(secs), 0);
    record.id = RecordId(made | number);
    record.method = b"INVITE".to_vec();
    record.call_id = b"a@example.net".to_vec();
    record.code = 200;
    record.session = "0102030405060708090a0b0c0d0e0f10".to_owned();
    record.multi_session = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff".to_owned();
    record.times.created = at(0.0);
    record
}

fn committed(record: &Record, seq: u64, sinks: SinkMask) -> Event {
    Event::Committed { seq, id: record.id, sinks, body: Bytes::from(codec::encode(record)), source: Source::New }
}

fn ended(sink: u8, seq: u64, attempts: u32, how: How) -> Event {
    Event::Ended { sink: SinkNumber(sink), seq, id: None, attempts, how }
}

fn spans() -> Spans {
    Spans::new(1, vec![(SinkNumber(0), "billing".into()), (SinkNumber(1), "rows".into())])
}

fn take(spans: &mut Spans, secs: f64, events: Vec<Event>) -> Vec<Span> {
    let mut out = Vec::new();
    spans.take(&Turn { at: at(secs), events, missed: (0, 0), written: None }, &mut out);
    out
}

/// `name from-to`, in seconds, and what went wrong.
fn shown(spans: &[Span]) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "some seconds")]
    let secs = |time: Timestamp| (time.0 - BEGIN) as f64 / 1e6;
    let line = |own: &Span| {
        let error = own.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        format!("{} {}-{}{error}", own.name, secs(own.from), secs(own.to))
    };
    spans.iter().map(line).collect()
}

fn both() -> SinkMask {
    SinkMask::NONE.with(SinkNumber(0)).with(SinkNumber(1))
}

#[test]
fn a_call_is_one_trace_of_what_it_waited_for() {
    let mut spans = spans();
    let start = record(Kind::Start, 1, 2.0);
    let first = take(&mut spans, 2.5, vec![committed(&start, 7, both())]);
    assert_eq!(shown(&first), ["INVITE 0-2", "commit 2-2.5"]);
    let by = Arc::new(Acknowledger { server: "192.0.2.1:1813".to_owned(), worth: Worth::Stored });
    let second = take(&mut spans, 3.0, vec![ended(0, 7, 1, How::Delivered(Some(by)))]);
    assert_eq!(shown(&second), ["deliver billing 2.5-3"]);
    let how = How::Retried { reason: "the table is not there".to_owned() };
    let third = take(&mut spans, 4.0, vec![ended(1, 7, 1, how)]);
    assert_eq!(shown(&third), ["deliver rows 2.5-4 (the table is not there)"]);
    let fourth = take(&mut spans, 6.0, vec![ended(1, 7, 2, How::Delivered(None))]);
    assert_eq!(shown(&fourth), ["deliver rows 4-6"], "a further try begins where the one before has ended");
    assert_eq!(take(&mut spans, 7.0, vec![ended(1, 7, 3, How::Delivered(None))]), [], "all sinks have it");
    let mut stop = record(Kind::Stop, 2, 10.0);
    stop.times.answered = Some(at(2.0));
    stop.times.ended = Some(at(9.0));
    stop.end = Some(End { by: Party::Caller, cause: Cause::Bye });
    let last = take(&mut spans, 10.25, vec![committed(&stop, 8, both())]);
    assert_eq!(shown(&last), ["call 2-9", "commit 10-10.25"]);
    let all: Vec<&Span> = [&first, &second, &third, &fourth, &last].into_iter().flatten().collect();
    let trace = u128::from_str_radix(&start.multi_session, 16).unwrap().to_be_bytes();
    assert!(all.iter().all(|own| own.trace == trace));
    let invite = first[0].id;
    assert_eq!(first[0].parent, None);
    assert_eq!(last[0].parent, Some(invite), "the call belongs to its INVITE, over a restart too");
    assert!([&first[1], &second[0], &third[0], &fourth[0]].iter().all(|own| own.parent == Some(invite)));
    let mut names: Vec<[u8; 8]> = all.iter().map(|own| own.id).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len(), "each span has a name of its own");
}

#[test]
fn other_kinds_have_the_span_of_what_they_state() {
    for (kind, code, reason, want) in [
        (Kind::Failed, 486, "Busy Here", "INVITE 0-2"),
        (Kind::Failed, 503, "Service Unavailable", "INVITE 0-2 (Service Unavailable)"),
        (Kind::Missed, 408, "Request Timeout", "INVITE 1.5-2"),
        (Kind::Interim, 200, "OK", "interim 2-2"),
        (Kind::Cdr, 200, "OK", "call 0-2"),
    ] {
        let mut own = record(kind, 1, 2.0);
        (own.code, own.reason) = (code, reason.as_bytes().to_vec());
        own.times.setup = (kind == Kind::Missed).then_some(Duration::from_millis(500));
        let made = take(&mut spans(), 2.0, vec![committed(&own, 1, both())]);
        assert_eq!(shown(&made), [want, "commit 2-2"], "{kind:?}");
    }
    for kind in [Kind::On, Kind::Off] {
        assert_eq!(take(&mut spans(), 2.0, vec![committed(&record(kind, 1, 2.0), 1, both())]), [], "{kind:?}");
    }
}

#[test]
fn how_a_delivery_has_ended_is_an_attribute() {
    for (how, outcome, error) in [
        (How::Delivered(None), "delivered", None),
        (How::Superseded, "superseded", None),
        (How::Parked { reason: "refused".to_owned(), code: 5 }, "parked", Some("refused")),
        (How::Dropped { by: "root: a test".into(), under_way: false }, "dropped", Some("root: a test")),
    ] {
        let mut spans = spans();
        take(&mut spans, 2.0, vec![committed(&record(Kind::Start, 1, 2.0), 1, both())]);
        let made = take(&mut spans, 3.0, vec![ended(0, 1, 1, how)]);
        let own = &request(&made, "gw1")["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(own["attributes"][1], json!({ "key": "tollgate.outcome", "value": { "stringValue": outcome } }));
        assert_eq!(own["status"]["message"].as_str(), error);
    }
}

#[test]
fn all_records_of_a_call_are_chosen_or_none() {
    let mut spans = Spans::new(4, Vec::new());
    let mut chosen = 0;
    for number in 0..1_000_u32 {
        let mut start = record(Kind::Start, 1, 2.0);
        let mut stop = record(Kind::Stop, 2, 3.0);
        start.call_id = format!("{number}@example.net").into_bytes();
        stop.call_id.clone_from(&start.call_id);
        let first = take(&mut spans, 2.0, vec![committed(&start, 1, both())]).len();
        assert_eq!(first, take(&mut spans, 3.0, vec![committed(&stop, 2, both())]).len(), "{number}");
        chosen += usize::from(first > 0);
    }
    assert!((200..300).contains(&chosen), "{chosen} of 1000");
}

#[test]
fn what_waits_for_long_gives_way() {
    let mut spans = spans();
    let start = record(Kind::Start, 1, 2.0);
    let count = u64::try_from(OPEN_MAX).unwrap() + 1;
    for seq in 0..count {
        take(&mut spans, 2.0, vec![committed(&start, seq, both())]);
    }
    assert_eq!(take(&mut spans, 3.0, vec![ended(0, 0, 1, How::Delivered(None))]), [], "the oldest has gone");
    assert_eq!(take(&mut spans, 3.0, vec![ended(0, 1, 1, How::Delivered(None))]).len(), 1);
}

#[test]
fn what_is_put_back_or_cannot_be_read_has_none() {
    let mut spans = spans();
    let start = record(Kind::Start, 1, 2.0);
    for source in [Source::Back, Source::Again(3)] {
        let body = Bytes::from(codec::encode(&start));
        let event = Event::Committed { seq: 1, id: start.id, sinks: both(), body, source };
        assert_eq!(take(&mut spans, 2.0, vec![event]), []);
    }
    let body = Bytes::from_static(b"rubbish");
    let event = Event::Committed { seq: 1, id: start.id, sinks: both(), body, source: Source::New };
    assert_eq!(take(&mut spans, 2.0, vec![event, ended(0, 1, 1, How::Delivered(None))]), []);
}

#[test]
fn a_request_is_that_of_otlp() {
    let mut spans = spans();
    let made = take(&mut spans, 2.5, vec![committed(&record(Kind::Start, 1, 2.0), 7, both())]);
    let got = request(&made[..1], "gw1");
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        got,
        json!({ "resourceSpans": [{
            "resource": { "attributes": [
                text("service.name", "tollgate"), text("service.version", version), text("service.instance.id", "gw1"),
            ] },
            "scopeSpans": [{
                "scope": { "name": "tollgate", "version": version },
                "spans": [{
                    "traceId": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                    "spanId": "0102030405060708",
                    "name": "INVITE",
                    "kind": 2,
                    "startTimeUnixNano": "1700000000000000000",
                    "endTimeUnixNano": "1700000002000000000",
                    "attributes": [
                        text("sip.call_id", "a@example.net"),
                        text("tollgate.kind", "start"),
                        { "key": "sip.response.code", "value": { "intValue": "200" } },
                    ],
                }],
            }],
        }] })
    );
}
