//! Definitions of AVPs as they come in, and the finished dictionary.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::definition::{Definition, Rules};
use super::parse::Lines;
use super::types::Type;
use super::{Dictionary, builtin};
use crate::dictionary::attribute::Values;
use crate::dictionary::entry::Handle;
use crate::dictionary::load::Loader;
use crate::dictionary::problem::LoadError;
use crate::dictionary::reader::{self, Definitions, Load};
use crate::dictionary::types::Origin;

/// A dictionary in the making. Later definitions win.
#[derive(Debug, Default)]
pub struct Builder {
    load: Load,
    drafts: Vec<Draft>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    by_code: HashMap<(u32, u32), usize>,
    vendors: BTreeMap<u32, Box<str>>,
    is_builtin: bool,
}

/// One AVP by vendor and name; a redefinition replaces it in place.
#[derive(Debug)]
struct Draft {
    name: Box<str>,
    code: u32,
    vendor: u32,
    kind: Type,
    is_mandatory: bool,
    values: Vec<(Box<str>, i64)>,
    members: Vec<Box<str>>,
    origin: Origin,
    is_builtin: bool,
}

/// One AVP as a file defines it.
pub(in crate::dictionary) struct New<'a> {
    pub(in crate::dictionary) name: &'a str,
    pub(in crate::dictionary) code: u32,
    pub(in crate::dictionary) vendor: u32,
    pub(in crate::dictionary) kind: Type,
    /// Whether a RADIUS word named the type, which may stand for a more exact one.
    pub(in crate::dictionary) is_radius: bool,
    /// `None` when the file does not say.
    pub(in crate::dictionary) is_mandatory: Option<bool>,
}

/// Which definition of a builder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::dictionary) struct Place(usize);

impl Definitions for Builder {
    fn load(&mut self) -> &mut Load {
        &mut self.load
    }

    /// Adds a value name to the AVP of that name; several vendors' are all meant.
    fn value(&mut self, avp: &str, name: &str, number: i64, origin: &Origin) {
        let lower = avp.to_ascii_lowercase();
        let Some(places) = self.by_name.get(lower.as_str()).cloned() else {
            if !self.load.skipped.contains_key(lower.as_str()) {
                self.load.problems.warn(origin, format!("values of `{avp}`, which is not defined, are not used"));
            }
            return;
        };
        // The one defined last is meant: a VALUE line follows its ATTRIBUTE.
        if let Some(at) = places.iter().copied().max() {
            self.value_of(Place(at), name, number, origin);
        }
    }

    /// Gives `avp` the value names of `other`.
    fn value_alias(&mut self, avp: &str, other: &str, origin: &Origin) {
        let place =
            |name: &str| self.by_name.get(name.to_ascii_lowercase().as_str()).and_then(|all| all.last().copied());
        match (place(avp), place(other)) {
            (Some(to), Some(from)) => {
                let values = self.drafts[from].values.clone();
                self.drafts[to].values = values;
            }
            (None, _) => self.load.problems.warn(origin, format!("`{avp}` is not defined")),
            (_, None) => self.load.problems.warn(origin, format!("`{other}` is not defined")),
        }
    }

    fn vendor_number(&self, name: &str) -> Option<u32> {
        self.vendors.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
    }

    fn vendor_names(&self) -> impl Iterator<Item = &str> {
        self.vendors.values().map(|name| &**name)
    }
}

impl Builder {
    /// A dictionary with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A dictionary with the standard AVPs, the RADIUS attributes and our own vendor's: what an operator's files are
    /// added to.
    #[must_use]
    pub fn with_builtin() -> Self {
        let mut builder = Self { is_builtin: true, ..Self::default() };
        for (name, text) in builtin::radius().chain(builtin::STANDARD.iter().copied()) {
            builder.text(&format!("built-in {name}"), text.as_bytes());
        }
        builder.is_builtin = false;
        // What the RADIUS files have and Diameter has not is no news to an operator.
        builder.load.problems.forget_warnings();
        builder.load.told.clear();
        builder
    }

    /// Adds a text without includes, such as a built-in profile; `name` stands for the file in messages.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        reader::text::<Lines>(self, name, text);
    }

    /// Adds the file at `path` and what it includes: text, or XML when it begins like XML. Problems are kept for
    /// [`Builder::finish`].
    pub fn file(&mut self, path: &Path, loader: &mut dyn Loader) {
        reader::file::<Lines>(self, path, loader);
    }

    /// Takes a definition; `None` when it contradicts an earlier one.
    pub(in crate::dictionary) fn define(&mut self, new: &New<'_>, origin: &Origin) -> Option<Place> {
        let mut draft = Draft {
            name: new.name.into(),
            code: new.code,
            vendor: new.vendor,
            kind: new.kind,
            is_mandatory: new.is_mandatory.unwrap_or(false),
            values: Vec::new(),
            members: Vec::new(),
            origin: origin.clone(),
            is_builtin: self.is_builtin,
        };
        if let Some(old) = self.by_code.get(&(new.vendor, new.code)).map(|at| &self.drafts[*at]) {
            if !self.is_builtin && !new.is_radius && !old.kind.same_octets(new.kind) {
                let text = format!(
                    "`{}` is {} here, but `{}` at {} is {}",
                    new.name, new.kind, old.name, old.origin, old.kind
                );
                self.load.problems.error(origin, text);
                return None;
            }
            // A RADIUS word cannot say what Diameter's own dictionary says.
            if new.is_radius && !self.is_builtin {
                draft.kind = old.kind;
            }
            if !self.is_builtin {
                draft.is_mandatory = new.is_mandatory.unwrap_or(old.is_mandatory);
            }
            if draft.kind.is_number() {
                draft.values.clone_from(&old.values);
            }
            draft.members.clone_from(&old.members);
        }
        Some(self.keep(draft, origin))
    }

    fn keep(&mut self, draft: Draft, origin: &Origin) -> Place {
        let key = (draft.vendor, draft.code);
        let names = self.by_name.entry(draft.name.to_ascii_lowercase().into()).or_default();
        let same = names.iter().copied().find(|at| {
            let old = &self.drafts[*at];
            old.vendor == draft.vendor && (old.code == draft.code || old.name == draft.name)
        });
        let at = match same {
            Some(at) => {
                let old = &self.drafts[at];
                if old.code != draft.code && !self.is_builtin {
                    let text = format!("`{}` is now {}, was {} at {}", draft.name, draft.code, old.code, old.origin);
                    self.load.problems.warn(origin, text);
                }
                if self.by_code.get(&(old.vendor, old.code)) == Some(&at) && old.code != draft.code {
                    self.by_code.remove(&(old.vendor, old.code));
                }
                self.drafts[at] = draft;
                at
            }
            None => {
                let at = self.drafts.len();
                if let Some(old) = self.by_code.get(&key).map(|old| &self.drafts[*old])
                    && !self.is_builtin
                    && old.is_builtin
                    && draft.vendor == 0
                {
                    let text = format!("`{}` has the code {} of `{}`", draft.name, draft.code, old.name);
                    self.load.problems.warn(origin, text);
                }
                names.push(at);
                self.drafts.push(draft);
                at
            }
        };
        self.by_code.insert(key, at);
        Place(at)
    }

    /// Adds a member to a group.
    pub(in crate::dictionary) fn member(&mut self, group: Place, name: &str) {
        let members = &mut self.drafts[group.0].members;
        if !members.iter().any(|member| &**member == name) {
            members.push(name.into());
        }
    }

    /// Adds a value name to the AVP at `place`; one that counts in numbers without signs becomes Enumerated.
    pub(in crate::dictionary) fn value_of(&mut self, place: Place, name: &str, number: i64, origin: &Origin) {
        let draft = &mut self.drafts[place.0];
        let Some((min, max)) = draft.kind.range() else {
            let text = format!("values of `{}`, which is {}, are not used", draft.name, draft.kind);
            self.load.problems.warn(origin, text);
            return;
        };
        if number < min || number > max {
            let text = format!("value `{name}` {number} of `{}` is outside {min} to {max}", draft.name);
            self.load.problems.error(origin, text);
            return;
        }
        match draft.values.iter_mut().find(|(old, _)| old.eq_ignore_ascii_case(name)) {
            Some(old) => *old = (name.into(), number),
            None => draft.values.push((name.into(), number)),
        }
    }

    pub(in crate::dictionary) fn vendor(&mut self, name: &str, number: u32, origin: &Origin) {
        if let Some(old) = self.vendor_number(name).filter(|old| *old != number) {
            self.load.problems.warn(origin, format!("vendor `{name}` is now {number}, was {old}"));
            self.vendors.remove(&old);
        }
        self.vendors.insert(number, name.into());
    }

    /// The dictionary, with its warnings.
    ///
    /// # Errors
    /// All problems, when one of them is an error.
    pub fn finish(self) -> Result<Dictionary, LoadError> {
        let warnings = self.load.problems.judge()?;
        let definitions = self.drafts.into_iter().map(|draft| {
            // RADIUS calls an enumeration an integer with values (RFC 4005 §4.1).
            let kind = match draft.kind {
                Type::Unsigned32 if !draft.values.is_empty() => {
                    let fits = draft.values.iter().all(|(_, number)| *number <= i64::from(i32::MAX));
                    if fits { Type::Enumerated } else { Type::Unsigned32 }
                }
                kind => kind,
            };
            Handle(Arc::new(Definition {
                name: draft.name,
                number: (draft.vendor, draft.code),
                kind,
                rules: Rules { is_mandatory: draft.is_mandatory, members: draft.members },
                values: Arc::new(Values::new(&draft.values)),
                origin: draft.origin,
            }))
        });
        Ok(Dictionary {
            entries: definitions.collect(),
            by_name: self.by_name,
            by_number: self.by_code,
            vendors: self.vendors,
            rest: self.load.skipped,
            warnings,
            files: self.load.files,
        })
    }
}
