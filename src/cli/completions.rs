//! `tollgate completions`: what a shell needs to complete commands and options.

use std::io;

use clap::Args;
use clap_complete::{Shell, generate};

use super::{Failure, output};

/// Arguments of `tollgate completions`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output takes nothing more.
pub fn run(mut command: clap::Command, arguments: &Arguments) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    // clap panics where its writer fails, as when the reader has gone: memory takes all.
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    Ok(output::print(&script)?)
}
