//! A record as JSON: `tollgate queue show --json`, events, the demo.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Map, Value as Json};

use super::core::{Core, Item};
use super::facts::{Attempt, Many};
use super::{Record, Value};
use crate::clock::Timestamp;

impl Record {
    /// The record as a JSON object, with all fields and legs; see [`View`].
    #[must_use]
    pub fn to_json(&self) -> Json {
        serde_json::to_value(View::whole(self)).unwrap_or_default()
    }
}

/// Fields by the names under which they are shown, in order.
pub type Names<'r> = Vec<(&'r str, &'r Value)>;

/// What is shown of a record as a JSON object.
///
/// Instants are RFC 3339 text in UTC, spans seconds with milliseconds (cut, not rounded), lists arrays. What is absent or
/// empty is left out. Octets that are no UTF-8 become U+FFFD, and the key `not_utf8` lists the places.
#[derive(Debug)]
pub struct View<'r> {
    /// Whose core values are shown.
    pub record: &'r Record,
    /// What stands below `fields`.
    pub fields: Names<'r>,
    /// What stands in the array `legs`.
    pub legs: Vec<Names<'r>>,
}

impl<'r> View<'r> {
    /// Everything.
    #[must_use]
    pub fn whole(record: &'r Record) -> Self {
        let names = |fields: &'r super::Fields| fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
        Self { record, fields: names(&record.fields), legs: record.legs.iter().map(names).collect() }
    }
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let lossy = Lossy::default();
        let mut map = out.serialize_map(None)?;
        for value in Core::ALL {
            let name = value.name();
            match value.of(self.record) {
                None | Some(Item::Text([])) => {}
                Some(Item::Text(text)) => map.serialize_entry(name, &lossy.text(text, || name.to_owned()))?,
                Some(Item::Id(id)) => map.serialize_entry(name, &id.to_string())?,
                Some(Item::Kind(kind)) => map.serialize_entry(name, kind.name())?,
                Some(Item::Word(word)) => map.serialize_entry(name, word)?,
                Some(Item::Number(number)) => map.serialize_entry(name, &number)?,
                Some(Item::Instant(at)) => map.serialize_entry(name, &at.to_string())?,
                Some(Item::Span(span)) => map.serialize_entry(name, &seconds(span))?,
                Some(Item::Flag(flag)) => map.serialize_entry(name, &flag)?,
                Some(Item::Address(address)) => map.serialize_entry(name, &address)?,
                Some(Item::Many(many)) => map.serialize_entry(name, &values(name, many, &lossy))?,
            }
        }
        if !self.fields.is_empty() {
            map.serialize_entry("fields", &Object { names: &self.fields, place: "fields", lossy: &lossy })?;
        }
        if !self.legs.is_empty() {
            map.serialize_entry("legs", &Array { legs: &self.legs, lossy: &lossy })?;
        }
        let lossy = lossy.0.into_inner();
        if !lossy.is_empty() {
            map.serialize_entry("not_utf8", &lossy)?;
        }
        map.end()
    }
}

/// An array, of attempts one of objects.
fn values(name: &str, many: Many<'_>, lossy: &Lossy) -> Json {
    let Some(attempts) = many.attempts() else {
        let texts = many.texts().into_iter().enumerate();
        return texts.map(|(number, text)| lossy.text(&text, || format!("{name}[{number}]")).into_owned()).collect();
    };
    let object = |(number, (at, attempt)): (usize, (Timestamp, Attempt<'_>))| {
        let mut map = Map::new();
        let uri = lossy.text(attempt.uri, || format!("{name}[{number}].uri"));
        map.insert("uri".into(), uri.into());
        map.insert("at".into(), at.to_string().into());
        if let Some(address) = attempt.address {
            map.insert("address".into(), address.to_string().into());
        }
        if attempt.code > 0 {
            map.insert("code".into(), attempt.code.into());
        }
        if let Some(cause) = attempt.cause {
            map.insert("cause".into(), cause.name().into());
        }
        if let Some(ring) = attempt.ring() {
            map.insert("ring_s".into(), seconds(ring).into());
        }
        Json::Object(map)
    };
    attempts.enumerate().map(object).collect()
}

/// Seconds with milliseconds; exact up to 285 000 years.
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

/// The places where octets were no text.
#[derive(Default)]
struct Lossy(RefCell<Vec<String>>);

impl Lossy {
    fn text<'t>(&self, octets: &'t [u8], place: impl FnOnce() -> String) -> Cow<'t, str> {
        let text = String::from_utf8_lossy(octets);
        if matches!(text, Cow::Owned(_)) {
            self.0.borrow_mut().push(place());
        }
        text
    }
}

struct Array<'a> {
    legs: &'a [Names<'a>],
    lossy: &'a Lossy,
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut array = out.serialize_seq(Some(self.legs.len()))?;
        for (index, names) in self.legs.iter().enumerate() {
            array.serialize_element(&Object { names, place: &format!("legs[{index}]"), lossy: self.lossy })?;
        }
        array.end()
    }
}

struct Object<'a> {
    names: &'a [(&'a str, &'a Value)],
    place: &'a str,
    lossy: &'a Lossy,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        for (name, value) in self.names {
            let place = || format!("{}.{name}", self.place);
            match value {
                Value::Absent => {}
                Value::Text(text) => map.serialize_entry(name, &self.lossy.text(text, place))?,
                Value::Number(number) => map.serialize_entry(name, number)?,
                Value::List(items) => {
                    let items = items.iter().enumerate();
                    let texts = items.map(|(at, item)| self.lossy.text(item, || format!("{}[{at}]", place())));
                    map.serialize_entry(name, &texts.collect::<Vec<_>>())?;
                }
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::codec::tests::record;

    #[test]
    fn a_record_becomes_json() {
        let mut record = record();
        record.fields = vec![
            ("ua".into(), Value::Text(b"phone \xff".to_vec())),
            ("none".into(), Value::Absent),
            ("via".into(), Value::List(vec![b"a".to_vec(), b"b".to_vec()])),
            ("cs".into(), Value::Number(7)),
        ];
        record.legs = vec![vec![("src".into(), Value::Text(b"A".to_vec()))]];
        record.times.answered = Some(Timestamp(1_700_000_000_000_000));
        record.times.duration = Some(Duration::from_micros(12_345_678));
        let got = record.to_json();
        for (name, key, want) in [
            ("the id is a ULID", "id", json!(record.id.to_string())),
            ("the kind has its name", "kind", json!("stop")),
            ("an instant is RFC 3339", "answered", json!("2023-11-14T22:13:20.000000Z")),
            ("a span is in seconds", "duration_s", json!(12.345)),
            ("what is absent is left out", "setup_s", Json::Null),
            ("fields keep their kinds", "fields", json!({"ua": "phone \u{fffd}", "via": ["a", "b"], "cs": 7})),
            ("legs are a list", "legs", json!([{"src": "A"}])),
            ("text that is no UTF-8 is marked", "not_utf8", json!(["fields.ua"])),
            ("who ended it", "ended_by", json!("caller")),
            ("why it ended", "cause", json!("bye")),
        ] {
            assert_eq!(got.get(key).unwrap_or(&Json::Null), &want, "{name}");
        }
    }
}
