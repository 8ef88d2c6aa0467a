//! `#!define`, `#!ifdef`, `#!subst`, `include_file` and what else is done before statements are read.
//!
//! What a name stands for is cut into tokens where the name is used, and those tokens have the place of that use. A
//! substitution changes texts in quotation marks only, a name only words outside of them, as in Kamailio.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use regex::{NoExpand, Regex, RegexBuilder};

use super::lexer::{Error, Kind, Lexer, Spot, Token};
use super::limits::{
    DEFINES_MAX, FILE_OCTETS_MAX, FILES_MAX, INCLUDE_DEPTH_MAX, MACRO_DEPTH_MAX, REGEX_OCTETS_MAX, SUBSTITUTIONS_MAX,
    TEXT_OCTETS_MAX, TOKENS_MAX,
};
use crate::config::error::{Form, Mistake, Place};

/// Gives the octets of a file.
pub type Read<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Something to be told about a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Where.
    pub at: Spot,
    /// What stands there.
    pub what: String,
    /// Why it was not taken.
    pub why: String,
}

/// Lines that `#!ifdef` leaves out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// The directive, without its sign: `ifdef WITH_NAT`.
    pub by: String,
    /// Where they begin.
    pub from: Spot,
    /// Their last line, that of the directive that ends them.
    pub to_line: u32,
}

/// A file and those that it includes, as tokens.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// All tokens; none is a directive.
    pub tokens: Vec<Token>,
    /// The files, by the numbers in the places.
    pub files: Vec<PathBuf>,
    /// Whose file the first line says it is: `KAMAILIO`.
    pub head: Option<(String, Spot)>,
    /// Where a directive stands that only Kamailio and SIP-Router have.
    pub directive: Option<Spot>,
    /// What was passed over.
    pub notes: Vec<Note>,
    /// Lines that are switched off.
    pub left_out: Vec<LeftOut>,
}

impl Input {
    /// A place for messages.
    #[must_use]
    pub fn place(&self, at: Spot) -> Place {
        place(&self.files, at)
    }
}

fn place(files: &[PathBuf], at: Spot) -> Place {
    let path = files.get(usize::from(at.file)).cloned().unwrap_or_default();
    Place::File { path, line: at.line, column: at.column, form: Form::Foreign }
}

/// Reads a file and all that it includes, with names that are defined from the start.
///
/// # Errors
/// What makes the rest unreadable: a file that is not there, a text without an end, a limit.
pub fn read(path: &Path, defines: &[(String, String)], read: Read<'_>) -> Result<Input, Mistake> {
    let mut own = Preprocessor {
        read,
        input: Input::default(),
        defines: defines.iter().cloned().collect(),
        substitutions: Vec::new(),
        count: 0,
    };
    let octets = read(path).map_err(|error| {
        Mistake::error(format!("cannot read it: {error}"), Place::Whole(path.to_owned()))
            .hint("name the configuration file of the proxy, such as /etc/kamailio/kamailio.cfg")
    })?;
    own.file(path, octets, 1)?;
    Ok(own.input)
}

struct Preprocessor<'r> {
    read: Read<'r>,
    input: Input,
    defines: HashMap<String, String>,
    substitutions: Vec<Substitution>,
    /// Tokens and names that were taken so far.
    count: usize,
}

struct Substitution {
    pattern: Regex,
    text: String,
    is_global: bool,
}

/// A `#!ifdef` that is open.
struct Condition {
    at: Spot,
    directive: String,
    is_active: bool,
    /// Whether the lines around it are.
    is_outer_active: bool,
}

impl Preprocessor<'_> {
    fn mistake(&self, what: impl Into<String>, at: Spot) -> Mistake {
        Mistake::error(what, place(&self.input.files, at))
    }

    fn unreadable(&self, error: &Error) -> Mistake {
        let mistake = self.mistake(error.to_string(), error.at());
        match error {
            Error::OpenText { .. } => mistake.hint("look for a quotation mark too few on this line or above"),
            Error::OpenComment { .. } => mistake.hint("close it with `*/`"),
            Error::OpenVariable { .. } => mistake.hint("close the bracket, as in `$(hdr(Via)[0])`"),
            Error::LongText { .. } => mistake.hint("look for a quotation mark or bracket too few"),
        }
    }

    fn note(&mut self, at: Spot, what: impl Into<String>, why: impl Into<String>) {
        self.input.notes.push(Note { at, what: what.into(), why: why.into() });
    }

    /// A file; `depth` counts those it stands in, itself included.
    fn file(&mut self, path: &Path, octets: Vec<u8>, depth: usize) -> Result<(), Mistake> {
        let number = u16::try_from(self.input.files.len()).unwrap_or(u16::MAX);
        self.input.files.push(path.to_owned());
        let start = Spot { file: number, line: 1, column: 1 };
        if octets.len() > FILE_OCTETS_MAX {
            let what = format!("the file has {} octets, the most is {FILE_OCTETS_MAX}", octets.len());
            return Err(self.mistake(what, start).hint("is this the configuration of a proxy?"));
        }
        if octets.contains(&0) {
            return Err(self.mistake("this is no text: it has NUL octets", start));
        }
        let text = String::from_utf8_lossy(&octets);
        let mut lexer = Lexer::new(text.trim_start_matches('\u{feff}'), start);
        let mut conditions: Vec<Condition> = Vec::new();
        loop {
            let is_active = conditions.last().is_none_or(|own| own.is_active);
            let token = if is_active { lexer.token() } else { Ok(lexer.next_directive()) };
            let Some(token) = token.map_err(|error| self.unreadable(&error))? else { break };
            match token.kind {
                Kind::Directive(line) if self.condition(&line, token.at, &mut conditions)? => {}
                Kind::Directive(_) if !is_active => {}
                Kind::Directive(line) => self.directive(&line, token.at, path, depth)?,
                Kind::Word(ref word) if word == "include_file" || word == "import_file" => {
                    let word = word.clone();
                    let next = lexer.token().map_err(|error| self.unreadable(&error))?;
                    self.inclusion(&word, token, next, path, depth)?;
                }
                _ => self.push(token, 0)?,
            }
        }
        match conditions.last() {
            Some(open) => {
                let what = format!("`#!{}` lacks its `#!endif`", open.directive);
                Err(self.mistake(what, open.at).hint("add `#!endif` behind the lines that it is for"))
            }
            None => Ok(()),
        }
    }

    /// `#!ifdef` and what belongs to it; `false` if the directive is another one.
    fn condition(&mut self, line: &str, at: Spot, open: &mut Vec<Condition>) -> Result<bool, Mistake> {
        let (word, rest) = split(line);
        let outer = open.last().is_none_or(|own| own.is_active);
        let is_active = match word {
            "ifdef" | "ifndef" => {
                let name = rest.split_whitespace().next().unwrap_or("");
                self.defines.contains_key(name) == (word == "ifdef")
            }
            "ifexp" => {
                if outer {
                    self.note(at, format!("#!{line}"), "the expression is not computed; its lines are left out");
                }
                false
            }
            "else" | "endif" => {
                let Some(mut own) = open.pop() else {
                    return Err(self.mistake(format!("`#!{word}` without `#!ifdef`"), at).hint("take it off"));
                };
                if own.is_outer_active && !own.is_active {
                    let by = own.directive.clone();
                    self.input.left_out.push(LeftOut { by, from: own.at, to_line: at.line });
                }
                if word == "else" {
                    own.is_active = own.is_outer_active && !own.is_active;
                    own.at = at;
                    own.directive = format!("else of {}", own.directive);
                    open.push(own);
                }
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.input.directive.get_or_insert(at);
        if open.len() >= super::limits::NESTING_MAX {
            return Err(self.mistake(format!("more than {} `#!ifdef` within each other", open.len()), at));
        }
        let directive = format!("{word} {}", rest.split_whitespace().next().unwrap_or(""));
        open.push(Condition { at, directive, is_active: outer && is_active, is_outer_active: outer });
        Ok(true)
    }

    fn directive(&mut self, line: &str, at: Spot, path: &Path, depth: usize) -> Result<(), Mistake> {
        let (word, rest) = split(line);
        match word {
            "define" | "redefine" | "redef" | "trydefine" | "trydef" => {
                let (name, text) = split(rest);
                let is_kept = word.starts_with("try") && self.defines.contains_key(name);
                if !is_kept {
                    self.define(name, text.to_owned(), at)?;
                }
            }
            "undef" | "undefine" => drop(self.defines.remove(rest.trim())),
            "subst" | "substdef" | "substdefs" => self.substitution(word, rest, at)?,
            "include_file" | "import_file" => {
                let name = rest.trim().trim_matches(['"', '\'']).to_owned();
                self.include(word, &name, at, path, depth)?;
            }
            "defexp" | "defexps" | "defenv" | "defenvs" | "trydefenv" | "trydefenvs" => {
                self.note(
                    at,
                    format!("#!{line}"),
                    "its value is known when the proxy runs only; use --define NAME=VALUE",
                );
            }
            head if head.chars().all(|next| next.is_ascii_uppercase()) => {
                self.input.head.get_or_insert((head.to_owned(), at));
                return Ok(());
            }
            _ => {
                self.note(at, format!("#!{line}"), "this directive is not known");
                return Ok(());
            }
        }
        self.input.directive.get_or_insert(at);
        Ok(())
    }

    fn define(&mut self, name: &str, text: String, at: Spot) -> Result<(), Mistake> {
        if self.defines.len() >= DEFINES_MAX {
            return Err(self.mistake(format!("more than {DEFINES_MAX} names are defined"), at));
        }
        self.defines.insert(name.to_owned(), text.trim().to_owned());
        Ok(())
    }

    /// `"/pattern/text/flags"`; the character in front stands between the parts.
    fn substitution(&mut self, word: &str, rest: &str, at: Spot) -> Result<(), Mistake> {
        let inner = rest.trim().trim_matches(['"', '\'']);
        let mut parts = inner.chars().next().map(|mark| inner[mark.len_utf8()..].split(mark)).into_iter().flatten();
        let (Some(pattern), Some(text)) = (parts.next(), parts.next()) else {
            let mistake = self.mistake(format!("`#!{word}` has no pattern and text"), at);
            return Err(mistake.hint(format!("write `#!{word} \"/PATTERN/TEXT/g\"`")));
        };
        let flags = parts.next().unwrap_or("");
        if self.substitutions.len() >= SUBSTITUTIONS_MAX {
            return Err(self.mistake(format!("more than {SUBSTITUTIONS_MAX} substitutions"), at));
        }
        match word {
            "substdef" => self.define(pattern, text.to_owned(), at)?,
            "substdefs" => self.define(pattern, super::lexer::quote(text), at)?,
            _ => {}
        }
        let mut builder = RegexBuilder::new(pattern);
        let pattern = builder.size_limit(REGEX_OCTETS_MAX).case_insensitive(flags.contains('i')).build();
        match pattern {
            Ok(pattern) => {
                let is_global = flags.contains('g');
                self.substitutions.push(Substitution { pattern, text: text.to_owned(), is_global });
            }
            Err(error) => {
                let why = format!("its pattern cannot be read: {}", first_line(&error.to_string()));
                self.note(at, format!("#!{word} {rest}"), why);
            }
        }
        Ok(())
    }

    /// `include_file "name"` among the statements.
    fn inclusion(
        &mut self,
        word: &str,
        token: Token,
        next: Option<Token>,
        path: &Path,
        depth: usize,
    ) -> Result<(), Mistake> {
        let at = token.at;
        let name = match next.as_ref().map(|next| &next.kind) {
            Some(Kind::Text(name)) => Some(name.clone()),
            Some(Kind::Word(name)) => self.defines.get(name).map(|text| text.trim_matches(['"', '\'']).to_owned()),
            _ => None,
        };
        match name {
            Some(name) => {
                let name = self.substituted(name, at)?;
                self.include(word, &name, at, path, depth)
            }
            None => {
                self.push(token, 0)?;
                next.map_or(Ok(()), |next| self.push(next, 0))
            }
        }
    }

    /// A file within a file, named from the folder of the latter, else from that of the first one.
    fn include(&mut self, word: &str, name: &str, at: Spot, from: &Path, depth: usize) -> Result<(), Mistake> {
        if depth >= INCLUDE_DEPTH_MAX {
            let mistake = self.mistake(format!("more than {INCLUDE_DEPTH_MAX} files within each other"), at);
            return Err(mistake.hint("does a file include itself?"));
        }
        if self.input.files.len() >= FILES_MAX {
            return Err(self.mistake(format!("more than {FILES_MAX} files are included"), at));
        }
        let first = self.input.files.first().cloned().unwrap_or_default();
        let mut tried = None;
        for folder in [from.parent(), first.parent()].into_iter().flatten() {
            let path = folder.join(name);
            match (self.read)(&path) {
                Ok(octets) => return self.file(&path, octets, depth + 1),
                Err(error) => drop(tried.get_or_insert((path, error))),
            }
        }
        let Some((path, error)) = tried else { return Ok(()) };
        if word == "import_file" {
            let why = format!("{} cannot be read: {error}; import_file permits that", path.display());
            self.note(at, format!("import_file {name:?}"), why);
            return Ok(());
        }
        let mistake = self.mistake(format!("cannot read {}: {error}", path.display()), at);
        Err(mistake.hint("copy it beside the file that includes it, or take the line off"))
    }

    /// Appends a token, or what it stands for.
    fn push(&mut self, mut token: Token, depth: usize) -> Result<(), Mistake> {
        self.count += 1;
        if self.count > TOKENS_MAX {
            let mistake = self.mistake(format!("the files have more than {TOKENS_MAX} words and signs"), token.at);
            return Err(mistake.hint("does a name stand for itself many times over?"));
        }
        if let Kind::Text(text) = token.kind {
            token.kind = Kind::Text(self.substituted(text, token.at)?);
        }
        let Some(text) = token.word().and_then(|word| self.defines.get(word)).cloned() else {
            self.input.tokens.push(token);
            return Ok(());
        };
        if depth >= MACRO_DEPTH_MAX {
            let what = format!("more than {MACRO_DEPTH_MAX} names stand for each other");
            return Err(self.mistake(what, token.at).hint("a `#!define` leads back to itself"));
        }
        let mut lexer = Lexer::new(&text, Spot::default());
        let mut is_first = true;
        loop {
            let next = lexer.token().map_err(|error| {
                let what = format!("what `{}` stands for cannot be read: {error}", token.word().unwrap_or(""));
                self.mistake(what, token.at).hint("look at its `#!define`")
            })?;
            let Some(next) = next else { return Ok(()) };
            let is_glued = if is_first { token.is_glued } else { next.is_glued };
            is_first = false;
            self.push(Token { at: token.at, is_glued, ..next }, depth + 1)?;
        }
    }

    fn substituted(&self, mut text: String, at: Spot) -> Result<String, Mistake> {
        for own in self.substitutions.iter().filter(|own| !own.pattern.as_str().is_empty()) {
            let most = if own.is_global { 0 } else { 1 };
            if own.pattern.is_match(&text) {
                // What it could grow to, before it does.
                let finds = if own.is_global { own.pattern.find_iter(&text).count() } else { 1 };
                if text.len().saturating_add(finds.saturating_mul(own.text.len())) > TEXT_OCTETS_MAX {
                    let what = format!("a text has more than {TEXT_OCTETS_MAX} octets after its substitutions");
                    return Err(self.mistake(what, at).hint("look at the `#!subst` lines"));
                }
                text = own.pattern.replacen(&text, most, NoExpand(&own.text)).into_owned();
            }
        }
        Ok(text)
    }
}

/// A word and what stands behind it.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()))
}

fn first_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim()
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
