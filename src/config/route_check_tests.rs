//! What `check` says of targets that lead back or nowhere.

use std::path::Path;

use super::parse;

fn findings(text: &str) -> String {
    match parse(Path::new("t.toml"), text, Default::default()) {
        Ok(plan) => plan.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn a_target_that_leads_back_or_nowhere_is_a_warning() {
    const LOCAL: &str = "listen = [\"udp:127.0.0.1:5060\"]";
    const EVERYWHERE: &str = "listen = [\"udp:0.0.0.0:5060\"]\nadvertise = [\"192.0.2.1\"]\nallow = [\"10.0.0.0/8\"]";
    const HOME: &str =
        "is this gateway itself\n  --> t.toml:2:6\nhint: each call would come back, and end with 482 (Loop Detected)";
    const NO_IPV6: &str = "needs an IPv6 listener, and `sip.listen` has none\n  --> t.toml:2:6\n\
         hint: add one such as \"udp:[2001:db8::1]:5060\" to `sip.listen`";
    const NO_IPV4: &str = "needs an IPv4 listener, and `sip.listen` has none\n  --> t.toml:2:6\n\
         hint: add one such as \"udp:192.0.2.1:5060\" to `sip.listen`";
    for (name, sip, target, want) in [
        ("another port", LOCAL, "sip:127.0.0.1:5070", ""),
        ("another host", EVERYWHERE, "sip:192.0.2.2", ""),
        ("its own address", LOCAL, "sip:127.0.0.1", HOME),
        ("with a user", LOCAL, "sip:bob@127.0.0.1:5060", HOME),
        ("as a next hop", LOCAL, "sip:127.0.0.1;lr", HOME),
        ("loopback, where it listens everywhere", EVERYWHERE, "sip:127.0.0.1", HOME),
        ("where others reach it", EVERYWHERE, "sip:192.0.2.1", HOME),
        ("an IPv6 target of an IPv4 gateway", LOCAL, "sip:[2001:db8::7]", NO_IPV6),
        ("an IPv4 target of an IPv6 gateway", "listen = [\"udp:[::1]:5060\"]", "sip:192.0.2.7", NO_IPV4),
        ("both families", "listen = [\"udp:[::1]:5060\", \"udp:127.0.0.1:5060\"]", "sip:192.0.2.7", ""),
        (
            "a listener of the family, but not of the transport",
            "listen = [\"udp:[::1]:5060\", \"tcp:127.0.0.1:5060\"]",
            "sip:[2001:db8::7];transport=tcp",
            NO_IPV6,
        ),
    ] {
        let text = format!("[[route]]\nto = \"{target}\"\n[sip]\n{sip}\n");
        let want = if want.is_empty() { String::new() } else { format!("warning: `{target}` {want}") };
        assert_eq!(findings(&text), want, "{name}");
    }
}

#[test]
fn a_name_of_the_gateway_is_the_gateway() {
    let text =
        "[[route]]\nto = \"sip:localhost:5060\"\n[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nnames = [\"localhost\"]\n";
    let found = findings(text);
    assert!(found.starts_with("warning: `sip:localhost:5060` is this gateway itself"), "{found}");
    assert_eq!(findings(&text.replace("localhost:5060", "localhost:5070")), "");
}

#[test]
fn a_route_names_a_function_that_the_script_has() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = "function route.gold() end function route.silver() end function request_route() end";
    std::fs::write(dir.path().join("route.lua"), script).expect("a file");
    let of_script = "[script]\nfile = \"route.lua\"\n";
    for (name, file, route, want) in [
        ("a function it has", of_script, "script = \"gold\"", ""),
        ("with targets to fall back to", of_script, "script = \"gold\"\nto = \"sip:192.0.2.7\"", ""),
        ("none", of_script, "script = \"\"\nto = \"sip:192.0.2.7\"", ""),
        (
            "a slip",
            of_script,
            "script = \"glod\"",
            "route.lua has no function `route.glod`\n  --> DIR/t.toml:4:10\nhint: did you mean `gold`?",
        ),
        (
            "a function that is none",
            of_script,
            "script = \"of bronze\"",
            "route.lua has no function `route[\"of bronze\"]`\n  --> DIR/t.toml:4:10\nhint: known are `gold`, `silver`",
        ),
        (
            "no script",
            "\n\n",
            "script = \"gold\"",
            "`script` names a function of the script, and there is none\n  --> DIR/t.toml:4:10\n\
             hint: add `file = \"route.lua\"` to `[script]`",
        ),
        (
            "options of targets without any",
            of_script,
            "script = \"gold\"\nfork = \"parallel\"",
            "a `[[route]]` with `script` and without `to` has no use for `fork`\n  --> DIR/t.toml:4:10",
        ),
    ] {
        let text = format!("{file}[[route]]\n{route}\n");
        let found = match parse(&dir.path().join("t.toml"), &text, Default::default()) {
            Ok(plan) => plan.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            Err(mistakes) => mistakes.to_string(),
        };
        let want = if want.is_empty() { String::new() } else { format!("error: {want}") };
        assert_eq!(found, want.replace("DIR", &dir.path().display().to_string()), "{name}");
    }
}

/// Several targets were a forwarding in earlier releases, whatever they were meant to be.
#[test]
fn several_targets_of_which_nothing_is_said_are_warned_of() {
    let found = |lines: &str| findings(&format!("[[route]]\n{lines}\n"));
    let two = "to = [\"sip:127.0.0.2\", \"sip:127.0.0.3\"]";
    let start =
        "warning: several targets without `targets`: they are alternatives, whose failure is no leg and no missed call";
    let busy = ", and a busy callee is not called again through the next";
    let end = "\n  --> t.toml:2:7\nhint: earlier releases forwarded the call from one to the next, which is `targets = \"forward\"` now; \
               `targets = \"alternatives\"` says that alternatives are meant";
    for (name, lines, want) in [
        ("one target", "to = \"sip:127.0.0.2\"".to_owned(), String::new()),
        ("two", two.to_owned(), format!("{start}{busy}{end}")),
        (
            "two by q",
            "to = [\"<sip:127.0.0.2>;q=0.5\", \"<sip:127.0.0.3>;q=0.2\"]\nfork = \"by-q\"".to_owned(),
            format!("{start}{busy}{end}"),
        ),
        ("two of the same q, at once", format!("{two}\nfork = \"by-q\""), String::new()),
        ("at the same time", format!("{two}\nfork = \"parallel\""), String::new()),
        ("alternatives", format!("{two}\ntargets = \"alternatives\""), String::new()),
        ("forward", format!("{two}\ntargets = \"forward\""), String::new()),
        ("which answers lead on is said", format!("{two}\nnext_on = \"4xx\""), format!("{start}{end}")),
    ] {
        assert_eq!(found(&lines), want, "{name}");
    }
}
