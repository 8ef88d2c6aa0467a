//! The byte-span index: one pass over the head finds the lines, and every header value is a span of the datagram.

use std::cell::Cell;

use memchr::{memchr, memchr_iter};
use smallvec::SmallVec;

use super::check::Reject;
use super::grammar::{ends_name, is_lws, number, trim};
use super::name::Name;

/// The most octets of one message, in any transport: the most a datagram holds, and offsets are 16 bits wide.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// The most header lines of one message, folded lines counted once.
pub const HEADER_LINES_MAX: usize = 512;

/// Where one header line lies in the message. The next line's start, or the blank line, is its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// First octet of the name.
    pub start: u16,
    /// First octet of the value behind white space.
    pub value: u16,
    /// Behind the last octet of the value that is no white space.
    pub value_end: u16,
    /// What the name means.
    pub name: Name,
}

/// Lines that fit without a second allocation while a message is read.
pub(super) type Lines = SmallVec<[Line; 40]>;

/// What one pass over the head found.
pub(super) struct Head {
    pub lines: Lines,
    /// Names that are there.
    pub present: u64,
    /// Names that are there more than once.
    pub repeated: u64,
    /// Start of the blank line.
    pub blank: usize,
    /// Start of the body.
    pub body: usize,
    /// How its lines end.
    pub breaks: Breaks,
    /// Why the head is not one.
    pub fault: Option<Reject>,
}

/// How the lines of a head end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Breaks {
    /// All by CR LF.
    Pairs,
    /// Some by LF alone.
    Bare,
}

/// How the lines of a head end, start line and blank line included.
///
/// A CR that ends no line and a NUL are refused: on a stream, and to a reader that takes them for the end of a line or of
/// the text, such a head says something else than here. A NUL passes only as a quoted-pair of a quoted string
/// (RFC 3261 §25.1).
///
/// `ends` are the octets LF of the head, `pairs` those behind a CR.
fn breaks_of(head: &[u8], ends: usize, pairs: usize) -> Result<Breaks, Reject> {
    if memchr_iter(b'\r', head).count() != pairs || !memchr_iter(0, head).all(|at| is_quoted(head, at)) {
        return Err(Reject::bad("CR or NUL inside a line"));
    }
    Ok(if ends == pairs { Breaks::Pairs } else { Breaks::Bare })
}

/// Whether the octet at `at` stands behind a backslash in a quoted string that began on its line.
fn is_quoted(head: &[u8], at: usize) -> bool {
    let start = memchr::memrchr(b'\n', &head[..at]).map_or(0, |newline| newline + 1);
    let (mut is_inside, mut is_escaped) = (false, false);
    for octet in &head[start..at] {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_inside,
            b'"' => is_inside = !is_inside,
            _ => {}
        }
    }
    is_inside && is_escaped
}

/// Indexes the header lines from `start`, the octet behind the line break of the start line. `bytes` holds at most `MESSAGE_BYTES_MAX`.
pub(super) fn index(bytes: &[u8], start: usize) -> Head {
    let mut head = Head {
        lines: Lines::new(),
        present: 0,
        repeated: 0,
        blank: bytes.len(),
        body: bytes.len(),
        breaks: Breaks::Pairs,
        fault: None,
    };
    let (ends, pairs) = (Cell::new(0), Cell::new(0));
    let count = |newline: &usize| {
        ends.set(ends.get() + 1);
        pairs.set(pairs.get() + usize::from(*newline > 0 && bytes[newline - 1] == b'\r'));
    };
    if let Some(newline) = start.checked_sub(1) {
        count(&newline);
    }
    let mut newlines = memchr_iter(b'\n', &bytes[start..]).map(|at| start + at).inspect(count);
    let mut at = start;
    loop {
        match bytes[at..] {
            [b'\n', ..] | [b'\r', b'\n', ..] => {
                head.blank = at;
                head.body = newlines.next().map_or(bytes.len(), |newline| newline + 1);
                match breaks_of(&bytes[..head.body], ends.get(), pairs.get()) {
                    Ok(breaks) => head.breaks = breaks,
                    Err(reason) => head.fault = head.fault.or(Some(reason)),
                }
                return head;
            }
            [] => {
                head.fault = head.fault.or(Some(Reject::bad("Header section without an end")));
                return head;
            }
            _ => {}
        }
        if head.lines.len() == HEADER_LINES_MAX {
            head.fault = Some(Reject::bad("Too many header lines"));
            (head.blank, head.body) = (at, bytes.len());
            return head;
        }
        let mut end = bytes.len();
        for newline in newlines.by_ref() {
            if !matches!(bytes.get(newline + 1), Some(b' ' | b'\t')) {
                end = newline + 1;
                break;
            }
        }
        let line = line(bytes, at, end).unwrap_or_else(|| {
            head.fault = head.fault.or(Some(Reject::bad("Header line without a name")));
            Line { start: offset(at), value: offset(at), value_end: offset(at), name: Name::Other }
        });
        head.repeated |= head.present & line.name.bit();
        head.present |= line.name.bit();
        head.lines.push(line);
        at = end;
    }
}

/// Reads the line from `start` to `end`; `None` when it has no name followed by a colon.
pub(super) fn line(bytes: &[u8], start: usize, end: usize) -> Option<Line> {
    let text = &bytes[start..end];
    let name_len = text.iter().position(|octet| ends_name(*octet))?;
    let gap = text[name_len..].iter().position(|octet| !matches!(octet, b' ' | b'\t'))?;
    let colon = name_len + gap;
    if name_len == 0 || text[colon] != b':' {
        return None;
    }
    let behind_colon = start + colon + 1;
    let (mut value, mut value_end) = (behind_colon, end);
    while value < value_end && is_lws(bytes[value]) {
        value += 1;
    }
    while value < value_end && is_lws(bytes[value_end - 1]) {
        value_end -= 1;
    }
    if value == value_end {
        // An empty value lies before the line break, where a new one can be written.
        (value, value_end) = (behind_colon, behind_colon);
    }
    let name = Name::of(&text[..name_len]);
    Some(Line { start: offset(start), value: offset(value), value_end: offset(value_end), name })
}

/// An offset in the index: messages are cut at `MESSAGE_BYTES_MAX` before they are indexed.
pub(super) fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// Octets of line breaks in front of a message (RFC 3261 §7.5).
pub(super) fn leading_breaks(datagram: &[u8]) -> usize {
    datagram.iter().position(|octet| !matches!(octet, b'\r' | b'\n')).unwrap_or(datagram.len())
}

/// A Content-Length value in octets.
pub(super) fn content_length(value: &[u8]) -> Option<usize> {
    number(value)?.try_into().ok()
}

/// The value of Content-Length in the head of a message, start line included; `None` when there is none.
///
/// # Errors
/// [`Reject`] with 400 when it is no number or stands there twice: on a stream nobody can tell then where the message
/// ends (RFC 3261 §18.3).
pub fn content_length_of(head: &[u8]) -> Result<Option<usize>, Reject> {
    let mut found = None;
    let mut at = memchr(b'\n', head).map_or(head.len(), |newline| newline + 1);
    while at < head.len() {
        let mut end = at;
        loop {
            end = memchr(b'\n', &head[end..]).map_or(head.len(), |newline| end + newline + 1);
            if !matches!(head.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        if matches!(head[at], b'c' | b'C' | b'l' | b'L')
            && let Some(line) = line(head, at, end)
            && line.name == Name::ContentLength
        {
            if found.is_some() {
                return Err(Reject::bad("More than one Content-Length header"));
            }
            let value = trim(&head[usize::from(line.value)..usize::from(line.value_end)]);
            found = Some(content_length(value).ok_or(Reject::bad("Bad Content-Length header"))?);
        }
        at = end;
    }
    Ok(found)
}

/// The Call-ID of a datagram, found without reading the rest, so that any shard finds the owner of a message. The same
/// value as [`Message::call_id`](super::Message::call_id); `None` when there is none.
#[must_use]
pub fn call_id_of(datagram: &[u8]) -> Option<&[u8]> {
    let mut rest = &datagram[leading_breaks(datagram)..];
    rest = &rest[memchr(b'\n', rest)? + 1..];
    loop {
        let is_call_id = match rest {
            [b'c' | b'C', _, _, _, b'-', ..] | [b'i' | b'I', b':' | b' ' | b'\t', ..] => true,
            [] | [b'\n', ..] | [b'\r', b'\n', ..] => return None,
            _ => false,
        };
        let start = rest;
        loop {
            let newline = memchr(b'\n', rest);
            rest = newline.map_or(&rest[rest.len()..], |newline| &rest[newline + 1..]);
            if !matches!(rest, [b' ' | b'\t', ..]) {
                break;
            }
        }
        if is_call_id {
            let text = &start[..start.len() - rest.len()];
            if let Some(line) = line(text, 0, text.len())
                && line.name == Name::CallId
            {
                return Some(trim(&text[usize::from(line.value)..usize::from(line.value_end)]));
            }
        }
    }
}
