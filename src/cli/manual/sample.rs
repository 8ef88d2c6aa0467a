//! A shipped sample file as parts of a manual page: sections, options with what is said of them, examples.
//!
//! All of them are written alike: comments stand before what they are about, blocks are set apart by empty lines,
//! `#name` without a blank is an option at its default, and what stands three blanks in is an example or an explained
//! word.

use std::mem;

/// A sample file, read.
#[derive(Debug, PartialEq)]
pub(in crate::cli) struct Sample {
    /// Its name.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    pub items: Vec<Item>,
}

/// What follows each other in a file.
#[derive(Debug, PartialEq)]
pub(in crate::cli) enum Item {
    /// Text about no option.
    Text(Vec<Part>),
    /// A head in brackets, and what is said of it.
    Section { head: String, text: Vec<Part> },
    /// Options that are explained together, as the file shows them.
    Options { lines: Vec<String>, text: Vec<Part> },
}

/// A part of a text.
#[derive(Debug, PartialEq)]
pub(in crate::cli) enum Part {
    /// A paragraph.
    Prose(String),
    /// An explained word.
    Term(String, String),
    /// Lines as they are written.
    Example(Vec<String>),
}

/// Blanks before an example or an explained word in a comment.
const INDENT: usize = 3;

/// Reads a sample; its first line is `# NAME: WHAT IT IS.`
pub(in crate::cli) fn read(text: &str) -> Sample {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim_start_matches("# ").trim_end_matches('.');
    let (name, about) = first.split_once(": ").unwrap_or((first, ""));
    let mut items = Vec::new();
    for block in rest.split("\n\n") {
        read_block(block, &mut items);
    }
    Sample { name: name.to_owned(), about: about.to_owned(), items }
}

/// Lines without an empty one between.
fn read_block(block: &str, items: &mut Vec<Item>) {
    let (mut text, mut options) = (Vec::new(), Vec::new());
    let lines: Vec<&str> = block.lines().filter(|line| !line.is_empty() && !line.starts_with("# ---")).collect();
    for (number, line) in lines.iter().enumerate() {
        if let Some(head) = head(line) {
            items.push(Item::Section { head: head.to_owned(), text: mem::take(&mut text) });
        } else if let Some(option) = option(line) {
            options.push(option.to_owned());
        } else {
            // Text behind options is about them, unless others follow that it is about.
            if !options.is_empty() && lines[number..].iter().any(|line| option(line).is_some()) {
                items.push(Item::Options { lines: mem::take(&mut options), text: mem::take(&mut text) });
            }
            add_comment(line.trim_start_matches('#'), &mut text);
        }
    }
    if options.is_empty() {
        options = take_example(&mut text);
    }
    if !options.is_empty() {
        items.push(Item::Options { lines: options, text });
    } else if !text.is_empty() {
        items.push(Item::Text(text));
    }
}

/// `[section]`, or `#[section]` where the file shows one that it has not.
fn head(line: &str) -> Option<&str> {
    let bare = line.strip_prefix('#').unwrap_or(line);
    (bare.starts_with('[') && bare.ends_with(']')).then_some(bare)
}

/// `name = value`, `name value`, or either behind `#`.
fn option(line: &str) -> Option<&str> {
    let bare = line.strip_prefix('#').unwrap_or(line);
    bare.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[').then_some(bare)
}

/// An option without a default is shown as an example at the end of what is said of it.
fn take_example(text: &mut Vec<Part>) -> Vec<String> {
    let is_option = |line: &String| {
        let name = line.split(" = ").next().unwrap_or_default();
        name.len() < line.len() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    match text.pop() {
        Some(Part::Example(lines)) if lines.iter().all(is_option) => lines,
        Some(other) => {
            text.push(other);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// A line of a comment, without its `#`.
fn add_comment(line: &str, text: &mut Vec<Part>) {
    let bare = line.trim_start();
    let indent = line.len() - bare.len();
    let Some(last) = text.last_mut() else {
        return text.push(begun(bare, indent));
    };
    match last {
        _ if bare.is_empty() => text.push(Part::Prose(String::new())),
        Part::Prose(words) if indent < INDENT => join(words, bare),
        Part::Term(_, words) if indent > INDENT => join(words, bare),
        Part::Example(lines) if indent >= INDENT && term(bare).is_none() => {
            lines.push(format!("{}{bare}", " ".repeat(indent - INDENT)));
        }
        Part::Prose(words) if words.is_empty() => *last = begun(bare, indent),
        _ => text.push(begun(bare, indent)),
    }
}

fn begun(bare: &str, indent: usize) -> Part {
    match term(bare) {
        _ if indent < INDENT => Part::Prose(bare.to_owned()),
        Some((word, text)) => Part::Term(word.to_owned(), text.to_owned()),
        None => Part::Example(vec![bare.to_owned()]),
    }
}

/// A word, two blanks or more, and what it means.
fn term(bare: &str) -> Option<(&str, &str)> {
    let (word, text) = bare.split_once("  ")?;
    Some((word, text.trim_start()))
}

fn join(words: &mut String, more: &str) {
    if !words.is_empty() {
        words.push(' ');
    }
    words.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(text: &str) -> Part {
        Part::Prose(text.to_owned())
    }

    fn options(lines: &[&str], text: Vec<Part>) -> Item {
        Item::Options { lines: lines.iter().map(|line| (*line).to_owned()).collect(), text }
    }

    #[test]
    fn a_file_falls_into_sections_and_options() {
        let sample = read(
            "# a.toml: what it is.\n#\n# Said of all,\n# in two lines.\n\n# ------\n# The part.\n[part]\n\n# One or two.\n#one = 1\n\
             two = 2\n# Behind both.\n\n# First:\n#a = 1\n# second:\n#b = 2\n\n# Without a default.\n#   c = 3\n",
        );
        assert_eq!((sample.name.as_str(), sample.about.as_str()), ("a.toml", "what it is"));
        let want = [
            Item::Text(vec![prose("Said of all, in two lines.")]),
            Item::Section { head: "[part]".to_owned(), text: vec![prose("The part.")] },
            options(&["one = 1", "two = 2"], vec![prose("One or two. Behind both.")]),
            options(&["a = 1"], vec![prose("First:")]),
            options(&["b = 2"], vec![prose("second:")]),
            options(&["c = 3"], vec![prose("Without a default.")]),
        ];
        assert_eq!(sample.items, want);
    }

    #[test]
    fn words_are_explained_and_examples_stay_as_they_are() {
        let sample = read(
            "# a.conf: b.\n\n# Kinds:\n#   one  the first\n#        of them\n#   two  another\n# Such as\n#   a = [\n#     1\n#   ]\nkind\tone\n",
        );
        let term = |word: &str, text: &str| Part::Term(word.to_owned(), text.to_owned());
        let example = Part::Example(["a = [", "  1", "]"].map(str::to_owned).to_vec());
        let text =
            vec![prose("Kinds:"), term("one", "the first of them"), term("two", "another"), prose("Such as"), example];
        assert_eq!(sample.items, [options(&["kind\tone"], text)]);
    }
}
