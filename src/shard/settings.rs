//! What an operator can set about a shard.

use std::time::Duration;

use serde::Deserialize;

use super::trace::Tracing;
use crate::accounting;
use crate::sip::stack;

/// What happens to new calls while records cannot be committed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnTrouble {
    /// They get 503 with `Retry-After`: no call without its record.
    #[default]
    Refuse,
    /// They are served; their records wait in memory and may be lost with the process.
    Serve,
}

/// What an operator can set about a shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest wait of a response for its commit. Default 500 ms.
    pub commit_wait_max: Duration,
    /// A receipt that takes longer raises the alarm. Default 3 s.
    pub refuse_after: Duration,
    /// Default: refuse.
    pub on_trouble: OnTrouble,
    /// `Retry-After` of refused calls, in seconds. Default 5.
    pub retry_after_s: u32,
    /// Calls in progress in this shard beyond which new ones get 503. Default 200 000.
    pub calls_max: usize,
    /// The calls of this shard whose messages are kept for their diagrams. Default: none.
    pub trace: Tracing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_wait_max: Duration::from_millis(500),
            refuse_after: Duration::from_secs(3),
            on_trouble: OnTrouble::default(),
            retry_after_s: 5,
            calls_max: 200_000,
            trace: Tracing::default(),
        }
    }
}

/// Settings that a reload replaces; what is in progress goes on.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Of the shard.
    pub shard: Settings,
    /// Of the SIP machine; see [`Stack::configure`](stack::Stack::configure) for what stays.
    pub stack: stack::Settings,
    /// Of accounting; see [`Engine::configure`](accounting::Engine::configure) for what stays.
    pub accounting: accounting::Settings,
}
