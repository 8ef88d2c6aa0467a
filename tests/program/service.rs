//! The service as systemd sees it: ready, watchdog, reload, stop, exit codes, and the unit's exposure.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::start::Start as _;
use crate::support::{Running, free_ports, peer, wait_for};

/// What the service told systemd, line by line.
struct Notices {
    socket: UnixDatagram,
    lines: Vec<String>,
}

impl Notices {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, lines: Vec::new() }
    }

    fn wait(&mut self, wanted: &str) {
        wait_for(&format!("{wanted} in {:?}", self.lines), || {
            let mut buffer = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                self.lines.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
            }
            self.lines.iter().position(|line| line == wanted).map(|at| self.lines.drain(..=at).for_each(drop))
        });
    }
}

fn configuration(dir: &Path, port: u16, target: &str) -> String {
    let folder = dir.display();
    fs::write(
        dir.join("radiusclient.conf"),
        "acctserver 127.0.0.1:9:testing123\nradius_timeout 1\nradius_retries 1\nnas-ip 127.0.0.1\n",
    )
    .unwrap();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = [\"{target}\"]\n\
         [accounting]\non = [\"radius\"]\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\
         [sinks.radius.test]\nconfig = \"{folder}/radiusclient.conf\"\n[admin]\nsocket = \"{folder}/admin.sock\"\n"
    )
}

#[test]
fn systemd_hears_ready_watchdog_reload_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let mut notices = Notices::at(&path);
    let [port] = free_ports();
    let file = dir.path().join("tollgate.toml");
    fs::write(&file, configuration(dir.path(), port, "sip:127.0.0.1:9")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["run", "--config"]).arg(&file).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let mut service = Running::start(&mut command, dir.path().join("out"));
    notices.wait("READY=1");
    notices.wait("WATCHDOG=1");

    // A good file is taken over, a bad one refused; the service goes on either way.
    fs::write(&file, configuration(dir.path(), port, "sip:127.0.0.1:10")).unwrap();
    service.signal(libc::SIGHUP);
    notices.wait("RELOADING=1");
    notices.wait("READY=1");
    fs::write(&file, "[sip]\nlisten = 7\n").unwrap();
    service.signal(libc::SIGHUP);
    notices.wait("RELOADING=1");
    notices.wait("READY=1");
    wait_for("the refusal in the log", || service.printed().contains("reload refused").then_some(()));
    notices.wait("WATCHDOG=1");

    service.signal(libc::SIGTERM);
    notices.wait("STOPPING=1");
    // 30 s for transactions and 30 s for the rest: as `service.stop_timeout_s` is, not as the unit's time is.
    notices.wait("EXTEND_TIMEOUT_USEC=60000000");
    let status = service.wait("the service");
    assert!(status.success(), "{status}: {}", service.printed());
}

/// The units, that of the gateway first.
const UNITS: [&str; 2] = ["tollgate.service", "tollgate-deliver.service"];

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

#[test]
fn the_units_are_hardened() {
    let Some(analyze) = peer("systemd-analyze") else { return };
    for name in UNITS {
        let output = Command::new(&analyze)
            .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
            .arg(unit(name))
            .finish()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "exposure of {name} 2.0 or more:\n{text}");
        assert!(text.contains("Overall exposure level"), "{text}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(analyze) = peer("systemd-analyze") else { return };
    for name in UNITS {
        let unit = fs::read_to_string(unit(name)).unwrap();
        for line in [
            "StartLimitIntervalSec=0",
            "LimitCORE=0",
            "UMask=0077",
            "ConfigurationDirectoryMode=0750",
            "LogRateLimitIntervalSec=0",
            "ReadWritePaths=/run/tollgate -/var/spool/tollgate",
        ] {
            assert!(unit.lines().any(|own| own == line), "{line} of {name}");
        }
        assert!(!unit.contains("man:systemd"), "the documentation is our own");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        // The binary that it names has to be there.
        fs::write(&path, unit.replace("/usr/bin/tollgate", env!("CARGO_BIN_EXE_tollgate"))).unwrap();
        let output = Command::new(&analyze).args(["verify", "--man=no"]).arg(&path).finish().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let own: Vec<_> = said.lines().filter(|line| line.contains("tollgate")).collect();
        assert!(output.status.success() && own.is_empty(), "{said}");
    }
}

#[test]
fn new_files_are_for_their_owner_and_the_journal_gets_priorities() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let file = dir.path().join("tollgate.toml");
    fs::write(&file, configuration(dir.path(), port, "sip:127.0.0.1:9")).unwrap();
    let out = dir.path().join("out");
    let meta = fs::File::create(&out).unwrap().metadata().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["run", "--config"]).arg(&file).env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    let mut service = Running::start(&mut command, out);
    wait_for("it is ready", || service.printed().contains("ready").then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    assert!(status.lines().any(|line| line == "Umask:\t0077"), "{status}");
    fs::write(&file, "[sip]\nlisten = 7\nshrads = 2\n").unwrap();
    service.signal(libc::SIGHUP);
    wait_for("the refusal", || service.printed().contains("did you mean `shards`").then_some(()));
    service.signal(libc::SIGTERM);
    assert!(service.wait("the service").success());
    let printed = service.printed();
    let lines: Vec<_> = printed.lines().filter(|line| !line.is_empty()).collect();
    let log: Vec<_> = lines.iter().filter(|line| line.starts_with('<')).collect();
    assert!(log.iter().any(|line| line.starts_with("<6>tollgate::service::supervisor: ready")), "{printed}");
    let refusal: Vec<_> = log.iter().filter(|line| line.starts_with("<3>")).collect();
    assert!(refusal.iter().any(|line| line.contains("reload refused")), "{printed}");
    assert!(refusal.iter().any(|line| line.contains("tollgate.toml:3:1")), "the mistakes have its priority: {printed}");
    assert!(log.iter().all(|line| !line.contains("T0") || !line.starts_with("<6>20")), "no time of its own: {printed}");
}
