//! The RADIUS sink over TCP and TLS against a real FreeRADIUS, configured by a radiusclient.conf as an operator writes it.
//!
//! The server is in `tests/freeradius`. Without FreeRADIUS or openssl installed each test says that it is skipped; with
//! `TOLLGATE_PEERS=required` it fails.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tollgate::clock::{self, Timestamp};
use tollgate::config;
use tollgate::ids::{CallHash, RecordId, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::radius::client::{Health, ServerStatus};
use tollgate::record::{Kind, Record, Times};
use tollgate::sinks::radius::{RadiusSink, Settings};
use tollgate::sinks::{Outcome, Sink};

use crate::support::radius::of_user;
use crate::support::{FreeRadius, free_port, peer, value};

/// How long a test waits for its outcomes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks at something the sink does not tell.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A FreeRADIUS with all its listeners, and the folder of both sides.
struct Server {
    radius: FreeRadius,
    tls_port: u16,
    dir: TempDir,
}

impl Server {
    fn start(environment: &[(&str, &str)]) -> Option<Self> {
        peer("openssl")?;
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let tls_port = free_port();
        let port = tls_port.to_string();
        let mut all = vec![("RADTEST_TCP", "1"), ("RADTEST_TLS_PORT", port.as_str())];
        all.extend(environment);
        let radius = FreeRadius::start(dir.path(), &all)?;
        Some(Self { radius, tls_port, dir })
    }

    fn certificates(&self) -> String {
        self.radius.dir.join("certs").display().to_string()
    }

    /// radiusclient.conf for TCP.
    fn tcp(&self) -> String {
        format!("serv-type tcp\nacctserver 127.0.0.1:{}:testing123\n", self.radius.port)
    }

    /// radiusclient.conf for TLS to a host, without a client certificate.
    fn tls_to(&self, host: &str) -> String {
        let (port, certs) = (self.tls_port, self.certificates());
        format!("serv-type tls\nacctserver {host}:{port}\ntls-ca-file {certs}/ca.pem\n")
    }

    /// radiusclient.conf for TLS as it should be.
    fn tls(&self) -> String {
        let certs = self.certificates();
        self.tls_to("localhost") + &format!("tls-cert-file {certs}/client.pem\ntls-key-file {certs}/client.key\n")
    }

    /// The settings that the gateway makes of a radiusclient.conf.
    fn settings(&self, client: &str) -> Settings {
        let dir = self.dir.path();
        let rest = "radius_timeout 1\nradius_retries 3\nnas-identifier tollgate-test\nnas-ip 127.0.0.1\n";
        fs::write(dir.join("radiusclient.conf"), format!("{client}{rest}")).unwrap();
        let toml = "[[route]]\nto = \"sip:127.0.0.1\"\n[accounting]\non = [\"radius\"]\nfields.user = \"$fU\"\n\
                    [sinks.radius.test]\nconfig = \"radiusclient.conf\"\nfields.user = \"User-Name\"\n";
        fs::write(dir.join("tollgate.toml"), toml).unwrap();
        let plan = config::load(&dir.join("tollgate.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.sinks[0].kind.of::<Settings>().expect("a RADIUS sink was configured").clone()
    }

    fn bench(&self, client: &str) -> Bench {
        Bench::new(&self.settings(client))
    }
}

/// A sink and what it tells.
struct Bench {
    sink: RadiusSink,
    outcomes: Vec<Outcome>,
    next: u64,
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let sink = RadiusSink::new("test", settings).expect("the settings are good");
        Self { sink, outcomes: Vec::new(), next: 0 }
    }

    /// Submits a record; a user `fault-WORD@x` makes the server misbehave for it.
    fn submit(&mut self, user: &str) {
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
        self.sink.submit(&lease, &record(seq.0, user));
    }

    /// Submits ordinary records, as many as there is room for and at most `count`; returns how many.
    fn submit_good(&mut self, count: usize) -> usize {
        let mut submitted = 0;
        while submitted < count && self.sink.capacity() > 0 {
            self.submit("good@x");
            submitted += 1;
        }
        submitted
    }

    async fn work_until(&mut self, what: &str, mut done: impl FnMut(&mut RadiusSink, &[Outcome]) -> bool) {
        let work = async {
            while !done(&mut self.sink, &self.outcomes) {
                let _looked = tokio::time::timeout(LOOK_AGAIN, self.sink.progress(&mut self.outcomes)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    /// Waits for room and submits; returns what becomes of the record.
    async fn outcome(&mut self, user: &str) -> Settlement {
        self.work_until("room", |sink, _| sink.capacity() > 0).await;
        self.submit(user);
        self.work_until("an outcome", |_, outcomes| !outcomes.is_empty()).await;
        self.outcomes.remove(0).settlement
    }

    /// Waits for `count` outcomes, all of them deliveries.
    async fn delivered(&mut self, count: usize) {
        self.work_until("deliveries", |_, outcomes| outcomes.len() >= count).await;
        let outcomes = std::mem::take(&mut self.outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{outcomes:?}");
        assert_eq!(outcomes.len(), count, "each is told once");
    }

    fn status(&self) -> ServerStatus {
        self.sink.board().servers()[0]
    }

    /// Waits until the server has this health.
    async fn health(&mut self, health: Health) {
        let has = |sink: &mut RadiusSink, _: &[Outcome]| {
            sink.board().servers().first().is_some_and(|server| server.health == health)
        };
        self.work_until(health.name(), has).await;
    }
}

fn record(number: u64, user: &str) -> Record {
    let at = Timestamp(1_700_000_000_000_000);
    let times = Times { event: at, created: at, answered: Some(at), ..Times::default() };
    Record { id: RecordId(number.into()), times, ..of_user(Kind::Start, number, user) }
}

fn text(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Delivered | Settlement::DeliveredBy(_) => "delivered".to_owned(),
        Settlement::Retry { reason, .. } | Settlement::Defer { reason, .. } => format!("retry: {reason}"),
        Settlement::Park { reason, code } => format!("parked {code}: {reason}"),
        Settlement::Withdrawn => "withdrawn".to_owned(),
    }
}

/// Lines of the server's log that speak of trouble with a connection.
fn complaints(dir: &Path) -> Vec<String> {
    let log = fs::read_to_string(dir.join("log/radius.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains("Error")).map(str::to_owned).collect()
}

#[tokio::test]
async fn thousands_of_records_drain_over_tcp_and_over_tls() {
    let Some(server) = Server::start(&[]) else { return };
    for (name, client) in [("tcp", server.tcp()), ("tls", server.tls())] {
        let before = server.radius.records().len();
        let mut bench = server.bench(&client);
        let (mut submitted, mut delivered, mut most, begin) = (0, 0, 0, Instant::now());
        while delivered < 3000 {
            submitted += bench.submit_good(3000 - submitted);
            let goes_on = |sink: &mut RadiusSink, outcomes: &[Outcome]| {
                !outcomes.is_empty() || (submitted < 3000 && sink.capacity() > 0)
            };
            bench.work_until("outcomes or room", goes_on).await;
            let outcomes = std::mem::take(&mut bench.outcomes);
            assert!(outcomes.iter().all(|outcome| outcome.settlement == Settlement::Delivered), "{name} {outcomes:?}");
            delivered += outcomes.len();
            most = most.max(outcomes.len());
        }
        eprintln!("{name}: {:.0} records a second", 3000.0 / begin.elapsed().as_secs_f64());
        let records = server.radius.wait_records(before + 3000);
        assert_eq!(records.len(), before + 3000, "{name}: none twice");
        let record = &records[before];
        let (call, user) = (value(record, "Tollgate-Call-Id"), value(record, "User-Name"));
        assert!(call.is_some_and(|call| call.starts_with("call-")) && user == Some("good@x"), "{record:?}");
        bench.health(Health::Alive).await;
        let status = bench.status();
        assert_eq!((status.counters.unreachable, status.counters.retransmissions), (0, 0), "{name}");
        assert!(status.lanes <= 8 && most > 8, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn an_answer_means_the_same_over_tls() {
    let Some(server) = Server::start(&[]) else { return };
    let mut bench = server.bench(&server.tls());
    for (word, want) in [
        ("ma", "delivered"),
        ("proterr", "parked 404"),
        ("badcode", "answered with Access-Reject instead of Accounting-Response"),
        ("errcause", "refused the record with Error-Cause 406"),
    ] {
        let found = text(&bench.outcome(&format!("fault-{word}@x")).await);
        assert!(found.contains(want), "{word}: {found}");
    }
    assert_eq!(bench.outcome("good@x").await, Settlement::Delivered);
}

#[tokio::test]
async fn a_record_that_is_never_answered_is_sent_once_and_charged_to_the_record() {
    let Some(server) = Server::start(&[]) else { return };
    for client in [server.tcp(), server.tls()] {
        let before = fs::read_to_string(server.radius.dir.join("acct/seen.log")).unwrap_or_default().lines().count();
        let mut settings = server.settings(&client);
        settings.client.initial_timeout = Duration::from_millis(200);
        settings.client.max_timeout = Duration::from_millis(400);
        let mut bench = Bench::new(&settings);
        bench.work_until("room", |sink, _| sink.capacity() > 0).await;
        bench.submit("fault-drop@x");
        bench.submit("good@x");
        bench.work_until("both end", |_, outcomes| outcomes.len() == 2).await;
        let dropped = bench.outcomes.iter().find(|outcome| outcome.seq == Seq(0)).map(|end| text(&end.settlement));
        assert!(dropped.as_ref().is_some_and(|text| text.contains("but not this one")), "{dropped:?}");
        let after = fs::read_to_string(server.radius.dir.join("acct/seen.log")).unwrap().lines().count();
        assert_eq!(after - before, 2, "each reached the server once");
    }
}

#[tokio::test]
async fn without_a_client_certificate_or_with_another_name_nothing_is_sent() {
    let Some(server) = Server::start(&[]) else { return };
    let other = server.tls().replace("localhost:", "127.0.0.2:");
    for (name, client) in [("no certificate", server.tls_to("localhost")), ("another name", other)] {
        let mut bench = server.bench(&client);
        bench.health(Health::Suspect).await;
        bench.work_until("a second try", |sink, _| sink.board().servers()[0].counters.unreachable >= 2).await;
        assert_eq!((bench.sink.capacity(), bench.status().counters.requests), (0, 0), "{name}");
    }
    let unchecked = server.tls().replace("localhost:", "127.0.0.1:") + "tls-verify-hostname no\n";
    assert_eq!(server.bench(&unchecked).outcome("good@x").await, Settlement::Delivered);
    assert!(!complaints(&server.radius.dir).is_empty(), "the server saw the attempts");
}

#[tokio::test]
async fn an_idle_close_is_no_alarm() {
    // The shortest time that FreeRADIUS takes.
    let Some(server) = Server::start(&[("RADTEST_TLS_IDLE", "5")]) else { return };
    let mut bench = server.bench(&server.tls());
    for round in 0..2 {
        assert_eq!(bench.outcome("good@x").await, Settlement::Delivered, "{round}");
        bench.work_until("the idle close", |sink, _| sink.board().servers()[0].lanes == 0).await;
        let status = bench.status();
        assert_eq!((status.health, status.counters.unreachable), (Health::Alive, 0), "{round}");
        assert!(bench.sink.capacity() > 0, "records are welcome");
    }
    assert_eq!(server.radius.records().len(), 2);
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_is_not_closed_as_idle() {
    let Some(server) = Server::start(&[("RADTEST_TLS_IDLE", "5")]) else { return };
    let mut settings = server.settings(&server.tls());
    settings.client.idle = tollgate::radius::client::Idle::KeptAlive;
    settings.client.watchdog = Duration::from_secs(1);
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.outcome("good@x").await, Settlement::Delivered);
    bench.work_until("ten answers", |sink, _| sink.board().servers()[0].counters.probe_answers >= 8).await;
    assert_eq!((bench.status().lanes, bench.status().counters.unreachable), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_killed_with_records_under_way_gets_them_when_it_is_back() {
    let Some(mut server) = Server::start(&[]) else { return };
    for client in [server.tcp(), server.tls()] {
        let before = server.radius.records().len();
        let mut bench = server.bench(&client);
        assert_eq!(bench.outcome("good@x").await, Settlement::Delivered);
        server.radius.process.freeze();
        let count = bench.submit_good(8);
        bench.work_until("they are out", |sink, _| sink.board().servers()[0].outstanding == count).await;
        server.radius.restart();
        bench.delivered(count).await;
        server.radius.wait_records(before + 1 + count);
        let again = |sink: &mut RadiusSink| sink.board().servers()[0].counters.retransmissions;
        bench.work_until("once more each", |sink, _| usize::try_from(again(sink)).unwrap() == count).await;
        bench.health(Health::Alive).await;
    }
}

#[tokio::test]
async fn a_stalled_server_is_left_and_used_again() {
    let Some(server) = Server::start(&[]) else { return };
    let mut settings = server.settings(&server.tls());
    settings.client.watchdog = Duration::from_millis(700);
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.outcome("good@x").await, Settlement::Delivered);
    server.radius.process.freeze();
    bench.submit("good@x");
    bench.work_until("the watchdog", |sink, _| sink.board().servers()[0].counters.unreachable > 0).await;
    server.radius.process.signal(libc::SIGCONT);
    bench.delivered(1).await;
    bench.work_until("it went out again", |sink, _| sink.board().servers()[0].counters.retransmissions == 1).await;
    bench.health(Health::Alive).await;
}
