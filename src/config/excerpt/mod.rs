//! Mistakes with the line they are about: what is wrong, the line with a caret under it, what to write instead.
//!
//! Lines are read again from the files when they are shown. What may be a secret is hidden there, see [`hide`].

mod hide;
#[cfg(test)]
mod tests;
mod toml;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use self::hide::Hidden;
use super::error::{Form, Mistake, Mistakes, Place, Weight};

/// Where mistakes are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// In a file or a log.
    Plain,
    /// On a terminal with this many columns, in colour.
    Coloured(usize),
}

/// Each of them with its lines, as [`Mistakes::told`] picks them.
#[must_use]
pub fn told(mistakes: &Mistakes, look: Look) -> Vec<String> {
    let mut files = Files::default();
    mistakes.told(|mistake| files.shown(mistake, look))
}

/// A message without what lets somebody in, where it quotes such a value.
#[must_use]
pub fn discreet(what: &str) -> String {
    let mut parts: Vec<String> = what.split('`').map(str::to_owned).collect();
    for part in parts.iter_mut().skip(1).step_by(2) {
        let mut places: Vec<_> = hide::credentials(part).collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.start));
        places.into_iter().for_each(|place| part.replace_range(place, hide::STARS));
    }
    parts.join("`")
}

/// The files that mistakes are in, as far as they have been read.
#[derive(Debug, Default)]
pub struct Files(HashMap<PathBuf, Option<String>>);

impl Files {
    /// The column behind what is at a place, in characters from 1.
    #[must_use]
    pub fn end(&mut self, place: &Place) -> Option<u32> {
        let Place::File { path, line, column, form } = place else { return None };
        let (text, line) = self.line(path, *line)?;
        let at = octet(&text[line.clone()], *column)?;
        let end = at + length(*form, &text[line.clone()], at).max(1);
        let count = text[line.clone()].get(..end.min(line.len()))?.chars().count();
        u32::try_from(count + 1).ok()
    }

    /// A mistake with its lines.
    #[must_use]
    pub fn shown(&mut self, mistake: &Mistake, look: Look) -> String {
        let level = match mistake.weight {
            Weight::Error => Level::ERROR,
            Weight::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(mistake.what.as_str()));
        let mut kind = AnnotationKind::Primary;
        // The renderer counts columns in the line that is shown.
        let mut moved = Vec::new();
        for place in mistake.places.iter().filter(|place| **place != Place::Nowhere) {
            let (element, column) = self.element(place, (&mistake.what, kind));
            group = group.element(element);
            moved.extend(column.and_then(|column| moved_to(place, column)));
            kind = AnnotationKind::Context;
        }
        if let Some(hint) = &mistake.hint {
            group = group.element(Level::HELP.with_name("hint").message(normalize_untrusted_str(hint)));
        }
        let renderer = match look {
            Look::Plain => Renderer::plain().term_width(PLAIN_COLUMNS),
            Look::Coloured(columns) => Renderer::styled().term_width(columns),
        };
        let mut text = renderer.render(&[group]);
        for (moved, place) in moved {
            text = text.replacen(&moved.to_string(), &place.to_string(), 1);
        }
        text
    }

    /// A place with its line, and the column of the caret there.
    fn element<'g>(&mut self, place: &Place, (what, kind): (&str, AnnotationKind)) -> (Element<'g>, Option<u32>) {
        if let Place::File { path, line: number, column, form } = place
            && *form != Form::Foreign
            && let Some((text, line)) = self.line(path, *number)
            && let Some(excerpt) = Excerpt::of(*form, text, line, *column, what)
        {
            let start = usize::try_from(*number).unwrap_or(1);
            let before = excerpt.text.get(..excerpt.place.start).map_or(0, |text| text.chars().count());
            let snippet = Snippet::source(excerpt.text).path(path.display().to_string()).line_start(start);
            return (snippet.annotation(kind.span(excerpt.place)).into(), u32::try_from(before + 1).ok());
        }
        (Origin::path(place.to_string()).into(), None)
    }

    /// The text of a file, and where a line is in it.
    fn line(&mut self, path: &Path, number: u32) -> Option<(&str, Range<usize>)> {
        let text = self.0.entry(path.to_owned()).or_insert_with(|| read(path)).as_deref()?;
        let mut start = 0;
        for _ in 1..number {
            start += text[start..].find('\n')? + 1;
        }
        let line = text[start..].lines().next().unwrap_or_default();
        Some((text, start..start + line.len()))
    }
}

/// A place and itself in another column, if that is another one.
fn moved_to(place: &Place, to: u32) -> Option<(Place, &Place)> {
    let Place::File { column, .. } = place else { return None };
    let mut moved = place.clone();
    if let Place::File { column, .. } = &mut moved {
        *column = to;
    }
    (*column != to).then_some((moved, place))
}

/// A file that can be read again, and not a pipe or the like.
fn read(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut octets = Vec::new();
    file.take(super::FILE_OCTETS_MAX).read_to_end(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// A line as it is shown.
#[derive(Debug, Eq, PartialEq)]
struct Excerpt {
    text: String,
    /// What the caret is under, in octets.
    place: Range<usize>,
}

impl Excerpt {
    fn of(form: Form, text: &str, line: Range<usize>, column: u32, what: &str) -> Option<Self> {
        let own = &text[line.clone()];
        let at = octet(own, column)?;
        let quoted = || what.split('`').skip(1).step_by(2).find_map(|word| Some((own.find(word)?, word.len())));
        let (at, length) = match form {
            // Their readers know the line alone; the text may name the word.
            Form::Dictionary | Form::Lua if column == 1 => quoted().unwrap_or((at, length(form, own, at))),
            _ => (at, length(form, own, at)),
        };
        Some(Self::without(own, hide::hidden(form, text, line), at..at + length))
    }

    /// The line without what is hidden; the caret stays under what it was under, or under what stands for it.
    fn without(line: &str, mut hidden: Vec<Hidden>, caret: Range<usize>) -> Self {
        hidden.sort_by_key(|own| (own.place.start, own.place.end));
        let (mut text, mut done) = (String::new(), 0);
        let mut place = 0..0;
        let mut show = |text: &mut String, part: Range<usize>, with: Option<&str>| {
            let start = text.len();
            text.push_str(with.unwrap_or_else(|| &line[part.clone()]));
            let moved = |at: usize| if with.is_some() { start } else { start + at - part.start };
            if part.contains(&caret.start) || caret.start == part.end {
                place.start = moved(caret.start);
                place.end = text.len();
            }
            if part.start < caret.end && caret.end <= part.end {
                place.end = if with.is_some() { text.len() } else { moved(caret.end) };
            }
        };
        for own in hidden {
            let (start, end) = (own.place.start.max(done), own.place.end.min(line.len()));
            if end <= start {
                continue;
            }
            show(&mut text, done..start, None);
            show(&mut text, start..end, Some(own.with));
            done = end;
        }
        show(&mut text, done..line.len(), None);
        if place.end <= place.start {
            // Something is missing at the end of the line.
            place.end = place.start + 1;
        }
        Self { text: text.trim_end().to_owned(), place }
    }
}

/// The octet of a line at which a character is, counted from 1; at most the end.
fn octet(line: &str, column: u32) -> Option<usize> {
    let before = usize::try_from(column).ok()?.checked_sub(1)?;
    Some(line.char_indices().nth(before).map_or(line.len(), |(at, _)| at))
}

/// Octets of what begins at a place: a name, a word, a string, a list.
fn length(form: Form, line: &str, at: usize) -> usize {
    let rest = &line[at..];
    let up_to = |is_end: &dyn Fn(char) -> bool| rest.find(is_end).unwrap_or(rest.len());
    match form {
        Form::Toml => token(line, at),
        Form::Keywords(_) => up_to(&|char| char.is_whitespace() || char == ','),
        Form::Secrets => up_to(&char::is_whitespace),
        Form::Dictionary => rest.split('#').next().unwrap_or_default().trim_end().len(),
        Form::Lua | Form::Foreign => rest.trim_end().len(),
    }
}

/// The same of TOML.
fn token(line: &str, at: usize) -> usize {
    let rest = &line[at..];
    let up_to = |ends: &str| rest.find(|char: char| char.is_whitespace() || ends.contains(char)).unwrap_or(rest.len());
    let quote = line[..at].chars().fold(None, |open, char| match (open, char) {
        (None, '"' | '\'') => Some(char),
        (Some(own), char) if own == char => None,
        (open, _) => open,
    });
    match rest.chars().next() {
        // Within a string.
        Some(_) if quote.is_some() => up_to("\"')"),
        Some(own @ ('"' | '\'')) => rest[1..].find(own).map_or(rest.trim_end().len(), |end| end + 2),
        Some('[') => bracket(rest, ('[', ']')),
        Some('{') => bracket(rest, ('{', '}')),
        // A number has its point; of a name each part is an option.
        Some('0'..='9' | '+' | '-') => up_to(",]}#"),
        _ => up_to("=,.]}#"),
    }
}

/// Octets to the bracket that closes the first one; to the end of the line if it is not there.
fn bracket(rest: &str, (open, close): (char, char)) -> usize {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, char) in rest.char_indices() {
        match quote {
            Some(own) if own == char => quote = None,
            Some(_) => {}
            None if char == '"' || char == '\'' => quote = Some(char),
            None if char == open => depth += 1,
            None if char == close && depth == 1 => return at + 1,
            None if char == close => depth -= 1,
            None => {}
        }
    }
    rest.trim_end().len()
}

/// Columns of a line where no terminal says how many it has.
const PLAIN_COLUMNS: usize = 140;
