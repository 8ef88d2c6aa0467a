//! `[queue]`, `[admin]`, `[log]` and `[service]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::At;
use super::accounting::Switch;
use crate::units::{ByteSize, Count, Millis, Secs};

/// `[queue]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueTable {
    /// Directory.
    pub path: Option<At<PathBuf>>,
    /// Longest wait for more records before a commit.
    pub gather_max_ms: Option<Millis<0, 1_000>>,
    /// Longest an answer waits for its record's commit.
    pub commit_wait_max_ms: Option<Millis<10, 30_000>>,
    /// What becomes of new calls while records cannot be stored.
    pub on_trouble: Option<OnTrouble>,
    /// Records that may wait.
    pub records_max: Option<Count<1_000, 10_000_000_000>>,
    /// Octets of records that may wait.
    pub bytes_max: Option<ByteSize<1_048_576, 1_125_899_906_842_624>>,
    /// Age at which a record is parked.
    pub age_max_s: Option<Secs<0, 315_360_000>>,
    /// Attempts after which a record is parked; 0: no limit.
    pub attempts_max: Option<Count<0, 4_294_967_295>>,
    /// Disk space left free.
    pub free_min: Option<ByteSize<0, 1_125_899_906_842_624>>,
    /// Size at which a new spool begins.
    pub spool_size: Option<ByteSize<1_048_576, 68_719_476_736>>,
    /// Memory sled may use for each spool.
    pub cache: Option<ByteSize<1_048_576, 17_179_869_184>>,
}

/// What becomes of new calls in the alarm state.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnTrouble {
    /// They get 503.
    Refuse,
    /// They are served; their records may be lost.
    Serve,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTable {
    /// `ADDRESS:PORT` of HTTP; empty: none.
    pub listen: Option<At<String>>,
    /// Unix socket of the commands; empty: none.
    pub socket: Option<At<PathBuf>>,
    /// Whether the group may use the socket.
    pub socket_group: Option<Switch>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogTable {
    /// Where to.
    pub target: Option<LogTarget>,
    /// Least level, or levels by module.
    pub level: Option<At<String>>,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// To standard error, as lines.
    #[default]
    Stderr,
    /// To the journal of systemd, with fields.
    Journald,
}

/// `[service]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTable {
    /// Longest wait for transactions to end when the service stops.
    pub stop_timeout_s: Option<Secs<0, 600>>,
    /// Whether the watchdog of systemd is fed.
    pub watchdog: Option<Switch>,
}
