//! Why a record was not delivered, and what an operator should know.

use std::fmt;

use super::Kind;
use crate::diameter::result;

/// What a server does to records that it does not take.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Complaint {
    /// It answers with this Result-Code.
    Result(u32),
    /// The connection breaks.
    Break,
}

impl Complaint {
    /// Whether many in a row speak of the server and not of the records: permanent failures, the class that a lost
    /// dictionary or a wrong licence gives, and breaks.
    #[must_use]
    pub const fn makes_flood(self) -> bool {
        match self {
            Self::Result(code) => code / 1000 == 5,
            Self::Break => true,
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result(code) => {
                write!(f, "{code}")?;
                result::name(*code).map_or(Ok(()), |name| write!(f, " {name}"))
            }
            Self::Break => f.write_str("a break of the connection"),
        }
    }
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No configured peer, and no host that `redirect-hosts` allows.
    NotAllowed,
    /// It leads back, or too far.
    Circle,
    /// The host cannot be reached, with the reason.
    Unreachable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("no such peer is allowed; `redirect-hosts` allows further ones"),
            Self::Circle => f.write_str("the redirects form a loop, or there are too many of them"),
            Self::Unreachable(why) => write!(f, "{why}"),
        }
    }
}

/// Why a record waits or was parked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No peer is usable.
    NoPeer,
    /// All usable peers have as many requests outstanding as they may have.
    NoRoom,
    /// No answer came in time, while other records were answered.
    NoAnswer {
        /// Copies sent.
        transmissions: u32,
    },
    /// No answer came in time, to this record or any other one since it was sent.
    Silence {
        /// Copies sent.
        transmissions: u32,
    },
    /// The connection ended or was given up before the answer came.
    Broke {
        /// Copies sent.
        transmissions: u32,
    },
    /// The connection broke each time that this record alone waited for its answer.
    Breaks {
        /// So many times in a row.
        times: u32,
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
    /// The route pauses: the server takes nothing.
    Paused {
        /// What everything meets with.
        by: Complaint,
    },
    /// The redirect leads to a host that the configuration does not allow, or in a circle.
    BadRedirect {
        /// What the server said.
        hosts: String,
        /// Why not.
        fault: Fault,
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
            Self::Paused { by: Complaint::Result(code) } => *code,
            _ => 0,
        }
    }

    /// Whether the visit says something about this very record, so that it counts as a try of it. What other records
    /// met with as well, or a break that another record may have made, does not.
    #[must_use]
    pub const fn is_try(&self) -> bool {
        match self {
            Self::NoAnswer { .. }
            | Self::Breaks { .. }
            | Self::TooLong { .. }
            | Self::Refused(_)
            | Self::BadRedirect { .. }
            | Self::Empty => true,
            Self::NoPeer
            | Self::NoRoom
            | Self::Silence { .. }
            | Self::Broke { .. }
            | Self::Paused { .. }
            | Self::Redirected { .. }
            | Self::Stopping => false,
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
            Self::NoAnswer { transmissions } => {
                write!(f, "no answer to {transmissions} transmissions, while other records were answered")
            }
            Self::Silence { transmissions } => {
                write!(f, "no answer to {transmissions} transmissions, nor to any other record meanwhile")
            }
            Self::Broke { transmissions } => {
                write!(f, "the connection ended before the answer came ({transmissions} transmissions)")
            }
            Self::Breaks { times } => write!(
                f,
                "the connection breaks whenever it is sent: {times} times in a row while no other record was waiting \
                 for an answer"
            ),
            Self::TooLong { octets, max } => write!(f, "the message has {octets} octets, {max} at most"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Paused { by } => write!(f, "the route is paused: every record is answered with {by}"),
            Self::BadRedirect { hosts, fault } => write!(f, "a redirect to {hosts} is not followed: {fault}"),
            Self::Redirected { host } => write!(f, "waits for the connection to {host}, where a redirect leads"),
            Self::Stopping => f.write_str("the gateway stops"),
            Self::Empty => f.write_str("the record cannot be turned into a message"),
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
        /// What they all meet with.
        by: Complaint,
    },
    /// The last records of one kind met all with the same and were parked, while others are taken.
    Kind {
        /// The kind.
        kind: Kind,
        /// What they all meet with.
        by: Complaint,
    },
    /// Records of that kind are taken again.
    KindOver {
        /// The kind.
        kind: Kind,
    },
    /// The server takes records again.
    FloodOver,
    /// It answers its watchdogs, but no request: others are preferred, and it gets single records.
    Silent,
    /// It answers requests again.
    SilentOver,
    /// The server asks to refuse service while accounting is down, and the configuration does not obey.
    RealtimeIgnored,
    /// A redirect was not followed.
    Redirect {
        /// Its hosts.
        hosts: String,
        /// Why not.
        fault: Fault,
    },
}

impl Alarm {
    /// Whether it says that an earlier one is over.
    #[must_use]
    pub const fn is_all_clear(&self) -> bool {
        matches!(self, Self::FloodOver | Self::KindOver { .. } | Self::SilentOver)
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(refusal) => write!(f, "it answers {refusal}"),
            Self::Flood { by } => write!(f, "every record meets with {by}; the route pauses and the records wait"),
            Self::Kind { kind, by } => {
                write!(f, "every record of kind {} meets with {by} and is parked, while others are taken", kind.0)
            }
            Self::KindOver { kind } => write!(f, "it takes records of kind {} again", kind.0),
            Self::Silent => f.write_str(
                "it answers its watchdogs, but no request: other peers are preferred, and it gets single records until \
                 it has answered one",
            ),
            Self::SilentOver => f.write_str("it answers requests again"),
            Self::FloodOver => f.write_str("it takes records again"),
            Self::RealtimeIgnored => f.write_str(
                "it asks to serve no calls while accounting is down (Accounting-Realtime-Required 1); records are \
                 stored instead, `honour-realtime` obeys",
            ),
            Self::Redirect { hosts, fault } => write!(f, "its redirect to {hosts} is not followed: {fault}"),
        }
    }
}
