//! Bench of the queue: `cargo bench --bench queue`.
//!
//! `commit` and `settle` measure the synchronous core; `paced` drives the thread as the service does, with records that
//! come evenly and a sink that delivers at once, and prints the CPU time for each second. `queued` has so many records wait
//! and prints what one more costs, and one less; `TOLLGATE_BENCH_QUEUED="1000 10000000"` measures that alone, with these
//! numbers, and `TOLLGATE_BENCH_QUEUED=0` the commits of one record alone.
//! `TOLLGATE_BENCH_DIR` names the directory for the files, so that a real disk can be measured; default: the system's
//! temporary directory.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use tollgate::clock::{self, Now};
use tollgate::ids::{CallHash, RecordId, RecordIds, SinkMask, SinkNumber};
use tollgate::queue::{Queue, Settings, Settlement, spawn};
use tollgate::record::{CallChange, Commit, Entry};

const BODY_BYTES: usize = 500;
const SINK: SinkNumber = SinkNumber(0);

fn directory() -> tempfile::TempDir {
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("the directory for the bench is writable")
}

fn settings(path: PathBuf) -> Settings {
    Settings { path, reserve_bytes: 0, free_min: 0, ..Settings::default() }
}

fn open(path: PathBuf) -> Queue {
    let sinks = ["radius".to_owned()];
    Queue::open(settings(path), &sinks, clock::now, &mut || {}).expect("a new queue opens").queue
}

fn entry(id: RecordId) -> Entry {
    Entry { id, call: CallHash(id.0 as u64 / 2), sinks: SinkMask::NONE.with(SINK), body: vec![b'x'; BODY_BYTES] }
}

fn commit_of(ids: &mut RecordIds, records: usize) -> Commit {
    Commit { entries: (0..records).map(|_| entry(ids.next(1_700_000_000_000))).collect(), calls: Vec::new() }
}

fn settle_all(queue: &mut Queue, now: Now) -> usize {
    let mut leases = Vec::new();
    queue.lease(SINK, 4096, now, &mut leases);
    for lease in &leases {
        queue.settle(SINK, lease.seq, Settlement::Delivered, now);
    }
    leases.len()
}

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    for records in [1, 10, 64, 1000] {
        let directory = directory();
        let mut queue = open(directory.path().join("queue"));
        let mut ids = RecordIds::new(1);
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("commit/{records}"), |bencher| {
            bencher.iter_batched(
                || commit_of(&mut ids, records),
                |commit| {
                    queue.add(commit).expect("the bench stays under the limits");
                    queue.finish(clock::now).expect("the disk takes the commit");
                    // Settled at once, as with a sink that keeps up: the window stays at the head.
                    black_box(settle_all(&mut queue, clock::now()))
                },
                BatchSize::PerIteration,
            );
        });
    }
    let directory = directory();
    let queue = RefCell::new(open(directory.path().join("queue")));
    let mut ids = RecordIds::new(1);
    group.throughput(Throughput::Elements(64));
    group.bench_function("settle/64", |bencher| {
        bencher.iter_batched(
            || {
                let mut queue = queue.borrow_mut();
                settle_all(&mut queue, clock::now());
                queue.add(commit_of(&mut ids, 64)).expect("the bench stays under the limits");
                queue.finish(clock::now).expect("the disk takes the commit");
                clock::now()
            },
            |now| {
                let mut leases = Vec::new();
                let mut queue = queue.borrow_mut();
                queue.lease(SINK, 64, now, &mut leases);
                leases.iter().for_each(|lease| queue.settle(SINK, lease.seq, Settlement::Delivered, now));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// CPU time of the queue's thread, of sled's threads, and of the rest of this process, in milliseconds.
fn cpu() -> [f64; 3] {
    let mut sums = [0.0; 3];
    for task in std::fs::read_dir("/proc/self/task").expect("Linux tells its threads").flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos: f64 = read("schedstat").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let name = read("comm");
        let place = if name.starts_with("sled-io") { 1 } else { usize::from(name.trim() != "queue") * 2 };
        sums[place] += nanos / 1e6;
    }
    sums
}

/// Records that come evenly; every second one starts a call, the next one ends it.
fn paced(per_second: u64) {
    const SECONDS: u64 = 4;
    let directory = directory();
    let sinks = ["radius".to_owned()];
    let started = spawn(settings(directory.path().join("queue")), &sinks, &mut || {}).expect("a new queue opens");
    let handle = started.handle.clone();
    // Polled: a shard is woken by its own timers and sockets anyway.
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
    let mut producer = handle.producer(Arc::clone(&wake));
    let mut consumer = handle.consumer(SINK, wake);
    consumer.lease(1000);
    let mut ids = RecordIds::new(1);
    let (mut leases, mut receipts, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    let mut sent = Vec::new();
    let (begin, cpu_before) = (Instant::now(), cpu());
    let total = per_second * SECONDS;
    let (mut answered, mut delivered) = (0, 0);
    while answered < total || delivered < total {
        let due = (begin.elapsed().as_micros() as u64 * per_second / 1_000_000).min(total);
        for number in sent.len() as u64..due {
            let key = (number / 2).to_be_bytes().to_vec();
            let call = if number % 2 == 0 {
                CallChange::Put { key, value: vec![b'c'; 300] }
            } else {
                CallChange::Remove { key }
            };
            let commit = Commit { entries: vec![entry(ids.next(1_700_000_000_000))], calls: vec![call] };
            producer.append(number, commit).expect("the bench stays under the limits");
            sent.push(Instant::now());
        }
        producer.receipts(&mut receipts);
        for (ticket, result) in receipts.drain(..) {
            result.expect("the disk takes the commit");
            waits.push(sent[ticket as usize].elapsed());
            answered += 1;
        }
        consumer.leased(&mut leases);
        let some = leases.len();
        for lease in leases.drain(..) {
            consumer.settle(lease.seq, Settlement::Delivered);
            delivered += 1;
        }
        if some > 0 {
            consumer.lease(1000);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let (cpu_after, seconds) = (cpu(), begin.elapsed().as_secs_f64());
    let [queue, sled, rest] = std::array::from_fn(|place| (cpu_after[place] - cpu_before[place]) / seconds);
    waits.sort();
    let stats = handle.stats();
    println!(
        "paced {per_second}/s: CPU per second: queue {queue:.0} ms, sled {sled:.0} ms, producer and sink {rest:.0} ms; \
         {} commits, {} turns per second; receipt p50 {:.1} ms, p99 {:.1} ms; balanced {}",
        stats.commits / SECONDS,
        handle.turns() / SECONDS,
        waits[waits.len() / 2].as_secs_f64() * 1000.0,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1000.0,
        stats.balanced(),
    );
    handle.stop();
    started.join.join().expect("the thread does not panic").expect("the disk takes the rest");
}

/// CPU time of the whole process, in microseconds.
fn cpu_micros() -> f64 {
    cpu().iter().sum::<f64>() * 1000.0
}

/// What one more record costs with so many waiting, and what delivering one does.
fn queued(records: usize) {
    const MEASURED: usize = 20_000;
    const COMMIT: usize = 64;
    let directory = directory();
    let mut queue = open(directory.path().join("queue"));
    let mut ids = RecordIds::new(1);
    let mut append = |queue: &mut Queue, records: usize| {
        queue.add(commit_of(&mut ids, records)).expect("the bench stays under the limits");
        queue.finish(clock::now).expect("the disk takes the commit");
        queue.tick(clock::now());
    };
    let begin = Instant::now();
    for first in (0..records).step_by(1000) {
        append(&mut queue, (records - first).min(1000));
    }
    let (filled, before) = (begin.elapsed(), cpu_micros());
    (0..MEASURED / COMMIT).for_each(|_| append(&mut queue, COMMIT));
    let appended = cpu_micros();
    // The oldest spool may be closed: it is opened once for a million records.
    settle_all(&mut queue, clock::now());
    let (opened, mut settled) = (cpu_micros(), 0);
    while settled < MEASURED / 2 {
        settled += settle_all(&mut queue, clock::now());
        queue.finish(clock::now).expect("the disk takes the commit");
        queue.tick(clock::now());
    }
    let (done, stats) = (cpu_micros(), queue.stats());
    let (append, settle) = ((appended - before) / MEASURED as f64, (done - opened) / settled as f64);
    println!(
        "queued {records}: CPU a record: append {append:.1} us, lease and settle {settle:.1} us, both {:.1} us; the first \
         4096 {:.0} ms; filled in {:.1} s, {} MiB on disk, {} KiB of memory",
        append + settle,
        (opened - appended) / 1000.0,
        filled.as_secs_f64(),
        stats.disk_bytes >> 20,
        memory_kib(),
    );
}

fn memory_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("?").trim().trim_end_matches(" kB").to_owned()
}

/// CPU of a commit of one record, with its settlement in the next one.
fn one_record() {
    const COMMITS: usize = 2000;
    let directory = directory();
    let mut queue = open(directory.path().join("queue"));
    let mut ids = RecordIds::new(1);
    let (begin, before) = (Instant::now(), cpu_micros());
    for _ in 0..COMMITS {
        queue.add(commit_of(&mut ids, 1)).expect("the bench stays under the limits");
        queue.finish(clock::now).expect("the disk takes the commit");
        settle_all(&mut queue, clock::now());
    }
    let (cpu, took) = ((cpu_micros() - before) / COMMITS as f64, begin.elapsed().as_secs_f64() * 1e6 / COMMITS as f64);
    println!("a commit of one record, leased and settled: {cpu:.0} us of CPU, {took:.0} us");
}

fn main() {
    if let Ok(numbers) = std::env::var("TOLLGATE_BENCH_QUEUED") {
        one_record();
        let numbers = numbers.split(' ').filter_map(|number| number.parse().ok());
        return numbers.filter(|number| *number > 0).for_each(queued);
    }
    let mut criterion =
        Criterion::default().sample_size(30).measurement_time(Duration::from_secs(3)).configure_from_args();
    core(&mut criterion);
    criterion.final_summary();
    for per_second in [200, 1000, 2000, 5000] {
        paced(per_second);
    }
    one_record();
    [1000, 100_000, 1_000_000].into_iter().for_each(queued);
}
