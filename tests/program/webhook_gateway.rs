//! The gateway with a receiver of webhooks behind it: TLS, logins and signatures, the commands, and `kill -9` under calls.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::start::Start as _;
use crate::support::webhook::{Receiver, ids};
use crate::support::{Gateway, free_ports, sipp, try_wait_for, wait_for};

fn configuration(dir: &Path, port: u16, callee: u16, sink: &str) -> String {
    let folder = dir.display();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"webhook\"]\nfields = {{ caller = \"$fU\" }}\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n\
         [admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.webhook.acc]\nretry_first_ms = 50\nretry_max_s = 1\n{sink}\n"
    )
}

fn gateway(dir: &Path, callee: u16, sink: &str) -> Gateway {
    let ([port], dir) = (free_ports(), dir.join("gateway"));
    fs::create_dir_all(&dir).unwrap();
    for (name, text) in [("password", "open sesame\n"), ("token", "a.b-c\n"), ("key", "the key\n")] {
        fs::write(dir.join(name), text).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    Gateway::start_on(&dir, port, &configuration(&dir, port, callee, sink), 9)
}

/// The same with another sink from here on.
fn reload(gateway: &Gateway, callee: u16, sink: &str) {
    let text = configuration(&gateway.dir, gateway.port, callee, sink);
    fs::write(gateway.dir.join("tollgate.toml"), text).unwrap();
    assert_eq!(gateway.command(&["reload"]), "reloaded\n");
}

fn calls(dir: &Path, gateway: &Gateway, count: u32) {
    let [caller] = free_ports();
    let (to, count) = (gateway.address().to_string(), count.to_string());
    let mut calls = sipp(dir, "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
}

/// `check --deep`: what it says of the sink, and its warnings.
fn deep(gateway: &Gateway) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["check", "--deep", "--json", "--config"]).arg(gateway.dir.join("tollgate.toml"));
    let report: Value = serde_json::from_slice(&command.finish().unwrap().stdout).unwrap();
    let trials = report["trials"].as_array().unwrap();
    let own = trials.iter().find(|trial| trial["what"].as_str().unwrap().starts_with("sink acc")).unwrap();
    (own["ok"].as_bool().unwrap(), format!("{}{}", own["why"].as_str().unwrap_or_default(), own["warnings"]))
}

#[test]
fn calls_come_over_tls_with_a_login_and_a_signature_and_every_command_knows_the_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let Some(receiver) = Receiver::start_tls(dir.path()) else { return };
    let [callee] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    fs::write(receiver.dir().join("key"), "the key\n").unwrap();
    let (tls, port) = (receiver.dir().join("tls"), receiver.port);
    let tls = tls.display();
    let files = format!("certificate = \"{tls}/client.pem\"\nkey = \"{tls}/client.key\"\nsigning_key_file = \"key\"\n");
    let (ca, other) = (format!("ca = \"{tls}/ca.pem\"\n"), format!("ca = \"{tls}/client.pem\"\n"));
    let url = |host: &str| format!("url = \"https://{host}:{port}/acc?tenant=hidden\"\n");
    let basic = "user = \"gw\"\npassword_file = \"password\"\n";
    let gateway = gateway(dir.path(), callee, &format!("{}{ca}{files}{basic}", url("localhost")));
    calls(dir.path(), &gateway, 2);
    wait_for("four events", || (receiver.seen().len() == 4).then_some(()));
    for request in receiver.seen() {
        let headers = &request["headers"];
        assert_eq!((&request["path"], &request["verified"]), (&json!("/acc?tenant=hidden"), &json!(true)), "{request}");
        // printf 'gw:open sesame' | base64
        assert_eq!(headers["authorization"], "Basic Z3c6b3BlbiBzZXNhbWU=");
        assert_eq!(request["json"]["data"]["fields"]["caller"], "alice");
    }
    // An array with a bearer token.
    let more = "token_file = \"token\"\nbatch = \"array\"\nprofile = \"opensips\"\n";
    reload(&gateway, callee, &format!("{}{ca}{files}{more}", url("127.0.0.1")));
    calls(dir.path(), &gateway, 2);
    let all = |receiver: &Receiver| receiver.seen().iter().flat_map(ids).count();
    wait_for("eight events", || (all(&receiver) == 8).then_some(()));
    let last = receiver.seen().pop().unwrap();
    assert_eq!(
        (&last["headers"]["authorization"], &last["verified"]),
        (&json!("Bearer a.b-c"), &json!(true)),
        "{last}"
    );
    assert_eq!(last["json"][0]["data"]["caller"], "alice", "{last}");

    let status = gateway.command(&["status"]);
    let place = format!("https://127.0.0.1:{port}/acc");
    assert!(status.contains(&place) && status.contains("taken by the receiver, as its 2xx says"), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc"]);
    assert!(sent.contains("verdict    acknowledged") && sent.contains("POST"), "{sent}");
    assert_eq!(all(&receiver), 9, "the test record");
    assert_eq!(deep(&gateway), (true, "null".to_owned()));
    receiver.rules(&json!([{"status": 404}]));
    let (is_good, said) = deep(&gateway);
    assert!(is_good && said.contains(&format!("a HEAD request to {place} is answered 404 Not Found")), "{said}");
    receiver.rules(&json!([{"status": 302, "headers": {"Location": "/login"}}]));
    let (is_good, said) = deep(&gateway);
    assert!(!is_good && said.contains("it answered 302 Found and points to /login"), "{said}");
    receiver.rules(&json!([]));

    // Another name than that of its certificate, another authority, no certificate of ours: nobody gets a record.
    let tries = [
        (
            format!("{}{ca}{files}", url("127.0.0.2")),
            "its certificate is refused: invalid peer certificate: certificate not valid for name",
        ),
        (format!("{}{other}{files}", url("localhost")), "its certificate is refused: invalid peer certificate: "),
        (format!("{}{ca}", url("localhost")), "received fatal alert: CertificateRequired"),
    ];
    for (number, (sink, want)) in tries.into_iter().enumerate() {
        reload(&gateway, callee, &sink);
        calls(dir.path(), &gateway, 1);
        let told = try_wait_for(|| gateway.command(&["status"]).contains(want).then_some(()));
        assert!(told.is_some(), "{want}: {}", gateway.command(&["status"]));
        assert_eq!(all(&receiver), 9 + 2 * number);
        reload(&gateway, callee, &format!("{}{ca}{files}", url("localhost")));
        wait_for("what waited", || (all(&receiver) == 11 + 2 * number).then_some(()));
    }
    reload(&gateway, callee, &format!("{}{ca}{files}verify_host = false\n", url("127.0.0.2")));
    calls(dir.path(), &gateway, 1);
    wait_for("the name does not count", || (all(&receiver) == 17).then_some(()));
    let whole = format!("{}{}{}", gateway.log(), gateway.command(&["status"]), gateway.command(&["queue", "status"]));
    for secret in ["open sesame", "a.b-c", "the key", "hidden"] {
        assert!(!whole.contains(secret), "{secret}");
    }
}

#[test]
fn kill_9_of_the_gateway_and_of_the_receiver_loses_no_record_and_keeps_the_keys() {
    for batch in ["each", "array"] {
        let kills = std::env::var("TOLLGATE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(3_u64);
        let dir = tempfile::tempdir().unwrap();
        let Some(mut receiver) = Receiver::start(dir.path()) else { return };
        let [callee, caller] = free_ports();
        let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
        let sink = format!("url = \"http://127.0.0.1:{}/acc\"\nbatch = \"{batch}\"", receiver.port);
        let mut gateway = gateway(dir.path(), callee, &sink);
        let (to, log) = (gateway.address().to_string(), dir.path().join("seen.log"));
        let words = [&to, "-r", "60", "-d", "300", "-trace_logs", "-log_file", log.to_str().unwrap()];
        let words = [&words[..], &["-recv_timeout", "20000", "-timeout", "600"]].concat();
        let mut calls = sipp(dir.path(), "uac_logged.xml", caller, &words).unwrap();
        let all = |receiver: &Receiver| receiver.seen().iter().flat_map(ids).collect::<HashSet<_>>().len();
        for kill in 0..kills {
            let begin = all(&receiver);
            let more = try_wait_for(|| (all(&receiver) > begin + 20).then_some(()));
            assert!(more.is_some(), "at kill {kill} no more than {begin}: {}", gateway.command(&["status"]));
            if kill % 3 != 0 {
                receiver.kill();
            }
            if kill % 3 != 1 {
                gateway.start_again();
            }
            if kill % 3 != 0 {
                receiver.start_again();
            }
        }
        // No new calls; those that go on end.
        calls.signal(libc::SIGUSR1);
        calls.wait("the caller");
        let balance = wait_for("the queue is empty", || {
            let status: Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
            let balance = status["sinks"][0].clone();
            (balance["waiting"] == 0).then_some(balance)
        });
        let (seen, mut events) = (receiver.seen(), HashSet::new());
        for request in &seen {
            let key = request["headers"]["idempotency-key"].as_str();
            assert_eq!(key, if batch == "each" { &request["ids"][0] } else { &request["hash"] }.as_str(), "{request}");
            let parts = if batch == "each" {
                vec![&request["json"]]
            } else {
                request["json"].as_array().unwrap().iter().collect()
            };
            for event in parts {
                events.insert((
                    event["type"].as_str().unwrap().to_owned(),
                    event["subject"].as_str().unwrap().to_owned(),
                ));
            }
        }
        let unique: HashSet<_> = seen.iter().flat_map(ids).collect();
        println!("{batch}: {} requests, {} events, {kills} kills: {balance}", seen.len(), unique.len());
        assert_eq!((balance["parked"].as_u64(), Some(unique.len() as u64)), (Some(0), balance["appended"].as_u64()));
        let answers = fs::read_to_string(&log).unwrap();
        let answers: Vec<_> = answers.lines().filter_map(|line| line.trim().split_once(' ')).collect();
        assert!(answers.len() as u64 > kills * 20, "only {} answers seen", answers.len());
        for (what, call) in answers {
            let kind = if what == "answered" { "tollgate.record.start" } else { "tollgate.record.stop" };
            let event = (kind.to_owned(), call.trim().to_owned());
            assert!(events.contains(&event), "it was seen, and there is no event: {event:?}\n{}", gateway.log());
        }
    }
}
