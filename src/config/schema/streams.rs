//! `[sip.streams]`, `[[sip.tls]]` and `[sip.tls_client]`: SIP over TCP and TLS.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::decode::{At, OneOrMany};
use crate::units::{Count, Millis, Secs};

/// `[sip.streams]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamsTable {
    /// Connections others have opened.
    pub connections_max: Option<Count<1, 1_000_000>>,
    /// Connections one source address has opened.
    pub connections_per_source_max: Option<At<Count<1, 1_000_000>>>,
    /// Silence after which a connection is closed.
    pub idle_s: Option<Secs<1, 86_400>>,
    /// Longest time from the first octet of a message to its last.
    pub message_ms: Option<Millis<100, 300_000>>,
    /// Longest TLS handshake of a connection that came in.
    pub handshake_ms: Option<Millis<100, 60_000>>,
    /// Longest time until a connection of the gateway stands.
    pub connect_ms: Option<Millis<100, 30_000>>,
    /// Octets of a head.
    pub head_bytes_max: Option<Count<512, 65_535>>,
    /// Header lines of one message at most; one with more is refused with 513.
    pub header_lines_max: Option<Count<16, 512>>,
    /// Octets of a body.
    pub body_bytes_max: Option<Count<0, 65_535>>,
    /// Octets that wait for a peer that does not read.
    pub backlog_bytes_max: Option<Count<65_536, 1_073_741_824>>,
}

/// `[[sip.tls]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsTable {
    /// The listeners it is for, as in `sip.listen`; none: all that have no other.
    pub listen: Option<OneOrMany<At<String>>>,
    /// Certificates with their keys; the client's server name chooses, else the first.
    pub certificates: Vec<At<CertificateTable>>,
    /// Whether clients show a certificate.
    pub client_certificate: Option<At<ClientCertificate>>,
    /// PEM file of the authorities that sign client certificates.
    pub client_ca: Option<At<PathBuf>>,
}

/// One certificate of `[[sip.tls]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateTable {
    /// PEM file of the chain, the own certificate first.
    pub certificate: At<PathBuf>,
    /// PEM file of the private key.
    pub key: At<PathBuf>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    None,
    /// It is asked for; one that is shown must be good.
    Optional,
    /// Who shows none is turned away.
    Required,
}

/// `[sip.tls_client]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsClientTable {
    /// `system`, or a PEM file of the authorities that targets' certificates must be signed by.
    pub ca: Option<At<String>>,
    /// PEM file of the chain that is shown to targets that ask; empty: none.
    pub certificate: Option<At<PathBuf>>,
    /// PEM file of its key.
    pub key: Option<At<PathBuf>>,
}
