//! Limits and the alarm state.

use std::time::Duration;

use super::settings::Settings;

/// A reason for the alarm state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// `records_max` is reached.
    Records,
    /// `bytes_max` is reached.
    Bytes,
    /// The oldest waiting record is older than `age_max`.
    Age,
    /// The file system has less than `free_min` left.
    Disk,
    /// The last commit took longer than `commit_wait_max`, or one runs for so long.
    Slow,
    /// The last commit failed and no new spool could be made.
    Store,
    /// Producers found no room for a commit.
    Backlog,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Records, Self::Bytes, Self::Age, Self::Disk, Self::Slow, Self::Store, Self::Backlog];

    /// Short lower-case name, for metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Disk => "disk",
            Self::Slow => "slow",
            Self::Store => "store",
            Self::Backlog => "backlog",
        }
    }
}

/// Reasons for the alarm state; none outside it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Troubles(u32);

impl Troubles {
    /// From [`Troubles::bits`].
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As one number, bit n for the n-th of [`Trouble::ALL`].
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `trouble` is one of them.
    #[must_use]
    pub const fn has(self, trouble: Trouble) -> bool {
        self.0 & 1 << trouble as u32 != 0
    }

    /// These and `trouble`.
    #[must_use]
    pub const fn with(self, trouble: Trouble) -> Self {
        Self(self.0 | 1 << trouble as u32)
    }

    /// These without `trouble`.
    #[must_use]
    pub const fn without(self, trouble: Trouble) -> Self {
        Self(self.0 & !(1 << trouble as u32))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Trouble> {
        Trouble::ALL.into_iter().filter(move |trouble| self.has(*trouble))
    }
}

/// What the limits are held against.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Records waiting for the sink that has most.
    pub records: u64,
    /// Octets of waiting bodies.
    pub bytes: u64,
    /// Age of the oldest waiting record.
    pub age: Duration,
    /// Free octets of the file system.
    pub free: u64,
}

/// How near the limits a load is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Limits reached: the alarm state.
    pub troubles: Troubles,
    /// Limits of which 80 % are reached.
    pub near: Troubles,
    /// Whether appending fails: the margin kept for calls in progress is used up too.
    pub full: bool,
}

/// Holds `load` against the limits.
///
/// At a limit new calls are refused or served without a promise, but records of calls in progress are still stored, up
/// to 9/8 of `records_max` and `bytes_max` and down to a quarter of `free_min`.
pub fn judge(settings: &Settings, load: Load) -> Verdict {
    let mut verdict = Verdict::default();
    let mut hold = |trouble, value: u64, max: u64| {
        if value >= max {
            verdict.troubles = verdict.troubles.with(trouble);
        } else if value >= max / 5 * 4 {
            verdict.near = verdict.near.with(trouble);
        }
    };
    hold(Trouble::Records, load.records, settings.records_max);
    hold(Trouble::Bytes, load.bytes, settings.bytes_max);
    if !settings.age_max.is_zero() {
        hold(Trouble::Age, load.age.as_secs(), settings.age_max.as_secs());
    }
    if load.free < settings.free_min {
        verdict.troubles = verdict.troubles.with(Trouble::Disk);
    } else if load.free < settings.free_min / 4 * 5 {
        verdict.near = verdict.near.with(Trouble::Disk);
    }
    verdict.full = load.records >= margin(settings.records_max)
        || load.bytes >= margin(settings.bytes_max)
        || load.free < settings.free_min / 4;
    verdict
}

fn margin(max: u64) -> u64 {
    max.saturating_add(max / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_warn_then_alarm_then_refuse() {
        let settings = Settings {
            records_max: 1000,
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(100),
            free_min: 4000,
            ..Settings::default()
        };
        let idle = Load { free: 1 << 40, ..Load::default() };
        for (name, load, near, troubles, full) in [
            ("idle", idle, None, None, false),
            ("80 % of the records", Load { records: 800, ..idle }, Some(Trouble::Records), None, false),
            ("all records", Load { records: 1000, ..idle }, None, Some(Trouble::Records), false),
            ("the margin too", Load { records: 1125, ..idle }, None, Some(Trouble::Records), true),
            ("all octets", Load { bytes: 1 << 20, ..idle }, None, Some(Trouble::Bytes), false),
            ("too old", Load { age: Duration::from_secs(100), ..idle }, None, Some(Trouble::Age), false),
            ("disk near its limit", Load { free: 4500, ..idle }, Some(Trouble::Disk), None, false),
            ("disk under its limit", Load { free: 3999, ..idle }, None, Some(Trouble::Disk), false),
            ("disk nearly full", Load { free: 999, ..idle }, None, Some(Trouble::Disk), true),
        ] {
            let set = |one: Option<Trouble>| one.map_or(Troubles::default(), |one| Troubles::default().with(one));
            assert_eq!(judge(&settings, load), Verdict { troubles: set(troubles), near: set(near), full }, "{name}");
        }
    }
}
