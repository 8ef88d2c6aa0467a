//! Checks of `[sinks.KIND.NAME]` that are the same for every kind: names, and what all of them together ask for.

use std::path::Path;
use std::sync::Arc;

use super::Check;
use crate::accounting::SinkMode;
use crate::config::decode::At;
use crate::config::error::suggestion;
use crate::config::kinds::carriers::Fields;
use crate::config::kinds::{FlagsCheck, NAMES as KINDS, Needs, Site};
use crate::config::plan::SinkPlan;
use crate::config::schema::FileTable;
use crate::config::tree::{Node, PlaceId};
use crate::ids::{SINKS_MAX, SinkMask, SinkNumber};
use crate::sinks::kind::Kind;

/// The sinks' names and kinds, also of those whose tables are wrong, so that one mistake does not cause others.
pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    /// Of the whole file.
    pub fn of(root: &Node) -> Self {
        let mut names = Vec::new();
        for kind in KINDS.iter().copied() {
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
            let known: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).chain(KINDS.iter().copied()).collect();
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

/// The sinks with their modes and places, and what they ask of the rest of the gateway.
#[derive(Default)]
pub(super) struct Checked {
    pub plans: Vec<SinkPlan>,
    pub modes: Vec<SinkMode>,
    pub places: Vec<PlaceId>,
    /// Fields by which a server joins the records of a session.
    pub frozen: Vec<String>,
    /// Fields that sinks want recorded, with their templates.
    pub fields: Vec<(&'static str, &'static str)>,
    /// The same of those that each record takes from its own request.
    pub request_fields: Vec<(&'static str, &'static str)>,
    /// Sinks for which a newer Interim takes the place of one that waits.
    pub collapsing: Vec<String>,
    /// Sinks that get an Accounting-On when calls were lost.
    pub accounting_on: Vec<String>,
    /// Sinks whose servers say in their answers what a gateway acts on, and what that is.
    pub answering: Vec<(String, &'static str)>,
    /// What is added to the levels of the log.
    pub log: Vec<&'static str>,
    /// Sinks that judge the flags of lists that name them.
    pub flags: Vec<(String, FlagsCheck)>,
}

impl Checked {
    fn add(&mut self, name: &str, kind: Arc<dyn Kind>, needs: Needs) {
        let Needs { frozen, fields, request_fields, is_collapsing, is_announced, answers, log, flags } = needs;
        self.plans.push(SinkPlan { name: name.to_owned(), kind });
        add_new(&mut self.frozen, frozen);
        add_new(&mut self.fields, fields.iter().copied());
        add_new(&mut self.request_fields, request_fields);
        self.collapsing.extend(is_collapsing.then(|| name.to_owned()));
        self.accounting_on.extend(is_announced.then(|| name.to_owned()));
        self.answering.extend((!answers.is_empty()).then(|| (name.to_owned(), answers)));
        add_new(&mut self.log, [log]);
        self.flags.extend(flags.map(|flags| (name.to_owned(), flags)));
    }
}

/// Adds what is not there yet.
fn add_new<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// Checks all sinks.
pub(super) fn check(file: &FileTable, fields: &Fields<'_>, base: &Path, check: &mut Check<'_>) -> Checked {
    let mut checked = Checked::default();
    let mut names: Vec<&str> = Vec::new();
    for (name, place, table) in file.sinks.all() {
        name_check(name, place, check);
        if names.contains(&name) {
            // They would have one place in the queue, and each record would reach one of them.
            let hint = "sinks of different kinds need different names, too".to_owned();
            check.error_hint(place, format_args!("another sink is called `{name}` already"), Some(hint));
        }
        names.push(name);
        checked.places.push(place);
        checked.modes.push(table.records());
        let site = Site { name, place, base, accounting: &file.accounting, fields };
        if let Some((kind, needs)) = table.check(&site, check) {
            checked.add(name, kind, needs);
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
