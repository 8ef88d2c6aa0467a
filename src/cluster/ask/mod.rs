//! Questions to the processes of a cluster, and commands, over its own servers: no port is needed for them.
//!
//! | subject | who hears it | what comes there |
//! |---|---|---|
//! | `PREFIX.ask.gateway.NAME`, `PREFIX.ask.deliver.NAME` | one process | questions of `/api/v1` |
//! | `PREFIX.command.gateway.NAME`, `PREFIX.command.deliver.NAME` | one process | what changes something, if [`Settings::commands`](super::Settings::commands) lets it in |
//! | `PREFIX.ask.all` | all | whether somebody is there: the answer is a name |
//! | `PREFIX.answer.>` | whoever asks | the answers |
//!
//! A request is one message, a JSON object ([`Ask`]). Its answer is the body of an HTTP response in pieces that every server
//! takes, each with its number and the code; while a process works on it, it says so each second, and hears whether anybody
//! waits still. Messages of NATS may be lost: then there is no answer, and whoever asks says so. No request is repeated.
//!
//! A process hears them over a connection of its own, on the thread of administration: neither calls nor delivery, leases nor
//! the mirror of calls wait behind an answer. [`answering`] is its end, [`Asker`] the other one.

mod asker;
mod serve;

use async_nats::HeaderMap;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::asker::{
    AskError, Asker, ForgetError, Member, Members, NotKnown, Question, ReachError, SILENCE_MAX, Standing,
};
pub use self::serve::answering;

/// The version of requests that this release sends and takes.
const VERSION: u32 = 1;

/// Longest request, in octets: as the longest body over HTTP, and its head.
const ASK_OCTETS_MAX: usize = 80 << 10;

/// Longest piece of an answer, in octets; shorter where the servers take less.
const PIECE_OCTETS_MAX: usize = 256 << 10;

/// What the head of a message may take of what the servers let through.
const HEAD_OCTETS: usize = 1 << 10;

/// Which process answers: its role and its name.
const MEMBER: &str = "Tollgate-Member";
/// Code of the answer, as in HTTP.
const STATUS: &str = "Tollgate-Status";
/// Number of the piece from 1, and how many there are: `3/17`.
const PIECE: &str = "Tollgate-Piece";

/// A request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Ask {
    v: u32,
    /// Method of HTTP.
    method: String,
    /// Path and query, from `/api/v1/` on.
    target: String,
    /// Who asks, for the log.
    by: String,
    /// The body.
    body: Option<Value>,
}

impl Ask {
    fn encode(&self) -> Vec<u8> {
        // Texts, a number and a value of JSON always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one; or in words why it is none.
    fn read(octets: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        if octets.len() > ASK_OCTETS_MAX {
            return Err(format!("the request is longer than {} KiB", ASK_OCTETS_MAX >> 10));
        }
        let unread = |error: serde_json::Error| format!("the request cannot be read: {error}");
        let Versioned { v } = serde_json::from_slice(octets).map_err(unread)?;
        if v != VERSION {
            return Err(format!("the request is of version {v}, and this release takes {VERSION}"));
        }
        serde_json::from_slice(octets).map_err(unread)
    }
}

/// The number of a piece and how many there are, if they make sense.
fn read_piece(headers: &HeaderMap) -> Option<(usize, usize)> {
    let (number, all) = headers.get(PIECE)?.as_str().split_once('/')?;
    let (number, all) = (number.parse().ok()?, all.parse().ok()?);
    (1..=all).contains(&number).then_some((number, all))
}

/// An answer in pieces, the first one first: what each of them has beside `head`, and its octets. `payload_max` is what the
/// servers take of both.
fn pieces(
    head: &HeaderMap,
    status: StatusCode,
    mut body: Bytes,
    payload_max: usize,
) -> impl Iterator<Item = (HeaderMap, Bytes)> {
    let longest = payload_max.saturating_sub(HEAD_OCTETS).clamp(1, PIECE_OCTETS_MAX);
    let all = body.len().div_ceil(longest).max(1);
    (1..=all).map(move |number| {
        let mut head = head.clone();
        head.insert(STATUS, status.as_str());
        head.insert(PIECE, format!("{number}/{all}"));
        (head, body.split_to(longest.min(body.len())))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask() -> Ask {
        let body = Some(json!({ "all": true }));
        let (method, target) = ("POST".to_owned(), "/api/v1/records/retry".to_owned());
        Ask { v: VERSION, method, target, by: "alice".to_owned(), body }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        assert_eq!(Ask::read(&ask().encode()), Ok(ask()));
        let more = String::from_utf8(ask().encode()).expect("JSON").replace("\"by\"", "\"new\":1,\"by\"");
        assert_eq!(Ask::read(more.as_bytes()), Ok(ask()), "what a release of this version adds is passed over");
    }

    #[test]
    fn what_is_no_request_of_ours_is_told() {
        let good = String::from_utf8(ask().encode()).expect("JSON");
        for (name, octets, want) in [
            ("nothing", Vec::new(), "cannot be read"),
            ("octets", b"\x00\xff\x80".to_vec(), "cannot be read"),
            ("deep", "[".repeat(70_000).into_bytes(), "cannot be read"),
            ("a later version", good.replace("\"v\":1", "\"v\":2").into_bytes(), "of version 2"),
            ("another one", br#"{"v":9,"question":[]}"#.to_vec(), "of version 9"),
            ("no method", good.replace("method", "verb").into_bytes(), "cannot be read"),
            ("too long", good.replace("alice", &"x".repeat(ASK_OCTETS_MAX)).into_bytes(), "longer than 80 KiB"),
        ] {
            let told = Ask::read(&octets).expect_err(name);
            assert!(told.contains(want), "{name}: {told}");
        }
        for end in 0..good.len() {
            assert!(Ask::read(&good.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn pieces_have_numbers_from_one() {
        for (text, want) in [
            ("1/1", Some((1, 1))),
            ("3/17", Some((3, 17))),
            ("0/1", None),
            ("2/1", None),
            ("1", None),
            ("a/b", None),
            ("-1/2", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PIECE, text);
            assert_eq!(read_piece(&headers), want, "{text}");
        }
        assert_eq!(read_piece(&HeaderMap::new()), None);
    }
}
