//! The delivery runtime: one thread with a worker for each sink. The administration has another: a list of thousands of calls,
//! or a handshake of TLS, takes time that deliveries have not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::classes::Kept;
use super::outlets::{Common, Outlets};
use super::systemd::Loop;
use super::wiring::{StartError, spawn};
use crate::admin::remote::Also;
use crate::admin::{Admin, Gateway};
use crate::clock::{self, Instant};
use crate::config::plan::SinkPlan;
use crate::front::mailbox::Mailbox;
use crate::ids::{Seq, SinkNumber};
use crate::ledger;
use crate::queue;
use crate::sinks::view::Backend;
use crate::sinks::worker::Gate;
use crate::timers::pace::{Pace, Step};

/// How often the runtime leaves a beat for the watchdog.
const BEAT: Duration = Duration::from_secs(1);

/// The rest of the delivery thread by its wakes a second: an answer of a backend waits that long at most.
const RESTS: &[Step] = &[Step { per_second: 250, rest: Duration::from_millis(1) }];

/// Renewals that wait at most: one, for who asks for it waits for its answer.
const RENEWALS_MAX: usize = 1;

/// The sinks that stand.
pub(super) type Backends = Arc<Mutex<Vec<Backend>>>;

/// New settings for sinks that run.
struct Renewal {
    plans: Vec<SinkPlan>,
    /// Takes the names of the sinks that change.
    answer: std::sync::mpsc::Sender<Result<Vec<String>, StartError>>,
}

/// What the delivery runtime is made of.
pub(super) struct Parts {
    /// The sockets of administration, and what answers the questions of the cluster, if there is one.
    pub admin: (Admin, Option<Also>),
    /// What administration shows.
    pub gateway: Arc<dyn Gateway>,
    pub metrics: PrometheusHandle,
    /// Where administration finds the sinks once they stand.
    pub backends: Backends,
    /// The sinks with their numbers in the queue.
    pub sinks: Vec<(SinkPlan, SinkNumber)>,
    pub queue: queue::Handle,
    /// The queue's own random octets.
    pub secret: [u8; 16],
    /// Class values of earlier processes.
    pub classes: Kept,
    /// Set while a backend demands that no new call is served.
    pub demand: Arc<AtomicBool>,
    /// The last place taken when this process started: what lies there may have been sent before.
    pub waited_until: Seq,
    pub shards: Vec<Mailbox>,
    /// Says which records go to their sinks; `None`: all.
    pub gate: Option<Arc<dyn Gate>>,
    /// Where every record is written down, if that is done.
    pub ledger: Option<ledger::Handle>,
}

/// The running delivery thread.
pub(super) struct Delivery {
    end: watch::Sender<bool>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<()>,
    renewals: mpsc::Sender<Renewal>,
}

impl Delivery {
    /// Starts the thread and waits until its sinks stand.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let (end, ended) = watch::channel(false);
        let beat = Arc::new(AtomicU64::new(clock::mono().0));
        let (renewals, renewing) = mpsc::channel(RENEWALS_MAX);
        let (report, started) = std::sync::mpsc::channel();
        let own_beat = beat.clone();
        let thread = spawn("delivery".to_owned(), move || {
            let pace = Mutex::new(Pace::new(RESTS, clock::mono()));
            let rest = move || rest_if_busy(&pace);
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(rest).build()
            {
                Ok(runtime) => runtime,
                Err(source) => return drop(report.send(Err(StartError::Runtime { source }))),
            };
            LocalSet::new().block_on(&runtime, deliver(parts, ended, own_beat, renewing, report));
        })?;
        // The thread reports before it goes on; a thread that ended without a word has panicked.
        started.recv().unwrap_or(Err(StartError::Panicked { name: "delivery" }))?;
        Ok(Self { end, beat, thread, renewals })
    }

    /// Gives the sinks of these names new settings, where they differ; the others go on as they are. Returns the names
    /// of those that change.
    ///
    /// # Errors
    /// When the new settings of one cannot be used: then all go on as they are.
    pub fn renew(&self, plans: Vec<SinkPlan>) -> Result<Vec<String>, StartError> {
        let (answer, answered) = std::sync::mpsc::channel();
        // It takes one at a time, and the answer to the last one has come; without the thread there is no answer.
        drop(self.renewals.try_send(Renewal { plans, answer }));
        answered.recv().unwrap_or(Err(StartError::Panicked { name: "delivery" }))
    }

    /// What the watchdog looks at.
    pub fn watched(&self) -> Loop {
        let beat = self.beat.clone();
        Loop { name: "delivery".to_owned(), beat: Box::new(move || Instant(beat.load(Ordering::Relaxed))) }
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the workers. What is under way is left to the queue.
    pub fn stop(self) {
        let _ended = self.end.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the delivery thread panicked while it stopped");
        }
    }
}

async fn deliver(
    parts: Parts,
    ended: watch::Receiver<bool>,
    beat: Arc<AtomicU64>,
    mut renewals: mpsc::Receiver<Renewal>,
    report: std::sync::mpsc::Sender<Result<(), StartError>>,
) {
    let common = Common {
        queue: parts.queue.clone(),
        secret: parts.secret,
        shards: parts.shards,
        backends: parts.backends,
        gate: parts.gate,
        ended: ended.clone(),
    };
    let mut outlets = match Outlets::start(&common, parts.sinks, parts.waited_until, parts.classes) {
        Ok(outlets) => outlets,
        Err(error) => return drop(report.send(Err(error))),
    };
    let admin = match administer(parts.admin, (parts.gateway, parts.metrics), ended.clone()) {
        Ok(thread) => thread,
        Err(error) => return drop(report.send(Err(error))),
    };
    drop(report.send(Ok(())));
    let mut turning = tokio::time::interval(BEAT);
    let mut end = std::pin::pin!(until(ended));
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = turning.tick() => {
                beat.store(clock::mono().0, Ordering::Relaxed);
                let is_unkept = parts.ledger.as_ref().is_some_and(ledger::Handle::refuses);
                parts.demand.store(is_unkept || outlets.refuse_calls(), Ordering::Relaxed);
                super::supervisor::log_notices(&parts.queue);
                parts.ledger.iter().for_each(super::ledger::log_notices);
            }
            Some(Renewal { plans, answer }) = renewals.recv() => {
                // Who asked waits for it, unless the service ends.
                let _waits = answer.send(outlets.renew(plans));
            }
            error = outlets.failed() => {
                // A worker that panicked: the supervisor sees the thread end and stops the service.
                tracing::error!(%error, "a delivery worker failed");
                return;
            }
        }
    }
    outlets.ended().await;
    if admin.join().is_err() {
        tracing::error!("the thread of administration panicked");
    }
}

/// Serves administration until the service ends.
fn administer(
    (admin, also): (Admin, Option<Also>),
    (gateway, metrics): (Arc<dyn Gateway>, PrometheusHandle),
    ended: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StartError::Runtime { source })?;
    spawn("admin".to_owned(), move || runtime.block_on(admin.serve(gateway, metrics, also, until(ended))))
}

/// Before the thread falls asleep: when it was woken often of late, it stays away a little longer, and the next wake
/// serves several answers.
fn rest_if_busy(pace: &Mutex<Pace>) {
    let rest = pace.lock().ok().and_then(|mut pace| {
        pace.note(1, clock::mono());
        pace.rest()
    });
    if let Some(rest) = rest {
        std::thread::sleep(rest);
    }
}

/// Done when the service ends.
pub(super) async fn until(mut ended: watch::Receiver<bool>) {
    let _gone = ended.wait_for(|ended| *ended).await;
}
