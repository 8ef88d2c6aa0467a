//! Cuts a stream of octets into SIP messages by Content-Length (RFC 3261 §18.3), without sockets.
//!
//! States: between messages, where line breaks are passed over (§7.5) and two CR LF in a row are a keep-alive that wants
//! one back (RFC 5626 §3.5.1); in a head; in a body; broken, after which nothing is found any more: whoever says where
//! its messages end in no way that can be trusted cannot be followed, and the connection ends.

use bytes::Bytes;
use memchr::memchr;

use crate::sip::message::{HEADER_LINES_MAX, MESSAGE_BYTES_MAX, Reject, content_length_of};

/// How large a message on a stream may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageLimits {
    /// Octets of the head: start line, header lines and the blank line. Default 16 384, at most [`MESSAGE_BYTES_MAX`].
    pub head_bytes_max: usize,
    /// Header lines, folded ones counted once. Default 256, at most [`HEADER_LINES_MAX`].
    pub header_lines_max: usize,
    /// Octets of the body. Default 49 151; head and body together have [`MESSAGE_BYTES_MAX`] at most.
    pub body_bytes_max: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { head_bytes_max: 16_384, header_lines_max: 256, body_bytes_max: 49_151 }
    }
}

/// What stands next on a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A keep-alive that wants CR LF back.
    Ping,
    /// One whole message.
    Message(Vec<u8>),
    /// What there is of a message whose end cannot be told, or that is too large. Nothing comes after it.
    Broken {
        /// Its octets, as far as they were read.
        octets: Vec<u8>,
        /// What a request is answered with.
        reason: Reject,
    },
}

/// Room that an empty buffer keeps, in octets; a large message leaves none behind.
const ROOM_KEPT_MAX: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct Framer {
    limits: MessageLimits,
    buffer: Vec<u8>,
    /// Where the unread octets begin.
    at: usize,
    /// Up to where line breaks of the head have been looked at.
    scanned: usize,
    /// Lines of the head so far, the start line included.
    lines: usize,
    /// End of the head and of the message, once the head is there.
    ends: Option<(usize, usize)>,
    is_broken: bool,
}

impl Framer {
    /// A framer at the begin of a stream.
    #[must_use]
    pub fn new(limits: MessageLimits) -> Self {
        let limits = MessageLimits {
            head_bytes_max: limits.head_bytes_max.min(MESSAGE_BYTES_MAX),
            header_lines_max: limits.header_lines_max.min(HEADER_LINES_MAX),
            ..limits
        };
        Self { limits, buffer: Vec::new(), at: 0, scanned: 0, lines: 0, ends: None, is_broken: false }
    }

    /// Adds what was read. Call [`Self::next`] until it gives nothing before the next time: then at most one message
    /// that is not whole stays.
    pub fn push(&mut self, octets: &[u8]) {
        if self.is_broken {
            return;
        }
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.scanned -= self.at;
            self.ends = self.ends.map(|(head, message)| (head - self.at, message - self.at));
            self.at = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Whether a message has begun and is not whole.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.is_broken && self.buffer[self.at..].iter().any(|octet| !matches!(octet, b'\r' | b'\n'))
    }

    /// The next frame; `None` until more is pushed.
    #[allow(clippy::should_implement_trait, reason = "it goes on after None")]
    pub fn next(&mut self) -> Option<Frame> {
        if self.is_broken {
            return None;
        }
        if self.ends.is_none() {
            match self.skip_breaks() {
                Breaks::Ping => return Some(Frame::Ping),
                Breaks::More => return None,
                Breaks::None => {}
            }
            if let Err(reason) = self.find_head() {
                return Some(self.broken(reason));
            }
        }
        let (_, end) = self.ends?;
        let message = self.buffer.get(self.at..end)?.to_vec();
        self.begin_at(end);
        Some(Frame::Message(message))
    }

    /// Passes over line breaks in front of a message.
    fn skip_breaks(&mut self) -> Breaks {
        loop {
            match self.buffer[self.at..] {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.begin_at(self.at + 4);
                    return Breaks::Ping;
                }
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Breaks::More,
                [b'\r', b'\n', ..] => self.begin_at(self.at + 2),
                [b'\r' | b'\n', ..] => self.begin_at(self.at + 1),
                _ => return Breaks::None,
            }
        }
    }

    /// The next message begins there.
    fn begin_at(&mut self, at: usize) {
        (self.at, self.scanned, self.lines, self.ends) = (at, at, 0, None);
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(ROOM_KEPT_MAX);
            (self.at, self.scanned) = (0, 0);
        }
    }

    /// Looks for the end of the head, and from it for that of the message.
    fn find_head(&mut self) -> Result<(), Reject> {
        if !self.buffer[self.at].is_ascii_graphic() {
            // Neither a method nor a version begins so: TLS without us knowing, or rubbish.
            return Err(Reject { code: 400, reason: "No start line" });
        }
        let longest = self.at + self.limits.head_bytes_max;
        let end = loop {
            let Some(newline) = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at) else {
                self.scanned = self.buffer.len();
                break None;
            };
            match self.buffer[newline + 1..] {
                [b'\n', ..] => break Some(newline + 2),
                [b'\r', b'\n', ..] => break Some(newline + 3),
                [] | [b'\r'] => {
                    // What follows decides; this line break is looked at again.
                    self.scanned = newline;
                    break None;
                }
                [b' ' | b'\t', ..] => {}
                _ => self.lines += 1,
            }
            self.scanned = newline + 1;
            if self.lines > self.limits.header_lines_max {
                return Err(Reject { code: 400, reason: "Too many header lines" });
            }
        };
        if end.unwrap_or(self.buffer.len()) > longest {
            return Err(Reject { code: 513, reason: "Message header section too long" });
        }
        let Some(end) = end else { return Ok(()) };
        let Some(length) = content_length_of(&self.buffer[self.at..end])? else {
            return Err(Reject { code: 400, reason: "Missing Content-Length header" });
        };
        if length > self.limits.body_bytes_max || end - self.at + length > MESSAGE_BYTES_MAX {
            return Err(Reject { code: 513, reason: "Message body too long" });
        }
        self.ends = Some((end, end + length));
        Ok(())
    }

    fn broken(&mut self, reason: Reject) -> Frame {
        self.is_broken = true;
        let mut octets = std::mem::take(&mut self.buffer);
        octets.drain(..self.at);
        octets.truncate(MESSAGE_BYTES_MAX);
        self.begin_at(0);
        Frame::Broken { octets, reason }
    }
}

/// What stands between messages.
enum Breaks {
    Ping,
    More,
    None,
}

/// The message with a Content-Length, as streams need it (RFC 3261 §20.14); as it is when it has one.
#[must_use]
pub fn with_length(message: Bytes) -> Bytes {
    let Some(end) = head_end(&message) else { return message };
    if !matches!(content_length_of(&message[..end]), Ok(None)) {
        return message;
    }
    let blank = if message[..end].ends_with(b"\r\n") { 2 } else { 1 };
    let line = format!("Content-Length: {}\r\n", message.len() - end);
    [&message[..end - blank], line.as_bytes(), &message[end - blank..]].concat().into()
}

/// Behind the blank line that ends the head.
fn head_end(message: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'\n', &message[at..])? + 1;
        match message[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
