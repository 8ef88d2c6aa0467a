//! A backlog and fresh records at once: the order within a call holds, and nobody waits for the backlog who need not.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::collapse::of;
use super::*;
use crate::clock::Timestamp;
use crate::record::Kind;

/// Virtual time of one turn.
const TURN: Duration = Duration::from_millis(10);
/// Records the sink takes in a turn.
const PACE: usize = 16;
/// The most fresh records of a turn: less than three quarters of what the sink takes, repeats included.
const FRESH_MAX: u64 = 10;
/// The longest wait of a record that has nothing to wait for but its lease.
const WAIT_MAX: Duration = Duration::from_secs(1);

thread_local! {
    static TIME: Cell<Now> = const { Cell::new(Now { mono: clock::Instant(0), wall: Timestamp(0) }) };
}

fn time() -> Now {
    TIME.get()
}

/// One run: a queue, its sink, and what is known about every record.
struct Run {
    queue: Queue,
    directory: tempfile::TempDir,
    random: u64,
    number: u64,
    /// Records that have not ended, by call.
    open: BTreeMap<u64, BTreeSet<u64>>,
    /// When a record that has to wait for no other one was appended.
    free: BTreeMap<u64, Now>,
    ended: BTreeSet<u64>,
    /// Calls below this may have records that ended, and come again since the restart lost their settlement.
    clean_from: u64,
    /// Lent records and the turn in which they are settled.
    out: Vec<(u64, Lease)>,
    turn: u64,
    longest: Duration,
}

impl Run {
    fn new(random: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = open(small(directory.path())).queue;
        Self {
            queue,
            directory,
            random,
            number: 0,
            open: BTreeMap::new(),
            free: BTreeMap::new(),
            ended: BTreeSet::new(),
            clean_from: 0,
            out: Vec::new(),
            turn: 0,
            longest: Duration::ZERO,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn entry(&mut self, call: u64) -> Entry {
        self.number += 1;
        let waiting = self.open.entry(call).or_default();
        if waiting.is_empty() && call >= self.clean_from {
            self.free.insert(self.number, time());
        }
        waiting.insert(self.number);
        entry(self.number, call, SinkMask(1))
    }

    fn append(&mut self, entries: Vec<Entry>) {
        self.queue.add(Commit { entries, calls: Vec::new() }).unwrap();
        self.queue.finish(time).unwrap();
    }

    /// Calls of the backlog have up to three records in it.
    fn backlog(&mut self, records: u64) {
        let entries = (0..records).map(|_| {
            let call = self.below(records / 2);
            self.entry(call)
        });
        let entries = entries.collect();
        self.append(entries);
    }

    /// New calls, and further records of calls that may still be in the backlog.
    fn fresh(&mut self) {
        let count = self.below(FRESH_MAX + 1);
        let entries = (0..count).map(|_| {
            let call = match self.below(3) {
                0 => self.below(500),
                _ => 1_000_000 + self.number / 3,
            };
            self.entry(call)
        });
        let entries = entries.collect();
        self.append(entries);
    }

    fn deliver(&mut self) {
        let (due, out) = std::mem::take(&mut self.out).into_iter().partition(|(at, _)| *at <= self.turn);
        self.out = out;
        for (_, lease) in due {
            self.settle(&lease);
        }
        let mut leases = Vec::new();
        self.queue.lease(A, PACE, time(), &mut leases);
        for lease in leases {
            let number = numbers(std::slice::from_ref(&lease))[0];
            if let Some(since) = self.free.remove(&number) {
                self.longest = self.longest.max(time().mono.since(since.mono));
            }
            let at = self.turn + self.below(4);
            self.out.push((at, lease));
        }
        let mut calls: Vec<u64> = self.out.iter().map(|(_, lease)| lease.call.0).collect();
        calls.sort_unstable();
        assert!(calls.windows(2).all(|pair| pair[0] != pair[1]), "two records of a call are out");
    }

    fn settle(&mut self, lease: &Lease) {
        let number = numbers(std::slice::from_ref(lease))[0];
        let settlement = match self.below(20) {
            0 => Settlement::Park { reason: "refused".into(), code: 1 },
            1 | 2 => {
                let after = Duration::from_millis(self.below(300));
                Settlement::Retry { after, reason: "busy".into() }
            }
            _ => Settlement::Delivered,
        };
        // After a restart records come again that ended before.
        if !matches!(settlement, Settlement::Retry { .. }) && self.ended.insert(number) {
            let waiting = self.open.get_mut(&lease.call.0).unwrap();
            assert_eq!(waiting.pop_first(), Some(number), "an earlier record of call {} waits", lease.call.0);
        }
        self.queue.settle(A, lease.seq, settlement, time());
    }

    fn turn(&mut self) {
        self.turn += 1;
        TIME.set(time().after(TURN));
        self.queue.tick(time());
        self.deliver();
    }

    /// Until the calls of the backlog are known. What came before waits with the backlog, what comes meanwhile does not.
    fn turn_until_known(&mut self) {
        self.turn();
        self.free.clear();
        while self.queue.has_unknown(time()) {
            self.fresh();
            self.turn();
        }
    }

    /// What was lent is lent again, and nothing is known of the backlog's calls.
    fn restart(&mut self) {
        self.out.clear();
        self.clean_from = 1_000_001 + self.number / 3;
        let path = self.directory.path().to_owned();
        let spare = tempfile::tempdir().unwrap();
        // A queue in place of the one that has to be gone before its files can be opened.
        drop(std::mem::replace(&mut self.queue, open(small(spare.path())).queue));
        self.queue = open(small(&path)).queue;
    }
}

fn small(path: &Path) -> Settings {
    Settings { window_records: 256, ..settings(path) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fresh_records_go_ahead_of_the_backlog_and_never_of_their_own_call(
        random in any::<u64>(),
        restart in prop::option::of(10..100_u64),
    ) {
        TIME.set(clock::now());
        let mut run = Run::new(random);
        if random % 2 == 0 {
            // The sink is there while the backlog grows.
            run.turn();
        }
        run.backlog(3000);
        if random % 2 == 0 {
            // Its window is full of what was fresh then.
            (0..30).for_each(|_| run.turn());
        }
        run.turn_until_known();
        for turn in 0..200 {
            run.turn();
            if restart == Some(turn) {
                run.restart();
                run.turn_until_known();
            }
            run.fresh();
        }
        prop_assert!(run.queue.stats().sinks[0].balance.waiting > 500, "the backlog lasts as long as the test");
        prop_assert!(run.longest <= WAIT_MAX, "a record waited for {:?}", run.longest);
        let unserved: Vec<_> = run.free.values().map(|since| time().mono.since(since.mono)).collect();
        prop_assert!(unserved.iter().all(|wait| *wait <= WAIT_MAX), "{unserved:?}");
        let left = run.open.values().map(BTreeSet::len).sum::<usize>();
        let turns = run.turn;
        while run.open.values().any(|waiting| !waiting.is_empty()) {
            run.turn();
            prop_assert!(run.turn < turns + 2 * left as u64, "{left} records do not drain");
        }
        prop_assert!(run.queue.stats().balanced());
    }
}

#[test]
fn the_backlog_gets_a_quarter_of_the_leases_whatever_comes() {
    TIME.set(clock::now());
    let mut run = Run::new(1);
    run.backlog(1000);
    for _ in 0..100 {
        run.turn();
        let entries = (0..2 * PACE as u64).map(|_| run.entry(1_000_000 + run.number)).collect();
        run.append(entries);
    }
    let backlog = run.ended.iter().filter(|number| **number <= 1000).count();
    assert!(backlog >= 100 * PACE / 4 * 3 / 4, "{backlog} records of the backlog were delivered");
}

#[test]
fn a_start_looks_through_the_files_for_the_calls_of_the_backlog() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(small(directory.path())).queue;
    append(&mut queue, (1..=3000).map(|n| entry(n, n, BOTH)).collect());
    let taken = lease(&mut queue, A, clock::now());
    for lease in &taken[..10] {
        queue.settle(A, lease.seq, Settlement::Delivered, clock::now());
    }
    queue.finish(clock::now).unwrap();
    drop(queue);
    let mut queue = open(small(directory.path())).queue;
    let mut steps = 0;
    queue.look_for_unread([A, B].into_iter(), &mut || steps += 1);
    assert!(steps > 0);
    assert!(queue.sinks.iter().all(|sink| sink.window().unknown().is_none()), "all is known before anything is served");
    // One of a call in the backlog, one of a call that is done, one of a new call.
    append(&mut queue, vec![entry(4001, 2900, BOTH), entry(4002, 5, BOTH), entry(4003, 4003, BOTH)]);
    let first: Vec<u64> = lease(&mut queue, A, clock::now()).iter().map(|lease| lease.seq.0).collect();
    assert!(first.contains(&3003), "a new call goes ahead: {first:?}");
    assert!(!first.contains(&3001), "an earlier record of its call waits");
}

/// A record of a session of the one call `call`.
fn fact(kind: Kind, number: u64, session: u64, call: u64) -> Entry {
    Entry { call: CallHash(call), ..of(kind, number, session, SinkMask(1)) }
}

#[test]
fn the_sessions_of_one_call_id_do_not_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(small(directory.path())).queue;
    let session = |n: u64| [fact(Kind::Start, 2 * n, n, 7), fact(Kind::Stop, 2 * n + 1, n, 7)];
    append(&mut queue, (0..500).flat_map(session).collect());
    for restart in [false, true] {
        if restart {
            drop(queue);
            queue = open(small(directory.path())).queue;
        }
        let first = numbers(&lease(&mut queue, A, clock::now()));
        assert!(first.len() >= 100, "one at a time would be one: {}", first.len());
        assert!(first.iter().all(|number| number % 2 == 0), "but a Stop waits for its Start");
    }
    let mut got = Vec::new();
    for number in deliver_all(&mut queue, A) {
        assert!(number % 2 == 0 || got.contains(&(number - 1)), "{number} before its Start");
        got.push(number);
    }
}

#[test]
fn a_record_that_is_never_answered_holds_no_other_fact_of_its_call() {
    use Kind::{Cdr, Event, Failed, Interim, Missed, On, Start, Stop};
    let facts = [(Missed, 1), (Failed, 1), (Event, 1), (Missed, 1), (Start, 1), (Interim, 1), (Stop, 1), (Cdr, 1)];
    for (name, unanswered, want) in [
        ("a missed call", 1, &[2, 3, 4, 5, 6, 7, 8, 9][..]),
        ("a failed one", 2, &[1, 3, 4, 5, 6, 7, 8, 9]),
        ("an event", 3, &[1, 2, 4, 5, 6, 7, 8, 9]),
        ("a Start holds its session, and Accounting-On, which ends sessions", 5, &[1, 2, 3, 4, 8]),
        ("an Interim likewise", 6, &[1, 2, 3, 4, 5, 8]),
    ] {
        for window in [100, 4] {
            let directory = tempfile::tempdir().unwrap();
            let mut queue = open(Settings { window_records: window, ..settings(directory.path()) }).queue;
            let mut entries: Vec<_> =
                (1..).zip(facts).map(|(number, (kind, session))| fact(kind, number, session, 7)).collect();
            entries.push(Entry { call: AFTER_ALL, ..of(On, 9, 9, SinkMask(1)) });
            append(&mut queue, entries);
            let (mut now, mut got) = (clock::now(), Vec::new());
            for _ in 0..50 {
                for lease in lease(&mut queue, A, now) {
                    let number = numbers(std::slice::from_ref(&lease))[0];
                    let settlement = if number == unanswered {
                        Settlement::Retry { after: Duration::from_secs(1), reason: "no answer".into() }
                    } else {
                        got.push(number);
                        Settlement::Delivered
                    };
                    queue.settle(A, lease.seq, settlement, now);
                }
                now = now.after(Duration::from_secs(1));
            }
            got.sort_unstable();
            assert_eq!(got, want, "{name}, {window} in the window");
        }
    }
}
