//! Where a request goes (RFC 3261 §16.4, §16.6 steps 6 and 7, §16.12): our own Route values come off, what a strict
//! router did to the Request-URI is undone, and the next hop is read from what remains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::sip::dialog::{Direction, Known, Signer, Word};
use crate::sip::message::{Elements, Message, Name, NameAddr, Scheme, Uri};
use crate::sip::stack::{Hop, Listener, Transport};

/// Who the gateway is: by what addresses and names it recognises itself.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its listeners.
    pub listeners: &'a [Listener],
    /// Host names that mean it, in lower case.
    pub names: &'a [String],
    /// Recognises its Record-Route values, also those made before its addresses changed.
    pub signer: &'a Signer,
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
    /// What a policy has put into that value.
    pub word: Word,
    /// When the call began, by that value.
    pub begun: Option<Timestamp>,
    /// The transport of the side the request leaves to, by the last Route value of ours; `None` for UDP and without one.
    pub side: Option<Transport>,
    /// The Route values that stand in place of all received, joined by commas, when the request was led back to the
    /// remote target of its dialog, which is in `repaired_uri` then.
    pub restored: Option<Bytes>,
}

impl Routing {
    /// The Route values the request leaves with: those behind our own and before the one that strict-route repair took.
    pub fn rest<'a>(&'a self, request: &'a Message) -> impl Iterator<Item = &'a [u8]> + Clone {
        let (restored, left) = match &self.restored {
            Some(routes) => (&**routes, 0),
            None => {
                let all = request.values(Name::Route).count();
                (&b""[..], all.saturating_sub(usize::from(self.own_routes) + usize::from(self.repaired_uri.is_some())))
            }
        };
        Elements::of(restored).chain(request.values(Name::Route).skip(self.own_routes.into()).take(left))
    }

    /// Takes what a value of ours says; the first that says something counts. `begun` reads when the call began.
    fn signed_by(&mut self, signed: Option<(Direction, Word)>, begun: impl FnOnce(Direction) -> Option<Timestamp>) {
        if let (None, Some((direction, word))) = (self.direction, signed) {
            (self.direction, self.word, self.begun) = (Some(direction), word, begun(direction));
        }
    }

    /// The Request-URI the request is really for.
    #[must_use]
    pub fn target<'a>(&'a self, request: &'a Message) -> &'a [u8] {
        self.repaired_uri.as_deref().unwrap_or_else(|| request.request_uri())
    }

    /// Leads the request to the remote target of its dialog by the route set of that dialog, whatever it says itself.
    pub fn restore(&mut self, request: &Message, known: &Known<'_>) {
        self.own_routes = u16::try_from(request.values(Name::Route).count()).unwrap_or(u16::MAX);
        self.repaired_uri = Some(Bytes::copy_from_slice(known.target));
        self.restored = Some(Bytes::copy_from_slice(known.routes));
    }
}

/// Where a request goes, and what must change for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The place.
    pub hop: Hop,
    /// By which transport; `None` when the URI names none.
    pub transport: Option<Transport>,
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

    /// Whether a request that came by one of our signed Route values goes where that value leads.
    #[must_use]
    pub fn leads_home(&self, request: &Message, routing: &Routing, next: &Hop) -> bool {
        let Some(direction) = routing.direction else { return false };
        let home = home_of(next);
        let routes = request.values(Name::Route).filter_map(NameAddr::parse).map(|value| value.uri);
        std::iter::once(request.request_uri()).chain(routes).filter_map(Uri::parse).any(|uri| {
            self.direction(&uri, request) == Some(direction) && self.signer.leads_home(direction, &uri, request, &home)
        })
    }

    /// Whether a URI is a Record-Route value of ours for the call of this message.
    #[must_use]
    pub fn is_signed(&self, uri: &Uri<'_>, message: &Message) -> bool {
        self.direction(uri, message).is_some()
    }

    fn direction(&self, uri: &Uri<'_>, request: &Message) -> Option<Direction> {
        self.signed(uri, request).map(|(direction, _)| direction)
    }

    /// Who sent the request by this value, and the word in it.
    fn signed(&self, uri: &Uri<'_>, request: &Message) -> Option<(Direction, Word)> {
        let (check, word) = (uri.param(b"tg")?, Word::of(uri)?);
        self.signer.direction((check, word), request).map(|direction| (direction, word))
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
            let signed = self.signed(&uri, request);
            // RFC 3261 §16.4: the Request-URI is a value the gateway once put into Record-Route.
            if signed.is_some() || (uri.user.is_none() && uri.is_loose() && self.is_own(&uri)) {
                routing.side = stream_named_by(&uri);
                let last = request.values(Name::Route).last().and_then(NameAddr::parse);
                routing.repaired_uri = last.map(|last| Bytes::copy_from_slice(last.uri));
                routing.signed_by(signed, |direction| self.signer.begun(direction, &uri, request));
                values -= usize::from(routing.repaired_uri.is_some());
            }
        }
        for value in request.values(Name::Route).take(values) {
            let Some(uri) = NameAddr::parse(value).and_then(|value| Uri::parse(value.uri)) else { break };
            let signed = self.signed(&uri, request);
            if signed.is_none() && !self.is_own(&uri) {
                break;
            }
            routing.signed_by(signed, |direction| self.signer.begun(direction, &uri, request));
            routing.side = stream_named_by(&uri);
            routing.own_routes = routing.own_routes.saturating_add(1);
        }
        routing
    }

    /// The next hop by Route, else by Request-URI.
    ///
    /// # Errors
    /// [`NoHop`] when there is none or it would be the gateway itself.
    pub fn next_hop(&self, request: &Message, routing: &Routing) -> Result<NextHop, NoHop> {
        // An end that was spoken to by a stream and names no transport goes on with that (RFC 3261 §18.1.1 would have UDP,
        // which it may not listen to). RFC 5658: our last value is that of the side the request leaves to.
        let spoken = |uri: &Uri<'_>| transport_named_by(uri).or(routing.side);
        let target = routing.target(request);
        if let Some(value) = routing.rest(request).next() {
            let value = NameAddr::parse(value).ok_or(NoHop { code: 400 })?;
            let uri = Uri::parse(value.uri).ok_or(NoHop { code: 400 })?;
            let strict_uri = (!uri.is_loose()).then(|| Bytes::copy_from_slice(value.uri));
            if is_sips(target) && uri.scheme == Scheme::Sip {
                // RFC 3261 §26.2.2: a SIPS request crosses each hop by TLS, whatever the Route says.
                return Ok(NextHop { hop: secured(hop(&uri)?, &uri), transport: Some(Transport::Tls), strict_uri });
            }
            return Ok(NextHop { hop: hop(&uri)?, transport: spoken(&uri), strict_uri });
        }
        let uri = Uri::parse(target).ok_or(NoHop { code: 400 })?;
        if self.is_own(&uri) {
            return Err(NoHop { code: 404 });
        }
        Ok(NextHop { hop: hop(&uri)?, transport: spoken(&uri), strict_uri: None })
    }
}

/// Whether a request leads to the remote target of its dialog by the route set of that dialog (RFC 3261 §12.2.1.1): what
/// the other end would get had its peer sent the request straight on.
#[must_use]
pub fn follows(request: &Message, routing: &Routing, known: &Known<'_>) -> bool {
    let routes = routing.rest(request).map(uri_of);
    is_same_target(routing.target(request), known.target) && routes.eq(Elements::of(known.routes).map(uri_of))
}

/// The URI of a Route value; the value itself when it holds none.
fn uri_of(value: &[u8]) -> &[u8] {
    NameAddr::parse(value).map_or(value, |value| value.uri)
}

/// Whether a Request-URI names a remote target: octet for octet, or by user, host and port (RFC 3261 §19.1.4). Parameters
/// do not decide, for ends leave some out when they send to a Contact, unless they lead elsewhere: `maddr`, or a transport
/// that the Contact does not name.
fn is_same_target(sent: &[u8], target: &[u8]) -> bool {
    let place = |uri: &Uri<'_>| {
        hop(uri).map(|hop| match &hop {
            Hop::Addr(addr) => (home_of(&hop), Some(addr.port())),
            Hop::Name { port, .. } => (home_of(&hop), *port),
        })
    };
    let is_same = |sent: &Uri<'_>, target: &Uri<'_>| {
        sent.scheme == target.scheme
            && sent.user == target.user
            && sent.host.eq_ignore_ascii_case(target.host)
            && sent.port == target.port
            && place(sent) == place(target)
            && transport_named_by(sent).is_none_or(|named| named == transport_of(target))
    };
    sent == target || Uri::parse(sent).zip(Uri::parse(target)).is_some_and(|(sent, target)| is_same(&sent, &target))
}

/// What tells next hops apart for [`Signer::leads_home`]: the address, without port, or the name in lower case.
#[must_use]
pub fn home_of(hop: &Hop) -> SmallVec<[u8; 32]> {
    match hop {
        Hop::Addr(addr) => match addr.ip().to_canonical() {
            IpAddr::V4(ip) => SmallVec::from_slice(&ip.octets()),
            IpAddr::V6(ip) => SmallVec::from_slice(&ip.octets()),
        },
        Hop::Name { host, .. } => host.bytes().map(|octet| octet.to_ascii_lowercase()).collect(),
    }
}

/// Where requests towards the sender of `request` go next: the topmost Record-Route of the proxies it passed, else its
/// Contact (RFC 3261 §12.1.1).
#[must_use]
pub fn way_back(request: &Message) -> Option<Hop> {
    let value = request.values(Name::RecordRoute).next().or_else(|| request.values(Name::Contact).next())?;
    hop(&NameAddr::parse(value)?.parsed_uri()?).ok()
}

/// The place a URI names: `maddr` before the host (RFC 3263 §4).
///
/// # Errors
/// [`NoHop`] when it names none a request may go to.
pub fn hop(uri: &Uri<'_>) -> Result<Hop, NoHop> {
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err(NoHop { code: 416 });
    }
    let host = uri.param(b"maddr").filter(|maddr| !maddr.is_empty()).unwrap_or(uri.host);
    let text = std::str::from_utf8(host).map_err(|_| NoHop { code: 400 })?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => {
            let port = uri.port.unwrap_or_else(|| default_port(transport_of(uri)));
            if port == 0 || !is_place(ip) {
                return Err(NoHop { code: 400 });
            }
            Ok(Hop::Addr(SocketAddr::new(ip, port)))
        }
        Err(_) => Ok(Hop::Name { host: bare.to_owned(), port: uri.port }),
    }
}

/// Whether a request may go there: addresses for many receivers and for nobody are no place, nor is port 0.
pub(super) fn is_place(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_multicast() && !ip.is_unspecified() && !is_broadcast
}

/// The place of a Route value for a SIPS request: the port of TLS where none is written.
fn secured(hop: Hop, uri: &Uri<'_>) -> Hop {
    match hop {
        Hop::Addr(addr) if uri.port.is_none() => Hop::Addr(SocketAddr::new(addr.ip(), default_port(Transport::Tls))),
        hop => hop,
    }
}

/// The name a certificate at this hop must be valid for (RFC 5922 §7.3), whatever host it leads to; `None` for an address.
#[must_use]
pub fn authority_of(hop: &Hop) -> Option<Arc<str>> {
    match hop {
        Hop::Name { host, .. } => Some(Arc::from(host.as_str())),
        Hop::Addr(_) => None,
    }
}

/// Whether a URI is a SIPS URI, so that all hops must use TLS (RFC 3261 §26.2.2).
#[must_use]
pub fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// The transport a URI names (RFC 3263 §4.1); `None` when it names none, or one that is not known.
#[must_use]
pub fn transport_named_by(uri: &Uri<'_>) -> Option<Transport> {
    let named = uri.param(b"transport").unwrap_or_default();
    if uri.scheme == Scheme::Sips || named.eq_ignore_ascii_case(b"tls") {
        Some(Transport::Tls)
    } else if named.eq_ignore_ascii_case(b"tcp") {
        Some(Transport::Tcp)
    } else if named.eq_ignore_ascii_case(b"udp") {
        Some(Transport::Udp)
    } else {
        None
    }
}

/// The stream a URI of ours names.
fn stream_named_by(uri: &Uri<'_>) -> Option<Transport> {
    transport_named_by(uri).filter(|transport| transport.is_reliable())
}

/// The transport a URI asks for (RFC 3263 §4.1); UDP when it asks for none or for one that is not known.
#[must_use]
pub fn transport_of(uri: &Uri<'_>) -> Transport {
    transport_named_by(uri).unwrap_or_default()
}

/// The transport a Via names (RFC 3261 §20.42); UDP for one that is not known.
#[must_use]
pub fn transport_named(token: &[u8]) -> Transport {
    if token.eq_ignore_ascii_case(b"tls") {
        Transport::Tls
    } else if token.eq_ignore_ascii_case(b"tcp") {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::dialog::RouteKeys;

    fn request(uri: &str, routes: &[&str]) -> Message {
        let routes: String = routes.iter().map(|value| format!("Route: {value}\r\n")).collect();
        let text = format!("BYE {uri} SIP/2.0\r\n{routes}Call-ID: c\r\nFrom: <sip:a@x>;tag=1\r\n\r\n");
        Message::parse(text.into_bytes()).expect("a message")
    }

    fn routed(uri: &str, routes: &[&str]) -> (Routing, Result<NextHop, NoHop>) {
        let listener = |transport, text: &str| Listener { transport, local: text.parse().expect("an address") };
        let listeners = [
            listener(Transport::Udp, "192.0.2.1:5060"),
            listener(Transport::Tls, "192.0.2.1:5061"),
            listener(Transport::Udp, "[2001:db8::1]:5070"),
        ];
        let names = ["gw.example".to_owned()];
        let signer = Signer::new(RouteKeys::default());
        let own = Own { listeners: &listeners, names: &names, signer: &signer };
        let request = request(uri, routes);
        let routing = own.routing(&request);
        let next = own.next_hop(&request, &routing);
        (routing, next)
    }

    #[test]
    fn the_next_hop_is_read_from_the_top() {
        let addr = |text: &str| Ok(Hop::Addr(text.parse().expect("an address")));
        let name = |host: &str, port| Ok(Hop::Name { host: host.to_owned(), port });
        for (what, uri, routes, own_routes, want) in [
            ("no Route: the Request-URI", "sip:b@192.0.2.9", &[][..], 0, addr("192.0.2.9:5060")),
            ("IPv6 with a port", "sip:b@[2001:db8::9]:99", &[], 0, addr("[2001:db8::9]:99")),
            ("a name with a port", "sip:b@h.example:99", &[], 0, name("h.example", Some(99))),
            ("maddr stands for the host", "sip:b@h.example;maddr=192.0.2.8", &[], 0, addr("192.0.2.8:5060")),
            ("sips has a port of its own", "sips:b@192.0.2.9", &[], 0, addr("192.0.2.9:5061")),
            ("our Route comes off", "sip:b@h", &["<sip:192.0.2.1;lr>"], 1, name("h", None)),
            ("both of a double one", "sip:b@h", &["<sip:192.0.2.1;lr>, <sip:gw.example;lr>"], 1 + 1, name("h", None)),
            (
                "the next Route leads",
                "sip:b@h",
                &["<sip:GW.example;lr>", "<sip:p.example;lr>"],
                1,
                name("p.example", None),
            ),
            ("ours further down stays", "sip:b@h", &["<sip:p;lr>", "<sip:192.0.2.1;lr>"], 0, name("p", None)),
            ("another port is not ours", "sip:b@h", &["<sip:192.0.2.1:5099;lr>"], 0, addr("192.0.2.1:5099")),
            (
                "a sips request crosses a plain Route by TLS",
                "sips:b@h",
                &["<sip:192.0.2.9;lr>"],
                0,
                addr("192.0.2.9:5061"),
            ),
            ("our TLS port is", "sip:b@h", &["<sip:192.0.2.1;transport=tls;lr>"], 1, name("h", None)),
            ("a request that ends here", "sip:gw.example", &[], 0, Err(NoHop { code: 404 })),
            ("a number has no host", "tel:+4021", &[], 0, Err(NoHop { code: 416 })),
            ("a number behind a Route may pass", "tel:+4021", &["<sip:p;lr>"], 0, name("p", None)),
            ("never to everybody", "sip:255.255.255.255", &[], 0, Err(NoHop { code: 400 })),
            ("nor to a group", "sip:224.0.1.75", &[], 0, Err(NoHop { code: 400 })),
            ("nor to nobody", "sip:0.0.0.0", &[], 0, Err(NoHop { code: 400 })),
            ("nor to port 0", "sip:192.0.2.9:0", &[], 0, Err(NoHop { code: 400 })),
        ] {
            let (routing, next) = routed(uri, routes);
            assert_eq!(next.map(|next| next.hop), want, "{what}");
            assert_eq!(routing.own_routes, own_routes, "{what}");
            assert_eq!(routing.repaired_uri, None, "{what}");
        }
    }

    #[test]
    fn a_request_follows_its_dialog_only_to_the_place_of_the_remote_target() {
        for (what, sent, target, want) in [
            ("octet for octet", "sip:b@192.0.2.9;x=y", "sip:b@192.0.2.9;x=y", true),
            ("parameters are left out", "sip:b@192.0.2.9", "sip:b@192.0.2.9;x=y;transport=tcp", true),
            ("parameters that say nothing are added", "sip:b@H:5070;x=y;transport=udp", "sip:b@h:5070", true),
            ("another place by maddr", "sip:b@192.0.2.9;maddr=192.0.2.66", "sip:b@192.0.2.9", false),
            ("the place of maddr is left", "sip:b@192.0.2.9", "sip:b@192.0.2.9;maddr=192.0.2.66", false),
            ("another transport", "sip:b@192.0.2.9:5070;transport=tcp", "sip:b@192.0.2.9:5070", false),
            ("and back", "sip:b@192.0.2.9:5070;transport=udp", "sip:b@192.0.2.9:5070;transport=tcp", false),
            ("the port of another transport", "sip:b@192.0.2.9", "sip:b@192.0.2.9;transport=tls", false),
            ("another port", "sip:b@192.0.2.9:5061", "sip:b@192.0.2.9", false),
            ("another user", "sip:c@192.0.2.9", "sip:b@192.0.2.9", false),
        ] {
            let request = request(sent, &[]);
            let known = Known { direction: Direction::Downstream, target: target.as_bytes(), routes: b"" };
            assert_eq!(follows(&request, &Routing::default(), &known), want, "{what}");
        }
    }

    #[test]
    fn an_end_that_names_no_transport_is_spoken_to_as_its_side_was() {
        let (udp, tcp, tls) =
            ("<sip:192.0.2.1;lr;r2=on>", "<sip:gw.example;transport=tcp;lr;r2=on>", "<sips:192.0.2.1:5061;lr>");
        for (what, uri, routes, want) in [
            ("from UDP to TCP", "sip:b@h", &[udp, tcp][..], Some(Transport::Tcp)),
            ("from TCP to UDP", "sip:b@h", &[tcp, udp], None),
            ("TLS on both sides", "sip:b@h", &[tls], Some(Transport::Tls)),
            ("the end says UDP", "sip:b@h;transport=udp", &[udp, tcp], Some(Transport::Udp)),
            ("so does a further Route", "sip:b@h", &[udp, tcp, "<sip:p;lr;transport=udp>"], Some(Transport::Udp)),
            ("a further Route says nothing", "sip:b@h", &[udp, tcp, "<sip:p;lr>"], Some(Transport::Tcp)),
            ("by a strict router", "sip:gw.example;transport=tcp;lr", &["<sip:b@h>"], Some(Transport::Tcp)),
            ("without a Route of ours", "sip:b@h", &[], None),
        ] {
            let (_, next) = routed(uri, routes);
            assert_eq!(next.map(|next| next.transport), Ok(want), "{what}");
        }
    }

    #[test]
    fn strict_routers_on_either_side_are_understood() {
        let (routing, next) = routed("sip:192.0.2.1;lr", &["<sip:p;lr>", "\"B\" <sip:b@h>;x=y"]);
        assert_eq!(routing.repaired_uri.as_deref(), Some(&b"sip:b@h"[..]), "the last Route was the Request-URI");
        assert_eq!(
            next.map(|next| (next.hop, next.strict_uri)),
            Ok((Hop::Name { host: "p".to_owned(), port: None }, None))
        );
        let (routing, next) = routed("sip:192.0.2.1;lr", &["<sip:b@192.0.2.9>"]);
        assert_eq!(routing.own_routes, 0);
        assert_eq!(next.map(|next| next.hop), Ok(Hop::Addr(SocketAddr::from(([192, 0, 2, 9], 5060)))));
        let (_, next) = routed("sip:b@h", &["<sip:p;x>"]);
        assert_eq!(next.map(|next| next.strict_uri.is_some()), Ok(true), "the next hop does not say lr");
        let (routing, _) = routed("sip:user@192.0.2.1", &["<sip:p;lr>"]);
        assert_eq!(routing.repaired_uri, None, "a user at our address is no Record-Route value of ours");
    }
}
