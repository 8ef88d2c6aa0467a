//! Which parts of a line of `tollgate.toml` nobody is to see.
//!
//! Secrets stand in files that it names, but who writes `password = "…"` makes a mistake, and the line of a mistake is
//! shown. So a value is shown only if its name is an option, or nearly one, and none that sounds like a secret; and of the
//! names that the operator chooses, in the tables where they are free. The text may be damaged, as half of what this is
//! for: what cannot be told apart is hidden.

use std::ops::Range;

use super::hide::{Hidden, STARS, credentials, is_secretive};
use crate::config::reload;

/// What is hidden of the line that `line` is in `text`; places count from the start of the line.
pub(super) fn hidden(text: &str, line: Range<usize>) -> Vec<Hidden> {
    let text = &text[..line.end];
    let mut scan = Scan { text, at: 0, tables: Vec::new(), found: Vec::new() };
    while scan.at < text.len() {
        scan.statement();
    }
    let inside = scan.found.into_iter().filter(|own| own.place.end > line.start);
    let moved = inside.map(|own| {
        let place = own.place.start.saturating_sub(line.start)..own.place.end - line.start;
        Hidden { place, ..own }
    });
    moved.collect()
}

/// Reads on from the start of the file: what a line is about is said above it.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// The name of the table, and those of the tables and lists inside it that are open.
    tables: Vec<String>,
    found: Vec<Hidden>,
}

/// A value ends where the line of its mistake is not closed: the next line begins anew.
struct Broken;

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The part up to one of these, without going beyond the line.
    fn until(&self, ends: &[char]) -> &'t str {
        let rest = self.rest();
        &rest[..rest.find(|char| char == '\n' || ends.contains(&char)).unwrap_or(rest.len())]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    }

    fn hide(&mut self, place: Range<usize>, with: &'static str) {
        if !place.is_empty() {
            self.found.push(Hidden { place, with });
        }
    }

    fn statement(&mut self) {
        self.blanks();
        match self.rest().chars().next() {
            None => {}
            Some('\n') => self.at += 1,
            Some('#') => self.comment(),
            Some('[') => self.head(),
            Some(_) => {
                let depth = self.tables.len();
                // What is broken ends with its line.
                let _broken = self.member(&[]);
                self.tables.truncate(depth);
            }
        }
    }

    fn comment(&mut self) {
        let end = self.at + self.until(&[]).len();
        self.hide(self.at..end, "");
        self.at = end;
    }

    fn head(&mut self) {
        let names = self.until(&[']', '#']);
        self.at += names.len();
        self.at += self.rest().len() - self.rest().trim_start_matches(']').len();
        self.tables = names.split('.').map(bare).collect();
    }

    /// A name, `=`, a value; `ends` closes what it stands in.
    fn member(&mut self, ends: &[char]) -> Result<(), Broken> {
        while let Some(names) = self.names(ends) {
            self.value(&names)?;
            self.blanks();
            // What follows a value is none of its own, but a mistake: the next name without a comma, or anything.
            if self.rest().starts_with('\n') || !begins_anew(self.rest()) {
                let more = self.until(&[&['#'], ends].concat()).len();
                self.hide(self.at..self.at + more, STARS);
                self.at += more;
                break;
            }
        }
        Ok(())
    }

    /// The parts of a name before its `=`; what has none is no name.
    fn names(&mut self, ends: &[char]) -> Option<Vec<String>> {
        let start = self.at;
        loop {
            let piece = self.until(&[&['=', '#', '"', '\''], ends].concat());
            self.at += piece.len();
            match self.rest().chars().next() {
                Some('=') => break,
                Some('"' | '\'') => self.string(),
                _ => {
                    self.nameless(start..self.at);
                    return None;
                }
            }
        }
        let names = &self.text[start..self.at];
        self.at += 1;
        Some(names.split('.').map(bare).collect())
    }

    /// What has no `=`: an option's name is shown, all else hidden.
    fn nameless(&mut self, place: Range<usize>) {
        let text = &self.text[place.clone()];
        let word = text.split([' ', '\t']).next().unwrap_or_default();
        let word = if is_option(word) { word.len() } else { 0 };
        let blanks = text[word..].len() - text[word..].trim_start().len();
        self.hide(place.start + word + blanks..place.end, STARS);
    }

    fn value(&mut self, names: &[String]) -> Result<(), Broken> {
        self.blanks();
        let start = self.at;
        match self.rest().chars().next() {
            None | Some('\n' | '#') => return Ok(()),
            Some('[') => return self.within(names, Self::list),
            Some('{') => return self.within(names, Self::table),
            Some('"' | '\'') => self.string(),
            Some(first) => {
                self.at += first.len_utf8();
                self.at += self.until(&[',', ']', '}', '#', '=']).len();
            }
        }
        self.judge(names, start..self.at);
        Ok(())
    }

    fn within(&mut self, names: &[String], read: fn(&mut Self) -> Result<(), Broken>) -> Result<(), Broken> {
        let depth = self.tables.len();
        if depth > DEPTH_MAX {
            self.hide(self.at..self.text.len(), STARS);
            self.at = self.text.len();
            return Err(Broken);
        }
        self.at += 1;
        self.tables.extend_from_slice(names);
        let read = read(self);
        self.tables.truncate(depth);
        read
    }

    fn list(&mut self) -> Result<(), Broken> {
        let own = self.tables.last().cloned().into_iter().collect::<Vec<_>>();
        loop {
            self.blanks();
            match self.rest().chars().next() {
                None => return Ok(()),
                Some(']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\n') => {
                    self.at += 1;
                    if begins_anew(self.until(&[])) {
                        return Err(Broken);
                    }
                }
                Some(',' | '}') => self.at += 1,
                Some('#') => self.comment(),
                // A name where none belongs.
                Some('=') => {
                    self.at += 1;
                    self.blanks();
                    let start = self.at;
                    let read = self.value(&[]);
                    self.hide(start..self.at, STARS);
                    read?;
                }
                Some(_) => self.value(&own)?,
            }
        }
    }

    fn table(&mut self) -> Result<(), Broken> {
        loop {
            self.blanks();
            match self.rest().chars().next() {
                None => return Ok(()),
                Some('\n') => return Err(Broken),
                Some('}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(',') => self.at += 1,
                Some('#') => self.comment(),
                Some(_) => self.member(&[',', '}'])?,
            }
        }
    }

    /// Goes behind a string; one of a single line ends with it.
    fn string(&mut self) {
        let rest = self.rest();
        let quote = if rest.starts_with('"') { '"' } else { '\'' };
        let three = &rest[..rest.len().min(3)];
        if three.len() == 3 && three.chars().all(|char| char == quote) {
            self.at += rest[3..].find(three).map_or(rest.len(), |end| end + 6);
            return;
        }
        let mut is_escaped = false;
        let end = rest[1..].find(|char| {
            let is_end = char == '\n' || char == quote && !is_escaped;
            is_escaped = char == '\\' && !is_escaped && quote == '"';
            is_end
        });
        let end = end.map_or(rest.len(), |end| end + 1);
        self.at += if rest[end..].starts_with(quote) { end + 1 } else { end };
    }

    fn judge(&mut self, names: &[String], place: Range<usize>) {
        let text = &self.text[place.clone()];
        let own = names.last().map_or("", String::as_str);
        let around = self.tables.iter().chain(names.iter().rev().skip(1));
        let is_free = around.clone().any(|name| FREE_TABLES.contains(&name.as_str()));
        let is_secret = around.clone().chain(names.last()).any(|name| is_secretive(name));
        if !is_secret && (is_free || is_option(own)) {
            for own in credentials(text) {
                self.hide(own.start + place.start..own.end + place.start, STARS);
            }
            return;
        }
        let quotes = usize::from(text.len() >= 2 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']));
        self.hide(place.start + quotes..place.end - quotes, STARS);
    }
}

/// A name without its blanks, brackets and quotes.
fn bare(name: &str) -> String {
    name.trim_matches([' ', '\t', '"', '\'', '[', ']', '{']).to_owned()
}

/// Whether a name is one of an option or a table, or has one mistake.
fn is_option(name: &str) -> bool {
    let is_it = |own: &str| own == name || name.len() > 2 && strsim::damerau_levenshtein(own, name) <= 1;
    reload::names().any(|own| !is_secretive(own) && is_it(own))
}

/// Whether a line inside a list is none of the list, because it was not closed: `name =` or `[table]`.
fn begins_anew(line: &str) -> bool {
    let is_name = |char: char| char.is_ascii_alphanumeric() || "_-.\"".contains(char);
    let line = line.trim_start();
    let name = line.trim_start_matches('[');
    let behind = name.trim_start_matches(is_name).trim_start();
    name.starts_with(is_name) && behind.starts_with(if name.len() < line.len() { ']' } else { '=' })
}

/// Tables whose names the operator chooses.
const FREE_TABLES: [&str; 8] =
    ["fields", "leg_fields", "bye_fields", "bye_leg_fields", "avps", "columns", "tables", "allow_on"];

/// Lists and tables inside each other that are looked into.
const DEPTH_MAX: usize = 64;
