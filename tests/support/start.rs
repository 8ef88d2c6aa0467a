//! How a test starts a process: one at a time in this process.
//!
//! `cargo test` runs the tests of a binary as threads. Between its fork and its exec a child has copies of all
//! descriptors of all of them, so that the lock of a queue or the port of a socket that another test closes in that
//! moment is not free yet. `clippy.toml` keeps tests from starting processes in any other way.

#![allow(clippy::disallowed_methods, reason = "this is the other way")]

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held from before a child's fork to after its exec.
static STARTS: Mutex<()> = Mutex::new(());

/// Keeps children from being started; none is between fork and exec.
pub fn none_starts() -> MutexGuard<'static, ()> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until what this process has closed is closed everywhere: before a queue is opened, or a port bound, again.
pub fn closed_is_closed() {
    drop(none_starts());
}

/// Starts commands.
pub trait Start {
    /// As [`Command::spawn`]. What this process has closed before is closed when the child runs.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    fn start(&mut self) -> io::Result<Child>;

    /// As [`Command::output`], with nothing to read.
    ///
    /// # Errors
    /// Those of [`Command::output`].
    fn finish(&mut self) -> io::Result<Output>;
}

impl Start for Command {
    fn start(&mut self) -> io::Result<Child> {
        let _alone = none_starts();
        self.spawn()
    }

    fn finish(&mut self) -> io::Result<Output> {
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).start()?.wait_with_output()
    }
}
