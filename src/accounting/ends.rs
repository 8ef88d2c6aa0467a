//! The two ends of a call: where requests of its dialog go (RFC 3261 §12), and what a request to either is made of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::calls::Parties;
use super::session::{Key, Session, Text};
use super::transaction::{Response, Transaction};
use super::watch::{Outgoing, Purpose, Sign};
use crate::clock::Timestamp;
use crate::record::Party;
use crate::record::bytes::{Reader, put_text};
use crate::sip::dialog::{Direction, Known};
use crate::sip::message::{Elements, Message, Method, Name, NameAddr, Uri, unfold};
use crate::sip::stack::ListenerId;

/// Where a request inside a dialog came from, compared with the end it names as its sender. Tags tell nothing of that:
/// both ends know them, and one may speak for the other, to itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Whence {
    /// From where that end has been so far, as far as is known.
    #[default]
    Sender,
    /// From where the other end is, which is to get it.
    Other,
    /// From an address that neither has had: the end has moved, or somebody speaks for it.
    Elsewhere,
}

/// What a session keeps of its two ends: where requests of the dialog go, and whether they answer.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// The texts of [`Parts`].
    packed: Box<[u8]>,
    listener: u16,
    /// Probes without a response in a row, of the caller and the callee.
    lost: [u8; 2],
    /// Whether a probe is on its way.
    is_asked: [bool; 2],
    /// CSeq numbers that the requests of the caller and the callee have not used yet.
    next_cseq: [u32; 2],
    /// How far above these a number must be that is surely not used.
    slack: u32,
    /// The last sign of life that is stored.
    stored: Timestamp,
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
    /// The addresses that the messages of both came from.
    places: [&'a [u8]; 2],
    /// Where each was before it moved by a request from elsewhere; empty: its target is where it is.
    witnesses: [&'a [u8]; 2],
}

impl<'a> Parts<'a> {
    fn pack(&self) -> Option<Box<[u8]>> {
        let ([a, b], [c, d], [e, f], [g, h]) = (self.targets, self.routes, self.places, self.witnesses);
        let texts = [a, b, c, d, self.from, self.to, e, f, g, h];
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
        let text = |reader: &mut Reader<'a>| reader.text("end").ok();
        let two = |reader: &mut Reader<'a>| Some([text(reader)?, text(reader)?]);
        let (targets, routes, [from, to]) = (two(&mut reader)?, two(&mut reader)?, two(&mut reader)?);
        // The last release kept no more.
        let [places, witnesses] = match reader.left() {
            0 => [[&b""[..]; 2]; 2],
            _ => [two(&mut reader)?, two(&mut reader)?],
        };
        Some(Self { targets, routes, from, to, places, witnesses })
    }

    /// The address of an end.
    fn place(&self, end: usize) -> Option<SocketAddr> {
        let (port, ip) = self.places[end].split_first_chunk::<2>()?;
        let ip = match ip.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
    }

    /// Where an end is surely known to be.
    fn witness(&self, end: usize) -> &'a [u8] {
        if self.witnesses[end].is_empty() { self.targets[end] } else { self.witnesses[end] }
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

    /// Whether a request of `sender`, as its tags say, came from there. Where both ends have one address they are told by
    /// their ports.
    pub(super) fn whence(&self, sender: Party, from: SocketAddr) -> Whence {
        let Some(parts) = Parts::unpack(&self.packed) else { return Whence::Sender };
        let (own, other) = (place(sender), 1 - place(sender));
        let Some(known) = parts.place(own) else { return Whence::Sender };
        let (from, other) = (canonical(from), parts.place(other));
        if from == known {
            return Whence::Sender;
        }
        let is_shared = other.is_some_and(|other| other.ip() == known.ip());
        match other {
            Some(other) if from == other || (!is_shared && from.ip() == other.ip()) => Whence::Other,
            _ if !is_shared && from.ip() == known.ip() => Whence::Sender,
            _ if !is_shared && parts.names_host(own, from.ip()) => Whence::Sender,
            _ => Whence::Elsewhere,
        }
    }

    /// Whether an end has moved by a request that did not come from where it was.
    pub(super) fn is_moved(&self, end: Party) -> bool {
        Parts::unpack(&self.packed).is_some_and(|parts| !parts.witnesses[place(end)].is_empty())
    }
}

impl Parts<'_> {
    /// Whether the Contact of an end, or the next proxy on the way to it, is at this address.
    fn names_host(&self, end: usize, ip: IpAddr) -> bool {
        let route = Elements::of(self.routes[end]).next().and_then(NameAddr::parse).map(|route| route.uri);
        let uris = [Some(self.witness(end)), route];
        let mut hosts = uris.into_iter().flatten().filter_map(Uri::parse).filter_map(|uri| uri.ip());
        hosts.any(|host| host.to_canonical() == ip)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as it is kept.
fn octets(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match canonical(address).ip() {
        IpAddr::V4(ip) => [&port[..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&port[..], &ip.octets()].concat(),
    }
}

/// Place of a party in the pairs above.
const fn place(party: Party) -> usize {
    match party {
        Party::Caller | Party::Gateway => 0,
        Party::Callee => 1,
    }
}

/// A sign of life is stored when the last one stored is this old: after a restart the call was alive at least then.
const STORE_EVERY: Duration = Duration::from_secs(600);
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
    pub(super) fn of(transaction: &Transaction, response: &Response<'_>, now: Timestamp) -> Option<Self> {
        let (request, message) = (transaction.request(), response.message?);
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
        let places = [Some(transaction.view.peer.addr), response.source].map(|own| own.map(octets).unwrap_or_default());
        let packed = Parts {
            targets: [contact(request).unwrap_or_default(), contact(message).unwrap_or_default()],
            routes: [&routes[0], &routes[1]],
            from: request.header(Name::From)?,
            to: message.header(Name::To)?,
            places: [&places[0], &places[1]],
            witnesses: [b""; 2],
        }
        .pack_what_fits()?;
        let next_cseq = [request.cseq().0.saturating_add(1).min(CSEQ_MAX), 0];
        let listener = transaction.view.peer.listener.0;
        let slack = EARLY_CSEQS;
        Some(Self { packed, listener, lost: [0; 2], is_asked: [false; 2], next_cseq, slack, stored: now })
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
    pub(super) fn restored(packed: &[u8], listener: u16, next_cseq: [u32; 2], stored: Timestamp) -> Option<Self> {
        Parts::unpack(packed)?;
        let (packed, slack) = (packed.into(), UNSTORED_CSEQS);
        Some(Self { packed, listener, lost: [0; 2], is_asked: [false; 2], next_cseq, slack, stored })
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

    /// What became of the OPTIONS to an end; how many in a row have had no response by now.
    pub(super) const fn asked(&mut self, to: Party, sign: Sign) -> u8 {
        let end = place(to);
        self.is_asked[end] = false;
        self.lost[end] = match sign {
            Sign::Alive => 0,
            Sign::Silent | Sign::Unknown => self.lost[end].saturating_add(1),
            Sign::Unasked => self.lost[end],
        };
        self.lost[end]
    }

    /// Notes a sign of life; whether it is to be stored, for that of the last one that was is old.
    pub(super) fn lives(&mut self, now: Timestamp) -> bool {
        let is_old = now.since(self.stored) >= STORE_EVERY;
        if is_old {
            self.stored = now;
        }
        is_old
    }

    /// A request of `sender` and its 2xx have moved one of the ends (RFC 3261 §12.2). One that came from elsewhere may be
    /// nobody's but the other end's: where its sender was stays known.
    pub(super) fn retarget(
        &mut self,
        (sender, from): (Party, SocketAddr),
        request: &Message,
        response: Option<&Message>,
    ) -> bool {
        let whence = self.whence(sender, from);
        let Some(mut parts) = Parts::unpack(&self.packed) else { return false };
        let (own, other) = (place(sender), 1 - place(sender));
        let before = (parts.targets, parts.witnesses);
        let (witness, from) = (parts.witness(own), octets(from));
        parts.targets[own] = contact(request).unwrap_or(parts.targets[own]);
        parts.targets[other] = response.and_then(contact).unwrap_or(parts.targets[other]);
        parts.witnesses[own] = match whence {
            Whence::Sender => b"",
            Whence::Other | Whence::Elsewhere if parts.targets[own] == witness => b"",
            Whence::Other | Whence::Elsewhere => witness,
        };
        let has_moved = (parts.targets, parts.witnesses) != before;
        if whence == Whence::Sender && !parts.places[own].is_empty() && parts.places[own] != from {
            parts.places[own] = &from;
        } else if !has_moved {
            return false;
        }
        let Some(packed) = parts.pack() else { return false };
        self.packed = packed;
        true
    }

    /// The OPTIONS to one end, as the other one would send it; `None` when it has named no Contact. A `doubt` about the call
    /// is settled where the end surely was.
    ///
    /// Its CSeq is the last one that the other end has used itself, 0 before its first request: never a number that it
    /// may still need, which would be refused with 500 then (RFC 3261 §12.2.2).
    pub(super) fn options(&self, key: Key, to: Party, session: &Session, doubt: bool) -> Option<Outgoing> {
        let cseq = self.next_cseq[place(to.other())].saturating_sub(1);
        self.request(Method::Options, cseq, (key, to, doubt), session)
    }

    /// The BYE to one end, as the other one would send it, and one to where it was before it moved, if it may not have;
    /// none when it has named no Contact. The CSeq is above all that the other end has used, for nothing follows it.
    pub(super) fn byes(&self, key: Key, to: Party, session: &Session) -> impl Iterator<Item = Outgoing> {
        let cseq = self.next_cseq[place(to.other())].saturating_add(self.slack).min(CSEQ_MAX);
        let bye = |is_witness| self.request(Method::Bye, cseq, (key, to, is_witness), session);
        let witness = if self.is_moved(to) { bye(true) } else { None };
        bye(false).into_iter().chain(witness)
    }

    fn request(
        &self,
        method: Method,
        cseq: u32,
        (key, to, is_witness): (Key, Party, bool),
        session: &Session,
    ) -> Option<Outgoing> {
        let parts = Parts::unpack(&self.packed)?;
        let end = place(to);
        let target = if is_witness { parts.witness(end) } else { parts.targets[end] };
        if target.is_empty() {
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
        let start = [method.as_bytes(), b" ", target, b" SIP/2.0\r\n"].concat();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(caller: &str, callee: &str, target: &str) -> Ends {
        let places = [caller, callee].map(|text| text.parse().map(octets).unwrap_or_default());
        let parts = Parts {
            targets: [b"sip:a@192.0.2.1", target.as_bytes()],
            places: [&places[0], &places[1]],
            ..Parts::default()
        };
        let packed = parts.pack().expect("it fits");
        Ends::restored(&packed, 0, [0; 2], Timestamp(0)).expect("ends")
    }

    #[test]
    fn a_request_comes_from_the_end_it_names_from_the_other_one_or_from_elsewhere() {
        use Whence::{Elsewhere, Other, Sender};
        let (apart, together) = (["192.0.2.1:5060", "192.0.2.2:5070"], ["192.0.2.1:5060", "192.0.2.1:5070"]);
        let plain = "sip:b@example.org";
        for (name, [caller, callee], target, from, want) in [
            ("from where the callee answered", apart, plain, "192.0.2.2:5070", Sender),
            ("by another connection", apart, plain, "192.0.2.2:40000", Sender),
            ("by an IPv6 socket", apart, plain, "[::ffff:192.0.2.2]:5070", Sender),
            ("from its Contact", apart, "sip:b@192.0.2.3:5080", "192.0.2.3:9", Sender),
            ("from the caller", apart, plain, "192.0.2.1:5060", Other),
            ("from another port of the caller", apart, plain, "192.0.2.1:9", Other),
            ("from the caller, whom the callee names", apart, "sip:b@192.0.2.1", "192.0.2.1:9", Other),
            ("from somewhere else", apart, plain, "192.0.2.9:5060", Elsewhere),
            ("both at one address, from the callee", together, plain, "192.0.2.1:5070", Sender),
            ("both at one address, from the caller", together, plain, "192.0.2.1:5060", Other),
            ("both at one address, from a third port", together, plain, "192.0.2.1:9", Elsewhere),
            ("nobody knows where the callee is", ["192.0.2.1:5060", ""], plain, "192.0.2.1:5060", Sender),
        ] {
            let found = ends(caller, callee, target).whence(Party::Callee, from.parse().expect("an address"));
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn ends_of_the_last_release_have_no_addresses() {
        let mut packed = Vec::new();
        for text in ["sip:a@192.0.2.1", "sip:b@192.0.2.2", "", "", "<sip:a@x>;tag=1", "<sip:b@x>;tag=2"] {
            put_text(text.as_bytes(), &mut packed);
        }
        let ends = Ends::restored(&packed, 0, [0; 2], Timestamp(0)).expect("ends");
        assert_eq!(ends.known(Party::Caller).map(|known| known.target), Some(&b"sip:b@192.0.2.2"[..]));
        assert_eq!(ends.whence(Party::Callee, "192.0.2.1:5060".parse().expect("an address")), Whence::Sender);
        assert!(!ends.is_moved(Party::Callee));
    }
}
