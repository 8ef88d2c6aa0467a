//! Which parts of a script are called from where, and which of them end the handler that called them.

use std::collections::{BTreeMap, BTreeSet};

use crate::import::syntax::{Action, Block, RouteKind, Script};
use crate::import::walk::statements;

/// Names of parts by what they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    from: BTreeMap<String, BTreeSet<RouteKind>>,
    may_exit: BTreeSet<String>,
    always_exit: BTreeSet<String>,
}

impl Reach {
    /// Looks through all routes.
    pub(super) fn of(script: &Script) -> Self {
        let mut own = Self::default();
        let parts: BTreeMap<&str, &Block> = script
            .routes
            .iter()
            .filter(|route| route.kind == RouteKind::Request && !route.name.is_empty())
            .map(|route| (route.name.as_str(), &route.body))
            .collect();
        for route in script.routes.iter().filter(|route| route.kind != RouteKind::Request || route.name.is_empty()) {
            let mut todo = called(&route.body);
            while let Some(name) = todo.pop() {
                if own.from.entry(name.clone()).or_default().insert(route.kind) {
                    todo.extend(parts.get(name.as_str()).map(|body| called(body)).unwrap_or_default());
                }
            }
        }
        // What ends a part ends those that call it: until nothing new is found.
        loop {
            let before = (own.may_exit.len(), own.always_exit.len());
            for (name, body) in &parts {
                let mut exits = false;
                statements(body, &mut |statement| {
                    exits |= match &statement.what {
                        Action::Exit | Action::Drop => true,
                        Action::Route(name) => own.may_exit.contains(name),
                        _ => false,
                    };
                });
                if exits {
                    own.may_exit.insert((*name).to_owned());
                }
                if own.ends(body) {
                    own.always_exit.insert((*name).to_owned());
                }
            }
            if before == (own.may_exit.len(), own.always_exit.len()) {
                return own;
            }
        }
    }

    /// Whether a block ends the handler, whatever happens in it.
    fn ends(&self, block: &Block) -> bool {
        for statement in block {
            match &statement.what {
                Action::Exit | Action::Drop => return true,
                Action::Route(name) if self.always_exit.contains(name) => return true,
                Action::If { then, otherwise, .. } => {
                    if !otherwise.is_empty() && self.ends(then) && self.ends(otherwise) {
                        return true;
                    }
                    if may_return(then) || may_return(otherwise) {
                        return false;
                    }
                }
                Action::Block(inner) if self.ends(inner) => return true,
                Action::Return(_) | Action::Break | Action::Loop { .. } | Action::Switch { .. } => return false,
                _ => {}
            }
        }
        false
    }

    /// The kinds of handlers from which a part is called.
    pub(super) fn from(&self, name: &str) -> BTreeSet<RouteKind> {
        self.from.get(name).cloned().unwrap_or_else(|| BTreeSet::from([RouteKind::Request]))
    }

    /// Whether a part may end the handler.
    pub(super) fn may_exit(&self, name: &str) -> bool {
        self.may_exit.contains(name)
    }

    /// Whether it always does.
    pub(super) fn always_exits(&self, name: &str) -> bool {
        self.always_exit.contains(name)
    }

    /// Whether any part may.
    pub(super) fn has_exits(&self) -> bool {
        !self.may_exit.is_empty()
    }
}

fn called(block: &Block) -> Vec<String> {
    let mut names = Vec::new();
    statements(block, &mut |statement| {
        if let Action::Route(name) = &statement.what {
            names.push(name.clone());
        }
    });
    names
}

fn may_return(block: &Block) -> bool {
    let mut found = false;
    statements(block, &mut |statement| found |= matches!(statement.what, Action::Return(_) | Action::Break));
    found
}
