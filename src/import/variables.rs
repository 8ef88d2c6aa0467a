//! Variables of the language, their parts, and how ours are called that have the same value.

use crate::vars::Template;

/// A variable in its parts: `$(<reply>hdr(Via)[0]{s.len})`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variable {
    /// Its name, with the part behind a dot: `hdr`, `ct.fields`.
    pub name: String,
    /// What stands in its brackets, without `s:` or `i:` in front.
    pub argument: Option<String>,
    /// Which of several values: `0`, `-1`, `*`.
    pub index: Option<String>,
    /// Transformations with their braces.
    pub steps: String,
    /// Whether it is read from the response.
    pub is_reply: bool,
}

/// Texts and variables of a text, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// What stands between variables.
    Text(String),
    /// A variable.
    Variable(Variable),
    /// What begins with `$` and is none.
    Odd(String),
}

impl Variable {
    /// Reads one that is all of `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (variable, length) = Self::first(text)?;
        (length == text.len()).then_some(variable)
    }

    /// Reads the one that `text` begins with, and tells its length.
    fn first(text: &str) -> Option<(Self, usize)> {
        let rest = text.strip_prefix('$')?;
        if !rest.starts_with('(') {
            let length = name_length(rest);
            let (name, behind) = rest.split_at(length);
            (!name.is_empty()).then_some(())?;
            let (argument, taken) = match bracketed(behind, '(', ')') {
                Some(inner) => (Some(inner), inner.len() + 2),
                None => (None, 0),
            };
            let own = Self::of(name, argument, None, String::new(), false);
            return Some((own, 1 + length + taken));
        }
        let inner = bracketed(rest, '(', ')')?;
        let length = inner.len() + 3;
        let is_reply = inner.starts_with("<reply>");
        let mut at = inner.strip_prefix("<reply>").or_else(|| inner.strip_prefix("<request>")).unwrap_or(inner).trim();
        let end = name_length(at);
        let (name, behind) = at.split_at(end);
        (!name.is_empty()).then_some(())?;
        let argument = bracketed(behind, '(', ')');
        at = &behind[argument.map_or(0, |inner| inner.len() + 2)..];
        let (mut index, mut steps) = (None, String::new());
        while !at.is_empty() {
            if let Some(inner) = bracketed(at, '[', ']') {
                index = Some(inner.to_owned());
                at = &at[inner.len() + 2..];
            } else {
                let inner = bracketed(at, '{', '}')?;
                steps.push_str(&at[..inner.len() + 2]);
                at = &at[inner.len() + 2..];
            }
        }
        Some((Self::of(name, argument, index, steps, is_reply), length))
    }

    fn of(name: &str, argument: Option<&str>, index: Option<String>, steps: String, is_reply: bool) -> Self {
        let mut own = Self { name: name.to_owned(), argument: argument.map(str::to_owned), index, steps, is_reply };
        // The index of the years before 2008: `$hdr(Via[*])`.
        if let Some(argument) = &own.argument
            && own.index.is_none()
            && let Some(open) = argument.find('[').filter(|_| argument.ends_with(']'))
        {
            own.index = Some(argument[open + 1..argument.len() - 1].to_owned());
            own.argument = Some(argument[..open].to_owned());
        }
        if let Some(argument) = &mut own.argument {
            let plain = argument.trim().trim_matches('"');
            // Old scripts say of an AVP whether its name is a text or a number.
            let plain = plain.strip_prefix("s:").or_else(|| plain.strip_prefix("i:")).unwrap_or(plain);
            *argument = plain.to_owned();
        }
        own
    }

    /// The variable of ours with the same value, as far as it has another name.
    #[must_use]
    pub fn ours(mut self) -> Self {
        let name = match (self.name.as_str(), self.argument.as_deref()) {
            ("from" | "from.uri", _) => "fu",
            ("to" | "to.uri", _) => "tu",
            ("ruri" | "uri", _) => "ru",
            ("pr", _) => "proto",
            ("TS", _) => "Ts",
            ("socket_in", Some("ip")) => "Ri",
            ("socket_in", Some("port")) => "Rp",
            ("socket_in", Some("proto")) => "proto",
            ("ct.fields", Some("uri")) => {
                self.steps = format!("{{nameaddr.uri}}{}", self.steps);
                "ct"
            }
            ("dlg_var" | "dlg_val", Some(argument)) => {
                self.argument = Some(format!("dlg_{argument}"));
                self.name = "avp".to_owned();
                return self;
            }
            ("acc_extra", _) => {
                self.name = "avp".to_owned();
                return self;
            }
            _ => return self,
        };
        self.name = name.to_owned();
        self.argument = None;
        self
    }

    /// It as a template has it.
    #[must_use]
    pub fn written(&self) -> String {
        let argument = self.argument.as_ref().map_or_else(String::new, |argument| format!("({argument})"));
        let index = self.index.as_ref().map_or_else(String::new, |index| format!("[{index}]"));
        let reply = if self.is_reply { "/reply" } else { "" };
        if index.is_empty() && self.steps.is_empty() {
            return format!("${}{argument}{reply}", self.name);
        }
        format!("$({}{argument}{index}{}){reply}", self.name, self.steps)
    }
}

/// Cuts a text into what stands between variables, and these.
#[must_use]
pub fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = (next == '$').then(|| Variable::first(rest)).flatten();
        let Some((variable, length)) = found else {
            if next == '$' && !rest.starts_with("$$") {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Odd("$".to_owned()));
                rest = &rest[1..];
                continue;
            }
            let length = if next == '$' { 2 } else { next.len_utf8() };
            plain.push(next);
            rest = &rest[length..];
            continue;
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(Part::Variable(variable));
        rest = &rest[length..];
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

/// A template of ours that gives what this text gives there.
///
/// # Errors
/// Why there is none.
pub fn template(text: &str) -> Result<String, String> {
    let (text, is_reply) = without_reply(text);
    let mut template = String::new();
    for part in parts(text) {
        match part {
            Part::Text(text) => template.push_str(&text.replace('$', "$$")),
            Part::Odd(_) => return Err("`$` stands without the name of a variable".to_owned()),
            Part::Variable(variable) => {
                if variable.name == "var" {
                    return Err(
                        "`$var` belongs to a process, not to a call: when a record is made it has no value".to_owned()
                    );
                }
                let mut variable = variable.ours();
                variable.is_reply |= is_reply;
                template.push_str(&variable.written());
            }
        }
    }
    match Template::parse(&template) {
        Ok(_) => Ok(template),
        Err(error) => Err(error.what),
    }
}

/// A text without `/reply` at its end, and whether it stood there.
fn without_reply(text: &str) -> (&str, bool) {
    let text = text.trim();
    let cut = text.len().saturating_sub("/reply".len());
    match text.is_char_boundary(cut).then(|| text.split_at(cut)) {
        Some((head, tail)) if tail.eq_ignore_ascii_case("/reply") => (head.trim_end(), true),
        _ => (text, false),
    }
}

/// Octets of the name that a text begins with, parts behind dots included.
fn name_length(text: &str) -> usize {
    let is_name = |next: char| next.is_ascii_alphanumeric() || next == '_';
    let mut end = text.find(|next| !is_name(next)).unwrap_or(text.len());
    while end > 0
        && text[end..].starts_with('.')
        && text[end + 1..].starts_with(|next: char| next.is_ascii_alphabetic())
    {
        let rest = &text[end + 1..];
        let part = rest.find(|next| !is_name(next)).unwrap_or(rest.len());
        // Only a part in front of brackets belongs to it: `$rU.` ends a sentence.
        if !rest[part..].starts_with('(') {
            break;
        }
        end += 1 + part;
    }
    end
}

/// What stands in the brackets that `text` begins with.
fn bracketed(text: &str, open: char, close: char) -> Option<&str> {
    if !text.starts_with(open) {
        return None;
    }
    let mut depth = 0_u32;
    for (place, next) in text.char_indices() {
        if next == open {
            depth = depth.saturating_add(1);
        } else if next == close {
            depth -= 1;
            if depth == 0 {
                return Some(&text[1..place]);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_theirs_is_a_template_of_ours() {
        for (name, text, want) in [
            ("a short variable", "$fU", Ok("$fU")),
            ("an older name", "$from", Ok("$fu")),
            ("all values of a header", "$(hdr(Via)[*])", Ok("$(hdr(Via)[*])")),
            ("as it was written before 2008", "$hdr(Via[*])", Ok("$(hdr(Via)[*])")),
            ("of an old AVP", "$avp(s:email)", Ok("$avp(email)")),
            ("of a numbered one", "$avp(i:123)", Ok("$avp(123)")),
            ("of the response", "$ct /Reply", Ok("$ct/reply")),
            ("of the response by its context", "$(<reply>hdr(X))", Ok("$hdr(X)/reply")),
            ("of a dialog", "$dlg_var(note)", Ok("$avp(dlg_note)")),
            ("with transformations", "$(fu{uri.user}{s.len})", Ok("$(fu{uri.user}{s.len})")),
            ("the URI of a contact", "$ct.fields(uri)", Ok("$(ct{nameaddr.uri})")),
            ("several with text", "a $fU at $fd.", Ok("a $fU at $fd.")),
            ("text alone", "a$$b", Ok("a$$b")),
            ("an address of ours", "$socket_in(ip)", Ok("$Ri")),
            ("one of a process", "$var(x)", Err("`$var` belongs to a process")),
            ("one that we do not have", "$sht(a=>b)", Err("unknown variable `$sht`")),
            ("no name", "a $ b", Err("without the name of a variable")),
            ("nothing", " ", Err("empty")),
        ] {
            match (template(text), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want, "{name}"),
                (Err(found), Err(want)) => assert!(found.contains(want), "{name}: {found}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
