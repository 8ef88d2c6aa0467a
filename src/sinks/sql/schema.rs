//! The tables that the settings of a sink ask for, as statements: `etc/sql` has those of each database and profile.

use std::fmt::Write as _;

use super::catalogue::Table;
use super::layout::{Layouts, Place, Set, Source};
use super::plan::{keys, unique_index};
use super::settings::{Dialect, Guard, IdType, Settings};
use crate::accounting::SinkMode;
use crate::record::core::Core;
use crate::sinks::profile::{Form, Val};

/// What a column of ours is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A text of that many characters at most.
    Text(u16),
    /// A record's id.
    Id(IdType),
    /// An instant, with so many digits of its second.
    Instant(u8),
    /// A small number that is always there.
    Leg,
    /// A number.
    Number,
    /// A number with a fraction.
    Real,
}

/// The statements that make all tables of a sink; none of them touches a table that is there.
#[must_use]
pub fn schema(settings: &Settings) -> String {
    let layouts = Layouts::new(settings);
    let mut text = String::new();
    let mut made: Vec<&str> = Vec::new();
    let tables = &settings.tables;
    let all = [(Set::Acc, &tables.acc), (Set::Missed, &tables.missed), (Set::Cdr, &tables.cdr)];
    for (set, name) in all {
        let has_own = settings.profile.system().columns.cdr_table.is_some();
        let is_wanted = set != Set::Cdr || settings.records == SinkMode::Cdr || has_own;
        if is_wanted && !made.contains(&name.as_str()) {
            made.push(name);
            let sets: Vec<_> = all.into_iter().filter(|(_, own)| *own == name).map(|(own, _)| own).collect();
            table(&mut text, settings, name, &layouts.of_all(&sets));
        }
    }
    if settings.guard == Guard::SideTable {
        side(&mut text, settings);
    }
    text
}

fn table(text: &mut String, settings: &Settings, name: &str, places: &[Place]) {
    let dialect = settings.dialect();
    let quoted = |name: &str| dialect.quoted(name);
    let own = |part: &str| quoted(&format!("{}_{part}", name.rsplit('.').next().unwrap_or(name)));
    let mut lines = vec![format!("    {} {}", quoted("id"), number_of_row(dialect))];
    let mut indexes = Vec::new();
    let (mut id, mut leg) = (None, None);
    for place in places {
        let kind = kind(settings, &place.source);
        lines.push(format!("    {} {}", quoted(&place.column), type_of(dialect, kind)));
        match place.source {
            Source::Value(Val::Core(Core::CallId), _) => indexes.push((own("callid"), &place.column)),
            Source::Value(Val::Core(Core::Event) | Val::Start(_) | Val::Time, _) if indexes.len() < 2 => {
                indexes.push((own("time"), &place.column));
            }
            Source::Value(Val::Core(Core::Id), _) => id = Some(&place.column),
            Source::Leg => leg = Some(&place.column),
            _ => {}
        }
    }
    let key = id.map(|id| std::iter::once(id).chain(leg).map(|column| quoted(column)).collect::<Vec<_>>().join(", "));
    let key = key.map(|columns| ("UNIQUE ", own("record"), columns));
    let indexes = indexes.into_iter().map(|(index, column)| ("", index, quoted(column)));
    let indexes: Vec<_> = key.into_iter().chain(indexes).collect();
    let mut after = String::new();
    for (unique, index, columns) in indexes {
        if dialect == Dialect::Mysql {
            // Its CREATE INDEX has no IF NOT EXISTS.
            lines.push(format!("    {unique}KEY {index} ({columns})"));
        } else {
            after += &format!("CREATE {unique}INDEX IF NOT EXISTS {index} ON {} ({columns});\n", quoted(name));
        }
    }
    // A String takes whatever is written.
    let _written = writeln!(text, "CREATE TABLE IF NOT EXISTS {} (\n{}\n);\n{after}", quoted(name), lines.join(",\n"));
}

/// The statements that give a table what it lacks; none if it lacks nothing.
pub(super) fn alterations(settings: &Settings, name: &str, places: &[Place], table: &Table) -> String {
    let dialect = settings.dialect();
    let quoted = |name: &str| dialect.quoted(name);
    let mut text = String::new();
    for place in places.iter().filter(|place| table.column(&place.column).is_none()) {
        let kind = type_of(dialect, kind(settings, &place.source));
        text += &format!("ALTER TABLE {} ADD COLUMN {} {kind};\n", quoted(name), quoted(&place.column));
    }
    let keys = keys(settings, places);
    if settings.guard == Guard::Column && !table.is_unique(&keys) {
        text += &unique_index(dialect, name, &keys);
        text += ";\n";
    }
    text
}

/// The statements that make one table.
pub(super) fn creation(settings: &Settings, name: &str, places: &[Place]) -> String {
    let mut text = String::new();
    table(&mut text, settings, name, places);
    text
}

/// Those that make the side table.
pub(super) fn side_creation(settings: &Settings) -> String {
    let mut text = String::new();
    side(&mut text, settings);
    text
}

fn side(text: &mut String, settings: &Settings) {
    let dialect = settings.dialect();
    let (name, id) = (dialect.quoted(&settings.side_table), type_of(dialect, Kind::Id(IdType::Text)));
    let (record, at) = (dialect.quoted("record_id"), dialect.quoted("at"));
    let instant = type_of(dialect, Kind::Instant(0));
    // A String takes whatever is written.
    let _written = writeln!(
        text,
        "CREATE TABLE IF NOT EXISTS {name} (\n    {record} {id} NOT NULL PRIMARY KEY,\n    {at} {instant}\n);"
    );
}

fn kind(settings: &Settings, source: &Source) -> Kind {
    let digits = settings.profile.system().columns.digits;
    match source {
        Source::Value(_, Form::Micros | Form::Epoch) => Kind::Number,
        Source::Value(_, Form::EpochMillis) => Kind::Real,
        Source::Value(_, Form::Local | Form::Utc) => Kind::Text(32),
        Source::Value(_, Form::Status) => Kind::Text(128),
        Source::Value(Val::Core(core), form) => match core {
            Core::Id => Kind::Id(settings.id_type),
            Core::Method => Kind::Text(16),
            Core::Code => Kind::Text(3),
            Core::CallId => Kind::Text(255),
            Core::FromTag | Core::ToTag | Core::Reason => Kind::Text(128),
            Core::Event | Core::Created | Core::Answered | Core::Acknowledged | Core::Ended => Kind::Instant(digits),
            Core::Duration if *form == Form::Plain => Kind::Real,
            Core::Setup | Core::Duration | Core::PostDialDelay | Core::Ring => Kind::Number,
            Core::Q850 | Core::SipCause | Core::AttemptCount => Kind::Number,
            Core::RtpSent | Core::RtpReceived | Core::RtpLost | Core::RtpJitter | Core::RtpLatency => Kind::Number,
            Core::EndedFrom | Core::TargetAddress => Kind::Text(64),
            Core::Dialled | Core::Called | Core::Sent | Core::Redirecting | Core::Billed => Kind::Text(128),
            Core::SessionId | Core::ClaimedOrigId | Core::ClaimedOrig | Core::ClaimedName => Kind::Text(128),
            Core::VerifiedOrig => Kind::Text(128),
            Core::Reasons | Core::Target | Core::Forwarded | Core::Icid | Core::RtpStat => Kind::Text(255),
            Core::ClaimedDest | Core::ClaimedDiv => Kind::Text(255),
            Core::Attempts => Kind::Text(1024),
            Core::ClaimedIat => Kind::Instant(digits),
            _ => Kind::Text(32),
        },
        Source::Value(Val::Time | Val::Start(_), _) => Kind::Instant(digits),
        Source::Value(Val::Lasted(_), Form::Plain) => Kind::Real,
        Source::Value(Val::Lasted(_), _) => Kind::Number,
        Source::Value(Val::Field(_) | Val::Fixed(_), _) => Kind::Text(255),
        Source::Field(_) | Source::LegField(_) | Source::Changed => Kind::Text(255),
        Source::Leg => Kind::Leg,
    }
}

const fn number_of_row(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql => "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY",
        Dialect::Postgres => "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        Dialect::Sqlite => "INTEGER PRIMARY KEY",
    }
}

fn type_of(dialect: Dialect, kind: Kind) -> String {
    match (kind, dialect) {
        (Kind::Text(width), Dialect::Mysql) => format!("VARCHAR({width}) CHARACTER SET utf8mb4"),
        (Kind::Text(width), _) => format!("VARCHAR({width})"),
        (Kind::Id(IdType::Binary), _) => "BINARY(16)".to_owned(),
        (Kind::Id(IdType::Uuid), _) => "uuid".to_owned(),
        (Kind::Id(IdType::Text), Dialect::Mysql) => "CHAR(26) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        (Kind::Id(IdType::Text), _) => "VARCHAR(26)".to_owned(),
        (Kind::Instant(0), Dialect::Mysql | Dialect::Sqlite) => "DATETIME".to_owned(),
        (Kind::Instant(digits), Dialect::Mysql | Dialect::Sqlite) => format!("DATETIME({digits})"),
        (Kind::Instant(digits), Dialect::Postgres) => format!("TIMESTAMP({digits})"),
        (Kind::Leg, _) => "SMALLINT NOT NULL DEFAULT 0".to_owned(),
        (Kind::Number, _) => "BIGINT".to_owned(),
        (Kind::Real, Dialect::Mysql) => "DOUBLE".to_owned(),
        (Kind::Real, _) => "DOUBLE PRECISION".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::sinks::profile::Profile;
    use crate::sinks::sql::settings::Mapping;

    /// What stands above the statements of a file.
    fn head(dialect: Dialect, profile: Profile) -> String {
        format!(
            "-- Tables of an SQL sink with `profile = \"{}\"` at {}. A field takes a column of its own more, in each table.\n\
             -- With fields of legs the unique index is on (record_id, leg), and `leg` SMALLINT NOT NULL DEFAULT 0.\n\n",
            profile.name(),
            match dialect {
                Dialect::Mysql => "MariaDB or MySQL",
                Dialect::Postgres => "PostgreSQL",
                Dialect::Sqlite => "SQLite",
            }
        )
    }

    #[test]
    fn the_files_that_are_shipped_are_what_the_sink_asks_for() {
        for dialect in Dialect::ALL {
            for profile in Profile::ALL.iter().copied() {
                let settings = Settings::new(&format!("{}:a", dialect.name()), profile);
                let want = format!("{}{}", head(dialect, profile), schema(&settings).trim_end()) + "\n";
                let file = format!("etc/sql/{}-{}.sql", dialect.name(), profile.name());
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
                // TOLLGATE_WRITE=1 writes them anew.
                if std::env::var_os("TOLLGATE_WRITE").is_some() {
                    fs::write(&path, &want).expect("the file is written");
                }
                let shipped = fs::read_to_string(&path).unwrap_or_default();
                assert!(shipped == want, "{file} is not what the code makes:\n{want}");
            }
        }
    }

    #[test]
    fn ids_are_of_the_type_that_is_asked_for_but_in_the_side_table() {
        for (url, id_type, want) in [
            ("mysql://h/a", IdType::Text, "`record_id` CHAR(26) CHARACTER SET ascii COLLATE ascii_bin,"),
            ("mysql://h/a", IdType::Binary, "`record_id` BINARY(16),"),
            ("postgres://h/a", IdType::Uuid, "\"record_id\" uuid\n"),
        ] {
            let mut settings = Settings::new(url, Profile::Opensips);
            settings.id_type = id_type;
            let text = schema(&settings);
            assert_eq!(text.matches(want).count(), 2, "{url} {id_type:?}: {text}");
            settings.guard = Guard::SideTable;
            assert!(schema(&settings).contains("(26)"), "{url} {id_type:?}");
        }
    }

    #[test]
    fn fields_legs_and_the_side_table_are_in_it() {
        let mut settings = Settings::new("sqlite:a", Profile::Opensips);
        settings.leg_fields = vec![Mapping { field: "src".to_owned(), column: "src_leg".to_owned() }];
        let text = schema(&settings);
        for want in [
            "\"src_leg\" VARCHAR(255)",
            "\"leg\" SMALLINT NOT NULL DEFAULT 0",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"acc_record\" ON \"acc\" (\"record_id\", \"leg\");",
        ] {
            assert!(text.contains(want), "{text}");
        }
        settings.guard = Guard::SideTable;
        let text = schema(&settings);
        assert!(
            text.contains("\"tollgate_delivered\" (\n    \"record_id\" VARCHAR(26) NOT NULL PRIMARY KEY"),
            "{text}"
        );
        assert!(!text.contains("UNIQUE INDEX"), "{text}");
    }
}
