//! What an operator can set about the SIP machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::network::Network;
use super::types::{Listener, ListenerId, Transport};
use crate::sip::dialog::RouteKeys;
use crate::sip::transaction;
use crate::timers::bucket::TokenBucket;

/// The shortest Timer C: it must be larger than 3 minutes (RFC 3261 §16.6 step 11).
pub(super) const TIMER_C_MIN: Duration = Duration::from_secs(181);

/// What counts as one source: an IPv4 address, or the /64 block of an IPv6 address, of which one host has as many as it
/// likes.
#[must_use]
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

/// What becomes of Route values of a trusted proxy in a request outside of a dialog, other than the gateway's own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preloaded {
    /// The request goes where they lead (RFC 3261 §16.6 steps 6 and 7).
    #[default]
    Follow,
    /// They are taken off, and the request goes by the table of routes.
    Remove,
}

/// What becomes of datagrams of those outside of `allow` that belong to no call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Strangers {
    /// Nothing: who asks does not learn that somebody is here, and a forged source gets nothing.
    #[default]
    Drop,
    /// They are answered: 403, 400 and the like.
    Answer,
}

/// Settings of [`Stack`](super::Stack).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the gateway listens; [`ListenerId`](super::ListenerId) is the place in this list. Default: UDP 127.0.0.1:5060.
    pub listeners: Vec<Listener>,
    /// Host names (lower case) that mean this gateway in a Request-URI or Route, beside the listeners' addresses.
    /// Default: none.
    pub names: Vec<String>,
    /// Who may send requests. Default: nobody but 127.0.0.0/8 and `::1`.
    pub allow: Vec<Network>,
    /// Who may send requests through certain listeners, instead of `allow`. Default: none.
    pub allow_on: Vec<(ListenerId, Vec<Network>)>,
    /// What becomes of datagrams of those who may not. By connections they are answered. Default: they are dropped.
    pub strangers: Strangers,
    /// Whose requests may choose their way: by Route values that are not the gateway's, and inside a dialog to other
    /// places than its ends. Default: nobody.
    pub trusted_proxies: Vec<Network>,
    /// What becomes of Route values that are not the gateway's in a request outside of a dialog from one of these; of
    /// others they are removed. Default: the request follows them.
    pub preloaded: Preloaded,
    /// Whether a request of a known dialog that names the gateway in its Request-URI goes to the remote target of that
    /// dialog. Default: it does.
    pub lenient_request_uri: bool,
    /// Signs branches, with `incarnation`. Kept over a restart; the same for all shards. Default: zeros.
    pub key: [u8; 16],
    /// Sign Record-Route values. Kept over a restart, so that calls in progress stay recognised; the same for all shards.
    /// Must be random: who knows one can send requests from anywhere. Default: zeros.
    pub route_keys: RouteKeys,
    /// How long the Record-Route value of a call is good: longer than any call. Default: 36 hours.
    pub call_good_for: Duration,
    /// The same for other dialogs, which are refreshed for as long as somebody wants them. Default: 30 days.
    pub dialog_good_for: Duration,
    /// Random for each process: a response to a branch of an earlier process must not be taken for one to a branch that
    /// has its slot now. Default: zeros.
    pub incarnation: [u8; 16],
    /// T1, T2, T4, the 200 ms of the 100, and what follows from them.
    pub transaction: transaction::Settings,
    /// Timer C (RFC 3261 §16.6 step 11): longest wait for a final response after the last provisional one. Default
    /// 181 s, and never less.
    pub timer_c: Duration,
    /// Server transactions without a final response beyond which a request outside of calls that go through the gateway gets
    /// a stateless 503. Default 100 000. With those that have it and only absorb what is repeated there are
    /// five times as many.
    pub transactions_max: usize,
    /// The same for requests inside these calls. Default 125 000.
    pub transactions_in_dialog_max: usize,
    /// Transactions outside of these calls and without a final response that one source may have; further ones get a
    /// stateless 503, so that a flood from one source leaves room for the others. Default: three quarters of
    /// `transactions_max`.
    pub transactions_per_source_max: usize,
    /// Transactions of one Call-ID without a final response; further ones get a stateless 503. A quarter of them is kept
    /// for BYE and PRACK. Those that have their response and only absorb what is repeated may be 64 times as many.
    /// Default 16.
    pub transactions_per_call_max: usize,
    /// Transactions inside calls that one source may have; further ones get a stateless 503. Default: a quarter of
    /// `transactions_in_dialog_max`.
    pub transactions_in_dialog_per_source_max: usize,
    /// Requests outside of these calls from one source; further ones get a stateless 503. Default: no limit.
    pub source_rate: Option<TokenBucket>,
    /// `Retry-After` of these 503, in seconds. Default 5.
    pub retry_after_s: u32,
    /// Final responses one transaction may hold, and To tags remembered of one branch; further 2xx are dropped. Default 16.
    pub responses_held_max: usize,
    /// Branches one request may have over all its groups; further targets are left out. Default 64.
    pub branches_max: usize,
    /// Requests in a row without a response after which a destination counts as down; 0: it never does. Default 2.
    pub failures_max: u32,
    /// Its number among the shards, and how many these are: what it sends of itself is answered to it. Default 0 of 1.
    pub shard: (usize, usize),
    /// ACKs that wait for a name to be resolved; further ones are dropped. Default 1024.
    pub queries_max: usize,
    /// Requests of strangers refused without a transaction that still get a response: 403, 400, 503 and the like. Default
    /// 200 a second, burst 400.
    pub stateless_responses: TokenBucket,
    /// The same for sources in `allow`: an address can be forged. Default 2000 a second, burst 4000.
    pub stateless_responses_allowed: TokenBucket,
    /// Extension tags of `Proxy-Require` that are not refused with 420. Default: none.
    pub supported: Vec<String>,
    /// Octets of a request beyond which it goes by TCP instead of UDP where the target leaves the choice and there is a
    /// TCP listener (RFC 3261 §18.1.1); by UDP after all when TCP fails. Default 1300.
    pub datagram_bytes_max: usize,
}

/// For each transaction that may be in progress, so many may be there in all: after its final response one absorbs what is
/// repeated for another 32 s over UDP (RFC 6026 Timer L, RFC 3261 Timer J), at a fifth of the memory.
pub const ABSORBING_FOR_EACH: usize = 5;

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: vec![Listener {
                transport: Transport::Udp,
                local: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5060)),
            }],
            names: Vec::new(),
            allow: vec![
                Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
                Network::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128),
            ],
            allow_on: Vec::new(),
            strangers: Strangers::Drop,
            trusted_proxies: Vec::new(),
            preloaded: Preloaded::Follow,
            lenient_request_uri: true,
            key: [0; 16],
            route_keys: RouteKeys::default(),
            call_good_for: Duration::from_secs(36 * 3600),
            dialog_good_for: Duration::from_secs(30 * 86_400),
            incarnation: [0; 16],
            transaction: transaction::Settings::default(),
            timer_c: TIMER_C_MIN,
            transactions_max: 100_000,
            transactions_in_dialog_max: 125_000,
            transactions_per_source_max: 75_000,
            transactions_per_call_max: 16,
            transactions_in_dialog_per_source_max: 31_250,
            source_rate: None,
            retry_after_s: 5,
            responses_held_max: 16,
            branches_max: 64,
            failures_max: 2,
            shard: (0, 1),
            queries_max: 1024,
            stateless_responses: TokenBucket { per_second: 200, burst: 400 },
            stateless_responses_allowed: TokenBucket { per_second: 2000, burst: 4000 },
            supported: Vec::new(),
            datagram_bytes_max: 1300,
        }
    }
}

impl Settings {
    /// Whether requests from this address are served at this listener.
    #[must_use]
    pub fn allows(&self, listener: ListenerId, address: IpAddr) -> bool {
        let own = self.allow_on.iter().find(|(place, _)| *place == listener);
        own.map_or(&self.allow, |(_, own)| own).iter().any(|network| network.contains(address))
    }

    /// Whether a datagram is dropped unread: a request of a stranger that shows no signed Route value. An ACK or CANCEL
    /// may belong to a request that did.
    #[must_use]
    pub fn drops(&self, listener: ListenerId, source: IpAddr, datagram: &[u8]) -> bool {
        self.strangers == Strangers::Drop
            && !self.allows(listener, source)
            && !self.trusts(source)
            && ![&b"SIP/"[..], b"ACK ", b"CANCEL "].iter().any(|start| datagram.starts_with(start))
            && memchr::memmem::find(datagram, b"tg=").is_none()
    }

    /// Whether requests from this address may choose their way.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }
}
