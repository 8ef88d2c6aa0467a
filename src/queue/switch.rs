//! From one spool to the next: in order, when the active file has grown, or at once, when a write failed.
//!
//! In order: the next spool is made with a mark `preparing`, the live calls are copied in slices between commits, while
//! changes go to both; then it is flushed and synced, its first place is set, and the mark is removed. A spool found
//! with the mark at start is deleted. At once: the new spool takes the failed batch first, names the old one in
//! `calls_from`, and keeps marks for forgotten calls until the old one's calls are copied.

use std::collections::HashSet;

use super::batch::Batch;
use super::bitmap::Bitmaps;
use super::calls::{Changes, FoundPart};
use super::chain::Chain;
use super::database::Database;
use super::error::StoreError;
use super::frame::{self, Frame};
use super::layout::{self, Tree};
use super::notice::Notice;
use super::spool::{Spool, read_number};
use crate::clock::Instant;

/// Whether another spool is being made.
#[derive(Debug, Default)]
pub struct Switch {
    state: State,
    /// Octets appended when the active file was measured last; `None` to measure it again.
    sized_at: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Calls are being copied to the next spool.
    Copying {
        spool: Box<Spool>,
        /// Last key copied.
        after: Vec<u8>,
    },
    /// It failed; not before this instant again.
    Pausing(Instant),
}

impl Switch {
    /// Whether calls are being copied.
    pub fn is_copying(&self) -> bool {
        matches!(self.state, State::Copying { .. })
    }

    /// Has the active file be measured again.
    pub fn measure_again(&mut self) {
        self.sized_at = None;
    }

    /// One step of a switch in order: at most one slice of calls. A new one may begin unless `is_rescue`: calls of an earlier
    /// spool are still to be copied.
    pub fn step(&mut self, chain: &mut Chain, appended_bytes: u64, is_rescue: bool, now: Instant) {
        match std::mem::take(&mut self.state) {
            State::Pausing(until) if until > now => self.state = State::Pausing(until),
            State::Idle | State::Pausing(_) => {
                if !is_rescue && self.has_grown(chain, appended_bytes) {
                    self.begin(chain, now);
                }
            }
            State::Copying { spool, after } => self.copy_slice(chain, spool, &after, now),
        }
    }

    /// Whether the active file is large enough. Its size costs a system call: asked for again only when as much was appended as
    /// may be missing.
    fn has_grown(&mut self, chain: &mut Chain, appended_bytes: u64) -> bool {
        let limit = chain.settings().spool_bytes;
        if self.sized_at.is_some_and(|at| appended_bytes < at + limit / 64) {
            return false;
        }
        self.sized_at = Some(appended_bytes);
        chain.active().database.as_ref().map_or(0, Database::file_bytes) > limit
    }

    fn begin(&mut self, chain: &mut Chain, now: Instant) {
        self.state = match chain.prepare(chain.next(), &[]) {
            Ok(spool) => State::Copying { spool: Box::new(spool), after: vec![b'C'] },
            Err(error) => {
                chain.failed("make a new spool", &error);
                State::Pausing(now + SWITCH_PAUSE)
            }
        };
    }

    fn give_up(&mut self, chain: &mut Chain, spool: Spool, error: &StoreError, now: Instant) {
        chain.discard(spool);
        chain.failed("switch to a new spool", error);
        self.state = State::Pausing(now + SWITCH_PAUSE);
    }

    fn copy_slice(&mut self, chain: &mut Chain, mut spool: Box<Spool>, after: &[u8], now: Instant) {
        match copy_calls(chain, &mut spool, after) {
            Ok(Some(after)) => self.state = State::Copying { spool, after },
            Ok(None) => match seal(chain, &mut spool) {
                Ok(()) => take_over(chain, *spool),
                Err(error) => self.give_up(chain, *spool, &error, now),
            },
            Err(error) => self.give_up(chain, *spool, &error, now),
        }
    }

    /// While calls are being copied their changes go to both spools.
    pub fn mirror(&mut self, chain: &mut Chain, changes: &Changes) {
        let State::Copying { spool, .. } = &mut self.state else { return };
        if changes.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        changes.encode(false, &mut batch);
        let written = spool.database.as_mut().ok_or(StoreError::Closed).and_then(|database| database.apply(&batch));
        if let Err(error) = written
            && let State::Copying { spool, .. } = std::mem::take(&mut self.state)
        {
            self.give_up(chain, *spool, &error, Instant(0));
        }
    }

    /// Gives the next spool up.
    pub fn abandon(&mut self, chain: &Chain) {
        if let State::Copying { spool, .. } = std::mem::take(&mut self.state) {
            chain.discard(*spool);
        }
    }
}

/// Copies some calls of the active spool; gives the last key if there are more.
fn copy_calls(chain: &mut Chain, spool: &mut Spool, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut pairs = Vec::new();
    let database = chain.database(chain.spools().len() - 1)?;
    let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Excluded(layout::NOTES.end));
    database.range::<&[u8]>(range, COPY_CALLS, &mut pairs)?;
    // Fewer than asked for: this is the end, and nothing changes before the next spool takes over.
    let last = pairs.last().filter(|_| pairs.len() == COPY_CALLS).map(|(key, _)| key.to_vec());
    let mut batch = Batch::default();
    pairs.into_iter().for_each(|(key, value)| batch.insert(key, value));
    spool.database.as_mut().ok_or(StoreError::Closed)?.apply(&batch)?;
    Ok(last)
}

/// Sets the first place of a prepared spool and makes it whole.
fn seal(chain: &mut Chain, spool: &mut Spool) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let next = chain.next();
    chain.metas_mut().add(&mut batch, b"first", &next.to_be_bytes());
    let database = spool.database.as_mut().ok_or(StoreError::Closed)?;
    database.apply(&batch)?;
    database.flush()?;
    spool.bits = Bitmaps::new(next);
    chain.finish_preparing(spool)
}

/// The spool takes appends from now on.
pub fn take_over(chain: &mut Chain, spool: Spool) {
    chain.tell(Notice::Switched { spool: spool.number });
    chain.push_active(spool);
    chain.close_idle(chain.settings().spools_open_max);
}

/// Copies the calls of the spools before the active one to it, as far as newer ones do not know better. An error tells whose
/// calls could not be read.
pub fn copy_old_calls(chain: &mut Chain) -> Result<(), (usize, StoreError)> {
    let last = chain.spools().len() - 1;
    let mut batch = Batch::default();
    let mut known: HashSet<(Tree, Vec<u8>)> = HashSet::new();
    for index in (0..=last).rev() {
        let spool_damaged = chain.spool(index).is_set_aside();
        let mut pairs = Vec::new();
        let mut more = spool_damaged;
        if !spool_damaged {
            let database = chain.database(index).map_err(|error| (index, error))?;
            let read = database.range(layout::KEPT.start..layout::NOTES.end, usize::MAX, &mut pairs);
            read.map_err(|error| (index, error))?;
            more = read_number(database, b"calls_from").map_err(|error| (index, error))?.is_some();
        }
        let mut names = Vec::new();
        for (key, value) in pairs {
            let Some(FoundPart { tree, part, .. }) = FoundPart::read(&key, &value) else {
                if index < last && matches!(frame::read(&value), Ok(Frame::Notes(_))) {
                    batch.insert(key, value);
                }
                continue;
            };
            let name = (tree, part.key.to_vec());
            let newer = known.contains(&name);
            names.push(name);
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
    let database = chain.database(last).map_err(|error| (last, error))?;
    database.apply(&batch).and_then(|()| database.flush()).map_err(|error| (last, error))
}

/// Keys copied between two commits.
const COPY_CALLS: usize = 500;

/// Pause after a switch that failed.
const SWITCH_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
