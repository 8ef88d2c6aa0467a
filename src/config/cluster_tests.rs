//! `[cluster]`: what it comes to, and mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::error::{Mistake, Mistakes};
use super::parse;
use crate::cluster::{Settings, names};
use crate::sinks::jetstream::Login;

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"cdrs\"]\n[sinks.file.cdrs]\npath = \"/tmp/cdrs.csv\"\n\
                    [cluster]\n";
const NATS: &str = "nats = [\"nats://127.0.0.1:4222\"]\n";

fn settings(dir: &Path, lines: &str) -> Option<Settings> {
    let plan = parse(&dir.join("t.toml"), &format!("{BASE}{lines}"), Default::default());
    plan.unwrap_or_else(|mistakes| panic!("{mistakes}")).cluster
}

fn findings(lines: &str) -> String {
    let mistakes = match parse(Path::new("t.toml"), &format!("{BASE}{lines}\n"), Default::default()) {
        Ok(plan) => plan.warnings,
        Err(Mistakes(mistakes)) => mistakes,
    };
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cluster_has_its_defaults_and_a_file_without_it_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = settings(dir.path(), NATS).expect("a cluster");
    assert_eq!((own.stream.as_str(), own.prefix.as_str(), own.replicas), ("TOLLGATE_RECORDS", "tollgate", 3));
    assert_eq!((own.partitions, own.lease), (16, Duration::from_secs(4)));
    assert_eq!((own.duplicate_window.as_secs(), own.max_age.as_secs()), (3600, 30 * 86_400));
    assert!(names::is_name(&own.name), "{}", own.name);
    let without = BASE.trim_end_matches("[cluster]\n");
    let plan = parse(Path::new("t.toml"), without, Default::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(plan.cluster, None);
}

#[test]
fn its_login_is_read_as_that_of_a_sink() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    fs::write(&file, "secret\n").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("its permissions");
    let own = settings(dir.path(), &format!("{NATS}user = \"gw\"\npassword_file = \"password\"\nname = \"gw1\"\n"));
    let own = own.expect("a cluster");
    assert_eq!(own.name, "gw1");
    assert!(matches!(own.access.login, Login::User(name, _) if name == "gw"));
}

#[test]
fn mistakes_are_named() {
    for (name, lines, want) in [
        ("no servers", "name = \"gw1\"".to_owned(), "error: `cluster` lacks the field `nats`\n  --> t.toml:7:2"),
        ("none of them", "nats = []".to_owned(), "hint: add `nats = [\"nats://HOST:4222\"]`"),
        ("a URL", "nats = [\"http://127.0.0.1\"]".to_owned(), "error: `http://127.0.0.1` is no NATS server"),
        ("a name", format!("{NATS}name = \"gw.1\""), "error: `gw.1` is no name of a gateway\n  --> t.toml:9:8"),
        ("a stream", format!("{NATS}stream = \"A.B\""), "`A.B` is no name of a stream"),
        ("a prefix", format!("{NATS}prefix = \"\""), "`` is no name of a prefix"),
        ("even copies", format!("{NATS}replicas = 4"), "error: 4 copies have no clear majority\n  --> t.toml:9:12"),
        ("many copies", format!("{NATS}replicas = 7"), "7 is outside 1 to 5"),
        ("partitions", format!("{NATS}partitions = 257"), "257 is outside 1 to 256"),
        ("a password", format!("{NATS}user = \"gw\""), "error: `user` needs a `password_file`"),
        (
            "a window over the age",
            format!("{NATS}duplicate_window_s = 172800\nmax_age_days = 1"),
            "error: `duplicate_window_s` is longer than `max_age_days`",
        ),
        ("a certificate", format!("{NATS}certificate = \"/c.pem\""), "`cluster` needs both `certificate` and `key`"),
        ("an unknown word", format!("{NATS}replica = 3"), "did you mean `replicas`?"),
    ] {
        let found = findings(&lines);
        assert!(found.contains(want), "{name}: {found}");
    }
}

#[test]
fn what_servers_would_have_said_to_the_gateway_is_warned_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/diameterclient.conf");
    let sink = format!("[sinks.diameter.cdf]\nconfig = \"{client}\"\n[cluster]\n");
    let text = BASE.replace("[cluster]\n", &sink).replace("\"cdrs\"]", "\"cdrs\", \"cdf\"]") + NATS;
    let plan = parse(&dir.path().join("t.toml"), &text, Default::default());
    let warnings = plan.unwrap_or_else(|mistakes| panic!("{mistakes}")).warnings;
    let told: Vec<_> = warnings.iter().map(Mistake::to_string).filter(|own| own.contains("will not hear")).collect();
    assert_eq!(told.len(), 1, "{warnings:?}");
    assert!(told[0].contains("`cdf` say: Acct-Interim-Interval"), "{}", told[0]);
}
