//! By what right a request passes and where it may go. Whatever leaves goes by the table of routes or along a dialog
//! that passes here; only `sip.trusted_proxies` may choose another way.
//!
//! A request with a To tag belongs to a dialog by a signed Route value, by its tags, when somebody keeps the dialog, or
//! because it fits an early dialog of an open INVITE. It leads to the remote target by the route set, or to the host
//! that the signed value was made for, or, in an early dialog, to an address the INVITE went to or came from.

use std::rc::Rc;

use super::settings::Preloaded;
use super::tables::{Answered, Content};
use super::types::{Hop, Ignored, Peer, RequestView, ResponseId, Way};
use super::{Stack, Tagger};
use crate::clock::Now;
use crate::sip::dialog::{Course, Dialogs, Direction, Known};
use crate::sip::message::{Message, Method, Name, NameAddr};
use crate::sip::proxy::{self, Refusal, Routing};
use crate::sip::transaction::slab::Key;

/// Who sent a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// Somebody outside of `allow`: nothing but a signed Route value speaks for it.
    Stranger,
    /// Somebody in `allow`.
    Peer,
    /// Somebody in `trusted_proxies`.
    Proxy,
}

/// How a request stands that may pass.
#[derive(Debug)]
pub(super) struct Standing {
    pub routing: Routing,
    pub course: Course,
    pub way: Way,
}

impl Standing {
    /// The request as the driver is shown it.
    pub(super) fn view(self, message: Rc<Message>, peer: Peer, arrived: Now, tagger: Tagger) -> RequestView {
        let Self { routing, course, way } = self;
        let Routing { own_routes, repaired_uri, direction, word, begun, side, restored: _ } = routing;
        let in_dialog = !message.to_tag().is_empty();
        let direction = direction.filter(|_| in_dialog);
        let tagger = Some(tagger);
        RequestView {
            message,
            peer,
            arrived,
            in_dialog,
            direction,
            word,
            begun,
            course,
            repaired_uri,
            own_routes,
            side,
            way,
            tagger,
        }
    }

    /// Whether it belongs to a call that passes here, which the limits for new ones spare.
    pub(super) fn is_of_a_call(&self) -> bool {
        self.course != Course::Outside
    }
}

/// Why a request may not pass.
#[derive(Debug)]
pub(super) struct Denied {
    pub refusal: Refusal,
    pub why: Ignored,
}

impl Denied {
    const fn new(code: u16, why: Ignored) -> Self {
        Self { refusal: Refusal::new(code), why }
    }
}

/// Every refusal that is no matter of its sender or its dialog.
impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { why: Ignored::AnsweredStateless(refusal.code), refusal }
    }
}

impl Stack {
    /// Who sent a request.
    pub(super) fn source(&self, peer: Peer) -> Source {
        let address = peer.addr.ip();
        if self.settings.trusts(address) {
            Source::Proxy
        } else if self.settings.allows(peer.listener, address) {
            Source::Peer
        } else {
            Source::Stranger
        }
    }

    /// How a request stands that came from `source`.
    pub(super) fn standing(
        &self,
        source: Source,
        message: &Message,
        mut routing: Routing,
        dialogs: &dyn Dialogs,
    ) -> Result<Standing, Denied> {
        if source == Source::Stranger && (routing.direction.is_none() || message.to_tag().is_empty()) {
            return Err(Denied::new(403, Ignored::Forbidden));
        }
        if message.to_tag().is_empty() {
            let is_preloaded = routing.rest(message).next().is_some();
            let follows = source == Source::Proxy && is_preloaded && self.settings.preloaded == Preloaded::Follow;
            let way = if follows { Way::Route } else { Way::Table };
            return Ok(Standing { routing, course: Course::Outside, way });
        }
        let known = dialogs.find(message).or_else(|| self.answered(message));
        if let Some(known) = &known {
            if proxy::follows(message, &routing, known) {
                return Ok(Standing { routing, course: Course::Dialog, way: Way::Route });
            }
            if self.settings.lenient_request_uri && self.is_left_at_gateway(message, &routing) {
                routing.restore(message, known);
                let way = Way::Dialog(routing.restored.clone().unwrap_or_default());
                return Ok(Standing { routing, course: Course::Dialog, way });
            }
        }
        let early = if known.is_none() { self.early(message) } else { None };
        if known.is_none() && early.is_none() && routing.direction.is_none() {
            return Err(Denied::new(481, Ignored::DialogUnknown));
        }
        let leads_on = match self.wire.own().next_hop(message, &routing) {
            Ok(next) => {
                source == Source::Proxy
                    || self.wire.own().leads_home(message, &routing, &next.hop)
                    || early.is_some_and(|(invite, direction)| self.is_early_hop(invite, direction, &next.hop))
            }
            // It goes nowhere: it is answered here.
            Err(_) => true,
        };
        match leads_on {
            true => Ok(Standing { routing, course: Course::Aside, way: Way::Route }),
            false => Err(Denied::new(403, Ignored::Steered)),
        }
    }

    /// Whether a request has come to its end here though it is inside a dialog: its sender keeps the gateway as
    /// Request-URI where the remote target belongs (RFC 3261 §12.2.1.1).
    fn is_left_at_gateway(&self, message: &Message, routing: &Routing) -> bool {
        routing.repaired_uri.is_none()
            && message.uri().is_some_and(|uri| self.wire.own().is_own(&uri))
            && routing.rest(message).next().is_none()
    }

    /// The open INVITE whose early dialog a request names by its Call-ID and tags, and who of the two sent it.
    pub(super) fn early(&self, request: &Message) -> Option<(Key, Direction)> {
        let (from, to) = (request.from_tag(), request.to_tag());
        self.admission.invites(self.wire.hashes().call(request.call_id())).iter().find_map(|key| {
            let server = self.tables.server(*key)?;
            let invite = &server.view.as_deref()?.message;
            let early = &server.forwarding.as_deref()?.early;
            let has = |tag: &[u8]| early.contains(&self.wire.hashes().tag_hash(tag));
            if invite.call_id() != request.call_id() {
                None
            } else if invite.from_tag() == from && has(to) {
                Some((*key, Direction::Downstream))
            } else if invite.from_tag() == to && has(from) {
                Some((*key, Direction::Upstream))
            } else {
                None
            }
        })
    }

    /// Whether an open INVITE went there, or came from there.
    fn is_early_hop(&self, invite: Key, direction: Direction, hop: &Hop) -> bool {
        let (Some(server), Hop::Addr(to)) = (self.tables.server(invite), hop) else { return false };
        let is_same = |peer: Peer| peer.addr.ip().to_canonical() == to.ip().to_canonical();
        match direction {
            Direction::Upstream => is_same(server.peer),
            Direction::Downstream => server.forwarding.as_deref().is_some_and(|forwarding| {
                let branches = forwarding.branches.iter().flatten();
                branches.filter_map(|key| self.tables.client(*key)?.peer).any(is_same)
            }),
        }
    }

    /// The dialog of a caller's request that a 2xx of an INVITE has made which still absorbs.
    pub(super) fn answered(&self, request: &Message) -> Option<Known<'_>> {
        let (from, to) = (request.from_tag(), request.to_tag());
        let invites = self.admission.invites(self.wire.hashes().call(request.call_id())).iter();
        let mut answered = invites.filter_map(|key| self.tables.server(*key)).flat_map(|server| &server.answered);
        let own = answered.find(|own| *own.from_tag == *from && *own.to_tag == *to)?;
        Some(Known { direction: Direction::Downstream, target: &own.target, routes: &own.routes })
    }

    /// Notes where the dialog of a 2xx leads that is about to leave, if nobody else keeps it.
    pub(super) fn remember(&mut self, id: Key, response: ResponseId, dialogs: &dyn Dialogs) {
        let Some(server) = self.tables.server(id).filter(|server| server.method == Method::Invite) else { return };
        let held = server.held.iter().find(|held| held.response == response && (200..300).contains(&held.code));
        let Some((Content::Forwarded { message, .. }, view)) =
            held.map(|held| &held.content).zip(server.view.as_deref())
        else {
            return;
        };
        if view.in_dialog || message.to_tag().is_empty() || dialogs.find(message).is_some() {
            return;
        }
        let contact = message.values(Name::Contact).next().and_then(NameAddr::parse);
        let Some(target) = contact.filter(|contact| contact.parsed_uri().is_some()) else { return };
        // Above our own value, or the pair of them, stand the proxies nearer to the callee; below, those of the caller.
        let below = view.message.values(Name::RecordRoute).count();
        let above = message.values(Name::RecordRoute).count().saturating_sub(below);
        let is_own = |value: &[u8]| {
            let uri = NameAddr::parse(value).and_then(|value| value.parsed_uri());
            uri.is_some_and(|uri| self.wire.own().is_signed(&uri, message))
        };
        let mut routes: Vec<&[u8]> =
            message.values(Name::RecordRoute).take(above).take_while(|value| !is_own(value)).collect();
        routes.reverse();
        let answered = Answered {
            from_tag: message.from_tag().into(),
            to_tag: message.to_tag().into(),
            target: target.uri.into(),
            routes: routes.join(&b", "[..]).into(),
        };
        if answered.target.len() + answered.routes.len() > ANSWERED_BYTES_MAX {
            return;
        }
        if let Some(server) = self.tables.server_mut(id) {
            server.answered.push(Box::new(answered));
        }
    }
}

/// Octets of remote target and route set beyond which a dialog is not noted.
const ANSWERED_BYTES_MAX: usize = 4096;
