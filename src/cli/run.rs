//! `tollgate run`: the gateway itself.

use std::path::Path;

use super::{Failure, load};
use crate::service;

/// Runs until it is told to stop.
///
/// # Errors
/// The configuration is wrong, or the gateway cannot start or go on.
pub fn run(path: &Path) -> Result<(), Failure> {
    let plan = load(path)?;
    service::run(plan)?;
    Ok(())
}
