//! `/api/v1`: what administration tells and does, in JSON over HTTP.
//!
//! Its document is [`DOCUMENT`] (OpenAPI 3.1), served at `/api/v1/openapi.json`; a test holds the two against each other. What
//! changes something over TCP needs the token of `admin.token_file` or a certificate by `admin.tls`, and so does everything there
//! once one of them is configured. Records are never given up over TCP: that is for the command socket, and for
//! `tollgate queue drop`, which keeps them in a file first.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinError;

use super::books::{Books, Question};
use super::changes::{self, BODY_OCTETS_MAX};
use super::doors::Asking;
use super::perform::calls_told;
use super::query::{Asked, Given, Parameters};
use super::request::{CALLS_MAX, Filter, PAGE_MAX, Request, RequestError, Standing, TRACED_MAX, TURNS_MAX, Until};
use super::{Gateway, OptionView};
use crate::clock::Timestamp;
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
        .route("/audit/records", get(standings))
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

/// How many there are to be in the answer, `MOST` at most.
struct CountQuery<const MOST: usize>(Option<usize>);

impl<const MOST: usize> Parameters for CountQuery<MOST> {
    const NAMES: &'static [&'static str] = &["max"];

    fn read(given: &Given) -> Result<Self, String> {
        given.count("max", MOST).map(Self)
    }
}

async fn calls(State(gateway): State<Shared>, Asked(query): Asked<CountQuery<CALLS_MAX>>) -> Response {
    let max = query.0.unwrap_or(CALLS_USUAL);
    beside(move || answered(Ok(calls_told(&*gateway, max)))).await
}

async fn traced(asking: Asking, Asked(query): Asked<CountQuery<TRACED_MAX>>) -> Response {
    asking.done(Request::Traced { max: query.0.unwrap_or(CALLS_USUAL) }).await
}

/// What names a call in a query.
const CALL: &str = "a Call-ID";

struct CallQuery {
    call: String,
}

impl Parameters for CallQuery {
    const NAMES: &'static [&'static str] = &["call"];

    fn read(given: &Given) -> Result<Self, String> {
        given.needed("call", CALL).map(|call| Self { call })
    }
}

async fn ladder(asking: Asking, Asked(CallQuery { call }): Asked<CallQuery>) -> Response {
    asking.done(Request::Ladder { call }).await
}

struct StoryQuery {
    call: String,
    day: Option<String>,
    zone: Option<String>,
}

impl Parameters for StoryQuery {
    const NAMES: &'static [&'static str] = &["call", "day", "zone"];

    fn read(given: &Given) -> Result<Self, String> {
        Ok(Self { call: given.needed("call", CALL)?, day: given.text("day"), zone: given.text("zone") })
    }
}

async fn story(
    State(gateway): State<Shared>,
    Extension(books): Extension<Books>,
    Asked(StoryQuery { call, day, zone }): Asked<StoryQuery>,
) -> Response {
    answered(books.ask(gateway, Question::Story { call, day, zone }).await)
}

struct AuditQuery {
    day: Option<String>,
    zone: Option<String>,
}

impl Parameters for AuditQuery {
    const NAMES: &'static [&'static str] = &["day", "zone"];

    fn read(given: &Given) -> Result<Self, String> {
        Ok(Self { day: given.text("day"), zone: given.text("zone") })
    }
}

async fn audit(
    State(gateway): State<Shared>,
    Extension(books): Extension<Books>,
    Asked(AuditQuery { day, zone }): Asked<AuditQuery>,
) -> Response {
    let day = day.unwrap_or_else(|| "yesterday".to_owned());
    answered(books.ask(gateway, Question::Audit { day, zone }).await)
}

struct StandingsQuery {
    from: Timestamp,
    to: Timestamp,
}

impl Parameters for StandingsQuery {
    const NAMES: &'static [&'static str] = &["from_micros", "to_micros"];

    fn read(given: &Given) -> Result<Self, String> {
        let micros = |name| given.value(name, MICROS, |text| text.parse().ok().map(Timestamp));
        let needed = || format!("both `from_micros` and `to_micros` are needed: {MICROS}");
        let (from, to) = micros("from_micros")?.zip(micros("to_micros")?).ok_or_else(needed)?;
        Ok(Self { from, to })
    }
}

async fn standings(
    State(gateway): State<Shared>,
    Extension(books): Extension<Books>,
    Asked(StandingsQuery { from, to }): Asked<StandingsQuery>,
) -> Response {
    answered(books.ask(gateway, Question::Standings { from, to }).await)
}

/// What an instant is in a query.
const MICROS: &str = "microseconds since 1970, a whole number";

struct RecordsQuery {
    filter: Filter,
    from: Option<String>,
    max: Option<usize>,
}

impl Parameters for RecordsQuery {
    const NAMES: &'static [&'static str] =
        &["sink", "record", "state", "until_seq", "until_micros", "whole", "from", "max"];

    fn read(given: &Given) -> Result<Self, String> {
        let state = given.value("state", "`waiting` or `parked`", |text| {
            [Standing::Waiting, Standing::Parked].into_iter().find(|state| state.name() == text)
        })?;
        let seq = given.value("until_seq", "the place of a record, a whole number", |text| text.parse().ok())?;
        let micros = given.value("until_micros", MICROS, |text| text.parse().ok())?;
        if seq.is_some() != micros.is_some() {
            return Err("`until_seq` and `until_micros` go together: give both or none".to_owned());
        }
        let until = seq.zip(micros).map(|(seq, micros)| Until { seq, micros });
        let whole = given.value("whole", "`true` or `false`", |text| text.parse().ok())?.unwrap_or_default();
        let (sink, record) = (given.text("sink"), given.text("record"));
        let filter = Filter { sink, record, state, until, whole };
        Ok(Self { filter, from: given.text("from"), max: given.count("max", PAGE_MAX)? })
    }
}

async fn records(asking: Asking, Asked(query): Asked<RecordsQuery>) -> Response {
    let RecordsQuery { filter, from, max } = query;
    asking.done(Request::QueueList { filter, from, max: max.unwrap_or(PAGE_MAX) }).await
}

struct TraceQuery {
    call: Option<String>,
    number: Option<String>,
    max: Option<usize>,
}

impl Parameters for TraceQuery {
    const NAMES: &'static [&'static str] = &["call", "number", "max"];

    fn read(given: &Given) -> Result<Self, String> {
        let (call, number) = (given.text("call"), given.text("number"));
        Ok(Self { call, number, max: given.count("max", TURNS_MAX)? })
    }
}

async fn trace(asking: Asking, Asked(TraceQuery { call, number, max }): Asked<TraceQuery>) -> Response {
    asking.done(Request::ScriptTrace { call, number, max: max.unwrap_or(TURNS_USUAL) }).await
}

/// Makes an answer beside the loop, its text too: that may be long.
pub(super) async fn beside(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |error: JoinError| {
        tracing::error!(%error, "an answer could not be made");
        let text = "the answer could not be made: that is a mistake of the program, and its log says more";
        refused(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
    };
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
