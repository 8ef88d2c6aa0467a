//! Every flow of `tests/golden/flows` is played through the gateway in the place of each system that it was played
//! through, and what comes out is compared with what that system wrote. What differs stands in
//! `tests/golden/differences.toml` with its reason, and nothing else there.

mod compare;
mod config;
mod ends;
mod examples;
mod flow;
mod list;
mod script;
mod seen;
mod setup;
mod store;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;
use tollgate::sinks::profile::Profile;

use self::compare::Play;
use self::ends::{Headers, Stage};
use self::list::{Found, List};
use self::seen::{Broker, Receivers};
use self::setup::{By, Plan, Systems};
use self::store::Servers;
use crate::support::{Gateway, try_wait_for};

/// Plays at once: they wait most of the time.
const PLAYS: usize = 12;

/// Where the data is.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The flows, each a folder.
fn flows() -> Vec<PathBuf> {
    let flows = fs::read_dir(folder().join("flows")).expect("the flows are there").flatten();
    let mut flows: Vec<_> = flows.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    flows.sort();
    flows
}

/// All golden files, with what they are called.
fn golden_files() -> impl Iterator<Item = (String, String)> {
    let files = flows().into_iter().flat_map(|flow| fs::read_dir(flow).expect("a folder").flatten());
    let files = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "txt"));
    files.map(|path| (path.display().to_string(), read(&path)))
}

/// What the ends of a flow do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    exchange: String,
    #[serde(default)]
    headers: Headers,
    /// What the script does about requests inside a call where flow.md says it in words alone, by whose script it is.
    #[serde(default)]
    inside: BTreeMap<String, String>,
    /// What it does about a request outside of calls, where that is not what flow.md says.
    outside: Option<String>,
    /// The exchange when the script decides, where that is another.
    by_script: Option<String>,
}

/// A flow for the systems that one gateway can stand for at once.
struct Job {
    flow: String,
    exchange: Exchange,
    plans: Vec<Plan>,
}

/// All plays, and what cannot be played.
fn jobs(has_events: bool, by: By) -> (Vec<Job>, Found) {
    let systems = Systems::read(&read(&folder().join("systems.toml")));
    let systems = if has_events { systems } else { systems.without_events() };
    let exchanges: BTreeMap<String, Exchange> =
        toml::from_str(&read(&folder().join("plays.toml"))).unwrap_or_else(|error| panic!("plays.toml: {error}"));
    let (mut jobs, mut found) = (Vec::<Job>::new(), Found::new());
    for path in flows() {
        let flow = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let (text, exchange) = (read(&path.join("flow.md")), exchanges.get(&flow));
        for system in systems.names().into_iter().filter(|system| path.join(format!("{system}.txt")).exists()) {
            let exchange = exchange.cloned().ok_or_else(|| "plays.toml lacks it".to_owned());
            let plan = exchange.and_then(|mut exchange| {
                if let Some(other) = exchange.by_script.take().filter(|_| by == By::Script) {
                    exchange.exchange = other;
                }
                Ok((systems.plan(system, &text, &exchange, by)?, exchange))
            });
            match plan {
                Err(why) => drop(found.insert((flow.clone(), system.to_owned()), Err(why))),
                Ok((plan, exchange)) => {
                    let same = |job: &&mut Job| job.flow == flow && job.plans[0].behaviour == plan.behaviour;
                    match jobs.iter_mut().find(same) {
                        Some(job) => job.plans.push(plan),
                        None => jobs.push(Job { flow: flow.clone(), exchange, plans: vec![plan] }),
                    }
                }
            }
        }
    }
    (jobs, found)
}

/// Waits until the queue is empty.
fn delivered(gateway: &Gateway, name: &str) {
    let is_delivered = try_wait_for(|| {
        let status: serde_json::Value = serde_json::from_str(&gateway.command(&["queue", "status", "--json"])).ok()?;
        assert_eq!(status["parked"], 0, "{name}: {}", gateway.log());
        (status["waiting"] == 0).then_some(())
    });
    assert!(is_delivered.is_some(), "{name}: records wait: {}", gateway.log());
}

/// Plays a flow, and says what differs for each system.
fn play(job: &Job, servers: &Servers, broker: Option<&Broker>) -> Found {
    let dir = tempfile::tempdir().expect("a folder");
    let number = job.flow.split('-').next().expect("a number");
    let mut stage = Stage::set(number, job.exchange.headers.clone());
    let mut receivers: BTreeMap<&str, Receivers> = job
        .plans
        .iter()
        .map(|plan| (plan.system.as_str(), Receivers::start(plan, dir.path(), servers, broker)))
        .collect();
    let places = |plan: &Plan| receivers[plan.system.as_str()].places();
    let toml = config::configuration(&job.plans, places, dir.path(), &stage.host());
    let seconds = || tollgate::clock::wall().secs();
    let start = seconds();
    let gateway = Gateway::start_on(dir.path(), 24_060, &toml, 9);
    if let Err(error) = stage.play(&job.exchange.exchange) {
        let systems: Vec<_> = job.plans.iter().map(|plan| plan.system.as_str()).collect();
        panic!("{} for {systems:?}: {error}\n{}\n{toml}", job.flow, gateway.log());
    }
    delivered(&gateway, &job.flow);
    let play = Play { host: stage.host(), seconds: start - 1..=seconds() + 1, proxy_tags: stage.proxy_tags };
    let mut of = |plan: &Plan| {
        let golden = text::golden(&read(&folder().join(format!("flows/{}/{}.txt", job.flow, plan.system))));
        let items = play.normal(receivers.get_mut(plan.system.as_str()).expect("each has one").items());
        ((job.flow.clone(), plan.system.clone()), Ok(play.differences(&golden, &items, |part| plan.writes(part))))
    };
    job.plans.iter().map(&mut of).collect()
}

/// Plays all flows, and says what was found and what of it the list does not know.
fn complaints(by: By, file: &str) -> Vec<String> {
    let (broker, servers) = (Broker::start(), Servers::start());
    let (jobs, mut found) = jobs(broker.is_some(), by);
    let jobs = Mutex::new(VecDeque::from(jobs));
    let results = std::thread::scope(|scope| {
        let work = || {
            let next = || jobs.lock().expect("no play panicked with it").pop_front();
            std::iter::from_fn(next).flat_map(|job| play(&job, &servers, broker.as_ref())).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..PLAYS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    found.extend(results.into_iter().flat_map(|result| result.expect("a play panicked")));
    let list = List::read(&read(&folder().join("differences.toml")));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&file, list::printed(&found)).expect("it is written");
    let is_unknown = |text: &str| broker.is_none() && text.starts_with("events");
    let mut complaints = match by {
        By::Routes => list.complaints(&found, is_unknown),
        By::Script => list.complaints_by_script(&found, is_unknown),
    };
    if !complaints.is_empty() {
        complaints.push(format!("all that was found: {}", file.display()));
    }
    complaints
}

#[test]
fn what_comes_out_is_what_the_systems_wrote_but_for_the_list() {
    assert_eq!(complaints(By::Routes, "golden-found.txt"), Vec::<String>::new());
}

#[test]
fn the_scripts_of_the_flows_make_what_routes_make() {
    assert_eq!(complaints(By::Script, "golden-found-by-script.txt"), Vec::<String>::new());
}

#[test]
fn the_table_of_each_system_and_the_readme_say_where_what_it_wrote_is_not_written() {
    let list = List::read(&read(&folder().join("differences.toml")));
    let systems = Systems::read(&read(&folder().join("systems.toml")));
    for profile in Profile::ALL {
        let own: Vec<_> = systems.names().into_iter().filter(|name| systems.profile(name) == profile.name()).collect();
        assert!(own.iter().all(|system| systems.is_exact(system)), "{}: the order of attributes", profile.name());
        assert_eq!(own.is_empty(), !profile.is_classic(), "{}: systems that were run", profile.name());
        assert_eq!(profile.system().differs, list.names(&own), "`differs` of {}", profile.name());
    }
    let readme = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let (_, table) = readme.split_once("## Correct where the originals are not").expect("its part of the README");
    let table = table.split("\n## ").next().expect("a part");
    assert_eq!(list.wrong_rows(table), Vec::<String>::new());
}
