//! Targets of a route: how the Request-URI leaves, and where to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::sip::message::{Scheme, Uri};
use crate::sip::proxy;
use crate::sip::stack::{BadCodes, Hop, NextOn, Target, Transport, Ways, q_of};

/// One target of `to`.
///
/// * `sip:10.0.0.5` has no user: host and port of the Request-URI become the target's, its user part stays; a `tel:`
///   number with all its parameters becomes one (RFC 3261 §19.1.6). What has neither user nor host, such as
///   `urn:service:sos`, leaves as it came: the service is what the next hop has to see (RFC 5031 §4.1, RFC 6881 ED-62).
/// * `sip:bob@10.0.0.5` has one: it becomes the Request-URI.
/// * `sip:10.0.0.5;lr` is only the next hop: the Request-URI leaves as it came.
/// * `<sip:10.0.0.5>;q=0.5;ring_timeout_s=20;next_on=408,5xx` says with what preference it is tried, how long it may ring
///   and which of its responses lead to the next one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    uri: Bytes,
    rewrite: Rewrite,
    hop: Hop,
    transport: Option<Transport>,
    /// Whether the URI has a port, which then holds for TLS too.
    has_port: bool,
    q: u16,
    ring_timeout: Option<Duration>,
    next_on: Option<NextOn>,
}

/// How targets are tried that say nothing else.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Terms {
    /// Longest ringing of one of them.
    pub ring_timeout: Option<Duration>,
    /// Which of its responses lead to the next one.
    pub next_on: NextOn,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Rewrite {
    /// The Request-URI is left alone.
    Nothing,
    /// Host and port are replaced; these are ours, and our parameters.
    Host { scheme: Scheme, host_port: Bytes, params: Bytes },
    /// All of it is replaced by the target's URI, parameters included.
    All,
}

/// Why a text is no target.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadTarget {
    /// It is no URI.
    #[error("`{0}` is no SIP URI, such as `sip:10.0.0.5:5060`")]
    NoUri(String),
    /// It is a URI of another scheme.
    #[error("`{0}` has a scheme that cannot be a target; only `sip:` and `sips:` can")]
    Scheme(String),
    /// It names a transport that is not served.
    #[error("`{0}` names a transport that is not served; `udp`, `tcp` and `tls` are")]
    Transport(String),
    /// It has a parameter behind its brackets that is none of ours, or whose value is none.
    #[error("`{0}`: behind the brackets stand `q`, from 0 to 1, `ring_timeout_s`, from 1 to 3600, and `next_on`")]
    Params(String),
    /// Its `next_on` names no responses.
    #[error("`{text}`: {source}")]
    NextOn {
        /// The target as it stands in the configuration.
        text: String,
        /// What is wrong with it.
        source: BadCodes,
    },
    /// It has headers behind a question mark (RFC 3261 §19.1.1 forbids them in a Request-URI).
    #[error("`{0}` has headers (`?...`), which a Request-URI must not have")]
    Headers(String),
}

impl Destination {
    /// Reads a target.
    ///
    /// # Errors
    /// The text is no `sip:` or `sips:` URI, or asks for a transport that is not served.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        let (text, options) = split(text)?;
        let uri = Uri::parse(text.as_bytes()).ok_or_else(|| BadTarget::NoUri(text.to_owned()))?;
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(BadTarget::Scheme(text.to_owned()));
        }
        let transport = proxy::transport_named_by(&uri);
        let named = uri.param(b"transport").unwrap_or_default();
        // A SIPS URI is for TLS; `transport=tcp` in it means TLS over TCP (RFC 3261 §26.2.2).
        let is_served =
            named.is_empty() || ["udp", "tcp", "tls"].iter().any(|own| named.eq_ignore_ascii_case(own.as_bytes()));
        if !is_served || (uri.scheme == Scheme::Sips && named.eq_ignore_ascii_case(b"udp")) {
            return Err(BadTarget::Transport(text.to_owned()));
        }
        if !uri.headers.is_empty() {
            return Err(BadTarget::Headers(text.to_owned()));
        }
        let hop = match uri.ip() {
            Some(ip) => Hop::Addr(SocketAddr::new(
                ip,
                uri.port.unwrap_or_else(|| proxy::default_port(transport.unwrap_or_default())),
            )),
            None => Hop::Name { host: String::from_utf8_lossy(uri.host).to_ascii_lowercase(), port: uri.port },
        };
        let rewrite = if uri.is_loose() {
            Rewrite::Nothing
        } else if uri.user.is_some() {
            Rewrite::All
        } else {
            let mut host_port = uri.host.to_vec();
            if let Some(port) = uri.port {
                host_port.extend_from_slice(format!(":{port}").as_bytes());
            }
            let (host_port, params) = (host_port.into(), Bytes::copy_from_slice(uri.params));
            Rewrite::Host { scheme: uri.scheme, host_port, params }
        };
        let has_port = uri.port.is_some();
        let Options { q, ring_timeout, next_on } = options;
        let q = q.unwrap_or(Q_MOST);
        let uri = Bytes::copy_from_slice(text.as_bytes());
        Ok(Self { uri, rewrite, hop, transport, has_port, q, ring_timeout, next_on })
    }

    /// Its q value in thousandths; 1000 when it has none.
    #[must_use]
    pub const fn q(&self) -> u16 {
        self.q
    }

    /// The transport it names, if any; TLS for `sips:`.
    #[must_use]
    pub const fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// By which transports its name is looked up.
    #[must_use]
    pub fn ways(&self) -> Ways {
        if proxy::is_sips(&self.uri) { Ways::Secure } else { self.transport.map_or(Ways::Any, Ways::Only) }
    }

    /// The address it leads to, or the name and port that are to be looked up.
    #[must_use]
    pub fn hop(&self) -> &Hop {
        &self.hop
    }

    /// It as a Contact of a response to a request with this Request-URI.
    #[must_use]
    pub fn contact(&self, request_uri: &[u8]) -> Bytes {
        let uri = self.target(request_uri, Terms::default()).uri;
        let uri = if uri.is_empty() { &self.uri } else { &uri };
        let mut value = [b"<", &uri[..], b">"].concat();
        if self.q < Q_MOST {
            let q = format!("0.{:03}", self.q);
            value.extend_from_slice(format!(";q={}", q.trim_end_matches('0').trim_end_matches('.')).as_bytes());
        }
        value.into()
    }

    /// Whether it is only a next hop (`;lr`).
    #[must_use]
    pub fn is_hop_only(&self) -> bool {
        self.rewrite == Rewrite::Nothing
    }

    /// The branch to try for a request with this Request-URI.
    #[must_use]
    pub fn target(&self, request_uri: &[u8], terms: Terms) -> Target {
        let uri = match &self.rewrite {
            Rewrite::Nothing => Bytes::new(),
            Rewrite::All => self.uri.clone(),
            Rewrite::Host { scheme, host_port, params } => match Uri::parse(request_uri) {
                Some(uri) if matches!(uri.scheme, Scheme::Urn | Scheme::Other) => Bytes::new(),
                uri => {
                    uri.and_then(|uri| with_host(&uri, *scheme, host_port, params)).unwrap_or_else(|| self.uri.clone())
                }
            },
        };
        let is_secured = proxy::is_sips(if uri.is_empty() { request_uri } else { &uri });
        let hop = match &self.hop {
            // A SIPS call goes on by TLS, and to the port of TLS where the target names none.
            Hop::Addr(addr) if is_secured && !self.has_port => {
                Hop::Addr(SocketAddr::new(addr.ip(), proxy::default_port(Transport::Tls)))
            }
            hop => hop.clone(),
        };
        let ring_timeout = self.ring_timeout.or(terms.ring_timeout);
        let (transport, next_on) = (self.transport, self.next_on.unwrap_or(terms.next_on));
        Target { uri, hop, transport, ring_timeout, next_on, edits: None }
    }
}

/// What stands behind the brackets of a target.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    q: Option<u16>,
    ring_timeout: Option<Duration>,
    next_on: Option<NextOn>,
}

/// A target's URI, and what stands behind its brackets.
fn split(text: &str) -> Result<(&str, Options), BadTarget> {
    let Some(rest) = text.strip_prefix('<') else { return Ok((text, Options::default())) };
    let wrong = || BadTarget::Params(text.to_owned());
    let (uri, params) = rest.split_once('>').ok_or_else(wrong)?;
    let mut options = Options::default();
    for param in params.split(';').map(str::trim).filter(|param| !param.is_empty()) {
        match param.split_once('=').ok_or_else(wrong)? {
            ("q", value) => {
                let q = q_of(Some(value.as_bytes()));
                let is_zero = value.bytes().all(|octet| matches!(octet, b'0' | b'.')) && value.starts_with('0');
                options.q = Some(q).filter(|q| *q > 0 || is_zero);
                options.q.ok_or_else(wrong)?;
            }
            ("ring_timeout_s", value) => {
                let secs = value.parse::<u64>().ok().filter(|secs| (1..=3600).contains(secs)).ok_or_else(wrong)?;
                options.ring_timeout = Some(Duration::from_secs(secs));
            }
            ("next_on", value) => {
                let codes = NextOn::parse(value.split(',').map(str::trim).filter(|code| !code.is_empty()));
                options.next_on = Some(codes.map_err(|source| BadTarget::NextOn { text: text.to_owned(), source })?);
            }
            _ => return Err(wrong()),
        }
    }
    Ok((uri, options))
}

/// The q value of a target that gives none (RFC 3261 §20.10), in thousandths.
const Q_MOST: u16 = 1000;

/// A Request-URI with another host and port. Parameters stay, except those that speak of the old host, and those that
/// the target names itself. `None` when the Request-URI has no user part that could stay.
fn with_host(uri: &Uri<'_>, scheme: Scheme, host_port: &[u8], params: &[u8]) -> Option<Bytes> {
    let user = uri.user?;
    let mut out = Vec::with_capacity(uri.bytes.len() + host_port.len() + params.len() + 16);
    // SIPS is never taken back (RFC 5630 §5.3): the call was promised TLS on each hop.
    let is_secured = scheme == Scheme::Sips || uri.scheme == Scheme::Sips;
    out.extend_from_slice(if is_secured { b"sips:" } else { b"sip:" });
    match uri.scheme {
        Scheme::Tel => push_subscriber(user, uri.params, &mut out),
        _ => out.extend_from_slice(user),
    }
    if let Some(password) = uri.password {
        out.push(b':');
        out.extend_from_slice(password);
    }
    out.push(b'@');
    out.extend_from_slice(host_port);
    if uri.scheme == Scheme::Tel {
        // RFC 3261 §19.1.6: what was a telephone number still is one.
        out.extend_from_slice(b";user=phone");
    } else {
        let names = |params: &[u8], name: &[u8]| pieces(params).any(|own| key(own).eq_ignore_ascii_case(name));
        for param in pieces(uri.params) {
            let bound = BOUND_TO_HOST.iter().any(|name| key(param).eq_ignore_ascii_case(name));
            if !bound && !names(params, key(param)) {
                out.push(b';');
                out.extend_from_slice(param);
            }
        }
    }
    for param in pieces(params) {
        out.push(b';');
        out.extend_from_slice(param);
    }
    Some(out.into())
}

/// The telephone-subscriber of a `tel:` URI as a user part (RFC 3261 §19.1.6): lower case where case means nothing, the
/// parameters in the order of RFC 3966 §3, and escaped what a user part cannot have.
fn push_subscriber(number: &[u8], params: &[u8], out: &mut Vec<u8>) {
    push_escaped(&number.to_ascii_lowercase(), out);
    let name = |param: &&[u8]| key(param).to_ascii_lowercase();
    let mut params: Vec<&[u8]> = pieces(params).collect();
    params.sort_by_cached_key(|param| {
        let name = name(param);
        let place = LEADING.iter().position(|own| **own == *name).unwrap_or(LEADING.len());
        (place, if place < LEADING.len() { Vec::new() } else { name })
    });
    for param in params {
        let (own, value) = param.split_at(key(param).len());
        out.push(b';');
        push_escaped(&own.to_ascii_lowercase(), out);
        let is_folded = LEADING.iter().any(|name| own.eq_ignore_ascii_case(name));
        push_escaped(&if is_folded { value.to_ascii_lowercase() } else { value.to_vec() }, out);
    }
}

/// Parameters of a `tel:` URI that stand before all others; case means nothing in their values.
const LEADING: [&[u8]; 4] = [b"isub", b"ext", b"postd", b"phone-context"];

/// Escapes what may not stand in a user part (RFC 3261 §25.1); escapes that are there stay.
fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (place, octet) in text.iter().enumerate() {
        let is_escape = *octet == b'%'
            && text.get(place + 1..place + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(octet) || is_escape {
            out.push(*octet);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
    }
}

fn pieces(params: &[u8]) -> impl Iterator<Item = &[u8]> {
    params.split(|octet| *octet == b';').filter(|piece| !piece.is_empty())
}

fn key(param: &[u8]) -> &[u8] {
    param.split(|octet| *octet == b'=').next().unwrap_or(param)
}

/// Parameters that say how the old host is reached.
const BOUND_TO_HOST: [&[u8]; 5] = [b"transport", b"maddr", b"ttl", b"lr", b"method"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_what_becomes_of_the_request_uri() {
        for (name, to, received, want) in [
            ("the user stays, the host changes", "sip:10.0.0.5", "sip:+4021@gw.example", "sip:+4021@10.0.0.5"),
            ("the port is the target's", "sip:10.0.0.5:5080", "sip:a@gw:5070", "sip:a@10.0.0.5:5080"),
            ("an IPv6 target keeps its brackets", "sip:[::1]:5080", "sip:a@gw", "sip:a@[::1]:5080"),
            ("a password stays", "sip:b", "sip:a:p@gw", "sip:a:p@b"),
            ("parameters stay", "sip:b", "sip:a@gw;user=phone", "sip:a@b;user=phone"),
            ("parameters of the old host go", "sip:b", "sip:a@gw;transport=tcp;maddr=1.2.3.4;x=1", "sip:a@b;x=1"),
            ("the target's parameter wins", "sip:b;x=2", "sip:a@gw;X=1", "sip:a@b;x=2"),
            ("a user part replaces all", "sip:bob@b", "sip:a@gw;user=phone", "sip:bob@b"),
            ("lr leaves the Request-URI", "sip:b;lr", "sip:a@gw", ""),
            ("a number becomes a SIP URI", "sip:b", "tel:+4021", "sip:+4021@b;user=phone"),
            ("without a user there is nothing to keep", "sip:b", "sip:gw", "sip:b"),
            (
                "with its context",
                "sip:b",
                "tel:7042;phone-context=example.com",
                "sip:7042;phone-context=example.com@b;user=phone",
            ),
            (
                "and all that is known of it",
                "sip:b:5080",
                "tel:+15550100;npdi;rn=+15550199",
                "sip:+15550100;npdi;rn=+15550199@b:5080;user=phone",
            ),
            (
                "its parameters are in order and in lower case",
                "sip:b",
                "tel:7042;rn=+15550199;Phone-Context=Example.COM;NPDI;POSTD=PP22;x=Y",
                "sip:7042;postd=pp22;phone-context=example.com;npdi;rn=+15550199;x=Y@b;user=phone",
            ),
            (
                "what a user part cannot have is escaped",
                "sip:b",
                "tel:*31#7042;phone-context=+1;isub=a:b[1]%20",
                "sip:*31%237042;isub=a%3Ab%5B1%5D%20;phone-context=+1@b;user=phone",
            ),
            ("a number of a secured call", "sips:b", "tel:+4021;ext=7", "sips:+4021;ext=7@b;user=phone"),
            ("a target with a user replaces a number", "sip:112@b", "tel:+4021;ext=7", "sip:112@b"),
            ("an emergency call stays one", "sip:b", "urn:service:sos", ""),
            ("so does its kind", "sip:b:5080;transport=tcp", "URN:service:sos.fire", ""),
            ("and any other service", "sip:b", "urn:service:counseling", ""),
            ("and what only its scheme can read", "sip:b", "im:alice@x", ""),
            ("unless the target names who serves it", "sip:112@b", "urn:service:sos", "sip:112@b"),
            ("a sips call stays one", "sip:b", "sips:a@gw", "sips:a@b"),
            ("a sips target makes it one", "sips:b", "sip:a@gw", "sips:a@b"),
            ("a broken Request-URI cannot be kept", "sip:b", "nonsense", "sip:b"),
        ] {
            let target = Destination::parse(to).expect(name).target(received.as_bytes(), Terms::default());
            assert_eq!(String::from_utf8_lossy(&target.uri), want, "{name}");
        }
    }

    #[test]
    fn a_target_says_how_it_is_tried() {
        let secs = Duration::from_secs;
        let terms = Terms { ring_timeout: Some(secs(30)), ..Terms::default() };
        for (to, q, rings) in [
            ("sip:a", 1000, Some(secs(30))),
            ("<sip:a>", 1000, Some(secs(30))),
            ("<sip:a>;q=0.25", 250, Some(secs(30))),
            ("<sip:a>;q=0", 0, Some(secs(30))),
            ("<sip:a;x=y>;ring_timeout_s=9;q=1", 1000, Some(secs(9))),
        ] {
            let target = Destination::parse(to).expect(to);
            assert_eq!((target.q(), target.target(b"sip:u@v", terms).ring_timeout), (q, rings), "{to}");
        }
    }

    #[test]
    fn a_target_says_which_of_its_answers_lead_on() {
        let terms = Terms { next_on: NextOn::FAILURES, ..Terms::default() };
        for (to, leads_on) in [
            ("sip:a", [true, false, false]),
            ("<sip:a>;q=0.5", [true, false, false]),
            ("<sip:a>;next_on=404, 5xx;q=0.5", [true, true, false]),
            ("<sip:a>;next_on=4xx", [false, true, true]),
            ("<sip:a>;next_on=", [false, false, false]),
        ] {
            let next_on = Destination::parse(to).expect(to).target(b"sip:u@v", terms).next_on;
            assert_eq!([503, 404, 486].map(|code| next_on.has(code)), leads_on, "{to}");
        }
    }

    #[test]
    fn a_target_says_where_to() {
        for (to, want) in [
            ("sip:10.0.0.5", Hop::Addr("10.0.0.5:5060".parse().expect("an address"))),
            ("sip:u@[2001:db8::1]:99", Hop::Addr("[2001:db8::1]:99".parse().expect("an address"))),
            ("sip:Gw.Example", Hop::Name { host: "gw.example".into(), port: None }),
            ("sip:gw:5080;transport=UDP", Hop::Name { host: "gw".into(), port: Some(5080) }),
            ("sip:10.0.0.5;transport=tcp", Hop::Addr("10.0.0.5:5060".parse().expect("an address"))),
            ("sip:10.0.0.5;transport=tls", Hop::Addr("10.0.0.5:5061".parse().expect("an address"))),
            ("sips:10.0.0.5", Hop::Addr("10.0.0.5:5061".parse().expect("an address"))),
        ] {
            assert_eq!(Destination::parse(to).expect(to).hop(), &want, "{to}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_no_target() {
        for (to, want) in [
            ("10.0.0.5", "`10.0.0.5` is no SIP URI, such as `sip:10.0.0.5:5060`"),
            ("sip:", "`sip:` is no SIP URI, such as `sip:10.0.0.5:5060`"),
            ("sip:a b", "`sip:a b` is no SIP URI, such as `sip:10.0.0.5:5060`"),
            ("tel:+4021", "`tel:+4021` has a scheme that cannot be a target; only `sip:` and `sips:` can"),
            (
                "sip:a;transport=sctp",
                "`sip:a;transport=sctp` names a transport that is not served; `udp`, `tcp` and `tls` are",
            ),
            (
                "sips:a;transport=udp",
                "`sips:a;transport=udp` names a transport that is not served; `udp`, `tcp` and `tls` are",
            ),
            ("sip:a?x=1", "`sip:a?x=1` has headers (`?...`), which a Request-URI must not have"),
            (
                "<sip:a>;p=1",
                "`<sip:a>;p=1`: behind the brackets stand `q`, from 0 to 1, `ring_timeout_s`, from 1 to 3600, and `next_on`",
            ),
            (
                "<sip:a>;next_on=408,600",
                "`<sip:a>;next_on=408,600`: `600` cannot lead to the next target: a 6xx ends the call at all targets \
                 (RFC 3261 section 16.7)",
            ),
        ] {
            assert_eq!(Destination::parse(to).expect_err(to).to_string(), want);
        }
    }
}
