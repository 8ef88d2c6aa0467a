//! URIs as they stand in SIP messages and in the configuration (RFC 3261 §19.1, §25.1; `tel:` of RFC 3966; IPv6 of
//! RFC 5118).
//!
//! The `rsip` crate has a reader too, which serves the agents of `tollgate demo`. It refuses IPv6 and puts a user with a
//! dot into the host, and takes `sip:a b` for `sip:a`, so that a slip in a target would go unnoticed;
//! `rsip_misreads_uris_that_operators_write` in the tests has the list.

use std::net::IpAddr;

use memchr::memchr;

use super::grammar::{Params, ip, is_host, is_host_octet, port};

/// What kind of URI it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966); the number is in `user`.
    Tel,
    /// `urn:` (RFC 5031 and others); all of it is in `user`.
    Urn,
    /// Any other; all behind the colon is in `user`.
    Other,
}

/// A URI cut into its parts, each as written: nothing is decoded, unescaped or put in lower case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    /// The whole URI.
    pub bytes: &'a [u8],
    /// Its kind.
    pub scheme: Scheme,
    /// The text before the colon.
    pub scheme_text: &'a [u8],
    /// User part; number of a `tel:` URI; opaque part of any other scheme.
    pub user: Option<&'a [u8]>,
    /// Password, between the user's colon and `@`.
    pub password: Option<&'a [u8]>,
    /// Host; an IPv6 address with its brackets. Empty for schemes without a host.
    pub host: &'a [u8],
    /// Port, when written.
    pub port: Option<u16>,
    /// Parameters without the first semicolon.
    pub params: &'a [u8],
    /// Headers without the question mark.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI; `None` when it is none: no scheme, white space or a control octet inside, a host or port that
    /// cannot be one (such as an IPv6 address without brackets).
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (scheme, colon) = scheme_of(bytes)?;
        let (scheme_text, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        // All octets are looked at, whatever the first ones were: the compiler makes vector code of that.
        let stray = |octet: &u8| *octet <= b' ' || matches!(octet, 0x7f | b'<' | b'>' | b'"');
        if rest.is_empty() || bytes.iter().fold(false, |found, octet| found | stray(octet)) {
            return None;
        }
        let blank = Self {
            bytes,
            scheme,
            scheme_text,
            user: None,
            password: None,
            host: b"",
            port: None,
            params: b"",
            headers: b"",
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => blank.with_sip_parts(rest),
            Scheme::Tel => {
                let (number, params) = cut(rest, b';');
                Some(Self { user: Some(number), params, ..blank })
            }
            Scheme::Urn | Scheme::Other => Some(Self { user: Some(rest), ..blank }),
        }
    }

    fn with_sip_parts(mut self, mut rest: &'a [u8]) -> Option<Self> {
        if let Some(at) = memchr(b'@', rest) {
            let (user, password) = match memchr(b':', &rest[..at]) {
                Some(colon) => (&rest[..colon], Some(&rest[colon + 1..at])),
                None => (&rest[..at], None),
            };
            if user.is_empty() {
                return None;
            }
            (self.user, self.password) = (Some(user), password);
            rest = &rest[at + 1..];
        }
        let host_end = match rest.first()? {
            b'[' => memchr(b']', rest)? + 1,
            // What else ends it makes it none, for nothing but these may follow.
            _ => rest.iter().position(|octet| !is_host_octet(*octet)).unwrap_or(rest.len()),
        };
        let after;
        (self.host, after) = rest.split_at(host_end);
        if !is_host(self.host) {
            return None;
        }
        let after = match after.strip_prefix(b":") {
            Some(after) => {
                let end = after.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(after.len());
                self.port = Some(port(&after[..end])?);
                &after[end..]
            }
            None => after,
        };
        if after.is_empty() {
            return Some(self);
        }
        let (params, headers) = cut(after, b'?');
        self.headers = headers;
        self.params = match params {
            [] => params,
            [b';', params @ ..] => params,
            _ => return None,
        };
        Some(self)
    }

    /// The host as an address; `None` for a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// The value of a parameter (name case-insensitive): `Some(b"")` when it has none.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        if self.params.is_empty() { None } else { Params::of(self.params).value(name) }
    }

    /// Whether the URI names a loose router (`lr`, RFC 3261 §19.1.1).
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.param(b"lr").is_some()
    }
}

/// Longest scheme, with its colon, that is looked for, in octets.
const SCHEME_BYTES_MAX: usize = 64;

const fn is_scheme(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.')
}

/// What scheme it is, and the place of the colon behind it; `None` without one.
fn scheme_of(bytes: &[u8]) -> Option<(Scheme, usize)> {
    for (name, scheme) in
        [(&b"sip:"[..], Scheme::Sip), (b"sips:", Scheme::Sips), (b"tel:", Scheme::Tel), (b"urn:", Scheme::Urn)]
    {
        if bytes.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name)) {
            return Some((scheme, name.len() - 1));
        }
    }
    // Longer texts without a colon are no scheme either; the limit keeps the search short.
    let colon = memchr(b':', &bytes[..bytes.len().min(SCHEME_BYTES_MAX)])?;
    let text = &bytes[..colon];
    (text.first()?.is_ascii_alphabetic() && text.iter().all(|octet| is_scheme(*octet)))
        .then_some((Scheme::Other, colon))
}

/// What stands before and behind the first `mark`; all and nothing without one.
fn cut(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    match memchr(mark, text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}
