//! One direction of a TCP connection, put together by its sequence numbers.

use std::collections::BTreeMap;

/// Octets of a message behind which nothing is known yet, or what may be said of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begins {
    /// A message of this length.
    Message(usize),
    /// Too few to tell.
    Unknown,
    /// No message.
    Nothing,
}

/// What has come of a segment.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// A whole message, and the frame in which it began.
    Message(Vec<u8>, u64),
    /// Octets are missing before the frame: what had come of a message is let go.
    Gap,
    /// What follows is no message.
    Lost,
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number that follows; none before the beginning of a message has been seen.
    next: Option<u32>,
    /// Octets of a message that is not whole, and the frame in which it began.
    buffer: Vec<u8>,
    began: u64,
    /// What came early, by its distance from `next`.
    early: BTreeMap<u32, (u64, Vec<u8>, usize)>,
}

impl Stream {
    /// Octets of an unfinished message, and those that came early.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.early.is_empty()
    }

    /// The connection begins: the first octet has the number behind this one.
    pub(super) fn open(&mut self, sequence: u32) {
        *self = Self { next: Some(sequence.wrapping_add(1)), ..Self::default() };
    }

    /// Takes a segment: the octets that the capture has of `length`.
    pub(super) fn take(
        &mut self,
        frame: u64,
        (sequence, octets, length): (u32, &[u8], usize),
        begins: impl Fn(&[u8]) -> Begins,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if length == 0 {
            return outcomes;
        }
        let Some(next) = self.next else {
            // The capture has begun in the middle: a message that begins with a segment is a place to begin.
            if matches!(begins(octets), Begins::Message(_)) {
                self.next = Some(sequence);
                self.append(frame, octets, length, &begins, &mut outcomes);
            }
            return outcomes;
        };
        let ahead = sequence.wrapping_sub(next);
        if ahead > HALF {
            // Again: what is new of it, if anything.
            let known = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
            if known < length {
                let fresh = octets.get(known..).unwrap_or_default().to_vec();
                self.append(frame, &fresh, length - known, &begins, &mut outcomes);
            }
        } else if ahead == 0 {
            self.append(frame, octets, length, &begins, &mut outcomes);
        } else {
            self.early.entry(sequence).or_insert_with(|| (frame, octets.to_vec(), length));
            if self.early.len() > EARLY_MAX {
                self.skip(&mut outcomes);
            }
        }
        self.follow(&begins, &mut outcomes);
        outcomes
    }

    /// What came early and follows now.
    fn follow(&mut self, begins: &impl Fn(&[u8]) -> Begins, outcomes: &mut Vec<Outcome>) {
        while let Some(next) = self.next {
            let distance = |sequence: &u32| sequence.wrapping_sub(next);
            let Some(sequence) = self.early.keys().copied().find(|own| distance(own) == 0 || distance(own) > HALF)
            else {
                return;
            };
            let Some((frame, octets, length)) = self.early.remove(&sequence) else { return };
            let known = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
            if known < length {
                let fresh = octets.get(known..).unwrap_or_default().to_vec();
                self.append(frame, &fresh, length - known, begins, outcomes);
            }
        }
    }

    /// The capture has lost a segment: goes on with the nearest that came behind it.
    fn skip(&mut self, outcomes: &mut Vec<Outcome>) {
        let Some(next) = self.next else { return };
        self.next = self.early.keys().copied().min_by_key(|sequence| sequence.wrapping_sub(next));
        self.buffer.clear();
        outcomes.push(Outcome::Gap);
    }

    fn append(
        &mut self,
        frame: u64,
        octets: &[u8],
        length: usize,
        begins: &impl Fn(&[u8]) -> Begins,
        outcomes: &mut Vec<Outcome>,
    ) {
        if self.buffer.is_empty() {
            self.began = frame;
        }
        self.buffer.extend_from_slice(octets);
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(length).unwrap_or(0)));
        loop {
            match begins(&self.buffer) {
                Begins::Message(whole) if whole > 0 && whole <= self.buffer.len() => {
                    let rest = self.buffer.split_off(whole);
                    let message = std::mem::replace(&mut self.buffer, rest);
                    outcomes.push(Outcome::Message(message, self.began));
                    self.began = frame;
                }
                Begins::Message(_) | Begins::Unknown => break,
                Begins::Nothing => {
                    *self = Self::default();
                    outcomes.push(Outcome::Lost);
                    return;
                }
            }
        }
        if octets.len() < length {
            // The rest of the segment is not in the capture.
            self.buffer.clear();
            outcomes.push(Outcome::Gap);
        }
    }
}

/// Half the sequence numbers: what is farther ahead is behind.
const HALF: u32 = 1 << 31;

/// Segments that may come before one that is missing.
const EARLY_MAX: usize = 256;
