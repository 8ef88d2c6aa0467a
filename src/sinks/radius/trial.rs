//! One test record to the servers of a sink, outside of the queue, with everything that goes and comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Carrier, RadiusSink, Settings};
use crate::clock::{self, Instant};
use crate::dictionary::{Dictionary, Input as Text};
use crate::ids::{CallHash, Seq};
use crate::queue::Settlement;
use crate::radius::client::{Health, Input, LaneId, Probing, ServerIndex, ServerStatus, Submission};
use crate::radius::number;
use crate::radius::packet::{Attributes, HEADER_OCTETS, Packet};
use crate::record::Record;
use crate::sinks::Sink;
use crate::sinks::trial::{self, Message, Reached, Trial, TrialError, Verdict, Wanted, record};

/// What goes and comes on the lanes, for a test record.
#[derive(Debug, Default)]
pub(super) struct Tap {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    server: ServerIndex,
    at: Instant,
    is_answer: bool,
    octets: Vec<u8>,
}

impl Tap {
    /// Notes a request; probes are no part of it.
    pub(super) fn sent(&mut self, server: ServerIndex, lane: LaneId, octets: &[u8]) {
        self.see(server, lane, octets, false);
    }

    /// Notes an answer.
    pub(super) fn came(&mut self, input: &Input<'_>) {
        if let Input::Received { server, lane, datagram } = *input {
            self.see(server, lane, datagram, true);
        }
    }

    fn see(&mut self, server: ServerIndex, lane: LaneId, octets: &[u8], is_answer: bool) {
        if lane != LaneId::PROBE && self.seen.len() < SEEN_MAX {
            self.seen.push(Seen { server, at: clock::mono(), is_answer, octets: octets.to_vec() });
        }
    }
}

/// Sends one test record as the sink called `name` would.
///
/// # Errors
/// When an attribute or a value is not good, or the sink's settings are not.
pub async fn send(name: &str, settings: &Settings, wanted: &Wanted) -> Result<Trial, TrialError> {
    let mut attributes = Vec::new();
    let replaced = encode(&settings.dictionary, &wanted.attributes, &mut attributes)?;
    let record = record(wanted.kind);
    let mut sink = RadiusSink::new(name, settings).map_err(|error| TrialError::Setup { why: error.to_string() })?;
    let (rendered, _) = sink.renderer.render(&record);
    let mut all = without(rendered, &replaced, &settings.dictionary);
    all.extend_from_slice(&attributes);
    sink.tap = Some(Tap::default());
    let settlement = deliver(&mut sink, &record, &all, wanted.wait).await;
    let addresses: Vec<SocketAddr> = settings.client.servers.iter().map(|server| server.address).collect();
    let seen = sink.tap.take().unwrap_or_default().seen;
    let is_named = Attributes::of(&all).any(|attribute| attribute.number == number::USER_NAME);
    let warning = (!is_named).then_some(NAMELESS);
    let verdict = match settlement {
        None => Verdict::Undecided { reason: undecided(&sink, wanted.wait) },
        Some(settlement) => settlement.into(),
    };
    let seen = seen.into_iter().map(|Seen { server, at, is_answer, octets }| trial::Seen {
        key: server,
        at,
        is_answer,
        server: addresses.get(usize::from(server.0)).map_or_else(String::new, ToString::to_string),
        message: message(&octets, &settings.dictionary),
    });
    Ok(Trial { exchanges: trial::exchanges(seen), verdict, warning })
}

/// Asks every server with Status-Server (RFC 5997), over TCP and TLS on a connection, and waits for the answers.
///
/// # Errors
/// When the sink's settings are not good.
pub async fn ask(name: &str, settings: &Settings, wait: Duration) -> Result<Vec<Reached>, TrialError> {
    let mut settings = settings.clone();
    settings.client.probing = Probing::Auto;
    let is_stream = !matches!(settings.carrier, Carrier::Udp);
    let mut sink = RadiusSink::new(name, &settings).map_err(|error| TrialError::Setup { why: error.to_string() })?;
    let mut outcomes = Vec::new();
    let is_reached = move |server: &ServerStatus| match is_stream {
        true => server.counters.probe_answers > 0,
        false => server.health == Health::Alive,
    };
    let work = async {
        if !is_stream {
            let now = clock::now();
            sink.client.doubt_all(now, &mut sink.wanted);
            sink.perform(now);
        }
        // Who is not there will not be within the wait either.
        let is_settled = |server: &ServerStatus| is_reached(server) || server.counters.unreachable > 0;
        while !sink.client.status().all(|server| is_settled(&server)) {
            let _looked = timeout(LOOK_AGAIN, sink.progress(&mut outcomes)).await;
            if is_stream {
                let now = clock::now();
                sink.client.ask_all(now, &mut sink.wanted);
                sink.perform(now);
            }
        }
    };
    let _in_time = timeout(wait, work).await;
    let reason = |server: &ServerStatus, trouble: Option<&str>| {
        if is_stream && server.lanes > 0 {
            let secs = wait.as_secs();
            format!("the connection stands, but Status-Server was not answered within {secs} s")
        } else if let Some(trouble) = trouble {
            format!("no connection: {trouble}")
        } else if server.counters.bad_authenticator > 0 {
            "its answer does not verify: the secrets differ".to_owned()
        } else if server.counters.unreachable > 0 {
            "nobody listens there".to_owned()
        } else {
            let secs = wait.as_secs();
            format!(
                "no answer within {secs} s: not running, no Status-Server, its client list lacks this host, or the secrets differ"
            )
        }
    };
    let reached = |(server, trouble): (ServerStatus, Option<&str>)| {
        let outcome = if is_reached(&server) { Ok(Vec::new()) } else { Err(reason(&server, trouble)) };
        (server.address.to_string(), outcome)
    };
    Ok(sink.client.status().zip(sink.client.troubles()).map(reached).collect())
}

/// The attributes asked for, encoded; gives their names as the dictionary spells them.
fn encode(
    dictionary: &Arc<Dictionary>,
    wanted: &[(String, String)],
    out: &mut Vec<u8>,
) -> Result<Vec<String>, TrialError> {
    let usage = |what: String| TrialError::Usage { what };
    let mut names = Vec::new();
    for (name, value) in wanted {
        let Some(attribute) = dictionary.attribute(name) else {
            let hint =
                dictionary.nearest(name).map_or_else(String::new, |near| format!("\nhint: did you mean `{near}`?"));
            return Err(usage(format!("no attribute `{name}` in the dictionary of this sink{hint}")));
        };
        if let Some(why) = attribute.refusal() {
            return Err(usage(format!("`{name}` cannot be sent: {why}")));
        }
        attribute.encode(Text::Text(value.as_bytes()), out).map_err(|error| usage(error.to_string()))?;
        names.push(attribute.name().to_owned());
    }
    Ok(names)
}

/// The attributes that none of the names stands for.
fn without(attributes: &[u8], names: &[String], dictionary: &Dictionary) -> Vec<u8> {
    let mut kept = Vec::new();
    for attribute in Attributes::of(attributes) {
        let mut octets = Vec::with_capacity(attribute.value.len() + 2);
        crate::radius::packet::push(&mut octets, attribute.number, attribute.value);
        if !dictionary.decode(&octets).iter().any(|decoded| names.contains(&decoded.name())) {
            kept.extend_from_slice(&octets);
        }
    }
    kept
}

/// Hands the record over as soon as a lane is open, and waits for what becomes of it.
async fn deliver(sink: &mut RadiusSink, record: &Record, attributes: &[u8], wait: Duration) -> Option<Settlement> {
    let mut outcomes = Vec::new();
    let work = async {
        while sink.capacity() == 0 {
            sink.progress(&mut outcomes).await;
        }
        let now = clock::now();
        let submission = Submission {
            key: KEY,
            part: 0,
            attributes,
            since: record.times.event,
            attempts: 0,
            call: CallHash::of(&record.call_id),
        };
        sink.client.handle(now, Input::Submit(submission), &mut sink.wanted);
        sink.perform(now);
        while outcomes.is_empty() && !sink.client.status().all(|server| server.counters.unreachable > 0) {
            let _looked = timeout(LOOK_AGAIN, sink.progress(&mut outcomes)).await;
        }
    };
    // What is undecided stays so.
    let _in_time = timeout(wait, work).await;
    outcomes.pop().map(|outcome| outcome.settlement)
}

/// What is known of a record of which nothing is known.
fn undecided(sink: &RadiusSink, wait: Duration) -> String {
    let servers: Vec<_> = sink.client.status().collect();
    if servers.iter().any(|server| server.counters.bad_authenticator > 0) {
        return "an answer came whose authenticator does not verify: the secrets differ".to_owned();
    }
    if servers.iter().all(|server| server.counters.unreachable > 0) {
        let names: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
        return format!("nobody listens at {}", names.join(", "));
    }
    let secs = wait.as_secs();
    format!("no answer within {secs} s: not running, its client list lacks this host, or the secrets differ")
}

fn message(octets: &[u8], dictionary: &Dictionary) -> Message {
    match Packet::parse(octets) {
        Ok(packet) => Message {
            title: format!("{}, identifier {}", packet.code(), packet.identifier()),
            octets: packet.octets().len(),
            attributes: dictionary
                .decode(&packet.octets()[HEADER_OCTETS..])
                .into_iter()
                .map(|attribute| {
                    let text = attribute.to_string();
                    let name = text.split(" = ").next().unwrap_or_default().to_owned();
                    (name, attribute.text)
                })
                .collect(),
        },
        Err(error) => Message { title: format!("no packet: {error}"), octets: octets.len(), attributes: Vec::new() },
    }
}

/// Of a record without User-Name.
const NAMELESS: &str = "the record has no User-Name: some proxies, such as radsecproxy, acknowledge such a record themselves and \
                        pass nothing on; add `User-Name=…`";

/// How often it is looked whether anybody is there at all.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Place of the one record.
const KEY: Seq = Seq(1);

/// Messages noted at most: a server that answers without end fills no memory.
const SEEN_MAX: usize = 256;
