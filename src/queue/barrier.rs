//! Records that are lent only after all of sessions that were appended before them: Accounting-On and Accounting-Off end sessions at
//! the server, so that no older record may follow them.

use std::time::Duration;

use crate::clock::Instant;
use crate::ids::CallHash;

use super::Lease;
use super::window::Window;

/// The call of a record that waits until every earlier record of a session is settled or parked at its sink. What is no
/// part of a session is not waited for, and later records do not wait for it. No Call-ID is hashed to it but by a chance of one in 2^64, which would only delay its records.
pub const AFTER_ALL: CallHash = CallHash(u64::MAX);

/// Takes back, of what was lent from `start` of `out` on, records that must wait for others; gives how many. `unread` finds the
/// first record that was not read yet, which may be anything.
pub(super) fn hold_back(
    window: &mut Window,
    unread: impl FnOnce(u64) -> Option<u64>,
    start: usize,
    now: Instant,
    out: &mut Vec<Lease>,
) -> usize {
    if !out[start..].iter().any(|lease| lease.call == AFTER_ALL) {
        return 0;
    }
    let unread = unread(window.cursor());
    let waits = |lease: &Lease| {
        let before = |first: u64| first < lease.seq.0;
        lease.call == AFTER_ALL && (unread.is_some_and(before) || window.has_session_before(lease.seq.0))
    };
    let before = out.len();
    let (held, free): (Vec<_>, Vec<_>) = out.drain(start..).partition(waits);
    out.extend(free);
    for lease in held {
        window.take_back(lease.seq.0, now, LOOK_AGAIN);
    }
    before - out.len()
}

/// How soon it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
