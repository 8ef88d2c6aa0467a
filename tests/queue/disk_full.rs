//! A full disk: appending fails cleanly, settling goes on as long as there is room, and nothing acknowledged is missing.
//!
//! Needs root, to mount a small file system; otherwise the test says that it is skipped.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tollgate::clock::{self, Now};
use tollgate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use tollgate::queue::{Opened, Queue, Settings, Settlement, Trouble};
use tollgate::record::{CallChange, Commit, Entry};

use crate::support::small::Small;
use crate::support::start::closed_is_closed;

const SINK: SinkNumber = SinkNumber(0);

thread_local! {
    /// Seconds the test's clock is ahead. Of this test alone: others may run beside it.
    static AHEAD: Cell<u64> = const { Cell::new(0) };
}

fn ahead() -> Now {
    clock::now().after(Duration::from_secs(AHEAD.get()))
}

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.join("queue"),
        cache_bytes: 4 << 20,
        reserve_bytes: 0,
        free_min: 0,
        spool_bytes: 1 << 30,
        ..Settings::default()
    }
}

fn open(settings: Settings) -> Queue {
    open_all(settings).queue
}

fn open_all(settings: Settings) -> Opened {
    closed_is_closed();
    Queue::open(settings, &["a".to_owned()], ahead, &mut || {}).unwrap()
}

fn commit(first: u64) -> Commit {
    let entry = |n: u64| Entry {
        id: RecordId(1_700_000_000_000 << 80 | u128::from(n)),
        call: CallHash(n),
        sinks: SinkMask::NONE.with(SINK),
        body: n.to_be_bytes().into_iter().cycle().take(2000).collect(),
    };
    let calls = vec![CallChange::Put { key: first.to_be_bytes().to_vec(), value: vec![7; 500] }];
    Commit { entries: (first..first + 20).map(entry).collect(), calls }
}

fn deliver(queue: &mut Queue) -> BTreeSet<u64> {
    let mut got = BTreeSet::new();
    let mut leases = Vec::new();
    while queue.lease(SINK, 4096, ahead(), &mut leases) > 0 {
        for lease in leases.drain(..) {
            let number = u64::try_from(lease.id.0 & u128::from(u64::MAX)).unwrap();
            assert!(lease.body.chunks(8).all(|chunk| chunk == number.to_be_bytes()), "record {number} is altered");
            got.insert(number);
            queue.settle(SINK, lease.seq, Settlement::Delivered, ahead());
        }
    }
    got
}

#[test]
fn a_full_disk_loses_nothing_and_heals_when_there_is_room() {
    fill_and_heal(24);
}

#[test]
fn a_disk_that_was_filled_while_commits_lay_in_the_journal_loses_nothing_and_heals() {
    fill_and_heal(80);
}

/// Fills a disk of so many MiB with records, and gives it room again; on a small one no journal is made.
fn fill_and_heal(megabytes: u32) {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(directory.path(), megabytes) else { return };
    let ballast = small.path().join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let mut queue = open(settings(small.path()));
    let mut next = 0;
    loop {
        queue.add(commit(next)).unwrap();
        if queue.finish(ahead).is_err() {
            break;
        }
        next += 20;
        assert!(next < 1_000_000, "the file system does not get full");
    }
    assert!(queue.stats().troubles.has(Trouble::Store), "the alarm state is on");
    assert_eq!(small.path().join("queue/00000001/journal").exists(), megabytes > 32);
    assert!(queue.finish(ahead).is_err(), "it is not tried again at once");
    AHEAD.set(AHEAD.get() + 2);
    assert!(queue.finish(ahead).is_err(), "still no room");
    std::fs::remove_file(&ballast).unwrap();
    AHEAD.set(AHEAD.get() + 2);
    queue.finish(ahead).unwrap();
    assert!(!queue.stats().troubles.has(Trouble::Store), "the alarm state is over");
    next += 20;
    for _ in 0..5 {
        queue.add(commit(next)).unwrap();
        queue.finish(ahead).unwrap();
        next += 20;
    }
    assert!(queue.stats().balanced());
    drop(queue);

    let opened = open_all(settings(small.path()));
    assert_eq!(opened.report.lost, 0);
    assert_eq!(opened.calls.len() as u64, next / 20, "all calls are there");
    let mut queue = opened.queue;
    let got = deliver(&mut queue);
    let missing: Vec<_> = (0..next).filter(|number| !got.contains(number)).collect();
    assert_eq!(missing, [0; 0], "of {next} records");
}

#[test]
fn on_a_full_disk_the_reserve_takes_the_ends_of_all_calls() {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(directory.path(), 40) else { return };
    let mut queue = open(Settings { reserve_bytes: 8 << 20, ..settings(small.path()) });
    let look = |queue: &mut Queue| {
        AHEAD.set(AHEAD.get() + 2);
        queue.tick(ahead());
    };
    let key = |n: u64| n.to_be_bytes().to_vec();
    let begin = (0..2000).map(|n| CallChange::Put { key: key(n), value: vec![7; 500] }).collect();
    queue.add(Commit { entries: Vec::new(), calls: begin }).unwrap();
    queue.finish(ahead).unwrap();
    look(&mut queue);
    let stats = queue.stats();
    assert_eq!((stats.troubles.is_empty(), stats.reserve_reason()), (true, None), "{stats:?}");
    assert_eq!(stats.load.reserve, 16 << 20, "sized by 2000 calls");
    small.fill();
    look(&mut queue);
    for n in 0..2000 {
        let Commit { mut entries, .. } = commit(n * 20);
        entries.truncate(1);
        queue.add(Commit { entries, calls: vec![CallChange::Remove { key: key(n) }] }).unwrap();
        queue.finish(ahead).unwrap_or_else(|error| panic!("the end of call {n}: {error:?}"));
    }
    look(&mut queue);
    let stats = queue.stats();
    let told: Vec<_> = queue.notices().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|text| text.contains("the reserve of 16 MiB was given up")), "{told:?}");
    assert!(stats.troubles.has(Trouble::Disk) && stats.reserve_reason().is_some(), "{stats:?}");
    drop(queue);
    let opened = open_all(settings(small.path()));
    let mut queue = opened.queue;
    assert_eq!((opened.report.lost, opened.calls.len(), deliver(&mut queue).len()), (0, 0, 2000));
}

#[test]
fn opening_on_a_full_disk_gives_up_the_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(directory.path(), 24) else { return };
    let with_reserve = Settings { reserve_bytes: 4 << 20, ..settings(small.path()) };
    let mut queue = open(with_reserve.clone());
    queue.add(commit(0)).unwrap();
    queue.finish(ahead).unwrap();
    drop(queue);
    small.fill();
    let mut queue = open(with_reserve);
    assert_eq!(deliver(&mut queue).len(), 20);
}
