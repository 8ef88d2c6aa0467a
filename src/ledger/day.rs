//! Days of the ledger: the day of a record is that of its name, in UTC, so that everything that becomes of it later goes
//! into the same file, also when the clock was set back meanwhile.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::ids::RecordId;

use super::row::made_at;

/// A day in UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Day(pub i32);

/// Seconds of a day; UTC without leap seconds.
const DAY_SECS: i64 = 86_400;

/// The end of a day file's name.
const SUFFIX: &str = ".ledger";

impl Day {
    /// The day of an instant.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.secs().div_euclid(DAY_SECS)).unwrap_or(i32::MAX))
    }

    /// The day of a record.
    #[must_use]
    pub fn of_record(id: RecordId) -> Self {
        Self::of(made_at(id))
    }

    /// Its first instant.
    #[must_use]
    pub const fn begin(self) -> Timestamp {
        Timestamp(self.0 as i64 * DAY_SECS * 1_000_000)
    }

    /// The first instant of the next one.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        Timestamp((self.0 as i64 + 1) * DAY_SECS * 1_000_000)
    }

    /// Its file.
    #[must_use]
    pub fn path_in(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}{SUFFIX}"))
    }

    /// The day whose file has this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::of_text(name.strip_suffix(SUFFIX)?)
    }

    /// The day that is written so.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        let begin = date.at(0, 0, 0, 0).in_tz("UTC").ok()?.timestamp();
        let day = Self::of(Timestamp(begin.as_microsecond()));
        // Other ways to write a date are not ours.
        (day.to_string() == text).then_some(day)
    }

    /// The days that have files in a folder, the oldest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all_in(folder: &Path) -> std::io::Result<Vec<Self>> {
        let mut days = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            days.extend(entry?.file_name().to_str().and_then(Self::of_name));
        }
        days.sort_unstable();
        Ok(days)
    }
}

/// As `2026-11-20`; the bare number where no calendar has it.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.begin().0) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%d")),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_file_name() {
        let day = Day::of(Timestamp(1_796_000_000_000_000));
        assert_eq!(day.to_string(), "2026-11-30");
        assert_eq!(Day::of_name("2026-11-30.ledger"), Some(day));
        assert_eq!(Day::of(day.begin()), day);
        assert_eq!(Day::of(Timestamp(day.end().0 - 1)), day);
        assert_eq!(Day::of(Timestamp(-1)).to_string(), "1969-12-31");
        for name in ["2026-11-30", "2026-11-31.ledger", "20261130.ledger", "x.ledger", "2026-11-30.ledger.new"] {
            assert_eq!(Day::of_name(name), None, "{name}");
        }
    }
}
