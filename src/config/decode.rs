//! Reads the tree into types and finds every mistake on the way, not only the first.
//!
//! After a mistake the value at fault is taken out of the tree and reading begins again: every option has a default, so
//! the rest is still checked. [`At`] keeps the place of a value for checks that come later.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::error::{Findings, Mistake, nearest, suggestion};
use super::foreign::marks_of_acc;
use super::reload::{lost_head, section_below};
use super::tree::{Kind, Node, Origin, PlaceId, Places, Step};

/// A value with its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct At<T> {
    /// The value as its type has it.
    pub value: T,
    /// Where it stands in the file, for messages about it.
    pub place: PlaceId,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for At<T> {
    /// A value that stands nowhere: a default.
    fn from(value: T) -> Self {
        Self { value, place: PlaceId::default() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Pair<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pair<T> {
            type Value = At<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<At<T>, A::Error> {
                let place = pair.next_element::<u32>()?.map_or(PlaceId::default(), PlaceId);
                let value = pair.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                Ok(At { value, place })
            }
        }

        input.deserialize_struct(AT, &[], Pair(PhantomData))
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany(values))
            }
        }

        input.deserialize_newtype_struct(ONE_OR_MANY, Either(PhantomData))
    }
}

/// Names and values in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered<V>(pub Vec<(At<String>, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Members<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }

        input.deserialize_map(Members(PhantomData))
    }
}

/// Reads the whole tree as a `T`; what does not fit is reported and left out.
///
/// Nothing comes back when too little is left for a `T`.
pub fn decode<T: for<'de> Deserialize<'de>>(root: &mut Node, places: &Places, findings: &mut Findings) -> Option<T> {
    let mut taken_out = HashSet::new();
    loop {
        let mut error = match T::deserialize(Reader { node: root }) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        error.path.reverse();
        let follows = match &error.what {
            What::Missing(field) => {
                let mut path = error.path.clone();
                path.push(Step::Key((*field).to_owned()));
                taken_out.contains(&path)
            }
            _ => false,
        };
        if !follows {
            findings.push(error.mistake(places));
        }
        if error.path.is_empty() || !root.kill(&error.path) {
            return None;
        }
        taken_out.insert(error.path);
    }
}

/// What is wrong with a value.
#[derive(Debug)]
enum What {
    UnknownField { field: String, known: &'static [&'static str] },
    UnknownVariant { value: String, known: &'static [&'static str] },
    Missing(&'static str),
    Type { found: &'static str, expected: String },
    Text(String),
}

/// A mistake on its way up; the path grows from its end.
#[derive(Debug)]
pub struct Wrong {
    what: What,
    path: Vec<Step>,
    place: Option<PlaceId>,
}

impl Wrong {
    fn new(what: What) -> Self {
        Self { what, path: Vec::new(), place: None }
    }

    fn within(mut self, step: Step, place: PlaceId) -> Self {
        self.path.push(step);
        self.place.get_or_insert(place);
        self
    }

    /// An option of another section within a table whose names are free: fields, and what carries them.
    fn swallowed(&self) -> Option<String> {
        match &self.path[..] {
            [.., Step::Key(table), Step::Key(name)] if FREE_TABLES.contains(&table.as_str()) => lost_head(name, ""),
            _ => None,
        }
    }

    /// The finding; the path runs from the root.
    fn mistake(&self, places: &Places) -> Mistake {
        let place = places.get(self.place.unwrap_or_default());
        let option = option_name(&self.path);
        match &self.what {
            What::UnknownField { field, known } => {
                let table = option_name(&self.path[..self.path.len().saturating_sub(1)]);
                let text = match table.as_str() {
                    "" => format!("unknown section `{field}`"),
                    table => format!("unknown field `{field}` in `{table}`"),
                };
                Mistake::error(text, place).maybe_hint(unknown_hint(field, &table, known))
            }
            What::UnknownVariant { value, known } => {
                Mistake::error(format!("unknown value `{value}` for `{option}`"), place)
                    .maybe_hint(suggestion(value, known.iter().copied()))
            }
            What::Missing(field) => Mistake::error(format!("`{option}` lacks the field `{field}`"), place),
            What::Type { found, expected } => {
                // The words of serde and those of TOML.
                let expected = match expected.as_str() {
                    "a sequence" => "a list",
                    "path string" => "a string",
                    other => other,
                };
                let tables = (*found == "a table" && expected == "a list")
                    .then(|| format!("one of several tables begins with `[[{option}]]`"));
                Mistake::error(format!("`{option}` is {found}, expected {expected}"), place)
                    .maybe_hint(self.swallowed().or(tables))
            }
            What::Text(text) => Mistake::error(format!("`{option}`: {text}"), place),
        }
    }
}

/// What to write instead of a name that is unknown in a table.
fn unknown_hint(name: &str, table: &str, known: &'static [&'static str]) -> Option<String> {
    // A secret stands in a file, not here.
    let file = || known.iter().copied().find(|own| own.strip_prefix(name) == Some("_file"));
    match nearest(name, known.iter().copied()).or_else(file) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => marks_of_acc(name, table)
            .or_else(|| table.is_empty().then(|| section_below(name)).flatten())
            .or_else(|| lost_head(name, table))
            .or_else(|| suggestion(name, known.iter().copied())),
    }
}

/// `sinks.radius.billing.records`; the numbers of elements are left out, for the place tells them.
fn option_name(path: &[Step]) -> String {
    let keys: Vec<_> = path
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    keys.join(".")
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(What::Text(text.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Type { found: found_name(found), expected: expected.to_string() })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownField { field: field.to_owned(), known })
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownVariant { value: value.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }
}

impl Kind {
    /// What it is called in a message.
    fn name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a fractional number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

fn found_name(found: de::Unexpected<'_>) -> &'static str {
    use de::Unexpected::{Bool, Float, Map, Seq, Signed, Str, Unsigned};
    match found {
        Bool(_) => "true or false",
        Signed(_) | Unsigned(_) => "a whole number",
        Float(_) => "a fractional number",
        Str(_) => "a string",
        Seq => "a list",
        Map => "a table",
        _ => "something else",
    }
}

/// Reads one node.
struct Reader<'n> {
    node: &'n Node,
}

impl Reader<'_> {
    /// Text of the environment, which is read as whatever is wanted.
    fn variable(&self) -> Option<&str> {
        match &self.node.kind {
            Kind::Text(text) if self.node.origin == Origin::Environment => Some(text.trim()),
            _ => None,
        }
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.variable().map(str::parse::<i64>) {
            Some(Ok(number)) => visit_number(number, visitor),
            _ => self.deserialize_any(visitor),
        }
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: i64, visitor: V) -> Result<V::Value, Wrong> {
    match u64::try_from(number) {
        Ok(number) => visitor.visit_u64(number),
        Err(_) => visitor.visit_i64(number),
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::Bool(flag) => visitor.visit_bool(*flag),
            Kind::Int(number) => visit_number(*number, visitor),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(elements) => visitor.visit_seq(Elements { elements, next: 0 }),
            Kind::Table(members) => visitor.visit_map(Members { members, next: 0 }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.variable().map(str::parse::<bool>) {
            Some(Ok(flag)) => visitor.visit_bool(flag),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.number(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.number(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.number(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Some(text) = self.variable() else { return self.deserialize_any(visitor) };
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let elements: Vec<_> = words.map(|word| Node::text(word, self.node.value, Origin::Environment)).collect();
        visitor.visit_seq(Elements { elements: &elements, next: 0 })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            _ if name != ONE_OR_MANY => visitor.visit_newtype_struct(self),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Text(_) if self.node.origin == Origin::Environment => self.deserialize_seq(visitor),
            _ => visitor.visit_seq(Single { node: Some(self.node) }),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == AT {
            return visitor.visit_seq(PlaceAndValue { node: self.node, next: 0 });
        }
        match &self.node.kind {
            Kind::Table(_) => self.deserialize_any(visitor),
            other => Err(Wrong::new(What::Type { found: other.name(), expected: "a table".to_owned() })),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::Text(text) => visitor.visit_enum(StrDeserializer::<Wrong>::new(text.trim())),
            other => {
                let expected = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
                Err(Wrong::new(What::Type { found: other.name(), expected }))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map
        identifier ignored_any
    }
}

/// The living elements of a list.
struct Elements<'n> {
    elements: &'n [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        while let Some(node) = self.elements.get(self.next) {
            self.next += 1;
            if !node.dead {
                let index = Step::Index(self.next - 1);
                return seed.deserialize(Reader { node }).map(Some).map_err(|wrong| wrong.within(index, node.value));
            }
        }
        Ok(None)
    }
}

/// The living members of a table.
struct Members<'n> {
    members: &'n [(String, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        while self.members.get(self.next).is_some_and(|(_, node)| node.dead) {
            self.next += 1;
        }
        let Some((key, node)) = self.members.get(self.next) else { return Ok(None) };
        let name = Node::text(key, node.key, Origin::File);
        let read = seed.deserialize(Reader { node: &name });
        read.map(Some).map_err(|wrong| wrong.within(Step::Key(key.clone()), node.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, node) = &self.members[self.next];
        self.next += 1;
        seed.deserialize(Reader { node }).map_err(|wrong| wrong.within(Step::Key(key.clone()), node.value))
    }
}

/// A lone value as a list.
struct Single<'n> {
    node: Option<&'n Node>,
}

impl<'de> SeqAccess<'de> for Single<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.node.take().map(|node| seed.deserialize(Reader { node })).transpose()
    }
}

/// A node as an [`At`]: its place, then itself.
struct PlaceAndValue<'n> {
    node: &'n Node,
    next: usize,
}

impl<'de> SeqAccess<'de> for PlaceAndValue<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.next += 1;
        match self.next {
            1 => {
                let place: U32Deserializer<Wrong> = self.node.value.0.into_deserializer();
                seed.deserialize(place).map(Some)
            }
            2 => seed.deserialize(Reader { node: self.node }).map(Some),
            _ => Ok(None),
        }
    }
}

/// Tables whose names the operator chooses.
const FREE_TABLES: [&str; 5] = ["fields", "leg_fields", "bye_fields", "bye_leg_fields", "avps"];

/// Name by which [`At`] asks [`Reader`] for the place.
const AT: &str = "$At";

/// Name by which [`OneOrMany`] asks [`Reader`] for a list.
const ONE_OR_MANY: &str = "$OneOrMany";
