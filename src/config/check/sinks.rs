//! Checks of `[sinks.KIND.NAME]`: names, client files, dictionaries, attributes.

use std::path::Path;
use std::sync::Arc;

use super::Check;
use crate::accounting::SinkMode;
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::config::kinds::radius::mapping;
use crate::config::kinds::radius::table::{AccountingOn, RadiusTable};
use crate::config::kinds::{carriers, diameter, radius};
use crate::config::plan::SinkPlan;
use crate::config::schema::{FileTable, Switch};
use crate::config::tree::{Node, PlaceId};
use crate::ids::{SINKS_MAX, SinkMask, SinkNumber};
use crate::sinks::diameter::acr::Application;
use crate::sinks::radius::{SessionId, Settings};

/// Kinds of sinks, in the order of their numbers.
const KINDS: [&str; 2] = ["radius", "diameter"];

/// The sinks' names and kinds, also of those whose tables are wrong, so that one mistake does not cause others.
pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    /// Of the whole file.
    pub fn of(root: &Node) -> Self {
        let mut names = Vec::new();
        for kind in KINDS {
            let mut own: Vec<_> =
                root.below(&["sinks", kind]).into_iter().flat_map(Node::names).map(str::to_owned).collect();
            own.sort_unstable();
            names.extend(own.into_iter().map(|name| (name, kind)));
        }
        Self(names)
    }

    /// Names with numbers by place.
    pub fn numbered(&self) -> impl Iterator<Item = (&str, SinkNumber)> {
        (0_u8..).zip(&self.0).map(|(number, (name, _))| (name.as_str(), SinkNumber(number)))
    }

    /// The sinks that a list of names and kinds means; an unknown one is an error.
    pub fn mask(&self, on: &[At<String>], check: &mut Check<'_>) -> SinkMask {
        for word in on.iter().filter(|word| self.one(word).is_empty()) {
            if KINDS.contains(&word.as_str()) {
                let hint = format!("add a `[sinks.{}.NAME]`", word.value);
                check.error_hint(word.place, format_args!("no sink of the kind `{}`", word.value), Some(hint));
                continue;
            }
            let known: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).chain(KINDS).collect();
            check.error_hint(word.place, format_args!("unknown sink `{}`", word.value), suggestion(word, known));
        }
        self.known(on)
    }

    /// The same without a word about unknown ones.
    pub fn known(&self, on: &[At<String>]) -> SinkMask {
        on.iter().fold(SinkMask::NONE, |mask, word| mask.or(self.one(word)))
    }

    fn one(&self, word: &str) -> SinkMask {
        let numbered = (0_u8..).zip(&self.0);
        let fitting = numbered.filter(|(_, (name, kind))| name == word || *kind == word);
        fitting.fold(SinkMask::NONE, |mask, (number, _)| mask.with(SinkNumber(number)))
    }
}

/// The sinks with their modes and places.
#[derive(Default)]
pub(super) struct Checked {
    pub plans: Vec<SinkPlan>,
    pub modes: Vec<SinkMode>,
    pub places: Vec<PlaceId>,
    /// Fields by which a server joins the records of a session.
    pub frozen: Vec<String>,
    /// Sinks for which a newer Interim takes the place of one that waits.
    pub collapsing: Vec<String>,
    /// Sinks that get an Accounting-On when calls were lost.
    pub accounting_on: Vec<String>,
    /// Whether a sink takes the values of an IMS from the SIP messages.
    pub is_ims: bool,
    /// Whether a client file asks for debug output.
    pub debug: bool,
}

impl Checked {
    /// What a RADIUS sink asks of the rest of the gateway.
    fn radius(&mut self, name: &str, table: &RadiusTable, settings: &Settings) {
        for field in mapping::identity(&table.fields, &settings.dictionary) {
            if !self.frozen.iter().any(|frozen| frozen == field) {
                self.frozen.push(field.to_owned());
            }
        }
        if table.records.unwrap_or_default() == SinkMode::Sessions && table.collapse_interims.is_none_or(Switch::is_on)
        {
            self.collapsing.push(name.to_owned());
        }
        if table.accounting_on.unwrap_or(AccountingOn::WhenLost) == AccountingOn::WhenLost {
            self.accounting_on.push(name.to_owned());
        }
        self.debug |= settings.debug;
    }
}

/// The fields there are.
pub(in crate::config) struct Fields<'f> {
    /// Of records, those of routes included.
    pub record: carriers::Fields<'f>,
    /// Of legs.
    pub leg: carriers::Fields<'f>,
}

impl<'f> Fields<'f> {
    pub(super) fn of(file: &'f FileTable) -> Self {
        let routes = file.route.iter().map(|route| &route.value.fields);
        Self {
            record: carriers::Fields::of(std::iter::once(&file.accounting.fields).chain(routes)),
            leg: carriers::Fields::of(std::iter::once(&file.accounting.leg_fields)),
        }
    }
}

/// Checks all sinks.
pub(super) fn check(file: &FileTable, base: &Path, check: &mut Check<'_>) -> Checked {
    let mut checked = Checked::default();
    let fields = Fields::of(file);
    for (name, radius) in &file.sinks.radius {
        name_check(name, radius.place, check);
        checked.places.push(radius.place);
        checked.modes.push(radius.records.unwrap_or_default());
        if let Some(settings) = radius::check(name, radius, &fields, base, check) {
            checked.radius(name, radius, &settings);
            let by_tag = settings.session_id == SessionId::CallIdAndTag;
            if by_tag && file.accounting.detect_direction.is_some_and(|switch| !switch.is_on()) {
                let what = "`session_id = \"call-id-and-tag\"` without `accounting.detect_direction`: a call that the callee \
                            ends gets another Acct-Session-Id in its Stop";
                check.warning(radius.place, what, None);
            }
            checked.plans.push(SinkPlan { name: name.clone(), kind: Arc::new(settings) });
        }
    }
    for (name, table) in &file.sinks.diameter {
        name_check(name, table.place, check);
        checked.places.push(table.place);
        checked.modes.push(table.records.unwrap_or_default());
        if let Some(settings) = diameter::check(name, table, &fields, base, check) {
            checked.is_ims |= settings.accounting.application == Application::Rf;
            checked.plans.push(SinkPlan { name: name.clone(), kind: Arc::new(settings) });
        }
    }
    if checked.places.len() > SINKS_MAX {
        check.error(checked.places[SINKS_MAX], format_args!("more than {SINKS_MAX} sinks"));
    }
    checked
}

fn name_check(name: &str, place: PlaceId, check: &mut Check<'_>) {
    let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'_' | b'-');
    if name.is_empty() || name.len() > NAME_OCTETS_MAX || !name.bytes().all(fits) {
        let hint = format!("lower-case letters, digits, `_` and `-`, {NAME_OCTETS_MAX} at most");
        check.error_hint(place, format_args!("`{name}` is no name of a sink"), Some(hint));
    } else if KINDS.contains(&name) {
        check.error(place, format_args!("a sink cannot be called `{name}`, which is a kind of sinks"));
    }
}

/// Longest name of a sink.
const NAME_OCTETS_MAX: usize = 32;
