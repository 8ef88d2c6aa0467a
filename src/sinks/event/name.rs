//! Names made of templates: subjects, routing keys, exchanges, topics. `acc.{kind}.{method}` becomes `acc.start.INVITE`.
//!
//! What a value has that its place cannot take is `%` and two hexadecimal digits, as in URIs, so that two values never meet;
//! an absent or empty one is `_`. A name that is too long is cut.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::record::Record;
use crate::record::core::{Core, Item};
use crate::sinks::mapping::Source;

/// What a place takes.
#[derive(Clone, Copy, Debug)]
pub struct Alphabet {
    /// Whether a value may have that octet, which is printable ASCII and no `%`.
    pub takes: fn(u8) -> bool,
    /// Octets of a name at most.
    pub octets_max: usize,
}

/// A template, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    Value(Source),
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is not closed, or was not opened.
    #[error("a brace stands alone")]
    Brace,
    /// There is no such value.
    #[error("there is no value `{name}`")]
    Unknown {
        /// What stands in the braces.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl Template {
    /// Reads one. In braces stands a value of the record, by its name in JSON with `record_id` for its id, or a field, by its
    /// name or as `field.NAME`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, TemplateError> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, behind) = rest.split_once('{').map_or((rest, None), |(text, behind)| (text, Some(behind)));
            if literal.contains('}') {
                return Err(TemplateError::Brace);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            let Some(behind) = behind else { break };
            let (name, behind) = behind.split_once('}').ok_or(TemplateError::Brace)?;
            match Source::named(name, fields, &[]) {
                Ok(source @ (Source::Core(_) | Source::Field(_))) => pieces.push(Piece::Value(source)),
                Ok(_) => return Err(TemplateError::Unknown { name: name.to_owned(), known: Vec::new() }),
                Err(known) => return Err(TemplateError::Unknown { name: name.to_owned(), known }),
            }
            rest = behind;
        }
        Ok(Self(pieces))
    }

    /// The parts of the template that are the same in every name.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Value(_) => None,
        })
    }

    /// The name, where it is the same for every record.
    #[must_use]
    pub fn constant(&self) -> Option<String> {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_))).then(|| self.with_values(""))
    }

    /// The template with this text for every value.
    #[must_use]
    pub fn with_values(&self, value: &str) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(_) => value.to_owned(),
        };
        self.0.iter().map(text).collect()
    }

    /// The name for a record.
    #[must_use]
    pub fn fill(&self, record: &Record, alphabet: Alphabet) -> String {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Value(source) => {
                    let value = value(source, record);
                    escape(value.as_deref().unwrap_or_default(), alphabet, &mut name);
                }
            }
        }
        if name.len() > alphabet.octets_max {
            let end = (0..=alphabet.octets_max).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
            name.truncate(end);
            name.truncate(name.trim_end_matches('.').len());
        }
        name
    }
}

fn value<'r>(source: &Source, record: &'r Record) -> Option<Cow<'r, [u8]>> {
    match source {
        Source::Core(core) => of_core(*core, record),
        Source::Field(name) => record.fields.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.text()),
        Source::Leg(_) | Source::LegNumber | Source::Value(..) => None,
    }
}

fn of_core(core: Core, record: &Record) -> Option<Cow<'_, [u8]>> {
    let text = match core.of(record)? {
        Item::Text(text) => return Some(text.into()),
        Item::Word(word) => return Some(word.as_bytes().into()),
        Item::Kind(kind) => return Some(kind.name().as_bytes().into()),
        Item::Id(id) => id.to_string(),
        Item::Number(number) => number.to_string(),
        Item::Instant(at) => at.to_string(),
        Item::Span(span) => (span.as_millis() as f64 / 1000.0).to_string(),
        Item::Flag(flag) => flag.to_string(),
        Item::Address(address) => address.to_string(),
        Item::Many(many) => return Some(many.joined().into()),
    };
    Some(text.into_bytes().into())
}

fn escape(value: &[u8], alphabet: Alphabet, name: &mut String) {
    if value.is_empty() {
        name.push('_');
    }
    for octet in value {
        if octet.is_ascii_graphic() && *octet != b'%' && (alphabet.takes)(*octet) {
            name.push(char::from(*octet));
        } else {
            let _infallible = write!(name, "%{octet:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kind, Value};
    use crate::sinks::tests::record;

    const PLACE: Alphabet = Alphabet { takes: |octet| !b".*>".contains(&octet), octets_max: 40 };

    #[test]
    fn names_are_made_of_values_that_are_escaped() {
        let mut record = record(Kind::Start);
        record.fields.push(("tenant".to_owned(), Value::Text(b"a.b c*\xe9%".to_vec())));
        record.fields.push(("many".to_owned(), Value::List(vec![b"x".to_vec(), b"y".to_vec()])));
        record.fields.push(("kind".to_owned(), Value::Number(7)));
        let fields = ["src_ip", "tenant", "many", "none", "kind"];
        for (what, template, want) in [
            ("literals alone", "acc.calls", "acc.calls"),
            ("core values", "acc.{kind}.{method}", "acc.start.INVITE"),
            ("a field that is called like a core value", "{field.kind}-{kind}", "7-start"),
            ("dots of a value divide nothing", "acc.{src_ip}", "acc.192%2E0%2E2%2E7"),
            ("blanks, wildcards, octets above ASCII and the sign itself", "{tenant}", "a%2Eb%20c%2A%E9%25"),
            ("a list is one text", "{many}", "x,%20y"),
            ("an absent value has a place", "acc.{none}.{ended_by}.x", "acc._._.x"),
            ("a number", "{code}", "200"),
            ("what is too long is cut", "{call_id}.{call_id}.{call_id}", "call-1@192%2E0%2E2%2E7.call-1@192%2E0%2E"),
        ] {
            let template = Template::parse(template, &fields).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(template.fill(&record, PLACE), want, "{what}");
        }
        let cut = Alphabet { octets_max: 4, ..PLACE };
        assert_eq!(Template::parse("acc.{kind}", &[]).map(|own| own.fill(&record, cut)), Ok("acc".to_owned()));
    }

    #[test]
    fn what_is_no_template_is_told() {
        for (template, want) in [
            ("acc.{kind", "a brace stands alone"),
            ("acc.kind}", "a brace stands alone"),
            ("{", "a brace stands alone"),
            ("acc.{knd}", "there is no value `knd`"),
            ("acc.{leg}", "there is no value `leg`"),
            ("acc.{leg.src}", "there is no value `leg.src`"),
            ("acc.{}", "there is no value ``"),
        ] {
            let error = Template::parse(template, &["src_ip"]).expect_err(template);
            assert_eq!(error.to_string(), want, "{template}");
        }
    }
}
