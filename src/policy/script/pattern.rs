//! Patterns of Lua (reference manual §6.4.1), matched under the meter: a pattern that takes long ends the handler as any
//! other long work does.

use super::meter::{Limit, Meter};

/// Captures of a pattern at most.
pub(super) const CAPTURES_MAX: usize = 32;
/// What is said of a parenthesis that nothing closes.
pub(super) const UNFINISHED: &str = "unfinished capture";
/// Nesting of a match at most.
const DEPTH_MAX: u32 = 200;
/// Steps between two looks at the meter.
const STEPS: u64 = 256;

/// Why a pattern cannot be matched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum PatternError {
    /// It is no pattern.
    #[error("{0}")]
    Malformed(&'static str),
    /// It takes too long.
    #[error("{0}")]
    Limit(#[from] Limit),
}

use PatternError::Malformed;

/// A part of the subject: where it begins, and how long it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Capture {
    Open {
        start: usize,
    },
    Text {
        start: usize,
        end: usize,
    },
    /// The place itself, as `()` captures it.
    Position {
        start: usize,
    },
}

/// One attempt after the other to match a pattern against a subject.
pub(super) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    meter: &'a Meter,
    captures: Vec<Capture>,
    depth: u32,
    steps: u64,
}

type Found = Result<Option<usize>, PatternError>;

impl<'a> Matcher<'a> {
    pub(super) fn new(subject: &'a [u8], pattern: &'a [u8], meter: &'a Meter) -> Self {
        Self { subject, pattern, meter, captures: Vec::new(), depth: 0, steps: 0 }
    }

    /// Matches the pattern, without its anchor, from here; gives where the match ends.
    pub(super) fn at(&mut self, start: usize, pattern_start: usize) -> Found {
        self.captures.clear();
        self.depth = 0;
        self.run(start, pattern_start)
    }

    /// What its parentheses have captured.
    pub(super) fn captures(&self) -> Result<Vec<Capture>, PatternError> {
        if self.captures.iter().any(|capture| matches!(capture, Capture::Open { .. })) {
            return Err(Malformed(UNFINISHED));
        }
        Ok(self.captures.clone())
    }

    /// The same, some of which may not have come to an end.
    pub(super) fn parts(&self) -> &[Capture] {
        &self.captures
    }

    fn step(&mut self) -> Result<(), PatternError> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) {
            self.meter.spend(STEPS)?;
        }
        Ok(())
    }

    fn run(&mut self, subject: usize, pattern: usize) -> Found {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed("pattern too complex"));
        }
        let found = self.items(subject, pattern);
        self.depth -= 1;
        found
    }

    fn items(&mut self, mut at: usize, mut item: usize) -> Found {
        loop {
            self.step()?;
            let Some(first) = self.pattern.get(item) else { return Ok(Some(at)) };
            match first {
                b'(' if self.pattern.get(item + 1) == Some(&b')') => {
                    return self.capture(Capture::Position { start: at }, at, item + 2);
                }
                b'(' => return self.capture(Capture::Open { start: at }, at, item + 1),
                b')' => return self.close(at, item + 1),
                b'$' if item + 1 == self.pattern.len() => return Ok((at == self.subject.len()).then_some(at)),
                b'%' if self.pattern.get(item + 1) == Some(&b'b') => match self.balanced(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                b'%' if self.pattern.get(item + 1) == Some(&b'f') => match self.frontier(at, item + 2)? {
                    Some(next) => item = next,
                    None => return Ok(None),
                },
                b'%' if self.pattern.get(item + 1).is_some_and(u8::is_ascii_digit) => {
                    match self.same_again(at, self.pattern[item + 1])? {
                        Some(end) => (at, item) = (end, item + 2),
                        None => return Ok(None),
                    }
                }
                _ => {
                    let end = self.class_end(item)?;
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if self.single(at, item, end)
                                && let Some(found) = self.run(at + 1, end + 1)?
                            {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        Some(b'+') if !self.single(at, item, end) => return Ok(None),
                        Some(b'+') => return self.greedy(at + 1, item, end),
                        Some(b'*') => return self.greedy(at, item, end),
                        Some(b'-') => return self.lazy(at, item, end),
                        _ if self.single(at, item, end) => (at, item) = (at + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn capture(&mut self, capture: Capture, at: usize, item: usize) -> Found {
        if self.captures.len() >= CAPTURES_MAX {
            return Err(Malformed("too many captures"));
        }
        self.captures.push(capture);
        let count = self.captures.len();
        let found = self.run(at, item)?;
        if found.is_none() {
            self.captures.truncate(count - 1);
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, item: usize) -> Found {
        let open = self.captures.iter().rposition(|capture| matches!(capture, Capture::Open { .. }));
        let Some(place) = open else { return Err(Malformed("invalid pattern capture")) };
        let Capture::Open { start } = self.captures[place] else { return Ok(None) };
        self.captures[place] = Capture::Text { start, end: at };
        let found = self.run(at, item)?;
        if found.is_none() {
            self.captures[place] = Capture::Open { start };
        }
        Ok(found)
    }

    fn greedy(&mut self, at: usize, item: usize, end: usize) -> Found {
        let mut count = 0;
        while self.single(at + count, item, end) {
            self.step()?;
            count += 1;
        }
        loop {
            self.step()?;
            if let Some(found) = self.run(at + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn lazy(&mut self, mut at: usize, item: usize, end: usize) -> Found {
        loop {
            self.step()?;
            if let Some(found) = self.run(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.single(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    /// `%bxy`
    fn balanced(&mut self, at: usize, item: usize) -> Found {
        let (Some(open), Some(close)) = (self.pattern.get(item).copied(), self.pattern.get(item + 1).copied()) else {
            return Err(Malformed("malformed pattern (missing arguments to '%b')"));
        };
        if self.subject.get(at) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for place in at + 1..self.subject.len() {
            self.step()?;
            let octet = self.subject[place];
            if octet == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(place + 1));
                }
            } else if octet == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: gives where the pattern goes on.
    fn frontier(&self, at: usize, item: usize) -> Found {
        if self.pattern.get(item) != Some(&b'[') {
            return Err(Malformed("missing '[' after '%f' in pattern"));
        }
        let end = self.class_end(item)?;
        let before = if at == 0 { 0 } else { self.subject[at - 1] };
        let after = self.subject.get(at).copied().unwrap_or(0);
        let is_edge = !self.in_set(before, item, end - 1) && self.in_set(after, item, end - 1);
        Ok(is_edge.then_some(end))
    }

    /// `%1`
    fn same_again(&self, at: usize, digit: u8) -> Found {
        let number = usize::from(digit - b'0');
        let capture = number.checked_sub(1).and_then(|place| self.captures.get(place));
        let (start, end) = match capture {
            Some(Capture::Text { start, end }) => (*start, *end),
            // A place is no text that could stand there again.
            Some(Capture::Position { .. }) => return Ok(None),
            Some(Capture::Open { .. }) | None => return Err(Malformed(NO_CAPTURE[number])),
        };
        let text = &self.subject[start..end];
        self.meter.spend(text.len() as u64 / 16)?;
        Ok(self.subject[at..].starts_with(text).then_some(at + text.len()))
    }

    fn class_end(&self, item: usize) -> Result<usize, PatternError> {
        let mut at = item + 1;
        match self.pattern[item] {
            b'%' if at >= self.pattern.len() => Err(Malformed("malformed pattern (ends with '%')")),
            b'%' => Ok(at + 1),
            b'[' => {
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                // The first one is a member, whatever it is.
                loop {
                    let Some(octet) = self.pattern.get(at) else {
                        return Err(Malformed("malformed pattern (missing ']')"));
                    };
                    at += if *octet == b'%' { 2 } else { 1 };
                    if self.pattern.get(at) == Some(&b']') {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(at),
        }
    }

    fn single(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(octet) = self.subject.get(at).copied() else { return false };
        match self.pattern[item] {
            b'.' => true,
            b'%' => in_class(octet, self.pattern[item + 1]),
            b'[' => self.in_set(octet, item, end - 1),
            plain => plain == octet,
        }
    }

    /// Whether an octet is in the set that begins at `item` and whose bracket closes at `last`.
    fn in_set(&self, octet: u8, item: usize, last: usize) -> bool {
        let mut at = item + 1;
        let is_negated = self.pattern.get(at) == Some(&b'^');
        if is_negated {
            at += 1;
        }
        let mut is_in = false;
        while at < last {
            let member = self.pattern[at];
            if member == b'%' && at + 1 < last {
                is_in |= in_class(octet, self.pattern[at + 1]);
                at += 2;
            } else if self.pattern.get(at + 1) == Some(&b'-') && at + 2 < last {
                is_in |= (member..=self.pattern[at + 2]).contains(&octet);
                at += 3;
            } else {
                is_in |= member == octet;
                at += 1;
            }
        }
        is_in != is_negated
    }
}

/// What is said of a capture that is not there yet, by its number.
const NO_CAPTURE: [&str; 10] = [
    "invalid capture index %0",
    "invalid capture index %1",
    "invalid capture index %2",
    "invalid capture index %3",
    "invalid capture index %4",
    "invalid capture index %5",
    "invalid capture index %6",
    "invalid capture index %7",
    "invalid capture index %8",
    "invalid capture index %9",
];

fn in_class(octet: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => octet.is_ascii_alphabetic(),
        b'c' => octet.is_ascii_control(),
        b'd' => octet.is_ascii_digit(),
        b'g' => octet.is_ascii_graphic(),
        b'l' => octet.is_ascii_lowercase(),
        b'p' => octet.is_ascii_punctuation(),
        b's' => octet.is_ascii_whitespace() || octet == 0x0b,
        b'u' => octet.is_ascii_uppercase(),
        b'w' => octet.is_ascii_alphanumeric(),
        b'x' => octet.is_ascii_hexdigit(),
        // Not in the manual any more, but in the library.
        b'z' => octet == 0,
        _ => return class == octet,
    };
    is_in != class.is_ascii_uppercase()
}
