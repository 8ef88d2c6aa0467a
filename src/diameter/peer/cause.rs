//! Why a connection is not usable.

use std::fmt;

use super::super::result;
use super::settings::Security;

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
    /// The peer refused our capabilities with 5017, for the protection of the connection.
    NoCommonSecurity {
        /// What we offered.
        offered: Security,
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
}

impl Cause {
    /// Whether trying again soon is of no use: an operator has to change something, or the server to let go of us.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, 3010 | 4003 | 5010 | 5012),
            Self::NoCommonSecurity { .. }
            | Self::BadCertificate(_)
            | Self::WrongIdentity { .. }
            | Self::NoCommonApplication
            | Self::NoInbandTls => true,
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
            | Self::Left => false,
        }
    }

    /// Whether an operator should be told: the configuration of one side does not fit the other.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        self.is_refusal() && !self.is_duplicate()
    }

    /// Whether the peer has a connection of our identity already. That passes by itself when it finds the old one dead.
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Refused { code: 4003 | 5012, .. })
    }

    /// Whether the connection broke, or was given up for what came over it or did not.
    #[must_use]
    pub const fn is_break(&self) -> bool {
        matches!(self, Self::Lost | Self::Garbage | Self::BrokenMessage | Self::Watchdog)
    }

    /// One word for each kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoTransport(_) => "no-transport",
            Self::ConnectTimeout => "connect-timeout",
            Self::NoTls(_) => "no-tls",
            Self::BadCertificate(_) => "bad-certificate",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Refused { .. } | Self::NoCommonSecurity { .. } => "refused",
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
                    4003 | 5012 => f.write_str("; it may still hold our previous connection"),
                    _ => Ok(()),
                }
            }
            Self::NoCommonSecurity { offered, text } => {
                f.write_str("the peer refuses us with 5017 DIAMETER_NO_COMMON_SECURITY")?;
                if !text.is_empty() {
                    write!(f, " ({text})")?;
                }
                f.write_str(match offered {
                    Security::Plain => "; it wants TLS, and `serv-type tcp` offers none",
                    Security::Inband => {
                        "; it does not take the TLS after the capabilities that `serv-type tls-inband` offers"
                    }
                    Security::Tls => "; the connection has TLS already, so that its configuration contradicts itself",
                })
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
        }
    }
}
