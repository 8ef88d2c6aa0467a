//! `tollgate status`: how the running gateway is.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::desk::{Seek, of_client};
use super::members::{self, Scope};
use super::output::{self, Format};
use crate::admin::request::Request;

/// Arguments of `tollgate status`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    format: Format,
}

/// Shows it.
///
/// # Errors
/// The service does not run or does not answer.
pub fn run(seek: &Seek, Arguments { scope, format }: &Arguments) -> Result<(), Failure> {
    if scope.cluster {
        return members::status(seek, format);
    }
    let mut client = seek.service()?;
    let status = client.ask(&Request::Status {}).map_err(of_client)?;
    Ok(format.print(&status, || text(&status))?)
}

fn text(status: &Value) -> String {
    let queue = &status["queue"];
    let of_all = [
        ("version", output::cell(&status["version"])),
        ("phase", output::cell(&status["phase"])),
        ("started", output::cell(&status["started"])),
    ];
    let of_calls = || {
        vec![
            ("new calls", if status["accepts_calls"] == true { "served".into() } else { "refused".into() }),
            ("calls", output::cell(&status["calls"])),
            ("shards", output::cell(&status["shards"])),
            ("strangers", output::cell(&status["turned_away"]["strangers"])),
            ("no route", output::cell(&status["turned_away"]["without_route"])),
            ("answers", answers(status)),
            ("hanging", list(&status["hanging"])),
        ]
    };
    let mut own = if status["deliverer"].is_null() { of_calls() } else { deliverer(&status["deliverer"]) };
    own.extend(Some(&status["cluster"]).filter(|own| !own.is_null()).map(|own| ("cluster", member(own))));
    let of_records = [
        ("alarm", list(&queue["alarm"])),
        ("lost", lost(queue)),
        ("waiting", output::cell(&queue["waiting"])),
        ("parked", output::cell(&queue["parked"])),
        ("ledger", ledger(&status["ledger"])),
    ];
    let lines = of_all.into_iter().chain(own).chain(of_records);
    let mut text: String = lines.map(|(name, value)| format!("{name:<10} {}\n", output::shown(&value))).collect();
    let down = destinations(status);
    if !down.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&DOWN_HEADS, &cells(down)));
    }
    let rows = servers(status);
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&SERVER_HEADS, &cells(rows)));
        text.push_str(&notes(status));
    }
    text
}

/// Words of a list.
pub(super) fn list(value: &Value) -> String {
    let words: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// How a gateway stands to its cluster.
fn member(own: &Value) -> String {
    let unmirrored = own["calls_unmirrored"].as_u64().filter(|calls| *calls > 0);
    let unmirrored =
        unmirrored.map_or_else(String::new, |calls| format!("; {calls} calls would not survive this gateway"));
    format!("{}{unmirrored}", reached(own))
}

/// Whether a gateway or a deliverer reaches its cluster.
fn reached(own: &Value) -> String {
    match own["trouble"].as_str() {
        Some(trouble) => format!("DOES NOT ANSWER: {trouble}"),
        None if own["member"] == true => "reached".to_owned(),
        None => "not joined yet".to_owned(),
    }
}

/// What a deliverer has to do with its cluster.
fn deliverer(own: &Value) -> Vec<(&'static str, String)> {
    let (members, owners, mine) = (own["members"].as_array(), own["owners"].as_array(), own["own"].as_array());
    let members: Vec<String> = members.into_iter().flatten().map(output::cell).collect();
    let nobody = owners.into_iter().flatten().filter(|owner| owner.is_null()).count();
    let all = owners.map_or(0, Vec::len);
    vec![
        ("cluster", reached(own)),
        ("deliverers", if members.is_empty() { "none known".to_owned() } else { members.join(", ") }),
        ("partitions", format!("{} of {all} here, {nobody} with nobody", mine.map_or(0, Vec::len))),
        ("taken", format!("{} and not settled", own["open"])),
        ("gone", format!("{} were not in the stream any more when their turn came", own["gone"])),
    ]
}

/// Whether the ledger is written, and what it lacks.
fn ledger(ledger: &Value) -> String {
    if ledger.is_null() {
        return "not kept".to_owned();
    }
    let written = format!("{} rows written", ledger["rows"]);
    let failing = ledger["failing"].as_str().map(|why| {
        let oldest = output::span(ledger["oldest_s"].as_f64().unwrap_or(0.0));
        format!("CANNOT BE WRITTEN: {why}; the oldest row waits {oldest}")
    });
    let missed = (ledger["missed_rows"] != 0).then(|| format!("{} rows are missing", ledger["missed_rows"]));
    std::iter::once(written).chain(failing).chain(missed).collect::<Vec<_>>().join(", ")
}

/// Lost records, each reason in words.
pub(super) fn lost(queue: &Value) -> String {
    let losses = queue["losses"].as_array().cloned().unwrap_or_default();
    let losses: Vec<_> =
        losses.iter().map(|loss| format!("{} ({})", loss["records"], output::cell(&loss["text"]))).collect();
    if losses.is_empty() { "none".to_owned() } else { losses.join(", ") }
}

/// A line of a table, and what it is about.
type Row = (Vec<String>, Value);

fn cells(rows: Vec<Row>) -> Vec<Vec<String>> {
    rows.into_iter().map(|(cells, _)| cells).collect()
}

/// Heads of [`destinations`].
pub(super) const DOWN_HEADS: [&str; 3] = ["DESTINATION DOWN", "SINCE", "PROBES"];

/// A row for each SIP destination that is down.
pub(super) fn destinations(status: &Value) -> Vec<Row> {
    let row = |own: &Value| {
        let since = output::span(own["since_s"].as_f64().unwrap_or(0.0));
        let cells = [output::cell(&own["destination"]), since, output::cell(&own["probes"])];
        (cells.map(|cell| output::shown(&cell)).to_vec(), own.clone())
    };
    status["down"].as_array().into_iter().flatten().map(row).collect()
}

/// A line for each server of which there is something to know.
fn notes(status: &Value) -> String {
    notes_of(status, |_, _| true)
}

/// The same of those servers that are not used, or for which records wait.
pub(super) fn troubles(status: &Value) -> String {
    let waits = |sink: &Value| {
        let mut sinks = status["queue"]["sinks"].as_array().into_iter().flatten();
        sinks.any(|own| own["sink"] == *sink && own["waiting"] != 0)
    };
    notes_of(status, |sink, server| !matches!(server["state"].as_str(), Some("up" | "new")) || waits(sink))
}

fn notes_of(status: &Value, is_wanted: impl Fn(&Value, &Value) -> bool) -> String {
    let mut text = String::new();
    for backend in status["backends"].as_array().into_iter().flatten() {
        for server in backend["servers"].as_array().into_iter().flatten() {
            if let Some(note) = server["note"].as_str().filter(|_| is_wanted(&backend["sink"], server)) {
                let name = output::shown(&output::cell(&server["server"]));
                text.push_str(&format!("{name}: {}\n", output::shown(note)));
            }
        }
    }
    text
}

/// Heads of [`servers`].
pub(super) const SERVER_HEADS: [&str; 11] = [
    "SINK",
    "SERVER",
    "STATE",
    "SINCE",
    "ROUND TRIP",
    "IN FLIGHT",
    "WINDOW",
    "STORED",
    "TIMEOUTS",
    "WAITING",
    "OLDEST",
];

/// A row for each server of each sink; what waits stands with the sink's first.
pub(super) fn servers(status: &Value) -> Vec<Row> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for backend in list(&status["backends"]) {
        let queued = list(&status["queue"]["sinks"]).into_iter().find(|sink| sink["sink"] == backend["sink"]);
        let mut waiting =
            queued.map(|sink| (output::cell(&sink["waiting"]), output::span(sink["oldest_s"].as_f64().unwrap_or(0.0))));
        for server in list(&backend["servers"]) {
            let (waits, oldest) = waiting.take().unwrap_or_default();
            let cells = [
                output::cell(&backend["sink"]),
                output::cell(&server["server"]),
                output::cell(&server["state"]),
                output::span(server["since_s"].as_f64().unwrap_or(0.0)),
                server["round_trip_ms"].as_f64().map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms")),
                output::cell(&server["in_flight"]),
                output::cell(&server["window"]),
                output::cell(&server["counts"]["stored"]),
                output::cell(&server["counts"]["timeouts"]),
                waits,
                oldest,
            ];
            rows.push((cells.iter().map(|cell| output::shown(cell)).collect(), server));
        }
    }
    rows
}

/// What became of calls since the start: how many answers of each class, as far as there are some.
fn answers(status: &Value) -> String {
    let classes = status["answers"].as_object().into_iter().flatten();
    let some: Vec<_> =
        classes.filter(|(_, count)| **count != 0).map(|(class, count)| format!("{count} {class}")).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}
