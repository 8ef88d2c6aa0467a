//! `[sinks.webhook.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::record::LegOrder;
use crate::sinks::event::{Envelope, Legs};
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::webhook::{BATCH_MAX, Batch, WINDOW_MAX};
use crate::units::{Count, Millis, Secs};

/// `[sinks.webhook.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookTable {
    /// Where events go; required.
    pub url: Option<At<String>>,
    /// Name by which the receiver knows us.
    pub user: Option<At<String>>,
    /// File with the password of that.
    pub password_file: Option<At<PathBuf>>,
    /// File with a token instead.
    pub token_file: Option<At<PathBuf>>,
    /// File with the key of signatures.
    pub signing_key_file: Option<At<PathBuf>>,
    /// How many events a request has.
    pub batch: Option<Batch>,
    /// Records in an array at most.
    pub batch_max: Option<At<Count<1, BATCH_MAX>>>,
    /// Requests under way at once at most.
    pub window: Option<At<Count<1, WINDOW_MAX>>>,
    /// Media type of an acknowledgement.
    pub expect_type: Option<At<String>>,
    /// Text in the body of one.
    pub expect_text: Option<At<String>>,
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
    /// Longest wait for an answer.
    pub timeout_ms: Option<Millis<100, 600_000>>,
    /// First wait before records are tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest such wait.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Longest wait that the receiver may ask for.
    pub retry_after_max_s: Option<Secs<1, 86_400>>,
    /// Whose certificate the receiver has to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to it.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether the receiver's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl WebhookTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.webhook",
        live: &[
            "url",
            "user",
            "password_file",
            "token_file",
            "signing_key_file",
            "batch",
            "batch_max",
            "window",
            "expect_type",
            "expect_text",
            "envelope",
            "profile",
            "fields",
            "leg_fields",
            "unmapped",
            "legs",
            "leg_order",
            "round",
            "source",
            "timeout_ms",
            "retry_first_ms",
            "retry_max_s",
            "retry_after_max_s",
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
impl WebhookTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "url = \"http://127.0.0.1:8081/other\"",
        "expect_type = \"application/json\"",
        "expect_text = \"ok\"",
        "profile = \"opensips\"",
        "fields = { src_ip = \"ip\" }",
        "leg_fields = { src = \"from\" }",
        "source = \"/gw2\"",
    ];
}
