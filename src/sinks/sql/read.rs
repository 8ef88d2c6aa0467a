//! Reads a table of any of the databases as texts, for comparisons; writes nothing.

use super::database::{Link, Target};
use super::settings::Dialect;
use crate::sinks::secret::Secret;

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    dialect: Dialect,
}

impl Reader {
    /// Connects to the database at a URL.
    ///
    /// # Errors
    /// The URL is none, or the database says no.
    pub async fn connect(url: &str, password: Option<&Secret>) -> Result<Self, sqlx::Error> {
        let dialect = Dialect::of(url).ok_or_else(|| sqlx::Error::Configuration("no URL of a database".into()))?;
        let link = Target::new(url, password)?.connect().await?;
        Ok(Self { link, dialect })
    }

    /// The columns of a table; none if there is no such table.
    ///
    /// # Errors
    /// The database says no.
    pub async fn columns(&mut self, table: &str) -> Result<Vec<String>, sqlx::Error> {
        let found = self.link.table(table).await?;
        Ok(found.map_or_else(Vec::new, |found| found.columns.into_iter().map(|column| column.name).collect()))
    }

    /// These columns of all rows as texts, and an instant, if one is wanted, as seconds since 1970.
    ///
    /// # Errors
    /// The database says no.
    pub async fn texts(
        &mut self,
        table: &str,
        columns: &[&str],
        instant: Option<&str>,
    ) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
        let (text, seconds) = match self.dialect {
            Dialect::Mysql => ("CHAR", "UNIX_TIMESTAMP"),
            Dialect::Postgres => ("TEXT", "EXTRACT(EPOCH FROM "),
            Dialect::Sqlite => ("TEXT", "unixepoch"),
        };
        let quoted = |name: &str| self.dialect.quoted(name);
        let mut wanted: Vec<String> = columns.iter().map(|name| format!("CAST({} AS {text})", quoted(name))).collect();
        wanted.extend(instant.map(|name| {
            let open = if seconds.ends_with(' ') { "" } else { "(" };
            format!("CAST({seconds}{open}{}) AS {text})", quoted(name))
        }));
        self.link.rows(format!("SELECT {} FROM {}", wanted.join(", "), quoted(table)), &[]).await
    }
}
