//! `[sinks.amqp.NAME]`

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

/// `[sinks.amqp.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpTable {
    /// Where the broker is; required.
    pub url: Option<At<String>>,
    /// Name by which the broker knows us.
    pub user: Option<At<String>>,
    /// File with the password of that.
    pub password_file: Option<At<PathBuf>>,
    /// Template of the exchange.
    pub exchange: Option<At<String>>,
    /// Template of the routing key.
    pub routing_key: Option<At<String>>,
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
    /// Messages that wait for their confirm at most.
    pub window: Option<Count<1, 1_024>>,
    /// Longest wait for confirms.
    pub timeout_ms: Option<Millis<100, 600_000>>,
    /// First wait before records are tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest such wait.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Whose certificate the broker has to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to it.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether the broker's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl AmqpTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.amqp",
        live: &[
            "url",
            "user",
            "password_file",
            "exchange",
            "routing_key",
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
impl AmqpTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "url = \"amqp://127.0.0.1:5673/acc\"",
        "exchange = \"billing\"",
        "routing_key = \"billing.{kind}\"",
        "profile = \"opensips\"",
        "fields = { src_ip = \"ip\" }",
        "leg_fields = { src = \"from\" }",
        "source = \"/gw2\"",
    ];
}
