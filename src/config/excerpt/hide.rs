//! What of a line nobody is to see, by how its file is written.

use std::ops::Range;

use crate::config::error::Form;

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

/// What is hidden of the line that `line` is in a file: all but its first word.
pub(super) fn hidden(form: Form, text: &str, line: Range<usize>) -> Vec<Hidden> {
    let own = &text[line];
    match form {
        Form::Toml | Form::Keywords(_) | Form::Secrets | Form::Dictionary | Form::Lua => behind_word(own),
        Form::Foreign => vec![Hidden { place: 0..own.len(), with: STARS }],
    }
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
