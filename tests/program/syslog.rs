//! Lines of syslog with the real binary and real receivers: rsyslog over every way there is, RELP among them, and Python.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_ports, peer, peer_file, sipp, wait_for};

/// A real rsyslog with a local socket, UDP, TCP, TLS and RELP, which writes what it understood: facility and level, identity,
/// structured data, text.
pub(super) struct Rsyslog {
    process: Running,
    pub(super) dir: PathBuf,
    udp: u16,
    tcp: u16,
    tls: u16,
    relp: u16,
}

impl Rsyslog {
    pub(super) fn start(dir: &Path) -> Option<Self> {
        peer("rsyslogd")?;
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
        for module in ["rsyslog/lmnsd_ossl.so", "rsyslog/imrelp.so"] {
            let files = folders.map(|folder| Path::new(folder).join(module));
            peer_file(files.iter().find(|file| file.is_file()).unwrap_or(&files[0]))?;
        }
        let dir = dir.join("rsyslog");
        fs::create_dir_all(&dir).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
        assert!(Command::new(script).arg(dir.join("tls")).finish().unwrap().status.success());
        let [udp, tcp, tls, relp] = free_ports();
        let folder = dir.display();
        let configuration = format!(
            "global(workDirectory=\"{folder}\" maxMessageSize=\"8k\" defaultNetstreamDriverCAFile=\"{folder}/tls/ca.pem\"\n\
             defaultNetstreamDriverCertFile=\"{folder}/tls/server.pem\" defaultNetstreamDriverKeyFile=\"{folder}/tls/server.key\")\n\
             template(name=\"seen\" type=\"string\" string=\"%syslogpriority-text%|%syslogfacility-text%|%programname%|%structured-data%|%msg%\\n\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{folder}/seen\" template=\"seen\" asyncWriting=\"off\") }}\n\
             module(load=\"imuxsock\" sysSock.use=\"off\")\n\
             input(type=\"imuxsock\" socket=\"{folder}/log\" rateLimit.interval=\"0\" ruleset=\"all\")\n\
             module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\" ruleset=\"all\")\n\
             module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\" ruleset=\"all\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tls}\" ruleset=\"all\" streamDriver.name=\"ossl\"\n\
             streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
             module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{relp}\" maxDataSize=\"10k\" ruleset=\"all\")\n"
        );
        fs::write(dir.join("rsyslog.conf"), configuration).unwrap();
        let process = Self::spawn(&dir);
        let rsyslog = Self { process, dir, udp, tcp, tls, relp };
        rsyslog.wait_ready();
        Some(rsyslog)
    }

    fn spawn(dir: &Path) -> Running {
        let mut command = Command::new(peer("rsyslogd").unwrap());
        command.args(["-n", "-C", "-f"]).arg(dir.join("rsyslog.conf")).arg("-i").arg(dir.join("pid"));
        Running::start(&mut command, dir.join("out"))
    }

    fn wait_ready(&self) {
        let ports = [self.tcp, self.tls, self.relp];
        wait_for("rsyslog is ready", || {
            let connects = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
            (self.dir.join("log").exists() && ports.iter().all(connects)).then_some(())
        });
    }

    fn start_again(&mut self) {
        self.process.kill();
        let _old = fs::remove_file(self.dir.join("log"));
        self.process = Self::spawn(&self.dir);
        self.wait_ready();
    }

    /// What it wrote, without words of its own.
    pub(super) fn seen(&self) -> Vec<String> {
        let text = fs::read(self.dir.join("seen")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().filter(|line| line.contains("method=")).map(str::to_owned).collect()
    }
}

fn configuration(dir: &Path, port: u16, callee: u16, sink: &str) -> String {
    let folder = dir.display();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\n\
         [[route]]\nto = [\"sip:127.0.0.1:{callee}\"]\n\n[accounting]\non = [\"syslog\"]\nfields = {{ ua = \"$ua\" }}\n\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\n[admin]\nsocket = \"{folder}/admin.sock\"\n\n\
         [sinks.syslog.acc]\nrecords = \"transactions\"\n{sink}\n"
    )
}

fn gateway(dir: &Path, callee: u16, sink: &str) -> Gateway {
    let ([port], dir) = (free_ports(), dir.join("gateway"));
    fs::create_dir_all(&dir).unwrap();
    Gateway::start_on(&dir, port, &configuration(&dir, port, callee, sink), 9)
}

/// The same with another sink from here on.
fn reload(gateway: &Gateway, callee: u16, sink: &str) {
    let text = configuration(&gateway.dir, gateway.port, callee, sink);
    fs::write(gateway.dir.join("tollgate.toml"), text).unwrap();
    assert_eq!(gateway.command(&["reload"]), "reloaded\n");
}

fn calls(dir: &Path, gateway: &Gateway, count: u32) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

#[test]
fn rsyslog_reads_the_lines_of_kamailio_over_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let Some(rsyslog) = Rsyslog::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let (socket, ca) = (rsyslog.dir.join("log"), rsyslog.dir.join("tls/ca.pem"));
    let ways = [
        (format!("to = \"{}\"", socket.display()), "handed over", "-"),
        (format!("to = \"udp:127.0.0.1:{}\"", rsyslog.udp), "handed over", "[tollgate@32473 id="),
        (format!("to = \"udp:127.0.0.1:{}\"\nformat = \"rfc3164\"", rsyslog.udp), "handed over", "-"),
        (format!("to = \"tcp:localhost:{}\"", rsyslog.tcp), "written", "[tollgate@32473 id="),
        (
            format!("to = \"tls:localhost:{}\"\nca = \"{}\"", rsyslog.tls, ca.display()),
            "written",
            "[tollgate@32473 id=",
        ),
        (format!("to = \"relp:localhost:{}\"", rsyslog.relp), "in the receiver's memory", "[tollgate@32473 id="),
    ];
    let more = "profile = \"kamailio\"\nfacility = \"LOG_LOCAL0\"\nlevel = \"L_INFO\"";
    let gateway = gateway(dir.path(), callee, &format!("{}\n{more}", ways[0].0));
    for (number, (way, worth, data)) in ways.iter().enumerate() {
        if number > 0 {
            reload(&gateway, callee, &format!("{way}\n{more}"));
        }
        calls(dir.path(), &gateway, 1);
        let count = 2 * (number + 1);
        let seen = wait_for(&format!("{count} lines in rsyslog by {way}"), || {
            let seen = rsyslog.seen();
            (seen.len() >= count).then_some(seen)
        });
        for (line, method) in seen[count - 2..].iter().zip(["INVITE", "BYE"]) {
            let begin = format!("info|local0|kamailio|{data}");
            assert!(line.starts_with(&begin), "{way}: {line}");
            let text = "INFO: acc [acc.c:287]: acc_log_request(): ACC: transaction answered: timestamp=";
            assert!(line.contains(text) && line.contains(&format!(";method={method};from_tag=")), "{way}: {line}");
            assert!(line.ends_with(";code=200;reason=OK;ua=bench-uac/1.0"), "{way}: {line}");
        }
        let status = gateway.command(&["status"]);
        assert!(status.contains(worth), "{way}: {status}");
    }
    let sent = gateway.command(&["send", "--sink", "acc"]);
    assert!(sent.contains("verdict    acknowledged") && sent.contains("in the receiver's memory"), "{sent}");
    wait_for("the test record", || (rsyslog.seen().len() == 13).then_some(()));
    let wrong = format!("to = \"tls:127.0.0.2:{}\"\nca = \"{}\"", rsyslog.tls, ca.display());
    fs::write(gateway.dir.join("tollgate.toml"), configuration(&gateway.dir, gateway.port, callee, &wrong)).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["send", "--sink", "acc", "--config"])
        .arg(gateway.dir.join("tollgate.toml"))
        .finish()
        .unwrap();
    assert!(!refused.status.success(), "nobody listens there, and its certificate has another name");
}

#[test]
fn a_log_that_stops_or_restarts_delays_lines_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut rsyslog) = Rsyslog::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let sink = format!("to = \"{}\"\nrecord_id_label = \"id\"", rsyslog.dir.join("log").display());
    let gateway = gateway(dir.path(), callee, &sink);
    calls(dir.path(), &gateway, 2);
    wait_for("four lines", || (rsyslog.seen().len() == 4).then_some(()));
    // No call notices a log that stands, though its socket is soon full.
    rsyslog.process.freeze();
    calls(dir.path(), &gateway, 150);
    wait_for("it is told", || gateway.command(&["status"]).contains("it has taken nothing for 5 s").then_some(()));
    rsyslog.process.signal(libc::SIGCONT);
    let ids = |rsyslog: &Rsyslog| -> HashSet<String> {
        let id = |line: &String| line.rsplit(";id=").next().map(str::to_owned);
        rsyslog.seen().iter().filter_map(id).collect()
    };
    wait_for("all lines after it goes on", || (ids(&rsyslog).len() == 304).then_some(()));
    assert_eq!(rsyslog.seen().len(), 304, "each once");
    // The old socket never heals: a new one is made.
    rsyslog.start_again();
    calls(dir.path(), &gateway, 3);
    wait_for("lines after the restart", || (ids(&rsyslog).len() == 310).then_some(()));
}

#[test]
fn a_connection_that_breaks_is_made_anew_and_what_was_written_shortly_before_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut rsyslog) = Rsyslog::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let sink = format!("to = \"tcp:127.0.0.1:{}\"", rsyslog.tcp);
    let gateway = gateway(dir.path(), callee, &sink);
    calls(dir.path(), &gateway, 2);
    wait_for("four lines", || (rsyslog.seen().len() == 4).then_some(()));
    rsyslog.start_again();
    calls(dir.path(), &gateway, 2);
    let records = |seen: &[String]| -> HashSet<String> {
        seen.iter().filter_map(|line| line.split("record_id=").nth(1)).map(|rest| rest[..26].to_owned()).collect()
    };
    wait_for("eight records", || (records(&rsyslog.seen()).len() == 8).then_some(()));
    // While nobody listens all wait, and none is lost.
    rsyslog.process.kill();
    calls(dir.path(), &gateway, 2);
    wait_for("it is told", || gateway.command(&["status"]).contains("Connection refused").then_some(()));
    let _old = fs::remove_file(rsyslog.dir.join("log"));
    rsyslog.process = Rsyslog::spawn(&rsyslog.dir);
    rsyslog.wait_ready();
    wait_for("twelve records", || (records(&rsyslog.seen()).len() == 12).then_some(()));
}

#[test]
fn what_relp_has_not_acknowledged_goes_again_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut rsyslog) = Rsyslog::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = gateway(dir.path(), callee, &format!("to = \"relp:127.0.0.1:{}\"", rsyslog.relp));
    let ids = |seen: &[String]| -> HashSet<String> {
        seen.iter().filter_map(|line| line.split("record_id=").nth(1)).map(|rest| rest[..26].to_owned()).collect()
    };
    calls(dir.path(), &gateway, 20);
    wait_for("forty lines", || (rsyslog.seen().len() == 40).then_some(()));
    // A receiver that stands acknowledges nothing, and no call notices.
    rsyslog.process.freeze();
    calls(dir.path(), &gateway, 20);
    assert!(!gateway.command(&["queue", "status"]).is_empty());
    rsyslog.process.signal(libc::SIGCONT);
    wait_for("what waited", || (ids(&rsyslog.seen()).len() == 80).then_some(()));
    assert_eq!(rsyslog.seen().len(), 80, "each once");
    // One that was killed, and one that restarts: lines go again under their ids.
    rsyslog.process.kill();
    calls(dir.path(), &gateway, 20);
    wait_for("it is told", || gateway.command(&["status"]).contains("Connection refused").then_some(()));
    let _old = fs::remove_file(rsyslog.dir.join("log"));
    rsyslog.process = Rsyslog::spawn(&rsyslog.dir);
    rsyslog.wait_ready();
    wait_for("all after it is back", || (ids(&rsyslog.seen()).len() == 120).then_some(()));
    assert_eq!(rsyslog.seen().len(), 120, "what was acknowledged has not come again");
}

/// Takes datagrams at the socket of its argument, as journald's does, and prints each entry as a line of JSON.
const JOURNAL: &str = "\
import json, os, socket, struct, sys
path = sys.argv[1]
taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
taken.bind(path)
while True:
    data, entry = taken.recv(1 << 20), {}
    while data:
        line, data = data.split(b'\\n', 1)
        name, mark, value = line.partition(b'=')
        if not mark:
            (length,) = struct.unpack('<Q', data[:8])
            value, data = data[8:8 + length], data[8 + length + 1:]
        entry[name.decode()] = value.decode('utf-8', 'backslashreplace')
    print(json.dumps(entry), flush=True)
";

/// Takes frames by octet counting over TCP at the port of its argument, with socketserver, and prints each frame.
const SERVER: &str = "\
import socketserver, sys
class Frames(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            count = b''
            while not count.endswith(b' '):
                octet = self.rfile.read(1)
                if not octet:
                    return
                count += octet
            assert count[:-1].isdigit() and count[:1] != b'0', count
            print(self.rfile.read(int(count)).decode(), flush=True)
socketserver.ThreadingTCPServer(('127.0.0.1', int(sys.argv[1])), Frames).serve_forever()
";

#[test]
fn python_reads_frames_and_a_local_socket() {
    let dir = tempfile::tempdir().unwrap();
    let Some(python) = peer("python3") else { return };
    let [callee, port] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let run = |text: &str, argument: &str, name: &str| {
        let mut command = Command::new(&python);
        command.arg("-c").arg(text).arg(argument);
        Running::start(&mut command, dir.path().join(name))
    };
    let server = run(SERVER, &port.to_string(), "frames");
    let gateway = gateway(dir.path(), callee, &format!("to = \"tcp:127.0.0.1:{port}\"\nhost = \"gw1\""));
    calls(dir.path(), &gateway, 20);
    let frames = wait_for("forty frames", || {
        let text = server.printed();
        (text.lines().count() >= 40).then_some(text)
    });
    for line in frames.lines() {
        assert!(line.starts_with("<29>1 ") && line.contains(" gw1 tollgate ") && line.contains("record_id="), "{line}");
    }
    let socket = dir.path().join("journal");
    let journal = run(JOURNAL, socket.to_str().unwrap(), "entries");
    wait_for("the socket", || socket.exists().then_some(()));
    reload(&gateway, callee, &format!("to = \"journald:{}\"\nprofile = \"openser\"", socket.display()));
    calls(dir.path(), &gateway, 1);
    let entries = wait_for("two entries", || {
        let text = journal.printed();
        assert!(!text.contains("Traceback"), "{text}");
        (text.lines().count() == 2).then_some(text)
    });
    for (line, method) in entries.lines().zip(["INVITE", "BYE"]) {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = entry["MESSAGE"].as_str().unwrap();
        assert!(text.starts_with("ACC: transaction answered: timestamp="), "{line}");
        assert_eq!(entry["TOLLGATE_RECORD_ID"].as_str().map(str::len), Some(26), "{line}");
        assert!(text.contains(&format!("call_id={};", entry["SIP_CALL_ID"].as_str().unwrap())), "{line}");
        let rest = ["SIP_METHOD", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "F_UA"].map(|name| &entry[name]);
        assert_eq!(rest, [method, "5", "3", "openser", "bench-uac/1.0"], "{line}");
    }
}

/// A real journald under a namespace of its own, which needs root.
struct Journald {
    process: Running,
    name: String,
}

impl Journald {
    fn start(dir: &Path) -> Option<Self> {
        let program = Path::new("/lib/systemd/systemd-journald");
        peer("journalctl").and_then(|_| peer_file(program))?;
        peer_file(Path::new("/etc/machine-id"))?;
        // SAFETY: it only tells who this process is.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: journald under a namespace needs root");
            return None;
        }
        let name = format!("tollgate-{}", std::process::id());
        let process = Running::start(Command::new(program).arg(&name), dir.join("journald"));
        let journald = Self { process, name };
        wait_for("journald is ready", || journald.socket().exists().then_some(()));
        Some(journald)
    }

    fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/run/systemd/journal.{}/socket", self.name))
    }

    /// The entries of accounting, as journalctl gives them.
    fn entries(&self) -> Vec<serde_json::Value> {
        let mut command = Command::new("journalctl");
        command.arg(format!("--namespace={}", self.name)).args(["-o", "json", "--no-pager", "SYSLOG_IDENTIFIER=acc"]);
        let text = String::from_utf8(command.finish().unwrap().stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        self.process.kill();
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let files =
            ["/var/log/journal", "/run/log/journal"].map(|root| format!("{root}/{}.{}", machine.trim(), self.name));
        for folder in files.into_iter().chain([format!("/run/systemd/journal.{}", self.name)]) {
            let _best_effort = fs::remove_dir_all(folder);
        }
    }
}

#[test]
fn a_real_journald_has_every_value_as_a_field() {
    let dir = tempfile::tempdir().unwrap();
    let Some(journald) = Journald::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let sink = format!("to = \"journald:{}\"\nidentity = \"acc\"\nlevel = \"L_INFO\"", journald.socket().display());
    let gateway = gateway(dir.path(), callee, &sink);
    calls(dir.path(), &gateway, 2);
    let entries = wait_for("four entries", || Some(journald.entries()).filter(|entries| entries.len() == 4));
    for entry in &entries {
        let id = entry["TOLLGATE_RECORD_ID"].as_str().unwrap();
        assert!(entry["MESSAGE"].as_str().unwrap().starts_with(&format!("record_id={id};kind=st")), "{entry}");
        assert_eq!((&entry["PRIORITY"], &entry["F_UA"]), (&"6".into(), &"bench-uac/1.0".into()), "{entry}");
        assert!(["INVITE", "BYE"].contains(&entry["SIP_METHOD"].as_str().unwrap()), "{entry}");
    }
}

/// A real syslog-ng, unpacked by tests/run beside the rsyslog that is installed.
struct SyslogNg {
    _process: Running,
    dir: PathBuf,
    tcp: u16,
}

impl SyslogNg {
    fn start(dir: &Path) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/syslog-ng");
        peer_file(&root.join("usr/sbin/syslog-ng"))?;
        let dir = dir.join("syslog-ng");
        fs::create_dir_all(&dir).unwrap();
        let ([tcp], folder) = (free_ports(), dir.display());
        let configuration = format!(
            "@version: 3.38\noptions {{ keep-hostname(yes); stats-freq(0); }};\n\
             source all {{ unix-dgram(\"{folder}/log\"); syslog(ip(\"127.0.0.1\") port({tcp}) transport(\"tcp\")); }};\n\
             destination seen {{ file(\"{folder}/seen\"\n\
             template(\"${{LEVEL}}|${{FACILITY}}|${{PROGRAM}}|${{.SDATA.tollgate@32473.id}}|${{MSG}}\\n\")); }};\n\
             log {{ source(all); destination(seen); }};\n"
        );
        fs::write(dir.join("syslog-ng.conf"), configuration).unwrap();
        let libraries =
            fs::read_dir(root.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
        command.env("LD_LIBRARY_PATH", libraries.collect::<Vec<_>>().join(":"));
        command.args(["-F", "--no-caps", "--module-path"]).arg(root.join("usr/lib/syslog-ng/3.38"));
        for (option, file) in [("-f", "syslog-ng.conf"), ("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
            command.arg(option).arg(dir.join(file));
        }
        let process = Running::start(&mut command, dir.join("out"));
        wait_for("syslog-ng is ready", || {
            let connects = std::net::TcpStream::connect(("127.0.0.1", tcp)).is_ok();
            (connects && dir.join("log").exists()).then_some(())
        });
        Some(Self { _process: process, dir, tcp })
    }
}

#[test]
fn syslog_ng_reads_the_lines_and_the_record_id() {
    let dir = tempfile::tempdir().unwrap();
    let Some(syslog_ng) = SyslogNg::start(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let way = format!("to = \"{}\"", syslog_ng.dir.join("log").display());
    let gateway = gateway(dir.path(), callee, &format!("{way}\nprofile = \"opensips\"\nlevel = \"L_INFO\""));
    calls(dir.path(), &gateway, 1);
    let lines = |count: usize| -> Vec<String> {
        wait_for(&format!("{count} lines in syslog-ng"), || {
            let text = fs::read_to_string(syslog_ng.dir.join("seen")).unwrap_or_default();
            (text.lines().count() == count).then(|| text.lines().map(str::to_owned).collect())
        })
    };
    let local = lines(2);
    assert!(local[0].starts_with("info|daemon|opensips||INFO:ACC: transaction answered: timestamp="), "{local:#?}");
    reload(&gateway, callee, &format!("to = \"tcp:127.0.0.1:{}\"\nprofile = \"openser\"", syslog_ng.tcp));
    calls(dir.path(), &gateway, 1);
    for line in &lines(4)[2..] {
        let id =
            line.strip_prefix("notice|daemon|openser|").and_then(|rest| rest.split('|').next()).unwrap_or_default();
        assert_eq!(id.len(), 26, "{line}");
        assert!(line[23 + 26..].starts_with("ACC: transaction answered: timestamp="), "{line}");
    }
}
