//! What is counted and shown of the servers of a sink, by tables: one row for status and metrics.

use std::cell::Cell;
use std::sync::Arc;

use metrics::{Counter, Gauge, Label};

/// A count: its name in the status; its metric, empty for none, with a label and its value if several share the metric;
/// and where it stands in the status `S` of a server.
pub(super) type Count<S> = (&'static str, &'static str, Option<(&'static str, &'static str)>, Read<S, u64>);

/// A gauge: its metric, and its value.
pub(super) type Shown<S> = (&'static str, Read<S, f64>);

/// Reads a number from the status of a server.
type Read<S, T> = fn(&S) -> T;

/// The counts of a server by their names in the status.
pub(super) fn counts<S>(table: &[Count<S>], status: &S) -> Vec<(&'static str, u64)> {
    table.iter().map(|(name, .., count)| (*name, count(status))).collect()
}

/// Counters and gauges of one server.
pub(super) struct ServerMeters<S> {
    counters: Vec<(Tally, Read<S, u64>)>,
    gauges: Vec<(Gauge, Read<S, f64>)>,
}

impl<S> ServerMeters<S> {
    /// Those of the server that a label names.
    pub fn new(sink: &Arc<str>, server: (&'static str, &str), counts: &[Count<S>], shown: &[Shown<S>]) -> Self {
        let labels = [Label::new("sink", Arc::clone(sink)), Label::new(server.0, server.1.to_owned())];
        let counters = counts.iter().filter(|(_, metric, ..)| !metric.is_empty()).map(|(_, metric, split, count)| {
            let split = split.map(|(label, value)| Label::new(label, value));
            let labels: Vec<_> = labels.iter().cloned().chain(split).collect();
            (Tally::new(metrics::counter!(*metric, labels)), *count)
        });
        let counters = counters.collect();
        let gauges = shown.iter().map(|(metric, value)| (metrics::gauge!(*metric, labels.to_vec()), *value)).collect();
        Self { counters, gauges }
    }

    /// Brings all up to date.
    pub fn report(&self, status: &S) {
        self.counters.iter().for_each(|(counter, count)| counter.follow(count(status)));
        self.gauges.iter().for_each(|(gauge, value)| gauge.set(value(status)));
    }
}

/// A server that is used no more has no requests and is not alive; if it goes on under other settings, these say so soon.
impl<S> Drop for ServerMeters<S> {
    fn drop(&mut self) {
        self.gauges.iter().for_each(|(gauge, _)| gauge.set(0.0));
    }
}

/// A counter that follows what one sink counts from zero: the next sink of its name goes on from there.
struct Tally {
    counter: Counter,
    told: Cell<u64>,
}

impl Tally {
    fn new(counter: Counter) -> Self {
        Self { counter, told: Cell::new(0) }
    }

    /// Brings the counter up to what is counted so far.
    fn follow(&self, count: u64) {
        let told = self.told.get();
        if count > told {
            self.told.set(count);
            self.counter.increment(count - told);
        }
    }
}
