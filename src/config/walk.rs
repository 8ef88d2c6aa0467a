//! For tests: what `tollgate.toml` may have, found by asking its readers what they want.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::schema::FileTable;

/// What stands at a place of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A table of a fixed shape, and what it must have.
    Table { members: Vec<(&'static str, Shape)>, required: Vec<&'static str> },
    /// A table whose names the operator chooses.
    Free(Box<Shape>),
    /// A list.
    List(Box<Shape>),
    /// A value, or a list of them.
    OneOrMany(Box<Shape>),
    /// One of several words.
    Words(&'static [&'static str]),
    /// True or false.
    Switch,
    /// A whole number, with its range.
    Number(Option<(u64, u64)>),
    /// A text.
    Text,
    /// One or the other.
    Either(Vec<Shape>),
}

/// An option of the file: what is no table of a fixed shape.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Known {
    /// Its path without names of sinks and numbers of elements.
    pub path: String,
    /// The words it may be, if it is one of several.
    pub words: Vec<&'static str>,
}

/// The whole file.
pub fn file() -> Shape {
    look(&[])
}

/// All options of the file.
pub fn options() -> Vec<Known> {
    let mut found = Vec::new();
    collect(&file(), "", &mut found);
    found
}

fn collect(shape: &Shape, path: &str, found: &mut Vec<Known>) {
    let words = match shape {
        Shape::Table { members, .. } => {
            for (name, shape) in members {
                collect(shape, &format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), found);
            }
            return;
        }
        Shape::Free(inner) | Shape::List(inner) | Shape::OneOrMany(inner) => return collect(inner, path, found),
        Shape::Words(words) => words.to_vec(),
        // A table instead of the value counts as the value.
        Shape::Either(either) => return collect(&either[0], path, found),
        Shape::Switch | Shape::Number(_) | Shape::Text => Vec::new(),
    };
    found.push(Known { path: path.to_owned(), words });
}

/// A step to what is asked about.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// To the member of a table.
    Member(&'static str),
    /// To the table that a value may be instead.
    Table,
}

/// What is given to the reader that is asked.
#[derive(Clone, Copy, Debug)]
enum Given {
    Nothing,
    Switch,
    Number,
    Text,
    EmptyTable,
}

/// What stands around a value.
#[derive(Clone, Copy, Debug)]
enum Around {
    Free,
    List,
    OneOrMany,
}

/// What the reader has said.
#[derive(Clone, Debug, Default)]
struct Answer {
    around: Vec<Around>,
    end: Option<End>,
}

#[derive(Clone, Debug)]
enum End {
    Fields(&'static [&'static str]),
    Words(&'static [&'static str]),
    Value(String),
}

fn look(path: &[Step]) -> Shape {
    let (answer, _) = ask(path, Given::Nothing);
    let mut shape = match answer.end.unwrap_or_else(|| panic!("nobody asks for {path:?}")) {
        End::Fields(fields) => {
            let member = |field: &&'static str| (*field, look(&[path, &[Step::Member(field)]].concat()));
            let required = match ask(path, Given::EmptyTable).1 {
                Enough::Missing(field) => vec![field],
                _ => Vec::new(),
            };
            Shape::Table { members: fields.iter().map(member).collect(), required }
        }
        End::Words(words) => Shape::Words(words),
        End::Value(what) => value(path, &what),
    };
    for around in answer.around.iter().rev() {
        shape = match around {
            Around::Free => Shape::Free(Box::new(shape)),
            Around::List => Shape::List(Box::new(shape)),
            Around::OneOrMany => Shape::OneOrMany(Box::new(shape)),
        };
    }
    match answer.around.first() {
        Some(Around::List) => or_table(path, vec![shape]),
        _ => shape,
    }
}

/// A value of the kinds that its reader takes.
fn value(path: &[Step], what: &str) -> Shape {
    let number = || {
        let range = what.split_once("from ").and_then(|(_, range)| range.split_once(" to "));
        let end = |text: &str| text.split(',').next().and_then(|text| text.parse().ok());
        Shape::Number(range.and_then(|(min, max)| Some((end(min)?, end(max)?))))
    };
    let mut kinds = Vec::new();
    for (given, shape) in [(Given::Switch, Shape::Switch), (Given::Number, number()), (Given::Text, Shape::Text)] {
        match ask(path, given).1 {
            Enough::Refused => {}
            Enough::Words(words) => kinds.push(Shape::Words(words)),
            Enough::Done | Enough::Missing(_) | Enough::Fields(_) => kinds.push(shape),
        }
    }
    or_table(path, kinds)
}

fn or_table(path: &[Step], mut kinds: Vec<Shape>) -> Shape {
    let table = [path, &[Step::Table]].concat();
    if ask(&table, Given::Nothing).0.end.is_some() {
        kinds.push(look(&table));
    }
    if kinds.len() == 1 { kinds.remove(0) } else { Shape::Either(kinds) }
}

fn ask(path: &[Step], given: Given) -> (Answer, Enough) {
    let answer = Rc::new(RefCell::new(Answer::default()));
    let read = FileTable::deserialize(Probe { path, given, answer: answer.clone() });
    let (mut answer, enough) = (answer.borrow().clone(), read.err().unwrap_or(Enough::Done));
    if let Enough::Fields(fields) = enough {
        // It was no free table after all.
        answer = Answer { around: Vec::new(), end: Some(End::Fields(fields)) };
    }
    (answer, enough)
}

#[derive(Clone)]
struct Probe<'p> {
    path: &'p [Step],
    given: Given,
    answer: Rc<RefCell<Answer>>,
}

impl Probe<'_> {
    fn note<V>(&self, end: End) -> Result<V, Enough> {
        self.answer.borrow_mut().end = Some(end);
        Err(Enough::Done)
    }

    fn around(&self, around: Around) {
        if self.path.is_empty() {
            self.answer.borrow_mut().around.push(around);
        }
    }

    /// The table that a value may be instead, at the step to it.
    fn table(&self) -> Option<Member<'_>> {
        let of = |key, path| Member { key, probe: Some(Probe { path, ..self.clone() }) };
        match (self.path, self.given) {
            ([Step::Table], Given::EmptyTable) => Some(Member { key: None, probe: None }),
            // Where the names are fixed, the reader knows none like this.
            ([Step::Table], _) => {
                self.answer.borrow_mut().around.push(Around::Free);
                Some(of(Some("name"), &[]))
            }
            ([Step::Table, Step::Member(name), rest @ ..], _) => Some(of(Some(name), rest)),
            _ => None,
        }
    }
}

/// Why the reader has ended.
#[derive(Clone, Copy, Debug)]
enum Enough {
    /// The probe has seen what it came for, or the value was not good enough.
    Done,
    /// The kind of value is not taken.
    Refused,
    Missing(&'static str),
    Words(&'static [&'static str]),
    Fields(&'static [&'static str]),
}

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enough")
    }
}

impl std::error::Error for Enough {}

impl de::Error for Enough {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Done
    }

    fn invalid_type(_: de::Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Refused
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn unknown_field(_: &str, fields: &'static [&'static str]) -> Self {
        Self::Fields(fields)
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        Self::Words(words)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Enough;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        if let Some(table) = self.table() {
            return visitor.visit_map(table);
        }
        match self.given {
            Given::Nothing | Given::EmptyTable => {
                let what = (&visitor as &dyn Expected).to_string();
                self.note(End::Value(what))
            }
            Given::Switch => visitor.visit_bool(true),
            Given::Number => visitor.visit_u64(0),
            Given::Text => visitor.visit_str("probe"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Enough> {
        self.around(Around::OneOrMany);
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        if let Some(table) = self.table() {
            return visitor.visit_map(table);
        }
        self.around(Around::List);
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        self.around(Around::Free);
        visitor.visit_map(Member { key: Some("name"), probe: Some(self) })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Enough> {
        if fields.is_empty() {
            // A value with its place.
            return visitor.visit_seq(Placed { is_next: false, probe: Some(self) });
        }
        match (self.path.split_first(), self.given) {
            (None, Given::EmptyTable) => visitor.visit_map(Member { key: None, probe: None }),
            (None, _) => self.note(End::Fields(fields)),
            (Some((Step::Member(first), rest)), _) => {
                visitor.visit_map(Member { key: Some(first), probe: Some(Probe { path: rest, ..self }) })
            }
            (Some((Step::Table, _)), _) => Err(Enough::Refused),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(End::Words(words))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}
/// A list of one element.
struct Once<'p>(Option<Probe<'p>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Enough;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Enough> {
        self.0.take().map(|probe| seed.deserialize(probe)).transpose()
    }
}

/// A place and its value.
struct Placed<'p> {
    is_next: bool,
    probe: Option<Probe<'p>>,
}

impl<'de> SeqAccess<'de> for Placed<'_> {
    type Error = Enough;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Enough> {
        if std::mem::replace(&mut self.is_next, true) {
            self.probe.take().map(|probe| seed.deserialize(probe)).transpose()
        } else {
            seed.deserialize(0_u32.into_deserializer()).map(Some)
        }
    }
}

/// A table of one member.
struct Member<'p> {
    key: Option<&'static str>,
    probe: Option<Probe<'p>>,
}

impl<'de> MapAccess<'de> for Member<'_> {
    type Error = Enough;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Enough> {
        let Some(key) = self.key.take() else { return Ok(None) };
        // The name of a member is text with a place, or text, or a field's name.
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Enough> {
        seed.deserialize(self.probe.take().ok_or(Enough::Done)?)
    }
}

/// A member's name.
struct Key(&'static str);

impl<'de> Deserializer<'de> for Key {
    type Error = Enough;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        visitor.visit_str(self.0)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Enough> {
        visitor.visit_seq(NameWithPlace { next: 0, name: self.0 })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct NameWithPlace {
    next: u8,
    name: &'static str,
}

impl<'de> SeqAccess<'de> for NameWithPlace {
    type Error = Enough;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Enough> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(0_u32.into_deserializer()).map(Some),
            2 => seed.deserialize(self.name.into_deserializer()).map(Some),
            _ => Ok(None),
        }
    }
}
