//! The receivers of a play: a socket of syslog, a RADIUS server and a database for each system.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use md5::{Digest as _, Md5};

use super::flow::Backend;
use super::setup::{Places, Plan, dictionary};
use super::store::{Servers, Store};
use super::text::{self, Item};
use crate::support::{Running, free_ports, peer, wait_for};

/// How long a receiver waits before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(50);

const SECRET: &str = "testing123";

/// A nats-server for the events of all plays.
pub struct Broker {
    dir: tempfile::TempDir,
    port: u16,
    process: Running,
}

impl Broker {
    /// Starts one; `None` when it is not installed.
    pub fn start() -> Option<Self> {
        let program = peer("nats-server")?;
        let (dir, [port]) = (tempfile::tempdir().expect("a folder"), free_ports());
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(dir.path());
        let process = Running::start(&mut command, dir.path().join("out"));
        let broker = Self { dir, port, process };
        wait_for("nats-server is ready", || broker.process.printed().contains("Server is ready").then_some(()));
        Some(broker)
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The stream of a receiver whose socket is this file: a name that no other has.
    fn stream(&self, socket: &Path) -> String {
        let name = socket.to_string_lossy().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![format!("{name}.*")],
            storage: stream::StorageType::Memory,
            ..stream::Config::default()
        };
        self.with(async |context| drop(context.create_stream(config).await.expect("the stream can be made")));
        name
    }

    /// What the messages of a stream say, in order.
    fn bodies(&self, name: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        self.with(async |context| {
            let stream = context.get_stream(name).await.expect("the stream is there");
            let state = &stream.cached_info().state;
            for number in state.first_sequence.max(1)..=state.last_sequence {
                let message = stream.get_raw_message(number).await.expect("none is lost");
                bodies.push(String::from_utf8_lossy(&message.payload).into_owned());
            }
        });
        bodies
    }

    fn with(&self, work: impl AsyncFnOnce(Context)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap_or_else(|error| {
                panic!("nats-server in {}: {error}: {}", self.dir.path().display(), self.process.printed())
            });
            work(jetstream::new(client)).await;
        });
    }
}

/// What receives for one system.
pub struct Receivers<'b> {
    broker: Option<&'b Broker>,
    stream: Option<String>,
    socket: PathBuf,
    client: PathBuf,
    store: Store,
    lines: Tap,
    packets: Tap,
}

/// A thread that keeps what comes.
struct Tap {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    fn on(receive: impl Fn(&mut [u8]) -> Option<usize> + Send + 'static) -> Self {
        let (seen, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, ended) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                // What has been sent before the end is there.
                let is_last = ended.load(Ordering::Acquire);
                match receive(&mut buffer) {
                    Some(length) => all.lock().expect("no test thread panicked").push(buffer[..length].to_vec()),
                    None if is_last => return,
                    None => {}
                }
            }
        });
        Self { seen, end, thread: Some(thread) }
    }

    /// Ends it, and gives all that has come.
    fn seen(&mut self) -> Vec<Vec<u8>> {
        self.end();
        self.seen.lock().expect("no test thread panicked").clone()
    }
}

impl Tap {
    fn end(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end();
    }
}

impl<'b> Receivers<'b> {
    /// Those of a plan, in a folder.
    pub fn start(plan: &Plan, dir: &Path, servers: &Servers, broker: Option<&'b Broker>) -> Self {
        let own = |name: &str| dir.join(format!("{name}-{}", plan.system));
        let socket = own("log");
        let log = UnixDatagram::bind(&socket).expect("a socket of syslog");
        log.set_read_timeout(Some(TURN)).expect("a wait");
        let radius = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        radius.set_read_timeout(Some(TURN)).expect("a wait");
        let port = radius.local_addr().expect("it is bound").port();
        let client = own("radiusclient");
        let lines =
            format!("acctserver 127.0.0.1:{port}:{SECRET}\nradius_timeout 10\nradius_retries 3\nnas-ip 127.0.0.1\n");
        fs::write(&client, lines).expect("the client file is written");
        for sink in plan.sinks.iter().filter(|sink| sink.backend == Backend::Aaa) {
            let file = dir.join(format!("dictionary.{}", sink.name));
            fs::write(file, dictionary(sink)).expect("the dictionary is written");
        }
        let store = servers.store(plan.database, &own("acc.db"));
        store.make(&plan.tables());
        let has_events = plan.sinks.iter().any(|sink| sink.backend == Backend::Evi);
        Self {
            broker,
            stream: broker.filter(|_| has_events).map(|broker| broker.stream(&socket)),
            socket,
            client,
            store,
            lines: Tap::on(move |buffer| log.recv(buffer).ok()),
            packets: Tap::on(move |buffer| answered(&radius, buffer)),
        }
    }

    /// Where they are.
    pub fn places(&self) -> Places<'_> {
        Places {
            syslog: &self.socket,
            sql: self.store.url(),
            radius: &self.client,
            events: self.broker.map(Broker::url).zip(self.stream.clone()),
        }
    }

    /// All that has come; nothing is received from then on.
    pub fn items(&mut self) -> Vec<Item> {
        let lines = self.lines.seen();
        let lines = lines.iter().filter_map(|line| text::line(&String::from_utf8_lossy(line)));
        let mut items: Vec<_> = lines.chain(self.packets.seen().iter().map(|packet| text::packet(packet))).collect();
        if let (Some(broker), Some(stream)) = (self.broker, &self.stream) {
            items.extend(broker.bodies(stream).iter().filter_map(|body| text::event(body)));
        }
        items.extend(self.store.rows().into_iter().map(|(table, row)| text::row(&table, row)));
        items
    }
}

/// Receives an Accounting-Request and answers it (RFC 2866 §3).
fn answered(socket: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    let (length, client) = socket.recv_from(buffer).ok()?;
    let asked = buffer.get(..length).filter(|asked| asked.len() >= 20 && asked[0] == 4)?;
    let mut response = [[5, asked[1], 0, 20].as_slice(), &asked[4..20]].concat();
    let digest = Md5::new().chain_update(&response).chain_update(SECRET).finalize();
    response[4..].copy_from_slice(&digest);
    socket.send_to(&response, client).ok()?;
    Some(length)
}
