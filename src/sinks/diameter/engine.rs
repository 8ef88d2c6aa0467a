//! What the sink and its task share: the route's machine, the transports, what ended.
//!
//! The task runs apart from the worker's pace, so that answers are read, and watchdogs answered, the moment they come.

use std::collections::HashMap;
use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;

use super::board::Board;
use super::link::{Event, Hearing, Link};
use super::meters::Meters;
use super::{Interims, Keeper, Names, dial};
use crate::accounting::Key;
use crate::clock::{self, Instant, Now};
use crate::diameter::header::{Header, command};
use crate::diameter::peer::{Cause, State};
use crate::diameter::route::{Client, Input, Output, PeerIndex, Reason, Settings, Submission};
use crate::ids::Seq;
use crate::net::tls::ClientFiles;
use crate::queue::{Acknowledger, Settlement};
use crate::sinks::Outcome;
use crate::sinks::acknowledged::Acknowledged;

/// Longest wait without a look at the machine: its counters reach the metrics that often.
const BEAT: Duration = Duration::from_secs(1);
/// Shortest wait for a timer: one wake serves the timers of that time.
const TIMER_STEP: Duration = Duration::from_millis(10);
/// Octets of a received message at most; answers are small.
const RECEIVED_OCTETS_MAX: usize = 65_536;

/// What transports are made with.
#[derive(Clone, Debug)]
pub(super) struct Transports {
    pub bind: Option<IpAddr>,
    pub tls: Option<ClientFiles>,
    /// Silence of the network after which the kernel gives a connection up.
    pub user_timeout: Duration,
}

/// An Accounting message that went or came.
#[derive(Debug)]
pub(super) struct Seen {
    pub peer: PeerIndex,
    pub at: Instant,
    pub octets: Vec<u8>,
}

/// Messages noted at most: a server that answers without end fills no memory.
const SEEN_MAX: usize = 256;

/// Notes a message if somebody wants to see it.
fn note(tap: &mut Option<Vec<Seen>>, peer: PeerIndex, message: &[u8]) {
    let is_accounting = Header::read(message).is_ok_and(|header| header.command == command::ACCOUNTING);
    if let Some(seen) = tap.as_mut().filter(|seen| seen.len() < SEEN_MAX && is_accounting) {
        seen.push(Seen { peer, at: clock::mono(), octets: message.to_vec() });
    }
}

pub(super) struct Engine {
    name: Arc<str>,
    client: Client,
    links: Vec<Link>,
    transports: Transports,
    names: Names,
    wanted: Vec<Output>,
    doing: Vec<Output>,
    ended: Vec<Outcome>,
    acknowledged: Acknowledged,
    /// Names of the peers, by their numbers.
    servers: Vec<String>,
    /// Who is told how often servers want interim records.
    interims: Option<Interims>,
    /// Who keeps Class over a restart.
    keeper: Option<Keeper>,
    /// Sessions of the records that are out, for `interims`.
    sessions: HashMap<Seq, Key>,
    /// What goes and comes, for a test record.
    tap: Option<Vec<Seen>>,
    reported_at: Instant,
    told_capacity: usize,
    task: Option<Waker>,
    worker: Option<Waker>,
    meters: Meters,
    board: Board,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
}

impl Engine {
    pub fn new(name: &Arc<str>, settings: Settings, transports: Transports, names: Names, board: Board) -> Self {
        let now = clock::now();
        let meters = Meters::new(name, &settings.peers);
        let servers = settings.peers.iter().map(|peer| format!("{}:{}", peer.host, peer.port)).collect();
        let mut engine = Self {
            name: Arc::clone(name),
            links: settings.peers.iter().map(|_| Link::new(RECEIVED_OCTETS_MAX)).collect(),
            client: Client::new(now.mono, settings, crate::timers::random::seed()),
            transports,
            names,
            wanted: Vec::new(),
            doing: Vec::new(),
            ended: Vec::new(),
            acknowledged: Acknowledged::default(),
            servers,
            interims: None,
            keeper: None,
            sessions: HashMap::new(),
            tap: None,
            reported_at: Instant(0),
            told_capacity: 1,
            task: None,
            worker: None,
            meters,
            board,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_at: now.mono,
        };
        engine.client.tick(now, &mut engine.wanted);
        engine.perform(now);
        engine.report(now.mono);
        engine
    }

    pub fn capacity(&mut self) -> usize {
        self.told_capacity = self.client.capacity(clock::mono());
        self.told_capacity
    }

    pub fn submit(&mut self, submission: Submission<'_>) {
        self.input(clock::now(), Input::Submit(submission));
        self.wake_task();
    }

    /// Notes whose record that is, if somebody wants to know what servers ask for.
    pub fn remember(&mut self, seq: Seq, session: Key) {
        if self.interims.is_some() {
            self.sessions.insert(seq, session);
        }
    }

    /// Moves what ended to `out`.
    pub fn drain(&mut self, out: &mut Vec<Outcome>) {
        out.append(&mut self.ended);
    }

    /// Tells this of the intervals that servers ask for.
    pub fn tell(&mut self, interims: Interims) {
        self.interims = Some(interims);
    }

    /// Notes what goes and comes from here on; gives what was noted so far.
    pub fn note_all(&mut self) -> Vec<Seen> {
        self.tap.replace(Vec::new()).unwrap_or_default()
    }

    /// Takes up what an earlier process kept by `keeper`, which keeps from here on.
    pub fn restore_classes(&mut self, kept: Vec<(u64, Vec<u8>)>, keeper: Keeper) {
        self.keeper = Some(keeper);
        for (session, octets) in kept {
            self.client.restore_class(session, &octets, &mut self.wanted);
        }
        self.perform(clock::now());
    }

    pub fn classes(&self) -> Vec<(u64, Vec<u8>)> {
        self.client.classes()
    }

    pub fn stop(&mut self) {
        self.input(clock::now(), Input::Stop);
        self.wake_task();
    }

    pub fn is_gone(&self) -> bool {
        self.client.is_gone()
    }

    fn wake_task(&mut self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// Remembers whom to wake when something ended or there is room again; ready when so.
    pub fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended.is_empty() || self.has_room_again() {
            return Poll::Ready(());
        }
        if !self.worker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.worker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether there is room although the worker was told that there was none; says so once.
    fn has_room_again(&mut self) -> bool {
        self.told_capacity == 0 && self.capacity() > 0
    }

    fn input(&mut self, now: Now, input: Input<'_>) {
        self.client.handle(now, input, &mut self.wanted);
        self.perform(now);
    }

    /// One turn of the task; never ready.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        loop {
            let now = clock::now();
            let more = self.receive(now, cx);
            if self.client.deadline(now.mono).is_some_and(|due| due <= now.mono) {
                self.client.tick(now, &mut self.wanted);
                self.perform(now);
            }
            // A transport that a deed of this turn began has to be asked once, so that it wakes the task.
            let fresh = self.receive(now, cx);
            for link in &mut self.links {
                link.poll_output(cx);
            }
            if now.mono.since(self.reported_at) >= BEAT {
                self.report(now.mono);
            }
            self.wake_worker();
            if more || fresh {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.poll_timer(now.mono, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wake_worker(&mut self) {
        let has_news = !self.ended.is_empty() || self.told_capacity == 0 && self.client.capacity(clock::mono()) > 0;
        if has_news && let Some(worker) = self.worker.take() {
            worker.wake();
        }
    }

    /// Takes what came over all links; whether there may be more.
    fn receive(&mut self, now: Now, cx: &mut Context<'_>) -> bool {
        let mut more = false;
        for index in 0..self.links.len() {
            let Ok(peer) = u8::try_from(index).map(PeerIndex) else { break };
            let (client, wanted, tap) = (&mut self.client, &mut self.wanted, &mut self.tap);
            let mut errors = None;
            let mut hear = |event: Event<'_>| {
                let (input, hearing) = match event {
                    Event::Connected(local) => (Input::Connected { peer, local }, Hearing::Stop),
                    Event::Secured => (Input::Secured { peer }, Hearing::Stop),
                    Event::Failed(cause) => (Input::Failed { peer, cause }, Hearing::Stop),
                    Event::Message(message) => {
                        if tap.is_some() {
                            note(tap, peer, message);
                        }
                        (Input::Received { peer, message }, Hearing::GoOn)
                    }
                    Event::Garbage(error) => {
                        errors = Some(error.to_string());
                        (Input::Garbage { peer }, Hearing::Stop)
                    }
                    Event::Lost(error) => {
                        errors = error.map(|error| error.to_string());
                        (Input::Lost { peer }, Hearing::Stop)
                    }
                };
                client.handle(now, input, wanted);
                // What it wants may end this very link.
                if wanted.iter().any(|output| ends(output, peer)) { Hearing::Stop } else { hearing }
            };
            let link = &mut self.links[index];
            if link.rest_of_input(&mut hear) == Hearing::GoOn {
                more |= link.poll_input(cx, &mut hear);
            } else {
                more = true;
            }
            if let Some(error) = errors {
                tracing::debug!(sink = %self.name, peer = %self.peer_name(peer), error, "connection ended");
            }
            self.perform(now);
        }
        more
    }

    fn peer_name(&self, peer: PeerIndex) -> String {
        self.client.target(peer).map(dial::certificate_name).unwrap_or_default()
    }

    /// Does what the machine wants, until it wants nothing more.
    fn perform(&mut self, now: Now) {
        while !self.wanted.is_empty() {
            std::mem::swap(&mut self.wanted, &mut self.doing);
            let mut doing = std::mem::take(&mut self.doing);
            for output in doing.drain(..) {
                self.perform_one(now, output);
            }
            self.doing = doing;
        }
    }

    fn perform_one(&mut self, now: Now, output: Output) {
        match output {
            Output::Connect { peer } => self.connect(peer),
            Output::Secure { peer } => self.secure(now, peer),
            Output::Transmit { peer, message } => {
                if self.tap.is_some() {
                    note(&mut self.tap, peer, &message);
                }
                self.link(peer).send(&message);
            }
            Output::Close { peer, reset } => self.link(peer).close(reset),
            Output::Delivered { key, peer, round_trip } => {
                let (servers, place) = (&self.servers, usize::from(peer.0));
                self.acknowledged.note(key, place, || servers.get(place).cloned().unwrap_or_default());
                if let Some(round_trip) = round_trip {
                    self.meters.round_trip(round_trip);
                }
                self.end(key, Settlement::Delivered);
            }
            Output::Retry { key, after, reason } => {
                let text = self.text(&reason);
                let settlement = if reason.is_try() {
                    Settlement::Retry { after, reason: text }
                } else {
                    Settlement::Defer { after, reason: text }
                };
                self.end(key, settlement);
            }
            Output::Park { key, reason } => {
                let settlement = Settlement::Park { reason: self.text(&reason), code: reason.code() };
                if let Reason::Refused(refusal) = &reason {
                    for name in (self.names)(&refusal.failed) {
                        // Without its number and field, which stand behind.
                        self.meters.failed_avp(name.split(' ').next().unwrap_or_default().to_owned());
                    }
                }
                self.end(key, settlement);
            }
            Output::Peer { peer, state, cause } => {
                self.tell_state(peer, state, cause.as_ref());
                self.reported_at = Instant(0);
            }
            Output::Alarm { peer, alarm } => {
                let (sink, peer) = (&self.name, self.peer_name(peer));
                if alarm.is_all_clear() {
                    tracing::warn!(%sink, peer, %alarm, "accounting server has recovered");
                } else {
                    tracing::error!(%sink, peer, %alarm, "accounting server needs attention");
                }
            }
            Output::Class { session, octets } => {
                if let Some(keeper) = &mut self.keeper {
                    keeper(session, octets.as_deref());
                }
            }
            Output::Interim { key, seconds } => {
                if let (Some(interims), Some(session)) = (&self.interims, self.sessions.get(&key)) {
                    interims(*session, Duration::from_secs(seconds.into()));
                }
            }
        }
    }

    /// Who acknowledged a record; given once.
    pub fn acknowledger(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        self.acknowledged.take(seq)
    }

    fn end(&mut self, seq: Seq, settlement: Settlement) {
        self.sessions.remove(&seq);
        self.ended.push(Outcome { seq, settlement });
    }

    /// A reason with the names of the AVPs that a server complained about.
    fn text(&self, reason: &Reason) -> String {
        let mut text = reason.to_string();
        if let Reason::Refused(refusal) = reason {
            let names = (self.names)(&refusal.failed);
            if !names.is_empty() {
                text.push_str("; Failed-AVP ");
                text.push_str(&names.join("; "));
            }
        }
        text
    }

    fn tell_state(&self, peer: PeerIndex, state: State, cause: Option<&Cause>) {
        let (sink, peer) = (&self.name, self.peer_name(peer));
        match cause {
            None if state == State::Open => tracing::info!(%sink, peer, "peer is used"),
            // Why is told when it is closed.
            None if state == State::Closing => tracing::info!(%sink, peer, "leaving the peer"),
            None => tracing::warn!(%sink, peer, state = state.name(), "peer is not used"),
            Some(Cause::Left) => tracing::info!(%sink, peer, "connection closed"),
            Some(cause) if cause.is_alarm() => tracing::error!(%sink, peer, %cause, "peer cannot be used"),
            Some(cause) => tracing::warn!(%sink, peer, %cause, "no connection to the peer"),
        }
    }

    fn link(&mut self, peer: PeerIndex) -> &mut Link {
        let index = usize::from(peer.0);
        while self.links.len() <= index {
            self.links.push(Link::new(RECEIVED_OCTETS_MAX));
        }
        &mut self.links[index]
    }

    fn connect(&mut self, peer: PeerIndex) {
        let Some(target) = self.client.target(peer).cloned() else { return };
        let (bind, user_timeout) = (self.transports.bind, self.transports.user_timeout);
        self.link(peer).dial(&target, bind, user_timeout);
        self.wake_task();
    }

    fn secure(&mut self, now: Now, peer: PeerIndex) {
        let name = self.peer_name(peer);
        match self.transports.tls.clone() {
            Some(files) => self.link(peer).secure(files, name),
            None => {
                let cause = Cause::NoTls("no trust anchors are configured".to_owned());
                self.client.handle(now, Input::Failed { peer, cause }, &mut self.wanted);
            }
        }
        self.wake_task();
    }

    /// The route and its peers as they are now.
    pub fn status(&self) -> crate::diameter::route::Status {
        self.client.status(clock::mono())
    }

    fn report(&mut self, now: Instant) {
        self.reported_at = now;
        let status = self.client.status(now);
        self.meters.report(&status);
        self.board.post(status, self.client.refuses_calls());
    }

    /// Waits for the machine's deadline, at most a beat.
    fn poll_timer(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let beat = self.reported_at + BEAT;
        let deadline = self.client.deadline(now).map_or(beat, |deadline| deadline.min(beat));
        if self.timer.is_elapsed() || deadline < self.timer_at {
            let wait = deadline.since(now).max(TIMER_STEP);
            self.timer_at = now + wait;
            self.timer.set(tokio::time::sleep(wait));
        }
        self.timer.as_mut().poll(cx)
    }
}

/// Whether a deed ends the transport of a peer, or turns it into another.
fn ends(output: &Output, link: PeerIndex) -> bool {
    match output {
        Output::Close { peer, .. } | Output::Secure { peer } | Output::Connect { peer } => *peer == link,
        _ => false,
    }
}

#[cfg(test)]
impl Engine {
    /// Octets that wait to be written.
    pub fn unwritten(&self) -> usize {
        self.links.iter().map(Link::unwritten).sum()
    }
}
