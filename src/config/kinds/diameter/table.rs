//! `[sinks.diameter.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::record::LegOrder;
use crate::sinks::mapping::{Round, Unmapped};
use crate::units::{Count, Millis, Secs};

/// `[sinks.diameter.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct DiameterTable {
    /// The diameterclient.conf with identity, realm and peers; required.
    pub config: Option<At<PathBuf>>,
    /// Dictionary, read after those that diameterclient.conf names.
    pub dictionary: Option<At<PathBuf>>,
    /// Which AVPs carry the SIP values in base accounting.
    pub profile: Option<At<String>>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// Fields: name to AVP.
    pub fields: Ordered<At<String>>,
    /// Fields of legs: name to AVP.
    pub leg_fields: Ordered<At<String>>,
    /// Fields without an AVP of their own.
    pub unmapped: Option<Unmapped>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// AVP of the record id; empty: none.
    pub record_id_avp: Option<At<String>>,
    /// First wait before a record is tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest wait before a record is tried again.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// How long records wait that meet an unserved realm or application.
    pub retry_config_errors_s: Option<Secs<0, 31_536_000>>,
    /// Answers UNABLE_TO_COMPLY after which a record is parked.
    pub unable_max: Option<Count<1, 1_000_000>>,
    /// Breaks of the connection while a record alone waited for its answer, after which it is parked.
    pub breaks_max: Option<Count<2, 1000>>,
    /// Equal permanent failures in a row after which the sink pauses.
    pub pause_after: Option<Count<2, 1_000_000>>,
}

impl DiameterTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.diameter",
        live: &[
            "config",
            "dictionary",
            "profile",
            "fields",
            "leg_fields",
            "unmapped",
            "round",
            "leg_order",
            "record_id_avp",
            "retry_first_ms",
            "retry_max_s",
            "retry_config_errors_s",
            "unable_max",
            "breaks_max",
            "pause_after",
        ],
        // A call that has a Start must get its Stop.
        restart: &["records"],
    };
}

#[cfg(test)]
impl DiameterTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &["fields = { src_ip = \"Calling-Station-Id\" }", "record_id_avp = \"\""];
}
