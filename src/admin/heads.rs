//! What the protocol itself refuses: a head that is no HTTP, or is too long. Its answer has no body of its own, and gets one
//! here that is like that of every other refusal.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memmem;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::page::PROTECTION;

/// What octets come and go by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Longest head of a request, in octets: a Call-ID in it takes at most three for each of its own.
pub(super) const HEAD_OCTETS_MAX: usize = 16 << 10;

/// Fields of one; so many hyper takes.
const FIELDS_MAX: usize = 100;

/// A connection whose every refusal has a body.
pub(super) struct Worded {
    stream: Box<dyn Stream>,
    /// What is written instead of something that was taken.
    instead: Vec<u8>,
}

impl Worded {
    /// Of a connection.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, instead: Vec::new() }
    }

    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.instead.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The octets that end with an answer of the protocol's own, with a body for it; `None`: they do not.
fn worded(octets: &[u8]) -> Option<Vec<u8>> {
    let rest = octets.strip_suffix(b"\r\n\r\n")?;
    let begin = memmem::rfind(rest, b"HTTP/1.")?;
    let head = std::str::from_utf8(&rest[begin..]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?;
    let text = match status.split(' ').nth(1)? {
        "400" => "the head of the request cannot be read: it is not as HTTP/1.1 has it".to_owned(),
        "414" => "the target of the request is too long".to_owned(),
        "431" => {
            let octets = HEAD_OCTETS_MAX >> 10;
            format!("the head of the request is longer than {octets} KiB, or has more than {FIELDS_MAX} fields")
        }
        _ => return None,
    };
    // Every answer that was made here has these.
    let (mut is_empty, mut is_own) = (false, false);
    let mut answer = format!("{status}\r\n");
    for line in lines {
        let (name, value) = line.split_once(':')?;
        is_own |= name.eq_ignore_ascii_case(PROTECTION[0].0);
        if name.eq_ignore_ascii_case("content-length") {
            is_empty = value.trim() == "0";
        } else {
            answer.extend([line, "\r\n"]);
        }
    }
    if is_own || !is_empty {
        return None;
    }
    for (name, value) in PROTECTION {
        answer.extend([name, ": ", value, "\r\n"]);
    }
    let body = json!({ "error": text }).to_string();
    answer.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    Some([&octets[..begin], answer.as_bytes()].concat())
}

impl AsyncRead for Worded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Worded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(context))?;
        let Some(instead) = worded(octets) else { return Pin::new(&mut self.stream).poll_write(context, octets) };
        self.instead = instead;
        // The rest of it goes with the next write, or before the end.
        if let Poll::Ready(Err(error)) = self.poll_instead(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        match (filled.next(), filled.next()) {
            // A head with nothing behind it.
            (Some(only), None) => self.poll_write(context, only),
            _ => {
                ready!(self.poll_instead(context))?;
                Pin::new(&mut self.stream).poll_write_vectored(context, slices)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_protocol_gets_a_body() {
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let own = "HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\ncontent-length: 0\r\n\r\n";
        for (what, octets, want) in [
            ("a head that cannot be read", bare.to_owned(), true),
            ("one that is too long", bare.replace("400 Bad Request", "431 Request Header Fields Too Large"), true),
            ("behind an answer", format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{bare}"), true),
            ("one of a handler", own.to_owned(), false),
            ("one with a body", bare.replace("length: 0", "length: 7"), false),
            ("another status", bare.replace("400", "200"), false),
            ("a part of one", bare.replace("\r\n\r\n", "\r\n"), false),
            ("no head", "\r\n\r\n".to_owned(), false),
        ] {
            let found = worded(octets.as_bytes()).map(|octets| String::from_utf8(octets).expect("text"));
            assert_eq!(found.is_some(), want, "{what}: {found:?}");
            let Some(found) = found else { continue };
            let (heads, body) = found.rsplit_once("\r\n\r\n").expect("a body");
            let body_is: serde_json::Value = serde_json::from_str(body).expect(what);
            assert!(body_is["error"].is_string(), "{what}: {body}");
            assert!(heads.ends_with(&format!("content-length: {}", body.len())), "{what}: {heads}");
            assert_eq!(heads.matches("content-length").count(), octets.matches("content-length").count(), "{heads}");
        }
    }
}
