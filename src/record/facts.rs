//! What is known of a call beside what every record has a place for: each fact with its number, its form, and its octets.
//!
//! Facts are kept as they are stored: `number u8, length, value`, one behind the other, in one allocation. A call without
//! any has none. Numbers that this release does not know are kept and say nothing.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::bytes::{Reader, Unreadable, put_number};
use super::codec::CAUSES;
use super::{Cause, Record};
use crate::clock::Timestamp;

/// Most octets of all facts of a record.
pub const FACTS_BYTES_MAX: usize = 4096;
/// Most octets of one text among them, such as a URI or a Reason; longer ones are cut, and the record says so.
pub const FACT_BYTES_MAX: usize = 512;
/// Most values of a fact that may have several.
pub const FACT_VALUES_MAX: usize = 8;
/// Targets that a record names, the last ones of those that were tried.
pub const ATTEMPTS_MAX: usize = 16;

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What is known.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(u8)]
        pub enum Fact {
            $($(#[$doc])* $name = $number,)*
        }
    };
}

// Numbers on disk, below 64: a new one takes the next.
facts! {
    /// Where the message came from that ended it: an address.
    EndedFrom = 1,
    /// A Reason value of that message (RFC 3326, RFC 9366), as it came; several.
    Reason = 2,
    /// Cause value of Q.850: of a Reason, else of the end. A number.
    Q850 = 3,
    /// Status code that the end counts as: of a Reason, else of its cause value. A number.
    SipCause = 4,
    /// An attempt; several.
    Attempt = 5,
    /// How many targets were tried, where that is more than there are attempts. A number.
    AttemptCount = 6,
    /// From the INVITE to the first response of 180 to 189: a span.
    PostDialDelay = 7,
    /// The number that the caller wanted: the user of To.
    Dialled = 8,
    /// The number that the call was routed to first, where it is another one.
    Called = 9,
    /// The number that the last target was asked for, where it is another one.
    Sent = 10,
    /// Who forwarded the call before it came here: URIs, oldest first.
    Forwarded = 11,
    /// Why the last of them did: a word of RFC 5806.
    ForwardReason = 12,
    /// Who pays, as the network says: number or URI (RFC 8496).
    Billed = 13,
    /// Session-ID (RFC 7989): the caller's, and behind `;remote=` the callee's.
    SessionId = 14,
    /// icid-value of P-Charging-Vector (RFC 7315).
    Icid = 15,
    /// P-RTP-Stat and X-RTP-Stat of a BYE and its response.
    RtpStat = 16,
    /// Claimed by the caller's side: how far it knows who calls (RFC 8588).
    Attest = 17,
    /// Claimed: where the call came into the network.
    OrigId = 18,
    /// Claimed: number or URI of the caller.
    Orig = 19,
    /// Claimed: numbers or URIs of the callee.
    Dest = 20,
    /// Claimed: seconds since 1970 at which the claims were made. A number.
    Iat = 21,
    /// Claimed: who the call was diverted by (RFC 8946).
    Div = 22,
    /// Claimed: name of the caller (RFC 9795).
    CallerName = 23,
    /// Claimed: what became of the check by whoever says so.
    Verstat = 24,
    /// Verified: how far the caller's network knows who calls.
    VerifiedAttest = 25,
    /// Verified: number of the caller.
    VerifiedOrig = 26,
    /// What the check of the claims has come to, where there is one: a word.
    IdentityVerdict = 27,
    /// The number of the caller: the user of From.
    Caller = 28,
    /// Name of the mirror that has heard of the call, where the gateway was not in its path.
    Mirror = 29,
}

impl Fact {
    const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// Facts of one record.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    bytes: Vec<u8>,
    /// Numbers of those that are there.
    present: u64,
}

/// One target that was tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt<'a> {
    /// Request-URI it was sent with.
    pub uri: &'a [u8],
    /// Where that was sent; `None` when its name led nowhere.
    pub address: Option<SocketAddr>,
    /// Its final code; 0 of one that was given up because another one answered.
    pub code: u16,
    /// Why it came to nothing; `None` of one that answered.
    pub cause: Option<Cause>,
    /// From the request to its turn, milliseconds.
    pub tried_ms: u32,
    /// From its turn to its first response of 180 to 189, if one came, milliseconds.
    pub rang_ms: Option<u32>,
    /// From its turn to its end, milliseconds.
    pub ended_ms: u32,
}

impl Attempt<'_> {
    /// How long it rang; `None` where it did not.
    #[must_use]
    pub fn ring(&self) -> Option<Duration> {
        self.rang_ms.map(|rang| Duration::from_millis(self.ended_ms.saturating_sub(rang).into()))
    }

    /// Octets that [`Self::put`] writes.
    fn octets(&self) -> usize {
        let address = self.address.map_or(0, octets_of_address);
        let numbers = self.numbers().into_iter().flatten().map(octets_of_number).sum::<usize>();
        2 + address + numbers + self.uri.len()
    }

    fn numbers(&self) -> [Option<u64>; 4] {
        [Some(self.code.into()), Some(self.tried_ms.into()), self.rang_ms.map(u64::from), Some(self.ended_ms.into())]
    }

    fn put(&self, out: &mut Vec<u8>) {
        let family = match self.address.map(|address| address.ip().to_canonical()) {
            None => 0,
            Some(IpAddr::V4(_)) => V4,
            Some(IpAddr::V6(_)) => V6,
        };
        out.push(family | if self.rang_ms.is_some() { RANG } else { 0 });
        if let Some(address) = self.address {
            put_address(address, out);
        }
        let cause = self.cause.and_then(|cause| CAUSES.iter().position(|own| *own == cause));
        out.push(cause.map_or(ANSWERED, |place| place as u8));
        self.numbers().into_iter().flatten().for_each(|number| put_number(number, out));
        out.extend_from_slice(self.uri);
    }
}

impl<'a> Attempt<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let flags = reader.octet("flags").ok()?;
        let address = match flags & (V4 | V6) {
            0 => None,
            V4 => Some(read_address(reader.take(6, "address").ok()?)?),
            _ => Some(read_address(reader.take(18, "address").ok()?)?),
        };
        let cause = CAUSES.get(usize::from(reader.octet("cause").ok()?)).copied();
        let mut number = || reader.number::<u32>("number").ok();
        let code = u16::try_from(number()?).ok()?;
        let tried_ms = number()?;
        let rang_ms = if flags & RANG != 0 { Some(number()?) } else { None };
        let ended_ms = number()?;
        let uri = reader.take(reader.left(), "URI").ok()?;
        Some(Self { uri, address, code, cause, tried_ms, rang_ms, ended_ms })
    }
}

/// Octets in front of a value: its number and its length.
const HEAD_BYTES_MAX: usize = 3;
/// Octets of the facts of most ends: where from, and the cause value.
const END_BYTES: usize = 24;
/// Octets that the facts of most calls fit in.
const USUAL_BYTES: usize = 160;

const V4: u8 = 1;
const V6: u8 = 1 << 1;
const RANG: u8 = 1 << 2;
/// In place of the number of a cause.
const ANSWERED: u8 = u8::MAX;

/// Octets of a number in [`put_number`]'s form.
const fn octets_of_number(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

fn octets_of_address(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { 6 } else { 18 }
}

fn put_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

fn read_address(octets: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = octets.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

impl Facts {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), present: 0 }
    }

    /// As [`Self::bytes`] gave them.
    ///
    /// # Errors
    /// The octets are no facts.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let mut present = 0;
        while reader.left() > 0 {
            let number = reader.octet("fact")?;
            reader.text("fact")?;
            present |= 1_u64.checked_shl(number.into()).unwrap_or(0);
        }
        if bytes.len() > FACTS_BYTES_MAX {
            return Err(Unreadable { what: "facts", at: FACTS_BYTES_MAX });
        }
        // Most that are read get those of an end as well.
        let mut own = Vec::with_capacity(bytes.len() + END_BYTES);
        own.extend_from_slice(bytes);
        Ok(Self { bytes: own, present })
    }

    /// What is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a fact is there.
    #[must_use]
    pub const fn has(&self, fact: Fact) -> bool {
        self.present & fact.bit() != 0
    }

    fn values(&self, fact: Fact) -> Values<'_> {
        Values { reader: Reader::new(if self.has(fact) { &self.bytes } else { &[] }), fact }
    }

    /// The texts of a fact.
    #[must_use]
    pub fn texts(&self, fact: Fact) -> Values<'_> {
        self.values(fact)
    }

    /// The first text of a fact.
    #[must_use]
    pub fn text(&self, fact: Fact) -> Option<&[u8]> {
        self.values(fact).next()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, fact: Fact) -> Option<u64> {
        Reader::new(self.values(fact).next()?).number("number").ok()
    }

    /// A span, in whole milliseconds.
    #[must_use]
    pub fn span(&self, fact: Fact) -> Option<Duration> {
        self.number(fact).map(Duration::from_millis)
    }

    /// An address.
    #[must_use]
    pub fn address(&self, fact: Fact) -> Option<SocketAddr> {
        self.values(fact).next().filter(|value| matches!(value.len(), 6 | 18)).and_then(read_address)
    }

    /// The targets tried, in the order in which that was known; the last [`ATTEMPTS_MAX`].
    pub fn attempts(&self) -> impl Iterator<Item = Attempt<'_>> {
        self.values(Fact::Attempt).filter_map(Attempt::read)
    }

    /// How many targets were tried.
    #[must_use]
    pub fn attempt_count(&self) -> Option<u64> {
        let kept = self.values(Fact::Attempt).count() as u64;
        self.number(Fact::AttemptCount).or((kept > 0).then_some(kept))
    }

    /// Adds a text; whether something of it is missing: it was cut, or there is no room for it.
    #[must_use]
    pub fn put_text(&mut self, fact: Fact, text: &[u8]) -> bool {
        let kept = &text[..text.len().min(FACT_BYTES_MAX)];
        if self.values(fact).count() >= FACT_VALUES_MAX {
            return true;
        }
        let is_put = self.put(fact, kept.len(), |out| out.extend_from_slice(kept));
        !is_put || kept.len() < text.len()
    }

    /// Adds a number; `true` when there is no room for it.
    #[must_use]
    pub fn put_number(&mut self, fact: Fact, number: u64) -> bool {
        !self.put(fact, octets_of_number(number), |out| put_number(number, out))
    }

    /// Adds an address; `true` when there is no room for it.
    #[must_use]
    pub fn put_address(&mut self, fact: Fact, address: SocketAddr) -> bool {
        !self.put(fact, octets_of_address(address), |out| put_address(address, out))
    }

    /// Adds an attempt, its URI cut at [`FACT_BYTES_MAX`]; whether something of it is missing.
    #[must_use]
    pub fn put_attempt(&mut self, attempt: &Attempt<'_>) -> bool {
        let uri = &attempt.uri[..attempt.uri.len().min(FACT_BYTES_MAX)];
        let attempt_octets = Attempt { uri, ..*attempt }.octets();
        let is_put = self.put(Fact::Attempt, attempt_octets, |out| Attempt { uri, ..*attempt }.put(out));
        !is_put || uri.len() < attempt.uri.len()
    }

    /// Adds a value of so many octets, if there is room.
    fn put(&mut self, fact: Fact, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let has_room = self.bytes.len() + HEAD_BYTES_MAX + length <= FACTS_BYTES_MAX;
        if has_room {
            if self.bytes.capacity() == 0 {
                self.bytes.reserve(USUAL_BYTES);
            }
            self.bytes.push(fact as u8);
            put_number(length as u64, &mut self.bytes);
            write(&mut self.bytes);
            self.present |= fact.bit();
        }
        has_room
    }
}

/// The values of one fact.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    reader: Reader<'a>,
    fact: Fact,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let number = self.reader.octet("fact").ok()?;
            let value = self.reader.text("fact").ok()?;
            if number == self.fact as u8 {
                return Some(value);
            }
        }
    }
}

/// A fact of a record that may have several values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Many<'r> {
    record: &'r Record,
    fact: Fact,
}

impl<'r> Many<'r> {
    /// Those of a record; `None` where there is none.
    #[must_use]
    pub fn of(record: &'r Record, fact: Fact) -> Option<Self> {
        record.facts.has(fact).then_some(Self { record, fact })
    }

    /// The attempts, if that is what it is, each with the instant of its turn.
    #[must_use]
    pub fn attempts(self) -> Option<impl Iterator<Item = (Timestamp, Attempt<'r>)>> {
        let created = self.record.times.created;
        let at = move |attempt: Attempt<'r>| (Timestamp(created.0 + i64::from(attempt.tried_ms) * 1000), attempt);
        (self.fact == Fact::Attempt).then(|| self.record.facts.attempts().map(at))
    }

    /// The values as texts. An attempt is `at=INSTANT address=ADDRESS code=CODE cause=CAUSE ring_ms=NUMBER uri=URI`, without
    /// what it does not have.
    #[must_use]
    pub fn texts(self) -> Vec<Cow<'r, [u8]>> {
        match self.attempts() {
            Some(attempts) => attempts.map(|(at, attempt)| Cow::Owned(line(at, &attempt))).collect(),
            None => self.record.facts.texts(self.fact).map(Cow::Borrowed).collect(),
        }
    }
}

impl Many<'_> {
    /// All values in one text, joined by comma and space.
    #[must_use]
    pub fn joined(self) -> Vec<u8> {
        self.texts().join(&b", "[..])
    }
}

fn line(at: Timestamp, attempt: &Attempt<'_>) -> Vec<u8> {
    let mut text = format!("at={at}");
    if let Some(address) = attempt.address {
        text += &format!(" address={address}");
    }
    if attempt.code > 0 {
        text += &format!(" code={}", attempt.code);
    }
    if let Some(cause) = attempt.cause {
        text += &format!(" cause={}", cause.name());
    }
    if let Some(ring) = attempt.ring() {
        text += &format!(" ring_ms={}", ring.as_millis());
    }
    [text.as_bytes(), b" uri=", attempt.uri].concat()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn attempt(uri: &[u8]) -> Attempt<'_> {
        let address = Some("192.0.2.7:5060".parse().expect("an address"));
        Attempt { uri, address, code: 486, cause: Some(Cause::Busy), tried_ms: 5, rang_ms: Some(90), ended_ms: 4090 }
    }

    /// One of each.
    pub(in crate::record) fn all() -> Facts {
        let mut facts = Facts::new();
        let address = "192.0.2.1:5062".parse().expect("one");
        let mut is_missing = facts.put_attempt(&attempt(b"sip:7@b"));
        is_missing |= facts.put_address(Fact::EndedFrom, address);
        use Fact::{
            Attest, Billed, Called, CallerName, Dest, Dialled, Div, ForwardReason, Forwarded, Icid, IdentityVerdict,
            Mirror, Orig, OrigId, Reason, Sent, SessionId, VerifiedAttest, VerifiedOrig, Verstat,
        };
        let texts = [Reason, Dialled, Called, Sent, ForwardReason, Billed, SessionId, Icid, Attest, OrigId, Orig, Dest];
        for fact in
            texts.into_iter().chain([Div, CallerName, Verstat, VerifiedAttest, VerifiedOrig, IdentityVerdict, Mirror])
        {
            is_missing |= facts.put_text(fact, b"7");
        }
        is_missing |= facts.put_text(Fact::Caller, b"8") | facts.put_text(Forwarded, b"sip:7@x");
        is_missing |= facts.put_text(Fact::RtpStat, b"PS=1,OS=2,PR=3,PL=4,JI=5,LA=6");
        for fact in [Fact::Q850, Fact::SipCause, Fact::AttemptCount, Fact::PostDialDelay, Fact::Iat] {
            is_missing |= facts.put_number(fact, 7);
        }
        assert!(!is_missing);
        facts
    }

    #[test]
    fn facts_come_back_as_they_were_put() {
        let mut facts = Facts::new();
        let v6 =
            Attempt { address: Some("[2001:db8::1]:5061".parse().expect("one")), cause: None, ..attempt(b"sip:c@d") };
        let nowhere = Attempt { address: None, rang_ms: None, code: 0, ..attempt(b"") };
        for one in [attempt(b"sip:a@b"), v6, nowhere] {
            assert!(!facts.put_attempt(&one));
        }
        assert!(!facts.put_text(Fact::Reason, b"Q.850;cause=16"));
        assert!(!facts.put_text(Fact::Reason, b"SIP;cause=200"));
        assert!(!facts.put_number(Fact::Q850, 300));
        assert!(!facts.put_address(Fact::EndedFrom, "192.0.2.1:5062".parse().expect("one")));
        let facts = Facts::from_bytes(facts.bytes()).expect("they are read");
        assert_eq!(facts.attempts().collect::<Vec<_>>(), [attempt(b"sip:a@b"), v6, nowhere]);
        assert_eq!(facts.attempts().map(|one| one.ring()).next(), Some(Some(Duration::from_secs(4))));
        assert_eq!(facts.texts(Fact::Reason).collect::<Vec<_>>(), [&b"Q.850;cause=16"[..], b"SIP;cause=200"]);
        assert_eq!((facts.number(Fact::Q850), facts.number(Fact::SipCause)), (Some(300), None));
        assert_eq!(facts.address(Fact::EndedFrom), "192.0.2.1:5062".parse().ok());
        assert_eq!(facts.attempt_count(), Some(3));
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_has_no_room_is_left_out() {
        let long = vec![b'x'; 10_000];
        let mut facts = Facts::new();
        assert!(facts.put_text(Fact::Reason, &long), "it was cut");
        assert_eq!(facts.text(Fact::Reason).map(<[u8]>::len), Some(FACT_BYTES_MAX));
        for _ in 0..200 {
            let _is_missing = facts.put_text(Fact::Reason, &long) | facts.put_attempt(&attempt(&long));
        }
        assert!(facts.bytes().len() <= FACTS_BYTES_MAX);
        assert!(facts.put_text(Fact::Dialled, &long), "no room is left");
        assert_eq!(Facts::from_bytes(facts.bytes()), Ok(facts));
    }

    #[test]
    fn a_number_of_a_later_release_says_nothing() {
        let later = [63, 1, b'x', 200, 0, Fact::Dialled as u8, 1, b'7'];
        let facts = Facts::from_bytes(&later).expect("they are read");
        assert_eq!((facts.text(Fact::Dialled), facts.bytes()), (Some(&b"7"[..]), &later[..]));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in vec(any::<u8>(), 0..300)) {
            if let Ok(facts) = Facts::from_bytes(&octets) {
                let _all = (facts.attempts().count(), facts.attempt_count(), facts.address(Fact::EndedFrom));
                prop_assert_eq!(facts.bytes(), &octets[..]);
            }
        }

        #[test]
        fn any_attempt_comes_back(uri in vec(any::<u8>(), 0..600), numbers in any::<[u32; 3]>(), code in any::<u16>()) {
            let [tried_ms, rang, ended_ms] = numbers;
            let one = Attempt { uri: &uri, code, tried_ms, rang_ms: (rang > 9).then_some(rang), ended_ms, ..attempt(b"") };
            let mut facts = Facts::new();
            let is_cut = facts.put_attempt(&one);
            prop_assert_eq!(is_cut, uri.len() > FACT_BYTES_MAX);
            let read = facts.attempts().next();
            prop_assert_eq!(read, Some(Attempt { uri: &uri[..uri.len().min(FACT_BYTES_MAX)], ..one }));
            prop_assert!(Facts::from_bytes(facts.bytes()).is_ok());
        }
    }
}
