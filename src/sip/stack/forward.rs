//! The request as it leaves (RFC 3261 §16.6 steps 1 to 8).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Stack;
use super::tables::Progress;
use super::types::{Destination, Hop, Listener, ListenerId, Peer, RequestView, Transport, Way};
use crate::sip::dialog::{Homes, Pairing};
use crate::sip::message::{self, Elements, Message, Method, RequestEdits};
use crate::sip::proxy;
use crate::sip::transaction::Reliability;
use crate::sip::transaction::slab::Key;

impl Stack {
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
        Some(Peer { listener, ..to }).filter(|by_stream| !self.outages.is_down(*by_stream))
    }

    pub(super) fn reliability(&self, listener: ListenerId) -> Reliability {
        match self.listener(listener) {
            Some(own) if own.transport.is_reliable() => Reliability::Reliable,
            _ => Reliability::Unreliable,
        }
    }

    /// Has a printed message end its lines by CR LF where it leaves by a stream: what others read there may not depend on
    /// how they take a bare LF.
    pub(super) fn end_lines_for(&self, by: ListenerId, received: &Message, printed: &mut Vec<u8>) {
        if received.has_bare_breaks() && self.reliability(by) == Reliability::Reliable {
            message::end_lines(printed);
        }
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.settings.listeners.get(usize::from(id.0))
    }

    /// Prints a request for its next hop, with a branch that leads to `client`. An empty `uri` leaves the Request-URI as it is; with `strict_uri` the next
    /// hop is a strict router, and the Request-URI goes to the end of Route.
    pub(super) fn print_forward(
        &self,
        view: &RequestView,
        to: Peer,
        client: Option<Key>,
        uri: &Bytes,
        strict_uri: Option<&Bytes>,
        out: &mut Vec<u8>,
    ) -> Bytes {
        let request = &*view.message;
        let via = self.print_via(to.listener, client, request);
        let repaired = view.repaired_uri.as_deref();
        let own_uri = if uri.is_empty() { repaired } else { Some(&**uri) };
        let record_routes = self.record_routes(view, to, own_uri.unwrap_or_else(|| request.request_uri()));
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
        let share = client.and_then(|key| Some(self.clients.get(key)?.progress.as_deref()?.breadth));
        let edits = RequestEdits {
            request_uri: strict_uri.map_or(own_uri, |uri| Some(&**uri)),
            via: &via,
            source: Some(view.peer.addr),
            max_forwards: proxy::max_forwards_onward(request),
            max_breadth: Some(share.unwrap_or_else(|| proxy::max_breadth(request))),
            routes_popped: usize::from(view.own_routes) + usize::from(strict_uri.is_some() && !is_restored),
            route_last_popped: view.repaired_uri.is_some() && !is_restored,
            routes_added: &routes_added,
            record_route: &record_routes,
            headers_added: &[],
            content_length_added: self.reliability(to.listener) == Reliability::Reliable,
        };
        out.clear();
        message::forward_request(request, &edits, out);
        self.end_lines_for(to.listener, request, out);
        Bytes::copy_from_slice(out)
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
    pub(super) fn record_routes(&self, view: &RequestView, to: Peer, sent_uri: &[u8]) -> SmallVec<[Vec<u8>; 2]> {
        let mut values = SmallVec::new();
        if !makes_dialog(&view.message) {
            return values;
        }
        let (from, to, receiver) = (view.peer.listener, to.listener, to.addr);
        let pairing = if from == to { Pairing::Single } else { Pairing::Double };
        let way_back = proxy::way_back(&view.message).map(|hop| proxy::home_of(&hop));
        let onward = proxy::home_of(&Hop::Addr(receiver));
        let homes = Homes { upstream: way_back.as_deref(), downstream: Some(&onward) };
        let good_for = match view.message.method() {
            Method::Invite => self.settings.call_good_for,
            _ => self.settings.dialog_good_for,
        };
        let sides: &[ListenerId] = if from == to { &[to] } else { &[to, from] };
        for side in sides {
            let (Some(own), Some(place)) = (self.listener(*side), self.places.get(usize::from(side.0))) else {
                continue;
            };
            let mut value = Vec::with_capacity(160);
            self.signer.print((place, own.transport), pairing, &view.message, (homes, good_for), &mut value);
            if own.transport == Transport::Tls && proxy::is_sips(sent_uri) {
                secure(&mut value);
            }
            values.push(value);
        }
        values
    }
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
