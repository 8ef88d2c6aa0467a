//! The Rf profile: Service-Context-Id and Service-Information (3GPP TS 32.299 §7.2, used as TS 32.260 says).
//!
//! Fields mapped to an AVP of Service-Information stand in its group; others, such as a vendor's, at the end of the
//! record. AVPs that may repeat are repeated for each item of a list. Without a field for them the parties, the charging
//! id, the operators and the access network are those of [`ims`](super::ims). Not used on Rf: Acct-Session-Id,
//! Acct-Multi-Session-Id, Accounting-Sub-Session-Id, Termination-Cause.

use std::time::Duration;

use super::base::{field_text, record_id};
use super::settings::Legs;
use super::target::{Page, Target};
use super::{Message, Renderer, Unmapped, event, ims, value_of};
use crate::clock::Timestamp;
use crate::diameter::VENDOR_3GPP as TGPP;
use crate::diameter::avp::Writer;
use crate::record::{Kind, Value, is_internal};
use crate::sinks::mapping::Target as _;

/// Subscription-Id (RFC 8506 §8.46).
pub(super) const SUBSCRIPTION_ID: u32 = 443;
const SUBSCRIPTION_ID_DATA: u32 = 444;
const SUBSCRIPTION_ID_TYPE: u32 = 450;
const SERVICE_CONTEXT_ID: u32 = 461;

const EVENT_TYPE: u32 = 823;
const SIP_METHOD: u32 = 824;
const EVENT: u32 = 825;
const ROLE_OF_NODE: u32 = 829;
const USER_SESSION_ID: u32 = 830;
const CALLING_PARTY_ADDRESS: u32 = 831;
const CALLED_PARTY_ADDRESS: u32 = 832;
const TIME_STAMPS: u32 = 833;
const SIP_REQUEST_TIMESTAMP: u32 = 834;
const SIP_RESPONSE_TIMESTAMP: u32 = 835;
const INTER_OPERATOR_IDENTIFIER: u32 = 838;
const ORIGINATING_IOI: u32 = 839;
const TERMINATING_IOI: u32 = 840;
const IMS_CHARGING_IDENTIFIER: u32 = 841;
const APPLICATION_SERVER_INFORMATION: u32 = 850;
const TRUNK_GROUP_ID: u32 = 851;
const CAUSE_CODE: u32 = 861;
const NODE_FUNCTIONALITY: u32 = 862;
const SERVICE_SPECIFIC_DATA: u32 = 863;
const SERVICE_INFORMATION: u32 = 873;
const IMS_INFORMATION: u32 = 876;
const EXPIRES: u32 = 888;
const MESSAGE_BODY: u32 = 889;
const SERVICE_SPECIFIC_INFO: u32 = 1249;
const ACCESS_NETWORK_INFORMATION: u32 = 1263;
const SIP_REQUEST_TIMESTAMP_FRACTION: u32 = 2301;
const SIP_RESPONSE_TIMESTAMP_FRACTION: u32 = 2302;

/// AVPs directly in IMS-Information that fields may be mapped to.
const IMS_AVPS: &[u32] =
    &[829, 830, 831, 832, 841, 842, 848, 855, 856, 1250, 1251, 1263, 2320, 2701, 2708, 3401, 3402, 3403, 3404];

/// AVPs of 3GPP that are written without a field.
const WRITTEN: &[u32] = &[
    EVENT_TYPE,
    SIP_METHOD,
    ROLE_OF_NODE,
    USER_SESSION_ID,
    CALLING_PARTY_ADDRESS,
    CALLED_PARTY_ADDRESS,
    TIME_STAMPS,
    SIP_REQUEST_TIMESTAMP,
    SIP_RESPONSE_TIMESTAMP,
    ORIGINATING_IOI,
    TERMINATING_IOI,
    IMS_CHARGING_IDENTIFIER,
    CAUSE_CODE,
    NODE_FUNCTIONALITY,
    SERVICE_INFORMATION,
    IMS_INFORMATION,
    ACCESS_NETWORK_INFORMATION,
    SERVICE_SPECIFIC_INFO,
    SERVICE_SPECIFIC_DATA,
    SIP_REQUEST_TIMESTAMP_FRACTION,
    SIP_RESPONSE_TIMESTAMP_FRACTION,
];

/// Whether records have this AVP without a field for it.
pub(super) fn writes(vendor: u32, code: u32) -> bool {
    match vendor {
        0 => [SERVICE_CONTEXT_ID, SUBSCRIPTION_ID, SUBSCRIPTION_ID_TYPE, SUBSCRIPTION_ID_DATA].contains(&code),
        TGPP => WRITTEN.contains(&code) || IMS_GROUPS.iter().any(|(group, _)| *group == code),
        _ => false,
    }
}

/// Groups in IMS-Information, and the members that fields may be mapped to.
const IMS_GROUPS: &[(u32, &[u32])] = &[
    (APPLICATION_SERVER_INFORMATION, &[836, 837]),
    (INTER_OPERATOR_IDENTIFIER, &[839, 840]),
    (TRUNK_GROUP_ID, &[852, 853]),
    (MESSAGE_BODY, &[826, 827, 828]),
    (SERVICE_SPECIFIC_INFO, &[SERVICE_SPECIFIC_DATA, 1257]),
];

/// Where in a record an AVP belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// At the end of the message.
    Message,
    /// A Subscription-Id in Service-Information.
    Subscription,
    /// In Event-Type.
    EventType,
    /// Directly in IMS-Information.
    Ims,
    /// In a group of IMS-Information.
    Group(u32),
}

/// The places of the fields, in their order.
#[derive(Debug, Default)]
pub(super) struct Places {
    of_fields: Vec<Place>,
}

impl Places {
    pub(super) fn of(fields: &[Target]) -> Self {
        Self { of_fields: fields.iter().map(place).collect() }
    }
}

fn place(target: &Target) -> Place {
    match (target.vendor(), target.code()) {
        (0, SUBSCRIPTION_ID | SUBSCRIPTION_ID_DATA) => Place::Subscription,
        (TGPP, EVENT | EXPIRES) => Place::EventType,
        (TGPP, code) if IMS_AVPS.contains(&code) => Place::Ims,
        (TGPP, code) => {
            let group = IMS_GROUPS.iter().find(|(_, members)| members.contains(&code));
            group.map_or(Place::Message, |(group, _)| Place::Group(*group))
        }
        _ => Place::Message,
    }
}

impl Renderer {
    /// Everything behind what both applications begin with.
    pub(super) fn service(&self, about: &Message<'_>, out: &mut Page<'_>) {
        out.avp(
            SERVICE_CONTEXT_ID,
            0,
            self.marks.m(0, SERVICE_CONTEXT_ID),
            self.settings.rf.service_context_id.as_bytes(),
        );
        let service = out.open(SERVICE_INFORMATION, TGPP, self.marks.m(TGPP, SERVICE_INFORMATION));
        self.subscriptions(about, out);
        let ims = out.open(IMS_INFORMATION, TGPP, self.marks.m(TGPP, IMS_INFORMATION));
        self.event_type(about, out);
        self.ims(about, out);
        let is_grouped = self.settings.legs == Legs::Grouped;
        if !is_grouped {
            self.ims_legs(about, out);
        }
        out.close(ims);
        out.close(service);
        if let Some(target) = &self.record_id {
            let mut text = [0; 26];
            target.put_text(record_id(about.record.id.0, &mut text), "", out);
        }
        self.put_at(about, Place::Message, out);
        if is_grouped {
            self.put_legs(about, out);
        } else {
            self.put_other_legs(about, out);
        }
    }

    /// Fields with a value whose AVP belongs there.
    fn fields_at<'a>(&'a self, about: &Message<'a>, place: Place) -> impl Iterator<Item = (&'a Target, &'a Value)> {
        let record = about.record;
        let targets = self.fields.iter().zip(&self.rf.of_fields).filter(move |(_, of)| **of == place);
        targets.filter_map(move |(target, _)| Some((target, value_of(&record.fields, target)?)))
    }

    fn put_at(&self, about: &Message<'_>, place: Place, out: &mut Page<'_>) {
        for (target, value) in self.fields_at(about, place) {
            target.put_each(value, out);
        }
    }

    /// Whether a field with a value carries this AVP, which is then not made up.
    fn has(&self, about: &Message<'_>, code: u32) -> bool {
        field_text(about, &self.fields, |target| target.is(TGPP, code)).is_some()
    }

    fn event_type(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let group = out.open(EVENT_TYPE, TGPP, self.marks.m(TGPP, EVENT_TYPE));
        self.put_own(SIP_METHOD, &about.record.method, out);
        self.put_at(about, Place::EventType, out);
        out.close_unless_empty(group);
    }

    fn ims(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let record = about.record;
        if !self.has(about, ROLE_OF_NODE) {
            out.u32(ROLE_OF_NODE, TGPP, self.marks.m(TGPP, ROLE_OF_NODE), self.settings.rf.role_of_node);
        }
        let functionality = self.marks.m(TGPP, NODE_FUNCTIONALITY);
        out.u32(NODE_FUNCTIONALITY, TGPP, functionality, self.settings.rf.node_functionality);
        if !self.has(about, USER_SESSION_ID) {
            self.put_own(USER_SESSION_ID, &record.call_id, out);
        }
        self.put_at(about, Place::Ims, out);
        self.parties(about, out);
        if !self.has(about, IMS_CHARGING_IDENTIFIER) {
            // One is made where the network gave none (TS 32.260 §5.2.3): the same in all records of the call.
            let given = ims::texts(&record.fields, ims::ICID).first().copied();
            let id = given.unwrap_or(record.multi_session.as_bytes());
            self.put_own(IMS_CHARGING_IDENTIFIER, id, out);
        }
        self.time_stamps(about, out);
        for (code, _) in IMS_GROUPS {
            let group = out.open(*code, TGPP, self.marks.m(TGPP, *code));
            self.put_at(about, Place::Group(*code), out);
            if *code == INTER_OPERATOR_IDENTIFIER {
                self.put_default(about, ORIGINATING_IOI, ims::ORIGINATING_IOI, out);
                self.put_default(about, TERMINATING_IOI, ims::TERMINATING_IOI, out);
            }
            out.close_unless_empty(group);
        }
        let expires = field_text(about, &self.fields, |target| target.is(TGPP, EXPIRES));
        if let Some(cause) = event::cause_code(record, about.event, expires.as_deref()) {
            out.i32(CAUSE_CODE, TGPP, self.marks.m(TGPP, CAUSE_CODE), cause);
        }
        if self.settings.style.unmapped == Unmapped::Own {
            self.unmapped(about, out);
        }
    }

    /// Fields without an AVP, each in a Service-Specific-Info.
    fn unmapped(&self, about: &Message<'_>, out: &mut Writer<'_>) {
        let is_mapped = |name: &str| self.fields.iter().chain(&self.user_name).any(|target| target.field() == name);
        let plain = about.record.fields.iter().filter(|(name, _)| !is_mapped(name) && !is_internal(name));
        for (name, value) in plain {
            self.put_specific(name, value, out);
        }
    }

    /// Leg by leg: AVPs of IMS-Information, and the rest in a Service-Specific-Info.
    fn ims_legs(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let legs = &about.record.legs;
        for step in 0..legs.len() {
            let leg = &legs[self.settings.style.leg_order.place(step, legs.len())];
            for target in self.legs.targets().filter(|target| place(target) == Place::Ims) {
                if let Some(value) = value_of(leg, target) {
                    target.put_each(value, out);
                }
            }
            let is_mapped = |name: &str| self.legs.targets().any(|target| target.field() == name);
            if self.settings.style.unmapped == Unmapped::Own {
                for (name, value) in leg.iter().filter(|(name, _)| !is_mapped(name)) {
                    self.put_specific(name, value, out);
                }
            }
        }
    }

    /// AVPs of legs that are none of IMS-Information.
    fn put_other_legs(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let legs = &about.record.legs;
        for step in 0..legs.len() {
            let leg = &legs[self.settings.style.leg_order.place(step, legs.len())];
            for target in self.legs.targets().filter(|target| place(target) != Place::Ims) {
                match value_of(leg, target) {
                    Some(value) => target.put_each(value, out),
                    None => target.put_empty(out),
                }
            }
        }
    }
}

impl Renderer {
    /// Time-Stamps: arrival of the request and of its final answer, with milliseconds.
    fn time_stamps(&self, about: &Message<'_>, out: &mut Writer<'_>) {
        let times = &about.record.times;
        let (request, response) = match about.record.kind {
            Kind::Stop => (times.ended, Some(times.event)),
            Kind::Cdr => (Some(times.created), times.answered),
            Kind::Interim => (None, Some(times.event)),
            _ => (Some(times.created), Some(times.event)),
        };
        let group = out.open(TIME_STAMPS, TGPP, self.marks.m(TGPP, TIME_STAMPS));
        for (code, at) in [(SIP_REQUEST_TIMESTAMP, request), (SIP_RESPONSE_TIMESTAMP, response)] {
            if let Some(at) = at {
                out.time(code, TGPP, self.marks.m(TGPP, code), at);
            }
        }
        for (code, at) in [(SIP_REQUEST_TIMESTAMP_FRACTION, request), (SIP_RESPONSE_TIMESTAMP_FRACTION, response)] {
            if let Some(at) = at {
                out.u32(code, TGPP, self.marks.m(TGPP, code), millis(at));
            }
        }
        out.close_unless_empty(group);
    }

    /// The subscriber: by fields, else the party that the node serves (TS 32.260 §6.1.3): the called one if it is a
    /// terminating node, else the calling one.
    fn subscriptions(&self, about: &Message<'_>, out: &mut Writer<'_>) {
        let before = out.octets();
        for (target, value) in self.fields_at(about, Place::Subscription) {
            put_subscriptions(value, target.flags(), out);
        }
        if out.octets() > before {
            return;
        }
        const TERMINATING: u32 = 1;
        let fields = &about.record.fields;
        let served =
            if self.settings.rf.role_of_node == TERMINATING { ims::called(fields) } else { ims::calling(fields) };
        let flags = self.marks.m(0, SUBSCRIPTION_ID);
        served.into_iter().for_each(|party| put_subscription(party, flags, out));
    }

    /// Who calls whom, and from which access network, unless fields say so.
    fn parties(&self, about: &Message<'_>, out: &mut Writer<'_>) {
        let fields = &about.record.fields;
        if !self.has(about, CALLING_PARTY_ADDRESS) {
            ims::calling(fields).into_iter().for_each(|party| self.put_own(CALLING_PARTY_ADDRESS, party, out));
        }
        // A registration has no called party.
        if !self.has(about, CALLED_PARTY_ADDRESS) && about.record.method != b"REGISTER" {
            ims::called(fields).into_iter().for_each(|party| self.put_own(CALLED_PARTY_ADDRESS, party, out));
        }
        self.put_default(about, ACCESS_NETWORK_INFORMATION, ims::ACCESS_NETWORK, out);
    }

    /// An AVP for each value of one of our own fields, unless a field of the configuration carries it.
    fn put_default(&self, about: &Message<'_>, code: u32, field: &str, out: &mut Writer<'_>) {
        if !self.has(about, code) {
            ims::texts(&about.record.fields, field).into_iter().for_each(|text| self.put_own(code, text, out));
        }
    }

    /// A text of the record in an AVP of 3GPP; an empty one is left out.
    fn put_own(&self, code: u32, text: &[u8], out: &mut Writer<'_>) {
        if !text.is_empty() {
            put_clean(code, TGPP, self.marks.m(TGPP, code), text, out);
        }
    }

    fn put_specific(&self, name: &str, value: &Value, out: &mut Writer<'_>) {
        let Some(text) = value.text().filter(|text| !text.is_empty()) else { return };
        let group = out.open(SERVICE_SPECIFIC_INFO, TGPP, self.marks.m(TGPP, SERVICE_SPECIFIC_INFO));
        let flags = self.marks.m(TGPP, SERVICE_SPECIFIC_DATA);
        let _whole: Result<(), std::convert::Infallible> = out.avp_with(SERVICE_SPECIFIC_DATA, TGPP, flags, |octets| {
            octets.extend_from_slice(name.as_bytes());
            octets.push(b'=');
            crate::dictionary::diameter::clean(&text, octets);
            Ok(())
        });
        out.close(group);
    }
}

/// Milliseconds within the second.
fn millis(at: Timestamp) -> u32 {
    Duration::from_micros(at.0.rem_euclid(1_000_000).unsigned_abs()).subsec_millis()
}

/// A Subscription-Id for each value, its kind told from its form (RFC 8506 §8.47).
fn put_subscriptions(value: &Value, flags: u8, out: &mut Writer<'_>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| put_subscription(item, flags, out)),
        other => put_subscription(&other.text().unwrap_or_default(), flags, out),
    }
}

fn put_subscription(text: &[u8], flags: u8, out: &mut Writer<'_>) {
    const E164: u32 = 0;
    const SIP_URI: u32 = 2;
    const NAI: u32 = 3;
    const PRIVATE: u32 = 4;
    if text.is_empty() {
        return;
    }
    let lower = |start: &str| text.len() > start.len() && text[..start.len()].eq_ignore_ascii_case(start.as_bytes());
    let number = if lower("tel:") { &text[4..] } else { text };
    let digits = number.strip_prefix(b"+").unwrap_or(number);
    let is_number = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit);
    let (kind, data) = if is_number {
        (E164, digits)
    } else if lower("sip:") || lower("sips:") {
        (SIP_URI, text)
    } else if text.contains(&b'@') {
        (NAI, text)
    } else {
        (PRIVATE, text)
    };
    let group = out.open(SUBSCRIPTION_ID, 0, flags);
    out.u32(SUBSCRIPTION_ID_TYPE, 0, flags, kind);
    put_clean(SUBSCRIPTION_ID_DATA, 0, flags, data, out);
    out.close(group);
}

fn put_clean(code: u32, vendor: u32, flags: u8, text: &[u8], out: &mut Writer<'_>) {
    let _whole: Result<(), std::convert::Infallible> = out.avp_with(code, vendor, flags, |octets| {
        crate::dictionary::diameter::clean(text, octets);
        Ok(())
    });
}
