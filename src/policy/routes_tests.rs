//! Which route a request takes.

use std::net::SocketAddr;
use std::rc::Rc;

use super::pattern::{Case, Pattern};
use super::routes::{Action, Condition};
use super::target::{Destination, Terms};
use super::{Marks, Route, Routes, Targets};
use crate::clock::Now;
use crate::ids::{SinkMask, SinkNumber};
use crate::sip::message::Message;
use crate::sip::stack::{ListenerId, Network, Peer, Redirects, RequestView, Treatment};

fn view(method: &str, uri: &str, source: &str, to_tag: &str) -> RequestView {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>{to_tag}\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nX-Trunk: gold 7\r\nContent-Length: 0\r\n\r\n"
    );
    let source: SocketAddr = source.parse().expect("an address");
    let message = Message::parse(text.into_bytes()).expect("a message");
    RequestView::of(Rc::new(message), Peer { listener: ListenerId(0), addr: source }, Now::default())
}

fn route(name: &str, condition: Condition) -> Route {
    let target = Destination::parse("sip:10.0.0.5").expect("a target");
    Route {
        name: name.to_owned(),
        condition,
        script: None,
        action: Action::Forward { groups: vec![vec![target]], terms: Terms::default(), redirects: Redirects::Pass },
        targets: Targets::default(),
        marks: Marks { accounting: SinkMask::NONE.with(SinkNumber(0)), ..Marks::NONE },
        fields: None,
        avps: Vec::new(),
        forwarding_legs: None,
    }
}

fn pattern(text: &str, case: Case) -> Vec<Pattern> {
    vec![Pattern::new(text, case)]
}

fn routes() -> Routes {
    let network = Network::new([10, 0, 0, 0].into(), 8);
    let list = [
        ("numbers", Condition { prefixes: vec![(*b"+40").into(), (*b"0040").into()], ..Condition::default() }),
        (
            "messages of partners",
            Condition { methods: vec![b"MESSAGE".to_vec()], sources: vec![network], ..Condition::default() },
        ),
        ("extensions", Condition { users: pattern("7??", Case::Matters), ..Condition::default() }),
        ("domain", Condition { domains: pattern("*.example.org", Case::Ignored), ..Condition::default() }),
        (
            "trunk",
            Condition {
                prefixes: vec![(*b"9").into()],
                header: Some(("x-trunk".into(), Some(Pattern::new("gold *", Case::Matters)))),
                ..Condition::default()
            },
        ),
    ];
    Routes::new(list.into_iter().map(|(name, condition)| route(name, condition)).collect(), Marks::NONE)
}

#[test]
fn the_first_route_that_matches_decides() {
    let routes = routes();
    for (name, method, uri, source, want) in [
        ("a number by its prefix", "INVITE", "sip:+4021@gw", "192.0.2.1:5060", Some("numbers")),
        ("a number by its other prefix", "INVITE", "sip:004021@gw", "192.0.2.1:5060", Some("numbers")),
        ("an escaped plus is a plus", "INVITE", "sip:%2b4021@gw", "192.0.2.1:5060", Some("numbers")),
        ("a tel: number", "INVITE", "tel:+4021", "192.0.2.1:5060", Some("numbers")),
        ("the earlier of two", "MESSAGE", "sip:+4021@gw", "10.1.1.1:5060", Some("numbers")),
        ("method and source", "MESSAGE", "sip:bob@gw", "10.1.1.1:5060", Some("messages of partners")),
        (
            "an IPv4 source mapped into IPv6",
            "MESSAGE",
            "sip:gw",
            "[::ffff:10.1.1.1]:5060",
            Some("messages of partners"),
        ),
        ("the method alone is not enough", "MESSAGE", "sip:bob@gw", "192.0.2.1:5060", None),
        ("three digits", "INVITE", "sip:712@gw", "192.0.2.1:5060", Some("extensions")),
        ("four digits", "INVITE", "sip:7123@gw", "192.0.2.1:5060", None),
        ("a host in any case", "INVITE", "sip:bob@SIP.Example.ORG", "192.0.2.1:5060", Some("domain")),
        ("a host without a user", "OPTIONS", "sip:sip.example.org", "192.0.2.1:5060", Some("domain")),
        ("a header", "INVITE", "sip:9@gw", "192.0.2.1:5060", Some("trunk")),
        ("a broken escape stays text", "INVITE", "sip:%zz@gw", "192.0.2.1:5060", None),
    ] {
        let view = view(method, uri, source, "");
        let decision = routes.decide(&view);
        assert_eq!(decision.account.as_ref().map(|route| route.name.as_str()), want, "{name}");
    }
}

#[test]
fn a_match_forwards_with_the_marks_of_its_route() {
    let routes = routes();
    let view = view("INVITE", "sip:+4021@gw", "192.0.2.1:5060", "");
    let decision = routes.decide(&view);
    let Treatment::Forward(plan) = decision.treatment else { panic!("{:?}", decision.treatment) };
    assert_eq!(plan.groups[0][0].uri, "sip:+4021@10.0.0.5");
    assert!(decision.marks.accounting.has(SinkNumber(0)));
}

#[test]
fn what_no_route_matches_gets_404() {
    let routes = routes();
    for (name, method, uri, to_tag, want) in [
        ("a call", "INVITE", "sip:bob@gw", "", Some(404)),
        ("OPTIONS for a user", "OPTIONS", "sip:bob@gw", "", Some(404)),
        ("OPTIONS for the gateway", "OPTIONS", "sip:gw", "", Some(200)),
        ("a request in a dialog follows its Route", "BYE", "sip:bob@gw", ";tag=2", None),
    ] {
        let view = view(method, uri, "192.0.2.1:5060", to_tag);
        let decision = routes.decide(&view);
        let code = match decision.treatment {
            Treatment::Respond { code, .. } => Some(code),
            Treatment::FollowRoute { .. } => None,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(code, want, "{name}");
        assert!(decision.account.is_none(), "{name}");
    }
}

#[test]
fn an_answer_route_answers() {
    let contact = |text| Destination::parse(text).expect("a target");
    let contacts = vec![contact("sip:10.0.0.9"), contact("<sip:bob@10.0.0.8;transport=tcp>;q=0.25")];
    let action = Action::Answer { code: 302, reason: "Away".into(), retry_after_s: Some(60), contacts };
    let routes = Routes::new(vec![Route { action, ..route("closed", Condition::default()) }], Marks::NONE);
    for (uri, first) in
        [("sip:+4021@gw", "<sip:+4021@10.0.0.9>"), ("sip:gw", "<sip:10.0.0.9>"), ("urn:service:sos", "<sip:10.0.0.9>")]
    {
        let contacts = vec![first.into(), "<sip:bob@10.0.0.8;transport=tcp>;q=0.25".into()];
        let want = Treatment::Respond { code: 302, reason: "Away".into(), retry_after_s: Some(60), contacts };
        assert_eq!(routes.decide(&view("INVITE", uri, "192.0.2.1:5060", "")).treatment, want, "{uri}");
    }
}

#[test]
fn marks_take_the_numbers_of_the_queue() {
    let marks = Marks { accounting: SinkMask(0b111), missed: SinkMask(0b010), failed: SinkMask::NONE };
    let got = marks.renumbered(&[SinkNumber(5), SinkNumber(0)]);
    assert_eq!(got, Marks { accounting: SinkMask(0b10_0001), missed: SinkMask(1), failed: SinkMask::NONE });
}
