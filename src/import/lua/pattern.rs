//! Regular expressions as patterns of Lua, as far as these go: for a simple one there is a pattern, for one with
//! alternatives there are several, and for the others none.
//!
//! The family compares without regard to case; so patterns are in small letters, for a text in small letters.

/// Patterns of one expression at most.
const PATTERNS_MAX: usize = 16;

/// Most repetitions of `{n}`.
const REPEATS_MAX: usize = 16;

/// Octets of a pattern at most.
const OCTETS_MAX: usize = 512;

/// Groups within groups.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Pattern {
    is_start: bool,
    body: String,
    is_end: bool,
}

/// The patterns of which one has to fit; `None` where there are none.
#[must_use]
pub fn of(regex: &str) -> Option<Vec<String>> {
    let mut reader = Reader { rest: regex, depth: 0 };
    let found = reader.alternatives()?;
    if !reader.rest.is_empty() {
        return None;
    }
    let text = |own: Pattern| {
        let (start, end) = (if own.is_start { "^" } else { "" }, if own.is_end { "$" } else { "" });
        format!("{start}{}{end}", own.body)
    };
    Some(found.into_iter().map(text).collect())
}

struct Reader<'r> {
    rest: &'r str,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take_if(&mut self, sign: char) -> bool {
        let is_it = self.peek() == Some(sign);
        if is_it {
            self.take();
        }
        is_it
    }

    fn alternatives(&mut self) -> Option<Vec<Pattern>> {
        let mut all = self.sequence()?;
        while self.take_if('|') {
            all.extend(self.sequence()?);
        }
        (all.len() <= PATTERNS_MAX).then_some(all)
    }

    fn sequence(&mut self) -> Option<Vec<Pattern>> {
        let mut all = vec![Pattern::default()];
        loop {
            let more = match self.peek() {
                None | Some('|' | ')') => return Some(all),
                Some('(') => self.group()?,
                Some('^') => {
                    self.take();
                    vec![Pattern { is_start: true, ..Pattern::default() }]
                }
                Some('$') => {
                    self.take();
                    vec![Pattern { is_end: true, ..Pattern::default() }]
                }
                Some(_) => {
                    let atom = self.atom()?;
                    let body = self.repeated(&atom)?;
                    vec![Pattern { body, ..Pattern::default() }]
                }
            };
            all = joined(&all, &more)?;
        }
    }

    /// A group; behind it may stand `?`.
    fn group(&mut self) -> Option<Vec<Pattern>> {
        self.take();
        self.depth += 1;
        if self.depth > DEPTH_MAX || self.rest.starts_with('?') {
            return None;
        }
        let mut all = self.alternatives()?;
        self.depth -= 1;
        self.take_if(')').then_some(())?;
        if self.take_if('?') {
            all.push(Pattern::default());
        }
        let is_repeated = matches!(self.peek(), Some('*' | '+' | '{' | '?'));
        (!is_repeated).then_some(all)
    }

    /// One character, or a class of characters.
    fn atom(&mut self) -> Option<String> {
        match self.take()? {
            '.' => Some(".".to_owned()),
            '[' => self.class(),
            '\\' => match self.take()? {
                'd' => Some("%d".to_owned()),
                's' => Some("%s".to_owned()),
                'w' => Some("[%w_]".to_owned()),
                letter if letter.is_ascii_alphanumeric() => None,
                sign => Some(literal(sign)),
            },
            '*' | '+' | '?' | '{' => None,
            sign if sign.is_ascii() && !sign.is_ascii_control() => Some(literal(sign)),
            _ => None,
        }
    }

    fn class(&mut self) -> Option<String> {
        let mut class = String::from("[");
        if self.take_if('^') {
            class.push('^');
        }
        let mut is_first = true;
        loop {
            if self.rest.starts_with("[:") {
                let (name, rest) = self.rest[2..].split_once(":]")?;
                class.push_str(match name {
                    "digit" => "%d",
                    "alpha" | "upper" | "lower" => "%a",
                    "alnum" => "%w",
                    "space" => "%s",
                    "xdigit" => "%x",
                    _ => return None,
                });
                self.rest = rest;
                is_first = false;
                continue;
            }
            let next = self.take()?;
            match next {
                ']' if !is_first => {
                    class.push(']');
                    return Some(class);
                }
                '-' if !is_first && self.peek() != Some(']') => class.push('-'),
                next if next.is_ascii_alphanumeric() => class.push(next.to_ascii_lowercase()),
                next if next.is_ascii() && !next.is_ascii_control() => {
                    class.push('%');
                    class.push(next);
                }
                _ => return None,
            }
            is_first = false;
        }
    }

    /// What stands behind an atom: `*`, `+`, `?`, `{n}`, `{n,m}`.
    fn repeated(&mut self, atom: &str) -> Option<String> {
        let body = match self.peek() {
            Some(sign @ ('*' | '+' | '?')) => {
                self.take();
                format!("{atom}{sign}")
            }
            Some('{') => {
                let (inner, rest) = self.rest[1..].split_once('}')?;
                self.rest = rest;
                let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
                let least: usize = least.trim().parse().ok()?;
                (least <= REPEATS_MAX).then_some(())?;
                if most.trim().is_empty() {
                    format!("{}{atom}*", atom.repeat(least))
                } else {
                    let most: usize = most.trim().parse().ok()?;
                    (most <= REPEATS_MAX).then_some(())?;
                    atom.repeat(least) + &format!("{atom}?").repeat(most.checked_sub(least)?)
                }
            }
            _ => return Some(atom.to_owned()),
        };
        let is_repeated = matches!(self.peek(), Some('*' | '+' | '{' | '?'));
        (!is_repeated).then_some(body)
    }
}

/// Each of the one behind each of the other; an anchor stands at an end.
fn joined(left: &[Pattern], right: &[Pattern]) -> Option<Vec<Pattern>> {
    let mut all = Vec::new();
    for first in left {
        for second in right {
            let is_within = (first.is_end && !second.body.is_empty()) || (second.is_start && !first.body.is_empty());
            let body = format!("{}{}", first.body, second.body);
            if is_within || body.len() > OCTETS_MAX || all.len() >= PATTERNS_MAX {
                return None;
            }
            let (is_start, is_end) = (first.is_start || second.is_start, first.is_end || second.is_end);
            all.push(Pattern { is_start, body, is_end });
        }
    }
    Some(all)
}

fn literal(sign: char) -> String {
    if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase().to_string() } else { format!("%{sign}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_expressions_are_patterns() {
        let one = |pattern: &str| Some(vec![pattern.to_owned()]);
        for (name, regex, want) in [
            ("a beginning", "^sip:00", one("^sip%:00")),
            ("an end", "@Example\\.com$", one("%@example%.com$")),
            ("classes", "^[1-9][0-9]+$", one("^[1-9][0-9]+$")),
            ("a class that is excluded", "[^A-Z.]", one("[^a-z%.]")),
            ("a class by name", "^[[:digit:]]*$", one("^[%d]*$")),
            ("a sign that may be missing", "^\\+?00", one("^%+?00")),
            ("a number of times", "^[0-9]{3}$", one("^[0-9][0-9][0-9]$")),
            ("between two numbers", "^1.{1,2}$", one("^1..?$")),
            ("at least so often", "1{2,}", one("111*")),
            ("a percent sign", "50%", one("50%%")),
            ("alternatives", "^(486|408)$", Some(vec!["^486$".to_owned(), "^408$".to_owned()])),
            ("a group that may be missing", "^(00)?49", Some(vec!["^0049".to_owned(), "^49".to_owned()])),
            ("two without a group", "^1|2$", Some(vec!["^1".to_owned(), "2$".to_owned()])),
            ("a group that is repeated", "^(00)+", None),
            ("an anchor within", "a^b", None),
            ("an open group", "(a", None),
            ("a closing bracket alone", "a)", None),
            ("a letter with a backslash", "\\bx", None),
            ("more than there is room for", "(a|b)(a|b)(a|b)(a|b)(a|b)", None),
            ("too often", "a{99}", None),
            ("what is no ASCII", "ü", None),
        ] {
            assert_eq!(of(regex), want, "{name}");
        }
    }
}
