//! Files of the queue's directory besides the databases.
//!
//! ```text
//! LOCK       flock by the process, with its pid; held before anything else is touched
//! reserve    allocated space, more with more calls in progress; given up when a write or an open fails for want of space
//! lost       counts of lost records by reason, there from the first start on, so that a full disk takes them too
//! head       16 octets: highest acknowledged place and its checksum, overwritten after each commit
//! clean      there while the queue was closed in order
//! 00000001/  a spool; with a file `preparing` in it until it takes appends, from then on with `first`, and with `journal`
//!            from the first commit on; `*.done` when emptied
//! parked/    parked records
//! damaged/   databases set aside
//! ```

#![allow(unsafe_code, reason = "the system calls flock, posix_fadvise, posix_fallocate and statvfs")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;

use super::balance::Losses;
use super::error::OpenError;

/// What the file `head` begins with, before the place and its CRC-32C.
const HEAD_MAGIC: &[u8; 4] = b"TGh1";

/// File of the counts of lost records, and what it begins with.
const LOST: &str = "lost";
const LOST_MAGIC: &[u8; 4] = b"TGl1";

/// Only the owner reads the queue: it holds who called whom.
pub const MODE: u32 = 0o600;

/// The directory of a queue, locked.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    head: Counter,
    /// The permissions its directory had, if others could enter it.
    pub mended: Option<u32>,
    _lock: File,
}

/// Permissions that let others into a directory.
pub const OTHERS: u32 = 0o007;

/// Takes others' permissions off a directory; gives those it had, if there were any.
///
/// # Errors
/// When they cannot be taken off.
fn shut(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    Ok(Some(mode))
}

impl Place {
    /// Creates the directory if need be and locks it.
    ///
    /// # Errors
    /// When it cannot be created, written or locked.
    pub fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(failed("create", path))?;
            fs::set_permissions(path, PermissionsExt::from_mode(0o700)).map_err(failed("protect", path))?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_directory(parent).map_err(failed("sync", parent))?;
            }
        }
        let mended = shut(path).map_err(failed("keep others out of", path))?;
        let lock_path = path.join("LOCK");
        let is_new = !lock_path.exists();
        let mut lock = open(&lock_path).map_err(failed("open", &lock_path))?;
        // SAFETY: the descriptor is open for as long as `lock` lives.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(failed("lock", &lock_path)(error));
            }
            let mut text = String::new();
            let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { path: path.to_owned(), pid });
        }
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        // A full disk must not keep the service from starting: the lock holds without the number.
        drop(written);
        let head_path = path.join("head");
        let head = Counter::open(&head_path).map_err(failed("open", &head_path))?;
        let place = Self { path: path.to_owned(), head, mended, _lock: lock };
        if is_new && place.has_databases_in_use().map_err(failed("read", path))? {
            // Whoever has them lost its lock file to somebody's hands.
            drop(fs::remove_file(&lock_path));
            return Err(OpenError::Locked { path: path.to_owned(), pid: None });
        }
        Ok(place)
    }

    /// Whether another process has one of the databases open.
    fn has_databases_in_use(&self) -> io::Result<bool> {
        let is_used = |number: &u32| {
            let file = File::open(self.spool(*number).join("db"));
            file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
        };
        Ok(self.spools()?.iter().any(is_used))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process that holds the lock of the queue in `path`; `None` when nobody does.
    pub fn owner(path: &Path) -> Option<u32> {
        let mut lock = File::open(path.join("LOCK")).ok()?;
        // SAFETY: the descriptor is open for as long as `lock` lives.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) } == 0 {
            return None;
        }
        let mut text = String::new();
        lock.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// The highest acknowledged place.
    pub fn head(&self) -> &Counter {
        &self.head
    }

    /// Whether the queue was closed in order; from now on it counts as not.
    ///
    /// # Errors
    /// When the mark cannot be removed for sure: the next start would trust it wrongly.
    pub fn take_clean(&self) -> Result<bool, OpenError> {
        let mark = self.path.join("clean");
        let clean = match fs::remove_file(&mark) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(OpenError::Io { action: "remove", path: mark, source }),
        };
        if clean {
            sync_directory(&self.path).map_err(|source| OpenError::Io { action: "sync", path: mark, source })?;
        }
        Ok(clean)
    }

    /// States that the queue was closed in order.
    ///
    /// # Errors
    /// When the mark cannot be written; the next start then looks closely, nothing else.
    pub fn put_clean(&self) -> io::Result<()> {
        open(&self.path.join("clean"))?.sync_all()?;
        sync_directory(&self.path)
    }

    /// Allocates the reserve up to this size unless it is there; what it has beyond that stays.
    ///
    /// # Errors
    /// When there is no room for it. What it had before it still has.
    pub fn keep_reserve(&self, bytes: u64) -> io::Result<()> {
        let before = self.reserve_bytes();
        if before >= bytes {
            return Ok(());
        }
        let file = open(&self.path.join("reserve"))?;
        let offset = |bytes| libc::off_t::try_from(bytes).unwrap_or(libc::off_t::MAX);
        // SAFETY: the descriptor is open for as long as `file` lives.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset(before), offset(bytes - before)) } {
            0 => Ok(()),
            code => {
                // A part that has a length but no room would be taken for a reserve.
                drop(file.set_len(before));
                Err(io::Error::from_raw_os_error(code))
            }
        }
    }

    /// Octets of the reserve.
    pub fn reserve_bytes(&self) -> u64 {
        fs::metadata(self.path.join("reserve")).map_or(0, |data| data.len())
    }

    /// The counts of lost records, as far as they can be read.
    pub fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        let Ok(bytes) = fs::read(self.path.join(LOST)) else { return losses };
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return losses };
        if !body.starts_with(LOST_MAGIC) || crc32c::crc32c(body).to_be_bytes() != *sum {
            return losses;
        }
        for (count, bytes) in losses.0.iter_mut().zip(body[LOST_MAGIC.len()..].chunks_exact(8)) {
            *count = bytes.try_into().map_or(0, u64::from_be_bytes);
        }
        losses
    }

    /// Keeps the counts of lost records, over those there were: a full disk takes that too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_losses(&self, losses: &Losses) -> io::Result<()> {
        let mut bytes = LOST_MAGIC.to_vec();
        losses.0.iter().for_each(|count| bytes.extend_from_slice(&count.to_be_bytes()));
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        let file = open(&self.path.join(LOST))?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()
    }

    /// Gives the reserve up; `false` when there is none.
    pub fn give_reserve(&self) -> bool {
        fs::remove_file(self.path.join("reserve")).is_ok()
    }

    /// Directory of a spool.
    pub fn spool(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:08}"))
    }

    /// Numbers of all spools, lowest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn spools(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            numbers.extend(spool_number(&entry?.path()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes what an earlier process left half made or half removed.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let done = path.extension().is_some_and(|extension| extension == "done");
            if done || path.join("preparing").exists() {
                fs::remove_dir_all(&path)?;
            } else if spool_number(&path).is_some() {
                // Empty when the power went after its name and before the mark in it was on disk; else this fails.
                drop(fs::remove_dir(&path));
            }
        }
        sync_directory(&self.path)
    }

    /// Moves a database to `damaged/` and gives its new place.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(&self, database: &Path, when: Timestamp) -> io::Result<PathBuf> {
        let damaged = self.path.join("damaged");
        fs::create_dir_all(&damaged)?;
        let name = database.file_name().unwrap_or_default().to_string_lossy();
        let when: String = when.to_string().chars().filter(|c| *c != ':').collect();
        let mut target = damaged.join(format!("{name}.{when}"));
        let mut turn = 1;
        while target.exists() {
            turn += 1;
            target = damaged.join(format!("{name}.{when}.{turn}"));
        }
        fs::rename(database, &target)?;
        sync_directory(&damaged)?;
        sync_directory(&self.path)?;
        Ok(target)
    }

    /// All databases set aside, and whether each was salvaged.
    pub fn damaged(&self) -> Vec<(PathBuf, bool)> {
        let Ok(entries) = fs::read_dir(self.path.join("damaged")) else { return Vec::new() };
        let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        found.sort();
        found.into_iter().map(|path| (path.clone(), path.join("salvaged").exists())).collect()
    }

    /// Free octets of its file system, as [`free_bytes`] tells them.
    pub fn free_bytes(&self) -> u64 {
        free_bytes(&self.path)
    }
}

/// Has the kernel forget what it knows of a file: of what a sync did not write it shows what the disk may not have.
pub fn forget_pages(path: &Path) {
    if let Ok(file) = File::open(path) {
        // SAFETY: the descriptor is open for as long as `file` lives. It is advice: nothing depends on the answer.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

/// Free octets of a file system for an ordinary process; all there are when the kernel does not tell.
#[must_use]
pub fn free_bytes(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return u64::MAX };
    // SAFETY: all zeros is a valid statvfs.
    let mut data: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in a zero octet and `data` is a valid place for the answer.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut data) } != 0 {
        return u64::MAX;
    }
    data.f_bavail.saturating_mul(data.f_frsize)
}

/// A number in a file, written without a sync: after a power cut it is a lower bound.
#[derive(Debug)]
pub struct Counter(File);

impl Counter {
    /// Opens the file, or makes an empty one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        open(path).map(Self)
    }

    /// Writes the number.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(HEAD_MAGIC);
        bytes[4..12].copy_from_slice(&number.to_be_bytes());
        let sum = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&sum.to_be_bytes());
        self.0.write_all_at(&bytes, 0)
    }

    /// The number as the file says; 0 when it says nothing sound.
    pub fn read(&self) -> u64 {
        let mut bytes = [0; 16];
        if self.0.read_exact_at(&mut bytes, 0).is_err() || !bytes.starts_with(HEAD_MAGIC) {
            return 0;
        }
        let (number, sum) = bytes[4..].split_at(8);
        let sound = crc32c::crc32c(&bytes[..12]).to_be_bytes() == sum;
        number.try_into().ok().filter(|_| sound).map_or(0, u64::from_be_bytes)
    }
}

/// The number of the spool whose directory this is.
fn spool_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str().filter(|name| name.len() == 8)?.parse().ok()
}

/// Opens a file for reading and writing, created if need be, for the owner only.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_survives_and_a_damaged_one_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::lock(directory.path()).unwrap();
        assert_eq!(place.head().read(), 0);
        place.head().write(77).unwrap();
        place.head().write(0x1234_5678_9abc).unwrap();
        assert_eq!(place.head().read(), 0x1234_5678_9abc);
        for octet in 0..16 {
            let mut bytes = fs::read(directory.path().join("head")).unwrap();
            bytes[octet] ^= 1;
            fs::write(directory.path().join("head"), &bytes).unwrap();
            assert_eq!(place.head().read(), 0, "octet {octet} changed");
            bytes[octet] ^= 1;
            fs::write(directory.path().join("head"), &bytes).unwrap();
        }
    }

    #[test]
    fn others_are_kept_out_of_the_directory() {
        for (mode, mended, after) in [(0o755, Some(0o755), 0o700), (0o701, Some(0o701), 0o700), (0o750, None, 0o750)] {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Place::lock(directory.path()).unwrap().mended, mended, "{mode:o}");
            assert_eq!(fs::metadata(directory.path()).unwrap().mode() & 0o777, after, "{mode:o}");
        }
    }

    #[test]
    fn a_second_lock_names_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::lock(directory.path()).unwrap();
        assert_eq!(Place::owner(directory.path()), Some(std::process::id()));
        match Place::lock(directory.path()) {
            Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(place);
        assert_eq!(Place::owner(directory.path()), None);
        assert!(Place::lock(directory.path()).is_ok());
    }

    #[test]
    fn the_clean_mark_holds_for_one_start() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::lock(directory.path()).unwrap();
        assert!(!place.take_clean().unwrap());
        place.put_clean().unwrap();
        assert!(place.take_clean().unwrap());
        assert!(!place.take_clean().unwrap());
    }

    #[test]
    fn the_reserve_is_made_once_and_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::lock(directory.path()).unwrap();
        place.keep_reserve(1 << 16).unwrap();
        place.keep_reserve(1 << 16).unwrap();
        assert_eq!(fs::metadata(directory.path().join("reserve")).unwrap().len(), 1 << 16);
        assert!(place.give_reserve());
        assert!(!place.give_reserve());
    }

    #[test]
    fn half_made_and_half_removed_spools_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::lock(directory.path()).unwrap();
        for name in ["00000001", "00000002", "00000003.done", "00000004"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("00000001/db"), "").unwrap();
        fs::write(directory.path().join("00000002/preparing"), "").unwrap();
        place.sweep().unwrap();
        assert_eq!(place.spools().unwrap(), [1]);
        assert!(!directory.path().join("00000003.done").exists());
        assert!(!directory.path().join("00000004").exists(), "only a name");
    }
}
