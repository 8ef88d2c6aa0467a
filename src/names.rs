//! Names and numbers the whole product shares.

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
