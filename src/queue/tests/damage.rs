//! Damaged files: the queue opens, salvages, and says what is lost.

use std::fs;
use std::path::PathBuf;

use super::*;

const RECORDS: u64 = 3000;

/// How a queue was left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Closed,
    /// Its records are in sled, and what sink A has settled is in the journal.
    Flushed,
    /// All is in the journal.
    Dropped,
}

/// A queue that was left with records, every third of which sink A has settled, and its spool's directory.
fn prepare(path: &Path, left: Left) -> PathBuf {
    let mut queue = open(settings(path)).queue;
    for first in (1..=RECORDS).step_by(100) {
        append(&mut queue, (first..first + 100).map(|n| Entry { body: body(n, 300), ..entry(n, n, BOTH) }).collect());
    }
    if left == Left::Flushed {
        queue.chain.database(0).unwrap().flush().unwrap();
    }
    for lease in lease(&mut queue, A, clock::now()) {
        if lease.seq.0 % 3 == 0 {
            queue.settle(A, lease.seq, Settlement::Delivered, clock::now());
        }
    }
    queue.finish(clock::now).unwrap();
    if left == Left::Closed {
        queue.close(clock::now).unwrap();
    } else {
        drop(queue);
    }
    path.join("00000001")
}

/// Opens, salvages to the end, delivers everything; gives what each sink got and what is said to be lost.
pub(super) fn open_and_deliver(path: &Path) -> (Queue, BTreeSet<u64>, BTreeSet<u64>, u64) {
    let opened = open(settings(path));
    let mut queue = opened.queue;
    let (mut a, mut b) = (BTreeSet::new(), BTreeSet::new());
    loop {
        a.extend(deliver_all(&mut queue, A));
        b.extend(deliver_all(&mut queue, B));
        queue.tick(clock::now());
        queue.finish(clock::now).unwrap();
        let waiting: u64 = queue.stats().sinks.iter().map(|sink| sink.balance.waiting).sum();
        if !queue.salvage.is_busy() && waiting == 0 {
            break;
        }
        std::thread::yield_now();
    }
    assert!(queue.stats().balanced(), "{:?}", queue.stats());
    let lost = queue.stats().losses.total();
    (queue, a, b, lost)
}

pub(super) fn change(file: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    act(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// Places of record frames in a file, with the record's number in the queue.
pub(super) fn frames(file: &Path) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    repair::scan(file, |offset, frame| {
        if let frame::Frame::Record(record) = frame {
            found.push((usize::try_from(offset).unwrap(), record.seq));
        }
    })
    .unwrap();
    found
}

#[test]
fn records_gone_from_the_beginning_of_a_spool_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let spool = prepare(directory.path(), Left::Closed);
    fs::remove_file(spool.join("journal")).unwrap();
    let file = spool.join("db");
    let mut gone = Vec::new();
    repair::scan(&file, |offset, frame| match frame {
        frame::Frame::Record(record) if record.seq > 44 => {}
        frame::Frame::Record(_) | frame::Frame::Meta(_) => gone.push(usize::try_from(offset).unwrap()),
        _ => {}
    })
    .unwrap();
    change(&file, |bytes| {
        gone.iter().for_each(|at| bytes[*at..*at + 8].fill(0));
        bytes.truncate(bytes.len() * 3 / 4);
    });
    let (_, _, b, lost) = open_and_deliver(directory.path());
    assert!(b.iter().all(|number| *number > 44), "{:?}", b.first());
    assert_eq!(lost, RECORDS - b.len() as u64, "all that did not come are said to be lost");
}

#[test]
fn damage_of_any_kind_loses_only_what_is_itself_damaged() {
    type Damage = fn(&mut Vec<u8>);
    let table: [(&str, Damage); 7] = [
        ("an octet in the middle is changed", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
        }),
        ("every 50,000th octet is changed", |bytes| bytes.iter_mut().step_by(50_000).for_each(|octet| *octet ^= 0x55)),
        ("4 KiB at the beginning are zero", |bytes| bytes[..4096].fill(0)),
        ("4 KiB in the middle are zero", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4096].fill(0);
        }),
        ("the second half is cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("the first 600 KiB are noise", |bytes| {
            let mut state = 1_u32;
            for octet in &mut bytes[..600 << 10] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *octet = (state >> 24) as u8;
            }
        }),
        ("the file is empty", Vec::clear),
    ];
    for (name, damage) in table {
        for left in [Left::Closed, Left::Flushed] {
            let directory = tempfile::tempdir().unwrap();
            let file = prepare(directory.path(), left).join("db");
            change(&file, damage);
            let intact: BTreeSet<u64> = frames(&file).into_iter().map(|(_, seq)| seq).collect();
            let (mut queue, a, b, lost) = open_and_deliver(directory.path());
            let b_missing: Vec<u64> = intact.iter().copied().filter(|n| !b.contains(n)).collect();
            assert!(b_missing.is_empty(), "{name}, {left:?}: {} intact records missing", b_missing.len());
            assert!(a.len() as u64 >= b.len() as u64 * 6 / 10, "{name}: sink A got {}", a.len());
            let gone = RECORDS - b.len() as u64;
            assert!(lost >= gone || intact.is_empty(), "{name}, {left:?}: {gone} gone, {lost} said to be lost");
            assert!(queue.head().0 >= RECORDS, "{name}: places are not taken twice");
            append(&mut queue, vec![entry(9999, 1, BOTH)]);
            assert_eq!(deliver_all(&mut queue, A), [9999], "{name}: the service goes on");
        }
    }
}

#[test]
fn a_damaged_or_missing_snapshot_costs_nothing() {
    let snapshots = |path: &Path| -> Vec<PathBuf> {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
    };
    for (name, damage) in [
        ("changed", (|file| change(file, |bytes| bytes[5] ^= 1)) as fn(&Path)),
        ("cut", |file| change(file, |bytes| bytes.truncate(bytes.len() / 2))),
        ("empty", |file| change(file, Vec::clear)),
        ("gone", |file| fs::remove_file(file).unwrap()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let spool = prepare(directory.path(), Left::Closed);
        drop(open(settings(directory.path())));
        let found = snapshots(&spool);
        assert!(!found.is_empty(), "opening writes a snapshot");
        found.iter().for_each(|file| damage(file));
        let (queue, a, b, lost) = open_and_deliver(directory.path());
        assert_eq!((a.len(), b.len(), lost), (2000, 3000, 0), "{name}");
        assert_eq!(queue.stats().damaged, 0, "{name}: the spool itself is sound");
    }
}

#[test]
fn a_half_written_snapshot_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let spool = prepare(directory.path(), Left::Dropped);
    fs::write(spool.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let (_, a, b, lost) = open_and_deliver(directory.path());
    assert_eq!((a.len(), b.len(), lost), (2000, 3000, 0));
}

/// Damages the records from `first` to `last` in these files of a spool.
fn damage_records(spool: &Path, files: &[&str], (first, last): (u64, u64)) {
    for file in files.iter().map(|file| spool.join(file)) {
        let found: Vec<_> = frames(&file).into_iter().filter(|(_, seq)| (first..=last).contains(seq)).collect();
        change(&file, |bytes| found.iter().for_each(|(offset, _)| bytes[offset + 100] ^= 1));
    }
}

#[test]
fn a_damaged_last_commit_is_found_in_the_files_or_counted() {
    const LAST: u64 = RECORDS + 100;
    for (name, files, damaged_records, lost) in [
        ("one record of it in the database", &["db"][..], 1, 0),
        ("all of it in the database", &["db"], 100, 0),
        ("one record of it in both files", &["db", "journal"], 1, 1),
        ("all of it in both files", &["db", "journal"], 100, 100),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let spool = prepare(directory.path(), Left::Dropped);
        let mut queue = open(settings(directory.path())).queue;
        append(&mut queue, (RECORDS + 1..=LAST).map(|n| Entry { body: body(n, 300), ..entry(n, n, BOTH) }).collect());
        drop(queue);
        damage_records(&spool, files, (LAST + 1 - damaged_records, LAST));
        let opened = open(settings(directory.path()));
        let report = opened.report.clone();
        drop(opened);
        let aside = !report.damaged.is_empty();
        // sled may also refuse the file: then the salvage brings the same records back.
        assert!(aside || report.lost == lost, "{name}: {report:?}");
        let (_, _, b, _) = open_and_deliver(directory.path());
        assert_eq!(b.len() as u64, LAST - lost, "{name}");
    }
}

#[test]
fn a_commit_damaged_in_the_journal_costs_its_damaged_records_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // The settlements were committed behind it.
    let spool = prepare(directory.path(), Left::Dropped);
    damage_records(&spool, &["db", "journal"], (RECORDS, RECORDS));
    let mut opened = open(settings(directory.path()));
    let is_told = |notice: &Notice| matches!(notice, Notice::JournalDamaged { commits: 1, .. });
    assert!(opened.queue.notices().iter().any(is_told) || !opened.report.damaged.is_empty(), "{:?}", opened.report);
    drop(opened);
    let (_, _, b, lost) = open_and_deliver(directory.path());
    assert_eq!((b.len() as u64, lost), (RECORDS - 1, 1));
}

#[test]
fn the_other_files_may_be_damaged_too() {
    for (name, damage) in [
        ("`conf` is gone", (|spool| fs::remove_file(spool.join("conf")).unwrap()) as fn(&Path)),
        ("`conf` is noise", |spool| fs::write(spool.join("conf"), b"noise").unwrap()),
        ("`head` is noise", |spool| fs::write(spool.join("../head"), b"noise").unwrap()),
        ("`head` is gone", |spool| fs::remove_file(spool.join("../head")).unwrap()),
        ("an empty directory stands for a spool", |spool| fs::create_dir(spool.join("../00000002")).unwrap()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        damage(&prepare(directory.path(), Left::Closed));
        let (_, _, b, lost) = open_and_deliver(directory.path());
        assert_eq!((b.len(), lost), (3000, 0), "{name}");
    }
}

#[test]
fn a_damaged_sealed_spool_comes_back_at_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { spool_bytes: 1 << 20, ..settings(directory.path()) };
    let mut queue = open(small.clone()).queue;
    for first in (1..=4000).step_by(50) {
        append(&mut queue, (first..first + 50).map(|n| Entry { body: body(n, 1000), ..entry(n, n, BOTH) }).collect());
        queue.tick(clock::now());
    }
    assert!(queue.stats().spools > 3);
    queue.close(clock::now).unwrap();
    // It would stand in for what is damaged.
    fs::remove_file(directory.path().join("00000002/journal")).unwrap();
    let file = directory.path().join("00000002/db");
    // Where records lie: what its beginning holds was written anew since.
    change(&file, |bytes| {
        let (begin, end) = (bytes.len() / 4, bytes.len() / 4 * 3);
        bytes[begin..end].fill(0);
    });
    let intact: BTreeSet<u64> = frames(&file).into_iter().map(|(_, seq)| seq).collect();
    let first = intact.first().copied().unwrap();
    let (queue, a, b, lost) = open_and_deliver(directory.path());
    assert_eq!(a, b);
    assert_eq!(queue.stats().damaged, 1);
    assert_eq!(b.len() as u64 + lost, 4000, "lost ones are counted");
    assert!(b.contains(&first));
    drop(queue);
    let again = open(settings(directory.path()));
    assert!(!again.queue.salvage.is_busy(), "what was salvaged is not salvaged again");
}

#[test]
fn a_spool_damaged_under_the_running_queue_is_salvaged() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { spool_bytes: 1 << 20, cache_bytes: 1 << 18, ..settings(directory.path()) };
    let mut queue = open(small).queue;
    for first in (1..=4000).step_by(50) {
        append(&mut queue, (first..first + 50).map(|n| Entry { body: body(n, 1000), ..entry(n, n, BOTH) }).collect());
        queue.tick(clock::now());
    }
    // Sealed and closed; damaged behind the queue's back.
    queue.chain.close_idle(1);
    let file = directory.path().join("00000002/db");
    change(&file, |bytes| {
        let begin = bytes.len() / 3;
        bytes[begin..begin + 20_000].fill(0xaa);
    });
    let (mut a, mut b) = (BTreeSet::new(), BTreeSet::new());
    loop {
        a.extend(deliver_all(&mut queue, A));
        b.extend(deliver_all(&mut queue, B));
        queue.tick(clock::now());
        queue.finish(clock::now).unwrap();
        let waiting: u64 = queue.stats().sinks.iter().map(|sink| sink.balance.waiting).sum();
        if !queue.salvage.is_busy() && waiting == 0 {
            break;
        }
        std::thread::yield_now();
    }
    let stats = queue.stats();
    assert!(stats.balanced(), "{stats:?}");
    assert_eq!(a, b);
    assert!(b.len() as u64 + stats.losses.total() >= 4000, "{} delivered, {} lost", b.len(), stats.losses.total());
    assert!(b.len() > 3900, "{} delivered", b.len());
}

#[test]
fn damaged_parked_records_are_salvaged() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = open(settings(directory.path())).queue;
    append(&mut queue, (1..=100).map(|n| Entry { body: body(n, 6000), ..entry(n, n, BOTH) }).collect());
    for lease in lease(&mut queue, A, clock::now()) {
        queue.settle(A, lease.seq, Settlement::Park { reason: "no".into(), code: 3 }, clock::now());
    }
    queue.tick(clock::now());
    queue.close(clock::now).unwrap();
    change(&directory.path().join("parked/db"), |bytes| bytes[..4096].fill(0));
    let opened = open(settings(directory.path()));
    let parked = opened.queue.stats().sinks[0].parked_now;
    assert!(parked >= 98, "{parked} {:?}", opened.report);
}
