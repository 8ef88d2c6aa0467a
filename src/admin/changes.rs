//! What changes something by `/api/v1`: records, calls, the configuration in force.
//!
//! Records are given up and put back, calls ended and the configuration read again by the socket of commands alone.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request as Arrived};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::api::{Shared, refused};
use super::doors::{Asking, Changing, Commanding};
use super::request::{Filter, Kept, Request, Standing, Until, Verb};

/// Longest body of a request, in octets.
pub(super) const BODY_OCTETS_MAX: usize = 64 << 10;

/// The same of records that are put back: the longest of them takes half of it.
const IMPORT_OCTETS_MAX: usize = 256 << 10;

/// Longest wait for a body.
const BODY_MAX: Duration = Duration::from_secs(30);

/// A body in JSON.
pub(super) struct Wish<T>(T);

impl<T: DeserializeOwned> FromRequest<Shared> for Wish<T> {
    type Rejection = Response;

    async fn from_request(request: Arrived, gateway: &Shared) -> Result<Self, Response> {
        // A form of another page can be sent without asking first, JSON cannot.
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            let text = "the body is JSON: say so in Content-Type";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
        }
        let Ok(body) = timeout(BODY_MAX, Bytes::from_request(request, gateway)).await else {
            let text = format!("the body has not come within {} s", BODY_MAX.as_secs());
            return Err(refused(StatusCode::REQUEST_TIMEOUT, text));
        };
        let body = body.map_err(too_long)?;
        let read = serde_json::from_slice(&body);
        read.map(Self).map_err(|error| refused(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
    }
}

fn too_long(rejection: BytesRejection) -> Response {
    let text = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let (usual, records) = (BODY_OCTETS_MAX >> 10, IMPORT_OCTETS_MAX >> 10);
            format!("the body is longer than {usual} KiB, or {records} KiB of records that are put back")
        }
        _ => "the body breaks off before its end".to_owned(),
    };
    refused(rejection.status(), text)
}

/// Which records, and why. What is not named does not matter; nothing at all would be every record and needs `all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    record: Option<String>,
    sink: Option<String>,
    state: Option<Standing>,
    until: Option<Until>,
    #[serde(default)]
    all: bool,
    reason: Option<String>,
}

pub(super) async fn retry(Changing(asking): Changing, Wish(wish): Wish<Act>) -> Response {
    act(asking, Verb::Retry, wish).await
}

pub(super) async fn park(Changing(asking): Changing, Wish(wish): Wish<Act>) -> Response {
    act(asking, Verb::Park, wish).await
}

pub(super) async fn give_up(Commanding(asking): Commanding, Wish(wish): Wish<Act>) -> Response {
    act(asking, Verb::Drop, wish).await
}

async fn act(asking: Asking, action: Verb, wish: Act) -> Response {
    let Act { record, sink, state, until, all, reason } = wish;
    if record.is_some() == all {
        return refused(StatusCode::BAD_REQUEST, "name a `record`, or say `\"all\": true`".to_owned());
    }
    let filter = Filter { record, sink, state, until, whole: false };
    asking.done(Request::QueueAct { action, filter, reason }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    records: Vec<Kept>,
}

/// Puts records back.
pub(super) fn import() -> MethodRouter<Shared> {
    let import =
        |Commanding(asking): Commanding, Wish(Import { records })| asking.done(Request::QueueImport { records });
    post(import).layer(DefaultBodyLimit::max(IMPORT_OCTETS_MAX))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ending {
    call: String,
    #[serde(default)]
    bye: bool,
    reason: Option<String>,
}

pub(super) async fn end(Commanding(asking): Commanding, Wish(wish): Wish<Ending>) -> Response {
    let Ending { call, bye, reason } = wish;
    asking.done(Request::CallsEnd { call, bye, reason }).await
}

pub(super) async fn reload(Commanding(asking): Commanding) -> Response {
    asking.done(Request::Reload {}).await
}

pub(super) async fn flush(asking: Asking) -> Response {
    asking.done(Request::LedgerFlush {}).await
}
