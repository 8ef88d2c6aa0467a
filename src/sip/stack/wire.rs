//! What goes out: by which listener, in which octets, with which Via, Record-Route and tags of ours (RFC 3261 §16.6 steps 1
//! to 8, §16.7), and what of that is known again when it comes back.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::hashes::Hashes;
use super::settings::Settings;
use super::tables::Progress;
use super::types::{Destination, Edits, Hop, Listener, ListenerId, Peer, RequestView, Transport, Way};
use crate::clock::Timestamp;
use crate::sip::dialog::{Carried, Homes, Pairing, RouteKeys, Signer, Word};
use crate::sip::message::{self, Elements, Message, Method, Name, NameAddr, RequestEdits};
use crate::sip::proxy::{self, Own, Refusal};
use crate::sip::transaction::Reliability;
use crate::sip::transaction::slab::Key;

/// How a request leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Onwards<'a> {
    /// The branch it leaves by, and its share of the Max-Breadth; `None`: an ACK.
    pub branch: Option<(Key, u32)>,
    /// The Request-URI to send; empty leaves the one received.
    pub uri: &'a [u8],
    /// The Request-URI of the strict router that comes first.
    pub strict_uri: Option<&'a Bytes>,
    /// What is changed beside.
    pub edits: Option<&'a Edits>,
}

/// The listeners, and the keys of what is signed and hashed.
#[derive(Debug)]
pub(super) struct Wire {
    settings: Rc<Settings>,
    /// Host and port of each listener as they are written.
    places: Vec<Box<[u8]>>,
    hashes: Hashes,
    signer: Signer,
    /// Messages are printed here.
    scratch: Vec<u8>,
}

impl Wire {
    pub(super) fn new(settings: Rc<Settings>) -> Self {
        Self {
            places: settings.listeners.iter().map(|own| own.local.to_string().into_bytes().into()).collect(),
            hashes: Hashes::new(settings.key, settings.incarnation),
            signer: Signer::new(settings.route_keys.clone()),
            scratch: Vec::new(),
            settings,
        }
    }

    /// Takes new settings; listeners and keys are those of before.
    pub(super) fn configure(&mut self, settings: Rc<Settings>) {
        self.settings = settings;
    }

    /// Takes other keys for signing.
    pub(super) fn renew_keys(&mut self, keys: RouteKeys) {
        self.signer.renew(keys);
    }

    /// What is signed from now on is signed at this time.
    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.signer.set_time(now);
    }

    pub(super) fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// What is the gateway's own in a message.
    pub(super) fn own(&self) -> Own<'_> {
        Own { listeners: &self.settings.listeners, names: &self.settings.names, signer: &self.signer }
    }

    /// The listener a request leaves by: that it came in by, if it reaches the address, else the first that does.
    pub(super) fn listener_for(&self, transport: Transport, to: SocketAddr, came_by: ListenerId) -> Option<ListenerId> {
        let reaches =
            |own: &Listener| own.transport == transport && own.local.is_ipv4() == to.ip().to_canonical().is_ipv4();
        let listeners = &self.settings.listeners;
        if listeners.get(usize::from(came_by.0)).is_some_and(reaches) {
            return Some(came_by);
        }
        let place = listeners.iter().position(reaches)?;
        u16::try_from(place).ok().map(ListenerId)
    }

    /// The same for a transport that may be left to us: UDP, or TCP where there is no UDP listener.
    pub(super) fn usual_peer(&self, to: Destination, came_by: ListenerId) -> Option<Peer> {
        let by = |transport| self.listener_for(transport, to.addr, came_by);
        let listener = match to.transport {
            Some(transport) => by(transport),
            None => by(Transport::Udp).or_else(|| by(Transport::Tcp)),
        };
        Some(Peer { listener: listener?, addr: to.addr })
    }

    /// The same, by the listener `wish` where that is of a transport that leads there.
    pub(super) fn peer_by(&self, to: Destination, came_by: ListenerId, wish: Option<ListenerId>) -> Option<Peer> {
        let usual = self.usual_peer(to, wish.unwrap_or(came_by))?;
        let spoken = |id| self.listener(id).map(|own| (own.transport, own.local.is_ipv4()));
        let fits = wish.filter(|wish| spoken(*wish) == spoken(usual.listener));
        Some(fits.map_or(usual, |listener| Peer { listener, ..usual }))
    }

    /// The name that the certificate of `to` must be valid for, told only where one is shown.
    pub(super) fn authority_at(&self, to: Peer, name: Option<Arc<str>>) -> Option<Arc<str>> {
        name.filter(|_| self.listener(to.listener).is_some_and(|own| own.transport == Transport::Tls))
    }

    /// The listener that a request of `len` octets leaves by instead of UDP (RFC 3261 §18.1.1): longer ones go by TCP
    /// where the destination leaves the choice, once for each address.
    pub(super) fn stream_instead(&self, progress: &Progress, next: Destination, to: Peer, len: usize) -> Option<Peer> {
        let is_choice = next.transport.is_none() && progress.datagrams_to != Some(to.addr);
        if !is_choice || len <= self.settings.datagram_bytes_max {
            return None;
        }
        let by_datagram = self.reliability(to.listener) == Reliability::Unreliable;
        let listener = self.listener_for(Transport::Tcp, to.addr, to.listener).filter(|_| by_datagram)?;
        Some(Peer { listener, ..to })
    }

    pub(super) fn reliability(&self, listener: ListenerId) -> Reliability {
        match self.listener(listener) {
            Some(own) if own.transport.is_reliable() => Reliability::Reliable,
            _ => Reliability::Unreliable,
        }
    }

    /// Has a printed message end its lines by CR LF where it leaves by a stream: what others read there may not depend on
    /// how they take a bare LF.
    fn end_lines_for(&mut self, by: ListenerId, received: &Message) {
        if received.has_bare_breaks() && self.reliability(by) == Reliability::Reliable {
            message::end_lines(&mut self.scratch);
        }
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.settings.listeners.get(usize::from(id.0))
    }

    /// Prints a request for its next hop, with a branch that leads to a `client` and its share of the Max-Breadth. An empty `uri` leaves the Request-URI as it is; with `strict_uri` the next
    /// hop is a strict router, and the Request-URI goes to the end of Route.
    pub(super) fn print_forward(&mut self, view: &RequestView, to: Peer, how: &Onwards<'_>) -> Bytes {
        let Onwards { branch: client, uri, strict_uri, edits } = *how;
        let request = &*view.message;
        let via = self.print_via(to.listener, client.map(|(key, _)| key), request);
        let repaired = view.repaired_uri.as_deref();
        let own_uri = if uri.is_empty() { repaired } else { Some(uri) };
        let record_routes = match edits {
            Some(edits) if edits.off_route => SmallVec::new(),
            _ => {
                let word = edits.map_or(Word::NONE, |edits| edits.word);
                self.record_routes(view, (to, word), own_uri.unwrap_or_else(|| request.request_uri()))
            }
        };
        let record_routes: SmallVec<[&[u8]; 2]> = record_routes.iter().map(Vec::as_slice).collect();
        let mut pushed = Vec::new();
        if strict_uri.is_some() {
            pushed.push(b'<');
            pushed.extend_from_slice(own_uri.unwrap_or_else(|| request.request_uri()));
            pushed.push(b'>');
        }
        let is_restored = matches!(view.way, Way::Dialog(_));
        let restored = if let Way::Dialog(routes) = &view.way { &routes[..] } else { b"" };
        // A strict router that comes first stands in the Request-URI.
        let restored = Elements::of(restored).skip(usize::from(is_restored && strict_uri.is_some()));
        let routes_added: SmallVec<[&[u8]; 2]> = restored.chain(strict_uri.map(|_| &pushed[..])).collect();
        let edits = RequestEdits {
            request_uri: strict_uri.map_or(own_uri, |uri| Some(&**uri)),
            via: &via,
            source: Some(view.peer.addr),
            max_forwards: proxy::max_forwards_onward(request),
            max_breadth: Some(client.map_or_else(|| proxy::max_breadth(request), |(_, share)| share)),
            routes_popped: usize::from(view.own_routes) + usize::from(strict_uri.is_some() && !is_restored),
            route_last_popped: view.repaired_uri.is_some() && !is_restored,
            routes_added: &routes_added,
            record_route: &record_routes,
            headers_added: edits.map_or(&[], |edits| &edits.added),
            headers_removed: edits.map_or(&[], |edits| &edits.removed),
            content_length_added: self.reliability(to.listener) == Reliability::Reliable,
        };
        self.scratch.clear();
        message::forward_request(request, &edits, &mut self.scratch);
        self.end_lines_for(to.listener, request);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// A response of a branch as it goes upstream, with the challenges of other branches (RFC 3261 §16.7 step 7).
    pub(super) fn print_response(&mut self, by: ListenerId, message: &Message, challenges: &[Rc<Message>]) -> Bytes {
        self.scratch.clear();
        message::forward_response(message, &mut self.scratch);
        if !challenges.is_empty() {
            let mut lines = Vec::new();
            for other in challenges {
                for name in [&b"WWW-Authenticate"[..], b"Proxy-Authenticate"] {
                    for value in other.headers_named(name) {
                        lines.extend_from_slice(name);
                        lines.extend_from_slice(b": ");
                        lines.extend_from_slice(value);
                        lines.extend_from_slice(b"\r\n");
                    }
                }
            }
            // Before the blank line, which stands in front of the body.
            let head = self.scratch.len() - message.body().len();
            let blank = if self.scratch[..head].ends_with(b"\r\n") { 2 } else { 1 };
            let at = head.saturating_sub(blank);
            self.scratch.splice(at..at, lines);
        }
        self.end_lines_for(by, message);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// A response the gateway makes, with its own To tag if the request has none.
    pub(super) fn print_local(&mut self, request: &Message, peer: Peer, refusal: &Refusal) -> Bytes {
        let tag = (refusal.code > 100 && request.to_tag().is_empty()).then(|| self.hashes.local_tag(request));
        let extra: Vec<(&str, &[u8])> = refusal.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let tag = tag.as_deref().map(str::as_bytes);
        self.scratch.clear();
        message::response(request, refusal.code, &refusal.reason, tag, &extra, peer.addr, &mut self.scratch);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// The ACK for the refusal of a request that was sent (RFC 3261 §17.1.1.3).
    pub(super) fn print_ack(&mut self, sent: &Message, response: &Message) -> Bytes {
        self.scratch.clear();
        message::ack_for(sent, response, &mut self.scratch);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// The CANCEL of an INVITE that was sent (RFC 3261 §9.1), with the values of its Reason lines.
    pub(super) fn print_cancel(&mut self, sent: &Message, reasons: &[Box<[u8]>]) -> Bytes {
        let reasons: SmallVec<[&[u8]; 4]> = reasons.iter().map(|reason| &**reason).collect();
        self.scratch.clear();
        message::cancel_for(sent, &reasons, &mut self.scratch);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// Where the responses to a request go: on the connection it came by (RFC 3261 §18.2.2), or as [`reply_peer`] says.
    pub(super) fn reply_to(&self, peer: Peer, request: &Message) -> Peer {
        match self.reliability(peer.listener) {
            Reliability::Reliable => peer,
            Reliability::Unreliable => reply_peer(peer, request),
        }
    }

    /// The place of our topmost value among those of Record-Route.
    pub(super) fn own_value(&self, response: &Message, sent_to: Peer) -> Option<usize> {
        let place = self.places.get(usize::from(sent_to.listener.0))?;
        let is_plainly_own = |value: &[u8]| {
            let bare = value.strip_prefix(b"<sip:").or_else(|| value.strip_prefix(b"<sips:"));
            let rest = bare.and_then(|bare| bare.strip_prefix(&place[..]));
            // Port 5060 is not the beginning of 50600.
            rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_digit))
        };
        // As a rule it stands first.
        if response.header(Name::RecordRoute).is_some_and(is_plainly_own) {
            return Some(0);
        }
        let is_signed = |value: &[u8]| {
            let uri = NameAddr::parse(value).and_then(|value| value.parsed_uri());
            uri.is_some_and(|uri| self.own().is_signed(&uri, response))
        };
        response.values(Name::RecordRoute).position(|value| is_plainly_own(value) || is_signed(value))
    }

    /// What a signed value of ours says of the host that the callee's side leads to from here.
    pub(super) fn home_downstream(&self, response: &Message, home: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.signer.home_downstream(response, home)
    }

    /// `SIP/2.0/UDP host:port;branch=…`
    fn print_via(&self, by: ListenerId, client: Option<Key>, request: &Message) -> Vec<u8> {
        let mut via = Vec::with_capacity(96);
        if let (Some(own), Some(place)) = (self.listener(by), self.places.get(usize::from(by.0))) {
            via.extend_from_slice(b"SIP/2.0/");
            via.extend_from_slice(own.transport.via_token().as_bytes());
            via.push(b' ');
            via.extend_from_slice(place);
            via.extend_from_slice(b";branch=");
        }
        self.hashes.print_branch(client, request, &mut via);
        via
    }

    /// Record-Route of a request that makes a dialog; two values when it leaves by another listener than it came in by
    /// (RFC 5658 §5): the side it goes to on top. `sent_uri` is the Request-URI it leaves with: a SIPS one asks for SIPS.
    pub(super) fn record_routes(
        &self,
        view: &RequestView,
        (to, word): (Peer, Word),
        sent_uri: &[u8],
    ) -> SmallVec<[Vec<u8>; 2]> {
        let mut values = SmallVec::new();
        if !makes_dialog(&view.message) {
            return values;
        }
        let (from, to, receiver) = (view.peer.listener, to.listener, to.addr);
        let pairing = if from == to { Pairing::Single } else { Pairing::Double };
        let way_back = proxy::way_back(&view.message).map(|hop| proxy::home_of(&hop));
        let onward = proxy::home_of(&Hop::Addr(receiver));
        let homes = Homes { upstream: way_back.as_deref(), downstream: Some(&onward) };
        let (good_for, begun) = match view.message.method() {
            Method::Invite => (self.settings.call_good_for, Some(view.arrived.wall)),
            _ => (self.settings.dialog_good_for, None),
        };
        let sides: &[ListenerId] = if from == to { &[to] } else { &[to, from] };
        for side in sides {
            let (Some(own), Some(place)) = (self.listener(*side), self.places.get(usize::from(side.0))) else {
                continue;
            };
            let mut value = Vec::with_capacity(192);
            let carried = Carried { homes, good_for, word, begun };
            self.signer.print((place, own.transport), pairing, &view.message, carried, &mut value);
            if own.transport == Transport::Tls && proxy::is_sips(sent_uri) {
                secure(&mut value);
            }
            values.push(value);
        }
        values
    }
}

/// Where the responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4): always to the address it came from, to the port
/// it came from if it asks so, else to the port of its Via. `maddr` is not followed: it would let a caller aim responses.
pub(super) fn reply_peer(peer: Peer, request: &Message) -> Peer {
    let port = match request.top_via() {
        Some(via) if via.rport.is_none() => via.port_or_default(),
        _ => peer.addr.port(),
    };
    let mut addr = peer.addr;
    addr.set_port(if port == 0 { peer.addr.port() } else { port });
    Peer { addr, ..peer }
}

/// Makes a Record-Route value for TLS a SIPS URI (RFC 3261 §16.6 step 4), which needs no transport parameter.
fn secure(value: &mut Vec<u8>) {
    let named = Transport::Tls.uri_parameter().as_bytes();
    if let Some(at) = memchr::memmem::find(value, named) {
        value.drain(at..at + named.len());
    }
    if value.starts_with(b"<sip:") {
        value.insert(4, b's');
    }
}

/// Whether the request may make a dialog, so that the gateway must stay on its path (RFC 3261 §12.1, RFC 6665 §4.4,
/// RFC 3515). Later requests of a dialog do not change the route set.
pub(super) fn makes_dialog(request: &Message) -> bool {
    request.to_tag().is_empty()
        && matches!(request.method(), Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
}
