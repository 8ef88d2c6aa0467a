//! `tollgate script trace`: what the script of the running gateway has decided, and which of its lines did.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::desk::{Seek, of_client};
use super::output::{self, Format};
use crate::admin::request::{Request, TURNS_MAX};

/// Arguments of `tollgate script trace`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The call; with `*` at its end all whose Call-ID begins so. Without it all calls
    #[arg(value_name = "CALL-ID", conflicts_with = "number")]
    call: Option<String>,
    /// Calls from or to this user part
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// The most runs of handlers to show, the newest, up to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max: usize,
    #[command(flatten)]
    format: Format,
}

/// Shows them.
///
/// # Errors
/// The service does not answer, it has no script, or nothing is kept of such a call.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { call, number, max, format } = arguments;
    let request = Request::ScriptTrace { call: call.clone(), number: number.clone(), max: (*max).min(TURNS_MAX) };
    let answer = seek.service()?.ask(&request).map_err(of_client)?;
    if format.is_json() {
        output::print_json(&answer)?;
        return Ok(());
    }
    let turns = answer["turns"].as_array().map(Vec::as_slice).unwrap_or_default();
    output::print(&turns.iter().map(lines).collect::<Vec<_>>().join("\n"))?;
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > turns.len() as u64 {
        eprintln!("{} of {total} runs of handlers; --max shows more", turns.len());
    }
    Ok(())
}

/// The lines of one turn.
fn lines(turn: &Value) -> String {
    let text = |key: &str| output::shown(&output::cell(&turn[key]));
    let mut out = format!("{} {} {}", text("time"), text("call_id"), text("handler"));
    for (before, key) in [(" for ", "method"), (" from ", "from"), (" to ", "uri"), (", response ", "code")] {
        if !turn[key].is_null() {
            let _infallible = write!(out, "{before}{}", text(key));
        }
    }
    out.push('\n');
    let steps = turn["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for step in steps {
        let line = step["line"].as_u64().map_or_else(|| "?".to_owned(), |line| line.to_string());
        let result = if step["result"] == Value::Bool(false) { " is false" } else { "" };
        let _infallible = writeln!(out, "  line {line:<5} {}{result}", output::shown(&output::cell(&step["step"])));
    }
    let left_out = turn["steps_left_out"].as_u64().unwrap_or(0);
    if left_out > 0 {
        let _infallible = writeln!(out, "  and {left_out} more");
    }
    if !turn["error"].is_null() {
        let _infallible = writeln!(out, "  failed: {}", text("error"));
    }
    let by_route = if turn["route"].is_null() { String::new() } else { format!(" `{}`", text("route")) };
    let outcome = match turn["outcome"].as_str().unwrap_or_default() {
        "relay" => "relayed".to_owned(),
        "reply" => format!("responded to with {}", text("reply")),
        "drop" => "dropped".to_owned(),
        "routes" if turn["in_dialog"] == Value::Bool(true) => "left to its Route".to_owned(),
        "routes" if by_route.is_empty() => "left to the routes, of which none fits".to_owned(),
        "routes" => format!("left to the route{by_route}"),
        "as-planned" => "goes on as planned".to_owned(),
        _ => "done".to_owned(),
    };
    let _infallible = writeln!(out, "  {outcome}, {} us", text("micros"));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_is_a_line_for_each_step_and_one_for_what_came_of_it() {
        let turn = json!({
            "time": "2026-01-02T03:04:05Z", "call_id": "c\u{1b}[2J", "handler": "route.gold", "method": "INVITE",
            "in_dialog": false, "from": "sip:a@x", "uri": "sip:b@y", "code": null,
            "steps": [
                { "line": 3, "step": "count_call(\"a\n\")", "result": false },
                { "line": null, "step": "avp.x = 1", "result": null },
            ],
            "steps_left_out": 7, "outcome": "routes", "reply": null, "route": "to gold", "error": "route.lua:4: no\rx",
            "micros": 12, "loaded": "2026-01-02T00:00:00Z",
        });
        let want = "2026-01-02T03:04:05Z c\\x1b[2J route.gold for INVITE from sip:a@x to sip:b@y\n  \
             line 3     count_call(\"a\\x0a\") is false\n  line ?     avp.x = 1\n  and 7 more\n  \
             failed: route.lua:4: no\\x0dx\n  left to the route `to gold`, 12 us\n";
        assert_eq!(lines(&turn), want);
        for (name, change, want) in [
            ("relayed", json!({ "outcome": "relay" }), "  relayed, 12 us\n"),
            ("refused", json!({ "outcome": "reply", "reply": 403 }), "  responded to with 403, 12 us\n"),
            ("inside a dialog", json!({ "in_dialog": true, "route": null }), "  left to its Route, 12 us\n"),
            ("without a route", json!({ "route": null }), "  left to the routes, of which none fits, 12 us\n"),
            ("a failure", json!({ "outcome": "as-planned" }), "  goes on as planned, 12 us\n"),
        ] {
            let mut turn = turn.clone();
            for (key, value) in change.as_object().expect("an object") {
                turn[key] = value.clone();
            }
            assert!(lines(&turn).ends_with(want), "{name}: {}", lines(&turn));
        }
    }
}
