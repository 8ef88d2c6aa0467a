//! Metrics with what they say, and `etc/monitoring`: each expression names what there is, and the rules do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, peer_file, sipp, wait_for};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/monitoring")
}

/// All metrics, as `tollgate metrics` lists them.
fn listed() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(["metrics", "--json"]).finish().expect("it runs");
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    list.as_array().expect("a list").clone()
}

fn text<'v>(metric: &'v Value, key: &str) -> &'v str {
    metric[key].as_str().unwrap_or_else(|| panic!("{metric} has no {key}"))
}

/// The series of all metrics.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["up".to_owned()]);
    for metric in listed() {
        let name = text(&metric, "name");
        match text(&metric, "type") {
            "histogram" => names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => _ = names.insert(name.to_owned()),
        }
    }
    names
}

#[test]
fn each_metric_says_what_it_counts_and_in_which_unit() {
    let all = listed();
    assert!(all.len() > 80, "{}", all.len());
    let mut names = BTreeSet::new();
    for metric in &all {
        let [name, shape, unit, help] = ["name", "type", "unit", "help"].map(|key| text(metric, key));
        assert!(names.insert(name), "{name} is there twice");
        assert!(help.len() > 8 && help.ends_with('.'), "{name}: {help}");
        assert_eq!(shape == "counter", name.ends_with("_total"), "{name} is a {shape}");
        let bare = name.strip_suffix("_total").unwrap_or(name);
        assert!(!unit.is_empty(), "{name}");
        for base in ["seconds", "bytes", "microseconds"] {
            assert_eq!(unit == base, bare.ends_with(&format!("_{base}")), "{name} in {unit}");
        }
    }
}

#[test]
fn no_metric_is_named_elsewhere_than_in_the_lists() {
    let listed: BTreeSet<String> = listed().iter().map(|metric| text(metric, "name").to_owned()).collect();
    let (mut todo, mut found, mut strange) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")], 0, Vec::new());
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for call in ["counter!(", "gauge!(", "histogram!("] {
            // `counter!("name")` would go past the lists; constants are made by them alone.
            let literal = source.split(call).skip(1).filter(|rest| rest.trim_start().starts_with('"'));
            strange.extend(literal.map(|rest| format!("{}: {call}{:.40}", path.display(), rest.trim_start())));
        }
        for line in source.lines().filter(|line| line.contains(" = \"tollgate_")) {
            let name = line.split('"').nth(1).unwrap();
            found += usize::from(listed.contains(name));
            let is_metric = line.contains("_TOTAL") || line.contains("pub const");
            if is_metric && !listed.contains(name) {
                strange.push(format!("{}: {name} is in no list", path.display()));
            }
        }
    }
    assert!(strange.is_empty(), "{}", strange.join("\n"));
    assert_eq!(found, listed.len(), "some are listed and named nowhere");
}

fn scraped(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn a_call_is_counted_by_class_and_by_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let [port, admin, callee, caller] = free_ports();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\ncalls_max = 1000\n[[route]]\nmatch = {{ user = \"busy\" }}\n\
         answer = {{ code = 486, reason = \"Busy Here\" }}\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"cdrs\"]\nflags = [\"failed\"]\n[queue]\npath = \"queue\"\nfree_min_mib = 0\n\
         [admin]\nsocket = \"admin.sock\"\nlisten = \"127.0.0.1:{admin}\"\n[sinks.file.cdrs]\npath = \"cdrs.csv\"\n"
    );
    let gateway = Gateway::start_on(dir.path(), port, &toml, 9);
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let to = format!("127.0.0.1:{port}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "20", "-s", "anybody"]).unwrap();
    wait_for("the calls end", || {
        calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{}", gateway.log()))
    });
    let mut refused = sipp(dir.path(), "uac_busy.xml", caller, &[&to, "-m", "1", "-s", "busy"]).unwrap();
    wait_for("the refused call ends", || refused.child.try_wait().unwrap());
    let count = |name: &str| Gateway::metric(admin, name);
    wait_for("all records are delivered", || {
        (count("tollgate_sink_delivery_delay_seconds_count")? >= 7.0).then_some(())
    });
    let text = scraped(admin);
    for line in [
        "tollgate_calls_answers_total{class=\"2xx\"} 3",
        "tollgate_calls_answers_total{class=\"4xx\"} 1",
        "tollgate_calls_answers_total{class=\"6xx\"} 0",
        "tollgate_calls_refused_total{reason=\"queue\"} 0",
        "tollgate_calls_revived_total 0",
        "tollgate_calls_setup_seconds_count 3",
        "tollgate_calls_setup_seconds_bucket{le=\"181\"} 3",
        "tollgate_calls_post_dial_seconds_count 3",
        // The 2xx to each INVITE and BYE, and the 486.
        "tollgate_sip_commit_wait_seconds_count 7",
        "tollgate_sink_delivery_delay_seconds_count{sink=\"cdrs\"} 7",
        "tollgate_sink_delivery_delay_seconds_bucket{sink=\"cdrs\",le=\"172800\"} 7",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    let told = |start: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(start)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let (types, helps) = (told("# TYPE "), told("# HELP "));
    assert!(types.len() > 40, "{text}");
    for name in types.keys() {
        let help = helps.get(name).unwrap_or_else(|| panic!("{name} has no HELP"));
        assert!(help.contains(". Unit: "), "{name}: {help}");
    }
}

/// The names that look like series in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("tollgate_"))
}

/// The expressions of the dashboard: each panel's, and those of its notes.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_rules_ask_for_what_there_is() {
    let known = series();
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("grafana-dashboard.json")).unwrap()).expect("JSON");
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 40, "{}", asked.len());
    asked.extend(["alerts.yml", "alerts_test.yml"].map(|file| fs::read_to_string(folder().join(file)).unwrap()));
    let mut unknown = BTreeSet::new();
    for expression in &asked {
        assert!(names(expression).next().is_some(), "{expression} asks for nothing");
        // A sentence may name a histogram as a whole; an expression may not.
        unknown.extend(names(expression).filter(|name| !known.contains(*name)).map(str::to_owned));
    }
    assert!(unknown.is_empty(), "no such series: {unknown:?}");
}

#[test]
fn the_readme_counts_the_alerts() {
    let rules = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let count = rules.matches("- alert: ").count();
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    assert!(readme.contains(&format!("| {count} alerts; ")), "alerts.yml has {count}");
}

/// promtool, as `tests/run` unpacks it.
fn promtool(words: &[&str], folder: &Path) -> Option<(bool, String)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/prometheus/usr/bin/promtool");
    peer_file(&program)?;
    let output = Command::new(program).args(words).current_dir(folder).finish().expect("promtool runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), told))
}

#[test]
fn promtool_plays_the_rules_and_finds_no_fault() {
    let rules = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(folder().join("alerts_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let played = tests.matches(&format!("alertname: {alert}\n")).count();
        assert!(played > 0, "{alert} is never raised in alerts_test.yml");
    }
    for words in
        [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]]
    {
        let Some((is_well, told)) = promtool(&words, &folder()) else { return };
        assert!(is_well, "{words:?}: {told}");
    }
}

#[test]
fn prometheus_reads_each_expression_of_the_dashboard() {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("grafana-dashboard.json")).unwrap()).expect("JSON");
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    let rule = |(number, expression): (usize, &String)| {
        // What Grafana puts in.
        let plain = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!plain.contains('$'), "{plain}");
        serde_json::json!({ "record": format!("panel:{number}"), "expr": plain })
    };
    let rules: Vec<_> = asked.iter().enumerate().map(rule).collect();
    let dir = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let text = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    fs::write(dir.path().join("dashboard.yml"), text).unwrap();
    let Some((is_well, told)) = promtool(&["check", "rules", "dashboard.yml"], dir.path()) else { return };
    assert!(is_well && told.contains(&format!("{} rules found", asked.len())), "{told}");
}
