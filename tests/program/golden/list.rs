//! The differences that are left, with their reasons: `tests/golden/differences.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

/// The list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[serde(default)]
    difference: Vec<Entry>,
    #[serde(default)]
    unplayed: Vec<Unplayed>,
    #[serde(default)]
    by_script: Vec<ByScript>,
}

/// Differences of one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What the table of a system calls it.
    name: String,
    /// Whether the original is at fault, which the README says.
    #[serde(default)]
    is_fault: bool,
    reason: String,
    differs: Vec<String>,
    /// Numbers of flows by system.
    r#where: BTreeMap<String, String>,
}

/// Flows that cannot be played.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unplayed {
    reason: String,
    r#where: BTreeMap<String, String>,
}

/// Differences that are there when the script decides, and not when routes do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByScript {
    reason: String,
    differs: Vec<String>,
    r#where: BTreeMap<String, String>,
}

/// What was found: the differences by flow and system, or why it cannot be played.
pub type Found = BTreeMap<(String, String), Result<BTreeSet<String>, String>>;

/// Whether a word of the list means a flow.
fn is_flow(word: &str, flow: &str) -> bool {
    flow.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Each place that an entry names.
fn places(places: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    places.iter().flat_map(|(system, flows)| flows.split(' ').map(move |flow| (system.as_str(), flow)))
}

fn covers(entry: &BTreeMap<String, String>, flow: &str, system: &str) -> bool {
    entry.get(system).is_some_and(|flows| flows.split(' ').any(|word| is_flow(word, flow)))
}

impl List {
    /// Names of what differs for any of these systems, in the order of the list.
    pub fn names(&self, systems: &[&str]) -> Vec<&str> {
        let is_theirs = |entry: &&Entry| systems.iter().any(|system| entry.r#where.contains_key(*system));
        self.difference.iter().filter(is_theirs).map(|entry| entry.name.as_str()).collect()
    }

    /// Whether it has a difference of a flow.
    pub fn has(&self, flow: &str, system: &str, text: &str) -> bool {
        let mut own = self.difference.iter().filter(|entry| covers(&entry.r#where, flow, system));
        own.any(|entry| entry.differs.iter().any(|own| own == text))
    }

    /// What a table of faults says that is not so, or lacks: each row names, in its last cell, entries with flows of theirs.
    pub fn wrong_rows(&self, rows: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut told = BTreeSet::new();
        for piece in rows.lines().filter_map(|row| row.rsplit('|').nth(1)).flat_map(|cell| cell.split(';')) {
            let Some((name, flows)) = piece.trim().trim_start_matches('`').split_once("`, flow") else { continue };
            match self.difference.iter().find(|entry| entry.name == name) {
                Some(entry) if entry.is_fault => {
                    told.insert(name);
                    let words = flows.split(|letter: char| !letter.is_ascii_digit()).filter(|word| !word.is_empty());
                    let is_there = |flow: &str| places(&entry.r#where).any(|(_, own)| is_flow(flow, own));
                    wrong.extend(
                        words.filter(|flow| !is_there(flow)).map(|flow| format!("`{name}` not in flow {flow}")),
                    );
                }
                Some(_) => wrong.push(format!("`{name}` is no fault of the original")),
                None => wrong.push(format!("`{name}` is in no flow")),
            }
        }
        let untold = self.difference.iter().filter(|entry| entry.is_fault && !told.contains(entry.name.as_str()));
        wrong.extend(untold.map(|entry| format!("`{}` is not in the table", entry.name)));
        wrong
    }

    /// Reads it.
    pub fn read(text: &str) -> Self {
        toml::from_str(text).unwrap_or_else(|error| panic!("differences.toml: {error}"))
    }

    /// What it does not know of plays by scripts, and what of it does not occur there.
    pub fn complaints_by_script(&self, found: &Found, is_unknown: impl Fn(&str) -> bool) -> Vec<String> {
        let mut complaints = Vec::new();
        for ((flow, system), result) in found {
            let Ok(differences) = result else {
                complaints.push(format!("{flow} {system}: cannot be played"));
                continue;
            };
            let own: Vec<_> = self.by_script.iter().filter(|entry| covers(&entry.r#where, flow, system)).collect();
            let is_known =
                |text: &String| own.iter().any(|entry| entry.differs.contains(text)) || self.has(flow, system, text);
            let unknown = differences.iter().filter(|text| !is_unknown(text) && !is_known(text));
            complaints.extend(unknown.map(|text| format!("{flow} {system}: {text}")));
        }
        for entry in &self.by_script {
            let is_there = |text: &&String| {
                found.iter().any(|((flow, system), result)| {
                    covers(&entry.r#where, flow, system) && result.as_ref().is_ok_and(|found| found.contains(*text))
                })
            };
            let gone = entry.differs.iter().filter(|text| !is_unknown(text) && !is_there(text));
            complaints.extend(gone.map(|text| format!("{text}: nowhere any more: {}", entry.reason)));
        }
        complaints
    }

    /// What it does not know, and what of it does not occur any more; nothing about texts of which nobody can say whether they
    /// occur, for want of a peer.
    pub fn complaints(&self, found: &Found, is_unknown: impl Fn(&str) -> bool) -> Vec<String> {
        let mut complaints = Vec::new();
        for ((flow, system), result) in found {
            match result {
                Ok(differences) => {
                    let own: Vec<_> =
                        self.difference.iter().filter(|entry| covers(&entry.r#where, flow, system)).collect();
                    let known = differences.iter().filter(|text| !is_unknown(text));
                    for text in known.filter(|text| !own.iter().any(|entry| entry.differs.contains(text))) {
                        complaints.push(format!("{flow} {system}: {text}"));
                    }
                }
                Err(_) if self.unplayed.iter().any(|entry| covers(&entry.r#where, flow, system)) => {}
                Err(why) => complaints.push(format!("{flow} {system}: cannot be played: {why}")),
            }
        }
        for entry in &self.difference {
            let at = |system: &str, flow: &str, text: Option<&str>| {
                let mut own = found.iter().filter(|((name, other), _)| other == system && is_flow(flow, name));
                own.any(|(_, result)| {
                    let is_it =
                        |found: &String| text.map_or_else(|| entry.differs.contains(found), |text| text == found);
                    result.as_ref().is_ok_and(|found| found.iter().any(is_it))
                })
            };
            let is_known = !entry.differs.iter().any(|text| is_unknown(text));
            for (system, flow) in places(&entry.r#where).filter(|(system, flow)| is_known && !at(system, flow, None)) {
                complaints.push(format!("{flow} {system}: does not differ any more: {}", entry.reason));
            }
            for text in entry.differs.iter().filter(|text| !is_unknown(text)) {
                if !places(&entry.r#where).any(|(system, flow)| at(system, flow, Some(text))) {
                    complaints.push(format!("{text}: nowhere any more: {}", entry.reason));
                }
            }
        }
        for entry in &self.unplayed {
            for (system, word) in places(&entry.r#where) {
                let mut own = found.iter().filter(|((flow, other), _)| other == system && is_flow(word, flow));
                if !own.any(|(_, result)| result.is_err()) {
                    complaints.push(format!("{word} {system}: can be played: {}", entry.reason));
                }
            }
        }
        complaints
    }
}

/// What was found in the form of the list, for the one who brings it up to date: flows by system for each difference.
pub fn printed(found: &Found) -> String {
    let mut by_text = BTreeMap::<&str, BTreeMap<&str, Vec<&str>>>::new();
    for ((flow, system), result) in found {
        let texts: Vec<&str> = match result {
            Ok(differences) => differences.iter().map(String::as_str).collect(),
            Err(why) => vec![why],
        };
        for text in texts {
            by_text.entry(text).or_default().entry(system).or_default().push(flow);
        }
    }
    let mut out = String::new();
    for (text, systems) in by_text {
        // A String takes whatever is written.
        let _written = writeln!(out, "{text}");
        for (system, flows) in systems {
            let _written = writeln!(out, "    {system}: {}", flows.join(" "));
        }
    }
    out
}
