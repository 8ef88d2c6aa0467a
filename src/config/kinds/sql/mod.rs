//! Checks of `[sinks.sql.NAME]`: the URL, names of columns, fields that exist, the zone.

pub mod table;

use std::path::Path;
use std::sync::Arc;

use self::table::SqlTable;
use super::carriers::is_field;
use super::client_file::{profile, time_format, time_mode};
use super::secret::secret;
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::clock;
use crate::config::check::Check;
use crate::config::check::sections::{choose, set};
use crate::config::decode::{At, Ordered};
use crate::config::error::suggestion;
use crate::sinks::kind::Kind;
use crate::sinks::mapping::Unmapped;
use crate::sinks::secret::Secret;
use crate::sinks::sql::{self, Dialect, Guard, IdType, Mapping, Profile, Settings, Zone};
use crate::units::{Count, Millis, Secs};

/// What a password that stands in a URL is told.
const IN_FILE: &str = "write it into a file that only the service may read, and name that by `password_file`";

impl Table for SqlTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or(SinkMode::Transactions)
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let settings = settings(self, site, check)?;
        if settings.guard == Guard::None {
            let what = "`guard = \"none\"`: delivery is at least once, and a record may have two rows";
            let hint = "\"column\" or \"side-table\" keeps rows and records equal".to_owned();
            check.warning(site.place, what, Some(hint));
        }
        let needs = Needs { request_fields: sql::own_fields(&settings), ..Needs::default() };
        Some((Arc::new(settings), needs))
    }
}

/// Settings of one sink; `None` when too much is missing to say more.
fn settings(table: &SqlTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Settings> {
    let profile = profile(table.profile.as_ref(), Profile::ALL.iter().copied(), Profile::name, check);
    let url = url(table, site, check)?;
    let mut settings = Settings::new(&url, profile?);
    settings.records = table.records();
    settings.password = table.password_file.as_ref().and_then(|file| password(file, &url, site.base, check));
    tables(table, &mut settings, check);
    choose(&mut settings.guard, table.guard);
    columns(table, site, &mut settings, check);
    choose(&mut settings.empty, table.empty);
    choose(&mut settings.style.round, table.round);
    choose(&mut settings.style.leg_order, table.leg_order);
    if let Some(name) = &table.time_zone {
        zone(name, &mut settings, check);
    }
    let times = settings.profile.system().columns.times.len();
    settings.time = time_mode(table.time_mode.as_ref(), times, settings.profile, check);
    time_format(table.time_format.as_ref(), &mut settings.time_format, check);
    choose(&mut settings.cdr_start, table.cdr_start);
    delivery(table, &mut settings);
    for column in sql::doubles(&settings) {
        let hint = "rename one of them by `columns`, or leave it out there".to_owned();
        check.error_hint(site.place, format_args!("two values would go into the column `{column}`"), Some(hint));
    }
    if let (Err(error), Some(url)) = (settings.check(), &table.url) {
        check.error(url.place, format_args!("`url`: {error}"));
    }
    Some(settings)
}

/// The URL, without a password; that of a file from the folder of the configuration.
fn url(table: &SqlTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<String> {
    let Some(url) = &table.url else {
        let hint = "add `url = \"mysql://USER@HOST/DATABASE\"`, `postgres://…` or `sqlite:FILE`".to_owned();
        check.error_hint(site.place, format_args!("`sinks.sql.{}` lacks the field `url`", site.name), Some(hint));
        return None;
    };
    let Some(dialect) = Dialect::of(url) else {
        let hint = format!("it begins with {}", Dialect::ALL.map(|own| format!("`{}:`", own.name())).join(", "));
        // It may be a password that stands there.
        check.error_hint(url.place, "`url` is of no database that is known", Some(hint));
        return None;
    };
    let Some(path) = url.strip_prefix("sqlite:") else {
        let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        let has_option = url.split_once('?').is_some_and(|(_, options)| options.contains("password="));
        if user.contains(':') || has_option {
            check.error_hint(url.place, "a password stands in `url`", Some(IN_FILE.to_owned()));
            return None;
        }
        return Some(url.value.clone());
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(":memory:") {
        check.error_hint(
            url.place,
            "`url` names no file",
            Some("such as `sqlite:/var/lib/tollgate/acc.db`".to_owned()),
        );
        return None;
    }
    Some(format!("{}:{}", dialect.name(), site.base.join(path).display()))
}

fn password(file: &At<std::path::PathBuf>, url: &str, base: &Path, check: &mut Check<'_>) -> Option<Secret> {
    if Dialect::of(url) == Some(Dialect::Sqlite) {
        check.warning(file.place, "`password_file` has no effect with SQLite", Some("leave it out".to_owned()));
        return None;
    }
    secret("password", file, base, check)
}

fn tables(table: &SqlTable, settings: &mut Settings, check: &mut Check<'_>) {
    let mut name = |given: &Option<At<String>>, place: &mut String| {
        let Some(given) = given else { return };
        let parts = given.split('.').count();
        if given.split('.').any(str::is_empty) || parts > 2 || given.contains('\0') {
            let hint = "write `TABLE` or `SCHEMA.TABLE`".to_owned();
            check.error_hint(given.place, format_args!("`{}` is no name of a table", given.value), Some(hint));
        } else {
            place.clone_from(&given.value);
        }
    };
    name(&table.table, &mut settings.tables.acc);
    if settings.profile.system().columns.cdr_table.is_none() {
        settings.tables.cdr.clone_from(&settings.tables.acc);
    }
    name(&table.missed_table, &mut settings.tables.missed);
    name(&table.cdr_table, &mut settings.tables.cdr);
    name(&table.side_table, &mut settings.side_table);
}

fn columns(table: &SqlTable, site: &Site<'_>, settings: &mut Settings, check: &mut Check<'_>) {
    let known = sql::column_names(settings.profile);
    for (column, own) in &table.columns.0 {
        if !known.contains(&column.as_str()) {
            let what = format_args!("the profile `{}` has no column `{}`", settings.profile.name(), column.value);
            check.error_hint(column.place, what, suggestion(column, known.iter().copied()));
        }
        settings.columns.push((column.value.clone(), own.value.clone()));
    }
    let unmapped = table.unmapped.unwrap_or(Unmapped::Omit);
    settings.fields = mappings(&table.fields, unmapped, "accounting.fields", &site.fields.record.names(), check);
    settings.leg_fields =
        mappings(&table.leg_fields, unmapped, "accounting.leg_fields", &site.fields.leg.names(), check);
    set(&mut settings.record_id, table.record_id_column.as_ref(), |name| name.value.clone());
    if let Some(id_type) = &table.record_id_type {
        id(id_type, settings, check);
    }
    set(&mut settings.leg, table.leg_column.as_ref(), |name| name.value.clone());
    set(&mut settings.changed, table.changed_column.as_ref(), |name| name.value.clone());
    let needed = [&table.record_id_column, &table.leg_column];
    for empty in needed.into_iter().flatten().filter(|name| name.is_empty()) {
        check.error(empty.place, "the guard needs this column: it has no name");
    }
}

fn id(given: &At<IdType>, settings: &mut Settings, check: &mut Check<'_>) {
    let dialect = settings.dialect();
    if !given.value.is_of(dialect) {
        let hint = match dialect {
            Dialect::Mysql => "\"binary\" is as short: the uuid of MariaDB refuses a quarter of all ids",
            Dialect::Postgres => "\"uuid\" is as short",
            Dialect::Sqlite => "SQLite has \"text\" alone",
        };
        let what = format_args!("no `record_id_type` of the database that `url` names");
        check.error_hint(given.place, what, Some(hint.to_owned()));
    } else if settings.guard != Guard::Column && given.value != IdType::Text {
        let what = "`record_id_type` has no effect without `guard = \"column\"`: a side table has texts";
        check.warning(given.place, what, Some("leave it out".to_owned()));
    }
    settings.id_type = given.value;
}

/// The columns of fields: those of the table, and with `own` for every other field the one of its name.
fn mappings(
    table: &Ordered<At<String>>,
    unmapped: Unmapped,
    section: &str,
    fields: &[&str],
    check: &mut Check<'_>,
) -> Vec<Mapping> {
    let mut mappings = Vec::new();
    for (field, column) in &table.0 {
        is_field(field, section, fields, check);
        if column.is_empty() {
            check.error(column.place, format_args!("`{}` has a column without a name", field.value));
        }
        mappings.push(Mapping { field: field.value.clone(), column: column.value.clone() });
    }
    for field in fields.iter().filter(|_| unmapped == Unmapped::Own) {
        if mappings.iter().all(|own| own.field != **field) {
            mappings.push(Mapping { field: (*field).to_owned(), column: (*field).to_owned() });
        }
    }
    mappings
}

fn zone(name: &At<String>, settings: &mut Settings, check: &mut Check<'_>) {
    let Some(zone) = Zone::named(name) else {
        let hint = "a name such as `Europe/Berlin`, of the system's zones, or `UTC`".to_owned();
        check.error_hint(name.place, format_args!("unknown time zone `{}`", name.value), Some(hint));
        return;
    };
    if zone.is_set_back(clock::wall()) {
        let what =
            format_args!("the clocks of `{}` are set back each year: one hour's times mean two instants", zone.name);
        check.warning(name.place, what, Some("\"UTC\" has no such hour".to_owned()));
    }
    settings.zone = zone;
}

fn delivery(table: &SqlTable, settings: &mut Settings) {
    let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let delivery = &mut settings.delivery;
    set(&mut delivery.batch_max, table.batch_max, Count::len);
    set(&mut delivery.timeout, table.timeout_ms, Millis::duration);
    set(&mut delivery.retry_first, table.retry_first_ms, Millis::duration);
    set(&mut delivery.retry_max, table.retry_max_s, Secs::duration);
    set(&mut delivery.breaks_max, table.breaks_max, |most| small(most.get()));
    set(&mut delivery.pause_after, table.pause_after, |most| small(most.get()));
}

#[cfg(test)]
mod tests;
