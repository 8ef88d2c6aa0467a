//! Reads what others have: a file of comma-separated values, or a table of MariaDB, MySQL or PostgreSQL.

use std::io::BufRead;
use std::ops::Range;

use super::against::{Key, Side, Theirs};
use crate::sinks::secret::Secret;
use crate::sinks::sql::Reader;

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

/// Which columns hold key and duration.
fn columns(names: &[String], key: Key) -> Result<(usize, Option<(usize, f64)>), TheirsError> {
    let wanted = match key {
        Key::Record => "record_id",
        Key::Session => "acctsessionid",
    };
    let place = |name: &str| names.iter().position(|own| own.trim().eq_ignore_ascii_case(name));
    let Some(found) = place(wanted).or_else(|| (key == Key::Record).then(|| place("id")).flatten()) else {
        let found = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(TheirsError::Column { wanted: wanted.to_owned(), found });
    };
    Ok((found, DURATIONS.iter().find_map(|(name, millis)| Some((place(name)?, *millis)))))
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
        let Some((place, duration)) = columns_of else {
            columns_of = Some(columns(&cells, key)?);
            continue;
        };
        if line.is_empty() {
            continue;
        }
        let cell: &String = cells.get(place).ok_or_else(|| wrong("it has fewer columns than the first line"))?;
        let duration_ms = duration.and_then(|(place, unit): (usize, f64)| millis(cells.get(place)?, unit));
        side.meet(&Theirs { key: cell.clone(), duration_ms }, false);
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

/// Takes the rows of a table. Of sessions only those count as unknown here whose start, seconds since 1970, lies in a span.
///
/// # Errors
/// The database says no, or the table has other columns.
pub async fn table(
    url: &str,
    password: Option<&Secret>,
    table: &str,
    (side, key, span): (&mut Side, Key, Range<i64>),
) -> Result<(), TheirsError> {
    let mut reader = Reader::connect(url, password).await?;
    let names = reader.columns(table).await?;
    if names.is_empty() {
        return Err(TheirsError::Table { table: table.to_owned() });
    }
    let (place, duration) = columns(&names, key)?;
    let begun = names.iter().any(|name| name.eq_ignore_ascii_case(STARTED)) && key == Key::Session;
    let mut wanted = vec![names[place].as_str()];
    wanted.extend(duration.map(|(place, _)| names[place].as_str()));
    for row in reader.texts(table, &wanted, begun.then_some(STARTED)).await? {
        let mut cells = row.into_iter();
        let Some(key) = cells.next().flatten() else { continue };
        let duration_ms = duration.and_then(|(_, unit)| millis(&cells.next()??, unit));
        let started = cells.next().flatten().and_then(|text| text.split('.').next()?.parse().ok());
        side.meet(&Theirs { key, duration_ms }, started.is_some_and(|started| span.contains(&started)));
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
        let names = ["call", "start"].map(str::to_owned);
        let error = columns(&names, Key::Record).unwrap_err().to_string();
        assert_eq!(error, "no column `record_id` there: it has `call`, `start`");
        let names = ["AcctSessionId", "AcctSessionTime"].map(str::to_owned);
        assert_eq!(columns(&names, Key::Session).unwrap(), (0, Some((1, 1000.0))));
    }
}
