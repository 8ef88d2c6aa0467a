//! Records by hand, and marks that come late.

use super::bench::{Bench, hold, templates};
use super::settings;
use crate::accounting::Settings;
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::Manual;
use crate::record::Value;
use crate::record::codec::VALUE_BYTES_MAX;
use crate::sip::stack::ServerId;

#[test]
fn a_record_by_hand_states_what_the_request_is_by_then() {
    let settings = Settings { detect_direction: true, ..settings() };
    hold(
        &settings,
        &[
            ("of a request that nothing is marked of", "", "INVITE; by hand 403 0; =403; gone", "event INVITE 403 a/"),
            (
                "beside what is marked",
                "a0 f0",
                "INVITE; by hand 403 0; =403",
                "event INVITE 403 a/; failed INVITE 403 a/ gateway forbidden",
            ),
            (
                "for each sink that is named, whatever its mode",
                "a1",
                "INVITE; by hand 0 0 1 2",
                "event INVITE 0 a/ [0, 1, 2]",
            ),
            ("for none", "a0", "INVITE; by hand 403", ""),
            (
                "as often as it is asked for",
                "",
                "MESSAGE; by hand 100 0; by hand 200 0",
                "event MESSAGE 100 a/; event MESSAGE 200 a/",
            ),
            (
                "inside a call, of whoever sent the request",
                "a0",
                "INVITE; 200 b; INFO callee; by hand 200 0",
                "start INVITE 200 a/b; event INFO 200 a/b 0s",
            ),
            (
                "inside a call that another sink is told of",
                "a1|",
                "INVITE; 200 b; +5; INFO caller; by hand 200 0",
                "start INVITE 200 a/b [1]; event INFO 200 a/b 5s",
            ),
            ("of a call that nobody keeps", "", "INVITE; 200 b; INFO callee; by hand 200 0", "event INFO 200 a/b"),
            (
                "after a target has failed",
                "m0",
                "forward; INVITE; round B 486; by hand 480 0",
                "missed INVITE 486 a/B callee busy; event INVITE 480 a/",
            ),
        ],
    );
}

#[test]
fn a_record_by_hand_has_its_own_fields_above_those_of_its_request() {
    let fields = templates(&[("ua", "$ua"), ("why", "$rm")]);
    let mut bench = Bench::new(Settings { fields, ..settings() }, "");
    bench.play("INVITE");
    let manual = Manual {
        sinks: SinkMask::NONE.with(SinkNumber(0)),
        code: 403,
        reason: b"Destination not allowed".to_vec(),
        fields: vec![("why".into(), Value::Text(b"barred".to_vec())), ("rate".into(), Value::Number(7))],
        table: Some("refused".into()),
    };
    bench.by_hand(ServerId(1), manual.clone());
    assert_eq!(bench.records(), "event INVITE 403 a/ why=barred rate=7 ua=new");
    let record = &bench.made[0].record;
    assert_eq!((&record.reason[..], record.table.as_deref()), (&b"Destination not allowed"[..], Some("refused")));
    assert!(!record.shortened);

    let long = Value::Text(vec![b'x'; VALUE_BYTES_MAX + 1]);
    bench.by_hand(ServerId(1), Manual { fields: vec![("why".into(), long)], ..manual });
    let record = &bench.made[1].record;
    assert_eq!(record.fields[0].1.text().map(|text| text.len()), Some(VALUE_BYTES_MAX));
    assert!(record.shortened, "an over-long value is cut and marked");
}

#[test]
fn marks_may_come_late() {
    hold(
        &settings(),
        &[
            (
                "before the answer",
                "",
                "INVITE; marked a0; 200 b; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 0s",
            ),
            (
                "after a target has failed",
                "",
                "INVITE; round B 486; marked a0 f0; =486",
                "failed INVITE 486 a/ gateway busy",
            ),
            ("and take others back", "a0 m0 f0", "INVITE; round B 486; marked; =486", ""),
            (
                "or go to another sink",
                "a0 m0",
                "forward; INVITE; round B 486; marked a1 m1; round C 486; 200 d",
                "missed INVITE 486 a/B callee busy; missed INVITE 486 a/C callee busy [1]; start INVITE 200 a/d [1]",
            ),
            (
                "but what belongs to a call is recorded as the call",
                "a0",
                "INVITE; 200 b; BYE caller; marked a1; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 0s",
            ),
        ],
    );
}
