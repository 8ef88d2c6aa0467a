//! What all sinks of events share: the body of an event, JSON, and the name of the place it goes to.
//!
//! [`profile`] says which values an event has, [`body`](Body) writes them into an envelope, and [`name`] makes subjects,
//! routing keys and the like of templates over the values of a record. The sinks themselves carry events, and know nothing
//! of what these say.
//!
//! Octets of a value that are no UTF-8 become U+FFFD; with the profile `own` the key `not_utf8` lists the places.

mod body;
#[cfg(test)]
mod body_tests;
pub mod name;
pub mod profile;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;

use self::profile::Profile;
use super::mapping::Round;
use crate::clock::{self, Instant};
use crate::record::LegOrder;

/// What stands around the values of an event.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Envelope {
    /// CloudEvents 1.0, structured: the values are `data`, beside what every event of whatever origin has.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// A notification of JSON-RPC 2.0, as OpenSIPS sends it: the values are `params`.
    #[serde(rename = "jsonrpc")]
    JsonRpc,
    /// Nothing.
    None,
}

impl Envelope {
    /// The media type of an event.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents => "application/cloudevents+json",
            Self::JsonRpc | Self::None => "application/json",
        }
    }
}

/// How a record with several legs is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Legs {
    /// One event, in which `legs` has them all.
    #[default]
    Array,
    /// An event for each leg, with all that the record has; its id is that of the record, `-` and the number of the leg.
    Events,
}

/// What events say.
#[derive(Clone, Debug)]
pub struct Body {
    /// Default CloudEvents.
    pub envelope: Envelope,
    /// Which values, and how they lie.
    pub profile: &'static Profile,
    /// Fields with their names in the event, in order.
    pub fields: Vec<(String, String)>,
    /// Fields of legs with their names in the event, in order.
    pub leg_fields: Vec<(String, String)>,
    /// Default: that of the profile.
    pub legs: Legs,
    /// Default: that of the profile.
    pub leg_order: LegOrder,
    /// Default: that of the profile.
    pub round: Round,
    /// `source` of CloudEvents: the machine.
    pub source: String,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        let all = |own: &Self| {
            let lists = (own.fields.clone(), own.leg_fields.clone(), own.source.clone());
            (own.envelope, own.profile.name, own.legs, own.leg_order, own.round, lists)
        };
        all(self) == all(other)
    }
}

/// An event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The id of its record, or of its leg: the same at every attempt.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// Tells the log of what a person must act on, though the sink goes on: once a minute at most.
#[derive(Debug, Default)]
pub struct Alarm(Mutex<Option<Instant>>);

/// Time in which an [`Alarm`] is not told again.
const ALARM_REST: Duration = Duration::from_secs(60);

impl Alarm {
    /// Something is wrong for single records of a sink.
    pub fn tell(&self, sink: &str, error: &str) {
        let now = clock::mono();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.since(last) >= ALARM_REST) {
            *last = Some(now);
            tracing::error!(sink, error, "records wait, and need a change of the configuration or of the backend");
        }
    }
}
