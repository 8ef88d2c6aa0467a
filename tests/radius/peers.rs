//! Peers that behave otherwise than FreeRADIUS with a detail file: a proxy that answers by itself, stock SQL on MariaDB and
//! PostgreSQL, a server slower than a visit, pyrad.
//!
//! The real queue lends, the real worker and sink deliver. A peer that is not installed is skipped; with
//! `TOLLGATE_PEERS=required` it fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate::clock::Timestamp;
use tollgate::config;
use tollgate::ids::CallHash;
use tollgate::queue::AFTER_ALL;
use tollgate::radius::client::Health;
use tollgate::record::{Kind, Record, Times};
use tollgate::sinks::radius::Settings;

use crate::support::databases::{Database, Dialect, Queries, radsecproxy};
use crate::support::radius::{Line, of_user, record, settings};
use crate::support::{FreeRadius, Running, free_ports, python, value, wait_for};

/// Three seconds each: a minute if the server is never idle and gets none for nothing.
const RECORDS_OF_A_SLOW_SERVER: u64 = 20;
const LIMIT_OF_A_SLOW_SERVER: Duration = Duration::from_secs(80);

/// Accounting-On, without User-Name.
fn accounting_on() -> Record {
    let times = Times { event: Timestamp(1_700_001_000_000_000), ..Times::default() };
    Record { session: String::new(), call_id: Vec::new(), times, ..record(Kind::On, 0, Vec::new()) }
}

/// Does something no more than three times a second while something else is waited for.
#[derive(Default)]
struct NowAndThen(Option<Instant>);

impl NowAndThen {
    fn often<T>(&mut self, what: impl FnOnce() -> T) {
        if self.0.is_none_or(|last| last.elapsed() >= Duration::from_millis(300)) {
            self.0 = Some(Instant::now());
            what();
        }
    }
}

fn thaw(process: &Running) {
    process.signal(libc::SIGCONT);
}

#[test]
fn behind_a_proxy_that_answers_by_itself_a_frozen_store_parks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let [port] = free_ports();
    let Some(_proxy) = radsecproxy(dir.path(), port, server.port) else { return };
    let mut line = Line::start(settings(&[port]));
    line.append_one(of_user(Kind::Start, 1, "alice"));
    line.delivered(1);

    server.process.freeze();
    line.append(vec![(accounting_on(), CallHash(77))]);
    for number in 2..=7 {
        line.append_one(of_user(Kind::Start, number, "bob"));
    }
    wait_for("the proxy's own answers are seen through", || {
        (line.board.servers()[0].health == Health::ProbesOnly).then_some(())
    });
    // Three visits would park a record: they are many more.
    let mut more = NowAndThen::default();
    wait_for("many visits fail", || {
        more.often(|| line.append_one(record(Kind::Start, 100, Vec::new())));
        (line.stats().retries >= 15).then_some(())
    });
    let stats = line.stats();
    assert_eq!((stats.balance.parked, stats.parked_now), (0, 0), "{stats:?}");
    let confirmed = stats.balance.delivered;
    assert!(confirmed >= 2, "the proxy acknowledges what has no User-Name: {stats:?}");
    thaw(&server.process);
    wait_for("all records with a name are stored", || {
        let names = |record: &Vec<String>| value(record, "Acct-Session-Id").map(str::to_owned);
        let stored: BTreeSet<_> = server.records().iter().filter_map(names).collect();
        (2..=7).all(|number| stored.contains(&format!("{number:032x}"))).then_some(())
    });
    wait_for("nothing waits", || (line.stats().balance.waiting == 0).then_some(()));
    assert_eq!(line.stats().balance.parked, 0);
    assert!(server.records().iter().all(|record| value(record, "User-Name").is_some()), "the proxy kept the others");
}

#[test]
fn a_server_of_one_thread_slower_than_a_visit_stores_each_record_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[("RADTEST_FAULTS", "1")]) else { return };
    fs::write(server.dir.join("fault"), "delay1\n").unwrap();
    // A visit lasts 3 s, a record takes the server 1 s, and eight set out at once.
    let mut slow = settings(&[server.port]);
    slow.client.initial_timeout = Duration::from_millis(1000);
    slow.client.max_timeout = Duration::from_secs(4);
    slow.client.retry_first = Duration::from_secs(1);
    slow.client.retry_max = Duration::from_secs(4);
    let mut line = Line::start(slow);
    let begin = Instant::now();
    for number in 0..12 {
        line.append_one(of_user(Kind::Start, number, "alice"));
    }
    line.delivered(12);
    let (took, stored) = (begin.elapsed(), server.records().len());
    let status = line.board.servers()[0];
    assert!(took < Duration::from_secs(30) && stored <= 17, "12 records in {took:?}, {stored} stored: {status:?}");
    assert_eq!(line.stats().balance.parked, 0);
    assert!(status.counters.stored_late > 0 && status.counters.late <= 6, "{status:?}");
}

/// The settings that the gateway makes of a client file as an operator writes it.
fn by_client_file(dir: &Path, port: u16) -> Settings {
    let client = format!(
        "acctserver 127.0.0.1:{port}:testing123\nradius_timeout 5\nradius_retries 2\nnas-identifier test\nnas-ip 192.0.2.1\n"
    );
    fs::write(dir.join("radiusclient.conf"), client).unwrap();
    let toml = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"radius\"]\nfields.user = \"$fU\"\n\
                [sinks.radius.test]\nconfig = \"radiusclient.conf\"\nfields.user = \"User-Name\"\n";
    fs::write(dir.join("tollgate.toml"), toml).unwrap();
    let plan = config::load(&dir.join("tollgate.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink was configured").clone()
}

#[test]
fn a_server_of_one_thread_and_three_seconds_a_request_is_never_idle_and_stores_each_record_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[("RADTEST_FAULTS", "1")]) else { return };
    fs::write(server.dir.join("fault"), "delay3\n").unwrap();
    let mut line = Line::start(by_client_file(dir.path(), server.port));
    let begin = Instant::now();
    for number in 0..RECORDS_OF_A_SLOW_SERVER {
        line.append_one(of_user(Kind::Start, number, "alice"));
    }
    // Each half within the patience of a test.
    line.delivered(RECORDS_OF_A_SLOW_SERVER / 2);
    line.delivered(RECORDS_OF_A_SLOW_SERVER);
    let (took, stored) = (begin.elapsed(), server.records().len());
    let (stats, status) = (line.stats(), line.board.servers()[0]);
    assert!(took < LIMIT_OF_A_SLOW_SERVER, "{took:?}: {stats:?} {status:?}");
    assert_eq!(stats.balance.parked, 0);
    assert!(stored <= 23 && status.counters.late <= 3, "{stored} stored: {status:?}");
    assert!(status.window <= 2, "what goes out together waits for itself: {status:?}");
    assert!(status.counters.stored_late > 0, "answers after the visit count: {status:?}");
}

/// What stock queries do with the records of three calls, and what they do with ours beside them.
fn sql(dialect: Dialect) {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), dialect) else { return };
    let Some(server) = database.freeradius(dir.path(), Queries::Stock) else { return };
    let mut line = Line::start(settings(&[server.port]));
    let missed = line.append_one(of_user(Kind::Missed, 1, "bob"));
    for (number, kind) in [(2, Kind::Start), (2, Kind::Stop), (3, Kind::Start)] {
        line.append_one(of_user(kind, number, "alice"));
    }
    line.delivered(3);
    let sessions = "SELECT username, count(acctstarttime), count(acctstoptime) FROM radacct GROUP BY username";
    assert_eq!(database.rows(sessions), ["alice\t2\t1"]);
    // No query is there for it: no row, and no answer ever.
    let mut others = NowAndThen::default();
    let parked = wait_for("the missed call is parked", || {
        others.often(|| line.append_one(of_user(Kind::Start, 50, "carol")));
        (line.stats().parked_now == 1).then(|| line.parked(1))
    });
    assert_eq!(parked[0].0, missed);
    assert!(parked[0].1.contains("acknowledged other records, the last one 20"), "{}", parked[0].1);
    drop((line, server));

    let Some(server) = database.freeradius(dir.path(), Queries::WithOurs) else { return };
    let mut line = Line::start(settings(&[server.port]));
    let mut ids = Vec::new();
    for (number, kind, user) in [(1, Kind::Missed, "bob"), (4, Kind::Failed, "zoë")] {
        ids.push(line.append_one(of_user(kind, number, user)).to_string());
    }
    line.append_one(of_user(Kind::Start, 6, "erin"));
    line.delivered(3);
    let failed = "SELECT record_id, kind, username, code, repeats FROM radacct_failed ORDER BY id";
    let want = [("Missed", "bob"), ("Failed", "zoë")];
    let want: Vec<_> = ids.iter().zip(want).map(|(id, (kind, user))| format!("{id}\t{kind}\t{user}\t200\t0")).collect();
    let mut rows = database.rows(failed);
    rows.sort_by_key(|row| want.iter().position(|wanted| wanted == row));
    assert_eq!(rows, want);
    // The questions of the manual; the records are of an earlier day.
    let manual = include_str!("../../etc/freeradius/README.md");
    let questions: Vec<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("    ").filter(|q| q.starts_with("SELECT "))).collect();
    let answers: Vec<usize> = questions
        .iter()
        .map(|question| database.rows(&question.replace("CURRENT_DATE", "'2000-01-01'")).len())
        .collect();
    assert_eq!(answers, [1, 0], "one missed call, nothing twice: {questions:?}");
    // Accounting-On closes the open sessions; a second one finds none, and is answered all the same.
    line.append(vec![(accounting_on(), AFTER_ALL)]);
    line.delivered(4);
    assert_eq!(database.rows("SELECT count(*) FROM radacct WHERE acctstoptime IS NULL"), ["0"]);
    line.append(vec![(accounting_on(), AFTER_ALL)]);
    line.delivered(5);
    assert_eq!(database.rows("SELECT count(*) FROM nasreload"), ["1"]);
    if dialect == Dialect::Mysql {
        latin1(&database, &mut line);
    }
}

/// An old table has no place for most of the world's characters: error 1366, and no answer.
fn latin1(database: &Database, line: &mut Line) {
    database.rows("ALTER TABLE radacct CONVERT TO CHARACTER SET latin1");
    line.append_one(of_user(Kind::Start, 60, "łukasz"));
    let mut others = NowAndThen::default();
    let parked = wait_for("the record is parked", || {
        others.often(|| line.append_one(of_user(Kind::Start, 61, "zoë")));
        (line.stats().parked_now == 1).then(|| line.parked(1))
    });
    assert!(
        parked[0].1.contains("User-Name has `ł` (U+0142), which a table of the character set latin1"),
        "{parked:?}"
    );
    assert_eq!(database.rows("SELECT DISTINCT username FROM radacct WHERE username LIKE 'zo%'"), ["zoë"]);
}

#[test]
fn stock_sql_on_mariadb_answers_no_missed_call_and_our_queries_store_it() {
    sql(Dialect::Mysql);
}

#[test]
fn stock_sql_on_postgresql_answers_no_missed_call_and_our_queries_store_it() {
    sql(Dialect::Postgresql);
}

/// A server made of pyrad: it answers no Status-Server, and writes what it takes into a file.
struct Pyrad {
    process: Running,
    port: u16,
    file: std::path::PathBuf,
}

impl Pyrad {
    fn start(dir: &Path) -> Option<Self> {
        let mut command: Command = python("pyrad")?;
        let [port] = free_ports();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyrad/server.py");
        let file = dir.join("stored");
        command.arg(script).arg(port.to_string()).arg(&file);
        let process = Running::start(&mut command, dir.join("pyrad.out"));
        wait_for("pyrad is ready", || process.printed().contains("ready").then_some(()));
        Some(Self { process, port, file })
    }

    /// What it took: Acct-Session-Ids in order.
    fn stored(&self) -> Vec<String> {
        fs::read_to_string(&self.file).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_pyrad_server_without_status_server_takes_all_and_a_stall_or_an_unanswered_record_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Pyrad::start(dir.path()) else { return };
    let fast = settings(&[server.port]);
    let client = tollgate::radius::client::Settings {
        zombie_period: Duration::from_secs(3),
        revival: Duration::from_secs(2),
        ..fast.client.clone()
    };
    let mut line = Line::start(Settings { client, ..fast });
    // It answers nothing to this user.
    let silent = line.append_one(of_user(Kind::Start, 1, "silent"));
    for number in 2..=9 {
        line.append_one(of_user(Kind::Start, number, "alice"));
    }
    line.delivered(8);
    server.process.freeze();
    for number in 10..=15 {
        line.append_one(of_user(Kind::Start, number, "alice"));
    }
    wait_for("it counts as dead", || (line.board.servers()[0].health == Health::Dead).then_some(()));
    thaw(&server.process);
    line.delivered(14);
    let stored: BTreeSet<String> = server.stored().into_iter().collect();
    assert_eq!(stored, (2..=15).map(|number| format!("{number:032x}")).collect());
    let mut others = NowAndThen::default();
    let parked = wait_for("the record it never answers is parked", || {
        others.often(|| line.append_one(of_user(Kind::Start, 50, "carol")));
        (line.stats().parked_now == 1).then(|| line.parked(1))
    });
    assert_eq!(parked[0].0, silent);
}

/// A sink that pads its datagrams, and waits long enough for a busy machine to send none twice.
fn padding(port: u16) -> Settings {
    let plain = settings(&[port]);
    let client =
        tollgate::radius::client::Settings { initial_timeout: Duration::from_secs(20), ..plain.client.clone() };
    Settings { client, segmentation_offload: true, ..plain }
}

/// Appends so many records at once, whose lengths differ by up to 100 octets; gives their Acct-Session-Ids.
fn append_uneven<B: Send + 'static>(line: &mut Line<B>, count: u64) -> Vec<String> {
    let name = |number: u64| "a".repeat(1 + usize::try_from(number % 100).unwrap());
    let records = (1..=count).map(|number| of_user(Kind::Start, number, &name(number)));
    let with_calls = records.map(|record| (record.clone(), CallHash::of(&record.call_id)));
    line.append(with_calls.collect());
    (1..=count).map(|number| format!("{number:032x}")).collect()
}

#[test]
fn freeradius_stores_padded_records_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let mut line = Line::start(padding(server.port));
    let sessions = append_uneven(&mut line, 600);
    line.delivered(600);
    let mut stored: Vec<_> =
        server.wait_records(600).iter().map(|record| value(record, "Acct-Session-Id").unwrap().to_owned()).collect();
    stored.sort();
    assert_eq!(stored, sessions);
}

#[test]
fn pyrad_stores_padded_records_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Pyrad::start(dir.path()) else { return };
    let mut line = Line::start(padding(server.port));
    let sessions = append_uneven(&mut line, 200);
    line.delivered(200);
    let mut stored = server.stored();
    stored.sort();
    assert_eq!(stored, sessions);
}
