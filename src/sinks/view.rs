//! How a sink's servers are, in words and numbers that are the same for every kind of sink: for `tollgate status`.

use std::sync::Arc;
use std::time::Duration;

/// One server of a sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerView {
    /// Its address or name.
    pub server: String,
    /// Its state, one word in lower case.
    pub state: &'static str,
    /// How long it has been in it.
    pub since: Duration,
    /// Records waiting for its answer.
    pub in_flight: usize,
    /// Records that may wait for its answer.
    pub window: usize,
    /// Open sockets or connections.
    pub connections: usize,
    /// Smoothed time to the answer; `None` before the first one.
    pub round_trip: Option<Duration>,
    /// What an operator should know of it, in words.
    pub note: Option<String>,
    /// What was counted since the start, by name.
    pub counts: Vec<(&'static str, u64)>,
}

/// Tells how a sink's servers are; callable from any thread, cheap.
pub type Views = Arc<dyn Fn() -> Vec<ServerView> + Send + Sync>;

/// States of a sink's servers, readable from any thread.
pub trait Board: Send + Sync {
    /// How they are; cheap.
    fn views(&self) -> Vec<ServerView>;

    /// Whether a server demands, and the configuration obeys, that no new call is served now.
    fn refuses_calls(&self) -> bool {
        false
    }

    /// Whether a server takes no records until the configuration is read again.
    fn has_given_up(&self) -> bool {
        false
    }
}

/// A running sink.
#[derive(Clone)]
pub struct Backend {
    /// The sink's name in the configuration.
    pub sink: String,
    /// Its kind, the middle of `[sinks.KIND.NAME]`.
    pub kind: &'static str,
    /// Looks at its servers as they are at that moment.
    pub views: Views,
}
