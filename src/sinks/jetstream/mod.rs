//! What all that publish to a stream of JetStream share: how the servers know us, a connection to them, and what became of
//! a message.
//!
//! [`connection`] connects, publishes and asks for the stream, [`patience`] says which server is tried, [`verdict`] what an
//! error means, [`place`] whether a stream takes a subject.

pub(crate) mod connection;
pub(crate) mod patience;
mod place;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::ConnectOptions;

pub(crate) use self::place::covers;
use super::secret::Secret;
use crate::net::tls::ClientTls;

/// The way to the servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// URLs of servers, at least one; which is used is the client's choice.
    pub servers: Vec<String>,
    /// Who we are.
    pub login: Login,
    /// TLS, for servers that ask for it.
    pub tls: Tls,
    /// Longest wait for acknowledgements; to connect to a server. Default [`TIMEOUT`].
    pub timeout: Duration,
}

/// TLS of the connections that are made from now on, `None` for only without: the same for all who hold a copy of it, so that
/// renewed files reach all of them.
#[derive(Clone, Debug, Default)]
pub struct Tls(Arc<Mutex<Option<ClientTls>>>);

impl From<Option<ClientTls>> for Tls {
    fn from(tls: Option<ClientTls>) -> Self {
        Self(Arc::new(Mutex::new(tls)))
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.current() == other.current()
    }
}

impl Tls {
    fn current(&self) -> Option<ClientTls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what another one is now, for the next connections.
    pub fn renew(&self, from: &Self) {
        let tls = from.current();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }
}

/// Default of the longest wait for acknowledgements.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How the servers know us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Login {
    /// They do not ask.
    #[default]
    None,
    /// By name and password.
    User(String, Secret),
    /// By a token.
    Token(Secret),
    /// By the seed of an nkey.
    Nkey(Secret),
    /// By a file of credentials, a JWT and the seed of an nkey.
    Credentials(Secret),
}

/// A credentials file has no JWT with the seed of an nkey.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the credentials cannot be used: a JWT and the seed of an nkey belong into their file")]
pub struct BadCredentials;

impl Access {
    /// Options of a client that calls itself by our product's name and `purpose`.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub fn options(&self, purpose: &str) -> Result<ConnectOptions, BadCredentials> {
        let mut options = ConnectOptions::new()
            .name(format!("{} {purpose}", crate::names::PRODUCT))
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout));
        if let Some(tls) = self.tls.current() {
            options = options.tls_client_config((*tls.config()).clone());
        }
        Ok(match &self.login {
            Login::None => options,
            Login::User(name, password) => options.user_and_password(name.clone(), password.text().to_owned()),
            Login::Token(token) => options.token(token.text().to_owned()),
            Login::Nkey(seed) => options.nkey(seed.text().to_owned()),
            Login::Credentials(text) => options.credentials(text.text()).map_err(|_| BadCredentials)?,
        })
    }
}
