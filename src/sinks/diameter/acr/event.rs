//! What a record is in Diameter words: record type, number, Session-Id, realm, Termination-Cause.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::settings::{CdrRecord, Trigger};
use crate::clock::Timestamp;
use crate::diameter::code::record_type;
use crate::names::{HOST_OCTETS_MAX, is_of_host};
use crate::record::{Cause, End, Kind, Record};

/// Octets of the Call-ID in a Session-Id.
const CALL_ID_OCTETS_MAX: usize = 128;

/// One Accounting-Request of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Event {
    /// Accounting-Record-Type (RFC 6733 §9.8.1): 1 EVENT, 2 START, 3 INTERIM, 4 STOP.
    pub(super) record_type: u32,
    /// Accounting-Record-Number (RFC 6733 §9.8.3): the place within the session, 0 for a START.
    pub(super) number: u32,
}

/// The requests a record becomes, in order.
pub(super) fn events(record: &Record, cdr: CdrRecord) -> impl Iterator<Item = Event> + use<> {
    let one = |record_type, number| [Some(Event { record_type, number }), None];
    match record.kind {
        Kind::Start => one(record_type::START, 0),
        Kind::Interim => one(record_type::INTERIM, number(record)),
        Kind::Stop => one(record_type::STOP, number(record)),
        // On and Off are for RADIUS servers; should one come here, it is an event.
        Kind::Failed | Kind::Missed | Kind::Event | Kind::On | Kind::Off => one(record_type::EVENT, 0),
        Kind::Cdr => match cdr {
            CdrRecord::Event => one(record_type::EVENT, 0),
            CdrRecord::Stop => one(record_type::STOP, 1),
            CdrRecord::StartStop => [
                Some(Event { record_type: record_type::START, number: 0 }),
                Some(Event { record_type: record_type::STOP, number: 1 }),
            ],
        },
    }
    .into_iter()
    .flatten()
}

/// Accounting-Record-Number of a record within its session (RFC 6733 §9.8.3): unique, rising, and the same however often
/// the record is rendered, for the receiver knows a repeat by it.
///
/// The record has it, but for calls that a release without a count took in: their numbers come from the milliseconds
/// since the call began, doubled: even for INTERIM, odd and greater for a STOP of the same instant. That ends at 24 days.
fn number(record: &Record) -> u32 {
    if let Some(number) = record.number {
        return number;
    }
    let times = &record.times;
    let span = match (times.setup, times.duration) {
        // The monotonic clock, where there is one.
        (Some(setup), Some(duration)) => setup.saturating_add(duration),
        _ => times.event.since(times.created),
    };
    let doubled = u32::try_from(span.as_millis()).unwrap_or(u32::MAX).min((u32::MAX - 3) / 2) * 2;
    doubled + if record.kind == Kind::Stop { 3 } else { 2 }
}

/// Which trigger a record belongs to.
pub(super) fn trigger(record: &Record) -> Trigger {
    match record.kind {
        Kind::Start | Kind::Stop | Kind::Cdr => Trigger::Session,
        Kind::Interim => Trigger::Interim,
        Kind::Failed => Trigger::Unsuccessful,
        Kind::Missed => Trigger::Missed,
        Kind::Event if record.method == b"CANCEL" => Trigger::Cancel,
        Kind::Event | Kind::On | Kind::Off => Trigger::Unrelated,
    }
}

/// Event-Timestamp: when it happened, not when it is sent.
pub(super) fn instant(record: &Record, event: Event) -> Timestamp {
    let times = &record.times;
    match (record.kind, event.record_type) {
        (Kind::Cdr, record_type::START) => times.answered.unwrap_or(times.created),
        (Kind::Stop | Kind::Cdr, _) => times.ended.unwrap_or(times.event),
        _ => times.event,
    }
}

/// Session-Id (RFC 6733 §8.8): identity, two numbers, and the Call-ID for people.
///
/// The numbers are the session's own hash, the same in its Start, Interim and Stop. A record that belongs to no session
/// has a Session-Id of its own, or its number 0 would meet that of the Start.
pub(super) fn session_id(record: &Record, event: Event, identity: &str, out: &mut Vec<u8>) {
    let is_session = event.record_type != record_type::EVENT || record.kind == Kind::Cdr;
    let name = if is_session { session_number(record) } else { own_number(record) };
    out.extend_from_slice(identity.as_bytes());
    for half in [name >> 32, name & 0xFFFF_FFFF] {
        push_part(half as u32, out);
    }
    out.push(b';');
    push_escaped(&record.call_id, out);
}

/// Acct-Multi-Session-Id: the same in all sessions and attempts of a call.
pub(super) fn multi_session_id(record: &Record, identity: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(identity.as_bytes());
    out.push(b';');
    out.extend_from_slice(record.multi_session.as_bytes());
}

/// The first 64 bits of the session's name.
fn session_number(record: &Record) -> u64 {
    let digits = record.session.as_bytes().first_chunk::<16>().and_then(hexadecimal);
    digits.unwrap_or_else(|| hash(&[record.session.as_bytes(), &record.call_id]))
}

/// The number that hexadecimal digits are.
fn hexadecimal(digits: &[u8; 16]) -> Option<u64> {
    // Without an early end it is done in blocks: digits and letters of either case are told by their bits.
    let is_digit = |octet: u8| octet.is_ascii_digit() | matches!(octet | 0x20, b'a'..=b'f');
    let all = digits.iter().fold(true, |all, octet| all & is_digit(*octet));
    let value = |octet: u8| u64::from((octet & 15) + 9 * (octet >> 6));
    all.then(|| digits.iter().fold(0, |number, octet| number << 4 | value(*octet)))
}

/// A number that the record has alone.
fn own_number(record: &Record) -> u64 {
    hash(&[&record.id.to_bytes()])
}

/// A hash that is the same in every process and release.
fn hash(texts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6469_616d, 0x6574_6572);
    for text in texts {
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text);
    }
    hasher.finish()
}

/// `;` and a number in decimal.
fn push_part(number: u32, out: &mut Vec<u8>) {
    let mut text = [b';'; 11];
    let mut at = text.len();
    let mut rest = number;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at - 1..]);
}

/// The Call-ID with `;`, `%`, blanks, controls and non-ASCII as `%XX`, cut.
fn push_escaped(call_id: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |octet: u8| octet.is_ascii_graphic() & (octet != b';') & (octet != b'%');
    // The usual one is taken in one piece.
    if call_id.len() <= CALL_ID_OCTETS_MAX && call_id.iter().fold(true, |all, octet| all & is_plain(*octet)) {
        return out.extend_from_slice(call_id);
    }
    let end = out.len() + CALL_ID_OCTETS_MAX;
    for &octet in call_id {
        let is_plain = is_plain(octet);
        if out.len() + if is_plain { 1 } else { 3 } > end {
            return;
        }
        match is_plain {
            true => out.push(octet),
            false => out.extend_from_slice(&[b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]),
        }
    }
}

/// The realm of a user: what stands behind the `@`, up to a port, parameter or bracket.
pub(super) fn realm_of(user: &[u8]) -> Option<&[u8]> {
    let at = memchr::memrchr(b'@', user)?;
    let rest = &user[at + 1..];
    let end = rest.iter().position(|octet| b":;?> ".contains(octet)).unwrap_or(rest.len());
    let realm = &rest[..end];
    (!realm.is_empty() && realm.len() <= HOST_OCTETS_MAX && is_of_host(realm)).then_some(realm)
}

/// Termination-Cause (RFC 6733 §8.15; from 11 on the RADIUS causes, each plus 10) of how a session ended.
#[must_use]
pub fn termination_cause(end: End, code: u16) -> u32 {
    end.words(code).termination
}

/// Cause-Code (TS 32.299 §7.2.35): 0 and below for success.
pub(super) fn cause_code(record: &Record, event: Event, expires: Option<&[u8]>) -> Option<i32> {
    const UNSPECIFIED: i32 = 1;
    let is_over = expires == Some(b"0");
    let of_code = match (record.method.as_slice(), record.code) {
        (b"CANCEL", _) => 487,
        (b"SUBSCRIBE", 200..=299) if is_over => -2,
        (b"REGISTER", 200..=299) if is_over => -3,
        (_, 200) => -1,
        (_, code @ 201..=399) => -i32::from(code),
        (_, code @ 400..=699) => i32::from(code),
        _ => UNSPECIFIED,
    };
    let of_end = |end: End| match end.cause {
        cause if cause.parent() == Cause::Timeout && record.times.acknowledged.is_some() => UNSPECIFIED,
        _ => end.words(record.code).cause_code,
    };
    match (event.record_type, record.kind) {
        (record_type::STOP, _) | (_, Kind::Cdr) if event.record_type != record_type::START => {
            Some(record.end.map_or(UNSPECIFIED, of_end))
        }
        (record_type::EVENT, _) => Some(of_code),
        _ => None,
    }
}
