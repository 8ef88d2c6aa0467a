//! From whole files to what is written.

use std::io;

use super::*;
use crate::config;

/// Imports a text.
fn import_text(name: &str, text: &str) -> Import {
    let open = |_: &Path| -> io::Result<Vec<u8>> { Ok(text.as_bytes().to_vec()) };
    import(Path::new(name), &Options::default(), &open).unwrap_or_else(|mistake| panic!("{mistake}\n{text}"))
}

const KAMAILIO: &str = include_str!("tests/kamailio.cfg");
const OPENSIPS: &str = include_str!("tests/opensips.cfg");
const OPENSER: &str = include_str!("tests/openser.cfg");
const SER: &str = include_str!("tests/ser.cfg");

/// Whether a line of `text` begins with `line`.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|own| own.starts_with(line))
}

#[test]
fn whose_file_it_is_is_told_by_what_only_that_system_has() {
    use Dialect::{Kamailio, Openser, Openser11, Opensips, Opensips22, Ser};
    let acc = |param: &str| format!("modparam(\"acc\", \"{param}\", \"x\")\nroute {{ }}");
    for (name, file, text, want) in [
        ("its first line", "x.cfg", "#!KAMAILIO\n".to_owned(), Kamailio),
        ("a line of the preprocessor", "x.cfg", "#!define A\n".to_owned(), Kamailio),
        ("the word for its main route", "x.cfg", "request_route { }".to_owned(), Kamailio),
        ("a parameter of its own", "x.cfg", acc("cdr_enable"), Kamailio),
        ("fields by tags", "x.cfg", acc("extra_fields"), Opensips),
        ("marks by a function", "x.cfg", "route { do_accounting(\"log\"); }".to_owned(), Opensips),
        (
            "the same with values by parameters",
            "x.cfg",
            acc("db_extra").replace("{ }", "{ do_accounting(\"db\"); }"),
            Opensips22,
        ),
        ("the flag of whole calls", "x.cfg", acc("cdr_flag"), Opensips22),
        ("AAA by flags", "x.cfg", acc("aaa_flag"), Openser),
        ("two fixed legs", "x.cfg", acc("src_leg_avp_id"), Openser11),
        ("a format of lines", "x.cfg", acc("log_fmt"), Ser),
        ("the folder of its modules", "x.cfg", "mpath=\"/usr/lib/openser/modules\"".to_owned(), Openser),
        ("its name", "kamailio.cfg", "route { }".to_owned(), Kamailio),
        ("its name as well", "ser.cfg", "route { }".to_owned(), Ser),
    ] {
        let verdict = import_text(file, &text).verdict;
        assert_eq!(verdict.dialect, want, "{name}: {verdict:?}");
    }
}

#[test]
fn what_is_written_passes_the_check() {
    for (name, file, text) in [
        ("Kamailio's", "kamailio.cfg", KAMAILIO),
        ("OpenSIPS's", "opensips.cfg", OPENSIPS),
        ("OpenSER's", "openser.cfg", OPENSER),
        ("SER's", "ser.cfg", SER),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let import = import_text(file, text);
        for secret in &import.secrets {
            std::fs::write(dir.path().join(&secret.file), &secret.text).expect("it is written");
        }
        let client =
            "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retries 3\nnas-ip 127.0.0.1\n";
        std::fs::write(dir.path().join("radiusclient.conf"), client).expect("it is written");
        let lua = import.lua.expect("there are routes");
        std::fs::write(dir.path().join("route.lua"), &lua).expect("it is written");
        let checked = config::parse(&dir.path().join("tollgate.toml"), &import.toml, Default::default());
        assert!(checked.is_ok(), "{name}: {}\n{}\n{lua}", checked.unwrap_err(), import.toml);
    }
}

#[test]
fn kamailio_s_settings_are_taken_with_their_lines() {
    let import = import_text("kamailio.cfg", KAMAILIO);
    for line in [
        "listen = [\"udp:192.0.2.10:5060\", \"tcp:192.0.2.10:5060\"]  # kamailio.cfg:",
        "names = [\"sip.example.com\"]",
        "ring_timeout_s = 30",
        "file = \"route.lua\"",
        "on = []",
        "early_media = true",
        "failed_filter = [404, 407]",
        "cdr_on_failed = true",
        "log_flag = 1",
        "log_missed_flag = 2",
        "db_flag = 1",
        "failed_transaction_flag = 3",
        "src_user = \"$fU\"",
        "[sinks.syslog.acc-log]",
        "facility = \"LOG_LOCAL1\"",
        "level = \"L_INFO\"",
        "fields = { src_user = \"src_user\", src_ip = \"src_ip\" }",
        "[sinks.sql.acc-db]",
        "url = \"mysql://kamailio@db.example.com/kamailio\"",
        "password_file = \"sql-password\"",
        "table = \"acc_2026\"",
        "[sinks.sql.cdr-db]",
        "cdr_table = \"acc_cdrs\"",
        "cdr_start = \"acknowledged\"",
        "[sinks.syslog.cdr-log]",
        "[sinks.radius.acc-aaa]",
        "config = \"radiusclient.conf\"",
    ] {
        assert!(has(&import.toml, line), "{line}\n{}", import.toml);
    }
    assert!(!import.toml.contains("s3cret"), "{}", import.toml);
    assert_eq!(import.secrets, [Secret { file: "sql-password".to_owned(), text: "s3cret".to_owned() }]);
    let told = format!("{:?}", import.report);
    assert!(!told.contains("s3cret"), "{told}");
    for (what, why) in [
        ("modparam acc_json acc_flag", "lines of JSON have other sinks"),
        ("modparam usrloc: db_mode (", "nothing takes its place"),
        ("settings of the core: debug (", "settings of its own"),
        ("db_extra: proc=$var(x)", "belongs to a process"),
    ] {
        let is_told = import.report.items().iter().any(|item| item.what.starts_with(what) && item.why.contains(why));
        assert!(is_told, "{what}: {told}");
    }
}

#[test]
fn the_settings_of_the_others_are_taken_as_their_releases_mean_them() {
    for (file, text, lines) in [
        (
            "opensips.cfg",
            OPENSIPS,
            vec![
                "ring_timeout_s = 120",
                "lifetime_s = 7200",
                "at_lifetime = \"bye\"",
                "note = \"$avp(acc_extra_note)\"",
                "fields = { note = \"x_note\" }",
                "leg_fields = { src = \"src\", dst = \"dst\" }",
                "[sinks.sql.acc-db]",
                "[sinks.sql.cdr-db]",
                "[sinks.syslog.acc-log]",
                "url = \"postgres://opensips@localhost/opensips\"",
                "profile = \"opensips\"",
            ],
        ),
        (
            "openser.cfg",
            OPENSER,
            vec![
                "listen = [\"udp:192.0.2.10:5060\", \"tcp:192.0.2.10:5060\"]",
                "detect_direction = true",
                "report_ack = true",
                "src_leg = \"$avp(leg_src)\"",
                "ua = \"$ua\"",
                "fields = { ua = \"ua\", via = \"via\" }",
                "profile = \"openser\"",
                "table = \"acc\"",
            ],
        ),
        (
            "ser.cfg",
            SER,
            vec![
                "log_fmt = \"mciofs\"",
                "profile = \"ser\"",
                "columns = { username = \"user_name\" }",
                "log_flag = 1",
                "report_ack = true",
            ],
        ),
    ] {
        let import = import_text(file, text);
        for line in lines {
            assert!(has(&import.toml, line), "{file}: {line}\n{}", import.toml);
        }
    }
}

#[test]
fn what_there_is_to_do_is_told() {
    let import = import_text("openser.cfg", OPENSER);
    for task in [
        "set `sip.allow`",
        "make the table in which delivered records are noted",
        "add the column `leg`",
        "set `time_zone`",
    ] {
        assert!(import.report.tasks().iter().any(|own| own.starts_with(task)), "{task}: {:?}", import.report.tasks());
    }
    assert!(!import_text("kamailio.cfg", KAMAILIO).report.tasks().iter().any(|own| own.contains("`leg`")));
}

#[test]
fn settings_without_routes_account_everything() {
    let text = "#!KAMAILIO\nmodparam(\"acc\", \"log_flag\", 1)\nmodparam(\"acc\", \"log_missed_flag\", 2)\n";
    let import = import_text("acc.cfg", text);
    for line in ["on = [\"acc-log\"]", "flags = [\"missed\"]"] {
        assert!(has(&import.toml, line), "{line}\n{}", import.toml);
    }
    assert!(!import.toml.contains("[script]"), "{}", import.toml);
}

#[test]
fn a_report_has_an_end() {
    let text = format!("#!KAMAILIO\nroute {{\n{}\n}}", "no_such_function();\n".repeat(limits::ITEMS_MAX + 10));
    let report = import_text("x.cfg", &text).report;
    assert_eq!((report.items().len(), report.beyond()), (limits::ITEMS_MAX, 10));
}
