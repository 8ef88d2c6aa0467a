//! Reads a table of any of the databases as texts, for comparisons; writes nothing.

use super::catalogue::Type;
use super::database::{Link, Target, Texts};
use super::settings::Dialect;
use crate::sinks::secret::Secret;

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    dialect: Dialect,
}

/// A column of a table that is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    kind: Type,
}

impl Reader {
    /// Connects to the database at a URL.
    ///
    /// # Errors
    /// The URL is none, or the database says no.
    pub async fn connect(url: &str, password: Option<&Secret>) -> Result<Self, sqlx::Error> {
        let dialect = Dialect::of(url).ok_or_else(|| sqlx::Error::Configuration("no URL of a database".into()))?;
        let mut link = Target::new(url, password)?.connect().await?;
        if dialect == Dialect::Mysql {
            // A DATETIME knows no zone: whoever wrote it had the server's, if none of his own.
            link.run("SET time_zone = @@global.time_zone").await?;
        }
        Ok(Self { link, dialect })
    }

    /// The columns of a table; none if there is no such table.
    ///
    /// # Errors
    /// The database says no.
    pub async fn columns(&mut self, table: &str) -> Result<Vec<Column>, sqlx::Error> {
        let found = self.link.table(table).await?.unwrap_or_default();
        Ok(found.columns.into_iter().map(|column| Column { name: column.name, kind: column.kind }).collect())
    }

    /// Hands over these columns of each row as texts, 16 octets as their digits, and behind them an instant, if one is
    /// wanted, as seconds since 1970. Rows are not kept.
    ///
    /// # Errors
    /// The database says no.
    pub async fn each(
        &mut self,
        table: &str,
        (columns, instant): (&[&Column], Option<&Column>),
        take: &mut dyn FnMut(Texts),
    ) -> Result<(), sqlx::Error> {
        let quoted = |column: &Column| self.dialect.quoted(&column.name);
        let text = if self.dialect == Dialect::Mysql { "CHAR" } else { "TEXT" };
        let value = |column: &&Column| match column.kind {
            Type::Octets16 => format!("HEX({})", quoted(column)),
            _ => format!("CAST({} AS {text})", quoted(column)),
        };
        let mut wanted: Vec<String> = columns.iter().map(value).collect();
        wanted.extend(instant.map(quoted).map(|name| match self.dialect {
            Dialect::Mysql => format!("CAST(UNIX_TIMESTAMP({name}) AS CHAR)"),
            Dialect::Postgres => format!("CAST(EXTRACT(EPOCH FROM {name}) AS TEXT)"),
            Dialect::Sqlite => format!("CAST(unixepoch({name}) AS TEXT)"),
        }));
        let statement = format!("SELECT {} FROM {}", wanted.join(", "), self.dialect.quoted(table));
        self.link.each(statement, take).await
    }
}
