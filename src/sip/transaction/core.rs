//! What all four machines are made of: a state, its clocks, and the octets that may have to be sent again.

use std::time::Duration;

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::{Output, Reliability, Settings, State};
use crate::clock::Instant;

/// State, clocks and kept octets of a transaction; each machine adds its own table of inputs.
#[derive(Clone, Debug)]
pub struct Core {
    state: State,
    reliability: Reliability,
    clocks: Clocks,
    kept: Bytes,
    holds: Holds,
}

/// What the kept octets are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    /// The request of a client transaction, up to its final response.
    Request,
    /// The ACK for a refusal.
    Ack,
    /// The last response of a server transaction.
    Response,
    Nothing,
}

impl Core {
    /// A server transaction, which has nothing to send yet.
    pub(super) const fn receive(state: State, reliability: Reliability, clocks: Clocks) -> Self {
        Self { state, reliability, clocks, kept: Bytes::new(), holds: Holds::Nothing }
    }

    /// A client transaction: sends its request, to be sent again after T1 over an unreliable transport (timers A and E),
    /// and given up after 64 × T1 (B and F).
    pub(super) fn send(
        now: Instant,
        state: State,
        request: Bytes,
        reliability: Reliability,
        settings: &Settings,
        out: &mut Vec<Output>,
    ) -> Self {
        out.push(Output::Send(request.clone()));
        let clocks = match reliability {
            Reliability::Unreliable => Clocks::start(now, settings.t1, settings.timeout()),
            Reliability::Reliable => Clocks::until(now, settings.timeout()),
        };
        Self { state, reliability, clocks, kept: request, holds: Holds::Request }
    }

    /// When the next timer fires; `None` when no timer runs, as in Terminated.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clocks.deadline()
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
    }

    pub(super) const fn reliability(&self) -> Reliability {
        self.reliability
    }

    /// Sets both timers, or stops them.
    pub(super) fn set(&mut self, clocks: Clocks) {
        self.clocks = clocks;
    }

    /// What is due by `now`; see [`Clocks::fire`].
    pub(super) fn fire(&mut self, now: Instant, next: impl FnOnce(Duration) -> Duration) -> Due {
        self.clocks.fire(now, next)
    }

    pub(super) fn keep(&mut self, holds: Holds, octets: Bytes) {
        (self.kept, self.holds) = (octets, holds);
    }

    pub(super) fn keep_nothing(&mut self) {
        self.keep(Holds::Nothing, Bytes::new());
    }

    pub(super) fn holds(&self, what: Holds) -> bool {
        self.holds == what
    }

    /// The request of a client transaction as sent; `None` once it has its final response and, for INVITE, its ACK.
    pub(super) fn request(&self) -> Option<&Bytes> {
        self.holds(Holds::Request).then_some(&self.kept)
    }

    /// Sends what is kept.
    pub(super) fn send_again(&self, out: &mut Vec<Output>) {
        out.push(Output::Send(self.kept.clone()));
    }

    /// Octets kept for a retransmission, an ACK or a CANCEL.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn terminate(&mut self, out: &mut Vec<Output>) {
        self.state = State::Terminated;
        self.clocks = Clocks::STOPPED;
        self.keep_nothing();
        out.push(Output::Terminated);
    }
}
