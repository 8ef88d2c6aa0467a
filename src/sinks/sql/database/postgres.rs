//! The catalogue of PostgreSQL.

use super::{Link, Texts, indexes};
use crate::sinks::sql::catalogue::{Column, Table, Type, constant};
use crate::sinks::sql::settings::Dialect;

/// The type with its schema and both quoted: unlike `character`, `"bpchar"` has no width of its own.
const COLUMNS: &str = "SELECT a.attname::text, t.typname::text, \
     quote_ident(n.nspname) || '.' || quote_ident(t.typname), (NOT a.attnotnull)::text, \
     pg_get_expr(d.adbin, d.adrelid), a.atttypmod::text, (a.attidentity::text <> '')::text \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const INDEXES: &str = "SELECT i.indexrelid::regclass::text, a.attname::text FROM pg_catalog.pg_index i \
     CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, place) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = to_regclass($1::text) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
     AND i.indexprs IS NULL AND k.place <= i.indnkeyatts ORDER BY 1, k.place";

/// The sequences of the table's own columns, by which they are named.
const NUMBER: &str = "SELECT max(s.last_value)::text FROM pg_catalog.pg_sequences s \
     JOIN pg_catalog.pg_depend d ON d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass \
     AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') \
     WHERE d.refobjid = to_regclass($1::text)";

pub(super) async fn table(link: &mut Link, name: &str) -> Result<Table, sqlx::Error> {
    let quoted = Dialect::Postgres.quoted(name);
    let columns = link.rows(COLUMNS.to_owned(), &[&quoted]).await?;
    let unique = link.rows(INDEXES.to_owned(), &[&quoted]).await?;
    let number = link.rows(NUMBER.to_owned(), &[&quoted]).await?.into_iter().flatten().flatten().next();
    let number = number.and_then(|number| number.parse().ok());
    Ok(Table { columns: columns.into_iter().map(column).collect(), unique: indexes(unique), engine: None, number })
}

fn column(row: Texts) -> Column {
    let mut texts = row.into_iter();
    let mut next = || texts.next().flatten().unwrap_or_default();
    let (name, base, type_name) = (next(), next(), next());
    let is_nullable = next() == "true";
    let default = next();
    let modifier: i64 = next().parse().unwrap_or(-1);
    let is_identity = next() == "true";
    // The modifier of a text counts its own four octets.
    let width = usize::try_from(modifier - 4).ok();
    let digits = u8::try_from(modifier).ok();
    let kind = match base.as_str() {
        "int2" => Type::integer(2, true),
        "int4" => Type::integer(4, true),
        "int8" => Type::integer(8, true),
        "float4" | "float8" | "numeric" => Type::Real,
        "varchar" | "bpchar" => Type::text(width),
        "text" | "citext" | "name" => Type::text(None),
        "timestamp" => Type::Instant { digits, is_zoned: false },
        "timestamptz" => Type::Instant { digits, is_zoned: true },
        "uuid" => Type::Uuid,
        _ => Type::Other,
    };
    let is_generated = is_identity || default.starts_with("nextval(");
    let has_default = !default.is_empty();
    Column { name, kind, is_nullable, default: constant(&default), has_default, type_name, is_generated }
}
