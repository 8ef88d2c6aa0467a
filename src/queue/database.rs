//! One sled database behind its guards.
//!
//! * G2: before opening, `snap.*.generating` is deleted: a kill while opening leaves one, and the next open takes it
//!   for the newest snapshot.
//! * G3: never `flush_async`; one thread writes and calls `flush`.
//! * G4: every call stands inside `catch_unwind`: damaged files make sled panic.
//! * G5: after creating, `conf`, `db`, the directory and its parent are synced before anything is acknowledged: sled
//!   never syncs `conf`, and without it the database does not open.
//! * G6: after each opening the directory is synced before anything is written: sled uses segments of its file again that
//!   the snapshot it has just written makes free, and never makes the snapshot's name durable. With the one before in
//!   its place the log would end at the first of these segments.

use std::fs::{self, File};
use std::io;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::{self, Batch};
use super::disk::sync_directory;
use super::error::StoreError;

/// A sled database. A write that failed is the last one: the kernel may already have dropped the pages.
#[derive(Debug)]
pub struct Database {
    /// Dropped by hand, inside `catch_unwind`.
    db: Option<sled::Db>,
    path: PathBuf,
    failed: bool,
}

/// A key and its value.
pub type Pair = (sled::IVec, sled::IVec);

impl Database {
    /// Opens the database in `path`, or makes one there.
    ///
    /// Gives also whether a damaged snapshot had to be moved away.
    ///
    /// # Errors
    /// When it is locked, damaged, or the file system fails.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<(Self, bool), StoreError> {
        let moved = if path.is_dir() { check_snapshots(path).map_err(StoreError::Io)? } else { false };
        let config = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None);
        let open = || {
            guarded(|| {
                let db = config.open()?;
                sync_directory(path)?;
                // The first batch of a process spins while a flush runs: do one now, when none does.
                db.apply_batch(sled::Batch::default())?;
                Ok(db)
            })
        };
        let mut result = open();
        // Threads of sled may hold the file of a database just closed for a moment longer.
        for _ in 0..LOCKED_TRIES {
            if !matches!(result, Err(StoreError::Locked)) {
                break;
            }
            std::thread::sleep(LOCKED_PAUSE);
            result = open();
        }
        let db = result?;
        Ok((Self { db: Some(db), path: path.to_owned(), failed: false }, moved))
    }

    /// G5: makes a new database's files and names durable.
    ///
    /// # Errors
    /// When a file cannot be opened or synced.
    pub fn sync_files(&self) -> io::Result<()> {
        for name in ["conf", "db"] {
            File::open(self.path.join(name))?.sync_all()?;
        }
        sync_directory(&self.path)?;
        self.path.parent().map_or(Ok(()), sync_directory)
    }

    /// Applies a batch; it is durable after [`Database::flush`].
    ///
    /// # Errors
    /// When sled fails; from then on nothing more is written.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut all = sled::Batch::default();
        for change in batch::changes(batch.octets()).flatten() {
            match change {
                (key, Some(value)) => all.insert(key, value),
                (key, None) => all.remove(key),
            }
        }
        self.write(|db| db.apply_batch(all))
    }

    /// Makes everything applied durable: sled's flush, which ends in `fdatasync` by guard G1.
    ///
    /// # Errors
    /// When sled fails; from then on nothing more is written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.write(|db| db.flush().map(drop))
    }

    fn write(&mut self, act: impl FnOnce(&sled::Db) -> sled::Result<()>) -> Result<(), StoreError> {
        let db = self.db.as_ref().filter(|_| !self.failed).ok_or(StoreError::Closed)?;
        let result = guarded(|| act(db));
        self.failed |= result.is_err();
        result
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        guarded(|| db.get(key))
    }

    /// The last key of a range.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Option<Pair>, StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        guarded(|| db.range(range).next_back().transpose())
    }

    /// Up to `max` keys and values of a range, lowest first.
    ///
    /// # Errors
    /// When one of them cannot be read; `read` then holds those before it.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        range: impl RangeBounds<K>,
        max: usize,
        read: &mut Vec<Pair>,
    ) -> Result<(), StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        guarded(|| {
            for pair in db.range(range).take(max) {
                read.push(pair?);
            }
            Ok(())
        })
    }

    /// Whether a write failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Octets of its file.
    pub fn file_bytes(&self) -> u64 {
        fs::metadata(self.path.join("db")).map_or(0, |data| data.len())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.db.take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
    }
}

/// G4: a panic of sled becomes an error.
fn guarded<T>(act: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(StoreError::from),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            Err(StoreError::Damaged(text.chars().take(PANIC_TEXT_CHARS_MAX).collect()))
        }
    }
}

/// G2, and the check of finished snapshots: one with a wrong checksum is moved away, for the log alone rebuilds the
/// tree; a good one stays, for without it damage elsewhere becomes a panic.
fn check_snapshots(path: &Path) -> io::Result<bool> {
    let mut moved = false;
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with("snap.") {
            continue;
        }
        if name.ends_with(".generating") {
            fs::remove_file(&file)?;
        } else if !is_sound_snapshot(&fs::read(&file)?) {
            fs::rename(&file, path.join(format!("wrong-{name}")))?;
            moved = true;
        }
    }
    Ok(moved)
}

/// The last 4 octets, little-endian, are the CRC-32 of all but the last 12.
fn is_sound_snapshot(bytes: &[u8]) -> bool {
    let Some((rest, sum)) = bytes.split_last_chunk::<4>() else { return false };
    let Some((content, _length)) = rest.split_last_chunk::<8>() else { return false };
    !content.is_empty() && crc32fast::hash(content) == u32::from_le_bytes(*sum)
}

/// Tries of a database that is locked: another process holds it, or this one has not quite closed it: 3 s.
const LOCKED_TRIES: usize = 600;
const LOCKED_PAUSE: Duration = Duration::from_millis(5);

const PANIC_TEXT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(pairs: &[(&[u8], &[u8])]) -> Batch {
        let mut batch = Batch::default();
        pairs.iter().for_each(|(key, value)| batch.insert(key, value));
        batch
    }

    #[test]
    fn what_was_flushed_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let (mut db, _) = Database::open(&path, 1 << 20).unwrap();
        db.apply(&batch(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
        db.flush().unwrap();
        db.sync_files().unwrap();
        drop(db);
        let (db, moved) = Database::open(&path, 1 << 20).unwrap();
        assert!(!moved);
        assert_eq!(db.read(b"b").unwrap().unwrap(), b"2");
        assert_eq!(db.last::<&[u8]>(..).unwrap().unwrap().0, b"b");
        assert_eq!(db.read(b"c").unwrap(), None);
    }

    #[test]
    fn a_second_opening_is_refused_as_locked() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Database::open(directory.path(), 1 << 20).unwrap();
        match Database::open(directory.path(), 1 << 20) {
            Err(StoreError::Locked) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_that_was_being_written_goes_and_a_wrong_one_is_moved_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for round in 0..3_u8 {
            let (mut db, _) = Database::open(path, 1 << 20).unwrap();
            db.apply(&batch(&[(&[round], b"x")])).unwrap();
            db.flush().unwrap();
        }
        let snapshots = || -> Vec<PathBuf> {
            let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
        };
        let good = snapshots().pop().expect("opening again writes a snapshot");
        assert!(is_sound_snapshot(&fs::read(&good).unwrap()));
        fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
        let (_, moved) = Database::open(path, 1 << 20).unwrap();
        assert!(!moved, "a sound snapshot stays");

        let file = snapshots().pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[3] ^= 1;
        fs::write(&file, bytes).unwrap();
        let (db, moved) = Database::open(path, 1 << 20).unwrap();
        assert!(moved);
        assert_eq!(db.read(&[2]).unwrap().unwrap(), b"x");
    }

    #[test]
    fn a_panic_becomes_damage() {
        match guarded::<()>(|| panic!("as sled does")) {
            Err(StoreError::Damaged(text)) => assert_eq!(text, "as sled does"),
            other => panic!("{other:?}"),
        }
    }
}
