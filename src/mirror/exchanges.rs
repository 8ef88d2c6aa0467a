//! The requests that are followed: each from its first copy to a while after its final response.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use super::hops::{Hop, Side};
use super::watching::branch_value;
use crate::clock::Timestamp;
use crate::ids::CallHash;
use crate::sip::message::{Message, Method};
use crate::sip::stack::{FinalResponse, RequestView, ServerId, Stages};

/// Names a request over all hops: Call-ID, From tag, CSeq. An ACK and a CANCEL have that of their INVITE.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key(u128);

impl Key {
    pub(super) fn of(message: &Message) -> Self {
        let method = match message.method() {
            Method::Ack | Method::Cancel => b"INVITE",
            _ => message.cseq().1,
        };
        let mut hasher = SipHasher13::new_with_keys(0x6d69_7272, 0x6f72_6564);
        for text in [message.call_id(), message.from_tag(), method] {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text);
        }
        hasher.write(&message.cseq().0.to_le_bytes());
        Self(hasher.finish128().as_u128())
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// No final response has been told.
    Open,
    /// An INVITE that was answered: more 2xx may come.
    Answered,
    /// All has been told: what comes now comes again.
    Over,
}

/// A request that is followed.
#[derive(Debug)]
pub(super) struct Exchange {
    pub id: ServerId,
    pub view: RequestView,
    /// The hop it was received by.
    pub hop: Hop,
    pub phase: Phase,
    /// What the proxy has sent of it, in order; up to [`BRANCHES_MAX`].
    pub branches: Vec<Branch>,
    /// The first branch of the round that has not failed.
    pub round: usize,
    /// The To tags of 2xx that were told; up to [`ANSWERS_MAX`].
    pub tags: SmallVec<[Box<[u8]>; 1]>,
    pub is_cancelled: bool,
    /// A refusal that was not heard to go to the caller.
    pub refusal: Option<FinalResponse>,
    /// What a BYE got that has ended no call, for it may have come before its call.
    pub early: Option<FinalResponse>,
    /// When something is to be done about it.
    pub due: Timestamp,
}

/// What the proxy sent of a request to one target.
#[derive(Debug)]
pub(super) struct Branch {
    /// Value of the top Via's branch.
    pub via: Box<[u8]>,
    pub uri: Bytes,
    pub to: SocketAddr,
    pub stages: Stages,
    /// Its final response of 300 and more.
    pub refusal: Option<Rc<Message>>,
}

impl Branch {
    /// As what became of it: its refusal, or without one what is given up.
    pub(super) fn outcome(&self) -> FinalResponse {
        let message = self.refusal.clone();
        let code = message.as_ref().map_or(0, |own| own.code());
        let reason = message.as_ref().map_or_else(Bytes::new, |own| Bytes::copy_from_slice(own.reason()));
        FinalResponse { uri: self.uri.clone(), hop: Some(self.to), code, reason, message, stages: self.stages }
    }
}

impl Exchange {
    /// Milliseconds since its request came.
    pub(super) fn ms(&self, at: Timestamp) -> u32 {
        u32::try_from(at.since(self.view.arrived.wall).as_millis()).unwrap_or(u32::MAX)
    }

    /// The branch that a response came by, or the only one there is.
    pub(super) fn branch_of(&mut self, via: &[u8]) -> Option<&mut Branch> {
        let at = self.branches.iter().position(|own| *own.via == *via);
        let only = (self.branches.len() == 1).then_some(0);
        at.or(only).and_then(|at| self.branches.get_mut(at))
    }

    /// Whether an ACK goes hop by hop, by a branch of its INVITE, and so is to a refusal (RFC 3261 §17.1.1.3). One that is
    /// seen where no INVITE was says nothing, and counts as such.
    pub(super) fn is_refusal_acknowledged(&self, ack: &Message, side: Side) -> bool {
        let via = branch_value(ack);
        let invite = &self.view.message;
        let above = invite.second_via().and_then(|via| via.branch).unwrap_or_default();
        let is_unseen = side == Side::Sent && self.branches.is_empty();
        is_unseen || [branch_value(invite), above].contains(&via) || self.branches.iter().any(|own| *own.via == *via)
    }

    /// The branches of the running round that were refused.
    pub(super) fn refused(&self) -> Vec<FinalResponse> {
        let round = self.branches.iter().skip(self.round);
        round.filter(|own| own.refusal.is_some()).map(Branch::outcome).collect()
    }

    /// Whether all branches of the running round were refused.
    pub(super) fn is_round_over(&self) -> bool {
        let mut round = self.branches.iter().skip(self.round).peekable();
        round.peek().is_some() && round.all(|own| own.refusal.is_some())
    }
}

/// All requests that are followed.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    all: HashMap<Key, Box<Exchange>>,
    due: BTreeSet<(Timestamp, Key)>,
    /// BYEs that have ended no call.
    early: HashMap<CallHash, Key>,
    number: u64,
}

impl Exchanges {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A name for a request that is told next.
    pub(super) fn id(&mut self) -> ServerId {
        self.number += 1;
        ServerId::made_up(self.number)
    }

    /// Lends one out, until it is put back.
    pub(super) fn take(&mut self, key: Key) -> Option<Box<Exchange>> {
        let exchange = self.all.remove(&key)?;
        self.due.remove(&(exchange.due, key));
        Some(exchange)
    }

    pub(super) fn put(&mut self, key: Key, exchange: Box<Exchange>) {
        self.due.insert((exchange.due, key));
        if exchange.early.is_some() {
            self.early.insert(exchange.view.message.call(), key);
        }
        self.all.insert(key, exchange);
    }

    /// The BYE of a call that has ended none, if one came.
    pub(super) fn take_early(&mut self, call: CallHash) -> Option<Key> {
        self.early.remove(&call)
    }

    /// Takes the next one out that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Key, Box<Exchange>)> {
        let &(due, key) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, key));
        let exchange = self.all.remove(&key)?;
        if exchange.early.is_some() && self.early.get(&exchange.view.message.call()) == Some(&key) {
            self.early.remove(&exchange.view.message.call());
        }
        Some((key, exchange))
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }
}

/// Targets of one request that are noted.
pub(super) const BRANCHES_MAX: usize = 32;
/// Answers to one INVITE that are told.
pub(super) const ANSWERS_MAX: usize = 16;
