//! One peer as a machine: the client side of RFC 6733 §5.6 with the watchdog of RFC 3539.
//!
//! | state | leaves it by |
//! |---|---|
//! | Closed | the end of the back-off: connect |
//! | Connecting | the transport, or its time limit |
//! | Handshake | TLS from the first octet: done, or its time limit |
//! | WaitCea | the capabilities of the peer, or anything else, or the time limit |
//! | Upgrading | in-band TLS after the capabilities |
//! | Validating | three watchdogs answered, one right after the other, and a moment for the peer to settle |
//! | Open | the only state in which requests are sent |
//! | Suspect | a watchdog unanswered: anything that comes leads back to Open, a second expiry closes |
//! | Leaving | the peer's Disconnect-Peer-Request: a second for the answers under way |
//! | Closing | our Disconnect-Peer-Request, or nothing left to say: the answer, the end, or the time limit |
//!
//! We never listen, so there is no election. Every request of the peer is answered. What is outstanding belongs to the
//! route above; it learns by [`Output::FailOver`] when to send it elsewhere.

mod backoff;
mod cause;
mod settings;
#[cfg(test)]
mod tests;
mod watchdog;

use std::net::IpAddr;

use self::backoff::BackOff;
use self::watchdog::{Due, Watchdog};
use super::header::{Header, command};
use super::message::{self, Capabilities, Ids};
use super::{application, code, result};
use crate::clock::Instant;
use crate::timers::random::Random;

pub use self::cause::Cause;
pub use self::settings::{
    GRACE, Identity, RECONNECT_MIN, SETTLE, STEADY, Security, Timing, UNWELCOME, VALIDATIONS, WATCHDOG_JITTER,
};

/// Where a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// No connection.
    Closed,
    /// The transport is being made.
    Connecting,
    /// TLS is being made, before anything else.
    Handshake,
    /// The capabilities are out.
    WaitCea,
    /// TLS is being made after the capabilities.
    Upgrading,
    /// Watchdogs prove that answers come back.
    Validating,
    /// In use.
    Open,
    /// A watchdog went unanswered.
    Suspect,
    /// The peer asked us to leave.
    Leaving,
    /// We say goodbye.
    Closing,
}

impl State {
    /// Whether there is a transport.
    #[must_use]
    pub const fn has_transport(self) -> bool {
        !matches!(self, Self::Closed | Self::Connecting)
    }

    /// Lower-case name, as the status command shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::WaitCea => "capabilities",
            Self::Upgrading => "upgrading",
            Self::Validating => "validating",
            Self::Open => "open",
            Self::Suspect => "suspect",
            Self::Leaving => "leaving",
            Self::Closing => "closing",
        }
    }
}

/// What happened on the connection.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The transport is there.
    Connected {
        /// The local address of its socket.
        local: IpAddr,
    },
    /// TLS is there and the peer's name is verified.
    Secured,
    /// The transport or TLS cannot be had.
    Failed(Cause),
    /// A whole message came that is no answer to a request of the route.
    Message(&'a [u8]),
    /// An answer to a request of the route came.
    Answered,
    /// A message came whose AVPs cannot be read.
    Broken,
    /// What came is no Diameter.
    Garbage,
    /// The connection broke.
    Lost,
    /// Records wait and no other peer is usable: a peer that does not want us is tried all the same.
    Wanted,
    /// We leave: nothing is outstanding, or the wait for it is over.
    Leave,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Make a transport.
    Connect,
    /// Make TLS on the transport, verifying the peer's name.
    Secure,
    /// Send a message.
    Send(Vec<u8>),
    /// Close the transport; with a reset when what came was no Diameter (RFC 6733 §2.1).
    Close {
        /// Whether to reset it.
        reset: bool,
    },
    /// Send what is outstanding elsewhere; no answer may come any more.
    FailOver,
    /// The connection may be used, for the first time or again.
    Usable,
    /// The connection is gone: no answer to its requests will come.
    Gone(Cause),
    /// An answer that nobody waits for, or a message with a bad header.
    Ignored,
}

/// A peer.
#[derive(Debug)]
pub struct Peer {
    state: State,
    since: Instant,
    timing: Timing,
    security: Security,
    /// What it must call itself; empty: anything.
    expected: String,
    watchdog: Watchdog,
    /// Of the state: connect, handshake, capabilities, grace, close; in Closed: the next try.
    deadline: Option<Instant>,
    back_off: BackOff,
    hop_by_hop: u32,
    end_to_end: u32,
    /// Hop-by-hop id of the watchdog that is out.
    asked: u32,
    /// It said that it does not want to talk to us.
    is_unwelcome: bool,
    has_failed_over: bool,
    is_stopping: bool,
    local: IpAddr,
    last_cause: Option<Cause>,
    realm: String,
}

impl Peer {
    /// A peer that is tried at the next [`Self::tick`].
    #[must_use]
    pub(super) fn new(now: Instant, expected: &str, security: Security, timing: Timing, random: &mut Random) -> Self {
        Self {
            state: State::Closed,
            since: now,
            watchdog: Watchdog::reopen(now, timing.watchdog, random),
            timing,
            security,
            expected: expected.to_owned(),
            deadline: Some(now),
            back_off: BackOff::default(),
            hop_by_hop: 0,
            end_to_end: random.word(),
            asked: 0,
            is_unwelcome: false,
            has_failed_over: false,
            is_stopping: false,
            local: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            last_cause: None,
            realm: String::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Whether requests may be sent to it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == State::Open && !self.is_stopping
    }

    /// Whether it does not want us, so that it is only tried when it is the last resort.
    #[must_use]
    pub const fn is_unwelcome(&self) -> bool {
        self.is_unwelcome
    }

    /// With which Disconnect-Cause it asked us to leave, and the instant before which it is not tried again; `None` while
    /// it is connected or welcome.
    #[must_use]
    pub fn unwelcome_until(&self) -> Option<(u32, Instant)> {
        match self.last_cause {
            Some(Cause::Dismissed { cause }) if self.is_unwelcome && self.state == State::Closed => {
                Some((cause, self.since + UNWELCOME))
            }
            _ => None,
        }
    }

    /// Whether it was told to leave: it will not connect again.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Why the last connection ended, or was not made.
    #[must_use]
    pub const fn last_cause(&self) -> Option<&Cause> {
        self.last_cause.as_ref()
    }

    /// Whether the use of its connection ended by a break or by its silence, and not by a goodbye.
    #[must_use]
    pub(super) fn is_broken(&self) -> bool {
        let broke = || self.last_cause.as_ref().is_some_and(Cause::is_break);
        self.state == State::Suspect || (self.state == State::Closed && broke())
    }

    /// A break that comes now is not held against it: it may be tried again as soon as after the first one.
    pub(super) const fn excuse(&mut self) {
        self.back_off.excuse();
    }

    /// A hop-by-hop id that is not in use on this connection as long as fewer than 2³² requests are outstanding.
    pub(super) const fn next_hop_by_hop(&mut self) -> u32 {
        self.hop_by_hop = self.hop_by_hop.wrapping_add(1);
        self.hop_by_hop
    }

    const fn next_ids(&mut self) -> Ids {
        self.end_to_end = self.end_to_end.wrapping_add(1);
        Ids { hop_by_hop: self.next_hop_by_hop(), end_to_end: self.end_to_end }
    }

    /// When `tick` is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let watchdog = match self.state {
            State::Validating | State::Open | State::Suspect => Some(self.watchdog.due()),
            _ => None,
        };
        [self.deadline, watchdog].into_iter().flatten().min()
    }

    /// Lets it work on what happened.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        input: Input<'_>,
        we: &Identity,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        match (self.state, input) {
            (State::Connecting, Input::Connected { local }) => self.connected(now, local, we, out),
            (State::Handshake, Input::Secured) => self.introduce(now, we, out),
            (State::Upgrading, Input::Secured) => self.validate(now, we, random, out),
            (State::Connecting | State::Handshake | State::Upgrading, Input::Failed(cause)) => {
                self.close(now, cause, random, out);
            }
            (State::Closed, Input::Wanted) => {
                let due = self.since + UNWELCOME;
                if self.is_unwelcome && self.deadline.is_none() && !self.is_stopping {
                    self.deadline = Some(due.max(now));
                }
            }
            (_, Input::Leave) => self.leave(now, we, random, out),
            (State::Closed, _) | (_, Input::Wanted) => {}
            (_, Input::Garbage) => self.reset(now, Cause::Garbage, random, out),
            (_, Input::Broken) => self.close(now, Cause::BrokenMessage, random, out),
            (State::WaitCea, Input::Lost) => self.close(now, Cause::ClosedEarly, random, out),
            (State::Connecting | State::Handshake | State::Upgrading, Input::Lost) => {
                self.close(now, Cause::Lost, random, out);
            }
            (State::Leaving | State::Closing, Input::Lost) => {
                let cause = self.parting();
                self.close(now, cause, random, out);
            }
            (_, Input::Lost) => self.close(now, Cause::Lost, random, out),
            (State::WaitCea, Input::Message(octets)) => self.capabilities(now, octets, we, random, out),
            (State::WaitCea, Input::Answered) => self.close(now, Cause::Unexpected, random, out),
            (State::Validating | State::Open | State::Suspect, Input::Answered) => {
                self.back_off.excuse();
                self.heard(now, random, out);
            }
            (State::Leaving | State::Closing, Input::Answered) => {}
            (_, Input::Message(octets)) => self.message(now, octets, we, random, out),
            (_, Input::Connected { .. } | Input::Secured | Input::Failed(_) | Input::Answered) => {
                out.push(Output::Ignored);
            }
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, we: &Identity, random: &mut Random, out: &mut Vec<Output>) {
        if self.deadline.is_some_and(|due| due <= now) {
            self.deadline = None;
            self.ran_out(now, random, out);
        }
        if matches!(self.state, State::Validating | State::Open | State::Suspect) && self.watchdog.due() <= now {
            match self.watchdog.expired(now, random) {
                Due::Ask => self.ask(we, out),
                Due::Suspect => {
                    self.enter(State::Suspect, now);
                    self.fail_over(out);
                }
                Due::Wait => {}
                Due::Close => self.close(now, Cause::Watchdog, random, out),
            }
        }
    }

    /// The time limit of a state.
    fn ran_out(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        match self.state {
            State::Closed => {
                self.enter(State::Connecting, now);
                self.deadline = Some(now + self.timing.connect);
                self.hop_by_hop = random.word();
                self.has_failed_over = false;
                out.push(Output::Connect);
            }
            State::Connecting => self.close(now, Cause::ConnectTimeout, random, out),
            State::Handshake | State::Upgrading => self.close(now, Cause::HandshakeTimeout, random, out),
            State::WaitCea => self.close(now, Cause::CapabilitiesTimeout, random, out),
            State::Leaving => {
                // Who receives the answer closes; that is the peer. It gets the same time as we give an answer to ours.
                self.fail_over(out);
                self.enter(State::Closing, now);
                self.deadline = Some(now + self.timing.disconnect.saturating_sub(GRACE));
            }
            State::Closing => {
                let cause = self.parting();
                self.close(now, cause, random, out);
            }
            State::Validating => self.open(now, out),
            State::Open | State::Suspect => {}
        }
    }

    /// Why a connection ends about which one side said goodbye.
    fn parting(&self) -> Cause {
        match &self.last_cause {
            Some(cause @ Cause::Dismissed { .. }) if !self.is_stopping => cause.clone(),
            _ => Cause::Left,
        }
    }

    fn connected(&mut self, now: Instant, local: IpAddr, we: &Identity, out: &mut Vec<Output>) {
        self.local = local;
        if self.security == Security::Tls {
            self.enter(State::Handshake, now);
            self.deadline = Some(now + self.timing.handshake);
            out.push(Output::Secure);
        } else {
            self.introduce(now, we, out);
        }
    }

    fn introduce(&mut self, now: Instant, we: &Identity, out: &mut Vec<Output>) {
        self.enter(State::WaitCea, now);
        self.deadline = Some(now + self.timing.capabilities);
        let ids = self.next_ids();
        out.push(Output::Send(message::capabilities_request(we, self.local, self.security == Security::Inband, ids)));
    }

    /// The first message of the peer: its capabilities, or the end.
    fn capabilities(&mut self, now: Instant, octets: &[u8], we: &Identity, random: &mut Random, out: &mut Vec<Output>) {
        let read = Capabilities::read(octets);
        let cause = match read {
            Err(message::Unfit::Broken) => Some(Cause::BrokenMessage),
            Err(message::Unfit::Other) => Some(Cause::Unexpected),
            Ok(found) if found.code == result::NO_COMMON_SECURITY => {
                Some(Cause::NoCommonSecurity { offered: self.security, text: found.text.to_owned() })
            }
            Ok(found) if found.code != result::SUCCESS => {
                Some(Cause::Refused { code: found.code, text: found.text.to_owned() })
            }
            Ok(found) => {
                let is_expected = self.expected.is_empty() || found.host.eq_ignore_ascii_case(&self.expected);
                self.realm = found.realm.to_owned();
                if !is_expected {
                    Some(Cause::WrongIdentity { found: found.host.to_owned() })
                } else if !found.has_accounting {
                    Some(Cause::NoCommonApplication)
                } else if self.security == Security::Inband && !found.offers_tls {
                    Some(Cause::NoInbandTls)
                } else {
                    None
                }
            }
        };
        match cause {
            Some(cause) => self.close(now, cause, random, out),
            None if self.security == Security::Inband => {
                self.enter(State::Upgrading, now);
                self.deadline = Some(now + self.timing.handshake);
                out.push(Output::Secure);
            }
            None => self.validate(now, we, random, out),
        }
    }

    fn validate(&mut self, now: Instant, we: &Identity, random: &mut Random, out: &mut Vec<Output>) {
        self.enter(State::Validating, now);
        self.deadline = None;
        self.watchdog = Watchdog::reopen(now, self.timing.watchdog, random);
        self.ask(we, out);
    }

    fn ask(&mut self, we: &Identity, out: &mut Vec<Output>) {
        let ids = self.next_ids();
        self.asked = ids.hop_by_hop;
        out.push(Output::Send(message::watchdog_request(we, ids)));
    }

    /// A message on a connection that stands.
    fn message(&mut self, now: Instant, octets: &[u8], we: &Identity, random: &mut Random, out: &mut Vec<Output>) {
        let Ok(header) = Header::read(octets) else { return out.push(Output::Ignored) };
        if header.is_request() {
            self.request(now, &header, octets, we, out);
        } else if header.command == command::DEVICE_WATCHDOG && header.hop_by_hop == self.asked {
            match self.state {
                State::Validating => {
                    if self.watchdog.answered(now, random) {
                        self.ask(we, out);
                    } else {
                        self.deadline.get_or_insert(now + SETTLE);
                    }
                }
                State::Open | State::Suspect => {
                    self.watchdog.answered(now, random);
                }
                _ => {}
            }
        } else if header.command == command::DISCONNECT_PEER {
            if self.state == State::Closing {
                self.close(now, Cause::Left, random, out);
                return;
            }
        } else {
            out.push(Output::Ignored);
        }
        self.heard(now, random, out);
    }

    fn open(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.enter(State::Open, now);
        self.is_unwelcome = false;
        self.has_failed_over = false;
        self.back_off.usable(now);
        out.push(Output::Usable);
    }

    /// Anything received is a sign of life (RFC 3539 §3.4.1).
    fn heard(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        if !matches!(self.state, State::Open | State::Suspect) {
            return;
        }
        self.watchdog.heard(now, random);
        if self.state == State::Suspect {
            self.open(now, out);
        }
    }

    /// Every request is answered: silence makes a server's watchdog or router suspicious.
    fn request(&mut self, now: Instant, header: &Header, octets: &[u8], we: &Identity, out: &mut Vec<Output>) {
        match (header.application, header.command) {
            (application::BASE, command::DEVICE_WATCHDOG) => out.push(Output::Send(message::base_answer(we, header))),
            (application::BASE, command::DISCONNECT_PEER) => {
                out.push(Output::Send(message::base_answer(we, header)));
                if matches!(self.state, State::Validating | State::Open | State::Suspect) {
                    let cause = message::disconnect_cause(octets);
                    self.is_unwelcome = cause != 0;
                    self.last_cause = Some(Cause::Dismissed { cause });
                    self.enter(State::Leaving, now);
                    self.deadline = Some(now + GRACE);
                }
            }
            // There is a connection already: this one.
            (application::BASE, command::CAPABILITIES_EXCHANGE) => {
                out.push(Output::Send(message::refusal(we, octets, result::UNABLE_TO_COMPLY)));
            }
            _ => out.push(Output::Send(message::refusal(we, octets, result::COMMAND_UNSUPPORTED))),
        }
    }

    /// Our stop.
    fn leave(&mut self, now: Instant, we: &Identity, random: &mut Random, out: &mut Vec<Output>) {
        self.is_stopping = true;
        match self.state {
            State::Closed => self.deadline = None,
            State::Validating | State::Open | State::Suspect => {
                self.fail_over(out);
                let ids = self.next_ids();
                out.push(Output::Send(message::disconnect_request(we, code::disconnect_cause::REBOOTING, ids)));
                self.enter(State::Closing, now);
                self.deadline = Some(now + self.timing.disconnect);
            }
            State::Leaving | State::Closing => {}
            State::Connecting | State::Handshake | State::WaitCea | State::Upgrading => {
                self.close(now, Cause::Left, random, out);
            }
        }
    }

    fn fail_over(&mut self, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.has_failed_over, true) {
            out.push(Output::FailOver);
        }
    }

    fn reset(&mut self, now: Instant, cause: Cause, random: &mut Random, out: &mut Vec<Output>) {
        self.end(now, cause, true, random, out);
    }

    fn close(&mut self, now: Instant, cause: Cause, random: &mut Random, out: &mut Vec<Output>) {
        self.end(now, cause, false, random, out);
    }

    fn end(&mut self, now: Instant, cause: Cause, reset: bool, random: &mut Random, out: &mut Vec<Output>) {
        out.push(Output::Close { reset });
        self.fail_over(out);
        let wait = self.back_off.after_loss(now, cause.is_refusal(), &self.timing, random);
        self.enter(State::Closed, now);
        self.deadline = if self.is_unwelcome || self.is_stopping { None } else { Some(now + wait) };
        self.last_cause = Some(cause.clone());
        out.push(Output::Gone(cause));
    }

    const fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }
}
