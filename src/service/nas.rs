//! Accounting-On and Accounting-Off (RFC 2866 §5.1): records about the gateway itself, of no call.
//!
//! Accounting-On ends every session this gateway has open at the server. It is therefore sent only when calls in progress
//! were lost, with the instant of this start, and leaves after everything that was in the queue before.

use std::sync::Arc;

use crate::clock::Now;
use crate::ids::{RecordIds, SinkMask};
use crate::queue::{AFTER_ALL, Handle, Producer};
use crate::record::{Commit, Entry, Kind, Record, Times, codec};

/// Appends a record of this `kind` for `sinks`; `seed` is random. The producer that gets the receipt comes back.
pub(super) fn announce(queue: &Handle, kind: Kind, sinks: SinkMask, now: Now, seed: u128) -> Producer {
    let mut producer = queue.producer(Arc::new(|| ()));
    if sinks.is_empty() {
        return producer;
    }
    let record = record(kind, now, seed);
    let entry = Entry { id: record.id, call: AFTER_ALL, sinks, body: codec::encode(&record) };
    let commit = Commit { entries: vec![entry], calls: Vec::new() };
    match producer.append(0, commit) {
        Ok(()) => tracing::warn!(kind = kind.name(), "the servers are told about this gateway's sessions"),
        Err(_) => tracing::error!(kind = kind.name(), "the queue is full: the servers are not told"),
    }
    producer
}

fn record(kind: Kind, now: Now, seed: u128) -> Record {
    Record {
        id: RecordIds::new(seed).next(u64::try_from(now.wall.0 / 1000).unwrap_or(0)),
        kind,
        method: Vec::new(),
        from_tag: Vec::new(),
        to_tag: Vec::new(),
        call_id: Vec::new(),
        cseq: 0,
        code: 0,
        reason: Vec::new(),
        in_dialog: false,
        session: String::new(),
        multi_session: String::new(),
        times: Times { event: now.wall, created: now.wall, ..Times::default() },
        end: None,
        fields: Vec::new(),
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
    }
}
