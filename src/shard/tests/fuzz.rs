//! Damaged messages against a whole shard: SIP machine, policy and accounting. Whatever comes, nothing panics, and when
//! time has passed all tables are empty and every call has ended.
//!
//! The ordinary run is short. `TOLLGATE_FUZZ_MESSAGES=5000000 cargo test --lib shard::tests::fuzz -- --nocapture` feeds
//! five million; `TOLLGATE_SEED` chooses others.

use std::path::Path;
use std::time::Duration;

use super::bench::{Setup, initial, of_invite};
use super::disk::Disk;
use crate::accounting::{self, Pings};
use crate::clock::{Instant, Now, Timestamp};
use crate::shard::{Health, Input, Output, Shard, Ticket};
use crate::sip::message::Message;
use crate::sip::stack::tests::script::{address, response};
use crate::sip::stack::tests::storm::{Rng, seeds};
use crate::sip::stack::{Destination, ListenerId, Peer, Sizes};

/// Messages of the ordinary run.
const MESSAGES: u64 = 40_000;
/// Messages of one shard; then everything must end, and another one begins.
const ROUND: u64 = 4_000;
/// Messages kept to be damaged and sent again, the torture messages not counted.
const KEPT: usize = 96;
/// Longest message that is kept: damage joins messages.
const KEPT_BYTES_MAX: usize = 6_000;

struct Mill {
    setup: Setup,
    shard: Shard,
    disk: Disk,
    now: Now,
    rng: Rng,
    torture: Vec<Vec<u8>>,
    kept: Vec<Vec<u8>>,
    /// Commits without a receipt.
    open: Vec<Ticket>,
    /// Answers of the resolver.
    resolved: Vec<Input>,
    responses: u64,
    records: u64,
}

fn torture() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let folders = ["rfc4475", "rfc5118"].map(|folder| std::fs::read_dir(root.join(folder)).expect("the messages"));
    let mut paths: Vec<_> = folders.into_iter().flatten().map(|entry| entry.expect("a message").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a message")).collect()
}

impl Mill {
    fn new(seed: u64, torture: &[Vec<u8>]) -> Self {
        let engine = accounting::Settings {
            early_media: true,
            report_ack: true,
            report_cancels: true,
            methods: vec!["*".to_owned()],
            interim_interval: Some(Duration::from_secs(50)),
            pings: Some(Pings { interval: Duration::from_secs(40), lost_max: 2 }),
            ..Setup::new().engine
        };
        let setup = Setup { engine, ..Setup::new() };
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000_000) };
        let disk = Disk::default();
        Self {
            shard: setup.shard(now, &disk, seed),
            setup,
            disk,
            now,
            rng: Rng(seed),
            torture: torture.to_vec(),
            kept: Vec::new(),
            open: Vec::new(),
            resolved: Vec::new(),
            responses: 0,
            records: 0,
        }
    }

    fn keep(&mut self, message: Vec<u8>) {
        if message.len() > KEPT_BYTES_MAX || message.is_empty() {
            return;
        }
        if self.kept.len() < KEPT {
            self.kept.push(message);
        } else {
            let place = self.rng.below(KEPT as u64) as usize;
            self.kept[place] = message;
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Shard, Now, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.shard, self.now, &mut out);
        self.perform(out);
        while let Some(input) = self.resolved.pop() {
            let mut out = Vec::new();
            self.shard.handle(self.now, input, &mut out);
            self.perform(out);
        }
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { bytes, .. } => self.sent(&bytes),
                Output::Append { ticket, commit } => {
                    self.records += self.disk.append(ticket, commit).len() as u64;
                    self.open.push(ticket);
                }
                Output::Resolve { query, .. } => {
                    let carol = Destination { addr: address("carol"), transport: None };
                    let destinations = if self.rng.chance(70) { vec![carol] } else { Vec::new() };
                    self.resolved.push(Input::Resolved { query, destinations });
                }
                Output::Count(_) | Output::Notice(_) | Output::Turned { .. } => {}
                Output::Adopt { .. } | Output::Unreadable(_) => panic!("there is no cluster"),
            }
        }
    }

    /// A message of the gateway: its receiver may answer it, and what was sent may come again, damaged.
    fn sent(&mut self, bytes: &[u8]) {
        self.responses += u64::from(bytes.starts_with(b"SIP/2.0"));
        if let Ok(text) = std::str::from_utf8(bytes)
            && !text.starts_with("SIP/2.0")
        {
            let code = ["100", "180", "183", "200", "200", "302", "404", "407", "481", "503", "603"];
            let code = code[self.rng.below(code.len() as u64) as usize];
            let own = response(text, code, "bob", "bob");
            self.keep(own.into_bytes());
        }
        self.keep(bytes.to_vec());
    }

    fn damage(&mut self, message: &mut Vec<u8>) {
        for _ in 0..self.rng.below(4) {
            let place = self.rng.below(message.len() as u64 + 1) as usize;
            match self.rng.below(5) {
                0 => message.truncate(place),
                1 => message.insert(place, self.rng.next() as u8),
                2 => {
                    let other = self.any().clone();
                    message.truncate(place);
                    message.extend(other.into_iter().skip(place));
                }
                3 => {
                    // A line twice, or gone.
                    let lines: Vec<&[u8]> = message.split_inclusive(|octet| *octet == b'\n').collect();
                    let at = place % lines.len().max(1);
                    let copies = if self.rng.chance(50) { 2 } else { 0 };
                    let lines = lines.iter().enumerate();
                    let text = lines.flat_map(|(own, line)| vec![*line; if own == at { copies } else { 1 }]);
                    *message = text.collect::<Vec<_>>().concat();
                }
                _ => {
                    if let Some(octet) = message.get_mut(place) {
                        *octet = b"\r\n :;,<>\"=@zA0\xff"[self.rng.below(15) as usize];
                    }
                }
            }
            if message.is_empty() {
                return;
            }
        }
    }

    fn any(&mut self) -> &Vec<u8> {
        let torture = self.kept.is_empty() || self.rng.chance(10);
        let list = if torture { &self.torture } else { &self.kept };
        &list[self.rng.below(list.len() as u64) as usize]
    }

    fn next_message(&mut self, number: u64) -> Vec<u8> {
        if self.rng.chance(8) {
            let user = ["bob", "fork", "hunt", "moved", "free", "closed"][self.rng.below(6) as usize];
            let call = u32::try_from(number % 1_000_000).expect("it is small");
            let invite = initial("INVITE", "alice", user, call);
            self.keep(of_invite(&invite, "CANCEL", None).into_bytes());
            self.keep(of_invite(&invite, "ACK", Some("<sip:bob@x>;tag=bob")).into_bytes());
            self.keep(of_invite(&invite, "BYE", Some("<sip:bob@x>;tag=bob")).into_bytes());
            self.keep(invite.clone().into_bytes());
            return invite.into_bytes();
        }
        let mut message = self.any().clone();
        if self.rng.chance(60) {
            self.damage(&mut message);
        }
        message
    }

    /// The disk writes some or all of what is open.
    fn write(&mut self, percent: u64) {
        while !self.open.is_empty() && self.rng.chance(percent) {
            let ticket = self.open.remove(0);
            let input = if self.rng.chance(3) && percent < 100 {
                self.disk.refuse();
                Input::Refused(ticket)
            } else {
                self.disk.write_to(ticket);
                Input::Committed(ticket)
            };
            self.act(|shard, now, out| shard.handle(now, input, out));
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.act(Shard::tick);
        self.act(Shard::flush);
    }

    fn grind(&mut self, count: u64) {
        for number in 0..count {
            let message = self.next_message(number);
            let who = ["alice", "bob", "carol", "dave", "mallory"][self.rng.below(5) as usize];
            let peer = Peer { listener: ListenerId(u16::from(who == "dave")), addr: address(who) };
            let input = match self.rng.below(400) {
                0 => Input::Unreachable(peer),
                1 => Input::Queue(Health::Trouble),
                2..6 => Input::Queue(Health::Well),
                _ => Input::Received { peer, message: Message::parse(message) },
            };
            self.act(|shard, now, out| shard.handle(now, input, out));
            if self.rng.chance(50) {
                self.act(Shard::flush);
                self.write(60);
            }
            if self.rng.chance(20) {
                let span = Duration::from_millis(self.rng.below(400));
                self.pass(span);
            }
        }
    }

    /// Ends everything; what is left then should not be.
    fn end(&mut self, seed: u64) {
        assert!(self.shard.sizes().server > 0 && self.records > 0, "seed {seed}: something must have come through");
        self.act(|shard, now, out| shard.handle(now, Input::Queue(Health::Well), out));
        for _ in 0..900 {
            self.act(Shard::flush);
            self.write(100);
            self.pass(Duration::from_secs(1));
        }
        // Calls whose early media or BYE was rubbish end by their lifetime, and the marks of ended ones go too.
        for _ in 0..900 {
            self.act(Shard::flush);
            self.write(100);
            self.pass(Duration::from_secs(60));
        }
        assert_eq!(self.shard.sizes(), Sizes::default(), "seed {seed}: something is left");
        assert_eq!(self.shard.calls(), 0, "seed {seed}: a call is left");
        assert!(self.shard.is_idle(), "seed {seed}: an answer is left");
        // What a refused commit has left on disk goes after the next start.
        self.shard = self.setup.shard(self.now, &self.disk, seed + 1);
        for _ in 0..900 {
            self.pass(Duration::from_secs(60));
            self.write(100);
        }
        assert!(self.disk.calls.is_empty(), "seed {seed}: left on disk: {:?}", self.disk.calls);
    }
}

#[test]
fn damaged_messages_neither_panic_nor_stay() {
    let wanted = std::env::var("TOLLGATE_FUZZ_MESSAGES").ok().and_then(|count| count.parse().ok());
    let messages: u64 = wanted.unwrap_or(MESSAGES);
    let torture = torture();
    let (mut responses, mut records) = (0, 0);
    for seed in seeds(messages.div_ceil(ROUND)) {
        let mut mill = Mill::new(seed, &torture);
        mill.grind(ROUND);
        mill.end(seed);
        responses += mill.responses;
        records += mill.records;
    }
    println!("{messages} messages: {responses} responses, {records} records");
    assert!(responses > messages / 10, "{responses} responses");
}
