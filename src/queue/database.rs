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
//! * G7: a flush that takes long gets company, which wakes it where sled has forgotten to (`waker.rs`).
//!
//! A commit ([`Database::commit`]) goes into the journal beside the database, which makes it durable, and is kept in memory.
//! Everything else is applied and flushed. A flush gives both to sled, without what is gone by then, and the journal begins
//! again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch::{self, Batch};
use super::disk::{forget_pages, sync_directory};
use super::error::{StoreError, io_error, is_no_space};
use super::journal::{self, DAMAGED, Found, Journal, Mark, STRANGE};
use super::layout::JOURNAL_KEY;
use super::overlay::{Ends, Overlay};
use super::waker::{self, flush_woken};
use crate::timers::random;

/// A sled database. A write that failed is the last one: the kernel may already have dropped the pages.
#[derive(Debug)]
pub struct Database {
    /// Dropped by hand, inside `catch_unwind`.
    db: Option<sled::Db>,
    path: PathBuf,
    failed: bool,
    /// `None` when there is none yet, or it failed.
    journal: Option<Journal>,
    /// What sled does not have yet.
    overlay: Overlay,
    /// Keys of it that no journal has: sled gets them at once, so that they are there all or not at all.
    alone: BTreeSet<sled::IVec>,
    /// What is stored about the journal; `None` when there never was one.
    mark: Option<Mark>,
    /// Number of the next commit.
    next: u64,
    /// Octets of the journal at which it is flushed.
    journal_bytes: u64,
    /// Commits that are flushed before the journal is tried again.
    rest: u32,
    /// Commits since the journal failed last.
    calm: u32,
    /// Why the journal failed, until it is asked for.
    journal_failure: Option<io::Error>,
}

/// What opening a database found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Whether a damaged snapshot had to be moved away.
    pub snapshot_moved: bool,
    /// Commits that are neither in the database nor in its journal, though they were acknowledged.
    pub commits_missing: u64,
    /// Where the journal lies in which they are missing, and from which octet on.
    pub damaged: Option<(PathBuf, u64)>,
    /// Where a journal lies in which nothing is this database's.
    pub strange: Option<PathBuf>,
}

/// A key and its value.
pub type Pair = (sled::IVec, sled::IVec);

impl Database {
    /// Opens the database in `path`, or makes one there. What its journal has more is read from that.
    ///
    /// # Errors
    /// When it is locked, damaged, or the file system fails.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<(Self, Findings), StoreError> {
        let snapshot_moved = if path.is_dir() { check_snapshots(path).map_err(StoreError::Io)? } else { false };
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
        let mut opened = Self {
            db: Some(db),
            path: path.to_owned(),
            failed: false,
            journal: None,
            overlay: Overlay::default(),
            alone: BTreeSet::new(),
            mark: None,
            next: 1,
            journal_bytes: journal::BYTES_MAX,
            rest: 0,
            calm: JOURNAL_REST,
            journal_failure: None,
        };
        let mut findings = Findings { snapshot_moved, ..Findings::default() };
        opened.replay(&mut findings)?;
        Ok((opened, findings))
    }

    /// Has the journal be flushed when it has so many octets.
    pub fn flush_journal_at(&mut self, bytes: u64) {
        self.journal_bytes = bytes;
    }

    /// Takes what the journal has more.
    fn replay(&mut self, findings: &mut Findings) -> Result<(), StoreError> {
        let stored = self.read(JOURNAL_KEY)?;
        let Some(mark) = stored.and_then(|value| Mark::from_bytes(&value)) else {
            if journal::path(&self.path).exists() {
                return Err(StoreError::Damaged("its journal is not known to it".into()));
            }
            return Ok(());
        };
        (self.mark, self.next) = (Some(mark), mark.from);
        let Some(found) = Found::read(&self.path, &mark).map_err(io_error)? else { return Ok(()) };
        self.next = found.next;
        for octets in found.batches() {
            self.keep(octets)?;
        }
        findings.commits_missing = found.missing;
        if found.is_strange {
            findings.strange = Some(self.set_journal_aside(STRANGE).map_err(io_error)?);
        } else if found.missing > 0 {
            self.flush()?;
            findings.damaged = Some((self.set_journal_aside(DAMAGED).map_err(io_error)?, found.missing_at));
        } else {
            // Not flushed: on a full disk sled might have no room for it.
            self.journal = Some(Journal::open(&self.path, &found).map_err(io_error)?);
        }
        Ok(())
    }

    /// Gives the journal another name.
    fn set_journal_aside(&self, name: &str) -> io::Result<PathBuf> {
        let aside = self.path.join(name);
        fs::rename(journal::path(&self.path), &aside)?;
        sync_directory(&self.path)?;
        Ok(aside)
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

    /// Applies a batch; it is durable after [`Database::flush`], and after a crash all that was applied since the last one is
    /// there or nothing.
    ///
    /// # Errors
    /// When sled fails; from then on nothing more is written.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.keep(batch.octets())?;
        self.alone.extend(batch::changes(batch.octets()).flatten().map(|(key, _)| key.into()));
        Ok(())
    }

    /// Makes everything applied durable: sled's flush, which ends in `fdatasync` by guard G1.
    ///
    /// # Errors
    /// When sled fails; from then on nothing more is written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.pass_on()?;
        self.write(flush)?;
        if let Some(journal) = &mut self.journal {
            journal.rewind();
        }
        Ok(())
    }

    /// Applies a batch, durably: all of it or nothing is there after a crash.
    ///
    /// # Errors
    /// When neither the journal nor sled takes it; from then on nothing more is written.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.failed {
            return Err(StoreError::Closed);
        }
        self.calm = self.calm.saturating_add(1);
        if self.rest > 0 {
            self.rest -= 1;
        } else if self.write_journal(batch)? {
            return self.keep(batch.octets());
        }
        self.apply(batch)?;
        self.flush()
    }

    /// Writes a batch to the journal; `false` when that takes none.
    fn write_journal(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        let octets = batch.octets();
        let mark = match self.mark {
            Some(mark) => mark,
            None => self.begin_journal()?,
        };
        if self.journal.as_ref().is_some_and(|journal| journal.is_full_for(octets.len(), self.journal_bytes)) {
            self.flush()?;
        }
        let number = self.next;
        // Should it fail, the frame may be there all the same, and must not count.
        self.next += 1;
        let written = match self.journal.take() {
            Some(journal) => Ok(journal),
            None => Journal::create(&self.path),
        };
        let written = written.and_then(|journal| {
            let journal = self.journal.insert(journal);
            journal.append(&mark, number, octets)
        });
        let Err(error) = written else { return Ok(true) };
        // Without room to grow it begins again behind the flush; what failed otherwise is not trusted any more.
        if self.journal.take_if(|journal| journal.has_failed()).is_some() || !is_no_space(&error) {
            self.rest = if self.calm >= JOURNAL_REST { 0 } else { JOURNAL_REST };
            self.calm = 0;
            let file = journal::path(&self.path);
            self.journal_failure = Some(io::Error::new(error.kind(), format!("{}: {error}", file.display())));
        }
        Ok(false)
    }

    /// States in the database that there is a journal, before there is one.
    fn begin_journal(&mut self) -> Result<Mark, StoreError> {
        let tag = random::secret().map_err(StoreError::Io)?;
        let mark = Mark { from: self.next, tag };
        self.mark = Some(mark);
        self.flush()?;
        Ok(mark)
    }

    /// Why a commit did not go through the journal, if that was not asked before.
    pub fn take_journal_failure(&mut self) -> Option<io::Error> {
        self.journal_failure.take()
    }

    /// Flushes what is in the journal alone: no more commits come. The file stays: should the end of sled's log be damaged,
    /// it is there a second time.
    ///
    /// # Errors
    /// When the flush fails.
    pub fn end_journal(&mut self) -> Result<(), StoreError> {
        if self.journal.take().is_some() { self.flush() } else { Ok(()) }
    }

    /// Takes the changes of a batch, for the next flush.
    fn keep(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let db = self.db.as_ref().filter(|_| !self.failed).ok_or(StoreError::Closed)?;
        let overlay = &mut self.overlay;
        let result = guarded(|| {
            for (key, value) in batch::changes(octets).flatten() {
                overlay.set(key, value, || db.contains_key(key))?;
            }
            Ok(())
        });
        self.failed |= result.is_err();
        result
    }

    /// Gives sled what it does not have: first what the journal has too, then at once what it has not, and that its frames
    /// do not count any more. sled has the second part only where it has the first.
    fn pass_on(&mut self) -> Result<(), StoreError> {
        let (overlay, alone) = (std::mem::take(&mut self.overlay), std::mem::take(&mut self.alone));
        let mark = self.mark.map(|mark| Mark { from: self.next, ..mark });
        let result = self.write(|db| {
            let mut whole = sled::Batch::default();
            for (key, value) in overlay.changes() {
                match value {
                    Some(value) if alone.contains(key) => whole.insert(key, value),
                    None if alone.contains(key) => whole.remove(key),
                    Some(value) => drop(db.insert(key, value)?),
                    None => drop(db.remove(key)?),
                }
            }
            if let Some(mark) = mark {
                whole.insert(JOURNAL_KEY, &mark.to_bytes());
            }
            db.apply_batch(whole)
        });
        match result {
            Ok(()) => self.mark = mark,
            // It is read on from here.
            Err(_) => self.overlay = overlay,
        }
        result
    }

    fn write(&mut self, act: impl FnOnce(&sled::Db) -> sled::Result<()>) -> Result<(), StoreError> {
        let db = self.db.as_ref().filter(|_| !self.failed).ok_or(StoreError::Closed)?;
        let result = guarded(|| act(db));
        if result.is_err() {
            self.failed = true;
            self.forget_pages();
        }
        result
    }

    /// After a sync that failed, what is read when the database is opened again has to come from the disk.
    fn forget_pages(&self) {
        [self.path.join("db"), journal::path(&self.path)].iter().for_each(|file| forget_pages(file));
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        match self.overlay.get(key) {
            Some(value) => Ok(value),
            None => guarded(|| db.get(key)),
        }
    }

    /// The last key of a range.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Option<Pair>, StoreError> {
        let db = self.db.as_ref().ok_or(StoreError::Closed)?;
        let ends = ends(&range);
        guarded(|| self.overlay.merge_back(ends, db.range::<&[u8], _>(ends).rev()).next().transpose())
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
        let ends = ends(&range);
        guarded(|| {
            for pair in self.overlay.merge(ends, db.range::<&[u8], _>(ends)).take(max) {
                read.push(pair?);
            }
            Ok(())
        })
    }

    /// Whether a write failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Octets of sled's file, and those that it is to get.
    pub fn file_bytes(&self) -> u64 {
        fs::metadata(self.path.join("db")).map_or(0, |data| data.len()) + self.overlay.octets()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled flushes when it is dropped, and then nobody could wake it.
        if let Some(db) = &db
            && !self.failed
        {
            let _failed = guarded(|| flush(db));
        }
        drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
        if self.failed {
            self.forget_pages();
        }
    }
}

fn ends<'k, K: AsRef<[u8]> + 'k>(range: &'k impl RangeBounds<K>) -> Ends<'k> {
    (range.start_bound().map(AsRef::as_ref), range.end_bound().map(AsRef::as_ref))
}

/// sled's flush, with G7.
fn flush(db: &sled::Db) -> sled::Result<()> {
    flush_woken(waker::FIRST, || db.flush()).map(drop)
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

/// Commits that a journal should take before it fails again: else so many are flushed before another one is made.
const JOURNAL_REST: u32 = 1024;

const PANIC_TEXT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;
