//! A record as JSON: `tollgate queue show --json`, event sinks, the demo.

use std::time::Duration;

use serde_json::{Map, Number, Value as Json};

use super::core::{Core, Item};
use super::{Fields, Record, Value};

impl Record {
    /// The record as a JSON object.
    ///
    /// Instants are RFC 3339 text in UTC, spans seconds with milliseconds (cut, not rounded), lists arrays. What is
    /// absent or empty is left out. Octets that are no UTF-8 become U+FFFD, and the key `not_utf8` lists the places.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut printer = Printer { lossy: Vec::new() };
        let mut map = Map::new();
        for value in Core::ALL {
            let json = match value.of(self) {
                None | Some(Item::Text([])) => continue,
                Some(Item::Text(text)) => printer.text(value.name(), text),
                Some(Item::Id(id)) => id.to_string().into(),
                Some(Item::Kind(kind)) => kind.name().into(),
                Some(Item::Word(word)) => word.into(),
                Some(Item::Number(number)) => number.into(),
                Some(Item::Instant(at)) => at.to_string().into(),
                Some(Item::Span(span)) => seconds(span),
                Some(Item::Flag(flag)) => flag.into(),
            };
            map.insert(value.name().into(), json);
        }
        if !self.fields.is_empty() {
            map.insert("fields".into(), printer.fields("fields", &self.fields));
        }
        if !self.legs.is_empty() {
            let legs = self.legs.iter().enumerate();
            let legs: Vec<_> = legs.map(|(index, leg)| printer.fields(&format!("legs[{index}]"), leg)).collect();
            map.insert("legs".into(), legs.into());
        }
        if !printer.lossy.is_empty() {
            map.insert("not_utf8".into(), printer.lossy.into());
        }
        Json::Object(map)
    }
}

/// Seconds with milliseconds; exact up to 285 000 years.
fn seconds(span: Duration) -> Json {
    Number::from_f64(span.as_millis() as f64 / 1000.0).map_or(Json::Null, Json::Number)
}

/// Turns octets into text and remembers where that lost something.
struct Printer {
    lossy: Vec<String>,
}

impl Printer {
    fn text(&mut self, place: &str, octets: &[u8]) -> Json {
        let text = String::from_utf8_lossy(octets);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.lossy.push(place.to_owned());
        }
        text.into_owned().into()
    }

    fn fields(&mut self, place: &str, fields: &Fields) -> Json {
        let mut map = Map::new();
        for (name, value) in fields {
            let place = format!("{place}.{name}");
            let json = match value {
                Value::Absent => continue,
                Value::Text(text) => self.text(&place, text),
                Value::Number(number) => (*number).into(),
                Value::List(items) => {
                    let items = items.iter().enumerate();
                    items.map(|(index, item)| self.text(&format!("{place}[{index}]"), item)).collect::<Vec<_>>().into()
                }
            };
            map.insert(name.clone(), json);
        }
        Json::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
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
