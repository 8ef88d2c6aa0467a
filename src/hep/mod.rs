//! HEP version 3, by which probes and proxies send copies of SIP messages to a collector: Kamailio's siptrace, OpenSIPS'
//! tracer, FreeSWITCH, Asterisk, heplify, sngrep.
//!
//! A packet is `HEP3`, its whole length in two octets, and chunks: vendor, type and length in two octets each, the latter
//! with these six, then the value. Their order is the sender's own: sngrep has the addresses behind the times. Chunks of
//! other vendors and of unknown types are passed over. In a stream packets follow each other without anything between.

#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};

use crate::clock::Timestamp;

/// Most octets of a packet: its length has two octets.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// A packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'p> {
    /// Where the message came from.
    pub from: SocketAddr,
    /// Where it went to.
    pub to: SocketAddr,
    /// By which protocol of IP (17 UDP, 6 TCP, 132 SCTP; some write 22 for TLS); 0: not said.
    pub carrier: u8,
    /// When it was seen; `None`: not said, or zero.
    pub at: Option<Timestamp>,
    /// What it is; SIP is [`SIP`].
    pub protocol: u8,
    /// The number that the sender goes by; 0: none.
    pub agent: u32,
    /// What the sender shows to be known by; empty: nothing.
    pub key: &'p [u8],
    /// What the sender says other packets of the same call have too; empty: nothing.
    pub correlation: &'p [u8],
    /// The message.
    pub payload: &'p [u8],
}

/// Protocol type of SIP.
pub const SIP: u8 = 1;

/// Why octets are no packet that can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPacket {
    /// It begins otherwise.
    #[error("it does not begin with HEP3")]
    Start,
    /// Its length is not that of what came.
    #[error("it says {said} octets and has {has}")]
    Length {
        /// What it says.
        said: usize,
        /// Octets that came.
        has: usize,
    },
    /// A chunk ends behind the packet, or within its own head.
    #[error("chunk {kind} says {said} octets, {left} are left")]
    Chunk {
        /// Its type.
        kind: u16,
        /// What it says.
        said: usize,
        /// Octets left.
        left: usize,
    },
    /// A value has a wrong length.
    #[error("chunk {kind} has a value of {has} octets")]
    Value {
        /// Type of its chunk.
        kind: u16,
        /// Octets of the value.
        has: usize,
    },
    /// There is no source, no destination, or they are of different families.
    #[error("it has no addresses of one family")]
    Addresses,
    /// There is no message.
    #[error("it has no payload")]
    Payload,
    /// The message is compressed, which is not undone here.
    #[error("its payload is compressed; switch compression off at the sender")]
    Compressed,
}

/// What a stream of packets begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A packet of this length.
    Packet(usize),
    /// Too few octets to tell.
    Unknown,
    /// No packet: what follows cannot be found any more.
    Lost,
}

/// Finds the first packet of a stream.
#[must_use]
pub fn frame(octets: &[u8]) -> Frame {
    if !MAGIC.starts_with(&octets[..octets.len().min(MAGIC.len())]) {
        return Frame::Lost;
    }
    let Some((head, _)) = octets.split_first_chunk::<HEAD_OCTETS>() else { return Frame::Unknown };
    match usize::from(u16::from_be_bytes([head[4], head[5]])) {
        ..HEAD_OCTETS => Frame::Lost,
        length => Frame::Packet(length),
    }
}

/// Reads a packet.
///
/// # Errors
/// A [`BadPacket`]; octets behind the packet are one too.
pub fn decode(octets: &[u8]) -> Result<Packet<'_>, BadPacket> {
    let said = match frame(octets) {
        Frame::Packet(length) => length,
        Frame::Unknown => return Err(BadPacket::Length { said: HEAD_OCTETS, has: octets.len() }),
        Frame::Lost if octets.starts_with(MAGIC) => return Err(BadPacket::Length { said: 0, has: octets.len() }),
        Frame::Lost => return Err(BadPacket::Start),
    };
    if said != octets.len() {
        return Err(BadPacket::Length { said, has: octets.len() });
    }
    let mut parts = Parts::default();
    let mut rest = &octets[HEAD_OCTETS..];
    while !rest.is_empty() {
        rest = parts.take(rest)?;
    }
    parts.packet()
}

/// What the chunks have said so far.
#[derive(Default)]
struct Parts<'p> {
    /// By family: 4, then 6.
    from: [Option<IpAddr>; 2],
    to: [Option<IpAddr>; 2],
    ports: [u16; 2],
    family: u8,
    carrier: u8,
    seconds: u32,
    micros: u32,
    protocol: u8,
    agent: u32,
    key: &'p [u8],
    correlation: &'p [u8],
    payload: Option<&'p [u8]>,
    is_compressed: bool,
}

impl<'p> Parts<'p> {
    /// Takes the first chunk; what is left behind it.
    fn take(&mut self, octets: &'p [u8]) -> Result<&'p [u8], BadPacket> {
        let Some((head, behind)) = octets.split_first_chunk::<CHUNK_OCTETS>() else {
            return Err(BadPacket::Chunk { kind: 0, said: CHUNK_OCTETS, left: octets.len() });
        };
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (vendor, kind, said) = (number(0), number(2), usize::from(number(4)));
        let value = said.checked_sub(CHUNK_OCTETS).and_then(|length| behind.split_at_checked(length));
        let (value, rest) = value.ok_or(BadPacket::Chunk { kind, said, left: octets.len() })?;
        if vendor == GENERIC {
            self.put(kind, value).ok_or(BadPacket::Value { kind, has: value.len() })?;
        }
        Ok(rest)
    }

    /// Takes a value; `None` where it has a wrong length.
    fn put(&mut self, kind: u16, value: &'p [u8]) -> Option<()> {
        match kind {
            1 => self.family = octet(value)?,
            2 => self.carrier = octet(value)?,
            3 => self.from[0] = Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
            4 => self.to[0] = Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
            5 => self.from[1] = Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
            6 => self.to[1] = Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
            7 => self.ports[0] = u16::from_be_bytes(value.try_into().ok()?),
            8 => self.ports[1] = u16::from_be_bytes(value.try_into().ok()?),
            9 => self.seconds = u32::from_be_bytes(value.try_into().ok()?),
            10 => self.micros = u32::from_be_bytes(value.try_into().ok()?),
            11 => self.protocol = octet(value)?,
            12 => self.agent = u32::from_be_bytes(value.try_into().ok()?),
            14 => self.key = value,
            15 => self.payload = Some(value),
            16 => self.is_compressed = true,
            17 => self.correlation = value,
            _ => {}
        }
        Some(())
    }

    fn packet(self) -> Result<Packet<'p>, BadPacket> {
        let [four, six] = [0, 1].map(|family| self.from[family].zip(self.to[family]));
        // Those of the family that is said, where there are both.
        let (from, to) = if self.family == INET6 { six.or(four) } else { four.or(six) }.ok_or(BadPacket::Addresses)?;
        let payload = match self.payload {
            Some(payload) => payload,
            None if self.is_compressed => return Err(BadPacket::Compressed),
            None => return Err(BadPacket::Payload),
        };
        let micros = i64::from(self.seconds) * 1_000_000 + i64::from(self.micros);
        Ok(Packet {
            from: SocketAddr::new(from.to_canonical(), self.ports[0]),
            to: SocketAddr::new(to.to_canonical(), self.ports[1]),
            carrier: self.carrier,
            at: (self.seconds > 0).then_some(Timestamp(micros)),
            protocol: self.protocol,
            agent: self.agent,
            key: self.key,
            correlation: self.correlation,
            payload,
        })
    }
}

fn octet(value: &[u8]) -> Option<u8> {
    <[u8; 1]>::try_from(value).ok().map(|[octet]| octet)
}

const MAGIC: &[u8] = b"HEP3";
/// Octets before the first chunk.
const HEAD_OCTETS: usize = 6;
/// Octets before the value of a chunk.
const CHUNK_OCTETS: usize = 6;
/// Vendor of the chunks that are read.
const GENERIC: u16 = 0;
/// Family of IPv6 addresses, as Linux numbers them.
const INET6: u8 = 10;
