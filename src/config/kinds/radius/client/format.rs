//! radiusclient.conf as one more format of the `config` crate.

use std::error::Error;
use std::path::Path;

use config::{FileStoredFormat, Format, Map, Value};

use super::Unknown;
use super::lines::Lines;
use crate::config::keyword_file;

/// Reads a radiusclient.conf into keyword and value: server lists as arrays of `host:port`, numbers as integers,
/// everything else as text.
///
/// Secrets are left out, so that no dump of a configuration shows one; [`load`](super::load) has them. Ignored
/// keywords are left out too. Of a repeated keyword the last one counts, as in the libraries.
#[derive(Clone, Copy, Debug, Default)]
pub struct RadiusClientFormat;

impl Format for RadiusClientFormat {
    fn parse(&self, uri: Option<&String>, text: &str) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
        let path = Path::new(uri.map_or("radiusclient.conf", String::as_str));
        keyword_file::values(&Lines { unknown: Unknown::Refuse }, path, uri, text)
    }
}

impl FileStoredFormat for RadiusClientFormat {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["conf"]
    }
}
