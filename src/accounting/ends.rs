//! The two ends of a call: where requests of its dialog go (RFC 3261 §12), and what a request to either is made of.

use super::session::{Key, Session, Text};
use super::transaction::{Answer, Transaction};
use super::watch::Probe;
use crate::clock::Timestamp;
use crate::record::Party;
use crate::record::bytes::{Reader, put_text};
use crate::sip::dialog::{Direction, Known};
use crate::sip::message::{Message, Name, NameAddr, unfold};
use crate::sip::stack::ListenerId;

/// What a session keeps of its two ends: where requests of the dialog go, and whether they answer.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// The texts of [`Parts`].
    packed: Box<[u8]>,
    listener: u16,
    /// Probes without an answer in a row, of the caller and the callee.
    pub(super) lost: [u8; 2],
    /// Whether a probe is on its way.
    pub(super) is_asked: [bool; 2],
    /// The last sign of life that is stored.
    pub(super) stored: Timestamp,
}

/// What a request to either end is made of.
#[derive(Clone, Copy, Debug, Default)]
struct Parts<'a> {
    /// Contact URIs and Route values, of the caller and the callee.
    targets: [&'a [u8]; 2],
    routes: [&'a [u8]; 2],
    /// From and To values of the caller's requests, with tags.
    from: &'a [u8],
    to: &'a [u8],
}

impl<'a> Parts<'a> {
    fn pack(&self) -> Option<Box<[u8]>> {
        let texts = [self.targets[0], self.targets[1], self.routes[0], self.routes[1], self.from, self.to];
        let mut out = Vec::with_capacity(texts.iter().map(|text| text.len() + 3).sum());
        texts.iter().for_each(|text| put_text(text, &mut out));
        let is_fit = out.len() <= ENDS_BYTES_MAX && self.targets.iter().all(|target| !target.is_empty());
        is_fit.then(|| out.into_boxed_slice())
    }

    fn unpack(packed: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(packed);
        let mut text = || reader.text("end").ok();
        Some(Self { targets: [text()?, text()?], routes: [text()?, text()?], from: text()?, to: text()? })
    }
}

impl Ends {
    /// The dialog as the side of `sender` knows it.
    pub(super) fn known(&self, sender: Party) -> Option<Known<'_>> {
        let parts = Parts::unpack(&self.packed)?;
        let other = 1 - place(sender);
        let direction = if other == 1 { Direction::Downstream } else { Direction::Upstream };
        Some(Known { direction, target: parts.targets[other], routes: parts.routes[other] })
    }
}

/// Place of a party in the pairs above.
pub(super) const fn place(party: Party) -> usize {
    match party {
        Party::Caller | Party::Gateway => 0,
        Party::Callee => 1,
    }
}

/// Octets of what is kept of both ends; a call with more is not asked.
const ENDS_BYTES_MAX: usize = 4096;

impl Ends {
    /// What an answered INVITE tells of its two ends; `None` when one of them has no Contact.
    pub(super) fn of(transaction: &Transaction, answer: &Answer<'_>, now: Timestamp) -> Option<Box<Self>> {
        let (request, message) = (transaction.request(), answer.message?);
        let upstream: Vec<&[u8]> = request.values(Name::RecordRoute).collect();
        let mut downstream: Vec<&[u8]> = message.values(Name::RecordRoute).collect();
        downstream.truncate(downstream.len().saturating_sub(upstream.len()));
        // The last of them is ours, or the last two (RFC 5658).
        let is_double = downstream.pop().is_some_and(is_paired);
        if is_double {
            downstream.pop();
        }
        downstream.reverse();
        let routes = [upstream.join(&b", "[..]), downstream.join(&b", "[..])];
        let packed = Parts {
            targets: [contact(request)?, contact(message)?],
            routes: [&routes[0], &routes[1]],
            from: request.header(Name::From)?,
            to: message.header(Name::To)?,
        }
        .pack()?;
        let listener = transaction.view.peer.listener.0;
        Some(Box::new(Self { packed, listener, lost: [0; 2], is_asked: [false; 2], stored: now }))
    }

    /// As [`Self::bytes`] gave it.
    pub(super) fn restored(packed: &[u8], listener: u16, stored: Timestamp) -> Option<Box<Self>> {
        Parts::unpack(packed)?;
        Some(Box::new(Self { packed: packed.into(), listener, lost: [0; 2], is_asked: [false; 2], stored }))
    }

    /// What is stored: the texts, and the listener.
    pub(super) fn bytes(&self) -> (&[u8], u16) {
        (&self.packed, self.listener)
    }

    /// A request of `sender` and its 2xx have moved one of the ends (RFC 3261 §12.2).
    pub(super) fn retarget(&mut self, sender: Party, request: &Message, answer: Option<&Message>) -> bool {
        let Some(mut parts) = Parts::unpack(&self.packed) else { return false };
        let (own, other) = (place(sender), 1 - place(sender));
        let before = parts.targets;
        parts.targets[own] = contact(request).unwrap_or(parts.targets[own]);
        parts.targets[other] = answer.and_then(contact).unwrap_or(parts.targets[other]);
        if parts.targets == before {
            return false;
        }
        let Some(packed) = parts.pack() else { return false };
        self.packed = packed;
        true
    }

    /// The OPTIONS to one end, as the other one would send it. Its CSeq is not above that of the INVITE, so that the
    /// requests of the ends themselves stay in order (RFC 3261 §12.2.2).
    pub(super) fn probe(&self, key: Key, to: Party, session: &Session) -> Option<Probe> {
        let parts = Parts::unpack(&self.packed)?;
        let end = place(to);
        let (from, dest, cseq) = match to {
            Party::Callee => (parts.from, parts.to, session.cseq),
            Party::Caller | Party::Gateway => (parts.to, parts.from, 1),
        };
        let mut lines = b"Max-Forwards: 70\r\n".to_vec();
        for (name, value) in [
            ("Route", parts.routes[end]),
            ("From", from),
            ("To", dest),
            ("Call-ID", session.text(Text::CallId)),
            ("CSeq", format!("{cseq} OPTIONS").as_bytes()),
            ("Content-Length", b"0"),
        ] {
            if !value.is_empty() {
                lines.extend_from_slice(name.as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(&unfold(value));
                lines.extend_from_slice(b"\r\n");
            }
        }
        lines.extend_from_slice(b"\r\n");
        let start = [b"OPTIONS ", parts.targets[end], b" SIP/2.0\r\n"].concat();
        Some(Probe { key, to, listener: ListenerId(self.listener), start, lines })
    }
}

/// URI of the first Contact.
fn contact(message: &Message) -> Option<&[u8]> {
    let value = message.values(Name::Contact).next()?;
    NameAddr::parse(value).filter(|contact| contact.parsed_uri().is_some()).map(|contact| contact.uri)
}

fn is_paired(value: &[u8]) -> bool {
    NameAddr::parse(value).and_then(|value| value.parsed_uri()).is_some_and(|uri| uri.param(b"r2").is_some())
}
