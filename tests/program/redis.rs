//! Streams of a real Redis: its server is killed, stands, is full, is a replica, and refuses; redis-cli reads what it has.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tollgate::ids::CallHash;
use tollgate::net::tls::ClientTls;
use tollgate::record::Kind;
use tollgate::sinks::attempt::{self, Attempts, Board};
use tollgate::sinks::event::Body;
use tollgate::sinks::event::name::Template;
use tollgate::sinks::profile::Profile;
use tollgate::sinks::redis::Settings;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::radius::{Line, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_port, free_ports, peer, sipp, wait_for};

/// A server whose acknowledgements are on its disk.
struct Redis {
    process: Running,
    dir: PathBuf,
    port: u16,
    more: Vec<String>,
}

impl Redis {
    fn start(dir: &Path, more: &[String]) -> Option<Self> {
        peer("redis-server")?;
        peer("redis-cli")?;
        let (dir, port) = (dir.join("redis"), free_port());
        fs::create_dir_all(&dir).unwrap();
        let process = Self::spawn(&dir, port, more);
        let redis = Self { process, dir, port, more: more.to_vec() };
        redis.wait_ready();
        Some(redis)
    }

    fn spawn(dir: &Path, port: u16, more: &[String]) -> Running {
        let mut command = Command::new(peer("redis-server").unwrap());
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"]);
        command.arg(dir).arg("--port").arg(port.to_string()).args(more);
        Running::start(&mut command, dir.join("out"))
    }

    fn wait_ready(&self) {
        wait_for("redis answers", || self.ask(&["PING"]).contains("PONG").then_some(()));
    }

    fn start_again(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.dir, self.port, &self.more);
        self.wait_ready();
    }

    /// What redis-cli prints of an answer.
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(peer("redis-cli").unwrap());
        command.args(["-p", &self.port.to_string(), "--json"]).args(words);
        String::from_utf8_lossy(&command.finish().unwrap().stdout).trim().to_owned()
    }

    /// The entries of a stream: the id of the record and the event.
    fn entries(&self, stream: &str) -> Vec<(String, Value)> {
        let all: Value = serde_json::from_str(&self.ask(&["XRANGE", stream, "-", "+"])).unwrap_or_default();
        let entry = |entry: &Value| {
            let fields: Vec<_> = entry[1].as_array()?.iter().map(|field| field.as_str().unwrap_or_default()).collect();
            let ["id", id, "data", data] = fields[..] else { panic!("{entry}") };
            Some((id.to_owned(), serde_json::from_str(data).unwrap()))
        };
        all.as_array().into_iter().flatten().filter_map(entry).collect()
    }

    fn make(&self, stream: &str) {
        self.ask(&["XGROUP", "CREATE", stream, "billing", "$", "MKSTREAM"]);
    }

    /// Settings of an impatient sink.
    fn settings(&self, stream: &str) -> Settings {
        Settings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
            database: 0,
            login: None,
            key: Template::parse(stream, &[]).unwrap(),
            makes_streams: false,
            length_max: None,
            body: Body::of(Profile::Own, "/tollgate/test").expect("it has events"),
            timeout: Duration::from_secs(5),
            delivery: attempt::Settings {
                batch_max: 50,
                attempts_max: u32::MAX,
                retry_first: Duration::from_millis(20),
                retry_max: Duration::from_millis(100),
                timeout: Duration::from_secs(15),
                ..attempt::Settings::default()
            },
        }
    }
}

fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let (render, link) = (settings.render(), settings.link("test"));
        let sink = Attempts::new("test", settings.delivery.clone(), render, link, tollgate::ids::Seq(0));
        let board = sink.board();
        (sink, board)
    })
}

fn append(line: &mut Line<Board>, kind: Kind, numbers: std::ops::Range<u64>) -> Vec<String> {
    let records = numbers.map(|number| {
        let record = record(kind, number, Vec::new());
        let call = CallHash::of(&record.call_id);
        (record, call)
    });
    line.append(records.collect()).iter().map(ToString::to_string).collect()
}

/// Waits until the sink says this of its server, in that state.
fn told(line: &Line<Board>, state: &str, want: &str) {
    wait_for(want, || {
        let view = line.board.views().remove(0);
        (view.state == state && view.note.is_some_and(|note| note.contains(want))).then_some(())
    });
}

#[test]
fn a_server_that_is_killed_or_stands_has_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut redis) = Redis::start(dir.path(), &[]) else { return };
    redis.make("acc");
    let mut settings = redis.settings("acc");
    settings.timeout = Duration::from_millis(500);
    let mut line = line(&settings);
    let mut sent = Vec::new();
    for round in 0..4_u64 {
        let begin = round * 1000;
        sent.extend(append(&mut line, Kind::Event, begin..begin + 600));
        line.delivered(begin / 1000 * 601 + 100);
        if round % 2 == 0 {
            redis.process.kill();
            sent.extend(append(&mut line, Kind::Event, begin + 900..begin + 901));
            told(&line, "down", "Connection refused");
            redis.start_again();
        } else {
            redis.process.freeze();
            sent.extend(append(&mut line, Kind::Event, begin + 900..begin + 901));
            told(&line, "down", "no acknowledgement within 0.5 s");
            redis.process.signal(libc::SIGCONT);
        }
        line.delivered(sent.len() as u64);
    }
    assert_eq!(line.stats().parked_now, 0);
    let entries = redis.entries("acc");
    let ids: HashSet<String> = entries.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, sent.into_iter().collect());
    assert!(entries.iter().all(|(id, event)| event["id"] == **id && event["specversion"] == "1.0"));
    println!("{} entries of {} records", entries.len(), ids.len());
}

#[test]
fn what_a_person_must_mend_parks_nothing_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    // One stream for all: without it the sink is of no use.
    let mut one = line(&redis.settings("acc:all"));
    append(&mut one, Kind::Event, 0..5);
    told(&one, "misfit", "there is no stream `acc:all`: make it, or set `make_streams`");
    redis.ask(&["RPUSH", "acc:all", "1"]);
    told(&one, "misfit", "WRONGTYPE Operation against a key holding the wrong kind of value");
    redis.ask(&["DEL", "acc:all"]);
    redis.make("acc:all");
    one.delivered(5);
    assert_eq!((redis.entries("acc:all").len(), one.stats().parked_now), (5, 0));
    drop(one);
    let mut line = line(&redis.settings("acc:{kind}"));
    let mut sent = append(&mut line, Kind::Event, 0..5);
    told(&line, "up", "there is no stream `acc:event`: make it, or set `make_streams`");
    redis.make("acc:event");
    line.delivered(5);
    // Another stream is none: the others flow on.
    redis.ask(&["RPUSH", "acc:missed", "1"]);
    let missed = append(&mut line, Kind::Missed, 5..8);
    told(&line, "up", "WRONGTYPE Operation against a key holding the wrong kind of value");
    sent.extend(append(&mut line, Kind::Event, 8..30));
    line.delivered(27);
    redis.ask(&["DEL", "acc:missed"]);
    redis.make("acc:missed");
    line.delivered(30);
    for (wrong, state, want, right) in [
        (["CONFIG", "SET", "maxmemory", "1"], "down", "OOM command not allowed", ["CONFIG", "SET", "maxmemory", "0"]),
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            "down",
            "NOREPLICAS",
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ] {
        redis.ask(&wrong);
        let count = sent.len() as u64;
        sent.extend(append(&mut line, Kind::Event, 100 + count..103 + count));
        told(&line, state, want);
        redis.ask(&right);
        line.delivered(sent.len() as u64 + 3);
    }
    let [nobody] = free_ports();
    redis.ask(&["REPLICAOF", "127.0.0.1", &nobody.to_string()]);
    sent.extend(append(&mut line, Kind::Event, 500..503));
    told(&line, "down", "READONLY You can't write against a read only replica");
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    line.delivered(sent.len() as u64 + 3);
    assert_eq!(line.stats().parked_now, 0);
    let ids = |stream: &str| redis.entries(stream).into_iter().map(|(id, _)| id).collect::<HashSet<_>>();
    assert_eq!((ids("acc:event"), ids("acc:missed")), (sent.into_iter().collect(), missed.into_iter().collect()));
}

#[test]
fn a_stream_that_takes_nothing_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    redis.make("acc:event");
    redis.ask(&["RPUSH", "acc:start", "1"]);
    let mut settings = redis.settings("acc:{kind}");
    // As long as no test waits: whoever waits for this waits for a person.
    settings.delivery.retry_max = Duration::from_secs(600);
    let mut line = line(&settings);
    for (round, (kind, want)) in [
        (Kind::Missed, "there is no stream `acc:missed`: make it, or set `make_streams`"),
        (Kind::Start, "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]
    .into_iter()
    .enumerate()
    {
        let begin = round as u64 * 100;
        // Alone in its batch: there is nothing beside it that would show that the server takes others.
        append(&mut line, kind, begin..begin + 1);
        wait_for(want, || line.board.views().remove(0).note.is_some_and(|note| note.contains(want)).then_some(()));
        append(&mut line, Kind::Event, begin + 1..begin + 31);
        line.delivered(30 * (round as u64 + 1));
    }
    assert_eq!((redis.entries("acc:event").len(), line.stats().parked_now), (60, 0));
}

#[test]
fn a_server_that_takes_connections_and_is_silent_was_sent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    redis.make("acc");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = ClientTls::of_nobody().unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let timeout = Duration::from_millis(200);
    let plain = Settings { port: silent.local_addr().unwrap().port(), timeout, login: None, ..redis.settings("acc") };
    for settings in [
        Settings { tls: Some((tls, name)), ..plain.clone() },
        Settings { login: Some((None, Secret::new("hidden".to_owned()))), ..plain },
    ] {
        let mut line = line(&settings);
        append(&mut line, Kind::Event, 0..3);
        told(&line, "down", "no connection within 0.2 s");
        // Each try takes them from the queue, and gives them back when there is no connection: none of them may be there.
        wait_for("all records back in the queue", || (line.stats().leased == 0).then_some(()));
    }
}

#[test]
fn a_wrong_password_is_told_of_and_never_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    redis.ask(&["ACL", "SETUSER", "gw", "on", ">right", "~acc*", "+xadd", "+select"]);
    let mut settings = redis.settings("acc");
    settings.makes_streams = true;
    let login = |password: &str| Some((Some("gw".to_owned()), Secret::new(password.to_owned())));
    settings.login = login("hidden");
    let mut wrong = line(&settings);
    append(&mut wrong, Kind::Event, 0..3);
    told(&wrong, "misfit", "the server does not let us in: ");
    assert!(!wrong.board.views()[0].note.clone().unwrap().contains("hidden"));
    drop(wrong);
    settings.login = login("right");
    settings.length_max = Some(100);
    let mut right = line(&settings);
    append(&mut right, Kind::Event, 0..1000);
    right.delivered(1000);
    assert!((100..400).contains(&redis.entries("acc").len()), "about as many as are kept");
    settings.key = Template::parse("other", &[]).unwrap();
    let mut other = line(&settings);
    append(&mut other, Kind::Event, 0..1);
    told(&other, "misfit", "NOPERM");
}

#[test]
fn calls_become_entries_over_tls_and_every_command_knows_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(_), Some(_)) = (peer("openssl"), peer("redis-server")) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
    let tls = dir.path().join("tls");
    assert!(Command::new(script).arg(&tls).finish().unwrap().status.success());
    let [callee, secured, port, caller] = free_ports();
    let tls = tls.display().to_string();
    let more = [
        ("--tls-port", secured.to_string()),
        ("--tls-cert-file", format!("{tls}/server.pem")),
        ("--tls-key-file", format!("{tls}/server.key")),
        ("--tls-ca-cert-file", format!("{tls}/ca.pem")),
    ];
    let more: Vec<String> = more.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let Some(redis) = Redis::start(dir.path(), &more) else { return };
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    redis.make("acc");
    let gateway = dir.path().join("gateway");
    fs::create_dir_all(&gateway).unwrap();
    let folder = gateway.display();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n[accounting]\non = [\"redis\"]\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.redis.acc]\nurl = \"rediss://localhost:{secured}\"\nstream = \"acc\"\n\
         ca = \"{tls}/ca.pem\"\ncertificate = \"{tls}/client.pem\"\nkey = \"{tls}/client.key\"\n"
    );
    let gateway = Gateway::start_on(&gateway, port, &toml, 9);
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "10", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    wait_for("six entries", || (redis.entries("acc").len() == 6).then_some(()));
    let status = gateway.command(&["status"]);
    assert!(status.contains(&format!("rediss://localhost:{secured}/0")), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc"]);
    assert!(sent.contains("verdict    acknowledged") && sent.contains("appendfsync"), "{sent}");
    assert_eq!(redis.entries("acc").len(), 7);
    let deep = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["check", "--deep", "--json", "--config"]).arg(gateway.dir.join("tollgate.toml"));
        let report: Value = serde_json::from_slice(&command.finish().unwrap().stdout).unwrap();
        let trials = report["trials"].as_array().unwrap().clone();
        let own = trials.into_iter().find(|trial| trial["what"].as_str().unwrap().starts_with("sink acc")).unwrap();
        (own["ok"].as_bool().unwrap(), format!("{}{}", own["why"].as_str().unwrap_or_default(), own["warnings"]))
    };
    assert_eq!(deep(), (true, "null".to_owned()));
    for (setting, want) in [
        (["CONFIG", "SET", "appendfsync", "everysec"], "a power cut takes the last of it"),
        (["CONFIG", "SET", "appendonly", "no"], "it keeps what it acknowledges in memory"),
        (["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"], "it may throw whole streams away"),
    ] {
        redis.ask(&setting);
        let (is_good, said) = deep();
        assert!(is_good && said.contains(want), "{said}");
    }
    redis.ask(&["DEL", "acc"]);
    let (is_good, said) = deep();
    assert!(!is_good && said.contains("there is no stream `acc`"), "{said}");
}
