//! Attributes of a packet as text, the way FreeRADIUS' detail file shows them.

use std::fmt;

use super::Dictionary;
use super::attribute::{Attribute, Handle};
use super::print::{hex_text, print};
use super::types::{Format, Oid, Type};
use super::wire::{LONG_HEADER_OCTETS, MORE};

/// One decoded attribute.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Number as a path.
    pub oid: Oid,
    /// Its definition; `None` when the dictionary has none or the octets do not have the type's size.
    pub attribute: Option<Handle>,
    /// Tag of an attribute with `has_tag` (RFC 2868); 0 stands for none in an integer.
    pub tag: Option<u8>,
    /// The value's octets, without a tag.
    pub octets: Vec<u8>,
    /// The value as text: quoted, named or in `0x` hex as its type wants.
    pub text: String,
}

impl Decoded {
    /// Name of the attribute, or `Attr-` with the number.
    #[must_use]
    pub fn name(&self) -> String {
        self.attribute.as_ref().map_or_else(|| format!("Attr-{}", self.oid), |attribute| attribute.name().to_owned())
    }
}

/// `Name = value`, `Name:tag = value`, `Attr-26.9.1 = 0x…`.
impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attribute {
            Some(attribute) => f.write_str(attribute.name())?,
            None => write!(f, "Attr-{}", self.oid)?,
        }
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, " = {}", self.text)
    }
}

impl Dictionary {
    /// Decodes the attributes that follow a packet's header, in their order.
    ///
    /// Never fails: an attribute whose inside is malformed is shown as octets of the outermost one; after a broken
    /// length the rest is shown as one attribute.
    #[must_use]
    pub fn decode(&self, attributes: &[u8]) -> Vec<Decoded> {
        let mut out = Vec::new();
        let mut rest = attributes;
        while let [number, length, ..] = *rest {
            let length = usize::from(length);
            let oid = Oid::standard(number);
            if length < 2 || length > rest.len() {
                out.push(raw(oid, &rest[1..]));
                return out;
            }
            let (value, after) = (&rest[2..length], &rest[length..]);
            let before = out.len();
            rest = after;
            let done = match number {
                26 => self.vendor_specific(value, &mut out),
                241..=244 => self.extended(number, value, &mut out),
                245 | 246 => {
                    let (whole, after) = join_fragments(number, value, after);
                    rest = after;
                    self.extended(number, &whole, &mut out)
                }
                _ => {
                    self.leaf(oid, value, &mut out);
                    Some(())
                }
            };
            if done.is_none() {
                out.truncate(before);
                out.push(raw(oid, value));
            }
        }
        if let [number] = *rest {
            out.push(raw(Oid::standard(number), &[]));
        }
        out
    }

    /// `None` when malformed.
    fn vendor_specific(&self, value: &[u8], out: &mut Vec<Decoded>) -> Option<()> {
        let (vendor, mut rest) = value.split_first_chunk::<4>()?;
        let vendor = u32::from_be_bytes(*vendor);
        let format = self.vendors.get(&vendor).map_or_else(|| Format::of_vendor(vendor), |known| known.format);
        let (type_octets, length_octets) = (usize::from(format.type_octets), usize::from(format.length_octets));
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let number = unsigned(rest.get(..type_octets)?);
            let length = match length_octets {
                0 => rest.len(),
                _ => usize::try_from(unsigned(rest.get(type_octets..type_octets + length_octets)?)).ok()?,
            };
            let oid = Oid::vendor(vendor, number);
            let inside = rest.get(format.header_octets()..length)?;
            match format.continuation && rest[format.header_octets() - 1] & MORE != 0 {
                true => out.push(raw(oid, inside)),
                false => self.leaf(oid, inside, out),
            }
            rest = &rest[length..];
        }
        Some(())
    }

    fn extended(&self, number: u8, value: &[u8], out: &mut Vec<Decoded>) -> Option<()> {
        let (&extended, value) = value.split_first()?;
        let oid = Oid::new(&[number.into(), extended.into()])?;
        if extended == 26 {
            return self.extended_vendor(oid, value, out);
        }
        self.leaf(oid, value, out);
        Some(())
    }

    fn extended_vendor(&self, space: Oid, value: &[u8], out: &mut Vec<Decoded>) -> Option<()> {
        let (vendor, value) = value.split_first_chunk::<4>()?;
        let (&number, value) = value.split_first()?;
        let oid = space.child(u32::from_be_bytes(*vendor))?.child(number.into())?;
        self.leaf(oid, value, out);
        Some(())
    }

    fn leaf(&self, oid: Oid, octets: &[u8], out: &mut Vec<Decoded>) {
        let Some(attribute) = self.by_oid(&oid) else { return out.push(raw(oid, octets)) };
        if attribute.kind() == Type::Tlv {
            let before = out.len();
            if self.tlvs(oid, octets, out).is_none() {
                out.truncate(before);
                out.push(raw(oid, octets));
            }
            return;
        }
        let (tag, value) = split_tag(&attribute, octets);
        let text = if attribute.flags().encrypt > 0 || attribute.flags().secret {
            Some("<hidden>".to_owned())
        } else if tag.is_some() && attribute.kind() == Type::Integer {
            // The tag stands in the most significant octet (RFC 2868 §3.1).
            print(&attribute, &[&[0], value].concat())
        } else {
            print(&attribute, value)
        };
        match text {
            Some(text) => out.push(Decoded { oid, attribute: Some(attribute), tag, octets: value.to_vec(), text }),
            None => out.push(raw(oid, octets)),
        }
    }

    fn tlvs(&self, parent: Oid, octets: &[u8], out: &mut Vec<Decoded>) -> Option<()> {
        let mut rest = octets;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let [number, length, ..] = *rest else { return None };
            let inside = rest.get(2..usize::from(length))?;
            self.leaf(parent.child(number.into())?, inside, out);
            rest = &rest[usize::from(length)..];
        }
        Some(())
    }
}

/// Tag and value; of an integer the value has three octets (RFC 2868 §3.1).
fn split_tag<'a>(attribute: &Attribute, octets: &'a [u8]) -> (Option<u8>, &'a [u8]) {
    match (attribute.flags().has_tag, attribute.kind(), octets) {
        (true, Type::Integer, [tag, rest @ ..]) if octets.len() == 4 => (Some(*tag), rest),
        (true, Type::String, [tag @ 0..=0x1f, rest @ ..]) => (Some(*tag), rest),
        _ => (None, octets),
    }
}

fn raw(oid: Oid, octets: &[u8]) -> Decoded {
    Decoded { oid, attribute: None, tag: None, octets: octets.to_vec(), text: hex_text(octets) }
}

fn unsigned(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

/// Joins the value of a long-extended attribute with those of the fragments that follow (RFC 6929 §2.2).
///
/// The result starts with the extended type; `rest` is what follows the last fragment. A missing fragment ends it.
fn join_fragments<'a>(number: u8, value: &[u8], mut rest: &'a [u8]) -> (Vec<u8>, &'a [u8]) {
    let [extended, flags, data @ ..] = value else { return (Vec::new(), rest) };
    let mut whole = vec![*extended];
    whole.extend_from_slice(data);
    let mut has_more = flags & MORE != 0;
    while has_more {
        let [next, length, next_extended, flags, ..] = *rest else { break };
        let length = usize::from(length);
        if (next, next_extended) != (number, *extended) || length < LONG_HEADER_OCTETS || length > rest.len() {
            break;
        }
        whole.extend_from_slice(&rest[LONG_HEADER_OCTETS..length]);
        has_more = flags & MORE != 0;
        rest = &rest[length..];
    }
    (whole, rest)
}
