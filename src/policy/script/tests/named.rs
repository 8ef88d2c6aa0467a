//! Functions that routes name.

use super::super::handlers::word_of;
use super::*;
use crate::policy::pattern::{Case, Pattern};
use crate::policy::routes::{Action, Condition};
use crate::policy::target::{Destination, Terms};
use crate::sip::dialog::Word;
use crate::sip::stack::{Redirects, Way};

/// Marks of all routes: by hand nothing marks sink 3.
const OF_ROUTES: Marks = Marks { accounting: SinkMask(1 << 3), ..Marks::NONE };

pub(super) fn route(name: &str, domain: &str, script: Option<&str>, to: Option<&str>) -> Route {
    let target = |to| Destination::parse(to).expect("a target");
    let forward =
        |to| Action::Forward { groups: vec![vec![target(to)]], terms: Terms::default(), redirects: Redirects::Pass };
    Route {
        name: name.to_owned(),
        condition: Condition { domains: vec![Pattern::new(domain, Case::Ignored)], ..Condition::default() },
        script: script.map(Box::from),
        action: to.map_or(Action::Script, forward),
        targets: Targets::Forward,
        marks: OF_ROUTES,
        fields: None,
        avps: Vec::new(),
        forwarding_legs: None,
    }
}

/// Requests for gold.example go to the function `gold`, whose route has no target; those for silver.example to `silver`, whose
/// route has; all others to bronze.
fn stage_of(text: &str, on_error: OnError) -> Stage {
    let routes = vec![
        route("to gold", "gold.example", Some("gold"), None),
        route("to silver", "silver.example", Some("silver"), Some("sip:192.0.2.42")),
        route("to bronze", "*", None, Some("sip:192.0.2.43")),
    ];
    let settings = Settings { on_error, ..settings(text) };
    load_with(&settings, routes, still).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn to(host: &str) -> RequestView {
    view(&INVITE.replacen("bob@example.com", &format!("bob@{host}"), 1))
}

/// Of the same call, with this word in its Route.
fn inside(word: Word) -> RequestView {
    let text = INVITE.replace("INVITE", "BYE").replace("To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=b1");
    RequestView { word, way: Way::Route, ..view(&text) }
}

const GOLD: &str = "function route.gold(req) do_accounting('log') relay('sip:192.0.2.41') end\n";
const SILVER: &str = "function route.silver(req) do_accounting('log') end\n";
const FAILING: &str = "function route.gold(req) do_accounting('log') error('no') end\n\
                       function route.silver(req) do_accounting('log') error('no') end\n";

#[test]
fn the_function_that_a_route_names_is_asked_about_its_requests() {
    let first = |body: &str| format!("{GOLD}{SILVER}function request_route(req) {body} end");
    use OnError::{Refuse, Routes};
    for (name, text, on_error, host, want, sinks, runs) in [
        ("its targets are taken", GOLD.into(), Routes, "gold.example", "at Addr(192.0.2.41:5060)", &[0, 3][..], 1),
        (
            "what it leaves goes to those of its route",
            SILVER.into(),
            Routes,
            "silver.example",
            "192.0.2.42",
            &[0, 3],
            1,
        ),
        ("and without any gets 404", "function route.gold() end".into(), Routes, "gold.example", "404 ", &[3], 1),
        ("requests of other routes ask nobody", [GOLD, SILVER].concat(), Routes, "example.com", "192.0.2.43", &[3], 0),
        ("a failure leaves them to the route", FAILING.into(), Routes, "silver.example", "192.0.2.42", &[0, 3], 1),
        ("where it has no target they get 500", FAILING.into(), Routes, "gold.example", "500 ", &[0, 3], 1),
        ("and where that is set", FAILING.into(), Refuse, "silver.example", "500 ", &[0, 3], 1),
        ("request_route comes first", first("relay('sip:192.0.2.40')"), Routes, "gold.example", "192.0.2.40", &[], 1),
        ("and may leave it to the route", first("do_accounting('evi')"), Routes, "gold.example", "41", &[0, 3, 4], 2),
        ("and may fail", first("error('no')"), Routes, "gold.example", "192.0.2.41", &[0, 3], 2),
        ("which is refused where that is set", first("error('no')"), Refuse, "gold.example", "500 ", &[], 1),
        ("a route whose function is gone", String::new(), Routes, "silver.example", "192.0.2.42", &[3], 0),
        ("or is the route's only way", String::new(), Routes, "gold.example", "500 ", &[3], 0),
        ("`route` may be anything to a script", "route = 5".into(), Routes, "example.com", "192.0.2.43", &[3], 0),
    ] {
        let mut stage = stage_of(&text, on_error);
        let decision = stage.request(&to(host));
        assert!(targets(&decision.treatment).contains(want), "{name}: {}", targets(&decision.treatment));
        assert_eq!(decision.marks.accounting, mask(sinks), "{name}");
        assert_eq!(stage.ear.runs.load(Ordering::Relaxed), runs, "{name}");
    }
}

#[test]
fn a_request_is_recorded_as_its_route_says_and_its_targets_are_what_the_function_says() {
    let alternatives = "function route.gold() relay{ 'sip:192.0.2.41', targets = 'alternatives' } end";
    let forward = "function route.gold() relay{ 'sip:192.0.2.41', targets = 'forward' } end";
    for (text, want) in [(alternatives, Targets::Alternatives), (forward, Targets::Forward)] {
        let decision = stage_of(text, OnError::Routes).request(&to("gold.example"));
        let account = decision.account.expect("an account");
        assert_eq!((account.name.as_str(), account.targets), ("to gold", want), "{text}");
    }
}

#[test]
fn later_requests_of_its_dialog_come_to_the_same_function() {
    let follow = "function route.gold(req) if req.has_totag then do_accounting('evi') return relay() end\n\
                  relay('sip:192.0.2.41') end\n";
    let all = "function request_route(req) if req.has_totag then do_accounting('log') end end\n";
    for (name, text, word, sinks, runs) in [
        ("the function is asked", follow.to_owned(), word_of("gold"), &[4][..], 1),
        ("a call of no function asks none", follow.to_owned(), Word::NONE, &[], 0),
        ("nor does one whose function the script has no more", follow.to_owned(), word_of("silver"), &[], 0),
        ("request_route is asked before", [follow, all].concat(), word_of("gold"), &[0, 4], 2),
    ] {
        let mut stage = stage_of(&text, OnError::Refuse);
        let decision = stage.request(&inside(word));
        assert_eq!(targets(&decision.treatment), "by its Route", "{name}");
        assert_eq!((decision.marks.accounting, decision.account.is_none()), (mask(sinks), true), "{name}");
        assert_eq!((stage.ear.runs.load(Ordering::Relaxed), stage.failures()), (runs, String::new()), "{name}");
    }
    // So they bring it along.
    let text = format!("{GOLD}{SILVER}function branch_route.each(req) append_hf('X-A', 'b') end\n")
        .replace("relay(", "on_branch('each') relay(");
    for (name, host, want) in [
        ("where the function decides", "gold.example", word_of("gold")),
        ("where its route does", "silver.example", word_of("silver")),
        ("where no function was asked", "example.com", Word::NONE),
    ] {
        let decision = stage_of(&text, OnError::Routes).request(&to(host));
        let Treatment::Forward(plan) = decision.treatment else { panic!("{name}: {:?}", decision.treatment) };
        let word = plan.groups[0][0].edits.as_ref().map_or(Word::NONE, |edits| edits.word);
        assert_eq!(word, want, "{name}");
    }
    assert_eq!((word_of("gold"), word_of("silver")), (Word(0xec66_d793), Word(0xb554_f920)), "in every release");
}

#[test]
fn a_function_that_fails_inside_a_dialog_does_not_keep_the_request() {
    for on_error in [OnError::Routes, OnError::Refuse] {
        let decision = stage_of(FAILING, on_error).request(&inside(word_of("gold")));
        assert_eq!(targets(&decision.treatment), "by its Route");
        assert_eq!(decision.marks.accounting, mask(&[0]));
    }
}
