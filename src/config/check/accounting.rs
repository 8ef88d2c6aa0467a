//! Checks of `[accounting]`: sinks, flags, templates.

use std::borrow::Cow;

use super::Check;
use super::sections::{choose, set};
use super::sinks::Names;
use crate::accounting::{self, FieldSource, FieldSources, SinkMode};
use crate::config::decode::{At, Ordered};
use crate::config::error::{Mistake, Place, suggestion};
use crate::config::kinds::FlagsCheck;
use crate::config::reload::lost_head;
use crate::config::schema::{
    self, AccountingTable, AtEnd, FileTable, Flag, Flags, RouteAccountTable, RouteTable, Switch,
};
use crate::config::tree::PlaceId;
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::{Marks, Route, RouteFields};
use crate::record::Cause;
use crate::units::Secs;
use crate::vars::Template;

/// Most fields of a record, and of a leg: what RADIUS could ever carry, and more than anybody has used.
const FIELDS_MAX: usize = 64;

/// Settings of the engine; `modes` in the order of the sinks.
pub(super) fn check(
    table: &AccountingTable,
    modes: Vec<SinkMode>,
    known: &[&str],
    check: &mut Check<'_>,
) -> accounting::Settings {
    let mut settings = accounting::Settings { sinks: modes, ..accounting::Settings::default() };
    settings.fields = fields(&table.fields, Of::Every, check);
    settings.leg_fields = fields(&table.leg_fields, Of::Every, check);
    settings.bye_fields = fields(&table.bye_fields, Of::Every, check);
    settings.bye_leg_fields = fields(&table.bye_leg_fields, Of::Every, check);
    for (name, _) in &table.bye_fields.0 {
        if table.fields.0.iter().any(|(own, _)| own.value == name.value) {
            let what = format_args!("`{}` is a field of `accounting.fields` too", name.value);
            check.error_hint(name.place, what, Some(format!("call it `{}_bye`", name.value)));
        }
    }
    set(&mut settings.cdr_on_failed, table.cdr_on_failed, Switch::is_on);
    set(&mut settings.early_media, table.early_media, Switch::is_on);
    set(&mut settings.report_ack, table.report_ack, Switch::is_on);
    set(&mut settings.report_cancels, table.report_cancels, Switch::is_on);
    set(&mut settings.detect_direction, table.detect_direction, Switch::is_on);
    set(&mut settings.missed_branches, table.missed_branches, Switch::is_on);
    set(&mut settings.missed_elsewhere, table.missed_elsewhere, Switch::is_on);
    set(&mut settings.forwarding_legs, table.forwarding_legs, Switch::is_on);
    set(&mut settings.session_timers, table.session_timers, Switch::is_on);
    interim(table, &mut settings, check);
    set(&mut settings.lifetime_max, table.lifetime_s, Secs::duration_unless_zero);
    set(&mut settings.failed_filter, table.failed_filter.as_ref(), |codes| {
        codes.iter().filter_map(|code| u16::try_from(code.get()).ok()).collect()
    });
    choose(&mut settings.leg_order, table.leg_order);
    if let Some(sources) = &table.in_dialog_fields {
        settings.in_dialog_fields = field_sources(sources, known, check);
    }
    hang_up(table, &mut settings);
    without_effect(table, check);
    choose(&mut settings.billed_to, table.billed_to);
    choose(&mut settings.revival, table.revive);
    if let Some(methods) = &table.methods {
        settings.methods = event_methods(methods, check);
    }
    settings
}

/// The source of each field; `known` are all fields, those of routes included.
fn field_sources(table: &schema::FieldSources, known: &[&str], check: &mut Check<'_>) -> FieldSources {
    let table = match table {
        schema::FieldSources::All(all) => return (*all).into(),
        schema::FieldSources::Each(table) => table,
    };
    for (field, _) in table.0.iter().filter(|(field, _)| !known.contains(&field.as_str())) {
        let hint = suggestion(field, known.iter().copied());
        let hint = hint.or_else(|| Some("define it in `[accounting.fields]`".to_owned()));
        let what = format_args!("`accounting.in_dialog_fields`: no field `{}` in `accounting.fields`", field.value);
        check.error_hint(field.place, what, hint);
    }
    let by_field = table.0.iter().map(|(field, own)| (field.value.clone(), own.value)).collect();
    FieldSources { rest: FieldSource::Request, by_field }
}

/// The ends without a BYE of which the two ends of the call are told.
fn hang_up(table: &AccountingTable, settings: &mut accounting::Settings) {
    for (choice, cause) in [
        (&table.at_lifetime, Cause::Lifetime),
        (&table.at_session_timer, Cause::SessionTimer),
        (&table.at_no_ack, Cause::NoAck),
        (&table.at_unreachable, Cause::Unreachable),
    ] {
        match choice.as_ref().map(|choice| choice.value) {
            None => {}
            Some(AtEnd::Record) => settings.hang_up.retain(|own| *own != cause),
            Some(AtEnd::Bye) if settings.hang_up.contains(&cause) => {}
            Some(AtEnd::Bye) => settings.hang_up.push(cause),
        }
    }
}

/// Warns of what happens at an end that is switched off.
fn without_effect(table: &AccountingTable, check: &mut Check<'_>) {
    let is_endless = table.lifetime_s.is_some_and(|most| most.duration().is_zero());
    let is_untimed = table.session_timers.is_some_and(|switch| !switch.is_on());
    for (option, choice, is_off, other) in [
        ("at_lifetime", &table.at_lifetime, is_endless, "lifetime_s = 0"),
        ("at_session_timer", &table.at_session_timer, is_untimed, "session_timers = false"),
    ] {
        if let Some(choice) = choice.as_ref().filter(|_| is_off) {
            check.warning(choice.place, format_args!("`accounting.{option}` has no effect with `{other}`"), None);
        }
    }
}

/// The interval of interim records: RFC 2869 §5.16 wants no less than a minute, and better ten.
fn interim(table: &AccountingTable, settings: &mut accounting::Settings, check: &mut Check<'_>) {
    let Some(interval) = &table.interim_s else { return };
    settings.interim_interval = interval.value.duration_unless_zero();
    let secs = interval.value.duration().as_secs();
    if (1..INTERIM_LEAST_S).contains(&secs) {
        let what = format_args!("`accounting.interim_s` is {secs}, allowed is 0 and from {INTERIM_LEAST_S} on");
        check.error_hint(interval.place, what, Some("RFC 2869 section 5.16".to_owned()));
    } else if (1..INTERIM_USUAL_S).contains(&secs) {
        let what =
            format_args!("`accounting.interim_s` is {secs}: less than {INTERIM_USUAL_S} is a load to the servers");
        check.warning(interval.place, what, Some("RFC 2869 section 5.16".to_owned()));
    }
}

/// Shortest time between interim records, seconds.
const INTERIM_LEAST_S: u64 = 60;

/// The time between them that RFC 2869 §5.16 recommends at least, seconds.
const INTERIM_USUAL_S: u64 = 600;

/// Methods that make an Event; those with records of their own are refused.
fn event_methods(list: &[At<String>], check: &mut Check<'_>) -> Vec<String> {
    for method in list.iter().filter(|method| OWN_RECORDS.contains(&method.as_str())) {
        let hint = match method.as_str() {
            "ACK" => Some("set `report_ack = true`".to_owned()),
            "CANCEL" => Some("set `report_cancels = true`".to_owned()),
            _ => None,
        };
        check.error_hint(method.place, format_args!("`{}` makes records of its own, not Events", method.value), hint);
    }
    let methods = super::routes::methods(list, check);
    methods.into_iter().filter_map(|method| String::from_utf8(method).ok()).collect()
}

/// Methods that `accounting.methods` is not about.
const OWN_RECORDS: [&str; 4] = ["INVITE", "BYE", "ACK", "CANCEL"];

/// Whose fields a table has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Of {
    /// Of every call.
    Every,
    /// Of the calls of one route, which a constant may tell from those of others.
    Route,
}

fn fields(table: &Ordered<At<String>>, of: Of, check: &mut Check<'_>) -> Vec<(String, Template)> {
    if let Some((name, _)) = table.0.get(FIELDS_MAX) {
        check.error(name.place, format_args!("more than {FIELDS_MAX} fields"));
    }
    let mut fields = Vec::new();
    for (name, text) in &table.0 {
        if !is_field_name(name) {
            let hint = "a field's name has letters, digits, `_` and `-`, 64 at most".to_owned();
            check.error_hint(name.place, format_args!("`{}` is no name of a field", name.value), Some(hint));
        }
        if let Some(template) = template(text, check) {
            constant(name, &template, of, check);
            fields.push((name.value.clone(), template));
        }
    }
    fields
}

/// Warns of a field that is the same in all records: what was meant is probably a variable, or another section.
fn constant(name: &At<String>, template: &Template, of: Of, check: &mut Check<'_>) {
    let Some(text) = template.constant() else { return };
    let lost = lost_head(name, "");
    if of == Of::Route && lost.is_none() {
        return;
    }
    let what = format_args!("the field `{}` has no variable: every record gets the text `{text}`", name.value);
    let hint = lost.unwrap_or_else(|| "variables begin with `$`; `tollgate vars` lists them".to_owned());
    check.warning(name.place, what, Some(hint));
}

/// Fields whose templates can be read.
pub(super) fn good_fields(table: &Ordered<At<String>>) -> Vec<(String, Template)> {
    let good = |(name, text): &(At<String>, At<String>)| Some((name.value.clone(), Template::parse(text).ok()?));
    table.0.iter().filter_map(good).collect()
}

/// Fields of a route over the common ones.
pub(super) fn route_fields(
    table: &At<RouteTable>,
    common: &[(String, Template)],
    check: &mut Check<'_>,
) -> Option<RouteFields> {
    let all = RouteFields::new(fields(&table.fields, Of::Route, check), common)?;
    if all.all.len() > FIELDS_MAX {
        let what = format_args!("more than {FIELDS_MAX} fields together with those of `[accounting.fields]`");
        check.error(table.place, what);
    }
    Some(all)
}

fn is_field_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

/// Reads a template; a mistake is shown at its own column.
pub(super) fn template(text: &At<String>, check: &mut Check<'_>) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            let mut place = check.place(text.place);
            if let Place::File { column, .. } = &mut place {
                // Behind the opening quotation mark.
                *column = column.saturating_add(u32::try_from(error.column).unwrap_or(0));
            }
            let what = format!("`{}`: {}", text.value, error.what);
            check.findings.push(Mistake::error(what, place).maybe_hint(error.hint));
            None
        }
    }
}

/// Marks of requests whose route says nothing else.
pub(super) fn marks(table: &AccountingTable, names: &Names, check: &mut Check<'_>) -> Marks {
    let sinks = table.on.as_ref().map_or(SinkMask::NONE, |on| names.mask(on, check));
    if let Some(flags) = &table.flags {
        flag_lists(flags, sinks, names, check);
    }
    of(sinks, table.flags.as_ref(), names)
}

/// Marks of a route: what it says itself, else what `[accounting]` says, which has been checked already.
pub(super) fn route_marks(
    account: &RouteAccountTable,
    global: &AccountingTable,
    names: &Names,
    check: &mut Check<'_>,
) -> Marks {
    let sinks = match (&account.on, &global.on) {
        (Some(on), _) => names.mask(on, check),
        (None, Some(on)) => names.known(on),
        (None, None) => SinkMask::NONE,
    };
    if let Some(flags) = &account.flags {
        flag_lists(flags, sinks, names, check);
    }
    of(sinks, account.flags.as_ref().or(global.flags.as_ref()), names)
}

/// Says what is wrong with the sinks of flags.
fn flag_lists(flags: &Flags, sinks: SinkMask, names: &Names, check: &mut Check<'_>) {
    let Flags::Each(table) = flags else { return };
    for list in [&table.missed, &table.failed].into_iter().flatten() {
        names.mask(&list.value, check);
    }
    let Some(failed) = &table.failed else { return };
    for word in failed.iter().filter(|word| names.known(std::slice::from_ref(*word)).and(sinks).is_empty()) {
        if !names.known(std::slice::from_ref(word)).is_empty() {
            let what = format_args!("`{}` gets no failed calls, for `on` does not name it", word.value);
            check.warning(word.place, what, None);
        }
    }
}

fn of(sinks: SinkMask, flags: Option<&Flags>, names: &Names) -> Marks {
    let (missed, failed) = match flags {
        None => (SinkMask::NONE, SinkMask::NONE),
        Some(Flags::All(all)) => {
            let flagged = |flag| if all.iter().any(|own| own.value == flag) { sinks } else { SinkMask::NONE };
            (flagged(Flag::Missed), flagged(Flag::Failed))
        }
        Some(Flags::Each(table)) => {
            let [missed, failed] = [&table.missed, &table.failed]
                .map(|list| list.as_ref().map_or(SinkMask::NONE, |list| names.known(&list.value)));
            (missed, failed.and(sinks))
        }
    };
    Marks { accounting: sinks, missed, failed }
}

/// Lets the sinks judge the flags of every list that names them.
pub(super) fn flags(file: &FileTable, names: &Names, sinks: &[(String, FlagsCheck)], check: &mut Check<'_>) {
    let global = &file.accounting;
    let routes = file.route.iter().map(|route| &route.account);
    let own = routes.filter(|account| account.on.is_some() || account.flags.is_some());
    let own = own.map(|account| (account.on.as_ref().or(global.on.as_ref()), account.flags.as_ref()));
    let mirrors = file.mirror.iter().filter(|mirror| mirror.on.is_some() || mirror.flags.is_some());
    let mirrors = mirrors.map(|mirror| (mirror.on.as_ref().or(global.on.as_ref()), mirror.flags.as_ref()));
    let all = std::iter::once((global.on.as_ref(), global.flags.as_ref())).chain(own).chain(mirrors);
    for (on, flags) in all.map(|(on, flags)| (on, flags.or(global.flags.as_ref()))) {
        let (Some(on), Some(flags)) = (on, flags) else { continue };
        for (own, judge) in sinks {
            let Some((_, sink)) = names.numbered().find(|(name, _)| name == own) else { continue };
            if names.known(on).has(sink) {
                judge(&flags_of(flags, sink, names), check);
            }
        }
    }
}

/// The flags that one sink has.
fn flags_of<'f>(flags: &'f Flags, sink: SinkNumber, names: &Names) -> Cow<'f, [At<Flag>]> {
    match flags {
        Flags::All(all) => Cow::Borrowed(all),
        Flags::Each(table) => {
            let lists = [(Flag::Missed, &table.missed), (Flag::Failed, &table.failed)].into_iter();
            let own = lists.filter_map(|(flag, list)| {
                let list = list.as_ref().filter(|list| names.known(&list.value).has(sink))?;
                Some(At { value: flag, place: list.place })
            });
            Cow::Owned(own.collect())
        }
    }
}

/// Warns of sinks that no `on` names: they would stay empty for ever.
pub(super) fn unused(marks: impl Iterator<Item = Marks>, names: &Names, places: &[PlaceId], check: &mut Check<'_>) {
    let used = marks.fold(SinkMask::NONE, |mask, marks| mask.or(marks.accounting).or(marks.missed));
    for ((name, sink), place) in names.numbered().zip(places) {
        if !used.has(sink) {
            let hint = format!("add \"{name}\" to `accounting.on`");
            check.warning(*place, format_args!("no `on` names the sink `{name}`: it gets no records"), Some(hint));
        }
    }
}

/// Whether the fields of a call are those of its start in all its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frozen {
    Yes,
    No,
}

/// Adds fields that sinks take from the SIP messages by themselves, to those of routes too; `frozen` ones keep the value of
/// the call's start, the others have that of their own request.
pub(super) fn add_fields(
    fields: &[(&str, &str)],
    frozen: Frozen,
    settings: &mut accounting::Settings,
    routes: &mut [Route],
) {
    let good = |(name, text): &(&str, &str)| Some(((*name).to_owned(), Template::parse(text).ok()?));
    let own: Vec<_> = fields.iter().filter_map(good).collect();
    let names = own.iter().map(|(name, _)| name.clone());
    match frozen {
        Frozen::Yes => settings.frozen_fields.extend(names),
        Frozen::No => settings.in_dialog_fields.by_field.extend(names.map(|name| (name, FieldSource::Request))),
    }
    for fields in routes.iter_mut().filter_map(|route| route.fields.as_mut()) {
        fields.all = fields.all.iter().cloned().chain(own.iter().cloned()).collect();
    }
    settings.fields.extend(own);
}
