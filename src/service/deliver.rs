//! The main thread of `tollgate deliver`: one term after the other, each with an empty queue, sinks and a feeder.
//!
//! A term ends when the process is told to end, or when it must not go on: a partition went to another deliverer while a
//! sink here had records of it. Then all connections to backends are closed, and the next term begins with nothing in hand.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::classes::Kept;
use super::delivery::{self, Delivery, until};
use super::ledger::Book;
use super::reload::{Fixed, Pending, take_common};
use super::supervisor::take_over;
use super::systemd::{self, Watchdog};
use super::unwritten::Store;
use super::view::{Loaded, View, WISHES_MAX};
use super::wiring::{StartError, seed, spawn, turning};
use crate::admin::{Admin, Renewal};
use crate::causes::chain_text;
use crate::cluster;
use crate::cluster::admission::Admission;
use crate::cluster::ask::answering;
use crate::cluster::deliver::feeder;
use crate::cluster::deliver::parts::{self, End, Parts, Shown};
use crate::cluster::link::{self, LinkError};
use crate::cluster::names::Role;
use crate::cluster::objects::{self, ObjectError};
use crate::config;
use crate::config::excerpt::{Look, told};
use crate::config::plan::{self, Plan};
use crate::ids::{Seq, SinkNumber};
use crate::policy::script::Traces;
use crate::queue;
use crate::queue::witness::{Event, Tap};
use crate::sinks::jetstream::Tls;
use crate::sinks::jetstream::patience::Patience;

/// How often it is looked whether a thread has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Pause between two terms, and between two tries to reach the cluster at the begin of one.
const PAUSE: Duration = Duration::from_secs(1);

/// Why `tollgate deliver` ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// It would fail again: a person must act.
    #[error("{0}")]
    Misfit(String),
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// Delivers until SIGTERM or SIGINT.
///
/// # Errors
/// When it does not start or cannot go on.
pub fn run(plan: Plan) -> Result<(), DeliverError> {
    super::process::keep_private();
    super::log::start(&plan.log).context("cannot start the log")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let path = plan.path.clone();
        let (folder, queue) = (plan.deliver.directory.clone(), plan.deliver.queue());
        let _locked = lock(&folder)?;
        let metrics =
            crate::admin::metrics::install(super::metrics::all()).context("cannot install the metrics recorder")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        let nonce = seed();
        let (mut plan, mut terms) = (Some(plan), 0);
        loop {
            let this = match plan.take() {
                Some(plan) => plan,
                None => match config::load(&path) {
                    Ok(plan) => plan,
                    Err(mistakes) => {
                        let mistakes = told(&mistakes, Look::Plain).join("\n");
                        tracing::error!("the next term waits for a configuration without mistakes:\n{mistakes}");
                        tokio::select! {
                            _ = terminate.recv() => break,
                            _ = interrupt.recv() => break,
                            () = tokio::time::sleep(MEND_WAIT) => continue,
                        }
                    }
                },
            };
            let watched = this.service.watchdog == plan::Watchdog::Fed;
            empty(&queue)?;
            let term = Term::start(this, (nonce, terms), metrics.clone())?;
            systemd::ready();
            let ended = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            let going = term.last(ended, (&path, &mut hang_up), watched).await;
            match going {
                Going::Stopped => break,
                Going::Again(why) => {
                    tracing::error!(why, "this term ends, and the next begins with nothing in hand");
                    terms += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Going::Misfit(why) => return Err(DeliverError::Misfit(why)),
                Going::Failed(error) => return Err(error.into()),
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Pause before a configuration with mistakes is read again: shorter than systemd waits for a sign of life.
const MEND_WAIT: Duration = Duration::from_secs(5);

/// What becomes of the process after a term.
enum Going {
    Stopped,
    Again(String),
    Misfit(String),
    Failed(anyhow::Error),
}

/// Keeps a second process out of the folder; until the file is closed.
fn lock(folder: &Path) -> Result<File, DeliverError> {
    let opened = fs::create_dir_all(folder).and_then(|()| File::create(folder.join("lock")));
    let file = opened.with_context(|| format!("cannot write in {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DeliverError::Misfit(format!(
            "another `tollgate deliver` uses {}: give each a `deliver.directory` of its own",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(anyhow::Error::from(error).context(format!("cannot lock {}", folder.display())).into())
        }
    }
}

/// Removes what the last term had in hand: the stream has all of it that is not settled.
fn empty(queue: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(queue) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", queue.display()))
        }
        _ => Ok(()),
    }
}

/// A running term.
struct Term {
    queue: queue::Handle,
    store: Store,
    ledger: Book,
    delivery: Delivery,
    feeder: JoinHandle<Result<End, anyhow::Error>>,
    end: watch::Sender<bool>,
    wishes: mpsc::Receiver<super::reload::Wish>,
    fixed: Fixed,
    loaded: Loaded,
    renewal: Renewal,
    /// Of the connections to the cluster.
    tls: Tls,
}

impl Term {
    fn start(mut plan: Plan, (nonce, terms): (u128, usize), metrics: PrometheusHandle) -> anyhow::Result<Self> {
        plan.become_deliverer();
        let fixed = Fixed::of_deliverer(&plan);
        let settings = plan.cluster.take().context("`tollgate deliver` needs `[cluster]`")?;
        let tls = settings.access.tls.clone();
        let admin = Admin::bind(&plan.admin, plan.admin_tls.take()).map_err(StartError::from)?;
        let (tell, events) = mpsc::unbounded_channel::<Event>();
        // Who listened has ended, and the term with it.
        let tap = Tap(Arc::new(move |event| drop(tell.send(event))));
        let (opened, ledger) = super::ledger::open_queue(&plan, Some(tap), &mut || {})?;
        super::supervisor::log_opening(&opened.report);
        let numbers: Vec<SinkNumber> = opened.sinks.iter().map(|(_, number)| *number).collect();
        let admission = Arc::new(Admission::new(settings.partitions));
        let phase = Arc::new(AtomicBool::new(false));
        let loaded = Loaded::new(plan.options.views().into());
        let ((wish, wishes), backends) = (mpsc::channel(WISHES_MAX), delivery::Backends::default());
        let shown = Shown::default();
        let view = View::new(
            &phase,
            &opened.handle,
            &[],
            &backends,
            ((wish, Arc::new(Traces::new(0))), (ledger.handle(), plan.ledger.folder()), (&loaded, &None)),
        );
        let renewal = admin.renewal();
        let delivery = Delivery::start(delivery::Parts {
            classes: Kept(opened.classes),
            admin: (admin, Some(answering(settings.clone(), Role::Deliverer))),
            gateway: Arc::new(view.in_cluster(Arc::clone(&shown))),
            backends,
            metrics,
            sinks: std::mem::take(&mut plan.sinks).into_iter().zip(numbers.iter().copied()).collect(),
            queue: opened.handle.clone(),
            secret: opened.secret,
            waited_until: Seq(0),
            demand: Arc::default(),
            shards: Vec::new(),
            gate: Some(Arc::<Admission>::clone(&admission)),
            ledger: ledger.handle(),
        })?;
        let (end, ended) = watch::channel(false);
        let (sinks, queue) = (opened.sinks, opened.handle.clone());
        let parts = Feed { settings, nonce, sinks, queue, admission, events, shown, left: terms };
        let feeder = spawn("feeder".to_owned(), move || parts.run(ended))?;
        let store = Store::new(opened.join, plan.admin.socket.clone());
        Ok(Self { queue: opened.handle, store, ledger, delivery, feeder, end, wishes, fixed, loaded, renewal, tls })
    }

    /// Runs until it is told to end or must not go on.
    async fn last(
        mut self,
        ended: impl Future<Output = ()>,
        (path, hang_up): (&Path, &mut Signal),
        is_watched: bool,
    ) -> Going {
        let mut ended = std::pin::pin!(ended);
        let loops = vec![
            systemd::Loop { name: "queue".to_owned(), beat: turning(self.queue.clone()) },
            self.delivery.watched(),
        ];
        let mut watchdog = Watchdog::new(loops);
        let (mut feed, mut look) = (tokio::time::interval(watchdog.interval()), tokio::time::interval(LOOK));
        loop {
            tokio::select! {
                () = &mut ended => {
                    systemd::stopping();
                    systemd::extend_timeout(feeder::LEAVE_WAIT + PAUSE);
                    let _ends = self.end.send(true);
                    return self.stop(true);
                }
                _ = hang_up.recv() => drop(take_over(path, |plan| self.take(plan))),
                Some(wish) = self.wishes.recv() => {
                    // Who asked may have gone.
                    let _gone = wish.answer.send(take_over(path, |plan| self.take(plan)));
                }
                _ = feed.tick() => if is_watched { watchdog.feed() },
                _ = look.tick() => {
                    if self.delivery.is_finished() || self.store.is_finished() || self.ledger.has_failed() {
                        let _ends = self.end.send(true);
                        self.stop(false);
                        return Going::Failed(anyhow::anyhow!("a thread ended by itself; the log says why"));
                    }
                    if self.feeder.is_finished() {
                        return self.stop(false);
                    }
                }
            }
        }
    }

    /// Takes over what can be while it runs, and tells what waits for the next start.
    ///
    /// # Errors
    /// When a sink cannot be made of its new settings: then all goes on as it is.
    fn take(&self, mut plan: Plan) -> Result<Vec<Pending>, StartError> {
        plan.become_deliverer();
        let new = Fixed::of_deliverer(&plan);
        for sink in self.delivery.renew(std::mem::take(&mut plan.sinks))? {
            tracing::info!(sink, "the sink takes over its new settings");
        }
        // Nothing can be refused from here on.
        take_common(&mut plan, &self.loaded, &self.renewal, self.ledger.handle().as_ref());
        if let Some(new) = &plan.cluster {
            self.tls.renew(&new.access.tls);
        }
        Ok(self.fixed.pending(&new))
    }

    /// Ends all threads, the feeder first: what is settled meanwhile is still written down.
    fn stop(self, is_told: bool) -> Going {
        let end = self.feeder.join();
        self.delivery.stop();
        self.store.stop(&self.queue);
        self.ledger.stop();
        match end {
            _ if is_told => Going::Stopped,
            Ok(Ok(End::Told)) => Going::Stopped,
            Ok(Ok(End::Fenced(why))) => Going::Again(why),
            Ok(Ok(end @ (End::Unfit(_) | End::Twin(_)))) => Going::Misfit(end.to_string()),
            Ok(Err(error)) => Going::Misfit(format!("{error:#}")),
            Err(_) => Going::Failed(anyhow::anyhow!("the feeder's thread panicked")),
        }
    }
}

/// What the feeder's thread begins with.
struct Feed {
    settings: cluster::Settings,
    nonce: u128,
    sinks: Vec<(String, SinkNumber)>,
    queue: queue::Handle,
    admission: Arc<Admission>,
    events: mpsc::UnboundedReceiver<Event>,
    shown: Arc<Mutex<parts::View>>,
    /// Terms that have ended because nobody answered, or for another reason: another server is tried first.
    left: usize,
}

impl Feed {
    fn run(self, ended: watch::Receiver<bool>) -> anyhow::Result<End> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        LocalSet::new().block_on(&runtime, async {
            let context = tokio::select! {
                context = reach(&self.settings, self.left, &self.shown) => context?,
                () = until(ended.clone()) => return Ok(End::Told),
            };
            let Self { settings, nonce, sinks, queue, admission, events, shown, left: _ } = self;
            let parts = Parts { settings, context, nonce, sinks, queue, admission, events, shown };
            Ok(feeder::run(parts, until(ended)).await?)
        })
    }
}

/// Connects and finds the stream and the buckets, however long that takes: servers that are away, too few, or do not let us
/// in may be mended meanwhile, and nobody would start this process again then.
async fn reach(
    settings: &cluster::Settings,
    left: usize,
    shown: &Mutex<parts::View>,
) -> anyhow::Result<async_nats::jetstream::Context> {
    let show = |trouble| shown.lock().unwrap_or_else(PoisonError::into_inner).trouble = trouble;
    let (mut told, mut patience) = (String::new(), Patience::default());
    (0..left).for_each(|_| patience.leave());
    loop {
        let error = match link::connect_with(settings, "deliver", &patience).await {
            Ok(context) => match objects::ensure(&context, settings).await {
                Ok(report) => {
                    report.warnings.iter().for_each(|warning| tracing::warn!(warning, "the cluster"));
                    tracing::info!(made = ?report.made, "the cluster is reached");
                    show(None);
                    return Ok(context);
                }
                Err(error @ ObjectError::Unfit { .. }) => return Err(error.into()),
                Err(error) => chain_text(&error),
            },
            Err(error @ LinkError::Credentials(_)) => return Err(error.into()),
            Err(error) => chain_text(&error),
        };
        show(Some(error.clone()));
        if error != told {
            tracing::warn!(error, "the cluster cannot be reached: it is tried again each second");
            told = error;
        }
        // Whichever answers has the first try; then one after the other has it, for one that is cut off from the others lets
        // us in all the same.
        patience.leave();
        tokio::time::sleep(PAUSE).await;
    }
}
