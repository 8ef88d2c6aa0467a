//! INVITE client transaction: RFC 3261 §17.1.1, RFC 6026 §7.2.
//!
//! Calling (A, B), Proceeding, Completed (D), Accepted (M), Terminated. Proceeding has no timer of its own: Timer C of
//! the proxy core bounds it (§16.6 step 11).

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::core::{Core, Holds};
use super::{Class, ClientInput, Output, Reliability, Settings, State, StateMachine, Timer};
use crate::clock::Instant;

/// INVITE client transaction.
#[derive(Clone, Debug)]
pub struct InviteClient {
    /// Keeps the INVITE up to the final response, since its ACK and CANCEL are made from it; then the ACK.
    core: Core,
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
        Self { core: Core::send(now, State::Calling, request, reliability, settings, out) }
    }

    /// Zero over a reliable transport (§17.1.1.2).
    fn timer_d(&self, settings: &Settings) -> std::time::Duration {
        match self.core.reliability() {
            Reliability::Unreliable => settings.timer_d,
            Reliability::Reliable => std::time::Duration::ZERO,
        }
    }
}

impl StateMachine for InviteClient {
    type Input = ClientInput;

    fn handle(&mut self, now: Instant, input: ClientInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ClientInput::*, State::*};
        match (self.core.state(), input) {
            (Calling | Proceeding, Response(Provisional)) => {
                self.core.enter(Proceeding);
                self.core.set(Clocks::STOPPED);
                out.push(Output::Deliver);
            }
            (Calling | Proceeding, Response(Success)) => {
                self.core.enter(Accepted);
                self.core.set(Clocks::until(now, settings.timeout()));
                self.core.keep_nothing();
                out.push(Output::Deliver);
            }
            (Calling | Proceeding, Response(Refusal)) => {
                self.core.enter(Completed);
                self.core.set(Clocks::until(now, self.timer_d(settings)));
                out.extend([Output::Deliver, Output::Acknowledge]);
            }
            (Completed, Ack(ack)) if self.core.holds(Holds::Request) => {
                self.core.keep(Holds::Ack, ack.clone());
                out.push(Output::Send(ack));
            }
            (Completed, Response(Refusal)) if self.core.holds(Holds::Ack) => self.core.send_again(out),
            (Accepted, Response(Success)) => out.push(Output::Deliver), // every 2xx of a fork, and those that come again
            (Calling | Completed, Unreachable) => {
                out.push(Output::Failed);
                self.core.terminate(out);
            }
            (state, Response(_) | Ack(_) | Unreachable) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: A sends again and doubles, B gives up, D and M end.
    fn tick(&mut self, now: Instant, _settings: &Settings, out: &mut Vec<Output>) {
        match self.core.fire(now, |interval| interval.saturating_mul(2)) {
            Due::Nothing => {}
            Due::Again => self.core.send_again(out),
            Due::End => {
                if self.core.state() == State::Calling {
                    out.push(Output::TimedOut(Timer::B));
                }
                self.core.terminate(out);
            }
        }
    }

    fn core(&self) -> &Core {
        &self.core
    }
}
