//! How rows of one set of columns go into one table as it is: its columns with their types, and the statement.

use std::fmt::Write as _;

use super::catalogue::{Column, Table, Type, Width};
use super::failure::Failure;
use super::fit::{Fitted, Tailor};
use super::layout::{Place, Source};
use super::row::Cell;
use super::settings::{Dialect, Guard, Settings};

/// Values that one statement may have: the servers' limit is 65 535, that of SQLite 32 766.
const fn values_max(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Mysql | Dialect::Postgres => 65_000,
        Dialect::Sqlite => 32_000,
    }
}

/// Characters of a record's id.
pub(super) const ID_LENGTH: usize = 26;

/// How rows get into a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    dialect: Dialect,
    columns: Vec<Column>,
    /// Which value of a row each of them takes.
    taken: Vec<usize>,
    /// Columns that the table may lack, and lacks.
    lacks: Vec<String>,
    /// Which of them names the columns that were changed.
    changed: Option<usize>,
    /// The statement up to its values, and behind them.
    head: String,
    tail: String,
}

/// A row as it is bound.
pub(super) type Line = Vec<Option<String>>;

/// Octets of a row in a statement: its texts, and for each value its type, its length and its mark.
pub(super) fn octets(line: &Line) -> usize {
    line.iter().map(|text| text.as_ref().map_or(0, String::len) + VALUE_OCTETS).sum()
}

/// What a value costs beside its text.
const VALUE_OCTETS: usize = 12;

impl Plan {
    /// For a table as the database has it; an error if it does not fit.
    pub fn new(settings: &Settings, name: &str, places: &[Place], table: &Table) -> Result<Self, Failure> {
        let dialect = settings.dialect();
        let mut columns = Vec::with_capacity(places.len());
        let (mut taken, mut lacks, mut missing) = (Vec::with_capacity(places.len()), Vec::new(), Vec::new());
        for (at, place) in places.iter().enumerate() {
            match table.column(&place.column) {
                Some(column) => {
                    columns.push(column.clone());
                    taken.push(at);
                }
                None if place.is_optional => lacks.push(place.column.clone()),
                None => missing.push(format!("`{}`", place.column)),
            }
        }
        if !missing.is_empty() {
            return Err(Failure::misfit(format!("the table `{name}` has no column {}", missing.join(", "))));
        }
        needs_nothing_more(name, places, table)?;
        let keys = keys(settings, places);
        match settings.guard {
            Guard::Column => is_guarded(settings, name, &keys, table)?,
            Guard::SideTable => can_take_back(name, table)?,
            Guard::None => {}
        }
        let changed = taken.iter().position(|at| places[*at].source == Source::Changed);
        let quoted = |name: &str| dialect.quoted(name);
        let list = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let head = format!("INSERT INTO {} ({list}) ", quoted(name));
        let tail = match (settings.guard, dialect) {
            (Guard::SideTable | Guard::None, _) => String::new(),
            (Guard::Column, Dialect::Mysql) => {
                let key = quoted(&settings.record_id);
                format!(" ON DUPLICATE KEY UPDATE {key} = {key}")
            }
            (Guard::Column, Dialect::Postgres | Dialect::Sqlite) => {
                let keys = keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(", ");
                format!(" ON CONFLICT ({keys}) DO NOTHING")
            }
        };
        Ok(Self { dialect, columns, taken, lacks, changed, head, tail })
    }

    /// A row for these columns, and how many of its values were changed to fit.
    pub fn line(&self, tailor: &Tailor, cells: &[Cell]) -> (Line, usize) {
        let mut names: Vec<&str> = Vec::new();
        let mut line: Line = Vec::with_capacity(self.columns.len());
        for (at, column) in self.taken.iter().zip(&self.columns) {
            let Fitted { text, is_changed } = tailor.fit(&cells[*at], column);
            if is_changed {
                names.push(&column.name);
            }
            line.push(text);
        }
        if let Some(at) = self.changed.filter(|_| !names.is_empty()) {
            let all = Cell::Text(names.join(" "), super::row::Escaped::No);
            line[at] = tailor.fit(&all, &self.columns[at]).text;
        }
        (line, names.len())
    }

    /// Columns that the table may lack, and lacks.
    pub fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// Rows that one statement takes at most.
    pub fn rows_max(&self) -> usize {
        match self.dialect {
            // An array for each column.
            Dialect::Postgres => usize::MAX,
            dialect => (values_max(dialect) / self.columns.len().max(1)).max(1),
        }
    }

    /// The statement for so many rows.
    pub fn statement(&self, rows: usize) -> String {
        let mut text = self.head.clone();
        if self.dialect == Dialect::Postgres {
            self.write_arrays(&mut text);
        } else {
            let mark = |column: &Column| if column.kind == Type::Octets16 { "UNHEX(?)" } else { "?" };
            let marks = self.columns.iter().map(mark).collect::<Vec<_>>().join(",");
            text.reserve(rows * (marks.len() + 3));
            text.push_str("VALUES ");
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ",(" });
                text.push_str(&marks);
                text.push(')');
            }
        }
        text.push_str(&self.tail);
        text
    }

    /// One array of texts for each column, whatever the number of rows, each read as the column's type.
    fn write_arrays(&self, text: &mut String) {
        let number = 1..=self.columns.len();
        let cast = |(number, column): (usize, &Column)| format!("u.c{number}::{}", column.type_name);
        let values = number.clone().zip(&self.columns).map(cast).collect::<Vec<_>>().join(", ");
        let arrays = number.clone().map(|number| format!("${number}::text[]")).collect::<Vec<_>>().join(", ");
        let names = number.map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
        // A String takes whatever is written.
        let _written = write!(text, "SELECT {values} FROM unnest({arrays}) AS u({names})");
    }
}

/// The columns by which a row is recognised.
pub(super) fn keys<'s>(settings: &'s Settings, places: &[Place]) -> Vec<&'s str> {
    let has_legs = places.iter().any(|place| place.source == Source::Leg);
    [Some(settings.record_id.as_str()), has_legs.then_some(settings.leg.as_str())].into_iter().flatten().collect()
}

/// The statement that makes the index by which a row is recognised.
pub(super) fn unique_index(dialect: Dialect, name: &str, keys: &[&str]) -> String {
    let list = keys.iter().map(|key| dialect.quoted(key)).collect::<Vec<_>>().join(", ");
    let index = dialect.quoted(&format!("{}_record", name.rsplit('.').next().unwrap_or(name)));
    format!("CREATE UNIQUE INDEX {index} ON {} ({list})", dialect.quoted(name))
}

/// Whether the rest of the table's columns can be left to the database.
fn needs_nothing_more(name: &str, places: &[Place], table: &Table) -> Result<(), Failure> {
    let is_ours = |column: &Column| places.iter().any(|place| place.column.eq_ignore_ascii_case(&column.name));
    let needed =
        table.columns.iter().filter(|column| !column.is_nullable && !column.is_generated && !column.has_default);
    match needed.filter(|column| !is_ours(column)).map(|column| column.name.as_str()).next() {
        None => Ok(()),
        Some(column) => Err(Failure::misfit(format!(
            "the column `{column}` of the table `{name}` takes no NULL and has no default, and the sink has no value for it: \
             map a field to it, or give it a default"
        ))),
    }
}

/// Whether the database itself sees to it that a record is there once.
fn is_guarded(settings: &Settings, name: &str, keys: &[&str], table: &Table) -> Result<(), Failure> {
    let dialect = settings.dialect();
    if !table.is_unique(keys) {
        let list = keys.iter().map(|key| dialect.quoted(key)).collect::<Vec<_>>().join(", ");
        return Err(Failure::misfit(format!(
            "the table `{name}` has no unique index on exactly ({list}), by which a repeat is recognised: {}; or set `guard`",
            unique_index(dialect, name, keys)
        )));
    }
    let holds = match table.column(&settings.record_id).map(|column| column.kind) {
        Some(Type::Text { width: Some(Width::Characters(most) | Width::Octets(most)), .. }) => most >= ID_LENGTH,
        Some(Type::Text { width: None, .. } | Type::Octets16 | Type::Uuid) => true,
        _ => false,
    };
    if !holds {
        return Err(Failure::misfit(format!(
            "the column `{}` of the table `{name}` does not hold a record's id, {ID_LENGTH} characters, or its 16 octets as \
             BINARY(16) of MySQL or uuid of PostgreSQL",
            settings.record_id
        )));
    }
    // ON DUPLICATE KEY names no index: a new record would be taken for a repeat by any other one.
    let is_generated = |column: &String| table.column(column).is_some_and(|column| column.is_generated);
    let other = table.unique.iter().find(|index| {
        let has_key = keys.iter().all(|key| index.columns.iter().any(|column| column.eq_ignore_ascii_case(key)));
        !has_key && !index.columns.iter().all(is_generated)
    });
    match other.filter(|_| dialect == Dialect::Mysql) {
        None => Ok(()),
        Some(index) => Err(Failure::misfit(format!(
            "the table `{name}` has another unique index, `{}`, by which a new record would be taken for a repeat and lost: \
             drop it, or set `guard = \"side-table\"`",
            index.name
        ))),
    }
}

/// Whether what is written there is taken back with its transaction.
pub(super) fn can_take_back(name: &str, table: &Table) -> Result<(), Failure> {
    match table.engine.as_deref() {
        Some(engine @ ("MyISAM" | "Aria" | "MEMORY" | "CSV" | "ARCHIVE" | "MRG_MyISAM")) => {
            Err(Failure::misfit(format!(
                "the table `{name}` is of the engine {engine}, which has no transactions, without which a side table guards \
                 nothing: ALTER TABLE … ENGINE=InnoDB, or set `guard` to another"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
