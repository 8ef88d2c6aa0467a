//! The route in virtual time against scripted peers.

mod answers;
mod breaks;
mod failover;
mod property;
mod stop;

use std::time::Duration;

use super::*;
use crate::diameter::avp::Writer;
use crate::diameter::code;
use crate::diameter::header::{self, Header, command, flag};
use crate::diameter::peer::Identity;

pub(super) const M: u8 = 0x40;
/// Seconds of Unix time at which the tests begin.
const START: i64 = 1_700_000_000;

/// A request as a peer gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sent {
    pub peer: usize,
    pub header: Header,
}

impl Sent {
    pub fn has_t(&self) -> bool {
        self.header.flags & flag::REPEAT != 0
    }
}

pub(super) struct Bench {
    pub client: Client,
    pub now: Now,
    /// Requests of the route that are on the wire, oldest first.
    pub wire: Vec<Sent>,
    /// All that ended, and all that was told.
    pub ends: Vec<Output>,
    pub alarms: Vec<Alarm>,
    pub interims: Vec<u32>,
    pub classes: Vec<(u64, Option<Box<[u8]>>)>,
    /// Peers that take connections and answer what the base protocol asks.
    pub alive: Vec<bool>,
    pub last_message: Vec<u8>,
}

impl Bench {
    pub fn new(peers: &[(&str, u16)]) -> Self {
        Self::with(peers, |_| {})
    }

    pub fn with(peers: &[(&str, u16)], change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { salt: 1000, ..Settings::new(Identity::new("gw.test", "test")) };
        for (name, priority) in peers {
            settings.peers.push(PeerSettings { priority: *priority, ..PeerSettings::new(name, name, 3868) });
        }
        change(&mut settings);
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(START * 1_000_000) };
        let alive = vec![true; settings.peers.len()];
        let client = Client::new(now.mono, settings, [7, 8]);
        let mut bench = Self {
            client,
            now,
            wire: Vec::new(),
            ends: Vec::new(),
            alarms: Vec::new(),
            interims: Vec::new(),
            classes: Vec::new(),
            alive,
            last_message: Vec::new(),
        };
        bench.tick();
        bench.pass(peer::SETTLE);
        bench
    }

    pub fn put(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.client.handle(self.now, input, &mut out);
        self.work(out);
    }

    pub fn tick(&mut self) {
        let mut out = Vec::new();
        self.client.tick(self.now, &mut out);
        self.work(out);
    }

    /// Lets time pass, deadline by deadline.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(due) = self.client.deadline(self.now.mono).filter(|due| *due <= end) {
            self.now = self.now.after(due.since(self.now.mono));
            self.tick();
        }
        self.now = self.now.after(end.since(self.now.mono));
    }

    pub fn pass_secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    fn work(&mut self, mut out: Vec<Output>) {
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                self.perform(output, &mut out);
            }
        }
    }

    fn perform(&mut self, output: Output, out: &mut Vec<Output>) {
        let alive = |bench: &Self, peer: PeerIndex| bench.alive.get(usize::from(peer.0)).copied().unwrap_or(true);
        match output {
            Output::Connect { peer } => {
                let local = std::net::Ipv4Addr::LOCALHOST.into();
                let input = if alive(self, peer) {
                    Input::Connected { peer, local }
                } else {
                    Input::Failed { peer, cause: Cause::NoTransport("refused".into()) }
                };
                self.client.handle(self.now, input, out);
            }
            Output::Transmit { peer, message } => {
                let header = Header::read(&message).expect("a message");
                if header.command == command::ACCOUNTING && header.is_request() {
                    self.last_message = message.to_vec();
                    self.wire.push(Sent { peer: usize::from(peer.0), header });
                } else if header.is_request() && alive(self, peer) {
                    let name = self.client.target(peer).expect("a peer").identity.clone();
                    let answer = build(&header.answer(), |avps| {
                        avps.u32(code::RESULT_CODE, 0, M, 2001);
                        avps.avp(code::ORIGIN_HOST, 0, M, name.as_bytes());
                        avps.u32(code::ACCT_APPLICATION_ID, 0, M, 3);
                    });
                    self.client.handle(self.now, Input::Received { peer, message: &answer }, out);
                }
            }
            Output::Close { peer, .. } => self.wire.retain(|sent| sent.peer != usize::from(peer.0)),
            Output::Secure { .. } | Output::Peer { .. } => {}
            Output::Alarm { alarm, .. } => self.alarms.push(alarm),
            Output::Interim { seconds, .. } => self.interims.push(seconds),
            Output::Class { session, octets } => self.classes.push((session, octets)),
            Output::Delivered { .. } | Output::Retry { .. } | Output::Park { .. } => self.ends.push(output),
        }
    }

    /// Submits a record and gives what went out for it, if anything.
    pub fn submit(&mut self, key: u64) -> Option<Sent> {
        self.submit_with(key, |_| {})
    }

    pub fn submit_with(&mut self, key: u64, change: impl FnOnce(&mut Submission<'_>)) -> Option<Sent> {
        self.submit_messages(key, &acr(key), change)
    }

    pub fn submit_messages(
        &mut self,
        key: u64,
        messages: &[u8],
        change: impl FnOnce(&mut Submission<'_>),
    ) -> Option<Sent> {
        let mut submission = Submission {
            key: Seq(key),
            messages,
            has_waited: false,
            attempts: 0,
            since: self.now.wall,
            kind: Kind("start"),
            session: key,
            ends_session: false,
            realm: None,
        };
        change(&mut submission);
        let before = self.wire.len();
        self.put(Input::Submit(submission));
        self.wire.get(before).copied()
    }

    /// Answers the request that was sent last.
    pub fn answer(&mut self, result: u32) {
        let sent = self.wire.pop().expect("a request is out");
        self.answer_to(&sent, result);
    }

    pub fn answer_to(&mut self, sent: &Sent, result: u32) {
        self.answer_with(sent, |avps| avps.u32(code::RESULT_CODE, 0, M, result));
    }

    pub fn answer_with(&mut self, sent: &Sent, fill: impl FnOnce(&mut Writer<'_>)) {
        let message = build(&sent.header.answer(), fill);
        self.put(Input::Received { peer: number(sent.peer), message: &message });
    }

    pub fn lose(&mut self, peer: usize) {
        self.put(Input::Lost { peer: number(peer) });
    }

    /// The one end since the last call.
    pub fn end(&mut self) -> Output {
        assert_eq!(self.ends.len(), 1, "{:?}", self.ends);
        self.ends.remove(0)
    }

    pub fn capacity(&self) -> usize {
        self.client.capacity(self.now.mono)
    }

    pub fn usable(&self) -> Vec<bool> {
        let status = self.client.status(self.now.mono);
        status.peers.iter().map(|peer| peer.state == State::Open).collect()
    }
}

pub(super) fn build(header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    header::message(&mut octets, header, fill).expect("short");
    octets
}

/// An Accounting-Request without identifiers.
pub(super) fn acr(number: u64) -> Vec<u8> {
    let header = Header {
        flags: flag::REQUEST | flag::PROXIABLE,
        command: command::ACCOUNTING,
        application: 3,
        ..Header::default()
    };
    build(&header, |avps| {
        avps.avp(code::SESSION_ID, 0, M, format!("gw.test;0;{number}").as_bytes());
        avps.u32(code::ACCOUNTING_RECORD_NUMBER, 0, M, 0);
    })
}

pub(super) fn retry(output: &Output) -> (Duration, Reason) {
    match output {
        Output::Retry { after, reason, .. } => (*after, reason.clone()),
        other => panic!("no retry: {other:?}"),
    }
}

pub(super) fn is_delivered(output: &Output) -> bool {
    matches!(output, Output::Delivered { .. })
}

pub(super) fn parked(output: &Output) -> Reason {
    match output {
        Output::Park { reason, .. } => reason.clone(),
        other => panic!("not parked: {other:?}"),
    }
}
