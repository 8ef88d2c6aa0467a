//! `[sinks.KIND.NAME]`: backends.

use serde::Deserialize;

use super::Named;
use crate::config::kinds::diameter::table::DiameterTable;
use crate::config::kinds::radius::table::RadiusTable;

/// `[sinks]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinksTable {
    /// `[sinks.radius.NAME]`
    pub radius: Named<RadiusTable>,
    /// `[sinks.diameter.NAME]`
    pub diameter: Named<DiameterTable>,
}
