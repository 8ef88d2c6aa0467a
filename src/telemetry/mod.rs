//! The trace of each call for OpenTelemetry: what it has waited for, as spans that a collector takes by OTLP over HTTP.
//!
//! A trace is a call, with all that came of one INVITE. Its spans are the INVITE, the call itself, the commit of each record,
//! and each try to deliver it. They are made of what the ledger is told, on its thread, and leave by a thread of their
//! own: no call and no record waits for the collector, and what it does not take is counted and gone.

mod export;
mod otlp;
mod spans;
#[cfg(test)]
mod tests;

use reqwest::Url;

use crate::metric::metrics_of;
use crate::queue::witness::Turn;

pub use export::{BATCH_MAX, SPANS_MAX, start};
use spans::{Span, Spans};

metrics_of! { METRICS:
    /// Spans made for the collector, by `outcome` (`sent`, `lost`).
    counter SPANS_TOTAL = "tollgate_telemetry_spans_total", "spans";
}

/// Where the spans go, and of which calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The collector's URL for traces; `http` only.
    pub endpoint: Url,
    /// Of so many calls one has a trace.
    pub one_in: u64,
    /// The name of this gateway among others.
    pub instance: String,
}

/// Makes spans of what the ledger is told, and hands them to the thread that sends them.
#[derive(Debug)]
pub struct Tracer {
    spans: Spans,
    made: Vec<Span>,
    out: tokio::sync::mpsc::Sender<Span>,
}

impl Tracer {
    /// Takes in what happened in a turn of the queue.
    pub fn take(&mut self, turn: &Turn) {
        self.spans.take(turn, &mut self.made);
        let mut lost = 0;
        for span in self.made.drain(..) {
            lost += u64::from(self.out.try_send(span).is_err());
        }
        export::count("lost", lost);
    }
}
