//! The key that signs branches and Record-Route parameters: random, made at the first start, kept in a file that only
//! its owner reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Octets of the key.
pub const KEY_OCTETS: usize = 16;

/// Reads the key, or makes one where there is no file yet.
///
/// # Errors
/// The file cannot be read or made, or holds something else than [`KEY_OCTETS`] octets.
pub fn load_or_create(path: &Path) -> io::Result<[u8; KEY_OCTETS]> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut key = [0; KEY_OCTETS];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    // Written aside and renamed, so that a crash leaves no half of a key.
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

fn read(path: &Path) -> io::Result<[u8; KEY_OCTETS]> {
    let mut octets = Vec::new();
    File::open(path)?.take(KEY_OCTETS as u64 + 1).read_to_end(&mut octets)?;
    octets.try_into().map_err(|octets: Vec<u8>| {
        let text = format!("{} holds {} octets instead of {KEY_OCTETS}", path.display(), octets.len());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Whether others than the owner and the group may read the file; `false` when it is not there.
#[must_use]
pub fn is_world_readable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sip.key");
        let first = load_or_create(&path).expect("made");
        assert_eq!(load_or_create(&path).expect("read"), first);
        assert_ne!(first, [0; KEY_OCTETS]);
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert!(!is_world_readable(&path));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sip.key");
        std::fs::write(&path, b"short").expect("written");
        let error = load_or_create(&path).expect_err("no key");
        assert!(error.to_string().ends_with("holds 5 octets instead of 16"), "{error}");
        assert_eq!(std::fs::read(&path).expect("there"), b"short");
    }
}
