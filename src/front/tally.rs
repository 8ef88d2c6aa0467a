//! What the ledger has to tell beside records: counts of this process, from its start on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::ANSWERS_UNSAFE;
use crate::shard::{Count, Limit};

static REFUSED: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// By the place of [`place`].
const NAMES: [&str; 5] = [
    "refused, the queue or a sink was in trouble",
    "refused, too many calls",
    "refused, memory",
    "refused, draining",
    ANSWERS_UNSAFE,
];

const fn place(count: &Count) -> Option<usize> {
    match count {
        Count::CallRefused(Limit::Alarm) => Some(0),
        Count::CallRefused(Limit::Calls) => Some(1),
        Count::CallRefused(Limit::Memory) => Some(2),
        Count::CallRefused(Limit::Draining) => Some(3),
        Count::AnswerUnsafe => Some(4),
        _ => None,
    }
}

/// Counts what a shard reports, if it is one of those.
pub(super) fn note(count: &Count) {
    if let Some(place) = place(count) {
        REFUSED[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts by name.
#[must_use]
pub fn counts() -> Vec<(&'static str, u64)> {
    NAMES.into_iter().zip(&REFUSED).map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
}
