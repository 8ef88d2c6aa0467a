//! Transformations that take a part out of a SIP value: URIs, lists of parameters, name-addr values, Via.

use std::borrow::Cow;

use super::apply::Made;
use super::place;
use crate::sip::message::{NameAddr, Param, Params, Uri, Via, unquote};

/// A part of a URI.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UriPart {
    Whole,
    Scheme,
    User,
    Password,
    Host,
    Port,
    Params,
    Param(Vec<u8>),
    Headers,
}

impl UriPart {
    pub(super) fn of<'a>(&self, text: &'a [u8]) -> Option<Made<'a>> {
        let uri = Uri::parse(text.trim_ascii())?;
        let text = match self {
            Self::Whole => uri.bytes,
            Self::Scheme => uri.scheme_text,
            Self::User => uri.user?,
            Self::Password => uri.password?,
            Self::Host => uri.host,
            Self::Port => return Some(Made::Number(uri.port?.into())),
            Self::Params => uri.params,
            Self::Param(name) => return Some(Made::Text(unquote(uri.param(name)?))),
            Self::Headers => uri.headers,
        };
        Some(Made::Text(Cow::Borrowed(text)))
    }
}

/// A part of a list of parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ParamPart {
    Value(Vec<u8>),
    ValueAt(i64),
    NameAt(i64),
    Count,
    Exists(Vec<u8>),
}

impl ParamPart {
    pub(super) fn of<'a>(&self, text: &'a [u8]) -> Option<Made<'a>> {
        let all = || Params::of(text).filter(|param| !param.name.is_empty());
        let called = |name: &[u8]| all().find(|param: &Param<'_>| param.name.eq_ignore_ascii_case(name));
        let at = |index: i64| place(index, all().count()).and_then(|place| all().nth(place));
        Some(match self {
            Self::Value(name) => Made::Text(unquote(called(name)?.value?)),
            Self::ValueAt(index) => Made::Text(unquote(at(*index)?.value?)),
            Self::NameAt(index) => Made::Text(Cow::Borrowed(at(*index)?.name)),
            Self::Count => Made::Number(i64::try_from(all().count()).ok()?),
            Self::Exists(name) => Made::Number(called(name).is_some().into()),
        })
    }
}

/// A part of a value such as From has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NameAddrPart {
    Name,
    Uri,
    Len,
    Param(Vec<u8>),
    Params,
}

impl NameAddrPart {
    pub(super) fn of<'a>(&self, text: &'a [u8]) -> Option<Made<'a>> {
        let text = text.trim_ascii();
        let address = NameAddr::parse(text)?;
        Some(match self {
            Self::Name => Made::Text(address.display_text()),
            Self::Uri => Made::Text(Cow::Borrowed(address.uri)),
            Self::Len => {
                // Up to the semicolon in front of the parameters.
                let rest = text.len() - address.params.len();
                let head = text[..rest].trim_ascii_end();
                let head = if address.params.is_empty() { head } else { head.strip_suffix(b";").unwrap_or(head) };
                Made::Number(i64::try_from(head.trim_ascii_end().len()).ok()?)
            }
            Self::Param(name) => Made::Text(unquote(address.param(name)?)),
            Self::Params => Made::Text(Cow::Borrowed(address.params)),
        })
    }
}

/// A part of a Via value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ViaPart {
    Name,
    Version,
    Transport,
    Host,
    Port,
    Params,
    Param(Vec<u8>),
}

impl ViaPart {
    pub(super) fn of<'a>(&self, text: &'a [u8]) -> Option<Made<'a>> {
        let via = Via::parse(text)?;
        let mut protocol = via.bytes.split(|octet| *octet == b'/').map(<[u8]>::trim_ascii);
        let text = match self {
            Self::Name => protocol.next()?,
            Self::Version => protocol.nth(1)?,
            Self::Transport => via.transport,
            Self::Host => via.host,
            Self::Port => return Some(Made::Number(via.port?.into())),
            Self::Params => via.params,
            Self::Param(name) => return Some(Made::Text(unquote(Params::of(via.params).value(name)?))),
        };
        Some(Made::Text(Cow::Borrowed(text)))
    }
}
