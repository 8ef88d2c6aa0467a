//! `[sip]`: the proxy.

use serde::Deserialize;

use super::super::decode::{At, OneOrMany, Ordered};
use super::{DnsTable, StreamsTable, Switch, TlsClientTable, TlsTable};
use crate::units::{Count, Mib, Millis, Secs};

/// `[sip]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipTable {
    /// Where to listen: `udp:ADDRESS:PORT`, `tcp:` or `tls:`.
    pub listen: Option<Vec<At<String>>>,
    /// Addresses others reach the listeners by, one for each family, with or without a port.
    pub advertise: Option<OneOrMany<At<String>>>,
    /// Host names that mean this gateway in a Request-URI or Route.
    pub names: Option<Vec<At<String>>>,
    /// Blocks of addresses whose requests are served.
    pub allow: Option<Vec<At<String>>>,
    /// Blocks of addresses for single listeners, instead of `allow`.
    pub allow_on: Ordered<OneOrMany<At<String>>>,
    /// What becomes of datagrams from outside `allow`.
    pub strangers: Option<StrangersOption>,
    /// Blocks of addresses of proxies that may choose where their requests go.
    pub trusted_proxies: Option<Vec<At<String>>>,
    /// What becomes of their Route values outside of dialogs.
    pub preloaded_route: Option<PreloadedRoute>,
    /// Whether a request of a known dialog that names the gateway as Request-URI goes on to the end of its call.
    pub lenient_request_uri: Option<Switch>,
    /// Days until the key is replaced that signs Record-Route values.
    pub route_key_days: Option<At<Count<1, 365>>>,
    /// Threads that serve calls; 0: one for each core but one.
    pub shards: Option<Count<0, 64>>,
    /// T1 (RFC 3261 §17.1.1.1).
    pub t1_ms: Option<Millis<100, 2_000>>,
    /// T2 (RFC 3261 §17.1.2.2).
    pub t2_ms: Option<At<Millis<100, 16_000>>>,
    /// T4 (RFC 3261 §17.1.2.2).
    pub t4_ms: Option<Millis<1_000, 20_000>>,
    /// Timer C (RFC 3261 §16.6 step 11).
    pub timer_c_s: Option<Secs<181, 3_600>>,
    /// Silence after which a 100 answers an INVITE.
    pub trying_after_ms: Option<Millis<0, 200>>,
    /// Longest ringing of one target; 0: Timer C alone.
    pub ring_timeout_s: Option<Secs<0, 3_600>>,
    /// Transactions beyond which new calls get 503.
    pub transactions_max: Option<Count<100, 10_000_000>>,
    /// Transactions beyond which every request gets 503.
    pub transactions_in_dialog_max: Option<At<Count<100, 10_000_000>>>,
    /// Accounted calls in progress beyond which new calls get 503.
    pub calls_max: Option<Count<1, 10_000_000>>,
    /// Open transactions of new requests that one source may have.
    pub transactions_per_source_max: Option<Count<10, 10_000_000>>,
    /// Open transactions of one Call-ID.
    pub transactions_per_call_max: Option<Count<4, 10_000>>,
    /// Open transactions inside calls that one source may have.
    pub transactions_in_dialog_per_source_max: Option<Count<10, 10_000_000>>,
    /// New requests a second from one source; 0: no limit.
    pub source_per_second_max: Option<Count<0, 1_000_000>>,
    /// Memory of the process beyond which new calls get 503; 0: no limit.
    pub memory_max_mib: Option<Mib<0, 1_048_576>>,
    /// `Retry-After` of these 503.
    pub retry_after_s: Option<Secs<0, 3_600>>,
    /// Targets one request may have.
    pub branches_max: Option<Count<1, 256>>,
    /// Requests in a row without a response after which a target counts as down; 0: it never does.
    pub failures_max: Option<Count<0, 100>>,
    /// Responses a second to requests that get no transaction.
    pub stateless_per_second_max: Option<Count<0, 100_000>>,
    /// The same for sources in `allow`.
    pub stateless_allowed_per_second_max: Option<Count<0, 1_000_000>>,
    /// Extension tags of `Proxy-Require` that are not refused.
    pub supported: Option<Vec<String>>,
    /// Octets of a request beyond which it goes by TCP where it may; 0: never.
    pub datagram_bytes_max: Option<Count<0, 65_535>>,
    /// How names of targets are looked up.
    pub dns: DnsTable,
    /// `[sip.streams]`: limits of TCP and TLS connections.
    pub streams: StreamsTable,
    /// What TLS listeners present and ask for.
    pub tls: Vec<At<TlsTable>>,
    /// TLS of connections to targets.
    pub tls_client: TlsClientTable,
    /// Calls whose ends are asked whether they go on.
    pub watch: WatchTable,
}

/// `sip.strangers`
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum StrangersOption {
    /// Nothing goes back: the default, for a scanner learns nothing.
    Drop,
    /// They get 403, 400 and the like, up to a rate.
    Answer,
}

/// `sip.preloaded_route`
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum PreloadedRoute {
    /// The request goes where they lead.
    Follow,
    /// They are taken off.
    Remove,
}

/// `[sip.watch]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchTable {
    /// Time between two OPTIONS to each end of a call; 0: none are sent.
    pub ping_s: Option<At<Secs<0, 86_400>>>,
    /// OPTIONS in a row that may stay without a response.
    pub lost_max: Option<Count<1, 100>>,
}
