//! How long a lease lasts, and what follows from it.

use std::time::Duration;

/// How long a lease lasts, and what follows from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// From the sending of a renewal to its end.
    pub lease: Duration,
}

impl Timing {
    /// How much longer others wait: what their clocks may run faster in that time, many times over.
    #[must_use]
    pub fn margin(self) -> Duration {
        self.lease / 16
    }

    /// From the sending of one renewal to that of the next.
    #[must_use]
    pub fn renewal(self) -> Duration {
        self.lease / 4
    }

    /// How often the keys are to be read.
    #[must_use]
    pub fn scan(self) -> Duration {
        self.lease / 8
    }

    /// When an answer is held for lost.
    #[must_use]
    pub fn answer(self) -> Duration {
        self.lease / 4
    }

    /// Between two tries of what was refused.
    #[must_use]
    pub fn pause(self) -> Duration {
        self.lease / 32
    }

    /// Without an answered read for so long there is an outage, and nothing is taken for as long after it.
    #[must_use]
    pub fn patience(self) -> Duration {
        self.lease / 2
    }
}
