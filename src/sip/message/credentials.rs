//! Digest credentials: the value of Authorization and Proxy-Authorization (RFC 3261 §20.7, §22.4).
//!
//! Nothing is verified: the fields of a record say what a request claims. The `rsip` crate cannot read them, since it
//! refuses the whole value for a nonce count in hexadecimal, an escaped quote, a missing realm or one octet outside UTF-8;
//! `rsip_reads_no_more` in the tests has the list.

use std::borrow::Cow;

use super::grammar::{Elements, Params, unquote};

/// What a request says of who sends it, without quotes; a parameter that is not there is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials<'a> {
    /// Name, with its domain if it has one.
    pub username: Cow<'a, [u8]>,
    /// Protection domain, as the challenge named it.
    pub realm: Cow<'a, [u8]>,
}

impl<'a> Credentials<'a> {
    /// Reads a value; `None` for another scheme than Digest.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = value.trim_ascii().split_at_checked(DIGEST.len())?;
        if !scheme.eq_ignore_ascii_case(DIGEST) || !rest.first()?.is_ascii_whitespace() {
            return None;
        }
        Some(Self { username: param(rest, b"username"), realm: param(rest, b"realm") })
    }

    /// The name before its `@`.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        self.username.split(|octet| *octet == b'@').next().unwrap_or_default()
    }

    /// The name behind its `@`, or nothing.
    #[must_use]
    pub fn domain(&self) -> &[u8] {
        self.username.iter().position(|octet| *octet == b'@').map_or(b"", |at| &self.username[at + 1..])
    }
}

const DIGEST: &[u8] = b"Digest";

/// One of the comma-separated `name=value`; empty when it is not there.
fn param<'a>(value: &'a [u8], name: &[u8]) -> Cow<'a, [u8]> {
    Elements::of(value)
        .find_map(|element| Params::of(element).next().filter(|param| param.name.eq_ignore_ascii_case(name)))
        .and_then(|param| param.value)
        .map_or(Cow::Borrowed(b"".as_slice()), unquote)
}
