//! Whether a request may be forwarded at all (RFC 3261 §16.3): hops left, and extensions asked of proxies. Syntax and
//! URI scheme are the message's own check; loops and sources are the stack's.

use std::borrow::Cow;

use super::context::usual_reason;
use crate::sip::message::{Message, Method, Name};

/// Hops left of a request that does not say, and what it is forwarded with (RFC 3261 §16.6 step 3).
pub const MAX_FORWARDS_DEFAULT: u8 = 70;

/// Branches a request may have at once, here and at all further proxies, that does not say (RFC 5393 §5.3.3).
pub const MAX_BREADTH_DEFAULT: u32 = 60;

/// A response to a request that is not forwarded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Status code.
    pub code: u16,
    /// Reason phrase.
    pub reason: Cow<'static, str>,
    /// Further headers: name and value.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl Refusal {
    /// A refusal with the usual reason phrase.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self { code, reason: Cow::Borrowed(usual_reason(code)), headers: Vec::new() }
    }

    /// The same with a header added.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The Max-Forwards a request is forwarded with: one less than it has, or the default when it has none.
#[must_use]
pub fn max_forwards_onward(request: &Message) -> u8 {
    request.max_forwards().map_or(MAX_FORWARDS_DEFAULT, |hops| hops.saturating_sub(1))
}

/// Branches that a request may have at once (RFC 5393 §5.3.3): what it says, but no more than the default.
#[must_use]
pub fn max_breadth(request: &Message) -> u32 {
    request.max_breadth().map_or(MAX_BREADTH_DEFAULT, |breadth| breadth.min(MAX_BREADTH_DEFAULT))
}

/// The share of one of `count` branches, by its place.
#[must_use]
pub fn breadth_share(breadth: u32, place: u32, count: u32) -> u32 {
    let count = count.max(1);
    breadth / count + u32::from(place < breadth % count)
}

/// Hops left of a request.
#[must_use]
pub fn max_forwards(request: &Message) -> u8 {
    request.max_forwards().unwrap_or(MAX_FORWARDS_DEFAULT)
}

/// Checks hops and extensions. An OPTIONS whose hops are used up is for us: 200 (RFC 3261 §11.2, §16.3 item 3).
///
/// # Errors
/// The response to give instead of forwarding.
pub fn check(request: &Message, supported: &[String]) -> Result<(), Refusal> {
    if max_forwards(request) == 0 {
        return Err(match request.method() {
            Method::Options => capabilities(),
            _ => Refusal::new(483),
        });
    }
    let mut unsupported: Vec<u8> = Vec::new();
    for line in request.headers(Name::ProxyRequire) {
        for tag in line.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
            if !tag.is_empty() && !supported.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(tag)) {
                if !unsupported.is_empty() {
                    unsupported.extend_from_slice(b", ");
                }
                unsupported.extend(tag.iter().filter(|octet| !octet.is_ascii_control()));
            }
        }
    }
    if unsupported.is_empty() { Ok(()) } else { Err(Refusal::new(420).with("Unsupported", unsupported)) }
}

/// The response to an OPTIONS for the gateway itself (RFC 3261 §11.2).
#[must_use]
pub fn capabilities() -> Refusal {
    Refusal::new(200)
        .with("Accept", *b"*/*")
        .with("Allow", *b"INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK, REFER, NOTIFY, SUBSCRIBE, MESSAGE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_taken_and_none_is_taken_from_the_default() {
        for (what, line, left, onward) in [
            ("a request has hops", "Max-Forwards: 70\r\n", 70, 69),
            ("the last hop", "Max-Forwards: 1\r\n", 1, 0),
            ("no hop is left", "Max-Forwards: 0\r\n", 0, 0),
            ("a request of RFC 2543 gets 70 (§16.6 step 3)", "", 70, 70),
        ] {
            let text = format!("BYE sip:b@x SIP/2.0\r\n{line}Call-ID: c\r\n\r\n");
            let request = Message::parse(text.into_bytes()).expect("a message");
            assert_eq!((max_forwards(&request), max_forwards_onward(&request)), (left, onward), "{what}");
        }
    }
}
