//! What an operator can set about accounting.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::passport::Verifier;
use super::watch::Pings;
use crate::record::{Cause, LegOrder};
use crate::sip::stack::Listener;
use crate::vars::Template;

/// Which records a sink takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SinkMode {
    /// Start, Interim, Stop, Failed, Missed, Event.
    #[default]
    Sessions,
    /// One for each marked transaction, as the classic acc module: as above without interim records by the timer.
    Transactions,
    /// One Cdr at the end of a call, also of one that came to nothing if [`Settings::cdr_on_failed`] is set; Failed and
    /// Missed.
    Cdr,
}

/// Where the fields of a record come from that is made by a later request of a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum FieldSource {
    /// The later request; what has no value there is taken from the call's Start.
    #[default]
    Request,
    /// The call's Start; what had no value there is taken from the later request. A Cdr is always made this way.
    Call,
}

/// The source of each field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldSources {
    /// Of all fields that have none of their own.
    pub rest: FieldSource,
    /// Fields by name that have another source than the rest.
    pub by_field: Vec<(String, FieldSource)>,
}

impl FieldSources {
    /// The source of a field: its own if it has one, else that of all.
    #[must_use]
    pub fn of(&self, field: &str) -> FieldSource {
        self.by_field.iter().find(|(name, _)| name == field).map_or(self.rest, |(_, source)| *source)
    }

    /// Whether it is this one for every field.
    #[must_use]
    pub fn all_of(&self, source: FieldSource) -> bool {
        self.rest == source && self.by_field.iter().all(|(_, own)| *own == source)
    }
}

impl From<FieldSource> for FieldSources {
    fn from(rest: FieldSource) -> Self {
        Self { rest, by_field: Vec::new() }
    }
}

/// Until when a call lasts whose session timer has run out, or whose ends do not answer any more.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum BilledTo {
    /// Until that is noticed: grace, and OPTIONS without a response, included.
    #[default]
    Noticed,
    /// Until it was known to go on last.
    LastAlive,
}

/// What is done about a call that goes on after its Stop: a request inside its dialog has got a 2xx.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Revival {
    /// The operator is told.
    #[default]
    #[serde(rename = "alarm")]
    Told,
    /// The operator is told, and a new session begins where the old one has ended.
    #[serde(rename = "record")]
    Recorded,
}

/// Settings of [`Engine`](super::Engine).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What each sink takes; the place is its [`SinkNumber`](crate::ids::SinkNumber). Sinks beyond the list take
    /// sessions. Default: empty.
    pub sinks: Vec<SinkMode>,
    /// Fields of every record. Default: none.
    pub fields: Vec<(String, Template)>,
    /// Names of fields that keep the value of the call's Start in all its later records: by them servers join the records
    /// of a session. Default: none.
    pub frozen_fields: Vec<String>,
    /// Fields of every leg. Without them no legs are made. Default: none.
    pub leg_fields: Vec<(String, Template)>,
    /// Fields that are read from the BYE, beside the others: of Stop and Cdr. Default: none.
    pub bye_fields: Vec<(String, Template)>,
    /// Fields of a leg that a BYE adds to those of the call. Default: none is added.
    pub bye_leg_fields: Vec<(String, Template)>,
    /// Fields of Interim and Stop. Default: the later request.
    pub in_dialog_fields: FieldSources,
    /// Whether provisional responses with a body are recorded. Default: no.
    pub early_media: bool,
    /// Whether the ACK to a 2xx is recorded. Default: no.
    pub report_ack: bool,
    /// Whether a CANCEL is recorded. Default: no.
    pub report_cancels: bool,
    /// Final codes that make no Failed and no Missed record. Default: 401, 407, 422.
    pub failed_filter: Vec<u16>,
    /// Other methods than INVITE, BYE, ACK and CANCEL that make an Event, in capitals; `*` is all. Default: none.
    pub methods: Vec<String>,
    /// Whether From and To are exchanged for requests of the callee, tags and all that templates read of them.
    /// Default: yes.
    pub detect_direction: bool,
    /// Whether each branch of a failed round makes a Missed record, not only the best. Default: no.
    pub missed_branches: bool,
    /// Whether a call that was answered elsewhere, as its CANCEL says, makes a Missed record. Default: no.
    pub missed_elsewhere: bool,
    /// Whether a call that came to nothing makes a Cdr too, which says how long it rang. Default: no.
    pub cdr_on_failed: bool,
    /// Whether those who forwarded a call before it came here (Diversion, History-Info) are legs of it. Default: no.
    pub forwarding_legs: bool,
    /// Who may sign what a caller claims. Default: nobody, and nothing is checked.
    pub identity: Option<Arc<Verifier>>,
    /// Order of the legs in a record. Default: oldest first.
    pub leg_order: LegOrder,
    /// Time between two Interim records of a call made by the timer. Default: none are made.
    pub interim_interval: Option<Duration>,
    /// How far that time differs from session to session, percent, so that calls that began together do not stay so.
    /// Default 10.
    pub interim_jitter_percent: u8,
    /// Longest call, from its response; then it is ended in the records. Default 12 h.
    pub lifetime_max: Option<Duration>,
    /// Whether a call ends in the records when its session timer (RFC 4028) has run out without a refresh, 32 s of
    /// grace included. Default: yes.
    pub session_timers: bool,
    /// Whether and how often the ends of a call are asked by OPTIONS. Default: never.
    pub pings: Option<Pings>,
    /// How long the ACK to the 2xx of a call may take: 64 T1 (RFC 3261 §13.3.1.4). Default 32 s.
    pub ack_wait: Duration,
    /// Ends of calls in the records at which both ends get a BYE, so that they do not talk on unrecorded. Default:
    /// lifetime, no-ack, unreachable.
    pub hang_up: Vec<Cause>,
    /// Until when a call lasts that has ended without a BYE. Default: until that is noticed.
    pub billed_to: BilledTo,
    /// What a sign of life of a call does that has ended in the records. Default: it is told.
    pub revival: Revival,
    /// Calls kept in this engine beyond which a call gets its Start, but no state: its BYE makes a Stop without session
    /// time. Default 1 000 000.
    pub calls_max: usize,
    /// Ended calls and calls that are not accounted that are remembered in this engine, so that their BYE makes no
    /// (second) Stop; beyond, they are not. Default 500 000.
    pub ended_max: usize,
    /// The listeners, for `$Ri`, `$Rp` and `$proto`; as in the SIP machine's settings. Default: none.
    pub listeners: Vec<Listener>,
    /// [`clock::boot_id`](crate::clock::boot_id): whether spans of restored calls come from the monotonic clock.
    /// Default: empty, which no stored call fits.
    pub boot_id: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sinks: Vec::new(),
            fields: Vec::new(),
            frozen_fields: Vec::new(),
            leg_fields: Vec::new(),
            bye_fields: Vec::new(),
            bye_leg_fields: Vec::new(),
            in_dialog_fields: FieldSources::default(),
            early_media: false,
            report_ack: false,
            report_cancels: false,
            failed_filter: vec![401, 407, 422],
            methods: Vec::new(),
            detect_direction: true,
            missed_branches: false,
            missed_elsewhere: false,
            cdr_on_failed: false,
            forwarding_legs: false,
            identity: None,
            leg_order: LegOrder::default(),
            interim_interval: None,
            interim_jitter_percent: 10,
            lifetime_max: Some(Duration::from_secs(12 * 3600)),
            session_timers: true,
            pings: None,
            ack_wait: Duration::from_secs(32),
            hang_up: vec![Cause::Lifetime, Cause::NoAck, Cause::Unreachable],
            billed_to: BilledTo::default(),
            revival: Revival::default(),
            calls_max: 1_000_000,
            ended_max: 500_000,
            listeners: Vec::new(),
            boot_id: String::new(),
        }
    }
}
