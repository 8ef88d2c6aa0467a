//! The log: one event, one line, to standard error or with fields to the journal.

mod journal;

use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Scope};
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
            if is_journal() {
                registry.with(lines.event_format(Prefixed)).try_init()
            } else {
                registry.with(lines).try_init()
            }
        }
        LogTarget::Journald => registry.with(journal::layer()?).try_init(),
    };
    // The only error is a log that stands already: that of the process this runs in, such as a test.
    if started.is_ok() {
        let _first = FILTER.set(levels);
    }
    Ok(())
}

/// Whether standard error leads to the journal of systemd (`systemd.exec(5)`, `JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = std::fs::metadata("/proc/self/fd/2");
    own.is_ok_and(|own| named == format!("{}:{}", own.dev(), own.ino()))
}

/// Lines for the journal: the priority in front as `sd-daemon(3)` says, and no time, for the journal has its own. Each
/// line of a message has it, so that the whole message keeps its priority.
struct Prefixed;

impl<S, N> FormatEvent<S, N> for Prefixed
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = format!("{}: ", event.metadata().target());
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(text, "{}{{{fields}}}: ", span.name())?;
            }
        }
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
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
