//! Values: texts, numbers, variables.

use super::Translator;
use super::output::{entry, quoted};
use crate::import::syntax::{Expression, RouteKind};
use crate::import::variables::{Part, Variable, parts, template};

/// What a value is, as far as comparing it needs to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    Text,
    Number,
    Nothing,
}

/// A value in Lua.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Val {
    pub code: String,
    pub of: Type,
    /// Whether it may be nil.
    pub may_be_nil: bool,
}

impl Val {
    fn text(code: impl Into<String>) -> Self {
        Self { code: code.into(), of: Type::Text, may_be_nil: false }
    }

    fn maybe(code: impl Into<String>) -> Self {
        Self { code: code.into(), of: Type::Text, may_be_nil: true }
    }

    fn number(code: impl Into<String>) -> Self {
        Self { code: code.into(), of: Type::Number, may_be_nil: false }
    }

    /// It as a text that is never nil.
    pub(super) fn as_text(&self) -> String {
        match (self.of, self.may_be_nil) {
            (Type::Number, _) => format!("tostring({})", self.code),
            (_, true) => format!("({} or \"\")", self.code),
            (_, false) => self.code.clone(),
        }
    }

    /// What stands in a concatenation.
    fn part(&self) -> String {
        if self.may_be_nil { format!("({} or \"\")", self.code) } else { self.code.clone() }
    }
}

/// Variables that are fields of `req`, and whether they are numbers.
const OF_REQUEST: &[(&str, &str, Type)] = &[
    ("ru", "uri", Type::Text),
    ("rU", "user", Type::Text),
    ("rd", "host", Type::Text),
    ("rp", "port", Type::Number),
    ("rm", "method", Type::Text),
    ("fu", "from_uri", Type::Text),
    ("fU", "from_user", Type::Text),
    ("fd", "from_host", Type::Text),
    ("ft", "from_tag", Type::Text),
    ("tu", "to_uri", Type::Text),
    ("tU", "to_user", Type::Text),
    ("td", "to_host", Type::Text),
    ("tt", "to_tag", Type::Text),
    ("ci", "call_id", Type::Text),
    ("cs", "cseq", Type::Number),
    ("si", "src_ip", Type::Text),
    ("sp", "src_port", Type::Number),
    ("Ri", "dst_ip", Type::Text),
    ("Rp", "dst_port", Type::Number),
    ("proto", "transport", Type::Text),
    ("ua", "user_agent", Type::Text),
];

/// Of these the response has a value of its own.
const OF_REPLY_TOO: &[&str] = &["si", "sp", "Ri", "Rp", "proto", "ua", "tt", "ct", "cT", "rb"];

impl Translator<'_> {
    /// A value; texts with variables are filled in.
    pub(super) fn value(&mut self, expression: &Expression) -> Result<Val, String> {
        match expression {
            Expression::Text(text) => self.filled(text),
            Expression::Number(number) => Ok(Val::number(number.to_string())),
            Expression::Variable(variable) => self.variable(variable),
            Expression::Word(word) if is_null(word) => {
                Ok(Val { code: "nil".to_owned(), of: Type::Nothing, may_be_nil: true })
            }
            Expression::Pair("+", left, right) => self.sum(left, right),
            Expression::Pair(sign @ ("-" | "*"), left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                let number = |own: &Val| match own.of {
                    Type::Number if !own.may_be_nil => own.code.clone(),
                    _ => format!("(tonumber({}) or 0)", own.code),
                };
                Ok(Val::number(format!("{} {sign} {}", number(&left), number(&right))))
            }
            Expression::Call(call) => Err(format!("the value of `{}` is not known", call.name)),
            other => Err(format!("`{}` is no value that can be translated", other.written())),
        }
    }

    /// Numbers are added, texts joined.
    fn sum(&mut self, left: &Expression, right: &Expression) -> Result<Val, String> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        match (left.of, right.of) {
            (Type::Number, Type::Number) => Ok(Val::number(format!("{} + {}", left.code, right.code))),
            (Type::Nothing, _) | (_, Type::Nothing) => Err("nothing cannot be added".to_owned()),
            _ if left.code.starts_with("var") && right.of == Type::Number => {
                Ok(Val::number(format!("(tonumber({}) or 0) + {}", left.code, right.code)))
            }
            _ => Ok(Val::text(format!("{} .. {}", left.part(), right.part()))),
        }
    }

    /// A text as an argument or, where the system does that, as a value.
    pub(super) fn filled(&mut self, text: &str) -> Result<Val, String> {
        if !text.contains('$') {
            return Ok(Val::text(quoted(text)));
        }
        let found = parts(text);
        if let [Part::Variable(_)] = &found[..] {
            return self.variable(text);
        }
        let has_own = found.iter().any(|part| matches!(part, Part::Variable(own) if self.is_own(own)));
        if !has_own {
            let code = template(text)?;
            let code = format!("pv({})", quoted(&code));
            // With text between the variables it is never nothing.
            let has_text = found.iter().any(|part| matches!(part, Part::Text(_)));
            return Ok(if has_text { Val::text(code) } else { Val::maybe(code) });
        }
        let mut code = Vec::new();
        for part in found {
            code.push(match part {
                Part::Text(text) => quoted(&text),
                Part::Odd(text) => quoted(&text),
                Part::Variable(variable) => self.variable_of(variable)?.part(),
            });
        }
        Ok(Val::text(code.join(" .. ")))
    }

    /// Whether only the script itself knows the variable.
    fn is_own(&self, variable: &Variable) -> bool {
        ["var", "du", "acc_extra", "acc_leg"].contains(&variable.name.as_str())
    }

    pub(super) fn variable(&mut self, text: &str) -> Result<Val, String> {
        match Variable::parse(text) {
            Some(variable) => self.variable_of(variable),
            None => Err(format!("`{text}` is no variable")),
        }
    }

    fn variable_of(&mut self, variable: Variable) -> Result<Val, String> {
        let own = variable.clone();
        let argument = variable.argument.as_deref();
        let is_plain = variable.steps.is_empty() && variable.index.is_none();
        match (variable.name.as_str(), argument) {
            ("null", None) => return Ok(Val { code: "nil".to_owned(), of: Type::Nothing, may_be_nil: true }),
            ("var", Some(name)) if is_plain => {
                self.uses.variables = true;
                return Ok(Val::maybe(entry("var", name)));
            }
            ("du", None) if is_plain => {
                self.uses.next_hop = true;
                return Ok(Val::maybe("next_hop"));
            }
            ("rs" | "T_reply_code", None) if is_plain => return self.of_response("reply.code", Type::Number),
            ("rr", None) if is_plain => return self.of_response("reply.reason", Type::Text),
            ("acc_extra", Some(name)) if is_plain => return Ok(Val::maybe(entry("acc_extra", name))),
            ("acc_leg", Some(name)) if variable.steps.is_empty() => {
                let table = match variable.index.as_deref() {
                    None => "acc_leg".to_owned(),
                    Some(index) => format!("acc_legs[{}]", index_of(index)?),
                };
                return Ok(Val::maybe(entry(&table, name)));
            }
            ("avp", Some(name)) if is_plain && !name.contains('$') => return Ok(Val::maybe(entry("avp", name))),
            ("dlg_var" | "dlg_val", Some(name)) if is_plain => {
                return Ok(Val::maybe(entry("avp", &format!("dlg_{name}"))));
            }
            ("hdr", Some(name)) if variable.steps.is_empty() && !name.contains('$') => {
                let index = match variable.index.as_deref() {
                    None => Some(String::new()),
                    Some(index) => index_of(index).ok().map(|index| format!(", {index}")),
                };
                if let Some(index) = index {
                    let message = if variable.is_reply || self.kind == RouteKind::Reply { "reply" } else { "req" };
                    return Ok(Val::maybe(format!("{message}.hdr({}{index})", quoted(name))));
                }
            }
            _ => {}
        }
        self.of_message(own, is_plain)
    }

    /// A variable of the request or the response.
    fn of_message(&mut self, variable: Variable, is_plain: bool) -> Result<Val, String> {
        let is_reply = self.kind == RouteKind::Reply && OF_REPLY_TOO.contains(&variable.name.as_str());
        let mut ours = variable.ours();
        ours.is_reply |= is_reply;
        if is_plain
            && !ours.is_reply
            && ours.argument.is_none()
            && let Some((_, field, of)) = OF_REQUEST.iter().find(|(name, ..)| *name == ours.name)
        {
            return Ok(Val { code: format!("req.{field}"), of: *of, may_be_nil: true });
        }
        let code = template(&ours.written())?;
        Ok(Val::maybe(format!("pv({})", quoted(&code))))
    }

    /// Something of the response, where there is one.
    pub(super) fn of_response(&self, code: &str, of: Type) -> Result<Val, String> {
        if matches!(self.kind, RouteKind::Failure | RouteKind::Reply) {
            return Ok(Val { code: code.to_owned(), of, may_be_nil: false });
        }
        Err("only a failure or reply route has a response".to_owned())
    }
}

/// The index of one value as Lua; `*` is all.
fn index_of(index: &str) -> Result<i64, String> {
    index.trim().parse().map_err(|_| format!("the index `{index}` is no number"))
}

/// Words for no value.
pub(super) fn is_null(word: &str) -> bool {
    word.eq_ignore_ascii_case("null")
}
