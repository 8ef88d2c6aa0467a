//! Settings of the queue.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Settings of the queue, already validated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Directory of the queue. Default `/var/lib/tollgate/queue`.
    pub path: PathBuf,
    /// The longest wait for further records before a commit, from the first on, reached under load; under low load it is
    /// 1 ms. 0 commits at once. Default [`Gather::Latency`]'s, from 0 to 100 ms: a commit costs the same however many
    /// records it holds.
    pub gather_max: Duration,
    /// A commit that takes longer is told. Default 500 ms, from 10 to 10 000.
    pub commit_wait_max: Duration,
    /// A commit that takes longer raises the alarm state until one is quicker. Default 3 s, from 10 ms to 60 s.
    pub refuse_after: Duration,
    /// Records waiting for any sink at which the alarm state begins, less one for each call in progress, half of it at
    /// most. Default 10 000 000, at least 1 000.
    pub records_max: u64,
    /// Octets of waiting records at which the alarm state begins, less 4 KiB for each call in progress, half of it at
    /// most. Default 8 GiB, at least 1 MiB.
    pub bytes_max: u64,
    /// Age of the oldest waiting record at which the alarm state begins; zero for none. Default 7 days.
    pub age_max: Duration,
    /// Free octets of the file system under which the alarm state begins, so that there is room for the ends of calls.
    /// It also begins when the ends of the calls in progress, 4 KiB each, do not fit into what is free and the reserve.
    /// Default 2 GiB.
    pub free_min: u64,
    /// File size at which a new spool begins. Default 1 GiB, at least 1 MiB.
    pub spool_bytes: u64,
    /// Spools open at once, the active one included. Default 4, at least 2.
    pub spools_open_max: usize,
    /// Page cache of each open spool in octets. Default 16 MiB.
    pub cache_bytes: u64,
    /// Octets of the journal at which the database gets what is in it. Default and at most 8 MiB.
    pub journal_bytes: u64,
    /// File kept aside for the ends of calls on a full disk and for opening the queue there, in octets; it grows with
    /// the calls in progress, 4 KiB each. Default 64 MiB; 0 for none.
    pub reserve_bytes: u64,
    /// Deliveries of one record after which it is parked; 0 for no limit. Counted since the start of the process.
    /// Default 0.
    pub attempts_max: u32,
    /// Age of a record at which a failed delivery parks it; zero for never. Default zero.
    pub retry_age_max: Duration,
    /// Records of the backlog a sink's window holds in memory, and half as many fresh ones. Default 4 096.
    pub window_records: usize,
    /// Octets of the backlog a sink's window holds in memory, and half as many of fresh records. Default 8 MiB.
    pub window_bytes: usize,
    /// Names of the sinks for which an Interim record that waits is settled as superseded when a newer Interim or the
    /// Stop of its session is appended (RFC 2869 §2.1). Default: none.
    pub collapsing: Vec<String>,
    /// What the alarm state does to new calls, in words, for the operator. Default: nothing is said.
    pub alarm_effect: String,
    /// Commits all producers together may have waiting; more are refused. Default 16 384.
    pub commits_waiting_max: usize,
    /// How long a stop goes on trying to write what the disk does not take. Default 10 s.
    pub stop_wait: Duration,
}

/// What the gathering of commits is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Gather {
    /// Responses that leave soon.
    #[default]
    Latency,
    /// Few commits.
    Cpu,
}

impl Gather {
    /// The longest wait before a commit.
    #[must_use]
    pub const fn longest(self) -> Duration {
        match self {
            Self::Latency => Duration::from_millis(5),
            Self::Cpu => Duration::from_millis(20),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/tollgate/queue"),
            gather_max: Gather::default().longest(),
            commit_wait_max: Duration::from_millis(500),
            refuse_after: Duration::from_secs(3),
            records_max: 10_000_000,
            bytes_max: 8 << 30,
            age_max: Duration::from_secs(7 * 86_400),
            free_min: 2 << 30,
            spool_bytes: 1 << 30,
            spools_open_max: 4,
            cache_bytes: 16 << 20,
            journal_bytes: super::journal::BYTES_MAX,
            reserve_bytes: 64 << 20,
            attempts_max: 0,
            retry_age_max: Duration::ZERO,
            window_records: 4_096,
            window_bytes: 8 << 20,
            collapsing: Vec::new(),
            alarm_effect: String::new(),
            commits_waiting_max: 16_384,
            stop_wait: Duration::from_secs(10),
        }
    }
}
