//! The transport of one peer: dialing, octets in and out, framing, the end.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite as _;

use super::dial;
use crate::diameter::header::{HeaderError, frame};
use crate::diameter::peer::Cause;
use crate::diameter::route::PeerSettings;
use crate::net::stream::{Packets, Wire};
use crate::net::tls::ClientFiles;

/// Octets read at once, and written at once.
const CHUNK: usize = 64 * 1024;
/// Chunks read from one peer before the others get their turn.
const READS_MAX: usize = 8;
/// Octets waiting to be written at which nothing more is read: a peer that floods us with requests and does not read our
/// answers must not fill the memory.
const UNWRITTEN_MAX: usize = 1024 * 1024;

/// A connection, with its local address when it is new and not only protected.
pub(super) type Made = (Wire, Option<IpAddr>);

enum Stage {
    None,
    /// Connecting, or shaking hands.
    Making(Pin<Box<dyn Future<Output = Result<Made, Cause>> + Send>>),
    Open(Wire),
}

/// What came over a link.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Connected(IpAddr),
    Secured,
    Failed(Cause),
    Message(&'a [u8]),
    Garbage(HeaderError),
    /// Closed by the peer, or with the error of the system.
    Lost(Option<io::Error>),
}

/// How a link ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// What is unwritten goes out first.
    Orderly,
    Reset,
}

pub(super) struct Link {
    stage: Stage,
    input: Packets,
    output: BytesMut,
    ending: Option<Ending>,
    message_max: usize,
    chunk: Box<[u8]>,
}

impl Link {
    pub fn new(message_max: usize) -> Self {
        Self {
            stage: Stage::None,
            input: Packets::default(),
            output: BytesMut::new(),
            ending: None,
            message_max,
            chunk: vec![0; CHUNK].into(),
        }
    }

    /// Begins to connect; an older transport is dropped.
    pub fn dial(&mut self, peer: &PeerSettings, bind: Option<IpAddr>, user_timeout: Duration) {
        self.drop_transport();
        let connecting = dial::connect(peer.host.clone(), peer.port, bind, user_timeout);
        self.stage = Stage::Making(Box::pin(connecting));
    }

    /// Begins the TLS handshake on the transport that is there.
    pub fn secure(&mut self, files: ClientFiles, name: String) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::Open(Wire::Tcp(stream)) => Stage::Making(Box::pin(dial::secure(stream, files, name))),
            other => other,
        };
    }

    /// Puts a message behind those that wait to be written; it never blocks.
    pub fn send(&mut self, message: &[u8]) {
        if matches!(self.stage, Stage::Open(_)) && self.ending.is_none() {
            self.output.extend_from_slice(message);
        }
    }

    pub fn close(&mut self, reset: bool) {
        self.ending = Some(if reset { Ending::Reset } else { Ending::Orderly });
        if matches!(self.stage, Stage::Making(_)) {
            self.drop_transport();
        }
    }

    fn drop_transport(&mut self) {
        self.stage = Stage::None;
        self.input.clear();
        self.output.clear();
        self.ending = None;
    }

    /// Octets that wait to be written.
    #[cfg(test)]
    pub fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Takes what came and tells `hear`, which says whether to go on. Whether there may be more already.
    pub fn poll_input(&mut self, cx: &mut Context<'_>, mut hear: impl FnMut(Event<'_>) -> Hearing) -> bool {
        if self.poll_stage(cx, &mut hear) == Hearing::Stop {
            return false;
        }
        for _ in 0..READS_MAX {
            if self.ending.is_some() || self.output.len() > UNWRITTEN_MAX {
                return false;
            }
            let Stage::Open(wire) = &mut self.stage else { return false };
            let heard = match wire.poll_packets(cx, &mut self.chunk, &mut self.input) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => hear(Event::Lost(None)),
                Poll::Ready(Ok(_)) => self.cut(&mut hear),
                Poll::Ready(Err(error)) => hear(Event::Lost(Some(error))),
            };
            if heard == Hearing::Stop {
                return true;
            }
        }
        true
    }

    /// Lets a connection or handshake under way go on.
    fn poll_stage(&mut self, cx: &mut Context<'_>, hear: &mut impl FnMut(Event<'_>) -> Hearing) -> Hearing {
        let making = match &mut self.stage {
            Stage::None => return Hearing::Stop,
            Stage::Open(_) => return Hearing::GoOn,
            Stage::Making(making) => making,
        };
        let Poll::Ready(made) = making.as_mut().poll(cx) else { return Hearing::Stop };
        let (stage, event) = match made {
            Ok((wire, local)) => (Stage::Open(wire), local.map_or(Event::Secured, Event::Connected)),
            Err(cause) => (Stage::None, Event::Failed(cause)),
        };
        self.stage = stage;
        hear(event)
    }

    /// Cuts what was read into messages.
    fn cut(&mut self, hear: &mut impl FnMut(Event<'_>) -> Hearing) -> Hearing {
        loop {
            let heard = match self.input.take(|octets| frame(octets, self.message_max)) {
                Ok(None) => return Hearing::GoOn,
                Ok(Some(message)) => hear(Event::Message(message)),
                Err(error) => {
                    self.input.clear();
                    return hear(Event::Garbage(error));
                }
            };
            if heard == Hearing::Stop {
                return heard;
            }
        }
    }

    /// Goes on with what was read already and not looked at, as after a pause.
    pub fn rest_of_input(&mut self, mut hear: impl FnMut(Event<'_>) -> Hearing) -> Hearing {
        if self.input.rest() == 0 || self.ending.is_some() { Hearing::GoOn } else { self.cut(&mut hear) }
    }

    /// Writes what waits, and ends the transport if that was wanted.
    pub fn poll_output(&mut self, cx: &mut Context<'_>) {
        if self.ending == Some(Ending::Reset) {
            if let Stage::Open(wire) = &self.stage {
                wire.reset();
            }
            return self.drop_transport();
        }
        let Stage::Open(wire) = &mut self.stage else {
            return if self.ending.is_some() { self.drop_transport() } else { self.output.clear() };
        };
        while !self.output.is_empty() {
            let chunk = &self.output[..self.output.len().min(CHUNK)];
            match Pin::new(&mut *wire).poll_write(cx, chunk) {
                Poll::Pending => break,
                Poll::Ready(Ok(octets)) if octets > 0 => self.output.advance(octets),
                // The reading side learns of the end.
                Poll::Ready(_) => {
                    self.output.clear();
                    break;
                }
            }
        }
        let _errors_show_when_reading = Pin::new(&mut *wire).poll_flush(cx);
        if self.ending == Some(Ending::Orderly) {
            if wire.is_tls() {
                let _best_effort = Pin::new(wire).poll_shutdown(cx);
            }
            self.drop_transport();
        }
    }
}

/// Whether whoever hears wants to hear more of this link now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hearing {
    GoOn,
    Stop,
}
