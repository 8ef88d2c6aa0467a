//! The metrics recorder, and the metrics that are read rather than counted: the queue's and the gateway's own.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{Health, Phase};
use crate::clock;
use crate::ledger;
use crate::metric::{Metric, ROUND_TRIP, Shape, TRUTH, metrics_of};
use crate::names;
use crate::queue::{Loss, SinkStats, Stats, Trouble};

metrics_of! { METRICS:
    /// Always 1, by `version`.
    gauge BUILD_INFO = "tollgate_build_info", TRUTH;
    /// When the gateway started, in seconds since 1970.
    gauge START_TIME_SECONDS = "tollgate_start_time_seconds", "seconds";
    /// Whether new calls are served (1) or not (0).
    gauge READY = "tollgate_ready", TRUTH;
    /// Records a sink still has to take, by `sink`.
    gauge QUEUE_WAITING_RECORDS = "tollgate_queue_waiting_records", "records";
    /// Octets of these records, by `sink`.
    gauge QUEUE_WAITING_BYTES = "tollgate_queue_waiting_bytes", "bytes";
    /// Age of the oldest one, by `sink`.
    gauge QUEUE_OLDEST_SECONDS = "tollgate_queue_oldest_seconds", "seconds";
    /// Records that are parked, of earlier processes too, by `sink`.
    gauge QUEUE_PARKED_RECORDS = "tollgate_queue_parked_records", "records";
    /// Records that were appended since the queue knows the sink, by `sink`.
    counter QUEUE_IN_RECORDS_TOTAL = "tollgate_queue_in_records_total", "records";
    /// Records that left, by `sink` and `how` (`delivered`, `dropped`, `superseded`, `lost`); in = out + waiting + parked.
    counter QUEUE_OUT_RECORDS_TOTAL = "tollgate_queue_out_records_total", "records";
    /// Deliveries that were to be repeated, by `sink`.
    counter QUEUE_RETRIES_TOTAL = "tollgate_queue_retries_total", "retries";
    /// Records that wait in memory for the disk to take them.
    gauge QUEUE_UNWRITTEN_RECORDS = "tollgate_queue_unwritten_records", "records";
    /// Records that are lost, since the queue was made, by `reason` (`missing`, `too-long`, `unwritten`).
    counter QUEUE_LOST_RECORDS_TOTAL = "tollgate_queue_lost_records_total", "records";
    /// Commits to disk.
    counter QUEUE_COMMITS_TOTAL = "tollgate_queue_commits_total", "commits";
    /// Commits that failed.
    counter QUEUE_COMMITS_FAILED_TOTAL = "tollgate_queue_commits_failed_total", "commits";
    /// Time of the last commit.
    gauge QUEUE_COMMIT_LAST_SECONDS = "tollgate_queue_commit_last_seconds", "seconds";
    /// The longest commit since the start.
    gauge QUEUE_COMMIT_LONGEST_SECONDS = "tollgate_queue_commit_longest_seconds", "seconds";
    /// Octets of the queue's files.
    gauge QUEUE_DISK_BYTES = "tollgate_queue_disk_bytes", "bytes";
    /// Free octets of their file system.
    gauge QUEUE_FREE_BYTES = "tollgate_queue_free_bytes", "bytes";
    /// Databases that the queue consists of; each holds the records of a while.
    gauge QUEUE_SPOOLS = "tollgate_queue_spools", "spools";
    /// Damaged spools that were set aside and not removed.
    gauge QUEUE_DAMAGED_SPOOLS = "tollgate_queue_damaged_spools", "spools";
    /// Whether the queue is in the alarm state for this `reason` (1) or not (0).
    gauge QUEUE_TROUBLE = "tollgate_queue_trouble", TRUTH;
    /// Rows that the ledger has written.
    counter LEDGER_ROWS_TOTAL = "tollgate_ledger_rows_total", "rows";
    /// Octets of these rows in its files.
    counter LEDGER_BYTES_TOTAL = "tollgate_ledger_bytes_total", "bytes";
    /// Rows that it could not write, and that are missing in an audit.
    counter LEDGER_MISSED_ROWS_TOTAL = "tollgate_ledger_missed_rows_total", "rows";
    /// Whether the ledger cannot be written (1) or can (0).
    gauge LEDGER_FAILING = "tollgate_ledger_failing", TRUTH;
    /// How long its oldest row waits to be written.
    gauge LEDGER_OLDEST_SECONDS = "tollgate_ledger_oldest_seconds", "seconds";
}

/// Pause between two times at which the recorder tidies up.
const UPKEEP_PAUSE: Duration = Duration::from_secs(5);

/// Installs the recorder of this process and tells it what there is; to be done once, before anything counts.
///
/// # Errors
/// When there is one already.
pub fn install(all: impl Iterator<Item = &'static Metric> + Clone) -> Result<PrometheusHandle, BuildError> {
    // With buckets a histogram adds up over gateways; without them the recorder keeps and sorts every value.
    let mut builder = PrometheusBuilder::new().set_buckets(ROUND_TRIP)?;
    for metric in all.clone().filter(|metric| !metric.buckets.is_empty()) {
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)?;
    }
    let handle = builder.install_recorder()?;
    for metric in all {
        let help = help(metric);
        match metric.shape {
            Shape::Counter => describe_counter!(metric.name, help),
            Shape::Gauge => describe_gauge!(metric.name, help),
            Shape::Histogram => describe_histogram!(metric.name, help),
        }
    }
    gauge!(BUILD_INFO, "version" => names::VERSION).set(1.0);
    Ok(handle)
}

/// What Prometheus shows: the names have their unit too, but not all read like it.
fn help(metric: &Metric) -> String {
    format!("{} Unit: {}.", metric.help.trim(), metric.unit)
}

/// What of the ledger is read.
fn record_ledger(ledger: &ledger::Stats) {
    counter!(LEDGER_ROWS_TOTAL).absolute(ledger.rows);
    counter!(LEDGER_BYTES_TOTAL).absolute(ledger.octets);
    counter!(LEDGER_MISSED_ROWS_TOTAL).absolute(ledger.missed);
    gauge!(LEDGER_FAILING).set(f64::from(u8::from(ledger.failing.is_some())));
    gauge!(LEDGER_OLDEST_SECONDS).set(ledger.oldest_age(clock::wall()).as_secs_f64());
}

/// Lets the recorder tidy up for ever: histograms nobody reads would grow.
pub(super) async fn upkeep(handle: PrometheusHandle) {
    let mut pause = tokio::time::interval(UPKEEP_PAUSE);
    loop {
        pause.tick().await;
        handle.run_upkeep();
    }
}

/// Takes down what is read, just before it is shown.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers; 2^53 is enough for each of these")]
pub(super) fn record(health: &Health, stats: &Stats, ledger: Option<&ledger::Stats>) {
    ledger.into_iter().for_each(record_ledger);
    gauge!(START_TIME_SECONDS).set(health.started.0 as f64 / 1e6);
    let is_ready = health.phase == Phase::Running && health.accepts_calls && health.hanging.is_empty();
    gauge!(READY).set(f64::from(u8::from(is_ready)));
    for sink in &stats.sinks {
        record_sink(sink);
    }
    for trouble in Trouble::ALL {
        gauge!(QUEUE_TROUBLE, "reason" => trouble.name()).set(f64::from(u8::from(stats.troubles.has(trouble))));
    }
    gauge!(QUEUE_UNWRITTEN_RECORDS).set(stats.unwritten as f64);
    for (why, count) in Loss::ALL.into_iter().zip(stats.losses.0) {
        counter!(QUEUE_LOST_RECORDS_TOTAL, "reason" => why.name()).absolute(count);
    }
    counter!(QUEUE_COMMITS_TOTAL).absolute(stats.commits);
    counter!(QUEUE_COMMITS_FAILED_TOTAL).absolute(stats.commits_failed);
    gauge!(QUEUE_COMMIT_LAST_SECONDS).set(stats.commit_last.as_secs_f64());
    gauge!(QUEUE_COMMIT_LONGEST_SECONDS).set(stats.commit_longest.as_secs_f64());
    gauge!(QUEUE_DISK_BYTES).set(stats.disk_bytes as f64);
    gauge!(QUEUE_FREE_BYTES).set(stats.free_bytes as f64);
    gauge!(QUEUE_SPOOLS).set(stats.spools as f64);
    gauge!(QUEUE_DAMAGED_SPOOLS).set(stats.damaged as f64);
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn record_sink(sink: &SinkStats) {
    let name = || sink.name.clone();
    let balance = &sink.balance;
    gauge!(QUEUE_WAITING_RECORDS, "sink" => name()).set(balance.waiting as f64);
    gauge!(QUEUE_WAITING_BYTES, "sink" => name()).set(sink.waiting_bytes as f64);
    gauge!(QUEUE_OLDEST_SECONDS, "sink" => name()).set(sink.oldest.as_secs_f64());
    gauge!(QUEUE_PARKED_RECORDS, "sink" => name()).set(sink.parked_now as f64);
    counter!(QUEUE_IN_RECORDS_TOTAL, "sink" => name()).absolute(balance.appended);
    for (how, count) in [
        ("delivered", balance.delivered),
        ("dropped", balance.dropped),
        ("superseded", balance.superseded),
        ("lost", balance.lost),
    ] {
        counter!(QUEUE_OUT_RECORDS_TOTAL, "sink" => name(), "how" => how).absolute(count);
    }
    counter!(QUEUE_RETRIES_TOTAL, "sink" => name()).absolute(sink.retries);
}
