//! `tollgate script`: the tests that a script brings along, and what the running one has decided.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use serde_json::json;

use super::desk::Seek;
use super::output::{self, Format};
use super::{Failure, load, trace};
use crate::clock;
use crate::ids::SinkNumber;
use crate::policy::script::{Script, trial};

/// Commands about the script.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the functions of the script whose names begin with `test_`
    ///
    /// `play(messages.NAME)` has request_route decide about the request in NAME.sip beside the script, and gives `decision`
    /// (relay, reply, drop), `code`, `reason`, `targets`, `route`, `accounting`, `missed`, `failed` (names of sinks), `table`,
    /// `records`, `added` and `removed` (header lines), `record_route`, `socket` and `lines` (of the log). `fails(code)`,
    /// `replies(code)`, `responds(code)` (the gateway itself does) and `ends{ FIELD = VALUE }` (its call does) go on with that
    /// request. Nothing is sent or recorded. Exit code 1: a test has failed.
    Test(Format),
    /// Show which lines of the script have decided lately
    ///
    /// Each thread of the gateway keeps what its last runs of handlers have called and set, as many as `[script] trace_turns`
    /// says. Lines are those of the file as it was loaded then.
    Trace(trace::Arguments),
}

/// Runs one.
///
/// # Errors
/// The configuration has a mistake or no script, a test has failed, or the service does not answer.
pub fn run(seek: &Seek, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Test(format) => test(&seek.config, format),
        Command::Trace(arguments) => trace::run(seek, arguments),
    }
}

fn test(path: &Path, format: &Format) -> Result<(), Failure> {
    let plan = load(path)?;
    let Some(settings) = &plan.script else {
        return Err(Failure::Usage(format!("{} has no `[script]` with a `file`", path.display())));
    };
    let numbers: Vec<SinkNumber> = (0..u8::MAX).map(SinkNumber).take(plan.sinks.len()).collect();
    let routes = Arc::new(plan.routes(&numbers));
    let (outside, heard) = trial::Heard::outside();
    let script = Script::new(settings, &numbers, routes, outside, clock::mono, clock::now())?;
    let messages = messages(&settings.folder)?;
    let outcomes = trial::run(&script, (&settings.sinks, &numbers), &messages, &heard, clock::mono)?;
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    if format.is_json() {
        let entry = |outcome: &trial::Outcome| json!({ "test": outcome.name, "failure": outcome.failure });
        output::print_json(&outcomes.iter().map(entry).collect::<Vec<_>>().into())?;
    } else {
        for outcome in &outcomes {
            match &outcome.failure {
                None => output::print(&format!("passed {}\n", outcome.name))?,
                Some(failure) => output::print(&format!("FAILED {}: {failure}\n", outcome.name))?,
            }
        }
    }
    match (outcomes.len(), failed) {
        (0, _) => Err(anyhow!("{} has no function whose name begins with `test_`", settings.name).into()),
        (_, 0) => Ok(()),
        (all, failed) => Err(anyhow!("{failed} of {all} tests failed").into()),
    }
}

/// The texts of the files `NAME.sip` beside the script, by name.
fn messages(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut messages = BTreeMap::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|ending| ending == "sip")) {
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            messages.insert(name, text);
        }
    }
    Ok(messages)
}
