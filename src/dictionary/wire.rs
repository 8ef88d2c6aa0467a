//! Where the value of an attribute stands on the wire: the octets before it and the lengths that count it.
//!
//! RFC 2865 §5 and §5.26 with the vendor formats in use, RFC 6929 for 241 to 246, TLVs in any of them. The header is
//! computed once; encoding copies it, appends the value and fills in the lengths.

use smallvec::SmallVec;

use super::types::{EXTENDED_FIRST, EXTENDED_LAST, Format, LONG_EXTENDED_FIRST, Oid, VENDOR_SPECIFIC};

/// Octets of one attribute, header included (RFC 2865 §5).
pub const ATTRIBUTE_OCTETS_MAX: usize = 255;

/// Octets of a value that runs over several long-extended attributes: fifteen fragments, so that a packet holds it.
pub const LONG_VALUE_OCTETS_MAX: usize = 15 * LONG_FRAGMENT_OCTETS;

/// Octets a long-extended attribute carries after its header.
pub(super) const LONG_FRAGMENT_OCTETS: usize = ATTRIBUTE_OCTETS_MAX - LONG_HEADER_OCTETS;

/// Octets of a long-extended header: type, length, extended type, flags.
pub(super) const LONG_HEADER_OCTETS: usize = 4;

/// Flag of a long-extended attribute: the next one goes on with this value (RFC 6929 §2.2).
pub(super) const MORE: u8 = 0x80;

/// Header of an attribute with its open lengths.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wire {
    header: SmallVec<[u8; 24]>,
    lengths: SmallVec<[Length; 6]>,
    is_long: bool,
}

/// A length field: where it is and from where it counts, both from the start of the attribute.
#[derive(Debug, Eq, PartialEq)]
struct Length {
    at: usize,
    from: usize,
    octets: usize,
}

/// Why a path has no place on the wire.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Misplaced {
    /// A number is outside its field: the number and the largest one.
    Number(u32, u32),
    /// The path ends at a container that needs a further part.
    Short,
}

impl Wire {
    /// The place of `oid`; `Ok(None)` for the internal numbers above 255. `format` tells a vendor's layout.
    pub(super) fn new(oid: &Oid, format: impl Fn(u32) -> Format) -> Result<Option<Self>, Misplaced> {
        let parts = oid.parts();
        let first = parts[0];
        if first > 255 {
            return if parts.len() == 1 { Ok(None) } else { Err(Misplaced::Number(first, 255)) };
        }
        if first == 0 {
            return Err(Misplaced::Number(0, 255));
        }
        let mut wire = Self { header: SmallVec::new(), lengths: SmallVec::new(), is_long: false };
        wire.octet(first)?;
        wire.length(0, 1);
        let rest = match (first, &parts[1..]) {
            (_, []) => &[][..],
            (VENDOR_SPECIFIC, [_]) => return Err(Misplaced::Short),
            (VENDOR_SPECIFIC, [vendor, number, rest @ ..]) => {
                wire.vendor(*vendor, *number, format(*vendor))?;
                rest
            }
            (EXTENDED_FIRST..=EXTENDED_LAST, [number, rest @ ..]) => {
                wire.octet(*number)?;
                wire.is_long = first >= LONG_EXTENDED_FIRST;
                if wire.is_long {
                    wire.header.push(0);
                }
                match (*number, rest) {
                    (VENDOR_SPECIFIC, []) => rest,
                    (VENDOR_SPECIFIC, [_]) => return Err(Misplaced::Short),
                    (VENDOR_SPECIFIC, [vendor, number, rest @ ..]) => {
                        wire.header.extend_from_slice(&vendor.to_be_bytes());
                        wire.octet(*number)?;
                        rest
                    }
                    _ => rest,
                }
            }
            (_, rest) => rest,
        };
        for &tlv in rest {
            let from = wire.header.len();
            wire.octet(tlv)?;
            wire.length(from, 1);
        }
        Ok(Some(wire))
    }

    fn octet(&mut self, number: u32) -> Result<(), Misplaced> {
        self.header.push(u8::try_from(number).map_err(|_| Misplaced::Number(number, 255))?);
        Ok(())
    }

    fn length(&mut self, from: usize, octets: usize) {
        self.lengths.push(Length { at: self.header.len(), from, octets });
        self.header.extend(std::iter::repeat_n(0, octets));
    }

    fn vendor(&mut self, vendor: u32, number: u32, format: Format) -> Result<(), Misplaced> {
        if number > format.number_max() {
            return Err(Misplaced::Number(number, format.number_max()));
        }
        self.header.extend_from_slice(&vendor.to_be_bytes());
        let from = self.header.len();
        self.header.extend_from_slice(&number.to_be_bytes()[4 - usize::from(format.type_octets)..]);
        if format.length_octets > 0 {
            self.length(from, usize::from(format.length_octets));
        }
        if format.continuation {
            self.header.push(0);
        }
        Ok(())
    }

    /// Octets before the value.
    pub(super) fn header_octets(&self) -> usize {
        self.header.len()
    }

    /// Most octets of one value.
    pub(super) fn value_octets_max(&self) -> usize {
        let header = self.header.len();
        let limit = |length: &Length| match (length.at, self.is_long) {
            (1, true) => LONG_HEADER_OCTETS + LONG_VALUE_OCTETS_MAX - header,
            (_, _) if length.octets == 1 => ATTRIBUTE_OCTETS_MAX - (header - length.from),
            _ => usize::from(u16::MAX) - (header - length.from),
        };
        self.lengths.iter().map(limit).min().unwrap_or(0)
    }

    /// Appends the header with open lengths.
    pub(super) fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    /// Fills in the lengths of the attribute that starts at `start`; its value is at most `value_octets_max` long.
    pub(super) fn close(&self, out: &mut Vec<u8>, start: usize) {
        let total = out.len() - start;
        let split = self.is_long && total > ATTRIBUTE_OCTETS_MAX;
        for length in &self.lengths {
            if split && length.at == 1 {
                continue;
            }
            let count = (total - length.from).to_be_bytes();
            let at = start + length.at;
            out[at..at + length.octets].copy_from_slice(&count[count.len() - length.octets..]);
        }
        if split {
            split_long(out, start);
        }
    }
}

/// Cuts the long-extended attribute at `start` into fragments (RFC 6929 §2.2).
fn split_long(out: &mut Vec<u8>, start: usize) {
    let whole = out.split_off(start);
    let (header, payload) = whole.split_at(LONG_HEADER_OCTETS);
    let mut fragments = payload.chunks(LONG_FRAGMENT_OCTETS).peekable();
    while let Some(fragment) = fragments.next() {
        let octets = LONG_HEADER_OCTETS + fragment.len();
        let flags = if fragments.peek().is_some() { MORE } else { 0 };
        // At most 255: a fragment is at most 251 octets.
        out.extend_from_slice(&[header[0], u8::try_from(octets).unwrap_or(u8::MAX), header[2], flags]);
        out.extend_from_slice(fragment);
    }
}
