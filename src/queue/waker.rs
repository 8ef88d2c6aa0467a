//! G7: wakes a flush of sled that would wait for ever.
//!
//! A buffer of sled's log is written by a thread of its own. Where that fails, one of the two places that start such a write
//! notes the error and wakes nobody (0.34.7, `exit_reservation`): a flush that waits already goes on waiting. One that begins
//! afterwards sees the error, and wakes all that wait; so another one is begun when the first takes long.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// A flush that takes longer gets company.
pub const FIRST: Duration = Duration::from_secs(1);

/// Longest pause between two of them: each waits as well where the disk is slow and nothing else is wrong.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Flushes; after `first`, and then ever less often, by other threads as well, until the first one has ended.
pub fn flush_woken<R>(first: Duration, flush: impl Fn() -> R + Sync) -> R {
    thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let again = &flush;
        let wake = move || {
            let mut pause = first;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                // Without a thread it is tried again after the next pause.
                let _started = thread::Builder::new().spawn_scoped(scope, move || drop(again()));
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        // Without it the flush has no company, as most need none.
        let _started = thread::Builder::new().name("sled-waker".into()).spawn_scoped(scope, wake);
        let result = flush();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[test]
    fn a_flush_that_nobody_wakes_is_woken_by_another_one() {
        // As sled does: the first waits, and one that sees the error wakes it.
        let (error, wakes, begun) = (Mutex::new(false), Condvar::new(), AtomicU32::new(0));
        let flush = || {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            let mut has_failed = error.lock().unwrap();
            if number > 0 {
                *has_failed = true;
                wakes.notify_all();
                return number;
            }
            while !*has_failed {
                has_failed = wakes.wait(has_failed).unwrap();
            }
            number
        };
        assert_eq!(flush_woken(Duration::from_millis(5), flush), 0);
        assert!(begun.load(Ordering::SeqCst) > 1);
    }

    #[test]
    fn a_flush_that_ends_has_no_company() {
        let begun = AtomicU32::new(0);
        assert_eq!(flush_woken(FIRST, || begun.fetch_add(1, Ordering::SeqCst)), 0);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }
}
