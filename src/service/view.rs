//! What administration sees of the gateway, and what it may have it do.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::cluster;
use super::delivery;
use super::reload::Wish;
use crate::accounting::{CallView, Closing};
use crate::admin::{Gateway, Health, OptionView, Phase, Reloaded};
use crate::clock::{self, Timestamp};
use crate::cluster::deliver::parts::{self, Shown};
use crate::front::mailbox::{Answers, Look, Mail, Mailbox};
use crate::ledger;
use crate::policy::script::Traces;
use crate::policy::script::trace::{Find, Found};
use crate::queue::{self, Desk};
use crate::shard::ladder::{Ladder, Traced};
use crate::sinks::view::Backend;
use crate::sip::stack::Outage;

/// What administration sees.
pub(super) struct View {
    phase: Arc<AtomicBool>,
    queue: queue::Handle,
    shards: Vec<Mailbox>,
    started: Timestamp,
    backends: delivery::Backends,
    wish: mpsc::Sender<Wish>,
    traces: Arc<Traces>,
    ledger: Option<ledger::Handle>,
    /// Where the ledger is, if it is kept.
    book: Option<PathBuf>,
    loaded: Loaded,
    /// What a deliverer knows of its cluster.
    deliverer: Option<Shown>,
    /// What a gateway of a cluster knows of it.
    member: Option<cluster::Shown>,
}

/// The options of the configuration that was read last.
pub(super) type Loaded = Arc<Mutex<Vec<OptionView>>>;

/// Where wishes go, and what the script leaves behind.
type Asked = (mpsc::Sender<Wish>, Arc<Traces>);
/// The running ledger, and its folder.
type Books = (Option<ledger::Handle>, Option<PathBuf>);

/// Wishes to reload that wait at most.
pub(super) const WISHES_MAX: usize = 4;
/// Longest wait for a shard to answer.
const CALLS_WAIT: Duration = Duration::from_secs(2);
/// A loop that has not turned for this long hangs.
const HANGING: Duration = Duration::from_secs(5);

impl View {
    pub(super) fn new(
        phase: &Arc<AtomicBool>,
        queue: &queue::Handle,
        shards: &[Mailbox],
        backends: &delivery::Backends,
        ((wish, traces), (ledger, book), (loaded, member)): (Asked, Books, (&Loaded, &Option<cluster::Member>)),
    ) -> Self {
        Self {
            phase: Arc::clone(phase),
            queue: queue.clone(),
            shards: shards.to_vec(),
            started: clock::wall(),
            backends: backends.clone(),
            wish,
            traces,
            ledger,
            book,
            loaded: Arc::clone(loaded),
            deliverer: None,
            member: member.as_ref().map(cluster::Member::shown),
        }
    }

    /// The same of a deliverer.
    pub(super) fn in_cluster(self, shown: Shown) -> Self {
        Self { deliverer: Some(shown), ..self }
    }
}

impl Gateway for View {
    fn configuration(&self) -> Vec<OptionView> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ledger(&self) -> Option<PathBuf> {
        self.book.clone()
    }

    fn flush_ledger(&self) -> bool {
        self.ledger.as_ref().is_some_and(ledger::Handle::flush)
    }

    fn ledger_stats(&self) -> Option<ledger::Stats> {
        let unopened = || ledger::Stats {
            failing: Some("it could not be opened: nothing is written down until the next start".to_owned()),
            ..ledger::Stats::default()
        };
        self.book.as_ref().map(|_| self.ledger.as_ref().map_or_else(unopened, ledger::Handle::stats))
    }

    fn deliverer(&self) -> Option<Value> {
        let shown = self.deliverer.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parts::View { is_member, members, owners, own, open, gone, trouble } = shown;
        Some(json!({
            "member": is_member, "members": members, "owners": owners, "own": own, "open": open, "gone": gone,
            "trouble": trouble,
        }))
    }

    fn cluster(&self) -> Option<Value> {
        self.member.as_ref().map(cluster::Shown::json)
    }

    fn health(&self) -> Health {
        let draining = self.phase.load(Ordering::Relaxed);
        let now = clock::mono();
        let hanging = |(number, shard): (usize, &Mailbox)| {
            (now.since(shard.last_beat()) > HANGING).then(|| format!("shard-{number}"))
        };
        Health {
            phase: if draining { Phase::Draining } else { Phase::Running },
            hanging: self.shards.iter().enumerate().filter_map(hanging).collect(),
            accepts_calls: !draining && !self.shards.iter().any(Mailbox::refuses_calls),
            calls: self.shards.iter().map(Mailbox::calls).sum(),
            shards: self.shards.len(),
            turned_away: self
                .shards
                .iter()
                .map(Mailbox::turned_away)
                .fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1)),
            answers: self.shards.iter().map(Mailbox::answers).fold(Answers::default(), Answers::and),
            started: self.started,
        }
    }

    fn queue(&self) -> queue::Stats {
        self.queue.stats()
    }

    fn desk(&self) -> Box<dyn Desk + Send> {
        Box::new(self.queue.clone())
    }

    fn backends(&self) -> Vec<Backend> {
        self.backends.lock().map(|backends| backends.clone()).unwrap_or_default()
    }

    fn reload(&self) -> Option<Reloaded> {
        let (answer, answered) = std::sync::mpsc::channel();
        self.wish.try_send(Wish { answer }).ok()?;
        answered.recv().ok()
    }

    fn script_trace(&self, find: &Find) -> Option<Found> {
        self.traces.keeps().map(|_| self.traces.find(find))
    }

    fn outages(&self) -> Vec<Outage> {
        let mut all: Vec<Outage> = Vec::new();
        for shard in &self.shards {
            for outage in ask(shard, |answer| Mail::Look(Look::Outages(answer))) {
                let same = |own: &&mut Outage| own.transport == outage.transport && own.addr == outage.addr;
                match all.iter_mut().find(same) {
                    // Each shard finds out for itself.
                    Some(own) => {
                        own.since = own.since.min(outage.since);
                        own.probes += outage.probes;
                    }
                    None => all.push(outage),
                }
            }
        }
        all
    }

    fn calls(&self, max: usize) -> Vec<CallView> {
        let mut views = Vec::new();
        for shard in &self.shards {
            let max = max.saturating_sub(views.len());
            views.extend(ask(shard, |answer| Mail::Look(Look::Calls(max, answer))));
        }
        views
    }

    fn ladder(&self, call_id: &[u8]) -> Option<Ladder> {
        let find = |shard| ask(shard, |answer| Mail::Look(Look::Ladder(call_id.to_vec(), answer))).pop();
        self.shards.iter().find_map(find)
    }

    fn traced(&self, max: usize) -> Vec<Traced> {
        let mut all: Vec<Traced> =
            self.shards.iter().flat_map(|shard| ask(shard, |answer| Mail::Look(Look::Traced(max, answer)))).collect();
        all.sort_by_key(|traced| Reverse(traced.begun));
        all.truncate(max);
        all
    }

    fn end_calls(&self, closing: &Closing) -> Vec<CallView> {
        let close = |shard| ask(shard, |answer| Mail::Close { closing: closing.clone(), answer });
        self.shards.iter().flat_map(close).collect()
    }
}

/// What a shard answers; nothing when it does not in time.
fn ask<T>(shard: &Mailbox, mail: impl FnOnce(SyncSender<Vec<T>>) -> Mail) -> Vec<T> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    if shard.put(mail(answer)).is_err() {
        return Vec::new();
    }
    answered.recv_timeout(CALLS_WAIT).unwrap_or_default()
}
