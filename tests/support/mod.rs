//! What the tests that run the real binary share: processes that end with the test, free ports, waiting for a fact, and
//! peers that may be missing.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
            .spawn()
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

/// UDP ports of 127.0.0.1 that were free a moment ago, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [UdpSocket; N] =
        std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port"));
    held.map(|socket| socket.local_addr().expect("a bound socket has an address").port())
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
        let dir = dir.join("gateway");
        fs::create_dir_all(&dir).expect("the folder can be made");
        let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        let folder = dir.display();
        let toml = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\n[[route]]\nto = [{targets}]\n\n\
             [accounting]\non = [\"radius\"]\nflags = [\"missed\", \"failed\"]\n\n[queue]\npath = \"{folder}/queue\"\n\
             free_min_mib = 0\n\n[sinks.radius.test]\nconfig = \"{folder}/radiusclient.conf\"\n\n\
             [admin]\nsocket = \"{folder}/admin.sock\"\n\n{more}\n"
        );
        fs::write(dir.join("tollgate.toml"), toml).expect("the configuration is written");
        let client = format!(
            "acctserver 127.0.0.1:{radius}:testing123\nradius_timeout 1\nradius_retries 3\n\
             nas-identifier tollgate-test\nnas-ip 127.0.0.1\n"
        );
        fs::write(dir.join("radiusclient.conf"), client).expect("the configuration is written");
        let process = Self::spawn(&dir);
        let mut gateway = Self { process, port, dir };
        gateway.wait_ready();
        gateway
    }

    fn spawn(dir: &Path) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("run").arg("--config").arg(dir.join("tollgate.toml")).current_dir(dir);
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
        self.process = Self::spawn(&self.dir);
        self.wait_ready();
    }

    /// Where it takes SIP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Runs a command of the binary on its configuration; gives its standard output.
    pub fn command(&self, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(words)
            .arg("--config")
            .arg(self.dir.join("tollgate.toml"))
            .output()
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
    let [media] = free_ports();
    let mut command = Command::new(program);
    command.arg("-sf").arg(file).args(["-i", "127.0.0.1", "-nostdin", "-p"]).arg(local.to_string());
    // What goes wrong in a call stands in `…_errors.log` beside the output.
    command.arg("-trace_err").arg("-mp").arg(media.to_string()).args(words).current_dir(dir).env("TERM", "dumb");
    Some(Running::start(&mut command, dir.join(format!("sipp-{scenario}-{local}.out"))))
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
