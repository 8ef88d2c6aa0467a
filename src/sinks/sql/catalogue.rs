//! What a database says of a table: its columns with their types and widths, and what is unique in it.

/// A table as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Table {
    pub columns: Vec<Column>,
    /// The columns of each unique index.
    pub unique: Vec<Unique>,
    /// By which engine it is kept, where there are several: not each can take a transaction back.
    pub engine: Option<String>,
    /// The last number that a generated column had, or the next one.
    pub number: Option<i64>,
}

/// A unique index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Unique {
    pub name: String,
    pub columns: Vec<String>,
}

/// A column as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Type,
    pub is_nullable: bool,
    /// What it holds where nothing is given, if that is a constant.
    pub default: Option<String>,
    /// Whether it holds something where nothing is given.
    pub has_default: bool,
    /// The name of its type, without a width.
    pub type_name: String,
    /// Whether the database gives it a value of its own: a number that rises.
    pub is_generated: bool,
}

/// What a column takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    /// A text.
    Text {
        /// As long as that.
        width: Option<Width>,
        /// Of these characters.
        characters: Characters,
    },
    /// A whole number.
    Integer {
        /// The least one.
        least: i64,
        /// The greatest one.
        most: i64,
    },
    /// A number with a fraction.
    Real,
    /// An instant.
    Instant {
        /// Digits of the fraction of its second; `None`: as many as are given, and nobody has said how many are wanted.
        digits: Option<u8>,
        /// Whether it knows its zone.
        is_zoned: bool,
    },
    /// 16 octets, as many as a record's id has. They are bound as hexadecimal digits: no text has any octets.
    Octets16,
    /// PostgreSQL's uuid, which is as long, and takes any. It is read from hexadecimal digits.
    Uuid,
    /// Something else, which is written as text.
    Other,
}

/// The width of a text column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Width {
    Characters(usize),
    Octets(usize),
}

/// Which characters a text column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Characters {
    /// All of Unicode, or what only the database knows.
    All,
    /// Those of the basic plane: MySQL's `utf8`.
    Basic,
    /// Those of Latin-1.
    Latin,
    /// Those of ASCII.
    Ascii,
}

impl Characters {
    /// Of a character set of MySQL.
    pub fn named(name: &str) -> Self {
        match name {
            "utf8" | "utf8mb3" | "ucs2" => Self::Basic,
            "latin1" => Self::Latin,
            "ascii" => Self::Ascii,
            _ => Self::All,
        }
    }

    /// Whether the character can be stored.
    pub const fn has(self, sign: char) -> bool {
        match self {
            Self::All => true,
            Self::Basic => (sign as u32) < 0x1_0000,
            // Between the two, MySQL's latin1 is code page 1252.
            Self::Latin => sign.is_ascii() || matches!(sign as u32, 0xa0..=0xff),
            Self::Ascii => sign.is_ascii(),
        }
    }

    /// What stands for one that cannot.
    pub const fn substitute(self) -> char {
        if matches!(self, Self::Basic) { '\u{fffd}' } else { '?' }
    }
}

impl Type {
    /// A text of that many characters.
    pub const fn text(width: Option<usize>) -> Self {
        let width = match width {
            Some(count) => Some(Width::Characters(count)),
            None => None,
        };
        Self::Text { width, characters: Characters::All }
    }

    /// A whole number of that many octets.
    pub const fn integer(octets: u32, is_signed: bool) -> Self {
        let bits = 8 * octets;
        match (is_signed, bits) {
            (true, 64..) => Self::Integer { least: i64::MIN, most: i64::MAX },
            (false, 64..) => Self::Integer { least: 0, most: i64::MAX },
            (true, _) => Self::Integer { least: -(1 << (bits - 1)), most: (1 << (bits - 1)) - 1 },
            (false, _) => Self::Integer { least: 0, most: (1 << bits) - 1 },
        }
    }
}

impl Table {
    /// The column of that name, in any case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The generated column whose numbers come to their end: with the last one no row is taken any more.
    pub fn ending(&self) -> Option<&Column> {
        let number = self.number?;
        // A tenth is left.
        let is_near = |most: i64| number / 9 >= most / 10;
        self.columns.iter().filter(|column| column.is_generated).find(|column| match column.kind {
            Type::Integer { most, .. } => is_near(most),
            _ => false,
        })
    }

    /// Whether these columns together are unique by an index.
    pub fn is_unique(&self, names: &[&str]) -> bool {
        self.unique.iter().any(|index| index.is_of(names))
    }
}

impl Unique {
    /// Whether it has these columns, in any order, and no other.
    pub fn is_of(&self, names: &[&str]) -> bool {
        let has = |name: &&str| self.columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        self.columns.len() == names.len() && names.iter().all(has)
    }
}

/// The constant that a default is, from the text of its expression: `'a''b'::bpchar`, `0`, `current_timestamp()`.
pub(super) fn constant(expression: &str) -> Option<String> {
    let text = expression.trim();
    if let Some(rest) = text.strip_prefix('\'') {
        let mut constant = String::new();
        let mut signs = rest.chars().peekable();
        while let Some(sign) = signs.next() {
            match sign {
                '\'' if signs.peek() == Some(&'\'') => {
                    signs.next();
                    constant.push('\'');
                }
                '\'' => return Some(constant),
                other => constant.push(other),
            }
        }
        return None;
    }
    let is_number = !text.is_empty() && text.bytes().all(|sign| sign.is_ascii_digit() || matches!(sign, b'.' | b'-'));
    is_number.then(|| text.to_owned())
}

/// The numbers in the brackets of a declared type: `varchar(64)` has 64, `decimal(10, 3)` two.
pub(super) fn numbers(declared: &str) -> Vec<usize> {
    let inner = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let list = inner.map_or("", |(list, _)| list).split(',');
    list.filter_map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_a_constant_or_none() {
        for (expression, want) in [
            ("''", Some("")),
            ("'a''b'::bpchar", Some("a'b")),
            ("0", Some("0")),
            ("-1.5", Some("-1.5")),
            ("'2000-01-01 00:00:00'", Some("2000-01-01 00:00:00")),
            ("current_timestamp()", None),
            ("NULL", None),
            ("nextval('acc_id_seq'::regclass)", None),
            ("'open", None),
            ("", None),
        ] {
            assert_eq!(constant(expression).as_deref(), want, "{expression}");
        }
        assert_eq!(numbers("DECIMAL(10, 3) UNSIGNED"), [10, 3]);
        assert_eq!(numbers("text"), [0; 0]);
    }

    #[test]
    fn a_character_set_holds_what_it_holds() {
        for (set, sign, want) in [
            ("utf8mb4", '😀', true),
            ("utf8", 'é', true),
            ("utf8mb3", '😀', false),
            ("latin1", 'é', true),
            ("latin1", '€', false),
            ("latin1", '\u{85}', false),
            ("ascii", 'é', false),
        ] {
            assert_eq!(Characters::named(set).has(sign), want, "{set} {sign}");
        }
    }

    #[test]
    fn numbers_of_rows_come_to_their_end() {
        let column = |octets| Column {
            name: "id".to_owned(),
            kind: Type::integer(octets, true),
            is_nullable: false,
            default: None,
            has_default: false,
            type_name: String::new(),
            is_generated: true,
        };
        for (name, octets, number, want) in [
            ("none known", 4, None, false),
            ("far away", 4, Some(1_900_000_000), false),
            ("a tenth is left", 4, Some(1_940_000_000), true),
            ("cycled, or all used", 4, Some(i64::from(i32::MAX)), true),
            ("64 bits last", 8, Some(1 << 40), false),
        ] {
            let table = Table { columns: vec![column(octets)], number, ..Table::default() };
            assert_eq!(table.ending().is_some(), want, "{name}");
        }
    }

    #[test]
    fn a_whole_number_has_its_range() {
        for (octets, is_signed, want) in [
            (1, true, (-128, 127)),
            (3, false, (0, 16_777_215)),
            (4, false, (0, 4_294_967_295)),
            (8, true, (i64::MIN, i64::MAX)),
            (8, false, (0, i64::MAX)),
        ] {
            let (least, most) = want;
            assert_eq!(Type::integer(octets, is_signed), Type::Integer { least, most }, "{octets} {is_signed}");
        }
    }
}
