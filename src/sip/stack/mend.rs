//! Our Record-Route value in a response that makes a dialog (RFC 3261 §16.7 step 8): it is put back if the callee has
//! dropped it, for else ACK and BYE would pass by, and signed for where the callee's side leads from here, if that is
//! another host than the one the request went to.
//!
//! The values are made from the request, which is kept until its first 2xx has left: the 2xx of a further callee behind the
//! same branch that comes after that, and is the first there to lack the value, goes on as it is.

use std::rc::Rc;

use super::Stack;
use super::types::{Ignored, Output, Peer};
use crate::sip::message::{self, Message, Name, NameAddr};
use crate::sip::proxy;
use crate::sip::stack::Hop;
use crate::sip::transaction::slab::Key;

/// Values that were put back into a response, for when it comes again.
#[derive(Debug)]
pub(super) struct PutBack {
    /// Record-Route values of the request as it came in: they stand below.
    below: usize,
    values: Vec<Vec<u8>>,
}

impl Stack {
    /// Mends the response of a branch.
    pub(super) fn mend_routes(&mut self, key: Key, response: &mut Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get(key).filter(|client| client.is_recorded) else { return };
        let Some(sent_to) = client.peer.filter(|_| !response.to_tag().is_empty()) else { return };
        let own = self.own_value(response, sent_to).or_else(|| {
            self.put_back(key, sent_to, response, out);
            self.own_value(response, sent_to)
        });
        let Some(own) = own else { return };
        let next = match own.checked_sub(1) {
            Some(above) => response.values(Name::RecordRoute).nth(above),
            None => response.values(Name::Contact).next(),
        };
        let hop =
            next.and_then(NameAddr::parse).and_then(|next| next.parsed_uri()).and_then(|uri| proxy::hop(&uri).ok());
        let Some(home) = hop.map(|hop| proxy::home_of(&hop)) else { return };
        if home != proxy::home_of(&Hop::Addr(sent_to.addr)) {
            let check = self.signer.home_downstream(response, &home);
            if let Some(response) = Rc::get_mut(response) {
                response.overwrite_record_route(own, b";td=", &check);
            }
        }
    }

    /// The place of our topmost value among those of Record-Route.
    fn own_value(&self, response: &Message, sent_to: Peer) -> Option<usize> {
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

    fn put_back(&mut self, key: Key, sent_to: Peer, response: &mut Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get(key) else { return };
        if client.put_back.is_none() {
            let server = self.servers.get(client.place.server);
            let Some(view) = server.and_then(|server| server.view.as_deref()) else { return };
            let uri = if client.uri.is_empty() { view.request_uri() } else { &client.uri };
            let below = view.message.values(Name::RecordRoute).count();
            let values = self.record_routes(view, sent_to, uri).into_vec();
            if let Some(client) = self.clients.get_mut(key) {
                client.put_back = Some(Box::new(PutBack { below, values }));
            }
            out.push(Output::Ignored { why: Ignored::RouteMissing(sent_to.addr.ip()) });
        }
        let Some(PutBack { below, values }) = self.clients.get(key).and_then(|client| client.put_back.as_deref())
        else {
            return;
        };
        let above = response.values(Name::RecordRoute).count().saturating_sub(*below);
        let mended = message::insert_record_routes(response, above, values);
        if let Some(mended) = mended.and_then(|octets| Message::parse(octets).ok()) {
            *response = Rc::new(mended);
        }
    }
}
