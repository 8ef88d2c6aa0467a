//! What `tollgate demo` reads back where its records were written: an SQLite database, and a socket for lines of syslog.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};
use tokio::runtime::{Builder, Runtime};

use crate::clock;

/// How often the database is asked for a row that is not there yet.
const LOOK: Duration = Duration::from_millis(20);

/// A row of accounting: what an operator looks at first.
pub(super) struct Row {
    /// The record it is of.
    pub record: String,
    /// Number of the leg, from 1; 0 without legs.
    pub leg: i64,
    /// How long the call lasted, as far as the row says.
    pub duration_ms: Option<i64>,
    /// The row on a line.
    pub text: String,
}

/// The database, and a connection to it.
pub(super) struct Database {
    runtime: Runtime,
    connection: SqliteConnection,
}

/// The tables of calls, and of calls that were missed.
const TABLES: [&str; 2] = ["acc", "missed_calls"];

impl Database {
    /// Makes a file with the tables.
    pub fn create(path: &Path, statements: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).disable_statement_logging();
        let connection = runtime.block_on(async {
            let mut connection = options.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        });
        Ok(Self { runtime, connection: connection.context("cannot make the SQLite database")? })
    }

    /// Rows of a call, once so many records have theirs.
    pub fn wait(&mut self, call_id: &str, records: usize, wait: Duration) -> anyhow::Result<Vec<Row>> {
        let begun = clock::mono();
        loop {
            let rows = self.rows(call_id).context("cannot read the SQLite database")?;
            let mut ids: Vec<_> = rows.iter().map(|row| &row.record).collect();
            ids.sort();
            ids.dedup();
            if ids.len() >= records {
                return Ok(rows);
            }
            if clock::mono().since(begun) > wait {
                return Err(anyhow!("{} of {records} records are in the SQLite database", ids.len()));
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn rows(&mut self, call_id: &str) -> Result<Vec<Row>, sqlx::Error> {
        let mut rows = Vec::new();
        for table in TABLES {
            let statement = format!(
                "SELECT record_id, leg, duration_ms, method, sip_code, sip_reason, time, to_tag, src, dst \
                 FROM {table} WHERE callid = ? ORDER BY id"
            );
            let query = sqlx::query(AssertSqlSafe(statement)).bind(call_id);
            for row in self.runtime.block_on(query.fetch_all(&mut self.connection))? {
                rows.push(read(table, &row)?);
            }
        }
        Ok(rows)
    }
}

fn read(table: &str, row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
    let (leg, duration_ms) = (row.try_get("leg")?, row.try_get::<Option<i64>, _>("duration_ms")?);
    let mut line = format!(
        "{table}: method={} sip_code={} sip_reason='{}' time='{}' to_tag='{}'",
        text("method")?,
        text("sip_code")?,
        text("sip_reason")?,
        text("time")?,
        text("to_tag")?
    );
    if let Some(duration) = duration_ms {
        line.push_str(&format!(" duration_ms={duration}"));
    }
    if leg > 0 {
        line.push_str(&format!(" leg={leg} src='{}' dst='{}'", text("src")?, text("dst")?));
    }
    Ok(Row { record: text("record_id")?, leg, duration_ms, text: line })
}

/// A local log: a socket as `/dev/log` is one.
pub(super) struct Log {
    socket: UnixDatagram,
    /// Where it is.
    pub path: PathBuf,
}

impl Log {
    /// In that folder.
    pub fn bind(folder: &Path, wait: Duration) -> io::Result<Self> {
        let path = folder.join("log");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(wait))?;
        Ok(Self { socket, path })
    }

    /// The next line.
    pub fn next(&self) -> io::Result<String> {
        let mut buffer = [0; 65_535];
        let octets = self.socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..octets]).trim_end().to_owned())
    }
}
