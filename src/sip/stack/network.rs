//! Blocks of addresses.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A block of addresses, such as `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network(IpNet);

/// A text is no block of addresses, and no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no block of addresses, such as 10.0.0.0/8")]
pub struct NotANetwork;

impl Network {
    /// The block of `prefix` leading bits of `address`; a prefix beyond the family's length means the whole address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        Self::of(IpNet::new(address, prefix).unwrap_or(IpNet::from(address)))
    }

    /// One of IPv4 addresses mapped into IPv6 counts as one of the IPv4 addresses.
    fn of(net: IpNet) -> Self {
        let mapped = match net {
            IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(MAPPED_BITS)),
            IpNet::V4(_) => None,
        };
        let own = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
        Self(own.map_or(net, IpNet::V4))
    }

    /// Leading bits that are those of all its addresses.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether all bits behind the prefix are zero.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.0.trunc() == self.0
    }

    /// Whether the block holds loopback addresses alone.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.0 {
            IpNet::V4(net) => LOOPBACK.contains(net),
            IpNet::V6(net) => LOOPBACK_6.contains(net),
        }
    }

    /// Whether the block holds `address`. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// `10.0.0.0/8`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self::of).map_err(|_| NotANetwork)
    }
}

/// Bits before an IPv4 address that is mapped into IPv6.
const MAPPED_BITS: u8 = 96;
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_addresses_with_its_leading_bits() {
        for (block, address, want) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("::/0", "2001:db8::1", true),
        ] {
            let network: Network = block.parse().expect("a block");
            assert_eq!(network.contains(address.parse().expect("an address")), want, "{block} {address}");
        }
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "10.0.0.0/8/8", "2001:db8::/129", "host", "10.0.0.0/-1"]
        {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }

    #[test]
    fn what_a_block_is_can_be_asked() {
        for (block, is_loopback, is_exact) in [
            ("127.0.0.0/8", true, true),
            ("127.0.0.1", true, true),
            ("127.0.0.1/8", true, false),
            ("126.0.0.0/7", false, true),
            ("::1", true, true),
            ("::1/127", false, false),
            ("10.0.0.0/8", false, true),
            ("10.0.0.1/8", false, false),
        ] {
            let network: Network = block.parse().expect("a block");
            assert_eq!((network.is_loopback(), network.is_exact()), (is_loopback, is_exact), "{block}");
        }
        assert_eq!(Network::new([10, 0, 0, 1].into(), 64).prefix(), 32, "the whole address");
    }
}
