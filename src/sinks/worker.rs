//! The loop of a sink: lease, read, submit, settle; and the change to another sink while records wait.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};

use super::{
    Outcome, SINK_ATTEMPTS_TOTAL, SINK_DELIVERY_DELAY_SECONDS, SINK_IN_FLIGHT_RECORDS, SINK_UNREADABLE_RECORDS_TOTAL,
    Sink,
};
use crate::causes::chain_text;
use crate::clock::{self, Timestamp};
use crate::ids::{Seq, SinkNumber};
use crate::queue::{Consumer, Lease, Settlement};
use crate::record::codec;

/// Records a worker lets the queue lend ahead of their submission.
pub const LEASE_MAX: usize = 1024;

/// Rest after a turn: what comes meanwhile is handled together, so that a record does not cost a wake of its own on
/// both sides. The first record after a pause does not wait.
pub const PACE: Duration = Duration::from_millis(5);

/// Records submitted and settled in a turn from which on no rest follows: what comes during the turn is enough for the
/// next one, and under a backlog a rest would only keep the sink idle.
pub const BUSY_RECORDS: usize = 64;

/// Longest wait for the answers to what a sink has under way before another takes its place; what has none by then goes
/// back to the queue, and to the other sink.
pub const SUCCESSION_WAIT: Duration = Duration::from_secs(5);

/// Wait before a sink that could not be made is tried again.
pub const SUCCESSION_RETRY: Duration = Duration::from_secs(5);

/// Makes the sink that takes the place of the running one, which it is given, once that has ended; asked again if it
/// cannot.
pub type Successor<S> = Box<dyn FnMut(Option<&S>) -> Result<S, Box<dyn Error + Send + Sync>>>;

/// Where leases come from: the queue's [`Consumer`], or a table in tests.
pub trait Leases {
    /// Takes what has come.
    fn leased(&mut self, out: &mut Vec<Lease>);
    /// Tells what became of records, which leaves `settled` empty, and how many may be lent from now on, unless that stays as
    /// it is; they come later, announced by a wake.
    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>);
}

impl Leases for Consumer {
    fn leased(&mut self, out: &mut Vec<Lease>) {
        Self::leased(self, out);
    }

    fn tell(&mut self, settled: &mut Vec<(Seq, Settlement)>, room: Option<usize>) {
        Self::tell(self, settled, room);
    }
}

/// Whether a lent record may go to its sink: asked right before it goes, at every try.
pub trait Gate: Send + Sync {
    /// What becomes of the record instead; `None`: it goes. The lease may be changed, so that the sink takes it for one that
    /// was tried before.
    fn instead(&self, sink: SinkNumber, lease: &mut Lease) -> Option<Settlement>;
}

/// Wakes a worker from any thread: given to the queue as its consumer's wake.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// The function the queue calls.
    #[must_use]
    pub fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let notify = Arc::clone(&self.0);
        Arc::new(move || notify.notify_one())
    }

    fn rung(&self) -> Notified<'_> {
        self.0.notified()
    }
}

/// One sink with its leases.
pub struct Worker<S, L> {
    name: Arc<str>,
    sink: S,
    leases: L,
    bell: Bell,
    /// What the queue may still lend as far as this side knows.
    asked: usize,
    /// Submitted and not settled, and when they were made.
    out: HashMap<Seq, Timestamp>,
    come: Vec<Lease>,
    /// Came and wait for room in the sink.
    waiting: VecDeque<Lease>,
    outcomes: Vec<Outcome>,
    /// Settled in this turn, and not told to the queue yet.
    settled: Vec<(Seq, Settlement)>,
    successors: mpsc::Receiver<Successor<S>>,
    gate: Option<(SinkNumber, Arc<dyn Gate>)>,
    meters: Meters,
}

/// Whether the service goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Going {
    On,
    Stopped,
}

struct Meters {
    delivered: metrics::Counter,
    retry: metrics::Counter,
    parked: metrics::Counter,
    unreadable: metrics::Counter,
    delay: metrics::Histogram,
    in_flight: metrics::Gauge,
}

impl Meters {
    fn new(sink: &Arc<str>) -> Self {
        let attempts = |outcome: &'static str| metrics::counter!(SINK_ATTEMPTS_TOTAL, "sink" => Arc::clone(sink), "outcome" => outcome);
        Self {
            delivered: attempts("delivered"),
            retry: attempts("retry"),
            parked: attempts("parked"),
            unreadable: metrics::counter!(SINK_UNREADABLE_RECORDS_TOTAL, "sink" => Arc::clone(sink)),
            delay: metrics::histogram!(SINK_DELIVERY_DELAY_SECONDS, "sink" => Arc::clone(sink)),
            in_flight: metrics::gauge!(SINK_IN_FLIGHT_RECORDS, "sink" => Arc::clone(sink)),
        }
    }
}

impl<S: Sink, L: Leases> Worker<S, L> {
    /// A worker for the sink called `name`; `bell` is what the queue rings for `leases`.
    #[must_use]
    pub fn new(name: &str, sink: S, leases: L, bell: Bell) -> Self {
        let name: Arc<str> = name.into();
        let meters = Meters::new(&name);
        Self {
            name,
            sink,
            leases,
            bell,
            asked: 0,
            out: HashMap::new(),
            come: Vec::new(),
            waiting: VecDeque::new(),
            outcomes: Vec::new(),
            settled: Vec::new(),
            // Its sender is gone: nothing comes.
            successors: mpsc::channel(1).1,
            gate: None,
            meters,
        }
    }

    /// A sink made by what comes here takes the place of the running one.
    #[must_use]
    pub fn succeeded_by(self, successors: mpsc::Receiver<Successor<S>>) -> Self {
        Self { successors, ..self }
    }

    /// What the queue has under that number goes to the sink only where `gate` says so.
    #[must_use]
    pub fn behind(self, gate: Option<(SinkNumber, Arc<dyn Gate>)>) -> Self {
        Self { gate, ..self }
    }

    /// Delivers until `stop` is done. Records under way are then left to the queue, which lends them again.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let bell = self.bell.clone();
        tracing::info!(sink = %self.name, kind = S::KIND, "delivery begins");
        loop {
            let is_busy = self.turn() >= BUSY_RECORDS;
            tokio::select! {
                biased;
                () = &mut stop => break,
                // Other sinks, probes and administration have their turn also when this sink never rests.
                () = tokio::task::yield_now(), if is_busy => {}
                () = tokio::time::sleep(PACE), if !is_busy => {}
            }
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(next) = self.successors.recv() => {
                    if self.succeed(next, stop.as_mut()).await == Going::Stopped {
                        break;
                    }
                }
                () = self.sink.progress(&mut self.outcomes) => {}
                () = bell.rung() => {}
            }
        }
        self.tell(Some(0));
        self.sink.close(&mut self.outcomes).await;
        self.settle();
        self.tell(None);
        tracing::info!(sink = %self.name, in_flight = self.out.len(), "delivery ends");
    }

    /// Lets the sink end what it has under way, and goes on with another. No record is lost by it, and none is sent
    /// twice unless its answer did not come in [`SUCCESSION_WAIT`].
    async fn succeed(&mut self, mut next: Successor<S>, mut stop: Pin<&mut impl Future<Output = ()>>) -> Going {
        tracing::info!(sink = %self.name, in_flight = self.out.len(), "new settings: waiting for what is under way");
        self.asked = 0;
        let mut limit = pin!(tokio::time::sleep(SUCCESSION_WAIT));
        self.settle();
        self.tell(Some(0));
        while !self.out.is_empty() {
            tokio::select! {
                biased;
                () = &mut stop => return Going::Stopped,
                () = &mut limit => break,
                () = self.sink.progress(&mut self.outcomes) => {}
            }
            self.settle();
            self.tell(None);
            // A sink that is always ready lets the others have their turn.
            tokio::task::yield_now().await;
        }
        self.sink.close(&mut self.outcomes).await;
        self.settle();
        for (seq, _) in std::mem::take(&mut self.out) {
            let reason = "the sink got new settings before an answer came".to_owned();
            self.settle_one(Outcome { seq, settlement: Settlement::Retry { after: Duration::ZERO, reason } });
        }
        self.tell(None);
        loop {
            match next(Some(&self.sink)) {
                Ok(sink) => self.sink = sink,
                Err(error) => {
                    let error = chain_text(&*error);
                    tracing::error!(sink = %self.name, %error, "cannot set up the sink with its new settings: records wait");
                    tokio::select! {
                        biased;
                        () = &mut stop => return Going::Stopped,
                        Some(newer) = self.successors.recv() => next = newer,
                        () = tokio::time::sleep(SUCCESSION_RETRY) => {}
                    }
                    continue;
                }
            }
            tracing::info!(sink = %self.name, kind = S::KIND, "delivery goes on with the new settings");
            return Going::On;
        }
    }

    /// Settles what ended, submits what came, asks for more; gives how many records that were. The queue hears of all of it
    /// at the end and at once, for each word may wake its thread. Of many records it hears before: it has work with them.
    fn turn(&mut self) -> usize {
        let ended = self.outcomes.len();
        self.settle();
        if ended >= BUSY_RECORDS {
            self.tell(None);
        }
        self.leases.leased(&mut self.come);
        self.asked = self.asked.saturating_sub(self.come.len());
        self.waiting.extend(self.come.drain(..));
        let room = self.sink.capacity();
        let mut submitted = 0;
        while submitted < room
            && let Some(mut lease) = self.waiting.pop_front()
        {
            if let Some((sink, gate)) = &self.gate
                && let Some(settlement) = gate.instead(*sink, &mut lease)
            {
                self.settle_one(Outcome { seq: lease.seq, settlement });
                continue;
            }
            self.submit(&lease);
            submitted += 1;
        }
        if submitted > 0 {
            self.sink.submitted();
        }
        let room = self.sink.capacity().min(LEASE_MAX).saturating_sub(self.waiting.len());
        // Asking for more wakes the queue's thread: not for every record.
        let asks = self.asked > room || self.asked < room.div_ceil(2);
        if asks {
            self.asked = room;
        }
        self.tell(asks.then_some(room));
        ended + submitted
    }

    fn tell(&mut self, room: Option<usize>) {
        if room.is_some() || !self.settled.is_empty() {
            self.leases.tell(&mut self.settled, room);
        }
    }

    fn submit(&mut self, lease: &Lease) {
        match codec::decode(&lease.body) {
            Ok(record) => {
                self.out.insert(lease.seq, lease.appended);
                self.sink.submit(lease, &record);
            }
            Err(error) => {
                self.meters.unreadable.increment(1);
                let reason = format!("the record cannot be read: {}", chain_text(&error));
                let settlement = Settlement::Park { reason, code: 0 };
                self.settle_one(Outcome { seq: lease.seq, settlement });
            }
        }
    }

    fn settle(&mut self) {
        let now = clock::wall();
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for outcome in outcomes.drain(..) {
            match self.out.remove(&outcome.seq) {
                Some(made) if outcome.settlement == Settlement::Delivered => self.meters.delay.record(now.since(made)),
                Some(_) => {}
                // Delivered after all: it need not go again, if it is here to do so.
                None => self.waiting.retain(|lease| lease.seq != outcome.seq),
            }
            self.settle_one(outcome);
        }
        self.outcomes = outcomes;
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most some thousands")]
        self.meters.in_flight.set(self.out.len() as f64);
    }

    fn settle_one(&mut self, outcome: Outcome) {
        let Outcome { seq, mut settlement } = outcome;
        if settlement == Settlement::Delivered
            && let Some(by) = self.sink.acknowledger(seq)
        {
            settlement = Settlement::DeliveredBy(by);
        }
        match &settlement {
            Settlement::Delivered | Settlement::DeliveredBy(_) => self.meters.delivered.increment(1),
            Settlement::Retry { after, reason } | Settlement::Defer { after, reason } => {
                self.meters.retry.increment(1);
                tracing::debug!(sink = %self.name, seq = seq.0, retry_ms = after.as_millis(), reason, "delivery failed");
            }
            Settlement::Withdrawn => {}
            Settlement::Park { reason, code } => {
                self.meters.parked.increment(1);
                tracing::error!(sink = %self.name, seq = seq.0, code, reason, "record parked");
            }
        }
        self.settled.push((seq, settlement));
    }
}

#[cfg(test)]
mod tests;
