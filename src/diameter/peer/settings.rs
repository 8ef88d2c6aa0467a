//! Settings of a connection to a peer.

use std::time::Duration;

/// Who we are, the same towards all peers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Origin-Host: the full domain name of this node.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// Product-Name. Default `Tollgate`.
    pub product: String,
    /// Vendor-Id; 0: none. Default 0.
    pub vendor: u32,
    /// Supported-Vendor-Id of capabilities; never 0.
    pub supported_vendors: Vec<u32>,
    /// Firmware-Revision; `None`: not sent.
    pub firmware: Option<u32>,
    /// Origin-State-Id; a larger one ends all sessions of a smaller one at the server. `None`: not sent.
    pub origin_state: Option<u32>,
    /// Vendor of a Vendor-Specific-Application-Id { vendor, Acct 3 } beside the plain one; `None`: not sent.
    pub vendor_application: Option<u32>,
}

impl Identity {
    /// A node without vendors.
    #[must_use]
    pub fn new(host: &str, realm: &str) -> Self {
        Self {
            host: host.to_owned(),
            realm: realm.to_owned(),
            product: "Tollgate".to_owned(),
            vendor: 0,
            supported_vendors: Vec::new(),
            firmware: None,
            origin_state: None,
            vendor_application: None,
        }
    }
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Security {
    /// TCP without protection.
    #[default]
    Plain,
    /// TLS from the first octet (RFC 6733 §2.2).
    Tls,
    /// TLS after the exchange of capabilities (RFC 3588 §13.1). A peer that does not agree is left.
    Inband,
}

impl Security {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "tcp",
            Self::Tls => "tls",
            Self::Inband => "tls-inband",
        }
    }

    /// The port it has unless another is given (RFC 6733 §11.4).
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Plain | Self::Inband => 3868,
            Self::Tls => 5658,
        }
    }
}

/// Times of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// Twinit of RFC 3539 §3.4.1. Default 30 s, at least 6 s.
    pub watchdog: Duration,
    /// Longest wait for a TCP connection. Default 5 s.
    pub connect: Duration,
    /// Longest wait for a TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Longest wait for the capabilities of the peer. Default 10 s.
    pub capabilities: Duration,
    /// Longest wait before a connection is tried again (Tc of RFC 6733 §2.1), and the wait after a refusal that only an
    /// operator can end. Default 30 s.
    pub reconnect_max: Duration,
    /// Longest wait for answers when we leave. Default 5 s.
    pub drain: Duration,
    /// Longest wait for the answer to our Disconnect-Peer-Request. Default 5 s.
    pub disconnect: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            watchdog: secs(30),
            connect: secs(5),
            handshake: secs(10),
            capabilities: secs(10),
            reconnect_max: secs(30),
            drain: secs(5),
            disconnect: secs(5),
        }
    }
}

/// The jitter of the watchdog, to both sides (RFC 3539 §3.4.1).
pub const WATCHDOG_JITTER: Duration = Duration::from_secs(2);
/// Watchdogs that must be answered on a new connection before it is used (RFC 3539 §3.4.1).
pub const VALIDATIONS: u8 = 3;
/// Pause between the last of them and the first request: Erlang/OTP loses some of those that come within 10 ms of its
/// capabilities.
pub const SETTLE: Duration = Duration::from_millis(10);
/// Shortest wait before a connection is tried again: a server may still hold the old one.
pub const RECONNECT_MIN: Duration = Duration::from_millis(200);
/// A connection that was usable for this long begins the back-off anew.
pub const STEADY: Duration = Duration::from_secs(60);
/// Wait for answers after a peer's Disconnect-Peer-Request.
pub const GRACE: Duration = Duration::from_secs(1);
/// Shortest time between two tries of a peer that does not want us (Disconnect-Cause 1 and 2).
pub const UNWELCOME: Duration = Duration::from_secs(300);
