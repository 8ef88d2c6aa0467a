//! Records of a gateway in a cluster, with real nats-servers: what the stream has of them, and what becomes of them when
//! servers are away, killed, or the stream is deleted.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use serde_json::Value as Json;
use tollgate::cluster::backlog::{self, Backlog, Held};
use tollgate::cluster::bucket::Store;
use tollgate::cluster::forward::{self, Cluster, Link};
use tollgate::cluster::{Settings, names, objects};
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::record::{Kind, Record, codec};
use tollgate::sinks::attempt::{Attempts, Board};
use tollgate::sinks::jetstream::{Access, Login, Tls};
use tollgate::sinks::secret::Secret;
use tollgate::sinks::view::Board as _;

use crate::support::nats_cluster::{Kept, Servers};
use crate::support::radius::{Line, record};
use crate::support::start::Start as _;
use crate::support::{Gateway, free_ports, sipp, try_wait_for, wait_for};

const STREAM: &str = "TOLLGATE_RECORDS";

fn settings(servers: &Servers, replicas: usize) -> Settings {
    let timeout = Duration::from_secs(1);
    Settings {
        access: Access { servers: servers.urls.clone(), login: Login::None, tls: Tls::default(), timeout },
        name: "gw1".to_owned(),
        stream: STREAM.to_owned(),
        prefix: "tollgate".to_owned(),
        replicas,
        partitions: 16,
        duplicate_window: Duration::from_secs(600),
        max_age: Duration::from_secs(86_400),
        lease: Duration::from_secs(4),
        commands: false,
    }
}

/// Queue, worker and a sink called `test` that is forwarded.
fn line(settings: Settings) -> Line<Board> {
    Line::of(move || {
        let (carry, delivery) = (forward::carry("test", &settings), forward::delivery(&settings));
        let sink = Attempts::carrying("test", delivery, carry, Link::new("test", &Cluster::new(settings)), Seq(0));
        let board = sink.board();
        (sink, board)
    })
}

/// Start and Stop of calls, all Starts first. The queue of these tests drops Interims that newer records make needless.
fn calls(numbers: std::ops::Range<u64>) -> Vec<(Record, CallHash)> {
    let kinds = [Kind::Start, Kind::Stop];
    let all = kinds.into_iter().flat_map(|kind| numbers.clone().map(move |number| record(kind, number, Vec::new())));
    all.map(|record| (record.clone(), CallHash::of(&record.call_id))).collect()
}

fn read(kept: &Kept) -> Record {
    codec::decode(&kept.body).expect("the octets of the queue")
}

/// That every one of these records is there once, and those of each call in their order.
#[track_caller]
fn holds(kept: &[Kept], want: &[RecordId]) {
    let mut of_calls: BTreeMap<Vec<u8>, Vec<Kind>> = BTreeMap::new();
    for own in kept {
        let record = read(own);
        of_calls.entry(record.call_id).or_default().push(record.kind);
    }
    let whole = [Kind::Start, Kind::Stop];
    let wrong: Vec<_> = of_calls.values().filter(|kinds| **kinds != whole).collect();
    assert!(wrong.is_empty(), "{} calls in another order: {:?}", wrong.len(), wrong.first());
    let ids: HashSet<_> = kept.iter().map(|own| read(own).id).collect();
    let ended: HashSet<_> = want.iter().copied().collect();
    assert_eq!((kept.len(), ids == ended), (want.len(), true), "each once");
}

fn note(line: &Line<Board>) -> String {
    let view = line.board.views().remove(0);
    format!("{}: {}", view.state, view.note.unwrap_or_default())
}

#[track_caller]
fn wait_note(line: &Line<Board>, parts: &[&str]) {
    let told = try_wait_for(|| parts.iter().all(|part| note(line).contains(part)).then_some(()));
    assert!(told.is_some(), "{}", note(line));
}

#[test]
fn a_record_is_published_as_the_queue_has_it_under_its_call_s_partition() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let mut line = line(settings(&servers, 1));
    let ids = line.append(calls(0..20));
    line.delivered(40);
    let stats = line.stats();
    assert_eq!((stats.balance.parked, stats.balance.waiting), (0, 0), "the queue is empty");
    let kept = servers.kept(STREAM);
    holds(&kept, &ids);
    for own in &kept {
        let record = read(own);
        let partition = names::partition(CallHash::of(&record.call_id), 16);
        assert_eq!(own.subject, format!("tollgate.records.test.{partition:03}"));
        let header = |name: &str| own.headers.get(name).map(ToString::to_string).unwrap_or_default();
        let want = match record.kind {
            Kind::Stop => format!("{}.stop.test", record.session),
            _ => format!("{}.test", record.id),
        };
        assert_eq!(own.id, want);
        assert_eq!((header("Tollgate-Gateway").as_str(), header("Tollgate-Partitions").as_str()), ("gw1", "16"));
    }
    let view = line.board.views().remove(0);
    assert!(
        view.note.unwrap_or_default().contains("not at its backend yet"),
        "what an acknowledgement is worth is told"
    );
}

#[test]
fn two_gateways_that_end_one_call_store_one_end() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let mut first = line(settings(&servers, 1));
    first.append(calls(0..5));
    first.delivered(10);
    let mut second = line(Settings { name: "gw2".to_owned(), ..settings(&servers, 1) });
    let stops = calls(0..5).into_iter().filter(|(record, _)| record.kind == Kind::Stop).collect();
    second.append_as(99, 1_700_000_000_000, stops);
    second.delivered(5);
    assert_eq!(servers.count(STREAM), Some(10));
}

#[test]
fn records_wait_while_the_servers_are_away_and_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let mut line = line(settings(&servers, 1));
    let mut want = line.append(calls(0..50));
    line.delivered(100);
    servers.tell("kill 1");
    want.extend(line.append(calls(50..200)));
    wait_note(&line, &["down: "]);
    assert_eq!(line.stats().balance.delivered, 100);
    servers.tell("start 1");
    line.delivered(400);
    holds(&servers.kept(STREAM), &want);
    assert_eq!(line.stats().balance.parked, 0);

    // Frozen: what was sent may have been stored or not, and is sent again under the same id.
    servers.tell("freeze 1");
    want.extend(line.append(calls(200..300)));
    wait_note(&line, &["down: no acknowledgement within 1 s"]);
    servers.tell("thaw 1");
    line.delivered(600);
    holds(&servers.kept(STREAM), &want);
}

#[test]
fn a_stream_that_is_deleted_is_an_alarm_and_the_next_start_makes_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let cluster = Cluster::new(settings(&servers, 1));
    let shared = Arc::clone(&cluster);
    let mut line = Line::of(move || {
        let (carry, delivery) = (forward::carry("test", shared.settings()), forward::delivery(shared.settings()));
        let sink = Attempts::carrying("test", delivery, carry, Link::new("test", &shared), Seq(0));
        let board = sink.board();
        (sink, board)
    });
    line.append(calls(0..10));
    line.delivered(20);
    assert!(servers.with(async |context| context.delete_stream(STREAM).await.unwrap().success));
    let want = line.append(calls(10..20));
    wait_note(&line, &["misfit: there is no stream `TOLLGATE_RECORDS`", "what it held is lost", "cluster init"]);
    assert_eq!((line.stats().balance.delivered, line.stats().balance.parked), (20, 0));
    // Another process of the cluster starts.
    let other =
        servers.with(async |context| objects::ensure(&context, cluster.settings()).await.map(|report| report.made));
    assert_eq!(other.unwrap(), [STREAM]);
    line.delivered(40);
    holds(&servers.kept(STREAM), &want);
}

#[test]
fn a_stream_that_does_not_do_is_told_with_what_to_do() {
    use async_nats::jetstream::stream::{Config, RetentionPolicy};
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let own = settings(&servers, 1);
    let [records, state, _] = objects::wanted(&own);
    let many = |settings: &Settings| {
        let report = servers.with(async |context| objects::ensure(&context, settings).await);
        report.map(|report| (report.made, report.warnings)).map_err(|error| error.to_string())
    };
    assert_eq!(
        many(&Settings { replicas: 3, ..own.clone() }).unwrap_err().split_once(" (").unwrap().0,
        "the servers cannot keep 3 copies of the stream `TOLLGATE_RECORDS`"
    );
    for (wrong, want) in [
        (Config { retention: RetentionPolicy::WorkQueue, ..records.clone() }, "has another retention than `limits`"),
        (Config { max_messages_per_subject: 1, ..records.clone() }, "keeps only the last messages of a subject"),
        (
            Config { subjects: vec!["other.>".into()], ..records.clone() },
            "does not take the subjects `tollgate.records.>`",
        ),
        (Config { allow_direct: true, ..state.clone() }, "lets followers answer (`allow_direct`)"),
        (
            Config { description: Some("Records of Tollgate in 8 partitions".into()), ..records.clone() },
            "has 8 partitions, and `cluster.partitions` is 16: the two must be the same",
        ),
    ] {
        servers.with(async |context| drop(context.create_stream(&wrong).await.unwrap()));
        let error = many(&own).unwrap_err();
        assert!(error.contains(want) && error.contains(&wrong.name), "{error}");
        assert!(servers.with(async |context| context.delete_stream(&wrong.name).await.unwrap().success));
        servers.with(async |context| drop(context.delete_stream(STREAM).await));
    }
    let (made, warnings) = many(&own).unwrap();
    assert_eq!((made.len(), warnings.len()), (3, 0), "the first start makes what is missing");
    assert_eq!(many(&own), Ok((Vec::new(), Vec::new())), "and the second finds it as it is");
    let other = Settings { max_age: Duration::from_secs(2 * 86_400), ..own };
    let told = ["the stream `TOLLGATE_RECORDS` keeps records for 1 days, and `cluster.max_age_days` is 2".to_owned()];
    assert_eq!(many(&other), Ok((Vec::new(), told.to_vec())));
}

#[test]
fn a_leader_killed_under_load_loses_and_doubles_nothing_and_keeps_each_call_s_order() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    let mut line = line(settings(&servers, 3));
    let mut want = line.append(calls(0..200));
    line.delivered(400);
    let leader = servers.leader(STREAM);
    for round in 1..=20_u64 {
        want.extend(line.append(calls(200 * round..200 * (round + 1))));
        if round == 5 {
            servers.tell(&format!("kill {leader}"));
        }
    }
    line.delivered(2 * 21 * 200);
    servers.tell(&format!("start {leader}"));
    holds(&servers.kept(STREAM), &want);
    assert_eq!(line.stats().balance.parked, 0);
}

fn configuration(folder: &Path, port: u16, callee: u16, cluster: &str) -> String {
    let folder = folder.display();
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"cdrs\"]\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n\
         [admin]\nsocket = \"{folder}/admin.sock\"\n[sinks.file.cdrs]\npath = \"{folder}/cdrs.jsonl\"\n\
         [cluster]\nreplicas = 1\nname = \"gw1\"\n{cluster}\n"
    )
}

#[test]
fn a_gateway_of_a_cluster_hands_its_records_over_and_a_kill_of_it_costs_and_doubles_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let [port, callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let toml = configuration(&folder, port, callee, &format!("nats = {}", servers.list()));
    let mut gateway = Gateway::start_on(&folder, port, &toml, 9);
    let to = gateway.address().to_string();
    for round in 0_u16..3 {
        let id = format!("{round}-%u-%p@%s");
        let more = [&to, "-m", "40", "-r", "200", "-d", "50", "-cid_str", &id];
        let mut calls = sipp(dir.path(), "uac.xml", caller, &more).unwrap();
        assert!(calls.wait("the caller").success(), "{}", calls.complaints());
        // Some of them are under way to the stream.
        gateway.start_again();
    }
    let status = || serde_json::from_str::<Json>(&gateway.command(&["queue", "status", "--json"])).unwrap();
    wait_for("all are handed over", || (status()["sinks"][0]["waiting"] == 0).then_some(()));
    let kept = servers.kept(STREAM);
    let ids: HashSet<_> = kept.iter().map(|own| own.id.clone()).collect();
    let kinds = |kind: Kind| kept.iter().filter(|own| read(own).kind == kind).count();
    assert_eq!((kept.len(), ids.len(), kinds(Kind::Start), kinds(Kind::Stop)), (240, 240, 120, 120));
    assert!(!folder.join("cdrs.jsonl").exists(), "what the sink writes is for who delivers");
    let told = gateway.command(&["status"]);
    assert!(told.contains(STREAM) && told.contains("not at its backend yet"), "{told}");
    // Of one file read by all processes of the cluster, a reload changes what the sink writes, and nothing here.
    fs::write(folder.join("tollgate.toml"), toml.replace("[cluster]", "sync_ms = 50\n[cluster]")).unwrap();
    let reloaded = gateway.command(&["reload"]);
    assert!(!reloaded.contains("restart"), "{reloaded}");
}

#[test]
fn wrong_credentials_are_told_and_calls_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let more = "authorization { users: [ { user: gw, password: secret } ] }\n";
    let Some(servers) = Servers::start(dir.path(), 1, more) else { return };
    let own = settings(&servers, 1);
    let login = |password: &str| Login::User("gw".to_owned(), Secret::new(password.to_owned()));
    let with =
        |password: &str| Settings { access: Access { login: login(password), ..own.access.clone() }, ..own.clone() };
    let mut refused = line(with("wr0ng"));
    refused.append(calls(0..5));
    wait_note(&refused, &["misfit: ", "the server does not let us in"]);
    assert!(!note(&refused).contains("wr0ng"), "{}", note(&refused));
    assert_eq!((refused.stats().balance.delivered, refused.stats().balance.parked), (0, 0));
    let mut known = line(with("secret"));
    known.append(calls(0..5));
    known.delivered(10);
    let options = ConnectOptions::with_user_and_password("gw".to_owned(), "secret".to_owned());
    let count = servers
        .with_options(options, async |context| context.get_stream(STREAM).await.unwrap().cached_info().state.messages);
    assert_eq!(count, 10);
}

#[test]
fn deep_checks_and_cluster_init_ask_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 1, "") else { return };
    let [port] = free_ports();
    let file = dir.path().join("tollgate.toml");
    let with = |cluster: &str| {
        fs::write(&file, configuration(dir.path(), port, 9, cluster)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let run = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tollgate")).args(words).arg("--config").arg(&file).finish().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.code().unwrap(), out, err)
    };
    let trial = || {
        let (code, out, _) = run(&["check", "--deep", "--json"]);
        let report: Json = serde_json::from_str(&out).unwrap();
        let of_cluster = |trial: &&Json| trial["what"].as_str().unwrap().starts_with("cluster nats://");
        let trial = report["trials"].as_array().unwrap().iter().find(of_cluster).unwrap();
        assert!(trial["what"].as_str().unwrap().ends_with(&format!(" {STREAM}")), "{trial}");
        (code, trial.clone())
    };
    with(&format!("nats = {}", servers.list()));
    let (code, told) = trial();
    assert_eq!((code, &told["ok"]), (0, &Json::Bool(true)), "{told}");
    let warnings = told["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 3, "{told}");
    assert_eq!(warnings[0], "the stream `TOLLGATE_RECORDS` is not there yet: a start makes it");

    let (code, out, _) = run(&["cluster", "init"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    assert!(out.starts_with("made the stream `TOLLGATE_RECORDS`\n"), "{out}");
    let (code, out, _) = run(&["cluster", "init"]);
    assert_eq!((code, out.as_str()), (0, "nothing is missing\n"));
    let (_, told) = trial();
    assert_eq!(told["warnings"], Json::Null, "{told}");

    with("nats = [\"nats://127.0.0.1:9\"]");
    let (code, told) = trial();
    assert_eq!((code, &told["ok"]), (1, &Json::Bool(false)), "{told}");
    assert!(told["why"].as_str().unwrap().contains("nats://127.0.0.1:9 can be reached"), "{told}");
    let (code, _, err) = run(&["cluster", "init"]);
    assert!(code == 1 && err.contains("no server of nats://127.0.0.1:9 can be reached"), "{err}");
}

#[test]
fn what_waits_in_the_stream_is_counted_whoever_reads_it_or_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    let own = Settings { partitions: 4, ..settings(&servers, 3) };
    wait_for("the servers make them", || servers.with(async |context| objects::ensure(&context, &own).await.ok()));
    let places = servers.with(async |context| {
        let mut places = BTreeMap::<(&str, u16), Vec<u64>>::new();
        for (sink, partition, count) in [("read", 0, 12), ("read", 1, 5), ("unread", 2, 7), ("newer", 3, 2)] {
            for _ in 0..count {
                let subject = names::records("tollgate", sink, partition);
                let ack = context.publish(subject, "a record".into()).await.unwrap().await.unwrap();
                places.entry((sink, partition)).or_default().push(ack.sequence);
            }
        }
        places
    });
    let backlog = || {
        servers.with(async |context| {
            let state = Store::new(&context, &own.state()).await.unwrap();
            backlog::read(&context, &state, ("tollgate", STREAM)).await
        })
    };
    let of = |sink: &str| {
        let found: Backlog = wait_for("the stream has a leader", || backlog().ok());
        let Held { records, waiting, oldest, taken, is_more } = found[sink].clone();
        (records, waiting, oldest.is_some(), taken, is_more)
    };
    assert_eq!(of("read"), (17, 17, true, 0, false), "nobody has read anything");

    // Of the first lane eight are read and two of these not settled; of the second all is.
    let made = servers.with(async |context| {
        let stream = context.get_stream(STREAM).await.unwrap();
        u64::try_from(stream.cached_info().created.unix_timestamp_nanos()).unwrap()
    });
    let write = |sink: &'static str, partition: u16, bytes: Vec<u8>| {
        servers.with(async |context| {
            let state = Store::new(&context, &own.state()).await.unwrap();
            state.put(&names::progress(partition, sink), bytes).await.unwrap();
        });
    };
    let put_number = |mut number: u64, bytes: &mut Vec<u8>| {
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f | 0x80).unwrap());
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
    };
    // As version 2 has it, which stays readable.
    let progress = |made: u64, sink: &str, partition: u16, reads: usize, settles: usize| {
        let all = &places[&(sink, partition)][..reads];
        let (mut bytes, mut before) = (vec![2], 0);
        for number in [made, all[reads - 1], (reads - settles) as u64] {
            put_number(number, &mut bytes);
        }
        for place in &all[settles..] {
            put_number(place - before, &mut bytes);
            before = *place;
        }
        bytes
    };
    write("read", 0, progress(made, "read", 0, 8, 6));
    write("read", 1, progress(made, "read", 1, 5, 5));
    assert_eq!(of("read"), (17, 4, true, 2, false));
    write("read", 0, progress(made, "read", 0, 12, 12));
    assert_eq!(of("read"), (17, 0, false, 0, false));
    // Of a stream that was deleted since; and by a release that knows more.
    write("unread", 2, progress(made - 1, "unread", 2, 7, 7));
    write("newer", 3, vec![250, 1, 2, 3]);
    assert_eq!(of("unread"), (7, 7, true, 0, false));
    assert_eq!(of("newer"), (2, 0, false, 0, true));
    // One that has no message any more has a deliverer all the same.
    write("empty", 0, vec![2, 0, 0, 0]);
    assert_eq!(of("empty"), (0, 0, false, 0, false));
    servers.tell(&format!("kill {}", servers.leader(STREAM)));
    assert_eq!(of("read"), (17, 0, false, 0, false), "another leads");
    write("read", 0, progress(made, "read", 0, 8, 6));
    assert_eq!(of("read"), (17, 4, true, 2, false));
}
