//! Parked records that a later one of their session has made wrong: put back, they would undo it at the receiver.
//!
//! An Interim is superseded, where Interims collapse, as soon as a later Interim or the Stop of its session is durable:
//! it leaves the parked records. Whatever else was made before a record that its sink has delivered stays parked and is
//! marked, so that `retry` passes it over and says so, also after a restart.

use crate::clock::{Now, Timestamp};
use crate::ids::RecordId;
use crate::record::Kind;

use super::collapse::fact;
use super::notice::{Notice, chain_text};
use super::parked::Older;
use super::store::Queue;

/// What became of the later record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Overtaken {
    /// It is durable.
    ByAppended,
    /// Its sink has delivered it.
    ByDelivered,
}

/// Parked records of which is known that a later one of their session went ahead, to be written with the next turn.
#[derive(Debug, Default)]
pub(super) struct Pending {
    superseded: Vec<super::parked::Key>,
    marked: Vec<super::parked::Key>,
}

impl Queue {
    /// A record of a sink went ahead: what of its session is parked there and was made before it?
    pub(super) fn overtake_parked(&mut self, index: usize, id: RecordId, body: &[u8], how: Overtaken) {
        let sink = self.sinks[index].since.sink;
        if !self.parked.has_sessions(sink) {
            return;
        }
        let Some((kind, session, made)) = fact(id, body) else { return };
        let collapses = self.collapses(index);
        let ends = matches!(kind, Kind::Interim | Kind::Stop);
        let (parked, pending) = (&mut self.parked, &mut self.overtaken);
        parked.take_older(sink, session, |older: &Older| {
            let is_older = made.is_after(older.made) && older.id != id;
            match (is_older, older.kind) {
                (true, Kind::Interim) if collapses && ends => pending.superseded.push((sink, older.id)),
                (true, _) if how == Overtaken::ByDelivered => pending.marked.push((sink, older.id)),
                _ => return false,
            }
            true
        });
    }

    /// Writes down what was found since the last turn.
    pub(super) fn flush_overtaken(&mut self, now: Now) {
        let Pending { superseded, marked } = std::mem::take(&mut self.overtaken);
        let mut failed = None;
        if !superseded.is_empty() {
            match self.parked.remove(&superseded) {
                Ok(gone) => {
                    for (sink, _) in gone {
                        self.with_sink(sink, |sink| sink.balance.superseded += 1);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        if !marked.is_empty()
            && let Err(error) = self.parked.mark_overtaken(&marked, now.wall)
        {
            failed = Some(error);
        }
        if let Some(error) = failed {
            let action = "mark parked records that later ones went ahead of";
            self.chain.notices.push(Notice::Failed { action, why: chain_text(&error) });
        }
    }
}

/// Why `retry` passes a record over, in words.
pub fn overtaken_text(since: Timestamp) -> String {
    format!("a later record of its session was delivered by {since}: this one would undo it")
}
