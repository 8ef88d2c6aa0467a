//! Settings of the client.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::super::Secret;
use super::lane::ABANDONED_HOLD;

/// Connections to one server at most: FreeRADIUS as packaged admits 16 from one client, other hosts behind the same
/// address included.
pub const STREAM_LANES_MAX: u16 = 8;

/// How Acct-Delay-Time (RFC 2866 §5.2) is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum DelayTime {
    /// Computed for each visit, the same in its retransmissions.
    #[default]
    Cycle,
    /// Not sent.
    Never,
    /// Computed for each datagram, which then has its own identifier.
    Always,
}

/// Whether requests carry a Message-Authenticator (RFC 2869 §5.14).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MessageAuthenticator {
    /// They do not: many servers do not know it in accounting.
    #[default]
    Omit,
    /// They do.
    Send,
}

/// Whether silent servers are asked with Status-Server (RFC 5997).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Probing {
    /// While a server is suspect or dead, unless it answers records but never a probe.
    #[default]
    Auto,
    /// Never; a dead server is tried again after the revival time.
    Never,
}

/// What carries packets to the servers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// Datagrams: packets are sent again until an answer comes (RFC 5080 §2.2.1).
    #[default]
    Datagram,
    /// Connections, TCP or TLS: a packet is sent once, a watchdog looks after each connection (RFC 6613 §2.6).
    Stream,
}

/// Whether connections that nobody needs are kept open.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Idle {
    /// The server may close them; the next record opens one.
    #[default]
    MayClose,
    /// The watchdog goes on: a Status-Server for each period without an answer.
    KeptAlive,
}

/// Which server gets a record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The first that lives.
    #[default]
    Failover,
    /// By call, so that all records of a call go to one; the next that lives when it does not.
    ByCall,
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerSettings {
    /// Where it listens; port 1813 by convention. The unspecified address means that its name has none yet: it counts as
    /// dead, and nothing is sent, until [`Input::Moved`](super::Input::Moved) tells one.
    pub address: SocketAddr,
    /// The secret shared with it.
    pub secret: Secret,
    /// Whether requests to it carry a Message-Authenticator. Default: they do not.
    pub message_authenticator: MessageAuthenticator,
}

/// Settings of the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The servers in order of preference, 1 to 64.
    pub servers: Vec<ServerSettings>,
    /// Which of them gets a record. Default failover.
    pub selection: Selection,
    /// Wait before the first retransmission (IRT of RFC 5080). Default 2 s.
    pub initial_timeout: Duration,
    /// Longest wait before a retransmission (MRT). Default 16 s.
    pub max_timeout: Duration,
    /// Transmissions in one visit (MRC), at least 1. Default 4.
    pub transmissions: u32,
    /// Records outstanding at one server at most. Default 512.
    pub window: usize,
    /// Sockets to one server at most, each with 256 identifiers. Default 16, from 1 to 256; connections are
    /// [`STREAM_LANES_MAX`] at most, with 255 identifiers each.
    pub lanes_max: u16,
    /// Silence after which a server is suspect. Default 6 s.
    pub response_window: Duration,
    /// Silence of a suspect server after which it is dead. Default 40 s.
    pub zombie_period: Duration,
    /// Wait before a dead server is tried again when probes cannot tell. Default 60 s; `radius_deadtime`.
    pub revival: Duration,
    /// Whether silent servers are probed. Default auto.
    pub probing: Probing,
    /// Time between probes, ± 10 %. Default 1 s.
    pub probe_interval: Duration,
    /// What carries packets. Default datagrams.
    pub transport: Transport,
    /// Silence on a connection after which it is asked with Status-Server, and after which again it is closed: Tw of
    /// RFC 3539 §3.4.1, with its jitter of ± 2 s, ± a fifteenth when that is less. Default 30 s.
    pub watchdog: Duration,
    /// Whether connections without requests are kept open. Default they may be closed.
    pub idle: Idle,
    /// How Acct-Delay-Time is sent. Default cycle.
    pub delay_time: DelayTime,
    /// Back-off after the first failed attempt of a record at a healthy server; doubles each time. Default 5 s.
    pub retry_first: Duration,
    /// Longest back-off. Default 15 min.
    pub retry_max: Duration,
    /// Wait of a record that found no server; capacity is 0 until one lives. Default 1 s.
    pub outage_retry: Duration,
    /// Failed visits at healthy servers after which a record may be parked. Default 10.
    pub attempts_max: u32,
    /// Age a record has at least when it is parked for those. Default 1 h.
    pub park_age_min: Duration,
    /// Wait for the last answer to such a record before it is parked. Default 30 s, as long as its identifier rests.
    pub last_answer_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            selection: Selection::default(),
            initial_timeout: Duration::from_secs(2),
            max_timeout: Duration::from_secs(16),
            transmissions: 4,
            window: 512,
            lanes_max: 16,
            response_window: Duration::from_secs(6),
            zombie_period: Duration::from_secs(40),
            revival: Duration::from_secs(60),
            probing: Probing::default(),
            probe_interval: Duration::from_secs(1),
            transport: Transport::default(),
            watchdog: Duration::from_secs(30),
            idle: Idle::default(),
            delay_time: DelayTime::default(),
            retry_first: Duration::from_secs(5),
            retry_max: Duration::from_secs(15 * 60),
            outage_retry: Duration::from_secs(1),
            attempts_max: 10,
            park_age_min: Duration::from_secs(3600),
            last_answer_wait: ABANDONED_HOLD,
        }
    }
}

impl Settings {
    /// The schedule that `radius_timeout` and `radius_retries` of a radiusclient file mean: first wait
    /// min(timeout, 2 s), longest max(timeout, 16 s), retries + 1 transmissions.
    #[must_use]
    pub fn with_radiusclient_schedule(self, timeout: Duration, retries: u32) -> Self {
        Self {
            initial_timeout: timeout.min(Duration::from_secs(2)),
            max_timeout: timeout.max(Duration::from_secs(16)),
            transmissions: retries.saturating_add(1),
            ..self
        }
    }
}
