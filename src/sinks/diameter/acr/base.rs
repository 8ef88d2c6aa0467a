//! Base accounting: the AVPs of RFC 6733 §9.7 and RFC 7155 §4.6, and the values of the SIP transaction.

use super::settings::{Application, Profile, Settings};
use super::target::{Finder, Page, Target};
use super::{Message, Renderer, event, value_of};
use crate::diameter::code::{self, record_type};
use crate::record::{Kind, is_internal};
use crate::sinks::mapping::{self, Manner, Need, Place, Target as _};
use crate::sinks::profile;

/// Service-Type (RFC 7155 §4.4.1).
pub(super) const SERVICE_TYPE: u32 = 6;

/// The AVPs of the core values; there are none on Rf, where they have their own places.
pub(super) fn core(settings: &Settings, finder: &mut Finder<'_>) -> Vec<Place<Target>> {
    let (system, space) = match settings.profile {
        _ if settings.application == Application::Rf => return Vec::new(),
        Profile::None => return Vec::new(),
        Profile::Own => (profile::Profile::Own, ""),
        // It keeps RFC 4740's and 3GPP's SIP-Method away.
        Profile::Opensips => (profile::Profile::Opensips, "0:"),
        Profile::Openser => (profile::Profile::Openser, "0:"),
    };
    let purpose = format!("the profile `{}`", settings.profile.name());
    let find = |name: &str, need| match need {
        Need::Required => finder.named(&format!("{space}{name}"), &purpose),
        Need::Optional => finder.optional(&format!("{space}{name}")),
    };
    // A method stands behind the texts even where it is one.
    let attributes = system.system().attributes.as_ref();
    attributes.map_or_else(Vec::new, |attributes| attributes.places(find, |_| false))
}

impl Renderer {
    /// Everything behind what both applications begin with.
    pub(super) fn base(&self, about: &Message<'_>, out: &mut Page<'_>) {
        self.session(about, out);
        self.core(about, out);
        self.put_fields(about, out);
        self.put_legs(about, out);
    }

    fn session(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let (settings, record, m) = (&self.settings, about.record, |code| self.marks.m(0, code));
        if !record.call_id.is_empty() {
            out.avp(code::ACCT_SESSION_ID, 0, m(code::ACCT_SESSION_ID), &record.call_id);
        }
        if !record.multi_session.is_empty() {
            let identity = settings.session_identity.as_ref().unwrap_or(&settings.identity);
            let _whole: Result<(), std::convert::Infallible> =
                out.avp_with(code::ACCT_MULTI_SESSION_ID, 0, m(code::ACCT_MULTI_SESSION_ID), |value| {
                    event::multi_session_id(record, identity, value);
                    Ok(())
                });
        }
        let record_type = about.event.record_type;
        let is_end =
            record_type == record_type::STOP || (record.kind == Kind::Cdr && record_type != record_type::START);
        if let Some(end) = record.end.filter(|_| is_end) {
            let cause = event::termination_cause(end, record.code);
            out.u32(code::TERMINATION_CAUSE, 0, m(code::TERMINATION_CAUSE), cause);
        }
        if let Some(span) = record.times.duration.filter(|_| is_end || record_type == record_type::INTERIM) {
            out.u32(code::ACCT_SESSION_TIME, 0, m(code::ACCT_SESSION_TIME), settings.style.round.seconds(span));
        }
        if let Some(service) = settings.service_type {
            out.u32(SERVICE_TYPE, 0, m(SERVICE_TYPE), service);
        }
        if let Some(target) = &self.record_id {
            let mut text = [0; 26];
            target.put_text(record_id(record.id.0, &mut text), "", out);
        }
    }

    fn core(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let (record, round) = (about.record, self.settings.style.round);
        let (texts, numbers) = self.core.split_at(self.core.partition_point(Place::is_text));
        mapping::put_core(texts, record, round, Manner::Own, out);
        if let Some(target) = self.shortened.as_ref().filter(|_| record.shortened) {
            target.put_text(b"record", "", out);
        }
        mapping::put_core(numbers, record, round, Manner::Own, out);
    }

    /// Fields in the order of the record; those without an AVP as `name=value`.
    fn put_fields(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let is_user = |name: &str| self.user_name.as_ref().is_some_and(|target| target.field() == name);
        let own = |name: &str| self.own_field.as_ref().filter(|_| !is_user(name) && !is_internal(name));
        mapping::put_fields(&about.record.fields, &self.fields, own, out);
    }
}

/// The record id as its text, without an allocation.
pub(super) fn record_id(id: u128, text: &mut [u8; 26]) -> &[u8] {
    ulid::Ulid(id).array_to_str(text).as_bytes()
}

/// The value a field has, for parts that look for one by its AVP.
pub(super) fn field_text<'a>(
    about: &Message<'a>,
    fields: &[Target],
    is: impl Fn(&Target) -> bool,
) -> Option<std::borrow::Cow<'a, [u8]>> {
    let target = fields.iter().find(|target| is(target))?;
    value_of(&about.record.fields, target)?.text().filter(|text| !text.is_empty())
}
