//! Dialogs without a table: the gateway's Record-Route value carries what it must know when a later request of the call
//! comes back with it as Route (RFC 3261 §16.6 step 4, §16.12; RFC 5658 for a pair of them).
//!
//! The value is `<sip:HOST:PORT;lr;ftag=TAG;tg=CHECK>`. `CHECK` is a keyed hash over the Call-ID and the From tag of the
//! request that made the dialog. It shows that the value is ours and belongs to this call, so that the request may pass
//! from any source, and whose tag it covers: with the From tag of the later request it comes from the caller, with the
//! To tag from the callee. `ftag` is there for whoever reads a trace.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::sip::message::Message;
use crate::sip::stack::{Transport, push_hex};

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

/// Whether a Record-Route value stands alone (RFC 5658 §5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pairing {
    /// One value, one listener on both sides.
    Single,
    /// One of two values: the request leaves by another listener than it came in by.
    Double,
}

/// Makes and checks the signed parameter of our Record-Route values.
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

    /// Appends the Record-Route value of `request` for one listener: host and port as text, and transport.
    pub fn print(&self, (place, by): (&[u8], Transport), pairing: Pairing, request: &Message, out: &mut Vec<u8>) {
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
        Signer::new([key; 16]).print((place, Transport::Tcp), Pairing::Single, request, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn check(value: &str) -> &str {
        value.split("tg=").nth(1).expect("a check").trim_end_matches('>')
    }

    #[test]
    fn the_value_of_a_call_never_changes() {
        // It must be recognised after an upgrade in the middle of a call.
        assert_eq!(
            value(&request("c1", ";tag=a%1", ""), 7),
            "<sip:192.0.2.1:5060;transport=tcp;lr;ftag=a%251;tg=645236ce5dd9bf8a>"
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
    fn a_long_tag_is_left_out_but_still_covered() {
        let tag = format!(";tag={}", "t".repeat(FTAG_BYTES_MAX + 1));
        let own = value(&request("c1", &tag, ""), 7);
        assert!(!own.contains("ftag"), "{own}");
        let later = request("c1", &tag, ";tag=b");
        assert!(Signer::new([7; 16]).direction(check(&own).as_bytes(), &later).is_some());
    }
}
