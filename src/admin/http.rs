//! HTTP for monitoring: `/metrics`, `/health`, `/ready`, and JSON under `/api`. It only tells; it changes nothing.

use std::net::TcpListener as StdListener;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::calls_json;
use super::limited::Limited;
use super::request::{Filter, PAGE_MAX, Request, RequestError, Standing, on_queue};
use super::{Gateway, Phase, answer::losses_json, backend_json, metrics, outage_json, stats_json};
use crate::names;
use crate::queue::Trouble;

#[derive(Clone)]
struct Shared {
    gateway: Arc<dyn Gateway>,
    metrics: PrometheusHandle,
}

/// Calls shown by `/api/calls` unless `max` says otherwise.
const CALLS_SHOWN: usize = 100;

/// Serves for ever.
pub(super) async fn serve(listener: StdListener, gateway: Arc<dyn Gateway>, metrics: PrometheusHandle) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "HTTP cannot be served");
            return;
        }
    };
    if let Err(error) = axum::serve(Limited::new(listener), router(gateway, metrics)).await {
        tracing::error!(%error, "HTTP ended");
    }
}

/// All paths.
pub fn router(gateway: Arc<dyn Gateway>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(render))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/api/status", get(status))
        .route("/api/calls", get(calls))
        .route("/api/queue", get(queue))
        .route("/api/queue/records", get(records))
        .with_state(Shared { gateway, metrics })
}

async fn render(State(shared): State<Shared>) -> Response {
    metrics::record(&shared.gateway.health(), &shared.gateway.queue());
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

async fn status(State(shared): State<Shared>) -> Response {
    blocking(move || Ok(status_json(&*shared.gateway))).await
}

async fn queue(State(shared): State<Shared>) -> Json<Value> {
    Json(stats_json(&shared.gateway.queue()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallsQuery {
    max: Option<usize>,
}

async fn calls(State(shared): State<Shared>, Query(query): Query<CallsQuery>) -> Response {
    let max = query.max.unwrap_or(CALLS_SHOWN).min(super::request::CALLS_MAX);
    let gateway = shared.gateway;
    blocking(move || Ok(calls_json(&gateway.health(), &*gateway, max))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    sink: Option<String>,
    record: Option<String>,
    state: Option<Standing>,
    from: Option<String>,
    max: Option<usize>,
}

async fn records(State(shared): State<Shared>, Query(query): Query<RecordsQuery>) -> Response {
    let filter = Filter { sink: query.sink, record: query.record, state: query.state };
    let request = Request::QueueList { filter, from: query.from, max: query.max.unwrap_or(PAGE_MAX) };
    blocking(move || {
        let mut desk = shared.gateway.desk();
        on_queue(&request, &mut *desk, "HTTP").unwrap_or(Err(RequestError::NotRunning))
    })
    .await
}

/// Runs what may block beside the loop.
async fn blocking(work: impl FnOnce() -> Result<Value, RequestError> + Send + 'static) -> Response {
    let (status, text) = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => return Json(value).into_response(),
        Ok(Err(error @ RequestError::Usage(_))) => (StatusCode::BAD_REQUEST, error.to_string()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, crate::sinks::chain(&error).to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    (status, Json(json!({ "error": text }))).into_response()
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
        "down": gateway.outages().iter().map(outage_json).collect::<Vec<_>>(),
        "backends": gateway.backends().iter().map(backend_json).collect::<Vec<_>>(),
        "queue": stats_json(&queue),
    })
}
