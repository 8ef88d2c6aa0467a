//! Where the text of dictionary files comes from.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Octets of one dictionary file.
pub const FILE_OCTETS_MAX: usize = 1 << 20;

/// Names a file whatever path leads to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Identity(pub u64, pub u64);

/// One opened file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its octets; more than [`FILE_OCTETS_MAX`] are refused by the parser.
    pub text: Vec<u8>,
    /// Device and inode, so that a file is read once.
    pub identity: Identity,
    /// Whether every user of the machine may write it.
    pub is_world_writable: bool,
}

/// Opens dictionary files: the file system, or a table in tests.
pub trait Loader {
    /// Reads `path`.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` matters to an optional include.
    fn load(&mut self, path: &Path) -> io::Result<Source>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Loader for Files {
    fn load(&mut self, path: &Path) -> io::Result<Source> {
        let (text, about) = read(path, FILE_OCTETS_MAX)?;
        Ok(Source { text, identity: Identity(about.dev(), about.ino()), is_world_writable: about.mode() & 0o002 != 0 })
    }
}

/// The octets of a regular file, one more than `octets_max` at most, and what the system says of it.
///
/// # Errors
/// It cannot be read, or is no regular file.
pub(crate) fn read(path: &Path, octets_max: usize) -> io::Result<(Vec<u8>, Metadata)> {
    // Looked at before it is opened: opening a FIFO would wait for ever.
    let about = path.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(octets_max).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut text)?;
    Ok((text, about))
}
