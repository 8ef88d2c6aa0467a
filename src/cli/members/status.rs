//! `tollgate status --cluster`: how all gateways and deliverers are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stream::{InStream, at_least};
use super::{Answers, Cluster, Told};
use crate::cli::Failure;
use crate::cli::desk::Seek;
use crate::cli::output::{self, Format};
use crate::cli::status::{DOWN_HEADS, SERVER_HEADS, destinations, list, lost, servers, troubles};
use crate::cluster::names::Role;

/// Shows it.
///
/// # Errors
/// The cluster cannot be reached, or somebody does not answer.
pub fn status(seek: &Seek, format: &Format) -> Result<(), Failure> {
    let (answers, stream) = Cluster::reach(seek)?.ask_with_stream();
    format.print(&to_json(&answers, &stream), || text(&answers, &stream))?;
    answers.end()
}

fn to_json(answers: &Answers, stream: &InStream) -> Value {
    let (all, nobody) = partitions(answers);
    json!({
        "complete": answers.is_complete(), "trouble": answers.trouble, "members": answers.json(true),
        "calls": sum(answers, Role::Gateway, |status| &status["calls"]),
        "waiting": sum(answers, Role::Gateway, |status| &status["queue"]["waiting"]),
        "open": sum(answers, Role::Deliverer, |status| &status["deliverer"]["open"]),
        "parked": parked(answers) + stream.left().0,
        "stream": stream.json(),
        "partitions": all, "partitions_with_nobody": nobody,
    })
}

fn text(answers: &Answers, stream: &InStream) -> String {
    let (all, nobody) = partitions(answers);
    let sum = |role, count: fn(&Value) -> &Value| sum(answers, role, count);
    let count = |role| {
        let (known, there) = (answers.of(role).count(), answers.of(role).filter(|told| told.answer.is_ok()).count());
        let name = if known == 1 { role.name().to_owned() } else { format!("{}s", role.name()) };
        if there == known { format!("{known} {name}") } else { format!("{there} of {known} {name}") }
    };
    let nobody = match nobody.len() {
        0 => format!("{all}, each with a deliverer"),
        _ => format!("{all}, WITH NOBODY: {}", nobody.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    };
    let whole = [
        ("members", format!("{}, {} answer", count(Role::Gateway), count(Role::Deliverer))),
        ("calls", sum(Role::Gateway, |status| &status["calls"]).to_string()),
        (
            "waiting",
            format!("{} at gateways, for the stream", sum(Role::Gateway, |status| &status["queue"]["waiting"])),
        ),
        ("stream", stream.line()),
        (
            "taken",
            format!("{} by deliverers, and not settled", sum(Role::Deliverer, |status| &status["deliverer"]["open"])),
        ),
        ("parked", at_least(parked(answers) + stream.left().0, stream.left().1)),
        ("partitions", if all == 0 { "no deliverer tells of them".to_owned() } else { nobody }),
    ];
    let mut text: String = whole.iter().map(|(name, value)| format!("{name:<10} {}\n", output::shown(value))).collect();
    for (role, heads, row) in [
        (Role::Gateway, &GATEWAY_HEADS[..], gateway as fn(&Value) -> Vec<String>),
        (Role::Deliverer, &DELIVERER_HEADS[..], deliverer),
    ] {
        let rows: Vec<Vec<String>> = answers.of(role).map(|told| line(told, heads.len(), row)).collect();
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&output::table(heads, &rows));
        }
    }
    let in_stream = stream.table();
    if !in_stream.is_empty() {
        text.push('\n');
        text.push_str(&in_stream);
    }
    push_table(&mut text, answers, &DOWN_HEADS, |status| destinations(status).into_iter().map(|row| row.0).collect());
    push_table(&mut text, answers, &SERVER_HEADS, |status| servers(status).into_iter().map(|row| row.0).collect());
    for (told, status) in answers.good() {
        text.extend(troubles(status).lines().map(|note| format!("{}: {note}\n", told.cell())));
    }
    text
}

/// Rows of all of them in one table, each with the name of its process.
fn push_table(text: &mut String, answers: &Answers, heads: &[&str], rows: fn(&Value) -> Vec<Vec<String>>) {
    let named = |(told, status): (&Told, &Value)| {
        let name = told.cell();
        rows(status).into_iter().map(move |row| std::iter::once(name.clone()).chain(row).collect()).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = answers.good().flat_map(named).collect();
    if !rows.is_empty() {
        let heads: Vec<&str> = std::iter::once("MEMBER").chain(heads.iter().copied()).collect();
        text.push('\n');
        text.push_str(&output::table(&heads, &rows));
    }
}

const GATEWAY_HEADS: [&str; 10] =
    ["GATEWAY", "STATE", "VERSION", "STARTED", "CALLS", "NEW CALLS", "WAITING", "PARKED", "LOST", "ALARM"];

fn gateway(status: &Value) -> Vec<String> {
    let (queue, own) = (&status["queue"], &status["cluster"]);
    vec![
        phase(status),
        output::cell(&status["version"]),
        moment(&status["started"]),
        output::cell(&status["calls"]),
        if status["accepts_calls"] == true { "served".into() } else { "refused".into() },
        output::cell(&queue["waiting"]),
        output::cell(&parked_now(queue).into()),
        lost(queue),
        // One of an older release says nothing of it.
        if own.is_null() { list(&queue["alarm"]) } else { alarm(own, queue) },
    ]
}

/// What is wrong with one of them.
fn alarm(own: &Value, queue: &Value) -> String {
    let trouble = own["trouble"].as_str().map(str::to_owned);
    let joining = (own["member"] != true && trouble.is_none()).then(|| "not joined yet".to_owned());
    let alarm = Some(list(&queue["alarm"])).filter(|alarm| alarm != "none");
    let all: Vec<String> = [trouble, joining, alarm].into_iter().flatten().collect();
    if all.is_empty() { "none".to_owned() } else { all.join("; ") }
}

const DELIVERER_HEADS: [&str; 9] =
    ["DELIVERER", "STATE", "VERSION", "STARTED", "PARTITIONS", "TAKEN", "PARKED", "LOST", "ALARM"];

fn deliverer(status: &Value) -> Vec<String> {
    let (queue, own) = (&status["queue"], &status["deliverer"]);
    let gone = own["gone"].as_u64().filter(|gone| *gone > 0).map(|gone| format!("{gone} (not in the stream any more)"));
    vec![
        phase(status),
        output::cell(&status["version"]),
        moment(&status["started"]),
        own["own"].as_array().map_or(0, Vec::len).to_string(),
        output::cell(&own["open"]),
        output::cell(&parked_now(queue).into()),
        gone.unwrap_or_else(|| lost(queue)),
        alarm(own, queue),
    ]
}

/// A line of a process, whether it answers or not.
fn line(told: &Told, columns: usize, row: fn(&Value) -> Vec<String>) -> Vec<String> {
    let cells = match &told.answer {
        Ok(status) => row(status),
        Err(_) if told.has_ended() => vec!["has ended in order".to_owned()],
        Err(_) => vec!["DOES NOT ANSWER".to_owned()],
    };
    let mut cells: Vec<String> = cells.iter().map(|cell| output::shown(cell)).collect();
    cells.insert(0, told.cell());
    cells.resize(columns, String::new());
    cells
}

fn phase(status: &Value) -> String {
    let hanging = list(&status["hanging"]);
    match hanging.as_str() {
        "none" => output::cell(&status["phase"]),
        _ => format!("{}, HANGING: {hanging}", output::cell(&status["phase"])),
    }
}

/// An instant to the second.
fn moment(value: &Value) -> String {
    let text = output::cell(value);
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Records that are parked now at the sinks of a queue.
fn parked_now(queue: &Value) -> u64 {
    queue["sinks"].as_array().into_iter().flatten().filter_map(|sink| sink["parked_now"].as_u64()).sum()
}

fn parked(answers: &Answers) -> u64 {
    answers.good().map(|(_, status)| parked_now(&status["queue"])).sum()
}

fn sum(answers: &Answers, role: Role, count: fn(&Value) -> &Value) -> u64 {
    answers.of(role).filter_map(|told| told.answer.as_ref().ok()).filter_map(|status| count(status).as_u64()).sum()
}

/// How many partitions there are, and those that no deliverer that answers has.
fn partitions(answers: &Answers) -> (usize, Vec<u64>) {
    let of = |key: &str| {
        let all = answers.good().filter_map(move |(_, status)| status["deliverer"][key].as_array());
        all.cloned().collect::<Vec<_>>()
    };
    let all = of("owners").iter().map(Vec::len).max().unwrap_or(0);
    let held: BTreeSet<u64> = of("own").iter().flatten().filter_map(Value::as_u64).collect();
    (all, (0..all as u64).filter(|number| !held.contains(number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ask::{Member, Standing};

    #[test]
    fn why_records_wait_is_told_and_what_is_well_is_not() {
        let told = |name: &str, state: &str, waiting: u64, note: &str| {
            let server = json!({ "server": "s", "state": state, "note": note });
            let status = json!({
                "backends": [{ "sink": "lines", "servers": [server] }],
                "queue": { "sinks": [{ "sink": "lines", "waiting": waiting }] },
            });
            let member = Member { role: Role::Gateway, name: name.to_owned() };
            Told { member, standing: Standing::Own, answer: Ok(status) }
        };
        let all = vec![
            told("gw1", "misfit", 0, "there is no stream"),
            told("gw2", "up", 3, "it may not publish"),
            told("gw3", "up", 0, "on the disk"),
        ];
        let (answers, stream) = (Answers { all, trouble: None }, InStream::unknown("no"));
        let shown = text(&answers, &stream);
        assert!(shown.ends_with("\ngw1: s: there is no stream\ngw2: s: it may not publish\n"), "{shown}");
    }
}
