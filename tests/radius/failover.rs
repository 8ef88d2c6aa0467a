//! Queue, worker and RADIUS sink together against two real FreeRADIUS: failover, failback, an outage of both.
//!
//! Without FreeRADIUS installed each test says that it is skipped; with `TOLLGATE_PEERS=required` it fails.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tollgate::clock;
use tollgate::ids::{CallHash, RecordIds, SinkMask};
use tollgate::queue::{self, Handle, Producer};
use tollgate::radius::Secret;
use tollgate::radius::client::{Health, MessageAuthenticator, ServerSettings, ServerStatus, WINDOW_MIN};
use tollgate::record::{Commit, Entry, Fields, Kind, Record, Times, codec};
use tollgate::sinks::Worker;
use tollgate::sinks::radius::{Board, RadiusSink, Settings};
use tollgate::sinks::worker::Bell;

use crate::support::{self, FreeRadius, value, wait_for};

/// Records outstanding at one server at most.
const WINDOW: usize = 64;

fn settings(servers: &[&FreeRadius]) -> Settings {
    let server = |server: &&FreeRadius| ServerSettings {
        address: SocketAddr::from(([127, 0, 0, 1], server.port)),
        secret: Secret::new("testing123"),
        message_authenticator: MessageAuthenticator::Omit,
    };
    let mut settings = Settings::default();
    settings.client.servers = servers.iter().map(server).collect();
    settings.client.window = WINDOW;
    settings.client.initial_timeout = Duration::from_millis(300);
    settings.client.max_timeout = Duration::from_millis(600);
    settings.client.transmissions = 3;
    settings.client.response_window = Duration::from_millis(500);
    settings.client.zombie_period = Duration::from_millis(500);
    settings.client.probe_interval = Duration::from_millis(100);
    settings.client.outage_retry = Duration::from_millis(100);
    settings
}

/// A queue whose records one thread delivers.
struct Line {
    handle: Handle,
    producer: Producer,
    board: Board,
    ids: RecordIds,
    appended: u64,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    _directory: TempDir,
}

impl Line {
    fn start(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let own = queue::Settings { path, free_min: 0, reserve_bytes: 0, ..queue::Settings::default() };
        let started = queue::spawn(own, &["radius".to_owned()], &mut || ()).unwrap();
        let (bell, number) = (Bell::default(), started.sinks[0].1);
        let consumer = started.handle.consumer(number, bell.wake());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let delivery = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sink = RadiusSink::new("test", &settings).unwrap();
                tell.send(sink.board()).unwrap();
                Worker::new("test", sink, consumer, bell).run(async { drop(ended.await) }).await;
            });
        });
        let handle = started.handle.clone();
        let queue = std::thread::spawn(move || started.join.join().unwrap().unwrap());
        let producer = handle.producer(Arc::new(|| ()));
        let board = told.recv().unwrap();
        let threads = vec![delivery, queue];
        let ids = RecordIds::new(7);
        Self { handle, producer, board, ids, appended: 0, end: Some(end), threads, _directory: directory }
    }

    /// Appends records of new calls.
    fn append(&mut self, count: u64) {
        for _ in 0..count {
            self.appended += 1;
            let id = self.ids.next(u64::try_from(clock::wall().0 / 1000).unwrap());
            let body = codec::encode(&record(id, self.appended));
            let sinks = SinkMask(1);
            let entry = Entry { id, call: CallHash::of(&id.to_bytes()), sinks, body };
            self.producer.append(self.appended, Commit { entries: vec![entry], calls: Vec::new() }).unwrap();
        }
    }

    fn delivered(&self) -> u64 {
        self.handle.stats().sinks[0].balance.delivered
    }

    /// Waits until this many records were delivered in all.
    fn wait_delivered(&self, count: u64) {
        wait_for(&format!("{count} records delivered"), || (self.delivered() >= count).then_some(()));
    }

    fn wait_health(&self, server: usize, wanted: &[Health]) -> ServerStatus {
        wait_for(&format!("server {server} is one of {wanted:?}"), || {
            self.board.servers().get(server).copied().filter(|status| wanted.contains(&status.health))
        })
    }

    /// The server's counts of records once they stand still: the board is a moment older than the truth.
    fn settled_counters(&self, server: usize) -> ServerStatus {
        let counts = |status: &ServerStatus| {
            let counters = &status.counters;
            [counters.requests, counters.retransmissions, counters.timeouts, counters.stored]
        };
        let mut last = self.board.servers()[server];
        let mut same = 0;
        wait_for("counters that stand still", || {
            let now = self.board.servers()[server];
            same = if counts(&now) == counts(&last) { same + 1 } else { 0 };
            last = now;
            // Longer than the board's age.
            (same > 60).then_some(now)
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.end.take());
        self.handle.stop();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "a thread panicked");
        }
    }
}

fn record(id: tollgate::ids::RecordId, number: u64) -> Record {
    let times = Times { event: clock::wall(), created: clock::wall(), ..Times::default() };
    Record { id, times, ..support::radius::record(Kind::Start, number, Fields::new()) }
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn ids(servers: &[&FreeRadius]) -> Vec<String> {
    let records = servers.iter().flat_map(|server| server.records());
    records.filter_map(|record| value(&record, "Tollgate-Record-Id").map(str::to_owned)).collect()
}

#[test]
fn a_killed_primary_is_left_at_the_first_refusal() {
    let (dir, other) = (temp(), temp());
    let Some(mut primary) = FreeRadius::start(dir.path(), &[]) else { return };
    let Some(secondary) = FreeRadius::start(other.path(), &[]) else { return };
    let mut settings = settings(&[&primary, &secondary]);
    // Whoever waited for a timer would be noticed.
    settings.client.initial_timeout = Duration::from_secs(20);
    settings.client.max_timeout = Duration::from_secs(20);
    let mut line = Line::start(settings);
    line.append(5);
    line.wait_delivered(5);
    primary.process.kill();
    let begin = std::time::Instant::now();
    line.append(20);
    line.wait_delivered(25);
    eprintln!("20 records at the secondary {:?} after the primary was killed", begin.elapsed());
    assert_eq!(ids(&[&secondary]).len(), 20);
    let left = line.settled_counters(0);
    assert!(left.counters.unreachable > 0, "{left:?}");
    assert_eq!(left.counters.timeouts, 0, "nobody waited: {left:?}");
    line.append(20);
    line.wait_delivered(45);
    assert_eq!(line.settled_counters(0).counters.requests, left.counters.requests, "no record goes there any more");
}

#[test]
fn a_silent_primary_costs_one_visit() {
    let (dir, other) = (temp(), temp());
    let Some(primary) = FreeRadius::start(dir.path(), &[]) else { return };
    let Some(secondary) = FreeRadius::start(other.path(), &[]) else { return };
    let mut line = Line::start(settings(&[&primary, &secondary]));
    line.append(1);
    line.wait_delivered(1);
    primary.process.freeze();
    line.append(30);
    line.wait_delivered(31);
    line.wait_health(0, &[Health::Suspect, Health::Dead]);
    let left = line.settled_counters(0);
    let visits = left.counters.requests - 1;
    assert!(visits > 0 && left.counters.retransmissions <= visits * 2, "at most three transmissions each: {left:?}");
    line.append(30);
    line.wait_delivered(61);
    assert_eq!(line.settled_counters(0).counters.requests, left.counters.requests, "the others do not pay for it");
    assert_eq!(ids(&[&secondary]).into_iter().collect::<HashSet<_>>().len(), 60);
}

#[test]
fn failback_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    const CHUNK: u64 = 50;
    let (dir, other) = (temp(), temp());
    let Some(mut primary) = FreeRadius::start(dir.path(), &[]) else { return };
    let Some(secondary) = FreeRadius::start(other.path(), &[]) else { return };
    let mut line = Line::start(settings(&[&primary, &secondary]));
    let mut at_failback = 0;
    for chunk in 1..=60 {
        line.append(CHUNK);
        if chunk == 20 {
            // With records in flight.
            primary.process.kill();
        }
        if chunk == 40 {
            at_failback = ids(&[&primary]).len();
            primary.restart();
            line.wait_health(0, &[Health::Alive]);
        }
        line.wait_delivered((chunk - 1) * CHUNK);
    }
    line.wait_delivered(60 * CHUNK);
    let all = ids(&[&primary, &secondary]);
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len() as u64, line.appended, "every record is there");
    assert!(all.len() - different.len() <= WINDOW, "{} repeats", all.len() - different.len());
    assert!(ids(&[&primary]).len() > at_failback, "the primary has its work back");
    assert!(line.handle.stats().balanced());
}

#[test]
fn after_an_outage_of_both_everything_arrives_with_a_slow_start() {
    const BACKLOG: u64 = 2000;
    let (dir, other) = (temp(), temp());
    let Some(mut primary) = FreeRadius::start(dir.path(), &[]) else { return };
    let Some(mut secondary) = FreeRadius::start(other.path(), &[]) else { return };
    let mut line = Line::start(settings(&[&primary, &secondary]));
    line.append(500);
    line.wait_delivered(500);
    let before = line.settled_counters(0);
    assert_eq!(before.window, WINDOW, "the window was open");
    primary.process.kill();
    secondary.process.kill();
    line.append(BACKLOG);
    for server in [0, 1] {
        line.wait_health(server, &[Health::Dead]);
    }
    assert_eq!(line.delivered(), 500, "nothing is acknowledged meanwhile");
    primary.restart();
    secondary.restart();
    wait_for("the backlog drains", || {
        let status = line.board.servers()[0];
        if status.health == Health::Alive {
            let answered = status.counters.stored - before.counters.stored;
            let most = WINDOW_MIN + usize::try_from(answered).unwrap();
            assert!(status.window <= most, "a window of {} after {answered} answers", status.window);
        }
        (line.delivered() >= 500 + BACKLOG).then_some(())
    });
    let all = ids(&[&primary, &secondary]);
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len() as u64, line.appended);
    assert!(all.len() - different.len() <= 2 * WINDOW, "{} repeats", all.len() - different.len());
}
