//! `tollgate vars`: the variables that fields may use, and their transformations.

use serde_json::{Value, json};

use super::Failure;
use super::output::{self, Format};
use crate::vars::{Argument, Transformation, Variable, catalogue, transformations};

/// Lists the variables.
///
/// # Errors
/// Standard output takes nothing more.
pub fn run(format: &Format) -> Result<(), Failure> {
    if format.is_json() {
        let all = catalogue().iter().map(entry).chain(transformations().iter().map(transformation));
        output::print_json(&all.collect::<Vec<_>>().into())?;
        return Ok(());
    }
    let rows: Vec<_> = catalogue()
        .iter()
        .map(|variable| vec![usage(variable), variable.meaning.to_owned(), variable.reply.to_owned()])
        .collect();
    output::print(&output::table(&["VARIABLE", "IN THE REQUEST", "WITH /reply"], &rows))?;
    let rows: Vec<_> =
        transformations().iter().map(|own| vec![format!("{{{}}}", own.usage), own.meaning.to_owned()]).collect();
    output::print("\nBehind a variable within parentheses, from left to right: $(ct{nameaddr.uri}{uri.host})\n\n")?;
    output::print(&output::table(&["TRANSFORMATION", "WHAT IT GIVES"], &rows))?;
    Ok(())
}

fn transformation(own: &Transformation) -> Value {
    json!({ "transformation": own.usage, "name": own.name(), "meaning": own.meaning })
}

fn entry(variable: &Variable) -> Value {
    json!({
        "variable": usage(variable),
        "name": variable.name,
        "meaning": variable.meaning,
        "reply": variable.reply,
        "index": variable.has_index,
    })
}

/// `$hdr(Name)`, or `$(hdr(Name)[i])` where one of several values can be chosen.
fn usage(variable: &Variable) -> String {
    let name = variable.name;
    let argument = match variable.argument {
        Argument::None => "",
        Argument::Header => "(Name)",
        Argument::Name => "(name)",
        Argument::Leg => "(src|dst|code|cause)",
        Argument::Attempt => "(uri|code|cause)",
    };
    if variable.has_index { format!("$({name}{argument}[i])") } else { format!("${name}{argument}") }
}
