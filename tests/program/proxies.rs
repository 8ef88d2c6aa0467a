//! `etc/proxies`: Debian's Kamailio with the gateway behind it and beside it; the configurations of its README; OpenSIPS' as
//! far as our own reader goes.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_ports, peer_file, sipp, try_wait_for, wait_for};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Kamailio as `tests/run` unpacks it, with the shipped configuration; `None` when it is missing.
fn kamailio(dir: &Path, port: u16, gateway: u16, users: u16) -> Option<Running> {
    let package = root().join("target/peers/kamailio");
    let program = package.join("usr/sbin/kamailio");
    peer_file(&program)?;
    let mut command = Command::new(program);
    let modules: PathBuf = fs::read_dir(package.join("usr/lib"))
        .unwrap()
        .map(|e| e.unwrap().path().join("kamailio/modules"))
        .find(|p| p.is_dir())?;
    command.arg("-f").arg(root().join("etc/proxies/kamailio.cfg")).arg("-L").arg(modules).args(["-DD", "-E"]);
    command.args(["-l", &format!("udp:127.0.0.1:{port}"), "-m", "32", "-M", "4", "-n", "2"]);
    for define in [
        "TOLLGATE_IP=\"127.0.0.1\"".to_owned(),
        format!("TOLLGATE_PORT={gateway}"),
        format!("TOLLGATE=\"sip:127.0.0.1:{gateway}\""),
        format!("USERS=\"sip:127.0.0.1:{users}\""),
    ] {
        command.args(["-A", &define]);
    }
    command.arg("-Y").arg(dir).arg("-P").arg(dir.join("kamailio.pid"));
    let running = Running::start(&mut command, dir.join("kamailio.log"));
    wait_for("Kamailio listens", || running.printed().contains("Listening on").then_some(()));
    Some(running)
}

/// The records, as `kind code from ended-by`.
fn records(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cdrs.json")).unwrap_or_default();
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| value.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        format!("{} {} {}", word("kind"), word("code"), word("callee"))
    };
    text.lines().map(line).collect()
}

/// A gateway with these routes, whose records go to a file.
fn gateway(dir: &Path, port: u16, routes: &str) -> Gateway {
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n{routes}\n[accounting]\non = [\"cdrs\"]\nflags = [\"failed\"]\n\
         [accounting.fields]\ncallee = \"$oU\"\n[queue]\npath = \"queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"admin.sock\"\n\
         [sinks.file.cdrs]\npath = \"cdrs.json\"\nformat = \"json\"\n"
    );
    Gateway::start_on(dir, port, &toml, 9)
}

/// Calls through the proxy, and the records that they make.
fn play(to_callee: impl Fn(u16, u16) -> String) {
    let dir = tempfile::tempdir().unwrap();
    let [proxy, port, callee, caller] = free_ports();
    let gateway = gateway(dir.path(), port, &to_callee(proxy, callee));
    let Some(kamailio) = kamailio(dir.path(), proxy, port, callee) else { return };
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let to = format!("127.0.0.1:{proxy}");
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "5", "-r", "20", "-s", "bob"]).unwrap();
    wait_for("the calls end", || {
        let ended = calls.child.try_wait().unwrap();
        ended.map(|status| assert!(status.success(), "{}\n{}", gateway.log(), kamailio.printed()))
    });
    let found = wait_for("their records", || Some(records(dir.path())).filter(|found| found.len() >= 10));
    for want in ["start 200 bob", "stop 200 bob"] {
        assert_eq!(found.iter().filter(|line| *line == want).count(), 5, "{found:#?}");
    }
    assert_eq!(found.len(), 10, "each call once: {found:#?}");
}

#[test]
fn a_gateway_behind_kamailio_records_what_goes_out() {
    play(|_, callee| format!("[[route]]\nto = \"sip:127.0.0.1:{callee}\""));
}

#[test]
fn a_gateway_beside_kamailio_records_what_comes_back_to_it() {
    play(|proxy, _| format!("[[route]]\nto = \"sip:127.0.0.1:{proxy};lr\""));
}

#[test]
fn without_the_gateway_kamailio_lets_no_call_pass() {
    let dir = tempfile::tempdir().unwrap();
    let [proxy, nobody, callee] = free_ports();
    let Some(kamailio) = kamailio(dir.path(), proxy, nobody, callee) else { return };
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = caller.local_addr().unwrap();
    caller.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let invite = format!(
        "INVITE sip:bob@127.0.0.1:{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1\r\nFrom: <sip:a@example.net>;tag=1\r\n\
         To: <sip:bob@example.net>\r\nCall-ID: refused@example.net\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{own}>\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    // Kamailio names its socket before it is there: a request by UDP is repeated until somebody answers.
    let mut octets = [0; 4096];
    let answer = try_wait_for(|| {
        caller.send_to(invite.as_bytes(), ("127.0.0.1", proxy)).unwrap();
        let mut answers = std::iter::from_fn(|| {
            let length = caller.recv(&mut octets).ok()?;
            Some(String::from_utf8_lossy(&octets[..length]).into_owned())
        });
        answers.find(|answer| !answer.starts_with("SIP/2.0 1"))
    });
    let answer = answer.unwrap_or_else(|| panic!("no final response: {}", kamailio.printed()));
    assert!(answer.starts_with("SIP/2.0 503 No Accounting"), "{answer}");
}

#[test]
fn the_configurations_of_the_drawings_are_good() {
    let text = fs::read_to_string(root().join("etc/proxies/README.md")).unwrap();
    let mut blocks: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        let code = line
            .strip_prefix("      ")
            .filter(|_| is_inside && line.starts_with("      "))
            .or(line.strip_prefix("    "));
        match code.map(str::trim_start) {
            Some("[sip]") => {
                blocks.push("[sip]\n".to_owned());
                is_inside = true;
            }
            Some(code) if is_inside => *blocks.last_mut().unwrap() += &format!("{code}\n"),
            // An empty line belongs to a block.
            None if is_inside && line.is_empty() => {}
            _ => is_inside = false,
        }
    }
    assert_eq!(blocks.len(), 5, "{blocks:#?}");
    for block in blocks {
        let dir = tempfile::tempdir().unwrap();
        let routes = if block.contains("[[route]]") { "" } else { "[[route]]\nto = \"sip:192.0.2.1\"\n" };
        let toml = format!("{block}{routes}[accounting]\non = [\"cdrs\"]\n[sinks.file.cdrs]\npath = \"cdrs.csv\"\n");
        fs::write(dir.path().join("tollgate.toml"), &toml).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = check.arg("check").arg(dir.path().join("tollgate.toml")).finish().unwrap();
        assert!(output.status.success(), "{toml}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_configuration_of_opensips_is_read_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = import
        .arg("import")
        .arg(root().join("etc/proxies/opensips.cfg"))
        .arg("--out")
        .arg(dir.path())
        .finish()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("is read as opensips"), "{told}");
    let script = fs::read_to_string(dir.path().join("route.lua")).unwrap();
    for part in ["192.0.2.10:5060", "192.0.2.20:5060", "failure_route"] {
        assert!(script.contains(part), "{part} is not in {script}");
    }
}
