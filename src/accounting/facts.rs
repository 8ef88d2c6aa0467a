//! What a record holds beside its fields: whom the call was for, who forwarded it and who was tried, how it ended, and what
//! others call it, as far as a proxy sees it. What a message has no header for costs one look-up in its index.

use std::net::SocketAddr;

use super::forwarding::Forwarded;
use super::identity::put_claims;
use super::passport::{Verifier, put_finding};
use super::session::Session;
use super::transaction::{Response, Transaction};
use crate::record::ending::code_of;
use crate::record::facts::{ATTEMPTS_MAX, Attempt, FACT_VALUES_MAX, Fact};
use crate::record::{Cause, End, Facts};
use crate::sip::message::{Elements, Message, Method, Name, NameAddr, Params, Uri, unfold, unquote};
use crate::sip::stack::Stages;
use crate::vars::Tried;

/// The facts of a record of a request and its response, those of its end left out; whether one had to be cut.
pub(super) fn of(
    transaction: &Transaction,
    response: &Response<'_>,
    session: Option<&Session>,
    verifier: Option<&Verifier>,
) -> (Facts, bool) {
    let mut facts = session.map(Session::facts).unwrap_or_default();
    let mut is_cut = false;
    match transaction.method() {
        Method::Invite if session.is_none() && !transaction.view.in_dialog => {
            is_cut = put_call(&mut facts, transaction, response)
                | put_forwarding(&mut facts, transaction)
                | put_names(&mut facts, transaction.request(), response)
                | put_claims(&mut facts, transaction.request())
                | verifier.is_some_and(|verifier| put_finding(&mut facts, transaction, verifier));
        }
        // What ends a call says why.
        Method::Bye => {
            is_cut = facts.put_address(Fact::EndedFrom, transaction.view.peer.addr)
                | put_reasons(&mut facts, transaction.request().headers(Name::Reason))
                | put_media(&mut facts, transaction.request(), response);
        }
        _ => {}
    }
    (facts, is_cut)
}

/// Adds how an attempt or a call without an answer ended; whether something had to be cut.
pub(super) fn refused(facts: &mut Facts, transaction: &Transaction, response: &Response<'_>, end: End) -> bool {
    let is_withdrawn = matches!(end.cause, Cause::Cancelled | Cause::Elsewhere);
    let withdrawn = transaction.withdrawn.as_deref().filter(|_| is_withdrawn);
    let from = withdrawn.map(|own| own.from).or(response.source.filter(|_| response.message.is_some()));
    let mut is_cut = from.is_some_and(|from| facts.put_address(Fact::EndedFrom, from));
    is_cut |= match (withdrawn, response.message) {
        (Some(own), _) => put_reasons(facts, own.reasons.iter().map(|value| &**value)),
        (None, Some(message)) => put_reasons(facts, message.headers(Name::Reason)),
        (None, None) => false,
    };
    is_cut | settled(facts, end, response.code)
}

/// Adds the cause value of an end that nobody has named; whether there was no room.
pub(super) fn settled(facts: &mut Facts, end: End, code: u16) -> bool {
    !facts.has(Fact::Q850) && facts.put_number(Fact::Q850, end.q850(code).into())
}

/// Adds Reason values (RFC 3326; several of one protocol by RFC 9366), and what the first of each protocol says.
fn put_reasons<'m>(facts: &mut Facts, lines: impl Iterator<Item = &'m [u8]>) -> bool {
    let mut is_cut = false;
    let (mut q850, mut code) = (None, None);
    for (number, value) in lines.flat_map(Elements::of).enumerate() {
        if number == FACT_VALUES_MAX {
            is_cut = true;
            break;
        }
        is_cut |= facts.put_text(Fact::Reason, &unfold(value));
        let mut params = Params::of(value);
        let protocol = params.next().map(|first| first.name).unwrap_or_default();
        let cause = params.value(b"cause").map(unquote).and_then(|cause| number_of(&cause));
        if protocol.eq_ignore_ascii_case(b"Q.850") {
            q850 = q850.or(cause.and_then(|cause| u8::try_from(cause).ok()).filter(|cause| *cause < 128));
        } else if protocol.eq_ignore_ascii_case(b"SIP") {
            code = code.or(cause.filter(|code| (100..700).contains(code)));
        }
    }
    if let Some(q850) = q850 {
        is_cut |= facts.put_number(Fact::Q850, q850.into());
        code = code.or_else(|| code_of(q850));
    }
    code.map_or(is_cut, |code| is_cut | facts.put_number(Fact::SipCause, code.into()))
}

fn number_of(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Adds whom an INVITE outside a dialog was for, and the targets that were tried.
fn put_call(facts: &mut Facts, transaction: &Transaction, response: &Response<'_>) -> bool {
    let request = transaction.request();
    let received = request.request_uri();
    let last = last_attempt(transaction, response);
    let tried = &transaction.attempts;
    let count = tried.len() + usize::from(last.is_some());
    let mut is_cut = false;
    let dialled = request.to().and_then(|to| number_in(to.uri)).or_else(|| number_in(received)).unwrap_or_default();
    if !dialled.is_empty() {
        is_cut |= facts.put_text(Fact::Dialled, dialled);
    }
    if let Some(caller) = request.from().and_then(|from| number_in(from.uri)) {
        is_cut |= facts.put_text(Fact::Caller, caller);
    }
    let first_uri = tried.first().map(|own| &*own.uri).or(last.map(|own| own.uri));
    let last_uri = last.map(|own| own.uri).or(tried.last().map(|own| &*own.uri));
    let called = number_in(first_uri.filter(|uri| !uri.is_empty()).unwrap_or(received)).unwrap_or(dialled);
    let sent = last_uri.filter(|uri| !uri.is_empty() && last_uri != first_uri).and_then(number_in).unwrap_or(called);
    if called != dialled {
        is_cut |= facts.put_text(Fact::Called, called);
    }
    if sent != called {
        is_cut |= facts.put_text(Fact::Sent, sent);
    }
    let rings = tried.iter().map(|own| own.stages).chain([response.stages]).filter_map(|own| own.rang_ms);
    if let Some(first) = rings.min() {
        is_cut |= facts.put_number(Fact::PostDialDelay, first.into());
    }
    let earlier = count.saturating_sub(ATTEMPTS_MAX);
    let noted = tried.iter().skip(earlier).map(|own| attempt_of(own, received));
    for attempt in noted.chain(last) {
        is_cut |= facts.put_attempt(&attempt);
    }
    if earlier > 0 {
        is_cut |= facts.put_number(Fact::AttemptCount, count as u64);
    }
    is_cut
}

/// Adds who forwarded the call before it came here, and who pays for it.
fn put_forwarding(facts: &mut Facts, transaction: &Transaction) -> bool {
    let request = transaction.request();
    let forwarded = Forwarded::of(request);
    let mut is_cut = forwarded.is_cut;
    for uri in &forwarded.by {
        is_cut |= facts.put_text(Fact::Forwarded, uri);
    }
    if !forwarded.reason.is_empty() {
        is_cut |= facts.put_text(Fact::ForwardReason, &forwarded.reason);
    }
    // RFC 8496 §7: a name-addr, its number the party that pays.
    let billed = request.header(Name::PChargeInfo).and_then(NameAddr::parse);
    billed.map_or(is_cut, |billed| is_cut | facts.put_text(Fact::Billed, number_in(billed.uri).unwrap_or(billed.uri)))
}

/// Adds the names by which records of others are joined to this one.
fn put_names(facts: &mut Facts, request: &Message, response: &Response<'_>) -> bool {
    let mut is_cut = false;
    let replied = response.message;
    if let Some(own) = request.header(Name::SessionId).and_then(session_id) {
        // The callee's stands first in what it sends itself.
        let other = replied.and_then(|message| message.header(Name::SessionId)).and_then(session_id);
        let parts = other.filter(|other| *other != own).map_or([own, b"", b""], |other| [own, b";remote=", other]);
        is_cut |= facts.put_text(Fact::SessionId, &parts.concat());
    }
    let vector =
        [Some(request), replied].into_iter().flatten().find_map(|message| message.header(Name::PChargingVector));
    let icid = vector.and_then(|vector| Params::of(vector).value(b"icid-value")).map(unquote);
    icid.filter(|icid| !icid.is_empty()).map_or(is_cut, |icid| is_cut | facts.put_text(Fact::Icid, &icid))
}

/// The first UUID of a Session-ID (RFC 7989 §5): 32 hexadecimal digits.
fn session_id(value: &[u8]) -> Option<&[u8]> {
    let id = value.split(|octet| *octet == b';').next()?.trim_ascii();
    (id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)).then_some(id)
}

/// Adds what both ends say of the media: the one in its BYE, the other in its response.
fn put_media(facts: &mut Facts, request: &Message, response: &Response<'_>) -> bool {
    let mut is_cut = false;
    for message in [Some(request), response.message].into_iter().flatten() {
        for name in [Name::PRtpStat, Name::XRtpStat] {
            for value in message.headers(name).filter(|value| !value.is_empty()) {
                is_cut |= facts.put_text(Fact::RtpStat, &unfold(value));
            }
        }
    }
    is_cut
}

/// The attempt that a response stands for, unless it is noted already: a target that has answered, or one that has just
/// failed.
fn last_attempt<'a>(transaction: &'a Transaction, response: &Response<'a>) -> Option<Attempt<'a>> {
    let is_success = (200..300).contains(&response.code) && response.message.is_some();
    let is_noted = |own: &Tried| own.uri == response.uri && own.stages == response.stages && own.code == response.code;
    if !is_success && (!response.is_attempt || transaction.attempts.iter().any(is_noted)) {
        return None;
    }
    let uri = if response.uri.is_empty() { transaction.request().request_uri() } else { response.uri };
    let cause = (!is_success).then(|| transaction.failure(response).cause);
    Some(attempt(uri, response.source, (response.code, cause), response.stages))
}

fn attempt_of<'a>(tried: &'a Tried, received: &'a [u8]) -> Attempt<'a> {
    let uri = if tried.uri.is_empty() { received } else { &tried.uri };
    attempt(uri, tried.hop, (tried.code, Some(tried.cause)), tried.stages)
}

fn attempt(
    uri: &[u8],
    address: Option<SocketAddr>,
    (code, cause): (u16, Option<Cause>),
    stages: Stages,
) -> Attempt<'_> {
    let Stages { tried_ms, rang_ms, ended_ms } = stages;
    let since = |ms: u32| ms.saturating_sub(tried_ms);
    Attempt { uri, address, code, cause, tried_ms, rang_ms: rang_ms.map(since), ended_ms: since(ended_ms) }
}

/// The number in a URI: its user part without parameters (RFC 3966 §5), for `tel:` all of it.
pub(super) fn number_in(uri: &[u8]) -> Option<&[u8]> {
    let user = Uri::parse(uri)?.user?;
    let end = memchr::memchr(b';', user).unwrap_or(user.len());
    Some(&user[..end]).filter(|number| !number.is_empty())
}
