//! What the gateway does beyond the requests that come in: requests of its own, contacts of a redirection that are tried,
//! and 2xx for branches of an earlier process.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::Stack;
use super::event::FinalResponse;
use super::tables::{Origin, Place, Server};
use super::types::{Ignored, ListenerId, Output, Peer, Redirects, RequestView, ServerId, Target, Transport, Way};
use crate::clock::Now;
use crate::sip::message::{Message, Method, Name, NameAddr, Uri, Via};
use crate::sip::proxy::{self, Ending};
use crate::sip::transaction::key::RequestKey;
use crate::sip::transaction::slab::Key;

impl Stack {
    /// Sends a request of the gateway itself, other than INVITE, where its Route or Request-URI leads. It needs a Via,
    /// below which ours is put; what becomes of it is told like that of any request, only its responses go nowhere.
    /// `None` when it is no such request, or the transactions are at their limit.
    pub fn originate(&mut self, now: Now, by: ListenerId, request: Message, out: &mut Vec<Output>) -> Option<ServerId> {
        self.originate_as(now, by, request, Origin::Gateway, out)
    }

    pub(super) fn originate_as(
        &mut self,
        now: Now,
        by: ListenerId,
        request: Message,
        origin: Origin,
        out: &mut Vec<Output>,
    ) -> Option<ServerId> {
        let is_fit = !matches!(request.method(), Method::Invite | Method::Ack | Method::Cancel);
        let own = self.settings.listeners.get(usize::from(by.0)).map(|listener| listener.local)?;
        if !is_fit || request.check().is_err() || self.tables.is_full(self.settings.transactions_max) {
            return None;
        }
        let peer = Peer { listener: by, addr: own };
        let view = RequestView { way: Way::Route, ..RequestView::of(Rc::new(request), peer, now) };
        let reliability = self.wire.reliability(by);
        let mut server = Server::new(view, RequestKey::default(), peer, now.mono, &self.settings, reliability);
        // Nobody sends it again, and nobody waits for a 100.
        server.key = None;
        server.wait_until = None;
        server.origin = origin;
        let id = self.tables.add_server(server);
        self.follow_route(now, id, None, out);
        Some(ServerId(id.to_u64()))
    }

    /// A response without a client transaction: a 2xx to an INVITE may be one that an earlier process sent on.
    pub(super) fn stray(&mut self, response: Rc<Message>, out: &mut Vec<Output>) {
        let is_2xx = response.method() == Method::Invite && (200..300).contains(&response.code());
        let is_sent_by_us = |via: Via<'_>| {
            let port = via.port_or_default();
            via.ip().is_some_and(|ip| {
                self.settings.listeners.iter().any(|own| own.local.ip() == ip && own.local.port() == port)
            })
        };
        let is_of_this_process = |via: &Via<'_>| self.wire.hashes().read_branch(via, &response).is_some();
        let via = response.top_via().filter(|via| !is_of_this_process(via));
        if is_2xx && response.check().is_ok() && via.is_some_and(is_sent_by_us) {
            out.push(Output::Orphan { response });
        } else {
            out.push(Output::Ignored { why: Ignored::AnswerStray });
        }
    }

    /// Sends an [`Output::Orphan`] on, without state (RFC 3261 §16.11): to the address the earlier process has noted in
    /// the next Via. Without one it is dropped.
    pub fn pass_on(&mut self, response: &Message, out: &mut Vec<Output>) {
        let next = response.values(Name::Via).nth(1).and_then(Via::parse);
        let to = next.and_then(|via| {
            let ip = via.received.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).or_else(|| via.ip())?;
            let port = via.rport.filter(|port| !port.is_empty()).and_then(|port| std::str::from_utf8(port).ok());
            let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| via.port_or_default());
            let addr = SocketAddr::new(ip, port);
            let by = self.wire.listener_for(proxy::transport_named(via.transport), addr, ListenerId(0))?;
            Some(Peer { listener: by, addr })
        });
        let Some(peer) = to.filter(|peer| peer.addr.port() != 0) else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        out.push(Output::Send { peer, bytes: self.wire.print_response(peer.listener, response, &[]), authority: None });
    }

    /// The contacts of a 300, 301 or 302 become the next targets, if the plan says so (RFC 3261 §16.5, §16.7 step 4).
    pub(super) fn follow_redirect(&mut self, place: Place, by: ListenerId, attempt: &FinalResponse) {
        let (Some(response), 300..=302) = (attempt.message.as_deref(), attempt.code) else { return };
        let forwarding = self.tables.forwarding(place.server);
        let redirects = forwarding.filter(|own| own.context.round() == place.round).map(|own| &own.context);
        let Some(context) = redirects.filter(|context| context.ending() == Ending::Open) else { return };
        let Redirects::Follow { ring_timeout } = context.redirects() else { return };
        let next_on = context.next_on(place.branch);
        let is_secure = self.is_secure(place.server, by, attempt);
        let mut contacts: Vec<(u16, Target)> = Vec::new();
        for value in response.values(Name::Contact).take(CONTACTS_MAX) {
            let Some(contact) = NameAddr::parse(value) else { continue };
            let Some(uri) = Uri::parse(contact.uri).filter(|uri| uri.headers.is_empty()) else { continue };
            let Ok(hop) = proxy::hop(&uri) else { continue };
            let is_new = !contacts.iter().any(|(_, target)| target.uri == contact.uri);
            if is_new && !self.wire.own().is_own(&uri) && !context.has_tried(contact.uri) {
                let transport = match proxy::transport_named_by(&uri) {
                    // What was protected stays protected.
                    Some(Transport::Udp | Transport::Tcp) if is_secure => continue,
                    None if is_secure => Some(Transport::Tls),
                    named => named,
                };
                let target = Target {
                    uri: Bytes::copy_from_slice(contact.uri),
                    hop,
                    transport,
                    ring_timeout,
                    next_on,
                    edits: None,
                };
                contacts.push((q_of(contact.param(b"q")), target));
            }
        }
        let groups = by_q(contacts);
        if let Some(forwarding) = self.tables.forwarding_mut(place.server) {
            forwarding.context.redirected(place.branch, groups);
        }
    }
}

impl Stack {
    /// Whether the redirection came by TLS, or the request asks for it (RFC 3261 §26.2.2).
    fn is_secure(&self, server: Key, by: ListenerId, attempt: &FinalResponse) -> bool {
        let view = self.tables.view(server);
        let is_sips = proxy::is_sips(&attempt.uri) || view.is_some_and(|view| proxy::is_sips(view.request_uri()));
        is_sips || self.wire.listener(by).is_some_and(|own| own.transport == Transport::Tls)
    }
}

/// Contacts of one redirection that are looked at.
const CONTACTS_MAX: usize = 64;

/// A q value in thousandths (RFC 3261 §25.1): 1000 without one, 0 for what is none.
#[must_use]
pub fn q_of(value: Option<&[u8]>) -> u16 {
    let Some(value) = value else { return 1000 };
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|octet| octet.is_ascii_digit()) {
        return 0;
    }
    let thousandths = format!("{part:0<3}").parse::<u16>().unwrap_or(0);
    match whole {
        "0" => thousandths,
        "1" if thousandths == 0 => 1000,
        _ => 0,
    }
}

/// Serial groups of parallel targets: the highest q first, those of one q at once, in their order.
#[must_use]
pub fn by_q<T>(mut targets: Vec<(u16, T)>) -> Vec<Vec<T>> {
    targets.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    let mut groups: Vec<(u16, Vec<T>)> = Vec::new();
    for (q, target) in targets {
        match groups.last_mut() {
            Some((own, group)) if *own == q => group.push(target),
            _ => groups.push((q, vec![target])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_is_read_in_thousandths() {
        for (text, want) in [
            (None, 1000),
            (Some("1"), 1000),
            (Some("1.000"), 1000),
            (Some("0.7"), 700),
            (Some("0.25"), 250),
            (Some("0"), 0),
            (Some("0."), 0),
            (Some("1.5"), 0),
            (Some("2"), 0),
            (Some("0.1234"), 0),
            (Some("-1"), 0),
            (Some(""), 0),
        ] {
            assert_eq!(q_of(text.map(str::as_bytes)), want, "{text:?}");
        }
    }

    #[test]
    fn equal_q_are_tried_at_once_and_the_highest_first() {
        let targets = vec![(500, 'a'), (1000, 'b'), (500, 'c'), (0, 'd')];
        assert_eq!(by_q(targets), [vec!['b'], vec!['a', 'c'], vec!['d']]);
    }
}
