//! What an error of a database means for the records: one class for each code, by what real servers were seen to say.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use super::settings::Dialect;
use crate::sinks::attempt::Answer;

/// What follows from an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// A record is to blame, and would be again.
    Record,
    /// Somebody else was in the way: the same again at once.
    Again,
    /// The database takes nothing now. Nothing was stored.
    Away,
    /// The database and the configuration do not fit.
    Misfit,
    /// The connection is gone: what was asked last may be stored.
    Lost,
}

/// An error with its class.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    pub class: Class,
    pub reason: String,
    /// The database's code: MySQL's number, the five characters of SQLSTATE as a number of base 36, SQLite's number.
    pub code: u32,
}

/// What was being done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// A connection was being made.
    Connecting,
    /// There was one.
    Connected,
}

impl Failure {
    /// One that is found here, not at the database.
    pub const fn misfit(reason: String) -> Self {
        Self { class: Class::Misfit, reason, code: 0 }
    }

    /// What an error means.
    pub fn new(dialect: Dialect, phase: Phase, error: &sqlx::Error) -> Self {
        if let sqlx::Error::Database(told) = error {
            return Self::told(dialect, phase, &**told);
        }
        let class = match (error, phase) {
            (sqlx::Error::Configuration(_) | sqlx::Error::Tls(_), _) => Class::Misfit,
            (sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_), _) => Class::Record,
            (_, Phase::Connecting) => Class::Away,
            (_, Phase::Connected) => Class::Lost,
        };
        Self { class, reason: error.to_string(), code: 0 }
    }

    fn told(dialect: Dialect, phase: Phase, error: &dyn DatabaseError) -> Self {
        let (class, code, shown) = match dialect {
            Dialect::Mysql => {
                let own = error.as_error().downcast_ref::<MySqlDatabaseError>();
                let number = own.map_or(0, MySqlDatabaseError::number);
                (mysql(number), u32::from(number), number.to_string())
            }
            Dialect::Postgres => {
                let state = error.code().unwrap_or_default().into_owned();
                (postgres(&state, error.constraint()), u32::from_str_radix(&state, 36).unwrap_or(0), state)
            }
            Dialect::Sqlite => {
                let number = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
                (sqlite(number, error.message()), number, number.to_string())
            }
        };
        let class = match (class, phase) {
            (Class::Lost | Class::Again, Phase::Connecting) => Class::Away,
            (class, _) => class,
        };
        Self { class, reason: format!("{} error {shown}: {}", dialect.name(), error.message()), code }
    }

    /// What becomes of the batch.
    pub fn answer(self) -> Answer {
        let Self { class, reason, code } = self;
        match class {
            Class::Record => Answer::Refused { reason, code },
            Class::Again | Class::Away => Answer::Down { reason, after: None },
            Class::Misfit => Answer::Misfit { reason },
            Class::Lost => Answer::Unknown { reason },
        }
    }
}

/// MariaDB and MySQL, by number.
const fn mysql(number: u16) -> Class {
    match number {
        // Too long, not of the type, out of range, cut, NULL where none may be; duplicate of another index, foreign key,
        // CHECK (of MariaDB, of MySQL), a SIGNAL of a trigger; larger than max_allowed_packet.
        1406 | 1366 | 1292 | 1264 | 1265 | 1048 | 1062 | 1452 | 1216 | 4025 | 3819 | 1644 | 1411 | 1153 => {
            Class::Record
        }
        // Deadlock; a statement whose metadata changed.
        1213 | 1020 | 1615 => Class::Again,
        // Access denied, to the database, to a table or column; no database, table, column; more columns than values;
        // a column without a default; wrong key; account locked, password to be changed; no such authentication.
        1045 | 1044 | 1142 | 1143 | 1049 | 1146 | 1054 | 1136 | 1364 | 1064 | 1227 | 4151 | 3118 | 1820 | 1862
        | 1251 | 1698 | 1524 | 1130 => Class::Misfit,
        // Shutdown in progress, killed, lost, timed out.
        1053 | 1927 | 1317 | 2006 | 2013 | 1158..=1161 => Class::Lost,
        // Locks, read-only, full, too many connections; whatever else: no record parks for it.
        _ => Class::Away,
    }
}

/// PostgreSQL, by SQLSTATE.
fn postgres(state: &str, constraint: Option<&str>) -> Class {
    match state {
        // The number of a row is taken, when its sequence began anew: the next one may be free.
        "23505" if constraint.is_some_and(|name| name.ends_with("_pkey")) => Class::Away,
        "40001" | "40P01" => Class::Again,
        "42P10" | "42501" | "0A000" => Class::Misfit,
        // A trigger raised it.
        "P0001" => Class::Record,
        "57014" => Class::Away,
        "57P01" | "57P02" => Class::Lost,
        _ => match state.get(..2) {
            Some("22" | "23" | "44" | "54") => Class::Record,
            Some("42" | "28" | "3D" | "3F") => Class::Misfit,
            Some("08") => Class::Lost,
            // 25006 read-only, 53 out of something, 55 locked, 57P03 starting up, 58, XX.
            _ => Class::Away,
        },
    }
}

/// SQLite, by extended code, whose low octet is the code proper.
fn sqlite(number: u32, message: &str) -> Class {
    match number & 0xff {
        // No such table or column, and whatever else a statement is refused for; a trigger's RAISE is a constraint.
        1 if message.contains("no such") || message.contains("has no column") || message.contains("ON CONFLICT") => {
            Class::Misfit
        }
        // Too big, constraint, type mismatch.
        18..=20 => Class::Record,
        // Not to be opened, not to be used, no database.
        3 | 14 | 23 | 26 | 11 => Class::Misfit,
        // Busy, locked, no memory, read-only, interrupted, I/O, full, protocol, schema changed.
        _ => Class::Away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_class() {
        for (name, class, want) in [
            ("value too long", mysql(1406), Class::Record),
            ("a character that the column has not", mysql(1366), Class::Record),
            ("table missing", mysql(1146), Class::Misfit),
            ("column missing", mysql(1054), Class::Misfit),
            ("wrong password", mysql(1045), Class::Misfit),
            ("account locked", mysql(4151), Class::Misfit),
            ("read-only", mysql(1290), Class::Away),
            ("a lock", mysql(1205), Class::Away),
            ("deadlock", mysql(1213), Class::Again),
            ("id space used up", mysql(167), Class::Away),
            ("too many connections", mysql(1040), Class::Away),
            ("disk full", mysql(1021), Class::Away),
            ("shutdown", mysql(1053), Class::Lost),
            ("value too long", postgres("22001", None), Class::Record),
            ("NUL", postgres("22021", None), Class::Record),
            ("not null", postgres("23502", None), Class::Record),
            ("the row's number is taken", postgres("23505", Some("acc_pkey")), Class::Away),
            ("another index", postgres("23505", Some("acc_callid")), Class::Record),
            ("table missing", postgres("42P01", None), Class::Misfit),
            ("column missing", postgres("42703", None), Class::Misfit),
            ("no unique index", postgres("42P10", None), Class::Misfit),
            ("wrong password", postgres("28P01", None), Class::Misfit),
            ("database missing", postgres("3D000", None), Class::Misfit),
            ("read-only", postgres("25006", None), Class::Away),
            ("disk full", postgres("53100", None), Class::Away),
            ("starting up", postgres("57P03", None), Class::Away),
            ("killed", postgres("57P01", None), Class::Lost),
            ("deadlock", postgres("40P01", None), Class::Again),
            ("busy", sqlite(5, ""), Class::Away),
            ("busy snapshot", sqlite(517, ""), Class::Away),
            ("read-only", sqlite(8, ""), Class::Away),
            ("full", sqlite(13, ""), Class::Away),
            ("not null", sqlite(1299, ""), Class::Record),
            ("table missing", sqlite(1, "no such table: acc"), Class::Misfit),
            ("no file", sqlite(14, ""), Class::Misfit),
        ] {
            assert_eq!(class, want, "{name}");
        }
    }
}
