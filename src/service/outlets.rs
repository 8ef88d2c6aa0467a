//! The sinks of the delivery thread: made, shown to administration, and given new settings while they run.
//!
//! A sink with new settings is another sink: the running one ends what it has under way, then the other takes its place
//! in the same worker, with the same leases (`sinks::worker`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::classes::{self, Kept};
use super::delivery::{Backends, until};
use super::wiring::StartError;
use crate::config::plan::SinkPlan;
use crate::front::mailbox::{Mail, Mailbox};
use crate::ids::{Seq, SinkNumber};
use crate::queue;
use crate::sinks::kind::{Door, Ground, Interims};
use crate::sinks::view::{Backend, Board};
use crate::sinks::worker::Gate;

/// What all sinks are made with.
#[derive(Clone)]
pub(super) struct Common {
    pub queue: queue::Handle,
    /// The queue's own random octets.
    pub secret: [u8; 16],
    pub shards: Vec<Mailbox>,
    /// Where administration finds the sinks.
    pub backends: Backends,
    /// Says which records go to their sinks; `None`: all.
    pub gate: Option<Arc<dyn Gate>>,
    /// True when the service ends.
    pub ended: watch::Receiver<bool>,
}

/// The running sinks.
pub(super) struct Outlets {
    running: Vec<Running>,
    tasks: JoinSet<()>,
}

struct Running {
    /// Its settings, those that wait for their turn included.
    plan: SinkPlan,
    door: Box<dyn Door>,
    board: Slot,
}

/// The board of the sink that was made last; there is one as soon as the first stands.
type Slot = Rc<RefCell<Option<Arc<dyn Board>>>>;

impl Outlets {
    /// Starts a worker for each sink; records up to `waited_until` may have been sent before, and `kept` is what an
    /// earlier process left of Class values.
    pub fn start(
        common: &Common,
        plans: Vec<(SinkPlan, SinkNumber)>,
        waited_until: Seq,
        kept: Kept,
    ) -> Result<Self, StartError> {
        let mut outlets = Self { running: Vec::new(), tasks: JoinSet::new() };
        let kept = Rc::new(RefCell::new(kept));
        for (plan, number) in plans {
            let board = Slot::default();
            let ground = common.ground(&plan, number, waited_until, &kept, &board);
            let started = plan.kind.start(ground, Box::pin(until(common.ended.clone())));
            let started = started.map_err(|source| StartError::Sink { name: plan.name.clone(), source })?;
            outlets.tasks.spawn_local(started.work);
            outlets.running.push(Running { plan, door: started.door, board });
        }
        kept.take().discard(&common.queue);
        Ok(outlets)
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
            if running.plan.kind.is_same(&*plan.kind) && !running.says(|board| board.has_given_up()) {
                continue;
            }
            plan.kind.check().map_err(|source| StartError::Sink { name: plan.name.clone(), source })?;
            if running.door.is_full() {
                return Err(StartError::Busy { name: plan.name });
            }
            changes.push((place, plan));
        }
        // Nothing can be refused from here on.
        let names = changes.iter().map(|(_, plan)| plan.name.clone()).collect();
        for (place, plan) in changes {
            self.running[place].door.renew(Arc::clone(&plan.kind));
            self.running[place].plan = plan;
        }
        Ok(names)
    }

    /// Whether a backend demands that no new call is served.
    pub fn refuse_calls(&self) -> bool {
        self.running.iter().any(|running| running.says(|board| board.refuses_calls()))
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
    fn says(&self, what: impl Fn(&dyn Board) -> bool) -> bool {
        self.board.borrow().as_deref().is_some_and(what)
    }
}

impl Common {
    /// What a sink is started with.
    fn ground(
        &self,
        plan: &SinkPlan,
        number: SinkNumber,
        waited_until: Seq,
        kept: &Rc<RefCell<Kept>>,
        board: &Slot,
    ) -> Ground {
        let (kept, board, common) = (Rc::clone(kept), Rc::clone(board), self.clone());
        let (name, queue): (Arc<str>, _) = (plan.name.as_str().into(), self.queue.clone());
        let (shown, kind) = (Arc::clone(&name), plan.kind.name());
        let (keeping, keeper_of) = (Arc::clone(&name), self.queue.clone());
        Ground {
            name,
            number,
            queue,
            secret: self.secret,
            waited_until,
            kept: Box::new(move || kept.borrow_mut().take(number)),
            keeper: Box::new(move || classes::keeper(&keeper_of, &keeping, number)),
            gate: self.gate.clone(),
            interims: interims(self.secret, self.shards.clone()),
            show: Box::new(move |own| {
                board.replace(Some(Arc::clone(&own)));
                common.show(&shown, kind, own);
            }),
        }
    }

    /// Shows a sink in the place of an earlier one of its name.
    fn show(&self, name: &str, kind: &'static str, board: Arc<dyn Board>) {
        let backend = Backend { sink: name.to_owned(), kind, views: Arc::new(move || board.views()) };
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        match backends.iter_mut().find(|backend| backend.sink == name) {
            Some(place) => *place = backend,
            None => backends.push(backend),
        }
    }
}

/// Tells the shard of a session how often a server wants its interim records.
fn interims(secret: [u8; 16], shards: Vec<Mailbox>) -> Interims {
    Arc::new(move |key, every| {
        let owner = key.call().shard(&secret, shards.len().max(1));
        if let Some(shard) = shards.get(owner) {
            // A shard that has ended has no sessions.
            let _ended = shard.put(Mail::Interim { key, every });
        }
    })
}
