//! Records in memory that a sink delivers, for benches of whole sinks.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate::clock::Timestamp;
use tollgate::ids::{CallHash, RecordIds, Seq};
use tollgate::queue::{Lease, Settlement};
use tollgate::record::{Kind, Record, codec};
use tollgate::sinks::worker::Bell;
use tollgate::sinks::{Leases, Sink, Worker};

use crate::support::radius::{field, record};

/// Records, lent in order.
struct Backlog {
    leases: std::vec::IntoIter<Lease>,
    wanted: usize,
    delivered: Rc<AtomicU64>,
    all: u64,
    done: Rc<tokio::sync::Notify>,
}

impl Leases for Backlog {
    fn leased(&mut self, out: &mut Vec<Lease>) {
        let before = out.len();
        out.extend(self.leases.by_ref().take(self.wanted));
        self.wanted -= out.len() - before;
    }

    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        self.wanted = room.unwrap_or(self.wanted);
        for (seq, settlement) in settled.drain(..) {
            assert_eq!(settlement, Settlement::Delivered, "{seq:?}");
            if self.delivered.fetch_add(1, Ordering::Relaxed) + 1 == self.all {
                self.done.notify_one();
            }
        }
    }
}

/// So many Stops.
pub fn leases(ids: &mut RecordIds, count: u64) -> Vec<Lease> {
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

/// Delivers them; records a second, and microseconds of this thread's CPU a record.
pub fn deliver<S: Sink + 'static>(sink: impl FnOnce() -> S, leases: Vec<Lease>) -> (f64, f64) {
    let all = u64::try_from(leases.len()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (begin, cpu_before) = (Instant::now(), cpu());
    runtime.block_on(async {
        let (done, delivered) = (Rc::new(tokio::sync::Notify::new()), Rc::new(AtomicU64::new(0)));
        let backlog = Backlog { leases: leases.into_iter(), wanted: 0, delivered, all, done: Rc::clone(&done) };
        let bell = Bell::default();
        (bell.wake())();
        Worker::new("bench", sink(), backlog, bell).run(async move { done.notified().await }).await;
    });
    let (took, cpu) = (begin.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
    (all as f64 / took, cpu * 1e6 / all as f64)
}
