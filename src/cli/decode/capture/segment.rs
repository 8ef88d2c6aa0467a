//! What a frame carries: a datagram of UDP or a segment of TCP.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::frames::Frame;

/// From whom to whom.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Way {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who got it.
    pub to: SocketAddr,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.from, self.to)
    }
}

/// How octets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carrier {
    Udp,
    /// With the number of the first octet, and whether it opens the connection.
    Tcp {
        sequence: u32,
        is_first: bool,
    },
}

/// Octets on their way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Segment<'f> {
    pub way: Way,
    pub carrier: Carrier,
    pub octets: &'f [u8],
    /// Octets that it had, of which the capture may have fewer.
    pub length: usize,
}

/// Why a frame has none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Other {
    /// It is about something else.
    Unrelated,
    /// A part of an IP packet: they are not put together.
    Fragment,
    /// The capture has too little of it.
    Cut,
    /// A link type that is not read here.
    Link(u32),
}

/// The segment in a frame.
pub(super) fn of<'f>(frame: &'f Frame<'_>) -> Result<Segment<'f>, Other> {
    let is_cut = (frame.data.len() as u64) < u64::from(frame.length);
    let none = if is_cut { Other::Cut } else { Other::Unrelated };
    let packet = sliced(frame)?.ok_or(none)?;
    let net = packet.net.as_ref().ok_or(none)?;
    let (from, to): (IpAddr, IpAddr) = match net {
        LaxNetSlice::Ipv4(own) => (own.header().source_addr().into(), own.header().destination_addr().into()),
        LaxNetSlice::Ipv6(own) => (own.header().source_addr().into(), own.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => return Err(Other::Unrelated),
    };
    let payload = net.ip_payload_ref().ok_or(none)?;
    if payload.fragmented {
        return Err(Other::Fragment);
    }
    let missing = usize::try_from(u64::from(frame.length).saturating_sub(frame.data.len() as u64)).unwrap_or(0);
    let missing = if payload.incomplete { missing } else { 0 };
    let way = |from_port, to_port| Way { from: (from, from_port).into(), to: (to, to_port).into() };
    match packet.transport.as_ref().ok_or(none)? {
        TransportSlice::Udp(own) => {
            let octets = own.payload();
            let length = usize::from(own.length()).saturating_sub(UDP_HEADER_OCTETS).max(octets.len());
            Ok(Segment { way: way(own.source_port(), own.destination_port()), carrier: Carrier::Udp, octets, length })
        }
        TransportSlice::Tcp(own) => {
            let octets = own.payload();
            let carrier = Carrier::Tcp { sequence: own.sequence_number(), is_first: own.syn() };
            let way = way(own.source_port(), own.destination_port());
            Ok(Segment { way, carrier, octets, length: octets.len() + missing })
        }
        _ => Err(Other::Unrelated),
    }
}

/// The frame by its link type; none if it is too short.
fn sliced<'f>(frame: &'f Frame<'_>) -> Result<Option<LaxSlicedPacket<'f>>, Other> {
    let data: &'f [u8] = &frame.data;
    let by_type = |at: usize, header: usize| {
        let kind = data.get(at..at + 2)?;
        let rest = data.get(header..)?;
        Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes([kind[0], kind[1]])), rest))
    };
    let ip = |at: usize| data.get(at..).and_then(|rest| LaxSlicedPacket::from_ip(rest).ok());
    // The upper half has flags of its own.
    Ok(match frame.link & 0xffff {
        ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        LINUX_COOKED => by_type(14, 16),
        LINUX_COOKED_2 => by_type(0, 20),
        LOOPBACK | LOOPBACK_BSD => ip(4),
        RAW | RAW_OTHER | RAW_BSD | IPV4 | IPV6 => ip(0),
        other => return Err(Other::Link(other)),
    })
}

const UDP_HEADER_OCTETS: usize = 8;

// Link types of tcpdump's registry.
const LOOPBACK: u32 = 0;
const ETHERNET: u32 = 1;
const RAW_OTHER: u32 = 12;
const RAW_BSD: u32 = 14;
const RAW: u32 = 101;
const LOOPBACK_BSD: u32 = 108;
const LINUX_COOKED: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_COOKED_2: u32 = 276;
