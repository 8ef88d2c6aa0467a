//! RADIUS packets (RFC 2865 §3, RFC 2866 §3): a direct writer for what is sent, a checked view of what came.
//!
//! The writer makes the same octets as the packet model of crate `radius` (a property test holds it against that),
//! without its intermediate lists. Reading walks the attributes once and then borrows.

use std::fmt;

use ::radius::core::code::Code as Known;

/// Octets before the first attribute.
pub const HEADER_OCTETS: usize = 20;
/// Longest packet (RFC 2866 §3).
pub const PACKET_OCTETS_MAX: usize = 4096;
/// Longest value of one attribute (RFC 2865 §5).
pub const VALUE_OCTETS_MAX: usize = 253;

/// Packet code.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Code(pub u8);

impl Code {
    /// Access-Accept, which some servers send to a Status-Server.
    pub const ACCESS_ACCEPT: Self = Self(Known::AccessAccept as u8);
    /// Access-Reject.
    pub const ACCESS_REJECT: Self = Self(Known::AccessReject as u8);
    /// Accounting-Request.
    pub const ACCOUNTING_REQUEST: Self = Self(Known::AccountingRequest as u8);
    /// Accounting-Response.
    pub const ACCOUNTING_RESPONSE: Self = Self(Known::AccountingResponse as u8);
    /// Status-Server (RFC 5997).
    pub const STATUS_SERVER: Self = Self(Known::StatusServer as u8);
    /// Protocol-Error (RFC 7930 §4).
    pub const PROTOCOL_ERROR: Self = Self(52);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, Known::from(self.0)) {
            (Self::PROTOCOL_ERROR, _) => f.write_str("Protocol-Error"),
            (_, Known::Invalid) => write!(f, "code {}", self.0),
            (_, known) => f.write_str(known.string()),
        }
    }
}

/// A packet of exactly its Length, whose attributes were walked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    octets: &'a [u8],
}

/// Why a datagram is no RADIUS packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than a header.
    #[error("{octets} octets are fewer than a header of 20")]
    Short {
        /// Length of the datagram.
        octets: usize,
    },
    /// A Length that no packet has.
    #[error("the length field says {length}, a packet has 20 to 4096 octets")]
    Length {
        /// The Length field.
        length: usize,
    },
    /// Fewer octets than the Length field says.
    #[error("the length field says {length}, but {octets} octets came")]
    Truncated {
        /// The Length field.
        length: usize,
        /// Length of the datagram.
        octets: usize,
    },
    /// An attribute that is shorter than its head or reaches over the end.
    #[error("the attribute at octet {offset} does not fit")]
    Attribute {
        /// Where it begins in the packet.
        offset: usize,
    },
}

impl<'a> Packet<'a> {
    /// The packet at the beginning of a datagram; octets after its Length are padding (RFC 2865 §3).
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let Some(head) = datagram.get(..HEADER_OCTETS) else {
            return Err(Malformed::Short { octets: datagram.len() });
        };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if !(HEADER_OCTETS..=PACKET_OCTETS_MAX).contains(&length) {
            return Err(Malformed::Length { length });
        }
        let Some(octets) = datagram.get(..length) else {
            return Err(Malformed::Truncated { length, octets: datagram.len() });
        };
        let mut offset = HEADER_OCTETS;
        while offset < length {
            match octets.get(offset + 1) {
                Some(&size) if size >= 2 && offset + usize::from(size) <= length => offset += usize::from(size),
                _ => return Err(Malformed::Attribute { offset }),
            }
        }
        Ok(Self { octets })
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        Code(self.octets[0])
    }

    /// Its identifier.
    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.octets[1]
    }

    /// Its authenticator.
    #[must_use]
    pub fn authenticator(&self) -> [u8; 16] {
        let mut authenticator = [0; 16];
        authenticator.copy_from_slice(&self.octets[4..HEADER_OCTETS]);
        authenticator
    }

    /// All octets, padding left out.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The attributes in order.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { octets: self.octets, offset: HEADER_OCTETS }
    }

    /// The value of the first attribute with a number.
    #[must_use]
    pub fn value(&self, number: u8) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.number == number).map(|attribute| attribute.value)
    }
}

/// One attribute of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute<'a> {
    /// Its number in the standard space.
    pub number: u8,
    /// Its value, 0 to 253 octets.
    pub value: &'a [u8],
    /// Where it begins in the packet.
    pub offset: usize,
}

/// Walks attributes; stops at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    octets: &'a [u8],
    offset: usize,
}

impl<'a> Attributes<'a> {
    /// Attributes without a header before them; offsets count from the beginning of `octets`.
    #[must_use]
    pub const fn of(octets: &'a [u8]) -> Self {
        Self { octets, offset: 0 }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let size = usize::from(*self.octets.get(offset + 1)?);
        let value = self.octets.get(offset + 2..offset + size)?;
        self.offset = offset + size;
        Some(Attribute { number: self.octets[offset], value, offset })
    }
}

/// Begins a packet in `out`, which is emptied: the header with Length 20 and an authenticator of zero octets.
pub fn begin(out: &mut Vec<u8>, code: Code, identifier: u8) {
    out.clear();
    out.extend_from_slice(&[code.0, identifier, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Appends an attribute. A value over 253 octets is cut there; an empty one is left out (RFC 2865 §5).
pub fn push(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    let value = &value[..value.len().min(VALUE_OCTETS_MAX)];
    if let (false, Ok(size)) = (value.is_empty(), u8::try_from(value.len() + 2)) {
        out.extend_from_slice(&[number, size]);
        out.extend_from_slice(value);
    }
}

/// The packet has more octets than RADIUS allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{octets} octets do not fit into a packet of 4096")]
pub struct TooLong {
    /// Octets it would have.
    pub octets: usize,
}

/// Writes the Length field.
///
/// # Errors
/// [`TooLong`] above 4096 octets; `out` is left as it is.
pub fn finish(out: &mut [u8]) -> Result<(), TooLong> {
    match u16::try_from(out.len()) {
        Ok(length) if out.len() <= PACKET_OCTETS_MAX && out.len() >= HEADER_OCTETS => {
            out[2..4].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        _ => Err(TooLong { octets: out.len() }),
    }
}

#[cfg(test)]
mod tests;
