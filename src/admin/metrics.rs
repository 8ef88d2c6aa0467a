//! The metrics recorder, and the metrics that are read rather than counted: the queue's and the gateway's own.

use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::{Health, Phase};
use crate::names;
use crate::queue::{Loss, SinkStats, Stats, Trouble};

/// Always 1, by `version`.
pub const BUILD_INFO: &str = "tollgate_build_info";
/// When the gateway started, in seconds since 1970.
pub const START_TIME_SECONDS: &str = "tollgate_start_time_seconds";
/// Whether new calls are served (1) or not (0).
pub const READY: &str = "tollgate_ready";
/// Records a sink still has to take, by `sink`.
pub const QUEUE_WAITING_RECORDS: &str = "tollgate_queue_waiting_records";
/// Octets of these records, by `sink`.
pub const QUEUE_WAITING_BYTES: &str = "tollgate_queue_waiting_bytes";
/// Age of the oldest one, by `sink`.
pub const QUEUE_OLDEST_SECONDS: &str = "tollgate_queue_oldest_seconds";
/// Records that are parked, of earlier processes too, by `sink`.
pub const QUEUE_PARKED_RECORDS: &str = "tollgate_queue_parked_records";
/// Records that were appended since the queue knows the sink, by `sink`.
pub const QUEUE_IN_RECORDS_TOTAL: &str = "tollgate_queue_in_records_total";
/// Records that left, by `sink` and `how` (`delivered`, `dropped`, `superseded`, `lost`); in = out + waiting + parked.
pub const QUEUE_OUT_RECORDS_TOTAL: &str = "tollgate_queue_out_records_total";
/// Deliveries that were to be repeated, by `sink`.
pub const QUEUE_RETRIES_TOTAL: &str = "tollgate_queue_retries_total";
/// Records that wait in memory for the disk to take them.
pub const QUEUE_UNWRITTEN_RECORDS: &str = "tollgate_queue_unwritten_records";
/// Records that are lost, since the queue was made, by `reason` (`missing`, `too-long`, `unwritten`).
pub const QUEUE_LOST_RECORDS_TOTAL: &str = "tollgate_queue_lost_records_total";
/// Commits to disk.
pub const QUEUE_COMMITS_TOTAL: &str = "tollgate_queue_commits_total";
/// Commits that failed.
pub const QUEUE_COMMITS_FAILED_TOTAL: &str = "tollgate_queue_commits_failed_total";
/// Time of the last commit.
pub const QUEUE_COMMIT_LAST_SECONDS: &str = "tollgate_queue_commit_last_seconds";
/// The longest commit since the start.
pub const QUEUE_COMMIT_LONGEST_SECONDS: &str = "tollgate_queue_commit_longest_seconds";
/// Octets of the queue's files.
pub const QUEUE_DISK_BYTES: &str = "tollgate_queue_disk_bytes";
/// Free octets of their file system.
pub const QUEUE_FREE_BYTES: &str = "tollgate_queue_free_bytes";
/// Spools.
pub const QUEUE_SPOOLS: &str = "tollgate_queue_spools";
/// Damaged spools that were set aside and not removed.
pub const QUEUE_DAMAGED_SPOOLS: &str = "tollgate_queue_damaged_spools";
/// Whether the queue is in the alarm state for this `reason` (1) or not (0).
pub const QUEUE_TROUBLE: &str = "tollgate_queue_trouble";

/// Pause between two times at which the recorder tidies up.
const UPKEEP_PAUSE: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of every histogram, in seconds: all of them count round trips.
const BUCKETS_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Installs the recorder of this process; to be done once, before anything counts.
///
/// # Errors
/// When there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    // With buckets a histogram adds up over gateways; without them the recorder keeps and sorts every value.
    let handle = PrometheusBuilder::new().set_buckets(BUCKETS_SECONDS)?.install_recorder()?;
    gauge!(BUILD_INFO, "version" => names::VERSION).set(1.0);
    Ok(handle)
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
pub(super) fn record(health: &Health, stats: &Stats) {
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
