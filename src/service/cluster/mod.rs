//! A gateway as one of many: its calls survive it, and it goes on with those of others.
//!
//! A thread of its own does that ([`gateway`]); nothing on the path of a call waits for it but a request of a call that is not
//! known here, which a shard holds until the call was looked for (`shard::adopting`). At a start the calls of the queue
//! are compared with the bucket before SIP is served: what others have taken over meanwhile is forgotten.

mod desk;
mod gateway;
mod leases;
pub(super) mod metrics;
mod shards;
mod words;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::{Notify, mpsc, oneshot};

use self::gateway::{Bells, Gateway};
use self::leases::Leases;
use self::metrics::Meters;
pub(super) use self::metrics::Shown;
use self::shards::Shards;
use super::route_keys::Keyring;
use super::wiring::StartError;
use crate::accounting::{self, Key};
use crate::clock::{self, Instant};
use crate::cluster::calls::{COMPARE_WAIT, CallKey, Calls, Home, Input};
use crate::cluster::lease::{Owner, Timing};
use crate::cluster::{self, Settings};
use crate::front::mailbox::Mailbox;
use crate::ids::SinkNumber;
use crate::queue;
use crate::queue::echo::Echo;
use crate::record::{CallChange, Commit};
use crate::sinks::jetstream::patience::Patience;

/// Calls that are looked for and not yet taken by the thread, at most.
const QUESTIONS_MAX: usize = 1_024;
/// How much longer than [`COMPARE_WAIT`] a start waits for the thread to say that there is nothing to wait for.
const COMPARE_MARGIN: Duration = Duration::from_secs(1);
/// How often a start that waits says so.
const STEP: Duration = Duration::from_millis(20);
/// Changes of one commit that forgets calls.
const FORGOTTEN_MAX: usize = 1_024;

/// A call as the queue has it, name and value.
type Stored = (Vec<u8>, Vec<u8>);

/// What it is made of.
pub(super) struct Parts<'a> {
    pub settings: Settings,
    /// The queue's secret: by it a shard owns a call, and the queue is told from others.
    pub secret: [u8; 16],
    pub sinks: Vec<(String, SinkNumber)>,
    pub mailboxes: Vec<Mailbox>,
    pub queue: queue::Handle,
    pub keyring: Arc<Keyring>,
    /// The calls of the queue.
    pub calls: &'a [Stored],
    /// The last place taken before anything new was appended.
    pub head: u64,
}

/// How the calls of the queue stand to those of the cluster.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Whether the cluster has answered.
    pub complete: bool,
    /// Calls that others have.
    gone: HashSet<Key>,
    /// Whether calls came back that the queue did not have.
    has_restored: bool,
}

impl Compared {
    /// There is no cluster.
    pub fn alone() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// Whether other gateways know of calls that this one had: the servers are not told then that its sessions are over.
    pub fn has_others(&self) -> bool {
        !self.complete || self.has_restored || !self.gone.is_empty()
    }
}

/// Another process of the cluster lives under our name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("another gateway of the cluster is called `{0}` too: give each a `cluster.name` of its own")]
pub struct NameTaken(pub String);

/// Why the thread has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Told,
    Twin,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    questions: mpsc::Sender<[Key; 2]>,
    end: oneshot::Sender<()>,
    beat: Arc<AtomicU64>,
    has_twin: Arc<AtomicBool>,
    shown: Shown,
    thread: JoinHandle<()>,
}

impl Member {
    /// Starts the thread, and gives what tells how the comparison ends.
    ///
    /// # Errors
    /// When the queue does not answer, or there is no thread.
    pub fn start(parts: Parts<'_>) -> Result<(Self, Comparison), StartError> {
        let failed = |source: std::io::Error| StartError::Thread { name: "cluster".to_owned(), source };
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let echo = Echo::new(Arc::new(move || ring.notify_one()));
        parts.queue.tell_calls(echo.clone()).map_err(|error| failed(std::io::Error::other(error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let ((questions, asked), (end, ended)) = (mpsc::channel(QUESTIONS_MAX), oneshot::channel::<()>());
        let (answer, compared) = oneshot::channel();
        let (beat, has_twin) = (Arc::new(AtomicU64::new(clock::mono().0)), Arc::new(AtomicBool::new(false)));
        let bells = Bells { questions: asked, echo: bell, beat: Arc::clone(&beat) };
        let name = parts.settings.name.clone();
        let shown = Shown::default();
        let (gateway, first) = gateway(parts, (echo, shown.clone()), answer);
        let twin = Arc::clone(&has_twin);
        let thread = super::wiring::spawn("cluster".to_owned(), move || {
            let ended = async {
                // Whoever drops it wants the same.
                let _told = ended.await;
            };
            if runtime.block_on(gateway.run(bells, ended, first)) == End::Twin {
                twin.store(true, Ordering::Relaxed);
            }
        })?;
        Ok((Self { name, questions, end, beat, has_twin, shown, thread }, Comparison(compared)))
    }

    /// Where shards have calls looked for.
    pub fn questions(&self) -> mpsc::Sender<[Key; 2]> {
        self.questions.clone()
    }

    /// What it shows of its cluster.
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// When it last turned, for the watchdog.
    pub fn beat(&self) -> impl Fn() -> Instant + Send + use<> {
        let beat = Arc::clone(&self.beat);
        move || Instant(beat.load(Ordering::Relaxed))
    }

    /// Whether it has ended though nobody asked it to.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether another process lives under our name.
    pub fn twin(&self) -> Option<NameTaken> {
        self.has_twin.load(Ordering::Relaxed).then(|| NameTaken(self.name.clone()))
    }

    /// Ends it. The lease of our name is kept: if this gateway does not come back soon, others take over its calls.
    pub fn stop(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the cluster panicked");
        }
    }
}

/// The machines of a gateway, with what they want at first.
fn gateway(
    parts: Parts<'_>,
    (echo, shown): (Echo, Shown),
    answer: oneshot::Sender<Compared>,
) -> (Gateway, Vec<cluster::calls::Output>) {
    let Parts { settings, secret, sinks, mailboxes, keyring, calls, head, .. } = parts;
    let (now, disk, mut first) = (clock::now(), disk_of(&secret), Vec::new());
    let home = Home { name: settings.name.clone(), disk };
    let own = cluster::calls::Settings { home, epoch: 0, sinks: gateway::names_of(&sinks) };
    let mut machine = Calls::new(now, own, &mut first);
    for (key, value) in last_of(calls) {
        if !accounting::has_ended(value) {
            machine.handle(now, Input::Put { key, value: value.clone(), mark: head }, &mut first);
        } else if accounting::has_recorded_end(value) {
            machine.handle(now, Input::Ended { key, mark: head }, &mut first);
        }
    }
    // A former life had the same disk, which no two processes use at once: what it held is ours. Its updates had lower
    // numbers, for they were counted from an earlier instant.
    let me = Owner { name: settings.name.clone(), nonce: disk };
    let turn = u64::try_from(now.wall.0 / 1_000).unwrap_or(0);
    let gateway = Gateway {
        leases: Leases::new(me, Timing { lease: settings.lease }, turn),
        calls: machine,
        shards: Shards::new(secret, mailboxes),
        meters: Meters::new(shown.clone()),
        shown,
        settings,
        life: super::wiring::seed(),
        keyring,
        echo,
        sinks,
        desk: None,
        patience: Patience::default(),
        is_stored: true,
        asked: FuturesUnordered::new(),
        is_scanning: false,
        scans: 0,
        postponed: Vec::new(),
        found: BTreeMap::new(),
        confirming: HashSet::new(),
        starting: Some((answer, HashSet::new())),
        has_restored: false,
        told: None,
        confirmed: None,
        lives: None,
        keys: None,
        end: None,
    };
    (gateway, first)
}

/// Names a queue without telling its secret.
fn disk_of(secret: &[u8; 16]) -> u128 {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(b"home of calls");
    let octets = mac.finalize().into_bytes();
    u128::from_be_bytes(std::array::from_fn(|place| octets[place]))
}

/// What a queue keeps of each call; the last of those with one name counts.
fn last_of(calls: &[Stored]) -> BTreeMap<CallKey, &Vec<u8>> {
    calls.iter().filter_map(|(key, value)| Some((CallKey(key.as_slice().try_into().ok()?), value))).collect()
}

/// What a start waits for.
#[derive(Debug)]
pub(super) struct Comparison(oneshot::Receiver<Compared>);

impl Comparison {
    /// Waits for its end, and takes out of `calls` and of the queue what others have. `step` is called meanwhile.
    pub fn end(mut self, calls: &mut Vec<Stored>, queue: &queue::Handle, step: &mut dyn FnMut()) -> Compared {
        let until = clock::mono() + COMPARE_WAIT + COMPARE_MARGIN;
        let compared = loop {
            match self.0.try_recv() {
                Ok(compared) => break compared,
                Err(oneshot::error::TryRecvError::Empty) if clock::mono() < until => {
                    step();
                    std::thread::sleep(STEP.min(until.since(clock::mono())));
                }
                Err(_) => break Compared::default(),
            }
        };
        if !compared.complete {
            tracing::error!(
                "the cluster does not say which calls others have taken over: this gateway goes on with all that it had"
            );
        }
        forget(&compared.gone, calls, queue);
        compared
    }
}

/// Takes calls out of `calls` and of the queue.
fn forget(gone: &HashSet<Key>, calls: &mut Vec<Stored>, queue: &queue::Handle) {
    if gone.is_empty() {
        return;
    }
    let is_gone = |key: &[u8]| Key::from_bytes(key).is_some_and(|key| gone.contains(&key));
    calls.retain(|(key, _)| !is_gone(key));
    tracing::warn!(calls = gone.len(), "other gateways have taken over calls of this one: they are forgotten here");
    let mut producer = queue.producer(Arc::new(|| ()));
    let keys: Vec<&Key> = gone.iter().collect();
    for keys in keys.chunks(FORGOTTEN_MAX) {
        let calls = keys.iter().map(|key| CallChange::Remove { key: key.to_bytes() }).collect();
        if producer.append(0, Commit { entries: Vec::new(), calls }).is_err() {
            tracing::error!("the queue is full: it keeps calls that others have until the next start");
        }
    }
}
