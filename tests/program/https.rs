//! HTTP over TLS as its operator uses it: `check`, curl with a token or a certificate, a reload with renewed files.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, peer, wait_for};

const TOKEN: &str = "token-of-these-tests";

/// Writes an authority `NAME.pem` and what it has signed for 127.0.0.1: `LEAF.pem` and `LEAF.key` of each.
fn certify(dir: &Path, name: &str, leaves: &[&str]) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join(format!("{name}.pem")), authority.pem()).unwrap();
    for leaf in leaves {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(dir.join(format!("{leaf}.pem")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{leaf}.key")), key.serialize_pem()).unwrap();
    }
}

/// Exit code of curl, and the body of the answer with its status behind it. Files are those of the folder.
fn curl(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("curl");
    command.current_dir(dir).args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]).args(words);
    let output = command.finish().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Exit code and what is told of it.
fn tollgate(gateway: &Gateway, word: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let file = gateway.dir.join("tollgate.toml");
    let command =
        if word == "check" { command.arg(word).arg(file) } else { command.arg(word).arg("--config").arg(file) };
    let output = command.finish().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn curl_comes_in_by_token_or_certificate_and_renewed_files_are_taken_over() {
    if peer("curl").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "ours", &["server", "client"]);
    certify(dir.path(), "theirs", &["stranger"]);
    fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let [http] = free_ports();
    let admin = format!(
        "listen = \"127.0.0.1:{http}\"\napi = true\ntoken_file = \"../token\"\n[admin.tls]\ncertificate = \"../server.pem\"\n\
         key = \"../server.key\"\nclient_certificate = \"optional\"\nclient_ca = \"../ours.pem\"\n"
    );
    let gateway = Gateway::start(dir.path(), &["sip:127.0.0.1:9".to_owned()], 9, &admin);
    let site = format!("https://127.0.0.1:{http}");
    let (status, metrics) = (format!("{site}/api/v1/status"), format!("{site}/metrics"));
    let retry = format!("{site}/api/v1/records/retry");
    let ask = |words: &[&str]| curl(dir.path(), &[&["--cacert", "ours.pem"], words].concat());
    let certificate = ["--cert", "client.pem", "--key", "client.key"];
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let post = ["--json", "{\"all\": true, \"state\": \"parked\"}", retry.as_str()];
    let from_elsewhere = ["--header", "Origin: https://evil.example"];
    for (what, words, code) in [
        ("metrics need nothing", vec![metrics.as_str()], "200"),
        ("the API needs something", vec![&status], "401"),
        ("the token", vec!["--header", &bearer, &status], "200"),
        ("a certificate", [&certificate[..], &[&status]].concat(), "200"),
        ("a certificate has records tried again", [&certificate[..], &post[..]].concat(), "200"),
        ("not for a page of another site", [&certificate[..], &from_elsewhere[..], &post[..]].concat(), "403"),
    ] {
        let (exit, text) = ask(&words);
        assert_eq!((exit, text.rsplit('\n').next()), (Some(0), Some(code)), "{what}: {text}");
    }
    assert!(ask(&[&metrics]).1.contains("tollgate_calls_answers_total"));
    for _ in 0..3 {
        let (exit, text) = ask(&["--cert", "stranger.pem", "--key", "stranger.key", &status]);
        assert_ne!(exit, Some(0), "a certificate of strangers: {text}");
    }
    let (_, text) = curl(dir.path(), &[&status.replace("https:", "http:")]);
    assert_eq!(text, "{\"error\":\"this port speaks TLS: ask it by https://\"}\n400");
    let failures = gateway.log().matches("an HTTP connection has failed at TLS").count();
    assert_eq!(failures, 1, "a line a minute: {}", gateway.log());

    // Files that cannot be used change nothing.
    let good = fs::read(dir.path().join("server.key")).unwrap();
    fs::write(dir.path().join("server.key"), "no key").unwrap();
    let (code, text) = tollgate(&gateway, "check");
    assert!(code == Some(78) && text.contains("server.key") && text.contains("tollgate.toml:"), "{code:?} {text}");
    assert_eq!(tollgate(&gateway, "reload").0, Some(1));
    assert_eq!(ask(&["--header", &bearer, &status]).0, Some(0));
    // Renewed ones by another authority do.
    fs::write(dir.path().join("server.key"), good).unwrap();
    certify(dir.path(), "new", &["server"]);
    let (code, text) = tollgate(&gateway, "reload");
    assert_eq!(code, Some(0), "{text}");
    let new = |words: &[&str]| curl(dir.path(), &[&["--cacert", "new.pem"], words].concat());
    assert_eq!(new(&[&certificate[..], &[&status]].concat()).0, Some(0));
    assert_eq!(ask(&[&metrics]).0, Some(60), "curl does not know the new authority by the old file");
    // So does the wish that everybody shows one.
    let file = gateway.dir.join("tollgate.toml");
    let text = fs::read_to_string(&file).unwrap().replace("\"optional\"", "\"required\"");
    fs::write(&file, text).unwrap();
    gateway.process.signal(libc::SIGHUP);
    wait_for("no certificate, no metrics", || (new(&[&metrics]).0 != Some(0)).then_some(()));
    assert_eq!(new(&[&certificate[..], &[&metrics]].concat()).0, Some(0));
}
