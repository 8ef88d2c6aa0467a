//! `tollgate dict --diameter`: the effective Diameter dictionary with the origin of each entry.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::anyhow;
use serde_json::json;

use super::Failure;
use super::output::{self, Format};
use crate::dictionary::diameter::{Dictionary, Explanation, Row, import};

/// Longest file that is imported, in octets.
const FILE_OCTETS_MAX: u64 = 16 << 20;

/// Lists the AVPs, or explains one.
///
/// # Errors
/// The label means no AVP.
pub(super) fn show(
    dictionary: &Dictionary,
    label: Option<&str>,
    value: Option<&str>,
    format: &Format,
) -> Result<(), Failure> {
    let Some(label) = label else {
        let rows = dictionary.effective();
        let cells: Vec<_> = rows.iter().map(row).collect();
        let heads = ["CODE", "NAME", "TYPE", "FLAGS", "VENDOR", "ORIGIN"];
        return Ok(format.print(&json!(rows), || output::table(&heads, &cells))?);
    };
    let explanation = dictionary
        .explain(label, value)
        .map_err(|error| Failure::Failed(anyhow!("{error}\nhint: {}", error.hint())))?;
    Ok(format.print(&json!(explanation), || explained(&explanation))?)
}

/// Prints a dictionary of another program as text of ours.
///
/// # Errors
/// The file cannot be read, or is no such dictionary.
pub(super) fn import(path: &Path) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::Failed(error.context(format!("cannot import {}", path.display())));
    let mut text = Vec::new();
    let file = File::open(path).and_then(|file| file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut text));
    file.map_err(|error| failed(error.into()))?;
    if text.len() as u64 > FILE_OCTETS_MAX {
        return Err(failed(anyhow!("it is longer than {FILE_OCTETS_MAX} octets")));
    }
    let imported = import::import(&text, &Dictionary::builtin()).map_err(|error| failed(error.into()))?;
    for note in &imported.notes {
        eprintln!("warning: {}", output::shown(note));
    }
    output::print(&imported.text)?;
    Ok(())
}

fn row(row: &Row) -> Vec<String> {
    let name = if row.decodes { row.name.clone() } else { format!("{} (alias)", row.name) };
    let cells = [&row.code.to_string(), &name, &row.kind, &row.flags, &row.vendor_name, &row.origin];
    cells.into_iter().map(|cell| output::shown(cell)).collect()
}

fn explained(explanation: &Explanation) -> String {
    let row = &explanation.row;
    let mut lines = vec![("AVP", row.name.clone()), ("code", row.code.to_string()), ("type", row.kind.clone())];
    if row.vendor != 0 {
        lines.push(("vendor", format!("{} ({})", row.vendor_name, row.vendor)));
    }
    lines.push(("flags", if row.flags.is_empty() { "none".to_owned() } else { row.flags.clone() }));
    lines.push(("layout", explanation.layout.clone()));
    if !explanation.aliases.is_empty() {
        lines.push(("aliases", explanation.aliases.join(", ")));
    }
    lines.extend(explanation.refusal.clone().map(|refusal| ("not sent", refusal)));
    lines.push(("origin", row.origin.clone()));
    lines.extend(output::sample(explanation.sample.as_ref()));
    let members = row.members.iter().map(|member| ("member", member.clone()));
    let values = row.values.iter().map(|(name, number)| ("value", format!("{number} {name}")));
    output::parts(lines.into_iter().chain(members).chain(values))
}
