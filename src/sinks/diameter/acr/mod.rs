//! Records as Accounting-Requests (RFC 6733 §9.7, 3GPP TS 32.299 for the Rf profile).
//!
//! A [`Renderer`] is made once: every AVP it needs is resolved then, and a record costs no look-up. The octets depend on
//! the record, the settings and what the server asked to be echoed, so that every attempt sends the same; the flag T
//! and the identifiers are patched by who sends them.
//!
//! | record | Accounting-Record-Type | Session-Id from | number |
//! |---|---|---|---|
//! | Start | START | the session | 0 |
//! | Interim | INTERIM | the session | the record's own: 1, 2, … |
//! | Stop | STOP | the session | the record's own: one more than the last |
//! | Failed, Missed, Event | EVENT | the record | 0 |
//! | Cdr | EVENT, or as configured | the session | 0; STOP 1 |

mod base;
mod event;
pub mod ims;
mod legs;
mod marks;
mod rf;
mod settings;
mod target;

#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;

pub use event::termination_cause;
pub use marks::class_flags;
pub use settings::{Application, CdrRecord, FieldMapping, Legs, Profile, RealmFrom, Rf, Settings, Trigger};
pub use target::{Misfit, SetupError, SetupErrors};

pub use crate::record::LegOrder;
pub use crate::sinks::mapping::{Round, Style, Unmapped};

use self::event::Event;
use self::legs::LegTargets;
use self::marks::Marks;
use self::rf::Places;
use self::target::{Finder, Misfits, Page, Target};
use crate::diameter::avp::{Avp, Avps, Writer, flag};
use crate::diameter::header::{self, Header, command};
use crate::diameter::{application, code};
use crate::dictionary::diameter::{Dictionary, Type};
use crate::record::{Fields, Record, Value};
use crate::sinks::mapping::{Place, Target as _};

/// What a server asked for in its answers to earlier records of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo<'a> {
    /// Values of the Class AVPs it sent; all of them go back unchanged (RFC 6733 §8.20).
    pub classes: &'a [Vec<u8>],
}

/// What rendering a record came to, beside its octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rendered {
    /// Accounting-Requests appended, one behind the other: none when the settings want no record of the event,
    /// several for sub-sessions and for START and STOP of a whole call. All are to be acknowledged, in order.
    pub messages: usize,
    /// Values left out because they do not fit their AVP; [`Renderer::misfits`] has them.
    pub misfits: usize,
}

/// A record that cannot be sent, ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Too many octets; a server would close the connection.
    #[error("the ACR has {octets} octets, more than `message-size` allows ({max})")]
    TooLong {
        /// Octets of the message.
        octets: usize,
        /// Octets that a message may have.
        max: usize,
    },
}

/// AVPs of an answer that are named at most.
const FAILED_MAX: usize = 8;

/// Renders records; keeps its buffers.
#[derive(Debug)]
pub struct Renderer {
    settings: Settings,
    /// Origin-Host and Origin-Realm.
    origin: Vec<u8>,
    /// The encoded Destination-Host, or nothing.
    destination: Vec<u8>,
    /// Both with the Destination-Realm of the configuration between them.
    route: Vec<u8>,
    /// What is the same in every record, behind Accounting-Record-Number.
    application: Vec<u8>,
    core: Vec<Place<Target>>,
    rf: Places,
    fields: Vec<Target>,
    legs: LegTargets,
    user_name: Option<Target>,
    record_id: Option<Target>,
    own_field: Option<Target>,
    shortened: Option<Target>,
    misfits: Misfits,
    marks: Marks,
}

/// What one Accounting-Request is about.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    record: &'a Record,
    event: Event,
    echo: Echo<'a>,
    /// Number from 1 and place of the leg that is a sub-session of its own.
    leg: Option<(u64, usize)>,
}

impl Renderer {
    /// A renderer.
    ///
    /// # Errors
    /// Every AVP that no dictionary has or that must not carry values of calls.
    pub fn new(settings: &Settings) -> Result<Self, SetupErrors> {
        let mut finder = Finder::new(settings);
        let is_rf = settings.application == Application::Rf;
        if is_rf && settings.legs == Legs::SubSessions {
            finder.refuse("legs", "Accounting-Sub-Session-Id", "it is not used on Rf (TS 32.299)");
        }
        let core = base::core(settings, &mut finder);
        let mut fields = finder.fields(&settings.fields, "field");
        let user_name = fields.iter().position(Target::is_user_name).map(|at| fields.remove(at));
        let legs = LegTargets::of(settings, &mut finder);
        let own = settings.style.unmapped == Unmapped::Own && !is_rf;
        let record_id = finder.named(&settings.record_id, "the record id");
        let own_field = if own { finder.named("Tollgate-Field", "fields without an AVP") } else { None };
        let shortened = if own { finder.named("Tollgate-Shortened", "shortened values") } else { None };
        let marks = finder.marks().clone();
        finder.finish()?;
        let origin = avps(|out| {
            out.avp(code::ORIGIN_HOST, 0, flag::MANDATORY, settings.identity.as_bytes());
            out.avp(code::ORIGIN_REALM, 0, flag::MANDATORY, settings.realm.as_bytes());
        });
        let realm = avps(|out| {
            out.avp(code::DESTINATION_REALM, 0, flag::MANDATORY, settings.destination_realm.as_bytes());
        });
        let destination = avps(|out| {
            if let Some(host) = &settings.destination_host {
                out.avp(code::DESTINATION_HOST, 0, marks.m(0, code::DESTINATION_HOST), host.as_bytes());
            }
        });
        Ok(Self {
            route: [&origin[..], &realm, &destination].concat(),
            origin,
            destination,
            application: avps(|out| {
                out.u32(code::ACCT_APPLICATION_ID, 0, flag::MANDATORY, application::ACCOUNTING);
                if let Some(state) = settings.origin_state {
                    out.u32(code::ORIGIN_STATE_ID, 0, marks.m(0, code::ORIGIN_STATE_ID), state);
                }
            }),
            core,
            rf: Places::of(&fields),
            fields,
            legs,
            user_name,
            record_id,
            own_field,
            shortened,
            misfits: Misfits::default(),
            marks,
            settings: settings.clone(),
        })
    }

    /// Appends the Accounting-Requests of a record to `out`, their identifiers 0.
    ///
    /// # Errors
    /// The record cannot be sent; `out` is as before.
    pub fn render(&mut self, record: &Record, echo: Echo<'_>, out: &mut Vec<u8>) -> Result<Rendered, Unfit> {
        let mut misfits = mem::take(&mut self.misfits);
        misfits.clear();
        let rendered = self.render_all(record, echo, &mut misfits, out);
        self.misfits = misfits;
        rendered
    }

    fn render_all(
        &self,
        record: &Record,
        echo: Echo<'_>,
        misfits: &mut Misfits,
        out: &mut Vec<u8>,
    ) -> Result<Rendered, Unfit> {
        if self.settings.without.contains(&event::trigger(record)) {
            return Ok(Rendered::default());
        }
        let start = out.len();
        let mut messages = 0;
        for event in event::events(record, self.settings.cdr_record) {
            let legs = record.legs.len();
            let is_split = self.settings.legs == Legs::SubSessions && legs > 0;
            for step in 0..if is_split { legs } else { 1 } {
                let place = self.settings.style.leg_order.place(step, legs);
                let leg = is_split.then(|| (place as u64 + 1, place));
                if let Err(unfit) = self.message(&Message { record, event, echo, leg }, misfits, out) {
                    out.truncate(start);
                    return Err(unfit);
                }
                messages += 1;
            }
        }
        Ok(Rendered { messages, misfits: misfits.count() })
    }

    /// The values the last record lost, the first few of them.
    #[must_use]
    pub fn misfits(&self) -> &[Misfit] {
        self.misfits.kept()
    }

    /// The dictionary, for texts about AVPs.
    #[must_use]
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.settings.dictionary
    }

    /// Names the AVPs that a server objects to, from the members of its Failed-AVP (RFC 6733 §7.5), each with the field
    /// whose value it carries: ``Tollgate-Caller (32473:58), field `caller` ``. Each name once, 8 at most.
    ///
    /// Of nested groups the innermost AVP is named.
    #[must_use]
    pub fn name_failed(&self, failed: Avps<'_>) -> Vec<String> {
        let mut names = Vec::new();
        for avp in failed.flatten() {
            let name = self.name_one(avp);
            if !names.contains(&name) && names.len() < FAILED_MAX {
                names.push(name);
            }
        }
        names
    }

    fn name_one(&self, mut avp: Avp<'_>) -> String {
        let dictionary = &self.settings.dictionary;
        while dictionary.coded(avp.vendor, avp.code).kind() == Type::Grouped {
            match avp.grouped().ok().and_then(|mut members| members.next()) {
                Some(Ok(inner)) => avp = inner,
                _ => break,
            }
        }
        let definition = dictionary.coded(avp.vendor, avp.code);
        let number = if avp.vendor == 0 { avp.code.to_string() } else { format!("{}:{}", avp.vendor, avp.code) };
        let mut text = format!("{} ({number})", definition.name());
        let carriers = self.fields.iter().chain(&self.user_name).map(|target| ("field", target));
        let carriers = carriers.chain(self.legs.targets().map(|target| ("leg field", target)));
        for (what, target) in carriers.filter(|(_, target)| target.is(avp.vendor, avp.code)) {
            text.push_str(&format!(", {what} `{}`", target.field()));
        }
        text
    }

    fn message(&self, about: &Message<'_>, misfits: &mut Misfits, out: &mut Vec<u8>) -> Result<(), Unfit> {
        const ACR: Header = Header {
            flags: header::flag::REQUEST | header::flag::PROXIABLE,
            command: command::ACCOUNTING,
            application: application::ACCOUNTING,
            hop_by_hop: 0,
            end_to_end: 0,
            length: 0,
        };
        let (start, max) = (out.len(), self.settings.message_octets_max);
        let written = header::message(out, &ACR, |avps| {
            let page = &mut Page { avps: avps.lend(), misfits };
            self.head(about, page);
            match self.settings.application {
                Application::Base => self.base(about, page),
                Application::Rf => self.service(about, page),
            }
        });
        let octets = match written {
            Ok(()) => out.len() - start,
            Err(header::TooLong(octets)) => octets,
        };
        if octets > max {
            out.truncate(start);
            return Err(Unfit::TooLong { octets, max });
        }
        Ok(())
    }

    /// What both applications begin with: Session-Id first, then what routers look at.
    fn head(&self, about: &Message<'_>, out: &mut Page<'_>) {
        const M: u8 = flag::MANDATORY;
        let (settings, record) = (&self.settings, about.record);
        let identity = settings.session_identity.as_ref().unwrap_or(&settings.identity);
        let _whole: Result<(), std::convert::Infallible> = out.avp_with(code::SESSION_ID, 0, M, |value| {
            event::session_id(record, about.event, identity, value);
            Ok(())
        });
        let user = self.user_name.as_ref().and_then(|target| value_of(&record.fields, target));
        let user = user.and_then(Value::text);
        let realm = match settings.realm_from {
            RealmFrom::User => user.as_deref().and_then(event::realm_of),
            RealmFrom::Configuration => None,
        };
        match realm {
            None => out.ready(&self.route),
            Some(realm) => {
                out.ready(&self.origin);
                out.avp(code::DESTINATION_REALM, 0, M, realm);
                out.ready(&self.destination);
            }
        }
        out.u32(code::ACCOUNTING_RECORD_TYPE, 0, M, about.event.record_type);
        out.u32(code::ACCOUNTING_RECORD_NUMBER, 0, M, about.event.number);
        out.ready(&self.application);
        if let (Some(target), Some(user)) = (&self.user_name, &user) {
            target.put_text(user, "", out);
        }
        if let Some((number, _)) = about.leg {
            out.u64(code::ACCOUNTING_SUB_SESSION_ID, 0, self.marks.m(0, code::ACCOUNTING_SUB_SESSION_ID), number);
        }
        let timestamp = self.marks.m(0, code::EVENT_TIMESTAMP);
        out.time(code::EVENT_TIMESTAMP, 0, timestamp, event::instant(record, about.event));
        for class in about.echo.classes {
            out.avp(code::CLASS, 0, self.marks.flags(0, code::CLASS, 0), class);
        }
    }
}

/// AVPs in a buffer of their own.
fn avps(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut Writer::new(&mut out));
    out
}

/// The value of a target's field.
fn value_of<'a>(fields: &'a Fields, target: &Target) -> Option<&'a Value> {
    fields.iter().find(|(name, _)| name == target.field()).map(|(_, value)| value)
}
