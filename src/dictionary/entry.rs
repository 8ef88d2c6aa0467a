//! Entries of a finished dictionary and the look-ups among them, whatever the protocol: what differs is a [`Protocol`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::attribute::Values;
use super::problem::{LoadError, Problem};
use super::types::Origin;

/// What a protocol has of its own in a dictionary.
pub trait Protocol: Clone + fmt::Debug + Eq {
    /// What an entry is found by when it is decoded.
    type Number: Copy + fmt::Debug + Eq + Hash + Ord;
    /// Data types.
    type Kind: Copy + fmt::Debug + fmt::Display + Eq;
    /// How an entry stands on the wire.
    type Rules: fmt::Debug + Eq;
    /// The entries of one name.
    type Named: fmt::Debug + Eq;
    /// What is known of a vendor.
    type Vendor: fmt::Debug + Eq;
    /// What follows from the definitions.
    type Rest: fmt::Debug;

    /// [`Dictionary::read`].
    ///
    /// # Errors
    /// As that.
    fn read(profile: Option<(&str, &str)>, files: &[PathBuf]) -> Result<Dictionary<Self>, LoadError>;
}

/// One entry of a finished dictionary.
#[derive(Debug, Eq, PartialEq)]
pub struct Entry<P: Protocol> {
    pub(super) name: Box<str>,
    pub(super) number: P::Number,
    pub(super) kind: P::Kind,
    pub(super) rules: P::Rules,
    pub(super) values: Arc<Values>,
    pub(super) origin: Origin,
}

impl<P: Protocol> Entry<P> {
    /// Name as its last definition spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Data type.
    #[must_use]
    pub fn kind(&self) -> P::Kind {
        self.kind
    }

    /// Where it was defined last.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its VALUE names.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }
}

impl<P: Protocol> fmt::Display for Entry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An entry resolved once, at start: cheap to clone, needs no look-up per record.
#[derive(Clone, Debug)]
pub struct Handle<P: Protocol>(pub(super) Arc<Entry<P>>);

impl<P: Protocol> Deref for Handle<P> {
    type Target = Entry<P>;

    fn deref(&self) -> &Entry<P> {
        &self.0
    }
}

/// The same definition, not only an equal one.
impl<P: Protocol> PartialEq for Handle<P> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<P: Protocol> Eq for Handle<P> {}

impl<P: Protocol> fmt::Display for Handle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A finished dictionary. It does not depend on the order of any hash table.
#[derive(Debug)]
pub struct Dictionary<P: Protocol> {
    /// By lower-case name.
    pub(super) by_name: HashMap<Box<str>, P::Named>,
    /// By number the entry that decodes.
    pub(super) by_number: HashMap<P::Number, usize>,
    /// In the order of definition.
    pub(super) entries: Vec<Handle<P>>,
    pub(super) vendors: BTreeMap<u32, P::Vendor>,
    pub(super) rest: P::Rest,
    pub(super) warnings: Vec<Problem>,
    pub(super) files: Vec<PathBuf>,
}

/// The same definitions from the same places, whatever was warned of.
impl<P: Protocol> PartialEq for Dictionary<P> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(own, other): (&Handle<P>, &Handle<P>)| **own == **other;
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(same)
            && (&self.by_name, &self.by_number) == (&other.by_name, &other.by_number)
            && self.vendors == other.vendors
    }
}

impl<P: Protocol> Eq for Dictionary<P> {}

impl<P: Protocol> Dictionary<P> {
    /// Reads the built-in dictionary, a profile's text by its name, and files, the later above the earlier.
    ///
    /// # Errors
    /// What is wrong with the text and the files.
    pub fn read(profile: Option<(&str, &str)>, files: &[PathBuf]) -> Result<Self, LoadError> {
        P::read(profile, files)
    }

    /// Names of all entries, in the order of definition.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name())
    }

    /// The name most like `name`, for a hint; `None` when none is near.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        super::nearest(name, self.names())
    }

    /// Warnings of the load, in the order found.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Files read, in order, without the built-in ones.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The entry that decodes this number: of several names the one defined last.
    pub(super) fn by_number(&self, number: &P::Number) -> Option<Handle<P>> {
        self.by_number.get(number).map(|at| self.entries[*at].clone())
    }

    /// All entries by number, then by name.
    pub(super) fn sorted(&self) -> Vec<&Entry<P>> {
        let mut all: Vec<&Entry<P>> = self.entries.iter().map(|entry| &**entry).collect();
        all.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        all
    }

    /// Whether this name is used when its number is decoded.
    pub(super) fn decodes(&self, entry: &Entry<P>) -> bool {
        self.by_number(&entry.number).is_some_and(|decodes| decodes.name == entry.name)
    }

    /// Other names of the same number.
    pub(super) fn aliases(&self, entry: &Entry<P>) -> Vec<String> {
        let all = self.sorted().into_iter();
        let others = all.filter(|other| other.number == entry.number && other.name != entry.name);
        others.map(|other| other.name.to_string()).collect()
    }
}
