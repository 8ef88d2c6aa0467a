//! Legs: repeated AVPs, one group each, or one request each.
//!
//! Repeated AVPs are told apart by their order alone, so that a missing value is sent as an empty AVP; and a standard AVP
//! that a server's grammar allows once would be refused the second time (5009).

use super::settings::{Legs, Settings};
use super::target::{Finder, Page, Target};
use super::{Message, Renderer, Unmapped, value_of};
use crate::dictionary::Input;
use crate::record::Fields;
use crate::sinks::mapping::{self, Target as _};

/// AVPs of legs.
#[derive(Debug)]
pub(super) struct LegTargets {
    fields: Vec<Target>,
    group: Option<Target>,
    number: Option<Target>,
    /// Fields of legs without an AVP, all in one.
    own: Option<Target>,
}

impl LegTargets {
    pub(super) fn of(settings: &Settings, finder: &mut Finder<'_>) -> Self {
        let mut fields = finder.fields(&settings.leg_fields, "leg field");
        if settings.legs == Legs::Flat {
            for target in &fields {
                let purpose = format!("leg field `{}`", target.field());
                if !target.takes_text() {
                    let why = "with `legs flat` a missing value is an empty AVP, which only a string type can be";
                    finder.refuse(&purpose, target.handle().name(), why);
                }
                if target.vendor() == 0 && target.handle().is_mandatory() {
                    let why = "servers allow it once in a record; use `legs grouped` or a vendor's AVP";
                    finder.refuse(&purpose, target.handle().name(), why);
                }
            }
        }
        let is_grouped = settings.legs == Legs::Grouped;
        let group = if is_grouped { finder.group(&settings.leg_group, "the group of a leg") } else { None };
        let mut number = if is_grouped { finder.named(&settings.leg_number, "the number of a leg") } else { None };
        let is_own = settings.style.unmapped == Unmapped::Own;
        let mut own = match settings.legs {
            _ if !is_own => None,
            Legs::Grouped => finder.named("Tollgate-Field", "fields of legs without an AVP"),
            Legs::Flat | Legs::SubSessions => finder.named("Tollgate-Leg", "legs without AVPs"),
        };
        if let Some(group) = &group
            && group.flags() == 0
        {
            fields.iter_mut().chain(&mut number).chain(&mut own).for_each(Target::without_mandatory);
        }
        Self { fields, group, number, own }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.fields.iter()
    }

    fn is_mapped(&self, name: &str) -> bool {
        self.fields.iter().any(|target| target.field() == name)
    }
}

impl Renderer {
    /// The legs as configured; of a sub-session its own.
    pub(super) fn put_legs(&self, about: &Message<'_>, out: &mut Page<'_>) {
        let legs = &about.record.legs;
        if let Some((_, place)) = about.leg {
            return self.put_flat(place, &legs[place], out);
        }
        for step in 0..legs.len() {
            let place = self.settings.style.leg_order.place(step, legs.len());
            match self.settings.legs {
                Legs::Grouped => self.put_group(place, &legs[place], out),
                Legs::Flat | Legs::SubSessions => self.put_flat(place, &legs[place], out),
            }
        }
    }

    fn put_flat(&self, place: usize, leg: &Fields, out: &mut Page<'_>) {
        let is_flat = self.settings.legs == Legs::Flat;
        for target in &self.legs.fields {
            let before = out.octets();
            if let Some(value) = value_of(leg, target) {
                target.put_value(value, "", out);
            }
            if is_flat && out.octets() == before {
                target.put_empty(out);
            }
        }
        let Some(own) = &self.legs.own else { return };
        if leg.iter().all(|(name, _)| self.legs.is_mapped(name)) {
            return;
        }
        let rest = mapping::rest_of_leg(place + 1, leg, |name| self.legs.is_mapped(name));
        if rest.is_empty() {
            // It holds its place with its number.
            own.put_text((place + 1).to_string().as_bytes(), "", out);
        } else {
            own.put_text(&rest, "", out);
        }
    }

    fn put_group(&self, place: usize, leg: &Fields, out: &mut Page<'_>) {
        let Some(group) = &self.legs.group else { return };
        let start = out.open(group.code(), group.vendor(), group.flags());
        if let Some(number) = &self.legs.number {
            number.put(Input::Number(i64::try_from(place + 1).unwrap_or(i64::MAX)), "", out);
        }
        for target in &self.legs.fields {
            if let Some(value) = value_of(leg, target) {
                target.put_value(value, "", out);
            }
        }
        if let Some(own) = &self.legs.own {
            for (name, value) in leg.iter().filter(|(name, _)| !self.legs.is_mapped(name)) {
                mapping::put_named(own, name, value, out);
            }
        }
        out.close_unless_empty(start);
    }
}
