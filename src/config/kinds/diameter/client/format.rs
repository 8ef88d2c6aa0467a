//! diameterclient.conf as one more format of the `config` crate.

use std::error::Error;
use std::path::Path;

use config::{FileStoredFormat, Format, Map, Value};

use super::lines::Lines;
use crate::config::keyword_file;

/// Reads a diameterclient.conf into keyword and value: peers and lists as arrays, numbers as integers, everything else as
/// text. Of a repeated keyword that is no list the last one counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiameterClientFormat;

impl Format for DiameterClientFormat {
    fn parse(&self, uri: Option<&String>, text: &str) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
        keyword_file::values(&Lines, Path::new(uri.map_or("diameterclient.conf", String::as_str)), uri, text)
    }
}

impl FileStoredFormat for DiameterClientFormat {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["conf"]
    }
}
