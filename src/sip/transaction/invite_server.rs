//! INVITE server transaction: RFC 3261 §17.2.1, RFC 6026 §7.1.
//!
//! Proceeding (the 200 ms of the 100), Completed (G, H), Confirmed (I), Accepted (L), Terminated. Proceeding ends only
//! by an answer of the transaction user.

use std::time::Duration;

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::{Class, Output, Reliability, ServerInput, Settings, State, Timer};
use crate::clock::Instant;

/// INVITE server transaction.
#[derive(Clone, Debug)]
pub struct InviteServer {
    state: State,
    reliability: Reliability,
    clocks: Clocks,
    /// The last provisional answer in Proceeding, the refusal in Completed, else nothing.
    answer: Bytes,
}

impl InviteServer {
    /// Takes a new INVITE: [`Output::Trying`] comes when no answer is given in time.
    #[must_use]
    pub fn start(now: Instant, reliability: Reliability, settings: &Settings) -> Self {
        let clocks = Clocks::until(now, settings.trying_after);
        Self { state: State::Proceeding, reliability, clocks, answer: Bytes::new() }
    }

    /// Takes an input.
    ///
    /// A transport error is none: it never ends the transaction, so that a repeated INVITE is not taken for a new one
    /// (RFC 6026 §7.1).
    pub fn handle(&mut self, now: Instant, input: ServerInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ServerInput::*, State::*};
        match (self.state, input) {
            (Proceeding | Completed, Repeated) if !self.answer.is_empty() => {
                out.push(Output::Send(self.answer.clone()));
            }
            (Proceeding, Respond(Provisional, answer)) => {
                self.clocks = Clocks::STOPPED;
                self.answer = answer.clone();
                out.push(Output::Send(answer));
            }
            (Proceeding, Respond(Success, answer)) => {
                self.state = Accepted;
                self.clocks = Clocks::until(now, settings.timeout()); // L
                self.answer = Bytes::new(); // whoever made the 2xx retransmits it
                out.push(Output::Send(answer));
            }
            (Proceeding, Respond(Refusal, answer)) => {
                self.state = Completed;
                self.clocks = match self.reliability {
                    Reliability::Unreliable => Clocks::start(now, settings.t1.min(settings.t2), settings.timeout()),
                    Reliability::Reliable => Clocks::until(now, settings.timeout()),
                };
                self.answer = answer.clone();
                out.push(Output::Send(answer));
            }
            (Accepted, Respond(Success, answer)) => out.push(Output::Send(answer)),
            (Accepted, Ack) => out.push(Output::Deliver),
            (Completed, Ack) => {
                self.state = Confirmed;
                self.answer = Bytes::new();
                match self.reliability {
                    Reliability::Unreliable => self.clocks = Clocks::until(now, settings.t4), // I
                    Reliability::Reliable => self.terminate(out),
                }
            }
            (state, Repeated | Ack | Respond(..)) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: the 100, G sends the refusal again (doubling up to T2), H gives up, I and L end.
    pub fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>) {
        match self.clocks.fire(now, |interval: Duration| interval.saturating_mul(2).min(settings.t2)) {
            Due::Nothing => {}
            Due::Again => out.push(Output::Send(self.answer.clone())),
            Due::End if self.state == State::Proceeding => out.push(Output::Trying),
            Due::End => {
                if self.state == State::Completed {
                    out.push(Output::TimedOut(Timer::H));
                }
                self.terminate(out);
            }
        }
    }

    /// When the next timer fires; `None` in Terminated, and in Proceeding after the first answer.
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
