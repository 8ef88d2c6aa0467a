//! Values read with the `rsip` crate: octets in, typed value or the same octets out.
//!
//! For values that are interpreted (configuration, fields of records, tests), never for what is forwarded: `rsip` 0.4
//! knows no compact names, folding, IPv6 hosts or `tel:` URIs and wants UTF-8 everywhere. What it cannot read comes back
//! as [`Reading::Raw`], so that a strange value is still recorded; [`Uri`] and [`NameAddr`] read those.

use std::borrow::Cow;

use rsip::headers::UntypedHeader;
use rsip::typed::{Authorization, Contact, From, To};

use super::grammar::{Elements, Params, trim, unfold, unquote};
use super::{NameAddr, Uri};

/// A value that `rsip` could read, or its octets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reading<'a, T> {
    /// As `rsip` understands it.
    Typed(T),
    /// As it came.
    Raw(&'a [u8]),
}

impl<T> Reading<'_, T> {
    /// The typed value; `None` when `rsip` could not read it.
    #[must_use]
    pub fn typed(self) -> Option<T> {
        match self {
            Self::Typed(value) => Some(value),
            Self::Raw(_) => None,
        }
    }
}

/// A SIP or SIPS URI.
#[must_use]
pub fn uri(value: &[u8]) -> Reading<'_, rsip::Uri> {
    read(value, |text| rsip::Uri::try_from(text).ok().filter(|uri| agrees(uri, text.as_bytes())))
}

/// A From value.
#[must_use]
pub fn from(value: &[u8]) -> Reading<'_, From> {
    read(value, |text| {
        From::try_from(rsip::headers::From::new(text)).ok().filter(|typed| agrees_within(&typed.uri, text))
    })
}

/// A To value.
#[must_use]
pub fn to(value: &[u8]) -> Reading<'_, To> {
    read(value, |text| To::try_from(rsip::headers::To::new(text)).ok().filter(|typed| agrees_within(&typed.uri, text)))
}

/// One Contact value: `rsip` refuses lists.
#[must_use]
pub fn contact(value: &[u8]) -> Reading<'_, Contact> {
    read(value, |text| {
        Contact::try_from(rsip::headers::Contact::new(text)).ok().filter(|typed| agrees_within(&typed.uri, text))
    })
}

/// The user name in an Authorization or Proxy-Authorization value of the scheme Digest (RFC 3261 §20.7), without quotes.
/// `None` for another scheme or without a name.
#[must_use]
pub fn digest_username(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let typed = |text: &str| Authorization::try_from(rsip::headers::Authorization::new(text)).ok();
    match read(value, typed) {
        Reading::Typed(authorization) => Some(Cow::Owned(authorization.username.into_bytes())),
        Reading::Raw(value) => raw_username(value),
    }
}

/// Reads what `rsip` refuses, such as a name in Latin-1 or a credential without a realm.
fn raw_username(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let value = trim(value);
    let space = value.iter().position(u8::is_ascii_whitespace)?;
    if !value[..space].eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    let name = Elements::of(&value[space..]).find_map(|element| Params::of(element).value(b"username"))?;
    Some(unquote(name)).filter(|name| !name.is_empty())
}

/// Whether `rsip` found the host where it is: a user part with a dot becomes a part of the host, one with a semicolon is
/// cut.
fn agrees(typed: &rsip::Uri, text: &[u8]) -> bool {
    Uri::parse(text).is_some_and(|uri| typed.host().to_string().as_bytes() == uri.host)
}

/// [`agrees`] for the URI of a name-addr.
fn agrees_within(typed: &rsip::Uri, value: &str) -> bool {
    NameAddr::parse(value.as_bytes()).is_some_and(|addr| agrees(typed, addr.uri))
}

/// Hands `value` to `rsip` on one line and as text; anything it refuses is raw.
fn read<T>(value: &[u8], reader: impl Fn(&str) -> Option<T>) -> Reading<'_, T> {
    let line = unfold(value);
    match str::from_utf8(&line).ok().and_then(reader) {
        Some(typed) => Reading::Typed(typed),
        None => Reading::Raw(value),
    }
}
