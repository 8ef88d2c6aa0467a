//! RADIUS accounting (RFC 2866): packets, authenticators, attribute limits, and the client as a machine.
//!
//! Everything here is pure: octets and time in, octets and decisions out. Sockets are in `sinks::radius`.
//!
//! * [`packet`] builds and walks packets; [`authenticator`] signs and verifies them;
//! * [`attribute`] fits values and whole lists into what a packet and a server take;
//! * [`frame`] finds packets in a stream;
//! * [`client`] decides which server gets a record when, and what its answer means;
//! * [`collector`] is the other side: it verifies, decodes and answers Accounting-Requests.

pub mod attribute;
pub mod authenticator;
pub mod client;
pub(crate) mod collector;
pub(crate) mod frame;
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

/// Attribute numbers that are used whatever a dictionary says (RFC 2865, 2866, 2869, 3162, 5176).
pub mod number {
    use ::radius::core::{rfc2865, rfc2866, rfc2869, rfc3162, rfc3576};

    /// User-Name (RFC 2865 §5.1).
    pub const USER_NAME: u8 = rfc2865::USER_NAME_TYPE;
    /// NAS-IP-Address (RFC 2865 §5.4).
    pub const NAS_IP_ADDRESS: u8 = rfc2865::NAS_IP_ADDRESS_TYPE;
    /// NAS-Port (RFC 2865 §5.5).
    pub const NAS_PORT: u8 = rfc2865::NAS_PORT_TYPE;
    /// Service-Type (RFC 2865 §5.6).
    pub const SERVICE_TYPE: u8 = rfc2865::SERVICE_TYPE_TYPE;
    /// NAS-Identifier (RFC 2865 §5.32).
    pub const NAS_IDENTIFIER: u8 = rfc2865::NAS_IDENTIFIER_TYPE;
    /// Proxy-State (RFC 2865 §5.33).
    pub const PROXY_STATE: u8 = rfc2865::PROXY_STATE_TYPE;
    /// Acct-Status-Type (RFC 2866 §5.1).
    pub const ACCT_STATUS_TYPE: u8 = rfc2866::ACCT_STATUS_TYPE_TYPE;
    /// Acct-Delay-Time (RFC 2866 §5.2).
    pub const ACCT_DELAY_TIME: u8 = rfc2866::ACCT_DELAY_TIME_TYPE;
    /// Acct-Session-Id (RFC 2866 §5.5).
    pub const ACCT_SESSION_ID: u8 = rfc2866::ACCT_SESSION_ID_TYPE;
    /// Acct-Session-Time (RFC 2866 §5.7).
    pub const ACCT_SESSION_TIME: u8 = rfc2866::ACCT_SESSION_TIME_TYPE;
    /// Acct-Terminate-Cause (RFC 2866 §5.10).
    pub const ACCT_TERMINATE_CAUSE: u8 = rfc2866::ACCT_TERMINATE_CAUSE_TYPE;
    /// Acct-Multi-Session-Id (RFC 2866 §5.11).
    pub const ACCT_MULTI_SESSION_ID: u8 = rfc2866::ACCT_MULTI_SESSION_ID_TYPE;
    /// Event-Timestamp (RFC 2869 §5.3).
    pub const EVENT_TIMESTAMP: u8 = rfc2869::EVENT_TIMESTAMP_TYPE;
    /// NAS-Port-Type (RFC 2865 §5.41).
    pub const NAS_PORT_TYPE: u8 = rfc2865::NAS_PORT_TYPE_TYPE;
    /// Message-Authenticator (RFC 2869 §5.14).
    pub const MESSAGE_AUTHENTICATOR: u8 = rfc2869::MESSAGE_AUTHENTICATOR_TYPE;
    /// NAS-IPv6-Address (RFC 3162 §2.1).
    pub const NAS_IPV6_ADDRESS: u8 = rfc3162::NAS_IPV6_ADDRESS_TYPE;
    /// Error-Cause (RFC 5176 §3.5).
    pub const ERROR_CAUSE: u8 = rfc3576::ERROR_CAUSE_TYPE;
}
