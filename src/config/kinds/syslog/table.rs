//! `[sinks.syslog.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::record::LegOrder;
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::profile::From;
use crate::sinks::syslog::frame::Format;
use crate::sinks::syslog::line::Escape;
use crate::units::Count;

/// `[sinks.syslog.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogTable {
    /// The receiver.
    pub to: Option<At<String>>,
    /// The header of lines.
    pub format: Option<Format>,
    /// Whose lines.
    pub profile: Option<At<String>>,
    /// Values of a line by letters, as of SER.
    pub log_fmt: Option<At<String>>,
    /// Further forms of the time in a line, as of Kamailio.
    pub time_mode: Option<At<Count<0, 4>>>,
    /// How an instant becomes a text there.
    pub time_format: Option<At<String>>,
    /// When a whole call begins.
    pub cdr_start: Option<From>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// Fields: name to label.
    pub fields: Ordered<At<String>>,
    /// Fields of legs: name to label.
    pub leg_fields: Ordered<At<String>>,
    /// Fields without a label of their own.
    pub unmapped: Option<Unmapped>,
    /// How special characters are written.
    pub escape: Option<Escape>,
    /// Label of the record id behind all values.
    pub record_id_label: Option<At<String>>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Facility.
    pub facility: Option<At<String>>,
    /// Level.
    pub level: Option<At<String>>,
    /// Who the lines are of.
    pub identity: Option<At<String>>,
    /// The host in the header.
    pub host: Option<At<String>>,
    /// Octets of a line at most.
    pub octets_max: Option<Count<1_024, 65_000>>,
    /// Whose certificate the receiver has to have.
    pub ca: Option<At<PathBuf>>,
    /// Certificate that is shown to it.
    pub certificate: Option<At<PathBuf>>,
    /// Key of that.
    pub key: Option<At<PathBuf>>,
    /// Whether the receiver's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

impl SyslogTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.syslog",
        live: &[
            "to",
            "format",
            "profile",
            "log_fmt",
            "time_mode",
            "time_format",
            "cdr_start",
            "fields",
            "leg_fields",
            "unmapped",
            "escape",
            "record_id_label",
            "leg_order",
            "round",
            "facility",
            "level",
            "identity",
            "host",
            "octets_max",
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
impl SyslogTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "to = \"udp:127.0.0.1:514\"",
        "format = \"rfc5424\"",
        "profile = \"kamailio\"",
        "log_fmt = \"mc\"\nprofile = \"ser\"",
        "time_mode = 1\nprofile = \"kamailio\"",
        "time_format = \"%s\"",
        "fields = { caller = \"who\" }",
        "leg_fields = { src = \"from\" }",
        "record_id_label = \"id\"",
        "facility = \"local0\"",
        "level = \"L_INFO\"",
        "identity = \"acc\"",
        "host = \"gw1\"\nto = \"udp:127.0.0.1:514\"",
    ];
}
