//! Read-only tables of keys and values that a script looks things up in: prefixes, rates, customers.

use std::collections::HashMap;

/// Entries of one table at most.
pub const ENTRIES_MAX: usize = 2_000_000;

/// A table, read from a file once for all shards.
#[derive(Debug, Default)]
pub struct KeyTable {
    entries: HashMap<Box<[u8]>, Box<[u8]>>,
    longest: usize,
}

/// Why a file is no table.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadTable {
    /// A key stands there twice.
    #[error("line {line}: the key `{key}` stands in line {first} already")]
    Twice {
        /// The second one.
        line: usize,
        /// The first one.
        first: usize,
        /// The key.
        key: String,
    },
    /// It is too long.
    #[error("more than {ENTRIES_MAX} entries")]
    TooLong,
}

impl KeyTable {
    /// Reads lines of a key, white space and a value; empty lines and what begins with `#` are none. A key without a value
    /// has the empty text.
    ///
    /// # Errors
    /// A key that stands there twice, or too many of them.
    pub fn parse(text: &[u8]) -> Result<Self, BadTable> {
        let (mut table, mut places) = (Self::default(), HashMap::new());
        for (number, line) in (1..).zip(text.split(|octet| *octet == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
            let (key, value) = (&line[..end], line[end..].trim_ascii());
            if let Some(first) = places.insert(key, number) {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(BadTable::Twice { line: number, first, key });
            }
            if table.entries.len() >= ENTRIES_MAX {
                return Err(BadTable::TooLong);
            }
            table.longest = table.longest.max(key.len());
            table.entries.insert(key.into(), value.into());
        }
        Ok(table)
    }

    /// The value of a key.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|value| &**value)
    }

    /// The longest key that `text` begins with, and its value.
    #[must_use]
    pub fn longest_prefix<'a>(&'a self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let longest = self.longest.min(text.len());
        (1..=longest).rev().find_map(|length| Some((&text[..length], self.of(&text[..length])?)))
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let table = KeyTable::parse(b"# rates\n43 austria\n431\tvienna 0.02\n\n1\n").expect("a table");
        for (number, want) in [
            ("4319", Some("vienna 0.02")),
            ("4366", Some("austria")),
            ("43", Some("austria")),
            ("12", Some("")),
            ("49", None),
            ("", None),
        ] {
            let found = table.longest_prefix(number.as_bytes()).map(|(_, value)| value);
            assert_eq!(found, want.map(str::as_bytes), "{number}");
        }
        assert_eq!(table.len(), 3);
        let twice = BadTable::Twice { line: 2, first: 1, key: "43".to_owned() };
        assert_eq!(KeyTable::parse(b"43 a\n43 b").err(), Some(twice));
    }
}
