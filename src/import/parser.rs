//! From tokens to settings, parameters of modules, and routes.
//!
//! What it does not understand it keeps as text, and goes on behind it: a statement more or less must not cost the rest. Only
//! a block that is never closed, and nesting beyond a limit, end the reading.

mod expression;
mod statement;

use super::lexer::{Kind, Spot, Token, written};
use super::limits::{NESTING_MAX, PARAMS_MAX, ROUTES_MAX};
use super::preprocess::Input;
use super::syntax::{Expression, Param, Route, RouteKind, Script, Setting};
use crate::config::error::Mistake;

/// Reads all tokens.
///
/// # Errors
/// A block that is never closed; nesting beyond [`NESTING_MAX`]; more routes, parameters or settings than there is room for.
pub fn parse(input: &Input) -> Result<Script, Mistake> {
    let mut parser = Parser { tokens: &input.tokens, next: 0, depth: 0 };
    let mut script = Script::default();
    parser.script(&mut script).map_err(|fault| {
        let mistake = Mistake::error(fault.what, input.place(fault.at));
        mistake.hint(fault.hint)
    })?;
    Ok(script)
}

/// What ends the reading.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Fault {
    what: String,
    at: Spot,
    hint: &'static str,
}

/// A part that cannot be read, as far as the reading can go on behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Trouble {
    /// The statement is kept as text.
    Skip,
    /// The reading ends.
    End(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::End(fault)
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    /// Blocks and brackets around.
    depth: usize,
}

/// Routes by the words they begin with.
const ROUTES: &[(&str, RouteKind)] = &[
    ("route", RouteKind::Request),
    ("request_route", RouteKind::Request),
    ("branch_route", RouteKind::Branch),
    ("failure_route", RouteKind::Failure),
    ("onreply_route", RouteKind::Reply),
    ("reply_route", RouteKind::Reply),
    ("local_route", RouteKind::Local),
    ("event_route", RouteKind::Event),
    ("startup_route", RouteKind::Other),
    ("timer_route", RouteKind::Other),
    ("error_route", RouteKind::Other),
    ("onsend_route", RouteKind::Other),
    ("send_route", RouteKind::Other),
];

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'t Token> {
        self.tokens.get(self.next.saturating_add(ahead))
    }

    fn take(&mut self) -> Option<&'t Token> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token)
    }

    fn is(&self, sign: &str) -> bool {
        self.peek().is_some_and(|token| token.is(sign))
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek().and_then(Token::word) == Some(word)
    }

    /// Takes this sign if it comes next.
    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = self.is(sign);
        self.next += usize::from(is_it);
        is_it
    }

    /// Where the next token stands; at the end, the last one.
    fn spot(&self) -> Spot {
        self.peek().or(self.tokens.last()).map_or_else(Spot::default, |token| token.at)
    }

    /// One deeper; whoever comes back calls [`Self::up`].
    fn down(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth <= NESTING_MAX {
            return Ok(());
        }
        let what = format!("more than {NESTING_MAX} blocks and brackets within each other");
        Err(Fault { what, at: self.spot(), hint: "look for closing braces or brackets too few above this line" })
    }

    fn up(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn script(&mut self, script: &mut Script) -> Result<(), Fault> {
        while let Some(token) = self.peek() {
            let at = token.at;
            for (count, most, what) in [
                (script.routes.len(), ROUTES_MAX, "routes"),
                (script.params.len(), PARAMS_MAX, "parameters of modules"),
                (script.settings.len(), PARAMS_MAX, "settings"),
            ] {
                if count > most {
                    let what = format!("more than {most} {what}");
                    return Err(Fault { what, at, hint: "is this the configuration of one proxy?" });
                }
            }
            match token.word() {
                _ if token.is(";") => self.next += 1,
                Some("loadmodule") => self.module(script),
                Some("modparam") => self.param(script),
                Some("flags" | "bflags") if !self.peek_at(1).is_some_and(|next| next.is("=")) => self.flags(script),
                Some(word) if self.route_kind(word).is_some() => self.route(script)?,
                Some(name) if self.peek_at(1).is_some_and(|next| next.is("=")) => {
                    self.next += 2;
                    let value = self.line(at);
                    let value = if value.is_empty() { self.braces() } else { value };
                    script.settings.push(Setting { at, name: name.to_owned(), value: plain(value) });
                }
                _ => {
                    let line = self.line(at);
                    script.unread.push((at, written(line)));
                }
            }
        }
        Ok(())
    }

    /// The kind of route that begins here.
    fn route_kind(&self, word: &str) -> Option<RouteKind> {
        let kind = ROUTES.iter().find(|(own, _)| *own == word)?.1;
        let next = self.peek_at(1)?;
        (next.is("{") || next.is("[")).then_some(kind)
    }

    /// The tokens of this line that are left; a brace that opens in it goes on to its end.
    fn line(&mut self, at: Spot) -> &'t [Token] {
        let start = self.next;
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            if depth == 0 && (token.at.line, token.at.file) != (at.line, at.file) {
                break;
            }
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
            }
            self.next += 1;
        }
        &self.tokens[start..self.next]
    }

    /// Braces that open on the next line.
    fn braces(&mut self) -> &'t [Token] {
        let at = self.spot();
        if self.is("{") { self.line(at) } else { &[] }
    }

    fn module(&mut self, script: &mut Script) {
        let at = self.spot();
        let line = self.line(at);
        let Some(Kind::Text(file)) = line.get(1).map(|token| &token.kind) else {
            script.unread.push((at, written(line)));
            return;
        };
        let name = file.rsplit('/').next().unwrap_or(file);
        script.modules.push((name.strip_suffix(".so").unwrap_or(name).to_owned(), at));
        // Several may stand on a line.
        self.next -= line.len().saturating_sub(2);
    }

    fn param(&mut self, script: &mut Script) {
        let at = self.spot();
        let start = self.next;
        self.next += 1;
        match self.param_parts() {
            Some((modules, name, value)) => script.params.push(Param { at, modules, name, value }),
            None => {
                self.next = start;
                let line = self.line(at);
                script.unread.push((at, written(line)));
            }
        }
    }

    fn param_parts(&mut self) -> Option<(String, String, Expression)> {
        let text = |parser: &mut Self| match parser.take().map(|token| &token.kind) {
            Some(Kind::Text(text)) => Some(parser.joined(text)),
            _ => None,
        };
        self.take_sign("(").then_some(())?;
        let modules = text(self)?;
        self.take_sign(",").then_some(())?;
        let name = text(self)?;
        self.take_sign(",").then_some(())?;
        let is_negative = self.take_sign("-");
        let value = match &self.take()?.kind {
            Kind::Text(text) => Expression::Text(self.joined(text)),
            Kind::Word(word) => number(word, is_negative).unwrap_or_else(|| Expression::Word(word.clone())),
            _ => return None,
        };
        self.take_sign(")").then_some((modules, name, value))
    }

    /// A text and those right behind it: after names were replaced several may stand side by side and are one.
    fn joined(&mut self, first: &str) -> String {
        let mut all = first.to_owned();
        while let Some(Kind::Text(more)) = self.peek().map(|token| &token.kind) {
            all.push_str(more);
            self.next += 1;
        }
        all
    }

    /// `flags NAME:1, OTHER:2;`
    fn flags(&mut self, script: &mut Script) {
        let at = self.spot();
        self.next += 1;
        loop {
            let (Some(name), colon, number) = (self.peek(), self.peek_at(1), self.peek_at(2)) else { return };
            let number = number.and_then(Token::word).and_then(|word| word.parse().ok());
            match (name.word(), colon.is_some_and(|sign| sign.is(":")), number) {
                (Some(name), true, Some(number)) => script.flags.push((name.to_owned(), number)),
                _ => {
                    let line = self.line(at);
                    script.unread.push((at, format!("flags {}", written(line))));
                    return;
                }
            }
            self.next += 3;
            if !self.take_sign(",") {
                self.take_sign(";");
                return;
            }
        }
    }

    fn route(&mut self, script: &mut Script) -> Result<(), Fault> {
        let (start, at) = (self.next, self.spot());
        let word = self.take().and_then(Token::word).unwrap_or("");
        let kind = ROUTES.iter().find(|(own, _)| *own == word).map_or(RouteKind::Other, |(_, kind)| *kind);
        let mut name = String::new();
        if self.take_sign("[") {
            let from = self.next;
            while self.peek().is_some_and(|token| !token.is("]") && !token.is("{")) {
                self.next += 1;
            }
            name = written(&self.tokens[from..self.next]).trim_matches('"').to_owned();
            self.take_sign("]");
        }
        let head = written(&self.tokens[start..self.next]);
        if !self.is("{") {
            let line = self.line(at);
            script.unread.push((at, format!("{head} {}", written(line))));
            return Ok(());
        }
        let body = self.block()?;
        // The numbered main route of old scripts.
        let is_main = kind == RouteKind::Request && (name.is_empty() || name == "0");
        let name = if is_main { String::new() } else { name };
        script.routes.push(Route { at, kind, head, name, body });
        Ok(())
    }
}

/// A whole number, in decimal or, with `0x` in front, in hexadecimal.
fn number(word: &str, is_negative: bool) -> Option<Expression> {
    let value = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => word.parse::<i64>().ok()?,
    };
    Some(Expression::Number(if is_negative { -value } else { value }))
}

/// Tokens as a value: without quotation marks, and without the `;` that some put behind it.
fn plain(tokens: &[Token]) -> String {
    let tokens = tokens.split_last().filter(|(last, _)| last.is(";")).map_or(tokens, |(_, rest)| rest);
    let mut text = String::new();
    for token in tokens {
        if !text.is_empty() && !token.is_glued {
            text.push(' ');
        }
        match &token.kind {
            Kind::Text(own) => text.push_str(own),
            _ => text.push_str(&written(std::slice::from_ref(token))),
        }
    }
    text
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
