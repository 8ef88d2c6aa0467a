//! Settings of a route.

use std::time::Duration;

use crate::diameter::peer::{Identity, Security, Timing};

/// One peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// What it must call itself in Origin-Host, and the name TLS verifies; empty: anything (not with TLS).
    pub identity: String,
    /// Its address or name.
    pub host: String,
    /// Its port; 3868 by convention, 5658 with TLS from the first octet.
    pub port: u16,
    /// The lowest number with a usable peer is used. Default 0.
    pub priority: u16,
    /// Share among peers of one priority, at least 1. Default 1.
    pub weight: u32,
    /// How its connection is protected.
    pub security: Security,
    /// Destination-Realms it serves; empty: all.
    pub realms: Vec<String>,
}

impl PeerSettings {
    /// A peer on plain TCP that serves all realms.
    #[must_use]
    pub fn new(identity: &str, host: &str, port: u16) -> Self {
        Self {
            identity: identity.to_owned(),
            host: host.to_owned(),
            port,
            priority: 0,
            weight: 1,
            security: Security::Plain,
            realms: Vec::new(),
        }
    }
}

/// Settings of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Who we are.
    pub identity: Identity,
    /// The peers, 1 to 64.
    pub peers: Vec<PeerSettings>,
    /// Times of connections.
    pub timing: Timing,
    /// Requests outstanding at one peer at most. Default 256.
    pub window: usize,
    /// Longest wait for an answer before a second copy goes out; doubles with each further copy. Default 10 s.
    pub request_timeout: Duration,
    /// Copies of a request before the record goes back to the queue, at least 1. Default 4.
    pub transmissions: u32,
    /// Longest message in octets. Default 65 535, up to 16 777 212.
    pub message_octets_max: usize,
    /// Time a better peer has to be usable again before new requests go to it. Default 10 s.
    pub failback_hold: Duration,
    /// First wait of a record that was refused for now; doubles each time. Default 1 s.
    pub retry_first: Duration,
    /// Longest such wait. Default 60 s.
    pub retry_max: Duration,
    /// Wait of a record that found no peer; capacity is 0 until one is usable. Default 1 s.
    pub outage_retry: Duration,
    /// Age of a record at which 3003 and 3007 park it. Default 1 h.
    pub retry_config_errors: Duration,
    /// Answers 5012 to one record after which it is parked. Default 5.
    pub unable_max: u32,
    /// Breaks of a connection in a row, each while this record alone waited for its answer, after which it is parked.
    /// Default 3.
    pub breaks_max: u32,
    /// Answers in a row with the same 5xxx after which the route pauses instead of parking more. Default 20.
    pub pause_after: u32,
    /// Hosts a redirect may lead to besides the peers: names, or `*.domain`. Default: none.
    pub redirect_hosts: Vec<String>,
    /// Random number of this installation, kept with the queue: End-to-End ids count from there.
    pub salt: u32,
    /// Flags of the Class AVPs that are repeated in later records. Default 0: no grammar of an ACR names Class.
    pub class_flags: u8,
    /// Whether `DELIVER_AND_GRANT` of a server is obeyed: see [`Client::refuses_calls`](super::Client::refuses_calls).
    pub honour_realtime: bool,
}

impl Settings {
    /// The defaults, without peers.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let secs = Duration::from_secs;
        Self {
            identity,
            peers: Vec::new(),
            timing: Timing::default(),
            window: 256,
            request_timeout: secs(10),
            transmissions: 4,
            message_octets_max: 65_535,
            failback_hold: secs(10),
            retry_first: secs(1),
            retry_max: secs(60),
            outage_retry: secs(1),
            retry_config_errors: secs(3600),
            unable_max: 5,
            breaks_max: 3,
            pause_after: 20,
            redirect_hosts: Vec::new(),
            salt: 0,
            class_flags: 0,
            honour_realtime: false,
        }
    }
}

/// Most peers of one route, those that redirects led to included.
pub const PEERS_MAX: usize = 64;
/// Redirects followed for one message.
pub const REDIRECTS_MAX: u8 = 3;
/// First pause of a route that refuses everything; doubles with each refusal after it.
pub const PAUSE_FIRST: Duration = Duration::from_secs(60);
/// Longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// First rest of a peer or route that is too busy or full; doubles each time.
pub const REST_FIRST: Duration = Duration::from_secs(1);
/// Longest rest.
pub const REST_MAX: Duration = Duration::from_secs(60);
/// Wait before a peer that answers no request is tried again with a single record while another peer works; doubles.
pub const PROBE_FIRST: Duration = Duration::from_secs(5);
/// Longest such wait.
pub const PROBE_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the answer to such a record before it goes to the other peer.
pub const PROBE_ANSWER: Duration = Duration::from_secs(2);
/// Breaks a record was unanswered at from which on it is sent alone, and after all others.
pub const SUSPECT_BREAKS: u32 = 2;
/// Quiet of all other records before a suspect is sent.
pub const SUSPECT_QUIET: Duration = Duration::from_millis(50);
/// Gap after a suspect in which others may go first.
pub const SUSPECT_GAP: Duration = Duration::from_millis(15);
/// Longest precedence of others; then nothing new is taken until one suspect had its turn.
pub const SUSPECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// Copies given up on whose late answer still counts, for each connection; the oldest go first.
pub const GHOSTS_MAX: usize = 4_096;
/// Records back in the queue whose history is kept; the oldest go first and count as possible repeats.
pub const PAST_MAX: usize = 65_536;
/// Sessions whose Class is kept; the oldest go first.
pub const CLASS_SESSIONS_MAX: usize = 65_536;
/// Octets of Class kept for one session; further ones are left out.
pub const CLASS_OCTETS_MAX: usize = 1_024;
