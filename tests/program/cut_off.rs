//! A gateway whose nats-server is cut off from the others, and still lets it in: it goes to another one, and calls are
//! mirrored again.

use std::fs;
use std::time::Duration;

use crate::support::nats_cluster::Servers;
use crate::support::{Gateway, free_ports, sipp, wait_for};

#[test]
fn a_gateway_leaves_a_server_that_is_cut_off_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    if servers.urls[0].contains("127.0.0.1") {
        eprintln!("skipped: this machine gives no network namespaces, and nothing can be cut");
        return;
    }
    let [port, callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let (shown, urls) = (folder.display(), servers.list());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"lines\"]\n[queue]\npath = \"{shown}/queue\"\nfree_min_mib = 0\n\
         [admin]\nsocket = \"{shown}/admin.sock\"\n[sinks.file.lines]\npath = \"{shown}/lines.json\"\n\
         [cluster]\nnats = {urls}\nname = \"gw1\"\nlease_ms = 2000\n"
    );
    let gateway = Gateway::start_on(&folder, port, &toml, 9);
    let says = |text: &str| wait_for(text, || gateway.log().contains(text).then_some(()));
    says("the cluster has taken this gateway in");
    let own = wait_for("its connection", || servers.of_client("calls gw1"));
    servers.tell(&format!("cut {own}"));
    says("the cluster does not answer");
    // A call that begins now is mirrored, though the server stays cut off.
    let to = gateway.address().to_string();
    let _call = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "1", "-d", "300000"]).unwrap();
    says("another one is tried");
    wait_for("the call is in the bucket", || {
        // Asked of a server that is not cut off, one after the other.
        std::thread::park_timeout(Duration::from_millis(200));
        (servers.count("KV_TOLLGATE_CALLS") == Some(1)).then_some(())
    });
    assert_ne!(servers.of_client("calls gw1"), Some(own), "{}", gateway.log());
}
