//! What a RADIUS dictionary says in a line: the forms of radiusclient, freeradius-client, radcli and FreeRADIUS 3 together.
//!
//! Types and names match in any case. A malformed line of a known keyword is an error, a FreeRADIUS 4 construct is
//! skipped with one warning. What only Diameter has, in a file that serves both (`diameter::parse`), is skipped with one
//! warning, its types are taken for RADIUS' own where they mean the same. Blocks (`BEGIN-VENDOR`, `BEGIN-TLV`) are a
//! file's own.

use std::path::Path;

use super::build::Builder;
use super::load::Loader;
use super::reader::{self, Definitions as _, File, Rules, hint, words};
use super::types::{Flags, Format, Oid, Origin, TLV_LEVELS_MAX, Type, VENDOR_NUMBER_END, VENDOR_SPECIFIC, WORDS, told};
use super::value::parse_number;
use super::{builtin, diameter, nearest};

/// Types of FreeRADIUS 4.
const VERSION_4_TYPES: &[&str] = &[
    "struct",
    "group",
    "union",
    "vendor",
    "float32",
    "float64",
    "time_delta",
    "time",
    "size",
    "int8",
    "int16",
    "int64",
    "attribute",
];

/// Why a name is skipped.
const VERSION_4: &str = "FreeRADIUS 4 constructs";
const DIAMETER: &str = "what only Diameter has";

/// What a type of Diameter is in RADIUS; `Some(None)` for one without counterpart.
fn of_diameter(word: &str) -> Option<Option<Type>> {
    use diameter::Type as D;
    Some(match D::parse(word)? {
        D::Utf8String | D::DiameterIdentity | D::DiameterUri | D::IpFilterRule | D::QosFilterRule => Some(Type::String),
        D::OctetString => Some(Type::Octets(None)),
        D::Unsigned32 | D::Enumerated => Some(Type::Integer),
        D::Integer32 => Some(Type::Signed),
        D::Unsigned64 => Some(Type::Integer64),
        D::Time => Some(Type::Date),
        D::Address => Some(Type::ComboIp),
        D::Integer64 | D::Float32 | D::Float64 | D::Grouped | D::BareAddress | D::BarePrefix => None,
    })
}

impl Builder {
    /// A dictionary with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A dictionary with the standard attributes and our own vendor's: what an operator's files are added to.
    #[must_use]
    pub fn with_builtin() -> Self {
        let mut builder = Self::default();
        for (name, text) in builtin::STANDARD {
            builder.text(&format!("built-in {name}"), text.as_bytes());
        }
        builder.seal();
        builder
    }

    /// Adds a text without includes, such as a built-in profile; `name` stands for the file in messages.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        reader::text::<Lines>(self, name, text);
    }

    /// Adds the file at `path` and what it includes. Problems are kept for [`Builder::finish`].
    pub fn file(&mut self, path: &Path, loader: &mut dyn Loader) {
        reader::file::<Lines>(self, path, loader);
    }
}

/// What RADIUS remembers of the lines above.
#[derive(Default)]
struct Lines {
    blocks: Vec<Block>,
    /// Depth of FreeRADIUS 4 `BEGIN` blocks being skipped.
    skipping: usize,
    /// Whether a block in braces may follow, and whether one is open; both are Diameter's.
    may_open: bool,
    in_braces: bool,
}

/// An open block: numbers inside continue its path.
struct Block {
    is_vendor: bool,
    name: String,
    /// `None` when the block's own line was wrong: what is inside is skipped.
    path: Option<Vec<u32>>,
    from: Origin,
}

impl Rules for Lines {
    type Builder = Builder;

    const VALUE: &'static str = "`VALUE` takes an attribute, a name and a number";
    const VALUE_ALIAS: &'static str = "`VALUE-ALIAS` takes two attribute names";
    const WORLD_WRITABLE: &'static str = "every user may write this file; FreeRADIUS refuses such files";
    const KEYWORDS: &'static [&'static str] = &[];

    fn code(file: &mut File<'_, Self>, code: &str) {
        let fields: Vec<&str> = code.split_ascii_whitespace().collect();
        let [keyword, fields @ ..] = &fields[..] else { return };
        let upper = keyword.to_ascii_uppercase();
        if file.state.skipping > 0 {
            match upper.as_str() {
                "BEGIN" => file.state.skipping += 1,
                "END" => file.state.skipping -= 1,
                _ => {}
            }
        } else if !file.diameter_block(&upper, fields) {
            file.line(keyword, fields);
        }
    }

    fn keyword(file: &mut File<'_, Self>, keyword: &str, fields: &[&str]) -> bool {
        match keyword {
            "ATTRIBUTE" => file.attribute(fields),
            "VENDOR" => file.vendor(fields),
            "BEGIN-VENDOR" => file.begin_vendor(fields),
            "END-VENDOR" => file.end(fields, true),
            "BEGIN-TLV" => file.begin_tlv(fields),
            "END-TLV" => file.end(fields, false),
            // pppd's plugin writes it without the dollar sign.
            "INCLUDE" => file.include(fields, true),
            _ => return false,
        }
        true
    }

    fn version_4(file: &mut File<'_, Self>, word: &'static str, keyword: &str, fields: &[&str]) {
        file.version_4(keyword);
        if word == "BEGIN" {
            file.state.skipping = 1;
        }
        if let ("DEFINE" | "MEMBER" | "ALIAS" | "ENUM", [name, ..]) = (word, fields) {
            file.skip_name(name, VERSION_4);
        }
    }

    fn value_rest(file: &mut File<'_, Self>, name: &str, rest: &[&str]) {
        if let [word, ..] = rest {
            file.warn(format!("`{word}` after value `{name}` is not used"));
        }
    }

    fn end(file: &mut File<'_, Self>) {
        for block in std::mem::take(&mut file.state.blocks) {
            let word = if block.is_vendor { "BEGIN-VENDOR" } else { "BEGIN-TLV" };
            let text = format!("`{word} {}` has no end in this file", block.name);
            file.builder.load().problems.warn(&block.from, text);
        }
    }
}

impl File<'_, Lines> {
    /// Says once that the file has what only Diameter has.
    fn diameter(&mut self, what: &str) {
        self.tell_once(DIAMETER, || format!("`{what}` and its like are for Diameter and skipped"));
    }

    /// Skips what stands in braces, and what they belong to; whether that is this line.
    fn diameter_block(&mut self, keyword: &str, fields: &[&str]) -> bool {
        if self.state.in_braces {
            self.state.in_braces = keyword != "}";
            return true;
        }
        let may_open = std::mem::take(&mut self.state.may_open);
        match keyword {
            "{" if may_open => self.state.in_braces = true,
            "REQUEST" | "ANSWER" => {
                self.diameter(keyword);
                (self.state.in_braces, self.state.may_open) = (fields.last() == Some(&"{"), true);
            }
            _ if keyword.starts_with("APPLICATION") => self.diameter("APPLICATION"),
            "ATTRIBUTE" if fields.last() == Some(&"{") => {
                self.attribute(&fields[..fields.len() - 1]);
                self.state.in_braces = true;
            }
            _ => return false,
        }
        true
    }

    fn version_4(&mut self, what: &str) {
        self.tell_once(VERSION_4, || format!("FreeRADIUS 4 dictionary: `{what}` and its like are skipped"));
    }

    fn attribute(&mut self, fields: &[&str]) {
        let [name, number, kind, rest @ ..] = fields else {
            return self.error("`ATTRIBUTE` takes a name, a number and a type");
        };
        // `Time` as RFC 6733 spells it is Diameter's.
        let is_version_4 = *kind != "Time" && VERSION_4_TYPES.contains(&kind.to_ascii_lowercase().as_str());
        if is_version_4 || number.starts_with('.') {
            self.skip_name(name, VERSION_4);
            let what = if number.starts_with('.') { number } else { kind };
            return self.version_4(what);
        }
        if !self.count() || !self.is_name(name) {
            return;
        }
        let of_diameter = if Type::parse(kind).is_none() { of_diameter(kind) } else { None };
        let is_too_large = || parse_number(number).is_some_and(|number| number > i64::from(u8::MAX));
        if of_diameter.is_some_and(|kind| kind.is_none() || is_too_large()) {
            self.skip_name(name, DIAMETER);
            self.state.may_open = true;
            return self.diameter(kind);
        }
        let Some(kind) = Type::parse(kind).or(of_diameter.flatten()) else {
            let hint = hint(nearest(kind, told(WORDS)));
            return self.error(format!("unknown type `{kind}` of `{name}`{hint}"));
        };
        let Some(numbers) = self.numbers(number) else {
            return self.error(format!("`{number}` of `{name}` is no number (decimal, `0x` hex, or parts with `.`)"));
        };
        let Some((flags, vendor)) = self.fourth_field(name, kind, rest) else { return };
        let mut path = match (vendor, self.state.blocks.last()) {
            (Some(vendor), _) => vec![VENDOR_SPECIFIC, vendor],
            (None, None) => Vec::new(),
            (None, Some(Block { path: Some(path), .. })) => path.clone(),
            (None, Some(Block { path: None, .. })) => return,
        };
        path.extend(numbers);
        match Oid::new(&path) {
            Some(oid) => self.builder.attribute(name, oid, kind, flags, &self.at),
            None => self.error(format!("`{name}`: number with more than {TLV_LEVELS_MAX} TLV levels")),
        }
    }

    /// Whether `name` may name an attribute; says so otherwise.
    fn is_name(&mut self, name: &str) -> bool {
        if !self.is_short(name) {
            return false;
        }
        if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("Attr-")) {
            self.error(format!("`{name}`: names with `Attr-` stand for unknown attributes"));
            return false;
        }
        if !name.bytes().all(|octet| octet.is_ascii_graphic()) {
            self.error(format!("name `{}` has characters outside ASCII", name.escape_debug()));
            return false;
        }
        if !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._/".contains(&octet)) {
            self.warn(format!("FreeRADIUS does not take the name `{name}`: letters, digits and `-._/` only"));
        }
        true
    }

    fn numbers(&self, text: &str) -> Option<Vec<u32>> {
        let part = |part: &str| -> Option<u32> { u32::try_from(parse_number(part)?).ok() };
        text.split('.').map(part).collect()
    }

    /// Flags, or a vendor in the old style; `None` after an error.
    fn fourth_field(&mut self, name: &str, kind: Type, fields: &[&str]) -> Option<(Flags, Option<u32>)> {
        let mut flags = Flags::default();
        let mut vendor = None;
        for word in words(fields) {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "has_tag" if matches!(kind, Type::String | Type::Integer) => flags.has_tag = true,
                "has_tag" => self.error_none(format!("`{name}`: `has_tag` needs string or integer, not {kind}"))?,
                "secret" => flags.secret = true,
                "m" | "mandatory" | "optional" => self.diameter(word),
                "array" => flags.array = true,
                "concat" if matches!(kind, Type::Octets(_)) => flags.concat = true,
                "concat" => self.error_none(format!("`{name}`: `concat` needs octets, not {kind}"))?,
                "virtual" => flags.is_virtual = true,
                "encrypt=1" => flags.encrypt = 1,
                "encrypt=2" => flags.encrypt = 2,
                "encrypt=3" => flags.encrypt = 3,
                _ if lower.starts_with("encrypt=") => {
                    self.error_none(format!("`{name}`: `{word}` is not `encrypt=1`, `2` or `3`"))?;
                }
                _ => {
                    let stem = lower.strip_prefix("vendor=").unwrap_or(&lower);
                    match self.builder.vendor_number(stem).or_else(|| self.builder.known_vendor(stem)) {
                        Some(number) => vendor = Some(number),
                        None => self.warn(format!("`{name}`: `{word}` is neither a flag nor a vendor defined above")),
                    }
                }
            }
        }
        Some((flags, vendor))
    }

    fn error_none(&mut self, text: String) -> Option<()> {
        self.error(text);
        None
    }

    fn vendor(&mut self, fields: &[&str]) {
        let [name, number, rest @ ..] = fields else {
            return self.error("`VENDOR` takes a name and a number");
        };
        // OpenSIPS writes the number first.
        let is_swapped = parse_number(number).is_none() && parse_number(name).is_some();
        let (name, number) = if is_swapped { (number, name) } else { (name, number) };
        if !self.count() {
            return;
        }
        let parsed = parse_number(number).and_then(|number| u32::try_from(number).ok());
        let Some(number) = parsed.filter(|number| *number < VENDOR_NUMBER_END) else {
            return self.error(format!("vendor `{name}`: `{number}` is no number below {VENDOR_NUMBER_END}"));
        };
        let mut format = None;
        for word in rest {
            let text = word.to_ascii_lowercase();
            match text.strip_prefix("format=") {
                Some(text) => match Format::parse(text) {
                    Some(parsed) => format = Some(parsed),
                    None => {
                        return self.error(format!("vendor `{name}`: `{word}` is not `format=1|2|4,0|1|2` (`1,1,c`)"));
                    }
                },
                None => self.warn(format!("`{word}` after vendor `{name}` is not used")),
            }
        }
        self.builder.vendor(name, number, format, &self.at);
    }

    fn begin_vendor(&mut self, fields: &[&str]) {
        let [name, rest @ ..] = fields else { return self.error("`BEGIN-VENDOR` takes a vendor") };
        let mut path = self.vendor_number(name).map(|number| vec![VENDOR_SPECIFIC, number]);
        for word in rest {
            let parent = word
                .split_once('=')
                .filter(|(key, _)| key.eq_ignore_ascii_case("format") || key.eq_ignore_ascii_case("parent"));
            path = match (parent, path) {
                (None, path) => {
                    self.warn(format!("`{word}` after `BEGIN-VENDOR {name}` is not used"));
                    path
                }
                (Some(_), None) => None,
                (Some((_, parent)), Some(path)) => match self.builder.find(parent) {
                    Some((oid, Type::Evs)) => Some([oid.parts(), &path[1..]].concat()),
                    Some((_, kind)) => {
                        self.error(format!("`{parent}` is {kind}, not evs"));
                        None
                    }
                    None => {
                        self.unknown_attribute(parent);
                        None
                    }
                },
            };
        }
        if let Some(open) = self.state.blocks.last() {
            let text = format!("`BEGIN-VENDOR {name}` inside `{}`, which began at {}", open.name, open.from);
            self.error(text);
        }
        self.state.blocks.push(Block { is_vendor: true, name: (*name).to_owned(), path, from: self.at.clone() });
    }

    fn unknown_attribute(&mut self, name: &str) {
        let hint = hint(nearest(name, self.builder.attribute_names()));
        self.error(format!("attribute `{name}` is not defined{hint}"));
    }

    fn begin_tlv(&mut self, fields: &[&str]) {
        let [name] = fields else { return self.error("`BEGIN-TLV` takes one attribute") };
        let path = match self.builder.find(name) {
            Some((oid, Type::Tlv)) => Some(oid.parts().to_vec()),
            Some((_, kind)) => {
                self.error(format!("`{name}` is {kind}, not tlv"));
                None
            }
            None => {
                self.unknown_attribute(name);
                None
            }
        };
        self.state.blocks.push(Block { is_vendor: false, name: (*name).to_owned(), path, from: self.at.clone() });
    }

    fn end(&mut self, fields: &[&str], is_vendor: bool) {
        let word = if is_vendor { "END-VENDOR" } else { "END-TLV" };
        let [name, ..] = fields else { return self.error(format!("`{word}` takes a name")) };
        match self.state.blocks.last() {
            Some(open) if open.is_vendor == is_vendor && open.name.eq_ignore_ascii_case(name) => {
                self.state.blocks.pop();
            }
            Some(open) => {
                let text = format!("`{word} {name}`, but `{}` is open since {}", open.name, open.from);
                self.error(text);
                // Closing the block keeps what follows from being read into the wrong space.
                self.state.blocks.pop();
            }
            None => self.error(format!("`{word} {name}` without a beginning")),
        }
    }
}
