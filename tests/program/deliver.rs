//! `tollgate deliver` with a real nats-server: records of the stream reach their sinks once, in order, whoever dies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::message::PublishMessage;

use serde_json::Value as Json;
use tollgate::cluster::names;
use tollgate::ids::{CallHash, RecordId};
use tollgate::record::{Kind, codec};

use crate::support::nats::Nats;
use crate::support::nats_cluster::Servers;
use crate::support::radius::record;
use crate::support::start::Start as _;
use crate::support::{Gateway, Running, free_ports, sipp, try_wait_for, wait_for};

const PARTITIONS: u16 = 4;
const KINDS: [Kind; 3] = [Kind::Start, Kind::Interim, Kind::Stop];

/// A deliverer whose only sink writes lines into a file.
pub(crate) struct Deliverer {
    pub dir: PathBuf,
    pub process: Running,
}

impl Deliverer {
    pub fn start(dir: &Path, name: &str, url: &str) -> Self {
        Self::start_of(dir, name, &format!("[\"{url}\"]"), 1)
    }

    /// Of a cluster of servers, given as a list of TOML, of which so many have each message.
    fn start_of(dir: &Path, name: &str, urls: &str, replicas: usize) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        let folder = dir.display();
        let toml = format!(
            "[cluster]\nnats = {urls}\nname = \"{name}\"\nreplicas = {replicas}\npartitions = {PARTITIONS}\nlease_ms = 2000\n\
             [deliver]\ndirectory = \"{folder}/hand\"\nsocket = \"{folder}/deliver.sock\"\n\
             [queue]\nfree_min_mib = 0\nreserve_mib = 0\n\
             [sinks.file.lines]\npath = \"{folder}/lines.json\"\nformat = \"json\"\nrotate_s = 0\nsync = \"never\"\n"
        );
        let file = dir.join("tollgate.toml");
        fs::write(&file, toml).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Self { process: Self::spawn(&dir), dir }
    }

    fn spawn(dir: &Path) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["deliver", "--config"]).arg(dir.join("tollgate.toml"));
        Running::start(&mut command, dir.join("out"))
    }

    fn start_again(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.dir);
    }

    /// A command over its socket; what it prints as JSON.
    fn asked(&self, words: &[&str]) -> Option<Json> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output =
            command.args(words).arg("--json").arg("--socket").arg(self.dir.join("deliver.sock")).finish().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Status and log, for who wonders what went wrong.
    fn says(&self) -> String {
        format!("{:?}\n{}", self.asked(&["status"]), self.process.printed())
    }

    /// How many partitions it has.
    fn partitions(&self) -> usize {
        self.asked(&["status"]).and_then(|status| Some(status["deliverer"]["own"].as_array()?.len())).unwrap_or(0)
    }

    pub fn wait_partitions(&self, count: usize) {
        if try_wait_for(|| (self.partitions() == count).then_some(())).is_none() {
            panic!("it has {} partitions and not {count}:\n{}", self.partitions(), self.says());
        }
    }

    /// Nothing is taken and not settled.
    pub fn wait_idle(&self) {
        wait_for("all is settled", || (self.asked(&["status"])?["deliverer"]["open"] == 0).then_some(()));
    }

    /// What its file has: session and kind of each line.
    pub fn lines(&self) -> Vec<(String, String)> {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let files = fs::read_dir(&self.dir).unwrap().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().contains("lines")).collect();
        files.sort();
        let all: String = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        all.lines()
            .filter_map(|line| serde_json::from_str::<Json>(line).ok())
            .map(|line| (text(&line["session"]), text(&line["kind"])))
            .collect()
    }
}

pub(crate) fn nats(dir: &Path) -> Option<Nats> {
    Nats::start(dir, "", ConnectOptions::new)
}

/// Publishes the records of some sessions as a gateway does: all Starts first, then what follows.
pub(crate) fn publish(nats: &Nats, sessions: std::ops::Range<u64>) {
    nats.with(async |context| {
        let mut acks = Vec::new();
        for kind in KINDS {
            for session in sessions.clone() {
                let mut own = record(kind, session, Vec::new());
                own.id = RecordId(u128::from(session) << 8 | kind as u128);
                let subject =
                    names::records("tollgate", "lines", names::partition(CallHash::of(&own.call_id), PARTITIONS));
                let message = PublishMessage::build().payload(codec::encode(&own).into());
                let message = message.message_id(names::message_id(&own, "lines"));
                acks.push(context.send_publish(subject, message).await.unwrap());
            }
        }
        for ack in acks {
            ack.await.unwrap();
        }
    });
}

/// Each session's kinds, in the order in which they came.
fn by_session(lines: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (session, kind) in lines {
        sessions.entry(session).or_default().push(kind);
    }
    sessions
}

/// The same without repeats: who dies in between may have a record delivered twice.
fn firsts_by_session(lines: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut sessions = by_session(lines);
    for kinds in sessions.values_mut() {
        let mut seen = BTreeSet::new();
        kinds.retain(|kind| seen.insert(kind.clone()));
    }
    sessions
}

/// Waits until so many sessions have all their records, and looks whether they came in order; `else_says` tells what is known
/// when that never comes.
fn wait_whole(
    count: usize,
    want: &[String],
    lines: impl Fn() -> Vec<(String, String)>,
    else_says: impl Fn() -> String,
) {
    let is_whole = |kinds: &&Vec<String>| kinds.len() == want.len();
    let come = try_wait_for(|| (firsts_by_session(lines()).values().filter(is_whole).count() == count).then_some(()));
    let sessions = firsts_by_session(lines());
    if come.is_none() {
        let parts: Vec<_> = sessions.iter().filter(|(_, kinds)| !is_whole(kinds)).collect();
        panic!("{} of {count} sessions came, of these not whole: {parts:?}\n{}", sessions.len(), else_says());
    }
    assert_eq!(sessions.len(), count);
    for (session, kinds) in sessions {
        assert_eq!(kinds, want, "{session}");
    }
}

fn words() -> Vec<String> {
    KINDS.iter().map(|kind| kind.name().to_owned()).collect()
}

#[test]
fn the_records_of_the_stream_reach_the_sink_once_and_in_order_and_a_restart_repeats_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    publish(&nats, 0..200);
    wait_for("all lines", || (one.lines().len() >= 600).then_some(()));
    let sessions = by_session(one.lines());
    assert_eq!(sessions.len(), 200);
    assert!(sessions.values().all(|kinds| *kinds == words()), "{sessions:?}");
    one.wait_idle();
    // What was settled is written down some times a second.
    std::thread::park_timeout(Duration::from_secs(1));
    one.start_again();
    one.wait_partitions(4);
    publish(&nats, 200..210);
    wait_for("the new lines", || (one.lines().len() >= 630).then_some(()));
    assert_eq!(one.lines().len(), 630, "nothing was repeated");
}

#[test]
fn a_stream_that_is_deleted_and_made_anew_is_read_from_its_begin() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    publish(&nats, 0..50);
    wait_for("all lines", || (one.lines().len() >= 150).then_some(()));
    let anew = || {
        nats.with(async |context| {
            let config = context.get_stream("TOLLGATE_RECORDS").await.unwrap().cached_info().config.clone();
            context.delete_stream("TOLLGATE_RECORDS").await.unwrap();
            drop(context.create_stream(config).await.unwrap());
        });
    };
    anew();
    publish(&nats, 50..60);
    wait_whole(60, &words(), || one.lines(), || one.says());
    // Until it is certain, and written down, what was read.
    std::thread::park_timeout(Duration::from_secs(1));
    one.process.kill();
    anew();
    publish(&nats, 60..70);
    one.start_again();
    wait_whole(70, &words(), || one.lines(), || one.says());
    assert!(one.process.printed().contains("made anew: it is read from its begin"), "{}", one.process.printed());
}

/// Has a server hold the messages that another one has, as if that one's copy of the stream now led.
fn swap(nats: &mut Nats, dir: &Path, other: &Nats, other_dir: &Path) {
    let messages = |dir: &Path| dir.join("nats/store/jetstream/$G/streams/TOLLGATE_RECORDS/msgs");
    other.with(async |context| drop(context.client().flush().await));
    nats.kill();
    fs::remove_dir_all(messages(dir)).unwrap();
    fs::create_dir(messages(dir)).unwrap();
    for file in fs::read_dir(messages(other_dir)).unwrap() {
        let file = file.unwrap();
        if file.path().extension().is_some_and(|extension| extension == "blk") {
            fs::copy(file.path(), messages(dir).join(file.file_name())).unwrap();
        }
    }
    nats.start_again(None);
}

#[test]
fn nothing_is_passed_over_when_a_copy_of_the_stream_leads_that_has_other_messages_under_the_same_places() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    publish(&nats, 0..50);
    wait_whole(50, &words(), || one.lines(), || one.says());
    // First under a deliverer that reads, then while none does.
    for (last, name) in [(55, "second"), (60, "third")] {
        let other_dir = dir.path().join(name);
        let other = self::nats(&other_dir).unwrap();
        let config = nats
            .with(async |context| context.get_stream("TOLLGATE_RECORDS").await.unwrap().cached_info().config.clone());
        other.stream(config);
        for part in [0..20, 50..last, 20..50] {
            publish(&other, part);
        }
        if last == 60 {
            one.process.kill();
        }
        swap(&mut nats, dir.path(), &other, &other_dir);
        if last == 60 {
            one.start_again();
        }
        wait_whole(usize::try_from(last).unwrap(), &words(), || one.lines(), || one.says());
        assert!(one.process.printed().contains("the copies of the stream differ"), "{}", one.process.printed());
    }
}

#[test]
fn two_deliverers_share_and_when_one_is_killed_the_other_takes_over_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    let two = Deliverer::start(dir.path(), "two", &nats.url());
    two.wait_partitions(2);
    one.wait_partitions(2);
    publish(&nats, 0..100);
    wait_for("all lines", || (one.lines().len() + two.lines().len() >= 300).then_some(()));
    assert!(!one.lines().is_empty() && !two.lines().is_empty(), "both deliver");
    one.process.kill();
    let killed = Instant::now();
    publish(&nats, 100..200);
    wait_whole(200, &words(), || one.lines().into_iter().chain(two.lines()).collect(), || two.says());
    eprintln!("taken over and delivered {:?} after the kill", killed.elapsed());
    two.wait_partitions(4);
}

#[test]
fn a_deliverer_that_ends_in_order_gives_its_partitions_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    let two = Deliverer::start(dir.path(), "two", &nats.url());
    two.wait_partitions(2);
    one.wait_partitions(2);
    one.process.signal(libc::SIGTERM);
    assert!(one.process.wait("the deliverer").success(), "{}", one.process.printed());
    two.wait_partitions(4);
}

#[test]
fn a_record_of_a_newer_release_is_parked_and_stays_parked_at_whoever_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let mut one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    let subject = names::records("tollgate", "lines", 2);
    nats.with(async |context| {
        let mut newer = codec::encode(&record(Kind::Start, 1, Vec::new()));
        newer[0] = 99;
        context.publish(subject.clone(), newer.into()).await.unwrap().await.unwrap();
    });
    let parked = |of: &Deliverer| Some(of.asked(&["queue", "parked"])?.as_array()?.clone());
    let reason = |of: &Deliverer| {
        wait_for("it is parked", || parked(of)?.first()?["sinks"][0]["reason"].as_str().map(str::to_owned))
    };
    assert!(reason(&one).contains("record of version 99, this release reads up to"));
    one.wait_idle();
    std::thread::park_timeout(Duration::from_secs(1));
    one.process.kill();
    // The stream may have let it go before anybody looks after it.
    nats.with(async |context| {
        context.get_stream("TOLLGATE_RECORDS").await.unwrap().purge().await.unwrap();
    });
    let two = Deliverer::start(dir.path(), "two", &nats.url());
    two.wait_partitions(4);
    assert!(reason(&two).contains("record of version 99"));
    // One that no queue takes is parked too, and does not keep the others waiting.
    nats.with(async |context| {
        context.publish(subject.clone(), vec![7; 900_000].into()).await.unwrap().await.unwrap();
    });
    wait_for("it is parked too", || (parked(&two)?.len() == 2).then_some(()));
    // Given up by the operator, it is nobody's any more.
    let kept = dir.path().join("kept.jsonl");
    two.asked(&["queue", "drop", "--all", "--yes", "--save", kept.to_str().unwrap()]);
    wait_for("it is gone", || parked(&two)?.is_empty().then_some(()));
    std::thread::park_timeout(Duration::from_secs(1));
    drop(two);
    let three = Deliverer::start(dir.path(), "three", &nats.url());
    three.wait_partitions(4);
    three.wait_idle();
    assert_eq!(parked(&three), Some(Vec::new()));
}

#[test]
fn a_server_that_is_away_for_longer_than_the_lease_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut nats) = nats(dir.path()) else { return };
    let one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    publish(&nats, 0..50);
    wait_for("all lines", || (one.lines().len() >= 150).then_some(()));
    nats.kill();
    wait_for("it has run out", || one.process.printed().contains("the lease of a partition has ended").then_some(()));
    nats.start_again(None);
    publish(&nats, 50..100);
    wait_whole(100, &words(), || one.lines(), || one.says());
}

#[test]
fn servers_that_are_away_or_let_nobody_in_at_the_start_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut nats) = nats(dir.path()) else { return };
    nats.kill();
    let one = Deliverer::start(dir.path(), "one", &nats.url());
    let says = |text: &str| wait_for(text, || one.process.printed().contains(text).then_some(()));
    says("the cluster cannot be reached");
    let trouble = || Some(one.asked(&["status"])?["deliverer"]["trouble"].as_str()?.to_owned());
    wait_for("the status says why", || trouble()?.contains("can be reached").then_some(()));
    nats.start_again(Some("authorization { users: [ { user: gw, password: secret } ] }\n"));
    says("does not let us in");
    assert_eq!(one.partitions(), 0, "it answers all the while");
    nats.start_again(Some(""));
    one.wait_partitions(4);
    assert_eq!(trouble(), None);
}

#[test]
fn a_second_deliverer_of_the_same_name_or_folder_is_told_so_and_does_not_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nats) = nats(dir.path()) else { return };
    let one = Deliverer::start(dir.path(), "one", &nats.url());
    one.wait_partitions(4);
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let mut twin = Deliverer::start(&other, "one", &nats.url());
    assert_eq!(twin.process.wait("the twin").code(), Some(78));
    assert!(twin.process.printed().contains("another deliverer called `one` is running"), "{}", twin.process.printed());
    let mut third = Deliverer::spawn(&one.dir);
    assert_eq!(third.wait("the third").code(), Some(78));
    assert!(third.printed().contains("uses"), "{}", third.printed());
    assert_eq!(one.partitions(), 4, "the first goes on");
}

/// Calls through a gateway of three servers with two deliverers, while something happens to the servers, the leader of the
/// stream among them, or to the first deliverer: every record reaches its sink, in order.
fn calls_while(happens: impl FnOnce(&Servers, usize, &mut Deliverer, &dyn Fn(usize, &mut Deliverer))) {
    const CALLS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let Some(servers) = Servers::start(dir.path(), 3, "") else { return };
    let [port, callee, caller] = free_ports();
    let Some(_callee) = sipp(dir.path(), "uas.xml", callee, &[]) else { return };
    let mut one = Deliverer::start_of(dir.path(), "one", &servers.list(), 3);
    let two = Deliverer::start_of(dir.path(), "two", &servers.list(), 3);
    two.wait_partitions(2);
    one.wait_partitions(2);
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    let gateway = Gateway::start_on(&folder, port, &of_gateway(&folder, (port, callee), &servers), 9);
    let (to, count) = (gateway.address().to_string(), CALLS.to_string());
    let mut calls = sipp(dir.path(), "uac.xml", caller, &[&to, "-m", &count, "-r", "50", "-d", "200"]).unwrap();
    let delivered = |count: usize, one: &mut Deliverer| {
        wait_for(&format!("{count} records"), || (one.lines().len() + two.lines().len() > count).then_some(()));
    };
    delivered(50, &mut one);
    happens(&servers, servers.leader("TOLLGATE_RECORDS"), &mut one, &delivered);
    assert!(calls.wait("the caller").success(), "{}", calls.complaints());
    let want: Vec<String> = [Kind::Start, Kind::Stop].iter().map(|kind| kind.name().to_owned()).collect();
    // Partitions may go to and fro: between the two files there is no order to be seen, within each there is.
    let all = || {
        let mut all: Vec<_> = one.lines().into_iter().chain(two.lines()).collect();
        all.sort_by_key(|(_, kind)| want.iter().position(|own| own == kind));
        all
    };
    wait_whole(CALLS, &want, all, || {
        let queue = gateway.command(&["queue", "status"]);
        format!("{queue}{}\none: {}\ntwo: {}", servers.said(), one.says(), two.says())
    });
    for lines in [one.lines(), two.lines()] {
        for (session, kinds) in firsts_by_session(lines) {
            assert!(kinds.is_sorted_by_key(|kind| want.iter().position(|own| own == kind)), "{session}: {kinds:?}");
        }
    }
    let status: Json = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).unwrap();
    assert_eq!((&status["sinks"][0]["waiting"], &status["sinks"][0]["parked"]), (&0.into(), &0.into()));
}

fn of_gateway(folder: &Path, (port, callee): (u16, u16), servers: &Servers) -> String {
    let (shown, urls) = (folder.display(), servers.list());
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:127.0.0.1:{callee}\"\n\
         [accounting]\non = [\"lines\"]\n[queue]\npath = \"{shown}/queue\"\nfree_min_mib = 0\ncommit_wait_max_ms = 10000\n\
         [admin]\nsocket = \"{shown}/admin.sock\"\n[sinks.file.lines]\npath = \"{shown}/lines.json\"\n\
         [cluster]\nnats = {urls}\nname = \"gw1\"\npartitions = {PARTITIONS}\n"
    )
}

#[test]
fn of_a_gateway_s_calls_every_record_reaches_its_sink_in_order_while_a_leader_and_a_deliverer_are_killed() {
    calls_while(|servers, leader, one, delivered| {
        servers.tell(&format!("kill {leader}"));
        delivered(200, one);
        one.process.kill();
        servers.tell(&format!("start {leader}"));
    });
}

#[test]
fn of_a_gateway_s_calls_every_record_reaches_its_sink_in_order_while_the_leader_is_cut_off_from_the_others() {
    calls_while(|servers, leader, one, delivered| {
        if servers.urls[0].contains("127.0.0.1") {
            eprintln!("skipped: this machine gives no network namespaces, and nothing can be cut");
            return;
        }
        let others: Vec<usize> = (1..=3).filter(|number| *number != leader).collect();
        others.iter().for_each(|other| servers.tell(&format!("cut {leader} {other}")));
        // Another leads, and records go on.
        delivered(300, one);
        others.iter().for_each(|other| servers.tell(&format!("heal {leader} {other}")));
    });
}
