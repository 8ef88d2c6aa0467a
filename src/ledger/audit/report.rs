//! The result of an audit.

use serde_json::{Value, json};

use super::Range;
use super::read::Gap;
use super::tally::{Hour, Tally};
use crate::ledger::row::Fate;
use crate::ledger::{ANSWERS_UNSAFE, LOST_PREFIX, REFUSED_PREFIX};

/// What became of the records that one sink wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SinkAudit {
    /// Its name.
    pub sink: String,
    /// Calls it was to get something of.
    pub calls: u64,
    /// Records.
    pub records: u64,
    /// Of these: acknowledged as stored.
    pub delivered: u64,
    /// Acknowledged as taken, without a word about what becomes of them.
    pub handed_over: u64,
    /// Settled by the queue; a process that was killed could not write down how.
    pub settled: u64,
    /// Waiting.
    pub waiting: u64,
    /// Parked.
    pub parked: u64,
    /// Dropped by an operator, those included that were under way.
    pub dropped: u64,
    /// Dropped while the backend had them: they may have been stored.
    pub under_way: u64,
    /// Made needless by a later record of their session.
    pub superseded: u64,
    /// Not given back by the queue's disk.
    pub lost: u64,
    /// Who dropped how many, and why.
    pub dropped_by: Vec<(String, u64)>,
    /// The last running number of each day, in UTC.
    pub numbers: Vec<(String, u64)>,
}

impl SinkAudit {
    /// Whether all of them are where they belong.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.waiting + self.parked + self.dropped + self.lost == 0
    }
}

/// What is wanting when the running gateway could not write down what it holds.
pub const UNWRITTEN: &str = "what the gateway has in memory is not in its ledger yet";

/// The result of an audit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Of which time.
    pub range: Range,
    /// Calls of which there is a record.
    pub calls: u64,
    /// Records, each counted once however many sinks want it.
    pub records: u64,
    /// By name.
    pub sinks: Vec<SinkAudit>,
    /// The hours of a day; of a longer time none.
    pub hours: Vec<Hour>,
    /// Calls that were refused, by reason.
    pub refused: Vec<(String, u64)>,
    /// Responses that left before their record was on disk.
    pub answers_unsafe: u64,
    /// Records that the queue never had on its disk, by reason.
    pub uncommitted: Vec<(String, u64)>,
    /// Processes that began behind one that was killed.
    pub unclean: u64,
    /// What the ledger lacks.
    pub gaps: Vec<Gap>,
    /// Whether there is a file for no day of the range.
    pub is_unknown: bool,
    /// Why it lacks what the running gateway has not written yet; `None`: it does not.
    pub unwritten: Option<String>,
}

impl Audit {
    /// The result of what was read, for one sink or all.
    #[must_use]
    pub fn of(range: Range, tally: &Tally, only: Option<&str>) -> Self {
        let mut sinks: Vec<SinkAudit> = (0..tally.sinks().len()).map(|sink| of_sink(tally, sink)).collect();
        sinks.retain(|sink| sink.records > 0 && only.is_none_or(|only| only == sink.sink));
        sinks.sort_by(|a, b| a.sink.cmp(&b.sink));
        let named = |prefix: &str| -> Vec<(String, u64)> {
            let counts = tally.counts().iter().filter(|(_, count)| **count > 0);
            counts.filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.to_owned(), *count))).collect()
        };
        Self {
            range,
            calls: tally.all_calls(),
            records: tally.records(),
            sinks,
            hours: tally.hours(),
            refused: named(REFUSED_PREFIX),
            answers_unsafe: tally.counts().get(ANSWERS_UNSAFE).copied().unwrap_or(0),
            uncommitted: named(LOST_PREFIX),
            unclean: tally.unclean(),
            gaps: tally.gaps().to_vec(),
            is_unknown: tally.days().is_empty(),
            unwritten: None,
        }
    }

    /// Whether every record of the time is where it belongs, as far as the ledger knows, and it knows of all.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.wanting().is_empty()
    }

    /// What is not as it should be, in words.
    #[must_use]
    pub fn wanting(&self) -> Vec<String> {
        let mut wanting = Vec::new();
        wanting.extend(self.unwritten.as_ref().map(|why| format!("{UNWRITTEN}: {why}")));
        if self.is_unknown {
            wanting.push(
                "the ledger has no file of that time: the gateway did not run, or it is longer ago than `ledger.days`"
                    .to_owned(),
            );
        }
        for sink in self.sinks.iter().filter(|sink| !sink.is_complete()) {
            let parts = [
                (sink.waiting, "wait"),
                (sink.parked, "are parked"),
                (sink.dropped, "were dropped"),
                (sink.lost, "are lost"),
            ];
            let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
            wanting.push(format!(
                "`{}`: {} of {} records",
                sink.sink,
                parts.collect::<Vec<_>>().join(", "),
                sink.records
            ));
        }
        let uncommitted = self.uncommitted.iter();
        wanting.extend(uncommitted.map(|(why, count)| format!("{count} records never came into the queue: {why}")));
        wanting.extend(self.gaps.iter().map(Gap::text));
        wanting
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let pairs = |pairs: &[(String, u64)], key: &str, count: &str| -> Vec<Value> {
            pairs.iter().map(|(name, number)| json!({ key: name, count: number })).collect()
        };
        let sinks: Vec<Value> = self
            .sinks
            .iter()
            .map(|sink| {
                json!({
                    "sink": sink.sink, "complete": sink.is_complete(), "calls": sink.calls, "records": sink.records,
                    "delivered": sink.delivered, "handed_over": sink.handed_over, "settled": sink.settled,
                    "waiting": sink.waiting, "parked": sink.parked, "dropped": sink.dropped,
                    "may_have_been_stored": sink.under_way, "superseded": sink.superseded, "lost": sink.lost,
                    "dropped_by": pairs(&sink.dropped_by, "who", "records"),
                    "numbers": pairs(&sink.numbers, "day", "last"),
                })
            })
            .collect();
        let hour =
            |own: &Hour| json!({ "from": own.from.to_string(), "calls": own.calls, "incomplete": own.incomplete });
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .map(|gap| {
                let records = gap.records.iter().map(|(sink, count)| json!({ "sink": **sink, "records": count }));
                json!({ "day": gap.day.to_string(), "from": gap.from.to_string(), "why": gap.why, "missing": records.collect::<Vec<_>>() })
            })
            .collect();
        json!({
            "complete": self.is_complete(), "range": self.range.title, "from": self.range.from.to_string(),
            "to": self.range.to.to_string(), "calls": self.calls, "records": self.records, "sinks": sinks,
            "hours": self.hours.iter().map(hour).collect::<Vec<_>>(),
            "refused_calls": pairs(&self.refused, "reason", "calls"), "answers_before_commit": self.answers_unsafe,
            "never_committed": pairs(&self.uncommitted, "reason", "records"), "unclean_starts": self.unclean,
            "gaps": gaps, "unwritten": self.unwritten, "wanting": self.wanting(),
        })
    }

    /// A line for each sink, with heads.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let row = |sink: &SinkAudit| {
            let counts = [
                sink.calls,
                sink.records,
                sink.delivered,
                sink.handed_over,
                sink.settled,
                sink.waiting,
                sink.parked,
                sink.dropped,
                sink.under_way,
                sink.superseded,
                sink.lost,
            ];
            std::iter::once(sink.sink.clone()).chain(counts.map(|count| count.to_string())).collect()
        };
        self.sinks.iter().map(row).collect()
    }

    /// The heads of [`Audit::rows`], in lower case.
    pub const HEADS: [&'static str; 12] = [
        "sink",
        "calls",
        "records",
        "delivered",
        "handed over",
        "settled",
        "waiting",
        "parked",
        "dropped",
        "maybe stored",
        "superseded",
        "lost",
    ];
}

fn of_sink(tally: &Tally, sink: usize) -> SinkAudit {
    let fates = tally.fates(sink);
    let of = |fate: Fate| fates[fate as usize];
    let name = &tally.sinks()[sink];
    let dropped_by = tally.dropped_by().filter(|(own, ..)| own == name);
    let numbers = tally.numbers().filter(|(_, own, _)| own == name);
    SinkAudit {
        sink: name.clone(),
        calls: tally.calls(sink),
        records: fates.iter().sum(),
        delivered: of(Fate::Delivered),
        handed_over: of(Fate::HandedOver),
        settled: of(Fate::Settled),
        waiting: of(Fate::Waiting),
        parked: of(Fate::Parked),
        dropped: of(Fate::Dropped) + of(Fate::DroppedUnderWay),
        under_way: of(Fate::DroppedUnderWay),
        superseded: of(Fate::Superseded),
        lost: of(Fate::Lost),
        dropped_by: dropped_by.map(|(_, who, count)| (who.to_owned(), count)).collect(),
        numbers: numbers.map(|(day, _, last)| (day.to_string(), last)).collect(),
    }
}
