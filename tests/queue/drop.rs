//! `queue drop --all`: who is asked, what an answer has to be, and what the log says of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tollgate::clock;
use tollgate::ids::{CallHash, RecordId, SinkMask};
use tollgate::queue::{self, Queue};
use tollgate::record::{Commit, Entry, Record, codec};

use crate::support::radius::bare_stop;
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, peer, wait_for};

/// A gateway with so many records that nobody takes.
fn gateway(dir: &Path, records: u128) -> Gateway {
    gateway_with(dir, records, "")
}

/// The same with more lines of `[admin]`.
fn gateway_with(dir: &Path, records: u128, more: &str) -> Gateway {
    let folder = dir.join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let settings = queue::Settings { path: folder.join("queue"), free_min: 0, ..queue::Settings::default() };
    let opened = Queue::open(settings, &["test".to_owned()], clock::now, &mut || ()).unwrap();
    let (mut queue, sink) = (opened.queue, opened.sinks[0].1);
    for id in 1..=records {
        let call_id = format!("call{id}@example").into_bytes();
        let record = Record { id: RecordId(id), call_id, ..bare_stop() };
        let sinks = SinkMask::NONE.with(sink);
        let entry = Entry { id: record.id, call: CallHash(7), sinks, body: codec::encode(&record) };
        queue.add(Commit { entries: vec![entry], calls: Vec::new() }).unwrap();
    }
    queue.finish(clock::now).unwrap();
    queue.close(clock::now).unwrap();
    let [nobody] = free_ports();
    Gateway::start(dir, &["sip:127.0.0.1:9".to_owned()], nobody, more)
}

/// How many records wait.
fn waiting(gateway: &Gateway) -> usize {
    gateway.command(&["queue", "export"]).lines().count()
}

/// `queue drop --all` at a terminal (of `script`), up to its question.
struct Asked {
    child: Child,
    question: String,
}

impl Asked {
    fn start(gateway: &Gateway, script: &Path, words: &str) -> Self {
        let (program, config) = (env!("CARGO_BIN_EXE_tollgate"), gateway.dir.join("tollgate.toml"));
        let line = format!("{program} queue drop --all {words} --config {}", config.display());
        let mut command = Command::new(script);
        command.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.start().unwrap();
        let mut question = Vec::new();
        let stdout = child.stdout.as_mut().unwrap();
        while !question.ends_with(b"to go on:") {
            let mut octet = [0];
            assert_eq!(stdout.read(&mut octet).unwrap(), 1, "{}", String::from_utf8_lossy(&question));
            question.push(octet[0]);
        }
        Self { child, question: String::from_utf8(question).unwrap() }
    }

    /// Types a line; the exit code, and what was said then.
    fn answer(mut self, line: &str) -> (Option<i32>, String) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut said = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

#[test]
fn whoever_drops_all_records_has_to_know_how_many_there_are() {
    let Some(script) = peer("script") else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(dir.path(), 3);
    // A file from which a record comes while the question stands.
    let kept = dir.path().join("kept.jsonl").display().to_string();
    let one = gateway.command(&["queue", "export"]).lines().next().unwrap().to_owned();
    let id = serde_json::from_str::<serde_json::Value>(&one).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(gateway.command(&["queue", "drop", &id, "--save", &kept]).starts_with("1 dropped\n"));
    assert_eq!(waiting(&gateway), 2);

    // Nobody to ask.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["queue", "drop", "--all", "--config"]).arg(gateway.dir.join("tollgate.toml")).stdin(Stdio::null());
    let output = command.finish().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert_eq!(said, "error: 2 records would be given up for good: say so with `--yes`\n");
    for wrong in ["", "3", "yes", "02", "2 records"] {
        let asked = Asked::start(&gateway, &script, "");
        assert!(asked.question.starts_with("2 records are given up. Type their number"), "{}", asked.question);
        let (code, said) = asked.answer(wrong);
        assert_eq!(code, Some(64), "{wrong}: {said}");
        assert!(said.contains("error: that is not their number: nothing was dropped"), "{wrong}: {said}");
        assert_eq!(waiting(&gateway), 2, "{wrong}");
    }
    assert!(!gateway.log().contains("records=2"), "nothing was done");

    // What has come since the count is not dropped with the rest.
    let asked = Asked::start(&gateway, &script, "--reason 'test calls, ticket 7'");
    assert_eq!(gateway.command(&["queue", "import", &kept]), "1 put back\n");
    let (code, said) = asked.answer("2");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 dropped"), "{said}");
    let left = gateway.command(&["queue", "export"]);
    assert_eq!(left.lines().collect::<Vec<_>>().len(), 1, "{left}");
    assert!(left.contains(&id), "{left}");
}

#[test]
fn the_log_says_who_dropped_what_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(dir.path(), 3);
    let user = String::from_utf8(Command::new("id").arg("-un").finish().unwrap().stdout).unwrap().trim().to_owned();
    let ids: Vec<_> = (1..=3).map(|id| RecordId(id).to_string()).collect();
    gateway.command(&["queue", "drop", &ids[1]]);
    gateway.command(&["queue", "drop", "--all", "--yes", "--reason", "test calls, ticket 7"]);
    let dropped = "WARN tollgate::admin::request: records were dropped by the operator";
    for (name, want) in [
        ("one", format!("{dropped} by=\"{user}\" records=1 ids=\"{}\" reason=\"none given\"", ids[1])),
        (
            "the rest",
            format!("{dropped} by=\"{user}\" records=2 ids=\"{} {}\" reason=\"test calls, ticket 7\"", ids[0], ids[2]),
        ),
    ] {
        wait_for(name, || gateway.log().contains(&want).then_some(()));
    }
    // A command that finds nothing to do says nothing.
    let lines = gateway.log().lines().filter(|line| line.contains("by the operator")).count();
    gateway.command(&["queue", "drop", "--all", "--yes"]);
    assert_eq!(gateway.log().lines().filter(|line| line.contains("by the operator")).count(), lines);
}

#[test]
fn whoever_may_not_drop_leaves_no_copy_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("questions.sock").display().to_string();
    let gateway = gateway_with(dir.path(), 2, &format!("status_socket = \"{socket}\""));
    let kept = dir.path().join("kept.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["queue", "drop", "--all", "--yes", "--socket", &socket, "--save"]).arg(&kept).arg("--config");
    let output = command.arg(gateway.dir.join("tollgate.toml")).stdin(Stdio::null()).finish().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("answers questions only") && said.contains("nothing was dropped"), "{said}");
    assert!(!kept.exists(), "who called whom is in it");
    assert_eq!(waiting(&gateway), 2);
}
