//! How many Via values this thread has parsed, so that tests see what is parsed twice.

use std::cell::Cell;

thread_local! {
    static VIAS: Cell<usize> = const { Cell::new(0) };
}

/// So many since the thread began.
pub(crate) fn vias_parsed() -> usize {
    VIAS.get()
}

pub(super) fn count_via() {
    VIAS.set(VIAS.get() + 1);
}
