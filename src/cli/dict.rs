//! `tollgate dict`: the effective dictionary of RADIUS or Diameter with the origin of each entry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use super::output::{self, Format};
use super::{Failure, dict_diameter, load};
use crate::config::error::suggestion;
use crate::dictionary::entry::{self, Protocol};
use crate::dictionary::{AnyDictionary, Dictionary, Explanation, Row, builtin, diameter, nearest};

/// Arguments of `tollgate dict`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Attribute or AVP to explain; all are listed without one
    #[arg(value_name = "NAME")]
    attribute: Option<String>,
    /// The same as NAME alone
    #[arg(long, value_name = "NAME", conflicts_with = "attribute")]
    explain: Option<String>,
    /// Also show the octets of this value
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// The Diameter dictionary; an AVP is a name, VENDOR:NAME, a code or VENDOR:CODE
    #[arg(long)]
    diameter: bool,
    /// Dictionary of this sink of the configuration; without it, the built-in one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "profile", "diameter"])]
    sink: Option<String>,
    /// Dictionary file to add to the built-in ones
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Numbering of SIP attributes to add: opensips, openser or kamailio
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print a Diameter dictionary of Wireshark (XML) or freeDiameter (JSON) as text for `dictionary`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attribute", "explain", "value", "sink", "file", "profile", "json"])]
    import: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    /// What is to be explained.
    fn name(&self) -> Option<&str> {
        self.attribute.as_deref().or(self.explain.as_deref())
    }
}

/// Lists or explains.
///
/// # Errors
/// The dictionary does not load, or has no such sink, profile or attribute.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(path) = &arguments.import {
        return dict_diameter::import(path);
    }
    if arguments.value.is_some() && arguments.name().is_none() {
        return Err(Failure::Usage("`--value` needs a NAME".to_owned()));
    }
    let Some(sink) = &arguments.sink else {
        return if arguments.diameter {
            show_diameter(&read(arguments)?, arguments)
        } else {
            show(&read(arguments)?, arguments)
        };
    };
    let plan = load(config)?;
    let kind = &super::sink(&plan, sink)?.kind;
    match kind.dictionary() {
        Some(AnyDictionary::Radius(dictionary)) => show(dictionary, arguments),
        Some(AnyDictionary::Diameter(dictionary)) => show_diameter(dictionary, arguments),
        None => Err(Failure::Usage(format!("`{sink}` has no dictionary: it is of the kind `{}`", kind.name()))),
    }
}

fn read<P: Protocol>(arguments: &Arguments) -> Result<entry::Dictionary<P>, Failure> {
    let read = entry::Dictionary::read(profile(arguments)?, arguments.file.as_slice());
    let dictionary = read.context("the dictionary does not load")?;
    for warning in dictionary.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(dictionary)
}

/// Name and text of the profile that was asked for.
fn profile(arguments: &Arguments) -> Result<Option<(&str, &'static str)>, Failure> {
    let Some(name) = &arguments.profile else { return Ok(None) };
    let names = builtin::PROFILES.iter().map(|(file, _)| file.strip_prefix("dictionary.").unwrap_or(file));
    match builtin::profile(name) {
        Some(text) => Ok(Some((name, text))),
        None => {
            let hint = suggestion(name, names.collect::<Vec<_>>());
            let hint = hint.map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            Err(Failure::Usage(format!("unknown profile `{name}`{hint}")))
        }
    }
}

fn show_diameter(dictionary: &diameter::Dictionary, arguments: &Arguments) -> Result<(), Failure> {
    dict_diameter::show(dictionary, arguments.name(), arguments.value.as_deref(), &arguments.format)
}

fn show(dictionary: &Dictionary, arguments: &Arguments) -> Result<(), Failure> {
    let Some(name) = arguments.name() else {
        let rows = dictionary.effective();
        let cells: Vec<_> = rows.iter().map(row).collect();
        let heads = ["NUMBER", "NAME", "TYPE", "FLAGS", "VENDOR", "ORIGIN"];
        return Ok(arguments.format.print(&json!(rows), || output::table(&heads, &cells))?);
    };
    let Some(explanation) = dictionary.explain(name, arguments.value.as_deref()) else {
        let hint = match nearest(name, dictionary.names()) {
            _ if diameter::Dictionary::builtin().find(name).is_ok() => {
                "\nhint: it is an AVP: add `--diameter`".to_owned()
            }
            Some(near) => format!("\nhint: did you mean `{near}`?"),
            None => String::new(),
        };
        return Err(Failure::Failed(anyhow!("no attribute `{name}` in the dictionary{hint}")));
    };
    Ok(arguments.format.print(&json!(explanation), || explained(&explanation))?)
}

fn row(row: &Row) -> Vec<String> {
    let name = if row.decodes { row.name.clone() } else { format!("{} (alias)", row.name) };
    let cells = [&row.number, &name, &row.kind, &row.flags, &row.vendor, &row.origin];
    cells.into_iter().map(|cell| output::shown(cell)).collect()
}

fn explained(explanation: &Explanation) -> String {
    let row = &explanation.row;
    let mut lines = vec![("attribute", row.name.clone()), ("number", row.number.clone()), ("type", row.kind.clone())];
    if !row.flags.is_empty() {
        lines.push(("flags", row.flags.clone()));
    }
    if let Some((number, format)) = &explanation.vendor {
        lines.push(("vendor", format!("{} ({number}, format {format})", row.vendor)));
    }
    lines.push(("layout", explanation.layout.clone()));
    lines.push(("longest", format!("{} octets", explanation.value_octets_max)));
    if !explanation.aliases.is_empty() {
        lines.push(("aliases", explanation.aliases.join(", ")));
    }
    lines.extend(explanation.official.clone().map(|official| ("official", official)));
    lines.extend(explanation.refusal.clone().map(|refusal| ("not sent", refusal)));
    lines.push(("origin", row.origin.clone()));
    lines.extend(output::sample(explanation.sample.as_ref()));
    let values = row.values.iter().map(|(name, number)| ("value", format!("{number} {name}")));
    output::parts(lines.into_iter().chain(values))
}
