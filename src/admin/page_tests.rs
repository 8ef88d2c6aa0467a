//! The web page as it is served: what its files may do, and that all they name is there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::tests::{CALLS, Running};
use crate::clock;

/// Head and body of an answer.
fn fetch(running: &Running, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(running.http()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_page_is_three_files_that_load_and_run_nothing_else() {
    // The token is for what they ask, not for them.
    let running = Running::start_as(1, true, Some("0123456789abcdef"));
    for (path, kind) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let (head, body) = fetch(&running, path);
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        for line in [
            &*format!("content-type: {kind}; charset=utf-8"),
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(line), "{path}: {line} is not in\n{head}");
        }
        // The name of SVG is no place to load anything from.
        let named = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!named.contains("http://") && !named.contains("https://"), "{path} names another site");
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "style=\""]
        {
            assert!(!body.contains(word), "{path} has {word}");
        }
    }
    let (_, html) = fetch(&running, "/");
    assert!(!html.contains("<script>") && !html.contains("onclick"), "no script stands in the page itself");
    let (head, _) = fetch(&running, "/api/v1/status");
    assert!(head.starts_with("http/1.1 401") && head.contains("x-content-type-options: nosniff"), "{head}");
}

#[test]
fn all_calls_are_told_in_one_answer_and_slow_readers_of_it_keep_nobody_out() {
    let running = Running::start_as(1, true, None);
    let path = format!("/api/v1/calls?max={CALLS}");
    let begun = clock::mono();
    let (_, body) = fetch(&running, &path);
    let (took, octets) = (clock::mono().since(begun), body.len());
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(told["calls"].as_array().map(Vec::len), Some(CALLS));
    println!("{CALLS} calls in {octets} octets take {took:?}");
    // They ask for much and take nothing of it, more of them than there are places.
    let ask = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(running.http()).expect("connected");
            stream.write_all(ask.as_bytes()).expect("written");
            stream
        })
        .collect();
    for _ in 0..10 {
        // A thousand that say nothing, a part of them at a time: a process has only so many descriptors.
        let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(running.http()).expect("connected")).collect();
        assert!(fetch(&running, "/").0.starts_with("http/1.1 200"));
        drop(silent);
    }
    assert!(fetch(&running, "/health").0.starts_with("http/1.1 200"));
    drop(slow);
}
