//! Tests of the loop with a sink and leases made of tables.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId};
use crate::record::{Kind, Record};
use crate::sinks::tests::record;

/// What both sides saw.
#[derive(Default)]
struct Table {
    waiting: VecDeque<Lease>,
    asked: Vec<usize>,
    /// How many records were settled with each word.
    told: Vec<usize>,
    credit: usize,
    submitted: Vec<u64>,
    settled: Vec<(u64, Settlement)>,
    stop: Option<oneshot::Sender<()>>,
    enough: usize,
}

type Shared = Rc<RefCell<Table>>;

struct Desk(Shared, Bell);

impl Leases for Desk {
    fn leased(&mut self, out: &mut Vec<Lease>) {
        let mut table = self.0.borrow_mut();
        let count = table.credit.min(table.waiting.len());
        table.credit -= count;
        out.extend(table.waiting.drain(..count));
    }

    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        let mut table = self.0.borrow_mut();
        table.told.push(settled.len());
        table.settled.extend(settled.drain(..).map(|(seq, settlement)| (seq.0, settlement)));
        if let Some(room) = room {
            table.asked.push(room);
            table.credit = room;
            (self.1.wake())();
        }
        if table.settled.len() >= table.enough
            && let Some(stop) = table.stop.take()
        {
            let _listening = stop.send(());
        }
    }
}

/// A sink of a given size that ends what it has when it works.
struct Box3(Shared, Vec<Outcome>);

impl Sink for Box3 {
    const KIND: &'static str = "test";

    fn capacity(&mut self) -> usize {
        3 - self.1.len().min(3)
    }

    fn submit(&mut self, lease: &Lease, record: &Record) {
        assert_eq!(record.kind, Kind::Start);
        self.0.borrow_mut().submitted.push(lease.seq.0);
        let settlement = match lease.seq.0 % 3 {
            0 => Settlement::Retry { after: Duration::from_secs(1), reason: "not now".to_owned() },
            1 => Settlement::Park { reason: "never".to_owned(), code: 404 },
            _ => Settlement::Delivered,
        };
        self.1.push(Outcome { seq: lease.seq, settlement });
    }

    async fn progress(&mut self, out: &mut Vec<Outcome>) {
        if self.1.is_empty() {
            std::future::pending::<()>().await;
        }
        out.append(&mut self.1);
    }
}

fn lease(seq: u64, body: Vec<u8>) -> Lease {
    Lease {
        seq: Seq(seq),
        id: RecordId(1),
        call: CallHash(1),
        attempts: 0,
        first_tried: None,
        appended: Timestamp(0),
        body: Bytes::from(body),
    }
}

/// Runs a worker over leases until all are settled.
async fn run(leases: Vec<Lease>) -> Table {
    run_behind(None, leases).await
}

async fn run_behind(gate: Option<Arc<dyn Gate>>, leases: Vec<Lease>) -> Table {
    let (stop, stopped) = oneshot::channel();
    let enough = leases.len();
    let table = Table { waiting: leases.into(), stop: Some(stop), enough, ..Table::default() };
    let shared = Rc::new(RefCell::new(table));
    let bell = Bell::default();
    let desk = Desk(Rc::clone(&shared), bell.clone());
    let worker = Worker::new("test", Box3(Rc::clone(&shared), Vec::new()), desk, bell);
    let worker = worker.behind(gate.map(|gate| (SinkNumber(7), gate)));
    let stop = async { drop(stopped.await) };
    tokio::time::timeout(Duration::from_secs(10), worker.run(stop)).await.expect("all are settled in time");
    Rc::try_unwrap(shared).map(RefCell::into_inner).unwrap_or_default()
}

#[tokio::test]
async fn every_lease_is_submitted_and_settled_once_and_within_the_capacity() {
    let body = codec::encode(&record(Kind::Start));
    let table = run((0..100).map(|seq| lease(seq, body.clone())).collect()).await;
    assert_eq!(table.submitted, (0..100).collect::<Vec<_>>());
    assert_eq!(table.settled.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), table.submitted);
    assert_eq!(table.settled[1].1, Settlement::Park { reason: "never".to_owned(), code: 404 });
    assert!(table.asked.iter().all(|asked| *asked <= 3), "{:?}", table.asked);
}

#[tokio::test]
async fn what_a_turn_settles_is_told_with_one_word_that_also_asks_for_more() {
    let body = codec::encode(&record(Kind::Start));
    let table = run((0..99).map(|seq| lease(seq, body.clone())).collect()).await;
    // The first word only asks, the last may say that nothing more is wanted.
    let words: Vec<_> = table.told.iter().filter(|settled| **settled > 0).collect();
    assert_eq!(words, vec![&3; 33], "the sink ends three records a turn");
    assert!(table.told.len() <= 33 + 2, "{:?}", table.told);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_parked_and_the_others_go_on() {
    let good = codec::encode(&record(Kind::Start));
    let mut damaged = good.clone();
    damaged[20] ^= 1;
    let mut newer = good.clone();
    newer[0] = 99;
    let table = run(vec![lease(2, damaged), lease(5, newer), lease(8, Vec::new()), lease(11, good)]).await;
    assert_eq!(table.submitted, [11]);
    for (seq, settlement) in &table.settled {
        match settlement {
            Settlement::Park { reason, code: 0 } => {
                assert!(reason.starts_with("the record cannot be read: "), "{reason}");
            }
            other => assert_eq!((other, *seq), (&Settlement::Delivered, 11)),
        }
    }
    assert_eq!(table.settled.len(), 4);
}

/// Lets the records go whose places divide by 3 with a rest of 2; all of its sink.
struct Thirds;

impl Gate for Thirds {
    fn instead(&self, sink: SinkNumber, lease: &mut Lease) -> Option<Settlement> {
        assert_eq!(sink, SinkNumber(7));
        (lease.seq.0 % 3 != 2).then_some(Settlement::Withdrawn)
    }
}

#[tokio::test]
async fn a_record_that_must_not_go_is_settled_without_its_sink_and_takes_no_room() {
    let body = codec::encode(&record(Kind::Start));
    let table = run_behind(Some(Arc::new(Thirds)), (0..90).map(|seq| lease(seq, body.clone())).collect()).await;
    assert_eq!(table.submitted, (0..30).map(|third| 3 * third + 2).collect::<Vec<_>>());
    let withdrawn = table.settled.iter().filter(|(_, settlement)| *settlement == Settlement::Withdrawn);
    assert_eq!((withdrawn.count(), table.settled.len()), (60, 90));
}

#[tokio::test]
async fn a_worker_without_records_stops_when_told() {
    let bell = Bell::default();
    let shared = Shared::default();
    let desk = Desk(Rc::clone(&shared), bell.clone());
    let worker = Worker::new("test", Box3(shared, Vec::new()), desk, bell);
    tokio::time::timeout(Duration::from_secs(10), worker.run(async {})).await.expect("it stops");
}

/// A sink that takes what comes and answers nothing until it is told.
struct Mute {
    shared: Shared,
    name: u64,
    held: Vec<Seq>,
    speak: Rc<RefCell<bool>>,
}

impl Sink for Mute {
    const KIND: &'static str = "test";

    fn capacity(&mut self) -> usize {
        2 - self.held.len().min(2)
    }

    fn submit(&mut self, lease: &Lease, _record: &Record) {
        self.shared.borrow_mut().submitted.push(self.name + lease.seq.0);
        self.held.push(lease.seq);
    }

    async fn progress(&mut self, out: &mut Vec<Outcome>) {
        while !*self.speak.borrow() || self.held.is_empty() {
            tokio::task::yield_now().await;
        }
        out.extend(self.held.drain(..).map(|seq| Outcome { seq, settlement: Settlement::Delivered }));
    }
}

#[tokio::test]
async fn another_sink_takes_over_what_waits_once_the_first_has_ended_what_it_had() {
    for (name, first_speaks, submitted) in [
        ("answers that still come count", true, vec![100, 101, 202, 203]),
        // The queue would lend 0 and 1 again; the table does not.
        ("what has no answer goes back", false, vec![100, 101, 202, 203]),
    ] {
        let body = codec::encode(&record(Kind::Start));
        let (stop, stopped) = oneshot::channel();
        let waiting = (0..4).map(|seq| lease(seq, body.clone())).collect();
        let shared = Rc::new(RefCell::new(Table { waiting, stop: Some(stop), enough: 4, ..Table::default() }));
        let bell = Bell::default();
        let speak = Rc::new(RefCell::new(false));
        let sink = Mute { shared: Rc::clone(&shared), name: 100, held: Vec::new(), speak: Rc::clone(&speak) };
        let (successors, next) = mpsc::channel(4);
        let worker = Worker::new("test", sink, Desk(Rc::clone(&shared), bell.clone()), bell).succeeded_by(next);
        let told = Rc::clone(&shared);
        let script = async move {
            while told.borrow().submitted.len() < 2 {
                tokio::task::yield_now().await;
            }
            // The first that is offered cannot be made, a later one can.
            let broken: Successor<Mute> = Box::new(|_| Err("a file is missing".into()));
            assert!(successors.send(broken).await.is_ok());
            let made = Rc::clone(&told);
            let good: Successor<Mute> = Box::new(move |_| {
                let settled = made.borrow().settled.iter().filter(|(seq, _)| *seq < 2).count();
                assert_eq!(settled, 2, "the first has ended: one record is never under way in both");
                Ok(Mute { shared: Rc::clone(&made), name: 200, held: Vec::new(), speak: Rc::new(RefCell::new(true)) })
            });
            assert!(successors.send(good).await.is_ok());
            *speak.borrow_mut() = first_speaks;
        };
        let run = worker.run(async { drop(stopped.await) });
        let both = async { tokio::join!(script, run) };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("all are settled in time");
        let table = shared.borrow();
        assert_eq!(table.submitted, submitted, "{name}");
        let mut settled: Vec<_> =
            table.settled.iter().map(|(seq, how)| (*seq, *how == Settlement::Delivered)).collect();
        settled.sort_unstable();
        assert_eq!(settled, [(0, first_speaks), (1, first_speaks), (2, true), (3, true)], "{name}");
    }
}
