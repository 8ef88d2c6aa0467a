//! RADIUS accounting (RFC 2866): packets, authenticators, attribute limits, and the client as a machine.
//!
//! Everything here is pure: octets and time in, octets and decisions out. Sockets are in `sinks::radius`.
//!
//! * [`packet`] builds and walks packets; [`authenticator`] signs and verifies them;
//! * [`attribute`] fits values and whole lists into what a packet and a server take;
//! * [`client`] decides which server gets a record when, and what its answer means;
//! * [`collector`] is the other side: it verifies, decodes and answers Accounting-Requests.

pub mod attribute;
pub mod authenticator;
pub mod client;
pub mod collector;
pub mod packet;

use std::fmt;

/// Longest shared secret in octets.
pub const SECRET_OCTETS_MAX: usize = 1024;

/// A shared secret. It never shows in `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The secret with these octets.
    #[must_use]
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into().into_boxed_slice())
    }

    /// Its octets, for hashing only.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Attribute numbers this crate acts on, whatever a dictionary says (RFC 2865, 2866, 2869, 5176).
pub mod number {
    /// Vendor-Specific (RFC 2865 §5.26).
    pub const VENDOR_SPECIFIC: u8 = ::radius::core::rfc2865::VENDOR_SPECIFIC_TYPE;
    /// Proxy-State (RFC 2865 §5.33).
    pub const PROXY_STATE: u8 = ::radius::core::rfc2865::PROXY_STATE_TYPE;
    /// Acct-Delay-Time (RFC 2866 §5.2).
    pub const ACCT_DELAY_TIME: u8 = ::radius::core::rfc2866::ACCT_DELAY_TIME_TYPE;
    /// Message-Authenticator (RFC 2869 §5.14).
    pub const MESSAGE_AUTHENTICATOR: u8 = ::radius::core::rfc2869::MESSAGE_AUTHENTICATOR_TYPE;
    /// Error-Cause (RFC 5176 §3.5).
    pub const ERROR_CAUSE: u8 = ::radius::core::rfc3576::ERROR_CAUSE_TYPE;
}
