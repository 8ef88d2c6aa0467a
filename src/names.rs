//! Names and numbers the whole product shares, and what a host name is.

/// The product's name, as it stands in `User-Agent`-like values, metric prefixes and the syslog tag.
pub const PRODUCT: &str = "tollgate";

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name of our vendor space in the dictionaries.
pub const VENDOR: &str = "Tollgate";

/// Vendor number of our attributes: 32473, which RFC 5612 sets aside for examples.
///
/// Tollgate has no number from IANA. An operator with a number of his own replaces it in the two dictionary files;
/// nothing else depends on it.
pub const VENDOR_NUMBER: u32 = 32473;

/// Octets of a host name at most, a DiameterIdentity or realm among them (RFC 1035 §3.1).
pub const HOST_OCTETS_MAX: usize = 255;

/// Whether a text may be a host name: labels of letters, digits, `-` and `_` with dots between.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let is_label = |label: &str| (1..=63).contains(&label.len()) && is_of_host(label.as_bytes());
    text.len() <= HOST_OCTETS_MAX && text.split('.').all(is_label)
}

/// Whether all of these octets may stand in a host name.
#[must_use]
pub fn is_of_host(octets: &[u8]) -> bool {
    octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(octet))
}
