//! States of a sink's peers, readable from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::diameter::route::Status;

/// States that a reader of [`Board::status`] sees are at most this old.
pub const STATUS_AGE_MAX: Duration = Duration::from_secs(1);

/// States of a sink's peers, readable from other threads.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<Status>,
    refuses_calls: AtomicBool,
}

impl Board {
    /// The route and its peers, at most [`STATUS_AGE_MAX`] old.
    #[must_use]
    pub fn status(&self) -> Status {
        // A poisoned lock holds plain data that is whole at every step.
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a server demands, and the configuration obeys, that no new call is served now.
    #[must_use]
    pub fn refuses_calls(&self) -> bool {
        self.0.refuses_calls.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, status: Status, refuses_calls: bool) {
        *self.0.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.0.refuses_calls.store(refuses_calls, Ordering::Relaxed);
    }
}
