//! The real gateway with accounting servers that others made: Erlang/OTP's diameter and python-diameter.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::diameter::gateway;
use crate::support::{Gateway, Running, free_port, free_ports, peer, peer_file, python, sipp, wait_for};

/// A server and its port.
struct Server {
    process: Running,
    port: u16,
}

impl Server {
    /// Erlang/OTP's, which reads the grammar strictly; `None` when it is not installed.
    fn otp(dir: &Path, port: u16) -> Option<Self> {
        let escript = peer("escript")?;
        let installed = std::fs::read_dir("/usr/lib/erlang/lib").ok()?.filter_map(Result::ok);
        let library = installed.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/diameter-"));
        peer_file(&library.unwrap_or("/usr/lib/erlang/lib/diameter".into()).join("ebin/diameter.app"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/otp_accounting.escript");
        let mut command = Command::new(escript);
        command.arg(script).arg(port.to_string());
        Some(Self::ready(Running::start(&mut command, dir.join("otp.out")), port))
    }

    /// python-diameter's.
    fn python(dir: &Path, port: u16) -> Option<Self> {
        let mut command = python("diameter")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/python_accounting.py");
        command.arg(script).arg(port.to_string());
        Some(Self::ready(Running::start(&mut command, dir.join("python.out")), port))
    }

    fn ready(process: Running, port: u16) -> Self {
        wait_for("the server is ready", || process.printed().contains("ready").then_some(()));
        Self { process, port }
    }

    /// Record type, number and Session-Id of what it took in without an error of its own.
    fn taken(&self) -> BTreeSet<(u32, u32, String)> {
        let printed = self.process.printed();
        let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
        let fields = |line: &str| {
            let words: Vec<&str> = line.strip_prefix("ACR ")?.split(' ').collect();
            let [kind, number, session, "[]"] = words[..] else { panic!("an error of the server: {line}") };
            Some((kind.parse().ok()?, number.parse().ok()?, session.to_owned()))
        };
        whole.lines().filter_map(fields).collect()
    }
}

fn status(gateway: &Gateway) -> (Value, Value) {
    let queue = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
    let status: Value = serde_json::from_str(&gateway.command(&["status", "--json"])).unwrap();
    (queue, status["backends"][0]["servers"][0].clone())
}

fn call(dir: &Path, gateway: &Gateway, count: usize) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

/// Calls whose records have waited for the server, and calls after them: nothing is parked, nothing sent twice.
fn takes_everything(dir: &Path, start: impl Fn(&Path, u16) -> Option<Server>) {
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir, "uas.xml", callee, &[]) else { return };
    let port = free_port();
    if start(dir, port).is_none() {
        return;
    }
    let gateway = gateway(dir, &[format!("sip:127.0.0.1:{callee}")], port, "");
    call(dir, &gateway, 40);
    // The records that waited come all at once when the connection stands.
    let server = start(dir, port).unwrap();
    let settled = |count: usize| {
        wait_for("all records have ended", || {
            let (queue, peer) = status(&gateway);
            assert_eq!(queue["parked"], 0, "{}", gateway.command(&["queue", "parked"]));
            let accepted = peer["counts"]["accepted"].as_u64().unwrap();
            (queue["waiting"] == 0 && accepted == count as u64 && server.taken().len() == count).then_some(peer)
        })
    };
    settled(80);
    call(dir, &gateway, 20);
    let peer = settled(120);
    let counts = &peer["counts"];
    assert_eq!((&counts["timeouts"], &counts["repeats"]), (&0.into(), &0.into()), "{counts}");
    let taken = server.taken();
    for kind in [2, 4] {
        assert_eq!(taken.iter().filter(|(found, ..)| *found == kind).count(), 60, "type {kind}");
    }
    let sessions: BTreeSet<_> = taken.iter().map(|(.., session)| session).collect();
    assert_eq!(sessions.len(), 60);
}

#[test]
fn otp_takes_every_record_as_the_grammar_of_the_acr_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    takes_everything(dir.path(), Server::otp);
}

#[test]
fn python_diameter_takes_every_record() {
    let dir = tempfile::tempdir().unwrap();
    takes_everything(dir.path(), Server::python);
}

#[test]
fn otp_throws_requests_away_after_a_break_and_gets_single_records_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let port = free_port();
    let Some(server) = Server::otp(dir.path(), port) else { return };
    let mut gateway = gateway(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let file = gateway.dir.join("diameterclient.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "request-timeout 2\n").unwrap();
    gateway.start_again();
    call(dir.path(), &gateway, 2);
    wait_for("the records are stored", || (server.taken().len() == 4).then_some(()));
    // No goodbye: its own watchdogs have to be answered three times before it takes requests again.
    gateway.start_again();
    call(dir.path(), &gateway, 10);
    wait_for("the state is shown", || (status(&gateway).1["state"] == "silent").then_some(()));
    let peer = wait_for("all is stored", || {
        let (queue, peer) = status(&gateway);
        assert_eq!(queue["parked"], 0);
        (queue["waiting"] == 0 && server.taken().len() == 24).then_some(peer)
    });
    let repeats = peer["counts"]["repeats"].as_u64().unwrap();
    assert!(repeats < 40, "{repeats} repeats: it was flooded while it threw them away");
    let log = gateway.process.printed();
    assert_eq!(log.matches("it answers its watchdogs, but no request").count(), 1, "{log}");
    assert_eq!(log.matches("it answers requests again").count(), 1, "{log}");
}
