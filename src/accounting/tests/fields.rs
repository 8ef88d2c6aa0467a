//! Fields of records: where they come from, direction, lengths.

use super::bench::{Bench, hold, templates};
use super::settings;
use crate::accounting::{FieldSource, FieldSources, Settings};
use crate::policy::{Avp, RouteFields};
use crate::record::codec::VALUE_BYTES_MAX;
use crate::vars::Template;

#[test]
fn fields_are_taken_from_the_request_and_its_answer() {
    let fields = templates(&[("ua", "$ua"), ("ct", "$ct/reply"), ("ru", "$ru")]);
    hold(
        &Settings { fields, ..settings() },
        &[
            (
                "of an answered call",
                "a0",
                "INVITE; 200 b",
                "start INVITE 200 a/b ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner",
            ),
            (
                "of a failed round: its branch",
                "m0",
                "forward; INVITE; round B 486",
                "missed INVITE 486 a/B callee busy ua=new ct=<sip:bo@192.0.2.2> ru=B",
            ),
            (
                "a local answer has no Contact",
                "m0",
                "forward; INVITE; round B =408",
                "missed INVITE 408 a/ gateway timeout ua=new ct=- ru=B",
            ),
            (
                "the BYE's own values, and the call's where it has none",
                "a0",
                "INVITE; 200 b; ACK; BYE callee; round X =408; =408; asks caller silent",
                "start INVITE 200 a/b ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner; \
             stop BYE 408 a/b callee failed-bye 0s ua=callee ct=<sip:bo@192.0.2.2> ru=sip:winner",
            ),
            (
                "the call's values when no message ends it, and in the one record at the end",
                "a0 a2",
                "INVITE; 200 b; close",
                "start INVITE 200 a/b ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner; \
             stop BYE 0 a/b gateway administrator 0s ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner; \
             cdr INVITE 200 a/b gateway administrator 0s ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner [2]",
            ),
            (
                "after a restart too",
                "a0",
                "INVITE; 200 b; restart; BYE callee; round X =408; =408; asks caller silent",
                "start INVITE 200 a/b ua=new ct=<sip:bo@192.0.2.2> ru=sip:winner; \
             stop BYE 408 a/b callee failed-bye 0s ua=callee ct=<sip:bo@192.0.2.2> ru=sip:winner",
            ),
        ],
    );
    let fields = templates(&[("ua", "$ua"), ("tt", "$tt")]);
    let of_call = Settings { in_dialog_fields: FieldSource::Call.into(), fields, ..settings() };
    hold(
        &of_call,
        &[(
            "the call's values first, if set; the request's where it had none",
            "a0",
            "INVITE; 200 b; BYE callee; 200",
            "start INVITE 200 a/b ua=new tt=-; stop BYE 200 a/b callee bye 0s ua=new tt=b",
        )],
    );
}

#[test]
fn each_field_has_its_own_source() {
    let fields = templates(&[("ua", "$ua"), ("who", "$ua"), ("tt", "$tt")]);
    let mut sources = FieldSources::default();
    sources.by_field.push(("who".into(), FieldSource::Call));
    sources.by_field.push(("tt".into(), FieldSource::Call));
    let rows = [(
        "the request's, the call's, and the request's where the call has none",
        "a0",
        "INVITE; 200 b; BYE callee; 200",
        "start INVITE 200 a/b ua=new who=new tt=-; stop BYE 200 a/b callee bye 0s ua=callee who=new tt=b",
    )];
    hold(&Settings { in_dialog_fields: sources.clone(), fields: fields.clone(), ..settings() }, &rows);
    sources.rest = FieldSource::Call;
    sources.by_field = vec![("ua".into(), FieldSource::Request)];
    hold(&Settings { in_dialog_fields: sources, fields, ..settings() }, &rows);
}

#[test]
fn a_request_of_the_callee_shows_the_same_pair() {
    let fields = templates(&[("f", "$fU"), ("t", "$tU"), ("ft", "$ft"), ("name", "$fn"), ("from", "$hdr(From)")]);
    let steps = "INVITE; 200 b; INVITE callee; 200; BYE callee; 200";
    let all = "f=al t=bo ft=a name=Al from=\"Al\" <sip:al@a.example>;tag=a";
    hold(
        &Settings { fields, ..settings() },
        &[(
            "every value of From and To is exchanged",
            "a0",
            steps,
            &format!(
                "start INVITE 200 a/b {all}; interim INVITE 200 a/b 0s {all}; stop BYE 200 a/b callee bye 0s {all}"
            ),
        )],
    );
    let plain = Settings { fields: templates(&[("f", "$fU")]), detect_direction: false, ..settings() };
    hold(
        &plain,
        &[(
            "nothing is exchanged, if so set",
            "a0",
            "INVITE; 200 b; BYE callee; 200",
            "start INVITE 200 a/b f=al; stop BYE 200 b/a callee bye 0s f=bo",
        )],
    );
}

#[test]
fn values_of_the_policy_stay_with_the_call() {
    let mut bench = Bench::new(Settings { fields: templates(&[("who", "$avp(who)")]), ..settings() }, "a0 m0");
    let value = Template::parse("$fU at $si").expect("a template");
    bench.avps = vec![Avp { name: "who".into(), values: vec![Some(value)] }];
    bench.play("forward; INVITE; round B 486; 200 b");
    bench.avps.clear();
    bench.play("BYE callee; 200");
    assert_eq!(
        bench.records(),
        "missed INVITE 486 a/B callee busy who=al at 192.0.2.1; start INVITE 200 a/b who=al at 192.0.2.1; \
         stop BYE 200 a/b callee bye 0s who=al at 192.0.2.1"
    );
}

#[test]
fn what_joins_the_records_of_a_session_stays_as_it_was() {
    let fields = templates(&[("user", "$ua"), ("ua", "$ua")]);
    let frozen = Settings { fields, frozen_fields: vec!["user".into()], ..settings() };
    let rows = [
        (
            "a re-INVITE and a BYE of the other side",
            "a0",
            "INVITE; 200 b; INVITE callee; 200; BYE callee; 200",
            "start INVITE 200 a/b user=new ua=new; interim INVITE 200 a/b 0s user=new ua=callee; \
             stop BYE 200 a/b callee bye 0s user=new ua=callee",
        ),
        (
            "after a restart too",
            "a0",
            "INVITE; 200 b; restart; BYE callee; 200",
            "start INVITE 200 a/b user=new ua=new; stop BYE 200 a/b callee bye 0s user=new ua=callee",
        ),
    ];
    hold(&frozen, &rows);
    let fields = templates(&[("user", "$hdr(X-User)")]);
    let mut bench = Bench::new(Settings { fields, frozen_fields: vec!["user".into()], ..settings() }, "a0");
    bench.play("INVITE; 200 b");
    bench.lines = "X-User: late\r\n".into();
    bench.play("BYE callee; 200");
    assert!(bench.records().ends_with("user=-"), "what was absent stays absent: {}", bench.records());
}

#[test]
fn fields_of_a_route_stand_above_the_others_in_all_records_of_its_calls() {
    let common = templates(&[("ua", "$ua"), ("ru", "$ru")]);
    let own = templates(&[("trunk", "gold"), ("ua", "$hdr(X-Agent)")]);
    let mut bench = Bench::new(Settings { fields: common.clone(), ..settings() }, "a0 m0");
    bench.fields = RouteFields::new(own, &common);
    bench.lines = "X-Agent: mine\r\n".into();
    bench.play("forward; INVITE; round B 486; 200 b; INVITE callee; 200; restart; BYE callee; 200");
    let of_route = "trunk=gold ua=mine";
    assert_eq!(
        bench.records(),
        format!(
            "missed INVITE 486 a/B callee busy {of_route} ru=B; start INVITE 200 a/b {of_route} ru=sip:winner; \
             interim INVITE 200 a/b 0s ua=mine ru=sip:winner trunk=gold; \
             stop BYE 200 a/b callee bye 0s ua=mine ru=sip:winner trunk=gold"
        )
    );
}

#[test]
fn an_over_long_value_is_cut_and_marked_in_all_records() {
    let mut bench = Bench::new(Settings { fields: templates(&[("x", "$hdr(X-Long)")]), ..settings() }, "a0 m0");
    bench.lines = format!("X-Long: {}\r\n", "x".repeat(20_000));
    bench.play("forward; INVITE; round B 486; 200 b; close");
    assert_eq!(bench.made.len(), 3, "{}", bench.records());
    for made in &bench.made {
        assert!(made.record.shortened);
        assert_eq!(made.record.fields[0].1.text().map(|text| text.len()), Some(VALUE_BYTES_MAX));
    }
}

#[test]
fn the_longest_values_in_all_fields_and_legs_fit_the_queue() {
    let names: Vec<String> = (0..40).map(|number| format!("field{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "$hdr(X-Long)")).collect();
    let settings = Settings { fields: templates(&pairs), leg_fields: templates(&pairs), ..settings() };
    let mut bench = Bench::new(settings, "a0 m0 a2");
    bench.lines = format!("X-Long: {}\r\n", "x".repeat(4000));
    bench.is_lossless = false;
    bench.play("forward; INVITE; round B 486; round C 486; 200 b; restart; BYE caller; 200");
    assert_eq!(bench.made.len(), 5);
    for made in &bench.made {
        let bytes = crate::record::codec::encode(&made.record);
        assert!(bytes.len() <= crate::record::codec::RECORD_BYTES_MAX, "{} octets", bytes.len());
    }
    assert!(bench.made[4].record.shortened, "what the call kept was cut");
}
