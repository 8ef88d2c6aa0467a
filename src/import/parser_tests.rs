//! Statements, settings and what cannot be read.

use std::io;
use std::path::Path;

use super::*;
use crate::import::preprocess::read;
use crate::import::syntax::{Action, Block};

fn script(text: &str) -> Result<Script, Mistake> {
    let open = |_: &Path| -> io::Result<Vec<u8>> { Ok(text.as_bytes().to_vec()) };
    parse(&read(Path::new("main.cfg"), &[], &open)?)
}

/// Statements on one line, blocks in braces.
fn shown(block: &Block) -> String {
    let one = |action: &Action| match action {
        Action::If { condition, then, otherwise } if otherwise.is_empty() => {
            format!("if {} {{{}}}", condition.written(), shown(then))
        }
        Action::If { condition, then, otherwise } => {
            format!("if {} {{{}}} else {{{}}}", condition.written(), shown(then), shown(otherwise))
        }
        Action::Loop { head, body } => format!("{head} {{{}}}", shown(body)),
        Action::Switch { value, cases } => {
            let cases = cases.iter().map(|(case, block)| {
                let case = case.as_ref().map_or("default".to_owned(), Expression::written);
                format!("{case}: {}", shown(block))
            });
            format!("switch {} {{{}}}", value.written(), cases.collect::<Vec<_>>().join(" | "))
        }
        Action::Call(call) => call.written(),
        Action::Route(name) => format!("route {name}"),
        Action::Assign { target, sign, value } => format!("{target} {sign} {}", value.written()),
        Action::Return(value) => {
            value.as_ref().map_or("return".to_owned(), |value| format!("return {}", value.written()))
        }
        Action::Exit => "exit".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Break => "break".to_owned(),
        Action::Block(block) => format!("{{{}}}", shown(block)),
        Action::Unread(text) => format!("UNREAD {text}"),
    };
    block.iter().map(|statement| one(&statement.what)).collect::<Vec<_>>().join("; ")
}

#[test]
fn statements_are_read() {
    for (name, text, want) in [
        ("calls", "t_relay(); acc_db_request(\"a\", \"b\");", "t_relay(); acc_db_request(\"a\", \"b\")"),
        ("a condition", "if (method==\"INVITE\") { exit; }", "if method == \"INVITE\" {exit}"),
        ("without brackets", "if is_method(\"A\") drop();", "if is_method(\"A\") {drop}"),
        ("one statement each", "if (a()) b(); else if (c()) d(); else e();", {
            "if a() {b()} else {if c() {d()} else {e()}}"
        }),
        ("what binds how much", "if (!a() && b() || $x == 1 + 2 * 3) c();", {
            "if !a() && b() || $x == 1 + 2 * 3 {c()}"
        }),
        ("words for signs", "if (not a() and (b() or c())) d();", "if !a() && (b() || c()) {d()}"),
        ("a word beside a word", "if (uri == myself) a();", "if uri == myself {a()}"),
        ("a block of addresses", "if (src_ip == 10.0.0.0/8) a();", "if src_ip == 10.0.0.0/8 {a()}"),
        ("an IPv6 address", "if (src_ip==[2001:db8::1]) a();", "if src_ip == [2001:db8::1] {a()}"),
        ("a select", "if (@to.tag==\"\") a();", "if @to.tag == \"\" {a()}"),
        ("assignments", "$avp(x) = \"a\" + $fU; $var(i) += 1; $x := -2;", {
            "$avp(x) = \"a\" + $fU; $var(i) += 1; $x := -2"
        }),
        ("routes that are called", "route(RELAY); route(\"A\"); route(1); if (route(X)) exit;", {
            "route RELAY; route A; route 1; if route(X) {exit}"
        }),
        ("ends", "return; return(1); return -1; return(); exit(); break;", {
            "return; return 1; return -1; return; exit; break"
        }),
        ("loops", "while ($var(i) < 3) { a(); } for ($var(x) in $(avp(y)[*])) b();", {
            "while ($var(i) < 3) {a()}; for ($var(x) in $(avp(y)[*])) {b()}"
        }),
        ("a choice", "switch ($rU) { case \"a\": b(); break; case 2: c(); default: d(); }", {
            "switch $rU {\"a\": b(); break | 2: c() | default: d()}"
        }),
        ("texts side by side", "a(\"b\" \"c\");", "a(\"bc\")"),
        ("arguments that are no expression", "forward(uri:host, uri:port); t_relay(udp:10.0.0.1:5060);", {
            "forward(uri:host, uri:port); t_relay(udp:10.0.0.1:5060)"
        }),
        ("an argument left out", "do_accounting(\"log\",,\"t\");", "do_accounting(\"log\", , \"t\")"),
        ("a statement that cannot be read", "a(); $x y z; b();", "a(); UNREAD $x y z;; b()"),
        ("one with a block", "a(); strange { b(); } c();", "a(); UNREAD strange { b(); }; c()"),
        ("a condition that cannot be read", "if ($x ~ y) a();", "if $x ~ y {a()}"),
        ("no semicolon before the brace", "if (a()) { b() }", "if a() {b()}"),
        ("a block of its own", "{ a(); }", "{a()}"),
        ("nothing", ";;", ""),
    ] {
        let script = script(&format!("route {{ {text} }}")).unwrap_or_else(|mistake| panic!("{name}: {mistake}"));
        assert_eq!(shown(&script.routes[0].body), want, "{name}");
        assert!(script.unread.is_empty(), "{name}: {:?}", script.unread);
    }
}

#[test]
fn settings_parameters_and_routes_are_read() {
    let text = "debug = 2\nlisten=udp:10.0.0.1:5060 advertise \"192.0.2.1\":5060\nalias=\"a.example\";\n\
        loadmodule \"/usr/lib/acc.so\" loadmodule \"tm.so\"\nmodparam(\"acc|acc_radius\", \"log_flag\", 0x10)\n\
        modparam(\"acc\", \"x\", \"a\"\n  \"b\") modparam(\"acc\", \"y\", -1)\nflags ONE:1, TWO : 2;\nsocket = {\n  a = 1;\n}\n\
        strange line here\nroute{}\nroute[A-1]{}\nroute[0] { }\nfailure_route[1] {}\nonreply_route{}\nbranch_route[B] {}\n\
        event_route[dialog:end]{}\nlocal_route {}\ntimer_route[T, 30] {}\n";
    let script = script(text).expect("it is readable");
    let settings: Vec<_> = script.settings.iter().map(|own| format!("{}={}", own.name, own.value)).collect();
    let listen = "listen=udp:10.0.0.1:5060 advertise 192.0.2.1:5060";
    assert_eq!(settings, ["debug=2", listen, "alias=a.example", "socket={ a = 1; }"]);
    let modules: Vec<_> = script.modules.iter().map(|(name, at)| (name.as_str(), at.line)).collect();
    assert_eq!(modules, [("acc", 4), ("tm", 4)]);
    let one = |own: &Param| format!("{} {} {}", own.modules, own.name, own.value.written());
    assert_eq!(
        script.params.iter().map(one).collect::<Vec<_>>(),
        ["acc|acc_radius log_flag 16", "acc x \"ab\"", "acc y -1"]
    );
    assert_eq!(script.flags, [("ONE".to_owned(), 1), ("TWO".to_owned(), 2)]);
    assert_eq!(
        script.unread.iter().map(|(at, text)| (at.line, text.as_str())).collect::<Vec<_>>(),
        [(12, "strange line here")]
    );
    let routes: Vec<_> = script.routes.iter().map(|own| (own.kind, own.name.as_str())).collect();
    use RouteKind::{Branch, Event, Failure, Local, Other, Reply, Request};
    let named = [(Request, ""), (Request, "A-1"), (Request, ""), (Failure, "1"), (Reply, ""), (Branch, "B")];
    assert_eq!(routes[..6], named);
    assert_eq!(routes[6..], [(Event, "dialog:end"), (Local, ""), (Other, "T, 30")]);
}

#[test]
fn what_is_never_closed_and_what_is_too_deep_ends_the_reading() {
    let deep = format!("route {{ {} }}", "if (a()) { ".repeat(NESTING_MAX));
    let brackets = format!("route {{ if ({}", "(".repeat(NESTING_MAX));
    let chain = format!("route {{ if (a{} ) b(); }}", " || a".repeat(NESTING_MAX));
    let elses = format!("route {{ {} b(); }}", "if (a()) b(); else ".repeat(NESTING_MAX));
    for (name, text, want, line) in [
        ("a block", "route {\n if (a()) {\n b();\n }\n", "a block that begins with `{` is never closed", 1),
        ("a bracket", "route {\n a(b;\n}", "a bracket is never closed", 2),
        ("a choice", "route {\n switch ($x) {\n", "a `switch` is never closed", 2),
        ("blocks", &deep, "within each other", 1),
        ("brackets", &brackets, "within each other", 1),
        ("a chain of signs", &chain, "within each other", 1),
        ("branches", &elses, "within each other", 1),
        ("routes", &"route[A] { }\n".repeat(ROUTES_MAX + 2), "more than 2000 routes", 2002),
        ("parameters", &"modparam(\"a\", \"b\", 1)\n".repeat(PARAMS_MAX + 2), "more than 5000 parameters", 5002),
        ("settings", &"debug=1\n".repeat(PARAMS_MAX + 2), "more than 5000 settings", 5002),
    ] {
        let mistake = script(text).expect_err(name);
        assert!(mistake.what.contains(want), "{name}: {mistake}");
        let is_there =
            matches!(mistake.places[..], [crate::config::error::Place::File { line: own, .. }] if own == line);
        assert!(is_there && mistake.hint.is_some(), "{name}: {mistake}");
    }
}
