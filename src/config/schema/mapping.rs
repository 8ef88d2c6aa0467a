//! Fields of a RADIUS sink and the attributes that carry them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::super::decode::At;
use crate::units::Count;

/// A field's attribute: its name alone, or a table with its policies.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingTable {
    /// The attribute.
    pub attribute: String,
    /// The policies.
    pub policy: PolicyTable,
}

/// The table of a mapping.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyTable {
    /// The attribute; required.
    pub attribute: Option<String>,
    /// What happens to a value that is too long.
    pub oversize: Option<Oversize>,
    /// Octets of a value at most.
    pub max: Option<Count<1, 4_096>>,
    /// When the packet is too full, a lower one is dropped earlier.
    pub priority: Option<Count<0, 254>>,
    /// Attribute for the whole of a value that is too long.
    pub long: Option<At<String>>,
}

/// What happens to a value longer than its attribute takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Oversize {
    /// It is cut; a URI first loses its parameters.
    Truncate,
    /// It becomes several attributes in order.
    Split,
    /// Its beginning, `#` and a digest.
    Hash,
    /// It is cut, and travels whole in the attribute of `long`.
    LongExtended,
    /// It is left out.
    Omit,
}

/// Whether Accounting-On is sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AccountingOn {
    /// At a start that has lost calls in progress.
    WhenLost,
    /// Never.
    Never,
}

impl<'de> Deserialize<'de> for MappingTable {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = MappingTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an attribute, or a table with `attribute`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<MappingTable, E> {
                Ok(MappingTable { attribute: name.to_owned(), policy: PolicyTable::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MappingTable, A::Error> {
                let policy = PolicyTable::deserialize(MapAccessDeserializer::new(map))?;
                let attribute = policy.attribute.clone().ok_or_else(|| Error::missing_field("attribute"))?;
                Ok(MappingTable { attribute, policy })
            }
        }

        input.deserialize_any(Either)
    }
}
