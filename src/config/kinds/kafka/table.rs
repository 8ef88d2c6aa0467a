//! `[sinks.kafka.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::record::LegOrder;
use crate::sinks::event::{Envelope, Legs};
use crate::sinks::kafka::Mechanism;
use crate::sinks::mapping::{Round, Unmapped};
use crate::units::{Count, Millis, Secs};

/// `[sinks.kafka.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaTable {
    /// Brokers that are asked for the others; required.
    pub brokers: Option<Vec<At<String>>>,
    /// Name by which the brokers know us.
    pub user: Option<At<String>>,
    /// File with the password of that.
    pub password_file: Option<At<PathBuf>>,
    /// How the password is proved.
    pub mechanism: Option<Mechanism>,
    /// Template of the topic.
    pub topic: Option<At<String>>,
    /// Whether a topic that is not there is made.
    pub make_topics: Option<Switch>,
    /// Template of the key; empty: none.
    pub message_key: Option<At<String>>,
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
    /// Longest wait for an acknowledgement.
    pub timeout_ms: Option<Millis<1_000, 600_000>>,
    /// First wait before records are tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest such wait.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Whether there is TLS.
    pub tls: Option<Switch>,
    /// Whose certificate the brokers have to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to them.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether a broker's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl KafkaTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.kafka",
        live: &[
            "brokers",
            "user",
            "password_file",
            "mechanism",
            "topic",
            "make_topics",
            "message_key",
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
            "tls",
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
impl KafkaTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "brokers = [\"127.0.0.1:9093\"]",
        "topic = \"billing\"",
        "message_key = \"{call_id}\"",
        "profile = \"opensips\"",
        "fields = { src_ip = \"ip\" }",
        "leg_fields = { src = \"from\" }",
        "source = \"/gw2\"",
    ];
}
