//! Calls that may end without a BYE: when they were known alive last, and the OPTIONS that ask both of their ends.
//!
//! The engine keeps what a request inside the dialog needs, for both ends, and says when one is due by [`Probe`]; what
//! came of it comes back as [`Input::Probed`](super::Input::Probed). Any answer but 408 and 481 shows that an end lives,
//! 481 that it does not know the call (RFC 5057 §5.1), silence counts up to a limit.

use std::time::Duration;

use super::Outcome;
use super::engine::Engine;
use super::session::{Key, Session, Text};
use super::transaction::{Answer, Transaction};
use crate::clock::{Instant, Now, Timestamp};
use crate::record::bytes::{Reader, put_text};
use crate::record::{Cause, Party};
use crate::sip::dialog::{Direction, Known};
use crate::sip::message::{Message, Name, NameAddr, unfold};
use crate::sip::stack::ListenerId;

/// What an operator can set about the OPTIONS to the ends of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pings {
    /// Between two of them to one end.
    pub interval: Duration,
    /// How many in a row may stay without an answer; then the call has ended.
    pub lost_max: u8,
}

/// A request that asks an end of a call whether it still knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// The call.
    pub key: Key,
    /// Which end.
    pub to: Party,
    /// The listener its INVITE came in by.
    pub listener: ListenerId,
    /// The request line.
    start: Vec<u8>,
    /// All header lines but Via.
    lines: Vec<u8>,
}

impl Probe {
    /// The whole request, with this Via value.
    #[must_use]
    pub fn request(&self, via: &str) -> Vec<u8> {
        let via = format!("Via: {via}\r\n");
        [&self.start[..], via.as_bytes(), &self.lines].concat()
    }
}

/// What became of a [`Probe`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// The end answered.
    Alive,
    /// It does not know the call.
    Unknown,
    /// It did not answer, or could not be reached.
    Silent,
    /// It was not asked: the gateway is too busy.
    Unasked,
}

impl Sign {
    /// What an answer shows; `is_local` when the gateway made it.
    #[must_use]
    pub const fn of_answer(code: u16, is_local: bool) -> Self {
        match (code, is_local) {
            (_, true) | (408, false) => Self::Silent,
            (481, false) => Self::Unknown,
            (_, false) => Self::Alive,
        }
    }
}

/// What a session keeps of its two ends: where requests of the dialog go, and whether they answer.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// The texts of [`Ends`].
    packed: Box<[u8]>,
    listener: u16,
    /// Probes without an answer in a row, of the caller and the callee.
    lost: [u8; 2],
    /// Whether a probe is on its way.
    is_asked: [bool; 2],
    /// The last sign of life that is stored.
    stored: Timestamp,
}

/// What a request to either end is made of.
#[derive(Clone, Copy, Debug, Default)]
struct Ends<'a> {
    /// Contact URIs and Route values, of the caller and the callee.
    targets: [&'a [u8]; 2],
    routes: [&'a [u8]; 2],
    /// From and To values of the caller's requests, with tags.
    from: &'a [u8],
    to: &'a [u8],
}

impl<'a> Ends<'a> {
    fn pack(&self) -> Option<Box<[u8]>> {
        let texts = [self.targets[0], self.targets[1], self.routes[0], self.routes[1], self.from, self.to];
        let mut out = Vec::with_capacity(texts.iter().map(|text| text.len() + 3).sum());
        texts.iter().for_each(|text| put_text(text, &mut out));
        let is_fit = out.len() <= WATCH_BYTES_MAX && self.targets.iter().all(|target| !target.is_empty());
        is_fit.then(|| out.into_boxed_slice())
    }

    fn unpack(packed: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(packed);
        let mut text = || reader.text("end").ok();
        Some(Self { targets: [text()?, text()?], routes: [text()?, text()?], from: text()?, to: text()? })
    }
}

impl Watch {
    /// The dialog as the side of `sender` knows it.
    pub(super) fn known(&self, sender: Party) -> Option<Known<'_>> {
        let ends = Ends::unpack(&self.packed)?;
        let other = 1 - place(sender);
        let direction = if other == 1 { Direction::Downstream } else { Direction::Upstream };
        Some(Known { direction, target: ends.targets[other], routes: ends.routes[other] })
    }
}

/// Place of a party in the pairs above.
const fn place(party: Party) -> usize {
    match party {
        Party::Caller | Party::Gateway => 0,
        Party::Callee => 1,
    }
}

/// Octets of what is kept of both ends; a call with more is not asked.
const WATCH_BYTES_MAX: usize = 4096;
/// A sign of life is stored when the last one stored is this old: after a restart the call was alive at least then.
const STORE_EVERY: Duration = Duration::from_secs(600);

impl Watch {
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
        let packed = Ends {
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
        Ends::unpack(packed)?;
        Some(Box::new(Self { packed: packed.into(), listener, lost: [0; 2], is_asked: [false; 2], stored }))
    }

    /// What is stored: the texts, and the listener.
    pub(super) fn bytes(&self) -> (&[u8], u16) {
        (&self.packed, self.listener)
    }

    /// A request of `sender` and its 2xx have moved one of the ends (RFC 3261 §12.2).
    fn retarget(&mut self, sender: Party, request: &Message, answer: Option<&Message>) -> bool {
        let Some(mut ends) = Ends::unpack(&self.packed) else { return false };
        let (own, other) = (place(sender), 1 - place(sender));
        let before = ends.targets;
        ends.targets[own] = contact(request).unwrap_or(ends.targets[own]);
        ends.targets[other] = answer.and_then(contact).unwrap_or(ends.targets[other]);
        if ends.targets == before {
            return false;
        }
        let Some(packed) = ends.pack() else { return false };
        self.packed = packed;
        true
    }

    /// The OPTIONS to one end, as the other one would send it. Its CSeq is not above that of the INVITE, so that the
    /// requests of the ends themselves stay in order (RFC 3261 §12.2.2).
    fn probe(&self, key: Key, to: Party, session: &Session) -> Option<Probe> {
        let ends = Ends::unpack(&self.packed)?;
        let end = place(to);
        let (from, dest, cseq) = match to {
            Party::Callee => (ends.from, ends.to, session.cseq),
            Party::Caller | Party::Gateway => (ends.to, ends.from, 1),
        };
        let mut lines = b"Max-Forwards: 70\r\n".to_vec();
        for (name, value) in [
            ("Route", ends.routes[end]),
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
        let start = [b"OPTIONS ", ends.targets[end], b" SIP/2.0\r\n"].concat();
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

impl Engine {
    /// The probes that have become due, since this was asked last.
    pub fn take_probes(&mut self) -> Vec<Probe> {
        std::mem::take(&mut self.probes)
    }

    /// When the ends of a call are asked first: spread over half an interval, so that the calls of a restart are not
    /// asked all at once.
    pub(super) fn first_ping(&self, now: Now, key: Key) -> Option<Instant> {
        let interval = self.maker.settings.pings?.interval;
        Some(now.mono + interval / 2 + interval.mul_f64(key.spread() / 2.0))
    }

    /// Both ends are asked, but for those that have not answered the last time yet.
    pub(super) fn ping(&mut self, now: Now, key: Key) {
        let Some(pings) = self.maker.settings.pings else { return };
        let Some(session) = self.calls.get(key) else { return };
        let mut probes = Vec::new();
        if let Some(watch) = &session.watch {
            for to in [Party::Caller, Party::Callee] {
                if !watch.is_asked[place(to)] {
                    probes.extend(watch.probe(key, to, session));
                }
            }
        }
        self.calls.change(key, |session| {
            session.alarms.ping = Some(now.mono + pings.interval);
            if let Some(watch) = &mut session.watch {
                probes.iter().for_each(|probe| watch.is_asked[place(probe.to)] = true);
            }
        });
        self.probes.append(&mut probes);
    }

    /// What became of a probe.
    pub(super) fn probed(&mut self, now: Now, key: Key, to: Party, sign: Sign, out: &mut Outcome) {
        let lost_max = self.maker.settings.pings.map_or(u8::MAX, |pings| pings.lost_max);
        if sign == Sign::Alive {
            self.alive(now, key);
        }
        let has_ended = self.calls.change(key, |session| {
            let watch = session.watch.as_mut()?;
            let lost = &mut watch.lost[place(to)];
            watch.is_asked[place(to)] = false;
            *lost = match sign {
                Sign::Alive => 0,
                Sign::Silent | Sign::Unknown => lost.saturating_add(1),
                Sign::Unasked => *lost,
            };
            (sign == Sign::Unknown || *lost >= lost_max).then_some(())
        });
        if has_ended.flatten().is_some() {
            self.end(now, key, Cause::Unreachable, out);
        }
    }

    /// A call has shown that it lives.
    pub(super) fn alive(&mut self, now: Now, key: Key) {
        let is_old = self.calls.touch(key, |session| {
            session.alive = session.alive.max(now.wall);
            let watch = session.watch.as_mut()?;
            let is_old = now.wall.since(watch.stored) >= STORE_EVERY;
            if is_old {
                watch.stored = now.wall;
            }
            Some(is_old)
        });
        if is_old.flatten() == Some(true) {
            self.calls.store_later(key, now.mono);
        }
    }

    /// A target refresh was answered 2xx (RFC 3261 §12.2).
    pub(super) fn retarget(&mut self, now: Now, key: Key, transaction: &Transaction, answer: &Answer<'_>) {
        let has_moved = self.calls.touch(key, |session| {
            let watch = session.watch.as_mut()?;
            Some(watch.retarget(transaction.sender, transaction.request(), answer.message))
        });
        if has_moved.flatten() == Some(true) {
            self.calls.store_later(key, now.mono);
        }
    }
}
