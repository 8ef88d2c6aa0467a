//! The bytes of a call in the queue.

use std::num::NonZeroU32;
use std::time::Duration;

use super::alarms::Alarms;
use super::doubt::Doubt;
use super::ends::Ends;
use super::session::{ALL_TEXTS, RestoreError, Session, TEXTS, Text, Texts};
use super::stray::Stray;
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::SinkMask;
use crate::policy::Marks;
use crate::record::bytes::{Reader, Unreadable, put_number, put_text};
use crate::record::{Cause, End, Facts, Party, codec};

/// First octet of every stored call; what was stored under a lower one stays readable.
pub(super) const VERSION: u8 = 2;
/// The version of releases that had one octet of flags.
const OLD_VERSION: u8 = 1;
const LIVE: u8 = 1;
const ENDED: u8 = 2;
const STRAY: u8 = 3;

const ANSWERED: u8 = 1;
const ACKNOWLEDGED: u8 = 1 << 1;
const CUT: u8 = 1 << 2;
/// The number of the route's own fields follows the session timer.
const OWN_FIELDS: u8 = 1 << 3;
/// The last sign of life follows the texts.
const ALIVE: u8 = 1 << 4;
/// Where its ends are follows that.
const ENDS: u8 = 1 << 5;
/// The number of the next record follows the route's own fields.
const NUMBERED: u8 = 1 << 6;
/// The interval of interim records that a server asked for follows that.
const INTERIM_STEP: u8 = 1 << 7;

// The second octet of flags.
/// The CSeq numbers that the ends have not used follow their texts.
const CSEQS: u8 = 1;
/// A doubt follows all that.
const DOUBT: u8 = 1 << 1;
/// Facts come last.
const FACTS: u8 = 1 << 2;

/// What the queue keeps of a call.
#[derive(Debug)]
pub(super) enum Stored {
    Live(Box<Session>),
    /// It has ended; to be remembered until then.
    Ended(Timestamp),
    /// It has ended, and its end waits to be recorded.
    Stray(Box<Stray>),
}

/// The bytes of a call that has ended.
pub(super) fn encode_ended(until: Timestamp) -> Vec<u8> {
    let mut out = vec![VERSION, ENDED];
    out.extend_from_slice(&until.0.to_le_bytes());
    out
}

/// The bytes of an end that waits to be recorded.
pub(super) fn encode_stray(stray: &Stray) -> Vec<u8> {
    let mut out = vec![VERSION, STRAY, party_number(stray.end.by)];
    out.extend_from_slice(&stray.at.0.to_le_bytes());
    out.extend_from_slice(&stray.accounting.0.to_le_bytes());
    out.extend_from_slice(&codec::encode(&stray.record));
    out
}

fn read_stray(reader: &mut Reader<'_>) -> Result<Stray, Unreadable> {
    let by = read_party(reader)?;
    let at = read_instant(reader)?;
    let accounting = SinkMask(u64::from_le_bytes(reader.array("mask")?));
    let unreadable = reader.unreadable("record");
    let record = codec::decode(reader.take(reader.left(), "record")?).map_err(|_| unreadable)?;
    Ok(Stray { record, end: End { by, cause: Cause::Bye }, at, accounting })
}

/// Whether these are the bytes of a call that has ended, whether that is recorded yet or not.
pub(super) fn is_ended(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(&(ENDED | STRAY)))
}

/// Whether these are the bytes of a call whose end is recorded.
pub(super) fn is_recorded_end(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&ENDED)
}

/// The bytes of a call in progress.
pub(super) fn encode(session: &Session) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + session.texts.bytes.len());
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(session.answered.is_some(), ANSWERED)
        | flag(session.acknowledged.is_some(), ACKNOWLEDGED)
        | flag(session.is_cut, CUT)
        | flag(session.own_fields > 0, OWN_FIELDS)
        | flag(session.alive.wall > session.begun().wall, ALIVE)
        | flag(session.ends.is_some(), ENDS)
        | flag(session.next_number.is_some(), NUMBERED)
        | flag(session.alarms.interim_step.is_some(), INTERIM_STEP);
    let facts = session.text(Text::Facts);
    let more =
        flag(session.ends.is_some(), CSEQS) | flag(session.doubt.is_some(), DOUBT) | flag(!facts.is_empty(), FACTS);
    out.extend_from_slice(&[VERSION, LIVE, flags, more]);
    for mask in [session.marks.accounting, session.marks.missed, session.marks.failed] {
        out.extend_from_slice(&mask.0.to_le_bytes());
    }
    out.extend_from_slice(&session.boot.to_le_bytes());
    for now in [Some(session.created), session.answered].into_iter().flatten() {
        out.extend_from_slice(&now.mono.0.to_le_bytes());
        out.extend_from_slice(&now.wall.0.to_le_bytes());
    }
    if let Some(acknowledged) = session.acknowledged {
        out.extend_from_slice(&acknowledged.0.to_le_bytes());
    }
    out.extend_from_slice(&session.name.to_le_bytes());
    out.extend_from_slice(&session.multi.to_le_bytes());
    put_number(session.cseq.into(), &mut out);
    put_number(session.code.into(), &mut out);
    put_number(session.timer_s.into(), &mut out);
    if session.own_fields > 0 {
        put_number(session.own_fields.into(), &mut out);
    }
    if let Some(number) = session.next_number {
        put_number(number.get().into(), &mut out);
    }
    if let Some(step) = session.alarms.interim_step {
        put_number(step.as_secs(), &mut out);
    }
    for text in &ALL_TEXTS[..TEXTS_STORED] {
        put_text(session.text(*text), &mut out);
    }
    if session.alive.wall > session.begun().wall {
        out.extend_from_slice(&session.alive.wall.0.to_le_bytes());
    }
    if let Some((ends, listener)) = session.ends.as_ref().map(Ends::bytes) {
        put_text(ends, &mut out);
        put_number(listener.into(), &mut out);
    }
    if let Some(ends) = session.ends.as_ref() {
        ends.next_cseq().into_iter().for_each(|number| put_number(number.into(), &mut out));
    }
    if let Some(doubt) = session.doubt.as_deref() {
        out.extend_from_slice(&doubt.at.mono.0.to_le_bytes());
        out.extend_from_slice(&doubt.at.wall.0.to_le_bytes());
        out.extend_from_slice(&[party_number(doubt.end.by), cause_number(doubt.end.cause), party_number(doubt.ask)]);
        put_number(doubt.code.into(), &mut out);
    }
    if !facts.is_empty() {
        put_text(facts, &mut out);
    }
    out
}

/// Texts that stand together; facts, which came later, stand behind all the rest.
const TEXTS_STORED: usize = TEXTS - 1;

const fn party_number(party: Party) -> u8 {
    match party {
        Party::Caller => 0,
        Party::Callee => 1,
        Party::Gateway => 2,
    }
}

/// A doubt is about a BYE, or about whether the ends know the call at all.
const fn cause_number(cause: Cause) -> u8 {
    match cause {
        Cause::FailedBye => 0,
        _ => 1,
    }
}

/// Reads what the two functions above wrote. Never panics, whatever the bytes are.
pub(super) fn decode(bytes: &[u8]) -> Result<Stored, RestoreError> {
    let mut reader = Reader::new(bytes);
    let version = reader.octet("version")?;
    match version {
        OLD_VERSION | VERSION => {}
        0 => return Err(Unreadable { what: "version", at: 0 }.into()),
        found => return Err(RestoreError::Newer { found }),
    }
    let stored = match reader.octet("state")? {
        LIVE => Stored::Live(Box::new(read(version, &mut reader)?)),
        ENDED => Stored::Ended(Timestamp(i64::from_le_bytes(reader.array("instant")?))),
        STRAY => Stored::Stray(Box::new(read_stray(&mut reader)?)),
        _ => return Err(Unreadable { what: "state", at: 1 }.into()),
    };
    if reader.left() > 0 {
        return Err(reader.unreadable("end of the call").into());
    }
    Ok(stored)
}

fn read(version: u8, reader: &mut Reader<'_>) -> Result<Session, Unreadable> {
    let flags = reader.octet("flags")?;
    let unreadable = reader.unreadable("flags");
    let more = if version == OLD_VERSION { 0 } else { reader.octet("flags")? };
    if more & !(CSEQS | DOUBT | FACTS) != 0 {
        return Err(unreadable);
    }
    let mask = |reader: &mut Reader<'_>| reader.array("mask").map(|octets| SinkMask(u64::from_le_bytes(octets)));
    let marks = Marks { accounting: mask(reader)?, missed: mask(reader)?, failed: mask(reader)? };
    let boot = u64::from_le_bytes(reader.array("boot")?);
    let created = read_now(reader)?;
    let answered = if flags & ANSWERED != 0 { Some(read_now(reader)?) } else { None };
    let acknowledged = if flags & ACKNOWLEDGED != 0 { Some(read_instant(reader)?) } else { None };
    let name = u128::from_le_bytes(reader.array("name")?);
    let multi = u128::from_le_bytes(reader.array("name")?);
    let cseq = reader.number("CSeq")?;
    let code = reader.number("code")?;
    let timer_s = reader.number("session timer")?;
    let own_fields = if flags & OWN_FIELDS != 0 { reader.number("own fields")? } else { 0 };
    let next_number = if flags & NUMBERED != 0 {
        let zero = reader.unreadable("number");
        Some(NonZeroU32::new(reader.number("number")?).ok_or(zero)?)
    } else {
        None
    };
    let interim_step = if flags & INTERIM_STEP != 0 { Some(reader.number("interim interval")?) } else { None };
    let mut texts: [&[u8]; TEXTS] = [b""; TEXTS];
    for text in &mut texts[..TEXTS_STORED] {
        *text = reader.text("text")?;
    }
    let begun = answered.unwrap_or(created);
    // Of the instants the wall clock's is enough: its sign of life is made one of this boot when it is taken up.
    let alive = if flags & ALIVE != 0 { Now { wall: read_instant(reader)?, ..begun } } else { begun };
    let ends = match (flags & ENDS != 0, more & CSEQS != 0) {
        (true, has_cseqs) => Some(read_ends(reader, has_cseqs, cseq, alive.wall)?),
        (false, true) => return Err(reader.unreadable("ends")),
        (false, false) => None,
    };
    let doubt = if more & DOUBT != 0 { Some(Box::new(read_doubt(reader)?)) } else { None };
    if more & FACTS != 0 {
        texts[Text::Facts as usize] = reader.text("facts")?;
        Facts::from_bytes(texts[Text::Facts as usize])?;
    }
    Ok(Session {
        texts: Texts::pack(texts),
        name,
        multi,
        marks,
        boot,
        created,
        answered,
        acknowledged,
        cseq,
        code,
        is_cut: flags & CUT != 0,
        timer_s,
        own_fields,
        next_number,
        alive,
        ends,
        doubt,
        ending: None,
        unacknowledged: None,
        alarms: Alarms { interim_step: interim_step.map(Duration::from_secs), ..Alarms::default() },
        due: None,
    })
}

/// Both ends; those of the last release have no CSeq numbers, and then the INVITE's `cseq` is the last known.
fn read_ends(reader: &mut Reader<'_>, has_cseqs: bool, cseq: u32, alive: Timestamp) -> Result<Ends, Unreadable> {
    let texts = reader.text("ends")?;
    let listener = reader.number("listener")?;
    let next_cseq = match has_cseqs {
        true => [reader.number("CSeq")?, reader.number("CSeq")?],
        false => [u32::saturating_add(cseq, 1), 0],
    };
    Ends::restored(texts, listener, next_cseq, alive).ok_or(reader.unreadable("ends"))
}

fn read_doubt(reader: &mut Reader<'_>) -> Result<Doubt, Unreadable> {
    let at = read_now(reader)?;
    let by = read_party(reader)?;
    let unreadable = reader.unreadable("doubt");
    let cause = match reader.octet("doubt")? {
        0 => Cause::FailedBye,
        1 => Cause::Unreachable,
        _ => return Err(unreadable),
    };
    let end = End { by, cause };
    Ok(Doubt { at, end, ask: read_party(reader)?, code: reader.number("code")?, bye: None })
}

fn read_party(reader: &mut Reader<'_>) -> Result<Party, Unreadable> {
    let unreadable = reader.unreadable("party");
    match reader.octet("party")? {
        0 => Ok(Party::Caller),
        1 => Ok(Party::Callee),
        2 => Ok(Party::Gateway),
        _ => Err(unreadable),
    }
}

fn read_instant(reader: &mut Reader<'_>) -> Result<Timestamp, Unreadable> {
    reader.array("instant").map(|octets| Timestamp(i64::from_le_bytes(octets)))
}

fn read_now(reader: &mut Reader<'_>) -> Result<Now, Unreadable> {
    let mono = Instant(u64::from_le_bytes(reader.array("instant")?));
    Ok(Now { mono, wall: read_instant(reader)? })
}
