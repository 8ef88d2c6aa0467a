//! Turns of handlers as they are kept: one behind the other in one piece of memory, where the oldest give way.
//!
//! At the usual number of turns none of it is in a cache. What is written one behind the other the processor fetches ahead;
//! a piece of memory for each turn it does not.

use std::collections::VecDeque;
use std::time::Duration;

use super::trace::{Facts, NAME_BYTES_MAX, Outcome, RING_BYTES_MAX, Shown, ShownStep, cut, uri_of};
use crate::clock::Timestamp;

/// Octets that are kept of an error.
const ERROR_BYTES_MAX: usize = 512;

/// The last turns of one shard.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Frames, each behind its length.
    octets: VecDeque<u8>,
    count: usize,
    /// How many were filed ever.
    filed: u64,
}

/// Octets of a frame's length.
const LENGTH: usize = 4;

impl Ring {
    /// Keeps a frame, and so many in all.
    pub(super) fn file(&mut self, keeps: usize, frame: &[u8]) {
        let Ok(length) = u32::try_from(frame.len()) else { return };
        let needed = LENGTH + frame.len();
        while self.count > 0 && (self.count >= keeps || self.octets.len() + needed > RING_BYTES_MAX) {
            self.drop_oldest();
        }
        if self.octets.capacity() - self.octets.len() < needed {
            // Twice as much, as ever, but for the end.
            let room = (2 * self.octets.capacity()).clamp(self.octets.len() + needed, RING_BYTES_MAX);
            self.octets.reserve_exact(room - self.octets.len());
        }
        self.octets.extend(&length.to_le_bytes());
        self.octets.extend(frame);
        self.count += 1;
        self.filed += 1;
    }

    /// Keeps so many at most from here on.
    pub(super) fn shrink(&mut self, keeps: usize) {
        while self.count > keeps {
            self.drop_oldest();
        }
        self.octets.shrink_to(2 * self.octets.len());
    }

    fn drop_oldest(&mut self) {
        let mut length = [0; LENGTH];
        length.iter_mut().zip(&self.octets).for_each(|(to, octet)| *to = *octet);
        let end = LENGTH + u32::from_le_bytes(length) as usize;
        self.octets.drain(..end.min(self.octets.len()));
        self.count -= 1;
    }

    /// All of it, for somebody who takes longer to look through it than the shard may wait.
    pub(super) fn copy(&self) -> Copied {
        let (front, back) = self.octets.as_slices();
        Copied { octets: [front, back].concat(), first: self.filed - self.count as u64 }
    }
}

/// What a ring has held.
#[derive(Debug)]
pub(super) struct Copied {
    octets: Vec<u8>,
    first: u64,
}

impl Copied {
    /// The turns with their numbers, the oldest first.
    pub(super) fn turns(&self) -> Vec<(u64, Kept<'_>)> {
        let mut rest = Reader(&self.octets);
        let frames = std::iter::from_fn(|| {
            let length = rest.number()?;
            rest.octets(length as usize)
        });
        (self.first..).zip(frames).filter_map(|(number, frame)| Some((number, Kept::read(frame)?))).collect()
    }
}

/// A text of a turn.
#[derive(Clone, Copy)]
pub(super) enum Part {
    CallId,
    Handler,
    Name,
    Method,
    From,
    Uri,
    Route,
    Error,
}

/// How many there are.
const PARTS: usize = 8;

/// One turn.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) at: Timestamp,
    loaded: Timestamp,
    span: Duration,
    left_out: u32,
    outcome: Outcome,
    code: u16,
    in_dialog: bool,
    parts: [&'a [u8]; PARTS],
    steps: &'a [u8],
}

/// Octets before the text of a step.
const STEP_HEAD: usize = 8;

/// Writes a turn; `steps` is what [`write_step`] has written.
pub(super) fn write(facts: &Facts<'_>, span: Duration, left_out: u32, steps: &[u8], out: &mut Vec<u8>) {
    let parts: [&[u8]; PARTS] = [
        cut(facts.call_id, NAME_BYTES_MAX),
        facts.handler.0.as_bytes(),
        cut(facts.handler.1.as_bytes(), NAME_BYTES_MAX),
        cut(facts.method, NAME_BYTES_MAX),
        cut(facts.from, NAME_BYTES_MAX),
        cut(facts.uri, NAME_BYTES_MAX),
        cut(facts.route.as_bytes(), NAME_BYTES_MAX),
        cut(facts.error.as_bytes(), ERROR_BYTES_MAX),
    ];
    out.clear();
    out.extend_from_slice(&facts.at.0.to_le_bytes());
    out.extend_from_slice(&facts.loaded.0.to_le_bytes());
    out.extend_from_slice(&u32::try_from(span.as_micros()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&left_out.to_le_bytes());
    let (outcome, reply) = word_of(facts.outcome);
    out.extend_from_slice(&[outcome, u8::from(facts.in_dialog)]);
    out.extend_from_slice(&reply.to_le_bytes());
    out.extend_from_slice(&facts.code.to_le_bytes());
    for part in parts {
        out.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(steps);
}

/// Writes a step, whose arguments `write` appends; of those so many octets are kept.
pub(super) fn write_step(
    out: &mut Vec<u8>,
    (line, name, result): (u32, &str, Option<bool>),
    arguments_max: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let head = out.len();
    out.extend_from_slice(&line.to_le_bytes());
    out.extend_from_slice(&[result.map_or(2, u8::from), 0, 0, 0]);
    out.extend_from_slice(name.as_bytes());
    let begin = out.len();
    write(out);
    out[head + 5] = u8::from(out.len() - begin > arguments_max);
    out.truncate(begin + arguments_max);
    let length = u16::try_from(out.len() - head - STEP_HEAD).unwrap_or(u16::MAX);
    out[head + 6..head + STEP_HEAD].copy_from_slice(&length.to_le_bytes());
}

impl<'a> Kept<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(frame);
        let (at, loaded) = (rest.time()?, rest.time()?);
        let (micros, left_out) = (rest.number()?, rest.number()?);
        let (outcome, in_dialog) = (rest.octet()?, rest.octet()? != 0);
        let (reply, code) = (rest.short()?, rest.short()?);
        let mut lengths = [0; PARTS];
        for length in &mut lengths {
            *length = rest.short()?;
        }
        let mut parts = [&b""[..]; PARTS];
        for (part, length) in parts.iter_mut().zip(lengths) {
            *part = rest.octets(length.into())?;
        }
        let span = Duration::from_micros(micros.into());
        let outcome = outcome_of(outcome, reply)?;
        Some(Self { at, loaded, span, left_out, outcome, code, in_dialog, parts, steps: rest.0 })
    }

    /// One of its texts.
    pub(super) const fn part(&self, part: Part) -> &'a [u8] {
        self.parts[part as usize]
    }

    /// As somebody reads it.
    pub(super) fn shown(&self) -> Shown {
        let text = |part| String::from_utf8_lossy(self.part(part)).into_owned();
        let (handler, name) = (text(Part::Handler), text(Part::Name));
        let mut rest = Reader(self.steps);
        Shown {
            at: self.at,
            loaded: self.loaded,
            handler: if name.is_empty() { handler } else { format!("{handler}.{name}") },
            call_id: text(Part::CallId),
            method: text(Part::Method),
            from: String::from_utf8_lossy(uri_of(self.part(Part::From))).into_owned(),
            uri: text(Part::Uri),
            in_dialog: self.in_dialog,
            code: Some(self.code).filter(|code| *code > 0),
            steps: std::iter::from_fn(|| rest.step()).collect(),
            left_out: self.left_out,
            outcome: self.outcome,
            route: text(Part::Route),
            error: text(Part::Error),
            span: self.span,
        }
    }
}

const fn word_of(outcome: Outcome) -> (u8, u16) {
    match outcome {
        Outcome::Nothing => (0, 0),
        Outcome::Relay => (1, 0),
        Outcome::Reply(code) => (2, code),
        Outcome::Drop => (3, 0),
        Outcome::Tables => (4, 0),
        Outcome::AsPlanned => (5, 0),
    }
}

const fn outcome_of(word: u8, code: u16) -> Option<Outcome> {
    Some(match word {
        0 => Outcome::Nothing,
        1 => Outcome::Relay,
        2 => Outcome::Reply(code),
        3 => Outcome::Drop,
        4 => Outcome::Tables,
        5 => Outcome::AsPlanned,
        _ => return None,
    })
}

/// What of a frame is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn octets(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.octets(1).map(|octets| octets[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.octets(2)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.octets(4)?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp(i64::from_le_bytes(self.octets(8)?.try_into().ok()?)))
    }

    fn step(&mut self) -> Option<ShownStep> {
        let line = self.number()?;
        let (result, is_cut, length) = (self.octet()?, self.octet()? != 0, self.short()?);
        let text = String::from_utf8_lossy(self.octets(length.into())?);
        let rest = if is_cut { "..." } else { "" };
        let result = if result < 2 { Some(result == 1) } else { None };
        Some(ShownStep { line, text: format!("{text}{rest}"), result })
    }
}
