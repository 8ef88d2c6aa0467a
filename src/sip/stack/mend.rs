//! Our Record-Route value in a response that makes a dialog (RFC 3261 §16.7 step 8): it is put back if the callee has
//! dropped it, for else ACK and BYE would pass by, and signed for where the callee's side leads from here, if that is
//! another host than the one the request went to.
//!
//! The values are made from the request, which is kept until its first 2xx has left: the 2xx of a further callee behind the
//! same branch that comes after that, and is the first there to lack the value, goes on as it is.

use std::rc::Rc;

use super::Stack;
use super::types::{Ignored, Output, Peer};
use crate::sip::dialog::Word;
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
        let Some(client) = self.tables.client(key) else { return };
        let Some(word) = client.recorded else { return };
        let Some(sent_to) = client.peer.filter(|_| !response.to_tag().is_empty()) else { return };
        let own = self.wire.own_value(response, sent_to).or_else(|| {
            self.put_back(key, (sent_to, word), response, out);
            self.wire.own_value(response, sent_to)
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
            let check = self.wire.home_downstream(response, &home);
            if let Some(response) = Rc::get_mut(response) {
                response.overwrite_record_route(own, b";td=", check.as_ref());
            }
        }
    }

    fn put_back(&mut self, key: Key, (sent_to, word): (Peer, Word), response: &mut Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client(key) else { return };
        if client.put_back.is_none() {
            let server = self.tables.server(client.place.server);
            let Some(view) = server.and_then(|server| server.view.as_deref()) else { return };
            let uri = if client.uri.is_empty() { view.request_uri() } else { &client.uri };
            let below = view.message.values(Name::RecordRoute).count();
            let values = self.wire.record_routes(view, (sent_to, word), uri).into_vec();
            if let Some(client) = self.tables.client_mut(key) {
                client.put_back = Some(Box::new(PutBack { below, values }));
            }
            out.push(Output::Ignored { why: Ignored::RouteMissing(sent_to.addr.ip()) });
        }
        let Some(PutBack { below, values }) = self.tables.client(key).and_then(|client| client.put_back.as_deref())
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
