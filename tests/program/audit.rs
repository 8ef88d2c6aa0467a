//! A day is played: two RADIUS servers and a database, one server that stalls, records that are parked and dropped, a
//! gateway that is killed, and calls over midnight. The audit names exactly what is not everywhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tollgate::clock;
use tollgate::sinks::sql::{Dialect, Profile};

use crate::support::sql::Database;
use crate::support::start::Start as _;
use crate::support::{FreeRadius, Gateway, free_ports, peer_file, sipp, value, wait_for};

/// A library that moves the wall clock of one process; in the package of its name.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Seconds of the played day that are left when it begins.
const BEFORE_MIDNIGHT: i64 = 14;

const DAY: i64 = 86_400;

/// The output of a command whose clock is that of the gateway, whatever its exit code.
fn run((gateway, ahead): (&Gateway, i64), words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", format!("+{ahead}s")).env("DONT_FAKE_MONOTONIC", "1");
    command.args(words).arg("--config").arg(gateway.dir.join("tollgate.toml")).finish().unwrap()
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Ids of the records that a server has stored.
fn stored(server: &FreeRadius) -> BTreeSet<String> {
    let id = |record: Vec<String>| value(&record, "Tollgate-Record-Id").map(str::to_owned);
    server.records().into_iter().filter_map(id).collect()
}

/// What a server has stored, as comma-separated values; a repeat after the kill is told by its id and left out.
fn csv(server: &FreeRadius, file: &Path) {
    let (mut text, mut seen) = ("record_id,duration_s\n".to_owned(), BTreeSet::new());
    for record in server.records() {
        let id = value(&record, "Tollgate-Record-Id").unwrap_or_default();
        if !seen.insert(id.to_owned()) {
            continue;
        }
        let duration = value(&record, "Acct-Session-Time").unwrap_or_default();
        text += &format!("{id},{duration}\n");
    }
    fs::write(file, text).unwrap();
}

/// The gateway with its clock so many seconds ahead.
fn gateway(dir: &Path, (port, callee): (u16, u16), radius: [u16; 2], url: &str, ahead: i64) -> Gateway {
    let dir = dir.join("gateway");
    fs::create_dir_all(&dir).unwrap();
    let folder = dir.display();
    let other = format!(
        "acctserver 127.0.0.1:{}:testing123\nradius_timeout 1\nradius_retries 1\nnas-identifier b\nnas-ip 127.0.0.1\n",
        radius[1]
    );
    fs::write(dir.join("b.conf"), other).unwrap();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"radius\", \"sql\"]\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n\
         [admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.radius.a]\nconfig = \"{folder}/radiusclient.conf\"\n\
         [sinks.radius.b]\nconfig = \"{folder}/b.conf\"\n\
         [sinks.sql.acc]\nurl = \"{url}\"\nrecords = \"sessions\"\n"
    );
    let ahead = format!("+{ahead}s");
    let environment = [
        ("LD_PRELOAD", OsStr::new(FAKETIME)),
        ("FAKETIME", OsStr::new(&ahead)),
        ("DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    Gateway::start_in(&dir, port, &toml, radius[0], &environment)
}

#[test]
fn an_audit_names_exactly_what_is_not_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let Some(()) = peer_file(Path::new(FAKETIME)) else { return };
    let Some(database) = Database::start_quick(dir.path(), Dialect::Mysql) else { return };
    database.make(&database.settings(Profile::Own));
    let folders = ["a", "b"].map(|name| dir.path().join(name));
    let Some(a) = FreeRadius::start(&folders[0], &[]) else { return };
    let Some(b) = FreeRadius::start(&folders[1], &[]) else { return };
    let [callee, port] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let call = |count: &str, millis: &str| {
        let [own] = free_ports();
        let to = format!("127.0.0.1:{port}");
        sipp(dir.path(), "uac.xml", own, &[&to, "-m", count, "-r", "5", "-d", millis]).unwrap()
    };
    // The clock of the gateway is a little before midnight of the day after this one.
    let now = clock::wall().secs();
    let midnight = (now / DAY + 2) * DAY;
    let ahead = midnight - now - BEFORE_MIDNIGHT;
    let start = || gateway(dir.path(), (port, callee), [a.port, b.port], &database.url(), ahead);
    let mut gateway = start();
    let mut over_midnight = call("2", "16000");
    assert!(call("3", "500").wait("calls before midnight").success());
    let everywhere = || stored(&b).len() == 8 && stored(&a).len() == 8 && database.count("acc") == 8;
    wait_for("three whole calls and the begin of two are everywhere", || everywhere().then_some(()));
    b.process.freeze();
    assert!(call("2", "300").wait("calls that one server does not take").success());
    assert!(over_midnight.wait("the calls over midnight").success(), "{}", over_midnight.complaints());
    wait_for("the others have it all", || (stored(&a).len() == 14 && database.count("acc") == 14).then_some(()));
    gateway.process.kill();
    drop(gateway);
    let mut gateway = start();
    gateway.wait_ready();
    assert!(call("1", "300").wait("a call after the kill").success());
    wait_for("and that too", || (stored(&a).len() == 16 && database.count("acc") == 16).then_some(()));
    let listed: Value = serde_json::from_str(&gateway.command(&["queue", "list", "--sink", "b", "--json"])).unwrap();
    let waiting = listed.as_array().unwrap();
    assert_eq!(waiting.len(), 8, "{listed}");
    let id = |place: usize| waiting[place]["id"].as_str().unwrap().to_owned();
    let last = id(7);
    let gateway = (&gateway, ahead);
    for words in [
        ["queue", "park", &last, "--sink", "b", "--reason", "odd"],
        ["queue", "drop", &last, "--sink", "b", "--reason", "a test call"],
    ] {
        let done = run(gateway, &words);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    let date = |secs: i64| clock::Timestamp(secs * 1_000_000).to_string();
    let (from, to) = (date(midnight - DAY), date(midnight + DAY));
    let of =
        |words: &[&str]| run(gateway, &[&["audit", "--from", &from, "--to", &to, "--zone", "UTC"], words].concat());
    let whole = of(&["--json"]);
    let audit = json(&whole);
    assert_eq!(whole.status.code(), Some(2), "{audit}");
    assert_eq!(
        (&audit["calls"], &audit["records"], &audit["unclean_starts"]),
        (&8.into(), &16.into(), &1.into()),
        "{audit}"
    );
    let sink =
        |name: &str| audit["sinks"].as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap().clone();
    for name in ["a", "acc"] {
        let own = sink(name);
        let settled = own["delivered"].as_u64().unwrap() + own["settled"].as_u64().unwrap();
        assert_eq!((settled, &own["complete"]), (16, &true.into()), "{own}");
    }
    let own = sink("b");
    assert_eq!((&own["delivered"], &own["waiting"], &own["dropped"]), (&8.into(), &7.into(), &1.into()), "{own}");
    let who = own["dropped_by"][0]["who"].as_str().unwrap();
    assert!(who.ends_with(": a test call"), "{who}");
    assert_eq!(audit["gaps"], Value::Array(Vec::new()));

    // Exactly those that the stalled server has not.
    let list = json(&of(&["--calls", "--json"]));
    let named = |list: &Value| -> BTreeSet<String> {
        list["records"].as_array().unwrap().iter().map(|own| own["record"].as_str().unwrap().to_owned()).collect()
    };
    let missing: BTreeSet<String> = stored(&a).difference(&stored(&b)).cloned().collect();
    assert_eq!(named(&list), missing);
    assert!(list["records"].as_array().unwrap().iter().all(|own| own["sink"] == "b" && own["call_id"] != ""));

    // Each day has its own: the calls over midnight begin on one and end on the other.
    let day = |secs: i64| date(secs)[..10].to_owned();
    let count = |day: &str| json(&run(gateway, &["audit", "--day", day, "--zone", "UTC", "--json"]))["records"].clone();
    let (first, second) = (count(&day(midnight - 1)), count(&day(midnight)));
    assert_eq!(first.as_u64().unwrap() + second.as_u64().unwrap(), 16);
    assert!(second.as_u64().unwrap() >= 4, "two ends, and the call after the kill: {second}");

    // One call's story.
    let dropped = list["records"].as_array().unwrap().iter().find(|own| own["record"] == *last).unwrap();
    let call_id = dropped["call_id"].as_str().unwrap();
    let story = json(&run(gateway, &["audit", "--call", call_id, "--json"]));
    let told = story["records"].as_array().unwrap().iter().find(|own| own["record"] == *last).unwrap();
    let happened = |sink: &str| -> Vec<String> {
        let all = told["happened"].as_array().unwrap().iter().filter(|own| own["sink"] == sink);
        all.map(|own| own["what"].as_str().unwrap().to_owned()).filter(|what| what != "retried").collect()
    };
    assert_eq!((happened("a"), happened("b")), (vec!["delivered".to_owned()], vec!["parked".into(), "dropped".into()]));

    // What others have agrees with it.
    for (name, server) in [("a", &a), ("b", &b)] {
        let file = dir.path().join(format!("{name}.csv"));
        csv(server, &file);
        let found = of(&["--against", file.to_str().unwrap(), "--sink", name]);
        assert!(found.status.success(), "{name}: {}", String::from_utf8_lossy(&found.stdout));
    }
    let found = of(&["--against", &database.url(), "--sink", "acc"]);
    let text = format!("{}{}", String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    assert!(found.status.success() && text.contains("they agree"), "{text}");
    database.run(&format!("DELETE FROM acc WHERE record_id = '{}'", id(0))).unwrap();
    let found = of(&["--against", &database.url(), "--sink", "acc", "--json"]);
    let differences = json(&found)["differences"].clone();
    assert_eq!(
        (found.status.code(), &differences[0]["what"], &differences[0]["key"]),
        (Some(2), &"missing".into(), &id(0).into())
    );
}
