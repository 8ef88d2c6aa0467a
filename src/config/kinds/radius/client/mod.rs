//! Configuration files of the radiusclient family: radiusclient-ng, freeradius-client and radcli.
//!
//! A file that loads in any of the three loads here, with their silent mistakes as warnings, and what none of them
//! would refuse but cannot be meant as errors: all at once, with file and line. Differences:
//!
//! * blanks before a keyword, lines of blanks, a last line without newline, CRLF and a byte-order mark are fine;
//! * `acctserver` is required, `authserver` and `dictionary` are not;
//! * relative paths start at the folder of the file that names them;
//! * `radius_timeout` and `radius_retries` have defaults;
//! * a server without a secret is found at once, not at the first request; it is a warning, because the samples that the
//!   libraries ship have none.

mod format;
mod keys;
mod lines;
mod reader;
mod servers;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use format::RadiusClientFormat;
pub use servers::{Host, SECRET_OCTETS_MIN, Server};

use crate::config::error::{Mistake, Mistakes};
use crate::config::keyword_file::{self, unreadable};
use crate::config::keywords::Keywords;
use crate::net::socket::SourceAddress;
use crate::net::tls::Tls;

/// Port of RADIUS accounting (RFC 2866 §3).
pub const ACCT_PORT: u16 = 1813;

/// Port of RADIUS over TLS (RFC 6614 §2.1).
pub const TLS_PORT: u16 = 2083;

/// What is done about a keyword nobody knows.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// It is an error, as in the libraries.
    #[default]
    Refuse,
    /// It is a warning.
    Warn,
}

/// How packets travel, as `serv-type` says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// Datagrams, sent again until a response comes (RFC 2866).
    #[default]
    Udp,
    /// A plain stream (RFC 6613).
    Tcp,
    /// TLS over TCP; a server without a secret of its own has `radsec` (RFC 6614).
    Tls,
}

/// One radiusclient.conf with the secrets of its servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RadiusClient {
    /// The file it was read from, for messages.
    pub path: PathBuf,
    /// Accounting servers that have a secret, in order of preference; one without is left out with a warning.
    pub acct_servers: Vec<Server>,
    /// Transport for all servers. Default UDP.
    pub transport: Transport,
    /// Wait for one answer, whole seconds. Default 10 s.
    pub timeout: Duration,
    /// Retransmissions to one server: one datagram more goes out. Default 3.
    pub retries: u32,
    /// How long a server that timed out is skipped, whole seconds; zero leaves it to the sink. Default zero.
    pub deadtime: Duration,
    /// Local address of the sockets; `None` leaves it to the kernel.
    pub bindaddr: Option<IpAddr>,
    /// NAS-Identifier, at most 253 octets; replaces any other.
    pub nas_identifier: Option<String>,
    /// NAS-IP-Address or NAS-IPv6-Address; replaces any other.
    pub nas_ip: Option<IpAddr>,
    /// Dictionary, read after the built-in one.
    pub dictionary: Option<PathBuf>,
    /// Realm for a User-Name without `@`.
    pub default_realm: Option<String>,
    /// Certificate, key and authorities for `serv-type tls`.
    pub tls: Tls,
    /// Linux network namespace of the sockets.
    pub namespace: Option<String>,
    /// Source address choice. Default the kernel's.
    pub source: SourceAddress,
    /// Library debug level; above 0 the RADIUS module logs at debug level.
    pub debug: u32,
    /// Keywords that were accepted without effect, each once, in order.
    pub ignored: Vec<&'static str>,
    /// Where what it says stands.
    pub keywords: Keywords,
    /// What the operator should know.
    pub warnings: Vec<Mistake>,
}

/// What the operating system is asked for.
pub trait Surroundings {
    /// The octets of a file, and whether users other than owner and group may read it.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&mut self, path: &Path) -> io::Result<(Vec<u8>, Readers)>;

    /// The addresses of a name; none when it has none.
    fn resolve(&mut self, name: &str) -> Vec<IpAddr>;
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Its owner and group.
    Few,
    /// Every user of the machine.
    All,
}

/// The operating system itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn read(&mut self, path: &Path) -> io::Result<(Vec<u8>, Readers)> {
        let (text, about) = keyword_file::read(path)?;
        Ok((text, if about.mode() & 0o004 == 0 { Readers::Few } else { Readers::All }))
    }

    fn resolve(&mut self, name: &str) -> Vec<IpAddr> {
        (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
    }
}

/// Reads a radiusclient.conf and its servers file.
///
/// Names are looked up only where a secret cannot be found without, and for `bindaddr`.
///
/// # Errors
/// All mistakes of both files, warnings too, when one of them is an error.
pub fn load(path: &Path, unknown: Unknown, surroundings: &mut dyn Surroundings) -> Result<RadiusClient, Mistakes> {
    match surroundings.read(path) {
        Ok((text, readers)) => reader::read(path, &text, readers, unknown, surroundings),
        Err(error) => Err(unreadable(path, &error)),
    }
}
