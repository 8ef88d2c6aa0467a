//! Values of a record as the tables of the systems name them, and the forms in which they are written.

use crate::record::Record;
use crate::record::core::{Core, Item};

/// A value of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Val {
    /// One that every record has a place for.
    Core(Core),
    /// When the fact happened; of a whole call when it was answered, as OpenSIPS has it.
    Time,
}

impl Val {
    /// Shorter names for what most tables have.
    pub(super) const METHOD: Self = Self::Core(Core::Method);
    pub(super) const FROM_TAG: Self = Self::Core(Core::FromTag);
    pub(super) const TO_TAG: Self = Self::Core(Core::ToTag);
    pub(super) const CALL_ID: Self = Self::Core(Core::CallId);
    pub(super) const CODE: Self = Self::Core(Core::Code);
    pub(super) const REASON: Self = Self::Core(Core::Reason);
    pub(super) const EVENT: Self = Self::Core(Core::Event);
    pub(super) const CREATED: Self = Self::Core(Core::Created);
    pub(super) const ANSWERED: Self = Self::Core(Core::Answered);
    pub(super) const SETUP: Self = Self::Core(Core::Setup);
    pub(super) const DURATION: Self = Self::Core(Core::Duration);

    /// The value in a record; `None` where it says nothing.
    #[inline]
    #[must_use]
    pub fn of(self, record: &Record) -> Option<Item<'_>> {
        match self {
            Self::Core(core) => core.of(record),
            Self::Time => {
                let answered = if record.kind == crate::record::Kind::Cdr { record.times.answered } else { None };
                Some(Item::Instant(answered.unwrap_or(record.times.event)))
            }
        }
    }

    /// The core value that it is.
    #[must_use]
    pub const fn core(self) -> Option<Core> {
        match self {
            Self::Core(core) => Some(core),
            Self::Time => None,
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As it is; a span in seconds with milliseconds, an instant as the backend has it.
    Plain,
    /// An instant in seconds since 1970.
    Epoch,
    /// The same with milliseconds.
    EpochMillis,
    /// A span in whole seconds, rounded as configured.
    Secs,
    /// A span in whole milliseconds, rounded down.
    Millis,
}
