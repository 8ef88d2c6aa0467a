//! Non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! Trying and Proceeding (E, F), Completed (K), Terminated.

use std::time::Duration;

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::{Class, ClientInput, Output, Reliability, Settings, State, Timer};
use crate::clock::Instant;

/// Client transaction of a request other than INVITE and ACK.
#[derive(Clone, Debug)]
pub struct NonInviteClient {
    state: State,
    reliability: Reliability,
    clocks: Clocks,
    /// The request up to the final answer, then nothing.
    request: Bytes,
}

impl NonInviteClient {
    /// Sends the request and starts timers E and F (§17.1.2.2).
    pub fn start(
        now: Instant,
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
        Self { state: State::Trying, reliability, clocks, request }
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Instant, input: ClientInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ClientInput::*, State::*};
        match (self.state, input) {
            (Trying | Proceeding, Answer(Provisional)) => {
                self.state = Proceeding; // E and F run on
                out.push(Output::Deliver);
            }
            (Trying | Proceeding, Answer(Success | Refusal)) => {
                out.push(Output::Deliver);
                self.request = Bytes::new();
                match self.reliability {
                    Reliability::Unreliable => {
                        self.state = Completed;
                        self.clocks = Clocks::until(now, settings.t4); // K
                    }
                    Reliability::Reliable => self.terminate(out),
                }
            }
            (Trying | Proceeding, Unreachable) => {
                out.push(Output::Failed);
                self.terminate(out);
            }
            (state, Answer(_) | Ack(_) | Unreachable) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: E sends again (doubling up to T2, in Proceeding at T2), F gives up, K ends.
    pub fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>) {
        let in_proceeding = self.state == State::Proceeding;
        let next = |interval: Duration| {
            if in_proceeding { settings.t2 } else { interval.saturating_mul(2).min(settings.t2) }
        };
        match self.clocks.fire(now, next) {
            Due::Nothing => {}
            Due::Again => out.push(Output::Send(self.request.clone())),
            Due::End => {
                if matches!(self.state, State::Trying | State::Proceeding) {
                    out.push(Output::TimedOut(Timer::F));
                }
                self.terminate(out);
            }
        }
    }

    /// When the next timer fires; `None` in Terminated.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.clocks.deadline()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The request as sent; `None` after the final answer.
    #[must_use]
    pub fn request(&self) -> Option<&Bytes> {
        matches!(self.state, State::Trying | State::Proceeding).then_some(&self.request)
    }

    /// Octets kept for a retransmission.
    #[must_use]
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.request.len()
    }

    fn terminate(&mut self, out: &mut Vec<Output>) {
        self.state = State::Terminated;
        self.clocks = Clocks::STOPPED;
        self.request = Bytes::new();
        out.push(Output::Terminated);
    }
}
