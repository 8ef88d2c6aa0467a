//! Records as messages of Kafka topics, in builds with the feature `kafka`.
//!
//! A message has the id of its record as the header `id`, and a key by which Kafka chooses its partition: by default the
//! session, so that its records keep their order in one partition. It is delivered when its partition's leader has it and all
//! in-sync replicas have it (`acks=all`); how many these are at least says `min.insync.replicas`.
//!
//! The producer is idempotent: what it sends again by itself, because a leader moved or a connection broke, is stored once.
//! What it gives up after [`Settings::timeout`] goes again as a message of its own under the same `id`, and may be there
//! twice: its consumers have to know it by that.
//!
//! librdkafka does the work on threads of its own. `producer` tells it what it has to know, `link` hands messages over and
//! waits for what becomes of them, `verdict` says what an error means, `look` asks for a topic.

#[cfg(feature = "kafka")]
mod kind;
#[cfg(feature = "kafka")]
pub mod link;
#[cfg(feature = "kafka")]
mod look;
#[cfg(feature = "kafka")]
mod producer;
#[cfg(feature = "kafka")]
mod verdict;

use std::time::Duration;

use serde::Deserialize;

use super::attempt;
use super::event::Body;
use super::event::name::{Alphabet, Template};
use super::secret::Secret;
use crate::net::tls::{ClientFiles, ClientTls};
use crate::record::Record;

/// Checked settings of a Kafka sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Brokers that are asked for the others, HOST:PORT, at least one.
    pub brokers: Vec<String>,
    /// TLS: its files, and what they had in them; `None`: without.
    pub tls: Option<(ClientFiles, ClientTls)>,
    /// Who we are.
    pub login: Option<Login>,
    /// The topic.
    pub topic: Template,
    /// Whether a broker is asked to make a topic that is not there.
    pub makes_topics: bool,
    /// What chooses the partition.
    pub key: Key,
    /// What messages say.
    pub body: Body,
    /// Longest wait for an acknowledgement, all that the client tries by itself included. Default [`TIMEOUT`].
    pub timeout: Duration,
    /// How batches are made and repeated.
    pub delivery: attempt::Settings,
}

/// How the brokers know us: SASL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// Our name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Mechanisms of SASL.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A proof of it with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A proof of it with SHA-512.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// What chooses the partition of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Key {
    /// The session, or the Call-ID of what has none.
    #[default]
    Session,
    /// Messages have no key, and go to any.
    None,
    /// What this gives.
    Of(Template),
}

impl Key {
    /// The key of a record.
    #[must_use]
    pub fn of(&self, record: &Record) -> Option<Vec<u8>> {
        match self {
            Self::Session if record.session.is_empty() => Some(record.call_id.clone()),
            Self::Session => Some(record.session.clone().into_bytes()),
            Self::None => None,
            Self::Of(template) => Some(template.fill(record, KEYS).into_bytes()),
        }
        .filter(|key| !key.is_empty())
    }
}

impl Settings {
    /// The topic of a record.
    #[must_use]
    pub fn topic(&self, record: &Record) -> String {
        // No topic can have the sign of an escape; as no value keeps its `_`, two of them still never meet.
        self.topic.fill(record, VALUES).replace('%', "_")
    }
}

/// Default of the longest wait for an acknowledgement: the brokers choose a new leader in less.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Records that wait for their acknowledgement by default.
pub const WINDOW: usize = 256;

/// What topics take.
pub const TOPICS: Alphabet =
    Alphabet { takes: |octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet), ..VALUES };

/// What topics take of a value.
const VALUES: Alphabet =
    Alphabet { takes: |octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet), octets_max: 249 };

/// What keys take of a value.
pub const KEYS: Alphabet = Alphabet { takes: |_| true, octets_max: 1_000 };

/// What an attempt may take: the client's own time for all of a batch, the same for what goes again alone, and a last such
/// message.
#[must_use]
pub fn attempt_time_max(timeout: Duration) -> Duration {
    timeout.saturating_mul(3).saturating_add(Duration::from_secs(5))
}
