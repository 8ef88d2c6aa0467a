//! The octets of events.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Body, Envelope, Event, Legs};
use crate::names::PRODUCT;
use crate::record::core::Item;
use crate::record::json::{Names, View};
use crate::record::{Fields, Kind, Record, Value, is_internal};
use crate::sinks::profile::event::{Shape, Sort};
use crate::sinks::profile::{Form, Row, Val};

impl Body {
    /// The events of a record; none for the gateway's own records, which are of no call.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn events(&self, record: &Record) -> Result<Vec<Event>, String> {
        if matches!(record.kind, Kind::On | Kind::Off) {
            return Ok(Vec::new());
        }
        let count = record.legs.len();
        if self.legs == Legs::Array || count == 0 {
            let id = record.id.to_string();
            return Ok(vec![self.event(record, id, Part::Whole)?]);
        }
        let of_step = |step| {
            let leg = self.leg_order.place(step, count);
            self.event(record, format!("{}-{}", record.id, leg + 1), Part::Leg(leg))
        };
        (0..count).map(of_step).collect()
    }

    fn event(&self, record: &Record, id: String, part: Part) -> Result<Event, String> {
        let sort = self.profile.sort(record);
        let data = Data { body: self, record, sort, part };
        let written = match self.envelope {
            Envelope::None => serde_json::to_vec(&data),
            Envelope::JsonRpc => serde_json::to_vec(&Notification { jsonrpc: "2.0", method: sort.event, params: data }),
            Envelope::CloudEvents => serde_json::to_vec(&CloudEvent { id: &id, data }),
        };
        Ok(Event { body: written.map_err(|error| error.to_string())?, id })
    }
}

/// Which legs an event has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// All.
    Whole,
    /// That one.
    Leg(usize),
}

#[derive(serde::Serialize)]
struct Notification<'a> {
    jsonrpc: &'static str,
    method: &'static str,
    params: Data<'a>,
}

/// CloudEvents 1.0.2, section 3.1, in the order of its examples.
struct CloudEvent<'a> {
    id: &'a str,
    data: Data<'a>,
}

impl Serialize for CloudEvent<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Data { body, record, .. } = self.data;
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", self.id)?;
        map.serialize_entry("source", &body.source)?;
        map.serialize_entry("type", &format_args!("{PRODUCT}.record.{}", record.kind.name()))?;
        map.serialize_entry("time", &record.times.event.to_string())?;
        if !record.call_id.is_empty() {
            map.serialize_entry("subject", &String::from_utf8_lossy(&record.call_id))?;
        }
        map.serialize_entry("datacontenttype", "application/json")?;
        map.serialize_entry("data", &self.data)?;
        map.end()
    }
}

/// The values of an event.
#[derive(Clone, Copy)]
struct Data<'a> {
    body: &'a Body,
    record: &'a Record,
    sort: &'a Sort,
    part: Part,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Self { body, record, part, .. } = *self;
        if body.profile.shape == Shape::Record {
            let fields = renamed(&record.fields, &body.fields);
            return View { record, fields, legs: self.legs() }.serialize(out);
        }
        let mut map = out.serialize_map(None)?;
        self.pairs(self.sort.before, &mut map)?;
        put(&record.fields, &body.fields, &mut map)?;
        match part {
            Part::Leg(leg) => put(&record.legs[leg], &body.leg_fields, &mut map)?,
            Part::Whole if body.legs == Legs::Events => put(&Fields::new(), &body.leg_fields, &mut map)?,
            Part::Whole if record.legs.is_empty() => {}
            Part::Whole => {
                let legs: Vec<_> = self.in_order().map(|leg| Flat { leg, names: &body.leg_fields }).collect();
                map.serialize_entry("legs", &legs)?;
            }
        }
        self.pairs(self.sort.behind, &mut map)?;
        map.end()
    }
}

impl<'a> Data<'a> {
    /// The legs of the record, in order.
    fn in_order(&self) -> impl Iterator<Item = &'a Fields> {
        let (legs, order) = (&self.record.legs, self.body.leg_order);
        (0..legs.len()).map(move |step| &legs[order.place(step, legs.len())])
    }

    fn legs(&self) -> Vec<Names<'a>> {
        let names = |leg| renamed(leg, &self.body.leg_fields);
        match self.part {
            Part::Whole => self.in_order().map(names).collect(),
            Part::Leg(leg) => vec![names(&self.record.legs[leg])],
        }
    }

    fn pairs<M: SerializeMap>(&self, pairs: &[Row], map: &mut M) -> Result<(), M::Error> {
        for (name, value, form) in pairs {
            self.value(name, *value, *form, map)?;
        }
        Ok(())
    }

    fn value<M: SerializeMap>(&self, name: &str, value: Val, form: Form, map: &mut M) -> Result<(), M::Error> {
        let Some(item) = value.of(self.record) else { return map.serialize_entry(name, &()) };
        match (item, form) {
            (Item::Text([]), _) => map.serialize_entry(name, &()),
            (Item::Text(text), _) => map.serialize_entry(name, &String::from_utf8_lossy(text)),
            (Item::Id(id), _) => map.serialize_entry(name, &id.to_string()),
            (Item::Kind(kind), _) => map.serialize_entry(name, kind.name()),
            (Item::Word(word), _) => map.serialize_entry(name, word),
            (Item::Number(number), Form::Text) => map.serialize_entry(name, &number.to_string()),
            (Item::Number(number), _) => map.serialize_entry(name, &number),
            (Item::Flag(flag), _) => map.serialize_entry(name, &flag),
            (Item::Address(address), _) => map.serialize_entry(name, &address),
            (Item::Many(many), _) => {
                let texts = many.texts();
                let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
                map.serialize_entry(name, &texts)
            }
            (Item::Instant(at), Form::Epoch) => map.serialize_entry(name, &at.secs()),
            (Item::Instant(at), _) => map.serialize_entry(name, &at.to_string()),
            (Item::Span(span), Form::Secs) => map.serialize_entry(name, &self.body.round.seconds(span)),
            (Item::Span(span), Form::Millis) => {
                map.serialize_entry(name, &u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
            }
            (Item::Span(span), _) => map.serialize_entry(name, &(span.as_millis() as f64 / 1000.0)),
        }
    }
}

/// A leg among flat values.
struct Flat<'a> {
    leg: &'a Fields,
    names: &'a [(String, String)],
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.names.len()))?;
        put(self.leg, self.names, &mut map)?;
        map.end()
    }
}

/// The fields that have a name, under that.
fn renamed<'a>(fields: &'a Fields, names: &'a [(String, String)]) -> Names<'a> {
    let named = |(field, value): &'a (String, Value)| {
        let (_, name) = names.iter().find(|(own, _)| own == field && !is_internal(field))?;
        Some((name.as_str(), value))
    };
    fields.iter().filter_map(named).collect()
}

/// Writes every field that has a name, null where the record has no value for it.
fn put<M: SerializeMap>(fields: &Fields, names: &[(String, String)], map: &mut M) -> Result<(), M::Error> {
    for (field, name) in names {
        match fields.iter().find(|(own, _)| own == field).map(|(_, value)| value) {
            Some(Value::Number(number)) => map.serialize_entry(name, number)?,
            value => match value.and_then(Value::text).filter(|text| !text.is_empty()) {
                Some(text) => map.serialize_entry(name, &String::from_utf8_lossy(&text))?,
                None => map.serialize_entry(name, &())?,
            },
        }
    }
    Ok(())
}
