//! `tollgate audit --against` at real databases: tables of the SQL sink, and FreeRADIUS's own.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tollgate::clock;
use tollgate::ids::RecordId;
use tollgate::sinks::sql::{self, IdType, Profile, Settings};

use crate::support::databases::{Database, Dialect, Queries};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, wait_for};

const CALLS: u64 = 3;

/// A gateway whose calls are in FreeRADIUS's table `radacct`, in `acc`, and in `raw` with ids that are no texts.
struct World {
    database: Database,
    url: String,
    gateway: Gateway,
    from: String,
}

impl World {
    fn start(dir: &Path, dialect: Dialect) -> Option<Self> {
        let database = Database::start(dir, dialect)?;
        let place = database.dir().display();
        let (url, id_type, id_name) = match dialect {
            Dialect::Mysql => {
                (format!("mysql://root@localhost/radius?socket={place}/db.sock"), IdType::Binary, "binary")
            }
            Dialect::Postgresql => (format!("postgres://radius@localhost/radius?host={place}"), IdType::Uuid, "uuid"),
        };
        // What FreeRADIUS writes there is in the zone of the server.
        database.rows(match dialect {
            Dialect::Mysql => "SET GLOBAL time_zone = '-11:00'",
            Dialect::Postgresql => "ALTER DATABASE radius SET timezone = 'Pacific/Kiritimati'",
        });
        for (table, id_type) in [("acc", IdType::Text), ("raw", id_type)] {
            let mut settings = Settings::new(&url, Profile::Own);
            (settings.tables.acc, settings.tables.missed) = (table.to_owned(), format!("{table}_missed"));
            settings.id_type = id_type;
            database.rows(&sql::schema(&settings));
        }
        let server = database.freeradius(dir, Queries::Stock)?;
        let [callee, port] = free_ports();
        let _callee = sipp(dir, "uas.xml", callee, &[])?;
        let from = clock::wall().to_string();
        let folder = dir.join("gateway");
        fs::create_dir_all(&folder).unwrap();
        let folder_name = folder.display();
        let toml = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
             [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n[accounting]\non = [\"radius\", \"sql\"]\n\
             [queue]\npath = \"{folder_name}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder_name}/admin.sock\"\n\
             [sinks.radius.radacct]\nconfig = \"{folder_name}/radiusclient.conf\"\n\
             [sinks.sql.acc]\nurl = \"{url}\"\nrecords = \"sessions\"\nmissed_table = \"acc_missed\"\n\
             [sinks.sql.raw]\nurl = \"{url}\"\nrecords = \"sessions\"\ntable = \"raw\"\nmissed_table = \"raw_missed\"\n\
             record_id_type = \"{id_name}\"\n"
        );
        let gateway = Gateway::start_on(&folder, port, &toml, server.port);
        let world = Self { database, url, gateway, from };
        world.play(dir);
        Some(world)
    }

    /// Answered calls, which are then everywhere.
    fn play(&self, dir: &Path) {
        let to = self.gateway.address().to_string();
        let [caller] = free_ports();
        let mut calls =
            sipp(dir, "uac.xml", caller, &[&to, "-m", &CALLS.to_string(), "-r", "3", "-d", "1500"]).unwrap();
        assert!(calls.wait("the caller").success(), "{}", calls.complaints());
        let count = |query: &str| self.database.rows(query).concat();
        let rows = (2 * CALLS).to_string();
        for (query, want) in [
            ("SELECT count(*) FROM radacct WHERE acctstoptime IS NOT NULL", CALLS.to_string()),
            ("SELECT count(*) FROM acc", rows.clone()),
            ("SELECT count(*) FROM raw", rows),
        ] {
            wait_for(query, || (count(query) == want).then_some(()));
        }
        wait_for("the ledger has it too", || self.audit(&["--json"]).0.then_some(()));
    }

    /// `tollgate audit` of the time of the test: whether it says complete, and what it prints.
    fn audit(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["audit", "--from", &self.from, "--zone", "UTC"]).args(words);
        let output = command.arg("--config").arg(self.gateway.dir.join("tollgate.toml")).finish().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    fn against(&self, sink: &str, words: &[&str]) -> (bool, String) {
        self.audit(&[&["--against", &self.url, "--sink", sink], words].concat())
    }

    /// What differs between a sink and its table, as how often and what; nothing when they agree.
    fn differences(&self, sink: &str, tables: &[&str]) -> String {
        let tables = tables.iter().flat_map(|table| ["--table", table]);
        let (agree, text) = self.against(sink, &["--json"].into_iter().chain(tables).collect::<Vec<_>>());
        let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let counts = found["counts"].as_object().unwrap();
        assert_eq!((agree, &found["agree"]), (counts.is_empty(), &counts.is_empty().into()), "{text}");
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn a_comparison_with_a_table_of_records_tells_each_that_does_not_agree() {
    for dialect in [Dialect::Mysql, Dialect::Postgresql] {
        let dir = tempfile::tempdir().unwrap();
        let Some(world) = World::start(dir.path(), dialect) else { continue };
        let run = |statement: &str| drop(world.database.rows(statement));
        let sessions = world.database.rows("SELECT acctsessionid FROM radacct ORDER BY acctsessionid");
        let [one, two, _] = &sessions[..] else { panic!("{sessions:?}") };
        let strange = RecordId(u128::try_from(clock::wall().0 / 1000).unwrap() << 80 | 7);
        let digits = format!("{:032x}", strange.0);
        for (table, strange) in [
            ("acc", format!("'{strange}'")),
            ("raw", if dialect == Dialect::Mysql { format!("UNHEX('{digits}')") } else { format!("'{digits}'") }),
        ] {
            let name = format!("{dialect:?} {table}");
            let differences = || world.differences(table, &[table]);
            assert_eq!(differences(), "", "{name}: they agree");
            run(&match dialect {
                Dialect::Mysql => format!("ALTER TABLE {table} DROP INDEX {table}_record"),
                Dialect::Postgresql => format!("DROP INDEX {table}_record"),
            });
            run(&format!(
                "UPDATE {table} SET duration_ms = duration_ms + 900 WHERE kind = 'stop' AND session = '{two}'"
            ));
            assert_eq!(differences(), "", "{name}: others may keep whole seconds");
            run(&format!(
                "UPDATE {table} SET duration_ms = duration_ms + 100 WHERE kind = 'stop' AND session = '{two}'"
            ));
            assert_eq!(differences(), "1 different", "{name}");
            let some = format!("FROM {table} WHERE kind = 'start' AND session = '{one}'");
            run(&format!("INSERT INTO {table} (record_id, callid, kind) SELECT record_id, callid, 'again' {some}"));
            assert_eq!(differences(), "1 different, 1 double", "{name}");
            run(&format!(
                "INSERT INTO {table}_missed (record_id, callid) SELECT record_id, callid FROM {table} WHERE kind = 'stop' AND session = '{one}'"
            ));
            run(&format!("DELETE FROM {table} WHERE kind = 'stop' AND session = '{one}'"));
            assert_eq!(differences(), "1 different, 1 double, 1 missing", "{name}");
            let both = world.differences(table, &[table, &format!("{table}_missed")]);
            assert_eq!(both, "1 different, 1 double", "{name}: the other is in the second table");
            run(&format!("INSERT INTO {table} (record_id) VALUES ({strange}), (NULL)"));
            assert_eq!(
                differences(),
                "1 different, 1 double, 1 missing, 1 unknown",
                "{name}: without an id it is none of ours"
            );
            run(&format!("ALTER TABLE {table} ADD COLUMN leg SMALLINT NOT NULL DEFAULT 1"));
            run(&format!("UPDATE {table} SET leg = 2 WHERE kind = 'again'"));
            assert_eq!(differences(), "1 different, 1 missing, 1 unknown", "{name}: a row for each leg is no double");
        }
        let (_, text) = world.against("acc", &["--max", "1"]);
        assert!(
            text.contains("1 different, 1 missing, 1 unknown\n") && text.contains("2 more: `--max` lists them"),
            "{text}"
        );
        let call_id = &world.database.rows(&format!("SELECT callid FROM acc WHERE session = '{two}'"))[0];
        assert!(text.contains(call_id), "the call of {call_id} is named: {text}");
        for (table, want) in [
            ("radcheck", "no column `record_id` there: it has `id`, `username`, `attribute`, `op`, `value`"),
            ("nothing", "the database has no table `nothing`: `--table` names another one"),
        ] {
            let (agree, text) = world.against("acc", &["--table", table]);
            assert!(!agree && text.contains(want), "{table}: {text}");
        }
        let (_, text) = world.against("acc", &["--table", "acc", "--table", "radacct"]);
        assert!(text.contains("`--table radacct` is compared by sessions, other tables by records"), "{text}");
    }
}

#[test]
fn a_comparison_with_the_table_of_freeradius_tells_each_session_that_does_not_agree() {
    for dialect in [Dialect::Mysql, Dialect::Postgresql] {
        let dir = tempfile::tempdir().unwrap();
        let Some(world) = World::start(dir.path(), dialect) else { continue };
        let run = |statement: &str| drop(world.database.rows(statement));
        let differences = || world.differences("radacct", &["radacct"]);
        let sessions = world.database.rows("SELECT acctsessionid FROM radacct ORDER BY acctsessionid");
        let [one, two, three] = &sessions[..] else { panic!("{sessions:?}") };
        assert_eq!(differences(), "", "{dialect:?}: they agree");
        run(&format!("UPDATE radacct SET acctsessiontime = acctsessiontime + 2 WHERE acctsessionid = '{one}'"));
        assert_eq!(differences(), "1 different", "{dialect:?}");
        run(&format!("DELETE FROM radacct WHERE acctsessionid = '{two}'"));
        assert_eq!(differences(), "1 different, 1 missing", "{dialect:?}");
        let row = |session: &str, unique: &str, begun: &str| {
            run(&format!(
                "INSERT INTO radacct (acctsessionid, acctuniqueid, nasipaddress, acctstarttime) \
                 VALUES ('{session}', '{unique}', '127.0.0.1', {begun})"
            ));
        };
        row(three, "again", "NOW()");
        assert_eq!(differences(), "1 different, 1 double, 1 missing", "{dialect:?}");
        row("of another day", "old", "'2020-01-01'");
        row("never ours", "strange", "NOW()");
        // The second of the row has to be over: it may be that of the end of the time.
        let want = "1 different, 1 double, 1 missing, 1 unknown";
        wait_for("the session that is not ours, and it alone", || (differences() == want).then_some(()));
        run("CREATE SCHEMA other");
        run("CREATE TABLE other.radacct (id INTEGER, sessionid VARCHAR(64))");
        let (agree, text) = world.against("radacct", &["--table", "other.radacct"]);
        let want = "no column `acctsessionid` there: it has `id`, `sessionid`";
        assert!(!agree && text.contains(want), "{dialect:?}: {text}");
    }
}
