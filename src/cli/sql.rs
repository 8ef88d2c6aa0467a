//! `tollgate sql`: the tables that a sink needs at its database. It prints statements and never runs one.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::{Failure, load_quietly, output, sink};
use crate::config::Plan;
use crate::config::plan::SinkPlan;
use crate::sinks::kind::Tables;

/// `tollgate sql`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the statements that make the tables of a sink
    Schema(Which),
    /// Ask the database whether its tables fit; exit code 1 with the reason if they do not
    Check(Which),
    /// Print the statements that the database's tables lack, those that make them or alter them; run none
    Migrate(Which),
}

/// Which sink.
#[derive(Args, Debug)]
pub struct Which {
    /// Sink of the configuration; the only one with tables may be left out
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Longest wait for the database, in seconds, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
}

/// Asks and prints.
///
/// # Errors
/// There is no such sink, or its database does not answer or fit.
pub fn run(config: &Path, command: Command) -> Result<(), Failure> {
    let plan = load_quietly(config)?;
    let (Command::Schema(which) | Command::Check(which) | Command::Migrate(which)) = &command;
    let (sink, tables) = with_tables(&plan, which.sink.as_deref())?;
    let wait = Duration::from_secs(which.wait);
    match command {
        Command::Schema(_) => output::print(tables.statements().trim_end())?,
        Command::Check(_) => {
            let reached = wait_for(sink.kind.ask(&sink.name, wait))?.map_err(|error| anyhow!(error))?;
            for (database, reached) in reached {
                let _warnings = reached.map_err(|why| anyhow!("{database}: {why}"))?;
                output::print(&format!("{database}: its tables fit"))?;
            }
        }
        Command::Migrate(_) => {
            let missing = wait_for(tables.missing(&sink.name, wait))?.map_err(|error| anyhow!(error))?;
            let none = "-- nothing is missing".to_owned();
            output::print(if missing.is_empty() { none.as_str() } else { missing.trim_end() })?;
        }
    }
    Ok(())
}

fn wait_for<T>(asked: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(asked))
}

/// The sink of that name, or the only one that has tables.
fn with_tables<'p>(plan: &'p Plan, name: Option<&str>) -> Result<(&'p SinkPlan, &'p dyn Tables), Failure> {
    if let Some(name) = name {
        let sink = sink(plan, name)?;
        let tables = sink.kind.tables();
        let none =
            || Failure::Usage(format!("the sink `{name}` is of the kind `{}`, which has no tables", sink.kind.name()));
        return Ok((sink, tables.ok_or_else(none)?));
    }
    let mut all = plan.sinks.iter().filter_map(|sink| Some((sink, sink.kind.tables()?)));
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::Usage("no sink of the configuration has tables".to_owned())),
        (Some(_), Some(_)) => {
            let names = plan.sinks.iter().filter(|sink| sink.kind.tables().is_some());
            let names = names.map(|sink| format!("`{}`", sink.name)).collect::<Vec<_>>().join(", ");
            Err(Failure::Usage(format!("several sinks have tables: add `--sink` with one of {names}")))
        }
    }
}
