//! `tollgate schema`: the JSON schema of `tollgate.toml`, by which editors complete options and mark mistakes.
//!
//! It is `etc/tollgate.schema.json`, which a test makes of the readers of the file and of its sample.

#[cfg(test)]
mod tests;

use super::{Failure, output};

/// The schema as it is shipped.
const SCHEMA: &str = include_str!("../../../etc/tollgate.schema.json");

/// Prints it.
///
/// # Errors
/// Standard output takes nothing more.
pub fn run() -> Result<(), Failure> {
    Ok(output::print(SCHEMA)?)
}
