//! Conditions, values and arguments.

use super::{Fault, Parser, Trouble, number};
use crate::import::lexer::{Kind, Token, written};
use crate::import::syntax::{Call, Expression};

/// Operators from those that bind least to those that bind most, with the words that some write for them.
const LEVELS: &[&[(&str, &str)]] = &[
    &[("||", "||"), ("or", "||")],
    &[("&&", "&&"), ("and", "&&")],
    &[
        ("==", "=="),
        ("!=", "!="),
        ("=~", "=~"),
        ("!~", "!~"),
        ("<=", "<="),
        (">=", ">="),
        ("<", "<"),
        (">", ">"),
        ("eq", "=="),
        ("ne", "!="),
        ("in", "in"),
    ],
    &[("+", "+"), ("-", "-"), (".", "+"), ("|", "|"), ("&", "&")],
    &[("*", "*"), ("/", "/"), ("%", "%")],
];

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expression(&mut self) -> Result<Expression, Trouble> {
        self.down()?;
        let read = self.level(0);
        self.up();
        read
    }

    fn level(&mut self, level: usize) -> Result<Expression, Trouble> {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        let mut chained = 0;
        while let Some(sign) = self.operator(signs) {
            self.next += 1;
            // A long chain is as deep as brackets within brackets.
            chained += 1;
            self.down()?;
            let right = self.level(level + 1)?;
            left = Expression::Pair(sign, Box::new(left), Box::new(right));
        }
        (0..chained).for_each(|_| self.up());
        Ok(left)
    }

    fn operator(&self, signs: &[(&str, &'static str)]) -> Option<&'static str> {
        let written = match &self.peek()?.kind {
            Kind::Sign(sign) => sign,
            Kind::Word(word) => word.as_str(),
            _ => return None,
        };
        signs.iter().find(|(own, _)| *own == written).map(|(_, sign)| *sign)
    }

    fn unary(&mut self) -> Result<Expression, Trouble> {
        if self.take_sign("!") || self.is_not() {
            self.down()?;
            let inner = self.unary();
            self.up();
            return Ok(Expression::Not(Box::new(inner?)));
        }
        if self.take_sign("-") {
            let word = self.take().and_then(Token::word).ok_or(Trouble::Skip)?;
            return number(word, true).ok_or(Trouble::Skip);
        }
        self.primary()
    }

    /// The word `not`.
    fn is_not(&mut self) -> bool {
        let is_it = self.is_word("not");
        self.next += usize::from(is_it);
        is_it
    }

    fn primary(&mut self) -> Result<Expression, Trouble> {
        if self.take_sign("(") {
            let inner = self.expression()?;
            return if self.take_sign(")") { Ok(inner) } else { Err(Trouble::Skip) };
        }
        if self.is("@") {
            return self.select();
        }
        let token = self.take().ok_or(Trouble::Skip)?;
        match &token.kind {
            Kind::Text(text) => Ok(Expression::Text(self.joined(text))),
            Kind::Variable(variable) => Ok(Expression::Variable(variable.clone())),
            Kind::Word(word) => {
                if self.is("(") {
                    return Ok(Expression::Call(self.call(word)?));
                }
                if self.is("/") && word.contains('.') {
                    return Ok(Expression::Word(self.glued(word)));
                }
                Ok(number(word, false).unwrap_or_else(|| Expression::Word(word.clone())))
            }
            Kind::Sign("[") => {
                // An IPv6 address.
                self.next -= 1;
                Ok(Expression::Word(self.glued("")))
            }
            _ => Err(Trouble::Skip),
        }
    }

    /// A word with all that is glued to it: an address with the length of its mask.
    fn glued(&mut self, word: &str) -> String {
        let start = self.next;
        self.next += usize::from(word.is_empty());
        let ends = ["(", ")", ",", ";", "{", "}", "&&", "||", "==", "!="];
        while self.peek().is_some_and(|token| token.is_glued && !ends.iter().any(|sign| token.is(sign))) {
            self.next += 1;
        }
        format!("{word}{}", written(&self.tokens[start..self.next]))
    }

    /// `@hf_value["x"]` of SIP-Router, kept as text.
    fn select(&mut self) -> Result<Expression, Trouble> {
        let start = self.next;
        self.next += 1;
        while self.peek().is_some_and(|token| token.is_glued && !["(", ")", ",", ";"].iter().any(|sign| token.is(sign)))
            && !self.peek().is_some_and(|token| matches!(token.kind, Kind::Sign(sign) if sign.len() == 2))
        {
            self.next += 1;
        }
        Ok(Expression::Unread(written(&self.tokens[start..self.next])))
    }

    /// The arguments of a function whose name has been taken.
    pub(super) fn call(&mut self, name: &str) -> Result<Call, Trouble> {
        let end = self.closing()?;
        self.next += 1;
        let mut arguments = Vec::new();
        while self.next < end {
            arguments.push(self.argument(end)?);
            self.take_sign(",");
        }
        self.next = end + 1;
        Ok(Call { name: name.to_owned(), arguments })
    }

    /// One argument, as text if it is no expression; it ends at a comma or at `end`.
    fn argument(&mut self, end: usize) -> Result<Expression, Trouble> {
        let start = self.next;
        let (mut stop, mut depth) = (start, 0_usize);
        while stop < end && (depth > 0 || !self.tokens[stop].is(",")) {
            depth += usize::from(opens(&self.tokens[stop]));
            depth = depth.saturating_sub(usize::from(closes(&self.tokens[stop])));
            stop += 1;
        }
        if start == stop {
            return Ok(Expression::Unread(String::new()));
        }
        let depth = self.depth;
        match self.expression() {
            Ok(read) if self.next == stop => Ok(read),
            Err(Trouble::End(fault)) => Err(Trouble::End(fault)),
            _ => {
                (self.next, self.depth) = (stop, depth);
                Ok(Expression::Unread(written(&self.tokens[start..stop])))
            }
        }
    }

    /// Where the bracket that comes next is closed.
    fn closing(&self) -> Result<usize, Fault> {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(self.next) {
            depth += usize::from(opens(token));
            if closes(token) {
                depth -= 1;
                if depth == 0 {
                    return Ok(place);
                }
            }
            // Behind a brace or a semicolon it is another statement.
            if token.is("{") || token.is("}") || token.is(";") {
                break;
            }
        }
        let what = "a bracket is never closed".to_owned();
        Err(Fault { what, at: self.spot(), hint: "add the `)` that is missing" })
    }
}

fn opens(token: &Token) -> bool {
    token.is("(")
}

fn closes(token: &Token) -> bool {
    token.is(")")
}
