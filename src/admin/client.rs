//! The other end of the command socket, for the command line. It blocks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::commands::ANSWER_OCTETS_MAX;
use super::request::Request;

/// How long an answer may take: acting on a large queue takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// A connection to the running service.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
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
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(ANSWER_MAX)).map_err(socket)?;
                Ok(Some(Self { stream: BufReader::new(stream), path: path.to_owned() }))
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
        let line = self.exchange(request).map_err(|source| ClientError::Socket { path: self.path.clone(), source })?;
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

    fn exchange(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = Vec::new();
        (&mut self.stream).take(ANSWER_OCTETS_MAX).read_until(b'\n', &mut answer)?;
        if answer.last() != Some(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer breaks off"));
        }
        Ok(answer)
    }
}
