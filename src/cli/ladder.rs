//! `tollgate trace`: the SIP messages of one of the last calls as a diagram, or which calls there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::desk::{Seek, of_client};
use super::output::{self, Format};
use crate::admin::request::{Request, TRACED_MAX};

/// Arguments of `tollgate trace`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The call whose messages are shown. Without it the calls are listed, the newest first
    #[arg(value_name = "CALL-ID")]
    call: Option<String>,
    /// The most calls to list, up to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 100, conflicts_with = "call")]
    max: usize,
    #[command(flatten)]
    format: Format,
}

/// Shows it.
///
/// # Errors
/// The service does not answer, or nothing is kept of such a call.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    let request = match &arguments.call {
        Some(call) => Request::Ladder { call: call.clone() },
        None => Request::Traced { max: arguments.max.min(TRACED_MAX) },
    };
    let answer = seek.service()?.ask(&request).map_err(of_client)?;
    if answer["calls"].as_array().is_some_and(Vec::is_empty) {
        eprintln!("{}", nothing(answer["trace_calls"].as_u64()));
    }
    let text = || if arguments.call.is_some() { diagram(&answer) } else { list(&answer) };
    Ok(arguments.format.print(&answer, text)?)
}

/// Why no call is listed, by how many the gateway would keep; one of an older release does not tell.
fn nothing(keeps: Option<u64>) -> String {
    match keeps {
        None => "no messages are kept: `[trace] calls` says of how many calls they are".to_owned(),
        Some(0) => "no messages are kept: `[trace] calls` is 0; set it to as many calls as are to be kept, and reload"
            .to_owned(),
        Some(keeps) => {
            format!("no messages are kept yet: of the next {keeps} calls that fit `[trace]` they are, by its `calls`")
        }
    }
}

fn list(answer: &Value) -> String {
    let calls = answer["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let keys = ["begun", "last", "from", "uri", "code", "messages", "call_id"];
    let row = |call: &Value| keys.map(|key| output::shown(&output::cell(&call[key]))).to_vec();
    let heads = ["BEGUN", "LAST MESSAGE", "FROM", "REQUEST-URI", "RESPONSE", "MESSAGES", "CALL-ID"];
    output::table(&heads, &calls.iter().map(row).collect::<Vec<_>>())
}

/// Columns of a lane, its line in the middle.
const LANE: usize = 26;
/// Columns of the time before the first lane.
const TIME: usize = 14;

/// One lane for each participant, the gateway beside the caller, and an arrow for each message.
fn diagram(answer: &Value) -> String {
    let text = |value: &Value| output::shown(&output::cell(value));
    let messages = answer["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lanes = Lanes::of(messages);
    let mut out = format!("call {} from {}\n\n", text(&answer["call_id"]), text(&answer["from"]));
    let heads = lanes.names.iter().map(|name| format!("{name:^LANE$}")).collect::<String>();
    let _infallible = writeln!(out, "{:TIME$}{}", "", heads.trim_end());
    let left_out = answer["messages_left_out"].as_u64().unwrap_or(0);
    for (number, message) in messages.iter().enumerate() {
        if left_out > 0 && number + 1 == messages.len() {
            let _infallible = writeln!(out, "{:TIME$}{left_out} messages are left out here", "");
        }
        let time = text(&message["time"]);
        // The time of the day: the date stands in the list of calls.
        let time = time.split('T').nth(1).unwrap_or(&time).trim_end_matches('Z');
        let _infallible = writeln!(out, "{:TIME$}{}", time.get(..12).unwrap_or(time), lanes.arrow(message));
    }
    out
}

/// Who takes part, from left to right.
struct Lanes {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

/// The lane of the gateway: right of whoever has called.
const GATEWAY: usize = 1;

impl Lanes {
    fn of(messages: &[Value]) -> Self {
        let mut lanes = Self { names: Vec::new(), places: BTreeMap::new() };
        for message in messages {
            let peer = output::shown(&output::cell(&message["peer"]));
            if lanes.names.len() == GATEWAY {
                lanes.names.push("gateway".to_owned());
            }
            if !lanes.places.contains_key(&peer) {
                lanes.places.insert(peer.clone(), lanes.names.len());
                lanes.names.push(peer);
            }
        }
        if lanes.names.len() == GATEWAY {
            lanes.names.push("gateway".to_owned());
        }
        lanes
    }

    fn arrow(&self, message: &Value) -> String {
        let peer = self.places.get(&output::shown(&output::cell(&message["peer"]))).copied().unwrap_or(0);
        let goes_right = (message["way"] == "in") == (peer < GATEWAY);
        let (left, right) = (peer.min(GATEWAY), peer.max(GATEWAY));
        let middle = |lane: usize| lane * LANE + LANE / 2;
        let mut line: Vec<char> = vec![' '; self.names.len() * LANE];
        (0..self.names.len()).for_each(|lane| line[middle(lane)] = '|');
        line[middle(left) + 1..middle(right)].fill('-');
        let (tip, end) = if goes_right { ('>', middle(right) - 1) } else { ('<', middle(left) + 1) };
        line[end] = tip;
        // Beside it there are a blank and a part of the arrow at each end.
        let room = (right - left) * LANE - 7;
        let text: String = label(message).chars().take(room).collect();
        let label = format!(" {} ", text.trim_end());
        let begin = middle(left) + 1 + (room + 6 - label.chars().count()) / 2;
        for (place, sign) in label.chars().enumerate() {
            line[begin + place] = sign;
        }
        let text: String = line.into_iter().collect();
        let uri = output::shown(&output::cell(&message["text"]));
        if message["code"].is_null() { format!("{text}{uri}") } else { text.trim_end().to_owned() }
    }
}

/// Method, or code and reason with the method in brackets.
fn label(message: &Value) -> String {
    let text = |key: &str| output::shown(&output::cell(&message[key]));
    match message["code"].as_u64() {
        None => format!("{} {}", text("method"), text("cseq")),
        Some(code) => format!("{code} {} ({})", text("text"), text("method")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_drawn_with_a_lane_for_each_participant() {
        let step = |time: &str, way: &str, peer: &str, code: Value, method: &str, text: &str| {
            json!({
                "time": format!("2026-01-02T03:04:{time}Z"), "way": way, "peer": peer, "local": null, "code": code,
                "method": method, "text": text, "cseq": 1,
            })
        };
        let (a, b) = ("udp:192.0.2.1:5060", "udp:192.0.2.2:5060");
        let answer = json!({
            "call_id": "a\u{1b}b", "from": "<sip:a@x>", "messages_left_out": 3, "messages": [
                step("05.000001", "in", a, Value::Null, "INVITE", "sip:b@x\n"),
                step("05.000200", "out", b, Value::Null, "INVITE", "sip:b@y"),
                step("06", "in", b, json!(486), "INVITE", "Busy Here, and a long reason that does not fit"),
                step("06.1", "out", a, json!(486), "INVITE", "Busy"),
            ],
        });
        let want = [
            "call a\\x1bb from <sip:a@x>",
            "",
            "                  udp:192.0.2.1:5060             gateway              udp:192.0.2.2:5060",
            "03:04:05.000               |------- INVITE 1 ------->|                         |            sip:b@x\\x0a",
            "03:04:05.000               |                         |------- INVITE 1 ------->|            sip:b@y",
            "03:04:06                   |                         |<- 486 Busy Here, and ---|",
            "              3 messages are left out here",
            "03:04:06.1                 |<-- 486 Busy (INVITE) ---|                         |",
        ];
        assert_eq!(diagram(&answer).lines().collect::<Vec<_>>(), want);
    }
}
