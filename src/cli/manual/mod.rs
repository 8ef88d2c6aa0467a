//! `tollgate man`: the manual pages, from what the program reads itself: commands from the definitions of the command
//! line, files from the samples that are shipped.

mod commands;
mod page;
pub(super) mod sample;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Failure;

/// Arguments of `tollgate man`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Folder for the pages, such as /usr/local/share/man: man1 and man5 in it are made if they are not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The samples, each with those that belong on its page.
const SAMPLES: &[(&str, &[&str])] = &[
    (include_str!("../../../etc/tollgate.toml"), &[]),
    (include_str!("../../../etc/radiusclient.conf"), &[include_str!("../../../etc/servers")]),
    (include_str!("../../../etc/diameterclient.conf"), &[]),
];

/// A page: its section of the manual, its file's name, what is in it.
struct Page {
    section: u8,
    name: String,
    text: Vec<u8>,
}

/// Writes all pages.
///
/// # Errors
/// A folder or a file cannot be written.
pub fn run(command: clap::Command, arguments: &Arguments) -> Result<(), Failure> {
    for page in pages(command).context("cannot make the pages")? {
        write(&arguments.folder, &page)?;
    }
    Ok(())
}

fn pages(command: clap::Command) -> io::Result<Vec<Page>> {
    let mut pages = commands::pages(command)?;
    for (text, further) in SAMPLES {
        let further: Vec<_> = further.iter().map(|text| sample::read(text)).collect();
        pages.push(page::of_sample(&sample::read(text), &further));
    }
    Ok(pages)
}

fn write(folder: &Path, page: &Page) -> Result<(), Failure> {
    let folder = folder.join(format!("man{}", page.section));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(&page.name);
    fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
