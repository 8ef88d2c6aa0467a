//! The Unix socket of the commands as others use it: curl, and the command line of one release with the gateway of another.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::start::Start as _;
use crate::support::{Gateway, peer};

fn gateway(dir: &Path) -> Gateway {
    Gateway::start(dir, &["sip:127.0.0.1:9".to_owned()], 9, "")
}

/// One line of an older release's protocol for each line, whatever it says; gives its path.
fn older(dir: &Path) -> PathBuf {
    let path = dir.join("older.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut writing = stream.unwrap();
            let reading = BufReader::new(writing.try_clone().unwrap());
            for _ in reading.lines().map_while(Result::ok) {
                let line =
                    "{\"error\":{\"kind\":\"usage\",\"text\":\"no request: expected value at line 1 column 1\"}}\n";
                if writing.write_all(line.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    path
}

#[test]
fn curl_asks_and_does_by_the_socket_what_the_document_says() {
    let Some(curl) = peer("curl") else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(dir.path());
    let ask = |words: &[&str], path: &str| -> (String, Value) {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "--unix-socket"]);
        command.arg(gateway.dir.join("admin.sock")).args(words).arg(format!("http://localhost{path}"));
        let output = command.finish().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        (code.to_owned(), serde_json::from_str(body).unwrap())
    };
    let json = |body: &'static str| ["--header", "Content-Type: application/json", "--data", body];
    let (code, status) = ask(&[], "/api/v1/status");
    assert_eq!((code.as_str(), &status["phase"], &status["queue"]["waiting"]), ("200", &json!("running"), &json!(0)));
    assert!(ask(&[], "/api/v1/openapi.json").1["paths"]["/records/drop"].is_object());
    let (code, done) = ask(&json("{\"all\": true, \"reason\": \"a test\"}"), "/api/v1/records/drop");
    assert_eq!((code.as_str(), done), ("200", json!({ "records": 0 })));
    let (code, ended) = ask(&json("{\"call\": \"nobody@nowhere\"}"), "/api/v1/calls/end");
    assert_eq!(code, "400");
    assert!(ended["error"].as_str().unwrap().contains("`nobody@nowhere`"), "{ended}");
    let (code, reloaded) = ask(&["--request", "POST"], "/api/v1/reload");
    assert_eq!((code.as_str(), &reloaded["reloaded"]), ("200", &json!(true)));
}

#[test]
fn a_running_gateway_of_an_older_release_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let older = older(dir.path()).display().to_string();
    let want = format!("the running gateway speaks the control protocol of an older release over {older}; restart it");
    for words in
        [&["status"][..], &["calls"], &["queue", "list"], &["queue", "status"], &["reload"], &["script", "trace"]]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).args(["--socket", &older]).finish().unwrap();
        let (text, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &*text), (Some(1), ""), "{words:?}");
        assert_eq!(err, format!("error: {want}\n"), "{words:?}");
    }
}

#[test]
fn the_command_line_of_an_older_release_gets_an_answer_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(dir.path());
    let mut stream = UnixStream::connect(gateway.dir.join("admin.sock")).unwrap();
    stream.write_all(b"{\"command\":\"status\"}\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    // It reads a line and says that it makes no sense.
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[test]
fn a_mistyped_configuration_asks_no_other_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let typo = dir.path().join("typo.toml");
    let foreign = dir.path().join("kamailio.cfg");
    std::fs::write(&foreign, "debug=2\nloadmodule \"acc.so\"\n").unwrap();
    for words in [
        &["status"][..],
        &["calls"],
        &["reload"],
        &["queue", "status"],
        &["queue", "park", "--all"],
        &["queue", "retry", "--all"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).arg("-c").arg(&typo).finish().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{words:?}: {said}");
        assert!(said.contains("cannot read the configuration") && said.contains("typo.toml"), "{words:?}: {said}");
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).arg("-c").arg(&foreign).finish().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{words:?}: {said}");
        assert!(said.contains("this is kamailio.cfg") && said.contains("kamailio.cfg:2:1"), "{words:?}: {said}");
    }
}
