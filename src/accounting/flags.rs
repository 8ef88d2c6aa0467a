//! Which sinks a record goes to: their modes against the marks of the request.

use super::settings::{Settings, SinkMode};
use crate::ids::{SINKS_MAX, SinkMask, SinkNumber};
use crate::policy::Marks;

/// The sinks of each mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modes {
    sessions: SinkMask,
    transactions: SinkMask,
    cdr: SinkMask,
}

impl Modes {
    pub(super) fn new(sinks: &[SinkMode]) -> Self {
        let mut modes = Self { sessions: SinkMask::NONE, transactions: SinkMask::NONE, cdr: SinkMask::NONE };
        for (number, place) in (0..SINKS_MAX as u8).zip(0..) {
            let sink = SinkNumber(number);
            let mask = match sinks.get::<usize>(place).copied().unwrap_or_default() {
                SinkMode::Sessions => &mut modes.sessions,
                SinkMode::Transactions => &mut modes.transactions,
                SinkMode::Cdr => &mut modes.cdr,
            };
            *mask = mask.with(sink);
        }
        modes
    }

    /// Of those who account: who gets what happens as it happens (Start, Interim, Stop, Event).
    pub(super) const fn live(&self, accounting: SinkMask) -> SinkMask {
        self.sessions.or(self.transactions).and(accounting)
    }

    /// Of those who account: who gets interim records that no transaction made.
    pub(super) const fn timed(&self, accounting: SinkMask) -> SinkMask {
        self.sessions.and(accounting)
    }

    /// Of those who account: who gets one record at the end.
    pub(super) const fn cdr(&self, accounting: SinkMask) -> SinkMask {
        self.cdr.and(accounting)
    }

    /// Who gets a final response to a request that makes an Event.
    pub(super) fn event(&self, settings: &Settings, marks: Marks, code: u16) -> SinkMask {
        self.live(if is_success(code) { marks.accounting } else { failed(settings, marks, code) })
    }
}

/// Who gets a final response of 300 or more: who accounts and has it marked, unless the code is filtered.
pub(super) fn failed(settings: &Settings, marks: Marks, code: u16) -> SinkMask {
    if settings.failed_filter.contains(&code) { SinkMask::NONE } else { marks.accounting.and(marks.failed) }
}

/// Who gets a failed attempt.
pub(super) fn missed(settings: &Settings, marks: Marks, code: u16) -> SinkMask {
    if settings.failed_filter.contains(&code) { SinkMask::NONE } else { marks.missed }
}

/// Whether a status code is a 2xx.
pub(super) const fn is_success(code: u16) -> bool {
    code >= 200 && code < 300
}
