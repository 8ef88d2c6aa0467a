//! Damaged messages: whatever comes, nothing panics, and in the end all tables are empty.

use std::time::Duration;

use bytes::Bytes;

use super::script::{address, response, settings};
use super::storm::Rng;
use crate::clock::Now;
use crate::sip::message::Message;
use crate::sip::stack::{
    Destination, Event, Hop, Input, ListenerId, NextOn, Onward, Output, Peer, Plan, Sizes, Stack, Target, Treatment,
};

/// Messages fed in for each seed.
const MESSAGES: usize = 3_000;
/// Seeds that are run.
const SEEDS: u64 = 8;
/// Messages kept to be damaged and sent again.
const KEPT: usize = 64;

/// A stack, a clock, and messages seen on the wire.
struct Mill {
    stack: Stack,
    now: Now,
    rng: Rng,
    kept: Vec<Vec<u8>>,
}

impl Mill {
    fn keep(&mut self, message: Vec<u8>) {
        if message.len() > 6_000 {
            return;
        }
        if self.kept.len() < KEPT {
            self.kept.push(message);
        } else {
            // The first ones stay whole.
            let place = 4 + self.rng.below(KEPT as u64 - 4) as usize;
            self.kept[place] = message;
        }
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            let input = match output {
                Output::Send { bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if !text.starts_with("SIP/2.0") {
                        let code = ["100", "180", "200", "404", "503", "603"][self.rng.below(6) as usize];
                        self.keep(response(&text, code, "bob", "bob").into_bytes());
                    }
                    self.keep(bytes.to_vec());
                    continue;
                }
                Output::Request { transaction } => {
                    let target = |who| Target {
                        uri: Bytes::from_static(b"sip:target@target.example"),
                        hop: Hop::Addr(address(who)),
                        transport: None,
                        ring_timeout: Some(Duration::from_secs(9)),
                        next_on: NextOn::default(),
                        edits: None,
                    };
                    let treatment = match self.rng.below(8) {
                        0 => Treatment::Ignore,
                        1 => Treatment::Respond {
                            code: 404,
                            reason: "".into(),
                            retry_after_s: Some(1),
                            contacts: vec![Bytes::from_static(b"<sip:b@x>")],
                        },
                        2..5 => Treatment::FollowRoute { edits: None },
                        _ => Treatment::Forward(Plan {
                            groups: vec![vec![target("bob"), target("dave")]],
                            ..Plan::default()
                        }),
                    };
                    Input::Decide { transaction, treatment }
                }
                Output::Event { held: Some((transaction, response)), .. } => Input::Release { transaction, response },
                Output::Event { event: Event::RoundFailed { transaction, .. }, .. } => {
                    Input::Proceed { transaction, onward: Onward::AsPlanned }
                }
                Output::Resolve { query, .. } => Input::Resolved {
                    query,
                    destinations: vec![Destination { addr: address("carol"), transport: None }],
                },
                _ => continue,
            };
            let mut out = Vec::new();
            self.stack.handle(self.now, input, &(), &mut out);
            self.perform(out);
        }
    }

    fn damage(&mut self, message: &mut Vec<u8>) {
        for _ in 0..self.rng.below(4) {
            let place = self.rng.below(message.len() as u64 + 1) as usize;
            match self.rng.below(4) {
                0 => message.truncate(place),
                1 => message.insert(place, self.rng.next() as u8),
                2 => {
                    let other = self.kept[self.rng.below(self.kept.len() as u64) as usize].clone();
                    message.truncate(place);
                    message.extend(other.into_iter().skip(place));
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

    fn tick(&mut self, span: Duration) {
        self.now = self.now.after(span);
        let mut out = Vec::new();
        self.stack.tick(self.now, &mut out);
        self.perform(out);
    }
}

#[test]
fn rubbish_neither_panics_nor_stays() {
    for seed in 0..SEEDS {
        grind(seed);
    }
}

fn grind(seed: u64) {
    let invite = "INVITE sip:b@192.0.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-1\r\n\
                  Max-Forwards: 70\r\nRoute: <sip:192.0.2.1;lr>, <sip:[2001:db8::40]>\r\nFrom: <sip:a@x>;tag=1\r\n\
                  To: <sip:b@x>\r\nCall-ID: r\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.10>\r\nContent-Length: 0\r\n\r\n";
    let mut mill = Mill { stack: Stack::new(settings()), now: Now::default(), rng: Rng(seed), kept: Vec::new() };
    for text in [invite.to_owned(), invite.replace("INVITE", "CANCEL"), invite.replace("INVITE", "ACK")] {
        mill.keep(text.into_bytes());
    }
    mill.keep(invite.replace("INVITE", "BYE").replace("Route", "X").into_bytes());
    for number in 0..MESSAGES {
        let mut message = mill.kept[mill.rng.below(mill.kept.len() as u64) as usize].clone();
        if mill.rng.chance(30) {
            // A new call now and then, so that there is something to damage.
            let text = String::from_utf8_lossy(&message).replace("z9hG4bK-", &format!("z9hG4bK-{number}"));
            message = text.into_bytes();
        }
        mill.damage(&mut message);
        let who = ["alice", "bob", "dave", "mallory"][mill.rng.below(4) as usize];
        let peer = Peer { listener: ListenerId(u16::from(who == "dave")), addr: address(who) };
        let mut out = Vec::new();
        mill.stack.handle(mill.now, Input::Received { peer, message: Message::parse(message) }, &(), &mut out);
        mill.perform(out);
        if mill.rng.chance(20) {
            let span = Duration::from_millis(mill.rng.below(400));
            mill.tick(span);
        }
    }
    assert!(mill.stack.sizes().server > 0, "seed {seed}: something must have come through");
    for _ in 0..600 {
        mill.tick(Duration::from_secs(1));
    }
    assert_eq!(mill.stack.sizes(), Sizes::default(), "seed {seed}: something is left");
}
