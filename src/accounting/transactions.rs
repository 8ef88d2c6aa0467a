//! The requests of one engine without an end, and which of them are INVITEs that may still open a call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use smallvec::SmallVec;

use super::transaction::Transaction;
use crate::ids::CallHash;
use crate::sip::message::Message;
use crate::sip::stack::ServerId;

#[derive(Debug, Default)]
pub(super) struct Transactions {
    all: HashMap<ServerId, Box<Transaction>, foldhash::fast::RandomState>,
    /// The initial INVITEs of a call that have no final response yet.
    open: HashMap<CallHash, SmallVec<[ServerId; 1]>, foldhash::fast::RandomState>,
}

impl Transactions {
    pub(super) fn get(&self, id: ServerId) -> Option<&Transaction> {
        self.all.get(&id).map(|transaction| &**transaction)
    }

    pub(super) fn get_mut(&mut self, id: ServerId) -> Option<&mut Transaction> {
        self.all.get_mut(&id).map(|transaction| &mut **transaction)
    }

    /// Takes a new one of this call in.
    pub(super) fn insert(&mut self, id: ServerId, call: CallHash, transaction: Box<Transaction>) {
        if transaction.is_open {
            self.open.entry(call).or_default().push(id);
        }
        self.all.insert(id, transaction);
    }

    /// Lends one out, until it is put back.
    pub(super) fn take(&mut self, id: ServerId) -> Option<Box<Transaction>> {
        self.all.remove(&id)
    }

    pub(super) fn put_back(&mut self, id: ServerId, transaction: Box<Transaction>) {
        self.all.insert(id, transaction);
    }

    /// Whether a call has an initial INVITE without a final response.
    pub(super) fn has_open(&self, call: CallHash) -> bool {
        self.open.contains_key(&call)
    }

    /// One that was lent out is no open INVITE any more.
    pub(super) fn close(&mut self, id: ServerId, transaction: &mut Transaction) {
        if std::mem::take(&mut transaction.is_open)
            && let Entry::Occupied(mut open) = self.open.entry(transaction.request().call())
        {
            open.get_mut().retain(|own| *own != id);
            if open.get().is_empty() {
                open.remove();
            }
        }
    }

    /// The caller's BYE before the final response gives the call up as a CANCEL does (RFC 3261 §15.1.1): the 487 that the
    /// callee sends then is no refusal of its own.
    pub(super) fn hung_up(&mut self, bye: &Message) {
        for id in self.open.get(&bye.call()).into_iter().flatten() {
            let invite = self.all.get_mut(id);
            let is_same = |own: &&mut Box<Transaction>| {
                own.request().from_tag() == bye.from_tag() && own.request().call_id() == bye.call_id()
            };
            if let Some(invite) = invite.filter(is_same) {
                invite.is_hung_up = true;
            }
        }
    }
}
