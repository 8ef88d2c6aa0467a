//! The command line: one file for each command.
//!
//! Data goes to standard output, all else to standard error. Exit codes: 0 done, 1 failed, 2 not complete (an audit, or an answer of a cluster), 3 reloaded in part, 64 wrong usage, 78 wrong
//! configuration (`sysexits.h`); systemd must not start again on the last two.

mod audit;
mod calls;
mod check;
mod cluster;
mod completions;
mod decode;
mod deep;
mod deliver;
mod demo;
mod demo_agents;
mod demo_sinks;
mod desk;
mod dict;
mod dict_diameter;
mod import;
mod kept;
mod ladder;
mod manual;
mod members;
mod metrics;
mod output;
mod queue;
mod reload;
mod replay;
mod run;
mod schema;
mod script;
mod send;
mod sql;
mod status;
mod top;
mod trace;
mod vars;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::error::{Mistakes, suggestion};
use crate::config::excerpt;
use crate::config::plan::{HugePages, SinkPlan};
use crate::config::{self, Plan};

/// `tollgate`
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    /// Configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Socket of the running service, instead of the one that the configuration names
    #[arg(long, global = true, value_name = "FILE")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run,
    /// Deliver the records that gateways have put into the stream of their cluster; any number of these share the work
    ///
    /// It takes no SIP. `--socket` with the socket of `[deliver]` asks it: `status`, `queue`, `audit`, `top`.
    Deliver,
    /// Check the configuration and report all mistakes
    Check(check::Arguments),
    /// Show a few calls and their records on loopback; needs nothing installed
    Demo(demo::Arguments),
    /// Look at the queue of records and act on it
    #[command(subcommand)]
    Queue(queue::Command),
    /// Let the running gateway read its configuration again
    ///
    /// Exit code 1: refused, and the running configuration stays. 3: taken over, but for what is listed, which needs a
    /// restart.
    Reload(output::Format),
    /// Show the state of the running gateway, or of all processes of a cluster
    Status(status::Arguments),
    /// Watch the running gateway: servers, calls, records that wait or are parked, destinations that are down
    Top(top::Arguments),
    /// List the calls in progress, or end one
    Calls(calls::Arguments),
    /// Show the SIP messages of one of the last calls, or list these calls
    Trace(ladder::Arguments),
    /// Tell from the ledger whether every record of a day is where it belongs, at every sink
    ///
    /// Exit code 0: complete. 2: it is not, or the ledger has a gap.
    Audit(audit::Arguments),
    /// Send one test record to a sink and show the exchange
    Send(send::Arguments),
    /// Print the tables that an SQL sink needs, or what its database lacks of them; runs no statement
    #[command(subcommand)]
    Sql(sql::Command),
    /// Make the stream and the buckets that many gateways share, or forget one of these
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Make tollgate.toml and route.lua from the configuration of Kamailio, OpenSIPS, OpenSER or SER
    ///
    /// What is not taken is told with its lines, and kept in import.txt.
    Import(import::Arguments),
    /// Test the script, or show what it has decided
    #[command(subcommand)]
    Script(script::Command),
    /// Show the effective RADIUS or Diameter dictionary with the origin of each entry
    Dict(dict::Arguments),
    /// Show a hex dump of a RADIUS packet or of Diameter messages as text
    Decode(decode::Arguments),
    /// Show what would have been accounted of the calls in a capture, and put it into the queue if that is wanted
    ///
    /// The records of a capture have its time, and ids of now: replayed twice, it makes two records of each. Without a
    /// configuration they are sessions by the defaults; with one they are made as its `[accounting]` says, for the sinks of
    /// `accounting.on`, else for all. With --json each is an object on a line of its own.
    Replay(replay::Arguments),
    /// Print the JSON schema of tollgate.toml, by which editors complete options and mark mistakes
    Schema,
    /// List the variables that fields may use
    Vars(output::Format),
    /// List what `/metrics` of `[admin] listen` counts
    Metrics(output::Format),
    /// Print what a shell needs to complete commands and options
    ///
    /// For bash: tollgate completions bash > /etc/bash_completion.d/tollgate
    Completions(completions::Arguments),
    /// Write the manual pages into a folder
    Man(manual::Arguments),
}

/// Why a command ended without success.
#[derive(Debug)]
pub enum Failure {
    /// It failed: exit code 1.
    Failed(anyhow::Error),
    /// It was called in a wrong way: exit code 64.
    Usage(String),
    /// Done, but for these lines, which need a restart: exit code 3.
    Restart(String),
    /// What was asked about is not complete, as was printed: exit code 2.
    Incomplete,
    /// The configuration is wrong: exit code 78. The mistakes have been printed already.
    Configuration,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Exit code for wrong usage: EX_USAGE of `sysexits.h`.
const EXIT_USAGE: u8 = 64;

/// Exit code of a reload that needs a restart for a part.
const EXIT_RESTART: u8 = 3;

/// Exit code of an audit that is not complete.
const EXIT_INCOMPLETE: u8 = 2;

/// Exit code for wrong configuration: EX_CONFIG of `sysexits.h`.
const EXIT_CONFIG: u8 = 78;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    // Before most memory is taken; what the configuration says of it is not known yet, and `run` tells of an error.
    let _unknown = crate::service::use_huge_pages(HugePages::Off);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; where standard output is closed there is nobody to tell.
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match perform(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Restart(what)) => {
            eprintln!("reloaded, but these need a restart:\n{what}");
            ExitCode::from(EXIT_RESTART)
        }
        Err(Failure::Incomplete) => ExitCode::from(EXIT_INCOMPLETE),
        Err(Failure::Configuration) => ExitCode::from(EXIT_CONFIG),
    }
}

fn perform(cli: Cli) -> Result<(), Failure> {
    let path = cli.config;
    let seek = desk::Seek { config: path.clone(), socket: cli.socket };
    match cli.command {
        Command::Run => run::run(&path),
        Command::Deliver => deliver::run(&path),
        Command::Check(arguments) => check::run(&seek, arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Queue(command) => queue::run(&seek, command),
        Command::Reload(format) => reload::run(&seek, &format),
        Command::Status(arguments) => status::run(&seek, &arguments),
        Command::Top(arguments) => top::run(&seek, &arguments),
        Command::Calls(arguments) => calls::run(&seek, &arguments),
        Command::Trace(arguments) => ladder::run(&seek, &arguments),
        Command::Audit(arguments) => audit::run(&seek, &arguments),
        Command::Send(arguments) => send::run(&path, arguments),
        Command::Sql(command) => sql::run(&path, command),
        Command::Cluster(command) => cluster::run(&seek, command),
        Command::Import(arguments) => import::run(&arguments),
        Command::Script(command) => script::run(&seek, &command),
        Command::Dict(arguments) => dict::run(&path, &arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Replay(arguments) => replay::run(&seek, &arguments),
        Command::Schema => schema::run(),
        Command::Vars(format) => vars::run(&format),
        Command::Metrics(format) => metrics::run(&format),
        Command::Completions(arguments) => completions::run(Cli::command(), &arguments),
        Command::Man(arguments) => manual::run(Cli::command(), &arguments),
    }
}

/// The sink of that name.
fn sink<'p>(plan: &'p Plan, name: &str) -> Result<&'p SinkPlan, Failure> {
    plan.sinks.iter().find(|sink| sink.name == name).ok_or_else(|| {
        let hint = suggestion(name, plan.sinks.iter().map(|sink| sink.name.as_str()));
        let hint = hint.map_or_else(String::new, |hint| format!("\nhint: {hint}"));
        Failure::Usage(format!("no sink `{name}` in {}{hint}", plan.path.display()))
    })
}

/// Loads the configuration; mistakes and warnings go to standard error.
fn load(path: &std::path::Path) -> Result<Plan, Failure> {
    let plan = load_quietly(path)?;
    if !plan.warnings.is_empty() {
        eprintln!("{}\n", told(&Mistakes(plan.warnings.clone())));
    }
    Ok(plan)
}

/// Loads the configuration; mistakes go to standard error, warnings nowhere.
fn load_quietly(path: &std::path::Path) -> Result<Plan, Failure> {
    config::load(path).map_err(|mistakes| misread(&mistakes))
}

/// Prints the mistakes.
fn misread(mistakes: &Mistakes) -> Failure {
    eprintln!("{}", told(mistakes));
    Failure::Configuration
}

/// Findings with their lines, for standard error.
fn told(mistakes: &Mistakes) -> String {
    excerpt::told(mistakes, output::look()).join("\n\n")
}
