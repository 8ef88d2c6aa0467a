//! Which option each mistake is about, by its place.

use std::path::Path;

use super::error::{Mistake, Place};
use super::tree::{Kind, Node, Places};

/// Names the options of mistakes that are in the file at `path`, or in the environment.
pub(super) fn name(root: &Node, places: &Places, path: &Path, mistakes: &mut [Mistake]) {
    if mistakes.is_empty() {
        return;
    }
    let mut all = Vec::new();
    walk(root, String::new(), places, &mut all);
    for mistake in mistakes {
        let Some(place) = mistake.places.first() else { continue };
        mistake.field = match place {
            Place::File { path: own, line, column, .. } if own == path => {
                // A mistake in a text stands behind the beginning of its value.
                let before = all.iter().filter_map(|(place, name)| match place {
                    Place::File { line: own, column: at, .. } if own == line && at <= column => Some((at, name)),
                    _ => None,
                });
                before.max_by_key(|(at, _)| **at).map(|(_, name)| name.clone())
            }
            Place::Environment(_) => all.iter().find(|(own, _)| own == place).map(|(_, name)| name.clone()),
            _ => None,
        };
    }
}

/// Places of names and values below a node. Of several at one place the last counts, which is the innermost.
fn walk(node: &Node, name: String, places: &Places, all: &mut Vec<(Place, String)>) {
    all.push((places.get(node.key), name.clone()));
    all.push((places.get(node.value), name.clone()));
    match &node.kind {
        Kind::Table(members) => {
            for (key, member) in members {
                let dot = if name.is_empty() { "" } else { "." };
                walk(member, format!("{name}{dot}{key}"), places, all);
            }
        }
        Kind::List(elements) => {
            for (number, element) in elements.iter().enumerate() {
                walk(element, format!("{name}[{number}]"), places, all);
            }
        }
        Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) => {}
    }
}
