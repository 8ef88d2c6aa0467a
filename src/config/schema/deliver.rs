//! `[deliver]`: what `tollgate deliver` has for itself.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::At;

/// `[deliver]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverTable {
    /// Folder of what it has in hand, and of its ledger.
    pub directory: Option<At<PathBuf>>,
    /// Unix socket of the commands.
    pub socket: Option<At<PathBuf>>,
    /// HTTP: metrics and health.
    pub listen: Option<At<String>>,
}
