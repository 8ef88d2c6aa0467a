//! `tollgate audit --cluster`: whether every record of a time has come from its gateway to its backend.
//!
//! | a record is | by the ledgers |
//! |---|---|
//! | where it belongs | a deliverer has it delivered, handed over, settled or superseded; or its gateway superseded |
//! | at a gateway | its gateway has it waiting |
//! | in the stream | its gateway has handed it over, and no deliverer says what became of it: none has taken it yet, or one was killed before it could write that down |
//! | with a deliverer | one has it waiting |
//! | parked, dropped, lost | the last word of a deliverer on it, or of its gateway |
//!
//! A time is asked for in parts, so small that a process tells of each at once; what they say is held against each other here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Answers, Cluster, Told};
use crate::cli::Failure;
use crate::cli::desk::Seek;
use crate::cli::output;
use crate::clock::Timestamp;
use crate::cluster::ask::{AskError, Member, Question};
use crate::cluster::names::Role;
use crate::ids::RecordId;
use crate::ledger::audit::{LETTERS, Range};
use crate::ledger::row::made_at;

/// What is told.
pub struct Wish {
    /// Of which time.
    pub range: Range,
    /// Only this sink.
    pub sink: Option<String>,
    /// Whether the records are listed that are not where they belong.
    pub lists: bool,
    /// The most of them.
    pub max: usize,
    /// Whether JSON is printed.
    pub json: bool,
}

/// Where a record is, the good places first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whereabouts {
    Delivered,
    HandedOver,
    Settled,
    Superseded,
    AtGateway,
    InStream,
    WithDeliverer,
    Parked,
    Dropped,
    Lost,
}

impl Whereabouts {
    const ALL: [Self; 10] = [
        Self::Delivered,
        Self::HandedOver,
        Self::Settled,
        Self::Superseded,
        Self::AtGateway,
        Self::InStream,
        Self::WithDeliverer,
        Self::Parked,
        Self::Dropped,
        Self::Lost,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::HandedOver => "handed_over",
            Self::Settled => "settled",
            Self::Superseded => "superseded",
            Self::AtGateway => "at_gateway",
            Self::InStream => "in_stream",
            Self::WithDeliverer => "with_deliverer",
            Self::Parked => "parked",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        }
    }

    /// Whether it belongs there.
    const fn is_good(self) -> bool {
        matches!(self, Self::Delivered | Self::HandedOver | Self::Settled | Self::Superseded)
    }

    /// By the best words of gateways and of deliverers.
    fn of([gateway, deliverer]: [Option<char>; 2]) -> Self {
        match (deliverer, gateway) {
            (Some('d'), _) => Self::Delivered,
            (Some('h'), _) => Self::HandedOver,
            (Some('s'), _) => Self::Settled,
            (Some('x'), _) | (None, Some('x')) => Self::Superseded,
            (Some('p'), _) | (None, Some('p')) => Self::Parked,
            (Some('w'), _) => Self::WithDeliverer,
            (Some('r' | 'u'), _) | (None, Some('r' | 'u')) => Self::Dropped,
            // What a deliverer has lost, or given to another, the stream has.
            (Some(_), _) | (None, Some('d' | 'h' | 's')) => Self::InStream,
            (None, Some('w')) => Self::AtGateway,
            (None, _) => Self::Lost,
        }
    }
}

/// Records that are held against each other, at most: of a time with more a part has to be asked for.
const RECORDS_MAX: usize = 50_000_000;

/// What they say of each record and sink: the best word of gateways and that of deliverers.
#[derive(Default)]
struct Ledgers {
    sinks: Vec<String>,
    words: HashMap<(u128, u8), [u8; 2], FixedState>,
    /// Records that never came into a queue, by process and reason.
    never_committed: BTreeMap<(String, String), u64>,
    /// Gaps of ledgers, and what is not in them yet.
    lacks: BTreeSet<String>,
    /// Whether one has a file of that time.
    is_known: bool,
}

/// No word.
const NONE: u8 = u8::MAX;

impl Ledgers {
    /// What a process says of a part of the time.
    fn take(&mut self, member: &Member, answer: &Value) -> Result<(), AskError> {
        let who = format!("{} `{}`", member.role.name(), member.name);
        self.is_known |= answer["known"] == true;
        let texts = |value: &Value| value.as_array().cloned().unwrap_or_default();
        self.lacks.extend(texts(&answer["gaps"]).iter().map(|gap| format!("{who}: {}", output::cell(gap))));
        if let Some(why) = answer["unwritten"].as_str() {
            self.lacks.insert(format!("{who}: what it has in memory is not in its ledger yet: {why}"));
        }
        for lost in texts(&answer["never_committed"]) {
            let count = lost["records"].as_u64().unwrap_or(0);
            *self.never_committed.entry((who.clone(), output::cell(&lost["reason"]))).or_default() += count;
        }
        let sinks: Vec<u8> = texts(&answer["sinks"]).iter().map(|sink| self.sink(&output::cell(sink))).collect();
        for row in answer["records"].as_array().into_iter().flatten() {
            let row = Row::read(row).ok_or(AskError::Unreadable)?;
            for (sink, letter) in sinks.iter().zip(row.states.bytes()) {
                let Some(rank) = LETTERS.iter().position(|(own, _)| *own == char::from(letter)) else { continue };
                let rank = u8::try_from(rank).unwrap_or(NONE);
                let words = self.words.entry((row.key, *sink)).or_insert([NONE; 2]);
                let word = &mut words[usize::from(member.role == Role::Deliverer)];
                *word = (*word).min(rank);
            }
        }
        match self.words.len() > RECORDS_MAX {
            true => {
                Err(AskError::Usage(format!("there are more than {RECORDS_MAX} records: ask for a part of the time")))
            }
            false => Ok(()),
        }
    }

    /// The number of a sink here.
    fn sink(&mut self, name: &str) -> u8 {
        let place = self.sinks.iter().position(|own| own == name).unwrap_or_else(|| {
            self.sinks.push(name.to_owned());
            self.sinks.len() - 1
        });
        u8::try_from(place).unwrap_or(NONE)
    }

    fn whereabouts(words: [u8; 2]) -> Whereabouts {
        Whereabouts::of(words.map(|word| LETTERS.get(usize::from(word)).map(|(letter, _)| *letter)))
    }

    /// How many records of a sink are where.
    fn counts(&self) -> Vec<[u64; Whereabouts::ALL.len()]> {
        let mut counts = vec![[0; Whereabouts::ALL.len()]; self.sinks.len()];
        for ((_, sink), words) in &self.words {
            counts[usize::from(*sink)][Self::whereabouts(*words) as usize] += 1;
        }
        counts
    }
}

/// A record as a process tells of it.
struct Row<'v> {
    id: RecordId,
    /// What is the same at all processes: of what ends a session its name, else the id.
    key: u128,
    kind: &'v str,
    call_id: &'v str,
    states: &'v str,
}

impl<'v> Row<'v> {
    fn read(row: &'v Value) -> Option<Self> {
        let id: RecordId = row[0].as_str()?.parse().ok()?;
        let key = match &row[1] {
            Value::Null => id.0,
            end => u128::from_str_radix(end.as_str()?, 16).ok()?,
        };
        Some(Self { id, key, kind: row[2].as_str()?, call_id: row[3].as_str()?, states: row[4].as_str()? })
    }
}

/// Tells it.
///
/// # Errors
/// The cluster cannot be reached, somebody does not answer, or a record is not where it belongs.
pub fn audit(seek: &Seek, wish: &Wish) -> Result<(), Failure> {
    let cluster = Cluster::reach(seek)?;
    let mut answers = cluster.known();
    let ledgers = RefCell::new(Ledgers::default());
    cluster.read(&mut answers, &wish.range, |member, answer| ledgers.borrow_mut().take(member, answer));
    answers.usable()?;
    let ledgers = ledgers.into_inner();
    let listed = if wish.lists { Some(cluster.listed(&mut answers, wish, &ledgers)) } else { None };
    let wanting = wanting(&ledgers, wish);
    if wish.json {
        output::print_json(&to_json(&answers, &ledgers, (wish, &wanting), listed.as_ref()))?;
    } else {
        output::print(&text(&answers, &ledgers, (wish, &wanting), listed.as_ref()))?;
    }
    answers.end()?;
    if wanting.is_empty() { Ok(()) } else { Err(Failure::Incomplete) }
}

impl Cluster {
    /// All of them, before they are asked.
    fn known(&self) -> Answers {
        let told = |(member, standing): (&Member, &super::Standing)| Told {
            member: member.clone(),
            standing: standing.clone(),
            answer: Ok(Value::Null),
        };
        Answers { all: self.members.all.iter().map(told).collect(), trouble: self.members.trouble.clone() }
    }

    /// Gives `take` what all that answer have of a time, part by part. Whoever answers no more is missing from then on.
    fn read(&self, answers: &mut Answers, range: &Range, take: impl Fn(&Member, &Value) -> Result<(), AskError>) {
        let take = &take;
        let asked: Vec<Member> = answers.good().map(|(told, _)| told.member.clone()).collect();
        let read = asked.into_iter().map(async |member| {
            let ask = async |from, to| self.asker.ask(&member, &Question::standings(from, to)).await;
            let read = parts(range, ask, |answer| take(&member, answer)).await;
            (member, read)
        });
        for (member, read) in self.runtime.block_on(join_all(read)) {
            if let (Err(error), Some(told)) = (read, answers.all.iter_mut().find(|told| told.member == member)) {
                told.answer = Err(error);
            }
        }
    }

    /// The records that are not where they belong, `max` at most, in the order in which they were made; and how many there
    /// are.
    fn listed(&self, answers: &mut Answers, wish: &Wish, ledgers: &Ledgers) -> (Vec<Value>, u64) {
        let only = wish.sink.as_deref();
        let found: RefCell<HashMap<(u128, u8), Value, FixedState>> = RefCell::default();
        self.read(answers, &wish.range, |member, answer| {
            let names = answer["sinks"].as_array().cloned().unwrap_or_default();
            let sinks = names.iter().map(|name| ledgers.sinks.iter().position(|own| name == own.as_str()));
            let sinks: Vec<Option<u8>> = sinks.map(|place| place.and_then(|place| u8::try_from(place).ok())).collect();
            let mut found = found.borrow_mut();
            for row in answer["records"].as_array().into_iter().flatten().filter_map(Row::read) {
                for (sink, letter) in sinks.iter().zip(row.states.chars()) {
                    let Some(sink) = *sink else { continue };
                    let name = &ledgers.sinks[usize::from(sink)];
                    let place = ledgers.words.get(&(row.key, sink)).map(|words| Ledgers::whereabouts(*words));
                    let is_wanted = letter != '-' && only.is_none_or(|only| only == name);
                    let Some(place) = place.filter(|place| is_wanted && !place.is_good()) else { continue };
                    let made = made_at(row.id);
                    let first = || {
                        json!({
                            "record": row.id.to_string(), "made": made.to_string(), "kind": row.kind, "call_id": row.call_id,
                            "sink": name, "place": place.name(), "told_by": [],
                        })
                    };
                    let word = LETTERS.iter().find(|(own, _)| *own == letter).map_or("", |(_, word)| word);
                    let told = json!({ "role": member.role.name(), "name": member.name, "word": word });
                    let one = found.entry((row.key, sink)).or_insert_with(first);
                    one["told_by"].as_array_mut().into_iter().for_each(|all| all.push(told.clone()));
                }
            }
            Ok(())
        });
        let mut found: Vec<Value> = found.into_inner().into_values().collect();
        found.sort_by_cached_key(|one| {
            (output::cell(&one["made"]), output::cell(&one["record"]), output::cell(&one["sink"]))
        });
        let count = found.len() as u64;
        found.truncate(wish.max);
        (found, count)
    }
}

/// Asks for a time in parts, none of which has more records than are told at once.
async fn parts(
    range: &Range,
    ask: impl AsyncFn(Timestamp, Timestamp) -> Result<Value, AskError>,
    take: impl Fn(&Value) -> Result<(), AskError>,
) -> Result<(), AskError> {
    let mut todo = vec![(range.from, range.to)];
    while let Some((from, to)) = todo.pop() {
        let answer = ask(from, to).await?;
        if answer["too_many"] != true {
            take(&answer)?;
            continue;
        }
        // Names of records have milliseconds.
        let middle = Timestamp((from.0 / 2 + to.0 / 2) / MILLISECOND * MILLISECOND);
        if middle <= from || middle >= to {
            return Err(AskError::Failed("more records of one millisecond than are told at once".to_owned()));
        }
        todo.extend([(middle, to), (from, middle)]);
    }
    Ok(())
}

/// In microseconds.
const MILLISECOND: i64 = 1_000;

/// Numbers of the sinks that are wanted, by name.
fn sinks<'l>(ledgers: &'l Ledgers, wish: &Wish) -> Vec<(usize, &'l str)> {
    let only = wish.sink.as_deref();
    let mut sinks: Vec<(usize, &str)> = ledgers.sinks.iter().map(String::as_str).enumerate().collect();
    sinks.retain(|(_, name)| only.is_none_or(|only| only == *name));
    sinks.sort_by_key(|(_, name)| *name);
    sinks
}

/// What is not as it should be, in words.
fn wanting(ledgers: &Ledgers, wish: &Wish) -> Vec<String> {
    let mut wanting = Vec::new();
    if !ledgers.is_known {
        wanting.push("no ledger has a file of that time".to_owned());
    }
    let counts = ledgers.counts();
    for (sink, name) in sinks(ledgers, wish) {
        let of = |place: &Whereabouts| counts[sink][*place as usize];
        let open = Whereabouts::ALL.iter().filter(|place| !place.is_good() && of(place) > 0);
        let open: Vec<String> = open.map(|place| format!("{} {}", of(place), place.name().replace('_', " "))).collect();
        if !open.is_empty() {
            wanting.push(format!("`{name}`: {} of {} records", open.join(", "), counts[sink].iter().sum::<u64>()));
        }
    }
    let never = ledgers.never_committed.iter().filter(|(_, count)| **count > 0);
    wanting.extend(never.map(|((who, why), count)| format!("{who}: {count} records never came into the queue: {why}")));
    wanting.extend(ledgers.lacks.iter().cloned());
    wanting
}

fn to_json(
    answers: &Answers,
    ledgers: &Ledgers,
    (wish, wanting): (&Wish, &[String]),
    listed: Option<&(Vec<Value>, u64)>,
) -> Value {
    let counts = ledgers.counts();
    let sink = |(sink, name): (usize, &str)| {
        let mut json = json!({ "sink": name, "records": counts[sink].iter().sum::<u64>() });
        for place in Whereabouts::ALL {
            json[place.name()] = counts[sink][place as usize].into();
        }
        json
    };
    let mut json = json!({
        "complete": answers.is_complete() && wanting.is_empty(), "trouble": answers.trouble, "range": wish.range.title,
        "from": wish.range.from.to_string(), "to": wish.range.to.to_string(),
        "sinks": sinks(ledgers, wish).into_iter().map(sink).collect::<Vec<_>>(), "wanting": wanting,
        "members": answers.json(false),
    });
    if let Some((records, total)) = listed {
        json["records"] = records.clone().into();
        json["total"] = (*total).into();
    }
    json
}

fn text(
    answers: &Answers,
    ledgers: &Ledgers,
    (wish, wanting): (&Wish, &[String]),
    listed: Option<&(Vec<Value>, u64)>,
) -> String {
    if let Some((records, total)) = listed {
        let rows: Vec<Vec<String>> = records.iter().map(line).collect();
        let mut text = output::table(&LIST_HEADS, &rows);
        let more = total - records.len() as u64;
        if more > 0 {
            text.push_str(&format!("{more} more; `--max` lists them\n"));
        }
        return text;
    }
    let counts = ledgers.counts();
    let rows: Vec<Vec<String>> = sinks(ledgers, wish)
        .into_iter()
        .map(|(sink, name)| {
            let counts = std::iter::once(counts[sink].iter().sum()).chain(counts[sink]);
            std::iter::once(name.to_owned()).chain(counts.map(|count: u64| count.to_string())).collect()
        })
        .collect();
    let heads = Whereabouts::ALL.map(|place| place.name().to_uppercase().replace('_', " "));
    let heads: Vec<&str> = ["SINK", "RECORDS"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let mut text = format!("{}\n\n{}\n", wish.range.title, output::table(&heads, &rows));
    text.push_str(match (wanting.is_empty(), answers.is_complete()) {
        (true, true) => "complete\n",
        (true, false) => "complete, as far as they answer:\n",
        (false, _) => "incomplete:\n",
    });
    wanting.iter().for_each(|one| text.push_str(&format!("  {}\n", output::shown(one))));
    for told in answers.all.iter().filter(|told| told.missing().is_some()) {
        text.push_str(&format!("  {} does not answer: what it alone knows is not in this\n", told.title()));
    }
    text
}

const LIST_HEADS: [&str; 7] = ["MADE", "KIND", "CALL-ID", "SINK", "PLACE", "TOLD BY", "ID"];

fn line(one: &Value) -> Vec<String> {
    let told = one["told_by"].as_array().into_iter().flatten();
    let told: Vec<String> =
        told.map(|own| format!("{}: {}", output::cell(&own["name"]), output::cell(&own["word"]))).collect();
    let place = output::cell(&one["place"]).replace('_', " ");
    let text = |key: &str| output::cell(&one[key]);
    let cells = [text("made"), text("kind"), text("call_id"), text("sink"), place, told.join("; "), text("record")];
    cells.iter().map(|cell| output::shown(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_where_the_last_who_has_it_says() {
        for (gateway, deliverer, want) in [
            (Some('h'), Some('d'), Whereabouts::Delivered),
            (None, Some('d'), Whereabouts::Delivered),
            (Some('w'), Some('d'), Whereabouts::Delivered),
            (Some('h'), Some('h'), Whereabouts::HandedOver),
            (Some('h'), Some('s'), Whereabouts::Settled),
            (Some('h'), Some('x'), Whereabouts::Superseded),
            (Some('x'), None, Whereabouts::Superseded),
            (Some('w'), None, Whereabouts::AtGateway),
            (Some('h'), None, Whereabouts::InStream),
            (Some('s'), None, Whereabouts::InStream),
            (Some('h'), Some('o'), Whereabouts::InStream),
            (Some('h'), Some('l'), Whereabouts::InStream),
            (Some('h'), Some('w'), Whereabouts::WithDeliverer),
            (Some('h'), Some('p'), Whereabouts::Parked),
            (Some('p'), None, Whereabouts::Parked),
            (Some('h'), Some('u'), Whereabouts::Dropped),
            (Some('r'), None, Whereabouts::Dropped),
            (Some('l'), None, Whereabouts::Lost),
        ] {
            assert_eq!(Whereabouts::of([gateway, deliverer]), want, "{gateway:?} {deliverer:?}");
        }
    }

    fn member(role: Role, name: &str) -> Member {
        Member { role, name: name.to_owned() }
    }

    fn answer(records: Value) -> Value {
        json!({ "known": true, "sinks": ["a", "b"], "records": records, "gaps": [], "never_committed": [], "unwritten": null })
    }

    #[test]
    fn what_two_gateways_and_two_deliverers_say_is_one_record() {
        let (start, stop, twin) = (RecordId(1).to_string(), RecordId(2).to_string(), RecordId(3).to_string());
        let end = "000000000000000000000000000000ff";
        let mut ledgers = Ledgers::default();
        let said = [
            (member(Role::Gateway, "gw1"), json!([[start, null, "start", "c", "hw"], [stop, end, "stop", "c", "h-"]])),
            // It has ended the call too: the stream has one of the two.
            (member(Role::Gateway, "gw2"), json!([[twin, end, "stop", "c", "h-"]])),
            (member(Role::Deliverer, "one"), json!([[start, null, "start", "c", "o-"]])),
            (
                member(Role::Deliverer, "two"),
                json!([[start, null, "start", "c", "d-"], [stop, end, "stop", "c", "d-"]]),
            ),
        ];
        for (member, records) in &said {
            ledgers.take(member, &answer(records.clone())).unwrap();
        }
        let range = Range { from: Timestamp(0), to: Timestamp(9), title: "then".to_owned() };
        let wish = |sink: Option<&str>| Wish {
            range: range.clone(),
            sink: sink.map(str::to_owned),
            lists: false,
            max: 9,
            json: false,
        };
        assert_eq!(wanting(&ledgers, &wish(Some("a"))), [""; 0]);
        assert_eq!(wanting(&ledgers, &wish(None)), ["`b`: 1 at gateway of 1 records"]);
        assert_eq!(ledgers.counts()[0][Whereabouts::Delivered as usize], 2);
        let gap = json!({ "known": true, "gaps": ["a gap"], "never_committed": [{ "reason": "full", "records": 3 }] });
        ledgers.take(&said[0].0, &gap).unwrap();
        ledgers.take(&said[0].0, &gap).unwrap();
        let told = wanting(&ledgers, &wish(Some("a")));
        assert_eq!(told.iter().filter(|one| one.contains("a gap")).count(), 1, "{told:?}");
        assert!(told[0].contains("gateway `gw1`: 6 records never came into the queue: full"), "{told:?}");
        for wrong in [json!([["x", null, "start", "c", "d"]]), json!([[1]]), json!([[start, "zz", "stop", "c", "d"]])] {
            assert_eq!(ledgers.take(&said[0].0, &answer(wrong)), Err(AskError::Unreadable));
        }
    }

    /// Asks for all of a time of a ledger with records at these microseconds, which tells of three at once: what was told,
    /// and how often it was asked.
    fn told(records: &[i64], (from, to): (i64, i64)) -> (Result<Vec<i64>, AskError>, usize) {
        let range = Range { from: Timestamp(from), to: Timestamp(to), title: String::new() };
        let (told, asked) = (RefCell::new(Vec::new()), RefCell::new(0));
        let ask = async |from: Timestamp, to: Timestamp| {
            *asked.borrow_mut() += 1;
            let records: Vec<i64> = records.iter().copied().filter(|at| (from.0..to.0).contains(at)).collect();
            let too_many = records.len() > 3;
            Ok(json!({ "too_many": too_many, "records": if too_many { Vec::new() } else { records } }))
        };
        let take = |answer: &Value| {
            told.borrow_mut().extend(answer["records"].as_array().into_iter().flatten().filter_map(Value::as_i64));
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let done = runtime.block_on(parts(&range, ask, take));
        (done.map(|()| told.into_inner()), asked.into_inner())
    }

    #[test]
    fn a_time_with_many_records_is_asked_for_in_parts_that_meet() {
        let day = (1_700_000_000_000_000, 1_700_086_400_000_000);
        let every = |step: i64| -> Vec<i64> { (0..40).map(|number| day.0 + number * step).collect() };
        for (name, records, asked_max) in [
            ("none", Vec::new(), 1),
            ("spread over the day", every(2_160_000_000), 63),
            ("all in one second, in milliseconds", every(1_000), 200),
            ("before 1970 and behind it", vec![-9_000, -5_000, -1_000, 0, 3_000, 8_000], 200),
        ] {
            let range = if records.first().is_some_and(|first| *first < 0) { (-10_000, 10_000) } else { day };
            let (told, asked) = told(&records, range);
            assert_eq!(told, Ok(records), "{name}: in their order, and each once");
            assert!(asked <= asked_max, "{name}: {asked}");
        }
        let (told, _) = told(&[day.0 + 500; 4], day);
        assert!(matches!(told, Err(AskError::Failed(why)) if why.contains("one millisecond")));
    }
}
