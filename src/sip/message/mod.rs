//! SIP messages: index, read, print (RFC 3261 §7, §25).
//!
//! A message is the received octets and a compact index of its header lines. Nothing is parsed before it is asked for,
//! and whatever [`print`] does not have to change leaves byte-identical and in order.
//!
//! * [`Message::parse`] finds the lines and the body, of the torture messages of RFC 4475 too; [`Message::check`] holds
//!   the message against the rules of RFC 3261 §16.3.
//! * [`Uri`], [`Via`] and [`NameAddr`] read values, borrowed from the message.
//! * [`forward_request`], [`forward_response`], [`response`], [`ack_for`] and [`cancel_for`] print.

mod address;
mod check;
mod credentials;
mod glance;
mod grammar;
mod index;
mod method;
mod name;
#[cfg(test)]
mod parsed;
mod print;
mod uri;
mod via;

#[cfg(test)]
mod print_tests;
#[cfg(test)]
mod second_opinion_tests;
#[cfg(test)]
mod tests;

use std::fmt;

pub use address::NameAddr;
pub use check::{Malformed, Reject};
pub use credentials::Credentials;
pub use glance::Glance;
pub use grammar::{Elements, Param, Params, unfold, unquote};
pub use index::{HEADER_LINES_MAX, MESSAGE_BYTES_MAX, call_id_of, content_length_of};
pub use method::Method;
pub use name::Name;
#[cfg(test)]
pub(crate) use parsed::vias_parsed;
pub use print::{
    RequestEdits, ack_for, cancel_for, end_lines, forward_request, forward_response, insert_record_routes, response,
};
pub use uri::{Scheme, Uri};
use via::Span;
pub use via::{COOKIE, Via};

use grammar::{is_lws, number, trim};
use index::{Breaks, Line, index, leading_breaks, offset};
use memchr::{memchr, memrchr};

use crate::ids::CallHash;

/// A received SIP message: its octets in one allocation, the index in another.
#[derive(Clone)]
pub struct Message {
    bytes: Box<[u8]>,
    lines: Box<[Line]>,
    present: u64,
    repeated: u64,
    /// Ends of the start line's first and second word, and of the line without its line break.
    words: [u16; 3],
    blank: u16,
    body: u16,
    /// Where the tags of From and of To lie, which are asked for again and again; an empty place where there is no tag,
    /// `None` where the value is missing or cannot be read.
    tags: [Option<Span>; 2],
    /// The first Via value, which is looked at some four times; `None` where there is none or it cannot be read.
    via: Option<via::Places>,
    /// The Call-ID, which is asked for some 40 times a call; an empty place where there is none.
    call_id: Span,
    /// Its hash, by which the call is found in many tables.
    call: CallHash,
    /// Number of CSeq, [`UNREAD`] where it is missing or cannot be read, and the place of its method.
    cseq: (u32, Span),
    /// Status code; 0 for a request.
    code: u16,
    method: Method,
    breaks: Breaks,
}

impl Message {
    /// Indexes a datagram. Line breaks in front of the message and octets behind its Content-Length are left away;
    /// without Content-Length the body is the rest (RFC 3261 §18.3). A bare LF ends a line like CR LF; a bare CR or a NUL
    /// in the head is refused.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when there is no start line or status code, a header line has no name, there is no blank line,
    /// Content-Length is no number, repeated or larger than what follows (all 400), or there are more than
    /// [`MESSAGE_BYTES_MAX`] octets (513) or [`HEADER_LINES_MAX`] lines. Other rules are [`Message::check`]'s.
    pub fn parse(mut datagram: Vec<u8>) -> Result<Self, Malformed> {
        let breaks = leading_breaks(&datagram);
        if breaks > 0 {
            datagram.drain(..breaks);
        }
        let mut fault = None;
        if datagram.len() > MESSAGE_BYTES_MAX {
            datagram.truncate(MESSAGE_BYTES_MAX);
            fault = Some(Reject { code: 513, reason: "Message longer than 65535 octets" });
        }
        let nothing = |reason| Malformed { reason: Reject::bad(reason), partial: None };
        let start = StartLine::read(&datagram).map_err(nothing)?;
        let head = index(&datagram, start.next);
        let mut message = Self {
            bytes: Box::default(),
            lines: Box::from(head.lines.as_slice()),
            present: head.present,
            repeated: head.repeated,
            words: start.words.map(offset),
            blank: offset(head.blank),
            body: offset(head.body),
            tags: [None; 2],
            via: None,
            call_id: (0, 0),
            call: CallHash::default(),
            cseq: (UNREAD, (0, 0)),
            code: start.code,
            method: Method::Other,
            breaks: head.breaks,
        };
        let rest = datagram.len() - head.body;
        message.bytes = datagram.into_boxed_slice();
        fault = fault.or(head.fault);
        match check::body_len(&message, rest) {
            Ok(len) if len < rest => message.cut(head.body + len),
            Ok(_) => {}
            Err(reason) => fault = fault.or(Some(reason)),
        }
        message.tags =
            [message.from(), message.to()].map(|value| Some(message.span_of(value?.tag().unwrap_or_default())));
        let via = message.values(Name::Via).next().and_then(Via::parse);
        message.via = via.map(|via| via::Places::of(&via, |part| message.span_of(part)));
        message.call_id = message.span_of(message.header(Name::CallId).unwrap_or_default());
        message.call = CallHash::of(message.call_id());
        if let Some((number, method)) = message.header(Name::CSeq).and_then(split_cseq) {
            message.cseq = (number, message.span_of(method));
        }
        message.method =
            if message.is_request() { Method::of(message.method_text()) } else { Method::of(message.cseq().1) };
        match fault {
            None => Ok(message),
            Some(reason) => Err(Malformed { reason, partial: message.is_request().then(|| Box::new(message)) }),
        }
    }

    fn cut(&mut self, len: usize) {
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.truncate(len);
        self.bytes = bytes.into_boxed_slice();
    }

    /// Whether the message may be forwarded: the syntax rules of RFC 3261 §16.3.
    ///
    /// Judged are the version (505), method, Request-URI (400; 416 for schemes other than `sip`, `sips`, `tel`,
    /// `urn`), the headers every message needs, headers that may stand once, CSeq (number below 2^31, the request's
    /// method), the top Via, From and To, Max-Forwards (0 to 255) and the first Route. Max-Forwards 0, Proxy-Require
    /// and loops are the proxy's.
    ///
    /// # Errors
    ///
    /// [`Reject`] says with what a request is answered; a response with an error is to be dropped.
    pub fn check(&self) -> Result<(), Reject> {
        check::check(self)
    }

    /// Whether it is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.code == 0
    }

    /// The request's method; for a response, the one in its CSeq.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The text of [`Message::method`].
    #[must_use]
    pub fn method_text(&self) -> &[u8] {
        if self.is_request() { self.span(0, self.words[0]) } else { self.cseq().1 }
    }

    /// The Request-URI as received; empty for a response.
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        if self.is_request() { self.span(self.words[0] + 1, self.words[1]) } else { b"" }
    }

    /// The Request-URI cut into its parts; `None` for a response or when it is no URI.
    #[must_use]
    pub fn uri(&self) -> Option<Uri<'_>> {
        Uri::parse(self.request_uri())
    }

    fn version(&self) -> &[u8] {
        if self.is_request() { self.span(self.words[1] + 1, self.words[2]) } else { self.span(0, self.words[0]) }
    }

    /// The status code, 100 to 699; 0 for a request.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The reason phrase as received, possibly empty; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        if self.is_request() { b"" } else { trim(self.span(self.words[1], self.words[2])) }
    }

    /// The value of the first header line called `name`, without white space around it, folds left as they are.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// The values of all header lines called `name`, in order. None for [`Name::Other`]: ask by text.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        let lines: &[Line] = if name != Name::Other && self.has(name) { &self.lines } else { &[] };
        lines.iter().filter(move |line| line.name == name).map(|line| self.value(line))
    }

    /// The values of all header lines with a name given as text, case-insensitive, compact or long form meaning the
    /// same.
    pub fn headers_named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        let known = Name::of(name);
        let same = move |line: &&Line| match known {
            Name::Other => line.name == Name::Other && self.name_text(line).eq_ignore_ascii_case(name),
            _ => line.name == known,
        };
        self.lines.iter().filter(same).map(|line| self.value(line))
    }

    /// All header lines as (name as written, value), in order.
    pub fn header_lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.lines.iter().map(|line| (self.name_text(line), self.value(line)))
    }

    /// The comma-separated elements of all header lines called `name`, in order; commas in quotes, angle brackets and
    /// comments do not separate. For headers that are lists, such as Via, Route, Record-Route and Contact.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        self.headers(name).flat_map(Elements::of)
    }

    /// Whether there is a header called `name`.
    #[must_use]
    pub const fn has(&self, name: Name) -> bool {
        self.present & name.bit() != 0
    }

    /// The Call-ID; empty when there is none.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.span(self.call_id.0, self.call_id.1)
    }

    /// The hash of the Call-ID.
    #[must_use]
    pub const fn call(&self) -> CallHash {
        self.call
    }

    /// From; `None` when it is missing or cannot be read.
    #[must_use]
    pub fn from(&self) -> Option<NameAddr<'_>> {
        self.header(Name::From).and_then(NameAddr::parse)
    }

    /// To; `None` when it is missing or cannot be read.
    #[must_use]
    pub fn to(&self) -> Option<NameAddr<'_>> {
        self.header(Name::To).and_then(NameAddr::parse)
    }

    /// The From tag; empty when there is none (RFC 2543).
    #[must_use]
    pub fn from_tag(&self) -> &[u8] {
        self.tags[0].map_or(&[], |(from, to)| self.span(from, to))
    }

    /// The To tag; empty when there is none.
    #[must_use]
    pub fn to_tag(&self) -> &[u8] {
        self.tags[1].map_or(&[], |(from, to)| self.span(from, to))
    }

    /// CSeq's number, below 2^31, and method; `(0, b"")` when it is missing or cannot be read.
    #[must_use]
    pub fn cseq(&self) -> (u32, &[u8]) {
        match self.cseq {
            (UNREAD, _) => (0, b""),
            (number, (from, to)) => (number, self.span(from, to)),
        }
    }

    /// Max-Breadth (RFC 5393 §5.3.1); `None` when it is missing or cannot be read.
    #[must_use]
    pub fn max_breadth(&self) -> Option<u32> {
        number(self.header(Name::MaxBreadth)?)
    }

    /// Max-Forwards, 0 to 255; `None` when it is missing or cannot be read.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        number(self.header(Name::MaxForwards)?)?.try_into().ok()
    }

    /// The first Via value; `None` when there is none or it cannot be read.
    #[must_use]
    pub fn top_via(&self) -> Option<Via<'_>> {
        self.via.map(|places| places.read(&self.bytes))
    }

    /// The second Via value, to which a proxy's response goes on; `None` when there is none or it cannot be read.
    #[must_use]
    pub fn second_via(&self) -> Option<Via<'_>> {
        self.values(Name::Via).nth(1).and_then(Via::parse)
    }

    /// Writes `octets` over as many behind `mark` in the Record-Route value at this place; whether there are so many.
    pub fn overwrite_record_route(&mut self, place: usize, mark: &[u8], octets: &[u8]) -> bool {
        let value = self.values(Name::RecordRoute).nth(place);
        let at = value.and_then(|value| {
            let behind = memchr::memmem::find(value, mark)? + mark.len();
            (behind + octets.len() <= value.len()).then_some(())?;
            Some(grammar::offset_in(value, &self.bytes)? + behind)
        });
        let part = at.and_then(|at| self.bytes.get_mut(at..at + octets.len()));
        part.map(|part| part.copy_from_slice(octets)).is_some()
    }

    /// Whether a line of the head ends by LF alone, as no line on a stream may.
    #[must_use]
    pub fn has_bare_breaks(&self) -> bool {
        self.breaks == Breaks::Bare
    }

    /// The body, as long as Content-Length says.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[usize::from(self.body)..]
    }

    /// The whole message as received, up to the end of the body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Memory that the message holds, itself included, in bytes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.lines.len() * size_of::<Line>()
    }

    /// Where a part of this message lies; an empty part may be any.
    fn span_of(&self, part: &[u8]) -> Span {
        if part.is_empty() {
            return (0, 0);
        }
        let start = part.as_ptr().addr() - self.bytes.as_ptr().addr();
        (offset(start), offset(start + part.len()))
    }

    fn span(&self, from: u16, to: u16) -> &[u8] {
        &self.bytes[usize::from(from)..usize::from(to)]
    }

    fn value(&self, line: &Line) -> &[u8] {
        self.span(line.value, line.value_end)
    }

    fn name_text(&self, line: &Line) -> &[u8] {
        let text = self.span(line.start, line.value);
        let colon = memchr(b':', text).unwrap_or(text.len());
        trim(&text[..colon])
    }

    /// Where the line at `place` ends: behind its line break.
    fn line_end(&self, place: usize) -> u16 {
        self.lines.get(place + 1).map_or(self.blank, |next| next.start)
    }
}

impl fmt::Debug for Message {
    /// The start line only: the rest may hold what belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", String::from_utf8_lossy(self.span(0, self.words[2])))
    }
}

/// No number of a CSeq: those are below 2^31.
const UNREAD: u32 = u32::MAX;

/// Number and method of a CSeq value; the number is below 2^31 (RFC 3261 §8.1.1.5).
fn split_cseq(value: &[u8]) -> Option<(u32, &[u8])> {
    let space = value.iter().position(|octet| is_lws(*octet))?;
    let number = number(&value[..space]).filter(|number| *number < 1 << 31)?;
    let method = trim(&value[space..]);
    (!method.is_empty() && method.iter().all(|octet| grammar::is_token(*octet))).then_some((number, method))
}

/// The first line of a message, cut at its spaces.
struct StartLine {
    words: [usize; 3],
    code: u16,
    next: usize,
}

impl StartLine {
    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let newline = memchr(b'\n', bytes).ok_or("No start line")?;
        let line = bytes[..newline].strip_suffix(b"\r").unwrap_or(&bytes[..newline]);
        let first = memchr(b' ', line).ok_or("No start line")?;
        let next = newline + 1;
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            let end = first + 4;
            let code = line.get(first + 1..end).and_then(number).ok_or("Bad status code")?;
            if !(100..700).contains(&code) || !matches!(line.get(end), None | Some(b' ')) {
                return Err("Bad status code");
            }
            return Ok(Self { words: [first, end, line.len()], code: code as u16, next });
        }
        let last = memrchr(b' ', line).filter(|last| *last > first).ok_or("Bad request line")?;
        Ok(Self { words: [first, last, line.len()], code: 0, next })
    }
}
