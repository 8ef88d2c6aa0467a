//! Days of which nothing waits any more: a start need not read their files. A text file of a line for each: the day, the
//! queue it was found for, and the last of its places. What is not in it is only read once more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::day::Day;

/// The days.
#[derive(Debug)]
pub struct Complete {
    path: PathBuf,
    days: BTreeMap<Day, (u64, u64)>,
}

impl Complete {
    /// Those of a folder.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        let path = folder.join("complete");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let day = Day::of_text(words.next()?)?;
            let era = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((day, (era, words.next()?.parse().ok()?)))
        };
        Self { path, days: text.lines().filter_map(line).collect() }
    }

    /// Whether a day is one of them.
    #[must_use]
    pub fn has(&self, day: Day) -> bool {
        self.days.contains_key(&day)
    }

    /// The last place of a queue in them.
    #[must_use]
    pub fn last(&self, era: u64) -> Option<u64> {
        self.days.values().filter(|(own, _)| *own == era).map(|(_, last)| *last).filter(|last| *last > 0).max()
    }

    /// Adds a day.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, day: Day, era: u64, last: u64) -> io::Result<()> {
        self.days.insert(day, (era, last));
        self.save()
    }

    /// Takes a day out; nothing happens if it is none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, day: Day) -> io::Result<()> {
        if self.days.remove(&day).is_none() { Ok(()) } else { self.save() }
    }

    fn save(&self) -> io::Result<()> {
        let mut text = String::new();
        for (day, (era, last)) in &self.days {
            let _infallible = writeln!(text, "{day} {era:016x} {last}");
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_are_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut complete = Complete::load(folder.path());
        complete.add(Day(20_000), 7, 100).unwrap();
        complete.add(Day(20_001), 8, 900).unwrap();
        complete.add(Day(20_002), 7, 0).unwrap();
        complete.remove(Day(20_001)).unwrap();
        let again = Complete::load(folder.path());
        assert!(again.has(Day(20_000)) && !again.has(Day(20_001)) && again.has(Day(20_002)));
        assert_eq!((again.last(7), again.last(8)), (Some(100), None));
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("complete"), "2026-11-20 x 1\n\n2026-11-21 07 5\n2026-11-22 07\n\u{fffd}")
            .unwrap();
        let complete = Complete::load(folder.path());
        assert_eq!(complete.days.into_iter().collect::<Vec<_>>(), [(Day(20_778), (7, 5))]);
    }
}
