//! Values: from text, number, instant or address into octets.

use std::net::IpAddr;
use std::str;

use crate::clock::Timestamp;

use super::attribute::Attribute;
use super::entry::{Entry, Protocol};
use super::nearest;
use super::types::Type;

/// What is to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Text as it came, or as an operator writes it; see the table of [`Attribute::encode`].
    Text(&'a [u8]),
    /// The value's octets themselves, such as a Class to be returned: only the size is checked.
    Octets(&'a [u8]),
    /// A number.
    Number(i64),
    /// An instant: whole seconds since 1970 in a numeric type, RFC 3339 with milliseconds in a string.
    Timestamp(Timestamp),
    /// An address: its octets where the type has them, else its text.
    Address(IpAddr),
}

/// Why a value cannot be encoded. The record goes on without it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Zero octets are never sent (RFC 2865 §5).
    #[error("empty value for {attribute}")]
    Empty {
        /// Name of the attribute.
        attribute: Box<str>,
    },
    /// More octets than the attribute holds.
    #[error("{octets} octets for {attribute}, which holds {max}")]
    TooLong {
        /// Name of the attribute.
        attribute: Box<str>,
        /// Octets of the value.
        octets: usize,
        /// Most octets it may have.
        max: usize,
    },
    /// The value does not have the form of the type.
    #[error("`{value}` is no {kind} for {attribute}{hint}")]
    Form {
        /// Name of the attribute.
        attribute: Box<str>,
        /// The value, shortened, for people.
        value: Box<str>,
        /// Type of the attribute.
        kind: Box<str>,
        /// Empty, or what would be right, after a separator.
        hint: Box<str>,
    },
    /// The number is outside the type's range.
    #[error("{number} for {attribute} is outside {min} to {max}")]
    Range {
        /// Name of the attribute.
        attribute: Box<str>,
        /// The number.
        number: i64,
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// The attribute carries no values of calls; see [`Attribute::refusal`].
    #[error("no value can be sent in {attribute}: {why}")]
    Refused {
        /// Name of the attribute.
        attribute: Box<str>,
        /// The reason.
        why: &'static str,
    },
    /// The AVP holds others.
    #[error("{attribute} is a group and has no value of its own")]
    Group {
        /// Name of the AVP.
        attribute: Box<str>,
    },
}

/// Characters of a value quoted in an error.
const QUOTED_CHARS_MAX: usize = 40;

/// Largest tag (RFC 2868 §3.1).
const TAG_MAX: u8 = 0x1f;

impl Attribute {
    /// Appends the whole attribute: its header, the value, every length; fragments for a long value in 245 and 246.
    ///
    /// Text is taken as follows; blanks around it count only for `string` and `octets`.
    ///
    /// | type | text |
    /// |---|---|
    /// | `string` | any octets |
    /// | `octets` | `0x` and hex digits in pairs, else the octets themselves |
    /// | `integer`, `signed`, `byte`, `short`, `integer64` | decimal, `0x` hex, or a VALUE name in any case |
    /// | `bool` | the same, `yes`, `no`, `true`, `false` |
    /// | `date` | seconds since 1970, or RFC 3339 |
    /// | `ipaddr`, `ipv6addr`, `combo-ip` | a literal, brackets and zone left out; never a host name |
    /// | `ipv4prefix`, `ipv6prefix` | address, `/`, bits; without bits the whole address |
    /// | `ifid`, `ether` | hex groups with `:` (`ether` also `-`) |
    /// | `abinary` | `0x` hex |
    ///
    /// An attribute with `has_tag` takes `:TAG:VALUE` with a tag from 1 to 31.
    ///
    /// # Errors
    /// See [`ValueError`]; then nothing has been appended.
    pub fn encode(&self, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let Some(wire) = &self.rules.wire else { return Err(self.refused()) };
        let start = out.len();
        wire.open(out);
        let octets = match self.append(input, out) {
            Ok(()) => out.len() - start - wire.header_octets(),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        let max = wire.value_octets_max();
        let error = match octets {
            0 => ValueError::Empty { attribute: self.name.clone() },
            _ if octets > max => ValueError::TooLong { attribute: self.name.clone(), octets, max },
            _ => {
                wire.close(out, start);
                return Ok(());
            }
        };
        out.truncate(start);
        Err(error)
    }

    fn refused(&self) -> ValueError {
        ValueError::Refused {
            attribute: self.name.clone(),
            why: self.refusal().unwrap_or("it has no place on the wire"),
        }
    }

    fn append(&self, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if self.kind.is_container() {
            return Err(self.refused());
        }
        match input {
            Input::Octets(octets) => {
                out.extend_from_slice(octets);
                Ok(())
            }
            Input::Text([]) => Err(ValueError::Empty { attribute: self.name.clone() }),
            Input::Text(text) if self.rules.flags.has_tag => self.tagged(text, out),
            Input::Text(text) => self.append_text(text, out),
            Input::Number(number) if self.rules.flags.has_tag => self.tagged(number.to_string().as_bytes(), out),
            Input::Number(number) if self.kind.is_number() => self.append_number(number, out),
            Input::Number(number) => self.append_text(number.to_string().as_bytes(), out),
            Input::Timestamp(time) if self.kind.is_number() => self.append_number(time.secs(), out),
            Input::Timestamp(time) => self.append_text(rfc_3339(time).as_bytes(), out),
            Input::Address(address) => self.append_address(address, out),
        }
    }

    fn tagged(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let (tag, value) = match split_tag(text) {
            Some((tag, value)) => (Some(tag), value),
            None => (None, text),
        };
        if value.is_empty() {
            return Err(ValueError::Empty { attribute: self.name.clone() });
        }
        let start = out.len();
        if self.kind == Type::Integer {
            self.append_text(value, out)?;
            if out[start] != 0 {
                let number =
                    i64::from(u32::from_be_bytes([out[start], out[start + 1], out[start + 2], out[start + 3]]));
                return Err(self.range(number, 0, 0xff_ffff));
            }
            out[start] = tag.unwrap_or(0);
            return Ok(());
        }
        match tag {
            Some(tag) => out.push(tag),
            // Without a tag the first octet would be read as one.
            None if value[0] <= TAG_MAX => out.push(0),
            None => {}
        }
        self.append_text(value, out)
    }

    fn append_text(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self.kind {
            Type::String => {
                out.extend_from_slice(text);
                return Ok(());
            }
            Type::Octets(count) => {
                let start = out.len();
                if !hex(text, out) {
                    out.extend_from_slice(text);
                }
                return match count {
                    Some(count) if out.len() - start != usize::from(count) => Err(self.form(text, "")),
                    _ => Ok(()),
                };
            }
            Type::Abinary => {
                return if hex(text.trim_ascii(), out) { Ok(()) } else { Err(self.form(text, "write `0x…`")) };
            }
            _ => {}
        }
        let word = str::from_utf8(text).map_err(|_| self.form(text, ""))?.trim();
        let done = match self.kind {
            Type::IpAddr | Type::Ipv6Addr | Type::ComboIp => {
                let address = address(word).ok_or_else(|| self.form(text, "names are not looked up"))?;
                return self.append_address(address, out);
            }
            Type::Ipv6Prefix | Type::Ipv4Prefix => self.prefix(word, out),
            Type::InterfaceId => interface_id(word, out),
            Type::Ether => ether(word, out),
            _ => {
                let number = self.number_of(word).ok_or_else(|| self.no_number(text, word))?;
                return self.append_number(number, out);
            }
        };
        done.ok_or_else(|| self.form(text, ""))
    }

    /// The number `word` means for this attribute.
    fn number_of(&self, word: &str) -> Option<i64> {
        self.numbered(word).or_else(|| match self.kind {
            Type::Date => word.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
            Type::Bool if word.eq_ignore_ascii_case("yes") || word.eq_ignore_ascii_case("true") => Some(1),
            Type::Bool if word.eq_ignore_ascii_case("no") || word.eq_ignore_ascii_case("false") => Some(0),
            _ => None,
        })
    }

    fn append_number(&self, number: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let (min, max) = self.kind.range().unwrap_or((0, i64::from(u32::MAX)));
        if number < min || number > max {
            return Err(self.range(number, min, max));
        }
        let octets = number.to_be_bytes();
        let width = number_octets(self.kind);
        out.extend_from_slice(&octets[octets.len() - width..]);
        Ok(())
    }

    fn append_address(&self, address: IpAddr, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match (self.kind, address) {
            (Type::IpAddr | Type::ComboIp, IpAddr::V4(v4)) => out.extend_from_slice(&v4.octets()),
            (Type::Ipv6Addr | Type::ComboIp, IpAddr::V6(v6)) => out.extend_from_slice(&v6.octets()),
            (Type::Ipv4Prefix, IpAddr::V4(_)) | (Type::Ipv6Prefix, IpAddr::V6(_)) => {
                return self.prefix(&address.to_string(), out).ok_or_else(|| self.form(b"", ""));
            }
            (Type::String, _) => out.extend_from_slice(address.to_string().as_bytes()),
            (Type::Octets(None), IpAddr::V4(v4)) => out.extend_from_slice(&v4.octets()),
            (Type::Octets(None), IpAddr::V6(v6)) => out.extend_from_slice(&v6.octets()),
            _ => return Err(self.form(address.to_string().as_bytes(), "")),
        }
        Ok(())
    }

    fn prefix(&self, word: &str, out: &mut Vec<u8>) -> Option<()> {
        if self.kind == Type::Ipv6Prefix {
            return ipv6_prefix(word, out);
        }
        let (IpAddr::V4(v4), bits) = prefix(word)? else { return None };
        let bits = u8::try_from(bits.unwrap_or(32)).ok().filter(|bits| *bits <= 32)?;
        let kept = v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        out.extend_from_slice(&[0, bits]);
        out.extend_from_slice(&kept.to_be_bytes());
        Some(())
    }
}

/// What is alike in the values of both protocols.
impl<P: Protocol> Entry<P> {
    /// The number a word means: digits first, then VALUE names.
    pub(super) fn numbered(&self, word: &str) -> Option<i64> {
        parse_number(word).or_else(|| self.values.number(word))
    }

    /// `text` has the form of no number and is no VALUE name.
    pub(super) fn no_number(&self, text: &[u8], word: &str) -> ValueError {
        let near = nearest(word, self.values.names());
        self.form(text, &near.map_or_else(String::new, |name| format!("did you mean `{name}`?")))
    }

    pub(super) fn form(&self, text: &[u8], hint: &str) -> ValueError {
        let value: String = String::from_utf8_lossy(text).chars().take(QUOTED_CHARS_MAX).collect();
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        ValueError::Form {
            attribute: self.name.clone(),
            value: value.escape_debug().to_string().into(),
            kind: self.kind.to_string().into(),
            hint: hint.into(),
        }
    }

    pub(super) fn range(&self, number: i64, min: i64, max: i64) -> ValueError {
        ValueError::Range { attribute: self.name.clone(), number, min, max }
    }
}

/// Appends an IPv6 prefix (RFC 3162 §2.3) of the form address, `/`, bits; without bits the whole address.
pub(super) fn ipv6_prefix(word: &str, out: &mut Vec<u8>) -> Option<()> {
    let (IpAddr::V6(v6), bits) = prefix(word)? else { return None };
    let bits = u8::try_from(bits.unwrap_or(128)).ok().filter(|bits| *bits <= 128)?;
    let kept = v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    out.extend_from_slice(&[0, bits]);
    out.extend_from_slice(&kept.to_be_bytes()[..usize::from(bits).div_ceil(8)]);
    Some(())
}

/// Address and bits of a prefix.
fn prefix(word: &str) -> Option<(IpAddr, Option<u32>)> {
    match word.split_once('/') {
        Some((literal, bits)) => Some((address(literal)?, Some(decimal(bits)?))),
        None => Some((address(word)?, None)),
    }
}

/// Octets of a number of this type.
pub(super) const fn number_octets(kind: Type) -> usize {
    match kind {
        Type::Byte | Type::Bool => 1,
        Type::Short => 2,
        Type::Integer64 => 8,
        _ => 4,
    }
}

/// Decimal digits with an optional minus, or `0x` and hex digits; at most an `i64`.
pub(super) fn parse_number(word: &str) -> Option<i64> {
    match word.get(..2) {
        Some("0x" | "0X") => {
            let digits = &word[2..];
            let all_hex = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
            if all_hex { i64::from_str_radix(digits, 16).ok() } else { None }
        }
        _ => {
            let digits = word.strip_prefix('-').unwrap_or(word);
            let all_digits = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
            if all_digits { word.parse().ok() } else { None }
        }
    }
}

fn decimal(word: &str) -> Option<u32> {
    if word.bytes().all(|octet| octet.is_ascii_digit()) { word.parse().ok() } else { None }
}

/// `:TAG:VALUE` with a tag from 1 to 31.
fn split_tag(text: &[u8]) -> Option<(u8, &[u8])> {
    let rest = text.strip_prefix(b":")?;
    let colon = rest.iter().take(3).position(|octet| *octet == b':')?;
    let tag = decimal(str::from_utf8(&rest[..colon]).ok()?)?;
    let tag = u8::try_from(tag).ok().filter(|tag| (1..=TAG_MAX).contains(tag))?;
    Some((tag, &rest[colon + 1..]))
}

pub(super) fn rfc_3339(time: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => time.to_string(),
    }
}

/// Appends the octets of `0x…`; `false` when `text` is not that.
pub(super) fn hex(text: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(digits) = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")) else { return false };
    if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    out.extend(digits.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
    true
}

fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0)
}

/// An address literal without brackets and zone.
pub(super) fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
    let bare = bare.split_once('%').map_or(bare, |(literal, _)| literal);
    bare.parse().ok()
}

fn interface_id(word: &str, out: &mut Vec<u8>) -> Option<()> {
    let groups: Vec<&str> = word.split(':').collect();
    let is_group =
        |group: &&str| (1..=4).contains(&group.len()) && group.bytes().all(|octet| octet.is_ascii_hexdigit());
    if groups.len() != 4 || !groups.iter().all(is_group) {
        return None;
    }
    for group in groups {
        out.extend_from_slice(&u16::from_str_radix(group, 16).ok()?.to_be_bytes());
    }
    Some(())
}

fn ether(word: &str, out: &mut Vec<u8>) -> Option<()> {
    let groups: Vec<&str> = word.split([':', '-']).collect();
    let is_group =
        |group: &&str| (1..=2).contains(&group.len()) && group.bytes().all(|octet| octet.is_ascii_hexdigit());
    if groups.len() != 6 || !groups.iter().all(is_group) {
        return None;
    }
    for group in groups {
        out.push(u8::from_str_radix(group, 16).ok()?);
    }
    Some(())
}
