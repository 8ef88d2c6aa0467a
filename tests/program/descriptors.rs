//! A gateway that runs out of file descriptors: calls by UDP go on, one line for each listener says so, and all is counted.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::start::Start as _;
use crate::support::{Agent, Gateway, free_ports, peer, wait_for};

/// How long no descriptor is left: some attempts to take a connection, which are a tenth of a second apart.
const SPELL: Duration = Duration::from_millis(1_500);
/// Attempts in that time at least, on a slow machine.
const ATTEMPTS_MIN: f64 = 5.0;

fn options(agent: &mut Agent, gateway: SocketAddr, number: u32) {
    let here = agent.address;
    let text = format!(
        "OPTIONS sip:{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-fd-{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@{here}>;tag={number}\r\nTo: <sip:{gateway}>\r\nCall-ID: fd-{number}\r\nCSeq: {number} OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    agent.send(text.as_bytes(), gateway);
    assert_eq!(agent.wait("the answer").code(), 200);
}

#[test]
fn running_out_of_file_descriptors_is_told_once_and_counted() {
    let Some(prlimit) = peer("prlimit") else { return };
    let dir = tempfile::tempdir().unwrap();
    let [port, http] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
    let admin = format!("listen = \"127.0.0.1:{http}\"");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &["sip:127.0.0.1:9".to_owned()], 9, &admin);
    wait_for("HTTP answers", || Gateway::metric(http, "tollgate_sip_connections"));
    let mut agent = Agent::bind("127.0.0.1:0".parse().unwrap());
    options(&mut agent, gateway.address(), 1);

    let process = gateway.process.child.id();
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let limit = |descriptors: usize| {
        let words = ["--pid".to_owned(), process.to_string(), format!("--nofile={descriptors}:")];
        assert!(Command::new(&prlimit).args(words).finish().unwrap().status.success());
    };
    limit(open + 3);
    let began = Instant::now();
    let connections: Vec<_> = (0..12).map(|_| TcpStream::connect(gateway.address()).unwrap()).collect();
    let told = "connections cannot be accepted";
    wait_for("the line", || gateway.log().contains(told).then_some(()));
    let asking = TcpStream::connect(("127.0.0.1", http)).unwrap();
    wait_for("some attempts", || (began.elapsed() > SPELL).then_some(()));
    options(&mut agent, gateway.address(), 2);

    // Those that go leave descriptors for others, until none is left again: that is the same spell.
    let mut connections = connections;
    for _ in 0..6 {
        connections.pop();
        connections.push(TcpStream::connect(gateway.address()).unwrap());
    }
    drop((connections, asking));
    limit(open + 100);
    let failed = wait_for("HTTP answers", || Gateway::metric(http, "tollgate_sip_accept_failures_total"));
    assert!(failed >= ATTEMPTS_MIN, "{failed}");
    // After some quiet the next connection that is taken ends it.
    let again = "connections are taken again failures=";
    wait_for("connections are taken again", || {
        let _taken = TcpStream::connect(gateway.address()).unwrap();
        gateway.log().contains(again).then_some(())
    });
    let counted = Gateway::metric(http, "tollgate_sip_accept_failures_total").unwrap();
    let log = gateway.log();
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!((lines(told), lines("no HTTP connection can be accepted")), (1, 1), "{log}");
    assert_eq!(lines(&format!("{again}{counted}")), 1, "{counted}: {log}");
    options(&mut agent, gateway.address(), 3);
}
