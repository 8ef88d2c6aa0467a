//! What a reload replaces while the gateway runs, and what it names for the next start.
//!
//! Calls, connections and records go on. [`crate::config::reload`] declares for each option which of the two it is; the
//! parts of a plan that can only be taken up at a start are [`Fixed`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::delivery::Delivery;
use super::forwarding::forwarded;
use super::mirrors::Mirrors;
use super::view::Loaded;
use super::wiring::StartError;
use crate::accounting;
use crate::admin::{self, Admin, Reloaded, Renewal};
use crate::cluster;
use crate::cluster::forward::Cluster;
use crate::config::error::Place;
use crate::config::plan::{DeliverPlan, MirrorPlan, Plan, SipPlan};
use crate::config::reload::{Difference, Effect, Options};
use crate::config::schema::LogTarget;
use crate::front::mailbox::{Mail, Mailbox};
use crate::front::resolver::Resolver;
use crate::front::stream::Streams;
use crate::ids::SinkNumber;
use crate::ledger;
use crate::net::tls::ServerTls;
use crate::policy::Marks;
use crate::policy::script::Outside;
use crate::queue;
use crate::shard::trace::Tracing;
use crate::shard::{self, Tuning};
use crate::sinks::jetstream::{Access, Login, Tls};
use crate::sip::stack::{Listener, ListenerId, Network, Transport};
use crate::telemetry;

/// What takes effect at the next start only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pending {
    /// The option, or what else it is.
    pub what: String,
    /// Where it stands.
    pub place: Place,
}

impl Pending {
    /// Its place as text; empty if it has none.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.place {
            Place::Nowhere => String::new(),
            place => place.to_string(),
        }
    }
}

/// A wish to reload that came over the socket of the commands.
#[derive(Debug)]
pub struct Wish {
    /// Who waits for the outcome.
    pub answer: std::sync::mpsc::Sender<Reloaded>,
}

/// The parts of a plan that stay as they are until the next start.
pub(super) struct Fixed {
    path: PathBuf,
    options: Options,
    /// Names and kinds of the sinks.
    sinks: Vec<(String, &'static str)>,
    /// What each sink takes, by place.
    modes: Vec<accounting::SinkMode>,
    accounting_on: Vec<String>,
    queue: queue::Settings,
    /// Whether the ledger is kept, and where.
    ledger: (bool, PathBuf),
    telemetry: Option<telemetry::Settings>,
    listeners: Vec<Listener>,
    binds: Vec<SocketAddr>,
    shards: usize,
    /// Without its TLS, of which two are never the same.
    cluster: Option<cluster::Settings>,
    deliver: DeliverPlan,
    /// Without its token.
    admin: admin::Settings,
    log: LogTarget,
    /// Without their marks.
    mirrors: Vec<MirrorPlan>,
}

impl Fixed {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            path: plan.path.clone(),
            options: plan.options.clone(),
            sinks: plan.sinks.iter().map(|sink| (sink.name.clone(), sink.kind.name())).collect(),
            modes: plan.accounting.sinks.clone(),
            accounting_on: plan.accounting_on.clone(),
            queue: plan.queue.clone(),
            ledger: (plan.ledger.is_kept, plan.ledger.path.clone()),
            telemetry: plan.telemetry.clone(),
            listeners: plan.sip.stack.listeners.clone(),
            binds: plan.sip.binds.clone(),
            shards: plan.sip.shards,
            cluster: plan.cluster.clone().map(|own| {
                let access = Access { tls: Tls::default(), ..own.access };
                cluster::Settings { access, ..own }
            }),
            deliver: plan.deliver.clone(),
            admin: admin::Settings { token: None, ..plan.admin.clone() },
            log: plan.log.target,
            mirrors: plan.mirrors.iter().map(|own| MirrorPlan { marks: Marks::NONE, ..own.clone() }).collect(),
        }
    }

    /// Those of a deliverer: what a file says of SIP and of what a gateway records is nothing to it.
    pub(super) fn of_deliverer(plan: &Plan) -> Self {
        Self {
            modes: Vec::new(),
            accounting_on: Vec::new(),
            telemetry: None,
            listeners: Vec::new(),
            binds: Vec::new(),
            shards: 0,
            mirrors: Vec::new(),
            // They are below `deliver.directory`.
            queue: queue::Settings { path: PathBuf::new(), ..plan.queue.clone() },
            ledger: (plan.ledger.is_kept, PathBuf::new()),
            ..Self::of(plan)
        }
    }

    /// What differs: a section, or the one option of it that may do so by itself, as a default that follows the machine.
    pub(super) fn parts(&self, other: &Self) -> Vec<&'static str> {
        let listen = |own: &Self| (own.listeners.clone(), own.binds.clone());
        let sinks = |own: &Self| {
            (own.sinks.clone(), own.modes.clone(), own.accounting_on.clone(), own.queue.collapsing.clone())
        };
        let queue = |own: &Self| queue::Settings { collapsing: Default::default(), ..own.queue.clone() };
        let is_of_cluster = |own: Difference| own.option.starts_with("cluster.") && own.effect == Effect::Restart;
        let is_cluster_other =
            self.cluster != other.cluster || self.options.differences(&other.options).into_iter().any(is_of_cluster);
        let bare =
            |own: &Self| own.mirrors.iter().map(|own| MirrorPlan { key: None, ..own.clone() }).collect::<Vec<_>>();
        let has_same_mirrors = bare(self) == bare(other);
        let differ = [
            (listen(self) != listen(other), "sip.listen"),
            (self.shards != other.shards, "sip.shards"),
            (queue(self) != queue(other), "queue"),
            (self.ledger != other.ledger, "ledger"),
            (self.telemetry != other.telemetry, "telemetry.instance"),
            (sinks(self) != sinks(other), "sinks"),
            (is_cluster_other, part_of_cluster(self.cluster.as_ref(), other.cluster.as_ref())),
            (self.deliver != other.deliver, "deliver"),
            (self.admin != other.admin, "admin"),
            (self.log != other.log, "log"),
            (!has_same_mirrors, "mirror"),
            // New content of the file.
            (has_same_mirrors && self.mirrors != other.mirrors, "mirror.key_file"),
        ];
        differ.into_iter().filter(|(is_other, _)| *is_other).map(|(_, part)| part).collect()
    }

    /// What of `new` waits for the next start: its options by name and line.
    pub(super) fn pending(&self, new: &Self) -> Vec<Pending> {
        let parts = self.parts(new);
        fn section_of(option: &str) -> &str {
            option.trim_matches('`').split('.').next().unwrap_or_default()
        }
        let mut pending: Vec<Pending> = self
            .options
            .differences(&new.options)
            .into_iter()
            .filter(|own| own.effect == Effect::Restart)
            .filter(|own| parts.iter().any(|part| section_of(part) == section_of(&own.option)))
            .map(|own| Pending { what: format!("`{}`", own.option), place: own.place })
            .collect();
        for part in parts {
            if !pending.iter().any(|own| section_of(&own.what) == section_of(part)) {
                let what = if part.contains('.') { format!("`{part}`") } else { format!("`[{part}]`") };
                pending.push(Pending { what, place: Place::Whole(new.path.clone()) });
            }
        }
        if self.sinks != new.sinks && !self.listeners.is_empty() {
            let what = "the routes and `accounting.on`, which may name other sinks".to_owned();
            pending.push(Pending { what, place: Place::Nowhere });
        }
        pending
    }
}

/// What of a cluster is another one although its options may be the same: new content of a file, or the name of the machine.
fn part_of_cluster(old: Option<&cluster::Settings>, new: Option<&cluster::Settings>) -> &'static str {
    match old.zip(new) {
        Some((old, new)) if old.access.login != new.access.login => match new.access.login {
            Login::None => "cluster",
            Login::User(..) => "cluster.password_file",
            Login::Token(_) => "cluster.token_file",
            Login::Nkey(_) => "cluster.nkey_file",
            Login::Credentials(_) => "cluster.credentials_file",
        },
        Some((old, new)) if old.name != new.name => "cluster.name",
        _ => "cluster",
    }
}

/// Takes over what gateways and deliverers have alike.
pub(super) fn take_common(plan: &mut Plan, loaded: &Loaded, admin: &Renewal, ledger: Option<&ledger::Handle>) {
    *loaded.lock().unwrap_or_else(PoisonError::into_inner) = plan.options.views();
    admin.renew(plan.admin_tls.take());
    admin.renew_token(plan.admin.token.take());
    if let Err(error) = super::log::set_level(&plan.log.level) {
        tracing::error!(%error, "the log keeps its level");
    }
    if let Some(ledger) = ledger {
        ledger.renew(&plan.ledger);
    }
}

/// What a service started with.
pub(super) struct Base {
    pub fixed: Fixed,
    /// The numbers of the sinks in the queue.
    pub numbers: Vec<SinkNumber>,
    /// Where the records of all sinks go, in place of their backends.
    pub cluster: Option<Arc<Cluster>>,
    /// What the script tells and leaves behind.
    pub outside: Outside,
    /// Settings of accounting and of a shard as the shards got them.
    pub accounting: accounting::Settings,
    pub shard: shard::Settings,
    /// Blocks of single listeners.
    pub allow_on: Vec<(ListenerId, Vec<Network>)>,
    /// What administration shows of the configuration.
    pub loaded: Loaded,
    /// What is left here of administration.
    pub admin: Administration,
}

/// What stays of administration beside its own thread.
pub(super) struct Administration {
    /// Takes new TLS and another token there.
    pub renewal: Renewal,
    /// Where it is, in words.
    pub places: String,
}

impl Administration {
    pub(super) fn of(admin: &Admin) -> Self {
        Self { renewal: admin.renewal(), places: admin.places() }
    }
}

/// What of a running service a reload reaches.
pub(super) struct Reach<'a> {
    pub base: &'a Base,
    pub mailboxes: &'a [Mailbox],
    pub streams: Option<&'a Streams>,
    pub delivery: &'a Delivery,
    pub resolver: &'a Resolver,
    pub ledger: Option<&'a ledger::Handle>,
    pub mirrors: &'a Mirrors,
}

impl Reach<'_> {
    /// Takes over what can be, and tells what waits for the next start.
    ///
    /// # Errors
    /// When a sink cannot be made of its new settings: then all goes on as it is.
    pub fn take(&self, mut plan: Plan) -> Result<Vec<Pending>, StartError> {
        let new = Fixed::of(&plan);
        let sinks = forwarded(std::mem::take(&mut plan.sinks), self.base.cluster.as_ref());
        for sink in self.delivery.renew(sinks.collect())? {
            tracing::info!(sink, "the sink takes over its new settings");
        }
        // Nothing can be refused from here on.
        take_common(&mut plan, &self.base.loaded, &self.base.admin.renewal, self.ledger);
        if let Some((cluster, new)) = self.base.cluster.as_ref().zip(plan.cluster.as_ref()) {
            cluster.settings().access.tls.renew(&new.access.tls);
        }
        self.renumber(&new, &mut plan.sip);
        let tuning = Arc::new(tuning(&plan, &self.base.fixed, &self.base.accounting, &self.base.shard));
        // Routes name sinks: those that do not run would lose the records of their calls.
        let recipe = (self.base.fixed.sinks == new.sinks).then(|| {
            let witness = Arc::new(super::script::Told::default());
            plan.recipe(&self.base.numbers, Outside { witness, ..self.base.outside.clone() })
        });
        // Those of sinks that do not run stay out of the marks, as with routes.
        let marks = recipe.as_ref().map(|_| (&plan.mirrors[..], &self.base.numbers[..]));
        self.mirrors.configure(&tuning.accounting, marks);
        for mailbox in self.mailboxes {
            let _ended = mailbox.put(Mail::Tuning { tuning: tuning.clone(), memory_max: plan.sip.memory_max });
            if let Some(recipe) = &recipe {
                let _ended = mailbox.put(Mail::Policy(recipe.clone()));
            }
        }
        self.resolver.ask_by(&plan.sip.dns);
        if let Some(streams) = self.streams {
            if !self.lacks_credentials(&plan.sip.credentials.servers) {
                streams.renew(plan.sip.credentials.clone());
            }
            streams.limit(plan.sip.streams, plan.sip.stack.clone());
        }
        Ok(self.base.fixed.pending(&new))
    }

    /// What is said of a listener is of the running one with its address, and of none if that does not run.
    fn renumber(&self, new: &Fixed, sip: &mut SipPlan) {
        let fixed = &self.base.fixed;
        let place = |fixed: &Fixed, at: usize| {
            fixed.listeners.get(at).map(|own| own.transport).zip(fixed.binds.get(at).copied())
        };
        let running = |id: ListenerId| {
            let wanted = place(new, usize::from(id.0))?;
            let at = (0..fixed.listeners.len()).find(|at| place(fixed, *at) == Some(wanted))?;
            u16::try_from(at).ok().map(ListenerId)
        };
        fn of_running<T>(list: &mut Vec<(ListenerId, T)>, running: impl Fn(ListenerId) -> Option<ListenerId>) {
            let all = std::mem::take(list).into_iter();
            list.extend(all.filter_map(|(id, value)| Some((running(id)?, value))));
        }
        of_running(&mut sip.stack.allow_on, running);
        of_running(&mut sip.credentials.servers, running);
        // A running listener that the file has no more keeps the blocks it started with.
        let is_new =
            |id: &ListenerId| (0..new.listeners.len()).any(|at| place(new, at) == place(fixed, usize::from(id.0)));
        let kept = self.base.allow_on.iter().filter(|(id, _)| !is_new(id)).cloned();
        sip.stack.allow_on.extend(kept);
    }

    /// Whether TLS listeners that run would be without a certificate.
    fn lacks_credentials(&self, servers: &[(ListenerId, ServerTls)]) -> bool {
        let listeners = (0_u16..).map(ListenerId).zip(&self.base.fixed.listeners);
        let mut tls = listeners.filter(|(_, own)| own.transport == Transport::Tls);
        tls.any(|(id, _)| servers.iter().all(|(own, _)| *own != id))
    }
}

/// Settings for shards that run: what of the plan they can take.
pub(super) fn tuning(plan: &Plan, fixed: &Fixed, accounting: &accounting::Settings, shard: &shard::Settings) -> Tuning {
    // These limits are of the whole gateway, and so many shards share them.
    let share = |calls: usize| calls.saturating_mul(plan.sip.shards).div_ceil(fixed.shards.max(1));
    Tuning {
        shard: shard::Settings {
            calls_max: share(plan.shard.calls_max),
            trace: Tracing { calls: share(plan.shard.trace.calls), ..plan.shard.trace.clone() },
            commit_wait_max: shard.commit_wait_max,
            refuse_after: shard.refuse_after,
            on_trouble: shard.on_trouble,
            ..plan.shard.clone()
        },
        stack: plan.sip.stack.clone(),
        accounting: accounting::Settings {
            sinks: accounting.sinks.clone(),
            listeners: accounting.listeners.clone(),
            boot_id: accounting.boot_id.clone(),
            ..plan.accounting.clone()
        },
    }
}
