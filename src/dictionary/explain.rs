//! What the dictionary knows, as plain data for `tollgate dict`.

use serde::Serialize;

use super::Dictionary;
use super::attribute::Attribute;
use super::print::hex_text;
use super::types::Type;
use super::value::Input;

/// One line of the effective dictionary.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Name.
    pub name: String,
    /// Number as a path.
    pub number: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Flags, comma-separated; empty for none.
    pub flags: String,
    /// Vendor; empty for none.
    pub vendor: String,
    /// File and line of the definition that holds.
    pub origin: String,
    /// Whether this name is used when the number is decoded; `false` for an alias.
    pub decodes: bool,
    /// VALUE names with numbers, by number.
    pub values: Vec<(String, i64)>,
}

/// Everything about one attribute.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Its line.
    pub row: Row,
    /// Number and format of its vendor.
    pub vendor: Option<(u32, String)>,
    /// Most octets of one value.
    pub value_octets_max: usize,
    /// The octets of an attribute in words: `type 44 | length | value`.
    pub layout: String,
    /// Other names of the same number.
    pub aliases: Vec<String>,
    /// The official name of the number when it has another.
    pub official: Option<String>,
    /// Why no value of a call may be put into it.
    pub refusal: Option<String>,
    /// What the given value becomes: the octets in hex, or why it cannot be sent.
    pub sample: Option<Result<String, String>>,
}

impl Dictionary {
    /// The effective dictionary: every name once, by number, then by name.
    #[must_use]
    pub fn effective(&self) -> Vec<Row> {
        self.sorted().into_iter().map(|attribute| self.row(attribute)).collect()
    }

    /// Everything about the attribute called `name`, and what `value` would be on the wire; `None` when there is none.
    #[must_use]
    pub fn explain(&self, name: &str, value: Option<&str>) -> Option<Explanation> {
        let attribute = self.attribute(name)?;
        let official = self.collisions().iter().find(|collision| *collision.name == *attribute.name());
        let sample = value.map(|value| {
            let mut octets = Vec::new();
            match attribute.encode(Input::Text(value.as_bytes()), &mut octets) {
                Ok(()) => Ok(hex_text(&octets)),
                Err(error) => Err(error.to_string()),
            }
        });
        Some(Explanation {
            row: self.row(&attribute),
            vendor: attribute.vendor().map(|vendor| (vendor.number, vendor.format.to_string())),
            value_octets_max: attribute.value_octets_max(),
            layout: layout(&attribute),
            aliases: self.aliases(&attribute),
            official: official.map(|collision| collision.official.to_string()),
            refusal: attribute.refusal().map(str::to_owned),
            sample,
        })
    }

    fn row(&self, attribute: &Attribute) -> Row {
        Row {
            name: attribute.name().to_owned(),
            number: attribute.oid().to_string(),
            kind: attribute.kind().to_string(),
            flags: attribute.flags().to_string(),
            vendor: attribute.vendor().map_or_else(String::new, |vendor| vendor.name.to_string()),
            origin: attribute.origin().to_string(),
            decodes: self.decodes(attribute),
            values: attribute.values().listed(),
        }
    }
}

/// The octets of an attribute in words.
fn layout(attribute: &Attribute) -> String {
    let parts = attribute.oid().parts().to_vec();
    let value = match attribute.kind() {
        Type::String if attribute.flags().has_tag => "tag, value",
        Type::Integer if attribute.flags().has_tag => "tag, value (3)",
        _ => "value",
    };
    let mut words = vec![format!("type {}", parts[0]), "length".to_owned()];
    let tlvs = match *parts.as_slice() {
        [first, ..] if first > 255 => return "never on the wire".to_owned(),
        [26, vendor, number, ref tlvs @ ..] => {
            words.push(format!("vendor {vendor} (4)"));
            if let Some(vendor) = attribute.vendor() {
                words.push(format!("vendor type {number} ({})", vendor.format.type_octets));
                if vendor.format.length_octets > 0 {
                    words.push(format!("vendor length ({})", vendor.format.length_octets));
                }
                if vendor.format.continuation {
                    words.push("continuation".to_owned());
                }
            }
            tlvs
        }
        [outer @ 241..=246, extended, ref rest @ ..] => {
            words.push(format!("extended type {extended}"));
            if outer >= 245 {
                words.push("flags".to_owned());
            }
            match (extended, rest) {
                (26, [vendor, number, tlvs @ ..]) => {
                    words.push(format!("vendor {vendor} (4)"));
                    words.push(format!("vendor type {number}"));
                    tlvs
                }
                _ => rest,
            }
        }
        [_, ref tlvs @ ..] => tlvs,
        [] => &[],
    };
    for tlv in tlvs {
        words.push(format!("TLV type {tlv}"));
        words.push("TLV length".to_owned());
    }
    words.push(value.to_owned());
    words.join(" | ")
}
