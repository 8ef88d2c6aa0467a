//! A spell of failures that is told once.
//!
//! What fails for want of something that comes and goes, such as file descriptors, succeeds now and then in between: each
//! of these successes would end one spell and begin another. So a spell ends with a success after some quiet.

use std::time::Duration;

use crate::clock::Instant;

/// Quiet after the last failure that a success needs to end a spell.
const QUIET: Duration = Duration::from_secs(10);

/// Failures of one kind.
#[derive(Debug, Default)]
pub struct Spell {
    failures: u64,
    last: Option<Instant>,
}

impl Spell {
    /// One failed; whether it begins a spell, which is told.
    pub const fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        self.last = Some(now);
        self.failures == 1
    }

    /// One succeeded; how many failed before, if that ends a spell.
    pub fn succeeded(&mut self, now: Instant) -> Option<u64> {
        self.last.filter(|last| now.since(*last) >= QUIET)?;
        let failures = std::mem::take(self).failures;
        Some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f` fails, `s` succeeds, `.` a second passes; what is told is `begins` and the number of failures.
    #[test]
    fn a_spell_is_told_at_its_beginning_and_its_end() {
        for (name, steps, want) in [
            ("nothing failed", "sss", ""),
            ("one spell", "sfff..........s", "begins 3"),
            ("successes in between end nothing", "fsfsf.sf..s", "begins"),
            ("nor does quiet without a success", "f............f", "begins"),
            ("a success at the end of the quiet does", "f.........s.s", "begins 1"),
            ("a second spell", "ff..........sssf..........s", "begins 2 begins 1"),
        ] {
            let (mut spell, mut now, mut told) = (Spell::default(), Instant(1), Vec::new());
            for step in steps.chars() {
                match step {
                    'f' if spell.failed(now) => told.push("begins".to_owned()),
                    's' => told.extend(spell.succeeded(now).map(|failures| failures.to_string())),
                    '.' => now = now + Duration::from_secs(1),
                    _ => {}
                }
            }
            assert_eq!(told.join(" "), want, "{name}");
        }
    }
}
