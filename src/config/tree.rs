//! The layers of configuration as one tree: the TOML file, and above it the environment, each value with its place.
//!
//! The crate `config` merges the layers. It keeps no lines, so this module is a [`config::Source`] of the TOML text that
//! notes the place of each key and value beside it. Environment variables are named `TOLLGATE_SECTION__OPTION`, such as
//! `TOLLGATE_QUEUE__PATH`; a list is written with commas. Variables without a double underscore are not ours.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use ::config::{Config, Environment, Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Findings, Form, Mistake, Place};

/// Names a place in [`Places`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PlaceId(pub(super) u32);

/// All places of a configuration; number 0 is nowhere.
#[derive(Debug)]
pub struct Places(Vec<Place>);

impl Places {
    fn add(&mut self, place: Place) -> PlaceId {
        self.0.push(place);
        PlaceId(u32::try_from(self.0.len() - 1).unwrap_or(0))
    }

    /// The place of that number.
    #[must_use]
    pub fn get(&self, id: PlaceId) -> Place {
        self.0.get(id.0 as usize).cloned().unwrap_or_default()
    }
}

/// One value of the merged configuration.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where its key stands; for an element of a list where it begins.
    pub key: PlaceId,
    /// Where its value stands.
    pub value: PlaceId,
    /// Whether it came from the environment, where all is text.
    pub origin: Origin,
    /// The value itself, with the kind that TOML gives it.
    pub kind: Kind,
    /// Taken out after a mistake, so that the rest can be read.
    pub dead: bool,
}

/// Which layer a value is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The TOML file: values have types.
    File,
    /// The environment: everything is text and is read as what is wanted.
    Environment,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string; a date or time is kept as its text, since no option takes one.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<(String, Node)>),
}

/// A step from a table to its member, or from a list to its element.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// To the member of that name.
    Key(String),
    /// To the element of that number.
    Index(usize),
}

impl Node {
    /// A text that stands in the tree only for the time of reading it.
    #[must_use]
    pub fn text(text: &str, place: PlaceId, origin: Origin) -> Self {
        Self { key: place, value: place, origin, kind: Kind::Text(text.to_owned()), dead: false }
    }

    /// The node below this one, dead or alive.
    #[must_use]
    pub fn below(&self, path: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &self.kind {
            Kind::Table(members) => members.iter().find(|(key, _)| key == first)?.1.below(rest),
            _ => None,
        }
    }

    /// Names of the members, dead or alive; none for what is no table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let members: &[(String, Self)] = match &self.kind {
            Kind::Table(members) => members,
            _ => &[],
        };
        members.iter().map(|(key, _)| key.as_str())
    }

    /// Marks the node at `path` as dead; whether there was a living one.
    pub fn kill(&mut self, path: &[Step]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return !std::mem::replace(&mut self.dead, true);
        };
        let next = match (&mut self.kind, first) {
            (Kind::Table(members), Step::Key(key)) => {
                members.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Kind::List(elements), Step::Index(index)) => elements.get_mut(*index),
            _ => None,
        };
        next.is_some_and(|node| node.kill(rest))
    }
}

/// Merges the layers into one tree.
///
/// # Errors
/// All syntax errors of the TOML text, or a variable of ours that is not UTF-8.
pub fn read(path: &Path, text: &str, environment: Map<String, String>) -> Result<(Node, Places), Vec<Mistake>> {
    let mut places = Places(vec![Place::Nowhere]);
    let file = TomlText::parse(path, text, &mut places)?;
    let spans = file.spans.clone();
    let ours = environment
        .into_iter()
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest[1..].contains(SEPARATOR)))
        .collect();
    let variables = Environment::with_prefix(PREFIX).prefix_separator("_").separator(SEPARATOR).source(Some(ours));
    let merged = Config::builder()
        .add_source(file)
        .add_source(variables)
        .build()
        .map_err(|error| vec![Mistake::error(error.to_string(), Place::Nowhere)])?;
    let mut grow = Growth { spans, places: &mut places };
    let root = grow.node(&mut Vec::new(), merged.cache);
    Ok((root, places))
}

/// One text of a file that may be full of mistakes.
#[must_use]
pub fn text_of(text: &str, path: &[&str]) -> Option<String> {
    found(text, path, |value| value.as_str().map(str::to_owned)).flatten()
}

/// Whether a file that may be full of mistakes has a value or a section.
#[must_use]
pub fn has(text: &str, path: &[&str]) -> bool {
    found(text, path, |_| ()).is_some()
}

fn found<T>(text: &str, path: &[&str], take: impl FnOnce(&DeValue<'_>) -> T) -> Option<T> {
    let (table, _mistakes) = DeTable::parse_recoverable(text);
    let (name, sections) = path.split_last()?;
    let mut table = table.get_ref();
    for section in sections {
        table = table.get(*section)?.get_ref().as_table()?;
    }
    table.get(*name).map(|value| take(value.get_ref()))
}

/// The variables of this process that concern configuration; the others are left alone, whatever they hold.
#[must_use]
pub fn environment() -> Map<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

/// Turns the merged values into nodes with places.
struct Growth<'a> {
    spans: Spans,
    places: &'a mut Places,
}

impl Growth<'_> {
    fn node(&mut self, path: &mut Vec<String>, value: Value) -> Node {
        let from_file = value.origin().is_none();
        let (key, at) = match self.spans.get(&path.join(GLUE)) {
            Some(places) if from_file => *places,
            _ if from_file => Default::default(),
            _ => {
                let name = format!("{PREFIX}_{}", path.join(SEPARATOR).to_uppercase());
                let place = self.places.add(Place::Environment(name));
                (place, place)
            }
        };
        let origin = if from_file { Origin::File } else { Origin::Environment };
        let kind = match value.kind {
            ValueKind::Boolean(flag) => Kind::Bool(flag),
            ValueKind::I64(number) => Kind::Int(number),
            ValueKind::Float(number) => Kind::Float(number),
            ValueKind::String(text) => Kind::Text(text),
            ValueKind::Table(members) => Kind::Table(self.members(path, members)),
            ValueKind::Array(elements) => Kind::List(
                elements.into_iter().enumerate().map(|(index, e)| self.child(path, index.to_string(), e)).collect(),
            ),
            other => Kind::Text(other.to_string()),
        };
        Node { key, value: at, origin, kind, dead: false }
    }

    fn child(&mut self, path: &mut Vec<String>, step: String, value: Value) -> Node {
        path.push(step);
        let node = self.node(path, value);
        path.pop();
        node
    }

    /// The members in the order of the file, those of the environment last and by name.
    fn members(&mut self, path: &mut Vec<String>, members: Map<String, Value>) -> Vec<(String, Node)> {
        let mut nodes: Vec<_> = members
            .into_iter()
            .map(|(key, value)| {
                let node = self.child(path, key.clone(), value);
                (key, node)
            })
            .collect();
        nodes.sort_by_cached_key(|(key, node)| match self.places.get(node.key) {
            Place::File { line, column, .. } => (line, column, key.clone()),
            _ => (u32::MAX, u32::MAX, key.clone()),
        });
        nodes
    }
}

/// Path joined by [`GLUE`] to the places of key and value.
type Spans = HashMap<String, (PlaceId, PlaceId)>;

/// The TOML file as a layer.
#[derive(Clone, Debug)]
struct TomlText {
    values: Map<String, Value>,
    spans: Spans,
}

impl TomlText {
    fn parse(path: &Path, text: &str, places: &mut Places) -> Result<Self, Vec<Mistake>> {
        let lines = Lines::new(path, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mistake = |error: &toml::de::Error| {
                Mistake::error(error.message(), lines.place(error.span().map_or(0, |span| span.start)))
            };
            return Err(without_consequences(errors.iter().map(mistake).collect()));
        }
        let mut reading = Reading { lines, places, spans: Spans::new() };
        let values = reading.table(&mut Vec::new(), table.get_ref());
        Ok(Self { values, spans: reading.spans })
    }
}

impl Source for TomlText {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.values.clone())
    }
}

/// In the order of the lines, without what follows from a mistake before: on its line, or behind a list without its end.
fn without_consequences(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let mut findings = Findings::default();
    findings.extend(mistakes);
    let mut mistakes = findings.sorted();
    mistakes.dedup_by(|later, first| line(later) == line(first));
    for mistake in &mut mistakes {
        let hint = SYNTAX_HINTS.iter().find(|(what, _)| mistake.what.starts_with(what));
        mistake.hint = hint.map(|(_, hint)| (*hint).to_owned());
    }
    if let Some(at) = mistakes.iter().position(|mistake| mistake.what.starts_with(NO_COMMA)) {
        mistakes.truncate(at + 1);
    }
    mistakes
}

/// What the reader of TOML says where a list goes on without a comma.
const NO_COMMA: &str = "missing comma between array elements";

/// What it says of slips that it takes for something else, and what is probably meant.
const SYNTAX_HINTS: [(&str, &str); 4] = [
    (NO_COMMA, "or is the `]` of the list missing before it?"),
    ("invalid basic string", "a text ends on its line: is the quotation mark missing behind it?"),
    ("invalid float", "a text stands in quotation marks"),
    ("invalid boolean", "a text stands in quotation marks"),
];

fn line(mistake: &Mistake) -> Option<u32> {
    match mistake.places.first() {
        Some(Place::File { line, .. }) => Some(*line),
        _ => None,
    }
}

/// Walks the parsed text and notes the places.
struct Reading<'a> {
    lines: Lines<'a>,
    places: &'a mut Places,
    spans: Spans,
}

impl Reading<'_> {
    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            let read = self.value(path, &key.span(), value);
            values.insert(key.get_ref().to_string(), read);
            path.pop();
        }
        values
    }

    fn value(&mut self, path: &mut Vec<String>, key: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Value {
        let at_key = self.places.add(self.lines.place(key.start));
        // A table's own span is that of its header or its braces; its name says more.
        let at = match value.get_ref() {
            DeValue::Table(_) => at_key,
            _ => self.places.add(self.lines.place(value.span().start)),
        };
        self.spans.insert(path.join(GLUE), (at_key, at));
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => ValueKind::I64(number),
                Err(_) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
            },
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Datetime(date) => ValueKind::String(date.to_string()),
            DeValue::Table(table) => ValueKind::Table(self.table(path, table)),
            DeValue::Array(elements) => ValueKind::Array(self.elements(path, elements.iter())),
        };
        Value::new(None, kind)
    }

    fn elements<'e, 'i: 'e>(
        &mut self,
        path: &mut Vec<String>,
        elements: impl Iterator<Item = &'e Spanned<DeValue<'i>>>,
    ) -> Vec<Value> {
        let mut values = Vec::new();
        for (index, element) in elements.enumerate() {
            path.push(index.to_string());
            values.push(self.value(path, &element.span(), element));
            path.pop();
        }
        values
    }
}

/// Finds line and column of an offset.
struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { path, text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or("");
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = (count(line), count(before.chars().count() + 1));
        Place::File { path: self.path.to_owned(), line, column, form: Form::Toml }
    }
}

/// First part of the names of our variables.
pub(super) const PREFIX: &str = "TOLLGATE";

/// Between section and option in the name of a variable.
const SEPARATOR: &str = "__";

/// Between the steps of a path; no key of ours contains it.
const GLUE: &str = "\u{1f}";
