//! What a reload takes over in a cluster, with a real nats-server: TLS of a gateway, sinks of a deliverer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use async_nats::ConnectOptions;
use serde_json::Value as Json;

use crate::deliver::{Deliverer, nats, publish};
use crate::support::nats::Nats;
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, wait_for};

#[test]
fn a_gateway_shows_its_servers_a_certificate_that_was_renewed_under_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let tls = dir.path().join("tls");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
    let mut strangers = Command::new(&script);
    let (Ok(made), Ok(_)) =
        (Command::new(&script).arg(&tls).finish(), strangers.arg(dir.path().join("other")).finish())
    else {
        return;
    };
    assert!(made.status.success());
    let Some(mut nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    let shown = tls.display();
    let secured = format!(
        "tls {{ cert_file: \"{shown}/server.pem\", key_file: \"{shown}/server.key\", ca_file: \"{shown}/ca.pem\", verify: true }}\n"
    );
    nats.start_again(Some(&secured));
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let put = |from: &str| {
        for name in ["client.pem", "client.key"] {
            fs::copy(dir.path().join(from).join(name), folder.join(name)).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    // One that another authority has signed.
    put("other");
    let [port, callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let (here, server) = (folder.display(), nats.port);
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"cdrs\"]\n[queue]\npath = \"{here}/queue\"\nfree_min_mib = 0\n\
         [admin]\nsocket = \"{here}/admin.sock\"\n[sinks.file.cdrs]\npath = \"{here}/cdrs.jsonl\"\n\
         [cluster]\nreplicas = 1\nname = \"gw1\"\nnats = [\"tls://localhost:{server}\"]\nca = \"{shown}/ca.pem\"\n\
         certificate = \"{here}/client.pem\"\nkey = \"{here}/client.key\"\n"
    );
    let gateway = Gateway::start_on(&folder, port, &toml, 9);
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "5", "-r", "50", "-d", "50"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let waiting = || {
        let status: Json = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
        status["sinks"][0]["waiting"].as_u64().unwrap()
    };
    assert_eq!(waiting(), 10, "nobody lets it in");
    put("tls");
    assert_eq!(waiting(), 10, "files are read when that is wanted");
    let told = gateway.command(&["reload"]);
    assert!(!told.contains("restart") && !told.contains("next start"), "{told}");
    wait_for("all are handed over", || (waiting() == 0).then_some(()));
    wait_for("it takes part", || gateway.log().contains("the cluster has taken this gateway in").then_some(()));
}

#[test]
fn a_deliverer_takes_over_settings_of_its_sinks_and_names_what_waits_for_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    publish(&nats, 0..20);
    wait_for("all lines", || (one.lines().len() >= 60).then_some(()));
    let file = one.dir.join("tollgate.toml");
    let original = fs::read_to_string(&file).unwrap();
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = command.args(["reload", "--socket"]).arg(one.dir.join("deliver.sock")).finish().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let lines = |name: &str| {
        let named = fs::read_to_string(one.dir.join(name)).unwrap_or_default();
        named.lines().filter(|line| line.contains("session")).count()
    };

    fs::write(&file, original.replace("/lines.json", "/second.json")).unwrap();
    let (code, told) = reload();
    assert!(code == Some(0) && !told.contains("restart"), "{code:?} {told}");
    publish(&nats, 20..40);
    wait_for("the lines of the new file", || (lines("second.json") == 60).then_some(()));
    assert!(!one.process.printed().contains("is given back"), "no partition was given up for it");

    fs::write(&file, original.replace("format = \"json\"", "format = \"jso\"")).unwrap();
    let (code, told) = reload();
    assert!(code == Some(1) && told.contains("jso"), "{code:?} {told}");

    let moved = original.replace("/hand\"", "/elsewhere\"").replace("name = \"one\"", "name = \"uno\"");
    let moved = moved.replace("/lines.json", "/third.json") + "[sinks.file.more]\npath = \"/nowhere/more.json\"\n";
    fs::write(&file, moved).unwrap();
    let (code, told) = reload();
    assert_eq!(code, Some(3), "{told}");
    for part in ["deliver.directory", "cluster.name", "sinks.file.more"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("routes") && !told.contains("[queue]"), "{told}");
    publish(&nats, 40..50);
    wait_for("the lines of the third file", || (lines("third.json") == 30).then_some(()));

    // The same by a signal.
    fs::write(&file, original.replace("/lines.json", "/fourth.json")).unwrap();
    one.process.signal(libc::SIGHUP);
    wait_for("it says so", || {
        (one.process.printed().matches("the sink takes over its new settings").count() == 3).then_some(())
    });
    publish(&nats, 50..60);
    wait_for("the lines of the fourth file", || (lines("fourth.json") == 30).then_some(()));
    one.wait_idle();
    one.process.signal(libc::SIGTERM);
    assert!(one.process.wait("the deliverer").success(), "{}", one.process.printed());
}
