//! Mistakes in configuration: what is wrong, where, and what to write instead.
//!
//! A mistake prints as
//!
//! ```text
//! error: unknown field `timout_ms` in `sinks.radius.billing`
//!   --> tollgate.toml:41:1
//! hint: did you mean `timeout_ms`?
//! ```

use std::fmt;
use std::path::PathBuf;

use super::keyword_file::Key;

/// How a file is written: by it a line is shown without what nobody is to see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `tollgate.toml`.
    Toml,
    /// A keyword, blanks, and a value: radiusclient.conf and its like, with the keywords it may have.
    Keywords(&'static [Key]),
    /// A server and its secret on each line.
    Secrets,
    /// A dictionary of RADIUS or Diameter.
    Dictionary,
    /// The script.
    Lua,
    /// A file of another program: its lines are not shown.
    Foreign,
}

/// Where something stands in configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Place {
    /// In a file; line and column count from 1, the column in characters.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line of the file, from 1.
        line: u32,
        /// Character of the line, from 1.
        column: u32,
        /// How the file is written.
        form: Form,
    },
    /// In a file as a whole.
    Whole(PathBuf),
    /// In the environment variable of that name.
    Environment(String),
    /// In no place: a default, or the command line.
    #[default]
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column, .. } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Whole(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
            Self::Nowhere => f.write_str("defaults"),
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Weight {
    /// Tollgate does not start with it.
    Error,
    /// Tollgate starts, but the operator should know.
    Warning,
}

impl Weight {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding about the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Whether it keeps the service from starting.
    pub weight: Weight,
    /// What is wrong, in one sentence without a full stop. Never contains a secret.
    pub what: String,
    /// Where; a conflict has two places.
    pub places: Vec<Place>,
    /// What to write instead.
    pub hint: Option<String>,
    /// The option of `tollgate.toml` that the first place is of: `sinks.radius.billing.records`, `route[0].to`.
    pub field: Option<String>,
}

impl Mistake {
    /// An error at a place.
    #[must_use]
    pub fn error(what: impl Into<String>, place: Place) -> Self {
        Self { weight: Weight::Error, what: what.into(), places: vec![place], hint: None, field: None }
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(what: impl Into<String>, place: Place) -> Self {
        Self { weight: Weight::Warning, ..Self::error(what, place) }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same with a second place.
    #[must_use]
    pub fn also_at(mut self, place: Place) -> Self {
        self.places.push(place);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.weight.name(), self.what)?;
        for place in self.places.iter().filter(|place| **place != Place::Nowhere) {
            write!(f, "\n  --> {place}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All mistakes that keep a configuration from being used, with the warnings found on the way.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.told(ToString::to_string).join("\n\n"))]
pub struct Mistakes(pub Vec<Mistake>);

/// Errors that are told, and warnings; the rest is counted.
pub const TOLD_MAX: usize = 10;

impl Mistakes {
    /// Each finding as the text that `show` makes of it, [`TOLD_MAX`] errors and as many warnings at most; then how many
    /// there are beyond.
    #[must_use]
    pub fn told(&self, mut show: impl FnMut(&Mistake) -> String) -> Vec<String> {
        let (mut errors, mut warnings) = (0, 0);
        let mut told = Vec::new();
        for mistake in &self.0 {
            let count = match mistake.weight {
                Weight::Error => &mut errors,
                Weight::Warning => &mut warnings,
            };
            *count += 1;
            if *count <= TOLD_MAX {
                told.push(show(mistake));
            }
        }
        let beyond = |count: usize, noun: &str| match count.saturating_sub(TOLD_MAX) {
            0 => None,
            1 => Some(format!("1 more {noun}")),
            more => Some(format!("{more} more {noun}s")),
        };
        let more: Vec<_> = [beyond(errors, "mistake"), beyond(warnings, "warning")].into_iter().flatten().collect();
        if !more.is_empty() {
            told.push(format!("... and {}; `tollgate check --json` lists all", more.join(" and ")));
        }
        told
    }
}

/// Collects findings while configuration is read.
#[derive(Debug, Default)]
pub struct Findings(Vec<Mistake>);

impl Findings {
    /// Adds a mistake behind those found before.
    pub fn push(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// Adds several.
    pub fn extend(&mut self, mistakes: impl IntoIterator<Item = Mistake>) {
        self.0.extend(mistakes);
    }

    /// Whether an error is among them.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.0.iter().any(|mistake| mistake.weight == Weight::Error)
    }

    /// The findings in the order of their places: by file, line and column; those without a line last.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Mistake> {
        self.0.sort_by_key(|mistake| match mistake.places.first() {
            Some(Place::File { path, line, column, .. }) => (0, path.clone(), *line, *column),
            Some(Place::Whole(path)) => (1, path.clone(), 0, 0),
            Some(Place::Environment(_)) => (2, PathBuf::new(), 0, 0),
            _ => (3, PathBuf::new(), 0, 0),
        });
        self.0
    }
}

/// The word among `known` that was probably meant by `given`: the nearest by edits, if it is near.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(edits, word)| *edits <= EDITS_MAX.min(word.chars().count().max(lower.chars().count()) / 2))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// ``did you mean `x`?``, or the list of what is known when nothing is near and the list is short.
#[must_use]
pub fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(word) = nearest(given, known.clone()) {
        return Some(format!("did you mean `{word}`?"));
    }
    let all: Vec<_> = known.into_iter().map(|word| format!("`{word}`")).collect();
    (!all.is_empty() && all.len() <= LISTED_MAX).then(|| format!("known are {}", all.join(", ")))
}

/// Most edits between a mistyped word and the one meant.
const EDITS_MAX: usize = 3;

/// Most words a hint lists.
const LISTED_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_prints_in_the_manner_of_the_style() {
        let place = Place::File { path: "tollgate.toml".into(), line: 41, column: 1, form: Form::Toml };
        let mistake = Mistake::error("unknown field `timout_ms` in `sinks.radius.billing`", place)
            .maybe_hint(suggestion("timout_ms", ["timeout_ms", "records"]));
        assert_eq!(
            mistake.to_string(),
            "error: unknown field `timout_ms` in `sinks.radius.billing`\n  --> tollgate.toml:41:1\nhint: did you mean `timeout_ms`?"
        );
    }

    #[test]
    fn ten_findings_of_a_weight_are_told_and_the_rest_is_counted() {
        let list = |errors: usize, warnings: usize| {
            let error = std::iter::repeat_n(Mistake::error("odd", Place::Nowhere), errors);
            let warning = std::iter::repeat_n(Mistake::warning("hm", Place::Nowhere), warnings);
            Mistakes(error.chain(warning).collect())
        };
        let end = "; `tollgate check --json` lists all";
        for (name, errors, warnings, lines, last) in [
            ("nothing", 0, 0, 0, None),
            ("one", 1, 0, 1, Some("error: odd".to_owned())),
            ("ten", 10, 10, 20, Some("warning: hm".to_owned())),
            ("eleven", 11, 0, 11, Some(format!("... and 1 more mistake{end}"))),
            ("many", 500, 12, 21, Some(format!("... and 490 more mistakes and 2 more warnings{end}"))),
            ("warnings", 0, 12, 11, Some(format!("... and 2 more warnings{end}"))),
        ] {
            let told = list(errors, warnings).told(ToString::to_string);
            assert_eq!((told.len(), told.last().cloned()), (lines, last), "{name}");
        }
        assert_eq!(list(30, 0).to_string().matches("error: ").count(), TOLD_MAX);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        for (given, want) in [
            ("billng", Some("did you mean `billing`?")),
            ("BILLING", Some("did you mean `billing`?")),
            ("xyz", Some("known are `billing`, `log`")),
            ("lg", Some("did you mean `log`?")),
        ] {
            assert_eq!(suggestion(given, ["billing", "log"]).as_deref(), want, "{given}");
        }
        assert_eq!(suggestion("x", []), None);
    }
}
