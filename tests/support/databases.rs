//! Real databases in folders of the tests' own, and what only goes before FreeRADIUS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::start::Start as _;
use crate::support::{FreeRadius, Running, peer, wait_for};

/// Where Debian's package has the modules, schemas and queries of FreeRADIUS.
const PACKAGED: &str = "/etc/freeradius/3.0/mods-config/sql/main";

/// Which database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgresql,
}

impl Dialect {
    /// As FreeRADIUS names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Postgresql => "postgresql",
        }
    }
}

/// A database with the stock schema of FreeRADIUS and that of `etc/freeradius`.
pub struct Database {
    dialect: Dialect,
    dir: PathBuf,
    process: Running,
}

impl Database {
    /// Starts one below `dir`; `None` when it, or what FreeRADIUS needs for it, is not installed or cannot be read.
    pub fn start(dir: &Path, dialect: Dialect) -> Option<Self> {
        let programs: &[&str] = match dialect {
            Dialect::Mysql => &["mariadbd", "mariadb", "mariadb-install-db"],
            Dialect::Postgresql => &["psql", "setpriv"],
        };
        for program in programs {
            peer(program)?;
        }
        let packaged = Path::new(PACKAGED).join(dialect.name());
        let module = format!("/usr/lib/freeradius/rlm_sql_{}.so", dialect.name());
        for file in [module, packaged.join("schema.sql").display().to_string()] {
            crate::support::peer_file(Path::new(&file))?;
        }
        // The server may run as another user, which has to come in.
        open_up(dir);
        let dir = dir.join(dialect.name());
        fs::create_dir_all(&dir).expect("the folder can be made");
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases");
        let script = match dialect {
            Dialect::Mysql => "mariadb.sh",
            Dialect::Postgresql => "postgresql.sh",
        };
        let output = dir.parent().unwrap_or(&dir).join(format!("{}.out", dialect.name()));
        let process = Running::start(Command::new(tests.join(script)).arg(&dir), output);
        let database = Self { dialect, dir, process };
        wait_for("the database answers", || database.run(None, "SELECT 1").ok());
        database.run(None, "CREATE DATABASE radius").expect("the database can be made");
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/freeradius").join(dialect.name());
        for file in [packaged.join("schema.sql"), own.join("schema.sql")] {
            let schema = fs::read_to_string(&file).expect("the schema can be read");
            database.run(Some("radius"), &schema).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        Some(database)
    }

    /// Its folder, with its socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn run(&self, database: Option<&str>, statements: &str) -> Result<String, String> {
        let mut command = match self.dialect {
            Dialect::Mysql => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-uroot", "-N", "-B", "--default-character-set=utf8mb4", "-S"]);
                command.arg(self.dir.join("db.sock")).args(database);
                command
            }
            Dialect::Postgresql => {
                let mut command = Command::new("psql");
                command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "radius", "-h"]);
                command.arg(&self.dir).arg(database.unwrap_or("postgres"));
                command
            }
        };
        let file = self.dir.parent().unwrap_or(&self.dir).join("statements.sql");
        fs::write(&file, statements).map_err(|error| error.to_string())?;
        let input = fs::File::open(&file).map_err(|error| error.to_string())?;
        command.stdin(Stdio::from(input)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.start().and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The rows of a query on the database of FreeRADIUS, columns divided by tabs.
    ///
    /// # Panics
    /// When the database refuses it.
    pub fn rows(&self, query: &str) -> Vec<String> {
        let answer = self.run(Some("radius"), query).unwrap_or_else(|error| panic!("{query}: {error}"));
        answer.lines().map(str::to_owned).collect()
    }

    /// FreeRADIUS with `accounting { sql }` alone into this database.
    pub fn freeradius(&self, dir: &Path, queries: Queries) -> Option<FreeRadius> {
        let place = self.dir.display().to_string();
        let own = if queries == Queries::WithOurs { "1" } else { "0" };
        let environment =
            [("RADTEST_STOCK_SQL", self.dialect.name()), ("RADTEST_DB", place.as_str()), ("RADTEST_OWN_QUERIES", own)];
        FreeRadius::start(&dir.join(own), &environment)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Its children would outlive a kill for a while: both servers end at once on SIGQUIT or SIGTERM.
        self.process.signal(if self.dialect == Dialect::Postgresql { libc::SIGQUIT } else { libc::SIGTERM });
        let _status = self.process.wait("the database");
    }
}

/// Which queries FreeRADIUS has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queries {
    /// The packaged ones.
    Stock,
    /// Those of `etc/freeradius` as well.
    WithOurs,
}

fn open_up(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the folder is the test's own");
}

/// A radsecproxy in front of a server; `None` when it is not installed.
pub fn radsecproxy(dir: &Path, port: u16, upstream: u16) -> Option<Running> {
    let program = peer("radsecproxy")?;
    let file = dir.join("radsecproxy.conf");
    let text = format!(
        "ListenUDP 127.0.0.1:{port}\nLogLevel 2\nclient gateway {{\n host 127.0.0.1\n type udp\n secret testing123\n}}\n\
         server store {{\n host 127.0.0.1\n port {upstream}\n type udp\n secret testing123\n}}\n\
         realm * {{\n server store\n accountingServer store\n}}\n"
    );
    fs::write(&file, text).expect("the configuration is written");
    Some(Running::start(Command::new(program).arg("-f").arg("-c").arg(&file), dir.join("radsecproxy.out")))
}
