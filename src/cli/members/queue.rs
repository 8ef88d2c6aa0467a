//! `tollgate queue … --cluster`: the balance of all queues, the records that are parked anywhere, and what is done with them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};

use super::{Answers, Cluster, Told};
use crate::admin::request::{Filter, PAGE_MAX, Request, Standing, Verb};
use crate::cli::Failure;
use crate::cli::desk::Seek;
use crate::cli::output::{self, Format};
use crate::cli::queue::{BALANCE, BALANCE_HEADS, PARKED_HEADS, balance_row, parked_row, state_lines};
use crate::cluster::ask::{AskError, Member, Question};
use crate::cluster::bucket::ReadError;
use crate::cluster::deliver::parked::Parking;
use crate::cluster::names::{self, Role};

/// Shows the balance of every sink, of each process and of all of a kind, and what the stream has.
///
/// # Errors
/// The cluster cannot be reached, or somebody does not answer.
pub fn status(seek: &Seek, format: &Format) -> Result<(), Failure> {
    let (mut answers, stream) = Cluster::reach(seek)?.ask_with_stream();
    for status in answers.all.iter_mut().filter_map(|told| told.answer.as_mut().ok()) {
        *status = status["queue"].take();
    }
    let sums = sums(&answers);
    if format.is_json() {
        let sums: Vec<Value> = sums.into_values().collect();
        output::print_json(&json!({
            "complete": answers.is_complete(), "trouble": answers.trouble, "sinks": sums, "stream": stream.json(),
            "members": answers.json(true),
        }))?;
        return answers.end();
    }
    let mut rows = Vec::new();
    for role in [Role::Gateway, Role::Deliverer] {
        for told in answers.of(role) {
            rows.extend(balances(told));
        }
        let sums = sums.iter().filter(|((own, _), sum)| *own == role && sum["members"] != 1);
        rows.extend(sums.map(|(_, sum)| row(&format!("all {}s", role.name()), sum)));
    }
    let heads: Vec<&str> = std::iter::once("MEMBER").chain(BALANCE_HEADS).collect();
    output::print(&output::table(&heads, &rows))?;
    output::print(&format!("\nin the stream: {}\n\n{}", output::shown(&stream.line()), stream.table()))?;
    let lines: Vec<String> = answers
        .good()
        .flat_map(|(told, status)| state_lines(status).into_iter().map(|line| format!("{}: {line}", told.title())))
        .collect();
    if !lines.is_empty() {
        output::print(&format!("\n{}", lines.join("\n")))?;
    }
    answers.end()
}

fn row(name: &str, sink: &Value) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(balance_row(sink)).collect()
}

fn balances(told: &Told) -> Vec<Vec<String>> {
    let silent = || {
        let what = if told.has_ended() { "has ended in order" } else { "DOES NOT ANSWER" };
        let mut cells = vec![told.cell(), what.to_owned()];
        cells.resize(1 + BALANCE_HEADS.len(), String::new());
        vec![cells]
    };
    let Ok(status) = &told.answer else { return silent() };
    status["sinks"].as_array().into_iter().flatten().map(|sink| row(&told.cell(), sink)).collect()
}

/// The balance of each sink at all processes of a kind.
fn sums(answers: &Answers) -> BTreeMap<(Role, String), Value> {
    let mut sums = BTreeMap::new();
    for (told, status) in answers.good() {
        for sink in status["sinks"].as_array().into_iter().flatten() {
            let (role, name) = (told.member.role, output::cell(&sink["sink"]));
            let first = || json!({ "role": role.name(), "sink": name.clone(), "members": 0, "oldest_s": 0.0 });
            let sum = sums.entry((role, name.clone())).or_insert_with(first);
            let plus = |sum: &Value, count: &Value| sum.as_u64().unwrap_or(0) + count.as_u64().unwrap_or(0);
            for key in BALANCE.into_iter().filter(|key| *key != "sink").chain(["parked_now"]) {
                sum[key] = plus(&sum[key], &sink[key]).into();
            }
            sum["members"] = plus(&sum["members"], &1.into()).into();
            let oldest = |of: &Value| of["oldest_s"].as_f64().unwrap_or(0.0);
            sum["oldest_s"] = oldest(sum).max(oldest(sink)).into();
        }
    }
    sums
}

/// Lists the records that are parked anywhere; those too that no deliverer has at the moment.
///
/// # Errors
/// The cluster cannot be reached, or somebody does not answer.
pub fn parked(seek: &Seek, sink: Option<String>, max: usize, format: &Format) -> Result<(), Failure> {
    let cluster = Cluster::reach(seek)?;
    let mut answers = cluster.ask(&(&Request::Status {}).into());
    let total: u64 = answers.good().map(|(_, status)| parked_at(status, sink.as_deref())).sum();
    let filter = Filter { sink: sink.clone(), state: Some(Standing::Parked), ..Filter::default() };
    let mut items = cluster.list(&mut answers, &filter, max);
    answers.usable()?;
    let Left { items: left, count, beyond } = cluster.left(&mut answers, sink.as_deref());
    let is_more = !beyond.is_empty();
    items.extend(left);
    items.sort_by_cached_key(|item| (output::cell(&item["sinks"][0]["parked"]), output::cell(&item["id"])));
    items.truncate(max);
    let more = (total + count).saturating_sub(items.len() as u64);
    if format.is_json() {
        output::print_json(&json!({
            "complete": answers.is_complete(), "trouble": answers.trouble, "records": items, "more": more,
            "more_at_least": is_more, "members": answers.json(false),
        }))?;
        return answers.end();
    }
    if items.is_empty() && answers.is_complete() {
        output::print("no record is parked")?;
    } else if !items.is_empty() {
        let rows: Vec<Vec<String>> = items.iter().map(of_member).collect();
        let heads: Vec<&str> = std::iter::once("MEMBER").chain(PARKED_HEADS).collect();
        output::print(&output::table(&heads, &rows))?;
    }
    if more > 0 {
        output::print(&format!("{more}{} more; `--max` shows them", if is_more { " or more" } else { "" }))?;
    }
    if count > 0 {
        let least = if is_more { "at least " } else { "" };
        eprintln!(
            "{least}{count} of them are of partitions that no deliverer has at the moment, or of sinks that it does not have"
        );
    }
    answers.end()
}

/// A line of a parked record with the name of who has it.
fn of_member(item: &Value) -> Vec<String> {
    let name = item["member"]["name"].as_str();
    let mut cells = parked_row(item);
    if name.is_none() {
        // What only the record itself tells, or who has tried it, is not known.
        for place in [2, 3, 4, 5] {
            "-".clone_into(&mut cells[place]);
        }
    }
    std::iter::once(output::shown(name.unwrap_or("-"))).chain(cells).collect()
}

/// Records of a sink, or of all, that are parked at a process.
fn parked_at(status: &Value, sink: Option<&str>) -> u64 {
    let sinks = status["queue"]["sinks"].as_array().into_iter().flatten();
    let sinks = sinks.filter(|own| sink.is_none_or(|sink| own["sink"] == sink));
    sinks.filter_map(|own| own["parked_now"].as_u64()).sum()
}

/// Has records tried again, or set aside, wherever they are.
///
/// # Errors
/// The cluster cannot be reached, somebody does not answer or does not do it, or there is no such record.
pub fn act(
    seek: &Seek,
    action: Verb,
    (filter, reason): (Filter, Option<String>),
    format: &Format,
) -> Result<(), Failure> {
    let one = filter.record.clone();
    let is_place = |record: &String| record.len() < ID_CHARS && record.bytes().all(|octet| octet.is_ascii_digit());
    if one.as_ref().is_some_and(is_place) {
        let text = "a place is of one queue alone: name the record by its id, as `queue parked` shows it";
        return Err(Failure::Usage(text.to_owned()));
    }
    let answers = Cluster::reach(seek)?.ask(&(&Request::QueueAct { action, filter, reason }).into());
    answers.usable()?;
    let sum = |key: &str| answers.good().filter_map(|(_, answer)| answer[key].as_u64()).sum::<u64>();
    let records = sum("records");
    if format.is_json() {
        output::print_json(&json!({
            "complete": answers.is_complete(), "trouble": answers.trouble, "records": records,
            "under_way": sum("under_way"), "skipped": sum("skipped"), "members": answers.json(true),
        }))?;
    } else if answers.good().next().is_some() {
        let verb = if action == Verb::Park { "parked" } else { "to be tried again" };
        output::print(&format!("{records} {verb}"))?;
        for (told, answer) in answers.good().filter(|(_, answer)| answer["records"] != 0) {
            output::print(&format!("  {} at {}", output::cell(&answer["records"]), told.title()))?;
        }
        for (told, answer) in answers.good().filter(|(_, answer)| answer["skipped"].as_u64().is_some()) {
            let reasons: Vec<_> = answer["reasons"].as_array().into_iter().flatten().map(output::cell).collect();
            let (skipped, reasons) = (output::cell(&answer["skipped"]), output::shown(&reasons.join("; ")));
            output::print(&format!("{skipped} passed over at {}: {reasons}", told.title()))?;
        }
    }
    answers.end()?;
    match one {
        Some(record) if records == 0 => Err(anyhow!("nothing was done with `{record}`: nobody has it").into()),
        _ => Ok(()),
    }
}

impl Cluster {
    /// Records of all that have answered, `max` of each at most, with the names of who has them. Whoever answers no more
    /// is missing from then on.
    fn list(&self, answers: &mut Answers, filter: &Filter, max: usize) -> Vec<Value> {
        let asked: Vec<Member> = answers.good().map(|(told, _)| told.member.clone()).collect();
        let lists = asked.into_iter().map(async |member| {
            let list = self.records(&member, filter, max).await;
            (member, list)
        });
        let mut all = Vec::new();
        for (member, list) in self.runtime.block_on(join_all(lists)) {
            let who = json!({ "role": member.role.name(), "name": member.name });
            match list {
                Ok(list) => all.extend(list.into_iter().map(|mut item| {
                    item["member"] = who.clone();
                    item
                })),
                Err(error) => {
                    let told = answers.all.iter_mut().find(|told| told.member == member);
                    told.into_iter().for_each(|told| told.answer = Err(error.clone()));
                }
            }
        }
        all
    }

    async fn records(&self, member: &Member, filter: &Filter, max: usize) -> Result<Vec<Value>, AskError> {
        let (mut all, mut from) = (Vec::new(), None);
        while all.len() < max {
            let max = (max - all.len()).min(PAGE_MAX);
            let question = Question::from(&Request::QueueList { filter: filter.clone(), from, max });
            let mut page = self.asker.ask(member, &question).await?;
            if let Value::Array(items) = page["items"].take() {
                all.extend(items);
            }
            from = page["next"].as_str().map(str::to_owned);
            if from.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Records that the cluster knows as parked and that no deliverer that answers has.
    pub(super) fn left(&self, answers: &mut Answers, sink: Option<&str>) -> Left {
        let keys = match self.runtime.block_on(self.asker.parked()) {
            Ok(keys) => keys,
            Err(error) => {
                answers.trouble.get_or_insert(unknown(&error));
                return Left::default();
            }
        };
        let has = |partition: u16, sink: &str| {
            answers.good().any(|(_, status)| {
                let own = status["deliverer"]["own"].as_array();
                let sinks = status["queue"]["sinks"].as_array();
                own.is_some_and(|own| own.contains(&partition.into()))
                    && sinks
                        .is_some_and(|sinks| sinks.iter().any(|own| own["sink"] == sink && own["configured"] == true))
            })
        };
        let is_left = |key: &&String| {
            let Some((partition, own, _)) = names::read_parked(key) else { return false };
            sink.is_none_or(|sink| sink == own) && !has(partition, own)
        };
        let mut left = keys.iter().filter(is_left);
        let looked: Vec<&String> = left.by_ref().take(LEFT_MAX).collect();
        let beyond = left.filter_map(|key| names::read_parked(key)).map(|(_, sink, _)| sink.to_owned()).collect();
        let read = looked.into_iter().map(async |key| {
            let written = self.asker.parking(key).await?;
            Ok::<_, ReadError>(written.and_then(|written| item(key, Parking::read(&written).ok().as_ref())))
        });
        match self.runtime.block_on(try_join_all(read)) {
            Ok(found) => {
                let items: Vec<Value> = found.into_iter().flatten().collect();
                Left { count: items.len() as u64, items, beyond }
            }
            Err(error) => {
                answers.trouble.get_or_insert(unknown(&error));
                Left::default()
            }
        }
    }
}

/// Parked records that no deliverer has which answers.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Those that were looked at and are parked still.
    pub items: Vec<Value>,
    /// How many these are.
    pub count: u64,
    /// Sinks of further ones, which were not looked at: some of them may be parked no more.
    pub beyond: BTreeSet<String>,
}

/// Characters of a record's id.
const ID_CHARS: usize = 26;

/// Records without a deliverer that are looked at, at most.
const LEFT_MAX: usize = 1_000;

fn unknown(error: &ReadError) -> String {
    format!("{error}: parked records that no deliverer has are not known")
}

/// What the cluster knows of a parked record, as a queue would tell it.
fn item(key: &str, parking: Option<&Parking>) -> Option<Value> {
    let (partition, sink, id) = names::read_parked(key)?;
    let how = json!({
        "sink": sink, "reason": parking.map(|own| own.reason.clone()), "code": parking.map(|own| own.code),
        "parked": parking.map(|own| own.at.to_string()), "by": parking.map(|own| own.by.clone()),
    });
    Some(json!({ "id": id.to_string(), "state": "parked", "partition": partition, "member": null, "sinks": [how] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ask::Standing as Known;

    fn told(role: Role, name: &str, waiting: u64) -> Told {
        let sink = json!({ "sink": "cdrs", "carried": 0, "appended": 5, "delivered": 3, "parked": 1, "dropped": 0,
            "superseded": 0, "lost": 0, "waiting": waiting, "parked_now": 1, "oldest_s": 1.5 });
        let member = Member { role, name: name.to_owned() };
        Told { member, standing: Known::Own, answer: Ok(json!({ "sinks": [sink] })) }
    }

    #[test]
    fn balances_are_added_up_by_kind_and_sink() {
        let silent = Told { answer: Err(AskError::Silent), ..told(Role::Gateway, "gw3", 0) };
        let all =
            vec![told(Role::Gateway, "gw1", 2), told(Role::Gateway, "gw2", 7), silent, told(Role::Deliverer, "d", 1)];
        let sums = sums(&Answers { all, trouble: None });
        let of = |role| &sums[&(role, "cdrs".to_owned())];
        let gateways = of(Role::Gateway);
        assert_eq!(
            (&gateways["waiting"], &gateways["appended"], &gateways["members"]),
            (&json!(9), &json!(10), &json!(2))
        );
        assert_eq!(of(Role::Deliverer)["waiting"], 1);
        assert_eq!(gateways["oldest_s"], 1.5);
    }

    #[test]
    fn a_record_that_nobody_has_is_told_by_what_the_cluster_knows() {
        let key = "parked.002.cdrs.00000000000000000000000001";
        let cells = of_member(&item(key, None).expect("a key"));
        assert_eq!(&cells[..4], ["-", "00000000000000000000000001", "cdrs", "-"]);
        assert_eq!(item("parked.002.cdrs", None), None);
    }
}
