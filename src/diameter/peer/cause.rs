//! Why a connection is not usable.

use std::fmt;

use super::super::result;

/// Why a connection was not made, or ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The transport could not be had; with the system's words.
    NoTransport(String),
    /// It was not there in time.
    ConnectTimeout,
    /// The TLS handshake failed; with the library's words.
    NoTls(String),
    /// The peer's certificate is not one for its name, or not signed by one we trust.
    BadCertificate(String),
    /// The handshake took too long.
    HandshakeTimeout,
    /// The peer refused our capabilities.
    Refused {
        /// Its Result-Code; 0 for none.
        code: u32,
        /// Its Error-Message.
        text: String,
    },
    /// The peer is another one than configured.
    WrongIdentity {
        /// What it calls itself.
        found: String,
    },
    /// The peer has no accounting application and is no relay (RFC 6733 §5.3).
    NoCommonApplication,
    /// The peer did not agree to TLS.
    NoInbandTls,
    /// The peer said nothing about its capabilities in time.
    CapabilitiesTimeout,
    /// It said something else first.
    Unexpected,
    /// It closed instead of telling its capabilities.
    ClosedEarly,
    /// It did not answer its watchdogs.
    Watchdog,
    /// The connection broke.
    Lost,
    /// What came is no Diameter, or too long.
    Garbage,
    /// A message with broken AVPs.
    BrokenMessage,
    /// The peer asked us to leave (RFC 6733 §5.4.3): 0 rebooting, 1 busy, 2 does not want to talk to us.
    Dismissed {
        /// Disconnect-Cause.
        cause: u32,
    },
    /// We left.
    Left,
    /// It is not needed any more: the redirect that led to it is over.
    Idle,
}

impl Cause {
    /// Whether trying again soon is of no use: an operator has to change something, or the server to let go of us.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, 3010 | 5010 | 5012 | 5017),
            Self::BadCertificate(_) | Self::WrongIdentity { .. } | Self::NoCommonApplication | Self::NoInbandTls => {
                true
            }
            Self::NoTransport(_)
            | Self::ConnectTimeout
            | Self::NoTls(_)
            | Self::HandshakeTimeout
            | Self::CapabilitiesTimeout
            | Self::Unexpected
            | Self::ClosedEarly
            | Self::Watchdog
            | Self::Lost
            | Self::Garbage
            | Self::BrokenMessage
            | Self::Dismissed { .. }
            | Self::Left
            | Self::Idle => false,
        }
    }

    /// Whether an operator should be told: the configuration of one side does not fit the other.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        // 5012 passes by itself when the server's watchdog finds our old connection dead.
        self.is_refusal() && !matches!(self, Self::Refused { code: 5012, .. })
    }

    /// Whether the connection broke, or was given up for what came over it or did not.
    #[must_use]
    pub const fn is_break(&self) -> bool {
        matches!(self, Self::Lost | Self::Garbage | Self::BrokenMessage | Self::Watchdog)
    }

    /// One word for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoTransport(_) => "no-transport",
            Self::ConnectTimeout => "connect-timeout",
            Self::NoTls(_) => "no-tls",
            Self::BadCertificate(_) => "bad-certificate",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Refused { .. } => "refused",
            Self::WrongIdentity { .. } => "wrong-identity",
            Self::NoCommonApplication => "no-common-application",
            Self::NoInbandTls => "no-inband-tls",
            Self::CapabilitiesTimeout => "capabilities-timeout",
            Self::Unexpected => "unexpected-message",
            Self::ClosedEarly => "closed-early",
            Self::Watchdog => "watchdog",
            Self::Lost => "lost",
            Self::Garbage => "garbage",
            Self::BrokenMessage => "broken-message",
            Self::Dismissed { .. } => "dismissed",
            Self::Left => "left",
            Self::Idle => "idle",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTransport(why) => write!(f, "cannot connect: {why}"),
            Self::ConnectTimeout => f.write_str("cannot connect: no answer in time"),
            Self::NoTls(why) => write!(f, "the TLS handshake failed: {why}"),
            Self::BadCertificate(why) => write!(f, "the peer's certificate is not accepted: {why}"),
            Self::HandshakeTimeout => f.write_str("the TLS handshake took too long"),
            Self::Refused { code: 0, .. } => f.write_str("the peer's capabilities answer has no result"),
            Self::Refused { code, text } => {
                write!(f, "the peer refuses us with {code}")?;
                if let Some(name) = result::name(*code) {
                    write!(f, " {name}")?;
                }
                if !text.is_empty() {
                    write!(f, " ({text})")?;
                }
                match code {
                    3010 => f.write_str("; add our identity to its list of peers"),
                    5010 => f.write_str("; it has no accounting application"),
                    5012 => f.write_str("; it may still hold our previous connection"),
                    5017 => f.write_str("; it wants TLS"),
                    _ => Ok(()),
                }
            }
            Self::WrongIdentity { found } => {
                write!(f, "the peer calls itself `{found}`, which is not what is configured")
            }
            Self::NoCommonApplication => f.write_str("the peer has neither an accounting nor a relay application"),
            Self::NoInbandTls => f.write_str("the peer does not agree to TLS after the capabilities"),
            Self::CapabilitiesTimeout => f.write_str("the peer tells no capabilities in time"),
            Self::Unexpected => f.write_str("the peer sent something else than its capabilities"),
            Self::ClosedEarly => f.write_str("the peer closed instead of telling its capabilities"),
            Self::Watchdog => f.write_str("the peer does not answer its watchdog"),
            Self::Lost => f.write_str("the connection broke"),
            Self::Garbage => f.write_str("the peer sent what is no Diameter message, or a too long one"),
            Self::BrokenMessage => f.write_str("the peer sent a message with broken AVPs"),
            Self::Dismissed { cause: 0 } => f.write_str("the peer restarts"),
            Self::Dismissed { cause: 1 } => f.write_str("the peer is busy and asked us to leave"),
            Self::Dismissed { cause } => write!(f, "the peer asked us to leave (cause {cause})"),
            Self::Left => f.write_str("we left"),
            Self::Idle => f.write_str("not needed any more"),
        }
    }
}
