//! Whatever leaves goes by the table of routes or along a dialog that passes here: random requests of strangers, peers and
//! trusted proxies, with To tags and signed values that are real, of another call or made up, and Routes and Request-URIs
//! of every shape.

use std::net::{IpAddr, SocketAddr};

use super::protection::network;
use super::script::{Play, address, header, headers, settings};
use super::storm::{Rng, seeds};
use crate::clock::Now;
use crate::sip::dialog::{Dialogs, Direction, Known};
use crate::sip::message::{Message, Name};
use crate::sip::stack::{
    Destination, Event, Hop, Input, ListenerId, NextOn, Onward, Output, Peer, Plan, Settings, Stack, Target, Treatment,
};

const SEEDS: u64 = 60;
const REQUESTS: u32 = 150;

/// Who sends: the class, the address, and what it may reach.
const SENDERS: [(&str, &str); 4] = [
    ("stranger", "203.0.113.66:5060"),
    ("peer", "192.0.2.30:5060"),
    ("caller", "192.0.2.10:5062"),
    ("proxy", "192.0.2.77:5060"),
];

/// Keeps one dialog: alice called bob, and a proxy stands in front of bob.
struct Kept;

impl Dialogs for Kept {
    fn find(&self, request: &Message) -> Option<Known<'_>> {
        let routes = b"<sip:192.0.2.21;lr>";
        match (request.call_id(), request.from_tag(), request.to_tag()) {
            (b"kept", b"alice", b"bob") => {
                Some(Known { direction: Direction::Downstream, target: b"sip:bob@192.0.2.22:5070", routes })
            }
            (b"kept", b"bob", b"alice") => {
                Some(Known { direction: Direction::Upstream, target: b"sip:alice@192.0.2.10:5062", routes: b"" })
            }
            _ => None,
        }
    }
}

/// Where requests of the calls there are may go: the two ends, and the proxy in front of bob.
fn is_of_a_call(ip: IpAddr) -> bool {
    ["192.0.2.10", "192.0.2.20", "192.0.2.21"].iter().any(|own| ip == own.parse::<IpAddr>().expect("an address"))
}

struct World {
    stack: Stack,
    rng: Rng,
    /// A signed value of a call of alice and bob that has been answered.
    signed: String,
    /// How many requests left, by the place in [`SENDERS`].
    left: [u32; 4],
}

impl World {
    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.rng.below(texts.len() as u64) as usize]
    }

    /// A text, mostly the first one that is given.
    fn mostly<'a>(&mut self, right: &'a str, texts: &[&'a str]) -> &'a str {
        if self.rng.chance(60) { right } else { self.pick(texts) }
    }

    /// A request of the call that was answered, of which nothing, something or everything is not right.
    fn request(&mut self, via: &str, number: u32) -> String {
        let (caller, callee, target) = match self.rng.chance(50) {
            true => ("alice", "bob", "sip:bob@192.0.2.20"),
            false => ("bob", "alice", "sip:alice@192.0.2.10:5062"),
        };
        let method =
            self.pick(&["INVITE", "BYE", "INFO", "UPDATE", "PRACK", "MESSAGE", "NOTIFY", "REFER", "ACK", "SUBSCRIBE"]);
        let signed = self.signed.clone();
        let bare = signed.trim_matches(['<', '>']).to_owned();
        let forged = signed.replace("tg=", "tg=0");
        let uri = self
            .mostly(
                target,
                &[
                    "sip:bob@192.0.2.20",
                    "sip:bob@192.0.2.22:5070",
                    "sip:alice@192.0.2.10:5062",
                    "sip:x@198.51.100.9:7000",
                    "sip:x@evil.example",
                    "sip:bob@192.0.2.1",
                    "sip:192.0.2.1;lr",
                    "sip:gateway.example",
                    "tel:+4021",
                    "sip:x@192.0.2.20;maddr=198.51.100.9",
                    "sips:x@198.51.100.9",
                    "sip:192.0.2.1;lr;tg=0123456789abcdef",
                    &bare,
                ],
            )
            .to_owned();
        let is_right = self.rng.chance(40);
        let mut routes = if is_right { format!("Route: {signed}\r\n") } else { String::new() };
        for _ in 0..if is_right { 0 } else { self.rng.below(4) } {
            let value = self
                .pick(&[
                    &signed,
                    &signed,
                    &forged,
                    "<sip:192.0.2.1;lr>",
                    "<sip:192.0.2.1;lr;r2=on>, <sip:[2001:db8::1];lr;r2=on>",
                    "<sip:gateway.example;lr>",
                    "<sip:198.51.100.9;lr>",
                    "<sip:198.51.100.9>",
                    "<sip:evil.example;lr>",
                    "<sip:192.0.2.20;lr>",
                    "<sip:192.0.2.21;lr>",
                    "<sip:x@198.51.100.9>;a=b",
                    "<sip:192.0.2.20;lr;maddr=198.51.100.9>",
                    "garbage",
                ])
                .to_owned();
            routes.push_str(&format!("Route: {value}\r\n"));
        }
        let call_id = self.mostly("call-1", &["call-1", "kept", "early", "other"]);
        let tags = ["alice", "bob", "made-up", ""];
        let (from, to) = (self.mostly(caller, &tags), self.mostly(callee, &tags));
        let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK-r{number}\r\n{routes}Max-Forwards: 70\r\n\
             From: <sip:f@x>{}\r\nTo: <sip:t@x>{}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\nContact: <sip:c@{via}>\r\n\
             Content-Length: 0\r\n\r\n",
            tag(from),
            tag(to)
        )
    }

    /// Sends one random request; holds what comes of it against the rule.
    fn send(&mut self, number: u32) {
        let sender = self.rng.below(SENDERS.len() as u64) as usize;
        let (class, from) = SENDERS[sender];
        let text = self.request(from, number);
        let peer = Peer { listener: ListenerId(0), addr: from.parse().expect("an address") };
        let message = Message::parse(text.clone().into_bytes());
        let mut inputs = vec![Input::Received { peer, message }];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.stack.handle(Now::default(), input, &Kept, &mut out);
            for output in out {
                match output {
                    Output::Request { transaction } => {
                        // Whatever policy says of it.
                        let treatment =
                            if self.rng.chance(60) { Treatment::FollowRoute { edits: None } } else { table() };
                        let view = self.stack.request(transaction).expect("a request");
                        let treatment = if view.in_dialog { Treatment::FollowRoute { edits: None } } else { treatment };
                        inputs.push(Input::Decide { transaction, treatment });
                    }
                    Output::Event { held: Some((transaction, response)), .. } => {
                        inputs.push(Input::Release { transaction, response });
                    }
                    Output::Event { event: Event::RoundFailed { transaction, .. }, .. } => {
                        inputs.push(Input::Proceed { transaction, onward: Onward::AsPlanned });
                    }
                    Output::Resolve { query, host, .. } => {
                        assert_eq!(class, "proxy", "led to {host}:\n{text}");
                        let addr = SocketAddr::from(([198, 51, 100, 9], 5060));
                        inputs
                            .push(Input::Resolved { query, destinations: vec![Destination { addr, transport: None }] });
                    }
                    Output::Send { peer, bytes, .. } if !bytes.starts_with(b"SIP/2.0") => {
                        self.left[sender] += 1;
                        let sent = Message::parse(bytes.to_vec()).expect("a message");
                        check(class, &text, peer.addr, &sent);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The one route of the table.
fn table() -> Treatment {
    let target = Target {
        uri: "sip:t@192.0.2.20".into(),
        hop: Hop::Addr(address("bob")),
        transport: None,
        ring_timeout: None,
        next_on: NextOn::default(),
        edits: None,
    };
    Treatment::Forward(Plan { groups: vec![vec![target]], ..Plan::default() })
}

fn check(class: &str, text: &str, to: SocketAddr, sent: &Message) {
    if class == "proxy" {
        return;
    }
    let sent_text = String::from_utf8_lossy(sent.bytes());
    if sent.to_tag().is_empty() {
        assert_ne!(class, "stranger", "a stranger's new request:\n{text}");
        assert_eq!(to, address("bob"), "past the table:\n{text}");
        assert_eq!(sent.values(Name::Route).count(), 0, "with a way of its own:\n{text}\n{sent_text}");
        return;
    }
    assert!(is_of_a_call(to.ip()), "to {to}:\n{text}\n{sent_text}");
    assert!(matches!(sent.call_id(), b"call-1" | b"kept" | b"early"), "of no call:\n{text}");
    // A signed value covers the caller's tag, whatever the other one is.
    assert!([sent.from_tag(), sent.to_tag()].contains(&&b"alice"[..]), "of no dialog:\n{text}");
    if class == "stranger" {
        assert!(text.contains(";tu="), "without a signature:\n{text}");
    }
}

#[test]
fn what_leaves_goes_by_the_table_or_along_a_dialog() {
    let mut left = [0; 4];
    for seed in seeds(SEEDS) {
        let own = Settings {
            trusted_proxies: vec![network("192.0.2.77", 32)],
            transactions_per_call_max: 10_000,
            ..settings()
        };
        let mut flow = Play::new("before", "bob", own);
        flow.play("an answered call");
        let signed = headers(&flow.got("bob", "INVITE"), "Record-Route").next().expect("a value").to_owned();
        // Another call rings.
        flow.send("alice", &header_swap(&invite_of_alice(), "early"));
        flow.play("bob gets INVITE\nbob sends 180\nalice gets 180");
        assert!(header(&flow.got("alice", "180"), "To").is_some_and(|to| to.ends_with("tag=bob")));
        let mut world = World { stack: flow.stack, rng: Rng(seed), signed, left: [0; 4] };
        for number in 0..REQUESTS {
            world.send(number + 100);
        }
        left.iter_mut().zip(world.left).for_each(|(all, own)| *all += own);
    }
    println!("left, by stranger, peer, caller, proxy: {left:?}");
    assert!(left.iter().all(|count| *count > 100), "each class must get something through: {left:?}");
}

fn invite_of_alice() -> String {
    "INVITE sip:bob@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-early\r\nMax-Forwards: 70\r\n\
     From: <sip:alice@example.org>;tag=alice\r\nTo: <sip:bob@example.org>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\n\
     Contact: <sip:alice@192.0.2.10:5062>\r\nContent-Length: 0\r\n\r\n"
        .to_owned()
}

fn header_swap(text: &str, call_id: &str) -> String {
    text.replace("Call-ID: call-1", &format!("Call-ID: {call_id}"))
}
