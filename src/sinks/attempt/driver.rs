//! The sink around an attempt: it waits for answers, time-outs and pauses.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};

use super::batches::{Batch, Batches};
use super::board::{Board, Meters, News};
use super::{Answer, Attempt, Carry, Entry, Render, Settings};
use crate::clock;
use crate::ids::{CallHash, Seq};
use crate::queue::{Acknowledger, Lease, Settlement};
use crate::record::{Kind, Record};
use crate::sinks::kind::Ground;
use crate::sinks::{Outcome, Sink};
use crate::timers::random::seed;

/// Longest wait for the end of an attempt, and of the goodbye, when the sink closes.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A sink that delivers by one attempt after the other.
pub struct Attempts<A: Attempt> {
    carry: Carry<A::Item>,
    settings: Settings,
    /// Records up to here may have been delivered before this sink was made.
    waited_until: Seq,
    batches: Batches<A::Item>,
    /// Records of the attempt that is under way.
    under_way: usize,
    /// The connection, between attempts.
    attempt: Option<A>,
    /// The attempt under way, which has the connection.
    running: Option<Running<A>>,
    /// The backend is left alone until then.
    pause: Option<Pin<Box<Sleep>>>,
    ended: Vec<Outcome>,
    acknowledger: Arc<Acknowledger>,
    /// Records that ended without having been sent: the backend wants none such.
    skipped: HashSet<Seq>,
    meters: Meters,
    board: Board,
}

type Running<A> = Pin<Box<dyn Future<Output = Ended<A>>>>;

/// An attempt that has ended.
struct Ended<A: Attempt> {
    attempt: A,
    batch: Batch<A::Item>,
    answer: Answer,
    took: Duration,
}

impl<A: Attempt> Attempts<A> {
    /// A sink called `name`; records up to `waited_until` may have been delivered by an earlier one.
    #[must_use]
    pub fn new(name: &str, settings: Settings, mut render: Render<A::Item>, attempt: A, waited_until: Seq) -> Self {
        Self::carrying(name, settings, Box::new(move |_, record| render(record)), attempt, waited_until)
    }

    /// The same where the octets of records are wanted too.
    #[must_use]
    pub fn carrying(name: &str, settings: Settings, carry: Carry<A::Item>, attempt: A, waited_until: Seq) -> Self {
        let name: Arc<str> = name.into();
        let board = Board::new(&attempt.backend(), settings.batch_max, attempt.worth());
        let acknowledger = Arc::new(Acknowledger { server: attempt.backend(), worth: attempt.stores() });
        Self {
            carry,
            acknowledger,
            skipped: HashSet::default(),
            waited_until,
            batches: Batches::new(settings.clone(), seed()),
            settings,
            under_way: 0,
            attempt: Some(attempt),
            running: None,
            pause: None,
            ended: Vec::new(),
            meters: Meters::new(&name, board.clone()),
            board,
        }
    }

    /// A sink on its ground, in the place of an `earlier` one; shows it.
    pub fn on(
        ground: &Ground,
        settings: Settings,
        render: Render<A::Item>,
        attempt: A,
        earlier: Option<&Self>,
    ) -> Self {
        Self::new(&ground.name, settings, render, attempt, Self::waited_until(ground, earlier)).shown(ground)
    }

    /// Up to where records may have been delivered before.
    pub fn waited_until(ground: &Ground, earlier: Option<&Self>) -> Seq {
        earlier.map_or(ground.waited_until, |_| Seq(ground.queue.stats().head))
    }

    /// Shows it on its ground.
    #[must_use]
    pub fn shown(self, ground: &Ground) -> Self {
        (ground.show)(Arc::new(self.board()));
        self
    }

    /// Where the state of the backend can be read.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Begins the next attempt, if there is something to deliver.
    fn begin(&mut self) -> bool {
        let Some(attempt) = self.attempt.take() else { return false };
        let Some(batch) = self.batches.next() else {
            self.attempt = Some(attempt);
            return false;
        };
        self.under_way = batch.entries.len();
        self.board.begins(self.under_way);
        self.running = Some(Box::pin(perform(attempt, batch, self.settings.timeout)));
        true
    }

    fn end(&mut self, ended: Ended<A>) {
        let Ended { attempt, batch, answer, took } = ended;
        self.attempt = Some(attempt);
        (self.running, self.under_way) = (None, 0);
        let (outcome, wrong) = (answer.outcome(), answer.reason().map(str::to_owned));
        let wait = self.batches.answered(clock::wall(), batch, answer, &mut self.ended);
        self.meters.tell(News { outcome, wrong, took, health: self.batches.health(), wait });
        self.pause = wait.map(|wait| Box::pin(sleep(wait)));
    }
}

/// One attempt, `limit` at most.
async fn perform<A: Attempt>(mut attempt: A, batch: Batch<A::Item>, limit: Duration) -> Ended<A> {
    let begin = clock::mono();
    let answer = timeout(limit, attempt.attempt(&batch.entries)).await;
    let answer = answer.unwrap_or_else(|_| {
        attempt.abandon();
        Answer::Unknown { reason: format!("no answer within {} s", limit.as_secs_f64()) }
    });
    Ended { attempt, batch, answer, took: clock::mono().since(begin) }
}

impl<A: Attempt> Sink for Attempts<A> {
    const KIND: &'static str = A::KIND;

    fn capacity(&mut self) -> usize {
        if self.pause.is_some() { 0 } else { self.batches.room(self.under_way) }
    }

    fn submit(&mut self, lease: &Lease, record: &Record) {
        let item = match (self.carry)(lease, record) {
            Ok(Some(item)) => item,
            Ok(None) => {
                self.skipped.insert(lease.seq);
                return self.ended.push(Outcome { seq: lease.seq, settlement: Settlement::Delivered });
            }
            Err(reason) => {
                let settlement = Settlement::Park { reason, code: 0 };
                return self.ended.push(Outcome { seq: lease.seq, settlement });
            }
        };
        self.batches.add(Entry {
            octets: A::octets(&item),
            item,
            id: lease.id,
            may_be_there: lease.seq <= self.waited_until || lease.first_tried.is_some(),
            seq: lease.seq,
            session: session(record),
            attempts: lease.attempts,
            since: lease.appended,
            breaks: 0,
        });
    }

    fn acknowledger(&mut self, seq: Seq) -> Option<Arc<Acknowledger>> {
        (!self.skipped.remove(&seq)).then(|| Arc::clone(&self.acknowledger))
    }

    async fn progress(&mut self, out: &mut Vec<Outcome>) {
        while self.ended.is_empty() {
            if let Some(running) = &mut self.running {
                let ended = running.as_mut().await;
                self.end(ended);
            } else if let Some(pause) = &mut self.pause {
                pause.as_mut().await;
                self.pause = None;
                // There is room for a record.
                break;
            } else if !self.begin() {
                std::future::pending::<()>().await;
            }
        }
        out.append(&mut self.ended);
    }

    async fn close(&mut self, out: &mut Vec<Outcome>) {
        let goodbye = async {
            if let Some(running) = &mut self.running {
                let ended = running.as_mut().await;
                self.end(ended);
            }
            if let Some(attempt) = &mut self.attempt {
                attempt.close().await;
            }
        };
        let _in_time = timeout(CLOSE_TIME_MAX, goodbye).await;
        out.append(&mut self.ended);
    }
}

/// The session in which a record keeps its place, as in the queue: Failed, Missed, Event and Cdr are facts of their own.
fn session(record: &Record) -> Option<CallHash> {
    match record.kind {
        Kind::Start | Kind::Interim | Kind::Stop if record.session.is_empty() => Some(CallHash::of(&record.call_id)),
        Kind::Start | Kind::Interim | Kind::Stop => Some(CallHash::of(record.session.as_bytes())),
        Kind::Failed | Kind::Missed | Kind::Event | Kind::Cdr | Kind::On | Kind::Off => None,
    }
}
