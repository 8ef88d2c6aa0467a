//! Which attribute a record is likely to fail for at a FreeRADIUS that writes to SQL.
//!
//! A value wider than its column makes strict databases refuse the row, and the server then stays silent: the record can
//! never be delivered, and nothing on the wire says why. The widths are those of the schemas FreeRADIUS ships for MySQL
//! and MS SQL; they count after escaping, which writes most punctuation as three characters.

use std::fmt;

use super::super::packet::Attributes;

/// An attribute that a database may refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suspect {
    /// Its value is wider than the stock column.
    Wide {
        /// Its name.
        attribute: &'static str,
        /// Characters its value takes in SQL.
        width: usize,
        /// Characters of the stock column.
        column: usize,
    },
    /// A table whose character set is latin1, MySQL's default until 8.0, has no place for some of its characters.
    Charset {
        /// Its name.
        attribute: &'static str,
        /// The first such character.
        character: char,
    },
}

/// As the end of a sentence about the record.
impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wide { attribute, width, column } => {
                write!(f, "its {attribute} takes {width} characters in SQL, the stock column has {column}")
            }
            Self::Charset { attribute, character } => write!(
                f,
                "its {attribute} has `{character}` (U+{:04X}), which a table of the character set latin1 refuses; utf8mb4 \
                 takes it",
                u32::from(*character)
            ),
        }
    }
}

/// Number, name, characters of the column.
const COLUMNS: [(u8, &str, usize); 7] = [
    (1, "User-Name", 64),
    (25, "Class", 64),
    (30, "Called-Station-Id", 50),
    (31, "Calling-Station-Id", 50),
    (44, "Acct-Session-Id", 64),
    (77, "Connect-Info", 128),
    (87, "NAS-Port-Id", 32),
];

/// The attribute that exceeds its column most, else the first with characters outside of Latin-1; `None` when there is
/// neither.
#[must_use]
pub fn suspect(attributes: &[u8]) -> Option<Suspect> {
    widest(attributes).or_else(|| outside_latin1(attributes))
}

fn outside_latin1(attributes: &[u8]) -> Option<Suspect> {
    Attributes::of(attributes).find_map(|attribute| {
        let text = std::str::from_utf8(attribute.value).ok()?;
        let (_, name, _) = COLUMNS.iter().find(|(number, ..)| *number == attribute.number)?;
        let character = text.chars().find(|character| !is_latin1(*character))?;
        Some(Suspect::Charset { attribute: name, character })
    })
}

/// Whether the character set that MySQL calls latin1, windows-1252, has it.
fn is_latin1(character: char) -> bool {
    u32::from(character) < 0x100 || "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ".contains(character)
}

fn widest(attributes: &[u8]) -> Option<Suspect> {
    let wide = Attributes::of(attributes).filter_map(|attribute| {
        let (_, name, column) = COLUMNS.iter().find(|(number, ..)| *number == attribute.number)?;
        let width = width(attribute.value);
        (width > *column).then_some((*name, width, *column))
    });
    let (attribute, width, column) = wide.max_by_key(|(_, width, column)| width * 100 / column)?;
    Some(Suspect::Wide { attribute, width, column })
}

/// Characters of a value after FreeRADIUS has escaped it: `=2B` for a `+`.
fn width(value: &[u8]) -> usize {
    let text = String::from_utf8_lossy(value);
    let escaped = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"@.-_:/ ".contains(c);
    text.chars().map(|c| if escaped(c) { 3 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::packet;

    #[test]
    fn the_widest_value_is_suspected_after_escaping() {
        let long = "a".repeat(51);
        let plus = "+".repeat(17);
        for (name, values, want) in [
            ("all fit", vec![(30, "sip:alice@example.com"), (31, &long[..50])], None),
            ("one is a character too long", vec![(30, long.as_str())], Some(("Called-Station-Id", 51))),
            ("one is too long once escaped", vec![(31, plus.as_str())], Some(("Calling-Station-Id", 51))),
            ("another attribute may be long", vec![(18, long.as_str())], None),
            ("the worst of two", vec![(1, &"ü".repeat(70)), (30, &"b".repeat(60))], Some(("Called-Station-Id", 60))),
        ] {
            let mut octets = Vec::new();
            for (number, value) in values {
                packet::push(&mut octets, number, value.as_bytes());
            }
            let found = suspect(&octets).map(|found| match found {
                Suspect::Wide { attribute, width, .. } => (attribute, width),
                other @ Suspect::Charset { .. } => panic!("{name}: {other}"),
            });
            assert_eq!(found, want, "{name}");
        }
        assert_eq!(width(b"sip:+49123;user=phone@x"), 29);
    }

    #[test]
    fn characters_that_latin1_lacks_are_named() {
        for (name, value, want) in [
            ("plain", "alice", None),
            ("of western Europe", "zoë €5", None),
            ("of eastern Europe", "łukasz", Some('ł')),
            ("of elsewhere", "名前", Some('名')),
            ("an emoji", "bob 😀", Some('😀')),
        ] {
            let mut octets = Vec::new();
            packet::push(&mut octets, 1, value.as_bytes());
            let found = suspect(&octets).map(|found| found.to_string());
            match want {
                None => assert_eq!(found, None, "{name}"),
                Some(character) => {
                    let found = found.unwrap_or_default();
                    assert!(found.contains(&format!("its User-Name has `{character}`")), "{name}: {found}");
                    assert!(found.contains("latin1"), "{name}: {found}");
                }
            }
        }
    }
}
