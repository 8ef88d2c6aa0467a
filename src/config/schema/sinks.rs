//! `[sinks.KIND.NAME]`: backends.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, Ordered};
use super::super::radiusclient::Unknown;
use super::Named;
use super::accounting::Switch;
use super::mapping::{AccountingOn, MappingTable};
use crate::accounting::SinkMode;
use crate::radius::client::{DelayTime, Probing, Selection};
use crate::record::LegOrder;
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::radius::{Columns, Legs, SessionId, StatusMapping};
use crate::units::{Count, Millis, Secs};

/// `[sinks]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinksTable {
    /// `[sinks.radius.NAME]`
    pub radius: Named<RadiusTable>,
    /// `[sinks.diameter.NAME]`
    pub diameter: Named<DiameterTable>,
}

/// `[sinks.radius.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct RadiusTable {
    /// radiusclient.conf; required.
    pub config: Option<At<PathBuf>>,
    /// What is done about a keyword of that file that nobody knows.
    pub unknown_keywords: Option<Unknown>,
    /// Dictionary, read after the one that radiusclient.conf names.
    pub dictionary: Option<At<PathBuf>>,
    /// Which attributes carry the SIP values.
    pub profile: Option<At<String>>,
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
    /// `Acct-Session-Id`.
    pub session_id: Option<SessionId>,
    /// `Acct-Status-Type`.
    pub status_mapping: Option<StatusMapping>,
    /// `Service-Type`; empty: none.
    pub service_type: Option<At<String>>,
    /// `NAS-Port`; 0: none.
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
    /// `Acct-Delay-Time`.
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

/// `[sinks.diameter.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct DiameterTable {
    /// diameterclient.conf; required.
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
