//! From a value to what its column takes: of its type, within its width and its characters, NULL or the default where
//! there is none.
//!
//! All is bound as text, which each database reads as the column's own type. That it can is seen to here, so that no
//! text comes into a number and nothing depends on how strict a server is.

use jiff::tz::TimeZone;

use super::catalogue::{Characters, Column, Type, Width};
use super::row::{Cell, Escaped};
use super::settings::Empty;
use crate::clock::Timestamp;

/// A value as it is bound, and whether it had to be changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fitted {
    /// `None` is NULL.
    pub text: Option<String>,
    pub is_changed: bool,
}

impl Fitted {
    fn same(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), is_changed: false }
    }
}

/// What values are fitted by, beside the column.
#[derive(Clone, Debug)]
pub(super) struct Tailor {
    pub empty: Empty,
    pub zone: TimeZone,
    /// Digits of the second where the column does not say how many.
    pub digits: u8,
}

impl Tailor {
    /// The value for a column.
    pub fn fit(&self, cell: &Cell, column: &Column) -> Fitted {
        match (cell, column.kind) {
            (Cell::Id(id), Type::Octets16 | Type::Uuid) => Fitted::same(format!("{:032x}", id.0)),
            (Cell::Id(id), _) => self.fit(&Cell::Text(id.to_string(), Escaped::No), column),
            (_, Type::Octets16) => self.octets(cell, column),
            (Cell::Absent, _) => self.nothing(column),
            (Cell::Text(text, _), _) if text.is_empty() => self.nothing(column),
            (Cell::Text(text, escaped), Type::Text { .. }) => {
                let fitted = in_width(text, column.kind);
                Fitted { is_changed: fitted.is_changed || *escaped == Escaped::Yes, ..fitted }
            }
            (Cell::Text(text, escaped), Type::Other | Type::Uuid) => {
                Fitted { text: Some(text.clone()), is_changed: *escaped == Escaped::Yes }
            }
            (Cell::Text(text, _), kind) => self.parsed(text.trim(), kind, column),
            (Cell::Number(number), Type::Integer { .. }) => self.in_range(i128::from(*number), column),
            (Cell::Number(number), Type::Instant { .. }) => {
                self.instant(Timestamp(number.saturating_mul(1_000_000)), column)
            }
            (Cell::Number(number), kind) => in_width(&number.to_string(), kind),
            (Cell::Instant(at), Type::Integer { .. }) => self.in_range(at.secs().into(), column),
            (Cell::Instant(at), Type::Real) => Fitted::same(with_fraction(at.0)),
            (Cell::Instant(at), _) => self.instant(*at, column),
            (Cell::Seconds(span), Type::Integer { .. }) => {
                self.in_range(i128::from(span.as_secs()) + i128::from(span.subsec_millis() >= 500), column)
            }
            (Cell::Seconds(span), kind) => {
                let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
                in_width(&with_fraction(micros), kind)
            }
        }
    }

    /// What 16 octets hold of a value that is no id: its text as hexadecimal digits.
    fn octets(&self, cell: &Cell, column: &Column) -> Fitted {
        let kind = Type::Text { width: Some(Width::Octets(16)), characters: Characters::All };
        let Fitted { text, is_changed } = self.fit(cell, &Column { kind, ..column.clone() });
        let digits = |text: String| text.bytes().map(|octet| format!("{octet:02x}")).collect();
        Fitted { text: text.map(digits), is_changed }
    }

    /// Where there is no value: NULL, else the default, else what says least in that type.
    fn nothing(&self, column: &Column) -> Fitted {
        let is_text = matches!(column.kind, Type::Text { .. });
        if is_text && self.empty == Empty::NotAvailable {
            return in_width("n/a", column.kind);
        }
        if column.is_nullable && !(is_text && self.empty == Empty::Text) {
            return Fitted { text: None, is_changed: false };
        }
        Fitted::same(match (&column.default, column.kind) {
            (Some(default), _) => default.as_str(),
            (None, Type::Text { .. } | Type::Other | Type::Octets16 | Type::Uuid) => "",
            (None, Type::Integer { .. } | Type::Real) => "0",
            // MySQL's TIMESTAMP begins after 1970; the proxies' schemas have this one.
            (None, Type::Instant { .. }) => "2000-01-01 00:00:00",
        })
    }

    /// What a column gets that cannot have the value.
    fn instead(&self, column: &Column) -> Fitted {
        Fitted { is_changed: true, ..self.nothing(column) }
    }

    /// A text for a column of numbers or instants, if it says one.
    fn parsed(&self, text: &str, kind: Type, column: &Column) -> Fitted {
        match kind {
            Type::Integer { .. } => match text.parse::<i128>() {
                Ok(number) => self.in_range(number, column),
                Err(_) => self.instead(column),
            },
            Type::Real => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Fitted::same(text),
                _ => self.instead(column),
            },
            Type::Instant { .. } => match text.parse::<jiff::Timestamp>() {
                Ok(at) => self.instant(Timestamp(at.as_microsecond()), column),
                Err(_) => self.instead(column),
            },
            Type::Text { .. } | Type::Other | Type::Octets16 | Type::Uuid => Fitted::same(text),
        }
    }

    /// A whole number, or the nearest one that the column has.
    fn in_range(&self, number: i128, column: &Column) -> Fitted {
        let Type::Integer { least, most } = column.kind else { return self.instead(column) };
        let fitting = number.clamp(least.into(), most.into());
        Fitted { text: Some(fitting.to_string()), is_changed: fitting != number }
    }

    /// An instant as `2026-11-20 21:45:00`, cut to the digits that the column has.
    fn instant(&self, at: Timestamp, column: &Column) -> Fitted {
        let (digits, is_zoned) = match column.kind {
            Type::Instant { digits, is_zoned } => (digits.unwrap_or(self.digits).min(6), is_zoned),
            _ => (0, false),
        };
        let Ok(time) = jiff::Timestamp::from_microsecond(at.0) else { return self.instead(column) };
        let time = if is_zoned { TimeZone::UTC.to_datetime(time) } else { self.zone.to_datetime(time) };
        // No database has years before our era in the same way.
        if time.year() < 1 {
            return self.instead(column);
        }
        let (date, clock) = (time.date(), time.time());
        let mut text = String::with_capacity(29);
        let micros = u32::try_from(clock.subsec_nanosecond() / 1_000).unwrap_or(0);
        for (before, value, width) in [
            ("", u32::from(date.year().unsigned_abs()), 4),
            ("-", date.month().unsigned_abs().into(), 2),
            ("-", date.day().unsigned_abs().into(), 2),
            (" ", clock.hour().unsigned_abs().into(), 2),
            (":", clock.minute().unsigned_abs().into(), 2),
            (":", clock.second().unsigned_abs().into(), 2),
            (".", micros / 10_u32.pow(6 - u32::from(digits)), usize::from(digits)),
        ] {
            if width > 0 {
                text.push_str(before);
                push_digits(&mut text, value, width);
            }
        }
        if is_zoned && column.type_name.contains("timestamptz") {
            text.push_str("+00");
        }
        match column.kind {
            Type::Text { .. } => in_width(&text, column.kind),
            _ => Fitted::same(text),
        }
    }
}

/// The last digits of a number, so many.
fn push_digits(text: &mut String, value: u32, width: usize) {
    let mut scale = 10_u32.pow(u32::try_from(width).unwrap_or(0));
    for _ in 0..width {
        scale /= 10;
        text.push(char::from_digit(value / scale % 10, 10).unwrap_or('0'));
    }
}

/// Microseconds as seconds with three or six digits behind the point.
fn with_fraction(micros: i64) -> String {
    let (secs, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    if rest % 1_000 == 0 { format!("{secs}.{:03}", rest / 1_000) } else { format!("{secs}.{rest:06}") }
}

/// A text of the column's characters, and no longer than it.
fn in_width(text: &str, kind: Type) -> Fitted {
    let Type::Text { width, characters } = kind else { return Fitted::same(text) };
    if text.is_ascii() {
        let most = match width {
            None => usize::MAX,
            Some(Width::Characters(most) | Width::Octets(most)) => most,
        };
        return Fitted { text: Some(text[..text.len().min(most)].to_owned()), is_changed: text.len() > most };
    }
    let (mut fitted, mut is_changed) = (String::with_capacity(text.len()), false);
    for (count, sign) in text.chars().enumerate() {
        let own = if characters.has(sign) { sign } else { characters.substitute() };
        let is_full = match width {
            None => false,
            Some(Width::Characters(most)) => count >= most,
            Some(Width::Octets(most)) => fitted.len() + own.len_utf8() > most,
        };
        if is_full {
            is_changed = true;
            break;
        }
        is_changed |= own != sign;
        fitted.push(own);
    }
    Fitted { text: Some(fitted), is_changed }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::RecordId;

    fn column(kind: Type, is_nullable: bool, default: Option<&str>) -> Column {
        Column {
            name: "a".to_owned(),
            kind,
            is_nullable,
            default: default.map(str::to_owned),
            has_default: default.is_some(),
            type_name: String::new(),
            is_generated: false,
        }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned(), Escaped::No)
    }

    const ID: RecordId = RecordId(0x11f);
    const SMALL: Type = Type::integer(1, true);
    const SECONDS: Type = Type::Instant { digits: Some(0), is_zoned: false };

    /// 2023-11-14 22:13:20.
    const AT: i64 = 1_700_000_000;

    #[test]
    fn a_value_is_of_the_column_s_type_or_not_there() {
        let tailor = Tailor { empty: Empty::Null, zone: TimeZone::UTC, digits: 4 };
        let at = |micros: i64| Cell::Instant(Timestamp(AT * 1_000_000 + micros));
        let varchar = Type::text(Some(4));
        let basic = Type::Text { width: Some(Width::Characters(4)), characters: Characters::Basic };
        let octets = Type::Text { width: Some(Width::Octets(4)), characters: Characters::All };
        let millis = |millis| Cell::Seconds(Duration::from_millis(millis));
        const CUT: bool = true;
        for (name, cell, kind, want, is_changed) in [
            ("a text stays", text("abcd"), varchar, Some("abcd"), false),
            ("a longer one is cut", text("abcde"), varchar, Some("abcd"), CUT),
            ("characters are counted, not octets", text("éééé"), varchar, Some("éééé"), false),
            ("octets where the column counts them", text("aééé"), octets, Some("aé"), CUT),
            ("what the column does not hold is replaced", text("a😀é"), basic, Some("a\u{fffd}é"), CUT),
            ("an escaped text is told of", Cell::Text("a".to_owned(), Escaped::Yes), varchar, Some("a"), CUT),
            ("digits are a number", text(" 17 "), SMALL, Some("17"), false),
            ("no text into a number", text("17a"), SMALL, None, CUT),
            ("an empty text is no number", text(""), SMALL, None, false),
            ("a number out of range is the nearest one", Cell::Number(300), SMALL, Some("127"), CUT),
            ("no text into a fraction", text("inf"), Type::Real, None, CUT),
            ("a fraction stays", text("1.5"), Type::Real, Some("1.5"), false),
            ("a number as text", Cell::Number(-12), varchar, Some("-12"), false),
            ("a fraction of a second is cut", at(700_000), SECONDS, Some("2023-11-14 22:13:20"), false),
            (
                "to the column's digits",
                at(123_456),
                Type::Instant { digits: Some(3), is_zoned: false },
                Some("2023-11-14 22:13:20.123"),
                false,
            ),
            (
                "as many as are wanted where the column has any number of them",
                at(123_456),
                Type::Instant { digits: None, is_zoned: false },
                Some("2023-11-14 22:13:20.1234"),
                false,
            ),
            ("an instant as a number", at(0), Type::integer(4, false), Some("1700000000"), false),
            ("an instant with its fraction", at(500_000), Type::Real, Some("1700000000.500"), false),
            ("a text that is an instant", text("2023-11-14T22:13:20Z"), SECONDS, Some("2023-11-14 22:13:20"), false),
            ("one that is none", text("yesterday"), SECONDS, None, CUT),
            ("a number is an instant", Cell::Number(AT), SECONDS, Some("2023-11-14 22:13:20"), false),
            ("a span with its fraction", millis(61_500), Type::Real, Some("61.500"), false),
            ("a span of whole seconds", millis(61_500), SMALL, Some("62"), false),
            ("an id as text", Cell::Id(ID), Type::text(Some(26)), Some("0000000000000000000000008Z"), false),
            ("as its octets", Cell::Id(ID), Type::Octets16, Some("0000000000000000000000000000011f"), false),
            ("but no number", Cell::Id(ID), SMALL, None, CUT),
            ("as a UUID", Cell::Id(ID), Type::Uuid, Some("0000000000000000000000000000011f"), false),
            ("a text as octets", text("né"), Type::Octets16, Some("6ec3a9"), false),
            (
                "of which 16 go in",
                text("0123456789abcdefg"),
                Type::Octets16,
                Some("30313233343536373839616263646566"),
                CUT,
            ),
            ("no octets", Cell::Absent, Type::Octets16, None, false),
            ("a text for a UUID is the database's to judge", text("a"), Type::Uuid, Some("a"), false),
            ("nothing", Cell::Absent, varchar, None, false),
            ("nothing of an unknown type", Cell::Absent, Type::Other, None, false),
        ] {
            let fitted = tailor.fit(&cell, &column(kind, true, None));
            assert_eq!((fitted.text.as_deref(), fitted.is_changed), (want, is_changed), "{name}");
        }
    }

    #[test]
    fn where_there_is_nothing_stands_null_or_the_default() {
        for (name, empty, kind, is_nullable, default, want) in [
            ("NULL where it may", Empty::Null, Type::text(None), true, Some("x"), None),
            ("the proxies write an empty text", Empty::Text, Type::text(None), true, None, Some("")),
            ("but no empty number", Empty::Text, SMALL, true, None, None),
            ("else the default", Empty::Null, Type::text(None), false, Some("x"), Some("x")),
            ("else an empty text", Empty::Null, Type::text(None), false, None, Some("")),
            ("else zero", Empty::Null, SMALL, false, None, Some("0")),
            ("else long ago", Empty::Null, SECONDS, false, None, Some("2000-01-01 00:00:00")),
        ] {
            let tailor = Tailor { empty, zone: TimeZone::UTC, digits: 6 };
            let fitted = tailor.fit(&Cell::Absent, &column(kind, is_nullable, default));
            assert_eq!((fitted.text.as_deref(), fitted.is_changed), (want, false), "{name}");
        }
    }

    #[test]
    fn an_instant_is_written_in_the_zone_that_was_chosen_unless_the_column_knows_its_own() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let tailor = Tailor { empty: Empty::Null, zone, digits: 6 };
        let at = Cell::Instant(Timestamp(AT * 1_000_000));
        assert_eq!(tailor.fit(&at, &column(SECONDS, true, None)).text.as_deref(), Some("2023-11-15 00:13:20"));
        let zoned = Type::Instant { digits: Some(0), is_zoned: true };
        let mut column = column(zoned, true, None);
        assert_eq!(tailor.fit(&at, &column).text.as_deref(), Some("2023-11-14 22:13:20"));
        column.type_name = "timestamptz".to_owned();
        assert_eq!(tailor.fit(&at, &column).text.as_deref(), Some("2023-11-14 22:13:20+00"));
        let far = Cell::Instant(Timestamp(i64::MIN));
        assert!(tailor.fit(&far, &column).is_changed);
    }
}
