//! Section 1: a page for each command, as clap knows it.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Page;
use crate::names;

/// What the program reads and keeps, in the page of `tollgate` itself.
const FILES: &[(&str, &str)] = &[
    ("/etc/tollgate/tollgate.toml", "the configuration; see tollgate.toml(5)"),
    ("/etc/tollgate/radiusclient.conf", "RADIUS servers; see radiusclient.conf(5)"),
    ("/etc/tollgate/diameterclient.conf", "Diameter peers; see diameterclient.conf(5)"),
    ("/var/lib/tollgate/queue", "the records that wait, and the calls in progress"),
    ("/run/tollgate/admin.sock", "the socket by which these commands ask the running service"),
];

/// What the exit codes of `main` say.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "failed; standard error says why"),
    ("2", "printed, and not complete: an audit, or an answer of a cluster in which somebody is missing"),
    ("3", "reloaded, but for a part that needs a restart"),
    ("64", "wrong usage"),
    ("78", "wrong configuration"),
];

const SEE_ALSO: &str = "tollgate.toml(5), radiusclient.conf(5), diameterclient.conf(5)";

/// The page of the command and those of all below it.
pub(super) fn pages(mut command: Command) -> io::Result<Vec<Page>> {
    command.build();
    let mut pages = Vec::new();
    add(&command, true, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, is_first: bool, pages: &mut Vec<Page>) -> io::Result<()> {
    // `tollgate-queue-list`, as man asks for it.
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command.clone()).title(name.as_str());
    let man = man.manual("Tollgate").source(format!("Tollgate {}", names::VERSION));
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut end = Roff::new();
    if is_first {
        terms(&mut end, "FILES", FILES);
        terms(&mut end, "EXIT STATUS", EXIT_CODES);
    }
    let parent = name.rsplit_once('-').map_or_else(String::new, |(parent, _)| format!("{parent}(1), "));
    end.control("SH", ["SEE ALSO"]).text([roman(format!("{parent}{SEE_ALSO}"))]);
    text.extend(end.to_roff().bytes());
    pages.push(Page { section: 1, name: format!("{name}.1"), text });
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add(below, false, pages))
}

fn terms(roff: &mut Roff, head: &str, terms: &[(&str, &str)]) {
    roff.control("SH", [head]);
    for (term, text) in terms {
        roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
    }
}
