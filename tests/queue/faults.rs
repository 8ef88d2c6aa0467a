//! A disk that fails: whatever write, sync, or name fails once or for a while, nothing acknowledged is lost, also by a power
//! cut afterwards, and the queue comes right by itself. What a sync that failed should have covered is on the disk or not,
//! whatever a later one says.

use std::path::Path;

use crate::powercut::{after, path_of_nothing, record_of, verdict};
use crate::support::disk::{Disk, Syncs, recorder};
use crate::support::queue::{self, Known, Random};

/// Not a test of its own: the child of the others.
#[test]
fn child_process() {
    queue::run_if_child();
}

/// What fails: the kind of operation, a part of the path, how often, the error; and what the operator reads of it.
type Row = (&'static str, (&'static str, &'static str, u32, i32), &'static str);

/// Operations of the kind that go well before.
const BEFORE: [u32; 5] = [0, 1, 3, 9, 27];

fn try_rows(rows: &[Row]) {
    let mut wrong = Vec::new();
    for (name, (kind, part, count, error), words) in rows {
        let mut told = String::new();
        for before in BEFORE {
            let directory = tempfile::tempdir().unwrap();
            let Some(library) = recorder(directory.path()) else { return };
            let fault = format!("{kind} {part} {before} {count} {error}");
            let what = format!("{name}, after {before} that went well");
            match try_fault(directory.path(), &library, &fault) {
                Ok(lines) => told += &lines,
                Err(why) => wrong.push(format!("{what}: {why}")),
            }
        }
        if !told.contains(words) {
            let told: Vec<_> = told.lines().filter(|line| line.contains("NOTE") || line.contains("FAILED")).collect();
            wrong.push(format!("{name}: the operator does not read `{words}`, but {told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the child printed; an error when something is wrong with what it left, or would have left by a power cut.
fn try_fault(directory: &Path, library: &Path, fault: &str) -> Result<String, String> {
    let path = directory.join("queue");
    let mut work = queue::emptying_child("faults::child_process", &path, 21, 25);
    work.env("RECORD_FAIL", fault);
    let steps = record_of(work, library, &path, &directory.join("trace"));
    let nothing = path_of_nothing(&path);
    let (disk, known): (Disk, Known) = after(&nothing, &steps, steps.len(), Syncs::Honest, &Known::default());
    let lines = disk.lines();
    if !lines.contains("@END Ok(())") {
        return Err(format!("it does not come right: {lines}"));
    }
    verdict(&path.with_extension("after"), &mut known.clone()).map_err(|why| format!("as it was left: {why}"))?;
    let mut random = Random::new(4);
    for round in 0..3 {
        let moment = if round == 0 { steps.len() } else { random.below(steps.len() as u64) as usize };
        let (disk, mut known) = after(&nothing, &steps, moment, Syncs::Honest, &Known::default());
        let state = directory.join(format!("state{round}"));
        disk.cut(&mut random, &state);
        verdict(&state, &mut known).map_err(|why| format!("cut after {moment} of {} steps: {why}", steps.len()))?;
    }
    Ok(lines)
}

const EIO: i32 = libc::EIO;
const ENOSPC: i32 = libc::ENOSPC;
const EROFS: i32 = libc::EROFS;

#[test]
fn a_sync_that_failed_is_never_trusted_again() {
    try_rows(&[
        ("a sync of the journal", ("sync", "/journal", 1, EIO), "/journal: Input/output error"),
        ("three syncs of the journal", ("sync", "/journal", 3, EIO), "/journal: Input/output error"),
        ("a sync of the journal finds no room", ("sync", "/journal", 1, ENOSPC), "/journal: No space left on device"),
        ("a sync of sled", ("sync", "/db", 1, EIO), "Input/output error"),
        ("six syncs of anything", ("sync", "/", 6, EIO), "Input/output error"),
    ]);
}

#[test]
fn a_write_that_failed_loses_nothing() {
    try_rows(&[
        ("a write of the journal", ("write", "/journal", 1, EIO), "/journal: Input/output error"),
        ("the journal finds no room", ("write", "/journal", 4, ENOSPC), "/journal: No space left on device"),
        ("no journal can be made", ("create", "/journal", 2, EROFS), "/journal: Read-only file system"),
        ("a write of sled", ("write", "/db", 1, EIO), "Input/output error"),
        ("sled finds no room", ("write", "/db", 8, ENOSPC), "No space left on device"),
        ("the disk is read-only for a while", ("write", "/", 40, EROFS), "Read-only file system"),
    ]);
}

#[test]
fn a_name_that_cannot_be_made_or_removed_loses_nothing() {
    try_rows(&[
        ("no file can be made", ("create", "/", 6, ENOSPC), "No space left on device"),
        ("nothing can be removed", ("unlink", "/", 6, EROFS), "Read-only file system"),
        ("nothing can be renamed", ("rename", "/", 3, EROFS), "Read-only file system"),
    ]);
}
