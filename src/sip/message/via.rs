//! Via values (RFC 3261 §20.42, §18.2; rport of RFC 3581).

use std::net::IpAddr;

use super::grammar::{Params, ip, is_host, is_lws, is_token, port, trim_end, trim_start};

/// One Via value, each part as written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// The whole value, without white space around it.
    pub bytes: &'a [u8],
    /// Transport as written, such as `UDP`.
    pub transport: &'a [u8],
    /// Host of sent-by; an IPv6 address with its brackets.
    pub host: &'a [u8],
    /// Port of sent-by, when written.
    pub port: Option<u16>,
    /// All parameters, without the first semicolon.
    pub params: &'a [u8],
    /// `branch`.
    pub branch: Option<&'a [u8]>,
    /// `rport`: `Some(b"")` asks for the port, otherwise the port as written.
    pub rport: Option<&'a [u8]>,
    /// `received`: an address, IPv6 with or without brackets.
    pub received: Option<&'a [u8]>,
    /// `maddr`.
    pub maddr: Option<&'a [u8]>,
}

/// First octet of a part of a message, and the octet behind it.
pub(super) type Span = (u16, u16);

/// Where the parts of a [`Via`] lie in the message.
#[derive(Clone, Copy)]
pub(super) struct Places {
    bytes: Span,
    transport: Span,
    host: Span,
    port: Option<u16>,
    /// First octet of the parameters, which reach to the end.
    params: u16,
    branch: Place,
    rport: Place,
    received: Place,
    maddr: Place,
}

/// Where a parameter's value lies that need not be there.
#[derive(Clone, Copy)]
struct Place(Span);

impl Place {
    /// No value begins so early in a message.
    const ABSENT: Span = (0, 0);
    const EMPTY: Span = (1, 1);

    fn of(part: Option<&[u8]>, span: impl Fn(&[u8]) -> Span) -> Self {
        Self(match part {
            None => Self::ABSENT,
            Some([]) => Self::EMPTY,
            Some(part) => span(part),
        })
    }

    fn read(self, bytes: &[u8]) -> Option<&[u8]> {
        let (from, to) = self.0;
        (self.0 != Self::ABSENT).then(|| &bytes[usize::from(from)..usize::from(to)])
    }
}

impl Places {
    /// `span` tells where a part lies.
    pub(super) fn of(via: &Via<'_>, span: impl Fn(&[u8]) -> Span) -> Self {
        Self {
            bytes: span(via.bytes),
            transport: span(via.transport),
            host: span(via.host),
            port: via.port,
            params: if via.params.is_empty() { span(via.bytes).1 } else { span(via.params).0 },
            branch: Place::of(via.branch, &span),
            rport: Place::of(via.rport, &span),
            received: Place::of(via.received, &span),
            maddr: Place::of(via.maddr, &span),
        }
    }

    /// The value again, from the octets of the message.
    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Via<'a> {
        let part = |(from, to): Span| &bytes[usize::from(from)..usize::from(to)];
        Via {
            bytes: part(self.bytes),
            transport: part(self.transport),
            host: part(self.host),
            port: self.port,
            params: part((self.params, self.bytes.1)),
            branch: self.branch.read(bytes),
            rport: self.rport.read(bytes),
            received: self.received.read(bytes),
            maddr: self.maddr.read(bytes),
        }
    }
}

impl<'a> Via<'a> {
    /// Reads one Via value; `None` when protocol, transport, host or port cannot be read or a parameter has no name.
    /// One semicolon at the end is passed over.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        #[cfg(test)]
        super::parsed::count_via();
        let value = trim_end(trim_start(value));
        let (_, rest) = token_then(value, b'/')?;
        let (_, rest) = token_then(rest, b'/')?;
        let (transport, rest) = token(rest)?;
        if !is_lws(*rest.first()?) {
            return None;
        }
        let rest = trim_start(rest);
        let end = match rest.first()? {
            b'[' => memchr::memchr(b']', rest)? + 1,
            _ => rest.iter().position(|o| is_lws(*o) || matches!(o, b':' | b';')).unwrap_or(rest.len()),
        };
        let (host, rest) = rest.split_at(end);
        if !is_host(host) {
            return None;
        }
        let rest = trim_start(rest);
        let (port, rest) = match rest.strip_prefix(b":") {
            Some(rest) => {
                let rest = trim_start(rest);
                let end = rest.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(rest.len());
                (Some(port(&rest[..end])?), trim_start(&rest[end..]))
            }
            None => (None, rest),
        };
        let params = match rest {
            [] => rest,
            [b';', params @ ..] => params,
            _ => return None,
        };
        let blank = Self {
            bytes: value,
            transport,
            host,
            port,
            params,
            branch: None,
            rport: None,
            received: None,
            maddr: None,
        };
        blank.with_params()
    }

    fn with_params(mut self) -> Option<Self> {
        for param in (Params { rest: self.params }) {
            let value = Some(param.value.unwrap_or_default());
            match param.name.len() {
                0 => return None,
                5 if param.name.eq_ignore_ascii_case(b"rport") => self.rport = self.rport.or(value),
                5 if param.name.eq_ignore_ascii_case(b"maddr") => self.maddr = self.maddr.or(value),
                6 if param.name.eq_ignore_ascii_case(b"branch") => self.branch = self.branch.or(value),
                8 if param.name.eq_ignore_ascii_case(b"received") => self.received = self.received.or(value),
                _ => {}
            }
        }
        Some(self)
    }

    /// The host of sent-by as an address; `None` for a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// `received` as an address.
    #[must_use]
    pub fn received_ip(&self) -> Option<IpAddr> {
        ip(self.received?)
    }

    /// Port of sent-by, or the transport's own: 5061 for TLS, 5060 for every other.
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        let tls = self.transport.eq_ignore_ascii_case(b"TLS");
        self.port.unwrap_or(if tls { 5061 } else { 5060 })
    }

    /// Whether the branch starts with the magic cookie of RFC 3261 §8.1.1.7 and has more behind it.
    #[must_use]
    pub fn has_rfc3261_branch(&self) -> bool {
        self.branch
            .is_some_and(|branch| branch.len() > COOKIE.len() && branch[..COOKIE.len()].eq_ignore_ascii_case(COOKIE))
    }

    /// Where a response goes over an unreliable transport: host as written and port, by `maddr`, `received` and
    /// `rport` (RFC 3261 §18.2.2, RFC 3581 §4).
    #[must_use]
    pub fn reply_to(&self) -> (&'a [u8], u16) {
        if let Some(maddr) = self.maddr.filter(|maddr| !maddr.is_empty()) {
            return (maddr, self.port_or_default());
        }
        let port = self.rport.and_then(port).unwrap_or_else(|| self.port_or_default());
        (self.received.filter(|received| !received.is_empty()).unwrap_or(self.host), port)
    }
}

/// The magic cookie that RFC 3261 branches start with.
pub const COOKIE: &[u8] = b"z9hG4bK";

/// A token, white space before it passed over, and what follows.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = trim_start(text);
    let end = text.iter().position(|octet| !is_token(*octet)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token and what follows `mark` behind it.
fn token_then(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = token(text)?;
    let [first, rest @ ..] = trim_start(rest) else { return None };
    (*first == mark).then_some((found, rest))
}
