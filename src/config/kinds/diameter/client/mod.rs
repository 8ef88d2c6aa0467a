//! diameterclient.conf: who we are in Diameter, our peers, and how records are sent; in the style of radiusclient.conf.
//!
//! A keyword, blanks, the value to the end of the line or to a blank and `#`. All mistakes are told at once, with file
//! and line. `etc/diameterclient.conf` documents every keyword.

mod format;
mod keys;
mod lines;
mod peers;
mod reader;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use format::DiameterClientFormat;

use crate::config::error::{Mistake, Mistakes};
use crate::config::keyword_file::{self, unreadable};
use crate::config::keywords::Keywords;
use crate::sinks::diameter::settings::Settings;

/// What one diameterclient.conf says, checked.
#[derive(Clone, Debug)]
pub struct DiameterClient {
    /// The file it was read from, for messages.
    pub path: PathBuf,
    /// What it says; the dictionary is the built-in one still.
    pub settings: Settings,
    /// Dictionaries, read after the built-in one, in order.
    pub dictionaries: Vec<PathBuf>,
    /// Where what it says stands.
    pub keywords: Keywords,
    /// What the operator should know.
    pub warnings: Vec<Mistake>,
}

/// Reads a diameterclient.conf. Names are not looked up.
///
/// # Errors
/// All mistakes, warnings too, when one of them is an error.
pub fn load(path: &Path) -> Result<DiameterClient, Mistakes> {
    match keyword_file::read(path) {
        Ok((text, _)) => parse(path, &text),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads the text of a diameterclient.conf; relative paths in it start at the folder of `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &[u8]) -> Result<DiameterClient, Mistakes> {
    reader::read(path, text)
}
