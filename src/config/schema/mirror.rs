//! `[[mirror]]`: calls of other proxies.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, OneOrMany};
use super::accounting::Flags;
use crate::units::{Count, Millis};

/// `[[mirror]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirrorTable {
    /// Its name, which its records have.
    pub name: Option<At<String>>,
    /// Where packets of HEP are taken: `udp:ADDRESS:PORT` or `tcp:`.
    pub listen: Option<At<String>>,
    /// Blocks of addresses that may send them.
    pub allow: Option<Vec<At<String>>>,
    /// File of the key that they have.
    pub key_file: Option<At<PathBuf>>,
    /// Addresses of the proxy.
    pub proxy: Option<OneOrMany<At<String>>>,
    /// Sinks; instead of `accounting.on`.
    pub on: Option<Vec<At<String>>>,
    /// Flags; instead of `accounting.flags`.
    pub flags: Option<Flags>,
    /// By how much copies overtake each other.
    pub reorder_ms: Option<Millis<0, 60_000>>,
    /// Requests that are followed at once.
    pub requests_max: Option<Count<100, 10_000_000>>,
}
