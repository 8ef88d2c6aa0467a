//! The text of dictionary files: the forms of radiusclient, freeradius-client, radcli and FreeRADIUS 3 in one grammar.
//!
//! A line is a keyword and blank-separated fields; `#` starts a comment anywhere. Keywords, types and names match in
//! any case. A malformed line of a known keyword is an error, an unknown keyword a warning, a FreeRADIUS 4 construct
//! is skipped with one warning. What only Diameter has, in a file that serves both (`diameter::parse`), is skipped with
//! one warning, its types are taken for RADIUS' own where they mean the same. Blocks (`BEGIN-VENDOR`, `BEGIN-TLV`) are a file's own.

use std::path::Path;
use std::str;
use std::sync::Arc;

use super::build::Builder;
use super::builtin;
use super::diameter;
use super::load::{FILE_OCTETS_MAX, Loader};
use super::nearest;
use super::types::{Flags, Format, Oid, Origin, TLV_LEVELS_MAX, Type, VENDOR_NUMBER_END, VENDOR_SPECIFIC};
use super::value::parse_number;

/// Levels of `$INCLUDE`.
pub const INCLUDE_LEVELS_MAX: usize = 64;

/// Octets of a name.
pub const NAME_OCTETS_MAX: usize = 127;

const KEYWORDS: &[&str] = &[
    "ATTRIBUTE",
    "VALUE",
    "VALUE-ALIAS",
    "VENDOR",
    "BEGIN-VENDOR",
    "END-VENDOR",
    "BEGIN-TLV",
    "END-TLV",
    "$INCLUDE",
    "$INCLUDE-",
];

/// Keywords of FreeRADIUS 4.
const VERSION_4: &[&str] = &[
    "PROTOCOL",
    "BEGIN-PROTOCOL",
    "END-PROTOCOL",
    "FLAGS",
    "ALIAS",
    "DEFINE",
    "MEMBER",
    "ENUM",
    "STRUCT",
    "BEGIN",
    "END",
];

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

const TYPES: &[&str] = &[
    "string",
    "octets",
    "integer",
    "signed",
    "byte",
    "short",
    "integer64",
    "date",
    "ipaddr",
    "ipv4addr",
    "ipv6addr",
    "ipv6prefix",
    "ipv4prefix",
    "ifid",
    "ether",
    "combo-ip",
    "bool",
    "abinary",
    "tlv",
];

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
        let mut none = NoFiles;
        File::new(self, &mut none, name, 0).lines(Path::new(name), text);
    }

    /// Adds the file at `path` and what it includes. Problems are kept for [`Builder::finish`].
    pub fn file(&mut self, path: &Path, loader: &mut dyn Loader) {
        let origin = Origin { file: path.to_string_lossy().into(), line: 0 };
        read(self, loader, path, &origin, 0, true);
    }
}

/// Refuses every include.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _: &Path) -> std::io::Result<super::load::Source> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "a built-in text includes nothing"))
    }
}

fn read(builder: &mut Builder, loader: &mut dyn Loader, path: &Path, from: &Origin, level: usize, is_required: bool) {
    let source = match loader.load(path) {
        Ok(source) => source,
        Err(error) if !is_required && error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return builder.problems.error(from, format!("cannot read `{}`: {error}", path.display())),
    };
    if !builder.seen.insert(source.identity) {
        return;
    }
    builder.files.push(path.to_owned());
    let name = path.to_string_lossy();
    let whole = Origin { file: name.as_ref().into(), line: 0 };
    if source.text.len() > FILE_OCTETS_MAX {
        return builder.problems.error(&whole, format!("larger than {FILE_OCTETS_MAX} octets"));
    }
    if source.is_world_writable {
        builder.problems.warn(&whole, "every user may write this file; FreeRADIUS refuses such files");
    }
    File::new(builder, loader, &name, level).lines(path, &source.text);
}

/// One file being read.
struct File<'a> {
    builder: &'a mut Builder,
    loader: &'a mut dyn Loader,
    level: usize,
    at: Origin,
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

impl<'a> File<'a> {
    fn new(builder: &'a mut Builder, loader: &'a mut dyn Loader, name: &str, level: usize) -> Self {
        let at = Origin { file: Arc::from(name), line: 0 };
        Self { builder, loader, level, at, blocks: Vec::new(), skipping: 0, may_open: false, in_braces: false }
    }

    fn lines(&mut self, path: &Path, text: &[u8]) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|octet| *octet == b'\n') {
            self.at.line += 1;
            let code = line.split(|octet| *octet == b'#').next().unwrap_or_default();
            let Ok(code) = str::from_utf8(code) else {
                self.error("octets that are not UTF-8");
                continue;
            };
            let fields: Vec<&str> = code.split_ascii_whitespace().collect();
            if let [keyword, fields @ ..] = &fields[..] {
                self.line(path, keyword, fields);
            }
        }
        for block in std::mem::take(&mut self.blocks) {
            let word = if block.is_vendor { "BEGIN-VENDOR" } else { "BEGIN-TLV" };
            self.builder.problems.warn(&block.from, format!("`{word} {}` has no end in this file", block.name));
        }
    }

    fn line(&mut self, path: &Path, keyword: &str, fields: &[&str]) {
        let upper = keyword.to_ascii_uppercase();
        if self.skipping > 0 {
            match upper.as_str() {
                "BEGIN" => self.skipping += 1,
                "END" => self.skipping -= 1,
                _ => {}
            }
            return;
        }
        if self.diameter_block(&upper, fields) {
            return;
        }
        match upper.as_str() {
            "ATTRIBUTE" => self.attribute(fields),
            "VALUE" => self.value(fields),
            "VALUE-ALIAS" => match fields {
                [attribute, other] => self.builder.value_alias(attribute, other, &self.at),
                _ => self.error("`VALUE-ALIAS` takes two attribute names"),
            },
            "VENDOR" => self.vendor(fields),
            "BEGIN-VENDOR" => self.begin_vendor(fields),
            "END-VENDOR" => self.end(fields, true),
            "BEGIN-TLV" => self.begin_tlv(fields),
            "END-TLV" => self.end(fields, false),
            // pppd's plugin writes it without the dollar sign.
            "$INCLUDE" | "INCLUDE" => self.include(path, fields, true),
            "$INCLUDE-" | "$-INCLUDE" => self.include(path, fields, false),
            word if VERSION_4.contains(&word) => {
                self.version_4(keyword);
                if word == "BEGIN" {
                    self.skipping = 1;
                }
                if let ("DEFINE" | "MEMBER" | "ALIAS" | "ENUM", [name, ..]) = (word, fields) {
                    self.builder.skipped.insert(name.to_ascii_lowercase());
                }
            }
            _ => {
                let hint = hint(nearest(&upper, KEYWORDS.iter().copied()));
                self.warn(format!("unknown keyword `{keyword}`, line skipped{hint}"));
            }
        }
    }

    /// Says once that the file has what only Diameter has.
    fn diameter(&mut self, what: &str) {
        if !std::mem::replace(&mut self.builder.has_diameter, true) {
            self.warn(format!("`{what}` and its like are for Diameter and skipped"));
        }
    }

    /// Skips what stands in braces, and what they belong to; whether that is this line.
    fn diameter_block(&mut self, keyword: &str, fields: &[&str]) -> bool {
        if self.in_braces {
            self.in_braces = keyword != "}";
            return true;
        }
        let may_open = std::mem::take(&mut self.may_open);
        match keyword {
            "{" if may_open => self.in_braces = true,
            "REQUEST" | "ANSWER" => {
                self.diameter(keyword);
                (self.in_braces, self.may_open) = (fields.last() == Some(&"{"), true);
            }
            _ if keyword.starts_with("APPLICATION") => self.diameter("APPLICATION"),
            "ATTRIBUTE" if fields.last() == Some(&"{") => {
                self.attribute(&fields[..fields.len() - 1]);
                self.in_braces = true;
            }
            _ => return false,
        }
        true
    }

    fn version_4(&mut self, what: &str) {
        if !std::mem::replace(&mut self.builder.has_version_4, true) {
            self.warn(format!("FreeRADIUS 4 dictionary: `{what}` and its like are skipped"));
        }
    }

    fn attribute(&mut self, fields: &[&str]) {
        let [name, number, kind, rest @ ..] = fields else {
            return self.error("`ATTRIBUTE` takes a name, a number and a type");
        };
        // `Time` as RFC 6733 spells it is Diameter's.
        let is_version_4 = *kind != "Time" && VERSION_4_TYPES.contains(&kind.to_ascii_lowercase().as_str());
        if is_version_4 || number.starts_with('.') {
            self.builder.skipped.insert(name.to_ascii_lowercase());
            let what = if number.starts_with('.') { number } else { kind };
            return self.version_4(what);
        }
        if !self.builder.count(&self.at) || !self.is_name(name) {
            return;
        }
        let of_diameter = if Type::parse(kind).is_none() { of_diameter(kind) } else { None };
        let is_too_large = || parse_number(number).is_some_and(|number| number > i64::from(u8::MAX));
        if of_diameter.is_some_and(|kind| kind.is_none() || is_too_large()) {
            self.builder.skipped.insert(name.to_ascii_lowercase());
            self.may_open = true;
            return self.diameter(kind);
        }
        let Some(kind) = Type::parse(kind).or(of_diameter.flatten()) else {
            let hint = hint(nearest(&kind.to_ascii_lowercase(), TYPES.iter().copied()));
            return self.error(format!("unknown type `{kind}` of `{name}`{hint}"));
        };
        let Some(numbers) = self.numbers(number) else {
            return self.error(format!("`{number}` of `{name}` is no number (decimal, `0x` hex, or parts with `.`)"));
        };
        let Some((flags, vendor)) = self.fourth_field(name, kind, rest) else { return };
        let mut path = match (vendor, self.blocks.last()) {
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
        if name.len() > NAME_OCTETS_MAX {
            let start: String = name.chars().take(20).collect();
            self.error(format!("name `{start}…` is longer than {NAME_OCTETS_MAX} octets"));
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
    fn fourth_field(&mut self, name: &str, kind: Type, words: &[&str]) -> Option<(Flags, Option<u32>)> {
        let mut flags = Flags::default();
        let mut vendor = None;
        for word in words.iter().flat_map(|field| field.split(',')).filter(|word| !word.is_empty()) {
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

    fn value(&mut self, fields: &[&str]) {
        let [attribute, name, number, rest @ ..] = fields else {
            return self.error("`VALUE` takes an attribute, a name and a number");
        };
        if !self.builder.count(&self.at) {
            return;
        }
        if name.len() > NAME_OCTETS_MAX {
            return self.error(format!("value name of `{attribute}` is longer than {NAME_OCTETS_MAX} octets"));
        }
        let Some(value) = parse_number(number) else {
            return self.error(format!("`{number}` of value `{name}` is no number (decimal or `0x` hex)"));
        };
        if let [word, ..] = rest {
            self.warn(format!("`{word}` after value `{name}` is not used"));
        }
        self.builder.value(attribute, name, value, &self.at);
    }

    fn vendor(&mut self, fields: &[&str]) {
        let [name, number, rest @ ..] = fields else {
            return self.error("`VENDOR` takes a name and a number");
        };
        // OpenSIPS writes the number first.
        let is_swapped = parse_number(number).is_none() && parse_number(name).is_some();
        let (name, number) = if is_swapped { (number, name) } else { (name, number) };
        if !self.builder.count(&self.at) {
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
        let mut path = self.vendor_path(name);
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
        if let Some(open) = self.blocks.last() {
            let text = format!("`BEGIN-VENDOR {name}` inside `{}`, which began at {}", open.name, open.from);
            self.error(text);
        }
        self.blocks.push(Block { is_vendor: true, name: (*name).to_owned(), path, from: self.at.clone() });
    }

    fn vendor_path(&mut self, name: &str) -> Option<Vec<u32>> {
        if let Some(number) = self.builder.vendor_number(name) {
            return Some(vec![VENDOR_SPECIFIC, number]);
        }
        let hint = hint(nearest(name, self.builder.vendor_names()));
        self.error(format!("vendor `{name}` is not defined{hint}"));
        None
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
        self.blocks.push(Block { is_vendor: false, name: (*name).to_owned(), path, from: self.at.clone() });
    }

    fn end(&mut self, fields: &[&str], is_vendor: bool) {
        let word = if is_vendor { "END-VENDOR" } else { "END-TLV" };
        let [name, ..] = fields else { return self.error(format!("`{word}` takes a name")) };
        match self.blocks.last() {
            Some(open) if open.is_vendor == is_vendor && open.name.eq_ignore_ascii_case(name) => {
                self.blocks.pop();
            }
            Some(open) => {
                let text = format!("`{word} {name}`, but `{}` is open since {}", open.name, open.from);
                self.error(text);
                // Closing the block keeps what follows from being read into the wrong space.
                self.blocks.pop();
            }
            None => self.error(format!("`{word} {name}` without a beginning")),
        }
    }

    fn include(&mut self, path: &Path, fields: &[&str], is_required: bool) {
        let [file] = fields else { return self.error("`$INCLUDE` takes one file name") };
        if self.level + 1 >= INCLUDE_LEVELS_MAX {
            return self.error(format!("more than {INCLUDE_LEVELS_MAX} levels of `$INCLUDE`"));
        }
        let target = path.parent().unwrap_or(Path::new("")).join(file);
        read(self.builder, self.loader, &target, &self.at, self.level + 1, is_required);
    }

    fn error(&mut self, text: impl Into<String>) {
        self.builder.problems.error(&self.at, text);
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.builder.problems.warn(&self.at, text);
    }
}

fn hint(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
