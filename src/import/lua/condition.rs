//! Conditions: comparisons, and functions that tell something.

use ipnet::IpNet;

use super::Translator;
use super::call::why_not;
use super::output::quoted;
use super::pattern;
use super::value::{Type, Val, is_null};
use crate::import::dialect::Dialect;
use crate::import::syntax::{Call, Expression, RouteKind};
use crate::import::variables::Variable;

/// A condition in Lua.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Cond {
    /// An expression, and whether it needs brackets beside others.
    Code(String, Shape),
    /// It always holds, or never, for this reason.
    Always(bool, String),
}

/// How tightly an expression holds together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Shape {
    /// `a or b`
    Or,
    /// `a and b`
    And,
    /// `a == b`, `not a`
    Comparison,
    /// `f()`
    Tight,
}

impl Cond {
    fn tight(code: impl Into<String>) -> Self {
        Self::Code(code.into(), Shape::Tight)
    }

    fn comparison(code: impl Into<String>) -> Self {
        Self::Code(code.into(), Shape::Comparison)
    }
}

/// The expression, in brackets if it holds together less than `least`.
fn held(code: String, shape: Shape, least: Shape) -> String {
    if shape < least { format!("({code})") } else { code }
}

impl Translator<'_> {
    pub(super) fn condition(&mut self, expression: &Expression) -> Result<Cond, String> {
        match expression {
            Expression::Not(inner) => Ok(match self.condition(inner)? {
                Cond::Always(holds, why) => Cond::Always(!holds, why),
                Cond::Code(code, shape) => Cond::comparison(format!("not {}", held(code, shape, Shape::Tight))),
            }),
            Expression::Pair(sign @ ("&&" | "||"), left, right) => self.both(sign, left, right),
            Expression::Pair(sign, left, right) => self.comparison(sign, left, right),
            Expression::Call(call) => self.asked(call),
            Expression::Number(number) => Ok(Cond::Always(*number != 0, format!("{number} stands there"))),
            Expression::Variable(_) => {
                let val = self.value(expression)?;
                Ok(self.is_there(&val))
            }
            other => Err(format!("`{}` cannot be read", other.written())),
        }
    }

    /// Whether a value alone holds: OpenSIPS asks whether it is there, the others whether it is more than nothing.
    fn is_there(&self, val: &Val) -> Cond {
        match (val.of, self.dialect) {
            (Type::Number, _) => Cond::comparison(format!("(tonumber({}) or 0) ~= 0", val.code)),
            (_, Dialect::Opensips | Dialect::Opensips22) => Cond::comparison(format!("{} ~= nil", val.code)),
            _ => Cond::comparison(format!("{} ~= \"\"", val.as_text())),
        }
    }

    fn both(&mut self, sign: &str, left: &Expression, right: &Expression) -> Result<Cond, String> {
        let is_and = sign == "&&";
        let (left, right) = (self.condition(left)?, self.condition(right)?);
        let (word, shape) = if is_and { ("and", Shape::And) } else { ("or", Shape::Or) };
        Ok(match (left, right) {
            // What holds anyway changes nothing in `and`, and decides `or`.
            (Cond::Always(holds, why), other) | (other, Cond::Always(holds, why)) => {
                if holds == is_and {
                    other
                } else {
                    Cond::Always(holds, why)
                }
            }
            (Cond::Code(left, of_left), Cond::Code(right, of_right)) => {
                Cond::Code(format!("{} {word} {}", held(left, of_left, shape), held(right, of_right, shape)), shape)
            }
        })
    }

    fn comparison(&mut self, sign: &str, left: &Expression, right: &Expression) -> Result<Cond, String> {
        if let Some(cond) = self.by_word(sign, left, right)? {
            return Ok(cond);
        }
        let left = match left {
            Expression::Word(word) => self.core_value(word)?,
            other => self.value(other)?,
        };
        if matches!(sign, "=~" | "!~") {
            let Expression::Text(regex) = right else { return Err("the expression is no text".to_owned()) };
            return matched(&left, regex, sign == "!~");
        }
        let lua = match sign {
            "==" => "==",
            "!=" => "~=",
            "<" | ">" | "<=" | ">=" => sign,
            other => return Err(format!("`{other}` is not translated")),
        };
        let right = match right {
            Expression::Word(word) if !is_null(word) => Val { code: quoted(word), of: Type::Text, may_be_nil: false },
            other => self.value(other)?,
        };
        compared(lua, &left, &right)
    }

    /// Comparisons with words of the core: `uri == myself`, `src_ip == 10.0.0.0/8`, `proto == UDP`.
    fn by_word(&mut self, sign: &str, left: &Expression, right: &Expression) -> Result<Option<Cond>, String> {
        let (Expression::Word(word), is_not) = (left, sign == "!=") else { return Ok(None) };
        if !matches!(sign, "==" | "!=") {
            return Ok(None);
        }
        let negated = |code: String| {
            if is_not { Cond::comparison(format!("not {code}")) } else { Cond::tight(code) }
        };
        let uris = [("uri", "req.uri"), ("from_uri", "req.from_uri"), ("to_uri", "req.to_uri")];
        let uri = |word: &str| uris.iter().find(|(own, _)| *own == word).map(|(_, code)| *code);
        if let Expression::Word(other) = right {
            let of_myself = if other == "myself" { uri(word) } else { uri(other).filter(|_| word == "myself") };
            if let Some(code) = of_myself {
                return Ok(Some(negated(format!("is_myself({code})"))));
            }
            if let ("src_ip" | "dst_ip", "myself") = (word.as_str(), other.as_str()) {
                return Ok(Some(negated(format!("is_myself(\"sip:\" .. req.{word})"))));
            }
            if let ("src_ip" | "dst_ip", Some(block)) = (word.as_str(), block(other)) {
                return Ok(Some(negated(format!("is_in(req.{word}, {})", quoted(&block)))));
            }
            if matches!(word.as_str(), "proto" | "protocol") {
                let sign = if is_not { "~=" } else { "==" };
                return Ok(Some(Cond::comparison(format!("req.transport {sign} {}", quoted(&other.to_lowercase())))));
            }
        }
        if let (Expression::Text(text), "src_ip" | "dst_ip") = (right, word.as_str())
            && let Some(block) = block(text)
        {
            return Ok(Some(negated(format!("is_in(req.{word}, {})", quoted(&block)))));
        }
        Ok(None)
    }

    /// The value of a word of the core.
    fn core_value(&mut self, word: &str) -> Result<Val, String> {
        let text = |code: &str| Ok(Val { code: code.to_owned(), of: Type::Text, may_be_nil: true });
        match word {
            "method" => text("req.method"),
            "uri" => text("req.uri"),
            "from_uri" => text("req.from_uri"),
            "to_uri" => text("req.to_uri"),
            "src_ip" => text("req.src_ip"),
            "dst_ip" => text("req.dst_ip"),
            "src_port" | "dst_port" => Ok(Val { code: format!("req.{word}"), of: Type::Number, may_be_nil: false }),
            "status" => self.of_response("reply.code", Type::Number),
            other => Err(format!("`{other}` is not known")),
        }
    }

    /// Functions that tell something.
    fn asked(&mut self, call: &Call) -> Result<Cond, String> {
        let first = call.arguments.first();
        match call.name.as_str() {
            "is_method" => {
                let Some(Expression::Text(methods) | Expression::Word(methods)) = first else {
                    return Err("its methods are no text".to_owned());
                };
                Ok(Cond::tight(format!("is_method({})", quoted(methods))))
            }
            "has_totag" => Ok(Cond::tight("has_totag()")),
            "loose_route" => Ok(Cond::tight("loose_route()")),
            "isflagset" => Ok(Cond::tight(format!("isflagset({})", self.flag(first)?))),
            "is_present_hf" => {
                let Some(Expression::Text(name)) = first else { return Err("its header is no text".to_owned()) };
                Ok(Cond::comparison(format!("req.hdr({}) ~= nil", quoted(name))))
            }
            "is_myself" => {
                let uri = self.value(first.ok_or("it has no argument")?)?;
                let is_uri =
                    ["req.uri", "req.from_uri", "req.to_uri"].contains(&uri.code.as_str()) || uri.code.contains("sip");
                let code = if is_uri { uri.code } else { format!("\"sip:\" .. {}", uri.as_text()) };
                Ok(Cond::tight(format!("is_myself({code})")))
            }
            "t_check_status" => {
                let Some(text) = first.map(|first| first.text().map_or_else(|| first.written(), str::to_owned)) else {
                    return Err("it has no argument".to_owned());
                };
                let code = self.of_response("reply.code", Type::Number)?;
                // The expression is for the whole code.
                matched(&code, &format!("^({text})$"), false)
            }
            "t_is_canceled" | "t_was_cancelled" if self.kind == RouteKind::Failure => {
                Ok(Cond::comparison("reply.code == 487"))
            }
            "t_is_set" => self.is_armed(first),
            "is_request" | "is_reply" => {
                let is_reply = self.is_only_from(RouteKind::Reply);
                if !is_reply && self.from.contains(&RouteKind::Reply) {
                    return Err("it is called for requests and for responses".to_owned());
                }
                let why = if is_reply { "a reply route is for responses" } else { "this route is for requests" };
                Ok(Cond::Always(is_reply == (call.name == "is_reply"), why.to_owned()))
            }
            name => always(name).map_or_else(
                || Err(format!("`{name}`: {}", why_not(name))),
                |(holds, why)| Ok(Cond::Always(holds, why.to_owned())),
            ),
        }
    }

    /// `t_is_set("failure_route")`: where one name alone is ever set, setting it again changes nothing.
    fn is_armed(&self, argument: Option<&Expression>) -> Result<Cond, String> {
        let armed = match argument.and_then(Expression::text) {
            Some("failure_route") => self.armed("t_on_failure"),
            Some("branch_route") => self.armed("t_on_branch"),
            Some("onreply_route" | "reply_route") => self.armed("t_on_reply"),
            _ => return Err("which route is asked for is not known".to_owned()),
        };
        if armed <= 1 {
            return Ok(Cond::Always(false, "it is the only route of its kind that is ever set".to_owned()));
        }
        Err("which route is set can not be asked".to_owned())
    }
}

/// Functions whose answer is always the same here, with the reason.
fn always(name: &str) -> Option<(bool, &'static str)> {
    Some(match name {
        "mf_process_maxfwd_header" | "process_maxfwd" => (true, "Max-Forwards is looked after without the script"),
        "sanity_check" => (true, "requests are checked before the script sees them"),
        "t_newtran" => (true, "each request has its transaction before the script sees it"),
        "t_check_trans" | "t_lookup_request" => (true, "CANCEL and ACK go to their transactions without the script"),
        "t_precheck_trans" => (false, "what comes again does not reach the script"),
        _ => return None,
    })
}

/// `value =~ "regex"`.
fn matched(left: &Val, regex: &str, is_not: bool) -> Result<Cond, String> {
    let patterns = pattern::of(regex).ok_or_else(|| format!("the expression \"{regex}\" is not translated"))?;
    // Codes that are named one by one are compared as numbers.
    let whole = |pattern: &String| pattern.strip_prefix('^')?.strip_suffix('$')?.parse::<u16>().ok();
    let codes: Option<Vec<u16>> = (left.of == Type::Number).then(|| patterns.iter().map(whole).collect()).flatten();
    let (code, shape) = match codes {
        Some(codes) => {
            let each: Vec<_> = codes.iter().map(|code| format!("{} == {code}", left.code)).collect();
            (each.join(" or "), if each.len() == 1 { Shape::Comparison } else { Shape::Or })
        }
        None => {
            let text = match left.as_text() {
                text if text.ends_with(')') && text.starts_with('(') => text,
                text => format!("({text})"),
            };
            let each: Vec<_> =
                patterns.iter().map(|pattern| format!("{text}:lower():find({})", quoted(pattern))).collect();
            (each.join(" or "), if each.len() == 1 { Shape::Tight } else { Shape::Or })
        }
    };
    Ok(if is_not {
        Cond::comparison(format!("not {}", held(code, shape, Shape::Tight)))
    } else {
        Cond::Code(code, shape)
    })
}

/// `left sign right`.
fn compared(sign: &str, left: &Val, right: &Val) -> Result<Cond, String> {
    let is_equality = matches!(sign, "==" | "~=");
    let (left_code, right_code) = match (left.of, right.of) {
        (Type::Nothing, Type::Nothing) => return Err("nothing is compared with nothing".to_owned()),
        (_, Type::Nothing) if is_equality => (left.as_text(), "\"\"".to_owned()),
        (Type::Nothing, _) if is_equality => ("\"\"".to_owned(), right.as_text()),
        (Type::Number, Type::Number) if is_equality => (left.code.clone(), right.code.clone()),
        (Type::Text, Type::Number) if is_equality => (format!("tonumber({})", left.code), right.code.clone()),
        (Type::Number, Type::Text) => match unquoted_number(&right.code) {
            Some(number) => (left.code.clone(), number),
            None => (left.as_text(), right.code.clone()),
        },
        (Type::Text, Type::Text) if is_equality => (left.code.clone(), right.code.clone()),
        _ => {
            let number = |own: &Val| match own.of {
                Type::Number if !own.may_be_nil => own.code.clone(),
                _ => format!("(tonumber({}) or 0)", own.code),
            };
            (number(left), number(right))
        }
    };
    Ok(Cond::comparison(format!("{left_code} {sign} {right_code}")))
}

/// `486` of `"486"`.
fn unquoted_number(code: &str) -> Option<String> {
    let inner = code.strip_prefix('"')?.strip_suffix('"')?;
    inner.parse::<u32>().ok().map(|number| number.to_string())
}

/// An address, or a block of them, as `is_in` takes it: a mask becomes a length.
fn block(text: &str) -> Option<String> {
    let (base, mask) = text.split_once('/').map_or((text, None), |(base, mask)| (base, Some(mask)));
    let address: std::net::IpAddr = base.trim_matches(['[', ']']).parse().ok()?;
    let Some(mask) = mask else { return Some(address.to_string()) };
    let length = match mask.parse::<std::net::Ipv4Addr>() {
        Ok(mask) => ipnet::ipv4_mask_to_prefix(mask).ok()?,
        Err(_) => mask.parse().ok()?,
    };
    IpNet::new(address, length).ok().map(|net| net.to_string())
}

/// The variable that an assignment is to, without its brackets.
pub(super) fn target(text: &str) -> Option<Variable> {
    Variable::parse(text)
}
