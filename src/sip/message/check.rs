//! Whether a message may be forwarded: the syntax rules of RFC 3261 §16.3 that matter to a proxy.
//!
//! What the proxy does not act on is not judged: a strange Contact, Date or unknown header passes as it came.

use super::address::NameAddr;
use super::grammar::{Elements, is_token, number};
use super::index::content_length;
use super::name::Name;
use super::uri::{Scheme, Uri};
use super::{Message, UNREAD};

/// Why a message is refused. A request is answered with it; a response is dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code} {reason}")]
pub struct Reject {
    /// Status code of the response.
    pub code: u16,
    /// Reason phrase of the response: what is wrong.
    pub reason: &'static str,
}

impl Reject {
    pub(super) const fn bad(reason: &'static str) -> Self {
        Self { code: 400, reason }
    }
}

/// The octets are no SIP message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What is wrong and with which code a request is answered.
    pub reason: Reject,
    /// What could be read of a request, enough to answer it when it has a Via; `None` for everything else, which is
    /// dropped.
    pub partial: Option<Box<Message>>,
}

/// Headers that may stand once and that the proxy reads.
const SINGLE: [(Name, &str); 6] = [
    (Name::From, "More than one From header"),
    (Name::To, "More than one To header"),
    (Name::CallId, "More than one Call-ID header"),
    (Name::CSeq, "More than one CSeq header"),
    (Name::MaxForwards, "More than one Max-Forwards header"),
    (Name::ContentLength, "More than one Content-Length header"),
];

/// Headers that every message has (RFC 3261 §8.1.1).
const NEEDED: [(Name, &str); 5] = [
    (Name::Via, "Missing Via header"),
    (Name::From, "Missing From header"),
    (Name::To, "Missing To header"),
    (Name::CallId, "Missing Call-ID header"),
    (Name::CSeq, "Missing CSeq header"),
];

const NEEDED_BITS: u64 = bits(&NEEDED);
const SINGLE_BITS: u64 = bits(&SINGLE);

const fn bits(rows: &[(Name, &str)]) -> u64 {
    let (mut set, mut at) = (0, 0);
    while at < rows.len() {
        set |= rows[at].0.bit();
        at += 1;
    }
    set
}

pub(super) fn check(message: &Message) -> Result<(), Reject> {
    check_start(message)?;
    if message.present & NEEDED_BITS != NEEDED_BITS {
        return Err(first_of(&NEEDED, !message.present));
    }
    if message.repeated & SINGLE_BITS != 0 {
        return Err(first_of(&SINGLE, message.repeated));
    }
    if message.call_id().is_empty() {
        return Err(Reject::bad("Empty Call-ID header"));
    }
    check_cseq(message)?;
    if message.top_via().is_none() {
        return Err(Reject::bad("Bad Via header"));
    }
    for (place, reason) in message.tags.iter().zip(["Bad From header", "Bad To header"]) {
        place.ok_or(Reject::bad(reason))?;
    }
    if let Some(value) = message.header(Name::MaxForwards) {
        number(value).filter(|hops| *hops <= 255).ok_or(Reject::bad("Bad Max-Forwards header"))?;
    }
    if let Some(value) = message.header(Name::Route) {
        let first = Elements::of(value).next().and_then(NameAddr::parse);
        first.and_then(|route| Uri::parse(route.uri)).ok_or(Reject::bad("Bad Route header"))?;
    }
    Ok(())
}

fn check_start(message: &Message) -> Result<(), Reject> {
    if !message.version().eq_ignore_ascii_case(b"SIP/2.0") {
        let known_form = message.version().get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        return Err(if known_form {
            Reject { code: 505, reason: "Version Not Supported" }
        } else {
            Reject::bad("Bad request line")
        });
    }
    if !message.is_request() {
        return Ok(());
    }
    let method = message.method_text();
    if method.is_empty() || !method.iter().all(|octet| is_token(*octet)) {
        return Err(Reject::bad("Bad method"));
    }
    let uri = Uri::parse(message.request_uri()).ok_or(Reject::bad("Bad Request-URI"))?;
    if uri.scheme == Scheme::Other {
        return Err(Reject { code: 416, reason: "Unsupported URI Scheme" });
    }
    if !uri.headers.is_empty() {
        return Err(Reject::bad("Headers in the Request-URI"));
    }
    Ok(())
}

fn check_cseq(message: &Message) -> Result<(), Reject> {
    if message.cseq.0 == UNREAD {
        return Err(Reject::bad("Bad CSeq header"));
    }
    if message.is_request() && message.cseq().1 != message.method_text() {
        return Err(Reject::bad("CSeq method is not the request's"));
    }
    Ok(())
}

fn first_of(rows: &[(Name, &'static str)], set: u64) -> Reject {
    let row = rows.iter().find(|(name, _)| set & name.bit() != 0);
    Reject::bad(row.map_or("Bad Request", |(_, reason)| *reason))
}

/// How many octets of `rest`, which follows the head, are the body (RFC 3261 §18.3).
pub(super) fn body_len(message: &Message, rest: usize) -> Result<usize, Reject> {
    let Some(value) = message.header(Name::ContentLength) else { return Ok(rest) };
    if message.repeated & Name::ContentLength.bit() != 0 {
        return Err(Reject::bad("More than one Content-Length header"));
    }
    match content_length(value) {
        Some(len) if len <= rest => Ok(len),
        Some(_) => Err(Reject::bad("Content-Length beyond the message")),
        None => Err(Reject::bad("Bad Content-Length header")),
    }
}
