//! The databases of all plays: the rows of each system go where it had its own, into MariaDB, PostgreSQL or SQLite.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ColumnIndex, ConnectOptions as _, Connection, Decode, Row, Type};
use sqlx::{MySqlConnection, PgConnection};
use tollgate::sinks::sql::Dialect;

use crate::support::sql::Database;

/// One server of each sort, for all plays of a test.
pub struct Servers {
    mysql: Option<Database>,
    postgres: Option<Database>,
    /// Databases that have been made.
    made: AtomicU32,
    _dir: tempfile::TempDir,
}

impl Servers {
    /// Starts those that are installed.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self {
            mysql: Database::start_quick(dir.path(), Dialect::Mysql),
            postgres: Database::start_quick(dir.path(), Dialect::Postgres),
            made: AtomicU32::new(0),
            _dir: dir,
        }
    }

    /// None: all databases are files of SQLite.
    pub fn files() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { mysql: None, postgres: None, made: AtomicU32::new(0), _dir: dir }
    }

    /// An empty database; for want of its server a file of SQLite.
    pub fn store(&self, dialect: Dialect, file: &Path) -> Store {
        let server = match dialect {
            Dialect::Mysql => self.mysql.as_ref(),
            Dialect::Postgres => self.postgres.as_ref(),
            Dialect::Sqlite => None,
        };
        let name = format!("play{}", self.made.fetch_add(1, Ordering::Relaxed));
        let url = server.map_or_else(|| format!("sqlite:{}", file.display()), |server| server.another(&name));
        Store { dialect: server.map_or(Dialect::Sqlite, Database::dialect), url }
    }
}

/// A database of one system in one play.
pub struct Store {
    dialect: Dialect,
    url: String,
}

/// A row as texts.
type Texts = Vec<Option<String>>;

/// The columns of a row with their values.
type Columns = Vec<(String, Option<String>)>;

impl Store {
    /// Where the sink finds it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes tables, given as SQLite takes them.
    pub fn make(&self, tables: &str) {
        let changes: &[(&str, &str)] = match self.dialect {
            Dialect::Mysql => &[
                ("PRIMARY KEY NOT NULL", "PRIMARY KEY NOT NULL AUTO_INCREMENT"),
                ("record_id VARCHAR(26)", "record_id CHAR(26) CHARACTER SET ascii COLLATE ascii_bin"),
            ],
            Dialect::Postgres => &[("INTEGER PRIMARY KEY", "SERIAL PRIMARY KEY"), ("DATETIME", "TIMESTAMP")],
            Dialect::Sqlite => &[],
        };
        let tables = changes.iter().fold(tables.to_owned(), |tables, (from, to)| tables.replace(from, to));
        self.run(&tables);
    }

    /// All rows of all tables by column, each with the name of its table.
    pub fn rows(&self) -> Vec<(String, Columns)> {
        let (tables, columns) = match self.dialect {
            Dialect::Mysql => {
                ("information_schema.tables WHERE table_schema = database()", "table_schema = database()")
            }
            Dialect::Postgres => ("information_schema.tables WHERE table_schema = 'public'", "table_schema = 'public'"),
            Dialect::Sqlite => ("sqlite_schema WHERE type = 'table'", ""),
        };
        let name = if self.dialect == Dialect::Sqlite { "name" } else { "table_name" };
        let mut rows = Vec::new();
        for table in self.run(&format!("SELECT {name} FROM {tables}")).into_iter().flatten().flatten() {
            let columns = match self.dialect {
                Dialect::Sqlite => format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"),
                _ => format!(
                    "SELECT column_name FROM information_schema.columns WHERE {columns} AND table_name = '{table}' \
                     ORDER BY ordinal_position"
                ),
            };
            let columns: Vec<String> = self.run(&columns).into_iter().flatten().flatten().collect();
            let text = if self.dialect == Dialect::Mysql { "CHAR" } else { "TEXT" };
            let texts = columns.iter().map(|column| format!("CAST({} AS {text})", self.dialect.quoted(column)));
            let query = format!("SELECT {} FROM {table} ORDER BY id", texts.collect::<Vec<_>>().join(", "));
            let named = |values: Texts| (table.clone(), columns.iter().cloned().zip(values).collect());
            rows.extend(self.run(&query).into_iter().map(named));
        }
        rows
    }

    fn run(&self, statements: &str) -> Vec<Texts> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let text = || sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        let ran: Result<_, sqlx::Error> = runtime.block_on(async {
            Ok(match self.dialect {
                Dialect::Mysql => {
                    let mut database = MySqlConnection::connect(&self.url).await?;
                    texts(&text().fetch_all(&mut database).await?)
                }
                Dialect::Postgres => {
                    let mut database = PgConnection::connect(&self.url).await?;
                    texts(&text().fetch_all(&mut database).await?)
                }
                Dialect::Sqlite => {
                    let options: SqliteConnectOptions = self.url.parse()?;
                    let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
                    let mut database = options.connect().await?;
                    let rows = texts(&text().fetch_all(&mut database).await?);
                    database.close().await?;
                    rows
                }
            })
        });
        ran.unwrap_or_else(|error| panic!("{}: {error}: {statements}", self.url))
    }
}

fn texts<R: Row>(rows: &[R]) -> Vec<Texts>
where
    usize: ColumnIndex<R>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
{
    rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
}
