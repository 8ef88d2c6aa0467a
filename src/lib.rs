//! Tollgate, an accounting gateway for SIP.
//!
//! It stands in the SIP path as a transaction-stateful, record-routing proxy, turns what passes into accounting
//! records, commits each record to a durable queue before the answer leaves, and delivers it from there.
//!
//! Modules import only from layers below their own; `tests/sources/tidy.rs` holds the table.

#![deny(missing_docs, unsafe_code)]

// Layer 0: no imports from the crate.
pub mod clock;
pub mod ids;
pub mod names;
pub mod timers;
pub mod units;

// Layer 1: what a record is, and its bytes on disk.
pub mod record;

// Layer 2: parse and print (and `sip::message`).
pub mod dictionary;

// Layer 3: sled behind append, lease and settle.
pub mod queue;

// Layer 4: protocol machines without sockets.
pub mod diameter;
pub mod radius;
pub mod sip;

// Layer 5: what is to be recorded, and one shard's whole logic.
pub mod accounting;
pub mod policy;
pub mod shard;
pub mod vars;

// Layer 6: shells with sockets, logs and metrics.
pub mod admin;
pub mod front;
pub mod sinks;

// Layer 7: the service and its commands.
pub mod cli;
pub mod config;
pub mod service;
