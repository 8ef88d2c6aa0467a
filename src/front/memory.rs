//! How much memory the process has, for the limit beyond which new calls are refused.

/// Resident memory of the process, in octets; 0 when the kernel does not tell.
pub(super) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}

/// Octets of a page, in which `statm` counts (proc(5)); 4096 on every machine Tollgate is packaged for.
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells() {
        assert!(super::resident_bytes() > 1 << 20, "a test takes more than a mebibyte");
    }
}
