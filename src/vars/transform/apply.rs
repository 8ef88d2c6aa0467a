//! Applies transformations to a value.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{End, Piece, RESULT_BYTES_MAX, Reach, Step, Subst, place};
use crate::sip::message::{Elements, unquote};

/// What a transformation gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Made<'a> {
    Text(Cow<'a, [u8]>),
    Number(i64),
}

impl<'a> Made<'a> {
    /// As text.
    pub(crate) fn into_text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => Cow::Owned(number.to_string().into_bytes()),
        }
    }
}

/// Applies the steps one after the other; `None` when one of them has no value.
pub(crate) fn apply<'a>(steps: &[Step], value: Made<'a>) -> Option<Made<'a>> {
    steps.iter().try_fold(value, |value, step| step.apply(value))
}

impl Step {
    fn apply<'a>(&self, value: Made<'a>) -> Option<Made<'a>> {
        let made = match value.into_text() {
            Cow::Borrowed(text) => self.of(text)?,
            // What is taken out of a value made before does not outlive it.
            Cow::Owned(text) => match self.of(&text)? {
                Made::Text(made) => Made::Text(Cow::Owned(made.into_owned())),
                Made::Number(number) => Made::Number(number),
            },
        };
        match made {
            Made::Text(text) if text.is_empty() => None,
            Made::Text(text) if text.len() > RESULT_BYTES_MAX => {
                Some(Made::Text(Cow::Owned(text[..RESULT_BYTES_MAX].to_vec())))
            }
            made => Some(made),
        }
    }

    fn of<'a>(&self, text: &'a [u8]) -> Option<Made<'a>> {
        let number = |count: usize| i64::try_from(count).ok().map(Made::Number);
        let owned = |text: Vec<u8>| Some(Made::Text(Cow::Owned(text)));
        let part = |text: &'a [u8]| Some(Made::Text(Cow::Borrowed(text)));
        match self {
            Self::Len => number(text.len()),
            Self::Int => std::str::from_utf8(text).ok()?.trim().parse().ok().map(Made::Number),
            Self::Substr { offset, length } => {
                let start = place(*offset, text.len())?;
                let end = if *length == 0 { text.len() } else { start.saturating_add(*length).min(text.len()) };
                part(&text[start..end])
            }
            Self::Select { index, separator } => {
                let parts: Vec<&[u8]> = split(text, separator);
                part(parts[place(*index, parts.len())?])
            }
            Self::Index { text: wanted } => match memchr::memmem::find(text, wanted) {
                Some(at) => number(at),
                None => Some(Made::Number(-1)),
            },
            Self::Lower => owned(text.to_ascii_lowercase()),
            Self::Upper => owned(text.to_ascii_uppercase()),
            Self::Trim => part(text.trim_ascii()),
            Self::Width(length) => {
                let mut text = text.to_vec();
                text.resize(*length, b' ');
                owned(text)
            }
            Self::Fill { side, with, length } => owned(fill(text, *side, with, *length)),
            Self::Code(code) => owned(code.apply(text)?),
            Self::Date => date(text).map(Made::Number),
            Self::Uri(wanted) => wanted.of(text),
            Self::Param(wanted) => wanted.of(text),
            Self::NameAddr(wanted) => wanted.of(text),
            Self::Via(wanted) => wanted.of(text),
            Self::CsvCount => number(Elements::of(text).count()),
            Self::CsvValue(index) => {
                let at = place(*index, Elements::of(text).count())?;
                Elements::of(text).nth(at).map(|value| Made::Text(unquote(value)))
            }
            Self::Pton => owned(match address(text)? {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            }),
            Self::Ntop => owned(of_octets(text)?.to_string().into_bytes()),
            Self::Family => {
                let address = address(text).or_else(|| of_octets(text))?;
                part(if address.is_ipv4() { b"INET" } else { b"INET6" })
            }
            Self::Subst(subst) => Some(Made::Text(subst.apply(text))),
        }
    }
}

fn split<'a>(text: &'a [u8], separator: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for at in memchr::memmem::find_iter(text, separator) {
        parts.push(&text[start..at]);
        start = at + separator.len();
    }
    parts.push(&text[start..]);
    parts
}

fn fill(text: &[u8], side: End, with: &[u8], length: usize) -> Vec<u8> {
    let filling = with.iter().copied().cycle().take(length.saturating_sub(text.len()));
    match side {
        End::Left => filling.chain(text.iter().copied()).collect(),
        End::Right => text.iter().copied().chain(filling).collect(),
    }
}

/// Seconds since 1970 of a SIP date (RFC 3261 §20.17: the form of RFC 1123, always in GMT).
fn date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

/// An address as text, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or(text).parse().ok()
}

fn of_octets(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

impl Subst {
    fn apply<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let limit = match self.reach {
            Reach::First => 1,
            Reach::All => 0,
        };
        self.regex.replacen(text, limit, |found: &regex::bytes::Captures<'_>| {
            let mut made = Vec::new();
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => made.extend_from_slice(text),
                    Piece::Group(group) => {
                        made.extend_from_slice(found.get(*group).map_or(&b""[..], |group| group.as_bytes()));
                    }
                }
            }
            made
        })
    }
}
