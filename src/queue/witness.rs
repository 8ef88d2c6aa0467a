//! What becomes of every record, told to whoever keeps a ledger of it: which were committed, and how each of them left
//! each sink.
//!
//! Nothing here waits: a turn of the queue's thread gathers what happened in it and hands it over through a bounded
//! channel. When that is full it is gathered on, up to [`EVENTS_MAX`]; what comes then is counted as missed.
//!
//! The bodies of settled records stay in the files until the ledger has them ([`Witness::kept`]): so a process that is
//! killed between a commit and the ledger's next write loses no row, for the next one reads the records again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{Acknowledger, Loss};
use crate::clock::Timestamp;
use crate::ids::{RecordId, SinkMask, SinkNumber};

/// Events that are gathered while the channel is full.
pub const EVENTS_MAX: usize = 1 << 17;

/// Turns that wait in the channel.
pub const TURNS_MAX: usize = 1024;

/// How a record left a sink, or failed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum How {
    /// The backend has it; who said so, where that is known.
    Delivered(Option<Arc<Acknowledger>>),
    /// It is set aside for the operator.
    Parked {
        /// Why.
        reason: String,
        /// The backend's result code, 0 for none.
        code: u32,
    },
    /// It was given up.
    Dropped {
        /// By whom, and why.
        by: Arc<str>,
        /// Whether the sink had it at that moment: it may have been stored.
        under_way: bool,
    },
    /// A later record of its session made it needless, or somebody else delivers it.
    Superseded,
    /// A delivery failed and is to be repeated.
    Retried {
        /// Why.
        reason: String,
    },
}

/// Where a committed record comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// It is new.
    New,
    /// It was put back by the operator or by a salvage: it may have had a place before.
    Back,
    /// It had this place before, and waits again.
    Again(u64),
}

/// Something became of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// It is committed.
    Committed {
        /// Its place.
        seq: u64,
        /// Its name.
        id: RecordId,
        /// Who wants it.
        sinks: SinkMask,
        /// The encoded record.
        body: Bytes,
        /// Where it comes from.
        source: Source,
    },
    /// It left a sink, or failed to.
    Ended {
        /// Which sink.
        sink: SinkNumber,
        /// Its place.
        seq: u64,
        /// Its name, where that is known.
        id: Option<RecordId>,
        /// How often it had been lent.
        attempts: u32,
        /// How.
        how: How,
    },
    /// So many records never came onto the disk.
    Discarded {
        /// Why.
        why: Loss,
        /// How many.
        records: u64,
    },
    /// The disk did not give these places back, the last one included.
    Lost {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// Events of one turn, or of some that found no room in the channel.
#[derive(Debug)]
pub struct Turn {
    /// When they were handed over.
    pub at: Timestamp,
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// Records and fates that there was no room for, before these.
    pub missed: (u64, u64),
    /// Told when they are written, if somebody waits for that.
    pub written: Option<Sender<()>>,
}

/// The queue's side.
#[derive(Debug, Default)]
pub struct Witness {
    out: Option<Out>,
    tap: Option<Tap>,
}

/// Takes every event, on the queue's thread: must return at once, must not call the queue.
#[derive(Clone)]
pub struct Tap(pub Arc<dyn Fn(Event) + Send + Sync>);

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap")
    }
}

#[derive(Debug)]
struct Out {
    turns: Sender<Turn>,
    kept: Arc<AtomicU64>,
    events: Vec<Event>,
    missed: (u64, u64),
}

/// The side of whoever keeps the ledger.
#[derive(Debug)]
pub struct Telling {
    /// What happens, turn by turn.
    pub turns: Receiver<Turn>,
    /// The last place of which the ledger needs the body no more.
    pub kept: Arc<AtomicU64>,
}

impl Witness {
    /// A witness, and where it tells what it sees; `kept` is the last place that the ledger has already.
    #[must_use]
    pub fn new(kept: u64) -> (Self, Telling) {
        let (sender, turns) = bounded(TURNS_MAX);
        let kept = Arc::new(AtomicU64::new(kept));
        let out = Out { turns: sender, kept: Arc::clone(&kept), events: Vec::new(), missed: (0, 0) };
        (Self { out: Some(out), tap: None }, Telling { turns, kept })
    }

    /// Tells every event to `tap` too, at once and whether or not there is room for it in a turn: for whoever bounds by
    /// himself how much can happen.
    #[must_use]
    pub fn tapped(self, tap: Tap) -> Self {
        Self { tap: Some(tap), ..self }
    }

    /// Takes note of something.
    pub(super) fn note(&mut self, event: impl FnOnce() -> Event) {
        if !self.is_there() {
            return;
        }
        let event = event();
        if let Some(Tap(tap)) = &self.tap {
            tap(event.clone());
        }
        let Some(out) = &mut self.out else { return };
        if out.events.len() < EVENTS_MAX {
            return out.events.push(event);
        }
        match event {
            Event::Committed { .. } => out.missed.0 += 1,
            Event::Ended { .. } | Event::Discarded { .. } | Event::Lost { .. } => out.missed.1 += 1,
        }
    }

    /// Whether anybody listens.
    pub(super) const fn is_there(&self) -> bool {
        self.out.is_some() || self.tap.is_some()
    }

    /// The last place of which the body may go.
    pub(super) fn kept(&self) -> u64 {
        self.out.as_ref().map_or(u64::MAX, |out| out.kept.load(Ordering::Acquire))
    }

    /// Hands over what was gathered, if there is room for it.
    pub(super) fn hand_over(&mut self, at: Timestamp) {
        if let Some(out) = &mut self.out
            && !out.events.is_empty()
        {
            out.hand_over(at, None);
        }
    }

    /// Hands over what was gathered, and gives what tells when it is written; `None` when there is no room for it, or
    /// nobody to tell.
    pub(super) fn fence(&mut self, at: Timestamp) -> Option<Receiver<()>> {
        let (written, wait) = bounded(1);
        self.out.as_mut()?.hand_over(at, Some(written)).then_some(wait)
    }
}

impl Out {
    fn hand_over(&mut self, at: Timestamp, written: Option<Sender<()>>) -> bool {
        let (events, missed) = (std::mem::take(&mut self.events), std::mem::take(&mut self.missed));
        match self.turns.try_send(Turn { at, events, missed, written }) {
            Ok(()) => true,
            Err(TrySendError::Full(turn)) => {
                (self.events, self.missed) = (turn.events, turn.missed);
                false
            }
            // Whoever listened has ended: what is not written by now is read again at the next start.
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}
