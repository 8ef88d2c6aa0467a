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
    /// The last commit took longer than `refuse_after`, or one runs for so long.
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
    /// Octets that the reserve file holds besides.
    pub reserve: u64,
    /// Octets of the reserve that was spent and is not there again: so much must be free before new calls come.
    pub spent: u64,
    /// Calls in progress: each of them still has an end to be recorded.
    pub calls: u64,
}

/// Where the alarm state begins as things stand: the settings, less the room that the ends of the calls in progress need.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Records waiting for one sink.
    pub records: u64,
    /// Octets of waiting bodies.
    pub bytes: u64,
    /// Age of the oldest waiting record; zero for none.
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
}

/// The limits for new calls while `load.calls` are in progress.
///
/// A record that waits for want of a limit would be lost, so no limit ever refuses one: it refuses new calls early enough
/// that the ends of those in progress still fit under it. At most half of a limit is set aside for them.
pub fn limits(settings: &Settings, load: Load) -> Limits {
    let ends = load.calls.saturating_mul(END_BYTES);
    Limits {
        records: settings.records_max - load.calls.min(settings.records_max / 2),
        bytes: settings.bytes_max - ends.min(settings.bytes_max / 2),
        age: settings.age_max,
        free: settings.free_min.max(ends.saturating_sub(load.reserve)).max(load.spent),
    }
}

/// Holds `load` against the limits.
pub fn judge(settings: &Settings, load: Load) -> Verdict {
    let mut verdict = Verdict::default();
    let limits = limits(settings, load);
    let mut hold = |trouble, value: u64, max: u64| {
        if value >= max {
            verdict.troubles = verdict.troubles.with(trouble);
        } else if value >= max / 5 * 4 {
            verdict.near = verdict.near.with(trouble);
        }
    };
    hold(Trouble::Records, load.records, limits.records);
    hold(Trouble::Bytes, load.bytes, limits.bytes);
    if !limits.age.is_zero() {
        hold(Trouble::Age, load.age.as_secs(), limits.age.as_secs());
    }
    if load.free < limits.free {
        verdict.troubles = verdict.troubles.with(Trouble::Disk);
    } else if load.free < limits.free / 4 * 5 {
        verdict.near = verdict.near.with(Trouble::Disk);
    }
    verdict
}

/// The size of the reserve file: as configured, more when the ends of the calls in progress need more; none where none is
/// configured.
pub fn reserve_wanted(settings: &Settings, calls: u64) -> u64 {
    if settings.reserve_bytes == 0 {
        return 0;
    }
    let ends = calls.saturating_mul(END_BYTES).saturating_add(SPOOL_BYTES_LEAST);
    // In steps, so that it is not made anew with every call.
    settings.reserve_bytes.max(ends.next_multiple_of(RESERVE_STEP_BYTES))
}

/// Disk space set aside for the end of one call: its records, the removal of its state, what sled adds to both.
pub const END_BYTES: u64 = 4 << 10;

/// What a new spool takes before the first record.
const SPOOL_BYTES_LEAST: u64 = 4 << 20;

/// The reserve grows in steps of this.
const RESERVE_STEP_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_warn_then_alarm_and_leave_room_for_the_ends_of_calls() {
        let settings = Settings {
            records_max: 1000,
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(100),
            free_min: 4000,
            ..Settings::default()
        };
        let idle = Load { free: 1 << 40, ..Load::default() };
        for (name, load, near, troubles) in [
            ("idle", idle, None, None),
            ("80 % of the records", Load { records: 800, ..idle }, Some(Trouble::Records), None),
            ("all records", Load { records: 1000, ..idle }, None, Some(Trouble::Records)),
            (
                "the ends of 100 calls fit in just so",
                Load { records: 899, calls: 100, ..idle },
                Some(Trouble::Records),
                None,
            ),
            ("they do not", Load { records: 900, calls: 100, ..idle }, None, Some(Trouble::Records)),
            ("calls alone raise no alarm", Load { calls: 100_000, ..idle }, None, None),
            ("all octets", Load { bytes: 1 << 20, ..idle }, None, Some(Trouble::Bytes)),
            ("half is the most set aside", Load { bytes: 1 << 19, calls: 9999, ..idle }, None, Some(Trouble::Bytes)),
            ("too old", Load { age: Duration::from_secs(100), ..idle }, None, Some(Trouble::Age)),
            ("disk near its limit", Load { free: 4500, ..idle }, Some(Trouble::Disk), None),
            ("disk under its limit", Load { free: 3999, ..idle }, None, Some(Trouble::Disk)),
            ("100 ends do not fit on the disk", Load { free: 409_599, calls: 100, ..idle }, None, Some(Trouble::Disk)),
            ("they fit into the reserve", Load { free: 9999, calls: 100, reserve: 1 << 20, ..idle }, None, None),
        ] {
            let set = |one: Option<Trouble>| one.map_or(Troubles::default(), |one| Troubles::default().with(one));
            let mut verdict = judge(&settings, load);
            if load.calls == 9999 || load.calls == 100_000 {
                // So many do not fit on a disk of this size either, or nearly.
                verdict.near = verdict.near.without(Trouble::Disk);
            }
            assert_eq!(verdict, Verdict { troubles: set(troubles), near: set(near) }, "{name}");
        }
    }

    #[test]
    fn the_reserve_grows_with_the_calls_in_steps() {
        let settings = Settings { reserve_bytes: 64 << 20, ..Settings::default() };
        for (calls, mib) in [(0, 64), (15_000, 64), (16_000, 80), (16_100, 80), (200_000, 800)] {
            assert_eq!(reserve_wanted(&settings, calls) >> 20, mib, "{calls} calls");
        }
        assert_eq!(reserve_wanted(&Settings { reserve_bytes: 0, ..settings }, 9999), 0, "none is wished for");
    }
}
