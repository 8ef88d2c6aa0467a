//! Configuration: defaults, the TOML file and the environment become one [`Plan`], or a list of all mistakes.
//!
//! * [`tree`] merges the layers and keeps the place of each value;
//! * [`decode`] reads the tree into the types of [`schema`], which hold ranges and refuse unknown names;
//! * [`excerpt`] shows mistakes with their lines, but no secrets;
//! * `check` holds the rest against the world: templates, attributes, addresses, files;
//! * [`reload`] says which options a reload takes over;
//! * [`kinds`] has what is special to a kind of sink: its checks, and its file of the radiusclient family.

mod check;
pub(crate) mod decode;
pub(crate) mod error;
pub(crate) mod excerpt;
mod field;
mod foreign;
mod keyword_file;
pub(crate) mod keywords;
pub mod kinds;
pub(crate) mod plan;
pub(crate) mod reload;
pub(crate) mod schema;
pub(crate) mod tree;

#[cfg(test)]
mod admin_tests;
#[cfg(test)]
mod check_diameter_tests;
#[cfg(test)]
mod check_sip_tests;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod decode_tests;
#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod protection_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod route_check_tests;
#[cfg(test)]
pub(crate) mod sample_tests;
#[cfg(test)]
mod surprise_tests;
#[cfg(test)]
mod transport_tests;
#[cfg(test)]
pub(crate) mod walk;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::config::Map;

use check::Check;
use error::{Findings, Form, Mistake, Mistakes, Place};
pub use plan::Plan;

/// Where the file is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/tollgate/tollgate.toml";

/// The folder that systemd-tmpfiles makes for the sockets, at boot or when the package comes.
pub const MADE_AT_START: &str = "/run/tollgate";

/// Longest configuration file, in octets.
pub const FILE_OCTETS_MAX: u64 = 16 << 20;

/// Loads the file, with the environment of this process above it.
///
/// Reads other files the configuration names and asks the system's resolver, so it may take seconds.
///
/// # Errors
/// All mistakes of all tables and files, with the warnings found on the way.
pub fn load(path: &Path) -> Result<Plan, Mistakes> {
    let text = read(path).map_err(|mistake| Mistakes(vec![mistake]))?;
    parse(path, &text, tree::environment())
}

/// Where the socket of the commands is by this file and the environment, whatever mistakes they have: a running service
/// can be asked though its file cannot be used any more. `None` when it is switched off.
///
/// # Errors
/// The file cannot be read, or is no TOML and shows no socket, and is not the one that everybody has who names none: the
/// usual socket would be that of another gateway.
pub fn socket(path: &Path) -> Result<Option<PathBuf>, Mistakes> {
    let environment = tree::environment();
    let text = match read(path) {
        Ok(text) => text,
        // Whoever may use the socket need not be one who may read the file.
        Err(_) if path == Path::new(DEFAULT_PATH) || environment.contains_key(SOCKET_VARIABLE) => String::new(),
        Err(mistake) => return Err(Mistakes(vec![mistake.hint(WITHOUT)])),
    };
    socket_in(path, &text, &environment)
}

/// How a service is asked whose file cannot be.
const WITHOUT: &str = "`--socket FILE` asks a running service without its configuration";

fn socket_in(path: &Path, text: &str, environment: &Map<String, String>) -> Result<Option<PathBuf>, Mistakes> {
    let is_of_deliverer = is_of_deliverer(text, environment);
    let (variable, section) =
        if is_of_deliverer { (DELIVER_SOCKET_VARIABLE, "deliver") } else { (SOCKET_VARIABLE, "admin") };
    let given = environment.get(variable).cloned().or_else(|| tree::text_of(text, &[section, "socket"]));
    let Some(given) = given else {
        return match syntax(path, text) {
            Err(mut mistakes) if path != Path::new(DEFAULT_PATH) => {
                let what = "it cannot be told from this file which socket the service has";
                mistakes.push(Mistake::error(what, Place::Whole(path.to_owned())).hint(WITHOUT));
                Err(Mistakes(mistakes))
            }
            _ if is_of_deliverer => Ok(plan::DeliverPlan::default().socket),
            _ => Ok(crate::admin::Settings::default().socket),
        };
    };
    Ok((!given.is_empty()).then(|| path.parent().unwrap_or(Path::new("")).join(given)))
}

/// Whether the file is for `tollgate deliver` alone, as far as that can be told of one that may be full of mistakes; as
/// `check` decides it.
fn is_of_deliverer(text: &str, environment: &Map<String, String>) -> bool {
    let has = |path: &[&str]| {
        let variable = path.iter().map(|word| word.to_uppercase()).collect::<Vec<_>>().join("__");
        tree::has(text, path) || environment.contains_key(&format!("{}_{variable}", tree::PREFIX))
    };
    let has_calls = [&["sip", "listen"][..], &["route"], &["script", "file"], &["mirror"]].into_iter().any(has);
    (has(&["cluster"]) || has(&["cluster", "nats"])) && !has_calls
}

/// What is wrong with a text before anything in it is looked at.
fn syntax(path: &Path, text: &str) -> Result<(), Vec<Mistake>> {
    match foreign::mistaken(path, text) {
        Some(mistake) => Err(vec![mistake]),
        None => tree::read(path, text, Map::new()).map(drop).map_err(|mistakes| foreign::first(path, mistakes)),
    }
}

/// The variables of `admin.socket` and `deliver.socket`.
const SOCKET_VARIABLE: &str = "TOLLGATE_ADMIN__SOCKET";
const DELIVER_SOCKET_VARIABLE: &str = "TOLLGATE_DELIVER__SOCKET";

/// Makes the plan from a text; `path` names it in messages, and relative paths in it start at its folder.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, environment: Map<String, String>) -> Result<Plan, Mistakes> {
    if let Some(mistake) = foreign::mistaken(path, text) {
        return Err(Mistakes(vec![mistake]));
    }
    let (mut root, places) =
        tree::read(path, text, environment).map_err(|mistakes| Mistakes(foreign::first(path, mistakes)))?;
    let mut findings = Findings::default();
    let file = decode::decode(&mut root, &places, &mut findings);
    let certificates = BTreeSet::new();
    let mut check = Check { places: &places, findings: &mut findings, certificates };
    let plan = file.map(|file| check::plan(&file, &root, path, &mut check));
    let is_usable = !findings.has_error();
    let mut findings = findings.sorted();
    findings.iter_mut().for_each(|own| own.what = excerpt::discreet(&own.what));
    field::name(&root, &places, path, &mut findings);
    if text.trim().is_empty() {
        let warning =
            Mistake::warning("this file is empty: every option has its default", Place::Whole(path.to_owned()));
        findings.push(warning.hint("`etc/tollgate.toml` of the release shows every option"));
    }
    match plan {
        Some(plan) if is_usable => Ok(Plan { warnings: findings, ..plan }),
        _ => Err(Mistakes(findings)),
    }
}

fn read(path: &Path) -> Result<String, Mistake> {
    let unreadable = |error: std::io::Error| {
        Mistake::error(format!("cannot read the configuration: {error}"), Place::Whole(path.to_owned()))
    };
    let mut octets = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)).map_err(unreadable)?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        let what = format!("the configuration is longer than {FILE_OCTETS_MAX} octets");
        return Err(Mistake::error(what, Place::Whole(path.to_owned())));
    }
    String::from_utf8(octets).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = u32::try_from(memchr::memchr_iter(b'\n', good).count() + 1).unwrap_or(u32::MAX);
        let place = Place::File { path: path.to_owned(), line, column: 1, form: Form::Toml };
        Mistake::error("the configuration is not UTF-8", place)
    })
}
