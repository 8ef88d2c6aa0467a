//! What of a line nobody is to see, by how its file is written.

use std::ops::Range;

use super::toml;
use crate::config::error::Form;
use crate::config::keyword_file::{Key, Kind};
use crate::dictionary::is_keyword;

/// A part of a line that is not shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Hidden {
    /// Its octets.
    pub place: Range<usize>,
    /// What stands there instead.
    pub with: &'static str,
}

/// What stands for a value that is hidden.
pub(super) const STARS: &str = "***";

/// What is hidden of the line that `line` is in a file.
pub(super) fn hidden(form: Form, text: &str, line: Range<usize>) -> Vec<Hidden> {
    let own = &text[line.clone()];
    match form {
        Form::Toml => toml::hidden(text, line),
        Form::Keywords(keys) => keywords(own, keys),
        Form::Secrets => behind_word(own),
        Form::Dictionary if is_dictionary(own) => comment(own, "#"),
        Form::Dictionary => behind_word(own),
        Form::Lua => lua(own),
        Form::Foreign => vec![Hidden { place: 0..own.len(), with: STARS }],
    }
}

/// Whether what has this name is not to be shown, whatever it is.
pub(super) fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRETIVE.iter().any(|word| name.contains(word)) || name.split('_').any(|word| SECRETIVE_WORDS.contains(&word))
}

/// The parts of a value that let somebody in: of a URL what stands before the `@`, and its parameters of such names; the
/// password of `USER:PASSWORD@HOST`.
pub(super) fn credentials(value: &str) -> impl Iterator<Item = Range<usize>> {
    let is_border = |char: char| char.is_whitespace() || "?&;,".contains(char);
    let mut at = 0;
    let parameters = value.split_inclusive(is_border).filter_map(move |piece| {
        let (start, piece) = (at, piece.trim_end_matches(is_border));
        at += piece.len() + 1;
        let (name, secret) = piece.split_once('=')?;
        let end = start + piece.trim_end_matches(['"', '\'']).len();
        is_secretive(name).then(|| end - secret.trim_end_matches(['"', '\'']).len()..end)
    });
    user(value).into_iter().chain(parameters)
}

/// Who a URL or an address says that we are: all but the name, or that too where a token may stand for it.
fn user(value: &str) -> Option<Range<usize>> {
    let end = value.rfind('@')?;
    if let Some(scheme) = value[..end].find("://") {
        return Some(scheme + 3..end);
    }
    let scheme = value.find("sip:").map(|at| at + 4).or_else(|| value.find("sips:").map(|at| at + 5));
    let start = scheme.filter(|start| *start <= end).unwrap_or(0);
    Some(start + value[start..end].find(':')? + 1..end)
}

/// All but the first word.
fn behind_word(line: &str) -> Vec<Hidden> {
    let word = line.len() - line.trim_start().len();
    let end = line[word..].find(char::is_whitespace).map_or(line.len(), |end| word + end);
    behind(line, end)
}

/// All from there on, but the blanks.
fn behind(line: &str, end: usize) -> Vec<Hidden> {
    let rest = &line[end..];
    let place = line.len() - rest.trim_start().len()..line.trim_end().len();
    if place.start < place.end { vec![Hidden { place, with: STARS }] } else { Vec::new() }
}

/// From that sign on.
fn comment(line: &str, sign: &str) -> Vec<Hidden> {
    line.find(sign).map(|at| Hidden { place: at..line.len(), with: "" }).into_iter().collect()
}

/// A keyword that is known is shown with its value, but servers without their secrets.
fn keywords(line: &str, keys: &[Key]) -> Vec<Hidden> {
    let start = line.len() - line.trim_start().len();
    let word = &line[start..];
    let word = &word[..word.find([' ', '\t']).unwrap_or(word.len())];
    let end = start + word.len();
    // One mistake in the keyword is forgiven here.
    let is_it = |key: &&Key| strsim::damerau_levenshtein(key.name, &word.to_ascii_lowercase()) <= 1;
    match keys.iter().find(is_it) {
        Some(key) if key.kind == Kind::Servers => servers(line, end),
        Some(_) if !is_secretive(word) => Vec::new(),
        _ => behind(line, end),
    }
}

/// Shows `HOST:PORT` of each server, and hides what else there is. A lone word may be a secret behind the wrong blank.
fn servers(line: &str, from: usize) -> Vec<Hidden> {
    let is_border = |char: char| char == ',' || char.is_whitespace();
    let (mut hidden, mut at, mut is_first) = (Vec::new(), from, true);
    for word in line[from..].split_inclusive(is_border) {
        let start = at;
        at += word.len();
        let word = word.trim_end_matches(is_border);
        if word.is_empty() {
            continue;
        }
        let host = match word.find(']') {
            Some(end) if word.starts_with('[') => end + 1,
            _ => word.find(':').unwrap_or(word.len()),
        };
        let is_host = std::mem::take(&mut is_first) || word[..host].contains(['.', '[']);
        let port = word[host..].strip_prefix(':').map_or(0, |rest| {
            let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
            let is_port = digits <= PORT_DIGITS && (rest.len() == digits || rest[digits..].starts_with(':'));
            if is_port { digits + 1 } else { 1 }
        });
        let shown = if is_host { host + port } else { 0 };
        let colon = usize::from(shown > 0 && word[shown..].starts_with(':'));
        if shown + colon < word.len() {
            hidden.push(Hidden { place: start + shown + colon..start + word.len(), with: STARS });
        }
    }
    hidden
}

/// Whether a line is one of a dictionary, and not of a file that was named as one.
fn is_dictionary(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word.starts_with('<') || is_keyword(word)
}

/// Strings of a line that speaks of secrets, and what lets somebody in.
fn lua(line: &str) -> Vec<Hidden> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let speaks = line.split(|char| !is_word(char)).any(is_secretive);
    let mut hidden = Vec::new();
    let (mut quote, mut at) = (None, 0);
    for (place, char) in line.char_indices() {
        match quote {
            None if char == '"' || char == '\'' => (quote, at) = (Some(char), place + 1),
            Some(own) if own == char => {
                quote = None;
                hide_text(line, at..place, speaks, &mut hidden);
            }
            _ => {}
        }
    }
    if quote.is_some() || line.contains("[[") {
        // It goes on in the next line.
        hide_text(line, at..line.len(), speaks, &mut hidden);
    }
    hidden
}

fn hide_text(line: &str, place: Range<usize>, is_whole: bool, hidden: &mut Vec<Hidden>) {
    if is_whole && !place.is_empty() {
        hidden.push(Hidden { place, with: STARS });
        return;
    }
    let inside = credentials(&line[place.clone()]);
    hidden.extend(inside.map(|own| Hidden { place: place.start + own.start..place.start + own.end, with: STARS }));
}

/// Parts of names that sound like secrets. Keys of TLS and of routing are named otherwise: they are files and templates.
const SECRETIVE: [&str; 13] = [
    "secret",
    "passw",
    "passphrase",
    "pwd",
    "token",
    "credential",
    "nkey",
    "signing_key",
    "private",
    "bearer",
    "auth_key",
    "authorization",
    "api_key",
];

/// Words of names that do.
const SECRETIVE_WORDS: [&str; 3] = ["pass", "psk", "pw"];

/// Digits of a port.
const PORT_DIGITS: usize = 5;
