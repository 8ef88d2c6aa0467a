//! Rubbish on the SIP port: the real binary neither ends nor grows, and serves the next call.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use crate::support::{Gateway, wait_for};

/// Datagrams sent in all.
const DATAGRAMS: u32 = 60_000;
/// Memory the process may gain from them, in KiB: buffers that were never used before, not state for each datagram.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// A small generator with a printed seed (xorshift64*), so that a failure can be played again.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }
}

fn anonymous_kib(gateway: &Gateway) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", gateway.process.child.id());
    let rollup = fs::read_to_string(path).expect("the process lives");
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}

/// An OPTIONS to the gateway itself with Max-Forwards 0 gets an answer from the gateway (RFC 3261 §11).
fn is_served(gateway: &Gateway) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let local = socket.local_addr().unwrap();
    let to = gateway.address();
    let mut number = 0;
    wait_for("an answer to OPTIONS", || {
        number += 1;
        let request = format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKalive{number}\r\nMax-Forwards: 0\r\n\
             From: <sip:a@example.net>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: alive{number}@example.net\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), to).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).ok()?;
        buffer[..length].starts_with(b"SIP/2.0 ").then_some(())
    });
}

fn torture() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut messages = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(root.join(folder)).expect("the torture messages are there") {
            messages.push(fs::read(entry.expect("readable").path()).expect("readable"));
        }
    }
    messages
}

fn rubbish(dice: &mut Dice, messages: &[Vec<u8>]) -> Vec<u8> {
    match dice.below(4) {
        // Noise of any length, mostly short.
        0 => {
            let longest = if dice.below(50) == 0 { 65_507 } else { 900 };
            let length = dice.below(longest + 1);
            (0..length).map(|_| u8::try_from(dice.next() & 0xff).expect("one octet")).collect()
        }
        // A real message, cut anywhere.
        1 => {
            let mut message = messages[dice.below(messages.len())].clone();
            message.truncate(dice.below(message.len() + 1));
            message
        }
        // A real message with octets changed.
        _ => {
            let mut message = messages[dice.below(messages.len())].clone();
            for _ in 0..=dice.below(8) {
                let at = dice.below(message.len());
                message[at] = u8::try_from(dice.next() & 0xff).expect("one octet");
            }
            message
        }
    }
}

#[test]
fn no_datagram_ends_the_process_or_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens at the target and at the RADIUS port: nothing but the gateway itself is tested.
    let gateway = Gateway::start(dir.path(), &["sip:127.0.0.1:9".to_owned()], 9, "");
    let seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id());
    println!("seed {seed:#x}");
    let (mut dice, messages) = (Dice(seed), torture());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |count: u32, dice: &mut Dice| {
        for number in 0..count {
            let _refused = socket.send_to(&rubbish(dice, &messages), gateway.address());
            if number % 200 == 0 {
                is_served(&gateway);
            }
        }
    };
    // The first part fills every buffer that is kept; the rest must not add to it.
    send(DATAGRAMS / 6, &mut dice);
    let before = anonymous_kib(&gateway);
    send(DATAGRAMS - DATAGRAMS / 6, &mut dice);
    is_served(&gateway);
    let after = anonymous_kib(&gateway);
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB, seed {seed:#x}");
}
