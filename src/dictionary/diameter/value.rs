//! Values of AVPs: from text, number, instant or address into octets.

use std::net::IpAddr;
use std::str;

use super::definition::Definition;
use super::types::Type;
use crate::clock::Timestamp;
use crate::dictionary::value::{Input, ValueError, address, hex, ipv6_prefix, parse_number};

/// Seconds from 1900 to 1970, both at the start of the year in UTC (RFC 6733 §4.3.1).
pub(super) const SECONDS_1900_TO_1970: i64 = 2_208_988_800;

/// Octets of an E.164 number in an Address (RFC 6733 §4.3.1).
const E164_DIGITS_MAX: usize = 15;

impl Definition {
    /// Appends the octets of a value, without header and padding.
    ///
    /// Text is taken as follows; blanks around it count only for strings.
    ///
    /// | type | text |
    /// |---|---|
    /// | UTF8String | text; what is no UTF-8 becomes U+FFFD, control characters are left out |
    /// | OctetString | `0x` and hex digits in pairs, else the octets themselves |
    /// | DiameterIdentity, DiameterURI | visible ASCII, not empty |
    /// | Integer, Unsigned, Enumerated | decimal, `0x` hex, or a VALUE name in any case |
    /// | Float | decimal |
    /// | Time | RFC 3339, or seconds since 1970 |
    /// | Address | an address literal, brackets and zone left out, or `+` and digits of a telephone number |
    ///
    /// # Errors
    /// See [`ValueError`]; then nothing has been appended.
    pub fn encode(&self, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match input {
            Input::Text(text) => self.text(text, out),
            Input::Octets(octets) => match self.kind.octets() {
                Some(count) if octets.len() != count => Err(self.form(octets, "it has another size")),
                _ => {
                    out.extend_from_slice(octets);
                    Ok(())
                }
            },
            Input::Number(number) => self.number(number, out),
            Input::Timestamp(at) => self.instant(at, out),
            Input::Address(ip) => self.address(ip, out).ok_or_else(|| self.form(ip.to_string().as_bytes(), "")),
        }
    }

    fn text(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self.kind {
            Type::Utf8String | Type::IpFilterRule | Type::QosFilterRule => {
                clean(text, out);
                return Ok(());
            }
            Type::OctetString => {
                if !hex(text, out) {
                    out.extend_from_slice(text);
                }
                return Ok(());
            }
            Type::Grouped => return Err(ValueError::Group { attribute: self.name.clone() }),
            _ => {}
        }
        let word = str::from_utf8(text).map_err(|_| self.form(text, ""))?.trim();
        match self.kind {
            Type::DiameterIdentity | Type::DiameterUri => {
                if word.is_empty() || !word.bytes().all(|octet| octet.is_ascii_graphic()) {
                    return Err(self.form(text, "visible ASCII only"));
                }
                out.extend_from_slice(word.as_bytes());
                Ok(())
            }
            Type::Float32 | Type::Float64 => {
                let number: f64 = word.parse().map_err(|_| self.form(text, ""))?;
                self.float(number, out);
                Ok(())
            }
            Type::Time => match parse_number(word) {
                Some(secs) => self.instant(Timestamp(secs.saturating_mul(1_000_000)), out),
                None => match word.parse::<jiff::Timestamp>() {
                    Ok(time) => self.instant(Timestamp(time.as_microsecond()), out),
                    Err(_) => Err(self.form(text, "RFC 3339, or seconds since 1970")),
                },
            },
            Type::Address if word.starts_with('+') => {
                let digits = &word.as_bytes()[1..];
                if digits.is_empty() || digits.len() > E164_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
                    return Err(self.form(text, ""));
                }
                out.extend_from_slice(&[0, 8]);
                out.extend_from_slice(digits);
                Ok(())
            }
            Type::Address | Type::BareAddress => {
                let done = address(word).and_then(|ip| self.address(ip, out));
                done.ok_or_else(|| self.form(text, "an IPv4 or IPv6 address"))
            }
            Type::BarePrefix => ipv6_prefix(word, out).ok_or_else(|| self.form(text, "address, `/`, bits")),
            _ => self.number(self.numbered(word).ok_or_else(|| self.no_number(text, word))?, out),
        }
    }

    fn number(&self, number: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self.kind {
            Type::Float32 | Type::Float64 => self.float(number as f64, out),
            Type::Time => return self.instant(Timestamp(number.saturating_mul(1_000_000)), out),
            kind if kind.is_text() => push_decimal(number, out),
            kind => {
                let Some((min, max)) = kind.range() else {
                    return Err(self.form(number.to_string().as_bytes(), ""));
                };
                if number < min || number > max {
                    return Err(self.range(number, min, max));
                }
                let octets = number.to_be_bytes();
                out.extend_from_slice(&octets[8 - kind.octets().unwrap_or(8)..]);
            }
        }
        Ok(())
    }

    fn instant(&self, at: Timestamp, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self.kind {
            Type::Time => {
                let secs = at.secs().wrapping_add(SECONDS_1900_TO_1970).to_be_bytes();
                out.extend_from_slice(&secs[4..]);
                Ok(())
            }
            kind if kind.is_text() => {
                push_rfc_3339(at, out);
                Ok(())
            }
            _ => self.number(at.secs(), out),
        }
    }

    fn float(&self, number: f64, out: &mut Vec<u8>) {
        match self.kind {
            Type::Float32 => out.extend_from_slice(&(number as f32).to_be_bytes()),
            _ => out.extend_from_slice(&number.to_be_bytes()),
        }
    }

    fn address(&self, ip: IpAddr, out: &mut Vec<u8>) -> Option<()> {
        match (self.kind, ip.to_canonical()) {
            (Type::Address, IpAddr::V4(v4)) => {
                out.extend_from_slice(&[0, 1]);
                out.extend_from_slice(&v4.octets());
            }
            (Type::Address, IpAddr::V6(v6)) => {
                out.extend_from_slice(&[0, 2]);
                out.extend_from_slice(&v6.octets());
            }
            (Type::BareAddress, IpAddr::V4(v4)) => out.extend_from_slice(&v4.octets()),
            (Type::BareAddress, IpAddr::V6(v6)) => out.extend_from_slice(&v6.octets()),
            (Type::BarePrefix, IpAddr::V6(v6)) => return ipv6_prefix(&v6.to_string(), out),
            (kind, ip) if kind.is_text() => out.extend_from_slice(ip.to_string().as_bytes()),
            _ => return None,
        }
        Some(())
    }
}

/// Whether text is visible ASCII and blanks: most is, and goes out as it came.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    // Without an early end it is done in blocks.
    text.iter().fold(true, |is_plain, octet| is_plain & matches!(octet, b' '..=b'~'))
}

/// Appends text as a UTF8String may have it: U+FFFD for what is no UTF-8, no control characters (RFC 6733 §4.3.1).
pub fn clean(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for piece in chunk.valid().split(char::is_control) {
            out.extend_from_slice(piece.as_bytes());
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

/// Appends a number in decimal.
fn push_decimal(number: i64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let _written = write!(out, "{number}"); // writing to a Vec cannot fail
}

/// Appends an instant as RFC 3339 in UTC with milliseconds; outside the years 0 to 9999 the bare microseconds.
fn push_rfc_3339(at: Timestamp, out: &mut Vec<u8>) {
    match rfc_3339(at) {
        Some(text) => out.extend_from_slice(&text),
        None => push_decimal(at.0, out),
    }
}

/// The numbers below 100 in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut number) = ([[b'0'; 2]; 100], 0);
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// An instant as RFC 3339 in UTC with milliseconds; `None` outside the years 0 to 9999.
#[must_use]
pub fn rfc_3339(at: Timestamp) -> Option<[u8; 24]> {
    /// An era has 400 years (proleptic Gregorian calendar), which begin with March.
    const ERA_DAYS: u32 = 146_097;
    /// From 0000-03-01 to 1970-01-01, and an era more, so that all is counted without signs.
    const MICROS_TO_1970: i64 = (719_468 + ERA_DAYS as i64) * 86_400 * 1_000_000;
    let micros = u64::try_from(at.0.checked_add(MICROS_TO_1970)?).ok()?;
    let (secs, millis) = (micros / 1_000_000, (micros % 1_000_000) as u32 / 1_000);
    let (days, secs) = (u32::try_from(secs / 86_400).ok()?, (secs % 86_400) as u32);
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = (era * 400 + year_of_era + u32::from(month >= 10)).checked_sub(400)?;
    let month = if month < 10 { month + 3 } else { month - 9 };
    if year > 9_999 {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |place: usize, number: u32| text[place..place + 2].copy_from_slice(&PAIRS[number.min(99) as usize]);
    put(0, year / 100);
    put(2, year % 100);
    put(5, month);
    put(8, day);
    put(11, secs / 3_600);
    put(14, secs / 60 % 60);
    put(17, secs % 60);
    put(20, millis / 10);
    text[22] += (millis % 10) as u8;
    Some(text)
}
