//! Tests of the accounting engine.

mod bench;
mod calls;
mod codec;
mod facts;
mod failures;
mod fields;
mod findings;
mod manual;
mod numbers;
mod passport;
mod promises;
mod restart;

use std::time::Duration;

use super::{Settings, SinkMode};

/// Sessions on sink 0, transactions on sink 1, one record at the end on sink 2.
fn settings() -> Settings {
    Settings {
        sinks: vec![SinkMode::Sessions, SinkMode::Transactions, SinkMode::Cdr],
        boot_id: "boot".into(),
        interim_jitter_percent: 0,
        // Most rows say nothing of the ACK.
        ack_wait: secs(1_000_000),
        ..Settings::default()
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
