//! Tables for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, TableStyle};
use ratatui::crossterm;
use serde_json::Value;

use crate::config::excerpt::Look;

/// How a command prints.
#[derive(Args, Clone, Debug)]
pub struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Format {
    /// Whether JSON is wanted.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a value as JSON, or its text.
    ///
    /// # Errors
    /// Standard output takes nothing more.
    pub fn print(&self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json { print_json(value) } else { print(&text()) }
    }
}

/// Prints text to standard output, with a line end.
///
/// # Errors
/// Standard output takes nothing more.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints a JSON value on one line.
///
/// # Errors
/// Standard output takes nothing more.
pub fn print_json(value: &Value) -> io::Result<()> {
    print(&value.to_string())
}

/// Columns under their heads, two blanks apart. On a terminal that is too narrow for them, cells go on in further lines.
#[must_use]
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    table_within(heads, rows, terminal_columns())
}

/// Blanks between two columns.
const GAP: u16 = 2;

/// Heads of columns whose cells are not broken.
const WHOLE: [&str; 3] = ["ID", "SEQ", "SESSION"];

fn table_within(heads: &[&str], rows: &[Vec<String>], columns: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(heads.to_vec()).add_rows(rows);
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, GAP));
    });
    if let Some(columns) = columns {
        // The blanks behind the last column may stand outside.
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns.saturating_add(GAP));
        // What is copied into the next command stays in one piece.
        for (column, _) in table.column_iter_mut().zip(heads).filter(|(_, head)| WHOLE.contains(*head)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// How wide standard output is, where it is a terminal that says so.
fn terminal_columns() -> Option<u16> {
    let (columns, _) = io::stdout().is_terminal().then(crossterm::terminal::size)?.ok()?;
    (columns > 0).then_some(columns)
}

/// How mistakes are shown on standard error.
#[must_use]
pub fn look() -> Look {
    if !io::stderr().is_terminal() || !may_colour() {
        return Look::Plain;
    }
    Look::Coloured(crossterm::terminal::size().map_or(COLUMNS_USUAL, |(columns, _)| columns.into()))
}

/// Columns of a terminal that does not say how many it has.
const COLUMNS_USUAL: usize = 100;

/// Whether the environment lets a terminal have colours: not with `NO_COLOR`, unless it is empty.
#[must_use]
pub fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A JSON value as a cell: text without quotation marks, nothing for null.
#[must_use]
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A JSON object as indented lines, each with its key.
#[must_use]
pub fn tree(value: &Value) -> String {
    let mut text = String::new();
    branch(value, 0, &mut text);
    text
}

fn branch(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let mut line = |key: &str, value: &Value| match value {
        Value::Object(_) | Value::Array(_) => {
            let _infallible = writeln!(text, "{indent}{}", shown(key));
            branch(value, depth + 1, text);
        }
        plain => {
            let _infallible = writeln!(text, "{indent}{:<16} {}", shown(key), shown(&cell(plain)));
        }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| line(key, value)),
        Value::Array(elements) => elements.iter().for_each(|value| line("-", value)),
        plain => line("", plain),
    }
}

/// The part for the octets that a value to try comes to, or why it comes to none.
pub fn sample(octets: Option<&Result<String, String>>) -> Option<(&'static str, String)> {
    let octets = octets?.as_ref().map_or_else(|error| format!("none: {error}"), String::clone);
    Some(("octets", octets))
}

/// What is known of one thing, a line for each part.
pub fn parts(lines: impl IntoIterator<Item = (&'static str, String)>) -> String {
    lines.into_iter().map(|(key, text)| format!("{key:<10} {}\n", shown(&text))).collect()
}

/// Text from the wire for a terminal: control characters are shown as `\x..`, so that they cannot act on it.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _infallible = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A time span for people, in its two largest units: `3 d 4 h`, `12 min 5 s`, `7 s`, `0.4 s`.
#[must_use]
pub fn span(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if !seconds.is_finite() || seconds < 0.05 {
        return "0 s".to_owned();
    }
    if seconds < 10.0 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    // Fits: a span of milliseconds in 32 bits came as a float.
    let whole = seconds as u64;
    let at = UNITS.iter().position(|(unit, _)| whole >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[at];
    let rest = UNITS.get(at + 1).map(|(smaller, name)| (whole % unit / smaller, name)).filter(|(count, _)| *count > 0);
    let rest = rest.map_or_else(String::new, |(count, name)| format!(" {count} {name}"));
    format!("{} {name}{rest}", whole / unit)
}

/// Whether the reader of our output has gone, as in `tollgate queue list | head`.
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [vec!["billing".to_owned(), "7".to_owned()], vec!["ü".to_owned(), "12345".to_owned()]];
        assert_eq!(table(&["SINK", "WAITING"], &rows), "SINK     WAITING\nbilling  7\nü        12345\n");
    }

    #[test]
    fn cells_go_on_below_where_the_terminal_is_narrow() {
        let rows = [vec!["billing".to_owned(), "the server has not answered for a minute".to_owned(), "7".to_owned()]];
        let text = table_within(&["SINK", "REASON", "WAITING"], &rows, Some(40));
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.chars().count() <= 40), "{text}");
        let words: Vec<_> = text.lines().skip(1).flat_map(str::split_whitespace).filter(|word| *word != "7").collect();
        assert_eq!(words.join(" "), "billing the server has not answered for a minute", "{text}");
        // A name that is copied from there is not broken.
        let id = "01M8MJ2XAQ7BHADCACATMX727Y";
        let text =
            table_within(&["ID", "REASON"], &[vec![id.to_owned(), "no server has answered".to_owned()]], Some(40));
        assert!(text.contains(id) && text.lines().count() > 2, "{text}");
        // Where there is room, nothing changes.
        assert_eq!(table_within(&["A"], &[vec!["b".to_owned()]], Some(40)), "A\nb\n");
        assert_eq!(table_within(&["A", "B"], &[], None), "A  B\n");
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, want) in [
            (0.0, "0 s"),
            (0.4, "0.4 s"),
            (7.0, "7 s"),
            (61.0, "1 min 1 s"),
            (7200.0, "2 h"),
            (7260.0, "2 h 1 min"),
            (273_600.5, "3 d 4 h"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(span(seconds), want);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\nü"), "a\\x1b[2J\\x0aü");
    }
}
