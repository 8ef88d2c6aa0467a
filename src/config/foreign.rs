//! Files of other programs that were given instead of ours: one sentence is more use than a mistake for each line.

use std::path::Path;

use super::error::{Form, Mistake, Place};
use crate::sinks::profile::{Failed, Profile};

/// Mistakes of syntax that are told; after so many it is hardly a file of ours.
const SYNTAX_MISTAKES_MAX: usize = 10;

/// Words that stand at the beginning of lines of a configuration of the SER family, and of no TOML.
const SER_WORDS: [&str; 4] = ["loadmodule", "modparam(", "route{", "request_route{"];
/// Lines of it that only one of them has.
const OPENSIPS_WORDS: [&str; 5] =
    ["socket=", "udp_workers=", "mpath=\"/usr/lib/x86_64-linux-gnu/opensips", "opensips", "xlog_"];

/// What a file is if it is one of another program.
pub(super) fn mistaken(path: &Path, text: &str) -> Option<Mistake> {
    let is_ser = |line: &str| {
        let line: String = line.split_whitespace().collect();
        SER_WORDS.iter().any(|word| line.starts_with(word))
    };
    let found = text.lines().position(is_ser)?;
    let lower = text.to_ascii_lowercase();
    let file_name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let says = |word: &str| lower.contains(word) || file_name.contains(word);
    let has = |word: &&str| lower.lines().any(|line| line.trim_start().replace(' ', "").starts_with(*word));
    let (name, program) = match (says("kamailio"), says("opensips")) {
        (true, _) => ("kamailio.cfg", "Kamailio"),
        (false, true) => ("opensips.cfg", "OpenSIPS"),
        (false, false) if OPENSIPS_WORDS.iter().any(has) => ("opensips.cfg", "OpenSIPS"),
        (false, false) => ("kamailio.cfg or opensips.cfg", "Kamailio or OpenSIPS"),
    };
    let line = u32::try_from(found + 1).unwrap_or(u32::MAX);
    let place = Place::File { path: path.to_owned(), line, column: 1, form: Form::Foreign };
    let what = format!("this is {name}, the configuration of {program}, and no TOML");
    Some(
        Mistake::error(what, place)
            .hint(format!("`tollgate import {}` makes a configuration of ours from it", path.display())),
    )
}

/// What a parameter of the acc modules that marks requests is called here, where somebody wrote it into `[accounting]`.
pub(super) fn marks_of_acc(name: &str, table: &str) -> Option<String> {
    if table != "accounting" {
        return None;
    }
    let systems = || Profile::ALL.iter().map(|profile| profile.system());
    let names = |is_it: fn(&Failed) -> bool| {
        let own = systems().filter(|system| is_it(&system.marks.failed) && system.marks.failed.name() == name);
        own.map(|system| system.name).collect::<Vec<_>>().join(", ")
    };
    for (whose, where_) in [
        (names(|failed| matches!(failed, Failed::Always(_))), "here or in a route"),
        (names(|failed| matches!(failed, Failed::Flag(_))), "in the routes whose requests had the flag"),
    ] {
        if !whose.is_empty() {
            return Some(format!("`{name}` of {whose} is `flags = [\"failed\"]` {where_}"));
        }
    }
    let (place, option) = match name.strip_suffix("_flag")?.strip_suffix("_missed") {
        Some(_) => (1, "flags = [\"missed\"]"),
        None => (0, "on = [...]"),
    };
    let defaults = systems().filter_map(|system| Some(format!("{} of {}", system.marks.flags?[place], system.name)));
    let defaults = defaults.collect::<Vec<_>>().join(", ");
    Some(format!("what the scripts mark by the flag `{name}` (default: {defaults}) is `{option}` of their route here"))
}

/// The first of many mistakes of syntax, and how many there are.
pub(super) fn first(path: &Path, mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let more = mistakes.len().saturating_sub(SYNTAX_MISTAKES_MAX);
    if more > 0 {
        mistakes.truncate(SYNTAX_MISTAKES_MAX);
        let what = format!("{more} further mistakes of syntax: is this the configuration of Tollgate?");
        mistakes.push(Mistake::error(what, Place::Whole(path.to_owned())));
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_program_is_named() {
        let kamailio = "#!KAMAILIO\n####### Global\ndebug=2\nloadmodule \"tm.so\"\nmodparam(\"acc\", \"x\", 1)\n";
        let opensips = "log_level=3\nsocket=udp:127.0.0.1:5060\nloadmodule \"signaling.so\"\nroute{\n}\n";
        for (name, file, text, want) in [
            ("Kamailio's", "tollgate.toml", kamailio, Some(("this is kamailio.cfg, ", 4))),
            ("by its name alone", "kamailio.cfg", "loadmodule \"acc.so\"\n", Some(("this is kamailio.cfg, ", 1))),
            ("OpenSIPS's", "tollgate.toml", opensips, Some(("this is opensips.cfg, ", 3))),
            ("one of them", "x", "request_route {\n}\n", Some(("this is kamailio.cfg or opensips.cfg, ", 1))),
            ("ours", "tollgate.toml", "[[route]]\nto = \"sip:127.0.0.1\" # loadmodule\n", None),
            ("ours with the name of a route", "t", "[[route]]\nname = \"route{\"\n", None),
            ("an empty one", "tollgate.toml", "", None),
        ] {
            let found = mistaken(Path::new(file), text).map(|own| (own.what, own.places));
            match (found, want) {
                (None, None) => {}
                (Some((what, places)), Some((start, line))) => {
                    assert!(what.starts_with(start), "{name}: {what}");
                    assert!(matches!(places[..], [Place::File { line: own, .. }] if own == line), "{name}: {places:?}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn marks_of_the_acc_modules_have_their_names_here() {
        for (name, table, want) in [
            (
                "failed_transactions",
                "accounting",
                Some("`failed_transactions` of ser is `flags = [\"failed\"]` here or in a route"),
            ),
            (
                "failed_transaction_flag",
                "accounting",
                Some(
                    "`failed_transaction_flag` of kamailio, openser, openser-1.1 is `flags = [\"failed\"]` in the routes whose \
                     requests had the flag",
                ),
            ),
            (
                "db_missed_flag",
                "accounting",
                Some(
                    "what the scripts mark by the flag `db_missed_flag` (default: 2 of ser) is `flags = [\"missed\"]` of their \
                     route here",
                ),
            ),
            (
                "log_flag",
                "accounting",
                Some(
                    "what the scripts mark by the flag `log_flag` (default: 1 of ser) is `on = [...]` of their route here",
                ),
            ),
            ("failed", "accounting", None),
            ("log_level", "accounting", None),
            ("log_flag", "sip", None),
        ] {
            assert_eq!(marks_of_acc(name, table).as_deref(), want, "{name} in {table}");
        }
    }

    #[test]
    fn ten_mistakes_of_syntax_are_enough() {
        let many = |count: usize| (0..count).map(|_| Mistake::error("odd", Place::Nowhere)).collect::<Vec<_>>();
        for (count, want) in [(0, 0), (1, 1), (10, 10), (11, 11), (500, 11)] {
            assert_eq!(first(Path::new("x"), many(count)).len(), want, "{count}");
        }
        assert!(first(Path::new("x"), many(500))[10].what.starts_with("490 further"));
    }
}
