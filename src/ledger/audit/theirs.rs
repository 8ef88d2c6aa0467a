//! Reads what others have: a file of comma-separated values, or a table of MariaDB, MySQL, PostgreSQL or SQLite.

use std::io::BufRead;
use std::ops::Range;

use super::against::{Key, Side, Theirs};
use crate::sinks::secret::Secret;
use crate::sinks::sql::{Column, Dialect, Reader};

/// What others have cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TheirsError {
    /// A file or a connection failed.
    #[error("cannot read what is there")]
    Io(#[from] std::io::Error),
    /// The database says no.
    #[error("the database does not give its rows")]
    Database(#[from] sqlx::Error),
    /// It has no such table.
    #[error("the database has no table `{table}`: `--table` names another one")]
    Table {
        /// Its name.
        table: String,
    },
    /// It has other columns.
    #[error("no column `{wanted}` there: it has {found}")]
    Column {
        /// The one that is needed.
        wanted: String,
        /// Those that there are.
        found: String,
    },
    /// A line is none.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// Names of columns of durations, and how many milliseconds one of their units has.
const DURATIONS: [(&str, f64); 5] = [
    ("duration_ms", 1.0),
    ("duration_s", 1000.0),
    ("duration", 1000.0),
    ("acctsessiontime", 1000.0),
    ("ms_duration", 1.0),
];

/// The most octets of a line.
const LINE_OCTETS_MAX: usize = 1 << 20;

/// Where key, duration and number of the leg stand.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Columns {
    key: usize,
    /// With the milliseconds of a unit.
    duration: Option<(usize, f64)>,
    leg: Option<usize>,
}

impl Columns {
    fn among(names: &[&str], key: Key) -> Result<Self, TheirsError> {
        let place = |name: &str| names.iter().position(|own| own.trim().eq_ignore_ascii_case(name));
        let wanted = match key {
            Key::Record => "record_id",
            Key::Session => "acctsessionid",
        };
        let Some(found) = place(wanted) else {
            let found = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(TheirsError::Column { wanted: wanted.to_owned(), found });
        };
        let duration = DURATIONS.iter().find_map(|(name, millis)| Some((place(name)?, *millis)));
        Ok(Self { key: found, duration, leg: place("leg").filter(|_| key == Key::Record) })
    }
}

fn millis(text: &str, unit: f64) -> Option<u64> {
    let number: f64 = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    // Rounded: a duration of a century is far from the bounds.
    Some((number * unit).round() as u64)
}

/// Takes the rows of a file of comma-separated values (RFC 4180) with a line of heads; none may span lines.
///
/// # Errors
/// It cannot be read, or has other columns.
pub fn csv(file: impl BufRead, side: &mut Side, key: Key) -> Result<(), TheirsError> {
    let mut columns_of = None;
    for (number, line) in file.lines().enumerate() {
        let line = line?;
        let wrong = |why: &str| TheirsError::Line { line: number + 1, why: why.to_owned() };
        if line.len() > LINE_OCTETS_MAX {
            return Err(wrong("it is too long"));
        }
        let cells = cells(line.trim_start_matches('\u{feff}')).ok_or_else(|| wrong("a quotation mark does not end"))?;
        let Some(Columns { key: place, duration, leg }) = columns_of else {
            let names: Vec<&str> = cells.iter().map(String::as_str).collect();
            columns_of = Some(Columns::among(&names, key)?);
            continue;
        };
        if line.is_empty() {
            continue;
        }
        let cell = cells.get(place).ok_or_else(|| wrong("it has fewer columns than the first line"))?.clone();
        let duration_ms = duration.and_then(|(place, unit)| millis(cells.get(place)?, unit));
        let leg = leg.and_then(|place| cells.get(place).cloned());
        side.meet(&Theirs { key: cell, duration_ms, leg, is_of_range: false });
    }
    Ok(())
}

/// The values of a line.
fn cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, is_quoted) {
            ('"', true) if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            ('"', _) => is_quoted = !is_quoted,
            (',', false) => cells.push(std::mem::take(&mut cell)),
            (other, _) => cell.push(other),
        }
    }
    cells.push(cell);
    (!is_quoted).then_some(cells)
}

/// Whether this is the URL of a database, and no file.
#[must_use]
pub fn is_database(against: &str) -> bool {
    Dialect::of(against).is_some()
}

/// Takes the rows of tables. Of sessions only those count as unknown here whose start, seconds since 1970, lies in a span.
///
/// # Errors
/// The database says no, or a table has other columns.
pub async fn tables(
    url: &str,
    password: Option<&Secret>,
    tables: &[String],
    (side, key, span): (&mut Side, Key, Range<i64>),
) -> Result<(), TheirsError> {
    let mut reader = Reader::connect(url, password).await?;
    for table in tables {
        let all = reader.columns(table).await?;
        if all.is_empty() {
            return Err(TheirsError::Table { table: table.clone() });
        }
        let names: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
        let Columns { key: place, duration, leg } = Columns::among(&names, key)?;
        let started = all.iter().find(|column| key == Key::Session && column.name.eq_ignore_ascii_case(STARTED));
        let places = [Some(place), duration.map(|(place, _)| place), leg];
        let wanted: Vec<&Column> = places.into_iter().flatten().map(|place| &all[place]).collect();
        let take = &mut |row: Vec<Option<String>>| {
            let mut cells = row.into_iter();
            let Some(key) = cells.next().flatten() else { return };
            let duration_ms = duration.and_then(|(_, unit)| millis(&cells.next()??, unit));
            let leg = leg.and_then(|_| cells.next()?);
            let started: Option<i64> = cells.next().flatten().and_then(|text| text.split('.').next()?.parse().ok());
            let is_of_range = started.is_some_and(|started| span.contains(&started));
            side.meet(&Theirs { key, duration_ms, leg, is_of_range });
        };
        reader.each(table, (&wanted, started), take).await?;
    }
    Ok(())
}

/// Column of FreeRADIUS that says when a session began.
const STARTED: &str = "acctstarttime";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_values_whatever_stands_in_them() {
        for (line, want) in [
            ("a,b", Some(vec!["a", "b"])),
            ("", Some(vec![""])),
            ("\"a,b\",\"say \"\"x\"\"\",", Some(vec!["a,b", "say \"x\"", ""])),
            ("\"a", None),
        ] {
            let want = want.map(|cells| cells.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(cells(line), want, "{line}");
        }
        assert_eq!((millis("61.5", 1000.0), millis("7", 1.0), millis("x", 1.0)), (Some(61_500), Some(7), None));
        assert_eq!((millis("-1", 1.0), millis("inf", 1.0)), (None, None));
    }

    #[test]
    fn a_file_with_other_columns_is_told_which_it_has() {
        let error = Columns::among(&["call", "start"], Key::Record).unwrap_err().to_string();
        assert_eq!(error, "no column `record_id` there: it has `call`, `start`");
        let found = Columns::among(&["AcctSessionId", "AcctSessionTime"], Key::Session).unwrap();
        assert_eq!(found, Columns { key: 0, duration: Some((1, 1000.0)), leg: None });
    }
}
