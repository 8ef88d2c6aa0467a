//! A full disk: appending fails cleanly, settling goes on as long as there is room, and nothing acknowledged is missing.
//!
//! Needs root, to mount a small file system; otherwise the test says that it is skipped.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::clock::{self, Now};
use tollgate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use tollgate::queue::{AppendFailed, CallChange, Commit, Entry, Queue, Settings, Settlement, Trouble};

const SINK: SinkNumber = SinkNumber(0);

/// Seconds the test's clock is ahead.
static AHEAD: AtomicU64 = AtomicU64::new(0);

fn ahead() -> Now {
    clock::now().after(Duration::from_secs(AHEAD.load(Ordering::Relaxed)))
}

/// A small file system, gone with this value.
struct Small {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("small");
        std::fs::create_dir(&path).unwrap();
        let text = |bytes: &[u8]| CString::new(bytes).unwrap();
        let (kind, target, options) = (text(b"tmpfs"), text(path.as_os_str().as_bytes()), text(size.as_bytes()));
        // SAFETY: all pointers are texts that end in a zero octet and live until the call returns.
        let done = unsafe {
            libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast::<libc::c_void>())
        };
        if done != 0 {
            println!("skipped: cannot mount a small file system: {}", std::io::Error::last_os_error());
            return None;
        }
        Some(Self { path, _directory: directory })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path = CString::new(self.path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the pointer is a text that ends in a zero octet.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
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
    Queue::open(settings, &["a".to_owned()], ahead, &mut || {}).unwrap().queue
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
    let Some(small) = Small::mount("size=24m") else { return };
    let ballast = small.path.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let mut queue = open(settings(&small.path));
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
    assert!(queue.finish(ahead).is_err(), "it is not tried again at once");
    AHEAD.fetch_add(2, Ordering::Relaxed);
    assert!(queue.finish(ahead).is_err(), "still no room");
    std::fs::remove_file(&ballast).unwrap();
    AHEAD.fetch_add(2, Ordering::Relaxed);
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

    let sinks = ["a".to_owned()];
    let opened = Queue::open(settings(&small.path), &sinks, ahead, &mut || {}).unwrap();
    assert_eq!(opened.report.lost, 0);
    assert_eq!(opened.calls.len() as u64, next / 20, "all calls are there");
    let mut queue = opened.queue;
    assert_eq!(deliver(&mut queue), (0..next).collect());
}

#[test]
fn before_the_disk_is_full_the_limit_of_free_space_refuses_records() {
    let Some(small) = Small::mount("size=32m") else { return };
    let mut queue = open(Settings { free_min: 16 << 20, ..settings(&small.path) });
    let (mut next, mut alarmed) = (0, None);
    let refused = loop {
        AHEAD.fetch_add(2, Ordering::Relaxed);
        queue.tick(ahead());
        if queue.stats().troubles.has(Trouble::Disk) {
            alarmed.get_or_insert(next);
        }
        match queue.add(commit(next)) {
            Ok(()) => queue.finish(ahead).unwrap(),
            Err(error) => break error,
        }
        next += 20;
    };
    assert_eq!(refused, AppendFailed::Full);
    assert!(alarmed.is_some_and(|alarmed| alarmed < next), "the alarm came first: {alarmed:?} of {next}");
    assert_eq!(deliver(&mut queue).len() as u64, next, "settling goes on");
    queue.finish(ahead).unwrap();
    queue.close(ahead).unwrap();
    assert_eq!(deliver(&mut open(settings(&small.path))), BTreeSet::new(), "and what was settled stays settled");
}

#[test]
fn opening_on_a_full_disk_gives_up_the_reserve() {
    let Some(small) = Small::mount("size=24m") else { return };
    let with_reserve = Settings { reserve_bytes: 4 << 20, ..settings(&small.path) };
    let mut queue = open(with_reserve.clone());
    queue.add(commit(0)).unwrap();
    queue.finish(ahead).unwrap();
    drop(queue);
    // Fill what is left, to the last page.
    let mut ballast = std::fs::File::create(small.path.join("ballast")).unwrap();
    for size in [1 << 20, 4096] {
        while std::io::Write::write_all(&mut ballast, &vec![1; size]).is_ok() {}
    }
    let mut queue = open(with_reserve);
    assert_eq!(deliver(&mut queue).len(), 20);
}
