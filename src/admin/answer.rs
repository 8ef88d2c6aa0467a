//! What the queue and the calls look like in JSON. Nothing in it is secret: records hold no passwords.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Reloaded;
use crate::accounting::{CallView, Parties};
use crate::clock::{self, Timestamp};
use crate::ids::SinkNumber;
use crate::policy::script::trace::{self, Found};
use crate::queue::{self, Item, Page, SinkStats, Stats};
use crate::record::codec;
use crate::shard::ladder::{Ladder, Traced, Way};
use crate::sinks::trial::millis;
use crate::sinks::view::Backend;
use crate::sip::stack::Outage;

/// The state of the queue. Sums over all sinks stand at the top, so that one look tells whether the balance holds.
#[must_use]
pub fn stats_json(stats: &Stats) -> Value {
    let sum = |count: fn(&SinkStats) -> u64| stats.sinks.iter().map(count).sum::<u64>();
    json!({
        "balanced": stats.balanced(),
        "carried": sum(|sink| sink.balance.carried),
        "appended": sum(|sink| sink.balance.appended),
        "delivered": sum(|sink| sink.balance.delivered),
        "parked": sum(|sink| sink.balance.parked),
        "dropped": sum(|sink| sink.balance.dropped),
        "superseded": sum(|sink| sink.balance.superseded),
        "lost": sum(|sink| sink.balance.lost),
        "waiting": sum(|sink| sink.balance.waiting),
        "troubles": stats.troubles.iter().map(queue::Trouble::name).collect::<Vec<_>>(),
        "alarm": stats.alarm(),
        "losses": losses_json(stats),
        "sinks": stats.sinks.iter().map(sink_json).collect::<Vec<_>>(),
        "records": {
            "appended": stats.appended, "appended_bytes": stats.appended_bytes, "unwritten": stats.unwritten,
            "held": stats.held, "held_bytes": stats.held_bytes, "lost": stats.losses.total(), "salvaged": stats.salvaged,
        },
        "calls": stats.calls,
        "commits": {
            "count": stats.commits, "failed": stats.commits_failed, "last_s": seconds(stats.commit_last),
            "longest_s": seconds(stats.commit_longest), "sum_s": seconds(stats.commit_sum),
        },
        "disk": {
            "spools": stats.spools, "bytes": stats.disk_bytes, "free_bytes": stats.free_bytes,
            "damaged": stats.damaged, "salvaging": stats.salvaging, "head": stats.head,
        },
    })
}

/// Records lost since the queue was made, each reason in words.
pub(super) fn losses_json(stats: &Stats) -> Value {
    let one =
        |(why, records): (queue::Loss, u64)| json!({ "reason": why.name(), "text": why.text(), "records": records });
    stats.losses.iter().map(one).collect()
}

fn sink_json(sink: &SinkStats) -> Value {
    let balance = &sink.balance;
    json!({
        "sink": sink.name, "configured": sink.configured, "carried": balance.carried, "appended": balance.appended,
        "delivered": balance.delivered, "parked": balance.parked, "dropped": balance.dropped,
        "superseded": balance.superseded, "lost": balance.lost,
        "waiting": balance.waiting, "waiting_bytes": sink.waiting_bytes, "oldest_s": seconds(sink.oldest),
        "leased": sink.leased, "backing_off": sink.backing_off, "parked_now": sink.parked_now, "retries": sink.retries,
    })
}

/// A sink with the state of its servers.
#[must_use]
pub fn backend_json(backend: &Backend) -> Value {
    let servers = (backend.views)().into_iter().map(|server| {
        let counts: Map<_, _> =
            server.counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        json!({
            "server": server.server, "state": server.state, "since_s": seconds(server.since),
            "in_flight": server.in_flight, "window": server.window, "connections": server.connections,
            "round_trip_ms": server.round_trip.map(millis), "note": server.note, "counts": counts,
        })
    });
    json!({ "sink": backend.sink, "kind": backend.kind, "servers": servers.collect::<Vec<_>>() })
}

/// A SIP destination that is down.
#[must_use]
pub fn outage_json(outage: &Outage) -> Value {
    let destination = format!("{}:{}", outage.transport.via_token().to_ascii_lowercase(), outage.addr);
    json!({
        "destination": destination, "since_s": seconds(clock::mono().since(outage.since)), "probes": outage.probes,
    })
}

/// What became of a reload.
#[must_use]
pub fn reloaded_json(reloaded: &Reloaded) -> Value {
    match reloaded {
        Reloaded::Done { warnings, restart } => {
            let restart: Vec<_> = restart.iter().map(|(what, place)| json!({ "what": what, "place": place })).collect();
            json!({ "reloaded": true, "warnings": warnings, "restart": restart })
        }
        Reloaded::Refused { mistakes } => json!({ "reloaded": false, "mistakes": mistakes }),
    }
}

/// Records of a page, and where the next one begins.
#[must_use]
pub fn page_json(page: &Page, stats: &Stats, next: Option<String>) -> Value {
    let items: Vec<_> = page.items.iter().map(|item| item_json(item, stats)).collect();
    json!({ "items": items, "next": next })
}

/// A page whose items hold the encoded record in `body`, in hexadecimal, so that it can be put back.
#[must_use]
pub fn whole_json(page: &Page, stats: &Stats, next: Option<String>) -> Value {
    let item = |item: &Item| {
        let mut value = item_json(item, stats);
        value["body"] = hex(&item.body).into();
        value
    };
    json!({ "items": page.items.iter().map(item).collect::<Vec<_>>(), "next": next })
}

/// A record as the operator sees it.
#[must_use]
pub fn item_json(item: &Item, stats: &Stats) -> Value {
    let name = |number: SinkNumber| {
        let found = stats.sinks.iter().find(|sink| sink.sink == number);
        found.map_or_else(|| format!("#{}", number.0), |sink| sink.name.clone())
    };
    let mut map = Map::new();
    map.insert("seq".into(), item.seq.0.into());
    map.insert("id".into(), item.id.to_string().into());
    map.insert("appended".into(), item.appended.to_string().into());
    map.insert("age_s".into(), seconds(clock::wall().since(item.appended)));
    let state = if item.parked.is_some() { "parked" } else { "waiting" };
    map.insert("state".into(), state.into());
    let sinks = item.waiting.iter().map(|waiting| {
        json!({
            "sink": name(waiting.sink), "leased": waiting.leased, "attempts": waiting.attempts,
            "reason": waiting.reason, "due_in_s": waiting.due_in.map(seconds),
        })
    });
    let sinks: Vec<_> = match &item.parked {
        None => sinks.collect(),
        Some(parked) => vec![json!({
            "sink": name(parked.sink), "reason": parked.reason, "code": parked.code, "attempts": parked.attempts,
            "first_tried": parked.first_tried.map(|time| time.to_string()), "parked": parked.when.to_string(),
        })],
    };
    map.insert("sinks".into(), sinks.into());
    match codec::decode(&item.body) {
        Ok(record) => map.insert("record".into(), record.to_json()),
        Err(error) => {
            map.insert("body".into(), hex(&item.body).into());
            map.insert("unreadable".into(), error.to_string().into())
        }
    };
    map.into()
}

/// A call in progress.
#[must_use]
pub fn call_json(call: &CallView) -> Value {
    serde_json::to_value(CallTold::of(call, clock::wall())).unwrap_or_default()
}

/// Calls in progress. There may be thousands: they are written down at once, without a tree of values before.
#[derive(Debug, Serialize)]
pub(super) struct CallsTold {
    /// How many there are in all.
    pub total: usize,
    /// Those that are told.
    #[serde(serialize_with = "each")]
    pub calls: Vec<CallView>,
}

fn each<S: Serializer>(calls: &[CallView], serializer: S) -> Result<S::Ok, S::Error> {
    let now = clock::wall();
    serializer.collect_seq(calls.iter().map(|call| CallTold::of(call, now)))
}

/// What is told of a call; of what is not known, nothing.
#[derive(Serialize)]
struct CallTold<'a> {
    session: &'a str,
    from: Option<Cow<'a, str>>,
    to: Option<Cow<'a, str>>,
    target: Option<Cow<'a, str>>,
    call_id: Cow<'a, str>,
    from_tag: Cow<'a, str>,
    to_tag: Cow<'a, str>,
    created: InWords,
    answered: Option<InWords>,
    ending: bool,
    duration_s: Option<i64>,
}

impl<'a> CallTold<'a> {
    fn of(call: &'a CallView, now: Timestamp) -> Self {
        let text = String::from_utf8_lossy;
        let known = |octets: &'a Vec<u8>| (!octets.is_empty()).then(|| text(octets));
        let Parties { from, to, target } = &call.parties;
        Self {
            session: &call.session,
            from: known(from),
            to: known(to),
            target: known(target),
            call_id: text(&call.call_id),
            from_tag: text(&call.from_tag),
            to_tag: text(&call.to_tag),
            created: InWords(call.created),
            answered: call.answered.map(InWords),
            ending: call.is_ending,
            duration_s: call.answered.map(|time| now.0.saturating_sub(time.0).max(0) / 1_000_000),
        }
    }
}

/// An instant as it is shown.
struct InWords(Timestamp);

impl Serialize for InWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The messages of a call.
#[must_use]
pub fn ladder_json(ladder: &Ladder) -> Value {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let steps = ladder.steps.iter().map(|step| {
        let transport = step.local.map_or_else(String::new, |local| local.transport.via_token().to_ascii_lowercase());
        let of = |address: SocketAddr| format!("{transport}:{address}");
        json!({
            "time": step.at.to_string(), "way": match step.way { Way::In => "in", Way::Out => "out" }, "peer": of(step.peer),
            "local": step.local.map(|local| of(local.local)), "code": (step.code > 0).then_some(step.code),
            "method": text(&step.method), "text": text(&step.text), "cseq": step.cseq,
        })
    });
    json!({
        "call_id": text(&ladder.call_id), "from": text(&ladder.from), "messages": steps.collect::<Vec<_>>(),
        "messages_left_out": ladder.left_out,
    })
}

/// A call whose messages are kept.
#[must_use]
pub fn traced_json(call: &Traced) -> Value {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    json!({
        "call_id": text(&call.call_id), "from": text(&call.from), "uri": text(&call.uri), "begun": call.begun.to_string(),
        "last": call.last.to_string(), "code": call.code, "messages": call.messages,
    })
}

/// What handlers of the script have decided.
#[must_use]
pub fn trace_json(found: &Found) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let turns = found.turns.iter().map(|turn| {
        let steps = turn.steps.iter().map(|step| {
            let line = (step.line > 0).then_some(step.line);
            json!({ "line": line, "step": step.text, "result": step.result })
        });
        let (outcome, reply) = match turn.outcome {
            trace::Outcome::Nothing => ("none", None),
            trace::Outcome::Relay => ("relay", None),
            trace::Outcome::Reply(code) => ("reply", Some(code)),
            trace::Outcome::Drop => ("drop", None),
            trace::Outcome::Tables => ("routes", None),
            trace::Outcome::AsPlanned => ("as-planned", None),
        };
        json!({
            "time": turn.at.to_string(), "call_id": turn.call_id, "handler": turn.handler, "method": known(&turn.method),
            "in_dialog": turn.in_dialog, "from": known(&turn.from), "uri": known(&turn.uri), "code": turn.code,
            "steps": steps.collect::<Vec<_>>(), "steps_left_out": turn.left_out, "outcome": outcome, "reply": reply,
            "route": known(&turn.route), "error": known(&turn.error), "micros": u64::try_from(turn.span.as_micros()).ok(),
            "loaded": turn.loaded.to_string(),
        })
    });
    json!({
        "turns": turns.collect::<Vec<_>>(), "total": found.total, "trace_turns": found.keeps,
        "oldest": found.oldest.map(|oldest| oldest.to_string()),
    })
}

/// Seconds with milliseconds.
pub(super) fn seconds(span: Duration) -> Value {
    let millis = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    (f64::from(millis) / 1000.0).into()
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _infallible = write!(text, "{octet:02x}");
        text
    })
}
