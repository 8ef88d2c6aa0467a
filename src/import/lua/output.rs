//! Lines of `route.lua`, each with where it comes from.

use crate::import::lexer::Spot;

/// A text that grows line by line.
#[derive(Debug, Default)]
pub struct Output {
    lines: Vec<Written>,
    indent: usize,
    /// Blocks around that are comments as a whole.
    dead: usize,
}

#[derive(Debug)]
struct Written {
    indent: usize,
    is_comment: bool,
    text: String,
    at: Option<Spot>,
}

/// Column at which origins stand, as far as lines are shorter.
const ORIGIN_COLUMN: usize = 64;

impl Output {
    /// A line of code, or of a comment where all around it is one.
    pub fn line(&mut self, text: impl Into<String>, at: Option<Spot>) {
        let text = text.into();
        self.lines.push(Written { indent: self.indent, is_comment: self.dead > 0, text, at });
    }

    /// A comment.
    pub fn comment(&mut self, text: impl AsRef<str>, at: Option<Spot>) {
        let text = text.as_ref().chars().map(|next| if next.is_control() { ' ' } else { next }).collect();
        self.lines.push(Written { indent: self.indent, is_comment: true, text, at });
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.lines.push(Written { indent: 0, is_comment: false, text: String::new(), at: None });
    }

    /// What follows stands one deeper.
    pub fn open(&mut self) {
        self.indent += 1;
    }

    /// What follows stands one less deep.
    pub fn close(&mut self) {
        self.indent = self.indent.saturating_sub(1);
    }

    /// What follows is a comment, until it is [`Self::wake`]d.
    pub fn kill(&mut self) {
        self.dead += 1;
    }

    /// Ends that.
    pub fn wake(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }

    /// Whether what follows is a comment.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead > 0
    }

    /// The text; `origin` shows a place.
    #[must_use]
    pub fn text(&self, origin: &dyn Fn(Spot) -> String) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let mut written = "  ".repeat(line.indent);
            if line.is_comment {
                written.push_str("-- ");
            }
            written.push_str(&line.text);
            if let Some(at) = line.at {
                let width = ORIGIN_COLUMN.max(written.chars().count() + 1);
                written = format!("{written:<width$}-- {}", origin(at).replace(char::is_control, " "));
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text as Lua.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for next in text.chars() {
        match next {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            next if next.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(next))),
            next => out.push(next),
        }
    }
    out.push('"');
    out
}

/// Words that Lua keeps for itself.
const KEYWORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// Whether a text can stand behind a dot.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_word = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
    !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(is_word) && !KEYWORDS.contains(&text)
}

/// `table.name`, or `table["na-me"]`.
#[must_use]
pub fn entry(table: &str, name: &str) -> String {
    if is_name(name) { format!("{table}.{name}") } else { format!("{table}[{}]", quoted(name)) }
}
