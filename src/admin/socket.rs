//! The Unix sockets: the same interface as over TCP, HTTP/1.1, for whoever may open them.
//!
//! Who may open the socket of commands may do everything; its permissions are the only lock. A second socket answers questions
//! alone. Every size and number is bounded.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{UnixListener, UnixStream};

use super::connection::{Guest, connection};
use super::doors::{Caller, Door};
use super::places::{AcceptTroubles, Origin, Place, Places};

/// Connections at once; a further one takes the place of one that is silent, see `places`.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection may be silent, take for a head, and take to accept an answer.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Longest work on one request: acting on a large queue takes its time.
const WORK_MAX: Duration = Duration::from_secs(600);

/// Pause after an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    path: PathBuf,
    /// Device and inode of the file: another gateway may have put its own there since.
    file: Option<(u64, u64)>,
}

impl Bound {
    /// Binds the socket with these permissions. A file left by a process that is gone is replaced.
    ///
    /// # Errors
    /// Whatever the system says; `AddrInUse` when another process serves the socket, or one may that does not let us in.
    pub fn new(path: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(meta) = std::fs::symlink_metadata(path) {
            if !meta.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            match StdStream::connect(path).map_err(|error| (error.kind(), error)) {
                // Nobody has it any more, or it has gone meanwhile.
                Err((io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound, _)) => {}
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
                Err((_, error)) => {
                    let text = format!("another process may serve it: {error}; remove the file if none does");
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
                }
            }
        }
        // Bound aside and renamed: at its own name it never has other permissions than these.
        let aside = aside(path);
        let _left = std::fs::remove_file(&aside);
        let listener = StdListener::bind(&aside).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::NotFound, "the folder is not there"),
            _ => error,
        })?;
        let named = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(mode))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| std::fs::rename(&aside, path));
        if let Err(error) = named {
            let _left = std::fs::remove_file(&aside);
            return Err(error);
        }
        Ok(Self { listener, path: path.to_owned(), file: file_at(path) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A short name in the same folder: the path may be as long as a socket's can be.
fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{:x}", std::process::id()))
}

/// What names the file at a path, whatever its path.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == file_at(&self.path) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Serves for ever.
pub(super) async fn serve(bound: Bound, door: Door, router: Router) {
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
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                let place = Arc::new(places.take(Origin::User(user)).await);
                tokio::spawn(converse((stream, user), place, door, router.clone()));
            }
            Err(error) => {
                troubles.note(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn converse((stream, uid): (UnixStream, Option<u32>), place: Arc<Place>, door: Door, router: Router) {
    let by = uid.map_or_else(|| "somebody".to_owned(), user);
    let guest = Guest::Known(Caller { door, by: by.into() });
    let connection = connection(Box::new(stream), place.clone(), (guest, router), IDLE_MAX);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a command connection ended");
        },
        () = place.has_to_go() => tracing::debug!("a silent command connection gave its place up"),
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
