//! Lines of a radiusclient.conf: keyword, blanks, value to the end of the line.

use std::path::Path;

use super::keys::{Key, Kind, OURS};
use super::{LINE_OCTETS_MAX, Unknown};
use crate::config::error::{Findings, Mistake, Place, suggestion};

/// One keyword with its value, as written.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'static Key,
    /// Without blanks at its ends; empty when there is none.
    pub(super) value: &'a str,
    pub(super) line: u32,
    /// Of the value.
    pub(super) column: u32,
}

/// All lines with a known keyword, in their order.
pub(super) fn entries<'a>(path: &Path, text: &'a [u8], unknown: Unknown, found: &mut Findings) -> Vec<Entry<'a>> {
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
        let code = whole.trim_start_matches(is_blank);
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        let (word, rest) = code.split_at(code.find(is_blank).unwrap_or(code.len()));
        let value = rest.trim_start_matches(is_blank);
        let at = |part: &str| column(whole, whole.len() - part.len());
        let Some(key) = key(word, &place(at(code)), unknown, found) else { continue };
        let value_at = if value.is_empty() { at(code) } else { at(value) };
        entries.push(Entry { key, value: look(key, value, &place(value_at), found), line, column: value_at });
    }
    entries
}

/// The known keyword meant by `word`.
fn key(word: &str, place: &Place, unknown: Unknown, found: &mut Findings) -> Option<&'static Key> {
    if let Some(key) = OURS.iter().find(|key| key.name == word) {
        return Some(key);
    }
    if let Some(key) = OURS.iter().find(|key| key.name.eq_ignore_ascii_case(word)) {
        let what = format!("`{word}` is taken for `{}`; the libraries refuse it, for case matters to them", key.name);
        found.push(Mistake::warning(what, place.clone()));
        return Some(key);
    }
    let what = format!("unknown keyword `{}`", word.chars().take(40).collect::<String>().escape_debug());
    let hint = suggestion(word, OURS.iter().map(|key| key.name));
    let mistake = match unknown {
        Unknown::Refuse => Mistake::error(what, place.clone()),
        Unknown::Warn => Mistake::warning(what, place.clone()),
    };
    found.push(mistake.maybe_hint(hint));
    None
}

/// The value as it counts: without a comment where the kind of key allows one; warns of what is probably not meant.
fn look<'a>(key: &Key, value: &'a str, place: &Place, found: &mut Findings) -> &'a str {
    if key.kind == Kind::Ignored {
        return value;
    }
    if value.starts_with('=') && key.kind == Kind::Text {
        let what = format!("the value of `{}` starts with `=`, which belongs to it: this format has no `=`", key.name);
        found.push(Mistake::warning(what, place.clone()));
    }
    let Some(hash) = comment(value) else { return value };
    match key.kind {
        Kind::Text => {
            let what = format!("`#` inside the value of `{}` belongs to the value", key.name);
            let hint = "a comment needs a line of its own";
            found.push(Mistake::warning(what, place.clone()).hint(hint));
            value
        }
        Kind::Number { .. } => value[..hash].trim_end_matches(is_blank),
        _ => {
            let what = format!("the libraries take the comment after the value of `{}` for a part of it", key.name);
            found.push(Mistake::warning(what, place.clone()).hint("a comment needs a line of its own"));
            value[..hash].trim_end_matches(is_blank)
        }
    }
}

/// Where a `#` after a blank, or at the start, begins what looks like a comment.
fn comment(value: &str) -> Option<usize> {
    value.match_indices('#').map(|(at, _)| at).find(|&at| at == 0 || value[..at].ends_with(is_blank))
}

/// Column of the octet at `at`, in characters from 1.
fn column(line: &str, at: usize) -> u32 {
    u32::try_from(line[..at].chars().count()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Blank or tab.
pub(super) fn is_blank(char: char) -> bool {
    char == ' ' || char == '\t'
}
