//! The Diameter sink against a real freeDiameter: what it stores, and every way in which it can fail to answer.
//!
//! The server and its faults are in `tests/freediameter`. Without freeDiameter installed each test says that it is
//! skipped; with `TOLLGATE_PEERS=required` it fails.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tollgate::clock::{self, Timestamp};
use tollgate::diameter::peer::{Security as Transport, State};
use tollgate::diameter::route::{Complaint, PeerStatus};
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::net::tls::Tls;
use tollgate::queue::{Lease, Settlement};
use tollgate::record::{Cause, End, Kind, Party, Record, Times, Value};
use tollgate::sinks::diameter::DiameterSink;
use tollgate::sinks::diameter::acr::{Application, FieldMapping, Legs};
use tollgate::sinks::diameter::settings::{PeerSettings, Settings};
use tollgate::sinks::{Outcome, Sink};

use crate::support::diameter::{Acr, FreeDiameter};
use crate::support::radius::of_user;
use crate::support::start::Start as _;
use crate::support::{Running, free_port, wait_for};

/// How long a test waits for something.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it looks at something the sink does not tell.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const SALT: u32 = 0x1234_5678;

fn settings(ports: &[u16]) -> Settings {
    let mut settings = Settings::new("gw.test.example", "test.example", "test.example");
    for (place, port) in (0..).zip(ports) {
        let (host, port) = ("127.0.0.1".to_owned(), *port);
        settings.peers.push(PeerSettings {
            host,
            port,
            identity: None,
            priority: place,
            weight: 1,
            realms: Vec::new(),
        });
    }
    settings.timers.watchdog = Duration::from_secs(6);
    settings.timers.retry_first = Duration::from_millis(100);
    settings.timers.retry_max = Duration::from_millis(400);
    settings
}

fn named(settings: &mut Settings, identity: &str) {
    settings.peers[0].identity = Some(identity.to_owned());
}

/// A sink with a small queue of its own: what comes back is submitted again when its time has come.
struct Bench {
    sink: DiameterSink,
    next: u64,
    due: VecDeque<(Instant, Seq)>,
    records: HashMap<Seq, (Record, u32)>,
    delivered: Vec<Seq>,
    parked: Vec<(Seq, String, u32)>,
    /// Why records came back.
    reasons: Vec<String>,
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        Self::from(settings, 1, 0)
    }

    /// One whose records begin at a place; up to `waited` they lay in the queue at the start.
    fn from(settings: &Settings, next: u64, waited: u64) -> Self {
        let sink = DiameterSink::new("test", settings, SALT, Seq(waited)).expect("the settings are good");
        Self {
            sink,
            next,
            due: VecDeque::new(),
            records: HashMap::new(),
            delivered: Vec::new(),
            parked: Vec::new(),
            reasons: Vec::new(),
        }
    }

    fn add(&mut self, kind: Kind) -> Seq {
        let number = self.next;
        self.add_record(record(kind, number, "alice@test.example"))
    }

    fn add_record(&mut self, record: Record) -> Seq {
        let seq = Seq(self.next);
        self.next += 1;
        self.records.insert(seq, (record, 0));
        self.due.push_back((Instant::now(), seq));
        seq
    }

    fn submit_due(&mut self) {
        let now = Instant::now();
        for _ in 0..self.due.len() {
            if self.sink.capacity() == 0 {
                return;
            }
            let Some((due, seq)) = self.due.pop_front() else { return };
            if due > now {
                self.due.push_back((due, seq));
                continue;
            }
            let (record, attempts) = self.records.get_mut(&seq).expect("known");
            let lease = Lease {
                seq,
                id: RecordId(seq.0.into()),
                call: CallHash(seq.0),
                attempts: *attempts,
                first_tried: None,
                appended: clock::wall(),
                body: Bytes::new(),
            };
            *attempts += 1;
            self.sink.submit(&lease, record);
        }
    }

    /// Works until `done`.
    async fn work_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let work = async {
            let mut outcomes: Vec<Outcome> = Vec::new();
            while !done(self) {
                self.submit_due();
                let _looked = tokio::time::timeout(LOOK_AGAIN, self.sink.progress(&mut outcomes)).await;
                for Outcome { seq, settlement } in outcomes.drain(..) {
                    match settlement {
                        Settlement::Delivered | Settlement::DeliveredBy(_) => self.delivered.push(seq),
                        Settlement::Park { reason, code } => self.parked.push((seq, reason, code)),
                        Settlement::Withdrawn => panic!("a sink withdraws nothing"),
                        Settlement::Retry { after, reason } | Settlement::Defer { after, reason } => {
                            self.reasons.push(reason);
                            self.due.push_back((Instant::now() + after, seq));
                        }
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    async fn deliver_all(&mut self) {
        self.work_until("all is delivered", |bench| bench.delivered.len() == bench.records.len()).await;
    }

    async fn settle_all(&mut self) {
        let is_done = |bench: &mut Self| bench.delivered.len() + bench.parked.len() == bench.records.len();
        self.work_until("all is settled", is_done).await;
    }

    fn peer(&self, place: usize) -> PeerStatus {
        self.sink.board().status().peers[place].clone()
    }

    async fn until_state(&mut self, place: usize, state: State) {
        let what = format!("peer {place} is {}", state.name());
        self.work_until(&what, |bench| bench.peer(place).state == state).await;
    }

    /// Waits until a connection ended for a reason; gives its text.
    async fn until_cause(&mut self, name: &str) -> String {
        let is_it = |bench: &mut Self| bench.peer(0).last_cause.is_some_and(|cause| cause.name() == name);
        self.work_until(name, is_it).await;
        self.peer(0).last_cause.unwrap().to_string()
    }

    async fn close(&mut self) {
        let mut out = Vec::new();
        self.sink.close(&mut out).await;
    }
}

fn record(kind: Kind, number: u64, user: &str) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let end = matches!(kind, Kind::Stop | Kind::Failed | Kind::Missed);
    let is_call = matches!(kind, Kind::Start | Kind::Stop);
    Record {
        id: RecordId(u128::from(number) << 64 | kind as u128),
        to_tag: if is_call { b"to".to_vec() } else { Vec::new() },
        call_id: format!("call-{number}").into_bytes(),
        code: if end && kind != Kind::Stop { 486 } else { 200 },
        multi_session: format!("{:032x}", number + 1),
        times: Times {
            event: at(if end { 63_500 } else { 2_000 }),
            created: at(0),
            answered: is_call.then(|| at(2_000)),
            acknowledged: None,
            ended: end.then(|| at(63_500)),
            setup: Some(Duration::from_secs(2)),
            duration: end.then_some(Duration::from_millis(61_500)),
        },
        end: end.then_some(End { by: Party::Caller, cause: Cause::Bye }),
        ..of_user(kind, number, user)
    }
}

fn start(name: &str, environment: &[(&str, &str)]) -> Option<(TempDir, FreeDiameter)> {
    let dir = tempfile::tempdir().unwrap();
    let server = FreeDiameter::start(dir.path(), name, environment)?;
    Some((dir, server))
}

#[tokio::test]
async fn start_stop_and_events_are_stored_and_decoded_twice() {
    let Some((_dir, server)) = start("acct", &[]) else { return };
    let mut settings = settings(&[server.port]);
    settings.accounting.fields = vec![FieldMapping::new("user", "User-Name")];
    let mut bench = Bench::new(&settings);
    for (kind, number) in [(Kind::Start, 1), (Kind::Stop, 1), (Kind::Failed, 2), (Kind::Missed, 2), (Kind::Event, 3)] {
        bench.add_record(record(kind, number, "alice@test.example"));
        bench.deliver_all().await;
    }
    let found = server.wait_requests(5);
    let types: Vec<String> = found.iter().map(|acr| acr.value("Accounting-Record-Type")).collect();
    assert_eq!(types, ["2", "4", "1", "1", "1"]);
    assert_eq!(found[0].value("Session-Id"), found[1].value("Session-Id"), "START and STOP share their session");
    let keys: HashSet<_> = found.iter().map(Acr::key).collect();
    assert_eq!(keys.len(), 5, "each has its own durable key");
    for acr in &found {
        assert!(acr.value("Session-Id").starts_with("gw.test.example;"));
        assert_eq!(acr.value("Origin-Host"), "gw.test.example");
        assert_eq!(acr.value("User-Name"), "alice@test.example");
        assert!(!acr.has_t());
    }
    assert_eq!(found[0].value("Event-Timestamp"), "1700000002");
    bench.close().await;
    assert!(server.process.printed().contains("Disconnect-Peer-Request"), "our goodbye was heard");
}

#[tokio::test]
async fn the_records_of_rf_are_stored_with_their_service_information() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut settings = settings(&[server.port]);
    settings.accounting.application = Application::Rf;
    settings.accounting.fields = vec![FieldMapping::new("user", "Calling-Party-Address")];
    let mut bench = Bench::new(&settings);
    for (kind, number) in [(Kind::Start, 1), (Kind::Stop, 1), (Kind::Failed, 2)] {
        bench.add_record(record(kind, number, "sip:alice@test.example"));
        bench.deliver_all().await;
    }
    let found = server.wait_requests(3);
    let types: Vec<String> = found.iter().map(|acr| acr.value("Accounting-Record-Type")).collect();
    assert_eq!(types, ["2", "4", "1"]);
    for acr in &found {
        assert!(acr.value("Service-Context-Id").ends_with("32260@3gpp.org"), "{:#}", acr.0);
        assert_eq!(acr.value("Calling-Party-Address"), "sip:alice@test.example");
        assert!(!acr.all("Node-Functionality").is_empty() && !acr.all("SIP-Method").is_empty(), "{:#}", acr.0);
    }
    assert_eq!(found[1].value("Cause-Code"), "0", "a STOP says how the call ended");
}

#[tokio::test]
async fn an_idle_connection_is_kept_by_the_watchdogs_of_both_sides() {
    /// Three times the watchdog timer.
    const IDLE: Duration = Duration::from_secs(18);
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    bench.until_state(0, State::Open).await;
    let begin = Instant::now();
    bench
        .work_until("both sides ask and answer", |_| {
            let (asked, answered) = server.watchdogs();
            begin.elapsed() > IDLE && asked > 3 && answered > 0
        })
        .await;
    bench.add(Kind::Start);
    bench.deliver_all().await;
    let counters = bench.peer(0).counters;
    assert_eq!((counters.connections, counters.losses, counters.repeats), (1, 0, 0), "one connection all the time");
}

#[tokio::test]
async fn ten_thousand_records_at_once_arrive_once_each() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    for _ in 0..10_000 {
        bench.add(Kind::Start);
    }
    bench.deliver_all().await;
    let found = server.wait_requests(10_000);
    let keys: HashSet<_> = found.iter().map(Acr::key).collect();
    assert_eq!((found.len(), keys.len()), (10_000, 10_000));
    assert!(found.iter().all(|acr| !acr.has_t()));
}

#[tokio::test]
async fn answers_decide_what_becomes_of_a_record() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    bench.until_state(0, State::Open).await;
    let mut seen = 0;
    let mut transmissions = |server: &FreeDiameter, count: usize| {
        let found = server.wait_requests(seen + count).split_off(seen);
        seen += count;
        found
    };
    // Too busy twice, then well: the same id, no T, since answers came.
    server.mode("x2 code 3004");
    bench.add(Kind::Start);
    bench.deliver_all().await;
    let found = transmissions(&server, 3);
    assert!(found.iter().all(|acr| !acr.has_t() && acr.end_to_end() == found[0].end_to_end()));
    assert!(bench.reasons.iter().all(|reason| reason.starts_with("3004 TOO_BUSY from acct.test.example")));
    // Out of space, then well: a new id, the same durable key.
    server.mode("x1 code 4002 disk full");
    bench.add(Kind::Start);
    bench.deliver_all().await;
    let found = transmissions(&server, 2);
    assert_ne!(found[0].end_to_end(), found[1].end_to_end());
    assert_eq!(found[0].key(), found[1].key());
    assert_eq!(bench.reasons.last().unwrap(), "4002 OUT_OF_SPACE from acct.test.example: disk full");
    // A vendor's refusal, a refusal for good, and one that servers use for everything.
    for (mode, text, code) in [
        ("x1 exp 10415 5030", "result 5030 of vendor 10415", 5030),
        ("x1 code 5003 not you", "5003 AUTHORIZATION_REJECTED", 5003),
        ("code 5012", "5012 UNABLE_TO_COMPLY", 5012),
    ] {
        server.mode(mode);
        let seq = bench.add(Kind::Start);
        bench.settle_all().await;
        let (parked, reason, found) = bench.parked.last().unwrap().clone();
        assert_eq!((parked, found), (seq, code));
        assert!(reason.starts_with(text), "{reason}");
    }
    server.mode("ok");
    bench.add(Kind::Start);
    bench.settle_all().await;
    assert_eq!(bench.peer(0).state, State::Open, "refusals are no reason to leave");
}

#[tokio::test]
async fn a_poison_record_is_parked_by_the_name_of_its_avp_while_others_flow() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut settings = settings(&[server.port]);
    // An AVP nobody knows, with the flag M.
    settings.accounting.fields = vec![FieldMapping::new("poison", "32473:4711")];
    settings.accounting.mandatory = vec!["32473:4711".to_owned()];
    let mut bench = Bench::new(&settings);
    for number in 0..40_u64 {
        let mut one = record(Kind::Event, number, "alice@test.example");
        if number % 10 == 3 {
            one.fields.push(("poison".into(), Value::Text("x".into())));
        }
        bench.add_record(one);
    }
    bench.settle_all().await;
    assert_eq!((bench.delivered.len(), bench.parked.len()), (36, 4));
    for (_, reason, code) in &bench.parked {
        assert_eq!(*code, 5001);
        assert!(reason.contains("32473:4711") && reason.contains("poison"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_everything_pauses_the_route() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut settings = settings(&[server.port]);
    settings.pause_after = 5;
    let mut bench = Bench::new(&settings);
    server.mode("code 5001");
    for _ in 0..50 {
        bench.add(Kind::Event);
    }
    bench
        .work_until("the route pauses", |bench| bench.sink.board().status().paused == Some(Complaint::Result(5001)))
        .await;
    assert_eq!(bench.sink.capacity(), 0);
    assert_eq!(bench.parked.len(), 4, "the others stay in the queue");
}

#[tokio::test]
async fn a_killed_server_under_load_loses_nothing_and_repeats_carry_t() {
    let Some((dir, mut first)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "b.test.example")];
    let second = FreeDiameter::start(dir.path(), "b", &environment).unwrap();
    let mut bench = Bench::new(&settings(&[first.port, second.port]));
    bench.until_state(0, State::Open).await;
    bench.until_state(1, State::Open).await;
    first.mode("delay 20");
    for _ in 0..2_000 {
        bench.add(Kind::Start);
    }
    bench.work_until("some are stored", |bench| bench.delivered.len() > 20).await;
    first.process.kill();
    bench.deliver_all().await;
    let mut stored: HashMap<(String, String), u64> = HashMap::new();
    for acr in first.requests() {
        stored.insert(acr.key(), acr.end_to_end());
    }
    let mut repeats = 0;
    for acr in second.requests() {
        let before = stored.insert(acr.key(), acr.end_to_end());
        if let Some(before) = before {
            assert_eq!(before, acr.end_to_end(), "a repeat keeps its id");
            assert!(acr.has_t(), "a repeat says so");
        }
        repeats += usize::from(acr.has_t());
    }
    assert_eq!(stored.len(), 2_000, "nothing is lost");
    assert!((1..=256).contains(&repeats), "{repeats} repeats: what was outstanding");
}

#[tokio::test]
async fn what_lay_in_the_queue_at_a_restart_goes_with_t_under_the_same_id() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let settings = settings(&[server.port]);
    server.mode("drop");
    let mut bench = Bench::new(&settings);
    for _ in 0..5 {
        bench.add(Kind::Start);
    }
    bench.work_until("they are on the wire", |_| server.requests().len() >= 5).await;
    // As a crash: no goodbye.
    drop(bench);
    server.mode("ok");
    // The server throws answers away on a connection after a break, unless three watchdogs come first.
    let mut bench = Bench::from(&settings, 1, 3);
    for _ in 0..5 {
        bench.add(Kind::Start);
    }
    bench.deliver_all().await;
    assert!(bench.reasons.iter().all(|reason| reason.contains("no Diameter peer")), "{:?}", bench.reasons);
    let found = server.wait_requests(10);
    let ids = |part: &[Acr]| part.iter().map(|acr| (acr.key(), acr.end_to_end())).collect::<HashMap<_, _>>();
    assert_eq!(ids(&found[..5]), ids(&found[5..]), "same keys, same ids");
    let marked: HashSet<String> =
        found[5..].iter().filter(|acr| acr.has_t()).map(|acr| acr.value("Session-Id")).collect();
    assert_eq!(marked.len(), 3, "what lay there, and nothing else");
    assert!(!found[..5].iter().any(Acr::has_t));
}

#[tokio::test]
async fn no_answer_is_lost_on_the_connection_after_a_break() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    for round in 0..3 {
        let mut bench = Bench::from(&settings(&[server.port]), 1 + round * 100, 0);
        for _ in 0..20 {
            bench.add(Kind::Start);
        }
        bench.deliver_all().await;
        assert_eq!(bench.peer(0).counters.timeouts, 0, "round {round}");
    }
}

#[tokio::test]
async fn silence_leads_to_a_copy_with_t_at_the_other_peer() {
    let Some((dir, first)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "b.test.example")];
    let second = FreeDiameter::start(dir.path(), "b", &environment).unwrap();
    let mut settings = settings(&[first.port, second.port]);
    settings.timers.request = Duration::from_millis(500);
    let mut bench = Bench::new(&settings);
    bench.until_state(0, State::Open).await;
    bench.until_state(1, State::Open).await;
    first.mode("drop");
    bench.add(Kind::Start);
    bench.deliver_all().await;
    let (before, after) = (first.wait_requests(1), second.wait_requests(1));
    assert_eq!((before[0].has_t(), after[0].has_t()), (false, true));
    assert_eq!((before[0].key(), before[0].end_to_end()), (after[0].key(), after[0].end_to_end()));
    // A late answer counts, and the copy's is ignored.
    first.mode("delay 1000");
    second.mode("delay 2500");
    bench.add(Kind::Start);
    bench.deliver_all().await;
    bench.work_until("the late answer is counted", |bench| bench.peer(0).counters.late == 1).await;
    bench.work_until("the copy's answer is ignored", |bench| bench.peer(1).counters.unknown == 1).await;
}

#[tokio::test]
async fn a_hung_server_is_left_by_the_watchdog_and_taken_back() {
    let Some((dir, first)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "b.test.example")];
    let second = FreeDiameter::start(dir.path(), "b", &environment).unwrap();
    let mut settings = settings(&[first.port, second.port]);
    settings.timers.request = Duration::from_secs(600);
    settings.timers.failback = Duration::from_millis(100);
    let mut bench = Bench::new(&settings);
    bench.until_state(0, State::Open).await;
    bench.until_state(1, State::Open).await;
    first.process.freeze();
    let begin = Instant::now();
    bench.add(Kind::Start);
    bench.deliver_all().await;
    assert!((4..20).contains(&begin.elapsed().as_secs()), "after Tw to 2 Tw: {:?}", begin.elapsed());
    assert!(second.wait_requests(1)[0].has_t());
    assert_eq!(bench.peer(0).state, State::Suspect);
    first.process.signal(libc::SIGCONT);
    bench.until_state(0, State::Open).await;
    bench
        .work_until("new records go to the better peer again", |bench| {
            let before = first.requests().len();
            bench.add(Kind::Start);
            before > 1
        })
        .await;
    bench.deliver_all().await;
}

/// A relay in front of a server, and settings that lead to it.
fn relay_before(dir: &Path, server: &FreeDiameter) -> (FreeDiameter, Settings) {
    let next = format!(
        "ConnectPeer = \"acct.test.example\" {{ No_TLS; ConnectTo = \"127.0.0.1\"; Port = {}; }};",
        server.port
    );
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "relay.test.example"), ("SINK", "0"), ("PEERS", next.as_str())];
    let relay = FreeDiameter::start(dir, "relay", &environment).unwrap();
    let mut settings = settings(&[relay.port]);
    named(&mut settings, "relay.test.example");
    (relay, settings)
}

#[tokio::test]
async fn a_relay_answers_for_a_server_that_is_away_and_the_record_is_delivered_later() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    let (_relay, settings) = relay_before(dir.path(), &server);
    let mut bench = Bench::new(&settings);
    bench.add(Kind::Start);
    bench.deliver_all().await;
    server.process.kill();
    let seq = bench.add(Kind::Start);
    bench
        .work_until("the relay cannot deliver", |bench| {
            bench.reasons.iter().any(|reason| reason.starts_with("3002 UNABLE_TO_DELIVER from relay.test.example"))
        })
        .await;
    assert_eq!(bench.peer(0).state, State::Open, "nothing is wrong with the neighbour");
    server.restart();
    bench.deliver_all().await;
    assert_eq!(*bench.delivered.last().unwrap(), seq);
    let keys: HashSet<_> = server.requests().iter().map(Acr::key).collect();
    assert_eq!(keys.len(), 2);
}

#[tokio::test]
async fn a_server_that_hangs_behind_a_relay_stores_one_record_however_often_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &[("DUMP", "0x1111")]) else { return };
    let (_relay, mut settings) = relay_before(dir.path(), &server);
    // The relay gives up first.
    settings.timers.request = Duration::from_secs(60);
    let mut bench = Bench::new(&settings);
    bench.until_state(0, State::Open).await;
    bench.add(Kind::Start);
    bench.deliver_all().await;
    server.process.freeze();
    bench.add(Kind::Start);
    bench.work_until("the relay gives up", |bench| bench.reasons.iter().any(|reason| reason.starts_with("3002"))).await;
    server.process.signal(libc::SIGCONT);
    bench.deliver_all().await;
    let ids: HashSet<_> = server.wait_requests(2).iter().map(|acr| (acr.key(), acr.end_to_end())).collect();
    assert_eq!(ids.len(), 2, "two records, each under one key and one id");
}

#[tokio::test]
async fn redirects_are_followed_where_the_configuration_allows_it() {
    let Some((dir, first)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let environment = [("DUMP", "0x1111"), ("IDENTITY", "localhost")];
    let second = FreeDiameter::start(dir.path(), "b", &environment).unwrap();
    let mut settings = settings(&[first.port]);
    settings.redirect_hosts = vec!["localhost".to_owned()];
    let mut bench = Bench::new(&settings);
    bench.until_state(0, State::Open).await;
    first.mode(&format!("redirect aaa://localhost:{};transport=tcp 0 0", second.port));
    bench.add(Kind::Start);
    bench.deliver_all().await;
    let (asked, stored) = (first.wait_requests(1), second.wait_requests(1));
    assert_eq!(asked[0].end_to_end(), stored[0].end_to_end());
    first.mode("x1 redirect aaa://elsewhere.test.example 0 0");
    bench.add(Kind::Start);
    bench.deliver_all().await;
    assert!(bench.reasons.iter().any(|reason| reason.starts_with("3006")), "{:?}", bench.reasons);
    assert_eq!(second.requests().len(), 1, "the other one was not followed");
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_and_is_found_again() {
    let Some((_dir, mut server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    bench.until_state(0, State::Open).await;
    server.process.signal(libc::SIGTERM);
    assert_eq!(bench.until_cause("dismissed").await, "the peer restarts");
    server.process.wait("freeDiameter");
    bench.add(Kind::Start);
    server.restart();
    bench.deliver_all().await;
}

#[tokio::test]
async fn refusals_of_a_connection_say_what_to_do() {
    // Our name is not in its list.
    let Some((_dir, server)) = start("acct", &[("ACL", "other.example"), ("DUMP", "0x1111")]) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    let text = bench.until_cause("refused").await;
    assert!(text.contains("3010 UNKNOWN_PEER") && text.contains("list of peers"), "{text}");
    assert_eq!(bench.sink.capacity(), 0);
    // It is another one than we expect.
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut other = settings(&[server.port]);
    named(&mut other, "other.test.example");
    let text = Bench::new(&other).until_cause("wrong-identity").await;
    assert!(text.contains("acct.test.example"), "{text}");
    // It holds a connection of ours.
    let mut holder = Bench::new(&settings(&[server.port]));
    holder.until_state(0, State::Open).await;
    let mut second = Bench::new(&settings(&[server.port]));
    let text = second.until_cause("refused").await;
    assert!(text.contains("5012"), "{text}");
    drop(second);
    holder.add(Kind::Start);
    holder.deliver_all().await;
    // It has no accounting and relays nothing.
    let environment = [("SINK", "0"), ("NORELAY", "1"), ("DUMP", "0x1111")];
    let Some((_dir, server)) = start("poor", &environment) else { return };
    let mut bench = Bench::new(&settings(&[server.port]));
    bench
        .work_until("no common application", |bench| bench.peer(0).last_cause.is_some_and(|cause| cause.is_refusal()))
        .await;
}

fn tls(dir: &Path, own: Option<&str>) -> Tls {
    let file = |name: &str| Some(dir.join("tls").join(name));
    Tls {
        ca_file: file("ca.pem"),
        cert_file: own.and_then(|own| file(&format!("{own}.pem"))),
        key_file: own.and_then(|own| file(&format!("{own}.key"))),
        ..Tls::default()
    }
}

#[tokio::test]
async fn tls_from_the_first_octet_with_both_sides_proven() {
    let port = free_port();
    let secure = port.to_string();
    let dir = tempfile::tempdir().unwrap();
    let environment = [("SECPORT", secure.as_str()), ("DUMP", "0x1111")];
    let Some(server) = FreeDiameter::start_on(dir.path(), "acct", 0, &environment) else { return };
    let mut good = settings(&[port]);
    named(&mut good, "acct.test.example");
    good.transport = Transport::Tls;
    good.tls = tls(&server.dir, Some("gw"));
    let mut bench = Bench::new(&good);
    bench.add(Kind::Start);
    bench.deliver_all().await;
    bench.close().await;
    // Another name than its certificate's.
    let mut other = good.clone();
    named(&mut other, "other.test.example");
    Bench::new(&other).until_cause("bad-certificate").await;
    // Another authority.
    let strangers = dir.path().join("strangers");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freediameter/mkcerts.sh");
    assert!(Command::new("sh").arg(script).arg(strangers.join("tls")).finish().unwrap().status.success());
    let mut stranger = good.clone();
    stranger.tls.ca_file = tls(&strangers, None).ca_file;
    Bench::new(&stranger).until_cause("bad-certificate").await;
    // No certificate of ours: the server ends what it accepted.
    let mut nameless = good.clone();
    nameless.tls = tls(&server.dir, None);
    let mut bench = Bench::new(&nameless);
    bench.work_until("refused", |bench| bench.peer(0).counters.losses > 0).await;
    assert_eq!(bench.sink.capacity(), 0);
    // A plain client where TLS is spoken.
    let mut plain = Bench::new(&settings(&[port]));
    plain.work_until("refused", |bench| bench.peer(0).counters.losses > 0).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_ended_connects_nobody() {
    let [port, expired] = [free_port(), free_port()];
    let secure = port.to_string();
    let dir = tempfile::tempdir().unwrap();
    let environment = [("SECPORT", secure.as_str()), ("DUMP", "0x1111")];
    let Some(server) = FreeDiameter::start_on(dir.path(), "acct", 0, &environment) else { return };
    let mut ours = settings(&[port]);
    named(&mut ours, "acct.test.example");
    ours.transport = Transport::Tls;
    ours.tls = tls(&server.dir, Some("gw"));
    // The peer's: freeDiameter does not even start with such a one, so OpenSSL shows it.
    let files = server.dir.join("tls");
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept"]).arg(format!("127.0.0.1:{expired}"));
    command.arg("-cert").arg(files.join("acct-expired.pem")).arg("-key").arg(files.join("acct.key"));
    let openssl = Running::start(&mut command, dir.path().join("openssl"));
    wait_for("OpenSSL is ready", || TcpStream::connect(("127.0.0.1", expired)).ok());
    let mut theirs = ours.clone();
    theirs.peers[0].port = expired;
    let mut bench = Bench::new(&theirs);
    let text = bench.until_cause("bad-certificate").await;
    assert!(text.contains("expired"), "{text}; {}", openssl.printed());
    assert_eq!(bench.sink.capacity(), 0);
    // Ours: the server ends what it accepted.
    ours.tls.cert_file = Some(files.join("gw-expired.pem"));
    let mut bench = Bench::new(&ours);
    bench.work_until("refused", |bench| bench.peer(0).counters.losses > 0).await;
    assert_eq!(bench.sink.capacity(), 0);
    // A renewed file counts from the next connection on.
    fs::copy(files.join("gw.pem"), files.join("gw-expired.pem")).unwrap();
    bench.add(Kind::Start);
    bench.deliver_all().await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn tls_after_the_capabilities_is_insisted_on() {
    let acl = "ALLOW_OLD_TLS *.test.example";
    let dir = tempfile::tempdir().unwrap();
    let environment = [("TLS", "1"), ("ACL", acl), ("DUMP", "0x1111")];
    let Some(server) = FreeDiameter::start(dir.path(), "acct", &environment) else { return };
    let mut inband = settings(&[server.port]);
    named(&mut inband, "acct.test.example");
    inband.transport = Transport::Inband;
    inband.tls = tls(&server.dir, Some("gw"));
    let mut bench = Bench::new(&inband);
    bench.add(Kind::Start);
    bench.deliver_all().await;
    bench.close().await;
    // Without it the server refuses.
    let text = Bench::new(&settings(&[server.port])).until_cause("refused").await;
    assert!(text.contains("5017"), "{text}");
    // A server without TLS does not agree, and we leave.
    let Some(plain) = FreeDiameter::start(dir.path(), "plain", &[("DUMP", "0x1111")]) else { return };
    inband.peers[0].port = plain.port;
    let mut bench = Bench::new(&inband);
    bench.work_until("left", |bench| bench.peer(0).last_cause.is_some_and(|cause| cause.is_refusal())).await;
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_too_long_record_is_parked_and_the_connection_stays() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut settings = settings(&[server.port]);
    settings.message_octets_max = 2_000;
    settings.accounting.message_octets_max = 2_000;
    let mut bench = Bench::new(&settings);
    bench.until_state(0, State::Open).await;
    let mut long = record(Kind::Event, 1, "alice@test.example");
    long.fields.push(("more".into(), Value::Text("x".repeat(3_000).into_bytes())));
    bench.add_record(long);
    bench.add(Kind::Event);
    bench.settle_all().await;
    assert_eq!((bench.delivered.len(), bench.parked.len()), (1, 1));
    assert!(bench.parked[0].1.contains("2000"), "{:?}", bench.parked);
    assert_eq!((bench.peer(0).state, bench.peer(0).counters.losses), (State::Open, 0));
}

#[tokio::test]
async fn legs_travel_flat_grouped_and_as_sub_sessions() {
    let Some((_dir, server)) = start("acct", &[("DUMP", "0x1111")]) else { return };
    let mut known = 0;
    for (legs, messages) in [(Legs::Flat, 1), (Legs::Grouped, 1), (Legs::SubSessions, 3)] {
        let mut settings = settings(&[server.port]);
        settings.accounting.legs = legs;
        settings.accounting.leg_fields = vec![FieldMapping::new("src", "Calling-Station-Id")];
        if legs == Legs::Flat {
            // What a server allows once may not be repeated: another AVP, which the server does not know.
            settings.accounting.leg_fields = vec![FieldMapping::new("src", "Tollgate-Leg-Src")];
        }
        let mut bench = Bench::from(&settings, 1000 * (known as u64 + 1), 0);
        let mut one = record(Kind::Start, 1000 + known as u64, "alice@test.example");
        for value in ["sip:a@x", "", "sip:c@x"] {
            one.legs.push(vec![("src".into(), Value::Text(value.into()))]);
        }
        bench.add_record(one);
        bench.deliver_all().await;
        let found = server.wait_requests(known + messages).split_off(known);
        assert_eq!(found.len(), messages, "{legs:?}");
        let ids: HashSet<_> = found.iter().map(Acr::end_to_end).collect();
        assert_eq!(ids.len(), messages);
        if legs == Legs::SubSessions {
            let numbers: Vec<_> = found.iter().map(|acr| acr.value("Accounting-Sub-Session-Id")).collect();
            assert_eq!(numbers, ["1", "2", "3"], "one after the other");
        }
        known += messages;
        bench.close().await;
    }
    wait_for("the server is still there", || (!server.process.printed().is_empty()).then_some(()));
}
