//! `[sinks.sql.NAME]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::config::decode::{At, Ordered};
use crate::config::reload::Section;
use crate::record::LegOrder;
use crate::sinks::mapping::{Round, Unmapped};
use crate::sinks::profile::From;
use crate::sinks::sql::{Empty, Guard, IdType};
use crate::units::{Count, Millis, Secs};

/// `[sinks.sql.NAME]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct SqlTable {
    /// Where the database is; required.
    pub url: Option<At<String>>,
    /// File with the password.
    pub password_file: Option<At<PathBuf>>,
    /// Which columns there are.
    pub profile: Option<At<String>>,
    /// Which records it takes.
    pub records: Option<SinkMode>,
    /// Table of all records but those of the next two.
    pub table: Option<At<String>>,
    /// Table of missed calls.
    pub missed_table: Option<At<String>>,
    /// Table of whole calls.
    pub cdr_table: Option<At<String>>,
    /// Columns of the profile by their names there; empty: left out.
    pub columns: Ordered<At<String>>,
    /// Fields: name to column.
    pub fields: Ordered<At<String>>,
    /// Fields of legs: name to column.
    pub leg_fields: Ordered<At<String>>,
    /// Fields without a column of their own.
    pub unmapped: Option<Unmapped>,
    /// How a repeat is recognised.
    pub guard: Option<Guard>,
    /// Column of the record's id.
    pub record_id_column: Option<At<String>>,
    /// What ids are in tables that are made.
    pub record_id_type: Option<At<IdType>>,
    /// Column of the leg's number.
    pub leg_column: Option<At<String>>,
    /// Column that names what was changed to fit; empty: none.
    pub changed_column: Option<At<String>>,
    /// Table of delivered records.
    pub side_table: Option<At<String>>,
    /// What stands for a text that is not there.
    pub empty: Option<Empty>,
    /// Zone of instants in columns without one.
    pub time_zone: Option<At<String>>,
    /// Further columns of the time, as of Kamailio.
    pub time_mode: Option<At<Count<0, 4>>>,
    /// How an instant becomes a text there.
    pub time_format: Option<At<String>>,
    /// When a whole call begins.
    pub cdr_start: Option<From>,
    /// Rounding of spans to seconds.
    pub round: Option<Round>,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Records of a statement at most.
    pub batch_max: Option<Count<1, 500>>,
    /// Longest wait for the database.
    pub timeout_ms: Option<Millis<100, 600_000>>,
    /// First wait before a record is tried again.
    pub retry_first_ms: Option<Millis<10, 600_000>>,
    /// Longest such wait.
    pub retry_max_s: Option<Secs<1, 86_400>>,
    /// Breaks of the connection behind one record alone after which it is parked.
    pub breaks_max: Option<Count<2, 1_000>>,
    /// Equal refusals in a row after which the sink rests.
    pub pause_after: Option<Count<2, 1_000_000>>,
}

impl SqlTable {
    /// What a reload applies.
    pub const SECTION: Section = Section {
        path: "sinks.sql",
        live: &[
            "url",
            "password_file",
            "profile",
            "table",
            "missed_table",
            "cdr_table",
            "columns",
            "fields",
            "leg_fields",
            "unmapped",
            "guard",
            "record_id_column",
            "record_id_type",
            "leg_column",
            "changed_column",
            "side_table",
            "empty",
            "time_zone",
            "time_mode",
            "time_format",
            "cdr_start",
            "round",
            "leg_order",
            "batch_max",
            "timeout_ms",
            "retry_first_ms",
            "retry_max_s",
            "breaks_max",
            "pause_after",
        ],
        // A call that has a Start must get its Stop.
        restart: &["records"],
    };
}

#[cfg(test)]
impl SqlTable {
    /// Other values of options.
    pub const OTHERS: &[&str] = &[
        "url = \"postgres://tollgate@localhost/acc\"",
        "profile = \"opensips\"",
        "table = \"calls\"",
        "missed_table = \"missed\"",
        "cdr_table = \"cdrs\"",
        "columns = { callid = \"call_id\" }",
        "fields = { src_ip = \"ip\" }",
        "leg_fields = { src = \"leg_src\" }",
        "unmapped = \"own\"",
        "record_id_column = \"ulid\"",
        "record_id_type = \"binary\"",
        "leg_column = \"leg_number\"",
        "changed_column = \"changes\"",
        "side_table = \"delivered\"",
        "time_zone = \"Asia/Tokyo\"",
        "time_mode = 1\nprofile = \"kamailio\"",
        "time_format = \"%s\"",
        "cdr_start = \"created\"",
    ];
}
