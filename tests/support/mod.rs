//! What the tests that run the real binary share: processes that end with the test, free ports, waiting for a fact, and
//! peers that may be missing.

#![allow(dead_code, reason = "every test file uses its own part")]

pub mod databases;
pub mod diameter;
pub mod disk;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod nats;
pub mod nats_cluster;
pub mod ports;
pub mod queue;
pub mod rabbit;
pub mod radius;
pub mod scripted;
pub mod small;
pub mod sql;
pub mod start;
pub mod stream;
pub mod webhook;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use ports::{free_port, free_ports};
use start::{Start as _, closed_is_closed};

/// How long a test waits for a fact before it fails: generous, for slow machines; no test passes by waiting it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `fact` gives something.
///
/// # Panics
/// When it does not within [`PATIENCE`]; `what` says what was missing.
pub fn wait_for<T>(what: &str, fact: impl FnMut() -> Option<T>) -> T {
    try_wait_for(fact).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// Waits until `fact` gives something, [`PATIENCE`] at most.
pub fn try_wait_for<T>(mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = fact() {
            return Some(found);
        }
        if begin.elapsed() > PATIENCE {
            return None;
        }
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// Path of a peer's program. `None` when it is missing: the test says so and passes, unless `TOLLGATE_PEERS=required`.
///
/// # Panics
/// When it is missing and required.
pub fn peer(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|value| value == "required");
        assert!(!required, "{program} is missing and TOLLGATE_PEERS=required; tests/run installs it");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// As [`peer`], for a file that a peer's package brings and that this user can read.
///
/// # Panics
/// When it is missing and required.
pub fn peer_file(file: &Path) -> Option<()> {
    if fs::File::open(file).is_ok() {
        return Some(());
    }
    let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|value| value == "required");
    assert!(!required, "{} cannot be read and TOLLGATE_PEERS=required; tests/run installs it", file.display());
    eprintln!("skipped: {} cannot be read", file.display());
    None
}

/// Python with a module of PyPI, as `tests/run` installs it below `target/peers/python`; `None` when it is missing.
///
/// # Panics
/// When it is missing and required.
pub fn python(module: &str) -> Option<Command> {
    let mut command = Command::new(peer("python3")?);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/python");
    command.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
    peer_file(&folder.join(module).join("__init__.py"))?;
    Some(command)
}

/// A process that is killed when the test ends.
pub struct Running {
    /// The process.
    pub child: Child,
    /// File with what it printed.
    pub output: PathBuf,
}

impl Running {
    /// Starts `command` with its output in `output`.
    pub fn start(command: &mut Command, output: PathBuf) -> Self {
        let file = fs::File::options().create(true).append(true).open(&output).expect("the output file opens");
        let errors = file.try_clone().expect("the handle clones");
        let child = command
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .start()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, output }
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// What sipp wrote into its error logs: every message a scenario did not expect.
    pub fn complaints(&self) -> String {
        let folder = self.output.parent().and_then(|folder| fs::read_dir(folder).ok());
        let logs = folder.into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = logs.filter(|path| path.to_string_lossy().ends_with("_errors.log"));
        logs.filter_map(|path| fs::read_to_string(path).ok()).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is a child that was not waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// SIGSTOP, and waits until all its threads stand.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        let stands = |task: std::io::Result<fs::DirEntry>| {
            let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat"))).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T'))
        };
        wait_for("the process stands", || fs::read_dir(&tasks).ok()?.all(stands).then_some(()));
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self, what: &str) -> std::process::ExitStatus {
        let output = self.output.clone();
        let child = &mut self.child;
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the child can be waited for") {
                return status;
            }
            if begin.elapsed() > 2 * PATIENCE {
                let printed = fs::read_to_string(&output).unwrap_or_default();
                panic!("{what} did not end; it printed: {printed}");
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A stopped process (SIGSTOP) dies of SIGKILL too.
        self.kill();
    }
}

/// A real FreeRADIUS in a folder of the test's own.
pub struct FreeRadius {
    /// The server.
    pub process: Running,
    /// Its port.
    pub port: u16,
    /// Its folder.
    pub dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl FreeRadius {
    /// Starts one below `dir`; `None` when it is not installed.
    pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Option<Self> {
        peer("freeradius")?;
        let [port] = free_ports();
        let dir = dir.join("freeradius");
        fs::create_dir_all(&dir).expect("the folder can be made");
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = Self::spawn(&dir, port, &environment);
        let server = Self { process, port, dir, environment };
        server.wait_ready(1);
        Some(server)
    }

    fn spawn(dir: &Path, port: u16, environment: &[(String, String)]) -> Running {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/run.sh");
        let dictionary = Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries/radius/dictionary.tollgate");
        let mut command = Command::new(script);
        command.arg(port.to_string()).arg(dir).env("RADTEST_DICT", dictionary);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Running::start(&mut command, dir.join("out"))
    }

    fn wait_ready(&self, starts: usize) {
        wait_for("FreeRADIUS is ready", || {
            let log = fs::read_to_string(self.dir.join("log/radius.log")).unwrap_or_default();
            (log.matches("Ready to process requests").count() >= starts).then_some(())
        });
    }

    /// Ends it and starts it again on the same port.
    pub fn restart(&mut self) {
        let log = fs::read_to_string(self.dir.join("log/radius.log")).unwrap_or_default();
        let starts = log.matches("Ready to process requests").count();
        self.process.kill();
        self.process = Self::spawn(&self.dir, self.port, &self.environment);
        self.wait_ready(starts + 1);
    }

    /// The records it stored, each as its lines `Name = value`.
    pub fn records(&self) -> Vec<Vec<String>> {
        let text = String::from_utf8_lossy(&fs::read(self.dir.join("acct/detail")).unwrap_or_default()).into_owned();
        text.split("\n\n")
            .map(|block| {
                block.lines().filter_map(|line| line.strip_prefix('\t')).map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|lines| !lines.is_empty())
            .collect()
    }

    /// Waits until it stored `count` records.
    pub fn wait_records(&self, count: usize) -> Vec<Vec<String>> {
        wait_for(&format!("{count} records in FreeRADIUS"), || {
            let records = self.records();
            (records.len() >= count).then_some(records)
        })
    }
}

/// The value of an attribute in a record of FreeRADIUS, without quotes.
pub fn value<'a>(record: &'a [String], name: &str) -> Option<&'a str> {
    record.iter().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(" = ")?.trim_matches('"')))
}

/// The real gateway in a folder of the test's own.
pub struct Gateway {
    /// The process.
    pub process: Running,
    /// Its SIP port.
    pub port: u16,
    /// Its folder: `tollgate.toml`, `radiusclient.conf`, `queue`, `admin.sock`.
    pub dir: PathBuf,
}

impl Gateway {
    /// Starts one that routes to `targets` and accounts to the RADIUS port `radius`; `more` is further configuration.
    pub fn start(dir: &Path, targets: &[String], radius: u16, more: &str) -> Self {
        let [port] = free_ports();
        let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
        Self::start_with(dir, (port, &sip), targets, radius, more)
    }

    /// Starts one with a `[sip]` section of the test's own, which makes it listen on the port. `more` begins inside
    /// `[admin]`.
    pub fn start_with(dir: &Path, sip: (u16, &str), targets: &[String], radius: u16, more: &str) -> Self {
        let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        Self::start_routes(dir, sip, &format!("[[route]]\nto = [{targets}]"), radius, more)
    }

    /// The same with `[[route]]` tables of the test's own.
    pub fn start_routes(dir: &Path, sip: (u16, &str), routes: &str, radius: u16, more: &str) -> Self {
        Self::start_accounted(dir, sip, routes, radius, ("", more))
    }

    /// As [`Self::start_routes`], with further lines of `[accounting]` before those that begin inside `[admin]`.
    pub fn start_accounted(
        dir: &Path,
        (port, sip): (u16, &str),
        routes: &str,
        radius: u16,
        (accounting, more): (&str, &str),
    ) -> Self {
        let dir = dir.join("gateway");
        fs::create_dir_all(&dir).expect("the folder can be made");
        let folder = dir.display();
        let toml = format!(
            "[sip]\n{sip}\n\n{routes}\n\n\
             [accounting]\non = [\"radius\"]\nflags = [\"missed\", \"failed\"]\n{accounting}\n\n[queue]\npath = \"{folder}/queue\"\n\
             free_min_mib = 0\n\n[sinks.radius.test]\nconfig = \"{folder}/radiusclient.conf\"\n\n\
             [admin]\nsocket = \"{folder}/admin.sock\"\n\n{more}\n"
        );
        Self::start_on(&dir, port, &toml, radius)
    }

    /// Starts one in the folder `dir` with a configuration of the test's own.
    pub fn start_on(dir: &Path, port: u16, toml: &str, radius: u16) -> Self {
        Self::start_in(dir, port, toml, radius, &[])
    }

    /// As [`Gateway::start_on`], with environment variables that it has until it is started again.
    pub fn start_in(dir: &Path, port: u16, toml: &str, radius: u16, environment: &[(&str, &OsStr)]) -> Self {
        let dir = dir.to_owned();
        fs::write(dir.join("tollgate.toml"), toml).expect("the configuration is written");
        let client = format!(
            "acctserver 127.0.0.1:{radius}:testing123\nradius_timeout 1\nradius_retries 3\n\
             nas-identifier tollgate-test\nnas-ip 127.0.0.1\n"
        );
        fs::write(dir.join("radiusclient.conf"), client).expect("the configuration is written");
        let process = Self::spawn(&dir, environment);
        let mut gateway = Self { process, port, dir };
        gateway.wait_ready();
        gateway
    }

    fn spawn(dir: &Path, environment: &[(&str, &OsStr)]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("run").arg("--config").arg(dir.join("tollgate.toml")).current_dir(dir);
        command.envs(environment.iter().copied());
        Running::start(&mut command, dir.join("out"))
    }

    /// Waits until its administration socket answers.
    pub fn wait_ready(&mut self) {
        let socket = self.dir.join("admin.sock");
        let process = &mut self.process;
        wait_for("the gateway is ready", || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("the gateway ended with {status}: {}", process.printed());
            }
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    /// Starts it again after its end, on the same files.
    pub fn start_again(&mut self) {
        self.process.kill();
        let _old = fs::remove_file(self.dir.join("admin.sock"));
        self.process = Self::spawn(&self.dir, &[]);
        self.wait_ready();
    }

    /// What it has printed so far: its log.
    pub fn log(&self) -> String {
        self.process.printed()
    }

    /// Where it takes SIP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The sum of all samples of a metric, by HTTP from the port of `admin.listen`; `None` while there is none.
    pub fn metric(port: u16, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let samples =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples
            .map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .try_fold(None, |sum, sample| sample.map(|sample| Some(sum.unwrap_or(0.0) + sample)))?
    }

    /// Runs a command of the binary on its configuration; gives its standard output.
    pub fn command(&self, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(words)
            .arg("--config")
            .arg(self.dir.join("tollgate.toml"))
            .finish()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tollgate {words:?} ended with {}: {errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Starts sipp with a scenario of `tests/sipp`; `None` when it is not installed.
pub fn sipp(dir: &Path, scenario: &str, local: u16, words: &[&str]) -> Option<Running> {
    let program = peer("sipp")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp").join(scenario);
    let start = || {
        let [media] = free_ports();
        let mut command = Command::new(&program);
        command.arg("-sf").arg(&file).args(["-i", "127.0.0.1", "-nostdin", "-p"]).arg(local.to_string());
        // What goes wrong in a call stands in `…_errors.log` beside the output.
        command.arg("-trace_err").arg("-mp").arg(media.to_string()).args(words).current_dir(dir).env("TERM", "dumb");
        Running::start(&mut command, dir.join(format!("sipp-{scenario}-{local}.out")))
    };
    // Another test may have had one of its ports for a moment: then it ends at once.
    for _ in 0..SIPP_STARTS {
        let mut running = start();
        let begun = Instant::now();
        let has_failed = wait_for("sipp begins", || match running.child.try_wait() {
            Ok(Some(_)) => Some(format!("{}{}", running.printed(), running.complaints()).contains("Unable to bind")),
            _ => (has_port(running.child.id(), local) || begun.elapsed() > SIPP_BEGIN_MAX).then_some(false),
        });
        if !has_failed {
            return Some(running);
        }
    }
    Some(start())
}

/// How often sipp is started whose port is taken, and how long it may take to bind it.
const SIPP_STARTS: usize = 5;
const SIPP_BEGIN_MAX: Duration = Duration::from_secs(2);

/// Whether the process has this port of loopback, by UDP or TCP.
fn has_port(process: u32, port: u16) -> bool {
    let place = format!("0100007F:{port:04X}");
    let tables = ["udp", "tcp"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()));
    let inodes = lines.filter(|line| line.get(1) == Some(&&*place)).filter_map(|line| line.get(9).copied());
    let sockets: Vec<_> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// Writes captured UDP datagrams as a pcap file of raw IPv4, for tshark.
pub struct Capture {
    file: fs::File,
}

impl Capture {
    /// An empty capture.
    pub fn create(path: &Path) -> Self {
        let mut file = fs::File::create(path).expect("the capture file opens");
        // Magic, version 2.4, zone, accuracy, longest packet, link type 101 (raw IP).
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
        file.write_all(&header.map(u32::to_le_bytes).concat()).expect("the header is written");
        Self { file }
    }

    /// Adds a datagram.
    pub fn add(&mut self, number: u32, from: u16, to: u16, payload: &[u8]) {
        let length = u16::try_from(28 + payload.len()).expect("a datagram fits IPv4");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend(from.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let size = u32::from(length);
        let header = [1_700_000_000, number, size, size].map(u32::to_le_bytes).concat();
        self.file.write_all(&header).and_then(|()| self.file.write_all(&packet)).expect("the packet is written");
    }
}

/// A SIP message cut into lines as they stand on the wire. It shares no code with the gateway's own reader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wire {
    /// The start line without its line break.
    pub start: Vec<u8>,
    /// Each header line with its folds, without its last line break.
    pub lines: Vec<Vec<u8>>,
    /// What follows the blank line.
    pub body: Vec<u8>,
}

impl Wire {
    /// Cuts a datagram.
    ///
    /// # Panics
    /// When it has no blank line.
    pub fn read(octets: &[u8]) -> Self {
        let shown = || String::from_utf8_lossy(octets);
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", shown()));
        let (mut head, mut lines) = (&octets[..end], Vec::<Vec<u8>>::new());
        loop {
            let at = head.windows(2).position(|two| two == b"\r\n").unwrap_or(head.len());
            match (&head[..at], lines.last_mut()) {
                (fold @ [b' ' | b'\t', ..], Some(line)) => line.extend([b"\r\n", fold].concat()),
                (line, _) => lines.push(line.to_vec()),
            }
            let Some(rest) = head.get(at + 2..) else { break };
            head = rest;
        }
        Self { start: lines.remove(0), lines, body: octets[end + 4..].to_vec() }
    }

    /// The octets again.
    pub fn octets(&self) -> Vec<u8> {
        let lines: Vec<_> = std::iter::once(&self.start).chain(&self.lines).map(Vec::as_slice).collect();
        [&lines.join(&b"\r\n"[..])[..], b"\r\n\r\n", &self.body].concat()
    }

    /// For messages in a failed test.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    /// Places of the lines of a header, by its long name in lower case; compact names count too.
    pub fn places(&self, name: &str) -> Vec<usize> {
        (0..self.lines.len()).filter(|place| header_name(&self.lines[*place]) == name).collect()
    }

    /// The lines of a header.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.places(name).into_iter().map(|place| self.lines[place].as_slice()).collect()
    }

    /// The value of a header's first line, without white space around it; empty when there is none.
    pub fn value(&self, name: &str) -> &[u8] {
        self.all(name).first().map_or(b"", |line| value_of(line))
    }

    /// The method of a request; of a response `SIP/2.0`.
    pub fn method(&self) -> &str {
        let word = self.start.split(|octet| *octet == b' ').next().unwrap_or_default();
        std::str::from_utf8(word).unwrap_or_default()
    }

    /// The code of a response.
    pub fn code(&self) -> u16 {
        let word = self.start.split(|octet| *octet == b' ').nth(1).unwrap_or_default();
        String::from_utf8_lossy(word).parse().unwrap_or_default()
    }

    /// The number of CSeq; 0 for none.
    pub fn cseq(&self) -> u32 {
        let digits = self.value("cseq").iter().take_while(|octet| octet.is_ascii_digit());
        digits.fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
    }

    /// A response to this request: the lines RFC 3261 §8.2.6.2 and §12.1.1 copy, with a To tag, then `more` lines.
    pub fn answer(&self, status: &[u8], tag: &str, more: &[Vec<u8>], body: &[u8]) -> Self {
        let copied = ["via", "record-route", "from", "to", "call-id", "cseq"];
        let mut lines: Vec<_> =
            self.lines.iter().filter(|line| copied.contains(&&*header_name(line))).cloned().collect();
        for line in lines.iter_mut().filter(|line| header_name(line) == "to") {
            let params = line.rsplit(|octet| *octet == b'>').next().unwrap_or_default();
            if !params.windows(3).any(|three| three == b"tag") {
                line.extend(format!(";tag={tag}").as_bytes());
            }
        }
        lines.extend_from_slice(more);
        Self { start: [b"SIP/2.0 ", status].concat(), lines, body: body.to_vec() }
    }
}

/// The value of a header line, without white space around it.
pub fn value_of(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|octet| *octet == b':').map_or(line.len(), |colon| colon + 1);
    line[colon..].trim_ascii()
}

/// The name of a header line: long and in lower case.
pub fn header_name(line: &[u8]) -> String {
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii();
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let long = [("v", "via"), ("f", "from"), ("t", "to"), ("i", "call-id"), ("m", "contact"), ("l", "content-length")];
    long.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| (*long).to_owned())
}

/// One side of a call: what its later requests repeat (RFC 3261 §12.2.1.1).
#[derive(Clone, Debug)]
pub struct Side {
    from: Vec<u8>,
    to: Vec<u8>,
    call_id: Vec<u8>,
    target: Vec<u8>,
    routes: Vec<Vec<u8>>,
}

impl Side {
    /// The caller, by the INVITE it sent and the 200 it got.
    pub fn caller(invite: &Wire, answer: &Wire) -> Self {
        let mut side = Self::new(answer, [invite.value("from"), answer.value("to")], answer);
        side.routes.reverse();
        side
    }

    /// The callee, by the INVITE it got and the 200 it sent.
    pub fn callee(invite: &Wire, answer: &Wire) -> Self {
        Self::new(invite, [answer.value("to"), invite.value("from")], invite)
    }

    fn new(call: &Wire, [from, to]: [&[u8]; 2], other: &Wire) -> Self {
        let contact = other.value("contact");
        let inner = contact.split(|octet| matches!(octet, b'<' | b'>')).nth(1).unwrap_or(contact);
        // The gateway is the only proxy that is really there.
        let signed = |line: &&[u8]| line.windows(4).any(|four| four == b";tg=");
        let routes = call.all("record-route").into_iter().filter(signed).map(|line| value_of(line).to_vec()).collect();
        let call_id = call.value("call-id").to_vec();
        Self { from: from.to_vec(), to: to.to_vec(), call_id, target: inner.to_vec(), routes }
    }

    /// Its Route values.
    pub fn routes(&self) -> &[Vec<u8>] {
        &self.routes
    }

    /// A request inside the call, with this Via value.
    pub fn request(&self, method: &str, cseq: u32, via: &str) -> Wire {
        let start = [method.as_bytes(), b" ", &self.target, b" SIP/2.0"].concat();
        let mut lines = vec![format!("Via: {via}").into_bytes(), b"Max-Forwards: 70".to_vec()];
        lines.extend(self.routes.iter().map(|route| [b"Route: ", &route[..]].concat()));
        for (name, value) in [(&b"From: "[..], &self.from), (b"To: ", &self.to), (b"Call-ID: ", &self.call_id)] {
            lines.push([name, value].concat());
        }
        lines.extend([format!("CSeq: {cseq} {method}").into_bytes(), b"Content-Length: 0".to_vec()]);
        Wire { start, lines, body: Vec::new() }
    }
}

/// A socket of the test's own, looked at without waiting. What comes a second time is passed over, and so is 100.
pub struct Agent {
    socket: UdpSocket,
    /// Where it is.
    pub address: SocketAddr,
    seen: HashSet<Vec<u8>>,
}

impl Agent {
    /// One at an address; port 0 takes a free one.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub fn bind(address: SocketAddr) -> Self {
        closed_is_closed();
        let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_nonblocking(true).expect("a socket can do without waiting");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address, seen: HashSet::new() }
    }

    /// Sends a datagram.
    pub fn send(&self, octets: &[u8], to: SocketAddr) {
        let sent = self.socket.send_to(octets, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(sent, octets.len());
    }

    /// What has come, if anything has.
    pub fn take(&mut self) -> Option<Wire> {
        let mut buffer = vec![0; 65_535];
        loop {
            // Errors are those ICMP reports of other datagrams, and "nothing there".
            let length = self.socket.recv(&mut buffer).ok()?;
            let octets = &buffer[..length];
            if !octets.starts_with(b"SIP/2.0 100") && self.seen.insert(octets.to_vec()) {
                return Some(Wire::read(octets));
            }
        }
    }

    /// Waits for what comes next.
    ///
    /// # Panics
    /// When nothing does.
    pub fn wait(&mut self, what: &str) -> Wire {
        wait_for(what, || self.take())
    }
}
