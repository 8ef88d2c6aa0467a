//! Dictionaries of Diameter: the built-in ones, the lines, the labels, the values, the XML.

mod import;
mod labels;
mod lines;
mod values;
mod xml;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Builder, Dictionary};
use crate::dictionary::load::{Identity, Loader, Source};
use crate::dictionary::problem::LoadError;

/// Files in memory.
pub(super) struct Table(HashMap<PathBuf, Vec<u8>>);

impl Table {
    fn of(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(name, text)| (PathBuf::from(name), text.to_vec())).collect())
    }
}

impl Loader for Table {
    fn load(&mut self, path: &Path) -> io::Result<Source> {
        let text = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        let number = u64::try_from(path.as_os_str().len()).unwrap_or(0);
        let letters: u64 = path.as_os_str().as_encoded_bytes().iter().map(|octet| u64::from(*octet)).sum();
        Ok(Source { text, identity: Identity(number, letters), is_world_writable: false })
    }
}

fn load(text: &[u8]) -> Result<Dictionary, LoadError> {
    let mut builder = Builder::with_builtin();
    builder.file(Path::new("site"), &mut Table::of(&[("site", text)]));
    builder.finish()
}

fn loaded(text: &str) -> Dictionary {
    load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// All problems in one text.
fn refused(text: &[u8]) -> String {
    load(text).expect_err("an error").to_string()
}
