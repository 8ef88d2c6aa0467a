//! `tollgate cluster`: the stream and the buckets that gateways share, and who belongs to them.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};

use super::desk::Seek;
use super::members::Cluster;
use super::{Failure, load_quietly, output};
use crate::cluster::ask::Member;
use crate::cluster::names::Role;
use crate::cluster::objects::{self, ObjectError, Report};
use crate::cluster::{Settings, link};

/// `tollgate cluster`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the stream and the buckets of `[cluster]` where they are missing, as a start of the gateway does
    Init(Wait),
    /// Take a gateway or a deliverer that will never come back out of the list of those that `--cluster` asks
    ///
    /// Refused while it answers, and while other gateways have not taken over the calls of a gateway. What the queue of a
    /// gateway holds on its own disk is not looked at: what never reached the stream is on that disk alone.
    Forget {
        /// What it was
        #[arg(value_name = "ROLE")]
        role: RoleName,
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// What a process is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// `tollgate run`
    Gateway,
    /// `tollgate deliver`
    Deliverer,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Gateway => Self::Gateway,
            RoleName::Deliverer => Self::Deliverer,
        }
    }
}

/// How long the servers may take.
#[derive(Args, Debug)]
pub struct Wait {
    /// Longest wait for the servers to have a leader, in seconds, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
}

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Makes what is missing, and prints it; or forgets a process.
///
/// # Errors
/// There is no cluster in the configuration, no server lets us in, or it cannot be done.
pub fn run(seek: &Seek, command: Command) -> Result<(), Failure> {
    let wait = match command {
        Command::Init(Wait { wait }) => wait,
        Command::Forget { role, name } => {
            let member = Member { role: role.into(), name };
            Cluster::reach(seek)?.forget(&member)?;
            return Ok(output::print(&format!("{} `{}` is forgotten", member.role.name(), member.name))?);
        }
    };
    let plan = load_quietly(&seek.config)?;
    let Some(settings) = &plan.cluster else {
        return Err(Failure::Usage(format!("there is no `[cluster]` in {}", plan.path.display())));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(init(settings, Duration::from_secs(wait)))?;
    report.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    if report.made.is_empty() {
        output::print("nothing is missing")?;
    }
    Ok(report.made.iter().try_for_each(|stream| output::print(&format!("made the stream `{stream}`")))?)
}

async fn init(settings: &Settings, wait: Duration) -> Result<Report, Failure> {
    let context = link::connect(settings, "init").await.map_err(|error| anyhow!(error))?;
    let mut last: Option<ObjectError> = None;
    let tries = async {
        loop {
            match objects::ensure(&context, settings).await {
                Err(error) if error.is_transient() => last = Some(error),
                made => return made,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let made = tokio::time::timeout(wait, tries).await;
    let late = || match last {
        Some(error) => anyhow!("{error}{}", link::instead()),
        None => anyhow!(link::no_answer(wait)),
    };
    Ok(made.map_err(|_| late())?.map_err(|error| anyhow!(error))?)
}
