//! Calls of another proxy: Debian's Kamailio, whose siptrace sends copies of its messages, and packets by hand.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Gateway, Running, free_ports, peer_file, sipp, try_wait_for, wait_for};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A gateway with a mirror; its records go to a file, its metrics to a port.
fn gateway(dir: &Path, mirror: &str) -> (Gateway, u16) {
    let [port, metrics] = free_ports();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[accounting]\non = [\"cdrs\"]\nflags = [\"failed\"]\n\
         [accounting.fields]\ncaller = \"$fU\"\nat = \"$Ri:$Rp\"\n[queue]\npath = \"queue\"\nfree_min_mib = 0\n\
         [admin]\nlisten = \"127.0.0.1:{metrics}\"\nsocket = \"admin.sock\"\n\
         [sinks.file.cdrs]\npath = \"cdrs.json\"\nformat = \"json\"\n[[mirror]]\n{mirror}\n"
    );
    (Gateway::start_on(dir, port, &toml, 9), metrics)
}

fn records(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("cdrs.json")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Kamailio as `tests/run` unpacks it, with the shipped configuration; `None` when it is missing.
fn kamailio(dir: &Path, port: u16, mirror: u16, users: u16) -> Option<Running> {
    let package = root().join("target/peers/kamailio");
    let program = package.join("usr/sbin/kamailio");
    peer_file(&program)?;
    let mut command = Command::new(program);
    let libraries: PathBuf = fs::read_dir(package.join("usr/lib"))
        .unwrap()
        .map(|e| e.unwrap().path().join("kamailio"))
        .find(|p| p.join("modules").is_dir())?;
    command.arg("-f").arg(root().join("etc/proxies/kamailio-mirror.cfg")).args(["-DD", "-E"]);
    command.arg("-L").arg(libraries.join("modules")).env("LD_LIBRARY_PATH", &libraries);
    command.args(["-l", &format!("udp:127.0.0.1:{port}"), "-m", "32", "-M", "4", "-n", "2"]);
    for define in [format!("MIRROR=\"sip:127.0.0.1:{mirror}\""), format!("USERS=\"sip:127.0.0.1:{users}\"")] {
        command.args(["-A", &define]);
    }
    command.arg("-Y").arg(dir).arg("-P").arg(dir.join("kamailio.pid"));
    let running = Running::start(&mut command, dir.join("kamailio.log"));
    wait_for("Kamailio listens", || running.printed().contains("Listening on").then_some(()));
    Some(running)
}

/// What both know of a transaction: method, tags, Call-ID, code.
type Row = [String; 5];

/// What Kamailio's acc has written of transactions.
fn accounted(log: &str) -> BTreeSet<Row> {
    let lines = log
        .lines()
        .filter(|line| line.contains("ACC: transaction answered:") || line.contains("ACC: request acknowledged"));
    let failed =
        log.lines().filter(|line| line.contains("ACC: call missed") || line.contains("ACC: transaction failed"));
    let value = |line: &str, name: &str| {
        let start = line.split(';').find_map(|part| part.rsplit_once(&format!("{name}=")));
        start.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let row = |line: &str| ["method", "from_tag", "to_tag", "call_id", "code"].map(|name| value(line, name));
    lines.chain(failed).map(row).collect()
}

/// The same of our records.
fn recorded(records: &[Value]) -> BTreeSet<Row> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    records.iter().map(|own| ["method", "from_tag", "to_tag", "call_id", "code"].map(|name| text(&own[name]))).collect()
}

/// Calls through Kamailio, and the records of both.
fn play(
    caller: &str,
    callee: &str,
    count: usize,
    per_call: usize,
) -> Option<(Vec<Value>, BTreeSet<Row>, Gateway, u16)> {
    let dir = tempfile::tempdir().unwrap();
    let [proxy, mirror, users, local] = free_ports();
    let own = format!("name = \"kamailio\"\nlisten = \"udp:127.0.0.1:{mirror}\"\nproxy = \"127.0.0.1:{proxy}\"");
    let (gateway, metrics) = gateway(dir.path(), &own);
    let kamailio = kamailio(dir.path(), proxy, mirror, users)?;
    let _callee = sipp(dir.path(), callee, users, &[])?;
    let (to, number) = (format!("127.0.0.1:{proxy}"), count.to_string());
    let mut calls =
        sipp(dir.path(), caller, local, &[&to, "-m", &number, "-r", "20", "-d", "300", "-s", "bob"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}\n{}\n{}", calls.complaints(), gateway.log(), kamailio.printed());
    let found = try_wait_for(|| Some(records(dir.path())).filter(|found| found.len() >= count * per_call));
    let found =
        found.unwrap_or_else(|| panic!("{:#?}\n{}\n{}", records(dir.path()), gateway.log(), kamailio.printed()));
    assert_eq!(found.len(), count * per_call, "each once: {found:#?}");
    for record in &found {
        assert_eq!((&record["mirror"], &record["caller"]), (&"kamailio".into(), &"alice".into()), "{record}");
        assert_eq!(record["at"], format!("127.0.0.1:{proxy}").as_str(), "{record}");
    }
    let by_kamailio = try_wait_for(|| Some(accounted(&kamailio.printed())).filter(|own| own.len() >= count * per_call));
    let by_kamailio = by_kamailio.unwrap_or_else(|| panic!("{}", kamailio.printed()));
    Some((found, by_kamailio, gateway, metrics))
}

#[test]
fn calls_that_pass_kamailio_alone_have_the_records_of_its_own_accounting() {
    let Some((found, by_kamailio, gateway, metrics)) = play("uac.xml", "uas.xml", 10, 2) else { return };
    assert_eq!(recorded(&found), by_kamailio);
    let stops = found.iter().filter(|own| own["kind"] == "stop");
    for stop in stops {
        let seconds = stop["duration_s"].as_f64().unwrap();
        assert!((0.25..5.0).contains(&seconds), "{stop}");
        assert_eq!((&stop["ended_by"], &stop["cause"]), (&"caller".into(), &"bye".into()), "{stop}");
    }
    let metric = |name: &str| Gateway::metric(metrics, name);
    assert_eq!(metric("tollgate_mirror_calls{mirror=\"kamailio\"}"), Some(0.0), "{}", gateway.log());
    for what in ["elsewhere", "malformed", "stray", "full", "unanswered", "unknown"] {
        let name = format!("tollgate_mirror_messages_total{{mirror=\"kamailio\",what=\"{what}\"}}");
        assert_eq!(metric(&name), Some(0.0), "{what}");
    }
    assert!(metric("tollgate_mirror_messages_total{mirror=\"kamailio\",what=\"sent\"}") >= Some(60.0));
}

#[test]
fn calls_that_kamailio_passes_on_in_vain_are_failed_calls() {
    let Some((found, by_kamailio, ..)) = play("uac_busy.xml", "uas_busy.xml", 5, 1) else { return };
    assert_eq!(recorded(&found), by_kamailio);
    assert!(found.iter().all(|own| own["kind"] == "failed" && own["cause"] == "busy"), "{found:#?}");
    assert!(
        found.iter().all(|own| own["target"].as_str().is_some_and(|uri| uri.starts_with("sip:bob@"))),
        "{found:#?}"
    );
}

/// Packets by hand: the messages of a call between 192.0.2.1, the proxy at 192.0.2.5 and 192.0.2.9.
struct Copies<'c> {
    call: &'c str,
    key: &'c str,
    /// Seconds since 1970 of the first message.
    begin: u64,
}

impl Copies<'_> {
    fn packet(&self, after: u64, is_request: bool, start: &str, cseq: &str) -> Vec<u8> {
        let tag = if cseq == "1 INVITE" && is_request { "" } else { ";tag=b" };
        let branch = cseq.replace(' ', "");
        let message = format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\nFrom: <sip:alice@x>;tag=a\r\nTo: <sip:bob@x>{tag}\r\n\
             Call-ID: {}\r\nCSeq: {cseq}\r\nContact: <sip:c@192.0.2.1>\r\nContent-Length: 0\r\n\r\n",
            self.call
        );
        let ends = if is_request { [1, 5] } else { [5, 1] }.map(|own| [192, 0, 2, own]);
        let seconds = u32::try_from(self.begin + after).unwrap().to_be_bytes();
        let mut body = Vec::new();
        for (kind, value) in [
            (1_u16, &[2][..]),
            (2, &[17]),
            (7, &5060_u16.to_be_bytes()),
            (8, &5060_u16.to_be_bytes()),
            (9, &seconds),
            (10, &[0; 4]),
            (11, &[1]),
            (14, self.key.as_bytes()),
            (3, &ends[0]),
            (4, &ends[1]),
            (15, message.as_bytes()),
        ] {
            let length = u16::try_from(value.len() + 6).unwrap();
            body.extend([&[0, 0][..], &kind.to_be_bytes(), &length.to_be_bytes(), value].concat());
        }
        [b"HEP3", &u16::try_from(body.len() + 6).unwrap().to_be_bytes()[..], &body].concat()
    }

    fn begin(&self) -> Vec<Vec<u8>> {
        vec![
            self.packet(0, true, "INVITE sip:bob@x SIP/2.0", "1 INVITE"),
            self.packet(1, false, "SIP/2.0 200 OK", "1 INVITE"),
            self.packet(1, true, "ACK sip:bob@x SIP/2.0", "1 ACK"),
        ]
    }

    fn end(&self) -> Vec<Vec<u8>> {
        vec![self.packet(61, true, "BYE sip:bob@x SIP/2.0", "2 BYE"), self.packet(61, false, "SIP/2.0 200 OK", "2 BYE")]
    }
}

/// `kind call-id seconds`
fn shown(records: &[Value]) -> Vec<String> {
    let line = |own: &Value| {
        let seconds = own["duration_s"].as_f64().map_or_else(String::new, |seconds| format!(" {seconds}"));
        format!("{} {}{seconds}", own["kind"].as_str().unwrap(), own["call_id"].as_str().unwrap())
    };
    records.iter().map(line).collect()
}

#[test]
fn a_call_of_another_year_is_recorded_over_a_restart_and_nobody_without_the_key_makes_one() {
    let dir = tempfile::tempdir().unwrap();
    let [listen] = free_ports();
    fs::write(dir.path().join("hep.key"), "secret\n").unwrap();
    let own = format!(
        "listen = \"udp:127.0.0.1:{listen}\"\nproxy = [\"192.0.2.5\"]\nkey_file = \"hep.key\"\nreorder_ms = 50"
    );
    let (mut gateway, metrics) = gateway(dir.path(), &own);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |packets: Vec<Vec<u8>>| {
        packets
            .iter()
            .for_each(|packet| assert_eq!(socket.send_to(packet, ("127.0.0.1", listen)).unwrap(), packet.len()));
    };
    let call = Copies { call: "old", key: "secret", begin: 1_600_000_000 };
    send(Copies { call: "forged", key: "guess", ..call }.begin());
    send(vec![b"OPTIONS sip:x SIP/2.0\r\n\r\n".to_vec()]);
    send(call.begin());
    wait_for("the start", || (shown(&records(dir.path())) == ["start old"]).then_some(()));
    let outcome = |outcome: &str| {
        Gateway::metric(metrics, &format!("tollgate_mirror_packets_total{{mirror=\"mirror\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(["taken", "key", "bad"].map(outcome), [Some(3.0), Some(3.0), Some(1.0)], "{}", gateway.log());
    assert!(gateway.log().contains("packets of HEP without the key are passed over"), "{}", gateway.log());

    gateway.process.signal(15);
    gateway.process.wait("the end");
    gateway.start_again();
    send(call.end());
    wait_for("the stop", || (shown(&records(dir.path())) == ["start old", "stop old 60"]).then_some(()));
    let stop = &records(dir.path())[1];
    assert_eq!((&stop["event"], &stop["mirror"]), (&"2020-09-13T12:27:41.000000Z".into(), &"mirror".into()), "{stop}");
}

#[test]
fn a_connection_with_what_is_no_packet_is_closed_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let [listen] = free_ports();
    let own = format!("listen = \"tcp:127.0.0.1:{listen}\"\nproxy = [\"192.0.2.5\"]\nreorder_ms = 50");
    let (gateway, metrics) = gateway(dir.path(), &own);
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 70;
    let call = Copies { call: "now", key: "", begin };
    let mut good = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    // The packets in pieces that end anywhere.
    for piece in call.begin().concat().chunks(7) {
        good.write_all(piece).unwrap();
    }
    wait_for("the start", || (shown(&records(dir.path())) == ["start now"]).then_some(()));
    let mut bad = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(bad.read(&mut [0; 16]), Ok(0) | Err(_)), "it is closed");
    good.write_all(&call.end().concat()).unwrap();
    wait_for("the stop", || (shown(&records(dir.path())) == ["start now", "stop now 60"]).then_some(()));
    let lost =
        wait_for("the metric", || Gateway::metric(metrics, "tollgate_mirror_streams_lost_total{mirror=\"mirror\"}"));
    assert!(lost >= 1.0 && gateway.log().contains("what follows is no packet of HEP"), "{}", gateway.log());
}

#[test]
fn a_packet_of_a_time_to_come_makes_no_call_late() {
    let dir = tempfile::tempdir().unwrap();
    let [listen] = free_ports();
    let own = format!("listen = \"udp:127.0.0.1:{listen}\"\nproxy = [\"192.0.2.5\"]\nreorder_ms = 50");
    let (gateway, _) = gateway(dir.path(), &own);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |packets: Vec<Vec<u8>>| {
        for packet in packets {
            socket.send_to(&packet, ("127.0.0.1", listen)).unwrap();
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Of a machine whose clock is five minutes fast: only the first packet of a call is heard from there.
    send(Copies { call: "fast", key: "", begin: now + 300 }.begin().into_iter().take(1).collect());
    let call = Copies { call: "now", key: "", begin: now - 62 };
    send(call.begin());
    send(call.end());
    wait_for("its records", || (shown(&records(dir.path())) == ["start now", "stop now 60"]).then_some(()));
    wait_for("the warning", || gateway.log().contains("packets are of a time to come").then_some(()));

    // What is late because its sender's clock is slow is told, too.
    send(Copies { call: "slow", key: "", begin: now - 900 }.begin());
    wait_for("the warning", || gateway.log().contains("do the clocks of all that send here agree").then_some(()));
}
