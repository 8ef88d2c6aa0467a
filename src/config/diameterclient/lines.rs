//! Lines of a diameterclient.conf: keyword, blanks, value to the end of the line.

use std::path::Path;

use super::keys::{ALL, Key, Kind};
use crate::config::error::{Findings, Mistake, Place, suggestion};

/// Octets of one line.
const LINE_OCTETS_MAX: usize = 64 * 1024;

/// One keyword with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'static Key,
    /// Without blanks at its ends and without a comment; never empty.
    pub(super) value: &'a str,
    pub(super) line: u32,
    /// Of the value, in characters from 1.
    pub(super) column: u32,
}

/// All lines with a known keyword and a value, in their order.
pub(super) fn entries<'a>(path: &Path, text: &'a [u8], found: &mut Findings) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (line, octets) in (1..).zip(text.split(|octet| *octet == b'\n')) {
        let place = |column| Place::File { path: path.to_owned(), line, column };
        if octets.len() > LINE_OCTETS_MAX {
            found.push(Mistake::error(format!("line longer than {LINE_OCTETS_MAX} octets"), place(1)));
            continue;
        }
        let whole = match std::str::from_utf8(octets) {
            Ok(whole) => whole.trim_end(),
            Err(_) if octets.trim_ascii_start().first() == Some(&b'#') => continue,
            Err(_) => {
                found.push(Mistake::error("line is not UTF-8", place(1)));
                continue;
            }
        };
        let code = whole.trim_start();
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        let (word, rest) = code.split_at(code.find(char::is_whitespace).unwrap_or(code.len()));
        let value = rest.trim_start();
        let at = |part: &str| column(whole, whole.len() - part.len());
        let Some(key) = key(word, &place(at(code)), found) else { continue };
        let column = if value.is_empty() { at(code) } else { at(value) };
        // A blank and `#` begin a comment: no value has that.
        let end = value.match_indices('#').map(|(at, _)| at).find(|&at| at == 0 || value[..at].ends_with([' ', '\t']));
        let value = end.map_or(value, |end| value[..end].trim_end());
        if value.is_empty() {
            found.push(Mistake::error(format!("`{}` has no value", key.name), place(column)).hint(hint(key.kind)));
            continue;
        }
        if value.starts_with('=') {
            let mistake = Mistake::error(format!("the value of `{}` starts with `=`", key.name), place(column));
            found.push(mistake.hint("this format has no `=`"));
            continue;
        }
        entries.push(Entry { key, value, line, column });
    }
    entries
}

fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Peers => "`acctserver HOST[:PORT[:PRIORITY[:WEIGHT]]]`",
        Kind::List | Kind::Text => "leave the line out for its default",
        Kind::Number { .. } => "a whole number; leave the line out for its default",
        Kind::Switch => "`yes` or `no`",
    }
}

/// The known keyword meant by `word`.
fn key(word: &str, place: &Place, found: &mut Findings) -> Option<&'static Key> {
    if let Some(key) = ALL.iter().find(|key| key.name == word) {
        return Some(key);
    }
    // The other file of this style has underscores.
    let plain = word.to_ascii_lowercase().replace('_', "-");
    let near = ALL.iter().find(|key| key.name == plain).map(|key| format!("did you mean `{}`?", key.name));
    let what = format!("unknown keyword `{}`", word.chars().take(40).collect::<String>().escape_debug());
    let hint = near.or_else(|| suggestion(word, ALL.iter().map(|key| key.name)));
    found.push(Mistake::error(what, place.clone()).maybe_hint(hint));
    None
}

/// Column of the octet at `at`, in characters from 1.
fn column(line: &str, at: usize) -> u32 {
    u32::try_from(line[..at].chars().count()).unwrap_or(u32::MAX).saturating_add(1)
}
