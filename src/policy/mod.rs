//! Decides where a request goes and what is recorded of it.

use crate::ids::SinkMask;

/// Which sinks get records of a request, and of what kind; for each sink on its own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Marks {
    /// Sinks that get the accounted transaction: a 2xx, and what follows from it (Start, Interim, Stop, Cdr, Event).
    pub accounting: SinkMask,
    /// Sinks that get a Missed record for each forking round of an INVITE that failed. Needs no `accounting` mark.
    pub missed: SinkMask,
    /// Sinks that also get final answers of 300 and more to what they account: works together with `accounting`.
    pub failed: SinkMask,
}

impl Marks {
    /// No sink gets anything.
    pub const NONE: Self = Self { accounting: SinkMask::NONE, missed: SinkMask::NONE, failed: SinkMask::NONE };

    /// Whether no sink gets anything.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.accounting.is_empty() && self.missed.is_empty()
    }

    /// What is marked in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            accounting: self.accounting.or(other.accounting),
            missed: self.missed.or(other.missed),
            failed: self.failed.or(other.failed),
        }
    }
}
