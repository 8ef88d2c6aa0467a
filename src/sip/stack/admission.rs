//! How much of the gateway one call, one source and those without a transaction may take.

use std::net::IpAddr;

use super::calls::Calls;
use super::settings::Settings;
use super::sources::{self, Class, Sources};
use super::tables::{Origin, Server};
use super::types::Ignored;
use crate::clock::Instant;
use crate::sip::message::Method;
use crate::sip::transaction::slab::Key;
use crate::timers::bucket::Bucket;

/// What is counted of open transactions, and of responses without one.
#[derive(Debug)]
pub(super) struct Admission {
    sources: Sources,
    calls: Calls,
    /// Responses without a transaction, to strangers and to those in `allow`.
    buckets: [Bucket; 2],
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            sources: Sources::new(settings),
            calls: Calls::new(settings),
            buckets: [settings.stateless_responses, settings.stateless_responses_allowed].map(Bucket::new),
        }
    }

    /// Goes on with other limits.
    pub(super) fn configure(&mut self, settings: &Settings) {
        let rates = [settings.stateless_responses, settings.stateless_responses_allowed];
        self.buckets.iter_mut().zip(rates).for_each(|(bucket, rate)| bucket.configure(rate));
        self.sources.configure(settings);
        self.calls.configure(settings);
    }

    /// A request wants a transaction: as whose it counts, or which limit it is over.
    pub(super) fn open(
        &mut self,
        now: Instant,
        (address, class): (IpAddr, Class),
        (call, method): (u64, Method),
    ) -> Result<Origin, Ignored> {
        let inside = (class == Class::Inside).then_some(address);
        if !self.calls.has_room(call, method, inside) {
            return Err(Ignored::CallLimited);
        }
        match self.sources.open(now, address, class) {
            sources::Admission::Counted => Ok(Origin::Counted(class)),
            sources::Admission::Uncounted => Ok(Origin::Peer),
            sources::Admission::Refused => Err(class.limit()),
        }
    }

    /// It has one; `invite` when it may make a dialog, `bye` is the source of a BYE inside the call.
    pub(super) fn opened(&mut self, call: u64, invite: Option<Key>, bye: Option<IpAddr>) {
        self.calls.opened(call, invite, bye);
    }

    /// A transaction has its final response.
    pub(super) fn answered(&mut self, server: &Server) {
        if let Origin::Counted(class) = server.origin {
            self.sources.answered(server.peer.addr.ip(), class);
        }
        if let Some(call) = server.call {
            self.calls.answered(call);
        }
    }

    /// A transaction has ended.
    pub(super) fn closed(&mut self, id: Key, server: &Server) {
        if let Origin::Counted(class) = server.origin {
            self.sources.closed(server.peer.addr.ip(), class, server.absorbs);
        }
        if let Some(call) = server.call {
            self.calls.closed(call, id, server.absorbs);
        }
    }

    /// Whether one more response may go out without a transaction, to somebody who `is_allowed`.
    pub(super) fn may_respond(&mut self, now: Instant, is_allowed: bool) -> bool {
        self.buckets[usize::from(is_allowed)].take(now)
    }

    /// The INVITEs of a Call-ID that make dialogs.
    pub(super) fn invites(&self, call: u64) -> &[Key] {
        self.calls.invites(call)
    }

    /// Sources and Call-IDs that are counted.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.sources.len(), self.calls.len()]
    }
}
