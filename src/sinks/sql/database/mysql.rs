//! The catalogue of MariaDB and MySQL.

use super::{Link, Texts, indexes};
use crate::sinks::sql::catalogue::{Characters, Column, Table, Type, Width, constant};

/// Values are fitted before; should one not fit after all it is refused and not changed.
pub(super) const STRICT: &str =
    "SET sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_ALL_TABLES', 'NO_ENGINE_SUBSTITUTION')";

/// MySQL gives some of these as binary; a text of all.
const COLUMNS: &str = "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR), CAST(column_type AS CHAR), \
     CAST(is_nullable AS CHAR), CAST(column_default AS CHAR), CAST(character_maximum_length AS CHAR), \
     CAST(character_octet_length AS CHAR), CAST(character_set_name AS CHAR), CAST(datetime_precision AS CHAR), \
     CAST(extra AS CHAR), CAST(VERSION() AS CHAR) FROM information_schema.columns \
     WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ? ORDER BY ordinal_position";

const INDEXES: &str = "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.statistics \
     WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ? AND non_unique = 0 AND sub_part IS NULL \
     ORDER BY index_name, seq_in_index";

const TABLE: &str = "SELECT CAST(engine AS CHAR), CAST(auto_increment AS CHAR) FROM information_schema.tables \
     WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?";

/// What is left for values in the largest packet: the server hangs up after a larger one, without a word that arrives.
pub(super) async fn octets_max(link: &mut Link) -> Result<usize, sqlx::Error> {
    let rows = link.rows("SELECT CAST(@@max_allowed_packet AS CHAR)".to_owned(), &[]).await?;
    let most = rows.into_iter().flatten().flatten().next().and_then(|text| text.parse::<usize>().ok());
    Ok(most.map_or(usize::MAX, |most| most.saturating_sub(HEAD_OCTETS)))
}

/// Octets of a record's id.
const ID_OCTETS: usize = 16;

/// What a statement has beside its values, with room to spare.
const HEAD_OCTETS: usize = 4096;

pub(super) async fn table(link: &mut Link, name: &str) -> Result<Table, sqlx::Error> {
    let (schema, table) = name.split_once('.').unwrap_or(("", name));
    let columns = link.rows(COLUMNS.to_owned(), &[schema, table]).await?;
    let unique = link.rows(INDEXES.to_owned(), &[schema, table]).await?;
    let mut about = link.rows(TABLE.to_owned(), &[schema, table]).await?.into_iter().flatten();
    let engine = about.next().flatten();
    let number = about.next().flatten().and_then(|number| number.parse().ok());
    Ok(Table { columns: columns.into_iter().map(column).collect(), unique: indexes(unique), engine, number })
}

fn column(row: Texts) -> Column {
    let mut texts = row.into_iter();
    let mut next = || texts.next().flatten();
    let name = next().unwrap_or_default();
    let (data_type, declared) = (next().unwrap_or_default(), next().unwrap_or_default());
    let is_nullable = next().as_deref() == Some("YES");
    let default = next();
    let mut number = || next().and_then(|text| text.parse::<usize>().ok());
    let (characters, octets) = (number(), number());
    let set = next().unwrap_or_default();
    let digits = Some(next().and_then(|text| text.parse().ok()).unwrap_or(0));
    let is_generated = next().is_some_and(|extra| extra.contains("auto_increment"));
    let is_mariadb = next().is_some_and(|version| version.contains("MariaDB"));
    let is_signed = !declared.contains("unsigned");
    let set = Characters::named(&set);
    let kind = match data_type.as_str() {
        "tinyint" => Type::integer(1, is_signed),
        "smallint" => Type::integer(2, is_signed),
        "mediumint" => Type::integer(3, is_signed),
        "int" => Type::integer(4, is_signed),
        "bigint" => Type::integer(8, is_signed),
        "float" | "double" | "decimal" => Type::Real,
        "char" | "varchar" => Type::Text { width: characters.map(Width::Characters), characters: set },
        "binary" | "varbinary" if octets == Some(ID_OCTETS) => Type::Octets16,
        // MariaDB's uuid refuses ids: of 128 bits it takes only what some version of UUID may have.
        "tinytext" | "text" | "mediumtext" | "longtext" | "binary" | "varbinary" => {
            Type::Text { width: octets.map(Width::Octets), characters: set }
        }
        "datetime" => Type::Instant { digits, is_zoned: false },
        "timestamp" => Type::Instant { digits, is_zoned: true },
        _ => Type::Other,
    };
    let has_default = default.as_deref().is_some_and(|text| !(is_mariadb && text == "NULL"));
    // MariaDB writes an expression, MySQL the constant itself.
    let default = if is_mariadb { default.as_deref().and_then(constant) } else { default };
    let default = default.filter(|text| !text.to_ascii_uppercase().starts_with("CURRENT_TIMESTAMP"));
    Column { name, kind, is_nullable, default, has_default, type_name: data_type, is_generated }
}
