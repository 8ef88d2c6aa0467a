//! Tables as a catalogue gives them, and what follows.

use super::*;
use crate::sinks::profile::Profile;
use crate::sinks::sql::catalogue::Unique;
use crate::sinks::sql::failure::Class;
use crate::sinks::sql::layout::{Layouts, Set};
use crate::sinks::sql::row::Escaped;
use crate::sinks::sql::settings::{Empty, Mapping};

fn column(name: &str, kind: Type) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        is_nullable: true,
        default: None,
        has_default: false,
        type_name: "pg_catalog.varchar".to_owned(),
        is_generated: false,
    }
}

fn unique(name: &str, columns: &[&str]) -> Unique {
    Unique { name: name.to_owned(), columns: columns.iter().map(|column| (*column).to_owned()).collect() }
}

/// Kamailio's table with the guard, and a few columns less.
fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url, Profile::Kamailio);
    let without = ["method", "from_tag", "to_tag", "sip_reason", "time"];
    settings.columns = without.map(|name| (name.to_owned(), String::new())).to_vec();
    settings
}

fn table() -> Table {
    let mut id = column("id", Type::integer(4, false));
    (id.is_nullable, id.is_generated) = (false, true);
    let own = ["callid", "sip_code", "record_id"].map(|name| column(name, Type::text(Some(30))));
    let unique = vec![unique("PRIMARY", &["id"]), unique("acc_record", &["record_id"])];
    Table { columns: [id].into_iter().chain(own).collect(), unique, engine: Some("InnoDB".to_owned()), number: None }
}

fn plan(settings: &Settings, table: &Table) -> Result<Plan, Failure> {
    Plan::new(settings, "acc", Layouts::new(settings).of(Set::Acc), table)
}

#[test]
fn each_database_has_its_statement() {
    for (url, want) in [
        (
            "mysql://h/d",
            "INSERT INTO `acc` (`callid`, `sip_code`, `record_id`) VALUES (?,?,?),(?,?,?) \
             ON DUPLICATE KEY UPDATE `record_id` = `record_id`",
        ),
        (
            "sqlite:a",
            "INSERT INTO \"acc\" (\"callid\", \"sip_code\", \"record_id\") VALUES (?,?,?),(?,?,?) \
             ON CONFLICT (\"record_id\") DO NOTHING",
        ),
        (
            "postgres://h/d",
            "INSERT INTO \"acc\" (\"callid\", \"sip_code\", \"record_id\") \
             SELECT u.c1::pg_catalog.varchar, u.c2::pg_catalog.varchar, u.c3::pg_catalog.varchar \
             FROM unnest($1::text[], $2::text[], $3::text[]) AS u(c1, c2, c3) ON CONFLICT (\"record_id\") DO NOTHING",
        ),
    ] {
        assert_eq!(plan(&settings(url), &table()).unwrap().statement(2), want, "{url}");
    }
    let plan = plan(&settings("sqlite:a"), &table()).unwrap();
    assert_eq!(plan.rows_max(), 32_000 / 3);
    assert_eq!(Dialect::Mysql.quoted("a.b`c"), "`a`.`b``c`");
    assert_eq!(Dialect::Postgres.quoted("a\"b"), "\"a\"\"b\"");
}

#[test]
fn with_legs_a_row_is_recognised_by_its_leg_too() {
    let mut settings = settings("sqlite:a");
    settings.leg_fields = vec![Mapping { field: "src".to_owned(), column: "src_leg".to_owned() }];
    let mut table = table();
    table.columns.extend([column("src_leg", Type::text(None)), column("leg", Type::integer(2, true))]);
    assert!(plan(&settings, &table).unwrap_err().reason.contains("on exactly (\"record_id\", \"leg\")"));
    table.unique.push(unique("acc_leg", &["leg", "record_id"]));
    assert!(plan(&settings, &table).unwrap().statement(1).ends_with("ON CONFLICT (\"record_id\", \"leg\") DO NOTHING"));
}

#[test]
fn a_table_that_does_not_fit_is_said_to() {
    let edit = |edit: fn(&mut Table)| {
        let mut table = table();
        edit(&mut table);
        table
    };
    let guarded = |guard| Settings { guard, ..settings("mysql://h/d") };
    for (name, guard, table, want) in [
        ("a column is missing", Guard::Column, edit(|t| drop(t.columns.remove(1))), "has no column `callid`"),
        (
            "the index is missing",
            Guard::Column,
            edit(|t| drop(t.unique.pop())),
            "CREATE UNIQUE INDEX `acc_record` ON `acc`",
        ),
        (
            "the index has more columns",
            Guard::Column,
            edit(|t| t.unique[1].columns.push("callid".to_owned())),
            "no unique index on exactly (`record_id`)",
        ),
        (
            "the id would be cut",
            Guard::Column,
            edit(|t| t.columns[3].kind = Type::text(Some(25))),
            "does not hold a record's id",
        ),
        (
            "another index would swallow new records",
            Guard::Column,
            edit(|t| t.unique.push(unique("one", &["callid"]))),
            "another unique index, `one`",
        ),
        ("no transactions", Guard::SideTable, edit(|t| t.engine = Some("MyISAM".to_owned())), "of the engine MyISAM"),
        (
            "a column that must have a value",
            Guard::None,
            edit(|t| {
                let mut needed = column("tenant", Type::text(None));
                needed.is_nullable = false;
                t.columns.push(needed);
            }),
            "`tenant` of the table `acc` takes no NULL",
        ),
    ] {
        let failure = plan(&guarded(guard), &table).unwrap_err();
        assert_eq!(failure.class, Class::Misfit, "{name}");
        assert!(failure.reason.contains(want), "{name}: {}", failure.reason);
    }
    let other = edit(|t| t.unique.push(unique("one", &["callid"])));
    assert!(plan(&settings("sqlite:a"), &other).is_ok(), "a targeted conflict lets the other index speak");
    assert_eq!(plan(&guarded(Guard::None), &edit(|t| drop(t.unique.pop()))).unwrap().tail, "");
}

#[test]
fn a_row_names_the_columns_that_were_changed() {
    let mut settings = settings("sqlite:a");
    settings.changed = "changed".to_owned();
    let mut table = table();
    table.columns.push(column("changed", Type::text(Some(6))));
    table.columns[1].kind = Type::text(Some(3));
    let plan = plan(&settings, &table).unwrap();
    let tailor = Tailor { empty: Empty::Null, zone: jiff::tz::TimeZone::UTC, digits: 6 };
    let text = |text: &str| Cell::Text(text.to_owned(), Escaped::No);
    let (line, changed) = plan.line(&tailor, &[text("abcd"), Cell::Number(200), text("ID"), Cell::Absent]);
    assert_eq!(line, ["abc", "200", "ID", "callid"].map(|text| Some(text.to_owned())));
    assert_eq!(changed, 1);
    let (line, changed) = plan.line(&tailor, &[text("abc"), Cell::Number(200), text("ID"), Cell::Absent]);
    assert_eq!((line[3].as_deref(), changed), (None, 0));
}

#[test]
fn a_table_of_an_older_release_takes_what_it_has_columns_for() {
    let settings = Settings::new("sqlite:a", Profile::Own);
    let layouts = Layouts::new(&settings);
    let places = layouts.of(Set::Acc);
    let older: Vec<_> = places.iter().filter(|place| !place.is_optional).collect();
    assert!(older.len() >= 15 && older.len() < places.len(), "{older:?}");
    let mut table = table();
    table.columns = older.iter().map(|place| column(&place.column, Type::text(None))).collect();
    table.columns.push(column("q850", Type::text(None)));
    let plan = Plan::new(&settings, "acc", places, &table).unwrap();
    assert_eq!(plan.columns.len(), older.len() + 1);
    assert_eq!(plan.lacks().len(), places.len() - older.len() - 1);
    let cells: Vec<_> = places.iter().map(|place| Cell::Text(place.column.clone(), Escaped::No)).collect();
    let (line, _) = plan.line(&Tailor { empty: Empty::Null, zone: jiff::tz::TimeZone::UTC, digits: 6 }, &cells);
    let texts: Vec<_> = older.iter().map(|place| Some(place.column.clone())).collect();
    let of_texts: Vec<_> = plan.columns.iter().zip(&line).filter(|(column, _)| column.name != "q850").collect();
    assert!(of_texts.iter().map(|(_, text)| *text).eq(texts.iter()), "each value is in its own column: {of_texts:?}");
    // One that the configuration names is needed.
    let renamed = Settings { columns: vec![("q850".to_owned(), "cause_value".to_owned())], ..settings };
    let failure = Plan::new(&renamed, "acc", Layouts::new(&renamed).of(Set::Acc), &table).unwrap_err();
    assert!(failure.reason.contains("no column `cause_value`"), "{}", failure.reason);
}
