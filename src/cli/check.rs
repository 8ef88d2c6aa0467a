//! `tollgate check`: all mistakes of the configuration at once.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::desk::Seek;
use super::output::{self, Format};
use super::{Failure, deep, load};
use crate::config::error::{Mistake, Place, Weight};
use crate::config::{self, Plan};

/// Arguments of `tollgate check`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Configuration file, instead of --config
    file: Option<PathBuf>,
    /// Try everything that a start needs as well: ports, the queue's folder, space, and every server
    ///
    /// To be called as the service's user. Ends with `would start`, or with exit code 1.
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    format: Format,
}

/// Checks; standard output gets one line, or all findings as JSON.
///
/// # Errors
/// The configuration has an error.
pub fn run(seek: &Seek, arguments: Arguments) -> Result<(), Failure> {
    let path = arguments.file.as_deref().unwrap_or(&seek.config);
    if arguments.format.is_json() {
        return run_json(seek, path, arguments.deep);
    }
    let plan = load(path)?;
    output::print(&summary(&plan))?;
    if arguments.deep { deep::run(seek, &plan) } else { Ok(()) }
}

fn summary(plan: &Plan) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    format!(
        "{}: no mistakes; {}, {}, {}, {}",
        plan.path.display(),
        count(plan.sip.binds.len(), "listener"),
        count(plan.route.len(), "route"),
        count(plan.sinks.len(), "sink"),
        count(plan.warnings.len(), "warning"),
    )
}

fn run_json(seek: &Seek, path: &Path, is_deep: bool) -> Result<(), Failure> {
    let loaded = config::load(path);
    let findings = match &loaded {
        Ok(plan) => &plan.warnings,
        Err(mistakes) => &mistakes.0,
    };
    let findings: Value = findings.iter().map(finding).collect::<Vec<_>>().into();
    match loaded {
        Ok(plan) if is_deep => deep::run_json(seek, &plan, findings),
        Ok(_) => Ok(output::print_json(&findings)?),
        Err(_) => {
            let shown = if is_deep { deep::report(findings, Vec::new(), false) } else { findings };
            output::print_json(&shown)?;
            Err(Failure::Configuration)
        }
    }
}

fn finding(mistake: &Mistake) -> Value {
    let weight = match mistake.weight {
        Weight::Error => "error",
        Weight::Warning => "warning",
    };
    let places: Vec<_> = mistake.places.iter().map(place).collect();
    json!({ "weight": weight, "what": mistake.what, "places": places, "hint": mistake.hint })
}

fn place(place: &Place) -> Value {
    match place {
        Place::File { path, line, column, .. } => json!({ "file": path, "line": line, "column": column }),
        Place::Whole(path) => json!({ "file": path }),
        Place::Environment(name) => json!({ "environment": name }),
        Place::Nowhere => json!({}),
    }
}
