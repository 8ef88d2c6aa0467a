//! Text of our configuration, each line with where it comes from.

use std::fmt::Write as _;

use super::lexer::Spot;

/// An option with its value as TOML.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its name.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Where it comes from.
    pub at: Option<Spot>,
}

impl Line {
    /// An option whose value is a text.
    #[must_use]
    pub fn text(key: &str, value: &str, at: Option<Spot>) -> Self {
        Self::raw(key, quoted(value), at)
    }

    /// An option whose value is TOML.
    #[must_use]
    pub fn raw(key: &str, value: impl Into<String>, at: Option<Spot>) -> Self {
        Self { key: key.to_owned(), value: value.into(), at }
    }
}

/// A file that grows section by section.
pub struct Writer<'w> {
    out: String,
    origin: &'w dyn Fn(Spot) -> String,
}

impl<'w> Writer<'w> {
    /// An empty one; `origin` shows a place.
    #[must_use]
    pub fn new(origin: &'w dyn Fn(Spot) -> String) -> Self {
        Self { out: String::new(), origin }
    }

    /// Comment lines.
    pub fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let _infallible = writeln!(self.out, "# {}", printable(line));
        }
    }

    /// A section with its options; without any it is left out unless `is_kept`.
    pub fn section(&mut self, head: &str, lines: &[Line]) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let _infallible = writeln!(self.out, "[{head}]");
        for line in lines {
            let origin = line.at.map_or_else(String::new, |at| format!("  # {}", printable(&(self.origin)(at))));
            let _infallible = writeln!(self.out, "{} = {}{origin}", key(&line.key), line.value);
        }
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }
}

/// A key, in quotation marks where it needs them.
fn key(text: &str) -> String {
    let is_bare = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet));
    if is_bare { text.to_owned() } else { quoted(text) }
}

/// A text as TOML.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for next in text.chars() {
        match next {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            next if next.is_control() => {
                let _infallible = write!(out, "\\u{:04X}", u32::from(next));
            }
            next => out.push(next),
        }
    }
    out.push('"');
    out
}

/// A list of texts as TOML.
pub fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// A table of texts on one line.
pub fn table<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn printable(text: &str) -> String {
    text.chars().map(|next| if next.is_control() { ' ' } else { next }).collect()
}
