//! Tests of the synchronous core: append, lease, settle, park, restart, switch, limits, commands.

mod balance;
mod classes;
mod collapse;
mod commands;
mod damage;
mod echo;
mod journal;
mod order;
mod switching;
mod unanswered;
mod witness;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::{self, Now};
use crate::ids::{Seq, SinkMask, SinkNumber};
use crate::record::{BODY_BYTES_MAX, CallChange, Commit, Entry, NOTES_KEPT};

pub(super) const A: SinkNumber = SinkNumber(0);
pub(super) const B: SinkNumber = SinkNumber(1);
pub(super) const BOTH: SinkMask = SinkMask(3);

pub(super) fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        cache_bytes: 4 << 20,
        reserve_bytes: 0,
        free_min: 0,
        spool_bytes: 1 << 30,
        ..Settings::default()
    }
}

pub(super) fn open(settings: Settings) -> Opened {
    Queue::open(settings, &["a".into(), "b".into()], clock::now, &mut || {}).unwrap()
}

pub(super) fn id(number: u64) -> RecordId {
    RecordId(1_700_000_000_000 << 80 | u128::from(number))
}

pub(super) fn entry(number: u64, call: u64, sinks: SinkMask) -> Entry {
    Entry { id: id(number), call: CallHash(call), sinks, body: body(number, 40) }
}

/// Octets that tell which record they are.
pub(super) fn body(number: u64, length: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(length.max(8)).collect()
}

pub(super) fn append(queue: &mut Queue, entries: Vec<Entry>) {
    queue.add(Commit { entries, calls: Vec::new() }).unwrap();
    queue.finish(clock::now).unwrap();
}

pub(super) fn lease(queue: &mut Queue, sink: SinkNumber, now: Now) -> Vec<Lease> {
    let mut out = Vec::new();
    queue.lease(sink, 10_000, now, &mut out);
    out
}

pub(super) fn numbers(leases: &[Lease]) -> Vec<u64> {
    leases.iter().map(|lease| u64::try_from(lease.id.0 & 0xffff_ffff).unwrap()).collect()
}

pub(super) fn deliver_all(queue: &mut Queue, sink: SinkNumber) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        let leases = lease(queue, sink, clock::now());
        if leases.is_empty() {
            return got;
        }
        got.extend(numbers(&leases));
        for lease in leases {
            queue.settle(sink, lease.seq, Settlement::Delivered, clock::now());
        }
    }
}

#[test]
fn a_record_goes_to_each_sink_that_wants_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    append(&mut queue, vec![entry(1, 1, BOTH), entry(2, 2, SinkMask(1)), entry(3, 3, SinkMask(2))]);
    append(&mut queue, vec![entry(4, 4, SinkMask(0)), entry(5, 5, SinkMask(1 << 40)), entry(6, 6, BOTH)]);
    assert_eq!(deliver_all(&mut queue, A), [1, 2, 6]);
    assert_eq!(deliver_all(&mut queue, B), [1, 3, 6]);
    let stats = queue.stats();
    assert_eq!((stats.appended, stats.head), (4, 4), "what nobody wants is not stored");
    assert!(stats.balanced() && stats.sinks.iter().all(|sink| sink.balance.waiting == 0), "{stats:?}");
}

#[test]
fn after_a_restart_what_was_not_settled_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    append(&mut queue, (1..=10).map(|n| entry(n, n, BOTH)).collect());
    for lease in lease(&mut queue, A, clock::now()) {
        if lease.seq.0 % 2 == 0 {
            queue.settle(A, lease.seq, Settlement::Delivered, clock::now());
        }
    }
    queue.close(clock::now).unwrap();
    let opened = open(settings(directory.path()));
    assert!(opened.report.clean);
    let mut queue = opened.queue;
    assert_eq!(deliver_all(&mut queue, A), [1, 3, 5, 7, 9]);
    assert_eq!(deliver_all(&mut queue, B), (1..=10).collect::<Vec<_>>());
    append(&mut queue, vec![entry(11, 1, BOTH)]);
    assert_eq!(queue.head(), Seq(11), "places go on");
}

#[test]
fn bodies_of_any_length_come_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let lengths = [8, 4095, 4096, 4097, 8192, 50_000, BODY_BYTES_MAX];
    let long = |n: u64, length| Entry { body: body(n, length), ..entry(n, n, BOTH) };
    let entries: Vec<Entry> = (1..).zip(lengths).map(|(n, length)| long(n, length)).collect();
    let mut queue = open(settings(directory.path())).queue;
    append(&mut queue, entries.clone());
    for round in ["from memory", "from disk"] {
        let leases = lease(&mut queue, A, clock::now());
        assert_eq!(leases.len(), entries.len(), "{round}");
        for (lease, entry) in leases.iter().zip(&entries) {
            assert_eq!((lease.id, &lease.body[..]), (entry.id, &entry.body[..]), "{round}");
        }
        queue.close(clock::now).unwrap();
        queue = open(settings(directory.path())).queue;
    }
    let refused = queue.add(Commit { entries: vec![long(9, BODY_BYTES_MAX + 1)], calls: Vec::new() });
    assert_eq!(refused, Err(AppendFailed::TooLong));
}

#[test]
fn calls_come_back_as_they_were_last() {
    let directory = tempfile::tempdir().unwrap();
    let put = |key: &[u8], value: Vec<u8>| CallChange::Put { key: key.to_vec(), value };
    let remove = |key: &[u8]| CallChange::Remove { key: key.to_vec() };
    let mut queue = open(settings(directory.path())).queue;
    for calls in [
        vec![put(b"a", vec![1; 9000]), put(b"a\0", vec![2; 5000]), put(b"gone", vec![3]), put(b"", vec![])],
        vec![put(b"a", vec![4; 10]), remove(b"gone"), put(b"b", vec![5; 9000]), put(b"b", vec![6; 1])],
        vec![put(b"c", vec![7; 9000]), remove(b"c"), remove(b"never")],
    ] {
        queue.add(Commit { entries: Vec::new(), calls }).unwrap();
        queue.finish(clock::now).unwrap();
    }
    assert_eq!(queue.stats().calls, 4);
    drop(queue);
    let opened = open(settings(directory.path()));
    assert!(!opened.report.clean);
    let want: [(&[u8], Vec<u8>); 4] = [(b"", vec![]), (b"a", vec![4; 10]), (b"a\0", vec![2; 5000]), (b"b", vec![6; 1])];
    let got: Vec<(&[u8], Vec<u8>)> = opened.calls.iter().map(|(key, value)| (&key[..], value.clone())).collect();
    assert_eq!(got, want);
}

#[test]
fn a_failed_delivery_waits_and_a_hopeless_one_is_parked() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(Settings { attempts_max: 2, ..settings(directory.path()) }).queue;
    append(&mut queue, vec![entry(1, 1, BOTH), entry(2, 1, BOTH), entry(3, 2, BOTH)]);
    let start = clock::now();
    assert_eq!(numbers(&lease(&mut queue, A, start)), [1, 3]);
    let retry = |secs| Settlement::Retry { after: Duration::from_secs(secs), reason: "down".into() };
    queue.settle(A, Seq(1), retry(60), start);
    queue.settle(A, Seq(3), Settlement::Park { reason: "refused".into(), code: 5 }, start);
    queue.tick(start);
    assert_eq!(numbers(&lease(&mut queue, A, start)), [0_u64; 0]);
    let later = start.after(Duration::from_secs(60));
    let again = lease(&mut queue, A, later);
    assert_eq!((numbers(&again), again[0].attempts, again[0].first_tried), (vec![1], 1, Some(start.wall)));
    queue.settle(A, Seq(1), retry(60), later);
    queue.tick(later);
    assert_eq!(numbers(&lease(&mut queue, A, later)), [2], "after two attempts the first is parked");
    let stats = queue.stats();
    let balance = stats.sinks[0].balance;
    assert_eq!((balance.parked, balance.waiting, stats.sinks[0].parked_now), (2, 1, 2));
    assert!(stats.balanced());
    drop(queue);
    let queue = open(settings(directory.path())).queue;
    assert_eq!(queue.stats().sinks[0].parked_now, 2, "parked records survive");
}

#[test]
fn a_visit_that_says_nothing_about_a_record_is_no_try_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(Settings { attempts_max: 2, ..settings(directory.path()) }).queue;
    append(&mut queue, vec![entry(1, 1, BOTH)]);
    let mut now = clock::now();
    let first = now.wall;
    for visit in 0..5 {
        let lent = lease(&mut queue, A, now);
        let since = (visit > 0).then_some(first);
        assert_eq!((numbers(&lent), lent[0].attempts, lent[0].first_tried), (vec![1], 0, since), "visit {visit}");
        let deferred = Settlement::Defer { after: Duration::from_secs(1), reason: "the connection broke".into() };
        queue.settle(A, Seq(1), deferred, now);
        queue.tick(now);
        now = now.after(Duration::from_secs(1));
    }
    assert_eq!(queue.stats().sinks[0].balance.parked, 0);
}

/// A clock whose seconds the test adds up.
fn slow_clock() -> Now {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    // The first commit seems to take a second, later ones take none.
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    Now::default().after(Duration::from_secs(100 + u64::from(calls > 0)))
}

#[test]
fn a_slow_commit_raises_the_alarm_until_a_quick_one() {
    let directory = tempfile::tempdir().unwrap();
    let strict = Settings { refuse_after: Duration::from_millis(500), ..settings(directory.path()) };
    let mut queue = open(strict).queue;
    queue.add(Commit { entries: vec![entry(1, 1, BOTH)], calls: Vec::new() }).unwrap();
    queue.finish(slow_clock).unwrap();
    assert!(queue.troubles().has(Trouble::Slow));
    let later = Now::default().after(Duration::from_secs(102));
    assert!(queue.commit_due(later), "with new calls refused nobody else would try");
    queue.finish(slow_clock).unwrap();
    assert!(!queue.troubles().has(Trouble::Slow) && !queue.commit_due(later));
}

#[test]
fn at_a_limit_the_alarm_comes_and_no_record_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(Settings { records_max: 80, ..settings(directory.path()) }).queue;
    let mut now = clock::now();
    let put = |n: u64| CallChange::Put { key: n.to_be_bytes().to_vec(), value: vec![2] };
    let end = |n: u64| CallChange::Remove { key: n.to_be_bytes().to_vec() };
    // Ten calls that go on: the limit leaves room for their ends.
    queue.add(Commit { entries: vec![], calls: (1001..=1010).map(put).collect() }).unwrap();
    for n in 1..=120 {
        let ends = if n > 110 { vec![end(890 + n)] } else { Vec::new() };
        assert_eq!(queue.add(Commit { entries: vec![entry(n, n, BOTH)], calls: ends }), Ok(()), "record {n}");
        queue.finish(clock::now).unwrap();
        now = now.after(Duration::from_secs(2));
        queue.tick(now);
        assert_eq!(queue.troubles().has(Trouble::Records), n >= 70, "record {n}");
    }
    assert_eq!(
        queue.stats().reason(Trouble::Records),
        "120 records wait, `queue.records_max` less the ends of 0 calls is 80"
    );
    assert_eq!(queue.stats().losses, Losses::default());
    assert_eq!(deliver_all(&mut queue, A).len(), 120);
    assert_eq!(deliver_all(&mut queue, B).len(), 120);
    queue.tick(now.after(Duration::from_secs(2)));
    assert!(queue.troubles().is_empty());
}

#[test]
fn what_is_too_long_is_lost_alone_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    let long = Entry { body: body(2, BODY_BYTES_MAX + 1), ..entry(2, 2, BOTH) };
    let calls = vec![
        CallChange::Put { key: vec![1], value: vec![1; BODY_BYTES_MAX + 1] },
        CallChange::Put { key: vec![2], value: vec![2] },
    ];
    let added = queue.add(Commit { entries: vec![entry(1, 1, BOTH), long, entry(3, 3, BOTH)], calls });
    assert_eq!(added, Err(AppendFailed::TooLong));
    queue.finish(clock::now).unwrap();
    assert_eq!(deliver_all(&mut queue, A), [1, 3], "the other records of the commit are kept");
    drop(queue);
    let opened = open(settings(directory.path()));
    assert_eq!(opened.calls, [(vec![2], vec![2])]);
    let losses = opened.queue.stats().losses;
    assert_eq!(losses.iter().collect::<Vec<_>>(), [(Loss::TooLong, 1)], "also after a restart");
}

#[test]
fn notes_of_ended_calls_come_back_before_the_calls_and_go_when_their_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let name = |n: u64| n.to_be_bytes().to_vec();
    let put = |n| CallChange::Put { key: name(n), value: vec![1; 100] };
    let end = |n| CallChange::End { key: name(n), note: vec![n as u8; 200] };
    let opened = open(settings(directory.path()));
    let mut queue = opened.queue;
    for calls in [(0..100).map(put).collect(), (0..99).map(end).collect(), vec![put(7)]] {
        let calls: Vec<CallChange> = calls;
        queue.add(Commit { entries: Vec::new(), calls }).unwrap();
        queue.finish(clock::now).unwrap();
    }
    assert_eq!(queue.stats().calls, 2);
    drop(queue);
    let mut opened = open(settings(directory.path()));
    let mut want: Vec<_> = (0..99).map(|n| (name(n), vec![n as u8; 200])).collect();
    want.extend([(name(7), vec![1; 100]), (name(99), vec![1; 100])]);
    assert_eq!(opened.calls, want);
    assert_eq!(opened.queue.stats().calls, 2);
    let later = || clock::now().after(NOTES_KEPT);
    opened.queue.add(Commit { entries: Vec::new(), calls: vec![end(99)] }).unwrap();
    opened.queue.finish(later).unwrap();
    drop(opened);
    let opened = open(settings(directory.path()));
    assert_eq!(opened.calls, [(name(99), vec![99; 200]), (name(7), vec![1; 100])], "the old ones are gone");
}

#[test]
fn records_of_one_commit_share_values_and_are_read_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    // Short ones, one that just does not fit a group, a long one between, and more than a chunk holds.
    let bytes = |n: u64| match n % 50 {
        7 => 4080,
        13 => 9000,
        _ => 100 + (n % 400) as usize,
    };
    let entries: Vec<Entry> =
        (1..=2500).map(|n| Entry { body: vec![n as u8; bytes(n)], ..entry(n, n, BOTH) }).collect();
    append(&mut queue, entries.clone());
    let mut pairs = Vec::new();
    let all = layout::record_key(0, 0)..layout::record_key(u64::MAX, 0);
    let database = queue.chain.active().database.as_ref().unwrap();
    database.range(all, usize::MAX, &mut pairs).unwrap();
    assert!(pairs.len() < 600, "{} values", pairs.len());
    for (from, end, max) in
        [(1, 2501, 5000), (5, 9, 100), (1020, 1030, 100), (13, 14, 1), (2499, 2501, 9), (600, 900, 50)]
    {
        let got = spool::read_records(database, from, end, max);
        assert_eq!(got.unreadable, None);
        let count = (max as u64).min(end - from);
        assert_eq!(got.records.len() as u64, count, "{from}..{end}, at most {max}");
        for (seq, record) in (from..).zip(&got.records) {
            assert_eq!((record.seq, record.body.len()), (seq, bytes(seq)));
        }
        assert_eq!(got.next.min(end), from + count);
    }
}

#[test]
fn a_record_that_went_back_can_still_be_found_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    append(&mut queue, vec![entry(1, 1, BOTH), entry(2, 1, BOTH), entry(3, 2, BOTH)]);
    let start = clock::now();
    assert_eq!(numbers(&lease(&mut queue, A, start)), [1, 3]);
    let retry = Settlement::Retry { after: Duration::from_secs(60), reason: "no answer in time".into() };
    queue.settle(A, Seq(1), retry.clone(), start);
    queue.settle(A, Seq(1), Settlement::Delivered, start);
    assert_eq!(numbers(&lease(&mut queue, A, start)), [2], "the next of its call goes at once");
    queue.settle(A, Seq(3), retry, start);
    let later = start.after(Duration::from_secs(61));
    queue.tick(later);
    queue.settle(A, Seq(3), Settlement::Delivered, later);
    assert_eq!(numbers(&lease(&mut queue, A, later)), [0_u64; 0], "it does not go again");
    // What was never lent, or has ended, is not settled by a stray word.
    for seq in [1, 3, 9] {
        queue.settle(A, Seq(seq), Settlement::Delivered, later);
    }
    let stats = queue.stats();
    let balance = stats.sinks[0].balance;
    assert_eq!((balance.delivered, balance.waiting, stats.settlements_stray), (2, 1, 3));
    assert!(stats.balanced());
}
