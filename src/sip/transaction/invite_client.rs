//! INVITE client transaction: RFC 3261 §17.1.1, RFC 6026 §7.2.
//!
//! Calling (A, B), Proceeding, Completed (D), Accepted (M), Terminated. Proceeding has no timer of its own: Timer C of
//! the proxy core bounds it (§16.6 step 11).

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::{Class, ClientInput, Output, Reliability, Settings, State, Timer};
use crate::clock::Instant;

/// INVITE client transaction.
#[derive(Clone, Debug)]
pub struct InviteClient {
    state: State,
    reliability: Reliability,
    clocks: Clocks,
    /// The INVITE up to the final answer, since its ACK and CANCEL are made from it; then the ACK.
    kept: Bytes,
    /// Whether `kept` is the ACK.
    holds: Holds,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holds {
    Request,
    Ack,
    Nothing,
}

impl InviteClient {
    /// Sends the INVITE and starts timers A and B (§17.1.1.2).
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
        Self { state: State::Calling, reliability, clocks, kept: request, holds: Holds::Request }
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Instant, input: ClientInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ClientInput::*, State::*};
        match (self.state, input) {
            (Calling | Proceeding, Answer(Provisional)) => {
                self.state = Proceeding;
                self.clocks = Clocks::STOPPED;
                out.push(Output::Deliver);
            }
            (Calling | Proceeding, Answer(Success)) => {
                self.state = Accepted;
                self.clocks = Clocks::until(now, settings.timeout());
                self.drop_kept();
                out.push(Output::Deliver);
            }
            (Calling | Proceeding, Answer(Refusal)) => {
                self.state = Completed;
                self.clocks = Clocks::until(now, self.timer_d(settings));
                out.extend([Output::Deliver, Output::Acknowledge]);
            }
            (Completed, Ack(ack)) if self.holds == Holds::Request => {
                (self.kept, self.holds) = (ack.clone(), Holds::Ack);
                out.push(Output::Send(ack));
            }
            (Completed, Answer(Refusal)) if self.holds == Holds::Ack => out.push(Output::Send(self.kept.clone())),
            (Accepted, Answer(Success)) => out.push(Output::Deliver), // every 2xx of a fork, and those that come again
            (Calling | Completed, Unreachable) => {
                out.push(Output::Failed);
                self.terminate(out);
            }
            (state, Answer(_) | Ack(_) | Unreachable) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: A sends again and doubles, B gives up, D and M end.
    pub fn tick(&mut self, now: Instant, _settings: &Settings, out: &mut Vec<Output>) {
        match self.clocks.fire(now, |interval| interval.saturating_mul(2)) {
            Due::Nothing => {}
            Due::Again => out.push(Output::Send(self.kept.clone())),
            Due::End => {
                if self.state == State::Calling {
                    out.push(Output::TimedOut(Timer::B));
                }
                self.terminate(out);
            }
        }
    }

    /// When the next timer fires; `None` in Proceeding and Terminated.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.clocks.deadline()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The INVITE as sent, to make its CANCEL and ACK from; `None` once that is done.
    #[must_use]
    pub fn request(&self) -> Option<&Bytes> {
        (self.holds == Holds::Request).then_some(&self.kept)
    }

    /// Octets kept for a retransmission, CANCEL or ACK.
    #[must_use]
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Zero over a reliable transport (§17.1.1.2).
    fn timer_d(&self, settings: &Settings) -> std::time::Duration {
        match self.reliability {
            Reliability::Unreliable => settings.timer_d,
            Reliability::Reliable => std::time::Duration::ZERO,
        }
    }

    fn terminate(&mut self, out: &mut Vec<Output>) {
        self.state = State::Terminated;
        self.clocks = Clocks::STOPPED;
        self.drop_kept();
        out.push(Output::Terminated);
    }

    fn drop_kept(&mut self) {
        (self.kept, self.holds) = (Bytes::new(), Holds::Nothing);
    }
}
