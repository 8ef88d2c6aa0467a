//! Calls written as text, played against an engine: each row of a table is one.
//!
//! Steps, separated by `;`:
//!
//! | step | meaning |
//! |---|---|
//! | `INVITE`, `MESSAGE`, `OPTIONS` | a request of the caller outside a dialog |
//! | `BYE caller`, `INVITE callee`, `INFO caller x` | one inside the dialog, with callee tag `b` or `x` |
//! | `BYE caller b aside`, `BYE caller b unsigned` | one that does not go where the dialog goes, and without a signed Route |
//! | `asks callee 481`, `asks caller silent`, `asks nobody` | the end was sent OPTIONS, and this came back |
//! | `183 b sdp`, `180 b` | a provisional response to the newest request |
//! | `200 b`, `486 b` | a final response with that To tag |
//! | `=408` | a final response of the gateway |
//! | `1:200 b` | the same, to the first request of the row |
//! | `round B 486`, `round B =408`, `round B 486 C *603` | a failed round of branches; `*` is the best |
//! | `round B >302` | the redirection of the best is followed |
//! | `forward` | the targets of what follows forward the call, they are no alternatives |
//! | `CANCEL`, `ACK`, `ACK callee` | |
//! | `CANCEL elsewhere` | one that says that the call was answered elsewhere |
//! | `CANCEL Q.850&cause=16` | one with Reason lines, `&` for `;` |
//! | `round B 480~20` | a branch that rang after 20 ms |
//! | `lost B 486 C rings` | branches that lose to the one that is answered next, or was |
//! | `gone` | the newest transaction is terminated; `1:gone` the first |
//! | `+5` | seconds pass |
//! | `restart`, `reboot` | the engine is made anew from what it stored |
//! | `close` | the operator ends all calls |
//! | `by hand 403 0 2` | a record by hand of the newest request, for sinks 0 and 2; `marked a0` marks it otherwise |
//! | `every 60` | a server wants an interim record of the dialog with callee tag `b` each 60 s; 0: none |

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::accounting::{Closing, Engine, Input, Key, Made, Notice, Outcome, Outgoing, Purpose, Settings, Sign};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::{Account, Avp, Manual, Marks, RouteFields, Targets};
use crate::record::{BODY_BYTES_MAX, CallChange, Value, codec, is_internal};
use crate::sip::dialog::{Course, Direction};
use crate::sip::message::Message;
use crate::sip::stack::{Event, FinalResponse, ListenerId, Peer, RequestView, Round, ServerId, Stages, Withdrawal};
use crate::vars::Template;

/// Name, marks, steps, records.
pub(super) type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) settings: Settings,
    pub(super) now: Now,
    pub(super) made: Vec<Made>,
    /// What the queue holds of calls.
    pub(super) stored: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Notes of ended calls, all kept.
    pub(super) notes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Requests to ends of calls.
    pub(super) outgoing: VecDeque<Outgoing>,
    /// What there was to hear.
    pub(super) notices: Vec<Notice>,
    pub(super) avps: Vec<Avp>,
    pub(super) fields: Option<RouteFields>,
    pub(super) targets: Targets,
    /// What the route says of who forwarded the call.
    pub(super) forwarding_legs: Option<bool>,
    /// Whether requests of the caller have a Contact.
    pub(super) has_contact: bool,
    /// Whether the ends have addresses of their own: then a request comes from its sender's, with the word `elsewhere` from
    /// one that neither has had, with `behind` from that of the end it goes to.
    pub(super) has_places: bool,
    /// Appended to every request's header lines.
    pub(super) lines: String,
    /// Whether records must come back whole from their bytes.
    pub(super) is_lossless: bool,
    marks: Marks,
    /// Marks of requests inside a dialog.
    marks_in_dialog: Marks,
    requests: Vec<Rc<Message>>,
    /// The newest request.
    view: Option<RequestView>,
    cseq: u32,
}

/// `a0 m0 f1`: accounting on sink 0, missed on sink 0, failed on sink 1. Behind `|`: inside a dialog.
pub(super) fn marks(text: &str) -> Marks {
    let mut marks = Marks::NONE;
    for word in text.split_whitespace() {
        let (flag, sink) = word.split_at(1);
        let sink = SinkNumber(sink.parse().expect("a sink's number"));
        let mask = match flag {
            "a" => &mut marks.accounting,
            "m" => &mut marks.missed,
            _ => &mut marks.failed,
        };
        *mask = mask.with(sink);
    }
    marks
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn templates(fields: &[(&str, &str)]) -> Vec<(String, Template)> {
    fields.iter().map(|(name, text)| ((*name).to_owned(), Template::parse(text).expect("a template"))).collect()
}

impl Bench {
    pub(super) fn new(settings: Settings, marked: &str) -> Self {
        let (first, later) = marked.split_once('|').unwrap_or((marked, marked));
        Self {
            engine: Engine::new(settings.clone(), 1),
            settings,
            now: Now { mono: Instant(1_000_000_000), wall: Timestamp(1_700_000_000_000_000) },
            made: Vec::new(),
            stored: BTreeMap::new(),
            notes: BTreeMap::new(),
            outgoing: VecDeque::new(),
            notices: Vec::new(),
            avps: Vec::new(),
            fields: None,
            targets: Targets::default(),
            forwarding_legs: None,
            has_contact: true,
            has_places: false,
            lines: String::new(),
            is_lossless: true,
            marks: marks(first),
            marks_in_dialog: marks(later),
            requests: Vec::new(),
            view: None,
            cseq: 0,
        }
    }

    /// Plays steps.
    pub(super) fn play(&mut self, steps: &str) -> &mut Self {
        for step in steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
            self.step(step);
        }
        self
    }

    fn step(&mut self, step: &str) {
        let numbered = step.split_once(':').filter(|(which, _)| which.bytes().all(|octet| octet.is_ascii_digit()));
        let (which, step) = match numbered {
            Some((which, step)) => (which.parse().expect("a request's number"), step),
            None => (self.requests.len(), step),
        };
        let transaction = ServerId(which as u64);
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["gone"] => self.happens(Event::Terminated { transaction }),
            ["CANCEL", ref reasons @ ..] if reasons.first() != Some(&"caller") => {
                let is_elsewhere = reasons.first() == Some(&"elsewhere");
                let why = if is_elsewhere { Withdrawal::Elsewhere } else { Withdrawal::GivenUp };
                let lines = reasons.iter().skip(usize::from(is_elsewhere));
                let reasons = lines.map(|own| own.replace('&', ";").into_bytes().into()).collect();
                self.happens(Event::Cancelled { transaction, why, reasons, from: addr(CALLER) });
            }
            ["lost", ref branches @ ..] => {
                let (ended, running): (Vec<_>, Vec<_>) = branches.chunks(2).partition(|pair| pair[1] != "rings");
                let attempts = ended.concat().chunks(2).map(|pair| self.attempt(pair[0], pair[1])).collect();
                let given_up = running.iter().map(|pair| self.attempt(pair[0], "=0")).collect();
                self.happens(Event::Lost { transaction, attempts, given_up });
            }
            ["forward"] => self.targets = Targets::Forward,
            ["marked", ref words @ ..] => {
                let view = self.view.clone().expect("a request");
                self.handle(Input::Marked {
                    transaction,
                    view: &view,
                    marks: Some(marks(&words.join(" "))),
                    values: None,
                });
            }
            ["by", "hand", code, ref sinks @ ..] => {
                let sink = |text: &&str| SinkNumber(text.parse().expect("a sink's number"));
                let sinks = sinks.iter().map(sink).fold(SinkMask::NONE, SinkMask::with);
                let code = code.parse().expect("a code");
                self.by_hand(transaction, Manual { sinks, code, ..Manual::default() });
            }
            ["asks", "nobody"] => assert!(self.outgoing.is_empty(), "{:?}: {}", self.outgoing, self.records()),
            ["asks", who, sign] => self.asks(who, sign),
            ["restart"] => self.restart(),
            ["reboot"] => {
                self.settings.boot_id.push('x');
                self.now = Now { mono: Instant(7_000_000), wall: self.now.after(Duration::from_secs(30)).wall };
                self.restart();
            }
            ["every", secs] => {
                let every = Duration::from_secs(secs.parse().expect("seconds"));
                self.engine.interim_every(self.now, Key::of(b"call1", b"a", b"b"), every);
            }
            ["close"] => {
                for call in self.engine.views().collect::<Vec<_>>() {
                    let closing = Closing { name: call.session, ..Closing::default() };
                    let mut out = Outcome::default();
                    self.engine.close(self.now, &closing, &mut out);
                    self.commit(out);
                }
            }
            ["ACK", ref rest @ ..] => {
                let message =
                    self.request("ACK", rest.first().unwrap_or(&"caller"), rest.get(1).unwrap_or(&"b"), self.cseq);
                self.happens(Event::Acknowledged { message: Rc::new(message), peer: peer() });
            }
            ["round", ref attempts @ ..] => self.round(transaction, attempts),
            [span] if span.starts_with('+') => self.pass(span[1..].parse().expect("seconds")),
            [code, ref rest @ ..] if code.starts_with(|c: char| c.is_ascii_digit() || c == '=') => {
                self.answer(transaction, which, code, rest);
            }
            [method, ref rest @ ..] => self.arrive(method, rest),
            [] => {}
        }
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        let mut out = Outcome::default();
        self.engine.handle(self.now, input, &mut out);
        self.commit(out);
    }

    fn happens(&mut self, event: Event) {
        self.handle(Input::Event(&event));
    }

    /// A record by hand of the newest request.
    pub(super) fn by_hand(&mut self, transaction: ServerId, manual: Manual) {
        let view = self.view.clone().expect("a request");
        self.handle(Input::Manual { transaction, view: &view, manual, values: None });
    }

    fn asks(&mut self, who: &str, what: &str) {
        let probe = self.outgoing.pop_front().unwrap_or_else(|| panic!("asks nobody: {}", self.records()));
        assert_eq!((probe.to.name(), probe.purpose), (who, Purpose::Probe), "{}", self.records());
        let sign = match what {
            "silent" => Sign::Silent,
            "busy" => Sign::Unasked,
            code => Sign::of_response(code.parse().expect("a code"), false),
        };
        self.handle(Input::Probed { key: probe.key, to: probe.to, sign });
    }

    /// Nobody answers what is still asked.
    pub(super) fn leave_unanswered(&mut self) {
        while let Some(probe) = self.outgoing.pop_front() {
            if probe.purpose == Purpose::Probe {
                self.handle(Input::Probed { key: probe.key, to: probe.to, sign: Sign::Silent });
            }
        }
    }

    fn commit(&mut self, out: Outcome) {
        self.outgoing.extend(self.engine.take_outgoing());
        self.notices.extend(self.engine.take_notices());
        for change in out.calls.iter().cloned() {
            match change {
                CallChange::Put { key, value } => {
                    assert!(value.len() <= BODY_BYTES_MAX, "a stored call of {} octets", value.len());
                    self.stored.insert(key, value)
                }
                CallChange::Remove { key } => self.stored.remove(&key),
                CallChange::End { key, note } => {
                    self.stored.remove(&key);
                    self.notes.insert(key, note)
                }
                CallChange::Class { .. } => unreachable!("only sinks have Class values"),
            };
        }
        for made in &out.records {
            assert!(!made.sinks.is_empty(), "a record nobody wants");
            let stored = codec::decode(&codec::encode(&made.record));
            assert!(!self.is_lossless || stored.as_ref() == Ok(&made.record), "it fits the queue");
        }
        self.made.extend(out.records);
    }

    /// Time passes to each deadline in turn.
    fn pass(&mut self, secs: f64) {
        let end = self.now.after(Duration::from_secs_f64(secs));
        let mut ticks = 0;
        while let Some(due) = self.engine.deadline().filter(|due| *due <= end.mono) {
            self.now = self.now.after(due.since(self.now.mono));
            let mut out = Outcome::default();
            self.engine.tick(self.now, &mut out);
            ticks += 1;
            assert!(ticks < TICKS_MAX, "ticks without end: {}", self.records());
            assert!(self.engine.deadline().is_none_or(|next| next > self.now.mono), "a tick does what is due");
            self.commit(out);
        }
        self.now = end;
    }

    fn restart(&mut self) {
        self.outgoing.clear();
        let seed = u128::from(self.now.wall.0.unsigned_abs());
        self.engine = Engine::new(self.settings.clone(), seed);
        for (key, value) in self.notes.iter().chain(&self.stored) {
            self.engine.restore(self.now, key, value).expect("what was stored is read");
        }
    }

    fn request(&self, method: &str, sender: &str, callee_tag: &str, cseq: u32) -> Message {
        let caller = "\"Al\" <sip:al@a.example>;tag=a";
        let callee = format!("<sip:bo@b.example>;tag={callee_tag}");
        let (uri, from, to) = match sender {
            "new" => ("sip:bo@gw.example", caller.to_owned(), "<sip:bo@b.example>".to_owned()),
            "callee" => ("sip:al@192.0.2.1", callee, caller.to_owned()),
            _ => ("sip:bo@192.0.2.2", caller.to_owned(), callee),
        };
        let contact = match sender {
            "callee" => "Contact: <sip:bo@192.0.2.2>\r\n",
            _ if self.has_contact => "Contact: <sip:al@192.0.2.1>\r\n",
            _ => "",
        };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: call1\r\nCSeq: {cseq} {method}\r\n{contact}User-Agent: {sender}\r\n{}\
             Content-Length: 0\r\n\r\n",
            self.lines
        );
        Message::parse(text.into_bytes()).expect("a well-formed request")
    }

    /// Where a request comes from.
    fn place(&self, sender: &str, rest: &[&str]) -> Peer {
        let from = match (sender == "callee", rest.contains(&"behind")) {
            _ if !self.has_places => CALLER,
            _ if rest.contains(&"elsewhere") => ELSEWHERE,
            (is_callee, is_behind) if is_callee != is_behind => CALLEE,
            _ => CALLER,
        };
        Peer { listener: ListenerId(0), addr: addr(from) }
    }

    fn arrive(&mut self, method: &str, rest: &[&str]) {
        self.cseq += 1;
        let (sender, tag) = (*rest.first().unwrap_or(&"new"), *rest.get(1).unwrap_or(&"b"));
        let is_aside = rest.contains(&"aside") || rest.contains(&"unsigned");
        let message = Rc::new(self.request(method, sender, tag, self.cseq));
        let view = RequestView {
            in_dialog: !rest.is_empty(),
            direction: match sender {
                _ if rest.contains(&"unsigned") => None,
                "caller" => Some(Direction::Downstream),
                "callee" => Some(Direction::Upstream),
                _ => None,
            },
            course: match rest {
                [] => Course::Outside,
                _ if is_aside => Course::Aside,
                _ => Course::Dialog,
            },
            ..RequestView::of(Rc::clone(&message), self.place(sender, rest), self.now)
        };
        self.requests.push(message);
        let marks = if rest.is_empty() { self.marks } else { self.marks_in_dialog };
        let account = Account {
            targets: self.targets,
            fields: self.fields.clone().filter(|_| rest.is_empty()),
            avps: self.avps.clone(),
            forwarding_legs: self.forwarding_legs,
            ..Account::default()
        };
        let transaction = ServerId(self.requests.len() as u64);
        let account = Some(Arc::new(account));
        self.handle(Input::Request { transaction, view: &view, marks, account, values: None });
        self.view = Some(view);
    }

    /// All transactions terminate.
    pub(super) fn end_all(&mut self) {
        for number in 1..=self.requests.len() {
            self.happens(Event::Terminated { transaction: ServerId(number as u64) });
        }
    }

    /// The first INVITE comes again, as to a gateway that has forgotten it.
    pub(super) fn repeat_invite(&mut self) {
        self.cseq -= 1;
        self.arrive("INVITE", &[]);
    }

    fn reply(&self, which: usize, code: &str, rest: &[&str]) -> Rc<Message> {
        let request = &self.requests[which - 1];
        let header = |name: &[u8]| {
            String::from_utf8_lossy(request.headers_named(name).next().expect("the request has it")).into_owned()
        };
        let mut to = header(b"To");
        if !to.contains(";tag=") {
            let _ = write!(to, ";tag={}", rest.first().unwrap_or(&"b"));
        }
        let body = if rest.contains(&"sdp") { "v=0\r\n" } else { "" };
        let expires = rest.iter().find_map(|word| word.strip_prefix("se="));
        let expires = expires.map_or(String::new(), |secs| format!("Session-Expires: {secs};refresher=uac\r\n"));
        let text = format!(
            "SIP/2.0 {code} Phrase {code}\r\nVia: x\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: call1\r\nCSeq: {}\r\nContact: <sip:bo@192.0.2.2>\r\n\
             {expires}Content-Length: {}\r\n\r\n{body}",
            header(b"From"),
            header(b"CSeq"),
            body.len()
        );
        Rc::new(Message::parse(text.into_bytes()).expect("a well-formed answer"))
    }

    fn answer(&mut self, transaction: ServerId, which: usize, code: &str, rest: &[&str]) {
        let (code, message) = match code.strip_prefix('=') {
            Some(code) => (code, None),
            None => (code, Some(self.reply(which, code, rest))),
        };
        let number: u16 = code.parse().expect("a code");
        match message {
            Some(response) if number < 200 => self.happens(Event::Provisional { transaction, response, target: 0 }),
            message => {
                let reason = Bytes::from(format!("Phrase {code}"));
                let uri = Bytes::from_static(b"sip:winner");
                let hop = self.has_places.then_some(addr(CALLEE));
                let response = FinalResponse { uri, hop, code: number, reason, message, stages: Stages::default() };
                self.happens(Event::Final { transaction, response });
            }
        }
    }

    fn attempt(&self, who: &str, code: &str) -> FinalResponse {
        let (code, rang) = code.split_once('~').map_or((code, None), |(code, rang)| (code, rang.parse().ok()));
        let number = code.trim_start_matches('=');
        let message = (number == code).then(|| self.reply(self.requests.len(), code, &[who]));
        let arrived = self.view.as_ref().map_or(self.now.mono, |view| view.arrived.mono);
        let ended_ms = u32::try_from(self.now.mono.since(arrived).as_millis()).expect("a short call");
        FinalResponse {
            uri: Bytes::copy_from_slice(who.as_bytes()),
            hop: Some(addr("10.0.0.9:5060")),
            code: number.parse().expect("a code"),
            reason: Bytes::from(format!("Phrase {number}")),
            message,
            stages: Stages { tried_ms: 0, rang_ms: rang, ended_ms },
        }
    }

    fn round(&mut self, transaction: ServerId, words: &[&str]) {
        let (mut best, mut redirected) = (0, false);
        let attempts = words
            .chunks(2)
            .enumerate()
            .map(|(index, pair)| {
                let code = pair[1].trim_start_matches(['*', '>']);
                if pair[1].starts_with('*') {
                    best = index;
                }
                redirected |= pair[1].starts_with('>');
                self.attempt(pair[0], code)
            })
            .collect();
        let round = Round { attempts, best, more: false, redirected };
        self.happens(Event::RoundFailed { transaction, round });
    }

    /// One line for each record: `kind method code from/to`, how it ended, how long it was, legs, fields, sinks other
    /// than 0.
    pub(super) fn records(&self) -> String {
        self.made.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

/// More ticks than any row has work for.
const TICKS_MAX: usize = 2000;

const CALLER: &str = "192.0.2.1:5060";
const CALLEE: &str = "192.0.2.2:5060";
const ELSEWHERE: &str = "198.51.100.9:5060";

fn peer() -> Peer {
    Peer { listener: ListenerId(0), addr: addr(CALLER) }
}

fn shown(value: &Value) -> String {
    value.text().map_or("-".into(), |text| String::from_utf8_lossy(&text).into_owned())
}

fn line(made: &Made) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let record = &made.record;
    let mut line = format!(
        "{} {} {} {}/{}",
        record.kind.name(),
        text(&record.method),
        record.code,
        text(&record.from_tag),
        text(&record.to_tag)
    );
    if let Some(end) = record.end {
        let _ = write!(line, " {} {}", end.by.name(), end.cause.name());
    }
    if let Some(duration) = record.times.duration {
        let _ = write!(line, " {}s", duration.as_secs_f64());
    }
    for leg in &record.legs {
        let _ = write!(line, " [{}]", leg.iter().map(|(_, value)| shown(value)).collect::<Vec<_>>().join(" "));
    }
    // What its own test looks at.
    for (name, value) in record.fields.iter().filter(|(name, _)| name != "last_alive" && !is_internal(name)) {
        let _ = write!(line, " {name}={}", shown(value));
    }
    if made.sinks != SinkMask::NONE.with(SinkNumber(0)) {
        let _ = write!(line, " {:?}", made.sinks.iter().map(|sink| sink.0).collect::<Vec<_>>());
    }
    line
}

/// Plays each row on an engine of its own.
pub(super) fn hold(settings: &Settings, rows: &[Row<'_>]) {
    for (name, marked, steps, want) in rows {
        let mut bench = Bench::new(settings.clone(), marked);
        bench.play(steps);
        assert_eq!(bench.records(), want.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
    }
}
