//! The text of dictionaries as Diameter reads it: the lines of RADIUS dictionaries, and besides
//!
//! * Diameter's own types by their RFC names, and the types of OpenSIPS' `aaa_diameter`;
//! * the flags `M` or `mandatory`, and `optional`; a vendor by name or number in the place of flags;
//! * `VENDOR` with name and number in either order;
//! * after a `Grouped` attribute a block `{` … `}` with its members, one a line: `name | REQUIRED | 1`;
//! * `APPLICATION…`, and `REQUEST` and `ANSWER` with their blocks, which are skipped.
//!
//! What RADIUS has and Diameter has not (TLVs, extended attributes, tags, encryption) is skipped with a note.

use super::build::{Builder, New, Place};
use super::types::{Type, suggested};
use crate::dictionary::reader::{Definitions as _, File, NAME_OCTETS_MAX, Rules, hint, words};
use crate::dictionary::value::parse_number;
use crate::dictionary::{nearest, xml};

/// Types of RADIUS without a counterpart.
const UNMAPPED_TYPES: &[&str] = &["tlv", "vsa", "extended", "long-extended", "evs", "struct", "group", "union"];

/// Flags of FreeRADIUS: they change nothing in Diameter.
const RADIUS_FLAGS: &[&str] =
    &["has_tag", "secret", "array", "concat", "virtual", "encrypt=1", "encrypt=2", "encrypt=3", "internal"];

/// What Diameter remembers of the lines above.
#[derive(Default)]
pub(super) struct Lines {
    /// Open `BEGIN-VENDOR` blocks; `None` inside one whose vendor is unknown.
    vendors: Vec<(String, Option<u32>)>,
    /// Open `BEGIN-TLV` blocks: what is inside is skipped.
    tlvs: usize,
    block: Block,
}

/// The block with braces.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Block {
    #[default]
    None,
    /// A group's `{` may follow.
    MayOpen(Place),
    /// A block that is skipped may follow.
    MaySkip,
    Members(Place),
    Skipped,
}

impl Rules for Lines {
    type Builder = Builder;

    const VALUE: &'static str = "`VALUE` takes a name of an AVP, a name and a number";
    const VALUE_ALIAS: &'static str = "`VALUE-ALIAS` takes two names";
    const WORLD_WRITABLE: &'static str = "every user may write this file";
    const KEYWORDS: &'static [&'static str] = &["APPLICATION", "REQUEST", "ANSWER"];

    fn other_form(builder: &mut Builder, name: &str, text: &[u8]) -> bool {
        let start = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
        let is_xml = start.first() == Some(&b'<');
        if is_xml {
            xml::read(builder, name, text);
        }
        is_xml
    }

    fn code(file: &mut File<'_, Self>, code: &str) {
        file.code(code.trim());
    }

    fn keyword(file: &mut File<'_, Self>, keyword: &str, fields: &[&str]) -> bool {
        match keyword {
            "ATTRIBUTE" => file.attribute(fields),
            "VENDOR" => file.vendor(fields),
            "BEGIN-VENDOR" => file.begin_vendor(fields),
            "END-VENDOR" => match file.state.vendors.pop() {
                Some((open, _)) if fields.first().is_some_and(|name| open.eq_ignore_ascii_case(name)) => {}
                Some((open, _)) => file.error(format!("`END-VENDOR`, but `{open}` is open")),
                None => file.error("`END-VENDOR` without a beginning"),
            },
            "BEGIN-TLV" => file.state.tlvs += 1,
            "END-TLV" => file.state.tlvs = file.state.tlvs.saturating_sub(1),
            "REQUEST" | "ANSWER" => {
                file.skip("`REQUEST` and `ANSWER`");
                file.state.block = Block::MaySkip;
            }
            word if word.starts_with("APPLICATION") => file.skip("`APPLICATION`"),
            _ => return false,
        }
        true
    }

    fn version_4(file: &mut File<'_, Self>, _: &'static str, _: &str, _: &[&str]) {
        file.skip("FreeRADIUS 4 constructs");
    }

    fn end(file: &mut File<'_, Self>) {
        if matches!(file.state.block, Block::Members(_) | Block::Skipped) {
            file.warn("a block `{` has no end in this file");
        }
        if let Some((name, _)) = file.state.vendors.pop() {
            file.warn(format!("`BEGIN-VENDOR {name}` has no end in this file"));
        }
    }
}

impl File<'_, Lines> {
    /// One line without its comment and without blanks at its ends.
    fn code(&mut self, code: &str) {
        if code.is_empty() {
            return;
        }
        match self.state.block {
            Block::Members(_) | Block::Skipped => return self.inside(code),
            Block::MayOpen(place) if code == "{" => return self.state.block = Block::Members(place),
            Block::MaySkip if code == "{" => return self.state.block = Block::Skipped,
            _ => self.state.block = Block::None,
        }
        let (code, opens) = match code.strip_suffix('{') {
            Some(code) => (code, true),
            None => (code, false),
        };
        let fields: Vec<&str> = code.split_ascii_whitespace().collect();
        let [keyword, fields @ ..] = &fields[..] else { return self.error("`{` without a group in front") };
        self.line(keyword, fields);
        if opens {
            self.state.block = match self.state.block {
                Block::MayOpen(place) => Block::Members(place),
                Block::MaySkip => Block::Skipped,
                _ => {
                    self.error("`{` behind what is no group");
                    Block::Skipped
                }
            };
        }
    }

    /// A line inside braces.
    fn inside(&mut self, code: &str) {
        if code == "}" {
            self.state.block = Block::None;
            return;
        }
        let Block::Members(group) = self.state.block else { return };
        let name = code.split('|').next().unwrap_or_default().trim();
        if name.is_empty() || name.len() > NAME_OCTETS_MAX || name.contains(char::is_whitespace) {
            return self.error("a member is `NAME | REQUIRED or OPTIONAL | MOST`");
        }
        if self.count() {
            self.builder.member(group, name);
        }
    }

    /// Says once that something is skipped.
    fn skip(&mut self, what: &'static str) {
        self.tell_once(what, || format!("{what} are skipped"));
    }

    fn unmapped(&mut self, name: &str, why: &'static str) {
        self.skip_name(name, why);
        self.skip(why);
    }

    fn attribute(&mut self, fields: &[&str]) {
        let (name, number, kind, rest) = match fields {
            [name, number] => (*name, *number, "string", &[][..]),
            [name, number, kind, rest @ ..] => (*name, *number, *kind, rest),
            _ => return self.error("`ATTRIBUTE` takes a name, a code and a type"),
        };
        if !self.count() || !self.is_name(name) {
            return;
        }
        if self.state.tlvs > 0 || number.contains('.') {
            return self.unmapped(name, "TLVs and extended attributes of RADIUS");
        }
        if UNMAPPED_TYPES.contains(&kind.to_ascii_lowercase().as_str()) {
            return self.unmapped(name, "RADIUS types that hold attributes");
        }
        let Some(word) = Type::word(kind) else {
            let hint = hint(nearest(kind, suggested()));
            return self.error(format!("unknown type `{kind}` of `{name}`{hint}"));
        };
        let Some(code) = parse_number(number).and_then(|number| u32::try_from(number).ok()).filter(|code| *code > 0)
        else {
            return self.error(format!("`{number}` of `{name}` is no AVP code (decimal or `0x` hex)"));
        };
        let Some((vendor, is_mandatory)) = self.fourth_field(name, rest) else { return };
        let vendor = match (vendor, self.state.vendors.last()) {
            (Some(vendor), _) => vendor,
            (None, None) => 0,
            (None, Some((_, Some(vendor)))) => *vendor,
            (None, Some((_, None))) => return,
        };
        let new = New { name, code, vendor, kind: word.kind, is_radius: word.is_radius, is_mandatory };
        let place = self.builder.define(&new, &self.at);
        if let (Type::Grouped, Some(place)) = (word.kind, place) {
            self.state.block = Block::MayOpen(place);
        } else if word.kind == Type::Grouped {
            self.state.block = Block::MaySkip;
        }
    }

    fn is_name(&mut self, name: &str) -> bool {
        if !self.is_short(name) {
            return false;
        }
        if !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':' && octet != b'|') {
            self.error(format!("name `{}` has characters outside ASCII, or `:` or `|`", name.escape_debug()));
            return false;
        }
        if name.bytes().all(|octet| octet.is_ascii_digit()) {
            self.error(format!("name `{name}` could not be told from a code"));
            return false;
        }
        true
    }

    /// Vendor and flag M; `None` after an error.
    fn fourth_field(&mut self, name: &str, fields: &[&str]) -> Option<(Option<u32>, Option<bool>)> {
        let (mut vendor, mut is_mandatory) = (None, None);
        for word in words(fields) {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "m" | "mandatory" => is_mandatory = Some(true),
                "optional" => is_mandatory = Some(false),
                flag if RADIUS_FLAGS.contains(&flag) => self.skip("flags of RADIUS"),
                _ => {
                    let stem = lower.strip_prefix("vendor=").unwrap_or(&lower);
                    match stem.parse::<u32>().ok().or_else(|| self.builder.vendor_number(stem)) {
                        Some(number) => vendor = Some(number),
                        None => {
                            self.error(format!("`{name}`: `{word}` is neither a flag nor a vendor defined above"));
                            return None;
                        }
                    }
                }
            }
        }
        Some((vendor, is_mandatory))
    }

    fn vendor(&mut self, fields: &[&str]) {
        let [first, second, ..] = fields else { return self.error("`VENDOR` takes a name and a number") };
        let number = |word: &str| parse_number(word).and_then(|number| u32::try_from(number).ok());
        let (name, number) = match (number(first), number(second)) {
            (_, Some(number)) => (*first, number),
            (Some(number), None) => (*second, number),
            (None, None) => return self.error(format!("vendor `{first}`: `{second}` is no number")),
        };
        if number == 0 {
            return self.error("vendor 0 means that there is none (RFC 6733 section 4.1.1)");
        }
        if self.count() {
            self.builder.vendor(name, number, &self.at);
        }
    }

    fn begin_vendor(&mut self, fields: &[&str]) {
        let [name, ..] = fields else { return self.error("`BEGIN-VENDOR` takes a vendor") };
        let number = self.vendor_number(name);
        self.state.vendors.push(((*name).to_owned(), number));
    }
}
