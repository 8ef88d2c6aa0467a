//! Non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! Trying, Proceeding, Completed (J), Terminated. Only an answer of the transaction user leads on to Completed.

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::{Class, Output, Reliability, ServerInput, Settings, State};
use crate::clock::Instant;

/// Server transaction of a request other than INVITE and ACK.
#[derive(Clone, Debug)]
pub struct NonInviteServer {
    state: State,
    reliability: Reliability,
    clocks: Clocks,
    /// The last answer, nothing in Trying.
    answer: Bytes,
}

impl NonInviteServer {
    /// Takes a new request.
    #[must_use]
    pub const fn start(reliability: Reliability) -> Self {
        Self { state: State::Trying, reliability, clocks: Clocks::STOPPED, answer: Bytes::new() }
    }

    /// Takes an input.
    ///
    /// A transport error is none: it does not end the transaction, as RFC 6026 §7.1 has it for INVITE and for the same
    /// reason: a repeated request would be taken for a new one. RFC 3261 §17.2.4 says SHOULD to the contrary.
    pub fn handle(&mut self, now: Instant, input: ServerInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ServerInput::*, State::*};
        match (self.state, input) {
            (Proceeding | Completed, Repeated) => out.push(Output::Send(self.answer.clone())),
            (Trying | Proceeding, Respond(Provisional, answer)) => {
                self.state = Proceeding;
                self.answer = answer.clone();
                out.push(Output::Send(answer));
            }
            (Trying | Proceeding, Respond(Success | Refusal, answer)) => {
                out.push(Output::Send(answer.clone()));
                match self.reliability {
                    Reliability::Unreliable => {
                        self.state = Completed;
                        self.clocks = Clocks::until(now, settings.timeout()); // J
                        self.answer = answer;
                    }
                    Reliability::Reliable => self.terminate(out),
                }
            }
            (state, Repeated | Ack | Respond(..)) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: J ends.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.clocks.fire(now, |interval| interval) == Due::End {
            self.terminate(out);
        }
    }

    /// When the next timer fires; only in Completed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.clocks.deadline()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Octets kept for a retransmission.
    #[must_use]
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.answer.len()
    }

    fn terminate(&mut self, out: &mut Vec<Output>) {
        self.state = State::Terminated;
        self.clocks = Clocks::STOPPED;
        self.answer = Bytes::new();
        out.push(Output::Terminated);
    }
}
