//! A small file system of a test's own, for full disks. Needs root; without it a test says that it is skipped, and fails
//! with `TOLLGATE_PEERS=required`.

use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A small file system, gone with this value.
pub struct Small {
    path: PathBuf,
}

impl Small {
    /// Mounts one of `mib` MiB at `path`, which is made if need be; `None` when that is not allowed here.
    ///
    /// # Panics
    /// When it is not allowed and required.
    pub fn mount(path: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(path).expect("the folder can be made");
        let text = |bytes: &[u8]| CString::new(bytes).expect("no zero octets");
        let options = format!("size={mib}m,mode=0700");
        let (kind, target, options) = (text(b"tmpfs"), text(path.as_os_str().as_bytes()), text(options.as_bytes()));
        // SAFETY: all pointers are texts that end in a zero octet and live until the call returns.
        let done = unsafe {
            libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast::<libc::c_void>())
        };
        if done != 0 {
            let error = std::io::Error::last_os_error();
            let required = std::env::var("TOLLGATE_PEERS").is_ok_and(|value| value == "required");
            assert!(!required, "cannot mount a small file system, and TOLLGATE_PEERS=required: {error}");
            eprintln!("skipped: cannot mount a small file system: {error}");
            return None;
        }
        Some(Self { path: path.to_owned() })
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills what is left, to the last page.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.path.join("ballast")).expect("a name still fits");
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Gives back what was filled.
    pub fn empty(&self) {
        fs::remove_file(self.path.join("ballast")).expect("it was filled");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path = CString::new(self.path.as_os_str().as_bytes()).expect("no zero octets");
        // SAFETY: the pointer is a text that ends in a zero octet.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
