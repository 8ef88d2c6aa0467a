//! The octets of rows in a block.
//!
//! A row is a tag and what the tag asks for. Numbers that rise from row to row, such as places and times, are written as
//! the difference to the row before; texts that come back (servers, reasons) are written once in a block and named by
//! their number from then on. A sink is a number within its block, whose head has the names: so each block can be read
//! without any other.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::row::{Ended, Fate, Made, RANDOM_BITS, Row, SESSION_OCTETS, made_at};
use super::running::{BlockSink, Running};
use crate::clock::Timestamp;
use crate::ids::{RecordId, SINKS_MAX};
use crate::record::bytes::{Reader, Unreadable, put_number, put_text};
use crate::record::{End, Kind};

const MADE: u8 = 1;
const AGAIN: u8 = 2;
const GAP: u8 = 3;
const BEGAN: u8 = 4;
const COUNTED: u8 = 5;
const GONE: u8 = 6;
/// With the number of the fate added.
const ENDED: u8 = 0x10;
/// Beside [`ENDED`]: code and reason follow.
const REASONED: u8 = 0x20;

const HAS_END: u8 = 1;
const HAS_DURATION: u8 = 1 << 1;
const IS_BACK: u8 = 1 << 2;
/// The session is 16 octets, written as hexadecimal digits elsewhere.
const SHORT_SESSION: u8 = 1 << 3;
const HAS_SESSION: u8 = 1 << 4;
const HAS_CODE: u8 = 1 << 5;
const HAS_LEGS: u8 = 1 << 6;

/// Octets of the random part of a record id.
const RANDOM_OCTETS: usize = 10;
/// Most octets of a text that is written once in a block.
pub const TEXT_OCTETS_MAX: usize = 255;

/// What rows are written as differences to.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    made_seq: u64,
    id_ms: i64,
    ended_seq: u64,
    at_ms: i64,
}

/// Rows of one block, as they are gathered.
#[derive(Debug, Default)]
pub struct Rows {
    out: Vec<u8>,
    count: u32,
    last: Last,
    texts: HashMap<Box<[u8]>, u32, FixedState>,
    sinks: Vec<(Arc<str>, u64)>,
}

impl Rows {
    /// The number of a sink in this block; `running` knows how many of its records the blocks before have.
    ///
    /// # Panics
    /// When a block is to name more sinks than there are numbers: the writer seals it before.
    pub fn sink(&mut self, name: &Arc<str>, running: &Running) -> u8 {
        let place = self.sinks.iter().position(|(own, _)| Arc::ptr_eq(own, name) || own == name);
        let place = place.unwrap_or_else(|| {
            self.sinks.push((Arc::clone(name), running.of(name)));
            self.sinks.len() - 1
        });
        u8::try_from(place)
            .ok()
            .filter(|place| usize::from(*place) < SINKS_MAX)
            .expect("sealed when all numbers are taken")
    }

    /// Whether further sinks have numbers.
    #[must_use]
    pub fn has_numbers_for(&self, sinks: usize) -> bool {
        self.sinks.len() + sinks <= SINKS_MAX
    }

    /// The name of a sink that has a number.
    #[must_use]
    pub fn name(&self, sink: usize) -> Option<&Arc<str>> {
        self.sinks.get(sink).map(|(name, _)| name)
    }

    /// Octets so far.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.out.len()
    }

    /// Rows so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The head, which names the sinks, and the rows behind it; nothing is left.
    pub fn take(&mut self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.out.len() + 64);
        put_number(self.sinks.len() as u64, &mut whole);
        for (name, before) in self.sinks.drain(..) {
            put_text(name.as_bytes(), &mut whole);
            put_number(before, &mut whole);
        }
        whole.append(&mut self.out);
        self.texts.clear();
        (self.count, self.last) = (0, Last::default());
        whole
    }

    /// Appends a row.
    pub fn put(&mut self, row: &Row<'_>) {
        self.count += 1;
        match row {
            Row::Made(made) => self.put_made(made),
            Row::Ended(ended) => self.put_ended(ended),
            Row::Again { seq, was, sinks, at } => {
                self.out.push(AGAIN);
                [*seq, *was, *sinks].into_iter().for_each(|number| put_number(number, &mut self.out));
                self.put_at(*at);
            }
            Row::Gone { from, to, at } => {
                self.out.push(GONE);
                [*from, *to].into_iter().for_each(|number| put_number(number, &mut self.out));
                self.put_at(*at);
            }
            Row::Gap { from, to, records, fates, reason } => {
                self.out.push(GAP);
                self.put_at(*from);
                self.put_at(*to);
                [*records, *fates].into_iter().for_each(|number| put_number(number, &mut self.out));
                self.put_known(reason);
            }
            Row::Began { at, is_clean, version } => {
                self.out.push(BEGAN);
                self.put_at(*at);
                self.out.push(u8::from(*is_clean));
                self.put_known(version);
            }
            Row::Counted { at, what, count } => {
                self.out.push(COUNTED);
                self.put_at(*at);
                self.put_known(what);
                put_number(*count, &mut self.out);
            }
        }
    }

    fn put_made(&mut self, made: &Made<'_>) {
        let short = short_session(made.session);
        let mut flags = 0;
        for (is_set, flag) in [
            (made.end.is_some(), HAS_END),
            (made.duration_ms.is_some(), HAS_DURATION),
            (made.is_back, IS_BACK),
            (short.is_some(), SHORT_SESSION),
            (short.is_none() && !made.session.is_empty(), HAS_SESSION),
            (made.code != 0, HAS_CODE),
            (made.legs != 0, HAS_LEGS),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let out = &mut self.out;
        out.extend_from_slice(&[MADE, flags, made.kind as u8]);
        put_signed(made.seq.wrapping_sub(self.last.made_seq.wrapping_add(1)).cast_signed(), out);
        let id_ms = made_at(made.id).0 / 1000;
        put_signed(id_ms.wrapping_sub(self.last.id_ms), out);
        (self.last.made_seq, self.last.id_ms) = (made.seq, id_ms);
        out.extend_from_slice(&made.id.to_bytes()[16 - RANDOM_OCTETS..]);
        put_signed(millis(made.event).wrapping_sub(id_ms), out);
        if made.code != 0 {
            put_number(made.code.into(), out);
        }
        if let Some(end) = made.end {
            out.extend_from_slice(&end.to_octets());
        }
        if let Some(millis) = made.duration_ms {
            put_number(millis, out);
        }
        if made.legs != 0 {
            put_number(made.legs, out);
        }
        put_number(made.sinks, out);
        put_text(made.call_id, out);
        match short {
            Some(octets) => out.extend_from_slice(&octets),
            None if !made.session.is_empty() => put_text(made.session, out),
            None => {}
        }
        put_text(made.caller, out);
        put_text(made.callee, out);
    }

    fn put_ended(&mut self, ended: &Ended<'_>) {
        let is_reasoned = !ended.reason.is_empty() || ended.code != 0;
        self.out.push(ENDED | if is_reasoned { REASONED } else { 0 } | ended.fate as u8);
        self.out.push(ended.sink);
        put_signed(ended.seq.wrapping_sub(self.last.ended_seq).cast_signed(), &mut self.out);
        self.last.ended_seq = ended.seq;
        self.put_at(ended.at);
        put_number(ended.attempts.into(), &mut self.out);
        self.put_known(ended.who);
        if is_reasoned {
            put_number(ended.code.into(), &mut self.out);
            self.put_known(ended.reason);
        }
    }

    fn put_at(&mut self, at: Timestamp) {
        put_signed(millis(at).wrapping_sub(self.last.at_ms), &mut self.out);
        self.last.at_ms = millis(at);
    }

    /// A text that may come back in this block.
    fn put_known(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_OCTETS_MAX)];
        if text.is_empty() {
            return self.out.push(0);
        }
        if let Some(number) = self.texts.get(text) {
            return put_number(u64::from(*number) + 1, &mut self.out);
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.insert(text.into(), number);
        put_number(u64::from(number) + 1, &mut self.out);
        put_text(text, &mut self.out);
    }
}

/// The rows of a block, as [`Rows::take`] gave them: its sinks, and what reads the rows.
///
/// # Errors
/// The octets mean something else.
pub fn read(octets: &[u8]) -> Result<(Vec<BlockSink<'_>>, RowReader<'_>), Unreadable> {
    let mut reader = Reader::new(octets);
    let sinks = read_sinks(&mut reader)?;
    Ok((sinks, RowReader { reader, last: Last::default(), texts: Vec::new() }))
}

/// Reads the sinks that the head of a block names.
fn read_sinks<'a>(reader: &mut Reader<'a>) -> Result<Vec<BlockSink<'a>>, Unreadable> {
    let start = reader.unreadable("number of sinks");
    let count: usize = reader.number("number of sinks")?;
    if count > SINKS_MAX {
        return Err(start);
    }
    (0..count)
        .map(|_| Ok(BlockSink { name: reader.string("sink")?, before: reader.number("running number")? }))
        .collect()
}

/// Reads the rows of a block.
#[derive(Debug)]
pub struct RowReader<'a> {
    reader: Reader<'a>,
    last: Last,
    texts: Vec<&'a [u8]>,
}

impl<'a> RowReader<'a> {
    /// The next row; `None` behind the last one.
    ///
    /// # Errors
    /// The octets mean something else. There is no row behind that.
    pub fn next_row(&mut self) -> Result<Option<Row<'a>>, Unreadable> {
        if self.reader.left() == 0 { Ok(None) } else { self.row().map(Some) }
    }

    fn row(&mut self) -> Result<Row<'a>, Unreadable> {
        let start = self.reader.unreadable("tag of a row");
        match self.reader.octet("tag of a row")? {
            MADE => self.made().map(Row::Made),
            AGAIN => Ok(Row::Again {
                seq: self.reader.number("place")?,
                was: self.reader.number("place")?,
                sinks: self.reader.number("sinks")?,
                at: self.at()?,
            }),
            GONE => {
                Ok(Row::Gone { from: self.reader.number("place")?, to: self.reader.number("place")?, at: self.at()? })
            }
            GAP => Ok(Row::Gap {
                from: self.at()?,
                to: self.at()?,
                records: self.reader.number("records")?,
                fates: self.reader.number("fates")?,
                reason: self.known()?,
            }),
            BEGAN => Ok(Row::Began {
                at: self.at()?,
                is_clean: self.reader.octet("how the process before ended")? != 0,
                version: self.known()?,
            }),
            COUNTED => Ok(Row::Counted { at: self.at()?, what: self.known()?, count: self.reader.number("count")? }),
            tag if tag & !REASONED & 0xf0 == ENDED => self.ended(tag, start).map(Row::Ended),
            _ => Err(start),
        }
    }

    fn made(&mut self) -> Result<Made<'a>, Unreadable> {
        let reader = &mut self.reader;
        let flags = reader.octet("flags")?;
        let has = |flag: u8| flags & flag != 0;
        let start = reader.unreadable("kind");
        let kind = *Kind::ALL.get(usize::from(reader.octet("kind")?)).ok_or(start)?;
        let seq = self.last.made_seq.wrapping_add(1).wrapping_add(signed(reader)?.cast_unsigned());
        let id_ms = self.last.id_ms.wrapping_add(signed(reader)?);
        (self.last.made_seq, self.last.id_ms) = (seq, id_ms);
        let mut id = [0; 16];
        id[16 - RANDOM_OCTETS..].copy_from_slice(reader.take(RANDOM_OCTETS, "record id")?);
        let id = RecordId(u128::from_be_bytes(id) | u128::from(id_ms.cast_unsigned()) << RANDOM_BITS);
        let event = Timestamp(id_ms.wrapping_add(signed(reader)?).saturating_mul(1000));
        let code = if has(HAS_CODE) { reader.number("code")? } else { 0 };
        let end = if has(HAS_END) {
            let start = reader.unreadable("end");
            Some(End::from_octets(reader.array("end")?).ok_or(start)?)
        } else {
            None
        };
        let duration_ms = if has(HAS_DURATION) { Some(reader.number("duration")?) } else { None };
        let legs = if has(HAS_LEGS) { reader.number("legs")? } else { 0 };
        let sinks = reader.number("sinks")?;
        let call_id = reader.text("Call-ID")?;
        let session = match flags & (SHORT_SESSION | HAS_SESSION) {
            0 => &[],
            SHORT_SESSION => reader.take(SESSION_OCTETS, "session")?,
            _ => reader.text("session")?,
        };
        let (caller, callee) = (reader.text("caller")?, reader.text("callee")?);
        let is_back = has(IS_BACK);
        Ok(Made {
            seq,
            id,
            event,
            kind,
            code,
            end,
            duration_ms,
            legs,
            sinks,
            is_back,
            call_id,
            session,
            caller,
            callee,
        })
    }

    fn ended(&mut self, tag: u8, start: Unreadable) -> Result<Ended<'a>, Unreadable> {
        let fate = *Fate::ALL.get(usize::from(tag & 0x0f)).ok_or(start)?;
        let sink = self.reader.octet("sink")?;
        let seq = self.last.ended_seq.wrapping_add(signed(&mut self.reader)?.cast_unsigned());
        self.last.ended_seq = seq;
        let at = self.at()?;
        let attempts = self.reader.number("attempts")?;
        let who = self.known()?;
        let (code, reason): (_, &[u8]) =
            if tag & REASONED != 0 { (self.reader.number("code")?, self.known()?) } else { (0, &[]) };
        Ok(Ended { seq, sink, fate, at, attempts, who, reason, code })
    }

    fn at(&mut self) -> Result<Timestamp, Unreadable> {
        self.last.at_ms = self.last.at_ms.wrapping_add(signed(&mut self.reader)?);
        Ok(Timestamp(self.last.at_ms.saturating_mul(1000)))
    }

    fn known(&mut self) -> Result<&'a [u8], Unreadable> {
        let start = self.reader.unreadable("text");
        let Some(number) = self.reader.number::<usize>("text")?.checked_sub(1) else { return Ok(&[]) };
        if number == self.texts.len() {
            self.texts.push(self.reader.text("text")?);
        }
        self.texts.get(number).copied().ok_or(start)
    }
}

/// Milliseconds since 1970, rounded down.
const fn millis(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

/// A number that may be negative: small ones of either sign are short.
fn put_signed(number: i64, out: &mut Vec<u8>) {
    put_number((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(), out);
}

fn signed(reader: &mut Reader<'_>) -> Result<i64, Unreadable> {
    let number: u64 = reader.number("difference")?;
    Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

/// A session's name as octets, if it is 32 lower-case hexadecimal digits.
fn short_session(name: &[u8]) -> Option<[u8; SESSION_OCTETS]> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let mut octets = [0; SESSION_OCTETS];
    if name.len() == SESSION_OCTETS {
        // Read from another block.
        return name.try_into().ok();
    }
    if name.len() != SESSION_OCTETS * 2 {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(name.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(octets)
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
