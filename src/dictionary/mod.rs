//! Dictionaries: which name of an attribute (RADIUS) or AVP ([`diameter`]) is which number, of which type, with which
//! value names.
//!
//! The text of RADIUS is the union of what radiusclient, freeradius-client, radcli and FreeRADIUS 3 accept (`parse`). The
//! standard attributes and Tollgate's own are built in ([`builtin`]); an operator's files are added and win. What a
//! record needs is resolved once: a [`Handle`] encodes without any look-up.
//!
//! ```
//! use tollgate::dictionary::{Dictionary, Input};
//!
//! let dictionary = Dictionary::builtin();
//! let status = dictionary.attribute("acct-status-type").unwrap();
//! let mut packet = Vec::new();
//! status.encode(Input::Text(b"Start"), &mut packet)?;
//! assert_eq!(packet, [40, 6, 0, 0, 0, 1]);
//! assert_eq!(dictionary.decode(&packet)[0].to_string(), "Acct-Status-Type = Start");
//! # Ok::<(), tollgate::dictionary::ValueError>(())
//! ```

pub(crate) mod attribute;
pub(crate) mod build;
pub mod builtin;
pub(crate) mod decode;
pub mod diameter;
pub(crate) mod entry;
pub(crate) mod explain;
pub mod load;
mod parse;
mod print;
pub(crate) mod problem;
pub(crate) mod reader;
pub(crate) mod types;
pub(crate) mod value;
mod wire;
mod xml;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Handle, Radius, Values};
pub use build::Builder;
pub use decode::Decoded;
pub use explain::{Explanation, Row};
pub use load::{Files, Identity, Loader, Source};
pub use print::unquoted;
pub use problem::{LoadError, Problem, Severity};
pub use reader::is_keyword;
pub use types::{Flags, Format, Oid, Origin, Type, Vendor};
pub use value::{Input, ValueError};
pub use wire::{ATTRIBUTE_OCTETS_MAX, LONG_VALUE_OCTETS_MAX};

/// A finished dictionary of RADIUS.
pub type Dictionary = entry::Dictionary<Radius>;

/// A dictionary of either protocol.
#[derive(Clone, Copy, Debug)]
pub enum AnyDictionary<'d> {
    /// Attributes.
    Radius(&'d Dictionary),
    /// AVPs.
    Diameter(&'d diameter::Dictionary),
}

/// A name of the operator's that sits on a number officially assigned to another attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collision {
    /// The operator's name.
    pub name: Box<str>,
    /// The number.
    pub number: u8,
    /// The official name.
    pub official: Box<str>,
    /// Where the operator's name is defined.
    pub origin: Origin,
}

impl Dictionary {
    /// The built-in dictionary alone.
    ///
    /// # Panics
    /// Never: the built-in text is tested to be free of errors.
    #[must_use]
    pub fn builtin() -> Self {
        Builder::with_builtin().finish().expect("the built-in text is tested to be free of errors")
    }

    /// The built-in dictionary and the operator's file with what it includes.
    ///
    /// # Errors
    /// All problems of all files when one of them is an error.
    pub fn load(path: &std::path::Path, loader: &mut dyn Loader) -> Result<Self, LoadError> {
        let mut builder = Builder::with_builtin();
        builder.file(path, loader);
        builder.finish()
    }

    /// The attribute called `name`, any case.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Handle> {
        self.by_name.get(name.to_ascii_lowercase().as_str()).map(|at| self.entries[*at].clone())
    }

    /// The attribute that decodes this number: of several names the one defined last.
    #[must_use]
    pub fn by_oid(&self, oid: &Oid) -> Option<Handle> {
        self.by_number(oid)
    }

    /// The vendor with this number.
    #[must_use]
    pub fn vendor(&self, number: u32) -> Option<&Vendor> {
        self.vendors.get(&number).map(|vendor| &**vendor)
    }

    /// Names that sit on officially assigned numbers, by number; one of the warnings lists them.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        &self.rest
    }
}

/// The candidate most like `word`, any case; `None` when more than a third of it would have to change.
///
/// Of equally near ones the first.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    if word.len() > reader::NAME_OCTETS_MAX {
        return None;
    }
    let allowed = word.chars().count().div_ceil(3);
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
