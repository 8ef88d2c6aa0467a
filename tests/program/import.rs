//! `tollgate import`: what is written, that it passes the check, and that no rubbish ends in a panic.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;
use serde_json::Value;
use tollgate::import::report::About;
use tollgate::import::{Options, import};

use crate::support::start::Start as _;
use crate::support::{peer, peer_file};

fn tollgate(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).finish().expect("the binary runs and ends")
}

/// The configurations beside the sources.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/tests").join(name)
}

const SAMPLES: [&str; 4] = ["kamailio.cfg", "opensips.cfg", "openser.cfg", "ser.cfg"];

/// Imports a file into a folder; gives the code, and what standard output and standard error got.
fn run(file: &Path, out: &Path, more: &[&str]) -> (i32, String, String) {
    let (file, out) = (file.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let output = tollgate(&[&["import", file, "--out", out], more].concat());
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn files_are_written_once_and_passwords_for_the_service_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/folder");
    let (code, printed, _) = run(&sample("kamailio.cfg"), &out, &[]);
    assert_eq!(code, 0, "{printed}");
    let mode = |name: &str| fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("sql-password"), 0o600);
    assert_eq!(fs::read_to_string(out.join("sql-password")).unwrap(), "s3cret\n");
    assert_eq!(fs::read_to_string(out.join("import.txt")).unwrap(), printed);
    for name in ["tollgate.toml", "route.lua", "import.txt"] {
        let text = fs::read_to_string(out.join(name)).unwrap();
        assert!(!text.contains("s3cret"), "{name}: {text}");
        assert_ne!(mode(name) & 0o444, 0, "{name}");
    }
    fs::write(out.join("route.lua"), "-- mine").unwrap();
    fs::remove_file(out.join("tollgate.toml")).unwrap();
    let (code, _, told) = run(&sample("kamailio.cfg"), &out, &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("route.lua is there already") && told.contains("--force overwrites"), "{told}");
    assert!(!out.join("tollgate.toml").exists(), "nothing is written beside what is there");
    assert_eq!(fs::read_to_string(out.join("route.lua")).unwrap(), "-- mine");
    // A link that somebody has put there is replaced, not followed.
    let elsewhere = dir.path().join("elsewhere");
    fs::remove_file(out.join("sql-password")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, out.join("sql-password")).unwrap();
    let (code, _, told) = run(&sample("kamailio.cfg"), &out, &["--force"]);
    assert_eq!(code, 0, "{told}");
    assert!(!elsewhere.exists(), "the link is not followed");
    assert_eq!(mode("sql-password"), 0o600);
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.cfg");
    for (name, text, want) in [
        ("a block that is open", "route {\n  if (a()) {\n", "x.cfg:2:12"),
        ("a text that is open", "debug=1\n a \"b\n", "x.cfg:2:4"),
        ("a file that is missing", "\ninclude_file \"none.cfg\"\n", "x.cfg:2:1"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, printed, told) = run(&file, &dir.path().join("out"), &[]);
        assert_eq!((code, printed.as_str()), (78, ""), "{name}: {told}");
        assert!(told.contains(want) && told.contains("hint: "), "{name}: {told}");
        assert!(!dir.path().join("out").exists(), "{name}: nothing is written");
    }
    let (code, _, told) = run(&dir.path().join("none.cfg"), dir.path(), &[]);
    assert!(code == 78 && told.contains("none.cfg"), "{told}");
    let (code, _, told) = run(&file, dir.path(), &["--profile", "asterisk"]);
    assert!(code == 64 && told.contains("known are kamailio"), "{told}");
}

#[test]
fn the_report_names_what_was_not_taken_with_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (code, printed, _) = run(&sample("kamailio.cfg"), dir.path(), &["--json"]);
    assert_eq!(code, 0);
    let json: Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!(json["profile"], "kamailio");
    let text = fs::read_to_string(sample("kamailio.cfg")).unwrap();
    let line = |word: &str| text.lines().position(|line| line.contains(word)).map(|place| place + 1);
    let items = json["not_taken"].as_array().expect("a list");
    for (about, word, why) in [
        ("records", "acc_json\", \"acc_flag", "lines of JSON"),
        ("records", "proc=$var(x)", "belongs to a process"),
        ("records", "acc_log_request", "depends on something that is not translated"),
        ("routing", "allow_trusted", "sip.allow"),
        ("settings", "usrloc", "nothing takes its place"),
    ] {
        let is_told = items.iter().any(|item| {
            item["about"] == about
                && item["line"].as_u64() == line(word).map(|line| line as u64)
                && item["why"].as_str().is_some_and(|own| own.contains(why))
        });
        assert!(is_told, "{word}: {items:#?}");
    }
    assert_eq!(json["switched_off"][0]["by"], "ifdef WITH_NAT");
}

/// A script from the pieces of a flow, as the file that was observed had them.
fn script_of(flow: &str, start: &str, head: &str) -> Option<String> {
    static PIECE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(settings|initial request|CANCEL|targets|in-dialog|failure route): (?:`([^`]*)`)?").unwrap()
    });
    static PARAM: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(\w+)\.(\w+) = ("[^"]*"|\d+)"#).unwrap());
    let line = flow.lines().find(|line| line.starts_with(start))?;
    let piece = |name: &str| {
        let found = PIECE.captures_iter(line).find(|found| &found[1] == name);
        let code = found.and_then(|found| found.get(2)).map_or("", |code| code.as_str());
        if code.starts_with('(') { String::new() } else { code.to_owned() }
    };
    let settings = piece("settings");
    let params = PARAM.captures_iter(&settings);
    let params: String =
        params.map(|own| format!("modparam(\"{}\", \"{}\", {})\n", &own[1], &own[2], &own[3])).collect();
    let armed = if piece("failure route").is_empty() { "" } else { "t_on_failure(\"F\");" };
    Some(format!(
        "{head}{params}route {{\n if (has_totag()) {{\n {}\n t_relay();\n exit;\n }}\n if (is_method(\"CANCEL\")) {{\n {}\n \
         t_relay();\n exit;\n }}\n {}\n {}\n {armed}\n t_relay();\n}}\nfailure_route[F] {{\n {}\n}}\n",
        piece("in-dialog"),
        piece("CANCEL"),
        piece("initial request"),
        piece("targets"),
        piece("failure route"),
    ))
}

const KAMAILIO_HEAD: &str = "#!KAMAILIO\nmodparam(\"acc\", \"log_flag\", 1)\nmodparam(\"acc\", \"log_missed_flag\", 2)\n\
    modparam(\"acc\", \"failed_transaction_flag\", 3)\nmodparam(\"acc\", \"db_flag\", 1)\nmodparam(\"acc\", \"db_missed_flag\", 2)\n\
    modparam(\"acc\", \"db_url\", \"mysql://a@localhost/a\")\nmodparam(\"acc_radius\", \"radius_flag\", 1)\n\
    modparam(\"acc_radius\", \"radius_config\", \"radiusclient.conf\")\n";

const OPENSIPS_HEAD: &str = "modparam(\"acc\", \"db_url\", \"mysql://a@localhost/a\")\nmodparam(\"acc\", \"aaa_url\", \"radius:radiusclient.conf\")\n";

#[test]
fn the_scripts_of_the_golden_flows_are_translated_line_by_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flows");
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(root).expect("the flows are there") {
        let path = entry.unwrap().path().join("flow.md");
        let Ok(flow) = fs::read_to_string(&path) else { continue };
        for (start, head) in [("Kamailio settings:", KAMAILIO_HEAD), ("OpenSIPS 4 settings:", OPENSIPS_HEAD)] {
            let Some(text) = script_of(&flow, start, head) else { continue };
            let name = format!("{} {start}", path.display());
            let open = |_: &Path| Ok(text.clone().into_bytes());
            let made = import(Path::new("x.cfg"), &Options::default(), &open)
                .unwrap_or_else(|mistake| panic!("{name}: {mistake}\n{text}"));
            seen += 1;
            for item in made.report.items().into_iter().filter(|item| item.about != About::Settings) {
                if !NOT_TAKEN.iter().any(|(what, why)| item.what.contains(what) && item.why.contains(why)) {
                    wrong.push(format!("{name}: {}: {}", item.what, item.why));
                }
            }
            syntax(&made.lua.expect("there are routes"), &name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "{seen} scripts");
}

/// What the flows have that is not taken, with the reason.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("acc_json", "lines of JSON"),
    ("events of acc", "subscribers of events are not in this file"),
    ("aaa_url", "no flag and no route accounts to this backend"),
    ("reason_from_hf", "the phrase of the response stays"),
    ("acc_extra_nullable", "`empty` of the sink"),
    ("cdr_expired_dlg_enable", "always has its record"),
];

/// Holds a script against the compiler of Lua, where that is installed.
fn syntax(lua: &str, name: &str) {
    let Some(compiler) = peer("luac5.4") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), lua).unwrap();
    let output = Command::new(compiler).arg("-p").arg(file.path()).finish().expect("it runs");
    assert!(output.status.success(), "{name}: {}\n{lua}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_written_of_the_samples_passes_the_check() {
    let client =
        "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retries 3\nnas-ip 127.0.0.1\n";
    for name in SAMPLES {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("radiusclient.conf"), client).unwrap();
        let (code, printed, told) = run(&sample(name), dir.path(), &["--json"]);
        assert_eq!(code, 0, "{name}: {told}");
        let json: Value = serde_json::from_str(&printed).expect("it is JSON");
        assert_eq!(json["check"], serde_json::json!([]), "{name}");
        let file = dir.path().join("tollgate.toml");
        let output = tollgate(&["check", file.to_str().unwrap()]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_configuration_that_kamailio_comes_with_is_imported() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/kamailio/etc/kamailio/kamailio.cfg");
    if peer_file(&file).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let more = ["-D", "WITH_MYSQL", "-D", "WITH_ACCDB", "-D", "WITH_AUTH", "-D", "WITH_NAT", "--json"];
    let (code, printed, told) = run(&file, dir.path(), &more);
    assert_eq!(code, 0, "{told}");
    let json: Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!(json["profile"], "kamailio");
    let about =
        |about: &str| json["not_taken"].as_array().unwrap().iter().filter(|item| item["about"] == about).count();
    assert_eq!(about("records"), 0, "{printed}");
    let lua = fs::read_to_string(dir.path().join("route.lua")).unwrap();
    for line in ["    setflag(1)", "    setflag(3)", "    setflag(2)"] {
        assert!(lua.lines().any(|own| own.trim_start().starts_with(line.trim_start())), "{line}\n{lua}");
    }
    syntax(&lua, "kamailio.cfg");
    let toml = fs::read_to_string(dir.path().join("tollgate.toml")).unwrap();
    assert!(toml.contains("[sinks.sql.acc-db]") && toml.contains("password_file = \"sql-password\""), "{toml}");
}

/// A change to a file.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
    Insert(usize, String),
}

fn change() -> impl Strategy<Value = Change> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "(",
        ")",
        "\"",
        "'",
        "/*",
        "#!ifdef A\n",
        "#!endif\n",
        "#!else\n",
        "$",
        "$(",
        ";",
        "if (",
        "switch ($x) {",
        "case 1:",
        "else",
        "\\",
        "\u{0}",
        "\u{fc}",
        "route[A] {",
        "#!define A A\n",
        "#!subst \"/a/aa/g\"\n",
        "!",
        "&&",
        "== ",
        "@x.y",
        "include_file \"x\"\n",
        "modparam(",
        "0x",
        "-",
        "[",
        "while (",
        "return",
        "exit;",
        "=~ \"((\"",
    ]);
    prop_oneof![
        (0_usize..10_000).prop_map(Change::Cut),
        (0_usize..10_000, 1_usize..200).prop_map(|(at, length)| Change::Remove(at, length)),
        (0_usize..10_000, 1_usize..200).prop_map(|(at, length)| Change::Repeat(at, length)),
        (0_usize..10_000, words).prop_map(|(at, word)| Change::Insert(at, word.to_owned())),
        (0_usize..10_000, ".{0,12}").prop_map(|(at, text)| Change::Insert(at, text)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    for change in changes {
        let place = |at: usize| if octets.is_empty() { 0 } else { at % octets.len() };
        match change {
            Change::Cut(at) => octets.truncate(place(*at)),
            Change::Remove(at, length) => {
                let at = place(*at);
                let end = octets.len().min(at + length);
                octets.drain(at..end);
            }
            Change::Repeat(at, length) => {
                let at = place(*at);
                let part = octets[at..octets.len().min(at + length)].to_vec();
                octets.splice(at..at, part);
            }
            Change::Insert(at, text) => {
                let at = place(*at);
                octets.splice(at..at, text.bytes());
            }
        }
    }
    octets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever stands in a file, it is imported or refused with a place, and what is written can be read again.
    #[test]
    fn no_rubbish_ends_in_a_panic(number in 0_usize..4, changes in prop::collection::vec(change(), 1..12)) {
        static TEXTS: LazyLock<Vec<String>> =
            LazyLock::new(|| SAMPLES.iter().map(|name| fs::read_to_string(sample(name)).unwrap()).collect());
        let octets = changed(&TEXTS[number], &changes);
        let open = |path: &Path| {
            if path == Path::new("x.cfg") { Ok(octets.clone()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        };
        match import(Path::new("x.cfg"), &Options::default(), &open) {
            Ok(made) => {
                let toml: Result<toml::Table, _> = made.toml.parse();
                prop_assert!(toml.is_ok(), "{:?}\n{}", toml, made.toml);
                for line in made.lua.iter().flat_map(|lua| lua.lines()) {
                    prop_assert!(!line.contains(|sign: char| sign.is_control()), "{line:?}");
                }
            }
            Err(mistake) => prop_assert!(!mistake.places.is_empty(), "{mistake}"),
        }
    }
}
