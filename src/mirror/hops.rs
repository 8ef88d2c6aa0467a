//! Which side of the mirrored proxy a message was seen at.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::sip::stack::Network;

/// Addresses of the mirrored proxy: all ports of a block, or one port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Own {
    /// Whatever the port.
    Block(Network),
    /// Where others stand at the same address.
    Place(SocketAddr),
}

/// A text names no addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no address, no address with a port and no block, such as 10.0.0.5, 10.0.0.5:5060 or 10.0.0.0/28")]
pub struct NotOwn;

impl FromStr for Own {
    type Err = NotOwn;

    fn from_str(text: &str) -> Result<Self, NotOwn> {
        text.parse().map(Self::Block).or_else(|_| text.parse().map(Self::Place)).map_err(|_| NotOwn)
    }
}

impl Own {
    fn has(&self, address: SocketAddr) -> bool {
        match self {
            Self::Block(block) => block.contains(address.ip()),
            Self::Place(own) => canonical(*own) == canonical(address),
        }
    }
}

/// From whom to whom a message went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who got it.
    pub to: SocketAddr,
}

/// Where a message stands to the mirrored proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// The proxy received it.
    Received,
    /// The proxy sent it.
    Sent,
    /// It went from the proxy to itself.
    Inside,
    /// The proxy has no part in it.
    Elsewhere,
    /// Nobody has said where the proxy is: the hop that a request was seen at first is the one that counts.
    Unsaid,
}

impl Side {
    /// By the addresses of the proxy.
    pub(super) fn of(hop: Hop, proxy: &[Own]) -> Self {
        let is_own = |address| proxy.iter().any(|own| own.has(address));
        match (proxy.is_empty(), is_own(hop.from), is_own(hop.to)) {
            (true, ..) => Self::Unsaid,
            (_, false, true) => Self::Received,
            (_, true, false) => Self::Sent,
            (_, true, true) => Self::Inside,
            (_, false, false) => Self::Elsewhere,
        }
    }
}

impl Hop {
    /// Whether a message goes the same way, whatever the ports that it leaves by.
    pub(super) fn is_same(self, other: Self) -> bool {
        canonical(self.to) == canonical(other.to) && ip(self.from) == ip(other.from)
    }

    /// Whether `other` is the way back.
    pub(super) fn is_back(self, other: Self) -> bool {
        ip(self.to) == ip(other.from) && ip(self.from) == ip(other.to) && self.to.port() == other.from.port()
    }
}

fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(ip(address), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(from: &str, to: &str) -> Hop {
        Hop { from: from.parse().expect("an address"), to: to.parse().expect("an address") }
    }

    #[test]
    fn the_addresses_of_the_proxy_say_which_side_a_message_was_seen_at() {
        for (name, proxy, from, to, want) in [
            ("it is received", "10.0.0.5", "10.0.0.1:5060", "10.0.0.5:5060", Side::Received),
            ("it is sent, by any port", "10.0.0.5", "10.0.0.5:40000", "10.0.0.1:5060", Side::Sent),
            ("the proxy is a block", "10.0.0.0/28", "10.0.0.5:1", "10.0.1.1:1", Side::Sent),
            ("it talks to itself", "10.0.0.0/28", "10.0.0.5:1", "10.0.0.6:1", Side::Inside),
            ("others talk", "10.0.0.5", "10.0.0.1:5060", "10.0.0.2:5060", Side::Elsewhere),
            ("one port of a host", "127.0.0.1:5060", "127.0.0.1:5061", "127.0.0.1:5060", Side::Received),
            ("and another", "127.0.0.1:5060", "127.0.0.1:5061", "127.0.0.1:5062", Side::Elsewhere),
            ("IPv6", "[2001:db8::1]:5060", "[2001:db8::1]:5060", "[2001:db8::2]:5060", Side::Sent),
            ("IPv4 within IPv6", "10.0.0.5", "[::ffff:10.0.0.5]:5060", "10.0.0.1:5060", Side::Sent),
            ("nobody has said", "", "10.0.0.1:5060", "10.0.0.2:5060", Side::Unsaid),
        ] {
            let own: Vec<Own> = proxy.split_whitespace().map(|text| text.parse().expect("addresses")).collect();
            assert_eq!(Side::of(hop(from, to), &own), want, "{name}");
        }
        assert_eq!("proxy.example".parse::<Own>(), Err(NotOwn));
    }

    #[test]
    fn the_way_back_ends_where_the_request_came_from() {
        let there = hop("10.0.0.1:34000", "10.0.0.5:5060");
        for (name, from, to, is_same, is_back) in [
            ("the same", "10.0.0.1:34000", "10.0.0.5:5060", true, false),
            ("by another port of the sender", "10.0.0.1:34001", "10.0.0.5:5060", true, false),
            ("back", "10.0.0.5:5060", "10.0.0.1:5060", false, true),
            ("the next hop", "10.0.0.5:5060", "10.0.0.2:5060", false, false),
            ("back over the next hop", "10.0.0.2:5060", "10.0.0.5:5060", false, false),
        ] {
            let other = hop(from, to);
            assert_eq!((there.is_same(other), there.is_back(other)), (is_same, is_back), "{name}");
        }
    }
}
