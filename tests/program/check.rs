//! `tollgate check`: mistakes with their lines, as JSON for editors, and never with a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::peer;
use crate::support::start::Start as _;

/// Exit code, standard output and standard error of `tollgate WORDS FILE` for this text.
fn tollgate(dir: &Path, words: &[&str], toml: &str) -> (Option<i32>, String, String) {
    fs::write(dir.join("t.toml"), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(words).args(["--config", "t.toml"]).current_dir(dir).env_remove("NO_COLOR");
    let output = command.finish().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_mistake_goes_to_standard_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let toml = "[sip]\nshard = 1\n[[route]]\nto = \"sip:127.0.0.9\"\nfork = \"serail\"\n";
    let want = "error: unknown field `shard` in `sip`\n --> t.toml:2:1\n  |\n2 | shard = 1\n  | ^^^^^\n  |\n  = hint: did you mean `shards`?\n\n\
                error: unknown value `serail` for `route.fork`\n --> t.toml:5:8\n  |\n5 | fork = \"serail\"\n  |        ^^^^^^^^\n  |\n  \
                = hint: did you mean `serial`?\n";
    for words in [["check"], ["run"]] {
        assert_eq!(tollgate(dir.path(), &words, toml), (Some(78), String::new(), want.to_owned()), "{words:?}");
    }
}

#[test]
fn other_files_show_their_lines_too() {
    let dir = tempfile::tempdir().unwrap();
    let client = "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retreis 3\n";
    let other = "acctserver 127.0.0.1:1813:a-long-enough-secret\ndictionary odd.dictionary\n";
    fs::write(dir.path().join("other.conf"), other).unwrap();
    fs::write(dir.path().join("radiusclient.conf"), client).unwrap();
    fs::write(dir.path().join("odd.dictionary"), "ATTRIBUTE Odd-One 250 strong\n").unwrap();
    fs::write(dir.path().join("route.lua"), "local x = 1\nlocal y = = 2\n").unwrap();
    let toml = "[script]\nfile = \"route.lua\"\n[sinks.radius.billing]\nconfig = \"radiusclient.conf\"\n\
                [sinks.radius.other]\nconfig = \"other.conf\"\n";
    let (code, _, told) = tollgate(dir.path(), &["check"], toml);
    assert_eq!(code, Some(78), "{told}");
    for want in [
        " --> radiusclient.conf:3:1\n  |\n3 | radius_retreis 3\n  | ^^^^^^^^^^^^^^\n",
        "= hint: did you mean `radius_retries`?",
        " --> odd.dictionary:1:1\n  |\n1 | ATTRIBUTE Odd-One 250 strong\n",
        " --> route.lua:2:1\n  |\n2 | local y = = 2\n",
    ] {
        assert!(told.contains(want), "{want}\n---\n{told}");
    }
}

/// Sinks with each option that names a file of a secret; the files may be read by everybody, which is told with the line.
const SECRET_FILES: &str = r#"
[admin]
listen = "127.0.0.1:0"
api = true
token_file = "planted.file"
[sinks.sql.a]
url = "mysql://u@127.0.0.1/x"
password_file = "planted.file"
[sinks.nats.b]
servers = ["nats://127.0.0.1"]
stream = "ACC"
user = "u"
password_file = "planted.file"
[sinks.nats.c]
servers = ["nats://127.0.0.1"]
stream = "ACC"
token_file = "planted.file"
[sinks.nats.d]
servers = ["nats://127.0.0.1"]
stream = "ACC"
nkey_file = "planted.file"
[sinks.nats.e]
servers = ["nats://127.0.0.1"]
stream = "ACC"
credentials_file = "planted.file"
[sinks.amqp.f]
url = "amqp://127.0.0.1"
user = "u"
password_file = "planted.file"
[sinks.webhook.g]
url = "http://127.0.0.1/"
user = "u"
password_file = "planted.file"
[sinks.webhook.h]
url = "http://127.0.0.1/"
token_file = "planted.file"
signing_key_file = "planted.file"
[sinks.redis.i]
url = "redis://127.0.0.1"
user = "u"
password_file = "planted.file"
[sinks.kafka.j]
brokers = ["127.0.0.1:9092"]
user = "u"
password_file = "planted.file"
[sinks.radius.k]
config = "radiusclient.conf"
"#;

#[test]
fn no_secret_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    };
    write("planted.file", "planted secret\n");
    write("servers", "127.0.0.1 planted planted\n::1 planted\nplanted\n");
    write(
        "radiusclient.conf",
        "acctserver 127.0.0.1:1813:planted,[::1]:0:planted,h:planted\nservers servers\nsercet planted\n",
    );
    let inline = SECRET_FILES.replace("planted.file", "planted");
    let urls = SECRET_FILES
        .replace("//127.0.0.1", "//user:planted@127.0.0.1")
        .replace("\"127.0.0.1:9", "\"user:planted@127.0.0.1:9");
    let names = SECRET_FILES.replace("_file = \"planted.file\"", " = \"planted\"");
    let damaged = SECRET_FILES.replace("_file = \"planted.file\"", " = \"planted");
    let bare = SECRET_FILES.replace("_file = \"planted.file\"", " planted");
    for (name, toml, least) in [
        ("files that everybody may read", SECRET_FILES, 12),
        ("a secret for the name of its file", &inline, 12),
        ("passwords in URLs", &urls, 9),
        ("options that would be secrets", &names, 9),
        ("texts without their ends", &damaged, 9),
        ("no texts", &bare, 9),
    ] {
        let (_, out, told) = tollgate(dir.path(), &["check"], toml);
        let (_, json, more) = tollgate(dir.path(), &["check", "--format", "json"], toml);
        let all = [&out, &told, &json, &more].map(|text| text.replace("planted.file", ""));
        assert!(!all.concat().contains("planted"), "{name}: {all:#?}");
        let findings: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert!(findings.len() >= least, "{name}: {json}");
        assert!(told.contains("***"), "{name}: {told}");
    }
}

#[test]
fn editors_get_places_ends_and_fields() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("radiusclient.conf"), "acctserver h:1813:a-long-enough-secret\nradius_timeout odd\n")
        .unwrap();
    let toml = "[[route]]\nto = \"sip:127.0.0.9\"\n[[route]]\nto = [\"sip:127.0.0.9\", \"odd\"]\n[accounting.fields]\n\"ü\" = \"$fU\"\n\
                owner = \"$fU $(odd)\"\n[sinks.radius.billing]\nconfig = \"radiusclient.conf\"\ntime_out = 3\n";
    let (code, out, told) = tollgate(dir.path(), &["check", "--format", "json"], toml);
    assert_eq!((code, told.as_str()), (Some(78), ""), "{out}");
    assert_eq!(tollgate(dir.path(), &["check", "--json"], toml).1, out, "the same");
    let findings: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let seen: Vec<_> = findings
        .iter()
        .filter(|own| own["weight"] == "error")
        .map(|own| {
            assert!(own["what"].is_string() && own.get("hint").is_some(), "{own}");
            let place = &own["places"][0];
            let number = |name: &str| place[name].as_u64().unwrap();
            let field = own["field"].as_str().unwrap_or_default().to_owned();
            (place["file"].as_str().unwrap().to_owned(), number("line"), number("column"), number("end"), field)
        })
        .collect();
    let want = [
        ("radiusclient.conf", 2, 16, 19, ""),
        ("t.toml", 4, 24, 29, "route[1].to[1]"),
        ("t.toml", 6, 1, 4, "accounting.fields.ü"),
        ("t.toml", 7, 16, 19, "accounting.fields.owner"),
        ("t.toml", 10, 1, 9, "sinks.radius.billing.time_out"),
    ];
    let want = want.map(|(file, line, column, end, field)| (file.to_owned(), line, column, end, field.to_owned()));
    assert_eq!(seen, want, "{out}");
    let (code, out, _) = tollgate(dir.path(), &["check", "--format", "lines"], toml);
    assert_eq!((code, out.lines().count()), (Some(78), findings.len()), "{out}");
    assert!(out.contains("t.toml:10:1: error: unknown field `time_out` in `sinks.radius.billing`"), "{out}");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let Some(script) = peer("script") else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.toml"), "[sip]\nshard = 1\n").unwrap();
    for (name, prefix, is_coloured) in [
        ("a terminal", "", true),
        ("one without colours", "NO_COLOR=1 ", false),
        ("an empty word is no word", "NO_COLOR= ", true),
    ] {
        let inside = format!("stty cols 100; {prefix}exec {} check --config t.toml", env!("CARGO_BIN_EXE_tollgate"));
        let mut command = Command::new(&script);
        command.args(["--quiet", "--return", "--command", &inside, "/dev/null"]).current_dir(dir.path());
        let output = command.env("TERM", "xterm").env_remove("NO_COLOR").finish().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("did you mean"), "{name}: {shown}");
        assert_eq!(shown.contains("\u{1b}["), is_coloured, "{name}: {shown}");
    }
}
