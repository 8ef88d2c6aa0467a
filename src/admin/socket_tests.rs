//! The Unix sockets: what is no HTTP, what is too long, and gateways of other releases.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use super::client::{Client, ClientError, sign};
use super::doors::Door;
use super::request::{Kept, Request};
use super::socket::Bound;
use super::tests::Running;

/// What is answered to octets that are sent as they are.
fn told(socket: &Path, sent: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).expect("connected");
    stream.write_all(sent).expect("written");
    let mut answer = Vec::new();
    // It may be closed before all that was sent is read.
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_speaks_no_http_is_told_in_words() {
    let running = Running::start_as(1, true, None);
    let long = "x".repeat(16 << 10);
    for (what, sent, want) in [
        ("a line of an older release", "{\"command\":\"status\"}\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        ("nonsense", "\x16\x03\x01\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        (
            "a head that does not end",
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n"),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
    ] {
        let answer = told(&running.socket(), sent.as_bytes());
        assert!(answer.starts_with(want), "{what}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect(what);
        assert!(
            body["error"].as_str().is_some_and(|text| text.starts_with("the head of the request ")),
            "{what}: {body}"
        );
        assert!(head.contains("content-type: application/json"), "{what}: {head}");
    }
}

#[test]
fn records_that_are_put_back_have_their_limit_and_others_theirs() {
    let running = Running::start_as(1, true, None);
    for (what, path, octets, want) in [
        ("some records: read, and found to be none", "/records/import", 200 << 10, 400),
        ("too many", "/records/import", 300 << 10, 413),
        ("a long wish", "/records/drop", 60 << 10, 400),
        ("a longer one", "/records/drop", 70 << 10, 413),
    ] {
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {octets}\r\n\r\n"
        );
        let answer = told(&running.socket(), &[head.into_bytes(), vec![b' '; octets]].concat());
        assert!(answer.starts_with(&format!("HTTP/1.1 {want} ")), "{what}: {answer}");
        assert!(want != 413 || answer.contains("64 KiB, or 256 KiB of records that are put back"), "{what}: {answer}");
    }
    let (body, sinks) = ("0".repeat(200 << 10), vec!["billing".to_owned()]);
    let mut client = Client::connect(&running.socket()).expect("no error").expect("served");
    match client.ask(&Request::QueueImport { records: vec![Kept { sinks, body }] }) {
        Err(ClientError::Usage(text)) => assert!(text.starts_with("its `body` is longer than"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_of_http_is_there_by_the_sockets_whatever_the_name() {
    let running = Running::start_as(1, false, Some("0123456789abcdef"));
    for door in [Door::Commands, Door::Questions] {
        for path in ["/metrics", "/health", "/ready", "/api/v1/status", "/"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n");
            assert_eq!(running.ask_at(door, &request).0, 200, "{door:?} {path}");
        }
    }
    // The commands look for its signs there.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(sign(&running.socket())).expect("a sign");
}

/// What serves one connection, and gives what it was asked first.
fn served(listener: UnixListener, answer: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
        let first = lines.next().expect("a line").expect("text");
        (&stream).write_all(answer.as_bytes()).expect("written");
        first
    })
}

#[test]
fn a_gateway_of_another_release_is_known_by_its_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let older = "{\"error\":{\"kind\":\"usage\",\"text\":\"no request: expected value at line 1 column 1\"}}\n";
    let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
    for (name, answer, want) in [
        ("older", older, "the running gateway speaks the control protocol of an older release over PATH; restart it"),
        (
            "without",
            nothing,
            "the running gateway is of another release and does not know POST /api/v1/reload; restart it",
        ),
        (
            "words",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "the service over PATH gave no answer that makes sense",
        ),
        ("cut", "HTTP/1.1 200 OK\r\nContent-Le", "cannot talk to the service over PATH"),
        ("broken", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "cannot talk to the service over PATH"),
        ("failing", "HTTP/1.1 503 X\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}", "the service says: x"),
    ] {
        let path = dir.path().join(name);
        let serving = served(UnixListener::bind(&path).expect("bound"), answer);
        let mut client = Client::connect(&path).expect("no error").expect("served");
        let error = client.ask(&Request::Reload {}).expect_err(name);
        assert_eq!(error.to_string().replace(&path.display().to_string(), "PATH"), want, "{name}");
        assert_eq!(serving.join().expect("no panic"), "POST /api/v1/reload HTTP/1.1");
    }
}

#[test]
fn a_gateway_that_stops_leaves_the_socket_that_another_has_put_in_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("admin.sock");
    let first = Bound::new(&path, 0o600).expect("bound");
    std::fs::remove_file(&path).expect("removed");
    let second = Bound::new(&path, 0o600).expect("bound again");
    drop(first);
    UnixStream::connect(&path).expect("the second one is there");
    drop(second);
    assert!(!path.exists(), "its own goes with it");
}

#[test]
fn a_socket_that_does_not_let_us_in_may_be_served_and_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("admin.sock");
    // Root gets in everywhere; a socket of another type refuses everybody, and not as one that nobody has.
    let strange = UnixDatagram::bind(&path).expect("bound");
    let error = Bound::new(&path, 0o600).expect_err("it is served");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another process may serve it: "), "{error}");
    drop(strange);
    Bound::new(&path, 0o600).expect("nobody has it any more");
}
