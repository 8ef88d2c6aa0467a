//! `/api/v1`: what administration tells and does, in JSON over HTTP.
//!
//! Its document is [`DOCUMENT`] (OpenAPI 3.1), served at `/api/v1/openapi.json`; a test holds the two against each other. What
//! changes something over TCP needs the token of `admin.token_file` or a certificate by `admin.tls`, and so does everything there
//! once one of them is configured. Records are never given up over TCP: that is for the command socket, and for
//! `tollgate queue drop`, which keeps them in a file first.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinError;

use super::books::{Books, Question};
use super::changes::{self, BODY_OCTETS_MAX};
use super::doors::Asking;
use super::perform::calls_told;
use super::request::{Filter, PAGE_MAX, Request, RequestError, Standing, TURNS_MAX, Until};
use super::{Gateway, OptionView};
use crate::names;

/// The document of the interface, without the version of the program.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// Calls of one answer unless `max` says otherwise.
const CALLS_USUAL: usize = 100;
/// Turns of handlers of one answer, likewise.
const TURNS_USUAL: usize = 100;

/// What every path needs.
pub(super) type Shared = Arc<dyn Gateway>;

/// All paths below `/api/v1`.
pub(super) fn router(gateway: Shared, books: Books) -> Router {
    let paths = paths()
        .route("/calls/end", post(changes::end))
        .route("/ledger/flush", post(changes::flush))
        .route("/records/drop", post(changes::give_up))
        .route("/records/import", changes::import())
        .route("/reload", post(changes::reload));
    limited(paths, books).with_state(gateway)
}

/// All paths below `/api`, where they were before there were versions; one had another name.
pub(super) fn router_before(gateway: Shared, books: Books) -> Router {
    limited(paths().route("/queue/records", get(records)), books).with_state(gateway)
}

fn paths() -> Router<Shared> {
    Router::new()
        .route("/openapi.json", get(document))
        .route("/status", get(status))
        .route("/calls", get(calls))
        .route("/calls/traced", get(traced))
        .route("/calls/ladder", get(ladder))
        .route("/calls/story", get(story))
        .route("/audit", get(audit))
        .route("/configuration", get(configuration))
        .route("/queue", get(queue))
        .route("/records", get(records))
        .route("/records/retry", post(changes::retry))
        .route("/records/park", post(changes::park))
        .route("/script/trace", get(trace))
}

/// What holds for all of them.
fn limited(paths: Router<Shared>, books: Books) -> Router<Shared> {
    let paths = paths.fallback(nothing).method_not_allowed_fallback(no_such_method);
    paths.layer(DefaultBodyLimit::max(BODY_OCTETS_MAX)).layer(Extension(books))
}

async fn nothing(uri: Uri) -> Response {
    refused(StatusCode::NOT_FOUND, format!("there is no `{}`; /api/v1/openapi.json has all there is", uri.path()))
}

async fn no_such_method(method: Method) -> Response {
    refused(StatusCode::METHOD_NOT_ALLOWED, format!("not by {method}; /api/v1/openapi.json says how"))
}

async fn document() -> Response {
    match serde_json::from_str::<Value>(DOCUMENT) {
        Ok(mut document) => {
            document["info"]["version"] = names::VERSION.into();
            Json(document).into_response()
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn status(asking: Asking) -> Response {
    asking.done(Request::Status {}).await
}

async fn configuration(State(gateway): State<Shared>) -> Response {
    let option =
        |own: OptionView| json!({ "option": own.option, "value": own.value, "place": own.place, "effect": own.effect });
    Json(json!({ "options": gateway.configuration().into_iter().map(option).collect::<Vec<_>>() })).into_response()
}

async fn queue(asking: Asking) -> Response {
    asking.done(Request::QueueStatus {}).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallsQuery {
    max: Option<usize>,
}

async fn calls(State(gateway): State<Shared>, query: Result<Query<CallsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(query)) => {
            let max = query.max.unwrap_or(CALLS_USUAL);
            beside(move || answered(Ok(calls_told(&*gateway, max)))).await
        }
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

async fn traced(asking: Asking, query: Result<Query<CallsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(query)) => asking.done(Request::Traced { max: query.max.unwrap_or(CALLS_USUAL) }).await,
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallQuery {
    call: String,
}

async fn ladder(asking: Asking, query: Result<Query<CallQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(CallQuery { call })) => asking.done(Request::Ladder { call }).await,
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoryQuery {
    call: String,
    day: Option<String>,
    zone: Option<String>,
}

async fn story(
    State(gateway): State<Shared>,
    Extension(books): Extension<Books>,
    query: Result<Query<StoryQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(StoryQuery { call, day, zone })) => {
            answered(books.ask(gateway, Question::Story { call, day, zone }).await)
        }
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    day: Option<String>,
    zone: Option<String>,
}

async fn audit(
    State(gateway): State<Shared>,
    Extension(books): Extension<Books>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(AuditQuery { day, zone })) => {
            let day = day.unwrap_or_else(|| "yesterday".to_owned());
            answered(books.ask(gateway, Question::Audit { day, zone }).await)
        }
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    sink: Option<String>,
    record: Option<String>,
    state: Option<Standing>,
    until_seq: Option<u64>,
    until_micros: Option<i64>,
    #[serde(default)]
    whole: bool,
    from: Option<String>,
    max: Option<usize>,
}

async fn records(asking: Asking, query: Result<Query<RecordsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(query)) => {
            let RecordsQuery { sink, record, state, until_seq, until_micros, whole, from, max } = query;
            if until_seq.is_some() != until_micros.is_some() {
                let text = "`until_seq` and `until_micros` go together";
                return refused(StatusCode::BAD_REQUEST, text.to_owned());
            }
            let until = until_seq.zip(until_micros).map(|(seq, micros)| Until { seq, micros });
            let filter = Filter { sink, record, state, until, whole };
            asking.done(Request::QueueList { filter, from, max: max.unwrap_or(PAGE_MAX) }).await
        }
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    call: Option<String>,
    number: Option<String>,
    max: Option<usize>,
}

async fn trace(asking: Asking, query: Result<Query<TraceQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(TraceQuery { call, number, max })) => {
            let max = max.unwrap_or(TURNS_USUAL).min(TURNS_MAX);
            asking.done(Request::ScriptTrace { call, number, max }).await
        }
        Err(wrong) => refused(StatusCode::BAD_REQUEST, wrong.body_text()),
    }
}

/// Makes an answer beside the loop, its text too: that may be long.
pub(super) async fn beside(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |error: JoinError| refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

/// The answer to what was done, or why it was not.
pub(super) fn answered<T: Serialize>(done: Result<T, RequestError>) -> Response {
    match done {
        Ok(value) => Json(value).into_response(),
        Err(RequestError::Usage(text)) => refused(StatusCode::BAD_REQUEST, text),
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, crate::causes::chain_text(&error)),
    }
}

/// An answer to what is not done.
pub(super) fn refused(status: StatusCode, text: String) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
