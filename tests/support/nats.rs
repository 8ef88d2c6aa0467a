//! A real nats-server with JetStream, in a folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context, stream};
use serde_json::Value as Json;
use tollgate::sinks::attempt::{self, Attempts, Board};
use tollgate::sinks::event::name::Template;
use tollgate::sinks::event::{Body, Envelope};
use tollgate::sinks::jetstream::{Access, Login, Tls};
use tollgate::sinks::nats::Settings;
use tollgate::sinks::profile::Profile;

use crate::support::radius::Line;
use crate::support::{Running, free_ports, peer, wait_for};

/// The server.
pub struct Nats {
    dir: PathBuf,
    /// Where it listens.
    pub port: u16,
    process: Running,
    /// How tests reach it, which may do everything.
    options: Box<dyn Fn() -> ConnectOptions>,
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it was published.
    pub subject: String,
    /// A header.
    pub id: String,
    /// Another one.
    pub content_type: String,
    /// What it says.
    pub body: Json,
}

impl Nats {
    /// Starts one below `dir`, with this in its configuration; `None` when it is not installed.
    pub fn start(dir: &Path, more: &str, options: impl Fn() -> ConnectOptions + 'static) -> Option<Self> {
        peer("nats-server")?;
        let dir = dir.join("nats");
        fs::create_dir_all(&dir).expect("the folder can be made");
        fs::write(dir.join("more.conf"), more).expect("the configuration is written");
        let [port] = free_ports();
        let process = Self::spawn(&dir, port);
        let nats = Self { dir, port, process, options: Box::new(options) };
        nats.wait_ready();
        Some(nats)
    }

    fn spawn(dir: &Path, port: u16) -> Running {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/brokers/nats.sh");
        Running::start(Command::new(script).arg(dir).arg(port.to_string()), dir.join("out"))
    }

    fn wait_ready(&self) {
        wait_for("nats-server is ready", || self.process.printed().contains("Server is ready\n").then_some(()));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Starts it again on its files, with other things in its configuration if they are given.
    pub fn start_again(&mut self, more: Option<&str>) {
        self.process.kill();
        if let Some(more) = more {
            fs::write(self.dir.join("more.conf"), more).expect("the configuration is written");
        }
        fs::write(self.dir.join("out"), "").expect("the file is the test's own");
        self.process = Self::spawn(&self.dir, self.port);
        self.wait_ready();
    }

    /// Where a sink finds it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Runs something with a connection.
    pub fn with<T>(&self, work: impl AsyncFnOnce(Context) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = (self.options)().connect(self.url()).await.expect("the server lets tests in");
            work(jetstream::new(client)).await
        })
    }

    /// Makes a stream, or changes it.
    pub fn stream(&self, config: stream::Config) {
        self.with(async |context| {
            if context.get_stream(&config.name).await.is_ok() {
                drop(context.update_stream(&config).await.expect("the stream can be changed"));
            } else {
                drop(context.create_stream(&config).await.expect("the stream can be made"));
            }
        });
    }

    /// How many messages a stream has.
    pub fn count(&self, stream: &str) -> u64 {
        self.with(async |context| context.get_stream(stream).await.expect("a stream").cached_info().state.messages)
    }

    /// All messages of a stream that lost none, in order.
    pub fn stored(&self, stream: &str) -> Vec<Stored> {
        self.with(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            let state = stream.cached_info().state.clone();
            let mut all = Vec::new();
            for number in state.first_sequence..=state.last_sequence {
                let Ok(message) = stream.get_raw_message(number).await else { continue };
                let header = |name| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
                all.push(Stored {
                    id: header("Nats-Msg-Id"),
                    content_type: header("Content-Type"),
                    subject: message.subject.to_string(),
                    body: serde_json::from_slice(&message.payload).expect("JSON"),
                });
            }
            all
        })
    }

    /// Settings of an impatient sink.
    pub fn settings(&self, stream: &str, subject: &str) -> Settings {
        settings(self.url(), stream, subject)
    }
}

/// What `[subjects]` gives.
pub fn config(name: &str, subjects: &[&str]) -> stream::Config {
    let subjects = subjects.iter().map(|own| (*own).to_owned()).collect();
    stream::Config { name: name.to_owned(), subjects, ..stream::Config::default() }
}

fn settings(url: String, stream: &str, subject: &str) -> Settings {
    Settings {
        access: Access { servers: vec![url], login: Login::None, tls: Tls::default(), timeout: Duration::from_secs(5) },
        stream: stream.to_owned(),
        subject: Template::parse(subject, &["big", "tenant"]).expect("a template"),
        body: body(Envelope::None),
        delivery: attempt::Settings {
            batch_max: 256,
            attempts_max: u32::MAX,
            timeout: Duration::from_secs(15),
            retry_first: Duration::from_millis(50),
            retry_max: Duration::from_millis(200),
            ..attempt::Settings::default()
        },
    }
}

/// The body of events with the fields of these tests.
pub fn body(envelope: Envelope) -> Body {
    let own = |name: &str| (name.to_owned(), name.to_owned());
    let body = Body::of(Profile::Own, "/test").expect("it has events");
    Body { envelope, fields: vec![own("big"), own("tenant")], leg_fields: vec![own("src")], ..body }
}

/// Queue, worker and sink.
pub fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let link = settings.link("test");
        let sink = Attempts::new("test", settings.delivery.clone(), settings.render(), link, tollgate::ids::Seq(0));
        let board = sink.board();
        (sink, board)
    })
}
