//! What all sinks of events share: the body of an event, JSON, and the name of the place it goes to.
//!
//! The table of a system says which values an [event](super::profile::event) has, [`body`](Body) writes them into an envelope, and [`name`] makes subjects,
//! routing keys and the like of templates over the values of a record. The sinks themselves carry events, and know nothing
//! of what these say.
//!
//! Octets of a value that are no UTF-8 become U+FFFD; with the profile `own` the key `not_utf8` lists the places.

mod body;
#[cfg(test)]
mod body_tests;
pub mod name;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;

use super::mapping::Round;
use super::profile::Profile;
use super::profile::event::Events;
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
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Default CloudEvents.
    pub envelope: Envelope,
    /// Which values, and how they lie.
    pub profile: &'static Events,
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

impl Body {
    /// That of a profile, without fields; `None` when its system has no events.
    #[must_use]
    pub fn of(profile: Profile, source: &str) -> Option<Self> {
        let system = profile.system();
        let events = system.events.as_ref()?;
        Some(Self {
            envelope: Envelope::default(),
            profile: events,
            fields: Vec::new(),
            leg_fields: Vec::new(),
            legs: events.legs,
            leg_order: system.leg_order,
            round: events.round,
            source: source.to_owned(),
        })
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
