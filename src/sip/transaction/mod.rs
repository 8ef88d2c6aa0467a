//! The four transaction machines of RFC 3261 §17, corrected by RFC 6026, and what finds them.
//!
//! | machine | states | timers |
//! |---|---|---|
//! | [`InviteClient`] §17.1.1, RFC 6026 §7.2 | Calling, Proceeding, Completed, Accepted, Terminated | A B D M |
//! | [`NonInviteClient`] §17.1.2 | Trying, Proceeding, Completed, Terminated | E F K |
//! | [`InviteServer`] §17.2.1, RFC 6026 §7.1 | Proceeding, Completed, Confirmed, Accepted, Terminated | 100, G H I L |
//! | [`NonInviteServer`] §17.2.2 | Trying, Proceeding, Completed, Terminated | J |
//!
//! Timer C belongs to the proxy core (§16.6 step 11).
//!
//! A machine takes inputs with the time, appends outputs, and says by `deadline` when it wants its `tick`. That is the
//! earliest of its timers, so a driver keeps one wheel entry for a transaction ([`Wheel::set`]); a tick that comes for
//! nothing does nothing. No machine knows messages or addresses: it keeps the octets a retransmission needs, and drops
//! them when none can come. After [`Output::Terminated`] the driver removes it from its [`slab`].
//!
//! [`branch`] leads from a response to its client transaction, [`key`] from a request to its server transaction.
//!
//! [`Wheel::set`]: crate::timers::Wheel::set

pub mod branch;
mod client;
mod clocks;
mod core;
mod invite_client;
mod invite_server;
pub mod key;
mod server;
pub mod slab;

use std::time::Duration;

use bytes::Bytes;

pub use self::core::Core;
use crate::clock::Instant;
pub use client::NonInviteClient;
pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use server::NonInviteServer;

/// Times of RFC 3261 §17, table 4.
///
/// Timers B, F, H, J, L and M are 64 × T1, K and I are T4, and A, E and G start at T1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Estimate of the round-trip time (§17.1.1.1). Default 500 ms; from 100 ms to 2 s.
    pub t1: Duration,
    /// Longest pause between retransmissions of a request other than INVITE, and of a final response to INVITE
    /// (§17.1.2.2). Default 4 s; from T1 to 16 s.
    pub t2: Duration,
    /// Longest time a message stays in the network (§17.1.2.2). Default 5 s; from 1 s to 20 s.
    pub t4: Duration,
    /// Timer D: how long an INVITE client transaction answers repeated refusals with its ACK over an unreliable
    /// transport (§17.1.1.2). Default 32 s; at least 32 s.
    pub timer_d: Duration,
    /// Silence after which an INVITE server transaction asks for its 100 (§17.2.1). Default 200 ms; up to 200 ms.
    pub trying_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_d: Duration::from_secs(32),
            trying_after: Duration::from_millis(200),
        }
    }
}

impl Settings {
    /// 64 × T1: how long a transaction waits for the other side; 32 s by default.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// Whether the transport of a transaction delivers by itself (RFC 3261 §17.1.1.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reliability {
    /// UDP: the transaction retransmits, and waits for what the other side retransmits.
    Unreliable,
    /// TCP, TLS, SCTP: no retransmissions, and no waiting for them.
    Reliable,
}

/// The timers of RFC 3261 §17 (table 4) that end a transaction without what it waited for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Timer {
    /// INVITE client: no response at all.
    B,
    /// Non-INVITE client: no final response.
    F,
    /// INVITE server: no ACK.
    H,
}

/// What a transaction tells responses apart by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// 100 to 199.
    Provisional,
    /// 200 to 299.
    Success,
    /// 300 to 699.
    Refusal,
}

impl Class {
    /// The class of a status code; `None` outside 100 to 699.
    #[must_use]
    pub const fn of(code: u16) -> Option<Self> {
        match code {
            100..=199 => Some(Self::Provisional),
            200..=299 => Some(Self::Success),
            300..=699 => Some(Self::Refusal),
            _ => None,
        }
    }
}

/// Where a transaction stands (RFC 3261 figures 5 to 8, RFC 6026 figures 3 and 5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// INVITE client: sent, no response yet.
    Calling,
    /// Others: sent or received, no response yet.
    Trying,
    /// A provisional response came or went; an INVITE server transaction starts here.
    Proceeding,
    /// A final response came or went (of INVITE: 300 to 699); absorbs what is repeated.
    Completed,
    /// INVITE server: the ACK came; absorbs further ones.
    Confirmed,
    /// INVITE: a 2xx came or went; further ones pass (RFC 6026).
    Accepted,
    /// Over: to be removed.
    Terminated,
}

/// What happened to a client transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientInput {
    /// A response came.
    Response(Class),
    /// The ACK that [`Output::Acknowledge`] asked for (RFC 3261 §17.1.1.3).
    Ack(Bytes),
    /// The transport failed to send (§17.1.4).
    Unreachable,
}

/// What happened to a server transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerInput {
    /// The request came again.
    Repeated,
    /// An ACK for it came.
    Ack,
    /// The transaction user answers with these octets.
    Respond(Class, Bytes),
}

/// What a transaction wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send these octets.
    Send(Bytes),
    /// Hand the input to the transaction user: a response, or the ACK for a 2xx.
    Deliver,
    /// Build the ACK for the refusal just delivered, from [`Client::request`], and give it back as
    /// [`ClientInput::Ack`].
    Acknowledge,
    /// No response came, send a 100 (RFC 3261 §17.2.1): give it back as [`ServerInput::Respond`].
    Trying,
    /// The other side was silent for too long: B or F, no response (408); H, no ACK.
    TimedOut(Timer),
    /// The transport failed: tell the transaction user, to which it counts as a 503 (RFC 3261 §16.9).
    Failed,
    /// Nothing follows from the input: a repetition, or out of place. For counters.
    Absorbed {
        /// The state that absorbed it.
        state: State,
    },
    /// The transaction is over: remove it.
    Terminated,
}

/// What each of the four machines is to its transaction.
pub trait StateMachine {
    /// What can happen to it.
    type Input;

    /// Takes an input: the table of its states.
    fn handle(&mut self, now: Instant, input: Self::Input, settings: &Settings, out: &mut Vec<Output>);

    /// Does what is due by `now`: retransmissions, giving up, the end of a state.
    fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>);

    /// State, clocks and kept octets.
    fn core(&self) -> &Core;
}

/// A client transaction.
pub type Client = Transaction<InviteClient, NonInviteClient>;

/// A server transaction.
pub type Server = Transaction<InviteServer, NonInviteServer>;

/// A transaction of one side.
#[derive(Clone, Debug)]
pub enum Transaction<I, N> {
    /// Of an INVITE.
    Invite(I),
    /// Of another request.
    NonInvite(N),
}

impl<I: StateMachine, N: StateMachine<Input = I::Input>> Transaction<I, N> {
    /// [`StateMachine::handle`] of its machine.
    pub fn handle(&mut self, now: Instant, input: I::Input, settings: &Settings, out: &mut Vec<Output>) {
        match self {
            Self::Invite(machine) => machine.handle(now, input, settings, out),
            Self::NonInvite(machine) => machine.handle(now, input, settings, out),
        }
    }

    /// [`StateMachine::tick`] of its machine.
    pub fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>) {
        match self {
            Self::Invite(machine) => machine.tick(now, settings, out),
            Self::NonInvite(machine) => machine.tick(now, settings, out),
        }
    }

    /// When its next timer fires; `None` when none runs, as in Terminated.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.core().deadline()
    }

    /// Where it stands in the figure of its machine.
    #[must_use]
    pub fn state(&self) -> State {
        self.core().state()
    }

    /// Octets kept for a retransmission, an ACK or a CANCEL.
    #[must_use]
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.core().kept_bytes()
    }

    fn core(&self) -> &Core {
        match self {
            Self::Invite(machine) => machine.core(),
            Self::NonInvite(machine) => machine.core(),
        }
    }
}

impl Client {
    /// The request as sent, to make a CANCEL or ACK from; `None` after the final response and, for INVITE, its ACK.
    #[must_use]
    pub fn request(&self) -> Option<&Bytes> {
        self.core().request()
    }
}

#[cfg(test)]
mod tests;
