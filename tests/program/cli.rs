//! The command line: exit codes, what goes to which stream, and the queue of a stopped service.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tollgate::accounting::{CallView, Closing};
use tollgate::admin::{Admin, Answers, Gateway, Health, Phase};
use tollgate::clock;
use tollgate::ids::{CallHash, RecordId, SinkMask};
use tollgate::queue::{self, Queue};
use tollgate::record::{Commit, Entry, Record, codec};
use tollgate::sinks::radius::Collector;
use tollgate::sinks::view::{Backend, ServerView};

use crate::support::radius::bare_stop;
use crate::support::start::{Start as _, closed_is_closed};
use crate::support::wait_for;

fn output(command: &mut Command) -> Output {
    command.finish().expect("the binary runs and ends")
}

fn tollgate(words: &[&str]) -> Output {
    output(Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a good configuration.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let client =
        "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retries 3\nnas-ip 127.0.0.1\n";
    fs::write(dir.path().join("radiusclient.conf"), client).expect("written");
    let toml = "[[route]]\nto = \"sip:127.0.0.9\"\n[accounting]\non = [\"billing\"]\n[queue]\npath = \"queue\"\nfree_min_mib = 0\n\
                [sinks.radius.billing]\nconfig = \"radiusclient.conf\"\n[admin]\nsocket = \"admin.sock\"\n";
    fs::write(dir.path().join("tollgate.toml"), toml).expect("written");
    dir
}

fn record(id: u128) -> Record {
    Record { id: RecordId(id), call_id: b"call\x1b[2J@example".to_vec(), ..bare_stop() }
}

/// Puts records for `billing` into the queue of a stopped service.
fn fill(dir: &Path, records: u128) {
    closed_is_closed();
    let settings = queue::Settings { path: dir.join("queue"), free_min: 0, ..queue::Settings::default() };
    let opened = Queue::open(settings, &["billing".to_owned()], clock::now, &mut || ()).expect("the queue opens");
    let (mut queue, sink) = (opened.queue, opened.sinks[0].1);
    for id in 1..=records {
        let body = codec::encode(&record(id));
        let entry = Entry { id: RecordId(id), call: CallHash(7), sinks: SinkMask::NONE.with(sink), body };
        queue.add(Commit { entries: vec![entry], calls: Vec::new() }).expect("room");
    }
    queue.finish(clock::now).expect("committed");
    queue.close(clock::now).expect("closed");
}

#[test]
fn the_exit_code_tells_what_went_wrong() {
    let dir = folder();
    let bad = dir.path().join("bad.toml");
    fs::write(&bad, "[sip]\nshard = 1\n").expect("written");
    let good = dir.path().join("tollgate.toml");
    let (good, bad) = (good.to_str().expect("UTF-8"), bad.to_str().expect("UTF-8"));
    for (name, words, code) in [
        ("help is no mistake", vec!["--help"], 0),
        ("nor is the version", vec!["--version"], 0),
        ("no command", vec![], 64),
        ("an unknown command", vec!["rnu"], 64),
        ("an unknown option", vec!["check", "--jsno"], 64),
        ("a good file", vec!["check", good], 0),
        ("a bad file", vec!["check", bad], 78),
        ("a bad file as JSON", vec!["check", bad, "--json"], 78),
        ("no file", vec!["check", "/nowhere/tollgate.toml"], 78),
        ("a bad file at start", vec!["run", "--config", bad], 78),
        ("a bad file for the queue", vec!["queue", "status", "--config", bad], 78),
        ("the service does not run", vec!["status", "--config", good], 1),
        ("there is no queue yet", vec!["queue", "status", "--config", good], 1),
        ("an attribute that is not there", vec!["dict", "No-Such-Attribute"], 1),
        ("a profile that is not there", vec!["dict", "--profile", "opensip"], 64),
        ("a dictionary to import that is not there", vec!["dict", "--import", "/none.xml"], 1),
        ("a dictionary to import that is none", vec!["dict", "--import", "Cargo.toml"], 1),
        ("an import with something else", vec!["dict", "--import", "Cargo.toml", "--profile", "opensips"], 64),
        ("an action on nothing named", vec!["queue", "drop", "--config", good], 64),
        ("a record and all of them", vec!["queue", "drop", "1", "--all", "--config", good], 64),
    ] {
        let output = tollgate(&words);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
    }
}

#[test]
fn the_environment_stands_above_the_file() {
    let dir = folder();
    let run = |value: &str| {
        output(
            Command::new(env!("CARGO_BIN_EXE_tollgate"))
                .arg("check")
                .arg(dir.path().join("tollgate.toml"))
                .env("TOLLGATE_SIP__SHARDS", value)
                .env("TOLLGATE_PEERS", "required"),
        )
    };
    assert!(run("3").status.success());
    let output = run("300");
    assert_eq!(output.status.code(), Some(78));
    let want = "error: `sip.shards`: 300 is outside 0 to 64\n--> environment variable `TOLLGATE_SIP__SHARDS`\n";
    assert!(stderr(&output).ends_with(want), "{}", stderr(&output));
}

#[test]
fn a_list_that_ends_early_says_so_and_root_leaves_nothing_of_its_own() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let dir = folder();
    fill(dir.path(), 7);
    // SAFETY: the call only tells who the process is.
    let is_root = unsafe { libc::geteuid() } == 0;
    let queue = dir.path().join("queue");
    if is_root {
        // The queue of a service that runs as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a folder of ours");
        let mut folders = vec![queue.clone()];
        while let Some(path) = folders.pop() {
            chown(&path, Some(65_534), Some(65_534)).expect("root gives files away");
            if path.is_dir() {
                folders.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            }
        }
    }
    let config = dir.path().join("tollgate.toml").display().to_string();
    let output = tollgate(&["queue", "list", "--max", "3", "--config", &config]);
    assert!(output.status.success(), "{}", stderr(&output));
    let list = stdout(&output);
    assert!(list.ends_with("4 more; `--max` shows them\n"), "{list}");
    assert!(list.contains("AGE") && list.contains("CALL-ID") && list.contains("CALLER"), "{list}");
    assert!(list.contains(" tag=a\n"), "who called is not known, and a tag is no caller:\n{list}");
    let parked = tollgate(&["queue", "park", "1", "--config", &config]);
    assert!(parked.status.success(), "{}", stderr(&parked));
    let mut folders = vec![queue];
    while let Some(path) = folders.pop() {
        let data = fs::metadata(&path).expect("there");
        if is_root {
            assert_eq!(data.uid(), 65_534, "{}", path.display());
        }
        if path.is_dir() {
            folders.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.ends_with("parked/db") || path.ends_with("parked.head") {
            assert_eq!(data.mode() & 0o077, 0, "{} is for its owner alone", path.display());
        }
    }
}

#[test]
fn a_stopped_service_s_queue_is_worked_on_in_its_files() {
    let dir = folder();
    fill(dir.path(), 3);
    let config = dir.path().join("tollgate.toml").display().to_string();
    let queue = |words: &[&str]| {
        let words: Vec<_> = [&["queue"], words, &["--config", &config]].concat();
        let output = tollgate(&words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");

    let status = json(&queue(&["status", "--json"]));
    assert_eq!((&status["waiting"], &status["balanced"]), (&3.into(), &true.into()));
    let table = queue(&["status"]);
    assert!(table.starts_with("SINK     CARRIED"), "{table}");

    let list = queue(&["list"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    let second = RecordId(2).to_string();
    let shown = queue(&["show", &second]);
    assert!(shown.contains("call\\x1b[2J@example"), "control characters are shown, not sent: {shown}");

    assert_eq!(queue(&["park", &second, "--reason", "looked at later"]), "1 parked\n");
    let parked = json(&queue(&["list", "--state", "parked", "--json"]));
    assert_eq!(parked[0]["sinks"][0]["reason"], "looked at later");
    assert_eq!(queue(&["retry", "--all", "--state", "parked"]), "1 to be tried again\n");
    assert_eq!(queue(&["drop", "1", "--json"]), "{\"records\":1}\n");

    let export = queue(&["export"]);
    let mut ids: Vec<_> = export.lines().map(|line| json(line)["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [second, RecordId(3).to_string()]);
    assert_eq!(json(&queue(&["status", "--json"]))["waiting"], 2);
}

/// Files in a queue's folder that keep dropped records.
fn kept(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(dir.join("queue")).expect("a folder").map(|entry| entry.expect("readable").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

#[test]
fn dropped_records_are_kept_in_a_file_and_come_back_from_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    fill(dir.path(), 3);
    let config = dir.path().join("tollgate.toml").display().to_string();
    let queue = |words: &[&str]| tollgate(&[&["queue"], words, &["--config", &config]].concat());
    let there = dir.path().join("there.jsonl");
    fs::write(&there, "mine\n").expect("written");
    let there = there.display().to_string();

    let refused = queue(&["drop", "--all"]);
    assert_eq!(refused.status.code(), Some(64), "{}", stderr(&refused));
    let refused = queue(&["drop", "--all", "--yes", "--save", &there]);
    assert!(stderr(&refused).contains("error: nothing was dropped"), "{}", stderr(&refused));
    assert_eq!(
        (queue(&["export"]).stdout.iter().filter(|octet| **octet == b'\n').count(), kept(dir.path()).len()),
        (3, 0)
    );
    assert_eq!(fs::read_to_string(&there).expect("readable"), "mine\n");

    let dropped = queue(&["drop", "--all", "--yes"]);
    assert_eq!(stdout(&dropped), "3 dropped\n", "{}", stderr(&dropped));
    let file = kept(dir.path()).pop().expect("a file");
    assert!(stderr(&dropped).contains(&file.display().to_string()), "{}", stderr(&dropped));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(stdout(&queue(&["export"])), "");

    // The second line says another Call-ID than its body, the third has lost its end.
    let text = fs::read_to_string(&file).expect("readable");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[1] = lines[1].replace("@example", "@exbmple");
    lines[2].truncate(40);
    let damaged = dir.path().join("damaged.jsonl");
    fs::write(&damaged, lines.join("\n")).expect("written");
    let damaged = damaged.display().to_string();
    let output = queue(&["import", &damaged]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "1 put back\n"), "{}", stderr(&output));
    for want in ["damaged.jsonl:2: its `body`", "damaged.jsonl:3: no JSON", "2 lines of "] {
        assert!(stderr(&output).contains(want), "{want}: {}", stderr(&output));
    }

    let file = file.display().to_string();
    let output = queue(&["import", &file]);
    assert_eq!(stdout(&output), "2 put back\n1 passed over: in the queue already\n", "{}", stderr(&output));
    let output = queue(&["import", &file]);
    assert_eq!(stdout(&output), "0 put back\n3 passed over: in the queue already\n", "{}", stderr(&output));
    let export = stdout(&queue(&["export"]));
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let bodies = |text: &str| {
        let mut all: Vec<_> = text.lines().map(line).map(|l| (l["id"].to_string(), l["body"].to_string())).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(bodies(&export), bodies(&text));
}

#[test]
fn a_queue_in_use_is_not_opened_twice() {
    let dir = folder();
    let settings = queue::Settings { path: dir.path().join("queue"), free_min: 0, ..queue::Settings::default() };
    let opened = Queue::open(settings, &["billing".to_owned()], clock::now, &mut || ()).expect("the queue opens");
    let config = dir.path().join("tollgate.toml").display().to_string();
    let output = tollgate(&["queue", "status", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.starts_with("error: the service runs, but nobody answers at "), "{text}");
    assert!(text.contains(&format!("another instance (process {})", std::process::id())), "{text}");
    opened.queue.close(clock::now).expect("closed");
}

/// A service that is nothing but its queue.
struct OnlyQueue(queue::Handle);

impl Gateway for OnlyQueue {
    fn backends(&self) -> Vec<Backend> {
        let server = ServerView {
            server: "127.0.0.1:1813".to_owned(),
            state: "suspect",
            since: Duration::from_secs(125),
            in_flight: 3,
            window: 512,
            connections: 1,
            round_trip: Some(Duration::from_micros(1_250)),
            note: Some("is busy".to_owned()),
            counts: vec![("stored", 17), ("timeouts", 4)],
        };
        vec![Backend { sink: "billing".to_owned(), kind: "radius", views: Arc::new(move || vec![server.clone()]) }]
    }

    fn health(&self) -> Health {
        Health {
            phase: Phase::Running,
            hanging: Vec::new(),
            accepts_calls: true,
            calls: 0,
            shards: 1,
            turned_away: (0, 0),
            answers: Answers::default(),
            started: clock::wall(),
        }
    }

    fn queue(&self) -> queue::Stats {
        self.0.stats()
    }

    fn desk(&self) -> Box<dyn queue::Desk + Send> {
        Box::new(self.0.clone())
    }

    fn calls(&self, _: usize) -> Vec<CallView> {
        Vec::new()
    }

    fn end_calls(&self, _: &Closing) -> Vec<CallView> {
        Vec::new()
    }
}

#[test]
fn a_running_service_is_asked_over_its_socket() {
    let dir = folder();
    fill(dir.path(), 2);
    let config = dir.path().join("tollgate.toml");
    let plan = tollgate::config::load(&config).expect("a good configuration");
    closed_is_closed();
    let started = queue::spawn(plan.queue.clone(), &plan.sink_names(), &mut || ()).expect("the queue opens");
    let admin = Admin::bind(&plan.admin, None).expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let gateway = Arc::new(OnlyQueue(started.handle.clone()));
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let metrics =
            tollgate::admin::metrics::install(std::iter::empty()).expect("the first recorder of this process");
        runtime.block_on(admin.serve(gateway, metrics, None, async {
            let _dropped = stopped.await;
        }));
    });
    let config = config.display().to_string();
    for (words, want) in [
        (&["status"][..], "new calls  served\n"),
        (
            &["status"],
            "billing  127.0.0.1:1813  suspect  2 min 5 s  1.2 ms      3          512     17      4         2        ",
        ),
        (&["status", "--json"], "\"round_trip_ms\":1.25"),
        (&["queue", "parked"], "no record is parked\n"),
        (&["queue", "park", "1"], "1 parked\n"),
        (&["queue", "parked"], "call\\x1b[2J@example  0      never        "),
        (&["queue", "parked"], "parked by the operator\n"),
        (&["queue", "parked", "--json"], "\"attempts\":0"),
        (&["queue", "status", "--json"], "\"waiting\":1"),
        (&["queue", "list"], "waiting  stop  billing"),
        (&["queue", "list", "--state", "parked"], "parked by the operator"),
        (&["calls"], "CREATED"),
    ] {
        let output = tollgate(&[words, &["--config", &config]].concat());
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(want), "{words:?}: {}", stdout(&output));
    }
    let output = tollgate(&["queue", "drop", "--all", "--yes", "--config", &config]);
    assert_eq!(stdout(&output), "2 dropped\n", "{}", stderr(&output));
    let file = kept(dir.path()).pop().expect("a file").display().to_string();
    let output = tollgate(&["queue", "import", &file, "--config", &config]);
    assert_eq!(stdout(&output), "2 put back\n", "{}", stderr(&output));
    let mut consumer = started.handle.consumer(started.sinks[0].1, Arc::new(|| {}));
    consumer.lease(2);
    let mut leased = Vec::new();
    wait_for("both records are leased", || {
        consumer.leased(&mut leased);
        for lease in leased.iter().skip(leased.len().saturating_sub(1)) {
            consumer.settle(lease.seq, queue::Settlement::Delivered);
        }
        (leased.len() == 2).then_some(())
    });
    let mut ids: Vec<_> = leased.iter().map(|lease| lease.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [RecordId(1), RecordId(2)], "the same ids leave");
    drop(consumer);
    let output = tollgate(&["queue", "list", "--sink", "nobody", "--config", &config]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(stderr(&output), "error: the queue has no sink `nobody`; known are `billing`\n");
    drop(stop);
    serving.join().expect("no panic");
    started.handle.stop();
    started.join.join().expect("no panic").expect("closed");
}

/// A real accounting server on a thread, with the secret of [`folder`]; gives its port.
fn collector() -> u16 {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dictionary = Arc::new(tollgate::dictionary::Dictionary::builtin());
            let secret = tollgate::radius::Secret::new("a-long-enough-secret");
            let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            let mut collector = Collector::bind(local, secret, dictionary).await.expect("loopback has a port");
            tell.send(collector.address().expect("bound").port()).expect("somebody listens");
            while collector.next().await.is_ok() {}
        });
    });
    told.recv().expect("it starts")
}

/// A folder whose sink has one server, at this port.
fn folder_for(port: u16) -> tempfile::TempDir {
    let dir = folder();
    let path = dir.path().join("radiusclient.conf");
    let text = fs::read_to_string(&path).expect("read").replace("1813", &port.to_string());
    fs::write(&path, text).expect("written");
    dir
}

#[test]
fn a_test_record_shows_both_sides_of_the_exchange() {
    let dir = folder_for(collector());
    let config = dir.path().join("tollgate.toml").display().to_string();
    let words =
        ["send", "--sink", "billing", "User-Name=bob@example.com", "acct-status-type=Start", "--config", &config];
    let output = tollgate(&words);
    let text = stdout(&output);
    assert!(output.status.success(), "{}{text}", stderr(&output));
    for want in [
        "sink       billing (radius)\n",
        "request    Accounting-Request, identifier 0, ",
        "           User-Name = \"bob@example.com\"\n",
        "           Acct-Status-Type = Start\n",
        "           NAS-IP-Address = 127.0.0.1\n",
        "answer     Accounting-Response, identifier 0, 20 octets, after ",
        "verdict    acknowledged\n",
    ] {
        assert!(text.contains(want), "{want:?} in {text}");
    }
    assert_eq!(text.matches("Acct-Status-Type").count(), 1, "the one asked for stands in place of the other: {text}");
    assert!(!text.contains("a-long-enough-secret"));
    assert_eq!(stderr(&output), "");
    let output = tollgate(&["send", "--sink", "billing", "--json", "--config", &config]);
    let value: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&value["verdict"], &value["kind"]), (&"acknowledged".into(), &"radius".into()));
    assert_eq!(value["exchanges"][0]["transmissions"], 1);
    assert!(value["exchanges"][0]["answers"][0]["after_ms"].is_f64());
    let attributes = value["exchanges"][0]["request"]["attributes"].as_array().expect("attributes");
    assert!(attributes.contains(&serde_json::json!({ "name": "Acct-Status-Type", "value": "Stop" })));
    let reason = serde_json::json!({ "name": "Tollgate-Reason", "value": "test record of tollgate send" });
    assert!(attributes.contains(&reason), "no quotes within those of JSON: {attributes:?}");
    assert!(
        stderr(&output)
            .contains("warning: the record has no User-Name: some proxies, such as radsecproxy, acknowledge")
    );
    assert!(value["warning"].as_str().is_some_and(|warning| warning.contains("User-Name")));
}

#[test]
fn a_test_record_that_does_not_arrive_says_why() {
    let [nobody] = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
        [socket.local_addr().expect("bound").port()]
    };
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    let port = silent.local_addr().expect("bound").port();
    let other = folder_for(collector());
    let path = other.path().join("radiusclient.conf");
    let text = fs::read_to_string(&path).expect("read").replace("a-long-enough-secret", "some-other-secret");
    fs::write(&path, text).expect("written");
    let (dead, mute) = (folder_for(nobody), folder_for(port));
    for (name, dir, words, code, want) in [
        ("nobody there", &dead, &[][..], 1, "error: nobody listens at 127.0.0.1:"),
        ("silence", &mute, &["--wait", "1"], 1, "error: no answer within 1 s: not running, its client list lacks"),
        ("another secret", &other, &["--wait", "1"], 1, "error: no answer within 1 s"),
        ("an unknown attribute", &dead, &["User-Nam=x"], 64, "hint: did you mean `User-Name`?\n"),
        ("no assignment", &dead, &["User-Name"], 64, "an attribute is given as `Name=value`"),
        ("a secret in the clear", &dead, &["User-Password=x"], 64, "`User-Password` cannot be sent: "),
        ("a value of another type", &dead, &["NAS-IP-Address=here"], 64, "`here` is no "),
        (
            "another server",
            &dead,
            &["--server", "127.0.0.2:1813"],
            64,
            "has no server `127.0.0.2:1813`; known are `127",
        ),
        ("an unknown kind", &dead, &["--kind", "begin"], 64, "a record is one of start, interim, stop"),
    ] {
        let config = dir.path().join("tollgate.toml").display().to_string();
        let output = tollgate(&[&["send", "--sink", "billing", "--config", &config], words].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {text}");
        assert!(text.contains(want), "{name}: {text}");
    }
    let config = dead.path().join("tollgate.toml").display().to_string();
    let output = tollgate(&["send", "--sink", "biling", "--config", &config]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).ends_with("hint: did you mean `billing`?\n"), "{}", stderr(&output));
}

#[test]
fn calls_of_a_stopped_service_are_listed() {
    let dir = folder();
    fill(dir.path(), 1);
    let config = dir.path().join("tollgate.toml").display().to_string();
    let output = tollgate(&["calls", "--json", "--config", &config]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "{\"calls\":[],\"total\":0}\n");
}

#[test]
fn tables_have_json_beside_them() {
    for words in [&["vars"][..], &["dict"], &["dict", "Acct-Session-Id"]] {
        let plain = tollgate(words);
        assert!(plain.status.success(), "{words:?}");
        assert!(serde_json::from_slice::<serde_json::Value>(&plain.stdout).is_err(), "{words:?}");
        let with_json = tollgate(&[words, &["--json"]].concat());
        serde_json::from_slice::<serde_json::Value>(&with_json.stdout).expect("JSON");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("free.json");
    fs::write(&file, r#"{"AVPs":[{"Code":70001,"Name":"Free","Type":"Time","Flags":{"Must":"M"}}]}"#).unwrap();
    let imported = stdout(&tollgate(&["dict", "--import", file.to_str().unwrap()]));
    assert_eq!(imported, "ATTRIBUTE\tFree\t70001\tTime\tM\n");
    let explained = stdout(&tollgate(&["dict", "Acct-Status-Type", "--value", "Start"]));
    assert!(explained.contains("octets     0x280600000001\n"), "{explained}");
}

#[test]
fn the_demo_sums_its_calls_up_and_shows_their_rows_lines_and_packets() {
    let shown = tollgate(&["demo", "--verbose"]);
    let text = stdout(&shown);
    assert!(shown.status.success(), "{text}\n{}", stderr(&shown));
    let (summary, rest) = text.split_once("\ncall 1 to 100").expect("the calls stand behind the summary");
    assert!(summary.lines().count() <= 15, "{summary}");
    for (call, response, numbers) in
        [("1 to 100", "200 OK", "1 2 1."), ("2 to 200", "200 OK", "2 3 1."), ("3 to 300", "486 Busy Here", "1 2 -")]
    {
        let line = summary.lines().find(|line| line.starts_with(call)).unwrap_or_else(|| panic!("{call}: {summary}"));
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("{response} {numbers}")), "{words}");
        assert!(words.ends_with("RADIUS, Diameter, SQLite, syslog"), "{words}");
    }
    for sink in ["collector", "cdf", "acc", "log"] {
        let line = summary.lines().find(|line| line.split_whitespace().next() == Some(sink)).unwrap_or_default();
        assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>(), ["7", "7", "0", "0"], "{sink}: {summary}");
    }
    // A record of the forwarded call has a row for each leg; ACC lines and packets are one a record.
    let count = |what: &str| rest.lines().filter(|line| line.trim_start().starts_with(what)).count();
    assert_eq!((count("acc: method="), count("missed_calls: method=")), (7, 2), "{rest}");
    assert_eq!(rest.matches("ACC: call missed: ").count() + rest.matches("ACC: transaction answered: ").count(), 7);
    assert_eq!(count("Accounting-Request"), 14, "seven of RADIUS and seven of Diameter: {rest}");
    let bare = tollgate(&["demo"]);
    assert!(bare.status.success() && !stdout(&bare).contains("Accounting-Request"), "{}", stdout(&bare));
}

#[test]
fn a_reader_of_the_demo_may_leave_early() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    demo.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = demo.start().expect("the binary runs");
    drop(child.stdout.take());
    let left = child.wait_with_output().expect("it ends");
    assert!(left.status.success() && left.stderr.is_empty(), "{}", stderr(&left));
}
