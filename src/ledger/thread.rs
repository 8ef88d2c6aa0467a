//! The thread that writes the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};

use crate::clock::{self, Instant, Timestamp};
use crate::queue::Standing;
use crate::queue::witness::{Telling, Turn, Witness};

use super::file::Missing;
use super::keeper::{Keeper, LedgerError, Notice};
use super::row::Row;
use super::start;
use super::stats::Stats;
use super::{OnTrouble, Settings};

/// Longest time that a row waits for its write: what a process that is killed has not written is made up for at the next
/// start.
pub const WRITE_AFTER: Duration = Duration::from_secs(1);

/// Turns of the queue are fetched so often, as long as there are any. An operator's drop waits for that, 100 ms at most.
pub const FETCH_EVERY: Duration = Duration::from_millis(50);

/// Longest time until what was written is forced to the disk.
pub const SYNC_AFTER: Duration = Duration::from_secs(5);

/// Longest wait for a flush that somebody asked for.
const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// Notices kept for the service to fetch.
const NOTICES_MAX: usize = 256;

/// Requests that may wait.
const FLUSHES_MAX: usize = 16;

/// Counts something of the gateway that is no record: a name, and how often it happened since the start.
pub type Counts = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send>;

/// Somebody else who is to know what the queue tells, on the ledger's thread.
pub type Listener = Box<dyn FnMut(&Turn) + Send>;

/// What the thread and its handles share.
#[derive(Debug, Default)]
struct Shared {
    failing: AtomicBool,
    days: AtomicU32,
    refuses: AtomicBool,
    notices: Mutex<Vec<Notice>>,
    stats: Mutex<Stats>,
}

/// A ledger that is open, and waits for its queue.
#[derive(Debug)]
pub struct Opened {
    keeper: Keeper,
    telling: Option<Telling>,
}

/// The running ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    flushes: Sender<Sender<()>>,
}

impl Opened {
    /// Opens the ledger.
    ///
    /// # Errors
    /// When its folder cannot be used, or another process writes there.
    pub fn open(settings: Settings) -> Result<Self, LedgerError> {
        Ok(Self { keeper: Keeper::open(settings)?, telling: None })
    }

    /// The witness for the queue that has this secret.
    pub fn witness(&mut self, secret: &[u8; 16]) -> Witness {
        let era = start::era(secret);
        // A ledger that cannot be read now says so when it is looked at; of a queue that is new to it there is nothing to
        // be made up for.
        let last = start::last(&self.keeper.settings().path, era).ok().flatten();
        self.keeper.begin(era, std::iter::empty());
        let (witness, telling) = Witness::new(last.unwrap_or(u64::MAX));
        self.telling = Some(telling);
        witness
    }

    /// Starts the thread, which ends with the queue.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        self,
        standing: Standing,
        counts: Counts,
        listener: Option<Listener>,
    ) -> std::io::Result<Option<(Handle, JoinHandle<()>)>> {
        let Some((mut worker, handle)) = self.worker(standing, counts) else { return Ok(None) };
        worker.listener = listener;
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || worker.run())?;
        Ok(Some((handle, thread)))
    }

    fn worker(self, standing: Standing, counts: Counts) -> Option<(Worker, Handle)> {
        let Self { mut keeper, telling } = self;
        let Telling { turns, kept } = telling?;
        let era = keeper.era();
        keeper.begin(era, standing.sinks());
        let shared = Arc::new(Shared::default());
        let settings = keeper.settings();
        shared.days.store(settings.days, Ordering::Relaxed);
        shared.refuses.store(settings.on_trouble == OnTrouble::Refuse, Ordering::Relaxed);
        let (flushes, asked) = bounded(FLUSHES_MAX);
        let handle = Handle { shared: Arc::clone(&shared), flushes };
        let worker = Worker {
            keeper,
            turns,
            kept,
            standing: Some(standing),
            shared,
            asked,
            counts: Counted { read: counts, known: Vec::new() },
            listener: None,
            synced: Instant::default(),
        };
        Some((worker, handle))
    }
}

impl Handle {
    /// Whether new calls are to be refused because the ledger cannot be written.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed) && self.shared.refuses.load(Ordering::Relaxed)
    }

    /// Takes over what of the settings can change.
    pub fn renew(&self, settings: &Settings) {
        self.shared.days.store(settings.days, Ordering::Relaxed);
        self.shared.refuses.store(settings.on_trouble == OnTrouble::Refuse, Ordering::Relaxed);
    }

    /// Has all that was told so far written; whether it is.
    #[must_use]
    pub fn flush(&self) -> bool {
        let (done, wait) = bounded(1);
        let is_answered = self.flushes.send_timeout(done, FLUSH_WAIT).is_ok() && wait.recv_timeout(FLUSH_WAIT).is_ok();
        is_answered && !self.shared.failing.load(Ordering::Relaxed)
    }

    /// How it fares.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }

    /// What somebody should hear since the last call.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.shared.notices))
    }
}

struct Worker {
    keeper: Keeper,
    turns: Receiver<Turn>,
    kept: Arc<AtomicU64>,
    standing: Option<Standing>,
    shared: Arc<Shared>,
    asked: Receiver<Sender<()>>,
    counts: Counted,
    listener: Option<Listener>,
    synced: Instant,
}

impl Worker {
    fn run(mut self) {
        self.begin(clock::wall());
        let mut is_lively = false;
        loop {
            let Fetched { mut turns, mut fences, has_ended } = self.fetch(is_lively);
            is_lively = !turns.is_empty();
            for turn in &mut turns {
                self.keeper.take(turn);
                if let Some(listener) = &mut self.listener {
                    listener(turn);
                }
                fences.extend(turn.written.take());
            }
            self.tend(!fences.is_empty() || has_ended, has_ended);
            // Whoever waited may have gone.
            for fence in fences {
                let _gone = fence.try_send(());
            }
            if has_ended {
                return;
            }
        }
    }

    /// What was told since the last time. While much happens the thread sleeps between two looks: to be woken by each turn of
    /// the queue would cost more than all that it writes.
    fn fetch(&self, is_lively: bool) -> Fetched {
        let mut fetched = Fetched::default();
        let Fetched { turns, fences, has_ended } = &mut fetched;
        if is_lively && !self.keeper.is_busy() {
            match self.asked.recv_timeout(FETCH_EVERY) {
                Ok(done) => fences.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(FETCH_EVERY),
            }
        } else {
            select! {
                recv(self.turns) -> turn => match turn {
                    Ok(turn) => turns.push(turn),
                    Err(_) => *has_ended = true,
                },
                recv(self.asked) -> done => fences.extend(done.ok()),
                default(self.wait()) => {}
            }
        }
        // Who waits does so for all that was told before.
        let most = if fences.is_empty() { TURNS_AT_ONCE } else { usize::MAX };
        while turns.len() < most {
            match self.turns.try_recv() {
                Ok(turn) => turns.push(turn),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    *has_ended = true;
                    break;
                }
            }
        }
        fetched
    }

    /// Makes up for what the process before could not write.
    fn begin(&mut self, now: Timestamp) {
        let Some(mut standing) = self.standing.take() else { return };
        let era = self.keeper.era();
        match start::look(&mut self.keeper, era) {
            Ok(open) => {
                start::make_up(&mut self.keeper, &open, &mut standing, now);
            }
            Err(error) => {
                let why = format!("cannot read the ledger: {error}");
                lock(&self.shared.notices).push(Notice::Failing { why });
                self.keeper.miss(Missing::at(now));
            }
        }
    }

    /// How long nothing is to be done unless something comes.
    fn wait(&self) -> Duration {
        if self.keeper.is_busy() {
            return Duration::ZERO;
        }
        WRITE_AFTER
    }

    fn tend(&mut self, at_once: bool, has_ended: bool) {
        let now = clock::now();
        let since = self.keeper.gathered_since();
        let is_due = since.is_some_and(|since| now.wall.since(since) >= WRITE_AFTER || since > now.wall);
        if at_once || is_due {
            self.counts.tell(&mut self.keeper, now.wall);
        }
        let is_written = if at_once || is_due || self.keeper.has_sealed() { self.keeper.write(now.wall) } else { true };
        if has_ended || now.mono.since(self.synced) >= SYNC_AFTER {
            self.synced = now.mono;
            if is_written && !self.keeper.has_unwritten() {
                self.kept.store(self.keeper.sync(now.wall), Ordering::Release);
            } else if is_written {
                // What is written now is synced the next time.
                self.keeper.write(now.wall);
                self.kept.store(self.keeper.sync(now.wall), Ordering::Release);
            }
        }
        if self.keeper.is_failing() {
            self.kept.store(self.keeper.last(), Ordering::Release);
        }
        let days = self.shared.days.load(Ordering::Relaxed);
        if days != self.keeper.settings().days {
            self.keeper.keep_days(days);
        }
        self.keeper.tend(now.wall);
        self.shared.failing.store(self.keeper.is_failing(), Ordering::Relaxed);
        *lock(&self.shared.stats) = self.keeper.stats();
        let mut notices = lock(&self.shared.notices);
        notices.extend(self.keeper.notices());
        notices.truncate(NOTICES_MAX);
    }
}

/// What came from the queue, and from those who wait until it is written.
#[derive(Default)]
struct Fetched {
    turns: Vec<Turn>,
    fences: Vec<Sender<()>>,
    /// Whether the queue has ended, and all that it told is here.
    has_ended: bool,
}

/// What is counted beside records.
struct Counted {
    read: Counts,
    known: Vec<(&'static str, u64)>,
}

impl Counted {
    /// Puts what was counted since the last time into the ledger.
    fn tell(&mut self, keeper: &mut Keeper, at: Timestamp) {
        let counts = (self.read)();
        for (what, total) in &counts {
            let known = self.known.iter().find(|(name, _)| name == what).map_or(0, |(_, known)| *known);
            if *total > known {
                keeper.note(at, &Row::Counted { at, what: what.as_bytes(), count: total - known });
            }
        }
        self.known = counts;
    }
}

/// Turns taken in between two looks at what else is due.
const TURNS_AT_ONCE: usize = 256;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
