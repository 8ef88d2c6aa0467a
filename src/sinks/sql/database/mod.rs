//! One connection to a database of any of the three, and what is the same with all: statements, rows of texts.

mod mysql;
mod postgres;
mod sqlite;

use std::future::poll_fn;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::catalogue::Table;
use super::settings::Dialect;
use crate::sinks::secret::Secret;

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    /// With the octets that a statement may have.
    Mysql(Box<MySqlConnection>, usize),
    Postgres(Box<PgConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// Does the same with each kind of connection; its type is called `$database` within.
macro_rules! with {
    ($link:expr, $own:ident: $database:ident => $body:expr) => {
        match $link {
            Link::Mysql($own, _) => {
                #[allow(dead_code, reason = "not every statement needs its name")]
                type $database = sqlx::MySql;
                $body
            }
            Link::Postgres($own) => {
                #[allow(dead_code, reason = "as above")]
                type $database = sqlx::Postgres;
                $body
            }
            Link::Sqlite($own) => {
                #[allow(dead_code, reason = "as above")]
                type $database = sqlx::Sqlite;
                $body
            }
        }
    };
}

/// Whether a statement stays prepared for the next time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    /// It does, at MySQL and SQLite: MySQL describes each mark of a statement whenever it is prepared, which costs more
    /// than its rows.
    Prepared,
    /// It does not.
    Not,
}

/// Statements that stay prepared: one for each number of rows, and what is used longest ago goes.
const PREPARED_MAX: usize = 64;

/// Texts of a row, `None` for NULL.
pub(super) type Texts = Vec<Option<String>>;

/// Longest wait for a lock on a SQLite file.
const SQLITE_BUSY_MAX: Duration = Duration::from_secs(5);

/// How the database at a URL is reached.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Mysql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(url: &str, password: Option<&Secret>) -> Result<Self, sqlx::Error> {
        let password = password.map(Secret::text);
        Ok(match Dialect::of(url) {
            Some(Dialect::Mysql) => {
                // The zone stays at sqlx's +00:00: a TIMESTAMP column is written in UTC.
                let options =
                    MySqlConnectOptions::from_str(url)?.pipes_as_concat(false).statement_cache_capacity(PREPARED_MAX);
                let options = password.map_or(options.clone(), |password| options.password(password));
                Self::Mysql(Box::new(options.disable_statement_logging()))
            }
            Some(Dialect::Postgres) => {
                // pgbouncer refuses the start parameter.
                let options = PgConnectOptions::from_str(url)?.extra_float_digits(None).statement_cache_capacity(0);
                let options = options.application_name("tollgate");
                let options = password.map_or(options.clone(), |password| options.password(password));
                Self::Postgres(Box::new(options.disable_statement_logging()))
            }
            Some(Dialect::Sqlite) => {
                let options = SqliteConnectOptions::from_str(url)?.busy_timeout(SQLITE_BUSY_MAX);
                let options = options.thread_name(|_| "sqlite".to_owned()).statement_cache_capacity(PREPARED_MAX);
                Self::Sqlite(Box::new(options.disable_statement_logging()))
            }
            None => return Err(sqlx::Error::Configuration("it begins with none of mysql:, postgres:, sqlite:".into())),
        })
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Link, sqlx::Error> {
        match self {
            Self::Mysql(options) => {
                let mut link = Link::Mysql(Box::new(options.connect().await?), usize::MAX);
                link.run(mysql::STRICT).await?;
                let most = mysql::octets_max(&mut link).await?;
                if let Link::Mysql(_, octets) = &mut link {
                    *octets = most;
                }
                Ok(link)
            }
            Self::Postgres(options) => Ok(Link::Postgres(Box::new(options.connect().await?))),
            Self::Sqlite(options) => Ok(Link::Sqlite(Box::new(options.connect().await?))),
        }
    }
}

impl Link {
    /// Whether the other side is still there.
    pub async fn ping(&mut self) -> Result<(), sqlx::Error> {
        with!(self, own: Database => own.ping().await)
    }

    /// Octets of values that one statement may have.
    pub const fn octets_max(&self) -> usize {
        match self {
            Self::Mysql(_, octets) => *octets,
            Self::Postgres(_) | Self::Sqlite(_) => usize::MAX,
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        // It is of no use any more, whatever comes of it.
        let _goodbye = with!(self, own: Database => own.close().await);
    }

    /// Runs a statement without values.
    pub async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        with!(self, own: Database => sqlx::raw_sql(statement).execute(&mut **own).await.map(drop))
    }

    /// Runs a statement with a text for each of its marks.
    pub async fn execute(&mut self, statement: String, texts: &[Option<&str>], keep: Keep) -> Result<(), sqlx::Error> {
        with!(self, own: Database => {
            let query = sqlx::query::<Database>(AssertSqlSafe(statement));
            let mut query = query.persistent(keep == Keep::Prepared);
            for text in texts {
                query = query.bind(*text);
            }
            query.execute(&mut **own).await.map(drop)
        })
    }

    /// As [`Link::execute`] at PostgreSQL, with an array of texts for each mark.
    pub async fn execute_arrays(
        &mut self,
        statement: String,
        arrays: Vec<Vec<Option<&str>>>,
    ) -> Result<(), sqlx::Error> {
        let Self::Postgres(own) = self else { return Ok(()) };
        // Kept by no connection: pgbouncer gives the next statement another one.
        let mut query = sqlx::query::<sqlx::Postgres>(AssertSqlSafe(statement)).persistent(false);
        for array in arrays {
            query = query.bind(array);
        }
        query.execute(&mut **own).await.map(drop)
    }

    /// Rows whose columns are all texts.
    pub async fn rows(&mut self, statement: String, texts: &[&str]) -> Result<Vec<Texts>, sqlx::Error> {
        with!(self, own: Database => {
            let mut query = sqlx::query::<Database>(AssertSqlSafe(statement)).persistent(false);
            for text in texts {
                query = query.bind(*text);
            }
            let rows = query.fetch_all(&mut **own).await?;
            let texts = rows.iter().map(|row| (0..row.len()).map(|at| row.try_get(at)).collect());
            texts.collect()
        })
    }

    /// Hands over the rows of a statement as they come, all columns texts.
    pub async fn each(&mut self, statement: String, take: &mut dyn FnMut(Texts)) -> Result<(), sqlx::Error> {
        with!(self, own: Database => {
            let query = sqlx::query::<Database>(AssertSqlSafe(statement)).persistent(false);
            let mut rows = query.fetch(&mut **own);
            while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
                let row = row?;
                take((0..row.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>()?);
            }
            Ok(())
        })
    }

    /// What the database says of a table; `None` if it has none of that name.
    pub async fn table(&mut self, name: &str) -> Result<Option<Table>, sqlx::Error> {
        self.bracket("BEGIN").await?;
        let table = match self {
            Self::Mysql(..) => mysql::table(self, name).await,
            Self::Postgres(_) => postgres::table(self, name).await,
            Self::Sqlite(_) => sqlite::table(self, name).await,
        };
        self.bracket(if table.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        let table = table?;
        Ok((!table.columns.is_empty()).then_some(table))
    }

    /// Begins or ends the transaction that a statement needs at PostgreSQL even if it is alone.
    ///
    /// A statement goes there in two steps, and is parsed in the first one. A pgbouncer in transaction mode may let
    /// another client parse its own on the same connection in between, which is then the one that gets our values.
    pub async fn bracket(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        if matches!(self, Self::Postgres(_)) { self.run(statement).await } else { Ok(()) }
    }
}

/// Indexes from rows of a name and a column each, in their order.
fn indexes(rows: Vec<Texts>) -> Vec<super::catalogue::Unique> {
    let mut found: Vec<super::catalogue::Unique> = Vec::new();
    for row in rows {
        let mut texts = row.into_iter().map(Option::unwrap_or_default);
        let (name, column) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        match found.last_mut().filter(|index| index.name == name) {
            Some(index) => index.columns.push(column),
            None => found.push(super::catalogue::Unique { name, columns: vec![column] }),
        }
    }
    found
}
