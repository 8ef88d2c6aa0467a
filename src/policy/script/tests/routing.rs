//! Where requests go, and how they leave.

use super::*;

#[test]
fn a_handler_says_where_a_request_goes() {
    for (body, want) in [
        ("relay()", "sip:bob@example.com at Name { host: \"example.com\", port: None }"),
        ("relay('sip:192.0.2.20')", "sip:bob@192.0.2.20 at Addr(192.0.2.20:5060)"),
        ("relay('sip:carol@192.0.2.20:5070')", "sip:carol@192.0.2.20:5070 at Addr(192.0.2.20:5070)"),
        ("relay('sip:192.0.2.20;lr')", " at Addr(192.0.2.20:5060)"),
        ("req.user = '0043' .. req.user relay('sip:192.0.2.20')", "sip:0043bob@192.0.2.20 at Addr(192.0.2.20:5060)"),
        ("req.uri = 'sip:c@x.org' relay('sip:192.0.2.20;lr')", "sip:c@x.org at Addr(192.0.2.20:5060)"),
        (
            "relay{ 'sip:192.0.2.20', { 'sip:192.0.2.21', 'sip:192.0.2.22' }, fork = 'serial' }",
            "sip:bob@192.0.2.20 at Addr(192.0.2.20:5060) | sip:bob@192.0.2.21 at Addr(192.0.2.21:5060) & sip:bob@192.0.2.22 at Addr(192.0.2.22:5060)",
        ),
        (
            "fork{ 'sip:192.0.2.20', 'sip:192.0.2.21' }",
            "sip:bob@192.0.2.20 at Addr(192.0.2.20:5060) & sip:bob@192.0.2.21 at Addr(192.0.2.21:5060)",
        ),
        (
            "append_branch('sip:192.0.2.20') append_branch('sip:192.0.2.21') relay()",
            "sip:bob@example.com at Name { host: \"example.com\", port: None } & sip:bob@192.0.2.20 at Addr(192.0.2.20:5060) & sip:bob@192.0.2.21 at Addr(192.0.2.21:5060)",
        ),
        (
            "req.host = 'gw.example.com' append_branch('sip:192.0.2.20') relay()",
            "sip:bob@192.0.2.20 at Addr(192.0.2.20:5060)",
        ),
        ("reply(486, 'Busy\\r\\nHere')", "486 BusyHere"),
        ("redirect('sip:bob@example.org')", "302 "),
        ("drop()", "nothing"),
        ("relay('sip:192.0.2.20') reply(403)", "403 "),
        ("req.host = 'gw.example.com' relay()", "404 "),
        ("if is_myself('sip:x@192.0.2.1') and not is_myself() then reply(600) end", "600 "),
        (
            "if is_in(req.src_ip, '10.0.0.0/8', '192.0.2.0/24') and not is_in(req.src_ip, '2001:db8::/32') then reply(601) end",
            "601 ",
        ),
        (
            "local rate = kv('rates', '43199', 'prefix') reply(602, rate .. ' ' .. tostring(kv('rates', '1')))",
            "602 0.02 nil",
        ),
        (
            "reply(603, req.method .. ' ' .. req.hdr('X-Customer') .. ' ' .. req.hdr('Via', -1))",
            "603 INVITE 42 SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK0",
        ),
        (
            "reply(604, pv('$(hdr(Via)[*])'))",
            "604 SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1, SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK0",
        ),
        (
            "reply(605, req.from_user .. req.from_tag .. req.call_id .. req.cseq .. req.src_port .. req.transport .. tostring(req.to_tag))",
            "605 alicea1call-175062udpnil",
        ),
        ("log.info('undecided')", "404 "),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nend"));
        let decision = stage.invite();
        assert_eq!(stage.failures(), "", "{body}");
        assert_eq!(targets(&decision.treatment), want, "{body}");
    }
}

#[test]
fn what_is_no_target_is_an_error_at_its_line() {
    for (body, want) in [
        ("relay('nowhere')", "route.lua:2: relay: `nowhere` is no SIP URI"),
        ("relay{ 1 }", "route.lua:2: relay: a integer is no target"),
        ("relay{ 'sip:192.0.2.20', ring = 1 }", "route.lua:2: relay: `ring`: no such option; there are fork"),
        ("relay{ 'sip:192.0.2.20', ring_timeout_s = 0 }", "`ring_timeout_s` is a number from 1 to 3600"),
        ("reply(180)", "route.lua:2: reply: argument 1 is a final code"),
        ("reply('busy')", "route.lua:2: reply: argument 1 is a string, not a whole number"),
        ("on_failure('none')", "route.lua:2: on_failure: there is no function failure_route.none"),
        ("append_hf('Via', 'x')", "route.lua:2: append_hf: `Via` belongs to the proxy"),
        ("append_hf('v', 'x')", "route.lua:2: append_hf: `v` belongs to the proxy"),
        ("remove_hf('a b')", "route.lua:2: remove_hf: `a b` is no name of a header"),
        ("set_socket('mars')", "route.lua:2: set_socket: `mars`: no such listener; there are udp:192.0.2.1:5060"),
        ("req.method = 'X'", "route.lua:2: `req.method` cannot be set"),
        ("req.uri = 'no uri'", "route.lua:2: `no uri` is no URI"),
        ("return req.nothing", "route.lua:2: `req.nothing`: no such field"),
        ("kv('none', 'x')", "route.lua:2: kv: `none`: no such table in [script.tables]; there are rates"),
        ("is_in('x', '10.0.0.0/8')", "route.lua:2: is_in: argument 1 is no IP address"),
        ("is_in('10.0.0.1', '10.0.0.0/40')", "route.lua:2: is_in: `10.0.0.0/40` is no block of addresses"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nend"));
        stage.invite();
        assert!(stage.failures().contains(want), "{body}: {}", stage.failures());
    }
}

#[test]
fn a_branch_route_sees_and_changes_each_target() {
    let text = "function request_route(req)\non_branch('each') append_hf('X-All', 'yes')\n\
        relay{ 'sip:192.0.2.20', 'sip:192.0.2.21', 'sip:192.0.2.22' }\nend\n\
        function branch_route.each(req)\n\
        if req.host == '192.0.2.21' then drop() end\n\
        if req.host == '192.0.2.22' then req.uri = 'sip:dave@192.0.2.22' append_hf('X-Branch', req.user) record_route(false) end\nend";
    let mut stage = stage(text);
    let decision = stage.invite();
    assert_eq!(stage.failures(), "");
    let Treatment::Forward(plan) = &decision.treatment else { panic!("{decision:?}") };
    assert_eq!(
        shown(plan),
        "sip:bob@192.0.2.20 at Addr(192.0.2.20:5060) |  | sip:dave@192.0.2.22 at Addr(192.0.2.22:5060)"
    );
    let edits = |group: usize| plan.groups[group][0].edits.as_deref().expect("edits");
    let added = |edits: &Edits| edits.added.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!((added(edits(0)), edits(0).off_route), ("X-All".to_owned(), false));
    assert_eq!((added(edits(2)), edits(2).off_route), ("X-All X-Branch".to_owned(), true));
}

#[test]
fn a_failure_route_sends_on_responds_or_leaves_it() {
    for (body, want) in [
        ("relay('sip:192.0.2.30')", "to sip:bob@192.0.2.30 at Addr(192.0.2.30:5060)"),
        (
            "if reply.code == 486 and reply.reason == 'Because' and reply.is_local then reply(480, 'Try later') end",
            "480 Try later",
        ),
        ("log.info(reply.code)", "as planned"),
        ("error('no')", "as planned"),
    ] {
        let text = format!(
            "function request_route(req)\non_failure('f') relay('sip:192.0.2.20')\nend\n\
             function failure_route.f(req, reply)\n{body}\nend"
        );
        let mut stage = stage(&text);
        stage.invite();
        let told = match stage.fails(486).onward {
            Onward::To(plan) => format!("to {}", shown(&plan)),
            Onward::Respond { code, reason } => format!("{code} {reason}"),
            Onward::AsPlanned => "as planned".to_owned(),
            Onward::Nowhere => "nowhere".to_owned(),
        };
        assert_eq!(told, want, "{body}");
        // It was armed for one round.
        assert!(matches!(stage.fails(486).onward, Onward::AsPlanned), "{body}");
    }
}

#[test]
fn requests_inside_a_dialog_follow_their_route() {
    let text = "function request_route(req)\nif req.has_totag then append_hf('X-In', 'yes') relay() end\nend";
    let bye = INVITE.replace("To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=b1").replace("INVITE", "BYE");
    let mut stage = stage(text);
    let decision = stage.request(&view(&bye));
    let Treatment::FollowRoute { edits: Some(edits) } = &decision.treatment else { panic!("{decision:?}") };
    assert_eq!(edits.added.len(), 1);
    assert!(decision.account.is_none());
}

#[test]
fn many_requests_leave_nothing_behind() {
    let text = "function request_route(req)\navp.x = req.from_user avp.y = pv('$ua')\n\
        do_accounting('log|db', 'missed')\nacc_extra.customer = req.hdr('X-Customer')\nrelay('sip:192.0.2.20')\nend";
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    let mut stage = load(&Settings { limits, ..settings(text) }).expect("a script");
    let view = view(INVITE);
    for _ in 0..20_000 {
        let decision = stage.request(&view);
        assert!(matches!(decision.treatment, Treatment::Forward(_)));
        stage.policy.ended(ServerId(1));
    }
    assert_eq!(stage.failures(), "");
}
