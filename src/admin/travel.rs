//! How a request of the command line travels by `/api/v1`.

use axum::http::Method;
use serde_json::{Value, json};

use super::request::{Filter, Request, Verb};

/// A request as HTTP has it.
#[derive(Debug)]
pub(crate) struct Travel {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub body: Option<Value>,
}

impl Travel {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        let number = |number: &usize| Some(number.to_string());
        match request {
            Request::Status {} => get("/status", &[]),
            Request::Reload {} => post("/reload", None),
            Request::Calls { max } => get("/calls", &[("max", number(max))]),
            Request::CallsEnd { call, bye, reason } => {
                post("/calls/end", Some(json!({ "call": call, "bye": bye, "reason": reason })))
            }
            Request::ScriptTrace { call, number: of, max } => {
                get("/script/trace", &[("call", call.clone()), ("number", of.clone()), ("max", number(max))])
            }
            Request::Ladder { call } => get("/calls/ladder", &[("call", Some(call.clone()))]),
            Request::Traced { max } => get("/calls/traced", &[("max", number(max))]),
            Request::LedgerFlush {} => post("/ledger/flush", None),
            Request::QueueStatus {} => get("/queue", &[]),
            Request::QueueList { filter, from, max } => {
                let Filter { sink, record, state, until, whole } = filter.clone();
                let parts = [
                    ("sink", sink),
                    ("record", record),
                    ("state", state.map(|state| state.name().to_owned())),
                    ("until_seq", until.map(|until| until.seq.to_string())),
                    ("until_micros", until.map(|until| until.micros.to_string())),
                    ("whole", whole.then(|| "true".to_owned())),
                    ("from", from.clone()),
                    ("max", number(max)),
                ];
                get("/records", &parts)
            }
            Request::QueueAct { action, filter, reason } => {
                let path = match action {
                    Verb::Retry => "/records/retry",
                    Verb::Park => "/records/park",
                    Verb::Drop => "/records/drop",
                };
                let Filter { sink, record, state, until, whole: _ } = filter;
                let all = record.is_none();
                let body = json!({
                    "sink": sink, "record": record, "state": state, "until": until, "all": all, "reason": reason,
                });
                post(path, Some(body))
            }
            Request::QueueImport { records } => post("/records/import", Some(json!({ "records": records }))),
        }
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn get(path: &str, parts: &[(&str, Option<String>)]) -> Travel {
    let mut target = format!("/api/v1{path}");
    let mut before = '?';
    for (name, value) in parts {
        if let Some(value) = value {
            target.push(before);
            target.push_str(name);
            target.push('=');
            encode(value, &mut target);
            before = '&';
        }
    }
    Travel { method: Method::GET, target, body: None }
}

fn post(path: &str, body: Option<Value>) -> Travel {
    Travel { method: Method::POST, target: format!("/api/v1{path}"), body }
}

/// A value as a query takes it: all but unreserved characters as `%` and two digits (RFC 3986 §2.1).
fn encode(value: &str, target: &mut String) {
    for octet in value.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => target.push(char::from(octet)),
            _ => target.push_str(&format!("%{octet:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::request::{Standing, Until};

    #[test]
    fn what_is_asked_stands_in_the_query_and_what_is_done_in_the_body() {
        let until = Some(Until { seq: 7, micros: -5 });
        let filter = Filter { sink: Some("a b".to_owned()), state: Some(Standing::Parked), until, ..Filter::default() };
        for (request, want) in [
            (Request::Status {}, "GET /api/v1/status"),
            (Request::Calls { max: 5 }, "GET /api/v1/calls?max=5"),
            (
                Request::Ladder { call: "a&b=c%/é@x".to_owned() },
                "GET /api/v1/calls/ladder?call=a%26b%3Dc%25%2F%C3%A9%40x",
            ),
            (
                Request::QueueList { filter: filter.clone(), from: Some("parked:0:X".to_owned()), max: 2 },
                "GET /api/v1/records?sink=a%20b&state=parked&until_seq=7&until_micros=-5&from=parked%3A0%3AX&max=2",
            ),
            (
                Request::QueueAct { action: Verb::Drop, filter, reason: None },
                "POST /api/v1/records/drop {\"sink\":\"a b\",\"record\":null,\"state\":\"parked\",\
                 \"until\":{\"seq\":7,\"micros\":-5},\"all\":true,\"reason\":null}",
            ),
        ] {
            let Travel { method, target, body } = Travel::of(&request);
            let body = body.map(|body| format!(" {body}")).unwrap_or_default();
            // The order of keys is that of the map.
            let sorted = |text: &str| {
                let mut all: Vec<char> = text.chars().collect();
                all.sort_unstable();
                all
            };
            let got = format!("{method} {target}{body}");
            assert_eq!(sorted(&got), sorted(want), "{got}");
        }
    }
}
