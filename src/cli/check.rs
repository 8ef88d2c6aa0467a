//! `tollgate check`: all mistakes of the configuration at once.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::desk::Seek;
use super::output::{self, Format};
use super::{Failure, deep, load};
use crate::cluster::names::Role;
use crate::config::error::{Mistake, Mistakes, Place};
use crate::config::excerpt::Files;
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
    /// With --deep: try what `tollgate deliver` needs with this file, and not what `tollgate run` does
    ///
    /// A file with `[cluster]` that makes no records is taken for one of `tollgate deliver` without this.
    #[arg(long, requires = "deep")]
    deliver: bool,
    #[command(flatten)]
    format: Format,
    /// How findings are printed
    #[arg(long = "format", value_enum, value_name = "FORMAT", conflicts_with = "json")]
    shape: Option<Shape>,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Shape {
    /// With the lines they are about, to standard error
    Text,
    /// A JSON array, as with --json, to standard output
    Json,
    /// `FILE:LINE:COLUMN: WEIGHT: TEXT` on a line each, to standard output
    Lines,
}

/// Checks; standard output gets one line, or all findings as JSON.
///
/// # Errors
/// The configuration has an error.
pub fn run(seek: &Seek, arguments: Arguments) -> Result<(), Failure> {
    // The running service is that of the file that is checked.
    let config = arguments.file.as_ref().unwrap_or(&seek.config).clone();
    let seek = &Seek { config, socket: seek.socket.clone() };
    let path = &seek.config;
    match arguments.shape {
        Some(Shape::Lines) => return run_lines(seek, path, &arguments),
        Some(Shape::Json) => return run_json(seek, path, &arguments),
        _ if arguments.format.is_json() => return run_json(seek, path, &arguments),
        _ => {}
    }
    let plan = load(path)?;
    output::print(&summary(&plan))?;
    if arguments.deep { deep::run(seek, &plan, arguments.role(&plan)?) } else { Ok(()) }
}

impl Arguments {
    /// What the file is tried for.
    fn role(&self, plan: &Plan) -> Result<Role, Failure> {
        match (self.deliver || plan.is_of_deliverer, &plan.cluster) {
            (false, _) => Ok(Role::Gateway),
            (true, Some(_)) => Ok(Role::Deliverer),
            (true, None) => Err(Failure::Usage(format!(
                "`tollgate deliver` needs `[cluster]`, and there is none in {}",
                plan.path.display()
            ))),
        }
    }
}

fn summary(plan: &Plan) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let of_gateway = [count(plan.sip.binds.len(), "listener"), count(plan.route.len(), "route")];
    let of_gateway = of_gateway.into_iter().filter(|_| !plan.is_of_deliverer);
    let of_all = [count(plan.sinks.len(), "sink"), count(plan.warnings.len(), "warning")];
    let counts: Vec<String> = of_gateway.chain(of_all).collect();
    format!("{}: no mistakes; {}", plan.path.display(), counts.join(", "))
}

fn run_json(seek: &Seek, path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = config::load(path);
    let mut files = Files::default();
    let findings: Value = found(&loaded).iter().map(|own| finding(own, &mut files)).collect::<Vec<_>>().into();
    match loaded {
        Ok(plan) if arguments.deep => deep::run_json(seek, &plan, arguments.role(&plan)?, findings),
        Ok(_) => Ok(output::print_json(&findings)?),
        Err(_) => {
            let shown = if arguments.deep { deep::report(findings, Vec::new(), false) } else { findings };
            output::print_json(&shown)?;
            Err(Failure::Configuration)
        }
    }
}

fn run_lines(seek: &Seek, path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = config::load(path);
    for mistake in found(&loaded) {
        let place = mistake.places.first().filter(|place| **place != Place::Nowhere);
        let place = place.map_or_else(|| path.display().to_string(), ToString::to_string);
        let hint = mistake.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        output::print(&output::shown(&format!("{place}: {}: {}{hint}", mistake.weight.name(), mistake.what)))?;
    }
    match loaded {
        Ok(plan) if arguments.deep => deep::run(seek, &plan, arguments.role(&plan)?),
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::Configuration),
    }
}

fn found(loaded: &Result<Plan, Mistakes>) -> &[Mistake] {
    match loaded {
        Ok(plan) => &plan.warnings,
        Err(mistakes) => &mistakes.0,
    }
}

fn finding(mistake: &Mistake, files: &mut Files) -> Value {
    let places: Vec<_> = mistake.places.iter().map(|own| place(own, files)).collect();
    json!({
        "weight": mistake.weight.name(),
        "what": mistake.what,
        "field": mistake.field,
        "places": places,
        "hint": mistake.hint,
    })
}

fn place(place: &Place, files: &mut Files) -> Value {
    match place {
        Place::File { path, line, column, .. } => {
            // Where the line cannot be read again, one character is as good as none.
            let end = files.end(place).unwrap_or(column.saturating_add(1));
            json!({ "file": path, "line": line, "column": column, "end": end })
        }
        Place::Whole(path) => json!({ "file": path }),
        Place::Environment(name) => json!({ "environment": name }),
        Place::Nowhere => json!({}),
    }
}
