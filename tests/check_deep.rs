//! `tollgate check --deep`: what it tries, with a real FreeRADIUS and with what is not there.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use support::{FreeRadius, free_ports};

#[test]
fn everything_a_start_needs_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let [port, nobody] = free_ports();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = dir.path().display().to_string();
    let good = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n\
         [accounting]\non = [\"radius\"]\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\
         [sinks.radius.test]\nconfig = \"client.conf\"\n[admin]\nsocket = \"{folder}/admin.sock\"\n"
    );
    let client = |port: u16| {
        format!("acctserver 127.0.0.1:{port}:testing123\nradius_timeout 1\nradius_retries 1\nnas-ip 127.0.0.1\n")
    };
    let diameter = format!("{good}[sinks.diameter.cdf]\nconfig = \"diameter.conf\"\n")
        .replace("[\"radius\"]", "[\"radius\", \"diameter\"]");
    fs::write(
        dir.path().join("diameter.conf"),
        format!("identity gw.example.org\nrealm example.org\nacctserver 127.0.0.1:{closed}\n"),
    )
    .unwrap();
    let server_ok = format!("ok      sink test 127.0.0.1:{}", server.port);
    for (what, toml, port_of_server, code, parts) in [
        ("all is well", good.clone(), server.port, 0, vec![server_ok.as_str(), "ok      free space", "would start"]),
        (
            "a port in use",
            good.replace(&format!("udp:127.0.0.1:{port}"), &format!("udp:127.0.0.1:{taken_port}")),
            server.port,
            1,
            vec!["failed  udp:127.0.0.1:", "in use", server_ok.as_str()],
        ),
        ("a server that is not there", good.clone(), nobody, 1, vec!["failed  sink test 127.0.0.1:"]),
        (
            "too little space",
            good.replace("free_min_mib = 0", "free_min_mib = 1073741824"),
            server.port,
            1,
            vec!["failed  free space: ", "`queue.free_min_mib` is 1073741824"],
        ),
        (
            "a folder that nobody can make",
            good.replace(&format!("{folder}/queue"), "/proc/queue"),
            server.port,
            1,
            vec!["failed  queue /proc/queue: ", "belongs to the user 0"],
        ),
        (
            "a Diameter peer that is not there",
            diameter,
            server.port,
            1,
            vec!["failed  sink cdf 127.0.0.1:", server_ok.as_str()],
        ),
    ] {
        fs::write(dir.path().join("tollgate.toml"), toml).unwrap();
        fs::write(dir.path().join("client.conf"), client(port_of_server)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output =
            command.args(["check", "--deep", "--config"]).arg(dir.path().join("tollgate.toml")).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{what}: {said}");
        for part in parts {
            assert!(said.contains(part), "{what}: {part} is not in {said}");
        }
        assert_eq!(said.contains("would start"), code == 0, "{what}: {said}");
        assert!(!dir.path().join("queue").exists(), "{what}: it leaves nothing behind");
    }
}
