//! The same interface for who asks by messages and not over a connection: one request, one answer.
//!
//! Who may send such a message is decided before, by whoever carries it. Questions are answered always; a command is done
//! when it came by the way of commands and that is open, and records are never given up here.

use std::pin::Pin;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::doors::{Caller, Door};
use super::perform::brief;

/// Longest answer, in octets: a page of the longest records.
pub const ANSWER_OCTETS_MAX: usize = 64 << 20;

/// What all targets begin with.
const BELOW: &str = "/api/v1/";

/// What else serves the interface, beside the sockets and on their thread.
pub type Also = Box<dyn FnOnce(Remote) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// By which way a message came, and what that lets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rights {
    /// That of questions.
    Questions,
    /// That of commands, and it is open.
    Commands,
    /// That of commands, and it is closed.
    NoCommands,
}

impl Rights {
    /// Why nothing is changed, if so.
    pub(super) const fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Commands => None,
            Self::Questions => Some("this way is for questions: commands have a subject of their own"),
            Self::NoCommands => Some(
                "this process takes no commands over the cluster: `[cluster] commands = true` lets them in, or ask it by \
                 its own Unix socket, `--socket`",
            ),
        }
    }
}

/// A request as a message has brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Who asks, by their own word: for the log.
    pub by: String,
    /// What may be asked.
    pub rights: Rights,
    /// Method of HTTP.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The body, if there is one.
    pub body: Option<Value>,
}

/// Answers requests.
#[derive(Clone, Debug)]
pub struct Remote {
    router: Router,
}

impl Remote {
    pub(super) const fn new(router: Router) -> Self {
        Self { router }
    }

    /// The code and the body of the answer, which is JSON. Whoever drops the future asks no more: what takes long is not
    /// gone on with.
    pub async fn answer(&self, arrived: Arrived) -> (StatusCode, Bytes) {
        let request = match request(arrived) {
            Ok(request) => request,
            Err(text) => return refusal(StatusCode::BAD_REQUEST, &text),
        };
        // A router answers whatever happens.
        let answer = match TowerToHyperService::new(self.router.clone()).call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (head, body) = answer.into_parts();
        match to_bytes(body, ANSWER_OCTETS_MAX).await {
            Ok(body) => (head.status, body),
            Err(_) => {
                let most = ANSWER_OCTETS_MAX >> 20;
                let text = format!("the answer is longer than {most} MiB: ask for less of it at a time");
                refusal(StatusCode::SERVICE_UNAVAILABLE, &text)
            }
        }
    }
}

/// An answer to what is not done.
#[must_use]
pub fn refusal(status: StatusCode, text: &str) -> (StatusCode, Bytes) {
    (status, json!({ "error": text }).to_string().into())
}

/// The request as the router takes it; or in words why there is none.
fn request(arrived: Arrived) -> Result<Request<Body>, String> {
    let Arrived { by, rights, method, target, body } = arrived;
    if !target.starts_with(BELOW) {
        return Err(format!("`{}` does not begin with `{BELOW}`", brief(&target)));
    }
    let method: Method = method.parse().map_err(|_| format!("`{}` is no method", brief(&method)))?;
    let caller = Caller { door: Door::Cluster(rights), by: format!("{} over the cluster", brief(&by)).into() };
    let request = Request::builder().method(method).uri(&target).extension(caller);
    let made = match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    made.map_err(|_| format!("`{}` is no target", brief(&target)))
}
