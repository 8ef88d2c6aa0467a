//! What the operator should hear about; the service writes it to the log.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::balance::Loss;
use super::limits::Troubles;

/// How serious a notice is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Good to know.
    Info,
    /// The queue degrades or repeats.
    Warn,
    /// A person must act.
    Error,
}

/// Something worth a line in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A new spool takes the appends.
    Switched {
        /// Its number.
        spool: u32,
    },
    /// A spool was emptied and removed.
    Removed {
        /// Its number.
        spool: u32,
    },
    /// A write failed; a new spool takes the appends.
    Rescued {
        /// Number of the spool that failed.
        failed: u32,
        /// Number of the new one.
        spool: u32,
        /// What failed.
        why: String,
    },
    /// A write failed and no new spool could be made.
    Stuck {
        /// What failed.
        why: String,
    },
    /// A database was damaged and set aside.
    Damaged {
        /// Where it lies now, or where it was found when it could not be moved.
        path: PathBuf,
        /// What sled said.
        why: String,
    },
    /// The calls in progress were in a spool that was set aside: they are not known any more.
    CallsLost,
    /// A damaged snapshot was moved away; the log alone rebuilds the tree.
    SnapshotMoved {
        /// The database.
        path: PathBuf,
    },
    /// Commits in a database's journal were damaged: records are looked for, changes of calls are lost.
    JournalDamaged {
        /// The journal, where it lies now.
        path: PathBuf,
        /// Where the first of them would begin.
        octet: u64,
        /// How many commits.
        commits: u64,
    },
    /// A database's journal had commits of which none is its own: another's, or damaged beyond use.
    JournalStrange {
        /// The journal, where it lies now.
        path: PathBuf,
    },
    /// Acknowledged records were missing at opening and were found in the file.
    Recovered {
        /// How many.
        records: u64,
    },
    /// Records that had been acknowledged are gone.
    Lost {
        /// First place that is missing.
        from: u64,
        /// Last one.
        to: u64,
    },
    /// Records are lost that had not been acknowledged.
    Losing {
        /// Why.
        why: Loss,
        /// How many.
        records: u64,
    },
    /// The reserve was given up, so that a full disk takes the ends of calls.
    ReserveSpent {
        /// Octets it had.
        bytes: u64,
    },
    /// The reserve is whole again.
    ReserveKept {
        /// Octets it has.
        bytes: u64,
    },
    /// Others could enter the queue's directory; they cannot any more.
    Mended {
        /// The permissions it had.
        mode: u32,
    },
    /// A salvage ended.
    Salvaged {
        /// The damaged database.
        path: PathBuf,
        /// Records brought back; some may be repeats.
        records: u64,
        /// Records whose state was not known for sure: these may be repeats.
        doubtful: u64,
    },
    /// A salvage could not be done; it is tried again at the next start.
    SalvageFailed {
        /// The damaged database.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Records could not be read although their spool is open.
    Unreadable {
        /// Number of the spool.
        spool: u32,
        /// First place of the part skipped.
        from: u64,
        /// Why.
        why: String,
    },
    /// A commit runs for so long that the alarm state begins.
    LongCommit {
        /// So far.
        took: Duration,
        /// What the alarm state does to new calls.
        effect: String,
    },
    /// A commit took long.
    SlowCommit {
        /// How long.
        took: Duration,
    },
    /// The reasons for the alarm state changed.
    Alarm {
        /// Those there are now, each in words.
        reasons: Vec<String>,
    },
    /// 80 % of these limits are reached.
    Near {
        /// Which limits.
        limits: Troubles,
    },
    /// Records could not be parked; they are delivered again.
    ParkFailed {
        /// Why.
        why: String,
    },
    /// Another failure that the queue goes on from.
    Failed {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        why: String,
    },
}

impl Notice {
    /// How serious it is.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Switched { .. } | Self::Removed { .. } | Self::ReserveKept { .. } => Level::Info,
            Self::Recovered { .. }
            | Self::Mended { .. }
            | Self::Salvaged { .. }
            | Self::SnapshotMoved { .. }
            | Self::SlowCommit { .. }
            | Self::Near { .. }
            | Self::ParkFailed { .. }
            | Self::Failed { .. } => Level::Warn,
            Self::Alarm { reasons } if reasons.is_empty() => Level::Info,
            Self::Rescued { .. }
            | Self::Stuck { .. }
            | Self::Damaged { .. }
            | Self::CallsLost
            | Self::JournalDamaged { .. }
            | Self::JournalStrange { .. }
            | Self::Lost { .. }
            | Self::Losing { .. }
            | Self::ReserveSpent { .. }
            | Self::SalvageFailed { .. }
            | Self::Unreadable { .. }
            | Self::LongCommit { .. }
            | Self::Alarm { .. } => Level::Error,
        }
    }
}

/// One line without a full stop.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switched { spool } => write!(f, "new spool {spool}"),
            Self::Removed { spool } => write!(f, "spool {spool} is empty and removed"),
            Self::Rescued { failed, spool, why } => write!(f, "spool {failed} failed, new spool {spool}: {why}"),
            Self::Stuck { why } => write!(f, "no spool takes records: {why}"),
            Self::Damaged { path, why } => write!(f, "damaged database set aside in {}: {why}", path.display()),
            Self::CallsLost => f.write_str("the calls in progress before this start are not known any more"),
            Self::SnapshotMoved { path } => write!(f, "damaged snapshot moved away in {}", path.display()),
            Self::JournalDamaged { path, octet, commits } => write!(
                f,
                "{commits} commits are damaged from octet {octet} of {} on: their records are looked for, the calls may be \
                 out of date; check the disk, then remove the file",
                path.display()
            ),
            Self::JournalStrange { path } => write!(
                f,
                "{} was the journal here and has no commit of this database, nothing of it was taken: find out whose it \
                 is, or remove it",
                path.display()
            ),
            Self::Recovered { records } => write!(f, "{records} records of the last commit found in the file"),
            Self::Lost { from, to } => write!(f, "records {from} to {to} are lost"),
            Self::Salvaged { path, records, doubtful } => {
                write!(f, "salvaged {records} records, {doubtful} of them may be repeats, from {}", path.display())
            }
            Self::SalvageFailed { path, why } => write!(f, "cannot salvage {}: {why}", path.display()),
            Self::Unreadable { spool, from, why } => write!(f, "cannot read spool {spool} at record {from}: {why}"),
            Self::LongCommit { took, effect } => {
                write!(f, "alarm state: a commit has been running for {} ms, {effect}", took.as_millis())
            }
            Self::SlowCommit { took } => write!(f, "a commit took {} ms", took.as_millis()),
            Self::Mended { mode } => {
                write!(f, "the queue's directory had the permissions {mode:04o}: others could read it, now they cannot")
            }
            Self::Losing { why, records } => write!(f, "{records} records are lost: {}", why.text()),
            Self::ReserveSpent { bytes } => {
                write!(f, "the disk is full: the reserve of {} MiB was given up for the ends of calls", bytes >> 20)
            }
            Self::ReserveKept { bytes } => write!(f, "the reserve is whole: {} MiB", bytes >> 20),
            Self::Alarm { reasons } if reasons.is_empty() => f.write_str("the alarm state is over"),
            Self::Alarm { reasons } => write!(f, "alarm state: {}", reasons.join("; ")),
            Self::Near { limits } => {
                f.write_str("80 % reached of:")?;
                limits.iter().try_for_each(|trouble| write!(f, " {}", trouble.name()))
            }
            Self::ParkFailed { why } => write!(f, "cannot park records, they are delivered again: {why}"),
            Self::Failed { action, why } => write!(f, "cannot {action}: {why}"),
        }
    }
}
