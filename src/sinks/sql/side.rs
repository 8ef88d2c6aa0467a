//! The side table of [`Guard::SideTable`](super::settings::Guard::SideTable): ids of delivered records, written in the
//! transaction of their rows, for a schema that may not be changed.

use std::collections::HashSet;
use std::time::Duration;

use super::catalogue::{Table, Type, Width};
use super::database::{Keep, Link};
use super::failure::{Class, Failure, Phase};
use super::plan::ID_LENGTH;
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
    is_fit(name, &table.ok_or_else(missing)?)
}

fn is_fit(name: &str, table: &Table) -> Result<(), Failure> {
    if !table.is_unique(&[ID]) || table.column(AT).is_none() {
        return Err(Failure::misfit(format!(
            "the table `{name}` needs a unique `{ID}` of {ID_LENGTH} characters and `{AT}`, an instant"
        )));
    }
    let why = match table.column(ID).map(|column| column.kind) {
        Some(Type::Text { width: None, .. }) => None,
        Some(Type::Text { width: Some(Width::Characters(most) | Width::Octets(most)), .. }) => {
            (most < ID_LENGTH).then(|| format!("holds {most} characters"))
        }
        _ => Some("is no text".to_owned()),
    };
    match why {
        None => super::plan::can_take_back(name, table),
        Some(why) => Err(Failure::misfit(format!(
            "`{ID}` of the table `{name}` {why}, and an id there has {ID_LENGTH} characters, whatever it is in other tables: \
             drop the table, which holds ids of {SIDE_TABLE_DAYS} days alone, and make it as `tollgate sql schema` prints it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{Column, Unique};
    use super::*;

    #[test]
    fn the_side_table_has_a_column_for_whole_ids() {
        let column = |name: &str, kind| Column {
            name: name.to_owned(),
            kind,
            is_nullable: false,
            default: None,
            has_default: false,
            type_name: String::new(),
            is_generated: false,
        };
        let unique = || vec![Unique { name: "key".to_owned(), columns: vec![ID.to_owned()] }];
        for (what, kind, unique, want) in [
            ("as it is made", Type::text(Some(26)), unique(), None),
            ("wider", Type::text(Some(64)), unique(), None),
            ("without a limit", Type::text(None), unique(), None),
            ("narrower", Type::text(Some(25)), unique(), Some("holds 25 characters")),
            ("octets", Type::Octets16, unique(), Some("is no text")),
            ("a uuid", Type::Uuid, unique(), Some("is no text")),
            ("not unique", Type::text(Some(26)), Vec::new(), Some("needs a unique `record_id`")),
        ] {
            let columns = vec![column(ID, kind), column(AT, Type::Instant { digits: Some(0), is_zoned: false })];
            let table = Table { columns, unique, ..Table::default() };
            match (is_fit("seen", &table), want) {
                (Ok(()), None) => {}
                (Err(failure), Some(want)) => assert!(failure.reason.contains(want), "{what}: {failure:?}"),
                (found, _) => panic!("{what}: {found:?}"),
            }
        }
    }
}
