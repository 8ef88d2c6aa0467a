//! Where a request goes (RFC 3261 §16.4, §16.6 steps 6 and 7, §16.12): our own Route values come off, what a strict
//! router did to the Request-URI is undone, and the next hop is read from what remains.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::sip::dialog::{Direction, Signer};
use crate::sip::message::{Message, Name, NameAddr, Scheme, Uri};
use crate::sip::stack::{Hop, Listener, Transport};

/// Who the gateway is: by what addresses and names it recognises itself.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its listeners.
    pub listeners: &'a [Listener],
    /// Host names that mean it, in lower case.
    pub names: &'a [String],
    /// Recognises its Record-Route values, also those made before its addresses changed.
    pub signer: Signer,
}

/// What the top of a request says about us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routing {
    /// Route values at the top that are ours.
    pub own_routes: u16,
    /// The Request-URI that stood in the last Route value, when a strict router put ours in its place.
    pub repaired_uri: Option<Bytes>,
    /// Who sent the request, by a valid signed parameter; shows that the call passed here before.
    pub direction: Option<Direction>,
}

/// Where a request goes, and what must change for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The place.
    pub hop: Hop,
    /// By which transport.
    pub transport: Transport,
    /// The Request-URI to send when the next hop is a strict router; then the present one goes to the end of Route,
    /// and the top Route value, which this is, comes off.
    pub strict_uri: Option<Bytes>,
}

/// No next hop can be read from the request; with the code to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoHop {
    /// 404 when the request ends here, 416 for a scheme that names no host, 400 for what is no URI.
    pub code: u16,
}

impl Own<'_> {
    /// Whether a URI's host and port are ours.
    #[must_use]
    pub fn is_own(&self, uri: &Uri<'_>) -> bool {
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return false;
        }
        let port = uri.port;
        match uri.ip() {
            Some(ip) => {
                let port = port.unwrap_or_else(|| default_port(transport_of(uri)));
                self.listeners.iter().any(|own| own.local.ip() == ip && own.local.port() == port)
            }
            None => {
                self.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(uri.host))
                    && port.is_none_or(|port| self.listeners.iter().any(|own| own.local.port() == port))
            }
        }
    }

    fn direction(&self, uri: &Uri<'_>, request: &Message) -> Option<Direction> {
        self.signer.direction(uri.param(b"tg")?, request)
    }

    /// Reads the top of a request.
    #[must_use]
    pub fn routing(&self, request: &Message) -> Routing {
        let mut routing = Routing::default();
        if request.header(Name::Route).is_none() {
            return routing;
        }
        let mut values = request.values(Name::Route).count();
        if let Some(uri) = Uri::parse(request.request_uri()) {
            let direction = self.direction(&uri, request);
            // RFC 3261 §16.4: the Request-URI is a value the gateway once put into Record-Route.
            if direction.is_some() || (uri.user.is_none() && uri.is_loose() && self.is_own(&uri)) {
                let last = request.values(Name::Route).last().and_then(NameAddr::parse);
                routing.repaired_uri = last.map(|last| Bytes::copy_from_slice(last.uri));
                routing.direction = direction;
                values -= usize::from(routing.repaired_uri.is_some());
            }
        }
        for value in request.values(Name::Route).take(values) {
            let Some(uri) = NameAddr::parse(value).and_then(|value| Uri::parse(value.uri)) else { break };
            let direction = self.direction(&uri, request);
            if direction.is_none() && !self.is_own(&uri) {
                break;
            }
            routing.direction = routing.direction.or(direction);
            routing.own_routes = routing.own_routes.saturating_add(1);
        }
        routing
    }

    /// The next hop by Route, else by Request-URI.
    ///
    /// # Errors
    /// [`NoHop`] when there is none or it would be the gateway itself.
    pub fn next_hop(&self, request: &Message, routing: &Routing) -> Result<NextHop, NoHop> {
        let taken = usize::from(routing.own_routes);
        let left = request.values(Name::Route).count().saturating_sub(usize::from(routing.repaired_uri.is_some()));
        if taken < left {
            let value = request.values(Name::Route).nth(taken).and_then(NameAddr::parse).ok_or(NoHop { code: 400 })?;
            let uri = Uri::parse(value.uri).ok_or(NoHop { code: 400 })?;
            let strict_uri = (!uri.is_loose()).then(|| Bytes::copy_from_slice(value.uri));
            return Ok(NextHop { hop: hop(&uri)?, transport: transport_of(&uri), strict_uri });
        }
        let target = routing.repaired_uri.as_deref().unwrap_or_else(|| request.request_uri());
        let uri = Uri::parse(target).ok_or(NoHop { code: 400 })?;
        if self.is_own(&uri) {
            return Err(NoHop { code: 404 });
        }
        Ok(NextHop { hop: hop(&uri)?, transport: transport_of(&uri), strict_uri: None })
    }
}

/// The place a URI names: `maddr` before the host (RFC 3263 §4).
fn hop(uri: &Uri<'_>) -> Result<Hop, NoHop> {
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err(NoHop { code: 416 });
    }
    let host = uri.param(b"maddr").filter(|maddr| !maddr.is_empty()).unwrap_or(uri.host);
    let text = std::str::from_utf8(host).map_err(|_| NoHop { code: 400 })?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => {
            let port = uri.port.unwrap_or_else(|| default_port(transport_of(uri)));
            // Port 0 and addresses for many receivers are no place a request may go to.
            if port == 0 || ip.is_multicast() || ip.is_unspecified() || is_broadcast(ip) {
                return Err(NoHop { code: 400 });
            }
            Ok(Hop::Addr(SocketAddr::new(ip, port)))
        }
        Err(_) => Ok(Hop::Name { host: bare.to_owned(), port: uri.port }),
    }
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

/// The transport a URI asks for (RFC 3263 §4.1); UDP when it asks for none or for one that is not known.
#[must_use]
pub fn transport_of(uri: &Uri<'_>) -> Transport {
    let named = uri.param(b"transport").unwrap_or_default();
    if uri.scheme == Scheme::Sips || named.eq_ignore_ascii_case(b"tls") {
        Transport::Tls
    } else if named.eq_ignore_ascii_case(b"tcp") {
        Transport::Tcp
    } else {
        Transport::Udp
    }
}

/// The port of a transport where a URI gives none (RFC 3261 §19.1.2).
#[must_use]
pub const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls => 5061,
        Transport::Udp | Transport::Tcp => 5060,
    }
}
