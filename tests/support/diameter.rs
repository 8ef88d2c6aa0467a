//! A real freeDiameter with the recording extension of `tests/freediameter`, in a folder of the test's own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_port, free_ports, peer, wait_for};

/// The server.
pub struct FreeDiameter {
    /// The process.
    pub process: Running,
    /// Its plain port; 0 when closed.
    pub port: u16,
    /// Its folder.
    pub dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl FreeDiameter {
    /// Starts one in the folder `name` below `dir`, with the environment that `run.sh` explains; `None` when it is not
    /// installed.
    pub fn start(dir: &Path, name: &str, environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_on(dir, name, free_port(), environment)
    }

    /// The same on a port.
    pub fn start_on(dir: &Path, name: &str, port: u16, environment: &[(&str, &str)]) -> Option<Self> {
        peer("freeDiameterd")?;
        if !Path::new("/usr/include/freeDiameter/extension.h").exists() {
            let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|value| value == "required");
            assert!(!required, "libfreediameter-dev is missing and TOLLGATE_PEERS=required; tests/run installs it");
            eprintln!("skipped: libfreediameter-dev is not installed");
            return None;
        }
        let dir = dir.join(name);
        fs::create_dir_all(&dir).expect("the folder can be made");
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = Self::spawn(&dir, port, &environment);
        let mut server = Self { process, port, dir, environment };
        server.wait_ready();
        Some(server)
    }

    fn spawn(dir: &Path, port: u16, environment: &[(String, String)]) -> Running {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freediameter/run.sh");
        let mut command = Command::new(script);
        command.arg(port.to_string()).arg(dir);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Running::start(&mut command, dir.join("out"))
    }

    fn wait_ready(&mut self) {
        let of = |name: &str| self.environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
        let secure = of("SECPORT").and_then(|port| port.parse().ok());
        let port = if self.port == 0 { secure.unwrap_or(0) } else { self.port };
        let process = &mut self.process;
        wait_for("freeDiameter is ready", || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("freeDiameter ended with {status}: {}", process.printed());
            }
            // A connection that says nothing is dropped by it.
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Ends it at once and starts it again on the same port.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.dir, self.port, &self.environment);
        self.wait_ready();
    }

    /// How it answers from now on, such as `code 3004`, `x5 code 4002`, `drop`, `delay 500`, `ok`.
    pub fn mode(&self, mode: &str) {
        // Written beside and renamed, so that it is never seen half.
        fs::write(self.dir.join("mode.new"), format!("{mode}\n")).expect("the mode is written");
        fs::rename(self.dir.join("mode.new"), self.dir.join("mode")).expect("the mode is in place");
    }

    /// The Accounting-Requests that passed its dictionary, in the order of their coming.
    pub fn requests(&self) -> Vec<Acr> {
        let text = fs::read_to_string(self.dir.join("acr.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Acr(serde_json::from_str(line).expect("a line of JSON"))).collect()
    }

    /// Waits for so many.
    pub fn wait_requests(&self, count: usize) -> Vec<Acr> {
        wait_for(&format!("{count} requests in freeDiameter"), || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
    }

    /// How many Disconnect-Peer-Requests it got.
    pub fn goodbyes(&self) -> usize {
        self.wire().iter().filter(|message| is(message, 282, 0x80)).count()
    }

    /// How many Device-Watchdog-Requests and -Answers it got.
    pub fn watchdogs(&self) -> (usize, usize) {
        let wire = self.wire();
        let count = |request| wire.iter().filter(|message| is(message, 280, request)).count();
        (count(0x80), count(0))
    }

    /// All messages as received.
    pub fn wire(&self) -> Vec<Vec<u8>> {
        let text = fs::read_to_string(self.dir.join("wire.hex")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let octets = |hex: &str| {
            let digits: Vec<u8> = hex.bytes().map(|c| (c as char).to_digit(16).expect("hex") as u8).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        };
        whole.lines().filter_map(|line| line.split(' ').nth(1)).map(octets).collect()
    }
}

/// Whether a message is of a command, with the flag R as given.
fn is(message: &[u8], command: u32, request: u8) -> bool {
    u32::from_be_bytes([0, message[5], message[6], message[7]]) == command && message[4] & 0x80 == request
}

/// Every message that a server of any test got is sound to tshark too.
impl Drop for FreeDiameter {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            tshark_finds_no_fault(&self.dir, &self.wire());
        }
    }
}

/// Decodes messages with tshark, the second opinion: it takes each for what its header says, marks none as malformed
/// and reports no error, such as a wrong length of a value. Gives the path of the capture, unless there is none.
///
/// # Panics
/// When it finds a fault.
pub fn tshark_finds_no_fault(dir: &Path, messages: &[Vec<u8>]) -> Option<PathBuf> {
    /// PI_ERROR of Wireshark's `epan/proto.h`.
    const ERROR: &str = "8388608";
    if messages.is_empty() {
        return None;
    }
    let tshark = peer("tshark")?;
    let file = dir.join("wire.pcap");
    let mut stream = Stream::default();
    messages.iter().for_each(|message| stream.add(message));
    fs::write(&file, stream.pcap()).expect("the capture is written");
    let fields = ["diameter.cmd.code", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message"];
    let output = Command::new(tshark)
        .arg("-r")
        .arg(&file)
        .args(["-d", "tcp.port==3868,diameter", "-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .finish()
        .expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), messages.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for (row, message) in rows.iter().zip(messages) {
        let code = u32::from_be_bytes([0, message[5], message[6], message[7]]).to_string();
        let is_sound = row[0] == code && row[1].is_empty() && !row[2].split(',').any(|severity| severity == ERROR);
        assert!(is_sound, "tshark says {row:?} of {message:02x?}");
    }
    Some(file)
}

/// One direction of a TCP connection as a pcap file of raw IPv4.
#[derive(Default)]
struct Stream {
    packets: Vec<u8>,
    sent: u32,
}

impl Stream {
    fn add(&mut self, payload: &[u8]) {
        let length = u16::try_from(40 + payload.len()).expect("one packet");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend([0xC0, 0, 0x0F, 0x1C]);
        packet.extend((1 + self.sent).to_be_bytes());
        packet.extend([0, 0, 0, 1, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]);
        packet.extend(payload);
        // A microsecond for each octet.
        let (secs, micros) = (1_700_000_000 + self.sent / 1_000_000, self.sent % 1_000_000);
        self.packets.extend([secs, micros, length.into(), length.into()].map(u32::to_le_bytes).concat());
        self.packets.extend(packet);
        self.sent += u32::try_from(payload.len()).expect("one packet");
    }

    fn pcap(&self) -> Vec<u8> {
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
        [header.map(u32::to_le_bytes).concat(), self.packets.clone()].concat()
    }
}

/// An Accounting-Request as `acct_sink.c` wrote it down.
#[derive(Clone, Debug)]
pub struct Acr(pub Value);

impl Acr {
    /// Its values of an AVP, groups looked into, in their order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.0["avps"], name, &mut found);
        found
    }

    /// Its first value of an AVP.
    pub fn value(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {:#}", self.0))
    }

    /// Its End-to-End id.
    pub fn end_to_end(&self) -> u64 {
        self.0["e2e"].as_u64().expect("a number")
    }

    /// Whether it has the flag T.
    pub fn has_t(&self) -> bool {
        self.0["flags"].as_str().expect("flags").contains('T')
    }

    /// The key by which a server finds repeats for ever.
    pub fn key(&self) -> (String, String) {
        (self.value("Session-Id"), self.value("Accounting-Record-Number"))
    }
}

fn collect(avps: &Value, name: &str, found: &mut Vec<String>) {
    for avp in avps.as_array().into_iter().flatten() {
        let value = &avp["value"];
        if avp["name"] == name {
            found.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        collect(&avp["avps"], name, found);
    }
}

/// A gateway that accounts by Diameter to a port.
pub fn gateway(dir: &Path, targets: &[String], port: u16, more: &str) -> Gateway {
    let dir = dir.join("gateway");
    fs::create_dir_all(&dir).expect("the folder is ours");
    let [sip] = free_ports();
    let folder = dir.display();
    let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{sip}\"]\nallow = [\"127.0.0.0/8\"]\n\n[[route]]\nto = [{targets}]\ntargets = \"forward\"\n\n\
         [accounting]\non = [\"diameter\"]\nflags = [\"missed\", \"failed\"]\n\n[queue]\npath = \"{folder}/queue\"\n\
         free_min_mib = 0\n\n[sinks.diameter.test]\nconfig = \"{folder}/diameterclient.conf\"\nretry_first_ms = 100\n\
         retry_max_s = 1\n\n[admin]\nsocket = \"{folder}/admin.sock\"\n\n{more}\n"
    );
    fs::write(dir.join("tollgate.toml"), toml).expect("the folder is ours");
    let client = format!(
        "identity gw.test.example\nrealm test.example\nwatchdog 6\nacctserver acct.test.example=127.0.0.1:{port}\n"
    );
    fs::write(dir.join("diameterclient.conf"), client).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("run").arg("--config").arg(dir.join("tollgate.toml")).current_dir(&dir);
    let process = Running::start(&mut command, dir.join("out"));
    let mut gateway = Gateway { process, port: sip, dir };
    gateway.wait_ready();
    gateway
}
