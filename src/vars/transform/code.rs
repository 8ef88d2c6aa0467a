//! Transformations between octets and their writings: escapes, hexadecimal digits, Base64, digests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    EscapeCommon,
    UnescapeCommon,
    /// %HH for all but these marks, letters and digits.
    EscapePercent(&'static [u8]),
    UnescapePercent,
    EncodeHexa,
    DecodeHexa,
    EncodeBase64,
    DecodeBase64,
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Marks that the user part of a SIP URI may have (RFC 3261 §25.1, unreserved and user-unreserved).
const USER_MARKS: &[u8] = b"-_.!~*'()&=+$,;?/";
/// Marks that a parameter of a SIP URI may have (RFC 3261 §25.1, unreserved and param-unreserved).
const PARAM_MARKS: &[u8] = b"-_.!~*'()[]/:&+$";

impl Code {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "s.escape.common" => Self::EscapeCommon,
            "s.unescape.common" => Self::UnescapeCommon,
            "s.escape.user" => Self::EscapePercent(USER_MARKS),
            "s.escape.param" => Self::EscapePercent(PARAM_MARKS),
            "s.unescape.user" | "s.unescape.param" => Self::UnescapePercent,
            "s.encode.hexa" => Self::EncodeHexa,
            "s.decode.hexa" => Self::DecodeHexa,
            "s.b64encode" => Self::EncodeBase64,
            "s.b64decode" => Self::DecodeBase64,
            "s.md5" => Self::Md5,
            "s.sha1" => Self::Sha1,
            "s.sha224" => Self::Sha224,
            "s.sha256" => Self::Sha256,
            "s.sha384" => Self::Sha384,
            "s.sha512" => Self::Sha512,
            _ => return None,
        })
    }

    /// `None` when the text is no such writing.
    pub(super) fn apply(self, text: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Self::EscapeCommon => escape_common(text),
            Self::UnescapeCommon => unescape_common(text),
            Self::EscapePercent(marks) => escape_percent(text, marks),
            Self::UnescapePercent => unescape_percent(text)?,
            Self::EncodeHexa => hexadecimal(text),
            Self::DecodeHexa => octets(text)?,
            Self::EncodeBase64 => STANDARD.encode(text).into_bytes(),
            Self::DecodeBase64 => {
                let end = text.iter().rposition(|octet| *octet != b'=').map_or(0, |last| last + 1);
                STANDARD_NO_PAD.decode(&text[..end]).ok()?
            }
            Self::Md5 => hexadecimal(&Md5::digest(text)),
            Self::Sha1 => hexadecimal(&Sha1::digest(text)),
            Self::Sha224 => hexadecimal(&Sha224::digest(text)),
            Self::Sha256 => hexadecimal(&Sha256::digest(text)),
            Self::Sha384 => hexadecimal(&Sha384::digest(text)),
            Self::Sha512 => hexadecimal(&Sha512::digest(text)),
        })
    }
}

fn escape_common(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for octet in text {
        match octet {
            b'\'' | b'"' | b'\\' => out.extend([b'\\', *octet]),
            0 => out.extend(*b"\\0"),
            _ => out.push(*octet),
        }
    }
    out
}

fn unescape_common(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(octet) = rest.next() {
        match octet {
            b'\\' => match rest.next() {
                Some(b'0') => out.push(0),
                Some(escaped) => out.push(*escaped),
                None => out.push(b'\\'),
            },
            _ => out.push(*octet),
        }
    }
    out
}

fn escape_percent(text: &[u8], marks: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for octet in text {
        if octet.is_ascii_alphanumeric() || marks.contains(octet) {
            out.push(*octet);
        } else {
            out.push(b'%');
            out.extend(digits(*octet).map(|digit| digit.to_ascii_uppercase()));
        }
    }
    out
}

fn unescape_percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [octet, behind @ ..] = rest {
        if *octet == b'%' {
            out.extend(octets(behind.get(..2)?)?);
            rest = &behind[2..];
        } else {
            out.push(*octet);
            rest = behind;
        }
    }
    Some(out)
}

fn digits(octet: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]
}

fn hexadecimal(octets: &[u8]) -> Vec<u8> {
    octets.iter().flat_map(|octet| digits(*octet)).collect()
}

fn octets(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(value(*high)? << 4 | value(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}
