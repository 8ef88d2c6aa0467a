//! What holds for the whole process.

#![allow(unsafe_code, reason = "the system call umask")]

/// Permissions that no new file gets, unless it is given them on purpose.
const NOT_FOR_OTHERS: libc::mode_t = 0o077;

/// From here on new files are for their owner alone: records and keys are no one else's business, whoever started this.
pub(super) fn keep_private() {
    // SAFETY: it changes a number of this process and cannot fail.
    unsafe { libc::umask(NOT_FOR_OTHERS) };
}
