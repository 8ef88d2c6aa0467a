//! What the dictionary knows, as plain data for `tollgate dict --diameter`.

use serde::Serialize;

use super::definition::Definition;
use super::types::Type;
use super::{Dictionary, LabelError};
use crate::dictionary::print::hex_text;
use crate::dictionary::value::Input;

/// One line of the effective dictionary.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Name.
    pub name: String,
    /// AVP code.
    pub code: u32,
    /// Vendor number; 0 for none.
    pub vendor: u32,
    /// Name of the vendor; empty for none.
    pub vendor_name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `V` and `M` as they are sent.
    pub flags: String,
    /// File and line of the definition that holds.
    pub origin: String,
    /// Whether this name is used when the code is decoded; `false` for an alias.
    pub decodes: bool,
    /// VALUE names with numbers, by number.
    pub values: Vec<(String, i64)>,
    /// Members of a group, where the dictionary lists them.
    pub members: Vec<String>,
}

/// Everything about one AVP.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Its line.
    pub row: Row,
    /// The octets of the AVP in words.
    pub layout: String,
    /// Other names of the same code.
    pub aliases: Vec<String>,
    /// Why no value of a call may be put into it.
    pub refusal: Option<String>,
    /// What the given value becomes: the whole AVP in hex, or why it cannot be sent.
    pub sample: Option<Result<String, String>>,
}

impl Dictionary {
    /// The effective dictionary: every name once, by vendor, code, name.
    #[must_use]
    pub fn effective(&self) -> Vec<Row> {
        self.sorted().into_iter().map(|definition| self.row(definition)).collect()
    }

    /// Everything about the AVP a label means, and what `value` would be on the wire.
    ///
    /// # Errors
    /// As [`Dictionary::find`].
    pub fn explain(&self, label: &str, value: Option<&str>) -> Result<Explanation, LabelError> {
        let definition = self.find(label)?;
        let sample = value.map(|value| sample(&definition, value));
        Ok(Explanation {
            row: self.row(&definition),
            layout: layout(&definition),
            aliases: self.aliases(&definition),
            refusal: definition.refusal().map(str::to_owned),
            sample,
        })
    }

    fn row(&self, definition: &Definition) -> Row {
        let key = (definition.vendor(), definition.code());
        let vendor_name = if key.0 == 0 { String::new() } else { self.vendor_name(key.0) };
        Row {
            name: definition.name().to_owned(),
            code: key.1,
            vendor: key.0,
            vendor_name,
            kind: definition.kind().to_string(),
            flags: flags(definition),
            origin: definition.origin().to_string(),
            decodes: self.decodes(definition),
            values: definition.values().listed(),
            members: definition.members().map(str::to_owned).collect(),
        }
    }
}

fn flags(definition: &Definition) -> String {
    let vendor = if definition.vendor() == 0 { "" } else { "V" };
    let mandatory = if definition.is_mandatory() { "M" } else { "" };
    format!("{vendor}{mandatory}")
}

/// The octets of an AVP in words.
fn layout(definition: &Definition) -> String {
    let mut words = vec![format!("code {} (4)", definition.code()), "flags (1)".to_owned(), "length (3)".to_owned()];
    if definition.vendor() != 0 {
        words.push(format!("vendor {} (4)", definition.vendor()));
    }
    words.push(match (definition.kind(), definition.kind().octets()) {
        (Type::Grouped, _) => "AVPs".to_owned(),
        (Type::Address, _) => "family (2) | address".to_owned(),
        (_, Some(octets)) => format!("value ({octets})"),
        (_, None) => "value | padding to 4".to_owned(),
    });
    words.join(" | ")
}

/// The AVP with a value.
fn sample(definition: &Definition, value: &str) -> Result<String, String> {
    let mut octets = Vec::new();
    definition.encode(Input::Text(value.as_bytes()), &mut octets).map_err(|error| error.to_string())?;
    let header = if definition.vendor() == 0 { 8 } else { 12 };
    let vendor = if definition.vendor() == 0 { 0 } else { 0x80 };
    let length = u32::try_from(header + octets.len()).map_err(|_| "too long".to_owned())?;
    let mut avp = definition.code().to_be_bytes().to_vec();
    avp.extend_from_slice(&(u32::from(definition.flags() | vendor) << 24 | length).to_be_bytes());
    if vendor != 0 {
        avp.extend_from_slice(&definition.vendor().to_be_bytes());
    }
    avp.append(&mut octets);
    avp.resize(avp.len().next_multiple_of(4), 0);
    Ok(hex_text(&avp))
}
