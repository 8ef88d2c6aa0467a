//! Requests of the gateway to the ends of calls: OPTIONS that ask whether they still know them, and BYE. The engine says
//! when, the SIP machine sends.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

use super::{Output, Shard};
use crate::accounting::{self, Key, Outgoing, Purpose, Sign};
use crate::clock::Now;
use crate::record::Party;
use crate::sip::message::Message;
use crate::sip::stack::{Event, ServerId};

/// Those that have no response yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Which end of which call was asked; `None` for a BYE, whose response is nobody's.
    waiting: HashMap<ServerId, Option<(Key, Party)>, foldhash::fast::RandomState>,
    /// BYEs that the SIP machine had no room for; as many as calls that have ended in the meantime, at most.
    unsent: VecDeque<Outgoing>,
    /// Number of the last one, for its branch.
    number: u64,
}

impl Shard {
    /// Sends the requests that are due.
    pub(super) fn send_requests(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.engine.has_outgoing() && self.requests.unsent.is_empty() {
            return;
        }
        let fresh = self.engine.take_outgoing();
        let mut queue = std::mem::take(&mut self.requests.unsent);
        queue.extend(fresh);
        while let Some(request) = queue.pop_front() {
            if self.send_request(now, &request, out) {
                continue;
            }
            match request.purpose {
                Purpose::Probe => self.probed(now, request.key, request.to, Sign::Unasked),
                Purpose::Bye => self.requests.unsent.push_back(request),
            }
        }
    }

    /// Whether a request could be sent, or never can be.
    fn send_request(&mut self, now: Now, request: &Outgoing, out: &mut Vec<Output>) -> bool {
        let Some(own) = self.stack.settings().listeners.get(usize::from(request.listener.0)).copied() else {
            return request.purpose == Purpose::Bye;
        };
        self.requests.number += 1;
        let mut via = String::with_capacity(64);
        // Below our branch as a proxy, and no response is looked up by it.
        let token = own.transport.via_token();
        let _ = write!(via, "SIP/2.0/{token} {};branch=z9hG4bKown{:x}", own.local, self.requests.number);
        let Ok(message) = Message::parse(request.request(&via)) else { return request.purpose == Purpose::Bye };
        let mut outputs = std::mem::take(&mut self.stack_outputs);
        let sent = self.stack.originate(now, request.listener, message, &mut outputs);
        if let Some(transaction) = sent {
            let asked = (request.purpose == Purpose::Probe).then_some((request.key, request.to));
            self.requests.waiting.insert(transaction, asked);
            self.show_own(now, transaction);
        }
        self.work_off(now, outputs, out);
        sent.is_some()
    }

    /// Takes what happened to a request of the gateway itself: it has its response then, or gets none. `false` when it is
    /// no such request.
    pub(super) fn take_own(&mut self, now: Now, event: &Event) -> bool {
        if self.requests.waiting.is_empty() {
            return false;
        }
        let (transaction, sign) = match event {
            Event::Final { transaction, response } => {
                (transaction, Sign::of_response(response.code, response.message.is_none()))
            }
            Event::Terminated { transaction } => (transaction, Sign::Silent),
            Event::Provisional { .. }
            | Event::RoundFailed { .. }
            | Event::Lost { .. }
            | Event::Acknowledged { .. }
            | Event::Cancelled { .. } => return false,
        };
        let Some(asked) = self.requests.waiting.remove(transaction) else { return false };
        if let Some((key, to)) = asked {
            self.probed(now, key, to, sign);
        }
        true
    }

    fn probed(&mut self, now: Now, key: Key, to: Party, sign: Sign) {
        self.tell(now, accounting::Input::Probed { key, to, sign });
    }
}
