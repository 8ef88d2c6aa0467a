//! The delivery runtime: one thread with a worker for each sink, the administration and the resolver.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::classes::{self, Kept};
use super::resolver;
use super::systemd::Loop;
use super::wiring::{StartError, spawn};
use crate::admin::{Admin, Gateway};
use crate::clock::{self, Instant};
use crate::config::plan::{SinkKind, SinkPlan};
use crate::ids::{Seq, SinkNumber};
use crate::queue;
use crate::sinks::Sink;
use crate::sinks::diameter::{self, DiameterSink};
use crate::sinks::radius::RadiusSink;
use crate::sinks::view::{Backend, Views};
use crate::sinks::worker::{Bell, Worker};
use crate::sip::transport::driver::Question;
use crate::sip::transport::mailbox::{Mail, Mailbox};
use crate::timers::pace::{Pace, Step};

/// How often the runtime leaves a beat for the watchdog.
const BEAT: Duration = Duration::from_secs(1);

/// The rest of the delivery thread by its wakes a second: an answer of a backend waits that long at most.
const RESTS: &[Step] = &[Step { per_second: 250, rest: Duration::from_millis(1) }];

/// The sinks, once they stand.
pub(super) type Backends = Arc<OnceLock<Vec<Backend>>>;

/// What the delivery runtime is made of.
pub(super) struct Parts {
    pub admin: Admin,
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
    pub questions: mpsc::Receiver<Question>,
    pub shards: Vec<Mailbox>,
}

/// The running delivery thread.
pub(super) struct Delivery {
    end: watch::Sender<bool>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Delivery {
    /// Starts the thread and waits until its sinks stand.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let (end, ended) = watch::channel(false);
        let beat = Arc::new(AtomicU64::new(clock::mono().0));
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
            LocalSet::new().block_on(&runtime, deliver(parts, ended, own_beat, report));
        })?;
        // The thread reports before it goes on; a thread that ended without a word has panicked.
        started.recv().unwrap_or(Err(StartError::Panicked { name: "delivery" }))?;
        Ok(Self { end, beat, thread })
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
    mut parts: Parts,
    ended: watch::Receiver<bool>,
    beat: Arc<AtomicU64>,
    report: std::sync::mpsc::Sender<Result<(), StartError>>,
) {
    let mut tasks = JoinSet::new();
    let mut backends = Vec::new();
    let mut demands: Vec<diameter::Board> = Vec::new();
    for (plan, number) in parts.sinks {
        let name = plan.name;
        match plan.kind {
            SinkKind::Radius(settings) => {
                let sink = match RadiusSink::new(&name, &settings) {
                    Ok(sink) => sink,
                    Err(source) => return drop(report.send(Err(StartError::Sink { name, source }))),
                };
                let board = sink.board();
                let views: Views = Arc::new(move || board.views());
                backends.push(Backend { sink: name.clone(), kind: RadiusSink::KIND, views });
                tasks.spawn_local(worker(&name, sink, number, &parts.queue).run(until(ended.clone())));
            }
            SinkKind::Diameter(settings) => {
                let salt = salt(&parts.secret, &name);
                let sink = match DiameterSink::new(&name, &settings, salt, parts.waited_until) {
                    Ok(sink) => sink
                        .with_interims(interims(parts.shards.clone()))
                        .with_classes(parts.classes.take(number), classes::keeper(&parts.queue, &name, number)),
                    Err(source) => return drop(report.send(Err(StartError::Diameter { name, source }))),
                };
                let board = sink.board();
                demands.push(board.clone());
                let views: Views = Arc::new(move || board.views());
                backends.push(Backend { sink: name.clone(), kind: DiameterSink::KIND, views });
                tasks.spawn_local(worker(&name, sink, number, &parts.queue).run(until(ended.clone())));
            }
        }
    }
    parts.classes.discard(&parts.queue);
    let admin = tokio::task::spawn_local(parts.admin.serve(parts.gateway, parts.metrics, until(ended.clone())));
    let resolver = tokio::task::spawn_local(resolver::resolve(parts.questions, parts.shards));
    // Set once: this runs once.
    let _first = parts.backends.set(backends);
    drop(report.send(Ok(())));
    let mut turning = tokio::time::interval(BEAT);
    let mut end = std::pin::pin!(until(ended));
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = turning.tick() => {
                beat.store(clock::mono().0, Ordering::Relaxed);
                parts.demand.store(demands.iter().any(diameter::Board::refuses_calls), Ordering::Relaxed);
                super::supervisor::log_notices(&parts.queue);
            }
            Some(Err(error)) = tasks.join_next() => {
                // A worker that panicked: the supervisor sees the thread end and stops the service.
                tracing::error!(%error, "a delivery worker failed");
                return;
            }
        }
    }
    resolver.abort();
    let _panicked = admin.await;
    while tasks.join_next().await.is_some() {}
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

/// Tells the shard of a session how often a server wants its interim records.
fn interims(shards: Vec<Mailbox>) -> diameter::Interims {
    Box::new(move |key, every| {
        let owner = key.call().shard(shards.len().max(1));
        if let Some(shard) = shards.get(owner) {
            // A shard that has ended has no sessions.
            let _ended = shard.put(Mail::Interim { key, every });
        }
    })
}

/// A worker with its consumer of the queue.
fn worker<S: Sink>(name: &str, sink: S, number: SinkNumber, queue: &queue::Handle) -> Worker<S, queue::Consumer> {
    let bell = Bell::default();
    let consumer = queue.consumer(number, bell.wake());
    Worker::new(name, sink, consumer, bell)
}

/// Where the End-to-End ids of a sink begin: the same in every process of this installation.
fn salt(secret: &[u8; 16], name: &str) -> u32 {
    let hash = siphasher::sip::SipHasher13::new_with_key(secret).hash(format!("end-to-end {name}").as_bytes());
    (hash >> 32) as u32
}

/// Done when the service ends.
async fn until(mut ended: watch::Receiver<bool>) {
    let _gone = ended.wait_for(|ended| *ended).await;
}
