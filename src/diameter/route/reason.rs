//! Why a record was not delivered, and what an operator should know.

use std::fmt;

use crate::diameter::result;

/// Why a record waits or was parked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No peer is usable.
    NoPeer,
    /// All usable peers have as many requests outstanding as they may have.
    NoRoom,
    /// The connection ended or was given up before the answer came.
    NoAnswer {
        /// Copies sent.
        transmissions: u32,
    },
    /// The message is longer than a peer takes.
    TooLong {
        /// Its octets.
        octets: usize,
        /// The limit.
        max: usize,
    },
    /// The server refused.
    Refused(Refusal),
    /// The route pauses: the server refuses everything.
    Paused {
        /// With this Result-Code.
        code: u32,
    },
    /// The redirect leads to a host that the configuration does not allow, or in a circle.
    BadRedirect {
        /// What the server said.
        hosts: String,
    },
    /// The record waits for the connection to the host that a redirect leads to.
    Redirected {
        /// The host.
        host: String,
    },
    /// We stop.
    Stopping,
    /// The record has no message.
    Empty,
}

/// A negative answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refusal {
    /// Result-Code or Experimental-Result-Code; 0 for none.
    pub code: u32,
    /// Vendor of an Experimental-Result.
    pub vendor: Option<u32>,
    /// Error-Message.
    pub text: String,
    /// Error-Reporting-Host, or Origin-Host of the answer.
    pub by: String,
    /// Members of Failed-AVP, encoded; the shell knows their names.
    pub failed: Vec<u8>,
}

impl Reason {
    /// The Result-Code, 0 for none.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Paused { code } => *code,
            _ => 0,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.vendor) {
            (0, _) => f.write_str("an answer without a result")?,
            (code, Some(vendor)) => write!(f, "result {code} of vendor {vendor}")?,
            (code, None) => {
                write!(f, "{code}")?;
                if let Some(name) = result::name(code) {
                    write!(f, " {name}")?;
                }
            }
        }
        if !self.by.is_empty() {
            write!(f, " from {}", self.by)?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeer => f.write_str("no Diameter peer is usable"),
            Self::NoRoom => f.write_str("all usable peers are busy"),
            Self::NoAnswer { transmissions } => write!(f, "no answer to {transmissions} transmissions"),
            Self::TooLong { octets, max } => write!(f, "the message has {octets} octets, {max} at most"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Paused { code } => write!(f, "the route pauses: everything is refused with {code}"),
            Self::BadRedirect { hosts } => write!(f, "a redirect to {hosts} is not followed"),
            Self::Redirected { host } => write!(f, "waits for the connection to {host}, where a redirect leads"),
            Self::Stopping => f.write_str("the gateway stops"),
            Self::Empty => f.write_str("the record makes no message"),
        }
    }
}

/// What an operator should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Alarm {
    /// An answer that speaks of a mistake in somebody's configuration, or of ours.
    Answer(Refusal),
    /// The route pauses: the last answers were all the same refusal.
    Flood {
        /// The Result-Code.
        code: u32,
    },
    /// The server takes records again.
    FloodOver,
    /// The server asks to refuse service while accounting is down, and the configuration does not obey.
    RealtimeIgnored,
    /// A redirect was not followed.
    Redirect {
        /// Its hosts.
        hosts: String,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(refusal) => write!(f, "it answers {refusal}"),
            Self::Flood { code } => {
                write!(f, "it refuses everything with {code}")?;
                if let Some(name) = result::name(*code) {
                    write!(f, " {name}")?;
                }
                f.write_str("; the route pauses and the records wait")
            }
            Self::FloodOver => f.write_str("it takes records again"),
            Self::RealtimeIgnored => f.write_str(
                "it asks to serve no calls while accounting is down (Accounting-Realtime-Required 1); records are \
                 stored instead, `honour_realtime` obeys",
            ),
            Self::Redirect { hosts } => write!(f, "its redirect to {hosts} is not followed: no such peer is allowed"),
        }
    }
}
