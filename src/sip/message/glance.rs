//! What a message is, found without reading it whole: for the trace of calls, which sees what has been printed already.

use memchr::memchr;

use super::grammar::trim;
use super::index::line;
use super::{Message, Name, StartLine, split_cseq};

/// The parts of a message by which a reader knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glance<'a> {
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// Status code; 0 for a request.
    pub code: u16,
    /// The method; for a response the one in its CSeq.
    pub method: &'a [u8],
    /// The Request-URI, or the reason phrase.
    pub text: &'a [u8],
    /// Number of CSeq; 0 if it cannot be read.
    pub cseq: u32,
}

impl<'a> Glance<'a> {
    /// Of octets that hold a message from their beginning; `None` where start line, Call-ID or CSeq are missing.
    #[must_use]
    pub fn of(octets: &'a [u8]) -> Option<Self> {
        let start = StartLine::read(octets).ok()?;
        let [first, second, end] = start.words;
        let mut at = start.next;
        let (mut call_id, mut cseq) = (None, None);
        while call_id.is_none() || cseq.is_none() {
            let rest = &octets[at..];
            let is_wanted = match rest {
                [] | [b'\n', ..] | [b'\r', b'\n', ..] => return None,
                [b'c' | b'C', b'a' | b'A' | b's' | b'S', ..] | [b'i' | b'I', b':' | b' ' | b'\t', ..] => true,
                _ => false,
            };
            let mut next = at;
            loop {
                next = memchr(b'\n', &octets[next..]).map_or(octets.len(), |newline| next + newline + 1);
                if !matches!(octets.get(next), Some(b' ' | b'\t')) {
                    break;
                }
            }
            if is_wanted && let Some(line) = line(octets, at, next) {
                let value = trim(&octets[usize::from(line.value)..usize::from(line.value_end)]);
                match line.name {
                    Name::CallId => call_id = call_id.or(Some(value)),
                    Name::CSeq => cseq = cseq.or(Some(split_cseq(value).unwrap_or_default())),
                    _ => {}
                }
            }
            at = next;
        }
        let (number, method) = cseq?;
        let (method, text) = match start.code {
            0 => (&octets[..first], &octets[first + 1..second]),
            _ => (method, trim(&octets[second..end])),
        };
        Some(Self { call_id: call_id?, code: start.code, method, text, cseq: number })
    }

    /// Of a message that has been read.
    #[must_use]
    pub fn at(message: &'a Message) -> Self {
        let text = if message.is_request() { message.request_uri() } else { message.reason() };
        let (call_id, method) = (message.call_id(), message.method_text());
        Self { call_id, code: message.code(), method, text, cseq: message.cseq().0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_sees_what_reading_finds() {
        for (name, text) in [
            ("request", "INVITE sip:b@x SIP/2.0\r\nCall-ID: a@b\r\nCSeq: 7 INVITE\r\n\r\n"),
            ("response", "SIP/2.0 404 Not  Here\r\nFrom: <sip:a@x>\r\nCSeq: 2 BYE\r\nCall-ID:a@b\r\n\r\nbody"),
            ("without a reason", "SIP/2.0 200\r\nCSeq: 2 BYE\r\nCall-ID: a@b\r\n\r\n"),
            (
                "compact and folded",
                "BYE sip:b@x SIP/2.0\r\nContact: <sip:c>\r\ncseq : 3\r\n BYE\r\nI :\r\n a@b\r\n\r\n",
            ),
            ("twice", "BYE sip:b@x SIP/2.0\r\nCall-ID: a@b\r\nCall-ID: c@d\r\nCSeq: 3 BYE\r\nCSeq: 4 BYE\r\n\r\n"),
            ("a CSeq that is none", "BYE sip:b@x SIP/2.0\r\nCall-ID: a@b\r\nCSeq: x\r\n\r\n"),
        ] {
            let message = Message::parse(text.as_bytes().to_vec()).expect(name);
            assert_eq!(Glance::of(text.as_bytes()), Some(Glance::at(&message)), "{name}");
        }
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        for (name, text) in [
            ("nothing", ""),
            ("one line", "INVITE sip:b@x SIP/2.0\r\n"),
            ("no end", "INVITE sip:b@x SIP/2.0\r\nCall-ID: a"),
            ("no CSeq", "INVITE sip:b@x SIP/2.0\r\nCall-ID: a\r\n\r\nCSeq: 1 INVITE\r\n\r\n"),
            ("no Call-ID", "INVITE sip:b@x SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n"),
            ("no code", "SIP/2.0 abc OK\r\nCSeq: 2 BYE\r\nCall-ID: a@b\r\n\r\n"),
        ] {
            assert_eq!(Glance::of(text.as_bytes()), None, "{name}");
        }
    }
}
