//! Values of a record as the tables of the systems name them, and the forms in which they are written.

use std::borrow::Cow;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::record::core::{Core, Item};
use crate::record::{Fields, Kind, Record, Value};
use crate::sinks::mapping::Round;

/// A value of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Val {
    /// One that every record has a place for.
    Core(Core),
    /// When the fact happened; of a whole call when it was answered, as OpenSIPS has it.
    Time,
    /// When a whole call began.
    Start(From),
    /// How long it has lasted since then.
    Lasted(From),
    /// The first of these fields of ours, out of [`FIELDS`], that says something.
    Field(&'static [&'static str]),
    /// The same in every record.
    Fixed(&'static str),
}

/// When a call begins, in the record of the whole of it.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// When its INVITE came, so that ringing counts.
    Created,
    /// When it was answered.
    #[default]
    Answered,
    /// When the ACK came.
    Acknowledged,
}

impl From {
    fn at(self, record: &Record) -> Timestamp {
        let times = &record.times;
        let answered = times.answered.unwrap_or(times.created);
        match self {
            Self::Created => times.created,
            Self::Answered => answered,
            Self::Acknowledged => times.acknowledged.unwrap_or(answered),
        }
    }

    /// Nothing is left of a call that was not answered, but what it rang.
    pub(super) fn lasted(self, record: &Record) -> Duration {
        let times = &record.times;
        let duration = times.duration.unwrap_or_default();
        match (self, times.acknowledged) {
            (Self::Created, _) => times.setup.unwrap_or_default() + duration,
            (Self::Acknowledged, Some(at)) => times.ended.map_or(duration, |ended| ended.since(at)),
            (Self::Answered | Self::Acknowledged, _) => duration,
        }
    }
}

/// Fields that systems take from the SIP messages without any of the configuration, with their templates. Their names have
/// a dot, which none of the configuration can have.
pub const FIELDS: &[(&str, &str)] = &[
    ("acc.i-uri", "$ou"),
    ("acc.i-user", "$oU"),
    ("acc.i-host", "$od"),
    ("acc.o-uri", "$ru"),
    ("acc.from", "$hdr(From)"),
    ("acc.from-uri", "$fu"),
    ("acc.from-user", "$fU"),
    ("acc.from-host", "$fd"),
    ("acc.to", "$hdr(To)"),
    ("acc.reply-to", "$hdr(To)/reply"),
    ("acc.to-uri", "$tu"),
    ("acc.to-user", "$tU"),
    ("acc.digest-user", "$au"),
    ("acc.account", "$Au"),
];

impl Val {
    /// Shorter names for what most tables have.
    pub(super) const METHOD: Self = Self::Core(Core::Method);
    pub(super) const FROM_TAG: Self = Self::Core(Core::FromTag);
    pub(super) const TO_TAG: Self = Self::Core(Core::ToTag);
    pub(super) const CALL_ID: Self = Self::Core(Core::CallId);
    pub(super) const CODE: Self = Self::Core(Core::Code);
    pub(super) const REASON: Self = Self::Core(Core::Reason);
    pub(super) const EVENT: Self = Self::Core(Core::Event);
    pub(super) const CREATED: Self = Self::Core(Core::Created);
    pub(super) const ANSWERED: Self = Self::Core(Core::Answered);
    pub(super) const SETUP: Self = Self::Core(Core::Setup);
    pub(super) const DURATION: Self = Self::Core(Core::Duration);

    /// The value in a record; `None` where it says nothing.
    #[inline]
    #[must_use]
    pub fn of(self, record: &Record) -> Option<Item<'_>> {
        match self {
            Self::Core(core) => core.of(record),
            Self::Time => {
                let answered = if record.kind == Kind::Cdr { record.times.answered } else { None };
                Some(Item::Instant(answered.unwrap_or(record.times.event)))
            }
            Self::Start(from) => Some(Item::Instant(from.at(record))),
            Self::Lasted(from) => Some(Item::Span(from.lasted(record))),
            Self::Field(names) => names.iter().find_map(|name| text_of(&record.fields, name)).map(Item::Text),
            Self::Fixed(text) => Some(Item::Word(text)),
        }
    }

    /// The same, where a call begins elsewhere.
    #[must_use]
    pub const fn from(self, from: From) -> Self {
        match self {
            Self::Start(_) => Self::Start(from),
            Self::Lasted(_) => Self::Lasted(from),
            other => other,
        }
    }

    /// The fields of ours that it needs, with their templates.
    pub fn fields(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = if let Self::Field(names) = self { names } else { &[] };
        FIELDS.iter().copied().filter(|(name, _)| names.contains(name))
    }

    /// The core value that it is.
    #[must_use]
    pub const fn core(self) -> Option<Core> {
        match self {
            Self::Core(core) => Some(core),
            _ => None,
        }
    }
}

/// The text of a field; `None` for an empty one too.
fn text_of<'r>(fields: &'r Fields, name: &str) -> Option<&'r [u8]> {
    match fields.iter().find(|(own, _)| own == name).map(|(_, value)| value) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// How instants become texts: see [`Form::Local`].
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// As in `strftime`.
    pub format: String,
    /// The local zone.
    pub zone: TimeZone,
}

impl Clock {
    /// What Kamailio's `time_format` is by default.
    pub const FORMAT: &'static str = "%Y-%m-%d %H:%M:%S";

    /// The default format in a zone.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self { format: Self::FORMAT.to_owned(), zone }
    }

    /// Whether a format says something.
    #[must_use]
    pub fn is_format(format: &str) -> bool {
        let at = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        !format.is_empty() && jiff::fmt::strtime::format(format, &at).is_ok()
    }

    /// An instant as text; empty for one that no calendar has.
    #[must_use]
    pub fn text(&self, at: Timestamp, form: Form) -> String {
        let zone = if form == Form::Local { self.zone.clone() } else { TimeZone::UTC };
        let at = jiff::Timestamp::from_microsecond(at.0).ok();
        at.and_then(|at| jiff::fmt::strtime::format(&self.format, &at.to_zoned(zone)).ok()).unwrap_or_default()
    }
}

/// The status as SER has it: the code, of a missed call with its reason, and of a manual entry what the script said.
#[must_use]
pub fn status(record: &Record) -> Vec<u8> {
    let code = if record.code > 0 { record.code.to_string() } else { String::new() };
    let has_reason = record.kind == Kind::Missed || record.is_manual();
    let parts = [code.as_bytes(), if has_reason { &record.reason[..] } else { b"" }];
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b" "[..])
}

/// A value as text, for who writes lines; an empty one for none. Texts are as they came.
#[must_use]
pub fn text<'r>(value: Val, form: Form, record: &'r Record, round: Round, clock: &Clock) -> Cow<'r, [u8]> {
    if form == Form::Status {
        return status(record).into();
    }
    let text = match (value.of(record), form) {
        (None, _) => String::new(),
        (Some(Item::Text(text)), _) => return text.into(),
        (Some(Item::Word(word)), _) => word.to_owned(),
        (Some(Item::Kind(kind)), _) => kind.name().to_owned(),
        (Some(Item::Id(id)), _) => id.to_string(),
        (Some(Item::Number(number)), _) => number.to_string(),
        (Some(Item::Flag(flag)), _) => flag.to_string(),
        (Some(Item::Address(address)), _) => address.to_string(),
        (Some(Item::Many(many)), _) => return many.joined().into(),
        (Some(Item::Instant(at)), Form::Epoch) => at.secs().to_string(),
        (Some(Item::Instant(at)), Form::EpochMillis) => format!("{}.{:03}", at.secs(), micros(at) / 1000),
        (Some(Item::Instant(at)), Form::Micros) => micros(at).to_string(),
        (Some(Item::Instant(at)), Form::Local | Form::Utc) => clock.text(at, form),
        (Some(Item::Instant(at)), _) => at.to_string(),
        (Some(Item::Span(span)), Form::Secs) => round.seconds(span).to_string(),
        (Some(Item::Span(span)), Form::Millis) => span.as_millis().to_string(),
        (Some(Item::Span(span)), _) => format!("{}.{:03}", span.as_secs(), span.subsec_millis()),
    };
    text.into_bytes().into()
}

/// Microseconds within the second.
#[must_use]
pub const fn micros(at: Timestamp) -> i64 {
    at.0.rem_euclid(1_000_000)
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As it is; a span in seconds with milliseconds, an instant as the backend has it.
    Plain,
    /// An instant in seconds since 1970.
    Epoch,
    /// The same with milliseconds.
    EpochMillis,
    /// A span in whole seconds, rounded as configured.
    Secs,
    /// A span in whole milliseconds, rounded down.
    Millis,
    /// The microseconds of an instant within its second.
    Micros,
    /// An instant as text, in the local zone.
    Local,
    /// The same in UTC.
    Utc,
    /// A code as SER has it: see [`status`].
    Status,
    /// A number as a text, where the backend tells the two apart.
    Text,
    /// A number as Cisco's gateways write it: `h323-disconnect-cause=` and hexadecimal digits.
    H323,
}
