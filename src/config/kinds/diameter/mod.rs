//! Checks of `[sinks.diameter.NAME]`: diameterclient.conf, dictionaries, AVPs.

pub mod client;
pub mod table;

use std::sync::Arc;

use self::client::DiameterClient;
use self::table::DiameterTable;
use super::carriers::{self, Carrier, FieldList, Takes, is_field};
use super::client_file::{client_file, client_tls, profile};
use super::dictionary::dictionary;
use super::{Needs, Site, Table, style};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::set;
use crate::config::decode::{At, Ordered};
use crate::config::error::{Mistake, Place};
use crate::config::keywords::Keywords;
use crate::config::schema::Flag;
use crate::config::tree::PlaceId;
use crate::diameter::peer::Security;
use crate::dictionary::Input;
use crate::dictionary::diameter::{Dictionary, Handle, Type};
use crate::sinks::diameter::acr::{Application, FieldMapping, Profile, Renderer, SetupError, Trigger, Unmapped, ims};
use crate::sinks::diameter::settings::Settings;
use crate::sinks::kind::Kind;
use crate::units::{Millis, Secs};

impl Table for DiameterTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let settings = settings(self, site, check)?;
        let (name, without) = (site.name.to_owned(), settings.accounting.without.clone());
        let needs = Needs {
            answers: "Acct-Interim-Interval and Accounting-Realtime-Required",
            fields: if settings.accounting.application == Application::Rf { &ims::FIELDS } else { &[] },
            flags: Some(Box::new(move |flags, check| silent(&name, &without, flags, check))),
            ..Needs::default()
        };
        Some((Arc::new(settings), needs))
    }
}

/// Warns of flags that make no EVENT, for the client file leaves those events out, as `application rf` does with missed
/// calls: of a call that fails the server would not hear.
fn silent(name: &str, without: &[Trigger], flags: &[At<Flag>], check: &mut Check<'_>) {
    let is_silent = |flag: &At<Flag>| without.contains(&trigger(flag.value));
    let Some(first) = flags.first().filter(|_| flags.iter().all(is_silent)) else { return };
    let words: Vec<_> = flags.iter().map(|flag| format!("`{}`", trigger(flag.value).name())).collect();
    let words = words.join(" and ");
    let what = format_args!("a call that fails makes no EVENT at `{name}`: its client file leaves {words} out");
    let hint = match flags.iter().any(|flag| flag.value == Flag::Failed) {
        false => {
            "add \"failed\" to the flags: `application rf` sends one EVENT for a call that fails, not one more for who missed it; or write `without none` into the client file"
        }
        true => "take it out of `without` there",
    };
    check.warning(first.place, what, Some(hint.to_owned()));
}

/// The event that a flag is about.
const fn trigger(flag: Flag) -> Trigger {
    match flag {
        Flag::Missed => Trigger::Missed,
        Flag::Failed => Trigger::Unsuccessful,
    }
}

/// Settings of one sink; `None` when too much is missing to say more.
fn settings(table: &DiameterTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Settings> {
    let Site { base, fields, .. } = *site;
    let profile = profile(table.profile.as_ref(), Profile::ALL, Profile::name, check);
    let client = client_file("diameter", site, table.config.as_ref(), client::load, check);
    check.findings.extend(client.iter().flat_map(|client| client.warnings.iter().cloned()));
    let named =
        |client: &DiameterClient| client.dictionaries.clone().into_iter().zip(client.keywords.all("dictionary"));
    let named = client.iter().flat_map(named).collect();
    let dictionary = dictionary(profile.unwrap_or_default().name(), named, table.dictionary.as_ref(), base, check)?;
    let dictionary = Arc::new(dictionary);
    let leg_fields = mappings(&table.leg_fields, &fields.leg, "accounting.leg_fields", &dictionary, check);
    let fields = mappings(&table.fields, &fields.record, "accounting.fields", &dictionary, check);
    record_id(table, &dictionary, check);
    let (client, profile) = (client?, profile?);
    let mut settings = client.settings;
    if let Some(files) = settings.tls.files().filter(|_| settings.transport != Security::Plain) {
        client_tls(&files, &client.keywords, check);
    }
    let is_rf = settings.accounting.application == Application::Rf;
    if let (true, Some(given)) = (is_rf, &table.profile) {
        let hint = Some("leave it out".to_owned());
        check.warning(given.place, "`profile` has no effect with `application rf`", hint);
    }
    let errors = check.findings.has_error();
    let rendering = &mut settings.accounting;
    rendering.dictionary = dictionary;
    rendering.profile = profile;
    (rendering.fields, rendering.leg_fields) = (fields, leg_fields);
    if profile != Profile::Own {
        rendering.style.unmapped = Unmapped::Omit;
    }
    choices(table, &mut settings);
    if !errors && let Err(wrong) = Renderer::new(&settings.accounting) {
        // What is left is wrong with labels of diameterclient.conf, or between the two files.
        for error in wrong.0 {
            let place = place_of(&error, &client.keywords, table, check);
            let mistake = Mistake::error(error.to_string(), place.unwrap_or(Place::Whole(client.path.clone())));
            check.findings.push(mistake.also_at(check.place(site.place)).maybe_hint(error.hint()));
        }
    }
    Some(settings)
}

/// Where the label stands that an error is about.
fn place_of(error: &SetupError, keywords: &Keywords, table: &DiameterTable, check: &Check<'_>) -> Option<Place> {
    let label = error.label();
    let of_client = |options: &[&str]| keywords.place_of(options, label);
    let of_fields = |fields: &Ordered<At<String>>| {
        let (_, avp) = fields.0.iter().find(|(_, avp)| avp.eq_ignore_ascii_case(label))?;
        Some(check.place(avp.place))
    };
    let marked = error.option().map(|option| option.trim_matches('`'));
    let marked = marked.and_then(|option| of_client(&[option]));
    let found = marked.or_else(|| of_client(&["mandatory", "optional", "leg-group", "leg-number"]));
    found.or_else(|| of_fields(&table.leg_fields)).or_else(|| of_fields(&table.fields))
}

/// Fields with their AVPs: both must exist.
fn mappings(
    table: &Ordered<At<String>>,
    fields: &FieldList<'_>,
    section: &str,
    dictionary: &Dictionary,
    check: &mut Check<'_>,
) -> Vec<FieldMapping> {
    let mut mappings = Vec::new();
    for (field, avp) in &table.0 {
        is_field(field, section, &fields.names(), check);
        if let Some(carrier) = carrier(avp, dictionary, check) {
            fits(field, &carrier, avp.place, fields, check);
            mappings.push(FieldMapping::new(field, avp));
        }
    }
    mappings
}

/// The AVP that a label means, if values of calls may be put into it.
fn carrier(label: &At<String>, dictionary: &Dictionary, check: &mut Check<'_>) -> Option<Handle> {
    let found = match dictionary.find(label) {
        Ok(found) => found,
        Err(error) => {
            let hint = error.hint();
            check.error_hint(label.place, error, Some(hint));
            return None;
        }
    };
    // A Subscription-Id is made of its one value.
    let is_subscriber = found.kind() == Type::Grouped && (found.vendor(), found.code()) == (0, 443);
    if let Some(why) = found.refusal().filter(|_| !is_subscriber) {
        check.error(label.place, format_args!("`{}` cannot carry a value of a call: {why}", label.value));
        return None;
    }
    Some(found)
}

/// Whether the field's value can be of the AVP's type.
fn fits(field: &str, avp: &Handle, place: PlaceId, fields: &FieldList<'_>, check: &mut Check<'_>) {
    let takes = match avp.kind() {
        Type::Time => Takes::Instant,
        Type::Address | Type::BareAddress | Type::BarePrefix => Takes::Address,
        kind if kind.is_number() && avp.values().is_empty() => Takes::Number,
        kind if kind.is_number() => Takes::NumberOrName,
        _ => Takes::Any,
    };
    let takes_text =
        |text: &str| takes == Takes::Any || avp.encode(Input::Text(text.as_bytes()), &mut Vec::new()).is_ok();
    carriers::fit(field, fields, &Carrier { name: avp.name(), takes, place }, takes_text, check);
}

fn record_id(table: &DiameterTable, dictionary: &Dictionary, check: &mut Check<'_>) {
    if let Some(label) = table.record_id_avp.as_ref().filter(|label| !label.is_empty()) {
        carrier(label, dictionary, check);
    }
}

fn choices(table: &DiameterTable, settings: &mut Settings) {
    let rendering = &mut settings.accounting;
    style(&mut rendering.style, table.unmapped, table.round, table.leg_order);
    set(&mut rendering.record_id, table.record_id_avp.as_ref(), |label| label.value.clone());
    let timers = &mut settings.timers;
    set(&mut timers.retry_first, table.retry_first_ms, Millis::duration);
    set(&mut timers.retry_max, table.retry_max_s, Secs::duration);
    set(&mut timers.retry_config_errors, table.retry_config_errors_s, Secs::duration);
    set(&mut settings.unable_max, table.unable_max, |most| u32::try_from(most.get()).unwrap_or(u32::MAX));
    set(&mut settings.breaks_max, table.breaks_max, |most| u32::try_from(most.get()).unwrap_or(u32::MAX));
    set(&mut settings.pause_after, table.pause_after, |most| u32::try_from(most.get()).unwrap_or(u32::MAX));
}
