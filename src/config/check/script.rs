//! Checks of `[script]`: the file is loaded as each shard will load it, so that what is wrong with it is seen before.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::Check;
use super::sections::set;
use crate::accounting::SinkMode;
use crate::clock;
use crate::config::decode::At;
use crate::config::error::{Form, Mistake, Place, suggestion};
use crate::config::plan::{SinkPlan, SipPlan};
use crate::config::schema::{FileTable, Flags};
use crate::config::tree::PlaceId;
use crate::ids::SinkNumber;
use crate::policy::script::{KeyTable, Limits, NamedSink, Outside, Script, Settings, trace, words_of};
use crate::policy::{Marks, Routes};
use crate::units::{Count, Millis};

/// Longest script, in octets.
const SCRIPT_BYTES_MAX: u64 = 4 << 20;
/// Longest file of a table, in octets.
const TABLE_BYTES_MAX: u64 = 256 << 20;

/// The script, if there is one.
pub(super) fn check(
    file: &FileTable,
    sip: &SipPlan,
    (sinks, modes): (&[SinkPlan], &[SinkMode]),
    base: &Path,
    check: &mut Check<'_>,
) -> Option<Settings> {
    let table = &file.script;
    let flags = flags(file, table.file.is_some(), check);
    let Some(path) = table.file.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        for name in file.route.iter().filter_map(|route| route.named()) {
            let what = "`script` names a function of the script, and there is none";
            check.error_hint(name.place, what, Some("add `file = \"route.lua\"` to `[script]`".to_owned()));
        }
        return None;
    };
    let text = read(&base.join(&path.value), SCRIPT_BYTES_MAX, path.place, check)?;
    let Ok(text) = String::from_utf8(text) else {
        check.error(path.place, format_args!("`{}` is no UTF-8", path.display()));
        return None;
    };
    let mut tables = HashMap::new();
    for (name, file) in &table.tables.0 {
        let path = base.join(&file.value);
        let Some(text) = read(&path, TABLE_BYTES_MAX, file.place, check) else { continue };
        match KeyTable::parse(&text) {
            Ok(table) => drop(tables.insert(name.value.clone(), Arc::new(table))),
            Err(error) => check.error(file.place, format_args!("`{}`: {error}", path.display())),
        }
    }
    let mut limits = Limits::default();
    set(&mut limits.time, table.time_max_ms, Millis::duration);
    set(&mut limits.instructions, table.instructions_max, Count::get);
    set(&mut limits.memory, table.memory_max_kib, |kib| kib.len() << 10);
    let named = sinks.iter().zip(modes).map(|(sink, mode)| NamedSink {
        name: sink.name.clone(),
        words: words_of(sink.kind.name()),
        is_cdr: *mode == SinkMode::Cdr,
    });
    let usual = [At::from(super::sip::LISTEN_USUAL.to_owned())];
    let listen = file.sip.listen.as_deref().unwrap_or(&usual);
    // Of a script in the working directory, the name has no folder at all.
    let parent = base.join(&path.value).parent().map(Path::to_path_buf).filter(|own| !own.as_os_str().is_empty());
    let folder = parent.unwrap_or_else(|| ".".into());
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let settings = Settings {
        name,
        text: text.into(),
        folder,
        limits,
        on_error: table.on_error.map_or_else(Default::default, Into::into),
        sinks: named.collect(),
        flags,
        listeners: listen.iter().map(|text| text.value.clone()).zip(sip.stack.listeners.iter().copied()).collect(),
        names: sip.stack.names.clone(),
        tables,
        trace_turns: table.trace_turns.map_or(trace::TURNS_USUAL, Count::len),
    };
    let numbers: Vec<SinkNumber> = (0..u8::MAX).map(SinkNumber).take(settings.sinks.len()).collect();
    let routes = Arc::new(Routes::new(Vec::new(), Marks::NONE));
    match Script::new(&settings, &numbers, routes, Outside::default(), clock::mono, clock::now()) {
        Ok(script) => {
            for name in file.route.iter().filter_map(|route| route.named()) {
                has_function(name, (&settings.name, script.named()), check);
            }
        }
        Err(error) => mistake(&error.to_string(), &base.join(&path.value), path.place, check),
    }
    Some(settings)
}

/// Notes what is wrong with the script, at its own line if the text begins with one, else where it is named.
fn mistake(text: &str, script: &Path, named: PlaceId, check: &mut Check<'_>) {
    let own = script.file_name().and_then(|name| text.strip_prefix(name.to_str()?)?.strip_prefix(':'));
    let parted = own.and_then(|own| own.split_once(": "));
    match parted.and_then(|(line, what)| Some((line.parse().ok()?, what))) {
        Some((line, what)) => {
            let place = Place::File { path: script.to_owned(), line, column: 1, form: Form::Lua };
            check.findings.push(Mistake::error(what, place));
        }
        None => check.error(named, text),
    }
}

/// A route names a function that the script has.
fn has_function(name: &At<String>, (script, known): (&str, &[String]), check: &mut Check<'_>) {
    if known.contains(&name.value) {
        return;
    }
    let name_of = |name: &str| match name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
        true => format!("route.{name}"),
        false => format!("route[\"{name}\"]"),
    };
    let known = known.iter().map(String::as_str);
    let hint =
        suggestion(name, known).unwrap_or_else(|| format!("add `{} = function(req) ... end` to it", name_of(name)));
    check.error_hint(name.place, format_args!("{script} has no function `{}`", name_of(name)), Some(hint));
}

/// The flags of `[accounting.flags]` that a script sets.
fn flags(file: &FileTable, has_script: bool, check: &mut Check<'_>) -> Vec<crate::policy::script::Flag> {
    for route in &file.route {
        if let Some(Flags::Each(table)) = &route.account.flags
            && let Some((name, _)) = table.of_script().first()
        {
            check.error(
                name.place,
                "flags of the script stand in `[accounting.flags]`: they mean the same in every route",
            );
        }
    }
    let Some(Flags::Each(table)) = &file.accounting.flags else { return Vec::new() };
    let (mut flags, mut known) = (Vec::new(), HashSet::new());
    for (name, flag) in table.of_script() {
        if !has_script {
            check.warning(name.place, "nobody sets this flag: there is no `[script]`", None);
        }
        let number = name.0.parse::<u64>().ok();
        if name.0.is_empty() || number.is_some_and(|number| number > 63) || name.0.starts_with('-') {
            check.error(name.place, format_args!("`{}` is no flag: a number from 0 to 63, or a name", name.0));
        }
        known.insert(flag.name.clone());
        flags.push(flag);
    }
    flags
}

fn read(path: &Path, most: u64, place: PlaceId, check: &mut Check<'_>) -> Option<Vec<u8>> {
    let shown = path.display();
    match std::fs::metadata(path).map(|data| data.len()) {
        Ok(length) if length > most => {
            check.error(place, format_args!("`{shown}` has {length} octets, the most is {most}"));
            return None;
        }
        Ok(_) | Err(_) => {}
    }
    match std::fs::read(path) {
        Ok(text) => Some(text),
        Err(error) => {
            check.error(place, format_args!("cannot read `{shown}`: {error}"));
            None
        }
    }
}
