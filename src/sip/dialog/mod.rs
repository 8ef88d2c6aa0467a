//! Dialogs without a table: the gateway's Record-Route value carries what it must know when a later request of the call
//! comes back with it as Route (RFC 3261 §16.6 step 4, §16.12; RFC 5658 for a pair of them).
//!
//! The value is `<sip:HOST:PORT;lr;ftag=TAG;tg=UNTILCHECK;tu=HOME;td=HOME>`. `UNTIL` is the hour it is good until, five
//! hexadecimal digits; `CHECK` is a keyed hash over that, the Call-ID and the From tag of the request that made the dialog.
//! It shows that the value is ours and belongs to this call, so that the
//! request may pass from any source, and whose tag it covers: with the From tag of the later request it comes from the
//! caller, with the To tag from the callee. `ftag` is there for whoever reads a trace.
//!
//! `tu` and `td` are keyed hashes over the same and the host that requests upstream and downstream go to next: the host
//! of the caller's Contact, or of the proxy in front of it, and the address the request was sent to. A sender who has
//! nothing but the value, and is not trusted otherwise, reaches these two hosts and no other.
//!
//! A policy may have a [`Word`] of its own carried, as `;tw=WORD`; `CHECK` is over that too.
//!
//! `;tb=BEGUNCHECK` says when the INVITE came that began the call, in microseconds, with a check of its own: releases before
//! pass it over. By that a gateway that does not have the call knows the name of its session.
//!
//! There are two keys, so that one can be replaced: what the last one has signed stays good until its hour. Values without
//! an hour were made by releases before; they are good for a while after the upgrade.

mod keys;

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::clock::Timestamp;
use crate::sip::message::{Message, Uri};
use crate::sip::stack::{Transport, push_hex};

pub use keys::{KeptKeys, RouteKeys};

/// Hexadecimal digits of the hour a value is good until: enough until 2089, and beyond, for hours go round.
const UNTIL_DIGITS: u32 = 5;
/// Hexadecimal digits of the check of a call.
const CHECK_DIGITS: u32 = 16;
/// Hexadecimal digits of a word.
const WORD_DIGITS: u32 = 8;
/// Hexadecimal digits of the check of a host: too many to be guessed by asking.
const HOME_DIGITS: u32 = 12;
/// Hexadecimal digits of the instant at which a call began, in microseconds since 1970: enough until 2112.
const BEGUN_DIGITS: u32 = 13;
/// Hexadecimal digits of the check of that: who guesses it has a session of another name, and no more.
const BEGUN_CHECK_DIGITS: u32 = 8;
/// Octets of a From tag beyond which the `ftag` parameter is left out.
const FTAG_BYTES_MAX: usize = 64;

/// Who of a call sent a request: the caller is the side that sent the first one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From the caller to the callee.
    Downstream,
    /// From the callee to the caller.
    Upstream,
}

/// What a policy wants to be told again with each later request of a dialog; 0: nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Word(pub u32);

impl Word {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// As the parameters of a Record-Route value have it; `None` for what is no word.
    #[must_use]
    pub fn of(route: &Uri<'_>) -> Option<Self> {
        let Some(text) = route.param(b"tw") else { return Some(Self::NONE) };
        let number = hex(text).filter(|_| text.len() == WORD_DIGITS as usize)?;
        u32::try_from(number).ok().map(Self)
    }
}

/// What is known of the dialog a request belongs to (RFC 3261 §12), as its sender's side would know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known<'a> {
    /// Who sent the request, by its tags.
    pub direction: Direction,
    /// The remote target: URI of the last Contact of the end that is to get the request.
    pub target: &'a [u8],
    /// The route set from the gateway to that end: the values of Route below our own, joined by commas; empty without.
    pub routes: &'a [u8],
}

/// The dialogs that pass the gateway, as far as somebody keeps them.
pub trait Dialogs {
    /// The confirmed dialog that Call-ID and both tags of a request name; `None` when nobody keeps it.
    fn find(&self, request: &Message) -> Option<Known<'_>>;
}

/// Nobody keeps any dialog.
impl Dialogs for () {
    fn find(&self, _: &Message) -> Option<Known<'_>> {
        None
    }
}

/// How a request stands to the dialog it names, and so what its response can say about that dialog.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Course {
    /// It has no To tag, so it names none.
    #[default]
    Outside,
    /// It goes to the remote target of a known dialog by the route set of that dialog: the other end will see it.
    Dialog,
    /// It may pass, by a signed Route or because its sender is trusted, but it does not lead exactly where its dialog
    /// does, or nobody keeps that dialog: its response need not come from the other end.
    Aside,
}

/// Whether a Record-Route value stands alone (RFC 5658 §5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pairing {
    /// One value, one listener on both sides.
    Single,
    /// One of two values: the request leaves by another listener than it came in by.
    Double,
}

/// The next host in both directions of a call, as `Signer::home` takes it; `None` when it cannot be told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Homes<'a> {
    /// Towards the caller.
    pub upstream: Option<&'a [u8]>,
    /// Towards the callee.
    pub downstream: Option<&'a [u8]>,
}

/// What a Record-Route value carries beside whose call it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried<'a> {
    /// Where its requests go.
    pub homes: Homes<'a>,
    /// How long the value is good.
    pub good_for: Duration,
    /// The policy's word.
    pub word: Word,
    /// When the INVITE came, of a call.
    pub begun: Option<Timestamp>,
}

/// Makes and checks the signed parameters of our Record-Route values.
#[derive(Clone, Debug)]
pub struct Signer {
    keys: RouteKeys,
    /// Seconds of the wall clock.
    now_s: u64,
}

impl Signer {
    /// A signer with these keys.
    #[must_use]
    pub const fn new(keys: RouteKeys) -> Self {
        Self { keys, now_s: 0 }
    }

    /// Takes other keys for what is signed and checked from now on.
    pub fn renew(&mut self, keys: RouteKeys) {
        self.keys = keys;
    }

    /// Sets the clock that values are good by.
    pub const fn set_time(&mut self, now: Timestamp) {
        self.now_s = if now.0 > 0 { now.secs().unsigned_abs() } else { 0 };
    }

    /// The hour, counted from 1970 and cut to [`UNTIL_DIGITS`], up to which a value is good that is made now.
    fn until(&self, good_for: Duration) -> u64 {
        let hours = (self.now_s.saturating_add(good_for.as_secs())).div_ceil(3600);
        (hours + 1) % HOURS
    }

    /// Whether that hour has not come yet. Hours go round: half of them are ahead, and the others have been.
    fn is_ahead(&self, until: u64) -> bool {
        (until + HOURS - self.now_s / 3600 % HOURS) % HOURS < HOURS / 2
    }

    /// The check of a home: a hexadecimal number of [`HOME_DIGITS`]. `tag` is the caller's.
    fn home(key: &[u8; 16], direction: Direction, (call_id, tag): (&[u8], &[u8]), host: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(match direction {
            Direction::Upstream => b"u",
            Direction::Downstream => b"d",
        });
        for text in [call_id, tag] {
            hasher.write(text);
            hasher.write(&(text.len() as u64).to_le_bytes());
        }
        hasher.write(host);
        hasher.finish()
    }

    /// Whether `request`, which comes from `direction`'s start by a Route value with these parameters, goes to the host
    /// the value was made for.
    #[must_use]
    pub fn leads_home(&self, direction: Direction, route: &Uri<'_>, request: &Message, host: &[u8]) -> bool {
        let (name, tag): (&[u8], _) = match direction {
            Direction::Upstream => (b"tu", request.to_tag()),
            Direction::Downstream => (b"td", request.from_tag()),
        };
        let Some(check) = route.param(name) else { return false };
        self.keys
            .all(self.now_s)
            .any(|key| is_hex(Self::home(key, direction, (request.call_id(), tag), host), HOME_DIGITS, check))
    }

    /// The `td` parameter of a value of this call, as it stands in a message, for another host downstream.
    #[must_use]
    pub fn home_downstream(&self, message: &Message, host: &[u8]) -> [u8; HOME_DIGITS as usize] {
        let of_call = (message.call_id(), message.from_tag());
        let mut out = Vec::with_capacity(HOME_DIGITS as usize);
        push_hex(Self::home(&self.keys.current, Direction::Downstream, of_call, host), HOME_DIGITS, &mut out);
        out.try_into().unwrap_or([b'0'; HOME_DIGITS as usize])
    }

    /// When the call began, by a Route value of it that comes from `direction`'s start; `None` when the value does not say so.
    #[must_use]
    pub fn begun(&self, direction: Direction, route: &Uri<'_>, request: &Message) -> Option<Timestamp> {
        let (digits, check) = route.param(b"tb")?.split_at_checked(BEGUN_DIGITS as usize)?;
        let begun = Timestamp(i64::try_from(hex(digits)?).ok()?);
        let tag = match direction {
            Direction::Upstream => request.to_tag(),
            Direction::Downstream => request.from_tag(),
        };
        self.keys
            .all(self.now_s)
            .any(|key| is_hex(begun_check(key, begun, (request.call_id(), tag)), BEGUN_CHECK_DIGITS, check))
            .then_some(begun)
    }

    /// Appends the Record-Route value of `request` for one listener, host and port as text, and transport.
    pub fn print(
        &self,
        (place, by): (&[u8], Transport),
        pairing: Pairing,
        request: &Message,
        Carried { homes, good_for, word, begun }: Carried<'_>,
        out: &mut Vec<u8>,
    ) {
        let key = &self.keys.current;
        out.extend_from_slice(b"<sip:");
        out.extend_from_slice(place);
        out.extend_from_slice(by.uri_parameter().as_bytes());
        out.extend_from_slice(b";lr");
        if pairing == Pairing::Double {
            out.extend_from_slice(b";r2=on");
        }
        let tag = request.from_tag();
        if !tag.is_empty() && tag.len() <= FTAG_BYTES_MAX {
            out.extend_from_slice(b";ftag=");
            push_escaped(tag, out);
        }
        out.extend_from_slice(b";tg=");
        let until = self.until(good_for);
        push_hex(until, UNTIL_DIGITS, out);
        push_hex(check(key, (Some(until), word), request.call_id(), tag), CHECK_DIGITS, out);
        if word != Word::NONE {
            out.extend_from_slice(b";tw=");
            push_hex(u64::from(word.0), WORD_DIGITS, out);
        }
        let of_call = (request.call_id(), tag);
        if let Some((begun, micros)) = begun.and_then(|begun| Some((begun, u64::try_from(begun.0).ok()?))) {
            out.extend_from_slice(b";tb=");
            push_hex(micros, BEGUN_DIGITS, out);
            push_hex(begun_check(key, begun, of_call), BEGUN_CHECK_DIGITS, out);
        }
        for (name, direction, host) in
            [(&b";tu="[..], Direction::Upstream, homes.upstream), (b";td=", Direction::Downstream, homes.downstream)]
        {
            if let Some(host) = host {
                out.extend_from_slice(name);
                push_hex(Self::home(key, direction, of_call, host), HOME_DIGITS, out);
            }
        }
        out.push(b'>');
    }

    /// Who sent `request`, by the `tg` parameter of a Route value that carries this word; `None` when the value was not made
    /// for this call, or is good no more.
    #[must_use]
    pub fn direction(&self, (check, word): (&[u8], Word), request: &Message) -> Option<Direction> {
        let (until, check) = match check.len().checked_sub(CHECK_DIGITS as usize)? {
            0 => (None, check),
            digits if digits == UNTIL_DIGITS as usize => {
                let (until, check) = check.split_at(digits);
                (Some(hex(until)?), check)
            }
            _ => return None,
        };
        if until.is_some_and(|until| !self.is_ahead(until)) {
            return None;
        }
        let sides = [(request.from_tag(), Direction::Downstream), (request.to_tag(), Direction::Upstream)];
        let keys = self.keys.checking(until.is_some(), self.now_s);
        keys.flat_map(|key| sides.map(|side| (key, side)))
            .find(|(key, (tag, _))| {
                is_hex(self::check(key, (until, word), request.call_id(), tag), CHECK_DIGITS, check)
            })
            .map(|(_, (_, direction))| direction)
    }
}

/// Hours that [`UNTIL_DIGITS`] can count.
const HOURS: u64 = 1 << (4 * UNTIL_DIGITS);

/// The check of a call; without an hour as releases before made it.
fn check(key: &[u8; 16], (until, word): (Option<u64>, Word), call_id: &[u8], tag: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    match until {
        Some(until) => {
            hasher.write(if word == Word::NONE { b"R" } else { b"W" });
            hasher.write(&until.to_le_bytes());
        }
        None => hasher.write(b"r"),
    }
    if word != Word::NONE {
        hasher.write(&word.0.to_le_bytes());
    }
    hasher.write(call_id);
    // Octets in a set order: the check outlives the process and the release that made it.
    hasher.write(&(call_id.len() as u64).to_le_bytes());
    hasher.write(tag);
    hasher.finish()
}

/// The check of the instant at which a call began. `tag` is the caller's.
fn begun_check(key: &[u8; 16], begun: Timestamp, (call_id, tag): (&[u8], &[u8])) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(b"b");
    hasher.write(&begun.0.to_le_bytes());
    for text in [call_id, tag] {
        hasher.write(text);
        hasher.write(&(text.len() as u64).to_le_bytes());
    }
    hasher.finish()
}

/// Whether `text` is the lowest `digits` hexadecimal digits of `value`, told in a time that says nothing.
fn is_hex(value: u64, digits: u32, text: &[u8]) -> bool {
    let own: [u8; 16] = std::array::from_fn(|at| b"0123456789abcdef"[(value >> (60 - 4 * at) & 15) as usize]);
    bool::from(subtle::ConstantTimeEq::ct_eq(&own[16 - digits as usize..], text))
}

/// A hexadecimal number in lower case.
fn hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |sum, octet| {
        let digit = char::from(*octet).to_digit(16).filter(|_| !octet.is_ascii_uppercase())?;
        Some(sum << 4 | u64::from(digit))
    })
}

/// Appends `tag` with what a URI parameter may not hold (RFC 3261 §25.1 `paramchar`) as `%xx`.
fn push_escaped(tag: &[u8], out: &mut Vec<u8>) {
    for octet in tag {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'+$".contains(octet) {
            out.push(*octet);
        } else {
            out.push(b'%');
            push_hex(u64::from(*octet), 2, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::keys::Legacy;
    use super::*;

    fn request(call_id: &str, from: &str, to: &str) -> Message {
        let text = format!(
            "BYE sip:x@x SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nFrom: <sip:a@x>{from}\r\nTo: <sip:b@x>{to}\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 BYE\r\n\r\n"
        );
        Message::parse(text.into_bytes()).expect("a message")
    }

    /// Monday at noon, in seconds.
    const NOON: u64 = 1_700_481_600;
    const DAY: u64 = 86_400;

    fn keys(current: u8, previous: Option<u8>) -> RouteKeys {
        RouteKeys { current: [current; 16], previous: previous.map(|key| [key; 16]), ..RouteKeys::default() }
    }

    fn signer(keys: RouteKeys, now_s: u64) -> Signer {
        let mut signer = Signer::new(keys);
        signer.set_time(Timestamp(i64::try_from(now_s).expect("a time of our days") * 1_000_000));
        signer
    }

    fn value(request: &Message, key: u8) -> String {
        let mut out = Vec::new();
        let place: &[u8] = b"192.0.2.1:5060";
        let homes = Homes { upstream: Some(b"192.0.2.10"), downstream: None };
        let good = Duration::from_secs(DAY);
        signer(keys(key, None), NOON).print(
            (place, Transport::Tcp),
            Pairing::Single,
            request,
            Carried { homes, good_for: good, ..Carried::default() },
            &mut out,
        );
        String::from_utf8(out).expect("text")
    }

    fn check(value: &str) -> &str {
        value.split("tg=").nth(1).and_then(|rest| rest.split([';', '>']).next()).expect("a check")
    }

    #[test]
    fn a_value_of_the_last_release_is_known_for_a_while() {
        // Written by 1.x with a key of sevens.
        let old = "645236ce5dd9bf8a";
        let uri = Uri::parse(b"sip:192.0.2.1:5060;transport=tcp;lr;ftag=a%251;tg=645236ce5dd9bf8a;tu=c5b39b11c50a")
            .expect("a URI");
        let back = request("c1", ";tag=b", ";tag=a%1");
        let legacy = |until_s| RouteKeys { legacy: Some(Legacy { key: [7; 16], until_s }), ..keys(1, None) };
        for (name, keys, want) in [
            ("while calls of the last release go on", legacy(NOON + 1), Some(Direction::Upstream)),
            ("not for ever", legacy(NOON), None),
            ("nor by the keys of this release", keys(7, Some(7)), None),
        ] {
            let signer = signer(keys, NOON);
            assert_eq!(signer.direction((old.as_bytes(), Word::NONE), &back), want, "{name}");
            if want.is_some() {
                assert!(signer.leads_home(Direction::Upstream, &uri, &back, b"192.0.2.10"), "{name}");
            }
        }
    }

    #[test]
    fn a_value_is_good_until_its_hour_and_its_key_may_be_replaced() {
        let own = value(&request("c1", ";tag=a", ""), 7);
        let later = request("c1", ";tag=a", ";tag=b");
        let known = Some(Direction::Downstream);
        for (name, keys, now_s, want) in [
            ("at once", keys(7, None), NOON, known),
            ("a clock that is set back changes nothing", keys(7, None), NOON - 40 * DAY, known),
            ("for as long as it was made", keys(7, None), NOON + DAY, known),
            ("and no longer", keys(7, None), NOON + DAY + 2 * 3600, None),
            ("nor after many years", keys(7, None), NOON + 40 * 365 * DAY, None),
            ("by the key before", keys(8, Some(7)), NOON + DAY, known),
            ("not by the key before that", keys(9, Some(8)), NOON, None),
        ] {
            assert_eq!(signer(keys, now_s).direction((check(&own).as_bytes(), Word::NONE), &later), want, "{name}");
        }
        for (name, forged) in [
            ("a later hour", check(&own).replacen(&check(&own)[..5], "fffff", 1)),
            ("no hour", check(&own)[5..].to_owned()),
            ("capital letters", check(&own).to_uppercase()),
            ("too short", check(&own)[..20].to_owned()),
            ("nothing", String::new()),
        ] {
            assert_eq!(signer(keys(7, None), NOON).direction((forged.as_bytes(), Word::NONE), &later), None, "{name}");
        }
    }

    #[test]
    fn the_value_of_a_call_never_changes() {
        // It must be recognised after an upgrade in the middle of a call.
        assert_eq!(
            value(&request("c1", ";tag=a%1", ""), 7),
            "<sip:192.0.2.1:5060;transport=tcp;lr;ftag=a%251;tg=7353de32793af21ece930;tu=c5b39b11c50a>"
        );
    }

    #[test]
    fn the_check_tells_who_of_the_call_sent_a_request() {
        let own = value(&request("c1", ";tag=a", ""), 7);
        for (name, later, key, want) in [
            ("the caller's request goes down", request("c1", ";tag=a", ";tag=b"), 7, Some(Direction::Downstream)),
            ("the callee's request goes up", request("c1", ";tag=b", ";tag=a"), 7, Some(Direction::Upstream)),
            ("another call's is not ours", request("c2", ";tag=a", ";tag=b"), 7, None),
            ("other tags are not ours", request("c1", ";tag=x", ";tag=b"), 7, None),
            ("another key does not know it", request("c1", ";tag=a", ";tag=b"), 8, None),
        ] {
            assert_eq!(
                signer(keys(key, None), NOON).direction((check(&own).as_bytes(), Word::NONE), &later),
                want,
                "{name}"
            );
        }
        let old = value(&request("c1", "", ""), 7);
        let later = request("c1", "", ";tag=b");
        let direction = signer(keys(7, None), NOON).direction((check(&old).as_bytes(), Word::NONE), &later);
        assert_eq!(direction, Some(Direction::Downstream), "a caller of RFC 2543 has no tag");
    }

    #[test]
    fn a_value_leads_to_the_host_it_was_made_for_and_no_other() {
        let own = value(&request("c1", ";tag=a", ""), 7);
        let uri = Uri::parse(own.trim_matches(['<', '>']).as_bytes()).expect("a URI");
        let later = request("c1", ";tag=b", ";tag=a");
        for (name, direction, later, host, want) in [
            ("to the caller's host", Direction::Upstream, &later, "192.0.2.10", true),
            ("to another host", Direction::Upstream, &later, "192.0.2.11", false),
            ("to the callee, whose host was not known", Direction::Downstream, &later, "192.0.2.10", false),
            ("of another call", Direction::Upstream, &request("c2", ";tag=b", ";tag=a"), "192.0.2.10", false),
        ] {
            assert_eq!(signer(keys(7, None), NOON).leads_home(direction, &uri, later, host.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn a_long_tag_is_left_out_but_still_covered() {
        let tag = format!(";tag={}", "t".repeat(FTAG_BYTES_MAX + 1));
        let own = value(&request("c1", &tag, ""), 7);
        assert!(!own.contains("ftag"), "{own}");
        let later = request("c1", &tag, ";tag=b");
        assert!(signer(keys(7, None), NOON).direction((check(&own).as_bytes(), Word::NONE), &later).is_some());
    }

    #[test]
    fn a_word_comes_back_as_it_went_out_or_the_value_is_not_ours() {
        let (own, later) = (request("c", ";tag=a", ""), request("c", ";tag=a", ";tag=b"));
        let mut out = Vec::new();
        let good = Carried { good_for: Duration::from_secs(DAY), word: Word(0xbeef), ..Carried::default() };
        let place: &[u8] = b"192.0.2.1:5060";
        signer(keys(7, None), NOON).print((place, Transport::Udp), Pairing::Single, &own, good, &mut out);
        let value = String::from_utf8(out).expect("text");
        assert!(value.contains(";tw=0000beef"), "{value}");
        for (name, value, want) in [
            ("as it was made", value.clone(), Some(Word(0xbeef))),
            ("without the word", value.replace(";tw=0000beef", ""), None),
            ("with another one", value.replace("tw=0000beef", "tw=0000beee"), None),
            ("with one of no digits", value.replace("tw=0000beef", "tw=nothing"), None),
            ("with a short one", value.replace("tw=0000beef", "tw=beef"), None),
            ("a value without a word", self::value(&own, 7), Some(Word::NONE)),
            ("which somebody has added one to", self::value(&own, 7).replace(";tg=", ";tw=0000beef;tg="), None),
        ] {
            let uri = Uri::parse(value.trim_matches(['<', '>']).as_bytes()).expect("a URI");
            let read = Word::of(&uri)
                .zip(uri.param(b"tg"))
                .and_then(|(word, check)| signer(keys(7, None), NOON).direction((check, word), &later).map(|_| word));
            assert_eq!(read, want, "{name}: {value}");
        }
    }

    #[test]
    fn a_value_says_when_its_call_began_and_nobody_else_can() {
        let (own, place): (_, &[u8]) = (request("c", ";tag=a", ""), b"192.0.2.1:5060");
        let begun = Timestamp(1_700_481_600_123_456);
        let mut out = Vec::new();
        let carried = Carried { good_for: Duration::from_secs(DAY), begun: Some(begun), ..Carried::default() };
        signer(keys(7, None), NOON).print((place, Transport::Udp), Pairing::Single, &own, carried, &mut out);
        let value = String::from_utf8(out).expect("text");
        assert!(value.contains(";tb=60a9439b8f240"), "{value}");
        let (down, up) = (request("c", ";tag=a", ";tag=b"), request("c", ";tag=b", ";tag=a"));
        for (name, value, later, key, want) in [
            ("to the callee's side", value.clone(), &down, 7, Some(begun)),
            ("and the caller's", value.clone(), &up, 7, Some(begun)),
            ("another call", value.clone(), &request("d", ";tag=a", ";tag=b"), 7, None),
            ("another key", value.clone(), &down, 8, None),
            ("another instant", value.replace("tb=60a9439b8f240", "tb=60a9439b8f241"), &down, 7, None),
            ("none", self::value(&own, 7), &down, 7, None),
            ("too short", value.replace("tb=60a9439b8f240", "tb=60a9"), &down, 7, None),
        ] {
            let uri = Uri::parse(value.trim_matches(['<', '>']).as_bytes()).expect("a URI");
            let direction =
                if std::ptr::eq(later, &raw const up) { Direction::Upstream } else { Direction::Downstream };
            assert_eq!(signer(keys(key, None), NOON).begun(direction, &uri, later), want, "{name}: {value}");
        }
    }
}
