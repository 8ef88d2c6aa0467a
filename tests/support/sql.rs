//! Real databases for the SQL sink, each in a folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tollgate::sinks::attempt::{Attempts, Board};
use tollgate::sinks::sql::{self, Dialect, Profile, Settings};

use crate::support::radius::Line;
use crate::support::start::Start as _;
use crate::support::{Running, peer, try_wait_for, wait_for};

/// A database called `acc` on a server of its own, or in a file.
pub struct Database {
    dialect: Dialect,
    dir: PathBuf,
    /// The server; SQLite has none.
    process: Option<Running>,
    /// Whether it waits for the disk.
    is_durable: bool,
}

impl Database {
    /// Starts one below `dir`, with nothing in it; `None` when it is not installed.
    pub fn start(dir: &Path, dialect: Dialect) -> Option<Self> {
        Self::begun(dir, dialect, true)
    }

    /// The same without waiting for the disk, for many connections.
    pub fn start_quick(dir: &Path, dialect: Dialect) -> Option<Self> {
        let database = Self::begun(dir, dialect, false)?;
        if dialect == Dialect::Mysql {
            database.run("SET GLOBAL max_connections = 1000").expect("root may");
        }
        Some(database)
    }

    fn begun(dir: &Path, dialect: Dialect, is_durable: bool) -> Option<Self> {
        let programs: &[&str] = match dialect {
            Dialect::Mysql => &["mariadbd", "mariadb", "mariadb-install-db"],
            Dialect::Postgres => &["psql", "setpriv"],
            Dialect::Sqlite => &["sqlite3"],
        };
        for program in programs {
            peer(program)?;
        }
        open_up(dir);
        let dir = dir.join(dialect.name());
        fs::create_dir_all(&dir).expect("the folder can be made");
        let mut database = Self { dialect, dir, process: None, is_durable };
        database.begin();
        match dialect {
            Dialect::Sqlite => drop(database.run("PRAGMA journal_mode = WAL")),
            _ => drop(database.run_in(None, "CREATE DATABASE acc").expect("the database can be made")),
        }
        Some(database)
    }

    fn begin(&mut self) {
        let script = match self.dialect {
            Dialect::Mysql => "mariadb.sh",
            Dialect::Postgres => "postgresql.sh",
            Dialect::Sqlite => return,
        };
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases");
        let mut command = Command::new(tests.join(script));
        command.arg(&self.dir);
        if self.is_durable {
            command.env("DURABLE", "1");
        }
        let output = self.dir.parent().unwrap_or(&self.dir).join(format!("{}.out", self.dialect.name()));
        self.process = Some(Running::start(&mut command, output));
        let mut told = String::new();
        let answers = try_wait_for(|| self.run_in(None, "SELECT 1").map_err(|error| told = error).ok());
        if answers.is_none() {
            let printed = self.process.as_ref().map_or(String::new(), Running::printed);
            let installed = fs::read_to_string(self.dir.join("install.log")).unwrap_or_default();
            panic!("{:?} does not answer: {told}\n{printed}\n{installed}", self.dialect);
        }
    }

    /// `kill -9`, whatever it is doing.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// Starts it again on its files.
    pub fn start_again(&mut self) {
        // PostgreSQL's children see a while later that their parent is gone.
        let _stale = fs::remove_file(self.dir.join("data/postmaster.pid"));
        if self.dialect == Dialect::Postgres {
            wait_for("its children are gone", || processes_in(&self.dir.join("data")).is_empty().then_some(()));
        }
        self.begin();
    }

    /// Where the sink finds it.
    pub fn url(&self) -> String {
        let dir = self.dir.display();
        match self.dialect {
            Dialect::Mysql => format!("mysql://root@localhost/acc?socket={dir}/db.sock"),
            Dialect::Postgres => format!("postgres://radius@localhost/acc?host={dir}"),
            Dialect::Sqlite => format!("sqlite:{dir}/acc.db"),
        }
    }

    /// A further database on the server, and where the sink finds that.
    pub fn another(&self, name: &str) -> String {
        let characters = if self.dialect == Dialect::Mysql { " CHARACTER SET utf8mb4" } else { "" };
        self.run_in(None, &format!("CREATE DATABASE {name}{characters}")).expect("the database can be made");
        self.url().replacen("/acc?", &format!("/{name}?"), 1)
    }

    /// A pgbouncer before it, in transaction mode with one connection for all, and where the sink finds that; `None` when
    /// it is not installed.
    pub fn bouncer(&self) -> Option<(Running, String)> {
        let program = peer("pgbouncer")?;
        let dir = self.dir.join("bouncer");
        fs::create_dir_all(&dir).expect("the folder can be made");
        let (place, file) = (dir.display(), dir.join("pgbouncer.ini"));
        let text = format!(
            "[databases]\nacc = host={} dbname=acc user=radius\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {place}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 1\npidfile = {place}/pid\n",
            self.dir.display()
        );
        fs::write(&file, text).expect("the configuration is written");
        // It refuses to be root.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).arg(&file);
        let owner = fs::metadata(self.dir.join("data")).expect("the server's folder is there");
        let owner = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        std::os::unix::fs::chown(&dir, Some(owner.0), Some(owner.1)).expect("the folder is the test's own");
        let process = Running::start(&mut command, self.dir.join("bouncer.out"));
        wait_for("pgbouncer listens", || dir.join(".s.PGSQL.6432").exists().then_some(()));
        Some((process, format!("postgres://radius@localhost:6432/acc?host={place}")))
    }

    /// Which it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The server's process.
    pub fn process(&self) -> Option<&Running> {
        self.process.as_ref()
    }

    /// Runs statements in the database.
    pub fn run(&self, statements: &str) -> Result<String, String> {
        self.run_in(Some("acc"), statements)
    }

    /// A client in the database that takes statements at its standard input, and ends with that.
    pub fn client(&self) -> Child {
        let mut command = self.command(Some("acc"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.start().expect("the client starts")
    }

    /// Sends a signal to the server, with its children.
    pub fn signal_all(&self, signal: i32) {
        let Some(process) = &self.process else { return };
        process.signal(signal);
        for child in processes_in(&self.dir.join("data")) {
            // SAFETY: a process of this test's own server, which has its private folder as its own.
            unsafe { libc::kill(child, signal) };
        }
    }

    fn command(&self, database: Option<&str>) -> Command {
        match self.dialect {
            Dialect::Mysql => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-uroot", "-N", "-B", "--default-character-set=utf8mb4", "-S"]);
                command.arg(self.dir.join("db.sock")).args(database);
                command
            }
            Dialect::Postgres => {
                let mut command = Command::new("psql");
                command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "radius", "-h"]);
                command.arg(&self.dir).arg(database.unwrap_or("postgres"));
                command
            }
            Dialect::Sqlite => {
                let mut command = Command::new("sqlite3");
                command.args(["-bail", "-tabs", "-cmd", ".timeout 5000", "-nullvalue", "NULL"]);
                command.arg(self.dir.join("acc.db"));
                command
            }
        }
    }

    fn run_in(&self, database: Option<&str>, statements: &str) -> Result<String, String> {
        let mut command = self.command(database);
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        fs::write(file.path(), statements).map_err(|error| error.to_string())?;
        let input = fs::File::open(file.path()).map_err(|error| error.to_string())?;
        command.stdin(Stdio::from(input)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.start().and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The rows of a query, columns divided by tabs.
    ///
    /// # Panics
    /// When the database refuses it.
    pub fn rows(&self, query: &str) -> Vec<String> {
        let answer = self.run(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        answer.lines().map(str::to_owned).collect()
    }

    /// Rows in a table.
    pub fn count(&self, table: &str) -> u64 {
        self.rows(&format!("SELECT count(*) FROM {table}")).concat().trim().parse().expect("a number")
    }

    /// Settings of an impatient sink, whose tables are made.
    pub fn settings(&self, profile: Profile) -> Settings {
        let mut settings = Settings::new(&self.url(), profile);
        settings.delivery.retry_first = std::time::Duration::from_millis(50);
        settings.delivery.retry_max = std::time::Duration::from_millis(200);
        settings
    }

    /// Makes the tables that settings ask for.
    pub fn make(&self, settings: &Settings) {
        let schema = sql::schema(settings);
        self.run(&schema).unwrap_or_else(|error| panic!("{schema}\n{error}"));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        // Its children would outlive a kill for a while: both servers end at once on SIGQUIT or SIGTERM.
        process.signal(libc::SIGCONT);
        process.signal(if self.dialect == Dialect::Postgres { libc::SIGQUIT } else { libc::SIGTERM });
        let _status = process.wait("the database");
    }
}

/// The processes that have this folder as their working directory.
fn processes_in(folder: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder));
    own.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

fn open_up(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the folder is the test's own");
}

/// Queue, worker and SQL sink.
pub fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let connection = sql::connection("test", &settings).expect("the URL can be read");
        let render = sql::render(&settings);
        let sink = Attempts::new("test", settings.delivery.clone(), render, connection, tollgate::ids::Seq(0));
        let board = sink.board();
        (sink, board)
    })
}
