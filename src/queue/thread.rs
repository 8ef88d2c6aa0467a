//! The one thread that owns the queue.
//!
//! Each turn: take requests, settlements and commits; tick; then commit when something waits for it, after a gathering
//! that is 1 ms under low load and up to `gather_max` under load, counted from when the first was handed over: what came
//! while the commit before ran has waited already. A commit has a fixed cost of some 0.2 ms of CPU, with the threads that
//! it wakes, so the gathering decides what a call costs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::clock::{self, Instant, Now};
use crate::ids::SinkNumber;

use super::Lease;
use super::balance::{Loss, Stats};
use super::calls::Class;
use super::command::Action;
use super::error::{AppendFailed, OpenError, StoreError};
use super::handle::{
    BUSY, ConsumerBox, Control, GATHERING, Handle, IDLE, ProducerBox, RESTING, Receipt, Shared, Signal, Submitted, lock,
};
use super::limits::{Trouble, Troubles};
use super::opening::{OpenReport, Opened};
use super::settings::Settings;
use super::standing::Standing;
use super::store::{BATCH_RECORDS_MAX, Queue};
use super::witness::Witness;

/// The queue's thread at work.
#[derive(Debug)]
pub struct Started {
    /// For everybody who uses the queue.
    pub handle: Handle,
    /// Calls in progress when the queue was closed or its process died, name and value, behind the notes of ended ones.
    pub calls: Vec<(Vec<u8>, Vec<u8>)>,
    /// Class values that sinks kept with their sessions: sink, session, octets.
    pub classes: Vec<Class>,
    /// The configured sinks and their numbers, in the order given.
    pub sinks: Vec<(String, SinkNumber)>,
    /// What opening found.
    pub report: OpenReport,
    /// 16 random octets made once for this queue, for signing what goes out to peers and comes back.
    pub secret: [u8; 16],
    /// How the queue stands, if it has a witness.
    pub standing: Option<Standing>,
    /// The thread; it ends after [`Handle::stop`].
    pub join: JoinHandle<Result<(), StoreError>>,
}

/// Opens the queue and starts its thread.
///
/// Opening happens before this returns and may take seconds; `step` is called between its parts.
///
/// # Errors
/// When the queue does not open or the thread does not start.
pub fn spawn(settings: Settings, sinks: &[String], step: &mut dyn FnMut()) -> Result<Started, OpenError> {
    spawn_witnessed(settings, sinks, step, &mut |_| None)
}

/// As [`spawn`], with a witness of what becomes of every record; `witness` is given the queue's secret, by which one queue
/// is told from another.
///
/// # Errors
/// As there.
pub fn spawn_witnessed(
    settings: Settings,
    sinks: &[String],
    step: &mut dyn FnMut(),
    witness: &mut dyn FnMut(&[u8; 16]) -> Option<Witness>,
) -> Result<Started, OpenError> {
    let waiting_max = settings.commits_waiting_max.max(1);
    let (refuse_after, stop_wait) = (settings.refuse_after, settings.stop_wait);
    let gather_max = settings.gather_max.min(settings.commit_wait_max / 4);
    let alarm_effect = settings.alarm_effect.clone();
    let path = settings.path.clone();
    let mut opened = Queue::open(settings, sinks, clock::now, step)?;
    opened.queue.look_for_unread(opened.sinks.iter().map(|(_, number)| *number), step);
    let secret = opened.queue.secret().map_err(|source| OpenError::Database { path, source })?;
    let standing = witness(&secret).map(|witness| opened.queue.witnessed_by(witness, opened.report.clean));
    let (commit_sender, commits) = bounded(waiting_max);
    let (control_sender, controls) = bounded(CONTROLS_MAX);
    let shared = Arc::new(Shared {
        signal: Signal::new(),
        commits: commit_sender,
        controls: control_sender,
        consumers: Mutex::default(),
        consumers_changed: AtomicBool::new(false),
        troubles: AtomicU32::new(opened.queue.stats().troubles.bits()),
        commit_began: AtomicU64::new(0),
        commit_told: AtomicU64::new(0),
        refuse_after,
        alarm_effect,
        stats: Mutex::new(opened.queue.stats()),
        notices: Mutex::new(opened.queue.notices()),
        notices_dropped: AtomicU64::new(0),
        metas: Mutex::new(opened.queue.kept_metas()),
        turns: AtomicU64::new(0),
        backlog_refused: AtomicU64::new(0),
        queued: AtomicU64::new(0),
        held: AtomicU64::new(0),
        left: Mutex::default(),
    });
    let worker = Worker {
        queue: opened.queue,
        shared: Arc::clone(&shared),
        commits,
        controls,
        consumers: Vec::new(),
        tickets: Vec::new(),
        first: None,
        gather: Gathering { longest: gather_max, rate: 0, last: clock::mono() },
        published: Instant::default(),
        leases: Vec::new(),
        settled: Vec::new(),
        stopping: false,
        stop_wait,
    };
    let join = std::thread::Builder::new()
        .name("queue".into())
        .spawn(move || worker.run())
        .map_err(|source| OpenError::Thread { source })?;
    let handle = Handle { shared };
    let Opened { calls, classes, sinks, report, .. } = opened;
    Ok(Started { handle, calls, classes, sinks, report, secret, standing, join })
}

struct Worker {
    queue: Queue,
    shared: Arc<Shared>,
    commits: Receiver<Submitted>,
    controls: Receiver<Control>,
    consumers: Vec<Arc<ConsumerBox>>,
    /// Commits in the next batch.
    tickets: Vec<(Arc<ProducerBox>, Receipt)>,
    /// When the first of them was handed over.
    first: Option<Instant>,
    gather: Gathering,
    published: Instant,
    leases: Vec<Lease>,
    settled: Vec<(crate::ids::Seq, super::Settlement)>,
    stopping: bool,
    stop_wait: Duration,
}

impl Worker {
    fn run(mut self) -> Result<(), StoreError> {
        self.shared.signal.set_thread(std::thread::current());
        loop {
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
            let now = clock::now();
            let served = self.serve(now);
            if self.tickets.is_empty() && !self.take_commits() && self.queue.gathered() == 0 {
                if self.stopping {
                    break;
                }
                if self.queue.commit_due(now) {
                    self.commit();
                } else {
                    self.rest(now, served);
                }
                continue;
            }
            self.gather_more(now);
            if self.commit() {
                self.serve_consumers(clock::now());
            } else if self.stopping {
                break;
            } else {
                // No spool takes the batch: its producers wait, others are told that the queue is full.
                self.shared.signal.rest(GATHERING, STUCK_REST, || false);
            }
        }
        self.write_what_is_left();
        self.publish(clock::now());
        let Self { mut queue, shared, commits, mut tickets, .. } = self;
        let left = shared.queued.load(Ordering::Relaxed) + shared.held.load(Ordering::Relaxed);
        queue.lose(Loss::Unwritten, left);
        let mut unwritten = queue.unwritten();
        let result = queue.close(clock::now);
        if result.is_ok() {
            // Closing has tried it once more.
            unwritten.clear();
        }
        // Those still on their way are answered with an error.
        for (owner, commit) in commits.try_iter().map(Submitted::take) {
            unwritten.extend(commit.entries);
            tickets.extend(owner.map(|(producer, ticket)| (producer, (ticket, Err(AppendFailed::Store)))));
        }
        drop(commits);
        *lock(&shared.left) = unwritten;
        // These were in a batch that no spool took; closing has tried it once more.
        if result.is_err() {
            tickets.iter_mut().for_each(|(_, (_, result))| *result = result.and(Err(AppendFailed::Store)));
        }
        answer(&mut tickets);
        result
    }

    /// What no spool took is tried again, and all that came behind it, as long as a stop may take: the disk may get room.
    fn write_what_is_left(&mut self) {
        let end = clock::mono() + self.stop_wait;
        loop {
            self.queue.try_at_once();
            let more = self.take_commits();
            if self.tickets.is_empty() && self.queue.gathered() == 0 {
                return;
            }
            if !self.commit() {
                if clock::mono() >= end {
                    return;
                }
                self.shared.signal.rest(GATHERING, STOP_REST, || false);
            } else if !more {
                return;
            }
        }
    }

    /// Requests, consumers, and what is due; whether consumers had something.
    fn serve(&mut self, now: Now) -> bool {
        while let Ok(control) = self.controls.try_recv() {
            self.control(control, now);
        }
        let served = self.serve_consumers(now);
        self.queue.tick(now);
        self.queue.hand_over(now.wall);
        let troubles = self.queue.troubles();
        let backlog = self.commits.len() > self.commits.capacity().unwrap_or(0) / 2;
        let backlog =
            backlog && Troubles::from_bits(self.shared.troubles.load(Ordering::Relaxed)).has(Trouble::Backlog);
        let troubles = if backlog { troubles.with(Trouble::Backlog) } else { troubles };
        self.shared.troubles.store(troubles.bits(), Ordering::Relaxed);
        if now.mono.since(self.published) >= PUBLISH_EVERY {
            self.publish(now);
        }
        served
    }

    fn control(&mut self, control: Control, now: Now) {
        // Whoever asked may have gone meanwhile: an answer nobody takes is dropped.
        match control {
            Control::Stop => self.stopping = true,
            Control::Status(answer) => {
                // Settlements that have arrived belong into the answer.
                self.serve_consumers(now);
                drop(answer.send(self.stats()));
            }
            Control::KeepMeta(name, value, answer) => drop(answer.send(self.queue.keep_meta_bytes(&name, &value))),
            Control::TellCalls(echo, answer) => {
                self.queue.tell_calls(echo);
                let _gone = answer.send(());
            }
            Control::Import(entries, answer) => {
                let added = self.queue.put_back(entries).map_err(|_| StoreError::Closed);
                drop(answer.send(added.and_then(|()| self.commit_for(()))));
            }
            Control::Slice(query, answer) => {
                let acts = query.action.is_some();
                let page = self.queue.slice(&query, now);
                if matches!(query.action, Some(Action::Drop { .. })) {
                    // What is given up must be in the ledger before it is gone: who dropped it cannot be told later.
                    self.queue.tell_and_wait(now.wall);
                }
                // What was done is durable when the answer comes, as promised.
                let page = page.and_then(|page| if acts { self.commit_for(page) } else { Ok(page) });
                drop(answer.send(page));
            }
        }
    }

    fn commit_for<T>(&mut self, answer: T) -> Result<T, StoreError> {
        if self.commit() { Ok(answer) } else { Err(StoreError::Closed) }
    }

    /// Takes settlements and hands out leases; whether there was anything.
    fn serve_consumers(&mut self, now: Now) -> bool {
        if self.shared.consumers_changed.swap(false, Ordering::AcqRel) {
            self.take_consumers();
        }
        let mut served = false;
        for consumer in &self.consumers {
            let ready = consumer.ready.swap(false, Ordering::AcqRel);
            let wanted = {
                let mut state = lock(&consumer.inner);
                if ready {
                    std::mem::swap(&mut state.settled, &mut self.settled);
                }
                state.wanted
            };
            served |= ready;
            for (seq, settlement) in self.settled.drain(..) {
                self.queue.settle(consumer.sink, seq, settlement, now);
            }
            if wanted == 0 || self.queue.lease(consumer.sink, wanted.min(LEASES_MAX), now, &mut self.leases) == 0 {
                continue;
            }
            served = true;
            {
                let mut state = lock(&consumer.inner);
                state.wanted = state.wanted.saturating_sub(self.leases.len());
                state.leased.append(&mut self.leases);
            }
            (consumer.wake)();
        }
        served
    }

    fn take_consumers(&mut self) {
        let mut all = lock(&self.shared.consumers);
        let (gone, here): (Vec<_>, Vec<_>) = all.drain(..).partition(|consumer| lock(&consumer.inner).gone);
        all.clone_from(&here);
        self.consumers = here;
        drop(all);
        for consumer in gone {
            let settled = std::mem::take(&mut lock(&consumer.inner).settled);
            let now = clock::now();
            for (seq, settlement) in settled {
                self.queue.settle(consumer.sink, seq, settlement, now);
            }
            self.queue.flush_parking(now);
            // Another consumer of the same sink may see a repeat of what it holds: better than a record nobody holds.
            self.queue.detach(consumer.sink);
        }
        for consumer in &self.consumers {
            self.queue.attach(consumer.sink);
        }
    }

    /// Takes commits that wait into the next batch; whether there were any.
    fn take_commits(&mut self) -> bool {
        let before = self.tickets.len();
        while self.queue.gathered() < BATCH_RECORDS_MAX && self.tickets.len() < BATCH_RECORDS_MAX {
            let Ok(submitted) = self.commits.try_recv() else { break };
            self.first = self.first.or(Some(submitted.at()));
            let (owner, commit) = submitted.take();
            self.shared.queued.fetch_sub(commit.entries.len() as u64, Ordering::Relaxed);
            let added = self.queue.add(commit);
            self.tickets.extend(owner.map(|(producer, ticket)| (producer, (ticket, added))));
        }
        self.tickets.len() > before
    }

    /// Waits for more commits and settlements to come.
    fn gather_more(&mut self, now: Now) {
        let until = self.gather.until(self.first, now.mono);
        loop {
            let left = until.since(clock::mono());
            let enough = self.queue.gathered() >= BATCH_RECORDS_MAX || self.stopping;
            if left.is_zero() || enough {
                break;
            }
            let waiting = self.controls.len();
            let controls = &self.controls;
            let now = clock::now();
            if self.queue.has_unknown(now) {
                // The time is better spent on getting to know the backlog.
                self.queue.step_unread(now);
            } else {
                self.shared.signal.rest(GATHERING, left, || controls.len() > waiting);
            }
            self.take_commits();
            while let Ok(control) = self.controls.try_recv() {
                match control {
                    // These commit by themselves or need not wait.
                    Control::Stop => self.stopping = true,
                    other => self.control(other, clock::now()),
                }
            }
        }
        self.take_commits();
        self.serve_consumers(clock::now());
    }

    /// Commits and answers; `false` when nothing could be made durable: the answers wait.
    fn commit(&mut self) -> bool {
        let began = clock::mono();
        self.shared.commit_began.store(began.0.max(1), Ordering::Relaxed);
        let records = self.queue.gathered();
        let result = self.queue.finish(clock::now);
        let ended = clock::mono();
        self.shared.commit_began.store(0, Ordering::Relaxed);
        self.shared.troubles.fetch_or(self.queue.troubles().bits(), Ordering::Relaxed);
        if result.is_err() {
            return false;
        }
        self.first = None;
        self.gather.note(records, ended);
        answer(&mut self.tickets);
        true
    }

    fn rest(&mut self, now: Now, served: bool) {
        if !served {
            self.publish(now);
        }
        let longest = self.queue.deadline(now).since(clock::mono());
        let (depth, longest) = if served { (RESTING, longest.min(RESTING_TIME)) } else { (IDLE, longest) };
        let (commits, controls, consumers) = (&self.commits, &self.controls, &self.consumers);
        let changed = &self.shared.consumers_changed;
        self.shared.signal.rest(depth, longest, || {
            let asked = || consumers.iter().any(|consumer| consumer.ready.load(Ordering::Acquire));
            !commits.is_empty() || !controls.is_empty() || changed.load(Ordering::Acquire) || (depth == IDLE && asked())
        });
    }

    /// The queue's state, with what is still on its way to it.
    fn stats(&self) -> Stats {
        let mut stats = self.queue.stats();
        let (queued, held) = (&self.shared.queued, &self.shared.held);
        stats.unwritten += queued.load(Ordering::Relaxed) + held.load(Ordering::Relaxed);
        if Troubles::from_bits(self.shared.troubles.load(Ordering::Relaxed)).has(Trouble::Backlog) {
            stats.troubles = stats.troubles.with(Trouble::Backlog);
        }
        stats
    }

    fn publish(&mut self, now: Now) {
        self.published = now.mono;
        self.queue.tell_safe();
        *lock(&self.shared.stats) = self.stats();
        let mut notices = lock(&self.shared.notices);
        for notice in self.queue.notices() {
            if notices.len() < NOTICES_MAX {
                notices.push(notice);
            } else {
                self.shared.notices_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Answers all tickets: one box of receipts and one wake for each producer.
fn answer(tickets: &mut Vec<(Arc<ProducerBox>, Receipt)>) {
    while let Some((producer, _)) = tickets.first() {
        let producer = Arc::clone(producer);
        {
            let mut receipts = lock(&producer.receipts);
            tickets.retain(|(other, receipt)| {
                let own = Arc::ptr_eq(other, &producer);
                if own {
                    receipts.push(*receipt);
                }
                !own
            });
        }
        (producer.wake)();
    }
}

/// How long to gather: grows with the rate of records.
#[derive(Debug)]
struct Gathering {
    longest: Duration,
    /// Records per second, smoothed.
    rate: u64,
    last: Instant,
}

impl Gathering {
    /// 1 ms up to 50 records per second, from there on 20 microseconds for each: the longest is reached from 250 with
    /// 5 ms, from 1,000 with 20.
    fn time(&self) -> Duration {
        Duration::from_micros(self.rate.saturating_mul(GATHER_MICROS_PER_RATE)).max(GATHER_SHORTEST).min(self.longest)
    }

    /// When a batch is committed whose first commit was handed over at `first`.
    fn until(&self, first: Option<Instant>, now: Instant) -> Instant {
        first.unwrap_or(now) + self.time()
    }

    fn note(&mut self, records: usize, now: Instant) {
        let micros = u64::try_from(now.since(self.last).as_micros()).unwrap_or(u64::MAX).max(1);
        self.last = now;
        let rate = (records as u64).saturating_mul(1_000_000) / micros;
        // Weighted by time, so that a burst of small commits counts as one large one; half a second's memory.
        let weight = micros.min(RATE_MICROS);
        self.rate = (self.rate * (RATE_MICROS - weight) + rate * weight) / RATE_MICROS;
    }
}

const _: () = assert!(BUSY < GATHERING && GATHERING < RESTING && RESTING < IDLE);

const GATHER_SHORTEST: Duration = Duration::from_millis(1);
const GATHER_MICROS_PER_RATE: u64 = 20;
const RATE_MICROS: u64 = 500_000;

/// How often the snapshot for [`Handle::stats`] is made under load.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Rest after serving consumers, so that settlements that come one by one are taken together.
const RESTING_TIME: Duration = Duration::from_millis(1);

/// Rest while no spool takes a batch.
const STUCK_REST: Duration = Duration::from_millis(50);

/// Rest between two tries of a stop to write what the disk does not take.
const STOP_REST: Duration = Duration::from_millis(250);

/// Requests of operators that may wait.
const CONTROLS_MAX: usize = 64;

/// Notices kept for the service to fetch.
const NOTICES_MAX: usize = 256;

/// Records lent to one sink in one turn.
const LEASES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Notice;

    #[test]
    fn a_commit_that_does_not_end_raises_the_alarm_while_it_runs_and_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let settings =
            Settings { path: directory.path().join("queue"), free_min: 0, reserve_bytes: 0, ..Settings::default() };
        let started = spawn(settings, &[], &mut || {}).unwrap();
        let handle = &started.handle;
        let ago = |secs: u64| (clock::mono().0 - secs * 1_000_000).max(1);
        let told = || {
            let notices = handle.notices().0;
            notices.iter().filter(|notice| matches!(notice, Notice::LongCommit { .. })).count()
        };
        let begins = |at: u64| handle.shared.commit_began.store(at, Ordering::Relaxed);
        begins(ago(2));
        assert!(!handle.troubles().has(Trouble::Slow) && told() == 0, "two seconds are a stall");
        begins(ago(4));
        assert!(handle.troubles().has(Trouble::Slow));
        assert_eq!((told(), told()), (1, 0));
        begins(0);
        assert!(!handle.troubles().has(Trouble::Slow) && told() == 0);
        begins(ago(5));
        assert_eq!(told(), 1, "another one");
        begins(0);
        started.handle.stop();
        started.join.join().unwrap().unwrap();
    }

    #[test]
    fn the_gathering_grows_with_the_rate() {
        for (name, per_second, every_ms, want_ms) in [
            ("hardly any records", 10, 100, 1..=1),
            ("50 per second", 50, 20, 1..=1),
            ("200 per second", 200, 5, 3..=4),
            ("600 per second", 600, 5, 10..=12),
            ("1,200 per second", 1200, 5, 20..=20),
            ("20,000 per second", 20_000, 1, 20..=20),
        ] {
            let mut gather = Gathering { longest: Duration::from_millis(20), rate: 0, last: Instant(0) };
            for turn in 1..=5000 {
                gather.note(per_second * every_ms / 1000, Instant(turn * every_ms as u64 * 1000));
            }
            let got = gather.time().as_micros().div_ceil(1000);
            assert!(want_ms.contains(&got), "{name}: {got} ms");
        }
        let gather = Gathering { longest: Duration::ZERO, rate: 9999, last: Instant(0) };
        assert_eq!(gather.time(), Duration::ZERO, "0 commits at once");
        let gather = Gathering { longest: Duration::from_millis(5), rate: 9999, last: Instant(0) };
        for (name, first, until) in [
            ("who came while a commit ran has waited already", Some(Instant(7_000)), 12_000),
            ("who came just now waits whole", Some(Instant(10_000)), 15_000),
            ("what nobody handed over waits from now on", None, 15_000),
        ] {
            assert_eq!(gather.until(first, Instant(10_000)), Instant(until), "{name}");
        }
    }
}
