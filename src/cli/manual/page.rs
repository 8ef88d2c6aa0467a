//! Section 5: a sample file as a page.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Page;
use super::sample::{Item, Part, Sample};
use crate::names;

/// The page of a sample, with those of other files that it needs.
pub(super) fn of_sample(sample: &Sample, further: &[Sample]) -> Page {
    let mut roff = Roff::new();
    let source = format!("Tollgate {}", names::VERSION);
    roff.control("TH", [sample.name.as_str(), "5", "", source.as_str(), "Tollgate"]);
    // No hyphenation: options and names stay whole.
    roff.control("nr", ["HY", "0"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{} - {}", sample.name, sample.about))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(words(&format!("What follows are the comments of `{}` as it is shipped.", place(&sample.name))));
    items(&mut roff, &sample.items);
    for other in further {
        roff.control("SH", [format!("FILE {}", other.name).as_str()]);
        roff.text(words(&format!("`{}`: {}.", place(&other.name), other.about)));
        items(&mut roff, &other.items);
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(others(&sample.name))]);
    Page { section: 5, name: format!("{}.5", sample.name), text: roff.render().into_bytes() }
}

/// Where the packages put it.
fn place(name: &str) -> String {
    format!("/etc/tollgate/{name}")
}

/// The other pages.
fn others(name: &str) -> String {
    let pages = ["tollgate.toml", "radiusclient.conf", "diameterclient.conf"];
    let others: Vec<_> = pages.iter().filter(|other| **other != name).map(|other| format!("{other}(5)")).collect();
    format!("tollgate(1), {}", others.join(", "))
}

fn items(roff: &mut Roff, items: &[Item]) {
    for item in items {
        match item {
            Item::Text(text) => {
                roff.control("PP", []);
                parts(roff, text, "PP");
            }
            Item::Section { head, text } => {
                roff.control("SH", [head.as_str()]);
                parts(roff, text, "PP");
            }
            Item::Options { lines, text } if text.is_empty() => {
                roff.control("PP", []);
                example(roff, lines);
            }
            Item::Options { lines, text } => {
                for (number, line) in lines.iter().enumerate() {
                    roff.control(if number == 0 { "TP" } else { "TQ" }, []).text([bold(spaced(line))]);
                }
                parts(roff, text, "IP");
            }
        }
    }
}

/// A text; `paragraph` is the macro that sets its parts apart.
fn parts(roff: &mut Roff, parts: &[Part], paragraph: &str) {
    let mut is_inside = false;
    for (number, part) in parts.iter().enumerate() {
        let is_term = matches!(part, Part::Term(..));
        if is_term != is_inside {
            roff.control(if is_term { "RS" } else { "RE" }, []);
        }
        if number > 0 && matches!(part, Part::Prose(_)) {
            roff.control(paragraph, []);
        }
        match part {
            Part::Prose(text) => {
                roff.text(words(text));
            }
            Part::Term(word, text) => {
                roff.control("TP", []).text([italic(word)]).text(words(text));
            }
            Part::Example(lines) => example(roff, lines),
        }
        is_inside = is_term;
    }
    if is_inside {
        roff.control("RE", []);
    }
}

fn example(roff: &mut Roff, lines: &[String]) {
    roff.control("EX", []);
    lines.iter().for_each(|line| {
        roff.text([roman(spaced(line))]);
    });
    roff.control("EE", []);
}

/// One blank for the tabulators between a keyword and its value.
fn spaced(line: &str) -> String {
    line.split('\t').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Text whose words in back quotes are bold.
fn words(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(place, part)| if place % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
