//! Calls that may end without a BYE: when they were known alive last, and the OPTIONS that ask both of their ends.
//!
//! The engine keeps what a request inside the dialog needs, for both ends, and says when one is due by [`Outgoing`]; what
//! came of it comes back as [`Input::Probed`](super::Input::Probed). Any response but 408 and 481 shows that an end lives,
//! 481 that it does not know the call (RFC 5057 §5.1), silence counts up to a limit.

use std::time::Duration;

use super::Outcome;
use super::engine::Engine;
use super::session::{Key, Session};
use super::transaction::{Response, Transaction};
use crate::clock::{Instant, Now};
use crate::record::{Cause, Party};
use crate::sip::message::Message;
use crate::sip::stack::ListenerId;

/// What an operator can set about the OPTIONS to the ends of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pings {
    /// Between two of them to one end.
    pub interval: Duration,
    /// How many in a row may stay without a response; then the call has ended.
    pub lost_max: u8,
}

/// What a request of the gateway to an end of a call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Whether the end still knows the call; what became of it comes back as [`Input::Probed`](super::Input::Probed).
    Probe,
    /// The call has ended; nothing comes back.
    Bye,
}

/// A request of the gateway to an end of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The call that it is sent inside of.
    pub key: Key,
    /// The end that gets it, by the dialog's route set and remote target.
    pub to: Party,
    /// Whether it asks (OPTIONS) or hangs up (BYE); what comes of it goes where that says.
    pub purpose: Purpose,
    /// The listener its INVITE came in by.
    pub listener: ListenerId,
    /// Its request line with the line break; Via follows, which only the SIP machine can make.
    pub(super) start: Vec<u8>,
    /// All header lines but Via.
    pub(super) lines: Vec<u8>,
}

impl Outgoing {
    /// The whole request, with this Via value.
    #[must_use]
    pub fn request(&self, via: &str) -> Vec<u8> {
        let via = format!("Via: {via}\r\n");
        [&self.start[..], via.as_bytes(), &self.lines].concat()
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// Any response but 408 and 481: the end lives, whatever it thinks of OPTIONS.
    Alive,
    /// It does not know the call.
    Unknown,
    /// It did not answer, or could not be reached.
    Silent,
    /// It was not asked: the gateway is too busy.
    Unasked,
}

impl Sign {
    /// What a response shows; `is_local` when the gateway made it.
    #[must_use]
    pub const fn of_response(code: u16, is_local: bool) -> Self {
        match (code, is_local) {
            (_, true) | (408, false) => Self::Silent,
            (481, false) => Self::Unknown,
            (_, false) => Self::Alive,
        }
    }
}

impl Engine {
    /// When the ends of a call are asked first: spread over half an interval, so that the calls of a restart are not
    /// asked all at once.
    pub(super) fn first_ping(&self, now: Now, key: Key) -> Option<Instant> {
        let interval = self.maker.settings().pings?.interval;
        Some(now.mono + interval / 2 + interval.mul_f64(key.spread() / 2.0))
    }

    /// Both ends are asked, but for those that have not answered the last time yet.
    pub(super) fn ping(&mut self, now: Now, key: Key) {
        let Some(pings) = self.maker.settings().pings else { return };
        let Some(session) = self.calls.get(key) else { return };
        let mut probes = Vec::new();
        if let Some(ends) = &session.ends {
            for to in [Party::Caller, Party::Callee] {
                if !ends.is_asked(to) {
                    probes.extend(ends.options(key, to, session, false));
                }
            }
        }
        self.calls.change(key, |session| {
            session.alarms.ping = Some(now.mono + pings.interval);
            if let Some(ends) = &mut session.ends {
                probes.iter().for_each(|probe| ends.ask(probe.to));
            }
        });
        self.outbox.send(probes);
    }

    /// What became of a probe.
    pub(super) fn probed(&mut self, now: Now, key: Key, to: Party, sign: Sign, out: &mut Outcome) {
        let lost_max = self.maker.settings().pings.map_or(u8::MAX, |pings| pings.lost_max);
        if sign == Sign::Alive {
            self.alive(now, key);
        }
        let has_ended = self.calls.change(key, |session| {
            let ends = session.ends.as_mut()?;
            let lost = ends.asked(to, sign);
            (sign == Sign::Unknown || lost >= lost_max).then_some(())
        });
        if !self.settle(now, key, to, sign, out) && has_ended.flatten().is_some() {
            self.end(now, key, Cause::Unreachable, out);
        }
    }

    /// A call has shown that it lives.
    pub(super) fn alive(&mut self, now: Now, key: Key) {
        self.lives(now, key, |_| ());
    }

    /// A request of `sender` goes where the dialog goes.
    pub(super) fn passes(&mut self, now: Now, key: Key, sender: Party, request: &Message) {
        let cseq = request.cseq().0;
        self.lives(now, key, |session| {
            if let Some(ends) = &mut session.ends {
                ends.note_cseq(sender, cseq);
            }
            if sender == Party::Caller {
                // Whoever sends requests inside the dialog has got the 2xx.
                session.unacknowledged.take_if(|(number, _)| *number == session.cseq);
            }
        });
    }

    fn lives(&mut self, now: Now, key: Key, note: impl FnOnce(&mut Session)) {
        let is_old = self.calls.touch(key, |session| {
            note(session);
            if now.mono > session.alive.mono {
                session.alive = now;
            }
            session.ends.as_mut().map(|ends| ends.lives(now.wall))
        });
        if is_old.flatten() == Some(true) {
            self.calls.store_later(key, now.mono);
        }
    }

    /// A target refresh was answered 2xx (RFC 3261 §12.2).
    pub(super) fn retarget(&mut self, now: Now, key: Key, transaction: &Transaction, response: &Response<'_>) {
        let has_moved = self.calls.touch(key, |session| {
            let ends = session.ends.as_mut()?;
            let sender = (transaction.sender, transaction.view.peer.addr);
            Some(ends.retarget(sender, transaction.request(), response.message))
        });
        if has_moved.flatten() == Some(true) {
            self.calls.store_later(key, now.mono);
        }
    }
}
