//! Why a record was not delivered, and what is wrong with a server, in words for the operator.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::packet::Code;
use super::answer::cause_name;
use super::suspect::Suspect;
use crate::clock::Timestamp;

/// Why a record was not delivered. Its text is stored with the record.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// No answer, and nothing else came from the server meanwhile.
    #[error("{server} did not answer {transmissions} transmissions, nor anything else meanwhile")]
    Silent {
        /// The last server visited.
        server: SocketAddr,
        /// Datagrams sent to it.
        transmissions: u32,
    },
    /// No answer, and the server has never answered anything.
    #[error(
        "{server} has never answered: not running, its client list lacks this host, or the secrets differ \
         ({transmissions} transmissions)"
    )]
    NeverHeard {
        /// The last server visited.
        server: SocketAddr,
        /// Datagrams sent to it.
        transmissions: u32,
    },
    /// No answer to this record, while the server acknowledged others.
    #[error(
        "{server} acknowledged other records, the last one {at}, but not this one ({transmissions} transmissions, visit \
         {charges}): {}",
        suspected(*.suspect)
    )]
    Ignored {
        /// The last server visited.
        server: SocketAddr,
        /// Datagrams sent to it.
        transmissions: u32,
        /// Failed visits of the record that count.
        charges: u32,
        /// When it acknowledged another record last.
        at: Timestamp,
        /// What it may fail for.
        suspect: Option<Suspect>,
    },
    /// No answer to any record, while the server answered Status-Server.
    #[error(
        "{server} answers Status-Server, but no record: what is behind it may be down ({transmissions} transmissions of \
         this one)"
    )]
    ProbesOnly {
        /// The last server visited.
        server: SocketAddr,
        /// Datagrams sent to it.
        transmissions: u32,
    },
    /// No answer to this record or another with a User-Name, while the server acknowledged some without.
    #[error(
        "{server} acknowledged only records without User-Name, as some proxies do by themselves, and not this one, which \
         has one: what is behind it may be down ({transmissions} transmissions)"
    )]
    NamelessOnly {
        /// The last server visited.
        server: SocketAddr,
        /// Datagrams sent to it.
        transmissions: u32,
    },
    /// A negative answer.
    #[error("{server} refused the record with Error-Cause {cause} ({})", cause_name(*.cause))]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Error-Cause, 0 for none.
        cause: u32,
    },
    /// An authentic answer of a wrong code.
    #[error("{server} answered with {code} instead of Accounting-Response: is it an authentication port?")]
    WrongCode {
        /// The server.
        server: SocketAddr,
        /// Its code.
        code: Code,
    },
    /// The host or the network said that nobody listens.
    #[error("nobody listens at {server}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
    },
    /// There was no connection to send it on.
    #[error("no connection to {server}: {why}")]
    NoConnection {
        /// The last server visited.
        server: SocketAddr,
        /// How the last connection failed or ended.
        why: Arc<str>,
    },
    /// The connection was lost before the answer, and so was the next one.
    #[error("the connection to {server} was lost before the answer: {why}")]
    ConnectionLost {
        /// The last server visited.
        server: SocketAddr,
        /// How it ended.
        why: Arc<str>,
    },
    /// Its connections break, with nothing else under way, while the server acknowledges others.
    #[error(
        "the connection to {server} breaks whenever it is sent, {breaks} times so far with nothing else under way, while \
         other records are acknowledged, the last one {at}: {why}"
    )]
    BreaksConnection {
        /// The last server visited.
        server: SocketAddr,
        /// Such breaks that count.
        breaks: u32,
        /// When it acknowledged another record last.
        at: Timestamp,
        /// How the connection ended.
        why: Arc<str>,
    },
    /// The answer on a connection was malformed or could not be verified.
    #[error("{server} sent an answer to the record that is malformed or cannot be verified")]
    Unusable {
        /// The server.
        server: SocketAddr,
    },
    /// The server takes connections and has never answered anything.
    #[error(
        "{server} takes connections but has never answered: its client list lacks this host, or the secrets differ"
    )]
    Mute {
        /// The last server visited.
        server: SocketAddr,
    },
    /// No server lives.
    #[error("no server is alive")]
    NoServer,
    /// More records were submitted than capacity said.
    #[error("all identifiers and the window are taken")]
    NoRoom,
    /// The packet would exceed 4096 octets.
    #[error("{octets} octets do not fit into a packet of 4096")]
    TooLong {
        /// Octets it would have.
        octets: usize,
    },
}

fn suspected(suspect: Option<Suspect>) -> String {
    match suspect {
        Some(suspect) => suspect.to_string(),
        None => "it cannot store it, see the server's log".to_owned(),
    }
}

impl Reason {
    /// Whether it says something about the record: the visit counts as a try of it.
    #[must_use]
    pub const fn is_about_record(&self) -> bool {
        match self {
            Self::Silent { .. }
            | Self::NeverHeard { .. }
            | Self::Ignored { .. }
            | Self::ProbesOnly { .. }
            | Self::NamelessOnly { .. }
            | Self::Refused { .. }
            | Self::WrongCode { .. }
            | Self::BreaksConnection { .. }
            | Self::Unusable { .. }
            | Self::Mute { .. }
            | Self::TooLong { .. } => true,
            Self::Unreachable { .. }
            | Self::NoConnection { .. }
            | Self::ConnectionLost { .. }
            | Self::NoServer
            | Self::NoRoom => false,
        }
    }

    /// Number for the queue's list of parked records: the Error-Cause, or 0.
    #[must_use]
    pub const fn code(&self) -> u32 {
        if let Self::Refused { cause, .. } = self { *cause } else { 0 }
    }
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Alarm {
    /// It answers requests with a code that is no accounting.
    #[error("answers accounting with {code}: is it an authentication port?")]
    WrongCode {
        /// That code.
        code: Code,
    },
    /// Answers come, but none is authentic.
    #[error("answers cannot be verified: the secrets differ, or somebody forges answers")]
    SecretMismatch,
    /// It takes connections and never answered on any.
    #[error("takes connections but answers nothing: the secrets differ, or its client list lacks this host")]
    Mute,
    /// It says that it does no accounting (RFC 6614 §2.5) and has never taken a record.
    #[error("does no accounting (Error-Cause 406); not used until the configuration is read again")]
    RefusesAccounting,
}
