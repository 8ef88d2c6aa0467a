//! Records as HTTP requests to a receiver of the operator's own: a webhook.
//!
//! An event is the body of a POST, or an array of events is. It is delivered when the receiver has answered with a 2xx
//! status and a body as it is expected; what that is worth is the receiver's affair. Every request carries an
//! `Idempotency-Key`, the id of the event or a hash of the ids of an array, which is the same at every attempt, and may be
//! signed.
//!
//! [`link`] sends, [`post`] makes requests of events, [`verdict`] says what an answer means.

mod kind;
pub mod link;
mod post;
mod verdict;

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use self::link::Link;
use self::post::Post;
use super::attempt::{self, Render};
use super::event::Body;
use super::kind::SetupError;
use super::secret::Secret;
use crate::net::tls::ClientTls;

/// Checked settings of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where events go; without a password.
    pub url: Url,
    /// Who we are.
    pub login: Login,
    /// What signs requests.
    pub signing_key: Option<Secret>,
    /// TLS, for `https`.
    pub tls: Option<ClientTls>,
    /// How many events a request has.
    pub batch: Batch,
    /// What else than a 2xx status makes an acknowledgement.
    pub expect: Expect,
    /// What requests say.
    pub body: Body,
    /// Longest wait for an answer, a connection included. Default [`TIMEOUT`].
    pub timeout: Duration,
    /// Longest pause that a receiver is granted by its `Retry-After`. Default [`RETRY_AFTER_MAX`].
    pub retry_after_max: Duration,
    /// How batches are made and repeated.
    pub delivery: attempt::Settings,
}

/// Default of the longest wait for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Default of the longest pause by `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Requests that are under way at once by default, each with one event.
pub const WINDOW: usize = 8;

/// The same at most: each may have a connection.
pub const WINDOW_MAX: u64 = 64;

/// Records in an array by default.
pub const BATCH: usize = 100;

/// The same at most.
pub const BATCH_MAX: u64 = 1_000;

/// Octets that are read of an answer.
pub const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// Signs a request: `sha256=` and the HMAC-SHA256, in hexadecimal, over the value of [`TIMESTAMP`], a dot, and the body.
pub const SIGNATURE: &str = "X-Tollgate-Signature";

/// Seconds since 1970 at which a signed request was sent.
pub const TIMESTAMP: &str = "X-Tollgate-Timestamp";

/// How often what has this `Idempotency-Key` may have been sent, this time included: 1 surely for the first time.
pub const ATTEMPT: &str = "X-Tollgate-Attempt";

/// How the receiver knows us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Login {
    /// It does not ask.
    #[default]
    None,
    /// By name and password (RFC 7617).
    Basic(String, Secret),
    /// By a token (RFC 6750).
    Bearer(Secret),
}

/// How many events a request has.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Batch {
    /// One; several requests are under way at once.
    #[default]
    Each,
    /// An array of those that wait, one request after the other.
    Array,
}

/// What an acknowledgement has, for receivers that answer an error with 200.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Expect {
    /// Its media type. Default: any, or none, but not HTML, which is a page for people.
    pub media_type: Option<String>,
    /// A text that stands in its body.
    pub text: Option<String>,
}

impl Settings {
    /// Makes requests of records.
    #[must_use]
    pub fn render(&self) -> Render<Vec<Post>> {
        let body = self.body.clone();
        Box::new(move |record| {
            let posts: Vec<_> = body.events(record)?.into_iter().map(Post::from).collect();
            Ok((!posts.is_empty()).then_some(posts))
        })
    }

    /// The way to the receiver; `sink` is the sink's name.
    ///
    /// # Errors
    /// When there can be no HTTP client with such TLS.
    pub fn link(&self, sink: &str) -> Result<Link, SetupError> {
        Link::new(sink, self)
    }
}
