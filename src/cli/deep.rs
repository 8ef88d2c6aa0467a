//! `tollgate check --deep`: tries what a start needs, beside what the configuration says. It leaves nothing behind.
//!
//! | of | ports and sockets | folders and space | servers |
//! |---|---|---|---|
//! | `tollgate run` | `sip.listen`, `admin` | the queue's | one question to every server of every sink; with `[cluster]` to that alone, for its records go there |
//! | `tollgate deliver` | `deliver` | `deliver.directory` | one question to every server of every sink, and to the cluster |

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::Failure;
use super::desk::Seek;
use super::output;
use crate::cluster::names::Role;
use crate::cluster::trial;
use crate::config::{MADE_AT_START, Plan};
use crate::queue;
use crate::service::try_listeners;

/// Longest wait for the answer of one server.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What was tried; each is told at once, unless all are told together as JSON.
#[derive(Default)]
struct Trials {
    failed: usize,
    is_quiet: bool,
    all: Vec<Value>,
}

impl Trials {
    fn note(&mut self, what: &str, outcome: Result<(), String>) -> io::Result<()> {
        self.note_of(what, outcome.map(|()| Vec::new()))
    }

    /// The same with what an operator should know although it worked.
    fn note_of(&mut self, what: &str, outcome: Result<Vec<String>, String>) -> io::Result<()> {
        let mut trial = json!({ "what": what, "ok": outcome.is_ok(), "why": outcome.as_ref().err() });
        if let Some(warnings) = outcome.as_ref().ok().filter(|warnings| !warnings.is_empty()) {
            trial["warnings"] = json!(warnings);
        }
        self.all.push(trial);
        self.failed += usize::from(outcome.is_err());
        if self.is_quiet {
            return Ok(());
        }
        match outcome {
            Ok(warnings) => {
                output::print(&format!("ok      {what}"))?;
                warnings.iter().try_for_each(|warning| output::print(&format!("warning {what}: {warning}")))
            }
            Err(why) => output::print(&format!("failed  {what}: {why}")),
        }
    }
}

/// Tries everything; each with a line on standard output.
///
/// # Errors
/// Something did not work.
pub fn run(seek: &Seek, plan: &Plan, role: Role) -> Result<(), Failure> {
    let trials = perform(seek, (plan, role), Trials::default())?;
    if trials.failed == 0 {
        output::print("would start")?;
    }
    verdict(&trials)
}

/// The same as one JSON object, with what was found in the configuration.
///
/// # Errors
/// Something did not work.
pub fn run_json(seek: &Seek, plan: &Plan, role: Role, findings: Value) -> Result<(), Failure> {
    let trials = perform(seek, (plan, role), Trials { is_quiet: true, ..Trials::default() })?;
    output::print_json(&report(findings, trials.all.clone(), trials.failed == 0))?;
    verdict(&trials)
}

/// What `check --deep --json` prints.
pub fn report(findings: Value, trials: Vec<Value>, would_start: bool) -> Value {
    json!({ "findings": findings, "trials": trials, "would_start": would_start })
}

fn verdict(trials: &Trials) -> Result<(), Failure> {
    match trials.failed {
        0 => Ok(()),
        1 => Err(Failure::Failed(anyhow!("one of these did not work"))),
        failed => Err(Failure::Failed(anyhow!("{failed} of these did not work"))),
    }
}

fn perform(seek: &Seek, (plan, role): (&Plan, Role), mut trials: Trials) -> Result<Trials, Failure> {
    match role {
        Role::Gateway => of_gateway(seek, plan, &mut trials)?,
        Role::Deliverer => of_deliverer(seek, plan, &mut trials)?,
    }
    trials.note("free space", space(plan, role))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    // What a gateway of a cluster makes goes there, and not to the sinks' servers, which it may not even reach.
    let forwards = role == Role::Gateway && plan.cluster.is_some();
    for sink in plan.sinks.iter().filter(|_| !forwards) {
        let asked = match runtime.block_on(sink.kind.ask(&sink.name, ANSWER_MAX)) {
            Ok(asked) => asked,
            Err(error) => vec![(String::new(), Err(error.to_string()))],
        };
        for (server, outcome) in asked {
            trials.note_of(format!("sink {} {server}", sink.name).trim_end(), outcome)?;
        }
    }
    if let Some(cluster) = &plan.cluster {
        let sinks: Vec<&str> = plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
        for (what, outcome) in runtime.block_on(trial::ask(cluster, role, &sinks, ANSWER_MAX)) {
            trials.note_of(&what, outcome)?;
        }
    }
    Ok(trials)
}

/// Ports, sockets and the folder of `tollgate run`.
fn of_gateway(seek: &Seek, plan: &Plan, trials: &mut Trials) -> Result<(), Failure> {
    let is_running = seek.connect()?.is_some();
    for (listener, outcome) in try_listeners(&plan.sip) {
        match outcome {
            Err(error) if is_running && error.kind() == io::ErrorKind::AddrInUse => {
                trials.note(&format!("{listener}, which the running service has"), Ok(()))?;
            }
            other => trials.note(&listener, other.map_err(|error| error.to_string()))?,
        }
    }
    if !is_running {
        listens("admin.listen", plan.admin.listen, trials)?;
        sockets([("admin.socket", &plan.admin.socket), ("admin.status_socket", &plan.admin.status_socket)], trials)?;
    }
    let path = &plan.queue.path;
    Ok(trials.note(&format!("queue {}", path.display()), folder(path))?)
}

/// The same of `tollgate deliver`.
fn of_deliverer(seek: &Seek, plan: &Plan, trials: &mut Trials) -> Result<(), Failure> {
    let own = &plan.deliver;
    let socket = seek.socket.clone().or_else(|| own.socket.clone());
    let is_running = socket.is_some() && Seek { config: seek.config.clone(), socket }.connect()?.is_some();
    if !is_running {
        listens("deliver.listen", own.listen, trials)?;
        sockets([("deliver.socket", &own.socket)], trials)?;
    }
    Ok(trials.note(&format!("deliver.directory {}", own.directory.display()), folder(&own.directory))?)
}

fn listens(option: &str, address: Option<SocketAddr>, trials: &mut Trials) -> io::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let outcome = TcpListener::bind(address).map(drop).map_err(|error| error.to_string());
    trials.note(&format!("{option} {address}"), outcome)
}

fn sockets<'p>(
    sockets: impl IntoIterator<Item = (&'p str, &'p Option<PathBuf>)>,
    trials: &mut Trials,
) -> io::Result<()> {
    let mut given = sockets.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)));
    given.try_for_each(|(option, path)| trials.note(&format!("{option} {}", path.display()), socket(path)))
}

/// Whether this user may make a file beside the socket. systemd-tmpfiles makes the usual folder.
fn socket(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() && folder == Path::new(MADE_AT_START) {
        return Ok(());
    }
    tempfile::tempfile_in(folder).map(drop).map_err(|error| format!("no file can be made in its folder: {error}"))
}

/// Whether this user may make files in a folder, or make the folder.
fn folder(path: &Path) -> Result<(), String> {
    let (place, what) = match path.parent() {
        Some(parent) if !path.exists() => (parent, "the folder is not there, and cannot be made"),
        _ => (path, "no file can be made in it"),
    };
    let owner = place.metadata().ok().map(|meta| meta.uid());
    let hint = owner.map_or_else(String::new, |owner| format!("; it belongs to the user {owner}: check as that one"));
    tempfile::tempfile_in(place).map(drop).map_err(|error| format!("{what}: {error}{hint}"))
}

/// Whether there is as much free space as the queue wants.
fn space(plan: &Plan, role: Role) -> Result<(), String> {
    let (path, free_min) = match role {
        Role::Gateway => (&plan.queue.path, plan.queue.free_min),
        Role::Deliverer => (&plan.deliver.directory, plan.queue.free_min),
    };
    let place = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let free = queue::free_bytes(place);
    if free < free_min {
        let (free, least) = (free >> 20, free_min >> 20);
        return Err(format!("{free} MiB, `queue.free_min_mib` is {least}"));
    }
    Ok(())
}
