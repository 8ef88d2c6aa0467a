//! Settings of an SQL sink.

use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::accounting::SinkMode;
use crate::clock::Timestamp;
use crate::sinks::attempt;
use crate::sinks::mapping::Style;
use crate::sinks::profile::{Absent, Clock, From, Profile};
use crate::sinks::secret::Secret;

/// Which database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// MariaDB and MySQL.
    Mysql,
    /// PostgreSQL.
    Postgres,
    /// SQLite, a file.
    Sqlite,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mysql, Self::Postgres, Self::Sqlite];

    /// Its name, as its URL begins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// The database that a URL is about.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "mysql" | "mariadb" => Some(Self::Mysql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// A name as it stands in a statement; `schema.table` has two.
    #[must_use]
    pub fn quoted(self, name: &str) -> String {
        let sign = if self == Self::Mysql { '`' } else { '"' };
        let parts = name.split('.').map(|part| {
            let doubled = part.replace(sign, &format!("{sign}{sign}"));
            format!("{sign}{doubled}{sign}")
        });
        parts.collect::<Vec<_>>().join(".")
    }
}

/// How a record that comes again is recognised.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// By a column with the record's id and a unique index on it.
    #[default]
    Column,
    /// By a table of its own, written in the same transaction.
    SideTable,
    /// Not at all: a record may have two rows.
    None,
}

/// What the ids of records are in tables that are to be made. A table that is there may have any of these.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum IdType {
    /// 26 characters.
    #[default]
    Text,
    /// 16 octets, of MariaDB and MySQL.
    Binary,
    /// PostgreSQL's uuid. That of MariaDB refuses a quarter of all ids.
    Uuid,
}

impl IdType {
    /// Whether a database has such a type, which takes every id.
    #[must_use]
    pub const fn is_of(self, dialect: Dialect) -> bool {
        match self {
            Self::Text => true,
            Self::Binary => matches!(dialect, Dialect::Mysql),
            Self::Uuid => matches!(dialect, Dialect::Postgres),
        }
    }
}

/// What stands for a text that a record has not.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// NULL, where the column takes it.
    Null,
    /// A text without characters, as the proxies write it.
    Text,
    /// `n/a`, as SER writes it.
    #[serde(rename = "n/a")]
    NotAvailable,
}

/// A field and the column that takes its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// The field.
    pub field: String,
    /// The column.
    pub column: String,
}

/// The tables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tables {
    /// For everything but the two others.
    pub acc: String,
    /// For records of missed calls.
    pub missed: String,
    /// For records of whole calls.
    pub cdr: String,
}

/// Settings of an SQL sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the database is, without a password.
    pub url: String,
    /// The password, if one is needed.
    pub password: Option<Secret>,
    /// Which columns there are.
    pub profile: Profile,
    /// Which records it gets.
    pub records: SinkMode,
    /// The tables.
    pub tables: Tables,
    /// Columns of the profile that are called otherwise, with their names; an empty name leaves one out.
    pub columns: Vec<(String, String)>,
    /// Fields with columns.
    pub fields: Vec<Mapping>,
    /// Fields of legs with columns. With one of them a record has a row for each leg.
    pub leg_fields: Vec<Mapping>,
    /// How a repeat is recognised.
    pub guard: Guard,
    /// The column of the record's id, of the guard; else empty for none.
    pub record_id: String,
    /// What ids are in tables that are made.
    pub id_type: IdType,
    /// The column of the leg's number, 0 in a record without legs; empty for none.
    pub leg: String,
    /// The column that names the columns in which a value was changed; empty for none.
    pub changed: String,
    /// The table of [`Guard::SideTable`].
    pub side_table: String,
    /// What stands for an empty text.
    pub empty: Empty,
    /// The zone of instants in columns that say none.
    pub zone: Zone,
    /// Which of the profile's further columns of the time there are, 0 for none; and how an instant becomes a text there.
    pub time: usize,
    /// As in `strftime`.
    pub time_format: String,
    /// When a whole call begins, where a column says that.
    pub cdr_start: From,
    /// Rounding and the order of legs.
    pub style: Style,
    /// Batches and repeats.
    pub delivery: attempt::Settings,
}

/// A time zone with its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Zone {
    /// As it stands in the configuration.
    pub name: String,
    /// Its rules.
    pub rules: TimeZone,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// The zone of that name; `None` if the system knows none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "UTC" {
            return Some(Self::utc());
        }
        Some(Self { name: name.to_owned(), rules: TimeZone::get(name).ok()? })
    }

    /// Whether its clocks are set back at times, so that one text means two instants.
    #[must_use]
    pub fn is_set_back(&self, from: Timestamp) -> bool {
        let Ok(from) = jiff::Timestamp::from_microsecond(from.0) else { return false };
        // Two changes are one year's.
        self.rules.following(from).take(2).count() == 2
    }
}

impl Settings {
    /// Those of a database, with all defaults of a profile.
    #[must_use]
    pub fn new(url: &str, profile: Profile) -> Self {
        let system = profile.system();
        let cdr = system.columns.cdr_table.unwrap_or("acc");
        let tables = Tables { acc: "acc".to_owned(), missed: "missed_calls".to_owned(), cdr: cdr.to_owned() };
        let is_own = profile == Profile::Own;
        Self {
            url: url.to_owned(),
            password: None,
            profile,
            records: SinkMode::Transactions,
            tables,
            columns: Vec::new(),
            fields: Vec::new(),
            leg_fields: Vec::new(),
            guard: Guard::Column,
            record_id: "record_id".to_owned(),
            id_type: IdType::Text,
            leg: "leg".to_owned(),
            changed: if is_own { "changed".to_owned() } else { String::new() },
            side_table: "tollgate_delivered".to_owned(),
            empty: match system.absent {
                Absent::Omitted => Empty::Null,
                Absent::Written("") => Empty::Text,
                Absent::Written(_) => Empty::NotAvailable,
            },
            zone: Zone::utc(),
            time: 0,
            time_format: Clock::FORMAT.to_owned(),
            cdr_start: From::Answered,
            style: Style { leg_order: system.leg_order, ..Style::default() },
            delivery: attempt::Settings::default(),
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        // A URL of no database is refused by the check.
        Dialect::of(&self.url).unwrap_or(Dialect::Sqlite)
    }
}
