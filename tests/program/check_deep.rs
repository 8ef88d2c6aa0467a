//! `tollgate check --deep`: what it tries, with a real FreeRADIUS, a real freeDiameter and with what is not there.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use async_nats::ConnectOptions;
use async_nats::jetstream::Context;
use serde_json::Value;

use crate::support::diameter::FreeDiameter;
use crate::support::nats::Nats;
use crate::support::nats_cluster::Servers;
use crate::support::start::Start as _;
use crate::support::{FreeRadius, free_ports, peer, wait_for};

/// `check --deep --json` of a configuration with these sinks: the exit code, and what it printed.
fn deep(dir: &Path, sinks: &str) -> (i32, Value) {
    let (toml, file) = (of_gateway(dir, sinks), dir.join("tollgate.toml"));
    fs::write(&file, toml).unwrap();
    deeply(&file, &[])
}

/// A gateway with these sinks, of which it uses `test`.
fn of_gateway(dir: &Path, sinks: &str) -> String {
    let [port] = free_ports();
    let folder = dir.display();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\n\
         on = [\"test\"]\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         {sinks}"
    )
}

/// `check --deep --json` of a file.
fn deeply(file: &Path, more: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["check", "--deep", "--json"]).args(more).arg("--config").arg(file).finish().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    (output.status.code().unwrap(), value)
}

/// What was said of the one server of the sink.
fn of_server(report: &Value) -> (bool, String) {
    let trials = report["trials"].as_array().unwrap();
    let of_sink = |trial: &&Value| trial["what"].as_str().unwrap().starts_with("sink test");
    let [trial] = trials.iter().filter(of_sink).collect::<Vec<_>>()[..] else { panic!("{report}") };
    let why = trial["why"].as_str().unwrap_or_default().to_owned();
    assert_eq!(trial["ok"].as_bool().unwrap(), why.is_empty(), "{report}");
    (why.is_empty(), why)
}

#[test]
fn everything_a_start_needs_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeRadius::start(dir.path(), &[]) else { return };
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let [port, nobody, closed] = free_ports();
    let folder = dir.path().display().to_string();
    let good = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n\
         [accounting]\non = [\"radius\"]\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\
         [sinks.radius.test]\nconfig = \"client.conf\"\n[admin]\nsocket = \"{folder}/admin.sock\"\n"
    );
    let client = |port: u16| {
        format!("acctserver 127.0.0.1:{port}:testing123\nradius_timeout 1\nradius_retries 1\nnas-ip 127.0.0.1\n")
    };
    let diameter = format!("{good}[sinks.diameter.cdf]\nconfig = \"diameter.conf\"\n")
        .replace("[\"radius\"]", "[\"radius\", \"diameter\"]");
    fs::write(
        dir.path().join("diameter.conf"),
        format!("identity gw.example.org\nrealm example.org\nacctserver 127.0.0.1:{closed}\n"),
    )
    .unwrap();
    let server_ok = format!("ok      sink test 127.0.0.1:{}", server.port);
    for (what, toml, port_of_server, code, parts) in [
        ("all is well", good.clone(), server.port, 0, vec![server_ok.as_str(), "ok      free space", "would start"]),
        (
            "a port in use",
            good.replace(&format!("udp:127.0.0.1:{port}"), &format!("udp:127.0.0.1:{taken_port}")),
            server.port,
            1,
            vec!["failed  udp:127.0.0.1:", "in use", server_ok.as_str()],
        ),
        ("a server that is not there", good.clone(), nobody, 1, vec!["failed  sink test 127.0.0.1:"]),
        (
            "too little space",
            good.replace("free_min_mib = 0", "free_min_mib = 1073741824"),
            server.port,
            1,
            vec!["failed  free space: ", "`queue.free_min_mib` is 1073741824"],
        ),
        (
            "a folder that nobody can make",
            good.replace(&format!("{folder}/queue"), "/proc/queue"),
            server.port,
            1,
            vec!["failed  queue /proc/queue: ", "belongs to the user 0"],
        ),
        (
            "a Diameter peer that is not there",
            diameter,
            server.port,
            1,
            vec!["failed  sink cdf 127.0.0.1:", server_ok.as_str()],
        ),
    ] {
        fs::write(dir.path().join("tollgate.toml"), toml).unwrap();
        fs::write(dir.path().join("client.conf"), client(port_of_server)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output =
            command.args(["check", "--deep", "--config"]).arg(dir.path().join("tollgate.toml")).finish().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{what}: {said}");
        for part in parts {
            assert!(said.contains(part), "{what}: {part} is not in {said}");
        }
        assert_eq!(said.contains("would start"), code == 0, "{what}: {said}");
        assert!(!dir.path().join("queue").exists(), "{what}: it leaves nothing behind");
    }
}

#[test]
fn what_was_tried_is_told_as_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let [nobody] = free_ports();
    fs::write(
        dir.path().join("client.conf"),
        format!("acctserver 127.0.0.1:{nobody}:testing123\nradius_timeout 1\nradius_retries 1\n"),
    )
    .unwrap();
    let (code, report) = deep(dir.path(), "[sinks.radius.test]\nconfig = \"client.conf\"\n");
    assert_eq!((code, &report["would_start"]), (1, &false.into()), "{report}");
    let (is_ok, why) = of_server(&report);
    assert!(!is_ok && why == "nobody listens there", "{report}");
    let trials = report["trials"].as_array().unwrap();
    let good: Vec<_> =
        trials.iter().filter(|trial| trial["ok"] == true).map(|trial| trial["what"].as_str().unwrap()).collect();
    assert!(good.iter().any(|what| what.starts_with("udp:127.0.0.1:")) && good.contains(&"free space"), "{report}");
    let warned = report["findings"].as_array().unwrap().iter().map(|own| own["what"].as_str().unwrap());
    assert!(warned.into_iter().any(|what| what.contains("every user may read it")), "{report}");
    // A mistake ends it before anything is tried.
    let (code, report) = deep(dir.path(), "[sinks.radius.test]\nconfig = \"none.conf\"\n");
    assert_eq!((code, &report["would_start"]), (78, &false.into()), "{report}");
    assert_eq!(report["trials"].as_array().map(Vec::len), Some(0), "{report}");
    assert!(report["findings"].as_array().unwrap().iter().any(|own| own["weight"] == "error"), "{report}");
}

/// A connection that stands says nothing of what is behind it: the server is asked as over UDP.
#[test]
fn a_radius_server_over_tcp_and_tls_is_asked_too() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_) = peer("openssl") else { return };
    let [tls_port] = free_ports();
    let environment = [("RADTEST_TCP", "1"), ("RADTEST_TLS_PORT", &tls_port.to_string())];
    let Some(server) = FreeRadius::start(dir.path(), &environment) else { return };
    let certs = server.dir.join("certs").display().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = |port: u16| format!("serv-type tcp\nacctserver 127.0.0.1:{port}:testing123\n");
    let tls = |ca: &str| {
        format!(
            "serv-type tls\nacctserver localhost:{tls_port}\ntls-ca-file {ca}\ntls-cert-file {certs}/client.pem\n\
             tls-key-file {certs}/client.key\n"
        )
    };
    for (what, client, want) in [
        ("TCP", tcp(server.port), ""),
        ("TLS", tls(&format!("{certs}/ca.pem")), ""),
        ("another authority", tls(&format!("{certs}/client.pem")), "no connection: "),
        (
            "a secret that differs",
            tcp(server.port).replace("testing123", "another-secret"),
            "the connection stands, but",
        ),
        (
            "one that takes connections and is silent",
            tcp(silent.local_addr().unwrap().port()),
            "the connection stands, but",
        ),
        ("nobody", tcp(1), "no connection: "),
    ] {
        fs::write(
            dir.path().join("client.conf"),
            format!("{client}radius_timeout 1\nradius_retries 1\nnas-ip 127.0.0.1\n"),
        )
        .unwrap();
        let (code, report) = deep(dir.path(), "[sinks.radius.test]\nconfig = \"client.conf\"\n");
        let (is_ok, why) = of_server(&report);
        assert_eq!((is_ok, code), (want.is_empty(), i32::from(!want.is_empty())), "{what}: {report}");
        assert!(why.starts_with(want), "{what}: {why}");
    }
}

#[test]
fn a_diameter_peer_is_asked_for_its_capabilities() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "a", &[]) else { return };
    let client = |more: &str| {
        format!("identity gw.test.example\nrealm test.example\n{more}\n").replace("PORT", &server.port.to_string())
    };
    for (what, client, want) in [
        ("it answers", client("acctserver 127.0.0.1:PORT"), ""),
        ("it is somebody else", client("acctserver other.test.example=127.0.0.1:PORT"), "calls itself"),
        ("nobody listens", client("acctserver 127.0.0.1:1"), "Connection refused"),
    ] {
        fs::write(dir.path().join("diameter.conf"), client).unwrap();
        let (code, report) = deep(dir.path(), "[sinks.diameter.test]\nconfig = \"diameter.conf\"\n");
        let (is_ok, why) = of_server(&report);
        assert_eq!((is_ok, code), (want.is_empty(), i32::from(!want.is_empty())), "{what}: {report}");
        assert!(why.contains(want), "{what}: {why}");
    }
    assert_eq!(server.requests().len(), 0, "no record was sent");
    wait_for("it has been told that the question is over", || (server.goodbyes() > 0).then_some(()));
}

#[test]
fn a_port_that_is_not_what_it_is_taken_for_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // It greets whoever comes in clear text.
    let Some(nats) = Nats::start(dir.path(), "", ConnectOptions::new) else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (clear, silent) = (nats.port, silent.local_addr().unwrap().port());
    let no_tls = "what it answers is no TLS: is this the right port?";
    for (kind, section, want) in [
        ("amqp", format!("url = \"amqps://localhost:{clear}\""), no_tls),
        ("syslog", format!("to = \"tls:localhost:{clear}\""), no_tls),
        ("webhook", format!("url = \"https://localhost:{clear}/acc\""), no_tls),
        #[cfg(feature = "redis")]
        ("redis", format!("url = \"rediss://localhost:{clear}\""), no_tls),
        (
            "nats",
            format!("servers = [\"nats://127.0.0.1:{silent}\"]\nstream = \"ACC\"\ntimeout_ms = 300"),
            "no server has let us in within 0.3 s",
        ),
        #[cfg(feature = "kafka")]
        ("kafka", format!("brokers = [\"127.0.0.1:{silent}\"]\ntimeout_ms = 1000"), "no broker has answered"),
    ] {
        let (code, report) = deep(dir.path(), &format!("[sinks.{kind}.test]\n{section}\n"));
        let (_, why) = of_server(&report);
        assert!(code == 1 && why.contains(want), "{kind}: {why}");
    }
}

/// What was tried, each with why it failed; warnings too.
fn trials(report: &Value) -> Vec<String> {
    let told = |trial: &Value| format!("{}: {} {}", trial["what"].as_str().unwrap(), trial["why"], trial["warnings"]);
    report["trials"].as_array().unwrap().iter().map(told).collect()
}

/// Who may publish what: everything; all but records; all but what deliverers hold.
const LOGINS: &str = "authorization { users: [ { user: all, password: secret }, \
    { user: mute, password: secret, permissions: { publish: { deny: [\"tollgate.records.>\"] } } }, \
    { user: idle, password: secret, permissions: { publish: { deny: [\"$KV.TOLLGATE_STATE.lease.partition.*\"] } } } ] }\n";

#[test]
fn a_gateway_of_a_cluster_asks_the_cluster_and_its_deliverers_ask_the_backends() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, LOGINS) else { return };
    let [nobody] = free_ports();
    let folder = dir.path().display();
    fs::write(dir.path().join("password"), "secret\n").unwrap();
    fs::set_permissions(dir.path().join("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let cluster = |user: &str| {
        format!(
            "[sinks.webhook.test]\nurl = \"http://127.0.0.1:{nobody}/\"\n[cluster]\nnats = {}\nname = \"gw\"\nreplicas = 1\n\
             user = \"{user}\"\npassword_file = \"password\"\n\
             [deliver]\ndirectory = \"{folder}/hand\"\nsocket = \"{folder}/deliver.sock\"\n",
            servers.list()
        )
    };
    let file = dir.path().join("tollgate.toml");
    let check = |toml: String, more: &[&str]| {
        fs::write(&file, toml).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let (code, report) = deeply(&file, more);
        (code, trials(&report))
    };
    let has = |told: &[String], begin: &str, part: &str| {
        let it = told.iter().find(|own| own.starts_with(begin));
        assert!(it.is_some_and(|own| own.contains(part)), "{begin} with {part}: {told:#?}");
    };
    let gateway = |user: &str| of_gateway(dir.path(), &cluster(user));
    let alone = |user: &str| format!("[queue]\nfree_min_mib = 0\n{}", cluster(user));

    // Nothing is there yet: a start makes it.
    let (code, told) = check(gateway("all"), &[]);
    assert_eq!(code, 0, "{told:#?}");
    has(&told, "cluster nats://", "TOLLGATE_RECORDS` is not there yet");
    has(&told, "sink test, for the deliverers: tollgate.records.test.000", "not tried");
    let mut init = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    assert!(init.args(["cluster", "init", "--config"]).arg(&file).finish().unwrap().status.success());

    let (code, told) = check(gateway("all"), &[]);
    assert_eq!(code, 0, "{told:#?}");
    assert!(!told.iter().any(|own| own.contains(&nobody.to_string())), "{told:#?}");
    for begin in ["udp:127.0.0.1:", "queue ", "sink test, for", "cluster, its name:", "cluster, calls in progress:"] {
        has(&told, begin, ": null null");
    }
    let (code, told) = check(gateway("mute"), &[]);
    assert_eq!(code, 1, "{told:#?}");
    has(&told, "sink test, for the deliverers: tollgate.records.test.000", "do not let this login publish there");
    has(&told, "cluster, its name:", ": null null");

    // The same file for who delivers, and one that is for nothing else.
    for (toml, more) in [(gateway("all"), &["--deliver"][..]), (alone("all"), &[])] {
        let (code, told) = check(toml, more);
        assert_eq!(code, 1, "{told:#?}");
        has(&told, "sink test http", "refused");
        for begin in [
            "deliver.socket ",
            "deliver.directory ",
            "free space",
            "cluster nats://",
            "cluster, partitions:",
            "cluster, progress:",
        ] {
            has(&told, begin, ": null null");
        }
        assert!(!told.iter().any(|own| own.starts_with("udp:") || own.starts_with("queue ")), "{told:#?}");
    }
    let (_, told) = check(alone("idle"), &[]);
    has(&told, "cluster, partitions:", "do not let this login publish there");
    has(&told, "cluster, progress:", ": null null");

    // Nothing was stored and nothing is left.
    let login = || ConnectOptions::with_user_and_password("all".to_owned(), "secret".to_owned());
    for stream in ["TOLLGATE_RECORDS", "KV_TOLLGATE_STATE", "KV_TOLLGATE_CALLS"] {
        let count = async |context: Context| context.get_stream(stream).await.unwrap().cached_info().state.messages;
        assert_eq!(servers.with_options(login(), count), 0, "{stream}");
    }
    assert!(!dir.path().join("hand").exists() && !dir.path().join("queue").exists());
    let sink = format!("[sinks.webhook.test]\nurl = \"http://127.0.0.1:{nobody}/\"\n");
    fs::write(&file, of_gateway(dir.path(), &sink)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["check", "--deep", "--deliver", "--config"]).arg(&file).finish().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(64) && said.contains("`tollgate deliver` needs `[cluster]`"), "{said}");
}
