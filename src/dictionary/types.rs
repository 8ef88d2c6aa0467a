//! Words of the dictionary language: numbers, types, flags, vendor formats.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Number of the attribute that carries vendor attributes (RFC 2865 §5.26).
pub const VENDOR_SPECIFIC: u32 = 26;

/// First of the extended attributes (RFC 6929 §2).
pub const EXTENDED_FIRST: u32 = 241;

/// First of the long-extended attributes (RFC 6929 §2.2).
pub const LONG_EXTENDED_FIRST: u32 = 245;

/// Last of the extended attributes.
pub const EXTENDED_LAST: u32 = 246;

/// Levels of TLV below an attribute.
pub const TLV_LEVELS_MAX: usize = 4;

/// Vendor numbers end below this: the first octet on the wire is 0 (RFC 2865 §5.26).
pub const VENDOR_NUMBER_END: u32 = 1 << 24;

/// Parts of the longest number: 246, 26, vendor, number and four TLV levels.
const PARTS_MAX: usize = 4 + TLV_LEVELS_MAX;

/// Number of an attribute as a path: `44`, `26.9.1`, `241.1`, `245.26.11344.1`, then TLV numbers.
///
/// Orders part by part.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Oid {
    len: u8,
    parts: [u32; PARTS_MAX],
}

impl Oid {
    /// The path of one standard attribute.
    #[must_use]
    pub const fn standard(number: u8) -> Self {
        let mut parts = [0; PARTS_MAX];
        parts[0] = number as u32;
        Self { len: 1, parts }
    }

    /// The path of one vendor's attribute.
    #[must_use]
    pub const fn vendor(vendor: u32, number: u32) -> Self {
        let mut parts = [0; PARTS_MAX];
        parts[0] = VENDOR_SPECIFIC;
        parts[1] = vendor;
        parts[2] = number;
        Self { len: 3, parts }
    }

    /// The path with these parts; `None` when there are none or too many.
    #[must_use]
    pub fn new(path: &[u32]) -> Option<Self> {
        if path.is_empty() || path.len() > PARTS_MAX {
            return None;
        }
        let mut parts = [0; PARTS_MAX];
        parts[..path.len()].copy_from_slice(path);
        Some(Self { len: u8::try_from(path.len()).ok()?, parts })
    }

    /// The parts, outermost first; at least one.
    #[must_use]
    pub fn parts(&self) -> &[u32] {
        &self.parts[..usize::from(self.len)]
    }

    /// This path with one part more; `None` when it is full.
    #[must_use]
    pub fn child(&self, part: u32) -> Option<Self> {
        let mut child = *self;
        *child.parts.get_mut(usize::from(self.len))? = part;
        child.len += 1;
        Some(child)
    }

    /// This path without its last part; `None` for a path of one part.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        Self::new(&self.parts()[..usize::from(self.len) - 1])
    }

    /// The type octet of the attribute on the wire; `None` for the server-internal numbers above 255.
    #[must_use]
    pub fn outer(&self) -> Option<u8> {
        u8::try_from(self.parts[0]).ok()
    }
}

impl Ord for Oid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for Oid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts().iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Data type of an attribute: how a value becomes octets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Type {
    /// Text, nominally UTF-8.
    String,
    /// Octets; `Some` fixes their count (`octets[N]`).
    Octets(Option<u8>),
    /// Unsigned, 4 octets.
    Integer,
    /// Two's complement, 4 octets.
    Signed,
    /// Unsigned, 1 octet.
    Byte,
    /// Unsigned, 2 octets.
    Short,
    /// Unsigned, 8 octets.
    Integer64,
    /// Seconds since 1970, unsigned, 4 octets; ends in 2106.
    Date,
    /// IPv4 address.
    IpAddr,
    /// IPv6 address.
    Ipv6Addr,
    /// IPv6 prefix (RFC 3162 §2.3).
    Ipv6Prefix,
    /// IPv4 prefix (RFC 8044 §3.11).
    Ipv4Prefix,
    /// Interface identifier, 8 octets (RFC 3162 §2.2).
    InterfaceId,
    /// Ethernet address, 6 octets.
    Ether,
    /// Either family: 4 or 16 octets.
    ComboIp,
    /// 0 or 1 in one octet.
    Bool,
    /// Ascend's binary filter; only as octets.
    Abinary,
    /// Holds sub-attributes.
    Tlv,
    /// Vendor-Specific itself.
    Vsa,
    /// One of 241 to 244 itself.
    Extended,
    /// One of 245 and 246 itself.
    LongExtended,
    /// An extended vendor-specific space itself.
    Evs,
}

impl Type {
    /// The type a dictionary means by `word`, any case; FreeRADIUS, radiusclient and radcli spellings.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        meant(WORDS, word).or_else(|| {
            let word = word.to_ascii_lowercase();
            let count = word.strip_prefix("octets[")?.strip_suffix(']')?;
            count.parse().ok().filter(|count| (1..=253).contains(count)).map(|count| Self::Octets(Some(count)))
        })
    }

    /// Whether VALUE names apply.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Integer | Self::Signed | Self::Byte | Self::Short | Self::Integer64 | Self::Date | Self::Bool
        )
    }

    /// Whether the attribute only holds others.
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Tlv | Self::Vsa | Self::Extended | Self::LongExtended | Self::Evs)
    }

    /// Smallest and largest number of a numeric type; `None` for the others.
    ///
    /// `integer64` ends at `i64::MAX`: no accounted quantity comes near.
    #[must_use]
    pub const fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Integer | Self::Date => (0, u32::MAX as i64),
            Self::Signed => (i32::MIN as i64, i32::MAX as i64),
            Self::Byte => (0, u8::MAX as i64),
            Self::Short => (0, u16::MAX as i64),
            Self::Integer64 => (0, i64::MAX),
            Self::Bool => (0, 1),
            _ => return None,
        })
    }

    /// Whether both types put the same octets on the wire for what they have in common.
    ///
    /// The radiusclient dictionaries know neither `octets` nor, for `Event-Timestamp`, `date`.
    #[must_use]
    pub fn same_octets(self, other: Self) -> bool {
        use Type::{Date, Integer, Octets, String};
        self == other
            || matches!(
                (self, other),
                (Integer, Date) | (Date, Integer) | (String, Octets(None)) | (Octets(None), String)
            )
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octets(Some(count)) => write!(f, "octets[{count}]"),
            kind => f.write_str(name(WORDS, *kind)),
        }
    }
}

/// The words of a type: its name and others that are suggested, and those that are not.
pub(super) type Words<T> = (T, &'static [&'static str], &'static [&'static str]);

/// The words of RADIUS.
pub(super) const WORDS: &[Words<Type>] = &[
    (Type::String, &["string"], &["text"]),
    (Type::Octets(None), &["octets"], &[]),
    (Type::Integer, &["integer"], &["uint32"]),
    (Type::Signed, &["signed"], &["int32"]),
    (Type::Byte, &["byte"], &["uint8"]),
    (Type::Short, &["short"], &["uint16"]),
    (Type::Integer64, &["integer64"], &["uint64"]),
    (Type::Date, &["date"], &[]),
    (Type::IpAddr, &["ipaddr", "ipv4addr"], &[]),
    (Type::Ipv6Addr, &["ipv6addr"], &[]),
    (Type::Ipv6Prefix, &["ipv6prefix"], &[]),
    (Type::Ipv4Prefix, &["ipv4prefix"], &["cidr"]),
    (Type::InterfaceId, &["ifid"], &[]),
    (Type::Ether, &["ether"], &[]),
    (Type::ComboIp, &["combo-ip"], &[]),
    (Type::Bool, &["bool"], &[]),
    (Type::Abinary, &["abinary"], &[]),
    (Type::Tlv, &["tlv"], &[]),
    (Type::Vsa, &[], &["vsa"]),
    (Type::Extended, &[], &["extended"]),
    (Type::LongExtended, &[], &["long-extended"]),
    (Type::Evs, &[], &["evs"]),
];

/// The type meant by a word, any case.
pub(super) fn meant<T: Copy>(words: &[Words<T>], word: &str) -> Option<T> {
    let is_it = |own: &&str| own.eq_ignore_ascii_case(word);
    words.iter().find(|(_, told, others)| told.iter().any(is_it) || others.iter().any(is_it)).map(|(kind, _, _)| *kind)
}

/// The name of a type.
pub(super) fn name<T: Copy + Eq>(words: &[Words<T>], kind: T) -> &'static str {
    let own = words.iter().find(|(own, _, _)| *own == kind);
    own.and_then(|(_, told, others)| told.iter().chain(*others).next()).copied().unwrap_or_default()
}

/// The words that are suggested.
pub(super) fn told<T: 'static>(words: &'static [Words<T>]) -> impl Iterator<Item = &'static str> {
    words.iter().flat_map(|(_, told, _)| told.iter().copied())
}

/// Flags of an attribute: the fourth field of its line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// `has_tag`: the value starts with a tag (RFC 2868 §3.1).
    pub has_tag: bool,
    /// `encrypt=1`, `2` or `3`: the value is hidden with the secret; 0 is not.
    pub encrypt: u8,
    /// `secret`: the value is not to be printed.
    pub secret: bool,
    /// `array`: one attribute holds several values.
    pub array: bool,
    /// `concat`: one value runs over several attributes.
    pub concat: bool,
    /// `virtual`: computed inside FreeRADIUS, never on the wire.
    pub is_virtual: bool,
}

/// Comma-separated as in a dictionary; empty for none.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypt = format!("encrypt={}", self.encrypt);
        let words = [
            (self.has_tag, "has_tag"),
            (self.encrypt > 0, encrypt.as_str()),
            (self.secret, "secret"),
            (self.array, "array"),
            (self.concat, "concat"),
            (self.is_virtual, "virtual"),
        ];
        let words: Vec<&str> = words.into_iter().filter_map(|(set, word)| set.then_some(word)).collect();
        f.write_str(&words.join(","))
    }
}

/// Layout of one vendor's attributes inside Vendor-Specific: `format=t,l[,c]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Format {
    /// Octets of the vendor type: 1, 2 or 4.
    pub type_octets: u8,
    /// Octets of the vendor length: 0 (one attribute fills the rest), 1 or 2.
    pub length_octets: u8,
    /// Whether a continuation octet follows (WiMAX).
    pub continuation: bool,
}

impl Format {
    /// RFC 2865 §5.26: type and length of one octet each.
    pub const RFC: Self = Self { type_octets: 1, length_octets: 1, continuation: false };

    /// The format of a vendor whose line names none: as FreeRADIUS takes it.
    #[must_use]
    pub const fn of_vendor(number: u32) -> Self {
        match number {
            429 => Self { type_octets: 4, length_octets: 0, continuation: false },
            4846 => Self { type_octets: 2, length_octets: 1, continuation: false },
            8164 => Self { type_octets: 2, length_octets: 2, continuation: false },
            _ => Self::RFC,
        }
    }

    /// Reads `t,l` or `t,l,c`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(',');
        let type_octets = match fields.next()? {
            "1" => 1,
            "2" => 2,
            "4" => 4,
            _ => return None,
        };
        let length_octets = match fields.next()? {
            "0" => 0,
            "1" => 1,
            "2" => 2,
            _ => return None,
        };
        let continuation = match fields.next() {
            None => false,
            Some("c") if (type_octets, length_octets) == (1, 1) => true,
            Some(_) => return None,
        };
        fields.next().is_none().then_some(Self { type_octets, length_octets, continuation })
    }

    /// Octets before the value, after the vendor number.
    #[must_use]
    pub fn header_octets(self) -> usize {
        usize::from(self.type_octets) + usize::from(self.length_octets) + usize::from(self.continuation)
    }

    /// Largest vendor type that fits.
    #[must_use]
    pub const fn number_max(self) -> u32 {
        match self.type_octets {
            1 => u8::MAX as u32,
            2 => u16::MAX as u32,
            _ => u32::MAX,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}{}", self.type_octets, self.length_octets, if self.continuation { ",c" } else { "" })
    }
}

/// One vendor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vendor {
    /// Name as last spelled.
    pub name: Box<str>,
    /// Private enterprise number, below 2^24.
    pub number: u32,
    /// Layout of its attributes.
    pub format: Format,
    /// Where it was defined.
    pub origin: Origin,
}

/// Place in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Path as it was opened, or the name of a built-in file.
    pub file: Arc<str>,
    /// Line from 1; 0 is the whole file.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}
