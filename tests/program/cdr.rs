//! Whole calls in one record each: played by sipp through the real binary into every kind of backend at once, and read back
//! from each.

use std::collections::HashMap;
use std::fs;

use tollgate::accounting::SinkMode;
use tollgate::sinks::sql::{Dialect, Mapping, Profile};

use super::syslog::Rsyslog;
use crate::support::sql::Database;
use crate::support::{FreeRadius, Gateway, free_ports, sipp, value, wait_for};

/// What is read from the table with Tollgate's own columns: spans of its instants beside those that it says itself.
const OWN: &[(&str, &str)] = &[
    ("id", "record_id"),
    ("leg", "leg"),
    ("src", "leg_src"),
    ("kind", "kind"),
    ("method", "method"),
    ("code", "sip_code"),
    ("seq_bye", "seq_bye"),
    ("by", "ended_by"),
    ("cause", "cause"),
    ("setup", "setup_ms"),
    ("duration", "duration_ms"),
    ("ring", "ring_ms"),
    ("created", "created"),
    ("answered", "answered"),
    ("acknowledged", "acknowledged"),
    ("ended", "ended"),
    ("created_s", "strftime('%s', created)"),
    ("answered_s", "strftime('%s', answered)"),
    ("to answer", "CAST(round((julianday(answered) - julianday(created)) * 86400000) AS INTEGER)"),
    ("to end", "CAST(round((julianday(ended) - julianday(answered)) * 86400000) AS INTEGER)"),
];

/// What is read from Kamailio's table.
const KAMAILIO: &[(&str, &str)] = &[
    ("id", "record_id"),
    ("start", "start_time"),
    ("end", "end_time"),
    ("duration", "CAST(round(duration * 1000) AS INTEGER)"),
    ("seq_bye", "seq_bye"),
];

/// Values by name.
struct Values(HashMap<String, String>);

impl Values {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn texts<const N: usize>(&self, names: [&str; N]) -> [&str; N] {
        names.map(|name| self.text(name))
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("no number {name} in {:?}", self.0))
    }
}

fn rows(database: &Database, table: &str, columns: &[(&str, &str)], order: &str) -> Vec<Values> {
    let list = columns.iter().map(|(_, expression)| *expression).collect::<Vec<_>>().join(", ");
    let rows = database.rows(&format!("SELECT {list} FROM {table} ORDER BY {order}"));
    let names = || columns.iter().map(|(name, _)| (*name).to_owned());
    rows.iter().map(|row| Values(names().zip(row.split('\t').map(str::to_owned)).collect())).collect()
}

/// The values of a line of syslog; of those with one label the last.
fn pairs(line: &str) -> Values {
    let (_, values) = line.split_once("call ended: ").unwrap_or_else(|| panic!("no whole call: {line}"));
    let pairs = values.split(';').filter_map(|pair| pair.split_once('='));
    Values(pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).collect())
}

/// All values of an attribute.
fn all<'a>(record: &'a [String], name: &str) -> Vec<&'a str> {
    let begin = format!("{name} = ");
    record.iter().filter_map(|line| line.strip_prefix(&begin)).map(|text| text.trim_matches('"')).collect()
}

/// An instant of RADIUS as the table has it.
fn instant(record: &[String], name: &str) -> Option<String> {
    value(record, name).map(|text| text.replace('T', " ").chars().take(23).collect())
}

/// Milliseconds in seconds, as both round.
const fn seconds(millis: u64) -> u64 {
    (millis + 500) / 1_000
}

#[test]
fn a_whole_call_and_one_that_failed_are_one_record_at_every_backend_with_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Sqlite) else { return };
    let Some(rsyslog) = Rsyslog::start(dir.path()) else { return };
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    let mapping = |field: &str, column: &str| Mapping { field: field.to_owned(), column: column.to_owned() };
    let mut own = database.settings(Profile::Own);
    own.leg_fields = vec![mapping("src", "leg_src")];
    let mut kamailio = database.settings(Profile::Kamailio);
    (kamailio.tables.acc, kamailio.tables.missed) = ("k_acc".to_owned(), "k_missed".to_owned());
    for settings in [&mut own, &mut kamailio] {
        settings.records = SinkMode::Cdr;
        settings.fields = vec![mapping("seq_bye", "seq_bye")];
        database.make(settings);
    }
    let [port, callee, caller] = free_ports();
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let (place, url, log) = (folder.display(), database.url(), rsyslog.dir.join("log"));
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"sql\", \"syslog\", \"radius\"]\ncdr_on_failed = true\nfields = {{ caller = \"$fU\" }}\n\
         bye_fields = {{ seq_bye = \"$cs\" }}\nleg_fields = {{ src = \"$fU\" }}\nbye_leg_fields = {{ src = \"$rm\" }}\n\
         [queue]\npath = \"{place}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{place}/admin.sock\"\n\
         [sinks.sql.own]\nurl = \"{url}\"\nrecords = \"cdr\"\nfields = {{ seq_bye = \"seq_bye\" }}\n\
         leg_fields = {{ src = \"leg_src\" }}\n\
         [sinks.sql.kamailio]\nurl = \"{url}\"\nprofile = \"kamailio\"\nrecords = \"cdr\"\ntable = \"k_acc\"\n\
         missed_table = \"k_missed\"\ncdr_start = \"created\"\nfields = {{ seq_bye = \"seq_bye\" }}\n\
         [sinks.syslog.log]\nto = \"{}\"\nprofile = \"opensips\"\nrecords = \"cdr\"\nrecord_id_label = \"id\"\n\
         [sinks.radius.aaa]\nconfig = \"{place}/radiusclient.conf\"\nrecords = \"cdr\"\n",
        log.display()
    );
    let gateway = Gateway::start_on(&folder, port, &toml, radius.port);
    let to = gateway.address().to_string();
    for (callee_file, caller_file) in [("uas.xml", "uac.xml"), ("uas_rings_busy.xml", "uac_busy.xml")] {
        let Some(_callee) = sipp(dir.path(), callee_file, callee, &[]) else { return };
        let mut call = sipp(dir.path(), caller_file, caller, &[&to, "-m", "1", "-d", "1200"]).unwrap();
        assert!(call.wait("the caller").success(), "{}", call.complaints());
    }
    wait_for("two records at each backend", || {
        let counts = (database.count("acc"), database.count("acc_cdrs"), rsyslog.seen().len(), radius.records().len());
        (counts == (3, 2, 2, 2)).then_some(())
    });
    let (own, cdrs) =
        (rows(&database, "acc", OWN, "created, leg"), rows(&database, "acc_cdrs", KAMAILIO, "start_time, record_id"));
    let (lines, packets) = (rsyslog.seen(), radius.records());

    // The call that was answered.
    let (call, line, packet) = (&own[0], pairs(&lines[0]), &packets[0]);
    let want = ["cdr", "INVITE", "200", "1", "alice", "2", "caller", "bye"];
    assert_eq!(call.texts(["kind", "method", "code", "leg", "src", "seq_bye", "by", "cause"]), want);
    assert_eq!(own[1].texts(["id", "leg", "src"]), [call.text("id"), "2", "BYE"], "a leg of the BYE's own");
    let [setup, duration] = ["setup", "duration"].map(|name| call.number(name));
    assert!(setup >= 20 && duration >= 1_200, "{:?}", call.0);
    // A clock that nobody sets has the spans, and another one the instants.
    assert!(call.number("to answer").abs_diff(setup) <= 20 && call.number("to end").abs_diff(duration) <= 20);
    let instants = call.texts(["created", "answered", "acknowledged", "ended"]);
    assert!(instants.is_sorted() && instants[0] < instants[1] && instants[2] < instants[3], "{instants:?}");
    assert_eq!(cdrs[0].texts(["id", "seq_bye"]), [call.text("id"), "2"]);
    assert_eq!(cdrs[0].texts(["start", "end"]), [&instants[0][..19], &instants[3][..19]]);
    // Both parts are cut to milliseconds, the whole is not.
    assert!(cdrs[0].number("duration").abs_diff(setup + duration) <= 2, "ringing is paid for: {:?}", cdrs[0].0);
    assert_eq!(line.texts(["id", "method", "code", "reason", "caller", "seq_bye"]), {
        [call.text("id"), "INVITE", "200", "OK", "alice", "2"]
    });
    assert_eq!(line.texts(["created", "call_start_time"]), call.texts(["created_s", "answered_s"]));
    let numbers = ["setuptime", "duration", "ms_duration"].map(|name| line.number(name));
    assert_eq!(numbers, [seconds(setup), seconds(duration), duration]);
    assert!(lines[0].contains(";src=alice;src=BYE"), "{}", lines[0]);
    assert_eq!(value(packet, "Tollgate-Record-Id"), Some(call.text("id")));
    assert_eq!(value(packet, "Acct-Status-Type"), Some("Stop"), "{packet:#?}");
    for (name, want) in [
        ("Acct-Session-Time", seconds(duration)),
        ("Tollgate-Duration-Ms", duration),
        ("Tollgate-Setup-Time-Ms", setup),
        ("Tollgate-Response-Code", 200),
    ] {
        assert_eq!(value(packet, name), Some(&*want.to_string()), "{name} in {packet:#?}");
    }
    for (name, want) in ["Created", "Answered", "Acknowledged", "Ended"].into_iter().zip(instants) {
        assert_eq!(instant(packet, &format!("Tollgate-{name}")).as_deref(), Some(want), "{name} in {packet:#?}");
    }
    assert!(all(packet, "Tollgate-Field").contains(&"seq_bye=2"), "{packet:#?}");
    assert_eq!(all(packet, "Tollgate-Leg"), ["1 src=alice", "2 src=BYE"], "{packet:#?}");

    // The one that came to nothing.
    let (call, line, packet) = (&own[2], pairs(&lines[1]), &packets[1]);
    let want = ["cdr", "INVITE", "486", "NULL", "callee", "busy", "NULL", "NULL", "0"];
    let names = ["kind", "method", "code", "seq_bye", "by", "cause", "answered", "acknowledged", "duration"];
    assert_eq!(call.texts(names), want);
    let [setup, ring] = ["setup", "ring"].map(|name| call.number(name));
    // The callee's 0.7 s are counted here from when its 180 has come.
    assert!((600..=setup).contains(&ring), "{:?}", call.0);
    assert!(call.text("created") < call.text("ended"), "{:?}", call.0);
    assert_eq!(cdrs[1].texts(["id", "seq_bye"]), [call.text("id"), ""]);
    assert_eq!(cdrs[1].texts(["start", "end"]), [&call.text("created")[..19], &call.text("ended")[..19]]);
    assert!(cdrs[1].number("duration").abs_diff(setup) <= 1, "{:?}", cdrs[1].0);
    assert_eq!(line.texts(["id", "code", "reason", "caller"]), [call.text("id"), "486", "Busy Here", "alice"]);
    assert_eq!(line.texts(["created", "call_start_time"]), [call.text("created_s"), ""]);
    let numbers = ["setuptime", "duration", "ms_duration"].map(|name| line.number(name));
    assert_eq!(numbers, [seconds(setup), 0, 0]);
    for (name, want) in [
        ("Tollgate-Record-Id", Some(call.text("id"))),
        ("Tollgate-Response-Code", Some("486")),
        ("Tollgate-Ring-Time-Ms", Some(call.text("ring"))),
        ("Tollgate-Setup-Time-Ms", Some(call.text("setup"))),
        ("Tollgate-Answered", None),
        ("Tollgate-Acknowledged", None),
    ] {
        assert_eq!(value(packet, name), want, "{name} in {packet:#?}");
    }
    assert_eq!(instant(packet, "Tollgate-Ended").as_deref(), Some(call.text("ended")), "{packet:#?}");
    assert!(!all(packet, "Tollgate-Field").iter().any(|field| field.starts_with("seq_bye")), "{packet:#?}");
}
