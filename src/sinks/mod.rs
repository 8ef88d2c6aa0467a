//! Delivery to backends: what a sink is, and one worker loop for all of them.
//!
//! A worker leases records from the queue, hands them to its [`Sink`] and settles what became of them. Sinks run on one
//! tokio `current_thread` runtime, without a task for each record; a sink that does not answer only lets the queue grow.
//! What the rest of the program knows of a kind of sink is [`kind`].
//!
//! What a record says, and under which names, is the same for every kind of sink: [`profile`] has them as tables,
//! and [`mapping`] takes the values of [`record::core`](crate::record::core) and the fields to the places that a kind has.

mod acknowledged;
pub mod amqp;
pub mod attempt;
pub mod diameter;
pub mod event;
pub mod file;
pub mod jetstream;
pub mod kafka;
pub(crate) mod kind;
pub mod mapping;
mod meters;
pub mod nats;
pub mod profile;
pub mod radius;
pub mod redis;
pub mod secret;
pub mod sql;
pub mod syslog;
#[cfg(test)]
mod tests;
pub(crate) mod trial;
pub mod view;
pub mod webhook;
pub mod worker;

use std::future::Future;
use std::sync::Arc;

use crate::ids::Seq;
use crate::metric::{Metric, metrics_of};
use crate::queue::{Acknowledger, Lease, Settlement};
use crate::record::Record;

pub use worker::{Leases, Worker};

/// A backend that takes records.
///
/// Each submitted record ends in exactly one [`Outcome`]; one that is to be retried may be found delivered after all, and
/// then has a second one that says so.
pub trait Sink {
    /// Its kind as it stands in the configuration, such as `radius`.
    const KIND: &'static str;

    /// How many records more it would take now.
    fn capacity(&mut self) -> usize;

    /// Takes a record. One above the capacity may come back at once as an outcome to be retried.
    fn submit(&mut self, lease: &Lease, record: &Record);

    /// The submissions of a turn have ended: what is sent in batches can go.
    fn submitted(&mut self) {}

    /// Works until there is an outcome or [`Sink::capacity`] may have grown, and appends the outcomes.
    ///
    /// The future may be dropped at any await without losing an outcome.
    fn progress(&mut self, out: &mut Vec<Outcome>) -> impl Future<Output = ()>;

    /// Who acknowledged a record that has just ended as delivered, where that is known; asked once.
    fn acknowledger(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        let _of_any = seq;
        None
    }

    /// Says goodbye to the backend when the service stops, and appends what ended meanwhile. Takes some seconds at most.
    fn close(&mut self, out: &mut Vec<Outcome>) -> impl Future<Output = ()> {
        let _nothing_ended = out;
        std::future::ready(())
    }
}

/// What became of a submitted record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Place of the record in the queue, by which it is settled.
    pub seq: Seq,
    /// What became of it.
    pub settlement: Settlement,
}

metrics_of! { METRICS:
    /// Delivery attempts that ended, by `sink` and `outcome` (`delivered`, `retry`, `parked`).
    counter SINK_ATTEMPTS_TOTAL = "tollgate_sink_attempts_total", "attempts";
    /// Records the sink has and has not settled, by `sink`.
    gauge SINK_IN_FLIGHT_RECORDS = "tollgate_sink_in_flight_records", "records";
    /// Age of a record when its backend had acknowledged it, by `sink`.
    histogram SINK_DELIVERY_DELAY_SECONDS = "tollgate_sink_delivery_delay_seconds", "seconds", WAITING;
    /// Records that could not be read and were parked, by `sink`.
    counter SINK_UNREADABLE_RECORDS_TOTAL = "tollgate_sink_unreadable_records_total", "records";
}

/// What the sinks of all kinds count.
pub const METRICS_OF_ALL: &[&[Metric]] = &[METRICS, attempt::METRICS, diameter::METRICS, radius::METRICS, sql::METRICS];
