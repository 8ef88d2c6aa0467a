//! INVITE server transaction: RFC 3261 §17.2.1, RFC 6026 §7.1.
//!
//! Proceeding (the 200 ms of the 100), Completed (G, H), Confirmed (I), Accepted (L), Terminated. Proceeding ends only
//! by a response of the transaction user.

use std::time::Duration;

use super::clocks::{Clocks, Due};
use super::core::{Core, Holds};
use super::{Class, Output, Reliability, ServerInput, Settings, State, StateMachine, Timer};
use crate::clock::Instant;

/// INVITE server transaction.
#[derive(Clone, Debug)]
pub struct InviteServer {
    /// Keeps the last provisional response in Proceeding, the refusal in Completed, else nothing.
    core: Core,
}

impl InviteServer {
    /// Takes a new INVITE: [`Output::Trying`] comes when no response is given in time.
    #[must_use]
    pub fn start(now: Instant, reliability: Reliability, settings: &Settings) -> Self {
        let clocks = Clocks::until(now, settings.trying_after);
        Self { core: Core::receive(State::Proceeding, reliability, clocks) }
    }
}

impl StateMachine for InviteServer {
    type Input = ServerInput;

    /// A transport error is none: it never ends the transaction, so that a repeated INVITE is not taken for a new one
    /// (RFC 6026 §7.1).
    fn handle(&mut self, now: Instant, input: ServerInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ServerInput::*, State::*};
        match (self.core.state(), input) {
            (Proceeding | Completed, Repeated) if self.core.holds(Holds::Response) => {
                self.core.send_again(out);
            }
            (Proceeding, Respond(Provisional, response)) => {
                self.core.set(Clocks::STOPPED);
                self.core.keep(Holds::Response, response.clone());
                out.push(Output::Send(response));
            }
            (Proceeding, Respond(Success, response)) => {
                self.core.enter(Accepted);
                self.core.set(Clocks::until(now, settings.timeout())); // L
                self.core.keep_nothing(); // whoever made the 2xx retransmits it
                out.push(Output::Send(response));
            }
            (Proceeding, Respond(Refusal, response)) => {
                self.core.enter(Completed);
                self.core.set(match self.core.reliability() {
                    Reliability::Unreliable => Clocks::start(now, settings.t1.min(settings.t2), settings.timeout()),
                    Reliability::Reliable => Clocks::until(now, settings.timeout()),
                });
                self.core.keep(Holds::Response, response.clone());
                out.push(Output::Send(response));
            }
            (Accepted, Respond(Success, response)) => out.push(Output::Send(response)),
            (Accepted, Ack) => out.push(Output::Deliver),
            (Completed, Ack) => {
                self.core.enter(Confirmed);
                self.core.keep_nothing();
                match self.core.reliability() {
                    Reliability::Unreliable => self.core.set(Clocks::until(now, settings.t4)), // I
                    Reliability::Reliable => self.core.terminate(out),
                }
            }
            (state, Repeated | Ack | Respond(..)) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: the 100, G sends the refusal again (doubling up to T2), H gives up, I and L end.
    fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>) {
        match self.core.fire(now, |interval: Duration| interval.saturating_mul(2).min(settings.t2)) {
            Due::Nothing => {}
            Due::Again => self.core.send_again(out),
            Due::End if self.core.state() == State::Proceeding => out.push(Output::Trying),
            Due::End => {
                if self.core.state() == State::Completed {
                    out.push(Output::TimedOut(Timer::H));
                }
                self.core.terminate(out);
            }
        }
    }

    fn core(&self) -> &Core {
        &self.core
    }
}
