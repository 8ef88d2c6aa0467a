//! Diameter accounting (RFC 6733): messages, AVPs, and what is done with them, without sockets.
//!
//! * [`header`] reads, writes and patches the message header; [`avp`] walks and writes AVPs without allocation;
//! * [`code`] and [`result`] name the numbers of the base protocol;
//! * [`print`](mod@print) shows messages as text and JSON;
//! * [`message`] builds and reads what peers say to each other; [`peer`] is one connection, [`route`] all of a sink.
//!
//! The writer is our own and not that of the crate `diameter`: that crate links OpenSSL through native-tls whatever its
//! features, so that a machine without OpenSSL's headers could not build Tollgate, and it allocates for each AVP.

pub mod avp;
pub mod code;
pub mod header;
pub mod message;
pub mod peer;
pub mod print;
pub mod result;
pub mod route;

/// Applications (RFC 6733 §2.4).
pub mod application {
    /// The common messages: CER, DWR, DPR.
    pub const BASE: u32 = 0;
    /// Base accounting (RFC 6733 §9).
    pub const ACCOUNTING: u32 = 3;
    /// A relay takes everything; only advertised.
    pub const RELAY: u32 = 0xFFFF_FFFF;
}

/// Vendor number of 3GPP.
pub const VENDOR_3GPP: u32 = 10_415;
