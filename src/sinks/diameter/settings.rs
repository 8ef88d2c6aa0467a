//! Settings of a Diameter client: who it is, its peers, its timers, and how records are rendered.
//!
//! Plain data; `diameterclient.conf` and `[sinks.diameter.NAME]` fill it in.

use std::net::IpAddr;
use std::time::Duration;

use super::acr;
use crate::diameter::peer::Security;
use crate::net::tls::Tls;

/// Octets of a message at most, as freeDiameter takes them.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// One peer that is connected to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// Name or address to connect to; without brackets.
    pub host: String,
    /// Port to connect to (RFC 6733 §2.1 registers 3868, and 5658 for TLS).
    pub port: u16,
    /// DiameterIdentity it has to answer with, and the name its certificate is checked for. Default: `host`, unless
    /// that is an address: then any identity is taken.
    pub identity: Option<String>,
    /// Lower ones are preferred. Default: its place in the file, from 0.
    pub priority: u16,
    /// Share of the records among peers of one priority, 1 to 1000. Default 1.
    pub weight: u16,
    /// Destination-Realms whose records it takes; empty: all. Default all.
    pub realms: Vec<String>,
}

/// Who we are (RFC 6733 §5.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Origin-Host of CER, DWR and DPR: our DiameterIdentity.
    pub identity: String,
    /// Origin-Realm of the same.
    pub realm: String,
    /// Product-Name. Default `Tollgate`.
    pub product: String,
    /// Vendor-Id of CER, our number as a vendor; 0 is none. Default 0.
    pub vendor_id: u32,
    /// Firmware-Revision. Default none.
    pub firmware: Option<u32>,
    /// Origin-State-Id; a larger one ends all sessions of a smaller one at the server. Default none.
    pub origin_state: Option<u32>,
    /// Whether CER also has a Vendor-Specific-Application-Id of 3GPP and accounting. Default: no.
    pub vendor_application: VendorApplication,
}

/// Whether a Vendor-Specific-Application-Id of 3GPP is advertised besides Acct-Application-Id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VendorApplication {
    /// It is not.
    #[default]
    Omit,
    /// It is: some charging systems look only there.
    Advertise,
}

/// What an Accounting-Realtime-Required of DELIVER_AND_GRANT does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Realtime {
    /// It is told in the log; records are stored and delivered later.
    #[default]
    Ignore,
    /// New calls are refused while no peer is up.
    Honour,
}

/// Spans of the peer machines and the delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timers {
    /// Twinit of the watchdog (RFC 3539 §3.4.1), 6 s or more. Default 30 s.
    pub watchdog: Duration,
    /// Longest wait for a connection. Default 5 s.
    pub connect: Duration,
    /// Longest wait for a TLS handshake, and for a CEA. Default 10 s.
    pub capabilities: Duration,
    /// Longest wait for an answer before a copy goes elsewhere. Default 10 s.
    pub request: Duration,
    /// Longest wait for outstanding answers when stopping. Default 5 s.
    pub drain: Duration,
    /// A better peer has to be up for so long before new records go there again. Default 10 s.
    pub failback: Duration,
    /// First wait of what is to be tried later. Default 1 s.
    pub retry_first: Duration,
    /// Longest wait of what is to be tried later; the wait doubles up to it. Default 60 s.
    pub retry_max: Duration,
    /// How long records wait that meet an unserved realm or application, before they are parked. Default 1 h.
    pub retry_config_errors: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            watchdog: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            capabilities: Duration::from_secs(10),
            request: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            failback: Duration::from_secs(10),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            retry_config_errors: Duration::from_secs(3600),
        }
    }
}

/// Settings of a Diameter client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Who we are.
    pub node: Node,
    /// Peers, in the order of the file; at least one.
    pub peers: Vec<PeerSettings>,
    /// How the connections to all peers are protected. Default: they are not.
    pub transport: Security,
    /// Certificate, key and authorities, where `transport` asks for TLS.
    pub tls: Tls,
    /// Local address of the sockets. Default: the kernel's choice.
    pub bind: Option<IpAddr>,
    /// Watchdog, time-outs and the pauses between attempts.
    pub timers: Timers,
    /// Outstanding requests of one connection at most. Default 256.
    pub window: usize,
    /// Octets of a message at most, sent and received. Default 65 535.
    pub message_octets_max: usize,
    /// Answers UNABLE_TO_COMPLY (5012) after which a record is parked. Default 5.
    pub unable_max: u32,
    /// Breaks of a connection in a row, each while a record alone waited for its answer, after which it is parked.
    /// Default 3.
    pub breaks_max: u32,
    /// Equal permanent failures in a row after which the route is paused instead of parking more. Default 20.
    pub pause_after: u32,
    /// Hosts a redirect may lead to besides the peers: names, or `*.` and a domain. Default none.
    pub redirect_hosts: Vec<String>,
    /// What DELIVER_AND_GRANT does. Default: ignored.
    pub realtime: Realtime,
    /// How records become ACRs.
    pub accounting: acr::Settings,
}

impl Settings {
    /// The defaults for a node and the realm its records go to; without peers.
    #[must_use]
    pub fn new(identity: &str, realm: &str, destination_realm: &str) -> Self {
        Self {
            node: Node {
                identity: identity.to_owned(),
                realm: realm.to_owned(),
                product: "Tollgate".to_owned(),
                vendor_id: 0,
                firmware: None,
                origin_state: None,
                vendor_application: VendorApplication::default(),
            },
            peers: Vec::new(),
            transport: Security::default(),
            tls: Tls::default(),
            bind: None,
            timers: Timers::default(),
            window: 256,
            message_octets_max: MESSAGE_OCTETS_MAX,
            unable_max: 5,
            breaks_max: 3,
            pause_after: 20,
            redirect_hosts: Vec::new(),
            realtime: Realtime::default(),
            accounting: acr::Settings::new(identity, realm, destination_realm),
        }
    }
}
