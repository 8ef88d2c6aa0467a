//! Problems of dictionaries as mistakes of the configuration.

use std::path::Path;

use crate::config::error::{Mistake, Place};
use crate::dictionary::{LoadError, Problem, Severity};

/// A mistake of a file as a whole is shown where the file is named too: by one of the client's keywords, or `here`.
pub(super) fn named_at(mistake: Mistake, named: &[(&Path, Place)], here: &Place) -> Mistake {
    let [Place::Whole(file)] = &mistake.places[..] else { return mistake };
    let place = named.iter().find(|(path, _)| path == file).map_or(here, |(_, place)| place).clone();
    mistake.also_at(place)
}

/// What says that a dictionary has more problems than were kept.
pub(super) fn left_out(error: &LoadError) -> Option<Mistake> {
    let what = format!("{} further mistakes of dictionaries", error.left_out);
    (error.left_out > 0).then(|| Mistake::error(what, Place::Nowhere))
}

/// A problem of a dictionary as a mistake.
pub(super) fn problem(problem: &Problem) -> Mistake {
    let path = problem.origin.file.as_ref().into();
    let place = match problem.origin.line {
        0 => Place::Whole(path),
        line => Place::File { path, line, column: 1 },
    };
    match problem.severity {
        Severity::Error => Mistake::error(problem.text.clone(), place),
        Severity::Warning => Mistake::warning(problem.text.clone(), place),
    }
}
