//! A record as the attributes of an Accounting-Request.
//!
//! The octets depend on the record and the settings only, so that every attempt of a record, at every server and after a
//! restart, sends the same. Order: status, session, service, core values, fields, legs, NAS.

use std::borrow::Cow;
use std::net::IpAddr;

use super::profile::{Finder, SetupError, Target};
use super::settings::{Legs, SessionId, Settings};
use super::status::{status, terminate_cause};
use crate::clock::Timestamp;
use crate::dictionary::{Handle, Input};
use crate::radius::attribute::{AttributeList, Budget, Fitted, Limit, Oversize, Priority, clean, fit};
use crate::radius::number;
use crate::radius::packet::{self, VALUE_OCTETS_MAX};
use crate::record::core::Core;
use crate::record::{Fields, Kind, Record, is_internal};
use crate::sinks::mapping::{self, Manner, Need, Place, Target as _, Unmapped};
use crate::sinks::profile::{Attributes, Step, Val};

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
    core: Vec<Place<Target>>,
    order: Vec<Part>,
    fields: Vec<Target>,
    leg_fields: Vec<Target>,
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
    text: Vec<u8>,
    sheet: Sheet,
}

/// The attributes of a record in the making, and what they do not hold of its values.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    list: AttributeList,
    /// What was shortened, by name.
    names: String,
    losses: Losses,
}

impl Renderer {
    /// A renderer; `nas_address` is the NAS address when the settings have none.
    ///
    /// # Errors
    /// Every attribute that no dictionary has or that must not carry values of calls.
    pub fn new(settings: &Settings, nas_address: IpAddr) -> Result<Self, SetupErrors> {
        let mut finder = Finder::new(settings);
        let purpose = format!("the profile `{}`", settings.profile.name());
        let find = |name: &str, need| match need {
            Need::Required => finder.required(name, &purpose, Priority::CORE),
            Need::Optional => finder.optional(name, Priority::CORE),
        };
        let attributes = settings.profile.system().attributes.as_ref();
        let mut core = attributes.map_or_else(Vec::new, |attributes| attributes.places(find, Target::takes_text));
        let fields = finder.fields(&settings.fields, "");
        // What a field is mapped to is that field's.
        let is_free = |place: &Place<Target>| {
            let is_field = matches!(place.value(), Val::Field(_));
            !is_field || fields.iter().all(|field| field.handle.oid() != place.target().handle.oid())
        };
        core.retain(is_free);
        let order = match attributes.filter(|_| settings.is_exact) {
            Some(attributes) => exact_order(attributes, &core),
            None => OWN_ORDER.to_vec(),
        };
        let mut leg_fields = finder.fields(&settings.leg_fields, "leg ");
        for target in leg_fields.iter_mut().filter(|target| target.priority == Priority::FIELD) {
            target.priority = Priority::LEG;
        }
        let record_id = finder.required(&settings.record_id_attribute, "the record id", Priority::ESSENTIAL);
        let shortened = finder.required(&settings.shortened_attribute, "shortened values", Priority::ESSENTIAL);
        let (own_field, own_leg) = match settings.style.unmapped {
            Unmapped::Own => (
                finder.required("Tollgate-Field", "fields without an attribute", Priority::FIELD),
                finder.required("Tollgate-Leg", "legs without attributes", Priority::LEG),
            ),
            Unmapped::Omit => (None, None),
        };
        let leg_number = finder.optional("Tollgate-Leg-Number", Priority::ESSENTIAL);
        let leg_count = finder.optional("Tollgate-Leg-Count", Priority::ESSENTIAL);
        finder.finish()?;
        let mut service = Vec::new();
        if let Some(number) = settings.service_type {
            packet::push(&mut service, number::SERVICE_TYPE, &number.to_be_bytes());
        }
        Ok(Self {
            nas: nas(settings, settings.nas_address.unwrap_or(nas_address)),
            settings: settings.clone(),
            core,
            order,
            fields,
            leg_fields,
            record_id,
            shortened,
            own_field,
            own_leg,
            leg_number,
            leg_count,
            service,
            text: Vec::new(),
            sheet: Sheet::default(),
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
        let place = self.settings.style.leg_order.place(step, record.legs.len());
        self.render_part(record, Some(place))
    }

    fn render_part(&mut self, record: &Record, leg: Option<usize>) -> (&[u8], Losses) {
        self.sheet.clear();
        if record.shortened {
            self.sheet.note("record");
        }
        for place in 0..self.order.len() {
            self.put(self.order[place], record, leg);
        }
        self.sheet.finish(self.shortened.as_ref());
        (self.sheet.list.octets(), self.sheet.losses)
    }

    fn put(&mut self, part: Part, record: &Record, leg: Option<usize>) {
        let Self { settings, sheet, .. } = self;
        let (list, essential) = (&mut sheet.list, Priority::ESSENTIAL);
        match part {
            Part::Status => {
                list.push_integer(essential, number::ACCT_STATUS_TYPE, status(record, settings.status_mapping) as u32);
            }
            Part::Session => self.put_session(record),
            Part::MultiSession => list.push(essential, number::ACCT_MULTI_SESSION_ID, record.multi_session.as_bytes()),
            Part::Service => list.push_with(essential, |out| out.extend_from_slice(&self.service)),
            Part::Event => {
                // As OpenSIPS has it, a whole call is dated by its answer.
                let answered = record.times.answered.filter(|_| settings.is_exact && record.kind == Kind::Cdr);
                let secs = answered.unwrap_or_else(|| event(record)).secs();
                let secs = u32::try_from(secs).unwrap_or(if secs < 0 { 0 } else { u32::MAX });
                list.push_integer(essential, number::EVENT_TIMESTAMP, secs);
            }
            Part::Lasting => self.put_lasting(record),
            Part::RecordId => self.put_record_id(record, leg),
            Part::Core(from, to) => self.put_core(record, from, to),
            Part::Fields => {
                let own = |name: &str| self.own_field.as_ref().filter(|_| !is_internal(name));
                mapping::put_fields(&record.fields, &self.fields, own, sheet);
            }
            Part::Legs => self.put_legs(&record.legs, leg),
            Part::Nas => list.push_with(essential, |out| out.extend_from_slice(&self.nas)),
        }
    }

    fn put_session(&mut self, record: &Record) {
        let settings = &self.settings;
        let list = &mut self.sheet.list;
        let essential = Priority::ESSENTIAL;
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
        if fitted == Fitted::Shortened {
            self.sheet.note("session_id");
        }
    }

    fn put_lasting(&mut self, record: &Record) {
        let (settings, list, essential) = (&self.settings, &mut self.sheet.list, Priority::ESSENTIAL);
        let is_end = is_end(record);
        if let Some(span) = record.times.duration.filter(|_| is_end || record.kind == Kind::Interim) {
            list.push_integer(essential, number::ACCT_SESSION_TIME, settings.style.round.seconds(span));
        }
        if let Some(end) = record.end.filter(|_| is_end) {
            let cause = terminate_cause(end, record.code, &settings.terminate_causes);
            list.push_integer(essential, number::ACCT_TERMINATE_CAUSE, cause);
        }
    }

    /// The record's id; of the request for one leg an id of its own, with the place among its like.
    fn put_record_id(&mut self, record: &Record, leg: Option<usize>) {
        let sheet = &mut self.sheet;
        let mut id = record.id.to_string();
        if let Some(place) = leg {
            id.push_str(&format!(".{}", place + 1));
            for (target, number) in [(&self.leg_number, place + 1), (&self.leg_count, record.legs.len())] {
                if let Some(target) = target {
                    target.put(Input::Number(i64::try_from(number).unwrap_or(i64::MAX)), "", sheet);
                }
            }
        }
        if let Some(target) = &self.record_id {
            target.put(Input::Text(id.as_bytes()), "", sheet);
        }
    }

    fn put_core(&mut self, record: &Record, from: usize, to: usize) {
        let Settings { profile, style, on_user_name, is_exact, .. } = &self.settings;
        let manner = match profile.is_classic() {
            true if *is_exact => Manner::Exact,
            true => Manner::Proxy,
            false => Manner::Own,
        };
        let mut places = self.core.get(from..to.min(self.core.len())).unwrap_or_default();
        let is_call = !matches!(record.kind, Kind::On | Kind::Off);
        if !is_call {
            let kinds = places.iter().take_while(|place| place.value() == Val::Core(Core::Kind));
            places = &places[..kinds.count()];
        }
        mapping::put_core(places, record, style.round, manner, &mut self.sheet);
        if !is_call && from == 0 {
            let name = on_user_name.as_deref().unwrap_or_default();
            self.sheet.list.push(Priority::ESSENTIAL, number::USER_NAME, name.as_bytes());
        }
    }

    /// All legs, or one: mapped fields one by one, the others together.
    fn put_legs(&mut self, legs: &[Fields], only: Option<usize>) {
        let (targets, sheet) = (&self.leg_fields, &mut self.sheet);
        for step in 0..legs.len() {
            let place = self.settings.style.leg_order.place(step, legs.len());
            if only.is_some_and(|only| only != place) {
                continue;
            }
            mapping::put_fields(&legs[place], targets, |_| None, sheet);
            if let Some(own) = &self.own_leg {
                let is_mapped = |name: &str| targets.iter().any(|target| *target.field == *name);
                own.put_text(&mapping::rest_of_leg(place + 1, &legs[place], is_mapped), "leg", sheet);
            }
        }
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug)]
enum Part {
    Status,
    Session,
    MultiSession,
    Service,
    Event,
    /// Acct-Session-Time and Acct-Terminate-Cause.
    Lasting,
    RecordId,
    /// Core values from one place up to another.
    Core(usize, usize),
    Fields,
    Legs,
    /// Attributes of the NAS.
    Nas,
}

/// The order of the parts, unless the system's is asked for.
const OWN_ORDER: [Part; 11] = [
    Part::Status,
    Part::Session,
    Part::MultiSession,
    Part::Service,
    Part::Event,
    Part::Lasting,
    Part::RecordId,
    Part::Core(0, usize::MAX),
    Part::Fields,
    Part::Legs,
    Part::Nas,
];

/// The order of the system, with what is not its own behind.
fn exact_order(attributes: &Attributes, core: &[Place<Target>]) -> Vec<Part> {
    let part = |step: &Step| match step {
        Step::Status => Some(Part::Status),
        Step::Service => Some(Part::Service),
        Step::Session => Some(Part::Session),
        Step::Event => Some(Part::Event),
        Step::Fields => Some(Part::Fields),
        Step::Legs => Some(Part::Legs),
        Step::Value(name) => {
            let place = core.iter().position(|place| place.name() == *name)?;
            Some(Part::Core(place, place + 1))
        }
    };
    let own = [Part::Nas, Part::MultiSession, Part::Lasting, Part::RecordId];
    attributes.order.iter().filter_map(part).chain(own).collect()
}

const fn is_end(record: &Record) -> bool {
    matches!(record.kind, Kind::Stop | Kind::Cdr)
}

/// When it happened: of a call that has ended, then.
fn event(record: &Record) -> Timestamp {
    let ended = if is_end(record) { record.times.ended } else { None };
    ended.unwrap_or(record.times.event)
}

impl Sheet {
    fn clear(&mut self) {
        self.list.clear();
        self.names.clear();
        self.losses = Losses::default();
    }

    /// Notes a value that is not whole; nothing under no name.
    fn note(&mut self, name: &str) {
        if name.is_empty() {
            return;
        }
        self.losses.shortened += 1;
        let is_known = self.names.split(',').any(|known| known == name);
        if !is_known && self.names.len() + 1 + name.len() <= NAMES_OCTETS_MAX {
            if !self.names.is_empty() {
                self.names.push(',');
            }
            self.names.push_str(name);
        }
    }

    /// Brings the list to its budget and says in `shortened` what is missing.
    fn finish(&mut self, shortened: Option<&Target>) {
        let budget = Budget::default();
        if !self.list.fits(budget) {
            self.note("packet");
            self.losses.shortened -= 1;
        }
        if let Some(target) = shortened {
            let names = std::mem::take(&mut self.names);
            target.put_text(names.as_bytes(), "", self);
            self.names = names;
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
    let port = |out: &mut Vec<u8>| {
        if let Some(port) = settings.nas_port {
            packet::push(out, number::NAS_PORT, &port.to_be_bytes());
        }
    };
    if settings.is_exact {
        port(&mut out);
    }
    match address {
        IpAddr::V4(address) => packet::push(&mut out, number::NAS_IP_ADDRESS, &address.octets()),
        IpAddr::V6(address) => packet::push(&mut out, number::NAS_IPV6_ADDRESS, &address.octets()),
    }
    if !settings.is_exact {
        port(&mut out);
    }
    packet::push(&mut out, number::NAS_PORT_TYPE, &VIRTUAL.to_be_bytes());
    out
}

impl mapping::Target<Sheet> for Target {
    fn field(&self) -> &str {
        &self.field
    }

    fn is_text(&self) -> bool {
        self.takes_text()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.handle.value(name)
    }

    fn join(&self) -> &'static [u8] {
        self.join
    }

    // Each caller knows what it has: the way of the others goes.
    #[inline(always)]
    fn put(&self, value: Input<'_>, name: &str, sheet: &mut Sheet) {
        let fitted = match value {
            Input::Text(text) if self.takes_text() => put_text(&mut sheet.list, self, text),
            Input::Number(number) if self.takes_text() => {
                put_text(&mut sheet.list, self, number.to_string().as_bytes())
            }
            value => put_encoded(&mut sheet.list, self, value),
        };
        if fitted == Fitted::Shortened {
            sheet.note(name);
        }
    }
}

/// Appends a value as the attribute's type says; text as far as it can be read.
fn put_encoded(list: &mut AttributeList, target: &Target, value: Input<'_>) -> Fitted {
    let mut fitted = Fitted::Whole;
    list.push_with(target.priority, |out| {
        if target.handle.encode(value, out).is_err() {
            fitted = Fitted::Shortened;
        }
    });
    fitted
}

/// Appends a text, cut to what the attribute takes.
fn put_text(list: &mut AttributeList, target: &Target, value: &[u8]) -> Fitted {
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
    let mut fitted = push(&target.handle, target.limit, target.oversize);
    if let Some(long) = target.long.as_ref().filter(|_| fitted == Fitted::Shortened) {
        // The whole of it travels there.
        fitted = push(long, long.value_octets_max().into(), Oversize::Truncate);
    }
    if is_cleaned { Fitted::Shortened } else { fitted }
}

#[cfg(test)]
mod tests;
