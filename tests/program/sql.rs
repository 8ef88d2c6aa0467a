//! Rows of real records in real databases, and what becomes of those that a database does not take.

use tollgate::ids::RecordId;
use tollgate::record::{Kind, Record};
use tollgate::sinks::sql::{Dialect, Guard, Mapping, Profile};
use tollgate::sinks::view::Board as _;

use crate::support::radius::{field, record};
use crate::support::sql::{Database, line};
use crate::support::wait_for;

/// Runs a test with each database that is there.
fn each(test: impl Fn(&Database)) {
    for dialect in Dialect::ALL {
        let dir = tempfile::tempdir().unwrap();
        if let Some(database) = Database::start(dir.path(), dialect) {
            test(&database);
        }
    }
}

fn mapping(field: &str, column: &str) -> Mapping {
    Mapping { field: field.to_owned(), column: column.to_owned() }
}

#[test]
fn a_call_and_a_missed_call_have_the_rows_of_the_classic_tables() {
    each(|database| {
        let mut settings = database.settings(Profile::Opensips);
        settings.fields = vec![mapping("caller", "src_user")];
        database.make(&settings);
        let mut line = line(&settings);
        let fields = || vec![field("caller", "alice")];
        line.append_one(record(Kind::Start, 1, fields()));
        line.append_one(record(Kind::Stop, 1, fields()));
        let missed = Record { code: 486, reason: b"Busy here".to_vec(), ..record(Kind::Missed, 2, Vec::new()) };
        line.append_one(Record { to_tag: Vec::new(), ..missed });
        line.delivered(3);
        let columns = "method, from_tag, to_tag, callid, sip_code, sip_reason, time, setuptime, created";
        let rows = database.rows(&format!("SELECT {columns}, duration, ms_duration, src_user FROM acc ORDER BY time"));
        assert_eq!(
            rows,
            [
                "INVITE\talice\tbob\tcall-1@example.com\t200\tOK\t2023-11-14 22:13:24\t4\t2023-11-14 22:13:20\t0\t0\talice",
                "BYE\talice\tbob\tcall-1@example.com\t200\tOK\t2023-11-14 22:14:25\t4\t2023-11-14 22:13:20\t61\t61000\talice",
            ]
            .map(|row| row.replace("\t0\t0\t", if database.dialect() == Dialect::Postgres { "\t\t\t" } else { "\tNULL\tNULL\t" })),
            "{:?}",
            database.dialect()
        );
        let rows = database.rows(&format!("SELECT {columns} FROM missed_calls"));
        let want = "INVITE\talice\t\tcall-2@example.com\t486\tBusy here\t2023-11-14 22:13:24\t4\t2023-11-14 22:13:20";
        assert_eq!(rows, [want], "{:?}", database.dialect());
    });
}

#[test]
fn a_row_for_each_leg_and_none_twice() {
    each(|database| {
        let mut settings = database.settings(Profile::Own);
        settings.leg_fields = vec![mapping("src", "src_leg")];
        database.make(&settings);
        let mut line = line(&settings);
        let legs = vec![vec![field("src", "alice")], vec![field("src", "bob")]];
        line.append_one(Record { legs, ..record(Kind::Start, 1, Vec::new()) });
        line.append_one(record(Kind::Start, 2, Vec::new()));
        line.delivered(2);
        let null = if database.dialect() == Dialect::Postgres { "" } else { "NULL" };
        let rows = database.rows("SELECT callid, leg, src_leg, sip_code, kind FROM acc ORDER BY callid, leg");
        let want = [
            "call-1@example.com\t1\talice\t200\tstart".to_owned(),
            "call-1@example.com\t2\tbob\t200\tstart".to_owned(),
            format!("call-2@example.com\t0\t{null}\t200\tstart"),
        ];
        assert_eq!(rows, want, "{:?}", database.dialect());
    });
}

#[test]
fn a_record_that_comes_again_has_its_rows_once() {
    each(|database| {
        for guard in [Guard::Column, Guard::SideTable, Guard::None] {
            let mut settings = database.settings(Profile::Kamailio);
            settings.guard = guard;
            settings.tables.acc = format!("acc_{}", guard as u8);
            settings.tables.missed = format!("missed_{}", guard as u8);
            database.make(&settings);
            // Two gateways with the same records: what one has under way, the other may have delivered.
            let ids: Vec<_> = [line(&settings), line(&settings)]
                .map(|mut line| {
                    let records = (0..40).map(|number| {
                        let record =
                            record(if number % 4 == 0 { Kind::Missed } else { Kind::Start }, number, Vec::new());
                        let call = tollgate::ids::CallHash::of(&record.call_id);
                        (record, call)
                    });
                    let ids = line.append_as(9, 1_700_000_000_000, records.collect());
                    line.delivered(40);
                    ids
                })
                .to_vec();
            assert_eq!(ids[0], ids[1], "the records are the same");
            let rows = database.count(&settings.tables.acc) + database.count(&settings.tables.missed);
            let want = if guard == Guard::None { 80 } else { 40 };
            assert_eq!(rows, want, "{:?} {guard:?}", database.dialect());
        }
    });
}

#[test]
fn an_id_may_be_its_16_octets_or_a_uuid_and_is_read_back_from_them() {
    each(|database| {
        let (types, change): (&[(&str, &str)], _) = match database.dialect() {
            Dialect::Mysql => {
                (&[("BINARY(16)", "HEX(record_id)"), ("VARBINARY(16)", "HEX(record_id)")], "MODIFY record_id TYPE")
            }
            Dialect::Postgres => {
                (&[("uuid", "replace(record_id::text, '-', '')")], "ALTER COLUMN record_id TYPE TYPE USING NULL")
            }
            // It has no type of the kind.
            Dialect::Sqlite => return,
        };
        for (number, (own, digits)) in types.iter().enumerate() {
            let mut settings = database.settings(Profile::Own);
            settings.tables.acc = format!("acc_{number}");
            settings.tables.missed = format!("missed_{number}");
            database.make(&settings);
            let change = match database.dialect() {
                Dialect::Postgres => change.replace("TYPE TYPE", &format!("TYPE {own}")),
                _ => change.replace("TYPE", own),
            };
            for table in [&settings.tables.acc, &settings.tables.missed] {
                database.run(&format!("ALTER TABLE {table} {change}")).unwrap();
            }
            // As above: what one has under way, the other may have delivered.
            let mut all = [line(&settings), line(&settings)].map(|mut line| {
                let records = (0..40).map(|number| {
                    let record = record(Kind::Start, number, Vec::new());
                    let call = tollgate::ids::CallHash::of(&record.call_id);
                    (record, call)
                });
                let ids = line.append_as(9, 1_700_000_000_000, records.collect());
                line.delivered(40);
                assert_eq!(line.stats().parked_now, 0, "{own}");
                ids
            });
            let read = database.rows(&format!("SELECT {digits} FROM {} ORDER BY 1", settings.tables.acc));
            let read: Vec<_> = read.iter().map(|digits| RecordId(u128::from_str_radix(digits, 16).unwrap())).collect();
            all[0].sort();
            assert_eq!(read, all[0], "{own}: each once, as it was");
        }
        if database.dialect() != Dialect::Mysql {
            return;
        }
        // MariaDB has a uuid, but refuses ids as "incorrect".
        let settings = database.settings(Profile::Own);
        database.make(&settings);
        database.run("ALTER TABLE acc MODIFY record_id UUID").unwrap();
        let mut line = line(&settings);
        line.append_one(record(Kind::Start, 1, Vec::new()));
        wait_for("it is told", || {
            line.board.views()[0].note.clone().filter(|note| note.contains("does not hold a record's id"))
        });
        database.run("ALTER TABLE acc MODIFY record_id BINARY(16)").unwrap();
        line.delivered(1);
    });
}

#[test]
fn a_bad_row_parks_alone_and_the_others_flow_on() {
    each(|database| {
        let settings = database.settings(Profile::Own);
        database.make(&settings);
        let check = match database.dialect() {
            Dialect::Sqlite => {
                "CREATE TRIGGER no_evil BEFORE INSERT ON acc WHEN NEW.from_tag = 'evil' BEGIN SELECT RAISE(ABORT, 'evil'); END;"
            }
            _ => "ALTER TABLE acc ADD CONSTRAINT no_evil CHECK (from_tag <> 'evil');",
        };
        database.run(check).unwrap();
        let mut line = line(&settings);
        let records = (0..50).map(|number| {
            let from_tag = if number == 17 { b"evil".to_vec() } else { b"alice".to_vec() };
            let record = Record { from_tag, ..record(Kind::Start, number, Vec::new()) };
            let call = tollgate::ids::CallHash::of(&record.call_id);
            (record, call)
        });
        let ids = line.append(records.collect());
        line.delivered(49);
        let parked = line.parked(1);
        assert_eq!((parked.len(), parked[0].0), (1, ids[17]));
        assert!(parked[0].1.contains("evil"), "{}", parked[0].1);
        assert_eq!(database.count("acc"), 49, "{:?}", database.dialect());
    });
}

#[test]
fn values_that_no_column_takes_are_cut_written_out_and_told_of() {
    each(|database| {
        let settings = database.settings(Profile::Own);
        database.make(&settings);
        let mut line = line(&settings);
        let odd = Record {
            from_tag: b"nul\0and\xe9".to_vec(),
            to_tag: "grüße 😀".as_bytes().to_vec(),
            reason: vec![b'x'; 1_000],
            ..record(Kind::Start, 1, Vec::new())
        };
        line.append_one(odd);
        line.delivered(1);
        let rows = database.rows("SELECT from_tag, to_tag, length(sip_reason), changed FROM acc");
        let (width, changed) = match database.dialect() {
            // SQLite has no widths.
            Dialect::Sqlite => (1_000, "from_tag"),
            _ => (128, "from_tag sip_reason"),
        };
        // The client of MariaDB writes a backslash as two.
        let slash = if database.dialect() == Dialect::Mysql { "\\\\" } else { "\\" };
        let want = format!("nul{slash}x00and{slash}xE9\tgrüße 😀\t{width}\t{changed}");
        assert_eq!(rows, [want], "{:?}", database.dialect());
    });
}

#[test]
fn a_database_that_does_not_fit_is_told_of_and_gets_the_records_once_it_does() {
    each(|database| {
        let settings = database.settings(Profile::Own);
        let mut line = line(&settings);
        line.append_one(record(Kind::Start, 1, Vec::new()));
        let note = |want: &str| {
            wait_for(want, || line.board.views()[0].note.clone().filter(|note| note.contains(want)));
            assert_eq!(line.board.views()[0].state, "misfit");
        };
        note("there is no table `acc`");
        let schema = tollgate::sinks::sql::schema(&settings);
        let without = schema.lines().filter(|line| !line.contains("UNIQUE ")).collect::<Vec<_>>().join("\n");
        database.run(&without).unwrap();
        note("no unique index on exactly");
        database.run("CREATE UNIQUE INDEX acc_record ON acc (record_id)").unwrap();
        line.delivered(1);
        assert_eq!(database.count("acc"), 1);
        // A column goes while the connection stands.
        database.run("ALTER TABLE acc DROP COLUMN cause").unwrap();
        line.append_one(record(Kind::Start, 2, Vec::new()));
        wait_for("the column is missed", || {
            line.board.views()[0].note.clone().filter(|note| note.contains("has no column `cause`"))
        });
        database.run("ALTER TABLE acc ADD COLUMN cause VARCHAR(32)").unwrap();
        line.delivered(2);
        assert_eq!((database.count("acc"), line.stats().parked_now), (2, 0), "{:?}", database.dialect());
    });
}

#[test]
fn behind_pgbouncer_every_statement_may_get_another_connection() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Postgres) else { return };
    let Some((bouncer, url)) = database.bouncer() else { return };
    for guard in [Guard::Column, Guard::SideTable] {
        let mut settings = database.settings(Profile::Own);
        settings.guard = guard;
        settings.tables.acc = format!("acc_{}", guard as u8);
        settings.delivery.batch_max = 7;
        database.make(&settings);
        settings.url = url.clone();
        // Two that share the one connection behind it.
        let mut lines = [line(&settings), line(&settings)];
        for round in 0..30 {
            for (line, number) in lines.iter_mut().zip([0, 1]) {
                let records = (0..10).map(|place| {
                    let record = record(Kind::Start, number * 1000 + round * 10 + place, Vec::new());
                    let call = tollgate::ids::CallHash::of(&record.call_id);
                    (record, call)
                });
                // A second of its own for each, so that no id is another's.
                line.append_as(7, 1_700_000_000_000 + (number * 100 + round) * 1_000, records.collect());
            }
        }
        for line in &lines {
            line.delivered(300);
            assert_eq!(line.board.views()[0].note, None, "{guard:?} {}", bouncer.printed());
        }
        assert_eq!(database.count(&settings.tables.acc), 600, "{guard:?}");
    }
}

#[test]
fn the_side_table_forgets_old_ids_and_keeps_the_others() {
    each(|database| {
        let mut settings = database.settings(Profile::Kamailio);
        settings.guard = Guard::SideTable;
        database.make(&settings);
        // Old both by its id and by when it was noted; old by its id alone; new.
        let ids = ["00000000000000000000000001", "00000000000000000000000002", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"];
        let rows = ids.iter().zip(["'2020-01-01 00:00:00'", "CURRENT_TIMESTAMP", "'2020-01-01 00:00:00'"]);
        let rows = rows.map(|(id, at)| format!("('{id}', {at})")).collect::<Vec<_>>().join(", ");
        database.run(&format!("INSERT INTO tollgate_delivered (record_id, at) VALUES {rows}")).unwrap();
        let mut line = line(&settings);
        let own = line.append_one(record(Kind::Start, 1, Vec::new())).to_string();
        let want = [ids[1], &own, ids[2]];
        wait_for("the old one is gone", || {
            (database.rows("SELECT record_id FROM tollgate_delivered ORDER BY record_id") == want).then_some(())
        });
        line.delivered(1);
    });
}
