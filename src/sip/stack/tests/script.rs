//! Plays a flow written as sentences against the stack, in virtual time.
//!
//! Actors are alice (caller), bob, carol and dave, each at an address of its own. Lines:
//! `alice sends INVITE` (BYE, ACK, CANCEL, OPTIONS; a code answers the last request got, or `to METHOD`; `tag T` sets the
//! To tag), `alice repeats INVITE`, `bob gets INVITE with TEXT` (or `without TEXT`), `bob gets nothing`, `after 200 ms`,
//! `an answered call`, `release`, `go on`, `go nowhere`, `go to carol`, `told EVENT`, `unreachable bob`, `resolved bob carol`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Instant, Now, Timestamp};
use crate::sip::dialog::Word;
use crate::sip::message::Message;
use crate::sip::proxy::hop;
use crate::sip::stack::{
    Destination, Edits, Event, FinalResponse, Hop, Input, ListenerId, Network, NextOn, Onward, Output, Peer, Plan,
    QueryId, Redirects, ResponseId, ServerId, Settings, Sizes, Stack, Strangers, Target, Treatment, Way, Withdrawal,
};

/// One actor: what it got and has not looked at, and what it remembers of its messages.
#[derive(Default)]
pub struct Actor {
    inbox: VecDeque<String>,
    /// Requests and responses sent and got, last one by method or code.
    sent: HashMap<String, String>,
    got: HashMap<String, String>,
    last_request: String,
    /// Route lines for requests inside the dialog.
    routes: String,
    requests: u32,
}

/// A flow being played.
pub struct Play {
    pub stack: Stack,
    pub now: Now,
    name: String,
    actors: HashMap<&'static str, Actor>,
    plan: String,
    events: VecDeque<String>,
    held: VecDeque<(ServerId, ResponseId)>,
    queries: VecDeque<QueryId>,
    release_at_once: bool,
    /// Whether a failed round waits for a line `go on`, `go nowhere` or `go to bob`.
    pub holds_rounds: bool,
    rounds: VecDeque<ServerId>,
    /// Whether a 2xx for an earlier process is sent on.
    pub passes_orphans: bool,
}

pub const GATEWAY: &str = "192.0.2.1:5060";

/// Where an actor is.
pub fn address(actor: &str) -> SocketAddr {
    let text = match actor {
        "alice" => "192.0.2.10:5062",
        "bob" => "192.0.2.20:5060",
        "carol" => "192.0.2.30:5060",
        "dave" => "[2001:db8::40]:5060",
        "mallory" => "203.0.113.66:5060",
        other => panic!("no actor {other}"),
    };
    text.parse().expect("an address")
}

pub fn settings() -> Settings {
    use crate::sip::stack::{Listener, Transport};
    let listener = |text: &str| Listener { transport: Transport::Udp, local: text.parse().expect("an address") };
    Settings {
        listeners: vec![listener(GATEWAY), listener("[2001:db8::1]:5060")],
        names: vec!["gateway.example".to_owned()],
        allow: vec![
            Network::new("192.0.2.0".parse().expect("an address"), 24),
            Network::new("2001:db8::".parse().expect("an address"), 32),
        ],
        key: *b"0123456789abcdef",
        failures_max: 0,
        strangers: Strangers::Answer,
        ..Settings::default()
    }
}

/// The first value of a header, without the name.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    headers(message, name).next()
}

pub fn headers<'a>(message: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = message.split("\r\n").take_while(|line| !line.is_empty()).skip(1);
    lines.filter_map(move |line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn method_or_code(message: &str) -> String {
    let mut words = message.split(' ');
    let first = words.next().unwrap_or_default();
    if first == "SIP/2.0" { words.next().unwrap_or_default().to_owned() } else { first.to_owned() }
}

fn tag(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, tag)| tag)
}

/// Route lines for a request inside the dialog; `reversed` for the caller (RFC 3261 §12.1).
fn routes(values: &[&str], reversed: bool) -> String {
    let mut values: Vec<&str> = values.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    if reversed {
        values.reverse();
    }
    values.iter().map(|value| format!("Route: {value}\r\n")).collect()
}

impl Play {
    pub fn new(name: &str, plan: &str, settings: Settings) -> Self {
        let start = Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000_000) };
        Self {
            stack: Stack::new(settings),
            now: start,
            name: name.to_owned(),
            actors: ["alice", "bob", "carol", "dave", "mallory"].map(|name| (name, Actor::default())).into(),
            plan: plan.to_owned(),
            events: VecDeque::new(),
            held: VecDeque::new(),
            queries: VecDeque::new(),
            release_at_once: true,
            holds_rounds: false,
            rounds: VecDeque::new(),
            passes_orphans: false,
        }
    }

    /// Keeps final responses until a line `release`.
    pub fn holding(mut self) -> Self {
        self.release_at_once = false;
        self
    }

    pub fn actor(&mut self, name: &str) -> &mut Actor {
        self.actors.get_mut(name).unwrap_or_else(|| panic!("no actor {name}"))
    }

    /// The last message of this method or code that an actor looked at.
    pub fn got(&mut self, who: &str, what: &str) -> String {
        self.actor(who).got.get(what).cloned().unwrap_or_else(|| panic!("{who} got no {what}"))
    }

    /// Plays all lines, then lets five minutes pass: nothing may be left.
    pub fn run(mut self, script: &str) {
        self.play(script);
        for (name, actor) in &mut self.actors {
            assert!(actor.inbox.is_empty(), "{}: {name} got more: {:?}", self.name, actor.inbox);
        }
        while let Some((transaction, response)) = self.held.pop_front() {
            self.input(Input::Release { transaction, response });
        }
        self.pass(Duration::from_secs(300));
        assert_eq!(self.stack.sizes(), Sizes::default(), "{}: something is left", self.name);
    }

    pub fn play(&mut self, script: &str) {
        for (number, line) in script.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let place = format!("{}, line {}: {line}", self.name, number + 1);
                self.line(line, &place);
            }
        }
    }

    fn line(&mut self, line: &str, place: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["an", "answered", "call"] => self.play(ANSWERED),
            ["after", number, unit] => {
                let number: u64 = number.parse().expect("a number");
                let span = if *unit == "s" { Duration::from_secs(number) } else { Duration::from_millis(number) };
                self.pass(span);
            }
            ["release"] => {
                let (transaction, response) =
                    self.held.pop_front().unwrap_or_else(|| panic!("{place}: nothing is held"));
                self.input(Input::Release { transaction, response });
            }
            ["unreachable", who] => {
                let peer = Peer { listener: ListenerId(0), addr: address(who) };
                self.input(Input::Unreachable { peer });
                self.pass(Duration::ZERO);
            }
            ["resolved", who @ ..] => {
                let query = self.queries.pop_front().unwrap_or_else(|| panic!("{place}: nothing was asked"));
                let to = |who: &&str| Destination { addr: address(who), transport: None };
                let destinations = who.iter().map(to).collect();
                self.input(Input::Resolved { query, destinations });
            }
            ["go", to @ ..] => {
                let transaction = self.rounds.pop_front().unwrap_or_else(|| panic!("{place}: no round has failed"));
                let onward = match to {
                    ["to", who] => Onward::To(Plan { groups: vec![vec![target(who)]], ..Plan::default() }),
                    ["nowhere"] => Onward::Nowhere,
                    _ => Onward::AsPlanned,
                };
                self.input(Input::Proceed { transaction, onward });
            }
            ["told", event @ ..] => {
                let event = event.join(" ");
                let seen = format!("{:?}", self.events);
                let found = std::iter::from_fn(|| self.events.pop_front()).any(|own| own.starts_with(&event));
                assert!(found, "{place}: was told {seen}");
            }
            [who, "gets", "nothing"] => {
                let inbox = &self.actor(who).inbox;
                assert!(inbox.is_empty(), "{place}: but it has {inbox:?}");
            }
            [who, "gets", what, rest @ ..] => self.gets(who, what, &rest.join(" "), place),
            [who, "forgets"] => self.actor(who).inbox.clear(),
            [who, "sends", what, rest @ ..] => {
                let text = self.compose(who, what, rest, place);
                self.send(who, &text);
            }
            [who, "repeats", what] => {
                let text = self.actor(who).sent.get(*what).cloned();
                self.send(who, &text.unwrap_or_else(|| panic!("{place}: never sent")));
            }
            _ => panic!("{place}: no such sentence"),
        }
    }

    fn gets(&mut self, who: &str, what: &str, rest: &str, place: &str) {
        let events = format!("{:?}", self.events);
        let actor = self.actor(who);
        let Some(text) = actor.inbox.pop_front() else { panic!("{place}: got nothing; events {events}") };
        assert_eq!(method_or_code(&text), what, "{place}: got\n{text}");
        if let Some(wanted) = rest.strip_prefix("with ") {
            assert!(text.contains(wanted), "{place}: got\n{text}");
        }
        if let Some(unwanted) = rest.strip_prefix("without ") {
            assert!(!text.contains(unwanted), "{place}: got\n{text}");
        }
        let record: Vec<&str> = headers(&text, "Record-Route").collect();
        if !record.is_empty() {
            actor.routes = routes(&record, text.starts_with("SIP/2.0"));
        }
        if !text.starts_with("SIP/2.0") {
            actor.last_request = what.to_owned();
        }
        actor.got.insert(what.to_owned(), text);
    }

    /// Sends a whole message from an actor.
    pub fn send(&mut self, who: &str, text: &str) {
        self.actor(who).sent.insert(method_or_code(text), text.to_owned());
        let addr = address(who);
        let listener = ListenerId(u16::from(addr.is_ipv6()));
        let message = Message::parse(text.as_bytes().to_vec());
        self.input(Input::Received { peer: Peer { listener, addr }, message });
    }

    /// Lets time pass, tick by tick.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(due) = self.stack.deadline().filter(|due| *due <= end) {
            let step = due.since(self.now.mono);
            self.now = self.now.after(step);
            let mut out = Vec::new();
            self.stack.tick(self.now, &mut out);
            self.perform(out);
        }
        self.now = self.now.after(end.since(self.now.mono));
    }

    pub fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.stack.handle(self.now, input, &(), &mut out);
        self.perform(out);
    }

    fn hold(&mut self, transaction: ServerId, response: ResponseId) {
        if self.release_at_once {
            self.input(Input::Release { transaction, response });
        } else {
            self.held.push_back((transaction, response));
        }
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { peer, bytes, authority } => {
                    assert_eq!(authority, None, "{}: a certificate", self.name);
                    let text = String::from_utf8(bytes.to_vec()).expect("flows are UTF-8");
                    let actor = self.actors.iter_mut().find(|(name, _)| address(name) == peer.addr);
                    let (_, actor) = actor.unwrap_or_else(|| panic!("{}: sent to {}:\n{text}", self.name, peer.addr));
                    actor.inbox.push_back(text);
                }
                Output::Request { transaction } => {
                    self.events.push_back("Request".to_owned());
                    let treatment = self.treatment(transaction);
                    self.input(Input::Decide { transaction, treatment });
                }
                Output::Event { event, held } => {
                    self.events.push_back(line_of(&event));
                    match event {
                        Event::RoundFailed { transaction, .. } if self.holds_rounds => {
                            self.rounds.push_back(transaction);
                        }
                        Event::RoundFailed { transaction, .. } => {
                            self.input(Input::Proceed { transaction, onward: Onward::AsPlanned });
                        }
                        _ => {}
                    }
                    if let Some((transaction, response)) = held {
                        self.hold(transaction, response);
                    }
                }
                Output::Resolve { query, host, .. } => {
                    self.events.push_back(format!("Resolve {host}"));
                    self.queries.push_back(query);
                }
                Output::Orphan { response } => {
                    self.events.push_back(format!("Orphan {}", response.code()));
                    if self.passes_orphans {
                        let mut out = Vec::new();
                        self.stack.pass_on(&response, &mut out);
                        self.perform(out);
                    }
                }
                Output::Turned { condition, .. } => self.events.push_back(format!("Turned {condition:?}")),
                Output::Ignored { why } => self.events.push_back(format!("Ignored {why:?}")),
            }
        }
    }

    /// In-dialog requests follow their Route; others get the plan of the flow.
    fn treatment(&self, transaction: ServerId) -> Treatment {
        let view = self.stack.request(transaction).expect("a new request has its view");
        if view.in_dialog || view.way != Way::Table {
            return Treatment::FollowRoute { edits: None };
        }
        if self.plan == "route" {
            // A table that leads to whatever the Request-URI names.
            let hop = view.message.uri().filter(|uri| uri.host != b"gateway.example").and_then(|uri| hop(&uri).ok());
            let target = |hop| Target {
                uri: Bytes::new(),
                hop,
                transport: None,
                ring_timeout: None,
                next_on: NextOn::default(),
                edits: None,
            };
            return match hop {
                Some(hop) => Treatment::Forward(Plan { groups: vec![vec![target(hop)]], ..Plan::default() }),
                None => Treatment::Respond { code: 404, reason: "".into(), retry_after_s: None, contacts: Vec::new() },
            };
        }
        if let Some(code) = self.plan.strip_prefix("answer ") {
            let code = code.parse().expect("a code");
            return Treatment::Respond { code, reason: "".into(), retry_after_s: None, contacts: Vec::new() };
        }
        let follow = Redirects::Follow { ring_timeout: Some(Duration::from_secs(20)) };
        let (plan, redirects) = match self.plan.strip_prefix("follow ") {
            Some(plan) => (plan, follow),
            None => (self.plan.as_str(), Redirects::Pass),
        };
        let groups = plan.split(", ").map(|group| group.split('+').map(target).collect()).collect();
        Treatment::Forward(Plan { groups, redirects })
    }

    fn compose(&mut self, who: &str, what: &str, rest: &[&str], place: &str) -> String {
        let option = |name: &str| {
            rest.iter().position(|word| *word == name).and_then(|at| rest.get(at + 1)).map(|word| (*word).to_owned())
        };
        let extra = rest.iter().position(|word| *word == "with").map(|at| rest[at + 1..].join(" "));
        let extra = extra.map(|extra| format!("{extra}\r\n")).unwrap_or_default();
        if what.parse::<u16>().is_ok() {
            let actor = self.actor(who);
            let to = option("to").unwrap_or_else(|| actor.last_request.clone());
            let request = actor.got.get(&to).unwrap_or_else(|| panic!("{place}: no {to} to answer"));
            let text = response(request, what, &option("tag").unwrap_or_else(|| who.to_owned()), who);
            return text.replacen("Contact:", &format!("{extra}Contact:"), 1);
        }
        self.actor(who).requests += 1;
        match what {
            "ACK" if rest.first() == Some(&"hop") => self.hop_ack(who, place),
            "CANCEL" => self.cancel(who).replacen("Max-Forwards:", &format!("{extra}Max-Forwards:"), 1),
            "INVITE" | "OPTIONS" | "MESSAGE" | "SUBSCRIBE" if rest.first() != Some(&"again") => {
                self.initial(who, what, &extra)
            }
            _ => self.in_dialog(who, what, &extra, place),
        }
    }

    fn initial(&mut self, who: &str, method: &str, extra: &str) -> String {
        let (addr, number) = (address(who), self.actor(who).requests);
        let hops = if extra.contains("Max-Forwards") { "" } else { "Max-Forwards: 70\r\n" };
        format!(
            "{method} sip:bob@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{who}-{number}\r\n\
             {hops}From: <sip:{who}@example.org>;tag={who}\r\nTo: <sip:bob@example.org>\r\nCall-ID: call-1\r\n\
             CSeq: {number} {method}\r\nContact: <sip:{who}@{addr}>\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    fn in_dialog(&mut self, who: &str, method: &str, extra: &str, place: &str) -> String {
        let (addr, number) = (address(who), self.actor(who).requests);
        let actor = self.actor(who);
        let route = actor.routes.clone();
        let (from, to, contact, number) = if let Some(response) =
            ["200", "183"].iter().find_map(|code| actor.got.get(*code)).cloned()
        {
            let number =
                if method == "ACK" { header(&response, "CSeq").and_then(|cseq| cseq.split(' ').next()) } else { None };
            let number = number.map_or(number_text(number, actor.requests), str::to_owned);
            let part = |name| header(&response, name).unwrap_or_default().to_owned();
            (part("From"), part("To"), part("Contact"), number)
        } else {
            let opening = actor.got.get("INVITE").or_else(|| actor.got.get("SUBSCRIBE"));
            let invite = opening.unwrap_or_else(|| panic!("{place}: no dialog"));
            let own = actor.sent.get("200").and_then(|own| header(own, "To")).unwrap_or_default().to_owned();
            let part = |name| header(invite, name).unwrap_or_default().to_owned();
            (own, part("From"), part("Contact"), number.to_string())
        };
        let target = contact.trim_start_matches('<').trim_end_matches('>');
        let branch = self.actor(who).requests;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};rport;branch=z9hG4bK-{who}-{branch}\r\n{route}\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: call-1\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:{who}@{addr}>\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    /// The ACK for a refusal: Via and CSeq number of the INVITE, To of the response (RFC 3261 §17.1.1.3).
    fn hop_ack(&mut self, who: &str, place: &str) -> String {
        let actor = self.actor(who);
        let invite = actor.sent.get("INVITE").unwrap_or_else(|| panic!("{place}: no INVITE")).clone();
        let mut refusals = actor.got.iter().filter(|(code, _)| code.as_str() >= "300" && code.as_str() < "700");
        let to = refusals.next().and_then(|(_, text)| header(text, "To")).unwrap_or_default().to_owned();
        let (start, _) = invite.split_once("\r\n").expect("a request line");
        let own = |name| header(&invite, name).unwrap_or_default();
        format!(
            "{}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: call-1\r\nCSeq: {}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            start.replacen("INVITE", "ACK", 1),
            own("Via"),
            own("From"),
            own("CSeq").replace("INVITE", "ACK")
        )
    }

    fn cancel(&mut self, who: &str) -> String {
        let invite = self.actor(who).sent.get("INVITE").cloned().unwrap_or_default();
        let (start, _) = invite.split_once("\r\n").expect("a request line");
        let own = |name| header(&invite, name).unwrap_or_default();
        format!(
            "{}\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: call-1\r\nCSeq: {}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            start.replacen("INVITE", "CANCEL", 1),
            own("Via"),
            own("From"),
            own("To"),
            own("CSeq").replace("INVITE", "CANCEL")
        )
    }
}

/// `bob`, `name:pbx.example`, `bob 20s` with the longest time it rings.
fn target(text: &str) -> Target {
    let (who, ring) = text.split_once(' ').unwrap_or((text, ""));
    let (edits, who) = match who.split_once(':') {
        Some(("word", who)) => (Some(Edits { word: Word(0xbeef), ..Edits::default() }), who),
        Some(("aside", who)) => (Some(Edits { off_route: true, ..Edits::default() }), who),
        _ => (None, who),
    };
    let hop = match who.strip_prefix("name:") {
        Some(host) => Hop::Name { host: host.to_owned(), port: None },
        None => Hop::Addr(address(who)),
    };
    let uri = Bytes::from(format!("sip:{}@target.example", who.replace("name:", "")));
    let ring_timeout = ring.strip_suffix('s').map(|s| Duration::from_secs(s.parse().expect("seconds")));
    Target { uri, hop, transport: None, ring_timeout, next_on: NextOn::default(), edits: edits.map(Arc::new) }
}

/// What happened, as a line `told` says it.
fn line_of(event: &Event) -> String {
    let codes = |attempts: &[FinalResponse]| {
        let codes: Vec<String> = attempts.iter().map(|attempt| attempt.code.to_string()).collect();
        codes.join(" ")
    };
    match event {
        Event::Final { response, .. } => {
            let by = if response.message.is_some() { "" } else { " local" };
            format!("Final {}{by}", response.code)
        }
        Event::Provisional { response, target, .. } => format!("Provisional {} by {target}", response.code()),
        Event::RoundFailed { round, .. } => {
            let more = if round.more { " more" } else { "" };
            format!("RoundFailed {} best {}{more}", codes(&round.attempts), round.best)
        }
        Event::Lost { attempts, given_up, .. } => format!("Lost {} and {}", codes(attempts), given_up.len()),
        Event::Acknowledged { .. } => "Acknowledged".to_owned(),
        Event::Cancelled { why, .. } => {
            let why = if *why == Withdrawal::Elsewhere { " Elsewhere" } else { "" };
            format!("Cancelled{why}")
        }
        Event::Terminated { .. } => "Terminated".to_owned(),
    }
}

/// What `an answered call` stands for.
const ANSWERED: &str = "
    alice sends INVITE
    bob gets INVITE
    bob sends 180
    alice gets 180
    bob sends 200
    alice gets 200
    alice sends ACK
    bob gets ACK";

fn number_text(number: Option<&str>, own: u32) -> String {
    number.map_or_else(|| own.to_string(), str::to_owned)
}

/// The response of an actor to a request it got.
pub fn response(request: &str, code: &str, to_tag: &str, who: &str) -> String {
    let mut text = format!("SIP/2.0 {code} Whatever {who} says\r\n");
    for via in headers(request, "Via") {
        text += &format!("Via: {via}\r\n");
    }
    for route in headers(request, "Record-Route") {
        text += &format!("Record-Route: {route}\r\n");
    }
    let to = header(request, "To").unwrap_or_default();
    let to = if tag(to).is_empty() { format!("{to};tag={to_tag}") } else { to.to_owned() };
    let own = |name| header(request, name).unwrap_or_default();
    text += &format!("From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n", own("From"), own("Call-ID"), own("CSeq"));
    text += &format!("Contact: <sip:{who}@{}>\r\nContent-Length: 0\r\n\r\n", address(who));
    text
}
