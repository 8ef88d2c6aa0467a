//! Calls over a network that loses, doubles and reorders datagrams, with responses released late. Whatever happens: no
//! request or final response is told twice, nothing provisional follows a final response, every 2xx reaches the caller, and
//! in the end all tables are empty.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::script::{address, header, headers, response, settings};
use crate::clock::{Instant, Now};
use crate::sip::message::Message;
use crate::sip::stack::{
    self, Hop, Input, ListenerId, NextOn, Onward, Output, Peer, Plan, ServerId, Sizes, Stack, Target, Treatment,
};

/// Seeds that are run.
const SEEDS: u64 = 700;
/// Calls of one seed.
const CALLS: usize = 4;
/// How often a message is sent again.
const REPEATS: u32 = 10;

pub struct Rng(pub u64);

/// So many seeds, from the one that `TOLLGATE_SEED` names, else from 0: a run with another start looks at other flows.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let start = std::env::var("TOLLGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    println!("seeds {start} to {}", start + count - 1);
    start..start + count
}

impl Rng {
    /// splitmix64
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// What happens later.
enum Event {
    /// A datagram arrives at the stack from this actor.
    ToStack(&'static str, String),
    /// A datagram arrives at an actor.
    ToActor(&'static str, String),
    /// An actor sends a message, and again until the key is settled.
    Send { who: &'static str, text: String, key: String, left: u32, pause: Duration },
    /// A held response is let go.
    Release(Input),
    /// An actor begins something new, unless the key is settled.
    Begin { who: &'static str, text: String, key: String, repeats: bool, unless: String },
}

struct Storm {
    stack: Stack,
    now: Now,
    rng: Rng,
    loss: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    order: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Retransmissions that have done their work.
    settled: HashSet<String>,
    /// Requests an actor has acted on.
    acted: HashSet<String>,
    /// (call, tag) of 2xx that callees sent, and that the caller got.
    accepted: BTreeSet<(String, String)>,
    answered: BTreeSet<(String, String)>,
    /// Calls whose caller was sent a final response to INVITE.
    finished: HashSet<String>,
    live: HashMap<ServerId, String>,
    told: HashSet<String>,
    problems: Vec<String>,
}

const CALLEES: [&str; 3] = ["bob", "carol", "dave"];

fn tag_of(text: &str, name: &str) -> String {
    header(text, name).and_then(|value| value.split_once(";tag=")).map_or(String::new(), |(_, tag)| tag.to_owned())
}

/// Call-ID, CSeq and branch: one transaction as an actor sees it.
fn key_of(text: &str) -> String {
    let part = |name| header(text, name).unwrap_or_default();
    format!("{} {} {}", part("Call-ID"), part("CSeq"), part("Via"))
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let loss = [0, 5, 20][rng.below(3) as usize];
        Self {
            stack: Stack::new(settings()),
            now: Now::default().after(Duration::from_secs(1)),
            rng,
            loss,
            queue: BTreeMap::new(),
            serial: 0,
            order: BinaryHeap::new(),
            settled: HashSet::new(),
            acted: HashSet::new(),
            accepted: BTreeSet::new(),
            answered: BTreeSet::new(),
            finished: HashSet::new(),
            live: HashMap::new(),
            told: HashSet::new(),
            problems: Vec::new(),
        }
    }

    fn at(&mut self, after: Duration, event: Event) {
        let place = (self.now.mono + after, self.serial);
        self.serial += 1;
        self.queue.insert(place, event);
        self.order.push(Reverse(place));
    }

    /// Puts a datagram on the wire: lost, doubled or late by chance.
    fn wire(&mut self, event: impl Fn() -> Event) {
        for _ in 0..=u8::from(self.rng.chance(self.loss)) {
            if !self.rng.chance(self.loss) {
                let late = self.rng.millis(if self.loss > 0 { 120 } else { 2 });
                self.at(late, event());
            }
        }
    }

    fn send(&mut self, who: &'static str, text: String, key: String, pause: Duration) {
        self.at(Duration::ZERO, Event::Send { who, text, key, left: REPEATS, pause });
    }

    fn once(&mut self, who: &'static str, text: &str) {
        self.wire(|| Event::ToStack(who, text.to_owned()));
    }

    fn run(&mut self) {
        for call in 0..CALLS {
            let invite = format!(
                "INVITE sip:callee@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-{call}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@x>;tag=a{call}\r\nTo: <sip:b@x>\r\nCall-ID: c{call}\r\n\
                 CSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.10:5062>\r\nContent-Length: 0\r\n\r\n"
            );
            let key = key_of(&invite);
            self.send("alice", invite.clone(), key, Duration::from_millis(500));
            if self.rng.chance(30) {
                let after = self.rng.millis(12_000);
                let (text, unless) = (invite.replace("INVITE", "CANCEL"), format!("final c{call}"));
                self.at(after, Event::Begin { who: "alice", key: key_of(&text), text, repeats: true, unless });
            }
        }
        loop {
            let next = self.order.peek().map(|Reverse(place)| place.0);
            let due = self.stack.deadline().map(|due| due.max(self.now.mono));
            let Some(at) = next.into_iter().chain(due).min() else { break };
            self.now = self.now.after(at.since(self.now.mono));
            if next.is_some_and(|next| due.is_none_or(|due| next <= due)) {
                let Some(Reverse(place)) = self.order.pop() else { break };
                if let Some(event) = self.queue.remove(&place) {
                    self.happen(event);
                }
            } else {
                let mut out = Vec::new();
                self.stack.tick(self.now, &mut out);
                self.perform(out);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToStack(who, text) => {
                let addr = address(who);
                let peer = Peer { listener: ListenerId(u16::from(addr.is_ipv6())), addr };
                self.input(Input::Received { peer, message: Message::parse(text.into_bytes()) });
            }
            Event::ToActor("alice", text) => self.caller(&text),
            Event::ToActor(who, text) => self.callee(who, &text),
            Event::Send { who, text, key, left, pause } => {
                if left > 0 && !self.settled.contains(&key) {
                    self.once(who, &text);
                    let longer = (pause * 2).min(Duration::from_secs(4));
                    self.at(pause, Event::Send { who, text, key, left: left - 1, pause: longer });
                }
            }
            Event::Release(input) => self.input(input),
            Event::Begin { who, text, key, repeats, unless } => {
                if self.settled.contains(&unless) {
                    return;
                }
                if text.starts_with("SIP/2.0 2") {
                    let call = header(&text, "Call-ID").unwrap_or_default().to_owned();
                    self.accepted.insert((call, who.to_owned()));
                }
                if repeats {
                    self.send(who, text, key, Duration::from_millis(500));
                } else {
                    self.once(who, &text);
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.stack.handle(self.now, input, &(), &mut out);
        self.perform(out);
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { authority: Some(_), .. } => self.problems.push("named a certificate".to_owned()),
                Output::Send { peer, bytes, .. } => self.sent(peer.addr, &bytes),
                Output::Request { transaction } => self.requested(transaction),
                Output::Event { event, held } => {
                    self.happened(&event);
                    if let stack::Event::RoundFailed { transaction, .. } = event {
                        self.input(Input::Proceed { transaction, onward: Onward::AsPlanned });
                    }
                    if let Some((transaction, response)) = held {
                        let late = self.rng.millis(40);
                        self.at(late, Event::Release(Input::Release { transaction, response }));
                    }
                }
                Output::Ignored { .. } | Output::Orphan { .. } | Output::Turned { .. } => {}
                Output::Resolve { .. } => self.problems.push("asked for a name".to_owned()),
            }
        }
    }

    fn happened(&mut self, event: &stack::Event) {
        use stack::Event::{Acknowledged, Cancelled, Final, Lost, Provisional, RoundFailed, Terminated};
        match event {
            Final { transaction, response } => {
                let tag = response.message.as_ref();
                let tag = tag.map(|message| String::from_utf8_lossy(message.to_tag()).into_owned());
                let (call, code) = (self.live.get(transaction).cloned().unwrap_or_default(), response.code);
                if call.is_empty() || !self.told.insert(format!("final {call} {code} {tag:?}")) {
                    self.problems.push(format!("told twice: {call} {code} {tag:?}"));
                }
            }
            // CANCELs end too, without ever having been told.
            Terminated { transaction } => _ = self.live.remove(transaction),
            Cancelled { transaction, .. }
            | Lost { transaction, .. }
            | Provisional { transaction, .. }
            | RoundFailed { transaction, .. } => {
                if !self.live.contains_key(transaction) {
                    self.problems.push("told of a transaction that is gone".to_owned());
                }
            }
            Acknowledged { .. } => {}
        }
    }

    fn requested(&mut self, transaction: ServerId) {
        let view = self.stack.request(transaction).expect("a new request has its view");
        let text = String::from_utf8_lossy(view.message.bytes()).into_owned();
        let name = key_of(&text);
        if !self.told.insert(format!("request {name}")) {
            self.problems.push(format!("request told twice: {name}"));
        }
        let in_dialog = view.in_dialog;
        self.live.insert(transaction, name);
        let target = |who: &str, ring: u64| Target {
            uri: Bytes::from(format!("sip:{who}@target.example")),
            hop: Hop::Addr(address(who)),
            transport: None,
            ring_timeout: (ring > 0).then(|| Duration::from_secs(ring)),
            next_on: NextOn::default(),
            edits: None,
        };
        let ring = self.rng.below(6);
        let groups = match self.rng.below(3) {
            0 => vec![CALLEES.map(|who| target(who, ring)).into()],
            1 => CALLEES.iter().map(|who| vec![target(who, ring)]).collect(),
            _ => vec![vec![target("bob", ring), target("carol", 0)], vec![target("dave", ring)]],
        };
        let treatment = if in_dialog {
            Treatment::FollowRoute { edits: None }
        } else {
            Treatment::Forward(Plan { groups, ..Plan::default() })
        };
        self.input(Input::Decide { transaction, treatment });
    }

    fn sent(&mut self, to: SocketAddr, bytes: &Bytes) {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let who = ["alice", "bob", "carol", "dave"].into_iter().find(|who| address(who) == to).expect("an actor");
        if who == "alice" && text.starts_with("SIP/2.0") && text.contains("CSeq: 1 INVITE") {
            let call = header(&text, "Call-ID").unwrap_or_default().to_owned();
            if !text.starts_with("SIP/2.0 1") {
                self.finished.insert(call);
            } else if self.finished.contains(&call) {
                self.problems.push(format!("provisional after final: {text}"));
            }
        }
        self.wire(|| Event::ToActor(who, text.clone()));
    }

    fn caller(&mut self, text: &str) {
        if !text.starts_with("SIP/2.0") {
            return self.once("alice", &response(text, "200", "alice", "alice"));
        }
        let call = header(text, "Call-ID").unwrap_or_default().to_owned();
        self.settled.insert(key_of(text));
        let cseq = header(text, "CSeq").unwrap_or_default();
        if cseq != "1 INVITE" || text.starts_with("SIP/2.0 1") {
            return;
        }
        self.settled.insert(format!("final {call}"));
        let to = header(text, "To").unwrap_or_default();
        if text.starts_with("SIP/2.0 2") {
            let route: Vec<&str> = headers(text, "Record-Route").collect();
            let route: String = route.iter().rev().map(|value| format!("Route: {value}\r\n")).collect();
            let target = header(text, "Contact").unwrap_or_default().trim_matches(['<', '>']);
            let tag = tag_of(text, "To");
            let request = |method: &str, number: u32| {
                format!(
                    "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-{call}{tag}{method}\r\n\
                     {route}Max-Forwards: 70\r\nFrom: <sip:alice@x>;tag=a{}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
                     CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n",
                    &call[1..]
                )
            };
            self.once("alice", &request("ACK", 1));
            if self.answered.insert((call.clone(), tag.clone())) {
                let bye = request("BYE", 2);
                let key = format!("{call} 2 BYE {}", header(&bye, "Via").unwrap_or_default());
                let after = self.rng.millis(20_000);
                let unless = String::new();
                self.at(after, Event::Begin { who: "alice", text: bye, key, repeats: true, unless });
            }
        } else {
            let ack = format!(
                "ACK sip:callee@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-{}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@x>;tag=a{}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 1 ACK\r\n\
                 Content-Length: 0\r\n\r\n",
                &call[1..],
                &call[1..]
            );
            self.once("alice", &ack);
        }
    }

    fn callee(&mut self, who: &'static str, text: &str) {
        let call = header(text, "Call-ID").unwrap_or_default().to_owned();
        let leg = format!("{call} {who} {}", header(text, "Via").unwrap_or_default());
        let half = Duration::from_millis(500);
        match text.split(' ').next().unwrap_or_default() {
            "INVITE" if self.acted.insert(leg.clone()) => {
                let over = format!("over {leg}");
                if self.rng.chance(70) {
                    let (after, text) = (self.rng.millis(2_500), response(text, "180", who, who));
                    self.at(
                        after,
                        Event::Begin { who, text, key: String::new(), repeats: false, unless: over.clone() },
                    );
                }
                let code = ["200", "200", "486", "404", "503", "603", "302", ""][self.rng.below(8) as usize];
                if !code.is_empty() {
                    let (after, text) = (self.rng.millis(9_000), response(text, code, who, who));
                    let (key, unless) = (format!("acked {call} {who}"), over);
                    self.at(after, Event::Begin { who, text, key, repeats: true, unless });
                }
                // For the 487 that a CANCEL asks for.
                self.acted.insert(format!("invite {leg}\n{text}"));
            }
            "CANCEL" => {
                self.once(who, &response(text, "200", who, who));
                let over = format!("over {leg}");
                let is_answered = self.accepted.contains(&(call.clone(), who.to_owned()));
                if !is_answered && self.settled.insert(over) {
                    let mark = format!("invite {leg}\n");
                    let invite = self.acted.iter().find_map(|own| own.strip_prefix(&mark)).map(str::to_owned);
                    if let Some(invite) = invite {
                        self.send(who, response(&invite, "487", who, who), format!("acked {call} {who}"), half);
                    }
                }
            }
            "ACK" => {
                self.settled.insert(format!("acked {call} {who}"));
            }
            "BYE" => self.once(who, &response(text, "200", who, who)),
            _ => {}
        }
    }
}

#[test]
fn a_bad_network_confuses_nothing() {
    let mut accepted = 0;
    for seed in seeds(SEEDS) {
        let mut storm = Storm::new(seed);
        storm.run();
        assert!(storm.problems.is_empty(), "seed {seed}: {:#?}", storm.problems);
        assert!(storm.live.is_empty(), "seed {seed}: never ended: {:?}", storm.live);
        assert_eq!(storm.stack.sizes(), Sizes::default(), "seed {seed}: something is left");
        assert!(storm.queue.is_empty(), "seed {seed}");
        let missing: Vec<_> = storm.accepted.difference(&storm.answered).collect();
        assert!(missing.is_empty(), "seed {seed}: the caller never got the 200 of {missing:?}");
        let calls = storm.finished.len();
        assert!(calls <= CALLS && (storm.loss > 0 || calls == CALLS), "seed {seed}: {calls} calls ended");
        accepted += storm.answered.len();
    }
    assert!(accepted > 500, "only {accepted} calls were answered");
}
