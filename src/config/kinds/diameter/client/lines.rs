//! How a line of diameterclient.conf is read: a comment may follow a value, and every keyword needs one.

use std::path::Path;

use super::keys::ALL;
use crate::config::error::{Findings, Mistake, Place};
use crate::config::keyword_file::{Entry, Key, Kind, Style, comment, unknown};

/// Lines of a diameterclient.conf.
pub(super) struct Lines;

impl Style for Lines {
    const KEYS: &'static [Key] = ALL;

    fn is_blank(char: char) -> bool {
        char.is_whitespace()
    }

    fn meant(&self, word: &str, place: &Place, found: &mut Findings) -> Option<&'static Key> {
        // The other file of this style has underscores.
        let plain = word.to_ascii_lowercase().replace('_', "-");
        let near = ALL.iter().find(|key| key.name == plain).map(|key| key.name);
        found.push(unknown(word, near, ALL, place));
        None
    }

    fn value<'a>(&self, key: &Key, value: &'a str, place: &Place, found: &mut Findings) -> Option<&'a str> {
        // A blank and `#` begin a comment: no value has that.
        let value = comment(value).map_or(value, |end| value[..end].trim_end());
        if value.is_empty() {
            found.push(Mistake::error(format!("`{}` has no value", key.name), place.clone()).hint(hint(key.kind)));
            return None;
        }
        if value.starts_with('=') {
            let mistake = Mistake::error(format!("the value of `{}` starts with `=`", key.name), place.clone());
            found.push(mistake.hint("this format has no `=`"));
            return None;
        }
        Some(value)
    }

    fn shown(&self, _: &Path, entry: &Entry<'_>, _: &mut Findings) -> Vec<String> {
        entry.words().map(|(_, word)| word.to_owned()).collect()
    }
}

fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Servers => "`acctserver HOST[:PORT[:PRIORITY[:WEIGHT]]]`",
        Kind::List | Kind::Text | Kind::Word | Kind::Ignored => "leave the line out for its default",
        Kind::Number { .. } => "a whole number; leave the line out for its default",
        Kind::Switch => "`yes` or `no`",
    }
}
