//! How the ledger fares, for metrics and `tollgate status`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;

/// How it fares, since the process began.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Rows that were written.
    pub rows: u64,
    /// Octets of their blocks.
    pub octets: u64,
    /// Rows that were not, and will be missing.
    pub missed: u64,
    /// Why nothing can be written now; `None`: it can.
    pub failing: Option<String>,
    /// When the oldest row came that waits to be written.
    pub oldest: Option<Timestamp>,
}

impl Stats {
    /// How long the oldest row waits.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        self.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self, now: Timestamp) -> Value {
        json!({
            "rows": self.rows, "bytes": self.octets, "missed_rows": self.missed, "failing": self.failing,
            "oldest_s": self.oldest_age(now).as_secs_f64(),
        })
    }
}
