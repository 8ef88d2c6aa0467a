//! `tollgate decode` on captures that Wireshark's text2pcap has made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::peer;
use crate::support::start::Start as _;

/// An Accounting-Request with a User-Name.
const RADIUS: &str = "04 07 00 19 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 05 62 6f 62";
/// A Device-Watchdog-Request and its answer.
const DIAMETER: [&str; 2] = [
    "01 00 00 14 80 00 01 18 00 00 00 00 00 00 00 01 00 00 00 02",
    "01 00 00 14 00 00 01 18 00 00 00 00 00 00 00 01 00 00 00 02",
];

/// A capture with a frame for each text.
fn capture(dir: &Path, words: &[&str], texts: &[&str]) -> Option<PathBuf> {
    let (text2pcap, dump, made) = (peer("text2pcap")?, dir.join("dump"), dir.join("made"));
    fs::write(&dump, texts.iter().map(|text| format!("000000 {text}\n")).collect::<String>()).unwrap();
    let output = Command::new(text2pcap).args(words).arg(&dump).arg(&made).finish().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(made)
}

fn decode(file: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("decode").arg(file).args(words).finish().unwrap()
}

#[test]
fn messages_are_found_in_captures() {
    let dir = tempfile::tempdir().unwrap();
    let ends = ["-4", "10.0.0.1,10.0.0.2"];
    let udp = [&["-u", "4000,1813"], &ends[..]].concat();
    let Some(file) = capture(dir.path(), &udp, &[RADIUS, "61 62 63"]) else { return };
    let output = decode(&file, &[]);
    let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), told.as_ref()), (Some(0), "1 of 2 frames hold something else\n"), "{out}");
    assert!(out.contains(" UDP 10.0.0.1:4000 > 10.0.0.2:1813\nAccounting-Request id 7 length 25 "), "{out}");
    assert!(out.contains("\n  User-Name = \"bob\"\n"), "{out}");

    // Two messages over three segments, in the older format.
    let all = DIAMETER.join(" ");
    let tcp = [&["-F", "pcap", "-T", "4000,3868"], &ends[..]].concat();
    let file = capture(dir.path(), &tcp, &[&all[..77], &all[78..98], &all[99..]]).unwrap();
    let output = decode(&file, &["--json"]);
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let seen: Vec<_> = found.iter().map(|own| (own["frame"].as_u64(), own["transport"].as_str())).collect();
    assert_eq!(seen, [(Some(1), Some("TCP")), (Some(1), Some("TCP"))], "{found:?}");
    let text = decode(&file, &["--protocol", "diameter"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("\nDWR ") && text.contains("\nDWA "), "{text}");
    let none = decode(&file, &["--protocol", "radius"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).ends_with("error: no message of RADIUS in 3 frames\n"), "{none:?}");

    // What is whole in a damaged file is shown.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let output = decode(&file, &[]);
    let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(out.contains("\nDWR ") && !out.contains("\nDWA "), "{out}");
    assert!(told.contains("error: the capture is damaged behind frame 2: "), "{told}");
}
