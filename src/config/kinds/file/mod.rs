//! Checks of `[sinks.file.NAME]`: the file, its permissions, its columns.

pub mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::table::FileSinkTable;
use super::client_file::profile;
use super::{Needs, Site, Table};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::{choose, set};
use crate::config::decode::At;
use crate::config::error::{nearest, suggestion};
use crate::config::schema::Switch;
use crate::record::core::Core;
use crate::sinks::file::Settings;
use crate::sinks::file::line::{Column, Format, Layout};
use crate::sinks::file::writer::{self, Identity};
use crate::sinks::kind::Kind;
use crate::sinks::mapping::Source;
use crate::sinks::profile::Profile;
use crate::units::{Count, Mib, Millis, Secs};

impl Table for FileSinkTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let Some(path) = self.path.as_ref().filter(|path| path.file_name().is_some()) else {
            let hint = Some("add `path = \"/var/spool/tollgate/calls.csv\"`".to_owned());
            let what = format_args!("`sinks.file.{}` lacks the field `path`, the name of a file", site.name);
            check.error_hint(site.place, what, hint);
            return None;
        };
        let mut file = writer::Settings::new(site.base.join(&path.value));
        folder(path, &file.path, check);
        let profile = profile(self.profile.as_ref(), Profile::ALL.iter().copied(), Profile::name, check)?;
        let mut layout = Layout { columns: columns(self, profile, site, check), ..Layout::default() };
        layout.leg_order = profile.system().leg_order;
        choose(&mut layout.format, self.format);
        choose(&mut layout.legs, self.legs);
        choose(&mut layout.leg_order, self.leg_order);
        layout.round = self.round;
        set(&mut file.rotate, self.rotate_s, Secs::duration);
        set(&mut file.octets_max, self.rotate_mib, Mib::octets);
        choose(&mut file.sync, self.sync);
        set(&mut file.sync_interval, self.sync_ms, Millis::duration);
        if let Some(text) = &self.mode {
            mode(&mut file.mode, text, check);
        }
        let has_header = layout.format == Format::Json || self.header.is_none_or(Switch::is_on);
        file.header = has_header.then(|| layout.header());
        let names_records = layout.columns.iter().any(|column| column.source == Some(Source::Core(Core::Id)));
        if names_records {
            file.identity = Identity::Unique;
        } else {
            let hint =
                Some("add `record_id = \"record_id\"`: what comes again after a crash has the same one".to_owned());
            check.warning(site.place, format_args!("`sinks.file.{}` has no column for the record id", site.name), hint);
        }
        let mut settings = Settings { layout, file, batch_max: BATCH_MAX };
        set(&mut settings.batch_max, self.batch_max, Count::len);
        let values = settings.layout.columns.iter().filter_map(|column| match column.source {
            Some(Source::Value(value, _)) => Some(value.fields()),
            _ => None,
        });
        let needs = Needs { request_fields: values.flatten().collect(), ..Needs::default() };
        Some((Arc::new(settings), needs))
    }
}

/// Records that are written together at most, by default.
const BATCH_MAX: usize = 500;

/// Warns of a folder that is not there: the service makes files, and no folders.
fn folder(given: &At<PathBuf>, path: &Path, check: &mut Check<'_>) {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) else {
        return;
    };
    let hint =
        format!("`install -d -o tollgate -g billing -m 2750 {}`, billing being who fetches them", folder.display());
    check.warning(given.place, format_args!("there is no folder `{}`: records wait", folder.display()), Some(hint));
}

fn mode(mode: &mut u32, text: &At<String>, check: &mut Check<'_>) {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits & !0o777 == 0 && bits & 0o600 == 0o600 => *mode = bits,
        _ => {
            let hint = Some("three or four octal digits, such as \"0640\"; the owner reads and writes".to_owned());
            check.error_hint(text.place, format_args!("`{}` are no permissions of such a file", text.value), hint);
            return;
        }
    }
    if *mode & 0o007 != 0 {
        let hint = Some("\"0640\", and the group of those who fetch the files on the folder".to_owned());
        check.warning(text.place, "everybody may read the files: they say who called whom", hint);
    }
}

/// The columns of the table; without any, one for each value there is, or those of the profile.
fn columns(table: &FileSinkTable, profile: Profile, site: &Site<'_>, check: &mut Check<'_>) -> Vec<Column> {
    let (fields, leg_fields) = (site.fields.record.names(), site.fields.leg.names());
    if table.columns.0.is_empty() && profile.is_classic() {
        return classic_columns(profile, table.records(), &fields, &leg_fields);
    }
    if table.columns.0.is_empty() {
        return all_columns(&fields, &leg_fields);
    }
    if let Some(given) = table.profile.as_ref().filter(|_| profile.is_classic()) {
        let hint = Some("leave out one of the two".to_owned());
        check.error_hint(given.place, "`profile` has columns of its own, and there are `columns`", hint);
    }
    let mut columns = Vec::new();
    for (name, source) in &table.columns.0 {
        let name = name.value.clone();
        if source.value == ESCAPED {
            columns.push(Column { name, source: None });
            continue;
        }
        match Source::named(source, &fields, &leg_fields) {
            Ok(source) => columns.push(Column { name, source: Some(source) }),
            Err(known) => {
                let known: Vec<&str> = known.iter().map(String::as_str).chain([ESCAPED]).collect();
                let near = nearest(source, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let what = format_args!("there is no value `{}` for the column `{name}`", source.value);
                check.error_hint(source.place, what, near.or_else(|| suggestion(source, known)));
            }
        }
    }
    columns
}

/// The source that names the columns with escaped values.
const ESCAPED: &str = "escaped";

/// The columns of a system's table of records, and of whole calls where those are written; behind them the fields, and the id.
fn classic_columns(profile: Profile, records: SinkMode, fields: &[&str], leg_fields: &[&str]) -> Vec<Column> {
    let system = &profile.system().columns;
    let whole = if records == SinkMode::Cdr { system.cdr } else { &[] };
    let rows = system.acc.iter().chain(whole).copied().flatten();
    let values = rows.map(|(name, value, form)| ((*name).to_owned(), Source::Value(*value, *form)));
    let fields = fields.iter().map(|field| ((*field).to_owned(), Source::Field((*field).to_owned())));
    let legs = leg_fields.iter().map(|field| (format!("leg.{field}"), Source::Leg((*field).to_owned())));
    let id = (Source::core_name(Core::Id).to_owned(), Source::Core(Core::Id));
    let mut columns: Vec<Column> = Vec::new();
    for (name, source) in values.chain(fields).chain(legs).chain([id]) {
        let is_there = columns.iter().any(|column| column.name == name);
        match source {
            Source::Value(..) if is_there => {}
            Source::Field(_) if is_there => {
                columns.push(Column { name: format!("field.{name}"), source: Some(source) });
            }
            source => columns.push(Column { name, source: Some(source) }),
        }
    }
    columns
}

fn all_columns(fields: &[&str], leg_fields: &[&str]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: String, source| {
        if columns.iter().all(|column| column.name != name) {
            columns.push(Column { name, source });
        }
    };
    for core in Core::ALL {
        add(Source::core_name(*core).to_owned(), Some(Source::Core(*core)));
    }
    for field in fields {
        let is_core = Core::ALL.iter().any(|core| Source::core_name(*core) == *field);
        let name = if is_core || *field == ESCAPED { format!("field.{field}") } else { (*field).to_owned() };
        add(name, Some(Source::Field((*field).to_owned())));
    }
    for field in leg_fields {
        add(format!("leg.{field}"), Some(Source::Leg((*field).to_owned())));
    }
    add(ESCAPED.to_owned(), None);
    columns
}
