//! Administration: metrics, health, JSON and a web page over HTTP, on TCP and on Unix sockets.
//!
//! Everything here runs on a thread of its own and asks the rest of the program through [`Gateway`]; what may block
//! runs on tokio's threads for that.

mod access;
mod answer;
pub mod api;
#[cfg(test)]
mod api_tests;
mod books;
mod changes;
pub(crate) mod client;
mod connection;
mod doors;
mod heads;
pub(crate) mod http;
pub mod metrics;
mod page;
#[cfg(test)]
mod page_tests;
mod perform;
mod places;
mod query;
pub mod remote;
pub mod request;
mod socket;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;
pub(crate) mod travel;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use doors::Door;
use remote::{Also, Remote};

use crate::accounting::{CallView, Closing};
use crate::clock::Timestamp;
use crate::ledger;
use crate::policy::script::trace::{Find, Found};
use crate::queue::{Desk, Stats};
use crate::shard::ladder::{Ladder, Traced};
use crate::sinks::secret::Secret;
use crate::sinks::view::Backend;
use crate::sip::stack::Outage;

pub use crate::front::mailbox::Answers;
pub use answer::{
    backend_json, call_json, item_json, ladder_json, outage_json, page_json, reloaded_json, stats_json, trace_json,
    traced_json, whole_json,
};
pub use tls::{HttpTls, Renewal};

/// Settings of administration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The section that gives `listen` and `socket`, for messages. Default `admin`.
    pub section: &'static str,
    /// HTTP; `None`: none. Default: none.
    pub listen: Option<SocketAddr>,
    /// Unix socket of the commands; `None`: none. Default `/run/tollgate/admin.sock`.
    pub socket: Option<PathBuf>,
    /// Host names, in lower case, by which HTTP may be asked, beside literal addresses and `localhost`: another name is
    /// that of a web page which has led its reader's browser here. Default: none.
    pub hosts: Vec<String>,
    /// Whether `/api` is served by HTTP, and the web page at `/` that asks it. Default: no.
    pub api: bool,
    /// What `/api` asks for; `None`: nothing, and it changes nothing then. Default: none.
    pub token: Option<Secret>,
    /// Unix socket that answers questions and changes nothing; its permissions are 0660. Default: none.
    pub status_socket: Option<PathBuf>,
    /// Permissions of the socket: 0600, or 0660 for the group too. Default 0600.
    pub socket_mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            section: "admin",
            listen: None,
            hosts: Vec::new(),
            api: false,
            token: None,
            socket: Some(PathBuf::from("/run/tollgate/admin.sock")),
            status_socket: None,
            socket_mode: 0o600,
        }
    }
}

/// What the running gateway tells about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// Where it is between start and stop.
    pub phase: Phase,
    /// Loops that do not turn; none while all is well.
    pub hanging: Vec<String>,
    /// Whether new calls are served now: `false` while draining, in the alarm state with `on_trouble = "refuse"`, and
    /// at a limit.
    pub accepts_calls: bool,
    /// Calls in progress.
    pub calls: usize,
    /// Threads that serve calls.
    pub shards: usize,
    /// Requests since the start that were turned away: of sources outside `sip.allow`, and without a route.
    pub turned_away: (u64, u64),
    /// What became of calls since the start.
    pub answers: Answers,
    /// When it started.
    pub started: Timestamp,
}

/// Where the gateway is between start and stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The queue opens, sockets are bound.
    Starting,
    /// It serves.
    Running,
    /// It takes no new calls and waits for the end of transactions.
    Draining,
}

impl Phase {
    /// Lower-case name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// What became of a wish to reload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// The configuration is taken over.
    Done {
        /// What the operator should know.
        warnings: Vec<String>,
        /// What waits for the next start: what it is, and where it stands.
        restart: Vec<(String, String)>,
    },
    /// The running configuration stays.
    Refused {
        /// Why.
        mistakes: Vec<String>,
    },
}

/// An option of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OptionView {
    /// Its name, with the names of its tables and the numbers of list elements, from 0.
    pub option: String,
    /// As it was given, without what is secret in it.
    pub value: String,
    /// Where it stands: file and line, or the name of an environment variable.
    pub place: String,
    /// What a change of it needs: `reload` or `restart`.
    pub effect: &'static str,
}

/// The running gateway, as administration sees it.
pub trait Gateway: Send + Sync + 'static {
    /// How it is; cheap.
    fn health(&self) -> Health;

    /// The state of the queue; cheap.
    fn queue(&self) -> Stats;

    /// Who does commands on the queue; its methods may block.
    fn desk(&self) -> Box<dyn Desk + Send>;

    /// The sinks with their servers; cheap. None while delivery has not begun.
    fn backends(&self) -> Vec<Backend> {
        Vec::new()
    }

    /// What handlers of the script have decided lately; may block. `None`: there is no script.
    fn script_trace(&self, _find: &Find) -> Option<Found> {
        None
    }

    /// The SIP destinations that are down; may block.
    fn outages(&self) -> Vec<Outage> {
        Vec::new()
    }

    /// Reads the configuration again and takes it over; blocks. `None` when nobody does that.
    fn reload(&self) -> Option<Reloaded> {
        None
    }

    /// The options that its configuration gives, without what is secret in them.
    fn configuration(&self) -> Vec<OptionView> {
        Vec::new()
    }

    /// What a gateway knows of its cluster, for [`Request::Status`](request::Request::Status); `None`: it has none.
    fn cluster(&self) -> Option<serde_json::Value> {
        None
    }

    /// What a deliverer knows of its cluster, for [`Request::Status`](request::Request::Status); `None`: it is none.
    fn deliverer(&self) -> Option<serde_json::Value> {
        None
    }

    /// The folder of the ledger; `None`: there is none.
    fn ledger(&self) -> Option<PathBuf> {
        None
    }

    /// Has the ledger write what it was told so far; may block. Whether it did: `false` where there is none.
    fn flush_ledger(&self) -> bool {
        false
    }

    /// How the ledger fares; `None`: there is none.
    fn ledger_stats(&self) -> Option<ledger::Stats> {
        None
    }

    /// Up to `max` calls in progress; may block.
    fn calls(&self, max: usize) -> Vec<CallView>;

    /// The messages of the call of this Call-ID, while they are kept; may block.
    fn ladder(&self, _call_id: &[u8]) -> Option<Ladder> {
        None
    }

    /// Up to `max` calls whose messages are kept, the newest first; may block.
    fn traced(&self, _max: usize) -> Vec<Traced> {
        Vec::new()
    }

    /// Ends answered calls and gives those that it ended; may block.
    fn end_calls(&self, closing: &Closing) -> Vec<CallView>;
}

/// Permissions of the socket that only answers: its folder decides which group that is.
const STATUS_SOCKET_MODE: u32 = 0o660;

/// The bound sockets of administration.
#[derive(Debug)]
pub struct Admin {
    http: Option<std::net::TcpListener>,
    face: http::Face,
    renewal: Renewal,
    commands: Option<socket::Bound>,
    status: Option<socket::Bound>,
}

/// A socket of administration cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// HTTP.
    #[error("cannot listen on {address} for HTTP (`{section}.listen`)")]
    Http {
        /// The section that says so.
        section: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Commands, or questions.
    #[error("cannot listen on {} for {what} (`{section}.{option}`)", path.display())]
    Socket {
        /// What would come in there.
        what: &'static str,
        /// The section that says so.
        section: &'static str,
        /// The option that says so.
        option: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Admin {
    /// Binds the sockets, before anything is served, so that a mistake stops the start. HTTP begins with this TLS.
    ///
    /// # Errors
    /// Whatever the system says to an address or a path.
    pub fn bind(settings: &Settings, tls: Option<HttpTls>) -> Result<Self, BindError> {
        let section = settings.section;
        let http = match settings.listen {
            None => None,
            Some(address) => {
                let bound = std::net::TcpListener::bind(address).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    Ok(listener)
                });
                Some(bound.map_err(|source| BindError::Http { section, address, source })?)
            }
        };
        let bound = |path: &Option<PathBuf>, mode, (what, option)| {
            let bind = |path: &PathBuf| {
                let failed = |source| BindError::Socket { what, section, option, path: path.clone(), source };
                socket::Bound::new(path, mode).map_err(failed)
            };
            path.as_ref().map(bind).transpose()
        };
        let commands = bound(&settings.socket, settings.socket_mode, ("commands", "socket"))?;
        let status = bound(&settings.status_socket, STATUS_SOCKET_MODE, ("questions", "status_socket"))?;
        let (hosts, renewal) = (settings.hosts.clone(), Renewal::new(tls, settings.token.clone()));
        let face = http::Face { hosts, api: settings.api, token: renewal.token(), gate: renewal.gate() };
        Ok(Self { http, face, renewal, commands, status })
    }

    /// Where HTTP is served, with the port the system chose for port 0.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where it is, in words: by what HTTP is asked, and the sockets.
    #[must_use]
    pub fn places(&self) -> String {
        let scheme = if self.renewal.has_tls() { "https" } else { "http" };
        let http = self.http_address().map(|address| format!("{scheme}://{address}"));
        let at = |what: &str, bound: &Option<socket::Bound>| {
            bound.as_ref().map(|bound| format!("{what} at {}", bound.path().display()))
        };
        let all = [http, at("commands", &self.commands), at("questions", &self.status)];
        let all: Vec<_> = all.into_iter().flatten().collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    /// Through which HTTP gets other certificates and another token while it runs.
    #[must_use]
    pub fn renewal(&self) -> Renewal {
        self.renewal.clone()
    }

    /// Serves until `stop` is done, `also` by messages; to be called inside a tokio runtime. Commands under way are finished
    /// by the threads they run on, but nobody hears their answer.
    pub async fn serve(
        self,
        gateway: Arc<dyn Gateway>,
        metrics: PrometheusHandle,
        also: Option<Also>,
        stop: impl Future<Output = ()>,
    ) {
        let router = http::router(gateway, metrics.clone());
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(listener) = self.http {
            tasks.spawn(http::serve(listener, self.face, router.clone()));
        }
        for (bound, door) in [(self.commands, Door::Commands), (self.status, Door::Questions)] {
            if let Some(bound) = bound {
                tasks.spawn(socket::serve(bound, door, router.clone()));
            }
        }
        tasks.extend(also.map(|also| also(Remote::new(router))));
        tasks.spawn(metrics::upkeep(metrics));
        stop.await;
        tasks.shutdown().await;
    }
}
