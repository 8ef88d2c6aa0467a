//! `[sinks.KIND.NAME]`: backends.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, Ordered};
use super::Named;
use super::accounting::{Rounding, Switch};
use crate::units::{Count, Millis, Secs};

/// `[sinks]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinksTable {
    /// `[sinks.radius.NAME]`
    pub radius: Named<RadiusTable>,
}

/// Which records a sink takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Records {
    /// Start, Interim, Stop, Failed, Missed, Event.
    Sessions,
    /// One for each marked transaction.
    Transactions,
    /// One at the end of a call, and Failed and Missed.
    Cdr,
}

/// `Acct-Delay-Time`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum DelayTime {
    /// Computed once for a visit to a server.
    Cycle,
    /// Not sent.
    Never,
    /// Computed for each datagram.
    Always,
}

/// `[sinks.radius.NAME]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RadiusTable {
    /// radiusclient.conf.
    pub config: At<PathBuf>,
    /// Dictionary, above the one radiusclient.conf names.
    #[serde(default)]
    pub dictionary: Option<At<PathBuf>>,
    /// Which attributes carry the SIP values.
    #[serde(default)]
    pub profile: Option<At<String>>,
    /// Which records it takes.
    #[serde(default)]
    pub records: Option<Records>,
    /// Fields: name to attribute.
    #[serde(default)]
    pub fields: Ordered<At<String>>,
    /// Fields of legs: name to attribute.
    #[serde(default)]
    pub leg_fields: Ordered<At<String>>,
    /// Service-Type.
    #[serde(default)]
    pub service_type: Option<At<String>>,
    /// Rounding of spans to seconds.
    #[serde(default)]
    pub round: Option<Rounding>,
    /// `Acct-Delay-Time`.
    #[serde(default)]
    pub acct_delay_time: Option<DelayTime>,
    /// Whether requests carry a Message-Authenticator.
    #[serde(default)]
    pub message_authenticator: Option<Switch>,
    /// Records out at once.
    #[serde(default)]
    pub in_flight_max: Option<Count<1, 4_096>>,
    /// Sockets for each server.
    #[serde(default)]
    pub lanes_max: Option<Count<1, 64>>,
    /// First wait before a record is tried again.
    #[serde(default)]
    pub retry_min_ms: Option<Millis<10, 60_000>>,
    /// Longest wait before a record is tried again.
    #[serde(default)]
    pub retry_max_s: Option<Secs<1, 3_600>>,
}
