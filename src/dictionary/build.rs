//! Definitions as they come in, and the finished dictionary: redefinitions, aliases, places on the wire, values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::attribute::{Handle, Rules, Values};
use super::builtin;
use super::entry::{self, Entry};
use super::problem::LoadError;
use super::reader::{Definitions, Load};
use super::types::{Flags, Format, Oid, Origin, TLV_LEVELS_MAX, Type, Vendor};
use super::wire::{Misplaced, Wire};
use super::{Collision, Dictionary};

/// A dictionary in the making. Later definitions win.
#[derive(Debug, Default)]
pub struct Builder {
    load: Load,
    drafts: Vec<Draft>,
    by_name: HashMap<Box<str>, usize>,
    vendors: Vec<Vendor>,
    vendor_by_name: HashMap<Box<str>, usize>,
    formats: HashMap<u32, Format>,
    values: Vec<ValueLine>,
    value_aliases: Vec<ValueAlias>,
    official: BTreeMap<u8, Box<str>>,
    order: usize,
}

/// One attribute by name; a redefinition replaces it in place.
#[derive(Debug)]
struct Draft {
    name: Box<str>,
    oid: Oid,
    kind: Type,
    flags: Flags,
    origin: Origin,
    /// Rises with each definition: of several names of one number the latest decodes.
    order: usize,
    /// Index of the first VALUE line that is meant for this definition.
    values_from: usize,
    is_builtin: bool,
    /// Largest number of its vendor's format when it was defined; a later `VENDOR` line may change the format.
    number_max: u32,
}

#[derive(Debug)]
struct ValueLine {
    attribute: Box<str>,
    name: Box<str>,
    number: i64,
    origin: Origin,
}

#[derive(Debug)]
struct ValueAlias {
    attribute: Box<str>,
    other: Box<str>,
    origin: Origin,
}

impl Definitions for Builder {
    fn load(&mut self) -> &mut Load {
        &mut self.load
    }

    fn value(&mut self, attribute: &str, name: &str, number: i64, origin: &Origin) {
        self.values.push(ValueLine {
            attribute: attribute.to_ascii_lowercase().into(),
            name: name.into(),
            number,
            origin: origin.clone(),
        });
    }

    fn value_alias(&mut self, attribute: &str, other: &str, origin: &Origin) {
        self.value_aliases.push(ValueAlias {
            attribute: attribute.to_ascii_lowercase().into(),
            other: other.to_ascii_lowercase().into(),
            origin: origin.clone(),
        });
    }

    fn vendor_number(&self, name: &str) -> Option<u32> {
        let at = *self.vendor_by_name.get(name.to_ascii_lowercase().as_str())?;
        Some(self.vendors[at].number)
    }

    fn vendor_names(&self) -> impl Iterator<Item = &str> {
        self.vendors.iter().map(|vendor| &*vendor.name)
    }
}

impl Builder {
    /// Makes what is defined so far the official assignment: redefinitions are measured against it.
    pub(super) fn seal(&mut self) {
        for draft in &mut self.drafts {
            draft.is_builtin = true;
            if let ([number], Some(outer)) = (draft.oid.parts(), draft.oid.outer()) {
                debug_assert_eq!(u32::from(outer), *number);
                self.official.insert(outer, draft.name.clone());
            }
        }
    }

    pub(super) fn attribute(&mut self, name: &str, oid: Oid, kind: Type, flags: Flags, origin: &Origin) {
        self.order += 1;
        let mut draft = Draft {
            name: name.into(),
            oid,
            kind,
            flags,
            origin: origin.clone(),
            order: self.order,
            values_from: 0,
            is_builtin: false,
            number_max: vendor_of(&oid).map_or(u32::MAX, |vendor| self.format(vendor).number_max()),
        };
        let lower = name.to_ascii_lowercase().into_boxed_str();
        let Some(&at) = self.by_name.get(&lower) else {
            self.by_name.insert(lower, self.drafts.len());
            self.drafts.push(draft);
            return;
        };
        let old = &self.drafts[at];
        draft.values_from = old.values_from;
        draft.is_builtin = old.is_builtin && old.oid == oid;
        if old.oid == oid && old.kind.is_container() && matches!(kind, Type::String | Type::Octets(_)) {
            // radiusclient files call Vendor-Specific a string.
            draft.kind = old.kind;
        } else if old.oid != oid || !old.kind.same_octets(kind) {
            let was = format!("{} {} at {}", old.oid, old.kind, old.origin);
            draft.values_from = self.values.len();
            if !builtin::is_historic(name, &oid) {
                self.load.problems.warn(origin, format!("`{name}` is now {oid} {kind}, was {was}"));
            }
        }
        self.drafts[at] = draft;
    }

    pub(super) fn find(&self, name: &str) -> Option<(Oid, Type)> {
        let at = *self.by_name.get(name.to_ascii_lowercase().as_str())?;
        Some((self.drafts[at].oid, self.drafts[at].kind))
    }

    pub(super) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.drafts.iter().map(|draft| &*draft.name)
    }

    /// The format of a vendor as defined so far.
    fn format(&self, vendor: u32) -> Format {
        self.formats.get(&vendor).copied().unwrap_or_else(|| Format::of_vendor(vendor))
    }

    pub(super) fn vendor(&mut self, name: &str, number: u32, format: Option<Format>, origin: &Origin) {
        let format = format.unwrap_or_else(|| self.format(number));
        self.formats.insert(number, format);
        for old in self.vendors.iter().filter(|old| old.number == number && old.format != format) {
            let text = format!("vendor {number} has format {format} here and {} at {}", old.format, old.origin);
            self.load.problems.warn(origin, text);
        }
        let vendor = Vendor { name: name.into(), number, format, origin: origin.clone() };
        let lower = name.to_ascii_lowercase().into_boxed_str();
        if let Some(&at) = self.vendor_by_name.get(&lower) {
            let old = &self.vendors[at];
            if old.number != number {
                let text = format!("vendor `{name}` is now {number}, was {} at {}", old.number, old.origin);
                self.load.problems.warn(origin, text);
            }
        }
        self.vendor_by_name.insert(lower, self.vendors.len());
        self.vendors.push(vendor);
    }

    /// A vendor given by its number, if it is defined.
    pub(super) fn known_vendor(&self, number: &str) -> Option<u32> {
        let number = number.parse().ok()?;
        self.vendors.iter().any(|vendor| vendor.number == number).then_some(number)
    }

    /// The dictionary, with its warnings.
    ///
    /// # Errors
    /// All problems, when one of them is an error.
    pub fn finish(mut self) -> Result<Dictionary, LoadError> {
        let vendors = self.last_vendors();
        let by_oid = self.decoding_drafts();
        let wires = self.place(&by_oid, &vendors);
        let values = self.attach_values(&by_oid);
        let collisions = self.collisions();
        self.warn_of_collisions(&collisions);

        let entries: Vec<Handle> = std::mem::take(&mut self.drafts)
            .into_iter()
            .zip(wires)
            .zip(values)
            .map(|((draft, wire), values)| {
                let vendor = vendor_of(&draft.oid).map(|number| {
                    vendors.get(&number).cloned().unwrap_or_else(|| Arc::new(unnamed_vendor(number, &draft.origin)))
                });
                entry::Handle(Arc::new(Entry {
                    name: draft.name,
                    number: draft.oid,
                    kind: draft.kind,
                    rules: Rules { flags: draft.flags, vendor, wire },
                    values,
                    origin: draft.origin,
                }))
            })
            .collect();
        let warnings = self.load.problems.judge()?;
        Ok(Dictionary {
            by_name: self.by_name,
            by_number: by_oid,
            entries,
            vendors,
            warnings,
            rest: collisions,
            files: self.load.files,
        })
    }

    /// By number the vendor as defined last.
    fn last_vendors(&self) -> BTreeMap<u32, Arc<Vendor>> {
        self.vendors.iter().map(|vendor| (vendor.number, Arc::new(vendor.clone()))).collect()
    }

    /// By number the attribute that decodes: the one defined last.
    fn decoding_drafts(&self) -> HashMap<Oid, usize> {
        let mut by_oid: HashMap<Oid, usize> = HashMap::with_capacity(self.drafts.len());
        for (at, draft) in self.drafts.iter().enumerate() {
            let held = by_oid.entry(draft.oid).or_insert(at);
            if self.drafts[*held].order < draft.order {
                *held = at;
            }
        }
        by_oid
    }

    /// The place of each attribute on the wire.
    fn place(&mut self, by_oid: &HashMap<Oid, usize>, vendors: &BTreeMap<u32, Arc<Vendor>>) -> Vec<Option<Wire>> {
        let format = |number| vendors.get(&number).map_or_else(|| Format::of_vendor(number), |vendor| vendor.format);
        let mut wires = Vec::with_capacity(self.drafts.len());
        let mut outgrown = HashSet::new();
        for draft in &self.drafts {
            let vendor = vendor_of(&draft.oid).filter(|vendor| {
                let number = draft.oid.parts().get(2).copied().unwrap_or_default();
                draft.oid.outer() == Some(26) && number <= draft.number_max && number > format(*vendor).number_max()
            });
            if let Some(vendor) = vendor {
                if outgrown.insert(vendor) {
                    let text = format!(
                        "`{}` and others do not fit the later format {} of their vendor: they cannot be sent",
                        draft.name,
                        format(vendor)
                    );
                    self.load.problems.warn(&draft.origin, text);
                }
                wires.push(None);
                continue;
            }
            match self.place_one(draft, by_oid, format) {
                Ok(wire) => wires.push(wire),
                Err(text) => {
                    self.load.problems.error(&draft.origin, format!("`{}`: {text}", draft.name));
                    wires.push(None);
                }
            }
        }
        wires
    }

    fn place_one(
        &self,
        draft: &Draft,
        by_oid: &HashMap<Oid, usize>,
        format: impl Fn(u32) -> Format,
    ) -> Result<Option<Wire>, String> {
        let oid = &draft.oid;
        let wire = Wire::new(oid, format).map_err(|misplaced| match misplaced {
            Misplaced::Number(0, max) => format!("0 in {oid} is outside 1 to {max}"),
            Misplaced::Number(number, max) => format!("{number} in {oid} is outside 0 to {max}"),
            Misplaced::Short => format!("{oid} lacks the vendor's attribute number"),
        })?;
        let levels = tlv_levels(oid);
        if levels > TLV_LEVELS_MAX {
            return Err(format!("{oid} has more than {TLV_LEVELS_MAX} TLV levels"));
        }
        for parent in std::iter::successors(oid.parent(), Oid::parent).take(levels) {
            match by_oid.get(&parent).map(|at| self.drafts[*at].kind) {
                Some(Type::Tlv) => {}
                Some(kind) => return Err(format!("it is {oid}, but {parent} is {kind}, not tlv")),
                None => return Err(format!("it is {oid}, but {parent} is not defined")),
            }
        }
        Ok(wire)
    }

    /// The values of each attribute: its own, else those of its VALUE-ALIAS, else those of the number it shares.
    fn attach_values(&mut self, by_oid: &HashMap<Oid, usize>) -> Vec<Arc<Values>> {
        let mut lists: Vec<Vec<(Box<str>, i64)>> = Vec::new();
        lists.resize_with(self.drafts.len(), Vec::new);
        let mut known: HashMap<(usize, Box<str>), (usize, usize)> = HashMap::new();
        let values = std::mem::take(&mut self.values);
        let mut told = HashSet::new();
        for (line_at, line) in values.iter().enumerate() {
            let Some(at) = self.value_owner(line_at, line, &mut told) else { continue };
            let key = (at, line.name.to_ascii_lowercase().into_boxed_str());
            let place = match known.get(&key) {
                Some(&(place, old_at)) => {
                    let old = &values[old_at];
                    if old.number != line.number {
                        let text = format!(
                            "value `{}` of `{}` is now {}, was {} at {}",
                            line.name, self.drafts[at].name, line.number, old.number, old.origin
                        );
                        self.load.problems.warn(&line.origin, text);
                    }
                    place
                }
                None => lists[at].len(),
            };
            known.insert(key, (place, line_at));
            let value = (line.name.clone(), line.number);
            match lists[at].get_mut(place) {
                Some(old) => *old = value,
                None => lists[at].push(value),
            }
        }
        let mut tables: Vec<Arc<Values>> = lists.iter().map(|list| Arc::new(Values::new(list))).collect();
        self.alias_values(&mut tables);
        self.share_values(by_oid, &mut tables);
        tables
    }

    /// The attribute a VALUE line counts for; otherwise says why not, once for each attribute.
    fn value_owner(&mut self, line_at: usize, line: &ValueLine, told: &mut HashSet<Box<str>>) -> Option<usize> {
        let Some(&at) = self.by_name.get(&line.attribute) else {
            if !self.load.skipped.contains_key(&line.attribute) && told.insert(line.attribute.clone()) {
                let text = format!("values of `{}`, which is not defined, are not used", line.attribute);
                self.load.problems.warn(&line.origin, text);
            }
            return None;
        };
        let draft = &self.drafts[at];
        if line_at < draft.values_from {
            return None;
        }
        let Some((min, max)) = draft.kind.range() else {
            if told.insert(line.attribute.clone()) {
                let text = format!("values of `{}`, which is {}, are not used", draft.name, draft.kind);
                self.load.problems.warn(&line.origin, text);
            }
            return None;
        };
        if line.number < min || line.number > max {
            let text = format!("value `{}` {} is outside {min} to {max}", line.name, line.number);
            self.load.problems.error(&line.origin, text);
            return None;
        }
        Some(at)
    }

    fn alias_values(&mut self, tables: &mut [Arc<Values>]) {
        for alias in &self.value_aliases {
            match (self.by_name.get(&alias.attribute), self.by_name.get(&alias.other)) {
                (Some(&to), Some(&from)) => tables[to] = Arc::clone(&tables[from]),
                (None, _) => {
                    self.load.problems.warn(&alias.origin, format!("`{}` is not defined", alias.attribute));
                }
                (_, None) => self.load.problems.warn(&alias.origin, format!("`{}` is not defined", alias.other)),
            }
        }
    }

    /// Names of one number without values of their own take those of the latest name that has some.
    fn share_values(&self, by_oid: &HashMap<Oid, usize>, tables: &mut [Arc<Values>]) {
        if by_oid.len() == self.drafts.len() {
            return;
        }
        let mut latest: HashMap<Oid, usize> = HashMap::new();
        for (at, draft) in self.drafts.iter().enumerate() {
            if !tables[at].is_empty() {
                let held = latest.entry(draft.oid).or_insert(at);
                if self.drafts[*held].order < draft.order {
                    *held = at;
                }
            }
        }
        for (at, draft) in self.drafts.iter().enumerate() {
            if let (true, Some(from)) = (tables[at].is_empty() && draft.kind.is_number(), latest.get(&draft.oid)) {
                tables[at] = Arc::clone(&tables[*from]);
            }
        }
    }

    /// Names of the operator that sit on officially assigned numbers.
    fn collisions(&self) -> Vec<Collision> {
        let mut found: Vec<(usize, Collision)> = Vec::new();
        for draft in self.drafts.iter().filter(|draft| !draft.is_builtin) {
            let [_] = draft.oid.parts() else { continue };
            let Some(number) = draft.oid.outer() else { continue };
            let Some(official) = self.official.get(&number) else { continue };
            if official.eq_ignore_ascii_case(&draft.name) || builtin::is_historic(&draft.name, &draft.oid) {
                continue;
            }
            let collision = Collision {
                name: draft.name.clone(),
                number,
                official: official.clone(),
                origin: draft.origin.clone(),
            };
            found.push((draft.order, collision));
        }
        found.sort_by_key(|(order, collision)| (collision.number, *order));
        found.into_iter().map(|(_, collision)| collision).collect()
    }

    fn warn_of_collisions(&mut self, collisions: &[Collision]) {
        let Some(first) = collisions.first() else { return };
        let list: Vec<String> = collisions
            .iter()
            .map(|collision| format!("`{}` on {} ({})", collision.name, collision.number, collision.official))
            .collect();
        let text = format!("names on officially assigned numbers: {}", list.join(", "));
        self.load.problems.warn(&first.origin, text);
    }
}

/// The vendor of a path, plain or extended.
pub(super) fn vendor_of(oid: &Oid) -> Option<u32> {
    match *oid.parts() {
        [26, vendor, _, ..] | [241..=246, 26, vendor, _, ..] => Some(vendor),
        _ => None,
    }
}

/// Levels of TLV a path goes down.
fn tlv_levels(oid: &Oid) -> usize {
    let parts = oid.parts();
    let base = match parts {
        [26, ..] => 3,
        [241..=246, 26, ..] => 4,
        [241..=246, ..] => 2,
        _ => 1,
    };
    parts.len().saturating_sub(base)
}

fn unnamed_vendor(number: u32, origin: &Origin) -> Vendor {
    Vendor { name: number.to_string().into(), number, format: Format::of_vendor(number), origin: origin.clone() }
}
