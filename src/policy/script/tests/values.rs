//! Values, fields and legs that a script sets.

use super::*;
use crate::record::Value as Is;

fn set(body: &str) -> super::super::super::Values {
    let mut stage = stage(&format!("function request_route(req)\n{body}\nrelay('sip:192.0.2.20')\nend"));
    let decision = stage.invite();
    assert_eq!(stage.failures(), "", "{body}");
    decision.values.map(|values| (*values).clone()).unwrap_or_default()
}

#[test]
fn values_are_stacks_with_the_newest_first() {
    let values = set("avp.src = 'alice' avp.src = 'bob' avp.n = 5\nassert(avp.src == 'bob')\n\
        assert(#avps.src == 2 and avps.src[1] == 'bob' and avps.src[2] == 'alice')\nassert(avp.n == '5')\n\
        avp.gone = 1 avp.gone = nil assert(avp.gone == nil)\navp['odd\\0 name'] = '\\255'");
    let stack: Vec<&[u8]> = values.avps.values("src").collect();
    assert_eq!(stack, [b"bob", &b"alice"[..]]);
    assert!(!values.avps.has("gone"));
    assert_eq!(values.avps.values("odd\0 name").next(), Some(&[255][..]));
}

#[test]
fn fields_and_legs_are_set_by_name() {
    let values = set("acc_extra.customer = 42 acc_extra.why = 'x' acc_extra.why = nil\n\
        acc_leg.src = 'alice' acc_leg.dst = 'bob'\nassert(acc_new_leg() == 2)\nacc_leg.src = 'bob'\n\
        acc_legs[-1].dst = 'carol' acc_legs[0].code = 486\nassert(#acc_legs == 2 and acc_legs[0].dst == 'bob')\n\
        assert(acc_legs[1].dst == 'carol' and acc_legs[2] == nil and acc_legs[-3] == nil)");
    assert_eq!(values.fields, [("customer".to_owned(), Is::Number(42))]);
    let text = |text: &str| Is::Text(text.as_bytes().to_vec());
    let own = |name: &str, value| (name.to_owned(), value);
    assert_eq!(
        values.legs,
        [
            vec![own("src", text("alice")), own("dst", text("bob")), own("code", Is::Number(486))],
            vec![own("src", text("bob")), own("dst", text("carol"))],
        ]
    );
    assert_eq!(set("do_accounting('db', nil, 'acc_2026')").table.as_deref(), Some("acc_2026"));
}

#[test]
fn too_many_and_wrong_values_are_errors_at_their_line() {
    for (body, want) in [
        ("for i = 1, 1025 do acc_new_leg() end", "route.lua:2: more than 1024 legs"),
        ("for i = 1, 1025 do avp.x = i end", "route.lua:2: more than 1024 values"),
        ("avp.x = {}", "route.lua:2: `x` is text or a number, not a table"),
        ("acc_extra.x = true", "route.lua:2: `x` is text or a number, not a boolean"),
        ("avp['\\255'] = 1", "route.lua:2: `\\xff`: a name is UTF-8"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nend"));
        stage.invite();
        assert!(stage.failures().contains(want), "{body}: {}", stage.failures());
    }
}

#[test]
fn what_a_reply_route_sets_goes_to_the_records() {
    let text = "function request_route(req)\navp.a = 1 on_reply('r') relay('sip:192.0.2.20')\nend\n\
        function reply_route.r(req, reply)\nif reply.code == 180 then acc_extra.rang = reply.hdr('X-Customer') avp.a = nil end\nend";
    let mut stage = stage(text);
    stage.invite();
    let response = INVITE.replacen("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 180 Ringing", 1);
    let response = Message::parse(response.into_bytes()).unwrap_or_else(|_| panic!("a response"));
    let remarks = stage.policy.reply(asked(&view(INVITE)), &response);
    let values = remarks.values.expect("values");
    assert_eq!(values.fields, [("rang".to_owned(), Is::Text(b"42".to_vec()))]);
    assert!(values.avps.is_empty());
}

#[test]
fn the_end_of_a_call_is_told_with_its_fields() {
    let mut stage = stage(
        "event_route['dialog:end'] = function(call)\nlog.info(call.call_id, call.duration_ms, call.customer, call.nothing)\nend",
    );
    let none = Record::of_no_call(record::Kind::Stop, now().wall, 1);
    let mut record = Record { call_id: b"call-1".to_vec(), ..none };
    record.fields.push(("customer".to_owned(), Is::Number(42)));
    record.times.duration = Some(Duration::from_millis(1_500));
    stage.policy.call_ended(now(), &record);
    assert_eq!((stage.lines(), stage.failures()), ("Info call-1 1500 42 nil".to_owned(), String::new()));
}
