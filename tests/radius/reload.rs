//! SIGHUP with the real gateway and real FreeRADIUS: other servers and secrets while records flow, a silent server that
//! is replaced, files that cannot be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::UdpSocket;

use crate::support::{FreeRadius, Gateway, Running, free_ports, sipp, value, wait_for};

/// The files of a gateway as they were at its start.
struct Files<'a> {
    gateway: &'a Gateway,
    toml: String,
    client: String,
}

impl<'a> Files<'a> {
    fn of(gateway: &'a Gateway) -> Self {
        let read = |name| fs::read_to_string(gateway.dir.join(name)).unwrap();
        Self { gateway, toml: read("tollgate.toml"), client: read("radiusclient.conf") }
    }

    /// Writes both, tells the gateway, and gives what it says of it.
    fn reload(&self, toml: &str, client: &str) -> String {
        fs::write(self.gateway.dir.join("tollgate.toml"), toml).unwrap();
        fs::write(self.gateway.dir.join("radiusclient.conf"), client).unwrap();
        let before = self.gateway.process.printed().len();
        self.gateway.process.signal(libc::SIGHUP);
        wait_for("the reload is over", || {
            let said = self.gateway.process.printed().split_off(before);
            let is_over = said.lines().any(|line| line.contains("reloaded") || line.contains("reload refused"));
            is_over.then_some(said)
        })
    }

    /// The client file with another server.
    fn client_of(&self, port: u16, secret: &str) -> String {
        let rest = self.client.lines().skip(1).collect::<Vec<_>>().join("\n");
        format!("acctserver 127.0.0.1:{port}:{secret}\n{rest}\n")
    }
}

/// Record ids at a server with how often each is there.
fn ids(server: &FreeRadius) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for record in server.records() {
        *ids.entry(value(&record, "Tollgate-Record-Id").unwrap().to_owned()).or_default() += 1;
    }
    ids
}

fn calls(gateway: &Gateway, words: &[&str]) -> Option<Running> {
    let [caller] = free_ports();
    let to = gateway.address().to_string();
    sipp(gateway.dir.parent().unwrap(), "uac.xml", caller, &[&[to.as_str()], words].concat())
}

#[test]
fn records_go_to_the_new_server_and_none_is_lost_or_doubled() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(first) = FreeRadius::start(dir.path(), &[]) else { return };
    let second = FreeRadius::start(other.path(), &[("RADTEST_SECRET", "quite-another-one")]).unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], first.port, "");
    let files = Files::of(&gateway);
    let mut caller = calls(&gateway, &["-m", "150", "-r", "30", "-d", "100"]).unwrap();
    first.wait_records(50);
    let client = files.client_of(second.port, "quite-another-one");
    let said = files.reload(&files.toml, &client);
    assert!(said.contains("takes over its new settings") && !said.contains("next start"), "{said}");
    assert!(!said.contains("quite-another-one"), "a secret is never logged: {said}");
    assert!(caller.wait("the caller").success(), "{}", caller.complaints());
    let (mut at_first, mut at_second) = (BTreeMap::new(), BTreeMap::new());
    wait_for("all records are there", || {
        (at_first, at_second) = (ids(&first), ids(&second));
        let all: BTreeSet<_> = at_first.keys().chain(at_second.keys()).collect();
        (all.len() == 300).then_some(())
    });
    assert!(at_second.len() >= 50, "{} records at the new server", at_second.len());
    let twice: Vec<_> = at_first.keys().filter(|id| at_second.contains_key(*id)).collect();
    assert!(twice.is_empty(), "at both servers: {twice:?}");
    let status = gateway.command(&["status", "--json"]);
    let (new, old) = (format!("127.0.0.1:{}", second.port), format!("127.0.0.1:{}", first.port));
    assert!(status.contains(&new) && !status.contains(&old), "{status}");
}

#[test]
fn what_waits_at_a_silent_server_goes_to_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let silent_port = silent.local_addr().unwrap().port();
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], silent_port, "");
    let files = Files::of(&gateway);
    let mut caller = calls(&gateway, &["-m", "5", "-r", "5", "-d", "100"]).unwrap();
    assert!(caller.wait("the caller").success(), "{}", caller.complaints());
    wait_for("a record under way", || silent.recv(&mut [0; 4096]).ok());
    files.reload(&files.toml, &files.client_of(server.port, "testing123"));
    wait_for("all records at the new server", || (ids(&server).len() == 10).then_some(()));
    let statuses = server.records();
    let stops = statuses.iter().filter(|record| value(record, "Acct-Status-Type") == Some("Stop")).count();
    assert_eq!(stops, 5);
    assert!(ids(&server).values().all(|times| *times == 1), "{:?}", ids(&server));
}

#[test]
fn what_cannot_be_used_is_refused_and_what_cannot_change_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let files = Files::of(&gateway);
    let dictionary = gateway.dir.join("dictionary");
    fs::write(&dictionary, "ATTRIBUTE Broken ten string\n").unwrap();
    let nowhere = files.toml.replace(&format!("sip:127.0.0.1:{callee}"), "sip:127.0.0.1:9");
    let mut records = 0;
    for (name, toml, client, want) in [
        (
            "the client file has a mistake",
            nowhere.clone(),
            files.client_of(9, "testing123").replace("radius_timeout 1", "radius_timeout ten"),
            vec!["reload refused", "radiusclient.conf:2"],
        ),
        (
            "a dictionary has a mistake",
            nowhere.clone(),
            format!("{}dictionary {}\n", files.client_of(9, "testing123"), dictionary.display()),
            vec!["reload refused", "dictionary:1"],
        ),
        (
            "a sink is added: it and the routes wait",
            format!("{nowhere}\n[sinks.radius.more]\nconfig = \"radiusclient.conf\"\n"),
            files.client.clone(),
            vec!["next start", "`sinks.radius.more`", "the routes", "reloaded"],
        ),
        (
            "a sink is renamed: it and the routes wait",
            nowhere.replace("sinks.radius.test", "sinks.radius.renamed"),
            files.client.clone(),
            vec!["next start", "`sinks.radius.renamed`", "`sinks.radius.test`", "the routes", "reloaded"],
        ),
        (
            "the queue has another limit",
            files.toml.replace("free_min_mib = 0", "free_min_mib = 1"),
            files.client.clone(),
            vec!["next start", "`queue.free_min_mib`", "tollgate.toml:15:16", "reloaded"],
        ),
        ("nothing differs", files.toml.clone(), files.client.clone(), vec!["reloaded"]),
    ] {
        let said = files.reload(&toml, &client);
        for word in &want {
            assert!(said.contains(word), "{name}: {word} in {said}");
        }
        let changes = said.contains("next start") || said.contains("takes over");
        assert_eq!(changes, want.contains(&"next start"), "{name}: {said}");
        let mut caller = calls(&gateway, &["-m", "1", "-d", "50"]).unwrap();
        assert!(caller.wait("the caller").success(), "{name}: {}", caller.complaints());
        records += 2;
        server.wait_records(records);
    }
}

#[test]
fn a_name_without_an_address_stops_neither_the_start_nor_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = Gateway::start(dir.path(), &[format!("sip:127.0.0.1:{callee}")], server.port, "");
    let files = Files::of(&gateway);
    let client = files.client_of(server.port, "testing123").replace("acctserver ", "acctserver no.invalid::a-secret,");
    let said = files.reload(&files.toml, &client);
    assert!(said.contains("the host `no.invalid` does not resolve") && said.contains("takes over"), "{said}");
    gateway.start_again();
    let mut caller = calls(&gateway, &["-m", "1", "-d", "50"]).unwrap();
    assert!(caller.wait("the caller").success(), "{}", caller.complaints());
    server.wait_records(2);
    wait_for("the server without an address is shown", || {
        gateway.command(&["status"]).contains("no.invalid:1813 (not resolved)").then_some(())
    });
    let findings: serde_json::Value = serde_json::from_str(&gateway.command(&["check", "--json"])).unwrap();
    let names_it = |finding: &serde_json::Value| {
        let what = finding["what"].as_str().unwrap_or_default();
        finding["weight"] == "warning" && what.contains("the host `no.invalid` does not resolve")
    };
    assert!(findings.as_array().unwrap().iter().any(names_it), "{findings}");
}
