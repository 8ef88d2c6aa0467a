//! How the libraries of the radiusclient family read a line.

use std::path::Path;

use super::keys::OURS;
use super::{Unknown, servers};
use crate::config::error::{Findings, Mistake, Place, Weight};
use crate::config::keyword_file::{Entry, Key, Kind, Style, comment, unknown};

/// Lines of a radiusclient.conf.
pub(super) struct Lines {
    /// What is done about a keyword nobody knows.
    pub(super) unknown: Unknown,
}

impl Style for Lines {
    const KEYS: &'static [Key] = OURS;

    fn is_blank(char: char) -> bool {
        is_blank(char)
    }

    fn meant(&self, word: &str, place: &Place, found: &mut Findings) -> Option<&'static Key> {
        if let Some(key) = OURS.iter().find(|key| key.name.eq_ignore_ascii_case(word)) {
            let what =
                format!("`{word}` is taken for `{}`; the libraries refuse it, for case matters to them", key.name);
            found.push(Mistake::warning(what, place.clone()));
            return Some(key);
        }
        let weight = match self.unknown {
            Unknown::Refuse => Weight::Error,
            Unknown::Warn => Weight::Warning,
        };
        found.push(Mistake { weight, ..unknown(word, None, OURS, place) });
        None
    }

    /// Without a comment where the kind of key allows one; warns of what is probably not meant.
    fn value<'a>(&self, key: &Key, value: &'a str, place: &Place, found: &mut Findings) -> Option<&'a str> {
        if key.kind == Kind::Ignored {
            return Some(value);
        }
        if value.starts_with('=') && key.kind == Kind::Text {
            let what =
                format!("the value of `{}` starts with `=`, which belongs to it: this format has no `=`", key.name);
            found.push(Mistake::warning(what, place.clone()));
        }
        let Some(hash) = comment(value) else { return Some(value) };
        let without = value[..hash].trim_end_matches(is_blank);
        let (what, value) = match key.kind {
            Kind::Number { .. } => return Some(without),
            Kind::Text => (format!("`#` inside the value of `{}` belongs to the value", key.name), value),
            _ => {
                (format!("the libraries take the comment after the value of `{}` for a part of it", key.name), without)
            }
        };
        found.push(Mistake::warning(what, place.clone()).hint("a comment needs a line of its own"));
        Some(value)
    }

    fn shown(&self, path: &Path, entry: &Entry<'_>, found: &mut Findings) -> Vec<String> {
        let servers = servers::list(path, entry, found).into_iter().map(|server| match server.port {
            Some(port) => format!("{}:{port}", server.host),
            None => server.host.to_string(),
        });
        servers.collect()
    }
}

/// Blank or tab.
pub(super) fn is_blank(char: char) -> bool {
    char == ' ' || char == '\t'
}
