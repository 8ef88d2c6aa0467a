//! Dictionaries that travel inside the program; `dictionaries/diameter/README.md` tells where each comes from.

use crate::dictionary::builtin;

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../dictionaries/diameter/", $name)))
    };
}

/// Diameter's own: name and text, in order of reading.
pub const STANDARD: &[(&str, &str)] = &[
    file!("dictionary.base"),
    file!("dictionary.nas"),
    file!("dictionary.credit-control"),
    file!("dictionary.sip"),
    file!("dictionary.rf"),
    file!("dictionary.tollgate"),
];

/// The RADIUS files that are read before: all standard ones, without Tollgate's vendor space, which Diameter has anew.
pub(super) fn radius() -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_kept = |name: &str| !matches!(name, "dictionary.tollgate" | "dictionary.client" | "dictionary.rfc6929");
    builtin::STANDARD.iter().copied().filter(move |(name, _)| is_kept(name))
}
