//! `[sinks.file.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::config::schema::Switch;
use crate::record::LegOrder;
use crate::sinks::file::line::{Format, Legs};
use crate::sinks::file::writer::Sync;
use crate::sinks::mapping::Round;
use crate::units::{Count, Mib, Millis, Secs};

/// `[sinks.file.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct FileSinkTable {
    /// The file; required.
    pub path: Option<At<PathBuf>>,
    /// How lines are written.
    pub format: Option<Format>,
    /// Whose columns there are, without `columns`.
    pub profile: Option<At<String>>,
    /// Columns: name to source.
    pub columns: Ordered<At<String>>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// Whether the first line names the columns.
    pub header: Option<Switch>,
    /// How several legs are written.
    pub legs: Option<Legs>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Length of a period after which a file is finished.
    pub rotate_s: Option<Secs<0, 86_400>>,
    /// Size beyond which a file does not grow.
    pub rotate_mib: Option<Mib<1, 1_048_576>>,
    /// When lines are forced to the disk.
    pub sync: Option<Sync>,
    /// How often they are, with `interval`.
    pub sync_ms: Option<Millis<10, 3_600_000>>,
    /// Permissions of the files.
    pub mode: Option<At<String>>,
    /// Records that are written together at most.
    pub batch_max: Option<Count<1, 10_000>>,
}

impl FileSinkTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.file",
        live: &[
            "path",
            "format",
            "profile",
            "columns",
            "header",
            "legs",
            "leg_order",
            "round",
            "rotate_s",
            "rotate_mib",
            "sync",
            "sync_ms",
            "mode",
            "batch_max",
        ],
        // A call that has a Start must get its Stop.
        restart: &["records"],
    };
}

#[cfg(test)]
impl FileSinkTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "path = \"other.csv\"",
        "profile = \"opensips\"",
        "columns = { id = \"record_id\", who = \"caller\" }",
        "header = false",
        "round = \"up\"",
        "mode = \"0600\"",
    ];
}
