//! The gateway with a real database behind it: calls become rows, the commands speak of the database, and a kill of either
//! or both costs no row and doubles none.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tollgate::sinks::sql::{Dialect, Profile};

use crate::support::sql::Database;
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, try_wait_for, wait_for};

/// A gateway in front of one callee, with an SQL sink called `acc`.
/// A response waits for its record as long as it takes: on a slow disk it would leave before, and a kill then takes the record.
fn gateway(dir: &Path, callee: u16, database: &Database, sink: &str) -> Gateway {
    gateway_on(dir, callee, database, sink, "\"sql\"")
}

/// The same with other sinks too, which are `on`.
fn gateway_on(dir: &Path, callee: u16, database: &Database, sink: &str, on: &str) -> Gateway {
    let [port] = free_ports();
    let dir = dir.join("gateway");
    fs::create_dir_all(&dir).unwrap();
    let (folder, url) = (dir.display(), database.url());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [{on}]\nflags = [\"missed\", \"failed\"]\nfields = {{ caller = \"$fU\" }}\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\
         commit_wait_max_ms = 10000\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.sql.acc]\nurl = \"{url}\"\nretry_first_ms = 50\nretry_max_s = 1\n{sink}\n"
    );
    Gateway::start_on(&dir, port, &toml, 0)
}

fn balance(gateway: &Gateway) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
    status["sinks"][0].clone()
}

#[test]
fn calls_are_rows_and_every_command_knows_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Postgres) else { return };
    let mut settings = database.settings(Profile::Opensips);
    settings.fields = vec![tollgate::sinks::sql::Mapping { field: "caller".to_owned(), column: "src_user".to_owned() }];
    database.make(&settings);
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let sink = "profile = \"opensips\"\nfields = { caller = \"src_user\" }";
    let gateway = gateway(dir.path(), callee, &database, sink);
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "3", "-d", "1200"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    wait_for("six rows", || (database.count("acc") == 6).then_some(()));
    let rows =
        database.rows("SELECT method, sip_code, src_user, duration, count(*) FROM acc GROUP BY 1, 2, 3, 4 ORDER BY 1");
    assert_eq!(rows, ["BYE\t200\talice\t1\t3", "INVITE\t200\talice\t\t3"]);

    let status = gateway.command(&["status", "--json"]);
    assert!(status.contains("postgres://radius@localhost/acc\"") && status.contains("\"up\""), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc", "caller=O'Brien"]);
    assert!(sent.contains("O'Brien") && sent.contains("verdict    acknowledged"), "{sent}");
    assert_eq!(database.count("acc"), 6, "a test record is taken back");

    // What a start needs is asked of the database.
    let deep = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["check", "--deep", "--json", "--config"]).arg(gateway.dir.join("tollgate.toml"));
        let report: serde_json::Value = serde_json::from_slice(&command.finish().unwrap().stdout).unwrap();
        let trials = report["trials"].as_array().unwrap().clone();
        let own = trials.into_iter().find(|trial| trial["what"].as_str().unwrap().starts_with("sink acc")).unwrap();
        (own["ok"].as_bool().unwrap(), own["why"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(deep(), (true, String::new()));
    database.run("DROP TABLE missed_calls").unwrap();
    let (is_good, why) = deep();
    assert!(!is_good && why.contains("there is no table `missed_calls`"), "{why}");
}

/// A configuration with an SQL sink for `tollgate sql`.
fn configure(dir: &Path, database: &Database, more: &str) {
    let text = format!(
        "[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\non = [\"sql\"]\nfields = {{ caller = \"$fU\" }}\n\
         [sinks.sql.acc]\nurl = \"{}\"\nprofile = \"opensips\"\n{more}",
        database.url()
    );
    fs::write(dir.join("tollgate.toml"), text).unwrap();
}

/// `tollgate sql`: whether it succeeds, and what it prints to stdout and stderr.
fn sql(dir: &Path, word: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["sql", word, "--config"]).arg(dir.join("tollgate.toml"));
    let output = command.finish().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn ids_are_made_as_they_are_asked_for_and_a_side_table_that_cuts_them_is_refused() {
    for dialect in Dialect::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let (toml, sql) = (|more: &str| configure(dir.path(), &database, more), |word: &str| sql(dir.path(), word));
        let (name, type_name, narrower) = match dialect {
            Dialect::Mysql => ("binary", "BINARY(16)", "MODIFY record_id CHAR(20)"),
            Dialect::Postgres => ("uuid", "uuid", "ALTER COLUMN record_id TYPE VARCHAR(20)"),
            // It has texts alone, and no widths.
            Dialect::Sqlite => continue,
        };
        toml(&format!("record_id_type = \"{name}\"\n"));
        let (_, schema, _) = sql("schema");
        assert_eq!(schema.matches(type_name).count(), 2, "{schema}");
        database.run(&schema).unwrap();
        let (is_good, text, why) = sql("check");
        assert!(is_good && text.contains("its tables fit"), "{dialect:?}: {text}{why}");
        assert_eq!(sql("migrate").1, "-- nothing is missing\n", "{dialect:?}");
        toml("guard = \"side-table\"\nside_table = \"seen\"\n");
        database.run(&sql("schema").1).unwrap();
        assert!(sql("check").0, "{dialect:?}: {}", sql("check").2);
        database.run(&format!("ALTER TABLE seen {narrower}")).unwrap();
        let (is_good, _, why) = sql("check");
        let want = "`record_id` of the table `seen` holds 20 characters, and an id there has 26 characters";
        assert!(!is_good && why.contains(want), "{dialect:?}: {why}");
    }
}

#[test]
fn a_field_that_no_column_is_named_for_has_one_of_its_name_or_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Sqlite) else { return };
    configure(dir.path(), &database, "");
    let (_, schema, _) = sql(dir.path(), "schema");
    assert!(!schema.contains("\"caller\""), "left out: {schema}");
    database.run(&schema).unwrap();
    assert!(sql(dir.path(), "check").0, "{}", sql(dir.path(), "check").2);
    configure(dir.path(), &database, "unmapped = \"own\"\n");
    let (is_good, _, why) = sql(dir.path(), "check");
    assert!(!is_good && why.contains("the table `acc` has no column `caller`"), "{why}");
    let (_, missing, _) = sql(dir.path(), "migrate");
    assert_eq!(missing.matches("ADD COLUMN \"caller\" VARCHAR(255)").count(), 2, "both tables: {missing}");
    database.run(&missing).unwrap();
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, &database, "profile = \"opensips\"\nunmapped = \"own\"");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    wait_for("two rows", || (database.count("acc") == 2).then_some(()));
    assert_eq!(database.rows("SELECT method, caller FROM acc ORDER BY method"), ["BYE\talice", "INVITE\talice"]);
}

#[test]
fn the_program_prints_what_a_database_lacks_and_changes_nothing() {
    for dialect in Dialect::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let (toml, sql) = (|more: &str| configure(dir.path(), &database, more), |word: &str| sql(dir.path(), word));
        toml("");
        let (is_good, schema, _) = sql("schema");
        assert!(is_good && schema.contains("CREATE TABLE IF NOT EXISTS"), "{schema}");
        let (is_good, _, why) = sql("check");
        assert!(!is_good && why.contains("there is no table `acc`"), "{why}");
        let (is_good, missing, _) = sql("migrate");
        assert!(is_good && missing.contains("missed_calls"), "{missing}");
        assert!(database.run("SELECT 1 FROM acc").is_err(), "nothing was made");
        database.run(&missing).unwrap();
        assert_eq!(sql("migrate").1, "-- nothing is missing\n", "{dialect:?}");
        let (is_good, text, why) = sql("check");
        assert!(is_good && text.contains("its tables fit"), "{text}{why}");
        // A field more, a column less, no index.
        toml("fields = { caller = \"src_user\" }\n");
        let index = if dialect == Dialect::Mysql { "DROP INDEX acc_record ON acc" } else { "DROP INDEX acc_record" };
        database.run(&format!("{index}; ALTER TABLE acc DROP COLUMN setuptime;")).unwrap();
        let (_, missing, _) = sql("migrate");
        let lines: Vec<_> = missing.lines().map(|line| line.replace(['`', '"'], "")).collect();
        let number = "ALTER TABLE acc ADD COLUMN setuptime BIGINT;";
        assert!(
            lines.len() == 4 && lines[0] == number && lines[2] == "CREATE UNIQUE INDEX acc_record ON acc (record_id);",
            "{missing}"
        );
        database.run(&missing).unwrap();
        assert!(sql("check").0, "{dialect:?}");
        let end = match dialect {
            Dialect::Mysql => {
                "ALTER TABLE acc MODIFY id INT(10) UNSIGNED NOT NULL AUTO_INCREMENT, AUTO_INCREMENT = 4200000000"
            }
            Dialect::Postgres => {
                "ALTER TABLE acc ALTER COLUMN id TYPE int; SELECT setval(pg_get_serial_sequence('acc', 'id'), 2100000000)"
            }
            Dialect::Sqlite => continue,
        };
        database.run(end).unwrap();
        let (_, told, _) = sql("migrate");
        assert!(told.starts_with("-- `id` of `acc` is at ") && told.contains("near the end of its type"), "{told}");
    }
}

/// Kills the gateway, the database and both in turn while calls go on; then rows, records and ids are as many.
fn kill_9(dialect: Dialect, sink: &str) {
    let kills = std::env::var("TOLLGATE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(6_u64);
    let dir = tempfile::tempdir().unwrap();
    let Some(mut database) = Database::start(dir.path(), dialect) else { return };
    let mut settings = database.settings(Profile::Own);
    if sink.contains("side-table") {
        settings.guard = tollgate::sinks::sql::Guard::SideTable;
    }
    database.make(&settings);
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = gateway(dir.path(), callee, &database, sink);
    let to = gateway.address().to_string();
    let log = dir.path().join("seen.log");
    let words = [&to, "-r", "60", "-d", "300", "-trace_logs", "-log_file", log.to_str().unwrap()];
    let words = [&words[..], &["-recv_timeout", "20000", "-timeout", "600"]].concat();
    let mut calls = sipp(dir.path(), "uac_logged.xml", caller, &words).unwrap();
    let mut rows = 0;
    for kill in 0..kills {
        let more = try_wait_for(|| (database.count("acc") > rows + 20).then_some(()));
        assert!(more.is_some(), "at kill {kill} no more than {rows} rows: {}", gateway.command(&["status"]));
        if kill % 3 != 0 {
            database.kill();
        }
        if kill % 3 != 1 {
            gateway.start_again();
        }
        if kill % 3 != 0 {
            database.start_again();
        }
        rows = database.count("acc");
    }
    // No new calls; those that go on end.
    calls.signal(libc::SIGUSR1);
    calls.wait("the caller");
    let balance = wait_for("the queue is empty", || {
        let balance = balance(&gateway);
        (balance["waiting"] == 0).then_some(balance)
    });
    let all = database.count("acc") + database.count("missed_calls");
    let records = balance["appended"].as_u64().unwrap();
    println!("{records} records, {all} rows, {kills} kills");
    assert_eq!((all, balance["parked"].as_u64()), (records, Some(0)), "{balance}");
    let facts = database.rows("SELECT kind, callid FROM acc");
    let facts: HashSet<String> = facts.into_iter().collect();
    let seen = fs::read_to_string(&log).unwrap();
    let seen = seen.lines().filter_map(|line| line.trim().split_once(' '));
    let seen: HashSet<_> = seen
        .map(|(what, call)| format!("{}\t{}", if what == "answered" { "start" } else { "stop" }, call.trim()))
        .collect();
    assert!(seen.len() as u64 > kills * 20, "only {} answers seen", seen.len());
    let missing: Vec<_> = seen.difference(&facts).collect();
    assert!(missing.is_empty(), "answers were seen, and no rows: {missing:?}\n{}", gateway.log());
}

#[test]
fn kill_9_of_gateway_and_mariadb_leaves_as_many_rows_as_records() {
    kill_9(Dialect::Mysql, "");
}

#[test]
fn kill_9_of_gateway_and_postgresql_leaves_as_many_rows_as_records() {
    kill_9(Dialect::Postgres, "");
}

#[test]
fn kill_9_of_the_gateway_with_sqlite_leaves_as_many_rows_as_records() {
    kill_9(Dialect::Sqlite, "");
}

#[test]
fn kill_9_with_a_side_table_leaves_as_many_rows_as_records() {
    kill_9(Dialect::Mysql, "guard = \"side-table\"");
}

#[test]
fn a_sink_that_takes_nothing_costs_no_other_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Sqlite) else { return };
    // Its tables were never made, so that it refuses everything.
    let [callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let (calls_csv, first) = (dir.path().join("calls.csv"), dir.path().join("first.csv"));
    let file = |name: &str, path: &Path| {
        format!(
            "[sinks.file.{name}]\npath = \"{}\"\ncolumns = {{ record_id = \"record_id\", code = \"code\" }}\n",
            path.display()
        )
    };
    // One comes before the database in the order of sinks, whatever that is, and one behind.
    let sink = format!("profile = \"opensips\"\n{}{}", file("a", &first), file("z", &calls_csv));
    let gateway = gateway_on(dir.path(), callee, &database, &sink, "\"sql\", \"file\"");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "3", "-d", "200"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    for path in [&first, &calls_csv] {
        let lines = || fs::read_to_string(path).unwrap_or_default().lines().count();
        wait_for("a line of names and six records", || (lines() == 7).then_some(()));
    }
    let status: serde_json::Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
    let waiting: Vec<_> =
        status["sinks"].as_array().unwrap().iter().map(|sink| sink["waiting"].as_u64().unwrap_or(0)).collect();
    assert!(waiting.contains(&6), "the records of the other wait: {status}");
}
