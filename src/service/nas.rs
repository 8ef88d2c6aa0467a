//! Accounting-On and Accounting-Off (RFC 2866 §5.1): records about the gateway itself, of no call.
//!
//! Accounting-On ends every session this gateway has open at the server. It is therefore sent only when calls in progress
//! were lost, with the instant of this start, and leaves after everything that was in the queue before.

use std::sync::Arc;

use crate::clock::Now;
use crate::ids::SinkMask;
use crate::queue::{AFTER_ALL, Handle, Producer};
use crate::record::{Commit, Entry, Kind, Record, codec};

/// Appends a record of this `kind` for `sinks`; `seed` is random. The producer that gets the receipt comes back.
pub(super) fn announce(queue: &Handle, kind: Kind, sinks: SinkMask, now: Now, seed: u128) -> Producer {
    let mut producer = queue.producer(Arc::new(|| ()));
    if sinks.is_empty() {
        return producer;
    }
    let record = Record::of_no_call(kind, now.wall, seed);
    let entry = Entry { id: record.id, call: AFTER_ALL, sinks, body: codec::encode(&record) };
    let commit = Commit { entries: vec![entry], calls: Vec::new() };
    match producer.append(0, commit) {
        Ok(()) => tracing::warn!(kind = kind.name(), "the servers are told about this gateway's sessions"),
        Err(_) => tracing::error!(kind = kind.name(), "the queue is full: the servers are not told"),
    }
    producer
}
