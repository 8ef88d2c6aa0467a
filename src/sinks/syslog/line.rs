//! The lines of a record: labels with values, no longer than a receiver takes.
//!
//! A record that does not fit goes on in further lines: each has the values of the record, then as many fields and legs as
//! fit, and `part=1/3`. A value that alone is too long is cut, at a character, and ends in `[cut]`.

use std::borrow::Cow;

use super::words::LEVELS;
use crate::record::core::Item;
use crate::record::{Fields, Kind, LegOrder, Record, Value};
use crate::sinks::mapping::Round;
use crate::sinks::profile::{Absent, Clock, Form, From, Lines, Profile, Row, value};

/// How `;`, `=` and control characters in values are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escape {
    /// As the proxies do, who know no escape; but no value ends its line: a control character is `#` and three octal digits, as
    /// rsyslog writes it.
    #[default]
    None,
    /// `%` and two digits for `;`, `=`, `%`, control characters and octets that are no UTF-8: so that what was sent can be
    /// told from what the caller made up.
    Percent,
}

/// What lines say.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Whose lines.
    pub profile: Profile,
    /// Default none.
    pub escape: Escape,
    /// The number of the level.
    pub level: u8,
    /// Fields with their labels, in order.
    pub fields: Vec<(String, String)>,
    /// Fields of legs with their labels, in order.
    pub leg_fields: Vec<(String, String)>,
    /// Order of the legs.
    pub leg_order: LegOrder,
    /// How spans become whole seconds.
    pub round: Round,
    /// Label of the record's id behind all values; `None`: it is not written there.
    pub id_label: Option<String>,
    /// Values of a line that is not of a whole call.
    pub rows: Vec<Row>,
    /// Which of the profile's forms of the time it has, 0 for the usual one.
    pub time: usize,
    /// How instants become texts in it.
    pub clock: Clock,
    /// When a whole call begins.
    pub cdr_start: From,
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        let all = |own: &Self| {
            let lists = (own.fields.clone(), own.leg_fields.clone(), own.id_label.clone());
            let times = (own.rows.clone(), own.time, own.clock.clone(), own.cdr_start);
            (own.profile, own.escape, own.level, own.leg_order, own.round, lists, times)
        };
        all(self) == all(other)
    }
}

impl Layout {
    /// The lines of a record, each of `room` octets at most; none for the gateway's own records, which are of no call.
    #[must_use]
    pub fn lines(&self, record: &Record, room: usize) -> Vec<Vec<u8>> {
        if matches!(record.kind, Kind::On | Kind::Off) {
            return Vec::new();
        }
        let is_call = record.kind == Kind::Cdr;
        let system = self.own();
        let between = system.between[usize::from(is_call)];
        let head = self.head(record, between, if is_call { system.call } else { &self.rows });
        let parts = self.parts(record, between);
        let id = self.id_label.as_ref().map(|label| format!("{between}{label}={}", record.id)).unwrap_or_default();
        let length = head.len() + parts.iter().map(Vec::len).sum::<usize>() + id.len();
        if length <= room {
            return vec![[&head, &parts.concat(), id.as_bytes()].concat()];
        }
        let room = room.saturating_sub(head.len() + id.len() + between.len() + PART_OCTETS);
        let mut bodies: Vec<Vec<u8>> = vec![Vec::new()];
        for mut part in parts {
            cut(&mut part, room);
            match bodies.last_mut() {
                Some(body) if body.len() + part.len() <= room => body.extend_from_slice(&part),
                _ => bodies.push(part),
            }
        }
        bodies.retain(|body| !body.is_empty());
        let count = bodies.len();
        let line = |(number, body): (usize, &Vec<u8>)| {
            let tail = format!("{id}{between}part={}/{count}", number + 1);
            [&head, &body[..], tail.as_bytes()].concat()
        };
        bodies.iter().enumerate().map(line).collect()
    }

    const fn own(&self) -> &'static Lines {
        &self.profile.system().lines
    }

    /// What every line begins with.
    fn head(&self, record: &Record, between: &str, pairs: &[Row]) -> Vec<u8> {
        let [before, text] = self.own().text(record, self.time);
        let level = LEVELS.get(usize::from(self.level)).map_or("", |(_, _, word)| word);
        let mut head = [&before.replace("{level}", level), text].concat().into_bytes();
        let mut is_first = true;
        for (label, value, form) in pairs {
            let text = value::text(value.from(self.cdr_start), *form, record, self.round, &self.clock);
            let is_joined = || *form == Form::Status || matches!(value.of(record), Some(Item::Many(_)));
            // What is made here needs no escape, but for what is put together of texts that came.
            let mut value = match text {
                Cow::Owned(text) if !is_joined() => text,
                text => self.escaped(&text),
            };
            match self.profile.system().absent {
                Absent::Omitted if value.is_empty() => continue,
                Absent::Written(text) if value.is_empty() => value.extend_from_slice(text.as_bytes()),
                Absent::Omitted | Absent::Written(_) => {}
            }
            cut(&mut value, CORE_OCTETS_MAX);
            if !std::mem::take(&mut is_first) {
                head.extend_from_slice(between.as_bytes());
            }
            head.extend_from_slice(label.as_bytes());
            head.push(b'=');
            head.append(&mut value);
        }
        head
    }

    /// Fields, and legs as a whole each, with what stands before them.
    fn parts(&self, record: &Record, between: &str) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (field, label) in &self.fields {
            parts.push(self.pair(&record.fields, field, label, between));
        }
        let count = record.legs.len();
        let leg = |leg: &Fields| {
            self.leg_fields.iter().flat_map(|(field, label)| self.pair(leg, field, label, between)).collect()
        };
        if count == 0 && !self.leg_fields.is_empty() {
            parts.push(leg(&Fields::new()));
        }
        parts.extend((0..count).map(|step| leg(&record.legs[self.leg_order.place(step, count)])));
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn pair(&self, fields: &Fields, field: &str, label: &str, between: &str) -> Vec<u8> {
        let value = fields.iter().find(|(own, _)| own == field).map_or(&Value::Absent, |(_, value)| value);
        let text = match value {
            Value::List(items) => Some(Cow::Owned(items.join(self.profile.system().join))),
            other => other.text(),
        };
        let mut text = self.escaped(text.as_deref().unwrap_or_default());
        match self.profile.system().absent {
            Absent::Omitted if text.is_empty() => return Vec::new(),
            Absent::Written(other) if text.is_empty() => text.extend_from_slice(other.as_bytes()),
            Absent::Omitted | Absent::Written(_) => {}
        }
        [between.as_bytes(), label.as_bytes(), b"=", &text].concat()
    }

    /// A value as it may stand in a line.
    #[must_use]
    pub fn escaped(&self, text: &[u8]) -> Vec<u8> {
        let is_bad =
            |octet: u8| octet.is_ascii_control() || (self.escape == Escape::Percent && b";=%".contains(&octet));
        if text.is_ascii() && !text.iter().copied().any(is_bad) {
            return text.to_vec();
        }
        let mut out = Vec::with_capacity(text.len() + 16);
        for chunk in text.utf8_chunks() {
            for octet in chunk.valid().bytes() {
                if is_bad(octet) { self.put_escaped(octet, &mut out) } else { out.push(octet) }
            }
            for octet in chunk.invalid() {
                match self.escape {
                    Escape::None => out.push(*octet),
                    Escape::Percent => self.put_escaped(*octet, &mut out),
                }
            }
        }
        out
    }

    fn put_escaped(&self, octet: u8, out: &mut Vec<u8>) {
        let text = match self.escape {
            Escape::None => format!("#{octet:03o}"),
            Escape::Percent => format!("%{octet:02X}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Cuts what is longer, at a character, and marks it.
fn cut(text: &mut Vec<u8>, most: usize) {
    if text.len() <= most {
        return;
    }
    let mut end = most.saturating_sub(CUT.len());
    // Not in the middle of a character, nor of an escape.
    while end > 0 && (text[end] & 0xC0) == 0x80 {
        end -= 1;
    }
    if let Some(at) = text[..end].iter().rposition(|octet| matches!(octet, b'%' | b'#')).filter(|at| end - at < 4) {
        end = at;
    }
    text.truncate(end);
    text.extend_from_slice(CUT);
}

/// The end of a value that was cut.
const CUT: &[u8] = b"[cut]";

/// Octets of a value that every line of a record repeats, at most.
const CORE_OCTETS_MAX: usize = 400;

/// Room for `part=99/99`.
const PART_OCTETS: usize = 16;
