//! `[sinks.redis.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::record::LegOrder;
use crate::sinks::event::{Envelope, Legs};
use crate::sinks::mapping::{Round, Unmapped};
use crate::units::{Count, Millis, Secs};

/// Entries that a stream may be told to keep at most.
const LENGTH_MAX: u64 = 1_000_000_000_000;

/// `[sinks.redis.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTable {
    /// Where the server is; required.
    pub url: Option<At<String>>,
    /// Name by which the server knows us.
    pub user: Option<At<String>>,
    /// File with the password of that.
    pub password_file: Option<At<PathBuf>>,
    /// Template of the stream's key.
    pub stream: Option<At<String>>,
    /// Whether a stream that is not there is made.
    pub make_streams: Option<Switch>,
    /// About how many entries a stream keeps.
    pub length_max: Option<Count<0, LENGTH_MAX>>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// What stands around the values.
    pub envelope: Option<Envelope>,
    /// Whose events.
    pub profile: Option<At<String>>,
    /// Fields: name to name in the event.
    pub fields: Ordered<At<String>>,
    /// Fields of legs: name to name in the event.
    pub leg_fields: Ordered<At<String>>,
    /// Fields without a name of their own.
    pub unmapped: Option<Unmapped>,
    /// How several legs are written.
    pub legs: Option<Legs>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Who sends the events.
    pub source: Option<At<String>>,
    /// Records that wait for their acknowledgement at most.
    pub window: Option<Count<1, 1_024>>,
    /// Longest wait for acknowledgements.
    pub timeout_ms: Option<Millis<100, 600_000>>,
    /// First wait before records are tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest such wait.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Whose certificate the server has to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to it.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether the server's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl RedisTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.redis",
        live: &[
            "url",
            "user",
            "password_file",
            "stream",
            "make_streams",
            "length_max",
            "envelope",
            "profile",
            "fields",
            "leg_fields",
            "unmapped",
            "legs",
            "leg_order",
            "round",
            "source",
            "window",
            "timeout_ms",
            "retry_first_ms",
            "retry_max_s",
            "ca",
            "certificate",
            "key",
            "verify_host",
        ],
        // A call that has a Start must get its Stop.
        restart: &["records"],
    };
}

#[cfg(test)]
impl RedisTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "url = \"redis://127.0.0.1:6380/1\"",
        "stream = \"billing:{kind}\"",
        "profile = \"opensips\"",
        "fields = { src_ip = \"ip\" }",
        "leg_fields = { src = \"from\" }",
        "source = \"/gw2\"",
    ];
}
