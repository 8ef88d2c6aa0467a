//! What a record becomes before it is known which columns there are: a value for each place, a row for each leg.

use std::sync::Arc;
use std::time::Duration;

use super::layout::{Layouts, Place, Set, Source};
use super::plan::ID_LENGTH;
use super::settings::Settings;
use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::record::core::Item;
use crate::record::{Fields, LegOrder, Record, Value};
use crate::sinks::mapping::Round;
use crate::sinks::profile::{Clock, Form, Val, value};

/// A value on its way to a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// There is none.
    Absent,
    /// A text; whether it had octets that are none, which stand in it as `\xHH`.
    Text(String, Escaped),
    /// The id of the record.
    Id(RecordId),
    /// A number.
    Number(i64),
    /// An instant.
    Instant(Timestamp),
    /// A span in seconds, with its fraction where the column takes one.
    Seconds(Duration),
}

impl Cell {
    /// For people; `None` for nothing.
    fn words(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Text(text, _) if text.is_empty() => None,
            Self::Text(text, _) => Some(text.clone()),
            Self::Id(id) => Some(id.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Instant(at) => Some(at.to_string()),
            Self::Seconds(span) => Some(format!("{:.3}", span.as_secs_f64())),
        }
    }
}

/// Whether a text is as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Escaped {
    No,
    Yes,
}

/// The rows of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The table that the record names, if it is not the sink's own for it.
    pub(super) table: Option<String>,
    pub(super) set: Set,
    /// A row for each leg, else one; with a cell for each place of the set.
    pub(super) lines: Vec<Vec<Cell>>,
    /// What the cells are.
    pub(super) layouts: Arc<Layouts>,
}

impl Rows {
    /// Octets of all texts, and some for each other value.
    pub fn octets(&self) -> usize {
        let text = |cell: &Cell| match cell {
            Cell::Text(text, _) => text.len(),
            Cell::Id(_) => ID_LENGTH,
            _ => 0,
        };
        self.lines.iter().flatten().map(|cell| text(cell) + CELL_OCTETS).sum()
    }

    /// Columns with their values in words, row after row.
    pub fn described(&self) -> Vec<(String, String)> {
        let places = self.layouts.of(self.set);
        let named = |cells: &Vec<Cell>| {
            let named =
                places.iter().zip(cells).filter_map(|(place, cell)| Some((place.column.clone(), cell.words()?)));
            named.collect::<Vec<_>>()
        };
        self.lines.iter().flat_map(named).collect()
    }
}

/// What a value costs beside its text: its length, its type, its share of the statement.
const CELL_OCTETS: usize = 8;

/// Most rows of one record: a record with more legs is parked.
pub const LEGS_MAX: usize = 256;

/// Makes rows of records.
#[derive(Debug)]
pub(super) struct Renderer {
    layouts: Arc<Layouts>,
    missed_table: String,
    has_legs: bool,
    round: Round,
    order: LegOrder,
    join: &'static [u8],
    clock: Clock,
}

impl Renderer {
    pub fn new(settings: &Settings) -> Self {
        Self {
            layouts: Arc::new(Layouts::new(settings)),
            missed_table: settings.tables.missed.clone(),
            has_legs: !settings.leg_fields.is_empty(),
            round: settings.style.round,
            order: settings.style.leg_order,
            join: settings.profile.system().join,
            clock: Clock { format: settings.time_format.clone(), zone: settings.zone.rules.clone() },
        }
    }

    /// The rows of a record; `None` for one that is none of a call. An error for one with too many legs.
    pub fn rows(&self, record: &Record) -> Result<Option<Rows>, String> {
        let Some(set) = Set::of(record.kind) else { return Ok(None) };
        // A table that a call names for itself has the columns of missed calls if it is theirs.
        let set = match &record.table {
            Some(table) if *table == self.missed_table => Set::Missed,
            _ => set,
        };
        let table = record.table.clone();
        let places = self.layouts.of(set);
        let count = if self.has_legs { record.legs.len() } else { 0 };
        if count > LEGS_MAX {
            return Err(format!("the record has {count} legs, and a row for each: {LEGS_MAX} is the most"));
        }
        let line = |number: usize, leg: Option<&Fields>| {
            places.iter().map(|place| self.cell(place, record, number, leg)).collect::<Vec<_>>()
        };
        let lines = match count {
            0 => vec![line(0, None)],
            _ => (0..count)
                .map(|step| {
                    let place = self.order.place(step, count);
                    line(step + 1, record.legs.get(place))
                })
                .collect(),
        };
        Ok(Some(Rows { table, set, lines, layouts: Arc::clone(&self.layouts) }))
    }

    fn cell(&self, place: &Place, record: &Record, leg_number: usize, leg: Option<&Fields>) -> Cell {
        match &place.source {
            Source::Value(value, form) => self.value(*value, *form, record),
            Source::Field(name) => self.field(&record.fields, name),
            Source::LegField(name) => leg.map_or(Cell::Absent, |leg| self.field(leg, name)),
            Source::Leg => Cell::Number(i64::try_from(leg_number).unwrap_or(i64::MAX)),
            Source::Changed => Cell::Absent,
        }
    }

    fn field(&self, fields: &Fields, name: &str) -> Cell {
        match fields.iter().find(|(own, _)| own == name).map(|(_, value)| value) {
            None | Some(Value::Absent) => Cell::Absent,
            Some(Value::Number(number)) => Cell::Number(*number),
            Some(Value::Text(text)) => text_cell(text),
            Some(Value::List(items)) => text_cell(&items.join(self.join)),
        }
    }

    fn value(&self, value: Val, form: Form, record: &Record) -> Cell {
        if form == Form::Status {
            return text_cell(&value::status(record));
        }
        match value.of(record) {
            None => Cell::Absent,
            Some(Item::Id(id)) => Cell::Id(id),
            Some(Item::Kind(kind)) => Cell::Text(kind.name().to_owned(), Escaped::No),
            Some(Item::Text(text)) => text_cell(text),
            Some(Item::Word(word)) => Cell::Text(word.to_owned(), Escaped::No),
            Some(Item::Number(number)) => Cell::Number(number),
            Some(Item::Instant(at)) => match form {
                Form::Micros => Cell::Number(value::micros(at)),
                Form::Local | Form::Utc => Cell::Text(self.clock.text(at, form), Escaped::No),
                _ => Cell::Instant(at),
            },
            Some(Item::Flag(flag)) => Cell::Number(i64::from(flag)),
            Some(Item::Address(address)) => Cell::Text(address.to_string(), Escaped::No),
            Some(Item::Many(many)) => text_cell(&many.joined()),
            Some(Item::Span(span)) => match form {
                Form::Millis => Cell::Number(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
                Form::Secs => Cell::Number(self.round.seconds(span).into()),
                _ => Cell::Seconds(span),
            },
        }
    }
}

/// Octets as a text: NUL, which PostgreSQL takes nowhere and SQLite ends a text at, and what is no UTF-8 become `\xHH`.
fn text_cell(octets: &[u8]) -> Cell {
    if let Ok(text) = std::str::from_utf8(octets)
        && !octets.contains(&0)
    {
        return Cell::Text(text.to_owned(), Escaped::No);
    }
    let mut text = String::with_capacity(octets.len() + 16);
    let escape = |text: &mut String, octet: u8| text.push_str(&format!("\\x{octet:02X}"));
    for chunk in octets.utf8_chunks() {
        for sign in chunk.valid().chars() {
            if sign == '\0' { escape(&mut text, 0) } else { text.push(sign) }
        }
        chunk.invalid().iter().for_each(|octet| escape(&mut text, *octet));
    }
    Cell::Text(text, Escaped::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;
    use crate::sinks::profile::Profile;
    use crate::sinks::sql::settings::Mapping;
    use crate::sinks::tests::record;

    fn mapping(field: &str, column: &str) -> Mapping {
        Mapping { field: field.to_owned(), column: column.to_owned() }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned(), Escaped::No)
    }

    #[test]
    fn octets_that_are_no_text_are_written_out() {
        for (name, octets, want) in [
            ("plain text stays", &b"caf\xc3\xa9"[..], text("café")),
            ("a NUL is written out", b"a\0b", Cell::Text("a\\x00b".to_owned(), Escaped::Yes)),
            ("Latin-1 is written out", b"caf\xe9", Cell::Text("caf\\xE9".to_owned(), Escaped::Yes)),
            ("both", b"\0\xc3(", Cell::Text("\\x00\\xC3(".to_owned(), Escaped::Yes)),
        ] {
            assert_eq!(text_cell(octets), want, "{name}");
        }
    }

    #[test]
    fn a_record_has_a_row_for_each_leg_in_the_order_asked_for() {
        let mut settings = Settings::new("sqlite:a", Profile::Kamailio);
        let leg = |name: &[u8]| vec![("src".to_owned(), Value::Text(name.to_vec()))];
        let mut record = record(Kind::Stop);
        record.legs = vec![leg(b"one"), leg(b"two")];
        let rows = |settings: &Settings, record: &Record| Renderer::new(settings).rows(record).unwrap().unwrap();
        assert_eq!(rows(&settings, &record).lines.len(), 1, "without columns for legs there is one row");
        settings.leg_fields = vec![mapping("src", "src_leg")];
        settings.style.leg_order = LegOrder::NewestFirst;
        let tail = |rows: Rows| rows.lines.iter().map(|line| line[7..9].to_vec()).collect::<Vec<_>>();
        let want = [vec![text("two"), Cell::Number(1)], vec![text("one"), Cell::Number(2)]];
        assert_eq!(tail(rows(&settings, &record)), want);
        record.legs.clear();
        assert_eq!(tail(rows(&settings, &record)), [vec![Cell::Absent, Cell::Number(0)]]);
        record.legs = vec![leg(b"x"); LEGS_MAX + 1];
        assert!(Renderer::new(&settings).rows(&record).unwrap_err().contains("257 legs"));
    }

    #[test]
    fn the_kind_of_a_record_says_its_columns_and_a_call_may_name_its_table() {
        let settings = Settings::new("sqlite:a", Profile::Opensips);
        let renderer = Renderer::new(&settings);
        for (kind, table, want) in [
            (Kind::Start, None, Some((Set::Acc, None))),
            (Kind::Failed, None, Some((Set::Acc, None))),
            (Kind::Missed, None, Some((Set::Missed, None))),
            (Kind::Event, Some("missed_calls"), Some((Set::Missed, Some("missed_calls")))),
            (Kind::Start, Some("acc_2026"), Some((Set::Acc, Some("acc_2026")))),
            (Kind::On, None, None),
        ] {
            let record = Record { table: table.map(str::to_owned), ..record(kind) };
            let rows = renderer.rows(&record).unwrap();
            let got = rows.as_ref().map(|rows| (rows.set, rows.table.as_deref()));
            assert_eq!(got, want, "{kind:?} {table:?}");
        }
        let line = renderer.rows(&record(Kind::Cdr)).unwrap().unwrap().lines.remove(0);
        assert_eq!(line[6], Cell::Instant(Timestamp(1_700_000_004_000_000)), "a whole call is dated by its answer");
        assert_eq!(
            line[7..11],
            [Cell::Number(4), Cell::Instant(Timestamp(1_700_000_000_000_000)), Cell::Number(62), Cell::Number(61_500)]
        );
    }
}
