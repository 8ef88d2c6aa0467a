//! `[[mirror]]`: what it comes to, and mistakes.

use std::path::Path;
use std::time::Duration;

use super::error::{Mistake, Mistakes};
use super::parse;
use crate::sip::stack::Transport;

const BASE: &str = "[accounting]\non = [\"cdrs\"]\n[sinks.file.cdrs]\npath = \"/tmp/cdrs.csv\"\n";

fn findings(mirrors: &str) -> String {
    let mistakes = match parse(Path::new("t.toml"), &format!("{BASE}{mirrors}"), Default::default()) {
        Ok(plan) => plan.warnings,
        Err(Mistakes(mistakes)) => mistakes,
    };
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_mirror_has_its_defaults_and_needs_no_route() {
    let text = format!("{BASE}[[mirror]]\nlisten = \"udp:127.0.0.1:9060\"\n");
    let plan = parse(Path::new("t.toml"), &text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let own = &plan.mirrors[0];
    assert_eq!((own.name.as_str(), own.listen.0, own.listen.1.port()), ("mirror", Transport::Udp, 9060));
    assert_eq!((own.reorder, own.requests_max), (Duration::from_secs(1), 100_000));
    let allows = |text: &str| own.allow.iter().any(|block| block.contains(text.parse().expect("an address")));
    assert_eq!(["127.0.0.1", "::1", "192.0.2.1"].map(allows), [true, true, false]);
    assert!(!own.marks.accounting.is_empty() && own.key.is_none() && own.proxy.is_empty());
    assert!(!plan.warnings.iter().any(|own| own.to_string().contains("[[route]]")), "{:?}", plan.warnings);
}

#[test]
fn what_is_wrong_with_a_mirror_is_told() {
    const LISTEN: &str = "listen = \"udp:127.0.0.1:9060\"\n";
    for (name, mirrors, want) in [
        ("no place to listen", "[[mirror]]\nname = \"a\"\n".to_owned(), "the mirror `a` has no `listen`"),
        (
            "TLS",
            "[[mirror]]\nlisten = \"tls:127.0.0.1:9060\"\n".to_owned(),
            "packets of HEP are taken by `udp:` and `tcp:`",
        ),
        ("no port", "[[mirror]]\nlisten = \"udp:127.0.0.1\"\n".to_owned(), "`127.0.0.1` is no address with a port"),
        (
            "a name of the proxy",
            format!("[[mirror]]\n{LISTEN}proxy = \"proxy.example\"\n"),
            "no address, no address with a port and no block, such as 10.0.0.5, 10.0.0.5:5060 or 10.0.0.0/28",
        ),
        (
            "two of one name",
            format!("[[mirror]]\n{LISTEN}[[mirror]]\nlisten = \"udp:127.0.0.1:9061\"\n"),
            "two mirrors are called `mirror`",
        ),
        (
            "two at one place",
            format!("[[mirror]]\n{LISTEN}[[mirror]]\nname = \"b\"\n{LISTEN}"),
            "two mirrors listen on `udp:127.0.0.1:9060`",
        ),
        (
            "a name with a blank",
            format!("[[mirror]]\nname = \"a b\"\n{LISTEN}"),
            "the name of a mirror is 1 to 64 letters",
        ),
        ("no sink", format!("[[mirror]]\n{LISTEN}on = []\n"), "the mirror `mirror` has no sink: nothing is recorded"),
        ("a sink that is not there", format!("[[mirror]]\n{LISTEN}on = [\"cdr\"]\n"), "`cdr`"),
        ("a key that cannot be read", format!("[[mirror]]\n{LISTEN}key_file = \"nowhere\"\n"), "cannot read"),
    ] {
        let found = findings(&mirrors);
        assert!(found.contains(want), "{name}: {found}");
    }
}
