//! Name-addr and addr-spec values: From, To, Contact, Route and their kin (RFC 3261 §20.10, §25.1).

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use super::grammar::{Params, quoted_len, trim, trim_end, trim_start, unfold, unquote};
use super::uri::Uri;

/// One value of the form `"Display" <uri>;params`, `<uri>;params` or `uri;params`, each part as written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// Display name as written, quotes included; empty when there is none.
    pub display: &'a [u8],
    /// The URI, without angle brackets and white space around it.
    pub uri: &'a [u8],
    /// The header's parameters (not the URI's), without the first semicolon.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one value, tolerantly: the display name may be any text before `<`. `None` when a quote or bracket is
    /// not closed, the URI is empty, or something other than a parameter follows it.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let Some(open) = open_bracket(value)? else { return Self::parse_plain(value) };
        let close = open + memchr(b'>', &value[open..])?;
        let uri = trim(&value[open + 1..close]);
        let params = match trim_start(&value[close + 1..]) {
            [] => &value[value.len()..],
            [b';', params @ ..] => params,
            _ => return None,
        };
        (!uri.is_empty()).then_some(Self { display: trim_end(&value[..open]), uri, params })
    }

    /// Without brackets all parameters belong to the header (RFC 3261 §20).
    fn parse_plain(value: &'a [u8]) -> Option<Self> {
        let (uri, params) = match memchr(b';', value) {
            Some(at) => (trim_end(&value[..at]), &value[at + 1..]),
            None => (value, &value[value.len()..]),
        };
        (!uri.is_empty() && uri[0] != b'"').then_some(Self { display: &value[..0], uri, params })
    }

    /// The display name without folds, quotes and backslashes.
    #[must_use]
    pub fn display_text(&self) -> Cow<'a, [u8]> {
        match unfold(self.display) {
            Cow::Borrowed(display) => unquote(display),
            Cow::Owned(display) => Cow::Owned(unquote(&display).into_owned()),
        }
    }

    /// The URI cut into its parts; `None` when it is none.
    #[must_use]
    pub fn parsed_uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }

    /// The value of a header parameter (name case-insensitive): `Some(b"")` when it has none.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        if self.params.is_empty() { None } else { Params::of(self.params).value(name) }
    }

    /// The tag; `None` when there is none or it is empty.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param(b"tag").filter(|tag| !tag.is_empty())
    }
}

/// Place of the `<` that opens the URI: `None` when a quote before it is never closed, `Some(None)` without one.
fn open_bracket(value: &[u8]) -> Option<Option<usize>> {
    let mut at = 0;
    while let Some(mark) = memchr3(b'<', b'"', b';', &value[at..]) {
        at += mark;
        match value[at] {
            b'<' => return Some(Some(at)),
            b'"' => at += quoted_len(&value[at..])?,
            // Behind a plain URI a quote or bracket belongs to a parameter.
            _ => return Some(None),
        }
    }
    Some(None)
}
