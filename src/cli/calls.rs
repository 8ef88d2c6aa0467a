//! `tollgate calls`: the calls in progress, and their end by the operator.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::desk::{Desk, Seek, of_client};
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
    format: Format,
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
    let mut desk = Desk::open(seek)?;
    let answer = desk.ask(&Request::Calls { max: arguments.max.min(CALLS_MAX) })?;
    desk.close()?;
    if arguments.format.is_json() {
        output::print_json(&answer)?;
        return Ok(());
    }
    let none = Vec::new();
    let calls = answer["calls"].as_array().unwrap_or(&none);
    let rows: Vec<Vec<String>> = calls.iter().map(row).collect();
    output::print(&output::table(&COLUMNS, &rows))?;
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > rows.len() as u64 {
        eprintln!("{} of {total} calls; --max shows more", rows.len());
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

const COLUMNS: [&str; 9] = ["CREATED", "DURATION", "FROM", "TO", "TARGET", "CALL-ID", "FROM TAG", "TO TAG", "SESSION"];

fn row(call: &Value) -> Vec<String> {
    let text = |key: &str| match &call[key] {
        Value::Null => "-".to_owned(),
        value => output::shown(&output::cell(value)),
    };
    let lasted = call["duration_s"].as_f64().map_or_else(|| "early".to_owned(), output::span);
    let keys = ["from", "to", "target", "call_id", "from_tag", "to_tag", "session"];
    [text("created"), lasted].into_iter().chain(keys.into_iter().map(text)).collect()
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
                "2026-01-02T03:04:05Z|1 min 1 s|sip:a@x|sip:b@y|sip:b@192.0.2.7|c|1|2|5",
            ),
            (
                "early",
                json!({ "created": "2026-01-02T03:04:05Z", "duration_s": null, "from": null, "to": null, "target": null,
                        "call_id": "c", "from_tag": "1", "to_tag": "", "session": "5" }),
                "2026-01-02T03:04:05Z|early|-|-|-|c|1||5",
            ),
        ] {
            let row = row(&call);
            assert_eq!(row.len(), COLUMNS.len());
            assert_eq!(row.join("|"), want, "{name}");
        }
    }
}
