//! Values of AVPs: from octets into text.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::definition::Definition;
use super::types::Type;
use super::value::SECONDS_1900_TO_1970;
use crate::dictionary::print::{address, hex_text, ipv6_prefix, quoted};

impl Definition {
    /// The text of a value: quoted, named, or in `0x` hex as the type wants; `None` when the octets do not have the
    /// type's form, and for groups.
    #[must_use]
    pub fn print(&self, octets: &[u8]) -> Option<String> {
        let signed = || -> Option<i64> {
            match self.kind.octets()? {
                4 => octets.try_into().ok().map(|octets| i64::from(i32::from_be_bytes(octets))),
                _ => octets.try_into().ok().map(i64::from_be_bytes),
            }
        };
        Some(match self.kind {
            Type::Utf8String
            | Type::DiameterIdentity
            | Type::DiameterUri
            | Type::IpFilterRule
            | Type::QosFilterRule => quoted(octets),
            Type::OctetString => match std::str::from_utf8(octets) {
                // Identifiers are text more often than not.
                Ok(text) if !text.is_empty() && !text.contains(char::is_control) => quoted(octets),
                _ => hex_text(octets),
            },
            Type::Unsigned32 => self.named(i64::from(u32::from_be_bytes(octets.try_into().ok()?))),
            Type::Unsigned64 => {
                let number = u64::from_be_bytes(octets.try_into().ok()?);
                i64::try_from(number).map_or_else(|_| number.to_string(), |number| self.named(number))
            }
            Type::Integer32 | Type::Enumerated | Type::Integer64 => self.named(signed()?),
            Type::Float32 => f32::from_be_bytes(octets.try_into().ok()?).to_string(),
            Type::Float64 => f64::from_be_bytes(octets.try_into().ok()?).to_string(),
            Type::Time => {
                let value = u32::from_be_bytes(octets.try_into().ok()?);
                let era = if value & 0x8000_0000 == 0 { 1 << 32 } else { 0 };
                jiff::Timestamp::from_second(i64::from(value) + era - SECONDS_1900_TO_1970).ok()?.to_string()
            }
            Type::Address => {
                let (family, rest) = octets.split_first_chunk::<2>()?;
                match u16::from_be_bytes(*family) {
                    1 => Ipv4Addr::from(<[u8; 4]>::try_from(rest).ok()?).to_string(),
                    2 => Ipv6Addr::from(<[u8; 16]>::try_from(rest).ok()?).to_string(),
                    8 if rest.iter().all(u8::is_ascii_digit) => format!("+{}", std::str::from_utf8(rest).ok()?),
                    _ => return None,
                }
            }
            Type::BareAddress => address(octets)?.to_string(),
            Type::BarePrefix => ipv6_prefix(octets)?,
            Type::Grouped => return None,
        })
    }

    fn named(&self, number: i64) -> String {
        match self.values.name(number) {
            Some(name) => format!("{name} ({number})"),
            None => number.to_string(),
        }
    }
}
