//! What a handler of a script may use up, and the end of it when that is gone.
//!
//! Time, instructions and the work of library functions are counted together, in units of about one instruction of the
//! virtual machine. The count goes on inside of protected calls: a limit once hit ends the handler.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use crate::clock::Instant;

/// Limits of each handler, and of a virtual machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Instructions of one handler, library work included. Default 1 000 000.
    pub instructions: u64,
    /// How long one handler may take. Default 50 ms.
    pub time: Duration,
    /// Memory of one virtual machine, of which each shard has one, in octets. Default 4 MiB.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instructions: 1_000_000, time: Duration::from_millis(50), memory: 4 << 20 }
    }
}

/// A limit that a handler has hit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Limit {
    Instructions(u64),
    Time(Duration),
    Memory(usize),
    Calls,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instructions(most) => write!(formatter, "more than `instructions_max` = {most} instructions"),
            Self::Time(most) => write!(formatter, "longer than `time_max_ms` = {} ms", most.as_millis()),
            Self::Calls => write!(formatter, "more than {CALLS_MAX} calls within each other"),
            Self::Memory(most) => write!(formatter, "more than `memory_max_kib` = {} KiB of memory", most >> 10),
        }
    }
}

impl std::error::Error for Limit {}

/// Counts what the running handler uses.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    clock: fn() -> Instant,
    left: Cell<u64>,
    until: Cell<Instant>,
    hit: Cell<Option<Limit>>,
    /// The line that was running then.
    place: RefCell<Option<String>>,
    /// Functions of ours that have called the script back and wait for it.
    waiting: Cell<u32>,
}

/// After so many instructions the meter is looked at.
pub(super) const STEP: u32 = 100;
/// Calls of the script within each other at most, by what is seen of them every [`STEP`] instructions.
pub(super) const CALLS_MAX: usize = 200;
/// Functions of ours at most that have called the script back and wait for it. Each takes of the stack of its thread, whose
/// end would be that of the process.
const WAITING_MAX: u32 = 16;

/// What is said of the one more.
pub(super) const TOO_MANY_WAIT: &str = "functions that `string.gsub`, a table's `__tostring` or its `__index` call are too deep \
     within each other: 16 are the most";

/// A function of ours calls the script back, as long as this lives.
pub(super) struct Waiting<'a>(&'a Cell<u32>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Meter {
    pub(super) fn new(limits: Limits, clock: fn() -> Instant) -> Self {
        let meter = Self {
            limits,
            clock,
            left: Cell::new(0),
            until: Cell::new(clock()),
            hit: Cell::new(None),
            place: RefCell::new(None),
            waiting: Cell::new(0),
        };
        meter.begin();
        meter
    }

    /// A handler begins.
    pub(super) fn begin(&self) {
        self.left.set(self.limits.instructions);
        self.until.set((self.clock)() + self.limits.time);
        self.hit.set(None);
        self.place.replace(None);
    }

    /// A function of ours is about to call the script back; `None`: it may not, for too many do.
    pub(super) fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = self.waiting.get() + 1;
        (waiting <= WAITING_MAX).then(|| {
            self.waiting.set(waiting);
            Waiting(&self.waiting)
        })
    }

    /// Calls are too deep within each other.
    ///
    /// # Errors
    /// The limit that is hit, now or before.
    pub(super) fn too_deep(&self) -> Result<(), Limit> {
        Err(self.stop(Limit::Calls))
    }

    /// The first limit was hit in this line.
    pub(super) fn note(&self, place: impl FnOnce() -> Option<String>) {
        let mut noted = self.place.borrow_mut();
        if noted.is_none() {
            *noted = place();
        }
    }

    /// The line that was running when a limit was hit.
    pub(super) fn place(&self) -> Option<String> {
        self.place.borrow().clone()
    }

    /// The limit that was hit.
    pub(super) const fn hit(&self) -> Option<Limit> {
        self.hit.get()
    }

    /// Memory has run out.
    pub(super) fn out_of_memory(&self) -> Limit {
        self.stop(Limit::Memory(self.limits.memory))
    }

    /// Some work was done, or is about to be.
    ///
    /// # Errors
    /// The limit that is hit, now or before.
    pub(super) fn spend(&self, units: u64) -> Result<(), Limit> {
        if let Some(limit) = self.hit.get() {
            return Err(limit);
        }
        match self.left.get().checked_sub(units) {
            None => return Err(self.stop(Limit::Instructions(self.limits.instructions))),
            Some(left) => self.left.set(left),
        }
        if (self.clock)() >= self.until.get() {
            return Err(self.stop(Limit::Time(self.limits.time)));
        }
        Ok(())
    }

    fn stop(&self, limit: Limit) -> Limit {
        let first = self.hit.get().unwrap_or(limit);
        self.hit.set(Some(first));
        first
    }
}
