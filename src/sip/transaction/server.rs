//! Non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! Trying, Proceeding, Completed (J), Terminated. Only a response of the transaction user leads on to Completed.

use super::clocks::{Clocks, Due};
use super::core::{Core, Holds};
use super::{Class, Output, Reliability, ServerInput, Settings, State, StateMachine};
use crate::clock::Instant;

/// Server transaction of a request other than INVITE and ACK.
#[derive(Clone, Debug)]
pub struct NonInviteServer {
    /// Keeps the last response, nothing in Trying.
    core: Core,
}

impl NonInviteServer {
    /// Takes a new request.
    #[must_use]
    pub const fn start(reliability: Reliability) -> Self {
        Self { core: Core::receive(State::Trying, reliability, Clocks::STOPPED) }
    }
}

impl StateMachine for NonInviteServer {
    type Input = ServerInput;

    /// A transport error is none: it does not end the transaction, as RFC 6026 §7.1 has it for INVITE and for the same
    /// reason: a repeated request would be taken for a new one. RFC 3261 §17.2.4 says SHOULD to the contrary.
    fn handle(&mut self, now: Instant, input: ServerInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ServerInput::*, State::*};
        match (self.core.state(), input) {
            (Proceeding | Completed, Repeated) => self.core.send_again(out),
            (Trying | Proceeding, Respond(Provisional, response)) => {
                self.core.enter(Proceeding);
                self.core.keep(Holds::Response, response.clone());
                out.push(Output::Send(response));
            }
            (Trying | Proceeding, Respond(Success | Refusal, response)) => {
                out.push(Output::Send(response.clone()));
                match self.core.reliability() {
                    Reliability::Unreliable => {
                        self.core.enter(Completed);
                        self.core.set(Clocks::until(now, settings.timeout())); // J
                        self.core.keep(Holds::Response, response);
                    }
                    Reliability::Reliable => self.core.terminate(out),
                }
            }
            (state, Repeated | Ack | Respond(..)) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: J ends.
    fn tick(&mut self, now: Instant, _settings: &Settings, out: &mut Vec<Output>) {
        if self.core.fire(now, |interval| interval) == Due::End {
            self.core.terminate(out);
        }
    }

    fn core(&self) -> &Core {
        &self.core
    }
}
