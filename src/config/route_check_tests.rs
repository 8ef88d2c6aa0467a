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
