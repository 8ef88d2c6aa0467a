//! One attribute, ready to encode: everything a record needs is resolved when the dictionary is finished.

use std::path::PathBuf;
use std::sync::Arc;

use super::entry::{self, Entry, Protocol};
use super::types::{Flags, Oid, Type, Vendor};
use super::wire::Wire;
use super::{Builder, Collision, Dictionary, Files, LoadError};

/// Dictionaries of RADIUS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Radius {}

impl Protocol for Radius {
    type Number = Oid;
    type Kind = Type;
    type Rules = Rules;
    type Named = usize;
    type Vendor = Arc<Vendor>;
    type Rest = Vec<Collision>;

    fn read(profile: Option<(&str, &str)>, files: &[PathBuf]) -> Result<Dictionary, LoadError> {
        let mut builder = Builder::with_builtin();
        if let Some((name, text)) = profile {
            builder.text(name, text.as_bytes());
        }
        files.iter().for_each(|path| builder.file(path, &mut Files));
        builder.finish()
    }
}

/// How an attribute stands on the wire.
#[derive(Debug, Eq, PartialEq)]
pub struct Rules {
    pub(super) flags: Flags,
    pub(super) vendor: Option<Arc<Vendor>>,
    /// `None` when it is never sent.
    pub(super) wire: Option<Wire>,
}

/// One attribute of a finished dictionary.
pub type Attribute = Entry<Radius>;

/// An attribute resolved once, at start.
pub type Handle = entry::Handle<Radius>;

/// Attributes no value of a call may be put into, by standard number (RFC 2866 §5.13 and the owners of the rest).
const REFUSED: &[(u8, &str)] = &[
    (2, "User-Password may not stand in an Accounting-Request (RFC 2866 section 4.1)"),
    (3, "CHAP-Password may not stand in an Accounting-Request (RFC 2866 section 4.1)"),
    (18, "Reply-Message may not stand in an Accounting-Request (RFC 2866 section 4.1)"),
    (24, "State may not stand in an Accounting-Request (RFC 2866 section 4.1)"),
    (33, "Proxy-State belongs to the proxies on the way (RFC 2865 section 5.33)"),
    (60, "CHAP-Challenge belongs to authentication (RFC 2865 section 5.40)"),
    (79, "EAP-Message belongs to authentication (RFC 3579 section 3.1)"),
    (80, "Message-Authenticator is computed over the packet (RFC 3579 section 3.2)"),
];

impl Attribute {
    /// Number as a path.
    #[must_use]
    pub fn oid(&self) -> Oid {
        self.number
    }

    /// Number within its space: the last part of the path.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number.parts().last().copied().unwrap_or_default()
    }

    /// Flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.rules.flags
    }

    /// Vendor whose space it stands in; `None` for the standard and the extended spaces.
    #[must_use]
    pub fn vendor(&self) -> Option<&Vendor> {
        self.rules.vendor.as_deref()
    }

    /// Number of the VALUE called `name`, any case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<i64> {
        self.values.number(name)
    }

    /// Name of the VALUE with this number: of several the one defined last.
    #[must_use]
    pub fn value_name(&self, number: i64) -> Option<&str> {
        self.values.name(number)
    }

    /// Most octets one value may have in one attribute (over all fragments for 245 and 246); 0 when it is never sent.
    ///
    /// A tag is not counted: a tagged string has one octet less.
    #[must_use]
    pub fn value_octets_max(&self) -> usize {
        self.rules.wire.as_ref().map_or(0, Wire::value_octets_max)
    }

    /// Why no value of a call may be sent in this attribute; `None` when it may.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        if self.rules.wire.is_none() {
            return Some(match self.number.outer() {
                None => "its number is above 255: internal to the server, never on the wire",
                Some(_) => "its number does not fit the format its vendor was given later",
            });
        }
        if self.kind.is_container() {
            return Some("it holds other attributes and has no value of its own");
        }
        if self.rules.flags.encrypt > 0 {
            return Some("it is encrypted, and accounting has no use for encrypted attributes");
        }
        if self.rules.flags.is_virtual {
            return Some("it is virtual: the server computes it");
        }
        match *self.number.parts() {
            [number] => REFUSED.iter().find(|(refused, _)| u32::from(*refused) == number).map(|(_, why)| *why),
            _ => None,
        }
    }
}

/// VALUE names of one attribute.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Values {
    /// Lower-case name, name, number; by lower-case name.
    by_name: Vec<(Box<str>, Box<str>, i64)>,
    /// Number, index into `by_name` of the name that prints; by number.
    by_number: Vec<(i64, usize)>,
}

impl Values {
    /// Takes names with numbers in the order of definition; names are distinct regardless of case.
    pub(super) fn new(defined: &[(Box<str>, i64)]) -> Self {
        let mut by_name: Vec<(Box<str>, Box<str>, i64, usize)> = defined
            .iter()
            .enumerate()
            .map(|(order, (name, number))| (name.to_ascii_lowercase().into(), name.clone(), *number, order))
            .collect();
        by_name.sort();
        by_name.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut numbers: Vec<(i64, usize, usize)> =
            by_name.iter().enumerate().map(|(index, (_, _, number, order))| (*number, *order, index)).collect();
        numbers.sort_unstable_by_key(|&(number, order, _)| (number, std::cmp::Reverse(order)));
        numbers.dedup_by_key(|(number, _, _)| *number);
        Self {
            by_name: by_name.into_iter().map(|(lower, name, number, _)| (lower, name, number)).collect(),
            by_number: numbers.into_iter().map(|(number, _, index)| (number, index)).collect(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Number of `name`, any case.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        let at = self
            .by_name
            .binary_search_by(|(lower, _, _)| lower.bytes().cmp(name.bytes().map(|octet| octet.to_ascii_lowercase())))
            .ok()?;
        Some(self.by_name[at].2)
    }

    /// Name that prints for `number`.
    #[must_use]
    pub fn name(&self, number: i64) -> Option<&str> {
        let at = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.by_name[self.by_number[at].1].1)
    }

    /// Names with numbers, by number, then by name.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, i64)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(_, name, number)| (&**name, *number)).collect();
        all.sort_by_key(|&(name, number)| (number, name));
        all
    }

    /// The same as owned names.
    pub(super) fn listed(&self) -> Vec<(String, i64)> {
        self.sorted().into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
    }

    /// Names, for suggestions.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().map(|(_, name, _)| &**name)
    }
}
