//! Ways around the limits that were tried.

use super::*;

/// Runs lines in `request_route`, the clock standing still; gives why they ended and what they told.
fn ends(lines: &str) -> (String, String) {
    let mut stage = stage(&format!("function request_route(req)\n{lines}\nend"));
    let decision = stage.invite();
    assert_eq!(targets(&decision.treatment), "404 ", "no route matches");
    (stage.failures(), stage.lines())
}

#[test]
fn what_our_functions_call_back_does_not_eat_the_stack() {
    let most = "16 are the most";
    for (name, lines) in [
        ("a function of gsub", "local function f() return (('x'):gsub('x', f)) end f()"),
        (
            "a table of gsub",
            "local t = {} setmetatable(t, { __index = function() return (('x'):gsub('x', t)) end }) return t.x",
        ),
        (
            "text for the log",
            "local t = {} setmetatable(t, { __tostring = function() log.info(t) return 'x' end }) log.info(t)",
        ),
    ] {
        let (why, _) = ends(lines);
        assert!(why.contains(most), "{name}: {why}");
    }
    let (why, told) =
        ends("for i = 1, 100 do pcall(string.gsub, 'x', 'x', error) end log.info(('x'):gsub('x', { x = 'y' }))");
    assert_eq!((&*why, &*told), ("", "Info y 1"), "who has failed waits no more");
}

#[test]
fn what_is_set_for_a_request_takes_a_limited_room() {
    let big = "local s = ('x'):rep(100000)\n";
    let most = "more than 1048576 octets of values, fields and legs of one request";
    for lines in [
        "for i = 1, 100 do avp.a = s end",
        "for i = 1, 100 do acc_extra['f' .. i] = s end",
        "for i = 1, 100 do acc_new_leg() acc_leg.a = s end",
        "for i = 1, 100 do acc_new_leg() acc_legs[-1].a = s end",
    ] {
        let (why, _) = ends(&format!("{big}{lines}"));
        assert!(why.contains(most), "{lines}: {why}");
    }
    // What goes makes room again.
    let (why, _) = ends(&format!(
        "{big}for i = 1, 100 do avp.a = s avp.a = nil acc_extra.a = s acc_leg.a = s if i % 2 == 0 then acc_extra.a = nil end end"
    ));
    assert_eq!(why, "");
    for (lines, want) in [
        ("req.uri = 'sip:a@h;x=' .. s", "`req.uri`: more than 8192 octets"),
        ("relay('sip:a@h;x=' .. s)", "relay: a target of more than 8192 octets"),
        ("redirect('sip:a@h;x=' .. s)", "redirect: a URI of more than 8192 octets"),
        ("setflag(s)", "setflag: a name of more than 255 octets"),
    ] {
        let (why, _) = ends(&format!("{big}{lines}"));
        assert!(why.contains(want), "{lines}: {why}");
    }
}

#[test]
fn a_replacement_does_not_grow_beyond_the_longest_text() {
    let (why, _) = ends("local s = ('x'):rep(1 << 18) s:gsub('^.*$', ('%0'):rep(8))");
    assert!(why.contains("resulting string too large: the most is 1048576 octets"), "{why}");
}

#[test]
fn memory_that_ran_out_in_a_protected_call_ends_the_handler_too() {
    for lines in [
        "pcall(function() local s = 'x' while true do s = s .. s end end)",
        "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(100000) .. 1 end",
        "local s = ('x'):rep(1 << 20) pcall(table.concat, { s, s, s, s, s, s })",
    ] {
        let (why, told) = ends(&format!("{lines}\nlog.info('still here')"));
        assert!(why.contains("more than `memory_max_kib` = 4096 KiB of memory"), "{lines}: {why}");
        assert_eq!(told, "", "{lines}");
    }
}

#[test]
fn an_error_is_one_line_of_the_log_whatever_it_says() {
    let (why, _) = ends("error('from\\na request: \\27[31m' .. ('x'):rep(10000))");
    assert!(why.starts_with("request_route: route.lua:2: from a request:  [31mxxx"), "{why}");
    assert!(why.len() < 2_200, "{}", why.len());
    let (why, _) = ends("table.concat({ 1, {} })");
    assert_eq!(why, "request_route: route.lua:2: invalid value (table) at index 2 in table for 'concat'");
    let (why, _) = ends("table.unpack({}, 1, 1e7)");
    assert_eq!(why, "request_route: route.lua:2: too many results to unpack");
}

#[test]
fn a_request_that_another_policy_has_decided_keeps_what_that_has_set() {
    // As after a reload: the script did not see the request, but sees its response.
    let mut stage = stage("function local_route(req, reply) acc_extra.seen = 'yes' acc_log_request('480 seen') end");
    let view = view(INVITE);
    let remarks = stage.policy.local(asked(&view), Local::Response { code: 408, reason: b"Request Timeout" });
    assert_eq!((stage.failures(), remarks.marks), (String::new(), None), "its marks are not known here");
    assert_eq!(remarks.records.len(), 1, "a record by hand is made");
    let remarks = stage.policy.local(asked(&view), Local::Request);
    assert!(remarks.values.is_some(), "a request of the gateway has what is set here");
}
