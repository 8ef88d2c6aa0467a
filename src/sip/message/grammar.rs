//! Small readers shared by all header values: white space, lists, parameters, tokens (RFC 3261 §7.3.1, §25.1).
//!
//! They borrow from the message and never fail: what is odd is handed on as it stands, and `check` refuses it where it
//! matters.

use std::borrow::Cow;
use std::net::IpAddr;

use memchr::{memchr, memchr2};

/// Whether an octet may stand in linear white space, folding included.
pub(super) const fn is_lws(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether an octet may stand in a token (RFC 3261 §25.1).
pub(super) const fn is_token(octet: u8) -> bool {
    CLASSES[octet as usize] & TOKEN != 0
}

/// Whether a header name ends before an octet: a colon, white space or a control octet.
pub(super) const fn ends_name(octet: u8) -> bool {
    CLASSES[octet as usize] & NAME_END != 0
}

/// Whether an octet may stand in a host name: letters, digits, `-`, `.` and, though no RFC has it, `_`.
pub(super) const fn is_host_octet(octet: u8) -> bool {
    CLASSES[octet as usize] & HOST != 0
}

const TOKEN: u8 = 1;
const NAME_END: u8 = 2;
const HOST: u8 = 4;
/// What a list of parameters is cut at.
const PARAM_MARK: u8 = 8;

/// What each octet may be: one look-up where a chain of comparisons would be slow.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut octet = 0_u8;
    loop {
        let letter = octet.is_ascii_alphanumeric();
        let token = matches!(octet, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let class = &mut classes[octet as usize];
        *class |= if letter || token { TOKEN } else { 0 };
        *class |= if octet <= b' ' || matches!(octet, b':' | 0x7f) { NAME_END } else { 0 };
        *class |= if letter || matches!(octet, b'-' | b'.' | b'_') { HOST } else { 0 };
        *class |= if matches!(octet, b';' | b'=' | b'"') { PARAM_MARK } else { 0 };
        if octet == u8::MAX {
            return classes;
        }
        octet += 1;
    }
}

/// Without white space at both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Without white space at the start.
pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    text
}

/// Without white space at the end.
pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

/// Place of `part` in `whole`, for slices cut out of `whole`; `None` for any other.
pub(super) fn offset_in(part: &[u8], whole: &[u8]) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

/// A decimal number that is nothing but digits; `None` when it is empty, holds another octet, or is beyond `u32::MAX`.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |sum, octet| {
        let digit = octet.is_ascii_digit().then(|| u32::from(octet - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A port, 0 to 65535.
pub(super) fn port(text: &[u8]) -> Option<u16> {
    number(text)?.try_into().ok()
}

/// Whether `text` is a host: a name of letters, digits, `-`, `.` and `_`, an IPv4 address, or an IPv6 address in
/// brackets (RFC 3261 §25.1, RFC 5954).
pub(super) fn is_host(text: &[u8]) -> bool {
    match text {
        [] => false,
        [b'[', ..] => ip(text).is_some(),
        _ => text.iter().all(|octet| is_host_octet(*octet)),
    }
}

/// The address that `text` spells, with or without brackets; `None` for a name.
pub(super) fn ip(text: &[u8]) -> Option<IpAddr> {
    let text = match text {
        [b'[', inner @ .., b']'] => return str::from_utf8(inner).ok()?.parse().ok().map(IpAddr::V6),
        // A name is far more common than an address that does not start with a digit, colon or hexadecimal letter.
        [first, ..] if first.is_ascii_hexdigit() || *first == b':' => text,
        _ => return None,
    };
    str::from_utf8(text).ok()?.parse().ok()
}

/// Splits a quoted string off the front: its length with both quotes, `None` when it is never closed.
pub(super) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Length of a comment with its parentheses, nested ones included; `None` when it is never closed.
fn comment_len(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the first element of a comma-separated list ends: at a comma outside quotes, angle brackets and comments.
///
/// A quote or bracket that is never closed takes the rest; a parenthesis that is never closed is an ordinary octet.
///
/// `comments` becomes false once no parenthesis can be closed any more: keeps a hostile list linear.
fn element_end(list: &[u8], comments: &mut bool) -> usize {
    let Some(comma) = memchr(b',', list) else { return list.len() };
    let mut at = 0;
    // The comma ends the element unless something before it opens what closes behind it.
    if !list[..comma].iter().any(|octet| matches!(octet, b'"' | b'<' | b'(')) {
        return comma;
    }
    while at < list.len() {
        match list[at] {
            b',' => return at,
            b'"' => match quoted_len(&list[at..]) {
                Some(len) => at += len,
                None => return list.len(),
            },
            b'<' => match memchr(b'>', &list[at..]) {
                Some(len) => at += len + 1,
                None => return list.len(),
            },
            b'(' if *comments => match comment_len(&list[at..]) {
                Some(len) => at += len,
                None => (*comments, at) = (false, at + 1),
            },
            _ => at += 1,
        }
    }
    list.len()
}

/// The elements of a comma-separated header value without surrounding white space; empty ones are left out.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    comments: bool,
}

impl<'a> Elements<'a> {
    /// Splits one header value.
    #[must_use]
    pub const fn of(value: &'a [u8]) -> Self {
        Self { rest: value, comments: true }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest, &mut self.comments);
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// One parameter, `name` or `name=value`, as written, without surrounding white space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Param<'a> {
    /// Its name; empty for a stray semicolon.
    pub name: &'a [u8],
    /// What stands behind `=`, quotes included; `None` without `=`.
    pub value: Option<&'a [u8]>,
}

/// Parameters of a URI or a header value, split at semicolons outside quotes.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// Reads what follows the first semicolon; one semicolon in front is passed over.
    #[must_use]
    pub fn of(text: &'a [u8]) -> Self {
        let text = trim(text);
        Self { rest: text.strip_prefix(b";").unwrap_or(text) }
    }

    /// The value of the first parameter called `name` (case-insensitive): `Some(b"")` when it has none.
    #[must_use]
    pub fn value(mut self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(|param| param.name.eq_ignore_ascii_case(name)).map(|param| param.value.unwrap_or_default())
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let text = self.rest;
        if text.is_empty() {
            return None;
        }
        let (mut at, mut equals) = (0, None);
        while at < text.len() {
            let octet = text[at];
            if CLASSES[usize::from(octet)] & PARAM_MARK != 0 {
                match octet {
                    b';' => break,
                    b'=' => equals = equals.or(Some(at)),
                    _ => at += quoted_len(&text[at..]).unwrap_or(text.len() - at) - 1,
                }
            }
            at += 1;
        }
        self.rest = text.get(at + 1..).unwrap_or_default();
        Some(match equals {
            Some(equals) => Param { name: trim(&text[..equals]), value: Some(trim(&text[equals + 1..at])) },
            None => Param { name: trim(&text[..at]), value: None },
        })
    }
}

/// The text of a quoted string without its quotes and backslashes; anything else as it stands (RFC 3261 §25.1).
#[must_use]
pub fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = text else { return Cow::Borrowed(text) };
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut octets = inner.iter();
    while let Some(octet) = octets.next() {
        plain.push(if *octet == b'\\' { *octets.next().unwrap_or(octet) } else { *octet });
    }
    Cow::Owned(plain)
}

/// A header value on one line: each fold (line break and the white space around it) becomes one space (RFC 3261 §7.3.1).
#[must_use]
pub fn unfold(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\r', b'\n', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut line = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(fold) = memchr2(b'\r', b'\n', rest) {
        line.extend_from_slice(trim_end(&rest[..fold]));
        rest = trim_start(&rest[fold..]);
        line.push(b' ');
    }
    line.extend_from_slice(rest);
    Cow::Owned(line)
}
