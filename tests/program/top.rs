//! `tollgate top` on a real terminal, which `script` of Debian's bsdutils makes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::start::Start as _;
use crate::support::{Gateway, peer, wait_for};

/// Is killed when a test gives up.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already where all is well.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What the terminal shows is kept in this file.
fn top(dir: &Path, words: &str) -> Option<(Command, std::path::PathBuf)> {
    let (script, shown) = (peer("script")?, dir.join("shown"));
    let mut command = Command::new(script);
    let inside = format!("stty rows 24 cols 140; exec {} top {words}", env!("CARGO_BIN_EXE_tollgate"));
    command.args(["--quiet", "--flush", "--return", "--command", &inside]).arg(&shown);
    command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::null());
    Some((command, shown))
}

#[test]
fn top_shows_the_running_gateway_and_puts_the_terminal_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(dir.path(), &["sip:127.0.0.1:9".to_owned()], 9, "");
    let config = format!("--config {}", gateway.dir.join("tollgate.toml").display());
    for (no_color, has_colours) in [(None, true), (Some("1"), false)] {
        let Some((mut command, shown)) = top(dir.path(), &config) else { return };
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let mut child = Ended(command.start().expect("script runs"));
        let mut keys = child.0.stdin.take().expect("keys");
        let seen = || fs::read(&shown).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default();
        // Delivery begins a moment after the service is ready.
        wait_for("a server", || (seen().contains("ROUND TRIP") && seen().contains("127.0.0.1:9")).then_some(()));
        keys.write_all(b"2").expect("a key");
        wait_for("the calls", || seen().contains("FROM TAG").then_some(()));
        keys.write_all(b"?").expect("a key");
        wait_for("the keys", || seen().contains("picture").then_some(()));
        keys.write_all(b"qq").expect("a key");
        let ended = child.0.wait().expect("it ends");
        assert!(ended.success(), "{}", seen());
        // The alternate screen is left, and the cursor is there again.
        assert!(seen().contains("\u{1b}[?1049l") && seen().contains("\u{1b}[?25h"), "{:?}", seen());
        // Of the server's state.
        let colours =
            ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[38;5;"].iter().any(|colour| seen().contains(colour));
        assert_eq!(colours, has_colours, "{:?}", seen());
    }
}

#[test]
fn top_says_why_it_cannot_be_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("top").stdin(Stdio::null()).finish().expect("it runs");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"), "{output:?}");
    // On a terminal, where nobody serves the socket.
    let Some((mut command, shown)) = top(dir.path(), &format!("--socket {}", dir.path().join("none").display())) else {
        return;
    };
    let ended = command.stdin(Stdio::null()).finish().expect("script runs");
    assert_eq!(ended.status.code(), Some(1));
    let seen = fs::read_to_string(&shown).expect("what it showed");
    assert!(seen.contains("the service does not run") && !seen.contains("\u{1b}[?1049h"), "{seen}");
}
