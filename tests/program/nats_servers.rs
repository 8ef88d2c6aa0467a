//! NATS servers that are more than one, or an operator's: a cluster without a leader, and credentials files.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::Config;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value as Json, json};
use tollgate::ids::CallHash;
use tollgate::record::Kind;
use tollgate::sinks::jetstream::{Access, Login};
use tollgate::sinks::nats::Settings;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::nats::{Nats, config, line};
use crate::support::radius::record;
use crate::support::start::Start as _;
use crate::support::{free_ports, try_wait_for, wait_for};

/// A JWT as NATS has them: what `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Json) -> String {
    let part = |json: Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let header = part(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats,
    }));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// A credentials file: a user of an account, and the seed of its key.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, &user, "gw", claims),
        user.seed().unwrap()
    )
}

#[test]
fn a_credentials_file_lets_in_whom_the_operator_knows() {
    let dir = tempfile::tempdir().unwrap();
    let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({ "type": "account", "version": 2, "limits": limits });
    let of_system =
        json!({ "type": "account", "version": 2, "limits": { "subs": -1, "conn": -1, "data": -1, "payload": -1 } });
    let configuration = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}\n",
        jwt(&operator, &operator, "operator", json!({ "type": "operator", "version": 2 })),
        system.public_key(),
        system.public_key(),
        jwt(&operator, &system, "system", of_system),
        account.public_key(),
        jwt(&operator, &account, "accounting", of_account),
    );
    let good = credentials(&account);
    let own = good.clone();
    let options = move || ConnectOptions::with_credentials(&own).unwrap();
    let Some(nats) = Nats::start(dir.path(), &configuration, options) else { return };
    nats.stream(config("ACC", &["acc.*"]));
    let login = |text: &str| Login::Credentials(Secret::new(text.to_owned()));
    let settings = nats.settings("ACC", "acc.{kind}");
    let access = Access { login: login(&good), ..settings.access.clone() };
    let mut known = line(&Settings { access, ..settings });
    let stops = (0..5).map(|number| record(Kind::Stop, number, Vec::new()));
    known.append(stops.map(|record| (record.clone(), CallHash::of(&record.call_id))).collect());
    known.delivered(5);
    assert_eq!(nats.count("ACC"), 5);

    // An account that the operator does not know, and the configuration's own way to the file.
    for (text, is_known) in [(good, true), (credentials(&KeyPair::new_account()), false)] {
        let file = dir.path().join("gw.creds");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let trial = deep(dir.path(), &nats.url());
        let why = trial["why"].as_str().unwrap_or_default();
        assert_eq!((trial["ok"].as_bool(), why.contains("does not let us in")), (Some(is_known), !is_known), "{trial}");
    }
}

/// What `check --deep` says of a sink with credentials.
fn deep(dir: &Path, url: &str) -> Json {
    let ([port], folder) = (free_ports(), dir.display());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\non = [\"nats\"]\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.nats.acc]\nservers = [\"{url}\"]\nstream = \"ACC\"\nsubject = \"acc.{{kind}}\"\ncredentials_file = \"gw.creds\"\n"
    );
    let file = dir.join("tollgate.toml");
    fs::write(&file, toml).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["check", "--deep", "--json", "--config"]).arg(file).finish().unwrap();
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    report["trials"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn a_cluster_that_has_lost_its_leader_keeps_records_waiting_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let routes: [u16; 3] = free_ports();
    let all = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
    let mut servers = Vec::new();
    for (number, port) in routes.iter().enumerate() {
        let more =
            format!("server_name: n{number}\ncluster {{ name: acc, listen: \"127.0.0.1:{port}\", routes: [{all}] }}\n");
        let Some(nats) = Nats::start(&dir.path().join(format!("n{number}")), &more, ConnectOptions::new) else {
            return;
        };
        servers.push(nats);
    }
    // The three choose a leader first.
    let stream = Config { num_replicas: 3, ..config("ACC", &["acc.*"]) };
    wait_for("the cluster makes a stream", || {
        servers[0].with(async |context| context.create_stream(&stream).await.map(drop).ok())
    });
    let stops = |numbers: std::ops::Range<u64>| {
        let stops = numbers.map(|number| record(Kind::Stop, number, Vec::new()));
        stops.map(|record| (record.clone(), CallHash::of(&record.call_id))).collect::<Vec<_>>()
    };
    let mut settings = servers[0].settings("ACC", "acc.{kind}");
    settings.access.servers = servers.iter().map(Nats::url).collect();
    settings.access.timeout = std::time::Duration::from_millis(500);
    let mut line = line(&settings);
    let mut want: HashSet<_> = line.append(stops(0..100)).iter().map(ToString::to_string).collect();
    line.delivered(100);

    // One of three is no majority: nobody may acknowledge.
    servers[0].kill();
    servers[1].kill();
    want.extend(line.append(stops(100..300)).iter().map(ToString::to_string));
    let mut last = String::new();
    let told = try_wait_for(|| {
        let view = line.board.views().remove(0);
        last = format!("{}: {}", view.state, view.note.unwrap_or_default());
        (last.starts_with("down: ") && ["acknowledge", "leader", "JetStream"].iter().any(|word| last.contains(word)))
            .then_some(())
    });
    assert!(told.is_some(), "{last}");
    // When they are tried again is for the back-off, which grows; that they are is seen when the majority is back.
    assert_eq!((line.stats().balance.delivered, line.stats().balance.parked), (100, 0), "{last}");

    servers[0].start_again(None);
    servers[1].start_again(None);
    line.delivered(300);
    let stored = wait_for("the stream has a leader", || {
        servers[2]
            .with(async |context| context.get_stream("ACC").await.ok().map(drop))
            .map(|()| servers[2].stored("ACC"))
    });
    let ids: HashSet<_> = stored.iter().map(|message| message.id.clone()).collect();
    assert_eq!((stored.len(), ids == want, line.stats().balance.parked), (300, true, 0), "each once");
}
