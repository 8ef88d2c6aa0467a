//! Mistakes of `[sinks.webhook.NAME]`: a text, and what the operator reads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::config::error::{Mistake, Mistakes};
use crate::config::parse;
use crate::sinks::webhook::{Batch, Login, Settings};

const BASE: &str = "[[route]]\nto = \"sip:127.0.0.2\"\n[accounting]\non = [\"webhook\"]\n[sinks.webhook.acc]\n";
const GOOD: &str = "url = \"https://billing.example/acc\"\nca = \"ca.pem\"\n";

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [("password", "secret\n"), ("blank", "two words\n"), ("empty", "")] {
        fs::write(dir.path().join(name), text).expect("written");
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o640)).expect("its permissions");
    }
    let own = rcgen::generate_simple_self_signed(["billing.example".to_owned()]).expect("a certificate");
    fs::write(dir.path().join("ca.pem"), own.cert.pem()).expect("written");
    dir
}

fn findings(dir: &Path, lines: &str) -> String {
    let parsed = parse(&dir.join("t.toml"), &format!("{BASE}{lines}\n"), Default::default());
    let mistakes = parsed.map_or_else(|Mistakes(mistakes)| mistakes, |plan| plan.warnings);
    let text = mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n");
    text.replace(&format!("{}/", dir.display()), "")
}

#[test]
fn mistakes_are_named() {
    let dir = folder();
    let no_url = "error: this is no URL of a webhook\n  --> t.toml:6:7\nhint: \"https://HOST/PATH\"";
    let clear = "warning: records go to another machine in clear text\n  --> t.toml:6:7\n\
                 hint: use https, or a proxy for it on this machine";
    let password = "error: a password stands in this URL\n  --> t.toml:6:7\n\
                    hint: name the user by `user`, and write the password into a file for `password_file`";
    let two = "error: a receiver knows us in one way\n  --> t.toml:10:14\n\
               hint: of `user` with `password_file`, and `token_file`, one is enough";
    let no_type = "error: `json` is no media type\n  --> t.toml:8:15\n\
                   hint: one type without parameters, such as \"application/json\"";
    let both = format!("{GOOD}user = \"gw\"\npassword_file = \"password\"\n");
    for (lines, want) in [
        (GOOD.to_owned(), ""),
        ("url = \"http://127.0.0.1:8080/acc\"".into(), ""),
        ("url = \"http://[::1]:8080/acc\"".into(), ""),
        ("url = \"http://localhost/acc?tenant=1\"".into(), ""),
        ("url = \"http://192.0.2.1/acc\"".into(), clear),
        ("url = \"http://127.0.0.1.example/acc\"".into(), clear),
        (
            "batch = \"each\"".into(),
            "error: `sinks.webhook.acc` lacks the field `url`\n  --> t.toml:5:16\nhint: add `url = \"https://HOST/PATH\"`",
        ),
        ("url = \"billing.example/acc\"".into(), no_url),
        ("url = \"ftp://billing.example/acc\"".into(), no_url),
        ("url = \"https://\"".into(), no_url),
        ("url = \"https://me:secret@billing.example/acc\"".into(), password),
        ("url = \"https://me@billing.example/acc\"".into(), password),
        (
            "url = \"http://localhost/\"\nca = \"ca.pem\"".into(),
            "error: a file of TLS, but the URL begins with http:\n  --> t.toml:7:6",
        ),
        (both.clone(), ""),
        (format!("{both}token_file = \"password\""), two),
        (format!("{GOOD}user = \"gw\""), "error: `user` needs a `password_file`\n  --> t.toml:8:8"),
        (format!("{GOOD}password_file = \"password\""), "error: `password_file` needs a `user`\n  --> t.toml:8:17"),
        (
            format!("{GOOD}user = \"g:w\"\npassword_file = \"password\""),
            "error: the user `g:w` has a colon, which no user has\n  --> t.toml:8:8",
        ),
        (
            format!("{GOOD}token_file = \"blank\""),
            "error: the token in blank has blanks or other than ASCII\n  --> t.toml:8:14",
        ),
        (
            format!("{GOOD}signing_key_file = \"empty\""),
            "error: empty has no first line, which is the key\n  --> t.toml:8:20",
        ),
        (format!("{GOOD}expect_type = \"json\""), no_type),
        (format!("{GOOD}expect_text = \"\""), "error: this text stands in every body\n  --> t.toml:8:15"),
        (
            format!("{GOOD}batch_max = 10"),
            "warning: `batch_max` counts only with `batch = \"array\"`\n  --> t.toml:8:13",
        ),
        (
            format!("{GOOD}batch = \"array\"\nwindow = 4"),
            "warning: `window` counts only with `batch = \"each\"`\n  --> t.toml:9:10",
        ),
    ] {
        assert_eq!(findings(dir.path(), &lines), want, "{lines}");
    }
}

#[test]
fn what_is_left_out_has_its_default_and_what_is_said_counts() {
    let dir = folder();
    let settings = |lines: &str| {
        let text = format!("{BASE}{GOOD}{lines}\n");
        let plan =
            parse(&dir.path().join("t.toml"), &text, Default::default()).unwrap_or_else(|error| panic!("{error}"));
        plan.sinks[0].kind.of::<Settings>().expect("a webhook").clone()
    };
    let own = settings("");
    assert_eq!((own.batch, own.delivery.batch_max, own.login), (Batch::Each, 8, Login::None));
    assert_eq!((own.timeout, own.retry_after_max), (Duration::from_secs(10), Duration::from_secs(3600)));
    let array = settings("batch = \"array\"\nretry_after_max_s = 5\ntoken_file = \"password\"");
    assert_eq!((array.batch, array.delivery.batch_max), (Batch::Array, 100));
    assert_eq!(array.retry_after_max, Duration::from_secs(5));
    assert!(matches!(array.login, Login::Bearer(_)));
    assert_eq!(settings("batch = \"array\"\nbatch_max = 7").delivery.batch_max, 7);
}
