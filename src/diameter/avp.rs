//! AVPs (RFC 6733 §4): a walker that borrows and a writer that appends, both without allocation.
//!
//! The walker trusts no length. Once it has met an error it ends: what follows in that list cannot be found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::clock::Timestamp;

/// Groups inside groups at most, counted from the message.
pub const NESTING_MAX: u8 = 8;
/// Seconds from 1900 to 1970, both at the start of the year in UTC.
pub const SECONDS_1900_TO_1970: i64 = 2_208_988_800;

/// AVP flags (RFC 6733 §4.1).
pub mod flag {
    /// V: a vendor number follows. The writer sets it where it is needed.
    pub const VENDOR: u8 = 0x80;
    /// M: who does not know the AVP must reject the message.
    pub const MANDATORY: u8 = 0x40;
    /// P: reserved; sent as 0, ignored when read.
    pub const PROTECTED: u8 = 0x20;
}

/// One AVP of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Avp<'a> {
    /// AVP code.
    pub code: u32,
    /// Vendor number; 0 for none.
    pub vendor: u32,
    /// Flags, see [`flag`].
    pub flags: u8,
    /// Value without padding.
    pub value: &'a [u8],
    /// Where the AVP begins, from the start of the list that was walked first.
    pub offset: usize,
    /// Groups around it.
    depth: u8,
}

/// A list of AVPs is broken from here on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at AVP octet {offset}: {problem}")]
pub struct AvpError {
    /// Where, from the start of the list that was walked first.
    pub offset: usize,
    /// What.
    pub problem: AvpProblem,
}

/// What is wrong with an AVP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AvpProblem {
    /// Fewer octets than a header needs.
    #[error("{0} octets are no AVP header")]
    Short(usize),
    /// A length smaller than the header.
    #[error("AVP {code} has the length {length}, below its header")]
    Length {
        /// Code of the AVP.
        code: u32,
        /// What its header says.
        length: u32,
    },
    /// A length beyond the end.
    #[error("AVP {code} has the length {length}, but {rest} octets are left")]
    Beyond {
        /// Code of the AVP.
        code: u32,
        /// What its header says.
        length: u32,
        /// Octets left.
        rest: usize,
    },
    /// Too many groups around it.
    #[error("AVP {code} is nested more than {NESTING_MAX} deep")]
    Deep {
        /// Code of the group.
        code: u32,
    },
}

/// Walks a list of AVPs.
#[derive(Clone, Debug)]
pub struct Avps<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: u8,
}

impl<'a> Avps<'a> {
    /// Walks the AVPs of a message, without its header.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, offset: 0, depth: 0 }
    }

    /// The first AVP of that code and vendor; broken ones end the search.
    #[must_use]
    pub fn find(mut self, code: u32, vendor: u32) -> Option<Avp<'a>> {
        self.find_map(|avp| avp.ok().filter(|avp| avp.code == code && avp.vendor == vendor))
    }

    fn read(&self) -> Result<(Avp<'a>, usize), AvpProblem> {
        let octets = self.rest;
        let word = |at: usize| octets.get(at..at + 4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
        let (Some(code), Some(second)) = (word(0), word(4)) else {
            return Err(AvpProblem::Short(octets.len()));
        };
        let (flags, length) = ((second >> 24) as u8, second & 0x00FF_FFFF);
        let header = if flags & flag::VENDOR == 0 { 8 } else { 12 };
        let end = length as usize;
        if end < header {
            return Err(AvpProblem::Length { code, length });
        }
        let Some(value) = octets.get(header..end) else {
            return Err(AvpProblem::Beyond { code, length, rest: octets.len() });
        };
        let vendor = if header == 12 { word(8).unwrap_or(0) } else { 0 };
        let avp = Avp { code, vendor, flags, value, offset: self.offset, depth: self.depth };
        // The last AVP of a careless sender may lack its padding.
        Ok((avp, end.next_multiple_of(4).min(octets.len())))
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, AvpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.read() {
            Ok((avp, octets)) => {
                self.rest = &self.rest[octets..];
                self.offset += octets;
                Some(Ok(avp))
            }
            Err(problem) => {
                self.rest = &[];
                Some(Err(AvpError { offset: self.offset, problem }))
            }
        }
    }
}

impl std::iter::FusedIterator for Avps<'_> {}

impl<'a> Avp<'a> {
    /// Whether the flag M is set.
    #[must_use]
    pub const fn is_mandatory(&self) -> bool {
        self.flags & flag::MANDATORY != 0
    }

    /// Unsigned32; `None` for another size (so for all fixed sizes: RFC 6733 §4.2, such an AVP is ignored).
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// Integer32 and Enumerated.
    #[must_use]
    pub fn i32(&self) -> Option<i32> {
        self.value.try_into().ok().map(i32::from_be_bytes)
    }

    /// Unsigned64.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// Integer64.
    #[must_use]
    pub fn i64(&self) -> Option<i64> {
        self.value.try_into().ok().map(i64::from_be_bytes)
    }

    /// Float32.
    #[must_use]
    pub fn f32(&self) -> Option<f32> {
        self.value.try_into().ok().map(f32::from_be_bytes)
    }

    /// Float64.
    #[must_use]
    pub fn f64(&self) -> Option<f64> {
        self.value.try_into().ok().map(f64::from_be_bytes)
    }

    /// UTF8String, DiameterIdentity, DiameterURI; `None` for what is no UTF-8.
    #[must_use]
    pub fn utf8(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }

    /// Time (RFC 6733 §4.3.1): a value with the top bit set counts from 1900, one without it from 2036.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.u32().map(read_time)
    }

    /// Address (RFC 6733 §4.3.1) of family 1 or 2; `None` for others.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let (family, rest) = self.value.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*family) {
            1 => <[u8; 4]>::try_from(rest).ok().map(|octets| Ipv4Addr::from(octets).into()),
            2 => <[u8; 16]>::try_from(rest).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// Grouped: its members.
    ///
    /// # Errors
    /// The group lies [`NESTING_MAX`] deep.
    pub fn grouped(&self) -> Result<Avps<'a>, AvpError> {
        if self.depth >= NESTING_MAX {
            return Err(AvpError { offset: self.offset, problem: AvpProblem::Deep { code: self.code } });
        }
        let header = if self.flags & flag::VENDOR == 0 { 8 } else { 12 };
        Ok(Avps { rest: self.value, offset: self.offset + header, depth: self.depth + 1 })
    }
}

/// The instant of a Time value.
#[must_use]
pub const fn read_time(value: u32) -> Timestamp {
    let era = if value & 0x8000_0000 == 0 { 1 << 32 } else { 0 };
    Timestamp((value as i64 + era - SECONDS_1900_TO_1970) * 1_000_000)
}

/// The Time value of an instant, modulo 2^32 as RFC 6733 §4.3.1 wants it; fractions of a second are dropped.
#[must_use]
pub const fn write_time(at: Timestamp) -> u32 {
    (at.secs().wrapping_add(SECONDS_1900_TO_1970) & 0xFFFF_FFFF) as u32
}

/// Appends AVPs, each padded with zeros to a multiple of four octets.
///
/// `vendor` 0 means none: neither flag V nor a number is sent then (RFC 6733 §4.1.1). An AVP longer than 24 bits can
/// say spoils the lengths, and then the message is too long too: [`message`](super::header::message) refuses it.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`, whose length has to be right for the first AVP already.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The same writer for a while.
    pub const fn lend(&mut self) -> Writer<'_> {
        Writer { out: self.out }
    }

    /// Octets written so far, those before the first AVP included.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.out.len()
    }

    /// An AVP of any octets.
    #[inline]
    pub fn avp(&mut self, code: u32, vendor: u32, flags: u8, value: &[u8]) {
        let header = if vendor == 0 { 8 } else { 12 };
        let length = header + value.len();
        // One look at the room for all that follows.
        self.out.reserve(HEAD_OCTETS_MAX + value.len() + WORD);
        self.head(code, vendor, flags, length);
        self.out.extend_from_slice(value);
        self.pad(length);
    }

    /// An AVP whose value `fill` appends to the octets it is given, of which it must not touch those before.
    ///
    /// # Errors
    /// That of `fill`; then nothing of the AVP stays.
    pub fn avp_with<E>(
        &mut self,
        code: u32,
        vendor: u32,
        flags: u8,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.out.len();
        self.head(code, vendor, flags, 0);
        if let Err(error) = fill(self.out) {
            self.out.truncate(start);
            return Err(error);
        }
        let length = self.out.len() - start;
        let octets = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.out[start + 5..start + 8].copy_from_slice(&octets[1..]);
        self.pad(length);
        Ok(())
    }

    /// AVPs that are already octets, padding included.
    pub fn ready(&mut self, avps: &[u8]) {
        debug_assert!(avps.len().is_multiple_of(4), "AVPs are padded");
        self.out.extend_from_slice(avps);
    }

    /// Unsigned32; also Integer32 and Enumerated as their two's complement.
    #[inline]
    pub fn u32(&mut self, code: u32, vendor: u32, flags: u8, value: u32) {
        self.avp(code, vendor, flags, &value.to_be_bytes());
    }

    /// Integer32 and Enumerated.
    pub fn i32(&mut self, code: u32, vendor: u32, flags: u8, value: i32) {
        self.avp(code, vendor, flags, &value.to_be_bytes());
    }

    /// Unsigned64; also Integer64 as its two's complement.
    pub fn u64(&mut self, code: u32, vendor: u32, flags: u8, value: u64) {
        self.avp(code, vendor, flags, &value.to_be_bytes());
    }

    /// Time; see [`write_time`].
    pub fn time(&mut self, code: u32, vendor: u32, flags: u8, at: Timestamp) {
        self.u32(code, vendor, flags, write_time(at));
    }

    /// Address: family and octets. An IPv4-mapped IPv6 address is written as IPv4.
    pub fn address(&mut self, code: u32, vendor: u32, flags: u8, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                self.avp(code, vendor, flags, &[0, 1, a, b, c, d]);
            }
            IpAddr::V6(address) => {
                let mut value = [0; 18];
                value[1] = 2;
                value[2..].copy_from_slice(&address.octets());
                self.avp(code, vendor, flags, &value);
            }
        }
    }

    /// A group of what `fill` writes.
    pub fn group(&mut self, code: u32, vendor: u32, flags: u8, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.open(code, vendor, flags);
        fill(&mut Writer::new(self.out));
        self.close(start);
    }

    /// Begins a group whose members follow; [`close`](Self::close) with the result ends it.
    pub fn open(&mut self, code: u32, vendor: u32, flags: u8) -> GroupStart {
        let start = self.out.len();
        self.head(code, vendor, flags, 0);
        GroupStart { start, members: self.out.len() }
    }

    /// Ends a group. Groups close in the reverse order of their opening.
    pub fn close(&mut self, group: GroupStart) {
        let length = u32::try_from(self.out.len() - group.start).unwrap_or(u32::MAX).to_be_bytes();
        self.out[group.start + 5..group.start + 8].copy_from_slice(&length[1..]);
    }

    /// Ends a group, or takes it away if it got no member. Whether it stays.
    pub fn close_unless_empty(&mut self, group: GroupStart) -> bool {
        if self.out.len() == group.members {
            self.out.truncate(group.start);
            return false;
        }
        self.close(group);
        true
    }

    #[inline]
    fn head(&mut self, code: u32, vendor: u32, flags: u8, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00FF_FFFF;
        let flags = if vendor == 0 { flags & !flag::VENDOR } else { flags | flag::VENDOR };
        // Copies of a constant size are stores, others are calls: the vendor is taken away again where there is none.
        let mut head = [0; HEAD_OCTETS_MAX];
        head[..4].copy_from_slice(&code.to_be_bytes());
        head[4..8].copy_from_slice(&(u32::from(flags) << 24 | length).to_be_bytes());
        head[8..].copy_from_slice(&vendor.to_be_bytes());
        self.out.extend_from_slice(&head);
        if vendor == 0 {
            self.out.truncate(self.out.len() - WORD);
        }
    }

    /// Zeros behind an AVP of this length.
    #[inline]
    fn pad(&mut self, length: usize) {
        self.out.extend_from_slice(&[0; WORD]);
        self.out.truncate(self.out.len() - WORD + length.wrapping_neg() % WORD);
    }
}

/// Octets of the header of an AVP at most.
const HEAD_OCTETS_MAX: usize = 12;
/// Octets that every AVP is a multiple of.
const WORD: usize = 4;

/// An open group of a [`Writer`].
#[derive(Debug)]
#[must_use]
pub struct GroupStart {
    start: usize,
    members: usize,
}

#[cfg(test)]
mod tests;
