//! The sinks of the delivery thread: made, shown to administration, and given new settings while they run.
//!
//! A sink with new settings is another sink: the running one ends what it has under way, then the other takes its place
//! in the same worker, with the same leases (`sinks::worker`).

use std::cell::RefCell;
use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::classes::{self, Kept};
use super::delivery::{Backends, until};
use super::wiring::StartError;
use crate::config::plan::{SinkKind, SinkPlan};
use crate::front::mailbox::{Mail, Mailbox};
use crate::ids::{Seq, SinkNumber};
use crate::queue;
use crate::radius::client::Health;
use crate::sinks::Sink;
use crate::sinks::diameter::settings::Settings as DiameterSettings;
use crate::sinks::diameter::{self, DiameterSink};
use crate::sinks::radius::{self, RadiusSink, Settings as RadiusSettings};
use crate::sinks::view::{Backend, Views};
use crate::sinks::worker::{Bell, Successor, Worker};

/// New settings of one sink that wait for it to take them at most.
const SUCCESSORS_MAX: usize = 8;

/// What all sinks are made with.
#[derive(Clone)]
pub(super) struct Common {
    pub queue: queue::Handle,
    /// The queue's own random octets.
    pub secret: [u8; 16],
    pub shards: Vec<Mailbox>,
    /// Where administration finds the sinks.
    pub backends: Backends,
    /// True when the service ends.
    pub ended: watch::Receiver<bool>,
}

/// The running sinks.
pub(super) struct Outlets {
    common: Common,
    running: Vec<Running>,
    tasks: JoinSet<()>,
}

/// What an earlier process did for a sink.
struct Before {
    /// Records up to here may have been sent.
    waited_until: Seq,
    /// Class values of sessions.
    classes: Vec<(u64, Vec<u8>)>,
}

struct Running {
    /// Its settings, those that wait for their turn included.
    plan: SinkPlan,
    number: SinkNumber,
    kind: Kind,
}

enum Kind {
    Radius {
        successors: mpsc::Sender<Successor<RadiusSink>>,
        board: Rc<RefCell<radius::Board>>,
        /// The NAS address while none is configured: that of the first start, for sessions go on.
        nas_address: IpAddr,
    },
    Diameter {
        successors: mpsc::Sender<Successor<DiameterSink>>,
        board: Rc<RefCell<diameter::Board>>,
    },
}

impl Outlets {
    /// Starts a worker for each sink; records up to `waited_until` may have been sent before, and `kept` is what an
    /// earlier process left of Class values.
    pub fn start(
        common: Common,
        plans: Vec<(SinkPlan, SinkNumber)>,
        waited_until: Seq,
        mut kept: Kept,
    ) -> Result<Self, StartError> {
        let mut outlets = Self { common, running: Vec::new(), tasks: JoinSet::new() };
        for (plan, number) in plans {
            let name = &plan.name;
            let kind = match &plan.kind {
                SinkKind::Radius(settings) => {
                    let (board, nas_address) = (Rc::default(), RadiusSink::nas_address(settings));
                    let make = outlets.common.radius(name, settings, nas_address, &board);
                    Kind::Radius { successors: outlets.run(name, make, number)?, board, nas_address }
                }
                SinkKind::Diameter(settings) => {
                    let board = Rc::default();
                    let before = Before { waited_until, classes: kept.take(number) };
                    let make = outlets.common.diameter((name, number), settings, Some(before), &board);
                    Kind::Diameter { successors: outlets.run(name, make, number)?, board }
                }
            };
            outlets.running.push(Running { plan, number, kind });
        }
        kept.discard(&outlets.common.queue);
        Ok(outlets)
    }

    /// Starts the worker of a sink with its consumer of the queue.
    fn run<S: Sink + 'static>(
        &mut self,
        name: &str,
        mut make: Successor<S>,
        number: SinkNumber,
    ) -> Result<mpsc::Sender<Successor<S>>, StartError> {
        let sink = make(None).map_err(|source| StartError::Sink { name: name.to_owned(), source })?;
        let (successors, next) = mpsc::channel(SUCCESSORS_MAX);
        let bell = Bell::default();
        let consumer = self.common.queue.consumer(number, bell.wake());
        let worker = Worker::new(name, sink, consumer, bell).succeeded_by(next);
        self.tasks.spawn_local(worker.run(until(self.common.ended.clone())));
        Ok(successors)
    }

    /// Gives sinks their new settings where they differ; sinks that do not run, or are of another kind, are passed over.
    /// Returns the names of those that change.
    pub fn renew(&mut self, plans: Vec<SinkPlan>) -> Result<Vec<String>, StartError> {
        let mut changes = Vec::new();
        for plan in plans {
            let fits =
                |running: &Running| running.plan.name == plan.name && running.plan.kind.name() == plan.kind.name();
            let Some(place) = self.running.iter().position(fits) else { continue };
            let running = &self.running[place];
            if running.plan == plan && !running.has_given_up() {
                continue;
            }
            check(&plan.kind).map_err(|source| StartError::Sink { name: plan.name.clone(), source })?;
            if running.is_busy() {
                return Err(StartError::Busy { name: plan.name });
            }
            changes.push((place, plan));
        }
        // Nothing can be refused from here on.
        let names = changes.iter().map(|(_, plan)| plan.name.clone()).collect();
        for (place, plan) in changes {
            self.running[place].take(plan, &self.common);
        }
        Ok(names)
    }

    /// Whether a backend demands that no new call is served.
    pub fn refuse_calls(&self) -> bool {
        self.running.iter().any(|running| match &running.kind {
            Kind::Radius { .. } => false,
            Kind::Diameter { board, .. } => board.borrow().refuses_calls(),
        })
    }

    /// Waits for a worker that fails.
    pub async fn failed(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all workers have ended.
    pub async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Running {
    /// Whether a server does no accounting until the configuration is read again.
    fn has_given_up(&self) -> bool {
        match &self.kind {
            Kind::Radius { board, .. } => {
                board.borrow().servers().iter().any(|server| server.health == Health::Refusing)
            }
            Kind::Diameter { .. } => false,
        }
    }

    /// Whether as many settings wait as may.
    fn is_busy(&self) -> bool {
        match &self.kind {
            Kind::Radius { successors, .. } => successors.capacity() == 0,
            Kind::Diameter { successors, .. } => successors.capacity() == 0,
        }
    }

    /// A worker that does not take them has ended, which its runtime notices.
    fn take(&mut self, plan: SinkPlan, common: &Common) {
        match (&self.kind, &plan.kind, &self.plan.kind) {
            (Kind::Radius { successors, board, nas_address }, SinkKind::Radius(new), SinkKind::Radius(old)) => {
                if identity(new) != identity(old) {
                    tracing::warn!(
                        sink = plan.name,
                        "calls in progress end under another identity of this gateway: the server may not join their records"
                    );
                }
                drop(successors.try_send(common.radius(&plan.name, new, *nas_address, board)));
            }
            (Kind::Diameter { successors, board }, SinkKind::Diameter(new), _) => {
                drop(successors.try_send(common.diameter((&plan.name, self.number), new, None, board)));
            }
            // Who calls has compared the kinds.
            (Kind::Radius { .. } | Kind::Diameter { .. }, ..) => return,
        }
        self.plan = plan;
    }
}

/// By what servers join the records of a session, as far as the settings decide it.
fn identity(settings: &RadiusSettings) -> impl PartialEq {
    (settings.nas_identifier.clone(), settings.nas_address, settings.nas_port, settings.session_id)
}

/// Whether a sink can be made of these settings.
fn check(kind: &SinkKind) -> Result<(), Box<dyn Error + Send + Sync>> {
    match kind {
        SinkKind::Radius(settings) => Ok(RadiusSink::check(settings)?),
        SinkKind::Diameter(settings) => Ok(DiameterSink::check(settings)?),
    }
}

impl Common {
    /// Makes a RADIUS sink and shows it.
    fn radius(
        &self,
        name: &str,
        settings: &RadiusSettings,
        nas_address: IpAddr,
        board: &Rc<RefCell<radius::Board>>,
    ) -> Successor<RadiusSink> {
        let (common, name, board) = (self.clone(), name.to_owned(), Rc::clone(board));
        let nas_address = settings.nas_address.or(Some(nas_address));
        let settings = RadiusSettings { nas_address, ..settings.clone() };
        Box::new(move |_| {
            let sink = RadiusSink::new(&name, &settings)?;
            let own = sink.board();
            board.replace(own.clone());
            common.show(&name, RadiusSink::KIND, Arc::new(move || own.views()));
            Ok(sink)
        })
    }

    /// Makes a Diameter sink and shows it. Without `before` it follows one of this process: all that is in the queue by
    /// then may have been sent, and the Class values are those of the other sink.
    fn diameter(
        &self,
        (name, number): (&str, SinkNumber),
        settings: &Arc<DiameterSettings>,
        mut before: Option<Before>,
        board: &Rc<RefCell<diameter::Board>>,
    ) -> Successor<DiameterSink> {
        let (common, name, board, settings) = (self.clone(), name.to_owned(), Rc::clone(board), Arc::clone(settings));
        let salt = salt(&self.secret, &name);
        Box::new(move |earlier| {
            let Before { waited_until, classes } = before.take().unwrap_or_else(|| Before {
                waited_until: Seq(common.queue.stats().head),
                classes: earlier.map(DiameterSink::classes).unwrap_or_default(),
            });
            let sink = DiameterSink::new(&name, &settings, salt, waited_until)?;
            let own = sink.board();
            board.replace(own.clone());
            common.show(&name, DiameterSink::KIND, Arc::new(move || own.views()));
            let keeper = classes::keeper(&common.queue, &name, number);
            Ok(sink.with_interims(interims(common.secret, common.shards.clone())).with_classes(classes, keeper))
        })
    }

    /// Shows a sink in the place of an earlier one of its name.
    fn show(&self, name: &str, kind: &'static str, views: Views) {
        let backend = Backend { sink: name.to_owned(), kind, views };
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        match backends.iter_mut().find(|backend| backend.sink == name) {
            Some(place) => *place = backend,
            None => backends.push(backend),
        }
    }
}

/// Tells the shard of a session how often a server wants its interim records.
fn interims(secret: [u8; 16], shards: Vec<Mailbox>) -> diameter::Interims {
    Box::new(move |key, every| {
        let owner = key.call().shard(&secret, shards.len().max(1));
        if let Some(shard) = shards.get(owner) {
            // A shard that has ended has no sessions.
            let _ended = shard.put(Mail::Interim { key, every });
        }
    })
}

/// Where the End-to-End ids of a sink begin: the same in every process of this installation.
fn salt(secret: &[u8; 16], name: &str) -> u32 {
    let hash = siphasher::sip::SipHasher13::new_with_key(secret).hash(format!("end-to-end {name}").as_bytes());
    (hash >> 32) as u32
}
