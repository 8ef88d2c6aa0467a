//! Dialogs without a table: the gateway's Record-Route value carries what it must know when a later request of the call
//! comes back with it as Route (RFC 3261 §16.6 step 4, §16.12; RFC 5658 for a pair of them).
//!
//! The value is `<sip:HOST:PORT;lr;ftag=TAG;tg=CHECK;tu=HOME;td=HOME>`. `CHECK` is a keyed hash over the Call-ID and the
//! From tag of the request that made the dialog. It shows that the value is ours and belongs to this call, so that the
//! request may pass from any source, and whose tag it covers: with the From tag of the later request it comes from the
//! caller, with the To tag from the callee. `ftag` is there for whoever reads a trace.
//!
//! `tu` and `td` are keyed hashes over the same and the host that requests upstream and downstream go to next: the host
//! of the caller's Contact, or of the proxy in front of it, and the address the request was sent to. A sender who has
//! nothing but the value, and is not trusted otherwise, reaches these two hosts and no other.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::sip::message::{Message, Uri};
use crate::sip::stack::{Transport, push_hex};

/// Hexadecimal digits of the check of a host: too many to be guessed by asking.
const HOME_DIGITS: u32 = 12;
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

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
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

/// Makes and checks the signed parameters of our Record-Route values.
#[derive(Clone, Copy)]
pub struct Signer {
    key: [u8; 16],
}

/// Keeps the key out of every log.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with a key of 16 octets.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    fn check(&self, call_id: &[u8], tag: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(b"r");
        hasher.write(call_id);
        // Octets in a set order: the check outlives the process and the release that made it.
        hasher.write(&(call_id.len() as u64).to_le_bytes());
        hasher.write(tag);
        hasher.finish()
    }

    /// The check of a host that requests in this direction of a call go to next, as [`HOME_DIGITS`] hexadecimal digits.
    /// `tag` is the caller's.
    fn home(&self, direction: Direction, (call_id, tag): (&[u8], &[u8]), host: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
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
        let mut own = Vec::with_capacity(16);
        push_hex(self.home(direction, (request.call_id(), tag), host), HOME_DIGITS, &mut own);
        route.param(name).is_some_and(|check| bool::from(subtle::ConstantTimeEq::ct_eq(own.as_slice(), check)))
    }

    /// Appends the Record-Route value of `request` for one listener: host and port as text, and transport.
    pub fn print(
        &self,
        (place, by): (&[u8], Transport),
        pairing: Pairing,
        request: &Message,
        homes: Homes<'_>,
        out: &mut Vec<u8>,
    ) {
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
        push_hex(self.check(request.call_id(), tag), 16, out);
        let of_call = (request.call_id(), tag);
        for (name, direction, host) in
            [(&b";tu="[..], Direction::Upstream, homes.upstream), (b";td=", Direction::Downstream, homes.downstream)]
        {
            if let Some(host) = host {
                out.extend_from_slice(name);
                push_hex(self.home(direction, of_call, host), HOME_DIGITS, out);
            }
        }
        out.push(b'>');
    }

    /// Who sent `request`, by the `tg` parameter of a Route value; `None` when the value was not made for this call.
    #[must_use]
    pub fn direction(&self, check: &[u8], request: &Message) -> Option<Direction> {
        let is_for = |tag: &[u8]| {
            let mut own = Vec::with_capacity(16);
            push_hex(self.check(request.call_id(), tag), 16, &mut own);
            bool::from(subtle::ConstantTimeEq::ct_eq(own.as_slice(), check))
        };
        if is_for(request.from_tag()) {
            Some(Direction::Downstream)
        } else if is_for(request.to_tag()) {
            Some(Direction::Upstream)
        } else {
            None
        }
    }
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
    use super::*;

    fn request(call_id: &str, from: &str, to: &str) -> Message {
        let text = format!(
            "BYE sip:x@x SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nFrom: <sip:a@x>{from}\r\nTo: <sip:b@x>{to}\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 BYE\r\n\r\n"
        );
        Message::parse(text.into_bytes()).expect("a message")
    }

    fn value(request: &Message, key: u8) -> String {
        let mut out = Vec::new();
        let place: &[u8] = b"192.0.2.1:5060";
        let homes = Homes { upstream: Some(b"192.0.2.10"), downstream: None };
        Signer::new([key; 16]).print((place, Transport::Tcp), Pairing::Single, request, homes, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn check(value: &str) -> &str {
        value.split("tg=").nth(1).and_then(|rest| rest.get(..16)).expect("a check")
    }

    #[test]
    fn the_value_of_a_call_never_changes() {
        // It must be recognised after an upgrade in the middle of a call.
        assert_eq!(
            value(&request("c1", ";tag=a%1", ""), 7),
            "<sip:192.0.2.1:5060;transport=tcp;lr;ftag=a%251;tg=645236ce5dd9bf8a;tu=c5b39b11c50a>"
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
            assert_eq!(Signer::new([key; 16]).direction(check(&own).as_bytes(), &later), want, "{name}");
        }
        let old = value(&request("c1", "", ""), 7);
        let later = request("c1", "", ";tag=b");
        let direction = Signer::new([7; 16]).direction(check(&old).as_bytes(), &later);
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
            assert_eq!(Signer::new([7; 16]).leads_home(direction, &uri, later, host.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn a_long_tag_is_left_out_but_still_covered() {
        let tag = format!(";tag={}", "t".repeat(FTAG_BYTES_MAX + 1));
        let own = value(&request("c1", &tag, ""), 7);
        assert!(!own.contains("ftag"), "{own}");
        let later = request("c1", &tag, ";tag=b");
        assert!(Signer::new([7; 16]).direction(check(&own).as_bytes(), &later).is_some());
    }
}
