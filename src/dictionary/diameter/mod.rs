//! Dictionaries of Diameter: which name is which AVP, of which type, with which flags, members and value names.
//!
//! The text is that of the RADIUS dictionaries with Diameter's own types, flags and groups besides (`parse`); the
//! RADIUS files that are built in are read too, for codes 1 to 255 without vendor are the RADIUS attributes (RFC 6733
//! §4.1). XML of the go-diameter form is read by `xml`. The operator's files are added and win.

pub mod build;
pub mod builtin;
mod definition;
pub mod explain;
pub mod import;
mod parse;
mod print;
pub mod types;
mod value;

#[cfg(test)]
mod tests;

pub use build::Builder;
pub use definition::{Definition, Diameter, Handle};
pub use explain::{Explanation, Row};
pub use types::Type;
pub use value::{clean, is_plain, rfc_3339};

pub use super::value::ValueError;

use super::entry;

/// A finished dictionary of Diameter.
pub type Dictionary = entry::Dictionary<Diameter>;

/// A label names no AVP, or several.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LabelError {
    /// No such name.
    #[error("unknown AVP `{label}`")]
    Unknown {
        /// The label.
        label: String,
        /// The name most like it.
        near: Option<String>,
    },
    /// The name exists under several vendors, or in several spellings.
    #[error("`{label}` stands for several AVPs: {candidates}")]
    Ambiguous {
        /// The label.
        label: String,
        /// Labels that say which.
        candidates: String,
    },
    /// The vendor is unknown.
    #[error("unknown vendor `{vendor}` in `{label}`")]
    Vendor {
        /// The label.
        label: String,
        /// Its vendor part.
        vendor: String,
    },
    /// A RADIUS attribute that has no place in Diameter.
    #[error("`{label}` has no place in Diameter: {why}")]
    Unmapped {
        /// The label.
        label: String,
        /// The reason.
        why: &'static str,
    },
}

impl LabelError {
    /// The label.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Unknown { label, .. }
            | Self::Ambiguous { label, .. }
            | Self::Vendor { label, .. }
            | Self::Unmapped { label, .. } => label,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::Unknown { near: None, .. } => {
                "`tollgate dict --diameter` lists what is built in; `dictionary` adds a file; a code is fine too"
                    .to_owned()
            }
            Self::Ambiguous { .. } => "write `VENDOR:NAME`".to_owned(),
            Self::Vendor { .. } => "give its number, or define it with a `VENDOR` line".to_owned(),
            Self::Unmapped { .. } => "choose another AVP".to_owned(),
        }
    }
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

    /// The AVP a label means: a name, `vendor:name`, a code, or `vendor:code`, with the vendor by name or number.
    ///
    /// A name matches exactly first, then in any case if that is unique. A code that no dictionary has becomes an AVP
    /// of text without the flag M.
    ///
    /// # Errors
    /// There is no such AVP, or the label does not say which.
    pub fn find(&self, label: &str) -> Result<Handle, LabelError> {
        let Some((vendor, name)) = label.split_once(':') else {
            return match label.parse::<u32>() {
                Ok(code) => Ok(self.coded(0, code)),
                Err(_) => self.named(label, label, None),
            };
        };
        let Some(vendor) = self.vendor_number(vendor) else {
            return Err(LabelError::Vendor { label: label.to_owned(), vendor: vendor.to_owned() });
        };
        match name.parse::<u32>() {
            Ok(code) => Ok(self.coded(vendor, code)),
            Err(_) => self.named(label, name, Some(vendor)),
        }
    }

    fn named(&self, label: &str, name: &str, vendor: Option<u32>) -> Result<Handle, LabelError> {
        let lower = name.to_ascii_lowercase();
        let all = self.by_name.get(lower.as_str()).map_or(&[][..], Vec::as_slice);
        let fits = |at: &&usize| vendor.is_none_or(|vendor| self.entries[**at].vendor() == vendor);
        let any_case: Vec<usize> = all.iter().filter(fits).copied().collect();
        let exact: Vec<usize> = any_case.iter().copied().filter(|at| self.entries[*at].name() == name).collect();
        match (exact.as_slice(), any_case.as_slice()) {
            ([one], _) | ([], [one]) => Ok(self.entries[*one].clone()),
            ([], []) => Err(match self.rest.get(lower.as_str()) {
                Some(why) => LabelError::Unmapped { label: label.to_owned(), why },
                None => {
                    let near = self.nearest(name);
                    LabelError::Unknown { label: label.to_owned(), near: near.map(str::to_owned) }
                }
            }),
            ([], many) | (many, _) => {
                let labels = many.iter().map(|at| {
                    let definition = &self.entries[*at];
                    format!("`{}:{}`", self.vendor_name(definition.vendor()), definition.name())
                });
                let candidates = labels.collect::<Vec<_>>().join(", ");
                Err(LabelError::Ambiguous { label: label.to_owned(), candidates })
            }
        }
    }

    /// The AVP with this vendor (0 for none) and code; one without a definition is text without the flag M.
    #[must_use]
    pub fn coded(&self, vendor: u32, code: u32) -> Handle {
        self.by_code(vendor, code).unwrap_or_else(|| Handle::unknown(vendor, code))
    }

    /// The definition that decodes this vendor (0 for none) and code: of several names the one defined last.
    #[must_use]
    pub fn by_code(&self, vendor: u32, code: u32) -> Option<Handle> {
        self.by_number(&(vendor, code))
    }

    /// Number of a vendor by name, any case, or by number.
    #[must_use]
    pub fn vendor_number(&self, text: &str) -> Option<u32> {
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        self.vendors.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number)
    }

    /// Name of a vendor, or its number as text; `none` for 0.
    #[must_use]
    pub fn vendor_name(&self, number: u32) -> String {
        match (number, self.vendors.get(&number)) {
            (0, _) => "0".to_owned(),
            (_, Some(name)) => name.to_string(),
            (_, None) => number.to_string(),
        }
    }

    /// All definitions in the order of definition.
    pub fn definitions(&self) -> impl Iterator<Item = &Handle> {
        self.entries.iter()
    }
}
