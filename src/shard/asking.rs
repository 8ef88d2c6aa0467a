//! What the shard asks and shows its policy beside the requests that come in, and what it does of that.

use super::Shard;
use crate::accounting;
use crate::clock::Now;
use crate::policy::{Asked, Local, Next, Remarks};
use crate::sip::stack::{self, Event, Round, ServerId};

impl Shard {
    /// Shows the policy what it may want to note something of.
    pub(super) fn show(&mut self, now: Now, event: &Event) {
        let asked = |transaction| self.stack.request_of_peer(transaction).map(|view| Asked { now, transaction, view });
        let (transaction, remarks) = match event {
            Event::Provisional { transaction, response, .. } => {
                (*transaction, asked(*transaction).map(|asked| self.policy.reply(asked, response)))
            }
            Event::Final { transaction, response } => {
                let remarks = asked(*transaction).map(|asked| match &response.message {
                    Some(message) => self.policy.reply(asked, message),
                    None => self.policy.local(asked, Local::Response { code: response.code, reason: &response.reason }),
                });
                (*transaction, remarks)
            }
            Event::Terminated { transaction } => return self.policy.ended(*transaction),
            Event::RoundFailed { .. } | Event::Lost { .. } | Event::Acknowledged { .. } | Event::Cancelled { .. } => {
                return;
            }
        };
        if let Some(remarks) = remarks {
            self.note(now, transaction, remarks);
        }
    }

    /// Does what the policy wants recorded beside.
    pub(super) fn note(&mut self, now: Now, transaction: ServerId, remarks: Remarks) {
        if remarks.is_empty() {
            return;
        }
        let Some(view) = self.stack.request(transaction) else { return };
        let before = self.pending.records.len();
        let Remarks { marks, values, records } = remarks;
        if marks.is_some() || values.is_some() {
            let fact = accounting::Input::Marked { transaction, view, marks, values: values.clone() };
            self.engine.handle(now, fact, &mut self.pending);
        }
        for manual in records {
            let fact = accounting::Input::Manual { transaction, view, manual, values: values.clone() };
            self.engine.handle(now, fact, &mut self.pending);
        }
        self.mention_from(now, before);
    }

    /// A round of branches has failed: the policy says how its request goes on.
    pub(super) fn go_on(&mut self, now: Now, transaction: ServerId, round: &Round, more: &mut Vec<stack::Output>) {
        let Some(view) = self.stack.request(transaction) else { return };
        let Next { onward, remarks } = self.policy.round_failed(Asked { now, transaction, view }, round);
        self.note(now, transaction, remarks);
        self.stack.handle(now, stack::Input::Proceed { transaction, onward }, &self.engine, more);
    }

    /// Shows the policy a request of the gateway itself.
    pub(super) fn show_own(&mut self, now: Now, transaction: ServerId) {
        let Some(view) = self.stack.request(transaction) else { return };
        let remarks = self.policy.local(Asked { now, transaction, view }, Local::Request);
        self.note(now, transaction, Remarks { marks: None, ..remarks });
    }
}
