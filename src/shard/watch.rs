//! The OPTIONS that ask the ends of calls whether they still know them: the engine says when, the SIP machine sends.

use std::collections::HashMap;
use std::fmt::Write;

use super::{Output, Shard};
use crate::accounting::{self, Key, Sign};
use crate::clock::Now;
use crate::record::Party;
use crate::sip::message::Message;
use crate::sip::stack::ServerId;

/// Those that have no answer yet, by their transactions.
#[derive(Debug, Default)]
pub(super) struct Probes {
    waiting: HashMap<ServerId, (Key, Party), foldhash::fast::RandomState>,
    /// Number of the last one, for its branch.
    number: u64,
}

impl Probes {
    /// Whether it is one of them.
    pub(super) fn has(&self, transaction: ServerId) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&transaction)
    }
}

impl Shard {
    /// Sends the probes that are due.
    pub(super) fn send_probes(&mut self, now: Now, out: &mut Vec<Output>) {
        for probe in self.engine.take_probes() {
            let listener = self.stack.settings().listeners.get(usize::from(probe.listener.0)).copied();
            let mut via = String::with_capacity(64);
            if let Some(own) = listener {
                self.probes.number += 1;
                let token = own.transport.via_token();
                // Below our branch as a proxy, and no answer is looked up by it.
                let _ = write!(via, "SIP/2.0/{token} {};branch=z9hG4bKping{:x}", own.local, self.probes.number);
            }
            let request = Message::parse(probe.request(&via)).ok().filter(|_| listener.is_some());
            let mut outputs = std::mem::take(&mut self.stack_outputs);
            let sent = request.and_then(|request| self.stack.originate(now, probe.listener, request, &mut outputs));
            match sent {
                Some(transaction) => {
                    self.probes.waiting.insert(transaction, (probe.key, probe.to));
                }
                None => self.probed(now, probe.key, probe.to, Sign::Unasked),
            }
            self.work_off(now, outputs, out);
        }
    }

    /// A probe has its answer, or gets none.
    pub(super) fn probe_answered(&mut self, now: Now, transaction: ServerId, sign: Sign) {
        if let Some((key, to)) = self.probes.waiting.remove(&transaction) {
            self.probed(now, key, to, sign);
        }
    }

    fn probed(&mut self, now: Now, key: Key, to: Party, sign: Sign) {
        self.tell(now, accounting::Input::Probed { key, to, sign });
    }
}
