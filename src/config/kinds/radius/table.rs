//! `[sinks.radius.NAME]`

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::client::Unknown;
use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::radius::client::{DelayTime, Probing, Selection};
use crate::record::LegOrder;
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::radius::{Columns, Legs, SessionId, StatusMapping};
use crate::units::{Count, Millis, Secs};

/// `[sinks.radius.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct RadiusTable {
    /// The radiusclient.conf with servers and secrets; required.
    pub config: Option<At<PathBuf>>,
    /// What is done about a keyword of that file that nobody knows.
    pub unknown_keywords: Option<Unknown>,
    /// Dictionary, read after the one that radiusclient.conf names.
    pub dictionary: Option<At<PathBuf>>,
    /// Which attributes carry the SIP values.
    pub profile: Option<At<String>>,
    /// Whether all is in the order of the proxy.
    pub exact: Option<Switch>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// Fields: name to attribute.
    pub fields: Ordered<At<MappingTable>>,
    /// Fields of legs: name to attribute.
    pub leg_fields: Ordered<At<MappingTable>>,
    /// Widths of the columns of the server's database.
    pub columns: Option<Columns>,
    /// Whether a newer interim record takes the place of one that still waits.
    pub collapse_interims: Option<Switch>,
    /// Whether Accounting-On is sent.
    pub accounting_on: Option<AccountingOn>,
    /// User-Name of Accounting-On and Accounting-Off; empty: none.
    pub accounting_on_user: Option<At<String>>,
    /// Fields without an attribute of their own.
    pub unmapped: Option<Unmapped>,
    /// What `Acct-Session-Id` holds: the short session name or the Call-ID. Default by profile.
    pub session_id: Option<SessionId>,
    /// Which `Acct-Status-Type` an Interim, Failed or Event becomes.
    pub status_mapping: Option<StatusMapping>,
    /// `Service-Type` by name or number; empty: none is sent. Default 15.
    pub service_type: Option<At<String>>,
    /// `NAS-Port`; 0: none is sent. Default by profile.
    pub nas_port: Option<Count<0, 65_535>>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// How several legs travel.
    pub legs: Option<Legs>,
    /// Attribute of the record id; empty: none.
    pub record_id_attribute: Option<At<String>>,
    /// Attribute that names what was shortened; empty: none.
    pub shortened_attribute: Option<At<String>>,
    /// When `Acct-Delay-Time` is sent, in seconds since the fact.
    pub acct_delay_time: Option<DelayTime>,
    /// Whether requests carry a Message-Authenticator.
    pub message_authenticator: Option<Switch>,
    /// Which server gets a record.
    pub selection: Option<Selection>,
    /// Whether silent servers are probed.
    pub probing: Option<Probing>,
    /// Records out at one server at once.
    pub window_max: Option<Count<1, 65_536>>,
    /// Sockets to one server.
    pub lanes_max: Option<Count<1, 256>>,
    /// Whether datagrams are padded to one length and cut by the kernel or the network card; over UDP alone.
    pub segmentation_offload: Option<At<Switch>>,
    /// Silence on a TCP or TLS connection after which it is asked, and then closed.
    pub watchdog_s: Option<Secs<6, 600>>,
    /// Whether idle connections are kept open.
    pub keep_alive: Option<Switch>,
    /// Silence after which a server is suspect.
    pub response_window_ms: Option<Millis<100, 60_000>>,
    /// Silence of a suspect server after which it is dead.
    pub zombie_period_s: Option<Secs<1, 3_600>>,
    /// First wait before a record is tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest wait before a record is tried again.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Failed visits at healthy servers after which a record may be parked.
    pub attempts_max: Option<Count<1, 1_000_000>>,
    /// Least age of a record that is parked for those.
    pub park_age_min_s: Option<Secs<0, 31_536_000>>,
}

impl RadiusTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.radius",
        live: &[
            "config",
            "unknown_keywords",
            "dictionary",
            "profile",
            "exact",
            "fields",
            "leg_fields",
            "columns",
            "unmapped",
            "session_id",
            "status_mapping",
            "service_type",
            "nas_port",
            "round",
            "leg_order",
            "legs",
            "record_id_attribute",
            "shortened_attribute",
            "acct_delay_time",
            "accounting_on_user",
            "message_authenticator",
            "selection",
            "probing",
            "window_max",
            "lanes_max",
            "segmentation_offload",
            "watchdog_s",
            "keep_alive",
            "response_window_ms",
            "zombie_period_s",
            "retry_first_ms",
            "retry_max_s",
            "attempts_max",
            "park_age_min_s",
        ],
        // A call that has a Start must get its Stop, the queue joins what waits already, and Accounting-On is of the start.
        restart: &["records", "collapse_interims", "accounting_on"],
    };
}

#[cfg(test)]
impl RadiusTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "profile = \"opensips\"",
        "exact = true",
        "fields = { src_ip = \"Framed-IP-Address\" }",
        "accounting_on_user = \"tollgate\"",
        "leg_fields = { src = \"Calling-Station-Id\" }",
        "service_type = \"16\"",
        "record_id_attribute = \"\"",
        "shortened_attribute = \"\"",
    ];
}

/// A field's attribute: its name alone, or a table with its policies.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingTable {
    /// The attribute that the policy is for, by its name in the dictionary.
    pub attribute: String,
    /// How a value is escaped and shortened to fit it.
    pub policy: PolicyTable,
}

/// The table of a mapping.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyTable {
    /// The attribute; required.
    pub attribute: Option<String>,
    /// What happens to a value that is too long.
    pub oversize: Option<Oversize>,
    /// Octets of a value at most.
    pub max: Option<Count<1, 4_096>>,
    /// When the packet is too full, a lower one is dropped earlier.
    pub priority: Option<Count<0, 254>>,
    /// Attribute for the whole of a value that is too long.
    pub long: Option<At<String>>,
}

/// What happens to a value longer than its attribute takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Oversize {
    /// It is cut; a URI first loses its parameters.
    Truncate,
    /// It becomes several attributes in order.
    Split,
    /// Its beginning, `#` and a digest.
    Hash,
    /// It is cut, and travels whole in the attribute of `long`.
    LongExtended,
    /// It is left out.
    Omit,
}

/// Whether Accounting-On is sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AccountingOn {
    /// At a start that has lost calls in progress.
    WhenLost,
    /// Never.
    Never,
}

impl<'de> Deserialize<'de> for MappingTable {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = MappingTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an attribute, or a table with `attribute`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<MappingTable, E> {
                Ok(MappingTable { attribute: name.to_owned(), policy: PolicyTable::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MappingTable, A::Error> {
                let policy = PolicyTable::deserialize(MapAccessDeserializer::new(map))?;
                let attribute = policy.attribute.clone().ok_or_else(|| Error::missing_field("attribute"))?;
                Ok(MappingTable { attribute, policy })
            }
        }

        input.deserialize_any(Either)
    }
}
