//! Session-Ids, numbers, causes.

use super::super::event::{cause_code, events};
use super::super::{CdrRecord, termination_cause};
use super::*;

fn session_id(record: &Record) -> String {
    value(&lines(&settings(), record), "Session-Id").expect("the first AVP").to_owned()
}

#[test]
fn sessions_share_their_id_and_attempts_have_their_own() {
    let (start, stop, interim) = (record(Kind::Start), record(Kind::Stop), record(Kind::Interim));
    assert_eq!(session_id(&start), session_id(&stop));
    assert_eq!(session_id(&start), session_id(&interim));
    let mut other = record(Kind::Failed);
    other.id = RecordId(other.id.0 + 1);
    let ids = [&start, &record(Kind::Failed), &other, &record(Kind::Missed)].map(session_id);
    assert_ne!(ids[0], ids[1], "a failed branch of an answered call");
    assert_ne!(ids[1], ids[2], "two failed branches");
    assert_eq!(ids[1], ids[3], "the same record id is the same record");
}

#[test]
fn the_call_id_is_escaped_and_cut() {
    for (call_id, want) in [(&b"a;b%c d"[..], "a%3Bb%25c%20d"), (b"\xff\x00\"", "%FF%00\\\""), (b"", "")] {
        let mut record = record(Kind::Start);
        record.call_id = call_id.to_vec();
        let id = session_id(&record);
        assert_eq!(id.trim_matches('"').rsplit_once(';').expect("parts").1, want.trim_end_matches('"'), "{call_id:?}");
    }
    let mut long = record(Kind::Start);
    long.call_id = vec![b';'; 500];
    let (head, tail) = ("gw.example.net;19088743;2309737967;".len(), 126);
    assert_eq!(session_id(&long).trim_matches('"').len(), head + tail, "42 escapes of three");
}

#[test]
fn a_record_without_a_session_name_still_has_an_id() {
    let mut record = record(Kind::Start);
    record.session = "not hexadecimal".to_owned();
    let id = session_id(&record);
    assert_eq!(id.split(';').count(), 4, "{id}");
    record.session = String::new();
    assert_ne!(session_id(&record), id);
    for (session, want) in [
        ("ffffffff00000000", "4294967295;0"),
        ("0123456789ABcdef", "19088743;2309737967"),
        ("0000000a0000000g", "other"),
        ("000000000000000/", "other"),
    ] {
        record.session = session.to_owned();
        let is_it = session_id(&record).contains(&format!(";{want};"));
        assert_eq!(is_it, want != "other", "{session} {}", session_id(&record));
    }
}

#[test]
fn the_number_of_a_record_is_its_place_in_the_session() {
    for (name, kind, place, want) in [
        ("a START is the first", Kind::Start, Some(0), 0),
        ("an INTERIM has its own", Kind::Interim, Some(2), 2),
        ("a STOP is the last", Kind::Stop, Some(3), 3),
        ("an EVENT stands alone", Kind::Event, Some(7), 0),
    ] {
        let record = Record { number: place, ..record(kind) };
        let numbers: Vec<_> = events(&record, CdrRecord::Event).map(|event| event.number).collect();
        assert_eq!(numbers, [want], "{name}");
    }
}

#[test]
fn numbers_of_records_without_a_place_rise_within_a_session_and_stay_in_repeats() {
    let number = |kind: Kind, setup: u64, duration: Option<u64>| {
        let mut record = record(kind);
        record.times.setup = Some(Duration::from_millis(setup));
        record.times.duration = duration.map(Duration::from_millis);
        let numbers: Vec<_> = events(&record, CdrRecord::Event).map(|event| event.number).collect();
        numbers[0]
    };
    assert_eq!(number(Kind::Start, 4000, None), 0);
    assert_eq!(number(Kind::Event, 4000, None), 0);
    for (setup, duration) in [(0, 0), (4000, 0), (4000, 1), (4000, 60_000), (0, 86_400_000)] {
        let (interim, later) =
            (number(Kind::Interim, setup, Some(duration)), number(Kind::Interim, setup, Some(duration + 1)));
        let stop = number(Kind::Stop, setup, Some(duration));
        assert!(0 < interim && interim < stop && stop < later + 2, "{setup} {duration}: {interim} {stop} {later}");
        assert_ne!(interim % 2, stop % 2, "an INTERIM and a STOP of any two instants differ");
    }
    let ages = number(Kind::Interim, u64::MAX / 4, Some(u64::MAX / 4));
    assert!(ages % 2 == 0 && number(Kind::Stop, u64::MAX / 4, Some(u64::MAX / 4)) > ages, "no overflow");
    // Early media before an answer has no duration.
    assert_eq!(number(Kind::Interim, 0, None), 8002);
}

#[test]
fn every_end_has_its_termination_cause() {
    use Cause::{
        Administrator, Bye, Cancelled, Elsewhere, FailedBye, Lifetime, NoAck, Refused, Restart, SessionTimer, Timeout,
        Unreachable,
    };
    use Party::{Callee, Caller, Gateway};
    for (by, cause, code, want) in [
        (Caller, Bye, 200, 1),
        (Callee, FailedBye, 481, 12),
        (Gateway, NoAck, 0, 18),
        (Gateway, Bye, 200, 20),
        (Gateway, SessionTimer, 0, 8),
        (Gateway, Lifetime, 0, 8),
        (Gateway, Administrator, 0, 4),
        (Gateway, Restart, 0, 21),
        (Caller, Cancelled, 487, 1),
        (Caller, Elsewhere, 487, 1),
        (Gateway, Elsewhere, 0, 20),
        (Gateway, Timeout, 408, 25),
        (Callee, Refused, 486, 27),
        (Callee, Refused, 503, 25),
        (Gateway, Unreachable, 503, 5),
    ] {
        assert_eq!(termination_cause(End { by, cause }, code), want, "{by:?} {cause:?} {code}");
    }
}

#[test]
fn every_event_has_its_cause_code() {
    for (name, kind, method, code, expires, cause, want) in [
        ("a START has none", Kind::Start, "INVITE", 200, None, None, None),
        ("nor an INTERIM", Kind::Interim, "INVITE", 200, None, None, None),
        ("ended by BYE", Kind::Stop, "BYE", 200, None, Some(Cause::Bye), Some(0)),
        ("a BYE that was refused", Kind::Stop, "BYE", 481, None, Some(Cause::FailedBye), Some(0)),
        ("a session timer", Kind::Stop, "INVITE", 200, None, Some(Cause::SessionTimer), Some(1)),
        ("never acknowledged", Kind::Stop, "INVITE", 200, None, Some(Cause::Timeout), Some(2)),
        ("a restart", Kind::Stop, "INVITE", 200, None, Some(Cause::Restart), Some(3)),
        ("a whole call", Kind::Cdr, "INVITE", 200, None, Some(Cause::Bye), Some(0)),
        ("busy", Kind::Failed, "INVITE", 486, None, Some(Cause::Refused), Some(486)),
        ("redirected", Kind::Failed, "INVITE", 302, None, Some(Cause::Refused), Some(-302)),
        ("a missed branch", Kind::Missed, "INVITE", 603, None, Some(Cause::Refused), Some(603)),
        ("a CANCEL", Kind::Event, "CANCEL", 200, None, None, Some(487)),
        ("an answered MESSAGE", Kind::Event, "MESSAGE", 200, None, None, Some(-1)),
        ("an accepted MESSAGE", Kind::Event, "MESSAGE", 202, None, None, Some(-202)),
        ("a subscription", Kind::Event, "SUBSCRIBE", 200, Some("3600"), None, Some(-1)),
        ("the end of a subscription", Kind::Event, "SUBSCRIBE", 202, Some("0"), None, Some(-2)),
        ("the end of a registration", Kind::Event, "REGISTER", 200, Some("0"), None, Some(-3)),
        ("no code", Kind::Event, "INVITE", 0, None, None, Some(1)),
    ] {
        let mut record = record(kind);
        (record.method, record.code) = (method.as_bytes().to_vec(), code);
        record.end = cause.map(|cause| End { by: Party::Caller, cause });
        let event = events(&record, CdrRecord::Event).next().expect("one");
        assert_eq!(cause_code(&record, event, expires.map(str::as_bytes)), want, "{name}");
    }
}
