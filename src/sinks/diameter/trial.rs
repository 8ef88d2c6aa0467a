//! One test record to the peers of a sink, outside of the queue, with every Accounting message that goes and comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::engine::Seen;
use super::settings::Settings;
use super::{DiameterSink, lock, text};
use crate::diameter::avp::{Avps, Writer};
use crate::diameter::header::{self, HEADER_OCTETS, Header};
use crate::diameter::peer::{Cause, State};
use crate::diameter::route::{self, PeerIndex, Submission};
use crate::dictionary::Input as Text;
use crate::dictionary::diameter::{Dictionary, Handle};
use crate::ids::Seq;
use crate::queue::Settlement;
use crate::record::Record;
use crate::sinks::Sink;
use crate::sinks::trial::{self, Message, Reached, Trial, TrialError, Verdict, Wanted, record};

/// Sends one test record as the sink called `name` would.
///
/// A peer takes one connection of an identity: while the service runs on the same one, a peer may refuse this one with
/// 5012 or 4003, and the verdict says so.
///
/// # Errors
/// When an AVP or a value is not good, or the sink's settings are not.
pub async fn send(name: &str, settings: &Settings, wanted: &Wanted) -> Result<Trial, TrialError> {
    let dictionary = Arc::clone(&settings.accounting.dictionary);
    let more = encode(&dictionary, &wanted.attributes)?;
    let setup = |why: String| TrialError::Setup { why };
    let salt = crate::timers::random::seed()[0] as u32;
    let mut sink =
        DiameterSink::new(name, settings, salt, Seq(0)).map_err(|error| setup(crate::causes::chain_text(&error)))?;
    let record = record(wanted.kind);
    let mut messages = Vec::new();
    (sink.render)(&record, &mut messages).map_err(|error| setup(error.to_string()))?;
    let messages = with(&messages, &more);
    if messages.is_empty() {
        return Err(TrialError::Usage { what: "the sink makes no record of that kind (`without`)".to_owned() });
    }
    drop(lock(&sink.engine).note_all());
    let settlement = timeout(wanted.wait, deliver(&mut sink, &record, &messages)).await.ok().flatten();
    let status = lock(&sink.engine).status();
    let verdict = match settlement {
        // No peer was usable: the reason is what its last connection ended by.
        None => match status.peers.iter().find_map(|peer| Some((&peer.name, peer.last_cause.as_ref()?))) {
            Some((peer, cause)) if cause.is_duplicate() => {
                Verdict::Retry { reason: format!("{peer}: {cause}, or that of the running service") }
            }
            Some((peer, cause)) => Verdict::Retry { reason: format!("{peer}: {cause}") },
            None => Verdict::Undecided { reason: format!("no answer within {} s", wanted.wait.as_secs()) },
        },
        Some(settlement) => settlement.into(),
    };
    let tapped = lock(&sink.engine).note_all();
    let names: Vec<String> = status.peers.iter().map(|peer| format!("{} ({})", peer.name, peer.target)).collect();
    let mut goodbye = Vec::new();
    sink.close(&mut goodbye).await;
    let exchanges = trial::exchanges(tapped.iter().filter_map(|one| seen(one, &names, &dictionary)));
    Ok(Trial { exchanges, verdict, warning: None })
}

/// Exchanges capabilities with every peer, one after the other, and takes leave.
///
/// # Errors
/// When the sink's settings are not good.
pub async fn ask(name: &str, settings: &Settings, wait: Duration) -> Result<Vec<Reached>, TrialError> {
    let mut all = Vec::new();
    for peer in &settings.peers {
        let one = Settings { peers: vec![peer.clone()], ..settings.clone() };
        let salt = crate::timers::random::seed()[0] as u32;
        let mut sink = DiameterSink::new(name, &one, salt, Seq(0))
            .map_err(|error| TrialError::Setup { why: crate::causes::chain_text(&error) })?;
        let mut outcomes = Vec::new();
        let work = async {
            loop {
                let status = lock(&sink.engine).status();
                if status.peers.iter().any(|peer| peer.state == State::Open) {
                    return Ok(());
                }
                if let Some(cause) = status.peers.iter().find_map(|peer| peer.last_cause.as_ref()) {
                    let more = match cause {
                        Cause::Refused { code: 5012, .. } => ", or that of the running service",
                        _ => "",
                    };
                    return Err(format!("{cause}{more}"));
                }
                let _looked = timeout(LOOK_AGAIN, sink.progress(&mut outcomes)).await;
            }
        };
        let late = || Err(format!("no answer within {} s", wait.as_secs()));
        let outcome = timeout(wait, work).await.unwrap_or_else(|_| late());
        sink.close(&mut Vec::new()).await;
        all.push((format!("{}:{}", peer.host, peer.port), outcome.map(|()| Vec::new())));
    }
    Ok(all)
}

/// The AVPs asked for, encoded.
fn encode(dictionary: &Dictionary, wanted: &[(String, String)]) -> Result<Vec<(Handle, Vec<u8>)>, TrialError> {
    let usage = |what: String| TrialError::Usage { what };
    let mut found = Vec::new();
    for (label, value) in wanted {
        let avp = dictionary.find(label).map_err(|error| usage(format!("{error}\nhint: {}", error.hint())))?;
        if let Some(why) = avp.refusal() {
            return Err(usage(format!("`{label}` cannot be sent: {why}")));
        }
        let mut octets = Vec::new();
        avp.encode(Text::Text(value.as_bytes()), &mut octets).map_err(|error| usage(error.to_string()))?;
        found.push((avp, octets));
    }
    Ok(found)
}

/// The messages with these AVPs in place of what they have of the same code.
fn with(messages: &[u8], more: &[(Handle, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), messages);
    while let Ok((head, avps)) = header::split(rest) {
        let written = header::message(&mut out, &head, |out: &mut Writer<'_>| {
            for avp in Avps::new(avps).flatten() {
                if !more.iter().any(|(own, _)| own.code() == avp.code && own.vendor() == avp.vendor) {
                    out.avp(avp.code, avp.vendor, avp.flags, avp.value);
                }
            }
            for (avp, value) in more {
                out.avp(avp.code(), avp.vendor(), avp.flags(), value);
            }
        });
        if written.is_err() {
            break;
        }
        rest = &rest[head.length as usize..];
    }
    out
}

/// Hands the record over as soon as a peer is usable, and waits for what becomes of it. `None` when every peer refuses
/// us: trying again soon is of no use.
async fn deliver(sink: &mut DiameterSink, record: &Record, messages: &[u8]) -> Option<Settlement> {
    let mut outcomes = Vec::new();
    while sink.capacity() == 0 {
        let _looked = timeout(LOOK_AGAIN, sink.progress(&mut outcomes)).await;
        let status = lock(&sink.engine).status();
        if status.peers.iter().all(|peer| peer.last_cause.as_ref().is_some_and(Cause::is_refusal)) {
            return None;
        }
    }
    lock(&sink.engine).submit(Submission {
        key: KEY,
        messages,
        has_waited: false,
        attempts: 0,
        since: record.times.event,
        kind: route::Kind(record.kind.name()),
        session: 0,
        ends_session: true,
        realm: None,
    });
    while outcomes.is_empty() {
        sink.progress(&mut outcomes).await;
    }
    outcomes.pop().map(|outcome| outcome.settlement)
}

/// What was seen of an exchange: of the same End-to-End id with the same peer.
fn seen(seen: &Seen, names: &[String], dictionary: &Dictionary) -> Option<trial::Seen<(PeerIndex, u32)>> {
    let Seen { peer, at, octets } = seen;
    let header = Header::read(octets).ok()?;
    Some(trial::Seen {
        key: (*peer, header.end_to_end),
        at: *at,
        is_answer: !header.is_request(),
        server: names.get(usize::from(peer.0)).cloned().unwrap_or_default(),
        message: message(&header, octets, dictionary),
    })
}

fn message(header: &Header, octets: &[u8], dictionary: &Dictionary) -> Message {
    let lines = text::lines(Avps::new(octets.get(HEADER_OCTETS..).unwrap_or_default()), dictionary);
    let attributes = lines.into_iter().map(|line| {
        let name = format!("{}{}", "  ".repeat(line.depth), line.name);
        (name, line.value.unwrap_or_else(|| "group".to_owned()))
    });
    Message { title: text::title(header, octets), octets: octets.len(), attributes: attributes.collect() }
}

/// How often the peers are looked at while none is usable.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Place of the one record.
const KEY: Seq = Seq(1);
