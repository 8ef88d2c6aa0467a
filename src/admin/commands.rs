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

use super::answer::{call_json, ladder_json, reloaded_json, trace_json, traced_json};
use super::places::{AcceptTroubles, Place, Places};
use super::request::{CALLS_MAX, REASON_OCTETS_MAX, Request, RequestError, TRACED_MAX, TURNS_MAX, on_queue};
use super::{Gateway, Health, http::status_json};
use crate::accounting::Closing;
use crate::policy::script::trace::Find;

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

/// What may be done through a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum May {
    /// Everything.
    All,
    /// Questions: nothing changes by them.
    Ask,
}

/// Serves commands for ever.
pub(super) async fn serve(bound: Bound, may: May, gateway: Arc<dyn Gateway>) {
    let listener = match bound.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the command socket cannot be served");
            return;
        }
    };
    let places = Places::new(CONNECTIONS_MAX, WORK_MAX);
    let mut troubles = AcceptTroubles::new("command");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                troubles.over();
                let (place, gateway) = (places.take().await, Arc::clone(&gateway));
                tokio::spawn(async move {
                    tokio::select! {
                        ended = converse(stream, &place, may, gateway) => if let Err(error) = ended {
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
async fn converse(stream: UnixStream, place: &Place, may: May, gateway: Arc<dyn Gateway>) -> io::Result<()> {
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
            worked_on(line, (may, by.clone()), &gateway, &mut writing).await?
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
    (may, by): (May, String),
    gateway: &Arc<dyn Gateway>,
    writing: &mut OwnedWriteHalf,
) -> io::Result<Value> {
    let gateway = Arc::clone(gateway);
    let mut work = tokio::task::spawn_blocking(move || answer(&line, &*gateway, (may, &by)));
    loop {
        tokio::select! {
            answer = &mut work => return answer.map_err(io::Error::other),
            () = tokio::time::sleep(BLANK_EVERY) => timeout(IDLE_MAX, writing.write_all(b" ")).await??,
        }
    }
}

/// The answer to one line.
fn answer(line: &[u8], gateway: &dyn Gateway, (may, by): (May, &str)) -> Value {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(wrong) => return error("usage", &format!("no request: {wrong}")),
    };
    if may == May::Ask && !request.is_question() {
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

/// Does a request; `by` names who asks, for the log.
pub(super) fn perform(request: &Request, gateway: &dyn Gateway, by: &str) -> Result<Value, RequestError> {
    match request {
        Request::Status {} => Ok(status_json(gateway)),
        Request::Reload {} => gateway.reload().map(|done| reloaded_json(&done)).ok_or(RequestError::NotRunning),
        Request::Calls { max } => Ok(calls_json(&gateway.health(), gateway, (*max).min(CALLS_MAX))),
        Request::ScriptTrace { call, number, max } => {
            let find = Find { call: call.clone(), number: number.clone(), max: (*max).min(TURNS_MAX) };
            script_trace(gateway, &find)
        }
        Request::Ladder { call } => {
            gateway.ladder(call.as_bytes()).map(|ladder| ladder_json(&ladder)).ok_or_else(|| {
                let what = "is kept: `[trace] calls` says of how many calls they are, 0 unless it is set";
                RequestError::Usage(format!("no message of the Call-ID `{}` {what}", brief(call)))
            })
        }
        Request::Traced { max } => {
            let calls = gateway.traced((*max).min(TRACED_MAX));
            Ok(json!({ "calls": calls.iter().map(traced_json).collect::<Vec<_>>() }))
        }
        Request::CallsEnd { call, bye, reason } => {
            let reason = reason.as_deref().map(reason_phrase).transpose()?;
            end_calls(gateway, &Closing { name: call.clone(), reason, hangs_up: *bye }, by)
        }
        Request::LedgerFlush {} => Ok(json!({ "written": gateway.flush_ledger() })),
        Request::QueueStatus {}
        | Request::QueueList { .. }
        | Request::QueueAct { .. }
        | Request::QueueImport { .. } => {
            let mut desk = gateway.desk();
            on_queue(request, &mut *desk, by).unwrap_or(Err(RequestError::NotRunning))
        }
    }
}

/// What handlers have decided, or why nothing is known of that.
fn script_trace(gateway: &dyn Gateway, find: &Find) -> Result<Value, RequestError> {
    let usage = |text: String| Err(RequestError::Usage(text));
    let Some(found) = gateway.script_trace(find) else {
        return usage("the gateway has no script: `[script] file` would name one".to_owned());
    };
    if found.keeps == 0 {
        return usage("nothing is kept of what the script decides: `[script] trace_turns` is 0".to_owned());
    }
    let what = match (&find.call, &find.number) {
        (_, Some(number)) => format!("calls from or to `{}`", brief(number)),
        (Some(call), None) => format!("the Call-ID `{}`", brief(call)),
        (None, None) => return Ok(trace_json(&found)),
    };
    if found.total > 0 {
        return Ok(trace_json(&found));
    }
    let since =
        found.oldest.map_or_else(|| "none has run yet".to_owned(), |oldest| format!("the oldest is of {oldest}"));
    usage(format!("no handler that is kept has run for {what}: each thread keeps its last {}, {since}", found.keeps))
}

/// The beginning of what somebody has asked for, fit for a terminal.
fn brief(text: &str) -> String {
    let beginning: String = text.chars().take(BRIEF_CHARS_MAX).collect();
    let rest = if beginning.len() < text.len() { "..." } else { "" };
    format!("{}{rest}", beginning.escape_debug())
}

/// Characters of a Call-ID in a message.
const BRIEF_CHARS_MAX: usize = 80;

/// A reason that can stand in a record.
fn reason_phrase(text: &str) -> Result<String, RequestError> {
    if text.len() > REASON_OCTETS_MAX || text.contains(char::is_control) {
        let limit = format!("a reason has at most {REASON_OCTETS_MAX} octets and no control characters");
        return Err(RequestError::Usage(limit));
    }
    Ok(text.to_owned())
}

/// Ends calls, and says in the log who did.
fn end_calls(gateway: &dyn Gateway, closing: &Closing, by: &str) -> Result<Value, RequestError> {
    let ended = gateway.end_calls(closing);
    if ended.is_empty() {
        let name = &closing.name;
        return Err(RequestError::Usage(format!("no answered call has the Call-ID or the session `{name}`")));
    }
    let reason = closing.reason.as_deref().unwrap_or("none given");
    for call in &ended {
        let call_id = String::from_utf8_lossy(&call.call_id).into_owned();
        tracing::warn!(
            by,
            call_id,
            session = call.session,
            bye = closing.hangs_up,
            reason,
            "a call was ended by the operator"
        );
    }
    Ok(json!({ "ended": ended.iter().map(call_json).collect::<Vec<_>>() }))
}

/// Calls in progress, and how many there are in all.
pub(super) fn calls_json(health: &Health, gateway: &dyn Gateway, max: usize) -> Value {
    let calls: Vec<_> = gateway.calls(max).iter().take(max).map(call_json).collect();
    json!({ "total": health.calls, "calls": calls })
}
