//! What can go wrong with the queue.

use std::io;
use std::path::PathBuf;

/// The queue could not be opened. Nothing that was there is lost by this.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the queue.
    #[error("another instance{} uses the queue in {}", owner(*pid), path.display())]
    Locked {
        /// Directory of the queue.
        path: PathBuf,
        /// The other process, if its lock file says so.
        pid: Option<u32>,
    },
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database could not be opened or written, for a reason other than damage.
    #[error("cannot open the database in {}", path.display())]
    Database {
        /// Its directory.
        path: PathBuf,
        /// Why it failed.
        source: StoreError,
    },
    /// The files come from a newer release. Nothing was changed.
    #[error("the queue in {} has schema {found}, this release knows {known}", path.display())]
    Newer {
        /// Directory of the spool.
        path: PathBuf,
        /// What its files say.
        found: u32,
        /// The newest this release reads.
        known: u32,
    },
    /// A flush did not come through the function that syncs: records would not survive a power cut (guard G1).
    #[error("a flush of sled does not reach fdatasync in this build")]
    FlushUnproven,
    /// More sinks than a queue can tell apart.
    #[error("more than 64 sinks, counting those that still have records waiting")]
    TooManySinks,
    /// The thread could not be started.
    #[error("cannot start the queue thread")]
    Thread {
        /// Why it failed.
        source: io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("another process has the database open")]
    Locked,
    /// No space was left.
    #[error("the disk is full")]
    NoSpace(#[source] io::Error),
    /// Another error of the file system.
    #[error("file system error")]
    Io(#[source] io::Error),
    /// The files are damaged, or sled took them for damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It failed before and takes no more writes.
    #[error("closed after an earlier failure")]
    Closed,
}

impl StoreError {
    /// Whether the files must be set aside.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Locked | Self::NoSpace(_) | Self::Io(_) | Self::Closed => false,
        }
    }
}

/// An error of the file system as one of the store.
pub fn io_error(error: io::Error) -> StoreError {
    if is_no_space(&error) { StoreError::NoSpace(error) } else { StoreError::Io(error) }
}

/// Whether there is no room: the disk is full, or what this user may have of it.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, Other, UnexpectedEof};
        match error {
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => Self::Locked,
            sled::Error::Io(error) if is_no_space(&error) => Self::NoSpace(error),
            // sled states some findings of damage as errors of these kinds; EIO is a sector that cannot be read.
            sled::Error::Io(error)
                if matches!(error.kind(), InvalidData | Other | UnexpectedEof)
                    || error.raw_os_error() == Some(libc::EIO) =>
            {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Why a commit was not stored whole. The others of the same batch are not touched by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendFailed {
    /// A body, a call's value or a call's key is over its limit; all else of the commit is stored.
    #[error("a record or call is longer than the queue stores")]
    TooLong,
    /// Neither the active spool nor a new one took it.
    #[error("the queue cannot write")]
    Store,
}
