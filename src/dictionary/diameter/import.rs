//! Dictionaries of other programs as text of ours: the XML of Wireshark and the JSON of freeDiameter (`dict_json`).
//!
//! What is built in already is left out, so that the text loads beside it. Document types and entities are not followed.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value as Json;

use super::{Dictionary, Type};
use crate::dictionary::reader::NAME_OCTETS_MAX;

/// Types that name others at most, one after the other.
const PARENTS_MAX: usize = 8;
/// Vendors that Wireshark's files name without their number.
const KNOWN_VENDORS: &[(&str, u32)] = &[("None", 0), ("TGPP", 10_415)];

/// Why a text cannot be imported.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// It is neither of the two.
    #[error("this is neither XML of Wireshark nor JSON of freeDiameter")]
    Unknown,
    /// It needs no import.
    #[error("this is XML of the go-diameter form, which `dictionary` takes as it is")]
    GoDiameter,
    /// It cannot be read.
    #[error("line {line}: {what}")]
    Syntax {
        /// Where.
        line: usize,
        /// What.
        what: String,
    },
}

/// A dictionary as text, and what was left out of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// The text, for `dictionary` in diameterclient.conf.
    pub text: String,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Reads a dictionary of another program; `builtin` is what is left out.
///
/// # Errors
/// It is none, or broken.
pub fn import(text: &[u8], builtin: &Dictionary) -> Result<Imported, ImportError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = memchr::memchr_iter(b'\n', &text[..error.valid_up_to()]).count() + 1;
        ImportError::Syntax { line, what: "it is not UTF-8".to_owned() }
    })?;
    let text = text.trim_start_matches('\u{FEFF}');
    let found = match text.trim_start().chars().next() {
        Some('<') => wireshark(text)?,
        Some('{') => free_diameter(text)?,
        _ => return Err(ImportError::Unknown),
    };
    Ok(found.print(builtin))
}

/// What a file says.
#[derive(Debug, Default)]
struct Found {
    vendors: BTreeMap<String, u32>,
    /// Types that are named by others.
    types: BTreeMap<String, String>,
    avps: Vec<Avp>,
    notes: Vec<String>,
}

#[derive(Debug, Default)]
struct Avp {
    name: String,
    code: u32,
    vendor: Vendor,
    kind: String,
    is_mandatory: bool,
    values: Vec<(String, i64)>,
    members: Vec<String>,
}

#[derive(Debug)]
enum Vendor {
    Number(u32),
    Name(String),
}

impl Default for Vendor {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Found {
    fn print(mut self, builtin: &Dictionary) -> Imported {
        let mut lines = String::new();
        let (mut used, mut left_out) = (BTreeMap::new(), 0);
        for avp in std::mem::take(&mut self.avps) {
            let Some(vendor) = self.vendor(&avp) else { continue };
            if builtin.by_code(vendor, avp.code).is_some() {
                left_out += 1;
                continue;
            }
            if avp.name.is_empty() || avp.name.len() > NAME_OCTETS_MAX {
                self.notes.push(format!("AVP {} has no usable name and is left out", avp.code));
                continue;
            }
            if let Some((name, _)) = self.vendors.iter().find(|(_, number)| **number == vendor && vendor != 0) {
                used.insert(vendor, name.clone());
            }
            let kind = self.kind(&avp);
            put(&avp, vendor, kind, &mut lines);
        }
        if left_out > 0 {
            self.notes.push(format!("{left_out} AVPs are built in and left out"));
        }
        let vendors: String = used.iter().map(|(number, name)| format!("VENDOR\t{}\t{number}\n", word(name))).collect();
        Imported { text: vendors + &lines, notes: self.notes }
    }

    fn vendor(&mut self, avp: &Avp) -> Option<u32> {
        let name = match &avp.vendor {
            Vendor::Number(number) => return Some(*number),
            Vendor::Name(name) => name,
        };
        let known = || KNOWN_VENDORS.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
        let number = self.vendors.get(name).copied().or_else(known);
        if number.is_none() {
            self.notes.push(format!("`{}` is left out: nothing here says the number of the vendor `{name}`", avp.name));
        }
        number
    }

    fn kind(&mut self, avp: &Avp) -> Type {
        let mut name = avp.kind.as_str();
        for _ in 0..PARENTS_MAX {
            // freeDiameter names its enumerations `Enumerated(Attribute)`.
            let bare = name.split('(').next().unwrap_or_default();
            match Type::parse(bare) {
                Some(Type::BareAddress | Type::BarePrefix) => return Type::OctetString,
                Some(kind) => return kind,
                None => {}
            }
            match self.types.get(name) {
                Some(parent) => name = parent,
                None => break,
            }
        }
        self.notes.push(format!("`{}` has the unknown type `{}` and becomes an OctetString", avp.name, avp.kind));
        Type::OctetString
    }
}

/// The lines of one AVP.
fn put(avp: &Avp, vendor: u32, kind: Type, out: &mut String) {
    let name = word(&avp.name);
    let flags = match (vendor, avp.is_mandatory) {
        (0, false) => String::new(),
        (0, true) => "\tM".to_owned(),
        (vendor, false) => format!("\t{vendor}"),
        (vendor, true) => format!("\t{vendor},M"),
    };
    // Writing to a text cannot fail.
    let _written = writeln!(out, "ATTRIBUTE\t{name}\t{}\t{kind}{flags}", avp.code);
    if kind == Type::Grouped && !avp.members.is_empty() {
        let members: String = avp.members.iter().map(|member| format!("\t{} | OPTIONAL\n", word(member))).collect();
        let _written = writeln!(out, "{{\n{members}}}");
    }
    let mut seen = HashSet::new();
    for (value, number) in &avp.values {
        let value = word(value);
        let Some(number) = fitting(*number, kind) else { continue };
        if !value.is_empty() && value.len() <= NAME_OCTETS_MAX && seen.insert(value.to_ascii_lowercase()) {
            let _written = writeln!(out, "VALUE\t{name}\t{value}\t{number}");
        }
    }
}

/// A number as its type has it: an Enumerated is signed, which not every file knows. `None` for what no such type holds.
fn fitting(number: i64, kind: Type) -> Option<i64> {
    let (min, max) = kind.range()?;
    let of_signed = || u32::try_from(number).ok().filter(|_| kind.octets() == Some(4)).map(|n| i64::from(n as i32));
    Some(number).filter(|number| (min..=max).contains(number)).or_else(of_signed)
}

/// A name as one word of the text.
fn word(name: &str) -> String {
    let is_plain = |char: char| char.is_ascii_graphic() && !"#{}|,:\"'\\$".contains(char);
    name.trim().chars().map(|char| if is_plain(char) { char } else { '-' }).collect()
}

/// XML of Wireshark, a whole file or one of its parts.
fn wireshark(text: &str) -> Result<Found, ImportError> {
    let (mut found, mut reader) = (Found::default(), Reader::from_str(text));
    reader.config_mut().check_end_names = false;
    loop {
        let event = reader.read_event();
        let at = usize::try_from(reader.buffer_position()).unwrap_or(text.len()).min(text.len());
        let line = || memchr::memchr_iter(b'\n', &text.as_bytes()[..at]).count() + 1;
        match event {
            Ok(Event::Start(tag) | Event::Empty(tag)) => {
                if tag.local_name().as_ref() == "diameter" {
                    return Err(ImportError::GoDiameter);
                }
                found.element(&tag).map_err(|what| ImportError::Syntax { line: line(), what })?;
            }
            Ok(Event::GeneralRef(entity)) => {
                let name = String::from_utf8_lossy(entity.as_ref().as_ref()).into_owned();
                found.notes.push(format!("`&{}` is another file: import it by itself", word(&name)));
            }
            Ok(Event::Eof) if found.avps.is_empty() && found.vendors.is_empty() => return Err(ImportError::Unknown),
            Ok(Event::Eof) => return Ok(found),
            Ok(_) => {}
            Err(error) => return Err(ImportError::Syntax { line: line(), what: error.to_string() }),
        }
    }
}

impl Found {
    fn element(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        let text = |key: &str| -> String {
            tag.try_get_attribute(key).ok().flatten().map(|found| found.value.trim().to_owned()).unwrap_or_default()
        };
        let number = |key: &str| {
            let digits = text(key);
            digits.parse::<i64>().map_err(|_| format!("`{key}` is `{}`, no number", digits.escape_debug()))
        };
        let code = |number: i64| u32::try_from(number).map_err(|_| format!("the code {number} is outside 32 bits"));
        match tag.local_name().as_ref() {
            "vendor" => {
                self.vendors.insert(text("vendor-id"), code(number("code")?)?);
            }
            "typedefn" => {
                self.types.insert(text("type-name"), text("type-parent"));
            }
            "avp" => {
                let vendor = text("vendor-id");
                self.avps.push(Avp {
                    name: text("name"),
                    code: code(number("code")?)?,
                    // The vendor decides: `vendor-bit` is wrong at times.
                    vendor: if vendor.is_empty() { Vendor::default() } else { Vendor::Name(vendor) },
                    kind: "OctetString".to_owned(),
                    is_mandatory: text("mandatory") == "must",
                    ..Avp::default()
                });
            }
            name @ ("type" | "grouped" | "gavp" | "enum") => {
                let Some(avp) = self.avps.last_mut() else { return Ok(()) };
                match name {
                    "type" => avp.kind = text("type-name"),
                    "grouped" => "Grouped".clone_into(&mut avp.kind),
                    "gavp" => avp.members.push(text("name")),
                    _ => avp.values.push((text("name"), number("code")?)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// JSON of freeDiameter: `Vendors`, `Types`, `AVPs`, `AVPRules`.
fn free_diameter(text: &str) -> Result<Found, ImportError> {
    let json: Json = serde_json::from_str(text)
        .map_err(|error| ImportError::Syntax { line: error.line(), what: error.to_string() })?;
    let list = |of: &Json, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let text = |of: &Json, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let number = |of: &Json, key: &str| of[key].as_u64().and_then(|number| u32::try_from(number).ok());
    if json["AVPs"].as_array().is_none() {
        return Err(ImportError::Unknown);
    }
    let mut found = Found::default();
    for vendor in list(&json, "Vendors") {
        if let Some(code) = number(&vendor, "Code") {
            found.vendors.insert(text(&vendor, "Name"), code);
        }
    }
    for kind in list(&json, "Types") {
        found.types.insert(text(&kind, "Name"), text(&kind, "Base"));
    }
    for avp in list(&json, "AVPs") {
        let Some(code) = number(&avp, "Code") else {
            found.notes.push(format!("`{}` has no `Code` and is left out", text(&avp, "Name")));
            continue;
        };
        let values = list(&avp, "EnumValues").into_iter();
        found.avps.push(Avp {
            name: text(&avp, "Name"),
            code,
            vendor: Vendor::Number(number(&avp, "Vendor").unwrap_or(0)),
            kind: text(&avp, "Type"),
            is_mandatory: avp["Flags"]["Must"].as_str().is_some_and(|must| must.contains('M')),
            values: values.filter_map(|value| Some((text(&value, "Name"), value["Code"].as_i64()?))).collect(),
            members: Vec::new(),
        });
    }
    for rule in list(&json, "AVPRules") {
        let (group, vendor) = (text(&rule, "AVP"), number(&rule, "Vendor").unwrap_or(0));
        let is_it = |avp: &&mut Avp| avp.name == group && matches!(avp.vendor, Vendor::Number(of) if of == vendor);
        if let Some(avp) = found.avps.iter_mut().find(is_it) {
            avp.members.extend(list(&rule, "Content").iter().map(|member| text(member, "AVP")));
        }
    }
    Ok(found)
}
