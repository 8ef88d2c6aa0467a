//! Records as lines of syslog.

pub mod line;
#[cfg(test)]
mod line_tests;
pub mod profile;

/// Octets of a line that any receiver takes: rsyslog cuts at 8 096.
pub const OCTETS_MAX: usize = 8_000;
