//! Rows a second into real databases by one worker, as a sink delivers: `cargo bench --bench sql -- [options]`.
//!
//! ```text
//! --records N     records for each figure; default 50000 at batches of 500, less at smaller ones
//! --database D    mysql, postgres or sqlite alone; default: all that are installed
//! ```
//!
//! Starts each database in a folder of its own, with the disk waited for, and prints for batches of 1, 50 and 500 rows and
//! each guard the rows a second and the CPU of the delivery thread a row: decoding, rendering, fitting and the client, and
//! not the database's own. `TOLLGATE_BENCH_DIR` names the directory for its files.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench is alone in its process")]

#[path = "../support/mod.rs"]
mod support;

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate::clock::Timestamp;
use tollgate::ids::{CallHash, RecordIds, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::record::{Kind, Record, codec};
use tollgate::sinks::attempt::Attempts;
use tollgate::sinks::sql::{self, Dialect, Guard, Mapping, Profile, Settings};
use tollgate::sinks::worker::Bell;
use tollgate::sinks::{Leases, Worker};

use support::radius::{field, record};
use support::sql::Database;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records in memory, lent in order.
struct Backlog {
    leases: std::vec::IntoIter<Lease>,
    wanted: usize,
    delivered: Rc<AtomicU64>,
    all: u64,
    done: Rc<tokio::sync::Notify>,
}

impl Leases for Backlog {
    fn lease(&mut self, max: usize) {
        self.wanted = max;
    }

    fn leased(&mut self, out: &mut Vec<Lease>) {
        let before = out.len();
        out.extend(self.leases.by_ref().take(self.wanted));
        self.wanted -= out.len() - before;
    }

    fn settle(&mut self, seq: Seq, settlement: Settlement) {
        assert_eq!(settlement, Settlement::Delivered, "{seq:?}");
        if self.delivered.fetch_add(1, Ordering::Relaxed) + 1 == self.all {
            self.done.notify_one();
        }
    }
}

fn leases(ids: &mut RecordIds, count: u64) -> Vec<Lease> {
    let one = |number: u64| {
        let fields =
            vec![field("caller", "sip:alice@atlanta.example.com"), field("callee", "sip:bob@biloxi.example.com")];
        let record = Record { id: ids.next(1_700_000_000_000), ..record(Kind::Stop, number, fields) };
        Lease {
            seq: Seq(number + 1),
            id: record.id,
            call: CallHash::of(&record.call_id),
            attempts: 0,
            first_tried: None,
            appended: Timestamp(1_700_000_000_000_000),
            body: Bytes::from(codec::encode(&record)),
        }
    };
    (0..count).map(one).collect()
}

/// CPU of this thread.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Delivers them; rows a second, and microseconds of CPU a row.
fn deliver(settings: &Settings, leases: Vec<Lease>) -> (f64, f64) {
    let all = u64::try_from(leases.len()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (begin, cpu_before) = (Instant::now(), cpu());
    runtime.block_on(async {
        let (done, delivered) = (Rc::new(tokio::sync::Notify::new()), Rc::new(AtomicU64::new(0)));
        let connection = sql::connection("bench", settings).unwrap();
        let sink = Attempts::new("bench", settings.delivery.clone(), sql::render(settings), connection, Seq(0));
        let backlog = Backlog { leases: leases.into_iter(), wanted: 0, delivered, all, done: Rc::clone(&done) };
        let bell = Bell::default();
        (bell.wake())();
        Worker::new("bench", sink, backlog, bell).run(async move { done.notified().await }).await;
    });
    let (took, cpu) = (begin.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
    (all as f64 / took, cpu * 1e6 / all as f64)
}

fn main() {
    let (mut most, mut only) = (50_000, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--records" => most = value().parse().expect("a number"),
            "--database" => only = Some(value()),
            // Cargo says it.
            "--bench" => {}
            other => panic!("what is {other}?"),
        }
    }
    let parent = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let mut ids = RecordIds::new(7);
    for dialect in Dialect::ALL {
        if only.as_ref().is_some_and(|only| only != dialect.name()) {
            continue;
        }
        let dir = tempfile::tempdir_in(&parent).unwrap();
        let Some(database) = Database::start(dir.path(), dialect) else { continue };
        for (guard, name) in [(Guard::Column, "record_id"), (Guard::SideTable, "side table"), (Guard::None, "no guard")]
        {
            let mut settings = Settings::new(&database.url(), Profile::Opensips);
            settings.guard = guard;
            settings.tables.acc = format!("acc_{}", guard as u8);
            let mapping = |field: &str| Mapping { field: field.to_owned(), column: field.to_owned() };
            settings.fields = vec![mapping("caller"), mapping("callee")];
            database.make(&settings);
            for batch in [1, 50, 500] {
                settings.delivery.batch_max = batch;
                let count = u64::try_from(most * batch.min(100) / 100).unwrap().max(500);
                let (rate, cpu) = deliver(&settings, leases(&mut ids, count));
                println!("{:<8} {name:<10} batch {batch:>3}: {rate:>7.0} rows/s, {cpu:>5.1} µs a row", dialect.name());
            }
        }
    }
}
