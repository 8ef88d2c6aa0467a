//! Statements and the Lua they become, line by line.

use std::io;
use std::path::Path;

use crate::import::{Import, Options, import};

fn import_text(text: &str) -> Import {
    let open = |_: &Path| -> io::Result<Vec<u8>> { Ok(text.as_bytes().to_vec()) };
    import(Path::new("x.cfg"), &Options::default(), &open).unwrap_or_else(|mistake| panic!("{mistake}\n{text}"))
}

/// The lines of the function that begins with `head`, without origins, joined by ` / `.
fn lines(lua: &str, head: &str) -> String {
    let all = lua.lines().skip_while(|line| !line.starts_with(head)).skip(1).take_while(|line| *line != "end");
    let plain = |line: &str| line.rsplit_once(" -- x.cfg:").map_or(line, |(code, _)| code).trim().to_owned();
    all.map(plain).filter(|line| !line.contains("next_hop, branches = nil")).collect::<Vec<_>>().join(" / ")
}

/// What statements of a main route become, and what the report says of them.
fn translated(first_line: &str, statements: &str) -> (String, Vec<String>) {
    let text = format!(
        "{first_line}\nroute {{\n{statements}\n}}\nroute[PART] {{ xlog(\"part\"); }}\nroute[END] {{ exit; }}\n\
         route[MAYBE] {{ if (has_totag()) exit; }}\nfailure_route[F] {{ exit; }}\nfailure_route[1] {{ exit; }}\n"
    );
    let made = import_text(&text);
    let told = made.report.items().iter().map(|item| item.why.clone()).collect();
    (lines(&made.lua.expect("there are routes"), "function request_route"), told)
}

const KAMAILIO: &str = "#!KAMAILIO";
const OPENSIPS: &str = "#!OPENSIPS";

#[test]
fn what_has_a_counterpart_is_translated() {
    for (name, statement, want) in [
        (
            "marks",
            "do_accounting(\"log|db\", \"cdr|missed\", \"t\");",
            "do_accounting(\"log|db\", \"cdr|missed\", \"t\")",
        ),
        ("marks dropped", "drop_accounting(); drop_accounting(\"db\",\"missed\");", {
            "drop_accounting() / drop_accounting(\"db\", \"missed\")"
        }),
        ("a table without flags", "do_accounting(\"db\",,\"t\");", "do_accounting(\"db\", nil, \"t\")"),
        ("a record by hand", "acc_db_request(\"403 $rU\", \"acc\");", "acc_db_request(\"403 $rU\", \"acc\")"),
        ("flags by number and by name", "setflag(1); resetflag(\"2\"); setflag(\"ACC\"); setflag(ACC);", {
            "setflag(1) / resetflag(2) / setflag(\"ACC\") / setflag(\"ACC\")"
        }),
        (
            "values and legs",
            "$avp(s:a) = 1; $(avp(a)[*]) = NULL; $acc_extra(x-y) = $fU; $acc_leg(z) = \"w\"; acc_new_leg();",
            { "avp.a = 1 / avp.a = nil / acc_extra[\"x-y\"] = req.from_user / acc_leg.z = \"w\" / acc_new_leg()" },
        ),
        ("a leg by its number", "$(acc_leg(src)[-1]) = $ru;", "acc_legs[-1].src = req.uri"),
        ("the Request-URI", "$ru = \"sip:a@b\"; $rU = \"c\"; $rd = \"d\"; prefix(\"00\"); strip(2); strip_tail(1);", {
            "req.uri = \"sip:a@b\" / req.user = \"c\" / req.host = \"d\" / req.user = \"00\" .. (req.user or \"\") / \
             req.user = (req.user or \"\"):sub(3) / req.user = (req.user or \"\"):sub(1, -2)"
        }),
        ("responses", "t_reply(\"404\", \"Not Found\"); sl_send_reply(403, \"No\");", {
            "reply(404, \"Not Found\") / reply(403, \"No\")"
        }),
        ("targets", "t_relay(); t_relay(\"udp:10.0.0.1:5060\"); t_relay_to_tcp(\"10.0.0.1\", \"5080\"); forward();", {
            "relay() / relay(\"sip:10.0.0.1:5060;transport=udp;lr\") / relay(\"sip:10.0.0.1:5080;transport=tcp;lr\") / relay()"
        }),
        ("a next hop", "$du = \"sip:10.0.0.1\"; t_relay();", "next_hop = \"sip:10.0.0.1\" / t_relay(true)"),
        ("branches", "append_branch(\"sip:b@c\"); t_relay();", "branches[#branches + 1] = \"sip:b@c\" / t_relay(true)"),
        ("handlers that are armed", "t_on_failure(\"F\"); t_on_failure(1);", "on_failure(\"F\") / on_failure(\"1\")"),
        ("header lines", "append_hf(\"X-A: $fU\\r\\n\"); remove_hf(\"X-B\"); remove_hf(\"Route\");", {
            "append_hf(\"X-A\", (req.from_user or \"\")) / remove_hf(\"X-B\") / \
             -- remove_hf(\"Route\"): this header belongs to the proxy, which sees to it"
        }),
        ("the log", "xlog(\"L_ERR\", \"$rm of $fu\\n\"); xlog(\"plain\");", {
            "log.error(pv(\"$rm of $fu\")) / log.info(\"plain\")"
        }),
        ("parts", "route(PART); route(MAYBE); route(END);", {
            "route.PART(req) / if route.MAYBE(req) == EXIT then return end / return route.END(req)"
        }),
        (
            "what a part ends is not reached",
            "route(END); t_relay();",
            "return route.END(req) / -- never reached: t_relay()",
        ),
        ("an end without a decision", "exit;", "drop() / return"),
        ("an end behind one", "t_relay(); exit;", "relay() / return"),
        ("a failure that needs no answer", "if (!t_relay()) { sl_reply_error(); }", {
            "relay() / -- not needed: sl_reply_error(): a failure of t_relay is answered without it"
        }),
        ("variables of the script", "$var(x) = 1; $var(x) += 2; if ($var(x) == 3) exit;", {
            "var.x = 1 / var.x = (tonumber(var.x) or 0) + 2 / if tonumber(var.x) == 3 then / drop() / return / end"
        }),
        ("a choice", "switch ($rU) { case \"a\": case \"b\": setflag(1); break; default: setflag(2); }", {
            "if req.user == \"a\" or req.user == \"b\" then / setflag(1) / else / setflag(2) / end"
        }),
        (
            "branches of a condition",
            "if (is_method(\"A\")) { exit; } else if (has_totag()) setflag(1); else setflag(2);",
            {
                "if is_method(\"A\") then / drop() / return / elseif has_totag() then / setflag(1) / else / setflag(2) / end"
            },
        ),
        ("what is always done anyway", "if (!mf_process_maxfwd_header(10)) { exit; } setflag(1);", {
            "-- never: if (!mf_process_maxfwd_header(10)): Max-Forwards is looked after without the script / setflag(1)"
        }),
    ] {
        let (found, told) = translated(OPENSIPS, statement);
        assert_eq!(found, want, "{name}");
        let left: Vec<_> =
            told.iter().filter(|why| !why.contains("nothing is written") && !why.contains("nothing is sent")).collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}

#[test]
fn conditions_are_translated() {
    for (name, condition, want) in [
        ("a method", "method == \"INVITE\"", "req.method == \"INVITE\""),
        ("a method as a variable", "$rm != \"BYE\"", "req.method ~= \"BYE\""),
        ("oneself", "uri == myself && from_uri != myself", "is_myself(req.uri) and not is_myself(req.from_uri)"),
        ("an address", "src_ip == 10.0.0.1", "is_in(req.src_ip, \"10.0.0.1\")"),
        ("a block with a mask", "src_ip == 10.0.0.0/255.0.0.0", "is_in(req.src_ip, \"10.0.0.0/8\")"),
        ("an address of one's own", "src_ip != myself", "not is_myself(\"sip:\" .. req.src_ip)"),
        ("a transport", "proto == UDP", "req.transport == \"udp\""),
        ("what binds how much", "(has_totag() || isflagset(1)) && !isflagset(\"A\")", {
            "(has_totag() or isflagset(1)) and not isflagset(\"A\")"
        }),
        ("not of a comparison", "!($rU == \"a\")", "not (req.user == \"a\")"),
        ("nothing there", "$rU == $null", "(req.user or \"\") == \"\""),
        ("something there", "$avp(x) != NULL", "(avp.x or \"\") ~= \"\""),
        ("a value alone", "$avp(x)", "(avp.x or \"\") ~= \"\""),
        (
            "a header",
            "is_present_hf(\"X-A\") && $hdr(X-A) == \"b\"",
            "req.hdr(\"X-A\") ~= nil and req.hdr(\"X-A\") == \"b\"",
        ),
        ("an expression", "$rU =~ \"^\\+?[1-9]\"", "(req.user or \"\"):lower():find(\"^%+?[1-9]\")"),
        ("an expression that must not fit", "uri !~ \"^sip:1\"", "not (req.uri or \"\"):lower():find(\"^sip%:1\")"),
        ("numbers", "$rp == 5060 && $cs < 3", "req.port == 5060 and (tonumber(req.cseq) or 0) < 3"),
        ("a variable that only templates have", "$au == \"bob\"", "pv(\"$au\") == \"bob\""),
        ("what always holds beside what may", "t_newtran() && has_totag()", "has_totag()"),
    ] {
        let (found, told) = translated(KAMAILIO, &format!("if ({condition}) setflag(9);"));
        assert_eq!(found, format!("if {want} then / setflag(9) / end"), "{name}");
        assert!(told.is_empty(), "{name}: {told:?}");
    }
}

#[test]
fn what_has_none_stands_there_as_a_comment_and_is_told() {
    for (name, statement, want, why) in [
        (
            "a function",
            "ds_select_dst(\"1\", \"4\");",
            "-- NOT TRANSLATED: ds_select_dst(\"1\", \"4\")",
            "targets are a list here",
        ),
        (
            "a condition, and all that depends on it",
            "if (lookup(\"l\")) { acc_log_request(\"a\"); } else exit;",
            { "-- NOT TRANSLATED: if (lookup(\"l\")) then / -- acc_log_request(\"a\") / -- else / -- return / -- end" },
            "no registrations",
        ),
        (
            "a part of a condition",
            "if (has_totag() && lookup(\"l\")) exit;",
            { "-- NOT TRANSLATED: if (has_totag() && lookup(\"l\")) then / -- return / -- end" },
            "no registrations",
        ),
        (
            "a loop",
            "while (1) { setflag(1); }",
            "-- NOT TRANSLATED: while (1) / -- setflag(1) / -- end",
            "loops are not translated",
        ),
        (
            "a choice that falls through",
            "switch ($rU) { case \"a\": setflag(1); case \"b\": setflag(2); }",
            {
                "-- NOT TRANSLATED: switch ($rU) / -- elseif case then / -- setflag(1) / -- elseif case then / -- setflag(2) / -- end"
            },
            "goes on into the next one",
        ),
        ("a statement that cannot be read", "$x y;", "-- NOT TRANSLATED: $x y;", "it cannot be read"),
        (
            "a variable that is not known",
            "$sht(a=>b) = 1;",
            "-- NOT TRANSLATED: $sht(a=>b) = 1",
            "`$sht` cannot be set",
        ),
        ("a route that is not there", "route(NONE);", "-- NOT TRANSLATED: route(NONE)", "there is no such route"),
        (
            "a handler that is not there",
            "t_on_failure(\"NONE\");",
            "-- NOT TRANSLATED: t_on_failure(\"NONE\")",
            "there is no failure_route[NONE]",
        ),
        (
            "a response that is none",
            "t_reply(\"180\", \"Ringing\");",
            "-- NOT TRANSLATED: t_reply(\"180\", \"Ringing\")",
            "only final responses",
        ),
        (
            "a comment of the record that has no value",
            "acc_log_request(\"403 $foo\");",
            { "-- NOT TRANSLATED: acc_log_request(\"403 $foo\")" },
            "unknown variable `$foo`",
        ),
        (
            "an expression beyond ours",
            "if ($rU =~ \"(a+)+\") exit;",
            { "-- NOT TRANSLATED: if ($rU =~ \"(a+)+\") then / -- return / -- end" },
            "is not translated",
        ),
    ] {
        let (found, told) = translated(KAMAILIO, statement);
        assert_eq!(found, want, "{name}");
        assert!(told.iter().any(|own| own.contains(why)), "{name}: {told:?}");
    }
}

#[test]
fn routes_become_the_handlers_they_are() {
    let made = import_text(
        "#!KAMAILIO\nroute { t_on_failure(\"1\"); t_relay(); }\nfailure_route[1] {\n if (t_check_status(\"486|(6..)\")) {\n\
         $ru = \"sip:c@d\"; t_relay(); }\n}\nreply_route { if (status =~ \"183\") exit; }\nonreply_route[A-B] { do_accounting(\"log\"); }\n\
         branch_route[B] { drop; }\nlocal_route { setflag(1); }\nevent_route[dialog:end] { setflag(1); }\nroute[P] { route(Q); }\nroute[Q] { exit; }\n",
    );
    let lua = made.lua.expect("there are routes");
    for line in [
        "function failure_route.",
        "function reply_route.all(req, reply)",
        "reply_route[\"A-B\"] = function(req, reply)",
        "function branch_route.B(req)",
        "function local_route(req, reply)",
        "-- NOT TRANSLATED: event_route[dialog:end]",
        "function route.P(req, reply)",
        "  return route.Q(req, reply)",
        "  on_reply(\"all\")",
    ] {
        let is_there = lua.lines().any(|own| own.starts_with(line));
        assert_eq!(is_there, line != "function failure_route.", "{line}\n{lua}");
    }
    assert!(lines(&lua, "failure_route[\"1\"] = function").starts_with("if (tostring(reply.code)):lower()"), "{lua}");
    assert!(lines(&lua, "function reply_route.all").contains("(tostring(reply.code)):lower():find(\"183\")"), "{lua}");
    assert_eq!(lines(&lua, "function branch_route.B"), "drop() / return");
    let told: Vec<_> = made.report.items().iter().map(|item| item.why.clone()).collect();
    assert!(told.iter().any(|why| why.contains("cannot be called from such a route")), "{told:?}");
}

#[test]
fn whole_calls_of_kamailio_are_marked_where_it_tracks_them() {
    let made = import_text(
        "#!KAMAILIO\nmodparam(\"acc\", \"log_flag\", 1)\nmodparam(\"acc\", \"cdr_enable\", 1)\nmodparam(\"dialog\", \"dlg_flag\", 4)\n\
         route { setflag(4); setflag(1); dlg_manage(); $dlg_var(a) = \"b\"; }\n",
    );
    let lua = made.lua.expect("there are routes");
    assert_eq!(
        lines(&lua, "function request_route"),
        "setflag(4) / do_accounting(\"cdr-log\", \"cdr\") / setflag(1) / do_accounting(\"cdr-log\", \"cdr\") / \
         avp.dlg_a = nil / avp.dlg_a = \"b\""
    );
}
