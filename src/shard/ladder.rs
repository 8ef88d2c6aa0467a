//! The messages of the last calls, for a diagram of each: what came and went, when, from and to where.
//!
//! A call begins here with an INVITE outside of a dialog that the [`Filter`] wants; messages of other calls are passed over. The oldest call gives way
//! to a new one, which takes over its memory. All of it is bounded: calls by the configuration, messages of a call, octets
//! of a message.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::trace::{Filter, Tracing};
use crate::clock::Timestamp;
use crate::ids::CallHash;
use crate::sip::message::{Glance, Message, Method, Name};
use crate::sip::stack::{Listener, Peer};

/// Messages of one call that are kept at most: the first ones and the last; of those between only the number is.
pub const MESSAGES_MAX: usize = 64;
/// Octets that are kept of the texts of one call, its names included, whatever their number.
pub const OCTETS_MAX: usize = 4_096;
/// Octets that are kept of a Request-URI or reason phrase with the method before it.
pub const TEXT_BYTES_MAX: usize = 128;
/// Octets that are kept of a Call-ID and of From.
pub const NAME_BYTES_MAX: usize = 255;

/// A call as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ladder {
    /// Its Call-ID, cut to [`NAME_BYTES_MAX`].
    pub call_id: Vec<u8>,
    /// From of its first INVITE as it came, likewise.
    pub from: Vec<u8>,
    /// Its messages in the order in which the gateway took and sent them.
    pub steps: Vec<Step>,
    /// Messages beyond [`MESSAGES_MAX`] or [`OCTETS_MAX`], which came before the last.
    pub left_out: u32,
}

/// A message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// When the turn began in which it was taken or made.
    pub at: Timestamp,
    /// Whether it came or went.
    pub way: Way,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: Option<Listener>,
    /// Status code; 0 for a request.
    pub code: u16,
    /// Its method; of a response that of its CSeq.
    pub method: Vec<u8>,
    /// Request-URI or reason phrase, cut to [`TEXT_BYTES_MAX`] with the method.
    pub text: Vec<u8>,
    /// Number of CSeq.
    pub cseq: u32,
}

/// A call of a list of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Traced {
    /// Its Call-ID, cut to [`NAME_BYTES_MAX`].
    pub call_id: Vec<u8>,
    /// From of its first INVITE as it came, likewise.
    pub from: Vec<u8>,
    /// Request-URI of that, cut to [`TEXT_BYTES_MAX`].
    pub uri: Vec<u8>,
    /// When that came.
    pub begun: Timestamp,
    /// When its last message came or went.
    pub last: Timestamp,
    /// The newest final response to an INVITE that the gateway has sent.
    pub code: Option<u16>,
    /// How many messages it has.
    pub messages: usize,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// To the gateway.
    In,
    /// From it.
    Out,
}

/// The calls of one shard.
#[derive(Debug, Default)]
pub(super) struct Ladders {
    calls_max: usize,
    /// Which calls begin here.
    filter: Filter,
    places: HashMap<CallHash, usize, foldhash::fast::FixedState>,
    /// Used round and round.
    calls: Vec<Call>,
    /// The place of the next call.
    next: usize,
    /// The call of the last message: that of the next one most often.
    last: usize,
}

#[derive(Debug, Default)]
struct Call {
    hash: CallHash,
    /// Call-ID, From, and then the texts of the messages.
    octets: Vec<u8>,
    call_id_end: u32,
    from_end: u32,
    messages: Vec<Kept>,
    left_out: u32,
}

/// One message; its text ends there in the octets of its call.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: Timestamp,
    peer: Peer,
    way: Way,
    code: u16,
    cseq: u32,
    method_len: u16,
    end: u32,
}

impl Ladders {
    /// Keeps such calls from here on, and those that it has; with another number it begins anew.
    pub fn keep(&mut self, tracing: &Tracing) {
        if self.calls_max != tracing.calls {
            *self = Self { calls_max: tracing.calls, ..Self::default() };
        }
        self.filter.clone_from(&tracing.filter);
    }

    /// A message came.
    pub fn received(&mut self, at: Timestamp, peer: Peer, message: &Message) {
        if self.calls_max == 0 {
            return;
        }
        let begins = message.is_request() && message.method() == Method::Invite && message.to_tag().is_empty();
        let glance = Glance::at(message);
        let place = match self.place(glance.call_id, message.call()) {
            Some(place) => place,
            None if begins && self.filter.wants(peer.addr, message) => self.begin(message),

            None => return,
        };
        self.note(place, (at, peer, Way::In), &glance);
    }

    /// A message is sent.
    pub fn sent(&mut self, at: Timestamp, peer: Peer, octets: &[u8]) {
        if self.places.is_empty() {
            return;
        }
        let Some(glance) = Glance::of(octets) else { return };
        let is_last =
            self.calls.get(self.last).is_some_and(|call| call.call_id() == cut(glance.call_id, NAME_BYTES_MAX));
        let place = if is_last { Some(self.last) } else { self.place(glance.call_id, CallHash::of(glance.call_id)) };
        if let Some(place) = place {
            self.note(place, (at, peer, Way::Out), &glance);
        }
    }

    fn place(&self, call_id: &[u8], hash: CallHash) -> Option<usize> {
        let place = *self.places.get(&hash)?;
        (self.calls[place].call_id() == cut(call_id, NAME_BYTES_MAX)).then_some(place)
    }

    /// The place of a new call.
    fn begin(&mut self, message: &Message) -> usize {
        let place = self.next;
        self.next = (place + 1) % self.calls_max;
        if place == self.calls.len() {
            self.calls.push(Call::default());
        } else if self.places.get(&self.calls[place].hash) == Some(&place) {
            self.places.remove(&self.calls[place].hash);
        }
        self.calls[place].begin(message);
        self.places.insert(message.call(), place);
        place
    }

    fn note(&mut self, place: usize, about: (Timestamp, Peer, Way), glance: &Glance<'_>) {
        self.last = place;
        self.calls[place].note(about, glance);
    }

    /// The call of this Call-ID.
    pub fn find(&self, call_id: &[u8], listeners: &[Listener]) -> Option<Ladder> {
        self.place(call_id, CallHash::of(call_id)).map(|place| self.calls[place].shown(listeners))
    }

    /// The newest calls, so many at most, the newest first.
    pub fn newest(&self, max: usize) -> Vec<Traced> {
        let (newer, older) = self.calls.split_at(self.next.min(self.calls.len()));
        newer.iter().rev().chain(older.iter().rev()).take(max).filter_map(Call::traced).collect()
    }
}

impl Call {
    fn begin(&mut self, message: &Message) {
        self.hash = message.call();
        self.messages.clear();
        self.octets.clear();
        self.left_out = 0;
        self.octets.extend_from_slice(cut(message.call_id(), NAME_BYTES_MAX));
        self.call_id_end = len(&self.octets);
        let from = message.header(Name::From).unwrap_or_default();
        self.octets.extend_from_slice(cut(from, NAME_BYTES_MAX));
        self.from_end = len(&self.octets);
    }

    fn call_id(&self) -> &[u8] {
        &self.octets[..self.call_id_end as usize]
    }

    fn note(&mut self, (at, peer, way): (Timestamp, Peer, Way), glance: &Glance<'_>) {
        // The last message says how it stands: it takes the place of the one before.
        if self.messages.len() >= MESSAGES_MAX || self.octets.len() + TEXT_BYTES_MAX > OCTETS_MAX {
            self.messages.pop();
            let end = self.messages.last().map_or(self.from_end, |kept| kept.end);
            self.octets.truncate(end as usize);
            self.left_out = self.left_out.saturating_add(1);
        }
        let method = cut(glance.method, TEXT_BYTES_MAX);
        self.octets.extend_from_slice(method);
        self.octets.extend_from_slice(cut(glance.text, TEXT_BYTES_MAX - method.len()));
        let (code, cseq, end) = (glance.code, glance.cseq, len(&self.octets));
        let method_len = u16::try_from(method.len()).unwrap_or(0);
        self.messages.push(Kept { at, peer, way, code, cseq, method_len, end });
    }

    fn shown(&self, listeners: &[Listener]) -> Ladder {
        let steps = self.messages.iter().enumerate().map(|(place, kept)| {
            let (method, text) = self.texts(place);
            let local = listeners.get(usize::from(kept.peer.listener.0)).copied();
            let &Kept { at, peer, way, code, cseq, .. } = kept;
            Step { at, way, peer: peer.addr, local, code, method: method.to_vec(), text: text.to_vec(), cseq }
        });
        let steps = steps.collect();
        Ladder { call_id: self.call_id().to_vec(), from: self.from().to_vec(), steps, left_out: self.left_out }
    }

    fn traced(&self) -> Option<Traced> {
        let (first, last) = (self.messages.first()?, self.messages.last()?);
        let is_final = |place: &usize| {
            let kept = &self.messages[*place];
            kept.way == Way::Out && kept.code >= 200 && self.texts(*place).0 == b"INVITE"
        };
        let code = (0..self.messages.len()).rev().find(is_final).map(|place| self.messages[place].code);
        Some(Traced {
            call_id: self.call_id().to_vec(),
            from: self.from().to_vec(),
            uri: self.texts(0).1.to_vec(),
            begun: first.at,
            last: last.at,
            code,
            messages: self.messages.len() + self.left_out as usize,
        })
    }

    fn from(&self) -> &[u8] {
        &self.octets[self.call_id_end as usize..self.from_end as usize]
    }

    /// Method and text of the message at this place.
    fn texts(&self, place: usize) -> (&[u8], &[u8]) {
        let begin = place.checked_sub(1).map_or(self.from_end, |before| self.messages[before].end);
        let kept = &self.messages[place];
        let octets = &self.octets[begin as usize..kept.end as usize];
        octets.split_at(octets.len().min(kept.method_len.into()))
    }
}

/// A call has [`OCTETS_MAX`] octets at most.
fn len(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

fn cut(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}
