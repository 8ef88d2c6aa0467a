//! Databases that refuse, stall, are full or are not as they should be: what the records then do.

use std::process::Child;
use std::time::Duration;

use tollgate::ids::CallHash;
use tollgate::record::{Kind, Record};
use tollgate::sinks::attempt::Board;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::sql::{Dialect, Guard, Mapping, Profile, Settings};
use tollgate::sinks::view::Board as _;

use crate::support::radius::{Line, field, record};
use crate::support::small::Small;
use crate::support::sql::{Database, line};
use crate::support::wait_for;

fn mapping(field: &str, column: &str) -> Mapping {
    Mapping { field: field.to_owned(), column: column.to_owned() }
}

/// Waits until the sink says this of its database.
fn note(line: &Line<Board>, want: &str) -> String {
    wait_for(want, || line.board.views()[0].note.clone().filter(|note| note.contains(want)))
}

fn append(line: &mut Line<Board>, numbers: std::ops::Range<u64>) {
    let records = numbers.map(|number| {
        let record = record(Kind::Start, number, Vec::new());
        let call = CallHash::of(&record.call_id);
        (record, call)
    });
    line.append(records.collect());
}

/// A user of MariaDB with a password, who may not write to a server that is read-only.
fn user(database: &Database, settings: &Settings, password: &str) -> Settings {
    database
        .run("CREATE OR REPLACE USER gw@localhost IDENTIFIED BY 'right'; GRANT ALL ON acc.* TO gw@localhost")
        .unwrap();
    let url = settings.url.replace("root@", "gw@");
    Settings { url, password: Some(Secret::new(password.to_owned())), ..settings.clone() }
}

#[test]
fn a_wrong_password_is_told_of_with_user_and_host_and_never_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Mysql) else { return };
    let settings = database.settings(Profile::Own);
    database.make(&settings);
    let mut line = line(&user(&database, &settings, "hidden"));
    append(&mut line, 0..3);
    let told = note(&line, "mysql error 1045");
    assert!(told.contains("'gw'@'localhost'") && !told.contains("hidden"), "{told}");
    assert_eq!(line.board.views()[0].state, "misfit");
    database.run("ALTER USER gw@localhost IDENTIFIED BY 'hidden'").unwrap();
    line.delivered(3);
    assert_eq!((database.count("acc"), line.stats().parked_now), (3, 0));
}

#[test]
fn a_server_that_is_read_only_keeps_the_records_waiting() {
    for dialect in [Dialect::Mysql, Dialect::Postgres] {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let mut settings = database.settings(Profile::Own);
        database.make(&settings);
        let (on, off, want) = match dialect {
            Dialect::Mysql => ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0", "1290"),
            _ => (
                "ALTER DATABASE acc SET default_transaction_read_only = on",
                "SET default_transaction_read_only = off; ALTER DATABASE acc SET default_transaction_read_only = off",
                "25006",
            ),
        };
        if dialect == Dialect::Mysql {
            settings = user(&database, &settings, "right");
        }
        database.run(on).unwrap();
        let mut line = line(&settings);
        append(&mut line, 0..3);
        note(&line, want);
        assert_eq!(line.board.views()[0].state, "down");
        database.run(off).unwrap();
        line.delivered(3);
        assert_eq!((database.count("acc"), line.stats().parked_now), (3, 0), "{dialect:?}");
    }
}

/// Another client that holds a lock on the table until it is told to let go.
fn locker(database: &Database) -> Child {
    let begin = match database.dialect() {
        Dialect::Mysql => "LOCK TABLES acc WRITE;\n\\! echo locked\n",
        Dialect::Postgres => "BEGIN; LOCK TABLE acc;\n\\! echo locked\n",
        Dialect::Sqlite => "BEGIN IMMEDIATE;\n.shell echo locked\n",
    };
    let mut child = database.client();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), begin.as_bytes()).unwrap();
    let mut line = String::new();
    let output = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    assert_eq!(line.trim(), "locked");
    child
}

#[test]
fn a_lock_that_is_held_for_longer_than_the_wait_costs_no_row_and_doubles_none() {
    for dialect in Dialect::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let mut settings = database.settings(Profile::Own);
        settings.delivery.timeout = Duration::from_millis(700);
        database.make(&settings);
        let mut line = line(&settings);
        append(&mut line, 0..1);
        line.delivered(1);
        let mut other = locker(&database);
        append(&mut line, 1..40);
        note(&line, "no answer within 0.7 s");
        // Its end of input ends it, and its lock.
        drop(other.stdin.take());
        other.wait().unwrap();
        line.delivered(40);
        assert_eq!((database.count("acc"), line.stats().parked_now), (40, 0), "{dialect:?}");
    }
}

#[test]
fn a_server_that_stands_still_in_mid_batch_has_each_row_once() {
    for dialect in [Dialect::Mysql, Dialect::Postgres] {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let mut settings = database.settings(Profile::Own);
        settings.delivery.timeout = Duration::from_millis(500);
        settings.delivery.batch_max = 20;
        database.make(&settings);
        let mut line = line(&settings);
        let freeze = |signal: i32| database.signal_all(signal);
        for round in 0..3 {
            append(&mut line, round * 200..(round + 1) * 200);
            freeze(libc::SIGSTOP);
            note(&line, "no answer within");
            freeze(libc::SIGCONT);
            line.delivered((round + 1) * 200);
        }
        assert_eq!((database.count("acc"), line.stats().parked_now), (600, 0), "{dialect:?}");
    }
}

#[test]
fn characters_that_a_column_has_not_are_replaced_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Mysql) else { return };
    let settings = database.settings(Profile::Own);
    database.make(&settings);
    database
        .run("ALTER TABLE acc MODIFY from_tag VARCHAR(20) CHARACTER SET utf8mb3, MODIFY to_tag VARCHAR(20) CHARACTER SET latin1")
        .unwrap();
    let mut line = line(&settings);
    let (from_tag, to_tag) = ("é😀".as_bytes().to_vec(), "é😀€".as_bytes().to_vec());
    line.append_one(Record { from_tag, to_tag, ..record(Kind::Start, 1, Vec::new()) });
    line.delivered(1);
    assert_eq!(database.rows("SELECT from_tag, to_tag, changed FROM acc"), ["é\u{fffd}\té??\tfrom_tag to_tag"]);
}

#[test]
fn a_batch_larger_than_the_server_takes_goes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Mysql) else { return };
    let settings = database.settings(Profile::Own);
    database.make(&settings);
    database.run("SET GLOBAL max_allowed_packet = 16384").unwrap();
    let mut line = line(&settings);
    let records = (0..200).map(|number| {
        let record = Record { reason: vec![b'x'; 100], ..record(Kind::Start, number, Vec::new()) };
        let call = CallHash::of(&record.call_id);
        (record, call)
    });
    line.append(records.collect());
    line.delivered(200);
    assert_eq!((database.count("acc"), line.stats().parked_now), (200, 0));
}

#[test]
fn the_tables_of_opensips_take_what_they_refused_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Mysql) else { return };
    // As OpenSIPS 1.6 ships it: NOT NULL everywhere, narrow, MyISAM.
    let table = |name: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, \
             method CHAR(16) DEFAULT '' NOT NULL, from_tag CHAR(64) DEFAULT '' NOT NULL, to_tag CHAR(64) DEFAULT '' NOT NULL, \
             callid CHAR(64) DEFAULT '' NOT NULL, sip_code CHAR(3) DEFAULT '' NOT NULL, sip_reason CHAR(32) DEFAULT '' NOT NULL, \
             time DATETIME NOT NULL{more}, setuptime INT(11) UNSIGNED DEFAULT 0 NOT NULL, created DATETIME DEFAULT NULL\
             ) ENGINE=MyISAM DEFAULT CHARSET=latin1;"
        )
    };
    let durations = ", duration INT(11) UNSIGNED DEFAULT 0 NOT NULL, ms_duration INT(11) UNSIGNED DEFAULT 0 NOT NULL";
    database.run(&(table("acc", durations) + &table("missed_calls", ""))).unwrap();
    let mut settings = database.settings(Profile::Opensips);
    settings.guard = Guard::SideTable;
    let mut first = line(&settings);
    let odd = || Record {
        to_tag: Vec::new(),
        code: 408,
        call_id: vec![b'c'; 100],
        reason: b"Request Timeout".to_vec(),
        ..record(Kind::Missed, 1, Vec::new())
    };
    first.append_one(odd());
    note(&first, "of the engine MyISAM");
    drop(first);
    settings.guard = Guard::Column;
    for name in ["acc", "missed_calls"] {
        let column = "ADD COLUMN record_id CHAR(26) CHARACTER SET ascii COLLATE ascii_bin";
        database.run(&format!("ALTER TABLE {name} {column}, ADD UNIQUE INDEX {name}_record (record_id)")).unwrap();
    }
    let mut second = line(&settings);
    second.append_one(odd());
    second.append_one(record(Kind::Start, 2, Vec::new()));
    second.delivered(2);
    assert_eq!(
        database.rows("SELECT method, to_tag, length(callid), sip_code, setuptime, created FROM missed_calls"),
        ["INVITE\t\t64\t408\t4\t2023-11-14 22:13:20"]
    );
    assert_eq!(database.rows("SELECT duration, ms_duration FROM acc"), ["0\t0"]);
}

#[test]
fn fields_go_into_columns_of_any_type_or_leave_them_empty() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Postgres) else { return };
    let mut settings = database.settings(Profile::Kamailio);
    let columns = [("ip", "ip"), ("seconds", "seconds"), ("rate", "rate"), ("at", "at"), ("info", "info")];
    settings.fields = columns.map(|(field, column)| mapping(field, column)).to_vec();
    let types =
        [("ip", "inet"), ("seconds", "int"), ("rate", "numeric(10,3)"), ("at", "timestamptz"), ("info", "jsonb")];
    database.make(&Settings { fields: Vec::new(), ..settings.clone() });
    for (column, kind) in types {
        for table in ["acc", "missed_calls"] {
            database.run(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}")).unwrap();
        }
    }
    // A fixed width of old tables, and quotes in a name.
    database.run("ALTER TABLE acc ALTER COLUMN callid TYPE char(64)").unwrap();
    let mut line = line(&settings);
    let fields = [
        ("ip", "192.0.2.7"),
        ("seconds", "61"),
        ("rate", "1.5"),
        ("at", "2026-11-20T21:45:00Z"),
        ("info", "{\"a\": 1}"),
    ];
    line.append_one(record(Kind::Start, 1, fields.map(|(name, value)| field(name, value)).to_vec()));
    let fields = [("seconds", "sixty"), ("rate", ""), ("at", "yesterday")];
    line.append_one(record(Kind::Start, 2, fields.map(|(name, value)| field(name, value)).to_vec()));
    line.delivered(2);
    assert_eq!(
        database.rows("SET TIME ZONE 'UTC'; SELECT ip, seconds, rate, at, info, callid FROM acc ORDER BY callid"),
        [
            format!("192.0.2.7\t61\t1.500\t2026-11-20 21:45:00+00\t{{\"a\": 1}}\t{:<64}", "call-1@example.com"),
            format!("\t\t\t\t\t{:<64}", "call-2@example.com"),
        ]
    );
    // What only the database can judge parks alone.
    line.append_one(record(Kind::Start, 3, vec![field("ip", "nowhere")]));
    line.append_one(record(Kind::Start, 4, Vec::new()));
    line.delivered(3);
    let parked = line.parked(1);
    assert!(parked[0].1.contains("postgres error 22P02: invalid input syntax for type inet"), "{}", parked[0].1);
}

#[test]
fn a_full_disk_at_the_database_keeps_the_records_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&dir.path().join("sqlite"), 1) else { return };
    let Some(database) = Database::start(dir.path(), Dialect::Sqlite) else { return };
    let settings = database.settings(Profile::Own);
    database.make(&settings);
    let mut line = line(&settings);
    append(&mut line, 0..5);
    line.delivered(5);
    small.fill();
    append(&mut line, 5..200);
    note(&line, "sqlite error 13: database or disk is full");
    small.empty();
    line.delivered(200);
    assert_eq!((database.count("acc"), line.stats().parked_now), (200, 0));
}

#[test]
fn a_table_that_only_a_call_has_named_and_that_is_not_there_parks_its_record_alone() {
    for dialect in Dialect::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        let settings = database.settings(Profile::Kamailio);
        database.make(&settings);
        let mut line = line(&settings);
        append(&mut line, 0..5);
        let named = Record { table: Some("acc_2031".to_owned()), ..record(Kind::Start, 5, Vec::new()) };
        let id = line.append_one(named);
        append(&mut line, 6..11);
        line.delivered(10);
        let parked = line.parked(1);
        assert_eq!(parked.len(), 1, "{dialect:?}: {parked:?}");
        assert_eq!(parked[0].0, id, "{dialect:?}");
        assert!(parked[0].1.contains("there is no table `acc_2031`"), "{dialect:?}: {}", parked[0].1);
        assert_eq!((database.count("acc"), line.board.views()[0].state), (10, "up"), "{dialect:?}");
    }
}
