//! `[queue]`, `[ledger]`, `[admin]`, `[trace]`, `[telemetry]`, `[log]` and `[service]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, OneOrMany};
use super::accounting::Switch;
use super::streams::ClientCertificate;
use crate::ledger::OnTrouble as OnLedgerTrouble;
use crate::queue::Gather;
use crate::shard::OnTrouble;
use crate::units::{Count, Mib, Millis, Secs};

/// `[queue]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueTable {
    /// Directory of the queue's files, on a disk that keeps what it acknowledges.
    pub path: Option<At<PathBuf>>,
    /// What the gathering of commits is for: it decides how long the longest wait is.
    pub gather: Option<Gather>,
    /// Longest wait for more records before a commit.
    pub gather_max_ms: Option<Millis<0, 100>>,
    /// Longest a response waits for its record's commit.
    pub commit_wait_max_ms: Option<Millis<10, 10_000>>,
    /// Longest a commit takes before the alarm state begins.
    pub refuse_after_ms: Option<At<Millis<10, 60_000>>>,
    /// What becomes of new calls while records cannot be stored.
    pub on_trouble: Option<OnTrouble>,
    /// Waiting records at which the alarm state begins.
    pub records_max: Option<Count<1_000, 10_000_000_000>>,
    /// Size of the waiting records at which the alarm state begins.
    pub waiting_max_mib: Option<Mib<1, 1_073_741_824>>,
    /// Age of the oldest waiting record at which the alarm state begins; 0: none.
    pub age_max_s: Option<Secs<0, 315_360_000>>,
    /// Free disk space under which the alarm state begins; 0: none.
    pub free_min_mib: Option<Mib<0, 1_073_741_824>>,
    /// Deliveries after which a record is parked; 0: no limit.
    pub attempts_max: Option<Count<0, 4_294_967_295>>,
    /// Age at which a failed delivery parks a record; 0: never.
    pub retry_age_max_s: Option<Secs<0, 315_360_000>>,
    /// File size at which a new spool begins.
    pub spool_mib: Option<Mib<1, 65_536>>,
    /// Spools open at once.
    pub spools_open_max: Option<Count<2, 64>>,
    /// Page cache of each open spool.
    pub cache_mib: Option<Mib<1, 16_384>>,
    /// File kept aside to open the queue on a full disk; 0: none.
    pub reserve_mib: Option<Mib<0, 65_536>>,
    /// Records of one sink held in memory.
    pub window_records_max: Option<Count<1, 65_536>>,
    /// Size of the records of one sink held in memory.
    pub window_mib: Option<Mib<1, 1_024>>,
    /// Commits that may wait for the queue.
    pub commits_waiting_max: Option<Count<16, 1_048_576>>,
}

/// `[ledger]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerTable {
    /// Whether it is kept.
    pub enabled: Option<Switch>,
    /// Its folder.
    pub path: Option<At<PathBuf>>,
    /// Days it is kept.
    pub days: Option<Count<1, 3_660>>,
    /// What becomes of new calls while it cannot be written.
    pub on_trouble: Option<OnLedgerTrouble>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTable {
    /// `ADDRESS:PORT` of HTTP; empty: none.
    pub listen: Option<At<String>>,
    /// Host names by which HTTP may be asked, beside addresses and `localhost`.
    pub hosts: Option<Vec<At<String>>>,
    /// Whether HTTP serves `/api`.
    pub api: Option<Switch>,
    /// File whose first line is the token that `/api` asks for.
    pub token_file: Option<At<PathBuf>>,
    /// Unix socket that answers questions only; empty: none.
    pub status_socket: Option<At<PathBuf>>,
    /// Unix socket of the commands; empty: none.
    pub socket: Option<At<PathBuf>>,
    /// Whether the group may use the socket.
    pub socket_group: Option<Switch>,
    /// `[admin.tls]`
    pub tls: AdminTlsTable,
}

/// `[admin.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTlsTable {
    /// PEM file of the chain, the own certificate first; empty: HTTP goes without TLS.
    pub certificate: Option<At<PathBuf>>,
    /// PEM file of its key.
    pub key: Option<At<PathBuf>>,
    /// Whether clients show a certificate.
    pub client_certificate: Option<At<ClientCertificate>>,
    /// PEM file of the authorities that sign client certificates.
    pub client_ca: Option<At<PathBuf>>,
}

/// `[trace]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceTable {
    /// The last calls whose messages are kept.
    pub calls: Option<Count<0, 100_000>>,
    /// User part of From or of the Request-URI.
    pub user: Option<OneOrMany<At<String>>>,
    /// User part of From.
    pub from: Option<OneOrMany<At<String>>>,
    /// User part of the Request-URI.
    pub to: Option<OneOrMany<At<String>>>,
    /// Blocks of addresses that the INVITE came from.
    pub source: Option<OneOrMany<At<String>>>,
    /// Call-ID.
    pub call_id: Option<OneOrMany<At<String>>>,
}

/// `[telemetry]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryTable {
    /// The collector's URL for traces.
    pub endpoint: Option<At<String>>,
    /// Of so many calls one has a trace.
    pub one_in: Option<Count<1, 1_000_000>>,
    /// The name of this gateway among others.
    pub instance: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogTable {
    /// Where the log goes: the journal or standard error.
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
    /// Whether memory comes in huge pages.
    pub huge_pages: Option<Switch>,
}
