//! Administration as its operator meets it when something is not as usual: a new token, commands that are broken off, sockets
//! that cannot be had, a ledger that cannot be written, a service that stops.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use tollgate::clock;
use tollgate::ids::{CallHash, RecordId, SinkMask};
use tollgate::queue::{self, Queue};
use tollgate::record::{Commit, Entry, Record, codec};

use crate::support::radius::bare_stop;
use crate::support::start::{Start as _, closed_is_closed};
use crate::support::{Agent, Gateway, PATIENCE, Running, Wire, free_ports, wait_for};

/// Puts records for the sink `test` into the queue of a gateway that was not started yet.
fn fill(dir: &Path, records: u128) {
    closed_is_closed();
    let path = dir.join("gateway/queue");
    fs::create_dir_all(dir.join("gateway")).unwrap();
    let settings = queue::Settings { path, free_min: 0, ..queue::Settings::default() };
    let opened = Queue::open(settings, &["test".to_owned()], clock::now, &mut || ()).unwrap();
    let (mut queue, sink) = (opened.queue, opened.sinks[0].1);
    for id in 1..=records {
        let body = codec::encode(&Record { id: RecordId(id), ..bare_stop() });
        let entry = Entry { id: RecordId(id), call: CallHash(7), sinks: SinkMask::NONE.with(sink), body };
        queue.add(Commit { entries: vec![entry], calls: Vec::new() }).unwrap();
    }
    queue.finish(clock::now).unwrap();
    queue.close(clock::now).unwrap();
}

fn start(dir: &Path, more: &str) -> Gateway {
    Gateway::start(dir, &["sip:127.0.0.1:9".to_owned()], 9, more)
}

/// Exit code, standard output and standard error of a command.
fn tollgate(config: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(words).arg("--config").arg(config).finish().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Status and body of an answer by TCP.
fn http(port: u16, head: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (length, json) = (body.len(), "Content-Type: application/json");
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{json}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn a_new_token_counts_with_a_reload_and_the_log_names_who_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let (old, new) = ("the-old-token-of-these-tests", "the-new-token-of-these-tests");
    fs::write(dir.path().join("token"), old).unwrap();
    fill(dir.path(), 10);
    let gateway = start(dir.path(), &format!("listen = \"127.0.0.1:{port}\"\napi = true\ntoken_file = \"../token\"\n"));
    let config = gateway.dir.join("tollgate.toml");
    let asked = |token: &str| http(port, "GET /api/v1/status", token, "").0;
    assert_eq!((asked(old), asked(new)), (200, 401));

    fs::write(dir.path().join("token"), new).unwrap();
    assert_eq!((asked(old), asked(new)), (200, 401), "nothing changes by itself");
    let (code, out, err) = tollgate(&config, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(0), "reloaded\n"), "{err}");
    assert_eq!((asked(old), asked(new)), (401, 200));

    let (code, body) = http(port, "POST /api/v1/records/park", new, "{\"all\": true}");
    assert_eq!((code, body.as_str()), (200, "{\"records\":10}"));
    let parked = |line: &&str| line.contains("records were parked by the operator");
    let line = wait_for("the line of the log", || gateway.log().lines().find(parked).map(str::to_owned));
    assert!(line.contains("by=\"the token from 127.0.0.1:"), "{line}");
    assert!(!gateway.log().contains(old) && !gateway.log().contains(new), "no token is in the log");

    // Where it cannot be read the running one stays.
    fs::remove_file(dir.path().join("token")).unwrap();
    assert_eq!(tollgate(&config, &["reload"]).0, Some(1));
    assert_eq!(asked(new), 200);
}

#[test]
fn an_action_whose_asker_has_gone_stops_at_its_next_batch_and_the_log_says_so() {
    const RECORDS: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), RECORDS.into());
    let gateway = start(dir.path(), "");
    let config = gateway.dir.join("tollgate.toml");
    // It finds the wish and the end of the connection at once.
    gateway.process.freeze();
    let body = "{\"all\": true, \"reason\": \"a test\"}";
    let request = format!(
        "POST /api/v1/records/drop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(gateway.dir.join("admin.sock")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    drop(stream);
    gateway.process.signal(libc::SIGCONT);
    let cut = |line: &&str| line.contains("whoever asked for that has gone before it was done");
    let line = wait_for("the line of the log", || gateway.log().lines().find(cut).map(str::to_owned));
    let status: serde_json::Value = serde_json::from_str(&tollgate(&config, &["queue", "status", "--json"]).1).unwrap();
    let (waiting, dropped) = (status["waiting"].as_u64().unwrap(), status["dropped"].as_u64().unwrap());
    assert_eq!(waiting + dropped, RECORDS, "{status}");
    assert!(waiting > 0, "the rest stays: {status}");
    assert!(line.contains("by=\"") && line.contains("action=\"drop\""), "{line}");
    assert!(line.contains(&format!("records={dropped} ")) || line.ends_with(&format!("records={dropped}")), "{line}");
    let told = gateway.log().contains("records were dropped by the operator");
    assert_eq!(told, dropped > 0, "{}", gateway.log());
}

#[test]
fn who_breaks_a_command_off_is_told_what_becomes_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let service = UnixListener::bind(&socket).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["queue", "park", "--all", "--socket"]).arg(&socket);
    let mut command = Running::start(&mut command, dir.path().join("out"));
    let (stream, _) = service.accept().unwrap();
    let first = BufReader::new(&stream).lines().next().unwrap().unwrap();
    assert_eq!(first, "POST /api/v1/records/park HTTP/1.1");
    command.signal(libc::SIGINT);
    let code = command.wait("the command").code();
    let said = command.printed();
    assert_eq!(code, Some(1), "{said}");
    let want = "error: interrupted: the service stops at its next batch of records and leaves the others as they are; ";
    assert!(said.starts_with(want), "{said}");
}

#[test]
fn the_log_says_where_the_gateway_is_administered() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let gateway = start(dir.path(), &format!("listen = \"127.0.0.1:{port}\"\nstatus_socket = \"status.sock\"\n"));
    let folder = gateway.dir.display();
    let is_ready = |line: &&str| line.contains(" ready");
    let ready = wait_for("the line of the log", || gateway.log().lines().find(is_ready).map(str::to_owned));
    let want = format!("http://127.0.0.1:{port}, commands at {folder}/admin.sock, questions at {folder}/status.sock");
    assert!(ready.contains(&want), "{ready}");
}

#[test]
fn a_socket_that_cannot_be_had_is_named_by_its_option() {
    let dir = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().map(|at| (TcpListener::bind(at), at.port()));
    let (taken, port) = busy.unwrap();
    let taken = taken.unwrap_or_else(|_| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let own = free_ports::<1>()[0];
    let folder = dir.path().display();
    let none = dir.path().join("none").display().to_string();
    for (what, sip, admin, want) in [
        (
            "HTTP",
            "udp",
            format!("listen = \"127.0.0.1:{port}\""),
            format!("127.0.0.1:{port} for HTTP (`admin.listen`): "),
        ),
        (
            "commands",
            "udp",
            "socket = \"none/admin.sock\"".to_owned(),
            format!("{none}/admin.sock for commands (`admin.socket`): the folder is not there"),
        ),
        (
            "questions",
            "udp",
            "status_socket = \"none/x.sock\"".to_owned(),
            format!("{none}/x.sock for questions (`admin.status_socket`): the folder is not there"),
        ),
        ("SIP", "tcp", "socket = \"\"".to_owned(), format!("tcp:127.0.0.1:{port} (`sip.listen`): ")),
    ] {
        let sip = if sip == "tcp" { format!("tcp:127.0.0.1:{port}") } else { format!("udp:127.0.0.1:{own}") };
        let socket = if admin.starts_with("socket") { "" } else { "socket = \"\"\n" };
        let toml = format!(
            "[sip]\nlisten = [\"{sip}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[queue]\npath = \"{folder}/queue\"\n\
             free_min_mib = 0\n[admin]\n{socket}{admin}\n"
        );
        let config = dir.path().join("tollgate.toml");
        fs::write(&config, toml).unwrap();
        let (code, _, err) = tollgate(&config, &["run"]);
        assert_eq!(code, Some(1), "{what}: {err}");
        assert!(err.contains(&format!("cannot listen on {want}")), "{what}: {err}");
    }
    drop(taken);
}

/// Answers the first request of each connection to a socket in the place of a service.
fn answering(path: &Path, answer: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _head = stream.read(&mut [0; 4096]);
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn an_audit_without_what_the_gateway_could_not_write_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = start(dir.path(), "");
    let config = gateway.dir.join("tollgate.toml");
    let audit = |words: &[&str]| tollgate(&config, &[&["audit", "--day", "today"], words].concat());
    let (code, _, err) = audit(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "the day of a gateway without a call is complete");
    gateway.process.signal(libc::SIGTERM);
    assert!(gateway.process.wait("the gateway").success());
    assert_eq!(audit(&[]).0, Some(0), "nor does a gateway lack anything that does not run");

    let socket = gateway.dir.join("admin.sock");
    for (what, answer, why) in [
        (
            "it says that it could not",
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"written\":false}",
            "the gateway runs without one, or cannot write it; `tollgate status` says why",
        ),
        ("it is stopping", "HTTP/1.1 503 X\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}", "the service says: x"),
        ("it breaks off", "HTTP/1.1 200 OK\r\nContent-Le", "cannot talk to the service over "),
    ] {
        let _none = fs::remove_file(&socket);
        answering(&socket, answer);
        let lacks = "what the gateway has in memory is not in its ledger yet: ";
        for words in [&[][..], &["--json"], &["--calls"], &["--calls", "--json"], &["--csv"]] {
            let (code, out, err) = audit(words);
            assert_eq!(code, Some(2), "{what}, {words:?}: {out}{err}");
            assert!(err.starts_with(&format!("warning: {lacks}{why}")), "{what}, {words:?}: {err}");
            if words.contains(&"--json") {
                let json: serde_json::Value = serde_json::from_str(&out).unwrap();
                assert!(json["unwritten"].as_str().unwrap().starts_with(why), "{what}, {words:?}: {json}");
                assert_ne!(json["complete"], true, "{what}, {words:?}: {json}");
            } else if words.is_empty() {
                assert!(out.contains("incomplete:\n") && out.contains(lacks), "{what}: {out}");
            }
        }
    }
}

#[test]
fn a_reload_while_the_service_stops_is_refused_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut callee = Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut gateway = Gateway::start(dir.path(), &[format!("sip:{}", callee.address)], 9, "");
    let config = gateway.dir.join("tollgate.toml");
    let mut caller = Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (here, to) = (caller.address, gateway.address());
    let invite = format!(
        "INVITE sip:bob@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKdrain;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@{to}>\r\nCall-ID: drain\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{here}>\r\nContent-Length: 0\r\n\r\n"
    );
    caller.send(invite.as_bytes(), to);
    let asked = callee.wait("the INVITE");
    assert_eq!(asked.method(), "INVITE");
    callee.send(&asked.answer(b"180 Ringing", "b", &[], b"").octets(), to);
    wait_for("ringing", || caller.take().filter(|wire| wire.code() == 180));

    gateway.process.signal(libc::SIGTERM);
    let phase = || {
        let status = tollgate(&config, &["status", "--json"]).1;
        serde_json::from_str::<serde_json::Value>(&status).ok().map(|status| status["phase"].clone())
    };
    wait_for("it drains", || phase().filter(|phase| phase == "draining"));
    // Another configuration, which would be taken over, and one that would not.
    let original = fs::read_to_string(&config).unwrap();
    for text in
        [original.replace("[queue]", "[sip.streams]\nidle_s = 7\n[queue]"), original.replace("[queue]", "[quue]")]
    {
        fs::write(&config, text).unwrap();
        let (code, out, err) = tollgate(&config, &["reload"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert_eq!(err, "error: the service says: the service is stopping\n");
    }
    gateway.process.signal(libc::SIGHUP);
    let ignored = "a reload was asked for while the service stops: it is not done";
    wait_for("the line of the log", || gateway.log().contains(ignored).then_some(()));
    assert_eq!(phase(), Some("draining".into()), "it goes on to drain");
    let log = gateway.log();
    assert!(!log.contains("reloaded") && !log.contains("reload refused"), "{log}");

    // The call that it waits for ends as ever.
    let busy = asked.answer(b"486 Busy Here", "b", &[], b"");
    callee.send(&busy.octets(), to);
    wait_for("the response", || caller.take().filter(|wire: &Wire| wire.code() == 486));
    assert!(gateway.process.wait("the gateway").success(), "{}", gateway.log());
}

#[test]
fn who_looks_for_a_call_that_is_not_kept_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), "[trace]\ncalls = 1000\ncall_id = \"a*\"\n");
    let config = gateway.dir.join("tollgate.toml");
    let (code, _, err) = tollgate(&config, &["trace", "nosuch"]);
    let want = "error: no message of the Call-ID `nosuch` is kept: `[trace] calls` keeps those of the last 1000 calls that fit \
                `call_id = a*`, since it was set\n";
    assert_eq!((code, err.as_str()), (Some(64), want));
    let (code, _, err) = tollgate(&config, &["trace"]);
    assert_eq!(code, Some(0));
    assert_eq!(err, "no messages are kept yet: of the next 1000 calls that fit `[trace]` they are, by its `calls`\n");

    let text = fs::read_to_string(&config).unwrap().replace("calls = 1000\ncall_id = \"a*\"\n", "calls = 0\n");
    fs::write(&config, text).unwrap();
    assert_eq!(tollgate(&config, &["reload"]).0, Some(0));
    let off = "`[trace] calls` is 0: set it to as many calls as are to be kept, and reload\n";
    let (code, _, err) = tollgate(&config, &["trace", "nosuch"]);
    assert_eq!((code, err), (Some(64), format!("error: no message of the Call-ID `nosuch` is kept: {off}")));
    assert!(tollgate(&config, &["trace"]).2.starts_with("no messages are kept: `[trace] calls` is 0"));
}
