//! `[sip.dns]`: how names of targets are looked up.

use serde::Deserialize;

use super::super::decode::At;
use crate::units::{Millis, Secs};

/// `[sip.dns]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsTable {
    /// Servers, with or without a port; none: those of `/etc/resolv.conf`.
    pub servers: Option<Vec<At<String>>>,
    /// Longest wait for one question.
    pub timeout_ms: Option<Millis<100, 10_000>>,
    /// Shortest time an answer is kept.
    pub ttl_min_s: Option<At<Secs<0, 3_600>>>,
    /// Longest time an answer is kept.
    pub ttl_max_s: Option<Secs<1, 86_400>>,
    /// Longest time it is kept that there is no record.
    pub negative_ttl_max_s: Option<Secs<0, 86_400>>,
    /// Whether NAPTR is asked.
    pub naptr: Option<bool>,
}
