//! The log: one event, one line, to standard error or with fields to the journal.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::plan::LogPlan;
use crate::config::schema::LogTarget;

/// The levels of the log that runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log of this process. A log that was started before stays.
///
/// # Errors
/// When the level cannot be read or the journal cannot be reached.
pub(super) fn start(plan: &LogPlan) -> anyhow::Result<()> {
    let (filter, levels) = reload::Layer::new(EnvFilter::try_new(&plan.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match plan.target {
        LogTarget::Stderr => {
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
            registry.with(lines).try_init()
        }
        LogTarget::Journald => registry.with(tracing_journald::layer()?).try_init(),
    };
    // The only error is a log that stands already: that of the process this runs in, such as a test.
    if started.is_ok() {
        let _first = FILTER.set(levels);
    }
    Ok(())
}

/// Gives the running log other levels.
///
/// # Errors
/// When they cannot be read.
pub(super) fn set_level(level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)?;
    if let Some(levels) = FILTER.get() {
        levels.reload(filter)?;
    }
    Ok(())
}
