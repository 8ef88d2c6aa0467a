//! Options about who may send how much, several targets and calls that are watched: what they come to, and mistakes.

use std::path::Path;
use std::time::Duration;

use super::error::{Mistake, Mistakes};
use super::parse;
use super::plan::Plan;
use crate::accounting::Pings;
use crate::policy::routes::Action;
use crate::sip::stack::{ListenerId, Preloaded, Redirects, TokenBucket};

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n";

fn good(text: &str) -> Plan {
    parse(Path::new("t.toml"), text, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn findings(text: &str) -> String {
    let mistakes = match parse(Path::new("t.toml"), text, Default::default()) {
        Ok(plan) => plan.warnings,
        Err(Mistakes(mistakes)) => mistakes,
    };
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_listener_can_have_blocks_of_its_own() {
    let plan = good(&format!(
        "{BASE}[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"udp:127.0.0.2:5060\"]\nallow = [\"10.0.0.0/8\"]\n\
         allow_on = {{ \"udp:127.0.0.2:5060\" = \"192.0.2.0/24\" }}\n"
    ));
    let allows = |listener, text: &str| plan.sip.stack.allows(ListenerId(listener), text.parse().expect("an address"));
    for (listener, address, want) in
        [(0, "10.1.1.1", true), (0, "192.0.2.1", false), (1, "10.1.1.1", false), (1, "192.0.2.1", true)]
    {
        assert_eq!(allows(listener, address), want, "{address} at {listener}");
    }
    let usual = good(&format!("{BASE}[sip]\nallow_on = {{ \"udp:127.0.0.1:5060\" = \"192.0.2.0/24\" }}\n"));
    assert!(!usual.sip.stack.allows(ListenerId(0), "127.0.0.1".parse().expect("an address")));
}

#[test]
fn limits_follow_from_each_other() {
    let stack = good(&format!("{BASE}[sip]\ntransactions_max = 1000\nsource_per_second_max = 50\n")).sip.stack;
    assert_eq!(stack.transactions_per_source_max, 750, "three quarters");
    assert_eq!(stack.source_rate, Some(TokenBucket { per_second: 50, burst: 50 }));
    let plan = good(&format!(
        "{BASE}[sip]\ntransactions_per_source_max = 20\nstateless_allowed_per_second_max = 7\nmemory_max_mib = 3\n"
    ));
    assert_eq!(plan.sip.stack.transactions_per_source_max, 20);
    assert_eq!(plan.sip.stack.source_rate, None);
    assert_eq!(plan.sip.stack.stateless_responses_allowed, TokenBucket { per_second: 7, burst: 14 });
    assert_eq!(plan.sip.memory_max, 3 << 20);
}

#[test]
fn who_may_route_is_a_class_of_its_own() {
    let stack = good(BASE).sip.stack;
    assert!(!stack.trusts("127.0.0.1".parse().expect("an address")), "nobody by default");
    assert_eq!((stack.preloaded, stack.lenient_request_uri), (Preloaded::Follow, true));
    assert_eq!((stack.transactions_per_call_max, stack.transactions_in_dialog_per_source_max), (16, 31_250));
    let stack = good(&format!(
        "{BASE}[sip]\ntrusted_proxies = [\"192.0.2.0/24\"]\npreloaded_route = \"remove\"\nlenient_request_uri = false\n\
         transactions_per_call_max = 4\ntransactions_in_dialog_max = 200000\n"
    ))
    .sip
    .stack;
    assert!(stack.trusts("192.0.2.9".parse().expect("an address")));
    assert_eq!((stack.preloaded, stack.lenient_request_uri), (Preloaded::Remove, false));
    assert_eq!((stack.transactions_per_call_max, stack.transactions_in_dialog_per_source_max), (4, 50_000));
}

#[test]
fn signed_values_outlive_their_calls() {
    let spans = |text: &str| {
        let sip = good(&format!("{BASE}{text}\n")).sip;
        let hours = |span: Duration| span.as_secs() / 3600;
        (hours(sip.stack.call_good_for), hours(sip.stack.dialog_good_for), hours(sip.route_key_age))
    };
    assert_eq!(spans(""), (36, 720, 720));
    assert_eq!(spans("[accounting]\nlifetime_s = 3600\n[sip]\nroute_key_days = 2"), (25, 48, 48));
    assert_eq!(spans("[accounting]\nlifetime_s = 0"), (720, 720, 720), "calls without an end");
}

#[test]
fn watched_calls_are_asked() {
    assert_eq!(good(BASE).accounting.pings, None);
    let pings = |text: &str| good(&format!("{BASE}[sip.watch]\n{text}\n")).accounting.pings;
    assert_eq!(pings("ping_s = 0"), None);
    let minute = Duration::from_secs(60);
    assert_eq!(pings("ping_s = 60"), Some(Pings { interval: minute, lost_max: 3 }));
    assert_eq!(pings("ping_s = 60\nlost_max = 1"), Some(Pings { interval: minute, lost_max: 1 }));
}

#[test]
fn targets_are_grouped_by_q() {
    let plan = good(
        "[[route]]\nto = [\"<sip:127.0.0.1>;q=0.5\", \"sip:127.0.0.2\", \"<sip:127.0.0.3>;q=0.5;ring_timeout_s=9\"]\n\
         fork = \"by-q\"\nring_timeout_s = 30\nredirects = \"follow\"\n",
    );
    let Action::Forward { groups, terms, redirects } = &plan.route[0].action else { panic!("a forward") };
    let shown: Vec<Vec<_>> = groups
        .iter()
        .map(|group| {
            let target = |own: &crate::policy::target::Destination| {
                let target = own.target(b"sip:a@b", *terms);
                let rings = target.ring_timeout.map(|span| span.as_secs());
                (String::from_utf8_lossy(&target.uri).into_owned(), rings)
            };
            group.iter().map(target).collect()
        })
        .collect();
    let row = |host: &str, secs| (format!("sip:a@{host}"), Some(secs));
    assert_eq!(shown, [vec![row("127.0.0.2", 30)], vec![row("127.0.0.1", 30), row("127.0.0.3", 9)]]);
    assert_eq!(*redirects, Redirects::Follow { ring_timeout: Some(Duration::from_secs(30)) });
}

#[test]
fn mistakes_are_named() {
    for (text, want) in [
        (
            "[sip]\nallow_on = { \"udp:127.0.0.1:5061\" = \"10.0.0.0/8\" }",
            "error: `udp:127.0.0.1:5061` is not in `sip.listen`\n  --> t.toml:4:14\nhint: did you mean `udp:127.0.0.1:5060`?",
        ),
        (
            "[sip]\nallow_on = { \"udp:127.0.0.1:5060\" = \"10.0.0.1/8\" }",
            "error: `10.0.0.1/8` has bits beyond its length of 8\n  --> t.toml:4:37",
        ),
        (
            "[sip]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "error: `10.0.0.1/8` has bits beyond its length of 8\n  --> t.toml:4:20",
        ),
        (
            "[sip]\nroute_key_days = 1",
            "error: `sip.route_key_days` is 1, but calls of `accounting.lifetime_s` need 2: a day more than they last\n  --> t.toml:4:18\nhint: set it to 2",
        ),
        (
            "[sip.watch]\nping_s = 5",
            "error: `sip.watch.ping_s` is 5, allowed is 0, or 40 to 86400\n  --> t.toml:4:10\nhint: an end has 32 s to answer",
        ),
        (
            "[[route]]\nmatch.user = \"x\"\nto = \"<sip:127.0.0.1>;q=2\"",
            "error: `<sip:127.0.0.1>;q=2`: behind the brackets stand `q`, from 0 to 1, `ring_timeout_s`, from 1 to 3600, and `next_on`\n  --> t.toml:5:6",
        ),
    ] {
        let base =
            if text.starts_with("[[") { BASE.replacen("to", "match.user = \"y\"\nto", 1) } else { BASE.to_owned() };
        let line = usize::from(text.starts_with("[["));
        let want = want.replace("t.toml:5:6", &format!("t.toml:{}:6", 5 + line));
        assert_eq!(findings(&format!("{base}{text}\n")), want);
    }
}
