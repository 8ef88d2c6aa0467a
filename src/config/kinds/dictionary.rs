//! Problems of dictionaries as mistakes of the configuration.

use std::path::{Path, PathBuf};

use crate::config::check::Check;
use crate::config::decode::At;
use crate::config::error::{Form, Mistake, Place};
use crate::config::tree::PlaceId;
use crate::dictionary::entry::{Dictionary, Protocol};
use crate::dictionary::{LoadError, Problem, Severity, builtin};

/// The dictionary of a sink, if it can be used: the built-in one, the profile's, the files that the client file names at
/// these places, and `own`, the one that the sink's table names.
pub(super) fn dictionary<P: Protocol>(
    profile: &str,
    named: Vec<(PathBuf, Place)>,
    own: Option<&At<PathBuf>>,
    base: &Path,
    check: &mut Check<'_>,
) -> Option<Dictionary<P>> {
    let title = format!("profile {profile}");
    let text = builtin::profile(profile).map(|text| (title.as_str(), text));
    let files: Vec<_> =
        named.iter().map(|(path, _)| path.clone()).chain(own.map(|path| base.join(&path.value))).collect();
    match Dictionary::read(text, &files) {
        Ok(dictionary) => {
            check.findings.extend(dictionary.warnings().iter().map(problem));
            Some(dictionary)
        }
        Err(error) => {
            let here = check.place(own.map_or(PlaceId::default(), |path| path.place));
            check.findings.extend(error.problems.iter().map(|one| named_at(problem(one), &named, &here)));
            check.findings.extend(left_out(&error));
            None
        }
    }
}

/// A mistake of a file as a whole is shown where the file is named too: by one of the client's keywords, or `here`.
fn named_at(mistake: Mistake, named: &[(PathBuf, Place)], here: &Place) -> Mistake {
    let [Place::Whole(file)] = &mistake.places[..] else { return mistake };
    let place = named.iter().find(|(path, _)| path == file).map_or(here, |(_, place)| place).clone();
    mistake.also_at(place)
}

/// What says that a dictionary has more problems than were kept.
fn left_out(error: &LoadError) -> Option<Mistake> {
    let what = format!("{} further mistakes of dictionaries", error.left_out);
    (error.left_out > 0).then(|| Mistake::error(what, Place::Nowhere))
}

/// A problem of a dictionary as a mistake.
fn problem(problem: &Problem) -> Mistake {
    let path = problem.origin.file.as_ref().into();
    let place = match problem.origin.line {
        0 => Place::Whole(path),
        line => Place::File { path, line, column: 1, form: Form::Dictionary },
    };
    match problem.severity {
        Severity::Error => Mistake::error(problem.text.clone(), place),
        Severity::Warning => Mistake::warning(problem.text.clone(), place),
    }
}
