//! The side table of [`Guard::SideTable`](super::settings::Guard::SideTable): ids of delivered records, written in the
//! transaction of their rows, for a schema that may not be changed.

use std::collections::HashSet;
use std::time::Duration;

use super::database::{Keep, Link};
use super::failure::{Class, Failure, Phase};
use super::settings::{Dialect, Settings};
use crate::clock::Timestamp;
use crate::ids::RecordId;

/// The columns of the table.
const ID: &str = "record_id";
const AT: &str = "at";

/// Which of these records are not delivered yet; they are noted as delivered, which the transaction makes true.
pub(super) async fn new_ones(link: &mut Link, settings: &Settings, ids: &[RecordId]) -> Result<Vec<bool>, Failure> {
    let dialect = settings.dialect();
    let table = dialect.quoted(&settings.side_table);
    let (id, at) = (dialect.quoted(ID), dialect.quoted(AT));
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let marks = |count: usize| (1..=count).map(|number| mark(dialect, number)).collect::<Vec<_>>();
    let known = format!("SELECT {id} FROM {table} WHERE {id} IN ({})", marks(all.len()).join(","));
    let told = |error: sqlx::Error| Failure::new(dialect, Phase::Connected, &error);
    let known: HashSet<String> = link.rows(known, &all).await.map_err(told)?.into_iter().flatten().flatten().collect();
    let new: Vec<&str> = all.iter().copied().filter(|id| !known.contains(*id)).collect();
    if !new.is_empty() {
        let rows = marks(new.len()).iter().map(|mark| format!("({mark},CURRENT_TIMESTAMP)")).collect::<Vec<_>>();
        let insert = format!("INSERT INTO {table} ({id}, {at}) VALUES {}", rows.join(","));
        let values: Vec<_> = new.iter().copied().map(Some).collect();
        // An earlier transaction of ours, whose end nobody heard of, was ended meanwhile.
        let again = |error: sqlx::Error| match told(error) {
            failure if failure.class == Class::Record => Failure { class: Class::Again, ..failure },
            failure => failure,
        };
        link.execute(insert, &values, Keep::Not).await.map_err(again)?;
    }
    Ok(all.iter().map(|id| !known.contains(*id)).collect())
}

/// Days that an id stays: no record comes again after that, unless it is put back from a file.
pub const SIDE_TABLE_DAYS: u32 = 30;

/// Ids that are removed at once at most.
pub(super) const PRUNED_MAX: u32 = 10_000;

/// Removes ids that are older. The ids of records begin with the time they were made, so that the primary key finds them.
pub(super) async fn prune(link: &mut Link, settings: &Settings, now: Timestamp) -> Result<(), sqlx::Error> {
    let dialect = settings.dialect();
    let (table, id, at) = (dialect.quoted(&settings.side_table), dialect.quoted(ID), dialect.quoted(AT));
    let span = Duration::from_secs(u64::from(SIDE_TABLE_DAYS) * 86_400);
    let millis = u128::try_from((now - span).0 / 1000).unwrap_or(0);
    // A ULID has 48 bits of time before 80 others.
    let oldest = RecordId(millis << 80).to_string();
    let old = |limit: &str| format!("{id} < {} AND {at} < {limit}", mark(dialect, 1));
    let statement = match dialect {
        Dialect::Mysql => {
            let old = old(&format!("CURRENT_TIMESTAMP - INTERVAL {SIDE_TABLE_DAYS} DAY"));
            format!("DELETE FROM {table} WHERE {old} ORDER BY {id} LIMIT {PRUNED_MAX}")
        }
        Dialect::Postgres => {
            let old = old(&format!("CURRENT_TIMESTAMP - INTERVAL '{SIDE_TABLE_DAYS} days'"));
            format!(
                "DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {table} WHERE {old} ORDER BY {id} LIMIT {PRUNED_MAX})"
            )
        }
        Dialect::Sqlite => {
            let old = old(&format!("datetime('now', '-{SIDE_TABLE_DAYS} days')"));
            format!(
                "DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {table} WHERE {old} ORDER BY {id} LIMIT {PRUNED_MAX})"
            )
        }
    };
    // One that fails leaves a connection that is used no more.
    link.bracket("BEGIN").await?;
    link.execute(statement, &[Some(&oldest)], Keep::Not).await?;
    link.bracket("COMMIT").await
}

fn mark(dialect: Dialect, number: usize) -> String {
    if dialect == Dialect::Postgres { format!("${number}") } else { "?".to_owned() }
}

/// Whether the table is there, and as it has to be.
pub(super) async fn fits(link: &mut Link, settings: &Settings) -> Result<(), Failure> {
    let (dialect, name) = (settings.dialect(), &settings.side_table);
    let table = link.table(name).await.map_err(|error| Failure::new(dialect, Phase::Connected, &error))?;
    let missing = || Failure::misfit(format!("there is no table `{name}`, by which repeats are recognised"));
    let table = table.ok_or_else(missing)?;
    if !table.is_unique(&[ID]) || table.column(AT).is_none() {
        return Err(Failure::misfit(format!(
            "the table `{name}` needs a unique `{ID}` of 26 characters and `{AT}`, an instant"
        )));
    }
    super::plan::can_take_back(name, &table)
}
