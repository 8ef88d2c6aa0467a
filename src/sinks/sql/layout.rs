//! Which value of a record goes to which column of which table.

use super::settings::{Guard, Settings};
use crate::record::Kind;
use crate::record::core::Core;
use crate::sinks::profile::{Form, Profile, Row, Val};

/// Where a column gets its value from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// A value of the record.
    Value(Val, Form),
    /// A field.
    Field(String),
    /// A field of the leg.
    LegField(String),
    /// The number of the leg.
    Leg,
    /// Names of the columns whose values were changed to fit.
    Changed,
}

/// A column and its source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub column: String,
    pub source: Source,
    /// Whether a table may lack the column.
    pub is_optional: bool,
}

/// Which set of columns a record has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Set {
    Acc,
    Missed,
    Cdr,
}

impl Set {
    pub const ALL: [Self; 3] = [Self::Acc, Self::Missed, Self::Cdr];

    /// That of a kind of records; `None` for those that say nothing about a call.
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Start | Kind::Interim | Kind::Stop | Kind::Failed | Kind::Event => Some(Self::Acc),
            Kind::Missed => Some(Self::Missed),
            Kind::Cdr => Some(Self::Cdr),
            Kind::On | Kind::Off => None,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// The columns of a set in a profile, and whether a table may lack them.
fn rows(profile: Profile, set: Set) -> impl Iterator<Item = (&'static Row, bool)> {
    let columns = &profile.system().columns;
    let parts = match set {
        Set::Acc => columns.acc,
        Set::Missed => columns.missed,
        Set::Cdr => columns.cdr,
    };
    let needed = columns.parts_needed;
    parts.iter().enumerate().flat_map(move |(part, rows)| rows.iter().map(move |row| (row, part >= needed)))
}

/// The names of a profile's columns, before any is renamed.
pub fn names(profile: Profile) -> Vec<&'static str> {
    let mut names = Vec::new();
    let times = profile.system().columns.times.iter().copied().flatten();
    for (name, ..) in Set::ALL.into_iter().flat_map(|set| rows(profile, set)).map(|(row, _)| row).chain(times) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}

/// The columns of all tables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Layouts([Vec<Place>; 3]);

impl Layouts {
    /// The columns that a table needs which has the records of these sets.
    pub fn of_all(&self, sets: &[Set]) -> Vec<Place> {
        let mut all: Vec<Place> = Vec::new();
        for place in sets.iter().flat_map(|set| self.of(*set)) {
            if all.iter().all(|own| own.column != place.column) {
                all.push(place.clone());
            }
        }
        all
    }

    /// The fields of ours that the columns need, with their templates.
    pub fn fields(&self) -> Vec<(&'static str, &'static str)> {
        let values = self.0.iter().flatten().filter_map(|place| match place.source {
            Source::Value(value, _) => Some(value.fields()),
            _ => None,
        });
        values.flatten().collect()
    }

    /// Those that the settings ask for.
    pub fn new(settings: &Settings) -> Self {
        Self(Set::ALL.map(|set| places(settings, set)))
    }

    /// The columns of a set, in order.
    pub fn of(&self, set: Set) -> &[Place] {
        &self.0[set.index()]
    }

    /// Names that are there twice in one table.
    pub fn doubles(&self) -> Vec<&str> {
        let mut doubles = Vec::new();
        for places in &self.0 {
            for (at, place) in places.iter().enumerate() {
                let is_same = |other: &Place| other.column.eq_ignore_ascii_case(&place.column);
                if places[..at].iter().any(is_same) && !doubles.contains(&place.column.as_str()) {
                    doubles.push(&place.column);
                }
            }
        }
        doubles
    }
}

fn places(settings: &Settings, set: Set) -> Vec<Place> {
    let renamed = |name: &str| {
        let found = settings.columns.iter().find(|(column, _)| column == name);
        found.map_or_else(|| name.to_owned(), |(_, own)| own.clone())
    };
    let has_time = set != Set::Cdr;
    let times = settings.profile.system().columns.times.get(settings.time).filter(|_| has_time);
    let core = rows(settings.profile, set).chain(times.into_iter().copied().flatten().map(|row| (row, false)));
    let core = core.map(|((name, value, form), is_optional)| {
        let column = renamed(name);
        let is_optional = is_optional && column == *name;
        Place { column, source: Source::Value(value.from(settings.cdr_start), *form), is_optional }
    });
    let needed = |column: &str, source| Place { column: column.to_owned(), source, is_optional: false };
    let fields = settings.fields.iter().map(|one| needed(&one.column, Source::Field(one.field.clone())));
    let leg_fields = settings.leg_fields.iter().map(|one| needed(&one.column, Source::LegField(one.field.clone())));
    let leg = (!settings.leg_fields.is_empty()).then(|| needed(&settings.leg, Source::Leg));
    let has_id = settings.guard == Guard::Column;
    let id = has_id.then(|| needed(&settings.record_id, Source::Value(Val::Core(Core::Id), Form::Plain)));
    let changed = needed(&settings.changed, Source::Changed);
    let all = core.chain(fields).chain(leg_fields).chain(leg).chain(id).chain([changed]);
    all.filter(|place| !place.column.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sql::settings::Mapping;

    #[test]
    fn a_profile_has_its_columns_and_settings_change_them() {
        let columns = |settings: &Settings, set| {
            let layouts = Layouts::new(settings);
            layouts.of(set).iter().map(|place| place.column.clone()).collect::<Vec<_>>().join(" ")
        };
        const CLASSIC: &str = "method from_tag to_tag callid sip_code sip_reason time";
        for (profile, set, more) in [
            (Profile::Opensips, Set::Acc, "setuptime created duration ms_duration record_id"),
            (Profile::Opensips, Set::Missed, "setuptime created record_id"),
            (Profile::Kamailio, Set::Missed, "record_id"),
        ] {
            let settings = Settings::new("sqlite:a", profile);
            assert_eq!(columns(&settings, set), format!("{CLASSIC} {more}"), "{profile:?} {set:?}");
        }
        let mut settings = Settings::new("sqlite:a", Profile::Kamailio);
        assert_eq!(columns(&settings, Set::Cdr), "start_time end_time duration record_id");
        let mapping = |field: &str, column: &str| Mapping { field: field.to_owned(), column: column.to_owned() };
        settings.columns = vec![("callid".to_owned(), "call_id".to_owned()), ("sip_reason".to_owned(), String::new())];
        settings.fields = vec![mapping("caller", "src_user"), mapping("ip", "method")];
        settings.leg_fields = vec![mapping("src", "src_leg")];
        settings.guard = Guard::None;
        let want = "method from_tag to_tag call_id sip_code time src_user method src_leg leg";
        assert_eq!(columns(&settings, Set::Acc), want);
        assert_eq!(Layouts::new(&settings).doubles(), ["method"]);
    }
}
