//! `tollgate replay` on captures that are made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::start::Start as _;
use crate::support::{Capture, Gateway, free_ports, wait_for};

const CALLER: u16 = 5061;
const PROXY: u16 = 5060;
const CALLEE: u16 = 5062;

/// A message of a call, as the caller's side has it or as the callee's.
fn message(start: &str, (call, cseq): (&str, &str), to_tag: &str, is_inner: bool) -> Vec<u8> {
    let branch = cseq.replace(' ', "");
    let inner = format!("Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKp{branch}\r\n");
    let inner = if is_inner { &*inner } else { "" };
    format!(
        "{start}\r\n{inner}Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKa{branch}\r\nFrom: <sip:alice@x>;tag=a\r\n\
         To: <sip:bob@x>{to_tag}\r\nCall-ID: {call}\r\nCSeq: {cseq}\r\nContact: <sip:c@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The datagrams of a call that lasts so long, and the microseconds at which each is seen.
fn call(id: &str, seconds: u32) -> Vec<(u32, u16, u16, Vec<u8>)> {
    let (tag, end) = (";tag=b", seconds * 1_000_000);
    let mut all = Vec::new();
    let mut pair = |at: u32, start: &str, cseq: &str, to: &str| {
        let is_request = !start.starts_with("SIP/2.0");
        let ways = if is_request {
            [(CALLER, PROXY, false), (PROXY, CALLEE, true)]
        } else {
            [(CALLEE, PROXY, true), (PROXY, CALLER, false)]
        };
        for (number, (from, to_port, is_inner)) in (0_u32..).zip(ways) {
            all.push((at + number * 100, from, to_port, message(start, (id, cseq), to, is_inner)));
        }
    };
    pair(0, "INVITE sip:bob@x SIP/2.0", "1 INVITE", "");
    pair(10_000, "SIP/2.0 180 Ringing", "1 INVITE", tag);
    pair(20_000, "SIP/2.0 200 OK", "1 INVITE", tag);
    pair(30_000, "ACK sip:bob@x SIP/2.0", "1 ACK", tag);
    pair(end + 20_000, "BYE sip:bob@x SIP/2.0", "2 BYE", tag);
    pair(end + 30_000, "SIP/2.0 200 OK", "2 BYE", tag);
    all
}

fn capture(dir: &Path, datagrams: &[(u32, u16, u16, Vec<u8>)]) -> PathBuf {
    let file = dir.join("calls.pcap");
    let mut capture = Capture::create(&file);
    datagrams.iter().for_each(|(at, from, to, octets)| capture.add(*at, *from, *to, octets));
    file
}

fn replay(file: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output: Output =
        Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("replay").arg(file).args(words).finish().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const AT_PROXY: [&str; 2] = ["--proxy", "127.0.0.1:5060"];

#[test]
fn the_records_of_a_capture_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(dir.path(), &call("one", 90));
    let want = "2023-11-14T22:13:20.020000Z start   INVITE 200 alice > bob one\n\
                2023-11-14T22:14:50.020000Z stop    BYE 200 alice > bob one 90.000 s bye by caller\n";
    for words in [&AT_PROXY[..], &[]] {
        let (code, out, told) = replay(&file, words);
        assert_eq!((code, out.as_str()), (Some(0), want), "{told}");
        assert!(told.contains("\n2 records of 12 messages in 12 frames\n"), "{told}");
    }
    let (code, out, told) = replay(&file, &[&AT_PROXY[..], &["--json"]].concat());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        lines.iter().map(|own| (own["kind"].as_str(), own["mirror"].as_str(), own["to_tag"].as_str())).collect();
    let (replay_name, tag) = (Some("replay"), Some("b"));
    assert_eq!(
        (code, seen),
        (Some(0), vec![(Some("start"), replay_name, tag), (Some("stop"), replay_name, tag)]),
        "{told}"
    );
    assert_eq!((&lines[1]["duration_s"], &lines[1]["attempt_count"]), (&90.0.into(), &1.into()), "{out}");
}

#[test]
fn what_a_capture_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(dir.path(), &call("one", 90));
    let whole = fs::read(&file).unwrap();
    let cut = dir.path().join("cut.pcap");
    fs::write(&cut, &whole[..whole.len() - 7]).unwrap();
    // The last message is the response as the caller gets it, which is not needed.
    let (code, out, told) = replay(&cut, &AT_PROXY);
    assert_eq!((code, out.lines().count()), (Some(1), 2), "{told}");
    assert!(told.contains("error: the capture is damaged behind frame 11: "), "{told}");
    assert!(told.ends_with("; what stands before it was used\n"), "{told}");

    let half = capture(dir.path(), &call("one", 90)[..8]);
    let (code, out, told) = replay(&half, &AT_PROXY);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{told}");
    assert!(told.contains("\ncalls in progress at the end of the capture: 1\n"), "{told}");

    let (code, out, told) = replay(&file, &["--proxy", "10.0.0.1"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{told}");
    assert!(told.ends_with("error: no message from or to the addresses of --proxy\n"), "{told}");

    fs::write(&cut, "INVITE").unwrap();
    let (code, _, told) = replay(&cut, &[]);
    assert!(code == Some(1) && told.ends_with("cut.pcap: no capture, neither pcap nor pcapng\n"), "{told}");
    let other = capture(dir.path(), &[(1, CALLER, PROXY, b"hello".to_vec())]);
    let (code, _, told) = replay(&other, &[]);
    assert!(code == Some(1) && told.ends_with("error: no SIP in 1 frames\n"), "{told}");
    let (code, _, told) = replay(&other, &["--proxy", "proxy.example"]);
    assert!(code == Some(64) && told.contains("such as 10.0.0.5, 10.0.0.5:5060 or 10.0.0.0/28"), "{told}");
}

#[test]
fn packets_of_hep_in_a_capture_are_unwrapped() {
    let dir = tempfile::tempdir().unwrap();
    let wrapped = |(at, from, to, octets): (u32, u16, u16, Vec<u8>)| {
        let seconds = 1_600_000_000 + at / 1_000_000;
        let mut body = Vec::new();
        for (kind, value) in [
            (1_u16, &[2][..]),
            (2, &[17]),
            (7, &from.to_be_bytes()),
            (8, &to.to_be_bytes()),
            (9, &seconds.to_be_bytes()),
            (10, &(at % 1_000_000).to_be_bytes()),
            (11, &[1]),
            (3, &[127, 0, 0, 1]),
            (4, &[127, 0, 0, 1]),
            (15, &octets),
        ] {
            let length = u16::try_from(value.len() + 6).unwrap();
            body.extend([&[0, 0][..], &kind.to_be_bytes(), &length.to_be_bytes(), value].concat());
        }
        let packet = [b"HEP3", &u16::try_from(body.len() + 6).unwrap().to_be_bytes()[..], &body].concat();
        (at, 40_000, 9_060, packet)
    };
    let file = capture(dir.path(), &call("one", 90).into_iter().map(wrapped).collect::<Vec<_>>());
    let (code, out, told) = replay(&file, &AT_PROXY);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{told}");
    assert!(out.starts_with("2020-09-13T12:26:40.020000Z start "), "the time of the packet: {out}");
}

#[test]
fn in_real_time_a_capture_takes_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(dir.path(), &call("one", 2));
    let begun = Instant::now();
    let (code, out, told) = replay(&file, &[&AT_PROXY[..], &["--real-time"]].concat());
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{told}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn records_are_put_into_the_queue_for_its_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let [port, radius] = free_ports();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\non = [\"cdrs\"]\n\
         [accounting.fields]\ncontact = \"$ct\"\n[queue]\npath = \"queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"admin.sock\"\n\
         [sinks.file.cdrs]\npath = \"cdrs.json\"\nformat = \"json\"\n"
    );
    let mut gateway = Gateway::start_on(dir.path(), port, &toml, radius);
    let config = gateway.dir.join("tollgate.toml");
    let words = [&AT_PROXY[..], &["--deliver", "--config", config.to_str().unwrap()]].concat();
    let records = || fs::read_to_string(gateway.dir.join("cdrs.json")).unwrap_or_default();
    let file = capture(dir.path(), &call("running", 90));
    let (code, out, told) = replay(&file, &words);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{told}");
    assert!(
        out.ends_with(" bye by caller for cdrs\n") && told.ends_with("put into the queue: 2, once for each sink\n"),
        "{out}{told}"
    );
    let found = wait_for("the records", || Some(records()).filter(|found| found.lines().count() == 2));
    let stop: Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
    assert_eq!((&stop["mirror"], &stop["event"]), (&"replay".into(), &"2023-11-14T22:14:50.020000Z".into()), "{stop}");
    assert_eq!(stop["contact"], "<sip:c@127.0.0.1>", "{stop}");

    // And to one that does not run.
    gateway.process.signal(15);
    gateway.process.wait("the end");
    let file = capture(dir.path(), &call("stopped", 90));
    let (code, _, told) = replay(&file, &words);
    assert_eq!(code, Some(0), "{told}");
    gateway.start_again();
    let found = wait_for("the records", || {
        let found = fs::read_to_string(gateway.dir.join("cdrs.json")).unwrap_or_default();
        Some(found).filter(|found| found.lines().count() == 4)
    });
    assert!(found.lines().last().is_some_and(|line| line.contains("\"stopped\"")), "{found}");
}
