//! What leaves a sink without being delivered: records on their way to the parked ones, and parked records that a later one of
//! their session has made wrong: put back, they would undo it at the receiver.
//!
//! An Interim is superseded, where Interims collapse, as soon as a later Interim or the Stop of its session is durable:
//! it leaves the parked records. Whatever else was made before a record that its sink has delivered stays parked and is
//! marked, so that `retry` passes it over and says so, also after a restart.

use super::chain::Chain;
use super::collapse::fact;
use super::error::StoreError;
use super::notice::Notice;
use super::parked::{Key, Older, Parked, ParkedStore};
use crate::causes::chain_text;
use crate::clock::{Now, Timestamp};
use crate::ids::{RecordId, SinkNumber};
use crate::record::Kind;

/// What became of the later record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Overtaken {
    /// It is durable.
    ByAppended,
    /// Its sink has delivered it.
    ByDelivered,
}

/// The parked records, and what the next turn changes of them.
#[derive(Debug)]
pub(super) struct Parking {
    store: ParkedStore,
    coming: Vec<Parked>,
    /// Records of which is known that a later one of their session went ahead.
    superseded: Vec<Key>,
    marked: Vec<Key>,
}

impl Parking {
    pub(super) fn new(store: ParkedStore) -> Self {
        Self { store, coming: Vec::new(), superseded: Vec::new(), marked: Vec::new() }
    }

    /// The records that are parked on disk.
    pub(super) fn store(&mut self) -> &mut ParkedStore {
        &mut self.store
    }

    /// How many of them are a sink's.
    pub(super) fn parked(&self, sink: SinkNumber) -> u64 {
        self.store.parked(sink)
    }

    /// A record is to be parked.
    pub(super) fn add(&mut self, record: Parked) {
        self.coming.push(record);
    }

    /// Whether records are to be parked.
    pub(super) fn is_due(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Makes the records that are to be parked durable there; gives them, and for each whether it is new there.
    pub(super) fn flush(&mut self, chain: &mut Chain) -> (Vec<Parked>, Result<Vec<bool>, StoreError>) {
        if self.coming.is_empty() {
            return (Vec::new(), Ok(Vec::new()));
        }
        let records = std::mem::take(&mut self.coming);
        let result = self.store.put(&records);
        if let Err(error) = &result {
            chain.tell(Notice::ParkFailed { why: chain_text(error) });
        }
        (records, result)
    }

    /// A record of a sink went ahead: what of its session is parked there and was made before it?
    pub(super) fn overtake(
        &mut self,
        (sink, collapses): (SinkNumber, bool),
        (id, body): (RecordId, &[u8]),
        how: Overtaken,
    ) {
        if !self.store.has_sessions(sink) {
            return;
        }
        let Some((kind, session, made)) = fact(id, body) else { return };
        let ends = matches!(kind, Kind::Interim | Kind::Stop);
        let (superseded, marked) = (&mut self.superseded, &mut self.marked);
        self.store.take_older(sink, session, |older: &Older| {
            let is_older = made.is_after(older.made) && older.id != id;
            match (is_older, older.kind) {
                (true, Kind::Interim) if collapses && ends => superseded.push((sink, older.id)),
                (true, _) if how == Overtaken::ByDelivered => marked.push((sink, older.id)),
                _ => return false,
            }
            true
        });
    }

    /// Writes down what was found since the last turn; gives the records that have left, with their places.
    pub(super) fn flush_overtaken(&mut self, chain: &mut Chain, now: Now) -> Vec<(SinkNumber, RecordId, u64)> {
        let (superseded, marked) = (std::mem::take(&mut self.superseded), std::mem::take(&mut self.marked));
        let removed = if superseded.is_empty() { Ok(Vec::new()) } else { self.store.remove(&superseded) };
        let written = if marked.is_empty() { Ok(()) } else { self.store.mark_overtaken(&marked, now.wall) };
        if let Some(error) = written.err().as_ref().or(removed.as_ref().err()) {
            chain.failed("mark parked records that later ones went ahead of", error);
        }
        removed.unwrap_or_default()
    }
}

/// Why `retry` passes a record over, in words.
pub(super) fn overtaken_text(since: Timestamp) -> String {
    format!("a later record of its session was delivered by {since}: this one would undo it")
}
