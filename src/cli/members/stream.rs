//! What the stream of a cluster has: of each sink its records, those that wait for a deliverer, and what is taken or parked.

use std::collections::BTreeMap;

use futures_util::future::join;
use serde_json::{Value, json};

use super::queue::Left;
use super::{Answers, Cluster};
use crate::admin::request::Request;
use crate::cli::output;
use crate::clock::{self, Timestamp};
use crate::cluster::ask::NotKnown;
use crate::cluster::backlog::{Backlog, Held};
use crate::cluster::names::Role;

/// What it has.
#[derive(Clone, Debug)]
pub struct InStream {
    /// When it was asked.
    now: Timestamp,
    known: Result<Vec<Line>, NotKnown>,
    /// Parked records that no deliverer has which answers, at least.
    left: u64,
}

/// What it has for a sink.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Line {
    sink: String,
    held: Held,
    parked: u64,
    /// Whether more may be parked that no deliverer has which answers.
    is_more_parked: bool,
    /// Deliverers that answer and have this sink.
    deliverers: usize,
}

impl Cluster {
    /// Asks all of them how they are, and the servers what the stream has.
    pub fn ask_with_stream(&self) -> (Answers, InStream) {
        let question = (&Request::Status {}).into();
        let members = self.members.all.keys().cloned();
        let asked = join(self.asker.ask_all(members, &question), self.asker.backlog());
        let (all, backlog) = self.runtime.block_on(asked);
        let (mut answers, now) = (self.answers(all), clock::wall());
        let backlog = match backlog {
            Ok(backlog) => backlog,
            Err(not_known) => {
                if !not_known.is_forbidden {
                    let text = || format!("{}: what waits in the stream is not known", not_known.why);
                    answers.trouble.get_or_insert_with(text);
                }
                return (answers, InStream { now, known: Err(not_known), left: 0 });
            }
        };
        let left = self.left(&mut answers, None);
        let lines = lines(&answers, backlog, &left);
        (answers, InStream { now, known: Ok(lines), left: left.count })
    }
}

/// By sink, in the order of their names.
fn lines(answers: &Answers, backlog: Backlog, left: &Left) -> Vec<Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for (sink, held) in backlog {
        lines.entry(sink).or_default().held = held;
    }
    for item in &left.items {
        lines.entry(output::cell(&item["sinks"][0]["sink"])).or_default().parked += 1;
    }
    for sink in &left.beyond {
        lines.entry(sink.clone()).or_default().is_more_parked = true;
    }
    for (_, status) in answers.good().filter(|(told, _)| told.member.role == Role::Deliverer) {
        for sink in status["queue"]["sinks"].as_array().into_iter().flatten() {
            let line = lines.entry(output::cell(&sink["sink"])).or_default();
            line.parked += sink["parked_now"].as_u64().unwrap_or(0);
            line.deliverers += usize::from(sink["configured"] == true);
        }
    }
    lines.into_iter().map(|(sink, line)| Line { sink, ..line }).collect()
}

#[cfg(test)]
impl InStream {
    /// What is not known.
    pub fn unknown(why: &str) -> Self {
        Self { now: Timestamp(0), known: Err(NotKnown { why: why.to_owned(), is_forbidden: true }), left: 0 }
    }
}

impl InStream {
    /// Parked records that no deliverer has which answers; with `true` there may be more.
    pub fn left(&self) -> (u64, bool) {
        let lines = self.known.as_deref().unwrap_or_default();
        (self.left, lines.iter().any(|line| line.is_more_parked))
    }

    /// All of them in one.
    fn sum(lines: &[Line]) -> Line {
        lines.iter().fold(Line::default(), |sum, line| Line {
            held: sum.held.and(&line.held),
            parked: sum.parked + line.parked,
            is_more_parked: sum.is_more_parked || line.is_more_parked,
            ..sum
        })
    }

    /// Seconds that the oldest record has waited.
    fn oldest_s(&self, held: &Held) -> Option<f64> {
        held.oldest.map(|oldest| self.now.since(oldest).as_secs_f64())
    }

    pub fn json(&self) -> Value {
        let lines = match &self.known {
            Ok(lines) => lines,
            Err(not_known) => return json!({ "known": false, "why": not_known.why }),
        };
        let counts = |Line { held, parked, is_more_parked, .. }: &Line| {
            json!({
                "records": held.records, "waiting": held.waiting, "at_least": held.is_more, "oldest_s": self.oldest_s(held),
                "taken": held.taken, "parked": parked, "parked_at_least": is_more_parked,
            })
        };
        let line = |line: &Line| {
            let mut json = counts(line);
            json["sink"] = line.sink.as_str().into();
            json["deliverers"] = line.deliverers.into();
            json
        };
        let mut json = counts(&Self::sum(lines));
        json["known"] = true.into();
        json["sinks"] = lines.iter().map(line).collect();
        json
    }

    /// In a line.
    pub fn line(&self) -> String {
        let lines = match &self.known {
            Ok(lines) => lines,
            Err(not_known) => return format!("what waits there is not known: {}", not_known.why),
        };
        let Line { held, .. } = Self::sum(lines);
        let records = held.records;
        match (self.oldest_s(&held), held.is_more) {
            (None, false) => format!("{records} records, none of them waits for a deliverer"),
            (None, true) => format!("{records} records; how many of them wait is written down by a newer release"),
            (Some(oldest), is_more) => {
                let least = if is_more { "at least " } else { "" };
                let (waiting, oldest) = (held.waiting, output::span(oldest));
                format!("{records} records, {least}{waiting} of them wait for a deliverer, the oldest for {oldest}")
            }
        }
    }

    /// By sink; empty when there is nothing to show.
    pub fn table(&self) -> String {
        let lines = self.known.as_deref().unwrap_or_default();
        if lines.is_empty() {
            return String::new();
        }
        let row = |line: &Line| {
            let Held { records, waiting, taken, is_more, .. } = &line.held;
            vec![
                output::shown(&line.sink),
                records.to_string(),
                at_least(*waiting, *is_more),
                self.oldest_s(&line.held).map_or_else(|| "-".to_owned(), output::span),
                taken.to_string(),
                at_least(line.parked, line.is_more_parked),
                if line.deliverers == 0 { "NONE".to_owned() } else { line.deliverers.to_string() },
            ]
        };
        output::table(&HEADS, &lines.iter().map(row).collect::<Vec<_>>())
    }
}

/// A number in a cell.
pub fn at_least(count: u64, is_more: bool) -> String {
    if is_more { format!("{count} or more") } else { count.to_string() }
}

const HEADS: [&str; 7] = ["IN STREAM FOR", "RECORDS", "WAITING", "OLDEST", "TAKEN", "PARKED", "DELIVERERS"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::members::{Standing, Told};
    use crate::cluster::ask::Member;

    fn told(role: Role, sinks: Value) -> Told {
        let (member, answer) = (Member { role, name: "one".to_owned() }, json!({ "queue": { "sinks": sinks } }));
        Told { member, standing: Standing::Own, answer: Ok(answer) }
    }

    fn in_stream(known: Result<Vec<Line>, NotKnown>) -> InStream {
        InStream { now: Timestamp(10_000_000), known, left: 0 }
    }

    #[test]
    fn what_waits_is_told_with_who_could_deliver_it() {
        let sink = |name: &str, parked: u64| json!({ "sink": name, "parked_now": parked, "configured": true });
        let gone = json!({ "sink": "old", "parked_now": 5, "configured": false });
        let all = vec![
            told(Role::Gateway, json!([sink("cdrs", 9), sink("sql", 9)])),
            told(Role::Deliverer, json!([sink("cdrs", 1), gone])),
            told(Role::Deliverer, json!([sink("cdrs", 2)])),
        ];
        let answers = Answers { all, trouble: None };
        let held = |records, waiting, oldest| Held { records, waiting, oldest, taken: 7, is_more: false };
        let backlog = BTreeMap::from([
            ("cdrs".to_owned(), held(100, 3, Some(Timestamp(4_000_000)))),
            ("sql".to_owned(), held(20, 20, Some(Timestamp(1_000_000)))),
        ]);
        let items = vec![json!({ "sinks": [{ "sink": "cdrs" }] }); 4];
        let left = Left { count: 4, items, beyond: BTreeSet::from(["sql".to_owned()]) };
        let told = in_stream(Ok(lines(&answers, backlog, &left)));
        let of = |line: &Line| (line.sink.clone(), line.held.waiting, line.parked, line.deliverers);
        let seen: Vec<_> = told.known.as_ref().expect("known").iter().map(of).collect();
        assert_eq!(seen, [("cdrs".to_owned(), 3, 7, 2), ("old".to_owned(), 0, 5, 0), ("sql".to_owned(), 20, 0, 0)]);
        assert_eq!(told.line(), "120 records, 23 of them wait for a deliverer, the oldest for 9 s");
        let json = told.json();
        assert_eq!((&json["waiting"], &json["oldest_s"], &json["parked"]), (&json!(23), &json!(9.0), &json!(12)));
        assert_eq!((&json["sinks"][2]["sink"], &json["sinks"][2]["deliverers"]), (&json!("sql"), &json!(0)));
        let table = told.table();
        let sql = table.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(sql, "sql 20 20 9 s 7 0 or more NONE");
        assert_eq!((told.left().1, &told.json()["parked_at_least"]), (true, &json!(true)));
        assert_eq!(told.json()["sinks"][0]["parked_at_least"], false);
    }

    #[test]
    fn what_is_not_known_is_not_told_as_nothing() {
        let more = Held { records: 5, waiting: 1, oldest: Some(Timestamp(9_000_000)), taken: 0, is_more: true };
        let unread = Held { records: 5, is_more: true, ..Held::default() };
        let line = |held| Line { sink: "cdrs".to_owned(), held, ..Line::default() };
        let forbidden = NotKnown { why: "no".to_owned(), is_forbidden: true };
        for (known, want, at_least) in [
            (
                Ok(vec![line(more)]),
                "5 records, at least 1 of them wait for a deliverer, the oldest for 1 s",
                json!(true),
            ),
            (
                Ok(vec![line(unread)]),
                "5 records; how many of them wait is written down by a newer release",
                json!(true),
            ),
            (Ok(Vec::new()), "0 records, none of them waits for a deliverer", json!(false)),
            (Err(forbidden), "what waits there is not known: no", Value::Null),
        ] {
            let told = in_stream(known);
            assert_eq!((told.line().as_str(), &told.json()["at_least"]), (want, &at_least));
        }
    }
}
