//! Values: from octets into the text FreeRADIUS prints.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attribute::Attribute;
use super::types::Type;
use super::value::number_octets;

/// The text FreeRADIUS' detail shows for `octets` as a value of this type; `None` when the size does not fit.
pub(super) fn print(attribute: &Attribute, octets: &[u8]) -> Option<String> {
    let number = || -> Option<i64> {
        if octets.len() != number_octets(attribute.kind) {
            return None;
        }
        let mut wide = [0; 8];
        wide[8 - octets.len()..].copy_from_slice(octets);
        Some(i64::from_be_bytes(wide))
    };
    Some(match attribute.kind {
        Type::String => quoted(octets),
        Type::Octets(Some(count)) if octets.len() != usize::from(count) => return None,
        Type::Octets(_) | Type::Abinary => hex_text(octets),
        Type::Signed => named(attribute, i64::from(i32::from_be_bytes(octets.try_into().ok()?))),
        Type::Integer64 => {
            let number = u64::from_be_bytes(octets.try_into().ok()?);
            i64::try_from(number).map_or_else(|_| number.to_string(), |number| named(attribute, number))
        }
        Type::Integer | Type::Byte | Type::Short | Type::Bool => named(attribute, number()?),
        Type::Date => {
            let time = jiff::Timestamp::from_second(number()?).ok()?;
            format!("\"{}\"", time.strftime("%b %e %Y %H:%M:%S UTC"))
        }
        Type::IpAddr | Type::Ipv6Addr | Type::ComboIp => {
            let count = match attribute.kind {
                Type::IpAddr => 4,
                Type::Ipv6Addr => 16,
                _ => octets.len(),
            };
            address(octets).filter(|_| octets.len() == count)?.to_string()
        }
        Type::Ipv6Prefix => ipv6_prefix(octets)?,
        Type::Ipv4Prefix => {
            let [_, bits @ 0..=32, rest @ ..] = octets else { return None };
            format!("{}/{bits}", Ipv4Addr::from(<[u8; 4]>::try_from(rest).ok()?))
        }
        Type::InterfaceId if octets.len() == 8 => {
            let groups = octets.chunks_exact(2).map(|pair| format!("{:x}", u16::from_be_bytes([pair[0], pair[1]])));
            groups.collect::<Vec<_>>().join(":")
        }
        Type::Ether if octets.len() == 6 => {
            octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
        }
        _ => return None,
    })
}

fn named(attribute: &Attribute, number: i64) -> String {
    attribute.value_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// An address of 4 or 16 octets.
pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// An IPv6 prefix as RADIUS has it (RFC 3162 §2.3).
pub(super) fn ipv6_prefix(octets: &[u8]) -> Option<String> {
    let [_, bits @ 0..=128, rest @ ..] = octets else { return None };
    let mut whole = [0; 16];
    whole.get_mut(..rest.len())?.copy_from_slice(rest);
    Some(format!("{}/{bits}", Ipv6Addr::from(whole)))
}

/// Octets as `0x…`.
pub(super) fn hex_text(octets: &[u8]) -> String {
    let mut text = String::from("0x");
    for octet in octets {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
    }
    text
}

/// Octets in double quotes with FreeRADIUS' escapes: UTF-8 stays, other octets and controls in three octal digits.
pub(super) fn quoted(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in octets.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\0'..='\x1f' | '\x7f' => drop(write!(text, "\\{:03o}", u32::from(char))),
                _ => text.push(char),
            }
        }
        for octet in chunk.invalid() {
            let _ = write!(text, "\\{octet:03o}");
        }
    }
    text.push('"');
    text
}
/// A value as it stands in JSON: text that is printed in quotes without them and with the characters that were escaped for
/// them, everything else as it is. Octets that are no UTF-8 keep their `\\ooo`.
#[must_use]
pub fn unquoted(text: &str) -> Cow<'_, str> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner.filter(|_| text.len() >= 2) else { return text.into() };
    if !inner.contains('\\') {
        return inner.into();
    }
    let mut plain = String::with_capacity(inner.len());
    let mut rest = inner.chars().peekable();
    while let Some(next) = rest.next() {
        let meant = match (next, rest.peek()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some(&same @ ('\\' | '"'))) => same,
            (other, _) => {
                plain.push(other);
                continue;
            }
        };
        rest.next();
        plain.push(meant);
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_no_quotes_within_those_of_json() {
        for (octets, want) in [
            (&b"alice"[..], "alice"),
            (b"", ""),
            (br#"say "hi""#, r#"say "hi""#),
            (br"C:\new", r"C:\new"),
            (b"two\nlines\t", "two\nlines\t"),
            ("zo\u{eb}".as_bytes(), "zo\u{eb}"),
            (b"a\xffb", r"a\377b"),
        ] {
            assert_eq!(unquoted(&quoted(octets)), want);
        }
        for text in ["Start", "0x4142", "192.0.2.1", "\""] {
            assert_eq!(unquoted(text), text);
        }
    }
}
