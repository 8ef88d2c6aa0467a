//! The client in virtual time.

mod answers;
mod breaks;
mod delay;
mod doubt;
mod exchange;
mod health;
mod late;
mod property;
mod streams;

use std::collections::HashMap;

use super::*;
use crate::radius::Secret;
use crate::radius::packet::{self, Code, Packet};
use crate::radius::{authenticator, number};

const SECRET: &str = "testing123";

/// A datagram on its way to a server.
#[derive(Clone, Debug)]
struct Sent {
    at: Instant,
    server: ServerIndex,
    lane: LaneId,
    datagram: Bytes,
}

impl Sent {
    fn identifier(&self) -> u8 {
        self.datagram[1]
    }

    /// An authentic answer.
    fn answer(&self, code: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
        let mut octets = Vec::new();
        packet::begin(&mut octets, Code(code), self.identifier());
        for (number, value) in attributes {
            packet::push(&mut octets, *number, value);
        }
        packet::finish(&mut octets).unwrap();
        let request = Packet::parse(&self.datagram).unwrap().authenticator();
        authenticator::sign_response(&mut octets, &request, &Secret::new(SECRET));
        octets
    }

    fn stored(&self) -> Vec<u8> {
        self.answer(5, &[])
    }
}

fn settings(servers: u16, change: impl FnOnce(&mut Settings)) -> Settings {
    let server = |number: u16| ServerSettings {
        address: SocketAddr::from(([192, 0, 2, 1], 1813 + number)),
        secret: Secret::new(SECRET),
        message_authenticator: MessageAuthenticator::Omit,
    };
    let mut settings = Settings { servers: (0..servers).map(server).collect(), ..Settings::default() };
    change(&mut settings);
    settings
}

/// A client whose sockets open at once, unless the test opens them, and whose clock goes where it is told.
struct World {
    client: Client,
    now: Now,
    /// Datagrams sent and not taken by the test, probes apart.
    sent: Vec<Sent>,
    probes: Vec<Sent>,
    /// Whether sockets open by themselves.
    opens: bool,
    /// Lanes asked for and not opened yet, with the time.
    asked: Vec<(Instant, ServerIndex, LaneId)>,
    /// Lanes closed by the client.
    closed: Vec<(Instant, ServerIndex, LaneId)>,
    /// Connections lost, in words.
    lost: Vec<String>,
    /// Everything else, in order.
    told: Vec<Output>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::begin(settings, true)
    }

    fn begin(settings: Settings, opens: bool) -> Self {
        let now = Now { mono: Instant(1_000_000_000), wall: Timestamp(1_700_000_000_000_000) };
        let mut world = Self {
            client: Client::new(now.mono, settings, [1, 2]),
            now,
            sent: Vec::new(),
            probes: Vec::new(),
            opens,
            asked: Vec::new(),
            closed: Vec::new(),
            lost: Vec::new(),
            told: Vec::new(),
        };
        world.tick();
        world
    }

    fn with(servers: u16, change: impl FnOnce(&mut Settings)) -> Self {
        Self::new(settings(servers, change))
    }

    fn handle(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.client.handle(self.now, input, &mut out);
        self.perform(out);
    }

    fn tick(&mut self) {
        let mut out = Vec::new();
        self.client.tick(self.now, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::OpenLane { server, lane } if self.opens => self.handle(Input::LaneOpened { server, lane }),
                Output::OpenLane { server, lane } => self.asked.push((self.now.mono, server, lane)),
                Output::CloseLane { server, lane } => self.closed.push((self.now.mono, server, lane)),
                Output::Lost { why, .. } => self.lost.push(why.to_string()),
                Output::Transmit { server, lane, datagram } => {
                    let sent = Sent { at: self.now.mono, server, lane, datagram };
                    let is_probe = sent.datagram[0] == Code::STATUS_SERVER.0;
                    if is_probe { self.probes.push(sent) } else { self.sent.push(sent) }
                }
                other => self.told.push(other),
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        while let Some(deadline) = self.client.deadline().filter(|deadline| *deadline <= end.mono) {
            self.now = self.now.after(deadline.since(self.now.mono));
            self.tick();
            let next = self.client.deadline();
            assert!(next.is_none_or(|next| next > self.now.mono), "a tick leaves nothing due");
        }
        self.now = end;
    }

    fn pass_secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    fn submit(&mut self, key: u64) {
        self.submit_since(key, self.now.wall);
    }

    fn submit_since(&mut self, key: u64, since: Timestamp) {
        let attributes = [number::ACCT_STATUS_TYPE, 6, 0, 0, 0, 1];
        let call = CallHash(key);
        self.handle(Input::Submit(Submission {
            key: Seq(key),
            part: 0,
            attributes: &attributes,
            since,
            attempts: 0,
            call,
        }));
    }

    fn receive(&mut self, to: &Sent, datagram: &[u8]) {
        self.handle(Input::Received { server: to.server, lane: to.lane, datagram });
    }

    /// Answers everything that was sent.
    fn answer_all(&mut self) {
        for sent in std::mem::take(&mut self.sent) {
            self.receive(&sent, &sent.stored());
        }
    }

    fn capacity(&mut self) -> usize {
        self.client.capacity(self.now.mono)
    }

    fn server(&self, server: usize) -> ServerStatus {
        self.client.status().nth(server).unwrap()
    }

    /// How records ended since the last call: key and `delivered`, `retry` or `parked`.
    fn ended(&mut self) -> Vec<(u64, &'static str)> {
        let ended = self.told.iter().filter_map(|output| match output {
            Output::Delivered { key, .. } => Some((key.0, "delivered")),
            Output::Retry { key, .. } => Some((key.0, "retry")),
            Output::Park { key, .. } => Some((key.0, "parked")),
            _ => None,
        });
        let ended = ended.collect();
        self.told.retain(|output| matches!(output, Output::Health { .. } | Output::Alarm { .. }));
        ended
    }

    /// Health changes since the last call.
    fn health(&mut self) -> Vec<(u16, Health)> {
        let found = self.told.iter().filter_map(|output| match output {
            Output::Health { server, health } => Some((server.0, *health)),
            _ => None,
        });
        let found = found.collect();
        self.told.retain(|output| !matches!(output, Output::Health { .. }));
        found
    }
}

/// How each record ended, in order.
fn ends(world: &mut World) -> HashMap<u64, Vec<&'static str>> {
    let mut ends: HashMap<u64, Vec<&'static str>> = HashMap::new();
    for (key, how) in world.ended() {
        ends.entry(key).or_default().push(how);
    }
    ends
}

/// Once; or back to the queue, and then delivered after all.
fn is_one_end(how: &[&str]) -> bool {
    matches!(how, [_] | ["retry", "delivered"])
}
