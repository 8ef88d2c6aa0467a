//! What holds for the whole process.

#![allow(unsafe_code, reason = "the system calls umask and prctl")]

use std::io;

use crate::config::plan::HugePages;

/// Permissions that no new file gets, unless it is given them on purpose.
const NOT_FOR_OTHERS: libc::mode_t = 0o077;

/// From here on new files are for their owner alone: records and keys are no one else's business, whoever started this.
pub(super) fn keep_private() {
    // SAFETY: it changes a number of this process and cannot fail.
    unsafe { libc::umask(NOT_FOR_OTHERS) };
}

/// Whether memory comes in huge pages from here on. The allocator takes it in pieces of some MiB, of which a gateway at rest
/// uses little: in huge pages it had 51 MiB instead of 10, and a call cost 5 % more CPU, for whole pages are cleared.
///
/// # Errors
/// When the kernel knows no such switch.
pub fn use_huge_pages(use_them: HugePages) -> io::Result<()> {
    let off = libc::c_ulong::from(use_them == HugePages::Off);
    let zero: libc::c_ulong = 0;
    // SAFETY: it changes a flag of this process.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, off, zero, zero, zero) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_off_unless_they_are_asked_for() {
        let are_off = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
            status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(|word| word.trim() == "0")
        };
        use_huge_pages(HugePages::Off).expect("the kernel knows it");
        assert_eq!(are_off(), Some(true));
        use_huge_pages(HugePages::On).expect("the kernel knows it");
        assert_eq!(are_off(), Some(false));
    }
}
