//! The text of dictionaries as Diameter reads it: the lines of RADIUS dictionaries, and besides
//!
//! * Diameter's own types by their RFC names, and the types of OpenSIPS' `aaa_diameter`;
//! * the flags `M` or `mandatory`, and `optional`; a vendor by name or number in the place of flags;
//! * `VENDOR` with name and number in either order;
//! * after a `Grouped` attribute a block `{` … `}` with its members, one a line: `name | REQUIRED | 1`;
//! * `APPLICATION…`, and `REQUEST` and `ANSWER` with their blocks, which are skipped.
//!
//! What RADIUS has and Diameter has not (TLVs, extended attributes, tags, encryption) is skipped with a note.

use std::path::Path;
use std::str;
use std::sync::Arc;

use super::build::{Builder, New, Place};
use super::types::{Type, WORDS};
use crate::dictionary::load::{FILE_OCTETS_MAX, Loader, Source};
use crate::dictionary::nearest;
use crate::dictionary::parse::{INCLUDE_LEVELS_MAX, NAME_OCTETS_MAX};
use crate::dictionary::types::Origin;
use crate::dictionary::value::parse_number;
use crate::dictionary::xml;

const KEYWORDS: &[&str] = &[
    "ATTRIBUTE",
    "VALUE",
    "VALUE-ALIAS",
    "VENDOR",
    "BEGIN-VENDOR",
    "END-VENDOR",
    "BEGIN-TLV",
    "END-TLV",
    "APPLICATION",
    "REQUEST",
    "ANSWER",
    "$INCLUDE",
    "$INCLUDE-",
];

/// Types of RADIUS without a counterpart.
const UNMAPPED_TYPES: &[&str] = &["tlv", "vsa", "extended", "long-extended", "evs", "struct", "group", "union"];

/// Flags of FreeRADIUS: they change nothing in Diameter.
const RADIUS_FLAGS: &[&str] =
    &["has_tag", "secret", "array", "concat", "virtual", "encrypt=1", "encrypt=2", "encrypt=3", "internal"];

/// Adds a text without includes.
pub(super) fn text(builder: &mut Builder, name: &str, text: &[u8]) {
    File::new(builder, &mut NoFiles, name, 0).lines(Path::new(name), text);
}

/// Adds a file and what it includes.
pub(super) fn file(builder: &mut Builder, path: &Path, loader: &mut dyn Loader) {
    let origin = Origin { file: path.to_string_lossy().into(), line: 0 };
    read(builder, loader, path, &origin, 0, true);
}

/// Refuses every include.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _: &Path) -> std::io::Result<Source> {
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
        builder.problems.warn(&whole, "every user may write this file");
    }
    let start = source.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&source.text).trim_ascii_start();
    if start.first() == Some(&b'<') {
        return xml::read(builder, &name, &source.text);
    }
    File::new(builder, loader, &name, level).lines(path, &source.text);
}

/// One file being read.
struct File<'a> {
    builder: &'a mut Builder,
    loader: &'a mut dyn Loader,
    level: usize,
    at: Origin,
    /// Open `BEGIN-VENDOR` blocks; `None` inside one whose vendor is unknown.
    vendors: Vec<(String, Option<u32>)>,
    /// Open `BEGIN-TLV` blocks: what is inside is skipped.
    tlvs: usize,
    block: Block,
}

/// The block with braces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Block {
    None,
    /// A group's `{` may follow.
    MayOpen(Place),
    /// A block that is skipped may follow.
    MaySkip,
    Members(Place),
    Skipped,
}

impl<'a> File<'a> {
    fn new(builder: &'a mut Builder, loader: &'a mut dyn Loader, name: &str, level: usize) -> Self {
        let at = Origin { file: Arc::from(name), line: 0 };
        Self { builder, loader, level, at, vendors: Vec::new(), tlvs: 0, block: Block::None }
    }

    fn lines(&mut self, path: &Path, text: &[u8]) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|octet| *octet == b'\n') {
            self.at.line += 1;
            let code = line.split(|octet| *octet == b'#').next().unwrap_or_default();
            match str::from_utf8(code) {
                Ok(code) => self.code(path, code.trim()),
                Err(_) => self.error("octets that are not UTF-8"),
            }
        }
        if matches!(self.block, Block::Members(_) | Block::Skipped) {
            self.warn("a block `{` has no end in this file");
        }
        if let Some((name, _)) = self.vendors.last() {
            let text = format!("`BEGIN-VENDOR {name}` has no end in this file");
            self.warn(text);
        }
    }

    /// One line without its comment.
    fn code(&mut self, path: &Path, code: &str) {
        if code.is_empty() {
            return;
        }
        match self.block {
            Block::Members(_) | Block::Skipped => return self.inside(code),
            Block::MayOpen(place) if code == "{" => return self.block = Block::Members(place),
            Block::MaySkip if code == "{" => return self.block = Block::Skipped,
            _ => self.block = Block::None,
        }
        let (code, opens) = match code.strip_suffix('{') {
            Some(code) => (code, true),
            None => (code, false),
        };
        let fields: Vec<&str> = code.split_ascii_whitespace().collect();
        let [keyword, fields @ ..] = &fields[..] else { return self.error("`{` without a group in front") };
        self.line(path, keyword, fields);
        if opens {
            self.block = match self.block {
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
            self.block = Block::None;
            return;
        }
        let Block::Members(group) = self.block else { return };
        let name = code.split('|').next().unwrap_or_default().trim();
        if name.is_empty() || name.len() > NAME_OCTETS_MAX || name.contains(char::is_whitespace) {
            return self.error("a member is `NAME | REQUIRED or OPTIONAL | MOST`");
        }
        if self.builder.count(&self.at) {
            self.builder.member(group, name);
        }
    }

    fn line(&mut self, path: &Path, keyword: &str, fields: &[&str]) {
        let upper = keyword.to_ascii_uppercase();
        match upper.as_str() {
            "ATTRIBUTE" => self.attribute(fields),
            "VALUE" => self.value(fields),
            "VALUE-ALIAS" => match fields {
                [avp, other] => self.builder.value_alias(avp, other, &self.at),
                _ => self.error("`VALUE-ALIAS` takes two names"),
            },
            "VENDOR" => self.vendor(fields),
            "BEGIN-VENDOR" => self.begin_vendor(fields),
            "END-VENDOR" => match self.vendors.pop() {
                Some((open, _)) if fields.first().is_some_and(|name| open.eq_ignore_ascii_case(name)) => {}
                Some((open, _)) => self.error(format!("`END-VENDOR`, but `{open}` is open")),
                None => self.error("`END-VENDOR` without a beginning"),
            },
            "BEGIN-TLV" => self.tlvs += 1,
            "END-TLV" => self.tlvs = self.tlvs.saturating_sub(1),
            "$INCLUDE" => self.include(path, fields, true),
            "$INCLUDE-" | "$-INCLUDE" => self.include(path, fields, false),
            "REQUEST" | "ANSWER" => {
                self.skip("`REQUEST` and `ANSWER`");
                self.block = Block::MaySkip;
            }
            word if word.starts_with("APPLICATION") => self.skip("`APPLICATION`"),
            "PROTOCOL" | "BEGIN-PROTOCOL" | "END-PROTOCOL" | "FLAGS" | "ALIAS" | "DEFINE" | "MEMBER" | "ENUM"
            | "STRUCT" | "BEGIN" | "END" => self.skip("FreeRADIUS 4 constructs"),
            _ => {
                let hint = hint(nearest(&upper, KEYWORDS.iter().copied()));
                self.warn(format!("unknown keyword `{keyword}`, line skipped{hint}"));
            }
        }
    }

    /// Says once that something is skipped.
    fn skip(&mut self, what: &'static str) {
        if self.builder.told.insert(what) {
            self.warn(format!("{what} are skipped"));
        }
    }

    fn unmapped(&mut self, name: &str, why: &'static str) {
        self.builder.unmapped.insert(name.to_ascii_lowercase().into(), why);
        self.skip(why);
    }

    fn attribute(&mut self, fields: &[&str]) {
        let (name, number, kind, rest) = match fields {
            [name, number] => (*name, *number, "string", &[][..]),
            [name, number, kind, rest @ ..] => (*name, *number, *kind, rest),
            _ => return self.error("`ATTRIBUTE` takes a name, a code and a type"),
        };
        if !self.builder.count(&self.at) || !self.is_name(name) {
            return;
        }
        if self.tlvs > 0 || number.contains('.') {
            return self.unmapped(name, "TLVs and extended attributes of RADIUS");
        }
        if UNMAPPED_TYPES.contains(&kind.to_ascii_lowercase().as_str()) {
            return self.unmapped(name, "RADIUS types that hold attributes");
        }
        let Some(word) = Type::word(kind) else {
            let hint = hint(nearest(kind, WORDS.iter().copied()));
            return self.error(format!("unknown type `{kind}` of `{name}`{hint}"));
        };
        let Some(code) = parse_number(number).and_then(|number| u32::try_from(number).ok()).filter(|code| *code > 0)
        else {
            return self.error(format!("`{number}` of `{name}` is no AVP code (decimal or `0x` hex)"));
        };
        let Some((vendor, is_mandatory)) = self.fourth_field(name, rest) else { return };
        let vendor = match (vendor, self.vendors.last()) {
            (Some(vendor), _) => vendor,
            (None, None) => 0,
            (None, Some((_, Some(vendor)))) => *vendor,
            (None, Some((_, None))) => return,
        };
        let new = New { name, code, vendor, kind: word.kind, is_radius: word.is_radius, is_mandatory };
        let place = self.builder.define(&new, &self.at);
        if let (Type::Grouped, Some(place)) = (word.kind, place) {
            self.block = Block::MayOpen(place);
        } else if word.kind == Type::Grouped {
            self.block = Block::MaySkip;
        }
    }

    fn is_name(&mut self, name: &str) -> bool {
        if name.len() > NAME_OCTETS_MAX {
            let start: String = name.chars().take(20).collect();
            self.error(format!("name `{start}…` is longer than {NAME_OCTETS_MAX} octets"));
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
    fn fourth_field(&mut self, name: &str, words: &[&str]) -> Option<(Option<u32>, Option<bool>)> {
        let (mut vendor, mut is_mandatory) = (None, None);
        for word in words.iter().flat_map(|field| field.split(',')).filter(|word| !word.is_empty()) {
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

    fn value(&mut self, fields: &[&str]) {
        let [avp, name, number, ..] = fields else {
            return self.error("`VALUE` takes a name of an AVP, a name and a number");
        };
        if !self.builder.count(&self.at) {
            return;
        }
        if name.len() > NAME_OCTETS_MAX {
            return self.error(format!("value name of `{avp}` is longer than {NAME_OCTETS_MAX} octets"));
        }
        match parse_number(number) {
            Some(number) => self.builder.value(avp, name, number, &self.at),
            None => self.error(format!("`{number}` of value `{name}` is no number (decimal or `0x` hex)")),
        }
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
        if self.builder.count(&self.at) {
            self.builder.vendor(name, number, &self.at);
        }
    }

    fn begin_vendor(&mut self, fields: &[&str]) {
        let [name, ..] = fields else { return self.error("`BEGIN-VENDOR` takes a vendor") };
        let number = self.builder.vendor_number(name);
        if number.is_none() {
            let hint = hint(nearest(name, self.builder.vendor_names()));
            self.error(format!("vendor `{name}` is not defined{hint}"));
        }
        self.vendors.push(((*name).to_owned(), number));
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
