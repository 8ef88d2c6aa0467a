//! radiusclient.conf as one more format of the `config` crate.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use config::{FileStoredFormat, Format, Map, Value, ValueKind};

use super::Unknown;
use super::keys::Kind;
use super::lines;
use super::servers;
use crate::config::error::{Findings, Mistakes};

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
        let mut found = Findings::default();
        let mut values: BTreeMap<&str, ValueKind> = BTreeMap::new();
        for entry in lines::entries(path, text.as_bytes(), Unknown::Refuse, &mut found) {
            let kind = match entry.key.kind {
                Kind::Ignored => continue,
                Kind::Servers => {
                    let listed = servers::list(path, &entry, &mut found).into_iter().map(|server| match server.port {
                        Some(port) => format!("{}:{port}", server.host),
                        None => server.host.to_string(),
                    });
                    let mut all = match values.remove(entry.key.name) {
                        Some(ValueKind::Array(earlier)) => earlier,
                        _ => Vec::new(),
                    };
                    all.extend(listed.map(|server| Value::new(uri, server)));
                    ValueKind::Array(all)
                }
                Kind::Number { .. } => match entry.value.parse::<i64>() {
                    Ok(number) => ValueKind::I64(number),
                    Err(_) => ValueKind::String(entry.value.to_owned()),
                },
                Kind::Text | Kind::Switch | Kind::Word => ValueKind::String(entry.value.to_owned()),
            };
            values.insert(entry.key.name, kind);
        }
        if found.has_error() {
            return Err(Box::new(Mistakes(found.sorted())));
        }
        Ok(values.into_iter().map(|(name, kind)| (name.to_owned(), Value::new(uri, kind))).collect())
    }
}

impl FileStoredFormat for RadiusClientFormat {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["conf"]
    }
}
