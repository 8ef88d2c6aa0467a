//! `tollgate calls`: the calls in progress, and their end by the operator.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::Failure;
use super::desk::{Desk, Seek, of_client};
use super::members::{self, Scope};
use super::output::{self, Format};
use crate::admin::request::{CALLS_MAX, Request};

/// Arguments of `tollgate calls`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The most calls to show, up to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max: usize,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    format: Format,
}

/// Which calls are shown; all conditions have to hold.
#[derive(Args, Debug, Default)]
struct Which {
    /// Only those with this text in From, To, the callee's Contact or the Call-ID; case does not matter
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// Only those that were answered so many seconds ago or more
    #[arg(long, value_name = "SECONDS")]
    older_than: Option<u64>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum State {
    /// Not answered yet
    Early,
    /// Answered
    Answered,
    /// Its BYE is under way
    Ending,
}

impl Which {
    fn is_all(&self) -> bool {
        self.text.is_none() && self.state.is_none() && self.older_than.is_none()
    }

    fn has(&self, call: &Value) -> bool {
        let has_text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            let parts = ["from", "to", "target", "call_id"].map(|key| output::cell(&call[key]).to_lowercase());
            parts.iter().any(|part| part.contains(&text))
        });
        let is_old = self.older_than.is_none_or(|least| call["duration_s"].as_u64().is_some_and(|age| age >= least));
        has_text && is_old && self.state.is_none_or(|state| state == state_of(call))
    }
}

fn state_of(call: &Value) -> State {
    match (&call["ending"], &call["duration_s"]) {
        (Value::Bool(true), _) => State::Ending,
        (_, Value::Null) => State::Early,
        _ => State::Answered,
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End a call in the records: its Stop is written now, with the cause `administrator`
    ///
    /// Without --bye its ends notice nothing and may go on talking, unrecorded.
    End(Ending),
}

/// Arguments of `tollgate calls end`.
#[derive(Args, Debug)]
struct Ending {
    /// Call-ID, or name of one session as `tollgate calls` shows it
    #[arg(value_name = "CALL-ID|SESSION")]
    call: String,
    /// Send BYE to both ends too
    #[arg(long)]
    bye: bool,
    /// Why: the reason phrase of the Stop
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Lists them, of a stopped service those that the next start takes up; or ends one.
///
/// # Errors
/// The service does not answer, its files cannot be read, or there is no such call.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(Command::End(ending)) = &arguments.command {
        return end(seek, ending);
    }
    let (which, max) = (&arguments.which, arguments.max.min(CALLS_MAX));
    // Which of them fit is seen here: as many as can be had are looked through.
    let request = Request::Calls { max: if which.is_all() { max } else { CALLS_MAX } };
    if arguments.scope.cluster {
        let (answer, answers) = members::calls(seek, &request)?;
        return show(answer, arguments, max).and(answers.end());
    }
    let mut desk = Desk::open(seek)?;
    let answer = desk.ask(&request)?;
    desk.close()?;
    show(answer, arguments, max)
}

/// Shows those that fit, `max` at most; with the names of their gateways, if these are there.
fn show(mut answer: Value, arguments: &Arguments, max: usize) -> Result<(), Failure> {
    let which = &arguments.which;
    let looked_through = answer["calls"].as_array().map_or(0, Vec::len);
    let mut fitting = looked_through;
    if let Value::Array(calls) = &mut answer["calls"] {
        calls.retain(|call| which.has(call));
        fitting = calls.len();
        calls.truncate(max);
    }
    if arguments.format.is_json() {
        output::print_json(&answer)?;
        return Ok(());
    }
    let none = Vec::new();
    let calls = answer["calls"].as_array().unwrap_or(&none);
    let name = |call: &Value| call["gateway"].as_str().map(output::shown);
    let rows: Vec<Vec<String>> = calls.iter().map(|call| name(call).into_iter().chain(row(call)).collect()).collect();
    let head = arguments.scope.cluster.then_some("GATEWAY");
    let heads: Vec<&str> = head.into_iter().chain(COLUMNS).collect();
    output::print(&output::table(&heads, &rows))?;
    let total = answer["total"].as_u64().unwrap_or(0);
    if which.is_all() && total > rows.len() as u64 {
        eprintln!("{} of {total} calls; --max shows more", rows.len());
    } else if fitting > rows.len() {
        eprintln!("{} of {fitting} calls that fit; --max shows more", rows.len());
    }
    if !which.is_all() && total > looked_through as u64 {
        eprintln!("{looked_through} of {total} calls were looked through: more are not told at once");
    }
    Ok(())
}

fn end(seek: &Seek, ending: &Ending) -> Result<(), Failure> {
    let Ending { call, bye, reason, format } = ending;
    let request = Request::CallsEnd { call: call.clone(), bye: *bye, reason: reason.clone() };
    let answer = seek.service()?.ask(&request).map_err(of_client)?;
    if format.is_json() {
        output::print_json(&answer)?;
        return Ok(());
    }
    let none = Vec::new();
    let ended = answer["ended"].as_array().unwrap_or(&none);
    let rows: Vec<Vec<String>> = ended.iter().map(row).collect();
    output::print(&output::table(&COLUMNS, &rows))?;
    output::print(match bye {
        true => "ended in the records; both ends get a BYE, as far as they are known",
        false => "ended in the records; no BYE was sent: its ends may go on talking",
    })?;
    Ok(())
}

/// Heads of [`row`].
pub(super) const COLUMNS: [&str; 10] =
    ["CREATED", "STATE", "DURATION", "FROM", "TO", "TARGET", "CALL-ID", "FROM TAG", "TO TAG", "SESSION"];

/// A call as a line of a table.
pub(super) fn row(call: &Value) -> Vec<String> {
    let text = |key: &str| match &call[key] {
        Value::Null => "-".to_owned(),
        value => output::shown(&output::cell(value)),
    };
    let state = state_of(call).to_possible_value().map(|state| state.get_name().to_owned()).unwrap_or_default();
    let lasted = call["duration_s"].as_f64().map_or_else(|| "-".to_owned(), output::span);
    let keys = ["from", "to", "target", "call_id", "from_tag", "to_tag", "session"];
    [text("created"), state, lasted].into_iter().chain(keys.into_iter().map(text)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_calls_whom_and_where_the_call_went() {
        for (name, call, want) in [
            (
                "answered",
                json!({ "created": "2026-01-02T03:04:05Z", "duration_s": 61, "from": "sip:a@x", "to": "sip:b@y",
                        "target": "sip:b@192.0.2.7", "call_id": "c", "from_tag": "1", "to_tag": "2", "session": "5" }),
                "2026-01-02T03:04:05Z|answered|1 min 1 s|sip:a@x|sip:b@y|sip:b@192.0.2.7|c|1|2|5",
            ),
            (
                "early",
                json!({ "created": "2026-01-02T03:04:05Z", "duration_s": null, "from": null, "to": null, "target": null,
                        "call_id": "c", "from_tag": "1", "to_tag": "", "session": "5" }),
                "2026-01-02T03:04:05Z|early|-|-|-|-|c|1||5",
            ),
        ] {
            let row = row(&call);
            assert_eq!(row.len(), COLUMNS.len());
            assert_eq!(row.join("|"), want, "{name}");
        }
    }

    #[test]
    fn calls_are_found_by_text_state_and_age() {
        let calls = [
            json!({ "call_id": "one", "from": "sip:Alice@x", "to": "sip:b@y", "target": null, "duration_s": 61, "ending": false }),
            json!({ "call_id": "two", "from": "sip:c@x", "to": "sip:d@y", "target": "sip:d@alice.example", "duration_s": 7, "ending": true }),
            json!({ "call_id": "three", "from": null, "to": null, "target": null, "duration_s": null, "ending": false }),
        ];
        let text = |text: &str| Which { text: Some(text.to_owned()), ..Which::default() };
        let state = |state| Which { state: Some(state), ..Which::default() };
        let older = |seconds| Which { older_than: Some(seconds), ..Which::default() };
        for (name, which, want) in [
            ("all", Which::default(), "one two three"),
            ("a name, in any case and place", text("alice"), "one two"),
            ("a Call-ID", text("THREE"), "three"),
            ("nobody", text("zoe"), ""),
            ("answered ones", state(State::Answered), "one"),
            ("early ones", state(State::Early), "three"),
            ("ending ones", state(State::Ending), "two"),
            ("old ones", older(61), "one"),
            ("answered at all", older(0), "one two"),
            ("two conditions", Which { state: Some(State::Ending), ..text("alice") }, "two"),
        ] {
            let found: Vec<_> =
                calls.iter().filter(|call| which.has(call)).map(|call| output::cell(&call["call_id"])).collect();
            assert_eq!(found.join(" "), want, "{name}");
        }
    }
}
