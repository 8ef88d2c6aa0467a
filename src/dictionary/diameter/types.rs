//! Data types of AVPs (RFC 6733 §4.2, §4.3) and the words dictionaries have for them.

use std::fmt;

use crate::dictionary::types::{self as radius, Words, meant, name, told};

/// Data type of an AVP: how a value becomes octets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Type {
    /// Any octets.
    OctetString,
    /// UTF-8 text without control characters.
    Utf8String,
    /// Name of a node or a realm.
    DiameterIdentity,
    /// `aaa://` and `aaas://`.
    DiameterUri,
    /// Two's complement, 4 octets.
    Integer32,
    /// Two's complement, 8 octets.
    Integer64,
    /// Unsigned, 4 octets.
    Unsigned32,
    /// Unsigned, 8 octets.
    Unsigned64,
    /// IEEE 754, 4 octets.
    Float32,
    /// IEEE 754, 8 octets.
    Float64,
    /// Integer32 with names.
    Enumerated,
    /// Seconds since 1900 modulo 2^32.
    Time,
    /// Family and address.
    Address,
    /// AVPs.
    Grouped,
    /// Filter text; sent as it is.
    IpFilterRule,
    /// Filter text; sent as it is.
    QosFilterRule,
    /// OctetString that holds an IPv4 or IPv6 address without family: RADIUS `ipaddr` and `ipv6addr`.
    BareAddress,
    /// OctetString that holds an IPv6 prefix as RADIUS has it (RFC 3162 §2.3).
    BarePrefix,
}

/// A type and the kind of dictionary whose word it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Word {
    pub(super) kind: Type,
    /// Whether a RADIUS dictionary has the word: it may stand for a more exact type.
    pub(super) is_radius: bool,
}

/// The words of Diameter.
const WORDS: &[Words<Type>] = &[
    (Type::OctetString, &["OctetString"], &["hex", "hexstring"]),
    (Type::Utf8String, &["UTF8String"], &[]),
    (Type::DiameterIdentity, &["DiameterIdentity"], &["diamident"]),
    (Type::DiameterUri, &["DiameterURI"], &["diamuri"]),
    (Type::Integer32, &["Integer32"], &[]),
    (Type::Integer64, &["Integer64"], &[]),
    (Type::Unsigned32, &["Unsigned32"], &["unsigned", "appid", "vendorid"]),
    (Type::Unsigned64, &["Unsigned64"], &[]),
    (Type::Float32, &["Float32"], &["float"]),
    (Type::Float64, &["Float64"], &[]),
    (Type::Enumerated, &["Enumerated"], &[]),
    (Type::Time, &["Time"], &[]),
    (Type::Address, &["Address"], &["ip", "ipaddress"]),
    (Type::Grouped, &["Grouped"], &[]),
    (Type::IpFilterRule, &["IPFilterRule"], &[]),
    (Type::QosFilterRule, &["QoSFilterRule"], &[]),
    (Type::BareAddress, &[], &["ipv4", "ipv6"]),
];

/// The words that are suggested: those of the RFCs, and the most usual ones of RADIUS.
pub(in crate::dictionary) fn suggested() -> impl Iterator<Item = &'static str> {
    told(WORDS).chain(["string", "octets", "integer", "ipaddr", "date"])
}

impl Type {
    /// The type a Diameter dictionary means by `word`, any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        meant(WORDS, word)
    }

    /// What a type of RADIUS is in Diameter; `None` for one that holds attributes.
    const fn of_radius(kind: radius::Type) -> Option<Self> {
        use radius::Type as R;
        Some(match kind {
            R::String => Self::Utf8String,
            R::Octets(_) | R::Abinary | R::InterfaceId | R::Ether | R::Ipv4Prefix => Self::OctetString,
            R::Integer | R::Byte | R::Short | R::Bool => Self::Unsigned32,
            R::Signed => Self::Integer32,
            R::Integer64 => Self::Unsigned64,
            R::Date => Self::Time,
            R::IpAddr | R::Ipv6Addr => Self::BareAddress,
            R::Ipv6Prefix => Self::BarePrefix,
            R::ComboIp => Self::Address,
            R::Tlv | R::Vsa | R::Extended | R::LongExtended | R::Evs => return None,
        })
    }

    pub(super) fn word(word: &str) -> Option<Word> {
        // `integer64` stands in both: unsigned in RADIUS, signed as RFC 6733 spells it.
        if word.eq_ignore_ascii_case("integer64") {
            let is_radius = word.starts_with('i');
            return Some(Word { kind: if is_radius { Self::Unsigned64 } else { Self::Integer64 }, is_radius });
        }
        let radius = match radius::Type::parse(word) {
            Some(kind) => Self::of_radius(kind),
            // Any count, for here it changes nothing.
            None => word.to_ascii_lowercase().starts_with("octets[").then_some(Self::OctetString),
        };
        let radius = radius.map(|kind| Word { kind, is_radius: true });
        radius.or_else(|| Self::parse(word).map(|kind| Word { kind, is_radius: false }))
    }

    /// Whether both types put the same octets on the wire for what they have in common.
    #[must_use]
    pub fn same_octets(self, other: Self) -> bool {
        self.family() == other.family()
    }

    const fn family(self) -> u8 {
        match self {
            Self::OctetString
            | Self::Utf8String
            | Self::DiameterIdentity
            | Self::DiameterUri
            | Self::IpFilterRule
            | Self::QosFilterRule => 0,
            Self::Integer32 | Self::Unsigned32 | Self::Enumerated => 1,
            Self::Integer64 | Self::Unsigned64 => 2,
            Self::Float32 => 3,
            Self::Float64 => 4,
            Self::Time => 5,
            Self::Address => 6,
            Self::Grouped => 7,
            Self::BareAddress => 8,
            Self::BarePrefix => 9,
        }
    }

    /// Whether any text fits.
    #[must_use]
    pub const fn is_text(self) -> bool {
        self.family() == 0
    }

    /// Whether VALUE names apply.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self.family(), 1 | 2)
    }

    /// Smallest and largest number of an integer type; `None` for the others.
    ///
    /// Unsigned64 ends at `i64::MAX`: no accounted quantity comes near.
    #[must_use]
    pub const fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Integer32 | Self::Enumerated => (i32::MIN as i64, i32::MAX as i64),
            Self::Unsigned32 => (0, u32::MAX as i64),
            Self::Integer64 => (i64::MIN, i64::MAX),
            Self::Unsigned64 => (0, i64::MAX),
            _ => return None,
        })
    }

    /// Octets a value has, where the type fixes them.
    #[must_use]
    pub const fn octets(self) -> Option<usize> {
        match self {
            Self::Integer32 | Self::Unsigned32 | Self::Enumerated | Self::Float32 | Self::Time => Some(4),
            Self::Integer64 | Self::Unsigned64 | Self::Float64 => Some(8),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareAddress => "OctetString (address)",
            Self::BarePrefix => "OctetString (prefix)",
            kind => name(WORDS, *kind),
        })
    }
}
