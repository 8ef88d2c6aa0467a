//! A real RabbitMQ in a folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use tollgate::ids::Seq;
use tollgate::sinks::amqp::Settings;
use tollgate::sinks::attempt::{self, Attempts, Board};
use tollgate::sinks::event::Envelope;
use tollgate::sinks::event::name::Template;
use tollgate::sinks::secret::Secret;

use crate::support::nats::body;
use crate::support::radius::Line;
use crate::support::start::Start as _;
use crate::support::{Running, free_ports, peer, peer_file, wait_for};

/// The broker.
pub struct Rabbit {
    dir: PathBuf,
    /// Where it listens.
    pub port: u16,
    others: [u16; 2],
    process: Running,
}

/// A message of a queue.
#[derive(Debug)]
pub struct Got {
    /// Its properties.
    pub properties: lapin::BasicProperties,
    /// Where it was published.
    pub routing_key: String,
    /// What it says.
    pub body: serde_json::Value,
}

impl Rabbit {
    /// Starts one below `dir`, with this in its configuration; `None` when it is not installed.
    pub fn start(dir: &Path, more: &str) -> Option<Self> {
        peer_file(Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server"))?;
        peer("epmd")?;
        let dir = dir.join("rabbit");
        fs::create_dir_all(&dir).expect("the folder can be made");
        fs::write(dir.join("more.conf"), more).expect("the configuration is written");
        let [port, distribution, epmd] = free_ports();
        let process = Self::spawn(&dir, port, [distribution, epmd]);
        let rabbit = Self { dir, port, others: [distribution, epmd], process };
        rabbit.wait_ready();
        Some(rabbit)
    }

    fn spawn(dir: &Path, port: u16, others: [u16; 2]) -> Running {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/brokers/rabbitmq.sh");
        let ports = [port, others[0], others[1]].map(|port| port.to_string());
        Running::start(Command::new(script).arg(dir).args(ports), dir.join("out"))
    }

    fn wait_ready(&self) {
        wait_for("RabbitMQ is ready", || self.process.printed().contains("completed with").then_some(()));
    }

    /// `kill -9` of the broker itself; the shell that has started it ends then.
    pub fn kill(&mut self) {
        let number = fs::read_to_string(self.dir.join("pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(number) = number {
            // SAFETY: the broker of this test, which has written its number into the test's own folder.
            unsafe { libc::kill(number, libc::SIGKILL) };
            let _status = self.process.wait("RabbitMQ");
        }
    }

    /// Starts it again on its files.
    pub fn start_again(&mut self) {
        self.kill();
        fs::write(self.dir.join("out"), "").expect("the file is the test's own");
        self.process = Self::spawn(&self.dir, self.port, self.others);
        self.wait_ready();
    }

    /// Runs something with a channel.
    pub fn with<T>(&self, work: impl AsyncFnOnce(Channel) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let url = format!("amqp://127.0.0.1:{}", self.port);
            let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("a connection");
            let done = work(connection.create_channel().await.expect("a channel")).await;
            let _maybe_closing = connection.close(200, "done".into()).await;
            done
        })
    }

    /// Takes all messages out of a queue.
    pub fn take(&self, queue: &str) -> Vec<Got> {
        self.with(async |channel| {
            let mut all = Vec::new();
            while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("a queue") {
                got.acker.ack(BasicAckOptions::default()).await.expect("acknowledged");
                all.push(Got {
                    properties: got.delivery.properties.clone(),
                    routing_key: got.delivery.routing_key.to_string(),
                    body: serde_json::from_slice(&got.delivery.data).expect("JSON"),
                });
            }
            all
        })
    }

    /// Has its own tool do something.
    pub fn control(&self, words: &[&str]) {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        command.arg("--node").arg(format!("tollgate-{}@localhost", self.port)).args(words);
        command.env("HOME", self.dir.join("home")).env("RABBITMQ_HOME", "/usr/lib/rabbitmq");
        command.env("ERL_EPMD_PORT", self.others[1].to_string());
        let done = command.finish().expect("rabbitmqctl runs");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Settings of an impatient sink.
    pub fn settings(&self, exchange: &str, routing_key: &str) -> Settings {
        let template = |text| Template::parse(text, &["big", "tenant"]).expect("a template");
        Settings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
            vhost: "/".to_owned(),
            user: "guest".to_owned(),
            password: Secret::new("guest".to_owned()),
            exchange: template(exchange),
            routing_key: template(routing_key),
            body: body(Envelope::None),
            timeout: Duration::from_secs(5),
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
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
        // It has a process of its own that outlives it.
        let _ended = Command::new("epmd").arg("-kill").env("ERL_EPMD_PORT", self.others[1].to_string()).finish();
    }
}

/// Queue, worker and sink.
pub fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let link = settings.link("test");
        let sink = Attempts::new("test", settings.delivery.clone(), settings.render(), link, Seq(0));
        let board = sink.board();
        (sink, board)
    })
}
