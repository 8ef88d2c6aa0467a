//! The lines of a record: comma-separated values (RFC 4180), or JSON.
//!
//! No line holds a line end, a NUL or an octet that is no UTF-8, whatever came over the wire: so a line is whole if, and only
//! if, its end is there, and any reader takes it. In a cell such octets, and in JSON those that are no UTF-8, are written as
//! `%` and two digits, as in URIs; the column `escaped` names the columns where that happened.

use std::borrow::Cow;
use std::io::Write as _;

use crate::record::core::Item;
use crate::record::{Fields, LegOrder, Record, Value};
use crate::sinks::mapping::{Round, Source};
use crate::sinks::profile::{self, Form};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Comma-separated values.
    #[default]
    Csv,
    /// One JSON object a line.
    Json,
}

/// How a record with several legs is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Legs {
    /// One line, in which a column of legs has the values of all.
    #[default]
    Together,
    /// A line for each leg, with all that the record has.
    Rows,
}

/// A column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Where its value comes from; `None`: it names what was escaped.
    pub source: Option<Source>,
}

/// What a line looks like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Layout {
    /// Default comma-separated values.
    pub format: Format,
    /// At least one.
    pub columns: Vec<Column>,
    /// Default together.
    pub legs: Legs,
    /// Default oldest first.
    pub leg_order: LegOrder,
    /// Spans in whole seconds, so rounded; `None`: with milliseconds.
    pub round: Option<Round>,
}

impl Layout {
    /// The line with the names of the columns; empty for JSON, whose lines have them all.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut line = Line::new(self.format);
        match self.format {
            Format::Json => return Vec::new(),
            Format::Csv => self.columns.iter().for_each(|column| line.cell("", &Cell::text(column.name.as_bytes()))),
        }
        line.end(Vec::new())
    }

    /// The lines of a record, each with its end.
    #[must_use]
    pub fn lines(&self, record: &Record) -> Vec<u8> {
        let (mut out, count) = (Vec::new(), record.legs.len());
        if self.legs == Legs::Together || count == 0 {
            return self.line(record, None, out);
        }
        for step in 0..count {
            out = self.line(record, Some(self.leg_order.place(step, count)), out);
        }
        out
    }

    /// Adds the line of one leg, or of the whole record.
    fn line(&self, record: &Record, leg: Option<usize>, out: Vec<u8>) -> Vec<u8> {
        let mut line = Line::new(self.format);
        for Column { name, source } in &self.columns {
            match source {
                Some(source) => line.cell(name, &self.cell(source, record, leg)),
                None => line.place_of_escaped(name),
            }
        }
        line.end(out)
    }

    fn cell<'r>(&self, source: &Source, record: &'r Record, leg: Option<usize>) -> Cell<'r> {
        match source {
            Source::Core(core) => self.item(core.of(record), Form::Plain),
            Source::Value(_, Form::Status) => Cell::Text(profile::value::status(record).into()),
            Source::Value(value, form) => self.item(value.of(record), *form),
            Source::Field(name) => of_field(&record.fields, name),
            Source::LegNumber => {
                leg.map_or(Cell::Empty, |leg| Cell::Number(i64::try_from(leg).unwrap_or(i64::MAX) + 1))
            }
            Source::Leg(name) => match leg {
                Some(leg) => of_field(&record.legs[leg], name),
                None if self.legs == Legs::Rows || record.legs.is_empty() => Cell::Empty,
                None => {
                    let (count, legs) = (record.legs.len(), &record.legs);
                    let of_step = |step| match value(&legs[self.leg_order.place(step, count)], name) {
                        Some(value) => value.text(),
                        None => None,
                    };
                    Cell::Many((0..count).map(of_step).collect())
                }
            },
        }
    }

    fn item<'r>(&self, item: Option<Item<'r>>, form: Form) -> Cell<'r> {
        match item {
            None | Some(Item::Text([])) => Cell::Empty,
            Some(Item::Text(text)) => Cell::text(text),
            Some(Item::Word(word)) => Cell::text(word.as_bytes()),
            Some(Item::Kind(kind)) => Cell::text(kind.name().as_bytes()),
            Some(Item::Id(id)) => Cell::Text(id.to_string().into_bytes().into()),
            Some(Item::Number(number)) => Cell::Number(number),
            Some(Item::Instant(at)) => Cell::Text(at.to_string().into_bytes().into()),
            Some(Item::Flag(flag)) => Cell::Flag(flag),
            Some(Item::Address(address)) => Cell::Text(address.to_string().into_bytes().into()),
            Some(Item::Many(many)) => Cell::Many(many.texts().into_iter().map(Some).collect()),
            Some(Item::Span(span)) => match (form, self.round) {
                (Form::Millis, _) => Cell::Number(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
                (Form::Secs, round) => Cell::Number(round.unwrap_or_default().seconds(span).into()),
                (_, Some(round)) => Cell::Number(round.seconds(span).into()),
                (_, None) => Cell::Millis(span.as_millis()),
            },
        }
    }
}

fn value<'r>(fields: &'r Fields, name: &str) -> Option<&'r Value> {
    fields.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

fn of_field<'r>(fields: &'r Fields, name: &str) -> Cell<'r> {
    match value(fields, name) {
        None | Some(Value::Absent) => Cell::Empty,
        Some(Value::Number(number)) => Cell::Number(*number),
        Some(Value::Text(text)) => Cell::text(text),
        Some(Value::List(items)) => Cell::Many(items.iter().map(|item| Some(Cow::Borrowed(&item[..]))).collect()),
    }
}

/// What stands in a column.
enum Cell<'r> {
    /// Nothing: in JSON `null`.
    Empty,
    Text(Cow<'r, [u8]>),
    Number(i64),
    /// Seconds, counted in thousandths.
    Millis(u128),
    Flag(bool),
    /// Several values: joined by comma and space, in JSON an array.
    Many(Vec<Option<Cow<'r, [u8]>>>),
}

impl<'r> Cell<'r> {
    const fn text(text: &'r [u8]) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// A line in the making.
struct Line {
    format: Format,
    out: Vec<u8>,
    /// Cells that were begun.
    cells: usize,
    /// Where the column stands that names what was escaped.
    escaped_at: Option<usize>,
    /// Columns in which something was.
    escaped: Vec<String>,
}

impl Line {
    const fn new(format: Format) -> Self {
        Self { format, out: Vec::new(), cells: 0, escaped_at: None, escaped: Vec::new() }
    }

    /// What stands before the cell of a column.
    fn begin(&mut self, name: &str) {
        let is_first = self.cells == 0;
        self.cells += 1;
        match (self.format, is_first) {
            (Format::Csv, true) => self.out.reserve(LINE_OCTETS),
            (Format::Csv, false) => self.out.push(b','),
            (Format::Json, _) => {
                self.out.push(if is_first { b'{' } else { b',' });
                json_text(name.as_bytes(), &mut self.out);
                self.out.push(b':');
            }
        }
    }

    fn place_of_escaped(&mut self, name: &str) {
        self.begin(name);
        self.escaped_at = Some(self.out.len());
    }

    fn cell(&mut self, name: &str, cell: &Cell<'_>) {
        self.begin(name);
        let is_escaped = match self.format {
            Format::Csv => csv_cell(cell, &mut self.out),
            Format::Json => json_cell(cell, &mut self.out),
        };
        if is_escaped {
            self.escaped.push(name.to_owned());
        }
    }

    /// The whole line behind others.
    fn end(mut self, mut lines: Vec<u8>) -> Vec<u8> {
        if let Some(at) = self.escaped_at.filter(|_| self.format == Format::Json || !self.escaped.is_empty()) {
            let names = self.escaped.iter().map(|name| Some(Cow::Borrowed(name.as_bytes()))).collect();
            let mut cell = Vec::new();
            match self.format {
                Format::Csv => csv_cell(&Cell::Many(names), &mut cell),
                Format::Json => json_cell(&Cell::Many(names), &mut cell),
            };
            self.out.splice(at..at, cell);
        }
        // A line of nothing is no line with one empty cell.
        if self.out.is_empty() {
            self.out.extend_from_slice(b"\"\"");
        }
        self.out.extend_from_slice(match self.format {
            Format::Csv => b"\r\n",
            Format::Json => b"}\n",
        });
        if lines.is_empty() {
            return self.out;
        }
        lines.append(&mut self.out);
        lines
    }
}

/// Octets that most lines fit in.
const LINE_OCTETS: usize = 512;

/// Writes a cell of RFC 4180 §2; whether something was escaped.
fn csv_cell(cell: &Cell<'_>, out: &mut Vec<u8>) -> bool {
    match cell {
        Cell::Empty => false,
        // What is there and empty is told from what is not.
        Cell::Text(text) if text.is_empty() => {
            out.extend_from_slice(b"\"\"");
            false
        }
        Cell::Text(text) => csv_text(text, out),
        Cell::Many(values) => {
            let joined =
                values.iter().map(|value| value.as_deref().unwrap_or_default()).collect::<Vec<_>>().join(&b", "[..]);
            csv_text(&joined, out)
        }
        Cell::Number(_) | Cell::Millis(_) | Cell::Flag(_) => {
            plain(cell, out);
            false
        }
    }
}

fn csv_text(text: &[u8], out: &mut Vec<u8>) -> bool {
    if is_plain(text, b',') {
        out.extend_from_slice(text);
        return false;
    }
    let begin = out.len();
    let mut is_quoted = false;
    let is_escaped = clean(text, char::is_control, |piece| {
        is_quoted |= piece.contains(['"', ',']);
        // Doubled below, once it is known that it is quoted.
        out.extend_from_slice(piece.as_bytes());
    });
    if is_quoted {
        let bare = out.split_off(begin);
        out.push(b'"');
        for octet in bare {
            out.extend_from_slice(if octet == b'"' { b"\"\"" } else { std::slice::from_ref(&octet) });
        }
        out.push(b'"');
    }
    is_escaped
}

/// Writes a cell as JSON; whether something was escaped.
fn json_cell(cell: &Cell<'_>, out: &mut Vec<u8>) -> bool {
    match cell {
        Cell::Empty => {
            out.extend_from_slice(b"null");
            false
        }
        Cell::Text(text) => json_text(text, out),
        Cell::Many(values) => {
            let mut is_escaped = false;
            out.push(b'[');
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                match value {
                    Some(text) => is_escaped |= json_text(text, out),
                    None => out.extend_from_slice(b"null"),
                }
            }
            out.push(b']');
            is_escaped
        }
        Cell::Number(_) | Cell::Millis(_) | Cell::Flag(_) => {
            plain(cell, out);
            false
        }
    }
}

fn json_text(text: &[u8], out: &mut Vec<u8>) -> bool {
    if is_plain(text, b'\\') {
        [b"\"", text, b"\""].into_iter().for_each(|part| out.extend_from_slice(part));
        return false;
    }
    let mut whole = String::with_capacity(text.len());
    let is_escaped = clean(text, |_| false, |piece| whole.push_str(piece));
    // Writing into memory does not fail, and a text has no key that could be wrong.
    let _infallible = serde_json::to_writer(out, &whole);
    is_escaped
}

/// Whether a text stands for itself, as nearly all do: printable ASCII without quotes and the other special character.
fn is_plain(text: &[u8], special: u8) -> bool {
    text.iter().all(|octet| matches!(octet, b' '..=b'~') && *octet != b'"' && *octet != special)
}

/// Numbers, which both forms write alike.
fn plain(cell: &Cell<'_>, out: &mut Vec<u8>) {
    let _infallible = match cell {
        Cell::Number(number) => write!(out, "{number}"),
        Cell::Millis(millis) => write!(out, "{}.{:03}", millis / 1000, millis % 1000),
        Cell::Flag(flag) => write!(out, "{flag}"),
        Cell::Empty | Cell::Text(_) | Cell::Many(_) => Ok(()),
    };
}

/// Gives a text in pieces, with `%XX` for octets that are no UTF-8 and for characters that are not `allowed`; whether there
/// were some.
fn clean(text: &[u8], is_bad: impl Fn(char) -> bool, mut put: impl FnMut(&str)) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut is_escaped = false;
    let mut escape = |octets: &[u8], put: &mut dyn FnMut(&str)| {
        for octet in octets {
            let [high, low] = [octet >> 4, octet & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
            put(&String::from_iter(['%', high, low]));
        }
        is_escaped |= !octets.is_empty();
    };
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| is_bad(*c)) {
            put(&rest[..at]);
            escape(bad.encode_utf8(&mut [0; 4]).as_bytes(), &mut put);
            rest = &rest[at + bad.len_utf8()..];
        }
        put(rest);
        escape(chunk.invalid(), &mut put);
    }
    is_escaped
}
