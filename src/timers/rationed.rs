//! What may happen very often and is told of in the log: at once, and then once a minute at most.

use std::time::Duration;

use crate::clock::Instant;

/// Time between two lines about the same.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Counts between two lines.
#[derive(Debug, Default)]
pub struct Rationed {
    count: u64,
    /// When the next line may be written.
    due: Instant,
}

impl Rationed {
    /// Counts one.
    pub const fn count(&mut self) {
        self.count += 1;
    }

    /// How many there were since the last line, if there were any and it is old enough.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.count == 0 || now < self.due {
            return None;
        }
        self.due = now + LINE_EVERY;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_a_line_a_minute_and_silence_none() {
        let mut lines = Rationed::default();
        for (what, after_ms, counted, want) in [
            ("nothing happened yet", 0, 0, None),
            ("the first is told at once", 1, 1, Some(1)),
            ("the next waits", 2, 2, None),
            ("as long as a minute is not over", 60_000, 1, None),
            ("then one line has them all", 60_001, 1, Some(4)),
            ("a minute of silence makes no line", 200_000, 0, None),
            ("after it the first is told at once", 200_001, 1, Some(1)),
        ] {
            (0..counted).for_each(|_| lines.count());
            assert_eq!(lines.tell(Instant(5_000_000) + Duration::from_millis(after_ms)), want, "{what}");
        }
    }
}
