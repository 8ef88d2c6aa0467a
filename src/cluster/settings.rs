//! What a process must know of its cluster.

use std::time::Duration;

use super::names;
use crate::sinks::jetstream::Access;

/// Checked settings of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The way to the servers.
    pub access: Access,
    /// The name of this process, unique among the gateways and among the deliverers: [`names::is_name`].
    pub name: String,
    /// The stream of the records. Default [`Self::STREAM`].
    pub stream: String,
    /// First part of all subjects, and of the names of the buckets. Default [`Self::PREFIX`].
    pub prefix: String,
    /// Servers that have each message: 1, 3 or 5. Default [`Self::REPLICAS`].
    pub replicas: usize,
    /// Partitions of the records, 1 to 256, the same in all processes and for ever. Default [`Self::PARTITIONS`].
    pub partitions: u16,
    /// How long the stream knows a repeat. Default [`Self::DUPLICATE_WINDOW`].
    pub duplicate_window: Duration,
    /// How long the stream keeps a record, delivered or not. Default [`Self::MAX_AGE`].
    pub max_age: Duration,
    /// How long a process may be silent before others take over what it has. Default [`Self::LEASE`].
    pub lease: Duration,
    /// Whether this process does commands that come by the cluster. Default: no.
    pub commands: bool,
}

impl Settings {
    /// Default of [`Settings::stream`].
    pub const STREAM: &'static str = "TOLLGATE_RECORDS";
    /// Default of [`Settings::prefix`].
    pub const PREFIX: &'static str = "tollgate";
    /// Default of [`Settings::replicas`].
    pub const REPLICAS: usize = 3;
    /// Default of [`Settings::partitions`].
    pub const PARTITIONS: u16 = 16;
    /// Default of [`Settings::duplicate_window`].
    pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(3_600);
    /// Default of [`Settings::max_age`].
    pub const MAX_AGE: Duration = Duration::from_secs(30 * 86_400);
    /// Default of [`Settings::lease`].
    pub const LEASE: Duration = Duration::from_secs(4);

    /// The bucket of leases, progress, parked records and members.
    #[must_use]
    pub fn state(&self) -> names::Bucket {
        names::Bucket::of(&self.prefix, "STATE")
    }

    /// The bucket of the calls in progress.
    #[must_use]
    pub fn calls(&self) -> names::Bucket {
        names::Bucket::of(&self.prefix, "CALLS")
    }
}
