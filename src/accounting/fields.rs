//! Fields and legs: templates evaluated, values merged and cut.

use super::session::Session;
use super::settings::{FieldSource, FieldSources, Settings};
use crate::policy::Values;
use crate::record::codec::{LEGS_MAX, VALUE_BYTES_MAX};
use crate::record::{Fields, LegOrder, Value};
use crate::vars::{Context, Template};

/// Evaluates fields; whether a value had to be cut.
pub(super) fn evaluate(templates: &[(String, Template)], context: &Context<'_>) -> (Fields, bool) {
    let mut is_cut = false;
    let mut fields = Fields::with_capacity(templates.len());
    for (name, template) in templates {
        let mut value = template.eval(context);
        is_cut |= cut(&mut value);
        fields.push((name.clone(), value));
    }
    (fields, is_cut)
}

/// The same fields, no value longer than a record may have; whether one had to be cut.
pub(super) fn limited(mut fields: Fields) -> (Fields, bool) {
    let mut is_cut = false;
    for (_, value) in &mut fields {
        is_cut |= cut(value);
    }
    (fields, is_cut)
}

/// Puts the fields that the policy has set over the others; whether a value had to be cut.
pub(super) fn overlay(fields: &mut Fields, values: Option<&Values>) -> bool {
    values.is_some_and(|values| put(fields, &values.fields))
}

/// Puts fields over those of the same names; whether a value had to be cut.
pub(super) fn put(fields: &mut Fields, own: &[(String, Value)]) -> bool {
    let mut is_cut = false;
    for (name, value) in own {
        let mut value = value.clone();
        is_cut |= cut(&mut value);
        match fields.iter_mut().find(|field| field.0 == *name) {
            Some(field) => field.1 = value,
            None => fields.push((name.clone(), value)),
        }
    }
    is_cut
}

/// Cuts a value to the limit of a record, so that no long one is carried along; whether it was longer.
fn cut(value: &mut Value) -> bool {
    match value {
        Value::Text(text) if text.len() > VALUE_BYTES_MAX => {
            text.truncate(VALUE_BYTES_MAX);
            text.shrink_to_fit();
            true
        }
        // The codec cuts a list: its items are counted there.
        Value::Absent | Value::Text(_) | Value::List(_) | Value::Number(_) => false,
    }
}

/// The fields of `first`, and of `second` what is absent there.
pub(super) fn merge(mut first: Fields, second: Fields) -> Fields {
    for (name, value) in second {
        if value == Value::Absent {
            continue;
        }
        match first.iter_mut().find(|field| field.0 == name) {
            Some((_, own)) if *own == Value::Absent => *own = value,
            Some(_) => {}
            None => first.push((name, value)),
        }
    }
    first
}

/// The fields of a later record: each from its request or from the call, as the settings say, and from the other where
/// that has none.
pub(super) fn by_source(sources: &FieldSources, own: Fields, mut call: Fields) -> Fields {
    if sources.all_of(FieldSource::Call) {
        return merge(call, own);
    }
    let mut fields = merge(own, call.clone());
    if sources.all_of(FieldSource::Request) {
        return fields;
    }
    for (name, value) in &mut fields {
        let of_call = call.iter_mut().find(|field| field.0 == *name).map(|field| &mut field.1);
        if let Some(of_call) =
            of_call.filter(|of_call| **of_call != Value::Absent && sources.of(name) == FieldSource::Call)
        {
            std::mem::swap(value, of_call);
        }
    }
    fields
}

/// The fields of a call's later record, with the Start's values where they must not change: those of its route, and
/// those by which a server joins the records of a session.
pub(super) fn frozen(mut fields: Fields, names: &[String], session: Option<&Session>) -> Fields {
    let Some(session) = session.filter(|session| session.own_fields > 0 || !names.is_empty()) else { return fields };
    for (place, (name, value)) in session.fields().into_iter().enumerate() {
        let is_frozen = place < usize::from(session.own_fields) || names.contains(&name);
        if is_frozen && let Some((_, own)) = fields.iter_mut().find(|field| field.0 == name) {
            *own = value;
        }
    }
    fields
}

/// Adds a leg; further ones than a record holds are left out. Whether something is missing then.
pub(super) fn push_leg(legs: &mut Vec<Fields>, leg: Fields) -> bool {
    let has_room = legs.len() < LEGS_MAX;
    if has_room {
        legs.push(leg);
    }
    !has_room
}

/// Adds fields to the legs that there are, the last of `more` to the last of them; what is left over makes legs of its own in
/// front. Whether something had to be left out.
pub(super) fn lay_beside(legs: &mut Vec<Fields>, mut more: Vec<Fields>) -> bool {
    let paired = more.split_off(more.len().saturating_sub(legs.len()));
    let first = legs.len() - paired.len();
    let mut is_cut = false;
    for (leg, more) in legs[first..].iter_mut().zip(&paired) {
        is_cut |= put(leg, more);
    }
    let room = LEGS_MAX.saturating_sub(legs.len());
    let surplus = more.len().saturating_sub(room);
    legs.splice(0..0, more.drain(surplus..));
    is_cut || surplus > 0
}

/// The legs in the order of the settings.
pub(super) fn ordered(settings: &Settings, mut legs: Vec<Fields>) -> Vec<Fields> {
    if settings.leg_order == LegOrder::NewestFirst {
        legs.reverse();
    }
    legs
}
