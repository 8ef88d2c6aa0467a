//! From one spool to the next: in order, when the active file has grown, or at once, when a write failed.
//!
//! In order: the next spool is made with a mark `preparing`, the live calls are copied in slices between commits, while
//! changes go to both; then it is flushed and synced, its first place is set, and the mark is removed. A spool found
//! with the mark at start is deleted. At once: the new spool takes the failed batch first, names the old one in
//! `calls_from`, and keeps marks for forgotten calls until the old one's calls are copied.

use std::collections::HashSet;

use crate::clock::{Instant, Now};

use super::bitmap::Bitmaps;
use super::calls::Changes;
use super::chain::put_meta;
use super::database::Database;
use super::error::StoreError;
use super::frame::{self, Frame};
use super::layout;
use super::limits::Trouble;
use super::notice::{Notice, chain_text};
use super::spool::{Spool, read_number};
use super::store::Queue;

/// Whether another spool is being made.
#[derive(Debug, Default)]
pub enum Switch {
    /// No.
    #[default]
    Idle,
    /// Yes: calls are being copied to it.
    Copying {
        /// The next spool.
        spool: Box<Spool>,
        /// Last key copied.
        after: Vec<u8>,
    },
    /// It failed; not before this instant again.
    Pausing(Instant),
}

impl Queue {
    /// One step of a switch in order: at most one slice of calls. Whether there is more to do at once.
    pub(super) fn step_switch(&mut self, now: Now) -> bool {
        match std::mem::take(&mut self.switch) {
            Switch::Idle => self.begin_switch(now.mono),
            Switch::Pausing(until) if until > now.mono => {
                self.switch = Switch::Pausing(until);
                false
            }
            Switch::Pausing(_) => self.begin_switch(now.mono),
            Switch::Copying { spool, after } => {
                match self.copy_slice(*spool, after) {
                    Ok(()) => {}
                    Err((spool, error)) => self.give_up(spool, &error, now.mono),
                }
                matches!(self.switch, Switch::Copying { .. })
            }
        }
    }

    fn begin_switch(&mut self, now: Instant) -> bool {
        // The size of a file costs a system call: asked for again only when as much was appended as may be missing.
        let limit = self.chain.settings.spool_bytes;
        let recent = |at| self.stats.appended_bytes < at + limit / 64;
        if self.timing.sized_at.is_some_and(recent) || self.calls.marks_forgotten {
            return false;
        }
        self.timing.sized_at = Some(self.stats.appended_bytes);
        let size = self.chain.active().database.as_ref().map_or(0, Database::file_bytes);
        if size <= limit {
            return false;
        }
        match self.chain.prepare(self.next, &[]) {
            Ok(spool) => {
                self.switch = Switch::Copying { spool: Box::new(spool), after: vec![b'C'] };
                true
            }
            Err(error) => {
                self.chain.notices.push(Notice::Failed { action: "make a new spool", why: chain_text(&error) });
                self.switch = Switch::Pausing(now + SWITCH_PAUSE);
                false
            }
        }
    }

    fn give_up(&mut self, spool: Box<Spool>, error: &StoreError, now: Instant) {
        self.chain.discard(*spool);
        self.chain.notices.push(Notice::Failed { action: "switch to a new spool", why: chain_text(error) });
        self.switch = Switch::Pausing(now + SWITCH_PAUSE);
    }

    fn copy_slice(&mut self, mut spool: Spool, after: Vec<u8>) -> Result<(), (Box<Spool>, StoreError)> {
        let last = self.chain.spools.len() - 1;
        let step = |chain: &mut super::chain::Chain, spool: &mut Spool| -> Result<Option<Vec<u8>>, StoreError> {
            let mut pairs = Vec::new();
            let database = chain.database(last)?;
            let range = (std::ops::Bound::Excluded(after.as_slice()), std::ops::Bound::Excluded(layout::NOTES.end));
            database.range::<&[u8]>(range, COPY_CALLS, &mut pairs)?;
            // Fewer than asked for: this is the end, and nothing changes before the next spool takes over.
            let last = pairs.last().filter(|_| pairs.len() == COPY_CALLS).map(|(key, _)| key.to_vec());
            let mut batch = sled::Batch::default();
            pairs.into_iter().for_each(|(key, value)| batch.insert(key, value));
            spool.database.as_mut().ok_or(StoreError::Closed)?.apply(batch)?;
            Ok(last)
        };
        match step(&mut self.chain, &mut spool) {
            Ok(Some(after)) => {
                self.switch = Switch::Copying { spool: Box::new(spool), after };
                Ok(())
            }
            Ok(None) => match self.seal(&mut spool) {
                Ok(()) => {
                    self.take_over(spool);
                    Ok(())
                }
                Err(error) => Err((Box::new(spool), error)),
            },
            Err(error) => Err((Box::new(spool), error)),
        }
    }

    /// Sets the first place of a prepared spool and makes it whole.
    fn seal(&mut self, spool: &mut Spool) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        self.chain.revision += 1;
        put_meta(&mut batch, self.chain.revision, b"first", &self.next.to_be_bytes());
        let database = spool.database.as_mut().ok_or(StoreError::Closed)?;
        database.apply(batch)?;
        database.flush()?;
        spool.bits = Bitmaps::new(self.next);
        self.chain.finish_preparing(spool)
    }

    fn take_over(&mut self, spool: Spool) {
        self.chain.notices.push(Notice::Switched { spool: spool.number });
        self.removal = None;
        if self.timing.active_dirty.take().is_some() {
            self.timing.sealed_dirty.get_or_insert(Instant(0));
        }
        self.chain.spools.push_back(spool);
        self.chain.close_idle(self.chain.settings.spools_open_max);
    }

    /// While calls are being copied their changes go to both spools.
    pub(super) fn mirror_calls(&mut self, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        let Switch::Copying { mut spool, after } = std::mem::take(&mut self.switch) else { return };
        let mut batch = sled::Batch::default();
        changes.encode(false, &mut batch);
        match spool.database.as_mut().ok_or(StoreError::Closed).and_then(|database| database.apply(batch)) {
            Ok(()) => self.switch = Switch::Copying { spool, after },
            Err(error) => self.give_up(spool, &error, Instant(0)),
        }
    }

    /// A write failed: the active spool gets no more writes, and a new one takes the batch.
    pub(super) fn rescue(&mut self, error: StoreError, now: Now) -> Result<(), StoreError> {
        if let Switch::Copying { spool, .. } = std::mem::take(&mut self.switch) {
            self.chain.discard(*spool);
        }
        let failed = self.chain.active().number;
        let new = self.new_spool_with_batch(failed).or_else(|second| match second {
            StoreError::NoSpace(_) if self.spend_reserve() => self.new_spool_with_batch(failed),
            second => Err(second),
        });
        let spool = match new {
            Ok(spool) => spool,
            // A spool that failed earlier only says that it did.
            Err(second) if matches!(error, StoreError::Closed) => return Err(second),
            // Without a new spool the first error says more than the second.
            Err(_) => return Err(error),
        };
        let number = spool.number;
        let why = chain_text(&error);
        self.chain.notices.push(Notice::Rescued { failed, spool: number, why });
        self.chain.active().database = None;
        self.take_over(spool);
        self.stage();
        self.calls.marks_forgotten = true;
        self.set_trouble(Trouble::Store, false);
        self.copy_old_calls(now.wall);
        Ok(())
    }

    fn new_spool_with_batch(&mut self, failed: u32) -> Result<Spool, StoreError> {
        let from = u64::from(failed).to_be_bytes().to_vec();
        let mut spool = self.chain.prepare(self.next, &[(b"calls_from", from)])?;
        let fill = |queue: &mut Self, spool: &mut Spool| {
            let mut batch = sled::Batch::default();
            queue.encode_records(&mut batch);
            queue.building.calls.encode(true, &mut batch);
            let database = spool.database.as_mut().ok_or(StoreError::Closed)?;
            database.apply(batch)?;
            database.flush()?;
            queue.chain.finish_preparing(spool)
        };
        match fill(self, &mut spool) {
            Ok(()) => Ok(spool),
            Err(error) => {
                self.chain.discard(spool);
                Err(error)
            }
        }
    }

    /// Copies the calls of the spools before the active one, as far as newer ones do not know better.
    pub(super) fn copy_old_calls(&mut self, when: crate::clock::Timestamp) {
        while let Err((index, error)) = self.try_copy_old_calls() {
            self.chain.notices.push(Notice::Failed { action: "copy the calls in progress", why: chain_text(&error) });
            if !error.is_damage() || index + 1 == self.chain.spools.len() {
                return;
            }
            // Without the damaged spool the next try ends further on: its calls are lost.
            self.set_spool_aside(index, &chain_text(&error), when);
        }
    }

    fn try_copy_old_calls(&mut self) -> Result<(), (usize, StoreError)> {
        let last = self.chain.spools.len() - 1;
        let mut batch = sled::Batch::default();
        let mut known: HashSet<Vec<u8>> = HashSet::new();
        for index in (0..=last).rev() {
            let spool_damaged = self.chain.spools[index].is_set_aside();
            let mut pairs = Vec::new();
            let mut more = spool_damaged;
            if !spool_damaged {
                let database = self.chain.database(index).map_err(|error| (index, error))?;
                let read = database.range(layout::CALLS.start..layout::NOTES.end, usize::MAX, &mut pairs);
                read.map_err(|error| (index, error))?;
                more = read_number(database, b"calls_from").map_err(|error| (index, error))?.is_some();
            }
            let mut names = Vec::new();
            for (key, value) in pairs {
                let part = match frame::read(&value) {
                    Ok(Frame::Call(part)) => part,
                    Ok(Frame::Notes(_)) if index < last => {
                        batch.insert(key, value.clone());
                        continue;
                    }
                    _ => continue,
                };
                let newer = known.contains(part.key);
                names.push(part.key.to_vec());
                if index == last && part.parts == 0 {
                    batch.remove(key);
                } else if index < last && part.parts > 0 && !newer {
                    batch.insert(key, value.clone());
                }
            }
            known.extend(names);
            if !more {
                break;
            }
        }
        batch.remove(layout::meta_key(b"calls_from"));
        let database = self.chain.database(last).map_err(|error| (last, error))?;
        database.apply(batch).and_then(|()| database.flush()).map_err(|error| (last, error))?;
        self.calls.marks_forgotten = false;
        Ok(())
    }
}

/// Keys copied between two commits.
const COPY_CALLS: usize = 500;

/// Pause after a switch that failed.
const SWITCH_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
