//! A connection with or without TLS, made or taken, and packets out of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Collects octets of one connection and gives the packets in them, however they were cut.
///
/// It holds what was pushed and not taken: at most one packet when all were taken after each push.
#[derive(Debug, Default)]
pub struct Packets {
    octets: Vec<u8>,
    taken: usize,
}

impl Packets {
    /// Adds what came.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.drain(..self.taken);
        self.taken = 0;
        self.octets.extend_from_slice(octets);
    }

    /// The next whole packet; `None` until more comes. `length` says of octets how many the packet has that begins there,
    /// once all of them have come.
    ///
    /// # Errors
    /// Those of `length`: the stream has no further boundary then.
    pub fn take<E>(&mut self, length: impl Fn(&[u8]) -> Result<Option<usize>, E>) -> Result<Option<&[u8]>, E> {
        let rest = &self.octets[self.taken..];
        let Some(whole) = length(rest)? else { return Ok(None) };
        self.taken += whole;
        Ok(Some(&rest[..whole]))
    }

    /// Octets that were not taken.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.octets.len() - self.taken
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.taken = 0;
    }
}

/// A connection that stands.
#[derive(Debug)]
pub enum Wire {
    /// As TCP carries it.
    Tcp(TcpStream),
    /// With TLS, its handshake done.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What both kinds can do.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Wire {
    /// One with TLS, of either end.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// Whether TLS protects it.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The certificates the other end has shown, its own first; `None` when it has shown none.
    #[must_use]
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Tcp(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates(),
        }
    }

    /// Ends it with RST when it is dropped; where the kernel refuses, with FIN, which does as well.
    pub fn reset(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let _best_effort = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads once, by way of `buffer`; no octets are the end.
    pub fn poll_packets(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        packets: &mut Packets,
    ) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(buffer);
        ready!(Pin::new(self).poll_read(cx, &mut space))?;
        packets.push(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    fn pin(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_write(cx, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pin().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_shutdown(cx)
    }
}
