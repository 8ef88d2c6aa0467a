//! What is wrong with dictionary files: all of it at once, each with file and line.

use std::fmt;

use super::types::Origin;

/// Problems kept of one load; the rest is only counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// Whether a dictionary with this problem may be used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// It may.
    Warning,
    /// It may not.
    Error,
}

/// One problem.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub origin: Origin,
    /// What it is: one sentence, which quotes the other place when there is one.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Problems in the order found, limited.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    errors: usize,
    left_out: usize,
}

impl Problems {
    pub(super) fn warn(&mut self, origin: &Origin, text: impl Into<String>) {
        self.push(Severity::Warning, origin, text.into());
    }

    pub(super) fn error(&mut self, origin: &Origin, text: impl Into<String>) {
        self.errors += 1;
        self.push(Severity::Error, origin, text.into());
    }

    fn push(&mut self, severity: Severity, origin: &Origin, text: String) {
        if self.kept.len() < PROBLEMS_MAX {
            self.kept.push(Problem { severity, origin: origin.clone(), text });
        } else {
            self.left_out += 1;
        }
    }

    /// Drops the warnings so far; errors stay.
    pub(super) fn forget_warnings(&mut self) {
        self.kept.retain(|problem| problem.severity == Severity::Error);
    }

    /// The warnings, or an error when there is one.
    pub(super) fn judge(self) -> Result<Vec<Problem>, LoadError> {
        if self.errors > 0 {
            return Err(LoadError { problems: self.kept, left_out: self.left_out });
        }
        Ok(self.kept)
    }
}

/// A dictionary that cannot be used, with all its problems, warnings too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadError {
    /// In the order found.
    pub problems: Vec<Problem>,
    /// Problems beyond [`PROBLEMS_MAX`].
    pub left_out: usize,
}

/// One line for each problem.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match problem.severity {
                Severity::Warning => write!(f, "warning: {problem}")?,
                Severity::Error => write!(f, "error: {problem}")?,
            }
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}
