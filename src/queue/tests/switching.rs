//! From spool to spool.

use super::*;
use crate::queue::database::Database;

fn small(path: &Path) -> Settings {
    Settings { spool_bytes: 1 << 20, ..settings(path) }
}

fn put(key: u64, value: u64) -> CallChange {
    CallChange::Put { key: key.to_be_bytes().to_vec(), value: body(value, 300) }
}

fn remove(key: u64) -> CallChange {
    CallChange::Remove { key: key.to_be_bytes().to_vec() }
}

fn values(calls: &[(Vec<u8>, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
    calls.iter().map(|(key, value)| (u64::from_be_bytes(key[..].try_into().unwrap()), value.clone())).collect()
}

/// Appends `count` records of 2,000 octets in commits of 20, with calls that come and go; every hundredth call stays.
fn load(queue: &mut Queue, from: u64, count: u64) {
    for first in (from..from + count).step_by(20) {
        let numbers = first..first + 20;
        let entries = numbers.clone().map(|n| Entry { body: body(n, 2000), ..entry(n, n / 3, BOTH) }).collect();
        let mut calls: Vec<CallChange> = numbers.clone().map(|n| put(n, n)).collect();
        calls.extend(numbers.filter_map(|n| n.checked_sub(30)).filter(|n| n % 100 != 0).map(remove));
        queue.add(Commit { entries, calls }).unwrap();
        queue.finish(clock::now).unwrap();
        queue.tick(clock::now());
    }
}

#[test]
fn spools_follow_each_other_and_calls_move_along() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(small(directory.path())).queue;
    load(&mut queue, 0, 4000);
    let spools = queue.stats().spools;
    assert!(spools > 4, "{spools} spools {:?}", queue.notices());
    assert!(queue.chain.spools().iter().filter(|spool| spool.database.is_some()).count() <= 4);
    queue.close(clock::now).unwrap();

    let opened = open(small(directory.path()));
    assert_eq!(opened.report.waiting, 8000);
    let kept = values(&opened.calls);
    for n in (0..4000).step_by(100) {
        assert!(kept.contains(&(n, body(n, 300))), "call {n}");
    }
    assert_eq!(kept.len(), 40 + 30, "those that stay, and the last ones");
    let mut queue = opened.queue;
    assert_eq!(deliver_all(&mut queue, A).len(), 4000);
    let order = deliver_all(&mut queue, B);
    for call in 0..4000 / 3 {
        let of_call: Vec<u64> = order.iter().copied().filter(|n| n / 3 == call).collect();
        assert!(of_call.is_sorted(), "call {call}: {of_call:?}");
    }
    queue.tick(clock::now().after(Duration::from_secs(1)));
    assert_eq!(queue.stats().spools, 1, "emptied spools go");
    assert!(queue.stats().balanced());
}

#[test]
fn a_spool_half_made_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(small(directory.path())).queue;
    let mut n = 0;
    while !queue.switch.is_copying() {
        load(&mut queue, n, 20);
        n += 20;
    }
    // Changes go to both while calls are copied.
    queue.add(Commit { entries: Vec::new(), calls: vec![put(7, 70), remove(n - 1), put(n - 2, 99)] }).unwrap();
    queue.finish(clock::now).unwrap();
    let spools = queue.stats().spools;
    drop(queue);
    let opened = open(small(directory.path()));
    assert_eq!(opened.queue.stats().spools, spools);
    let kept = values(&opened.calls);
    assert!(kept.contains(&(7, body(70, 300))) && kept.contains(&(n - 2, body(99, 300))));
    assert!(kept.iter().all(|(key, _)| *key != n - 1));
}

#[test]
fn a_spool_that_is_only_a_name_was_never_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(small(directory.path())).queue;
    load(&mut queue, 0, 20);
    queue.close(clock::now).unwrap();
    std::fs::create_dir(directory.path().join("00000002")).unwrap();
    let opened = open(small(directory.path()));
    assert!(opened.report.damaged.is_empty() && !opened.report.calls_lost, "{:?}", opened.report);
    assert_eq!((opened.queue.stats().spools, opened.calls.len()), (1, 20));
}

#[test]
fn after_a_failed_write_a_new_spool_takes_the_batch() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    load(&mut queue, 0, 200);
    for round in 0..2 {
        // As after an error of sled: the spool takes no more writes.
        queue.chain.active().database = None;
        let n = 1000 + round;
        let calls = vec![put(n, n), remove(199), put(198, 5)];
        queue.add(Commit { entries: vec![entry(n, n, BOTH)], calls }).unwrap();
        queue.finish(clock::now).unwrap();
        assert_eq!(queue.stats().spools, 2 + round);
        assert!(!queue.calls.marks_forgotten(), "the calls were copied");
        assert!(queue.notices().iter().any(|notice| matches!(notice, Notice::Rescued { .. })));
    }
    append(&mut queue, vec![entry(2000, 1, BOTH)]);
    assert!(queue.stats().balanced());
    drop(queue);
    let opened = open(settings(directory.path()));
    let kept = values(&opened.calls);
    for (key, value) in [(0, 0), (100, 100), (1000, 1000), (1001, 1001), (198, 5)] {
        assert!(kept.contains(&(key, body(value, 300))), "call {key}");
    }
    assert!(kept.iter().all(|(key, _)| *key != 199), "a call forgotten meanwhile does not come back");
    let mut queue = opened.queue;
    let got = deliver_all(&mut queue, A);
    assert_eq!(got.len(), 203);
    assert!(got.ends_with(&[2000]) || got.contains(&2000));
}

#[test]
fn calls_of_a_failed_spool_that_could_not_be_copied_are_found_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    load(&mut queue, 0, 200);
    // Somebody else holds the failed spool's file while its calls are to be copied.
    queue.chain.active().database = None;
    let path = queue.chain.active().path.clone();
    let (held, _) = Database::open(&path, 1 << 20).unwrap();
    queue.add(Commit { entries: vec![entry(1000, 1, BOTH)], calls: vec![remove(199), put(1000, 1)] }).unwrap();
    queue.finish(clock::now).unwrap();
    assert!(queue.calls.marks_forgotten());
    queue.add(Commit { entries: Vec::new(), calls: vec![remove(100)] }).unwrap();
    queue.finish(clock::now).unwrap();
    drop(held);
    drop(queue);
    let opened = open(settings(directory.path()));
    assert!(!opened.queue.calls.marks_forgotten());
    let kept = values(&opened.calls);
    assert!(kept.contains(&(0, body(0, 300))) && kept.contains(&(1000, body(1, 300))));
    assert!(kept.iter().all(|(key, _)| *key != 199 && *key != 100));
}

#[test]
fn bodies_of_settled_chunks_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    for n in 0..150 {
        append(&mut queue, (n * 100..n * 100 + 100).map(|n| entry(n, n, BOTH)).collect());
        deliver_all(&mut queue, A);
        deliver_all(&mut queue, B);
    }
    for _ in 0..10 {
        queue.finish(clock::now).unwrap();
    }
    assert_eq!(queue.chain.active().bits.low(), 15_000 / 1024);
    let mut left = Vec::new();
    let all = layout::record_key(0, 0)..layout::record_key(u64::MAX, 0);
    queue.chain.database(0).unwrap().range(all, usize::MAX, &mut left).unwrap();
    assert!(left.len() <= 1024, "{} records left", left.len());
    drop(queue);
    let mut queue = open(settings(directory.path())).queue;
    assert_eq!(queue.head(), Seq(15_000));
    assert_eq!(queue.stats().sinks[0].balance.waiting, 0);
    assert_eq!(deliver_all(&mut queue, A), [0_u64; 0]);
}
