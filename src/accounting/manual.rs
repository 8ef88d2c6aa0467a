//! Records by hand: the policy asks for one, as the scripts of the SIP proxies do by `acc_log_request("403 Not here")`.
//!
//! It is an Event of the request as it stands: its own To tag, for there may be no response yet; fields and legs as every
//! record of it has them; code and phrase as asked for. It goes to the sinks that are named, whatever is marked and whatever
//! their mode, and depends on nothing that comes later.

use super::engine::Engine;
use super::transaction::{Response, Transaction};
use super::{Outcome, fields};
use crate::clock::Now;
use crate::policy::{Manual, Values};
use crate::record::{Kind, MANUAL, Value};
use crate::sip::stack::{RequestView, ServerId};
use std::rc::Rc;

impl Engine {
    /// Makes a record by hand.
    pub(super) fn manual(
        &mut self,
        now: Now,
        id: ServerId,
        view: &RequestView,
        manual: Manual,
        values: Option<Rc<Values>>,
        out: &mut Outcome,
    ) {
        let Manual { sinks, code, reason, fields, table } = manual;
        let unmarked;
        let transaction = match self.transactions.get(id) {
            Some(transaction) => transaction,
            None => {
                // Nothing else is recorded of it.
                let found = if view.in_dialog { self.calls.find(&view.message) } else { None };
                let (sender, parties) = self.sides(view, found);
                let session = found.map(|(key, _)| key);
                let mut made = Transaction { session, parties, ..Transaction::new(view.clone(), sender) };
                if let Some(values) = values {
                    made.set(values);
                }
                unmarked = made;
                &unmarked
            }
        };
        let session = transaction.session.and_then(|key| self.calls.get(key));
        let response = Response::local(code, &reason);
        let mut record = self.maker.of_transaction(now, Kind::Event, transaction, &response, session);
        let (fields, is_cut) = fields::limited(fields);
        record.fields = fields::merge(fields, record.fields);
        record.fields.push((MANUAL.to_owned(), Value::Number(1)));
        record.shortened |= is_cut;
        record.table = table.or(record.table);
        if !view.in_dialog {
            // No response has gone yet.
            record.to_tag.clear();
        }
        out.push(record, view.message.call(), sinks);
    }
}
