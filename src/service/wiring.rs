//! Starts the threads of a gateway in the order in which they need each other, and ends them in the opposite order.
//!
//! Sockets first (a port in use is the likeliest failure), then the queue with its restored calls, then the delivery
//! runtime, then the shards: when the first datagram is read everything behind it stands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::mpsc;

use super::classes::Kept;
use super::cluster::{self, Compared, Member, NameTaken};
use super::delivery::{self, Delivery};
use super::forwarding::forwarded;
use super::ledger::Book;
use super::mirrors::{self, Mirrors};
use super::reload::{Administration, Base, Fixed, Pending, Reach, Wish};
use super::route_keys::{Keyring, Sharing};
use super::systemd::Loop;
use super::unwritten::Store;
use super::view::{Loaded, View, WISHES_MAX};
use crate::accounting::{self, Engine};
use crate::admin::{Admin, BindError};
use crate::clock::{self, Instant, Now};
use crate::cluster::ask::answering;
use crate::cluster::forward::Cluster;
use crate::cluster::names::Role;
use crate::config::plan::{Plan, SipPlan};
use crate::front::driver::{self, Parts, Question};
use crate::front::mailbox::{Inbox, Mail, Mailbox, mailbox};
use crate::front::resolver::{QUESTIONS_MAX, Resolver};
use crate::front::stream::{self, Place, Streams};
use crate::front::udp;
use crate::ids::{Seq, SinkMask, SinkNumber};
use crate::ledger;
use crate::policy::Recipe;
use crate::policy::script::{Outside, Traces};
use crate::queue::{self, Desk};
use crate::record::Kind;
use crate::shard::Shard;
use crate::sip::stack::{self, ListenerId, Stack, Transport};
use crate::timers::random;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error("cannot listen on {}:{local} ({option})", transport.via_token().to_ascii_lowercase())]
    Bind {
        /// The option that says so.
        option: String,
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
    /// The ledger does not open, and no call is to be served without it.
    #[error("cannot open the ledger; `ledger.on_trouble = \"gap\"` serves calls without it")]
    Ledger(#[from] ledger::LedgerError),
    /// There are no keys to sign with.
    #[error("cannot sign Record-Route values")]
    Keys(#[from] super::route_keys::KeyError),
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
    /// What it started with.
    base: Base,
    /// Sinks whose servers are told of the begin and the end of accounting.
    announced: SinkMask,
    front: Front,
    queue: queue::Handle,
    store: Store,
    ledger: Book,
    keys: Arc<Keyring>,
    draining: Arc<AtomicBool>,
    delivery: Delivery,
    mirrors: Mirrors,
    wishes: Option<mpsc::Receiver<Wish>>,
}

/// The threads on the side of SIP.
struct Front {
    mailboxes: Vec<Mailbox>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    /// The thread of the connections, if there is a listener for any.
    streams: Option<Streams>,
    resolver: Resolver,
    /// What goes on with the calls of other gateways, if this is one of many.
    member: Option<Member>,
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
        let (started, fixed, cluster) = (clock::now(), Fixed::of(&plan), plan.cluster.clone().map(Cluster::new));
        let (phase, loaded) = (Arc::new(AtomicBool::new(false)), Loaded::new(plan.options.views().into()));
        let (sockets, listeners, heard) = (bind_all(&plan.sip)?, bind_streams(&plan.sip)?, mirrors::bind_all(&plan)?);
        let (admin, socket) = (Admin::bind(&plan.admin, plan.admin_tls.take())?, plan.admin.socket.clone());
        let administration = Administration::of(&admin);
        super::unwritten::remind(socket.as_deref());
        let (mut opened, ledger) = super::ledger::open_queue(&plan, None, still_starting)?;
        super::supervisor::log_opening(&opened.report);
        let waited_until = Seq(opened.handle.stats().head); // before anything new is appended
        // It signs what goes out and comes back, and lives with the calls it protects.
        let keys = sign_with(&mut plan, opened.secret, &opened.handle)?;
        let numbers: Vec<SinkNumber> = opened.sinks.iter().map(|(_, number)| *number).collect();
        let outside = outside_of(&plan);
        let recipe = plan.recipe(&numbers, outside.clone());
        let settings = accounting::Settings { boot_id: clock::boot_id(), ..plan.accounting(&numbers) };
        let boxes: Vec<(Mailbox, Inbox)> = (0..plan.sip.shards).map(|_| mailbox()).collect();
        let mailboxes: Vec<Mailbox> = boxes.iter().map(|(own, _)| own.clone()).collect();
        let (member, announced) = join_cluster(&mut plan, &mut opened, (&mailboxes, &keys, started), still_starting)?;
        let ((ask, questions), (wish, wishes)) = (mpsc::channel(QUESTIONS_MAX), mpsc::channel(WISHES_MAX));
        let (backends, demand) = (delivery::Backends::default(), Arc::new(AtomicBool::new(false)));
        let (followed, calls) = split_stored(opened.calls, &opened.secret, &plan);
        let delivery = Delivery::start(delivery::Parts {
            classes: Kept(opened.classes),
            admin: (admin, plan.cluster.clone().map(|own| answering(own, Role::Gateway))),
            gateway: Arc::new(View::new(
                &phase,
                &opened.handle,
                &mailboxes,
                &backends,
                ((wish, Arc::clone(&outside.traces)), (ledger.handle(), plan.ledger.folder()), (&loaded, &member)),
            )),
            backends,
            metrics,
            sinks: forwarded(std::mem::take(&mut plan.sinks), cluster.as_ref()).zip(numbers.iter().copied()).collect(),
            queue: opened.handle.clone(),
            secret: opened.secret,
            waited_until,
            demand: demand.clone(),
            shards: mailboxes.clone(),
            gate: None,
            ledger: ledger.handle(),
        })?;
        let mirrors = Mirrors::start(&plan, heard, followed, (&opened.handle, &settings), &numbers)?;
        let resolver = start_resolver(&plan.sip, questions, &mailboxes)?;
        let streams = start_streams(&plan.sip, listeners, &mailboxes)?;
        let common = ShardParts {
            plan: &plan,
            settings: &settings,
            recipe,
            mailboxes: &mailboxes,
            streams: streams.as_ref(),
            queue: &opened.handle,
            demand,
            ask,
            adopter: member.as_ref().map(Member::questions),
        };
        let own = boxes.into_iter().map(|(_, inbox)| inbox).zip(sockets).zip(calls).enumerate();
        let shards = own.map(|(number, own)| common.start(number, own)).collect::<Result<_, _>>()?;
        let (queue, store, admin) = (opened.handle, Store::new(opened.join, socket), administration);
        let (allow_on, accounting, shard) = (plan.sip.stack.allow_on.clone(), settings, plan.shard);
        let base = Base { fixed, numbers, cluster, outside, accounting, shard, allow_on, loaded, admin };
        let (sip, draining, wishes) = (plan.sip, phase, Some(wishes));
        let front = Front { mailboxes, shards, streams, resolver, member };
        Ok(Self { sip, keys, base, announced, front, queue, store, ledger, delivery, mirrors, draining, wishes })
    }

    /// Where it takes SIP: the bound addresses in the order of the listeners.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.sip.binds
    }

    /// Where it is administered, in words.
    #[must_use]
    pub fn administered(&self) -> &str {
        &self.base.admin.places
    }

    /// The queue's handle.
    #[must_use]
    pub fn queue(&self) -> &queue::Handle {
        &self.queue
    }

    /// Wishes to reload that come over the socket of the commands. Who takes them has to answer them; the second time
    /// there are none.
    pub fn wishes(&mut self) -> mpsc::Receiver<Wish> {
        self.wishes.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Takes over what a reload replaces, and tells what waits for the next start.
    ///
    /// # Errors
    /// When a sink cannot be made of its new settings: then all goes on as it is.
    pub fn reload(&self, plan: Plan) -> Result<Vec<Pending>, StartError> {
        self.keys.replace_after(plan.sip.route_key_age);
        let reach = Reach {
            base: &self.base,
            mailboxes: &self.front.mailboxes,
            streams: self.front.streams.as_ref(),
            delivery: &self.delivery,
            resolver: &self.front.resolver,
            ledger: self.ledger.running(),
            mirrors: &self.mirrors,
        };
        reach.take(plan)
    }

    /// Replaces the key that signs Record-Route values if it is old.
    pub fn renew_keys(&self) {
        match self.keys.renew() {
            Ok(false) => {}
            Ok(true) => {
                for mailbox in &self.front.mailboxes {
                    let _ended = mailbox.put(Mail::Keys(self.keys.keys()));
                }
                tracing::info!("the key that signs Record-Route values was replaced; what it has signed stays good");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the key that signs Record-Route values could not be replaced");
            }
        }
    }

    /// The loops the watchdog looks at.
    #[must_use]
    pub fn loops(&self) -> Vec<Loop> {
        let mut loops: Vec<Loop> = self
            .front
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
        loops.push(Loop { name: "resolver".to_owned(), beat: Box::new(self.front.resolver.beat()) });
        loops.extend(self.mirrors.loops());
        let member = self.front.member.as_ref();
        loops.extend(member.map(|own| Loop { name: "cluster".to_owned(), beat: Box::new(own.beat()) }));
        if let Some(streams) = &self.front.streams {
            loops.push(Loop { name: "streams".to_owned(), beat: Box::new(streams.beat()) });
        }
        loops
    }

    /// Whether a shard or the delivery has ended though nobody asked it to.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.front.shards.iter().any(JoinHandle::is_finished)
            || self.delivery.is_finished()
            || self.front.resolver.is_finished()
            || self.front.streams.as_ref().is_some_and(Streams::is_finished)
            || self.store.is_finished()
            || self.ledger.has_failed()
            || self.mirrors.has_failed()
            || self.front.member.as_ref().is_some_and(Member::has_failed)
    }

    /// Whether another process of the cluster lives under our name.
    #[must_use]
    pub fn twin(&self) -> Option<NameTaken> {
        self.front.member.as_ref().and_then(Member::twin)
    }

    /// Takes no new calls from here on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for mailbox in &self.front.mailboxes {
            let _ended = mailbox.put(Mail::Drain);
        }
    }

    /// Appends Accounting-Off, which leaves after all records before it.
    pub fn sign_off(&self) -> queue::Producer {
        super::nas::announce(&self.queue, Kind::Off, self.announced, clock::now(), seed())
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
        self.front.shards.iter().all(JoinHandle::is_finished)
    }

    /// Ends delivery and the queue; shards that still run are left to the end of the process.
    pub fn stop(self) {
        if let Some(streams) = self.front.streams {
            streams.stop();
        }
        self.front.resolver.stop();
        self.mirrors.stop();
        self.delivery.stop();
        if let Some(member) = self.front.member {
            member.stop();
        }
        self.store.stop(&self.queue);
        self.ledger.stop();
        drop(self.front.shards);
    }
}

/// What all shards are made with.
struct ShardParts<'a> {
    plan: &'a Plan,
    settings: &'a accounting::Settings,
    recipe: Arc<dyn Recipe>,
    mailboxes: &'a [Mailbox],
    streams: Option<&'a Streams>,
    queue: &'a queue::Handle,
    demand: Arc<AtomicBool>,
    ask: mpsc::Sender<Question>,
    /// Where the calls of other gateways are looked for.
    adopter: Option<mpsc::Sender<[accounting::Key; 2]>>,
}

/// What one shard has for itself: its inbox, its sockets, its calls.
type Own = ((Inbox, Vec<Option<socket2::Socket>>), Vec<Stored>);

impl ShardParts<'_> {
    /// Starts the thread of a shard.
    fn start(&self, number: usize, ((inbox, sockets), calls): Own) -> Result<JoinHandle<io::Result<()>>, StartError> {
        let own = self.mailboxes[number].clone();
        let sip = &self.plan.sip;
        let stack = stack::Settings { shard: (number, sip.shards), ..sip.stack.clone() };
        let (shard, settings, recipe) = (self.plan.shard.clone(), self.settings.clone(), self.recipe.clone());
        let seed = seed();
        let is_in_cluster = self.adopter.is_some();
        let make = move || {
            let shard = Shard::new(shard, Stack::new(stack), restored(settings, seed, calls), recipe);
            if is_in_cluster { shard.in_cluster() } else { shard }
        };
        let parts = Parts {
            number,
            sockets,
            streams: self.streams.map(Streams::sender),
            inbox,
            mailboxes: self.mailboxes.to_vec(),
            queue: self.queue.clone(),
            demand: self.demand.clone(),
            producer: self.queue.producer(Arc::new(move || own.wake())),
            resolver: self.ask.clone(),
            adopter: self.adopter.clone(),
            memory_max: sip.memory_max,
            shard: Box::new(make),
        };
        spawn(format!("shard-{number}"), move || driver::run(parts))
    }
}

/// What scripts see beside their calls.
fn outside_of(plan: &Plan) -> Outside {
    let traces = Arc::new(Traces::new(plan.sip.shards));
    Outside { witness: Arc::new(super::script::Told::default()), counters: Arc::default(), traces }
}

/// Takes part in the cluster, if there is one, and leaves to other gateways what they have taken over; tells the servers
/// then that accounting begins anew, if it does. Gives the sinks that are told of such things.
fn join_cluster(
    plan: &mut Plan,
    opened: &mut queue::Started,
    (mailboxes, keyring, started): (&[Mailbox], &Arc<Keyring>, Now),
    step: &mut dyn FnMut(),
) -> Result<(Option<Member>, SinkMask), StartError> {
    let Some(settings) = plan.cluster.clone() else {
        return Ok((None, announce_start(plan, opened, (started, &Compared::alone()))));
    };
    let parts = cluster::Parts {
        settings,
        secret: opened.secret,
        sinks: opened.sinks.clone(),
        mailboxes: mailboxes.to_vec(),
        queue: opened.handle.clone(),
        keyring: Arc::clone(keyring),
        calls: &opened.calls,
        head: opened.handle.stats().head,
    };
    let (member, comparison) = Member::start(parts)?;
    let compared = comparison.end(&mut opened.calls, &opened.handle, step);
    plan.sip.stack.route_keys = keyring.keys();
    Ok((Some(member), announce_start(plan, opened, (started, &compared))))
}

/// Tells the servers that accounting begins anew if calls were lost and no other gateway has any of them; the sinks that are
/// told of such things.
fn announce_start(plan: &Plan, opened: &queue::Started, (started, compared): (Now, &Compared)) -> SinkMask {
    let announced = opened.sinks.iter().filter(|(name, _)| plan.accounting_on.contains(name));
    let announced = announced.fold(SinkMask::NONE, |mask, (_, number)| mask.with(*number));
    if opened.report.calls_lost && !compared.has_others() {
        // Nobody waits for the receipt: a queue that takes nothing says so by its alarm.
        drop(super::nas::announce(&opened.handle, Kind::On, announced, started, seed()));
    }
    announced
}

/// When the queue's thread last turned, as far as the asking shows.
pub(super) fn turning(queue: queue::Handle) -> Box<dyn Fn() -> Instant + Send> {
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

/// Binds what the gateway would listen on, and lets it go again; each with its outcome.
#[must_use]
pub fn try_listeners(sip: &SipPlan) -> Vec<(String, io::Result<()>)> {
    let bind = |place: Place| {
        let bound = match place.transport {
            Transport::Udp => udp::bind(place.bind),
            Transport::Tcp | Transport::Tls => stream::bind(place.bind),
        };
        (format!("{}:{}", place.transport.via_token().to_ascii_lowercase(), place.bind), bound.map(drop))
    };
    places(sip).into_iter().map(bind).collect()
}

fn refused(place: Place, source: io::Error) -> StartError {
    let option = "`sip.listen`".to_owned();
    StartError::Bind { option, transport: place.transport, local: place.bind, source }
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

/// A call as the queue has it, name and value.
type Stored = (Vec<u8>, Vec<u8>);

/// For each mirror the calls that it follows, and for each shard those that it owns.
fn split_stored(mut calls: Vec<Stored>, secret: &[u8; 16], plan: &Plan) -> (Vec<Vec<Stored>>, Vec<Vec<Stored>>) {
    let (followed, shards) = (mirrors::split(&mut calls, plan), plan.sip.shards);
    let mut split = vec![Vec::new(); shards];
    for (key, value) in calls {
        // A key that cannot be read goes to the first shard, whose engine reports it.
        let owner = accounting::Key::from_bytes(&key).map_or(0, |key| key.call().shard(secret, shards));
        split[owner].push((key, value));
    }
    (followed, split)
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

/// The keys of what is signed, put into the settings of the shards.
fn sign_with(plan: &mut Plan, secret: [u8; 16], queue: &queue::Handle) -> Result<Arc<Keyring>, StartError> {
    let sharing = if plan.cluster.is_some() { Sharing::Cluster } else { Sharing::Alone };
    let sip = &mut plan.sip;
    let keys = Keyring::open(queue, secret, (sip.route_key_age, sharing), &sip.stack)?;
    sip.stack.key = secret;
    sip.stack.route_keys = keys.keys();
    sip.stack.incarnation = seed().to_le_bytes();
    Ok(Arc::new(keys))
}

/// Random octets.
pub(super) fn seed() -> u128 {
    let [high, low] = random::seed();
    u128::from(high) << 64 | u128::from(low)
}

fn start_resolver(
    sip: &SipPlan,
    questions: mpsc::Receiver<Question>,
    mailboxes: &[Mailbox],
) -> Result<Resolver, StartError> {
    Resolver::start(questions, mailboxes.to_vec(), sip.dns.clone())
        .map_err(|source| StartError::Thread { name: "resolver".to_owned(), source })
}

pub(super) fn spawn<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    std::thread::Builder::new().name(name.clone()).spawn(body).map_err(|source| StartError::Thread { name, source })
}
