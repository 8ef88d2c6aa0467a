//! How the queue stands when a process begins, for a ledger that was written by the one before: what the ledger lacks of it
//! can be told from this.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::bitmap::{Bitmaps, Since};
use super::error::StoreError;
use super::spool::read_records;
use super::store::Queue;
use super::witness::{Event, Source, Witness};
use crate::clock::Timestamp;
use crate::ids::{RecordId, SinkNumber};
use crate::timers::random;

/// Committed records that are read again for the ledger at most; of further ones it is told that they are missing.
pub const READ_AGAIN_MAX: usize = 1 << 16;

/// Parked records that are looked at, at most.
const PARKED_MAX: usize = 1 << 20;

/// Name of the value that holds the secret.
const SECRET_NAME: &str = "secret";

/// Records read at once.
const SLICE: usize = 256;

/// A record that is parked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Aside {
    /// Its name.
    pub id: RecordId,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Result code of the backend, 0 for none.
    pub code: u32,
    /// How often it was tried.
    pub attempts: u32,
}

/// How the queue stood when it was opened.
#[derive(Debug)]
pub struct Standing {
    sinks: Vec<(Arc<str>, Since)>,
    bits: Vec<Bitmaps>,
    parked: HashMap<(SinkNumber, u64), Aside, FixedState>,
    committed: Vec<Event>,
    unread: Option<(u64, u64)>,
    lost: Vec<(u64, u64)>,
    is_clean: bool,
}

impl Standing {
    /// The sinks that the queue knows, with their numbers.
    pub fn sinks(&self) -> impl Iterator<Item = (&Arc<str>, SinkNumber)> {
        self.sinks.iter().map(|(name, since)| (name, since.sink))
    }

    /// Whether the queue was closed in order before.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Whether the record at a place, which the sink of this name wanted, waits for it.
    #[must_use]
    pub fn waits(&self, sink: &str, seq: u64) -> bool {
        let since = self.sinks.iter().find(|(name, _)| **name == *sink).map(|(_, since)| *since);
        let holds = |bits: &&Bitmaps| bits.first() <= seq && seq < bits.next();
        since.zip(self.bits.iter().rev().find(holds)).is_some_and(|(since, bits)| bits.waits(since, seq))
    }

    /// How the record that had this place is parked for the sink of this name.
    #[must_use]
    pub fn parked(&self, sink: &str, seq: u64) -> Option<&Aside> {
        let (_, since) = self.sinks.iter().find(|(name, _)| **name == *sink)?;
        self.parked.get(&(since.sink, seq))
    }

    /// Whether the disk did not give this place back.
    #[must_use]
    pub fn is_lost(&self, seq: u64) -> bool {
        self.lost.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// Records that were committed behind the last place that the ledger has, in order; gives them once.
    pub fn take_committed(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.committed)
    }

    /// Further places of which there is no more time to read: from the first to the last one.
    #[must_use]
    pub const fn unread(&self) -> Option<(u64, u64)> {
        self.unread
    }
}

impl Queue {
    /// The queue's secret, made at the first start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn secret(&mut self) -> Result<[u8; 16], StoreError> {
        if let Some(secret) = self.meta_bytes(SECRET_NAME).and_then(|bytes| bytes.try_into().ok()) {
            return Ok(secret);
        }
        let secret = random::secret().map_err(StoreError::Io)?;
        self.keep_meta_bytes(SECRET_NAME, &secret)?;
        Ok(secret)
    }

    /// Tells a witness what becomes of records from now on, and how the queue stands at this moment.
    pub fn witnessed_by(&mut self, witness: Witness, is_clean: bool) -> Standing {
        let standing = self.standing(witness.kept(), is_clean);
        self.tell(witness);
        standing
    }

    /// How it stands, and what was committed behind place `kept`; nothing of that for `u64::MAX`.
    pub(super) fn standing(&mut self, kept: u64, is_clean: bool) -> Standing {
        let sinks = self.sinks.iter().map(|sink| (Arc::from(sink.name()), sink.since())).collect();
        let bits = self.chain.spools().iter().map(|spool| spool.bits.clone()).collect();
        let (mut parked, mut after) = (HashMap::default(), None);
        while parked.len() < PARKED_MAX {
            // What cannot be read stays unknown: the ledger says then that it was settled.
            let page = self.parking.store().page(after, SLICE).unwrap_or_default();
            let Some(last) = page.last() else { break };
            after = Some((last.sink, last.id));
            parked.extend(page.into_iter().map(|one| {
                let (id, since, code, attempts) = (one.id, one.parked, one.code, one.attempts);
                ((one.sink, one.seq), Aside { id, since, reason: one.reason, code, attempts })
            }));
        }
        let (committed, unread) = if kept == u64::MAX { (Vec::new(), None) } else { self.committed_behind(kept) };
        let lost = self.health.lost_ranges();
        Standing { sinks, bits, parked, committed, unread, lost, is_clean }
    }

    fn committed_behind(&mut self, kept: u64) -> (Vec<Event>, Option<(u64, u64)>) {
        let (mut found, mut next) = (Vec::new(), kept + 1);
        while next < self.chain.next() && found.len() < READ_AGAIN_MAX {
            let Some(index) = self.chain.index_from(next) else { break };
            let spool = self.chain.spool(index);
            let (begin, end) = (spool.bits.first().max(next), spool.bits.next());
            next = end.max(next + 1);
            if spool.is_set_aside() {
                continue;
            }
            let Ok(database) = self.chain.database(index) else { continue };
            let batch = read_records(database, begin, end, SLICE);
            next = batch.next.max(begin + 1);
            found.extend(batch.records.into_iter().map(|record| Event::Committed {
                seq: record.seq,
                id: record.id,
                sinks: record.sinks,
                body: record.body,
                // The ledger may have it under the place that it had before.
                source: Source::Back,
            }));
        }
        let unread = (next < self.chain.next()).then(|| (next, self.chain.next() - 1));
        (found, unread)
    }
}
