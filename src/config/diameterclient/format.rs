//! diameterclient.conf as one more format of the `config` crate.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use config::{FileStoredFormat, Format, Map, Value, ValueKind};

use super::keys::Kind;
use super::lines;
use super::reader;
use crate::config::error::{Findings, Mistakes};

/// Reads a diameterclient.conf into keyword and value: peers and lists as arrays, numbers as integers, everything else as
/// text. Of a repeated keyword that is no list the last one counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiameterClientFormat;

impl Format for DiameterClientFormat {
    fn parse(&self, uri: Option<&String>, text: &str) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
        let path = Path::new(uri.map_or("diameterclient.conf", String::as_str));
        let mut found = Findings::default();
        let mut values: BTreeMap<&str, ValueKind> = BTreeMap::new();
        for entry in lines::entries(path, text.as_bytes(), &mut found) {
            let kind = match entry.key.kind {
                Kind::Peers | Kind::List => {
                    let mut all = match values.remove(entry.key.name) {
                        Some(ValueKind::Array(earlier)) => earlier,
                        _ => Vec::new(),
                    };
                    all.extend(reader::words(entry.value).map(|(_, word)| Value::new(uri, word)));
                    ValueKind::Array(all)
                }
                Kind::Number { .. } => match entry.value.parse::<i64>() {
                    Ok(number) => ValueKind::I64(number),
                    Err(_) => ValueKind::String(entry.value.to_owned()),
                },
                Kind::Text | Kind::Switch => ValueKind::String(entry.value.to_owned()),
            };
            values.insert(entry.key.name, kind);
        }
        if found.has_error() {
            return Err(Box::new(Mistakes(found.sorted())));
        }
        Ok(values.into_iter().map(|(name, kind)| (name.to_owned(), Value::new(uri, kind))).collect())
    }
}

impl FileStoredFormat for DiameterClientFormat {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["conf"]
    }
}
