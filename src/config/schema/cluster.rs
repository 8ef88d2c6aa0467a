//! `[cluster]`: more than one machine.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::At;
use super::accounting::Switch;
use crate::units::{Count, Millis, Secs};

/// `[cluster]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterTable {
    /// URLs of servers; required.
    pub nats: Option<Vec<At<String>>>,
    /// Name of this process.
    pub name: Option<At<String>>,
    /// Name by which the servers know us.
    pub user: Option<At<String>>,
    /// File with the password of that.
    pub password_file: Option<At<PathBuf>>,
    /// File with a token instead.
    pub token_file: Option<At<PathBuf>>,
    /// File with the seed of an nkey instead.
    pub nkey_file: Option<At<PathBuf>>,
    /// File of credentials instead.
    pub credentials_file: Option<At<PathBuf>>,
    /// Whose certificate the servers have to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to them.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether a server's name is compared with its certificate.
    pub verify_host: Option<Switch>,
    /// The stream of the records.
    pub stream: Option<At<String>>,
    /// First part of all subjects, and of the names of the buckets.
    pub prefix: Option<At<String>>,
    /// Servers that have each message.
    pub replicas: Option<At<Count<1, 5>>>,
    /// Partitions of the records.
    pub partitions: Option<Count<1, 256>>,
    /// How long the stream knows a repeat.
    pub duplicate_window_s: Option<At<Secs<10, 604_800>>>,
    /// How long the stream keeps a record.
    pub max_age_days: Option<Count<1, 3_650>>,
    /// How long a process may be silent.
    pub lease_ms: Option<Millis<1_000, 60_000>>,
    /// Whether commands come in by the cluster.
    pub commands: Option<Switch>,
}
