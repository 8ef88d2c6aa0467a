//! What leaves an engine beside its records: requests to the ends of calls, and what the operator is to hear.

use super::engine::Engine;
use super::notice::Notice;
use super::watch::Outgoing;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    requests: Vec<Outgoing>,
    notices: Vec<Notice>,
}

impl Outbox {
    pub(super) fn send(&mut self, requests: impl IntoIterator<Item = Outgoing>) {
        self.requests.extend(requests);
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

impl Engine {
    /// The requests to ends of calls that have become due, since this was asked last.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox.requests)
    }

    /// Whether there are any.
    #[must_use]
    pub const fn has_outgoing(&self) -> bool {
        !self.outbox.requests.is_empty()
    }

    /// What there is to hear since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.outbox.notices)
    }
}
