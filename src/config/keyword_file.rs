//! Files of keywords, radiusclient.conf and diameterclient.conf: a line is a keyword, blanks, and a value to its end.
//!
//! A line whose first character is `#` is a comment. What the two files do differently is their [`Style`]. All mistakes are
//! collected, with line and column.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use super::error::{Findings, Form, Mistake, Mistakes, Place, suggestion};
use super::keywords::Keywords;
use crate::dictionary::load;
use crate::net::tls::{NameCheck, Tls};

/// Octets of one line.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;

/// Octets of one file.
pub const FILE_OCTETS_MAX: usize = 1 << 20;

/// What kind of value a keyword takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Servers; lines add up.
    Servers,
    /// Labels, names or files, separated by commas or blanks; lines add up.
    List,
    /// Free text, a path or a name.
    Text,
    /// Decimal digits, from `min` to `max`.
    Number {
        /// Smallest number taken.
        min: u32,
        /// Largest number taken.
        max: u32,
        /// Largest that passes without a warning.
        usual_max: u32,
    },
    /// On or off, by the words of [`Style`].
    Switch,
    /// One of a few words, or an address.
    Word,
    /// Accepted whatever it says, without effect.
    Ignored,
}

/// One keyword.
#[derive(Debug, Eq, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
}

/// A keyword for the table of a file.
pub const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// What one of the files does differently from the other.
pub trait Style {
    /// All keywords that the file may have, those without effect here included.
    const KEYS: &'static [Key];

    /// Whether a character parts keyword and value.
    fn is_blank(char: char) -> bool;

    /// The keyword meant by a word that is none as it stands; what is to be said about it is added to `found`.
    fn meant(&self, word: &str, place: &Place, found: &mut Findings) -> Option<&'static Key>;

    /// The value as it counts; `None` when the line is of no use, which is then told.
    fn value<'a>(&self, key: &Key, value: &'a str, place: &Place, found: &mut Findings) -> Option<&'a str>;

    /// The words of a list as a dump of the configuration shows them: without secrets.
    fn shown(&self, path: &Path, entry: &Entry<'_>, found: &mut Findings) -> Vec<String>;
}

/// One keyword with its value, as written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub key: &'static Key,
    /// Without blanks at its ends.
    pub value: &'a str,
    pub line: u32,
    /// Of the value, in characters from 1.
    pub column: u32,
    is_blank: fn(char) -> bool,
    /// All that its file may have.
    keys: &'static [Key],
}

impl<'a> Entry<'a> {
    /// Where the octet at `at` of the value stands.
    pub fn place_in(&self, path: &Path, at: usize) -> Place {
        let column = self.column.saturating_add(u32::try_from(self.value[..at].chars().count()).unwrap_or(u32::MAX));
        Place::File { path: path.to_owned(), line: self.line, column, form: Form::Keywords(self.keys) }
    }

    /// The words of the value, which commas and blanks part, with their places in octets.
    pub fn words(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let is_blank = self.is_blank;
        let is_border = move |char: char| char == ',' || is_blank(char);
        let mut at = 0;
        self.value.split_inclusive(is_border).filter_map(move |piece| {
            // A border may have more than one octet.
            let (place, word) = (at, piece.trim_end_matches(is_border));
            at += piece.len();
            (!word.is_empty()).then_some((place, word))
        })
    }
}

/// A file of which the lines have been read.
pub struct KeywordFile<'a> {
    pub path: &'a Path,
    pub entries: Vec<Entry<'a>>,
    pub found: Findings,
}

impl<'a> KeywordFile<'a> {
    /// All lines with a known keyword, in their order.
    pub fn read<S: Style>(style: &S, path: &'a Path, text: &'a [u8]) -> Self {
        let mut file = Self { path, entries: Vec::new(), found: Findings::default() };
        for (line, octets) in lines(text) {
            let place = |column| Place::File { path: path.to_owned(), line, column, form: Form::Keywords(S::KEYS) };
            if octets.len() > LINE_OCTETS_MAX {
                file.found.push(Mistake::error(format!("line longer than {LINE_OCTETS_MAX} octets"), place(1)));
                continue;
            }
            let whole = match std::str::from_utf8(octets) {
                Ok(whole) => whole.trim_end(),
                Err(_) if octets.trim_ascii_start().first() == Some(&b'#') => continue,
                Err(_) => {
                    file.found.push(Mistake::error("line is not UTF-8", place(1)));
                    continue;
                }
            };
            let code = whole.trim_start_matches(S::is_blank);
            if code.is_empty() || code.starts_with('#') {
                continue;
            }
            let (word, rest) = code.split_at(code.find(S::is_blank).unwrap_or(code.len()));
            let value = rest.trim_start_matches(S::is_blank);
            let at = |part: &str| column(whole, whole.len() - part.len());
            let exact = S::KEYS.iter().find(|key| key.name == word);
            let Some(key) = exact.or_else(|| style.meant(word, &place(at(code)), &mut file.found)) else { continue };
            let column = if value.is_empty() { at(code) } else { at(value) };
            if let Some(value) = style.value(key, value, &place(column), &mut file.found) {
                file.entries.push(Entry { key, value, line, column, is_blank: S::is_blank, keys: S::KEYS });
            }
        }
        file
    }

    pub fn place(&self, entry: &Entry<'_>) -> Place {
        entry.place_in(self.path, 0)
    }

    /// The file as a whole.
    pub fn whole(&self) -> Place {
        Place::Whole(self.path.to_owned())
    }

    /// Of several entries of a keyword the last one, which counts.
    pub fn last(&self, name: &str) -> Option<Entry<'a>> {
        self.entries.iter().rev().find(|entry| entry.key.name == name).copied()
    }

    /// The value of a keyword; `None` when it is missing or empty.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.last(name).map(|entry| entry.value).filter(|text| !text.is_empty())
    }

    /// A path, which starts at the folder of this file.
    pub fn beside(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }

    /// The path that a keyword names.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.beside(text))
    }

    pub fn error(&mut self, entry: &Entry<'_>, what: impl Into<String>) {
        let place = self.place(entry);
        self.found.push(Mistake::error(what, place));
    }

    /// Tells of keywords that stand twice, other than those whose lines add up; `say` gets whether the values are equal.
    pub fn twice(&mut self, say: impl Fn(&str, bool, Place) -> Mistake) {
        let mut mistakes = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if matches!(entry.key.kind, Kind::Servers | Kind::List | Kind::Ignored) {
                continue;
            }
            let Some(first) = self.entries[..at].iter().find(|first| first.key == entry.key) else { continue };
            let mistake = say(entry.key.name, first.value == entry.value, self.place(entry));
            mistakes.push(mistake.also_at(self.place(first)));
        }
        self.found.extend(mistakes);
    }

    pub fn number(&mut self, name: &str) -> Option<u32> {
        let entry = self.last(name)?;
        let Kind::Number { min, max, usual_max } = entry.key.kind else { return None };
        let (value, place) = (entry.value, self.place(&entry));
        let is_digits = value.bytes().all(|octet| octet.is_ascii_digit());
        let number = value.parse().ok().filter(|number| is_digits && (min..=max).contains(number));
        let Some(number) = number else {
            let shown: String = value.chars().take(40).collect();
            let what = format!("`{name}` takes a whole number from {min} to {max}, not `{}`", shown.escape_debug());
            let hint = value.starts_with('=').then(|| "this format has no `=`".to_owned());
            self.found.push(Mistake::error(what, place).maybe_hint(hint));
            return None;
        };
        if number > usual_max {
            self.found.push(Mistake::warning(format!("`{name}` is {number}: more than {usual_max} is unusual"), place));
        }
        Some(number)
    }

    /// On or off; `neither` says of a value that it is none of these.
    pub fn switch(&mut self, name: &str, neither: &str) -> Option<bool> {
        let entry = self.last(name)?;
        match entry.value.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" => Some(false),
            _ => {
                self.error(&entry, format!("`{name}` is neither {neither}"));
                None
            }
        }
    }

    /// The files of TLS, and whether the peer's name is checked.
    pub fn tls(&mut self, neither: &str) -> Tls {
        Tls {
            ca_file: self.file("tls-ca-file"),
            cert_file: self.file("tls-cert-file"),
            key_file: self.file("tls-key-file"),
            name_check: match self.switch("tls-verify-hostname", neither) {
                Some(false) => NameCheck::Off,
                _ => NameCheck::On,
            },
        }
    }

    /// The words of one line of a list.
    fn words(&self, entry: &Entry<'a>) -> impl Iterator<Item = (Place, &'a str)> + use<'a> {
        let (path, entry) = (self.path, *entry);
        entry.words().map(move |(at, word)| (entry.place_in(path, at), word))
    }

    /// The words of all lines of a list.
    pub fn all(&self, name: &str) -> Vec<(Place, &'a str)> {
        self.entries.iter().filter(|entry| entry.key.name == name).flat_map(|entry| self.words(entry)).collect()
    }

    /// Where everything stands: a list word by word, of the others what `shown` says of their values.
    pub fn keywords(&self, shown: impl Fn(&'a str) -> &'a str) -> Keywords {
        let mut keywords = Keywords::new(self.path.to_owned());
        for entry in &self.entries {
            if entry.key.kind == Kind::List {
                self.words(entry).for_each(|(place, word)| keywords.note(entry.key.name, word, place));
            } else {
                keywords.note(entry.key.name, shown(entry.value), self.place(entry));
            }
        }
        keywords
    }
}

/// The mistake of a keyword nobody knows; `near` is the one that was meant.
pub fn unknown(word: &str, near: Option<&str>, keys: &'static [Key], place: &Place) -> Mistake {
    let what = format!("unknown keyword `{}`", word.chars().take(40).collect::<String>().escape_debug());
    let near = near.map(|near| format!("did you mean `{near}`?"));
    let hint = near.or_else(|| suggestion(word, keys.iter().map(|key| key.name)));
    Mistake::error(what, place.clone()).maybe_hint(hint)
}

/// Lines with their numbers, without a byte-order mark.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1..).zip(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|octet| *octet == b'\n'))
}

/// Where a `#` after a blank, or at the start, begins what looks like a comment.
pub fn comment(value: &str) -> Option<usize> {
    value.match_indices('#').map(|(at, _)| at).find(|&at| at == 0 || value[..at].ends_with([' ', '\t']))
}

/// Column of the octet at `at`, in characters from 1.
fn column(line: &str, at: usize) -> u32 {
    u32::try_from(line[..at].chars().count()).unwrap_or(u32::MAX).saturating_add(1)
}

/// The octets of a file.
pub fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (text, about) = load::read(path, FILE_OCTETS_MAX)?;
    if text.len() > FILE_OCTETS_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_OCTETS_MAX} octets")));
    }
    Ok((text, about))
}

/// Says that a file cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Mistakes {
    Mistakes(vec![Mistake::error(format!("cannot read: {error}"), Place::Whole(path.to_owned()))])
}

/// A file as the `config` crate takes it: lists as arrays, numbers as integers, everything else as text. Of a repeated
/// keyword that is no list the last one counts; ignored ones are left out.
pub fn values<S: Style>(
    style: &S,
    path: &Path,
    uri: Option<&String>,
    text: &str,
) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
    let KeywordFile { entries, mut found, .. } = KeywordFile::read(style, path, text.as_bytes());
    let mut values: BTreeMap<&str, ValueKind> = BTreeMap::new();
    for entry in entries {
        let kind = match entry.key.kind {
            Kind::Ignored => continue,
            Kind::Servers | Kind::List => {
                let mut all = match values.remove(entry.key.name) {
                    Some(ValueKind::Array(earlier)) => earlier,
                    _ => Vec::new(),
                };
                all.extend(style.shown(path, &entry, &mut found).into_iter().map(|word| Value::new(uri, word)));
                ValueKind::Array(all)
            }
            Kind::Number { .. } => match entry.value.parse::<i64>() {
                Ok(number) => ValueKind::I64(number),
                Err(_) => ValueKind::String(entry.value.to_owned()),
            },
            Kind::Text | Kind::Switch | Kind::Word => ValueKind::String(entry.value.to_owned()),
        };
        values.insert(entry.key.name, kind);
    }
    if found.has_error() {
        return Err(Box::new(Mistakes(found.sorted())));
    }
    Ok(values.into_iter().map(|(name, kind)| (name.to_owned(), Value::new(uri, kind))).collect())
}
