//! A record as the attributes of an Accounting-Request.
//!
//! The octets depend on the record and the settings only, so that every attempt of a record, at every server and after a
//! restart, sends the same. Order: status, session, service, core values, fields, legs, NAS.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::profile::{Core, Finder, SetupError, Target};
use super::settings::{Legs, SessionId, Settings};
use super::status::{status, terminate_cause};
use crate::clock::Timestamp;
use crate::dictionary::{Handle, Input, Type};
use crate::radius::attribute::{AttributeList, Budget, Fitted, Limit, Oversize, Priority, clean, fit};
use crate::radius::number;
use crate::radius::packet::{self, VALUE_OCTETS_MAX};
use crate::record::{Fields, Kind, Record, Value, is_internal};
use crate::sinks::mapping::{self, Unmapped};

/// NAS-Port-Type Virtual (RFC 2865 §5.41).
const VIRTUAL: u32 = 5;
/// Octets of the list of shortened names.
const NAMES_OCTETS_MAX: usize = 200;

/// All that is wrong with a sink's settings.
pub type SetupErrors = mapping::SetupErrors<SetupError>;

/// What became of the values of one record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Losses {
    /// Values that were shortened, or left out because they do not fit their attribute's type.
    pub shortened: usize,
    /// Attributes dropped because the packet was full.
    pub dropped: usize,
}

/// Renders records; keeps its buffers.
#[derive(Debug)]
pub struct Renderer {
    settings: Settings,
    core: Core,
    fields: Vec<(String, Target)>,
    leg_fields: Vec<(String, Target)>,
    record_id: Option<Target>,
    shortened: Option<Target>,
    own_field: Option<Target>,
    own_leg: Option<Target>,
    leg_number: Option<Target>,
    leg_count: Option<Target>,
    /// Service-Type, the same in every record.
    service: Vec<u8>,
    /// NAS attributes, the same in every record.
    nas: Vec<u8>,
    list: AttributeList,
    names: String,
    text: Vec<u8>,
    losses: Losses,
}

impl Renderer {
    /// A renderer; `nas_address` is the NAS address when the settings have none.
    ///
    /// # Errors
    /// Every attribute that no dictionary has or that must not carry values of calls.
    pub fn new(settings: &Settings, nas_address: IpAddr) -> Result<Self, SetupErrors> {
        let mut finder = Finder::new(settings);
        let core = Core::of(settings, &mut finder);
        let fields = finder.fields(&settings.fields, "");
        let mut leg_fields = finder.fields(&settings.leg_fields, "leg ");
        for (_, target) in leg_fields.iter_mut().filter(|(_, target)| target.priority == Priority::FIELD) {
            target.priority = Priority::LEG;
        }
        let record_id = finder.required(&settings.record_id_attribute, "the record id", Priority::ESSENTIAL);
        let shortened = finder.required(&settings.shortened_attribute, "shortened values", Priority::ESSENTIAL);
        let (own_field, own_leg) = match settings.unmapped {
            Unmapped::Own => (
                finder.required("Tollgate-Field", "fields without an attribute", Priority::FIELD),
                finder.required("Tollgate-Leg", "legs without attributes", Priority::LEG),
            ),
            Unmapped::Omit => (None, None),
        };
        let leg_number = finder.optional("Tollgate-Leg-Number", Priority::ESSENTIAL);
        let leg_count = finder.optional("Tollgate-Leg-Count", Priority::ESSENTIAL);
        if !finder.errors.is_empty() {
            return Err(mapping::SetupErrors(finder.errors));
        }
        let mut service = Vec::new();
        if let Some(number) = settings.service_type {
            packet::push(&mut service, number::SERVICE_TYPE, &number.to_be_bytes());
        }
        Ok(Self {
            nas: nas(settings, settings.nas_address.unwrap_or(nas_address)),
            settings: settings.clone(),
            core,
            fields,
            leg_fields,
            record_id,
            shortened,
            own_field,
            own_leg,
            leg_number,
            leg_count,
            service,
            list: AttributeList::default(),
            names: String::new(),
            text: Vec::new(),
            losses: Losses::default(),
        })
    }

    /// As [`Self::render`]; `None` when the legs travel apart, in a request each.
    pub fn render_whole(&mut self, record: &Record) -> Option<(&[u8], Losses)> {
        let legs = if record.legs.len() < 2 { Legs::Together } else { self.settings.legs };
        if legs == Legs::Apart {
            return None;
        }
        let (attributes, losses) = self.render(record);
        (legs == Legs::Together || losses.dropped == 0).then_some((attributes, losses))
    }

    /// The attributes of a record with all its legs, and what was lost of its values.
    pub fn render(&mut self, record: &Record) -> (&[u8], Losses) {
        self.render_part(record, None)
    }

    /// The attributes of a record with the leg that comes in `step` only, counted from 0 in the order of legs.
    pub fn render_leg(&mut self, record: &Record, step: usize) -> (&[u8], Losses) {
        let place = self.settings.leg_order.place(step, record.legs.len());
        self.render_part(record, Some(place))
    }

    fn render_part(&mut self, record: &Record, leg: Option<usize>) -> (&[u8], Losses) {
        self.list.clear();
        self.names.clear();
        self.losses = Losses::default();
        if record.shortened {
            self.note("record");
        }
        self.put_session(record);
        self.put_record_id(record, leg);
        self.put_core(record);
        self.put_fields(&record.fields);
        self.put_legs(&record.legs, leg);
        self.list.push_with(Priority::ESSENTIAL, |out| out.extend_from_slice(&self.nas));
        self.finish();
        (self.list.octets(), self.losses)
    }

    fn put_session(&mut self, record: &Record) {
        let settings = &self.settings;
        let list = &mut self.list;
        let essential = Priority::ESSENTIAL;
        list.push_integer(essential, number::ACCT_STATUS_TYPE, status(record, settings.status_mapping) as u32);
        let id = &mut self.text;
        id.clear();
        match settings.session_id {
            SessionId::Short => id.extend_from_slice(record.session.as_bytes()),
            SessionId::CallId => id.extend_from_slice(&clean(&record.call_id)),
            SessionId::CallIdAndTag => {
                id.extend_from_slice(&clean(&record.call_id));
                id.push(b';');
                id.extend_from_slice(&clean(&record.to_tag));
            }
        }
        if id.is_empty() {
            // A record without a session still has to have one (RFC 2866 §4.1).
            id.extend_from_slice(record.id.to_string().as_bytes());
        }
        // A digest at the end keeps long ids apart.
        let limit = Limit { octets: VALUE_OCTETS_MAX, column: settings.columns.width(number::ACCT_SESSION_ID.into()) };
        let fitted = fit(id, limit, Oversize::Hash, |piece| list.push(essential, number::ACCT_SESSION_ID, piece));
        list.push(essential, number::ACCT_MULTI_SESSION_ID, record.multi_session.as_bytes());
        list.push_with(essential, |out| out.extend_from_slice(&self.service));
        let is_end = matches!(record.kind, Kind::Stop | Kind::Cdr);
        let event = if is_end { record.times.ended.unwrap_or(record.times.event) } else { record.times.event };
        let secs = u32::try_from(event.secs()).unwrap_or(if event.secs() < 0 { 0 } else { u32::MAX });
        list.push_integer(essential, number::EVENT_TIMESTAMP, secs);
        if let Some(span) = record.times.duration.filter(|_| is_end || record.kind == Kind::Interim) {
            list.push_integer(essential, number::ACCT_SESSION_TIME, settings.round.seconds(span));
        }
        if let Some(end) = record.end.filter(|_| is_end) {
            let cause = terminate_cause(end, record.code, &settings.terminate_causes);
            list.push_integer(essential, number::ACCT_TERMINATE_CAUSE, cause);
        }
        if fitted == Fitted::Shortened {
            self.note("session_id");
        }
    }

    /// The record's id; of the request for one leg an id of its own, with the place among its like.
    fn put_record_id(&mut self, record: &Record, leg: Option<usize>) {
        let list = &mut self.list;
        let mut id = record.id.to_string();
        if let Some(place) = leg {
            id.push_str(&format!(".{}", place + 1));
            for (target, number) in [(&self.leg_number, place + 1), (&self.leg_count, record.legs.len())] {
                put_number(list, target, i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        if let Some(target) = &self.record_id {
            put(list, target, id.as_bytes());
        }
    }

    fn put_core(&mut self, record: &Record) {
        let core = &self.core;
        let classic = self.settings.profile.is_classic();
        let list = &mut self.list;
        let mut short: SmallVec<[&'static str; 4]> = SmallVec::new();
        let mut text = |target: &Option<Target>, value: &[u8], name: &'static str| {
            if let Some(target) = target
                && put(list, target, value) == Fitted::Shortened
            {
                short.push(name);
            }
        };
        text(&core.kind, capital(record.kind).as_bytes(), "kind");
        if matches!(record.kind, Kind::On | Kind::Off) {
            // It tells of no call.
            let name = self.settings.on_user_name.as_deref().unwrap_or_default();
            list.push(Priority::ESSENTIAL, number::USER_NAME, name.as_bytes());
            return;
        }
        text(&core.call_id, &record.call_id, "call_id");
        if core.method.as_ref().is_some_and(Target::is_text) {
            text(&core.method, &record.method, "method");
        }
        text(&core.reason, &record.reason, "reason");
        text(&core.from_tag, &record.from_tag, "from_tag");
        text(&core.to_tag, &record.to_tag, "to_tag");
        if let Some(end) = record.end {
            text(&core.ended_by, end.by.name().as_bytes(), "ended_by");
            text(&core.end_cause, end.cause.name().as_bytes(), "end_cause");
        }
        if let Some(target) = core.method.as_ref().filter(|target| !target.is_text()) {
            put_method(list, target, &record.method);
        }
        if record.code > 0 || classic {
            put_number(list, &core.code, i64::from(record.code));
        }
        put_number(list, &core.cseq, i64::from(record.cseq));
        let times = &record.times;
        for (target, at) in [
            (&core.created, Some(times.created)),
            (&core.answered, times.answered),
            (&core.acknowledged, times.acknowledged),
            (&core.ended, times.ended),
        ] {
            put_instant(list, target, at);
        }
        // The proxies send spans of whole calls only.
        let spans = !classic || matches!(record.kind, Kind::Stop | Kind::Cdr);
        for (target, span) in [(&core.setup_ms, times.setup), (&core.duration_ms, times.duration)] {
            if let Some(span) = span.filter(|_| spans) {
                put_number(list, target, i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
            }
        }
        for (target, span) in [(&core.setup_secs, times.setup), (&core.duration_secs, times.duration)] {
            if let Some(span) = span.filter(|_| spans) {
                put_number(list, target, i64::from(self.settings.round.seconds(span)));
            }
        }
        for name in short {
            self.note(name);
        }
    }

    fn put_fields(&mut self, fields: &Fields) {
        let mapped = std::mem::take(&mut self.fields);
        for (name, value) in fields {
            self.put_field(&mapped, name, value);
        }
        self.fields = mapped;
    }

    fn put_field(&mut self, mapped: &[(String, Target)], name: &str, value: &Value) {
        let mut found = false;
        for (_, target) in mapped.iter().filter(|(field, _)| field == name) {
            found = true;
            if put_value(&mut self.list, target, value) == Fitted::Shortened {
                self.note(name);
            }
        }
        if let (false, Some(target), Some(value)) = (found || is_internal(name), &self.own_field, value.text()) {
            let text = &mut self.text;
            text.clear();
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(&value);
            if !value.is_empty() && put(&mut self.list, target, text) == Fitted::Shortened {
                self.note(name);
            }
        }
    }

    /// All legs, or one.
    fn put_legs(&mut self, legs: &[Fields], only: Option<usize>) {
        let mapped = std::mem::take(&mut self.leg_fields);
        for step in 0..legs.len() {
            let place = self.settings.leg_order.place(step, legs.len());
            if only.is_none_or(|only| only == place) {
                self.put_leg(&mapped, place + 1, &legs[place]);
            }
        }
        self.leg_fields = mapped;
    }

    /// Mapped fields of a leg one by one, the others together.
    fn put_leg(&mut self, mapped: &[(String, Target)], place: usize, leg: &Fields) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        for (name, value) in leg {
            let mut found = false;
            for (_, target) in mapped.iter().filter(|(field, _)| field == name) {
                found = true;
                if put_value(&mut self.list, target, value) == Fitted::Shortened {
                    self.note(name);
                }
            }
            let value = value.text().filter(|value| !found && !value.is_empty());
            if let (Some(value), Some(_)) = (value, &self.own_leg) {
                let separator = if text.is_empty() { format!("{place} ") } else { ";".to_owned() };
                text.extend_from_slice(separator.as_bytes());
                text.extend_from_slice(name.as_bytes());
                text.push(b'=');
                text.extend_from_slice(&value);
            }
        }
        if let Some(target) = &self.own_leg
            && put(&mut self.list, target, &text) == Fitted::Shortened
        {
            self.note("leg");
        }
        self.text = text;
    }

    /// Notes a value that is not whole.
    fn note(&mut self, name: &str) {
        self.losses.shortened += 1;
        let is_known = self.names.split(',').any(|known| known == name);
        if !is_known && self.names.len() + 1 + name.len() <= NAMES_OCTETS_MAX {
            if !self.names.is_empty() {
                self.names.push(',');
            }
            self.names.push_str(name);
        }
    }

    /// Brings the list to its budget and says what is missing.
    fn finish(&mut self) {
        let budget = Budget::default();
        if !self.list.fits(budget) {
            self.note("packet");
            self.losses.shortened -= 1;
        }
        if let Some(target) = self.shortened.as_ref().filter(|_| !self.names.is_empty()) {
            put(&mut self.list, target, self.names.as_bytes());
        }
        self.losses.dropped = self.list.drop_to(budget);
    }
}

/// NAS identity: the same in all records of a session, or the server would not join them.
fn nas(settings: &Settings, address: IpAddr) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(identifier) = &settings.nas_identifier {
        packet::push(&mut out, number::NAS_IDENTIFIER, identifier.as_bytes());
    }
    match address {
        IpAddr::V4(address) => packet::push(&mut out, number::NAS_IP_ADDRESS, &address.octets()),
        IpAddr::V6(address) => packet::push(&mut out, number::NAS_IPV6_ADDRESS, &address.octets()),
    }
    if let Some(port) = settings.nas_port {
        packet::push(&mut out, number::NAS_PORT, &port.to_be_bytes());
    }
    packet::push(&mut out, number::NAS_PORT_TYPE, &VIRTUAL.to_be_bytes());
    out
}

/// Appends a text; an attribute of another type takes what it can read of it.
fn put(list: &mut AttributeList, target: &Target, value: &[u8]) -> Fitted {
    let mut fitted = Fitted::Whole;
    if value.is_empty() {
        return fitted;
    }
    if !target.is_text() {
        list.push_with(target.priority, |out| {
            if target.handle.encode(Input::Text(value), out).is_err() {
                fitted = Fitted::Shortened;
            }
        });
        return fitted;
    }
    let value = clean(value);
    // What must not travel is missing, like a tail that is cut.
    let is_cleaned = matches!(value, Cow::Owned(_));
    let value = target.complete(&value);
    let mut push = |handle: &Handle, limit: Limit, oversize| {
        let mut fitted = Fitted::Whole;
        list.push_with(target.priority, |out| {
            fitted = fit(&value, limit, oversize, |piece| {
                // The piece has the right size; a refusal was an error at start.
                let _appended = handle.encode(Input::Octets(piece), out);
            });
        });
        fitted
    };
    fitted = push(&target.handle, target.limit, target.oversize);
    if let Some(long) = target.long.as_ref().filter(|_| fitted == Fitted::Shortened) {
        // The whole of it travels there.
        fitted = push(long, long.value_octets_max().into(), Oversize::Truncate);
    }
    if is_cleaned { Fitted::Shortened } else { fitted }
}

fn put_value(list: &mut AttributeList, target: &Target, value: &Value) -> Fitted {
    match value {
        Value::Absent => Fitted::Whole,
        Value::Text(text) => put(list, target, text),
        Value::Number(number) if !target.is_text() => put_input(list, target, Input::Number(*number)),
        Value::List(_) | Value::Number(_) => value.text().map_or(Fitted::Whole, |text| put(list, target, &text)),
    }
}

fn put_input(list: &mut AttributeList, target: &Target, input: Input<'_>) -> Fitted {
    let mut fitted = Fitted::Whole;
    list.push_with(target.priority, |out| {
        if target.handle.encode(input, out).is_err() {
            fitted = Fitted::Shortened;
        }
    });
    fitted
}

/// A number that is out of range for its attribute is left out.
fn put_number(list: &mut AttributeList, target: &Option<Target>, number: i64) {
    if let Some(target) = target {
        put_input(list, target, Input::Number(number));
    }
}

fn put_instant(list: &mut AttributeList, target: &Option<Target>, at: Option<Timestamp>) {
    if let (Some(target), Some(at)) = (target, at) {
        put_input(list, target, Input::Timestamp(at));
    }
}

/// The VALUE called like the method in any case, else `Other`; without one the attribute is left out.
fn put_method(list: &mut AttributeList, target: &Target, method: &[u8]) {
    let named = str::from_utf8(method).ok().and_then(|name| target.handle.value(name));
    if let Some(number) = named.or_else(|| target.handle.value("Other")).filter(|_| target.handle.kind() != Type::Tlv) {
        put_input(list, target, Input::Number(number));
    }
}

const fn capital(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "Start",
        Kind::Interim => "Interim",
        Kind::Stop => "Stop",
        Kind::Failed => "Failed",
        Kind::Missed => "Missed",
        Kind::Event => "Event",
        Kind::Cdr => "Cdr",
        Kind::On => "On",
        Kind::Off => "Off",
    }
}

#[cfg(test)]
mod tests;
