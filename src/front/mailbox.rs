//! What reaches a shard from outside its own sockets: datagrams of its calls that other shards received, resolved names,
//! new plans. Bounded; one wake for each batch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::Notify;

use crate::accounting::{CallView, Closing, Key};
use crate::clock::{self, Instant};
use crate::front::stream::Arrived;
use crate::front::turned_away::Reason;
use crate::ids::CallHash;
use crate::policy::Recipe;
use crate::shard::adopting::Said;
use crate::shard::ladder::{Ladder, Traced};
use crate::shard::{self, Count, Shard};
use crate::sip::dialog::RouteKeys;
use crate::sip::message::call_id_of;
use crate::sip::stack::{Destination, ListenerId, Outage, QueryId};

/// Batches that wait for one shard at most; a batch holds at most [`BATCH_DATAGRAMS`] datagrams. Beyond it datagrams are
/// dropped and counted: their senders retransmit.
///
/// [`BATCH_DATAGRAMS`]: crate::net::datagrams::BATCH_DATAGRAMS
pub const MAILS_MAX: usize = 1024;
/// Room beyond it for what nobody sends again, such as a resolved name: no flood of datagrams takes that.
const OTHERS_MAX: usize = 1024;

/// A datagram another shard received.
#[derive(Debug)]
pub struct Datagram {
    /// The listener it came in on.
    pub listener: ListenerId,
    /// Who sent it.
    pub source: SocketAddr,
    /// What it holds.
    pub octets: Vec<u8>,
}

/// Which of `shards` owns the call of a message; `None` when any does: it is the only one, or the message has no Call-ID
/// and can only be refused.
pub fn owner_of(message: &[u8], key: &[u8; 16], shards: usize) -> Option<usize> {
    (shards > 1).then(|| call_id_of(message).map(|id| CallHash::of(id).shard(key, shards))).flatten()
}

/// One message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// Datagrams whose calls this shard owns.
    Datagrams(Vec<Datagram>),
    /// Messages of its calls that came by connections.
    Messages(Vec<Arrived>),
    /// Where a name it asked for leads; empty when it leads nowhere.
    Resolved {
        /// The question.
        query: QueryId,
        /// What was found, in the order to be tried.
        destinations: Vec<Destination>,
    },
    /// ICMP says that a target cannot be reached, or a connection to it failed.
    Unreachable {
        /// The listener the request left by.
        listener: ListenerId,
        /// The target.
        target: SocketAddr,
    },
    /// An accounting server wants interim records of a session so often; zero: none.
    Interim {
        /// The session.
        key: Key,
        /// Time between two records.
        every: Duration,
    },
    /// The policy that decides from now on.
    Policy(Arc<dyn Recipe>),
    /// Settings that hold from now on.
    Tuning {
        /// Those of the shard and what it is made of.
        tuning: Arc<shard::Tuning>,
        /// Memory of the process, in octets, beyond which new calls are refused; 0: no limit.
        memory_max: u64,
    },
    /// Keys that sign from now on.
    Keys(RouteKeys),
    /// The cluster has found something out about one of its calls.
    Said(Said),
    /// Somebody wants to know something.
    Look(Look),
    /// The operator ends calls.
    Close {
        /// Which, and how.
        closing: Closing,
        /// Where those go that it ended; nobody waits for ever.
        answer: SyncSender<Vec<CallView>>,
    },
    /// Take no new calls; end when the transactions have ended.
    Drain,
}

/// What somebody wants to know of a shard, and where that goes; nobody waits for ever.
#[derive(Debug)]
pub enum Look {
    /// Up to so many calls in progress.
    Calls(usize, SyncSender<Vec<CallView>>),
    /// The messages of the call of this Call-ID; none, if they are not kept here.
    Ladder(Vec<u8>, SyncSender<Vec<Ladder>>),
    /// Up to so many calls whose messages are kept, the newest first.
    Traced(usize, SyncSender<Vec<Traced>>),
    /// The destinations that are down.
    Outages(SyncSender<Vec<Outage>>),
}

impl Look {
    /// Answers it, if there is still somebody who listens.
    pub(super) fn answer(self, shard: &Shard) {
        let _gone = match self {
            Self::Calls(max, answer) => answer.try_send(shard.views(max)).is_ok(),
            Self::Ladder(call_id, answer) => answer.try_send(shard.ladder(&call_id).into_iter().collect()).is_ok(),
            Self::Traced(max, answer) => answer.try_send(shard.traced(max)).is_ok(),
            Self::Outages(answer) => answer.try_send(shard.outages().collect()).is_ok(),
        };
    }
}

/// The way into one shard.
#[derive(Clone, Debug)]
pub struct Mailbox {
    sender: Sender<Mail>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wake: Notify,
    /// Monotonic microseconds of the shard's last turn.
    beat: AtomicU64,
    /// Calls in progress after that turn.
    calls: AtomicUsize,
    /// Whether new calls are refused.
    refuses: AtomicBool,
    /// Requests of sources outside `sip.allow`, and without a route, since the start.
    strangers: AtomicU64,
    unrouted: AtomicU64,
    /// Final responses to INVITEs outside of dialogs, by class from 2xx on.
    answers: [AtomicU64; 5],
    /// Calls that a limit or the alarm has refused.
    refused: AtomicU64,
}

/// What became of calls since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Answers {
    /// Final responses to INVITEs outside of dialogs, by class from 2xx on.
    pub by_class: [u64; 5],
    /// Calls that a limit or the alarm has refused; each is among the answers of 5xx too.
    pub refused: u64,
}

impl Answers {
    /// These and others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(own, more)| *own += more);
        self.refused += other.refused;
        self
    }
}

/// The shard's end of its mailbox.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Mail>,
    shared: Arc<Shared>,
}

/// A mailbox and its inbox.
#[must_use]
pub fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = bounded(MAILS_MAX + OTHERS_MAX);
    let shared = Arc::new(Shared {
        wake: Notify::new(),
        beat: AtomicU64::new(clock::mono().0),
        calls: AtomicUsize::new(0),
        refuses: AtomicBool::new(false),
        strangers: AtomicU64::new(0),
        unrouted: AtomicU64::new(0),
        answers: [const { AtomicU64::new(0) }; 5],
        refused: AtomicU64::new(0),
    });
    (Mailbox { sender, shared: shared.clone() }, Inbox { receiver, shared })
}

impl Mailbox {
    /// Puts one mail in and wakes the shard.
    ///
    /// # Errors
    /// Gives the mail back when the box is full or the shard has ended.
    pub fn put(&self, mail: Mail) -> Result<(), Mail> {
        if matches!(mail, Mail::Datagrams(_) | Mail::Messages(_)) && self.sender.len() >= MAILS_MAX {
            self.wake();
            return Err(mail);
        }
        let result = self.sender.try_send(mail).map_err(TrySendError::into_inner);
        self.wake();
        result
    }

    /// How many mails wait in it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sender.len()
    }

    /// Wakes the shard, for something that lies elsewhere, such as a commit receipt.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// When the shard last turned.
    #[must_use]
    pub fn last_beat(&self) -> Instant {
        Instant(self.shared.beat.load(Ordering::Relaxed))
    }

    /// Calls in progress in the shard.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Requests of sources outside `sip.allow`, and requests without a route, since the start.
    #[must_use]
    pub fn turned_away(&self) -> (u64, u64) {
        (self.shared.strangers.load(Ordering::Relaxed), self.shared.unrouted.load(Ordering::Relaxed))
    }

    /// What became of its calls since the start.
    #[must_use]
    pub fn answers(&self) -> Answers {
        let by_class = self.shared.answers.each_ref().map(|count| count.load(Ordering::Relaxed));
        Answers { by_class, refused: self.shared.refused.load(Ordering::Relaxed) }
    }

    /// Whether the shard refuses new calls: draining, at a limit, or in the alarm state.
    #[must_use]
    pub fn refuses_calls(&self) -> bool {
        self.shared.refuses.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// The next mail, if there is one.
    pub fn take(&self) -> Option<Mail> {
        self.receiver.try_recv().ok()
    }

    /// Completes when somebody woke the shard since the last time this completed.
    pub async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    /// Counts requests that were turned away.
    pub(super) fn turned_away(&self, reason: Reason, requests: u64) {
        let count = match reason {
            Reason::Stranger => &self.shared.strangers,
            Reason::NoRoute => &self.shared.unrouted,
        };
        count.fetch_add(requests, Ordering::Relaxed);
    }

    /// Counts a call that has got its answer, or was refused.
    pub(super) fn count(&self, count: &Count) {
        match count {
            Count::CallAnswered { code, .. } => {
                let class = usize::from(code / 100).checked_sub(2);
                if let Some(class) = class.and_then(|place| self.shared.answers.get(place)) {
                    class.fetch_add(1, Ordering::Relaxed);
                }
            }
            Count::CallRefused(_) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Tells that the shard turned, and how it is then.
    pub fn beat(&self, now: Instant, shard: &Shard) {
        self.shared.beat.store(now.0, Ordering::Relaxed);
        self.shared.calls.store(shard.calls(), Ordering::Relaxed);
        self.shared.refuses.store(shard.refuses_calls(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_datagrams_leaves_room_for_other_mail() {
        let (mailbox, inbox) = mailbox();
        let datagrams =
            |wanted: usize| (0..wanted).filter(|_| mailbox.put(Mail::Datagrams(Vec::new())).is_ok()).count();
        let resolved = || mailbox.put(Mail::Resolved { query: QueryId(7), destinations: Vec::new() }).is_ok();
        assert_eq!(datagrams(3 * MAILS_MAX), MAILS_MAX);
        assert_eq!((0..2 * OTHERS_MAX).filter(|_| resolved()).count(), OTHERS_MAX, "that has an end too");
        for _ in 0..MAILS_MAX {
            assert!(matches!(inbox.take(), Some(Mail::Datagrams(_))), "the order is kept");
        }
        assert!(matches!(inbox.take(), Some(Mail::Resolved { query: QueryId(7), .. })));
        assert_eq!(datagrams(3), 1, "one for the place that came free below the limit of datagrams");
    }
}
