//! The Unix socket of the commands: requests and answers as JSON lines.
//!
//! Who may open the socket may do everything; its permissions are the only lock. A second socket answers questions alone. Every size and number is bounded.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::Gateway;
use super::doors::Door;
use super::perform::perform;
use super::places::{AcceptTroubles, Place, Places};
use super::request::{Request, RequestError};

/// Longest request line, in octets: the longest record, put back, takes half of it.
pub const REQUEST_OCTETS_MAX: u64 = 256 << 10;

/// Longest answer line, in octets: a page of the longest records.
pub const ANSWER_OCTETS_MAX: u64 = 64 << 20;

/// Connections at once; a further one takes the place of the one that has been silent longest.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may be silent, and how long it may take to accept an answer.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Longest work on one request: acting on a large queue takes its time.
const WORK_MAX: Duration = Duration::from_secs(600);

/// How often a blank tells the client that its request is worked on; JSON ignores it.
const BLANK_EVERY: Duration = Duration::from_secs(1);

/// Pause after an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    path: PathBuf,
}

impl Bound {
    /// Binds the socket with these permissions. A file left by a process that is gone is replaced.
    ///
    /// # Errors
    /// Whatever the system says; `AddrInUse` when another process serves the socket.
    pub fn new(path: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(meta) = std::fs::symlink_metadata(path) {
            if !meta.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            if StdStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
            }
        }
        // Bound aside and renamed: at its own name it never has other permissions than these.
        let aside = aside(path);
        let _left = std::fs::remove_file(&aside);
        let listener = StdListener::bind(&aside)?;
        let named = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(mode))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| std::fs::rename(&aside, path));
        if let Err(error) = named {
            let _left = std::fs::remove_file(&aside);
            return Err(error);
        }
        Ok(Self { listener, path: path.to_owned() })
    }
}

/// A short name in the same folder: the path may be as long as a socket's can be.
fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{:x}", std::process::id()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// Serves commands for ever.
pub(super) async fn serve(bound: Bound, door: Door, gateway: Arc<dyn Gateway>) {
    let listener = match bound.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the command socket cannot be served");
            return;
        }
    };
    let places = Places::new(CONNECTIONS_MAX, (WORK_MAX, IDLE_MAX));
    let mut troubles = AcceptTroubles::new("command");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                troubles.over();
                let (place, gateway) = (places.take().await, Arc::clone(&gateway));
                tokio::spawn(async move {
                    tokio::select! {
                        ended = converse(stream, &place, door, gateway) => if let Err(error) = ended {
                            tracing::debug!(%error, "a command connection ended");
                        },
                        () = place.has_to_go() => tracing::debug!("a silent command connection gave its place up"),
                    }
                });
            }
            Err(error) => {
                troubles.note(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the lines of one connection.
async fn converse(stream: UnixStream, place: &Place, door: Door, gateway: Arc<dyn Gateway>) -> io::Result<()> {
    let by = stream.peer_cred().map_or_else(|_| "somebody".to_owned(), |peer| user(peer.uid()));
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        place.waiting();
        let mut line = Vec::new();
        let mut limited = (&mut reading).take(REQUEST_OCTETS_MAX);
        let length = timeout(IDLE_MAX, limited.read_until(b'\n', &mut line)).await??;
        if length == 0 {
            return Ok(());
        }
        place.served();
        let whole = line.last() == Some(&b'\n');
        let answer = if whole {
            worked_on(line, (door, by.clone()), &gateway, &mut writing).await?
        } else {
            error("usage", &format!("a request is a line of at most {REQUEST_OCTETS_MAX} octets"))
        };
        let mut octets = answer.to_string().into_bytes();
        octets.push(b'\n');
        timeout(IDLE_MAX, writing.write_all(&octets)).await??;
        if !whole {
            return Ok(());
        }
    }
}

/// The name of a user, or the number if the system knows none.
fn user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("user {uid}"))
}

/// The answer to one line. While it is being made the client gets a blank now and then, so that it can tell work from a
/// process that hangs.
async fn worked_on(
    line: Vec<u8>,
    (door, by): (Door, String),
    gateway: &Arc<dyn Gateway>,
    writing: &mut OwnedWriteHalf,
) -> io::Result<Value> {
    let gateway = Arc::clone(gateway);
    let mut work = tokio::task::spawn_blocking(move || answer(&line, &*gateway, (door, &by)));
    loop {
        tokio::select! {
            answer = &mut work => return answer.map_err(io::Error::other),
            () = tokio::time::sleep(BLANK_EVERY) => timeout(IDLE_MAX, writing.write_all(b" ")).await??,
        }
    }
}

/// The answer to one line.
fn answer(line: &[u8], gateway: &dyn Gateway, (door, by): (Door, &str)) -> Value {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(wrong) => return error("usage", &format!("no request: {wrong}")),
    };
    if door == Door::Questions && !request.is_question() {
        return error("usage", "this socket answers questions only; commands go to the one of `admin.socket`");
    }
    match perform(&request, gateway, by) {
        Ok(value) => json!({ "ok": value }),
        Err(RequestError::Usage(text)) => error("usage", &text),
        Err(failed) => error("failed", &crate::causes::chain_text(&failed)),
    }
}

fn error(kind: &str, text: &str) -> Value {
    json!({ "error": { "kind": kind, "text": text } })
}
