//! The RADIUS sink against a real FreeRADIUS: what it stores, and every way in which it can fail to answer.
//!
//! The server and its faults are in `tests/freeradius`. Without FreeRADIUS installed each test says that it is skipped;
//! with `TOLLGATE_PEERS=required` it fails.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tollgate::clock::{self, Timestamp};
use tollgate::dictionary::Dictionary;
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::radius::Secret;
use tollgate::radius::client::{Health, MessageAuthenticator, ServerSettings};
use tollgate::record::{Kind, Record, Times};
use tollgate::sinks::radius::{FieldMapping, RadiusSink, Settings};
use tollgate::sinks::{Outcome, Sink};

use crate::support::radius::of_user;
use crate::support::{FreeRadius, peer, value, wait_for};

/// How long a test waits for its outcomes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks at something the sink does not tell.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A sink with quick timers, and what it tells.
struct Bench {
    sink: RadiusSink,
    outcomes: Vec<Outcome>,
    next: u64,
}

fn settings(ports: &[u16], secret: &str) -> Settings {
    let server = |port: &u16| ServerSettings {
        address: SocketAddr::from(([127, 0, 0, 1], *port)),
        secret: Secret::new(secret),
        message_authenticator: MessageAuthenticator::Omit,
    };
    let mut settings = Settings::default();
    settings.client.servers = ports.iter().map(server).collect();
    settings.client.initial_timeout = Duration::from_millis(300);
    settings.client.max_timeout = Duration::from_millis(600);
    settings.client.transmissions = 3;
    settings.client.response_window = Duration::from_millis(500);
    settings.client.probe_interval = Duration::from_millis(100);
    settings.nas_identifier = Some("tollgate-test".to_owned());
    settings.fields = vec![FieldMapping::new("user", "User-Name")];
    settings
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let sink = RadiusSink::new("test", settings).expect("the settings are good");
        Self { sink, outcomes: Vec::new(), next: 0 }
    }

    /// Submits a record; a user `fault-WORD@x` makes the server misbehave for it.
    fn submit(&mut self, kind: Kind, user: &str) -> Seq {
        let seq = Seq(self.next);
        self.next += 1;
        let lease = Lease {
            seq,
            id: RecordId(seq.0.into()),
            call: CallHash(seq.0),
            attempts: 0,
            first_tried: None,
            appended: clock::wall(),
            body: Bytes::new(),
        };
        self.sink.submit(&lease, &record(kind, seq.0, user));
        seq
    }

    /// Submits ordinary records, as many as the sink takes and at most `count`; returns how many.
    fn submit_good(&mut self, count: usize) -> usize {
        let mut submitted = 0;
        while submitted < count && self.sink.capacity() > 0 {
            self.submit(Kind::Start, "good@x");
            submitted += 1;
        }
        submitted
    }

    /// Lets the sink work until `done`; the outcomes so far are its argument.
    async fn work_until(&mut self, what: &str, mut done: impl FnMut(&mut RadiusSink, &[Outcome]) -> bool) {
        let work = async {
            while !done(&mut self.sink, &self.outcomes) {
                let _looked = tokio::time::timeout(LOOK_AGAIN, self.sink.progress(&mut self.outcomes)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    /// The next `count` outcomes.
    async fn outcomes(&mut self, count: usize) -> Vec<Outcome> {
        self.work_until("outcomes", |_, outcomes| outcomes.len() >= count).await;
        std::mem::take(&mut self.outcomes)
    }

    /// Submits one record and waits for what becomes of it.
    async fn outcome(&mut self, kind: Kind, user: &str) -> Settlement {
        self.submit(kind, user);
        self.outcomes(1).await.remove(0).settlement
    }

    fn health(&self) -> Option<Health> {
        self.sink.board().servers().first().map(|server| server.health)
    }
}

fn record(kind: Kind, number: u64, user: &str) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let is_end = kind == Kind::Stop;
    let usual = of_user(kind, number, user);
    let times = Times {
        event: at(4_000),
        ended: is_end.then(|| at(65_500)),
        duration: is_end.then(|| Duration::from_millis(61_500)),
        ..usual.times
    };
    Record { id: RecordId(number.into()), times, ..usual }
}

fn start(dir: &TempDir) -> Option<FreeRadius> {
    FreeRadius::start(dir.path(), &[])
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Lines about a session in the log of everything that reached the server.
fn seen(dir: &Path, session: u64) -> usize {
    let log = fs::read_to_string(dir.join("acct/seen.log")).unwrap_or_default();
    log.matches(&format!("{session:032x}")).count()
}

fn text(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Delivered | Settlement::DeliveredBy(_) => "delivered".to_owned(),
        Settlement::Retry { reason, .. } | Settlement::Defer { reason, .. } => format!("retry: {reason}"),
        Settlement::Park { reason, code } => format!("parked {code}: {reason}"),
        Settlement::Withdrawn => "withdrawn".to_owned(),
    }
}

#[tokio::test]
async fn start_and_stop_are_stored_with_what_they_say() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut bench = Bench::new(&settings(&[server.port], "testing123"));
    assert_eq!(bench.outcome(Kind::Start, "alice@example.com").await, Settlement::Delivered);
    assert_eq!(bench.outcome(Kind::Stop, "alice@example.com").await, Settlement::Delivered);
    let records = server.wait_records(2);
    for (record, wanted) in records.iter().zip([
        &[
            ("Acct-Status-Type", "Start"),
            ("User-Name", "alice@example.com"),
            ("Event-Timestamp", "Nov 14 2023 22:13:24 UTC"),
            ("Acct-Session-Id", "00000000000000000000000000000000"),
            ("NAS-Identifier", "tollgate-test"),
            ("NAS-IP-Address", "127.0.0.1"),
            ("NAS-Port-Type", "Virtual"),
            ("Acct-Delay-Time", "0"),
            ("Tollgate-Record-Id", "00000000000000000000000000"),
            ("Tollgate-Method", "INVITE"),
            ("Tollgate-Response-Code", "200"),
            ("Tollgate-Call-Id", "call-0@example.com"),
        ][..],
        &[
            ("Acct-Status-Type", "Stop"),
            ("Acct-Session-Time", "62"),
            ("Acct-Terminate-Cause", "User-Request"),
            ("Event-Timestamp", "Nov 14 2023 22:14:25 UTC"),
            ("Tollgate-Duration-Ms", "61500"),
            ("Tollgate-Ended-By", "caller"),
        ],
    ]) {
        for (name, want) in wanted {
            assert_eq!(value(record, name), Some(*want), "{name} in {record:#?}");
        }
        assert!(record.iter().all(|line| !line.starts_with("Attr-")), "the server knows every attribute: {record:#?}");
    }
}

#[tokio::test]
async fn odd_values_are_stored_in_the_best_permitted_form() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    settings.client.servers[0].message_authenticator = MessageAuthenticator::Send;
    let mut bench = Bench::new(&settings);
    let mut user = "u".repeat(10_000);
    user.push_str("\0\r\nInjected-Line = 1");
    assert_eq!(bench.outcome(Kind::Start, &user).await, Settlement::Delivered);
    assert_eq!(bench.outcome(Kind::Start, "a\0b\r\nInjected = 1").await, Settlement::Delivered);
    let records = server.wait_records(2);
    assert_eq!(value(&records[0], "User-Name").map(str::len), Some(253));
    assert_eq!(value(&records[0], "Tollgate-Shortened"), Some("user"));
    assert_eq!(value(&records[1], "User-Name"), Some("abInjected = 1"));
}

#[tokio::test]
async fn every_way_not_to_acknowledge_is_told_apart() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut bench = Bench::new(&settings(&[server.port], "testing123"));
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered);
    for (word, want) in [
        ("ma", "delivered"),
        ("errcause", "retry: 127.0.0.1:PORT refused the record with Error-Cause 406 (Unsupported-Extension)"),
        ("proterr", "parked 404: 127.0.0.1:PORT refused the record with Error-Cause 404 (Invalid-Request)"),
        (
            "badcode",
            "retry: 127.0.0.1:PORT answered with Access-Reject instead of Accounting-Response: is it an authentication \
             port?",
        ),
    ] {
        let settlement = bench.outcome(Kind::Start, &format!("fault-{word}@x")).await;
        assert_eq!(text(&settlement), want.replace("PORT", &server.port.to_string()), "{word}");
    }
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered, "others are not touched");
}

#[tokio::test]
async fn a_record_the_server_drops_is_sent_again_and_charged_to_the_record() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    // FreeRADIUS absorbs a retransmission within half a second of the first.
    settings.client.initial_timeout = Duration::from_millis(900);
    settings.client.max_timeout = Duration::from_millis(900);
    let mut bench = Bench::new(&settings);
    let dropped = bench.submit(Kind::Start, "fault-drop@x");
    let failing = bench.submit(Kind::Start, "fault-fail@x");
    let good = bench.submit(Kind::Start, "good@x");
    let mut outcomes = bench.outcomes(3).await;
    outcomes.sort_by_key(|outcome| outcome.seq);
    for (seq, want) in [(dropped, "acknowledged other records, the last one "), (failing, "not this one")] {
        let found = outcomes.iter().find(|outcome| outcome.seq == seq).map(|outcome| text(&outcome.settlement));
        assert!(found.as_ref().is_some_and(|found| found.contains(want)), "{found:?}");
        assert_eq!(seen(&server.dir, seq.0), 3, "three transmissions");
    }
    assert_eq!(outcomes[2], Outcome { seq: good, settlement: Settlement::Delivered });
}

#[tokio::test]
async fn a_lost_answer_makes_a_repeat_with_the_same_record_id() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    // FreeRADIUS absorbs a retransmission within half a second of the first.
    settings.client.initial_timeout = Duration::from_millis(1200);
    settings.client.max_timeout = Duration::from_millis(1200);
    settings.client.transmissions = 2;
    let mut bench = Bench::new(&settings);
    let settlement = bench.outcome(Kind::Stop, "fault-noack@x").await;
    assert!(text(&settlement).starts_with("retry: "), "{settlement:?}");
    let records = server.wait_records(2);
    for name in ["Tollgate-Record-Id", "Acct-Session-Id", "Acct-Unique-Session-Id", "Acct-Delay-Time"] {
        let (first, second) = (value(&records[0], name), value(&records[1], name));
        assert!(first.is_some() && first == second, "{name}: {first:?} {second:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_for_a_while_gets_everything_afterwards() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    settings.client.transmissions = 100;
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered);
    server.process.freeze();
    let count = bench.sink.capacity();
    bench.submit_good(count);
    bench.work_until("suspicion", |sink, _| sink.board().servers()[0].health == Health::Suspect).await;
    assert_eq!(bench.sink.capacity(), 1, "new records wait in the queue, but for one that finds out");
    bench.work_until("probes", |sink, _| sink.board().servers()[0].counters.probes >= 3).await;
    server.process.signal(libc::SIGCONT);
    let outcomes = bench.outcomes(count).await;
    assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
    assert_eq!(outcomes.len(), count, "each is acknowledged once");
    bench.work_until("life", |sink, _| sink.board().servers()[0].health == Health::Alive).await;
    assert!(bench.sink.capacity() > 0);
}

#[tokio::test]
async fn a_restarted_server_gets_what_it_missed() {
    let dir = temp();
    let Some(mut server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    settings.client.transmissions = 100;
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered);
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait("FreeRADIUS").success());
    let count = bench.submit_good(5);
    bench.work_until("a refusal", |sink, _| sink.board().servers()[0].counters.unreachable > 0).await;
    assert_eq!((bench.sink.capacity(), bench.outcomes.len()), (0, 0), "they wait");
    server.restart();
    let outcomes = bench.outcomes(count).await;
    assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
    server.wait_records(1 + count);
    assert_eq!(bench.health(), Some(Health::Alive));
}

#[tokio::test]
async fn a_killed_primary_loses_nothing_to_the_secondary() {
    let (dir, other) = (temp(), temp());
    let Some(mut primary) = start(&dir) else { return };
    let Some(secondary) = start(&other) else { return };
    let mut bench = Bench::new(&settings(&[primary.port, secondary.port], "testing123"));
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered);
    primary.wait_records(1);
    primary.process.kill();
    bench.submit_good(5);
    let outcomes = bench.outcomes(5).await;
    assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
    secondary.wait_records(5);
    primary.restart();
    bench.work_until("the primary", |sink, _| sink.board().servers()[0].health == Health::Alive).await;
    assert_eq!(bench.outcome(Kind::Start, "good@x").await, Settlement::Delivered);
    primary.wait_records(2);
    let records = secondary.records();
    let mut ids: Vec<_> = records.iter().filter_map(|record| value(record, "Tollgate-Record-Id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "the sixth went to the primary");
}

#[tokio::test]
async fn a_value_too_wide_for_sql_is_named_and_others_go_on() {
    if peer("sqlite3").is_none() {
        return;
    }
    let dir = temp();
    let Some(server) = FreeRadius::start(dir.path(), &[("RADTEST_SQL", "1")]) else { return };
    let mut settings = settings(&[server.port], "testing123");
    settings.fields = vec![FieldMapping::new("user", "Called-Station-Id")];
    // SQLite takes its time.
    settings.client.initial_timeout = Duration::from_secs(2);
    settings.client.max_timeout = Duration::from_secs(2);
    settings.client.transmissions = 2;
    settings.client.attempts_max = 1;
    settings.client.park_age_min = Duration::ZERO;
    settings.client.last_answer_wait = Duration::from_secs(1);
    let mut bench = Bench::new(&settings);
    let poison = bench.submit(Kind::Start, &format!("sip:{}@x", "9".repeat(45)));
    let good = bench.submit(Kind::Start, "sip:good@example.com");
    let mut outcomes = bench.outcomes(2).await;
    outcomes.sort_by_key(|outcome| outcome.seq);
    let want = "its Called-Station-Id takes 51 characters in SQL, the stock column has 50";
    assert_eq!(outcomes[0].seq, poison);
    assert!(text(&outcomes[0].settlement).starts_with("parked 0: "), "{outcomes:?}");
    assert!(text(&outcomes[0].settlement).ends_with(want), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome { seq: good, settlement: Settlement::Delivered });
}

#[tokio::test]
async fn another_secret_is_diagnosed_and_acknowledges_nothing() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "not-the-secret");
    settings.client.zombie_period = Duration::from_millis(300);
    let mut bench = Bench::new(&settings);
    let settlement = bench.outcome(Kind::Start, "good@x").await;
    assert!(text(&settlement).contains("the secrets differ"), "{settlement:?}");
    wait_for("FreeRADIUS says why", || {
        let log = fs::read_to_string(server.dir.join("log/radius.log")).unwrap_or_default();
        log.contains("invalid Request Authenticator").then_some(())
    });
    assert_eq!((server.records().len(), bench.sink.capacity() <= 1), (0, true));
}

#[tokio::test]
async fn thousands_of_records_drain_with_hundreds_in_flight() {
    let dir = temp();
    let Some(server) = start(&dir) else { return };
    let mut settings = settings(&[server.port], "testing123");
    settings.client.initial_timeout = Duration::from_secs(3);
    settings.client.max_timeout = Duration::from_secs(3);
    settings.dictionary = Arc::new(Dictionary::builtin());
    let mut bench = Bench::new(&settings);
    let (mut most, mut delivered) = (0, 0);
    while delivered < 5000 {
        let room = bench.sink.capacity();
        bench.submit_good(room);
        most = most.max(room);
        let outcomes = bench.outcomes(1).await;
        assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
        delivered += outcomes.len();
    }
    let status = bench.sink.board().servers();
    assert!(most >= 64, "{most} at once, window {}", status[0].window);
}
