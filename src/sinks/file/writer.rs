//! The file that is written, and those that are finished: what is done to them, with the time as an input.
//!
//! Lines are added to the *open* file, `calls.csv`. When its period is over, or it would grow beyond its size, it is renamed
//! to `calls-TIME-NUMBER.csv` and so *finished*: nothing is ever added to it, and no such name is ever taken twice. A new
//! open file begins with the next line.
//!
//! Whatever ends this process, the last line of the open file may be torn. It was not acknowledged, so its record comes
//! again: the next opening cuts it off. The same after a full disk, at once. No other line is ever touched.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Timestamp;

/// When lines are forced to the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// Before their records are settled.
    #[default]
    Batch,
    /// Every so often: a power cut loses what was acknowledged since.
    Interval,
    /// When the kernel likes.
    Never,
}

/// Whether lines name their records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Identity {
    /// They do: a line that is there already is a repeat.
    Unique,
    /// Equal lines may be of two records.
    #[default]
    None,
}

/// Where and how a file is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The open file.
    pub path: PathBuf,
    /// Length of a period, which begins at a multiple of it in UTC; zero: the time ends no file. Default 1 h.
    pub rotate: Duration,
    /// Octets of a file at most, unless one batch has more. Default 256 MiB.
    pub octets_max: u64,
    /// Default: before records are settled.
    pub sync: Sync,
    /// Between two times with [`Sync::Interval`]. Default 1 s.
    pub sync_interval: Duration,
    /// Permissions. Default 0640.
    pub mode: u32,
    /// First line of each file, which may be empty. `None`: without one nobody knows which columns a file has, so that each
    /// opening begins a new one.
    pub header: Option<Vec<u8>>,
    /// Whether lines name their records. Default: they do not.
    pub identity: Identity,
}

/// What went wrong, and what became of the lines.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing of them is in the file.
    #[error("cannot {what} `{}`", path.display())]
    Nothing {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else writes there.
    #[error("`{}` is written by another sink or another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// They may be in the file, or some of them.
    #[error("cannot {what} `{}`, which may have the lines", path.display())]
    Unknown {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What an operator should hear of a file that was opened or finished.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// A file was finished under this name.
    Finished(PathBuf),
    /// So many octets of a torn line were cut off.
    Cut(u64),
}

/// The writer of one file.
#[derive(Debug)]
pub struct Writer {
    settings: Settings,
    open: Option<Open>,
    told: Vec<Told>,
}

/// The open file.
#[derive(Debug)]
struct Open {
    file: File,
    /// Its whole lines.
    octets: u64,
    /// When it was written last.
    written: Timestamp,
    /// Since when there are lines that were not forced to the disk.
    unsynced: Option<Timestamp>,
}

impl Writer {
    /// A writer that has opened nothing yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, open: None, told: Vec::new() }
    }

    /// What happened since it was asked last.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Adds whole lines: all of them, or none. Those that are `doubtful` may be there already, near the end of the open
    /// file: then they are left out, if a line names its record.
    ///
    /// # Errors
    /// What failed; [`WriteError::Unknown`] alone leaves open what is in the file.
    pub fn write(&mut self, now: Timestamp, lines: &[u8], doubtful: &[u8]) -> Result<(), WriteError> {
        self.tick(now)?;
        let mut open = self.take_open(now)?;
        let doubtful = match self.settings.identity {
            Identity::Unique if !doubtful.is_empty() && open.octets > 0 => {
                missing(&open, doubtful).map_err(|source| self.nothing("read", source))?
            }
            Identity::Unique | Identity::None => doubtful.to_vec(),
        };
        let length = (lines.len() + doubtful.len()) as u64;
        if open.octets > 0 && open.octets + length > self.settings.octets_max {
            self.finish(open, now)?;
            open = self.take_open(now)?;
        }
        let header = self.settings.header.as_deref().filter(|_| open.octets == 0).unwrap_or_default();
        let parts = [header, &doubtful, lines];
        if let Err(source) = parts.iter().try_for_each(|part| open.file.write_all(part)) {
            // What it did not take whole it must not have at all.
            return Err(match open.file.set_len(open.octets) {
                Ok(()) => self.nothing("write to", source),
                Err(_) => self.unknown("write to", source),
            });
        }
        if self.settings.sync == Sync::Batch
            && let Err(source) = open.file.sync_data()
        {
            // Nobody knows what such a file holds from here on: it is opened anew.
            return Err(self.unknown("force to the disk", source));
        }
        open.octets += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        open.written = now;
        if self.settings.sync == Sync::Interval {
            open.unsynced.get_or_insert(now);
        }
        match open.file.metadata() {
            Ok(data) if data.nlink() > 0 => {
                self.open = Some(open);
                Ok(())
            }
            Ok(_) => Err(self.nothing("write to", io::Error::other("it was deleted meanwhile"))),
            Err(source) => Err(self.unknown("look at", source)),
        }
    }

    /// Does what is due: finishes a file whose period is over, forces lines to the disk.
    ///
    /// # Errors
    /// What failed; the lines written before are in a file.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), WriteError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if self.settings.is_over(open.written, now) {
            return self.finish(open, now);
        }
        if open.unsynced.is_some_and(|since| now.since(since) >= self.settings.sync_interval) {
            open.unsynced = None;
            open.file.sync_data().map_err(|source| self.unknown("force to the disk", source))?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// How long nothing is due; `None`: for ever.
    #[must_use]
    pub fn rest(&self, now: Timestamp) -> Option<Duration> {
        let open = self.open.as_ref()?;
        let sync = open.unsynced.map(|since| self.settings.sync_interval.saturating_sub(now.since(since)));
        let end = self.settings.end_of_period(open.written).map(|end| end.since(now));
        sync.into_iter().chain(end).min()
    }

    /// Forces all lines to the disk, as far as they are forced at all, and lets the file go.
    ///
    /// # Errors
    /// When that failed.
    pub fn close(&mut self) -> Result<(), WriteError> {
        match self.open.take() {
            Some(Open { file, unsynced: Some(_), .. }) => {
                file.sync_data().map_err(|source| self.unknown("force to the disk", source))
            }
            _ => Ok(()),
        }
    }

    /// Whether lines could be written: a file beside the open one is, and is deleted.
    ///
    /// # Errors
    /// Why not.
    pub fn rehearse(&self, lines: &[u8]) -> Result<(), WriteError> {
        let path = self.settings.beside(&format!(".trial-{}", std::process::id()));
        let fails = |what: &'static str| {
            let path = path.clone();
            move |source| WriteError::Nothing { what, path, source }
        };
        let mut file = File::create(&path).map_err(fails("create"))?;
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        let removed = fs::remove_file(&path);
        written.map_err(fails("write to"))?;
        removed.map_err(fails("delete"))
    }

    /// The open file, opened if it is not, or if it is another one than before: others may have moved or deleted it.
    fn take_open(&mut self, now: Timestamp) -> Result<Open, WriteError> {
        if let Some(open) = self.open.take() {
            let is_same = |data: &fs::Metadata, own: &fs::Metadata| (data.dev(), data.ino()) == (own.dev(), own.ino());
            let there = fs::symlink_metadata(&self.settings.path).ok().zip(open.file.metadata().ok());
            if there.is_some_and(|(data, own)| is_same(&data, &own)) {
                return Ok(open);
            }
            if open.unsynced.is_some() {
                open.file.sync_data().map_err(|source| self.unknown("force to the disk", source))?;
            }
        }
        let open = self.open_file()?;
        // A file of another shape, or of a period that is over.
        if open.octets > 0 && (!self.has_header(&open)? || self.settings.is_over(open.written, now)) {
            self.finish(open, now)?;
            return self.open_file();
        }
        Ok(open)
    }

    fn open_file(&mut self) -> Result<Open, WriteError> {
        let path = &self.settings.path;
        let there = fs::symlink_metadata(path);
        if there.as_ref().is_ok_and(|data| !data.is_file()) {
            return Err(self.nothing("write to", io::Error::other("it is no regular file")));
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(self.settings.mode);
        let file = options.open(path).map_err(|source| self.nothing("open", source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WriteError::Locked { path: path.clone() }),
            Err(TryLockError::Error(source)) => return Err(self.nothing("lock", source)),
        }
        let data = file.metadata().map_err(|source| self.nothing("look at", source))?;
        if there.is_err() {
            // The process's umask has its say at the creation, not here.
            file.set_permissions(Permissions::from_mode(self.settings.mode))
                .map_err(|source| self.nothing("set the permissions of", source))?;
            self.sync_folder();
        }
        let whole = whole(&file, data.len()).map_err(|source| self.nothing("read", source))?;
        if whole < data.len() {
            file.set_len(whole).map_err(|source| self.nothing("cut a torn line off", source))?;
            self.told.push(Told::Cut(data.len() - whole));
        }
        let written = Timestamp(data.mtime().saturating_mul(1_000_000) + data.mtime_nsec() / 1000);
        Ok(Open { file, octets: whole, written, unsynced: None })
    }

    /// Whether the file begins as ours do. One without a header could have any columns: it is not gone on with.
    fn has_header(&self, open: &Open) -> Result<bool, WriteError> {
        let Some(header) = &self.settings.header else { return Ok(false) };
        let mut begin = vec![0; header.len()];
        match open.file.read_exact_at(&mut begin, 0) {
            Ok(()) => Ok(begin == *header),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(self.nothing("read", source)),
        }
    }

    /// Gives a file its last name, all of it on the disk.
    fn finish(&mut self, open: Open, now: Timestamp) -> Result<(), WriteError> {
        if self.settings.sync != Sync::Never {
            open.file.sync_all().map_err(|source| self.unknown("force to the disk", source))?;
        }
        let path = &self.settings.path;
        let time = compact(now);
        // The lock is held: nobody else gives such names here.
        let free = (1..=NUMBERS_MAX).map(|number| self.settings.beside(&format!("-{time}-{number:04}")));
        let name = free.into_iter().find(|name| fs::symlink_metadata(name).is_err());
        let name = name.ok_or_else(|| self.nothing("find a name for", io::ErrorKind::AlreadyExists.into()))?;
        fs::rename(path, &name).map_err(|source| self.nothing("rename", source))?;
        self.sync_folder();
        self.told.push(Told::Finished(name));
        Ok(())
    }

    /// Names are on the disk too, as far as the file system can do that.
    fn sync_folder(&self) {
        let folder = self.settings.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        let _best_effort = folder.and_then(|folder| folder.sync_all());
    }

    fn nothing(&self, what: &'static str, source: io::Error) -> WriteError {
        WriteError::Nothing { what, path: self.settings.path.clone(), source }
    }

    fn unknown(&self, what: &'static str, source: io::Error) -> WriteError {
        WriteError::Unknown { what, path: self.settings.path.clone(), source }
    }
}

impl Settings {
    /// Those of a file under `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            rotate: Duration::from_secs(3600),
            octets_max: 256 << 20,
            sync: Sync::Batch,
            sync_interval: Duration::from_secs(1),
            mode: 0o640,
            header: None,
            identity: Identity::None,
        }
    }

    /// `calls`, the middle, and `.csv` in the same folder.
    fn beside(&self, middle: &str) -> PathBuf {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = match part(self.path.extension()) {
            none if none.is_empty() => none,
            some => format!(".{some}"),
        };
        self.path.with_file_name(format!("{}{middle}{extension}", part(self.path.file_stem())))
    }

    /// When the period ends in which something was written.
    fn end_of_period(&self, written: Timestamp) -> Option<Timestamp> {
        let period = i64::try_from(self.rotate.as_micros()).ok().filter(|period| *period > 0)?;
        Some(Timestamp((written.0.div_euclid(period) + 1).saturating_mul(period)))
    }

    fn is_over(&self, written: Timestamp, now: Timestamp) -> bool {
        self.end_of_period(written).is_some_and(|end| now >= end)
    }
}

/// Octets up to the end of the last whole line.
fn whole(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut piece = vec![0; 64 << 10];
    while end > 0 {
        let begin = end.saturating_sub(piece.len() as u64);
        let part = &mut piece[..usize::try_from(end - begin).unwrap_or(0)];
        file.read_exact_at(part, begin)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Those of the lines that do not stand near the end of the file.
fn missing(open: &Open, lines: &[u8]) -> io::Result<Vec<u8>> {
    let begin = open.octets.saturating_sub(REPEATS_OCTETS);
    let mut end = vec![0; usize::try_from(open.octets - begin).unwrap_or(0)];
    open.file.read_exact_at(&mut end, begin)?;
    let there: HashSet<&[u8]> = end.split_inclusive(|octet| *octet == b'\n').collect();
    Ok(lines.split_inclusive(|octet| *octet == b'\n').filter(|line| !there.contains(line)).flatten().copied().collect())
}

/// Octets at the end of a file in which repeats are looked for: two batches.
const REPEATS_OCTETS: u64 = 2 << 20;

/// `20261128T180000Z`
fn compact(at: Timestamp) -> String {
    at.to_string().split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z"
}

/// Files that can be finished in one second.
const NUMBERS_MAX: u32 = 9_999;
