//! Records as entries of Redis streams, in builds with the feature `redis`.
//!
//! An entry has the fields `id`, the id of its record, and `data`, the event. It is delivered when the server has taken it,
//! into its memory: whether it is on a disk by then says the server's `appendfsync`. What was not acknowledged is added
//! again, and may be there twice: the server knows no repeats, its consumer has to, by `id`.
//!
//! `link` adds, and says what an error means.

#[cfg(feature = "redis")]
mod kind;
#[cfg(feature = "redis")]
pub mod link;

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::attempt;
use super::event::Body;
use super::event::name::{Alphabet, Template};
use super::secret::Secret;
use crate::net::tls::ClientTls;

/// Checked settings of a Redis sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The server's host, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS, and the name that the server has to prove; `None`: without.
    pub tls: Option<(ClientTls, ServerName<'static>)>,
    /// The number of the database.
    pub database: u16,
    /// Who we are; without a name the server's default user.
    pub login: Option<(Option<String>, Secret)>,
    /// The stream.
    pub key: Template,
    /// Whether a stream that is not there is made.
    pub makes_streams: bool,
    /// About how many entries a stream keeps; `None`: all.
    pub length_max: Option<u64>,
    /// What entries say.
    pub body: Body,
    /// Longest wait for acknowledgements; to connect. Default [`TIMEOUT`].
    pub timeout: Duration,
    /// How batches are made and repeated.
    pub delivery: attempt::Settings,
}

/// Default of the longest wait for acknowledgements.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Records that wait for their acknowledgement by default.
pub const WINDOW: usize = 256;

/// What keys take of a value: braces say where a cluster has them.
pub const KEYS: Alphabet = Alphabet { takes: |octet| !b"{}".contains(&octet), octets_max: 1_000 };
