//! A cluster of real nats-servers, or one, as `tests/nats/run` starts them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context};

use crate::support::{Running, peer, wait_for};

/// The servers.
pub struct Servers {
    dir: PathBuf,
    process: Running,
    /// Where each listens, the first server's first.
    pub urls: Vec<String>,
    /// How often each line was told.
    told: RefCell<HashMap<String, usize>>,
}

/// A message as the stream has it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its place in the stream.
    pub sequence: u64,
    /// Where it was published.
    pub subject: String,
    /// `Nats-Msg-Id`.
    pub id: String,
    /// All headers.
    pub headers: async_nats::HeaderMap,
    /// What it says.
    pub body: Vec<u8>,
}

impl Servers {
    /// Starts so many below `dir`, with this in the configuration of each, and waits until they have a leader; `None` when
    /// they are not installed.
    pub fn start(dir: &Path, count: usize, more: &str) -> Option<Self> {
        peer("nats-server")?;
        peer("python3")?;
        let dir = dir.join("servers");
        fs::create_dir_all(&dir).expect("the folder can be made");
        fs::write(dir.join("more.conf"), more).expect("the configuration is written");
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats/run"));
        command.arg(&dir).args(["--servers", &count.to_string(), "--more"]).arg(dir.join("more.conf"));
        let process = Running::start(&mut command, dir.join("out"));
        let urls = wait_for("the nats-servers have a leader", || {
            let printed = process.printed();
            let line = printed.lines().find_map(|line| line.strip_prefix("ready "))?;
            Some(line.split(' ').map(str::to_owned).collect())
        });
        Some(Self { dir, process, urls, told: RefCell::default() })
    }

    /// Has something done to a server, such as `kill 1`; `tests/nats/run` says what there is.
    ///
    /// # Panics
    /// When that fails.
    pub fn tell(&self, line: &str) {
        let mut told = self.told.borrow_mut();
        let times = told.entry(line.to_owned()).or_default();
        *times += 1;
        let control = fs::File::options().write(true).open(self.dir.join("control"));
        let order = format!("{line}\n");
        control.expect("the fifo is there").write_all(order.as_bytes()).expect("it is read");
        let is_it = |own: &&str| own.split_once(": ").is_some_and(|(_, rest)| rest.starts_with(line));
        let answer = wait_for(line, || self.process.printed().lines().filter(is_it).nth(*times - 1).map(str::to_owned));
        assert!(answer.starts_with("ok: "), "{answer}");
    }

    /// What was done to them, for who wonders what went wrong.
    pub fn said(&self) -> String {
        self.process.printed()
    }

    /// URLs as a list of TOML.
    pub fn list(&self) -> String {
        format!("{:?}", self.urls)
    }

    /// Runs something with a connection to any of them.
    pub fn with<T>(&self, work: impl AsyncFnOnce(Context) -> T) -> T {
        self.with_options(ConnectOptions::new(), work)
    }

    /// The same for servers that do not let everybody in.
    pub fn with_options<T>(&self, options: ConnectOptions, work: impl AsyncFnOnce(Context) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = options.connect(&self.urls).await.expect("a server lets tests in");
            work(jetstream::new(client)).await
        })
    }

    /// How many messages a stream has; `None` while nobody says.
    pub fn count(&self, stream: &str) -> Option<u64> {
        self.with(async |context| Some(context.get_stream(stream).await.ok()?.cached_info().state.messages))
    }

    /// All messages of a stream, in order; waits for a leader.
    pub fn kept(&self, stream: &str) -> Vec<Kept> {
        let state = wait_for("the stream has a leader", || {
            self.with(async |context| Some(context.get_stream(stream).await.ok()?.cached_info().state.clone()))
        });
        self.with(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            let mut all = Vec::new();
            for number in state.first_sequence..=state.last_sequence {
                let Ok(message) = stream.get_raw_message(number).await else { continue };
                all.push(Kept {
                    sequence: number,
                    subject: message.subject.to_string(),
                    id: message.headers.get("Nats-Msg-Id").map(ToString::to_string).unwrap_or_default(),
                    body: message.payload.to_vec(),
                    headers: message.headers,
                });
            }
            all
        })
    }

    /// The number of the server that a client of this name has its connection to, 1 the first. Asks their monitors, which
    /// `tests/nats/run` has two ports above the clients' where each server has an address of its own.
    pub fn of_client(&self, name: &str) -> Option<usize> {
        let has = |url: &String| -> Option<bool> {
            let (host, port) = url.strip_prefix("nats://")?.rsplit_once(':')?;
            let mut link = TcpStream::connect((host, port.parse::<u16>().ok()? + 2)).ok()?;
            link.write_all(b"GET /connz HTTP/1.0\r\n\r\n").ok()?;
            let mut told = String::new();
            link.read_to_string(&mut told).ok()?;
            Some(told.contains(&format!("{name}\"")))
        };
        self.urls.iter().position(|url| has(url) == Some(true)).map(|place| place + 1)
    }

    /// The number of the server that leads a stream, 1 the first.
    pub fn leader(&self, stream: &str) -> usize {
        wait_for("the stream has a leader", || {
            self.with(async |context| {
                let stream = context.get_stream(stream).await.ok()?;
                stream.cached_info().cluster.as_ref()?.leader.as_ref()?.strip_prefix('n')?.parse().ok()
            })
        })
    }
}
