//! Requests as they are done by the running gateway, whoever asks.

use serde_json::{Value, json};

use super::Gateway;
use super::answer::{CallsTold, call_json, ladder_json, reloaded_json, trace_json, traced_json};
use super::http::status_json;
use super::request::{Asker, CALLS_MAX, REASON_OCTETS_MAX, Request, RequestError, TRACED_MAX, TURNS_MAX, on_queue};
use crate::accounting::Closing;
use crate::policy::script::trace::Find;

/// Does a request.
pub(super) fn perform(request: &Request, gateway: &dyn Gateway, asker: &Asker<'_>) -> Result<Value, RequestError> {
    match request {
        Request::Status {} => Ok(status_json(gateway)),
        Request::Reload {} => gateway.reload().map(|done| reloaded_json(&done)).ok_or(RequestError::Stopping),
        Request::Calls { max } => Ok(serde_json::to_value(calls_told(gateway, *max)).unwrap_or_default()),
        Request::ScriptTrace { call, number, max } => {
            let find = Find { call: call.clone(), number: number.clone(), max: (*max).min(TURNS_MAX) };
            script_trace(gateway, &find)
        }
        Request::Ladder { call } => {
            gateway.ladder(call.as_bytes()).map(|ladder| ladder_json(&ladder)).ok_or_else(|| {
                let why = match kept_calls(gateway) {
                    (0, _) => "`[trace] calls` is 0: set it to as many calls as are to be kept, and reload".to_owned(),
                    (calls, conditions) => {
                        format!("`[trace] calls` keeps those of the last {calls} calls{conditions}, since it was set")
                    }
                };
                RequestError::Usage(format!("no message of the Call-ID `{}` is kept: {why}", brief(call)))
            })
        }
        Request::Traced { max } => {
            let calls = gateway.traced((*max).min(TRACED_MAX));
            let (keeps, _) = kept_calls(gateway);
            Ok(json!({ "calls": calls.iter().map(traced_json).collect::<Vec<_>>(), "trace_calls": keeps }))
        }
        Request::CallsEnd { call, bye, reason } => {
            let reason = reason.as_deref().map(reason_phrase).transpose()?;
            end_calls(gateway, &Closing { name: call.clone(), reason, hangs_up: *bye }, asker.by)
        }
        Request::LedgerFlush {} => Ok(json!({ "written": gateway.flush_ledger() })),
        Request::QueueStatus {}
        | Request::QueueList { .. }
        | Request::QueueAct { .. }
        | Request::QueueImport { .. } => {
            let mut desk = gateway.desk();
            on_queue(request, &mut *desk, asker).unwrap_or(Err(RequestError::Stopping))
        }
    }
}

/// Of how many calls the messages are kept, by the configuration; and in words which calls, where not all.
fn kept_calls(gateway: &dyn Gateway) -> (u64, String) {
    let given = gateway.configuration();
    let of = given.iter().filter_map(|own| Some((own.option.strip_prefix("trace.")?, own.value.as_str())));
    let calls = of.clone().find(|(name, _)| *name == "calls").and_then(|(_, value)| value.parse().ok());
    let named: Vec<_> = of.filter(|(name, value)| *name != "calls" && *value != "[]").collect();
    let conditions: Vec<_> = named.iter().map(|(name, value)| format!("`{name} = {value}`")).collect();
    let conditions =
        if conditions.is_empty() { String::new() } else { format!(" that fit {}", conditions.join(" and ")) };
    (calls.unwrap_or(0), conditions)
}

/// What handlers have decided, or why nothing is known of that.
fn script_trace(gateway: &dyn Gateway, find: &Find) -> Result<Value, RequestError> {
    let usage = |text: String| Err(RequestError::Usage(text));
    let Some(found) = gateway.script_trace(find) else {
        return usage("the gateway has no script: `[script] file` would name one".to_owned());
    };
    if found.keeps == 0 {
        return usage("nothing is kept of what the script decides: `[script] trace_turns` is 0".to_owned());
    }
    let what = match (&find.call, &find.number) {
        (_, Some(number)) => format!("calls from or to `{}`", brief(number)),
        (Some(call), None) => format!("the Call-ID `{}`", brief(call)),
        (None, None) => return Ok(trace_json(&found)),
    };
    if found.total > 0 {
        return Ok(trace_json(&found));
    }
    let since =
        found.oldest.map_or_else(|| "none has run yet".to_owned(), |oldest| format!("the oldest is of {oldest}"));
    usage(format!("no handler that is kept has run for {what}: each thread keeps its last {}, {since}", found.keeps))
}

/// The beginning of what somebody has asked for, fit for a terminal.
pub(super) fn brief(text: &str) -> String {
    let beginning: String = text.chars().take(BRIEF_CHARS_MAX).collect();
    let rest = if beginning.len() < text.len() { "..." } else { "" };
    format!("{}{rest}", beginning.escape_debug())
}

/// Characters of what was asked for in a message.
const BRIEF_CHARS_MAX: usize = 80;

/// A reason that can stand in a record.
fn reason_phrase(text: &str) -> Result<String, RequestError> {
    if text.len() > REASON_OCTETS_MAX || text.contains(char::is_control) {
        let limit = format!("a reason has at most {REASON_OCTETS_MAX} octets and no control characters");
        return Err(RequestError::Usage(limit));
    }
    Ok(text.to_owned())
}

/// Ends calls, and says in the log who did.
fn end_calls(gateway: &dyn Gateway, closing: &Closing, by: &str) -> Result<Value, RequestError> {
    let ended = gateway.end_calls(closing);
    if ended.is_empty() {
        let name = &closing.name;
        return Err(RequestError::Usage(format!("no answered call has the Call-ID or the session `{name}`")));
    }
    let reason = closing.reason.as_deref().unwrap_or("none given");
    for call in &ended {
        let call_id = String::from_utf8_lossy(&call.call_id).into_owned();
        tracing::warn!(
            by,
            call_id,
            session = call.session,
            bye = closing.hangs_up,
            reason,
            "a call was ended by the operator"
        );
    }
    Ok(json!({ "ended": ended.iter().map(call_json).collect::<Vec<_>>() }))
}

/// Up to `max` calls in progress, and how many there are in all.
pub(super) fn calls_told(gateway: &dyn Gateway, max: usize) -> CallsTold {
    let max = max.min(CALLS_MAX);
    let mut calls = gateway.calls(max);
    calls.truncate(max);
    CallsTold { total: gateway.health().calls, calls }
}
