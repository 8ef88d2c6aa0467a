//! `tollgate import`: the configuration of a proxy of the SER family becomes one of ours.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::output::{Format, shown};
use crate::config;
use crate::config::error::Weight;
use crate::import::dialect::Dialect;
use crate::import::limits::FILE_OCTETS_MAX;
use crate::import::report::About;
use crate::import::{Import, Options, import};

/// Arguments of `tollgate import`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Configuration of the proxy: kamailio.cfg, opensips.cfg, openser.cfg or ser.cfg
    file: PathBuf,
    /// Folder for what is written; made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// A name as `#!define` has it, like `-A` of Kamailio; may be given several times
    #[arg(long, short = 'D', value_name = "NAME[=VALUE]")]
    define: Vec<String>,
    /// Whose records: kamailio, opensips, opensips-2.2, openser, openser-1.1 or ser; by default the file tells
    #[arg(long, value_name = "PROFILE", value_parser = dialect)]
    profile: Option<Dialect>,
    #[command(flatten)]
    format: Format,
}

fn dialect(text: &str) -> Result<Dialect, String> {
    let known = Dialect::ALL.iter().find(|own| own.profile() == text);
    let names: Vec<_> = Dialect::ALL.iter().map(|own| own.profile()).collect();
    known.copied().ok_or_else(|| format!("known are {}", names.join(", ")))
}

/// The names of what is written beside passwords.
const CONFIGURATION: &str = "tollgate.toml";
const SCRIPT: &str = "route.lua";
const REPORT: &str = "import.txt";

/// Permissions of what anybody may read, and of passwords.
const MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;

/// Imports a file; standard output gets what was not taken.
///
/// # Errors
/// The file cannot be read, or something cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let defines = arguments.define.iter().map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    });
    let options = Options { defines: defines.collect(), dialect: arguments.profile };
    let made = import(&arguments.file, &options, &read).map_err(|mistake| {
        eprintln!("{mistake}");
        Failure::Configuration
    })?;
    let files = files(&made);
    let names = files.iter().map(|file| file.name.as_str()).chain([REPORT]);
    let there = |name: &&str| arguments.out.join(name).symlink_metadata().is_ok();
    if let Some(name) = names.clone().find(|name| !arguments.force && there(name)) {
        let path = arguments.out.join(name);
        let what = "is there already, so nothing was written; --out names another folder, --force overwrites";
        return Err(anyhow!("{} {what}", path.display()).into());
    }
    fs::create_dir_all(&arguments.out).with_context(|| format!("cannot make {}", arguments.out.display()))?;
    for file in &files {
        write(&arguments.out.join(&file.name), &file.text, file.mode)?;
    }
    let checked = checked(&arguments.out.join(CONFIGURATION));
    let written: Vec<_> = names.map(|name| arguments.out.join(name).display().to_string()).collect();
    let text = text(arguments, &made, &written, &checked);
    write(&arguments.out.join(REPORT), &text, MODE)?;
    arguments.format.print(&value(arguments, &made, &written, &checked), || text.clone())?;
    Ok(())
}

/// The octets of a file; more than are taken are not read.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    fs::File::open(path)?.take(FILE_OCTETS_MAX as u64 + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

struct File {
    name: String,
    text: String,
    mode: u32,
}

fn files(made: &Import) -> Vec<File> {
    let file = |name: &str, text: &str, mode| File { name: name.to_owned(), text: text.to_owned(), mode };
    let mut files = vec![file(CONFIGURATION, &made.toml, MODE)];
    files.extend(made.lua.as_ref().map(|text| file(SCRIPT, text, MODE)));
    files.extend(made.secrets.iter().map(|own| file(&own.file, &format!("{}\n", own.text), SECRET_MODE)));
    files
}

/// Writes a file anew: what was there goes first, so that the permissions are ours and no link is followed.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let tried = || -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    tried().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The mistakes that a check finds in what was written.
fn checked(path: &Path) -> Vec<String> {
    let found = match config::load(path) {
        Ok(plan) => plan.warnings,
        Err(mistakes) => mistakes.0,
    };
    found.iter().filter(|mistake| mistake.weight == Weight::Error).map(ToString::to_string).collect()
}

/// The head of each part of the report.
const fn title(about: About) -> &'static str {
    match about {
        About::Records => "Records: not taken",
        About::Routing => "Routing: not translated",
        About::Settings => "Settings without a counterpart",
    }
}

fn text(arguments: &Arguments, made: &Import, written: &[String], checked: &[String]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let verdict = &made.verdict;
    let at = verdict.at.map_or_else(String::new, |at| format!("{}: ", made.origin(at)));
    let profile = verdict.dialect.profile();
    line(format!("{} is read as {profile} ({at}{})", arguments.file.display(), verdict.because));
    line(format!("written: {}", written.join(", ")));
    for about in About::ALL {
        let items: Vec<_> = made.report.items().into_iter().filter(|item| item.about == about).collect();
        if !items.is_empty() {
            line(format!("\n{}", title(about)));
        }
        for item in items {
            line(format!("  {}: {}", made.origin(item.at), shown(&item.what)));
            line(format!("      {}", shown(&item.why)));
        }
    }
    if made.report.beyond() > 0 {
        line(format!("\n{} more are not told", made.report.beyond()));
    }
    if !made.input.left_out.is_empty() {
        line("\nSwitched off in the file itself".to_owned());
    }
    for own in &made.input.left_out {
        line(format!("  {} to {}: {}", made.origin(own.from), own.to_line, shown(&own.by)));
    }
    if !checked.is_empty() {
        line(format!("\nWhat `tollgate check` finds in {CONFIGURATION}"));
        checked.iter().for_each(|own| line(own.clone()));
    }
    line("\nTo do before the first start".to_owned());
    for (number, task) in made.report.tasks().iter().enumerate() {
        line(format!("  {}. {}", number + 1, shown(task)));
    }
    if made.lua.is_some() {
        let last = made.report.tasks().len() + 1;
        line(format!(
            "  {last}. read {SCRIPT}: `NOT TRANSLATED` is left to you, and what stands behind it runs in any case"
        ));
    }
    text
}

fn value(arguments: &Arguments, made: &Import, written: &[String], checked: &[String]) -> Value {
    let file = |number: u16| made.input.files.get(usize::from(number)).map(|path| path.display().to_string());
    let items = made.report.items().into_iter().map(|item| {
        json!({
            "about": item.about.name(),
            "file": file(item.at.file),
            "line": item.at.line,
            "column": item.at.column,
            "what": item.what,
            "why": item.why,
        })
    });
    let left_out = made.input.left_out.iter().map(
        |own| json!({ "by": own.by, "file": file(own.from.file), "from_line": own.from.line, "to_line": own.to_line }),
    );
    json!({
        "file": arguments.file.display().to_string(),
        "profile": made.verdict.dialect.profile(),
        "because": made.verdict.because,
        "written": written,
        "not_taken": items.collect::<Vec<_>>(),
        "not_told": made.report.beyond(),
        "switched_off": left_out.collect::<Vec<_>>(),
        "check": checked,
        "to_do": made.report.tasks(),
    })
}
