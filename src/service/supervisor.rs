//! The main thread of `tollgate run`: signals, systemd, the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::reload::{Pending, Wish};
use super::systemd::{self, Watchdog};
use super::wiring::{Service, StartError};
use crate::admin::Reloaded;
use crate::causes::chain_text;
use crate::clock;
use crate::config;
use crate::config::error::Mistakes;
use crate::config::excerpt::{Look, told};
use crate::config::plan::{self, ServicePlan};
use crate::net::tls::expiry::{REPEATED, expiring};
use crate::queue::{Handle, Level, OpenReport};

/// How often the supervisor looks whether a thread has ended or the shards have drained.
const LOOK: Duration = Duration::from_millis(200);
/// What is asked of systemd at each step of opening the queue.
const OPENING_TIME: Duration = Duration::from_secs(60);
/// What is asked of it at the end beside the waits that `service.stop_timeout_s` bounds: for the last commit, the sinks'
/// goodbyes and what no disk took.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Runs a gateway until SIGTERM or SIGINT, or until one of its threads fails. SIGUSR1 ends it for good: the servers get
/// Accounting-Off after all records.
///
/// # Errors
/// When it does not start, or a thread ended by itself.
pub fn run(plan: plan::Plan) -> anyhow::Result<()> {
    super::process::keep_private();
    super::log::start(&plan.log).context("cannot start the log")?;
    use_huge_pages(plan.service.huge_pages);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let path = plan.path.clone();
        let mut kept = Kept { certificates: plan.certificates.clone(), service: plan.service };
        let metrics =
            crate::admin::metrics::install(super::metrics::all()).context("cannot install the metrics recorder")?;
        // From now on a wish to reload is remembered; SIGTERM ends the process at once until it stands.
        let (mut hang_up, mut retire) = (listen(SignalKind::hangup())?, listen(SignalKind::user_defined1())?);
        let mut service = Service::start(plan, metrics, &mut || systemd::extend_timeout(OPENING_TIME))?;
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let ended = async {
            tokio::select! {
                _ = terminate.recv() => Ending::ForNow,
                _ = interrupt.recv() => Ending::ForNow,
                _ = retire.recv() => Ending::ForGood,
            }
        };
        systemd::ready();
        tracing::info!(listeners = ?service.listeners(), admin = service.administered(), "ready");
        let mut wishes = service.wishes();
        let result = supervise(&service, &path, &mut kept, (&mut hang_up, &mut wishes), ended).await;
        // Who still waits for a reload hears that the service ends.
        drop(wishes);
        systemd::stopping();
        let limit = kept.service.stop_timeout;
        systemd::extend_timeout(limit + CLOSING_TIME);
        drain(&service, limit, &mut hang_up).await;
        if matches!(result, Ok(Ending::ForGood)) {
            systemd::extend_timeout(limit + CLOSING_TIME);
            sign_off(&service, limit).await;
        }
        service.stop();
        tracing::info!("stopped");
        result.map(|_| ())
    })
}

/// Why the gateway ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// It will come back: SIGTERM, SIGINT.
    ForNow,
    /// It will not: SIGUSR1.
    ForGood,
}

/// What the supervisor itself needs of the configuration.
struct Kept {
    certificates: Vec<PathBuf>,
    service: ServicePlan,
}

async fn supervise(
    service: &Service,
    path: &Path,
    kept: &mut Kept,
    (hang_up, wishes): (&mut Signal, &mut mpsc::Receiver<Wish>),
    ended: impl Future<Output = Ending>,
) -> anyhow::Result<Ending> {
    let mut ended = std::pin::pin!(ended);
    let mut watchdog = Watchdog::new(service.loops());
    let mut feed = tokio::time::interval(watchdog.interval());
    let mut look = tokio::time::interval(LOOK);
    // The first time was at the start, with the configuration's other warnings.
    let mut daily = tokio::time::interval(REPEATED);
    daily.reset();
    loop {
        tokio::select! {
            ending = &mut ended => return Ok(ending),
            _ = hang_up.recv() => drop(reload(service, path, kept)),
            Some(Wish { answer }) = wishes.recv() => {
                // Who asked may have gone.
                let _gone = answer.send(reload(service, path, kept));
            }
            _ = daily.tick() => {
                log_expiring(&kept.certificates);
                service.renew_keys();
            }
            _ = feed.tick() => if kept.service.watchdog == plan::Watchdog::Fed { watchdog.feed() },
            _ = look.tick() => {
                if let Some(taken) = service.twin() {
                    tracing::error!(%taken, "this gateway ends");
                    return Err(taken.into());
                }
                anyhow::ensure!(!service.has_failed(), "a thread ended by itself; the log says why");
            }
        }
    }
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for signals")
}

/// Takes over the new configuration, and says what became of it.
fn reload(service: &Service, path: &Path, kept: &mut Kept) -> Reloaded {
    take_over(path, |plan| {
        let new = Kept { certificates: plan.certificates.clone(), service: plan.service };
        let pending = service.reload(plan)?;
        use_huge_pages(new.service.huge_pages);
        *kept = new;
        Ok(pending)
    })
}

/// Reads the configuration again and has it taken over; says what became of it, to systemd, the log and whoever asked.
pub(super) fn take_over(path: &Path, take: impl FnOnce(plan::Plan) -> Result<Vec<Pending>, StartError>) -> Reloaded {
    systemd::reloading();
    let outcome = outcome_of(path, take);
    match &outcome {
        Reloaded::Done { warnings, restart } => {
            for warning in warnings {
                tracing::warn!("configuration: {warning}");
            }
            for (what, place) in restart {
                tracing::warn!("changed, takes effect at the next start: {what} {place}");
            }
            tracing::info!("reloaded");
        }
        Reloaded::Refused { mistakes } => {
            let mistakes = mistakes.join("\n");
            tracing::error!("reload refused, the running configuration stays:\n{mistakes}");
        }
    }
    systemd::ready();
    outcome
}

fn outcome_of(path: &Path, take: impl FnOnce(plan::Plan) -> Result<Vec<Pending>, StartError>) -> Reloaded {
    let plan = match config::load(path) {
        Ok(plan) => plan,
        Err(mistakes) => {
            return Reloaded::Refused { mistakes: told(&mistakes, Look::Plain) };
        }
    };
    let warnings = told(&Mistakes(plan.warnings.clone()), Look::Plain);
    match take(plan) {
        Ok(pending) => {
            let restart = pending.iter().map(|own| (own.what.clone(), own.place())).collect();
            Reloaded::Done { warnings, restart }
        }
        Err(error) => Reloaded::Refused { mistakes: vec![chain_text(&error)] },
    }
}

/// Warns of certificates that end soon; renewed files are quiet.
fn log_expiring(certificates: &[PathBuf]) {
    for soon in certificates.iter().filter_map(|path| expiring(path, clock::wall())) {
        tracing::warn!(file = %soon.path.display(), %soon, "a certificate has to be renewed");
    }
}

/// Lets transactions end, `limit` at most. Established calls need no wait: they are in the queue.
async fn drain(service: &Service, limit: Duration, hang_up: &mut Signal) {
    service.drain();
    let until = clock::mono() + limit;
    while !service.has_drained() {
        if clock::mono() >= until {
            tracing::warn!(limit_secs = limit.as_secs(), "transactions still in progress at the limit");
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK / 4) => {}
            // Who asks by the socket hears it there.
            _ = hang_up.recv() => tracing::warn!("a reload was asked for while the service stops: it is not done"),
        }
    }
}

/// Tells the servers that this gateway's sessions are over, and gives them `limit` to take all that waits.
async fn sign_off(service: &Service, limit: Duration) {
    let mut last = service.sign_off();
    let until = clock::mono() + limit;
    while service.has_unsent(&mut last) {
        if clock::mono() >= until {
            tracing::error!(
                limit_secs = limit.as_secs(),
                "records still undelivered at the time limit; they leave after the next start"
            );
            return;
        }
        tokio::time::sleep(LOOK / 4).await;
    }
}

fn use_huge_pages(use_them: plan::HugePages) {
    if let Err(error) = super::process::use_huge_pages(use_them) {
        tracing::warn!(%error, "whether memory comes in huge pages stays as it is");
    }
}

/// Says in the log what opening the queue found.
pub(super) fn log_opening(report: &OpenReport) {
    let OpenReport { clean, waiting, recovered, lost, calls_lost, damaged, orphans, took } = report;
    let took_ms = took.as_millis();
    tracing::info!(clean, waiting, recovered, took_ms, "queue opened");
    if *lost > 0 || *calls_lost || !damaged.is_empty() {
        tracing::error!(lost, calls_lost, ?damaged, "the queue was damaged; see `tollgate queue status`");
    }
    if !orphans.is_empty() {
        tracing::warn!(?orphans, "records wait for sinks that are not configured any more");
    }
}

/// Writes what the queue has to say into the log.
pub(super) fn log_notices(queue: &Handle) {
    let (notices, dropped) = queue.notices();
    for notice in notices {
        match notice.level() {
            Level::Info => tracing::info!(%notice, "queue"),
            Level::Warn => tracing::warn!(%notice, "queue"),
            Level::Error => tracing::error!(%notice, "queue"),
        }
    }
    if dropped > 0 {
        tracing::warn!(dropped, "more notices of the queue than fit its buffer; these were dropped");
    }
}
