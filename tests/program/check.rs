//! `tollgate check`: mistakes with their lines, and never with a secret.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::start::Start as _;

/// Exit code, standard output and standard error of `tollgate WORDS FILE` for this text.
fn tollgate(dir: &Path, words: &[&str], toml: &str) -> (Option<i32>, String, String) {
    fs::write(dir.join("t.toml"), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(words).args(["--config", "t.toml"]).current_dir(dir).env_remove("NO_COLOR");
    let output = command.finish().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_mistake_goes_to_standard_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let toml = "[sip]\nshard = 1\n[[route]]\nto = \"sip:127.0.0.9\"\nfork = \"serail\"\n";
    let want = "error: unknown field `shard` in `sip`\n --> t.toml:2:1\n  |\n2 | shard = 1\n  | ^^^^^\n  |\n  = hint: did you mean `shards`?\n\n\
                error: unknown value `serail` for `route.fork`\n --> t.toml:5:8\n  |\n5 | fork = \"serail\"\n  |        ^^^^^^^^\n  |\n  \
                = hint: did you mean `serial`?\n";
    for words in [["check"], ["run"]] {
        assert_eq!(tollgate(dir.path(), &words, toml), (Some(78), String::new(), want.to_owned()), "{words:?}");
    }
}

#[test]
fn other_files_show_their_lines_too() {
    let dir = tempfile::tempdir().unwrap();
    let client = "acctserver 127.0.0.1:1813:a-long-enough-secret\nradius_timeout 1\nradius_retreis 3\n";
    let other = "acctserver 127.0.0.1:1813:a-long-enough-secret\ndictionary odd.dictionary\n";
    fs::write(dir.path().join("other.conf"), other).unwrap();
    fs::write(dir.path().join("radiusclient.conf"), client).unwrap();
    fs::write(dir.path().join("odd.dictionary"), "ATTRIBUTE Odd-One 250 strong\n").unwrap();
    fs::write(dir.path().join("route.lua"), "local x = 1\nlocal y = = 2\n").unwrap();
    let toml = "[script]\nfile = \"route.lua\"\n[sinks.radius.billing]\nconfig = \"radiusclient.conf\"\n\
                [sinks.radius.other]\nconfig = \"other.conf\"\n";
    let (code, _, told) = tollgate(dir.path(), &["check"], toml);
    assert_eq!(code, Some(78), "{told}");
    for want in [
        " --> radiusclient.conf:3:1\n  |\n3 | radius_retreis 3\n  | ^^^^^^^^^^^^^^\n",
        "= hint: did you mean `radius_retries`?",
        " --> odd.dictionary:1:1\n  |\n1 | ATTRIBUTE Odd-One 250 strong\n",
        " --> route.lua:2:1\n  |\n2 | local y = = 2\n",
    ] {
        assert!(told.contains(want), "{want}\n---\n{told}");
    }
}
