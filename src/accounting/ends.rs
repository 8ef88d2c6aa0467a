//! The two ends of a call: where requests of its dialog go (RFC 3261 §12), and what a request to either is made of.

use super::calls::Parties;
use super::session::{Key, Session, Text};
use super::transaction::{Answer, Transaction};
use super::watch::{Outgoing, Purpose};
use crate::clock::Timestamp;
use crate::record::Party;
use crate::record::bytes::{Reader, put_text};
use crate::sip::dialog::{Direction, Known};
use crate::sip::message::{Message, Method, Name, NameAddr, unfold};
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
    is_asked: [bool; 2],
    /// CSeq numbers that the requests of the caller and the callee have not used yet.
    next_cseq: [u32; 2],
    /// How far above these a number must be that is surely not used.
    slack: u32,
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
        let is_fit = out.len() <= ENDS_BYTES_MAX && self.targets.iter().any(|target| !target.is_empty());
        is_fit.then(|| out.into_boxed_slice())
    }

    /// As [`Self::pack`]; what does not fit is left out, the callee's side last: no caller can make it not fit.
    fn pack_what_fits(mut self) -> Option<Box<[u8]>> {
        self.pack()
            .or_else(|| {
                (self.from, self.to) = (b"", b"");
                self.pack()
            })
            .or_else(|| {
                (self.targets[0], self.routes[0]) = (b"", b"");
                self.pack()
            })
    }

    fn unpack(packed: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(packed);
        let mut text = || reader.text("end").ok();
        Some(Self { targets: [text()?, text()?], routes: [text()?, text()?], from: text()?, to: text()? })
    }
}

impl Ends {
    /// The dialog as the side of `sender` knows it; `None` when the other end has named no Contact.
    pub(super) fn known(&self, sender: Party) -> Option<Known<'_>> {
        let parts = Parts::unpack(&self.packed)?;
        let other = 1 - place(sender);
        let direction = if other == 1 { Direction::Downstream } else { Direction::Upstream };
        let target = parts.targets[other];
        (!target.is_empty()).then_some(Known { direction, target, routes: parts.routes[other] })
    }
}

/// Place of a party in the pairs above.
pub(super) const fn place(party: Party) -> usize {
    match party {
        Party::Caller | Party::Gateway => 0,
        Party::Callee => 1,
    }
}

/// Octets of what is kept of both ends.
const ENDS_BYTES_MAX: usize = 4096;
/// Highest CSeq number (RFC 3261 §8.1.1.5).
const CSEQ_MAX: u32 = (1 << 31) - 1;
/// Numbers that the ends may have used before the call was answered (PRACK, UPDATE).
const EARLY_CSEQS: u32 = 64;
/// Numbers they may have used since the call was stored last, as far as a restart can tell.
const UNSTORED_CSEQS: u32 = 4096;

impl Ends {
    /// What an answered INVITE tells of its two ends; `None` when neither has a Contact.
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
            targets: [contact(request).unwrap_or_default(), contact(message).unwrap_or_default()],
            routes: [&routes[0], &routes[1]],
            from: request.header(Name::From)?,
            to: message.header(Name::To)?,
        }
        .pack_what_fits()?;
        let next_cseq = [request.cseq().0.saturating_add(1).min(CSEQ_MAX), 0];
        let listener = transaction.view.peer.listener.0;
        let slack = EARLY_CSEQS;
        Some(Box::new(Self { packed, listener, lost: [0; 2], is_asked: [false; 2], next_cseq, slack, stored: now }))
    }

    /// Who they are, as far as that is kept.
    pub(super) fn parties(&self) -> Parties {
        let uri = |value: &[u8]| NameAddr::parse(value).map(|value| value.uri.to_vec()).unwrap_or_default();
        match Parts::unpack(&self.packed) {
            Some(parts) => Parties {
                from: uri(parts.from),
                to: uri(parts.to),
                target: parts.targets[place(Party::Callee)].to_vec(),
            },
            None => Parties::default(),
        }
    }

    /// As [`Self::bytes`] and [`Self::next_cseq`] gave it.
    pub(super) fn restored(packed: &[u8], listener: u16, next_cseq: [u32; 2], stored: Timestamp) -> Option<Box<Self>> {
        Parts::unpack(packed)?;
        let (packed, slack) = (packed.into(), UNSTORED_CSEQS);
        Some(Box::new(Self { packed, listener, lost: [0; 2], is_asked: [false; 2], next_cseq, slack, stored }))
    }

    /// What is stored: the texts, and the listener.
    pub(super) fn bytes(&self) -> (&[u8], u16) {
        (&self.packed, self.listener)
    }

    /// The CSeq numbers that caller and callee have not used yet.
    pub(super) const fn next_cseq(&self) -> [u32; 2] {
        self.next_cseq
    }

    /// A request of `sender` with this number has gone to the other end.
    pub(super) fn note_cseq(&mut self, sender: Party, number: u32) {
        let next = &mut self.next_cseq[place(sender)];
        *next = (*next).max(number.saturating_add(1)).min(CSEQ_MAX);
    }

    /// Whether an OPTIONS to that end is on its way.
    pub(super) const fn is_asked(&self, to: Party) -> bool {
        self.is_asked[place(to)]
    }

    /// An OPTIONS to that end leaves.
    pub(super) const fn ask(&mut self, to: Party) {
        self.is_asked[place(to)] = true;
    }

    /// The end has answered, or has not.
    pub(super) const fn asked(&mut self, to: Party) {
        self.is_asked[place(to)] = false;
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

    /// The OPTIONS to one end, as the other one would send it; `None` when it has named no Contact.
    ///
    /// Its CSeq is the last one that the other end has used itself, 0 before its first request: never a number that it
    /// may still need, which would be refused with 500 then (RFC 3261 §12.2.2).
    pub(super) fn options(&self, key: Key, to: Party, session: &Session) -> Option<Outgoing> {
        let cseq = self.next_cseq[place(to.other())].saturating_sub(1);
        self.request(Method::Options, cseq, (key, to), session)
    }

    /// The BYE to one end, as the other one would send it; `None` when it has named no Contact. Its CSeq is above all
    /// that the other end has used, for nothing follows it.
    pub(super) fn bye(&self, key: Key, to: Party, session: &Session) -> Option<Outgoing> {
        let cseq = self.next_cseq[place(to.other())].saturating_add(self.slack).min(CSEQ_MAX);
        self.request(Method::Bye, cseq, (key, to), session)
    }

    fn request(&self, method: Method, cseq: u32, (key, to): (Key, Party), session: &Session) -> Option<Outgoing> {
        let parts = Parts::unpack(&self.packed)?;
        let end = place(to);
        if parts.targets[end].is_empty() {
            return None;
        }
        let purpose = if method == Method::Bye { Purpose::Bye } else { Purpose::Probe };
        let method = if method == Method::Bye { "BYE" } else { "OPTIONS" };
        // Dialogs are told by their tags alone (RFC 3261 §12.2.2), should the URIs have been too long to keep.
        let named = |value: &[u8], tag: Text| match value {
            b"" => [b"<sip:anonymous@anonymous.invalid>;tag=", session.text(tag)].concat(),
            value => unfold(value).into_owned(),
        };
        let (caller, callee) = (named(parts.from, Text::FromTag), named(parts.to, Text::ToTag));
        let (from, dest) = if to == Party::Callee { (caller, callee) } else { (callee, caller) };
        let mut lines = b"Max-Forwards: 70\r\n".to_vec();
        for (name, value) in [
            ("Route", parts.routes[end]),
            ("From", &from),
            ("To", &dest),
            ("Call-ID", session.text(Text::CallId)),
            ("CSeq", format!("{cseq} {method}").as_bytes()),
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
        let start = [method.as_bytes(), b" ", parts.targets[end], b" SIP/2.0\r\n"].concat();
        Some(Outgoing { key, to, purpose, listener: ListenerId(self.listener), start, lines })
    }
}

/// URI of the first Contact.
fn contact(message: &Message) -> Option<&[u8]> {
    let value = message.values(Name::Contact).next()?;
    NameAddr::parse(value).filter(|contact| contact.parsed_uri().is_some()).map(|contact| contact.uri)
}

/// Whether the first Contact of a message is that URI.
pub(super) fn names(message: &Message, target: &[u8]) -> bool {
    contact(message) == Some(target)
}

fn is_paired(value: &[u8]) -> bool {
    NameAddr::parse(value).and_then(|value| value.parsed_uri()).is_some_and(|uri| uri.param(b"r2").is_some())
}
