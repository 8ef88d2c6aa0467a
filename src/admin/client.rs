//! The command line's end of the Unix socket: HTTP/1.1, one request after the other. It blocks.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{self, StatusCode, header};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::remote::ANSWER_OCTETS_MAX;
use super::request::Request;
use super::travel::Travel;
use crate::clock::{self, Timestamp};

/// Longest silence of the service. One that works on a request gives signs, so this is no limit for the work.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long it may work before it is asked for a sign, and how long after each.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// What it is asked for a sign, over a connection of its own; any answer is one.
const SIGN: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A connection to the running service.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Body>,
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
    /// Nothing came for a while: the process is stopped or hangs.
    #[error("the service has not answered over {} since {since}", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// When it was asked, or last gave a sign.
        since: Timestamp,
    },
    /// The answer is not HTTP.
    #[error("the running gateway speaks the control protocol of an older release over {}; restart it", path.display())]
    Older {
        /// The socket.
        path: PathBuf,
    },
    /// It knows no such request.
    #[error("the running gateway is of another release and does not know {what}; restart it")]
    Unknown {
        /// Method and path.
        what: String,
    },
    /// The answer cannot be read: another program.
    #[error("the service over {} gave no answer that makes sense", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
    },
    /// The request asks for something that is not there, or is not allowed.
    #[error("{0}")]
    Usage(String),
    /// Whoever waits for the answer has had enough; the service notices that the connection has ended.
    #[error("interrupted: {0}")]
    Interrupted(&'static str),
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
        let stream = match stream_to(path) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ClientError::Silent { path: path.to_owned(), since: clock::wall() });
            }
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
            Err(error) => return Err(socket(error)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(socket)?;
        let shaken = runtime.block_on(async {
            let shaken = http1::handshake(TokioIo::new(UnixStream::from_std(stream)?)).await;
            let (sender, connection) = shaken.map_err(io::Error::other)?;
            // It turns while a request is waited for. What goes wrong with it is the request's to tell.
            tokio::spawn(async { drop(connection.await) });
            Ok(sender)
        });
        Ok(Some(Self { sender: shaken.map_err(socket)?, runtime, path: path.to_owned() }))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the service does not answer, or did not do it.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let travel = Travel::of(request);
        let path = || self.path.clone();
        let exchange = watched(exchange(&mut self.sender, &travel), || sign(&self.path));
        let is_long = matches!(request, Request::QueueAct { .. });
        let answered = self.runtime.block_on(async {
            tokio::select! {
                answered = exchange => Some(answered),
                () = interrupted(), if is_long => None,
            }
        });
        let Some(answered) = answered else { return Err(ClientError::Interrupted(LEFT)) };
        let (status, body) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(Broken::NotHttp)) => return Err(ClientError::Older { path: path() }),
            Ok(Err(Broken::Io(source))) => return Err(ClientError::Socket { path: path(), source }),
            Err(since) => return Err(ClientError::Silent { path: path(), since }),
        };
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Err(ClientError::Unknown { what: format!("{} {}", travel.method, travel.path()) });
        }
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let told = || answer.as_ref().and_then(|answer| answer["error"].as_str()).map(str::to_owned);
        if status.is_success() {
            answer.ok_or_else(|| ClientError::Answer { path: path() })
        } else if status.is_client_error() {
            Err(ClientError::Usage(told().unwrap_or_else(|| format!("the service refuses it: {status}"))))
        } else {
            Err(told().map_or_else(|| ClientError::Answer { path: path() }, ClientError::Failed))
        }
    }
}

/// What is said of a request that somebody has broken off.
const LEFT: &str = "the service stops at its next batch of records and leaves the others as they are; \
    its log says how many it has done, and `tollgate queue status` what is left";

/// Done at Ctrl-C; never where the system tells nobody of it.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A connection whose every wait has its limit: for a place in the listener's queue too.
fn stream_to(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

/// Why there is no answer.
#[derive(Debug)]
enum Broken {
    NotHttp,
    Io(io::Error),
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() {
            return Self::NotHttp;
        }
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer breaks off"));
        }
        Self::Io(io::Error::other(error))
    }
}

async fn exchange(sender: &mut SendRequest<Body>, travel: &Travel) -> Result<(StatusCode, Bytes), Broken> {
    let request = http::Request::builder().method(&travel.method).uri(&travel.target).header(header::HOST, "localhost");
    let request = match &travel.body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    let request = request.map_err(|error| Broken::Io(io::Error::other(error)))?;
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = to_bytes(Body::new(body), ANSWER_OCTETS_MAX).await;
    Ok((head.status, body.map_err(|error| Broken::Io(io::Error::other(error)))?))
}

/// Waits for an answer as long as there are signs; else the error is the time of the last one.
async fn watched<T, S>(answer: impl Future<Output = T>, sign: impl Fn() -> S) -> Result<T, Timestamp>
where
    S: Future<Output = io::Result<()>>,
{
    let mut answer = pin!(answer);
    loop {
        let since = clock::wall();
        let sign = timeout(SILENCE_MAX, async {
            sleep(SIGN_EVERY).await;
            while sign().await.is_err() {
                sleep(SIGN_EVERY).await;
            }
        });
        tokio::select! {
            answer = &mut answer => return Ok(answer),
            sign = sign => sign.map_err(|_| since)?,
        }
    }
}

/// Completes when the service has said something.
pub(super) async fn sign(path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(SIGN).await?;
    stream.read_u8().await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_works_for_long_is_waited_for_and_who_hangs_is_not() {
        let work = || timeout(Duration::from_secs(100), pending::<()>());
        assert!(matches!(watched(work(), || ready(Ok(()))).await, Ok(Err(_))), "it gives signs till its work is done");
        let full = || ready(Err(io::ErrorKind::WouldBlock.into()));
        let (shorter, longer) = (SILENCE_MAX - Duration::from_millis(2), SILENCE_MAX + Duration::from_millis(2));
        timeout(shorter, watched(work(), pending::<io::Result<()>>)).await.expect_err("it has its time");
        timeout(shorter, watched(work(), full)).await.expect_err("it has its time without room for more connections");
        assert!(matches!(timeout(longer, watched(work(), pending::<io::Result<()>>)).await, Ok(Err(_))), "it hangs");
        assert!(matches!(timeout(longer, watched(work(), full)).await, Ok(Err(_))), "it hangs with a full queue");
    }
}
