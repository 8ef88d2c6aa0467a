//! For tests: every option that the schema knows, found by asking its readers what they want.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::schema::FileTable;

/// An option of the schema.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Known {
    /// Its path without names of sinks and numbers of elements.
    pub path: String,
    /// The words it may be, if it is one of several.
    pub words: Vec<&'static str>,
}

/// All options of the file. An option is what is no table of a fixed shape.
pub fn options() -> Vec<Known> {
    let mut found = Vec::new();
    descend::<FileTable>(&mut Vec::new(), &mut found);
    found
}

fn descend<T: for<'de> Deserialize<'de>>(path: &mut Vec<&'static str>, found: &mut Vec<Known>) {
    match ask::<T>(path) {
        Wanted::Fields(fields) => {
            for field in fields {
                path.push(field);
                descend::<T>(path, found);
                path.pop();
            }
        }
        Wanted::Words(words) => found.push(Known { path: path.join("."), words: words.to_vec() }),
        Wanted::Value => found.push(Known { path: path.join("."), words: Vec::new() }),
    }
}

/// What stands at a path.
#[derive(Clone, Copy)]
enum Wanted {
    Fields(&'static [&'static str]),
    Words(&'static [&'static str]),
    Value,
}

fn ask<T: for<'de> Deserialize<'de>>(path: &[&'static str]) -> Wanted {
    let answer = Rc::new(RefCell::new(None));
    // It always fails: at the end of the path nothing is given, only noted.
    drop(T::deserialize(Probe { path, answer: answer.clone() }));
    let wanted = *answer.borrow();
    wanted.unwrap_or_else(|| panic!("nobody asks for {path:?}"))
}

#[derive(Clone)]
struct Probe<'p> {
    path: &'p [&'static str],
    answer: Rc<RefCell<Option<Wanted>>>,
}

impl Probe<'_> {
    fn note<V>(&self, wanted: Wanted) -> Result<V, Enough> {
        *self.answer.borrow_mut() = Some(wanted);
        Err(Enough)
    }
}

/// The probe has seen what it came for.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enough")
    }
}

impl std::error::Error for Enough {}

impl de::Error for Enough {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Enough;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Enough> {
        self.note(Wanted::Value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Enough> {
        // One value or a list of them.
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
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
        match self.path.split_first() {
            None => self.note(Wanted::Fields(fields)),
            Some((first, rest)) => {
                visitor.visit_map(Member { key: Some(first), probe: Some(Probe { path: rest, answer: self.answer }) })
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(Wanted::Words(words))
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
        seed.deserialize(self.probe.take().ok_or(Enough)?)
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
