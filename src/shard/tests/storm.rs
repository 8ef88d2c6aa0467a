//! Calls over a network that loses, doubles and reorders datagrams, a disk that answers late, and shards that die.
//!
//! Whatever happens: no final response leaves before its record; each call with a Start has one Stop; no id and no fact
//! is recorded twice; in the end nothing is left.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bench::{Setup, initial, of_invite};
use super::disk::{Disk, tag_of};
use super::facts::check_facts;
use super::policy::Whims;
use crate::accounting;
use crate::clock::{Instant, Now, Timestamp};
use crate::policy::Recipe;
use crate::record::{Kind, Record};
use crate::shard::{self, Count, Health, Input, OnTrouble, Output, Shard, Ticket};
use crate::sip::message::Message;
use crate::sip::stack::tests::script::{address, header, headers, response};
use crate::sip::stack::tests::storm::{Rng, seeds};
use crate::sip::stack::{ListenerId, Peer, Sizes};

/// Seeds that are run, with and without crashes.
const SEEDS: u64 = 700;
/// Seeds that are run with a policy of whims.
const WHIMS_SEEDS: u64 = 200;
/// Calls of one seed.
const CALLS: u32 = 6;
/// How often a message is sent again.
const REPEATS: u32 = 10;
/// Who is called.
const USERS: [&str; 5] = ["bob", "fork", "hunt", "free", "closed"];

enum Event {
    /// A datagram arrives at the shard.
    ToShard(&'static str, String),
    /// A datagram arrives at an actor.
    ToActor(&'static str, String),
    /// An actor sends a message, and again until it is settled.
    Send { who: &'static str, text: String, key: String, left: u32, pause: Duration },
    /// An actor begins something, unless that is settled.
    Begin { who: &'static str, text: String, key: String, unless: String },
    /// A turn of the shard ends.
    Flush,
    /// The disk has written up to there; to the shard of that life.
    Receipt(u64, Ticket),
    /// The process dies, and another one begins.
    Crash,
}

struct Storm {
    shard: Shard,
    setup: Setup,
    life: u64,
    now: Now,
    rng: Rng,
    loss: u64,
    /// Out of a hundred receipts, how many are very late.
    slow: u64,
    /// Out of a hundred commits, after how many the process dies soon.
    crashing: u64,
    disk: Disk,
    recorded: Vec<Record>,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    last_receipt: Instant,
    /// What is done with.
    settled: HashSet<String>,
    /// Requests that were acted on, and 2xx.
    acted: HashSet<String>,
    problem: Option<String>,
    unsafe_answers: u64,
    answered: u64,
    /// How many INVITEs of a call a callee took for new ones.
    rounds: BTreeMap<String, u32>,
}

/// Call-ID, CSeq and Via: one transaction as an actor sees it.
fn key_of(text: &str) -> String {
    let part = |name| header(text, name).unwrap_or_default();
    format!("{} {} {}", part("Call-ID"), part("CSeq"), part("Via"))
}

fn call_of(text: &str) -> String {
    header(text, "Call-ID").unwrap_or_default().to_owned()
}

/// What ends the retransmission of a response to an INVITE.
fn acked(text: &str, who: &str) -> String {
    format!("acked {} {who}", call_of(text))
}

impl Storm {
    fn new(seed: u64, recipe: Option<Arc<dyn Recipe>>) -> Self {
        let mut rng = Rng(seed ^ 0x5_eed0);
        let on_trouble = if rng.chance(50) { OnTrouble::Serve } else { OnTrouble::Refuse };
        let engine = accounting::Settings {
            hang_up: accounting::Settings::default().hang_up,
            ack_wait: Duration::from_secs(32),
            ..Setup::new().engine
        };
        let setup = Setup { shard: shard::Settings { on_trouble, ..shard::Settings::default() }, engine, recipe };
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000_000) };
        let disk = Disk::default();
        Self {
            shard: setup.shard(now, &disk, 0),
            setup,
            life: 0,
            now,
            loss: [0, 5, 20][rng.below(3) as usize],
            slow: [0, 0, 10][rng.below(3) as usize],
            crashing: 0,
            rng,
            disk,
            recorded: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            last_receipt: now.mono,
            settled: HashSet::new(),
            acted: HashSet::new(),
            problem: None,
            unsafe_answers: 0,
            answered: 0,
            rounds: BTreeMap::new(),
        }
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.rng.below(end))
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.queue.insert((self.now.mono + after, self.serial), event);
        self.serial += 1;
    }

    /// Puts a datagram on the wire: lost, doubled or late by chance.
    fn wire(&mut self, event: impl Fn() -> Event) {
        for _ in 0..=u8::from(self.rng.chance(self.loss)) {
            if !self.rng.chance(self.loss) {
                let late = self.millis(if self.loss > 0 { 120 } else { 2 });
                self.at(late, event());
            }
        }
    }

    fn send(&mut self, who: &'static str, text: String, key: String) {
        let pause = Duration::from_millis(500);
        self.at(Duration::ZERO, Event::Send { who, text, key, left: REPEATS, pause });
    }

    fn once(&mut self, who: &'static str, text: &str) {
        self.wire(|| Event::ToShard(who, text.to_owned()));
    }

    /// Runs until nothing more is to happen.
    fn run(&mut self, crashes: u64) {
        for call in 0..CALLS {
            let user = USERS[self.rng.below(5) as usize];
            let invite = initial("INVITE", "alice", user, call);
            let after = self.millis(2_000);
            let key = key_of(&invite);
            self.at(after, Event::Begin { who: "alice", text: invite.clone(), key, unless: String::new() });
            if self.rng.chance(30) {
                let after = after + self.millis(12_000);
                let (text, unless) = (of_invite(&invite, "CANCEL", None), format!("final {}", call_of(&invite)));
                self.at(after, Event::Begin { who: "alice", key: key_of(&text), text, unless });
            }
        }
        for _ in 0..crashes {
            let after = self.millis(20_000);
            self.at(after, Event::Crash);
        }
        while self.problem.is_none() {
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let due = self.shard.deadline().map(|due| due.max(self.now.mono));
            let Some(at) = next.into_iter().chain(due).min() else { break };
            self.now = self.now.after(at.since(self.now.mono));
            if next.is_some_and(|next| due.is_none_or(|due| next <= due)) {
                let Some((_, event)) = self.queue.pop_first() else { break };
                self.happen(event);
            } else {
                self.act(Shard::tick);
                self.act(Shard::flush);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToShard(who, text) => {
                let addr = address(who);
                let message = Message::parse(text.into_bytes());
                self.input(Input::Received { peer: Peer { listener: ListenerId(0), addr }, message });
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
            Event::Begin { who, text, key, unless } => {
                if !self.settled.contains(&unless) {
                    if text.starts_with("SIP/2.0 2") {
                        self.acted.insert(format!("accepted {} {who}", call_of(&text)));
                    }
                    self.send(who, text, key);
                }
            }
            Event::Flush => self.act(Shard::flush),
            Event::Receipt(life, ticket) => {
                if life == self.life {
                    self.disk.write_to(ticket);
                    self.input(Input::Committed(ticket));
                }
            }
            Event::Crash => {
                // Some commits were on disk already, though nobody has been told.
                while self.rng.chance(30) && self.disk.write().is_some() {}
                self.disk.crash();
                self.life += 1;
                self.shard = self.setup.shard(self.now, &self.disk, self.life);
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.act(|shard, now, out| shard.handle(now, input, out));
        if self.rng.chance(70) {
            self.act(Shard::flush);
        } else {
            let after = self.millis(3);
            self.at(after, Event::Flush);
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Shard, Now, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.shard, self.now, &mut out);
        self.disk.begin();
        for output in out {
            match output {
                Output::Send { authority: Some(name), .. } => self.problem = Some(format!("named {name}")),
                Output::Send { peer, bytes, .. } => self.sent(peer.addr, &bytes),
                Output::Append { ticket, commit } => {
                    self.recorded.extend(self.disk.append(ticket, commit));
                    let late = if self.rng.chance(self.slow) { 900 } else { 40 };
                    let at = (self.now.mono + self.millis(late)).max(self.last_receipt);
                    self.last_receipt = at;
                    self.at(at.since(self.now.mono), Event::Receipt(self.life, ticket));
                    if self.rng.chance(self.crashing) {
                        let after = self.millis(40);
                        self.at(after, Event::Crash);
                    }
                }
                Output::Resolve { host, .. } => self.problem = Some(format!("asked for {host}")),
                Output::Count(Count::AnswerUnsafe) => {
                    self.unsafe_answers += 1;
                    self.disk.excuse();
                }
                Output::Count(_) | Output::Notice(_) | Output::Turned { .. } => {}
                Output::Adopt { .. } | Output::Unreadable(_) => panic!("there is no cluster"),
            }
        }
    }

    fn sent(&mut self, to: SocketAddr, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        if let Err(problem) = self.disk.check(&text) {
            self.problem = Some(problem);
        }
        let who = ["alice", "bob", "carol"].into_iter().find(|who| address(who) == to).expect("an actor");
        self.wire(|| Event::ToActor(who, text.clone()));
    }

    fn caller(&mut self, text: &str) {
        if !text.starts_with("SIP/2.0") {
            return self.once("alice", &response(text, "200", "alice", "alice"));
        }
        let call = call_of(text);
        self.settled.insert(key_of(text));
        let cseq = header(text, "CSeq").unwrap_or_default();
        let Some(number) = cseq.strip_suffix(" INVITE").filter(|_| !text.starts_with("SIP/2.0 1")) else { return };
        self.settled.insert(format!("final {call}"));
        let invite =
            initial("INVITE", "alice", call.split('-').next().unwrap_or_default(), number.parse().unwrap_or(0));
        let to = header(text, "To").unwrap_or_default();
        if !text.starts_with("SIP/2.0 2") {
            return self.once("alice", &of_invite(&invite, "ACK", Some(to)));
        }
        let request = |method: &str, cseq: &str| inside(text, method, cseq, "alice");
        self.once("alice", &request("ACK", number));
        if self.acted.insert(format!("answered {call} {to}")) {
            self.answered += 1;
            if self.rng.chance(85) {
                let bye = request("BYE", "100");
                let after = self.millis(20_000);
                self.at(after, Event::Begin { who: "alice", key: key_of(&bye), text: bye, unless: String::new() });
            }
        }
    }

    fn callee(&mut self, who: &'static str, text: &str) {
        if text.starts_with("SIP/2.0") {
            self.settled.insert(key_of(text));
            return;
        }
        let over = format!("over {who} {}", key_of(text).replace("CANCEL", "INVITE"));
        match text.split(' ').next().unwrap_or_default() {
            "INVITE" if self.acted.insert(format!("{who} {}", key_of(text))) => {
                if self.rng.chance(60) {
                    let (after, ringing) = (self.millis(2_500), response(text, "180", who, who));
                    self.at(after, Event::ToShard(who, ringing));
                }
                // Sent again by a restarted gateway it has another branch: some see that it is the same one (RFC 3261
                // §8.2.2.2), others take it for a new one and answer with another tag.
                let rounds = self.rounds.entry(format!("{who} {}", call_of(text))).or_default();
                *rounds += 1;
                let tag = format!("{who}{rounds}");
                let is_merged = *rounds > 1 && self.rng.chance(50);
                let code = ["200", "200", "200", "486", "404", "503", "603", ""][self.rng.below(8) as usize];
                let code = if is_merged { "482" } else { code };
                if !code.is_empty() {
                    // Some answer at once: then the caller has heard nothing yet when the shard dies.
                    let longest = if self.rng.chance(30) { 150 } else { 9_000 };
                    let (after, text) = (self.millis(longest), response(text, code, &tag, who));
                    self.at(after, Event::Begin { who, key: acked(&text, who), text, unless: over });
                }
                // For the 487 that a CANCEL asks for.
                self.acted.insert(format!("invite {who} {}\n{text}", key_of(text)));
            }
            "CANCEL" => {
                self.once(who, &response(text, "200", who, who));
                let is_accepted = self.acted.contains(&format!("accepted {} {who}", call_of(text)));
                if !is_accepted && self.settled.insert(over) {
                    let mark = format!("invite {who} {}\n", key_of(text).replace("CANCEL", "INVITE"));
                    let invite = self.acted.iter().find_map(|own| own.strip_prefix(&mark)).map(str::to_owned);
                    if let Some(invite) = invite {
                        self.send(who, response(&invite, "487", who, who), acked(&invite, who));
                    }
                }
            }
            "ACK" => {
                self.settled.insert(acked(text, who));
                let is_first = self.acted.insert(format!("acknowledged {} {who}", call_of(text)));
                if is_first && self.rng.chance(30) {
                    self.hang_up(who, text);
                }
            }
            "BYE" => self.once(who, &response(text, "200", who, who)),
            _ => {}
        }
    }

    /// The callee ends the call, too: its BYE may cross the caller's.
    fn hang_up(&mut self, who: &'static str, ack: &str) {
        let invite = self.acted.iter().find_map(|own| {
            let text = own.strip_prefix(&format!("invite {who} {} ", call_of(ack)))?;
            text.split_once('\n').map(|(_, text)| text.to_owned())
        });
        let is_accepted = self.acted.contains(&format!("accepted {} {who}", call_of(ack)));
        let Some(invite) = invite.filter(|_| is_accepted) else { return };
        let tag = tag_of(header(ack, "To").unwrap_or_default());
        let bye = inside(&response(&invite, "200", tag, who), "BYE", "7", who);
        let after = self.millis(20_000);
        self.at(after, Event::Begin { who, key: key_of(&bye), text: bye, unless: String::new() });
    }

    /// What must hold when all is over.
    fn check_end(&self, crashes: u64) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let shard = &self.shard;
        if shard.sizes() != Sizes::default() || !shard.is_idle() || shard.calls() != 0 || !self.disk.calls.is_empty() {
            return Err(format!("something is left: {:?}, {} calls", shard.sizes(), shard.calls()));
        }
        if shard.alarm() != Health::Well {
            return Err("the alarm is still on".to_owned());
        }
        // What died with its shard before it was on disk was never a fact.
        let records = if crashes > 0 { &self.disk.records } else { &self.recorded };
        if crashes == 0 && self.disk.records != self.recorded {
            return Err("the disk lacks records".to_owned());
        }
        let is_new = |record: &&Record| crashes == 0 || matches!(record.kind, Kind::Start | Kind::Stop);
        check_facts(&records.iter().filter(is_new).cloned().collect::<Vec<_>>())?;
        let mut callees = HashSet::new();
        for start in records.iter().filter(|record| record.kind == Kind::Start) {
            // However often its INVITE came: a callee answers a call once.
            let callee = start.to_tag.iter().take_while(|octet| octet.is_ascii_alphabetic()).copied();
            if !callees.insert((start.call_id.clone(), callee.collect::<Vec<u8>>())) {
                return Err(format!("a second Start: {start:?}"));
            }
            let of_call = |record: &&Record| record.kind == Kind::Stop && record.session == start.session;
            let stops = records.iter().filter(of_call).count();
            if stops != 1 {
                return Err(format!("{stops} Stops for {start:?}"));
            }
        }
        Ok(())
    }
}

/// A request inside the dialog that a 200 to an INVITE has opened, from the caller or from who answered.
fn inside(response: &str, method: &str, cseq: &str, who: &str) -> String {
    let part = |name| header(response, name).unwrap_or_default();
    let mut routes: Vec<&str> = headers(response, "Record-Route").collect();
    let (from, to, target) = if who == "alice" {
        routes.reverse();
        (part("From"), part("To"), part("Contact").trim_matches(['<', '>']).to_owned())
    } else {
        (part("To"), part("From"), format!("sip:alice@{}", address("alice")))
    };
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let (call, addr, tag) = (part("Call-ID"), address(who), tag_of(part("To")));
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK{who}{call}{tag}{method}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Answered calls, Stops by a BYE, and responses that left without their record.
fn rage(crashes: u64, count: u64, recipe: Option<&Arc<dyn Recipe>>) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for seed in seeds(count) {
        let mut storm = Storm::new(seed, recipe.cloned());
        storm.crashing = 2 * crashes;
        storm.run(crashes);
        storm.check_end(crashes).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        let is_bye = |record: &&Record| record.kind == Kind::Stop && record.code != 0;
        sums.0 += storm.answered;
        sums.1 += storm.disk.records.iter().filter(is_bye).count() as u64;
        sums.2 += storm.unsafe_answers;
    }
    sums
}

#[test]
fn a_bad_network_and_a_slow_disk_break_no_promise() {
    let (answered, ended, unsafe_answers) = rage(0, SEEDS, None);
    assert!(answered > 800 && ended > 500 && unsafe_answers > 20, "{answered} {ended} {unsafe_answers}");
}

#[test]
fn nor_do_crashes() {
    let (answered, ended, _) = rage(3, SEEDS, None);
    assert!(answered > 300 && ended > 250, "{answered} {ended}");
}

#[test]
fn nor_does_a_policy_whatever_it_says() {
    for crashes in [0, 3] {
        let whims = Whims::default();
        let said = Arc::clone(&whims.said);
        let recipe: Arc<dyn Recipe> = Arc::new(whims);
        let (answered, ended, _) = rage(crashes, WHIMS_SEEDS, Some(&recipe));
        let said = said.load(Ordering::Relaxed);
        assert!(answered > 100 && ended > 80 && said > 200, "{answered} {ended} {said}");
    }
}
