//! The catalogue of SQLite, whose declared types say little: it enforces no width.

use super::{Link, Texts, indexes};
use crate::sinks::sql::catalogue::{Column, Table, Type, constant, numbers};

const COLUMNS: &str = "SELECT name, type, CAST(\"notnull\" AS TEXT), CAST(dflt_value AS TEXT), CAST(pk AS TEXT) \
     FROM pragma_table_info(?) ORDER BY cid";

const INDEXES: &str = "SELECT l.name, i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i \
     WHERE l.\"unique\" = 1 AND l.partial = 0 ORDER BY l.name, i.seqno";

pub(super) async fn table(link: &mut Link, name: &str) -> Result<Table, sqlx::Error> {
    let columns: Vec<_> = link.rows(COLUMNS.to_owned(), &[name]).await?.into_iter().map(column).collect();
    let unique = link.rows(INDEXES.to_owned(), &[name]).await?;
    Ok(Table { columns, unique: indexes(unique), engine: None, number: None })
}

fn column(row: Texts) -> Column {
    let mut texts = row.into_iter();
    let mut next = || texts.next().flatten();
    let (name, type_name) = (next().unwrap_or_default(), next().unwrap_or_default().to_ascii_uppercase());
    let is_nullable = next().as_deref() == Some("0");
    let default = next();
    let has_default = default.is_some();
    let default = default.as_deref().and_then(constant);
    let is_key = next().is_some_and(|place| place != "0");
    let is_any_of = |words: &[&str]| words.iter().any(|word| type_name.contains(word));
    let kind = if is_any_of(&["DATE", "TIMESTAMP"]) {
        let digits = numbers(&type_name).first().and_then(|digits| u8::try_from(*digits).ok());
        let digits = Some(digits.unwrap_or(0));
        Type::Instant { digits, is_zoned: false }
    } else if is_any_of(&["INT"]) {
        Type::integer(8, true)
    } else if is_any_of(&["CHAR", "CLOB", "TEXT"]) {
        Type::text(None)
    } else if is_any_of(&["REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"]) {
        Type::Real
    } else {
        Type::Other
    };
    let is_generated = is_key && type_name == "INTEGER";
    Column { name, kind, is_nullable, default, has_default, type_name, is_generated }
}
