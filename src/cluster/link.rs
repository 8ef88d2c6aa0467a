//! Connections of this process to the servers of its cluster.

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

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
    let options = with(access.options(&format!("{purpose} {}", settings.name))?);
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
