//! `tollgate reload` and the commands beside a configuration that changes: what is taken over, refused, or waits for a
//! restart, and that a running service can be asked whatever its file has become.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::start::Start as _;
use crate::support::{Agent, Gateway, Wire, free_ports, wait_for};

/// Somebody at a loopback address of his own.
fn agent(host: u8) -> Agent {
    Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)))
}

/// What asks the gateway itself.
fn options(from: &Agent, gateway: &Gateway, id: &str) -> Wire {
    let (here, to) = (from.address, gateway.address());
    let text = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag=a\r\nTo: <sip:{to}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    Wire::read(text.as_bytes())
}

/// Waits until `friend` gets 200, and tells whether `other`, who has asked before, got one.
fn is_served(gateway: &Gateway, friend: &mut Agent, other: &mut Agent, id: &str) -> bool {
    let (asked, meant) = (options(other, gateway, &format!("{id}o")), options(friend, gateway, &format!("{id}f")));
    other.send(&asked.octets(), gateway.address());
    wait_for("the friend's answer", || {
        friend.send(&meant.octets(), gateway.address());
        friend.take().filter(|wire| wire.code() == 200 && wire.value("call-id") == meant.value("call-id"))
    });
    std::iter::from_fn(|| other.take())
        .any(|wire| wire.code() == 200 && wire.value("call-id") == asked.value("call-id"))
}

/// Exit code, standard output and standard error of a command.
fn tollgate(gateway: &Gateway, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(words).arg("--config").arg(gateway.dir.join("tollgate.toml")).finish().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn who_may_call_changes_with_a_reload_and_what_cannot_change_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let [port, other_port] = free_ports();
    let sip = |more: &str| format!("listen = [\"udp:0.0.0.0:{port}\"]\nadvertise = \"127.0.0.1\"\n{more}");
    let alone = sip("allow = [\"127.0.0.1/32\"]");
    let gateway = Gateway::start_with(dir.path(), (port, &alone), &["sip:127.0.0.1:9".to_owned()], 9, "");
    let file = gateway.dir.join("tollgate.toml");
    let original = fs::read_to_string(&file).unwrap();
    let write = |sip: &str| fs::write(&file, original.replace(&alone, sip)).unwrap();
    let (mut first, mut second) = (agent(1), agent(2));
    assert!(!is_served(&gateway, &mut first, &mut second, "a"), "127.0.0.2 is not in `allow` yet");

    write(&sip("allow = [\"127.0.0.2/32\"]"));
    let (code, out, err) = tollgate(&gateway, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(0), "reloaded\n"));
    assert!(err.contains("warning: the secret of `127.0.0.1` is a well-known sample"), "warnings are shown: {err}");
    assert!(!is_served(&gateway, &mut second, &mut first, "b"), "127.0.0.1 is in `allow` no more");

    let listener = format!("\"udp:0.0.0.0:{port}\"");
    write(&sip(&format!("allow = [\"127.0.0.2/32\"]\nallow_on = {{ {listener} = \"127.0.0.1\" }}\nt1_ms = 400")));
    assert_eq!(tollgate(&gateway, &["reload"]).0, Some(0));
    assert!(!is_served(&gateway, &mut first, &mut second, "c"), "the listener has blocks of its own");

    // Another listener before it: that waits, and what is said of the running one still means that one.
    let two = format!("listen = [\"udp:127.0.0.1:{other_port}\", {listener}]\nadvertise = \"127.0.0.1\"\n");
    let two = format!("{two}shards = 7\nallow = [\"127.0.0.1/32\"]\nallow_on = {{ {listener} = \"127.0.0.2\" }}");
    write(&two);
    let (code, out, err) = tollgate(&gateway, &["reload"]);
    let place = |line: u32, column: u32| format!("{}:{line}:{column}", file.display());
    let lines = [("sip.listen", place(2, 10)), ("sip.shards", place(4, 10))];
    let want: String = lines.iter().map(|(option, place)| format!("  `{option}` ({place})\n")).collect();
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert!(err.ends_with(&format!("reloaded, but these need a restart:\n{want}")), "{err}");
    assert!(!is_served(&gateway, &mut second, &mut first, "d"));
    let (code, out, _) = tollgate(&gateway, &["reload", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["restart"][1]["what"]), (Some(3), &"`sip.shards`".into()), "it still waits: {answer}");

    write(&sip("allow = [\"127.0.0.1/33\"]\nshrads = 2"));
    let (code, out, err) = tollgate(&gateway, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for part in [place(4, 10), place(5, 1), "did you mean `shards`?".to_owned(), "the running one stays".to_owned()] {
        assert!(err.contains(&part), "{part} is not in {err}");
    }
    assert!(!is_served(&gateway, &mut second, &mut first, "e"), "what was refused changes nothing");
}

#[test]
fn a_running_service_answers_beside_a_file_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &["sip:127.0.0.1:9".to_owned()], 9, "");
    let file = gateway.dir.join("tollgate.toml");
    let original = fs::read_to_string(&file).unwrap();
    fs::write(&file, original.replace("[sip]", "[sip]\nlisten == 5\nbogus = true\n[more]")).unwrap();
    for words in [&["status"][..], &["calls"], &["queue", "status"], &["queue", "list"]] {
        let (code, _, err) = tollgate(&gateway, words);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
    }
    assert_eq!(tollgate(&gateway, &["reload"]).0, Some(1));

    fs::remove_file(&file).unwrap();
    let socket = gateway.dir.join("admin.sock").display().to_string();
    for words in [&["status"][..], &["calls"], &["queue", "status"]] {
        let (code, _, err) = tollgate(&gateway, &[words, &["--socket", &socket]].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
    }
    let nowhere = gateway.dir.join("nowhere").display().to_string();
    for words in [&["status"][..], &["calls"], &["queue", "status"], &["reload"]] {
        let (code, _, err) = tollgate(&gateway, &[words, &["--socket", &nowhere]].concat());
        assert_eq!(code, Some(1), "{words:?}");
        assert!(err.contains(&format!("nobody answers at {nowhere}")), "{err}");
    }
}

#[test]
fn a_service_that_hangs_is_told_after_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &["sip:127.0.0.1:9".to_owned()], 9, "");
    gateway.process.freeze();
    let began = Instant::now();
    let (code, _, err) = tollgate(&gateway, &["status"]);
    let took = began.elapsed();
    gateway.process.signal(libc::SIGCONT);
    assert_eq!(code, Some(1));
    assert!(err.contains("has not answered over") && err.contains(" since 20"), "{err}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
