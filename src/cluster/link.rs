//! Connections of this process to the servers of its cluster.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event};

use super::Settings;
use crate::sinks::jetstream::BadCredentials;
use crate::sinks::jetstream::patience::Patience;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
    /// They do not know us.
    #[error("{servers} does not let us in: check the login in `[cluster]`")]
    Login {
        /// The servers.
        servers: String,
        /// What was said.
        source: ConnectError,
    },
    /// None answers.
    #[error("no server of {servers} can be reached")]
    Away {
        /// The servers.
        servers: String,
        /// What was said.
        source: ConnectError,
    },
}

impl LinkError {
    /// Whether the same may succeed later without a change of the configuration.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Credentials(_) | Self::Login { .. } => false,
        }
    }
}

/// That nothing was answered for so long, with what the servers have said instead: they give no answer to what a login may
/// not do.
#[must_use]
pub fn no_answer(wait: Duration) -> String {
    format!("no answer within {} s{}", wait.as_secs(), instead())
}

/// What the servers have said that is no answer, to be put behind another text.
#[must_use]
pub fn instead() -> String {
    let refused: Vec<String> = refusals().iter().cloned().collect();
    if refused.is_empty() { String::new() } else { format!("; the servers say: {}", refused.join(", ")) }
}

/// Notes what the servers say that is no answer, as that this login may not do something; whether that is new.
pub(crate) fn is_new(refusal: &str) -> bool {
    let mut all = refusals();
    all.len() < REFUSALS_MAX && all.insert(refusal.to_owned())
}

/// What the servers have said to this process, whatever connection it was: each connection is made anew again and again, and
/// hears the same.
fn refusals() -> MutexGuard<'static, BTreeSet<String>> {
    static REFUSALS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    REFUSALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refusals that are told; further ones are not.
const REFUSALS_MAX: usize = 64;

/// Tells the log what the servers say beside answers.
async fn listened(event: Event) {
    match event {
        Event::ServerError(error) if is_new(&error.to_string()) => {
            tracing::warn!(%error, "the servers of the cluster refuse something: may this login do it?");
        }
        other => tracing::debug!(event = %other, "a connection to the cluster"),
    }
}

/// Connects; the connection makes itself anew when it breaks. `purpose` is what the servers list it by, beside our name.
///
/// # Errors
/// When no server lets us in.
pub async fn connect(settings: &Settings, purpose: &str) -> Result<Context, LinkError> {
    connect_as(settings, purpose, |options| options).await
}

/// The same, with other options beside those of the way to the servers.
///
/// # Errors
/// When no server lets us in.
pub async fn connect_as(
    settings: &Settings,
    purpose: &str,
    with: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<Context, LinkError> {
    open(settings, purpose, &Patience::default(), with).await
}

/// As [`connect`], with those servers first that were not left.
///
/// # Errors
/// When no server lets us in.
pub(crate) async fn connect_with(
    settings: &Settings,
    purpose: &str,
    patience: &Patience,
) -> Result<Context, LinkError> {
    open(settings, purpose, patience, |options| options).await
}

async fn open(
    settings: &Settings,
    purpose: &str,
    patience: &Patience,
    with: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<Context, LinkError> {
    let access = &settings.access;
    let options = with(access.options(&format!("{purpose} {}", settings.name))?.event_callback(listened));
    let (servers, options) = patience.order(access, options);
    let client = options.connect(&servers).await.map_err(|source| {
        let servers = access.servers.join(", ");
        match source.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                LinkError::Login { servers, source }
            }
            _ => LinkError::Away { servers, source },
        }
    })?;
    Ok(jetstream::new(client))
}
