//! Which backends the routes of a script use, and how.

use super::extras::Backend;
use super::lexer::Spot;
use super::syntax::{Call, Expression, Script};
use super::walk::{calls, statements};

/// What the routes ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Backends that get records of transactions.
    pub plain: Vec<Backend>,
    /// Backends that get records of whole calls.
    pub whole: Vec<Backend>,
    /// Backends that get records by hand.
    pub by_hand: Vec<Backend>,
    /// Whether the family's own Diameter is used, and where.
    pub diameter: Option<Spot>,
    /// Where dialogs are tracked.
    pub dialog: Option<Spot>,
    /// Whether dialogs end with a BYE at their longest time: `create_dialog("B")`.
    pub ends_dialogs: Option<Spot>,
    /// Whether SIP reaches a registrar here.
    pub registrar: Option<Spot>,
}

/// Functions that make records by hand.
const BY_HAND: &[(&str, &[Backend])] = &[
    ("acc_log_request", &[Backend::Log]),
    ("acc_syslog_request", &[Backend::Log]),
    ("acc_db_request", &[Backend::Db]),
    ("acc_rad_request", &[Backend::Aaa]),
    ("acc_aaa_request", &[Backend::Aaa]),
    ("acc_evi_request", &[Backend::Evi]),
    ("acc_request", &[Backend::Log, Backend::Db]),
];

/// Looks through all routes.
#[must_use]
pub fn of(script: &Script) -> Usage {
    let mut usage = Usage::default();
    for route in &script.routes {
        calls(&route.body, &mut |call, at| usage.call(call, at));
    }
    usage
}

impl Usage {
    fn call(&mut self, call: &Call, at: Spot) {
        match call.name.as_str() {
            "do_accounting" => {
                let (backends, flags) = marks(call);
                if call.arguments.first().and_then(Expression::text).is_some_and(|text| text.contains("diam")) {
                    self.diameter.get_or_insert(at);
                }
                let is_whole = flags.iter().any(|flag| flag == "cdr");
                add(if is_whole { &mut self.whole } else { &mut self.plain }, &backends);
            }
            "acc_diam_request" => drop(self.diameter.get_or_insert(at)),
            "dlg_manage" | "create_dialog" => {
                self.dialog.get_or_insert(at);
                if call.arguments.first().and_then(Expression::text).is_some_and(|text| text.contains('B')) {
                    self.ends_dialogs.get_or_insert(at);
                }
            }
            "save" | "lookup" | "registered" => drop(self.registrar.get_or_insert(at)),
            name => {
                if let Some((_, backends)) = BY_HAND.iter().find(|(own, _)| *own == name) {
                    add(&mut self.by_hand, backends);
                }
            }
        }
    }

    /// Whether a backend is used in any way.
    #[must_use]
    pub fn has(&self, backend: Backend) -> bool {
        [&self.plain, &self.whole, &self.by_hand].iter().any(|list| list.contains(&backend))
    }
}

/// Backends and flags of `do_accounting`; what only the running script knows is all of them.
#[must_use]
pub fn marks(call: &Call) -> (Vec<Backend>, Vec<String>) {
    let words = |argument: Option<&Expression>| match argument {
        Some(Expression::Text(text)) if !text.contains('$') => {
            text.split('|').map(|word| word.trim().to_lowercase()).collect::<Vec<_>>()
        }
        Some(Expression::Word(word)) => vec![word.to_lowercase()],
        _ => Vec::new(),
    };
    let types = words(call.arguments.first());
    let known = Backend::ALL.into_iter().filter(|own| types.is_empty() || types.iter().any(|word| word == own.word()));
    (known.collect(), words(call.arguments.get(1)))
}

fn add(list: &mut Vec<Backend>, more: &[Backend]) {
    for backend in more {
        if !list.contains(backend) {
            list.push(*backend);
        }
    }
}

/// Whether a script assigns a variable of this name, and where first.
#[must_use]
pub fn assigns(script: &Script, starts: &[&str]) -> Option<Spot> {
    let mut found = None;
    for route in &script.routes {
        statements(&route.body, &mut |statement| {
            if let super::syntax::Action::Assign { target, .. } = &statement.what
                && starts.iter().any(|start| target.starts_with(start))
            {
                found.get_or_insert(statement.at);
            }
        });
    }
    found
}
