//! Starts the threads of a gateway in the order in which they need each other, and ends them in the opposite order.
//!
//! Sockets first (a port in use is the likeliest failure), then the queue with its restored calls, then the delivery
//! runtime, then the shards: when the first datagram is read everything behind it stands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::mpsc;

use super::classes::{Kept, Stored};
use super::delivery::{self, Delivery};
use super::resolver;
use super::systemd::Loop;
use crate::accounting::{self, CallView, Engine};
use crate::admin::{Admin, BindError, Gateway, Health, Phase};
use crate::clock::{self, Instant, Now, Timestamp};
use crate::config::plan::{LogPlan, Plan, ServicePlan, SipPlan};
use crate::ids::{Seq, SinkMask, SinkNumber};
use crate::queue::{self, Desk};
use crate::record::Kind;
use crate::shard::{Rules, Shard};
use crate::sinks::view::Backend;
use crate::sip::stack::{ListenerId, Outage, Stack, Transport};
use crate::sip::transport::driver::{self, Parts};
use crate::sip::transport::mailbox::{Inbox, Mail, Mailbox, mailbox};
use crate::sip::transport::stream::{self, Place, Streams};
use crate::sip::transport::udp;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error("cannot listen on {}:{local}", transport.via_token().to_ascii_lowercase())]
    Bind {
        /// Its transport.
        transport: Transport,
        /// The address.
        local: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A socket of administration cannot be bound.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// The queue does not open.
    #[error("cannot open the queue")]
    Queue(#[from] queue::OpenError),
    /// A sink cannot be set up.
    #[error("cannot set up the sink `{name}`")]
    Sink {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A sink has not taken its last settings yet.
    #[error("the sink `{name}` has not taken over the last settings yet; try again in a moment")]
    Busy {
        /// Its name.
        name: String,
    },
    /// The event loop of a thread cannot be made.
    #[error("cannot make an event loop")]
    Runtime {
        /// What the kernel says.
        source: io::Error,
    },
    /// A thread ended before it could report.
    #[error("the thread {name} panicked while it started")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// A running gateway.
pub struct Service {
    sip: SipPlan,
    fixed: Fixed,
    numbers: Vec<SinkNumber>,
    /// Sinks whose servers are told of the begin and the end of accounting.
    announced: SinkMask,
    mailboxes: Vec<Mailbox>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    /// The thread of the connections, if there is a listener for any.
    streams: Option<Streams>,
    queue: queue::Handle,
    queue_thread: JoinHandle<Result<(), queue::StoreError>>,
    draining: Arc<AtomicBool>,
    delivery: Delivery,
}

impl Service {
    /// Starts all threads of a plan.
    ///
    /// # Errors
    /// A [`StartError`]; what was started before it ends again.
    pub fn start(
        mut plan: Plan,
        metrics: PrometheusHandle,
        still_starting: &mut dyn FnMut(),
    ) -> Result<Self, StartError> {
        let started = clock::now();
        let fixed = Fixed::of(&plan);
        let phase = Arc::new(AtomicBool::new(false));
        let (sockets, listeners) = (bind_all(&plan.sip)?, bind_streams(&plan.sip)?);
        let admin = Admin::bind(&plan.admin)?;
        let opened = queue::spawn(plan.queue.clone(), &plan.sink_names(), still_starting)?;
        super::supervisor::log_opening(&opened.report);
        // Before anything new is appended.
        let waited_until = Seq(opened.handle.stats().head);
        let announced = announce_start(&plan, &opened, started);
        // It signs what goes out and comes back, and lives with the calls it protects.
        plan.sip.stack.key = opened.secret;
        plan.sip.stack.incarnation = seed(usize::MAX).to_le_bytes();
        let numbers: Vec<SinkNumber> = opened.sinks.iter().map(|(_, number)| *number).collect();
        let rules = Arc::new(Rules { routes: plan.routes(&numbers) });
        let settings = accounting::Settings { boot_id: clock::boot_id(), ..plan.accounting(&numbers) };
        let boxes: Vec<(Mailbox, Inbox)> = (0..plan.sip.shards).map(|_| mailbox()).collect();
        let mailboxes: Vec<Mailbox> = boxes.iter().map(|(own, _)| own.clone()).collect();
        let (ask, questions) = mpsc::channel(resolver::QUESTIONS_MAX);
        let (backends, demand) = (delivery::Backends::default(), Arc::new(AtomicBool::new(false)));
        let (classes, mut calls) = split_stored(opened.calls, plan.sip.shards);
        let delivery = Delivery::start(delivery::Parts {
            classes,
            admin,
            gateway: Arc::new(View::new(&phase, &opened.handle, &mailboxes, &backends)),
            backends,
            metrics,
            sinks: std::mem::take(&mut plan.sinks).into_iter().zip(numbers.iter().copied()).collect(),
            queue: opened.handle.clone(),
            secret: opened.secret,
            waited_until,
            demand: demand.clone(),
            questions,
            dns: plan.sip.dns.clone(),
            shards: mailboxes.clone(),
        })?;
        let streams = start_streams(&plan.sip, listeners, &mailboxes)?;
        let mut shards = Vec::new();
        for (number, ((_, inbox), sockets)) in boxes.into_iter().zip(sockets).enumerate() {
            let own = mailboxes[number].clone();
            let producer = opened.handle.producer(Arc::new(move || own.wake()));
            let (mut stack, shard, settings) = (plan.sip.stack.clone(), plan.shard.clone(), settings.clone());
            stack.shard = (number, plan.sip.shards);
            let (rules, calls) = (rules.clone(), std::mem::take(&mut calls[number]));
            let seed = seed(number);
            let make = move || Shard::new(shard, Stack::new(stack), restored(settings, seed, calls), rules);
            let parts = Parts {
                number,
                sockets,
                streams: streams.as_ref().map(Streams::sender),
                inbox,
                mailboxes: mailboxes.clone(),
                queue: opened.handle.clone(),
                demand: demand.clone(),
                producer,
                resolver: ask.clone(),
                memory_max: plan.sip.memory_max,
                shard: Box::new(make),
            };
            shards.push(spawn(format!("shard-{number}"), move || driver::run(parts))?);
        }
        let (queue, queue_thread) = (opened.handle, opened.join);
        let (sip, draining) = (plan.sip, phase);
        Ok(Self { sip, fixed, numbers, announced, mailboxes, shards, streams, queue, queue_thread, delivery, draining })
    }

    /// Where it takes SIP: the bound addresses in the order of the listeners.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.sip.binds
    }

    /// The queue's handle.
    #[must_use]
    pub fn queue(&self) -> &queue::Handle {
        &self.queue
    }

    /// Takes new settings of sinks, new routes and certificates. Returns what else differs and needs a restart.
    ///
    /// # Errors
    /// When a sink cannot be made of its new settings: then all goes on as it is.
    pub fn reload(&self, mut plan: Plan) -> Result<Vec<&'static str>, StartError> {
        let named = Fixed::of(&plan);
        let mut needs_restart = self.fixed.differences(&named);
        for sink in self.delivery.renew(std::mem::take(&mut plan.sinks))? {
            tracing::info!(sink, "the sink takes over its new settings");
        }
        if self.fixed.sinks == named.sinks {
            let rules = Arc::new(Rules { routes: plan.routes(&self.numbers) });
            for mailbox in &self.mailboxes {
                let _ended = mailbox.put(Mail::Rules(rules.clone()));
            }
        } else {
            // Routes name sinks: those that do not run would lose the records of their calls.
            needs_restart.push("the names of the sinks (`sinks.KIND.NAME`), and the routes with them");
        }
        let is_same = plan.sip.binds == self.sip.binds && plan.sip.stack.listeners == self.sip.stack.listeners;
        if is_same && let Some(streams) = &self.streams {
            streams.renew(plan.sip.credentials.clone());
        }
        if plan.sip.streams != self.sip.streams {
            needs_restart.push("`sip.streams`");
        }
        if plan.sip.dns != self.sip.dns {
            needs_restart.push("sip.dns");
        }
        if !is_same || plan.sip.shards != self.sip.shards {
            needs_restart.push("`sip.listen` or `sip.shards`");
        }
        Ok(needs_restart)
    }

    /// The loops the watchdog looks at.
    #[must_use]
    pub fn loops(&self) -> Vec<Loop> {
        let mut loops: Vec<Loop> = self
            .mailboxes
            .iter()
            .enumerate()
            .map(|(number, mailbox)| {
                let mailbox = mailbox.clone();
                Loop { name: format!("shard-{number}"), beat: Box::new(move || mailbox.last_beat()) }
            })
            .collect();
        loops.push(Loop { name: "queue".to_owned(), beat: turning(self.queue.clone()) });
        loops.push(self.delivery.watched());
        if let Some(streams) = &self.streams {
            loops.push(Loop { name: "streams".to_owned(), beat: Box::new(streams.beat()) });
        }
        loops
    }

    /// Whether a shard or the delivery has ended though nobody asked it to.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shards.iter().any(JoinHandle::is_finished)
            || self.delivery.is_finished()
            || self.streams.as_ref().is_some_and(Streams::is_finished)
            || self.queue_thread.is_finished()
    }

    /// Takes no new calls from here on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            let _ended = mailbox.put(Mail::Drain);
        }
    }

    /// Appends Accounting-Off, which leaves after all records before it.
    pub fn sign_off(&self) -> queue::Producer {
        super::nas::announce(&self.queue, Kind::Off, self.announced, clock::now(), seed(usize::MAX - 2))
    }

    /// Whether a record waits for a sink that is told of the end, or is still on its way into the queue.
    #[must_use]
    pub fn has_unsent(&self, last: &mut queue::Producer) -> bool {
        last.receipts(&mut Vec::new());
        if last.outstanding() > 0 {
            return true;
        }
        let mut queue = self.queue.clone();
        let Ok(stats) = queue.status() else { return false };
        stats.sinks.iter().any(|sink| self.announced.has(sink.sink) && sink.balance.waiting > 0)
    }

    /// Whether all shards have drained.
    #[must_use]
    pub fn has_drained(&self) -> bool {
        self.shards.iter().all(JoinHandle::is_finished)
    }

    /// Ends delivery and the queue; shards that still run are left to the end of the process.
    pub fn stop(self) {
        if let Some(streams) = self.streams {
            streams.stop();
        }
        self.delivery.stop();
        self.queue.stop();
        match self.queue_thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the queue did not close cleanly"),
            Err(_) => tracing::error!("the queue's thread panicked while it stopped"),
        }
        super::supervisor::log_notices(&self.queue);
        drop(self.shards);
    }
}

/// What stays as it is until the next start.
struct Fixed {
    /// Names and kinds of the sinks.
    sinks: Vec<(String, &'static str)>,
    queue: queue::Settings,
    accounting: accounting::Settings,
    accounting_on: Vec<String>,
    admin: crate::admin::Settings,
    log: LogPlan,
    service: ServicePlan,
}

impl Fixed {
    fn of(plan: &Plan) -> Self {
        Self {
            sinks: plan.sinks.iter().map(|sink| (sink.name.clone(), sink.kind.name())).collect(),
            queue: plan.queue.clone(),
            accounting: plan.accounting.clone(),
            accounting_on: plan.accounting_on.clone(),
            admin: plan.admin.clone(),
            log: plan.log.clone(),
            service: plan.service,
        }
    }

    /// The sections that differ, sinks aside.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differ = [
            (self.queue != other.queue, "`queue`, or `collapse_interims` of a sink"),
            (
                self.accounting != other.accounting,
                "`accounting`, `sip.watch`, or `records` or identity fields of a sink",
            ),
            (self.accounting_on != other.accounting_on, "`accounting_on` of a sink"),
            (self.admin != other.admin, "`admin`"),
            (self.log != other.log, "`log`, or `clientdebug` of a client file"),
            (self.service != other.service, "`service`"),
        ];
        differ.into_iter().filter(|(is_other, _)| *is_other).map(|(_, what)| what).collect()
    }
}

/// What administration sees.
struct View {
    phase: Arc<AtomicBool>,
    queue: queue::Handle,
    shards: Vec<Mailbox>,
    started: Timestamp,
    backends: delivery::Backends,
}

/// Longest wait for a shard to list its calls.
const CALLS_WAIT: Duration = Duration::from_secs(2);
/// A loop that has not turned for this long hangs.
const HANGING: Duration = Duration::from_secs(5);

impl View {
    fn new(phase: &Arc<AtomicBool>, queue: &queue::Handle, shards: &[Mailbox], backends: &delivery::Backends) -> Self {
        Self {
            phase: Arc::clone(phase),
            queue: queue.clone(),
            shards: shards.to_vec(),
            started: clock::wall(),
            backends: backends.clone(),
        }
    }
}

impl Gateway for View {
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

    fn outages(&self) -> Vec<Outage> {
        let mut all: Vec<Outage> = Vec::new();
        for shard in &self.shards {
            let (answer, outages) = std::sync::mpsc::sync_channel(1);
            if shard.put(Mail::Outages { answer }).is_err() {
                continue;
            }
            for outage in outages.recv_timeout(CALLS_WAIT).unwrap_or_default() {
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
            let (answer, calls) = std::sync::mpsc::sync_channel(1);
            let mail = Mail::Calls { max: max.saturating_sub(views.len()), answer };
            if shard.put(mail).is_ok() {
                views.extend(calls.recv_timeout(CALLS_WAIT).unwrap_or_default());
            }
        }
        views
    }
}

/// Tells the servers that accounting begins anew if calls were lost; the sinks that are told of such things.
fn announce_start(plan: &Plan, opened: &queue::Started, started: Now) -> SinkMask {
    let announced = opened.sinks.iter().filter(|(name, _)| plan.accounting_on.contains(name));
    let announced = announced.fold(SinkMask::NONE, |mask, (_, number)| mask.with(*number));
    if opened.report.calls_lost {
        // Nobody waits for the receipt: a queue that takes nothing says so by its alarm.
        drop(super::nas::announce(&opened.handle, Kind::On, announced, started, seed(usize::MAX - 1)));
    }
    announced
}

/// When the queue's thread last turned, as far as the asking shows.
fn turning(queue: queue::Handle) -> Box<dyn Fn() -> Instant + Send> {
    let last = std::sync::Mutex::new((queue.turns(), clock::mono()));
    Box::new(move || {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let turns = queue.turns();
        if turns != last.0 {
            *last = (turns, clock::mono());
        }
        last.1
    })
}

/// What each listener speaks and binds.
fn places(sip: &SipPlan) -> Vec<Place> {
    let both = sip.stack.listeners.iter().zip(&sip.binds);
    both.map(|(listener, bind)| Place { transport: listener.transport, bind: *bind }).collect()
}

/// One socket for each UDP listener and shard.
fn bind_all(sip: &SipPlan) -> Result<Vec<Vec<Option<socket2::Socket>>>, StartError> {
    let places = places(sip);
    let bind = |place: &Place| match place.transport {
        Transport::Udp => udp::bind(place.bind).map(Some).map_err(|source| refused(*place, source)),
        Transport::Tcp | Transport::Tls => Ok(None),
    };
    (0..sip.shards).map(|_| places.iter().map(bind).collect()).collect()
}

/// One socket for each listener of connections.
fn bind_streams(sip: &SipPlan) -> Result<Vec<(ListenerId, socket2::Socket)>, StartError> {
    let numbered = (0_u16..).map(ListenerId).zip(places(sip)).filter(|(_, place)| place.transport.is_reliable());
    let bind = |(id, place): (ListenerId, Place)| {
        stream::bind(place.bind).map(|socket| (id, socket)).map_err(|source| refused(place, source))
    };
    numbered.map(bind).collect()
}

fn refused(place: Place, source: io::Error) -> StartError {
    StartError::Bind { transport: place.transport, local: place.bind, source }
}

/// The thread of the connections; none when nothing listens for any.
fn start_streams(
    sip: &SipPlan,
    sockets: Vec<(ListenerId, socket2::Socket)>,
    mailboxes: &[Mailbox],
) -> Result<Option<Streams>, StartError> {
    if sockets.is_empty() {
        return Ok(None);
    }
    let parts = stream::Parts {
        settings: sip.streams,
        places: places(sip),
        sockets,
        credentials: sip.credentials.clone(),
        sip: sip.stack.clone(),
        mailboxes: mailboxes.to_vec(),
    };
    let failed = |source| StartError::Thread { name: "streams".to_owned(), source };
    Streams::start(parts).map(Some).map_err(failed)
}

/// Class values of sessions, and for each shard the calls that it owns.
fn split_stored(stored: Vec<Stored>, shards: usize) -> (Kept, Vec<Vec<Stored>>) {
    let (classes, calls) = Kept::split(stored);
    let mut split = vec![Vec::new(); shards];
    for (key, value) in calls {
        // A key that cannot be read goes to the first shard, whose engine reports it.
        let owner = accounting::Key::from_bytes(&key).map_or(0, |key| key.call().shard(shards));
        split[owner].push((key, value));
    }
    (classes, split)
}

/// An engine with its calls; one that cannot be read is reported and stays in the queue.
fn restored(settings: accounting::Settings, seed: u128, calls: Vec<Stored>) -> Engine {
    let mut engine = Engine::new(settings, seed);
    let now = clock::now();
    for (key, value) in calls {
        if let Err(error) = engine.restore(now, &key, &value) {
            tracing::error!(%error, "a call in progress cannot be restored");
        }
    }
    engine
}

fn seed(number: usize) -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one((number, std::process::id(), clock::wall().0)));
    half() << 64 | half()
}

pub(super) fn spawn<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    std::thread::Builder::new().name(name.clone()).spawn(body).map_err(|source| StartError::Thread { name, source })
}
