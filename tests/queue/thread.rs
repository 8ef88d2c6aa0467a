//! The queue's thread with producers and sinks at work: receipts, order within a call, switching under load, commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tollgate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use tollgate::queue::{
    Action, AppendFailed, Command, Consumer, Desk as _, Handle, Lease, Outcome, Producer, Select, Settings, Settlement,
    Started, State, Trouble, Wake, ask, spawn,
};
use tollgate::record::{CallChange, Commit, Entry};

use crate::support::queue::{self, Random};
use crate::support::start::{Start as _, closed_is_closed};

const A: SinkNumber = SinkNumber(0);
const B: SinkNumber = SinkNumber(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn start(settings: Settings) -> Started {
    closed_is_closed();
    spawn(settings, &["a".to_owned(), "b".to_owned()], &mut || {}).unwrap()
}

fn settings(path: &Path) -> Settings {
    Settings { spool_bytes: 2 << 20, ..queue::settings(path) }
}

fn wake(thread: &Thread) -> Wake {
    let thread = thread.clone();
    Arc::new(move || thread.unpark())
}

fn entry(number: u64, call: u64) -> Entry {
    Entry {
        id: RecordId(1_700_000_000_000 << 80 | u128::from(number)),
        call: CallHash(call),
        sinks: SinkMask(3),
        body: queue::body(number),
    }
}

fn number_of(lease: &Lease) -> u64 {
    u64::try_from(lease.id.0 & u128::from(u64::MAX)).unwrap()
}

/// Waits until `done`, woken by the queue, for a bounded time.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn stop(started: Started) {
    started.handle.stop();
    started.join.join().unwrap().unwrap();
}

/// Appends records of its own calls and gives the numbers acknowledged.
fn produce(handle: &Handle, which: u64, count: u64) -> JoinHandle<u64> {
    let handle = handle.clone();
    std::thread::spawn(move || {
        let mut producer: Producer = handle.producer(wake(&std::thread::current()));
        let (mut next, mut acked, mut receipts) = (0, 0, Vec::new());
        until("all receipts come", || {
            while next < count && producer.outstanding() < 64 {
                let number = which * 1_000_000 + next;
                let key = (which * 1000 + next / 10).to_be_bytes().to_vec();
                let call = if next % 10 == 9 {
                    CallChange::Remove { key }
                } else {
                    CallChange::Put { key, value: queue::body(number) }
                };
                let work = Commit { entries: vec![entry(number, which * 1000 + next / 10)], calls: vec![call] };
                producer.append(next, work).unwrap();
                next += 1;
            }
            producer.receipts(&mut receipts);
            for (ticket, result) in receipts.drain(..) {
                assert_eq!((ticket, result), (acked, Ok(())), "receipts come in order");
                acked += 1;
            }
            acked == count
        });
        acked
    })
}

/// Delivers until `count` records are delivered; fails and waits at random. Gives them in order of delivery.
fn consume(handle: &Handle, sink: SinkNumber, count: usize, failing: u64) -> JoinHandle<Vec<(u64, u64)>> {
    let handle = handle.clone();
    std::thread::spawn(move || {
        let mut consumer: Consumer = handle.consumer(sink, wake(&std::thread::current()));
        let mut random = Random::new(u64::from(sink.0) + 5);
        let (mut delivered, mut leases) = (Vec::new(), Vec::new());
        consumer.lease(100);
        until("everything is delivered", || {
            consumer.leased(&mut leases);
            for lease in leases.drain(..) {
                assert_eq!(lease.body, queue::body(number_of(&lease)));
                if random.below(100) < failing {
                    let after = Duration::from_millis(random.below(5));
                    consumer.settle(lease.seq, Settlement::Retry { after, reason: "at random".into() });
                } else {
                    delivered.push((number_of(&lease), lease.call.0));
                    consumer.settle(lease.seq, Settlement::Delivered);
                }
                consumer.lease(100);
            }
            delivered.len() >= count
        });
        delivered
    })
}

#[test]
fn under_load_every_record_arrives_once_and_in_order_of_its_call() {
    const EACH: u64 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let started = start(settings(directory.path()));
    let producers: Vec<_> = (0..3).map(|which| produce(&started.handle, which, EACH)).collect();
    let consumers = [(A, 30), (B, 0)].map(|(sink, failing)| consume(&started.handle, sink, EACH as usize * 3, failing));
    for producer in producers {
        assert_eq!(producer.join().unwrap(), EACH);
    }
    for consumer in consumers {
        let delivered = consumer.join().unwrap();
        let mut numbers: Vec<u64> = delivered.iter().map(|(number, _)| *number).collect();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, call) in delivered {
            assert!(last.insert(call, number).is_none_or(|before| before < number), "call {call} at {number}");
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..3).flat_map(|which| (0..EACH).map(move |n| which * 1_000_000 + n)).collect::<Vec<_>>());
    }
    let Ok(stats) = started.handle.clone().status() else { panic!("no answer") };
    assert!(stats.balanced(), "{stats:?}");
    assert_eq!((stats.appended, stats.calls), (EACH * 3, 0));
    assert!(!started.handle.trouble());
    let switched = std::fs::read_dir(directory.path()).unwrap().flatten();
    let names: Vec<String> = switched.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.contains(&"00000001".to_owned()), "the first spool was left and removed: {names:?}");
    stop(started);
    let again = start(settings(directory.path()));
    assert!(again.report.clean && again.report.waiting == 0 && again.calls.is_empty(), "{:?}", again.report);
    stop(again);
}

#[test]
fn what_a_consumer_leaves_behind_is_lent_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let started = start(settings(directory.path()));
    assert_eq!(produce(&started.handle, 1, 50).join().unwrap(), 50);
    let mut first = started.handle.consumer(A, wake(&std::thread::current()));
    let mut leases = Vec::new();
    first.lease(3);
    until("three records are lent", || {
        first.leased(&mut leases);
        leases.len() == 3
    });
    first.settle(leases[0].seq, Settlement::Delivered);
    drop(first);
    let rest = consume(&started.handle, A, 49, 0).join().unwrap();
    let mut numbers: Vec<u64> = rest.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let settled = number_of(&leases[0]);
    assert_eq!(numbers, (1_000_000..1_000_050).filter(|number| *number != settled).collect::<Vec<_>>());
    stop(started);
}

#[test]
fn commands_work_while_the_queue_runs() {
    let directory = tempfile::tempdir().unwrap();
    let started = start(settings(directory.path()));
    assert_eq!(produce(&started.handle, 1, 500).join().unwrap(), 500);
    let of_a = Select { sink: Some(A), ..Select::default() };
    let act = |action| match ask(&mut started.handle.clone(), Command::Act { action, select: of_a }).unwrap() {
        Outcome::Done { records, .. } => records,
        other => panic!("{other:?}"),
    };
    assert_eq!(act(Action::Park { reason: "by hand".into() }), 500);
    let parked = Command::List { select: Select { state: Some(State::Parked), ..of_a }, from: None, max: 10_000 };
    let Ok(Outcome::Page(page)) = ask(&mut started.handle.clone(), parked) else { panic!("no answer") };
    assert_eq!(page.items.len(), 500);
    assert_eq!(act(Action::Retry), 500);
    let delivered = consume(&started.handle, A, 500, 0).join().unwrap();
    assert_eq!(delivered.len(), 500);
    started.handle.keep_meta_bytes("name", b"value").unwrap();
    assert_eq!(started.handle.meta_bytes("name").as_deref(), Some(&b"value"[..]));
    let secret = started.secret;
    stop(started);
    let again = start(settings(directory.path()));
    assert_eq!((again.secret, again.handle.meta_bytes("name").as_deref()), (secret, Some(&b"value"[..])));
    assert_ne!(secret, [0; 16]);
    stop(again);
}

#[test]
fn a_stopped_queue_has_everything_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let started = start(settings(directory.path()));
    let mut producer = started.handle.producer(wake(&std::thread::current()));
    for number in 0..1000 {
        producer.append(number, Commit { entries: vec![entry(number, number)], calls: Vec::new() }).unwrap();
    }
    let handle = started.handle.clone();
    stop(started);
    let mut receipts = Vec::new();
    producer.receipts(&mut receipts);
    assert_eq!(receipts.iter().filter(|(_, result)| result.is_ok()).count(), 1000);
    let late = Commit { entries: vec![entry(1000, 0)], calls: Vec::new() };
    assert_eq!(producer.append(1000, late.clone()).unwrap_err().0, late, "a commit that comes too late comes back");
    assert!(handle.clone().status().is_err());
    let again = start(settings(directory.path()));
    assert_eq!(again.report.waiting, 2000);
    stop(again);
}

/// Says to this test binary that it is the process whose disk fails.
const FAILING_DISK: &str = "TOLLGATE_TEST_FAILING_DISK";

#[test]
fn a_queue_stopped_on_a_failing_disk_answers_every_ticket() {
    if std::env::var_os(FAILING_DISK).is_some() {
        return stop_on_a_failing_disk();
    }
    let own = std::env::current_exe().unwrap();
    let name = "thread::a_queue_stopped_on_a_failing_disk_answers_every_ticket";
    let mut child = std::process::Command::new(own);
    let output = child.args(["--exact", name, "--nocapture"]).env(FAILING_DISK, "1").finish().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("1 passed"), "it was that test: {printed}");
}

fn stop_on_a_failing_disk() {
    let directory = tempfile::tempdir().unwrap();
    let started = start(settings(directory.path()));
    let mut producer = started.handle.producer(wake(&std::thread::current()));
    let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: this process was started for this test alone; from here on it can write to no file.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const none), 0);
    }
    let commit = |number| Commit { entries: vec![entry(number, number)], calls: Vec::new() };
    for number in 0..10 {
        producer.append(number, commit(number)).unwrap();
    }
    until("the commit fails", || started.handle.troubles().has(Trouble::Store));
    for number in 10..20 {
        producer.append(number, commit(number)).unwrap();
    }
    started.handle.stop();
    assert!(started.join.join().unwrap().is_err(), "the queue says that it did not close");
    let mut receipts = Vec::new();
    producer.receipts(&mut receipts);
    receipts.sort_unstable_by_key(|(ticket, _)| *ticket);
    assert_eq!(receipts, (0..20).map(|ticket| (ticket, Err(AppendFailed::Store))).collect::<Vec<_>>());
}

#[test]
fn too_many_commits_come_back_and_raise_the_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { commits_waiting_max: 4, gather_max: Duration::from_millis(5), ..settings(directory.path()) };
    let started = start(small);
    let mut producer = started.handle.producer(wake(&std::thread::current()));
    let mut refused = 0;
    let mut accepted = 0;
    for number in 0..2000 {
        match producer.append(number, Commit { entries: vec![entry(number, number)], calls: Vec::new() }) {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0 && started.handle.refused_for_backlog() == refused);
    let mut receipts = Vec::new();
    until("every commit taken is answered", || {
        producer.receipts(&mut receipts);
        receipts.len() == accepted
    });
    until("the alarm state ends", || !started.handle.trouble());
    stop(started);
}
