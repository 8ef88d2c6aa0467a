//! A receiver of webhooks, `tests/peers/webhook.py`: what it got, and the rules by which it answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tollgate::sinks::attempt::{self, Attempts, Board};
use tollgate::sinks::event::Body;
use tollgate::sinks::profile::Profile;
use tollgate::sinks::webhook::{Batch, Expect, Login, Settings};

use super::radius::Line;
use super::start::Start as _;
use super::{Running, free_port, peer, wait_for};

/// The receiver.
pub struct Receiver {
    process: Running,
    dir: PathBuf,
    /// Its port of 127.0.0.1.
    pub port: u16,
    has_tls: bool,
}

impl Receiver {
    /// Starts one that takes all; `None` without Python.
    pub fn start(dir: &Path) -> Option<Self> {
        Self::with(dir, false)
    }

    /// The same with TLS: it shows a certificate for `localhost` of a private authority and wants one of ours.
    pub fn start_tls(dir: &Path) -> Option<Self> {
        peer("openssl")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
        let made = Command::new(script).arg(dir.join("receiver/tls")).finish().expect("the script runs");
        assert!(made.status.success(), "{made:?}");
        Self::with(dir, true)
    }

    fn with(dir: &Path, has_tls: bool) -> Option<Self> {
        peer("python3")?;
        let (dir, port) = (dir.join("receiver"), free_port());
        fs::create_dir_all(&dir).expect("the folder can be made");
        let process = Self::spawn(&dir, port, has_tls);
        let receiver = Self { process, dir, port, has_tls };
        receiver.wait_ready();
        Some(receiver)
    }

    fn spawn(dir: &Path, port: u16, has_tls: bool) -> Running {
        let mut command = Command::new(peer("python3").expect("it was there"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/webhook.py");
        command.arg(script).arg(port.to_string()).arg(dir).args(has_tls.then_some("tls"));
        Running::start(&mut command, dir.join("out"))
    }

    fn wait_ready(&self) {
        wait_for("the receiver listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on its port.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.dir, self.port, self.has_tls);
        self.wait_ready();
    }

    /// It stands still, or goes on.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Its folder, with `tls`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// From here on it answers by these rules, JSON.
    pub fn rules(&self, rules: &Value) {
        let new = self.dir.join("rules.new");
        fs::write(&new, rules.to_string()).expect("the rules are written");
        fs::rename(new, self.dir.join("rules.json")).expect("the rules are there");
    }

    /// Every request that it has read.
    pub fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("seen")).unwrap_or_default();
        // A kill may have cut the last line short.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Settings of an impatient webhook without fields.
    pub fn settings(&self, batch: Batch) -> Settings {
        let delivery = attempt::Settings {
            batch_max: if batch == Batch::Each { 8 } else { 20 },
            attempts_max: u32::MAX,
            retry_first: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            ..attempt::Settings::default()
        };
        Settings {
            url: format!("http://127.0.0.1:{}/acc", self.port).parse().expect("a URL"),
            login: Login::None,
            signing_key: None,
            tls: None,
            batch,
            expect: Expect::default(),
            body: Body::of(Profile::Own, "/tollgate/test").expect("it has events"),
            timeout: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(3600),
            delivery,
        }
    }
}

/// The ids of a request's events.
pub fn ids(request: &Value) -> Vec<String> {
    let ids = request["ids"].as_array().into_iter().flatten();
    ids.map(|id| id.as_str().unwrap_or_default().to_owned()).collect()
}

/// Queue, worker and webhook.
pub fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let link = settings.link("test").expect("a client");
        let sink = Attempts::new("test", settings.delivery.clone(), settings.render(), link, tollgate::ids::Seq(0));
        let board = sink.board();
        (sink, board)
    })
}
