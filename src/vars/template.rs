//! The text of a template, read into parts.
//!
//! `$name`, `$name(argument)`, `$(name)`, `$(name(argument)[index])`; `/reply` behind a variable reads the response instead
//! of the request, as does `<reply>` in front of the name within parentheses; `$$` is a dollar sign; all else is text.
//! Behind the name within parentheses stand transformations in braces, before or after the index.

use super::catalogue::{Argument, Variable, catalogue};
use super::transform::{self, Step, TRANSFORMATIONS_MAX};

/// Longest template, in octets.
pub const TEMPLATE_BYTES_MAX: usize = 4096;

/// Text with variables in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    pub(super) parts: Vec<Part>,
}

/// A template cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct Error {
    /// Where: the first character is 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead, where there is a guess.
    pub hint: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Text(String),
    Variable(Reference),
}

/// One use of a variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reference {
    pub(super) variable: &'static Variable,
    /// Empty when the variable takes none.
    pub(super) argument: String,
    pub(super) index: Index,
    /// Applied to its value from left to right.
    pub(super) steps: Vec<Step>,
    pub(super) side: Side,
}

/// Which of several values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Index {
    /// 0 is the first, -1 the last.
    One(i32),
    All,
}

/// Which message is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Request,
    Reply,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first mistake, with its column and, for an unknown name, the nearest known one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(Error { column: 1, what: "the template is empty".into(), hint: None });
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            let what = format!("the template has {} octets, the most is {TEMPLATE_BYTES_MAX}", text.len());
            return Err(Error { column: 1, what, hint: None });
        }
        let mut reader = Reader { text, at: 0 };
        let mut parts = Vec::new();
        let mut plain = String::new();
        while let Some(next) = reader.peek() {
            if next != '$' {
                plain.push(next);
                reader.at += next.len_utf8();
            } else if reader.rest().starts_with("$$") {
                plain.push('$');
                reader.at += 2;
            } else {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Variable(reader.reference()?));
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The names of the variables in it, in order, without `$`.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(reference) => Some(reference.variable.name),
            Part::Text(_) => None,
        })
    }
}

impl Template {
    /// The names of the values it reads by `$avp(name)`.
    pub fn avps(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(reference) if reference.variable.name == "avp" => Some(&*reference.argument),
            Part::Variable(_) | Part::Text(_) => None,
        })
    }
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes `mark` if it comes next.
    fn take(&mut self, mark: char) -> Option<char> {
        let next = self.peek().filter(|next| *next == mark)?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn error(&self, at: usize, what: String, hint: Option<String>) -> Error {
        Error { column: self.text[..at].chars().count() + 1, what, hint }
    }

    /// What stands before `close`; the reader is behind it then.
    fn until(&mut self, open: usize, close: char) -> Result<&'a str, Error> {
        let rest = self.rest();
        let Some(end) = rest.find(close) else {
            let what = format!("`{}` is not closed by `{close}`", &self.text[open..=open]);
            return Err(self.error(open, what, None));
        };
        self.at += end + close.len_utf8();
        Ok(&rest[..end])
    }

    /// Reads from the `$` on.
    fn reference(&mut self) -> Result<Reference, Error> {
        let start = self.at;
        self.at += 1;
        let open = self.at;
        if self.take('(').is_none() {
            let (variable, argument) = self.variable(start)?;
            if variable.has_index && self.peek() == Some('[') {
                let written = &self.text[start + 1..self.at];
                let hint = format!("write `$({written}[0])`, `$({written}[-1])` or `$({written}[*])`");
                return Err(self.error(self.at, "an index stands within parentheses".into(), Some(hint)));
            }
            self.no_braces(start)?;
            let side = self.reply_suffix();
            return Ok(Reference { variable, argument, index: Index::One(0), steps: Vec::new(), side });
        }
        let mut side = Side::Request;
        let context_at = self.at;
        if self.take('<').is_some() {
            side = match self.until(context_at, '>')? {
                "request" => Side::Request,
                "reply" => Side::Reply,
                other => {
                    let hint = Some("contexts are `<request>` and `<reply>`".into());
                    return Err(self.error(context_at, format!("unknown context `{other}`"), hint));
                }
            };
        }
        let (variable, argument) = self.variable(start)?;
        let mut steps = self.steps()?;
        let index = self.index(variable)?;
        steps.extend(self.steps()?);
        if steps.len() > TRANSFORMATIONS_MAX {
            return Err(self.error(open, format!("more than {TRANSFORMATIONS_MAX} transformations"), None));
        }
        if self.take(')').is_none() {
            return Err(match self.peek() {
                None => self.error(open, "`(` is not closed by `)`".into(), None),
                Some(other) => self.error(self.at, format!("expected `)`, found `{other}`"), None),
            });
        }
        if self.reply_suffix() == Side::Reply {
            side = Side::Reply;
        }
        Ok(Reference { variable, argument, index, steps, side })
    }

    /// Transformations in braces.
    fn steps(&mut self) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        while self.peek() == Some('{') {
            let (text, end) = self.braces()?;
            let read = transform::parse(text);
            steps.push(read.map_err(|(what, hint)| self.error(self.at + 1, what, hint))?);
            self.at = end;
        }
        Ok(steps)
    }

    /// What stands in the braces that come next, others within them included, and where they end.
    fn braces(&self) -> Result<(&'a str, usize), Error> {
        let mut depth = 0;
        for (place, next) in self.rest().char_indices() {
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let end = self.at + place;
                return Ok((&self.text[self.at + 1..end], end + 1));
            }
        }
        Err(self.error(self.at, "`{` is not closed by `}`".into(), None))
    }

    /// Braces right behind a variable without parentheses are text, unless they hold a transformation.
    fn no_braces(&self, start: usize) -> Result<(), Error> {
        if self.peek() == Some('{')
            && let Ok((text, end)) = self.braces()
            && transform::parse(text).is_ok()
        {
            let hint = format!("write `$({})`", &self.text[start + 1..end]);
            return Err(self.error(self.at, "a transformation stands within parentheses".into(), Some(hint)));
        }
        Ok(())
    }

    fn variable(&mut self, start: usize) -> Result<(&'static Variable, String), Error> {
        let name_at = self.at;
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() {
            let hint = Some("write `$$` for a dollar sign".into());
            return Err(self.error(start, "`$` without the name of a variable".into(), hint));
        }
        let Some(variable) = catalogue().iter().find(|variable| variable.name == name) else {
            return Err(self.error(name_at, format!("unknown variable `${name}`"), nearest(name)));
        };
        self.at += end;
        if variable.argument == Argument::None {
            return Ok((variable, String::new()));
        }
        let open = self.at;
        if self.take('(').is_none() {
            let what = format!("`${name}` needs {} in parentheses", wanted(variable.argument));
            return Err(self.error(name_at, what, Some(format!("write `${name}({})`", example(variable.argument)))));
        }
        let argument = self.until(open, ')')?.trim();
        self.check_argument(variable, argument, open + 1)?;
        Ok((variable, argument.to_owned()))
    }

    fn check_argument(&self, variable: &Variable, argument: &str, at: usize) -> Result<(), Error> {
        let name = variable.name;
        if let Some((head, tail)) = argument.split_once('[') {
            let hint = Some(format!("write `$({name}({head})[{tail})`"));
            return Err(self.error(at + head.len(), "an index stands behind the parentheses".into(), hint));
        }
        if let Some(("s" | "i", rest)) = argument.split_once(':').filter(|_| variable.argument == Argument::Name) {
            let hint = Some(format!("write `${name}({rest})`"));
            return Err(self.error(at, format!("`{argument}` is the old way to name an AVP"), hint));
        }
        let fits = match variable.argument {
            Argument::None => true,
            Argument::Header => is_token(argument),
            Argument::Name => argument.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)),
            Argument::Leg => matches!(argument, "src" | "dst" | "code" | "cause"),
            Argument::Attempt => matches!(argument, "uri" | "code" | "cause"),
        };
        if argument.is_empty() || !fits {
            let what = format!("`{argument}` is not {}", wanted(variable.argument));
            let hint = Some(format!("write `${name}({})`", example(variable.argument)));
            return Err(self.error(at, what, hint));
        }
        Ok(())
    }

    fn index(&mut self, variable: &Variable) -> Result<Index, Error> {
        let open = self.at;
        if self.take('[').is_none() {
            return Ok(Index::One(0));
        }
        if !variable.has_index {
            let what = format!("`${}` has one value and takes no index", variable.name);
            return Err(self.error(open, what, None));
        }
        let text = self.until(open, ']')?.trim();
        if text == "*" {
            return Ok(Index::All);
        }
        text.parse().map(Index::One).map_err(|_| {
            let hint = Some("an index is a whole number, negative from the end, or `*` for all".into());
            self.error(open + 1, format!("`{text}` is not an index"), hint)
        })
    }

    /// Takes `/reply`: right behind the variable, or behind white space at the end of the template.
    fn reply_suffix(&mut self) -> Side {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start().len();
        let Some(suffix) = rest.get(spaces..spaces + REPLY.len()) else { return Side::Request };
        let after = &rest[spaces + REPLY.len()..];
        let ends = if spaces == 0 {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        } else {
            after.trim().is_empty()
        };
        if !suffix.eq_ignore_ascii_case(REPLY) || !ends {
            return Side::Request;
        }
        self.at += spaces + REPLY.len();
        if self.rest().trim().is_empty() {
            self.at = self.text.len();
        }
        Side::Reply
    }
}

const REPLY: &str = "/reply";

const fn wanted(argument: Argument) -> &'static str {
    match argument {
        Argument::None => "nothing",
        Argument::Header => "the name of a header",
        Argument::Name => "a name of letters, digits, `_`, `-`, `.`",
        Argument::Leg => "`src`, `dst`, `code` or `cause`",
        Argument::Attempt => "`uri`, `code` or `cause`",
    }
}

const fn example(argument: Argument) -> &'static str {
    match argument {
        Argument::None => "",
        Argument::Header => "Subject",
        Argument::Name => "account",
        Argument::Leg => "src",
        Argument::Attempt => "uri",
    }
}

/// RFC 3261 §25.1 `token`.
fn is_token(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c))
}

/// The known name closest to `name`, or the way to put text right behind a variable.
fn nearest(name: &str) -> Option<String> {
    let known = || catalogue().iter().map(|variable| variable.name);
    let distance = |other: &&str| strsim::damerau_levenshtein(name, other);
    if let Some(same) = known().filter(|other| other.eq_ignore_ascii_case(name)).min_by_key(distance) {
        return Some(format!("did you mean `${same}`?"));
    }
    // A short name is close to many others: half of the letters must be right.
    let close = known()
        .map(|other| (distance(&other), other))
        .filter(|(distance, _)| *distance * 2 <= name.chars().count())
        .min_by_key(|(distance, _)| *distance);
    let prefix = known().filter(|other| name.starts_with(other)).max_by_key(|other| other.len());
    match (close, prefix) {
        (Some((_, other)), _) => Some(format!("did you mean `${other}`?")),
        (None, Some(head)) => {
            Some(format!("to put text right behind a variable write `$({head}){}`", &name[head.len()..]))
        }
        (None, None) => Some("`tollgate vars` lists them".into()),
    }
}
