//! What scripts do, told to the log and the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::Counter;

use crate::clock::{self, Instant};
use crate::metric::metrics_of;
use crate::policy::script::{HANDLERS, Severity, Witness};

metrics_of! { METRICS:
    /// Handlers of the script that were run, by `handler`.
    counter SCRIPT_CALLS_TOTAL = "tollgate_script_calls_total", "calls";
    /// Handlers that have failed, by `handler` and `reason` (`error`, `limit`).
    counter SCRIPT_ERRORS_TOTAL = "tollgate_script_errors_total", "errors";
    /// Time that handlers took, in microseconds, by `handler`.
    counter SCRIPT_MICROSECONDS_TOTAL = "tollgate_script_microseconds_total", "microseconds";
}

/// A failure of one handler is logged once in this time; all are counted.
const EVERY: Duration = Duration::from_secs(1);
/// Places of failures that are remembered, so that each is logged by itself.
const PLACES_MAX: usize = 256;

/// The log and the metrics of the service.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Runs and microseconds of each of [`HANDLERS`]: to look them up by name would take as long as a short handler does.
    counters: [OnceLock<(Counter, Counter)>; HANDLERS.len()],
    /// When a failure was logged last, and how many were not since.
    failures: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Witness for Told {
    fn said(&self, severity: Severity, text: &str, call_id: Option<&[u8]>) {
        let call_id = String::from_utf8_lossy(call_id.unwrap_or_default());
        match severity {
            Severity::Debug => tracing::debug!(%call_id, "script: {text}"),
            Severity::Info => tracing::info!(%call_id, "script: {text}"),
            Severity::Warn => tracing::warn!(%call_id, "script: {text}"),
            Severity::Error => tracing::error!(%call_id, "script: {text}"),
        }
    }

    fn ran(&self, handler: &'static str, span: Duration) {
        let Some(place) = HANDLERS.iter().position(|name| *name == handler) else { return };
        let (calls, times) = self.counters[place].get_or_init(|| {
            let calls = metrics::counter!(SCRIPT_CALLS_TOTAL, "handler" => handler);
            (calls, metrics::counter!(SCRIPT_MICROSECONDS_TOTAL, "handler" => handler))
        });
        calls.increment(1);
        times.increment(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    fn failed(&self, handler: &'static str, text: &str, is_limit: bool) {
        let reason = if is_limit { "limit" } else { "error" };
        metrics::counter!(SCRIPT_ERRORS_TOTAL, "handler" => handler, "reason" => reason).increment(1);
        let now = clock::mono();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= PLACES_MAX && !failures.contains_key(text) {
            failures.retain(|_, (last, _)| now.since(*last) < EVERY);
        }
        match failures.get_mut(text) {
            Some((last, left_out)) if now.since(*last) < EVERY => *left_out += 1,
            Some((last, left_out)) => {
                tracing::error!(handler, left_out = *left_out, "the script failed: {text}");
                (*last, *left_out) = (now, 0);
            }
            None => {
                tracing::error!(handler, "the script failed: {text}");
                if failures.len() < PLACES_MAX {
                    failures.insert(text.to_owned(), (now, 0));
                }
            }
        }
    }
}
