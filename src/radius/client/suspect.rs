//! Which attribute a record is likely to fail for at a FreeRADIUS that writes to SQL.
//!
//! A value wider than its column makes strict databases refuse the row, and the server then stays silent: the record can
//! never be delivered, and nothing on the wire says why. The widths are those of the schemas FreeRADIUS ships for MySQL
//! and MS SQL; they count after escaping, which writes most punctuation as three characters.

use std::fmt;

use super::super::packet::Attributes;

/// An attribute with a value wider than the stock column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suspect {
    /// Its name.
    pub attribute: &'static str,
    /// Characters its value takes in SQL.
    pub width: usize,
    /// Characters of the stock column.
    pub column: usize,
}

/// As the end of a sentence about the record.
impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attribute, width, column } = self;
        write!(f, "its {attribute} takes {width} characters in SQL, the stock column has {column}")
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

/// The attribute that exceeds its column most; `None` when none does.
#[must_use]
pub fn suspect(attributes: &[u8]) -> Option<Suspect> {
    let wide = Attributes::of(attributes).filter_map(|attribute| {
        let (_, name, column) = COLUMNS.iter().find(|(number, ..)| *number == attribute.number)?;
        let width = width(attribute.value);
        (width > *column).then_some(Suspect { attribute: name, width, column: *column })
    });
    wide.max_by_key(|suspect| suspect.width * 100 / suspect.column)
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
            assert_eq!(suspect(&octets).map(|found| (found.attribute, found.width)), want, "{name}");
        }
        assert_eq!(width(b"sip:+49123;user=phone@x"), 29);
    }
}
