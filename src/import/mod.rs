//! `tollgate import`: the configuration of a proxy of the SER family becomes one of ours.
//!
//! * [`lexer`] cuts a file into tokens, [`preprocess`] does what `#!define`, `#!ifdef` and `include_file` say;
//! * [`parser`] makes settings, parameters of modules and routes of them, [`syntax`];
//! * [`dialect`] tells whose file it is, and with it the profile of the records;
//! * [`config`] writes `tollgate.toml`, its sinks made by [`sinks`] from the parameters of the acc modules;
//! * [`lua`] writes `route.lua` from the routes;
//! * nothing is guessed: what is not understood goes into the [`report`] with its line.
//!
//! Nothing here opens a file by itself: whoever calls gives the octets of files by their paths.

pub mod config;
pub mod database;
pub mod dialect;
pub mod extras;
pub mod lexer;
pub mod limits;
pub mod listen;
pub mod lua;
pub mod params;
pub mod parser;
pub mod preprocess;
pub mod report;
pub mod sinks;
pub mod syntax;
pub mod toml;
pub mod usage;
pub mod variables;
pub mod walk;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::config::error::Mistake;
use dialect::{Dialect, Verdict};
use lexer::Spot;
use preprocess::{Input, Read};
use report::{About, Report};
use sinks::Secret;

/// What is wanted beside the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names that are defined from the start.
    pub defines: Vec<(String, String)>,
    /// Whose file it is, where the operator knows better.
    pub dialect: Option<Dialect>,
}

/// What an import makes.
#[derive(Clone, Debug)]
pub struct Import {
    /// Whose file it is, and what says so.
    pub verdict: Verdict,
    /// The text of `tollgate.toml`.
    pub toml: String,
    /// The text of `route.lua`; `None` of a file without routes.
    pub lua: Option<String>,
    /// Files with passwords, for the service alone.
    pub secrets: Vec<Secret>,
    /// What was not taken.
    pub report: Report,
    /// What was read.
    pub input: Input,
}

impl Import {
    /// A place as `kamailio.cfg:12`.
    #[must_use]
    pub fn origin(&self, at: Spot) -> String {
        origin(&self.input, at)
    }
}

/// Reads a file and all that it includes.
///
/// # Errors
/// What makes the file unreadable, with its place.
pub fn import(path: &Path, options: &Options, read: Read<'_>) -> Result<Import, Mistake> {
    let input = preprocess::read(path, &options.defines, read)?;
    let script = parser::parse(&input)?;
    let mut report = Report::default();
    for note in &input.notes {
        report.add(About::Settings, note.at, note.what.clone(), note.why.clone());
    }
    for (at, text) in &script.unread {
        report.add(About::Settings, *at, text.clone(), "this line cannot be read");
    }
    let verdict = match options.dialect {
        Some(dialect) => Verdict { dialect, because: "`--profile` says so".to_owned(), at: None },
        None => dialect::of(path, &input, &script),
    };
    let usage = usage::of(&script);
    let origin = |at: Spot| origin(&input, at);
    let title = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let config = config::write(&verdict, &script, &usage, &mut report, (&title, &origin));
    let lua = (!script.routes.is_empty()).then(|| {
        let (dialect, sinks) = (verdict.dialect, &config.sinks[..]);
        let material = lua::Material { dialect, script: &script, sinks, dialog_flag: config.dialog_flag.clone() };
        lua::write(material, &mut report, (&title, &origin))
    });
    Ok(Import { verdict, toml: config.text, lua, secrets: config.secrets, report, input })
}

/// The name of the file without its folder, and the line.
fn origin(input: &Input, at: Spot) -> String {
    let path = input.files.get(usize::from(at.file));
    let name = path.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    match name {
        Some(name) if at.line > 0 => format!("{name}:{}", at.line),
        _ => "the file".to_owned(),
    }
}
