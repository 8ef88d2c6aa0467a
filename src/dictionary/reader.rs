//! The text of dictionary files as far as both protocols read it alike: lines, keywords, VALUE, `$INCLUDE`, limits.
//!
//! A line is a keyword and blank-separated fields; `#` starts a comment anywhere. Keywords match in any case. An unknown
//! keyword is a warning. What a line means is said by the `Rules` of a protocol.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::str;
use std::sync::Arc;

use super::load::{FILE_OCTETS_MAX, Identity, Loader, Source};
use super::nearest;
use super::problem::Problems;
use super::types::Origin;
use super::value::parse_number;

/// Levels of `$INCLUDE`.
pub const INCLUDE_LEVELS_MAX: usize = 64;

/// Octets of a name.
pub const NAME_OCTETS_MAX: usize = 127;

/// Definitions and values of all files together.
pub const ENTRIES_MAX: usize = 200_000;

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

/// Whether a line that begins with this word, in any case, is one of a dictionary, known or of a later version.
#[must_use]
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().chain(VERSION_4).any(|own| word.eq_ignore_ascii_case(own))
}

/// What is known of a load whatever the protocol.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) problems: Problems,
    pub(super) files: Vec<PathBuf>,
    /// Lower-case names that have no place in the protocol, and why; their values are skipped too.
    pub(super) skipped: HashMap<Box<str>, &'static str>,
    /// Constructs that were skipped and told.
    pub(super) told: HashSet<&'static str>,
    seen: HashSet<Identity>,
    entries: usize,
}

impl Load {
    /// Counts one definition; `false` when there are too many.
    pub(super) fn count(&mut self, origin: &Origin) -> bool {
        self.entries += 1;
        if self.entries == ENTRIES_MAX + 1 {
            self.problems.error(origin, format!("more than {ENTRIES_MAX} definitions"));
        }
        self.entries <= ENTRIES_MAX
    }
}

/// How a protocol takes the lines of a file.
pub(super) trait Rules: Default {
    /// What the definitions are added to.
    type Builder: Definitions;

    /// What `VALUE` takes, in words.
    const VALUE: &'static str;
    /// What `VALUE-ALIAS` takes, in words.
    const VALUE_ALIAS: &'static str;
    /// What is said of a file that everybody may write.
    const WORLD_WRITABLE: &'static str;
    /// Keywords it has besides.
    const KEYWORDS: &'static [&'static str];

    /// Reads a file that is no text of this form; whether it was one.
    fn other_form(_: &mut Self::Builder, _name: &str, _text: &[u8]) -> bool {
        false
    }

    /// One line without its comment.
    fn code(file: &mut File<'_, Self>, code: &str);

    /// One line with a keyword that has a meaning of its own in each protocol; `false` if it has none in this one.
    fn keyword(file: &mut File<'_, Self>, keyword: &str, fields: &[&str]) -> bool;

    /// A construct of FreeRADIUS 4, with its keyword in upper case besides.
    fn version_4(file: &mut File<'_, Self>, word: &'static str, keyword: &str, fields: &[&str]);

    /// Says what is wrong with a value that can be read; `rest` follows its number.
    fn value_rest(_: &mut File<'_, Self>, _name: &str, _rest: &[&str]) {}

    /// The file is at its end.
    fn end(file: &mut File<'_, Self>);
}

/// What a builder of dictionaries takes, whatever the protocol.
pub(super) trait Definitions {
    fn load(&mut self) -> &mut Load;
    fn value(&mut self, owner: &str, name: &str, number: i64, origin: &Origin);
    fn value_alias(&mut self, owner: &str, other: &str, origin: &Origin);
    fn vendor_number(&self, name: &str) -> Option<u32>;
    fn vendor_names(&self) -> impl Iterator<Item = &str>;
}

/// Adds a text without includes.
pub(super) fn text<R: Rules>(builder: &mut R::Builder, name: &str, text: &[u8]) {
    File::<R>::new(builder, &mut NoFiles, Path::new(name), 0).lines(text);
}

/// Adds a file and what it includes.
pub(super) fn file<R: Rules>(builder: &mut R::Builder, path: &Path, loader: &mut dyn Loader) {
    let origin = Origin { file: path.to_string_lossy().into(), line: 0 };
    read::<R>(builder, loader, path, &origin, 0, true);
}

/// Refuses every include.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _: &Path) -> io::Result<Source> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a built-in text includes nothing"))
    }
}

fn read<R: Rules>(
    builder: &mut R::Builder,
    loader: &mut dyn Loader,
    path: &Path,
    from: &Origin,
    level: usize,
    is_required: bool,
) {
    let load = builder.load();
    let source = match loader.load(path) {
        Ok(source) => source,
        Err(error) if !is_required && error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return load.problems.error(from, format!("cannot read `{}`: {error}", path.display())),
    };
    if !load.seen.insert(source.identity) {
        return;
    }
    load.files.push(path.to_owned());
    let name = path.to_string_lossy();
    let whole = Origin { file: name.as_ref().into(), line: 0 };
    if source.text.len() > FILE_OCTETS_MAX {
        return load.problems.error(&whole, format!("larger than {FILE_OCTETS_MAX} octets"));
    }
    if source.is_world_writable {
        load.problems.warn(&whole, R::WORLD_WRITABLE);
    }
    if !R::other_form(builder, &name, &source.text) {
        File::<R>::new(builder, loader, path, level).lines(&source.text);
    }
}

/// One file being read.
pub(super) struct File<'a, R: Rules> {
    pub(super) builder: &'a mut R::Builder,
    pub(super) at: Origin,
    /// What the protocol remembers of the lines above.
    pub(super) state: R,
    loader: &'a mut dyn Loader,
    path: &'a Path,
    level: usize,
}

impl<'a, R: Rules> File<'a, R> {
    fn new(builder: &'a mut R::Builder, loader: &'a mut dyn Loader, path: &'a Path, level: usize) -> Self {
        let at = Origin { file: Arc::from(path.to_string_lossy()), line: 0 };
        Self { builder, at, state: R::default(), loader, path, level }
    }

    fn lines(&mut self, text: &[u8]) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|octet| *octet == b'\n') {
            self.at.line += 1;
            let code = line.split(|octet| *octet == b'#').next().unwrap_or_default();
            match str::from_utf8(code) {
                Ok(code) => R::code(self, code),
                Err(_) => self.error("octets that are not UTF-8"),
            }
        }
        R::end(self);
    }

    /// One line of a keyword and fields.
    pub(super) fn line(&mut self, keyword: &str, fields: &[&str]) {
        let upper = keyword.to_ascii_uppercase();
        match upper.as_str() {
            "VALUE" => self.value(fields),
            "VALUE-ALIAS" => match fields {
                [owner, other] => self.builder.value_alias(owner, other, &self.at),
                _ => self.error(R::VALUE_ALIAS),
            },
            "$INCLUDE" => self.include(fields, true),
            "$INCLUDE-" | "$-INCLUDE" => self.include(fields, false),
            word if R::keyword(self, word, fields) => {}
            word => match VERSION_4.iter().find(|known| **known == word) {
                Some(known) => R::version_4(self, known, keyword, fields),
                None => {
                    let hint = hint(nearest(word, KEYWORDS.iter().chain(R::KEYWORDS).copied()));
                    self.warn(format!("unknown keyword `{keyword}`, line skipped{hint}"));
                }
            },
        }
    }

    fn value(&mut self, fields: &[&str]) {
        let [owner, name, number, rest @ ..] = fields else { return self.error(R::VALUE) };
        if !self.count() {
            return;
        }
        if name.len() > NAME_OCTETS_MAX {
            return self.error(format!("value name of `{owner}` is longer than {NAME_OCTETS_MAX} octets"));
        }
        let Some(value) = parse_number(number) else {
            return self.error(format!("`{number}` of value `{name}` is no number (decimal or `0x` hex)"));
        };
        R::value_rest(self, name, rest);
        self.builder.value(owner, name, value, &self.at);
    }

    pub(super) fn include(&mut self, fields: &[&str], is_required: bool) {
        let [file] = fields else { return self.error("`$INCLUDE` takes one file name") };
        if self.level + 1 >= INCLUDE_LEVELS_MAX {
            return self.error(format!("more than {INCLUDE_LEVELS_MAX} levels of `$INCLUDE`"));
        }
        let target = self.path.parent().unwrap_or(Path::new("")).join(file);
        read::<R>(self.builder, self.loader, &target, &self.at, self.level + 1, is_required);
    }

    /// Counts one definition; `false` when there are too many.
    pub(super) fn count(&mut self) -> bool {
        self.builder.load().count(&self.at)
    }

    /// Whether a name is short enough; says so otherwise.
    pub(super) fn is_short(&mut self, name: &str) -> bool {
        let is_short = name.len() <= NAME_OCTETS_MAX;
        if !is_short {
            let start: String = name.chars().take(20).collect();
            self.error(format!("name `{start}…` is longer than {NAME_OCTETS_MAX} octets"));
        }
        is_short
    }

    /// The number of a vendor that has to be defined above.
    pub(super) fn vendor_number(&mut self, name: &str) -> Option<u32> {
        let number = self.builder.vendor_number(name);
        if number.is_none() {
            let hint = hint(nearest(name, self.builder.vendor_names()));
            self.error(format!("vendor `{name}` is not defined{hint}"));
        }
        number
    }

    /// Notes that a name has no place in the protocol.
    pub(super) fn skip_name(&mut self, name: &str, why: &'static str) {
        self.builder.load().skipped.insert(name.to_ascii_lowercase().into(), why);
    }

    /// Says once that a construct is skipped.
    pub(super) fn tell_once(&mut self, construct: &'static str, text: impl FnOnce() -> String) {
        if self.builder.load().told.insert(construct) {
            self.warn(text());
        }
    }

    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.builder.load().problems.error(&self.at, text);
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.builder.load().problems.warn(&self.at, text);
    }
}

/// The words of the fields behind the type: blanks and commas part them.
pub(super) fn words<'w>(fields: &'w [&'w str]) -> impl Iterator<Item = &'w str> {
    fields.iter().flat_map(|field| field.split(',')).filter(|word| !word.is_empty())
}

/// `; did you mean …?`, or nothing.
pub(super) fn hint(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
