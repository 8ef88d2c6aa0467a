//! Base accounting: the AVPs of RFC 6733 §9.7 and RFC 7155 §4.6, and the values of the SIP transaction.

use super::settings::{Application, Profile, Settings};
use super::target::{Finder, Target};
use super::{Message, Renderer, event, value_of};
use crate::diameter::avp::Writer;
use crate::diameter::code::{self, record_type};
use crate::dictionary::Input;
use crate::record::{Kind, Value, is_internal};

/// Service-Type (RFC 7155 §4.4.1).
pub(super) const SERVICE_TYPE: u32 = 6;

/// AVPs of the core values; `None` where the profile has no place for a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Core {
    kind: Option<Target>,
    call_id: Option<Target>,
    method: Option<Target>,
    code: Option<Target>,
    reason: Option<Target>,
    from_tag: Option<Target>,
    to_tag: Option<Target>,
    cseq: Option<Target>,
    /// Instants.
    created: Option<Target>,
    answered: Option<Target>,
    acknowledged: Option<Target>,
    ended: Option<Target>,
    /// Spans in milliseconds.
    setup_ms: Option<Target>,
    duration_ms: Option<Target>,
    /// Spans in seconds.
    setup_secs: Option<Target>,
    duration_secs: Option<Target>,
    ended_by: Option<Target>,
    end_cause: Option<Target>,
}

impl Core {
    pub(super) fn of(settings: &Settings, finder: &mut Finder<'_>) -> Self {
        if settings.application == Application::Rf {
            return Self::default();
        }
        let mut need = |name: &str| finder.named(name, &format!("the profile `{}`", settings.profile.name()));
        match settings.profile {
            Profile::None => Self::default(),
            Profile::Own => Self {
                kind: need("Tollgate-Record-Kind"),
                call_id: need("Tollgate-Call-Id"),
                method: need("Tollgate-Method"),
                code: need("Tollgate-Response-Code"),
                reason: need("Tollgate-Reason"),
                from_tag: need("Tollgate-From-Tag"),
                to_tag: need("Tollgate-To-Tag"),
                cseq: need("Tollgate-CSeq"),
                created: need("Tollgate-Created"),
                answered: need("Tollgate-Answered"),
                acknowledged: need("Tollgate-Acknowledged"),
                ended: need("Tollgate-Ended"),
                setup_ms: need("Tollgate-Setup-Time-Ms"),
                duration_ms: need("Tollgate-Duration-Ms"),
                setup_secs: None,
                duration_secs: None,
                ended_by: need("Tollgate-Ended-By"),
                end_cause: need("Tollgate-End-Cause"),
            },
            Profile::Opensips | Profile::Openser => {
                // `0:` keeps RFC 4740's and 3GPP's SIP-Method away.
                let core = Self {
                    code: need("0:Sip-Response-Code"),
                    method: need("0:Sip-Method"),
                    from_tag: need("0:Sip-From-Tag"),
                    to_tag: need("0:Sip-To-Tag"),
                    ..Self::default()
                };
                let mut may = |name: &str| finder.optional(name);
                match settings.profile {
                    Profile::Openser => Self { cseq: may("0:Sip-CSeq"), ..core },
                    _ => Self {
                        created: may("0:Sip-Call-Created"),
                        setup_secs: may("0:Sip-Call-Setuptime"),
                        duration_secs: may("0:Sip-Call-Duration"),
                        duration_ms: may("0:Sip-Call-MSDuration"),
                        ..core
                    },
                }
            }
        }
    }
}

impl Renderer {
    /// Everything behind what both applications begin with.
    pub(super) fn base(&mut self, about: &Message<'_>, out: &mut Writer<'_>) {
        self.session(about, out);
        self.core_texts(about, out);
        self.core_numbers(about, out);
        self.put_fields(about, out);
        self.put_legs(about, out);
    }

    fn session(&mut self, about: &Message<'_>, out: &mut Writer<'_>) {
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
            out.u32(code::ACCT_SESSION_TIME, 0, m(code::ACCT_SESSION_TIME), settings.round.seconds(span));
        }
        if let Some(service) = settings.service_type {
            out.u32(SERVICE_TYPE, 0, m(SERVICE_TYPE), service);
        }
        if let Some(target) = &self.record_id {
            let mut text = [0; 26];
            target.put_text(record_id(record.id.0, &mut text), out, &mut self.misfits);
        }
    }

    fn core_texts(&mut self, about: &Message<'_>, out: &mut Writer<'_>) {
        let (record, core, misfits) = (about.record, &self.core, &mut self.misfits);
        let (by, cause) = record.end.map_or(("", ""), |end| (end.by.name(), end.cause.name()));
        for (target, text) in [
            (&core.kind, capital(record.kind).as_bytes()),
            (&core.call_id, &record.call_id),
            (&core.reason, &record.reason),
            (&core.from_tag, &record.from_tag),
            (&core.to_tag, &record.to_tag),
            (&core.ended_by, by.as_bytes()),
            (&core.end_cause, cause.as_bytes()),
        ] {
            if let Some(target) = target {
                target.put_text(text, out, misfits);
            }
        }
        if let Some(target) = &core.method {
            target.put_name(&record.method, out, misfits);
        }
        if let Some(target) = self.shortened.as_ref().filter(|_| record.shortened) {
            target.put_text(b"record", out, misfits);
        }
    }

    fn core_numbers(&mut self, about: &Message<'_>, out: &mut Writer<'_>) {
        let (record, core, misfits) = (about.record, &self.core, &mut self.misfits);
        let times = &record.times;
        if let Some(target) = core.code.as_ref().filter(|_| record.code > 0) {
            target.put(Input::Number(record.code.into()), out, misfits);
        }
        if let Some(target) = &core.cseq {
            target.put(Input::Number(record.cseq.into()), out, misfits);
        }
        for (target, at) in [
            (&core.created, Some(times.created)),
            (&core.answered, times.answered),
            (&core.acknowledged, times.acknowledged),
            (&core.ended, times.ended),
        ] {
            if let (Some(target), Some(at)) = (target, at) {
                target.put_instant(at, out, misfits);
            }
        }
        for (target, span) in [(&core.setup_ms, times.setup), (&core.duration_ms, times.duration)] {
            if let (Some(target), Some(span)) = (target, span) {
                let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                target.put(Input::Number(millis), out, misfits);
            }
        }
        for (target, span) in [(&core.setup_secs, times.setup), (&core.duration_secs, times.duration)] {
            if let (Some(target), Some(span)) = (target, span) {
                let secs = self.settings.round.seconds(span);
                target.put(Input::Number(secs.into()), out, misfits);
            }
        }
    }

    /// Fields in the order of the record; those without an AVP as `name=value`.
    pub(super) fn put_fields(&mut self, about: &Message<'_>, out: &mut Writer<'_>) {
        let misfits = &mut self.misfits;
        for (name, value) in &about.record.fields {
            let mut found = self.user_name.as_ref().is_some_and(|target| *target.field == **name);
            for target in self.fields.iter().filter(|target| *target.field == **name) {
                found = true;
                target.put_value(value, out, misfits);
            }
            if let Some(target) = self.own_field.as_ref().filter(|_| !found && !is_internal(name)) {
                put_named(target, name, value, out);
            }
        }
    }
}

/// Writes `name=value` as a text AVP; an absent or empty value is left out.
pub(super) fn put_named(target: &Target, name: &str, value: &Value, out: &mut Writer<'_>) {
    let Some(text) = value.text().filter(|text| !text.is_empty()) else { return };
    let _fits = out.avp_with(target.code(), target.vendor(), target.flags(), |octets| {
        octets.extend_from_slice(name.as_bytes());
        octets.push(b'=');
        target.handle.encode(Input::Text(&text), octets)
    });
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
