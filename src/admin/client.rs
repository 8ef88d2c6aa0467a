//! The other end of the command socket, for the command line. It blocks.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::request::Request;
use super::socket::ANSWER_OCTETS_MAX;
use crate::clock::{self, Timestamp};

/// Longest silence of the service. While it works on a request it sends a blank every second, so this is no limit for
/// the work.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A connection to the running service.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// A connection whose every wait has its limit: for a place in the listener's queue too.
fn stream_to(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// A request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket does not work.
    #[error("cannot talk to the service over {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for a while: the process is stopped or hangs.
    #[error("the service has not answered over {} since {since}", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// When it was asked, or last gave a sign.
        since: Timestamp,
    },
    /// The answer cannot be read: another program, or another version.
    #[error("the service over {} gave no answer that makes sense", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
    },
    /// The request asks for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// The service tried and failed.
    #[error("the service says: {0}")]
    Failed(String),
}

impl Client {
    /// Connects; `None` when nobody serves the socket.
    ///
    /// # Errors
    /// Whatever else the system says, such as a lack of permission.
    pub fn connect(path: &Path) -> Result<Option<Self>, ClientError> {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        let socket = |source| ClientError::Socket { path: path.to_owned(), source };
        match stream_to(path) {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), path: path.to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ClientError::Silent { path: path.to_owned(), since: clock::wall() })
            }
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
            Err(error) => Err(socket(error)),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the service does not answer, or did not do it.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let mut since = clock::wall();
        let line = self.exchange(request, &mut since).map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { path, since },
                _ => ClientError::Socket { path, source },
            }
        })?;
        let senseless = || ClientError::Answer { path: self.path.clone() };
        let mut answer: Value = serde_json::from_slice(&line).map_err(|_| senseless())?;
        if let Some(ok) = answer.get_mut("ok") {
            return Ok(ok.take());
        }
        let text = answer["error"]["text"].as_str().ok_or_else(senseless)?.to_owned();
        match answer["error"]["kind"].as_str() {
            Some("usage") => Err(ClientError::Usage(text)),
            _ => Err(ClientError::Failed(text)),
        }
    }

    /// `since` moves with every sign of the service.
    fn exchange(&mut self, request: &Request, since: &mut Timestamp) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = Vec::new();
        loop {
            let octets = self.stream.fill_buf()?;
            let end = memchr::memchr(b'\n', octets);
            let taken = end.map_or(octets.len(), |at| at + 1);
            answer.extend_from_slice(&octets[..taken]);
            self.stream.consume(taken);
            *since = clock::wall();
            if end.is_some() {
                return Ok(answer);
            }
            if taken == 0 || answer.len() as u64 > ANSWER_OCTETS_MAX {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer breaks off"));
            }
        }
    }
}
