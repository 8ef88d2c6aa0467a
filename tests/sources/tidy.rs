//! Checks of the sources themselves: the layers, the clock, runtime-free cores, lengths, module docs, nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file has at most, tests in it included.
const FILE_LINES_MAX: usize = 600;
/// Lines a function has at most, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Layers from the bottom up; in a row, a module may import those to its right (`main -> cli -> service -> config`).
/// Names are paths below `crate`; the longest that fits a file decides.
const LAYERS: &[&[&str]] = &[
    &["causes", "clock", "timers", "units", "ids", "names", "metric"],
    &["record"],
    &["sip::message", "dictionary", "net"],
    &["queue"],
    &["sip::stack", "sip::proxy", "sip::dialog", "sip::transaction", "radius", "diameter", "hep"],
    &["shard", "mirror", "accounting", "policy", "vars"],
    &["front", "sinks", "admin", "ledger", "telemetry"],
    &["cluster"],
    &["main", "cli", "service", "import", "config"],
];

/// Modules that know nothing of each other though an arrow would not point up: the first never names the second.
const APART: &[(&str, &str)] = &[
    ("accounting", "queue"),
    ("shard", "queue"),
    ("mirror", "queue"),
    ("mirror", "hep"),
    ("hep", "record"),
    ("policy", "queue"),
    ("vars", "queue"),
    ("radius", "record"),
    ("diameter", "record"),
];

/// Modules that know no socket, runtime, log or metric.
const CORES: &[&str] = &[
    "causes",
    "clock",
    "timers",
    "units",
    "ids",
    "names",
    "metric",
    "record",
    "sip::message",
    "dictionary",
    "sip::stack",
    "sip::proxy",
    "sip::dialog",
    "sip::transaction",
    "radius",
    "diameter",
    "hep",
    "shard",
    "mirror",
    "accounting",
    "policy",
    "vars",
    "cluster::calls",
    "cluster::lease",
    "cluster::roster",
    "cluster::share",
];

/// What a core must not name.
const SHELL_WORDS: &[&str] =
    &["tokio::", "std::net::UdpSocket", "std::net::Tcp", "socket2::", "tracing::", "metrics::", "std::thread"];

/// Reads of a clock; only `clock.rs` has them.
const CLOCK_WORDS: &[&str] =
    &["Instant::now(", "SystemTime::now(", "clock_gettime(", "Timestamp::now(", "Zoned::now(", "Utc::now("];

/// State that is half private still: structs that hide some of their fields while others touch the rest. None is to join;
/// one that is mended is taken off.
const HALF_PRIVATE: &[&str] = &["diameter::route::slot::Slot", "dictionary::reader::File", "dictionary::reader::Load"];

/// What nobody may leave behind.
const LEFT_BEHIND: &[&str] = &["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX"];

/// A file of ours.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut todo = vec![root.join(folder)];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap_or_else(|error| panic!("cannot list {}: {error}", path.display())) {
            let path = entry.expect("a directory entry is readable").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                found.push(Source { path: path.strip_prefix(root).expect("below the root").to_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// `src/sip/message/uri.rs` is `sip::message::uri`.
fn module(path: &Path) -> String {
    let text = path.strip_prefix("src").unwrap_or(path).with_extension("").to_string_lossy().replace('/', "::");
    text.strip_suffix("::mod").unwrap_or(&text).to_owned()
}

/// Layer and place in its row.
fn place(module: &str) -> Option<(usize, usize)> {
    let mut best: Option<(usize, (usize, usize))> = None;
    for (layer, row) in LAYERS.iter().enumerate() {
        for (column, name) in row.iter().enumerate() {
            let fits = module == *name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
            if fits && best.is_none_or(|(length, _)| name.len() > length) {
                best = Some((name.len(), (layer, column)));
            }
        }
    }
    best.map(|(_, place)| place)
}

/// Rows whose order is an order of imports; in the others a module imports its neighbours freely.
fn is_ordered(layer: usize) -> bool {
    matches!(layer, 0 | 5 | 8)
}

/// Every `crate::a::b` the text names outside of comments, those of `crate::{a, b::c}` included, with its line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let number = code[..at].lines().count().max(1);
        let rest = &code[at + 7..];
        match rest.strip_prefix('{') {
            None => found.push((number, path(rest))),
            Some(group) => {
                let mut depth = 0_i32;
                let mut starts = vec![0];
                for (place, sign) in group.char_indices() {
                    match sign {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts.push(place + 1),
                        _ => {}
                    }
                }
                let names = starts.iter().map(|start| path(group[*start..].trim_start()));
                found.extend(names.filter(|name| !name.is_empty()).map(|name| (number, name)));
            }
        }
    }
    found
}

/// The path a text begins with.
fn path(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text[..end].trim_end_matches(':').to_owned()
}

#[test]
fn no_arrow_points_up() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let from = module(&source.path);
        if from == "lib" {
            continue;
        }
        let Some(own) = place(&from) else {
            // `sip` itself only names its children.
            assert!(from == "sip", "{from} has no layer: add it to the table");
            continue;
        };
        for (line, to) in imports(&source.text) {
            let Some(other) = place(&to) else {
                wrong.push(format!("{}:{line} imports crate::{to}, which has no layer", source.path.display()));
                continue;
            };
            let up = other.0 > own.0 || (other.0 == own.0 && is_ordered(own.0) && other.1 < own.1 && own.0 != 0);
            if up {
                wrong.push(format!("{}:{line} {from} imports crate::{to} from above", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a module belongs to a kind of sink: `config::kinds::radius::client` to `radius`.
fn is_of(module: &str, kind: &str) -> bool {
    module.split("::").any(|part| part == kind)
}

/// The kinds of sinks: each has a folder in the configuration.
fn kinds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/kinds");
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is readable"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().expect("its name is UTF-8")).collect()
}

#[test]
fn no_kind_of_sink_names_another() {
    let kinds = kinds();
    assert!(kinds.len() >= 2, "{kinds:?}");
    let mut wrong = Vec::new();
    for source in sources("src") {
        let Some(own) = kinds.iter().find(|kind| is_of(&module(&source.path), kind)) else { continue };
        for (line, to) in imports(&source.text).into_iter().chain(from_parents(&source)) {
            if kinds.iter().any(|other| other != own && is_of(&to, other)) {
                wrong.push(format!("{}:{line} of {own} names {to}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Modules above the sinks that are about protocols: dictionaries, dumps, the collectors of the demonstration.
const ABOUT_PROTOCOLS: &[&str] = &["cli::demo", "cli::decode", "cli::dict", "cli::dict_diameter"];

#[test]
fn the_program_knows_kinds_of_sinks_by_their_list() {
    let (kinds, mut wrong) = (kinds(), Vec::new());
    for source in sources("src").into_iter().filter(|source| !is_test_file(&source.path)) {
        let from = module(&source.path);
        let is_above = ["admin", "config", "service", "cli"].iter().any(|name| from.split("::").next() == Some(*name));
        let is_free = from == "config::kinds" || ABOUT_PROTOCOLS.contains(&from.as_str());
        if !is_above || is_free || kinds.iter().any(|kind| is_of(&from, kind)) {
            continue;
        }
        for (line, to) in imports(&source.text).into_iter().chain(from_parents(&source)) {
            if kinds.iter().any(|kind| is_of(&to, kind)) {
                wrong.push(format!(
                    "{}:{line} names {to}: a further kind would have to be added there",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the text names by `super::`, from the root.
fn from_parents(source: &Source) -> Vec<(usize, String)> {
    let text = source.text.replace("crate::", "").replace("super::super::", "super::").replace("super::", "crate::");
    let own = module(&source.path);
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    imports(&text).into_iter().map(|(line, name)| (line, format!("{parent}::{name}"))).collect()
}

#[test]
fn what_stands_apart_names_nothing_of_the_other() {
    let is_in = |module: &str, name: &str| {
        module == name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"))
    };
    let mut wrong = Vec::new();
    for source in sources("src") {
        let from = module(&source.path);
        for (line, to) in imports(&source.text) {
            if APART.iter().any(|(own, other)| is_in(&from, own) && is_in(&to, other)) {
                wrong.push(format!("{}:{line} {from} names crate::{to}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_reads_a_clock() {
    holds_nowhere(CLOCK_WORDS, |module| module != "clock");
}

#[test]
fn cores_know_no_runtime_socket_log_or_metric() {
    holds_nowhere(SHELL_WORDS, |module| {
        CORES.iter().any(|core| module == *core || module.strip_prefix(core).is_some_and(|rest| rest.starts_with("::")))
    });
}

fn holds_nowhere(words: &[&str], concerns: impl Fn(&str) -> bool) {
    let mut wrong = Vec::new();
    for source in sources("src") {
        if !concerns(&module(&source.path)) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}:{} has {word}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A struct with its name from the root, and how many of its fields others may touch and may not.
struct Fields {
    name: String,
    place: String,
    open: usize,
    hidden: usize,
}

/// The structs of a source with named fields, without those of tests.
fn structs(source: &Source) -> Vec<Fields> {
    let code = source.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let after =
            line.split("struct ").nth(1).filter(|_| line.ends_with('{') && !line.trim_start().starts_with("//"));
        let Some(after) = after else { continue };
        let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
        let fields = lines[number + 1..].iter().map(|line| line.trim()).take_while(|line| *line != "}");
        let (open, hidden) = fields
            .filter(|line| !line.starts_with(['/', '#']) && line.contains(": "))
            .partition::<Vec<_>, _>(|line| line.starts_with("pub ") || line.starts_with("pub("));
        let place = format!("{}:{}", source.path.display(), number + 1);
        let name = format!("{}::{}", module(&source.path), &after[..end]);
        found.push(Fields { name, place, open: open.len(), hidden: hidden.len() });
    }
    found
}

/// Names of the types whose methods change them, each with the top module that says so.
fn changing(sources: &[Source]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for source in sources {
        let top = module(&source.path).split("::").next().unwrap_or_default().to_owned();
        let mut own = None;
        for line in source.text.lines() {
            if let Some(rest) = line.strip_prefix("impl") {
                let of = rest.rsplit(" for ").next().unwrap_or(rest).trim_start();
                let of = of.strip_prefix('<').map_or(of, |rest| rest.split_once("> ").map_or("", |(_, of)| of));
                own = of.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().map(str::to_owned);
            }
            if let Some(name) = own.as_ref().filter(|_| line.contains("&mut self") && !line.contains("fn drop(")) {
                found.insert((top.clone(), name.clone()));
            }
        }
    }
    found
}

#[test]
fn state_is_private_or_plain_data_and_never_half() {
    let sources = sources("src");
    let changing = changing(&sources);
    let is_state = |fields: &Fields| {
        let (top, name) = (fields.name.split("::").next(), fields.name.rsplit("::").next());
        top.zip(name).is_some_and(|(top, name)| changing.contains(&(top.to_owned(), name.to_owned())))
    };
    let all = sources.iter().filter(|source| !is_test_file(&source.path)).flat_map(structs);
    let half: Vec<Fields> = all.filter(|own| own.open > 0 && own.hidden > 0 && is_state(own)).collect();
    let mut wrong: Vec<String> = half
        .iter()
        .filter(|own| !HALF_PRIVATE.contains(&own.name.as_str()))
        .map(|own| format!("{} {} hides {} fields and shows {}", own.place, own.name, own.hidden, own.open))
        .collect();
    let mended = HALF_PRIVATE.iter().filter(|name| half.iter().all(|own| own.name != **name));
    wrong.extend(mended.map(|name| format!("{name} is mended: take it off the list")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_behind() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if source.path == Path::new("tests/sources/tidy.rs") {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            for word in LEFT_BEHIND.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{} has {word}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_sleeps() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if source.path == Path::new("tests/sources/tidy.rs") {
            continue;
        }
        let in_tests = source.path.starts_with("tests") || is_test_file(&source.path);
        let start = if in_tests { Some(0) } else { source.text.find("#[cfg(test)]") };
        let Some(start) = start else { continue };
        let before = source.text[..start].lines().count();
        for (number, line) in source.text[start..].lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if code.contains("sleep(") {
                wrong.push(format!("{}:{} sleeps", source.path.display(), before + number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_fit() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            wrong.push(format!("{} has {} lines, {FILE_LINES_MAX} at most", source.path.display(), lines.len()));
        }
        let tests_from =
            if is_test_file(&source.path) { Some(0) } else { lines.iter().position(|line| *line == "#[cfg(test)]") };
        for (name, start, length) in functions(&lines) {
            // A table of a test may be as long as its rows are many.
            if tests_from.is_some_and(|line| start > line) {
                continue;
            }
            if length > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{}:{start} {name} has {length} lines, {FUNCTION_LINES_MAX} at most",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `tests.rs`, `…_tests.rs`, and all below a folder `tests`.
pub(crate) fn is_test_file(path: &Path) -> bool {
    path.to_string_lossy().ends_with("tests.rs") || path.iter().any(|part| part == "tests")
}

/// Name, first line and length of each function; rustfmt's indentation tells where it ends.
fn functions(lines: &[&str]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
            "unsafe fn ",
        ]
        .iter()
        .any(|start| words.starts_with(start));
        if !is_function || words.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[number..].iter().position(|l| *l == close).map_or(1, |end| end + 1);
        let name = words.split("fn ").nth(1).unwrap_or("").split(['(', '<']).next().unwrap_or("").to_owned();
        // A function of one line closes on that line.
        let length = if words.ends_with('}') { 1 } else { length };
        found.push((name, number + 1, length));
    }
    found
}

/// Integration binaries there may be: each links the whole product.
const TEST_BINARIES_MAX: usize = 6;

/// The folders of `tests` that are a binary each.
fn test_binaries() -> Vec<PathBuf> {
    let mains =
        sources("tests").into_iter().filter(|source| source.path.file_name().is_some_and(|name| name == "main.rs"));
    mains.filter_map(|source| source.path.parent().map(Path::to_owned)).collect()
}

#[test]
fn few_binaries_link_the_product() {
    let folders = test_binaries();
    assert!(folders.len() <= TEST_BINARIES_MAX, "{folders:?}: make a new one a module of an old one");
    let alone: Vec<_> =
        sources("tests").into_iter().map(|source| source.path).filter(|path| path.iter().count() == 2).collect();
    assert!(alone.is_empty(), "a binary each: {alone:?}; make them modules of {folders:?}");
}

#[test]
fn every_file_of_tests_is_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut forgotten = Vec::new();
    for (folder, names_them) in
        test_binaries().iter().map(|path| (path.as_path(), "main.rs")).chain([(Path::new("tests/support"), "mod.rs")])
    {
        for source in sources(&folder.to_string_lossy()).iter().map(|source| source.path.as_path()) {
            // A folder's own file is named one folder above.
            let (module, place) = match source.parent() {
                Some(parent) if source.ends_with("mod.rs") && parent != folder => (parent, parent.parent()),
                parent => (source, parent),
            };
            let names_them = if place == Some(folder) { names_them } else { "mod.rs" };
            let list = fs::read_to_string(root.join(place.expect("a folder")).join(names_them)).unwrap_or_default();
            let name = module.file_stem().expect("it has a name").to_string_lossy();
            let is_named = list.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {name};"));
            let is_list = place == Some(folder) && source.ends_with(names_them);
            if !is_named && !is_list {
                forgotten.push(format!("{} has no `mod {name};` in {names_them}", source.display()));
            }
        }
    }
    assert!(forgotten.is_empty(), "{}", forgotten.join("\n"));
}

#[test]
fn what_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = ["src/", "tests/", "etc/", "dictionaries/", "systemd/", "findings/"];
    let mut missing = Vec::new();
    for document in [
        "README.md",
        "etc/README.md",
        "tests/README.md",
        "etc/freeradius/README.md",
        "etc/lab/README.md",
        "etc/monitoring/README.md",
        "etc/proxies/README.md",
        "src/lib.rs",
    ] {
        let text = fs::read_to_string(root.join(document)).expect("it is UTF-8");
        // What stands between back quotes; of a command its first word.
        for span in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let path = span.split(' ').next().unwrap_or_default();
            if ours.iter().any(|folder| path.starts_with(folder)) && !path.contains('…') && !root.join(path).exists()
            {
                missing.push(format!("{document} names {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources("src")
        .into_iter()
        .filter(|source| !source.text.trim_start().starts_with("//!"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no module documentation in {silent:?}");
}

#[test]
fn no_module_name_hides_what_it_holds() {
    let vague = ["utils", "util", "common", "helpers", "manager", "misc"];
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for source in sources("src") {
        let name = module(&source.path).rsplit("::").next().unwrap_or("").to_owned();
        if vague.contains(&name.as_str()) {
            seen.insert(name, source.path);
        }
    }
    assert!(seen.is_empty(), "{seen:?}");
}
