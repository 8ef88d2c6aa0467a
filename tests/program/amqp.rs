//! Messages of AMQP with a real RabbitMQ: what its queues get, and what becomes of records without a queue, without an
//! exchange, with a full queue, of one that is too large, and when the broker or the gateway dies.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value as Json;
use tollgate::ids::CallHash;
use tollgate::record::{Kind, Record};
use tollgate::sinks::amqp::Settings;
use tollgate::sinks::attempt::Board;
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::rabbit::{Got, Rabbit, line};
use crate::support::radius::{Line, field, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, try_wait_for, wait_for};

fn stops(numbers: Range<u64>) -> Vec<(Record, CallHash)> {
    let stop = |number| record(Kind::Stop, number, vec![field("tenant", "acme")]);
    numbers.map(stop).map(|record| (CallHash::of(&record.call_id), record)).map(|(call, own)| (own, call)).collect()
}

fn wait_note(line: &Line<Board>, state: &str, part: &str) {
    let mut last = None;
    let found = try_wait_for(|| {
        let view = line.board.views().remove(0);
        last = Some((view.state, view.note.unwrap_or_default()));
        last.as_ref().is_some_and(|(own, note)| *own == state && note.contains(part)).then_some(())
    });
    assert!(found.is_some(), "no `{state}` with `{part}`, but {last:?}");
}

/// Makes a durable queue with these arguments.
fn queue(rabbit: &Rabbit, name: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    rabbit.with(async |channel| {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), options, table).await.unwrap();
    });
}

/// Makes the exchange `acc` and a queue of that name, bound to it for such routing keys.
fn exchange(rabbit: &Rabbit, keys: &str) {
    queue(rabbit, "acc", &[]);
    rabbit.with(async |channel| {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare("acc".into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel.queue_bind("acc".into(), "acc".into(), keys.into(), bind, FieldTable::default()).await.unwrap();
    });
}

fn ids(got: &[Got]) -> HashSet<String> {
    got.iter().map(|own| own.properties.message_id().as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_broker_confirms_returns_refuses_and_dies_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut rabbit) = Rabbit::start(dir.path(), "") else { return };

    // By the default exchange, without a queue at first.
    let mut line_of = line(&rabbit.settings("", "cdr.{tenant}"));
    let id = line_of.append(stops(1..2))[0];
    wait_note(&line_of, "up", "there is no queue `cdr.acme`: NO_ROUTE");
    queue(&rabbit, "cdr.acme", &[]);
    line_of.delivered(1);
    let got = rabbit.take("cdr.acme");
    let [own] = &got[..] else { panic!("{got:?}") };
    let properties = &own.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(text(properties.message_id()), id.to_string());
    assert_eq!((text(properties.kind()), text(properties.content_type())), ("stop".into(), "application/json".into()));
    assert_eq!((properties.delivery_mode(), properties.timestamp()), (&Some(2), &Some(1_700_000_065)));
    let mut want = stops(1..2).remove(0).0.to_json();
    want["id"] = id.to_string().into();
    assert_eq!(own.body, want);
    drop(line_of);

    // An exchange that is missing costs the channel; then it is there.
    let mut line_of = line(&rabbit.settings("acc", "acc.{kind}"));
    let sent = line_of.append(stops(10..60));
    wait_note(&line_of, "misfit", "no exchange 'acc' in vhost '/'");
    exchange(&rabbit, "acc.stop");
    line_of.delivered(50);
    let got = rabbit.take("acc");
    assert_eq!(ids(&got), sent.iter().map(ToString::to_string).collect());
    assert!(got.iter().all(|own| own.routing_key == "acc.stop"));
    // A key for which no queue is bound holds up no other.
    line_of.append(vec![(record(Kind::Missed, 9, Vec::new()), CallHash::of(b"9"))]);
    line_of.append(stops(100..150));
    line_of.delivered(100);
    wait_note(&line_of, "up", "no queue is bound to the exchange `acc` for the routing key `acc.missed`: NO_ROUTE");

    // Killed in mid-run: at least once.
    let mut sent: HashSet<String> = ids(&rabbit.take("acc"));
    assert_eq!(sent.len(), 50);
    sent.clear();
    for round in 0_u64..2 {
        sent.extend(
            line_of.append(stops(1_000 * (round + 1)..1_000 * (round + 1) + 800)).iter().map(ToString::to_string),
        );
        rabbit.kill();
        rabbit.start_again();
    }
    line_of.delivered(1_700);
    let got = rabbit.take("acc");
    // A broker that is killed forgets acknowledgements too, so that there may be more.
    assert!(sent.is_subset(&ids(&got)), "{} of {} messages", got.len(), sent.len());
    drop(line_of);

    // A full queue that refuses makes records wait.
    let refuses =
        [("x-max-length", AMQPValue::LongInt(5)), ("x-overflow", AMQPValue::LongString("reject-publish".into()))];
    queue(&rabbit, "small", &refuses);
    let mut line_of = line(&rabbit.settings("", "small"));
    let mut sent: HashSet<String> = line_of.append(stops(0..20)).iter().map(ToString::to_string).collect();
    wait_note(&line_of, "down", "a queue for the routing key `small` is full");
    while !sent.is_empty() {
        let got = ids(&rabbit.take("small"));
        assert!(got.is_subset(&sent), "each once: the broker has not kept what it refused");
        sent.retain(|own| !got.contains(own));
    }
    line_of.delivered(20);
    drop(line_of);

    // Who is not known is not let in, and no password is told.
    for settings in [
        Settings { password: Secret::new("wr0ng".to_owned()), ..rabbit.settings("", "small") },
        Settings { vhost: "nowhere".to_owned(), ..rabbit.settings("", "small") },
    ] {
        let mut line_of = line(&settings);
        line_of.append(stops(0..1));
        wait_note(&line_of, "misfit", "the broker does not let us in");
        let note = line_of.board.views().remove(0).note.unwrap_or_default();
        assert!(!note.contains("wr0ng"), "{note}");
    }
}

#[test]
fn a_routing_key_that_is_forbidden_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(rabbit) = Rabbit::start(dir.path(), "") else { return };
    exchange(&rabbit, "#");
    rabbit.control(&["set_topic_permissions", "-p", "/", "guest", "acc", "^acc\\.acme$", ".*"]);
    let mut settings = rabbit.settings("acc", "acc.{tenant}");
    // As long as no test waits: whoever waits for this waits for a person.
    settings.delivery.retry_max = Duration::from_secs(600);
    let mut line = line(&settings);
    let forbidden = |number, tenant: &str| {
        (record(Kind::Stop, number, vec![field("tenant", tenant)]), CallHash::of(tenant.as_bytes()))
    };
    // Alone in its batch, and among others; with a key of which the broker's words have a part only.
    line.append(vec![forbidden(900, "other")]);
    wait_note(&line, "up", "access to topic 'acc.other' in exchange 'acc' in vhost '/' refused for user 'guest'");
    line.append(stops(0..50));
    line.delivered(50);
    let mut records = stops(100..150);
    records.insert(3, forbidden(901, &"x".repeat(240)));
    line.append(records);
    line.delivered(100);
    wait_note(&line, "up", "access to topic 'acc.xxx");
    assert_eq!(line.stats().balance.parked, 0);
}

#[test]
fn a_message_that_is_too_large_parks_alone_and_a_queue_that_drops_is_not_told_to_us() {
    let dir = tempfile::tempdir().unwrap();
    let Some(rabbit) = Rabbit::start(dir.path(), "max_message_size = 4096\n") else { return };
    queue(&rabbit, "acc", &[]);
    let mut line_of = line(&rabbit.settings("", "acc"));
    let sized = |number, octets: usize| {
        let record = record(Kind::Stop, number, vec![field("big", vec![b'x'; octets])]);
        let call = CallHash::of(&record.call_id);
        (record, call)
    };
    let mut records = stops(0..40);
    records.insert(5, sized(100, 5_000));
    records.insert(9, sized(101, 6_000));
    records.insert(30, sized(102, 3_000));
    let sent = line_of.append(records);
    line_of.delivered(41);
    let parked: HashMap<_, _> = line_of.parked(2).into_iter().collect();
    assert_eq!(parked.keys().collect::<HashSet<_>>(), [&sent[5], &sent[9]].into());
    for (id, reason) in &parked {
        assert!(reason.contains("is larger than configured max size 4096"), "{id}: {reason}");
    }
    let mut want: HashSet<_> = sent.iter().map(ToString::to_string).collect();
    want.retain(|own| !parked.keys().any(|id| id.to_string() == *own));
    assert_eq!(ids(&rabbit.take("acc")), want, "the others are there, some of them maybe twice");
    drop(line_of);

    // What a full queue drops was confirmed before, and nobody says so: the manual sends the operator to the broker.
    queue(&rabbit, "drops", &[("x-max-length", AMQPValue::LongInt(5))]);
    let mut line_of = line(&rabbit.settings("", "drops"));
    let sent = line_of.append(stops(0..20));
    line_of.delivered(20);
    wait_note(&line_of, "up", "confirmed by the broker");
    let newest: HashSet<_> = sent[15..].iter().map(ToString::to_string).collect();
    assert_eq!(ids(&rabbit.take("drops")), newest);
    let found = deep(dir.path(), &format!("url = \"amqp://127.0.0.1:{}\"\nrouting_key = \"drops\"", rabbit.port));
    assert_eq!((found.is_well, found.why.as_str()), (true, ""));
    let [warning] = &found.warnings[..] else { panic!("{found:?}") };
    assert!(warning.contains("cannot see what a full queue does") && warning.contains("rabbitmqctl"), "{warning}");
}

/// What `check --deep` says of a sink.
#[derive(Debug)]
struct Judgement {
    is_well: bool,
    why: String,
    warnings: Vec<String>,
}

fn deep(dir: &Path, sink: &str) -> Judgement {
    let ([port], folder) = (free_ports(), dir.display());
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[[route]]\nto = \"sip:127.0.0.1:9\"\n[accounting]\non = [\"amqp\"]\n\
         fields = {{ tenant = \"acme\" }}\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{folder}/admin.sock\"\n\
         [sinks.amqp.acc]\n{sink}\n"
    );
    let file = dir.join("tollgate.toml");
    fs::write(&file, toml).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["check", "--deep", "--json", "--config"]).arg(file).finish().unwrap();
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let trial = report["trials"].as_array().unwrap().last().unwrap();
    assert!(trial["what"].as_str().unwrap().starts_with("sink acc amqp"), "{report}");
    let text = |own: &Json| own.as_str().unwrap_or_default().to_owned();
    let warnings = trial["warnings"].as_array().into_iter().flatten().map(text).collect();
    Judgement { is_well: output.status.success(), why: text(&trial["why"]), warnings }
}

#[test]
fn calls_are_messages_over_tls_and_a_kill_of_the_gateway_costs_none() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, [secure, callee, caller, port]) = (dir.path().join("tls"), free_ports());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freeradius/mkcerts.sh");
    let Ok(made) = Command::new(script).arg(&tls).finish() else { return };
    assert!(made.status.success());
    let folder = tls.display();
    let more = format!(
        "listeners.ssl.1 = 127.0.0.1:{secure}\nssl_options.cacertfile = {folder}/ca.pem\n\
         ssl_options.certfile = {folder}/server.pem\nssl_options.keyfile = {folder}/server.key\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
    );
    let Some(rabbit) = Rabbit::start(dir.path(), &more) else { return };
    let own = format!("certificate = \"{folder}/client.pem\"\nkey = \"{folder}/client.key\"");
    let (ca, at) = (format!("ca = \"{folder}/ca.pem\""), |host: &str| format!("url = \"amqps://{host}:{secure}\""));
    let sink =
        format!("{}\n{ca}\n{own}\nexchange = \"acc\"\nrouting_key = \"acc.{{tenant}}.{{kind}}\"", at("localhost"));

    let Judgement { is_well, why, .. } = deep(dir.path(), &sink);
    assert!(!is_well && why.contains("no exchange 'acc' in vhost '/'"), "{why}");
    exchange(&rabbit, "acc.acme.*");
    let Judgement { is_well, why, .. } = deep(dir.path(), &sink);
    assert!(is_well, "{why}");
    let plain = |more: &str| format!("url = \"amqp://127.0.0.1:{}\"\n{more}", rabbit.port);
    for (what, sink, part) in [
        ("a queue that is missing", plain("routing_key = \"cdr\""), "no queue 'cdr' in vhost '/'"),
        ("a virtual host that is missing", plain("").replace("\"\n", "/none\"\n"), "does not let us in"),
        ("nobody who listens", plain("").replace(&rabbit.port.to_string(), &port.to_string()), "refused"),
        ("an authority that we do not know", sink.replace(&ca, ""), "UnknownIssuer"),
        // Its alert, or only the reset that follows: whichever is read first.
        ("no certificate of our own", sink.replace(&own, ""), "IO error: "),
        ("TLS where none is spoken", sink.replace(&secure.to_string(), &rabbit.port.to_string()), "TLS: "),
    ] {
        let Judgement { is_well, why, .. } = deep(dir.path(), &sink);
        assert!(!is_well && !why.is_empty() && why.contains(part), "{what}: {why}");
    }

    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let at = folder.display();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"amqp\"]\nfields = {{ ua = \"$ua\", tenant = \"acme\" }}\n\
         [queue]\npath = \"{at}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n[admin]\nsocket = \"{at}/admin.sock\"\n\
         [sinks.amqp.acc]\n{sink}\nretry_first_ms = 50\nretry_max_s = 1\n"
    );
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut gateway = Gateway::start_on(&folder, port, &toml, 9);
    let to = gateway.address().to_string();
    for round in 0_u16..4 {
        let name = format!("{round}-%u-%p@%s");
        let words = [&to, "-m", "40", "-r", "200", "-d", "50", "-cid_str", &name];
        let mut calls = sipp(dir.path(), "uac.xml", caller, &words).unwrap();
        assert!(calls.wait("the caller").success(), "{}", calls.complaints());
        // Some of them are under way to the broker.
        gateway.start_again();
    }
    wait_for("all are settled", || {
        let status: Json = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
        (status["sinks"][0]["waiting"] == 0).then_some(())
    });
    let got = rabbit.take("acc");
    let mut records: HashMap<String, (String, &Json)> = HashMap::new();
    for own in &got {
        let id = own.properties.message_id().as_ref().unwrap().to_string();
        let told = (own.routing_key.clone(), &own.body);
        let first = records.entry(id).or_insert_with(|| told.clone());
        assert_eq!(*first, told, "a repeat is the same message");
    }
    let kinds = |kind: &str| records.values().filter(|(key, _)| *key == format!("acc.acme.{kind}")).count();
    assert_eq!((kinds("start"), kinds("stop"), records.len()), (160, 160, 320), "of {} messages", got.len());
    let of = |body: &Json| (body["subject"].clone(), body["type"].clone());
    let facts: HashSet<_> = records.values().map(|(_, body)| of(body)).collect();
    assert_eq!(facts.len(), 320, "each once under one message-id");

    let status = gateway.command(&["status"]);
    assert!(status.contains("confirmed by the broker, for all queues that are bound"), "{status}");
    let sent = gateway.command(&["send", "--sink", "acc", "tenant=acme"]);
    assert!(sent.contains("message to `acc`, acc.acme.stop") && sent.contains("verdict    acknowledged"), "{sent}");
    let got = rabbit.take("acc");
    assert_eq!((got.len(), got[0].routing_key.as_str()), (1, "acc.acme.stop"));
}
