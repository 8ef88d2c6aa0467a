//! The queue of a stopped service, asked by the same commands as that of a running one.

use crate::clock::Now;
use crate::record::Entry;

use super::balance::Stats;
use super::command::{Action, CommandError, Desk, Page, Query};
use super::error::StoreError;
use super::store::Queue;

/// A queue without a thread: the files of a stopped service.
#[derive(Debug)]
pub struct Offline {
    /// The open queue; [`Queue::close`] it afterwards.
    pub queue: Queue,
    /// Reads the clocks.
    pub clock: fn() -> Now,
}

impl Desk for Offline {
    fn status(&mut self) -> Result<Stats, CommandError> {
        Ok(self.queue.stats())
    }

    fn slice(&mut self, query: Query) -> Result<Page, CommandError> {
        if query.action == Some(Action::Retry) {
            // What of the sessions of parked records waits decides whether they may go.
            let sinks = self.queue.sinks.known();
            self.queue.look_for_unread(sinks.iter(), &mut || {});
        }
        let page = self.queue.slice(&query, (self.clock)())?;
        if query.action.is_some() {
            self.queue.tell_and_wait((self.clock)().wall);
            self.queue.finish(self.clock)?;
        }
        Ok(page)
    }

    fn import(&mut self, entries: Vec<Entry>) -> Result<(), CommandError> {
        self.queue.put_back(entries).map_err(|_| StoreError::Closed)?;
        self.queue.finish(self.clock)?;
        Ok(())
    }
}
