//! Words, texts, variables and signs of one file of the SER family.
//!
//! Comments (`#`, `//`, `/* */`) are passed over. Lines of the preprocessor, `#!define` and the like, are directives of
//! their own; in a file of OpenSIPS, which has none, they are comments. Nothing is known here of what words mean.

use super::limits::TEXT_OCTETS_MAX;

/// Where something stands in the files that were read.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Spot {
    /// Number of the file, in the order in which they were opened.
    pub file: u16,
    /// Line, from 1.
    pub line: u32,
    /// Character of the line, from 1.
    pub column: u32,
}

/// What a token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A name, a number, or an IPv4 address with or without a mask's length.
    Word(String),
    /// Text in quotation marks, its escapes resolved.
    Text(String),
    /// A variable as written, with its `$`: `$(hdr(Via)[0])`.
    Variable(String),
    /// One or two characters such as `==` or `{`.
    Sign(&'static str),
    /// A character that the language has no use for.
    Odd(char),
    /// A line of the preprocessor without its `#!`, lines that it continues on included.
    Directive(String),
}

/// One token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub at: Spot,
    /// Whether no blank stands before it.
    pub is_glued: bool,
}

impl Token {
    /// Whether it is this sign.
    #[must_use]
    pub fn is(&self, sign: &str) -> bool {
        matches!(self.kind, Kind::Sign(own) if own == sign)
    }

    /// The word that it is.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// What ends the reading of a file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// A text that is open at the end of the file.
    #[error("a text that begins with {quote} is never closed")]
    OpenText {
        /// Its quotation mark.
        quote: char,
        /// Where it begins.
        at: Spot,
    },
    /// A comment that is open at the end of the file.
    #[error("a comment that begins with `/*` is never closed")]
    OpenComment {
        /// Where it begins.
        at: Spot,
    },
    /// A variable that is open at the end of its line.
    #[error("a variable that begins with `$` lacks a closing bracket in its line")]
    OpenVariable {
        /// Where it begins.
        at: Spot,
    },
    /// Text or a variable beyond all measure.
    #[error("a text has more than {TEXT_OCTETS_MAX} octets")]
    LongText {
        /// Where it begins.
        at: Spot,
    },
}

impl Error {
    /// Where it is.
    #[must_use]
    pub const fn at(&self) -> Spot {
        match self {
            Self::OpenText { at, .. }
            | Self::OpenComment { at }
            | Self::OpenVariable { at }
            | Self::LongText { at } => *at,
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "=~", "!~", "<=", ">=", "&&", "||", "=>", ":=", "+=", "-=", "*=", "/=", "<<", ">>", "=", "<", ">", "!",
    "&", "|", "^", "~", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",", ";", ":", "?", "@", ".",
];

/// Reads one file.
#[derive(Debug)]
pub struct Lexer<'t> {
    text: &'t str,
    offset: usize,
    spot: Spot,
    is_line_start: bool,
}

impl<'t> Lexer<'t> {
    /// Reads a text; `spot` is where its first character stands.
    #[must_use]
    pub const fn new(text: &'t str, spot: Spot) -> Self {
        Self { text, offset: 0, spot, is_line_start: true }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.offset..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        if next == '\n' {
            self.spot.line = self.spot.line.saturating_add(1);
            self.spot.column = 1;
            self.is_line_start = true;
        } else {
            self.spot.column = self.spot.column.saturating_add(1);
        }
        Some(next)
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let start = self.offset;
        while self.peek().is_some_and(&fits) {
            self.take();
        }
        &self.text[start..self.offset]
    }

    /// The rest of the line, without its end; a line whose last character is a backslash goes on in the next.
    fn line(&mut self) -> String {
        let mut line = String::new();
        loop {
            let part = self.take_while(|next| next != '\n');
            self.take();
            let part = part.trim_end_matches('\r');
            match part.strip_suffix('\\') {
                Some(part) if !self.rest().is_empty() => line.push_str(part),
                _ => {
                    line.push_str(part);
                    return line;
                }
            }
        }
    }

    /// Passes over lines as far as a directive, which it gives: what `#!ifdef` leaves out need not be readable.
    pub fn next_directive(&mut self) -> Option<Token> {
        while self.peek().is_some() {
            self.take_while(|next| next == ' ' || next == '\t');
            let at = self.spot;
            if self.is_directive() {
                self.take();
                self.take();
                return Some(Token { kind: Kind::Directive(self.line()), at, is_glued: false });
            }
            self.take_while(|next| next != '\n');
            self.take();
        }
        None
    }

    /// Whether a directive comes next: `#!name`, or `!!name`.
    fn is_directive(&self) -> bool {
        let rest = self.rest().strip_prefix("#!").or_else(|| self.rest().strip_prefix("!!"));
        self.is_line_start && rest.is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_alphabetic()))
    }

    /// The next token.
    ///
    /// # Errors
    /// A text, a variable or a comment that has no end.
    pub fn token(&mut self) -> Result<Option<Token>, Error> {
        let (before, was_line_start) = (self.offset, self.is_line_start);
        loop {
            self.take_while(char::is_whitespace);
            let at = self.spot;
            if self.is_directive() {
                self.take();
                self.take();
                return Ok(Some(Token { kind: Kind::Directive(self.line()), at, is_glued: false }));
            }
            if self.rest().starts_with('#') || self.rest().starts_with("//") {
                self.take_while(|next| next != '\n');
            } else if self.rest().starts_with("/*") {
                self.comment()?;
            } else {
                break;
            }
        }
        let is_glued = before == self.offset && !was_line_start;
        let at = self.spot;
        let Some(next) = self.peek() else { return Ok(None) };
        self.is_line_start = false;
        let kind = match next {
            '"' | '\'' => Kind::Text(self.quoted(next)?),
            '$' => self.variable()?,
            next if next.is_ascii_alphanumeric() || next == '_' => Kind::Word(self.word()),
            _ => self.sign(),
        };
        Ok(Some(Token { kind, at, is_glued }))
    }

    fn comment(&mut self) -> Result<(), Error> {
        let at = self.spot;
        while !self.rest().starts_with("*/") {
            self.take().ok_or(Error::OpenComment { at })?;
        }
        self.take();
        self.take();
        Ok(())
    }

    /// A text. In double quotation marks `\"`, `\\`, `\n`, `\r` and `\t` are escapes; before anything else the backslash
    /// stays, as regular expressions need it. In single ones there are no escapes.
    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        let at = self.spot;
        let mut text = String::new();
        self.take();
        loop {
            if text.len() > TEXT_OCTETS_MAX {
                return Err(Error::LongText { at });
            }
            let next = self.take().ok_or(Error::OpenText { quote, at })?;
            if next == quote {
                self.is_line_start = false;
                return Ok(text);
            }
            if next != '\\' || quote == '\'' {
                text.push(next);
                continue;
            }
            match self.take().ok_or(Error::OpenText { quote, at })? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                known @ ('"' | '\\') => text.push(known),
                '\n' => {}
                other => {
                    text.push('\\');
                    text.push(other);
                }
            }
        }
    }

    /// `$name`, `$name(...)`, `$name.part(...)` or `$(...)`, brackets within it closed.
    fn variable(&mut self) -> Result<Kind, Error> {
        let (start, at) = (self.offset, self.spot);
        self.take();
        self.take_while(is_word);
        while self.rest().starts_with('.') && self.rest()[1..].starts_with(|next: char| next.is_ascii_alphabetic()) {
            self.take();
            self.take_while(is_word);
        }
        if self.offset == start + 1 && self.peek() != Some('(') {
            return Ok(Kind::Odd('$'));
        }
        if self.peek() == Some('(') {
            let mut depth = 0_u32;
            loop {
                if self.offset - start > TEXT_OCTETS_MAX {
                    return Err(Error::LongText { at });
                }
                match self.peek() {
                    None | Some('\n') => return Err(Error::OpenVariable { at }),
                    Some('(') => depth = depth.saturating_add(1),
                    Some(')') => depth -= 1,
                    _ => {}
                }
                self.take();
                if depth == 0 {
                    break;
                }
            }
        }
        Ok(Kind::Variable(self.text[start..self.offset].to_owned()))
    }

    /// A name or a number; with dots within it an address or the name of a host.
    fn word(&mut self) -> String {
        let start = self.offset;
        self.take_while(is_word);
        while self.rest().starts_with('.') && self.rest()[1..].starts_with(is_word) {
            self.take();
            self.take_while(is_word);
        }
        self.text[start..self.offset].to_owned()
    }

    fn sign(&mut self) -> Kind {
        if let Some(sign) = SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            for _ in sign.chars() {
                self.take();
            }
            return Kind::Sign(sign);
        }
        let odd = self.take().unwrap_or('\0');
        Kind::Odd(odd)
    }
}

fn is_word(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_'
}

/// Tokens as text on one line, for reports.
#[must_use]
pub fn written(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        if !text.is_empty() && !token.is_glued {
            text.push(' ');
        }
        match &token.kind {
            Kind::Word(word) | Kind::Variable(word) => text.push_str(word),
            Kind::Sign(sign) => text.push_str(sign),
            Kind::Odd(odd) => text.push(*odd),
            Kind::Text(own) => text.push_str(&quote(own)),
            Kind::Directive(line) => {
                text.push_str("#!");
                text.push_str(line);
            }
        }
    }
    text
}

/// A text in quotation marks on one line.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for next in text.chars() {
        match next {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Token>, Error> {
        let mut lexer = Lexer::new(text, Spot { file: 0, line: 1, column: 1 });
        let mut tokens = Vec::new();
        while let Some(token) = lexer.token()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    #[test]
    fn a_file_is_cut_into_tokens() {
        let word = |text: &str| Kind::Word(text.to_owned());
        let text = |own: &str| Kind::Text(own.to_owned());
        let variable = |own: &str| Kind::Variable(own.to_owned());
        let sign = Kind::Sign;
        for (name, input, want) in [
            ("a setting", "debug=2", vec![word("debug"), sign("="), word("2")]),
            ("comments are passed over", "a # b\n// c\n/* d\n */ e", vec![word("a"), word("e")]),
            ("an address is one word", "10.0.0.0/8", vec![word("10.0.0.0"), sign("/"), word("8")]),
            ("escapes are resolved", r#""a\"b\n\.c""#, vec![text("a\"b\n\\.c")]),
            ("single quotation marks know no escape", r"'a\n'", vec![text("a\\n")]),
            ("a text may run over lines", "\"a\nb\"", vec![text("a\nb")]),
            ("a short variable", "$rU==\"x\"", vec![variable("$rU"), sign("=="), text("x")]),
            ("one with an argument", "$avp(s:x)=1", vec![variable("$avp(s:x)"), sign("="), word("1")]),
            ("brackets within a variable close", "$(hdr(Via)[*])", vec![variable("$(hdr(Via)[*])")]),
            ("one with a part", "$ct.fields(uri)", vec![variable("$ct.fields(uri)")]),
            ("a dollar sign alone", "$ =", vec![Kind::Odd('$'), sign("=")]),
            ("longer signs go first", "a!=b&&c=~d", {
                vec![word("a"), sign("!="), word("b"), sign("&&"), word("c"), sign("=~"), word("d")]
            }),
            ("a directive with its next line", "#!define A \\\n b\nc", {
                vec![Kind::Directive("define A  b".to_owned()), word("c")]
            }),
            ("in a line it is a comment", "a #!define B", vec![word("a")]),
            ("so is a line of signs", "#!-- x\n##!define A 1\na", vec![word("a")]),
            ("what is no ASCII", "ü", vec![Kind::Odd('ü')]),
            ("nothing", "", vec![]),
        ] {
            let found = all(input).map(|tokens| tokens.into_iter().map(|token| token.kind).collect::<Vec<_>>());
            assert_eq!(found, Ok(want), "{name}");
        }
    }

    #[test]
    fn what_has_no_end_is_told_with_its_beginning() {
        let at = |line, column| Spot { file: 0, line, column };
        for (name, input, want) in [
            ("a text", "a\n \"b\nc", Error::OpenText { quote: '"', at: at(2, 2) }),
            ("an escape", "'\\", Error::OpenText { quote: '\'', at: at(1, 1) }),
            ("a comment", "a /* b", Error::OpenComment { at: at(1, 3) }),
            ("a variable", "$(hdr(Via)\n)", Error::OpenVariable { at: at(1, 1) }),
        ] {
            assert_eq!(all(input), Err(want), "{name}");
        }
        let long = format!("\"{}\"", "x".repeat(TEXT_OCTETS_MAX + 2));
        assert_eq!(all(&long), Err(Error::LongText { at: at(1, 1) }));
    }

    #[test]
    fn a_token_knows_its_place_and_whether_it_is_glued() {
        let tokens = all("ü a\n  b:c").expect("it is readable");
        let found: Vec<_> = tokens.iter().map(|token| (token.at.line, token.at.column, token.is_glued)).collect();
        assert_eq!(found, [(1, 1, false), (1, 3, false), (2, 3, false), (2, 4, true), (2, 5, true)]);
        assert_eq!(written(&tokens), "ü a b:c");
    }
}
