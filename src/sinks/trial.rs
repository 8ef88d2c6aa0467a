//! One test record sent to a backend for the operator, and the exchange in words: what `tollgate send` prints.
//!
//! A kind of sink has a function that takes [`Wanted`] and gives a [`Trial`]; it uses the same machine and sockets as the
//! sink itself, apart from the queue and from a running service.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{self, Instant};
use crate::dictionary::unquoted;
use crate::queue::Settlement;
use crate::record::{Cause, End, Kind, Party, Record, Times};

/// Whether one server answers: its name, and what an operator should know although it does; or why it does not.
pub type Reached = (String, Result<Vec<String>, String>);

/// What is to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Kind of the record.
    pub kind: Kind,
    /// Attributes by name with their values as text, in order; each replaces what the record has under that name.
    pub attributes: Vec<(String, String)>,
    /// The longest wait for an answer.
    pub wait: Duration,
}

/// What was sent, what came back, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// One for each server visited, in order.
    pub exchanges: Vec<Exchange>,
    /// What would have become of the record.
    pub verdict: Verdict,
    /// What the operator should know although the record was acknowledged.
    pub warning: Option<&'static str>,
}

/// What went between this host and one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The server, as the sink's status shows it.
    pub server: String,
    /// The first transmission.
    pub request: Message,
    /// How often it was sent.
    pub transmissions: u32,
    /// The answers, in order; those that are not authentic too.
    pub answers: Vec<Answer>,
}

/// An answer and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What it says, decoded.
    pub message: Message,
    /// Time since the first transmission.
    pub after: Duration,
}

/// A message as the decoder of the sink's protocol reads it, not as it was meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// What it is, such as `Accounting-Request`, with its identifier.
    pub title: String,
    /// Octets on the wire.
    pub octets: usize,
    /// Its attributes in order, by name, with their values as text.
    pub attributes: Vec<(String, String)>,
}

/// What would have become of the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The backend has acknowledged it: more is not known.
    Delivered,
    /// It would be tried again later.
    Retry {
        /// What was said or seen, in a sentence for the operator.
        reason: String,
    },
    /// It would be parked.
    Parked {
        /// What was said or seen, in a sentence for the operator.
        reason: String,
    },
    /// Nothing was decided within the wait.
    Undecided {
        /// What has come until then, in a sentence for the operator.
        reason: String,
    },
}

/// A test record cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrialError {
    /// It was asked for something that is not there.
    #[error("{what}")]
    Usage {
        /// What, with a hint.
        what: String,
    },
    /// The sink does not work with its settings.
    #[error("the sink cannot be set up: {why}")]
    Setup {
        /// What the set-up found.
        why: String,
    },
}

impl Verdict {
    /// The word for it in JSON and in the last line of `tollgate send`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "acknowledged",
            Self::Retry { .. } => "retry",
            Self::Parked { .. } => "parked",
            Self::Undecided { .. } => "undecided",
        }
    }

    /// Why, if there is more to say.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Retry { reason } | Self::Parked { reason } | Self::Undecided { reason } => Some(reason),
            Self::Delivered => None,
        }
    }
}

impl Trial {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let exchanges: Vec<_> = self.exchanges.iter().map(Exchange::json).collect();
        json!({
            "exchanges": exchanges, "verdict": self.verdict.name(), "reason": self.verdict.reason(),
            "warning": self.warning,
        })
    }
}

impl Exchange {
    fn json(&self) -> Value {
        let answers = self.answers.iter().map(|answer| {
            let mut value = answer.message.json();
            value["after_ms"] = millis(answer.after).into();
            value
        });
        json!({
            "server": self.server, "request": self.request.json(), "transmissions": self.transmissions,
            "answers": answers.collect::<Vec<_>>(),
        })
    }
}

impl Message {
    fn json(&self) -> Value {
        let attribute = |(name, value): &(String, String)| json!({ "name": name, "value": unquoted(value) });
        let attributes: Vec<_> = self.attributes.iter().map(attribute).collect();
        json!({ "message": self.title, "octets": self.octets, "attributes": attributes })
    }
}

impl From<Settlement> for Verdict {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Delivered | Settlement::DeliveredBy(_) => Self::Delivered,
            Settlement::Retry { reason, .. } | Settlement::Defer { reason, .. } => Self::Retry { reason },
            Settlement::Park { reason, .. } => Self::Parked { reason },
            // Sinks withdraw nothing: that is done before them.
            Settlement::Withdrawn => Self::Retry { reason: "not tried".to_owned() },
        }
    }
}

/// A message that was seen on its way, of the exchange `key`.
pub(super) struct Seen<K> {
    pub key: K,
    pub at: Instant,
    pub is_answer: bool,
    /// The server, as the sink's status shows it.
    pub server: String,
    pub message: Message,
}

/// Puts together what was seen, in its order: each further request of an exchange is a transmission of the first.
pub(super) fn exchanges<K: PartialEq>(seen: impl IntoIterator<Item = Seen<K>>) -> Vec<Exchange> {
    let mut exchanges: Vec<(K, Instant, Exchange)> = Vec::new();
    for Seen { key, at, is_answer, server, message } in seen {
        match exchanges.iter_mut().rev().find(|(own, ..)| *own == key) {
            Some((_, first, exchange)) if is_answer => {
                exchange.answers.push(Answer { message, after: at.since(*first) });
            }
            Some((.., exchange)) => exchange.transmissions += 1,
            // An answer without a request is none.
            None if is_answer => {}
            None => {
                let exchange = Exchange { server, request: message, transmissions: 1, answers: Vec::new() };
                exchanges.push((key, at, exchange));
            }
        }
    }
    exchanges.into_iter().map(|(.., exchange)| exchange).collect()
}

/// A record that says what it is and opens no session at the server: a Stop of no length, unless asked otherwise.
pub(super) fn record(kind: Kind) -> Record {
    let now = clock::wall();
    let is_end = matches!(kind, Kind::Stop | Kind::Cdr);
    let [high, low] = crate::timers::random::seed().map(u128::from);
    let blank = Record::of_no_call(kind, now, high << 64 | low);
    Record {
        method: if is_end { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"tollgate-send".to_vec(),
        to_tag: b"tollgate-send".to_vec(),
        call_id: format!("{}@tollgate-send", blank.id).into_bytes(),
        cseq: 1,
        code: if matches!(kind, Kind::Failed | Kind::Missed) { 480 } else { 200 },
        reason: b"test record of tollgate send".to_vec(),
        in_dialog: is_end,
        session: format!("{:032x}", blank.id.0),
        times: Times {
            answered: is_end.then_some(now),
            ended: is_end.then_some(now),
            setup: is_end.then_some(Duration::ZERO),
            duration: is_end.then_some(Duration::ZERO),
            ..blank.times
        },
        end: is_end.then_some(End { by: Party::Gateway, cause: Cause::Administrator }),
        ..blank
    }
}

/// Milliseconds with three places.
#[must_use]
pub fn millis(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}
