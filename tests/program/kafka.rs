//! Topics of brokers that speak Kafka's protocol: one restarts, stands, lacks a topic, refuses what is too large; another asks
//! who we are; and librdkafka's own cluster gives the errors of clusters.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use serde_json::Value as Json;
use tollgate::ids::CallHash;
use tollgate::net::tls::{ClientFiles, ClientTls, Identity, NameCheck, Roots};
use tollgate::record::{Kind, Record};
use tollgate::sinks::attempt::Board;
use tollgate::sinks::kafka::{Login, Mechanism};
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::kafka::{Broker, Read, line, make, read, settings};
use crate::support::radius::{Line, field, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_ports, peer, sipp, wait_for};

fn append(line: &mut Line<Board>, records: impl IntoIterator<Item = Record>) -> Vec<String> {
    let with_call = |record: Record| {
        let call = CallHash::of(&record.call_id);
        (record, call)
    };
    line.append(records.into_iter().map(with_call).collect()).iter().map(ToString::to_string).collect()
}

fn facts(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Record> {
    numbers.map(|number| record(Kind::Event, number, Vec::new()))
}

/// Waits until the sink says this of its brokers, in that state.
fn told(line: &Line<Board>, state: &str, want: &str) {
    wait_for(want, || {
        let view = line.board.views().remove(0);
        (view.state == state && view.note.is_some_and(|note| note.contains(want))).then_some(())
    });
}

fn ids(read: &[Read]) -> HashSet<String> {
    read.iter().map(|own| own.id.clone()).collect()
}

/// Each record is there, and nothing else.
fn has_all(read: &[Read], sent: impl IntoIterator<Item = String>) {
    let (found, sent) = (ids(read), HashSet::from_iter(sent));
    let missing = sent.difference(&found).count();
    assert_eq!((missing, found.difference(&sent).count()), (0, 0), "missing and unknown, of {}", sent.len());
}

#[test]
fn a_broker_that_restarts_or_stands_has_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::noida(dir.path()) else { return };
    broker.make("acc", 3, &[]);
    let mut line = line(&settings(&broker.address(), "acc"));
    let mut sent = Vec::new();
    for round in 0..4_u64 {
        let begin = round * 1000;
        sent.extend(append(&mut line, facts(begin..begin + 600)));
        if round % 2 == 0 {
            // It forgets what it takes while it ends.
            line.delivered(sent.len() as u64);
            broker.end();
            sent.extend(append(&mut line, facts(begin + 900..begin + 901)));
            told(&line, "down", "Connection refused");
            broker.start_again();
        } else {
            line.delivered(sent.len() as u64 - 500);
            broker.process.freeze();
            sent.extend(append(&mut line, facts(begin + 900..begin + 901)));
            told(&line, "down", "no acknowledgement within 3 s");
            broker.process.signal(libc::SIGCONT);
        }
        line.delivered(sent.len() as u64);
    }
    assert_eq!(line.stats().parked_now, 0);
    let messages = broker.read("acc");
    has_all(&messages, sent);
    assert!(messages.iter().all(|own| own.body["id"] == *own.id && own.body["specversion"] == "1.0"));
    assert!(messages.iter().all(|own| own.content_type == "application/cloudevents+json"));
    println!("{} messages of {} records", messages.len(), ids(&messages).len());
}

#[test]
fn without_a_topic_records_wait_and_the_others_flow() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::noida(dir.path()) else { return };
    let mut one = line(&settings(&broker.address(), "acc"));
    let first = append(&mut one, facts(0..5));
    told(&one, "misfit", "there is no topic `acc`: make it, or set `make_topics`");
    broker.make("acc", 2, &[]);
    one.delivered(5);
    has_all(&broker.read("acc"), first);
    // Of two topics one is there.
    broker.make("acc.event", 1, &[]);
    let mut two = line(&settings(&broker.address(), "acc.{kind}"));
    let missed = append(&mut two, (100..103).map(|number| record(Kind::Missed, number, Vec::new())));
    let events = append(&mut two, facts(103..400));
    two.delivered(297);
    wait_for("the client takes the topic for missing", || (two.stats().retries > 20).then_some(()));
    broker.make("acc.missed", 1, &[]);
    two.delivered(300);
    has_all(&broker.read("acc.event"), events);
    has_all(&broker.read("acc.missed"), missed);
    // One that may be made is.
    let mut made = settings(&broker.address(), "acc_made");
    made.makes_topics = true;
    let mut three = line(&made);
    append(&mut three, facts(500..503));
    three.delivered(3);
    assert_eq!(broker.read("acc_made").len(), 3);
    assert_eq!((one.stats().parked_now, two.stats().parked_now), (0, 0));
}

#[test]
fn what_is_too_large_for_its_topic_parks_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::noida(dir.path()) else { return };
    broker.make("acc", 1, &[("max.message.bytes", "4000")]);
    let mut plan = settings(&broker.address(), "acc");
    plan.body.fields = vec![("tenant".to_owned(), "tenant".to_owned())];
    let mut line = line(&plan);
    let fact = |number| {
        let tenant = if number % 40 == 7 { "x".repeat(5000) } else { "acme".to_owned() };
        record(Kind::Event, number, vec![field("tenant", tenant)])
    };
    let sent = append(&mut line, (0..200).map(fact));
    line.delivered(195);
    for (_, reason) in line.parked(5) {
        assert!(reason.contains("it is too large for the topic `acc` (`max.message.bytes`)"), "{reason}");
    }
    let messages = broker.read("acc");
    assert_eq!(messages.len(), 195, "none of them twice");
    let small = sent.into_iter().enumerate().filter(|(at, _)| at % 40 != 7).map(|(_, id)| id);
    has_all(&messages, small);
}

#[test]
fn records_of_a_session_keep_their_order_in_one_partition() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::noida(dir.path()) else { return };
    broker.make("acc", 3, &[]);
    let mut line = line(&settings(&broker.address(), "acc"));
    let of_session = |kind: Kind| {
        move |session: u64| Record { session: format!("session-{session}"), ..record(kind, session, Vec::new()) }
    };
    for kind in [Kind::Start, Kind::Stop] {
        append(&mut line, (0..100).map(of_session(kind)));
    }
    line.delivered(200);
    let mut sessions: BTreeMap<String, Vec<(i32, i64, String)>> = BTreeMap::new();
    for own in broker.read("acc") {
        let kind = own.body["data"]["kind"].as_str().unwrap().to_owned();
        sessions.entry(own.key.unwrap()).or_default().push((own.partition, own.offset, kind));
    }
    assert_eq!(sessions.len(), 100);
    let mut used = HashSet::new();
    for (session, of_it) in sessions {
        let kinds: Vec<_> = of_it.iter().map(|(_, _, kind)| kind.as_str()).collect();
        assert_eq!(kinds, ["start", "stop"], "{session}");
        assert!(of_it.iter().all(|(partition, ..)| *partition == of_it[0].0), "{session}");
        used.insert(of_it[0].0);
    }
    assert_eq!(used.len(), 3, "all partitions are used");
}

#[test]
fn the_errors_of_a_cluster_park_nothing_and_are_told_in_its_words() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("acc", 4, 3).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers);
    let mut plan = settings(&brokers, "acc");
    plan.timeout = Duration::from_secs(5);
    let mut line = line(&plan);
    let mut sent = append(&mut line, facts(0..200));
    line.delivered(200);
    // What the client mends by itself.
    for (what, error) in [
        ("the leader moved", Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        ("the broker's disk failed", Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR),
        ("too few replicas, for a moment", Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        ("the connection broke", Code::RD_KAFKA_RESP_ERR__TRANSPORT),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
        let begin = 1_000 + sent.len() as u64;
        sent.extend(append(&mut line, facts(begin..begin + 100)));
        line.delivered(sent.len() as u64);
        let found = read(&config, "acc").len();
        // This cluster does not know repeats: what was behind a message on a broken connection comes twice there.
        let is_once = error == Code::RD_KAFKA_RESP_ERR__TRANSPORT || found == sent.len();
        assert!(is_once, "{what}: {found} messages of {} records", sent.len());
    }
    // A broker goes with its partitions, which have no leader until others take them: those of others flow.
    for partition in 0..4 {
        cluster.partition_leader("acc", partition, Some(1 + partition % 2)).unwrap();
    }
    cluster.broker_down(1).unwrap();
    let before = sent.len() as u64;
    sent.extend(append(&mut line, facts(10_000..10_200)));
    line.delivered(before + 60);
    for partition in [0, 2] {
        cluster.partition_leader("acc", partition, Some(3)).unwrap();
    }
    line.delivered(before + 200);
    cluster.broker_up(1).unwrap();
    // What lasts is said in the cluster's words.
    let push = |error, times| cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
    for (error, times, state, want) in [
        (Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 500, "down", "Not enough in-sync replicas"),
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 500, "misfit", "we may not write to the topic `acc`"),
    ] {
        push(error, times);
        let begin = 20_000 + sent.len() as u64;
        sent.extend(append(&mut line, facts(begin..begin + 20)));
        told(&line, state, want);
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        line.delivered(sent.len() as u64);
    }
    push(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, 1);
    append(&mut line, facts(90_000..90_001));
    let (_, reason) = line.parked(1).remove(0);
    assert!(reason.contains("the topic `acc` refuses it: InvalidRecord"), "{reason}");
    assert_eq!(line.stats().parked_now, 1);
    has_all(&read(&config, "acc"), sent);
}

#[test]
fn who_is_not_let_in_says_so_and_never_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::tansu(dir.path(), None, &["--authentication"]) else { return };
    let mut plan = settings(&broker.address(), "acc");
    plan.timeout = Duration::from_secs(60);
    for (mechanism, want) in
        [(Mechanism::ScramSha512, "unknown-user"), (Mechanism::Plain, "PLAIN mechanism handshake failed")]
    {
        plan.login = Some(Login { mechanism, user: "gw".to_owned(), password: Secret::new("hidden".to_owned()) });
        let mut line = line(&plan);
        append(&mut line, facts(0..3));
        // Long before the time is up.
        told(&line, "misfit", "the brokers do not let us in: ");
        let note = line.board.views()[0].note.clone().unwrap();
        assert!(note.contains(want) && !note.contains("hidden"), "{note}");
    }
}

/// TLS before a broker that has none: stunnel, which asks for a certificate.
fn front(dir: &Path, tls: &Path, from: u16, to: u16) -> Option<Running> {
    let program = peer("stunnel4")?;
    let (file, tls) = (dir.join("stunnel.conf"), tls.display());
    let text = format!(
        "foreground = yes\npid =\n[kafka]\naccept = 127.0.0.1:{from}\nconnect = 127.0.0.1:{to}\n\
         cert = {tls}/server.pem\nkey = {tls}/server.key\nCAfile = {tls}/ca.pem\nverifyChain = yes\n"
    );
    fs::write(&file, text).unwrap();
    let process = Running::start(Command::new(program).arg(&file), dir.join("stunnel.out"));
    wait_for("stunnel listens", || process.printed().contains("Configuration successful").then_some(()));
    Some(process)
}

#[test]
fn over_tls_each_side_shows_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_) = peer("openssl") else { return };
    let certificates = |folder: &str| {
        let folder = dir.path().join(folder);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
        assert!(Command::new(script).arg(&folder).finish().unwrap().status.success());
        folder
    };
    let (ours, others) = (certificates("tls"), certificates("other"));
    let [port] = free_ports();
    let Some(broker) = Broker::tansu(dir.path(), Some(&format!("localhost:{port}")), &[]) else { return };
    let Some(_front) = front(dir.path(), &ours, port, broker.port) else { return };
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", format!("localhost:{port}")),
        ("security.protocol", "ssl".to_owned()),
        ("ssl.ca.location", ours.join("ca.pem").display().to_string()),
        ("ssl.certificate.location", ours.join("client.pem").display().to_string()),
        ("ssl.key.location", ours.join("client.key").display().to_string()),
    ] {
        config.set(name, value);
    }
    make(&config, "acc", 1, &[]);
    let over = |ca: &Path, own: Option<&Path>| {
        let own = own.map(|own| Identity { certificate: own.join("client.pem"), key: own.join("client.key") });
        let files = ClientFiles { roots: Roots::File(ca.join("ca.pem")), own, name_check: NameCheck::On };
        let mut plan = settings(&format!("localhost:{port}"), "acc");
        plan.tls = Some((files.clone(), ClientTls::load(&files).unwrap()));
        line(&plan)
    };
    let mut good = over(&ours, Some(&ours));
    let first = append(&mut good, facts(0..1)).remove(0);
    good.delivered(1);
    // Tansu may show the last message of a partition only behind the next.
    append(&mut good, facts(1..2));
    good.delivered(2);
    wait_for("the message", || ids(&read(&config, "acc")).contains(&first).then_some(()));
    for (ca, own, want) in [
        (&others, Some(&ours), "certificate verify failed"),
        (&ours, None, "certificate required"),
        (&ours, Some(&others), "unknown ca"),
    ] {
        let mut bad = over(ca, own.map(PathBuf::as_path));
        append(&mut bad, facts(0..3));
        told(&bad, "down", want);
    }
}

#[test]
fn calls_become_messages_and_every_command_knows_the_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::noida(dir.path()) else { return };
    let [callee, port, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let gateway = dir.path().join("gateway");
    fs::create_dir_all(&gateway).unwrap();
    let (folder, brokers) = (gateway.display(), broker.address());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = \"sip:127.0.0.1:{callee}\"\n[accounting]\non = [\"kafka\"]\n\
         [queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.kafka.acc]\nbrokers = [\"{brokers}\"]\ntopic = \"acc\"\n"
    );
    let gateway = Gateway::start_on(&gateway, port, &toml, 9);
    let deep = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["check", "--deep", "--json", "--config"]).arg(gateway.dir.join("tollgate.toml"));
        let report: Json = serde_json::from_slice(&command.finish().unwrap().stdout).unwrap();
        let trials = report["trials"].as_array().unwrap().clone();
        trials.into_iter().find(|trial| trial["what"].as_str().unwrap().starts_with("sink acc")).unwrap()
    };
    let report = deep();
    assert_eq!(report["ok"], false, "{report}");
    assert!(report["why"].as_str().unwrap().contains("there is no topic `acc`"), "{report}");
    broker.make("acc", 3, &[]);
    let report = deep();
    assert_eq!(report["ok"], true, "{report}");
    let what = report["what"].as_str().unwrap();
    assert!(what.contains("topic `acc`: partitions 3, replicas 1, min.insync.replicas 1"), "{report}");
    assert!(report["warnings"].to_string().contains("a record that one broker alone has is acknowledged"), "{report}");
    let to = gateway.address().to_string();
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", "3", "-r", "10", "-d", "100"]).unwrap();
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    wait_for("six messages", || (broker.read("acc").len() == 6).then_some(()));
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for own in broker.read("acc") {
        sessions.entry(own.key.unwrap()).or_default().push(own.body["data"]["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(sessions.into_values().collect::<Vec<_>>(), [["start", "stop"], ["start", "stop"], ["start", "stop"]]);
    let status = gateway.command(&["status"]);
    assert!(status.contains(&brokers), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc"]);
    assert!(sent.contains("verdict    acknowledged") && sent.contains("in-sync replicas"), "{sent}");
    assert_eq!(broker.read("acc").len(), 7);
}
