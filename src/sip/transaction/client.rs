//! Non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! Trying and Proceeding (E, F), Completed (K), Terminated.

use std::time::Duration;

use bytes::Bytes;

use super::clocks::{Clocks, Due};
use super::core::Core;
use super::{Class, ClientInput, Output, Reliability, Settings, State, StateMachine, Timer};
use crate::clock::Instant;

/// Client transaction of a request other than INVITE and ACK.
#[derive(Clone, Debug)]
pub struct NonInviteClient {
    /// Keeps the request up to the final response, then nothing.
    core: Core,
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
        Self { core: Core::send(now, State::Trying, request, reliability, settings, out) }
    }
}

impl StateMachine for NonInviteClient {
    type Input = ClientInput;

    fn handle(&mut self, now: Instant, input: ClientInput, settings: &Settings, out: &mut Vec<Output>) {
        use {Class::*, ClientInput::*, State::*};
        match (self.core.state(), input) {
            (Trying | Proceeding, Response(Provisional)) => {
                self.core.enter(Proceeding); // E and F run on
                out.push(Output::Deliver);
            }
            (Trying | Proceeding, Response(Success | Refusal)) => {
                out.push(Output::Deliver);
                self.core.keep_nothing();
                match self.core.reliability() {
                    Reliability::Unreliable => {
                        self.core.enter(Completed);
                        self.core.set(Clocks::until(now, settings.t4)); // K
                    }
                    Reliability::Reliable => self.core.terminate(out),
                }
            }
            (Trying | Proceeding, Unreachable) => {
                out.push(Output::Failed);
                self.core.terminate(out);
            }
            (state, Response(_) | Ack(_) | Unreachable) => out.push(Output::Absorbed { state }),
        }
    }

    /// Does what is due: E sends again (doubling up to T2, in Proceeding at T2), F gives up, K ends.
    fn tick(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Output>) {
        let in_proceeding = self.core.state() == State::Proceeding;
        let next = |interval: Duration| {
            if in_proceeding { settings.t2 } else { interval.saturating_mul(2).min(settings.t2) }
        };
        match self.core.fire(now, next) {
            Due::Nothing => {}
            Due::Again => self.core.send_again(out),
            Due::End => {
                if matches!(self.core.state(), State::Trying | State::Proceeding) {
                    out.push(Output::TimedOut(Timer::F));
                }
                self.core.terminate(out);
            }
        }
    }

    fn core(&self) -> &Core {
        &self.core
    }
}
