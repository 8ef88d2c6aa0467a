//! Handles to the queue's thread: producers append, consumers lease and settle, the rest asks.
//!
//! Commits go through one bounded channel; receipts, leases and settlements through small boxes that both sides empty as
//! a whole. The thread is woken only when it has nothing else to do, and wakes others once a commit.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::clock::{self, Instant};
use crate::ids::{Seq, SinkNumber};
use crate::record::{Commit, Entry};

use super::balance::Stats;
use super::command::{CommandError, Desk, Item, Page, Query};
use super::echo::Echo;
use super::error::{AppendFailed, StoreError};
use super::limits::{Trouble, Troubles};
use super::notice::Notice;
use super::{Lease, Settlement};

/// Called by the queue's thread to wake its user: must return at once, must not call the queue.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The queue takes no further commit now; the commit comes back.
#[derive(Debug)]
pub struct Full(pub Commit);

/// A producer's commit on its way. Lost on the way, as when the thread has ended, it is answered with an error.
pub(super) struct Submitted {
    /// Whose it is and under which ticket; `None` once it was taken.
    owner: Option<(Arc<ProducerBox>, u64)>,
    commit: Commit,
    at: Instant,
}

impl Submitted {
    fn new(producer: Arc<ProducerBox>, ticket: u64, commit: Commit) -> Self {
        Self { owner: Some((producer, ticket)), commit, at: clock::mono() }
    }

    /// When it was handed over.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Takes the commit: whoever does answers it, to the producer under the ticket.
    pub fn take(mut self) -> (Option<(Arc<ProducerBox>, u64)>, Commit) {
        (self.owner.take(), std::mem::take(&mut self.commit))
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if let Some((producer, ticket)) = self.owner.take() {
            lock(&producer.receipts).push((ticket, Err(AppendFailed::Store)));
            (producer.wake)();
        }
    }
}

/// Rare requests.
pub(super) enum Control {
    Slice(Query, Sender<Result<Page, StoreError>>),
    Status(Sender<Stats>),
    Import(Vec<Entry>, Sender<Result<(), StoreError>>),
    KeepMeta(String, Vec<u8>, Sender<Result<(), StoreError>>),
    TellCalls(Echo, Sender<()>),
    Stop,
}

/// What the handles and the thread share.
pub(super) struct Shared {
    pub signal: Signal,
    pub commits: Sender<Submitted>,
    pub controls: Sender<Control>,
    pub consumers: Mutex<Vec<Arc<ConsumerBox>>>,
    pub consumers_changed: AtomicBool,
    pub troubles: AtomicU32,
    /// When the commit that runs now began, in microseconds of the monotonic clock; 0 when none runs.
    pub commit_began: AtomicU64,
    /// Of the last one of which was said that it runs for too long.
    pub commit_told: AtomicU64,
    pub refuse_after: Duration,
    pub alarm_effect: String,
    pub stats: Mutex<Stats>,
    pub notices: Mutex<Vec<Notice>>,
    pub notices_dropped: AtomicU64,
    pub metas: Mutex<std::collections::BTreeMap<String, Vec<u8>>>,
    pub turns: AtomicU64,
    pub backlog_refused: AtomicU64,
    /// Records of commits that wait in the channel.
    pub queued: AtomicU64,
    /// Records of commits that producers hold because the channel is full.
    pub held: AtomicU64,
    /// New records that a stop could not write.
    pub left: Mutex<Vec<Entry>>,
}

impl Shared {
    /// When the commit that runs began and how long it has run, if that is so long that the alarm state is on.
    fn commit_running(&self) -> Option<(u64, Duration)> {
        let began = self.commit_began.load(Ordering::Relaxed);
        let took = clock::mono().since(Instant(began));
        (began != 0 && took > self.refuse_after).then_some((began, took))
    }
}

/// The rest depth of the thread: who may wake it.
pub(super) struct Signal {
    depth: AtomicU8,
    thread: OnceLock<Thread>,
}

/// It works: whatever comes is seen before it rests.
pub(super) const BUSY: u8 = 0;
/// It gathers: only what cannot wait wakes it.
pub(super) const GATHERING: u8 = 1;
/// It just served consumers: commits wake it.
pub(super) const RESTING: u8 = 2;
/// Everything wakes it.
pub(super) const IDLE: u8 = 3;

impl Signal {
    pub fn new() -> Self {
        Self { depth: AtomicU8::new(BUSY), thread: OnceLock::new() }
    }

    pub fn set_thread(&self, thread: Thread) {
        // There is one thread, and it sets itself once.
        drop(self.thread.set(thread));
    }

    /// Wakes the thread if it rests at least as deep as `depth`.
    pub fn wake(&self, depth: u8) {
        fence(Ordering::SeqCst);
        if self.depth.load(Ordering::SeqCst) >= depth
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Rests up to `longest`, unless `work` finds something that came before others could know of it.
    pub fn rest(&self, depth: u8, longest: Duration, work: impl FnOnce() -> bool) {
        self.depth.store(depth, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !work() {
            std::thread::park_timeout(longest);
        }
        self.depth.store(BUSY, Ordering::SeqCst);
    }
}

pub(super) type Receipt = (u64, Result<(), AppendFailed>);

/// Receipts of one producer.
pub(super) struct ProducerBox {
    pub receipts: Mutex<Vec<Receipt>>,
    pub wake: Wake,
}

/// What goes between a consumer and the thread.
pub(super) struct ConsumerBox {
    pub sink: SinkNumber,
    pub inner: Mutex<ConsumerState>,
    /// Whether `inner` has something for the thread.
    pub ready: AtomicBool,
    pub wake: Wake,
}

#[derive(Default)]
pub(super) struct ConsumerState {
    pub wanted: usize,
    pub settled: Vec<(Seq, Settlement)>,
    pub leased: Vec<Lease>,
    pub gone: bool,
}

/// A poisoned lock holds plain data that is whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running queue. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("troubles", &self.troubles()).finish_non_exhaustive()
    }
}

impl Handle {
    /// A producer whose receipts are announced by `wake`, at most once a commit.
    #[must_use]
    pub fn producer(&self, wake: Wake) -> Producer {
        let receipts = Mutex::default();
        let own = Arc::new(ProducerBox { receipts, wake });
        Producer { shared: Arc::clone(&self.shared), own, outstanding: 0, held: 0, taken: Vec::new() }
    }

    /// The consumer of `sink`; leases are announced by `wake`. A second one for the same sink
    /// shares its records.
    #[must_use]
    pub fn consumer(&self, sink: SinkNumber, wake: Wake) -> Consumer {
        let inner = Mutex::default();
        let own = Arc::new(ConsumerBox { sink, inner, ready: AtomicBool::new(false), wake });
        lock(&self.shared.consumers).push(Arc::clone(&own));
        self.shared.consumers_changed.store(true, Ordering::Release);
        self.shared.signal.wake(GATHERING);
        Consumer { shared: Arc::clone(&self.shared), own }
    }

    /// The state of the queue as it was a moment ago, at most 100 ms under load.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }

    /// Whether the alarm state is on: see [`Troubles`]. Costs two loads.
    #[must_use]
    pub fn trouble(&self) -> bool {
        !self.troubles().is_empty()
    }

    /// The reasons for the alarm state, a commit that runs for too long included.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        let troubles = Troubles::from_bits(self.shared.troubles.load(Ordering::Relaxed));
        if self.shared.commit_running().is_some() { troubles.with(Trouble::Slow) } else { troubles }
    }

    /// What the operator should hear since the last call, and how many notices found no room.
    #[must_use]
    pub fn notices(&self) -> (Vec<Notice>, u64) {
        let mut notices = std::mem::take(&mut *lock(&self.shared.notices));
        if let Some((began, took)) = self.shared.commit_running()
            && self.shared.commit_told.swap(began, Ordering::Relaxed) != began
        {
            // The queue's thread waits for the disk, and could say so only when that is over.
            notices.push(Notice::LongCommit { took, effect: self.shared.alarm_effect.clone() });
        }
        (notices, self.shared.notices_dropped.swap(0, Ordering::Relaxed))
    }

    /// Turns of the thread's loop; it turns at least once a second while it is well.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Commits refused because too many waited.
    #[must_use]
    pub fn refused_for_backlog(&self) -> u64 {
        self.shared.backlog_refused.load(Ordering::Relaxed)
    }

    /// A value kept by name with the queue.
    #[must_use]
    pub fn meta_bytes(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.shared.metas).get(name).cloned()
    }

    /// Keeps a value by name with the queue, durably: at most 4,096 octets, a name of at most 64. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_meta_bytes(&self, name: &str, value: &[u8]) -> Result<(), CommandError> {
        let (sender, answer) = bounded(1);
        self.request(Control::KeepMeta(name.to_owned(), value.to_vec(), sender), &answer)??;
        lock(&self.shared.metas).insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    /// Has every change of the calls in progress told to `echo`, of each commit that is handed over after this. Blocks.
    ///
    /// # Errors
    /// When the thread does not answer.
    pub fn tell_calls(&self, echo: Echo) -> Result<(), CommandError> {
        let (sender, answer) = bounded(1);
        self.request(Control::TellCalls(echo, sender), &answer)
    }

    /// Has the thread commit what it was given, close the files and end.
    pub fn stop(&self) {
        // A thread that has ended needs no stopping.
        drop(self.shared.controls.send(Control::Stop));
        self.shared.signal.wake(GATHERING);
    }

    /// New records that the stop could not write, after the thread has ended; they are given once.
    #[must_use]
    pub fn take_unwritten(&self) -> Vec<Item> {
        std::mem::take(&mut *lock(&self.shared.left)).into_iter().map(Item::from).collect()
    }

    fn request<T>(&self, control: Control, answer: &Receiver<T>) -> Result<T, CommandError> {
        self.shared.controls.send_timeout(control, ANSWER_WAIT).map_err(|_| CommandError::NoAnswer)?;
        self.shared.signal.wake(GATHERING);
        answer.recv_timeout(ANSWER_WAIT).map_err(|_| CommandError::NoAnswer)
    }
}

impl Desk for Handle {
    fn status(&mut self) -> Result<Stats, CommandError> {
        let (sender, answer) = bounded(1);
        self.request(Control::Status(sender), &answer)
    }

    fn slice(&mut self, query: Query) -> Result<Page, CommandError> {
        let (sender, answer) = bounded(1);
        Ok(self.request(Control::Slice(query, sender), &answer)??)
    }

    fn import(&mut self, entries: Vec<Entry>) -> Result<(), CommandError> {
        let (sender, answer) = bounded(1);
        Ok(self.request(Control::Import(entries, sender), &answer)??)
    }
}

/// Appends for one shard.
pub struct Producer {
    shared: Arc<Shared>,
    own: Arc<ProducerBox>,
    outstanding: usize,
    held: u64,
    taken: Vec<Receipt>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("outstanding", &self.outstanding).finish_non_exhaustive()
    }
}

impl Producer {
    /// Hands a commit over; its receipt comes under `ticket`, after it is on disk or was refused.
    ///
    /// # Errors
    /// When too many commits wait: the alarm state, [`Trouble::Backlog`]. The commit comes back.
    pub fn append(&mut self, ticket: u64, commit: Commit) -> Result<(), Full> {
        let records = commit.entries.len() as u64;
        let submitted = Submitted::new(Arc::clone(&self.own), ticket, commit);
        match self.shared.commits.try_send(submitted) {
            Ok(()) => {
                self.outstanding += 1;
                self.shared.queued.fetch_add(records, Ordering::Relaxed);
                let urgent = self.shared.commits.len() >= URGENT_COMMITS;
                self.shared.signal.wake(if urgent { GATHERING } else { RESTING });
                Ok(())
            }
            Err(TrySendError::Full(submitted) | TrySendError::Disconnected(submitted)) => {
                self.shared.backlog_refused.fetch_add(1, Ordering::Relaxed);
                let bit = Troubles::default().with(Trouble::Backlog).bits();
                self.shared.troubles.fetch_or(bit, Ordering::Relaxed);
                self.shared.signal.wake(GATHERING);
                Err(Full(submitted.take().1))
            }
        }
    }

    /// Adds all receipts that came since the last call to `out`, in order of the appending.
    pub fn receipts(&mut self, out: &mut Vec<(u64, Result<(), AppendFailed>)>) {
        std::mem::swap(&mut *lock(&self.own.receipts), &mut self.taken);
        self.outstanding = self.outstanding.saturating_sub(self.taken.len());
        out.append(&mut self.taken);
    }

    /// States how many records of commits that came back the producer holds, to append them later: they count as
    /// unwritten, and as lost if the queue ends before.
    pub fn hold(&mut self, records: u64) {
        let before = std::mem::replace(&mut self.held, records);
        if before != records {
            self.shared.held.fetch_add(records.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Commits without a receipt taken so far.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }
}

/// Leases and settles for one sink. Dropped, what it holds is lent again.
pub struct Consumer {
    shared: Arc<Shared>,
    own: Arc<ConsumerBox>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("sink", &self.own.sink).finish_non_exhaustive()
    }
}

impl Consumer {
    /// States how many records may be lent from now on, above those already lent; 0 stops the lending.
    pub fn lease(&mut self, max: usize) {
        self.tell(&mut Vec::new(), Some(max));
    }

    /// Adds the records lent since the last call to `out`. They count against [`Consumer::lease`] when they are lent.
    pub fn leased(&mut self, out: &mut Vec<Lease>) {
        out.append(&mut lock(&self.own.inner).leased);
    }

    /// Settles a lent record.
    pub fn settle(&mut self, seq: Seq, settlement: Settlement) {
        self.tell(&mut vec![(seq, settlement)], None);
    }

    /// Settles lent records, which leaves `settled` empty, and states how many may be lent from now on, if that is another
    /// number than before: all of it with one lock and at most one wake of the thread.
    pub fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        let has_news = {
            let mut state = lock(&self.own.inner);
            let is_more = room.is_some_and(|room| room > state.wanted);
            state.wanted = room.unwrap_or(state.wanted);
            let has_news = is_more || !settled.is_empty();
            state.settled.append(settled);
            has_news
        };
        if has_news && !self.own.ready.swap(true, Ordering::AcqRel) {
            self.shared.signal.wake(IDLE);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        lock(&self.own.inner).gone = true;
        self.own.ready.store(true, Ordering::Release);
        self.shared.consumers_changed.store(true, Ordering::Release);
        self.shared.signal.wake(IDLE);
    }
}

/// Commits waiting at which a gathering ends early.
const URGENT_COMMITS: usize = 2048;

/// The longest wait for the thread's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
