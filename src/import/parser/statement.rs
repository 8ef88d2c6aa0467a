//! Statements of routes.

use super::{Fault, Parser, Trouble};
use crate::import::lexer::{Kind, Spot, Token, written};
use crate::import::syntax::{Action, Block, Expression, Statement};

/// Signs that assign.
const ASSIGNS: &[&str] = &["=", ":=", "+=", "-=", "*=", "/="];

impl Parser<'_> {
    /// A block in braces.
    pub(super) fn block(&mut self) -> Result<Block, Fault> {
        let open = self.spot();
        self.down()?;
        self.take_sign("{");
        let mut block = Block::new();
        while !self.take_sign("}") {
            if self.peek().is_none() {
                let what = "a block that begins with `{` is never closed".to_owned();
                return Err(Fault {
                    what,
                    at: open,
                    hint: "add the `}` that is missing; it may belong to a block within",
                });
            }
            self.statements(&mut block)?;
        }
        self.up();
        Ok(block)
    }

    /// Reads one statement; what cannot be read is kept as text.
    fn statements(&mut self, block: &mut Block) -> Result<(), Fault> {
        let (start, at, depth) = (self.next, self.spot(), self.depth);
        match self.action() {
            Ok(Some(what)) => block.push(Statement { at, what }),
            Ok(None) => {}
            Err(Trouble::End(fault)) => return Err(fault),
            Err(Trouble::Skip) => {
                (self.next, self.depth) = (start, depth);
                self.skip();
                let what = Action::Unread(written(&self.tokens[start..self.next]));
                block.push(Statement { at, what });
            }
        }
        Ok(())
    }

    /// Passes over a statement: as far as its `;`, the end of its block, or the brace that closes the block around.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            if depth == 0 && token.is("}") {
                return;
            }
            self.next += 1;
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            } else if token.is(";") && depth == 0 {
                return;
            }
        }
    }

    fn action(&mut self) -> Result<Option<Action>, Trouble> {
        if self.take_sign(";") {
            return Ok(None);
        }
        if self.is("{") {
            return Ok(Some(Action::Block(self.block()?)));
        }
        let token = self.peek().ok_or(Trouble::Skip)?;
        let what = match &token.kind {
            Kind::Variable(variable) => {
                self.next += 1;
                self.assignment(variable)?
            }
            Kind::Word(word) => {
                self.next += 1;
                self.named(word)?
            }
            _ => return Err(Trouble::Skip),
        };
        Ok(Some(what))
    }

    /// A statement that begins with a word.
    fn named(&mut self, word: &str) -> Result<Action, Trouble> {
        match word {
            "if" => self.condition(),
            "while" | "for" => self.repetition(),
            "switch" => self.switch(),
            "route" if self.is("(") => {
                let call = self.call("route")?;
                let action = match &call.arguments[..] {
                    [Expression::Text(name) | Expression::Word(name)] => Action::Route(name.clone()),
                    [Expression::Number(number)] => Action::Route(number.to_string()),
                    [Expression::Unread(name)] if !name.contains(['$', '"', '(', ' ']) => Action::Route(name.clone()),
                    _ => Action::Call(call),
                };
                self.end(action)
            }
            "exit" | "drop" | "break" => {
                if self.is("(") {
                    self.call(word)?;
                }
                self.end(match word {
                    "exit" => Action::Exit,
                    "drop" => Action::Drop,
                    _ => Action::Break,
                })
            }
            "return" => {
                let value = if self.is(";") || self.is("}") { None } else { self.returned()? };
                self.end(Action::Return(value))
            }
            _ if self.is("(") => {
                let call = self.call(word)?;
                self.end(Action::Call(call))
            }
            _ => self.assignment(word),
        }
    }

    /// What stands behind `return`: nothing in `return();`.
    fn returned(&mut self) -> Result<Option<Expression>, Trouble> {
        if self.is("(") && self.peek_at(1).is_some_and(|next| next.is(")")) {
            self.next += 2;
            return Ok(None);
        }
        self.expression().map(Some)
    }

    fn assignment(&mut self, target: &str) -> Result<Action, Trouble> {
        let sign = ASSIGNS.iter().find(|sign| self.is(sign)).ok_or(Trouble::Skip)?;
        self.next += 1;
        let value = self.expression()?;
        self.end(Action::Assign { target: target.to_owned(), sign, value })
    }

    /// The `;` behind a statement; before a closing brace it may be missing.
    fn end(&mut self, action: Action) -> Result<Action, Trouble> {
        if self.take_sign(";") || self.is("}") { Ok(action) } else { Err(Trouble::Skip) }
    }

    fn condition(&mut self) -> Result<Action, Trouble> {
        let condition = self.held()?;
        let then = self.body()?;
        if !self.is_word("else") {
            return Ok(Action::If { condition, then, otherwise: Block::new() });
        }
        self.next += 1;
        // `else if` is one deeper.
        self.down()?;
        let otherwise = self.body()?;
        self.up();
        Ok(Action::If { condition, then, otherwise })
    }

    /// What stands behind `if`: kept as text when it cannot be read, so that what depends on it is not lost.
    fn held(&mut self) -> Result<Expression, Trouble> {
        let (start, depth) = (self.next, self.depth);
        match self.expression() {
            Err(Trouble::Skip) if self.tokens.get(start).is_some_and(|token| token.is("(")) => {
                (self.next, self.depth) = (start, depth);
                let end = self.bracket_end().ok_or(Trouble::Skip)?;
                self.next = end + 1;
                Ok(Expression::Unread(written(&self.tokens[start + 1..end])))
            }
            read => read,
        }
    }

    /// Where the bracket that comes next is closed, whatever stands in it but braces and semicolons outside of brackets.
    fn bracket_end(&self) -> Option<usize> {
        let mut depth = 0_usize;
        for (place, token) in self.tokens.iter().enumerate().skip(self.next) {
            if token.is("(") {
                depth += 1;
            } else if token.is(")") {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(place);
                }
            } else if token.is("{") || token.is("}") {
                return None;
            }
        }
        None
    }

    /// A block, or one statement as a block of its own.
    fn body(&mut self) -> Result<Block, Fault> {
        if self.is("{") {
            return self.block();
        }
        let mut block = Block::new();
        self.down()?;
        self.statements(&mut block)?;
        self.up();
        Ok(block)
    }

    fn repetition(&mut self) -> Result<Action, Trouble> {
        let start = self.next - 1;
        if !self.is("(") {
            return Err(Trouble::Skip);
        }
        let end = self.bracket_end().ok_or(Trouble::Skip)?;
        self.next = end + 1;
        let head = written(&self.tokens[start..self.next]);
        Ok(Action::Loop { head, body: self.body()? })
    }

    fn switch(&mut self) -> Result<Action, Trouble> {
        let value = self.held()?;
        let open = self.spot();
        if !self.take_sign("{") {
            return Err(Trouble::Skip);
        }
        self.down()?;
        let mut cases: Vec<(Option<Expression>, Block)> = Vec::new();
        while !self.take_sign("}") {
            match self.case_head(open)? {
                Some(head) => cases.push((head, Block::new())),
                None => {
                    let (_, block) = cases.last_mut().ok_or(Trouble::Skip)?;
                    self.statements(block)?;
                }
            }
        }
        self.up();
        Ok(Action::Switch { value, cases })
    }

    /// `case value:` or `default:`; `None` where a statement comes.
    fn case_head(&mut self, open: Spot) -> Result<Option<Option<Expression>>, Trouble> {
        let head = match self.peek().map(Token::word) {
            None => {
                let what = "a `switch` is never closed".to_owned();
                return Err(Fault { what, at: open, hint: "add the `}` that is missing" }.into());
            }
            Some(Some("case")) => {
                self.next += 1;
                self.take_sign("/");
                Some(self.expression()?)
            }
            Some(Some("default")) => {
                self.next += 1;
                None
            }
            Some(_) => return Ok(None),
        };
        if self.take_sign(":") { Ok(Some(head)) } else { Err(Trouble::Skip) }
    }
}
