//! Client files of the libraries load unchanged: `tollgate check` ends with 0, whatever it warns of.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::start::Start as _;

/// Folder of radcli in Debian's package.
const RADCLI: &str = "/etc/radcli";

/// Exit code of `tollgate check` on a gateway with this client file, and what it says.
fn check(client: &Path, more: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("tollgate.toml");
    let text = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:5070\"\n\
         [accounting]\non = [\"b\"]\nfields = {{ src = \"$si\" }}\n[queue]\npath = \"queue\"\n\
         [sinks.radius.b]\nconfig = \"{}\"\n{more}\n",
        client.display()
    );
    fs::write(&path, text).expect("the file is written");
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("check").arg(&path).finish().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/radiusclient").join(name).join("radiusclient.conf")
}

#[test]
fn the_samples_load_unchanged() {
    for (name, more, want) in [
        // Nothing can be sent before the operator has set a secret: he is told so, and the records wait.
        ("radcli", "", "warning: no secret for `localhost`: nothing is sent there until it has one"),
        ("freeradius-client", "", ""),
        ("radiusclient-ng", "", ""),
        ("opensips", "profile = \"opensips\"\nfields = { src = \"SIP-AVP\" }", ""),
    ] {
        let (code, said) = check(&sample(name), more);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(!said.contains("error"), "{name}: {said}");
        assert!(said.contains(want), "{name}: {said}");
        assert!(!said.contains("a-secret-of-some-length"), "{name}: {said}");
    }
}

#[test]
fn the_file_that_debian_ships_loads_unchanged() {
    let path = Path::new(RADCLI).join("radiusclient.conf");
    if !path.is_file() {
        return eprintln!("skipped: no {}", path.display());
    }
    let (code, said) = check(&path, "");
    assert_eq!(code, Some(0), "{said}");
}
