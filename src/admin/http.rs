//! HTTP for monitoring: `/metrics`, `/health`, `/ready`, JSON under `/api`, of which `/api/v1` is in its own file, and the web
//! page at `/`.
//!
//! Browsers are kept out by the name they ask for, silent connections by time limits and places; see `places`.

use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{Method, Request, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::api::refused;
use super::books::Books;
use super::connection::{Guest, connection};
use super::doors::{Caller, Door};
use super::places::{AcceptTroubles, Origin, Place, Places};
use super::tls::{Client, Gate};
use super::{Gateway, Phase, access, answer::losses_json, api, backend_json, metrics, outage_json, page, stats_json};
use crate::clock;
use crate::front::mailbox::Answers;
use crate::names;
use crate::queue::Trouble;
use crate::sinks::secret::Secret;

#[derive(Clone)]
struct Shared {
    gateway: Arc<dyn Gateway>,
    metrics: PrometheusHandle,
}

/// Connections at once; a further one takes the place of one that is silent, see `places`.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for a whole head, and between two requests of a connection.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest time for one answer, and for its reader to take it.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pause after an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What HTTP shows, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Face {
    /// Host names it answers to, beside literal addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Whether `/api` is served, and the page that asks it.
    pub api: bool,
    /// What it asks for, as it is now.
    pub token: watch::Receiver<Option<Secret>>,
    /// Where connections come in, with or without TLS.
    pub gate: Gate,
}

/// Serves for ever.
pub(super) async fn serve(listener: StdListener, face: Face, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "HTTP cannot be served");
            return;
        }
    };
    let face = Arc::new(face);
    let places = Places::new(CONNECTIONS_MAX, (ANSWER_MAX, ANSWER_MAX));
    let mut troubles = AcceptTroubles::new("HTTP");
    loop {
        match listener.accept().await {
            Ok(guest) => {
                troubles.over();
                let place = Arc::new(places.take(Origin::of(guest.1.ip())).await);
                tokio::spawn(converse(guest, place, face.clone(), router.clone()));
            }
            Err(error) => {
                troubles.note(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends or its place is wanted.
async fn converse(stream: (TcpStream, SocketAddr), place: Arc<Place>, face: Arc<Face>, router: Router) {
    let own = place.clone();
    tokio::select! {
        () = answer(stream, own, face, router) => {}
        () = place.has_to_go() => tracing::debug!("a silent HTTP connection gave its place up"),
    }
}

/// Answers the requests of one connection.
async fn answer((stream, peer): (TcpStream, SocketAddr), place: Arc<Place>, face: Arc<Face>, router: Router) {
    let mut gate = face.gate.clone();
    let Some((wire, client)) = gate.pass(stream, peer).await else { return };
    place.waiting();
    let guest = Guest::Stranger(face, client);
    let mut connection = std::pin::pin!(connection(Box::new(wire), place, (guest, router), HEAD_MAX));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = gate.renewed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

impl Face {
    /// Who asks, or why a request is not served at all.
    pub(super) fn admitted<B>(&self, request: &Request<B>, client: &Client) -> Result<Caller, Box<Response>> {
        let path = request.uri().path();
        let (status, text) = match asked_host(request) {
            Err(text) => (StatusCode::BAD_REQUEST, text),
            Ok(Some(host)) if !self.answers_to(&host) => {
                (StatusCode::MISDIRECTED_REQUEST, "this name is not in `admin.hosts`; ask by address")
            }
            Ok(_) if !self.api && is_api(path) => {
                (StatusCode::FORBIDDEN, "`/api` is off; `admin.api = true` serves it, the command socket always does")
            }
            Ok(_) if !self.api && page::has(path) => {
                (StatusCode::FORBIDDEN, "the page asks `/api`, which is off; `admin.api = true` serves both")
            }
            Ok(_) if is_api(path) => {
                let token = self.token.borrow();
                let by = access::admitted((token.as_ref(), client), request.method(), request.headers())?;
                return Ok(Caller { door: Door::Http, by });
            }
            Ok(_) => return Ok(Caller { door: Door::Http, by: client.named("somebody") }),
        };
        Err(Box::new(refused(status, text.to_owned())))
    }

    /// Whether a host means this gateway. A page of another site that has its name point here (DNS rebinding) asks by
    /// that name.
    fn answers_to(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }
}

fn is_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The host that is asked, without its port: that of an absolute target, else of the only Host (RFC 9112 §3.2). Where both
/// are there they name the same place: something between us and who asks may go by the other one. HTTP/1.0 may have none.
fn asked_host<B>(request: &Request<B>) -> Result<Option<String>, &'static str> {
    let uri = request.uri();
    let usual = match uri.scheme_str() {
        None => None,
        Some("http") => Some(80),
        Some("https") => Some(443),
        Some(_) => return Err("the target is neither of http nor of https"),
    };
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next().map(|field| named(field.to_str().unwrap_or_default(), usual)).transpose()?;
    if fields.next().is_some() {
        return Err("there is more than one Host");
    }
    let target = uri.authority().map(|own| named(own.as_str(), usual)).transpose()?;
    match (target, field) {
        (Some(target), Some(field)) if target != field => Err("the target and Host name different places"),
        (None, None) | (Some(_), None) if request.version() >= Version::HTTP_11 => Err("there is no Host"),
        (target, field) => Ok(target.or(field).map(|(host, _)| host)),
    }
}

/// A host in lower case with its port, or the usual one, as they stand in Host and in a target (RFC 9110 §7.2, §4.2.4).
fn named(text: &str, usual: Option<u16>) -> Result<(String, Option<u16>), &'static str> {
    if text.contains('@') {
        return Err("a name of a user stands before the host");
    }
    let authority = text.parse::<Authority>().map_err(|_| "there is a Host that cannot be read")?;
    let host = authority.host();
    let port = match text.strip_prefix(host).unwrap_or_default() {
        "" | ":" => usual,
        port => {
            let digits = port.strip_prefix(':').filter(|own| own.bytes().all(|octet| octet.is_ascii_digit()));
            Some(
                digits
                    .and_then(|own| own.parse().ok())
                    .ok_or("the port of Host or of the target is none up to 65535")?,
            )
        }
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// All paths.
pub fn router(gateway: Arc<dyn Gateway>, metrics: PrometheusHandle) -> Router {
    let books = Books::default();
    Router::new()
        .route("/metrics", get(render))
        .route("/health", get(health))
        .route("/ready", get(ready))
        // As they were before there was a version in the path.
        .nest_service("/api", api::router_before(Arc::clone(&gateway), books.clone()))
        .nest_service("/api/v1", api::router(Arc::clone(&gateway), books))
        .merge(page::router())
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Shared { gateway, metrics })
}

async fn nothing(uri: Uri) -> Response {
    let text = format!("there is no `{}`; there are `/metrics`, `/health`, `/ready` and `/api/v1/status`", uri.path());
    refused(StatusCode::NOT_FOUND, text)
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    refused(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` is not asked by {method}, but by GET", uri.path()))
}

async fn render(State(shared): State<Shared>) -> Response {
    let ledger = shared.gateway.ledger_stats();
    metrics::record(&shared.gateway.health(), &shared.gateway.queue(), ledger.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

/// Whether every loop turns.
async fn health(State(shared): State<Shared>) -> Response {
    let health = shared.gateway.health();
    let status = if health.hanging.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let queue = shared.gateway.queue();
    let page = json!({
        "phase": health.phase.name(), "hanging": health.hanging, "alarm": queue.alarm(), "lost": queue.losses.total(),
        "losses": losses_json(&queue),
    });
    (status, Json(page)).into_response()
}

/// Whether it takes new calls.
async fn ready(State(shared): State<Shared>) -> Response {
    let health = shared.gateway.health();
    let is_ready = health.phase == Phase::Running && health.hanging.is_empty() && health.accepts_calls;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let troubles: Vec<_> = shared.gateway.queue().troubles.iter().map(Trouble::name).collect();
    (status, Json(json!({ "ready": is_ready, "phase": health.phase.name(), "troubles": troubles }))).into_response()
}

/// How the gateway is, with the state of the queue, of the sinks' servers and of SIP destinations; may block.
pub(super) fn status_json(gateway: &dyn Gateway) -> Value {
    let (health, queue) = (gateway.health(), gateway.queue());
    json!({
        "product": names::PRODUCT,
        "version": names::VERSION,
        "phase": health.phase.name(),
        "started": health.started.to_string(),
        "accepts_calls": health.accepts_calls,
        "hanging": health.hanging,
        "calls": health.calls,
        "shards": health.shards,
        "turned_away": { "strangers": health.turned_away.0, "without_route": health.turned_away.1 },
        "answers": answers_json(&health.answers),
        "refused": health.answers.refused,
        "down": gateway.outages().iter().map(outage_json).collect::<Vec<_>>(),
        "backends": gateway.backends().iter().map(backend_json).collect::<Vec<_>>(),
        "queue": stats_json(&queue),
        "ledger": gateway.ledger_stats().map(|ledger| ledger.json(clock::wall())),
        "deliverer": gateway.deliverer(),
        "cluster": gateway.cluster(),
    })
}

/// Answers by class: `2xx` to `6xx`.
fn answers_json(answers: &Answers) -> Value {
    (2..).zip(answers.by_class).map(|(class, count)| (format!("{class}xx"), count.into())).collect::<Map<_, _>>().into()
}
